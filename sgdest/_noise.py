"""What the noise of stochastic steps costs, from a sample of the rows.

Steps of length eta along gradients whose noise has the covariance C end, where the curvature is H,
in a cloud of covariance S with H S + S H = eta C. The objective then lies on average
tr(H S) / 2 = eta tr(C) / 4 above its minimum, whatever H is [1]_.

A pass visits every row once, so that the noise of whole passes cancels. Only what the steps still
remember counts: they forget in 1 / (eta h) steps, with h the curvature where the noise is, hence
x = eta h n times in a pass of n steps. The noise of a pass is a bridge, from which such a memory
takes the share x^2 / (12 + x^2).

References
----------
.. [1] S. Mandt, M. Hoffman, D. Blei, "Stochastic gradient descent as approximate Bayesian
   inference", JMLR 18, 2017, section 4.
"""

import numpy as np
import scipy.sparse as sp

# Rows of the sample: every pair of them is looked at.
SAMPLED_ROWS = 256


class Noise:
    """The cost of the noise of steps from where (W, b) stand.

    Parameters
    ----------
    problem : Problem
    W, b : the arrays that the steps change
    coordinates : (spread, centre)
        Those of the steps, arrays of shape (n_features,).
    batch_size : int
        Rows per step.
    length : float
        How far a gradient moves the parameters in the end, in rates.
    """

    def __init__(self, problem, W, b, coordinates, batch_size, length):
        n = problem.n_rows
        rows = np.arange(0, n, max(1, n // SAMPLED_ROWS))[:SAMPLED_ROWS]
        self.sample = problem.subset(rows)
        self.W, self.b, self.batch_size, self.length = W, b, batch_size, length
        self.n_steps = n / batch_size
        weights = self.sample.sample_weight
        self.weights = np.ones(len(rows)) if weights is None else weights / problem.mean_weight
        products = _products(self.sample.rows, *coordinates) + float(problem.fit_intercept)
        self.norms = products.diagonal().copy()
        np.fill_diagonal(products, 0.0)
        self.squares = products**2 * (self.weights / max(len(rows) - 1, 1))

    def hover(self, eta):
        """By how much steps of length ``eta`` keep the objective above its minimum."""
        z = self.sample.margins(self.W, self.b)
        squares = (self.weights[:, None] * self.sample.slopes(z)) ** 2
        noise = float(self.norms @ squares.sum(axis=1))
        if not 0.0 < noise < np.inf:
            return 0.0
        eta = eta * self.length
        cost = 0.25 * eta * noise / len(squares) / self.batch_size
        if type(self.sample.loss).smoothness != "smooth":
            return cost
        h = float(((self.squares @ self.sample.curvatures(z)) * squares).sum()) / noise
        x = eta * h * self.n_steps
        return cost * x**2 / (12.0 + x**2)


def _products(rows, spread, centre):
    """The products of all pairs of rows, in the coordinates of the steps."""
    X = rows.X
    if rows.is_sparse:
        X = sp.csr_array((X.data, X.indices, X.indptr), shape=X.shape) @ sp.diags_array(1 / spread)
        return (X @ X.T).toarray()
    X = (X - centre) / spread
    return X @ X.T
