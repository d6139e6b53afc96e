"""``SGDClassifier`` and ``SGDRegressor`` of scikit-learn, to the letter, on our loops.

Signatures, attributes, errors and models are those of scikit-learn 1.9, whatever
version is installed: the classes do not derive from scikit-learn's, which differ
between versions.
"""

from numbers import Integral

import numpy as np
from scipy.special import expit
from sklearn.base import _fit_context
from sklearn.utils import check_random_state, compute_class_weight
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import _check_partial_fit_first_call
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import check_is_fitted, validate_data

from sgdest._core.labels import encode, take
from sgdest._core.losses import LOSSES
from sgdest._core.plain_sgd import Examples
from sgdest._plain_sgd import (
    DEFAULT_EPSILON,
    REGRESSION_LOSSES,
    Data,
    PlainClassifierMixin,
    PlainRegressorMixin,
    PlainSGD,
)

__all__ = ["SGDClassifier", "SGDRegressor"]

LARGEST_SEED = np.iinfo(np.int32).max


class SGDClassifier(PlainClassifierMixin, PlainSGD):
    """Linear classifier fitted by stochastic gradient descent; scikit-learn's, faster.

    Equal to :class:`sklearn.linear_model.SGDClassifier` of scikit-learn 1.9 in
    parameters, attributes, errors and fitted models. Scale the data: the rate is the
    same for all features.

    Parameters
    ----------
    loss : {'hinge', 'log_loss', 'modified_huber', 'squared_hinge', 'perceptron', \
            'squared_error', 'huber', 'epsilon_insensitive', \
            'squared_epsilon_insensitive'}, default='hinge'
        'hinge' is a linear support vector machine, 'log_loss' logistic regression;
        'log_loss' and 'modified_huber' give probabilities. The last four are losses
        for regression, on targets -1 and 1.
    penalty : {'l2', 'l1', 'elasticnet', None}, default='l2'
        What is added to the mean loss, times `alpha`.
    alpha : float in [0, inf), default=0.0001
        Strength of the penalty; also sets the rate when `learning_rate='optimal'`,
        where it must be positive.
    l1_ratio : float in [0, 1] or None, default=0.15
        Share of the L1 norm in 'elasticnet'. None is allowed for other penalties.
    fit_intercept : bool, default=True
        Whether to fit an intercept. On sparse data it moves at a hundredth of the rate.
    max_iter : int >= 1, default=1000
        Largest number of epochs of `fit`; `partial_fit` always makes one.
    tol : float >= 0 or None, default=1e-3
        `fit` stops when `n_iter_no_change` epochs in a row improve the objective (or
        the validation score) by less than this. None: it makes `max_iter` epochs.
    shuffle : bool, default=True
        Whether every epoch visits the rows in another order.
    verbose : int >= 0, default=0
        Print progress after every epoch when positive.
    epsilon : float >= 0, default=0.1
        Where 'huber' turns linear; the errors that the epsilon-insensitive losses
        ignore.
    n_jobs : int or None, default=None
        Threads over the classes when there are more than two; None is 1 unless in a
        :obj:`joblib.parallel_backend` context, -1 all processors.
    random_state : int, RandomState instance or None, default=None
        Seeds the shuffles and the validation split.
    learning_rate : {'constant', 'optimal', 'invscaling', 'adaptive', 'pa1', 'pa2'}, \
            default='optimal'
        The rate eta of update number t: 'constant' `eta0`; 'optimal'
        `1 / (alpha (t + t0))`; 'invscaling' `eta0 / t**power_t`; 'adaptive' `eta0`,
        divided by 5 instead of stopping until it is below 1e-6. 'pa1' and 'pa2' are
        the passive-aggressive updates [1]_, for 'hinge' only:
        `min(eta0, loss / ||x||^2)` and `loss / (||x||^2 + 1 / (2 eta0))`.
    eta0 : float > 0, default=0.01
        Initial rate; the aggressiveness C of 'pa1' and 'pa2'.
    power_t : float, default=0.5
        Exponent of 'invscaling'. Negative values are deprecated.
    early_stopping : bool, default=False
        Whether to stop by the accuracy on a stratified part of the data that is held
        out. Not for `partial_fit`.
    validation_fraction : float in (0, 1), default=0.1
        Share of the rows held out.
    n_iter_no_change : int >= 1, default=5
        Epochs without progress before `fit` stops.
    class_weight : dict, 'balanced' or None, default=None
        Weights of the classes, multiplied with `sample_weight`. 'balanced' is
        `n_samples / (n_classes * np.bincount(y))`; not for `partial_fit`.
    warm_start : bool, default=False
        Whether `fit` starts from the parameters of the last call.
    average : bool or int >= 1, default=False
        Whether `coef_` is the average over all updates; an int: from that update on.

    Attributes
    ----------
    coef_ : ndarray of shape (1, n_features) or (n_classes, n_features)
        Weights, of the type of X; one row if there are two classes.
    intercept_ : ndarray of shape (1,) or (n_classes,)
        Intercepts.
    n_iter_ : int
        Epochs made; the largest number over the classes.
    t_ : float
        Updates made, plus one: ``n_iter_ * n_samples + 1``.
    classes_ : ndarray of shape (n_classes,)
        Labels, sorted.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Their names, if X has names that are all strings.

    See Also
    --------
    SGDRegressor : The same for real targets.
    sklearn.linear_model.SGDClassifier : The class that this one replaces.

    Notes
    -----
    On CSR data the objective that stops `fit` uses the norm of all weights;
    scikit-learn's uses only those that the last row touched, so `n_iter_` may differ.

    References
    ----------
    .. [1] K. Crammer, O. Dekel, J. Keshet, S. Shalev-Shwartz, Y. Singer, "Online
       Passive-Aggressive Algorithms", JMLR 7, 2006.
       https://jmlr.org/papers/v7/crammer06a.html

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from sgdest.compat import SGDClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> model = make_pipeline(StandardScaler(), SGDClassifier(random_state=0))
    >>> model.fit(X, y).predict(X[:3])
    array([0, 0, 0])
    """

    loss_functions = {
        "hinge": (LOSSES["hinge"],),
        "squared_hinge": (LOSSES["squared_hinge"],),
        "perceptron": (LOSSES["perceptron"],),
        "log_loss": (LOSSES["log_loss"],),
        "modified_huber": (LOSSES["modified_huber"],),
        **REGRESSION_LOSSES,
    }

    _parameter_constraints: dict = {
        **PlainSGD._parameter_constraints,
        "loss": [StrOptions(set(loss_functions))],
        "n_jobs": [Integral, None],
        "class_weight": [StrOptions({"balanced"}), dict, None],
    }

    def __init__(
        self,
        loss="hinge",
        *,
        penalty="l2",
        alpha=0.0001,
        l1_ratio=0.15,
        fit_intercept=True,
        max_iter=1000,
        tol=1e-3,
        shuffle=True,
        verbose=0,
        epsilon=DEFAULT_EPSILON,
        n_jobs=None,
        random_state=None,
        learning_rate="optimal",
        eta0=0.01,
        power_t=0.5,
        early_stopping=False,
        validation_fraction=0.1,
        n_iter_no_change=5,
        class_weight=None,
        warm_start=False,
        average=False,
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

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, coef_init=None, intercept_init=None, sample_weight=None):
        """Fit the model.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Training data. float32 and float64 are used as they are.
        y : array-like of shape (n_samples,)
            Labels: numbers or strings.
        coef_init : array-like of the shape of `coef_`, default=None
            Weights to start from; zero by default.
        intercept_init : array-like of the shape of `intercept_`, default=None
            Intercepts to start from; zero by default.
        sample_weight : array-like of shape (n_samples,), default=None
            Factor of the step of each row; 1 by default.

        Returns
        -------
        self : object
            The fitted estimator.
        """
        self._check_combinations()
        if hasattr(self, "classes_"):
            del self.classes_
        y = validate_data(self, y=y)
        if self.warm_start and hasattr(self, "coef_"):
            coef_init = self.coef_ if coef_init is None else coef_init
            intercept_init = (
                self.intercept_ if intercept_init is None else intercept_init
            )
        else:
            self.coef_ = self.intercept_ = None
        self.t_ = 1.0
        start = coef_init, intercept_init
        self._train(X, y, lambda labels: labels, sample_weight, start, self.max_iter)
        self._warn()
        return self

    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y, classes=None, sample_weight=None):
        """Make one epoch over the rows given.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows to learn from.
        y : array-like of shape (n_samples,)
            Their labels.
        classes : array-like of shape (n_classes,), default=None
            All labels that may occur. Needed in the first call.
        sample_weight : array-like of shape (n_samples,), default=None
            Factor of the step of each row; 1 by default.

        Returns
        -------
        self : object
            The estimator.
        """
        if not hasattr(self, "classes_"):
            self._check_combinations(for_partial_fit=True)
            if self.class_weight == "balanced":
                raise ValueError(
                    "class_weight 'balanced' is not supported for partial_fit. In "
                    "order to use 'balanced' weights, use "
                    "compute_class_weight('balanced', classes=classes, y=y). In place "
                    "of y you can use a large enough sample of the full training set "
                    "target to properly estimate the class frequency distributions. "
                    "Pass the resulting weights as the class_weight parameter."
                )
        return self._train(X, y, lambda _: classes, sample_weight, (None, None), 1)

    def _train(self, X, y, classes_of, sample_weight, start, max_iter):
        """Check everything, then fit one output or one per class.

        ``classes_of`` turns the labels that occur in y into the classes to learn.
        """
        X, y = self._validated(X, y, reset=not hasattr(self, "classes_"))
        self._undo_sparsify()
        labels, codes = encode(y)
        _check_partial_fit_first_call(self, classes_of(labels))
        n_classes, n_features = self.classes_.shape[0], X.shape[1]
        class_weight = np.ones(n_classes)
        if self.class_weight is not None or not np.isin(labels, self.classes_).all():
            class_weight = compute_class_weight(
                self.class_weight,
                classes=self.classes_,
                # each label counts only where weights are balanced
                y=y if isinstance(self.class_weight, str) else labels,
            )
        # with early stopping the split below has the better message
        sample_weight = self._validated_weights(
            sample_weight, X, zeros_allowed=self.early_stopping
        )
        if getattr(self, "coef_", None) is None or start[0] is not None:
            shape = (n_classes, n_features) if n_classes > 2 else (n_features,)
            self._allocate(shape, X.dtype, *start)
        elif self.average and getattr(self, "_average_coef", None) is None:
            self._begin_average(X.dtype)
        if n_classes < 2:
            raise ValueError(
                "The number of classes has to be greater than one; got "
                f"{n_classes} class"
            )
        if not hasattr(self, "t_"):
            self.t_ = 1.0
        data = Data(X, sample_weight)
        data.labels, data.codes = labels, codes
        fit = self._fit_binary if n_classes == 2 else self._fit_one_versus_rest
        outputs, self.n_iter_ = fit(data, y, class_weight, max_iter)
        self.t_ += self.n_iter_ * X.shape[0]
        self._store(outputs, X.dtype)
        return self

    def _fit_binary(self, data, y, class_weight, max_iter):
        random_state = check_random_state(self.random_state)
        _ = random_state.randint(1, LARGEST_SEED)  # a draw of scikit-learn's dataset
        data.held_out = self._held_out(y, data.sample_weight)
        seed = random_state.randint(LARGEST_SEED)
        weights = self._weights(0, data.X.dtype)
        n_iter = self._fit_output(
            data, self.classes_[1], weights, class_weight[::-1], seed, max_iter
        )
        return [weights], n_iter

    def _fit_one_versus_rest(self, data, y, class_weight, max_iter):
        """One classifier per class, in threads; the loop releases the GIL."""
        # the split and all seeds come from here: threads must not share random_state
        data.held_out = self._held_out(y, data.sample_weight)
        random_state = check_random_state(self.random_state)
        seeds = []
        for seed in random_state.randint(LARGEST_SEED, size=len(self.classes_)):
            own = np.random.RandomState(seed)
            _ = own.randint(1, LARGEST_SEED)  # a draw of scikit-learn's dataset
            seeds.append(own.randint(LARGEST_SEED))
        outputs = [self._weights(k, data.X.dtype) for k in range(len(self.classes_))]
        n_iters = Parallel(
            n_jobs=self.n_jobs, verbose=self.verbose, require="sharedmem"
        )(
            delayed(self._fit_output)(
                data, label, weights, (class_weight[k], 1.0), seeds[k], max_iter
            )
            for k, (label, weights) in enumerate(zip(self.classes_, outputs))
        )
        return outputs, max(n_iters)

    def _fit_output(self, data, label, weights, side_weights, seed, max_iter):
        """Fit ``label`` against the rest; the result is in ``weights``."""
        is_positive = data.labels == label
        negative_target = 0.0 if self.loss == "log_loss" else -1.0
        y = take(np.where(is_positive, 1.0, negative_target), data.codes)
        s = data.sample_weight
        if tuple(side_weights) != (1.0, 1.0):
            sides = take(np.where(is_positive, *side_weights), data.codes)
            s = sides if s is None else s * sides
        # The validation score compares y with -1 and 1 even where y is 0 and 1, so that
        # negatives count as errors: scikit-learn's models depend on it.
        score = self._score_of(data, y, classes=np.array([-1.0, 1.0]))
        examples = Examples(
            data.rows, y, s, data.held_out, seed if self.shuffle else None
        )
        return self._descend(examples, weights, score, max_iter)

    def _store(self, outputs, dtype):
        """Turn the results of the loop into attributes."""
        several = len(outputs) > 1
        coef = np.array([weights.coef for weights in outputs], dtype=dtype)
        intercept = np.array([weights.intercept for weights in outputs])
        intercept = intercept.astype(dtype) if several else intercept
        if not self.average:
            self.coef_, self.intercept_ = coef, intercept
            return
        averages = np.array([weights.average_coef for weights in outputs], dtype=dtype)
        self._standard_coef = coef if several else coef[0]
        self._average_coef = averages if several else averages[0]
        self._average_intercept[:] = [weights.average_intercept for weights in outputs]
        if self.average > self.t_ - 1.0:
            self._standard_intercept = intercept
            self.coef_, self.intercept_ = coef, intercept
            return
        # What the next partial_fit starts from is scikit-learn's choice: with several
        # classes it writes into `intercept_`, which is the last intercepts at first and
        # their averages later; with two it keeps the intercept it began with.
        if several:
            self.intercept_[:] = intercept
        self.coef_, self.intercept_ = averages, self._average_intercept

    def _check_proba(self):
        if self.loss not in ("log_loss", "modified_huber"):
            raise AttributeError(
                f"probability estimates are not available for loss={self.loss!r}"
            )
        return True

    @available_if(_check_proba)
    def predict_proba(self, X):
        """Probabilities of the classes, for 'log_loss' and 'modified_huber'.

        Two classes: the logistic function of z, or ``(clip(z, -1, 1) + 1) / 2``, where
        z is the decision function. More: the same for each class against the rest,
        divided by their sum (Zadrozny, Elkan, KDD 2002).

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Data.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Columns in the order of `classes_`.
        """
        check_is_fitted(self)
        z = self.decision_function(X)
        p = expit(z) if self.loss == "log_loss" else (np.clip(z, -1, 1) + 1.0) / 2.0
        if p.ndim == 1:
            return np.column_stack([1.0 - p, p])
        total = p.sum(axis=1, keepdims=True)
        # where no class has any: all the same
        p[total[:, 0] == 0] = 1.0
        total[total == 0] = p.shape[1]
        return p / total

    @available_if(_check_proba)
    def predict_log_proba(self, X):
        """Logarithms of `predict_proba`; of 'modified_huber' some may be infinite.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Data.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Columns in the order of `classes_`.
        """
        return np.log(self.predict_proba(X))


class SGDRegressor(PlainRegressorMixin, PlainSGD):
    """Linear regression fitted by stochastic gradient descent; scikit-learn's, faster.

    Equal to :class:`sklearn.linear_model.SGDRegressor` of scikit-learn 1.9 in
    parameters, attributes, errors and fitted models. Scale the data: the rate is the
    same for all features.

    Parameters
    ----------
    loss : {'squared_error', 'huber', 'epsilon_insensitive', \
            'squared_epsilon_insensitive'}, default='squared_error'
        'huber' is quadratic up to `epsilon` and linear beyond; the epsilon-insensitive
        losses ignore errors up to `epsilon`.
    penalty : {'l2', 'l1', 'elasticnet', None}, default='l2'
        What is added to the mean loss, times `alpha`.
    alpha : float in [0, inf), default=0.0001
        Strength of the penalty; also sets the rate when `learning_rate='optimal'`,
        where it must be positive.
    l1_ratio : float in [0, 1] or None, default=0.15
        Share of the L1 norm in 'elasticnet'. None is allowed for other penalties.
    fit_intercept : bool, default=True
        Whether to fit an intercept. On sparse data it moves at a hundredth of the rate.
    max_iter : int >= 1, default=1000
        Largest number of epochs of `fit`; `partial_fit` always makes one.
    tol : float >= 0 or None, default=1e-3
        `fit` stops when `n_iter_no_change` epochs in a row improve the objective (or
        the validation score) by less than this. None: it makes `max_iter` epochs.
    shuffle : bool, default=True
        Whether every epoch visits the rows in another order.
    verbose : int >= 0, default=0
        Print progress after every epoch when positive.
    epsilon : float >= 0, default=0.1
        Where 'huber' turns linear; the errors that the epsilon-insensitive losses
        ignore.
    random_state : int, RandomState instance or None, default=None
        Seeds the shuffles and the validation split.
    learning_rate : {'constant', 'optimal', 'invscaling', 'adaptive', 'pa1', 'pa2'}, \
            default='invscaling'
        The rate eta of update number t: 'constant' `eta0`; 'optimal'
        `1 / (alpha (t + t0))`; 'invscaling' `eta0 / t**power_t`; 'adaptive' `eta0`,
        divided by 5 instead of stopping until it is below 1e-6. 'pa1' and 'pa2' are
        the passive-aggressive updates [1]_, for 'epsilon_insensitive' only:
        `min(eta0, loss / ||x||^2)` and `loss / (||x||^2 + 1 / (2 eta0))`.
    eta0 : float > 0, default=0.01
        Initial rate; the aggressiveness C of 'pa1' and 'pa2'.
    power_t : float, default=0.25
        Exponent of 'invscaling'. Negative values are deprecated.
    early_stopping : bool, default=False
        Whether to stop by R^2 on a part of the data that is held out. Not for
        `partial_fit`.
    validation_fraction : float in (0, 1), default=0.1
        Share of the rows held out.
    n_iter_no_change : int >= 1, default=5
        Epochs without progress before `fit` stops.
    warm_start : bool, default=False
        Whether `fit` starts from the parameters of the last call.
    average : bool or int >= 1, default=False
        Whether `coef_` is the average over all updates; an int: from that update on.

    Attributes
    ----------
    coef_ : ndarray of shape (n_features,)
        Weights, of the type of X.
    intercept_ : ndarray of shape (1,)
        Intercept.
    n_iter_ : int
        Epochs made.
    t_ : float
        Updates made, plus one: ``n_iter_ * n_samples + 1``.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Their names, if X has names that are all strings.

    See Also
    --------
    SGDClassifier : The same for class labels.
    sklearn.linear_model.SGDRegressor : The class that this one replaces.

    Notes
    -----
    On CSR data the objective that stops `fit` uses the norm of all weights;
    scikit-learn's uses only those that the last row touched, so `n_iter_` may differ.

    References
    ----------
    .. [1] K. Crammer, O. Dekel, J. Keshet, S. Shalev-Shwartz, Y. Singer, "Online
       Passive-Aggressive Algorithms", JMLR 7, 2006.
       https://jmlr.org/papers/v7/crammer06a.html

    Examples
    --------
    >>> from sklearn.datasets import make_regression
    >>> from sgdest.compat import SGDRegressor
    >>> X, y = make_regression(n_features=2, random_state=0)
    >>> SGDRegressor(random_state=0).fit(X, y).score(X, y) > 0.99
    True
    """

    loss_functions = REGRESSION_LOSSES

    _parameter_constraints: dict = {
        **PlainSGD._parameter_constraints,
        "loss": [StrOptions(set(loss_functions))],
    }

    def __init__(
        self,
        loss="squared_error",
        *,
        penalty="l2",
        alpha=0.0001,
        l1_ratio=0.15,
        fit_intercept=True,
        max_iter=1000,
        tol=1e-3,
        shuffle=True,
        verbose=0,
        epsilon=DEFAULT_EPSILON,
        random_state=None,
        learning_rate="invscaling",
        eta0=0.01,
        power_t=0.25,
        early_stopping=False,
        validation_fraction=0.1,
        n_iter_no_change=5,
        warm_start=False,
        average=False,
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
        self.random_state = random_state
        self.learning_rate = learning_rate
        self.eta0 = eta0
        self.power_t = power_t
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.warm_start = warm_start
        self.average = average

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, coef_init=None, intercept_init=None, sample_weight=None):
        """Fit the model.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Training data. float32 and float64 are used as they are.
        y : array-like of shape (n_samples,)
            Targets.
        coef_init : array-like of shape (n_features,), default=None
            Weights to start from; zero by default. Ignored by a warm start.
        intercept_init : array-like of shape (1,), default=None
            Intercept to start from; zero by default. Ignored by a warm start.
        sample_weight : array-like of shape (n_samples,), default=None
            Factor of the step of each row; 1 by default.

        Returns
        -------
        self : object
            The fitted estimator.
        """
        self._check_combinations()
        if not self.warm_start or getattr(self, "coef_", None) is None:
            self.coef_ = self.intercept_ = None
        self.t_ = 1.0
        start = coef_init, intercept_init
        self._train(X, y, sample_weight, start, self.max_iter)
        self._warn()
        return self

    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y, sample_weight=None):
        """Make one epoch over the rows given.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows to learn from.
        y : array-like of shape (n_samples,)
            Their targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Factor of the step of each row; 1 by default.

        Returns
        -------
        self : object
            The estimator.
        """
        if not hasattr(self, "coef_"):
            self._check_combinations(for_partial_fit=True)
        return self._train(X, y, sample_weight, (None, None), max_iter=1)

    def _train(self, X, y, sample_weight, start, max_iter):
        """Check everything, fit, and store the result."""
        first = getattr(self, "coef_", None) is None
        X, y = self._validated(X, y, reset=first)
        self._undo_sparsify()
        y = y.astype(X.dtype, copy=False)
        data = Data(X, self._validated_weights(sample_weight, X))
        if first:
            self._allocate((X.shape[1],), X.dtype, *start)
        elif self.average and getattr(self, "_average_coef", None) is None:
            self._begin_average(X.dtype)
        if not hasattr(self, "t_"):
            self.t_ = 1.0
        data.held_out = self._held_out(y, data.sample_weight)
        random_state = check_random_state(self.random_state)
        seed = random_state.randint(0, LARGEST_SEED)
        _ = random_state.randint(1, LARGEST_SEED)  # a draw of scikit-learn's dataset
        examples = Examples(
            data.rows,
            y,
            data.sample_weight,
            data.held_out,
            seed if self.shuffle else None,
        )
        weights = self._weights(0, X.dtype)
        score = self._score_of(data, y)
        self.n_iter_ = self._descend(examples, weights, score, max_iter)
        self.t_ += self.n_iter_ * X.shape[0]
        self._store(weights, X.dtype)
        return self

    def _store(self, weights, dtype):
        """Turn the results of the loop into attributes."""
        self.coef_ = weights.coef.astype(dtype)
        self.intercept_ = np.atleast_1d(weights.intercept)
        if not self.average:
            return
        self._standard_coef, self._standard_intercept = self.coef_, self.intercept_
        self._average_coef = weights.average_coef.astype(dtype)
        self._average_intercept = np.atleast_1d(weights.average_intercept)
        if self.average <= self.t_ - 1.0:
            self.coef_, self.intercept_ = self._average_coef, self._average_intercept
