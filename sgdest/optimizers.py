"""The optimizer objects, and the names that stand for them."""

from sgdest._core.adaptive import FTRL, Adagrad, Adam, RMSprop
from sgdest._core.alone import StepOptimizer
from sgdest._core.dual_ascent import DualAscent
from sgdest._core.method import Optimizer
from sgdest._core.optimizers import SGD
from sgdest._core.quasi_newton import LBFGS
from sgdest._core.stream import NormalizedAdaptive
from sgdest._core.subsampled_newton import SubsampledNewton
from sgdest._core.working_set import WorkingSet

__all__ = [
    "FTRL",
    "LBFGS",
    "NAMES",
    "SGD",
    "Adagrad",
    "Adam",
    "DualAscent",
    "NormalizedAdaptive",
    "Optimizer",
    "RMSprop",
    "StepOptimizer",
    "SubsampledNewton",
    "WorkingSet",
]

#: what each name of ``optimizer=`` stands for; "auto" is decided per fit
NAMES = {
    kind.name: kind
    for kind in (SGD, Adagrad, RMSprop, Adam, FTRL, NormalizedAdaptive, LBFGS, SubsampledNewton,
                 DualAscent, WorkingSet)
}
# names of settings; with "gd" the batch size, the whole set, is what the name adds
SETTINGS = {
    "gd": (SGD, {}),
    "momentum": (SGD, {"momentum": 0.9}),
    "nesterov": (SGD, {"momentum": 0.9, "nesterov": True}),
    "amsgrad": (Adam, {"amsgrad": True}),
}
NAMES.update({name: kind for name, (kind, _) in SETTINGS.items()})

#: every step method a user can name
STEP_OPTIMIZERS = [name for name, kind in NAMES.items() if kind.kind == "step"]


def as_optimizer(optimizer):
    """The object that a name stands for; an object is its own."""
    if not isinstance(optimizer, str):
        return optimizer
    kind, settings = SETTINGS.get(optimizer, (NAMES[optimizer], {}))
    return kind(**settings)
