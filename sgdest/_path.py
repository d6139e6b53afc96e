"""Regularization paths: one model for each of many values of ``alpha``, in one call."""

import warnings
from collections.abc import Sequence

import numpy as np
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from sgdest import _validation as validation
from sgdest._base import GDBase
from sgdest._core.intercept import best_intercept
from sgdest._core.penalties import PENALTIES
from sgdest._core.rows import as_rows
from sgdest._core.solver import best_constant, constant_margins
from sgdest._seeds import Seeds

# Above the least alpha that leaves no coefficient, so that rounding leaves none either.
ABOVE = 1.0 + 1e-9
NOTHING = 1e-12          # slopes that are so much smaller than the largest one are rounding
LEAST = 1e-15            # alpha, where nothing has a slope


class RegularizationPath(Sequence):
    """Fitted estimators along a path, from the strongest penalty to the weakest.

    ``len(path)``, ``path[k]`` and iteration give the estimators, whose ``alpha`` is that of their
    point; a slice is a path again.

    Parameters
    ----------
    models : list of fitted GDClassifier or GDRegressor

    Attributes
    ----------
    alphas : ndarray of shape (n_alphas,)
        Falling.
    coefs : ndarray of shape (n_features, n_alphas) or (n_outputs, n_features, n_alphas)
        ``coef_`` of every model; the second form for a classifier.
    intercepts : ndarray of shape (n_outputs, n_alphas)
    """

    def __init__(self, models):
        self._models = models

    def __len__(self):
        return len(self._models)

    def __getitem__(self, k):
        return RegularizationPath(self._models[k]) if isinstance(k, slice) else self._models[k]

    def __repr__(self):
        alphas = self.alphas
        span = f", alpha {alphas[0]:.3g} to {alphas[-1]:.3g}" if len(self) else ""
        return f"<RegularizationPath of {len(self)} models{span}>"

    @property
    def alphas(self):
        return np.array([model.alpha for model in self])

    @property
    def coefs(self):
        return np.stack([model.coef_ for model in self], axis=-1)

    @property
    def intercepts(self):
        return np.stack([model.intercept_ for model in self], axis=-1)


def regularization_path(estimator, X, y, *, alphas=100, eps=1e-3, sample_weight=None):
    """Fit an estimator for many values of ``alpha``, each from where the one before has ended.

    The models are those of ``fit`` with ``warm_start=True`` for one ``alpha`` after the other, to
    ``tol``; but rows are checked, labels encoded, and columns read once for all of them.

    Parameters
    ----------
    estimator : GDClassifier or GDRegressor
        Its parameters hold for every model, ``alpha`` aside. It is not changed. Every loss,
        penalty and optimizer will do; callbacks are not called.
    X : {array-like, sparse array} of shape (n_samples, n_features)
        As for ``fit``.
    y : array-like of shape (n_samples,)
        Targets or labels.
    alphas : int >= 1 or array-like of shape (n_alphas,), default=100
        Values >= 0, taken in falling order. A number: so many, evenly spaced by their logarithms,
        from the least at which every coefficient is 0 (about that, where the loss has kinks). A
        penalty without L1 has no such value: its ``alphas`` must be listed.
    eps : float in (0, 1), default=1e-3
        The last over the first of so many values.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights >= 0.

    Returns
    -------
    path : RegularizationPath
        A sequence of fitted estimators, with ``alphas``, ``coefs`` and ``intercepts``.

    Raises
    ------
    ValueError
        If a parameter or the data is not allowed; the message says which, and what is.

    Warns
    -----
    ConvergenceWarning
        If models have not reached ``tol``; it says which.

    References
    ----------
    .. [1] J. Friedman, T. Hastie, R. Tibshirani, "Regularization paths for generalized linear
       models via coordinate descent", Journal of Statistical Software, 2010.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.model_selection import train_test_split
    >>> from sgdest import GDRegressor, regularization_path
    >>> X, y = load_diabetes(return_X_y=True)
    >>> X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
    >>> path = regularization_path(GDRegressor(penalty="l1"), X_train, y_train, alphas=20)
    >>> path.coefs.shape
    (10, 20)
    >>> (path.coefs != 0).sum(axis=0)[:8].tolist()
    [0, 2, 2, 3, 4, 4, 5, 6]
    >>> best = max(path, key=lambda model: model.score(X_test, y_test))
    >>> bool(best.alpha < path.alphas[0])
    True
    """
    model = _checked(estimator)
    plan = model._plan(streaming=False)
    _, _, _, rows, targets, weights = model._take_in(X, y, sample_weight, as_rows)
    model._find_scale(rows, targets, weights)
    plain = model._problem(rows, targets, weights, PENALTIES[None]())
    alphas = validation.check_alphas(alphas, eps)
    if isinstance(alphas, int):
        alphas = np.geomspace(1.0, eps, alphas) * _least(model, plain)
    seeds, start, models, messages = Seeds(model.random_state), None, [], []
    for alpha in alphas:
        model.alpha = float(alpha)
        problem = plain.with_penalty(model._penalty(plain.n_features))
        said = model._minimise(
            plan.settled(problem), problem, model._start(problem, start, None, None), seeds)
        if said:
            messages.append(f"alpha={alpha:.3g}: {' '.join(said)}")
        start = model._W.copy(), model._b.copy()
        models.append(_taken(model))
    if messages:
        others = f" ({len(messages)} of {len(models)} models have warnings)" * (len(messages) > 1)
        warnings.warn(messages[0] + others, ConvergenceWarning, stacklevel=2)
    return RegularizationPath(models)


def _checked(estimator):
    """A clone that may be fitted; an error where there can be no path."""
    if not isinstance(estimator, GDBase):
        raise TypeError(
            f"estimator must be a GDClassifier or a GDRegressor; got {estimator!r}. Of a pipeline, "
            "give its last step, and X as the other steps transform it."
        )
    model = clone(estimator)
    validation.check_parameters(model, streaming=False)
    validation.check_has_path(model)
    return model


def _taken(model):
    """The model as it is now, apart from what it will become."""
    one = object.__new__(type(model))
    one.__dict__.update(model.__dict__)
    return one


def _least(model, plain):
    """The least alpha that leaves no coefficient."""
    model.alpha = 1.0
    penalty = model._penalty(plain.n_features)
    c = 1.0 if penalty.factors is None else penalty.factors
    pull = _pulls(plain, model.positive)
    counts = pull > NOTHING * pull.max(initial=0.0)
    l1 = np.broadcast_to(penalty.l1 * c, len(pull))[counts]
    if not l1.all():
        raise ValueError(
            "alphas must be listed where no alpha makes every coefficient 0: without L1, or with "
            f"penalty_weights of 0; got a number of them, penalty={model.penalty!r}. Use, for "
            "example, alphas=np.geomspace(1, 1e-4, 20)."
        )
    return ABOVE * (pull[counts] / l1).max(initial=LEAST)


def _pulls(plain, positive):
    """How much F falls along each coefficient at the best constant model."""
    z = constant_margins(plain, best_constant(plain))
    if plain.fit_intercept and plain.n_outputs == 1 and type(plain.loss).smoothness == "smooth":
        z += best_intercept(plain, z, 0.0, 1e-12)       # to the last digits
    g = plain.evaluate(None, None, z)[1]
    return (np.maximum(-g, 0.0) if positive else np.abs(g)).max(axis=1, initial=0.0)
