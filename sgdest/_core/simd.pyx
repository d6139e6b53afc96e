"""The SIMD level of the compiled loops: the highest of this machine, or the one asked for.

The environment variable ``SGDEST_SIMD`` (baseline, avx2 or avx512), read at import, asks for one.
Results differ between levels in their last bits.
"""

import math
import os

import numpy as np

cdef extern from "levels.h" nogil:
    int highest_level()

LEVELS = ("baseline", "avx2", "avx512")


def available():
    """Names of the levels that this machine runs, the lowest first."""
    return LEVELS[:highest_level() + 1]


def _chosen():
    """Number of the level to use."""
    name = os.environ.get("SGDEST_SIMD") or available()[len(available()) - 1]
    if name not in available():
        raise ValueError(
            f"SGDEST_SIMD must name a level that this machine runs, one of "
            f"{', '.join(available())}; got {name!r}. Unset it to use the highest."
        )
    return LEVELS.index(name)


level = _chosen()


def current():
    """Name of the level in use."""
    return LEVELS[level]


def aligned(array):
    """A copy, float64 and C order, that begins with a cache line.

    Vectors of it never lie in two lines, each of which would cost a load or store of its own: a
    step on 784 numbers in the cache takes 83 ns in the place of 102.
    """
    return _placed(array, 0)


def aligned_like(array, itemsize):
    """A copy, float64 and C order, whose cache lines begin with the same columns as those of X.

    X has numbers of ``itemsize`` bytes and begins 16 bytes after the begin of a line, as large
    arrays of NumPy do. Rows of 128 or 784 float64 are then read, multiplied and added line by line.
    """
    return _placed(array, 16 // itemsize % 8)


def aligned_zeros(shape, itemsize=0):
    """Zeros, float64 and C order, like those of ``aligned``; with ``itemsize`` of ``aligned_like``."""
    size = math.prod(shape)
    return _from(np.zeros(size + 15), 16 // itemsize % 8 if itemsize else 0, size).reshape(shape)


def _placed(array, Py_ssize_t place):
    """A copy that begins ``place`` numbers after the begin of a cache line."""
    array = np.asarray(array)
    copy = _from(np.empty(array.size + 15), place, array.size).reshape(array.shape)
    copy[...] = array
    return copy


def _from(double[::1] room, Py_ssize_t place, Py_ssize_t size):
    """``size`` numbers of the room, ``place`` after the begin of a cache line."""
    cdef Py_ssize_t first = (64 - <Py_ssize_t> (<size_t> &room[0] % 64)) % 64 // 8 + place
    return np.asarray(room)[first:first + size]
