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
    scaled = dual_loss(problem, scale * slopes)
    over = np.maximum(pull - l1, 0.0)
    if scale == 1.0 or (l2[over > 0.0] == 0.0).any():
        return scaled
    whole = dual_loss(problem, slopes)
    return max(scaled, whole - 0.5 * np.sum(over[over > 0.0] ** 2 / l2[over > 0.0]))


def dual_loss(Problem problem, const double[::1] slopes, double b=0.0):
    """Mean of a (o + b) - conjugate(a) over the rows, a being their ``slopes``; NaN where unwritten.

    Minus infinity outside of the domain of the conjugate.
    """
    cdef Py_ssize_t i
    cdef double y, s, total = 0.0
    if problem.loss.name == "log_loss":
        return _of_log_loss(problem, np.asarray(slopes), b)
    with nogil:
        for i in range(problem.n_rows):
            s = problem.weight(i)
            if s > 0.0:
                problem.target(i, &y)
                total += s * (slopes[i] * b - problem.loss.conjugate(y, slopes[i]))
                if problem.o_data != NULL:
                    total += s * slopes[i] * problem.o_data[i]
    return total / problem.total_weight


def _of_log_loss(problem, a, b):
    """The same by blocks: logarithms of numbers one by one would cost as much as a pass."""
    p = a + problem.targets()[:, 0]
    if not (p.min() >= 0.0 and p.max() <= 1.0):
        return -np.inf
    q = 1.0 - p
    entropy = p * np.log(np.maximum(p, 1e-300)) + q * np.log(np.maximum(q, 1e-300))
    a = a * (b if problem.offset is None else problem.offset[:, 0] + b)
    gained = a - entropy
    s = problem.sample_weight
    return (gained.sum() if s is None else np.einsum("i,i->", s, gained)) / problem.total_weight
