"""The step methods with a rate for each coordinate, each beside its public object.

``step`` moves n coordinates along their gradient and reports by which length, ``rest`` makes up for
steps that had no gradient; what happens around them is ``CoordinateMethod``'s. A coordinate that
has never had a gradient has no rate yet: it stays where it is, and is not shrunk either.
"""

cimport cython
from libc.math cimport pow
from libc.string cimport memset

from sgdest._core cimport simd
from sgdest._core.coordinates cimport CoordinateMethod, Coordinates, power
from sgdest._core.step_kernels cimport Leader, StepLoops, step_loops

from sgdest._core.alone import StepOptimizer
from sgdest._core.coordinates import powers
from sgdest._core.schedules import Harmonic

# roots and divisions, which are most of a step, in vectors as wide as the machine has
cdef const StepLoops* loops = step_loops(simd.level)


def falling(facts, eta, power):
    """``eta`` for a pass and at least a hundred steps, then falling as t^-power.

    Rates that fall as t^-3/4 still reach any distance.
    """
    return Harmonic(eta, max(100, facts.steps_per_pass), power)


def within(facts, eta, spreads):
    """``eta``; in a stream one whose first steps move predictions by so many of their spreads.

    These steps are about ``eta`` in every coordinate, however many there are.
    """
    return min(eta, spreads * facts.target_scale / facts.reach) if facts.is_stream else eta


# -- Adagrad ---------------------------------------------------------------------------------


class Adagrad(StepOptimizer):
    """Rates that fall with the gradients seen: ``s += g^2``, ``w -= eta g / (sqrt(s) + eps)``.

    Rare features keep large rates. On sparse rows a step costs what its entries cost, and the model
    is that of dense rows.

    Parameters
    ----------
    learning_rate : "auto", float > 0, name of a schedule, or callable, default="auto"
        The rate ``eta``, as in ``SGD``; torch's default is 0.01.
    eps : float > 0, default=1e-10
        Keeps the division finite.
    clip_norm : float > 0 or None, default=None
        Longest gradient, as in ``SGD``.

    References
    ----------
    .. [1] J. Duchi, E. Hazan, Y. Singer, "Adaptive subgradient methods for online learning and
       stochastic optimization", JMLR 12, 2011.

    Examples
    --------
    >>> from sgdest.optimizers import Adagrad
    >>> Adagrad(0.1)
    Adagrad(learning_rate=0.1)
    """

    name = "adagrad"

    def __init__(self, learning_rate="auto", eps=1e-10, clip_norm=None):
        self.learning_rate = learning_rate
        self.eps = eps
        self.clip_norm = clip_norm

    def rate(self, facts):
        """The first step goes as far as raw predictions spread; the method itself adds t^-1/2."""
        return falling(facts, within(facts, facts.target_scale, 3.0), 0.125)

    def method(self, problem, W, b, *, schedule, batch_size=1, average=0, state=None):
        """The compiled method, at work on ``W`` and ``b``; see ``CoordinateMethod``."""
        return AdagradMethod(problem, W, b, schedule, batch_size, average, state, self.clip_norm,
                             eps=self.eps)


@cython.final
cdef class AdagradMethod(CoordinateMethod):
    """Steps of AdaGrad; for the parameters see ``CoordinateMethod``."""

    slot_names = ("sum_of_squares",)

    cdef double eps

    def __init__(self, *args, eps=1e-10):
        self.eps = eps
        super().__init__(*args)

    cdef void step(self, Coordinates* at, double eta) noexcept nogil:
        cdef double* s = at.slots
        cdef Py_ssize_t p
        for p in range(at.n):
            s[p] += at.g[p] * at.g[p]
        loops.inverse_roots(at.n, self.eps, s, at.length)
        for p in range(at.n):
            at.length[p] *= eta
            at.w[p] -= at.length[p] * at.g[p]

    cdef void rest(self, Coordinates* at) noexcept nogil:
        cdef Py_ssize_t p
        loops.inverse_roots(at.n, self.eps, at.slots, at.length)
        for p in range(at.n):
            at.length[p] *= at.path[p]


# -- RMSprop ---------------------------------------------------------------------------------


class RMSprop(StepOptimizer):
    """Rates by recent gradients: ``s = rho s + (1 - rho) g^2``, ``w -= eta g / (sqrt(s) + eps)``.

    On sparse rows only the features of the batch are stepped: ``s`` decays for the steps that a
    feature missed when it is next read, and the penalty of those steps is taken at the rate that
    the feature had before them.

    Parameters
    ----------
    learning_rate : "auto", float > 0, name of a schedule, or callable, default="auto"
        The rate ``eta``, as in ``SGD``; torch's default is 0.01.
    rho : float in [0, 1), default=0.99
        Memory of the mean square; torch's ``alpha``.
    eps : float > 0, default=1e-8
        Keeps the division finite.
    clip_norm : float > 0 or None, default=None
        Longest gradient, as in ``SGD``.

    References
    ----------
    .. [1] G. Hinton, "Neural networks for machine learning", lecture 6e, 2012.

    Examples
    --------
    >>> from sgdest.optimizers import RMSprop
    >>> RMSprop(rho=0.9)
    RMSprop(rho=0.9)
    """

    name = "rmsprop"

    def __init__(self, learning_rate="auto", rho=0.99, eps=1e-8, clip_norm=None):
        self.learning_rate = learning_rate
        self.rho = rho
        self.eps = eps
        self.clip_norm = clip_norm

    def rate(self, facts):
        """A tenth of how far raw predictions spread: steps do not shrink with the gradient.

        In a fit the rate comes to zero at the end, and need fall less before.
        """
        eta = within(facts, 0.1 * facts.target_scale, 1.0)
        return falling(facts, eta, 0.5 if facts.is_stream else 0.25)

    def method(self, problem, W, b, *, schedule, batch_size=1, average=0, state=None):
        """The compiled method, at work on ``W`` and ``b``; see ``CoordinateMethod``."""
        return RMSpropMethod(problem, W, b, schedule, batch_size, average, state, self.clip_norm,
                             rho=self.rho, eps=self.eps)


@cython.final
cdef class RMSpropMethod(CoordinateMethod):
    """Steps of RMSProp; for the parameters see ``CoordinateMethod``."""

    slot_names = ("mean_square",)

    cdef double rho, eps
    cdef double[::1] powers

    def __init__(self, *args, rho=0.99, eps=1e-8):
        self.powers = powers(rho)
        self.rho, self.eps = rho, eps
        super().__init__(*args)

    cdef void step(self, Coordinates* at, double eta) noexcept nogil:
        cdef double* s = at.slots
        cdef Py_ssize_t p
        for p in range(at.n):
            s[p] = self.rho * s[p] + (1.0 - self.rho) * at.g[p] * at.g[p]
        loops.inverse_roots(at.n, self.eps, s, at.length)
        for p in range(at.n):
            at.length[p] *= eta
            at.w[p] -= at.length[p] * at.g[p]

    cdef void rest(self, Coordinates* at) noexcept nogil:
        cdef Py_ssize_t p
        loops.inverse_roots(at.n, self.eps, at.slots, at.length)
        for p in range(at.n):
            at.length[p] *= at.path[p]
            at.slots[p] *= power(&self.powers[0], self.rho, at.missed[p])


# -- Adam ------------------------------------------------------------------------------------


class Adam(StepOptimizer):
    """Momentum with rates by recent gradients.

    ``m = beta1 m + (1 - beta1) g``, ``v = beta2 v + (1 - beta2) g^2``, both divided by what they
    lack of weight one after t steps (``1 - beta^t``), then ``w -= eta m / (sqrt(v) + eps)``.

    The penalty is no part of ``g``: it shrinks each coefficient at the rate of that coefficient,
    so that the steps end at the minimum of loss and penalty together, as neither torch's
    ``weight_decay`` nor AdamW's does. On sparse rows only the features of the batch are stepped;
    what ``m`` and ``v`` were worth over the steps that a feature missed is made up when it is next
    read, at the rates that it had before them.

    Parameters
    ----------
    learning_rate : "auto", float > 0, name of a schedule, or callable, default="auto"
        The rate ``eta``, as in ``SGD``; torch's default is 0.001.
    beta1 : float in [0, 1), default=0.9
        Memory of the mean gradient.
    beta2 : float in [0, 1), default=0.999
        Memory of the mean square.
    eps : float > 0, default=1e-8
        Keeps the division finite.
    amsgrad : bool, default=False
        Whether to divide by the largest ``v`` so far, so that rates never rise. "amsgrad" is the
        name of this.
    clip_norm : float > 0 or None, default=None
        Longest gradient, as in ``SGD``.

    References
    ----------
    .. [1] D. Kingma, J. Ba, "Adam: a method for stochastic optimization", ICLR 2015.
    .. [2] S. Reddi, S. Kale, S. Kumar, "On the convergence of Adam and beyond", ICLR 2018.

    Examples
    --------
    >>> from sgdest.optimizers import Adam
    >>> Adam(0.01, amsgrad=True)
    Adam(amsgrad=True, learning_rate=0.01)
    """

    name = "adam"

    def __init__(self, learning_rate="auto", beta1=0.9, beta2=0.999, eps=1e-8, amsgrad=False,
                 clip_norm=None):
        self.learning_rate = learning_rate
        self.beta1 = beta1
        self.beta2 = beta2
        self.eps = eps
        self.amsgrad = amsgrad
        self.clip_norm = clip_norm

    def rate(self, facts):
        """A tenth of how far raw predictions spread: steps do not shrink with the gradient."""
        return falling(facts, within(facts, 0.1 * facts.target_scale, 1.0), 0.5)

    def method(self, problem, W, b, *, schedule, batch_size=1, average=0, state=None):
        """The compiled method, at work on ``W`` and ``b``; see ``CoordinateMethod``."""
        return AdamMethod(problem, W, b, schedule, batch_size, average, state, self.clip_norm,
                          beta1=self.beta1, beta2=self.beta2, eps=self.eps,
                          keeps=float(self.amsgrad))


@cython.final
cdef class AdamMethod(CoordinateMethod):
    """Steps of Adam.

    Parameters
    ----------
    beta1, beta2, eps : float
    keeps : float
        Share of the largest mean square that is kept: 1 for AMSGrad, 0 for Adam.
    others : see ``CoordinateMethod``
    """

    slot_names = ("mean", "mean_square", "largest_square")

    cdef double beta1, beta2, eps, keeps
    cdef double[::1] powers1, powers2

    def __init__(self, *args, beta1=0.9, beta2=0.999, eps=1e-8, keeps=0.0):
        self.beta1, self.beta2, self.eps, self.keeps = beta1, beta2, eps, keeps
        self.powers1, self.powers2 = powers(beta1), powers(beta2)
        super().__init__(*args)

    cdef void step(self, Coordinates* at, double eta) noexcept nogil:
        cdef double lack1 = 1.0 - pow(self.beta1, self.n_steps)
        cdef double lack2 = 1.0 - pow(self.beta2, self.n_steps)
        cdef double* m = at.slots
        cdef double* v = m + at.stride
        cdef double* largest = v + at.stride
        cdef double first, second, kept, correction = 1.0 / lack2, pace = eta / lack1
        cdef Py_ssize_t p
        for p in range(at.n):
            first = self.beta1 * m[p] + (1.0 - self.beta1) * at.g[p]
            second = self.beta2 * v[p] + (1.0 - self.beta2) * at.g[p] * at.g[p]
            kept = self.keeps * largest[p]
            kept = kept if kept > second else second
            m[p], v[p], largest[p] = first, second, kept
            at.length[p] = kept * correction
        loops.inverse_roots(at.n, self.eps, at.length, at.length)
        for p in range(at.n):
            at.w[p] -= pace * at.length[p] * m[p]
            at.length[p] *= eta

    cdef void rest(self, Coordinates* at) noexcept nogil:
        cdef double lack1 = 1.0 - pow(self.beta1, self.n_steps)
        cdef double lack2 = 1.0 - pow(self.beta2, self.n_steps)
        cdef double* m = at.slots
        cdef double* v = m + at.stride
        cdef double* largest = v + at.stride
        cdef double k, kept, worth
        cdef Py_ssize_t p
        for p in range(at.n):
            at.length[p] = largest[p] / lack2
        loops.inverse_roots(at.n, self.eps, at.length, at.length)
        for p in range(at.n):
            at.length[p] *= at.path[p]
            k = at.missed[p]
            if k == 0.0:
                continue
            kept = power(&self.powers1[0], self.beta1, k)
            worth = self.beta1 * (1.0 - kept) / (1.0 - self.beta1) / lack1
            at.w[p] -= at.length[p] / k * worth * m[p]
            m[p] *= kept
            v[p] *= power(&self.powers2[0], self.beta2, k)
            before = self.keeps * largest[p]
            largest[p] = before if before > v[p] else v[p]


# -- FTRL ------------------------------------------------------------------------------------


class FTRL(StepOptimizer):
    """Follow the regularised leader, proximally: ``w`` minimises what all steps have said.

    After t steps with gradients ``g_s`` taken at ``w_s``, and rates ``eta / (beta + sqrt(n))``,
    ``n`` the sum of the squares of the gradients of the coordinate, ::

        w = argmin  sum_s g_s w + sum_s sigma_s (w - w_s)^2 / 2 + t alpha penalty(w),

    ``sigma_s`` the growth of the inverse rate. The penalty counts once per step, where the paper
    has L1 only once in all: so the minimum of loss and penalty is reached, with exact zeros. On
    sparse rows a step costs what its entries cost, and the model is that of dense rows.

    Parameters
    ----------
    learning_rate : "auto", float > 0, name of a schedule, or callable, default="auto"
        The rate ``eta``, as in ``SGD``; the paper's ``alpha``.
    beta : float > 0, default=1.0
        Keeps the first rates small; the paper's ``beta``.
    clip_norm : float > 0 or None, default=None
        Longest gradient, as in ``SGD``.

    References
    ----------
    .. [1] H. B. McMahan et al., "Ad click prediction: a view from the trenches", KDD 2013.

    Examples
    --------
    >>> from sgdest.optimizers import FTRL
    >>> FTRL(0.1)
    FTRL(learning_rate=0.1)
    """

    name = "ftrl"

    def __init__(self, learning_rate="auto", beta=1.0, clip_norm=None):
        self.learning_rate = learning_rate
        self.beta = beta
        self.clip_norm = clip_norm

    def rate(self, facts):
        """As Adagrad's, but at least one over the curvature where gradients are small.

        The first step is shorter than the rate: ``beta`` stands beside the gradients.
        """
        eta = max(facts.target_scale, self.beta / facts.curvature)
        return falling(facts, within(facts, eta, 20.0), 0.125)

    def method(self, problem, W, b, *, schedule, batch_size=1, average=0, state=None):
        """The compiled method, at work on ``W`` and ``b``; see ``CoordinateMethod``."""
        return FTRLMethod(problem, W, b, schedule, batch_size, average, state, self.clip_norm,
                          beta=self.beta)


@cython.final
cdef class FTRLMethod(CoordinateMethod):
    """Steps of FTRL-Proximal; for the parameters see ``CoordinateMethod``."""

    slot_names = ("leader", "sum_of_squares", "inverse_rate")

    cdef double beta

    def __init__(self, *args, beta=1.0):
        self.beta = beta
        super().__init__(*args)

    cdef inline Leader leader(self, Coordinates* at) noexcept nogil:
        cdef Leader found
        found.z, found.squares = at.slots, at.slots + at.stride
        found.inverse_rate = at.slots + 2 * at.stride
        return found

    cdef void step(self, Coordinates* at, double eta) noexcept nogil:
        cdef Leader leader = self.leader(at)
        # (`lead` finds in the cache what `follow` has written: see `step_in_parts`)
        loops.follow(at.n, eta, self.beta, at.g, at.w, &leader)
        self.rest(at)

    cdef void shrink(self, Coordinates* at) noexcept nogil:
        # the leader has the penalty in it, but for the sign that it may not have
        if self.problem.penalty.positive:
            CoordinateMethod.shrink(self, at)

    cdef void rest(self, Coordinates* at) noexcept nogil:
        """To the leader: argmin of ``z w + inverse_rate w^2 / 2`` and the penalty of all steps."""
        cdef Leader leader = self.leader(at)
        loops.lead(at.n, self.n_steps * self.problem.penalty.l1,
                   self.n_steps * self.problem.penalty.l2, at.c, &leader, at.w)
        if self.problem.penalty.positive:
            memset(at.length, 0, at.n * sizeof(double))
