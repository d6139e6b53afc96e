"""What the two estimators share: the model's state, ``fit`` and ``partial_fit``.

A fitted model is NumPy arrays and Python objects. The compiled method lives for one ``fit``, or for
a streak of ``partial_fit`` calls (``_Streak``), and is rebuilt from the arrays when needed: it is
never pickled, copied or cloned.
"""

import functools
import warnings
from time import perf_counter

import numpy as np
import scipy.sparse as sp
from sklearn import get_config
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted

from sgdest import _validation as validation
from sgdest._advice import LOST, endless, left_out, what_happened
from sgdest._automatic import alike, automatic, for_passes, opening, shows_its_level
from sgdest._core.penalties import PENALTIES
from sgdest._core.problem import Problem
from sgdest._core.recall import recall
from sgdest._core.rows import as_rows, sound_margins
from sgdest._core.solver import NEAR_ROUNDING, Solver, best_constant
from sgdest._core.schedules import Harmonic, Measured
from sgdest._core.simd import aligned, aligned_zeros
from sgdest._core.stream_state import FitFacts, hessians, state_after_fit
from sgdest._core.train import COLUMNS, EXPLODED, Limits, Outcome, run_pass, train
from sgdest._early_stopping import Validation
from sgdest._history import History, HistoryMixin
from sgdest._observer import (
    CallbackSupportMixin,
    Earlier,
    Observer,
    Printer,
    with_callbacks,
)
from sgdest._resolve import resolve
from sgdest._seeds import Seeds
from sgdest.losses import compile_loss, is_written
from sgdest.optimizers import SAGA
from sgdest.schedules import compile_schedule, horizon_of

# A mean loss below this many times the one before is not looked at as a possible explosion.
SUSPICIOUS = 1e3
MOST_RETREATS = 60
EPS = float(np.finfo(float).eps)


def all_or_nothing(method):
    """A method of an estimator that leaves it as it was if it raises an error."""

    @functools.wraps(method)
    def call(self, *args, **kwargs):
        before = self.__dict__.copy()
        try:
            return method(self, *args, **kwargs)
        except Warning:  # an error only by the user's filter, after the work was done
            raise
        except Exception:
            self.__dict__.clear()
            self.__dict__.update(before)
            raise

    return call


class _Streak:
    """The compiled method of a streak of ``partial_fit`` calls, and what it was made for."""

    def __init__(self, key, plan, method, W, b):
        self.key, self.plan, self.method, self.W, self.b = key, plan, method, W, b

    def model(self):
        """Settled (W, b): copies, averaged where the method averages."""
        self.method.settle()
        averages = self.method.averages() if hasattr(self.method, "averages") else None
        return averages if averages is not None else (self.W.copy(), self.b.copy())

    def state(self):
        """Copies of the arrays from which the method can be rebuilt."""
        state = {name: np.array(value) for name, value in self.method.state().items()}
        if getattr(self.plan, "average", 0):
            state.update(iterate_coef=self.W.copy(), iterate_intercept=self.b.copy())
        return state


class GDBase(HistoryMixin, CallbackSupportMixin, BaseEstimator):
    """State, ``fit`` and ``partial_fit`` of ``GDClassifier`` and ``GDRegressor``.

    Attributes kept in ``__dict__``: ``_W`` (n_features, n_outputs) and ``_b`` (n_outputs,), or
    ``_sparse_coef`` in the place of ``_W`` after ``sparsify``; ``_state``, the method's arrays;
    ``_streak``, the compiled method, if one is open; ``_facts``, what a solver knew of the data.
    """

    @classmethod
    @functools.lru_cache
    def _parameters_of(cls):
        return tuple(super()._get_param_names())

    @classmethod
    def _get_param_names(cls):
        # a search clones for every fit: reading the signature anew took a tenth of it
        return list(cls._parameters_of())

    # -- the model ---------------------------------------------------------------------------

    def __sklearn_is_fitted__(self):
        return "_b" in self.__dict__

    def _settled(self):
        """(W, b), after the open streak, if any, has been brought up to date."""
        streak = self.__dict__.get("_streak")
        if streak is not None and self._stale:
            self._W, self._b = streak.model()
            self._stale = False
        if self._W is None:
            self._W = np.ascontiguousarray(self._sparse_coef.toarray().T)
        return self._W, self._b

    def _require(self, name):
        """AttributeError, as for any attribute, if there is no model yet."""
        if "_b" not in self.__dict__:
            raise AttributeError(
                f"{type(self).__name__!r} object has no attribute {name!r}"
            )

    @property
    def coef_(self):
        self._require("coef_")
        if self._sparse_coef is not None:
            return self._sparse_coef
        return _read_only(self._shaped_coef(self._settled()[0]))

    @coef_.setter
    def coef_(self, value):
        self._require("coef_")
        W, b = self._settled()
        if sp.issparse(value):
            value = value.toarray()
        # shape[::-1]: coefficients are given as scikit-learn shapes them
        self._W = np.ascontiguousarray(
            validation.initial_weights("coef_", value, W.shape[::-1]).T
        )
        self._sparse_coef = None
        self._forget_streak()

    @property
    def intercept_(self):
        self._require("intercept_")
        return _read_only(self._shaped_intercept(self._settled()[1]))

    @intercept_.setter
    def intercept_(self, value):
        self._require("intercept_")
        W, b = self._settled()
        self._b = validation.initial_weights("intercept_", value, b.shape)
        self._forget_streak()

    @property
    def optimizer_state_(self):
        self._require("optimizer_state_")
        streak = self.__dict__.get("_streak")
        return self._state if streak is None else streak.state()

    def _forget_streak(self):
        """Close the streak; its state goes on, but not its iterate."""
        streak = self.__dict__.pop("_streak", None)
        if streak is not None:
            self._state = streak.state()
        for name in ("iterate_coef", "iterate_intercept"):
            self._state.pop(name, None)
        if "experts" in self._state:
            self._facts, self._state = None, {}

    def __getstate__(self):
        if self.__dict__.get("_streak") is not None:
            self._settled()
        state = dict(super().__getstate__())
        streak = state.pop("_streak", None)
        if streak is not None:
            state["_state"] = streak.state()
        for name in ("_W", "_b", "_history"):  # not shared with what partial_fit changes in place
            if state.get(name) is not None:
                state[name] = state[name].copy()
        return state

    def sparsify(self):
        """Store ``coef_`` as a SciPy CSR array; saves memory if most coefficients are zero.

        Returns
        -------
        self : the fitted estimator
            ``partial_fit`` turns the coefficients dense again.
        """
        check_is_fitted(self)
        W, _ = self._settled()
        self._streak_to_state()
        arrays = get_config().get("sparse_interface") == "sparray"  # from scikit-learn 1.9 on
        self._sparse_coef = (sp.csr_array if arrays else sp.csr_matrix)(W.T)
        self._W = None
        return self

    def densify(self):
        """Store ``coef_`` as an ndarray, which undoes ``sparsify``.

        Returns
        -------
        self : the fitted estimator
        """
        check_is_fitted(self)
        self._settled()
        self._sparse_coef = None
        return self

    def _streak_to_state(self):
        """Close the streak and keep all of its state."""
        streak = self.__dict__.pop("_streak", None)
        if streak is not None:
            self._state = streak.state()

    # -- predictions -------------------------------------------------------------------------

    def _margins(self, X):
        """Raw predictions, ndarray of shape (n_samples, n_outputs)."""
        if not self.__sklearn_is_fitted__():
            check_is_fitted(self)
        if self._sparse_coef is None and "feature_names_in_" not in self.__dict__:
            z = sound_margins(X, *self._settled())
            if z is not None:
                return z
        X = validation.check_data(self, X, reset=False)
        rows = as_rows(X)
        if self._sparse_coef is not None:
            return np.asarray((self._sparse_coef @ X.T).T + self._b)
        return rows.margins(*self._settled())

    # -- fit ---------------------------------------------------------------------------------

    def _fit(self, *data):
        """``fit`` on validated parameters; without callbacks there is nothing to tear down."""
        return (self._observed if self._has_callbacks() else self._solve)(*data)

    @with_callbacks
    def _observed(self, *data):
        return self._solve(*data)

    def _has_callbacks(self):
        return bool(self.__dict__.get("_skl_callbacks"))

    def _solve(self, X, y, sample_weight, coef_init, intercept_init, held_out):
        """``held_out`` is (X_val, y_val, sample_weight_val)."""
        X_given, plan = X, self._plan(streaming=False)
        warm = self.warm_start and self.__sklearn_is_fitted__()
        start = tuple(a.copy() for a in self._settled()) if warm else None
        X, y, sample_weight, rows, targets, weights = self._take_in(
            X, y, sample_weight, lambda X: recall.rows_of(X, again=self.warm_start))
        earlier = Earlier.of(self, X, y, sample_weight, held_out)
        if earlier.paused is not None:
            coef_init = intercept_init = None  # from where the saved training set out
        seeds = Seeds(self.random_state)
        earlier.settle(seeds)
        kept, watch = Validation.prepare(self, X, y, targets, weights, held_out, seeds)
        if kept is not None:
            rows, targets = as_rows(X[kept]), targets[kept]
            weights = None if weights is None else weights[kept]
            validation.check_not_all_zero(weights)
        self._find_scale(rows, targets, weights)
        problem = self._problem(rows, targets, weights, self._penalty(rows.n_features))
        plan = plan.settled(problem)
        point = self._start(problem, earlier.weights(start), coef_init, intercept_init)
        observer = None
        if self._has_callbacks():
            observer = Observer(self, plan, earlier, X_given, y, sample_weight, kept)
        messages = self._minimise(plan, problem, point, seeds, earlier, watch, observer)
        level = 7 if self._has_callbacks() else 5  # frames from here to the user's call
        for message in messages:
            warnings.warn(message, ConvergenceWarning, stacklevel=level)
        return self

    def _plan(self, streaming):
        """What runs: a ``Plan``."""
        return resolve(self.loss, self.optimizer, self.learning_rate, self.batch_size,
                       self.average, streaming=streaming)

    def _take_in(self, X, y, sample_weight, rows_of):
        """(X, y, sample_weight, rows, targets, weights) of a fit: checked, and as a problem takes them."""
        X, y = validation.check_data(
            self, X, y, reset=True, regression=self._is_regressor
        )
        # before anything else may index a malformed CSR array
        rows = rows_of(X)
        targets = self._learn_targets(y)
        sample_weight = validation.check_sample_weight(sample_weight, X)
        self._count(y, sample_weight)
        weights = self._weights(y, sample_weight)
        validation.check_not_all_zero(weights)
        return X, y, sample_weight, rows, targets, weights

    def _find_scale(self, rows, targets, weights):
        """The deviations of the columns, where the penalty goes by them."""
        self._scale = None
        if isinstance(self.penalty_weights, str):
            plain = self._problem(rows, targets, weights, PENALTIES[None]())
            self._scale = np.sqrt(plain.moments()[1])

    def _minimise(self, plan, problem, point, seeds, earlier=None, watch=None, observer=None):
        """Train from ``point`` and keep what comes of it; returns what to warn of."""
        earlier = earlier or Earlier(History())
        W, b, given = point
        method = self._method(plan, problem, W, b, earlier.state(), warm=given, is_fit=True)
        zero = getattr(method, "start_objective", None)
        if zero is None:
            zero = problem.constant_loss(best_constant(problem))
        # a solver goes through the rows in their order
        seed = None if hasattr(method, "iterate") else seeds.draw()
        limits = self._limits(plan, watch, seed, zero)
        limits.paused, limits.observer = earlier.paused, observer
        outcome = train(problem, method, limits, W, b, zero)
        self._keep(plan, problem, method, outcome, zero, earlier.history)
        if observer is not None:
            observer.finish()
        messages = left_out(method) or endless(plan, problem, W, b), what_happened(plan, outcome, self)
        return [message for message in messages if message is not None]

    def _problem(self, rows, targets, weights, penalty):
        """The ``Problem`` of data whose targets are encoded."""
        K = self._n_outputs()
        loss = compile_loss(self.loss, self.epsilon, joint=K > 1 and self._joint_if_many)
        threads = validation.threads_for(rows.n_stored * K, self.n_jobs)
        return Problem(rows, targets, loss, penalty, sample_weight=weights, n_outputs=K,
                       fit_intercept=self.fit_intercept, n_threads=threads)

    def _penalty(self, n_features):
        """The compiled penalty; with "scale", by the deviations that ``fit`` has found."""
        factors = None
        if isinstance(self.penalty_weights, str):
            factors = validation.known_scale(self)
        elif self.penalty_weights is not None:
            factors = validation.penalty_factors(self.penalty_weights, n_features)
        l1_ratio = 0.0 if self.l1_ratio is None else self.l1_ratio
        return PENALTIES[self.penalty](self.alpha, l1_ratio, self.positive, factors)

    def _start(self, problem, start, coef_init, intercept_init):
        """(W, b) to start from, and whether the user gave them."""
        shape = (problem.n_outputs, problem.n_features)
        W, b = None, np.zeros(shape[0])
        if start is not None and start[0].shape == shape[::-1]:
            W, b = start
        if coef_init is not None:
            W = validation.initial_weights("coef_init", coef_init, shape).T
        if intercept_init is not None:
            b = validation.initial_weights("intercept_init", intercept_init, shape[:1])
        if not self.fit_intercept:
            b[:] = 0.0
        W = aligned_zeros(shape[::-1]) if W is None else aligned(W)
        return W, b, start is not None or coef_init is not None or intercept_init is not None

    def _method(self, plan, problem, W, b, state, warm=False, is_fit=False):
        """The compiled method of a plan; in a fit its schedule may look at the data."""
        optimizer = plan.optimizer
        if isinstance(optimizer, SAGA):
            first = None
            if not (warm or state) and _is_auto(optimizer.learning_rate):
                b[:] = best_constant(problem)
                first = opening(problem, W, b)
            return optimizer.method(problem, W, b, warm=warm, coordinates=alike(problem),
                                    state=state, opening=first)
        if optimizer.kind == "solver" and state:
            return Solver.going_on(problem, W, b, state, self.tol or 0.0)
        if optimizer.kind == "solver":
            return optimizer.method(problem, W, b, tol=self.tol or 0.0, warm=warm)
        if optimizer.kind == "stream":
            return optimizer.method(problem, W, b, state=state or None)
        if _is_auto(plan.learning_rate) and ("rate" not in state or is_fit):
            if not warm or (not is_fit and self.t_ == 0.0 and shows_its_level(problem)):
                b[:] = best_constant(problem)
            schedule, coordinates = automatic(
                problem, optimizer, plan.batch_size, plan.average, W, b,
                probe=not warm, is_stream=not is_fit)
            if is_fit:
                above = np.inf if warm else problem.constant_loss(b)
                schedule = for_passes(problem, optimizer, plan.batch_size, schedule, coordinates,
                                      (W, b), above, self.max_iter)
            if "rate" in state:
                schedule.restore(state["rate"])
            state = {**coordinates, **state}
        else:
            schedule = self._schedule(plan, problem, state)
        return optimizer.method(problem, W, b, schedule=schedule, batch_size=plan.batch_size,
                                average=plan.average, state=state)

    def _schedule(self, plan, problem, state):
        """The compiled schedule of a plan, at the level that an earlier state had reached."""
        if _is_auto(plan.learning_rate):
            rate = state["rate"]
            return Measured(*rate) if len(rate) == 1 else Harmonic(*rate)
        schedule = compile_schedule(
            plan.learning_rate,
            eta0=0.01 if self.eta0 is None else self.eta0,
            power_t=self._default_power_t if self.power_t is None else self.power_t,
            alpha=self.alpha,
            updates_per_pass=-(-problem.n_rows // (plan.batch_size or problem.n_rows)),
        )
        if "rate" in state:
            schedule.restore(state["rate"])
        return schedule

    def _limits(self, plan, watch, seed, zero):
        """When to stop."""
        return Limits(
            self.max_iter, self.tol, self.n_iter_no_change,
            validation=watch,
            validation_tol=0.0 if watch is None else watch.tolerance(self.tol or 0.0, zero),
            shuffle=self.shuffle,
            seed=seed,
            report=Printer() if self.verbose else None,
            backs_off=plan.learning_rate is None or _is_auto(plan.learning_rate),
            least_iter=horizon_of(plan.learning_rate),
        )

    def _keep(self, plan, problem, method, outcome, zero, before):
        """Set the attributes of a fitted model."""
        self.__dict__.pop("_streak", None)
        self._sparse_coef, self._stale = None, False
        averaging = plan.average and method.averages() is not None
        self._state = {name: np.array(value) for name, value in method.state().items()}
        if averaging:
            self._state.update(iterate_coef=method.parameters()[0].copy(),
                               iterate_intercept=method.parameters()[1].copy())
        self._W, self._b = np.asarray(outcome.W), np.asarray(outcome.b)
        self._facts = method.facts() if hasattr(method, "facts") else None
        if self._facts is not None:
            self._facts["hessians"] = hessians(problem, self._W, self._b, self._facts)
        self._seed = outcome.seed
        self.optimizer_ = plan
        self.n_iter_ = int(outcome.n_iter)
        self.t_ = float(method.t or max(1, len(outcome.epochs)))
        self._set_history(outcome, zero, before)

    def _set_history(self, outcome, zero, before):
        """The attributes about the course of the training; ``before``: that of fits before."""
        table = outcome.epochs.table()
        self._history = before.copy()
        self._history.extend(table, outcome.per_output)
        self.converged_ = outcome.converged
        best = np.fmax.reduce(table[:, COLUMNS.index("validation")], initial=np.nan)
        if not np.isnan(best):
            self.best_validation_score_ = float(best)
        elif "best_validation_score_" in self.__dict__:
            del self.best_validation_score_
        self.best_epoch_ = len(before) + outcome.best_epoch
        gained = zero - (table[-1, COLUMNS.index("objective")] if len(table) else zero)
        rounding = EPS * max(abs(zero), abs(gained))
        remaining = max(outcome.remaining, rounding)  # of which no estimate can know less
        if gained > NEAR_ROUNDING * rounding:
            self.suboptimality_ = float(remaining) / float(gained)
        else:                    # the start is the minimum up to rounding, or nothing was learned
            self.suboptimality_ = (0.0 if remaining <= NEAR_ROUNDING * rounding
                                   else np.inf * float(remaining))   # NaN: no estimate

    # -- partial_fit -------------------------------------------------------------------------

    def _learn_batch(self, rows, targets, weights):
        """One pass over validated ``Rows`` with encoded targets."""
        if weights is not None and not weights.any():
            return self
        if is_written(self.loss) and "_streak" in self.__dict__:
            # an error within the pass must leave no trace: the pass begins from copies
            self._settled()
            self._streak_to_state()
        streak = self._open_streak(rows, targets, weights)
        method = streak.method
        if streak.plan.optimizer.kind == "step":
            method.prepare()
        t, skipped, began = method.t, getattr(method, "skipped", 0), perf_counter()
        self._stale, self._sparse_coef, self.n_iter_ = True, None, 1
        warning = None
        try:
            if streak.plan.optimizer.kind == "step":
                warning = self._steps(streak)
            else:
                self._pass(method)
        finally:
            self.t_ += method.t - t
        printer = None
        if self.verbose:
            printer = Printer(self._history.last("rows"), self._history.last("seconds"))
        self._history.append(
            objective=method.mean_loss, validation=np.nan, learning_rate=_rate_of(method),
            gradient_norm=np.nan, seconds=perf_counter() - began, rows=rows.n_rows,
            per_output=getattr(method, "output_losses", None),
        )
        self.best_epoch_ = len(self._history)
        if printer is not None:
            printer({name: self._history.last(name) for name in COLUMNS})
        warning = warning or left_out(method, skipped)
        if warning is not None:
            warnings.warn(warning, ConvergenceWarning, stacklevel=4)
        return self

    def _pass(self, method):
        """One pass over the rows that ``method`` is bound to; False if the loss overflowed."""
        order = np.arange(method.problem.n_rows, dtype=np.intp)
        outcome = Outcome(self._seed)
        finite = run_pass(method.problem, method, order, self.shuffle, outcome)
        self._seed = outcome.seed
        return finite

    def _steps(self, streak):
        """A pass of a step method; after a divergence the weights are those before the pass.

        Returns what to warn of, or None. A rate that was not given is halved until the pass
        succeeds; weights that were to blame, as they explode at these rows without a step, begin
        anew. Where a copy of the weights would cost more than the pass, after wide sparse rows,
        they stay where the loss was last finite.
        """
        method, seed, warning = streak.method, self._seed, None
        before = method.mark() if streak.W.size <= method.problem.rows.n_stored else None
        can_retry, mark = before is not None and streak.plan.learning_rate == "auto", before
        try:
            for _ in range(MOST_RETREATS):
                sound = self._pass(method) and not self._has_exploded(method)
                if sound and (mark is None or np.isfinite(streak.W).all()):
                    return warning
                diverged_at = method.schedule.rate(max(method.t, 1.0))
                if mark is not None:
                    method.go_back(mark)
                if not (can_retry and method.schedule.lower_rate()):
                    break
                self._seed = seed
                if warning is None and self._is_lost(streak):
                    method.restart()
                    streak.W[:], streak.b[:] = 0.0, 0.0
                    mark, warning = method.mark(), LOST
            if mark is not before:
                method.go_back(before)
        finally:
            method.drop_batch()
        rate = "" if method.schedule.needs_row else f" at learning rate {diverged_at:.3g}"
        kept = "those before this call" if mark is not None else "the last finite ones"
        return (
            f"The loss exploded{rate} in partial_fit; the model keeps its last sound weights, "
            f"{kept}. Use a smaller learning rate, scale the columns of X, or leave "
            "learning_rate='auto'."
        )

    def _is_lost(self, streak):
        """Whether the weights explode at the rows of this call before a step is made."""
        problem = streak.method.problem
        streak.method.settle()
        with np.errstate(all="ignore"):
            loss = problem.objective(streak.W, streak.b) - problem.penalty.value_of(streak.W)
        return not loss <= _most_loss(problem)

    def _has_exploded(self, method):
        """Whether the mean loss of a pass is absurdly larger than that of the zero model."""
        loss = method.mean_loss
        before = self._history.last("objective")
        if loss <= SUSPICIOUS * before < np.inf:
            return False
        return loss > _most_loss(method.problem)

    def _open_streak(self, rows, targets, weights):
        """The streak under way, bound to these rows; a new one if there is none that fits."""
        problem = self._problem(rows, targets, weights, self._penalty(rows.n_features))
        problem.mean_weight = 1.0
        if self._seed is None:
            self._seed = Seeds(self.random_state).draw()
        key = self._streak_key()
        streak = self.__dict__.get("_streak")
        if streak is not None and streak.key == key:
            streak.method.bind(problem)
            return streak
        self._settled()
        self._streak_to_state()
        plan = self._plan(streaming=True)
        W, b = aligned(self._W), self._b.copy()
        state = dict(self._state) if self._same_method(plan) else {}
        if state and plan.learning_rate != self.optimizer_.learning_rate:
            state = _without_rate(state)
        if "iterate_coef" in state:
            W, b = aligned(state["iterate_coef"]), state["iterate_intercept"].copy()
        if plan.optimizer.kind == "stream" and not state and self._facts is not None:
            facts = FitFacts(**self._facts)
            state = state_after_fit(problem, W, b, plan.optimizer.rates, facts)
        method = self._method(plan, problem, W, b, state, warm=True)
        self.optimizer_ = plan
        self._streak = _Streak(key, plan, method, W, b)
        return self._streak

    def _same_method(self, plan):
        """Whether the state at hand is that of this plan's method."""
        return self._state and type(plan.optimizer) is type(self.optimizer_.optimizer)

    def _streak_key(self):
        """What a compiled method depends on; a change of it ends the streak."""
        plain = ("penalty", "alpha", "l1_ratio", "fit_intercept", "epsilon", "learning_rate",
                 "eta0", "power_t", "average", "batch_size", "positive")
        objects = tuple(
            part if isinstance(part, str) else (type(part), tuple(part.get_params().items()))
            for part in (self.loss, self.optimizer)
        )
        return (*(getattr(self, name) for name in plain), *objects, id(self.penalty_weights),
                self._n_outputs())

    def _begin_stream(self, n_features):
        """An empty model, before the first ``partial_fit``."""
        self._scale = None
        if isinstance(self.penalty_weights, str):
            validation.known_scale(self)
        K = self._n_outputs()
        self._W, self._b = np.zeros((n_features, K)), np.zeros(K)
        self._sparse_coef, self._state, self._facts, self._stale = None, {}, None, False
        self._seed = None
        self.t_, self.n_iter_, self._history = 0.0, 1, History()


def _most_loss(problem):
    """The largest mean loss that is no explosion."""
    zero = problem.constant_loss(np.zeros(problem.n_outputs))
    return EXPLODED * zero if zero > 0.0 else np.inf


def _is_auto(learning_rate):
    """Whether the rate is the method's own choice."""
    return isinstance(learning_rate, str) and learning_rate == "auto"


def _without_rate(state):
    """A state without how far another schedule had come, and in which coordinates."""
    if "spread" not in state:
        return {name: value for name, value in state.items() if name != "rate"}
    kept = ("t", "n_averaged", "average_coef", "average_intercept", "iterate_coef",
            "iterate_intercept")
    return {name: state[name] for name in kept if name in state}


def _read_only(array):
    """A view that cannot be written to."""
    view = array.view()
    view.flags.writeable = False
    return view


def _rate_of(method):
    """The rate that a step method has come to; NaN where there is none of its own."""
    schedule = getattr(method, "schedule", None)
    if schedule is None or schedule.needs_row:
        return np.nan
    return schedule.rate(max(method.t, 1.0))
