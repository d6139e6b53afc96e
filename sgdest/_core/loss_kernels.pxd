"""Declarations of ``loss_kernels.h``; what the loops compute is said there."""

cdef extern from "loss_kernels.h" nogil:
    ctypedef struct Kink:
        double place, low_below, high_below, low_above, high_above, dead, sharpness

    double smoothed_slope_of(const Kink* kink, double y, double c, double z) noexcept
    double smoothed_value_of(const Kink* kink, double y, double c, double z) noexcept

    ctypedef void LossLoop(double p, Py_ssize_t n, const double* y, const double* z,
                           double* out) noexcept nogil
    ctypedef struct LossBlock:
        LossLoop* values
        LossLoop* slopes
        LossLoop* curvatures

    ctypedef struct LossLoops:
        void (*exps)(Py_ssize_t n, const double* z, double* out) noexcept nogil
        double (*log_loss_slope)(double y, double z) noexcept nogil
        void (*log_loss_conjugates)(Py_ssize_t n, const double* y, const double* a,
                                    double* out) noexcept nogil
        void (*smoothed)(const Kink* kink, Py_ssize_t n, const double* y, const double* z,
                         double* out) noexcept nogil
        void (*smoothed_slopes)(const Kink* kink, Py_ssize_t n, const double* y,
                                const double* z, double* out) noexcept nogil
        void (*shrink)(Py_ssize_t n, double l1, double l2, bint positive, const double* length,
                       double* w) noexcept nogil
        LossBlock log_loss, huber, squared_epsilon_insensitive, poisson, gamma, tweedie
        LossBlock squared_hinge

    const LossLoops* loss_loops(int level)
