"""Gradient-descent linear models for scikit-learn, compiled."""

from sgdest import losses, optimizers, schedules
from sgdest._version import __version__
from sgdest.estimators import GDClassifier, GDRegressor

__all__ = [
    "GDClassifier",
    "GDRegressor",
    "__version__",
    "losses",
    "optimizers",
    "schedules",
]
