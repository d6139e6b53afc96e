"""Gradient-descent linear models for scikit-learn, compiled."""

from sgdest import callbacks, losses, optimizers, schedules
from sgdest._version import __version__
from sgdest.display import DescentPathDisplay, LossCurveDisplay
from sgdest._path import RegularizationPath, regularization_path
from sgdest.estimators import GDClassifier, GDRegressor

__all__ = [
    "DescentPathDisplay",
    "GDClassifier",
    "GDRegressor",
    "LossCurveDisplay",
    "RegularizationPath",
    "__version__",
    "callbacks",
    "losses",
    "optimizers",
    "regularization_path",
    "schedules",
]
