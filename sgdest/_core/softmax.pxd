"""Exponentials of rows of raw predictions: the pieces of a softmax."""

cdef double greatest(Py_ssize_t n, const double* z) noexcept nogil
cdef double sum_of_exps(Py_ssize_t n, const double* z, double shift) noexcept nogil
cdef void softmax(Py_ssize_t n, Py_ssize_t n_outputs, const double* z, double* p) noexcept nogil
