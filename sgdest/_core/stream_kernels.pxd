"""Declarations of ``stream_kernels.h``; what the loops compute is said there."""

cdef extern from "stream_kernels.h" nogil:
    enum:
        SQUARES
        LARGEST
        PAID
        ROOT
        TAIL

    ctypedef struct Records:
        Py_ssize_t n
        Py_ssize_t width
        Py_ssize_t lanes
        const Py_ssize_t* columns
        double* experts

    ctypedef struct StreamLoops:
        void (*pay)(const Records* at, double path, double l2, const double* c,
                    const double* rates) noexcept nogil
        int (*to_units)(const Records* at, double* room, double* x) noexcept nogil
        void (*recall)(const Records* at, const double* x, double* z) noexcept nogil
        double (*add_squares)(const Records* at, double G, double* room,
                              double* r) noexcept nogil
        void (*move)(const Records* at, const double* x, const double* d) noexcept nogil
        void (*product)(Py_ssize_t n, const Py_ssize_t* columns, const double* x, Py_ssize_t size,
                        const double* P, double* q) noexcept nogil
        void (*add_pairs)(Py_ssize_t size, double a, const double* q, double* P) noexcept nogil

    const StreamLoops* stream_loops(int level)
