"""The objective in the columns of a working set, minimised by proximal Newton steps.

A step: a quadratic model of the loss about the point, some epochs of coordinate descent on it
(Yuan, Ho, Lin 2012) and conjugate gradients among the coordinates that have a weight, or Anderson
extrapolation (Bertrand, Massias 2021) where their signs are not settled; then a search along the
change on cached margins. Of a quadratic loss the model is the problem itself.
"""

cimport cython
from libc.math cimport INFINITY, fabs, fmax, isfinite, sqrt
from libc.string cimport memcpy, memset

import numpy as np

from sgdest._core cimport simd
from sgdest._core.column_kernels cimport ColumnLoops, column_loops
from sgdest._core.columns cimport Columns
from sgdest._core.kernels cimport F64, DenseLoops, dense_loops
from sgdest._core.problem cimport Problem

cdef const DenseLoops* loops = dense_loops(F64, simd.level)
cdef const ColumnLoops* weighted = column_loops(simd.level)

cdef Py_ssize_t BLOCK = 256
# Epochs between extrapolations.
cdef enum:
    SPAN = 5
cdef Py_ssize_t HALVINGS = 40
# Conjugate gradients are worth their time where an epoch gave or took the weight of no more than
# this share of the coordinates that have one. They end after so many steps, when one gains this
# share of all of them, or when more than this share of the coordinates would change their sign.
cdef double SETTLED = 0.02
cdef Py_ssize_t MOST_STEPS = 30
cdef double WORTH = 0.01
cdef double WORTH_OF_LITTLE = 0.1      # the same where all of them gain little
cdef double CROSSING = 0.1
# Where the loss is straight, the model is a little curved: this share of the mean.
cdef double FLATTEST = 1e-3


@cython.final
cdef class Subproblem:
    """F as a function of some coefficients and the intercept.

    G = r + h dz is kept, r and h being slopes and curvatures of the mean loss in the margins and dz
    their change: G gives the gradient of a column by one product.

    Parameters
    ----------
    problem : Problem of one output
    columns : Columns
        Those of ``chosen`` are there.
    chosen : ndarray of intp
    w, l1, l2 : ndarrays of shape (len(chosen),)
        Coefficients, and what the penalty says of each.
    z : ndarray of shape (n_rows,)
        The margins.
    s : ndarray of shape (n_rows,)
        The weights of the rows; they sum to one.

    Attributes
    ----------
    w, z : arrays
        At the point now.
    change_b : float
        Of the intercept of the columns as they are in ``columns``.
    loss : float
        The mean loss now.
    """

    cdef Problem problem
    cdef Columns columns
    cdef Py_ssize_t[::1] chosen
    cdef double[::1] l1, l2, H             # H: of the model along each coordinate; -1: not yet known
    cdef double[::1] origin                # w where the model was made
    cdef readonly double[::1] w, z
    cdef double[::1] s, r, h, G, along, room
    cdef double[:, ::1] points             # w and the intercept after the last epochs
    cdef Py_ssize_t n_points
    cdef readonly double change_b, loss
    cdef double step_b                     # of the model
    cdef double gain, little               # of the last step in F; what is not worth another one
    cdef double worth                      # what is little beside all that is asked for
    cdef double mass, bound
    # of the last epoch: the largest violation met, how many weights there were, came, or went
    cdef double violation
    cdef Py_ssize_t n_weights, n_turned
    cdef double steepest                   # the largest gradient where there is a weight
    cdef bint positive, fit_intercept
    cdef bint is_even                      # h is the same in all rows

    def __init__(self, Problem problem, Columns columns, chosen, w, l1, l2, z, s):
        n, m = problem.n_rows, len(chosen)
        self.problem, self.columns, self.chosen = problem, columns, chosen
        self.w, self.l1, self.l2, self.z, self.s = w, l1, l2, z.copy(), s
        self.origin, self.H, self.points = w.copy(), np.empty(m), np.empty((SPAN + 1, m + 1))
        self.r, self.h, self.G, self.along = np.empty((4, n))
        self.room = np.empty(max(n, BLOCK))
        self.positive, self.fit_intercept = problem.penalty.positive, problem.fit_intercept
        self.is_even = problem.loss.name == "squared_error" and problem.sample_weight is None
        bound = type(problem.loss).curvature_bound
        self.bound = bound if np.isfinite(bound) else 1.0

    def minimise(self, Py_ssize_t n_steps, double enough, double rounding, double fading=0.0,
                 double worth=0.0):
        """Steps until the largest violation is ``enough``, or one hardly lowers F.

        That is, gains no more than the share ``fading`` of all steps so far, or the next one would
        gain less than ``worth`` if it were to this one as this one is to the one before. Differences
        of F below ``rounding`` are noise.
        """
        cdef Py_ssize_t step
        cdef double first, last = INFINITY, gained = 0.0
        cdef bint is_quadratic = self.problem.loss.name == "squared_error"
        # an epoch that costs less than a model is worth more of them
        cdef bint is_cheap = self.n_entries() < self.problem.n_rows
        self.loss = self.mean_loss(&self.z[0])
        self.little, self.worth = 0.0, worth
        for step in range(n_steps):
            with nogil:
                self.approximate()
                if is_quadratic:
                    first = self.descend(1000, enough, 0.0)
                elif is_cheap:
                    first = self.descend(20, 0.3 * enough, 0.05)
                else:
                    first = self.descend(4 if step < 2 else 20, 0.3 * enough, 0.3)
                moved = self.move(rounding)
            self.problem.loss.raise_error()
            # the first epoch of all meets violations that its own steps have made small
            gained += self.gain
            self.little = fading * gained
            if (is_quadratic or not moved or self.gain <= self.little
                    or (step > 0 and (first <= enough or self.gain**2 <= worth * last))):
                return
            last = self.gain

    cdef Py_ssize_t n_entries(self) noexcept nogil:
        """Of the columns that are chosen."""
        cdef Py_ssize_t k, n = 0
        for k in range(self.chosen.shape[0]):
            n += self.columns.count[self.chosen[k]]
        return n

    # -- the model -------------------------------------------------------------------------

    cdef void approximate(self) noexcept nogil:
        """The quadratic model about the point."""
        cdef Py_ssize_t i, k, m, first, n = self.problem.n_rows
        cdef const double* y = NULL
        cdef double mean = 0.0
        cdef double* r = &self.r[0]
        cdef double* h = &self.h[0]
        cdef double* G = &self.G[0]
        cdef const double* s = &self.s[0]
        for first from 0 <= first < n by BLOCK:
            m = min(BLOCK, n - first)
            y = self.problem.targets_of(first, m, &self.room[0])
            self.problem.loss.derivatives(m, 1, y, &self.z[first], r + first)
            self.problem.loss.curvatures(m, 1, y, &self.z[first], h + first)
        mean = loops.dot(n, h, s)
        if not mean > 0.0:
            mean = self.bound
        for i in range(n):
            r[i] *= s[i]
            # rows without weight have slope 0: any curvature will do
            h[i] = ((h[i] if h[i] > FLATTEST * mean else FLATTEST * mean)
                    * (s[i] if s[i] > 1e-300 else 1e-300))
            G[i] = r[i]
        self.mass = sum_of(self.h)
        self.step_b = 0.0
        for k in range(self.chosen.shape[0]):
            self.origin[k] = self.w[k]
            self.H[k] = -1.0               # most coordinates that stay at zero need none

    cdef void epoch(self, bint every) noexcept nogil:
        """Visit every coordinate, or those that have a weight."""
        cdef Py_ssize_t k
        cdef double g, w, out, step, total
        self.violation = 0.0
        self.n_weights = self.n_turned = 0
        if self.fit_intercept:
            total = sum_of(self.G)
            step = -total / self.mass
            self.step_b += step
            loops.add(self.problem.n_rows, step, &self.h[0], &self.G[0])
            self.violation = fabs(total)
        for k in range(self.chosen.shape[0]):
            w = self.w[k]
            self.n_weights += w != 0.0
            if w == 0.0 and not every:
                continue
            g = self.columns.dot(self.chosen[k], &self.G[0]) + self.l2[k] * w
            out = violation(w, g, self.l1[k], self.positive)
            self.violation = fmax(self.violation, out)
            if out == 0.0:
                continue
            if not self.is_curved(k):
                continue
            step = soft(w - g / self.H[k], self.l1[k] / self.H[k], self.positive) - w
            if step != 0.0:
                self.w[k] = w + step
                self.n_turned += w * (w + step) <= 0.0
                self.add(k, step, &self.G[0])

    cdef bint is_curved(self, Py_ssize_t k) noexcept nogil:
        """Whether the model is curved along a coordinate; how much goes to H."""
        if self.H[k] < 0.0:
            self.H[k] = self.columns.square(self.chosen[k], &self.h[0]) + self.l2[k]
        return self.H[k] != 0.0

    cdef void add(self, Py_ssize_t k, double step, double* G) noexcept nogil:
        """What a step of a coordinate adds to G."""
        if self.is_even:
            self.columns.add(self.chosen[k], step * self.h[0], NULL, G)
        else:
            self.columns.add(self.chosen[k], step, &self.h[0], G)

    cdef double descend(self, Py_ssize_t n_epochs, double enough, double share) noexcept nogil:
        """Epochs until the largest violation is ``enough``, or that share of the first one.

        One epoch, where the first violation times ``share`` is no more than ``enough``. Coordinates
        without a weight are visited in the first epoch and whenever the others have been solved.
        Returns the first violation.
        """
        cdef double first = INFINITY
        cdef Py_ssize_t turn, wait = 2, due = 2
        cdef bint every = True
        self.n_points = 0
        for turn in range(n_epochs):
            self.epoch(every)
            if turn == 0:
                first = self.violation
                if 0.0 < first * share <= enough:
                    break
                enough = fmax(enough, share * first)
            if self.violation <= enough:
                if every:
                    break
                every = True
                continue
            every = turn >= due and self.n_turned <= SETTLED * self.n_weights
            if not every:
                self.remember()
                continue
            wait = 2 if self.polish(0.5 * enough) else 2 * wait
            due = turn + 1 + wait
            self.n_points = 0
        return first

    # -- Newton's step where there are weights -----------------------------------------------

    cdef bint polish(self, double enough) noexcept nogil:
        """Conjugate gradients on the model, among the coordinates that have a weight.

        Until their largest gradient is ``enough``. Where a step would change the sign of some, they
        become 0 and are left there, to which the formula of Polak and Ribiere adapts the next
        direction. Returns whether these were few, and the model fell.
        """
        cdef Py_ssize_t k, step, m = self.chosen.shape[0], n = self.G.shape[0], crossing = 0
        cdef double* along = &self.points[0, 0]
        cdef double* origin = &self.points[1, 0]
        cdef double* residual = &self.points[2, 0]
        cdef double* last = &self.points[3, 0]
        cdef double slope, a, share, size = 0.0, total = 0.0
        cdef double now = self.value(first_of(self.w), &self.G[0]), origin_b = self.step_b
        memcpy(&self.room[0], &self.G[0], n * sizeof(double))
        memset(along, 0, 4 * self.points.strides[0])
        memcpy(origin, first_of(self.w), m * sizeof(double))
        for step in range(MOST_STEPS):
            self.residuals(residual)
            slope = self.turn(along, residual, last, &size)
            a = self.curvature(along)
            if self.steepest <= enough or not (slope > 0.0 and a > 0.0):
                break
            a = slope / a
            weighted.weighted_add(n, a, &self.h[0], &self.along[0], &self.G[0])
            crossing += self.advance(a, along)
            total += a * slope
            share = WORTH if total > self.worth else WORTH_OF_LITTLE
            if a * slope <= fmax(share * total, self.little) or crossing > CROSSING * m:
                break
        if self.value(first_of(self.w), &self.G[0]) < now:
            return crossing <= CROSSING * m
        memcpy(&self.G[0], &self.room[0], n * sizeof(double))
        memcpy(first_of(self.w), origin, m * sizeof(double))
        self.step_b = origin_b
        return False

    cdef void residuals(self, double* out) noexcept nogil:
        """Fills in minus gradient over curvature, where there is a weight."""
        cdef Py_ssize_t k, m = self.chosen.shape[0]
        cdef double g = 0.0
        self.steepest = out[m] = 0.0
        for k in range(m):
            out[k] = 0.0
            if self.w[k] == 0.0 or not self.is_curved(k):
                continue
            g = (self.columns.dot(self.chosen[k], &self.G[0]) + self.l2[k] * self.w[k]
                 + (self.l1[k] if self.w[k] > 0.0 else -self.l1[k]))
            self.steepest = fmax(self.steepest, fabs(g))
            out[k] = -g / self.H[k]
        if self.fit_intercept:
            g = sum_of(self.G)
            self.steepest = fmax(self.steepest, fabs(g))
            out[m] = -g / self.mass

    cdef double turn(self, double* along, const double* residual, double* last,
                     double* size) noexcept nogil:
        """The next direction; how fast the model falls along it.

        ``last`` is the residual before, which becomes this one, ``size`` its square in the metric
        of the curvatures.
        """
        cdef Py_ssize_t k, m = self.chosen.shape[0]
        cdef double beta, H, total = 0.0, change = 0.0, slope = 0.0
        for k in range(m + 1):
            H = self.H[k] if k < m else self.mass
            total += H * residual[k] * residual[k]
            change += H * residual[k] * (residual[k] - last[k])
        beta = fmax(0.0, change / size[0]) if size[0] > 0.0 else 0.0
        size[0] = total
        for k in range(m + 1):
            H = self.H[k] if k < m else self.mass
            along[k] = residual[k] + beta * along[k]
            slope += H * residual[k] * along[k]
            last[k] = residual[k]
        return slope

    cdef double curvature(self, const double* along) noexcept nogil:
        """Of the model along a change of the coordinates; that of the margins goes to ``along``."""
        cdef Py_ssize_t i, k, m = self.chosen.shape[0], n = self.G.shape[0]
        cdef double total = 0.0
        for i in range(n):
            self.along[i] = along[m]
        for k in range(m):
            if along[k] != 0.0:
                self.columns.add(self.chosen[k], along[k], NULL, &self.along[0])
                total += self.l2[k] * along[k] * along[k]
        return total + weighted.weighted_square(n, &self.h[0], &self.along[0])

    cdef Py_ssize_t advance(self, double a, double* along) noexcept nogil:
        """Move the coordinates, but none beyond 0; how many end there."""
        cdef Py_ssize_t k, crossing = 0, m = self.chosen.shape[0]
        cdef double w
        for k in range(m):
            w = self.w[k] + a * along[k]
            if w * self.w[k] < 0.0:
                self.add(k, -w, &self.G[0])
                crossing += 1
                along[k] = w = 0.0
            self.w[k] = w
        self.step_b += a * along[m]
        return crossing

    # -- extrapolation ---------------------------------------------------------------------

    cdef void remember(self) noexcept nogil:
        """Keep the point; after ``SPAN`` epochs extrapolate."""
        cdef Py_ssize_t k, m = self.chosen.shape[0]
        for k in range(m):
            self.points[self.n_points, k] = self.w[k]
        self.points[self.n_points, m] = self.step_b
        self.n_points += 1
        if self.n_points > SPAN:
            self.extrapolate()
            self.n_points = 0

    cdef void extrapolate(self) noexcept nogil:
        """Anderson's mixture of the last points, if the model is lower there."""
        cdef Py_ssize_t i, k, q, m = self.chosen.shape[0]
        cdef double[5] c                   # SPAN
        cdef double now, w, change
        if not mixture(self.points, c):
            return
        for k in range(m + 1):
            w = 0.0
            for q in range(SPAN):
                w += c[q] * self.points[q + 1, k]
            self.points[0, k] = fmax(w, 0.0) if self.positive and k < m else w
        for i in range(self.G.shape[0]):
            self.room[i] = self.r[i] + self.points[0, m] * self.h[i]
        for k in range(m):
            change = self.points[0, k] - self.origin[k]
            if change != 0.0:
                self.add(k, change, &self.room[0])
        now = self.value(first_of(self.w), &self.G[0])
        if not self.value(&self.points[0, 0], &self.room[0]) < now:
            return
        for k in range(m):
            self.w[k] = self.points[0, k]
        self.step_b = self.points[0, m]
        for i in range(self.G.shape[0]):
            self.G[i] = self.room[i]

    cdef double value(self, const double* w, const double* G) noexcept nogil:
        """The model: the sum of r dz + h dz^2 / 2, and the penalty."""
        cdef Py_ssize_t i
        cdef double total = 0.0
        for i in range(self.G.shape[0]):
            total += 0.5 * (G[i] - self.r[i]) * (G[i] + self.r[i]) / self.h[i]
        return total + self.penalty(w)

    # -- the search ------------------------------------------------------------------------

    cdef bint move(self, double rounding) noexcept nogil:
        """Go to the minimum of the model, or as far towards it as F falls; whether it did."""
        cdef Py_ssize_t i, k, halving, n = self.problem.n_rows
        cdef double t = 1.0, slope, value, before = self.penalty(first_of(self.origin))
        cdef double* along = &self.along[0]
        cdef double* trial = &self.room[0]
        cdef double* aim = &self.points[0, 0]
        cdef double* z = &self.z[0]
        for i in range(n):
            along[i] = (self.G[i] - self.r[i]) / self.h[i]
        slope = self.penalty(first_of(self.w)) - before + loops.dot(n, along, &self.r[0])
        for k in range(self.w.shape[0]):
            aim[k] = self.w[k]
        for halving in range(HALVINGS):
            for i in range(n):
                trial[i] = z[i] + t * along[i]
            if t < 1.0:
                for k in range(self.w.shape[0]):
                    self.w[k] = self.origin[k] + t * (aim[k] - self.origin[k])
            value = self.mean_loss(trial)
            self.gain = before - self.penalty(first_of(self.w)) + self.loss - value
            if self.gain >= -0.01 * t * slope - rounding:
                self.change_b += t * self.step_b
                self.loss = value
                memcpy(z, trial, n * sizeof(double))
                return True
            t *= 0.5
        for k in range(self.w.shape[0]):
            self.w[k] = self.origin[k]
        return False

    cdef double mean_loss(self, const double* z) noexcept nogil:
        cdef Py_ssize_t m, first, n = self.problem.n_rows
        cdef double[256] y                 # BLOCK
        cdef double total = 0.0
        for first from 0 <= first < n by BLOCK:
            m = min(BLOCK, n - first)
            total += self.problem.loss.values(m, 1, self.problem.targets_of(first, m, y), z + first,
                                              &self.s[first])
        return total

    cdef double penalty(self, const double* w) noexcept nogil:
        cdef Py_ssize_t k
        cdef double total = 0.0
        for k in range(self.l1.shape[0]):
            total += self.l1[k] * fabs(w[k]) + 0.5 * self.l2[k] * w[k] * w[k]
        return total


cdef bint mixture(const double[:, ::1] points, double* c) noexcept nogil:
    """Anderson's weights of the points after the first, which sum to one; whether there are any.

    They solve (D D') c = 1, D being the differences, by elimination with a little on the diagonal.
    """
    cdef double[5][5] A                    # SPAN
    cdef Py_ssize_t p, q, k
    cdef double trace = 0.0, total = 0.0, factor
    for p in range(SPAN):
        for q in range(p + 1):
            total = 0.0
            for k in range(points.shape[1]):
                total += (points[p + 1, k] - points[p, k]) * (points[q + 1, k] - points[q, k])
            A[p][q] = A[q][p] = total
        trace += A[p][p]
        c[p] = 1.0
    for p in range(SPAN):
        A[p][p] += 1e-10 * trace + 1e-300
    for p in range(SPAN):
        for q in range(p + 1, SPAN):
            factor = A[q][p] / A[p][p]
            c[q] -= factor * c[p]
            for k in range(p, SPAN):
                A[q][k] -= factor * A[p][k]
    total = 0.0
    for p in range(SPAN - 1, -1, -1):
        for k in range(p + 1, SPAN):
            c[p] -= A[p][k] * c[k]
        c[p] /= A[p][p]
        total += c[p]
    for p in range(SPAN):
        c[p] /= total
    return isfinite(total) and total != 0.0


cdef inline double* first_of(double[::1] v) noexcept nogil:
    """Where v begins; an empty one, of a set without columns, has no address."""
    return &v[0] if v.shape[0] > 0 else NULL


cdef double sum_of(const double[::1] v) noexcept nogil:
    """By four sums, which a processor adds to at the same time."""
    cdef Py_ssize_t i, n = v.shape[0]
    cdef double a = 0.0, b = 0.0, c = 0.0, d = 0.0
    for i in range(0, n - 3, 4):
        a += v[i]
        b += v[i + 1]
        c += v[i + 2]
        d += v[i + 3]
    for i in range(n - n % 4, n):
        a += v[i]
    return (a + b) + (c + d)


cdef inline double soft(double w, double by, bint positive) noexcept nogil:
    """w moved towards zero; 0 where it would cross, or be negative against ``positive``."""
    if w > by:
        return w - by
    return w + by if w < -by and not positive else 0.0


cdef inline double violation(double w, double g, double l1, bint positive) noexcept nogil:
    """The smallest subgradient of a coordinate, g being the gradient of its smooth part."""
    if w > 0.0:
        return fabs(g + l1)
    if w < 0.0:
        return fabs(g - l1)
    return fmax(0.0, -g - l1) if positive else fmax(0.0, fabs(g) - l1)


def violations(const double[::1] w, const double[::1] g, const double[::1] l1,
               const double[::1] l2, const double[::1] spread, bint positive):
    """(violations, largest, size): of every coordinate, g being the gradient of the mean loss.

    The size is the root of the sum of squares, as if columns were scaled to a ``spread`` of 1.
    """
    cdef Py_ssize_t j
    cdef double[::1] out = np.empty(w.shape[0])
    cdef double largest = 0.0, total = 0.0
    for j in range(w.shape[0]):
        out[j] = violation(w[j], g[j] + l2[j] * w[j], l1[j], positive)
        if out[j] != 0.0:
            largest = fmax(largest, out[j])
            if spread[j] > 0.0:
                total += (out[j] / spread[j]) * (out[j] / spread[j])
    return np.asarray(out), largest, sqrt(total)
