"""Learning rates."""


cdef class Schedule:
    # the rate depends on the row: ask `at_row`; `at` is the length for the penalty
    cdef readonly bint needs_row
    cdef readonly bint failed      # asking for a rate raised an error: make no more steps

    # the rate of update t = 1, 2, ..
    cdef double at(self, double t) noexcept nogil
    # the rate of a row with this loss and squared norm
    cdef double at_row(self, double loss, double square_norm) noexcept nogil
    # no progress for a while: whether the schedule answers by a smaller rate
    cdef bint lower(self) noexcept nogil
