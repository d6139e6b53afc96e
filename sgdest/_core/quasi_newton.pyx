"""L-BFGS for smooth objectives, with L1 and ``positive``, and smoothing for kinked losses.

L1 and ``positive`` make F a smooth function within an orthant: OWL-QN (Andrew, Gao 2007), with the
curvature pairs restricted to the free coordinates, which is what lets it converge fast once the
support has settled. All else is ``descent``'s.
"""

import numpy as np

from sgdest._core.descent import DescentLane
from sgdest._core.dual import dual_bound
from sgdest._core.method import Optimizer
from sgdest._core.metric import newton_step
from sgdest._core.smoothing import Smoothed
from sgdest._core.solver import Solver, seconds_of_pass


# How it is made sure that little remains: by products with the Hessian, or where there are fewer
# unknowns by the Hessian of that many rows for each.
MOST_UNKNOWNS, ROWS = 1000, 16
# Stages that prove a minimum of small data: so many, whose kinks are so much sharper than the first,
# of so many steps.
MOST_WIDE_STAGES, WIDE, MOST_STEPS = 10, 16.0, 30
# Passes to 1e-6. Nearly as many columns as rows have singular values of all sizes: 1,000 x 1,000 numbers
# (poisson) take 41 at C=0.01, more than 3,000 at C=100.
USUAL, MANY = 70.0, 400.0


class LBFGS(Optimizer):
    """Limited-memory BFGS: quasi-Newton steps from the last few changes of the gradient.

    Handles every loss with a minimum, L2, L1, elastic net and ``positive``. Columns are scaled
    and centred implicitly; piecewise-linear losses are smoothed [3]_ about slopes that follow the
    solution (the method of multipliers).

    Parameters
    ----------
    memory : int >= 1, default=20
        Number of changes remembered. Problems of few parameters remember up to 100, which makes
        them converge superlinearly.

    References
    ----------
    .. [1] J. Nocedal, "Updating quasi-Newton matrices with limited storage", 1980.
    .. [2] G. Andrew, J. Gao, "Scalable training of L1-regularized log-linear models", ICML 2007.
    .. [3] Y. Nesterov, "Smooth minimization of non-smooth functions", 2005.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sgdest import GDRegressor
    >>> from sgdest.optimizers import LBFGS
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = GDRegressor(alpha=1e-3, optimizer=LBFGS(memory=10)).fit(X, y)
    >>> model.converged_
    True
    """

    name = "lbfgs"
    kind = "solver"

    def __init__(self, memory=20):
        self.memory = memory

    @staticmethod
    def expected_seconds(problem):
        """About how long it takes to a relative suboptimality of 1e-6."""
        size = (problem.n_features + 1) * problem.n_outputs
        passes = MANY if is_nearly_square(problem) else USUAL
        seconds = passes * (seconds_of_pass(problem) + 1e-7 * size)
        return seconds * (60.0 if type(problem.loss).smoothness == "kinked" else 1.0)

    def method(self, problem, W, b, *, tol=1e-4, warm=False):
        """The solver, at work on ``W`` and ``b``; its lanes are ``LBFGSLane``."""
        return Solver(problem, W, b, lambda part, start: LBFGSLane(part, start, self.memory),
                      tol, warm, descends=True)


def is_nearly_square(problem):
    """Whether dense rows are about as many as columns, and F badly conditioned unless penalised."""
    n, d = problem.n_rows, problem.n_features
    return not problem.rows.is_sparse and not type(problem.loss).joint and n < 3 * d < 6 * n


cdef class CurvaturePairs:
    """The last changes of x and of the gradient, and the direction that follows from them."""

    cdef Py_ssize_t most, n, newest
    cdef double[:, ::1] s, y
    cdef double[::1] a, sy

    def __init__(self, Py_ssize_t most, Py_ssize_t size):
        self.most = most
        self.s, self.y = np.empty((most, size)), np.empty((most, size))
        self.a, self.sy = np.empty(most), np.empty(most)

    def forget(self):
        """Drop all pairs; whether there were any."""
        had = self.n > 0
        self.n = self.newest = 0
        return had

    def push(self, const double[::1] s, const double[::1] y):
        """Add a pair, in the place of the oldest one if there is no room."""
        self.newest = (self.newest + 1) % self.most if self.n else 0
        self.s[self.newest, :] = s
        self.y[self.newest, :] = y
        self.n = min(self.n + 1, self.most)

    def direction(self, const double[::1] g, const unsigned char[::1] free, solve=None):
        """-H g by the two-loop recursion (Nocedal 1980), restricted to the free coordinates.

        ``solve`` stands for the first H; without it H is a multiple of the identity.
        """
        cdef double[::1] p = np.empty(g.shape[0])
        cdef double scale
        with nogil:
            scale = self._backwards(g, free, p)
        p = np.asarray(p) * scale if solve is None else solve(np.asarray(p))
        with nogil:
            self._forwards(free, p)
        return np.asarray(p)

    cdef double _backwards(self, const double[::1] g, const unsigned char[::1] free,
                           double[::1] p) noexcept nogil:
        """From the newest pair to the oldest; the scale of the newest one that counts."""
        cdef Py_ssize_t j, m, age, size = g.shape[0]
        cdef double sy, yy, scale = 0.0
        for j in range(size):
            p[j] = -g[j] if free[j] else 0.0
        for age in range(self.n):
            m = (self.newest - age + self.most) % self.most
            self.sy[m] = self.a[m] = 0.0
            sy = dot(size, &self.s[m, 0], &self.y[m, 0], &free[0])
            yy = dot(size, &self.y[m, 0], &self.y[m, 0], &free[0])
            if sy <= 1e-16 * yy or yy == 0.0:  # no curvature on this face
                continue
            if scale == 0.0:
                scale = sy / yy
            self.sy[m] = sy
            self.a[m] = dot(size, &self.s[m, 0], &p[0], &free[0]) / sy
            add(size, -self.a[m], &self.y[m, 0], &p[0], &free[0])
        return scale if scale > 0.0 else 1.0

    cdef void _forwards(self, const unsigned char[::1] free, double[::1] p) noexcept nogil:
        """From the oldest pair to the newest."""
        cdef Py_ssize_t m, age, size = p.shape[0]
        cdef double c
        for age in range(self.n - 1, -1, -1):
            m = (self.newest - age + self.most) % self.most
            if self.sy[m] > 0.0:
                c = dot(size, &self.y[m, 0], &p[0], &free[0]) / self.sy[m]
                add(size, self.a[m] - c, &self.s[m, 0], &p[0], &free[0])


cdef double dot(Py_ssize_t n, const double* a, const double* b,
                const unsigned char* free) noexcept nogil:
    cdef Py_ssize_t j
    cdef double total = 0.0
    for j in range(n):
        total += free[j] * (a[j] * b[j])
    return total


cdef void add(Py_ssize_t n, double c, const double* a, double* b,
              const unsigned char* free) noexcept nogil:
    cdef Py_ssize_t j
    for j in range(n):
        b[j] += free[j] * (c * a[j])


def pairs_remembered(problem, memory, size):
    """How many changes of ``size`` parameters to remember.

    Up to 100 where there are few parameters: convergence becomes superlinear. The pairs may take
    a sixth of a byte per stored value, so that fitting needs little memory beside X; problems
    that run to rounding have no such limit, which would depend on the number of their rows.
    """
    room = 100 if problem.is_small else problem.rows.n_stored // (100 * size)
    return max(memory, min(3 * size, 100, room))


class LBFGSLane(DescentLane):
    """Directions by the two-loop recursion; an orthant at a time where signs matter."""

    def __init__(self, problem, start, memory=20):
        super().__init__(problem, start)
        self.pairs = CurvaturePairs(pairs_remembered(problem, memory, self.x.size), self.x.size)
        self.newton = None         # a direction to try first
        self.was_sure = False      # at the point before
        self.stride = 1.0          # where a step within an orthant sets out, in units of p

    def push(self, s, y):
        self.pairs.push(s, y)

    def forget(self):
        self.stride = 1.0
        return self.pairs.forget()

    def advance(self):
        g, free = self.steepest()
        self.gradient_norm = float(np.sqrt(g @ g))
        p = self.direction(g, free)
        slope = g @ p
        if not slope < 0.0:
            return 0.0, False
        move = self.orthant_step(g, p) if self.signed else self.smooth_step(p, slope)
        return -0.5 * slope, (yield from move)

    def sees_little(self):
        """Where unknowns are many: 3,000 x 1,000 numbers of low rank (hinge, C=1), at 1e-6, ended 37 tol
        above the minimum."""
        return self.n_intercepts > 1 or self.x.size > MOST_UNKNOWNS

    def is_sure(self):
        inner = self.strong_convexity_bound()
        if self.gap() + inner > self.target():
            if not self.sees_little():
                self.newton, decrement = newton_step(self, ROWS * self.x.size)
                inner = 2.0 * max(decrement, 0.0)
            else:
                inner = yield from self.solved_decrement()
        self.remaining = self.gap() + inner
        sure, before = self.remaining <= self.target(), self.was_sure
        self.was_sure = sure
        if sure and not before and self.sharpness > 0.0:
            self.remaining = np.inf        # the next point shows what kinks have hidden from this
            return False
        return sure

    def look_back(self):
        """As of every descent; on small data stages may also end far from the minimum."""
        yield from super().look_back()
        if self.sharpness == 0.0 or not self.problem.is_small or self.n_intercepts > 1:
            return
        if self.x.size > MOST_UNKNOWNS or not (yield from self.is_proven()):
            _, g, g_b = yield None, None, self.z
            slopes = np.ravel(self.under_way.slopes(self.z))
            bound = dual_bound(self.problem, slopes, g[:, 0] - self.coordinates.mean * g_b[0])
            self.remaining = max(self.remaining, self.objective - bound)

    def is_proven(self):
        """Whether stages of wide kinks, solved by Newton's method, prove the minimum. A generator.

        The last stages are so sharp that rounding decides about their slopes.
        """
        found = self.W, self.b, self.objective, self.remaining
        loss = Smoothed(self.problem.loss, WIDE * self.first_sharpness())
        for _ in range(MOST_WIDE_STAGES):
            self.under_way = self.problem.smoothed(loss, self.under_way.slopes(self.z))
            self.gap_known = None
            yield from self.begin()
            for _ in range(MOST_STEPS):
                before = self.smooth_objective
                self.newton, _ = newton_step(self, ROWS * self.x.size)
                yield from self.advance()
                if before - self.smooth_objective <= self.rounding():
                    break
            self.W, self.b, self.objective, self.remaining = found
            if self.found_exactly():
                return True
        return False

    def by_pairs(self, g, free):
        return self.pairs.direction(g, free)

    def direction(self, g, free):
        """The quasi-Newton direction; steepest descent if it would not descend."""
        p, self.newton = self.newton, None
        if p is None or not g @ p < 0.0:
            p = self.pairs.direction(g, free)
        if self.signed:
            p[(self.x == 0.0) & (p * g >= 0.0)] = 0.0
        if np.all(np.isfinite(p)) and g @ p < -1e-14 * self.gradient_norm * np.sqrt(p @ p):
            return p
        self.pairs.forget()
        return -g

    def orthant_step(self, g, p):
        """Backtracking along p, projected onto the orthant of x (or of -g where x is 0).

        Where F was straight along the last step it sets out four times as far: on a face without
        curvature p has no length of its own.
        """
        side = np.where(self.x != 0.0, np.sign(self.x), -np.sign(g))
        z = np.empty_like(self.z)
        t = self.stride
        for _ in range(40):
            x = self.x + t * p
            crossed = x * side < 0.0
            crossed[x.size - self.n_intercepts:] = False
            x[crossed] = 0.0
            value, g_new = yield from self.evaluate(x, z)
            change = g @ (x - self.x)
            if np.isfinite(value) and (
                    value <= self.smooth_objective + 1e-4 * change
                    or (abs(change) <= self.rounding()
                        and value <= self.smooth_objective + self.rounding())):
                curved = (x - self.x) @ (g_new - self.g) > -1e-10 * change
                self.stride = 1.0 if curved else 4.0 * t
                return self.move(x, value, g_new, z)
            t *= 0.5
        self.stride = 1.0
        return False
