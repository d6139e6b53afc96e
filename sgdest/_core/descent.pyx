"""Descent along directions: what L-BFGS and Newton's method share.

Design:

- A lane works in implicitly centred and scaled coordinates: column j of X stands for
  (x_j - mean_j) / sigma_j, with sigma_j^2 = h var_j + l2 c_j^2 and h the mean curvature of the
  loss at the start, so that the Hessian begins with a diagonal of about one and raw columns of any
  scale and offset converge alike. X is not touched: only W, b and the gradient are mapped. The
  penalty stays in the original units.
- Margins are kept, so that the search along a direction costs O(n_rows) (``Problem.line``).
- A piecewise-linear loss is replaced by ``Smoothed`` ones, each started from the solution of the
  one before and centred on its slopes. The loss minus its smoothed form bounds the error made.
"""

from libc.math cimport INFINITY, fabs, sqrt

import numpy as np

from sgdest._core import proximal_newton
from sgdest._core.active_set import ActiveSet
from sgdest._core.smoothing import Smoothed
from sgdest._core.solver import NEAR_ROUNDING, Lane

from sgdest._core.penalties cimport Penalty

# Steps after which it could not be made sure that little remains, until that is given up: rounding.
MOST_UNSURE = 200
# Products with the Hessian for one decrement.
MOST_PRODUCTS, MOST_WIDE_PRODUCTS = 12, 100
# Classes that are nearly told apart leave many directions in which F hardly curves: by 12 products and a
# tenth, raw digits at C=100 ended 6 tol above the minimum.
MOST_JOINT_PRODUCTS = 60
LITTLE, LITTLE_OF_CLASSES = 0.1, 0.01       # what a product may add to them at the end
# Fewer rows than that for every unknown, and a few products do not tell the decrement: it was 1/27 of
# the truth on 1,500 x 1,000 numbers of low rank (poisson, C=100).
FEW_ROWS = 3
# Relative suboptimality from which on claims about losses with kinks are proven.
TO_PROVE = 1e-7


class Coordinates:
    """The map between (W, b) and the flat, centred and scaled vector x."""

    def __init__(self, problem, mean, variance, h):
        self.shape = (problem.n_features, problem.n_outputs)
        self.fit_intercept = problem.fit_intercept
        self.mean = mean if problem.fit_intercept else np.zeros_like(mean)
        # about which second moments are taken
        self.centre = self.mean if problem.rows.is_sparse else mean
        # the curvatures of the penalty; its slope knows no intercept: nothing to centre
        self.sigma, self.inverse_sigma, self.pull = np.empty((3, problem.n_features))
        _choose_scales(problem.penalty, mean, variance, h, self.fit_intercept, self.sigma,
                       self.inverse_sigma, self.pull)
        self.root_h = np.sqrt(h)

    def to_x(self, W, b):
        """x of (W, b)."""
        u = (b + self.mean @ W) * self.root_h
        return np.concatenate([(self.sigma[:, None] * W).ravel(), u])

    def to_parameters(self, x):
        """(W, b) of x."""
        W, b = np.empty(self.shape), np.empty(self.shape[1])
        _from_scaled(x, self.sigma, self.mean, 1.0 / self.root_h if self.fit_intercept else 0.0, W, b)
        return W, b

    def gradient(self, g, g_b, W):
        """Gradient in x of F without L1, from those of the loss in W and b."""
        x = np.empty(W.size + len(g_b))
        _to_scaled(np.ascontiguousarray(g), g_b, np.ascontiguousarray(W), self.mean,
                   self.inverse_sigma, self.pull, 1.0 / self.root_h if self.fit_intercept else 0.0, x)
        return x


cdef void _choose_scales(Penalty penalty, const double[:] mean, const double[:] variance, double h,
                         bint fit_intercept, double[::1] sigma, double[::1] inverse,
                         double[::1] pull):
    """Root of the curvature of each column, its inverse, and the slope of the penalty in x.

    A column that does not vary has no curvature of its own: rounding noise must not move it. It is
    held where it is, by an inverse of 0, unless the penalty pulls at it.
    """
    cdef Py_ssize_t j
    cdef double whole, second, own, square
    cdef bint constant
    for j in range(mean.shape[0]):
        whole = variance[j] + mean[j] * mean[j]
        second = variance[j] if fit_intercept else whole
        own = penalty.l2 if penalty.c == NULL else penalty.l2 * penalty.c[j] * penalty.c[j]
        constant = second <= 1e-13 * whole
        square = own if constant else h * second + own
        sigma[j] = sqrt(square) if square > 0.0 else 1.0
        inverse[j] = 0.0 if constant and square <= 0.0 else 1.0 / sigma[j]
        pull[j] = own / sigma[j]


cdef void _from_scaled(const double[::1] x, const double[::1] sigma, const double[::1] mean,
                       double unit, double[:, ::1] W, double[::1] b):
    """W and b of x; ``unit`` is that of the intercept, 0 where there is none."""
    cdef Py_ssize_t j, k, d = W.shape[0], K = W.shape[1]
    for k in range(K):
        b[k] = x[d * K + k] * unit
    for j in range(d):
        for k in range(K):
            W[j, k] = x[j * K + k] / sigma[j]
            if unit != 0.0:
                b[k] -= mean[j] * W[j, k]


cdef void _to_scaled(const double[:, ::1] g, const double[::1] g_b, const double[:, ::1] W,
                     const double[::1] mean, const double[::1] inverse_sigma,
                     const double[::1] pull, double unit, double[::1] out):
    """All in one loop: of 56,000 columns and 20 classes each array of its own takes 4 ms."""
    cdef Py_ssize_t j, k, K = W.shape[1]
    for k in range(K):
        out[W.shape[0] * K + k] = g_b[k] * unit
    for j in range(W.shape[0]):
        for k in range(K):
            out[j * K + k] = (g[j, k] - mean[j] * g_b[k]) * inverse_sigma[j] + pull[j] * W[j, k]


cdef double _square_in_units(const double[::1] g, const double[::1] sigma, double l2):
    """|gradient|^2 / 2 where the penalty curves by one in every coordinate, and the intercepts."""
    cdef Py_ssize_t j, k, d = sigma.shape[0], K = g.shape[0] // (d + 1)
    cdef double total = 0.0
    for j in range(d):
        for k in range(K):
            total += g[j * K + k] * g[j * K + k] * (sigma[j] * sigma[j] / l2)
    for k in range(K):
        total += g[d * K + k] * g[d * K + k]
    return 0.5 * total


def is_accepted(double change, double slope_new, double slope, double rounding):
    """Wolfe's conditions on a step that changes F by so much; near rounding by the slopes alone [1].

    [1] W. Hager, H. Zhang, "A new conjugate gradient method with guaranteed descent", 2005.
    """
    if not change < INFINITY:            # also where it is not a number
        return False
    falls = change <= 1e-4 * slope
    flat = change <= rounding and slope_new <= -0.8 * slope
    return (falls or flat) and fabs(slope_new) <= 0.9 * fabs(slope)


def searched(at, slope, slope_at_one, enough, rounding):
    """t > 0 where a convex function has fallen and its slope is a part of ``slope``, that at 0.

    Bracketed secant steps on the slope.

    Parameters
    ----------
    at : callable t -> (value, slope)
    slope_at_one : float, that at t = 1 where it is known, else NaN
    enough : float, the part
    """
    start = at(0.0)[0]
    low, slope_low, high, slope_high = 0.0, slope, np.inf, np.nan
    t = 1.0
    if np.isfinite(slope_at_one):
        t = min(max(slope / (slope - slope_at_one), 0.01), 4.0) if slope_at_one > slope else 4.0
    for _ in range(60):
        value, now = at(t)
        if abs(now) <= enough * abs(slope) and value <= start + rounding:
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


class DescentLane(Lane):
    """Abstract: moves along directions until F no longer falls.

    A method says how it moves (``advance``), what it learns from a move (``push``) and how it
    forgets (``forget``, which returns whether there was anything to forget).
    """

    patience = 6       # iterations that change F by rounding only

    def __init__(self, problem, start):
        super().__init__(problem, start)
        self.sharpness, self.best, self.stages_in_vain = 0.0, None, 0
        self.ends, self.drift, self.unsure = [], 0.0, 0
        self.is_exact = False      # the minimum has been found, and proven to be one
        self.active_set = self.prover = None
        self.first = start.gradient
        self.gap_known = None      # at the margins as they are
        self.signed = problem.penalty.l1 > 0.0 or problem.penalty.positive
        if problem.is_small:
            self.patience = 30
        if type(problem.loss).smoothness == "kinked":
            self.sharpness, self.last_gap = self.first_sharpness(), np.inf
            loss = Smoothed(problem.loss, self.sharpness)
            self.under_way = problem.smoothed(loss, loss.middles(problem.targets()))
        h = float(np.mean(self.under_way.mean_curvature(self.z)))
        self.moments = start.moments
        self.coordinates = Coordinates(problem, self.moments[0], self.moments[1],
                                       h if np.isfinite(h) and h > 1e-8 else 1e-8)
        c = 1.0 if problem.penalty.factors is None else problem.penalty.factors
        lam = problem.penalty.l1 * c / self.coordinates.sigma
        self.n_intercepts = problem.n_outputs
        self.everything = np.ones((problem.n_features + 1) * problem.n_outputs, dtype=np.uint8)
        self.lam = np.concatenate([np.repeat(lam, problem.n_outputs),
                                   np.zeros(problem.n_outputs)])
        self.x = self.coordinates.to_x(self.W, self.b)

    def first_sharpness(self):
        """Kinks as wide as the spread of the targets about the best constant."""
        if type(self.problem.loss).targets != "real" or self.problem.coded:
            return 0.25
        spread = np.std(self.problem.y - np.median(self.problem.y))
        return 1.0 / spread if spread > 0.0 else 1.0

    # -- the function in x -----------------------------------------------------------------

    def evaluate(self, x, z, known=False):
        """(F, gradient of its smooth part) of what is under way at x; a generator.

        Fills ``z``, or takes the margins from it where they are ``known``.
        """
        W, b = self.coordinates.to_parameters(x)
        value, g, g_b = yield (None, None, z) if known else (W, b, z)
        return (value + self.problem.penalty.value_of(W),
                self.coordinates.gradient(g, g_b, W))

    def penalty_slope(self, W):
        """Gradient of the L2 part of the penalty."""
        factors = self.problem.penalty.factors
        return self.problem.penalty.l2 * (W if factors is None else factors[:, None]**2 * W)

    def begin(self):
        """Evaluate what is under way at the current point and forget the curvature."""
        if self.first is None:
            self.smooth_objective, self.g = yield from self.evaluate(self.x, self.z)
        else:                      # at the best constants, where the penalty is 0
            self.smooth_objective = self.start_objective
            self.g, self.first = self.coordinates.gradient(*self.first, self.W), None
        self.forget()
        self.decrements, self.stalled = [], 0
        self.least_gradient = self.least_inner = np.inf
        self.store()

    def store(self):
        """Write the current point to W and b, and its objective."""
        self.W, self.b = self.coordinates.to_parameters(self.x)
        self.objective = self.smooth_objective + self.gap()

    def gap(self):
        """How far the smoothed objective lies below the true one at this point."""
        if self.sharpness == 0.0:
            return 0.0
        if self.gap_known is None:
            problem = self.under_way
            self.gap_known = problem.loss.shortfall(
                problem.y, self.z, problem.sample_weight) / problem.total_weight
        return self.gap_known

    # -- one iteration ---------------------------------------------------------------------

    def step(self):
        """One move; sets ``objective``, ``remaining``, ``gradient_norm`` and ``finished``."""
        if self.prover is not None:
            yield from self.prove()
            return
        before = self.smooth_objective
        decrement, moved = yield from self.advance()
        if decrement > 0.0:
            self.store()
            ends = self.judge(decrement, before - self.smooth_objective, moved)
            if self.remaining <= self.target() and self.wants_proof():
                yield from self.prove()
                return
            if self.can_tell() and self.remaining <= self.target():
                sure = yield from self.is_sure()
                self.unsure += not sure
                ends = ends and sure
                self.finished = self.unsure > MOST_UNSURE
        else:
            ends = True
        if ends and self.next_stage():
            yield from self.begin()
            self.remaining = np.inf
        elif self.finished and self.is_close() and self.wants_proof():
            yield from self.prove()
        elif self.finished and not self.is_exact:
            yield from self.look_back()

    def look_back(self):
        """Correct ``remaining`` at the end, which the last decrements may get wrong. A generator."""
        if self.sharpness == 0.0 and (self.problem.is_small or not self.is_close()):
            yield from self.is_sure()

    def wants_proof(self):
        """Whether a claim about a loss with kinks is to be proven.

        Decrements within one stage know nothing of the kinks to come: 1,000 x 300 numbers with long
        tails, at 1e-8, ended up to 18 tol above the minimum; at 1e-6 none of 180 did.
        """
        return (self.sharpness > 0.0 and (self.tol < TO_PROVE or self.sees_little())
                and not self.problem.is_small and proximal_newton.is_possible(self.problem))

    def sees_little(self):
        """Whether decrements are of a few products with the Hessian in the place of itself."""
        return False

    def prove(self):
        """Go on with stages whose gap is a bound; if they fail, what has been claimed stands."""
        if self.prover is None:
            mean = self.moments[0] if self.problem.fit_intercept else None
            self.prover = proximal_newton.ProximalNewtonLane(
                self, mean, self.under_way.slopes(self.z), self.tol, self.sharpness)
        yield from self.prover.step()
        prover = self.prover
        self.passes += prover.passes
        prover.passes = 0
        self.finished = prover.finished or prover.gave_up
        if not prover.gave_up:
            self.W, self.b, self.z = prover.W, prover.b, prover.z
            self.objective, self.remaining = prover.objective, prover.remaining

    def can_tell(self):
        """Whether what is asked for is far enough above rounding for claims to be looked into."""
        return self.tol > 0.0 and self.target() > NEAR_ROUNDING * self.rounding()

    def is_sure(self):
        """Whether ``remaining``, which is small enough, is to be trusted; else corrects it.

        A generator.
        """
        yield from ()
        return True

    def solved_decrement(self):
        """The Newton decrement by conjugate gradients, preconditioned by the pairs. A generator.

        The decrements of the last moves know nothing of a direction in which F hardly curves and
        that no move has taken. A few products with the Hessian, differences of gradients over
        steps of natural length, find it; what they teach joins the pairs. With few rows for a column
        F curves by little more than the penalty in many directions: there the residual must vanish too.
        """
        g, free = self.steepest()
        wide = (self.n_intercepts == 1 and self.has_few_rows()
                and np.isfinite(self.strong_convexity_bound(g)))    # known where L2 alone acts
        r, total, learned, left = -g, 0.0, [], 0.0
        p = self.by_pairs(g, free)
        room, rz = np.empty_like(self.z), r @ p
        joint = self.n_intercepts > 1
        for _ in range(MOST_WIDE_PRODUCTS if wide else MOST_JOINT_PRODUCTS if joint else MOST_PRODUCTS):
            _, there = yield from self.evaluate(self.x + p, room)
            y = (there - self.g) * free
            if not (rz > 0.0 and p @ y > 0.0 and np.isfinite(y).all()):
                break
            t = rz / (p @ y)
            learned.append((p, y))
            gain = 0.5 * t * rz
            total += gain
            r = r - t * y
            left = self.strong_convexity_bound(r) if wide else 0.0
            if gain <= (LITTLE_OF_CLASSES if joint else LITTLE) * total and left <= 0.5 * self.target():
                break
            solved, before = self.by_pairs(-r, free), rz
            rz = r @ solved
            p = solved + (rz / before) * p
        for s, y in learned:
            self.pairs.push(s, y)
        return 1.5 * total + left if learned else np.inf

    def has_few_rows(self):
        """Whether rows leave directions in which F curves by little more than the penalty.

        Stages of kinked losses are judged by the gap of their smoothing and by how F falls from
        one to the next; to solve each so far takes them 3,000 passes in the place of 1,400. A row
        of a softmax says something of each class.
        """
        few = FEW_ROWS if self.sharpness == 0.0 and self.n_intercepts == 1 else 1
        return few * self.x.size > self.problem.n_rows

    def by_pairs(self, g, free):
        """-H g, where H is what curvature pairs make of the inverse Hessian."""
        raise NotImplementedError

    def advance(self):
        """Find a direction and go along it: (decrement, moved). A generator.

        The decrement is what the model of F promises; not positive where nothing descends.
        """
        raise NotImplementedError

    def steepest(self):
        """The gradient of steepest descent, and which coordinates may move.

        With L1 or ``positive`` it is the smallest subgradient (Andrew, Gao 2007, eq. 4).
        """
        g, x, lam, n = self.g, self.x, self.lam, self.n_intercepts
        if not self.signed:
            return g, self.everything
        up = g + lam
        down = g - lam if not self.problem.penalty.positive else np.minimum(g - lam, 0.0)
        at_zero = np.where(up < 0.0, up, np.where(down > 0.0, down, 0.0))
        steepest = np.where(x > 0.0, up, np.where(x < 0.0, down, at_zero))
        steepest[g.size - n:] = g[g.size - n:]
        return steepest, ((x != 0.0) | (steepest != 0.0)).astype(np.uint8)

    def smooth_step(self, p, slope):
        """A step by the Wolfe conditions, with a one-dimensional search where t = 1 fails."""
        along, slope_at_one = None, np.nan
        if self.sharpness == 0.0:
            z = np.empty_like(self.z)
            value, g = yield from self.evaluate(self.x + p, z)
            if is_accepted(value - self.smooth_objective, g @ p, slope, self.rounding()):
                return self.move(self.x + p, value, g, z)
            if np.isfinite(value) and self.tells_apart(z):
                along, slope_at_one = np.subtract(z, self.z, out=z), g @ p
        # t = 1 fails as a rule where F is quadratic in pieces: there the search comes at once
        if along is None:
            along = self.under_way.rows.margins(*self.coordinates.to_parameters(p))
            self.passes += 1
        t = self.search(p, slope, along, slope_at_one)
        if t == 0.0:
            return False
        along *= t
        along += self.z
        # what is solved to rounding must not gather that of many searches
        value, g = yield from self.evaluate(self.x + t * p, along, known=not self.problem.is_small)
        if not np.isfinite(value) or value > self.smooth_objective + self.rounding():
            return False
        return self.move(self.x + t * p, value, g, along)

    def tells_apart(self, z):
        """Whether z - self.z has digits enough to search along it."""
        return np.abs(z - self.z).max(initial=0.0) > 1e-6 * np.abs(z).max(initial=0.0)

    def rounding(self):
        return 1e-15 * max(abs(self.smooth_objective), abs(self.start_objective))

    def search(self, p, slope, along, slope_at_one):
        """``searched`` on cached margins.

        Parameters
        ----------
        slope, slope_at_one : float
            At t = 0, and at t = 1 where that is known, else NaN.
        along : ndarray of the shape of ``z``
            How the margins change from t = 0 to 1.
        """
        W, b = self.coordinates.to_parameters(p)
        linear = float(np.sum(self.penalty_slope(self.W) * W))
        square = float(np.sum(self.penalty_slope(W) * W))

        def at(t):
            value, rate = self.under_way.line(self.z, along, t)
            return value + t * (linear + 0.5 * t * square), rate + linear + t * square

        # what is quadratic in pieces has new pieces after every step
        enough = 0.1 if self.sharpness == 0.0 else 0.3
        return searched(at, slope, slope_at_one, enough, self.rounding())

    def move(self, x, value, g, z):
        """Go to x and learn the curvature on the way."""
        s, y = x - self.x, g - self.g
        if s @ y > 1e-14 * np.sqrt((s @ s) * (y @ y)):
            self.push(s, y)
        self.x, self.smooth_objective, self.g, self.z = x, value, g, z
        self.gap_known = None
        return True

    # -- when to stop ----------------------------------------------------------------------

    def judge(self, decrement, decrease, moved):
        """Estimate what remains; True where nothing can be gained before the next stage."""
        self.decrements.append(max(decrement, decrease))
        inner = min(self.expected(), self.strong_convexity_bound())
        gap = self.gap()
        # Once F changes by rounding only, more steps still shrink the gradient, and estimates are
        # noise: the least of them counts.
        if decrease > self.rounding() or self.gradient_norm < 0.5 * self.least_gradient:
            self.stalled, self.least_gradient, self.least_inner = 0, self.gradient_norm, inner
        else:
            self.stalled += 1
            self.least_inner = inner = min(inner, self.least_inner)
        self.remaining = max(gap + inner, self.drift)
        if not moved and self.forget():
            return False
        settled = self.sharpness == 0.0 and self.is_settled(decrement)
        if not moved or self.stalled >= self.patience or self.gradient_norm == 0.0 or settled:
            return True
        return self.sharpness > 0.0 and inner <= 0.05 * max(gap, self.target())

    def is_settled(self, decrement):
        """Whether steps move the parameters by less than their last digit."""
        return decrement <= 1e-31 * abs(self.start_objective)

    def expected(self):
        """What remains if the decrements go on falling as the last ones did."""
        recent = self.decrements[max(0, len(self.decrements) - 4):]
        if len(recent) < 3:
            return np.inf
        rate = (recent[len(recent) - 1] / recent[0]) ** (1.0 / (len(recent) - 1))
        # measured on ten real sets, the geometric sum falls short of the truth by up to 3.6 times
        return 4.0 * max(recent) / (1.0 - min(rate, 0.95))

    def strong_convexity_bound(self, g=None):
        """|gradient|^2 / (2 l2) >= F - F*, where every coordinate is penalised by L2 alone."""
        penalty, g = self.problem.penalty, self.g if g is None else g
        if self.signed or penalty.l2 == 0.0 or penalty.factors is not None:
            return np.inf
        return _square_in_units(g, self.coordinates.sigma, penalty.l2)

    def next_stage(self):
        """Whether to go on, with centres at the slopes that have been found."""
        gap = self.gap()
        if self.sharpness > 0.0 and self.problem.is_small and self.found_exactly():
            return False
        self.store()
        self.drift = self.decrease_to_come()
        if np.isinf(self.remaining):  # the first step of the stage failed: it is solved
            self.remaining = gap
        self.remaining = max(self.remaining, self.drift)
        # near rounding the gaps go up and down: a stage is in vain unless it is the best by far
        gained = self.best is None or self.remaining < 0.5 * self.best[3]
        self.stages_in_vain = 0 if gained else self.stages_in_vain + 1
        if self.best is None or self.remaining < self.best[3]:
            self.best = (self.W, self.b, self.objective, self.remaining)
        if self.sharpness == 0.0 or self.remaining <= self.target() or self.stages_in_vain > 10:
            self.finished = True
            self.W, self.b, self.objective, self.remaining = self.best
            return False
        if gap > max(0.25 * self.last_gap, self.rounding()):
            self.sharpness *= 4.0
        self.last_gap = gap
        centres = self.under_way.slopes(self.z)
        self.under_way = self.problem  # releases the targets of the stage before the new ones come
        self.under_way = self.problem.smoothed(Smoothed(self.problem.loss, self.sharpness), centres)
        self.gap_known = None
        return True

    def decrease_to_come(self):
        """How far F will fall if the stages go on as the last two did.

        Within a stage the decrement is that of the pieces at hand, which a long way changes.
        """
        self.ends.append(self.objective)
        if not self.can_tell() or len(self.ends) < 3:
            return 0.0
        first, second = -np.diff(self.ends[len(self.ends) - 3:])
        rate = min(second / first, 0.9) if first > 0.0 else 0.9
        return 2.0 * max(second, 0.0) * rate / (1.0 - rate)

    def found_exactly(self):
        """Whether the slopes found so far lead to the minimum itself, which is then stored."""
        self.active_set = self.active_set or ActiveSet(self.problem)
        found = self.active_set.minimum(self.W, self.b, self.under_way.slopes(self.z))
        if found is None or found[2] > self.objective + self.rounding():
            return False
        self.W, self.b, self.objective = found
        self.remaining = self.rounding()
        self.finished = self.is_exact = True
        return True
