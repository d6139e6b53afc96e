"""The exact minimum of a piecewise-linear loss, once it is known which rows lie on its kinks.

Near the minimum F is flat but for its kinks: an F right to rounding leaves the weights wrong in
their sixth digit. The slopes tell which rows lie on a kink, those strictly between the slopes of
its two sides, and which coefficients are zero. On that face F is a quadratic (or a linear)
function under linear equations, whose solution is one linear system away.
"""

import numpy as np
from scipy.linalg import lstsq

# Slopes nearer than this to those of a side belong to the side.
MARGIN = 1e-6
# A larger system costs more than it is worth; non-degenerate minima have at most n_features + 1
# rows on kinks.
MOST_ROWS = 1000


def on_active_set(problem, W, b, slopes):
    """(W, b) minimising F on the face that ``slopes`` and the zeros of ``W`` describe.

    Parameters
    ----------
    problem : Problem with a piecewise-linear loss
    W, b : ndarrays near the minimum
    slopes : ndarray of shape (n_rows, n_outputs)
        Elements of the subdifferentials of the loss at the minimum, about.

    Returns
    -------
    (W, b), copies; None if a face has too many rows.
    """
    low, high, dead, centre = problem.loss.evaluate_kinks(problem.targets())
    s = np.ones(problem.n_rows) if problem.sample_weight is None else problem.sample_weight
    W, b = W.copy(), b.copy()
    for k in range(problem.n_outputs):
        a, width = slopes[:, k], high[:, k] - low[:, k]
        inside = (a > low[:, k] + MARGIN * width) & (a < high[:, k] - MARGIN * width)
        inside &= (np.abs(a) > MARGIN * width) | (dead[:, k] == 0.0)
        rows = np.flatnonzero(inside & (s > 0.0))
        if len(rows) > MOST_ROWS:
            return None
        # the side that each other row is on
        a = np.where(a <= low[:, k] + MARGIN * width, low[:, k],
                     np.where(a >= high[:, k] - MARGIN * width, high[:, k], 0.0))
        a[rows] = 0.0
        kink = centre[rows, k] + np.sign(slopes[rows, k]) * dead[rows, k]
        if problem.offset is not None:
            kink = kink - problem.offset[rows, k]
        W[:, k], b[k] = _on_face(problem, W[:, k], b[k], rows, kink, s / problem.total_weight, a)
    return W, b


def _on_face(problem, w, b, rows, kink, s, a):
    """(w, b) of one output: stationary in the free coordinates, with ``rows`` on their kinks.

    The unknowns are the change of the free coefficients and of the intercept, and the slopes of
    the rows. A change, so that what the equations leave open stays as it is.
    """
    penalty = problem.penalty
    c = np.ones(len(w)) if penalty.factors is None else penalty.factors
    free = np.flatnonzero(w) if penalty.l1 > 0.0 or penalty.positive else np.arange(len(w))
    X = np.zeros((len(rows), len(w)))
    for i, row in enumerate(rows):
        columns, values = problem.rows.row(row)
        X[i, columns] = values
    X = X[:, free]
    n, m, e = len(free), len(rows), int(problem.fit_intercept)
    A = np.hstack([X, np.ones((m, e))]) * s[rows, None]
    system = np.block([[np.diag(np.append(penalty.l2 * c[free] ** 2, np.zeros(e))), A.T],
                       [A, np.zeros((m, m))]])
    slope = (problem.rows.weighted_sum(s * a)[free] + penalty.l2 * c[free] ** 2 * w[free]
             + penalty.l1 * c[free] * np.sign(w[free]))
    right = np.concatenate([-slope, np.full(e, -(s @ a)), s[rows] * (kink - X @ w[free] - b)])
    change = _solve_scaled(system, right)
    w = w.copy()
    w[free] += change[:n]
    return w, b + (change[n] if e else 0.0)


def _solve_scaled(system, right):
    """Least-squares solution of a symmetric system whose rows differ in scale."""
    scale = np.ones(len(right))
    for _ in range(3):
        size = np.abs(system * scale * scale[:, None]).max(axis=1, initial=0.0)
        scale /= np.sqrt(np.where(size > 0.0, size, 1.0))
    scaled = system * scale * scale[:, None]
    return scale * lstsq(scaled, scale * right, cond=1e-13, check_finite=False)[0]
