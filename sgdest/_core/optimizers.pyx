"""The step methods, each beside the public object that holds its hyperparameters.

After each step of length ``eta`` the penalty shrinks the coefficients for the same length. The
gradient of a batch, and the walk over the rows, are ``StepMethod``'s.
"""

cimport cython
from libc.math cimport INFINITY, fabs, isfinite

import numpy as np

from sgdest._core.coordinates cimport CoordinateMethod, Coordinates, power
from sgdest._core.problem cimport Problem
from sgdest._core.schedules cimport Schedule
from sgdest._core.shrinkage cimport Shrinkage
from sgdest._core.step cimport StepMethod

from sgdest._core.alone import StepOptimizer
from sgdest._core.coordinates import powers
from sgdest._core.schedules import Harmonic, Measured
from sgdest._core.shrinkage import shrinkage

# The rows of a batch are kept for its step, not summed to a gradient, up to this many stored
# values: then the second-level cache still holds them (docs/design/0007-sparse-batches.md).
cdef double MOST_KEPT_ENTRIES = 1 << 15

# -- SGD -------------------------------------------------------------------------------------


class SGD(StepOptimizer):
    """Stochastic gradient descent, with momentum: ``u = momentum u + g``, ``w -= eta u``.

    With ``batch_size=1`` it is stochastic descent, with ``batch_size=None`` batch descent. After
    each step the penalty shrinks the coefficients for the same length, so that L1 gives exact
    zeros; on sparse rows that is done lazily, and exactly without momentum. With momentum a
    feature that was zero for k steps is moved on by what its momentum was worth over them
    (``momentum + .. + momentum^k`` times the mean of their rates) when it is next read.

    Parameters
    ----------
    learning_rate : "auto", float > 0, name of a schedule, or callable, default="auto"
        The rate ``eta``. "auto" takes it from the data, and lets it fall to zero at the end of the
        passes of a fit; a name is one of scikit-learn's
        ("constant", "optimal", "invscaling", "adaptive", "pa1", "pa2") and takes ``eta0`` and
        ``power_t`` from the estimator; a callable maps the number of the update, t = 1, 2, ..,
        to a rate. An estimator's own ``learning_rate`` must be "auto" if this one is not.
    momentum : float in [0, 1), default=0.0
        Share of the velocity ``u`` that a step keeps. "momentum" is the name of 0.9.
    nesterov : bool, default=False
        Whether the step looks ahead: ``w -= eta (g + momentum u)``. Needs momentum.
    clip_norm : float > 0 or None, default=None
        Longest gradient (its Euclidean norm, the intercept included); a longer one is shortened
        to this before the step.

    References
    ----------
    .. [1] L. Bottou, "Stochastic gradient descent tricks", 2012.
    .. [2] I. Sutskever et al., "On the importance of initialization and momentum in deep
       learning", ICML 2013.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.preprocessing import scale
    >>> from sgdest import GDClassifier
    >>> from sgdest.optimizers import SGD
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> model = GDClassifier(optimizer=SGD(0.01), max_iter=20, tol=None, random_state=0)
    >>> model.fit(scale(X), y).n_iter_
    20
    """

    name = "sgd"

    def __init__(self, learning_rate="auto", momentum=0.0, nesterov=False, clip_norm=None):
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.nesterov = nesterov
        self.clip_norm = clip_norm

    @property
    def default_batch_size(self):
        """Rows per step where none are named: a velocity costs more than a row."""
        return StepOptimizer.default_batch_size if self.momentum else 1

    @property
    def noise_length(self):
        """How far a gradient moves the parameters in the end, in rates."""
        return 1.0 / (1.0 - self.momentum)

    def rate(self, facts):
        """One over the curvature descends; the noise of parts of the data makes it fall.

        Gradients of batches do not vanish at the minimum, so their rate must fall. In a fit it is
        halved when its noise costs more than it gains (``Settling``); in a stream, which has no
        passes, it falls as t^-3/4, which still reaches any distance; momentum, which adds up the
        noise of 1 / (1 - momentum) steps, begins lower there.
        """
        if facts.is_whole and not self.momentum:
            return Measured(1.0 / facts.curvature)
        if facts.is_whole:
            return Harmonic(1.0 / facts.curvature, 1.0, 0.0)
        delay = facts.steps_per_pass * facts.batch_size**0.5
        share = (1.0 - self.momentum) ** 0.5 if facts.is_stream else 1.0
        return Harmonic(share / facts.curvature, delay, 0.75)

    def method(self, problem, W, b, *, schedule, batch_size=1, average=0, state=None):
        """The compiled method, at work on ``W`` and ``b``; see ``SGDMethod``."""
        plain = not self.momentum and self.clip_norm is None and "spread" not in (state or {})
        if not plain or isinstance(schedule, Measured):
            return self.by_coordinates(problem, W, b, schedule=schedule, batch_size=batch_size,
                                       average=average, state=state)
        return SGDMethod(problem, W, b, schedule, batch_size, average, state)

    def by_coordinates(self, problem, W, b, *, schedule, batch_size=1, average=0, state=None):
        """The method that keeps a memory of each coordinate; see ``CoordinateMethod``."""
        return MomentumMethod(problem, W, b, schedule, batch_size, average, state,
                              self.clip_norm, momentum=self.momentum,
                              looks_ahead=float(self.nesterov))


@cython.final
cdef class SGDMethod(StepMethod):
    """Steps of plain gradient descent.

    Parameters
    ----------
    problem, W, b, schedule, batch_size : see ``StepMethod``
    average : int >= 0
        First update whose result enters the average; 0 means no average.
    state : dict, default=None
        What ``state()`` of an earlier method returned.
    """

    learns_rows = True

    cdef Shrinkage shrinkage
    cdef Py_ssize_t average
    # a batch of sparse rows: they and their slopes are kept, and added to W where the batch ends
    cdef bint keeps_rows
    cdef bint has_products                 # `z` holds those of the next row and `shrinkage.w`
    cdef Py_ssize_t[::1] kept
    cdef double[:, ::1] slopes
    cdef double[::1] b_total               # sum of the averaged intercepts
    cdef double n_averaged

    def __init__(self, Problem problem, double[:, ::1] W, double[::1] b, Schedule schedule,
                 Py_ssize_t batch_size=1, Py_ssize_t average=0, state=None):
        self.average = average
        state = state or {}
        super().__init__(problem, W, b, schedule, batch_size)
        kept = state if average else {}  # what an earlier method averaged ends with its parameter
        total = kept.get("average_coef")
        self.shrinkage = shrinkage(
            problem.penalty, W, problem.rows.is_sparse and (self.by_rows or self.by_columns),
            problem.n_features, average > 0,
            None if total is None else np.array(total))
        self.t = float(state.get("t", 0.0))
        self.n_averaged = float(kept.get("n_averaged", 0.0))
        self.b_total = np.array(kept.get("average_intercept", np.zeros(problem.n_outputs)))

    def bind(self, Problem problem):
        StepMethod.bind(self, problem)
        # features may wait to be shrunk even where this call's rows are dense
        waiting = self.shrinkage is not None and self.shrinkage.by_columns
        self.keeps_rows = not self.by_rows and (
            waiting or self.by_columns
            or problem.rows.is_sparse and self.batch_entries() <= MOST_KEPT_ENTRIES)
        if self.keeps_rows:
            self.in_blocks = False
            size = self.batch_size or problem.n_rows
            self.kept = np.empty(size, dtype=np.intp)
            self.slopes = np.empty((size, problem.n_outputs))

    cdef double scale(self) noexcept nogil:
        return self.shrinkage.scale

    cdef void reach(self, Py_ssize_t n, const Py_ssize_t* columns) noexcept nogil:
        self.shrinkage.reach(n, columns)

    cdef inline void reach_row(self, Py_ssize_t i) noexcept nogil:
        if self.shrinkage.by_columns:
            self.problem.rows.columns(i, &self.columns[0])
            self.shrinkage.reach(self.problem.rows.count(i), &self.columns[0])

    cdef void learn_rows(self, const Py_ssize_t* rows, Py_ssize_t m,
                         Py_ssize_t left) noexcept nogil:
        """Each step without a gradient in between: the slope times the row."""
        cdef Py_ssize_t p, later
        cdef bint by_and_by = self.problem.rows.are_long and self.problem.n_outputs == 1
        cdef bint reached = (self.shrinkage.reaches and self.problem.rows.is_sparse
                             and self.problem.n_outputs == 1)
        self.has_products = False
        for p in range(m):
            if self.must_stop():
                return
            later = -1
            if by_and_by:
                later = rows[p + self.ahead] if p + self.ahead < left else -1
                self.problem.rows.prefetch_start(rows[min(p + 2 * self.ahead, left - 1)])
            else:
                self.ask_ahead(rows, p, left)
            if not reached:
                self.reach_row(rows[p])
            if self.problem.n_outputs == 1:
                self.learn_row(rows[p], p, later)
            else:
                self.learn_row_of_many(rows, p, p + 1 < m)

    cdef inline void learn_row(self, Py_ssize_t i, Py_ssize_t p, Py_ssize_t later) noexcept nogil:
        """A step on row i, the p-th of the block; ``later`` is asked for meanwhile."""
        # what does not wait for the margin comes first: a division takes as long as a short row
        cdef double scale = self.shrinkage.scale, unscale = -1.0 / scale
        cdef double weight = self.s[p] / self.problem.mean_weight
        cdef bint needs_row = self.schedule.needs_row
        cdef double eta = 0.0 if needs_row else self.schedule.at(self.t + 1.0)
        cdef double pace = eta * weight
        cdef double z = scale * self.shrinkage.dot(self.problem.rows, i, later) + self.b[0]
        cdef double d
        if self.problem.o_data != NULL:
            z += self.problem.o_data[i]
        self.z[p] = z
        d = self.problem.loss.derivative(self.y[p], z)
        if needs_row:
            # a formula for losses of slope 1
            eta = self.schedule.at_row(self.problem.loss.value(self.y[p], z),
                                       self.problem.rows.square_norm(i)) / fabs(d)
            pace = eta * weight
        if self.schedule.failed:
            return
        if not isfinite(d * d):
            self.loss_sum = INFINITY
        elif d != 0.0:
            self.problem.rows.add_ahead(i, d * (pace * unscale), self.shrinkage.w, later)
            if self.problem.fit_intercept:
                self.b[0] -= d * pace
        self.complete(self.schedule.at(self.t + 1.0) if self.schedule.needs_row else eta)

    cdef void learn_row_of_many(self, const Py_ssize_t* rows, Py_ssize_t p,
                                bint goes_on) noexcept nogil:
        """The same for several outputs; if it ``goes_on``, with the products of the next row.

        They come with the step in one walk over W, which the first-level cache may not hold.
        """
        cdef Py_ssize_t i = rows[p], k, K = self.problem.n_outputs
        cdef double scale = self.shrinkage.scale, weight = self.s[p] / self.problem.mean_weight
        cdef double eta = 1.0, z
        cdef double* d = &self.d[0]
        cdef const double* y = &self.y[p * self.problem.target_width]
        if not self.has_products:
            self.problem.rows.dots(i, K, self.shrinkage.w, &self.z[p * K])
        for k in range(K):
            z = scale * self.z[p * K + k] + self.b[k]
            self.z[p * K + k] = z + (self.problem.o_data[i * K + k]
                                     if self.problem.o_data != NULL else 0.0)
        self.problem.loss.derivatives(1, K, y, &self.z[p * K], d)
        if self.schedule.needs_row:
            # the slopes take the rates: each output has its own
            self.scale_to_row_rate(i, y, &self.z[p * K])
        else:
            eta = self.schedule.at(self.t + 1.0)
        if self.schedule.failed:
            return
        for k in range(K):
            if not isfinite(d[k] * d[k]):
                self.loss_sum = INFINITY
                d[k] = 0.0
            d[k] *= eta * weight
            if self.problem.fit_intercept:
                self.b[k] -= d[k]
            d[k] /= -scale
        if goes_on and self.shrinkage.keeps_w:
            self.problem.rows.adds_dots(i, K, d, self.shrinkage.w, rows[p + 1],
                                        &self.z[(p + 1) * K])
        else:
            self.problem.rows.adds(i, K, d, self.shrinkage.w)
        self.complete(self.schedule.at(self.t + 1.0) if self.schedule.needs_row else eta)
        # (a scale that rises has been settled: the products were of other numbers)
        self.has_products = (goes_on and self.shrinkage.keeps_w
                             and self.shrinkage.scale <= scale)

    cdef void scale_to_row_rate(self, Py_ssize_t i, const double* y,
                                const double* z) noexcept nogil:
        # the formulas are for losses of slope 1; with several outputs each has its own loss
        cdef Py_ssize_t k
        cdef double value, square_norm = self.problem.rows.square_norm(i)
        for k in range(self.problem.n_outputs):
            value = self.problem.loss.value(y[k], z[k])
            if self.d[k] != 0.0:
                self.d[k] *= self.schedule.at_row(value, square_norm) / fabs(self.d[k])

    cdef void begin_rows(self, Py_ssize_t m, const Py_ssize_t* rows) noexcept nogil:
        cdef Py_ssize_t q
        for q in range(m):
            self.reach_row(rows[q])

    cdef void add_slopes(self, Py_ssize_t m, const Py_ssize_t* rows) noexcept nogil:
        cdef Py_ssize_t q, k, first = self.in_batch - m
        if not self.keeps_rows:
            StepMethod.add_slopes(self, m, rows)
            return
        for q in range(m):
            self.kept[first + q] = rows[q]
            for k in range(self.problem.n_outputs):
                self.slopes[first + q, k] = self.d[q * self.problem.n_outputs + k]

    cdef void add_kept(self, double step) noexcept nogil:
        """The step of a batch whose rows were kept."""
        cdef Py_ssize_t p, k, K = self.problem.n_outputs
        for p in range(self.in_batch):
            for k in range(K):
                self.slopes[p, k] *= -step
            if K == 1:
                self.problem.rows.add(self.kept[p], self.slopes[p, 0], self.shrinkage.w)
            else:
                self.problem.rows.adds(self.kept[p], K, &self.slopes[p, 0], self.shrinkage.w)

    cdef void clear_batch(self) noexcept nogil:
        if self.keeps_rows:
            self.g_b[:] = 0.0
            self.in_batch = 0
        else:
            StepMethod.clear_batch(self)

    cdef void learn_batch(self) noexcept nogil:
        """The step of a complete batch."""
        cdef Py_ssize_t j, k, K = self.problem.n_outputs
        cdef double eta = self.schedule.at(self.t + 1.0)
        cdef double step = eta / (self.in_batch * self.shrinkage.scale)
        cdef double* g = &self.g[0, 0]
        cdef double* w = self.shrinkage.w
        if self.schedule.failed:
            return
        if self.problem.fit_intercept:
            for k in range(K):
                self.b[k] -= eta / self.in_batch * self.g_b[k]
        if self.keeps_rows:
            self.add_kept(step)
        elif not self.turns:
            for j in range(self.problem.n_features * K):
                w[j] -= step * g[j]
        else:
            for k in range(K):
                for j in range(self.problem.n_features):
                    self.W[j, k] -= step * self.g[k, j]
        self.complete(eta)

    cdef void complete(self, double length) noexcept nogil:
        """What follows every step: the penalty, the count, the average."""
        cdef Py_ssize_t k
        self.t += 1.0
        if self.average > 0 and self.t >= self.average:
            if self.n_averaged == 0.0:
                self.shrinkage.start_average()
            self.shrinkage.passed(length)
            self.n_averaged += 1.0
            for k in range(self.problem.n_outputs):
                self.b_total[k] += self.b[k]
        else:
            self.shrinkage.passed(length)

    def mark(self):
        """Copies of everything that a pass changes, for ``go_back``; no bit is changed."""
        return (self.shrinkage.mark(), np.array(self.b), self.t, self.n_averaged,
                np.array(self.b_total))

    def go_back(self, mark):
        """Return to a mark."""
        self.drop_batch()
        self.shrinkage.go_back(mark[0])
        np.copyto(np.asarray(self.b), mark[1])
        self.t, self.n_averaged = mark[2:4]
        np.copyto(np.asarray(self.b_total), mark[4])
        if not self.by_rows:
            self.stamp[:] = -1  # the numbers of the batches will come again

    def settle(self):
        self.shrinkage.settle()

    def restart(self):
        """Forget what led to an explosion: the batch under way, the iterates averaged."""
        self.drop_batch()
        if self.n_averaged:
            self.n_averaged = 0.0
            self.b_total[:] = 0.0
            np.asarray(self.shrinkage.average_sum())[:] = 0.0

    def averages(self):
        """(W, b) averaged over the updates so far, or None before the first that counts.

        A coefficient that is zero in the last iterate is zero in the average: sparsity is kept.
        """
        if not self.n_averaged:
            return None
        self.settle()
        W = np.asarray(self.shrinkage.average_sum()) / self.n_averaged
        W = np.where(np.asarray(self.W) == 0.0, 0.0, W)
        return W, np.asarray(self.b_total) / self.n_averaged

    def state(self):
        self.settle()
        state = {"t": self.t}
        if self.schedule.state() is not None:
            state["rate"] = np.array(self.schedule.state())
        if self.average:
            state.update(n_averaged=self.n_averaged, average_intercept=np.asarray(self.b_total))
            state["average_coef"] = self.shrinkage.average_sum()
        return state


@cython.final
cdef class MomentumMethod(CoordinateMethod):
    """Steps of gradient descent with a velocity.

    Parameters
    ----------
    momentum : float
    looks_ahead : float
        1 for Nesterov's step, 0 for the plain one.
    others : see ``CoordinateMethod``
    """

    slot_names = ("velocity",)

    cdef double momentum, ahead
    cdef double[::1] powers

    def __init__(self, *args, momentum=0.0, looks_ahead=0.0):
        self.powers = powers(momentum)
        self.momentum, self.ahead = momentum, looks_ahead
        super().__init__(*args)

    cdef double weight(self, double steps) noexcept nogil:
        """1 + momentum + .. over a number of steps: by now a unit gradient has moved so far."""
        cdef double mu = self.momentum
        return (1.0 - power(&self.powers[0], mu, steps)) / (1.0 - mu)

    cdef void step(self, Coordinates* at, double eta) noexcept nogil:
        # Nesterov's step is mu u + g, and u itself is mu u + g of the velocity before
        cdef double mu = self.momentum, a = self.ahead, m = 1.0 - a + a * mu
        cdef double length = eta * (a + m * self.weight(self.n_steps))
        cdef double* u = at.slots
        cdef Py_ssize_t p
        for p in range(at.n):
            u[p] = mu * u[p] + at.g[p]
            at.w[p] -= eta * (m * u[p] + a * at.g[p])
            at.length[p] = length

    cdef void rest(self, Coordinates* at) noexcept nogil:
        cdef double mu = self.momentum, a = self.ahead, m = 1.0 - a + a * mu
        cdef double length = a + m * self.weight(self.n_steps), mean
        cdef double* u = at.slots
        cdef Py_ssize_t p
        for p in range(at.n):
            at.length[p] = at.path[p] * length
            if at.missed[p] > 0.0 and u[p] != 0.0:
                mean = at.path[p] / at.missed[p]
                at.w[p] -= mean * m * mu * self.weight(at.missed[p]) * u[p]
                u[p] *= power(&self.powers[0], mu, at.missed[p])
