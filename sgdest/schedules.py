"""Learning-rate schedules: names, numbers and functions of the number of updates."""

from numbers import Real

from sgdest._core.schedules import SCHEDULES, Constant, Function

__all__ = ["SCHEDULES"]


def compile_schedule(learning_rate, *, eta0, power_t, alpha):
    """The compiled schedule of a learning rate that is not "auto".

    Parameters
    ----------
    learning_rate : str, float > 0, or callable t -> rate
    eta0, power_t, alpha : float
        What the named formulas take, as far as they do.
    """
    if isinstance(learning_rate, str):
        kind = SCHEDULES[learning_rate]
        known = {"eta0": eta0, "power_t": power_t, "alpha": alpha}
        return kind(**{name: known[name] for name in kind.parameters})
    if isinstance(learning_rate, Real):
        return Constant(float(learning_rate))
    return Function(learning_rate)
