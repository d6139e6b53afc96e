"""Dense data with fewer rows than columns: the span of the rows, of as many dimensions.

With L2 alone the minimum lies in the span of the (centred) rows. Once their products are known, a
pass costs n^2 in the place of n d, and any other solver can go on there.
"""

import numpy as np
from scipy.linalg import solve_triangular

from sgdest._core.gram import products_of_rows
from sgdest._core.penalties import PENALTIES
from sgdest._core.solver import Lane, Start

PRODUCT, FACTOR = 1.3e-11, 3e-11    # seconds for a flop of the products, of a factorisation
DEFINITE = 1e-7


def is_wide(problem):
    """Whether it pays to work in the span of the rows."""
    penalty = problem.penalty
    if (problem.rows.is_sparse or problem.is_small or problem.n_features <= 2 * problem.n_rows
            or penalty.l1 > 0.0 or penalty.positive or penalty.factors is not None):
        return False
    return is_definite(problem, DEFINITE)


def is_definite(problem, least):
    """Whether the penalty is at least so many times the size of a row.

    What makes products of rows definite must stay far below it.
    """
    picked = problem.rows.X[::max(1, problem.n_rows // 16)].astype(float)
    square = np.einsum("ij,ij->", picked, picked) / len(picked)
    return problem.penalty.l2 * problem.n_rows > least * square


def seconds_of_products(problem):
    """What the products of all pairs of rows cost."""
    n = problem.n_rows
    return n * n * (problem.n_features * PRODUCT + n * FACTOR)


class Span:
    """The centred rows as X - mean = L Q with Q Q' = 1: rows of L in the place of those of X."""

    def __init__(self, problem, mean):
        self.rows = problem.rows
        self.mean = mean if problem.fit_intercept else np.zeros_like(mean)
        n = problem.n_rows
        G = products_of_rows(problem, self.mean)
        G[np.diag_indices(n)] += 1e-13 * np.trace(G) / n + 1e-300
        self.L = np.linalg.cholesky(G)

    def inward(self, W):
        """V with L V = (X - mean) W."""
        return solve_triangular(self.L, self.rows.margins(W, -self.mean @ W), lower=True)

    def outward(self, V):
        """The W = Q' V of least norm."""
        a = solve_triangular(self.L, V, lower=True, trans="T")
        W = [self.rows.weighted_sum(np.ascontiguousarray(part)) - part.sum() * self.mean
             for part in a.T]
        return np.stack(W, axis=1)


class WideLane(Lane):
    """A lane in the span of the rows.

    Parameters
    ----------
    span : Span
    lane : callable (problem, start) -> Lane
        Made for the problem there.
    """

    FOLLOWED = ("objective", "remaining", "gradient_norm", "finished", "z")

    def __init__(self, problem, start, span, lane):
        super().__init__(problem, start)
        self.span = span
        inner = problem.on_rows(span.L, PENALTIES["l2"](problem.penalty.l2))
        V = span.inward(self.W) if start.warm else np.zeros((problem.n_rows, problem.n_outputs))
        b = self.b + span.mean @ self.W if problem.fit_intercept else self.b
        self.inner = lane(inner, Start(V, b, start.constant, start.tol, start.warm,
                                       inner.moments()))
        self.V = None              # at which W was found

    @property
    def under_way(self):
        return self.inner.under_way

    @under_way.setter
    def under_way(self, problem):
        """Set by ``Lane`` before there is an inner lane."""

    def aim_at(self, tol):
        super().aim_at(tol)
        self.inner.aim_at(tol)

    def begin(self):
        yield from self.inner.begin()
        self.follow()

    def step(self):
        yield from self.inner.step()
        self.follow()

    def look_back(self):
        yield from self.inner.look_back()
        self.follow()

    def follow(self):
        """Be where the inner lane is."""
        for name in self.FOLLOWED:
            setattr(self, name, getattr(self.inner, name))
        if self.V is None or not np.array_equal(self.V, self.inner.W):
            self.V = self.inner.W.copy()
            self.W = self.span.outward(self.V)
        self.b = self.inner.b - self.span.mean @ self.W
