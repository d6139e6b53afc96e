"""Losses as objects: for those with parameters, and for losses of one's own.

A loss of one's own is a subclass of ``Loss`` with ``value`` and ``derivative``; ``check`` tells
whether the two belong together. It is called once per block of rows, in ``fit`` and
``partial_fit``, by every method, on dense and sparse rows.
"""

import numpy as np
from scipy.special import expit
from sklearn.base import BaseEstimator

from sgdest._core.losses import LOSSES, Multinomial
from sgdest._core.written_loss import adapted

__all__ = [
    "LOSSES",
    "EpsilonInsensitive",
    "Huber",
    "Loss",
    "Quantile",
    "SquaredEpsilonInsensitive",
    "Tweedie",
    "check",
]

_INVERSE_LINKS = {"identity": np.asarray, "log": np.exp, "logit": expit}


class Loss(BaseEstimator):
    """Base of the loss objects: parameters only, so that a grid can search over them.

    A subclass with ``value`` and ``derivative`` is a loss of one's own, for ``GDRegressor`` and
    ``GDClassifier`` alike. Both take 1-D arrays of float64 and work element by element. What else
    there is to say of the loss is said by class attributes.

    Attributes
    ----------
    name : str or None
        The name by which estimators know a built-in loss; ``sgdest.losses.LOSSES`` has them all.
    targets : {"real", "nonnegative", "positive", "binary", "sign"}, default="real"
        What ``y`` may be. The first three are for numbers; ``GDClassifier`` codes its labels as
        0 and 1 for "binary", as -1 and 1 for "sign" and "real".
    link : {"identity", "log", "logit"}, default="identity"
        Predictions are ``inverse_link(z)``; with a log link coefficients start from the logarithm
        of the mean target.
    smoothness : {"smooth", "kinked"}, default="smooth"
        "kinked" where the derivative jumps: then steps are made, as the solver needs curvature.
    curvature_bound : float, default=inf
        The largest second derivative, if there is one: "auto" rates start from it.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_diabetes
    >>> from sgdest import GDRegressor, losses
    >>> class Cauchy(losses.Loss):
    ...     def __init__(self, scale=1.0):
    ...         self.scale = scale
    ...     def value(self, y, z):
    ...         return np.log1p(((z - y) / self.scale) ** 2)
    ...     def derivative(self, y, z):
    ...         return 2 * (z - y) / (self.scale**2 + (z - y) ** 2)
    >>> losses.check(Cauchy(scale=2.0))
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = GDRegressor(Cauchy(scale=100.0), penalty=None).fit(X, y)
    >>> round(model.score(X, y), 2)
    0.52
    """

    name = None
    targets = "real"
    link = "identity"
    smoothness = "smooth"
    curvature_bound = np.inf

    def value(self, y, z):
        """Loss of the raw predictions ``z`` for the targets ``y``, element by element."""
        raise NotImplementedError(f"{type(self).__name__} must define value(y, z).")

    def derivative(self, y, z):
        """Slope of the loss in ``z``, element by element."""
        raise NotImplementedError(f"{type(self).__name__} must define derivative(y, z).")

    def curvature(self, y, z):
        """Second derivative in ``z``; unless written, by differences of the derivative."""
        h = 1e-5 * (1.0 + np.abs(z))
        return (self.derivative(y, z + h) - self.derivative(y, z - h)) / (2.0 * h)

    def inverse_link(self, z):
        """Predictions of the raw predictions ``z``; for a classifier the probability of 1."""
        return _INVERSE_LINKS[self.link](z)

    def compiled(self):
        """The compiled loss with these parameters."""
        return adapted(self)


class _BuiltIn(Loss):
    """Base of the objects that stand for a built-in loss by its name."""

    def value(self, y, z):
        """Loss of the raw predictions ``z`` for the targets ``y``, element by element."""
        return self._at(y, z)[0]

    def derivative(self, y, z):
        """Slope of the loss in ``z``, element by element."""
        return self._at(y, z)[1]

    def curvature(self, y, z):
        """Second derivative in ``z``, element by element."""
        return self._at(y, z)[2]

    def _at(self, y, z):
        return np.vectorize(self.compiled().evaluate_point, otypes=[float] * 3)(y, z)

    def compiled(self):
        """The compiled loss with these parameters."""
        return LOSSES[self.name](**self.get_params())

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        for fact in ("targets", "link", "smoothness", "curvature_bound"):
            setattr(cls, fact, getattr(LOSSES[cls.name], fact))


class Huber(_BuiltIn):
    """r^2 / 2 where ``|r| <= epsilon``, else epsilon (|r| - epsilon / 2), with r = z - y.

    Parameters
    ----------
    epsilon : float > 0, default=0.1
        Residual, in units of ``y``, from which on the loss grows linearly.
    """

    name = "huber"

    def __init__(self, epsilon=0.1):
        self.epsilon = epsilon


class EpsilonInsensitive(_BuiltIn):
    """max(0, |z - y| - epsilon), the loss of support vector regression.

    Parameters
    ----------
    epsilon : float >= 0, default=0.1
        Residuals up to this, in units of ``y``, cost nothing.
    """

    name = "epsilon_insensitive"

    def __init__(self, epsilon=0.1):
        self.epsilon = epsilon


class SquaredEpsilonInsensitive(_BuiltIn):
    """max(0, |z - y| - epsilon)^2.

    Parameters
    ----------
    epsilon : float >= 0, default=0.1
        Residuals up to this, in units of ``y``, cost nothing.
    """

    name = "squared_epsilon_insensitive"

    def __init__(self, epsilon=0.1):
        self.epsilon = epsilon


class Quantile(_BuiltIn):
    """The pinball loss, whose minimiser is a conditional quantile.

    Parameters
    ----------
    quantile : float in (0, 1), default=0.5
        Which one.

    Examples
    --------
    >>> from sgdest.losses import Quantile
    >>> Quantile(0.9).value([1.0, 1.0], [0.0, 2.0])
    array([0.9, 0.1])
    """

    name = "quantile"

    def __init__(self, quantile=0.5):
        self.quantile = quantile


class Tweedie(_BuiltIn):
    """Half the Tweedie deviance, with mean exp(z) and variance proportional to mean^power.

    Parameters
    ----------
    power : float in [1, 2], default=1.5
        1 is Poisson's, 2 gamma's; between them, zeros and positive amounts mix.
    """

    name = "tweedie"

    def __init__(self, power=1.5):
        self.power = power


def name_of(loss):
    """The name of a loss given by name or as an object; None for a loss of one's own."""
    return loss.name if isinstance(loss, Loss) else loss


def facts_of(loss):
    """Where to read ``targets``, ``link`` and ``smoothness`` of a name or an object."""
    return loss if isinstance(loss, Loss) else LOSSES[loss]


def is_written(loss):
    """Whether the loss is one of the user's own."""
    return isinstance(loss, Loss) and not isinstance(loss, _BuiltIn)


def predictions(loss, z):
    """What raw predictions of any shape stand for."""
    if is_written(loss):
        return np.reshape(loss.inverse_link(np.ravel(z)), np.shape(z))
    return _INVERSE_LINKS[facts_of(loss).link](z)


def compile_loss(loss, epsilon, joint=False):
    """The compiled loss of a name or an object.

    Parameters
    ----------
    loss : str or Loss
    epsilon : float
        Parameter of the losses that have one, unless they are given as objects.
    joint : bool, default=False
        Whether log loss is that of softmax over several outputs.
    """
    if joint and name_of(loss) == "log_loss":
        return Multinomial()
    if isinstance(loss, Loss):
        return loss.compiled()
    kind = LOSSES[loss]
    return kind(epsilon=epsilon) if "epsilon" in kind.parameters else kind()


# -- is it a loss? -----------------------------------------------------------------------------

_TARGETS = {
    "real": (-1.3, 0.0, 0.7, 2.0),
    "nonnegative": (0.0, 1.0, 3.5),
    "positive": (0.5, 1.0, 3.5),
    "binary": (0.0, 1.0),
    "sign": (-1.0, 1.0),
}
# Kinks are met by chance only: a difference that reaches over one is not the smallest.
_STEPS = (1e-2, 1e-3, 1e-4)


def check(loss, y=None, z=None):
    """Raise ValueError if a loss contradicts itself; for losses of one's own.

    The derivative is compared with differences of the value of fourth order, a curvature with
    those of the derivative; results must be finite, one per element, and not depend on the
    other elements.

    Parameters
    ----------
    loss : Loss
    y : array-like of shape (n,), default=None
        Targets to try; None: a few that ``loss.targets`` allows.
    z : array-like of shape (n,), default=None
        Raw predictions to try; None: 101 from about -5 to 5.

    Raises
    ------
    ValueError
        The message says what is wrong, and where.

    Examples
    --------
    >>> from sgdest import losses
    >>> class Wrong(losses.Loss):
    ...     def value(self, y, z):
    ...         return (z - y) ** 2
    ...     def derivative(self, y, z):
    ...         return z - y
    >>> losses.check(Wrong())
    Traceback (most recent call last):
        ...
    ValueError: Wrong: derivative(y=-1.3, z=-4.9877) is -3.6877, but value rises by -7.3754 there.
    """
    y = np.asarray(_TARGETS[loss.targets] if y is None else y, dtype=np.float64)
    # between the round numbers, where kinks are
    z = np.linspace(-5.0, 5.0, 101) + 0.0123 if z is None else np.asarray(z, dtype=np.float64)
    y, z = (part.ravel() for part in np.meshgrid(y, z, indexing="ij"))
    _compare(loss, "derivative", "value", y, z)
    if type(loss).curvature is not Loss.curvature and loss.smoothness == "smooth":
        _compare(loss, "curvature", "derivative", y, z)
    curvature = _called(loss, "curvature", y, z)
    above = curvature > loss.curvature_bound * (1.0 + 1e-6)
    if loss.smoothness == "smooth" and above.any():
        _complain(loss, above, y, z, "curvature", curvature,
                  f"curvature_bound is {loss.curvature_bound:.6g}")


def _compare(loss, slope, function, y, z):
    """ValueError unless one method is the slope of the other."""
    claimed = _called(loss, slope, y, z)
    measured, wrong = np.zeros_like(z), np.ones(z.shape, dtype=bool)
    for h in _STEPS:
        at = [_called(loss, function, y, z + k * h) for k in (-2, -1, 1, 2)]
        rises = (8 * (at[2] - at[1]) - (at[3] - at[0])) / (12 * h)
        # of h^4 times a fifth derivative, and of rounding over h
        scale = 1.0 + np.abs(claimed) + np.max(np.abs(at), axis=0)
        off = np.abs(rises - claimed) > (1e-7 + 1e-15 / h) * scale
        measured, wrong = np.where(wrong, rises, measured), wrong & off
    if wrong.any():
        rises = measured[wrong][0]
        _complain(loss, wrong, y, z, slope, claimed, f"{function} rises by {rises:.6g} there")


def _called(loss, name, y, z):
    """The result of a method; ValueError if it is no float per element of these alone."""
    kind = type(loss).__name__
    given = y.copy(), z.copy()
    out = np.asarray(getattr(loss, name)(*given))
    if out.shape != z.shape or out.dtype.kind not in "fiub":
        raise ValueError(
            f"{kind}: {name}(y, z) must return one number per element, an array of shape "
            f"{z.shape}; got {out.dtype} of shape {out.shape}."
        )
    if not (np.array_equal(given[0], y) and np.array_equal(given[1], z)):
        raise ValueError(f"{kind}: {name}(y, z) must not change y or z in place.")
    if not np.isfinite(out).all():
        _complain(loss, ~np.isfinite(out), y, z, name, out, "it must be finite")
    alone = float(np.ravel(getattr(loss, name)(y[:1].copy(), z[:1].copy()))[0])
    if not np.isclose(alone, out[0], rtol=1e-9, atol=1e-12):
        raise ValueError(
            f"{kind}: {name}(y, z) must work element by element; the first of {z.size} is "
            f"{out[0]:.6g}, alone it is {alone:.6g}."
        )
    return out.astype(np.float64)


def _complain(loss, where, y, z, name, values, but):
    """ValueError that shows the first point of ``where``."""
    i = int(np.argmax(where))
    raise ValueError(
        f"{type(loss).__name__}: {name}(y={y[i]:.6}, z={z[i]:.6}) is {values[i]:.6g}, but {but}."
    )
