"""The Hessian of F from well chosen rows, as a metric for Newton's method.

A Hessian from m rows, drawn with probabilities near their leverage, conditions a problem of d
columns to about ((1 + sqrt(d/m)) / (1 - sqrt(d/m)))^2, whatever the data [1]_ [2]_. All matrices are
in the coordinates of ``descent``: columns centred and scaled to a Hessian of about unit diagonal.

References
----------
.. [1] F. Roosta-Khorasani, M. Mahoney, "Sub-sampled Newton methods", 2019.
.. [2] P. Xu et al., "Sub-sampled Newton methods with non-uniform sampling", NeurIPS 2016.
"""

cimport cython
from libc.math cimport fabs, fmax, sqrt

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from sgdest._core.problem cimport Problem
from sgdest._core.rows cimport Rows

# Above this many columns the products are taken in single precision, twice as fast; what they lose
# is far below what the sampling loses.
SINGLE_FROM = 300
ENTRIES_OF_BLOCK = 1 << 15
# A product of two entries that are scattered costs as much as these in a dense product.
SPARSE_PRODUCT = 30.0
# Rows looked at for every row of the sample.
CANDIDATES = 4


def candidates(problem, m):
    """Rows to choose ``m`` from: all, or about ``CANDIDATES * m`` at random distances."""
    n = problem.n_rows
    step = int(n // (CANDIDATES * m))
    if step < 2:
        return np.arange(n)
    first = np.arange(0, n - step + 1, step)
    return first + np.random.default_rng(0).integers(0, step, len(first))


def choose_rows(problem, rows, h, coordinates, m):
    """About ``m`` of ``rows`` and their factors c, such that sum c a a' is near mean h a a'.

    Systematic sampling with probabilities from h alone, from h times the squared length of the
    row in the scaled coordinates (a cheap leverage), and uniform ones. Rows of h = 0 take no part.

    Parameters
    ----------
    rows : ndarray of intp, ascending
    h : ndarray of shape (len(rows),), weighted curvatures

    Returns
    -------
    chosen : ndarray of intp, places in ``rows``, ascending
    c : ndarray of float64, their factors, which sum up to the sum of h about
    """
    active = h > 0.0
    n_active = np.count_nonzero(active)
    if m >= 0.5 * n_active:
        chosen = np.flatnonzero(active)
        return chosen, h[chosen]
    q = row_scores(problem, rows, coordinates)
    q *= h
    q *= 0.5 / q.sum()
    q += (0.4 / h.sum()) * h
    q[active] += 0.1 / n_active
    edges = np.cumsum(q, out=q)
    edges *= m
    # the row in which the running sum passes each of 0.5, 1.5, 2.5 ..
    chosen, times = np.unique(
        np.searchsorted(edges, np.arange(0.5, edges[len(edges) - 1], 1.0)), return_counts=True)
    before = np.where(chosen > 0, edges[chosen - 1], 0.0)
    return chosen, times * h[chosen] / (edges[chosen] - before)


def row_scores(Problem problem, const Py_ssize_t[::1] picked, coordinates):
    """Squared length of rows in the scaled coordinates; of sparse rows without centring."""
    cdef Rows rows = problem.rows
    cdef double[::1] out = np.ones(picked.shape[0])
    cdef double[::1] centre = np.ascontiguousarray(coordinates.mean)
    cdef double[::1] scale = inverse_sigma(coordinates) ** 2
    cdef double[::1] values = np.empty(max(rows.largest_count(), 1))
    cdef Py_ssize_t[::1] columns = np.empty(max(rows.largest_count(), 1), dtype=np.intp)
    cdef Py_ssize_t i, j, n
    cdef double total, u
    if problem.n_features == 0:
        return np.asarray(out)
    with nogil:
        for i in range(picked.shape[0]):
            n = rows.count(picked[i])
            rows.values(picked[i], &values[0])
            total = 0.0
            if rows.is_sparse:
                rows.columns(picked[i], &columns[0])
                for j in range(n):
                    total += values[j] * values[j] * scale[columns[j]]
            else:
                for j in range(n):
                    u = values[j] - centre[j]
                    total += u * u * scale[j]
            out[i] = total
    return np.asarray(out)


def inverse_sigma(coordinates):
    """1 / sigma; 0 for the columns that are held, whose rounding noise counts for nothing."""
    return np.where(coordinates.held, 0.0, 1.0 / coordinates.sigma)


def scaled_rows(Problem problem, const Py_ssize_t[::1] rows, const double[::1] factor, coordinates):
    """Rows in the scaled coordinates, the intercept's column last, times sqrt(factor)."""
    cdef Rows data = problem.rows
    cdef Py_ssize_t i, j, p, n, d = problem.n_features
    cdef double[:, ::1] out = np.empty((rows.shape[0], d + 1))
    cdef double[::1] centre = np.ascontiguousarray(coordinates.mean)
    cdef double[::1] inverse = inverse_sigma(coordinates)
    cdef double[::1] values = np.empty(max(data.largest_count(), 1))
    cdef Py_ssize_t[::1] columns = np.empty(max(data.largest_count(), 1), dtype=np.intp)
    cdef double c, one = 1.0 / coordinates.root_h if problem.fit_intercept else 0.0
    with nogil:
        for p in range(rows.shape[0]):
            i, c = rows[p], sqrt(factor[p])
            n = data.count(i)
            data.values(i, &values[0])
            if data.is_sparse:
                data.columns(i, &columns[0])
                for j in range(d):
                    out[p, j] = -c * centre[j] * inverse[j]
                for j in range(n):
                    out[p, columns[j]] += c * values[j] * inverse[columns[j]]
            else:
                for j in range(d):
                    out[p, j] = c * (values[j] - centre[j]) * inverse[j]
            out[p, d] = c * one
    return np.asarray(out)


def gram(problem, rows, factor, coordinates):
    """sum over ``rows`` of factor a a', a row in the scaled coordinates: (d + 1, d + 1)."""
    size = problem.n_features + 1
    if entries_product(problem) < size**2:
        return sparse_gram(problem, rows, factor, coordinates)
    G = np.zeros((size, size))
    for part in blocks(len(rows), size):
        G += block_gram(scaled_rows(problem, rows[part], factor[part], coordinates))
    return G


def block_gram(A):
    """A'A, in single precision if there are many columns."""
    A = A.astype(np.float32 if A.shape[1] > SINGLE_FROM else np.float64, copy=False)
    return A.T @ A


def joint_gram(problem, rows, factor, p, coordinates):
    """The Hessian of a softmax over all its classes: (d + 1, K, d + 1, K), as x is ordered.

    ``p`` holds the probabilities at ``rows``, of shape (len(rows), K).
    """
    size, K = problem.n_features + 1, p.shape[1]
    G = np.zeros((size, K, size, K))
    for part in blocks(len(rows), size):
        A = scaled_rows(problem, rows[part], factor[part], coordinates)
        for k in range(K):
            for other in range(k + 1):
                weight = p[part, k] * ((k == other) - p[part, other])
                G[:, k, :, other] += (A * weight[:, None]).T @ A
    for k in range(K):
        for other in range(k):
            G[:, other, :, k] = G[:, k, :, other]
    return G


def blocks(n, size):
    """Slices of ``range(n)``, of rows that the second-level cache holds."""
    block = max(128, ENTRIES_OF_BLOCK // size)
    return [slice(start, start + block) for start in range(0, n, block)]


def entries_product(problem):
    """What a row costs in ``sparse_gram``, in entries of a dense product."""
    if not problem.rows.is_sparse:
        return np.inf
    return SPARSE_PRODUCT * (problem.rows.n_stored / max(problem.n_rows, 1)) ** 2


def sparse_gram(Problem problem, const Py_ssize_t[::1] rows, const double[::1] factor, coordinates):
    """The same from the stored entries of sparse rows alone; centred afterwards."""
    cdef Rows data = problem.rows
    cdef Py_ssize_t a, b, p, n, d = problem.n_features, width = data.largest_count() + 1
    cdef double[:, ::1] G = np.zeros((d + 1, d + 1))
    cdef double[::1] sums = np.zeros(d + 1), values = np.empty(width)
    cdef double[::1] inverse = inverse_sigma(coordinates)
    cdef Py_ssize_t[::1] columns = np.empty(width, dtype=np.intp)
    cdef double c, v, total = 0.0
    cdef double* row = NULL
    with nogil:
        for p in range(rows.shape[0]):
            c = factor[p]
            total += c
            n = data.count(rows[p])
            data.values(rows[p], &values[0])
            data.columns(rows[p], &columns[0])
            for a in range(n):
                values[a] = values[a] * inverse[columns[a]]
            for a in range(n):
                v = c * values[a]
                sums[columns[a]] += v
                row = &G[columns[a], 0]
                for b in range(n):
                    row[columns[b]] += v * values[b]
    one = 1.0 / coordinates.root_h if problem.fit_intercept else 0.0
    full, first = np.asarray(G), np.asarray(sums)
    u = np.append(coordinates.mean * np.asarray(inverse), 0.0)
    full -= np.outer(u, first) + np.outer(first - total * u, u)
    full[d, :d] = full[:d, d] = one * (first - total * u)[:d]
    full[d, d] = one**2 * total
    return full


class Metric:
    """A positive definite matrix, scaled to unit diagonal and factored.

    Parameters
    ----------
    B : ndarray of shape (n, n)
        Changed in place.
    jitter : float
        Added to the unit diagonal; a hundred times as much where that is not definite.
    """

    def __init__(self, B, jitter):
        diagonal = np.diagonal(B).copy()
        self.scale = 1.0 / np.sqrt(np.where(diagonal > 0.0, diagonal, 1.0))
        B *= self.scale
        B *= self.scale[:, None]
        for _ in range(6):
            np.fill_diagonal(B, 1.0 + jitter)
            try:
                self.factor = cho_factor(B, lower=True, check_finite=False)
                return
            except LinAlgError:
                jitter *= 100.0
        self.factor = (np.eye(len(B)), True)

    def solve(self, g):
        """B^-1 g, for one right-hand side or several."""
        scale = self.scale if g.ndim == 1 else self.scale[:, None]
        return scale * cho_solve(self.factor, scale * g, check_finite=False)


# -- L1 and ``positive``: the metric unfactored -----------------------------------------------


def proximal_direction(const double[:, ::1] B, const double[::1] g, const double[::1] x,
                       const double[::1] lam, bint positive, Py_ssize_t n_free,
                       Py_ssize_t most_sweeps):
    """p that minimises g p + p' B p / 2 + sum lam |x + p|, x + p >= 0 where ``positive``.

    Cyclic coordinate descent with B p maintained; sweeps over the coordinates that are not zero
    until they have settled, then over all. The last ``n_free`` coordinates are intercepts.

    Returns
    -------
    p : ndarray
    decrease : float, what the model promises
    """
    cdef Py_ssize_t j, n = g.shape[0], sweep, moved
    cdef double[::1] p = np.zeros(n), q = np.zeros(n)
    cdef unsigned char[::1] active = np.ones(n, dtype=np.uint8)
    cdef double first = 0.0, most = 0.0, change, decrease = 0.0
    cdef bint is_full = True
    with nogil:
        for sweep in range(most_sweeps):
            most = 0.0
            for j in range(n):
                if not (is_full or active[j]):
                    continue
                change = _coordinate(B, g, x, lam, p, q, j, positive and j < n - n_free)
                active[j] = x[j] + p[j] != 0.0 or j >= n - n_free
                most = fmax(most, B[j, j] * change * change)
            first = fmax(first, most)
            if most <= 0.0025 * first:
                if is_full:
                    break
                is_full = True
            else:
                is_full = False
        for j in range(n):
            decrease -= (g[j] + 0.5 * q[j]) * p[j] + lam[j] * (fabs(x[j] + p[j]) - fabs(x[j]))
    return np.asarray(p), decrease


cdef double _coordinate(const double[:, ::1] B, const double[::1] g, const double[::1] x,
                        const double[::1] lam, double[::1] p, double[::1] q, Py_ssize_t j,
                        bint positive) noexcept nogil:
    """Minimise over coordinate j; the change."""
    cdef double a = B[j, j], old = x[j] + p[j], u, size, new, change
    cdef Py_ssize_t i
    cdef const double* row = &B[j, 0]
    cdef double* q_data = &q[0]
    if not a > 0.0:
        return 0.0
    u = old - (g[j] + q[j]) / a
    size = fabs(u) - lam[j] / a
    new = 0.0 if size <= 0.0 or (positive and u < 0.0) else (size if u > 0.0 else -size)
    change = new - old
    if change != 0.0:
        p[j] += change
        for i in range(g.shape[0]):
            q_data[i] += change * row[i]
    return change


def update_bfgs(double[:, ::1] B, const double[::1] s, const double[::1] y):
    """The symmetric rank-two update after which B s = y; needs s y > 0."""
    cdef Py_ssize_t i, j, n = s.shape[0]
    cdef double[::1] Bs = np.asarray(B) @ s
    cdef double sy = np.dot(s, y), sBs = np.dot(s, Bs), a, c
    if not (sy > 0.0 and sBs > 0.0):
        return
    with nogil:
        for i in range(n):
            a, c = y[i] / sy, Bs[i] / sBs
            for j in range(n):
                B[i, j] += a * y[j] - c * Bs[j]
