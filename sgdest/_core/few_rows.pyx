"""Newton's method on small data: rows that lie centred and scaled side by side, and all their Hessian.

Such a fit is over after a dozen steps of some ten thousand multiplications each. Whatever else
stands around these, choices of rows, chunks, threads, costs several times as much.
"""

cimport cython
from libc.math cimport INFINITY, isfinite, sqrt

import numpy as np

from sgdest._core cimport simd
from sgdest._core.kernels cimport F64, DenseLoops, dense_loops
from sgdest._core.problem cimport Problem
from sgdest._core.softmax cimport softmax

from sgdest._core.descent import Coordinates, is_accepted, searched
from sgdest._core.gram import stride_of
from sgdest._core.metric import Metric, scaled_rows
from sgdest._core.newton_lane import FLOOR, SETTLED
from sgdest._core.penalties import PENALTIES
from sgdest._core.relay import RelayLane
from sgdest._core.simd import aligned_zeros

cdef const DenseLoops* loops = dense_loops(F64, simd.level)

MOST_STEPS = 30          # before another lane goes on
STALLED = 6              # steps that only shift rounding
MOST_OFFSET = 1e6        # of columns without intercept, squared, in units of what they vary by
# Numbers of the block of rows that is multiplied at once: the first-level cache holds it.
cdef Py_ssize_t ENTRIES_OF_BLOCK = 1 << 12


@cython.final
cdef class FewRows:
    """The smooth part of F, its gradient and its Hessian, in the coordinates x of ``descent``.

    Parameters
    ----------
    problem : Problem
        Small, of dense rows; of one output, or of a joint loss.
    coordinates : Coordinates
    diagonal : ndarray of shape (n_features,)
        Second derivatives of the penalty in x.
    """

    cdef Problem problem                   # the same on the rows as they are in x
    cdef double[:, ::1] A                  # these rows
    cdef double[:, ::1] single, several    # blocks of rows, of one output and of all side by side
    cdef double[:, ::1] W, G               # x and the gradient as ``sweep`` wants them
    cdef double[::1] diagonal, none, sums, room
    cdef Py_ssize_t size, K
    cdef readonly object x, g, z           # where it is; there
    cdef object x_next, g_next, z_next
    cdef readonly double value, value_next, gradient_norm, norm_next

    def __init__(self, Problem problem, coordinates, diagonal):
        n = problem.n_rows
        one = 1.0 / coordinates.root_h if problem.fit_intercept else 0.0
        A = scaled_rows(problem, np.arange(n), np.ones(n), coordinates, coordinates.mean, one)
        self.A, self.problem = A, problem.on_rows(A, PENALTIES[None]())
        self.K, self.size = problem.n_outputs, problem.n_features + 1
        self.diagonal = np.append(diagonal, 0.0)
        self.W, self.G = np.empty((2, self.K, self.size))
        self.none, self.sums = np.zeros(self.K), np.empty(self.K)
        self.room = np.empty(self.problem.block_room())
        self.single, self.several = (
            aligned_zeros((max(8, ENTRIES_OF_BLOCK // stride), stride))
            for stride in (stride_of(self.size), stride_of(self.size * self.K)))
        self.x, self.x_next, self.g, self.g_next = np.empty((4, self.size * self.K))
        self.z, self.z_next = np.empty((2, n, self.K))

    def look(self, const double[::1] x, const double[::1] p=None, double t=1.0):
        """(F, its slope along p) at x + t p, where ``move`` then leads; at x without p."""
        cdef Py_ssize_t j, k, i, K = self.K
        cdef double total = 0.0, half = 0.0, rate = 0.0, square = 0.0
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
                    half += self.diagonal[j] * there[i] * there[i]
                    g[i] = self.G[k, j] / weight + self.diagonal[j] * there[i]
                    square += g[i] * g[i]
                    rate += 0.0 if p is None else g[i] * p[i]
        self.problem.loss.raise_error()
        self.value_next, self.norm_next = total / weight + 0.5 * half, sqrt(square)
        return self.value_next, rate

    def move(self):
        """Be where it has looked last."""
        self.x, self.x_next = self.x_next, self.x
        self.g, self.g_next = self.g_next, self.g
        self.z, self.z_next = self.z_next, self.z
        self.value, self.gradient_norm = self.value_next, self.norm_next

    def hessian(self, double floor):
        """Second derivatives of F where it is: what is above the diagonal.

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
        cdef double[:, ::1] G = _square(self.single)
        with nogil:
            for i in range(h.shape[0]):
                if not isfinite(h[i, 0]):
                    h[i, 0] = 0.0
                mean += h[i, 0] * self.problem.weight(i)
            mean /= weight
            for i in range(h.shape[0]):
                share = self.problem.weight(i) / weight
                h[i, 0] = sqrt(share * max(h[i, 0], floor * mean if mean > 0.0 else 1.0))
            self._add_products(h, self.single, &G[0, 0])
            for j in range(self.size):
                for l in range(j, self.size):
                    B[j, l] = G[j, l]
                B[j, j] += self.diagonal[j]

    cdef _of_classes(self, const double[:, ::1] z, double[:, ::1] B):
        """``hessian`` of a softmax of probabilities p: p_k (1 - p_k) aa' of a class, -p_k p_l aa' of two."""
        cdef Py_ssize_t i, j, k, l, m, K = self.K, size = self.size, n = z.shape[0]
        cdef double share, trace
        cdef double[:, ::1] p = np.empty((n, K)), root = np.empty((n, 1))
        cdef double[:, ::1] own, both = _square(self.several)
        with nogil:
            softmax(n, K, &z[0, 0], &p[0, 0])
        for k in range(K):
            own = _square(self.single)
            with nogil:
                for i in range(n):
                    share = self.problem.weight(i) / self.problem.total_weight
                    root[i, 0] = sqrt(share * p[i, k] * (1.0 - p[i, k]))
                self._add_products(root, self.single, &own[0, 0])
                for j in range(size):
                    for l in range(j, size):
                        B[j * K + k, l * K + k] = own[j, l]
                    B[j * K + k, j * K + k] += self.diagonal[j]
        with nogil:
            for i in range(n):
                share = sqrt(self.problem.weight(i) / self.problem.total_weight)
                for k in range(K):
                    p[i, k] *= share
            self._add_products(p, self.several, &both[0, 0])
            for j in range(size):
                trace = 0.0
                for k in range(K):
                    trace += B[j * K + k, j * K + k] / (K * K)
                    for l in range(j, size):
                        for m in range(K):
                            if m != k:
                                B[j * K + k, l * K + m] = -both[min(k, m) * size + j,
                                                                max(k, m) * size + l]
                for k in range(K):
                    for m in range(K):
                        B[j * K + k, j * K + m] += trace

    cdef void _add_products(self, const double[:, ::1] c, double[:, ::1] block,
                            double* G) noexcept nogil:
        """G += sum of u u' over the rows a, u being c_1 a, c_2 a .. side by side in ``block``."""
        cdef Py_ssize_t i, j, k, m, start, n = c.shape[0]
        cdef double* u = NULL
        cdef const double* a = NULL
        for start from 0 <= start < n by block.shape[0]:
            m = min(block.shape[0], n - start)
            for i in range(m):
                a = &self.A[start + i, 0]
                for k in range(c.shape[1]):
                    u = &block[i, k * self.size]
                    for j in range(self.size):
                        u[j] = c[start + i, k] * a[j]
            loops.gram(m, block.shape[1], &block[0, 0], G)


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
        c = 1.0 if problem.penalty.factors is None else problem.penalty.factors
        self.few = FewRows(problem, self.coordinates,
                           problem.penalty.l2 * (c * self.coordinates.inverse_sigma)**2)
        self.metric = self.proposal = None
        self.floor, self.n_steps, self.stalled, self.least_gradient = FLOOR, 0, 0, np.inf

    def begin(self):
        x = self.coordinates.to_x(self.W, self.b)
        if self.is_apt(x):
            self.go_to(x)
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
        few = self.few
        p, decrement = self.proposal or self.direction()
        if decrement == 0.0:
            self.finished, self.remaining = True, 0.0
        elif self.n_steps < MOST_STEPS and decrement > 0.0 and self.finds(p, -2.0 * decrement):
            before = few.value
            few.move()
            self.heed(decrement, before - few.value)
        else:
            yield from self.hand_over(warm=True)

    def finds(self, p, slope):
        """Whether there is a point to go to along p, at which ``few`` looks then."""
        few = self.few
        self.passes += 1
        value, rate = few.look(few.x, p)
        if is_accepted(value - few.value, rate, slope, self.rounding()):
            return True

        def at(t):
            self.passes += 1
            return few.look(few.x, p, t)

        t = searched(at, slope, rate, 0.1, self.rounding())
        return t > 0.0 and at(t)[0] <= few.value + self.rounding()

    def heed(self, decrement, decrease):
        """Prepare the next step, and say what remains."""
        few, settled = self.few, SETTLED * abs(self.start_objective)
        self.n_steps += 1
        self.floor = (max(0.1 * self.floor, 1e-12) if decrease > 0.5 * decrement
                      else min(10.0 * self.floor, FLOOR))
        self.proposal = self.direction()
        # two steps by a Hessian that is at hand cost what one by a new one does
        if not self.proposal[1]**3 <= settled * decrement**2:
            self.metric = None
            self.proposal = self.direction()
        self.store()
        gains = decrease > self.rounding() or few.gradient_norm < 0.5 * self.least_gradient
        self.stalled = 0 if gains else self.stalled + 1
        self.least_gradient = min(self.least_gradient, few.gradient_norm)
        self.remaining = 3.5 * self.proposal[1]
        self.finished = self.stalled == STALLED or self.proposal[1] <= settled

    def direction(self):
        """The Newton direction, and how far F falls along it by its model."""
        if self.metric is None:
            self.metric = Metric(self.few.hessian(self.floor), 1e-11)
        p = -self.metric.solve(self.few.g)
        return p, -0.5 * float(self.few.g @ p)

    def go_to(self, x):
        """Be at x."""
        self.passes += 1
        self.few.look(x)
        self.few.move()
        self.store()

    def store(self):
        self.W, self.b = self.coordinates.to_parameters(self.few.x)
        self.objective, self.gradient_norm, self.z = self.few.value, self.few.gradient_norm, self.few.z
