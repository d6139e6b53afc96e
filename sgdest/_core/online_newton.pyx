"""Online Newton steps: recursive least squares, with the curvature of any loss.

The inverse P of the sum of h x x' over the rows so far follows from that of the rows before
(Sherman and Morrison), so that a row costs O(n_features^2)::

    q = P x,   w -= g q / (1 + h x.q),   P -= h q q' / (1 + h x.q)

for a row of slope g and curvature h. For the squared loss w is the minimiser over all rows so far.
An L2 penalty is paid by one column after the other, in the metric P, of which it is no part: what a
column pays depends on its unit, the largest value so far, and a matrix cannot unlearn a small one.
"""

cimport cython
from libc.math cimport fabs

import numpy as np

from sgdest._core cimport simd
from sgdest._core.stream_kernels cimport StreamLoops, stream_loops

# The inverse before the first row, for columns in units of their largest value: w is about as
# large as the predictions then, give or take a factor of three.
cdef double PRIOR = 10.0

cdef const StreamLoops* loops = stream_loops(simd.level)


@cython.final
cdef class OnlineNewton:
    """Newton's method one row at a time, of several outputs.

    Parameters
    ----------
    inverse : ndarray of shape (n_outputs, n_columns, n_columns)
        P of each output; copied.
    paid : ndarray of shape (n_columns,)
        Weight of the rows up to which the penalty of a column has been paid; copied.
    """

    def __init__(self, inverse, paid):
        self.inverse, self.paid = np.array(inverse), np.array(paid)
        self.q = np.zeros(self.inverse.shape[1])

    @staticmethod
    def fresh(n_columns, n_outputs):
        """(inverse, paid) before the first row."""
        return np.tile(PRIOR * np.eye(n_columns), (n_outputs, 1, 1)), np.zeros(n_columns)

    cdef void learn(self, Py_ssize_t k, Py_ssize_t n, const Py_ssize_t* columns, const double* r,
                    double slope, double curvature, double farthest, double* w,
                    Py_ssize_t stride) noexcept nogil:
        cdef Py_ssize_t j, p, D = self.inverse.shape[1]
        cdef double* P = &self.inverse[k, 0, 0]
        cdef double* q = &self.q[0]
        cdef double v = 0.0, step
        loops.product(n, columns, r, D, P, q)
        for p in range(n):
            v += r[p] * q[columns[p]]
        if not v > 0.0:
            return
        step = slope / (1.0 + curvature * v)
        if fabs(step) * v > farthest:
            step = farthest / v if slope > 0.0 else -farthest / v
        for j in range(D):
            w[j * stride] -= step * q[j]
        loops.add_pairs(D, -curvature / (1.0 + curvature * v), q, P)

    cdef void decay(self, Py_ssize_t k, Py_ssize_t j, double rate, double* w,
                    Py_ssize_t stride) noexcept nogil:
        cdef Py_ssize_t i, D = self.inverse.shape[1]
        cdef double* q = &self.inverse[k, j, 0]
        cdef double step = rate * w[j * stride] / (1.0 + rate * q[j])
        for i in range(D):
            w[i * stride] -= step * q[i]

    cdef void rescale(self, Py_ssize_t k, Py_ssize_t j, double ratio, double* w) noexcept nogil:
        cdef Py_ssize_t i, D = self.inverse.shape[1]
        cdef double[:, ::1] P = self.inverse[k]
        cdef double nothing = 0.0, one = 1.0
        if ratio < 1e-8:           # nothing of what the old unit has taught counts in the new one
            for i in range(D):
                P[i, j] = P[j, i] = 0.0
            P[j, j] = PRIOR
            w[0] = 0.0
            return
        w[0] /= ratio
        for i in range(D):
            P[i, j] /= ratio
        for i in range(D):
            P[j, i] /= ratio
        # the prior is one in units of the largest value so far
        self.learn(k, 1, &j, &one, 0.0, (1.0 - ratio * ratio) / PRIOR, 1.0, &nothing, 0)
