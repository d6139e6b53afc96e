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

    def __init__(self, Loss loss, double sharpness):
        self.loss = loss
        self.sharpness = sharpness

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

    cdef double values(self, Py_ssize_t n, Py_ssize_t n_outputs, const double* y,
                       const double* z, const double* s) noexcept nogil:
        cdef Py_ssize_t i, k, m
        cdef double h, value, total = 0.0
        for i in range(n):
            for k in range(n_outputs):
                m = i * n_outputs + k
                self.maximiser(y[2 * m], y[2 * m + 1], z[m], &h, &value)
                total += s[i] * value
        return total

    cdef void derivatives(self, Py_ssize_t n, Py_ssize_t n_outputs, const double* y,
                          const double* z, double* d) noexcept nogil:
        cdef Py_ssize_t m
        cdef double h, value
        for m in range(n * n_outputs):
            d[m] = self.maximiser(y[2 * m], y[2 * m + 1], z[m], &h, &value)

    cdef void curvatures(self, Py_ssize_t n, Py_ssize_t n_outputs, const double* y,
                         const double* z, double* h) noexcept nogil:
        cdef Py_ssize_t m
        cdef double value
        for m in range(n * n_outputs):
            self.maximiser(y[2 * m], y[2 * m + 1], z[m], &h[m], &value)

    def middles(self, const double[:, ::1] y):
        """The first centres: the middle of [low, high] for each target."""
        cdef Py_ssize_t i, k
        cdef double[:, ::1] c = np.empty((y.shape[0], y.shape[1]))
        for i in range(y.shape[0]):
            for k in range(y.shape[1]):
                c[i, k] = self.middle(y[i, k])
        return np.asarray(c)
