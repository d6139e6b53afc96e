"""Online Newton steps for few columns."""

cdef class OnlineNewton:
    cdef readonly double[:, :, ::1] inverse
    cdef readonly double[::1] paid
    cdef double[::1] q

    # one row of n entries r in `columns`, for output k, whose weights are w[0], w[stride], ..:
    # slope and curvature of its loss, times its weight; how far its prediction may move
    cdef void learn(self, Py_ssize_t k, Py_ssize_t n, const Py_ssize_t* columns, const double* r,
                    double slope, double curvature, double farthest, double* w,
                    Py_ssize_t stride) noexcept nogil
    # the penalty rate w^2 / 2 of the weight of column j
    cdef void decay(self, Py_ssize_t k, Py_ssize_t j, double rate, double* w,
                    Py_ssize_t stride) noexcept nogil
    # column j, of weight w[0], is measured in a larger unit: its values become `ratio` times
    # what they were
    cdef void rescale(self, Py_ssize_t k, Py_ssize_t j, double ratio, double* w) noexcept nogil
