"""What early stopping watches: validation data, split off or given, and a score on it."""

import copy

import numpy as np
from sklearn.base import is_classifier
from sklearn.metrics import check_scoring
from sklearn.model_selection import ShuffleSplit, StratifiedShuffleSplit

from sgdest import _validation as validation
from sgdest._core.penalties import PENALTIES
from sgdest._core.rows import as_rows


class Validation:
    """A score of (W, b) on held-out rows; higher is better.

    Parameters
    ----------
    estimator : GDClassifier or GDRegressor, with its classes set
    X, y : validated rows and their targets, as the user gave them
    targets : the same targets, encoded
    weights : ndarray or None
    """

    def __init__(self, estimator, X, y, targets, weights):
        self.X, self.y, self.weights = X, y, weights
        self.by_loss = estimator.scoring == "loss"
        if self.by_loss:
            rows = as_rows(X)
            self.problem = estimator._problem(rows, targets, weights, PENALTIES[None]())
            self.z = np.empty((self.problem.n_rows, self.problem.n_outputs))
            return
        self.estimator = copy.copy(estimator)
        self.estimator._sparse_coef, self.estimator._stale = None, False
        self.estimator.__dict__.pop("_streak", None)
        self.scorer = check_scoring(self.estimator, estimator.scoring)

    def __call__(self, W, b):
        if self.by_loss:
            return -self.problem.evaluate(W, b, self.z, gradient=False)[0]
        self.estimator._W, self.estimator._b = W, b
        kwargs = {} if self.weights is None else {"sample_weight": self.weights}
        return self.scorer(self.estimator, self.X, self.y, **kwargs)

    def tolerance(self, tol, start_objective):
        """Smallest improvement that counts: relative to F_0 for the loss, else absolute."""
        return tol * abs(start_objective) if self.by_loss else tol

    @classmethod
    def prepare(cls, estimator, X, y, targets, weights, held_out, seeds):
        """(mask of the rows to learn from or None, Validation or None)."""
        given = held_out[0] is not None
        if not given and (held_out[1] is not None or held_out[2] is not None):
            raise ValueError("y_val and sample_weight_val need X_val; got X_val=None.")
        if estimator.early_stopping is False or (
            estimator.early_stopping == "auto" and not given
        ):
            return None, None
        if given:
            return None, cls._given(estimator, *held_out)
        learned = cls._split(estimator, y, seeds)
        rest = ~learned
        w = None if weights is None else weights[rest]
        if w is not None and not w.any():
            raise ValueError(
                "The sample weights for validation set are all zero, consider using a different "
                "random state."
            )
        return learned, cls(estimator, X[rest], y[rest], targets[rest], w)

    @classmethod
    def _given(cls, estimator, X_val, y_val, sample_weight_val):
        """Validation on the user's own rows."""
        if y_val is None:
            raise ValueError("X_val needs y_val; got y_val=None.")
        try:
            validation.check_same_names(estimator, X_val)
            X, y = validation.check_data(
                estimator, X_val, y_val, reset=False, regression=not is_classifier(estimator)
            )
            weights = validation.check_sample_weight(sample_weight_val, X)
            weights = estimator._weights(y, weights)
            validation.check_not_all_zero(weights)
            return cls(estimator, X, y, estimator._targets(y), weights)
        except ValueError as error:
            raise ValueError(f"X_val, y_val or sample_weight_val: {error}") from error

    @staticmethod
    def _split(estimator, y, seeds):
        """Mask of the rows to learn from."""
        validation.number_of_validation_rows(len(y), estimator.validation_fraction)
        kind = StratifiedShuffleSplit if is_classifier(estimator) else ShuffleSplit
        split = kind(test_size=estimator.validation_fraction, random_state=seeds.draw())
        learned = np.zeros(len(y), dtype=bool)
        try:
            learned[next(split.split(np.zeros((len(y), 1)), y))[0]] = True
        except ValueError as error:
            raise ValueError(
                f"early_stopping cannot hold out validation_fraction="
                f"{estimator.validation_fraction!r} of each class: {error} Give X_val and y_val."
            ) from error
        return learned
