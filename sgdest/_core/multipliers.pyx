"""The multipliers of dual ascent and epochs over them; the design is told in ``dual_ascent``."""

cimport cython
from libc.math cimport INFINITY, fabs, fmax, isfinite, sqrt
from libc.stdint cimport int32_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, qsort
from libc.string cimport memcpy

import numpy as np

from sgdest._core.dual import dual_loss

from sgdest._core cimport simd
from sgdest._core.kernels cimport F64, DenseLoops, dense_loops
from sgdest._core.losses cimport Loss
from sgdest._core.problem cimport Problem
from sgdest._core.random cimport ask_for, random_bits
from sgdest._core.rows cimport Rows

# A row that moves less than this share of the mean sits out 1, 3, 7, then 15 epochs.
cdef double LITTLE = 0.1
cdef int MOST_NAPS = 4
# Passes after which kinked losses make a step along what has changed since the last one, if these
# have left more than a share of the gap: where it falls fast, a step costs as much as an epoch.
cdef double STRIDE = 1.0
cdef double SLOW = 0.3
# Longer steps, in changes, circle where many solutions are alike; far longer ones are rounding.
cdef double LONGEST = 10.0
# Where the mean itself falls to less than this share in an epoch, all sleepers are woken.
cdef double FAST = 0.2
# Far from its place a multiplier of log loss moves until a step is this share of all steps: other
# rows move as much meanwhile.
cdef double ROUGHLY = 0.35
# Stored values up to which X is in the cache, where asking for rows ahead only costs.
cdef Py_ssize_t IN_CACHE = 80_000
# Outside of it that many rows are visited one after the other, which is faster by a quarter.
cdef Py_ssize_t RUN = 8
# Stored values whose product with v takes longer than to tell that a row rests.
cdef Py_ssize_t LONG_ROW = 40


def square(v):
    """|v|^2, not by the BLAS, whose threads would spin beside ours."""
    return np.einsum("j,j->", v, v)


cdef void shuffle(Py_ssize_t n, Py_ssize_t* order, Py_ssize_t size, uint64_t* state) noexcept nogil:
    """Fisher-Yates on runs of ``size``, by products in the place of remainders, which take longer."""
    cdef Py_ssize_t i, k, run, other, swap
    ask_for(order, n * sizeof(Py_ssize_t))
    for i in range(n // size - 1, 0, -1):
        run = size * i
        other = size * <Py_ssize_t> (((random_bits(state) >> 32) * <uint64_t> (i + 1)) >> 32)
        for k in range(size):
            swap = order[run + k]
            order[run + k] = order[other + k]
            order[other + k] = swap


cdef void put_changes(Py_ssize_t n, const double* x, const double* mark, double* out) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        out[i] = x[i] - mark[i]


cdef void combine(Py_ssize_t n, double c, const double* x, const double* mark, double s,
                  double* out) noexcept nogil:
    """out = c (x - mark) + s out."""
    cdef Py_ssize_t i
    for i in range(n):
        out[i] = c * (x[i] - mark[i]) + s * out[i]


cdef int by_size(const void* a, const void* b) noexcept nogil:
    cdef uint64_t x = (<const uint64_t*> a)[0], y = (<const uint64_t*> b)[0]
    return (x > y) - (x < y)


# places of what depends on the multipliers, beside v, in an array of such numbers
cdef enum:
    SUM, MEAN, IMBALANCE, INTERCEPT, N_SUMS


cdef const DenseLoops* numbers = dense_loops(F64, simd.level)


@cython.final
cdef class Multipliers:
    """The multipliers of a problem of one output with an L2 penalty, and epochs over them."""

    cdef Problem problem
    cdef Rows rows
    cdef Loss loss
    cdef readonly double l2, b, visited
    cdef readonly double left     # gap that there seems to be
    cdef double seen              # sum of the gaps that the rows had when they were last visited
    cdef double largest_move, imbalance, shortest, mean_move, pull, A, v_mean, mean_mean, last_seen
    cdef readonly bint stood_still     # the last epoch has seen all rows and moved none
    cdef bint curved, logistic, hinged, naps_allowed, kinked, centred, weighted
    cdef public bint goes_far               # makes steps along what passes have changed
    cdef double unit              # what a weight of 1 is of all weights
    cdef double[::1] q, m, a, v, mean, s
    cdef const double[::1] y
    cdef Py_ssize_t[::1] order
    cdef readonly Py_ssize_t n_active, n_rows, epoch_number
    cdef int32_t[::1] wakes, naps
    cdef uint64_t seed
    cdef double last_imbalance
    cdef int same
    # a, v, sums as they were some epochs ago; their change before that, then a step
    cdef double[::1] a_mark, v_mark, mark, a_last, v_last, last
    cdef double marked, left_marked
    cdef bint has_mark, v_is_seen
    # the margins at the last ``take_back``, and at which v they were
    cdef double[::1] z_seen, v_seen
    cdef double[::1] sums_seen

    def __init__(self, Problem problem, mean, double b, double stiffness):
        cdef double bound = type(problem.loss).curvature_bound
        self.problem, self.rows, self.loss = problem, problem.rows, problem.loss
        self.l2 = problem.penalty.l2
        self.b = b
        self.centred = problem.fit_intercept
        self.pull = 1.0 / stiffness if self.centred else 0.0
        n, d = problem.n_rows, problem.n_features
        self.n_rows = n
        self.unit = 1.0 / problem.total_weight
        self.y = (problem.targets() if problem.coded else np.asarray(problem.y)).ravel()
        s = problem.sample_weight
        self.weighted = s is not None
        self.s = s * self.unit if self.weighted else np.empty(0)
        self.q, self.m, self.a = np.zeros(n), np.zeros(n if self.centred else 0), np.zeros(n)
        self.v = np.full(d + 1, 0.0)    # written at once: reading untouched zeros first costs twice
        self.mean = np.zeros(d + 1 if self.centred else 1)
        if self.centred:
            np.asarray(self.mean)[:d] = mean
            self.mean_mean = square(mean)
        self.curved = type(problem.loss).curved
        self.logistic, self.hinged = (problem.loss.name == name for name in ("log_loss", "hinge"))
        self.naps_allowed = type(problem.loss).smoothness == "smooth"
        self.wakes, self.naps = (
            np.zeros(n if self.naps_allowed else 0, dtype=np.int32) for _ in range(2))
        # one step of Newton leaves an error of a tenth of the step where q h is at most 1/8
        self.shortest = 0.125 / bound
        self.largest_move, self.mean_move = INFINITY, 0.0
        self.seen = self.last_seen = 0.0
        self.seed = 1
        self.kinked = not self.naps_allowed
        self.goes_far = self.kinked and n < 2**32       # rows are numbered by 32 bits there
        self.left_marked = INFINITY
        self.a_mark = self.v_mark = self.a_last = self.v_last = self.z_seen = self.v_seen = None
        self.mark, self.last, self.sums_seen = np.zeros((3, N_SUMS))
        with nogil:
            self.measure()
        self.order = np.flatnonzero(s) if self.weighted else np.arange(n)
        self.n_active = self.order.shape[0]

    cdef void measure(self) noexcept nogil:
        """The curvature of the dual along each multiplier."""
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

    cdef inline double margin(self, Py_ssize_t i) noexcept nogil:
        """Of the centred columns, offset included, without intercept."""
        cdef double z = self.rows.dot(i, &self.v[0])
        if self.centred:
            z += self.A * (self.mean_mean - self.m[i]) - self.v_mean
        return z if self.problem.o_data == NULL else z + self.problem.o_data[i]

    # -- an epoch --------------------------------------------------------------------------

    def run(self, Py_ssize_t n_epochs, enough=None):
        """Epochs over the rows that are not put aside; how many.

        At most ``n_epochs``; fewer where the gaps that the rows had when they were visited, and how
        these fall, tell that no more than ``enough()`` may be left.
        """
        cdef Py_ssize_t n
        cdef double fall
        if self.z_seen is not None and not self.v_is_seen:
            self.v_seen, self.v_is_seen = np.array(self.v), True
        for n in range(n_epochs):
            with nogil:
                self.epoch()
            fall = min(1.0, self.seen / self.last_seen)
            # what the first epoch has seen, of rows that started cold, is more than there was
            self.left = self.seen * (sqrt(fall) if self.epoch_number == 2 else fall)
            if n + 1 == n_epochs or enough is not None and self.left <= enough():
                break      # without a far step, after which the primal is worse at first
            if self.goes_far and self.visited - self.marked >= STRIDE * self.n_rows:
                self.look_far()
        return n + 1

    cdef void epoch(self) noexcept nogil:
        cdef Py_ssize_t p = self.n_active, i, n_moved = 0, n_visited = 0
        cdef Py_ssize_t* order = &self.order[0]
        cdef bint asks = self.rows.n_stored > IN_CACHE
        cdef double z, q, change, gap, seen = 0.0, largest = 0.0, total = 0.0
        shuffle(self.n_active, order, RUN if asks else 1, &self.seed)
        self.epoch_number += 1
        while p > 0:
            p -= 1
            i = order[p]
            if self.naps_allowed and self.wakes[i] > self.epoch_number:
                continue
            if asks:
                self.rows.prefetch(order[max(p - 2, 0)], order[max(p - 4, 0)])
            z = self.margin(i) + self.b
            n_visited += 1
            q = self.q[i] + self.share(i) * self.pull
            change = self.change(i, z, q, &gap)
            if change == 0.0:               # and no gap
                if self.rests(i, z, q, self.largest_move):
                    self.n_active -= 1      # in its place comes a row that has been visited
                    order[p] = order[self.n_active]
                    order[self.n_active] = i
                    continue
            else:
                seen += self.share(i) * (gap if self.curved else self.gap(i, z))
                self.move(i, change)
                largest = max(largest, q * fabs(change))
            total += fabs(change)
            n_moved += 1
            if self.naps_allowed:
                self.rest_for_a_while(i, fabs(change), min(self.mean_move, total / n_moved))
        self.visited += n_visited
        self.last_seen = fmax(self.seen, 1e-300) if self.epoch_number > 1 else seen
        self.seen = seen
        self.largest_move = largest
        total = total / n_moved if n_moved else 0.0
        if self.naps_allowed and total < FAST * self.mean_move:  # all rows move less now: none is special
            for i in range(self.n_rows):
                self.wakes[i] = self.naps[i] = 0
        self.mean_move = total
        self.stood_still = largest == 0.0 and n_visited == self.n_rows
        if self.centred:
            self.b -= self.imbalance * self.pull
            if self.kinked:
                self.follow()

    cdef inline void follow(self) noexcept nogil:
        """Loosen the intercept while the sum of the multipliers keeps its sign, else stiffen it."""
        cdef double now = self.imbalance, before = self.last_imbalance
        if now * before < 0.0:
            self.pull *= 0.5
            self.same = 0
        elif fabs(now) > 0.5 * fabs(before):
            self.same += 1
            if self.same >= 2:
                self.pull *= 2.0
                self.same = 0
        self.last_imbalance = now

    cdef inline void move(self, Py_ssize_t i, double change) noexcept nogil:
        """a_i += change, and what depends on it."""
        cdef double moved = self.share(i) * change, step = -moved / self.l2
        self.a[i] += change
        self.rows.add(i, step, &self.v[0])
        if self.centred:
            self.A += step
            self.v_mean += step * self.m[i]
            self.imbalance += moved
            self.b -= moved * self.pull

    cdef inline void rest_for_a_while(self, Py_ssize_t i, double change,
                                      double mean) noexcept nogil:
        if change < LITTLE * mean:
            self.naps[i] = min(self.naps[i] + 1, MOST_NAPS)
            self.wakes[i] = <int32_t> self.epoch_number + (1 << self.naps[i])
        else:
            self.naps[i] = 0

    cdef inline bint rests(self, Py_ssize_t i, double z, double q, double reach) noexcept nogil:
        """Whether a_i would stay where it is at any margin within ``reach`` of z."""
        cdef double u = z + q * self.a[i], y = self.y[i]
        if q <= 0.0 or self.curved or not isfinite(reach):
            return False
        if self.hinged:
            return 1.0 - y * z <= -reach if self.a[i] == 0.0 else (
                self.a[i] == -y and 1.0 - y * z >= reach)
        return (self.loss.dual_step(y, u - reach, q) == self.a[i]
                and self.loss.dual_step(y, u + reach, q) == self.a[i])

    cdef inline double gap(self, Py_ssize_t i, double z) noexcept nogil:
        """By how much value and conjugate exceed z a_i."""
        cdef double y = self.y[i], a = self.a[i], short = 1.0 - y * z
        if self.hinged:
            return (short if short > 0.0 else 0.0) + a * y * short
        return self.loss.value(y, z) + self.loss.conjugate(y, a) - z * a

    cdef inline double change(self, Py_ssize_t i, double z, double q, double* gap) noexcept nogil:
        """How far to the slope at the margin that it causes itself; z is the margin now.

        Where the loss is curved, ``gap`` is roughly that of the row as it is.
        """
        cdef double y = self.y[i], a = self.a[i]
        gap[0] = 0.0
        if self.logistic:
            return self.logistic_change(y, a, z, q, gap)
        if q <= 0.0:
            return self.loss.derivative(y, z) - a
        if self.hinged:      # its dual_step without a call, which would cost as much as a short row
            return -y * min(max((1.0 - y * z) / q - a * y, 0.0), 1.0) - a
        if self.curved:
            return self.curved_change(y, a, z, q, gap)
        return self.loss.dual_step(y, z + q * a, q) - a

    cdef inline double logistic_change(self, double y, double a, double z, double q,
                                       double* gap) noexcept nogil:
        """By Halley's method, one exponential a step: a second would cost as much as a short row.

        A step is a mean of the slope so far and the slope at its margin, so that it stays within
        the domain of the conjugate; Halley's correction ``bend`` must leave it so.
        """
        cdef double v = z, p = self.loss.derivative(y, v) + y, h = p * (1.0 - p), r = a + y
        cdef double stiff = 1.0 + q * h, off = p - r, total = 0.0, change, bend
        # of the parabola, which at the ends is far above what no gap exceeds
        gap[0] = min(0.5 * off * off / max(max(h, r * (1.0 - r)), 1e-300), 0.7 + 2.0 * fabs(z))
        for _ in range(6):
            off = p - r
            bend = 0.5 * q * q * h * (1.0 - 2.0 * p) * off        # times stiff, as all of this line
            if (q * fabs(off) <= stiff and fabs(bend) <= 0.3 * stiff * stiff
                    and bend <= q * h * stiff):
                return total + off * stiff / (stiff * stiff - bend)
            change = off / stiff
            r += change
            total += change
            v -= q * change
            if fabs(change) <= ROUGHLY * fabs(total) and total != change:
                return total
            p = self.loss.derivative(y, v) + y
            h = p * (1.0 - p)
            stiff = 1.0 + q * h
        return self.loss.dual_step(y, z + q * a, q) - a

    cdef double curved_change(self, double y, double a, double z, double q,
                              double* gap) noexcept nogil:
        """A few steps of Newton, each such a mean."""
        cdef double v = z, now = a, u = z + q * a, slope, h, change, before = INFINITY
        for _ in range(6):
            slope, h = self.loss.derivative(y, v), self.loss.curvature(y, v)
            change = (slope - now) / (1.0 + q * h)
            if v == z and now == a:
                gap[0] = 0.5 * (slope - a) * (slope - a) / fmax(h, 1e-300)
            if not fabs(change) <= 0.5 * before:
                break
            now += change
            if q <= self.shortest or fabs(change) <= 0.1 * fabs(now - a):
                return now - a
            before = fabs(change)
            v = u - q * now
        return self.loss.dual_step(y, u, q) - a

    # -- a step in the plane of two changes --------------------------------------------------

    cdef look_far(self):
        """After ``STRIDE`` passes, where they were slow, a step in the plane of two changes."""
        cdef bint is_slow = self.left > SLOW * self.left_marked
        if is_slow:
            if self.a_mark is None:      # memory that many fits do without
                self.a_mark, self.a_last = np.zeros((2, self.n_rows))
                self.v_mark, self.v_last = np.zeros((2, self.v.shape[0]))
            with nogil:
                if self.has_mark:
                    self.step_far()
                self.keep()
        self.has_mark, self.marked, self.left_marked = is_slow, self.visited, self.left

    cdef void keep(self) noexcept nogil:
        """What has changed since the mark, a step included, is the last change; the mark is here."""
        cdef Py_ssize_t d = self.v.shape[0] - 1
        if self.has_mark:
            put_changes(self.n_rows, &self.a[0], &self.a_mark[0], &self.a_last[0])
            put_changes(d, &self.v[0], &self.v_mark[0], &self.v_last[0])
            self.put_sums(&self.last[0])
        else:
            self.a_last[:] = 0.0
            self.v_last[:] = 0.0
            self.last[:] = 0.0
        memcpy(&self.a_mark[0], &self.a[0], self.n_rows * sizeof(double))
        memcpy(&self.v_mark[0], &self.v[0], d * sizeof(double))
        self.mark[SUM], self.mark[MEAN] = self.A, self.v_mean
        self.mark[IMBALANCE] = self.imbalance

    cdef void put_sums(self, double* changes) noexcept nogil:
        changes[SUM], changes[MEAN] = self.A - self.mark[SUM], self.v_mean - self.mark[MEAN]
        changes[IMBALANCE] = self.imbalance - self.mark[IMBALANCE]

    cdef void step_far(self) noexcept nogil:
        """To the highest dual in the plane of the change since the mark and the one before.

        This one takes the part of the last direction of conjugate gradients.
        """
        cdef Py_ssize_t i, n, first, d = self.v.shape[0] - 1
        cdef double[256] room
        cdef double[N_SUMS] sums, now
        cdef double* last
        cdef double cc = 0.0, cs = 0.0, ss = 0.0, cv = 0.0, sv = 0.0, c_rise = 0.0, s_rise = 0.0
        cdef double c = 0.0, s = 0.0, slope, area
        now[SUM], now[MEAN], now[IMBALANCE] = self.A, self.v_mean, 0.0
        self.put_sums(sums)
        for first from 0 <= first < d by 256:      # in the innermost cache: v may be long
            n, last = min(256, d - first), &self.v_last[first]
            put_changes(n, &self.v[first], &self.v_mark[first], room)
            cc += numbers.dot(n, room, room)
            cs += numbers.dot(n, room, last)
            cv += numbers.dot(n, room, &self.v[first])
            ss += numbers.dot(n, last, last)
            sv += numbers.dot(n, last, &self.v[first])
        cc = self.curvature(cc, sums, sums)
        cs = self.curvature(cs, sums, &self.last[0])
        ss = self.curvature(ss, &self.last[0], &self.last[0])
        for i in range(self.n_rows):
            if self.a[i] != self.a_mark[i] or self.a_last[i] != 0.0:
                slope = 0.0 if self.problem.o_data == NULL else self.problem.o_data[i]
                slope = self.share(i) * (slope - self.kink(i))
                c_rise += slope * (self.a[i] - self.a_mark[i])
                s_rise += slope * self.a_last[i]
        c_rise += sums[IMBALANCE] * self.b - self.curvature(cv, sums, now)
        s_rise += self.last[IMBALANCE] * self.b - self.curvature(sv, &self.last[0], now)
        area = cc * ss - cs * cs
        if area > 1e-12 * cc * ss:
            c, s = (c_rise * ss - s_rise * cs) / area, (s_rise * cc - c_rise * cs) / area
        elif cc > 0.0:
            c = c_rise / cc
        if fabs(c) + fabs(s) > LONGEST:
            return
        combine(self.n_rows, c, &self.a[0], &self.a_mark[0], s, &self.a_last[0])
        combine(d, c, &self.v[0], &self.v_mark[0], s, &self.v_last[0])
        for i in range(INTERCEPT):
            self.last[i] = c * sums[i] + s * self.last[i]
        self.climb(c * c_rise + s * s_rise, c * c * cc + 2.0 * c * s * cs + s * s * ss)

    cdef inline double curvature(self, double product, const double* s, const double* t) noexcept nogil:
        """Of the dual between two changes of sums s and t, whose v have this product."""
        if self.centred:
            product += s[SUM] * (t[SUM] * self.mean_mean - t[MEAN]) - s[MEAN] * t[SUM]
        return self.l2 * product + self.pull * s[IMBALANCE] * t[IMBALANCE]

    cdef inline double kink(self, Py_ssize_t i) noexcept nogil:
        """The margin at which a_i may be anything on this side of zero."""
        cdef double low = 0.0, high = 0.0, dead = 0.0, place
        place = self.loss.kink(self.y[i], &low, &high, &dead)
        return place + (dead if self.a[i] > 0.0 else -dead if self.a[i] < 0.0 else 0.0)

    cdef inline double end(self, Py_ssize_t i) noexcept nogil:
        """Where the step of a_i ends: at a bound, or at 0 where that is a kink of the conjugate."""
        cdef double low = 0.0, high = 0.0, dead = 0.0
        self.loss.kink(self.y[i], &low, &high, &dead)
        if dead > 0.0 and self.a_last[i] * self.a[i] <= 0.0:
            return 0.0
        return high if self.a_last[i] > 0.0 else low

    cdef inline double stop(self, Py_ssize_t i) noexcept nogil:
        """The share of the step after which a_i comes to its end; infinite for one that stands."""
        if self.a_last[i] == 0.0:
            return INFINITY
        return fmax((self.end(i) - self.a[i]) / self.a_last[i], 0.0)

    cdef uint64_t* find_stops(self, Py_ssize_t* n_stops) noexcept nogil:
        """Rows that stop before the step ends, sorted; to be freed. NULL where memory is out.

        The upper half of a number is a stop as a float, whose bits are in order, the lower its row.
        """
        cdef Py_ssize_t i, n = 0
        cdef uint32_t bits
        cdef float t
        cdef uint64_t* stops
        for i in range(self.n_rows):
            n += self.stop(i) < 1.0
        stops = <uint64_t*> malloc((n + 1) * sizeof(uint64_t))
        if stops == NULL:
            return NULL
        n = 0
        for i in range(self.n_rows):
            if self.stop(i) < 1.0:
                t = <float> self.stop(i)
                memcpy(&bits, &t, sizeof(float))
                stops[n] = (<uint64_t> bits << 32) | <uint64_t> i
                n += 1
        qsort(stops, n, sizeof(uint64_t), by_size)
        n_stops[0] = n
        return stops

    cdef void climb(self, double rise, double curvature) noexcept nogil:
        """Along the step while the dual rises; a multiplier that comes to its end stays there."""
        cdef Py_ssize_t k, i, n = 0
        cdef double t = 0.0, before, end
        cdef uint64_t* stops = self.find_stops(&n)
        if stops == NULL:
            return
        for k in range(n):
            i = <uint32_t> stops[k]
            before, t = t, self.stop(i)
            if rise <= curvature * (t - before):
                t = before
                break
            rise -= curvature * (t - before)
            end = self.end(i)
            self.take_out(i, t, &rise, &curvature)
            self.a[i] = end
        free(stops)
        if rise > 0.0 and curvature > 0.0:
            t = min(1.0, t + rise / curvature)
        for i in range(self.n_rows):
            self.a[i] += t * self.a_last[i]
        numbers.add(self.v.shape[0] - 1, t, &self.v_last[0], &self.v[0])
        self.A += t * self.last[SUM]
        self.v_mean += t * self.last[MEAN]
        self.imbalance += t * self.last[IMBALANCE]
        self.b -= t * self.last[IMBALANCE] * self.pull
        for k in range(self.n_active, self.order.shape[0]):
            i = self.order[k]
            if t * self.a_last[i] != 0.0:      # no longer at rest
                self.order[k] = self.order[self.n_active]
                self.order[self.n_active] = i
                self.n_active += 1

    cdef void take_out(self, Py_ssize_t i, double t, double* rise, double* curvature) noexcept nogil:
        """Take a row out of the step after the share t, which it has gone."""
        cdef double change = self.a_last[i], s = self.share(i) * change, along
        along = self.rows.dot(i, &self.v_last[0]) - self.pull * self.last[IMBALANCE]
        if self.centred:
            along += self.last[SUM] * (self.mean_mean - self.m[i]) - self.last[MEAN]
        rise[0] -= s * (self.margin(i) + self.b + t * along - self.kink(i))
        curvature[0] += s * (2.0 * along + change * (self.q[i] + self.share(i) * self.pull))
        self.move(i, t * change)
        self.rows.add(i, s / self.l2, &self.v_last[0])
        if self.centred:
            self.last[SUM] += s / self.l2
            self.last[MEAN] += s / self.l2 * self.m[i]
            self.last[IMBALANCE] -= s
        self.a_last[i] = 0.0
        self.visited += 2.0

    # -- a check ---------------------------------------------------------------------------

    def weights(self, w):
        """Fills ``w``, of shape (n_features,), with the weights."""
        w[:] = np.asarray(self.v)[:len(w)]
        if self.centred:
            w -= self.A * np.asarray(self.mean)[:len(w)]

    def slopes(self):
        """The multipliers: ndarray of shape (n_rows, 1)."""
        return np.array(self.a)[:, None]

    def n_free(self):
        """How many multipliers of a piecewise-linear loss are not at a bound."""
        cdef Py_ssize_t i, n = 0
        cdef double low = 0.0, high = 0.0, dead = 0.0
        for i in range(self.n_rows):
            self.loss.kink(self.y[i], &low, &high, &dead)
            n += low < self.a[i] < high and (self.a[i] != 0.0 or dead == 0.0)
        return n

    def margins(self, double[::1] z):
        """Fills z with the margins of the centred columns, offsets included, without intercept."""
        cdef Py_ssize_t i
        with nogil:
            for i in range(self.n_rows):
                z[i] = self.margin(i)

    def mean_loss(self, const double[::1] z):
        """At the margins z."""
        cdef Py_ssize_t first, n
        cdef double[256] ones
        cdef const double* s = &ones[0]
        cdef double total = 0.0
        for n in range(256):
            ones[n] = self.unit
        with nogil:
            for first from 0 <= first < self.n_rows by 256:
                n = min(256, self.n_rows - first)
                if self.weighted:
                    s = &self.s[first]
                total += self.loss.values(n, 1, &self.y[first], &z[first], s)
        return total

    def take_back(self, double[::1] z):
        """Visit again the rows put aside that would move at the margins z, without intercept."""
        cdef Py_ssize_t p
        with nogil:
            for p in range(self.n_active, self.order.shape[0]):
                self.take_back_at(p, z[self.order[p]] + self.b, 0.0)
        if self.kinked and self.rows.n_stored > LONG_ROW * self.n_rows:
            self.z_seen, self.v_is_seen = np.asarray(z) + self.b, False    # until v changes
            self.sums_seen[SUM], self.sums_seen[MEAN] = self.A, self.v_mean
            self.sums_seen[INTERCEPT] = self.b

    cdef inline void take_back_at(self, Py_ssize_t p, double z, double reach) noexcept nogil:
        cdef Py_ssize_t i = self.order[p]
        if not self.rests(i, z, self.q[i] + self.share(i) * self.pull, reach):
            self.order[p] = self.order[self.n_active]
            self.order[self.n_active] = i
            self.n_active += 1

    def few_are_active(self):
        """Whether ``glance`` is worth a try: kinked losses, long rows, most of them put aside."""
        return self.z_seen is not None and 3 * self.n_active < self.n_rows

    def glance(self):
        """The gap at the intercept as it is, without the margins of all rows.

        A margin has changed by at most |x_i - mean| times the change of w since ``take_back``. Rows
        put aside that rest whatever it is have no gap; the others are taken back.
        """
        cdef Py_ssize_t p, i, d = self.v.shape[0] - 1
        cdef double dA = self.A - self.sums_seen[SUM], dm = self.v_mean - self.sums_seen[MEAN]
        cdef double db = fabs(self.b - self.sums_seen[INTERCEPT]), change, moved = 0.0, gap = 0.0, z
        with nogil:
            for p in range(d):
                change = self.v[p] - self.v_seen[p]
                moved += change * change
            if self.centred:
                moved = fmax(0.0, moved + dA * (dA * self.mean_mean - 2.0 * dm))
            moved = sqrt(moved) * (1.0 + 1e-9)
            for p in range(self.n_active, self.order.shape[0]):
                i = self.order[p]
                self.take_back_at(p, self.z_seen[i],
                                  moved * sqrt(self.q[i] * self.l2 / self.share(i)) + db)
            for p in range(self.n_active):
                i = self.order[p]
                z = self.margin(i) + self.b
                gap += self.share(i) * self.gap(i, z)
        return gap

    def dual_objective(self, double b):
        """The dual at an intercept held fixed: a lower bound of F where there is none."""
        cdef Py_ssize_t d = self.v.shape[0] - 1
        cdef double norm = numbers.dot(d, &self.v[0], &self.v[0])
        if self.centred:
            norm += self.A * (self.A * self.mean_mean - 2.0 * self.v_mean)
        return self.dual_loss(b) - 0.5 * self.l2 * norm

    def dual_loss(self, double b, double down=1.0, double up=1.0, double by=0.0):
        """sum_i s_i (a_i (o_i + b) - conjugate(a_i)), multipliers scaled or moved.

        Negative ones count ``down`` times, positive ones ``up`` times; all are moved by ``by``.
        """
        a = np.asarray(self.a)
        if down != 1.0 or up != 1.0:
            a = np.where(a < 0.0, down, up) * a
        return dual_loss(self.problem, a + by if by else a, b)

    cdef double sum_of_multipliers(self) noexcept nogil:
        cdef Py_ssize_t i
        cdef double total = 0.0
        for i in range(self.n_rows):
            total += self.share(i) * self.a[i]
        return total

    def certified(self, w):
        """A lower bound of F: the dual at multipliers made feasible for an intercept.

        They are moved by a constant, which leaves w as it is, if that keeps them in the domain;
        else those of the sign that prevails are scaled, and w is summed anew.
        """
        cdef Py_ssize_t i
        cdef double up = 0.0, down = 0.0, a
        cdef double[::1] v
        if not self.centred:
            return self.dual_loss(0.0) - 0.5 * self.l2 * square(w)
        self.imbalance = self.sum_of_multipliers()
        moved = self.dual_loss(0.0, by=-self.imbalance) - 0.5 * self.l2 * square(w)
        if np.isfinite(moved):
            return moved
        for i in range(self.n_rows):
            a = self.share(i) * self.a[i]
            up += fmax(a, 0.0)
            down += fmax(-a, 0.0)
        least = min(up, down)
        down, up = (least / part if part > 0.0 else 1.0 for part in (down, up))
        v = np.zeros(self.problem.n_features + 1)
        with nogil:
            for i in range(self.n_rows):
                a = (down if self.a[i] < 0.0 else up) * self.a[i]
                if a != 0.0:
                    self.rows.add(i, -self.share(i) * a / self.l2, &v[0])
        return self.dual_loss(0.0, down, up) - 0.5 * self.l2 * square(v)

    def start_from(self, const double[:, ::1] slopes):
        """Set the multipliers, and w by one pass."""
        cdef Py_ssize_t i
        cdef double b = self.b
        with nogil:
            for i in range(self.n_rows):
                if self.share(i) > 0.0 and slopes[i, 0] != 0.0:
                    self.move(i, slopes[i, 0] - self.a[i])
        self.b = b
