"""Losses of one raw prediction ``z`` and one target ``y``, and of blocks of them."""

from sgdest._core.loss_kernels cimport LossBlock


cdef class Loss:
    cdef double value(self, double y, double z) noexcept nogil
    cdef double derivative(self, double y, double z) noexcept nogil
    cdef double curvature(self, double y, double z) noexcept nogil
    # Blocks of n rows, C order. z, d, h: (n, n_outputs). y: (n, n_outputs), or (n,) class codes
    # where the loss is joint. s: n weights. `values` returns sum_i s_i sum_k value.
    cdef double values(self, Py_ssize_t n, Py_ssize_t n_outputs, const double* y,
                       const double* z, const double* s) noexcept nogil
    cdef void derivatives(self, Py_ssize_t n, Py_ssize_t n_outputs, const double* y,
                          const double* z, double* d) noexcept nogil
    cdef void curvatures(self, Py_ssize_t n, Py_ssize_t n_outputs, const double* y,
                         const double* z, double* h) noexcept nogil
    # sup_z a z - value(y, z); infinite outside its domain; NaN where a loss has none written
    cdef double conjugate(self, double y, double a) noexcept nogil
    # the a with a = derivative(y, u - q a): a coordinate step of the dual, q > 0
    cdef double dual_step(self, double y, double u, double q) noexcept nogil
    # piecewise-linear losses: within `dead` of the returned kink the slope is 0 (if dead > 0),
    # below it is `low`, above it is `high`
    cdef double kink(self, double y, double* low, double* high, double* dead) noexcept nogil
    # its vector loops, and their parameter; NULL where blocks go by way of the scalar forms
    cdef const LossBlock* block(self, double* parameter) noexcept nogil
