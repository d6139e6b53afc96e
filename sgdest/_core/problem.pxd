"""Problem: data, targets, weights, offset, loss, penalty and intercept, as one function."""

from sgdest._core.losses cimport Loss
from sgdest._core.penalties cimport Penalty
from sgdest._core.rows cimport Rows


cdef class Problem:
    cdef readonly Rows rows
    cdef readonly Loss loss
    cdef readonly Penalty penalty
    cdef readonly bint fit_intercept
    cdef readonly Py_ssize_t n_rows
    cdef readonly Py_ssize_t n_features
    cdef readonly Py_ssize_t n_outputs
    cdef readonly double total_weight      # sum of s
    cdef public double mean_weight         # of a row in a step; see design "weights in steps"
    cdef readonly int n_threads
    cdef readonly bint is_small
    cdef bint adds_at_once                 # rows are added while the first-level cache holds them
    cdef bint is_joint                     # the loss reads one class code for all outputs
    cdef readonly object y, sample_weight, offset   # arrays, or None
    cdef readonly bint coded                      # y holds class codes for n_outputs > 1 outputs
    cdef readonly double positive_code, negative_code
    cdef list spare                        # arrays of earlier passes, for the next one
    cdef readonly dict known               # of ``fact``
    cdef object labels_alone               # `by_label`, once it has been asked for:
    cdef bint is_counted
    cdef readonly object part_of           # of an output: the problem it is of, and its number
    cdef Py_ssize_t own_class              # of coded targets with one output: the positive class
    cdef Py_ssize_t target_width           # numbers per row that the loss reads
    cdef Py_ssize_t y_step                 # numbers in y_data from one row to the next
    cdef const double* y_data
    cdef const double* s_data              # NULL: all weights are 1
    cdef const double* o_data              # NULL: no offset

    # the weight of row i
    cdef double weight(self, Py_ssize_t i) noexcept nogil
    # the numbers of row i that the loss reads: `target_width` of them
    cdef void target(self, Py_ssize_t i, double* y) noexcept nogil
    # blocks of m rows: their targets and weights (and a word
    # ahead of it to the memory); their margins z = scale x W + b + o,
    # with W in the layout of `rows.margins_of`
    cdef void gather(self, Py_ssize_t m, const Py_ssize_t* rows, double* y,
                     double* s) noexcept nogil
    cdef const double* targets_of(self, Py_ssize_t first, Py_ssize_t n,
                                  double* room) noexcept nogil
    cdef void ask_for_targets(self, Py_ssize_t m, const Py_ssize_t* rows) noexcept nogil
    # `left` entries of `rows` are known, m or more: rows that come soon are asked for
    cdef void margins_of(self, Py_ssize_t m, Py_ssize_t left, const Py_ssize_t* rows,
                         const double* W, double scale, const double* b,
                         double* z) noexcept nogil
    # if `adds_at_once`: their margins, slopes times s / mean_weight, and g += sum of d x
    cdef void margins_and_gradient(self, Py_ssize_t m, Py_ssize_t left, const Py_ssize_t* rows,
                                   const double* W, double scale, const double* b,
                                   const double* y, const double* s, double mean_weight,
                                   double* z, double* d, double* g) noexcept nogil
    cdef void finish_margins(self, Py_ssize_t m, const Py_ssize_t* rows, double scale,
                             const double* b, double* z) noexcept nogil
    # rows start .. stop - 1: their margins into z, the sum of s * loss; with g != NULL also
    # g += sum of s d x and g_b += sum of s d. `room` holds `block_room` doubles. W == NULL: z
    # holds the margins already.
    cdef double sweep(self, Py_ssize_t start, Py_ssize_t stop, const double* W, const double* b,
                      double* z, double* g, double* g_b, double* room) noexcept nogil
    cdef Py_ssize_t block_room(self) noexcept nogil
    cdef Py_ssize_t block(self) noexcept nogil
