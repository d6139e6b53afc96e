"""Products of all pairs of columns, over weighted rows: what metrics and least squares begin with.

Blocks of rows are centred and scaled into a buffer that the first-level cache holds, and multiplied
there by tiles of registers (``row_loops.h``): at few columns three to ten times as fast as a matrix
product of BLAS, and no thread of it is woken.
"""

cimport cython
from libc.stdint cimport uint64_t

import threading
import weakref

import numpy as np

from sgdest._core cimport simd
from sgdest._core.kernels cimport (
    F64, GRAM_COLUMNS, SINGLE_COLUMNS, WORDS, DenseLoops, dense_loops)
from sgdest._core.problem cimport Problem
from sgdest._core.simd import aligned_zeros
from sgdest._core.threads import on_threads

cdef const DenseLoops* loops = dense_loops(F64, simd.level)

cdef Py_ssize_t ENTRIES_OF_BLOCK = 1 << 12
cdef Py_ssize_t ROWS_OF_SINGLE = 128
# Of products of rows: columns at a time; rows up to which that is faster than BLAS, with how many
# entries at a time beyond.
cdef Py_ssize_t COLUMNS_OF_BLOCK = 32
MOST_ROWS, MOST_ENTRIES = 4000, 1 << 20
# Squared distance of a pivot from the mean, in variances.
MOST_DRIFT = 100.0
MOST_SHAPES = 16
ROWS_OF_PART = 8         # for a column, at least: every part of a pass has products of its own


cpdef Py_ssize_t stride_of(Py_ssize_t n, Py_ssize_t multiple=GRAM_COLUMNS) noexcept nogil:
    """n, padded: rows that are multiples of 2 kB apart would share few places of a cache."""
    cdef Py_ssize_t stride = (n + multiple - 1) // multiple * multiple
    return stride if stride % 256 else stride + multiple


@cython.final
cdef class ScaledRows:
    """Rows of dense data about a centre and scaled, and what stands beside each."""

    cdef Problem problem
    cdef const Py_ssize_t[::1] rows
    cdef const double[::1] centre, scale
    cdef const double[:, ::1] beside
    cdef double[::1] largest
    cdef double* largest_data

    def __init__(self, problem, rows, centre, scale, beside, largest):
        self.problem, self.rows, self.beside, self.largest = problem, rows, beside, largest
        # a column at least, so that there is an address
        self.centre, self.scale = (centre, scale) if len(centre) else (np.zeros(1), np.zeros(1))
        self.largest_data = NULL if largest is None or not len(largest) else &self.largest[0]

    cdef void put(self, Py_ssize_t start, Py_ssize_t m, const double* c, Py_ssize_t stride,
                  double* A) noexcept nogil:
        """Write m of them, from the ``start``-th on, times c, into rows of A."""
        cdef Py_ssize_t d = self.problem.n_features, i, k
        cdef const double* own = NULL
        self.problem.rows.scaled(m, &self.rows[start], c, &self.centre[0], &self.scale[0], stride,
                                 A, self.largest_data)
        for i in range(m):
            own = &self.beside[start + i if self.beside.shape[0] > 1 else 0, 0]
            for k in range(self.beside.shape[1]):
                A[i * stride + d + k] = c[i] * own[k]


def gram_of_rows(problem, rows, factor, centre, scale, beside, largest=None):
    """One of ``grams_of_rows``, by one factor for each row, as a matrix."""
    return grams_of_rows(problem, rows, factor[None], centre, scale, beside, largest)[0]


def grams_of_rows(problem, rows, factors, centre, scale, beside, largest=None):
    """Sums over ``rows`` of factor a a', a being (x - centre) scale and what stands ``beside`` it.

    Parameters
    ----------
    rows : ndarray of intp
        Of dense data.
    factors : ndarray of shape (p, len(rows))
        Those of each sum.
    centre, scale : ndarrays of shape (n_features,)
    beside : ndarray of shape (len(rows), m), or of shape (1, m): the same for every row
    largest : ndarray of shape (n_features,), default=None
        Is raised to the largest |x_j| of rows with a factor.

    Returns
    -------
    G : ndarray of shape (p, n_features + m, n_features + m)
    """
    size = problem.n_features + beside.shape[1]
    return np.array([whole(G, size) for G in upper_grams(
        problem, rows, factors, centre, scale, beside, largest)])


def single_gram_of_rows(problem, rows, factor, centre, scale, beside, largest=None):
    """``gram_of_rows`` in single precision, in half of the time.

    An entry is wrong by about 1e-7 of the lengths of its columns: sums in single precision are of
    ``ROWS_OF_SINGLE`` rows.
    """
    return whole(single_upper_gram(problem, rows, factor, centre, scale, beside, largest),
                 problem.n_features + beside.shape[1])


def upper_grams(problem, rows, const double[:, ::1] factors, centre, scale, beside, largest=None):
    """What ``grams_of_rows`` returns, but padded, and only what is above the diagonals."""
    cdef Py_ssize_t n = rows.shape[0], start, p, m
    cdef Py_ssize_t stride = stride_of(problem.n_features + beside.shape[1])
    cdef Py_ssize_t height = max(64, ENTRIES_OF_BLOCK // stride)
    cdef double[:, :, ::1] G = aligned_zeros((factors.shape[0], stride, stride))
    cdef double[:, ::1] A = aligned_zeros((height, stride))
    cdef double[:, ::1] c = np.sqrt(factors)
    cdef ScaledRows read = ScaledRows(problem, rows, centre, scale, beside, largest)
    with nogil:
        for start from 0 <= start < n by height:
            m = min(height, n - start)
            for p in range(factors.shape[0]):
                read.put(start, m, &c[p, start], stride, &A[0, 0])
                loops.gram(m, stride, &A[0, 0], &G[p, 0, 0])
    return np.asarray(G)


def single_upper_gram(problem, rows, factor, centre, scale, beside, largest=None):
    """The same of ``single_gram_of_rows``."""
    cdef Py_ssize_t n = rows.shape[0], start, m
    cdef Py_ssize_t stride = stride_of(problem.n_features + beside.shape[1], SINGLE_COLUMNS)
    cdef double[:, ::1] G = aligned_zeros((stride, stride))
    cdef double[:, ::1] A = aligned_zeros((ROWS_OF_SINGLE, stride))
    cdef double[:, ::1] room = aligned_zeros((ROWS_OF_SINGLE // 2, stride))
    cdef double[::1] c = np.sqrt(factor)
    cdef ScaledRows read = ScaledRows(problem, rows, centre, scale, beside, largest)
    with nogil:
        for start from 0 <= start < n by ROWS_OF_SINGLE:
            m = min(ROWS_OF_SINGLE, n - start)
            read.put(start, m, &c[start], stride, &A[0, 0])
            loops.gram_single(m, stride, &A[0, 0], <float*> &room[0, 0], &G[0, 0])
    return np.asarray(G)


def whole(const double[:, ::1] upper, Py_ssize_t n, double share=1.0, const double[::1] mean=None):
    """The symmetric matrix of which the first n columns of ``upper`` are the upper triangle.

    Times ``share``, less the products of ``mean`` with itself; by squares that the cache holds.
    """
    cdef Py_ssize_t first, other, i, k
    cdef double[:, ::1] out = np.empty((n, n))
    cdef const double[::1] less = np.zeros(n) if mean is None else mean
    with nogil:
        for first from 0 <= first < n by 32:
            for other from first <= other < n by 32:
                for i in range(first, min(first + 32, n)):
                    for k in range(max(i, other), min(other + 32, n)):
                        out[i, k] = out[k, i] = share * upper[i, k] - less[i] * less[k]
    return np.asarray(out)


def products_of_rows(Problem problem, mean):
    """(X - mean) (X - mean)' of dense rows, by blocks of columns.

    Up to ``MOST_ROWS`` rows by the same tiles; more do not stay in the cache beside their products.
    """
    cdef Py_ssize_t n = problem.n_rows, d = problem.n_features, start, m
    cdef Py_ssize_t stride = stride_of(n)
    X = problem.rows.X
    if n > MOST_ROWS:
        G = np.zeros((n, n))
        size = max(64, MOST_ENTRIES // n)
        for first in range(0, d, size):
            A = X[:, first:first + size] - mean[first:first + size]
            G += A @ A.T
        return G
    cdef double[:, ::1] G_ = aligned_zeros((stride, stride))
    columns = aligned_zeros((COLUMNS_OF_BLOCK, stride))
    cdef double[:, ::1] A_ = columns
    for start from 0 <= start < d by COLUMNS_OF_BLOCK:
        m = min(COLUMNS_OF_BLOCK, d - start)
        np.subtract(X[:, start:start + m].T, mean[start:start + m, None], out=columns[:m, :n])
        with nogil:
            loops.gram(m, stride, &A_[0, 0], &G_[0, 0])
    upper = np.triu(np.asarray(G_)[:n, :n])
    return upper + np.triu(upper, 1).T


def fingerprint(array):
    """32 numbers of 64 bits that tell the bytes of a contiguous array from those of any other.

    Multiplications and shifts, as fast as memory is read; each step is one-to-one.
    """
    cdef uint64_t[WORDS] words
    cdef Py_ssize_t k, n = array.nbytes // sizeof(words)
    cdef const void* x = <const void*> <size_t> array.ctypes.data
    for k in range(WORDS):
        words[k] = k + 1
    with nogil:
        loops.fold(n, x, words)
    rest = array.reshape(-1).view(np.uint8)[n * sizeof(words):].tobytes()
    return *(words[k] for k in range(WORDS)), rest, array.shape, array.dtype.str


class Kept:
    """Moments of the last few problems, by their data: a path or a grid asks for them again.

    ``fit`` sees no more of the data than their numbers, so numbers that have changed in place, and
    copies of rows by a cross-validation, are told apart or recognised by these alone.
    """

    def __init__(self, most):
        self.most, self.found, self.lock = most, {}, threading.Lock()
        self.latest = None, None           # an array, weakly, and its fingerprint
        self.shapes = {}                   # of data fitted without products

    def recognises(self, X):
        """Whether moments of X are kept, so that X is known to be finite; begins every ``fit``.

        In one pass over X, which ``of`` need not repeat; in none, if nothing has this shape.
        """
        self.latest = None, None
        if type(X) is not np.ndarray or not X.flags.c_contiguous:
            return False
        with self.lock:
            known = [key[0] for key in self.found]
        if not any(shape == X.shape and dtype == X.dtype.str for *_, shape, dtype in known):
            return False
        own = fingerprint(X)
        self.latest = weakref.ref(X), own
        return own in known

    def has_seen(self, problem):
        """Whether data of this shape were fitted before: products will be asked for again."""
        own = shape_of(problem)
        return own in self.shapes or any(
            (shape, dtype) == own for (*_, shape, dtype), *_ in list(self.found))

    def note(self, problem):
        """Data of this shape are fitted without products that could be kept."""
        if 2 * problem.n_features**2 > self.most:
            return
        self.shapes[shape_of(problem)] = True
        while len(self.shapes) > MOST_SHAPES:
            self.shapes.pop(next(iter(self.shapes)))

    def clear(self):
        """Forget everything."""
        self.found.clear()
        self.shapes.clear()

    def own(self, X):
        """The fingerprint of X."""
        of, own = self.latest
        self.latest = None, None           # X may change before it is seen again
        return own if of is not None and of() is X else fingerprint(X)

    def key_of(self, problem):
        """What tells the data of a problem from those of any other."""
        return (self.own(problem.rows.X), *(
            None if part is None else fingerprint(part)
            for part in (problem.y, problem.sample_weight)),
            problem.n_outputs, problem.coded, problem.negative_code)

    def of(self, problem, kind=None, key=None):
        """``SecondMoments`` of a problem, or those of another ``kind``; ``key`` if it is known."""
        kind = kind or SecondMoments
        if kind in problem.known:
            return problem.known[kind]
        key = (*(key or self.key_of(problem)), kind)
        with self.lock:
            moments = self.found.pop(key, None)
        moments = problem.known[kind] = kind(problem) if moments is None else moments
        with self.lock:
            self.found[key] = moments           # the latest comes last
            while sum(one.size for one in self.found.values()) > self.most:
                self.found.pop(next(iter(self.found)))
        return moments


def shape_of(problem):
    X = problem.rows.X
    return X.shape, X.dtype.str


class SecondMoments:
    """What least squares needs of dense rows, by one pass over them.

    Attributes
    ----------
    mean : ndarray of shape (n_features + n_outputs,)
        Weighted means of the columns and of the targets.
    products : ndarray of shape (n_features + n_outputs, n_features + n_outputs)
        Weighted means of their products, about their means.
    largest : ndarray of shape (n_features,)
        The largest |x| of each column.
    drift : float
        The largest squared distance of a pivot from the mean, in variances.
    """

    most_drift = MOST_DRIFT

    @staticmethod
    def products_of(problem, rows, factor, *others):
        return upper_grams(problem, rows, factor[None], *others)[0]

    def __init__(self, Problem problem):
        d, K = problem.n_features, problem.n_outputs
        y = problem.targets() if problem.coded else problem.y.reshape(problem.n_rows, K)
        picked = slice(None, None, max(1, problem.n_rows // 256))
        # about means of some rows, so that large offsets do not cancel all digits
        pivot = problem.rows.X[picked].mean(axis=0, dtype=np.float64)
        y_pivot = y[picked].mean(axis=0)
        beside = np.empty((problem.n_rows, K + 1))
        np.subtract(y, y_pivot, out=beside[:, :K])
        beside[:, K] = 1.0
        s = problem.sample_weight
        s = np.ones(problem.n_rows) if s is None else s
        one, rows = np.ones(d), np.arange(problem.n_rows)

        def work(start, stop):
            largest = np.zeros(d)
            part = slice(start, stop)
            return self.products_of(problem, rows[part], s[part], pivot, one, beside[part],
                                    largest), largest

        n_parts = min(len(problem.chunks()), max(2, problem.n_rows // (ROWS_OF_PART * (d + 1))))
        cuts = [problem.n_rows * k // n_parts for k in range(n_parts + 1)]
        (G, self.largest), *others = on_threads(work, list(zip(cuts, cuts[1:])), problem.n_threads)
        for part, largest in others:
            G += part
            np.maximum(self.largest, largest, out=self.largest)
        n, share = d + K, 1.0 / problem.total_weight
        first = share * G[:n, n]
        self.mean = np.concatenate([pivot, y_pivot]) + first
        self.products = whole(G, n, share, first)
        self.scaled = {}                   # what ``LeastSquares`` makes of them
        square = self.products.diagonal()
        self.drift = np.divide(first**2, square, out=np.zeros(n), where=square > 0.0).max()
        #: whether the pivot left enough digits
        self.is_exact = bool((first**2 <= self.most_drift * np.maximum(square, 0.0))[:d][
            square[:d] > 0.0].all())

    @property
    def size(self):
        """Numbers that are kept."""
        return self.products.size + sum(B.size for B in list(self.scaled.values()))


class SingleMoments(SecondMoments):
    """The same by products in single precision: twice as fast, and to be mended."""

    products_of = staticmethod(single_upper_gram)
    most_drift = 1.0


kept = Kept(1 << 22)     # numbers: 32 MB
