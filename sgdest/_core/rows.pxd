"""The data X, row by row: the only place that knows its layout and its type."""

from sgdest._core.kernels cimport Debt, Lag


cdef class Rows:
    cdef readonly Py_ssize_t n_rows
    cdef readonly Py_ssize_t n_features
    cdef readonly Py_ssize_t n_stored     # entries in memory, zeros of a dense array included
    cdef readonly bint is_sparse
    cdef readonly object X                # keeps the arrays alive
    cdef public object known              # facts about sparse rows by name: `recall`

    # x_i . w, and w += a x_i; w has n_features entries
    cdef double dot(self, Py_ssize_t i, const double* w) noexcept nogil
    cdef void add(self, Py_ssize_t i, double a, double* w) noexcept nogil
    # the same, asking meanwhile for row `later` (< 0: for none), half in each: where rows are
    # `are_long`, asking for a whole one at once would hold up the arithmetic
    cdef readonly bint are_long
    cdef double dot_ahead(self, Py_ssize_t i, const double* w, Py_ssize_t later) noexcept nogil
    cdef void add_ahead(self, Py_ssize_t i, double a, double* w, Py_ssize_t later) noexcept nogil
    # sparse rows: the same where L1 takes from the entries of w before they are read, or after
    cdef double shrunk_dot(self, Py_ssize_t i, double* w, const Lag* lag,
                           Py_ssize_t later) noexcept nogil
    cdef void truncated_add(self, Py_ssize_t i, double a, double* w, const Debt* debt,
                            Py_ssize_t later) noexcept nogil
    # z = x_i W, and W += x_i d'; W has n_features * n_outputs entries, C order
    cdef void dots(self, Py_ssize_t i, Py_ssize_t n_outputs, const double* W,
                   double* z) noexcept nogil
    cdef void adds(self, Py_ssize_t i, Py_ssize_t n_outputs, const double* d,
                   double* W) noexcept nogil
    # blocks of m rows: z = X w, and g += X' d. Many outputs: z and d are (m, n_outputs), w and g
    # are (n_features, n_outputs) if sparse, else (n_outputs, n_features), which keeps tiles of
    # them in registers. Dense ones ask meanwhile for the m rows at `later`, if it is not NULL
    cdef void margins_of(self, Py_ssize_t m, const Py_ssize_t* rows, const Py_ssize_t* later,
                         Py_ssize_t n_outputs, const double* w, double* z) noexcept nogil
    cdef void add_all(self, Py_ssize_t m, const Py_ssize_t* rows, const Py_ssize_t* later,
                      Py_ssize_t n_outputs, const double* d, double* g) noexcept nogil
    # the same for one output, asking for the first and for the second half of the m rows at `later`
    cdef void margins_ahead(self, Py_ssize_t m, const Py_ssize_t* rows, const Py_ssize_t* later,
                            const double* w, double* z) noexcept nogil
    cdef void add_all_ahead(self, Py_ssize_t m, const Py_ssize_t* rows, const Py_ssize_t* later,
                            const double* d, double* g) noexcept nogil
    # one output: margins of m rows, while m rows that the cache holds are added to g; blocks of
    # so many rows, and rows `later` so many rows ahead, suit dense rows best
    cdef void margins_and_gradient(self, Py_ssize_t m, const Py_ssize_t* rows,
                                   const Py_ssize_t* later, const double* w, double* z,
                                   const Py_ssize_t* past, const double* d,
                                   double* g) noexcept nogil
    cdef readonly Py_ssize_t block, far_ahead
    # the stored entries of row i: how many, their (distinct) columns, their values
    cdef Py_ssize_t count(self, Py_ssize_t i) noexcept nogil
    cdef Py_ssize_t largest_count(self) noexcept nogil
    cdef void columns(self, Py_ssize_t i, Py_ssize_t* out) noexcept nogil
    cdef void values(self, Py_ssize_t i, double* out) noexcept nogil
    cdef double square_norm(self, Py_ssize_t i) noexcept nogil
    # of m rows: sums of s_i (x_i - pivot), s_i (x_i - pivot)^2, and the largest |x_i|; a sparse
    # row has pivot 0 and adds only its stored entries
    cdef void moments(self, Py_ssize_t m, const Py_ssize_t* rows, const double* s,
                      const double* pivot, double* first, double* second,
                      double* largest) noexcept nogil
    # m rows of `out`, `stride` apart: c_i (x_i - centre) scale; largest |x_j| too if it is not NULL
    cdef void scaled(self, Py_ssize_t m, const Py_ssize_t* rows, const double* c,
                     const double* centre, const double* scale, Py_ssize_t stride, double* out,
                     double* largest) noexcept nogil
    # ask the memory for row i, which will be read soon; `later` will be read after it
    cdef void prefetch(self, Py_ssize_t i, Py_ssize_t later) noexcept nogil
    # the same of where row i begins
    cdef void prefetch_start(self, Py_ssize_t i) noexcept nogil
    cdef readonly Py_ssize_t ahead         # how many rows ahead of time to ask
    cdef void plan(self, Py_ssize_t row_bytes)
    # `adds` of row i, then `dots` of row `next`; dense rows do both in one walk over W
    cdef void adds_dots(self, Py_ssize_t i, Py_ssize_t n_outputs, const double* d, double* W,
                        Py_ssize_t next, double* z) noexcept nogil
