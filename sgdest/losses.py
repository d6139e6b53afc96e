"""Losses as objects: for those with parameters, and to see what a name stands for."""

import numpy as np
from sklearn.base import BaseEstimator

from sgdest._core.losses import LOSSES, Multinomial

__all__ = [
    "LOSSES",
    "EpsilonInsensitive",
    "Huber",
    "Loss",
    "Quantile",
    "SquaredEpsilonInsensitive",
    "Tweedie",
]


class Loss(BaseEstimator):
    """Base of the loss objects: parameters only, so that a grid can search over them.

    Attributes
    ----------
    name : str
        The name by which estimators know the loss; ``sgdest.losses.LOSSES`` has them all.
    """

    name = None

    def compiled(self):
        """The compiled loss with these parameters."""
        return LOSSES[self.name](**self.get_params())

    def value(self, y, z):
        """Loss of the raw predictions ``z`` for the targets ``y``, elementwise."""
        point = np.vectorize(self.compiled().evaluate_point, otypes=[float] * 3)
        return point(y, z)[0]

    def derivative(self, y, z):
        """Slope of the loss in ``z``, elementwise."""
        point = np.vectorize(self.compiled().evaluate_point, otypes=[float] * 3)
        return point(y, z)[1]


class Huber(Loss):
    """r^2 / 2 where ``|r| <= epsilon``, else epsilon (|r| - epsilon / 2), with r = z - y.

    Parameters
    ----------
    epsilon : float > 0, default=0.1
        Residual, in units of ``y``, from which on the loss grows linearly.
    """

    name = "huber"

    def __init__(self, epsilon=0.1):
        self.epsilon = epsilon


class EpsilonInsensitive(Loss):
    """max(0, |z - y| - epsilon), the loss of support vector regression.

    Parameters
    ----------
    epsilon : float >= 0, default=0.1
        Residuals up to this, in units of ``y``, cost nothing.
    """

    name = "epsilon_insensitive"

    def __init__(self, epsilon=0.1):
        self.epsilon = epsilon


class SquaredEpsilonInsensitive(Loss):
    """max(0, |z - y| - epsilon)^2.

    Parameters
    ----------
    epsilon : float >= 0, default=0.1
        Residuals up to this, in units of ``y``, cost nothing.
    """

    name = "squared_epsilon_insensitive"

    def __init__(self, epsilon=0.1):
        self.epsilon = epsilon


class Quantile(Loss):
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


class Tweedie(Loss):
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
    """The name of a loss given by name or as an object."""
    return loss.name if isinstance(loss, Loss) else loss


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
