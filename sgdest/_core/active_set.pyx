"""The exact minimum of a piecewise-linear loss on small data, by a primal-dual active set.

Near the minimum F is flat but for its kinks: an F right to rounding leaves the weights wrong in
their sixth digit. But once it is known which rows lie on a kink and which coefficients are zero,
the minimum is one linear system away: on that face F is a quadratic (or linear) function under
linear equations. A guess of the face is corrected by the signs of its solution until all of them
agree, which is then the proof that the minimum has been found [1].

References
----------
.. [1] M. Hintermueller, K. Ito, K. Kunisch, "The primal-dual active set strategy as a semismooth
   Newton method", SIAM J. Optimization 13, 2002.
"""

import numpy as np
from scipy.linalg import lstsq
from scipy.sparse import csr_array

MOST_UNKNOWNS = 400       # of a linear system: 1 ms to solve, 30 ms where it is singular
MOST_ENTRIES = 1_000_000  # of X as a dense array
MOST_CORRECTIONS = 30
ROUNDING = 1e-9           # relative: signs of smaller numbers are not judged


class ActiveSet:
    """The data of a small problem with a piecewise-linear loss, as an array made once."""

    def __init__(self, problem):
        self.problem = problem
        mean, variance, largest = problem.moments()
        # with an intercept a constant column is of no use, and the solver holds it at 0
        spread = variance if problem.fit_intercept else largest
        self.varies = spread > 1e-14 * largest**2
        self.kinks = problem.loss.evaluate_kinks(problem.targets())
        self.X, self.used = None, None

    def __reduce__(self):
        return ActiveSet, (self.problem,)

    def minimum(self, W, b, slopes):
        """(W, b, F) at the minimum of F, which is proven to be one, or None if it was not found.

        Parameters
        ----------
        W, b : ndarrays near the minimum
        slopes : ndarray of shape (n_rows, n_outputs)
            Elements of the subdifferentials of the loss at the minimum, about.
        """
        problem = self.problem
        used = np.flatnonzero((W != 0.0).any(axis=1) | self.varies)
        signed = problem.penalty.l1 > 0.0 or problem.penalty.positive
        if problem.n_rows * len(used) > MOST_ENTRIES or not signed and len(used) > MOST_UNKNOWNS:
            return None
        self.read(used)
        W, b = W.copy(), b + self.centre @ W[used]
        for k in range(problem.n_outputs):
            offset = 0.0 if problem.offset is None else problem.offset[:, k]
            face = _Face(problem, self.X, used, *(part[:, k] for part in self.kinks), offset)
            found = face.minimise(W[used, k], b[k], slopes[:, k])
            if found is None:
                return None
            W[used, k], b[k] = found
        b = b - self.centre @ W[used]
        return W, b, problem.objective(W, b)

    def read(self, used):
        """Set ``X`` to these columns about their medians, ``centre``."""
        if self.X is not None and np.array_equal(used, self.used):
            return
        rows, self.used = self.problem.rows, used
        if rows.is_sparse:
            X = csr_array((rows.X.data, rows.X.indices, rows.X.indptr), shape=rows.X.shape)
            self.X = X[:, used].toarray().astype(np.float64, order="C")
        else:
            self.X = rows.X[:, used].astype(np.float64)
        # offsets must not blur the signs, nor what an outlier makes of a mean
        self.centre = (np.median(self.X, axis=0) if self.problem.fit_intercept
                       else np.zeros(len(used)))
        self.X -= self.centre


class _Face:
    """One output: which rows lie on a kink or on which side of it, which coefficients are zero.

    ``side`` is -1, 0 or 1 for rows below, within and above the dead zone of their kink; ``on`` marks
    rows on its lower (-1) or upper (1) end, which are one where there is no dead zone.
    """

    def __init__(self, problem, X, used, low, high, dead, kink, offset):
        self.X, self.low, self.high, self.dead = X, low, high, dead
        self.kink = kink - offset
        s = np.ones(len(X)) if problem.sample_weight is None else problem.sample_weight
        self.s = s / problem.total_weight
        penalty = problem.penalty
        c = np.ones(problem.n_features) if penalty.factors is None else penalty.factors
        self.l1, self.l2 = penalty.l1 * c[used], penalty.l2 * c[used] ** 2
        self.positive, self.fit_intercept = penalty.positive, problem.fit_intercept
        self.signed = penalty.l1 > 0.0 or penalty.positive

    def minimise(self, w, b, a):
        """(w, b) at the minimum, from a guess of it and of the slopes ``a``; or None."""
        width = self.high - self.low
        self.side = np.where(a <= self.low + 1e-6 * width, -1,
                             np.where(a >= self.high - 1e-6 * width, 1, 0))
        inside = (self.side == 0) & ((np.abs(a) > 1e-6 * width) | (self.dead == 0.0))
        self.on = np.where(inside & (self.s > 0.0), np.where(a >= 0.0, 1, -1), 0)
        self.sign = np.sign(w) if self.signed else np.ones(len(w))
        for _ in range(MOST_CORRECTIONS):
            rows, free = np.flatnonzero(self.on), np.flatnonzero(self.sign)
            # a minimum needs no more rows on kinks than coefficients, but for rows that are alike
            if len(rows) > 2 * len(free) + 20 or len(rows) + len(free) > MOST_UNKNOWNS:
                return None
            w, b, a = self.solve(w, b, rows, free)
            if not (np.isfinite(w).all() and np.isfinite(b)):
                return None
            if not self.correct(w, b, a, rows):
                return (w, b) if self.is_stationary(w, a) and self.is_tight(w, b, a) else None
        return None

    def is_stationary(self, w, a):
        """Whether the gradient vanishes: with too few rows on kinks no slopes make it do so."""
        weighted = self.s * a
        size = ROUNDING * (np.abs(weighted) @ np.abs(self.X) + self.l1 + self.l2 * np.abs(w))
        g = weighted @ self.X + self.l2 * w + (self.l1 * self.sign if self.signed else 0.0)
        flat = np.all(np.abs(g)[self.sign != 0.0] <= size[self.sign != 0.0])
        return flat and (not self.fit_intercept
                         or abs(weighted.sum()) <= ROUNDING * np.abs(weighted).sum())

    def is_tight(self, w, b, a):
        """Whether the slopes are the dual's: a row a thousand times as long blurs all signs."""
        u = self.X @ w + b - self.kink
        loss = np.maximum(self.low * (u + self.dead), self.high * (u - self.dead)).clip(min=0.0)
        short = self.s @ np.maximum(loss - a * u + self.dead * np.abs(a), 0.0)
        penalty = 0.5 * (self.l2 @ w**2) + self.l1 @ np.abs(w)
        noise = 1e-14 * (self.s @ np.abs(a * self.kink))
        return short <= ROUNDING * (self.s @ loss + penalty) + noise

    def slopes(self):
        """The slopes of rows that are not on a kink; 0 for the others."""
        a = np.where(self.side < 0, self.low, np.where(self.side > 0, self.high, 0.0))
        return np.where(self.on != 0, 0.0, a)

    def solve(self, w, b, rows, free):
        """Stationary (w, b) with ``rows`` on their kinks, and the slopes of all rows."""
        n, e, m = len(free), int(self.fit_intercept), len(rows)
        a, s = self.slopes(), self.s
        w = np.where(self.sign != 0.0, w, 0.0)
        A = np.hstack([self.X[np.ix_(rows, free)], np.ones((m, e))]) * s[rows, None]
        system = np.block([[np.diag(np.append(self.l2[free], np.zeros(e))), A.T],
                           [A, np.zeros((m, m))]])
        l1 = self.l1 * self.sign if self.signed else np.zeros(len(w))
        slope = ((s * a) @ self.X + self.l2 * w + l1)[free]
        short = self.kink[rows] + self.on[rows] * self.dead[rows] - self.X[rows] @ w - b
        right = np.concatenate([-slope, np.full(e, -(s @ a)), s[rows] * short])
        change = _solve_scaled(system, right)
        w[free] += change[:n]
        a[rows] = change[n + e:]
        return w, b + (change[n] if e else 0.0), a

    def correct(self, w, b, a, rows):
        """Move rows and coefficients whose signs are wrong; whether there were any."""
        side, on, sign = self.side.copy(), self.on.copy(), self.sign.copy()
        tiny = ROUNDING * (self.high - self.low)
        # on a kink: the slope must lie between those of the two sides
        below = (on != 0) & (a < np.where((on > 0) & (self.dead > 0.0), 0.0, self.low) - tiny)
        above = (on != 0) & (a > np.where((on < 0) & (self.dead > 0.0), 0.0, self.high) + tiny)
        side[below] = np.where((on[below] > 0) & (self.dead[below] > 0.0), 0, -1)
        side[above] = np.where((on[above] < 0) & (self.dead[above] > 0.0), 0, 1)
        on[below | above] = 0
        # elsewhere: the raw prediction must be on the side whose slope the row has
        u = self.X @ w + b - self.kink
        tiny = ROUNDING * (np.abs(self.X) @ np.abs(w) + abs(b) + np.abs(self.kink) + self.dead)
        # more rows than unknowns do not fit on their kinks
        beyond = u - self.on * self.dead
        missed = (self.on != 0) & (np.abs(beyond) > tiny)
        lower_end = (self.on < 0) & (self.dead > 0.0)
        upper_end = (self.on > 0) & (self.dead > 0.0)
        side[missed] = np.where(beyond > 0.0, np.where(lower_end, 0, 1),
                                np.where(upper_end, 0, -1))[missed]
        on[missed] = 0
        off = (self.on == 0) & (self.s > 0.0)
        for end in (-1, 1):
            short = end * (end * self.dead - u)        # how far within the end of the dead zone
            on[off & (self.side == end) & (short > tiny)] = end
            on[off & (self.side == 0) & (short < -tiny)] = end
        if self.signed:
            g = (self.s * a) @ self.X + self.l2 * w
            tiny = ROUNDING * (np.abs(self.s * a) @ np.abs(self.X) + self.l1)
            sign[w * sign < 0.0] = 0.0
            starts = (self.sign == 0.0) & (np.abs(g) > self.l1 + tiny)
            starts &= (g < 0.0) if self.positive else True
            sign[starts] = -np.sign(g[starts])
        changed = (np.any(side != self.side) or np.any(on != self.on)
                   or np.any(sign != self.sign))
        self.side, self.on, self.sign = side, on, sign
        return changed


def _solve_scaled(system, right):
    """Solution of a symmetric system whose rows differ in scale; least squares if singular."""
    scale = np.ones(len(right))
    for _ in range(3):
        size = np.abs(system * scale * scale[:, None]).max(axis=1, initial=0.0)
        scale /= np.sqrt(np.where(size > 0.0, size, 1.0))
    scaled, scaled_right = system * scale * scale[:, None], scale * right
    try:
        found = np.linalg.solve(scaled, scaled_right)
        if np.abs(scaled @ found - scaled_right).max(initial=0.0) <= 1e-10 * (
                1.0 + np.abs(found).max(initial=0.0)):
            return scale * found
    except np.linalg.LinAlgError:
        found = None
    return scale * lstsq(scaled, scaled_right, cond=1e-13, check_finite=False)[0]
