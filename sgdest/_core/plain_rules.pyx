"""The step rules of scikit-learn's stochastic gradient descent; only ``sgdest.compat`` uses them."""

cimport cython
from libc.math cimport fmax, fmin, pow, sqrt
from sgdest._core.losses cimport Loss
from sgdest._core.rows cimport Rows

# Derivatives are cut at this size, so that one outlier cannot overflow the weights.
cdef double LARGEST_DERIVATIVE = 1e12
# The adaptive schedule stops at this rate.
cdef double SMALLEST_RATE = 1e-6


cdef class Rule:
    """Abstract: how far a row moves the weights. See ``plain_rules.pxd``."""

    def __init__(self, Loss loss, double eta0):
        self.loss = loss
        self.eta = self.eta0 = eta0
        self.pace = -eta0
        self.penalty_counts = True

    cdef double direction(self, Py_ssize_t i, double y, double z, double t) noexcept nogil:
        return 0.0

    cdef bint passes_over(self, Py_ssize_t i) noexcept nogil:
        return False

    cdef bint slow_down(self) noexcept nogil:
        return False

    cdef double slope(self, double y, double z) noexcept nogil:
        cdef double d = self.loss.derivative(y, z)
        if d < -LARGEST_DERIVATIVE:
            d = -LARGEST_DERIVATIVE
        elif d > LARGEST_DERIVATIVE:
            d = LARGEST_DERIVATIVE
        return d


@cython.final
cdef class Constant(Rule):
    """eta0."""

    cdef double direction(self, Py_ssize_t i, double y, double z, double t) noexcept nogil:
        return self.slope(y, z)


@cython.final
cdef class Adaptive(Rule):
    """eta0, divided by 5 whenever there is no progress."""

    cdef double direction(self, Py_ssize_t i, double y, double z, double t) noexcept nogil:
        return self.slope(y, z)

    cdef bint slow_down(self) noexcept nogil:
        if self.eta <= SMALLEST_RATE:
            return False
        self.eta /= 5.0
        self.pace = -self.eta
        return True


@cython.final
cdef class Optimal(Rule):
    """1 / (alpha (t0 + t - 1)); t0 makes the first step as long as a typical weight (Bottou)."""

    cdef double alpha, t0

    def __init__(self, Loss loss, double eta0, double alpha):
        cdef double typical = sqrt(1.0 / sqrt(alpha))
        Rule.__init__(self, loss, eta0)
        self.alpha = alpha
        self.t0 = 1.0 / (typical / fmax(1.0, loss.derivative(1.0, -typical)) * alpha)

    cdef double direction(self, Py_ssize_t i, double y, double z, double t) noexcept nogil:
        self.eta = 1.0 / (self.alpha * (self.t0 + t - 1.0))
        self.pace = -self.eta
        return self.slope(y, z)


@cython.final
cdef class InverseScaling(Rule):
    """eta0 / t^power."""

    cdef double power

    def __init__(self, Loss loss, double eta0, double power):
        Rule.__init__(self, loss, eta0)
        self.power = power

    cdef double direction(self, Py_ssize_t i, double y, double z, double t) noexcept nogil:
        self.eta = self.eta0 / pow(t, self.power)
        self.pace = -self.eta
        return self.slope(y, z)


@cython.final
cdef class PassiveAggressive1(Rule):
    """min(eta0, loss / |x|^2), the step that would correct row i (Crammer et al., JMLR 2006)."""

    cdef Rows rows

    def __init__(self, Loss loss, double eta0, Rows rows):
        Rule.__init__(self, loss, eta0)
        self.rows, self.penalty_counts, self.pace, self.passes = rows, False, -1.0, True

    cdef bint passes_over(self, Py_ssize_t i) noexcept nogil:
        return self.rows.square_norm(i) == 0.0

    cdef double direction(self, Py_ssize_t i, double y, double z, double t) noexcept nogil:
        cdef double size = fmin(self.eta0, self.loss.value(y, z) / self.rows.square_norm(i))
        # the derivative of these losses is the sign of the correction, or zero like the loss
        return size * self.loss.derivative(y, z)


@cython.final
cdef class PassiveAggressive2(Rule):
    """loss / (|x|^2 + 1 / (2 eta0)): a softer correction (Crammer et al., JMLR 2006)."""

    cdef Rows rows

    def __init__(self, Loss loss, double eta0, Rows rows):
        Rule.__init__(self, loss, eta0)
        self.rows, self.penalty_counts, self.pace = rows, False, -1.0

    cdef double direction(self, Py_ssize_t i, double y, double z, double t) noexcept nogil:
        cdef double size = self.loss.value(y, z) / (self.rows.square_norm(i) + 0.5 / self.eta0)
        return size * self.loss.derivative(y, z)


def rule_of(estimator, Loss loss, Rows rows):
    """The rule that ``estimator.learning_rate`` names, with the parameters of the estimator."""
    name, eta0 = estimator.learning_rate, estimator.eta0
    if name == "constant":
        return Constant(loss, eta0)
    if name == "adaptive":
        return Adaptive(loss, eta0)
    if name == "optimal":
        return Optimal(loss, eta0, estimator.alpha)
    if name == "invscaling":
        return InverseScaling(loss, eta0, estimator.power_t)
    if name == "pa1":
        return PassiveAggressive1(loss, eta0, rows)
    return PassiveAggressive2(loss, eta0, rows)
