"""Newton's method on the dual of a piecewise-linear loss, made strongly concave: the last resort.

Epochs of dual ascent, and smoothed losses, creep where the free multipliers depend on each other
or differ in scale. The method of multipliers [1]_ does not: with kinks rounded about the
multipliers c that are known, F is smooth; its minimiser tells the next c. The duality gap falls by
a factor at each such stage, the faster the sharper the kinks, and after a few stages it is zero but
for rounding, since all is piecewise quadratic. A stage takes a few steps of Newton's method [2]_,
each with the equations of the rows that lie on kinks, as few as these or as the columns.

References
----------
.. [1] R. T. Rockafellar, "Augmented Lagrangians and applications of the proximal point algorithm in
   convex programming", 1976.
.. [2] X. Li, D. Sun, K.-C. Toh, "A highly efficient semismooth Newton augmented Lagrangian
   method for solving Lasso problems", SIAM J. Optimization 28, 2018.
"""

from libc.math cimport INFINITY, fabs, fmax

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve
from scipy.sparse import csr_array

from sgdest._core.solver import Lane

MOST_DENSE = 4_000_000      # entries of dense rows, which are copied
# More equations (60 ms a step) took more than 20 seconds where they were tried: 3,000 short texts.
MOST_EQUATIONS = 1800
MOST_ROWS = 3000            # whose products are kept: 72 MB
WIDE = 1.5                  # columns for a row, from which equations of sparse data are of rows
DEAR = 300                  # equations from which rounding is not worth its seconds on small data
STEPS = 40                  # of Newton's method, a typical fit
MOST_STEPS, MOST_STAGES, MOST_IN_VAIN = 100, 60, 2     # in a stage; in all; with the sharpest kinks
# How much the kinks of an average row bend F at first, in units of the penalty; how much sharper
# they become by how many steps a stage took at most, and how sharp at last, in units of the
# margins: beyond it rounding decides.
FIRST_SHARPNESS, SHARPEST = 10.0, 1e11
SHARPER = (1, 100.0), (3, 16.0), (8, 4.0), (np.inf, 2.0)
# Of the gap of the rows: what the equations may leave of it in a stage.
UNSOLVED = 0.2
SEARCH = 0.1                # of the slope at first, and a search has come to its end
MOST_TRIALS, REFINEMENTS = 100, 4

# rows of the array of kinks
cdef enum:
    LOW, HIGH, DEAD, PLACE


def is_possible(problem):
    """Whether the rows are of a size to be copied, and their loss and penalty of the kind."""
    rows, penalty = problem.rows, problem.penalty
    return (type(problem.loss).smoothness == "kinked" and problem.n_outputs == 1
            and penalty.l2 > 0.0 and penalty.l1 == 0.0 and not penalty.positive
            and (penalty.factors is None or np.all(penalty.factors > 0.0))
            and (rows.is_sparse or rows.n_stored <= MOST_DENSE))


def expected_seconds(problem, n_free):
    """About how long it takes from a good start, with so many multipliers free at the minimum."""
    n, d = problem.n_rows, problem.n_features
    m = min(n_free, d)
    if m > MOST_EQUATIONS:
        return np.inf
    product = m * problem.rows.n_stored / n * (n_free if not problem.rows.is_sparse else m)
    return STEPS * (2e-4 + 3e-9 * problem.rows.n_stored + 4e-8 * n
                    + 1e-10 * product + 4e-11 * m**3)


class ProximalNewtonLane(Lane):
    """Stages of Newton's method about the multipliers of the last one, from where a lane is.

    Parameters
    ----------
    lane : Lane
        Not moved itself.
    mean : ndarray of shape (n_features,), or None
        Of the columns: dense ones are centred there.
    slopes : ndarray of shape (n_rows, 1)
        The multipliers to begin with.
    tol : float
    sharpness : float, default=None
        Of the kinks; None: so that an average row bends F ten times as much as the penalty.

    Attributes
    ----------
    gave_up : bool
        The equations are too many, or stages lead nowhere.
    """

    def __init__(self, lane, mean, slopes, tol, sharpness=None):
        self.problem = self.under_way = problem = lane.problem
        self.W, self.b, self.warm = lane.W.copy(), lane.b.copy(), True
        self.z, self.start_objective = problem.margins(self.W, self.b), lane.start_objective
        self.remaining, self.gradient_norm, self.passes = lane.remaining, np.nan, 0
        self.finished = self.gave_up = self.is_dear = False
        self.aim_at(tol)
        n, s, factors = problem.n_rows, problem.sample_weight, problem.penalty.factors
        self.s = (np.ones(n) if s is None else s) / problem.total_weight
        self.kinks = np.array(problem.loss.evaluate_kinks(problem.targets().ravel()))
        self.l2 = problem.penalty.l2
        self.factors = 1.0 if factors is None else factors
        self.mean = None if problem.rows.is_sparse or mean is None else mean / self.factors
        self.X = self.G = None
        self.w = self.factors * self.W[:, 0]
        self.c = float(self.b[0]) + (0.0 if self.mean is None else self.mean @ self.w)
        self.margin = self.z[:, 0].copy()
        self.objective = self.value(self.z)
        self.a = np.clip(slopes.ravel(), self.kinks[LOW], self.kinks[HIGH])
        self.sharpness = self.first_sharpness() if sharpness is None else sharpness
        spread = self.s @ (np.abs(self.kinks[PLACE]) + np.abs(self.margin))
        self.sharpest = SHARPEST / spread if spread > 0.0 else np.inf
        self.bound = -np.inf
        self.stages, self.last_gap, self.in_vain = 0, np.inf, 0

    def __getstate__(self):
        return {**self.__dict__, "X": None, "G": None}

    def rows(self):
        """X in columns divided by the factors of the penalty, dense ones about their means."""
        if self.X is None:
            rows, d = self.problem.rows, self.problem.n_features
            if rows.is_sparse:
                c = self.factors if np.ndim(self.factors) == 0 else self.factors[rows.X.indices]
                self.X = csr_array((rows.X.data / c, rows.X.indices, rows.X.indptr),
                                   (rows.n_rows, d))
            else:
                self.X = np.asarray(rows.X, dtype=np.float64) / self.factors
                if self.mean is not None:
                    self.X -= self.mean
        return self.X

    def first_sharpness(self):
        X = self.rows()
        squares = X.multiply(X).sum(axis=1) if self.problem.rows.is_sparse else (
            np.einsum("ij,ij->i", X, X))
        mean = self.s @ squares
        return FIRST_SHARPNESS * self.l2 * len(self.s) / mean if mean > 0.0 else 1.0

    def value(self, z):
        """F at the margins z of w."""
        loss = self.problem.evaluate(None, None, z, gradient=False)[0]
        return loss + 0.5 * self.l2 * (self.w @ self.w)

    def aim_at(self, tol):
        super().aim_at(tol)
        self.asked = tol

    def target(self):
        """Also of small data what is asked for, where rounding would cost much."""
        if not self.is_dear:
            return super().target()
        return max(self.asked * (self.start_objective - self.objective), self.rounding())

    # -- stages ----------------------------------------------------------------------------

    def step(self):
        """A stage."""
        yield from ()
        try:
            steps = self.stage()
        except LinAlgError:
            steps = None
        if steps is None or self.stages == MOST_STAGES or self.in_vain > MOST_IN_VAIN:
            self.finished = self.is_close()
            self.gave_up = not self.finished
            return
        self.stages += 1
        self.sharpness = min(self.sharpest, self.sharpness * next(
            factor for most, factor in SHARPER if steps <= most))
        self.finished = self.remaining <= max(self.target(), 10.0 * self.rounding())

    def stage(self):
        """Newton's steps until the gap is that of the rows; how many, None if too dear."""
        S, X, centre = self.s, self.rows(), self.a
        self.margin = X @ self.w + self.c      # without the rounding of many steps
        if self.problem.offset is not None:
            self.margin += self.problem.offset[:, 0]
        for step in range(MOST_STEPS):
            self.place_intercept(centre)
            a = self.slopes(self.margin, centre)
            g, gap, left = self.gaps(a)
            self.passes += 1
            if left <= UNSOLVED * gap or gap + left <= self.target():
                break
            on = self.bends(a)
            equations = min(len(on), len(self.w))
            if equations > MOST_EQUATIONS:
                return None
            self.is_dear = self.is_dear or equations > DEAR
            dw, db, _ = self.direction(on, g, S @ a)
            along = X @ dw + db
            t = self.search(along, dw, centre)
            if not t > 0.0:
                break
            self.w, self.c = self.w + t * dw, self.c + t * db
            self.margin = self.margin + t * along
        self.a, gap = self.refined(a)
        self.note(gap + self.imbalance())
        return step

    def gaps(self, a):
        """(gradient, gap of the rows, what w that is not that of the multipliers adds to it)."""
        g = self.l2 * self.w + self.rows().T @ (self.s * a)
        return g, self.gap_of_rows(a), (g @ g) / (2.0 * self.l2)

    def refined(self, a):
        """(multipliers, gap): by Newton's steps for both, while the gap is not that of the rows.

        Multipliers that come from sharp kinks have the rounding of the margins, many times over.
        """
        S, X = self.s, self.rows()
        g, gap, left = self.gaps(a)
        for _ in range(REFINEMENTS):
            on = self.bends(a)
            if left <= UNSOLVED * gap or gap + left <= self.target() or not len(on):
                break
            dw, db, p = self.direction(on, g, S @ a)
            kept = a, self.w, self.c, self.margin, gap, left
            a = a.copy()
            a[on] = np.clip(a[on] + p / S[on], self.kinks[LOW, on], self.kinks[HIGH, on])
            self.w, self.c, self.margin = self.w + dw, self.c + db, self.margin + (X @ dw + db)
            g, gap, left = self.gaps(a)
            if not gap + left < kept[4] + kept[5]:
                a, self.w, self.c, self.margin, gap, left = kept
                break
        return a, gap + left

    def imbalance(self):
        """What multipliers that do not sum to zero may add to the dual, but for rounding."""
        if not self.problem.fit_intercept:
            return 0.0
        return max(abs(self.s @ self.a) - 1e-15, 0.0) * np.abs(self.margin).max()

    def note(self, gap):
        """Be here if F is lower; what remains, by the highest dual so far."""
        z = self.margin[:, None].copy()
        F = self.value(z)
        self.bound = max(self.bound, F - gap)
        if F < self.objective:
            self.z, self.objective = z, F
            self.W = (self.w / self.factors)[:, None]
            self.b = np.array([self.c - (0.0 if self.mean is None else self.mean @ self.w)])
        self.remaining = max(self.objective - self.bound, 0.0)
        if self.remaining <= 0.5 * self.last_gap:
            self.in_vain = 0
        elif self.sharpness == self.sharpest:
            self.in_vain += 1
        self.last_gap = min(self.last_gap, self.remaining)

    # -- the rounded loss ------------------------------------------------------------------

    def slopes(self, const double[::1] z, const double[::1] centre):
        """Those of the loss with kinks that are rounded about these multipliers."""
        cdef Py_ssize_t i
        cdef double sharpness = self.sharpness
        cdef const double[:, ::1] kinks = self.kinks
        cdef double[::1] out = np.empty(z.shape[0])
        with nogil:
            for i in range(z.shape[0]):
                out[i] = slope(kinks, i, z[i], centre[i], sharpness)
        return np.asarray(out)

    def slope_along(self, const double[::1] along, const double[::1] weighted, double t,
                    const double[::1] centre):
        """The sum of these times ``weighted``, at the margins t times ``along`` from here."""
        cdef Py_ssize_t i
        cdef double total = 0.0, sharpness = self.sharpness
        cdef const double[:, ::1] kinks = self.kinks
        cdef const double[::1] z = self.margin
        with nogil:
            for i in range(z.shape[0]):
                total += weighted[i] * slope(kinks, i, z[i] + t * along[i], centre[i], sharpness)
        return total

    def gap_of_rows(self, const double[::1] a):
        """By how much losses and conjugates exceed margins times multipliers: a weighted sum."""
        cdef Py_ssize_t i
        cdef double u, dead, total = 0.0
        cdef const double[:, ::1] kinks = self.kinks
        cdef const double[::1] z = self.margin, s = self.s
        with nogil:
            for i in range(z.shape[0]):
                dead = kinks[DEAD, i]
                u = z[i] - kinks[PLACE, i]
                total += s[i] * fmax(0.0, dead * fabs(a[i]) - a[i] * u + fmax(0.0, fmax(
                    kinks[LOW, i] * (u + dead), kinks[HIGH, i] * (u - dead))))
        return total

    def bends(self, const double[::1] a):
        """The rows that bend the rounded F: ndarray of intp."""
        low, high, dead, _ = self.kinks
        a_ = np.asarray(a)
        return np.flatnonzero((a_ > low) & (a_ < high) & ((a_ != 0.0) | (dead == 0.0))
                              & (self.s > 0.0))

    def search(self, along, dw, centre):
        """About how far the rounded F falls along a direction."""
        first, bend = self.l2 * (self.w @ dw), self.l2 * (dw @ dw)
        weighted = self.s * along

        def rate(t):
            return self.slope_along(along, weighted, t, centre) + first + t * bend

        start = rate(0.0)
        return root(rate, start, 1.0, -SEARCH * start) if -start > self.rounding() else 0.0

    def place_intercept(self, centre):
        """Move the intercept to where the multipliers sum to zero."""
        if not self.problem.fit_intercept:
            return
        one = np.ones(len(self.s))

        def rate(t):
            return self.slope_along(one, self.s, t, centre)

        start = rate(0.0)
        t = root(rate, start, -np.copysign(1.0 / self.sharpness, start), 1e-15)
        self.c += t
        self.margin = self.margin + t

    # -- Newton's equations ----------------------------------------------------------------

    def direction(self, on, g, g_c):
        """Newton's step for w, the intercept and the weighted multipliers of the rows ``on``.

        These are the rows that bend F.
        """
        if not len(on):
            return -g / self.l2, 0.0, np.empty(0)
        K, D, l2, d = self.rows()[on], self.sharpness * self.s[on], self.l2, len(g)
        if len(on) <= d / (WIDE if self.problem.rows.is_sparse else 1.0):
            A = self.products_of(on) / l2
            A[np.diag_indices(len(on))] += 1.0 / D
            factor = cho_factor(A, lower=True, overwrite_a=True, check_finite=False)
            p = cho_solve(factor, -(K @ g) / l2, check_finite=False)
            db = 0.0
            if self.problem.fit_intercept:
                one = cho_solve(factor, np.ones(len(on)), check_finite=False)
                db = -(g_c + p.sum()) / one.sum()
                p += db * one
            return -(g + K.T @ p) / l2, db, p
        A = product(K.T.multiply(D).tocsr() if self.problem.rows.is_sparse else K.T * D, K)
        A[np.diag_indices(d)] += l2
        factor = cho_factor(A, lower=True, overwrite_a=True, check_finite=False)
        p = cho_solve(factor, -g, check_finite=False)
        if not self.problem.fit_intercept:
            return p, 0.0, D * (K @ p)
        k = K.T @ D
        h = cho_solve(factor, k, check_finite=False)
        db = -(g_c + k @ p) / max(D.sum() - k @ h, 1e-14 * D.sum())
        dw = p - db * h
        return dw, db, D * (K @ dw + db)

    def products_of(self, on):
        """Of the rows ``on`` with each other. Those of few rows are kept, since most stay on."""
        X = self.rows()
        if len(self.s) > MOST_ROWS:
            return product(X[on], X[on].T)
        if self.G is None:
            self.G, self.known = np.empty((len(self.s),) * 2), np.zeros(len(self.s), dtype=bool)
        fresh = on[~self.known[on]]
        if len(fresh):
            self.G[fresh] = product(X[fresh], X.T)
            self.known[fresh] = True
        return self.G[np.ix_(on, on)]


def product(A, B):
    """A @ B as a dense array."""
    C = A @ B
    return C if isinstance(C, np.ndarray) else C.toarray()


cdef inline double slope(const double[:, ::1] kinks, Py_ssize_t i, double z, double centre,
                         double sharpness) noexcept nogil:
    """Of the loss of a row, the kink of which is rounded about a slope."""
    cdef double a = centre + sharpness * (z - kinks[PLACE, i]), dead = sharpness * kinks[DEAD, i]
    if dead > 0.0:
        a = a - dead if a > dead else a + dead if a < -dead else 0.0
    return min(max(a, kinks[LOW, i]), kinks[HIGH, i])


cdef root(rate, double now, double t, double enough):
    """About where a rate that does not fall is 0: it is ``now`` at 0, t the first trial.

    By secants within a bracket, which is halved where these are slow.
    """
    cdef double low = -INFINITY, high = INFINITY, at_low = 0.0, at_high = 0.0, x = 0.0, inset
    cdef int trial
    for trial in range(MOST_TRIALS):
        if fabs(now) <= enough:
            break
        if now < 0.0:
            low, at_low = x, now
        else:
            high, at_high = x, now
        if high - low == INFINITY:
            x = t
            t *= 4.0
        else:
            inset = 0.05 * (high - low)
            x = 0.5 * (low + high) if trial % 3 == 2 else min(max(
                low - (high - low) * at_low / (at_high - at_low), low + inset), high - inset)
            if not low < x < high:
                break
        now = rate(x)
    return x
