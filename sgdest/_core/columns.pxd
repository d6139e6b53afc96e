"""Columns of X, read out of its rows."""

from libc.stdint cimport int32_t

from sgdest._core.rows cimport Rows


cdef class Columns:
    cdef Py_ssize_t n_rows
    cdef Py_ssize_t[::1] start, count      # of column j in `values`; count -1: not there yet
    cdef int32_t[::1] numbers              # of the rows
    cdef double[::1] values
    cdef Py_ssize_t n_used
    cdef readonly bint at_once             # all columns are read when the first one is asked for
    cdef readonly Py_ssize_t reads         # passes over X so far
    cdef const double[::1] mean            # of the columns
    cdef double[::1] taken                 # what was subtracted from each column: `removed`
    cdef Py_ssize_t[::1] sizes             # entries of each column of sparse rows, once known

    cdef read_sparse(self, Rows rows, const Py_ssize_t[::1] wanted)
    cdef void spread_out(self, Py_ssize_t at, Py_ssize_t n, double mean) noexcept nogil
    cdef read_dense(self, Rows rows, const Py_ssize_t[::1] wanted)
    cdef make_room(self, Py_ssize_t end)
    cdef Py_ssize_t pack(self, Py_ssize_t j, Py_ssize_t start, Py_ssize_t end) noexcept nogil
    # v . x_j, sum of h x_j^2, and v += c h x_j (h == NULL: ones)
    cdef double dot(self, Py_ssize_t j, const double* v) noexcept nogil
    cdef double square(self, Py_ssize_t j, const double* h) noexcept nogil
    cdef void add(self, Py_ssize_t j, double c, const double* h, double* v) noexcept nogil
