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
.. [2] X. Li, D. Sun, K.-C. Toh, "A highly efficient semismooth Newton augmented Lagrangian method for
   solving Lasso problems", SIAM J. Optimization 28, 2018.
"""

from libc.math cimport INFINITY, fabs, fmax

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve
from scipy.sparse import csr_array

from sgdest._core.relay import RelayLane

MOST_DENSE = 4_000_000      # entries of dense rows, which are copied
MOST_EQUATIONS = 3000       # 72 MB, and a quarter of a second a step
DEAR = 300                  # equations from which rounding is not worth its seconds on small data
STEPS = 40                  # of Newton's method, a typical fit
MOST_STEPS, MOST_STAGES, MOST_IN_VAIN = 100, 60, 2
# How much the kinks of an average row bend F at first, in units of the penalty; how much sharper
# they become where a stage took a few steps, and at most, beyond which rounding decides.
FIRST_SHARPNESS, SHARPEST = 10.0, 1e11
SHARPER = (1, 100.0), (3, 16.0), (8, 4.0), (20, 2.0), (np.inf, 2.0)
# Of the gap of the rows: what the equations may leave of it in a stage.
UNSOLVED = 0.2
MOST_TRIALS = 100
SEARCH = 0.1                # of the slope at first, and a search has come to its end

# rows of the array of kinks
cdef enum:
    LOW, HIGH, DEAD, PLACE


def is_possible(problem):
    """Whether the rows are of a size to be copied, and their loss and penalty of the kind."""
    rows = problem.rows
    return (type(problem.loss).smoothness == "kinked" and problem.n_outputs == 1
            and problem.penalty.l2 > 0.0 and problem.penalty.l1 == 0.0 and not problem.penalty.positive
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


class ProximalNewtonLane(RelayLane):
    """Stages of Newton's method about the multipliers of the last one.

    Parameters
    ----------
    frame : Frame
        The columns in which it works.
    slopes : ndarray of shape (n_rows, 1)
        The multipliers to begin with.
    """

    def __init__(self, problem, start, frame, slopes):
        super().__init__(problem, start)
        self.frame = frame
        inner = frame.problem
        n, s = inner.n_rows, inner.sample_weight
        self.s = (np.ones(n) if s is None else s) / inner.total_weight
        self.kinks = np.array(inner.loss.evaluate_kinks(inner.targets().ravel()))
        self.l2, self.fit_intercept = inner.penalty.l2, inner.fit_intercept
        self.a = np.clip(slopes.ravel(), self.kinks[LOW], self.kinks[HIGH])
        W, b = frame.inwards(self.W, self.b)
        self.w, self.c = W[:, 0].copy(), float(b[0])
        if frame.mean is not None and not inner.rows.is_sparse:
            self.c += frame.mean @ self.w
        self.z = problem.margins(self.W, self.b)
        self.objective = self.value(self.z, self.w)
        self.margin = self.z[:, 0].copy()
        self.X = self.G = None
        self.is_dear = False
        size = inner.rows.square_norms() if frame.mean is None or inner.rows.is_sparse else (
            np.einsum("ij,ij->i", self.rows(), self.rows()))
        mean = self.s @ size
        self.sharpness = FIRST_SHARPNESS * self.l2 * n / mean if mean > 0.0 else 1.0
        spread = max(np.abs(self.kinks[PLACE]).max(), np.abs(self.margin).max())
        self.sharpest = SHARPEST / spread if spread > 0.0 else np.inf
        self.bound = -np.inf
        self.stages, self.last_gap, self.in_vain = 0, np.inf, 0

    def __getstate__(self):
        return {**self.__dict__, "X": None, "G": None}

    def rows(self):
        """Dense rows about the means, sparse ones as they are."""
        if self.X is None:
            rows = self.frame.problem.rows
            if rows.is_sparse:
                shape = rows.n_rows, self.frame.problem.n_features
                self.X = csr_array((rows.X.data, rows.X.indices, rows.X.indptr), shape)
            else:
                mean = 0.0 if self.frame.mean is None else self.frame.mean
                self.X = np.asarray(rows.X, dtype=np.float64) - mean
        return self.X

    def value(self, z, w):
        """F."""
        return (self.problem.evaluate(None, None, z, gradient=False)[0]
                + 0.5 * self.frame.problem.penalty.l2 * (w @ w))

    def target(self):
        if not self.is_dear:
            return super().target()
        return max(self.start.tol * (self.start_objective - self.objective), self.rounding())

    # -- stages ----------------------------------------------------------------------------

    def go(self):
        """A stage."""
        try:
            steps = self.stage()
        except (LinAlgError, FloatingPointError):
            steps = None
        if steps is None or self.stages == MOST_STAGES or self.in_vain > MOST_IN_VAIN:
            if self.is_close():
                self.finished = True
            else:
                yield from self.hand_over()
            return
        self.stages += 1
        self.sharpness = min(self.sharpest, self.sharpness * next(
            factor for most, factor in SHARPER if steps <= most))
        self.finished = self.remaining <= max(self.target(), 10.0 * self.rounding())

    def stage(self):
        """Newton's steps until the gap is that of the rows; how many, None if too many equations."""
        S, X, centre = self.s, self.rows(), self.a
        for step in range(MOST_STEPS):
            self.place_intercept(centre)
            a = self.slopes(self.margin, centre)
            g = self.l2 * self.w + X.T @ (S * a)
            gap, left = self.gap_of_rows(a), (g @ g) / (2.0 * self.l2)
            self.passes += 1
            if left <= UNSOLVED * gap or gap + left <= self.target():
                break
            on = self.bends(a)
            equations = min(len(on), len(self.w))
            if equations > MOST_EQUATIONS:
                return None
            self.is_dear = self.is_dear or equations > DEAR
            dw, db = self.direction(on, g, S @ a)
            along = X @ dw + db
            t = self.search(along, dw, centre)
            if not t > 0.0:
                break
            self.w, self.c = self.w + t * dw, self.c + t * db
            self.margin = self.margin + t * along
        self.a = a
        self.note(gap + left)
        return step

    def note(self, gap):
        """Be here if F is lower; what remains, by the highest dual so far."""
        z = self.margin[:, None].copy()
        F = self.value(z, self.w)
        self.bound = max(self.bound, F - gap)
        if F < self.objective:
            self.z, self.objective = z, F
            b = self.c
            if self.frame.mean is not None and not self.frame.problem.rows.is_sparse:
                b -= self.frame.mean @ self.w
            self.W, self.b = self.frame.outwards(self.w[:, None].copy(), np.array([b]))
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
        if not self.fit_intercept:
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
        """Newton's step, ``on`` being the rows that bend F."""
        if not len(on):
            return -g / self.l2, 0.0
        K, D, l2, d = self.rows()[on], self.sharpness * self.s[on], self.l2, len(g)
        if len(on) <= d:
            A = self.products_of(on) / l2
            A[np.diag_indices(len(on))] += 1.0 / D
            factor = cho_factor(A, lower=True, overwrite_a=True, check_finite=False)
            p = cho_solve(factor, -(K @ g) / l2, check_finite=False)
            db = 0.0
            if self.fit_intercept:
                one = cho_solve(factor, np.ones(len(on)), check_finite=False)
                db = -(g_c + p.sum()) / one.sum()
                p += db * one
            return -(g + K.T @ p) / l2, db
        A = product(K.T * D, K) if isinstance(K, np.ndarray) else product(K.T.multiply(D).tocsr(), K)
        A[np.diag_indices(d)] += l2
        factor = cho_factor(A, lower=True, overwrite_a=True, check_finite=False)
        p = cho_solve(factor, -g, check_finite=False)
        if not self.fit_intercept:
            return p, 0.0
        k = K.T @ D
        h = cho_solve(factor, k, check_finite=False)
        db = -(g_c + k @ p) / max(D.sum() - k @ h, 1e-14 * D.sum())
        return p - db * h, db


    def products_of(self, on):
        """Of the rows ``on`` with each other. Those of few rows are kept, since most stay on."""
        X = self.rows()
        if len(self.s) > MOST_EQUATIONS:
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
