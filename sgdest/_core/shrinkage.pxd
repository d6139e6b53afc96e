"""When the penalty of a step is applied: at once, later, or by a common factor."""

from sgdest._core.penalties cimport Penalty
from sgdest._core.rows cimport Rows


cdef class Shrinkage:
    cdef Penalty penalty
    cdef double[:, ::1] W
    cdef double* w
    cdef Py_ssize_t n_features
    cdef Py_ssize_t n_outputs
    cdef double scale            # between steps the parameters are scale * W
    cdef bint by_columns         # `reach` must name the features that are about to be read

    # x_i . w of one output, asking meanwhile for row `later`; where it `reaches`, a sparse row needs
    # no `reach`
    cdef bint reaches
    cdef double dot(self, Rows rows, Py_ssize_t i, Py_ssize_t later) noexcept nogil
    # bring these (distinct) features up to date with all steps so far
    cdef void reach(self, Py_ssize_t n, const Py_ssize_t* columns) noexcept nogil
    # whether `passed` leaves w as it is, unless it settles, by which the scale rises to 1
    cdef bint keeps_w
    # a step of this length was made
    cdef void passed(self, double length) noexcept nogil
    # bring all features up to date; scale becomes 1
    cdef void settle(self) noexcept nogil
    # start the average over the iterates with the next step
    cdef void start_average(self) noexcept nogil
