"""Every penalty: its value, its proximal point, and the shrinking that accompanies a step.

A step of length ``eta`` along the negative gradient of the loss is followed by ``shrink`` for the
same length: the exact flow of ``w' = -(subgradient of the penalty)``. As a flow it obeys

    shrink(s) then shrink(t) = shrink(s + t),

so that what a coordinate missed while its feature was zero is made up in one call, and rows may
be sparse without changing the model. The fixed point differs from that of an exact proximal step
by a factor 1 + eta l2 / 2 on l2 (below 1 + 1e-6 at the defaults).

With factors c_j the penalty is ``l1 sum_j c_j |W_j| + l2 sum_j c_j^2 W_j^2 / 2``.
"""

cimport cython
from libc.math cimport exp, expm1, fabs, fmax

import numpy as np

from sgdest._core cimport simd
from sgdest._core.loss_kernels cimport LossLoops, loss_loops

cdef const LossLoops* loops = loss_loops(simd.level)


cdef class Penalty:
    """Abstract: alpha * penalty(W). See ``penalties.pxd`` for what each method promises."""

    name = None

    def __init__(self, double alpha=0.0, double l1_ratio=0.0, bint positive=False, factors=None):
        self.l1 = alpha * l1_ratio
        self.l2 = alpha * (1.0 - l1_ratio)
        self.positive = positive
        cdef const double[::1] view
        self.c = NULL
        if factors is not None:
            self.factors = np.ascontiguousarray(factors, dtype=np.float64)
            view = self.factors
            self.c = &view[0]

    def __reduce__(self):
        return _restored, (type(self), self.l1, self.l2, self.positive, self.factors)

    cdef double shrunk(self, double w, double length, double c) noexcept nogil:
        # |w| decays by the L2 part while the L1 part takes a constant amount off, stopping at 0:
        # |w|' = -l2 c^2 |w| - l1 c
        cdef double rate = self.l2 * c * c
        cdef double decay = exp(-rate * length)
        cdef double taken = -expm1(-rate * length) / rate if rate > 0.0 else length
        cdef double size = fmax(0.0, fabs(w) * decay - self.l1 * c * taken)
        if w < 0.0:
            return 0.0 if self.positive else -size
        return size

    cdef double proximal(self, double w, double step, double c) noexcept nogil:
        cdef double size = fmax(0.0, fabs(w) - step * self.l1 * c) / (1.0 + step * self.l2 * c * c)
        if w < 0.0:
            return 0.0 if self.positive else -size
        return size

    cdef void shrink(self, Py_ssize_t n, Py_ssize_t n_outputs, double* w, double length,
                     const double* c) noexcept nogil:
        cdef Py_ssize_t j, k
        cdef double factor = 1.0
        if c == NULL:
            self.shrink_alike(n * n_outputs, w, length)
            return
        for j in range(n):
            factor = c[j]
            for k in range(n_outputs):
                w[j * n_outputs + k] = self.shrunk(w[j * n_outputs + k], length, factor)

    cdef void shrink_each(self, Py_ssize_t n, Py_ssize_t n_outputs, double* w,
                          const double* length, const double* c) noexcept nogil:
        cdef Py_ssize_t j, k
        cdef double rate, decay, taken, u
        if self.l1 == 0.0 and self.l2 == 0.0 and not self.positive:
            return
        if n_outputs == 1 and c == NULL:
            loops.shrink(n, self.l1, self.l2, self.positive, length, w)
            return
        for j in range(n):
            u = c[j] if c != NULL else 1.0
            rate = self.l2 * u * u
            decay = one_minus_exp(rate * length[j])
            taken = self.l1 * u * (decay / rate if rate > 0.0 else length[j])
            decay = 1.0 - decay
            for k in range(n_outputs):
                w[j * n_outputs + k] = toward_zero(w[j * n_outputs + k], decay, taken,
                                                   self.positive)

    cdef void shrink_alike(self, Py_ssize_t m, double* w, double length) noexcept nogil:
        cdef Py_ssize_t j
        cdef double lost = one_minus_exp(self.l2 * length)
        cdef double decay = 1.0 - lost
        cdef double taken = self.l1 * (lost / self.l2 if self.l2 > 0.0 else length)
        if taken == 0.0 and not self.positive:
            if lost != 0.0:
                for j in range(m):
                    w[j] *= decay
            return
        for j in range(m):
            w[j] = toward_zero(w[j], decay, taken, self.positive)

    cdef double value(self, Py_ssize_t n, Py_ssize_t n_outputs, const double* W) noexcept nogil:
        cdef Py_ssize_t j, k
        cdef double w, c = 1.0, absolute = 0.0, square = 0.0
        for j in range(n):
            if self.c != NULL:
                c = self.c[j]
            for k in range(n_outputs):
                w = c * W[j * n_outputs + k]
                absolute += fabs(w)
                square += w * w
        return self.l1 * absolute + 0.5 * self.l2 * square

    def value_of(self, const double[:, ::1] W):
        """alpha * penalty(W) for ``W`` of shape (n_features, n_outputs)."""
        if W.shape[0] == 0:
            return 0.0
        return self.value(W.shape[0], W.shape[1], &W[0, 0])

    def shrink_of(self, W, length):
        """A copy of ``W`` shrunk for ``length``: one number, or one per feature."""
        cdef double[:, ::1] out = np.array(W, dtype=np.float64, order="C", ndmin=2)
        cdef const double[::1] lengths
        if np.ndim(length) == 0:
            self.shrink(out.shape[0], out.shape[1], &out[0, 0], length, self.c)
        else:
            lengths = np.ascontiguousarray(length, dtype=np.float64)
            self.shrink_each(out.shape[0], out.shape[1], &out[0, 0], &lengths[0], self.c)
        return np.asarray(out)

    def proximal_of(self, W, double step):
        """argmin over V of ``|V - W|^2 / 2 + step * alpha * penalty(V)``."""
        cdef double[:, ::1] out = np.array(W, dtype=np.float64, order="C", ndmin=2)
        cdef Py_ssize_t j, k
        for j in range(out.shape[0]):
            for k in range(out.shape[1]):
                out[j, k] = self.proximal(out[j, k], step, 1.0 if self.c == NULL else self.c[j])
        return np.asarray(out)


@cython.final
cdef class NoPenalty(Penalty):
    """0."""

    name = None

    def __init__(self, alpha=0.0, l1_ratio=0.0, positive=False, factors=None):
        super().__init__(0.0, 0.0, positive, None)


@cython.final
cdef class L2(Penalty):
    """alpha sum_j c_j^2 W_j^2 / 2."""

    name = "l2"

    def __init__(self, alpha=0.0, l1_ratio=0.0, positive=False, factors=None):
        super().__init__(alpha, 0.0, positive, factors)


@cython.final
cdef class L1(Penalty):
    """alpha sum_j c_j |W_j|."""

    name = "l1"

    def __init__(self, alpha=0.0, l1_ratio=1.0, positive=False, factors=None):
        super().__init__(alpha, 1.0, positive, factors)


@cython.final
cdef class ElasticNet(Penalty):
    """alpha (l1_ratio sum_j c_j |W_j| + (1 - l1_ratio) sum_j c_j^2 W_j^2 / 2)."""

    name = "elasticnet"


def _restored(kind, double l1, double l2, positive, factors):
    """A penalty from its attributes: what unpickling calls."""
    cdef Penalty penalty = kind(positive=positive, factors=factors)
    penalty.l1, penalty.l2 = l1, l2
    return penalty


#: every penalty a user can name; None is a name too
PENALTIES = {cls.name: cls for cls in Penalty.__subclasses__()}
