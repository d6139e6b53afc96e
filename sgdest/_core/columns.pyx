"""Columns of X, read out of its rows when they are first asked for.

No copy of X by columns is made: those that never matter are not touched.
"""

cimport cython
from libc.stdint cimport int32_t, int64_t

import numpy as np

from sgdest._core cimport simd
from sgdest._core.column_kernels cimport ColumnLoops, column_loops
from sgdest._core.kernels cimport F64, DenseLoops, dense_loops
from sgdest._core.rows cimport Rows

cdef const DenseLoops* loops = dense_loops(F64, simd.level)
cdef const ColumnLoops* weighted = column_loops(simd.level)

# Columns with more entries than this share of the rows are kept without row numbers.
cdef double FULL = 0.3
# Entries of sparse rows of which all columns are read at once, which takes 50 MB.
cdef Py_ssize_t MOST_AT_ONCE = 1 << 22
# Rows that are turned into columns at a time: a line of the cache of each.
cdef enum:
    TURNED = 8


@cython.final
cdef class Columns:
    """Some columns of X. Those without row numbers are centred: offsets would couple them with
    the intercept. They do not keep the rows alive that they were read from.

    Parameters
    ----------
    rows : Rows
    mean : ndarray of shape (n_features,)
        What is subtracted from the columns that are centred.
    """

    def __init__(self, Rows rows, mean):
        self.n_rows, self.mean, self.taken = rows.n_rows, mean, np.zeros(rows.n_features)
        self.sizes = None
        self.at_once = rows.is_sparse and rows.n_stored <= MOST_AT_ONCE
        self.start = np.zeros(rows.n_features, dtype=np.intp)
        self.count = np.full(rows.n_features, -1, dtype=np.intp)
        self.numbers, self.values = np.empty(0, dtype=np.int32), np.empty(0)

    @property
    def size(self):
        """How many numbers they take, two of the rows counted as one."""
        return self.values.shape[0] + self.numbers.shape[0] // 2

    @property
    def removed(self):
        """What was subtracted from each column."""
        return np.asarray(self.taken)

    def fetch(self, Rows rows, wanted, likely):
        """Make ``wanted`` available; if that takes a pass over X, the ``likely()`` ones too."""
        count = np.asarray(self.count)
        if not (count[wanted] < 0).any():
            return
        self.reads += 1
        if self.at_once:
            more = np.flatnonzero(count < 0)
        else:
            more = np.zeros(len(count), dtype=bool)
            more[wanted] = more[likely()] = True
            more = np.flatnonzero(more & (count < 0))
        if rows.is_sparse:
            self.read_sparse(rows, more)
        else:
            self.read_dense(rows, more)

    def margins(self, const double[::1] w):
        """The sum of w_j x_j as the columns are here: those with a weight must be there."""
        cdef Py_ssize_t j
        cdef double[::1] z = np.zeros(self.n_rows)
        with nogil:
            for j in range(w.shape[0]):
                if w[j] != 0.0:
                    self.add(j, w[j], NULL, &z[0])
        return np.asarray(z)

    cdef read_sparse(self, Rows rows, const Py_ssize_t[::1] wanted):
        cdef Py_ssize_t j, k, end = self.n_used, n_rows = self.n_rows
        cdef Py_ssize_t[::1] ends = np.empty(len(wanted) + 1, dtype=np.intp)
        # the last place is one for what is not wanted
        cdef int32_t[::1] place = np.full(rows.n_features, len(wanted), dtype=np.int32)
        X = rows.X
        if self.sizes is None:
            self.sizes = _sizes(X.indices, rows.n_stored, rows.n_features)
        for k in range(wanted.shape[0]):
            j = wanted[k]
            place[j] = <int32_t> k
            self.start[j] = ends[k] = end
            end += n_rows if self.sizes[j] > FULL * n_rows else self.sizes[j]
        ends[wanted.shape[0]] = end
        self.make_room(end + 1)
        _turn(X.indptr, X.indices, X.data, place, ends, self.numbers, self.values)
        self.n_used = end
        for k in range(wanted.shape[0]):
            j = wanted[k]
            self.count[j] = ends[k] - self.start[j]
            if self.sizes[j] > FULL * n_rows:
                self.spread_out(self.start[j], self.count[j], self.mean[j])
                self.count[j] = n_rows
                self.taken[j] = self.mean[j]

    cdef void spread_out(self, Py_ssize_t at, Py_ssize_t n, double mean) noexcept nogil:
        """Make a centred column without row numbers of the n entries that stand where it begins."""
        cdef Py_ssize_t i
        cdef double* x = &self.values[0] + at
        cdef const int32_t* row = &self.numbers[0] + at
        for i in range(self.n_rows - 1, -1, -1):
            if n > 0 and row[n - 1] == i:
                n -= 1
                x[i] = x[n] - mean
            else:
                x[i] = -mean

    cdef read_dense(self, Rows rows, const Py_ssize_t[::1] wanted):
        cdef Py_ssize_t i, k, m, first, n_wanted = wanted.shape[0], n_rows = self.n_rows
        cdef Py_ssize_t at, end, width = rows.n_features
        cdef bint as_is = rows.X.dtype == np.float64      # no need of a copy of the rows
        cdef const double[:, ::1] X = rows.X if as_is else None
        cdef double[::1] block = np.empty(1 if as_is else TURNED * width + 1)
        cdef const double* row[8]          # TURNED
        self.make_room(self.n_used + n_wanted * n_rows)
        cdef double* out = &self.values[0] + self.n_used
        with nogil:
            for first from 0 <= first < n_rows by TURNED:
                m = min(TURNED, n_rows - first)
                for i in range(m):
                    if as_is:
                        row[i] = &X[first + i, 0]
                    else:
                        row[i] = &block[i * width]
                        rows.values(first + i, &block[i * width])
                for k in range(n_wanted):
                    for i in range(m):
                        out[k * n_rows + first + i] = row[i][wanted[k]]
        end = self.n_used
        for k in range(n_wanted):
            at = self.n_used + k * n_rows
            self.start[wanted[k]] = end
            self.count[wanted[k]] = self.pack(wanted[k], at, end)
            end += self.count[wanted[k]]
        self.n_used = end

    cdef Py_ssize_t pack(self, Py_ssize_t j, Py_ssize_t start, Py_ssize_t end) noexcept nogil:
        """Move a column from ``start`` to ``end``; how many values it takes there."""
        cdef Py_ssize_t p, n = 0, n_rows = self.n_rows
        cdef double* x = &self.values[0] + start
        cdef double* out = &self.values[0] + end
        cdef double mean = self.mean[j]
        for p in range(n_rows):
            n += x[p] != 0.0
        if n > FULL * n_rows:
            for p in range(n_rows):
                out[p] = x[p] - mean
            self.taken[j] = mean
            return n_rows
        n = 0
        for p in range(n_rows):
            if x[p] != 0.0:
                out[n], self.numbers[end + n] = x[p], <int32_t> p
                n += 1
        return n

    cdef make_room(self, Py_ssize_t end):
        """Let the values reach up to ``end``."""
        if end > self.values.shape[0] or self.values.shape[0] == 0:
            size = max(end, 2 * self.values.shape[0], 1)
            numbers, values = np.empty(size, dtype=np.int32), np.empty(size)
            numbers[:self.n_used] = self.numbers[:self.n_used]
            values[:self.n_used] = self.values[:self.n_used]
            self.numbers, self.values = numbers, values

    cdef double dot(self, Py_ssize_t j, const double* v) noexcept nogil:
        cdef Py_ssize_t p, n = self.count[j]
        cdef const double* x = &self.values[0] + self.start[j]
        cdef const int32_t* row = &self.numbers[0] + self.start[j]
        cdef double total = 0.0, other = 0.0
        if n == self.n_rows:
            return loops.dot(n, x, v)
        for p in range(0, n - 1, 2):
            total += x[p] * v[row[p]]
            other += x[p + 1] * v[row[p + 1]]
        if n % 2:
            total += x[n - 1] * v[row[n - 1]]
        return total + other

    cdef double square(self, Py_ssize_t j, const double* h) noexcept nogil:
        cdef Py_ssize_t p, n = self.count[j]
        cdef const double* x = &self.values[0] + self.start[j]
        cdef const int32_t* row = &self.numbers[0] + self.start[j]
        cdef double total = 0.0, other = 0.0
        if n == self.n_rows:
            return weighted.weighted_square(n, h, x)
        for p in range(0, n - 1, 2):
            total += h[row[p]] * x[p] * x[p]
            other += h[row[p + 1]] * x[p + 1] * x[p + 1]
        if n % 2:
            total += h[row[n - 1]] * x[n - 1] * x[n - 1]
        return total + other

    cdef void add(self, Py_ssize_t j, double c, const double* h, double* v) noexcept nogil:
        cdef Py_ssize_t p, n = self.count[j]
        cdef const double* x = &self.values[0] + self.start[j]
        cdef const int32_t* row = &self.numbers[0] + self.start[j]
        if n == self.n_rows and h == NULL:
            loops.add(n, c, x, v)
        elif n == self.n_rows:
            weighted.weighted_add(n, c, h, x, v)
        elif h == NULL:
            for p in range(n):
                v[row[p]] += c * x[p]
        else:
            for p in range(n):
                v[row[p]] += c * h[row[p]] * x[p]


ctypedef fused index:
    int32_t
    int64_t

ctypedef fused number:
    float
    double


def _sizes(const index[::1] columns, Py_ssize_t n_stored, Py_ssize_t n_features):
    """How many stored entries each column has."""
    cdef Py_ssize_t p
    cdef Py_ssize_t[::1] sizes = np.zeros(n_features, dtype=np.intp)
    with nogil:
        for p in range(n_stored):
            sizes[columns[p]] += 1
    return sizes


def _turn(const index[::1] starts, const index[::1] columns, const number[::1] x,
          const int32_t[::1] place, Py_ssize_t[::1] ends, int32_t[::1] numbers, double[::1] values):
    """Write the entries of column j, zeros aside, to where ``ends[place[j]]`` points, and move that.

    The last place takes what is not wanted, over and over: a branch would be hard to predict.
    """
    cdef Py_ssize_t i, p, end, last = ends.shape[0] - 1
    cdef int32_t k
    cdef double v
    with nogil:
        for i in range(starts.shape[0] - 1):
            for p in range(starts[i], starts[i + 1]):
                k, v = place[columns[p]], x[p]
                end = ends[k]
                numbers[end], values[end] = <int32_t> i, v
                ends[k] = end + (k != last and v != 0.0)
