"""Every learning-rate schedule: the rate of update ``t`` = 1, 2, ..

A schedule is one final class with a name. ``SCHEDULES`` is read off the classes. The constructors
take ``eta0``, ``power_t`` and ``alpha``, by those names, as far as their formula has them.
"""

cimport cython
from libc.math cimport INFINITY, fmax, fmin, pow, sqrt

import numpy as np


# By how much a pass must end above the best constant model, relative to it, to be taken back.
RISEN = 0.01
# Gains of the passes behind that are worth the noise of a rate for as many passes again. Half the
# rate has half of both, so one would be fair; but a rate is never raised again.
PATIENCE = 8.0
# What passes gain, relative to the noise of their rate, for the rate not to fall to zero at the end.
cdef double WORTH = 2.0


cdef inline double ending(double t, double first, double last) noexcept nogil:
    """1 before update ``first``, then on a straight line to 0 after ``last`` [1]_.

    References
    ----------
    .. [1] A. Defazio, A. Cutkosky, H. Mehta, K. Mishchenko, "Optimal linear decay learning rate
       schedules and further refinements", 2023, https://arxiv.org/abs/2310.07831
    """
    return 1.0 if t <= first else fmax(0.0, (last + 1.0 - t) / (last + 1.0 - first))


cdef class Schedule:
    """Abstract: a learning rate. See ``schedules.pxd`` for what each method promises."""

    name = None
    parameters = ()
    #: what it learns from the passes of a fit: for the rest of that fit only
    learned = ()

    cdef double at(self, double t) noexcept nogil:
        return 0.0

    cdef double at_row(self, double loss, double square_norm) noexcept nogil:
        return 0.0

    cdef bint lower(self) noexcept nogil:
        return False

    def rate(self, double t):
        """The rate of update ``t``."""
        return self.at(t)

    def rate_of_row(self, double loss, double square_norm):
        """The rate of a row, for the schedules that depend on it."""
        return self.at_row(loss, square_norm)

    def prepare(self, double t, Py_ssize_t n):
        """The ``n`` updates after update ``t`` will come: raise now what would raise then."""

    def state(self):
        """Numbers that ``restore`` takes, for the schedules that change as they go; else None."""
        return None

    def restore(self, state):
        """Continue from the numbers of ``state``."""

    def before_step(self, method, objective):
        """``method`` is about to step along the gradient of all rows, where this is their F."""

    def after_pass(self, objective):
        """A pass has ended whose objective was this; True if the step that led to it was too long."""
        return False

    def is_ending(self, double t):
        """Whether after update ``t`` the rate falls because the end of the fit is near."""
        return False

    def after_plateau(self):
        """Some passes brought nothing; True if further ones may bring something."""
        return self.lower()

    def lower_rate(self):
        """Ask for a smaller rate; False if the schedule has none to offer."""
        return self.lower()


@cython.final
cdef class Constant(Schedule):
    """eta0."""

    name = "constant"
    parameters = ("eta0",)
    cdef double eta0

    def __init__(self, double eta0):
        self.eta0 = eta0

    cdef double at(self, double t) noexcept nogil:
        return self.eta0


@cython.final
cdef class Optimal(Schedule):
    """1 / (alpha (t0 + t - 1)), t0 such that the first rate is alpha^(-1/4) (Bottou)."""

    name = "optimal"
    parameters = ("alpha",)
    cdef double alpha
    cdef double t0

    def __init__(self, double alpha):
        self.alpha = alpha
        self.t0 = 1.0 / (alpha * sqrt(1.0 / sqrt(alpha)))

    cdef double at(self, double t) noexcept nogil:
        return 1.0 / (self.alpha * (self.t0 + t - 1.0))


@cython.final
cdef class InverseScaling(Schedule):
    """eta0 / t^power_t."""

    name = "invscaling"
    parameters = ("eta0", "power_t")
    cdef double eta0
    cdef double power_t

    def __init__(self, double eta0, double power_t):
        self.eta0 = eta0
        self.power_t = power_t

    cdef double at(self, double t) noexcept nogil:
        return self.eta0 / pow(t, self.power_t)


@cython.final
cdef class Adaptive(Schedule):
    """eta0, divided by 5 whenever ``n_iter_no_change`` epochs brought nothing, down to 1e-6."""

    name = "adaptive"
    parameters = ("eta0",)
    cdef double eta

    def __init__(self, double eta0):
        self.eta = eta0

    cdef double at(self, double t) noexcept nogil:
        return self.eta

    cdef bint lower(self) noexcept nogil:
        if self.eta <= 1e-6:
            return False
        self.eta /= 5.0
        return True

    def state(self):
        return [self.eta]

    def restore(self, state):
        self.eta = state[0]


@cython.final
cdef class PassiveAggressive1(Schedule):
    """min(eta0, loss / |x|^2) (Crammer et al. 2006, PA-I)."""

    name = "pa1"
    parameters = ("eta0",)
    cdef double eta0

    def __init__(self, double eta0):
        self.eta0 = eta0
        self.needs_row = True

    cdef double at(self, double t) noexcept nogil:
        return self.eta0  # for which scikit-learn shrinks: the penalty knows no row

    cdef double at_row(self, double loss, double square_norm) noexcept nogil:
        return fmin(self.eta0, loss / square_norm) if square_norm > 0.0 else 0.0


@cython.final
cdef class PassiveAggressive2(Schedule):
    """loss / (|x|^2 + 1 / (2 eta0)) (Crammer et al. 2006, PA-II)."""

    name = "pa2"
    parameters = ("eta0",)
    cdef double eta0

    def __init__(self, double eta0):
        self.eta0 = eta0
        self.needs_row = True

    cdef double at(self, double t) noexcept nogil:
        return self.eta0  # for which scikit-learn shrinks: the penalty knows no row

    cdef double at_row(self, double loss, double square_norm) noexcept nogil:
        return loss / (square_norm + 0.5 / self.eta0)


@cython.final
cdef class Harmonic(Schedule):
    """eta0 / (1 + t / delay)^power: the rate that "auto" chooses, from the data.

    In a fit it falls to zero after update ``first``, until the ``last`` one. ``lower`` halves it:
    "auto" answers a divergence itself.
    """

    cdef readonly double eta0
    cdef readonly double delay
    cdef readonly double power
    cdef double first, last

    def __init__(self, double eta0, double delay, double power, double first=INFINITY,
                 double last=INFINITY):
        self.first, self.last = first, last
        self.eta0 = eta0
        self.delay = delay
        self.power = power

    cdef double at(self, double t) noexcept nogil:
        cdef double eta = self.eta0 * ending(t, self.first, self.last)
        return eta if self.power == 0.0 else eta / pow(1.0 + t / self.delay, self.power)

    def is_ending(self, double t):
        return t >= self.first

    cdef bint lower(self) noexcept nogil:
        self.eta0 *= 0.5
        return self.eta0 > 0.0

    def state(self):
        return [self.eta0, self.delay, self.power]

    def restore(self, state):
        self.eta0, self.delay, self.power = state


@cython.final
cdef class Measured(Schedule):
    """eta; in a fit, where ``looks``, one over the curvature that the last step has met [1]_.

    For batch descent. With s the last step and y by how much it has changed the gradient, that is
    s y / y y: the curvature of the directions in which the gradient changes, so that steps are
    rarely too long, while directions of small curvature get the long steps that they need. The
    first step takes a bound of the curvature. A step that rose is taken back, and half of it made.

    References
    ----------
    .. [1] J. Barzilai, J. Borwein, "Two-point step size gradient methods", IMA Journal of
       Numerical Analysis 8, 1988, equation (6).
    """

    learned = ("eta", "before", "point")

    cdef public double eta
    cdef public double before        # the lowest objective: that of the pass before
    cdef public object point         # where the last step began, and the gradient there
    cdef public bint looks
    cdef bint rose

    def __init__(self, double eta):
        self.eta, self.before = eta, INFINITY

    cdef double at(self, double t) noexcept nogil:
        return self.eta

    cdef bint lower(self) noexcept nogil:
        self.eta *= 0.5
        return self.eta > 0.0

    def before_step(self, method, objective):
        if not self.looks:
            return
        x, gradient = method.point()
        longest, self.rose = INFINITY, self.point is not None and self.rises(objective)
        if self.rose:
            longest = 0.5 * self.eta
            method.go_to(*self.point)
        if self.point is not None:
            s, y = x - self.point[0], gradient - self.point[1]
            with np.errstate(all="ignore"):
                eta = np.divide(np.vdot(s, y), np.vdot(y, y))
            self.eta = min(eta if 0.0 < eta < INFINITY else self.eta, longest)
        if not self.rose:
            self.point = (x, gradient)

    def rises(self, objective):
        """Whether the objective has risen, beyond rounding, which is all that is left in the end."""
        return not objective <= self.before + 1e-12 * abs(self.before)

    def after_pass(self, objective):
        if self.rose or self.rises(objective):
            if not self.looks:
                self.lower()
            return True
        self.before = objective
        return False

    def after_plateau(self):
        return False

    def state(self):
        return [self.eta]

    def restore(self, state):
        self.eta = state[0]


@cython.final
cdef class Settling(Schedule):
    """eta, halved when its noise costs more than the passes still gain.

    ``hover(eta)`` says by how much steps of that length keep the objective above its minimum. What
    the last third of the passes has gained, a third of as many passes again will hardly exceed; if
    it is far less than the noise costs, half the rate ends lower. After update ``due_to_end``, as
    soon as noise costs a good part of what passes gain, the rate falls to zero until the ``last``
    update, which leaves no noise. A pass above ``start``, the objective
    of the best constant model, is taken back. Until the first that is not, the rate is quartered.

    A stream that goes on after the fit has no such passes: there the rate falls as t^-3/4.
    """

    learned = ("eta", "start", "passes", "due", "since", "factor", "first")

    cdef public double eta, start
    cdef public double factor        # of the rate, where it has been too long
    cdef public list passes          # the objective of each pass
    cdef public Py_ssize_t since     # passes before the first at this rate
    cdef public Py_ssize_t due       # after how many passes the rate is judged next
    cdef public double first         # update from which on the rate falls to zero
    cdef object hover
    cdef double t, due_to_end, last

    def __init__(self, double eta, hover, double start=INFINITY, double due_to_end=INFINITY,
                 double last=INFINITY):
        self.eta, self.hover, self.start = eta, hover, start
        self.first, self.due_to_end, self.last = INFINITY, due_to_end, last
        self.passes, self.due, self.factor = [], 2, 0.25

    cdef double at(self, double t) noexcept nogil:
        self.t = t
        return self.eta * ending(t, self.first, self.last)

    cdef bint lower(self) noexcept nogil:
        self.eta *= self.factor
        return self.eta > 0.0

    def after_pass(self, objective):
        if objective > self.start + RISEN * abs(self.start):
            self.halve()
            return True
        self.factor = 0.5
        self.passes.append(objective)
        if self.is_ending(self.t):
            return False
        if len(self.passes) == self.due:
            self.due += 1 + self.due // 5
            if self.hover(self.eta) > PATIENCE * self.gain():
                self.halve()
        may_end = self.t >= self.due_to_end and len(self.passes) > max(1, self.since)
        if may_end and WORTH * self.hover(self.eta) > self.gain():
            self.first = self.t
        return False

    def is_ending(self, double t):
        return t >= self.first

    def halve(self):
        """Half the rate, for half as many passes again as there were, and at least two."""
        self.lower()
        self.since = len(self.passes)
        self.due = self.since + max(2, self.since // 2)

    def gain(self):
        """What the last third of the passes has gained."""
        n = len(self.passes)
        now, before = self.passes[n - 1], self.passes[max(2 * n // 3, self.since + 1) - 1]
        gained = before - now
        if n == 2 and self.start - before > 2.0 * gained > 0.0:
            # most of what the first pass came down it came down at once: the gains are geometric
            share = gained / (self.start - before)
            gained *= share / (1.0 - share) if share > 0.0 else 1.0
        return gained

    def state(self):
        delay = max(self.t, 1.0)
        return [self.eta * 2.0**0.75, delay, 0.75]


@cython.final
cdef class Function(Schedule):
    """Any function of t written in Python, called with the interpreter's lock."""

    cdef object function
    cdef readonly object error   # what the function raised, for the caller to raise
    cdef double before           # the update before the first of ``prepared``
    cdef double[::1] prepared

    def __init__(self, function):
        self.function = function
        self.prepared = np.empty(0)

    def prepare(self, double t, Py_ssize_t n):
        self.prepared = np.array([self.checked(t + 1 + i) for i in range(n)])
        self.before = t

    def checked(self, double t):
        """The rate of update ``t``; ValueError if it is none."""
        rate = self.function(int(t))
        try:
            rate = float(rate)
        except (TypeError, ValueError) as error:
            raise TypeError(
                f"learning_rate must return a number; got {rate!r} for t={int(t)}") from error
        if not rate >= 0.0 or rate == float("inf"):
            raise ValueError(
                f"learning_rate must return a finite rate >= 0; got {rate} for t={int(t)}"
            )
        return rate

    cdef double at(self, double t) noexcept nogil:
        cdef double rate = 0.0, ahead = t - self.before - 1.0
        if 0.0 <= ahead < self.prepared.shape[0]:
            return self.prepared[<Py_ssize_t> ahead]
        with gil:
            if self.error is None:
                try:
                    rate = self.checked(t)
                except BaseException as error:  # it must not unwind through a loop without lock
                    self.error, self.failed = error, True
                    rate = 0.0
        return rate


#: every schedule a user can name
SCHEDULES = {cls.name: cls for cls in Schedule.__subclasses__() if cls.name}
