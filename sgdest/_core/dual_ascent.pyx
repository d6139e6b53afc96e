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
from libc.math cimport INFINITY, fabs, fmax, isfinite
from libc.stdint cimport int32_t, uint64_t

import numpy as np

from sgdest._core.method import Optimizer
from sgdest._core.solver import Lane, Solver
from sgdest._core.truncated_newton import TruncatedNewton

from sgdest._core.losses cimport Loss
from sgdest._core.problem cimport Problem
from sgdest._core.random cimport shuffle
from sgdest._core.rows cimport Rows

# A row that moves less than this share of the mean sits out 1, 3, 7, then 15 epochs.
cdef double LITTLE = 0.1
cdef int MOST_NAPS = 4


def square(v):
    """|v|^2, not by the BLAS, whose threads would spin beside ours."""
    return np.einsum("j,j->", v, v)


@cython.final
cdef class Multipliers:
    """The multipliers of a problem of one output with an L2 penalty, and epochs over them."""

    cdef Problem problem
    cdef Rows rows
    cdef Loss loss
    cdef readonly double l2, b, visited, largest_move, imbalance
    cdef double shortest, mean_move, pull, A, v_mean, mean_mean
    cdef bint curved, naps_allowed, centred
    cdef double[::1] y, s, q, m, o, a, v, mean
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
        self.y, self.s, self.q, self.m = (np.zeros(n) for _ in range(4))
        self.a = np.zeros(n)
        self.o = np.zeros(n) if problem.offset is None else problem.offset.ravel()
        self.v, self.mean = np.zeros(d + 1), np.zeros(d + 1)
        if self.centred:
            np.asarray(self.mean)[:d] = mean
            self.mean_mean = square(mean)
        self.wakes, self.naps = np.zeros(n, dtype=np.int32), np.zeros(n, dtype=np.int32)
        self.curved = type(problem.loss).curved
        self.naps_allowed = type(problem.loss).smoothness == "smooth"
        # one step of Newton leaves an error of a tenth of the step where q h is at most 1/8
        self.shortest = 0.125 / bound
        self.largest_move, self.mean_move = INFINITY, 0.0
        self.seed = 1
        with nogil:
            self.measure()
        self.order = np.flatnonzero(self.s)
        self.n_active = self.order.shape[0]

    cdef void measure(self) noexcept nogil:
        """Targets, weights, and the curvature of the dual along each multiplier."""
        cdef Py_ssize_t i
        cdef double square
        for i in range(self.n_rows):
            self.problem.target(i, &self.y[i])
            self.s[i] = self.problem.weight(i) / self.problem.total_weight
            square = self.rows.square_norm(i)
            if self.centred:
                self.m[i] = self.rows.dot(i, &self.mean[0])
                square = fmax(0.0, square - 2.0 * self.m[i] + self.mean_mean)
            self.q[i] = self.s[i] * square / self.l2

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
        cdef double* v = &self.v[0]
        shuffle(self.n_active, &self.order[0], &self.seed)
        self.epoch_number += 1
        while p < self.n_active:
            i = self.order[p]
            if self.wakes[i] > self.epoch_number:
                p += 1
                continue
            ahead = min(p + 4, self.n_active - 1)
            self.rows.prefetch(self.order[min(p + 2, ahead)], self.order[ahead])
            z = (self.rows.dot(i, v) - self.A * self.m[i] - self.v_mean + self.A * self.mean_mean
                 + self.o[i] + self.b)
            self.visited += 1.0
            q = self.q[i] + self.s[i] * self.pull
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
        self.mean_move = total / n_moved if n_moved else 0.0
        if self.centred:
            self.b -= self.imbalance * self.pull
            if not self.naps_allowed:
                self.follow()

    cdef inline void follow(self) noexcept nogil:
        """Loosen or tighten."""
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
        cdef double step = -self.s[i] * change / self.l2
        self.a[i] += change
        self.rows.add(i, step, &self.v[0])
        if self.centred:
            self.A += step
            self.v_mean += step * self.m[i]
            self.imbalance += self.s[i] * change
            self.b -= self.s[i] * change * self.pull

    cdef inline void rest_for_a_while(self, Py_ssize_t i, double change) noexcept nogil:
        if change < LITTLE * self.mean_move:
            self.naps[i] = min(self.naps[i] + 1, MOST_NAPS)
            self.wakes[i] = <int32_t> self.epoch_number + (1 << self.naps[i])
        else:
            self.naps[i] = 0

    cdef inline bint rests(self, Py_ssize_t i, double z, double q, double reach) noexcept nogil:
        """Whether a_i would stay where it is at any margin within ``reach`` of z."""
        cdef double u = z + q * self.a[i]
        if q <= 0.0 or self.curved or not isfinite(reach):
            return False
        return (self.loss.dual_step(self.y[i], u - reach, q) == self.a[i]
                and self.loss.dual_step(self.y[i], u + reach, q) == self.a[i])

    cdef inline double slope(self, Py_ssize_t i, double z, double q) noexcept nogil:
        """The slope at the margin that it causes itself; z is the margin now.

        For curved losses a few steps of Newton, each a mean of the slope so far and the slope at
        its margin, so that it stays within the domain of the conjugate.
        """
        cdef double y = self.y[i], a = self.a[i], v = z
        cdef double u = z + q * a, change, before = INFINITY
        if q <= 0.0:
            return self.loss.derivative(y, z)
        if not self.curved:
            return self.loss.dual_step(y, u, q)
        for _ in range(6):
            change = (self.loss.derivative(y, v) - a) / (1.0 + q * self.loss.curvature(y, v))
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
        d = self.problem.n_features
        return np.asarray(self.v)[:d] - self.A * np.asarray(self.mean)[:d]

    def margins(self, double[::1] z):
        """Fills z with the margins of the centred columns, offsets included, without intercept."""
        cdef Py_ssize_t i
        with nogil:
            for i in range(self.n_rows):
                z[i] = (self.rows.dot(i, &self.v[0]) - self.A * self.m[i] - self.v_mean
                        + self.A * self.mean_mean + self.o[i])

    def take_back(self, const double[::1] z):
        """Visit again the rows put aside that would move at the margins z."""
        cdef Py_ssize_t p, i
        for p in range(self.n_active, self.order.shape[0]):
            i = self.order[p]
            if not self.rests(i, z[i], self.q[i] + self.s[i] * self.pull, 0.0):
                self.order[p] = self.order[self.n_active]
                self.order[self.n_active] = i
                self.n_active += 1

    def dual_loss(self, double b, double down=1.0, double up=1.0, double by=0.0):
        """sum_i s_i (a_i (o_i + b) - conjugate(a_i)), multipliers scaled or moved.

        Negative ones count ``down`` times, positive ones ``up`` times; all are moved by ``by``.
        """
        cdef Py_ssize_t i
        cdef double a, total = 0.0
        with nogil:
            for i in range(self.n_rows):
                if self.s[i] > 0.0:
                    a = (down if self.a[i] < 0.0 else up) * self.a[i] + by
                    total += self.s[i] * (a * (self.o[i] + b) - self.loss.conjugate(self.y[i], a))
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
        self.imbalance = np.einsum("i,i->", self.s, self.a)
        moved = self.dual_loss(0.0, by=-self.imbalance) - 0.5 * self.l2 * square(w)
        if np.isfinite(moved):
            return moved
        for i in range(self.n_rows):
            a = self.s[i] * self.a[i]
            up += fmax(a, 0.0)
            down += fmax(-a, 0.0)
        least = min(up, down)
        down, up = (least / part if part > 0.0 else 1.0 for part in (down, up))
        v = np.zeros(self.problem.n_features + 1)
        with nogil:
            for i in range(self.n_rows):
                a = (down if self.a[i] < 0.0 else up) * self.a[i]
                if a != 0.0 and self.s[i] > 0.0:
                    self.rows.add(i, -self.s[i] * a / self.l2, &v[0])
        return self.dual_loss(0.0, down, up) - 0.5 * self.l2 * square(v)

    def start_from(self, const double[:, ::1] slopes):
        """Set the multipliers, and w by one pass."""
        cdef Py_ssize_t i
        cdef double b = self.b
        with nogil:
            for i in range(self.n_rows):
                if self.s[i] > 0.0 and slopes[i, 0] != 0.0:
                    self.move(i, slopes[i, 0] - self.a[i])
        self.b = b


class DualAscent(Optimizer):
    """Dual coordinate ascent."""

    name = "dual_ascent"
    kind = "solver"

    def method(self, problem, W, b, *, tol=1e-4, warm=False):
        """The solver, at work on ``W`` and ``b``; its lanes are ``DualAscentLane``."""
        return Solver(problem, W, b, DualAscentLane, tol, warm)


class DualAscentLane(Lane):
    """Epochs of dual ascent between checks of the gap."""

    FIRST_CHECK = 3

    def __init__(self, problem, start):
        super().__init__(problem, start)
        self.mean = start.moments[0] if problem.fit_intercept else None
        curvature = float(problem.mean_curvature(self.z)[0])
        import os
        self.stiffness = float(os.environ.get("STIFF", 0.01*curvature if curvature>0 else 1.0))
        b = float(start.constant[0])
        self.multipliers = Multipliers(problem, self.mean, b, self.stiffness)
        if self.warm:
            self.z = problem.margins(self.W, self.b)
            self.multipliers.start_from(problem.slopes(self.z))
        self.passes = 1
        self.ones = np.ones((problem.n_rows, 1))
        self.epochs, self.planned, self.caution = 0, self.FIRST_CHECK, 1.0
        self.trace = []
        self.newton = None
        self.visited = 0.0

    def step(self):
        """Epochs, then a check."""
        if self.newton is not None:
            self.newton_step()
        else:
            self.multipliers.run(self.planned)
            self.epochs += self.planned
            self.check()
        yield from ()

    def newton_step(self):
        newton, before = self.newton, self.newton.decrement
        fell = newton.step(self.target())
        self.objective = (self.problem.line(self.z, self.ones, 0.0)[0]
                          + 0.5 * self.multipliers.l2 * square(np.ravel(self.W)))
        self.passes, self.gradient_norm = int(np.ceil(newton.passes)), newton.gradient_norm
        if newton.bound <= self.target() or not fell:
            self.remaining = min(newton.bound, newton.decrement)
            self.finished = not fell
        elif before > 0.0:
            rate = newton.decrement / before
            self.remaining = newton.decrement / (1.0 - min(max(rate, 0.0), 0.9)) if rate < 1.0 else np.inf
        self.finished = self.finished or newton.decrement <= 2e-16 * abs(self.objective)
        self.trace.append((self.epochs, self.objective, newton.decrement, self.remaining))

    def check(self):
        problem, multipliers = self.problem, self.multipliers
        multipliers.margins(self.z[:, 0])
        b = self.best_intercept(multipliers.b) if problem.fit_intercept else 0.0
        self.z += b
        w = multipliers.weights()
        loss = problem.line(self.z, self.ones, 0.0)[0]
        self.objective = loss + 0.5 * multipliers.l2 * square(w)
        dual = multipliers.dual_loss(b) - 0.5 * multipliers.l2 * square(w)
        gap = self.objective - dual
        self.W[:, 0] = w
        self.b[0] = b if self.mean is None else b - np.einsum("j,j->", self.mean, w)
        self.remaining = self.caution * gap
        if self.remaining <= self.target():
            self.remaining = self.objective - multipliers.certified(w)
            self.caution = max(1.0, self.remaining / gap if gap > 0.0 else 1.0)
        self.trace.append((self.epochs, self.objective, gap, self.remaining))
        self.frac = multipliers.n_active / problem.n_rows
        multipliers.take_back(self.z[:, 0])
        self.plan(gap)

    def plan(self, gap):
        """How many epochs to the next check."""
        import os
        before = self.trace[len(self.trace) - 2] if len(self.trace) > 1 else None
        visited = self.multipliers.visited
        work = (visited - self.visited) / (self.planned * self.problem.n_rows)   # per epoch
        self.visited = visited
        if before is None:
            self.planned = 2
            return
        rate = np.log(before[2] / gap) / self.planned if gap > 0 else 1.0
        needed = np.log(max(self.remaining / self.target(), 1.0)) / max(rate, 1e-3)
        if self.epochs >= 10 and needed * work > 15 and type(self.problem.loss).smoothness == "smooth" and "NONEWTON" not in os.environ:
            self.newton = TruncatedNewton(self.problem, self.W, self.b, self.z)
        most = max(2, float(os.environ.get("WORK","4")) / max(work, 0.01))
        self.planned = int(min(max(np.ceil(needed), 1), most))

    def best_intercept(self, b):
        """b that minimises the loss at the margins ``z + b``, by Newton or bisection."""
        problem = self.problem
        low, high = -np.inf, np.inf
        h = self.stiffness
        for turn in range(12):
            value, rate = problem.line(self.z, self.ones, b)
            if rate < 0.0:
                low = b
            elif rate > 0:
                high = b
            else:
                break
            if abs(rate) < 1e-9:
                break
            if type(problem.loss).smoothness == "smooth":
                h = max(float(problem.mean_curvature(self.z + b)[0]), 1e-6)
            b_new = b - rate / h
            if not low < b_new < high:
                b_new = 0.5 * (low + high)
            if abs(b_new-b) < 1e-12*(1+abs(b)):
                break
            b = b_new
        return b
