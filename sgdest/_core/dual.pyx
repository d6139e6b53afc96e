"""A lower bound of F from slopes of the loss: the dual of a problem of one output.

F(W, b) >= mean of (a o - conjugate(a)) - sum_j (|v_j| - l1 c_j)_+^2 / (2 l2 c_j^2) for every
multiplier a_i of a row whose weighted sum is zero (with an intercept), o being the offsets and
v = X' a / n. Without L2 no v_j may exceed l1 c_j: there the multipliers are scaled.
"""

from libc.math cimport INFINITY, fabs

from sgdest._core cimport simd
from sgdest._core.loss_kernels cimport LossLoops, loss_loops
from sgdest._core.penalties cimport Penalty
from sgdest._core.problem cimport Problem

cdef const LossLoops* loops = loss_loops(simd.level)


def dual_bound(problem, slopes, v):
    """The better bound of two: by ``slopes``, of shape (n_rows,), as they are or scaled.

    Parameters
    ----------
    v : ndarray of shape (n_features,)
        The gradient of the mean loss that ``slopes`` make, in columns of any origin.
    """
    scale, excess = _excess(problem.penalty, v)
    scaled = dual_loss(problem, slopes if scale == 1.0 else scale * slopes)
    if scale == 1.0 or excess == INFINITY:
        return scaled
    return max(scaled, dual_loss(problem, slopes) - excess)


def _excess(Penalty penalty, const double[::1] v):
    """(scale, excess): what makes ``v`` feasible without L2, and what L2 takes for it as it is."""
    cdef Py_ssize_t j
    cdef double c = 1.0, pull, over, scale = 1.0, excess = 0.0
    for j in range(v.shape[0]):
        pull = -v[j] if penalty.positive else fabs(v[j])
        if penalty.c != NULL:
            c = penalty.c[j]
        if pull > penalty.l1 * c:
            scale = min(scale, penalty.l1 * c / pull)
            over = pull - penalty.l1 * c
            excess += 0.5 * over * over / (penalty.l2 * c * c) if penalty.l2 * c > 0.0 else INFINITY
    return scale, excess


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
