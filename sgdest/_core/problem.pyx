"""Problem: the one function that everything here minimises,

    F(W, b) = sum_i s_i loss(y_i, x_i W + b + o_i) / sum_i s_i + alpha penalty(W).

Design:

- One pass over X gives value, gradient and margins: the margins of a block of rows, the slopes of
  the loss, and the gradient are computed while the block is in the cache.
- Rows are cut into chunks whose number depends on the data alone; the chunks' sums are added in
  their order. So the bits do not depend on the number of threads. Threads are Python threads over
  code that does not hold the interpreter's lock: no OpenMP runtime, nothing to clash or to fork.
"""

cimport cython
from libc.math cimport fabs, fmax

from sgdest._core.simd cimport prefetch

import numpy as np
import scipy.sparse as sp

from sgdest._core.labels import weight_of
from sgdest._core.penalties import PENALTIES
from sgdest._core.rows import as_rows, sums_to_moments
from sgdest._core.simd import aligned, aligned_like, aligned_zeros
from sgdest._core.threads import on_threads

# A second thread pays from about 10 MB of X a pass: waking one costs about 50 microseconds.
cdef Py_ssize_t CHUNK_ENTRIES = 1 << 19
cdef Py_ssize_t LARGEST_BLOCK = 256
LARGE = 1 << 16          # numbers: 512 kB
# The rows whose numbers a pass has at hand: those of a block, and those that it asks for.
cdef enum:
    ROWS_AT_HAND = 320


cdef double weighted_dot(Py_ssize_t n, Py_ssize_t K, const double* s, const double* a,
                         const double* b) noexcept nogil:
    """sum_i s_i sum_k a_ik b_ik."""
    cdef Py_ssize_t i, k
    cdef double total = 0.0
    if K == 1:
        for i in range(n):
            total += s[i] * a[i] * b[i]
        return total
    for i in range(n):
        for k in range(K):
            total += s[i] * a[i * K + k] * b[i * K + k]
    return total


cdef void add_up(Py_ssize_t n, Py_ssize_t K, const double* d, double* sums) noexcept nogil:
    """sums_k += sum_i d_ik."""
    cdef Py_ssize_t i, k
    cdef double even = 0.0, odd = 0.0
    if K > 1:
        for i in range(n):
            for k in range(K):
                sums[k] += d[i * K + k]
        return
    for i in range(n // 2):
        even += d[2 * i]
        odd += d[2 * i + 1]
    sums[0] += (even + odd) + (d[n - 1] if n % 2 else 0.0)


cdef class Problem:
    """The objective F and what solvers ask of it.

    Parameters
    ----------
    X : Rows, ndarray or CSR array of shape (n_rows, n_features)
        Validated data.
    y : ndarray of shape (n_rows,) or (n_rows, n_outputs), float64
        Targets as the loss wants them; for ``n_outputs`` > 1 the 1-D form holds class codes.
    loss : Loss
    penalty : Penalty
    sample_weight : ndarray of shape (n_rows,), default=None
        s_i >= 0, class weights included. None means ones.
    offset : ndarray of shape (n_rows, n_outputs), default=None
        o_i, added to the raw predictions.
    fit_intercept : bool, default=True
    n_outputs : int, default=1
    n_threads : int, default=1
    """

    def __init__(self, X, y, Loss loss, Penalty penalty, *, sample_weight=None, offset=None,
                 fit_intercept=True, Py_ssize_t n_outputs=1, int n_threads=1):
        self.rows = X if isinstance(X, Rows) else as_rows(X)
        self.loss, self.penalty = loss, penalty
        self.fit_intercept, self.n_outputs = fit_intercept, n_outputs
        self.n_rows, self.n_features = self.rows.n_rows, self.rows.n_features
        self.n_threads = n_threads
        self.y = np.ascontiguousarray(y, dtype=np.float64)
        self.coded = n_outputs > 1 and self.y.ndim == 1
        self.positive_code = 1.0
        self.negative_code = 0.0 if type(loss).targets == "binary" else -1.0
        self.own_class, self.is_joint = -1, type(loss).joint
        self.target_width = 1 if type(loss).joint else n_outputs * (2 if loss.centred else 1)
        self.y_step = 1 if self.coded else self.target_width
        self._check_shapes(sample_weight, offset)
        cdef const double[::1] view
        self.y_data = self.s_data = self.o_data = NULL
        if self.n_rows:
            view = self.y.ravel()
            self.y_data = &view[0]
        self.total_weight = self.n_rows
        if sample_weight is not None:
            self.sample_weight = np.ascontiguousarray(sample_weight, dtype=np.float64)
            self.total_weight = self.sample_weight.sum()
            view = self.sample_weight
            self.s_data = &view[0] if self.n_rows else NULL
        if offset is not None:
            self.offset = np.ascontiguousarray(offset, dtype=np.float64).reshape(
                self.n_rows, n_outputs)
            view = self.offset.ravel()
            self.o_data = &view[0] if self.n_rows else NULL
        self.mean_weight = self.total_weight / self.n_rows if self.n_rows else 1.0
        self.adds_at_once = (n_outputs == 1 and not self.rows.is_sparse
                             and not type(loss).costs_a_call)
        # Below this a solver runs to rounding whatever its tolerance: it costs little, and makes
        # a weight of k the same as k copies of a row to all digits.
        self.is_small = self.rows.n_stored < 20_000
        self.spare, self.known = [], {}

    def __reduce__(self):
        """By its parts, each of which a solver's pickle may only name (``frozen``)."""
        if self.part_of is not None:
            return Problem._output, self.part_of
        return _restored, (self._parts(), self.is_small)

    def _check_shapes(self, sample_weight, offset):
        """The lengths that the pointers rely on."""
        shapes = [((self.n_rows,), (self.n_rows, self.target_width)), ((self.n_rows,),)]
        shapes.append(((self.n_rows, self.n_outputs),) + ((self.n_rows,),) * (self.n_outputs == 1))
        arrays = {"y": self.y, "sample_weight": sample_weight, "offset": offset}
        for (name, array), allowed in zip(arrays.items(), shapes):
            if array is not None and np.shape(array) not in allowed:
                raise ValueError(f"{name} must have shape {allowed[0]}; got {np.shape(array)}")
        if self.penalty.factors is not None and len(self.penalty.factors) != self.n_features:
            raise ValueError(f"penalty factors must have shape ({self.n_features},)")

    # -- one row ---------------------------------------------------------------------------

    cdef double weight(self, Py_ssize_t i) noexcept nogil:
        return 1.0 if self.s_data == NULL else self.s_data[i]

    cdef void target(self, Py_ssize_t i, double* y) noexcept nogil:
        cdef Py_ssize_t k
        if not self.coded:
            for k in range(self.target_width):
                y[k] = self.y_data[i * self.y_step + k]
        elif self.own_class >= 0:
            y[0] = self.positive_code if self.y_data[i] == self.own_class else self.negative_code
        elif self.target_width == 1:
            y[0] = self.y_data[i]
        else:
            for k in range(self.n_outputs):
                y[k] = self.negative_code
            y[<Py_ssize_t> self.y_data[i]] = self.positive_code

    # -- blocks of rows --------------------------------------------------------------------

    cdef void gather(self, Py_ssize_t m, const Py_ssize_t* rows, double* y,
                     double* s) noexcept nogil:
        cdef Py_ssize_t p
        cdef const double* y_data = self.y_data
        cdef const double* s_data = self.s_data
        if self.target_width == 1 and self.y_step == 1 and self.own_class < 0:
            for p in range(m):
                y[p] = y_data[rows[p]]
        else:
            for p in range(m):
                self.target(rows[p], y + p * self.target_width)
        for p in range(m):
            s[p] = 1.0 if s_data == NULL else s_data[rows[p]]

    cdef void ask_for_targets(self, Py_ssize_t m, const Py_ssize_t* rows) noexcept nogil:
        cdef Py_ssize_t p
        for p in range(m):
            prefetch(self.y_data + rows[p] * self.y_step, 8 * self.y_step)
        if self.s_data != NULL:
            for p in range(m):
                prefetch(self.s_data + rows[p], 8)

    cdef void margins_of(self, Py_ssize_t m, Py_ssize_t left, const Py_ssize_t* rows,
                         const double* W, double scale, const double* b,
                         double* z) noexcept nogil:
        # tiles of four rows are read at once
        cdef Py_ssize_t ahead = max(4, self.rows.far_ahead)
        self.rows.margins_of(m, rows, rows + ahead if m + ahead <= left else NULL,
                             self.n_outputs, W, z)
        self.finish_margins(m, rows, scale, b, z)

    cdef void finish_margins(self, Py_ssize_t m, const Py_ssize_t* rows, double scale,
                             const double* b, double* z) noexcept nogil:
        cdef Py_ssize_t p, k, K = self.n_outputs
        cdef double first = b[0]
        if K == 1:
            for p in range(m):
                z[p] = scale * z[p] + first
        else:
            for p in range(m):
                for k in range(K):
                    z[p * K + k] = scale * z[p * K + k] + b[k]
        if self.o_data != NULL:
            for p in range(m):
                for k in range(K):
                    z[p * K + k] += self.o_data[rows[p] * K + k]

    cdef void margins_and_gradient(self, Py_ssize_t m, Py_ssize_t left, const Py_ssize_t* rows,
                                   const double* W, double scale, const double* b,
                                   const double* y, const double* s, double mean_weight,
                                   double* z, double* d, double* g) noexcept nogil:
        cdef Py_ssize_t p, i, n, before = 0, start = 0, ahead = self.rows.far_ahead
        cdef const Py_ssize_t* later
        # margins of the block at `start`, while the `before` rows in front of it are added
        while start < m or before > 0:
            n = min(self.rows.block, m - start)
            later = rows + start + (ahead if start + n + ahead <= left else 0)
            if before == 0:
                self.rows.margins_of(n, rows, later, 1, W, z)
            else:
                self.rows.margins_and_gradient(n, rows + start, later, W, z + start,
                                               rows + start - before, d + start - before, g)
                if n < before:
                    i = start - before + n
                    self.rows.add_all(before - n, rows + i, NULL, 1, d + i, g)
            self.finish_margins(n, rows + start, scale, b, z + start)
            self.loss.derivatives(n, 1, y + start * self.target_width, z + start, d + start)
            if self.s_data != NULL or mean_weight != 1.0:
                for p in range(start, start + n):
                    d[p] *= s[p] / mean_weight
            before = n
            start += n

    cdef Py_ssize_t block_room(self) noexcept nogil:
        return LARGEST_BLOCK * (self.n_outputs + self.target_width + 1)

    cdef Py_ssize_t block(self) noexcept nogil:
        # 64 kB of rows at a time, which the second-level cache still holds for the gradient
        cdef Py_ssize_t row = max(self.rows.n_stored // max(self.n_rows, 1), 1)
        return min(LARGEST_BLOCK, max(32, 8192 // row))

    cdef double sweep(self, Py_ssize_t start, Py_ssize_t stop, const double* W, const double* b,
                      double* z, double* g, double* g_b, double* room) noexcept nogil:
        cdef Py_ssize_t i, k, m, ahead, left, K = self.n_outputs
        cdef Py_ssize_t[ROWS_AT_HAND] rows
        cdef double* d = room
        cdef double* y = room + LARGEST_BLOCK * K
        cdef double* s = y + LARGEST_BLOCK * self.target_width
        cdef double total = 0.0
        cdef bint at_once = self.adds_at_once and W != NULL and g != NULL
        cdef Py_ssize_t block = LARGEST_BLOCK if at_once else self.block()
        while start < stop:
            m = min(block, stop - start)
            left = min(ROWS_AT_HAND, stop - start)
            for i in range(left):
                rows[i] = start + i
            self.gather(m, rows, y, s)
            if at_once:
                self.margins_and_gradient(m, left, rows, W, 1.0, b, y, s, 1.0, z, d, g)
            elif W != NULL:
                self.margins_of(m, left, rows, W, 1.0, b, z)
            total += self.loss.values(m, K, y, z, s)
            if g != NULL:
                if not at_once:
                    self.loss.derivatives(m, K, y, z, d)
                    for i in range(m):
                        for k in range(K):
                            d[i * K + k] *= s[i]
                    # (rows whose margins were taken are in the cache)
                    ahead = self.rows.far_ahead if W == NULL else 0
                    self.rows.add_all(m, rows, rows + ahead if 0 < ahead <= left - m else NULL, K,
                                      d, g)
                add_up(m, K, d, g_b)
            z += m * K
            start += m
        return total

    # -- for solvers: arrays in, arrays out ------------------------------------------------

    def fact(self, find):
        """``find(self)``, found once; it must not depend on the penalty, nor be written to."""
        if find not in self.known:
            self.known[find] = find(self)
        return self.known[find]

    def outputs(self):
        """Problems of one output each whose sum this one is; itself where it has no parts.

        They share the data, the targets included.
        """
        if self.n_outputs == 1 or type(self.loss).joint:
            return [self]
        return [self._output(k) for k in range(self.n_outputs)]

    def _output(self, Py_ssize_t k):
        """The problem of output ``k`` alone."""
        o = None if self.offset is None else np.ascontiguousarray(self.offset[:, k])
        cdef Problem one = Problem(
            self.rows, self.y if self.coded else np.empty(self.n_rows), self.loss, self.penalty,
            sample_weight=self.sample_weight, offset=o, fit_intercept=self.fit_intercept,
            n_threads=self.n_threads)
        one.y, one.coded = self.y if self.coded else self.y[:, k], self.coded
        one.own_class, one.y_step = k if self.coded else -1, self.y_step
        one.y_data = self.y_data + (0 if self.coded else k)
        one.positive_code, one.negative_code = self.positive_code, self.negative_code
        one.part_of, one.known = (self, k), self.known.setdefault(k, {})
        return one

    def chunks(self, n_outputs=None):
        """(start, stop) of the chunks into which a pass is cut; depends on the data alone."""
        cdef Py_ssize_t K = self.n_outputs if n_outputs is None else n_outputs
        cdef Py_ssize_t size = max(CHUNK_ENTRIES, 8 * self.n_features * K)
        cdef Py_ssize_t n = min(8, max(1, self.rows.n_stored * K // size))
        return [(self.n_rows * c // n, self.n_rows * (c + 1) // n) for c in range(n)]

    def over_chunks(self, work, n_outputs=None):
        """``work(start, stop)`` of every chunk, in their order, on up to ``n_threads`` threads."""
        return on_threads(work, self.chunks(n_outputs), self.n_threads)

    def evaluate(self, W, b, double[:, ::1] z, gradient=True):
        """One pass: (mean loss, its gradient in W, in b); ``z`` receives the margins.

        The penalty is not included. Without ``gradient`` both gradients are None. Without ``W``
        the margins are taken from ``z``, which saves half of the pass.
        """
        cdef const double[:, ::1] laid_out = None if W is None else self._laid_out(W)

        def work(start, stop):
            return self._sweep_chunk(laid_out, b, z[start:stop], start, stop, gradient)

        parts = self.over_chunks(work)
        self.loss.raise_error()
        total = sum(part[0] for part in parts) / self.total_weight
        if not gradient:
            return total, None, None
        g, g_b = self.added(part[1:] for part in parts)
        if self.n_outputs > 1:
            g = self._laid_out(g)
        g /= self.total_weight
        g_b /= self.total_weight
        return total, g, g_b if self.fit_intercept else np.zeros_like(g_b)

    def added(self, parts):
        """The sum of tuples of arrays that begin with ``zeros``, in the first; others are kept."""
        total, *others = parts
        for part in others:
            for array, more in zip(total, part):
                array += more
            if part[0].size > LARGE:
                self.spare.append(part[0])
        return total

    def zeros(self, shape):
        """Zeros for a sum over rows, laid out like the rows.

        Fresh memory of 9 MB, newsgroups in 20 classes, costs as much as the sum that it receives.
        """
        try:
            array = self.spare.pop()
        except IndexError:
            array = None
        if array is not None and array.shape == shape:
            array.fill(0.0)
            return array
        return aligned_zeros(shape, self.rows.X.itemsize if self._has_whole_lines() else 0)

    def _has_whole_lines(self):
        return self.adds_at_once and self.n_features * self.rows.X.itemsize % 64 == 0

    def _laid_out(self, W):
        """W as ``rows.margins_of`` wants it (and back): turned if dense with many outputs."""
        turned = self.n_outputs > 1 and not self.rows.is_sparse
        return self.placed(np.transpose(W) if turned else W)

    def placed(self, array):
        """A copy whose cache lines suit those of the rows, where all begin alike."""
        if self._has_whole_lines():
            return aligned_like(array, self.rows.X.itemsize)
        return aligned(array)

    def _sweep_chunk(self, const double[:, ::1] W, const double[::1] b, double[:, ::1] z,
                     Py_ssize_t start, Py_ssize_t stop, bint gradient):
        """``sweep`` of one chunk into arrays of its own."""
        turned = self.n_outputs > 1 and not self.rows.is_sparse
        shape = (self.n_features, self.n_outputs)
        # a value is the same to the last bit with a gradient and without: one walk makes both
        gradient |= self.adds_at_once and W is not None
        cdef double[:, ::1] g = self.zeros(
            (shape[::-1] if turned else shape) if gradient else (1, 1))
        cdef double[::1] g_b = np.zeros(self.n_outputs)
        cdef double[::1] room = np.empty(self.block_room())
        cdef double total, none = 0.0
        cdef double* g_data = NULL
        cdef const double* w_data = NULL
        cdef const double* b_data = NULL
        if W is not None:
            w_data, b_data = &W[0, 0] if self.n_features else &none, &b[0]
        if gradient:
            g_data = &g[0, 0] if self.n_features else &none
        with nogil:
            total = self.sweep(start, stop, w_data, b_data, &z[0, 0], g_data, &g_b[0], &room[0])
        return total, np.asarray(g), np.asarray(g_b)

    def objective(self, W, b):
        """F(W, b), the penalty included, by one pass."""
        z = np.empty((self.n_rows, self.n_outputs))
        return self.evaluate(W, b, z, gradient=False)[0] + self.penalty.value_of(W)

    def margins(self, W, b):
        """z = X W + b + o: ndarray of shape (n_rows, n_outputs)."""
        z = self.rows.margins(W, b)
        return z if self.offset is None else z + self.offset

    def line(self, const double[:, ::1] z, const double[:, ::1] slope, double t):
        """Mean loss at the margins ``z + t slope``, and its derivative in t: O(n_rows)."""
        cdef Py_ssize_t i, n, first, K = self.n_outputs
        cdef double[::1] room = np.empty(self.block_room() + LARGEST_BLOCK * K)
        cdef double* d = &room[0]
        cdef double* moved = d + LARGEST_BLOCK * K
        cdef double* y_room = moved + LARGEST_BLOCK * K
        cdef double* ones = y_room + LARGEST_BLOCK * self.target_width
        cdef const double* along = NULL
        cdef const double* y = NULL
        cdef const double* s = ones
        for i in range(LARGEST_BLOCK):
            ones[i] = 1.0
        cdef double total = 0.0, rate = 0.0
        with nogil:
            for first from 0 <= first < self.n_rows by LARGEST_BLOCK:
                n = min(LARGEST_BLOCK, self.n_rows - first)
                along = &slope[first, 0]
                for i in range(n * K):
                    moved[i] = (&z[first, 0])[i] + t * along[i]
                y = self.targets_of(first, n, y_room)
                if self.s_data != NULL:
                    s = self.s_data + first
                total += self.loss.values(n, K, y, moved, s)
                self.loss.derivatives(n, K, y, moved, d)
                rate += weighted_dot(n, K, s, d, along)
        self.loss.raise_error()
        return total / self.total_weight, rate / self.total_weight

    cdef const double* targets_of(self, Py_ssize_t first, Py_ssize_t n, double* room) noexcept nogil:
        """The targets of n rows beside each other: in place, or in ``room`` if they are not so."""
        cdef Py_ssize_t i
        if self.y_step == self.target_width and self.own_class < 0 and (
                not self.coded or self.is_joint):
            return self.y_data + first * self.y_step
        for i in range(n):
            self.target(first + i, room + i * self.target_width)
        return room

    def constant_loss(self, const double[::1] b):
        """Mean loss of the constant model ``b``; no margin is stored: O(1) memory."""
        by_label = self.by_label()
        if by_label is not None and by_label.n_rows < self.n_rows:
            return by_label.constant_loss(b)
        cdef Py_ssize_t i, k, n, first, K = self.n_outputs
        cdef double[::1] room = np.empty(self.block_room())
        cdef double* z = &room[0]
        cdef double* y = z + LARGEST_BLOCK * K
        cdef double* s = y + LARGEST_BLOCK * self.target_width
        cdef Py_ssize_t[256] rows               # LARGEST_BLOCK
        cdef double total = 0.0
        with nogil:
            for first from 0 <= first < self.n_rows by LARGEST_BLOCK:
                n = min(LARGEST_BLOCK, self.n_rows - first)
                for i in range(n):
                    rows[i] = first + i
                    for k in range(K):
                        z[i * K + k] = b[k]
                        if self.o_data != NULL:
                            z[i * K + k] += self.o_data[(first + i) * K + k]
                self.gather(n, rows, y, s)
                total += self.loss.values(n, K, y, z, s)
        self.loss.raise_error()
        return total / self.total_weight

    def by_label(self):
        """One row per label, which weighs what its rows weigh, without columns.

        None where the targets are no labels, or rows have offsets: then rows of a label differ.
        """
        if not self.is_counted:
            self.labels_alone, self.is_counted = self._count_labels(), True
        return self.labels_alone

    def _count_labels(self):
        y, s = self.y.ravel(), self.sample_weight
        if self.offset is not None or not self.coded and self.target_width > 1:
            return None
        if self.coded:
            weights = np.bincount(y.astype(np.intp), s, max(self.n_outputs, self.own_class + 1))
        if self.coded and self.n_outputs > 1:
            labels = np.arange(self.n_outputs, dtype=np.float64)
        else:
            share = (weights[self.own_class] if self.coded
                     else weight_of(y, s, self.positive_code, self.negative_code))
            if share is None:
                return None
            labels = np.array([self.negative_code, self.positive_code])
            weights = np.array([self.total_weight - share, share])
        kept = weights > 0.0
        return Problem(np.empty((np.count_nonzero(kept), 0)), labels[kept], self.loss,
                       PENALTIES[None](), sample_weight=weights[kept], n_outputs=self.n_outputs)

    def mean_curvature(self, const double[:, ::1] z):
        """Weighted mean second derivative of the loss at the margins, one number per output."""
        if self.loss.name == "squared_error":
            return np.ones(self.n_outputs)
        cdef Py_ssize_t i, k, n, first, K = self.n_outputs
        cdef double[::1] room = np.empty(self.block_room())
        cdef double[::1] mean = np.zeros(K)
        cdef double* h = &room[0]
        cdef double* y = h + LARGEST_BLOCK * K
        with nogil:
            for first from 0 <= first < self.n_rows by LARGEST_BLOCK:
                n = min(LARGEST_BLOCK, self.n_rows - first)
                for i in range(n):
                    self.target(first + i, y + i * self.target_width)
                self.loss.curvatures(n, K, y, &z[first, 0], h)
                for i in range(n):
                    for k in range(K):
                        mean[k] += self.weight(first + i) * h[i * K + k]
        self.loss.raise_error()
        return np.asarray(mean) / self.total_weight

    def curvatures(self, const double[:, ::1] z, const Py_ssize_t[::1] rows=None):
        """Second derivatives of the loss at the margins: ndarray of shape (n_rows, n_outputs).

        With ``rows``, those of these rows, of shape (len(rows), n_outputs).
        """
        cdef Py_ssize_t i, k, n, first, K = self.n_outputs
        cdef Py_ssize_t total = self.n_rows if rows is None else rows.shape[0]
        cdef double[:, ::1] h = np.empty((total, K))
        cdef double[::1] room = np.empty(self.block_room())
        cdef double* y = &room[LARGEST_BLOCK * K]
        with nogil:
            for first from 0 <= first < total by LARGEST_BLOCK:
                n = min(LARGEST_BLOCK, total - first)
                if rows is None:
                    self.loss.curvatures(n, K, self.targets_of(first, n, y), &z[first, 0],
                                         &h[first, 0])
                    continue
                for i in range(n):
                    self.target(rows[first + i], y + i * self.target_width)
                    for k in range(K):
                        room[i * K + k] = z[rows[first + i], k]
                self.loss.curvatures(n, K, y, &room[0], &h[first, 0])
        self.loss.raise_error()
        return np.asarray(h)

    def slopes(self, const double[:, ::1] z):
        """Slopes of the loss at the margins: ndarray of shape (n_rows, n_outputs)."""
        cdef Py_ssize_t i, n, first, K = self.n_outputs
        cdef double[:, ::1] d = np.empty((self.n_rows, K))
        cdef double[::1] room = np.empty(self.block_room())
        with nogil:
            for first from 0 <= first < self.n_rows by LARGEST_BLOCK:
                n = min(LARGEST_BLOCK, self.n_rows - first)
                for i in range(n):
                    self.target(first + i, &room[i * self.target_width])
                self.loss.derivatives(n, K, &room[0], &z[first, 0], &d[first, 0])
        self.loss.raise_error()
        return np.asarray(d)

    def targets(self):
        """The targets of every output: ndarray of shape (n_rows, target width)."""
        cdef Py_ssize_t i
        cdef double[:, ::1] y = np.empty((self.n_rows, self.target_width))
        for i in range(self.n_rows):
            self.target(i, &y[i, 0])
        return np.asarray(y)

    def moments(self):
        """Per column: weighted mean, weighted variance, largest |x|; one pass over X.

        The sums are taken about a pivot (the mean of up to 256 rows; 0 for sparse rows), so that
        large offsets do not cancel all digits of the variance.
        """
        return self.fact(_moments)

    def sparse_moments(self):
        """``moments`` of sparse rows: ndarray of shape (n_features, 3), not to be written to."""
        known, s = self.rows.known, self.sample_weight
        key = "moments", None if s is None else s.tobytes()
        if key in known:
            return known[key]
        sums, *others = self.over_chunks(
            lambda start, stop: self.rows.column_sums(start, stop, s))
        for part in others:
            sums[:, :2] += part[:, :2]
            np.maximum(sums[:, 2], part[:, 2], out=sums[:, 2])
        sums_to_moments(sums, self.total_weight)
        known[key] = sums
        return sums

    def first_pass(self, slopes=None):
        """(moments, G) of dense rows: the gradient that ``slopes`` make, by the same pass.

        Parameters
        ----------
        slopes : ndarray of shape (n_rows, n_outputs), default=None
            Times the weights of the rows. None: G is None.
        """
        # a part of few rows, a few of many
        picked = self.rows.X[::max(1, self.n_rows // min(256, max(16, self.n_rows // 16)))]
        pivot = (picked.mean(axis=0, dtype=np.float64) if self.n_rows
                 else np.zeros(self.n_features))

        def work(start, stop):
            return self._moments_chunk(pivot, start, stop, slopes)

        (sums, G), *others = self.over_chunks(work)
        for part, _ in others:
            sums[:2] += part[:2]
            np.maximum(sums[2], part[2], out=sums[2])
        first, second, largest = sums       # in place: of many columns each copy counts
        sums[:2] /= self.total_weight
        second -= first * first
        np.maximum(second, 0.0, out=second)
        first += pivot
        if slopes is not None:
            G = self._laid_out(sum((part for _, part in others), G)) / self.total_weight
        return (first, second, largest), G

    def _moments_chunk(self, const double[::1] pivot, Py_ssize_t start, Py_ssize_t stop,
                       const double[:, ::1] slopes=None):
        cdef Py_ssize_t i, m, n, block = self.block(), K = self.n_outputs
        cdef Py_ssize_t[256] rows, counted      # LARGEST_BLOCK
        cdef double[256] s
        cdef double[:, ::1] sums = np.zeros((3, max(self.n_features, 1)))
        cdef double[:, ::1] g = aligned_zeros((K, self.n_features) if K > 1 else (self.n_features, K))
        cdef double none = 0.0
        cdef bint adds = slopes is not None and self.n_features > 0
        cdef const double* pivot_data = &pivot[0] if self.n_features else &none
        with nogil:
            while start < stop:
                m, n = min(block, stop - start), 0
                for i in range(m):
                    rows[i] = counted[n] = start + i
                    s[n] = self.weight(start + i)
                    n += s[n] > 0.0
                self.rows.moments(n, counted, s, pivot_data, &sums[0, 0], &sums[1, 0], &sums[2, 0])
                if adds:
                    self.rows.add_all(m, rows, NULL, K, &slopes[start, 0], &g[0, 0])
                start += m
        return np.asarray(sums)[:, :self.n_features], np.asarray(g)

    def _parts(self):
        names = ("y", "loss", "penalty", "sample_weight", "offset", "fit_intercept", "n_outputs",
                 "n_threads")
        return {"X": self.rows, **{name: getattr(self, name) for name in names}}

    def _like(self, **changed):
        """A problem of the same parts but those that are ``changed``."""
        return Problem(**{**self._parts(), **changed})

    def with_penalty(self, Penalty penalty):
        """The same problem with another penalty, to which all is known that is known here."""
        cdef Problem other = self._like(penalty=penalty)
        other.known, other.is_small = self.known, self.is_small
        other.labels_alone, other.is_counted = self.by_label(), True
        return other

    def smoothed(self, loss, centres):
        """The same problem with a ``Smoothed`` loss and these centres, one per target."""
        y = np.stack([self.targets(), centres], axis=2).reshape(self.n_rows, -1)
        return self._like(y=y, loss=loss)

    def on_rows(self, X, penalty):
        """The same targets, weights and loss on other data; not for outputs that have parts."""
        cdef Problem other = self._like(X=X, y=self.targets().ravel(), penalty=penalty)
        other.is_small = self.is_small       # by the data that were given
        return other

    def subset(self, index):
        """The same problem on the rows ``index`` (an array of integers or of booleans)."""
        X, s, o = self.rows.X, self.sample_weight, self.offset
        X = sp.csr_array((X.data, X.indices, X.indptr), shape=X.shape) if self.rows.is_sparse else X
        return self._like(X=X[index], y=self.y[index], sample_weight=None if s is None else s[index],
                          offset=None if o is None else o[index])


def _moments(problem):
    moments = (tuple(np.ascontiguousarray(np.transpose(problem.sparse_moments())))
               if problem.rows.is_sparse else problem.first_pass()[0])
    for one in moments:
        one.flags.writeable = False
    return moments


def _restored(parts, is_small):
    """A problem from its parts: what unpickling calls."""
    cdef Problem problem = Problem(**parts)
    problem.is_small = is_small
    return problem
