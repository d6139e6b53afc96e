"""The structure of compressed sparse arrays: CSR, CSC and BSR.

SciPy's loops trust ``indptr`` and ``indices``, and so do ours: what is malformed is refused here,
before the first of them runs. SciPy's own check does not suffice: it lets an ``indptr`` pass that
ends with 0, and the differences that it looks at overflow.
"""

from libc.stdint cimport int32_t, int64_t

import numpy as np

ctypedef fused index:
    int32_t
    int64_t

# what `indptr` counts and what `indices` point to; a line is one of the first
LINES = {"csr": ("row", "column"), "csc": ("column", "row"),
         "bsr": ("row of blocks", "column of blocks")}


def sound_structure(X, Py_ssize_t n_lines, Py_ssize_t n_places):
    """What a loop may read of a CSR, CSC or BSR array.

    Parameters
    ----------
    X : sparse array
    n_lines, n_places : int
        How many rows and columns it has; of CSC columns and rows, of BSR those of blocks.

    Returns
    -------
    indptr, indices : ndarrays of int32 or int64
        Those of X, or copies where these cannot be read in place.
    increasing : bool
        Whether the indices of each line increase.

    Raises
    ------
    ValueError
        If X is malformed.
    """
    _check_arrays(X)
    narrow = np.can_cast(X.indices.dtype, np.int32) and np.can_cast(X.indptr.dtype, np.int32)
    index_type = np.int32 if narrow else np.int64
    indptr, indices = as_usable(X.indptr, index_type), as_usable(X.indices, index_type)
    increasing = _check(indptr, indices, X.data.shape[0], n_lines, n_places, X.format)
    return indptr, indices, increasing


def as_usable(array, dtype):
    """The array, or a copy if it is not contiguous, aligned and of that type."""
    if type(array) is np.ndarray and array.dtype == dtype and array.flags.carray:
        return array
    return np.require(array, dtype=dtype, requirements=["C", "A"])


def malformed(form, what):
    """The error that says what is wrong with a sparse array of a format."""
    return ValueError(f"X is a malformed {form.upper()} array: {what}. Rebuild X from its rows, "
                      "columns and values.")


def _check_arrays(X):
    """Raise ValueError if the arrays of a compressed array are not what indices can be read from."""
    for name in ("indptr", "indices", "data"):
        array = getattr(X, name)
        n_axes = 3 if name == "data" and X.format == "bsr" else 1
        if array.ndim != n_axes:
            raise malformed(X.format, f"{name} must be {n_axes}-D; got shape {array.shape}")
        if name != "data" and array.dtype.kind not in "iu":
            raise malformed(X.format, f"{name} must hold integers; got {array.dtype}")


def _check(const index[::1] starts, const index[::1] places, Py_ssize_t n_stored,
           Py_ssize_t n_lines, Py_ssize_t n_places, form):
    """Raise ValueError if a structure is malformed; else tell whether indices increase in lines.

    One pass over the structure; nothing is read that a check before it has not bounded.
    """
    cdef Py_ssize_t i, p
    line, place = LINES[form]
    if starts.shape[0] != n_lines + 1:
        raise malformed(form, f"indptr must have one entry per {line} and one more, "
                              f"{n_lines + 1}; got {starts.shape[0]}")
    if starts[0] != 0 or starts[n_lines] > min(n_stored, places.shape[0]):
        raise malformed(form, "indptr must begin with 0 and end with at most the number of stored "
                              f"values; got {starts[0]} .. {starts[n_lines]} for {n_stored} values "
                              f"and {places.shape[0]} indices")
    for i in range(n_lines):
        if starts[i + 1] < starts[i]:
            raise malformed(form, f"indptr must not decrease; it does at {line} {i} ({starts[i]} "
                                  f"then {starts[i + 1]})")
    # over all lines at once, which becomes vectors; then one by one to say what is wrong. Blocks
    # stay in the cache for the second walk
    cdef Py_ssize_t n = starts[n_lines], first, stop
    cdef Py_ssize_t n_descents = 0
    cdef index n_here, outside = 0, end = <index> min(n_places, 2**31 - 1)
    for first from 0 <= first < n by 4096:
        stop, n_here = min(first + 4096, n), 0
        for p in range(first, stop):
            outside |= (places[p] < 0) | (places[p] >= end)
        for p in range(max(first, 1), stop):
            n_here += places[p] <= places[p - 1]
        n_descents += n_here
    for i in range(1, n_lines):
        p = starts[i]
        if 0 < p < n and p < starts[i + 1]:
            n_descents -= places[p] <= places[p - 1]
    for i in range(n_lines if outside else 0):
        for p in range(starts[i], starts[i + 1]):
            if not 0 <= places[p] < n_places:
                raise malformed(form, f"the {place} indices of {line} {i} must lie in "
                                      f"[0, {n_places})")
    return n_descents == 0


def has_duplicates(const index[::1] starts, const index[::1] columns, Py_ssize_t n_features):
    """Whether a row of a sound CSR structure names a column twice."""
    cdef Py_ssize_t i, p
    cdef Py_ssize_t[::1] seen = np.full(n_features, -1, dtype=np.intp)
    for i in range(starts.shape[0] - 1):
        for p in range(starts[i], starts[i + 1]):
            if seen[columns[p]] == i:
                return True
            seen[columns[p]] = i
    return False
