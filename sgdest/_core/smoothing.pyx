"""Piecewise-linear losses with rounded kinks, for methods that need a slope that is smooth."""

cimport cython
from libc.math cimport fabs, fmax, fmin

from sgdest._core.losses cimport Loss

import numpy as np


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
    cdef double sharpness
    # [low, high] for targets up to 0 and above, and the dead zone: the same for all targets
    cdef double low_below, high_below, low_above, high_above, dead
    cdef double place                # of the kink: this times the target (1; 0 for the perceptron)

    def __init__(self, Loss loss, double sharpness):
        self.loss = loss
        self.sharpness = sharpness
        loss.kink(-1.0, &self.low_below, &self.high_below, &self.dead)
        self.place = loss.kink(1.0, &self.low_above, &self.high_above, &self.dead)

    cdef double maximiser(self, double y, double c, double z, double* curvature,
                          double* value) noexcept nogil:
        """The maximising a, which is the slope; the curvature and the value."""
        cdef double low, high, dead, a
        cdef double u = z - self.loss.kink(y, &low, &high, &dead)
        cdef double free = c + self.sharpness * u, shift = self.sharpness * dead
        a = fmax(0.0, free - shift) + fmin(0.0, free + shift)
        curvature[0] = self.sharpness if low < a < high and (a != 0.0 or dead == 0.0) else 0.0
        a = fmax(low, fmin(high, a))
        value[0] = a * u - dead * fabs(a) - 0.5 * (a - c) * (a - c) / self.sharpness
        return a

    cdef double middle(self, double y) noexcept nogil:
        cdef double low, high, dead
        self.loss.kink(y, &low, &high, &dead)
        return 0.5 * (low + high)

    cdef double value(self, double y, double z) noexcept nogil:
        cdef double h, value
        self.maximiser(y, self.middle(y), z, &h, &value)
        return value

    cdef double derivative(self, double y, double z) noexcept nogil:
        cdef double h, value
        return self.maximiser(y, self.middle(y), z, &h, &value)

    cdef double curvature(self, double y, double z) noexcept nogil:
        cdef double h, value
        self.maximiser(y, self.middle(y), z, &h, &value)
        return h

    # The block forms are ``maximiser`` in a shape that the compiler turns into vectors.

    cdef double values(self, Py_ssize_t n, Py_ssize_t n_outputs, const double* y,
                       const double* z, const double* s) noexcept nogil:
        cdef Py_ssize_t i, k, m
        cdef double a, low, high, free, shift = self.sharpness * self.dead
        cdef double half = 0.5 / self.sharpness, total = 0.0
        for i in range(n):
            for k in range(n_outputs):
                m = i * n_outputs + k
                low = self.low_above if y[2 * m] > 0.0 else self.low_below
                high = self.high_above if y[2 * m] > 0.0 else self.high_below
                free = y[2 * m + 1] + self.sharpness * (z[m] - self.place * y[2 * m])
                a = (free - shift if free > shift else 0.0) + (
                    free + shift if free < -shift else 0.0)
                a = low if a < low else (high if a > high else a)
                total += s[i] * (a * (z[m] - self.place * y[2 * m]) - self.dead * fabs(a)
                                 - half * (a - y[2 * m + 1]) * (a - y[2 * m + 1]))
        return total

    cdef void derivatives(self, Py_ssize_t n, Py_ssize_t n_outputs, const double* y,
                          const double* z, double* d) noexcept nogil:
        cdef Py_ssize_t m
        cdef double a, low, high, free, shift = self.sharpness * self.dead
        for m in range(n * n_outputs):
            low = self.low_above if y[2 * m] > 0.0 else self.low_below
            high = self.high_above if y[2 * m] > 0.0 else self.high_below
            free = y[2 * m + 1] + self.sharpness * (z[m] - self.place * y[2 * m])
            a = (free - shift if free > shift else 0.0) + (free + shift if free < -shift else 0.0)
            d[m] = low if a < low else (high if a > high else a)

    cdef void curvatures(self, Py_ssize_t n, Py_ssize_t n_outputs, const double* y,
                         const double* z, double* h) noexcept nogil:
        cdef Py_ssize_t m
        cdef double a, low, high, free, shift = self.sharpness * self.dead
        for m in range(n * n_outputs):
            low = self.low_above if y[2 * m] > 0.0 else self.low_below
            high = self.high_above if y[2 * m] > 0.0 else self.high_below
            free = y[2 * m + 1] + self.sharpness * (z[m] - self.place * y[2 * m])
            a = (free - shift if free > shift else 0.0) + (free + shift if free < -shift else 0.0)
            h[m] = self.sharpness if low < a < high and (a != 0.0 or self.dead == 0.0) else 0.0

    def shortfall(self, const double[:, ::1] y, const double[:, ::1] z, const double[::1] s):
        """Weighted sum of the loss minus its smoothed form, at margins z of the pairs y."""
        cdef Py_ssize_t i, m, n = z.shape[0], K = z.shape[1]
        cdef const double* pair = &y[0, 0]
        cdef const double* margin = &z[0, 0]
        cdef double u, total = 0.0
        with nogil:
            for i in range(n):
                for m in range(i * K, i * K + K):
                    u = margin[m] - self.place * pair[2 * m]
                    if u > 0.0:
                        u = u - self.dead if u > self.dead else 0.0
                        u = u * (self.high_above if pair[2 * m] > 0.0 else self.high_below)
                    else:
                        u = u + self.dead if u < -self.dead else 0.0
                        u = u * (self.low_above if pair[2 * m] > 0.0 else self.low_below)
                    total += s[i] * u
            total -= self.values(n, K, pair, margin, &s[0])
        return total

    def middles(self, const double[:, ::1] y):
        """The first centres: the middle of [low, high] for each target."""
        cdef Py_ssize_t i, k
        cdef double[:, ::1] c = np.empty((y.shape[0], y.shape[1]))
        for i in range(y.shape[0]):
            for k in range(y.shape[1]):
                c[i, k] = self.middle(y[i, k])
        return np.asarray(c)
