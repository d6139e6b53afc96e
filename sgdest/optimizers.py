"""The optimizer objects, and the names that stand for them."""

from sgdest._core.method import Optimizer
from sgdest._core.optimizers import SGD
from sgdest._core.quasi_newton import LBFGS
from sgdest._core.stream import NormalizedAdaptive

__all__ = ["LBFGS", "NAMES", "SGD", "NormalizedAdaptive", "Optimizer"]

#: what each name of ``optimizer=`` stands for; "auto" is decided per fit
NAMES = {kind.name: kind for kind in (SGD, NormalizedAdaptive, LBFGS)}
NAMES["gd"] = SGD  # on the whole set: the batch size is what the name adds


def as_optimizer(optimizer):
    """The object that a name stands for; an object is its own."""
    return NAMES[optimizer]() if isinstance(optimizer, str) else optimizer
