"""The only epoch loop: slices, signals, stopping, the best weights, history and divergence.

Methods learn; they never print and never decide when to stop. ``train`` hands rows to a step
method in slices of about 50 ms, looks for signals between them, and asks a solver for one
iteration at a time. What an epoch is follows: a pass over the rows, or an iteration of a solver.
"""

from cpython.exc cimport PyErr_CheckSignals
from libc.math cimport isfinite
from libc.stdint cimport uint64_t

from sgdest._core.method cimport Method
from sgdest._core.problem cimport Problem
from sgdest._core.random cimport shuffle

from copy import copy
from time import perf_counter

import numpy as np

SLICE_SECONDS = 0.05
# A step method has exploded when an epoch's objective is this many times that of the best
# constant model, or of the first epoch where that is 0: far beyond what noise or a large first
# rate does to a run that recovers.
EXPLODED = 1e6
# The columns of a history: one number of each per epoch.
COLUMNS = ("epoch", "objective", "validation", "learning_rate", "gradient_norm", "seconds", "rows")


class Limits:
    """When to stop, and what to watch while learning.

    Parameters
    ----------
    max_iter : int >= 1
        Most passes over X.
    tol : float >= 0 or None
        See the estimators; None runs ``max_iter`` passes.
    n_iter_no_change : int >= 1
    validation : callable (W, b) -> float, or None
        Score on validation data, higher is better. Given one, the best weights are kept.
    validation_tol : float
        Smallest improvement of that score that counts.
    shuffle : bool
    seed : int
        State of the generator of the shuffles.
    report : callable (dict) or None
        Receives one record per epoch.
    backs_off : bool
        The method chose its rate itself, so a divergence is answered by halving it.
    observer : object or None
        Called at the borders of epochs: ``begin(training)``, ``end(training) -> whether to stop``
        and, after the last, ``close(training)``; see ``Training`` for what it may ask. Between the
        slices of a pass: ``time_is_up() -> whether to stop``.
    paused : dict or None
        What ``Training.snapshot`` gave, to go on from there.
    least_iter : float
        Passes that a schedule is made for: ``tol`` stops no sooner.
    """

    def __init__(self, max_iter, tol=1e-4, n_iter_no_change=5, validation=None,
                 validation_tol=0.0, shuffle=True, seed=0, report=None, backs_off=False,
                 observer=None, paused=None, least_iter=0):
        self.max_iter, self.tol, self.n_iter_no_change = max_iter, tol, n_iter_no_change
        self.validation, self.validation_tol = validation, validation_tol
        self.shuffle, self.seed, self.report, self.backs_off = shuffle, seed, report, backs_off
        self.observer, self.paused, self.least_iter = observer, paused, least_iter


class Outcome:
    """What a training did.

    Attributes
    ----------
    W, b : the weights to keep
    epochs : Epochs
    per_output : list of the objectives of each output, where they have losses of their own
    stopped : whether the observer asked to stop
    n_iter : passes over X, rounded up
    converged : whether the stopping rule was met before ``max_iter``
    remaining : estimate of F - F* where the method has one, else NaN
    diverged : None, or (epoch, learning rate) at which the objective exploded
    best_epoch : the epoch whose weights are kept, counted from 1
    seed : state of the generator after the last shuffle
    """

    def __init__(self, seed):
        self.epochs, self.per_output = Epochs(), []
        self.W = self.b = self.diverged = None
        self.n_iter, self.best_epoch, self.seed = 0, 0, seed
        self.converged, self.stopped, self.remaining = False, False, np.nan

    @property
    def history(self):
        """The numbers of the epochs: dict of arrays, one per column."""
        return dict(zip(COLUMNS, self.epochs.table().T))


cdef class Epochs:
    """The numbers of each epoch, as ``COLUMNS`` name them.

    Adding a row takes a tenth of a microsecond: a whole epoch may take ten.
    """

    cdef double[:, ::1] rows
    cdef Py_ssize_t n

    def __init__(self, rows=None):
        self.rows = np.empty((16, len(COLUMNS))) if rows is None else np.array(rows)
        self.n = 0 if rows is None else len(rows)

    def __len__(self):
        return self.n

    def table(self):
        """All rows so far: ndarray of shape (n_epochs, n_columns)."""
        return np.array(self.rows)[:self.n]

    def last(self):
        """The last row: dict of numbers."""
        return dict(zip(COLUMNS, np.asarray(self.rows)[self.n - 1].tolist()))

    cdef add(self, double objective, double validation, double rate, double gradient_norm,
             double seconds, double rows):
        """One more row; its first number counts."""
        cdef double* row
        if self.n == self.rows.shape[0]:
            self.rows = np.concatenate([self.rows, np.empty((self.n + 16, len(COLUMNS)))])
        row = &self.rows[self.n, 0]
        self.n += 1
        row[0], row[1], row[2], row[3] = self.n, objective, validation, rate
        row[4], row[5], row[6] = gradient_norm, seconds, rows


def train(Problem problem, Method method, limits, W, b, double start_objective):
    """Run ``method`` until ``limits`` says stop.

    Parameters
    ----------
    W, b : the arrays that the method works on
    start_objective : F_0, the objective of the best constant model

    Returns
    -------
    Outcome
    """
    outcome = Outcome(limits.seed)
    watch = Training(problem, method, limits, W, b, start_objective, outcome)
    if hasattr(method, "iterate"):
        _run_solver(problem, method, limits, watch, outcome)
    else:
        _run_steps(problem, method, limits, watch, outcome)
    watch.conclude()
    return outcome


def _run_solver(problem, method, limits, watch, outcome):
    """Iterations of a solver, until its own estimate of what remains is small enough.

    One is made in any case: what precedes it, the moments of the columns, teaches nothing.
    """
    goes_on = not (watch.undecided and _has_ended(problem, method, limits, watch, outcome))
    while goes_on:
        PyErr_CheckSignals()
        watch.begin_epoch()
        method.iterate()
        outcome.n_iter = min(method.passes, limits.max_iter)
        watch.end_epoch(method.objective, np.nan, method.gradient_norm)
        goes_on = not (_has_ended(problem, method, limits, watch, outcome) or outcome.stopped)
    if problem.is_small and not method.finished and method.passes >= limits.max_iter:
        # lanes that run to rounding make sure of what remains only when they are there; not within
        # the last epoch, from which a checkpoint may go on
        method.look_back()
        _has_ended(problem, method, limits, watch, outcome)


def _has_ended(problem, method, limits, watch, outcome):
    """Whether a solver has done what it was asked for, or has no passes left."""
    outcome.n_iter, outcome.remaining = min(method.passes, limits.max_iter), method.remaining
    progress = method.start_objective - method.objective
    reached = limits.tol is not None and method.remaining <= limits.tol * progress
    outcome.converged = bool(reached or (method.finished and method.is_close) or watch.stop)
    return (method.finished or watch.stop or (reached and not problem.is_small)
            or method.passes >= limits.max_iter)


def _run_steps(Problem problem, Method method, limits, watch, outcome):
    """Passes of a step method, until they no longer improve the objective."""
    cdef Py_ssize_t[::1] order = watch.order
    while outcome.n_iter < limits.max_iter or watch.undecided:
        if not watch.undecided:
            watch.begin_epoch()
            finite = run_pass(problem, method, order, limits.shuffle, outcome, limits.observer)
            outcome.n_iter += 1
            objective = watch.objective_of_pass()
            if not finite or watch.has_exploded(objective):
                if watch.retreat(objective) and not outcome.stopped:
                    continue
                return
            if outcome.stopped:            # within the pass, which is no epoch then
                return
            if watch.went_too_far():
                continue
            watch.compare(objective)
            watch.end_epoch(objective, watch.rate(), np.nan)
        watch.undecided = False
        if outcome.stopped:
            return
        if watch.stop or (limits.tol is not None and limits.validation is None
                          and outcome.n_iter >= limits.least_iter
                          and watch.idle >= limits.n_iter_no_change):
            watch.plateaus += 1
            # a rate of our own has come to its end when two smaller ones brought nothing either
            if not ((watch.plateaus <= 2 or not limits.backs_off) and watch.goes_on()):
                outcome.converged = True
                return
            watch.reference, watch.idle = min(watch.reference, watch.objective), 0


def run_pass(Problem problem, Method method, Py_ssize_t[::1] order, bint shuffled, outcome,
             observer=None):
    """One pass over the rows, in slices; False as soon as the loss is no longer finite.

    How long they are depends on the time that they take, and the sums must not: a slice ends where
    the method says that it may.
    Where the observer says between two slices that the time is up, the pass ends after the last
    whole step, and ``outcome.stopped`` is set.
    """
    cdef uint64_t seed = outcome.seed
    cdef Py_ssize_t start = 0, stop, size = 1024, n = problem.n_rows
    if shuffled:
        shuffle(n, &order[0], &seed)
        outcome.seed = seed
    method.restart_sums()
    with method.helped():
        while start < n:
            PyErr_CheckSignals()
            stop = n if n - start <= size else method.seam(start + size)
            began = perf_counter()
            method.advance(order, start, stop)
            raise_error_of(method)
            if perf_counter() - began < 0.5 * SLICE_SECONDS:
                size *= 2
            if not np.isfinite(method.loss_sum):
                return False
            start = stop
            if observer is not None and start < n and observer.time_is_up():
                method.drop_batch()
                outcome.stopped = True
                return True
    method.finish_pass()
    raise_error_of(method)
    return True


def raise_error_of(method):
    """What a loss or a rate written in Python raised, which could not unwind through the loops."""
    method.problem.loss.raise_error()
    error = getattr(getattr(method, "schedule", None), "error", None)
    if error is not None:
        raise error


class Training:
    """What is seen of a training: history, best weights, divergence.

    An observer may ask for ``weights()``, ``exact_objective()``, ``snapshot()``, ``record()`` (the
    last line of the history) and ``outcome``.
    """

    # what a snapshot holds of this object and of the outcome, beside weights and method
    KEPT = ("best_score", "waited", "kept", "last", "best_objective", "best", "retreats", "scale",
            "objective", "reference", "idle", "plateaus", "sound", "stop")
    KEPT_OF_OUTCOME = ("n_iter", "best_epoch", "seed", "per_output")

    def __init__(self, problem, method, limits, W, b, start_objective, outcome):
        self.problem, self.method, self.limits, self.outcome = problem, method, limits, outcome
        self.n_rows = problem.n_rows
        self.W, self.b, self.start_objective = W, b, start_objective
        self.began = perf_counter()
        self.best_score, self.waited = -np.inf, 0
        self.kept = None             # best weights by validation
        self.is_solver = hasattr(method, "iterate")
        # finite weights at the start of this pass; solvers never go back
        self.last = None if self.is_solver else (W.copy(), b.copy())
        # the objective of a pass is measured before its updates: it speaks for their start
        self.best_objective, self.best = np.inf, self.last
        self.sound = self.last       # weights whose objective the schedule has approved
        self.retreats = 0
        self.scale = abs(start_objective)
        # the objective to improve on, for how many passes that has not happened, and how often
        # that was answered by a smaller rate
        self.objective, self.reference, self.idle, self.plateaus = np.nan, np.inf, 0, 0
        self.stop, self.undecided = False, False
        self.order = None if self.is_solver else np.arange(problem.n_rows, dtype=np.intp)
        if limits.paused is not None:
            self._go_on_from(limits.paused)

    def snapshot(self):
        """Copies of all from which the training can go on bit for bit.

        To be taken at the end of an epoch.
        """
        W, b = self.method.parameters()
        return {
            "state": self.method.paused(), "W": W.copy(), "b": b.copy(),
            "order": copy(self.order),
            "seconds": perf_counter() - self.began, "epochs": self.outcome.epochs.table(),
            "training": {name: getattr(self, name) for name in self.KEPT},
            "schedule": {name: copy(getattr(self.method.schedule, name)) for name in
                         getattr(getattr(self.method, "schedule", None), "learned", ())},
            "outcome": {name: copy(getattr(self.outcome, name)) for name in self.KEPT_OF_OUTCOME},
        }

    def _go_on_from(self, paused):
        """Take up a snapshot; the method and the weights have been made from it before."""
        self.began = perf_counter() - paused["seconds"]
        self.order, self.outcome.epochs = copy(paused["order"]), Epochs(paused["epochs"])
        self.__dict__.update(paused["training"])
        for name, value in paused["schedule"].items():
            setattr(self.method.schedule, name, copy(value))
        self.outcome.__dict__.update({k: copy(value) for k, value in paused["outcome"].items()})
        self.undecided = True        # whether to stop after that epoch

    def is_ending(self):
        """Whether from now on the rate falls because the end of the fit is near."""
        schedule = getattr(self.method, "schedule", None)
        return schedule is not None and schedule.is_ending(self.method.t)

    def exact_objective(self):
        """F of the weights that count now, by a pass over the rows."""
        return self.problem.objective(*self.weights())

    def compare(self, objective):
        """Note whether a pass has improved the objective."""
        self.objective = objective
        if objective < self.reference - (self.limits.tol or 0.0) * self.scale:
            self.reference, self.idle, self.plateaus = objective, 0, 0
        else:
            self.idle += 1

    def weights(self):
        """The weights that count now: settled, averaged where the method averages."""
        self.method.settle()
        averages = self.method.averages() if hasattr(self.method, "averages") else None
        return (self.W, self.b) if averages is None else averages

    def objective_of_pass(self):
        """Mean loss of the rows before their updates, plus the penalty now.

        Of descent that takes steps back it is the exact objective at the start, which never rises.
        """
        self.method.settle()
        W = self.last[0] if self.looks() else self.W
        with np.errstate(all="ignore"):
            return self.method.mean_loss + self.problem.penalty.value_of(W)

    def looks(self):
        """Whether each step rests on all rows, and is taken back if it rose."""
        return getattr(getattr(self.method, "schedule", None), "looks", False)

    def rate(self):
        schedule = getattr(self.method, "schedule", None)
        if schedule is None or schedule.needs_row:
            return np.nan
        return schedule.rate(max(self.method.t, 1.0))

    def has_exploded(self, objective):
        """Whether the objective or a weight is not finite, or absurdly large."""
        if self.scale == 0.0:
            self.scale = abs(objective)
        finite = isfinite(objective) and self.method.is_finite()
        return not finite or objective > EXPLODED * self.scale

    def retreat(self, objective):
        """Go back to the best weights so far; True if learning can go on with a lower rate."""
        rate = self.rate()
        self.method.settle()
        with np.errstate(all="ignore"):
            values = [self.problem.objective(*weights) for weights in (self.last, self.best)]
        self.last = self.last if values[0] <= values[1] else self.best  # also if not finite
        self.W[:], self.b[:] = self.last
        if hasattr(self.method, "restart"):
            self.method.restart()
        self.retreats += 1
        if self.limits.backs_off and self.retreats <= 60 and self.lower_rate():
            self.reference, self.idle, self.plateaus = np.inf, 0, 0
            return True
        self.outcome.diverged = (self.outcome.n_iter, rate)
        return False

    def goes_on(self):
        """Whether the schedule answers a plateau."""
        schedule = getattr(self.method, "schedule", None)
        return schedule is not None and schedule.after_plateau()

    def went_too_far(self):
        """Tell the schedule how a pass went; True, and a step back, if it finds the step too long."""
        schedule = getattr(self.method, "schedule", None)
        if schedule is None:
            return False
        # of descent on all rows, the exact objective at the start of the pass
        start = self.method.mean_loss + self.problem.penalty.value_of(self.last[0])
        if not schedule.after_pass(start):
            self.sound = self.last
            return False
        if not self.looks():               # else it has stepped back itself
            self.W[:], self.b[:] = self.sound
            if hasattr(self.method, "restart"):
                self.method.restart()
        self.last = (self.W.copy(), self.b.copy())
        return True

    def look_back(self):
        """Take the last step of descent on all rows back if it rose, which no pass has seen yet."""
        if self.looks() and self.outcome.diverged is None:
            self.method.settle()
            if self.method.schedule.rises(self.problem.objective(self.W, self.b)):
                self.W[:], self.b[:] = self.sound

    def lower_rate(self):
        schedule = getattr(self.method, "schedule", None)
        return schedule is not None and schedule.lower_rate()

    def begin_epoch(self):
        if self.limits.observer is not None:
            self.limits.observer.begin(self)

    def end_epoch(self, objective, rate, gradient_norm):
        """Record an epoch and keep its weights if they are the best; see ``stop`` afterwards."""
        score, self.stop = np.nan, False
        if self.limits.validation is not None:
            W, b = self.weights()
            score = self.limits.validation(W, b)
            self.stop = self._judge(score, W, b)
        if not self.is_solver:
            if objective < self.best_objective:
                self.best_objective, self.best = objective, self.last
            self.last = (self.W.copy(), self.b.copy())
        self._record(objective, score, rate, gradient_norm)
        if self.limits.observer is not None:
            self.outcome.stopped = bool(self.limits.observer.end(self))

    def _judge(self, score, W, b):
        """Keep the best weights, ties to the later; True after too many epochs without gain."""
        gained = score > self.best_score + self.limits.validation_tol
        self.waited = 0 if gained else self.waited + 1
        if score >= self.best_score:
            self.best_score = score
            self.kept = (W.copy(), b.copy())
            self.outcome.best_epoch = len(self.outcome.epochs) + 1
        return self.limits.tol is not None and self.waited >= self.limits.n_iter_no_change

    def _record(self, objective, score, rate, gradient_norm):
        cdef Epochs epochs = self.outcome.epochs
        passes = self.method.passes if self.is_solver else self.outcome.n_iter
        epochs.add(objective, score, rate, gradient_norm, perf_counter() - self.began,
                   passes * self.n_rows)
        objectives = self.method.output_objectives
        if objectives is not None:
            self.outcome.per_output.append(objectives)
        if self.limits.report is not None:
            self.limits.report(self.record())

    def record(self):
        """The last line of the history: dict of numbers."""
        return self.outcome.epochs.last()

    def conclude(self):
        """Choose the weights to keep."""
        outcome = self.outcome
        if self.limits.observer is not None:
            self.limits.observer.close(self)
        outcome.n_iter = max(outcome.n_iter, 1)
        if self.kept is not None:
            outcome.W, outcome.b = self.kept
            return
        self.look_back()
        outcome.W, outcome.b = self.weights()
        if not len(outcome.epochs) and not outcome.stopped:
            # every pass was taken back: one line, about the start
            self._record(self.exact_objective(), np.nan, self.rate(), np.nan)
        outcome.best_epoch = len(outcome.epochs)
