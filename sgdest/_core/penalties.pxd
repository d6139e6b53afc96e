"""Penalties of a block of parameters: n features by n_outputs, C order."""

from libc.math cimport copysign, expm1, fabs


cdef inline double one_minus_exp(double x) noexcept nogil:
    """1 - exp(-x) for x >= 0, by five terms where that is exact to rounding."""
    if x < 1e-3:
        return x * (1.0 - x * (0.5 - x * (1.0 / 6.0 - x * (1.0 / 24.0 - x / 120.0))))
    return -expm1(-x)


cdef inline double toward_zero(double w, double decay, double taken,
                               bint positive) noexcept nogil:
    """w * decay, then moved towards zero by ``taken``, not beyond; 0 if that breaks the sign."""
    cdef double size = (w if positive else fabs(w)) * decay - taken
    # no fmax: it minds NaN, which keeps loops from becoming vectors
    return copysign(size if size > 0.0 else 0.0, w) + 0.0     # never -0


cdef class Penalty:
    cdef readonly double l1               # alpha * l1_ratio
    cdef readonly double l2               # alpha * (1 - l1_ratio)
    cdef readonly bint positive           # coefficients are kept >= 0
    cdef readonly object factors          # c_j per feature, float64, or None: all are 1
    cdef const double* c                  # the same, or NULL

    # one coordinate with factor c: flow along -(subgradient) for a length; proximal point
    cdef double shrunk(self, double w, double length, double c) noexcept nogil
    cdef double proximal(self, double w, double step, double c) noexcept nogil
    # all coordinates of n features for the same length; c may be NULL
    cdef void shrink(self, Py_ssize_t n, Py_ssize_t n_outputs, double* w, double length,
                     const double* c) noexcept nogil
    cdef void shrink_alike(self, Py_ssize_t m, double* w, double length) noexcept nogil
    # each feature for its own length
    cdef void shrink_each(self, Py_ssize_t n, Py_ssize_t n_outputs, double* w,
                          const double* length, const double* c) noexcept nogil
    cdef double value(self, Py_ssize_t n, Py_ssize_t n_outputs, const double* W) noexcept nogil
