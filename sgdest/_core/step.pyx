"""What all step methods share: the walk over permuted rows and the gradient of a batch.

A step method learns from one batch of rows at a time. The gradient of a batch B is

    sum_B s_i g_i / (|B| s_mean),

with ``s_mean`` the mean weight of a row (``Problem.mean_weight``). Speed comes from three things:
rows that the permutation visits next are asked for while the present ones are learned; targets
are gathered, and losses summed, a block at a time; rows of a batch are read once, in tiles that
the cache holds from the margins to the gradient.
"""

from libc.math cimport INFINITY, isfinite
from libc.string cimport memcpy, memset
from cpython.pyport cimport PY_SSIZE_T_MAX
from sgdest._core.method cimport Method
from sgdest._core.problem cimport Problem
from sgdest._core.schedules cimport Schedule
from sgdest._core.team cimport LINE, MOST_PARTS, Team

import numpy as np

from sgdest._core.simd import aligned

# Rows whose targets are gathered at once; of a batch, entries of the rows whose margins are
# computed before their gradient is added (100 or 200 kB: within the second-level cache). Dense rows
# of several outputs come in small tiles, so that waiting for them and adding them up take turns quickly.
cdef enum:
    LARGEST_BLOCK = 256
cdef Py_ssize_t TILE_ENTRIES = 12_500
cdef Py_ssize_t LARGE_TILE_ENTRIES = 25_000
# Dense rows of so many bytes in random order are read and added in turns, shorter ones in one walk:
# 784 float64 330 and 350 ns, 784 float32 230 and 180 (docs/design/0004-rows-ahead.md).
cdef Py_ssize_t LONGEST_WALKED = 4096
# A block of dense rows is cut into parts of at least so many bytes and rows, up to `MOST_PARTS`: to begin
# one on another thread takes a microsecond (docs/design/0015-threads-within-a-batch.md).
cdef Py_ssize_t PART_BYTES = 1 << 13
cdef Py_ssize_t PART_ROWS = 16
# A call of Python code costs what the loss of some hundred rows does: losses are asked for of so many.
cdef Py_ssize_t ROWS_ASIDE = 8 * LARGEST_BLOCK

# On sparse rows, a step of every feature costs less than one of the features of a batch that are
# gathered, brought up to date and scattered, up to this many features per entry of the batch
# (docs/design/0007-sparse-batches.md).
FEATURES_PER_ENTRY = 8


cdef class StepMethod(Method):
    """Abstract: learns from batches of rows. See ``step.pxd`` for what each method promises.

    Parameters
    ----------
    problem, W, b : see ``Method``
    schedule : Schedule
    batch_size : int >= 0
        Rows per step; 0 means all rows of a pass.
    """

    #: whether a step on a single row needs no gradient in between: ``learn_rows``
    learns_rows = False

    def __init__(self, Problem problem, double[:, ::1] W, double[::1] b, Schedule schedule,
                 Py_ssize_t batch_size):
        cdef Py_ssize_t K = problem.n_outputs
        self.schedule, self.batch_size = schedule, batch_size
        self.steps_all = -1
        self.by_rows = batch_size == 1 and self.learns_rows
        super().__init__(problem, W, b)
        self.puts_aside = type(problem.loss).costs_a_call
        room = LARGEST_BLOCK + ROWS_ASIDE if self.puts_aside else LARGEST_BLOCK
        self.s = np.empty(room)
        self.y = np.empty(room * problem.target_width)
        self.z = np.empty(room * K)
        self.d = np.empty(LARGEST_BLOCK * K)
        self.g_b = np.zeros(K)
        self.y_one, self.z_one = np.empty((2, room if self.sums.shape[0] else 0))
        if not self.by_rows:
            self.touched = np.empty(problem.n_features, dtype=np.intp)
            self.stamp = np.full(problem.n_features, -1, dtype=np.intp)

    def bind(self, Problem problem):
        Method.bind(self, problem)
        if problem.rows.is_sparse and self.steps_all < 0:
            # once and for all, so that it does not depend on how a stream is cut
            self.steps_all = problem.n_features <= FEATURES_PER_ENTRY * self.batch_entries()
        self.by_columns = problem.rows.is_sparse and not self.steps_all
        self.columns = np.empty(problem.rows.largest_count() + 1, dtype=np.intp)
        d, K = problem.n_features, problem.n_outputs
        self.in_blocks = not (problem.rows.is_sparse or self.by_rows
                              or type(problem.loss).costs_a_call)
        self.row_bytes = 0 if problem.rows.is_sparse else d * problem.rows.X.itemsize
        self.takes_turns = problem.adds_at_once and self.row_bytes > LONGEST_WALKED
        if not self.by_rows:
            self.turns = K > 1 and not problem.rows.is_sparse
            shape = [K, d] if self.turns else [d, K]
            self.g = (aligned if self.takes_turns else problem.placed)(np.zeros(shape))
            self.turned = aligned(np.empty(shape if self.turns else [0, 0]))
        parts = 1
        if self.in_blocks:
            parts = self.parts_of(min(LARGEST_BLOCK, self.batch_size or problem.n_rows))
            size = (self.g.size + LINE - 1) // LINE * LINE
            self.part_g = problem.placed(np.empty([parts - 1, size]))
            self.part_g_b, self.part_losses = np.zeros([2, parts, K + LINE])
        self.team = Team(min(problem.n_threads, parts))
        self.ahead = problem.rows.ahead
        row = max(problem.rows.n_stored // max(problem.n_rows, 1), 1)
        if self.in_blocks:
            self.tile = max(16, min(32, TILE_ENTRIES // row))
        else:                              # (a loss that costs a call wants many rows, too)
            self.tile = max(32, min(LARGEST_BLOCK, LARGE_TILE_ENTRIES // row))

    def helped(self):
        return self.team.of(self)

    cdef double batch_entries(self):
        """How many stored values the rows of a batch have, on average."""
        cdef double size = self.batch_size or self.problem.n_rows
        return size * self.problem.rows.n_stored / max(self.problem.n_rows, 1)

    cdef void walk(self, const Py_ssize_t* order, Py_ssize_t start,
                   Py_ssize_t stop) noexcept nogil:
        cdef Py_ssize_t m, q, size = self.rows_per_step()
        cdef double weight = self.weight_sum
        while start < stop:
            m = min(LARGEST_BLOCK, stop - start)
            if not self.by_rows:
                m = min(m, size - self.in_batch)
            if not self.in_blocks:
                m = m if self.by_rows else min(m, self.tile)
                self.take_targets(order + start, m, stop - start, 0)
            if self.by_rows:
                self.learn_rows(order + start, m, stop - start)
            else:
                self.add_rows(order + start, m, stop - start)
                if self.in_batch == size and not self.must_stop():
                    self.learn_batch()
                    self.clear_batch()
            if self.must_stop():
                break
            if self.puts_aside:
                self.put_aside(m)
            else:
                self.loss_sum += self.loss_of_parts() if self.in_blocks else self.loss_of_block(0, m)
            if self.problem.s_data == NULL:
                weight += m
            else:
                for q in range(m):
                    weight += self.s[q]
            start += m
        self.weight_sum = weight
        self.sum_aside()

    cdef Py_ssize_t rows_per_step(self) noexcept nogil:
        # a batch of all rows is learned by `finish_pass`
        cdef bint whole = not 0 < self.batch_size < self.problem.n_rows
        return PY_SSIZE_T_MAX if whole else self.batch_size

    def seam(self, Py_ssize_t stop):
        if self.by_rows:
            return stop - stop % LARGEST_BLOCK
        return stop - stop % self.rows_per_step() % (LARGEST_BLOCK if self.in_blocks else self.tile)

    cdef void take_targets(self, const Py_ssize_t* rows, Py_ssize_t m, Py_ssize_t left,
                           Py_ssize_t first) noexcept nogil:
        """Targets and weights of m rows, which become those of the block from ``first`` on."""
        self.problem.gather(m, rows, &self.y[first * self.problem.target_width], &self.s[first])
        self.problem.ask_for_targets(min(m, left - m), rows + m)

    cdef double block_loss(self, Py_ssize_t first, Py_ssize_t m, double* sums) noexcept nogil:
        """The loss of m rows of the block; ``sums``, if not NULL, receives those of each output."""
        cdef Py_ssize_t q, k, K = self.problem.n_outputs
        cdef double part, total = 0.0
        cdef const double* y = &self.y[first * self.problem.target_width]
        cdef const double* z = &self.z[first * K]
        cdef double* y_one
        cdef double* z_one
        if sums == NULL:
            return self.problem.loss.values(m, K, y, z, &self.s[first])
        y_one, z_one = &self.y_one[first], &self.z_one[first]
        for k in range(K):
            for q in range(m):
                y_one[q] = y[q * K + k]
                z_one[q] = z[q * K + k]
            part = self.problem.loss.values(m, 1, y_one, z_one, &self.s[first])
            sums[k] += part
            total += part
        return total

    cdef double loss_of_block(self, Py_ssize_t first, Py_ssize_t m) noexcept nogil:
        return self.block_loss(first, m, &self.sums[0] if self.sums.shape[0] else NULL)

    cdef void put_aside(self, Py_ssize_t m) noexcept nogil:
        """Keep the targets, margins and weights of the m rows of the block: see ``ROWS_ASIDE``."""
        cdef Py_ssize_t K = self.problem.n_outputs, width = self.problem.target_width
        cdef Py_ssize_t first = LARGEST_BLOCK + self.aside
        memcpy(&self.y[first * width], &self.y[0], m * width * sizeof(double))
        memcpy(&self.z[first * K], &self.z[0], m * K * sizeof(double))
        memcpy(&self.s[first], &self.s[0], m * sizeof(double))
        self.aside += m
        if self.aside > ROWS_ASIDE - LARGEST_BLOCK:
            self.sum_aside()

    cdef void sum_aside(self) noexcept nogil:
        """Add the losses of the rows that were put aside."""
        if self.aside > 0:
            self.loss_sum += self.loss_of_block(LARGEST_BLOCK, self.aside)
            self.aside = 0

    cdef bint must_stop(self) noexcept nogil:
        return self.schedule.failed or not isfinite(self.loss_sum)

    cdef void ask_ahead(self, const Py_ssize_t* rows, Py_ssize_t p,
                        Py_ssize_t left) noexcept nogil:
        if p + self.ahead < left:
            self.problem.rows.prefetch(rows[p + self.ahead],
                                       rows[min(p + 2 * self.ahead, left - 1)])

    cdef void weigh(self, Py_ssize_t first, Py_ssize_t m) noexcept nogil:
        cdef Py_ssize_t q, k, K = self.problem.n_outputs
        if self.problem.s_data == NULL and self.problem.mean_weight == 1.0:
            return
        for q in range(first, first + m):
            for k in range(K):
                self.d[q * K + k] *= self.s[q] / self.problem.mean_weight

    cdef bint sum_slopes(self, Py_ssize_t first, Py_ssize_t m, double* sums) noexcept nogil:
        cdef Py_ssize_t q, k, K = self.problem.n_outputs
        cdef const double* d = &self.d[first * K]
        cdef double even, odd, square = 0.0   # which says earlier than a step that it would explode
        for k in range(K):
            even = odd = 0.0
            for q from 0 <= q < m - 1 by 2:   # two sums: an addition should not wait for the last
                even += d[q * K + k]
                odd += d[(q + 1) * K + k]
                square += d[q * K + k] * d[q * K + k] + d[(q + 1) * K + k] * d[(q + 1) * K + k]
            if m % 2:
                even += d[(m - 1) * K + k]
                square += d[(m - 1) * K + k] * d[(m - 1) * K + k]
            sums[k] += even + odd
        return isfinite(square)

    # -- a batch ---------------------------------------------------------------------------

    cdef void add_rows(self, const Py_ssize_t* rows, Py_ssize_t m,
                       Py_ssize_t left) noexcept nogil:
        """Add rows to the gradient of the batch under way."""
        self.begin_rows(m, rows)
        if self.turns and self.in_batch == 0:
            self.turn()
        self.in_batch += m
        if self.in_blocks:
            self.add_block(rows, m, left)
        else:
            self.add_tile(rows, m, left)

    cdef void add_tile(self, const Py_ssize_t* rows, Py_ssize_t m,
                       Py_ssize_t left) noexcept nogil:
        """Rows that are sparse, or whose loss is written in Python."""
        cdef Py_ssize_t K = self.problem.n_outputs
        self.asks_by_and_by = self.problem.rows.are_long and K == 1
        self.asked = min(m, left - m)
        if self.asks_by_and_by:
            self.take_margins_asking(rows, m)
        elif self.problem.rows.is_sparse:
            self.take_margins(rows, m, left, 0)
        elif K == 1 and rows == self.on_their_way and self.asked == m:
            self.problem.rows.margins_ahead(m, rows, rows + m, self.weights(), &self.z[0])
            self.problem.finish_margins(m, rows, self.scale(), &self.b[0], &self.z[0])
        else:
            self.problem.margins_of(m, left, rows, self.weights(), self.scale(), &self.b[0],
                                    &self.z[0])
        self.problem.loss.derivatives(m, K, &self.y[0], &self.z[0], &self.d[0])
        self.weigh(0, m)
        if self.sum_slopes(0, m, &self.g_b[0]):
            self.add_slopes(m, rows)
        else:
            self.loss_sum = INFINITY

    cdef void take_margins(self, const Py_ssize_t* rows, Py_ssize_t m, Py_ssize_t left,
                           Py_ssize_t first) noexcept nogil:
        cdef Py_ssize_t p, q, n, K = self.problem.n_outputs
        for p from 0 <= p < m by 4:
            n = min(4, m - p)
            for q in range(p, p + n):
                self.ask_ahead(rows, q, left)
            self.problem.margins_of(n, n, rows + p, self.weights(), self.scale(), &self.b[0],
                                    &self.z[(first + p) * K])

    # -- a block of dense rows, whose parts threads share ------------------------------------

    cdef void add_block(self, const Py_ssize_t* rows, Py_ssize_t m,
                        Py_ssize_t left) noexcept nogil:
        cdef Py_ssize_t j, k, part, size = self.g.shape[0] * self.g.shape[1]
        cdef double* g = &self.g[0, 0]
        self.block, self.in_block, self.block_left = rows, m, left
        self.n_parts = self.parts_of(m)
        if self.n_parts > 1 and self.team.n_present > 1:
            self.team.share(self.n_parts)
        else:
            for part in range(self.n_parts):
                self.take_part(part)
        for part in range(self.n_parts):
            for k in range(self.g_b.shape[0]):
                self.g_b[k] += self.part_g_b[part, k]
            if not isfinite(self.part_losses[part, 0]):
                self.loss_sum = INFINITY
        for part in range(self.n_parts - 1):
            for j in range(size):
                g[j] += self.part_g[part, j]

    cdef double loss_of_parts(self) noexcept nogil:
        cdef Py_ssize_t k, part
        cdef double total = 0.0
        for part in range(self.n_parts):
            total += self.part_losses[part, 0]
            for k in range(self.sums.shape[0]):
                self.sums[k] += self.part_losses[part, 1 + k]
        return total

    cdef Py_ssize_t parts_of(self, Py_ssize_t m) noexcept nogil:
        """Into how many parts m rows are cut: it depends on the data alone, as results do."""
        cdef Py_ssize_t n = 1
        while 2 * n <= min(MOST_PARTS, min(m // PART_ROWS, m * self.row_bytes // PART_BYTES)):
            n *= 2
        return n

    cdef Py_ssize_t part_start(self, Py_ssize_t part, Py_ssize_t m) noexcept nogil:
        # of z and d, no two threads should write the same cache line
        return min(m, (m * part // self.n_parts + LINE - 1) // LINE * LINE)

    cdef void take_part(self, Py_ssize_t part) noexcept nogil:
        cdef Py_ssize_t[2 * LARGEST_BLOCK] rows
        cdef Py_ssize_t K = self.problem.n_outputs, size = self.g.shape[0] * self.g.shape[1]
        cdef Py_ssize_t first = self.part_start(part, self.in_block), left
        cdef Py_ssize_t m = self.part_start(part + 1, self.in_block) - first
        cdef double* g = &self.g[0, 0]
        cdef double* g_b = &self.part_g_b[part, 0]
        cdef double* losses = &self.part_losses[part, 0]
        memset(g_b, 0, K * sizeof(double))
        memset(losses, 0, (1 + K) * sizeof(double))
        if part > 0:
            g = &self.part_g[part - 1, 0]
            memset(g, 0, size * sizeof(double))
        memcpy(rows, self.block + first, m * sizeof(Py_ssize_t))
        left = m + self.rows_to_come(part, rows + m)
        self.take_targets(rows, m, left, first)
        self.add_part(rows, m, left, first, g)
        losses[0] = INFINITY
        if self.sum_slopes(first, m, g_b):
            losses[0] = self.block_loss(first, m, losses + 1 if self.sums.shape[0] else NULL)

    cdef void add_part(self, const Py_ssize_t* rows, Py_ssize_t m, Py_ssize_t left,
                       Py_ssize_t first, double* g) noexcept nogil:
        """Margins and slopes of m rows of the block, from ``first`` on; g += their gradient."""
        cdef Py_ssize_t p, n, K = self.problem.n_outputs, width = self.problem.target_width
        if self.takes_turns:
            self.add_one_by_one(rows, m, left, first, g)
        elif self.problem.adds_at_once:
            self.problem.margins_and_gradient(
                m, left, rows, self.weights(), self.scale(), &self.b[0], &self.y[first * width],
                &self.s[first], self.problem.mean_weight, &self.z[first], &self.d[first], g)
        else:
            for p from 0 <= p < m by self.tile:
                n = min(self.tile, m - p)
                self.take_margins(rows + p, n, left - p, first + p)
                self.problem.loss.derivatives(n, K, &self.y[(first + p) * width],
                                              &self.z[(first + p) * K], &self.d[(first + p) * K])
                self.weigh(first + p, n)
                self.problem.rows.add_all(n, rows + p, NULL, K, &self.d[(first + p) * K], g)

    cdef Py_ssize_t rows_to_come(self, Py_ssize_t part, Py_ssize_t* rows) noexcept nogil:
        """The first rows of the part that the same thread takes next; returns how many."""
        cdef Py_ssize_t m = self.in_block, next, n, place = self.team.place_of(part, self.n_parts)
        if self.team.place_of(part + 1, self.n_parts) == place:
            next = self.part_start(part + 1, m)
        else:
            n = min(m, self.block_left - m)
            next = m + self.part_start(self.team.first_part(place, self.n_parts), n)
        n = min(LARGEST_BLOCK, self.block_left - next)
        memcpy(rows, self.block + next, max(n, 0) * sizeof(Py_ssize_t))
        return max(n, 0)

    cdef void add_one_by_one(self, const Py_ssize_t* rows, Py_ssize_t m, Py_ssize_t left,
                             Py_ssize_t first, double* g) noexcept nogil:
        """``add_part`` for rows so long that the next is better read before the last is added.

        The margin of the next row is taken before, so that nothing waits for the slope.
        """
        cdef Py_ssize_t q, later
        cdef const double* y = &self.y[first * self.problem.target_width]
        cdef double* z = &self.z[first]
        cdef double* d = &self.d[first]
        for q in range(m + 1):
            later = rows[q + self.ahead] if q + self.ahead < left else -1
            if q < m:
                z[q] = self.b[0] + self.scale() * self.problem.rows.dot_ahead(
                    rows[q], self.weights(), later)
                if self.problem.o_data != NULL:
                    z[q] += self.problem.o_data[rows[q]]
            if q > 0:
                self.problem.rows.add_ahead(rows[q - 1], d[q - 1], g, later)
            if q < m:
                d[q] = self.problem.loss.derivative(y[q], z[q])
                d[q] *= self.s[first + q] / self.problem.mean_weight

    cdef void begin_rows(self, Py_ssize_t m, const Py_ssize_t* rows) noexcept nogil:
        cdef Py_ssize_t q
        if self.by_columns:
            for q in range(m):
                self.touch(rows[q])

    cdef void take_margins_asking(self, const Py_ssize_t* rows, Py_ssize_t m) noexcept nogil:
        """Margins of long rows; half of each of the next ``asked`` rows is asked for meanwhile."""
        cdef Py_ssize_t q
        cdef const double* o = self.problem.o_data
        for q in range(m):
            self.z[q] = self.b[0] + self.scale() * self.problem.rows.dot_ahead(
                rows[q], self.weights(), rows[m + q] if q < self.asked else -1)
            if o != NULL:
                self.z[q] += o[rows[q]]

    cdef void add_slopes(self, Py_ssize_t m, const Py_ssize_t* rows) noexcept nogil:
        cdef Py_ssize_t q
        self.on_their_way = rows + m
        # the other halves
        if not self.asks_by_and_by:
            if self.asked == m and self.problem.n_outputs == 1:
                self.problem.rows.add_all_ahead(m, rows, rows + m, &self.d[0], &self.g[0, 0])
            else:
                self.problem.rows.add_all(m, rows, NULL, self.problem.n_outputs, &self.d[0],
                                          &self.g[0, 0])
            return
        for q in range(m):
            self.problem.rows.add_ahead(rows[q], self.d[q], &self.g[0, 0],
                                        rows[m + q] if q < self.asked else -1)

    cdef inline const double* weights(self) noexcept nogil:
        return &self.turned[0, 0] if self.turns else &self.W[0, 0]

    cdef void turn(self) noexcept nogil:
        """W in the layout of ``rows.margins_of``; it stays the same over a batch."""
        cdef Py_ssize_t j, k
        for k in range(self.turned.shape[0]):
            for j in range(self.turned.shape[1]):
                self.turned[k, j] = self.W[j, k]

    cdef void touch(self, Py_ssize_t i) noexcept nogil:
        """Note the features of row i that the batch has not touched yet, and bring them up."""
        cdef Py_ssize_t p, j, before = self.n_touched, n = self.problem.rows.count(i)
        cdef Py_ssize_t batch = <Py_ssize_t> self.t
        self.problem.rows.columns(i, &self.columns[0])
        for p in range(n):
            j = self.columns[p]
            if self.stamp[j] != batch:
                self.stamp[j] = batch
                self.touched[self.n_touched] = j
                self.n_touched += 1
        if self.n_touched > before:
            self.reach(self.n_touched - before, &self.touched[before])

    cdef void clear_batch(self) noexcept nogil:
        cdef Py_ssize_t p, k, K = self.problem.n_outputs
        if self.by_columns:
            for p in range(self.n_touched):
                for k in range(K):
                    self.g[self.touched[p], k] = 0.0
        else:
            memset(&self.g[0, 0], 0, self.g.shape[0] * self.g.shape[1] * sizeof(double))
        self.g_b[:] = 0.0
        self.in_batch = self.n_touched = 0

    def finish_pass(self):
        if self.in_batch > 0 and not self.must_stop():
            if self.in_batch == self.problem.n_rows:
                penalty = self.problem.penalty.value_of(self.W)
                self.schedule.before_step(self, self.mean_loss + penalty)
            self.learn_batch()
            self.clear_batch()

    def prepare(self):
        """Raise now what the schedule would raise at an update of the coming pass."""
        n, size = self.problem.n_rows, self.batch_size or self.problem.n_rows
        self.schedule.prepare(self.t, -(-n // max(size, 1)))

    def drop_batch(self):
        if self.in_batch > 0:
            self.clear_batch()
            self.stamp[:] = -1

    # -- what each method says -------------------------------------------------------------

    cdef void learn_rows(self, const Py_ssize_t* rows, Py_ssize_t m,
                         Py_ssize_t left) noexcept nogil:
        return

    cdef void learn_batch(self) noexcept nogil:
        return

    cdef double scale(self) noexcept nogil:
        return 1.0

    cdef void reach(self, Py_ssize_t n, const Py_ssize_t* columns) noexcept nogil:
        return
