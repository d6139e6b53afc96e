"""How far a row moves the weights, as scikit-learn has it."""

from sgdest._core.losses cimport Loss


cdef class Rule:
    cdef Loss loss
    cdef double eta, eta0                  # the rate of the last step, and the first
    cdef double pace                       # `change` over `direction`; not known from the row
    cdef readonly bint penalty_counts      # in the objective that stops the run

    # the d in w += pace d s x, for row i in update number t; sets the rate and the pace of it
    cdef double direction(self, Py_ssize_t i, double y, double z, double t) noexcept nogil
    # whether row i has nothing to say, if it `passes` over rows at all
    cdef bint passes
    cdef bint passes_over(self, Py_ssize_t i) noexcept nogil
    # no progress: whether to go on at a lower rate
    cdef bint slow_down(self) noexcept nogil
    # the slope, cut
    cdef double slope(self, double y, double z) noexcept nogil
