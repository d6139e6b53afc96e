"""The exact minimum of a piecewise-linear loss with L2 on small data, by a dual active set.

The dual is a quadratic function of one multiplier per row, each between its bounds. A row is on the
face if its multiplier is free: then its margin is at a kink of the loss. Newton's step on the face
ends at the minimum on it, or at a bound, where a row leaves; at the minimum the row that is
furthest on the wrong side of its kink enters. The dual rises by every step, so that no face comes
twice [1]. The margins of a few free rows determine those of all others: a row that depends on rows
of the face enters only where another one leaves, which is found along the direction that changes no
margin and in which the dual is linear.

With an intercept each row has one more column, c, and the multipliers a given sum: its row of the
system is eliminated.

References
----------
.. [1] J. Nocedal, S. Wright, "Numerical optimization", 2006, section 16.5.
"""

cimport cython
from libc.math cimport INFINITY, fabs, fmax, sqrt
from libc.string cimport memcpy, memmove

import numpy as np
from scipy.sparse import csr_array

from sgdest._core cimport simd
from sgdest._core.kernels cimport F64, DenseLoops, dense_loops

MOST_ENTRIES = 1_000_000  # of X as a dense array
MOST_FREE = 500           # rows on a face, the factor of which has as many rows
# Relative: rounding of margins, what is left of a row that depends on others, how near to a bound
# is at it, rounding of a step.
cdef double ROUNDING = 1e-11, DEPENDENT = 1e-11, AT_BOUND = 1e-10, ROUNDED = 1e-13
cdef int REFINEMENTS = 3
# Steps on faces, and for each row that is free at first: where more are needed, they go in circles.
cdef Py_ssize_t LEAST_STEPS = 200, STEPS_OF_ROW = 3

cdef const DenseLoops* numbers = dense_loops(F64, simd.level)


@cython.final
cdef class DualActiveSet:
    """A problem of one output with L2 and a piecewise-linear loss, as arrays made once.

    Parameters
    ----------
    problem : Problem
    mean : ndarray of shape (n_features,), or None without an intercept
    """

    cdef object problem, mean
    cdef double[:, ::1] X, G, L         # rows; products of those on the face, and their factor
    cdef readonly double[::1] a         # the multipliers
    cdef double[::1] s, v, target, low, high, square, p, one
    cdef double[:, ::1] kinks           # low, high, dead, place of each row
    cdef Py_ssize_t[::1] face
    cdef Py_ssize_t m, n, d, most_steps
    cdef readonly Py_ssize_t steps
    cdef double l2, b, c, left
    cdef bint centred

    def __init__(self, problem, mean):
        self.problem, self.mean, rows = problem, mean, problem.rows
        n, d = rows.n_rows, rows.n_features
        self.n, self.l2, self.centred = n, problem.penalty.l2, mean is not None
        self.d = d + 1 if self.centred else d
        X = np.empty((n, self.d))
        if rows.is_sparse:
            X[:, :d] = csr_array((rows.X.data, rows.X.indices, rows.X.indptr), (n, d)).toarray()
        else:
            X[:, :d] = rows.X
        if self.centred:
            X[:, :d] -= mean
            X[:, d] = self.c = sqrt(np.einsum("ij,ij->", X[:, :d], X[:, :d]) / n) or 1.0
        s = problem.sample_weight
        self.X, self.square = X, np.einsum("ij,ij->i", X, X)
        self.s = (np.ones(n) if s is None else s) / problem.total_weight
        self.kinks = np.array(problem.loss.evaluate_kinks(problem.targets().ravel()))
        if problem.offset is not None:
            np.asarray(self.kinks)[3] -= problem.offset[:, 0]
        most = min(MOST_FREE, n, self.d) + 1      # more depend on each other
        self.G, self.L = np.empty((2, most, most))
        self.p, self.one = np.empty((2, most))
        self.a, self.target, self.low, self.high = np.empty((4, n))
        self.v, self.face = np.empty(self.d), np.empty(most, dtype=np.intp)

    def __reduce__(self):
        return DualActiveSet, (self.problem, self.mean)

    def minimum(self, const double[:, ::1] slopes, double most_steps=INFINITY):
        """(w, b) at the minimum, for centred columns, from about its multipliers.

        None where it is not found in ``most_steps``, exchanges of rows included.
        """
        cdef bint found
        self.a[:] = slopes[:, 0]
        with nogil:
            found = self.minimise(most_steps)
        if not found:
            return None
        w = np.array(self.v)
        return (w[:self.d - 1], self.b + w[self.d - 1] * self.c) if self.centred else (w, 0.0)

    cdef bint minimise(self, double most_steps) noexcept nogil:
        """Whether the multipliers have got to where they belong."""
        cdef Py_ssize_t i, refined = 0
        cdef double side = 0.0
        self.m = self.steps = 0
        self.most_steps = LEAST_STEPS
        for i in range(self.n):
            self.put(i)
            if self.low[i] < self.high[i]:
                self.most_steps += STEPS_OF_ROW
        self.left = most_steps
        self.sum_up()
        for i in range(self.n):
            if self.low[i] < self.a[i] < self.high[i] and not self.enter(i):
                return False
        while self.steps < self.most_steps:
            if not self.reach_minimum_of_face():
                return False
            self.put_on_kinks()
            i = self.worst(&side)
            if i >= 0:
                self.aim(i, side)
                if not self.enter(i):
                    return False
                continue
            self.sum_up()       # without the rounding of many steps
            if self.put_on_kinks() and self.worst(&side) < 0:
                return True
            refined += 1
            if refined > REFINEMENTS:
                return False
        return False

    # -- rows ------------------------------------------------------------------------------

    cdef void put(self, Py_ssize_t i) noexcept nogil:
        """Set a multiplier to its bound, or to 0 where that is a kink of the conjugate, if near."""
        cdef double low = self.kinks[0, i], high = self.kinks[1, i], a = self.a[i]
        cdef double tiny = AT_BOUND * (high - low)
        if a <= low + tiny or a >= high - tiny:
            self.a[i] = low if a <= low + tiny else high
        elif self.kinks[2, i] > 0.0 and fabs(a) <= tiny:
            self.a[i] = 0.0
        self.low[i] = self.high[i] = self.a[i]
        if self.s[i] > 0.0 and low < self.a[i] < high and (
                self.a[i] != 0.0 or self.kinks[2, i] == 0.0):
            self.aim(i, 1.0 if self.a[i] > 0.0 else -1.0)

    cdef void aim(self, Py_ssize_t i, double side) noexcept nogil:
        """The piece of the conjugate on this side of the multiplier: its ends, its kink."""
        cdef double dead = self.kinks[2, i]
        self.low[i], self.high[i] = self.kinks[0, i], self.kinks[1, i]
        self.target[i] = self.kinks[3, i]
        if dead > 0.0:
            side = self.a[i] if self.a[i] != 0.0 else side
            if side > 0.0:
                self.low[i] = 0.0
            else:
                self.high[i] = 0.0
            self.target[i] += dead if side > 0.0 else -dead

    cdef void sum_up(self) noexcept nogil:
        """The weights of the multipliers."""
        cdef Py_ssize_t i
        self.v[:] = 0.0
        for i in range(self.n):
            if self.a[i] != 0.0:
                numbers.add(self.d, -self.s[i] * self.a[i] / self.l2, &self.X[i, 0], &self.v[0])

    cdef Py_ssize_t worst(self, double* side) noexcept nogil:
        """The row furthest on the wrong side of its kink, -1 if there is none; where it belongs."""
        cdef Py_ssize_t i, found = -1
        cdef double u, dead, off, most = 0.0, length = sqrt(numbers.dot(self.d, &self.v[0], &self.v[0]))
        for i in range(self.n):
            if self.low[i] < self.high[i] or self.s[i] == 0.0:
                continue
            dead = self.kinks[2, i]
            u = numbers.dot(self.d, &self.X[i, 0], &self.v[0]) + self.b - self.kinks[3, i]
            # beyond which ends of the dead zone a margin like this may be with this multiplier
            off = 0.0
            if self.a[i] < self.kinks[1, i] and u > (dead if self.a[i] >= 0.0 else -dead):
                off = u - (dead if self.a[i] >= 0.0 else -dead)
            elif self.a[i] > self.kinks[0, i] and u < (-dead if self.a[i] <= 0.0 else dead):
                off = u + (dead if self.a[i] <= 0.0 else -dead)
            if fabs(off) > most and fabs(off) > ROUNDING * (
                    sqrt(self.square[i]) * length + fabs(self.b) + fabs(self.kinks[3, i]) + dead):
                most, found, side[0] = fabs(off), i, off
        return found

    # -- the face --------------------------------------------------------------------------

    cdef bint enter(self, Py_ssize_t j) noexcept nogil:
        """Add a row to the face, while others leave on which it depends; False: too many rows."""
        cdef Py_ssize_t k, m
        cdef double left
        while True:
            m = self.m
            if m == self.face.shape[0]:
                return False
            for k in range(m):
                self.G[m, k] = numbers.dot(self.d, &self.X[j, 0], &self.X[self.face[k], 0])
            self.G[m, m] = self.square[j]
            self.face[m] = j
            left = self.factor_row(m, 0)
            if m < self.d and left > DEPENDENT * self.square[j]:
                self.L[m, m] = sqrt(left)
                self.m += 1
                return True
            self.left -= 1.0
            if self.left < 0.0:
                return False
            if not self.exchange(j):
                return True

    cdef double factor_row(self, Py_ssize_t i, Py_ssize_t first) noexcept nogil:
        """Entries ``first`` .. i - 1 of row i of the factor, and the square of entry i."""
        cdef Py_ssize_t k
        for k in range(first, i):
            self.L[i, k] = (self.G[i, k] - numbers.dot(k, &self.L[i, 0], &self.L[k, 0])) / self.L[k, k]
        return self.G[i, i] - numbers.dot(i, &self.L[i, 0], &self.L[i, 0])

    cdef bint exchange(self, Py_ssize_t j) noexcept nogil:
        """Move along what changes no margin until a multiplier meets a bound; whether not that of j.
        """
        cdef Py_ssize_t k, m = self.m, blocked
        cdef double slope = -self.target[j], t = 1e300
        for k in range(m):
            self.p[k] = -self.L[m, k]
        self.solve_back(&self.p[0])
        self.p[m] = 1.0
        for k in range(m):
            slope -= self.p[k] * self.target[self.face[k]]
        if slope < 0.0:
            for k in range(m + 1):
                self.p[k] = -self.p[k]
        self.m += 1
        blocked = self.go(&t)
        self.m -= 1
        if blocked == m:
            return False
        self.leave(blocked)
        return True

    cdef Py_ssize_t go(self, double* t) noexcept nogil:
        """t times the direction p, or to the first bound; the place that meets it on the face, or -1.
        """
        cdef Py_ssize_t k, i, blocked = -1
        cdef double step, room, before
        for k in range(self.m):
            i = self.face[k]
            step = self.p[k] / self.s[i]
            room = (self.high[i] if step > 0.0 else self.low[i]) - self.a[i]
            # a multiplier at its bound shall not be held up by the rounding of a step
            if fabs(room) < t[0] * fabs(step) - ROUNDED * (self.high[i] - self.low[i]):
                t[0] = room / step
                blocked = k
        for k in range(self.m):
            i = self.face[k]
            before = self.a[i]
            if k == blocked:
                self.a[i] = self.high[i] if self.p[k] > 0.0 else self.low[i]
            else:
                step = t[0] * self.p[k] / self.s[i]
                self.a[i] = min(max(before + step, self.low[i]), self.high[i])
            step = self.s[i] * (before - self.a[i]) / self.l2
            numbers.add(self.d, step, &self.X[i, 0], &self.v[0])
        if blocked >= 0:
            i = self.face[blocked]
            self.low[i] = self.high[i] = self.a[i]
        return blocked

    cdef void leave(self, Py_ssize_t place) noexcept nogil:
        """Take a row out of the face."""
        cdef Py_ssize_t i, width = self.G.shape[1]
        self.m -= 1
        for i in range(place, self.m):
            self.face[i] = self.face[i + 1]
            memmove(&self.G[i, 0], &self.G[i + 1, 0], width * sizeof(double))
            memmove(&self.G[i, place], &self.G[i, place + 1], (width - place - 1) * sizeof(double))
            memcpy(&self.L[i, 0], &self.L[i + 1, 0], place * sizeof(double))
        for i in range(place, self.m):
            self.L[i, i] = sqrt(fmax(self.factor_row(i, place), 1e-300))

    cdef void solve(self, double* x) noexcept nogil:
        """x = the inverse of the products of the face, times x."""
        cdef Py_ssize_t k
        for k in range(self.m):
            x[k] = (x[k] - numbers.dot(k, &self.L[k, 0], x)) / self.L[k, k]
        self.solve_back(x)

    cdef void solve_back(self, double* x) noexcept nogil:
        cdef Py_ssize_t k
        for k in range(self.m - 1, -1, -1):
            x[k] /= self.L[k, k]
            numbers.add(k, -x[k], &self.L[k, 0], x)

    cdef bint reach_minimum_of_face(self) noexcept nogil:
        """Newton's steps until none is cut off at a bound; False if that takes too many."""
        cdef Py_ssize_t k, blocked = 0
        cdef double t, side = 0.0, sum_p, sum_one, sum_a
        while blocked >= 0:
            self.steps += 1
            self.left -= 1.0
            if self.steps > self.most_steps or self.left < 0.0:
                return False
            if self.m == 0:
                self.b = 0.0
                k = self.place_intercept(&side) if self.centred else -1
                if k < 0:
                    return True
                self.aim(k, side)
                self.enter(k)
            sum_p = sum_one = sum_a = 0.0
            for k in range(self.m):
                self.p[k] = self.distance(self.face[k])
                self.one[k] = 1.0
            self.solve(&self.p[0])
            if self.centred:
                self.solve(&self.one[0])
                for k in range(self.n):
                    sum_a += self.s[k] * self.a[k]
                for k in range(self.m):
                    sum_p += self.p[k]
                    sum_one += self.one[k]
                self.b = -(sum_a / self.l2 + sum_p) / sum_one
                numbers.add(self.m, self.b, &self.one[0], &self.p[0])
            for k in range(self.m):
                self.p[k] *= self.l2
            t = 1.0
            blocked = self.go(&t)
            if blocked >= 0:
                self.leave(blocked)
        return True

    cdef inline double distance(self, Py_ssize_t i) noexcept nogil:
        """From the kink that the row aims at, without the intercept."""
        return numbers.dot(self.d, &self.X[i, 0], &self.v[0]) - self.target[i]

    cdef bint put_on_kinks(self) noexcept nogil:
        """Take rounding out of the weights of the rows of the face; whether it was no more than that.

        With little penalty they are small sums of large terms, which the multipliers cannot mend.
        """
        cdef Py_ssize_t k, i, _
        cdef double before = numbers.dot(self.d, &self.v[0], &self.v[0]), moved = 0.0, size = 0.0
        for _ in range(2):
            for k in range(self.m):
                self.p[k] = self.one[k] = self.distance(self.face[k]) + self.b
            self.solve(&self.p[0])
            for k in range(self.m):
                numbers.add(self.d, -self.p[k], &self.X[self.face[k], 0], &self.v[0])
            moved += fmax(0.0, numbers.dot(self.m, &self.p[0], &self.one[0]))
        for i in range(self.n):
            size += self.s[i] * fabs(self.a[i]) * sqrt(self.square[i])
        size *= ROUNDED / self.l2
        for k in range(self.m):
            i = self.face[k]
            size = fmax(size, ROUNDING * fabs(self.target[i]) / sqrt(self.square[i]))
        return sqrt(moved) <= ROUNDING * sqrt(before) + size

    cdef Py_ssize_t place_intercept(self, double* side) noexcept nogil:
        """Where no row is free: between the kinks, and -1; or the row to bring the sum to zero.

        That is the first whose kink is met if the intercept goes where F falls.
        """
        cdef Py_ssize_t i, lowest = -1, highest = -1
        cdef double sum_a = 0.0, size = 0.0, low = -INFINITY, high = INFINITY, u, a, dead
        for i in range(self.n):
            if self.s[i] == 0.0:
                continue
            a, dead = self.a[i], self.kinks[2, i]
            sum_a += self.s[i] * a
            size += self.s[i] * fabs(a)
            u = self.kinks[3, i] - numbers.dot(self.d, &self.X[i, 0], &self.v[0])
            if a > self.kinks[0, i] and u + (dead if a > 0.0 else -dead) > low:
                low, lowest = u + (dead if a > 0.0 else -dead), i
            if a < self.kinks[1, i] and u + (dead if a >= 0.0 else -dead) < high:
                high, highest = u + (dead if a >= 0.0 else -dead), i
        if fabs(sum_a) > ROUNDING * size:
            side[0] = -sum_a
            self.b = low if sum_a > 0.0 else high
            return lowest if sum_a > 0.0 else highest
        self.b = 0.5 * (low + high) if lowest >= 0 and highest >= 0 else (
            low if lowest >= 0 else high)
        return -1
