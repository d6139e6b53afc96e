"""Declarations of ``kernels.h``; what the loops compute is said there."""

from libc.stdint cimport uint64_t

cdef extern from "kernels.h" nogil:
    enum:
        F64, F32, U8, I8
        GRAM_COLUMNS, SINGLE_COLUMNS, WORDS

    ctypedef struct DenseLoops:
        double (*dot)(Py_ssize_t n, const void* x, const double* w) noexcept nogil
        void (*add)(Py_ssize_t n, double a, const void* x, double* w) noexcept nogil
        double (*dot_ahead)(Py_ssize_t n, const void* x, const double* w,
                            const void* later) noexcept nogil
        void (*add_ahead)(Py_ssize_t n, double a, const void* x, double* w,
                          const void* later) noexcept nogil
        void (*dots)(Py_ssize_t n, Py_ssize_t K, const void* x, const double* W,
                     double* z) noexcept nogil
        void (*adds)(Py_ssize_t n, Py_ssize_t K, const double* d, const void* x,
                     double* W) noexcept nogil
        void (*adds_dots)(Py_ssize_t n, Py_ssize_t K, const double* d, const void* x, double* W,
                          const void* next, double* z) noexcept nogil
        double (*square_norm)(Py_ssize_t n, const void* x) noexcept nogil
        void (*read)(Py_ssize_t n, const void* x, double* out) noexcept nogil
        void (*moments)(Py_ssize_t m, Py_ssize_t n, Py_ssize_t width, const void* X,
                        const Py_ssize_t* rows, const double* s, const double* pivot,
                        double* first, double* second, double* largest) noexcept nogil
        void (*margins)(Py_ssize_t m, Py_ssize_t n, const void* X, const Py_ssize_t* rows,
                        const Py_ssize_t* later, Py_ssize_t asked_from, Py_ssize_t asked_to,
                        const double* w, double* z) noexcept nogil
        void (*gradient)(Py_ssize_t m, Py_ssize_t n, const void* X, const Py_ssize_t* rows,
                         const Py_ssize_t* later, Py_ssize_t asked_from, Py_ssize_t asked_to,
                         const double* d, double* g) noexcept nogil
        void (*margins_of_many)(Py_ssize_t m, Py_ssize_t n, Py_ssize_t K, const void* X,
                                const Py_ssize_t* rows, const Py_ssize_t* later,
                                const double* w, double* z) noexcept nogil
        void (*gradient_of_many)(Py_ssize_t m, Py_ssize_t n, Py_ssize_t K, const void* X,
                                 const Py_ssize_t* rows, const double* d,
                                 double* g) noexcept nogil
        void (*margins_and_gradient)(Py_ssize_t m, Py_ssize_t n, const void* X,
                                     const Py_ssize_t* rows, const Py_ssize_t* later,
                                     const double* w, double* z, const Py_ssize_t* past,
                                     const double* d, double* g) noexcept nogil
        void (*scaled)(Py_ssize_t m, Py_ssize_t n, const void* X, const Py_ssize_t* rows,
                       const double* c, const double* centre, const double* scale,
                       Py_ssize_t stride, double* out, double* largest) noexcept nogil
        void (*gram)(Py_ssize_t m, Py_ssize_t n, const double* A, double* G) noexcept nogil
        void (*gram_single)(Py_ssize_t m, Py_ssize_t n, const double* A, float* room,
                            double* G) noexcept nogil
        void (*fold)(Py_ssize_t n_blocks, const void* data, uint64_t* words) noexcept nogil

    ctypedef struct Lag:
        double* last
        double length, l1
        bint positive

    ctypedef struct Debt:
        double* paid
        double owed, scale, unscale

    void truncate_one(double change, double* w, double* paid, const Debt* debt) noexcept

    ctypedef struct SparseLoops:
        double (*dot)(Py_ssize_t n, const void* x, const void* columns,
                      const double* w) noexcept nogil
        void (*add)(Py_ssize_t n, double a, const void* x, const void* columns,
                    double* w) noexcept nogil
        double (*dot_ahead)(Py_ssize_t n, const void* x, const void* columns, const double* w,
                            Py_ssize_t m, const void* later,
                            const void* later_columns) noexcept nogil
        void (*add_ahead)(Py_ssize_t n, double a, const void* x, const void* columns, double* w,
                          Py_ssize_t m, const void* later,
                          const void* later_columns) noexcept nogil
        double (*shrunk_dot)(Py_ssize_t n, const void* x, const void* columns, double* w,
                             const Lag* lag, Py_ssize_t m, const void* later,
                             const void* later_columns) noexcept nogil
        void (*truncated_add)(Py_ssize_t n, double a, const void* x, const void* columns,
                              double* w, const Debt* debt, Py_ssize_t m, const void* later,
                              const void* later_columns) noexcept nogil
        void (*dots)(Py_ssize_t n, Py_ssize_t K, const void* x, const void* columns,
                     const double* W, double* z) noexcept nogil
        void (*adds)(Py_ssize_t n, Py_ssize_t K, const double* d, const void* x,
                     const void* columns, double* W) noexcept nogil
        void (*moments)(Py_ssize_t n, double s, const void* x, const void* columns,
                        double* first, double* second, double* largest) noexcept nogil

    const DenseLoops* dense_loops(int type, int level)
    const SparseLoops* sparse_loops(int single, int wide, int level)
