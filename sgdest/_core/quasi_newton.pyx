"""L-BFGS for smooth objectives, with L1 and ``positive``, and smoothing for kinked losses.

Design:

- The method works in implicitly centred and scaled coordinates: column j of X stands for
  (x_j - mean_j) / sigma_j, with sigma_j^2 = h var_j + l2 c_j^2 and h the mean curvature of the
  loss at the start, so that the Hessian begins with a diagonal of about one and raw columns of any
  scale and offset converge alike. X is not touched: only W, b and the gradient are mapped. The
  penalty stays in the original units.
- L1 and ``positive`` make F a smooth function within an orthant: OWL-QN (Andrew, Gao 2007), with
  the curvature pairs restricted to the free coordinates, which is what lets it converge fast once
  the support has settled.
- Margins are kept, so that the search along a direction costs O(n_rows) (``Problem.line``).
- A piecewise-linear loss is replaced by ``Smoothed`` ones, each started from the solution of the
  one before and centred on its slopes. The loss minus its smoothed form bounds the error made.
"""

cimport cython
from libc.math cimport fabs, sqrt

import numpy as np
from scipy.optimize import minimize_scalar

from sgdest._core.losses cimport Loss
from sgdest._core.method cimport Method
from sgdest._core.problem cimport Problem

from sgdest._core.active_set import on_active_set
from sgdest._core.smoothing import Smoothed
from sgdest._core.method import Optimizer
from sgdest._core.penalties import PENALTIES

# Rows on which the constant of a loss without a closed form is sought: it only sets a start.
ROWS_FOR_CONSTANT = 10_000


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

    def method(self, problem, W, b, *, tol=1e-4, warm=False):
        """The compiled method, at work on ``W`` and ``b``; see ``LBFGSMethod``."""
        return LBFGSMethod(problem, W, b, self.memory, tol, warm)


cdef class CurvaturePairs:
    """The last changes of x and of the gradient, and the direction that follows from them."""

    cdef Py_ssize_t most, n, newest
    cdef double[:, ::1] s, y
    cdef double[::1] a

    def __init__(self, Py_ssize_t most, Py_ssize_t size):
        self.most = most
        self.s, self.y = np.empty((most, size)), np.empty((most, size))
        self.a = np.empty(most)

    def forget(self):
        """Drop all pairs."""
        self.n = self.newest = 0

    def push(self, const double[::1] s, const double[::1] y):
        """Add a pair, in the place of the oldest one if there is no room."""
        self.newest = (self.newest + 1) % self.most if self.n else 0
        self.s[self.newest, :] = s
        self.y[self.newest, :] = y
        self.n = min(self.n + 1, self.most)

    def direction(self, const double[::1] g, const unsigned char[::1] free):
        """-H g by the two-loop recursion (Nocedal 1980), restricted to the free coordinates."""
        cdef double[::1] p = np.empty(g.shape[0])
        cdef Py_ssize_t j, m, age, size = g.shape[0]
        cdef double sy, yy, c, scale = 0.0
        with nogil:
            for j in range(size):
                p[j] = -g[j] if free[j] else 0.0
            for age in range(self.n):
                m = (self.newest - age + self.most) % self.most
                sy = dot(size, &self.s[m, 0], &self.y[m, 0], &free[0])
                yy = dot(size, &self.y[m, 0], &self.y[m, 0], &free[0])
                self.a[m] = 0.0
                if sy <= 1e-12 * yy * 1e-4 or yy == 0.0:  # no curvature on this face
                    continue
                if scale == 0.0:
                    scale = sy / yy
                self.a[m] = dot(size, &self.s[m, 0], &p[0], &free[0]) / sy
                add(size, -self.a[m], &self.y[m, 0], &p[0], &free[0])
            if scale > 0.0:
                for j in range(size):
                    p[j] *= scale
            for age in range(self.n - 1, -1, -1):
                m = (self.newest - age + self.most) % self.most
                sy = dot(size, &self.s[m, 0], &self.y[m, 0], &free[0])
                yy = dot(size, &self.y[m, 0], &self.y[m, 0], &free[0])
                if sy <= 1e-12 * yy * 1e-4 or yy == 0.0:
                    continue
                c = dot(size, &self.y[m, 0], &p[0], &free[0]) / sy
                add(size, self.a[m] - c, &self.s[m, 0], &p[0], &free[0])
        return np.asarray(p)


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


class Coordinates:
    """The map between (W, b) and the flat, centred and scaled vector x."""

    def __init__(self, problem, mean, variance, h):
        self.shape = (problem.n_features, problem.n_outputs)
        self.fit_intercept = problem.fit_intercept
        self.mean = mean if problem.fit_intercept else np.zeros_like(mean)
        second = variance if problem.fit_intercept else variance + mean**2
        c = 1.0 if problem.penalty.factors is None else problem.penalty.factors
        # A column that does not vary has no curvature of its own: rounding noise must not move
        # it. It is held where it is unless the penalty pulls at it.
        constant = second <= 1e-13 * (variance + mean**2)
        square = np.where(constant, 0.0, h * second) + problem.penalty.l2 * c**2
        self.held = constant & (square <= 0.0)
        self.sigma = np.sqrt(np.where(square > 0.0, square, 1.0))
        self.root_h = np.sqrt(h)

    def to_x(self, W, b):
        """x of (W, b)."""
        u = (b + self.mean @ W) * self.root_h
        return np.concatenate([(self.sigma[:, None] * W).ravel(), u])

    def to_parameters(self, x):
        """(W, b) of x."""
        n = self.shape[0] * self.shape[1]
        W = x[:n].reshape(self.shape) / self.sigma[:, None]
        return W, (x[n:] / self.root_h - self.mean @ W if self.fit_intercept else x[n:] * 0.0)

    def gradient(self, g, g_b):
        """Gradient in x, from the gradients in W and b."""
        g = (g - np.outer(self.mean, g_b)) / self.sigma[:, None]
        g[self.held] = 0.0
        return np.concatenate([g.ravel(), g_b / self.root_h if self.fit_intercept else g_b * 0.0])

    def penalty_gradient(self, g):
        """The same of the penalty, which knows no intercept: nothing to centre."""
        return np.concatenate([(g / self.sigma[:, None]).ravel(), np.zeros(self.shape[1])])


def best_constant(Problem problem):
    """Intercepts of the best constant model, of shape (n_outputs,); zeros without intercept."""
    K = problem.n_outputs
    if not problem.fit_intercept or not problem.n_rows:
        return np.zeros(K)
    link = type(problem.loss).link
    s = problem.sample_weight
    if problem.offset is not None or (link == "identity" and problem.loss.name != "squared_error"):
        return constant_by_search(problem)
    if problem.coded:
        rate = np.bincount(problem.y.astype(np.intp), weights=s, minlength=K)
        rate = rate / rate.sum()
        if link == "softmax":
            b = np.log(np.clip(rate, 1e-3 / K, 1.0))
            return b - b.mean()
        mean = rate if problem.negative_code == 0.0 else 2.0 * rate - 1.0
    else:
        # not s @ y: it would wake threads of the BLAS, which then spin for a tenth of a second
        y = problem.y.reshape(problem.n_rows, K)
        mean = np.mean(y, axis=0) if s is None else np.einsum("i,ik->k", s, y) / s.sum()
    if link == "logit":
        mean = np.clip(mean, 1e-3, 1.0 - 1e-3)
        return np.log(mean / (1.0 - mean))
    return np.log(np.maximum(mean, 1e-8)) if link == "log" else mean


def constant_margins(problem, b):
    """Raw predictions of the constant model ``b``: ndarray of shape (n_rows, n_outputs)."""
    z = np.tile(np.asarray(b, dtype=np.float64), (problem.n_rows, 1))
    return z if problem.offset is None else z + problem.offset


def constant_by_search(problem):
    """The same by one-dimensional search, on at most ``ROWS_FOR_CONSTANT`` rows."""
    small = every(problem, max(1, problem.n_rows // ROWS_FOR_CONSTANT))
    K = problem.n_outputs
    z = np.zeros((small.n_rows, K)) if small.offset is None else np.array(small.offset)
    real = type(problem.loss).targets == "real" and not problem.coded
    low, high = (small.y.min(), small.y.max()) if real else (-1.0, 1.0)
    if small.offset is not None:
        low, high = low - z.max(), high - z.min()
    if not np.isfinite(low) or not np.isfinite(high) or low == high or not small.total_weight > 0:
        return np.full(K, low if np.isfinite(low) else 0.0)
    b = np.zeros(K)
    for k in range(K):
        along = np.zeros_like(z)
        along[:, k] = 1.0
        b[k] = minimize_scalar(lambda t: small.line(z, along, t)[0], bounds=(low, high),
                               method="bounded", options={"xatol": 1e-6 * (high - low)}).x
    return b


def every(problem, step):
    """The problem of every ``step``-th row, without the columns, which a constant does not read."""
    rows = slice(None, None, step)
    s, o = (None if part is None else part[rows]
            for part in (problem.sample_weight, problem.offset))
    y = problem.y[rows]
    return Problem(np.empty((len(y), 0)), y, problem.loss, PENALTIES[None](), sample_weight=s,
                   offset=o, n_outputs=problem.n_outputs)


def pairs_remembered(problem, memory, size):
    """How many changes of ``size`` parameters to remember.

    Up to 100 where there are few parameters: convergence becomes superlinear. The pairs may take
    a sixth of a byte per stored value, so that fitting needs little memory beside X; problems
    that run to rounding have no such limit, which would depend on the number of their rows.
    """
    room = 100 if problem.is_small else problem.rows.n_stored // (100 * size)
    return max(memory, min(3 * size, 100, room))


cdef class LBFGSMethod(Method):
    """One quasi-Newton step per ``iterate``.

    Attributes
    ----------
    objective : F at (W, b)
    start_objective : F of the best constant model
    remaining : estimate of F - F*, from the decrement and its rate of decrease; where F is
        strongly convex, never above the bound |gradient|^2 / (2 l2)
    finished : no further decrease is possible, or rounding has been reached
    passes : passes over X so far
    moments : mean, variance and largest absolute value of each column
    """

    cdef readonly double objective, start_objective, remaining, gradient_norm
    cdef readonly bint finished
    cdef readonly Py_ssize_t passes
    cdef readonly object moments, z
    cdef object constant, coordinates, x, g, lam, decrements
    cdef object best               # W, b, objective and remaining of the best stage
    cdef CurvaturePairs pairs
    cdef Problem smooth            # the problem with the loss under way (smoothed or its own)
    cdef double sharpness, last_gap, tol, smooth_objective, least_gradient
    cdef double stride             # where a step within an orthant sets out, in units of p
    cdef Py_ssize_t stages_in_vain
    cdef bint orthant
    cdef Py_ssize_t stalled, patience

    def __init__(self, Problem problem, double[:, ::1] W, double[::1] b, Py_ssize_t memory=20,
                 double tol=1e-4, bint warm=False):
        super().__init__(problem, W, b)
        self.tol, self.smooth = 0.0 if problem.is_small else tol, problem
        self.patience = 30 if problem.is_small else 6
        W_, b_ = np.asarray(W), np.asarray(b)
        self.constant = best_constant(problem)
        self.z = constant_margins(problem, self.constant)
        self.start_objective = problem.line(self.z, np.zeros_like(self.z), 0.0)[0]
        if not warm:
            W_[:], b_[:] = 0.0, self.constant
        self.orthant = problem.penalty.l1 > 0.0 or problem.penalty.positive
        if problem.penalty.positive:
            np.maximum(W_, 0.0, out=W_)
        if type(problem.loss).smoothness == "kinked":
            self.sharpness = self.first_sharpness()
            loss = Smoothed(problem.loss, self.sharpness)
            self.smooth = problem.smoothed(loss, loss.middles(problem.targets()))
            self.last_gap = np.inf
        self.moments = problem.moments()
        h = float(np.mean(self.smooth.mean_curvature(self.z)))
        size = W_.size + b_.size
        self.coordinates = Coordinates(problem, self.moments[0], self.moments[1],
                                       h if np.isfinite(h) and h > 1e-8 else 1e-8)
        self.pairs = CurvaturePairs(pairs_remembered(problem, memory, size), size)
        c = 1.0 if problem.penalty.factors is None else problem.penalty.factors
        lam = problem.penalty.l1 * c / self.coordinates.sigma
        self.lam = np.concatenate([np.repeat(lam, problem.n_outputs), np.zeros(b_.size)])
        self.x = self.coordinates.to_x(W_, b_)
        self.begin_stage()
        self.passes = 2  # the moments, the first gradient

    def first_sharpness(self):
        """Kinks as wide as the spread of the targets about the best constant."""
        if type(self.problem.loss).targets != "real" or self.problem.coded:
            return 0.25
        spread = np.std(self.problem.y - np.median(self.problem.y))
        return 1.0 / spread if spread > 0.0 else 1.0

    # -- the function in x -----------------------------------------------------------------

    def evaluate(self, x, z):
        """(F, gradient of its smooth part) of the problem under way at x; fills ``z``."""
        W, b = self.coordinates.to_parameters(x)
        value, g, g_b = self.smooth.evaluate(W, b, z)
        self.passes += 1
        g = self.coordinates.gradient(g, g_b) + self.coordinates.penalty_gradient(
            self.penalty_slope(W))
        return value + self.problem.penalty.value_of(W), g

    def penalty_slope(self, W):
        """Gradient of the L2 part of the penalty."""
        factors = self.problem.penalty.factors
        return self.problem.penalty.l2 * (W if factors is None else factors[:, None]**2 * W)

    def begin_stage(self):
        """Evaluate the problem under way at the current point and forget the curvature."""
        self.smooth_objective, self.g = self.evaluate(self.x, self.z)
        self.pairs.forget()
        self.decrements, self.stride = [], 1.0
        self.stalled, self.least_gradient = 0, np.inf
        self.store()

    def store(self):
        """Write the current point to W and b, and its objective."""
        W, b = self.coordinates.to_parameters(self.x)
        np.asarray(self.W)[:], np.asarray(self.b)[:] = W, b
        self.objective = self.smooth_objective + self.gap()

    def gap(self):
        """How far the smoothed objective lies below the true one at this point."""
        if self.sharpness == 0.0:
            return 0.0
        zeros = np.zeros_like(self.z)
        return self.problem.line(self.z, zeros, 0.0)[0] - self.smooth.line(self.z, zeros, 0.0)[0]

    # -- one iteration ---------------------------------------------------------------------

    def iterate(self):
        """One step; sets ``objective``, ``remaining``, ``gradient_norm`` and ``finished``."""
        g, free = self.free_gradient()
        self.gradient_norm = float(np.sqrt(g @ g))
        p = self.direction(g, free)
        if not (g @ p) < 0.0:
            self.end_stage()
            return
        before = self.smooth_objective
        moved = self.orthant_step(g, p) if self.orthant else self.smooth_step(g, p)
        self.store()
        self.judge(-0.5 * (g @ p), before - self.smooth_objective, moved)

    def free_gradient(self):
        """The gradient of steepest descent, and which coordinates may move.

        With L1 or ``positive`` it is the smallest subgradient (Andrew, Gao 2007, eq. 4).
        """
        g, x, lam = self.g, self.x, self.lam
        if not self.orthant:
            return g, np.ones(g.size, dtype=np.uint8)
        up = g + lam
        down = g - lam if not self.problem.penalty.positive else np.minimum(g - lam, 0.0)
        down[lam.size - self.problem.n_outputs:] = g[lam.size - self.problem.n_outputs:]
        at_zero = np.where(up < 0.0, up, np.where(down > 0.0, down, 0.0))
        steepest = np.where(x > 0.0, up, np.where(x < 0.0, down, at_zero))
        n = self.problem.n_outputs
        steepest[steepest.size - n:] = g[g.size - n:]
        return steepest, ((x != 0.0) | (steepest != 0.0)).astype(np.uint8)

    def direction(self, g, free):
        """The quasi-Newton direction; steepest descent if it would not descend."""
        p = self.pairs.direction(g, free)
        if self.orthant:
            p[(self.x == 0.0) & (p * g >= 0.0)] = 0.0
        if np.all(np.isfinite(p)) and g @ p < -1e-14 * self.gradient_norm * np.sqrt(p @ p):
            return p
        self.pairs.forget()
        return -g

    def smooth_step(self, g, p):
        """A step by the Wolfe conditions, with a one-dimensional search where t = 1 fails."""
        slope = g @ p
        z = np.empty_like(self.z)
        value, g_new = self.evaluate(self.x + p, z)
        t = 1.0
        if not self.accepted(value, g_new @ p, slope, t):
            t = self.search(p, slope)
            if t == 0.0:
                return False
            value, g_new = self.evaluate(self.x + t * p, z)
            if not np.isfinite(value) or value > self.smooth_objective + self.rounding():
                return False
        return self.move(self.x + t * p, value, g_new, z)

    def rounding(self):
        """Differences of F below this are noise."""
        return 1e-15 * max(abs(self.smooth_objective), abs(self.start_objective))

    def accepted(self, value, slope_new, slope, t):
        """Wolfe's conditions; near rounding, where F says nothing, by the slopes alone [1].

        [1] W. Hager, H. Zhang, "A new conjugate gradient method with guaranteed descent", 2005.
        """
        if not np.isfinite(value):
            return False
        falls = value <= self.smooth_objective + 1e-4 * t * slope
        flat = value <= self.smooth_objective + self.rounding() and slope_new <= -0.8 * slope
        return (falls or flat) and abs(slope_new) <= 0.9 * abs(slope)

    def search(self, p, slope):
        """t > 0 where F has fallen and |slope| <= 0.1 of the first one, on cached margins.

        Bracketed secant steps on the slope, which rises with t since F is convex.
        """
        W, b = self.coordinates.to_parameters(p)
        along = self.smooth.directional_margins(W, b)
        W_now = np.asarray(self.W)
        linear = float(np.sum(self.penalty_slope(W_now) * W))
        square = float(np.sum(self.penalty_slope(W) * W))
        self.passes += 1

        def at(t):
            value, rate = self.smooth.line(self.z, along, t)
            return value + t * (linear + 0.5 * t * square), rate + linear + t * square

        start = at(0.0)[0]
        low, slope_low, high, slope_high = 0.0, slope, np.inf, np.nan
        t = 1.0
        for _ in range(60):
            value, now = at(t)
            if abs(now) <= 0.1 * abs(slope) and value <= start + self.rounding():
                return t
            if now < 0.0:
                low, slope_low = t, now
            else:  # also where it is not finite
                high, slope_high = t, now
            if not np.isfinite(high):
                t *= 4.0
                continue
            secant = (low * slope_high - high * slope_low) / (slope_high - slope_low)
            width = high - low
            if not low + 0.05 * width < secant < high - 0.05 * width:
                secant = low + 0.5 * width
            t = secant
        return low

    def orthant_step(self, g, p):
        """Backtracking along p, projected onto the orthant of x (or of -g where x is 0).

        Where F was straight along the last step it sets out four times as far: on a face without
        curvature p has no length of its own.
        """
        side = np.where(self.x != 0.0, np.sign(self.x), -np.sign(g))
        n = self.problem.n_outputs
        z = np.empty_like(self.z)
        t = self.stride
        for _ in range(40):
            x = self.x + t * p
            crossed = x * side < 0.0
            crossed[x.size - n:] = False
            x[crossed] = 0.0
            value, g_new = self.evaluate(x, z)
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

    def move(self, x, value, g, z):
        """Go to x and remember the curvature on the way."""
        s, y = x - self.x, g - self.g
        if s @ y > 1e-14 * np.sqrt((s @ s) * (y @ y)):
            self.pairs.push(s, y)
        self.x, self.smooth_objective, self.g, self.z = x, value, g, z
        return True

    # -- when to stop ----------------------------------------------------------------------

    def judge(self, decrement, decrease, moved):
        """Estimate what remains, and whether anything can be gained still."""
        self.decrements.append(max(decrement, decrease))
        recent = self.decrements[max(0, len(self.decrements) - 4):]
        first, last = recent[0], recent[len(recent) - 1]
        rate = (last / first) ** (1.0 / (len(recent) - 1)) if len(recent) > 1 else 0.9
        # measured on ten real sets, the geometric sum falls short of the truth by up to 3.6 times
        remaining = 4.0 * max(recent) / (1.0 - min(rate, 0.95)) if len(recent) > 2 else np.inf
        inner = min(remaining, self.strong_convexity_bound())
        gap = self.gap()
        self.remaining = gap + inner
        # Once F changes by rounding only, more steps still shrink the gradient.
        if decrease > self.rounding() or self.gradient_norm < 0.5 * self.least_gradient:
            self.stalled, self.least_gradient = 0, self.gradient_norm
        else:
            self.stalled += 1
        if not moved and self.pairs.n > 0:
            self.pairs.forget()
        elif not moved or self.stalled >= self.patience or self.gradient_norm == 0.0:
            self.end_stage()
        elif self.sharpness > 0.0 and inner <= 0.05 * max(gap, self.target()):
            self.end_stage()

    def strong_convexity_bound(self):
        """|gradient|^2 / (2 l2) >= F - F*, where every coordinate is penalised by L2 alone."""
        penalty = self.problem.penalty
        if self.orthant or penalty.l2 == 0.0 or penalty.factors is not None:
            return np.inf
        sigma = self.coordinates.sigma
        size = np.append(np.repeat(sigma**2, self.problem.n_outputs) / penalty.l2,
                         np.ones(self.problem.n_outputs))
        return 0.5 * float(self.g**2 @ size)

    def target(self):
        """Absolute suboptimality that is asked for."""
        return max(self.tol * (self.start_objective - self.objective), self.rounding())

    def end_stage(self):
        """Finish, or go on with centres at the slopes that have been found."""
        gap = self.gap()
        if self.sharpness > 0.0 and self.problem.is_small and self.found_exactly():
            return
        if np.isinf(self.remaining):  # the first step of the stage failed: it is solved
            self.remaining = gap
        self.store()
        # near rounding the gaps go up and down: a stage is in vain unless it is the best by far
        gained = self.best is None or self.remaining < 0.5 * self.best[3]
        self.stages_in_vain = 0 if gained else self.stages_in_vain + 1
        if self.best is None or self.remaining < self.best[3]:
            self.best = (np.array(self.W), np.array(self.b), self.objective, self.remaining)
        if self.sharpness == 0.0 or self.remaining <= self.target() or self.stages_in_vain > 10:
            self.finished = True
            np.asarray(self.W)[:], np.asarray(self.b)[:] = self.best[:2]
            self.objective, self.remaining = self.best[2:]
            return
        if gap > max(0.25 * self.last_gap, self.rounding()):
            self.sharpness *= 4.0
        self.last_gap = gap
        centres = self.smooth.slopes(self.z)
        self.smooth = self.problem  # releases the targets of the stage before the new ones come
        self.smooth = self.problem.smoothed(Smoothed(self.problem.loss, self.sharpness), centres)
        self.begin_stage()
        self.remaining = np.inf

    def found_exactly(self):
        """Whether the slopes found so far lead to the minimum itself, which is then stored."""
        found = on_active_set(self.problem, np.asarray(self.W), np.asarray(self.b),
                              self.smooth.slopes(self.z))
        if found is None:
            return False
        objective = self.problem.objective(*found)
        if objective > self.objective + self.rounding():
            return False
        np.asarray(self.W)[:], np.asarray(self.b)[:] = found
        self.objective, self.remaining = objective, self.rounding()
        self.finished = True
        return True

    def settle(self):
        """For softmax, take out the constant that adds nothing: intercepts sum to zero."""
        W, b = np.asarray(self.W), np.asarray(self.b)
        if not type(self.problem.loss).joint or self.problem.penalty.positive:
            return
        b -= b.mean()
        if self.problem.penalty.l1 == self.problem.penalty.l2 == 0.0:
            W -= W.mean(axis=1, keepdims=True)

    def facts(self):
        """What ``partial_fit`` needs to know of the data seen: ``stream.FitFacts``, as a dict."""
        problem, (mean, variance, largest) = self.problem, self.moments
        s = np.ones(problem.n_rows) if problem.sample_weight is None else problem.sample_weight
        n_rows = np.count_nonzero(s)
        start = constant_margins(problem, self.constant)
        y = problem.y.reshape(problem.n_rows, -1)
        y_mean = np.average(y, axis=0, weights=s)
        return {
            "n_rows": n_rows, "weight": problem.total_weight,
            "mean": mean, "variance": variance, "largest": largest,
            "square_derivative": (np.square(s[:, None] * problem.slopes(start)).sum()
                                  / (n_rows * problem.n_outputs)),
            "curvature": np.mean(problem.mean_curvature(start)),
            "mean_loss": problem.line(self.z, np.zeros_like(self.z), 0.0)[0],
            "y": np.array([y[s > 0].min(axis=0), y[s > 0].max(axis=0), y_mean,
                           np.average((y - y_mean) ** 2, axis=0, weights=s)]),
        }


#: every solver a user can name
SOLVERS = {LBFGS.name: LBFGS}
