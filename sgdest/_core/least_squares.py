"""Least squares on few dense columns: one pass over X, then arithmetic on products of columns.

The products about the means tell all: the minimum, by a factorisation or by coordinate descent, its
objective, and a bound of what remains. Where rounding of the products could count, more than is
asked for, nothing is said, and Newton's method takes over.

Products in single precision take half of the time. They are wrong in the seventh digit, which a pass
over X mends: the gradient at the solution is taken from the rows, and solved for again until a
bound from the rows says that it is enough [1]_.

References
----------
.. [1] N. Higham, "Accuracy and stability of numerical algorithms", 2002, chapter 12.
"""

import numpy as np
from scipy.linalg.lapack import dpocon, dpotrf, dpotrs

from sgdest._core.descent import Coordinates
from sgdest._core.gram import SingleMoments, kept
from sgdest._core.metric import product, proximal_direction, swept
from sgdest._core.solver import Lane, best_constant

MOST_COLUMNS = 3000      # beyond, their products need much memory
# Of more columns than these, rows for a column up to which products cost less than a metric from some
# rows and the passes that it leaves.
MANY_COLUMNS, MOST_ROWS = 1000, 16
ROUNDING = 4e-15         # of the products, relative to their diagonal
FEW_DIGITS = 1e-6        # of the start: an objective below it is not known from differences
FLOPS_OF_SWEEPS = 2e5    # before coordinates that are not zero are solved for at once
MOST_ROUNDS = 50         # of coordinate descent; each leaves a part in a hundred or less
ROWS_TO_COMPARE, COLUMNS_TO_COMPARE = 128, 16
COLUMNS_FOR_SINGLE = 64  # from which a pass over X costs less than half of the products
MOST_PASSES = 5          # to mend products in single precision; each leaves a part in ten thousand
SINGLE_ROUNDING = 1e-6   # of these products, as a matrix, beside a unit diagonal
LARGEST_ROUNDING = 130 * 2.0**-24  # a bound for one of them about the pivots: sums of 128 terms


def is_possible(problem):
    """Whether the problem is one of least squares on few dense columns."""
    return (problem.loss.name == "squared_error" and not problem.rows.is_sparse
            and not problem.is_small and problem.offset is None
            and problem.n_features <= min(MOST_COLUMNS, problem.n_rows)
            and (problem.n_features <= MANY_COLUMNS
                 or problem.n_rows <= MOST_ROWS * problem.n_features))


def in_common(problem):
    """Mean sum of the squared correlations of a column with all: 1 if they are independent.

    From some rows and columns, less what so few rows make by chance. L2 counts as variance that a
    column has for itself.
    """
    n, d, penalty = problem.n_rows, problem.n_features, problem.penalty
    A = problem.rows.X[::max(1, n // ROWS_TO_COMPARE)].astype(np.float64)
    A -= A.mean(axis=0)
    own = np.einsum("ij,ij->j", A, A)
    c = 1.0 if penalty.factors is None else penalty.factors
    size = own + len(A) * penalty.l2 * c**2
    size[size <= 0.0] = 1.0
    step = max(1, d // COLUMNS_TO_COMPARE)
    R = A[:, ::step].T @ A
    square = np.mean(R**2 / size / size[::step, None]) * d
    return square + 1.0 - np.mean(own / size) ** 2 * (1.0 + d / len(A))


class LeastSquares:
    """The minimum of every output, if products of columns tell it to ``tol``.

    Attributes
    ----------
    moments : mean, variance and largest absolute value of each column
    answers : list of ``Answer``, one per output; None where they are not exact enough
    entry, product : float, seconds for a number of X and for a product of two
    """

    entry, product = 0.0, 1.5e-11
    key = None               # of the data in ``kept``, where it is known already

    def __init__(self, problem, tol, W):
        self.problem = problem
        self.answers = self.exact(tol, W)

    def exact(self, tol, W):
        """The same by products in double precision, which are kept."""
        second = kept.of(self.problem, key=self.key)
        C, starts = self.set_up(second, W)
        d = len(self.scale)
        found = [self.answer(C[:d, d + k] * self.scale, C[d + k, d + k], d + k, tol, x)
                 for k, x in enumerate(starts)] if second.is_exact else [None]
        return None if any(one is None for one in found) else found

    def set_up(self, second, W):
        """(C, starts): the products for this model, and ``W`` in scaled columns, by outputs."""
        problem, d, C = self.problem, self.problem.n_features, second.products
        self.mean, self.drift = second.mean, second.drift
        self.moments = second.mean[:d].copy(), np.maximum(C.diagonal()[:d], 0.0), \
            second.largest.copy()
        self.scale = Coordinates(problem, self.moments[0], self.moments[1], 1.0).inverse_sigma
        c = 1.0 if problem.penalty.factors is None else problem.penalty.factors
        self.l1 = problem.penalty.l1 * c * self.scale
        self.l2 = problem.penalty.l2 * (c * self.scale) ** 2
        self.factor = None
        if not problem.fit_intercept:
            C = C + np.outer(second.mean, second.mean)
        self.B = second.scaled.get(problem.fit_intercept)
        if self.B is None or problem.penalty.l2 > 0.0:
            self.B = self.curvature(C[:d, :d])
        if problem.penalty.l2 == 0.0:      # the same all along a path
            second.scaled[problem.fit_intercept] = self.B
        starts = np.divide(np.transpose(W), self.scale, out=np.zeros((problem.n_outputs, d)),
                           where=self.scale > 0.0)
        return C, starts

    def curvature(self, C):
        """Second derivatives of F in the scaled coefficients, without kinks."""
        B = C * self.scale
        B *= self.scale[:, None]
        B[np.diag_indices(len(B))] += self.l2
        B[np.diag_indices(len(B))] += B.diagonal() <= 0.0
        return B

    def answer(self, c, yy, k, tol, x):
        """``Answer`` of the output in column ``k``, or None, from ``x``.

        c: products with it, yy: its square.
        """
        x, remaining = self.solved(c, yy, tol, x)
        if x is None:
            return None
        objective = 0.5 * yy - c @ x + 0.5 * x @ self.B @ x + self.l1 @ np.abs(x)
        remaining += ROUNDING * np.abs(x).sum() ** 2
        if not remaining <= max(tol * (0.5 * yy - objective), 1e-15 * yy):
            return None
        w = x * self.scale
        b = np.array([0.0])
        if self.problem.fit_intercept:
            b[0] = self.mean[k] - self.mean[:len(w)] @ w
        known = objective if objective > FEW_DIGITS * yy else None
        return Answer(w[:, None], b, 0.5 * yy, known, remaining)

    def is_signed(self):
        return self.problem.penalty.l1 > 0.0 or self.problem.penalty.positive

    def solved(self, c, yy, tol, x):
        """(x, what remains) at the minimum by the products, from ``x``; x is None without one."""
        return self.by_coordinates(c, yy, tol, x) if self.is_signed() else self.by_factor(c)

    def by_factor(self, c):
        """(x, what remains) where B x = c."""
        if self.factor is None:
            # the transpose, which is the same, is in Fortran's order
            self.factor, failed = dpotrf(self.B.T, lower=True, clean=False)
            if failed:
                return None, np.inf
        x = self.inverse_times(c)
        short = c - self.B @ x
        return x, abs(short @ self.inverse_times(short))

    def inverse_times(self, c):
        return dpotrs(self.factor, c, lower=True)[0]

    def by_coordinates(self, c, yy, tol, x):
        """The same with L1 or ``positive``: what remains is a duality gap, half of ``tol`` or less."""
        positive, d = self.problem.penalty.positive, len(c)
        n_sweeps = max(10, int(FLOPS_OF_SWEEPS / d**2))
        x = np.maximum(x, 0.0) if positive else x
        x = x + swept(self.B, product(self.B, x) - c, x, self.l1, positive, (0.1 * tol) ** 2 * yy,
                      n_sweeps)[0]
        for _ in range(MOST_ROUNDS):
            Bx = product(self.B, x)
            square = max(yy - 2.0 * (c @ x) + x @ (Bx - self.l2 * x), 0.0)
            gap = self.gap(x, c - Bx + self.l2 * x, square)
            gained = c @ x - 0.5 * (x @ Bx) - self.l1 @ np.abs(x)
            if gap <= max(0.5 * tol * gained, 1e-15 * yy):
                break
            p, decrease = proximal_direction(self.B, Bx - c, x, self.l1, positive, 0)
            if not np.all(np.isfinite(p)) or decrease <= 1e-16 * yy:
                break
            x = x + p
        return x, gap

    def gap(self, x, pull, square, doubt=0.0):
        """The objective less the dual at the residuals.

        These are scaled to what L1 allows, or taken as they are. pull: of the residuals at each
        coefficient, known to within ``doubt``; square: mean of their squares.
        """
        along = square + pull @ x                  # mean of residuals times targets
        primal = 0.5 * square + self.l1 @ np.abs(x) + 0.5 * self.l2 @ x**2
        size = (pull if self.problem.penalty.positive else np.abs(pull)) + doubt
        pulled = size > self.l1
        size, l1, l2 = size[pulled], self.l1[pulled], self.l2[pulled]
        lost = np.sum((size - l1) ** 2 / l2) if l2.all() else np.inf
        scale = (l1 / size).min(initial=1.0)
        dual = max(scale * along - 0.5 * scale**2 * square, along - 0.5 * square - 0.5 * lost)
        return max(primal - dual, 0.0)


class MendedLeastSquares(LeastSquares):
    """The same by products in single precision; in double where these are too coarse."""

    entry, product = 1e-9, 0.9e-11

    def __init__(self, problem, tol, W):
        self.problem = problem
        if SingleMoments not in problem.known and kept.has_seen(problem):
            self.key = kept.key_of(problem)      # reads X: once for products of both kinds
        one = self.mended(tol, W)
        kept.note(problem)      # another fit to these data shall keep them
        self.answers = self.exact(tol, W) if one is None else [one]

    def mended(self, tol, W):
        """``Answer`` of the only output, or None."""
        second = (self.problem.fact(SingleMoments) if self.key is None
                  else kept.of(self.problem, SingleMoments, self.key))
        if not second.is_exact:
            return None
        C, starts = self.set_up(second, W)
        d = len(self.scale)
        return self.refined(C[:d, d] * self.scale, C[d, d], tol, starts[0])

    def refined(self, c, yy, tol, x):
        """The same from ``x``: solved for until the rows say that it is enough."""
        problem, last = self.problem, np.inf
        start = problem.constant_loss(best_constant(problem))
        z, b = np.empty((problem.n_rows, 1)), np.zeros(1)
        for n_passes in range(1, MOST_PASSES + 1):
            x, remaining = self.solved(c, yy, tol, x)
            if x is None or not self.is_definite():
                return None
            if n_passes == 1 and self.is_signed() and problem.fit_intercept:
                sure = self.sure(x, c, yy, tol, start)
                if sure is not None:
                    return sure
            W = (x * self.scale)[:, None]
            if problem.fit_intercept:
                b = self.mean[-1:] - self.mean[:-1] @ W
            value, g, g_b = problem.evaluate(W, b, z)
            pull = -(g[:, 0] - self.mean[:-1] * g_b) * self.scale
            square = max(2.0 * value - float(g_b @ g_b), 0.0)
            objective = 0.5 * square + self.l1 @ np.abs(x) + 0.5 * self.l2 @ x**2
            remaining = self.remaining(x, pull, square)
            if remaining <= max(tol * (start - objective), 1e-15 * yy):
                return Answer(W, b - g_b, start, objective, remaining, n_passes)
            if not remaining < 0.25 * last:
                return None
            last = remaining
            c = self.B @ x + pull - self.l2 * x       # with which the gradient is that of the rows
        return None

    def sure(self, x, c, yy, tol, start):
        """``Answer`` at x without a pass, if no rounding of the products could matter; else None."""
        size = np.abs(x).sum() + np.sqrt(yy)
        # about the means it grows, by the squares of the pivots' distances and by products with these
        doubt = LARGEST_ROUNDING * (np.sqrt(1.0 + self.drift) + np.sqrt(self.drift))**2 * size
        pull = c - product(self.B, x) + self.l2 * x
        square = yy - (c + pull) @ x
        objective = 0.5 * square + self.l1 @ np.abs(x) + 0.5 * self.l2 @ x**2
        remaining = self.gap(x, pull, square, doubt * (self.scale > 0.0)) + 3.0 * doubt * size
        if not remaining <= tol * min(start - objective, objective):
            return None
        w = x * self.scale
        return Answer(w[:, None], self.mean[-1:] - self.mean[:-1] @ w, start, objective, remaining)

    def remaining(self, x, pull, square):
        """What remains, by the products and what ``gap`` takes; ``is_definite`` holds."""
        if self.is_signed():
            return self.gap(x, pull, square)
        short = pull - self.l2 * x
        return 2.0 * abs(short @ self.inverse_times(short))

    def is_definite(self):
        """Whether rounding in single precision hardly changes the inverse of B, if it is asked for."""
        if self.factor is None:
            return True
        inverse_size, _ = dpocon(self.factor, 1.0, uplo="L")
        return inverse_size > 2.0 * SINGLE_ROUNDING


def solver_for(problem):
    """The faster of the two."""
    mended = problem.n_outputs == 1 and problem.n_features >= COLUMNS_FOR_SINGLE
    return MendedLeastSquares if mended else LeastSquares


class Answer:
    """A minimum: its parameters, the objective before and there (None: not known), what remains."""

    def __init__(self, W, b, start_objective, objective, remaining, passes=0):
        self.W, self.b, self.start_objective = W, b, start_objective
        self.objective, self.remaining, self.passes = objective, remaining, passes


class AnsweredLane(Lane):
    """Goes to an ``Answer`` in its one step."""

    def __init__(self, problem, start, answer):
        self.problem = self.under_way = problem
        self.W, self.b, self.tol = start.W, start.b, start.tol
        self.answer, self.gradient_norm, self.passes = answer, np.nan, answer.passes
        self.objective = self.start_objective = answer.start_objective
        self.remaining, self.finished = np.inf, False

    def step(self):
        self.W, self.b, self.finished = self.answer.W, self.answer.b, True
        self.objective = self.answer.objective
        if self.objective is None:
            self.passes += 1
            self.objective = self.problem.objective(self.W, self.b)
        self.remaining = max(self.answer.remaining, self.rounding())
        yield from ()
