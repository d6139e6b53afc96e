"""Functions of one number of which the losses are made: inline, without the GIL."""

from libc.math cimport exp, fmax, fmin, log

# Beyond this exponent the log-link losses continue as straight lines, so that a wild step gives
# a huge finite number instead of an overflow that would poison every sum after it.
cdef enum:
    LARGEST_EXPONENT = 500


cdef inline double exp_line(double z) noexcept nogil:
    """exp(z), continued by its tangent beyond ``LARGEST_EXPONENT``."""
    if z <= LARGEST_EXPONENT:
        return exp(z)
    return exp(LARGEST_EXPONENT) * (1.0 + z - LARGEST_EXPONENT)


cdef inline double exp_slope(double z) noexcept nogil:
    """Slope of ``exp_line``."""
    return exp(fmin(z, LARGEST_EXPONENT))


cdef inline double exp_curvature(double z) noexcept nogil:
    """Second derivative of ``exp_line``."""
    return exp(z) if z <= LARGEST_EXPONENT else 0.0


cdef inline double entropy(double p) noexcept nogil:
    """p log p for p >= 0."""
    return p * log(p) if p > 0.0 else 0.0


cdef inline double cut(double a, double low, double high) noexcept nogil:
    """a, or the nearer end of [low, high]."""
    return fmax(low, fmin(high, a))


cdef inline double beyond(double r, double width) noexcept nogil:
    """How far r lies outside [-width, width], with its sign."""
    return r - cut(r, -width, width)
