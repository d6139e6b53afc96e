"""The columns in which dual ascent works."""

import numpy as np
from scipy.sparse import csr_array

from sgdest._core.multipliers import square
from sgdest._core.penalties import L2

from sgdest._core.problem cimport Problem


class Frame:
    """The problem in columns divided by the factors of their penalty, and the way back.

    Dense columns whose offset would swallow the digits of what they vary by are centred as well.
    ``mean`` is None where there is no intercept.
    """

    def __init__(self, problem, mean):
        rows, factors, far = problem.rows, problem.penalty.factors, False
        if mean is not None and not rows.is_sparse:
            norm = square(mean)
            far = rows.square_norms().mean() - norm < 1e-6 * norm
        self.problem, self.mean, self.factors, self.removed = problem, mean, factors, None
        if factors is None and not far:
            return
        c = np.ones(problem.n_features) if factors is None else factors
        self.factors, self.mean = c, None if mean is None else mean / c
        X = rows.X
        if rows.is_sparse:
            X = csr_array((X.data / c[X.indices], X.indices, X.indptr), shape=X.shape)
        elif far:
            X, self.removed, self.mean = (X - mean) / c, self.mean, np.zeros_like(mean)
        else:
            X = X / c
        self.problem = Problem(
            X, problem.targets().ravel(), problem.loss, L2(problem.penalty.l2),
            sample_weight=problem.sample_weight, offset=problem.offset,
            fit_intercept=problem.fit_intercept, n_outputs=problem.n_outputs)

    def inwards(self, W, b):
        """The parameters in these columns."""
        W = W if self.factors is None else W * self.factors[:, None]
        return W, b if self.removed is None else b + np.einsum("j,jk->k", self.removed, W)

    def outwards(self, W, b):
        """The parameters in the columns of X."""
        b = b if self.removed is None else b - np.einsum("j,jk->k", self.removed, W)
        return W if self.factors is None else W / self.factors[:, None], b
