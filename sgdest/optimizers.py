"""The optimizer objects, and the names that stand for them."""

# before the others: the registry has the order of the imports
from sgdest._core.optimizers import SGD
from sgdest._core.adaptive import FTRL, Adagrad, Adam, RMSprop  # isort: skip
from sgdest._core.alone import StepOptimizer
from sgdest._core.dual_ascent import DualAscent
from sgdest._core.method import Optimizer
from sgdest._core.quasi_newton import LBFGS
from sgdest._core.stream import NormalizedAdaptive
from sgdest._core.subsampled_newton import SubsampledNewton
from sgdest._core.variance_reduced import SAGA
from sgdest._core.working_set import WorkingSet

#: what each name of ``optimizer=`` stands for, read off the classes; "auto" is decided per fit
NAMES = {
    kind.name: kind
    for kind in (*StepOptimizer.__subclasses__(), *Optimizer.__subclasses__())
    if kind.name is not None
}
# so that a new section needs no line here; the imports above are for readers and their tools
globals().update({kind.__name__: kind for kind in NAMES.values()})

__all__ = ["NAMES", "Optimizer", "StepOptimizer", *(kind.__name__ for kind in NAMES.values())]

# names of settings; with "gd" the batch size, the whole set, is what the name adds
SETTINGS = {
    "gd": (SGD, {}),
    "momentum": (SGD, {"momentum": 0.9}),
    "nesterov": (SGD, {"momentum": 0.9, "nesterov": True}),
    "amsgrad": (Adam, {"amsgrad": True}),
}
NAMES.update({name: kind for name, (kind, _) in SETTINGS.items()})

#: the solvers that optimizer="auto" chooses from
SOLVERS = [kind for kind in dict.fromkeys(NAMES.values()) if kind.kind == "solver"]

#: every step method a user can name
STEP_OPTIMIZERS = [name for name, kind in NAMES.items() if kind.kind == "step"]


def as_optimizer(optimizer):
    """The object that a name stands for; an object is its own."""
    if not isinstance(optimizer, str):
        return optimizer
    kind, settings = SETTINGS.get(optimizer, (NAMES[optimizer], {}))
    return kind(**settings)
