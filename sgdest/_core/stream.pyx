"""The streaming method: a mixture of normalised adaptive gradients, one row at a time.

Design:

- K experts learn the same rows with K learning rates. They share the statistics of the columns
  (largest value, sum of squared gradients): one set per rate gave the same loss to three digits
  and cost 1.3-5 times as much (docs/design, "streaming").
- What a step needs of a feature lies in one record, a cache line for four rates and one output::

      experts[j] = [w of rate 0, outputs 0 .. | w of rate 1, .. | .. | A, s, C, v, padding]

  with A the sum of squared gradients, s the largest value seen, C the length of the common path
  up to which the penalty has been paid, and v = 1 / (s sqrt(A)). The record after that of the
  last feature is the intercept's: a feature that is always 1 and never penalised.
- Penalties are paid late: A changes only when its feature is not zero, so what was missed
  meanwhile is one flow of a known length. Reading the weights pays on copies and leaves the
  records alone, so that neither looking nor the cut of the rows into calls changes a bit.
"""

cimport cython
from libc.math cimport INFINITY, exp, expm1, fabs, fmax, fmin, log, log1p, sqrt
from sgdest._core.method cimport Method
from sgdest._core.penalties cimport Penalty
from sgdest._core.problem cimport Problem

from typing import NamedTuple

import numpy as np

from sgdest._core.losses import LogLoss, SquaredError
from sgdest._core.method import Optimizer

# Offsets behind the weights of a record.
cdef enum:
    SQUARES, LARGEST, PAID, SCALE, TAIL

# Raw predictions of classifiers are kept within +-50, where every probability has long been 0 or
# 1; a loss above 1000 says no more about an expert than 1000 does.
cdef double FARTHEST = 50.0
cdef double WORST_LOSS = 1e3
# ln of the mean that a count with zeros among its targets may fall to
cdef double RAREST = -20.0


# -- how far one row moves an expert -----------------------------------------------------------


cdef class StepRule:
    """Abstract: the D in ``w_j += c D v_j x_j``, so that the raw prediction moves by ``D P``."""

    cdef double gain     # derivatives of this loss count so many times, in steps and in A
    cdef bint curved     # whether `step` reads the curvature

    def __init__(self, gain=1.0, curved=False):
        self.gain, self.curved = gain, curved

    # y, z: target and raw prediction; d, h: derivative and curvature there; eta: rate times
    # weight times gain; unit: of the predictions
    cdef double step(self, double y, double z, double d, double h, double eta, double P,
                     double unit) noexcept nogil:
        return 0.0


@cython.final
cdef class SquaredStep(StepRule):
    """The limit of many infinitely small steps: never beyond y, whatever the rate and weight."""

    cdef double step(self, double y, double z, double d, double h, double eta, double P,
                     double unit) noexcept nogil:
        return d * expm1(-eta * P) / P


@cython.final
cdef class LogisticStep(StepRule):
    """The same limit for the log loss: u with ``exp(m)(exp(u) - 1) + u = eta P``, m the margin."""

    cdef double step(self, double y, double z, double d, double h, double eta, double P,
                     double unit) noexcept nogil:
        cdef double sign = 1.0 if y > 0.5 else -1.0
        cdef double q = eta * P, grown = exp(sign * z), change, e
        # both bounds lie above the root of a convex increasing function: Newton falls onto it
        cdef double u = fmin(q, log1p(q / grown))
        cdef int _
        for _ in range(20):
            e = expm1(u)
            change = (grown * e + u - q) / (grown * (e + 1.0) + 1.0)
            u -= change
            if fabs(change) <= 1e-8 * u:
                break
        return sign * u / P


@cython.final
cdef class SlopeStep(StepRule):
    """A plain step, for losses without curvature.

    Cut at the kink, all rates of the hinge coincide: 0.19 instead of 0.13 on newsgroups20; cut
    at one unit: 0.147 instead of 0.133.
    """

    cdef double step(self, double y, double z, double d, double h, double eta, double P,
                     double unit) noexcept nogil:
        return -eta * d


@cython.final
cdef class CurvedStep(StepRule):
    """A step against slope and curvature at z, over at most one unit of the prediction."""

    cdef double step(self, double y, double z, double d, double h, double eta, double P,
                     double unit) noexcept nogil:
        cdef double D = -eta * d / (1.0 + eta * P * h)
        return fmax(-unit, fmin(unit, D * P)) / P


cdef StepRule step_rule(loss):
    """The rule that the facts about a loss call for."""
    if isinstance(loss, SquaredError):
        # the family states its rates for the loss (y - z)^2
        return SquaredStep(gain=2.0)
    if isinstance(loss, LogLoss):
        return LogisticStep()
    if type(loss).smoothness == "kinked":
        return SlopeStep()
    return CurvedStep(curved=True)


# -- what the targets say ----------------------------------------------------------------------


cdef class Targets:
    """Abstract: bounds of the raw predictions and their unit, from the targets seen so far.

    Bounded predictions keep one outlier from filling the sums of squared gradients for ever.
    ``range`` has the rows low, high, mean, one column per output; low > high means no bounds.
    """

    cdef double[:, ::1] range
    cdef double weight           # of the rows seen
    cdef double spread           # sum of squared deviations
    cdef double unit

    def __init__(self, bounds, weight, spread):
        self.range = bounds
        self.weight, self.spread = weight, spread
        self.unit = 1.0

    cdef void see(self, double s, const double* y) noexcept nogil:
        return

    cdef double bounded(self, Py_ssize_t k, double z) noexcept nogil:
        cdef double low = self.range[0, k], high = self.range[1, k]
        return fmax(low, fmin(high, z)) if low <= high else z


@cython.final
cdef class Labels(Targets):
    """Labels: bounds and unit are fixed."""

    start = (-FARTHEST, FARTHEST)


@cython.final
cdef class Measurements(Targets):
    """Real targets: predictions stay in their range and are measured in their deviation.

    The unit makes the method indifferent to the unit of y. (Without it, house prices in dollars
    are not learned at all: 2.5e10 instead of 3.0e9 on california.) One further target of 0, where
    the model starts, keeps it large until the intercept has found the targets.
    """

    start = (INFINITY, -INFINITY)

    cdef void see(self, double s, const double* y) noexcept nogil:
        cdef Py_ssize_t k, K = self.range.shape[1]
        cdef double deviation
        self.weight += s
        for k in range(K):
            self.range[0, k] = fmin(self.range[0, k], y[k])
            self.range[1, k] = fmax(self.range[1, k], y[k])
            deviation = y[k] - self.range[2, k]
            self.range[2, k] += s * deviation / (1.0 + self.weight)
            self.spread += s * deviation * (y[k] - self.range[2, k])
        self.unit = sqrt(self.spread / (K * (1.0 + self.weight)))


@cython.final
cdef class Counts(Targets):
    """Targets with a log link: predictions stay within e times the targets, or of 1, their start.

    Beyond the farthest target the slope points back, so no expert is held outside.
    """

    start = (-1.0, 1.0)

    cdef void see(self, double s, const double* y) noexcept nogil:
        cdef Py_ssize_t k
        cdef double z
        for k in range(self.range.shape[1]):
            z = fmax(RAREST, log(y[k])) if y[k] > 0.0 else RAREST
            self.range[0, k] = fmin(self.range[0, k], z - 1.0)
            self.range[1, k] = fmax(self.range[1, k], z + 1.0)


def targets_class(loss):
    """The kind of targets that a loss has."""
    if type(loss).targets in ("binary", "sign", "class"):
        return Labels
    return Counts if type(loss).link == "log" else Measurements


# -- state -------------------------------------------------------------------------------------


def record_width(n_rates, n_outputs):
    """Numbers in a record: one cache line if that is enough."""
    return max(8, n_rates * n_outputs + TAIL)


def empty_records(n_features, n_rates, n_outputs):
    """Zeros for every feature and the intercept, beginning at a cache line."""
    width = record_width(n_rates, n_outputs)
    size = (n_features + 1) * width
    room = np.zeros(size + 8)
    start = -(room.ctypes.data // 8) % 8
    return room[start:start + size].reshape(n_features + 1, width)


def fresh_state(problem, W, b, rates):
    """State before the first row: every expert has the weights ``W`` and ``b``."""
    n_rates, n_outputs = len(rates), problem.n_outputs
    experts = empty_records(problem.n_features, n_rates, n_outputs)
    if np.any(W):
        experts[:-1, :n_rates * n_outputs] = np.tile(W, (1, n_rates))
    experts[-1, :n_rates * n_outputs] = np.tile(b, n_rates)
    bounds = np.zeros((3, n_outputs))
    bounds[:2] = np.reshape(targets_class(problem.loss).start, (2, 1))
    return {"t": 0.0, "experts": experts, "mixture": np.full(n_rates, 1.0 / n_rates),
            "losses": np.zeros(n_rates), "range": bounds, "norm": 0.0, "path": 0.0,
            "weight": 0.0, "spread": 0.0}


class FitFacts(NamedTuple):
    """What a batch fit knows of its rows; see ``state_after_fit``.

    Parameters
    ----------
    n_rows : float
        Rows with a weight, or the sum of the weights over their mean.
    mean, variance, largest : ndarray of shape (n_features,)
        Of the columns; ``largest`` of the absolute values.
    square_derivative : float
        Mean over rows and outputs of the squared derivative of the loss at the solution.
    mean_loss : float
        Mean over rows of the loss at the solution, summed over outputs.
    y : ndarray of shape (4, n_outputs)
        Least, largest, mean and variance of the targets; read for real and log-link targets.
    """

    n_rows: float
    mean: object
    variance: object
    largest: object
    square_derivative: float
    mean_loss: float
    y: object


def state_after_fit(problem, W, b, rates, facts):
    """State as if ``facts.n_rows`` rows had been learned and had led to ``W`` and ``b``.

    From it m more rows move the model as m of n + m rows do, not as the first m.

    Parameters
    ----------
    problem : Problem
        Of the rows to come: loss, number of features and outputs, intercept are read.
    W, b : ndarray of shape (n_features, n_outputs) and (n_outputs,)
    rates : sequence of float
    facts : FitFacts

    Returns
    -------
    dict
        For ``NormalizedAdaptiveMethod(..., state=...)``.
    """
    n, n_lanes = float(facts.n_rows), len(rates) * problem.n_outputs
    cdef StepRule rule = step_rule(problem.loss)
    state = fresh_state(problem, W, b, rates)
    square = np.append(np.square(facts.mean) + facts.variance, 1.0)
    largest = np.append(facts.largest, 1.0)
    squares = n * rule.gain**2 * facts.square_derivative * square
    root = largest * np.sqrt(squares)
    tail = state["experts"][:, n_lanes:]
    tail[:, SQUARES], tail[:, LARGEST] = squares, largest
    np.divide(1.0, root, out=tail[:, SCALE], where=root > 0)
    used = slice(None) if problem.fit_intercept else slice(None, -1)
    ratio = np.divide(square, largest**2, out=np.zeros_like(square), where=largest > 0)
    state.update(t=n, weight=n, norm=n * ratio[used].sum())
    state["losses"][:] = n * facts.mean_loss
    low, high, mean, variance = np.reshape(facts.y, (4, -1))
    if targets_class(problem.loss) is Counts:
        low, high = np.log(np.clip([low, high], np.exp(RAREST), None)) + [[-1.0], [1.0]]
        state["range"][:2] = np.minimum(low, -1.0), np.maximum(high, 1.0)
    elif targets_class(problem.loss) is Measurements:
        state["range"][:] = low, high, mean
        state["spread"] = n * np.sum(variance)
    return state


# -- the method --------------------------------------------------------------------------------


@cython.final
cdef class NormalizedAdaptiveMethod(Method):
    """One pass over rows, each learned once, by K experts whose mixture is the model.

    Parameters
    ----------
    problem : Problem
    W, b : ndarray of shape (n_features, n_outputs) and (n_outputs,), float64
        Where the experts start, unless ``state`` says; ``settle`` writes the model into them.
    rates : sequence of float
        One per expert.
    state : dict, default=None
        From ``state()`` or ``state_after_fit``. Its arrays are used, not copied.
    """

    cdef double[:, ::1] experts
    cdef double[::1] mixture, losses, rates
    cdef double norm             # sum over rows of the squared length of x / s
    cdef double path             # sum of c s unit gain: the common factor of all step lengths
    cdef double weight           # sum of s
    cdef Targets targets
    cdef StepRule rule
    cdef Py_ssize_t n_rates, n_outputs, n_lanes
    cdef double share            # of the mixture, dealt out evenly after each row
    cdef double temper           # 0, or: losses count in units of their mean over this
    cdef bint penalised
    # room for one row, and for its lanes
    cdef Py_ssize_t[::1] columns
    cdef double[::1] values
    cdef double[::1] y, z, d, h, lengths, factors

    def __init__(self, Problem problem, double[:, ::1] W, double[::1] b, rates, state=None):
        self.rates = checked_rates(rates)
        self.n_rates, self.n_outputs = self.rates.shape[0], problem.n_outputs
        self.n_lanes = self.n_rates * self.n_outputs
        self.columns, self.values = np.empty(1, dtype=np.intp), np.empty(1)
        self.y = np.empty(self.n_rates * problem.target_width)
        # behind the lanes of z: the mixture's prediction
        self.z, self.d, self.h = np.empty((3, self.n_lanes + self.n_outputs))
        self.lengths, self.factors = np.empty((2, self.n_rates))
        super().__init__(problem, W, b)
        self._resume(fresh_state(problem, W, b, self.rates) if state is None else state)

    def _resume(self, state):
        """Go on from ``state``, whose arrays are used in place."""
        kind = targets_class(self.problem.loss)
        shape = (self.problem.n_features + 1, record_width(self.n_rates, self.n_outputs))
        if state["experts"].shape != shape:
            raise ValueError(f"experts must have shape {shape}; got {state['experts'].shape}")
        self.experts, self.mixture, self.losses = (
            state[name] for name in ("experts", "mixture", "losses"))
        self.t, self.norm, self.path, self.weight = (
            state[name] for name in ("t", "norm", "path", "weight"))
        self.targets = kind(state["range"], state["weight"], state["spread"])
        self.rule = step_rule(self.problem.loss)
        # Margin losses know no bound of z that a wild expert would keep to: on newsgroups20 a
        # share of 1e-3 costs 0.25 instead of 0.13.
        self.share = 0.0 if type(self.problem.loss).targets == "sign" else 1e-4
        self.temper = 0.0
        if kind is Measurements:
            self.temper = 2.0 if isinstance(self.problem.loss, SquaredError) else 1.0

    def bind(self, Problem problem):
        super().bind(problem)
        cdef Penalty penalty = problem.penalty
        self.penalised = penalty.l1 > 0.0 or penalty.l2 > 0.0 or penalty.positive
        if problem.rows.largest_count() >= self.values.shape[0]:
            self.columns = np.empty(problem.rows.largest_count() + 1, dtype=np.intp)
            self.values = np.empty(problem.rows.largest_count() + 1)

    def state(self):
        """Arrays and numbers to go on from; the arrays are live."""
        return {"t": self.t, "experts": np.asarray(self.experts),
                "mixture": np.asarray(self.mixture), "losses": np.asarray(self.losses),
                "range": np.asarray(self.targets.range), "norm": self.norm, "path": self.path,
                "weight": self.weight, "spread": self.targets.spread}

    def settle(self):
        """Write the mixture of the experts, penalties paid, into ``W`` and ``b``."""
        cdef Py_ssize_t j, k, o, K = self.n_outputs
        cdef double[::1] record = np.empty(self.experts.shape[1])
        cdef double total
        with nogil:
            for j in range(self.experts.shape[0]):
                record[:] = self.experts[j]
                if self.penalised and j < self.problem.n_features:
                    self.pay(j, &record[0])
                for o in range(K):
                    total = 0.0
                    for k in range(self.n_rates):
                        total += self.mixture[k] * record[k * K + o]
                    if j < self.problem.n_features:
                        self.W[j, o] = total
                    else:
                        self.b[o] = total

    # -- one row ---------------------------------------------------------------------------

    cdef void walk(self, const Py_ssize_t* order, Py_ssize_t start,
                   Py_ssize_t stop) noexcept nogil:
        cdef Py_ssize_t p
        for p in range(start, stop):
            if p + 4 < stop:
                self.problem.rows.prefetch(order[p + 2], order[p + 4])
            self.learn(order[p])

    cdef void learn(self, Py_ssize_t i) noexcept nogil:
        cdef double s = self.problem.weight(i) / self.problem.mean_weight
        cdef double c, P, eta
        cdef Py_ssize_t n
        if s <= 0.0:
            return
        n = self.gather(i)
        self.predict(i, n)
        self.t += 1.0
        self.weight += s
        self.compare(s)
        self.targets.see(s, &self.y[0])
        c = sqrt(self.t / self.norm) if self.norm > 0.0 else 0.0
        eta = s * self.rule.gain * self.targets.unit
        P = c * self.add_squares(n, s * s * self.square_slope())
        if P > 0.0:
            self.choose_steps(eta, P, c)
            self.move(n)
        # the penalty of one row, weighted as the row is: the minimiser is the objective's
        self.path += c * eta

    cdef Py_ssize_t gather(self, Py_ssize_t i) noexcept nogil:
        """Columns and values of the entries of row i that are not zero, the intercept's last."""
        cdef bint is_sparse = self.problem.rows.is_sparse
        cdef Py_ssize_t p, n = 0, count = self.problem.rows.count(i)
        cdef Py_ssize_t* columns = &self.columns[0]
        cdef double* values = &self.values[0]
        self.problem.rows.values(i, values)
        if is_sparse:
            self.problem.rows.columns(i, columns)
        for p in range(count):
            columns[n] = columns[p] if is_sparse else p
            values[n] = values[p]
            n += values[p] != 0.0
        if self.problem.fit_intercept:
            columns[n] = self.problem.n_features
            values[n] = 1.0
            n += 1
        return n

    cdef void pay(self, Py_ssize_t j, double* record) noexcept nogil:
        """Shrink the weights of feature j by the penalty of the path since it was last paid."""
        cdef double* tail = record + self.n_lanes
        cdef double c, length = (self.path - tail[PAID]) * tail[SCALE]
        cdef Py_ssize_t k
        cdef const double* factors = self.problem.penalty.c
        tail[PAID] = self.path
        for k in range(self.n_rates):
            self.lengths[k] = self.rates[k] * length
        if factors != NULL:
            c = factors[j]
            for k in range(self.n_rates):
                self.factors[k] = c
            factors = &self.factors[0]
        self.problem.penalty.shrink_each(self.n_rates, self.n_outputs, record,
                                         &self.lengths[0], factors)

    cdef void predict(self, Py_ssize_t i, Py_ssize_t n) noexcept nogil:
        """Bring the records of a row up to date; raw predictions of every expert, and targets."""
        cdef Py_ssize_t p, k, o, K = self.n_outputs, width = self.experts.shape[1]
        cdef Py_ssize_t T = self.problem.target_width
        cdef double* z = &self.z[0]
        cdef double* record
        for k in range(self.n_lanes):
            z[k] = 0.0
        for p in range(n):
            record = &self.experts[0, 0] + self.columns[p] * width
            if self.penalised and self.columns[p] < self.problem.n_features:
                self.pay(self.columns[p], record)
            self.norm += self.scale(record, fabs(self.values[p]))
            add_scaled(self.n_lanes, self.values[p], record, z)
        self.problem.target(i, &self.y[0])
        for k in range(self.n_rates):
            for o in range(T):
                self.y[k * T + o] = self.y[o]
            for o in range(K):
                if self.problem.o_data != NULL:
                    z[k * K + o] += self.problem.o_data[i * K + o]
                z[k * K + o] = self.targets.bounded(o, z[k * K + o])

    cdef double scale(self, double* record, double size) noexcept nogil:
        """Keep the largest value of a feature; the square of this one in units of it."""
        cdef double* tail = record + self.n_lanes
        cdef double ratio
        cdef Py_ssize_t k
        if size <= tail[LARGEST]:
            ratio = size / tail[LARGEST]
            return ratio * ratio
        if tail[LARGEST] > 0.0:
            ratio = tail[LARGEST] / size
            for k in range(self.n_lanes):
                record[k] *= ratio
        tail[LARGEST] = size
        return 1.0

    cdef void compare(self, double s) noexcept nogil:
        """Add the losses of the mixture and of the experts; weigh the experts by theirs."""
        cdef Py_ssize_t k, K = self.n_outputs
        cdef double one = 1.0, mass = 0.0, least = INFINITY, best = INFINITY, loss, sharpness = 1.0
        cdef double* z = &self.z[0]
        for k in range(K):
            z[self.n_lanes + k] = 0.0
        for k in range(self.n_rates):
            add_scaled(K, self.mixture[k], z + k * K, z + self.n_lanes)
        self.loss_sum += s * self.problem.loss.values(1, K, &self.y[0], z + self.n_lanes, &one)
        self.weight_sum += s
        for k in range(self.n_rates):
            loss = self.problem.loss.values(1, K, &self.y[0], z + k * K, &one)
            if self.temper == 0.0 and not loss < WORST_LOSS:
                loss = WORST_LOSS
            self.lengths[k] = s * loss
            self.losses[k] += s * loss
            least = fmin(least, s * loss)
            best = fmin(best, self.losses[k])
        if self.temper > 0.0:
            # the scale of a Gaussian, or of another density, that fits the best expert's losses
            sharpness = self.weight * K / (self.temper * fmax(best, 1e-300))
        for k in range(self.n_rates):
            self.mixture[k] *= exp(-sharpness * (self.lengths[k] - least))
            mass += self.mixture[k]
        for k in range(self.n_rates):
            self.mixture[k] = ((1.0 - self.share) * self.mixture[k] / mass
                               + self.share / self.n_rates)

    cdef double square_slope(self) noexcept nogil:
        """Squared derivative, mean over the mixture and the outputs; ``d`` receives them all."""
        cdef Py_ssize_t k, o, K = self.n_outputs
        cdef double row, total = 0.0
        self.problem.loss.derivatives(self.n_rates, K, &self.y[0], &self.z[0], &self.d[0])
        for k in range(self.n_rates):
            row = 0.0
            for o in range(K):
                row += self.d[k * K + o] * self.d[k * K + o]
            total += self.mixture[k] * row
        return self.rule.gain * self.rule.gain * total / K

    cdef double add_squares(self, Py_ssize_t n, double G) noexcept nogil:
        """Add ``G x^2`` to each A; the sum of x^2 v."""
        cdef Py_ssize_t p, width = self.experts.shape[1]
        cdef double x, v, P = 0.0
        cdef double* tail
        for p in range(n):
            tail = &self.experts[0, self.n_lanes] + self.columns[p] * width
            x = self.values[p]
            tail[SQUARES] += G * x * x
            v = tail[LARGEST] * sqrt(tail[SQUARES])
            tail[SCALE] = 1.0 / v if v > 0.0 else 0.0
            self.values[p] = x * tail[SCALE]
            P += x * self.values[p]
        return P

    cdef void choose_steps(self, double eta, double P, double c) noexcept nogil:
        """``d`` receives c D of every expert and output."""
        cdef Py_ssize_t k, o, m, K = self.n_outputs
        cdef Py_ssize_t T = self.problem.target_width
        if self.rule.curved:
            self.problem.loss.curvatures(self.n_rates, K, &self.y[0], &self.z[0], &self.h[0])
        for k in range(self.n_rates):
            for o in range(K):
                m = k * K + o
                # a joint loss has one target for all outputs
                self.d[m] = c * self.rule.step(self.y[k * T + min(o, T - 1)], self.z[m],
                                               self.d[m], self.h[m], eta * self.rates[k], P,
                                               self.targets.unit)

    cdef void move(self, Py_ssize_t n) noexcept nogil:
        """``w += c D x v`` of every expert; ``values`` hold ``x v``."""
        cdef Py_ssize_t p, width = self.experts.shape[1]
        for p in range(n):
            add_scaled(self.n_lanes, self.values[p], &self.d[0],
                       &self.experts[0, 0] + self.columns[p] * width)


cdef inline void add_scaled(Py_ssize_t n, double a, const double* x, double* out) noexcept nogil:
    """out += a x."""
    cdef Py_ssize_t k
    for k in range(n):
        out[k] += a * x[k]


def checked_rates(rates):
    """The rates as an array.

    Raises
    ------
    ValueError
        If there is none, or one is not a positive finite number.
    """
    array = np.array(rates, dtype=np.float64)
    if array.ndim != 1 or not array.size or not np.all((array > 0) & np.isfinite(array)):
        raise ValueError(f"rates must be one or more positive finite numbers; got {rates!r}")
    return array


class NormalizedAdaptive(Optimizer):
    """Mixture of normalised adaptive gradients: learns each row once, with nothing to tune.

    Columns may have any scale: a column times a constant gives the same predictions. One expert
    per rate :math:`\eta_k` learns

    .. math::

        w_{kj} \leftarrow w_{kj} + c\, D_k \frac{x_j}{s_j \sqrt{A_j}},
        \qquad D_k \approx -\eta_k\, \ell'(y, z_k), \qquad c = \sqrt{t / N_t},

    where :math:`s_j` is the largest :math:`|x_j|` so far, :math:`A_j` the sum of the squared
    derivatives in :math:`w_j`, :math:`N_t` the sum of :math:`(x_j / s_j)^2` over the t rows so far
    and all columns [1]_. :math:`D_k` follows the loss along the step, so that no step leads
    beyond the target [2]_. The model is :math:`\sum_k \pi_k w_k` with weights
    :math:`\pi_k \propto \exp(-\textrm{loss of expert } k)`, of which a small share is dealt out
    evenly after each row, so that the mixture can follow a change [3]_.

    Parameters
    ----------
    rates : sequence of float > 0, default=(0.5, 2.0, 8.0, 32.0)
        One expert per rate. A rate has no unit.

    References
    ----------
    .. [1] S. Ross, P. Mineiro, J. Langford, "Normalized online learning", UAI 2013,
       https://arxiv.org/abs/1305.6646
    .. [2] N. Karampatziakis, J. Langford, "Online importance weight aware updates", UAI 2011,
       https://arxiv.org/abs/1011.1576
    .. [3] M. Herbster, M. Warmuth, "Tracking the best expert", Machine Learning 32, 1998,
       https://doi.org/10.1023/A:1007424614876
    """

    name = "normalized_adaptive"
    kind = "stream"

    def __init__(self, rates=(0.5, 2.0, 8.0, 32.0)):
        self.rates = rates

    def method(self, problem, W, b, state=None):
        """The method that learns the rows of ``problem``, from ``state`` if there is one."""
        return NormalizedAdaptiveMethod(problem, W, b, self.rates, state)
