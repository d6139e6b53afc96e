"""What ``SGDClassifier`` and ``SGDRegressor`` of ``sgdest.compat`` share."""

import warnings
from abc import ABCMeta, abstractmethod
from inspect import signature
from numbers import Integral, Real

import numpy as np
import scipy.sparse as sp
from sklearn.base import BaseEstimator, RegressorMixin, clone, is_classifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model._base import LinearClassifierMixin, SparseCoefMixin
from sklearn.model_selection import ShuffleSplit, StratifiedShuffleSplit
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.extmath import safe_sparse_dot
from sklearn.utils.validation import (
    _check_sample_weight,
    check_is_fitted,
    validate_data,
)

from sgdest._core.losses import LOSSES
from sgdest._core.plain_rules import rule_of
from sgdest._core.plain_sgd import Descent, Patience, Weights, penalty_of
from sgdest._core.rows import as_rows, sound_margins
from sgdest._validation import all_finite, needs_no_more, sound_sparse

DEFAULT_EPSILON = 0.1

# After 1.6 scikit-learn refuses weights that are all zero; `_validated_weights` does
# so for every version.
ZEROS_ALLOWED = {}
if "allow_all_zero_weights" in signature(_check_sample_weight).parameters:
    ZEROS_ALLOWED["allow_all_zero_weights"] = True

#: name -> (class, its arguments): the losses of both estimators
REGRESSION_LOSSES = {
    "squared_error": (LOSSES["squared_error"],),
    "huber": (LOSSES["huber"], DEFAULT_EPSILON),
    "epsilon_insensitive": (LOSSES["epsilon_insensitive"], DEFAULT_EPSILON),
    "squared_epsilon_insensitive": (
        LOSSES["squared_epsilon_insensitive"],
        DEFAULT_EPSILON,
    ),
}


class ValidationScore:
    """Scores parameters on the rows that were held out."""

    def __init__(self, estimator, X, y, sample_weight, classes):
        self.estimator = clone(estimator)
        self.estimator.t_ = 1  # makes it look fitted
        if classes is not None:
            self.estimator.classes_ = classes
        self.X, self.y, self.sample_weight = X, y, sample_weight

    def __call__(self, coef, intercept):
        self.estimator.coef_ = coef.astype(self.X.dtype).reshape(1, -1)
        self.estimator.intercept_ = np.atleast_1d(intercept)
        return self.estimator.score(self.X, self.y, self.sample_weight)


class Data:
    """X, ready for the loop, with its weights (or None) and the rows to be held out."""

    def __init__(self, X, sample_weight):
        self.X, self.sample_weight = X, sample_weight
        self.rows = as_rows(X)
        self.held_out = None
        self.labels = self.codes = None  # of classes: see _core/labels


class PlainSGD(SparseCoefMixin, BaseEstimator, metaclass=ABCMeta):
    """What the classifier and the regressor share."""

    _parameter_constraints: dict = {
        "penalty": [StrOptions({"l2", "l1", "elasticnet"}), None],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "l1_ratio": [Interval(Real, 0, 1, closed="both"), None],
        "fit_intercept": ["boolean"],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left"), None],
        "shuffle": ["boolean"],
        "verbose": ["verbose"],
        "epsilon": [Interval(Real, 0, None, closed="left")],
        "random_state": ["random_state"],
        "learning_rate": [
            StrOptions({"constant", "optimal", "invscaling", "adaptive", "pa1", "pa2"})
        ],
        "eta0": [Interval(Real, 0, None, closed="neither")],
        "power_t": [Interval(Real, None, None, closed="neither")],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
        "warm_start": ["boolean"],
        "average": [Interval(Integral, 0, None, closed="neither"), "boolean"],
    }

    @abstractmethod
    def fit(self, X, y):
        """Fit the model."""

    def _check_combinations(self, for_partial_fit=False):
        """Raise ValueError where parameters valid alone do not fit together."""
        if self.early_stopping and for_partial_fit:
            raise ValueError("early_stopping should be False with partial_fit")
        if self.learning_rate == "optimal" and self.alpha == 0:
            raise ValueError(
                "alpha must be > 0 since learning_rate is 'optimal'. alpha is used to "
                "compute the optimal learning rate."
            )
        needed = "hinge" if is_classifier(self) else "epsilon_insensitive"
        if self.learning_rate in ("pa1", "pa2") and self.loss != needed:
            raise ValueError(
                f"Learning rate '{self.learning_rate}' only works with loss '{needed}'."
            )
        if self.penalty == "elasticnet" and self.l1_ratio is None:
            raise ValueError("l1_ratio must be set when penalty is 'elasticnet'")

    def _validated(self, X, y, reset):
        is_finite = all_finite(X, getattr(self, "n_jobs", None))
        if is_finite and needs_no_more(self, X, y, reset):
            return X, y
        return validate_data(
            self,
            sound_sparse(X),
            y,
            accept_sparse="csr",
            dtype=[np.float64, np.float32],
            order="C",
            ensure_all_finite=not is_finite,
            reset=reset,
        )

    def _margins(self, X):
        """Raw predictions, ndarray of shape (n_samples, n_outputs)."""
        check_is_fitted(self)
        coef, intercept = self.coef_, self.intercept_
        if type(coef) is np.ndarray and "feature_names_in_" not in self.__dict__:
            W = np.ascontiguousarray(np.atleast_2d(coef).T, dtype=np.float64)
            z = sound_margins(X, W, intercept.astype(np.float64, copy=False))
            if z is not None:
                # scikit-learn's type of the result
                return z.astype(np.result_type(X, coef, intercept), copy=False)
        X = validate_data(self, sound_sparse(X), accept_sparse="csr", reset=False)
        if sp.issparse(X):
            as_rows(X)  # before SciPy may read a malformed CSR array
        z = safe_sparse_dot(X, coef.T, dense_output=True) + intercept
        return z.reshape(len(z), -1)

    def _validated_weights(self, sample_weight, X, zeros_allowed=False):
        if sample_weight is None:
            return None
        sample_weight = _check_sample_weight(
            sample_weight, X, dtype=X.dtype, **ZEROS_ALLOWED
        )
        if not zeros_allowed and not np.any(sample_weight):
            raise ValueError(
                "Sample weights must contain at least one non-zero number."
            )
        return sample_weight

    def _held_out(self, y, sample_weight):
        """Mask of the rows that early stopping sets aside, or None."""
        if not self.early_stopping:
            return None
        splitter = StratifiedShuffleSplit if is_classifier(self) else ShuffleSplit
        split = splitter(
            test_size=self.validation_fraction, random_state=self.random_state
        )
        train, held_out = next(split.split(np.zeros((y.shape[0], 1)), y))
        if sample_weight is not None and not np.any(sample_weight[held_out] > 0):
            raise ValueError(
                "The sample weights for validation set are all zero, consider using a "
                "different random state."
            )
        if train.shape[0] == 0 or held_out.shape[0] == 0:
            raise ValueError(
                f"Splitting {y.shape[0]} samples into a train set and a validation set "
                f"with validation_fraction={self.validation_fraction!r} led to an "
                f"empty set ({train.shape[0]} and {held_out.shape[0]} samples). Please "
                "either change validation_fraction, increase number of samples, or "
                "disable early_stopping."
            )
        mask = np.zeros(y.shape[0], dtype=bool)
        mask[held_out] = True
        return mask

    def _score_of(self, data, y, classes=None):
        """What early stopping asks after an epoch, or None."""
        if data.held_out is None:
            return None
        mask = data.held_out
        weights = None if data.sample_weight is None else data.sample_weight[mask]
        return ValidationScore(self, data.X[mask], y[mask], weights, classes)

    def _allocate(self, shape, dtype, coef_init, intercept_init):
        """Set the parameters to zero, or to what the caller gave."""
        n_outputs = shape[0] if len(shape) == 2 else 1
        coef, intercept = np.zeros(shape, dtype), np.zeros(n_outputs, dtype)
        if coef_init is not None:
            coef_init = coef_init.toarray() if sp.issparse(coef_init) else coef_init
            coef = np.array(coef_init, dtype=dtype, order="C")
            coef = coef.ravel() if len(shape) == 1 else coef
            if coef.shape != shape:
                name = "coef_init" if len(shape) == 1 else "``coef_``"
                raise ValueError(f"Provided {name} does not match dataset.")
        if intercept_init is not None:
            intercept = np.array(intercept_init, dtype=dtype)
            if intercept.shape != (n_outputs,) and intercept.shape + shape[1:] != ():
                raise ValueError("Provided intercept_init does not match dataset.")
        self.coef_, self.intercept_ = coef, intercept.reshape(n_outputs)
        if self.average:
            self._begin_average(dtype)

    def _undo_sparsify(self):
        if sp.issparse(getattr(self, "coef_", None)):
            self.densify()

    def _begin_average(self, dtype):
        self._standard_coef = self.coef_
        self._standard_intercept = self.intercept_
        self._average_coef = np.zeros(self.coef_.shape, dtype)
        self._average_intercept = np.zeros(self.intercept_.shape, dtype)

    def _weights(self, output, dtype):
        """The parameters of one output, for the loop to change."""
        # v is multiplied out earlier where scikit-learn's v is float32: it scores v
        smallest_scale = 1e-6 if dtype == np.float32 else 1e-9
        if not self.average:
            coef = np.atleast_2d(self.coef_)[output]
            return Weights(coef, self.intercept_[output], None, 0.0, smallest_scale)
        return Weights(
            np.atleast_2d(self._standard_coef)[output],
            self._standard_intercept[output],
            np.atleast_2d(self._average_coef)[output],
            self._average_intercept[output],
            smallest_scale,
        )

    def _compiled_loss(self):
        loss, *arguments = self.loss_functions[self.loss]
        return loss(self.epsilon) if arguments else loss()

    def _descend(self, examples, weights, score, max_iter):
        """Run the compiled loop on one output; returns the number of epochs."""
        rows = examples.rows
        descent = Descent(
            examples,
            weights,
            rule_of(self, self._compiled_loss(), rows),
            penalty_of(self.penalty, rows, self.alpha, self.l1_ratio or 0.0),
            self.fit_intercept,
            self.t_,
            self.average,
        )
        patience = Patience(self.tol, self.n_iter_no_change, score)
        return descent.run(max_iter, patience, self.verbose > 0)

    def _warn(self):
        if self.tol is not None and self.n_iter_ == self.max_iter:
            warnings.warn(
                "Maximum number of iteration reached before convergence. Consider "
                "increasing max_iter to improve the fit.",
                ConvergenceWarning,
                stacklevel=3,
            )
        if self.power_t < 0:
            warnings.warn(
                "Negative values for `power_t` are deprecated in version 1.8 and will "
                "raise an error in 1.10. Use values in the range [0.0, inf) instead.",
                FutureWarning,
                stacklevel=3,
            )

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


class PlainClassifierMixin(LinearClassifierMixin):
    """Predictions of scikit-learn's linear classifiers."""

    def decision_function(self, X):
        """Signed distances to the hyperplanes, times the norms of their normals.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Data.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_classes)
            Two classes: positive for ``classes_[1]``.
        """
        z = self._margins(X)
        return z[:, 0] if z.shape[1] == 1 else z

    def predict(self, X):
        """Predicted labels.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Data.

        Returns
        -------
        ndarray of shape (n_samples,)
            One label per row.
        """
        z = self._margins(X)
        codes = (z[:, 0] > 0).astype(np.intp) if z.shape[1] == 1 else z.argmax(axis=1)
        return self.classes_.take(codes)


class PlainRegressorMixin(RegressorMixin):
    """Predictions of scikit-learn's linear regressors."""

    def predict(self, X):
        """Predicted targets.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Data.

        Returns
        -------
        ndarray of shape (n_samples,)
            One target per row.
        """
        return self._margins(X).ravel()
