"""When the penalty of a step is applied: at once, later, or by a common factor.

After each step of length ``eta`` every coordinate shrinks for the length ``eta``. ``Eager`` does
just that. On sparse rows that would cost a pass over all features per step; but shrinking is a
flow (shrink(s) then shrink(t) = shrink(s + t)), so ``Lazy`` makes up for what a feature missed
when it is next read, and ``Scaled`` keeps an L2 penalty, alike for all, in one number. All give
the same model to rounding.

The averaged forms keep the sum of all iterates too. On sparse rows the sum over the steps that a
feature missed has a closed form, which a short history of lengths makes exact for L1 as well.
"""

cimport cython
from libc.math cimport exp, fabs, log1p

import numpy as np

from sgdest._core.kernels cimport Lag
from sgdest._core.penalties cimport one_minus_exp

# A lazy average settles at the latest when its history is this long (or n_features, if larger),
# which costs less than one feature per step.
cdef Py_ssize_t SHORTEST_HISTORY = 4096


cdef class Shrinkage:
    """Abstract. See ``shrinkage.pxd`` for what each method promises."""

    def __init__(self, Penalty penalty, double[:, ::1] W):
        self.penalty, self.W = penalty, W
        self.n_features, self.n_outputs = W.shape[0], W.shape[1]
        self.w = &W[0, 0] if W.shape[0] else NULL
        self.scale = 1.0

    cdef double dot(self, Rows rows, Py_ssize_t i, Py_ssize_t later) noexcept nogil:
        return rows.dot_ahead(i, self.w, later)

    cdef void reach(self, Py_ssize_t n, const Py_ssize_t* columns) noexcept nogil:
        return

    cdef void passed(self, double length) noexcept nogil:
        return

    cdef void settle(self) noexcept nogil:
        return

    cdef void start_average(self) noexcept nogil:
        return

    def average_sum(self):
        """Sum of the iterates since ``start_average``, or None."""
        return None

    def mark(self):
        """Copies of ``W`` and of what goes with it, for ``go_back``; no bit is changed."""
        return np.array(self.W), self.scale

    def go_back(self, mark):
        """Return to a mark, unsettled as it was."""
        np.copyto(np.asarray(self.W), mark[0])
        self.scale = mark[1]


@cython.final
cdef class Eager(Shrinkage):
    """Shrinks every coordinate after every step: the plain form, for dense rows."""

    cdef void passed(self, double length) noexcept nogil:
        self.penalty.shrink(self.n_features, self.n_outputs, self.w, length, self.penalty.c)


@cython.final
cdef class Scaled(Shrinkage):
    """Keeps the decay of an L2 penalty with equal factors in ``scale``."""

    def __init__(self, Penalty penalty, double[:, ::1] W):
        super().__init__(penalty, W)
        self.keeps_w = True

    cdef void passed(self, double length) noexcept nogil:
        self.scale *= 1.0 - one_minus_exp(self.penalty.l2 * length)
        if self.scale < 1e-9:  # before W, which grows as the scale falls, loses digits
            self.settle()

    cdef void settle(self) noexcept nogil:
        cdef Py_ssize_t j
        if self.scale != 1.0:
            for j in range(self.n_features * self.n_outputs):
                self.w[j] *= self.scale
            self.scale = 1.0


@cython.final
cdef class Lazy(Shrinkage):
    """Shrinks a feature when it is next read, for the length that it has missed."""

    cdef double length                 # of all steps since the last settling
    cdef double[::1] last              # the length up to which each feature has shrunk
    cdef double[::1] missed, factors   # room for the features of one call, gathered
    cdef double[:, ::1] gathered

    def __init__(self, Penalty penalty, double[:, ::1] W, Py_ssize_t most_columns):
        super().__init__(penalty, W)
        self.by_columns = True
        self.last = np.zeros(self.n_features)
        self.missed, self.factors = np.empty((2, most_columns + 1))
        self.gathered = np.empty((most_columns + 1, self.n_outputs))
        self.reaches = penalty.l2 == 0.0 and penalty.c == NULL

    cdef double dot(self, Rows rows, Py_ssize_t i, Py_ssize_t later) noexcept nogil:
        # in one walk where no weight decays, as in most fits with L1
        cdef Lag lag
        if not self.reaches or not rows.is_sparse or self.length == 0.0:
            return rows.dot_ahead(i, self.w, later)
        lag.last, lag.length = &self.last[0], self.length
        lag.l1, lag.positive = self.penalty.l1, self.penalty.positive
        return rows.shrunk_dot(i, self.w, &lag, later)

    cdef void reach(self, Py_ssize_t n, const Py_ssize_t* columns) noexcept nogil:
        cdef Py_ssize_t p, j, k, K = self.n_outputs
        cdef bint weighted = self.penalty.c != NULL
        if n == 0 or self.length == 0.0:
            return
        for p in range(n):
            j = columns[p]
            self.missed[p] = self.length - self.last[j]
            self.last[j] = self.length
            if weighted:
                self.factors[p] = self.penalty.c[j]
            for k in range(K):
                self.gathered[p, k] = self.w[j * K + k]
        self.penalty.shrink_each(n, K, &self.gathered[0, 0], &self.missed[0],
                                 &self.factors[0] if weighted else NULL)
        for p in range(n):
            j = columns[p]
            for k in range(K):
                self.w[j * K + k] = self.gathered[p, k]

    cdef void passed(self, double length) noexcept nogil:
        self.length += length

    cdef void settle(self) noexcept nogil:
        cdef Py_ssize_t j
        cdef double missed
        for j in range(self.n_features):
            missed = self.length - self.last[j]
            if missed > 0.0:
                self.penalty.shrink_each(
                    1, self.n_outputs, self.w + j * self.n_outputs, &missed,
                    &self.penalty.c[j] if self.penalty.c != NULL else NULL)
            self.last[j] = 0.0
        self.length = 0.0

    def mark(self):
        return super().mark(), self.length, np.array(self.last)

    def go_back(self, mark):
        super().go_back(mark[0])
        self.length = mark[1]
        np.copyto(np.asarray(self.last), mark[2])


@cython.final
cdef class EagerAveraged(Shrinkage):
    """``Eager``, and the sum of the iterates."""

    cdef double[:, ::1] total
    cdef bint averaging

    def __init__(self, Penalty penalty, double[:, ::1] W, total=None):
        super().__init__(penalty, W)
        self.averaging = total is not None
        self.total = np.zeros((W.shape[0], W.shape[1])) if total is None else total

    cdef void passed(self, double length) noexcept nogil:
        cdef Py_ssize_t j, k
        self.penalty.shrink(self.n_features, self.n_outputs, self.w, length, self.penalty.c)
        if self.averaging:
            for j in range(self.n_features):
                for k in range(self.n_outputs):
                    self.total[j, k] += self.W[j, k]

    cdef void start_average(self) noexcept nogil:
        self.averaging = True

    def average_sum(self):
        return np.asarray(self.total)

    def mark(self):
        return super().mark(), self.averaging, np.array(self.total)

    def go_back(self, mark):
        super().go_back(mark[0])
        self.averaging = mark[1]
        np.copyto(np.asarray(self.total), mark[2])


@cython.final
cdef class LazyAveraged(Shrinkage):
    """``Lazy``, and the sum of the iterates, both made up for when a feature is next read."""

    cdef double[:, ::1] total
    cdef bint averaging
    cdef Py_ssize_t now              # steps since the last settling
    cdef Py_ssize_t[::1] seen        # the step up to which each feature is up to date
    # after each of those steps: the length so far, the sums of the lengths and of exp(-l2 length)
    cdef double[::1] length, length_sum, decay_sum

    def __init__(self, Penalty penalty, double[:, ::1] W, total=None):
        super().__init__(penalty, W)
        self.by_columns = True
        self.averaging = total is not None
        self.total = np.zeros((W.shape[0], W.shape[1])) if total is None else total
        self.seen = np.zeros(self.n_features, dtype=np.intp)
        self.length, self.length_sum, self.decay_sum = np.zeros(
            (3, max(SHORTEST_HISTORY, self.n_features) + 1))

    cdef void reach(self, Py_ssize_t n, const Py_ssize_t* columns) noexcept nogil:
        cdef Py_ssize_t p
        for p in range(n):
            self.reach_one(columns[p])

    cdef void reach_one(self, Py_ssize_t j) noexcept nogil:
        cdef Py_ssize_t k, seen = self.seen[j]
        cdef double c = 1.0 if self.penalty.c == NULL else self.penalty.c[j]
        cdef double missed = self.length[self.now] - self.length[seen]
        if seen == self.now:
            return
        for k in range(self.n_outputs):
            if self.averaging:
                self.total[j, k] += self.sum_of_path(self.W[j, k], seen, c)
            self.W[j, k] = self.penalty.shrunk(self.W[j, k], missed, c)
        self.seen[j] = self.now

    cdef double sum_of_path(self, double w, Py_ssize_t seen, double c) noexcept nogil:
        """Sum over the steps ``seen`` + 1 .. ``now`` of ``w`` shrunk up to each of them."""
        cdef double start = self.length[seen], size = fabs(w), l1 = self.penalty.l1 * c
        cdef double l2 = self.penalty.l2 * c * c, total = 0.0
        cdef Py_ssize_t v, last = self.now, n
        if w == 0.0 or (w < 0.0 and self.penalty.positive):
            return 0.0
        if l1 > 0.0:
            last = self.last_before(
                start + (log1p(size * l2 / l1) / l2 if l2 > 0.0 else size / l1), seen)
        n = last - seen
        if l2 == 0.0:
            total = n * size - l1 * (self.length_sum[last] - self.length_sum[seen] - n * start)
        elif c == 1.0:
            total = ((size + l1 / l2) * exp(l2 * start)
                     * (self.decay_sum[last] - self.decay_sum[seen]) - n * l1 / l2)
        else:
            for v in range(seen + 1, last + 1):
                total += fabs(self.penalty.shrunk(w, self.length[v] - start, c))
        return total if w > 0.0 else -total

    cdef Py_ssize_t last_before(self, double limit, Py_ssize_t low) noexcept nogil:
        """The last step, from ``low`` on, at which the length was below ``limit``."""
        cdef Py_ssize_t high = self.now, middle
        if self.length[high] < limit:
            return high
        while high - low > 1:
            middle = (low + high) // 2
            if self.length[middle] < limit:
                low = middle
            else:
                high = middle
        return low

    cdef void passed(self, double length) noexcept nogil:
        cdef Py_ssize_t v = self.now + 1
        self.length[v] = self.length[v - 1] + length
        self.length_sum[v] = self.length_sum[v - 1] + self.length[v]
        self.decay_sum[v] = self.decay_sum[v - 1] + exp(-self.penalty.l2 * self.length[v])
        self.now = v
        # the differences of decay_sum lose digits once the terms have become small
        if v + 1 == self.length.shape[0] or self.penalty.l2 * self.length[v] > 1.0:
            self.settle()

    cdef void settle(self) noexcept nogil:
        cdef Py_ssize_t j
        for j in range(self.n_features):
            self.reach_one(j)
            self.seen[j] = 0
        self.now = 0

    cdef void start_average(self) noexcept nogil:
        self.settle()
        self.averaging = True

    def average_sum(self):
        return np.asarray(self.total)

    def mark(self):
        history = np.array((self.length, self.length_sum, self.decay_sum))[:, :self.now + 1]
        return super().mark(), self.averaging, np.array(self.total), np.array(self.seen), history

    def go_back(self, mark):
        super().go_back(mark[0])
        self.averaging = mark[1]
        np.copyto(np.asarray(self.total), mark[2])
        np.copyto(np.asarray(self.seen), mark[3])
        self.now = mark[4].shape[1] - 1
        for column, past in zip((self.length, self.length_sum, self.decay_sum), mark[4]):
            np.asarray(column)[:self.now + 1] = past


def shrinkage(Penalty penalty, double[:, ::1] W, bint sparse, Py_ssize_t most_columns,
              bint average, total=None):
    """The form of ``Shrinkage`` that suits a penalty and a layout."""
    if average:
        return (LazyAveraged if sparse else EagerAveraged)(penalty, W, total)
    if penalty.l1 == 0.0 and penalty.c == NULL and not penalty.positive:
        return Scaled(penalty, W)
    return Lazy(penalty, W, most_columns) if sparse else Eager(penalty, W)
