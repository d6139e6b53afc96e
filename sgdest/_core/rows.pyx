"""The data X, row by row: the only place that knows its layout and its type.

Design:

- The type of the data and the SIMD level are chosen once, as a table of loops: a row costs one
  call through a pointer.
- A row of either class reads as distinct columns and values. CSR arrays with duplicate columns
  are summed into a copy when the object is made.
- Nothing here copies X otherwise: arrays may be read-only or memory-mapped.
"""

cimport cython
from libc.math cimport fabs, isfinite
from libc.stdint cimport int32_t, int64_t
from sgdest._core cimport simd
from sgdest._core.kernels cimport (
    F32, F64, Debt, DenseLoops, Lag, SparseLoops, dense_loops, sparse_loops,
)
from sgdest._core.simd cimport prefetch, prefetch_far

import numpy as np
import scipy.sparse as sp
from sgdest._core.compressed import as_usable, has_duplicates, sound_structure
from sgdest._core.threads import on_threads

#: types of dense data that are used as they are; everything else is converted to float64
DENSE_TYPES = (np.float64, np.float32, np.uint8, np.int8)
#: types of the values of CSR data that are used as they are
SPARSE_TYPES = (np.float64, np.float32)

# Rows of this many bytes are asked for bit by bit; of others so many bytes are under way, within
# bounds for the number of rows, and twice as many of dense ones. Sparse rows of at least so many
# bytes are asked for into the second-level cache, like dense ones (docs/design/0004-rows-ahead.md).
cdef Py_ssize_t LONG_ROW = 1024
cdef Py_ssize_t FAR_ROW = 512
cdef Py_ssize_t BYTES_AHEAD = 8192
cdef Py_ssize_t FEWEST_AHEAD = 3
cdef Py_ssize_t MOST_AHEAD = 12
# Where rows are read and those before them are added in the same walk: a block has so many bytes,
# which the first-level cache holds, and so many are under way.
cdef Py_ssize_t BLOCK_BYTES = 8192
cdef Py_ssize_t LARGEST_BLOCK = 16
cdef Py_ssize_t BLOCK_BYTES_AHEAD = 16384
cdef Py_ssize_t FARTHEST_AHEAD = 64
cdef Py_ssize_t COLUMNS_AT_HAND = 1024

ctypedef fused index:
    int32_t
    int64_t

ctypedef fused number:
    float
    double


cdef class Rows:
    """Abstract: rows of X. See ``rows.pxd`` for what each method promises."""

    def __cinit__(self):
        self.known = {}

    def __reduce__(self):
        return type(self), (self.X,)

    cdef void plan(self, Py_ssize_t row_bytes):
        """How rows of so many bytes are asked for ahead of time."""
        self.are_long = row_bytes >= LONG_ROW
        self.ahead = max(FEWEST_AHEAD, min(MOST_AHEAD, BYTES_AHEAD // max(row_bytes, 1)))
        self.block = LARGEST_BLOCK
        while self.block > 1 and self.block * row_bytes > BLOCK_BYTES:
            self.block //= 2
        self.far_ahead = max(self.block, min(FARTHEST_AHEAD,
                                             BLOCK_BYTES_AHEAD // max(row_bytes, 1)))

    cdef double dot(self, Py_ssize_t i, const double* w) noexcept nogil:
        return 0.0

    cdef void add(self, Py_ssize_t i, double a, double* w) noexcept nogil:
        return

    cdef double dot_ahead(self, Py_ssize_t i, const double* w, Py_ssize_t later) noexcept nogil:
        return self.dot(i, w)

    cdef void add_ahead(self, Py_ssize_t i, double a, double* w, Py_ssize_t later) noexcept nogil:
        self.add(i, a, w)

    cdef double shrunk_dot(self, Py_ssize_t i, double* w, const Lag* lag,
                           Py_ssize_t later) noexcept nogil:
        return 0.0

    cdef void truncated_add(self, Py_ssize_t i, double a, double* w, const Debt* debt,
                            Py_ssize_t later) noexcept nogil:
        return

    cdef void dots(self, Py_ssize_t i, Py_ssize_t n_outputs, const double* W,
                   double* z) noexcept nogil:
        return

    cdef void adds(self, Py_ssize_t i, Py_ssize_t n_outputs, const double* d,
                   double* W) noexcept nogil:
        return

    cdef void adds_dots(self, Py_ssize_t i, Py_ssize_t n_outputs, const double* d, double* W,
                        Py_ssize_t next, double* z) noexcept nogil:
        self.adds(i, n_outputs, d, W)
        self.dots(next, n_outputs, W, z)

    cdef void margins_of(self, Py_ssize_t m, const Py_ssize_t* rows, const Py_ssize_t* later,
                         Py_ssize_t n_outputs, const double* w, double* z) noexcept nogil:
        return

    cdef void add_all(self, Py_ssize_t m, const Py_ssize_t* rows, const Py_ssize_t* later,
                      Py_ssize_t n_outputs, const double* d, double* g) noexcept nogil:
        return

    cdef void margins_ahead(self, Py_ssize_t m, const Py_ssize_t* rows, const Py_ssize_t* later,
                            const double* w, double* z) noexcept nogil:
        self.margins_of(m, rows, later, 1, w, z)

    cdef void add_all_ahead(self, Py_ssize_t m, const Py_ssize_t* rows, const Py_ssize_t* later,
                            const double* d, double* g) noexcept nogil:
        self.add_all(m, rows, later, 1, d, g)

    cdef void margins_and_gradient(self, Py_ssize_t m, const Py_ssize_t* rows,
                                   const Py_ssize_t* later, const double* w, double* z,
                                   const Py_ssize_t* past, const double* d,
                                   double* g) noexcept nogil:
        self.margins_of(m, rows, NULL, 1, w, z)
        self.add_all(m, past, NULL, 1, d, g)

    cdef Py_ssize_t count(self, Py_ssize_t i) noexcept nogil:
        return 0

    cdef Py_ssize_t largest_count(self) noexcept nogil:
        return 0

    cdef void columns(self, Py_ssize_t i, Py_ssize_t* out) noexcept nogil:
        return

    cdef void values(self, Py_ssize_t i, double* out) noexcept nogil:
        return

    cdef double square_norm(self, Py_ssize_t i) noexcept nogil:
        return 0.0

    cdef void moments(self, Py_ssize_t m, const Py_ssize_t* rows, const double* s,
                      const double* pivot, double* first, double* second,
                      double* largest) noexcept nogil:
        return

    cdef void scaled(self, Py_ssize_t m, const Py_ssize_t* rows, const double* c,
                     const double* centre, const double* scale, Py_ssize_t stride, double* out,
                     double* largest) noexcept nogil:
        return

    cdef void prefetch(self, Py_ssize_t i, Py_ssize_t later) noexcept nogil:
        return

    cdef void prefetch_start(self, Py_ssize_t i) noexcept nogil:
        return

    def margins(self, const double[:, ::1] W, const double[::1] b):
        """Raw predictions ``X W + b``: ndarray of shape (n_rows, n_outputs), float64."""
        cdef Py_ssize_t i, k, m, start, K = W.shape[1]
        cdef Py_ssize_t[64] rows
        if W.shape[0] != self.n_features or b.shape[0] != K:
            raise ValueError("W must have shape (n_features, n_outputs), b (n_outputs,)")
        turned = K > 1 and not self.is_sparse
        cdef const double[:, ::1] laid_out = np.ascontiguousarray(np.transpose(W)) if turned else W
        cdef double[:, ::1] z = np.empty((self.n_rows, K))
        cdef double none = 0.0
        cdef const double* w = &laid_out[0, 0] if W.shape[0] * K > 0 else &none
        with nogil:
            for start from 0 <= start < self.n_rows by 64:
                m = min(64, self.n_rows - start)
                for i in range(m):
                    rows[i] = start + i
                self.margins_of(m, rows, NULL, K, w, &z[start, 0])
                for i in range(start, start + m):
                    for k in range(K):
                        z[i, k] += b[k]
        return np.asarray(z)

    def weighted_sum(self, const double[::1] s):
        """sum_i s_i x_i: ndarray of shape (n_features,)."""
        cdef Py_ssize_t i
        cdef double[::1] out = np.zeros(self.n_features + 1)
        if s.shape[0] != self.n_rows:
            raise ValueError("s must have one number per row")
        with nogil:
            for i in range(self.n_rows):
                if s[i] != 0.0:
                    self.add(i, s[i], &out[0])
        return np.asarray(out)[:self.n_features]

    def square_norms(self):
        """|x_i|^2 of every row: ndarray of shape (n_rows,)."""
        cdef Py_ssize_t i
        cdef double[::1] out = np.empty(self.n_rows)
        for i in range(self.n_rows):
            out[i] = self.square_norm(i)
        return np.asarray(out)

    def row(self, Py_ssize_t i):
        """Row ``i`` as (columns, values), for tests and for loops written in Python."""
        if not 0 <= i < self.n_rows:
            raise IndexError(f"row {i} of {self.n_rows}")
        cdef Py_ssize_t n = self.count(i)
        cdef Py_ssize_t[::1] columns = np.empty(n + 1, dtype=np.intp)
        cdef double[::1] values = np.empty(n + 1)
        self.columns(i, &columns[0])
        self.values(i, &values[0])
        return np.asarray(columns)[:n], np.asarray(values)[:n]


@cython.final
cdef class DenseRows(Rows):
    """Rows of a C-contiguous array of one of ``DENSE_TYPES``."""

    cdef const DenseLoops* loops
    cdef Py_ssize_t row_bytes
    cdef const char* data

    def __init__(self, X):
        if X.dtype not in DENSE_TYPES:
            raise TypeError(f"X must be of one of {DENSE_TYPES}; got {X.dtype}")
        self.X = X
        self.n_rows, self.n_features = X.shape
        self.n_stored = self.n_rows * self.n_features
        self.is_sparse = False
        self.row_bytes = self.n_features * X.itemsize
        self.plan(self.row_bytes)
        self.data = start_of(X)
        self.loops = dense_loops([np.dtype(t) for t in DENSE_TYPES].index(X.dtype), simd.level)

    cdef double dot(self, Py_ssize_t i, const double* w) noexcept nogil:
        return self.loops.dot(self.n_features, self.data + i * self.row_bytes, w)

    cdef void add(self, Py_ssize_t i, double a, double* w) noexcept nogil:
        self.loops.add(self.n_features, a, self.data + i * self.row_bytes, w)

    cdef double dot_ahead(self, Py_ssize_t i, const double* w, Py_ssize_t later) noexcept nogil:
        if later < 0:
            return self.dot(i, w)
        return self.loops.dot_ahead(self.n_features, self.data + i * self.row_bytes, w,
                                    self.data + later * self.row_bytes)

    cdef void add_ahead(self, Py_ssize_t i, double a, double* w, Py_ssize_t later) noexcept nogil:
        if later < 0:
            self.add(i, a, w)
        else:
            self.loops.add_ahead(self.n_features, a, self.data + i * self.row_bytes, w,
                                 self.data + later * self.row_bytes)

    cdef void dots(self, Py_ssize_t i, Py_ssize_t n_outputs, const double* W,
                   double* z) noexcept nogil:
        self.loops.dots(self.n_features, n_outputs, self.data + i * self.row_bytes, W, z)

    cdef void adds(self, Py_ssize_t i, Py_ssize_t n_outputs, const double* d,
                   double* W) noexcept nogil:
        self.loops.adds(self.n_features, n_outputs, d, self.data + i * self.row_bytes, W)

    cdef void adds_dots(self, Py_ssize_t i, Py_ssize_t n_outputs, const double* d, double* W,
                        Py_ssize_t next, double* z) noexcept nogil:
        self.loops.adds_dots(self.n_features, n_outputs, d, self.data + i * self.row_bytes, W,
                             self.data + next * self.row_bytes, z)

    cdef void margins_of(self, Py_ssize_t m, const Py_ssize_t* rows, const Py_ssize_t* later,
                         Py_ssize_t n_outputs, const double* w, double* z) noexcept nogil:
        if n_outputs == 1:
            self.loops.margins(m, self.n_features, self.data, rows, rows if later == NULL else later,
                               0, 0 if later == NULL else self.n_features, w, z)
        else:
            self.loops.margins_of_many(m, self.n_features, n_outputs, self.data, rows, later, w,
                                       z)

    cdef void add_all(self, Py_ssize_t m, const Py_ssize_t* rows, const Py_ssize_t* later,
                      Py_ssize_t n_outputs, const double* d, double* g) noexcept nogil:
        if n_outputs == 1:
            self.loops.gradient(m, self.n_features, self.data, rows, rows if later == NULL else later,
                                0, 0 if later == NULL else self.n_features, d, g)
        else:
            self.loops.gradient_of_many(m, self.n_features, n_outputs, self.data, rows, d, g)

    cdef void margins_ahead(self, Py_ssize_t m, const Py_ssize_t* rows, const Py_ssize_t* later,
                            const double* w, double* z) noexcept nogil:
        self.loops.margins(m, self.n_features, self.data, rows, later, 0, self.n_features // 2, w, z)

    cdef void add_all_ahead(self, Py_ssize_t m, const Py_ssize_t* rows, const Py_ssize_t* later,
                            const double* d, double* g) noexcept nogil:
        self.loops.gradient(m, self.n_features, self.data, rows, later, self.n_features // 2,
                            self.n_features, d, g)

    cdef void margins_and_gradient(self, Py_ssize_t m, const Py_ssize_t* rows,
                                   const Py_ssize_t* later, const double* w, double* z,
                                   const Py_ssize_t* past, const double* d,
                                   double* g) noexcept nogil:
        self.loops.margins_and_gradient(m, self.n_features, self.data, rows, later, w, z, past, d,
                                        g)

    cdef Py_ssize_t count(self, Py_ssize_t i) noexcept nogil:
        return self.n_features

    cdef Py_ssize_t largest_count(self) noexcept nogil:
        return self.n_features

    cdef void columns(self, Py_ssize_t i, Py_ssize_t* out) noexcept nogil:
        cdef Py_ssize_t j
        for j in range(self.n_features):
            out[j] = j

    cdef void values(self, Py_ssize_t i, double* out) noexcept nogil:
        self.loops.read(self.n_features, self.data + i * self.row_bytes, out)

    cdef double square_norm(self, Py_ssize_t i) noexcept nogil:
        return self.loops.square_norm(self.n_features, self.data + i * self.row_bytes)

    cdef void moments(self, Py_ssize_t m, const Py_ssize_t* rows, const double* s,
                      const double* pivot, double* first, double* second,
                      double* largest) noexcept nogil:
        # by columns whose sums the first-level cache holds
        cdef Py_ssize_t j, n = self.n_features, item_bytes = self.row_bytes // max(n, 1)
        for j from 0 <= j < n by COLUMNS_AT_HAND:
            self.loops.moments(m, n, min(COLUMNS_AT_HAND, n - j), self.data + j * item_bytes,
                               rows, s, pivot + j, first + j, second + j, largest + j)

    cdef void scaled(self, Py_ssize_t m, const Py_ssize_t* rows, const double* c,
                     const double* centre, const double* scale, Py_ssize_t stride, double* out,
                     double* largest) noexcept nogil:
        self.loops.scaled(m, self.n_features, self.data, rows, c, centre, scale, stride, out,
                          largest)

    cdef void prefetch(self, Py_ssize_t i, Py_ssize_t later) noexcept nogil:
        # far ahead, into the cache to which more may be on its way: what waits is the memory
        prefetch_far(self.data + later * self.row_bytes, self.row_bytes)


@cython.final
cdef class CSRRows(Rows):
    """Rows of a CSR array with distinct columns in each row."""

    cdef const SparseLoops* loops
    cdef const DenseLoops* value_loops     # of the values alone
    cdef Py_ssize_t item_bytes, index_bytes
    cdef const char* data
    cdef const char* indices
    cdef const int64_t* wide_starts        # one of the two
    cdef const int32_t* narrow_starts
    cdef Py_ssize_t longest
    cdef bint asks_far

    def __init__(self, X):
        self.X = X
        self.n_rows, self.n_features = X.shape
        self.n_stored = X.indptr[self.n_rows]
        self.is_sparse = True
        single, wide = X.data.dtype == np.float32, X.indices.dtype == np.int64
        self.item_bytes, self.index_bytes = X.data.itemsize, X.indices.itemsize
        self.data, self.indices = start_of(X.data), start_of(X.indices)
        self.wide_starts = <const int64_t*> start_of(X.indptr) if wide else NULL
        self.narrow_starts = NULL if wide else <const int32_t*> start_of(X.indptr)
        self.loops = sparse_loops(single, wide, simd.level)
        self.value_loops = dense_loops(F32 if single else F64, simd.level)
        cdef Py_ssize_t i
        self.longest = 0
        for i in range(self.n_rows):
            self.longest = max(self.longest, self.count(i))
        row_bytes = (self.item_bytes + self.index_bytes) * self.n_stored // max(self.n_rows, 1)
        self.asks_far = row_bytes >= FAR_ROW
        self.plan(row_bytes)

    cdef inline Py_ssize_t start(self, Py_ssize_t i) noexcept nogil:
        if self.narrow_starts != NULL:
            return self.narrow_starts[i]
        return <Py_ssize_t> self.wide_starts[i]

    cdef Py_ssize_t count(self, Py_ssize_t i) noexcept nogil:
        return self.start(i + 1) - self.start(i)

    cdef Py_ssize_t largest_count(self) noexcept nogil:
        return self.longest

    cdef double dot(self, Py_ssize_t i, const double* w) noexcept nogil:
        cdef Py_ssize_t a = self.start(i), n = self.start(i + 1) - a
        return self.loops.dot(n, self.data + a * self.item_bytes,
                              self.indices + a * self.index_bytes, w)

    cdef void add(self, Py_ssize_t i, double c, double* w) noexcept nogil:
        cdef Py_ssize_t a = self.start(i), n = self.start(i + 1) - a
        self.loops.add(n, c, self.data + a * self.item_bytes,
                       self.indices + a * self.index_bytes, w)

    cdef double dot_ahead(self, Py_ssize_t i, const double* w, Py_ssize_t later) noexcept nogil:
        cdef Py_ssize_t a, n, b, m
        if later < 0:
            return self.dot(i, w)
        a, b = self.start(i), self.start(later)
        n, m = self.start(i + 1) - a, self.start(later + 1) - b
        return self.loops.dot_ahead(
            n, self.data + a * self.item_bytes, self.indices + a * self.index_bytes, w,
            m, self.data + b * self.item_bytes, self.indices + b * self.index_bytes)

    cdef void add_ahead(self, Py_ssize_t i, double c, double* w, Py_ssize_t later) noexcept nogil:
        cdef Py_ssize_t a, n, b, m
        if later < 0:
            self.add(i, c, w)
            return
        a, b = self.start(i), self.start(later)
        n, m = self.start(i + 1) - a, self.start(later + 1) - b
        self.loops.add_ahead(
            n, c, self.data + a * self.item_bytes, self.indices + a * self.index_bytes, w,
            m, self.data + b * self.item_bytes, self.indices + b * self.index_bytes)

    cdef double shrunk_dot(self, Py_ssize_t i, double* w, const Lag* lag,
                           Py_ssize_t later) noexcept nogil:
        cdef Py_ssize_t a = self.start(i), n = self.start(i + 1) - a, b = 0, m = 0
        if later >= 0:
            b, m = self.start(later), self.count(later)
        return self.loops.shrunk_dot(
            n, self.data + a * self.item_bytes, self.indices + a * self.index_bytes, w, lag,
            m, self.data + b * self.item_bytes, self.indices + b * self.index_bytes)

    cdef void truncated_add(self, Py_ssize_t i, double c, double* w, const Debt* debt,
                            Py_ssize_t later) noexcept nogil:
        cdef Py_ssize_t a = self.start(i), n = self.start(i + 1) - a, b = 0, m = 0
        if later >= 0:
            b, m = self.start(later), self.count(later)
        self.loops.truncated_add(
            n, c, self.data + a * self.item_bytes, self.indices + a * self.index_bytes, w, debt,
            m, self.data + b * self.item_bytes, self.indices + b * self.index_bytes)

    cdef void dots(self, Py_ssize_t i, Py_ssize_t n_outputs, const double* W,
                   double* z) noexcept nogil:
        cdef Py_ssize_t a = self.start(i), n = self.start(i + 1) - a
        self.loops.dots(n, n_outputs, self.data + a * self.item_bytes,
                        self.indices + a * self.index_bytes, W, z)

    cdef void adds(self, Py_ssize_t i, Py_ssize_t n_outputs, const double* d,
                   double* W) noexcept nogil:
        cdef Py_ssize_t a = self.start(i), n = self.start(i + 1) - a
        self.loops.adds(n, n_outputs, d, self.data + a * self.item_bytes,
                        self.indices + a * self.index_bytes, W)

    cdef void margins_of(self, Py_ssize_t m, const Py_ssize_t* rows, const Py_ssize_t* later,
                         Py_ssize_t n_outputs, const double* w, double* z) noexcept nogil:
        cdef Py_ssize_t p
        for p in range(m):
            if n_outputs == 1:
                z[p] = self.dot(rows[p], w)
            else:
                self.dots(rows[p], n_outputs, w, z + p * n_outputs)

    cdef void add_all(self, Py_ssize_t m, const Py_ssize_t* rows, const Py_ssize_t* later,
                      Py_ssize_t n_outputs, const double* d, double* g) noexcept nogil:
        cdef Py_ssize_t p
        for p in range(m):
            if n_outputs == 1:
                self.add(rows[p], d[p], g)
            else:
                self.adds(rows[p], n_outputs, d + p * n_outputs, g)

    cdef void columns(self, Py_ssize_t i, Py_ssize_t* out) noexcept nogil:
        cdef Py_ssize_t p, a = self.start(i), n = self.start(i + 1) - a
        cdef const int32_t* narrow = <const int32_t*> self.indices + a
        cdef const int64_t* wide = <const int64_t*> self.indices + a
        if self.narrow_starts != NULL:
            for p in range(n):
                out[p] = narrow[p]
        else:
            for p in range(n):
                out[p] = <Py_ssize_t> wide[p]

    cdef void values(self, Py_ssize_t i, double* out) noexcept nogil:
        cdef Py_ssize_t a = self.start(i), n = self.start(i + 1) - a
        self.value_loops.read(n, self.data + a * self.item_bytes, out)

    cdef double square_norm(self, Py_ssize_t i) noexcept nogil:
        cdef Py_ssize_t a = self.start(i), n = self.start(i + 1) - a
        return self.value_loops.square_norm(n, self.data + a * self.item_bytes)

    cdef void moments(self, Py_ssize_t m, const Py_ssize_t* rows, const double* s,
                      const double* pivot, double* first, double* second,
                      double* largest) noexcept nogil:
        cdef Py_ssize_t i, a
        for i in range(m):
            a = self.start(rows[i])
            self.loops.moments(self.start(rows[i] + 1) - a, s[i], self.data + a * self.item_bytes,
                               self.indices + a * self.index_bytes, first, second, largest)

    def column_sums(self, Py_ssize_t start, Py_ssize_t stop, const double[::1] s=None):
        """Sums of s x and s x^2, and the largest |x|: ndarray of shape (n_features, 3).

        What a column has lies side by side, which many columns need from far away.
        """
        # not zeros(): a page of those that is read before it is written costs two faults
        cdef double[:, ::1] record = np.full((self.n_features + 1, 3), 0.0)
        cdef Py_ssize_t i
        with nogil:
            if s is None:
                self.add_to_record(self.start(start), self.start(stop), 1.0, &record[0, 0])
            else:
                for i in range(start, stop):
                    if s[i] > 0.0:
                        self.add_to_record(self.start(i), self.start(i + 1), s[i], &record[0, 0])
        return np.asarray(record)[:self.n_features]

    cdef void add_to_record(self, Py_ssize_t first, Py_ssize_t stop, double weight,
                            double* record) noexcept nogil:
        """Add entries ``first`` to ``stop`` to the sums of their columns, three numbers each."""
        cdef const void* x = self.data + first * self.item_bytes
        cdef const void* columns = self.indices + first * self.index_bytes
        cdef Py_ssize_t n = stop - first
        cdef bint single = self.item_bytes == 4
        if self.narrow_starts != NULL:
            if single:
                add_entries(n, <const float*> x, <const int32_t*> columns, weight, record)
            else:
                add_entries(n, <const double*> x, <const int32_t*> columns, weight, record)
        elif single:
            add_entries(n, <const float*> x, <const int64_t*> columns, weight, record)
        else:
            add_entries(n, <const double*> x, <const int64_t*> columns, weight, record)

    cdef void prefetch(self, Py_ssize_t i, Py_ssize_t later) noexcept nogil:
        # two stages: where a row begins must be known before its entries can be asked for
        cdef Py_ssize_t a = self.start(i), n = self.start(i + 1) - a
        # (not by prefetch_start: gcc leaves out direct calls of functions that only prefetch)
        prefetch(self.place_of_start(later), 16)
        if self.asks_far:
            prefetch_far(self.indices + a * self.index_bytes, n * self.index_bytes)
            prefetch_far(self.data + a * self.item_bytes, n * self.item_bytes)
        else:
            prefetch(self.indices + a * self.index_bytes, n * self.index_bytes)
            prefetch(self.data + a * self.item_bytes, n * self.item_bytes)

    cdef void prefetch_start(self, Py_ssize_t i) noexcept nogil:
        prefetch(self.place_of_start(i), 16)

    cdef inline const void* place_of_start(self, Py_ssize_t i) noexcept nogil:
        if self.narrow_starts != NULL:
            return self.narrow_starts + i
        return self.wide_starts + i


cdef void add_entries(Py_ssize_t n, const number* x, const index* columns, double weight,
                      double* record) noexcept nogil:
    cdef Py_ssize_t p
    cdef double v, size, largest
    cdef double* own
    for p in range(n):
        own = record + 3 * <Py_ssize_t> columns[p]
        v = x[p]
        size, largest = fabs(v), own[2]
        own[0] += weight * v
        own[1] += weight * (v * v)
        own[2] = size if size > largest else largest


def sums_to_moments(double[:, ::1] record, double weight):
    """Sums of x and x^2 to mean and variance, in place, in the first two numbers of each column."""
    cdef Py_ssize_t j
    cdef double share = 1.0 / weight
    for j in range(record.shape[0]):
        record[j, 0] *= share
        record[j, 1] = max(record[j, 1] * share - record[j, 0] * record[j, 0], 0.0)


cdef const char* start_of(array) except? NULL:
    """Where the data of a contiguous, aligned array begins."""
    return <const char*> <size_t> array.ctypes.data


def surely_finite(X, int n_threads=1):
    """Whether X is an array of float32 or float64, dense or sparse, whose numbers are finite.

    False also where that is not easily known: other types and layouts, numbers beyond 1e150.
    """
    array = X.data if sp.issparse(X) and X.format in ("csr", "csc", "coo", "bsr") else X
    if type(array) is not np.ndarray or array.dtype not in SPARSE_TYPES:
        return False
    array = array.T if array.flags.f_contiguous else array
    if not array.flags.c_contiguous:
        return False
    cdef const DenseLoops* loops = dense_loops(
        F32 if array.dtype == np.float32 else F64, simd.level)
    cdef Py_ssize_t k, n = array.size, item_bytes = array.itemsize
    cdef const char* data = start_of(array) if n else NULL

    def is_finite(Py_ssize_t start, Py_ssize_t stop):
        cdef Py_ssize_t at
        cdef bint finite = True
        with nogil:
            for at from start <= at < stop by 4096:
                # a sum of squares is finite only if every number is
                finite = isfinite(loops.square_norm(min(4096, stop - at), data + at * item_bytes))
                if not finite:
                    break
        return finite

    parts = 2 * n_threads if n_threads > 1 else 1
    return all(on_threads(is_finite, [(n * k // parts, n * (k + 1) // parts)
                                      for k in range(parts)], n_threads))


def as_rows(X):
    """``Rows`` of a 2-D ndarray or of a CSR array, whose structure is checked here.

    Copies only what cannot be used in place: other types and orders, strided parts, CSR rows that
    name a column twice.

    Raises
    ------
    ValueError
        If the structure of a CSR array is malformed, so that none ever reaches a kernel.
    """
    if not sp.issparse(X):
        dtype = X.dtype if X.dtype in DENSE_TYPES else np.float64
        return DenseRows(np.require(X, dtype=dtype, requirements=["C", "A"]))
    n_rows, n_features = X.shape
    indptr, indices, increasing = sound_structure(X, n_rows, n_features)
    data = as_usable(X.data, X.data.dtype if X.data.dtype in SPARSE_TYPES else np.float64)
    if not increasing and has_duplicates(indptr, indices, n_features):
        X = sp.csr_array((data, indices, indptr), shape=X.shape, copy=True)
        X.sum_duplicates()
        return as_rows(X)
    return CSRRows(_Arrays(data, indices, indptr, (n_rows, n_features)))


def rows_of_sound(X):
    """The same of a CSR array that is known to be sound, and to be used in place."""
    return CSRRows(_Arrays(X.data, X.indices, X.indptr, X.shape))


def sound_margins(X, W, b):
    """``X W + b`` if X is a plain array of sound numbers that fits W, else None.

    The short way to predict: plain are C-ordered ndarrays and CSR arrays, of a type that is used
    in place. A number that is not finite makes the margins of its row not finite, whatever W.
    """
    if type(X) is np.ndarray:
        fits = X.ndim == 2 and X.dtype in DENSE_TYPES and X.flags.c_contiguous
    else:
        fits = sp.issparse(X) and X.format == "csr" and X.ndim == 2 and X.dtype in SPARSE_TYPES
    if not fits or X.shape[1] != W.shape[0] or not X.shape[0]:
        return None
    z = as_rows(X).margins(W, b)
    return z if isfinite(z.sum()) else None


class _Arrays:
    """The three arrays of a CSR matrix, without the checks of SciPy's constructor."""

    def __init__(self, data, indices, indptr, shape):
        self.data, self.indices, self.indptr, self.shape = data, indices, indptr, shape
