"""The multipliers of dual ascent for a softmax: a slope for each class in every row.

The design is told in ``joint_ascent``.
"""

cimport cython
from libc.math cimport exp, fabs, fmax, log, sqrt
from libc.stdint cimport int32_t, uint64_t

import numpy as np

from sgdest._core cimport simd
from sgdest._core.kernels cimport F64, DenseLoops, dense_loops
from sgdest._core.losses cimport Loss
from sgdest._core.problem cimport Problem
from sgdest._core.random cimport shuffle
from sgdest._core.rows cimport Rows
from sgdest._core.scalars cimport entropy

# A row that moves less than this share of the mean sits out 1, 3, 7, then 15 epochs; less than all of
# the mean, if the gap does not fall at all: what a row has missed then is no more than what it had to
# move (newsgroups20, C=100, to 1e-6: 760 ms, and 1,900 without; C=1: as long, and longer if always so).
cdef double LITTLE = 0.1
cdef int MOST_NAPS = 4
# Where the mean itself falls to less than this share in an epoch, all sleepers are woken.
cdef double FAST = 0.2
# A step of Newton's method is the last one of a visit where it moves no margin by more than this. Where
# so many steps do not get there, its equations are solved to all digits: with little penalty they are
# nearly linear in pieces, between which steps go to and fro.
cdef double NEAR = 0.5
cdef int MOST_STEPS = 4

cdef const DenseLoops* numbers = dense_loops(F64, simd.level)


@cython.final
cdef class JointMultipliers:
    """The multipliers of a softmax with an L2 penalty, and epochs over them.

    Parameters
    ----------
    mean : ndarray of shape (n_features,)
        Of the columns; not read without an intercept.
    b : ndarray of shape (n_outputs,)
    stiffness : float
        Of the intercepts.
    """

    cdef Problem problem
    cdef Rows rows
    cdef Loss loss
    cdef Py_ssize_t n_rows, K, epoch_number
    cdef readonly double l2, visited
    cdef readonly double left     # gap that there seems to be
    cdef double seen, last_seen   # sums of ``gaps``: those that rows had when they were visited
    cdef double fall, mean_move, least_pull, mean_mean, unit
    cdef bint centred, weighted
    cdef double[::1] q, m, mean, s, gaps, b_now, A, v_mean, room
    cdef double[::1] pull, imbalance, last_imbalance
    cdef int32_t[::1] same
    cdef double[:, ::1] a, V
    cdef const double[::1] y
    cdef Py_ssize_t[::1] order, columns
    cdef int32_t[::1] wakes, naps
    cdef uint64_t seed

    def __init__(self, Problem problem, mean, b, double stiffness):
        cdef Py_ssize_t n = problem.n_rows, d = problem.n_features, K = problem.n_outputs
        self.problem, self.rows, self.loss = problem, problem.rows, problem.loss
        self.n_rows, self.K, self.l2 = n, K, problem.penalty.l2
        self.centred = problem.fit_intercept
        self.least_pull = 1.0 / stiffness if self.centred else 0.0
        self.pull, self.same = np.full(K, self.least_pull), np.zeros(K, dtype=np.int32)
        self.unit = 1.0 / problem.total_weight
        self.y = problem.y
        s = problem.sample_weight
        self.weighted = s is not None
        self.s = s * self.unit if self.weighted else np.empty(0)
        self.q, self.gaps = np.zeros((2, n))
        self.m = np.zeros(n if self.centred else 0)
        # written at once: reading untouched zeros first costs twice
        self.a, self.V = np.full((n, K), 0.0), np.full((d + 1, K), 0.0)
        self.A, self.v_mean, self.imbalance, self.last_imbalance = np.zeros((4, K))
        self.b_now, self.room = np.array(b, dtype=float), np.empty(6 * K)
        self.mean = np.zeros(d + 1 if self.centred else 1)
        if self.centred:
            np.asarray(self.mean)[:d] = mean
            self.mean_mean = np.einsum("j,j->", mean, mean)
        self.wakes, self.naps = np.zeros((2, n), dtype=np.int32)
        self.columns = np.empty(self.rows.largest_count() + 1, dtype=np.intp)
        self.seed = 1
        with nogil:
            self.measure()
        self.order = np.flatnonzero(s) if self.weighted else np.arange(n)

    cdef void measure(self) noexcept nogil:
        """The curvature of the dual along the multipliers of each row."""
        cdef Py_ssize_t i
        cdef double square
        for i in range(self.n_rows):
            square = self.rows.square_norm(i)
            if self.centred:
                self.m[i] = self.rows.dot(i, &self.mean[0])
                square = fmax(0.0, square - 2.0 * self.m[i] + self.mean_mean)
            self.q[i] = self.share(i) * square / self.l2

    cdef inline double share(self, Py_ssize_t i) noexcept nogil:
        """The weight of row i of all weights."""
        return self.s[i] if self.weighted else self.unit

    cdef inline void margins_of(self, Py_ssize_t i, double* z) noexcept nogil:
        """Of the centred columns, offsets included, without intercepts."""
        cdef Py_ssize_t k
        cdef double far
        self.rows.dots(i, self.K, &self.V[0, 0], z)
        if self.centred:
            far = self.mean_mean - self.m[i]
            for k in range(self.K):
                z[k] += self.A[k] * far - self.v_mean[k]
        if self.problem.o_data != NULL:
            for k in range(self.K):
                z[k] += self.problem.o_data[i * self.K + k]

    # -- an epoch --------------------------------------------------------------------------

    def run(self, Py_ssize_t n_epochs, enough):
        """Epochs over the rows; how many.

        At most ``n_epochs``; fewer where the gaps that the rows had when they were visited, and how
        these fall, tell that no more than ``enough()`` may be left.
        """
        cdef Py_ssize_t n
        for n in range(n_epochs):
            with nogil:
                self.epoch()
            self.fall = min(1.0, self.seen / self.last_seen) if self.last_seen > 0.0 else 1.0
            # what the first epoch has seen, of rows that started cold, is more than there was
            self.left = self.seen * (sqrt(self.fall) if self.epoch_number == 2 else self.fall)
            if self.left <= enough():
                break
        return n + 1

    cdef void epoch(self) noexcept nogil:
        cdef Py_ssize_t p = self.order.shape[0], i, k, n_visited = 0
        cdef Py_ssize_t* order = &self.order[0]
        cdef double moved, total = 0.0, little = fmax(LITTLE, self.fall)
        shuffle(p, order, &self.seed)
        self.epoch_number += 1
        self.last_seen = self.seen
        while p > 0:
            p -= 1
            i = order[p]
            if self.wakes[i] > self.epoch_number:
                continue
            self.rows.prefetch(order[max(p - 2, 0)], order[max(p - 4, 0)])
            self.ask_for_weights(order[max(p - 1, 0)])
            moved = self.visit(i)
            n_visited += 1
            total += moved
            self.rest_for_a_while(i, moved < little * min(self.mean_move, total / n_visited))
        self.visited += n_visited
        self.seen = 0.0
        for i in range(self.n_rows):
            self.seen += self.gaps[i]
        total = total / n_visited if n_visited else 0.0
        if total < FAST * self.mean_move:     # all rows move less now: none is special
            for i in range(self.n_rows):
                self.wakes[i] = self.naps[i] = 0
        self.mean_move = total
        for k in range(self.K):
            self.b_now[k] -= self.imbalance[k] * self.pull[k]
            self.follow(k)

    cdef inline void follow(self, Py_ssize_t k) noexcept nogil:
        """Loosen an intercept while its multipliers keep the sign of their sum, else stiffen it."""
        cdef double now = self.imbalance[k], before = self.last_imbalance[k]
        self.last_imbalance[k] = now
        if now * before < 0.0:
            self.pull[k] = fmax(0.5 * self.pull[k], self.least_pull)
            self.same[k] = 0
        elif fabs(now) > 0.5 * fabs(before):
            self.same[k] += 1
            if self.same[k] >= 2:
                self.pull[k] *= 2.0
                self.same[k] = 0

    cdef inline void ask_for_weights(self, Py_ssize_t i) noexcept nogil:
        """Those of the columns of row i: 37 -> 31 ms an epoch of newsgroups20, 20 classes."""
        cdef Py_ssize_t p
        if not self.rows.is_sparse or self.wakes[i] > self.epoch_number:
            return
        self.rows.columns(i, &self.columns[0])
        for p in range(self.rows.count(i)):
            simd.prefetch(&self.V[self.columns[p], 0], 8 * self.K)

    cdef inline void rest_for_a_while(self, Py_ssize_t i, bint rests) noexcept nogil:
        if rests:
            self.naps[i] = min(self.naps[i] + 1, MOST_NAPS)
            self.wakes[i] = <int32_t> self.epoch_number + (1 << self.naps[i])
        else:
            self.naps[i] = 0

    cdef double visit(self, Py_ssize_t i) noexcept nogil:
        """Move the multipliers of row i; by how much."""
        cdef Py_ssize_t k
        cdef double* z = &self.room[0]
        cdef double* d = z + self.K
        cdef double* q = d + self.K
        cdef double share = self.share(i), moved = 0.0
        self.margins_of(i, z)
        for k in range(self.K):
            z[k] += self.b_now[k]
            q[k] = self.q[i] + share * self.pull[k]
        self.gaps[i] = share * self.change(i, q, z, d, q + self.K)
        for k in range(self.K):
            moved += fabs(d[k])
        self.move(i, d, z)
        return moved

    cdef inline void move(self, Py_ssize_t i, const double* d, double* step) noexcept nogil:
        """a_i += d, and what depends on it; ``step`` is room."""
        cdef Py_ssize_t k
        cdef double share = self.share(i)
        for k in range(self.K):
            self.a[i, k] += d[k]
            step[k] = -share / self.l2 * d[k]
        self.rows.adds(i, self.K, step, &self.V[0, 0])
        if self.centred:
            for k in range(self.K):
                self.A[k] += step[k]
                self.v_mean[k] += step[k] * self.m[i]
                self.imbalance[k] += share * d[k]
                self.b_now[k] -= share * d[k] * self.pull[k]

    cdef double change(self, Py_ssize_t i, const double* q, double* v, double* d,
                       double* step) noexcept nogil:
        """Fills d with how far to the slopes at the margins that they cause themselves.

        Returns roughly the gap of the row as it is.

        Parameters
        ----------
        q : how much each margin falls with its multiplier
        v : margins as they are; overwritten
        step : room for 3 K numbers
        """
        cdef Py_ssize_t k, K = self.K
        cdef double* p = step + K
        cdef double* off = p + K
        cdef double gap = 0.0, farthest, total
        cdef int turn
        for k in range(K):
            d[k] = 0.0
        for turn in range(MOST_STEPS):
            self.loss.derivatives(1, K, &self.y[i], v, p)
            for k in range(K):
                off[k] = p[k] - self.a[i, k] - d[k]
            p[<Py_ssize_t> self.y[i]] += 1.0
            if turn == 0:
                for k in range(K):
                    total = 2.0 * p[k] - off[k]         # of probability and multiplier
                    gap += off[k] * off[k] / total if total > 0.0 else 0.0
            newton(K, q, p, off, step)
            farthest = 0.0
            for k in range(K):
                d[k] += step[k]
                v[k] -= q[k] * step[k]
                farthest = fmax(farthest, q[k] * fabs(step[k]))
            if farthest <= NEAR:
                return gap
        for k in range(K):
            v[k] += q[k] * (d[k] + self.chance(i, k))
        solve(K, q, v, p)
        for k in range(K):
            d[k] = p[k] - self.chance(i, k)
        return gap

    # -- a check ---------------------------------------------------------------------------

    @property
    def b(self):
        """The intercepts."""
        return np.array(self.b_now)

    def weights(self, W):
        """Fills ``W``, of shape (n_features, n_outputs), with the weights."""
        cdef Py_ssize_t j, k
        cdef double[:, ::1] out = W
        with nogil:
            for j in range(out.shape[0]):
                for k in range(self.K):
                    out[j, k] = self.V[j, k] - (self.A[k] * self.mean[j] if self.centred else 0.0)

    def size(self):
        """l2 |W|^2 / 2."""
        cdef Py_ssize_t k, n = (self.V.shape[0] - 1) * self.K
        cdef double total = numbers.dot(n, &self.V[0, 0], &self.V[0, 0])
        if self.centred:
            for k in range(self.K):
                total += self.A[k] * (self.A[k] * self.mean_mean - 2.0 * self.v_mean[k])
        return 0.5 * self.l2 * total

    def margins(self, double[:, ::1] z):
        """Fills z with the margins of the centred columns, offsets included, without intercepts."""
        cdef Py_ssize_t i
        with nogil:
            for i in range(self.n_rows):
                self.margins_of(i, &z[i, 0])

    def dual_objective(self):
        """The dual at intercepts held fixed: a lower bound of F where there are none."""
        nothing = np.zeros(self.K)
        return (self.changed(None, nothing, nothing)[0] - self.size()
                + np.einsum("k,k->", self.imbalance, self.b_now))

    cdef inline double chance(self, Py_ssize_t i, Py_ssize_t k) noexcept nogil:
        """a_ik as the probability that it is of, whose entropy is the conjugate."""
        return self.a[i, k] + (1.0 if k == <Py_ssize_t> self.y[i] else 0.0)

    def certified(self, const double[:, ::1] z, double objective):
        """A lower bound of F: the dual at multipliers made feasible for intercepts.

        Their sums must vanish. Of classes that have too much each row gives away the same share, and
        what it gives goes to the classes that have too little. How the weights grow by that is known
        up to a square, which the lengths of the rows bound; a pass tells it where that bound is most
        of the gap.

        Parameters
        ----------
        z : ndarray of shape (n_rows, n_outputs), what ``margins`` tells
        objective : float, F at these multipliers
        """
        give, take = np.zeros((2, self.K))
        if self.centred:
            excess, now = self.sums()
            give = np.maximum(excess, 0.0) / np.where(now > 0.0, now, 1.0)
            take = np.maximum(-excess, 0.0)
            take /= max(take.sum(), 1e-300)
        bound, length = self.changed(z, give, take)
        bound -= self.size()
        square = 0.5 * length**2
        if square > 0.5 * (objective - bound):
            U = self.change_of_weights(give, take)
            square = 0.5 / self.l2 * np.einsum("jk,jk->", U, U)
        return bound - square

    cdef sums(self):
        """Weighted sums over the rows: of the multipliers, and of them as probabilities."""
        cdef Py_ssize_t i, k
        cdef double[:, ::1] sums = np.zeros((2, self.K))
        with nogil:
            for i in range(self.n_rows):
                for k in range(self.K):
                    sums[0, k] += self.share(i) * self.a[i, k]
                    sums[1, k] += self.share(i) * self.chance(i, k)
        return np.asarray(sums)

    cdef inline void exchange(self, Py_ssize_t i, const double* give, const double* take,
                              double* change) noexcept nogil:
        """How the multipliers of row i change where classes give away and take."""
        cdef Py_ssize_t k
        cdef double given = 0.0
        for k in range(self.K):
            change[k] = -give[k] * self.chance(i, k)
            given -= change[k]
        for k in range(self.K):
            change[k] += given * take[k]

    cdef changed(self, const double[:, ::1] z, const double[::1] give, const double[::1] take):
        """What multipliers that are exchanged make of the dual, but for the size of W as it was.

        A pair: without the square of the change of W, and a bound of its length times the root of
        l2. ``z`` may be None if nothing is exchanged.
        """
        cdef Py_ssize_t i, k
        cdef double total = 0.0, length = 0.0, row, square, share
        cdef double* change = &self.room[0]
        with nogil:
            for i in range(self.n_rows):
                self.exchange(i, &give[0], &take[0], change)
                share, row, square = self.share(i), 0.0, 0.0
                for k in range(self.K):
                    row -= entropy(self.chance(i, k) + change[k])
                    if z is not None:
                        row += change[k] * z[i, k]
                    square += change[k] * change[k]
                    if self.problem.o_data != NULL:
                        row += self.a[i, k] * self.problem.o_data[i * self.K + k]
                total += share * row
                length += sqrt(share * self.q[i] * square)
        return total, length

    cdef change_of_weights(self, const double[::1] give, const double[::1] take):
        """-l2 times how the weights change where multipliers are exchanged."""
        cdef Py_ssize_t i, k
        cdef double[:, ::1] U = np.full((self.V.shape[0], self.K), 0.0)
        cdef double[::1] total = np.zeros(self.K)
        cdef double* change = &self.room[0]
        with nogil:
            for i in range(self.n_rows):
                self.exchange(i, &give[0], &take[0], change)
                for k in range(self.K):
                    change[k] *= self.share(i)
                    total[k] += change[k]
                self.rows.adds(i, self.K, change, &U[0, 0])
        if not self.centred:
            return np.asarray(U)
        return np.asarray(U) - np.asarray(self.mean)[:, None] * np.asarray(total)

    def start_from(self, const double[:, ::1] slopes):
        """Set the multipliers, and the weights by one pass."""
        cdef Py_ssize_t i, k
        b = self.b
        for i in range(self.n_rows):
            if self.share(i) > 0.0:
                for k in range(self.K):
                    self.room[k] = slopes[i, k] - self.a[i, k]
                self.move(i, &self.room[0], &self.room[self.K])
        np.asarray(self.b_now)[:] = b


cdef inline void newton(Py_ssize_t K, const double* q, const double* p, const double* off,
                        double* step) noexcept nogil:
    """A step of Newton's method for the slopes, which are ``off`` by that much.

    Solves step + (diag(p) - p p') diag(q) step = off by the formula of Sherman and Morrison. What the
    step makes of a probability is a mean of positive numbers: it never leaves the simplex.
    """
    cdef Py_ssize_t k
    cdef double top = 0.0, bottom = 0.0, part
    for k in range(K):
        part = p[k] / (1.0 + q[k] * p[k])
        top += q[k] * off[k] * part
        bottom += part
    part = top / bottom
    for k in range(K):
        step[k] = (off[k] + part * p[k]) / (1.0 + q[k] * p[k])


cdef void solve(Py_ssize_t K, const double* q, const double* u, double* p) noexcept nogil:
    """The probabilities p of the margins u - q p, to all digits; q > 0.

    With x = q p it is x_k + log(x_k) = u_k + log(q_k) - c. The sum of x / q falls in c and is convex:
    Newton's method from the left ends at the c that makes it 1.
    """
    cdef Py_ssize_t k
    cdef double c = u[0] - q[0], total = 0.0, rate, x
    cdef int _
    for k in range(K):
        c = fmax(c, u[k] - q[k])
    for _ in range(60):
        total = rate = 0.0
        for k in range(K):
            x = omega(u[k] + log(q[k]) - c)
            p[k] = x / q[k]
            total += p[k]
            rate += p[k] / (1.0 + x)
        if fabs(total - 1.0) <= 1e-13 or not rate > 0.0:
            break
        c += (total - 1.0) / rate
    for k in range(K):
        p[k] /= total


cdef double omega(double s) noexcept nogil:
    """x with x + log(x) = s: Newton's method, from below after a step since the left side is concave."""
    cdef double x = s if s > 1.0 else exp(s), before
    cdef int _
    for _ in range(30):
        if not x > 0.0:
            break
        before = x
        x *= (1.0 + s - log(x)) / (1.0 + x)
        if fabs(x - before) <= 1e-14 * x:
            break
    return x
