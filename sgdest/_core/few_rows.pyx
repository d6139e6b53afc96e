"""Newton's method on small data: rows that lie centred and scaled side by side, and all their Hessian.

Such a fit is over after a dozen steps of some ten thousand multiplications each. Whatever else
stands around these, choices of rows, chunks, threads, costs several times as much.
"""

cimport cython
from libc.math cimport INFINITY, fabs, fmax, isfinite, sqrt

import numpy as np

from sgdest._core cimport simd
from sgdest._core.kernels cimport F64, DenseLoops, dense_loops
from sgdest._core.problem cimport Problem
from sgdest._core.softmax cimport softmax

from sgdest._core.descent import Coordinates, is_accepted, searched
from sgdest._core.gram import stride_of
from sgdest._core.metric import (
    Metric, decrease_of, product, proximal_direction, scaled_rows, swept)
from sgdest._core.newton_lane import FLOOR, SETTLED, definite
from sgdest._core.penalties import PENALTIES
from sgdest._core.relay import RelayLane
from sgdest._core.simd import aligned_zeros

cdef const DenseLoops* loops = dense_loops(F64, simd.level)

JITTER = 1e-11           # of the Hessian's diagonal, against rounding
SMALL = 1e-6             # steps, in F at the start, before which a Hessian is never used twice
MOST_FLOPS = 200_000     # of coordinate descent on a model
SHORTER = 1.0, 0.5, 0.25, 0.125      # steps that are tried where signs matter
MOST_STEPS = 30          # before another lane goes on
STALLED = 6              # steps that only shift rounding
MOST_OFFSET = 1e6        # of columns without intercept, squared, in units of what they vary by
# Numbers of the block of rows that is multiplied at once: the first-level cache holds it.
cdef Py_ssize_t ENTRIES_OF_BLOCK = 1 << 12


@cython.final
cdef class FewRows:
    """F, its gradient and its Hessian, in the coordinates x of ``descent``.

    Parameters
    ----------
    problem : Problem
        Small; of one output, or of a joint loss.
    coordinates : Coordinates
    """

    cdef Problem problem                   # the same on the rows as they are in x
    cdef double[:, ::1] A                  # these rows
    cdef double[:, ::1] block              # some of them, those of all outputs side by side
    cdef double[:, ::1] W, G               # x and the gradient as ``sweep`` wants them
    cdef readonly object lam               # weights of L1 on x, or None where no sign matters
    cdef double[::1] l1, diagonal          # the same, or zeros; second derivatives of the penalty
    cdef double[::1] none, sums, room
    cdef Py_ssize_t size, K
    cdef readonly bint positive
    cdef readonly object x, g, z           # where it is; there
    cdef object x_next, g_next, z_next
    cdef readonly double value, gradient_norm
    cdef double value_next, norm_next

    def __init__(self, Problem problem, coordinates):
        n, penalty = problem.n_rows, problem.penalty
        c = 1.0 if penalty.factors is None else penalty.factors
        one = 1.0 / coordinates.root_h if problem.fit_intercept else 0.0
        A = scaled_rows(problem, np.arange(n), np.ones(n), coordinates, coordinates.mean, one)
        self.A, self.problem = A, problem.on_rows(A, PENALTIES[None]())
        self.K, self.size = problem.n_outputs, problem.n_features + 1
        self.diagonal = np.append(penalty.l2 * (c * coordinates.inverse_sigma)**2, 0.0)
        l1 = np.append(penalty.l1 * c / coordinates.sigma, 0.0)
        self.l1, self.positive = l1, penalty.positive
        self.lam = l1 if penalty.l1 > 0.0 or penalty.positive else None
        self.W, self.G = np.empty((2, self.K, self.size))
        self.none, self.sums = np.zeros(self.K), np.empty(self.K)
        self.room = np.empty(self.problem.block_room())
        stride = stride_of(self.size * self.K)
        self.block = aligned_zeros((max(8, ENTRIES_OF_BLOCK // stride), stride))
        self.x, self.x_next, self.g, self.g_next = np.empty((4, self.size * self.K))
        self.z, self.z_next = np.empty((2, n, self.K))

    def look(self, const double[::1] x, const double[::1] p=None, double t=1.0):
        """(F, slope of its smooth part along p) at x + t p, where ``move`` then leads; at x without p."""
        cdef Py_ssize_t j, k, i, K = self.K
        cdef double total = 0.0, size = 0.0, rate = 0.0, square = 0.0
        cdef double weight = self.problem.total_weight
        cdef double[::1] there = self.x_next, g = self.g_next
        cdef double[:, ::1] z = self.z_next
        with nogil:
            for j in range(self.size):
                for k in range(K):
                    i = j * K + k
                    there[i] = x[i] if p is None else x[i] + t * p[i]
                    self.W[k, j], self.G[k, j] = there[i], 0.0
            total = self.problem.sweep(0, self.problem.n_rows, &self.W[0, 0], &self.none[0], &z[0, 0],
                                       &self.G[0, 0], &self.sums[0], &self.room[0])
            for j in range(self.size):
                for k in range(K):
                    i = j * K + k
                    size += there[i] * (0.5 * self.diagonal[j] * there[i])
                    size += fabs(there[i]) * self.l1[j]
                    g[i] = self.G[k, j] / weight + self.diagonal[j] * there[i]
                    square += self._steepest(j, g[i], there[i]) ** 2
                    rate += 0.0 if p is None else g[i] * p[i]
        self.problem.loss.raise_error()
        self.value_next, self.norm_next = total / weight + size, sqrt(square)
        return self.value_next, rate

    cdef double _steepest(self, Py_ssize_t j, double g, double x) noexcept nogil:
        """The smallest subgradient of F in a coordinate of slope g (Andrew, Gao 2007, eq. 4)."""
        cdef double l1 = self.l1[j]
        if x != 0.0 or j == self.size - 1:
            return g + (l1 if x > 0.0 else -l1)
        if g + l1 < 0.0:
            return g + l1
        return 0.0 if self.positive else fmax(g - l1, 0.0)

    def move(self):
        """Be where it has looked last."""
        self.x, self.x_next = self.x_next, self.x
        self.g, self.g_next = self.g_next, self.g
        self.z, self.z_next = self.z_next, self.z
        self.value, self.gradient_norm = self.value_next, self.norm_next

    def hessian(self, double floor):
        """Second derivatives of F where it is.

        Where the loss is straight, ``floor`` times the mean curvature stands for none. Of a softmax,
        F bends where all classes move alike as it does on the average: x shall not move so.
        """
        B = np.empty((self.size * self.K, self.size * self.K))
        if self.K > 1:
            self._of_classes(self.z, B)
        else:
            self._of_one(self.problem.curvatures(self.z), floor, B)
        return B

    cdef _of_one(self, double[:, ::1] h, double floor, double[:, ::1] B):
        """``hessian`` by the curvatures ``h``, which receive the roots of the rows' shares."""
        cdef Py_ssize_t i, j, l
        cdef double share, mean = 0.0, weight = self.problem.total_weight
        cdef double[:, ::1] G = _square(self.block)
        with nogil:
            for i in range(h.shape[0]):
                if not isfinite(h[i, 0]):
                    h[i, 0] = 0.0
                mean += h[i, 0] * self.problem.weight(i)
            mean /= weight
            for i in range(h.shape[0]):
                share = self.problem.weight(i) / weight
                h[i, 0] = sqrt(share * max(h[i, 0], floor * mean if mean > 0.0 else 1.0))
            self._add_products(h, &G[0, 0])
            for j in range(self.size):
                for l in range(j, self.size):
                    B[j, l] = B[l, j] = G[j, l]
                B[j, j] += self.diagonal[j]

    cdef _of_classes(self, const double[:, ::1] z, double[:, ::1] B):
        """``hessian`` of a softmax of probabilities p: -p_k p_m aa' of two classes.

        Of one class p_k (1 - p_k) aa', which is the sum of p_k p_m aa' over the others.
        """
        cdef Py_ssize_t i, j, k, l, m, K = self.K, size = self.size, n = z.shape[0]
        cdef double share, whole
        cdef double[:, ::1] p = np.empty((n, K)), both = _square(self.block)
        with nogil:
            softmax(n, K, &z[0, 0], &p[0, 0])
            for i in range(n):
                share = sqrt(self.problem.weight(i) / self.problem.total_weight)
                for k in range(K):
                    p[i, k] *= share
            self._add_products(p, &both[0, 0])
            for j in range(size):
                for l in range(j, size):
                    for k in range(K):
                        whole = 0.0
                        for m in range(K):
                            if m != k:
                                share = both[min(k, m) * size + j, max(k, m) * size + l]
                                B[j * K + k, l * K + m] = B[l * K + m, j * K + k] = -share
                                whole += share
                        B[j * K + k, l * K + k] = B[l * K + k, j * K + k] = whole
                share = 0.0
                for k in range(K):
                    B[j * K + k, j * K + k] += self.diagonal[j]
                    share += B[j * K + k, j * K + k] / (K * K)
                for k in range(K):
                    for m in range(K):
                        B[j * K + k, j * K + m] += share

    cdef void _add_products(self, const double[:, ::1] c, double* G) noexcept nogil:
        """G += sum of u u' over the rows a, u being c_1 a, c_2 a .. side by side in ``block``."""
        cdef Py_ssize_t i, j, k, m, start, n = c.shape[0], height = self.block.shape[0]
        cdef double* u = NULL
        cdef const double* a = NULL
        for start from 0 <= start < n by height:
            m = min(height, n - start)
            for i in range(m):
                a = &self.A[start + i, 0]
                for k in range(self.K):
                    u = &self.block[i, k * self.size]
                    for j in range(self.size):
                        u[j] = c[start + i, k] * a[j]
            loops.gram(m, self.block.shape[1], &self.block[0, 0], G)


def _at(parts, x):
    """``FewRows`` where it was: what unpickling calls."""
    few = FewRows(*parts)
    few.look(x)
    few.move()
    return few


def _square(block):
    """Zeros for the products of the columns of ``block``."""
    return aligned_zeros(2 * block.shape[1:])


class FewRowsLane(RelayLane):
    """Exact Newton steps, by the last Hessian again while that will do.

    Until they move the parameters by less than their last digit, whatever ``tol`` is, as all lanes do on
    small data. Where it gets stuck another lane goes on.
    """

    def __init__(self, problem, start):
        super().__init__(problem, start)
        mean, variance, _ = start.moments
        h = float(np.mean(problem.mean_curvature(self.z)))
        self.coordinates = Coordinates(problem, mean, variance, h if h > 1e-8 and h < INFINITY else 1e-8)
        self.few = FewRows(problem, self.coordinates)
        self.metric = self.proposal = None
        self.is_quadratic = problem.loss.name == "squared_error"
        self.precision = 1e-3 * abs(self.start_objective)      # of the minimum of a model with signs
        self.floor, self.n_steps, self.stalled, self.least_gradient = FLOOR, 0, 0, np.inf

    def begin(self):
        x = self.coordinates.to_x(self.W, self.b)
        if self.is_apt(x):
            self.passes += 1
            self.few.look(x)
            self.arrive()
        else:
            yield from self.hand_over(self.warm)

    def is_apt(self, x):
        """Whether no offset swallows digits, and classes sum to zero, as ``FewRows`` asks."""
        mean, variance, _ = self.start.moments
        if not self.problem.fit_intercept and np.any(mean**2 > MOST_OFFSET * variance):
            return False
        x = x.reshape(-1, self.problem.n_outputs)
        return x.shape[1] == 1 or np.abs(x.sum(axis=1)).max() <= 1e-8 * np.abs(x).max()

    def go(self):
        if self.proposal is None:
            self.propose()
        p, decrement = self.proposal
        if decrement == 0.0:
            self.finished, self.remaining = True, 0.0
        elif self.n_steps < MOST_STEPS and decrement > 0.0 and self.finds(p, decrement):
            before = self.objective
            self.arrive()
            self.heed(decrement, before - self.objective)
        else:
            yield from self.hand_over(warm=True)

    def finds(self, p, decrement):
        """Whether there is a point to go to along p, at which ``few`` looks then."""
        few, slope = self.few, -2.0 * decrement
        if few.lam is not None:
            return any(self.falls(p, t, t * decrement) for t in SHORTER)
        at = lambda t: few.look(few.x, p, t)
        self.passes += 1
        value, rate = at(1.0)
        if is_accepted(value - few.value, rate, slope, self.rounding()):
            return True
        self.passes += 2           # as of a search on margins, and of the point that it finds
        t = searched(at, slope, rate, 0.1, self.rounding())
        return t > 0.0 and at(t)[0] <= few.value + self.rounding()

    def falls(self, p, t, promised):
        """Whether F falls at t p as its model promises, or all is rounding."""
        self.passes += 1
        change = self.few.look(self.few.x, p, t)[0] - self.few.value
        return change <= -1e-3 * promised or promised <= self.rounding() >= change

    def heed(self, decrement, decrease):
        """Prepare the next step, and say what remains."""
        scale = max(abs(self.start_objective), 1e-300)
        self.n_steps += 1
        self.floor = (max(0.1 * self.floor, 1e-12) if decrease > 0.5 * decrement
                      else min(10.0 * self.floor, FLOOR))
        self.precision = max(1e-3 * decrement * min(decrement / scale, 1.0), 0.1 * SETTLED * scale)
        self.metric = self.metric if self.is_quadratic or decrement <= SMALL * scale else None
        # two steps by a Hessian that is at hand cost what one by a new one does
        if not (self.propose()**3 <= SETTLED * scale * decrement**2 or self.is_quadratic):
            self.metric = None
            self.propose()
        gains = decrease > self.rounding() or self.gradient_norm < 0.5 * self.least_gradient
        self.stalled = 0 if gains else self.stalled + 1
        self.least_gradient = min(self.least_gradient, self.gradient_norm)
        self.remaining = 3.5 * self.proposal[1]
        self.finished = self.stalled == STALLED or self.proposal[1] <= SETTLED * scale

    def propose(self):
        """Find the way to the minimum of the quadratic model; how far F falls on it by that."""
        few = self.few
        if self.metric is None:
            B = few.hessian(self.floor)
            self.metric = Metric(B, JITTER) if few.lam is None else definite(B, JITTER)
        if few.lam is None:
            p = -self.metric.solve(few.g)
            self.proposal = p, -0.5 * float(few.g @ p)
        else:
            self.proposal = self.signed_proposal(self.metric, few.g, few.x, few.lam, few.positive)
        return self.proposal[1]

    def signed_proposal(self, B, g, x, lam, positive):
        """The same by coordinate descent; columns that are nearly alike are solved for at once."""
        p, settled = swept(B, g, x, lam, positive, self.precision, MOST_FLOPS // len(x)**2, 1)
        if not settled:
            return proximal_direction(B, g, x, lam, positive, 1, stiff=True)
        return p, decrease_of(g, x, lam, p, product(B, p))

    def arrive(self):
        """Be where ``few`` has looked last."""
        few = self.few
        few.move()
        self.W, self.b = self.coordinates.to_parameters(few.x)
        self.objective, self.z, self.gradient_norm = few.value, few.z, few.gradient_norm
