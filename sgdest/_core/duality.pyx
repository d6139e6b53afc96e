"""A lower bound of F from slopes of the loss: the dual of a problem of one output.

F(W, b) >= mean of (a o - conjugate(a)) - sum_j (|v_j| - l1 c_j)_+^2 / (2 l2 c_j^2) for every
multiplier a_i of a row whose weighted sum is zero (with an intercept), o being the offsets and
v = X' a / n. Without L2 no v_j may exceed l1 c_j: there the multipliers are scaled.
"""

import numpy as np

from sgdest._core.problem cimport Problem


def dual_bound(problem, slopes, v):
    """The better bound of two: by ``slopes``, of shape (n_rows,), as they are or scaled.

    Parameters
    ----------
    v : ndarray of shape (n_features,)
        The gradient of the mean loss that ``slopes`` make, in columns of any origin.
    """
    penalty = problem.penalty
    c = np.ones(len(v)) if penalty.factors is None else penalty.factors
    pull = -v if penalty.positive else np.abs(v)
    pulled = pull > 0.0
    pull, l1, l2 = pull[pulled], penalty.l1 * c[pulled], penalty.l2 * c[pulled]**2
    with np.errstate(divide="ignore"):
        scale = min(1.0, np.min(l1 / pull, initial=1.0))
    scaled = dual_loss(problem, slopes, scale)
    over = np.maximum(pull - l1, 0.0)
    if scale == 1.0 or (l2[over > 0.0] == 0.0).any():
        return scaled
    whole = dual_loss(problem, slopes, 1.0)
    return max(scaled, whole - 0.5 * np.sum(over[over > 0.0] ** 2 / l2[over > 0.0]))


def dual_loss(Problem problem, const double[::1] slopes, double scale):
    """mean of a o - conjugate(a) at ``a = scale * slopes``; NaN where none is written."""
    cdef Py_ssize_t i
    cdef double a, y, s, total = 0.0
    for i in range(problem.n_rows):
        s = problem.weight(i)
        if s > 0.0:
            problem.target(i, &y)
            a = scale * slopes[i]
            total -= s * problem.loss.conjugate(y, a)
            if problem.o_data != NULL:
                total += s * a * problem.o_data[i]
    return total / problem.total_weight
