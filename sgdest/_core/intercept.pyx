"""The best intercept for given margins, by one-dimensional search."""

from libc.math cimport INFINITY, fabs, isfinite

import numpy as np

from sgdest._core.problem cimport Problem


def best_intercept(Problem problem, z, double b, double enough):
    """The b that minimises the mean loss at the margins ``z + b``.

    Newton's steps within a bracket, halved where they leave it; O(n_rows) each.

    Parameters
    ----------
    z : ndarray of shape (n_rows, 1)
    b : float
        Where to begin.
    enough : float
        Slope of the mean loss in b that is as good as 0.
    """
    cdef double low = -INFINITY, high = INFINITY, rate, h, step, reach = 1.0
    cdef bint smooth = type(problem.loss).smoothness == "smooth"
    ones = np.ones_like(z)
    for _ in range(30):
        rate = problem.line(z, ones, b)[1]
        if fabs(rate) <= enough:
            break
        if rate < 0.0:
            low = b
        else:
            high = b
        h = problem.mean_curvature(z + b)[0] if smooth else 0.0
        step = -rate / h if h > 0.0 else INFINITY
        if not low < b + step < high or not isfinite(step):
            step = 0.5 * (low + high) - b
        if not isfinite(step):
            step = reach if rate < 0.0 else -reach
            reach *= 4.0
        b += step
        if fabs(step) <= 1e-14 * (1.0 + fabs(b)):
            break
    return b
