"""Pytest plugin that puts our SGD classes in the place of scikit-learn's."""

from sklearn import linear_model

from sgdest import compat

linear_model.SGDClassifier = compat.SGDClassifier
linear_model.SGDRegressor = compat.SGDRegressor
