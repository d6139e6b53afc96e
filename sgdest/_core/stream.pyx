"""The streaming method: a mixture of normalised adaptive gradients, one row at a time.

Design:

- K experts learn the same rows with K learning rates. They share the statistics of the columns
  (largest value, sum of squared gradients): one set per rate gave the same loss to three digits
  and cost 1.3-5 times as much (docs/design, "streaming").
- What a step needs of a feature lies in one record, a cache line for four rates and one output::

      experts[j] = [u of rate 0, outputs 0 .. | u of rate 1, .. | .. | padding | A, s, C, v]

  with s the largest value seen, u = s w the weights of x / s, A the sum of squared gradients in
  u, C the length of the common path up to which the penalty has been paid, and v = 1 / sqrt(A).
  A larger s thus changes no u, as [1]_ wants it, and no column overflows, whatever its scale.
  Before a feature is first seen, s is 0 and u is w. The record after that of the last feature is
  the intercept's: a feature that is always 1 and never penalised.
- On few columns one more expert, the last one and of rate 0, takes Newton steps in u instead.
- Penalties are paid late: A changes only when its feature is not zero, so what was missed
  meanwhile is one flow of a known length. Reading the weights pays on copies and leaves the
  records alone, so that neither looking nor the cut of the rows into calls changes a bit.
"""

cimport cython
from libc.math cimport INFINITY, exp, fabs, fmin, isfinite, sqrt
from sgdest._core cimport simd
from sgdest._core.simd cimport prefetch
from sgdest._core.method cimport Method
from sgdest._core.online_newton cimport OnlineNewton
from sgdest._core.penalties cimport Penalty
from sgdest._core.problem cimport Problem
from sgdest._core.stream_kernels cimport (
    LARGEST, PAID, ROOT, SQUARES, Records, StreamLoops, stream_loops,
)
from sgdest._core.stream_rules cimport StepRule, Targets

import numpy as np

from sgdest._core.losses import SquaredError
from sgdest._core.method import Optimizer
from sgdest._core.stream_rules import Measurements, step_rule, targets_class
from sgdest._core.stream_state import (
    checked_rates, empty_records, fresh_state, lanes_of, may_take_newton_steps, record_width,
    state_without_newton)

cdef const StreamLoops* loops = stream_loops(simd.level)

# A loss of a label or a count above this says no more about an expert than this does.
cdef double WORST_LOSS = 1e3
# What each row deals out evenly of the mixture, so that it can follow a change. Margin losses
# know no bound of z that a wild expert would keep to: on newsgroups20 a share of 1e-3 costs 0.25
# instead of 0.13; theirs only keeps an expert from being lost for ever.
cdef double SHARE = 1e-4
cdef double SHARE_OF_MARGINS = 1e-10
# Rows from one column's turn to pay the penalty of its Newton steps to that of the next.
cdef Py_ssize_t TURN = 8
# Values below this count as zero: their inverses would overflow.
cdef double NEGLIGIBLE = 1e-300


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
    newton_columns : int, default=0
        Up to so many columns, one more expert takes Newton steps.
    state : dict, default=None
        From ``state()`` or ``state_after_fit``; it is copied.
    """

    cdef double[:, ::1] experts
    cdef double[::1] mixture, losses, rates
    cdef double norm             # sum over rows of the squared length of x / s
    cdef double path             # sum of c s unit gain: the common factor of all step lengths
    cdef double weight           # sum of s
    cdef Targets targets
    cdef StepRule rule
    cdef OnlineNewton newton     # of the last expert, if ``has_newton``
    cdef bint has_newton
    cdef Py_ssize_t n_rates, n_outputs
    cdef Py_ssize_t n_lanes      # weights in a record, those that pad it included
    cdef Records at              # of one row
    cdef readonly double skipped # rows whose loss or slope is not finite: nothing is learned
    cdef double share            # of the mixture, dealt out evenly after each row
    cdef double temper           # 0, or: losses count in units of their mean over this
    cdef bint penalised          # there is a penalty; it does more than scale
    cdef bint shifted
    # room for one row, and for its lanes
    cdef Py_ssize_t[::1] columns
    cdef double[::1] values, room
    cdef double[::1] y, z, d, h, lengths, factors, squares, lane_rates

    def __init__(self, Problem problem, double[:, ::1] W, double[::1] b, rates, newton_columns=0,
                 state=None):
        rates, newton = checked_rates(rates), may_take_newton_steps(problem, newton_columns)
        if state is None:
            state = fresh_state(problem, W, b, rates, newton)
        elif not newton:
            state = state_without_newton(state, problem.n_outputs)
        self.rates = np.array(state["rates"])
        self.n_rates, self.n_outputs = self.rates.shape[0], problem.n_outputs
        self.n_lanes = lanes_of(self.n_rates, self.n_outputs)
        self.lane_rates = np.resize(np.repeat(self.rates, self.n_outputs), self.n_lanes)
        self.columns, self.values, self.room = np.empty(1, dtype=np.intp), np.empty(1), np.empty(1)
        self.y = np.empty(self.n_rates * problem.target_width)
        # behind the lanes of z: the mixture's prediction
        self.z, self.d, self.h = np.zeros((3, self.n_lanes + self.n_outputs))
        self.lengths, self.factors, self.squares = np.empty((3, self.n_rates))
        super().__init__(problem, W, b)
        self._resume(state)

    def _resume(self, state):
        """Go on from a copy of ``state``: estimators that share it may each go on."""
        kind = targets_class(self.problem.loss)
        shape = (self.problem.n_features + 1, record_width(self.n_rates, self.n_outputs))
        if state["experts"].shape != shape:
            raise ValueError(f"experts must have shape {shape}; got {state['experts'].shape}")
        experts = empty_records(self.problem.n_features, self.n_rates, self.n_outputs)
        np.copyto(experts, state["experts"])
        self.experts = experts
        self.at = Records(0, shape[1], self.n_lanes, NULL, &self.experts[0, 0])
        self.mixture, self.losses = np.array(state["mixture"]), np.array(state["losses"])
        self.t, self.norm, self.path, self.weight = (
            state[name] for name in ("t", "norm", "path", "weight"))
        self.targets = kind(np.array(state["range"]), state["weight"], state["spread"])
        self.rule = step_rule(self.problem.loss)
        self.has_newton = len(state["newton_paid"]) > 0
        self.newton = OnlineNewton(state["newton_inverse"], state["newton_paid"])
        margins = type(self.problem.loss).targets == "sign"
        self.share = SHARE_OF_MARGINS if margins else SHARE
        self.temper = 0.0
        if kind is Measurements:
            self.temper = 2.0 if isinstance(self.problem.loss, SquaredError) else 1.0

    def bind(self, Problem problem):
        super().bind(problem)
        cdef Penalty penalty = problem.penalty
        self.shifted = penalty.l1 > 0.0 or penalty.positive
        self.penalised = self.shifted or penalty.l2 > 0.0
        if problem.rows.largest_count() >= self.values.shape[0]:
            self.columns = np.empty(problem.rows.largest_count() + 1, dtype=np.intp)
            self.values, self.room = np.empty((2, problem.rows.largest_count() + 1))

    def state(self):
        """Arrays and numbers to go on from; the arrays are live."""
        return {"t": self.t, "rates": np.asarray(self.rates), "experts": np.asarray(self.experts),
                "mixture": np.asarray(self.mixture), "losses": np.asarray(self.losses),
                "range": np.asarray(self.targets.range), "norm": self.norm, "path": self.path,
                "weight": self.weight, "spread": self.targets.spread,
                "newton_inverse": np.asarray(self.newton.inverse),
                "newton_paid": np.asarray(self.newton.paid)}

    def settle(self):
        """Write the mixture of the experts, penalties paid, into ``W`` and ``b``."""
        cdef Py_ssize_t j, k, o, K = self.n_outputs
        cdef double[::1] record = np.empty(self.experts.shape[1])
        cdef double[:, ::1] newton = self.newton_weights()
        cdef Records copied = Records(1, 0, self.n_lanes, NULL, NULL)
        cdef double total, s
        with nogil:
            for j in range(self.experts.shape[0]):
                record[:] = self.experts[j]
                s = record[self.n_lanes + LARGEST]
                if self.penalised and j < self.problem.n_features:
                    copied.columns, copied.experts = &j, &record[0]
                    self.pay_all(&copied)
                for o in range(K):
                    if self.has_newton:
                        record[(self.n_rates - 1) * K + o] = newton[o, j]
                    total = 0.0
                    for k in range(self.n_rates):
                        total += self.mixture[k] * record[k * K + o]
                    if s > 0.0:
                        total /= s
                    if j < self.problem.n_features:
                        self.W[j, o] = total
                    else:
                        self.b[o] = total

    def newton_weights(self):
        """Those of the Newton expert, the penalty paid by all columns: (n_outputs, n_columns)."""
        cdef Py_ssize_t j, o, K = self.n_outputs, D = self.newton.inverse.shape[1]
        cdef Py_ssize_t first = (self.n_rates - 1) * K
        cdef double[:, ::1] w = np.array(np.asarray(self.experts)[:D, first:first + K].T,
                                         order="C")
        if self.has_newton and self.penalised:
            for j in range(self.problem.n_features):
                for o in range(K):
                    self.newton.decay(o, j, self.due(j), &w[o, 0], 1)
        return np.asarray(w)

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
        cdef double c, P, eta, norm, loss, G = 0.0
        cdef Py_ssize_t k, n, N = self.n_rates - self.has_newton
        if s <= 0.0:
            return
        n = self.gather(i)
        norm = self.predict(i, n)
        loss = self.measure()
        if not isfinite(s * (loss + s * self.find_slopes())):
            self.skipped += 1.0
            return
        self.loss_sum += s * loss
        for k in range(self.sums.shape[0]):
            self.sums[k] += self.problem.loss.values(1, 1, &self.y[k], &self.z[self.n_lanes + k], &s)
        self.weight_sum += s
        self.t += 1.0
        self.weight += s
        self.norm += norm
        self.compare(s)
        self.targets.see(s, &self.y[0])
        # all alike, however little an expert weighs: without its own slopes it would run away
        for k in range(N):
            G += s * s * self.squares[k] / N
        if self.has_newton:
            self.take_newton_step(s, n)
        c = sqrt(self.t / self.norm) if self.norm > 0.0 else 0.0
        eta = s * self.rule.gain * self.targets.unit
        P = c * loops.add_squares(&self.at, G, &self.room[0], &self.values[0])
        if P > 0.0:
            self.choose_steps(eta, P, c)
            loops.move(&self.at, &self.values[0], &self.d[0])
        # the penalty of one row, weighted as the row is: the minimiser is the objective's
        self.path += c * eta

    cdef Py_ssize_t gather(self, Py_ssize_t i) noexcept nogil:
        """Columns and values of the entries of row i that count, the intercept's last."""
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
            if fabs(values[p]) >= NEGLIGIBLE:
                if is_sparse:
                    prefetch(&self.experts[columns[n], 0], 8 * self.experts.shape[1])
                n += 1
        self.at.columns = columns
        self.at.n = n
        if self.problem.fit_intercept:
            columns[n] = self.problem.n_features
            values[n] = 1.0
            n += 1
        return n

    cdef void pay(self, Py_ssize_t j, double* record) noexcept nogil:
        """Shrink the weights of feature j by the penalty of the path since it was last paid.

        In u = s w the penalty has the factor c / s.
        """
        cdef double* tail = record + self.n_lanes
        cdef double length = (self.path - tail[PAID]) * tail[ROOT]
        cdef double factor = 1.0 / tail[LARGEST]
        cdef Py_ssize_t k
        tail[PAID] = self.path
        if length <= 0.0:
            return
        if self.problem.penalty.c != NULL:
            factor *= self.problem.penalty.c[j]
        for k in range(self.n_rates):
            self.lengths[k] = self.rates[k] * length
            self.factors[k] = factor
        self.problem.penalty.shrink_each(self.n_rates, self.n_outputs, record,
                                         &self.lengths[0], &self.factors[0])

    cdef void pay_all(self, const Records* at) noexcept nogil:
        """``pay`` of many features at once."""
        cdef Py_ssize_t p
        if not self.shifted:
            loops.pay(at, self.path, self.problem.penalty.l2, self.problem.penalty.c,
                      &self.lane_rates[0])
            return
        for p in range(at.n):
            self.pay(at.columns[p], at.experts + at.columns[p] * at.width)

    cdef double predict(self, Py_ssize_t i, Py_ssize_t n) noexcept nogil:
        """Raw predictions of every expert, and targets; the squared length of x / s.

        Brings the records of the row up to date; ``values`` become x / s.
        """
        cdef Py_ssize_t p, k, o, K = self.n_outputs, T = self.problem.target_width
        cdef double norm = 0.0
        cdef double* z = &self.z[0]
        cdef double* values = &self.values[0]
        if self.penalised:
            self.pay_all(&self.at)
        self.at.n = n
        if not loops.to_units(&self.at, &self.room[0], values):
            for p in range(n):
                values[p] = self.scale(self.at.columns[p], values[p])
        for p in range(n):
            norm += values[p] * values[p]
        for k in range(self.n_lanes):
            z[k] = 0.0
        loops.recall(&self.at, values, z)
        self.problem.target(i, &self.y[0])
        for k in range(self.n_rates):
            for o in range(T):
                self.y[k * T + o] = self.y[o]
            for o in range(K):
                if self.problem.o_data != NULL:
                    z[k * K + o] += self.problem.o_data[i * K + o]
                z[k * K + o] = self.targets.bounded(o, z[k * K + o])
        return norm

    cdef inline double scale(self, Py_ssize_t j, double x) noexcept nogil:
        """Keep the largest value of feature j; this one in units of it."""
        cdef double* record = self.at.experts + j * self.at.width
        cdef double* tail = record + self.n_lanes
        cdef double ratio, size = fabs(x)
        cdef Py_ssize_t k
        if size > tail[LARGEST]:
            if tail[LARGEST] > 0.0:
                ratio = tail[LARGEST] / size
                tail[SQUARES] *= ratio * ratio
                if self.has_newton:
                    for k in range(self.n_outputs):
                        self.newton.rescale(k, j, ratio,
                                            record + (self.n_rates - 1) * self.n_outputs + k)
            else:
                for k in range(self.n_lanes):
                    record[k] *= size
            tail[LARGEST] = size
        return x / tail[LARGEST]

    cdef double measure(self) noexcept nogil:
        """The loss of the mixture, ``lengths`` those of the experts."""
        cdef Py_ssize_t k, K = self.n_outputs
        cdef double one = 1.0
        cdef double* z = &self.z[0]
        for k in range(K):
            z[self.n_lanes + k] = 0.0
        for k in range(self.n_rates):
            self.lengths[k] = self.problem.loss.values(1, K, &self.y[0], z + k * K, &one)
            add_scaled(K, self.mixture[k], z + k * K, z + self.n_lanes)
        return self.problem.loss.values(1, K, &self.y[0], z + self.n_lanes, &one)

    cdef void compare(self, double s) noexcept nogil:
        """Add up the losses of the experts and weigh the experts by them."""
        cdef Py_ssize_t k
        cdef double mass = 0.0, least = INFINITY, best = INFINITY, sharpness = 1.0
        for k in range(self.n_rates):
            if self.temper == 0.0:
                self.lengths[k] = fmin(self.lengths[k], WORST_LOSS)
            self.lengths[k] *= s
            self.losses[k] += self.lengths[k]
            least = fmin(least, self.lengths[k])
            best = fmin(best, self.losses[k])
        if self.temper > 0.0:
            # the scale of a Gaussian, or of another density, that fits the best expert's losses
            sharpness = fmin(1e300, self.weight * self.n_outputs / (self.temper * best))
        for k in range(self.n_rates):
            self.mixture[k] *= exp(-sharpness * (self.lengths[k] - least))
            mass += self.mixture[k]
        for k in range(self.n_rates):
            self.mixture[k] = ((1.0 - self.share) * self.mixture[k] / mass
                               + self.share / self.n_rates)

    cdef double find_slopes(self) noexcept nogil:
        """``d`` receives the derivatives, ``squares`` their mean squares; the sum of these."""
        cdef Py_ssize_t k, o, K = self.n_outputs
        cdef double row, total = 0.0
        self.problem.loss.derivatives(self.n_rates, K, &self.y[0], &self.z[0], &self.d[0])
        for k in range(self.n_rates):
            row = 0.0
            for o in range(K):
                row += self.d[k * K + o] * self.d[k * K + o]
            self.squares[k] = self.rule.gain * self.rule.gain * row / K
            total += self.squares[k]
        return total

    cdef void take_newton_step(self, double s, Py_ssize_t n) noexcept nogil:
        """That of the last expert; ``values`` are x / s."""
        cdef Py_ssize_t k, m, K = self.n_outputs, T = self.problem.target_width
        cdef Py_ssize_t N = self.n_rates - 1, width = self.experts.shape[1]
        cdef double h, unit = self.targets.unit, scale = s * self.rule.scale(unit)
        if self.rule.curved:
            self.problem.loss.curvatures(1, K, &self.y[N * T], &self.z[N * K], &self.h[N * K])
        for k in range(K):
            m = N * K + k
            h = self.rule.bend(self.d[m], self.h[m], unit)
            if h > 0.0:
                self.newton.learn(k, n, &self.columns[0], &self.values[0], scale * self.d[m],
                                  scale * h, unit if self.rule.bounded else INFINITY,
                                  &self.experts[0, m], width)
        if self.problem.penalty.l2 > 0.0 and <Py_ssize_t> self.t % TURN == 0:
            self.decay_newton((<Py_ssize_t> self.t // TURN) % self.problem.n_features)

    cdef double due(self, Py_ssize_t j) noexcept nogil:
        """The rate in u of the penalty on column j of the rows since its last turn."""
        cdef double unit = self.experts[j, self.n_lanes + LARGEST]
        cdef double c = 1.0 if self.problem.penalty.c == NULL else self.problem.penalty.c[j]
        cdef double due = (self.problem.penalty.l2 * (self.weight - self.newton.paid[j])
                           * self.rule.scale(self.targets.unit))
        return fmin(due * c * c / unit / unit, 1e100) if due * c > 0.0 < unit else 0.0

    cdef void decay_newton(self, Py_ssize_t j) noexcept nogil:
        """Column j pays the penalty of the rows since its last turn."""
        cdef double due = self.due(j)
        cdef Py_ssize_t k
        self.newton.paid[j] = self.weight
        for k in range(self.n_outputs):
            self.newton.decay(k, j, due, &self.experts[0, (self.n_rates - 1) * self.n_outputs + k],
                              self.experts.shape[1])

    cdef void choose_steps(self, double eta, double P, double c) noexcept nogil:
        """``d`` receives c D of every expert and output."""
        cdef Py_ssize_t k, o, m, K = self.n_outputs
        cdef Py_ssize_t T = self.problem.target_width
        if self.rule.curved:
            self.problem.loss.curvatures(self.n_rates, K, &self.y[0], &self.z[0], &self.h[0])
        for k in range(self.n_rates):
            for o in range(K):
                m = k * K + o
                if self.rates[k] == 0.0:       # Newton's expert, or one that stands still
                    self.d[m] = 0.0
                    continue
                # a joint loss has one target for all outputs
                self.d[m] = c * self.rule.step(self.y[k * T + min(o, T - 1)], self.z[m],
                                               self.d[m], self.h[m], eta * self.rates[k], P,
                                               self.targets.unit)


cdef inline void add_scaled(Py_ssize_t n, double a, const double* x, double* out) noexcept nogil:
    """out += a x."""
    cdef Py_ssize_t k
    for k in range(n):
        out[k] += a * x[k]


class NormalizedAdaptive(Optimizer):
    """Mixture of normalised adaptive gradients: learns each row once, with nothing to tune.

    Columns may have any scale: a column times a constant gives the same predictions. One expert
    per rate :math:`\eta_k` learns

    .. math::

        w_{kj} \leftarrow w_{kj} + c\, D_k \frac{x_j}{s_j \sqrt{A_j}},
        \qquad D_k \approx -\eta_k\, \ell'(y, z_k), \qquad c = \sqrt{t / N_t},

    where :math:`s_j` is the largest :math:`|x_j|` so far, :math:`A_j` the sum of the squared
    derivatives in :math:`w_j`, means over the experts, :math:`N_t` the sum of
    :math:`(x_j / s_j)^2` over the t rows so far and all columns [1]_. :math:`D_k` follows the loss along the step, so that no step leads
    beyond the target [2]_. The model is :math:`\sum_k \pi_k w_k` with weights
    :math:`\pi_k \propto \exp(-\textrm{loss of expert } k)`, of which a small share is dealt out
    evenly after each row, so that the mixture can follow a change [3]_.

    Parameters
    ----------
    rates : sequence of float > 0, default=(0.5, 1.0, 3.0, 32.0)
        One expert per rate. A rate has no unit.
    newton_columns : int >= 0, default=64
        Up to so many columns, one more expert takes Newton steps, at O(n_features^2) for a row:
        recursive least squares, with the curvature of the loss. Of K outputs each has a matrix of
        all pairs of columns: together they may have ``(newton_columns + 1)**2`` elements. With L1
        or ``positive=True`` there is no such expert.

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

    def __init__(self, rates=(0.5, 1.0, 3.0, 32.0), newton_columns=64):
        self.rates, self.newton_columns = rates, newton_columns

    def method(self, problem, W, b, state=None):
        """The method that learns the rows of ``problem``, from ``state`` if there is one."""
        return NormalizedAdaptiveMethod(problem, W, b, self.rates, self.newton_columns, state)
