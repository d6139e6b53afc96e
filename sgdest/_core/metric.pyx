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
from scipy.linalg.lapack import dpotrf, dpotrs

from sgdest._core cimport simd
from sgdest._core.gram import gram_of_rows, grams_of_rows
from sgdest._core.kernels cimport F64, DenseLoops, dense_loops
from sgdest._core.problem cimport Problem
from sgdest._core.rows cimport Rows

cdef const DenseLoops* loops = dense_loops(F64, simd.level)

# Above this many columns the products are taken in single precision, twice as fast; what they lose
# is far below what the sampling loses.
SINGLE_FROM = 300
# Up to as many, dense rows are multiplied in double precision by ``gram_of_rows``, as fast as that.
MOST_BY_TILES = 1000
ENTRIES_OF_BLOCK = 1 << 15
# A product of two entries that are scattered costs as much as these in a dense product.
SPARSE_PRODUCT = 30.0
# Sweeps of coordinate descent before the coordinates that are not zero are solved for, at most so
# many times.
cdef int SWEEPS = 20
MOST_SOLVED = 10
MOST_CROSSINGS = 20       # rounds in which coordinates become zero together
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
    cdef const double[::1] centre = np.ascontiguousarray(coordinates.centre)
    cdef double[::1] scale = coordinates.inverse_sigma ** 2
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


def scaled_rows(Problem problem, const Py_ssize_t[::1] rows, const double[::1] factor, coordinates,
                const double[::1] centre, double one):
    """Rows in the scaled coordinates about ``centre``, ``one`` last, times sqrt(factor)."""
    cdef Rows data = problem.rows
    cdef Py_ssize_t i, j, p, n, d = problem.n_features
    cdef double[:, ::1] out = np.empty((rows.shape[0], d + 1))
    cdef double[::1] inverse = coordinates.inverse_sigma
    cdef double[::1] values = np.empty(max(data.largest_count(), 1))
    cdef Py_ssize_t[::1] columns = np.empty(max(data.largest_count(), 1), dtype=np.intp)
    cdef double c
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
    """(G, u): G + u u' is the sum over ``rows`` of factor a a', a row in the scaled coordinates.

    G is of shape (d + 1, d + 1). With an intercept u is None, for 0. Without one it is what the
    offsets of the columns make: in the sum they would swallow the digits of what columns vary by.
    """
    size = problem.n_features + 1
    if entries_product(problem) < size**2:
        return sparse_gram(problem, rows, factor, coordinates), None
    one = 1.0 / coordinates.root_h if problem.fit_intercept else 1.0
    centre = np.ascontiguousarray(coordinates.centre)
    if size <= MOST_BY_TILES and not problem.rows.is_sparse:
        G = gram_of_rows(problem, rows, factor, centre, coordinates.inverse_sigma,
                         np.array([[one]]))
    else:
        G = np.zeros((size, size))
        for part in blocks(len(rows), size):
            G += block_gram(
                scaled_rows(problem, rows[part], factor[part], coordinates, centre, one))
    if problem.fit_intercept:
        return G, None
    total = max(G[size - 1, size - 1], 1e-300)
    first = G[:, size - 1].copy()       # the sum of the rows
    G -= np.outer(first, first / total)
    offset = np.append(centre * coordinates.inverse_sigma, -1.0)
    return G, np.sqrt(total) * (first / total + offset)


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
    one = 1.0 / coordinates.root_h if problem.fit_intercept else 0.0
    centre = np.ascontiguousarray(coordinates.mean)
    if size <= MOST_BY_TILES and not problem.rows.is_sparse:
        scale, beside, shares = coordinates.inverse_sigma, np.full((1, 1), one), p.T.copy()
        for k in range(K):
            weights = factor * shares[k] * shares[:k + 1]
            np.multiply(factor * shares[k], 1.0 - shares[k], out=weights[k])
            products = grams_of_rows(problem, rows, weights, centre, scale, beside)
            np.negative(products[:k], out=products[:k])
            G[:, k, :, :k + 1] = products.transpose(1, 2, 0)
            G[:, :k, :, k] = products[:k].transpose(1, 0, 2)
        return G
    for part in blocks(len(rows), size):
        A = scaled_rows(problem, rows[part], factor[part], coordinates, centre, one)
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
    cdef double[::1] inverse = coordinates.inverse_sigma
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
    """The matrix B + u u', positive definite, scaled to unit diagonal and factored.

    Parameters
    ----------
    B : ndarray of shape (n, n)
        Changed in place.
    jitter : float
        By how much the diagonal of B is enlarged, as a share; a hundred times as much where that
        is not definite.
    u : ndarray of shape (n,), default=None
        None means 0.
    """

    def __init__(self, B, jitter, u=None):
        self.scale, own = np.empty(len(B)), np.empty(len(B))
        _to_unit_diagonal(B, u, self.scale, own)
        for _ in range(6):
            _enlarge_diagonal(B, jitter, own)
            # the transpose, which is the same, is in Fortran's order; not ``cho_factor``, whose
            # checks cost more than a small matrix does
            self.factor, failed = dpotrf(B.T, lower=True, clean=False)
            if not failed:
                return
            jitter *= 100.0
        self.factor = np.eye(len(B))

    def solve(self, g):
        """B^-1 g, for one right-hand side or several."""
        scale = self.scale if g.ndim == 1 else self.scale[:, None]
        return scale * dpotrs(self.factor, scale * g, lower=True)[0]


cdef void _to_unit_diagonal(double[:, ::1] B, const double[::1] u, double[::1] scale,
                            double[::1] own):
    """Scale B + u u' from both sides, in place; ``own`` receives what B has of the diagonal."""
    cdef Py_ssize_t i, j, n = B.shape[0]
    cdef double whole
    for i in range(n):
        whole = B[i, i] + (0.0 if u is None else u[i] * u[i])
        own[i] = B[i, i] / whole if whole > 0.0 else 1.0
        scale[i] = 1.0 / sqrt(whole) if whole > 0.0 else 1.0
    for i in range(n):
        for j in range(n):
            if u is not None:
                B[i, j] += u[i] * u[j]
            B[i, j] *= scale[i] * scale[j]


cdef void _enlarge_diagonal(double[:, ::1] B, double jitter, const double[::1] own):
    """The diagonal of B: one, and ``jitter`` times ``own``."""
    cdef Py_ssize_t i
    for i in range(B.shape[0]):
        B[i, i] = 1.0 + jitter * own[i]


def newton_step(lane, m):
    """(p, decrement) of a Newton step of a ``DescentLane`` of one output.

    By a Hessian from about ``m`` rows that has no more curvature than the loss at these margins.
    """
    problem, coordinates, penalty = lane.under_way, lane.coordinates, lane.problem.penalty
    rows, s, size = candidates(problem, m), problem.sample_weight, len(lane.x)
    h = problem.curvatures(lane.z, rows)[:, 0]
    h[~np.isfinite(h)] = 0.0
    h *= 1.0 / len(rows) if s is None else s[rows] / s[rows].sum()
    B, u = np.zeros((size, size)), None
    if h.any():
        chosen, c = choose_rows(problem, rows, h, coordinates, m)
        B, u = gram(problem, rows[chosen], c, coordinates)
    factors = 1.0 if penalty.factors is None else penalty.factors
    own = np.arange(problem.n_features)
    B[own, own] += penalty.l2 * factors**2 * coordinates.inverse_sigma**2
    if not lane.signed:
        p = -Metric(B, 1e-11, u).solve(lane.g)
        return p, -0.5 * float(lane.g @ p)
    diagonal = B.diagonal()
    B[np.diag_indices(size)] = diagonal * (1.0 + 1e-11) + (diagonal <= 0.0)
    if u is not None:
        B += np.outer(u, u)
    return proximal_direction(B, lane.g, lane.x, lane.lam, penalty.positive, lane.n_intercepts,
                              True)


# -- L1 and ``positive``: the metric unfactored -----------------------------------------------


def proximal_direction(B, g, x, lam, bint positive, Py_ssize_t n_free, bint stiff=False):
    """p that minimises g p + p' B p / 2 + sum lam |x + p|, x + p >= 0 where ``positive``.

    Cyclic coordinate descent with B p maintained. Columns that are nearly alike keep it busy for
    thousands of sweeps: where some have not settled it, the coordinates that are not zero are
    solved for at once, within their orthant; so are they in any case if ``stiff``, where a sweep
    hardly moves whatever is left to gain. The last ``n_free`` coordinates are intercepts.

    Returns
    -------
    p : ndarray
    decrease : float, what the model promises
    """
    p, q, first, gained = np.zeros(len(g)), np.zeros(len(g)), 0.0, 0.0
    for _ in range(MOST_SOLVED):
        settled, first = _sweeps(B, g, x, lam, p, q, positive, n_free, first)
        if settled and not stiff:
            break
        _solve_support(B, g, x, lam, p, q, positive, n_free)
        before, gained = gained, decrease_of(g, x, lam, p, q)
        if settled and gained <= 1.01 * before:
            break
    return p, decrease_of(g, x, lam, p, q)


def swept(const double[:, ::1] B, const double[::1] g, const double[::1] x,
          const double[::1] lam, bint positive, double enough, Py_ssize_t n_sweeps,
          Py_ssize_t n_free=0):
    """(p, settled): the same p by plain sweeps until one decreases the model by ``enough`` or less.

    It has not settled where ``n_sweeps`` did not do.
    """
    cdef Py_ssize_t j, sweep, n = g.shape[0]
    cdef double[::1] p = np.zeros(n), q = np.zeros(n)
    cdef double total, change
    cdef bint settled = False
    with nogil:
        for sweep in range(n_sweeps):
            total = 0.0
            for j in range(n):
                change = _coordinate(B, g, x, lam, p, q, j, positive and j < n - n_free)
                total += B[j, j] * change * change
            settled = total <= enough
            if settled:
                break
    return np.asarray(p), settled


def decrease_of(const double[::1] g, const double[::1] x, const double[::1] lam,
                const double[::1] p, const double[::1] q):
    """How far the model falls along p, with q = B p."""
    cdef Py_ssize_t j
    cdef double total = 0.0
    for j in range(g.shape[0]):
        total -= (g[j] + 0.5 * q[j]) * p[j] + lam[j] * (fabs(x[j] + p[j]) - fabs(x[j]))
    return total


def _sweeps(const double[:, ::1] B, const double[::1] g, const double[::1] x,
            const double[::1] lam, double[::1] p, double[::1] q, bint positive,
            Py_ssize_t n_free, double first):
    """Sweeps over the coordinates that are not zero until they have settled, then over all.

    Returns whether all have settled, and the largest decrease by a coordinate in the first sweep.
    """
    cdef Py_ssize_t j, n = g.shape[0], sweep
    cdef unsigned char[::1] active = np.ones(n, dtype=np.uint8)
    cdef double most = 0.0, change
    cdef bint is_full = True
    with nogil:
        for sweep in range(SWEEPS):
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
        else:
            with gil:
                return False, first
    return True, first


def _solve_support(B, g, x, lam, p, q, positive, n_free):
    """Change p and q = B p to the minimum over the coordinates that are not zero.

    Those that become zero along the way stay there, and the others are solved for anew: all of
    them at once where that is lower, else one after the other.
    """
    now = x + p
    n_signed = len(x) - n_free
    free = now != 0.0
    free[n_signed:] = True
    slope = g + lam * np.sign(now)
    lower = _without_crossings(B, slope, x, now, free, n_signed)
    if lower is not None:
        change = lower - x
        along = product(B, change)
        if decrease_of(g, x, lam, change, along) > decrease_of(g, x, lam, p, q):
            p[:], q[:] = change, along
            return
    for _ in range(np.count_nonzero(free)):
        on = np.flatnonzero(free)
        step = _step_among(B, slope + q, on)
        if step is None:
            break
        crossing = (on < n_signed) & (now[on] * step < 0.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            reach = np.where(crossing, -now[on] / step, np.inf)
        t = min(1.0, reach.min(initial=np.inf))
        now[on] += t * step
        zero = on[reach <= t]
        now[zero], free[zero] = 0.0, False
        p[:] = now - x
        q[:] = product(B, p)
        if t == 1.0:
            break


def _without_crossings(B, slope, x, now, free, n_signed):
    """The minimum over ``free`` less those that change their sign on the way to it, which become 0.

    The nearer half of them at a time: all at once are too many. None if it is not found.
    """
    now, free = now.copy(), free.copy()
    for _ in range(MOST_CROSSINGS):
        on = np.flatnonzero(free)
        step = _step_among(B, slope + product(B, now - x), on)
        if step is None:
            return None
        crossing = np.flatnonzero((on < n_signed) & (now[on] * (now[on] + step) <= 0.0))
        if not len(crossing):
            now[on] += step
            return now
        reach = -now[on[crossing]] / step[crossing]
        zero = on[crossing[reach <= np.median(reach)]]
        now[zero], free[zero] = 0.0, False
    return None


def _step_among(B, slope, on):
    """To where the model has no slope in the coordinates ``on``; None where it is not definite."""
    if not len(on):
        return np.zeros(0)
    # not ``cho_factor``, and the transpose: as in ``Metric``
    factor, failed = dpotrf(B[np.ix_(on, on)].T, lower=True, clean=False)
    if failed:
        return None
    step = -dpotrs(factor, slope[on], lower=True)[0]
    return step if np.all(np.isfinite(step)) else None


cdef double _coordinate(const double[:, ::1] B, const double[::1] g, const double[::1] x,
                        const double[::1] lam, double[::1] p, double[::1] q, Py_ssize_t j,
                        bint positive) noexcept nogil:
    """Minimise over coordinate j; the change."""
    cdef double a = B[j, j], old = x[j] + p[j], u, size, new, change
    if not a > 0.0:
        return 0.0
    u = old - (g[j] + q[j]) / a
    size = fabs(u) - lam[j] / a
    new = 0.0 if size <= 0.0 or (positive and u < 0.0) else (size if u > 0.0 else -size)
    change = new - old
    if change != 0.0:
        p[j] += change
        loops.add(g.shape[0], change, &B[j, 0], &q[0])
    return change


def product(const double[:, ::1] B, const double[::1] x):
    """B x of a symmetric B, by its rows at which x is not zero: L1 leaves few."""
    cdef Py_ssize_t j, n = x.shape[0]
    cdef double[::1] out = np.zeros(n)
    with nogil:
        for j in range(n):
            if x[j] != 0.0:
                loops.add(n, x[j], &B[j, 0], &out[0])
    return np.asarray(out)


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
