"""Dual coordinate ascent for L2: one multiplier per row, exact steps, a duality gap.

Design:

- The multiplier a_i of row i is a slope of its loss, and w = -sum_i s_i a_i (x_i - mean) / l2, with
  weights s that sum to one. A visit makes a_i the slope at the margin that it itself causes:
  ``Loss.dual_step`` (Hsieh et al. 2008; Shalev-Shwartz, Zhang 2013).
- Columns are centred without touching X. With v the sum over the rows as they are, A the sum of
  the coefficients and m_i = mean . x_i, the margin (x_i - mean) . (v - A mean) is
  x_i . v - A m_i - v . mean + A |mean|^2: two numbers to keep beside v.
- The unpenalised intercept follows the multipliers, b = centre - sum_i s_i a_i / stiffness, as if
  it were penalised about ``centre``, which moves to b after each epoch: the proximal point method.
  So sum_i s_i a_i tends to zero, without steps that could overshoot.
- Rows at a bound are put aside, rows that hardly move are visited less often; a check of the gap
  takes back those that would move.
- Where the gap falls slowly, smooth losses are handed over to ``TruncatedNewton``.
"""

cimport cython
from libc.math cimport INFINITY, fabs, fmax, isfinite, isnan
from libc.stdint cimport int32_t, uint64_t

import numpy as np
from scipy.sparse import csr_array

from sgdest._core.active_set import on_active_set
from sgdest._core.dual import dual_loss
from sgdest._core.intercept import best_intercept
from sgdest._core.method import Optimizer
from sgdest._core.penalties import L2
from sgdest._core.relay import RelayLane
from sgdest._core.solver import Solver, seconds_of_pass
from sgdest._core.subsampled_newton import sound_lane
from sgdest._core.truncated_newton import TruncatedNewton

from sgdest._core.losses cimport Loss
from sgdest._core.problem cimport Problem
from sgdest._core.random cimport shuffle
from sgdest._core.rows cimport Rows

# Seconds for a visit of a row (of a curved loss some exponentials more), for each of its stored
# entries, and of dense rows within the cache or outside of it.
VISIT, CURVED_VISIT, ENTRY, CACHED_ENTRY, DENSE_ENTRY = 1.5e-8, 6e-8, 2.5e-9, 4e-10, 1.2e-9
CACHE = 1 << 19         # entries
# A row that moves less than this share of the mean sits out 1, 3, 7, then 15 epochs.
cdef double LITTLE = 0.1
cdef int MOST_NAPS = 4
# Where the mean itself falls to less than this share in an epoch, all sleepers are woken.
cdef double FAST = 0.2


def square(v):
    """|v|^2, not by the BLAS, whose threads would spin beside ours."""
    return np.einsum("j,j->", v, v)


@cython.final
cdef class Multipliers:
    """The multipliers of a problem of one output with an L2 penalty, and epochs over them."""

    cdef Problem problem
    cdef Rows rows
    cdef Loss loss
    cdef readonly double l2, b, visited
    cdef double largest_move, imbalance, shortest, mean_move, pull, A, v_mean, mean_mean
    cdef bint curved, logistic, naps_allowed, centred
    cdef double unit              # what a weight of 1 is of all weights
    cdef double[::1] q, m, a, v, mean
    cdef Py_ssize_t[::1] order
    cdef readonly Py_ssize_t n_active, n_rows, epoch_number
    cdef int32_t[::1] wakes, naps
    cdef uint64_t seed
    cdef double last_imbalance
    cdef int same

    def __init__(self, Problem problem, mean, double b, double stiffness):
        cdef Py_ssize_t i
        cdef double bound = type(problem.loss).curvature_bound
        self.problem, self.rows, self.loss = problem, problem.rows, problem.loss
        self.l2 = problem.penalty.l2
        self.b = b
        self.centred = problem.fit_intercept
        self.pull = 1.0 / stiffness if self.centred else 0.0
        n, d = problem.n_rows, problem.n_features
        self.n_rows = n
        self.unit = 1.0 / problem.total_weight
        self.q, self.m, self.a = np.zeros(n), np.zeros(n if self.centred else 0), np.zeros(n)
        self.v, self.mean = np.zeros(d + 1), np.zeros(d + 1)
        if self.centred:
            np.asarray(self.mean)[:d] = mean
            self.mean_mean = square(mean)
        self.curved = type(problem.loss).curved
        self.logistic = problem.loss.name == "log_loss"
        self.naps_allowed = type(problem.loss).smoothness == "smooth"
        self.wakes, self.naps = (
            np.zeros(n if self.naps_allowed else 0, dtype=np.int32) for _ in range(2))
        # one step of Newton leaves an error of a tenth of the step where q h is at most 1/8
        self.shortest = 0.125 / bound
        self.largest_move, self.mean_move = INFINITY, 0.0
        self.seed = 1
        with nogil:
            self.measure()
        s = problem.sample_weight
        self.order = np.arange(n) if s is None else np.flatnonzero(s)
        self.n_active = self.order.shape[0]

    cdef void measure(self) noexcept nogil:
        """The curvature of the dual along each multiplier."""
        cdef Py_ssize_t i
        cdef double square
        for i in range(self.n_rows):
            square = self.rows.square_norm(i)
            if self.centred:
                self.m[i] = self.rows.dot(i, &self.mean[0])
                square = fmax(0.0, square - 2.0 * self.m[i] + self.mean_mean)
            self.q[i] = self.share(i) * square / self.l2

    cdef inline double share(self, Py_ssize_t i) noexcept nogil:
        """The weight of row i of all weights."""
        return self.unit * self.problem.weight(i)

    cdef inline double target(self, Py_ssize_t i) noexcept nogil:
        cdef double y
        self.problem.target(i, &y)
        return y

    cdef inline double margin(self, Py_ssize_t i) noexcept nogil:
        """Of the centred columns, offset included, without intercept."""
        cdef double z = self.rows.dot(i, &self.v[0])
        if self.centred:
            z += self.A * (self.mean_mean - self.m[i]) - self.v_mean
        return z if self.problem.o_data == NULL else z + self.problem.o_data[i]

    # -- an epoch --------------------------------------------------------------------------

    def run(self, Py_ssize_t n_epochs):
        """That many epochs over the rows that are not put aside."""
        cdef Py_ssize_t _
        with nogil:
            for _ in range(n_epochs):
                self.epoch()

    cdef void epoch(self) noexcept nogil:
        cdef Py_ssize_t p = 0, i, n_moved = 0, ahead
        cdef double z, a, q, change, largest = 0.0, total = 0.0
        shuffle(self.n_active, &self.order[0], &self.seed)
        self.epoch_number += 1
        while p < self.n_active:
            i = self.order[p]
            if self.naps_allowed and self.wakes[i] > self.epoch_number:
                p += 1
                continue
            ahead = min(p + 4, self.n_active - 1)
            self.rows.prefetch(self.order[min(p + 2, ahead)], self.order[ahead])
            z = self.margin(i) + self.b
            self.visited += 1.0
            q = self.q[i] + self.share(i) * self.pull
            a = self.slope(i, z, q)
            change = a - self.a[i]
            if change == 0.0:
                if self.rests(i, z, q, self.largest_move):
                    self.n_active -= 1
                    self.order[p] = self.order[self.n_active]
                    self.order[self.n_active] = i
                    continue
            else:
                self.move(i, change)
                largest = fmax(largest, q * fabs(change))
            total += fabs(change)
            n_moved += 1
            if self.naps_allowed:
                self.rest_for_a_while(i, fabs(change))
            p += 1
        self.largest_move = largest
        total = total / n_moved if n_moved else 0.0
        if self.naps_allowed and total < FAST * self.mean_move:  # all rows move less now: none is special
            for i in range(self.n_rows):
                self.wakes[i] = self.naps[i] = 0
        self.mean_move = total
        if self.centred:
            self.b -= self.imbalance * self.pull
            if not self.naps_allowed:
                self.follow()

    cdef inline void follow(self) noexcept nogil:
        """Loosen the intercept while the sum of the multipliers keeps its sign, else stiffen it."""
        cdef double now = self.imbalance, before = self.last_imbalance
        if now * before < 0.0:
            self.pull *= 0.5
            self.same = 0
        elif fabs(now) > 0.5 * fabs(before):
            self.same += 1
            if self.same >= 2:
                self.pull *= 2.0
                self.same = 0
        self.last_imbalance = now

    cdef inline void move(self, Py_ssize_t i, double change) noexcept nogil:
        """a_i += change, and what depends on it."""
        cdef double moved = self.share(i) * change, step = -moved / self.l2
        self.a[i] += change
        self.rows.add(i, step, &self.v[0])
        if self.centred:
            self.A += step
            self.v_mean += step * self.m[i]
            self.imbalance += moved
            self.b -= moved * self.pull

    cdef inline void rest_for_a_while(self, Py_ssize_t i, double change) noexcept nogil:
        if change < LITTLE * self.mean_move:
            self.naps[i] = min(self.naps[i] + 1, MOST_NAPS)
            self.wakes[i] = <int32_t> self.epoch_number + (1 << self.naps[i])
        else:
            self.naps[i] = 0

    cdef inline bint rests(self, Py_ssize_t i, double z, double q, double reach) noexcept nogil:
        """Whether a_i would stay where it is at any margin within ``reach`` of z."""
        cdef double u = z + q * self.a[i], y
        if q <= 0.0 or self.curved or not isfinite(reach):
            return False
        y = self.target(i)
        return (self.loss.dual_step(y, u - reach, q) == self.a[i]
                and self.loss.dual_step(y, u + reach, q) == self.a[i])

    cdef inline double slope(self, Py_ssize_t i, double z, double q) noexcept nogil:
        """The slope at the margin that it causes itself; z is the margin now.

        For curved losses a few steps of Newton, each a mean of the slope so far and the slope at
        its margin, so that it stays within the domain of the conjugate.
        """
        cdef double y = self.target(i), a = self.a[i], v = z, slope, h
        cdef double u = z + q * a, change, before = INFINITY
        if q <= 0.0:
            return self.loss.derivative(y, z)
        if not self.curved:
            return self.loss.dual_step(y, u, q)
        for _ in range(6):
            slope = self.loss.derivative(y, v)
            # a second exponential would cost as much as the visit of a short row
            h = (slope + y) * (1.0 - slope - y) if self.logistic else self.loss.curvature(y, v)
            change = (slope - a) / (1.0 + q * h)
            if not fabs(change) <= 0.5 * before:
                break
            a += change
            if q <= self.shortest or fabs(change) <= 0.1 * fabs(a - self.a[i]):
                return a
            before = fabs(change)
            v = u - q * a
        return self.loss.dual_step(y, u, q)

    # -- a check ---------------------------------------------------------------------------

    def weights(self):
        """w: ndarray of shape (n_features,)."""
        w = np.array(self.v)[:self.problem.n_features]
        if self.centred:
            w -= self.A * np.asarray(self.mean)[:len(w)]
        return w

    def slopes(self):
        """The multipliers: ndarray of shape (n_rows, 1)."""
        return np.array(self.a)[:, None]

    def margins(self, double[::1] z):
        """Fills z with the margins of the centred columns, offsets included, without intercept."""
        cdef Py_ssize_t i
        with nogil:
            for i in range(self.n_rows):
                z[i] = self.margin(i)

    def take_back(self, const double[::1] z):
        """Visit again the rows put aside that would move at the margins z."""
        cdef Py_ssize_t p, i
        for p in range(self.n_active, self.order.shape[0]):
            i = self.order[p]
            if not self.rests(i, z[i], self.q[i] + self.share(i) * self.pull, 0.0):
                self.order[p] = self.order[self.n_active]
                self.order[self.n_active] = i
                self.n_active += 1

    def dual_loss(self, double b, double down=1.0, double up=1.0, double by=0.0):
        """sum_i s_i (a_i (o_i + b) - conjugate(a_i)), multipliers scaled or moved.

        Negative ones count ``down`` times, positive ones ``up`` times; all are moved by ``by``.
        """
        a = np.asarray(self.a)
        if down != 1.0 or up != 1.0:
            a = np.where(a < 0.0, down, up) * a
        return dual_loss(self.problem, a + by if by else a, b)

    cdef double sum_of_multipliers(self) noexcept nogil:
        cdef Py_ssize_t i
        cdef double total = 0.0
        for i in range(self.n_rows):
            total += self.share(i) * self.a[i]
        return total

    def certified(self, w):
        """A lower bound of F: the dual at multipliers made feasible for an intercept.

        They are moved by a constant, which leaves w as it is, if that keeps them in the domain;
        else those of the sign that prevails are scaled, and w is summed anew.
        """
        cdef Py_ssize_t i
        cdef double up = 0.0, down = 0.0, a
        cdef double[::1] v
        if not self.centred:
            return self.dual_loss(0.0) - 0.5 * self.l2 * square(w)
        self.imbalance = self.sum_of_multipliers()
        moved = self.dual_loss(0.0, by=-self.imbalance) - 0.5 * self.l2 * square(w)
        if np.isfinite(moved):
            return moved
        for i in range(self.n_rows):
            a = self.share(i) * self.a[i]
            up += fmax(a, 0.0)
            down += fmax(-a, 0.0)
        least = min(up, down)
        down, up = (least / part if part > 0.0 else 1.0 for part in (down, up))
        v = np.zeros(self.problem.n_features + 1)
        with nogil:
            for i in range(self.n_rows):
                a = (down if self.a[i] < 0.0 else up) * self.a[i]
                if a != 0.0:
                    self.rows.add(i, -self.share(i) * a / self.l2, &v[0])
        return self.dual_loss(0.0, down, up) - 0.5 * self.l2 * square(v)

    def start_from(self, const double[:, ::1] slopes):
        """Set the multipliers, and w by one pass."""
        cdef Py_ssize_t i
        cdef double b = self.b
        with nogil:
            for i in range(self.n_rows):
                if self.share(i) > 0.0 and slopes[i, 0] != 0.0:
                    self.move(i, slopes[i, 0] - self.a[i])
        self.b = b


class DualAscent(Optimizer):
    """Dual coordinate ascent: one multiplier per row, exact steps, a duality gap.

    For sparse data with many columns and L2. Needs ``penalty="l2"`` with ``alpha`` > 0; handles
    every loss, one-versus-rest, and an unpenalised intercept; a softmax is left to Newton's method
    or L-BFGS. Columns are centred implicitly. Smooth losses are handed over to Newton's method with
    conjugate gradients [3]_ where the gap falls slowly.

    References
    ----------
    .. [1] C.-J. Hsieh et al., "A dual coordinate descent method for large-scale linear SVM",
       ICML 2008.
    .. [2] S. Shalev-Shwartz, T. Zhang, "Stochastic dual coordinate ascent methods for regularized
       loss minimization", JMLR 2013.
    .. [3] C.-J. Lin, R. Weng, S. Keerthi, "Trust region Newton method for large-scale logistic
       regression", JMLR 2008.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.preprocessing import scale
    >>> from sgdest import GDClassifier
    >>> from sgdest.optimizers import DualAscent
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> model = GDClassifier(loss="hinge", optimizer=DualAscent()).fit(scale(X), y)
    >>> model.converged_
    True
    """

    name = "dual_ascent"
    kind = "solver"

    @staticmethod
    def expected_seconds(problem):
        """About how long it takes to a relative suboptimality of 1e-6.

        A row weighs |x|^2 / (l2 n): as much as all others together where that is 1. Then some ten
        epochs do; with less penalty they are many more, above all for kinked losses.
        """
        penalty, loss = problem.penalty, problem.loss
        smooth = type(loss).smoothness == "smooth"
        if (not penalty.l2 > 0.0 or penalty.l1 > 0.0 or penalty.positive or type(loss).joint
                or penalty.factors is not None or not problem.n_rows
                or not np.isfinite(loss.curvature_bound if smooth else 1.0)
                or not (smooth or has_conjugate(problem))):
            return np.inf
        square = mean_square(problem, max(1, problem.n_rows // 64))
        weight = square / (penalty.l2 * problem.n_rows)
        log_weight = np.log10(1.0 + weight)
        epochs = (12.0 + 15.0 * log_weight if smooth
                  else 25.0 + 40.0 * min(weight, 10.0 * log_weight))
        entry = CACHED_ENTRY if problem.rows.n_stored < CACHE else DENSE_ENTRY
        entry = ENTRY if problem.rows.is_sparse else entry
        visit = CURVED_VISIT if type(loss).curved else VISIT
        epoch = visit * problem.n_rows + entry * problem.rows.n_stored
        return problem.n_outputs * (epochs * epoch + 3.0 * seconds_of_pass(problem) + 1e-3)

    def method(self, problem, W, b, *, tol=1e-4, warm=False):
        """The solver, at work on ``W`` and ``b``; its lanes are ``DualAscentLane``."""
        penalty, loss = problem.penalty, problem.loss
        kept = penalty.factors is None or np.all(penalty.factors > 0.0)
        if not (penalty.l2 > 0.0 and penalty.l1 == 0.0 and kept) or penalty.positive:
            raise ValueError(
                "optimizer='dual_ascent' needs penalty='l2' with alpha > 0, penalty_weights > 0 "
                f"and positive=False; got penalty={penalty.name!r}, alpha={penalty.l1 + penalty.l2}"
                ". Use optimizer='auto'.")
        if type(loss).joint:
            return Solver(problem, W, b, sound_lane, tol, warm)
        if type(loss).smoothness != "smooth" and not has_conjugate(problem):
            raise ValueError(
                "optimizer='dual_ascent' needs the curvature of a loss or its conjugate; got "
                f"{loss.name!r}, which has neither. Use optimizer='auto'.")
        return Solver(problem, W, b, DualAscentLane, tol, warm)


def mean_square(Problem problem, Py_ssize_t step):
    """Mean |x_i|^2 of every ``step``-th row."""
    cdef Py_ssize_t i, n = 0
    cdef double total = 0.0
    for i from 0 <= i < problem.n_rows by step:
        total += problem.rows.square_norm(i)
        n += 1
    return total / n


def has_conjugate(Problem problem):
    """Whether the conjugate of the loss is written."""
    cdef double[::1] y = np.zeros(problem.target_width)
    if not problem.n_rows:
        return True
    problem.target(0, &y[0])
    return not isnan(problem.loss.conjugate(y[0], 0.0))


class Frame:
    """The problem in columns divided by the factors of their penalty, and the way back.

    Dense columns whose offset would swallow the digits of what they vary by are centred as well.
    """

    def __init__(self, problem, mean):
        rows, factors = problem.rows, problem.penalty.factors
        norm = square(mean)
        far = not rows.is_sparse and rows.square_norms().mean() - norm < 1e-6 * norm
        self.problem, self.mean, self.factors, self.removed = problem, mean, factors, None
        if factors is None and not far:
            return
        c = np.ones(problem.n_features) if factors is None else factors
        self.factors, self.mean = c, mean / c
        X = rows.X
        if rows.is_sparse:
            X = csr_array((X.data / c[X.indices], X.indices, X.indptr), shape=X.shape)
        elif far:
            X, self.removed, self.mean = (X - mean) / c, self.mean, np.zeros_like(mean)
        else:
            X = X / c
        self.problem = Problem(
            X, problem.targets().ravel(), problem.loss, L2(problem.penalty.l2),
            sample_weight=problem.sample_weight, offset=problem.offset,
            fit_intercept=problem.fit_intercept)

    def inwards(self, W, b):
        """The parameters in these columns."""
        W = W if self.factors is None else W * self.factors[:, None]
        return W, b if self.removed is None else b + np.einsum("j,jk->k", self.removed, W)

    def outwards(self, W, b):
        """The parameters in the columns of X."""
        b = b if self.removed is None else b - np.einsum("j,jk->k", self.removed, W)
        return W if self.factors is None else W / self.factors[:, None], b


class DualAscentLane(RelayLane):
    """Epochs of dual ascent between checks of the gap; then, maybe, steps of Newton's method."""

    first_check = 2         # epochs
    least_epochs = 10       # before the hand-over
    patience = 15.0         # passes that may be left; more, and Newton's method is faster
    between_checks = 4.0    # passes; a check costs half of one
    worth_a_check = 0.7     # passes: where few rows are visited, a check costs as much as many epochs
    trials = 200            # epochs that do not halve the gap

    def __init__(self, problem, start):
        super().__init__(problem, start)
        self.frame = Frame(problem, start.moments[0] if problem.fit_intercept
                           else np.zeros(problem.n_features))
        self.at = self.frame.inwards(self.W, self.b)
        self.smooth = type(problem.loss).smoothness == "smooth"
        self.epochs, self.planned, self.visited, self.caution = 0, self.first_check, 0.0, 1.0
        self.last_gap, self.least_gap = abs(self.start_objective), np.inf
        self.last_halving, self.passes_left, self.last_trial = 0, 0.0, self.start_objective
        self.newton = self.multipliers = None
        stiffness = self.stiffness()
        if self.warm:
            self.z = problem.margins(self.W, self.b)
            self.objective = problem.penalty.value_of(self.W) + self.mean_loss(self.z)
        if not has_conjugate(problem):
            self.begin_newton()
            return
        self.multipliers = Multipliers(self.frame.problem, self.frame.mean, self.centred_intercept(),
                                       stiffness)
        if self.warm:
            self.multipliers.start_from(problem.slopes(self.z))

    def stiffness(self):
        """Of the intercept. Smooth losses: little of their curvature; the rest varies by epoch."""
        if not self.problem.fit_intercept:
            return 1.0
        if self.smooth:
            return 0.01 * max(float(self.problem.mean_curvature(self.z)[0]), 1e-3)
        if type(self.problem.loss).targets != "real" or self.problem.coded:
            return 1.0
        spread = np.std(self.problem.targets())
        return 1.0 / spread if spread > 0.0 else 1.0

    def mean_loss(self, z):
        return self.problem.evaluate(None, None, z, gradient=False)[0]

    def centred_intercept(self):
        W, b = self.at
        return float(b[0] + np.einsum("j,j->", self.frame.mean, W[:, 0]))

    def go(self):
        if self.newton is not None:
            self.newton_step()
            if self.falls_short():
                self.newton = None
                yield from self.hand_over()
            return
        self.ascend()
        if self.has_stopped() or self.found_exactly() or not self.gets_nowhere():
            return
        if self.smooth:
            self.begin_newton()
        else:
            self.multipliers = None
            yield from self.hand_over()

    # -- dual ascent -----------------------------------------------------------------------

    def ascend(self):
        """Epochs, then a check of the gap."""
        multipliers, problem = self.multipliers, self.problem
        multipliers.run(self.planned)
        self.epochs += self.planned
        z = np.empty_like(self.z)
        multipliers.margins(z[:, 0])
        b, shift, w = 0.0, 0.0, multipliers.weights()
        if problem.fit_intercept:
            b = best_intercept(problem, z, multipliers.b, 1e-9)
            shift = np.einsum("j,j->", self.frame.mean, w)
        multipliers.take_back(z[:, 0])
        z += b
        size = 0.5 * multipliers.l2 * square(w)
        self.approach(w, np.array([b - shift]), z, self.mean_loss(z) + size)
        self.judge(self.objective - (multipliers.dual_loss(b) - size), w)

    def approach(self, w, b, z, objective):
        """Move to the point of the multipliers, or less far if F is higher there."""
        W, share, (last_W, last_b) = w[:, None], 1.0, self.at
        while objective > self.objective + self.rounding() and share > 0.05:
            share *= 0.5
            W, b, z = 0.5 * (last_W + W), 0.5 * (last_b + b), 0.5 * (self.z + z)
            objective = self.mean_loss(z) + 0.5 * self.multipliers.l2 * square(W[:, 0])
        if objective < self.objective:
            self.objective, self.z, self.at = objective, z, (W, b)
            self.W, self.b = self.frame.outwards(*self.at)

    def judge(self, gap, w):
        """Whether that is enough; how many epochs to the next check; whether to hand over.

        Without an intercept ``gap`` is a bound. With one, the dual that it is measured by is that of
        an intercept held fixed: where it promises to be enough, it is made sure of.
        """
        passes = self.multipliers.visited / self.problem.n_rows
        work = max((passes - self.visited) / self.planned, 0.01)      # of an epoch, in passes
        self.visited, self.passes = passes, 1 + int(np.ceil(passes))
        self.remaining = self.caution * gap
        if self.remaining <= self.target():
            self.remaining = self.objective - self.multipliers.certified(w)
            self.caution = min(max(1.0, self.remaining / gap), 100.0) if gap > 0.0 else 1.0
        if gap < 0.5 * self.least_gap:
            self.least_gap, self.last_halving = gap, self.epochs
        rate = np.log(self.last_gap / gap) / self.planned if 0.0 < gap < self.last_gap else 0.0
        self.last_gap = gap
        left = np.log(max(self.remaining / max(self.target(), 1e-300), 1.0)) / max(rate, 1e-3)
        self.passes_left = left * work if np.isfinite(rate) else 0.0
        planned = max(min(left, max(2.0, self.between_checks / work)), self.worth_a_check / work)
        self.planned = int(max(np.ceil(min(planned, 40.0)), 1.0))

    def gets_nowhere(self):
        """Whether another method is faster from here."""
        if self.epochs - self.last_halving > self.trials:
            return True
        if self.smooth:
            near = self.problem.is_small and self.remaining <= 1e-8 * abs(self.start_objective)
            return near or (self.epochs >= self.least_epochs
                            and self.passes_left > self.patience)
        return self.problem.is_small and self.visited > 300

    def found_exactly(self):
        """On small data: whether the multipliers lead to the minimum itself, which is then taken."""
        due = self.remaining <= 0.1 * self.last_trial
        if self.smooth or not self.problem.is_small or not due:
            return False
        self.last_trial = self.remaining
        found = on_active_set(self.problem, self.W, self.b, self.multipliers.slopes())
        if found is None:
            return False
        objective = self.problem.objective(*found)
        if objective > self.objective + self.rounding():
            return False
        self.W, self.b = found
        self.z = self.problem.margins(*found)
        self.objective, self.remaining, self.finished = objective, self.rounding(), True
        return True

    # -- Newton's method -------------------------------------------------------------------

    def begin_newton(self):
        """Go on by Newton's method."""
        W, b = self.at
        self.at = np.array(W), np.array(b)
        self.newton = TruncatedNewton(self.frame.problem, *self.at, self.z)
        self.multipliers, self.steps_before = None, self.passes

    def falls_short(self):
        """Whether Newton's method has come to its end before the minimum, or takes for ever."""
        near = max(1e-9 * abs(self.start_objective), self.target())
        slow = self.problem.is_small and self.newton.passes > 300
        return self.remaining > near and (self.finished or slow)

    def newton_step(self):
        newton, before = self.newton, self.newton.decrement
        fell = newton.step(0.0 if self.problem.is_small else self.target())
        W, b = self.at
        self.W, self.b = self.frame.outwards(W, b)
        self.objective = (self.mean_loss(self.z)
                          + 0.5 * self.frame.problem.penalty.l2 * square(W[:, 0]))
        self.passes = self.steps_before + int(np.ceil(newton.passes))
        self.gradient_norm = newton.gradient_norm
        rate = min(newton.decrement / before, 0.9) if before > 0.0 else 0.9
        # what the step has not done, and what the change of the curvatures will bring to light
        left = newton.decrement + newton.unsolved - min(newton.gain, newton.decrement)
        self.remaining = min(newton.bound, left + 2.0 * newton.decrement * rate / (1.0 - rate))
        # small data: on until the decrement itself no longer falls
        flat = newton.decrement <= 2e-16 * abs(self.objective)
        if not fell or (flat and (not self.problem.is_small or not newton.decrement < 0.5 * before)):
            self.finished = True
            self.remaining = min(newton.bound, newton.decrement + newton.unsolved)
