"""Declarations of ``step_kernels.h``; what the loops compute is said there."""

cdef extern from "step_kernels.h" nogil:
    ctypedef struct Leader:
        double* z
        double* squares
        double* inverse_rate

    ctypedef struct StepLoops:
        void (*inverse_roots)(Py_ssize_t n, double eps, const double* x,
                              double* out) noexcept nogil
        void (*follow)(Py_ssize_t n, double eta, double beta, const double* g, const double* w,
                       const Leader* leader) noexcept nogil
        void (*lead)(Py_ssize_t n, double l1, double l2, const double* c, const Leader* leader,
                     double* w) noexcept nogil

    const StepLoops* step_loops(int level)
