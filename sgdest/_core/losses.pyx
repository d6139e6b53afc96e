"""Every loss: its value, slope and curvature in the raw prediction ``z``, and facts about it.

A loss is one final class with a name. ``LOSSES`` is read off the classes; validation, error
texts, docs and tests read ``LOSSES``. The facts, which solvers ask for instead of names:

``targets``
    what ``y`` is: "real", "nonnegative", "positive", "binary" (0 or 1), "sign" (-1 or 1), or
    "class" (a code 0 .. K-1, for a loss that is joint over the outputs)
``link``
    the prediction is ``link^-1(z)``: "identity", "log", "logit" or "softmax"
``smoothness``
    "smooth" (has a curvature a solver can use) or "kinked" (piecewise linear)
``joint``, ``centred``, ``curved``, ``costs_a_call``
    the loss reads one class code for all outputs; it reads a centre beside each target; its
    curvature varies within its pieces, so that a dual step takes iterations; it is called in Python
``curvature_bound``
    the largest second derivative; infinite where there is none
``parameters``
    names and defaults of the constructor's arguments
"""

cimport cython
from libc.math cimport INFINITY, NAN, cosh, exp, fabs, fmax, fmin, log, log1p, tanh

from sgdest._core cimport simd
from sgdest._core.loss_kernels cimport LossBlock, LossLoops, loss_loops
from sgdest._core.scalars cimport beyond, cut, entropy, exp_curvature, exp_line, exp_slope
from sgdest._core.softmax cimport greatest, softmax, sum_of_exps

import numpy as np

cdef const LossLoops* loops = loss_loops(simd.level)


cdef class Loss:
    """Abstract: a loss of one raw prediction. See ``losses.pxd`` for what each method promises."""

    name = None
    targets = "real"
    link = "identity"
    smoothness = "smooth"
    curvature_bound = INFINITY
    parameters = {}
    joint = centred = curved = costs_a_call = False

    cdef double value(self, double y, double z) noexcept nogil:
        return NAN

    cdef double derivative(self, double y, double z) noexcept nogil:
        return NAN

    cdef double curvature(self, double y, double z) noexcept nogil:
        return NAN

    cdef const LossBlock* block(self, double* parameter) noexcept nogil:
        return NULL

    cdef double values(self, Py_ssize_t n, Py_ssize_t n_outputs, const double* y,
                       const double* z, const double* s) noexcept nogil:
        cdef Py_ssize_t m, start, size, N = n * n_outputs
        cdef double p = 0.0, total = 0.0
        cdef double[256] v
        cdef const LossBlock* loop = self.block(&p)
        for start from 0 <= start < N by 256:
            size = min(256, N - start)
            if loop != NULL:
                loop.values(p, size, y + start, z + start, v)
            else:
                for m in range(size):
                    v[m] = self.value(y[start + m], z[start + m])
            if n_outputs == 1:
                for m in range(size):
                    total += s[start + m] * v[m]
            else:
                for m in range(size):
                    total += s[(start + m) // n_outputs] * v[m]
        return total

    cdef void derivatives(self, Py_ssize_t n, Py_ssize_t n_outputs, const double* y,
                          const double* z, double* d) noexcept nogil:
        cdef Py_ssize_t i
        cdef double p = 0.0
        cdef const LossBlock* loop = self.block(&p)
        if loop != NULL:
            loop.slopes(p, n * n_outputs, y, z, d)
            return
        for i in range(n * n_outputs):
            d[i] = self.derivative(y[i], z[i])

    cdef void curvatures(self, Py_ssize_t n, Py_ssize_t n_outputs, const double* y,
                         const double* z, double* h) noexcept nogil:
        cdef Py_ssize_t i
        cdef double p = 0.0
        cdef const LossBlock* loop = self.block(&p)
        if loop != NULL:
            loop.curvatures(p, n * n_outputs, y, z, h)
            return
        for i in range(n * n_outputs):
            h[i] = self.curvature(y[i], z[i])

    cdef double conjugate(self, double y, double a) noexcept nogil:
        return NAN

    cdef double dual_step(self, double y, double u, double q) noexcept nogil:
        # v + q derivative(v) rises in v, so v is bracketed; Newton inside the bracket, which is
        # halved where Newton's steps do not halve. At a kink it closes on v = u - q a.
        cdef double v = u, slope, step, excess = q * self.derivative(y, u)
        cdef double low = fmin(u, u - excess), high = fmax(u, u - excess), before = high - low
        for _ in range(200):
            excess = v + q * self.derivative(y, v) - u
            if excess > 0.0:
                high = v
            else:
                low = v
            slope = 1.0 + q * self.curvature(y, v)
            step = v - excess / slope
            if not low < step < high or fabs(2.0 * excess) > fabs(before * slope):
                step = 0.5 * (low + high)
            before = step - v
            if fabs(before) <= 1e-15 * (1.0 + fabs(v)):
                break
            v = step
        # rounding of (u - v) / q must not leave the slopes that the bracket allows
        return fmax(self.derivative(y, low), fmin(self.derivative(y, high), (u - v) / q))

    cdef double kink(self, double y, double* low, double* high, double* dead) noexcept nogil:
        low[0] = high[0] = dead[0] = 0.0
        return NAN

    def raise_error(self):
        """Raise what a loss written in Python raised within a loop, which had to go on."""

    def evaluate(self, y, z):
        """Block forms as arrays: (sum of values, derivatives, curvatures), for any shape."""
        cdef double[::1] y_ = np.ascontiguousarray(y, dtype=np.float64).ravel()
        cdef double[:, ::1] z_ = np.ascontiguousarray(z, dtype=np.float64).reshape(y_.shape[0], -1)
        cdef Py_ssize_t n = z_.shape[0], K = z_.shape[1]
        cdef double[:, ::1] d = np.empty((n, K)), h = np.empty((n, K))
        cdef double[::1] s = np.ones(n)
        total = self.values(n, K, &y_[0], &z_[0, 0], &s[0])
        self.derivatives(n, K, &y_[0], &z_[0, 0], &d[0, 0])
        self.curvatures(n, K, &y_[0], &z_[0, 0], &h[0, 0])
        return total, np.asarray(d).reshape(np.shape(z)), np.asarray(h).reshape(np.shape(z))

    def evaluate_point(self, double y, double z):
        """(value, derivative, curvature) at one point."""
        return self.value(y, z), self.derivative(y, z), self.curvature(y, z)

    def evaluate_conjugate(self, double y, double a):
        """sup over z of ``a z - value(y, z)``."""
        return self.conjugate(y, a)

    def evaluate_kinks(self, y):
        """(low, high, dead, kink) of a piecewise-linear loss: arrays of the shape of ``y``."""
        cdef double[::1] y_ = np.ascontiguousarray(y, dtype=np.float64).ravel()
        cdef double[:, ::1] out = np.empty((4, y_.shape[0]))
        cdef Py_ssize_t i
        for i in range(y_.shape[0]):
            out[3, i] = self.kink(y_[i], &out[0, i], &out[1, i], &out[2, i])
        return tuple(np.asarray(out).reshape(4, *np.shape(y)))

    def evaluate_dual_step(self, double y, double u, double q):
        """The ``a`` with ``a = derivative(y, u - q a)``."""
        return self.dual_step(y, u, q)


# -- regression ------------------------------------------------------------------------------


@cython.final
cdef class SquaredError(Loss):
    """(y - z)^2 / 2."""

    name = "squared_error"
    curvature_bound = 1.0

    cdef double value(self, double y, double z) noexcept nogil:
        return 0.5 * (y - z) * (y - z)

    cdef double derivative(self, double y, double z) noexcept nogil:
        return z - y

    cdef double curvature(self, double y, double z) noexcept nogil:
        return 1.0

    cdef double conjugate(self, double y, double a) noexcept nogil:
        return 0.5 * a * a + a * y

    cdef double dual_step(self, double y, double u, double q) noexcept nogil:
        return (u - y) / (1.0 + q)


@cython.final
cdef class Huber(Loss):
    """r^2 / 2 where ``|r| <= epsilon``, else epsilon (|r| - epsilon / 2); r = z - y."""

    name = "huber"
    curvature_bound = 1.0
    parameters = {"epsilon": 0.1}
    cdef double epsilon

    def __init__(self, double epsilon=0.1):
        self.epsilon = epsilon

    cdef const LossBlock* block(self, double* parameter) noexcept nogil:
        parameter[0] = self.epsilon
        return &loops.huber

    cdef double value(self, double y, double z) noexcept nogil:
        cdef double r = fabs(z - y)
        return 0.5 * r * r if r <= self.epsilon else self.epsilon * (r - 0.5 * self.epsilon)

    cdef double derivative(self, double y, double z) noexcept nogil:
        return fmax(-self.epsilon, fmin(self.epsilon, z - y))

    cdef double curvature(self, double y, double z) noexcept nogil:
        return 1.0 if fabs(z - y) <= self.epsilon else 0.0

    cdef double conjugate(self, double y, double a) noexcept nogil:
        return 0.5 * a * a + a * y if fabs(a) <= self.epsilon else INFINITY

    cdef double dual_step(self, double y, double u, double q) noexcept nogil:
        return cut((u - y) / (1.0 + q), -self.epsilon, self.epsilon)


@cython.final
cdef class EpsilonInsensitive(Loss):
    """max(0, |z - y| - epsilon)."""

    name = "epsilon_insensitive"
    smoothness = "kinked"
    parameters = {"epsilon": 0.1}
    cdef double epsilon

    def __init__(self, double epsilon=0.1):
        self.epsilon = epsilon

    cdef double value(self, double y, double z) noexcept nogil:
        return fmax(0.0, fabs(z - y) - self.epsilon)

    cdef double derivative(self, double y, double z) noexcept nogil:
        return (z - y > self.epsilon) - <double> (y - z > self.epsilon)

    cdef double curvature(self, double y, double z) noexcept nogil:
        return 0.0

    cdef double conjugate(self, double y, double a) noexcept nogil:
        return a * y + self.epsilon * fabs(a) if fabs(a) <= 1.0 else INFINITY

    cdef double dual_step(self, double y, double u, double q) noexcept nogil:
        return cut(beyond(u - y, self.epsilon) / q, -1.0, 1.0)

    cdef double kink(self, double y, double* low, double* high, double* dead) noexcept nogil:
        low[0], high[0], dead[0] = -1.0, 1.0, self.epsilon
        return y


@cython.final
cdef class SquaredEpsilonInsensitive(Loss):
    """max(0, |z - y| - epsilon)^2."""

    name = "squared_epsilon_insensitive"
    curvature_bound = 2.0
    parameters = {"epsilon": 0.1}
    cdef double epsilon

    def __init__(self, double epsilon=0.1):
        self.epsilon = epsilon

    cdef const LossBlock* block(self, double* parameter) noexcept nogil:
        parameter[0] = self.epsilon
        return &loops.squared_epsilon_insensitive

    cdef double value(self, double y, double z) noexcept nogil:
        cdef double r = fmax(0.0, fabs(z - y) - self.epsilon)
        return r * r

    cdef double derivative(self, double y, double z) noexcept nogil:
        cdef double r = z - y
        if r > self.epsilon:
            return 2.0 * (r - self.epsilon)
        return 2.0 * (r + self.epsilon) if r < -self.epsilon else 0.0

    cdef double curvature(self, double y, double z) noexcept nogil:
        return 2.0 if fabs(z - y) > self.epsilon else 0.0

    cdef double conjugate(self, double y, double a) noexcept nogil:
        return a * y + self.epsilon * fabs(a) + 0.25 * a * a

    cdef double dual_step(self, double y, double u, double q) noexcept nogil:
        return 2.0 * beyond(u - y, self.epsilon) / (1.0 + 2.0 * q)


@cython.final
cdef class AbsoluteError(Loss):
    """|z - y|."""

    name = "absolute_error"
    smoothness = "kinked"

    cdef double value(self, double y, double z) noexcept nogil:
        return fabs(z - y)

    cdef double derivative(self, double y, double z) noexcept nogil:
        return (z > y) - <double> (y > z)

    cdef double curvature(self, double y, double z) noexcept nogil:
        return 0.0

    cdef double conjugate(self, double y, double a) noexcept nogil:
        return a * y if fabs(a) <= 1.0 else INFINITY

    cdef double dual_step(self, double y, double u, double q) noexcept nogil:
        return cut((u - y) / q, -1.0, 1.0)

    cdef double kink(self, double y, double* low, double* high, double* dead) noexcept nogil:
        low[0], high[0], dead[0] = -1.0, 1.0, 0.0
        return y


@cython.final
cdef class Quantile(Loss):
    """quantile (y - z) where y >= z, else (1 - quantile) (z - y): the pinball loss."""

    name = "quantile"
    smoothness = "kinked"
    parameters = {"quantile": 0.5}
    cdef double q

    def __init__(self, double quantile=0.5):
        self.q = quantile

    cdef double value(self, double y, double z) noexcept nogil:
        return fmax(self.q * (y - z), (1.0 - self.q) * (z - y))

    cdef double derivative(self, double y, double z) noexcept nogil:
        return (1.0 - self.q) * (z > y) - self.q * (y > z)

    cdef double curvature(self, double y, double z) noexcept nogil:
        return 0.0

    cdef double conjugate(self, double y, double a) noexcept nogil:
        return a * y if -self.q <= a <= 1.0 - self.q else INFINITY

    cdef double dual_step(self, double y, double u, double q) noexcept nogil:
        return cut((u - y) / q, -self.q, 1.0 - self.q)

    cdef double kink(self, double y, double* low, double* high, double* dead) noexcept nogil:
        low[0], high[0], dead[0] = -self.q, 1.0 - self.q, 0.0
        return y


@cython.final
cdef class LogCosh(Loss):
    """log(cosh(z - y)): quadratic near zero, absolute far away, smooth everywhere."""

    name = "log_cosh"
    curvature_bound = 1.0
    curved = True

    cdef double value(self, double y, double z) noexcept nogil:
        # log(cosh r) = |r| + log((1 + exp(-2 |r|)) / 2), which never overflows
        cdef double r = fabs(z - y)
        return r + log1p(exp(-2.0 * r)) - 0.6931471805599453

    cdef double derivative(self, double y, double z) noexcept nogil:
        return tanh(z - y)

    cdef double curvature(self, double y, double z) noexcept nogil:
        cdef double c
        if fabs(z - y) > 300.0:
            return 0.0
        c = cosh(z - y)
        return 1.0 / (c * c)

    cdef double conjugate(self, double y, double a) noexcept nogil:
        # with a = tanh(z - y)
        if fabs(a) > 1.0:
            return INFINITY
        return a * y + 0.5 * (entropy(1.0 + a) + entropy(1.0 - a))


@cython.final
cdef class Poisson(Loss):
    """exp(z) - y z: half the Poisson deviance up to a constant, mean exp(z), y >= 0."""

    name = "poisson"
    targets = "nonnegative"
    link = "log"
    curved = True

    cdef const LossBlock* block(self, double* parameter) noexcept nogil:
        return &loops.poisson

    cdef double value(self, double y, double z) noexcept nogil:
        return exp_line(z) - y * z

    cdef double derivative(self, double y, double z) noexcept nogil:
        return exp_slope(z) - y

    cdef double curvature(self, double y, double z) noexcept nogil:
        return exp_curvature(z)

    cdef double conjugate(self, double y, double a) noexcept nogil:
        # with a + y = exp(z)
        return entropy(a + y) - (a + y) if a + y >= 0.0 else INFINITY


@cython.final
cdef class Gamma(Loss):
    """z + y exp(-z): half the gamma deviance up to a constant, mean exp(z), y > 0."""

    name = "gamma"
    targets = "positive"
    link = "log"
    curved = True

    cdef const LossBlock* block(self, double* parameter) noexcept nogil:
        return &loops.gamma

    cdef double value(self, double y, double z) noexcept nogil:
        return z + y * exp_line(-z)

    cdef double derivative(self, double y, double z) noexcept nogil:
        return 1.0 - y * exp_slope(-z)

    cdef double curvature(self, double y, double z) noexcept nogil:
        return y * exp_curvature(-z)

    cdef double conjugate(self, double y, double a) noexcept nogil:
        # with 1 - a = y exp(-z)
        return entropy(1.0 - a) - (1.0 - a) * (1.0 + log(y)) if a <= 1.0 else INFINITY


@cython.final
cdef class Tweedie(Loss):
    """exp((2-p) z) / (2-p) - y exp((1-p) z) / (1-p): half the deviance of variance mean^p.

    The limits are Poisson's (p = 1, the term in y becomes -y z) and gamma's (p = 2).
    """

    name = "tweedie"
    targets = "nonnegative"
    link = "log"
    parameters = {"power": 1.5}
    cdef double p
    curved = True

    def __init__(self, double power=1.5):
        self.p = power

    cdef const LossBlock* block(self, double* parameter) noexcept nogil:
        parameter[0] = self.p
        return &loops.tweedie

    cdef double value(self, double y, double z) noexcept nogil:
        cdef double up, down
        up = exp_line((2.0 - self.p) * z) / (2.0 - self.p) if self.p < 2.0 else z
        down = z if self.p == 1.0 else exp_line((1.0 - self.p) * z) / (1.0 - self.p)
        return up - y * down

    cdef double derivative(self, double y, double z) noexcept nogil:
        return exp_slope((2.0 - self.p) * z) - y * exp_slope((1.0 - self.p) * z)

    cdef double curvature(self, double y, double z) noexcept nogil:
        return ((2.0 - self.p) * exp_curvature((2.0 - self.p) * z)
                + y * (self.p - 1.0) * exp_curvature((1.0 - self.p) * z))


# -- classification --------------------------------------------------------------------------


@cython.final
cdef class LogLoss(Loss):
    """log(1 + exp(z)) - y z: negative log-likelihood of a Bernoulli y with log-odds z."""

    name = "log_loss"
    targets = "binary"
    link = "logit"
    curvature_bound = 0.25
    curved = True

    cdef const LossBlock* block(self, double* parameter) noexcept nogil:
        return &loops.log_loss

    cdef double value(self, double y, double z) noexcept nogil:
        # softplus(z) - y z, written so that exp never overflows
        return log1p(exp(-fabs(z))) + fmax(z, 0.0) - y * z

    cdef double derivative(self, double y, double z) noexcept nogil:
        # without a branch: in a step on a single row the sign of z is hard to predict
        return loops.log_loss_slope(y, z)

    cdef double curvature(self, double y, double z) noexcept nogil:
        cdef double e = exp(-fabs(z))
        return e / ((1.0 + e) * (1.0 + e))

    cdef double conjugate(self, double y, double a) noexcept nogil:
        cdef double p = a + y
        if p < 0.0 or p > 1.0:
            return INFINITY
        return entropy(p) + entropy(1.0 - p)


@cython.final
cdef class Hinge(Loss):
    """max(0, 1 - y z): the support vector machine."""

    name = "hinge"
    targets = "sign"
    smoothness = "kinked"

    cdef double value(self, double y, double z) noexcept nogil:
        return fmax(0.0, 1.0 - y * z)

    cdef double derivative(self, double y, double z) noexcept nogil:
        return -y if y * z <= 1.0 else 0.0

    cdef double curvature(self, double y, double z) noexcept nogil:
        return 0.0

    cdef double conjugate(self, double y, double a) noexcept nogil:
        return a * y if -1.0 <= a * y <= 0.0 else INFINITY

    cdef double dual_step(self, double y, double u, double q) noexcept nogil:
        return -y * cut((1.0 - y * u) / q, 0.0, 1.0)

    cdef double kink(self, double y, double* low, double* high, double* dead) noexcept nogil:
        low[0], high[0], dead[0] = fmin(-y, 0.0), fmax(-y, 0.0), 0.0
        return y


@cython.final
cdef class SquaredHinge(Loss):
    """max(0, 1 - y z)^2."""

    name = "squared_hinge"
    targets = "sign"
    curvature_bound = 2.0

    cdef const LossBlock* block(self, double* parameter) noexcept nogil:
        return &loops.squared_hinge

    cdef double value(self, double y, double z) noexcept nogil:
        cdef double u = fmax(0.0, 1.0 - y * z)
        return u * u

    cdef double derivative(self, double y, double z) noexcept nogil:
        return -2.0 * y * fmax(0.0, 1.0 - y * z)

    cdef double curvature(self, double y, double z) noexcept nogil:
        return 2.0 if y * z < 1.0 else 0.0

    cdef double conjugate(self, double y, double a) noexcept nogil:
        return a * y + 0.25 * a * a if a * y <= 0.0 else INFINITY

    cdef double dual_step(self, double y, double u, double q) noexcept nogil:
        return -2.0 * y * fmax(0.0, 1.0 - y * u) / (1.0 + 2.0 * q)


@cython.final
cdef class SmoothHinge(Loss):
    """(1 - y z)^2 / 2 for 0 <= y z <= 1, 1/2 - y z below, 0 above (Rennie, Srebro 2005)."""

    name = "smooth_hinge"
    targets = "sign"
    curvature_bound = 1.0

    cdef double value(self, double y, double z) noexcept nogil:
        cdef double m = y * z
        if m >= 1.0:
            return 0.0
        return 0.5 * (1.0 - m) * (1.0 - m) if m >= 0.0 else 0.5 - m

    cdef double derivative(self, double y, double z) noexcept nogil:
        return -y * fmax(0.0, fmin(1.0, 1.0 - y * z))

    cdef double curvature(self, double y, double z) noexcept nogil:
        return 1.0 if 0.0 <= y * z < 1.0 else 0.0

    cdef double conjugate(self, double y, double a) noexcept nogil:
        return a * y + 0.5 * a * a if -1.0 <= a * y <= 0.0 else INFINITY

    cdef double dual_step(self, double y, double u, double q) noexcept nogil:
        return -y * cut((1.0 - y * u) / (1.0 + q), 0.0, 1.0)


@cython.final
cdef class ModifiedHuber(Loss):
    """max(0, 1 - y z)^2 for y z >= -1, else -4 y z (Zhang 2004)."""

    name = "modified_huber"
    targets = "sign"
    curvature_bound = 2.0

    cdef double value(self, double y, double z) noexcept nogil:
        cdef double m = y * z
        if m >= 1.0:
            return 0.0
        return (1.0 - m) * (1.0 - m) if m >= -1.0 else -4.0 * m

    cdef double derivative(self, double y, double z) noexcept nogil:
        return -2.0 * y * fmax(0.0, fmin(2.0, 1.0 - y * z))

    cdef double curvature(self, double y, double z) noexcept nogil:
        return 2.0 if -1.0 <= y * z < 1.0 else 0.0

    cdef double conjugate(self, double y, double a) noexcept nogil:
        return a * y + 0.25 * a * a if -4.0 <= a * y <= 0.0 else INFINITY

    cdef double dual_step(self, double y, double u, double q) noexcept nogil:
        return -y * cut(2.0 * (1.0 - y * u) / (1.0 + 2.0 * q), 0.0, 4.0)


@cython.final
cdef class Perceptron(Loss):
    """max(0, -y z): Rosenblatt's rule. Its minimum is w = 0: only its steps are of use."""

    name = "perceptron"
    targets = "sign"
    smoothness = "kinked"

    cdef double value(self, double y, double z) noexcept nogil:
        return fmax(0.0, -y * z)

    cdef double derivative(self, double y, double z) noexcept nogil:
        return -y if y * z <= 0.0 else 0.0

    cdef double curvature(self, double y, double z) noexcept nogil:
        return 0.0

    cdef double conjugate(self, double y, double a) noexcept nogil:
        return 0.0 if -1.0 <= a * y <= 0.0 else INFINITY

    cdef double kink(self, double y, double* low, double* high, double* dead) noexcept nogil:
        low[0], high[0], dead[0] = fmin(-y, 0.0), fmax(-y, 0.0), 0.0
        return 0.0


@cython.final
cdef class Multinomial(Loss):
    """log(sum_k exp(z_k)) - z_y: negative log-likelihood of class y, joint over the outputs."""

    name = "multinomial"
    targets = "class"
    link = "softmax"
    curvature_bound = 0.5
    joint = True

    cdef double values(self, Py_ssize_t n, Py_ssize_t n_outputs, const double* y,
                       const double* z, const double* s) noexcept nogil:
        cdef Py_ssize_t i
        cdef double total = 0.0
        cdef double largest, mass
        for i in range(n):
            largest = greatest(n_outputs, z + i * n_outputs)
            mass = sum_of_exps(n_outputs, z + i * n_outputs, largest)
            total += s[i] * (log(mass) + largest - z[i * n_outputs + <Py_ssize_t> y[i]])
        return total

    cdef void derivatives(self, Py_ssize_t n, Py_ssize_t n_outputs, const double* y,
                          const double* z, double* d) noexcept nogil:
        cdef Py_ssize_t i
        softmax(n, n_outputs, z, d)
        for i in range(n):
            d[i * n_outputs + <Py_ssize_t> y[i]] -= 1.0

    cdef void curvatures(self, Py_ssize_t n, Py_ssize_t n_outputs, const double* y,
                         const double* z, double* h) noexcept nogil:
        # the diagonal p_k (1 - p_k) of the second derivative
        cdef Py_ssize_t i
        softmax(n, n_outputs, z, h)
        for i in range(n * n_outputs):
            h[i] *= 1.0 - h[i]


#: every loss a user can name
LOSSES = {cls.name: cls for cls in Loss.__subclasses__() if cls.name and not cls.joint}
