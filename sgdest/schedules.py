"""Learning-rate schedules: objects, names, numbers and functions of the number of updates."""

from math import cos, floor, pi
from numbers import Real

from sklearn.base import BaseEstimator

from sgdest._core.schedules import SCHEDULES, Constant, Function

__all__ = ["SCHEDULES", "Cosine", "Exponential", "OneCycle", "Schedule", "Step", "WarmUp"]


class Schedule(BaseEstimator):
    """Base of the schedule objects: a rate by the number of passes made so far.

    A subclass has ``at(passes)``. Pass one as ``learning_rate`` to an estimator or an optimizer.
    In ``partial_fit`` a pass is as many updates as the first call makes.

    Attributes
    ----------
    horizon : float or None
        Passes that the schedule is made for: ``fit`` goes on to it, within ``max_iter``, whatever
        ``tol`` says. None: it has no end.

    Examples
    --------
    >>> from sgdest.schedules import Schedule
    >>> class Halving(Schedule):
    ...     def at(self, passes):
    ...         return 0.5 ** passes
    >>> Halving()(3), Halving()(3, updates_per_pass=2)
    (0.25, 0.5)
    """

    horizon = None

    def at(self, passes):
        """The rate after so many passes: a float, with fractions of a pass."""
        raise TypeError(f"{type(self).__name__} must define at(passes)")

    def __call__(self, t, updates_per_pass=1):
        """The rate of update t = 1, 2, .."""
        return self.at((t - 1) / updates_per_pass)

    def check(self):
        """Raise ValueError if a parameter is not allowed."""
        for name, value in self.get_params(deep=False).items():
            if isinstance(value, Schedule):
                value.check()
            elif not (isinstance(value, Real) and 0 <= value < float("inf")):
                raise ValueError(
                    f"{name} of {type(self).__name__} must be a finite number >= 0; got {value!r}."
                )
            elif value == 0 and name not in ("end", "factor"):
                raise ValueError(f"{name} of {type(self).__name__} must be > 0; got {value!r}.")


class Step(Schedule):
    """eta0 factor^(number of whole periods): falls by steps, as torch's ``StepLR``.

    Parameters
    ----------
    eta0 : float > 0, default=0.1
        The first rate.
    every : float > 0, default=10
        Period, in passes.
    factor : float >= 0, default=0.1
        By which each step multiplies the rate.
    """

    def __init__(self, eta0=0.1, every=10, factor=0.1):
        self.eta0 = eta0
        self.every = every
        self.factor = factor

    def at(self, passes):
        return self.eta0 * self.factor ** floor(passes / self.every)


class Exponential(Schedule):
    """eta0 factor^passes, within a pass too; torch's ``ExponentialLR`` at its borders.

    Parameters
    ----------
    eta0 : float > 0, default=0.1
        The first rate.
    factor : float >= 0, default=0.95
        By which a pass multiplies the rate.
    """

    def __init__(self, eta0=0.1, factor=0.95):
        self.eta0 = eta0
        self.factor = factor

    def at(self, passes):
        return self.eta0 * self.factor**passes


class Cosine(Schedule):
    """From eta0 to ``end`` along half a cosine, as torch's ``CosineAnnealingLR``.

    Parameters
    ----------
    eta0 : float > 0, default=0.1
        The first rate.
    horizon : float > 0, default=50
        Passes until ``end``, where the rate stays.
    end : float >= 0, default=0.0
        The last rate.

    References
    ----------
    .. [1] I. Loshchilov, F. Hutter, "SGDR: stochastic gradient descent with warm restarts",
       ICLR 2017.
    """

    def __init__(self, eta0=0.1, horizon=50, end=0.0):
        self.eta0 = eta0
        self.horizon = horizon
        self.end = end

    def at(self, passes):
        return along_cosine(self.eta0, self.end, passes / self.horizon)


class OneCycle(Schedule):
    """Up to ``peak`` and down to almost nothing, along cosines, as torch's ``OneCycleLR``.

    Parameters
    ----------
    peak : float > 0, default=0.1
        The largest rate.
    horizon : float > 0, default=50
        Passes of the cycle; its last rate stays.
    rise : float > 0, default=0.3
        Share of the horizon until the peak.
    start : float > 0, default=25
        The first rate is the peak divided by this.
    stop : float > 0, default=1e4
        The last rate is the first divided by this.

    References
    ----------
    .. [1] L. Smith, N. Topin, "Super-convergence: very fast training of neural networks using
       large learning rates", 2018.
    """

    def __init__(self, peak=0.1, horizon=50, rise=0.3, start=25, stop=1e4):
        self.peak = peak
        self.horizon = horizon
        self.rise = rise
        self.start = start
        self.stop = stop

    def at(self, passes):
        first = self.peak / self.start
        top = self.rise * self.horizon
        if passes < top:
            return along_cosine(first, self.peak, passes / top)
        left = max(self.horizon - top, 1e-300)
        return along_cosine(self.peak, first / self.stop, (passes - top) / left)


class WarmUp(Schedule):
    """Another schedule, whose rates grow linearly from 0 to their size over the first passes.

    Parameters
    ----------
    schedule : Schedule or float > 0
        What follows, counted from the start of the warm-up.
    passes : float > 0, default=5
        Passes of the warm-up.
    """

    def __init__(self, schedule=0.1, passes=5):
        self.schedule = schedule
        self.passes = passes

    @property
    def horizon(self):
        return self.schedule.horizon if isinstance(self.schedule, Schedule) else None

    def at(self, passes):
        rate = self.schedule
        rate = rate.at(passes) if isinstance(rate, Schedule) else rate
        return rate * min(1.0, passes / self.passes)

    def __call__(self, t, updates_per_pass=1):
        # the first update counts as one made: a rate of 0 would waste it
        passes = t / updates_per_pass
        rate = self.schedule
        rate = rate(t, updates_per_pass) if isinstance(rate, Schedule) else rate
        return rate * min(1.0, passes / self.passes)


def along_cosine(start, end, share):
    """From start to end along half a cosine; ``share`` beyond 1 stays at the end."""
    return end + (start - end) * (1.0 + cos(pi * min(share, 1.0))) / 2.0


def horizon_of(learning_rate):
    """Passes that a rate is made for; 0 if it has no end."""
    return getattr(learning_rate, "horizon", None) or 0


def compile_schedule(learning_rate, *, eta0, power_t, alpha, updates_per_pass=1):
    """The compiled schedule of a learning rate that is not "auto".

    Parameters
    ----------
    learning_rate : str, float > 0, Schedule, or callable t -> rate
    eta0, power_t, alpha : float
        What the named formulas take, as far as they do.
    updates_per_pass : int, default=1
        What turns updates into passes for a ``Schedule``.
    """
    if isinstance(learning_rate, str):
        kind = SCHEDULES[learning_rate]
        known = {"eta0": eta0, "power_t": power_t, "alpha": alpha}
        return kind(**{name: known[name] for name in kind.parameters})
    if isinstance(learning_rate, Real):
        return Constant(float(learning_rate))
    if isinstance(learning_rate, Schedule):
        learning_rate.check()
        return Function(lambda t: learning_rate(t, updates_per_pass))
    return Function(learning_rate)
