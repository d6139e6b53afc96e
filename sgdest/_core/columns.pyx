"""Columns of X, read out of its rows when they are first asked for.

No copy of X by columns is made: those that never matter are not touched.
"""

cimport cython
from libc.stdint cimport int32_t
from libc.string cimport memcpy

import numpy as np

from sgdest._core cimport simd
from sgdest._core.kernels cimport F64, DenseLoops, dense_loops
from sgdest._core.rows cimport Rows

cdef const DenseLoops* loops = dense_loops(F64, simd.level)

# Columns with more entries than this share of the rows are kept without row numbers.
cdef double FULL = 0.3
# Rows that are turned into columns at a time: a line of the cache of each.
cdef enum:
    TURNED = 8


@cython.final
cdef class Columns:
    """Some columns of X. Those without row numbers are centred: offsets would couple them with
    the intercept.

    Parameters
    ----------
    rows : Rows
    mean : ndarray of shape (n_features,)
        What is subtracted from the columns that are centred.
    """

    def __init__(self, Rows rows, mean):
        self.rows, self.mean, self.removed = rows, mean, np.zeros(rows.n_features)
        self.start = np.zeros(rows.n_features, dtype=np.intp)
        self.count = np.full(rows.n_features, -1, dtype=np.intp)
        self.numbers, self.values = np.empty(0, dtype=np.int32), np.empty(0)

    def fetch(self, wanted, likely):
        """Make ``wanted`` available; if that takes a pass over X, the ``likely()`` ones too."""
        missing = np.asarray(self.count) < 0
        if not missing[wanted].any():
            return
        self.reads += 1
        more = np.zeros(len(missing), dtype=bool)
        more[wanted] = more[likely()] = True
        more = np.flatnonzero(more & missing)
        if self.rows.is_sparse:
            self.read_sparse(more)
        else:
            self.read_dense(more)

    cdef read_sparse(self, const Py_ssize_t[::1] wanted):
        cdef Py_ssize_t k, p, at, n_wanted = wanted.shape[0], n_rows = self.rows.n_rows
        cdef const Py_ssize_t[::1] starts, ends
        cdef const int32_t[::1] row
        cdef const double[::1] value
        place = np.full(self.rows.n_features, -1, dtype=np.int32)
        place[np.asarray(wanted)] = np.arange(n_wanted, dtype=np.int32)
        starts, ends, row, value = found = self.rows.entries_of(place, n_wanted)
        sizes = np.subtract(ends[:n_wanted], starts[:n_wanted])
        full = sizes > FULL * n_rows
        if self.n_used == 0 and not full.any():
            np.asarray(self.start)[wanted] = found[0][:n_wanted]
            np.asarray(self.count)[wanted] = sizes
            self.numbers, self.values, self.n_used = found[2], found[3], len(found[2])
            return
        sizes[full] = n_rows
        at = self.n_used
        self.make_room(at + sizes.sum())
        for k in range(n_wanted):
            self.start[wanted[k]], self.count[wanted[k]] = at, sizes[k]
            if full[k]:
                self.centre(wanted[k])
                for p in range(starts[k], ends[k]):
                    self.values[at + row[p]] += value[p]
            elif sizes[k]:
                memcpy(&self.numbers[at], &row[starts[k]], sizes[k] * sizeof(int32_t))
                memcpy(&self.values[at], &value[starts[k]], sizes[k] * sizeof(double))
            at += sizes[k]
        self.n_used = at

    cdef centre(self, Py_ssize_t j):
        """Begin a column without row numbers."""
        cdef Py_ssize_t at = self.start[j]
        np.asarray(self.values)[at:at + self.rows.n_rows] = -self.mean[j]
        self.removed[j] = self.mean[j]

    cdef read_dense(self, const Py_ssize_t[::1] wanted):
        cdef Py_ssize_t i, k, m, first, n_wanted = wanted.shape[0], n_rows = self.rows.n_rows
        cdef Py_ssize_t at, end, width = self.rows.n_features
        cdef double[::1] block = np.empty(TURNED * width + 1)
        self.make_room(self.n_used + n_wanted * n_rows)
        cdef double* out = &self.values[0] + self.n_used
        with nogil:
            for first from 0 <= first < n_rows by TURNED:
                m = min(TURNED, n_rows - first)
                for i in range(m):
                    self.rows.values(first + i, &block[i * width])
                for k in range(n_wanted):
                    for i in range(m):
                        out[k * n_rows + first + i] = block[i * width + wanted[k]]
        end = self.n_used
        for k in range(n_wanted):
            at = self.n_used + k * n_rows
            self.start[wanted[k]] = end
            self.count[wanted[k]] = self.pack(wanted[k], at, end)
            end += self.count[wanted[k]]
        self.n_used = end

    cdef Py_ssize_t pack(self, Py_ssize_t j, Py_ssize_t start, Py_ssize_t end) noexcept nogil:
        """Move a column from ``start`` to ``end``; how many values it takes there."""
        cdef Py_ssize_t p, n = 0, n_rows = self.rows.n_rows
        cdef double* x = &self.values[0] + start
        cdef double* out = &self.values[0] + end
        cdef double mean = self.mean[j]
        for p in range(n_rows):
            n += x[p] != 0.0
        if n > FULL * n_rows:
            for p in range(n_rows):
                out[p] = x[p] - mean
            with gil:
                self.removed[j] = mean
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
        if n == self.rows.n_rows:
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
        if n == self.rows.n_rows:
            return loops.weighted_square(n, h, x)
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
        if n == self.rows.n_rows:
            loops.weighted_add(n, c, h, x, v)
            return
        for p in range(n):
            v[row[p]] += c * h[row[p]] * x[p]
