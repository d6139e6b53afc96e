"""The data X, row by row: the only place that knows its layout and its type.

Design:

- Virtual methods take no fused types: an override of such a method is silently ignored
  (cython#3607). Each class tests its type once per row, which costs nothing that can be measured
  beside the row itself.
- A row of either class reads as distinct columns and values. CSR arrays with duplicate columns
  are summed into a copy when the object is made.
- Nothing here copies X otherwise: arrays may be read-only or memory-mapped.
"""

cimport cython
from sgdest._core.kernels cimport *

import numpy as np
import scipy.sparse as sp

#: types of dense data that are used as they are; everything else is converted to float64
DENSE_TYPES = (np.float64, np.float32, np.uint8, np.int8)
#: types of the values of CSR data that are used as they are
SPARSE_TYPES = (np.float64, np.float32)

ctypedef fused index:
    int32_t
    int64_t


cdef class Rows:
    """Abstract: rows of X. See ``rows.pxd`` for what each method promises."""

    cdef double dot(self, Py_ssize_t i, const double* w) noexcept nogil:
        return 0.0

    cdef void add(self, Py_ssize_t i, double a, double* w) noexcept nogil:
        return

    cdef void dots(self, Py_ssize_t i, Py_ssize_t n_outputs, const double* W,
                   double* z) noexcept nogil:
        return

    cdef void adds(self, Py_ssize_t i, Py_ssize_t n_outputs, const double* d,
                   double* W) noexcept nogil:
        return

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

    cdef void moments(self, Py_ssize_t i, double s, const double* pivot, double* first,
                      double* second, double* largest) noexcept nogil:
        return

    cdef void prefetch(self, Py_ssize_t i, Py_ssize_t later) noexcept nogil:
        return

    def margins(self, const double[:, ::1] W, const double[::1] b):
        """Raw predictions ``X W + b``: ndarray of shape (n_rows, n_outputs), float64."""
        cdef Py_ssize_t i, k, K = W.shape[1]
        if W.shape[0] != self.n_features or b.shape[0] != K:
            raise ValueError("W must have shape (n_features, n_outputs), b (n_outputs,)")
        cdef double[:, ::1] z = np.empty((self.n_rows, K))
        cdef double none = 0.0
        cdef const double* w = &W[0, 0] if W.shape[0] * K > 0 else &none
        with nogil:
            for i in range(self.n_rows):
                if K == 1:
                    z[i, 0] = self.dot(i, w) + b[0]
                else:
                    self.dots(i, K, w, &z[i, 0])
                    for k in range(K):
                        z[i, k] += b[k]
        return np.asarray(z)

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


cdef enum DenseType:
    F64, F32, U8, I8


@cython.final
cdef class DenseRows(Rows):
    """Rows of a C-contiguous array of one of ``DENSE_TYPES``."""

    cdef DenseType type
    cdef Py_ssize_t item_bytes
    cdef const double* f64
    cdef const float* f32
    cdef const uint8_t* u8
    cdef const int8_t* i8

    def __init__(self, X):
        cdef const double[:, ::1] view_f64
        cdef const float[:, ::1] view_f32
        cdef const uint8_t[:, ::1] view_u8
        cdef const int8_t[:, ::1] view_i8
        self.X = X
        self.n_rows, self.n_features = X.shape
        self.n_stored = self.n_rows * self.n_features
        self.is_sparse = False
        self.item_bytes = X.dtype.itemsize
        empty = self.n_stored == 0
        if X.dtype == np.float64:
            self.type = F64
            view_f64 = X
            self.f64 = NULL if empty else &view_f64[0, 0]
        elif X.dtype == np.float32:
            self.type = F32
            view_f32 = X
            self.f32 = NULL if empty else &view_f32[0, 0]
        elif X.dtype == np.uint8:
            self.type = U8
            view_u8 = X
            self.u8 = NULL if empty else &view_u8[0, 0]
        elif X.dtype == np.int8:
            self.type = I8
            view_i8 = X
            self.i8 = NULL if empty else &view_i8[0, 0]
        else:
            raise TypeError(f"X must be of one of {DENSE_TYPES}; got {X.dtype}")

    cdef double dot(self, Py_ssize_t i, const double* w) noexcept nogil:
        cdef Py_ssize_t n = self.n_features
        if self.type == F64:
            return dot_f64(n, self.f64 + i * n, w)
        if self.type == F32:
            return dot_f32(n, self.f32 + i * n, w)
        if self.type == U8:
            return dot_u8(n, self.u8 + i * n, w)
        return dot_i8(n, self.i8 + i * n, w)

    cdef void add(self, Py_ssize_t i, double a, double* w) noexcept nogil:
        cdef Py_ssize_t n = self.n_features
        if self.type == F64:
            add_f64(n, a, self.f64 + i * n, w)
        elif self.type == F32:
            add_f32(n, a, self.f32 + i * n, w)
        elif self.type == U8:
            add_u8(n, a, self.u8 + i * n, w)
        else:
            add_i8(n, a, self.i8 + i * n, w)

    cdef void dots(self, Py_ssize_t i, Py_ssize_t n_outputs, const double* W,
                   double* z) noexcept nogil:
        cdef Py_ssize_t n = self.n_features
        if self.type == F64:
            dots_f64(n, n_outputs, self.f64 + i * n, W, z)
        elif self.type == F32:
            dots_f32(n, n_outputs, self.f32 + i * n, W, z)
        elif self.type == U8:
            dots_u8(n, n_outputs, self.u8 + i * n, W, z)
        else:
            dots_i8(n, n_outputs, self.i8 + i * n, W, z)

    cdef void adds(self, Py_ssize_t i, Py_ssize_t n_outputs, const double* d,
                   double* W) noexcept nogil:
        cdef Py_ssize_t n = self.n_features
        if self.type == F64:
            adds_f64(n, n_outputs, d, self.f64 + i * n, W)
        elif self.type == F32:
            adds_f32(n, n_outputs, d, self.f32 + i * n, W)
        elif self.type == U8:
            adds_u8(n, n_outputs, d, self.u8 + i * n, W)
        else:
            adds_i8(n, n_outputs, d, self.i8 + i * n, W)

    cdef Py_ssize_t count(self, Py_ssize_t i) noexcept nogil:
        return self.n_features

    cdef Py_ssize_t largest_count(self) noexcept nogil:
        return self.n_features

    cdef void columns(self, Py_ssize_t i, Py_ssize_t* out) noexcept nogil:
        cdef Py_ssize_t j
        for j in range(self.n_features):
            out[j] = j

    cdef void values(self, Py_ssize_t i, double* out) noexcept nogil:
        cdef Py_ssize_t n = self.n_features
        if self.type == F64:
            read_f64(n, self.f64 + i * n, out)
        elif self.type == F32:
            read_f32(n, self.f32 + i * n, out)
        elif self.type == U8:
            read_u8(n, self.u8 + i * n, out)
        else:
            read_i8(n, self.i8 + i * n, out)

    cdef double square_norm(self, Py_ssize_t i) noexcept nogil:
        cdef Py_ssize_t n = self.n_features
        if self.type == F64:
            return square_norm_f64(n, self.f64 + i * n)
        if self.type == F32:
            return square_norm_f32(n, self.f32 + i * n)
        if self.type == U8:
            return square_norm_u8(n, self.u8 + i * n)
        return square_norm_i8(n, self.i8 + i * n)

    cdef void moments(self, Py_ssize_t i, double s, const double* pivot, double* first,
                      double* second, double* largest) noexcept nogil:
        cdef Py_ssize_t n = self.n_features
        if self.type == F64:
            moments_f64(n, s, self.f64 + i * n, pivot, first, second, largest)
        elif self.type == F32:
            moments_f32(n, s, self.f32 + i * n, pivot, first, second, largest)
        elif self.type == U8:
            moments_u8(n, s, self.u8 + i * n, pivot, first, second, largest)
        else:
            moments_i8(n, s, self.i8 + i * n, pivot, first, second, largest)

    cdef void prefetch(self, Py_ssize_t i, Py_ssize_t later) noexcept nogil:
        cdef Py_ssize_t row_bytes = self.n_features * self.item_bytes
        cdef const char* start = <const char*> self.f64
        if self.type == F32:
            start = <const char*> self.f32
        elif self.type == U8:
            start = <const char*> self.u8
        elif self.type == I8:
            start = <const char*> self.i8
        prefetch(start + i * row_bytes, row_bytes)


@cython.final
cdef class CSRRows(Rows):
    """Rows of a CSR array with distinct columns in each row."""

    cdef bint single
    cdef bint wide
    cdef const double* f64
    cdef const float* f32
    cdef const int32_t* narrow_columns
    cdef const int64_t* wide_columns
    cdef const int64_t[::1] starts
    cdef const int32_t[::1] narrow_starts
    cdef Py_ssize_t longest

    def __init__(self, X):
        cdef const double[::1] view_f64
        cdef const float[::1] view_f32
        cdef const int32_t[::1] view_narrow
        cdef const int64_t[::1] view_wide
        self.X = X
        self.n_rows, self.n_features = X.shape
        self.n_stored = X.indptr[self.n_rows]
        self.is_sparse = True
        self.single = X.data.dtype == np.float32
        self.wide = X.indices.dtype == np.int64
        if self.n_stored and self.single:
            view_f32 = X.data
            self.f32 = &view_f32[0]
        elif self.n_stored:
            view_f64 = X.data
            self.f64 = &view_f64[0]
        if self.wide:
            self.starts = X.indptr
            view_wide = X.indices
            self.wide_columns = NULL if self.n_stored == 0 else &view_wide[0]
        else:
            self.narrow_starts = X.indptr
            view_narrow = X.indices
            self.narrow_columns = NULL if self.n_stored == 0 else &view_narrow[0]
        self.longest = np.diff(X.indptr).max() if self.n_rows else 0

    cdef inline Py_ssize_t start(self, Py_ssize_t i) noexcept nogil:
        return self.starts[i] if self.wide else self.narrow_starts[i]

    cdef Py_ssize_t count(self, Py_ssize_t i) noexcept nogil:
        return self.start(i + 1) - self.start(i)

    cdef Py_ssize_t largest_count(self) noexcept nogil:
        return self.longest

    cdef double dot(self, Py_ssize_t i, const double* w) noexcept nogil:
        cdef Py_ssize_t a = self.start(i), n = self.start(i + 1) - a
        if self.single:
            if self.wide:
                return dot_f32_i64(n, self.f32 + a, self.wide_columns + a, w)
            return dot_f32_i32(n, self.f32 + a, self.narrow_columns + a, w)
        if self.wide:
            return dot_f64_i64(n, self.f64 + a, self.wide_columns + a, w)
        return dot_f64_i32(n, self.f64 + a, self.narrow_columns + a, w)

    cdef void add(self, Py_ssize_t i, double c, double* w) noexcept nogil:
        cdef Py_ssize_t a = self.start(i), n = self.start(i + 1) - a
        if self.single:
            if self.wide:
                add_f32_i64(n, c, self.f32 + a, self.wide_columns + a, w)
            else:
                add_f32_i32(n, c, self.f32 + a, self.narrow_columns + a, w)
        elif self.wide:
            add_f64_i64(n, c, self.f64 + a, self.wide_columns + a, w)
        else:
            add_f64_i32(n, c, self.f64 + a, self.narrow_columns + a, w)

    cdef void dots(self, Py_ssize_t i, Py_ssize_t n_outputs, const double* W,
                   double* z) noexcept nogil:
        cdef Py_ssize_t a = self.start(i), n = self.start(i + 1) - a
        if self.single:
            if self.wide:
                dots_f32_i64(n, n_outputs, self.f32 + a, self.wide_columns + a, W, z)
            else:
                dots_f32_i32(n, n_outputs, self.f32 + a, self.narrow_columns + a, W, z)
        elif self.wide:
            dots_f64_i64(n, n_outputs, self.f64 + a, self.wide_columns + a, W, z)
        else:
            dots_f64_i32(n, n_outputs, self.f64 + a, self.narrow_columns + a, W, z)

    cdef void adds(self, Py_ssize_t i, Py_ssize_t n_outputs, const double* d,
                   double* W) noexcept nogil:
        cdef Py_ssize_t a = self.start(i), n = self.start(i + 1) - a
        if self.single:
            if self.wide:
                adds_f32_i64(n, n_outputs, d, self.f32 + a, self.wide_columns + a, W)
            else:
                adds_f32_i32(n, n_outputs, d, self.f32 + a, self.narrow_columns + a, W)
        elif self.wide:
            adds_f64_i64(n, n_outputs, d, self.f64 + a, self.wide_columns + a, W)
        else:
            adds_f64_i32(n, n_outputs, d, self.f64 + a, self.narrow_columns + a, W)

    cdef void columns(self, Py_ssize_t i, Py_ssize_t* out) noexcept nogil:
        cdef Py_ssize_t p, a = self.start(i), n = self.start(i + 1) - a
        if self.wide:
            for p in range(n):
                out[p] = <Py_ssize_t> self.wide_columns[a + p]
        else:
            for p in range(n):
                out[p] = self.narrow_columns[a + p]

    cdef void values(self, Py_ssize_t i, double* out) noexcept nogil:
        cdef Py_ssize_t a = self.start(i), n = self.start(i + 1) - a
        if self.single:
            read_f32(n, self.f32 + a, out)
        else:
            read_f64(n, self.f64 + a, out)

    cdef double square_norm(self, Py_ssize_t i) noexcept nogil:
        cdef Py_ssize_t a = self.start(i), n = self.start(i + 1) - a
        if self.single:
            return square_norm_f32(n, self.f32 + a)
        return square_norm_f64(n, self.f64 + a)

    cdef void moments(self, Py_ssize_t i, double s, const double* pivot, double* first,
                      double* second, double* largest) noexcept nogil:
        cdef Py_ssize_t a = self.start(i), n = self.start(i + 1) - a
        if self.single:
            if self.wide:
                moments_f32_i64(n, s, self.f32 + a, self.wide_columns + a, first, second, largest)
            else:
                moments_f32_i32(n, s, self.f32 + a, self.narrow_columns + a, first, second,
                                largest)
        elif self.wide:
            moments_f64_i64(n, s, self.f64 + a, self.wide_columns + a, first, second, largest)
        else:
            moments_f64_i32(n, s, self.f64 + a, self.narrow_columns + a, first, second, largest)

    cdef void prefetch(self, Py_ssize_t i, Py_ssize_t later) noexcept nogil:
        # two stages: where a row begins must be known before its entries can be asked for
        cdef Py_ssize_t a = self.start(i), n = self.start(i + 1) - a
        if self.wide:
            prefetch(&self.starts[later], 8)
            prefetch(self.wide_columns + a, 8 * n)
        else:
            prefetch(&self.narrow_starts[later], 4)
            prefetch(self.narrow_columns + a, 4 * n)
        if self.single:
            prefetch(self.f32 + a, 4 * n)
        else:
            prefetch(self.f64 + a, 8 * n)


def check_arrays(X):
    """Raise ValueError if the three arrays of a CSR array are not what indices can be read from."""
    for name in ("indptr", "indices", "data"):
        array = getattr(X, name)
        if array.ndim != 1:
            raise ValueError(
                f"X is a malformed CSR array: {name} must be 1-D; got shape {array.shape}. "
                "Rebuild X from its rows, columns and values."
            )
        if name != "data" and array.dtype.kind not in "iu":
            raise ValueError(
                f"X is a malformed CSR array: {name} must hold integers; got {array.dtype}. "
                "Rebuild X from its rows, columns and values."
            )


def check_csr(const index[::1] starts, const index[::1] columns, Py_ssize_t n_stored,
              Py_ssize_t n_rows, Py_ssize_t n_features):
    """Raise ValueError if a CSR structure is malformed; else tell whether columns increase.

    One pass over the structure; nothing is read that a check before it has not bounded.
    """
    cdef Py_ssize_t i, p
    cdef bint outside, ordered = True
    if starts.shape[0] != n_rows + 1:
        raise ValueError(
            f"X is a malformed CSR array: indptr must have n_rows + 1 = {n_rows + 1} entries; "
            f"got {starts.shape[0]}. Rebuild X, for example with scipy.sparse.csr_array."
        )
    if starts[0] != 0 or starts[n_rows] > min(n_stored, columns.shape[0]):
        raise ValueError(
            f"X is a malformed CSR array: indptr must begin with 0 and end with at most the "
            f"number of stored values; got {starts[0]} .. {starts[n_rows]} for {n_stored} values "
            f"and {columns.shape[0]} indices. Rebuild X from its rows, columns and values."
        )
    for i in range(n_rows):
        if starts[i + 1] < starts[i]:
            raise ValueError(
                f"X is a malformed CSR array: indptr must not decrease; it does at row {i} "
                f"({starts[i]} then {starts[i + 1]}). Rebuild X from its rows, columns and values."
            )
    for i in range(n_rows):
        outside = False
        for p in range(starts[i], starts[i + 1]):
            outside |= (columns[p] < 0) | (columns[p] >= n_features)
        for p in range(starts[i] + 1, starts[i + 1]):
            ordered &= columns[p] > columns[p - 1]
        if outside:
            raise ValueError(
                f"X is a malformed CSR array: the column indices of row {i} must lie in "
                f"[0, {n_features}). Rebuild X from its rows, columns and values."
            )
    return ordered


def has_duplicates(const index[::1] starts, const index[::1] columns, Py_ssize_t n_features):
    """Whether a row of a sound CSR structure names a column twice."""
    cdef Py_ssize_t i, p
    cdef Py_ssize_t[::1] seen = np.full(n_features, -1, dtype=np.intp)
    for i in range(starts.shape[0] - 1):
        for p in range(starts[i], starts[i + 1]):
            if seen[columns[p]] == i:
                return True
            seen[columns[p]] = i
    return False


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
    check_arrays(X)
    dtype = X.data.dtype if X.data.dtype in SPARSE_TYPES else np.float64
    narrow = np.can_cast(X.indices.dtype, np.int32) and np.can_cast(X.indptr.dtype, np.int32)
    index_type = np.int32 if narrow else np.int64
    indptr = np.require(X.indptr, dtype=index_type, requirements=["C", "A"])
    indices = np.require(X.indices, dtype=index_type, requirements=["C", "A"])
    data = np.require(X.data, dtype=dtype, requirements=["C", "A"])
    increasing = check_csr(indptr, indices, data.shape[0], n_rows, n_features)
    if not increasing and has_duplicates(indptr, indices, n_features):
        X = sp.csr_array((data, indices, indptr), shape=X.shape, copy=True)
        X.sum_duplicates()
        return as_rows(X)
    return CSRRows(_Arrays(data, indices, indptr, (n_rows, n_features)))


class _Arrays:
    """The three arrays of a CSR matrix, without the checks of SciPy's constructor."""

    def __init__(self, data, indices, indptr, shape):
        self.data, self.indices, self.indptr, self.shape = data, indices, indptr, shape
