"""GDRegressor: a linear model for numbers."""

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.metrics import d2_tweedie_score, r2_score

from sgdest import _validation as validation
from sgdest._base import GDBase, all_or_nothing
from sgdest._core.rows import as_rows
from sgdest.losses import LOSSES, Loss, name_of, predictions

# kinds of targets that negative numbers are none of
POSITIVE = ("nonnegative", "positive")


class GDRegressor(RegressorMixin, GDBase):
    """Linear regression, minimising a penalised loss by gradient descent.

    The objective is ``sum_i s_i loss(y_i, x_i w + b) / sum_i s_i + alpha * penalty(w)``, with
    ``s_i`` the sample weight. At the defaults ``fit`` solves it to the tolerance ``tol`` on raw
    columns of any scale, and ``partial_fit`` learns from a stream; there is no rate to choose.
    Setting ``learning_rate``, ``batch_size`` or ``average`` means stochastic gradient descent
    with them.

    Parameters
    ----------
    loss : str or sgdest.losses.Loss, default="squared_error"
        "squared_error", "huber", "epsilon_insensitive", "squared_epsilon_insensitive",
        "absolute_error", "quantile", "log_cosh"; "poisson" (y >= 0), "gamma" (y > 0) and
        "tweedie" (y >= 0) have a log link: they predict means. Objects carry parameters:
        ``losses.Quantile(0.9)``, ``losses.Tweedie(power=1.5)``; or are losses of one's own,
        subclasses of ``losses.Loss``.
    penalty : {"l2", "l1", "elasticnet", None}, default="l2"
        ``sum w_j^2 / 2``, ``sum |w_j|``, or both mixed by ``l1_ratio``. The intercept is never
        penalised.
    alpha : float >= 0, default=1e-4
        Strength of the penalty. ``Ridge(alpha_ridge)`` corresponds to
        ``alpha = alpha_ridge / sum of sample weights``, ``Lasso`` to the same ``alpha``.
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
        Exponent of "invscaling"; None means 0.25.
    early_stopping : "auto" or bool, default="auto"
        Whether to watch a score on held-out rows, stop when it no longer improves, and keep the
        best weights. "auto": if ``X_val`` is given to ``fit``.
    validation_fraction : float in (0, 1), default=0.1
        Share of the rows held out by ``early_stopping=True`` if ``X_val`` is not given.
    n_iter_no_change : int >= 1, default=5
        Epochs without improvement before stopping.
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
    coef_ : ndarray of shape (n_features,) or (n_targets, n_features)
        Coefficients; read-only. Assigning them takes effect in the next ``partial_fit``.
    intercept_ : ndarray of shape (1,) or (n_targets,)
        Intercepts; read-only, likewise.
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
        seconds and rows (both since the start); ready for ``pandas.DataFrame``. For several
        targets also objective_per_target: an array per epoch.
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
    GDClassifier : The same for classes.
    sgdest.compat.SGDRegressor : scikit-learn's own algorithm, to the letter.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sgdest import GDRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = GDRegressor().fit(X, y)
    >>> round(model.score(X, y), 2)
    0.51
    """

    _parameter_constraints = validation.REGRESSOR_PARAMETERS
    _default_power_t = 0.25
    _joint_if_many = False
    _is_regressor = True

    def __init__(
        self,
        loss="squared_error",
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
        self.warm_start = warm_start
        self.average = average
        self.optimizer = optimizer
        self.batch_size = batch_size
        self.positive = positive
        self.penalty_weights = penalty_weights
        self.scoring = scoring

    # -- hooks of the base -------------------------------------------------------------------

    def _n_outputs(self):
        return self._n_targets

    def _shaped_coef(self, W):
        return W[:, 0] if self._y_is_1d else W.T

    def _shaped_intercept(self, b):
        return b

    def _learn_targets(self, y):
        self._y_is_1d = y.ndim == 1
        self._n_targets = 1 if self._y_is_1d else y.shape[1]
        return self._targets(y)

    def _targets(self, y):
        return validation.check_targets(y, self.loss, self._n_targets)

    def _weights(self, y, sample_weight):
        return sample_weight

    def _count(self, y, sample_weight):
        """Nothing of earlier targets is remembered."""

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
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Targets.
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
    def partial_fit(self, X, y, sample_weight=None):
        """Go on learning with one pass over these rows.

        Parameters
        ----------
        X : {array-like, sparse array} of shape (n_samples, n_features)
            Rows.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Targets.
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
        X, y = validation.check_data(self, X, y, reset=first, regression=True)
        rows = as_rows(X)
        sample_weight = validation.check_sample_weight(sample_weight, X)
        if first:
            self._learn_targets(y)
            self._begin_stream(X.shape[1])
        return self._learn_batch(rows, self._targets(y), sample_weight)

    # -- predicting --------------------------------------------------------------------------

    def predict(self, X):
        """Predictions: ``X @ coef_.T + intercept_``, or its exponential for the log links.

        A loss of one's own says by ``inverse_link`` what it predicts.

        Parameters
        ----------
        X : {array-like, sparse array} of shape (n_samples, n_features)

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_targets)
        """
        z = predictions(self.loss, self._margins(X))
        return z[:, 0] if self._y_is_1d else z

    def score(self, X, y, sample_weight=None):
        """R^2; for "poisson", "gamma" and "tweedie" D^2, the share of deviance explained.

        Parameters
        ----------
        X : {array-like, sparse array} of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
        sample_weight : array-like of shape (n_samples,), default=None

        Returns
        -------
        score : float
            1 is perfect, 0 as good as the best constant.
        """
        powers = {"poisson": 1, "gamma": 2, "tweedie": getattr(self.loss, "power", 1.5)}
        name = name_of(self.loss)
        if name not in powers:
            z = self.predict(X)
            share = _r_squared(y, z) if sample_weight is None else None
            return r2_score(y, z, sample_weight=sample_weight) if share is None else share
        return d2_tweedie_score(
            y, self.predict(X), sample_weight=sample_weight, power=powers[name]
        )

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.target_tags.multi_output = True
        # None if it is not a loss: tags never raise
        loss = self.loss if isinstance(self.loss, Loss) else LOSSES.get(self.loss)
        tags.target_tags.positive_only = getattr(loss, "targets", None) in POSITIVE
        return tags


def _r_squared(y, z):
    """R^2 of predictions of plain numbers; None for what ``r2_score`` should look at.

    It takes longer to check its arguments than a small fit.
    """
    if type(y) is not np.ndarray or y.dtype != np.float64 or y.ndim != 1 or y.shape != z.shape:
        return None
    if len(y) < 2:
        return None
    with np.errstate(all="ignore"):
        left, all_of_it = ((y - z) ** 2).sum(), ((y - y.mean()) ** 2).sum()
        share = 1.0 - left / all_of_it
    return float(share) if np.isfinite(share) else None
