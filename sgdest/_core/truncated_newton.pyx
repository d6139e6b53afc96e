"""Newton's method for one output and L2, its equations solved roughly by conjugate gradients.

Design:

- Only products with the Hessian are needed: X'(h (X p)), one pass over the rows that matter. The
  rows that hold the last 2 % of the sum of h are left out of the Hessian (where classes are
  nearly separated that is half of them); the gradient is exact. Once a step gains hardly anything
  of what it promised, all rows count: nothing else may hold a row of small weight that is fitted.
- The intercept is eliminated: the products are centred by the h-weighted mean of the columns.
- Preconditioned by the diagonal; the relative residual follows the square root of the gradient's
  fall, so that early systems are solved roughly (Dembo, Steihaug 1983; Lin, Weng, Keerthi 2008).
- What the gradients leave unsolved is bounded from above by the rule of Gauss and Radau, the
  smallest eigenvalue being at least that of the penalty [1]_: a decrement of a rough solution would
  be too small, by far on columns that are nearly alike.

References
----------
.. [1] G. Meurant, P. Tichy, "On computing quadrature-based bounds for the A-norm of the error in
   conjugate gradients", Numerical Algorithms 62, 2013.
"""

cimport cython
from libc.math cimport INFINITY, fabs, fmax, frexp, isfinite, ldexp, sqrt

import numpy as np

from sgdest._core.problem cimport Problem
from sgdest._core.rows cimport Rows

cdef double TRIMMED = 0.02
cdef int MOST_PRODUCTS = 100


@cython.final
cdef class TruncatedNewton:
    """Newton steps from margins that are kept.

    Parameters
    ----------
    problem : Problem
        Of one output, a smooth loss, and L2 with alpha > 0 and no factors.
    W, b, z : ndarrays of shape (n_features, 1), (1,), (n_rows, 1)
        The point and its margins; changed in place.

    Attributes
    ----------
    passes : passes over X so far
    bound : what F can still fall by, as the gradient at the last point tells
    decrement : half the squared Newton decrement of the last step
    unsolved : upper bound of what the last step's decrement lacks
    gain : by how much the last step lowered F
    gradient_norm : of the last point
    """

    cdef Problem problem
    cdef Rows rows
    cdef object W, b, z
    cdef readonly double bound, decrement, unsolved, gain, gradient_norm, passes
    cdef double l2, first_residual, trimmed
    cdef double[::1] g, c, D, x, r, p, Hp, h, s
    cdef Py_ssize_t[::1] kept
    cdef Py_ssize_t d, n_kept

    def __init__(self, Problem problem, W, b, z):
        self.problem, self.rows = problem, problem.rows
        self.W, self.b, self.z = W, b, z
        self.l2, self.d = problem.penalty.l2, problem.n_features
        n, d = problem.n_rows, self.d + 1
        self.g, self.c, self.D, self.x = (np.empty(d) for _ in range(4))
        self.r, self.p, self.Hp = (np.empty(d) for _ in range(3))
        self.kept, self.h = np.empty(n, dtype=np.intp), np.empty(n)
        s = np.ones(n) if problem.sample_weight is None else problem.sample_weight
        self.s = s / problem.total_weight
        self.first_residual, self.trimmed = 0.0, TRIMMED

    def step(self, double target):
        """One step, unless F is within ``target`` of its minimum; whether F has fallen."""
        cdef double g_b, mass
        g_b = self.gradient(np.ravel(self.problem.slopes(self.z)))
        flat = fabs(g_b) <= 1e-9 * np.sqrt(self.bound) or not self.problem.fit_intercept
        if flat and self.bound <= target:
            return True
        self.bound = self.bound if flat else np.inf
        self.h = np.ravel(self.problem.curvatures(self.z)) * np.asarray(self.s)
        mass = self.curvature()
        self.solve(g_b, mass, target)
        p_b = 0.0
        if self.problem.fit_intercept:
            p_b = -(g_b + self.dot(self.c, self.x)) / mass
        fell = self.move(p_b, g_b)
        if self.gain < 0.1 * self.decrement:
            self.trimmed = 0.0
        return fell

    cdef double dot(self, double[::1] a, double[::1] b) noexcept nogil:
        cdef Py_ssize_t j
        cdef double total = 0.0
        for j in range(self.d):
            total += a[j] * b[j]
        return total

    cdef double gradient(self, double[::1] slopes):
        """Fills g; returns the derivative in the intercept."""
        cdef Py_ssize_t i, j
        cdef double g_b = 0.0, a
        cdef double[::1] w = np.ravel(self.W)
        self.g[:] = 0.0
        with nogil:
            for i in range(self.problem.n_rows):
                a = slopes[i] * self.s[i]
                if a != 0.0:
                    g_b += a
                    self.rows.add(i, a, &self.g[0])
            for j in range(self.d):
                self.g[j] += self.l2 * w[j]
        self.passes += 0.5
        self.gradient_norm = sqrt(self.dot(self.g, self.g))
        self.bound = self.gradient_norm ** 2 / (2.0 * self.l2)
        return g_b if self.problem.fit_intercept else 0.0

    cdef double curvature(self):
        """Chooses the rows of the Hessian, fills its diagonal D and c = X'h; their sum of h."""
        cdef Py_ssize_t i, j
        cdef double mass = 0.0, least
        cdef double[::1] pivot = np.zeros(self.d + 1), largest = np.zeros(self.d + 1)
        self.c[:] = 0.0
        self.D[:] = 0.0
        least = self.trim()
        self.n_kept = 0
        with nogil:
            for i in range(self.problem.n_rows):
                if self.h[i] >= least and self.h[i] > 0.0:
                    self.kept[self.n_kept] = i
                    self.n_kept += 1
                    mass += self.h[i]
                    self.rows.moments(1, &i, &self.h[i], &pivot[0], &self.c[0], &self.D[0],
                                      &largest[0])
            for j in range(self.d):
                if self.problem.fit_intercept and mass > 0.0:
                    self.D[j] = fmax(0.0, self.D[j] - self.c[j] * self.c[j] / mass)
                self.D[j] += self.l2
        self.passes += 0.5
        return fmax(mass, 1e-300)

    cdef double trim(self) noexcept nogil:
        """h up to which rows hold at most ``trimmed`` of the sum, to a power of two."""
        cdef double[256] held
        cdef Py_ssize_t i
        cdef double total = 0.0, below = 0.0, largest = 0.0
        cdef int e, top
        for e in range(256):
            held[e] = 0.0
        for i in range(self.problem.n_rows):
            largest = fmax(largest, self.h[i])
        if largest <= 0.0:
            return 0.0
        frexp(largest, &top)
        for i in range(self.problem.n_rows):
            if self.h[i] > 0.0:
                frexp(self.h[i], &e)
                held[min(top - e, 255)] += self.h[i]
                total += self.h[i]
        for e in range(255, -1, -1):
            below += held[e]
            if below > self.trimmed * total:
                break
        # rows of exponent top - e and above stay
        return ldexp(1.0, top - e - 1)

    cdef void product(self, double mass) noexcept nogil:
        """Hp = the centred Hessian times p."""
        cdef Py_ssize_t k, i, j
        cdef double t, total = 0.0
        for j in range(self.d):
            self.Hp[j] = self.l2 * self.p[j]
        for k in range(self.n_kept):
            i = self.kept[k]
            if k + 2 < self.n_kept:
                self.rows.prefetch(self.kept[k + 2], self.kept[min(k + 4, self.n_kept - 1)])
            t = self.h[i] * self.rows.dot(i, &self.p[0])
            total += t
            self.rows.add(i, t, &self.Hp[0])
        if self.problem.fit_intercept:
            total /= mass
            for j in range(self.d):
                self.Hp[j] -= total * self.c[j]

    cdef void solve(self, double g_b, double mass, double target) noexcept nogil:
        """x = about minus the inverse of the Hessian times the gradient, by CG.

        Where that seems to be the last step, until what is unsolved is known to be little.
        """
        cdef Py_ssize_t j, turn
        cdef double rz = 0.0, before, limit, alpha, beta, shift = g_b / mass
        cdef double least, largest = self.l2, radau, solved = 0.0
        for j in range(self.d):
            self.x[j] = 0.0
            self.r[j] = -(self.g[j] - shift * self.c[j])
            self.p[j] = self.r[j] / self.D[j]
            rz += self.r[j] * self.p[j]
            largest = fmax(largest, self.D[j])
        least = self.l2 / largest
        radau = 1.0 / least
        if self.first_residual == 0.0:
            self.first_residual = sqrt(rz)
        limit = fmax(1e-10, min(0.1, sqrt(sqrt(rz) / self.first_residual)))
        limit *= limit * rz
        self.unsolved = 0.5 * radau * rz
        for turn in range(MOST_PRODUCTS):
            if rz <= 0.0:
                break
            self.product(mass)
            alpha = rz / self.dot(self.p, self.Hp)
            solved += 0.5 * alpha * rz
            before, rz = rz, 0.0
            for j in range(self.d):
                self.x[j] += alpha * self.p[j]
                self.r[j] -= alpha * self.Hp[j]
                rz += self.r[j] * self.r[j] / self.D[j]
            self.passes += <double> self.n_kept / self.problem.n_rows
            beta = rz / before
            radau = fmax(radau - alpha, 0.0)
            radau /= least * radau + beta
            self.unsolved = 0.5 * radau * rz
            if rz <= limit and (self.unsolved <= 0.3 * target or solved > target):
                break
            for j in range(self.d):
                self.p[j] = self.r[j] / self.D[j] + beta * self.p[j]

    cdef move(self, double p_b, double g_b):
        """Go along x as far as F falls, on cached margins; whether it fell."""
        x = np.asarray(self.x)[:self.d]
        along = self.rows.margins(x[:, None], np.array([p_b]))
        self.passes += 0.5
        w = np.ravel(self.W)
        slope = self.dot(self.g, self.x) + g_b * p_b
        linear = self.l2 * np.einsum("j,j->", w, x)
        square = self.l2 * np.einsum("j,j->", x, x)
        self.decrement, self.gain = -0.5 * slope, 0.0
        if not slope < 0.0:
            return False
        t = self.length(along, linear, square, slope)
        if t == 0.0:
            return False
        w += t * x
        self.b += t * p_b
        self.z += t * along
        return True

    cdef double length(self, along, double linear, double square, double slope):
        """A t where F has fallen and its slope is a tenth; or 1, if that is about as good.

        Bracketed secant steps on the slope, which rises with t.
        """
        cdef double low = 0.0, low_slope = slope, high = INFINITY, high_slope = 0.0, t = 1.0
        cdef double start, value, now, width, noise, good = 0.3
        start = self.problem.line(self.z, along, 0.0)[0]
        noise = 1e-15 * (fabs(start) + 0.5 * self.l2 * np.einsum("ij,ij->", self.W, self.W))
        for _ in range(40):
            value, now = self.problem.line(self.z, along, t)
            value += t * (linear + 0.5 * t * square) - start
            now += linear + t * square
            if value <= 1e-4 * t * slope + noise and fabs(now) <= -good * slope:
                self.gain = fmax(-value, 0.0)
                return t
            good = 0.1
            if now < 0.0:
                low, low_slope = t, now
            else:                   # also where it is not finite
                high, high_slope = t, now
            width = high - low
            if not isfinite(width):
                t *= 4.0
                continue
            t = (low * high_slope - high * low_slope) / (high_slope - low_slope)
            if not low + 0.05 * width < t < high - 0.05 * width:
                t = low + 0.5 * width
        return low
