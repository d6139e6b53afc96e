"""GDClassifier: a linear model for classes."""

import numpy as np
from scipy.special import expit, softmax
from sklearn.base import ClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.utils.metaestimators import available_if

from sgdest import _validation as validation
from sgdest._base import GDBase, all_or_nothing
from sgdest._core.labels import encode, take
from sgdest._core.rows import as_rows
from sgdest._core.stream_state import state_with_outputs
from sgdest.losses import Loss, facts_of, is_written, name_of, predictions


def _has_probabilities(estimator):
    """Whether the loss has probabilities; the error says which losses do."""
    if is_written(estimator.loss):
        own = type(estimator.loss).inverse_link is not Loss.inverse_link
        if own or estimator.loss.link == "logit":
            return True
        raise AttributeError(
            f"{type(estimator.loss).__name__} has no probabilities; give it an inverse_link(z), "
            "the probability of the second class, or use CalibratedClassifierCV."
        )
    if name_of(estimator.loss) not in ("log_loss", "modified_huber"):
        raise AttributeError(
            f"probability estimates are not available for loss={estimator.loss!r}; use "
            "loss='log_loss' or 'modified_huber', or CalibratedClassifierCV."
        )
    return True


class GDClassifier(ClassifierMixin, GDBase):
    """Linear classifier, minimising a penalised loss by gradient descent.

    The objective is ``sum_i s_i loss(y_i, x_i w + b) / sum_i s_i + alpha * penalty(w)``, with
    ``s_i`` the sample weight times the class weight. At the defaults ``fit`` solves it to the
    tolerance ``tol`` on raw columns of any scale, and ``partial_fit`` learns from a stream; there
    is no rate to choose. Setting ``learning_rate``, ``batch_size`` or ``average`` means
    stochastic gradient descent with them.

    Parameters
    ----------
    loss : str or sgdest.losses.Loss, default="log_loss"
        "log_loss" (logistic regression; softmax for more than two classes), "hinge" (support
        vector machine), "squared_hinge", "smooth_hinge", "modified_huber", "perceptron"; also
        the regression losses "squared_error", "huber", "epsilon_insensitive" and
        "squared_epsilon_insensitive", on labels -1 and 1; or a loss of one's own, a subclass of
        ``losses.Loss``. Other losses than "log_loss" treat more than two classes as one versus
        the rest.
    penalty : {"l2", "l1", "elasticnet", None}, default="l2"
        ``sum w_j^2 / 2``, ``sum |w_j|``, or both mixed by ``l1_ratio``. The intercept is never
        penalised.
    alpha : float >= 0, default=1e-4
        Strength of the penalty. ``LogisticRegression(C)`` corresponds to
        ``alpha = 1 / (C * sum of sample weights)``.
    l1_ratio : float in [0, 1], default=0.15
        Share of L1 in "elasticnet".
    fit_intercept : bool, default=True
        Whether the model has an intercept.
    max_iter : int >= 1, default=1000
        Most passes over the data, for every method.
    tol : float >= 0 or None, default=1e-4
        A solver stops when its estimate of the relative suboptimality
        ``(F - F*) / (F_0 - F*)`` is at most ``tol``, with F_0 the objective of the best constant
        model; below 20,000 stored values it runs to rounding. A step method stops when
        ``n_iter_no_change`` passes in a row improve the objective by less than ``tol * F_0``
        in all. None: run ``max_iter`` passes.
    shuffle : bool, default=True
        Whether step methods visit the rows in a new random order in every pass.
    verbose : int, default=0
        Print one line per epoch if not 0: objective, validation score, rate, norm of the
        gradient, rows per second, seconds elapsed.
    epsilon : float >= 0, default=0.1
        Parameter of "huber", "epsilon_insensitive" and "squared_epsilon_insensitive".
    n_jobs : int or None, default=None
        Threads of the compiled loops, as in joblib; None: as many as are useful and usable.
        The model does not depend on it.
    random_state : int, RandomState instance or None, default=None
        Seed of the shuffles and of the validation split.
    learning_rate : "auto", str, float > 0, Schedule or callable, default="auto"
        "auto": no rate to choose; it is taken from the data, in scaled and (dense X) centred
        columns, and falls to zero in the second half of the ``max_iter`` passes of a ``fit``.
        The first call of ``partial_fit`` decides it for a stream: it should show all columns.
        "constant", "optimal", "invscaling", "adaptive", "pa1", "pa2": scikit-learn's formulas. A
        float: that rate. A callable: maps the number of the update, t = 1, 2, .., to the rate.
    eta0 : float > 0 or None, default=None
        Parameter of the formulas; None means 0.01.
    power_t : float or None, default=None
        Exponent of "invscaling"; None means 0.5.
    early_stopping : "auto" or bool, default="auto"
        Whether to watch a score on held-out rows, stop when it no longer improves, and keep the
        best weights. "auto": if ``X_val`` is given to ``fit``.
    validation_fraction : float in (0, 1), default=0.1
        Share of the rows held out by ``early_stopping=True`` if ``X_val`` is not given.
    n_iter_no_change : int >= 1, default=5
        Epochs without improvement before stopping.
    class_weight : dict, "balanced" or None, default=None
        Weight of each class; "balanced" weighs by the inverse of the class's summed weight,
        counted so far in ``partial_fit``.
    warm_start : bool, default=False
        Whether ``fit`` starts from the coefficients of the fit before.
    average : bool or int, default=False
        Whether to average the coefficients over the updates; an integer: from that update on.
    optimizer : str or sgdest.optimizers.Optimizer, default="auto"
        "auto": a solver in ``fit``, a streaming method in ``partial_fit``. Step methods: "sgd",
        "gd" (descent on the whole set), "momentum", "nesterov", "adagrad", "rmsprop", "adam",
        "amsgrad", "ftrl". Others: "saga", "lbfgs", "normalized_adaptive". Or an optimizer object.
    batch_size : "auto", int >= 1 or None, default="auto"
        Rows per step of a step method; None: all rows. "auto": 1 for "sgd", 256 for the others.
    positive : bool, default=False
        Whether to keep the coefficients >= 0.
    penalty_weights : None, array-like of shape (n_features,) or "scale", default=None
        Factor c_j >= 0 per feature: L1 becomes ``sum c_j |w_j|``, L2 ``sum c_j^2 w_j^2 / 2``.
        "scale": the standard deviations of the columns, which penalises as on standardised
        columns.
    scoring : "loss", str, callable or None, default="loss"
        What early stopping watches: the loss, a scorer, or the ``score`` method (None).

    Attributes
    ----------
    coef_ : ndarray of shape (1, n_features) or (n_classes, n_features)
        Coefficients; read-only. Assigning them takes effect in the next ``partial_fit``.
    intercept_ : ndarray of shape (1,) or (n_classes,)
        Intercepts; read-only, likewise.
    classes_ : ndarray of shape (n_classes,)
        The labels.
    n_iter_ : int
        Passes over the data, rounded up.
    t_ : float
        Updates.
    loss_curve_ : ndarray of shape (n_epochs,)
        The objective of each epoch; for step methods the mean loss of the rows before their
        updates plus the penalty; of each call of ``partial_fit`` that loss alone. It goes on over
        ``partial_fit`` and warm starts. ``callbacks.RecordObjective`` records exact values.
    validation_scores_ : ndarray of shape (n_epochs,) or None
        Scores on the held-out rows, higher is better.
    best_validation_score_ : float
        The best of them, where there are any.
    best_epoch_ : int
        The epoch whose weights were kept, counted from 1 over the whole history.
    history_ : dict of ndarrays of equal length
        epoch, objective, validation, learning_rate, gradient_norm (NaN where there is none),
        seconds and rows (both since the start); ready for ``pandas.DataFrame``. For one versus the
        rest also objective_per_class: an array per epoch.
    converged_ : bool
        Whether the stopping rule was met.
    suboptimality_ : float
        Estimated relative suboptimality; NaN where the method has no estimate.
    optimizer_ : object
        What ran, and why.
    optimizer_state_ : dict
        Named arrays with which ``partial_fit`` goes on.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of the features, if X had names.

    See Also
    --------
    GDRegressor : The same for numbers.
    sgdest.compat.SGDClassifier : scikit-learn's own algorithm, to the letter.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sgdest import GDClassifier
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> model = GDClassifier(alpha=0.01).fit(X, y)
    >>> round(model.score(X, y), 2)
    0.96
    """

    _parameter_constraints = validation.CLASSIFIER_PARAMETERS
    _default_power_t = 0.5
    _joint_if_many = True
    _is_regressor = False

    def __init__(
        self,
        loss="log_loss",
        *,
        penalty="l2",
        alpha=0.0001,
        l1_ratio=0.15,
        fit_intercept=True,
        max_iter=1000,
        tol=1e-4,
        shuffle=True,
        verbose=0,
        epsilon=0.1,
        n_jobs=None,
        random_state=None,
        learning_rate="auto",
        eta0=None,
        power_t=None,
        early_stopping="auto",
        validation_fraction=0.1,
        n_iter_no_change=5,
        class_weight=None,
        warm_start=False,
        average=False,
        optimizer="auto",
        batch_size="auto",
        positive=False,
        penalty_weights=None,
        scoring="loss",
    ):
        self.loss = loss
        self.penalty = penalty
        self.alpha = alpha
        self.l1_ratio = l1_ratio
        self.fit_intercept = fit_intercept
        self.max_iter = max_iter
        self.tol = tol
        self.shuffle = shuffle
        self.verbose = verbose
        self.epsilon = epsilon
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.learning_rate = learning_rate
        self.eta0 = eta0
        self.power_t = power_t
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.class_weight = class_weight
        self.warm_start = warm_start
        self.average = average
        self.optimizer = optimizer
        self.batch_size = batch_size
        self.positive = positive
        self.penalty_weights = penalty_weights
        self.scoring = scoring

    # -- hooks of the base -------------------------------------------------------------------

    def _n_outputs(self):
        return 1 if len(self.classes_) == 2 else len(self.classes_)

    def _shaped_coef(self, W):
        return W.T

    def _shaped_intercept(self, b):
        return b

    def _learn_targets(self, y):
        labels, codes = validation.encoded_labels(y)
        self.classes_ = validation.check_several(labels)
        self._class_totals = np.zeros(len(self.classes_))
        return self._coded_targets(np.arange(len(labels)), codes)

    def _targets(self, y):
        labels, codes = encode(y)
        return self._coded_targets(validation.check_known_labels(labels, self.classes_), codes)

    def _coded_targets(self, numbers, codes):
        """Targets of rows whose labels have these numbers among the classes."""
        if self._n_outputs() > 1 or facts_of(self.loss).targets == "binary":
            return take(numbers, codes)
        return take(2.0 * numbers - 1.0, codes)

    def _weights(self, y, sample_weight):
        if self.class_weight is None:
            return sample_weight
        labels, codes = encode(y)
        weights = validation.class_weights(
            self.class_weight, self.classes_, self._class_totals)
        weights = take(weights[np.searchsorted(self.classes_, labels)], codes)
        return weights if sample_weight is None else weights * sample_weight

    def _count(self, y, sample_weight):
        if self.class_weight != "balanced":
            return
        labels, codes = encode(y)
        totals = np.bincount(codes, weights=sample_weight, minlength=len(labels))
        self._class_totals = self._class_totals.copy()
        self._class_totals[np.searchsorted(self.classes_, labels)] += totals

    # -- learning ----------------------------------------------------------------------------

    @all_or_nothing
    def fit(
        self,
        X,
        y,
        sample_weight=None,
        *,
        coef_init=None,
        intercept_init=None,
        X_val=None,
        y_val=None,
        sample_weight_val=None,
    ):
        """Learn the model from all rows.

        Parameters
        ----------
        X : {array-like, sparse array} of shape (n_samples, n_features)
            Dense float64, float32, uint8, int8 (C order) and CSR are used in place; everything
            else is converted once.
        y : array-like of shape (n_samples,)
            Labels.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights >= 0. A weight of k is the same as k copies of the row.
        coef_init : array-like of the shape of ``coef_``, default=None
            Coefficients to start from.
        intercept_init : array-like of the shape of ``intercept_``, default=None
            Intercepts to start from.
        X_val, y_val, sample_weight_val : the same as X, y, sample_weight, default=None
            Validation data for early stopping.

        Returns
        -------
        self : the fitted estimator

        Raises
        ------
        ValueError
            If a parameter or the data is not allowed; the message says which, and what is.
        """
        validation.check_parameters(self, streaming=False)
        held_out = (X_val, y_val, sample_weight_val)
        return self._fit(X, y, sample_weight, coef_init, intercept_init, held_out)

    @all_or_nothing
    def partial_fit(self, X, y, classes=None, sample_weight=None):
        """Go on learning with one pass over these rows.

        Parameters
        ----------
        X : {array-like, sparse array} of shape (n_samples, n_features)
            Rows.
        y : array-like of shape (n_samples,)
            Labels.
        classes : array-like of shape (n_classes,), default=None
            All labels that may occur. Needed in the first call on a model that is not fitted;
            later, more labels than before add classes.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights >= 0. If all are zero, nothing happens.

        Returns
        -------
        self : the fitted estimator

        Raises
        ------
        ValueError
            If a parameter or the data is not allowed; the model stays as it was.
        """
        validation.check_parameters(self, streaming=True)
        first = not self.__sklearn_is_fitted__()
        if first and classes is None:
            raise ValueError("classes must be passed on the first call to partial_fit.")
        X, y = validation.check_data(self, X, y, reset=first)
        rows = as_rows(X)
        found, codes = validation.encoded_labels(y)
        sample_weight = validation.check_sample_weight(sample_weight, X)
        labels = self._stream_classes(first, classes)
        numbers = validation.check_known_labels(found, labels)
        if first:
            self.classes_, self._class_totals = labels, np.zeros(len(labels))
            self._begin_stream(X.shape[1])
        elif len(labels) > len(self.classes_):
            self._grow(labels)
        targets = self._coded_targets(numbers, codes)
        self._count(y, sample_weight)
        weights = self._weights(y, sample_weight)
        return self._learn_batch(rows, targets, weights)

    def _stream_classes(self, first, classes):
        """The labels from this call on."""
        if first:
            return validation.check_classes(classes)
        if classes is None:
            return self.classes_
        classes = np.unique(classes)
        if not np.isin(self.classes_, classes).all():
            raise ValueError(
                f"`classes={classes.tolist()!r}` is not the same as on last call to "
                f"partial_fit, was: {self.classes_.tolist()!r}; classes can be added, but not "
                "taken away."
            )
        return classes

    def _grow(self, labels):
        """Add outputs for new labels, which start at zero (at two classes: as far as both)."""
        W, b = self._settled()
        self._streak_to_state()
        old = np.searchsorted(labels, self.classes_)
        change = np.zeros((len(b), len(labels)))
        if len(self.classes_) == 2:
            # sigma(z) is softmax(-z/2, z/2); for one versus the rest the margins are -z and z
            half = 0.5 if name_of(self.loss) == "log_loss" else 1.0
            change[0, old] = -half, half
        else:
            change[range(len(old)), old] = 1.0
        self._W, self._b = W @ change, b @ change
        if "experts" in self._state:
            self._state = state_with_outputs(self._state, change)
        else:
            weights = [n for n in self._state if n.endswith(("_coef", "_intercept"))]
            self._state = dict(self._state, **{n: self._state[n] @ change for n in weights})
        totals = np.zeros(len(labels))
        totals[old] = self._class_totals
        self._class_totals = totals
        self.classes_ = labels

    # -- predicting --------------------------------------------------------------------------

    def decision_function(self, X):
        """Raw predictions ``X @ coef_.T + intercept_``.

        Parameters
        ----------
        X : {array-like, sparse array} of shape (n_samples, n_features)

        Returns
        -------
        scores : ndarray of shape (n_samples,) or (n_samples, n_classes)
            For two classes, of the second one.
        """
        z = self._margins(X)
        return z[:, 0] if z.shape[1] == 1 else z

    def predict(self, X):
        """Labels with the largest score.

        Parameters
        ----------
        X : {array-like, sparse array} of shape (n_samples, n_features)

        Returns
        -------
        labels : ndarray of shape (n_samples,)
        """
        z = self._margins(X)
        codes = (z[:, 0] > 0).astype(np.intp) if z.shape[1] == 1 else z.argmax(axis=1)
        return self.classes_.take(codes)

    def score(self, X, y, sample_weight=None):
        """Mean accuracy of ``predict(X)``.

        Parameters
        ----------
        X : {array-like, sparse array} of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
        sample_weight : array-like of shape (n_samples,), default=None

        Returns
        -------
        score : float in [0, 1]
        """
        labels = self.predict(X)
        # accuracy_score takes longer to check plain arrays than a small fit
        kind = labels.dtype.kind
        is_plain = type(y) is np.ndarray and y.dtype.kind == kind and kind in "biuU"
        if sample_weight is None and is_plain and y.shape == labels.shape and len(y):
            return float(np.mean(y == labels))
        return accuracy_score(y, labels, sample_weight=sample_weight)

    @available_if(_has_probabilities)
    def predict_proba(self, X):
        """Probabilities of the classes, for the losses "log_loss" and "modified_huber".

        Log loss: the model's own, by the logistic function or softmax. Modified Huber loss:
        ``(clip(z, -1, 1) + 1) / 2`` (Zhang 2004), a loss of one's own: its ``inverse_link``,
        both normalised over more than two classes.

        Parameters
        ----------
        X : {array-like, sparse array} of shape (n_samples, n_features)

        Returns
        -------
        probabilities : ndarray of shape (n_samples, n_classes)
            Columns in the order of ``classes_``.
        """
        z = self._margins(X)
        if name_of(self.loss) == "log_loss":
            if z.shape[1] > 1:
                return softmax(z, axis=1)
            return np.column_stack([expit(-z[:, 0]), expit(z[:, 0])])
        if is_written(self.loss):
            p = np.clip(predictions(self.loss, z), 0.0, 1.0)
        else:
            p = (np.clip(z, -1.0, 1.0) + 1.0) / 2.0
        if p.shape[1] == 1:
            return np.hstack([1.0 - p, p])
        total = p.sum(axis=1, keepdims=True)
        # a row that every class refuses is as likely to be of any
        return np.where(total > 0, p / np.where(total > 0, total, 1.0), 1.0 / p.shape[1])

    @available_if(_has_probabilities)
    def predict_log_proba(self, X):
        """Logarithms of ``predict_proba``; exact also where the probability underflows.

        Parameters
        ----------
        X : {array-like, sparse array} of shape (n_samples, n_features)

        Returns
        -------
        log_probabilities : ndarray of shape (n_samples, n_classes)
        """
        if name_of(self.loss) != "log_loss":
            with np.errstate(divide="ignore"):
                return np.log(self.predict_proba(X))
        z = self._margins(X)
        if z.shape[1] == 1:
            z = np.hstack([np.zeros_like(z), z])
        z = z - z.max(axis=1, keepdims=True)
        return z - np.log(np.exp(z).sum(axis=1, keepdims=True))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags
