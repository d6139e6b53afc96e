"""Piecewise-linear losses with rounded kinks, for methods that need a slope that is smooth."""

cimport cython

from sgdest._core.loss_kernels cimport (
    Kink, LossLoops, loss_loops, smoothed_slope_of, smoothed_value_of)
from sgdest._core.losses cimport Loss
from sgdest._core cimport simd

import numpy as np

cdef const LossLoops* loops = loss_loops(simd.level)


@cython.final
cdef class Smoothed(Loss):
    """A piecewise-linear loss whose kinks are rounded over a width of about 1 / sharpness.

    The loss is max over a in [low, high] of a u - dead |a|, with u the distance to the kink. Its
    smoothed form takes (a - c)^2 / (2 sharpness) off [1]_. It lies below the loss, and touches it
    where the maximiser a equals the centre c: with centres that follow the maximisers the minimum
    becomes that of the loss itself, at a finite sharpness (the method of multipliers [2]_).

    Blocks hold pairs (target, centre) in the place of targets; the scalar forms take the middle
    of [low, high] as the centre.

    References
    ----------
    .. [1] Y. Nesterov, "Smooth minimization of non-smooth functions", 2005.
    .. [2] R. T. Rockafellar, "Augmented Lagrangians and applications of the proximal point
       algorithm in convex programming", 1976.
    """

    centred = True
    cdef Loss loss
    cdef Kink kink_of

    def __init__(self, Loss loss, double sharpness):
        cdef Kink* kink = &self.kink_of
        self.loss = loss
        kink.sharpness = sharpness
        loss.kink(-1.0, &kink.low_below, &kink.high_below, &kink.dead)
        kink.place = loss.kink(1.0, &kink.low_above, &kink.high_above, &kink.dead)

    def __reduce__(self):
        return Smoothed, (self.loss, self.kink_of.sharpness)

    cdef double middle(self, double y) noexcept nogil:
        cdef double low, high, dead
        self.loss.kink(y, &low, &high, &dead)
        return 0.5 * (low + high)

    cdef double value(self, double y, double z) noexcept nogil:
        return smoothed_value_of(&self.kink_of, y, self.middle(y), z)

    cdef double derivative(self, double y, double z) noexcept nogil:
        return smoothed_slope_of(&self.kink_of, y, self.middle(y), z)

    cdef double curvature(self, double y, double z) noexcept nogil:
        return self.curvature_at(y, smoothed_slope_of(&self.kink_of, y, self.middle(y), z))

    cdef double curvature_at(self, double y, double a) noexcept nogil:
        cdef double low = self.kink_of.low_above if y > 0.0 else self.kink_of.low_below
        cdef double high = self.kink_of.high_above if y > 0.0 else self.kink_of.high_below
        cdef bint bends = low < a < high and (a != 0.0 or self.kink_of.dead == 0.0)
        return self.kink_of.sharpness if bends else 0.0

    cdef double values(self, Py_ssize_t n, Py_ssize_t n_outputs, const double* y,
                       const double* z, const double* s) noexcept nogil:
        cdef double[256] value
        cdef double total = 0.0
        cdef Py_ssize_t first, m, size
        for first from 0 <= first < n * n_outputs by 256:
            size = min(256, n * n_outputs - first)
            loops.smoothed(&self.kink_of, size, y + 2 * first, z + first, value)
            if n_outputs == 1:
                for m in range(size):
                    total += s[first + m] * value[m]
            else:
                for m in range(size):
                    total += s[(first + m) // n_outputs] * value[m]
        return total

    cdef void derivatives(self, Py_ssize_t n, Py_ssize_t n_outputs, const double* y,
                          const double* z, double* d) noexcept nogil:
        loops.smoothed_slopes(&self.kink_of, n * n_outputs, y, z, d)

    cdef void curvatures(self, Py_ssize_t n, Py_ssize_t n_outputs, const double* y,
                         const double* z, double* h) noexcept nogil:
        cdef Py_ssize_t m
        loops.smoothed_slopes(&self.kink_of, n * n_outputs, y, z, h)
        for m in range(n * n_outputs):
            h[m] = self.curvature_at(y[2 * m], h[m])

    def shortfall(self, const double[:, ::1] y, const double[:, ::1] z, const double[::1] s):
        """Weighted sum of the loss minus its smoothed form, at margins z of the pairs y."""
        cdef Py_ssize_t i, m, first, n, K = z.shape[1]
        cdef const double* pair = NULL
        cdef const double* margin = NULL
        cdef double[256] ones
        cdef const double* weight = ones
        cdef Kink kink = self.kink_of
        cdef double u, total = 0.0
        ones[:] = [1.0] * 256
        with nogil:
            for first from 0 <= first < z.shape[0] by 256:
                n = min(256, z.shape[0] - first)
                pair, margin = &y[first, 0], &z[first, 0]
                if s is not None:
                    weight = &s[first]
                for i in range(n):
                    for m in range(i * K, i * K + K):
                        u = margin[m] - kink.place * pair[2 * m]
                        if u > 0.0:
                            u = u - kink.dead if u > kink.dead else 0.0
                            u = u * (kink.high_above if pair[2 * m] > 0.0 else kink.high_below)
                        else:
                            u = u + kink.dead if u < -kink.dead else 0.0
                            u = u * (kink.low_above if pair[2 * m] > 0.0 else kink.low_below)
                        total += weight[i] * u
                total -= self.values(n, K, pair, margin, weight)
        return total

    def middles(self, const double[:, ::1] y):
        """The first centres: the middle of [low, high] for each target."""
        cdef Py_ssize_t i, k
        cdef double[:, ::1] c = np.empty((y.shape[0], y.shape[1]))
        for i in range(y.shape[0]):
            for k in range(y.shape[1]):
                c[i, k] = self.middle(y[i, k])
        return np.asarray(c)
