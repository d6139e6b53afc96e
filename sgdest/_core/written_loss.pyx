"""WrittenLoss: a loss written in Python, called by the compiled loops block by block.

The loops run without the interpreter's lock and cannot pass an exception on. So the adapter takes
the lock once per block, keeps the first error, answers NaN from then on, and ``raise_error``
raises it as soon as Python code has the word again.
"""

from libc.math cimport NAN
from libc.string cimport memcpy

cimport numpy as cnp

from functools import lru_cache

import numpy as np

from sgdest._core.losses cimport Loss

# Blocks go through the C interface of NumPy: memory views would cost more than a short loss.
cnp.import_array()


cdef class WrittenLoss(Loss):
    """Calls ``value``, ``derivative`` and ``curvature`` of an object; see ``adapted``.

    Parameters
    ----------
    written : object with these methods, on 1-D blocks of float64
    """

    curved = True
    costs_a_call = True

    cdef object written
    cdef object error              # the first exception that a call has raised

    def __init__(self, written):
        self.written = written

    def raise_error(self):
        if self.error is not None:
            raise self.error

    cdef void fill(self, str name, Py_ssize_t n, const double* y, const double* z,
                   double* out) noexcept:
        """Write ``written.name(y, z)`` to ``out``; NaN after an error."""
        cdef Py_ssize_t i
        result = self.answer(name, n, y, z)
        if result is None:
            for i in range(n):
                out[i] = NAN
        else:
            memcpy(out, cnp.PyArray_DATA(result), n * sizeof(double))

    cdef object answer(self, str name, Py_ssize_t n, const double* y, const double* z):
        """``written.name(y, z)``, n numbers in a row; None after an error."""
        if self.error is not None:
            return None
        try:
            result = getattr(self.written, name)(copied(n, y), copied(n, z))
            return result if is_block(result, n) else self.converted(name, result, n)
        except BaseException as error:  # it must not unwind through a loop without lock
            self.error = error

    def converted(self, name, result, n):
        """The result of a call as float64; ValueError if it has another shape."""
        if np.shape(result) != (n,):
            raise ValueError(
                f"{type(self.written).__name__}.{name}(y, z) must return one number per element: "
                f"an array of shape ({n},); got {type(result).__name__} of shape "
                f"{np.shape(result)}. Use elementwise NumPy functions."
            )
        return np.ascontiguousarray(result, dtype=np.float64)

    cdef double value(self, double y, double z) noexcept nogil:
        cdef double out
        with gil:
            self.fill("value", 1, &y, &z, &out)
        return out

    cdef double derivative(self, double y, double z) noexcept nogil:
        cdef double out
        with gil:
            self.fill("derivative", 1, &y, &z, &out)
        return out

    cdef double curvature(self, double y, double z) noexcept nogil:
        cdef double out
        with gil:
            self.fill("curvature", 1, &y, &z, &out)
        return out

    cdef double values(self, Py_ssize_t n, Py_ssize_t n_outputs, const double* y,
                       const double* z, const double* s) noexcept nogil:
        cdef double total
        with gil:
            total = self.sum_of_values(n, n_outputs, y, z, s)
        return total

    cdef double sum_of_values(self, Py_ssize_t n, Py_ssize_t n_outputs, const double* y,
                              const double* z, const double* s) noexcept:
        cdef Py_ssize_t i, k
        cdef double even = 0.0, odd = 0.0     # an addition should not wait for the last
        cdef const double* v
        result = self.answer("value", n * n_outputs, y, z)
        if result is None:
            return NAN
        v = <const double*> cnp.PyArray_DATA(result)
        for k in range(n_outputs):
            for i from 0 <= i < n - 1 by 2:
                even += s[i] * v[i * n_outputs + k]
                odd += s[i + 1] * v[(i + 1) * n_outputs + k]
            if n % 2:
                even += s[n - 1] * v[(n - 1) * n_outputs + k]
        return even + odd

    cdef void derivatives(self, Py_ssize_t n, Py_ssize_t n_outputs, const double* y,
                          const double* z, double* d) noexcept nogil:
        with gil:
            self.fill("derivative", n * n_outputs, y, z, d)

    cdef void curvatures(self, Py_ssize_t n, Py_ssize_t n_outputs, const double* y,
                         const double* z, double* h) noexcept nogil:
        with gil:
            self.fill("curvature", n * n_outputs, y, z, h)


cdef copied(Py_ssize_t n, const double* x):
    """n numbers as an array of their own, which the loss may keep or change."""
    cdef cnp.npy_intp shape = n
    array = cnp.PyArray_SimpleNew(1, &shape, cnp.NPY_DOUBLE)
    memcpy(cnp.PyArray_DATA(array), x, n * sizeof(double))
    return array


cdef bint is_block(object x, Py_ssize_t n):
    """Whether x is an array of n numbers that can be copied as it is."""
    return (cnp.PyArray_CheckExact(x) and cnp.PyArray_TYPE(x) == cnp.NPY_DOUBLE
            and cnp.PyArray_NDIM(x) == 1 and cnp.PyArray_DIM(x, 0) == n
            and cnp.PyArray_ISCARRAY_RO(x))


@lru_cache(maxsize=None)
def _kind(**facts):
    """The adapter for losses of which these facts hold: facts are read off classes."""
    return type("WrittenLoss", (WrittenLoss,), facts)


def adapted(written):
    """The compiled loss that calls ``written``, a ``losses.Loss`` with methods of its own."""
    kind = _kind(targets=written.targets, link=written.link, smoothness=written.smoothness,
                 curvature_bound=float(written.curvature_bound))
    return kind(written)
