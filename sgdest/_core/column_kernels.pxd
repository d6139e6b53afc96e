"""Declarations of ``column_kernels.h``; what the loops compute is said there."""

cdef extern from "column_kernels.h" nogil:
    ctypedef struct ColumnLoops:
        double (*weighted_square)(Py_ssize_t n, const double* h, const double* x) noexcept nogil
        void (*weighted_add)(Py_ssize_t n, double c, const double* h, const double* x,
                             double* v) noexcept nogil

    const ColumnLoops* column_loops(int level)
