"""Distinct labels, and which of them each row has, in one pass over memory.

Sorting a million labels takes 20 times as long as reading them. Labels are few, so they are found
by a small table of their bytes: whatever their type, equal bytes are equal labels. (Labels that
are equal without equal bytes, such as 0.0 and -0.0, are told apart here and joined by the caller.)
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

import numpy as np

# More distinct labels are left to sorting. The table is four times as large: short searches.
cdef enum:
    MOST = 256
    TABLE = 1024

ctypedef fused word:
    uint8_t
    uint32_t
    uint64_t


cdef Py_ssize_t find(const word* items, Py_ssize_t n_items, Py_ssize_t n_words, uint8_t* codes,
                     Py_ssize_t* first) noexcept nogil:
    """Number the items by their first occurrence; how many differ, or -1 for more than MOST."""
    cdef int[TABLE] table                  # 1 + code, 0 where free
    cdef Py_ssize_t i, j, n_found = 0
    cdef const word* item
    cdef const word* known
    cdef uint64_t mixed
    cdef Py_ssize_t place
    for j in range(TABLE):
        table[j] = 0
    for i in range(n_items):
        item = items + i * n_words
        mixed = 0
        for j in range(n_words):
            # Fibonacci hashing: D. Knuth, The Art of Computer Programming 3, section 6.4
            mixed = (mixed ^ item[j]) * <uint64_t> 0x9E3779B97F4A7C15
        place = <Py_ssize_t> (mixed >> 54)
        while table[place] != 0:
            known = items + first[table[place] - 1] * n_words
            j = 0
            while j < n_words and item[j] == known[j]:
                j += 1
            if j == n_words:
                break
            place = (place + 1) % TABLE
        if table[place] == 0:
            if n_found == MOST:
                return -1
            first[n_found] = i
            n_found += 1
            table[place] = <int> n_found
        codes[i] = <uint8_t> (table[place] - 1)
    return n_found


cdef bint find_two(const word* items, Py_ssize_t n_items, uint8_t* codes,
                   Py_ssize_t* first) noexcept nogil:
    """Number items of one word that are of two kinds, without a branch per item; False if not."""
    cdef Py_ssize_t i, start, n_others = 0
    cdef word one = items[0], two
    first[0], first[1] = 0, 1
    while first[1] < n_items and items[first[1]] == one:
        first[1] += 1
    if first[1] == n_items:
        return False
    two = items[first[1]]
    for start from 0 <= start < n_items by 4096:
        for i in range(start, min(start + 4096, n_items)):
            n_others += (items[i] != one) & (items[i] != two)
            codes[i] = items[i] == two
        if n_others:
            return False
    return True


def distinct(y):
    """Which of the distinct items of a 1-D array each item is, and where those occur first.

    Parameters
    ----------
    y : ndarray of shape (n,)
        Of any type; of objects, those that are the same object are equal.

    Returns
    -------
    (codes, first) : ndarrays of shapes (n,), uint8, and (n_distinct,), or None
        ``y[first][codes]`` is ``y``; None if more than 256 items differ.
    """
    y = np.ascontiguousarray(y)
    cdef Py_ssize_t n = y.shape[0], size = y.itemsize, n_found = 0
    cdef uint8_t[::1] codes = np.empty(n, dtype=np.uint8)
    cdef Py_ssize_t[MOST] first
    cdef size_t address = y.ctypes.data
    if n == 0 or size == 0:
        return None
    with nogil:
        if size == 8 and address % 8 == 0 and find_two(<const uint64_t*> address, n, &codes[0], first):
            n_found = 2
        elif size % 8 == 0 and address % 8 == 0:
            n_found = find(<const uint64_t*> address, n, size // 8, &codes[0], first)
        elif size % 4 == 0 and address % 4 == 0:
            n_found = find(<const uint32_t*> address, n, size // 4, &codes[0], first)
        else:
            n_found = find(<const uint8_t*> address, n, size, &codes[0], first)
    if n_found < 0:
        return None
    return np.asarray(codes), np.array([first[j] for j in range(n_found)], dtype=np.intp)


def encode(y):
    """The sorted distinct labels of a 1-D array, and the number of each row's: ``labels[codes]``.

    As ``np.unique(y, return_inverse=True)``.
    """
    found = distinct(y)
    if found is None:
        return encode_objects(y) if y.dtype.kind == "O" else np.unique(y, return_inverse=True)
    codes, first = found
    labels = y[first]
    if len(labels) == 2 and labels.dtype.kind in "biuf":   # unique() takes longer than all else
        if labels[0] < labels[1]:
            return labels, codes
        if labels[0] > labels[1]:
            return labels[::-1].copy(), np.subtract(1, codes, out=codes)
    labels, numbers = np.unique(labels, return_inverse=True)
    if (numbers == np.arange(len(first))).all():
        return labels, codes
    return labels, recoded(np.ascontiguousarray(numbers, dtype=np.uint8), codes)


def encode_objects(y):
    """``encode`` for objects, by their hashes; TypeError if they have none or no order."""
    rows = y.tolist()
    labels = sorted(set(rows))
    number = {label: k for k, label in enumerate(labels)}
    codes = np.fromiter(map(number.__getitem__, rows), dtype=np.intp, count=len(rows))
    out = np.empty(len(labels), dtype=object)
    out[:] = labels
    return out, codes


def take(values, codes):
    """``values[codes]`` as float64, for codes of ``encode``."""
    values = np.ascontiguousarray(values, dtype=np.float64)
    return looked_up(values, codes) if codes.dtype == np.uint8 else values[codes]


def looked_up(const double[::1] values, const uint8_t[::1] codes):
    """``values[codes]``, codes below the length of ``values``."""
    cdef Py_ssize_t i, n = codes.shape[0]
    cdef double[::1] out = np.empty(n)
    cdef double zero, one
    if values.shape[0] == 2:
        zero, one = values[0], values[1]
        with nogil:
            for i in range(n):
                out[i] = one if codes[i] else zero
        return np.asarray(out)
    with nogil:
        for i in range(n):
            out[i] = values[codes[i]]
    return np.asarray(out)


def recoded(const uint8_t[::1] numbers, const uint8_t[::1] codes):
    """``numbers[codes]``, codes below the length of ``numbers``."""
    cdef Py_ssize_t i, n = codes.shape[0]
    cdef uint8_t[::1] out = np.empty(n, dtype=np.uint8)
    with nogil:
        for i in range(n):
            out[i] = numbers[codes[i]]
    return np.asarray(out)


def weight_of(y, s, label, other):
    """The weight of the rows of ``label``; None where a row has neither this nor the ``other``."""
    of_label = y == label
    count = np.count_nonzero(of_label)
    if count + np.count_nonzero(y == other) < len(y):
        return None
    return float(count) if s is None else s[of_label].sum()
