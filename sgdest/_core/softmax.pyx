"""Exponentials of rows of raw predictions, shifted so that none overflows."""

from sgdest._core cimport simd
from sgdest._core.loss_kernels cimport LossLoops, loss_loops

cdef const LossLoops* loops = loss_loops(simd.level)


cdef double greatest(Py_ssize_t n, const double* z) noexcept nogil:
    """The largest of n numbers."""
    cdef Py_ssize_t k
    cdef double largest = z[0]
    for k in range(1, n):
        largest = z[k] if z[k] > largest else largest
    return largest


cdef double sum_of_exps(Py_ssize_t n, const double* z, double shift) noexcept nogil:
    """sum_k exp(z_k - shift)."""
    cdef Py_ssize_t k, start, size
    cdef double[64] e
    cdef double total = 0.0
    for start from 0 <= start < n by 64:
        size = min(64, n - start)
        for k in range(size):
            e[k] = z[start + k] - shift
        loops.exps(size, e, e)
        for k in range(size):
            total += e[k]
    return total


cdef void softmax(Py_ssize_t n, Py_ssize_t n_outputs, const double* z, double* p) noexcept nogil:
    """p_k = exp(z_k) / sum exp(z) of each row, shifted by the largest so that none overflows."""
    cdef Py_ssize_t i, k
    cdef double shift, mass
    for i in range(n):
        shift = greatest(n_outputs, z + i * n_outputs)
        for k in range(n_outputs):
            p[i * n_outputs + k] = z[i * n_outputs + k] - shift
    loops.exps(n * n_outputs, p, p)
    for i in range(n):
        mass = 0.0
        for k in range(n_outputs):
            mass += p[i * n_outputs + k]
        mass = 1.0 / mass
        for k in range(n_outputs):
            p[i * n_outputs + k] *= mass
