"""StepMethod: the walk over permuted rows and the gradient of a batch."""

from sgdest._core.method cimport Method
from sgdest._core.schedules cimport Schedule
from sgdest._core.team cimport Team


cdef class StepMethod(Method):
    cdef readonly Schedule schedule
    cdef Py_ssize_t batch_size             # rows per step; 0 means all rows of a pass
    cdef Py_ssize_t rows_per_step(self) noexcept nogil
    cdef bint by_rows                      # steps on single rows make no gradient
    cdef bint by_columns                   # steps touch only the features of their rows
    cdef int steps_all                     # of sparse rows, all features; -1: not known yet
    cdef double batch_entries(self)
    # a block of rows: targets, weights, margins, slopes
    cdef double[::1] y, s, z, d
    cdef double[::1] y_one, z_one          # where the outputs have losses of their own: of one
    cdef void take_targets(self, const Py_ssize_t* rows, Py_ssize_t m, Py_ssize_t left,
                           Py_ssize_t first) noexcept nogil
    # the loss of m of its rows, all outputs together; `sums`, if not NULL, receives that of each
    cdef double block_loss(self, Py_ssize_t first, Py_ssize_t m, double* sums) noexcept nogil
    cdef double loss_of_block(self, Py_ssize_t first, Py_ssize_t m) noexcept nogil
    # the rows whose losses a call of Python code will sum: theirs follow those of the block
    cdef bint puts_aside
    cdef Py_ssize_t aside
    cdef void put_aside(self, Py_ssize_t m) noexcept nogil
    cdef void sum_aside(self) noexcept nogil
    # the batch under way: its gradient (in the layout of `rows.margins_of`), how many rows it
    # has, and, if `by_columns`, the features it has touched
    cdef double[:, ::1] g
    cdef double[::1] g_b
    cdef Py_ssize_t in_batch
    cdef Py_ssize_t n_touched
    cdef Py_ssize_t[::1] touched
    cdef Py_ssize_t[::1] stamp             # number of the batch that touched a feature last
    cdef Py_ssize_t[::1] columns           # room for those of one row
    cdef bint turns                        # that layout differs from that of W:
    cdef double[:, ::1] turned             # W in it

    # a step on each of m rows, whose targets and weights are at hand; their margins go to z.
    # `left` rows of the walk are left, these included
    cdef void learn_rows(self, const Py_ssize_t* rows, Py_ssize_t m,
                         Py_ssize_t left) noexcept nogil
    # the step of the batch under way
    cdef void learn_batch(self) noexcept nogil
    # between steps the parameters are this times W
    cdef double scale(self) noexcept nogil
    # bring these (distinct) features up to date: they are about to be read
    cdef void reach(self, Py_ssize_t n, const Py_ssize_t* columns) noexcept nogil
    # a rate raised an error, or a slope is not finite (the loss of the pass says so): learn no more
    cdef bint must_stop(self) noexcept nogil
    # ask the memory for the row that is visited `ahead` rows after the p-th
    cdef void ask_ahead(self, const Py_ssize_t* rows, Py_ssize_t p, Py_ssize_t left) noexcept nogil
    cdef Py_ssize_t ahead
    cdef Py_ssize_t tile                   # rows of a batch that are read once
    cdef Py_ssize_t asked                  # of so many next rows, each row at hand asks for one
    cdef bint asks_by_and_by               # where rows are long
    cdef const Py_ssize_t* on_their_way    # rows that the ones before them have asked for
    cdef void take_margins_asking(self, const Py_ssize_t* rows, Py_ssize_t m) noexcept nogil
    cdef void take_margins(self, const Py_ssize_t* rows, Py_ssize_t m, Py_ssize_t left,
                           Py_ssize_t first) noexcept nogil
    cdef void add_tile(self, const Py_ssize_t* rows, Py_ssize_t m,
                       Py_ssize_t left) noexcept nogil
    # Dense rows and compiled losses: blocks in parts, which threads share. The block under way
    # (`block_left` rows are known), and of each part the gradient (of the first: `g`), that of the
    # intercept, and the loss, of all outputs and of each.
    cdef bint in_blocks
    cdef Team team
    cdef const Py_ssize_t* block
    cdef Py_ssize_t in_block, block_left, n_parts, row_bytes
    cdef double[:, ::1] part_g, part_g_b, part_losses
    cdef void add_block(self, const Py_ssize_t* rows, Py_ssize_t m,
                        Py_ssize_t left) noexcept nogil
    cdef void add_part(self, const Py_ssize_t* rows, Py_ssize_t m, Py_ssize_t left,
                       Py_ssize_t first, double* g) noexcept nogil
    cdef double loss_of_parts(self) noexcept nogil
    cdef Py_ssize_t parts_of(self, Py_ssize_t m) noexcept nogil
    cdef Py_ssize_t part_start(self, Py_ssize_t part, Py_ssize_t m) noexcept nogil
    cdef Py_ssize_t rows_to_come(self, Py_ssize_t part, Py_ssize_t* rows) noexcept nogil
    cdef bint takes_turns                  # rows so long that they are read and added in turns
    cdef void add_one_by_one(self, const Py_ssize_t* rows, Py_ssize_t m, Py_ssize_t left,
                             Py_ssize_t first, double* g) noexcept nogil
    # make the slopes of m rows those of a batch: times s / mean weight
    cdef void weigh(self, Py_ssize_t first, Py_ssize_t m) noexcept nogil
    # add the slopes of m rows to the sums of each output; whether their squares are finite
    cdef bint sum_slopes(self, Py_ssize_t first, Py_ssize_t m, double* sums) noexcept nogil
    # forget the batch that was learned
    cdef void clear_batch(self) noexcept nogil
    cdef void add_rows(self, const Py_ssize_t* rows, Py_ssize_t m,
                       Py_ssize_t left) noexcept nogil
    # before margins of m rows of the batch are taken, and once their slopes are in `d`
    cdef void begin_rows(self, Py_ssize_t m, const Py_ssize_t* rows) noexcept nogil
    cdef void add_slopes(self, Py_ssize_t m, const Py_ssize_t* rows) noexcept nogil
    cdef void touch(self, Py_ssize_t i) noexcept nogil
    cdef const double* weights(self) noexcept nogil
    cdef void turn(self) noexcept nogil
