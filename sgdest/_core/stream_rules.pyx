"""What streaming asks of a loss: how far one row moves an expert, and what the targets say."""

cimport cython
from libc.math cimport INFINITY, exp, expm1, fabs, fmax, fmin, log, log1p, sqrt

import numpy as np

from sgdest._core.losses import LogLoss, SquaredError

# Raw predictions of classifiers are kept within +-50, where every probability has long been 0 or 1.
cdef double FARTHEST = 50.0
# ln of the mean that a count with zeros among its targets may fall to
cdef double RAREST = -20.0


# -- how far one row moves an expert -----------------------------------------------------------


cdef class StepRule:
    """Abstract: the D in ``u_j += c D v_j x_j / s_j``, which moves the prediction by ``D P``."""

    def __init__(self, gain=1.0, curved=False, bounded=False):
        self.gain, self.curved, self.bounded = gain, curved, bounded

    cdef double step(self, double y, double z, double d, double h, double eta, double P,
                     double unit) noexcept nogil:
        return 0.0

    cdef double bend(self, double d, double h, double unit) noexcept nogil:
        return fmax(h, 1e-3)

    cdef double scale(self, double unit) noexcept nogil:
        return 1.0


@cython.final
cdef class SquaredStep(StepRule):
    """The limit of many infinitely small steps: never beyond y, whatever the rate and weight."""

    cdef double step(self, double y, double z, double d, double h, double eta, double P,
                     double unit) noexcept nogil:
        return d * expm1(-eta * P) / P

    cdef double bend(self, double d, double h, double unit) noexcept nogil:
        return 1.0


@cython.final
cdef class LogisticStep(StepRule):
    """The same limit for the log loss: u with ``exp(m)(exp(u) - 1) + u = eta P``, m the margin."""

    cdef double step(self, double y, double z, double d, double h, double eta, double P,
                     double unit) noexcept nogil:
        cdef double sign = 1.0 if y > 0.5 else -1.0
        cdef double q = eta * P, grown = exp(sign * z), change, e
        # both bounds lie above the root of a convex increasing function: Newton falls onto it. The
        # first is the better one of short steps
        cdef double u = q / (1.0 + grown)
        cdef int _
        if u > 0.5:
            u = fmin(u, log1p(q / grown))
        for _ in range(20):
            e = expm1(u)
            change = (grown * e + u - q) / (grown * (e + 1.0) + 1.0)
            u -= change
            if fabs(change) <= 1e-8 * u:
                break
        return sign * u / P

    cdef double bend(self, double d, double h, double unit) noexcept nogil:
        # a row that is wrong lies where the loss is straight: what counts is the bend on its way
        cdef double p = fabs(d) if fabs(d) <= 0.5 else 0.5 * fabs(d)
        return fmax(p * (1.0 - p), 1e-3)


@cython.final
cdef class SlopeStep(StepRule):
    """A plain step, for losses without curvature.

    Cut at the kink, all rates of the hinge coincide: 0.19 instead of 0.13 on newsgroups20; cut
    at one unit: 0.147 instead of 0.133.
    """

    cdef double step(self, double y, double z, double d, double h, double eta, double P,
                     double unit) noexcept nogil:
        return -eta * d

    cdef double bend(self, double d, double h, double unit) noexcept nogil:
        return fabs(d) / unit if unit > 0.0 else 0.0  # as if the kink were a unit wide

    cdef double scale(self, double unit) noexcept nogil:
        return unit


@cython.final
cdef class CurvedStep(StepRule):
    """A step against slope and curvature at z, over at most one unit of the prediction."""

    cdef double step(self, double y, double z, double d, double h, double eta, double P,
                     double unit) noexcept nogil:
        cdef double D = -eta * d / (1.0 + eta * P * h)
        return fmax(-unit, fmin(unit, D * P)) / P


def step_rule(loss):
    """The rule that the facts about a loss call for."""
    if isinstance(loss, SquaredError):
        # the family states its rates for the loss (y - z)^2
        return SquaredStep(gain=2.0)
    if isinstance(loss, LogLoss):
        return LogisticStep()
    if type(loss).smoothness == "kinked":
        return SlopeStep(bounded=True)
    return CurvedStep(curved=True, bounded=True)


# -- what the targets say ----------------------------------------------------------------------


cdef class Targets:
    """Abstract: bounds of the raw predictions and their unit, from the targets seen so far.

    Bounded predictions keep one outlier from filling the sums of squared gradients for ever.
    ``range`` has the rows low, high, mean, one column per output; low > high means no bounds.
    ``range_of`` makes it from the least, largest and mean targets of rows seen before.
    """

    def __init__(self, bounds, weight, spread):
        self.range = bounds
        self.weight, self.spread = weight, spread
        self.unit = 1.0

    cdef void see(self, double s, const double* y) noexcept nogil:
        return

    cdef double bounded(self, Py_ssize_t k, double z) noexcept nogil:
        cdef double low = self.range[0, k], high = self.range[1, k]
        return fmax(low, fmin(high, z)) if low <= high else z


@cython.final
cdef class Labels(Targets):
    """Labels: bounds and unit are fixed."""

    start = (-FARTHEST, FARTHEST)

    @staticmethod
    def range_of(y):
        return np.outer((-FARTHEST, FARTHEST, 0.0), np.ones(y.shape[1]))


@cython.final
cdef class Measurements(Targets):
    """Real targets: predictions stay in their range and are measured in their deviation.

    The unit makes the method indifferent to the unit of y. (Without it, house prices in dollars
    are not learned at all: 2.5e10 instead of 3.0e9 on california.) One further target of 0, where
    the model starts, keeps it large until the intercept has found the targets.
    """

    start = (INFINITY, -INFINITY)

    @staticmethod
    def range_of(y):
        return y[:3]

    cdef void see(self, double s, const double* y) noexcept nogil:
        cdef Py_ssize_t k, K = self.range.shape[1]
        cdef double deviation
        self.weight += s
        for k in range(K):
            self.range[0, k] = fmin(self.range[0, k], y[k])
            self.range[1, k] = fmax(self.range[1, k], y[k])
            deviation = y[k] - self.range[2, k]
            self.range[2, k] += s * deviation / (1.0 + self.weight)
            self.spread += s * deviation * (y[k] - self.range[2, k])
        self.unit = sqrt(self.spread / (K * (1.0 + self.weight)))


@cython.final
cdef class Counts(Targets):
    """Targets with a log link: predictions stay within e times the targets, or of 1, their start.

    Beyond the farthest target the slope points back, so no expert is held outside.
    """

    start = (-1.0, 1.0)

    @staticmethod
    def range_of(y):
        low, high = np.log(np.maximum(y[:2], np.exp(RAREST)))
        return np.array((np.minimum(low - 1.0, -1.0), np.maximum(high + 1.0, 1.0), 0.0 * low))

    cdef void see(self, double s, const double* y) noexcept nogil:
        cdef Py_ssize_t k
        cdef double z
        for k in range(self.range.shape[1]):
            z = fmax(RAREST, log(y[k])) if y[k] > 0.0 else RAREST
            self.range[0, k] = fmin(self.range[0, k], z - 1.0)
            self.range[1, k] = fmax(self.range[1, k], z + 1.0)


def targets_class(loss):
    """The kind of targets that a loss has."""
    if type(loss).targets in ("binary", "sign", "class"):
        return Labels
    return Counts if type(loss).link == "log" else Measurements
