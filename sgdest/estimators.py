"""The estimators: linear models for classes and for numbers, learned by gradient descent."""

from sgdest._classifier import GDClassifier
from sgdest._regressor import GDRegressor

__all__ = ["GDClassifier", "GDRegressor"]
