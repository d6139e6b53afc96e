"""Least squares on few dense columns: one pass over X, then arithmetic on products of columns.

The products about the means tell all: the minimum, by a factorisation or by coordinate descent, its
objective, and a bound of what remains. Where rounding of the products could count, more than is
asked for, nothing is said, and Newton's method takes over.
"""

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from sgdest._core.descent import Coordinates
from sgdest._core.gram import kept
from sgdest._core.metric import proximal_direction, swept
from sgdest._core.solver import Lane

MOST_COLUMNS = 1000      # beyond, products in single precision, of fewer rows, are cheaper
ROUNDING = 4e-15         # of the products, relative to their diagonal
FEW_DIGITS = 1e-6        # of the start: an objective below it is not known from differences
FLOPS_OF_SWEEPS = 2e5    # before coordinates that are not zero are solved for at once
MOST_ROUNDS = 50         # of coordinate descent; each leaves a part in a hundred or less


def is_possible(problem):
    """Whether the problem is one of least squares on few dense columns."""
    return (problem.loss.name == "squared_error" and not problem.rows.is_sparse
            and not problem.is_small and problem.offset is None
            and problem.n_features <= min(MOST_COLUMNS, problem.n_rows // 4))


class LeastSquares:
    """The minimum of every output, if products of columns tell it to ``tol``.

    Attributes
    ----------
    moments : mean, variance and largest absolute value of each column
    answers : list of ``Answer``, one per output; None where they are not exact enough
    """

    def __init__(self, problem, tol, W):
        second, d = kept.of(problem), problem.n_features
        self.problem, self.mean = problem, second.mean
        C = second.products
        self.moments = second.mean[:d].copy(), np.maximum(C.diagonal()[:d], 0.0), \
            second.largest.copy()
        self.coordinates = Coordinates(problem, self.moments[0], self.moments[1], 1.0)
        self.scale = self.coordinates.inverse_sigma
        c = 1.0 if problem.penalty.factors is None else problem.penalty.factors
        self.l1 = problem.penalty.l1 * c * self.scale
        self.l2 = problem.penalty.l2 * (c * self.scale) ** 2
        if not problem.fit_intercept:
            C = C + np.outer(second.mean, second.mean)
        self.B = second.scaled.get(problem.fit_intercept)
        if self.B is None or problem.penalty.l2 > 0.0:
            self.B = self.curvature(C[:d, :d])
        if problem.penalty.l2 == 0.0:      # the same all along a path
            second.scaled[problem.fit_intercept] = self.B
        starts = np.divide(np.transpose(W), self.scale, out=np.zeros((problem.n_outputs, d)),
                           where=self.scale > 0.0)
        found = [self.answer(C[:d, d + k] * self.scale, C[d + k, d + k], d + k, tol, x)
                 for k, x in enumerate(starts)] if second.is_exact else [None]
        self.answers = None if any(one is None for one in found) else found

    def curvature(self, C):
        """Second derivatives of F in the scaled coefficients, without kinks."""
        B = C * self.scale * self.scale[:, None]
        B[np.diag_indices(len(B))] += self.l2
        B[np.diag_indices(len(B))] += B.diagonal() <= 0.0
        return B

    def answer(self, c, yy, k, tol, x):
        """``Answer`` of the output in column ``k``, or None, from ``x``.

        c: products with it, yy: its square.
        """
        penalty = self.problem.penalty
        signed = penalty.l1 > 0.0 or penalty.positive
        x, remaining = self.by_coordinates(c, yy, tol, x) if signed else self.by_factor(c)
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

    def by_factor(self, c):
        """(x, what remains) where B x = c."""
        try:
            factor = cho_factor(self.B, lower=True, check_finite=False)
        except LinAlgError:
            return None, np.inf
        x = cho_solve(factor, c, check_finite=False)
        short = c - self.B @ x
        return x, abs(short @ cho_solve(factor, short, check_finite=False))

    def by_coordinates(self, c, yy, tol, x):
        """The same with L1 or ``positive``: what remains is a duality gap, half of ``tol`` or less."""
        positive, d = self.problem.penalty.positive, len(c)
        n_sweeps = max(10, int(FLOPS_OF_SWEEPS / d**2))
        x = np.maximum(x, 0.0) if positive else x
        x = x + swept(self.B, self.B @ x - c, x, self.l1, positive, (0.1 * tol) ** 2 * yy, n_sweeps)
        for _ in range(MOST_ROUNDS):
            gap, gained = self.gap(x, c, yy)
            if gap <= max(0.5 * tol * gained, 1e-15 * yy):
                break
            p, decrease = proximal_direction(self.B, self.B @ x - c, x, self.l1, positive, 0)
            if not np.all(np.isfinite(p)) or decrease <= 1e-16 * yy:
                break
            x = x + p
        return x, gap

    def gap(self, x, c, yy):
        """(gap, gain): the objective less the dual at the residuals, and the start less the objective.

        The residuals are scaled to what L1 allows, or taken as they are.
        """
        Bx, cx, shrunk = self.B @ x, c @ x, self.l2 * x
        square = max(yy - 2.0 * cx + x @ (Bx - shrunk), 0.0)
        primal = 0.5 * square + self.l1 @ np.abs(x) + 0.5 * shrunk @ x
        pull = c - Bx + shrunk                     # of the residuals at each coefficient
        size = pull if self.problem.penalty.positive else np.abs(pull)
        pulled = size > self.l1
        size, l1, l2 = size[pulled], self.l1[pulled], self.l2[pulled]
        lost = np.sum((size - l1) ** 2 / l2) if l2.all() else np.inf
        scale = (l1 / size).min(initial=1.0)
        dual = max(scale * (yy - cx) - 0.5 * scale**2 * square,
                   yy - cx - 0.5 * square - 0.5 * lost)
        return max(primal - dual, 0.0), 0.5 * yy - primal


class Answer:
    """A minimum: its parameters, the objective before and there (None: not known), what remains."""

    def __init__(self, W, b, start_objective, objective, remaining):
        self.W, self.b, self.start_objective = W, b, start_objective
        self.objective, self.remaining = objective, remaining


class AnsweredLane(Lane):
    """Goes to an ``Answer`` in its one step."""

    def __init__(self, problem, start, answer):
        self.problem = self.under_way = problem
        self.W, self.b, self.tol = start.W, start.b, start.tol
        self.answer, self.gradient_norm, self.passes = answer, np.nan, 0
        self.objective = self.start_objective = answer.start_objective
        self.remaining, self.finished = np.inf, False

    def step(self):
        self.W, self.b, self.finished = self.answer.W, self.answer.b, True
        self.objective = self.answer.objective
        if self.objective is None:
            self.passes = 1
            self.objective = self.problem.objective(self.W, self.b)
        self.remaining = max(self.answer.remaining, self.rounding())
        yield from ()
