"""A lower bound of F from slopes of the loss: the dual of a problem of one output.

F(W, b) >= mean of (a o - conjugate(a)) - sum_j (|v_j| - l1 c_j)_+^2 / (2 l2 c_j^2) for every
multiplier a_i of a row whose weighted sum is zero (with an intercept), o being the offsets and
v = X' a / n. Without L2 no v_j may exceed l1 c_j: there the multipliers are scaled.
"""

from libc.math cimport INFINITY

import numpy as np

from sgdest._core cimport simd
from sgdest._core.loss_kernels cimport LossLoops, loss_loops
from sgdest._core.problem cimport Problem

cdef const LossLoops* loops = loss_loops(simd.level)


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
        return _of_log_loss(problem, slopes, b)
    with nogil:
        for i in range(problem.n_rows):
            s = problem.weight(i)
            if s > 0.0:
                problem.target(i, &y)
                total += s * (slopes[i] * b - problem.loss.conjugate(y, slopes[i]))
                if problem.o_data != NULL:
                    total += s * slopes[i] * problem.o_data[i]
    return total / problem.total_weight


cdef double _of_log_loss(Problem problem, const double[::1] slopes, double b) noexcept nogil:
    """The same by blocks: logarithms of numbers one by one would cost as much as a pass."""
    cdef Py_ssize_t i, n, first
    cdef double[256] room, conjugates
    cdef const double* y = NULL
    cdef const double* o = problem.o_data
    cdef const double* s = problem.s_data
    cdef const double* a = NULL
    cdef double gained, total = 0.0
    for first from 0 <= first < problem.n_rows by 256:
        n = min(256, problem.n_rows - first)
        a, y = &slopes[first], problem.targets_of(first, n, room)
        for i in range(n):
            if not 0.0 <= a[i] + y[i] <= 1.0:
                return -INFINITY
        loops.log_loss_conjugates(n, y, a, conjugates)
        for i in range(n):
            gained = a[i] * (b if o == NULL else b + o[first + i]) - conjugates[i]
            total += gained if s == NULL else s[first + i] * gained
    return total / problem.total_weight
