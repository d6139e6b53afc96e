"""What streaming asks of a loss: how far one row moves an expert, and what the targets say."""


cdef class StepRule:
    cdef double gain     # derivatives of this loss count so many times, in steps and in A
    cdef bint curved     # whether `step` and `bend` read the curvature
    cdef bint bounded    # whether a Newton step moves a prediction by one unit at most

    # y, z: target and raw prediction; d, h: derivative and curvature there; eta: rate times
    # weight times gain; unit: of the predictions
    cdef double step(self, double y, double z, double d, double h, double eta, double P,
                     double unit) noexcept nogil
    # the curvature that a Newton step of one row reckons with; a factor of loss and penalty
    # that makes it a number without a unit, as that of the squared loss is
    cdef double bend(self, double d, double h, double unit) noexcept nogil
    cdef double scale(self, double unit) noexcept nogil


cdef class Targets:
    cdef double[:, ::1] range
    cdef double weight           # of the rows seen
    cdef double spread           # sum of squared deviations
    cdef double unit

    # a row of weight s with the targets y
    cdef void see(self, double s, const double* y) noexcept nogil
    # z, brought within the bounds of output k
    cdef double bounded(self, Py_ssize_t k, double z) noexcept nogil
