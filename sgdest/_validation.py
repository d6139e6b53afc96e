"""Every check of parameters and data, and every message."""

import inspect
import os
from functools import lru_cache
from numbers import Integral, Real

import joblib
import numpy as np
import scipy.sparse as sp
from sklearn.metrics import get_scorer_names
from sklearn.utils._param_validation import (
    Interval,
    StrOptions,
    validate_parameter_constraints,
)
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import (
    _check_sample_weight,
    _get_feature_names,
    validate_data,
)

from sgdest._core.compressed import malformed, sound_structure
from sgdest._core.gram import kept
from sgdest._core.labels import encode
from sgdest._core.recall import recall
from sgdest._core.rows import DENSE_TYPES, surely_finite
from sgdest._core.stream_state import checked_rates
from sgdest._core.threads import ENTRIES_FOR_THREADS
from sgdest.losses import LOSSES, Loss, facts_of, is_written, name_of
from sgdest.optimizers import NAMES, Optimizer
from sgdest.schedules import SCHEDULES

CLASSIFICATION_LOSSES = [n for n, c in LOSSES.items() if c.targets in ("binary", "sign")] + [
    "squared_error",
    "huber",
    "epsilon_insensitive",
    "squared_epsilon_insensitive",
]
REGRESSION_LOSSES = [n for n, c in LOSSES.items() if c.targets not in ("binary", "sign")]

# -- parameters ----------------------------------------------------------------------------

_SHARED = {
    "penalty": [StrOptions({"l2", "l1", "elasticnet"}), None],
    "alpha": [Interval(Real, 0, None, closed="left")],
    "l1_ratio": [Interval(Real, 0, 1, closed="both"), None],
    "fit_intercept": ["boolean"],
    "max_iter": [Interval(Integral, 1, None, closed="left")],
    "tol": [Interval(Real, 0, None, closed="left"), None],
    "shuffle": ["boolean"],
    "verbose": ["verbose"],
    "epsilon": [Interval(Real, 0, None, closed="left")],
    "n_jobs": [
        Interval(Integral, 1, None, closed="left"),
        Interval(Integral, None, -1, closed="right"),
        None,
    ],
    "random_state": ["random_state"],
    "learning_rate": [
        StrOptions({"auto", *SCHEDULES}),
        Interval(Real, 0, None, closed="neither"),
        callable,
    ],
    "eta0": [Interval(Real, 0, None, closed="left"), None],
    "power_t": [Interval(Real, None, None, closed="neither"), None],
    "early_stopping": ["boolean", StrOptions({"auto"})],
    "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
    "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
    "warm_start": ["boolean"],
    "average": [Interval(Integral, 0, None, closed="left"), "boolean"],
    "optimizer": [StrOptions({"auto", *NAMES}), Optimizer],
    "batch_size": [
        Interval(Integral, 1, None, closed="left"),
        StrOptions({"auto"}),
        None,
    ],
    "positive": ["boolean"],
    "penalty_weights": ["array-like", StrOptions({"scale"}), None],
    "scoring": [StrOptions({"loss", *get_scorer_names()}), callable, None],
}
REGRESSOR_PARAMETERS = {"loss": [StrOptions(set(REGRESSION_LOSSES)), Loss], **_SHARED}
CLASSIFIER_PARAMETERS = {
    "loss": [StrOptions(set(CLASSIFICATION_LOSSES)), Loss],
    "class_weight": [StrOptions({"balanced"}), dict, None],
    **_SHARED,
}
_LOSS_PARAMETERS = {
    "epsilon": [Interval(Real, 0, None, closed="left")],
    "quantile": [Interval(Real, 0, 1, closed="neither")],
    "power": [Interval(Real, 1, 2, closed="both")],
}
_OPTIMIZER_PARAMETERS = {
    "learning_rate": _SHARED["learning_rate"],
    "memory": [Interval(Integral, 1, None, closed="left")],
    "rates": ["array-like"],
    "newton_columns": [Interval(Integral, 0, None, closed="left")],
    "momentum": [Interval(Real, 0, 1, closed="left")],
    "nesterov": ["boolean"],
    "clip_norm": [Interval(Real, 0, None, closed="neither"), None],
    "rho": [Interval(Real, 0, 1, closed="left")],
    "beta1": [Interval(Real, 0, 1, closed="left")],
    "beta2": [Interval(Real, 0, 1, closed="left")],
    "eps": [Interval(Real, 0, None, closed="neither")],
    "amsgrad": ["boolean"],
    "beta": [Interval(Real, 0, None, closed="neither")],
}


def check_parameters(estimator, *, streaming):
    """Raise ValueError if a parameter of an estimator, or their combination, is not allowed."""
    name = type(estimator).__name__
    # what is left at its default needs no check, and most parameters are
    params = {parameter: getattr(estimator, parameter)
              for parameter, default in _defaults(type(estimator)).items()
              if getattr(estimator, parameter) is not default}
    params = {parameter: value for parameter, value in params.items()
              if type(value) not in PLAIN or (type(estimator), parameter, type(value), value) not in _allowed}
    if params:
        validate_parameter_constraints(estimator._parameter_constraints, params, name)
        _remember(type(estimator), params)
    loss = name_of(estimator.loss)
    if is_written(estimator.loss):
        _check_written(estimator)
    elif isinstance(estimator.loss, Loss):
        allowed = [o.options for o in estimator._parameter_constraints["loss"][:1]][0]
        if loss not in allowed:
            raise ValueError(
                f"loss={estimator.loss!r} is not a loss for {name}. Choose one of "
                f"{sorted(allowed)}."
            )
        validate_parameter_constraints(
            _LOSS_PARAMETERS, estimator.loss.get_params(), type(estimator.loss).__name__
        )
    epsilon = getattr(estimator.loss, "epsilon", estimator.epsilon)
    if loss == "huber" and epsilon == 0:
        raise ValueError(
            f"epsilon must be > 0 for loss='huber', which is zero otherwise; got {epsilon!r}. Use "
            "loss='absolute_error' for its limit."
        )
    if isinstance(estimator.optimizer, Optimizer):
        _check_optimizer(estimator.optimizer)
    if estimator.penalty == "elasticnet" and estimator.l1_ratio is None:
        raise ValueError(
            "l1_ratio must be a float in [0, 1] when penalty is 'elasticnet'; got None."
        )
    if streaming and estimator.early_stopping is True:
        raise ValueError(
            "early_stopping should be False or 'auto' with partial_fit; got True. Score "
            "validation data between the calls instead."
        )
    _check_rate(estimator, loss)


# Plain values of parameters that were found allowed: scikit-learn's check takes 5 microseconds each.
PLAIN = (bool, int, float, str)
MOST_REMEMBERED = 1000
_allowed = set()


def _remember(cls, params):
    """Remember those of ``params`` that need no second check."""
    if len(_allowed) > MOST_REMEMBERED:
        _allowed.clear()
    _allowed.update((cls, parameter, type(value), value) for parameter, value in params.items()
                    if type(value) in PLAIN)


@lru_cache(maxsize=None)
def _defaults(cls):
    """The defaults of the parameters of an estimator, by name."""
    parameters = inspect.signature(cls).parameters
    return {name: parameter.default for name, parameter in parameters.items()}


def _check_written(estimator):
    """A loss of the user's own: what it must define, and what its facts may be."""
    loss, kind = estimator.loss, type(estimator.loss).__name__
    for method in ("value", "derivative"):
        if getattr(type(loss), method) is getattr(Loss, method):
            raise ValueError(
                f"loss={loss!r} has no {method}; define {method}(self, y, z) in {kind}."
            )
    allowed = {
        "targets": ["real", "nonnegative", "positive"],
        "link": ["identity", "log", "logit"],
        "smoothness": ["smooth", "kinked"],
    }
    if not estimator._is_regressor:
        allowed["targets"] = ["binary", "sign", "real"]
    for fact, values in allowed.items():
        if getattr(loss, fact) not in values:
            raise ValueError(
                f"{fact} of {kind} must be one of {values} for {type(estimator).__name__}; got "
                f"{getattr(loss, fact)!r}. Set it as an attribute of the class."
            )
    if not loss.curvature_bound > 0:
        raise ValueError(
            f"curvature_bound of {kind} must be > 0; got {loss.curvature_bound!r}. Leave it at "
            "inf if there is no bound."
        )


def _check_optimizer(optimizer):
    """The parameters of an optimizer object."""
    params = optimizer.get_params(deep=False)
    validate_parameter_constraints(_OPTIMIZER_PARAMETERS, params, type(optimizer).__name__)
    if "rates" in params:
        checked_rates(params["rates"])
    rate = params.get("learning_rate", "auto")
    if optimizer.kind == "solver" and rate != "auto" and not isinstance(rate, Real):
        raise ValueError(
            f"learning_rate of {type(optimizer).__name__} must be 'auto' or a float > 0, a "
            f"constant rate; got {rate!r}."
        )
    if params.get("nesterov") and not params["momentum"]:
        raise ValueError(
            "nesterov=True looks ahead along the momentum; got momentum=0. Set momentum=0.9."
        )


def _check_rate(estimator, loss):
    """Combinations of the learning rate with the loss and alpha."""
    rate = estimator.learning_rate
    if isinstance(estimator.optimizer, Optimizer) and rate == "auto":
        rate = getattr(estimator.optimizer, "learning_rate", "auto")
    if not isinstance(rate, str):
        return
    if rate == "optimal" and not (estimator.penalty and estimator.alpha > 0):
        raise ValueError(
            "alpha must be > 0 since learning_rate is 'optimal', whose formula divides by it; "
            f"got alpha={estimator.alpha!r}, penalty={estimator.penalty!r}. Use another "
            "learning_rate."
        )
    # older SGDClassifiers have the default eta0=0.0, for rates that do not use it
    if estimator.eta0 == 0 and rate in SCHEDULES and "eta0" in SCHEDULES[rate].parameters:
        raise ValueError(
            f"eta0 must be > 0 since the learning_rate {rate!r} is a multiple of it; got "
            f"eta0={estimator.eta0!r}. Use eta0=None for the default, 0.01."
        )
    needed = "epsilon_insensitive" if estimator._is_regressor else "hinge"
    if rate in ("pa1", "pa2") and loss not in ("hinge", "epsilon_insensitive"):
        raise ValueError(
            f"Learning rate {rate!r} only works with loss 'hinge' (classification) or "
            f"'epsilon_insensitive' (regression); got loss={loss!r}. Use loss={needed!r}."
        )


def threads_for(n_entries, n_jobs):
    """Number of threads for a pass over so many stored values, where ``n_jobs`` allows them."""
    return usable_threads(n_jobs) if n_entries > ENTRIES_FOR_THREADS else 1


def usable_threads(n_jobs):
    """Number of threads that ``n_jobs`` means here.

    None stands for all processors that this process may use: affinity and control groups (by
    joblib) and OMP_NUM_THREADS, which joblib sets in its workers, are respected.
    """
    if n_jobs is not None:
        return joblib.effective_n_jobs(n_jobs)
    limit = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    if limit == "1":          # as in joblib's workers: counting takes 0.2 ms
        return 1
    processors = joblib.cpu_count()
    return min(processors, int(limit)) if limit.isdigit() and int(limit) > 0 else processors


# -- data ----------------------------------------------------------------------------------


def check_data(estimator, X, y="no_validation", *, reset, regression=False):
    """X (and y) as arrays that a kernel may read: finite, 2-D, dense C-ordered or CSR.

    X keeps the types float64, float32, uint8 and int8; others become float64.
    """
    known_finite = (reset and (kept.recognises(X) or recall.recognises(X))
                    or all_finite(X, estimator.n_jobs))
    if known_finite and needs_no_more(estimator, X, y, reset):
        return X, y
    kwargs = dict(
        reset=reset,
        accept_sparse="csr",
        accept_large_sparse=True,
        dtype=list(DENSE_TYPES),
        order="C",
        # scikit-learn's own check, which says what is wrong, follows where ours finds something
        ensure_all_finite=not known_finite,
    )
    X = sound_sparse(X)
    if isinstance(y, str) and y == "no_validation":
        return validate_data(estimator, X, **kwargs)
    X, y = validate_data(
        estimator, X, y, multi_output=regression, y_numeric=regression, **kwargs
    )
    return X, y


def all_finite(X, n_jobs):
    """``surely_finite``, on several threads if X is large."""
    array = getattr(X, "data", None) if sp.issparse(X) else X
    n_entries = array.size if isinstance(array, np.ndarray) else 0
    return surely_finite(X, threads_for(n_entries, n_jobs))


def needs_no_more(estimator, X, y, reset):
    """Whether finite X, and y, are plain arrays in which scikit-learn's checks find nothing.

    They take half a millisecond, as long as a small fit. What they would note of X is noted here.
    """
    if type(y) is not np.ndarray or y.ndim != 1 or X.ndim != 2 or 0 in X.shape:
        return False
    is_plain = type(X) is np.ndarray and X.flags.c_contiguous
    if type(X) in (sp.csr_array, sp.csr_matrix):
        is_plain = X.indices.dtype == X.indptr.dtype and X.indices.dtype in (np.int32, np.int64)
    if not (is_plain and len(y) == X.shape[0] and (y.dtype.kind in "biu" or surely_finite(y))):
        return False
    if not reset:
        named = "feature_names_in_" in estimator.__dict__
        return not named and X.shape[1] == estimator.n_features_in_
    estimator.n_features_in_ = X.shape[1]
    estimator.__dict__.pop("feature_names_in_", None)
    return True


def check_same_names(estimator, X_val):
    """ValueError if only one of X and X_val has feature names; scikit-learn checks the rest."""
    names = getattr(estimator, "feature_names_in_", None)
    if (names is None) != (_get_feature_names(X_val) is None):
        with_names, without = ("X_val", "X") if names is None else ("X", "X_val")
        raise ValueError(
            f"{with_names} has feature names and {without} has none; give both as data frames "
            "with the same columns, or both as arrays."
        )


def sound_sparse(X):
    """X, once a sparse array of another format than CSR has been found sound.

    SciPy's conversions trust their input; CSR itself is checked where its kernels begin.
    """
    if not sp.issparse(X) or X.ndim != 2:
        return X
    if X.dtype == object and X.format in ("csc", "bsr", "coo"):
        X = X.astype(np.float64)  # SciPy converts objects of CSR arrays only
    if X.format == "csc":
        sound_structure(X, *X.shape[::-1])
    elif X.format == "bsr":
        blocks = X.data.shape[1:]
        if len(blocks) != 2 or not all(k and n % k == 0 for n, k in zip(X.shape, blocks)):
            raise malformed("bsr", f"blocks of shape {blocks} do not divide X of shape {X.shape}")
        sound_structure(X, X.shape[0] // blocks[0], X.shape[1] // blocks[1])
    elif X.format == "coo":
        try:
            return type(X)((X.data, (X.row, X.col)), shape=X.shape)
        except (ValueError, IndexError, TypeError) as error:
            raise malformed("coo", error) from error
    return X


_WEIGHT_OPTIONS = (
    {"allow_all_zero_weights": True}
    if "allow_all_zero_weights" in inspect.signature(_check_sample_weight).parameters
    else {}
)


def check_sample_weight(sample_weight, X):
    """Weights as float64, or None; ValueError if one is negative or not finite."""
    if sample_weight is None:
        return None
    weights = _check_sample_weight(sample_weight, X, dtype=np.float64, **_WEIGHT_OPTIONS)
    if weights.size and weights.min() < 0:
        raise ValueError(
            f"sample_weight must be >= 0; got {float(weights.min())} at row {weights.argmin()}. "
            "Negative values in data passed to `sample_weight`."
        )
    with np.errstate(over="ignore"):
        if not np.isfinite(weights.sum()):
            raise ValueError("sample_weight must have a finite sum; it overflows. Scale it down.")
    return weights


def check_not_all_zero(weights):
    """ValueError if no row counts."""
    if weights is not None and not weights.any():
        raise ValueError(
            "Sample weights must contain at least one non-zero number; all of sample_weight "
            "(times class_weight) are zero."
        )


def encoded_labels(y):
    """(labels, codes): the sorted labels and the number of each row's; ValueError if unfit."""
    if y.dtype.kind == "O":
        check_classification_targets(y[:1])  # before labels of different types are compared
    labels, codes = encode(y)
    few, kind = len(y) <= 20 or 2 * len(labels) <= len(y), labels.dtype.kind
    whole = kind in "biuU" or (kind == "f" and (labels == np.floor(labels)).all())
    if not (few and whole):
        # each label twice: that check warns if most labels of more than 20 rows occur once
        check_classification_targets(np.tile(labels, 2) if few else y)
    if y.dtype.kind == "f" and not np.isfinite(labels).all():
        raise ValueError("y contains NaN or infinity; class labels must be finite.")
    return labels, codes


def check_classes(classes):
    """The sorted labels; ValueError if there are fewer than two."""
    return check_several(np.unique(classes))


def check_several(classes):
    """Distinct labels; ValueError if there are fewer than two."""
    if len(classes) < 2:
        raise ValueError(
            f"The number of classes has to be greater than one; got {len(classes)} class: "
            f"{classes.tolist()!r}."
        )
    return classes


def check_known_labels(labels, classes):
    """Numbers of distinct labels in ``classes``; ValueError that names one which is not there."""
    numbers = np.searchsorted(classes, labels)
    numbers[numbers == len(classes)] = 0
    unknown = labels[classes[numbers] != labels]
    if len(unknown):
        raise ValueError(
            f"y contains labels that are not in classes: {unknown.tolist()!r}; classes are "
            f"{classes.tolist()!r}. Pass all labels as `classes` to partial_fit."
        )
    return numbers


def check_targets(y, loss, n_targets):
    """Targets as float64; ValueError if too few or many, or outside the loss's domain."""
    y = _as_numbers("y", y)
    if y.size != n_targets * len(y):
        raise ValueError(
            f"y has shape {y.shape}, but the model has {n_targets} target(s); give as many as "
            "before."
        )
    # scikit-learn's check of objects comes before they become numbers, and None becomes NaN
    if not np.isfinite(y).all():
        raise ValueError("Input y contains NaN or infinity; targets must be finite numbers.")
    kind = facts_of(loss).targets
    strict = kind == "positive" or (name_of(loss) == "tweedie"
                                    and getattr(loss, "power", 1.5) == 2)
    if kind in ("nonnegative", "positive") and (y.min() < 0 or (strict and y.min() == 0)):
        rule, shown = "> 0" if strict else ">= 0", name_of(loss) or loss
        raise ValueError(
            f"Some value(s) of y are out of the valid range of loss={shown!r}: y must be "
            f"{rule}; got {float(y.min())}. Remove those rows or choose another loss."
        )
    return np.ascontiguousarray(y)


def class_weights(class_weight, classes, totals):
    """Weight of each class: ndarray of shape (n_classes,).

    "balanced" is ``sum(totals) / (n_classes * totals)`` with ``totals`` the summed sample weight
    of each class; a class without any gets 1.
    """
    if isinstance(class_weight, str):
        present = totals > 0
        safe = np.where(present, totals, 1.0)
        return np.where(present, totals.sum() / (np.count_nonzero(present) * safe), 1.0)
    labels = classes.tolist()
    missing = [label for label in labels if label not in class_weight]
    unknown = [label for label in class_weight if label not in set(labels)]
    # as in scikit-learn, labels that do not occur may be named if all that occur are
    if missing and unknown:
        raise ValueError(
            f"class_weight must be a dict from labels to weights; got weights of {unknown!r}, "
            f"which are not among the classes {labels!r}, and none of {missing!r}. Name the latter."
        )
    weights = [class_weight.get(label, 1.0) for label in labels]
    for label, weight in zip(labels, weights):
        if not (isinstance(weight, Real) and 0 <= weight < np.inf):
            raise ValueError(
                f"class_weight must hold finite weights >= 0; got {weight!r} for class {label!r}."
            )
    return np.array(weights, dtype=np.float64)


def penalty_factors(penalty_weights, n_features):
    """c_j as float64 of shape (n_features,); ValueError if it has another shape or sign."""
    factors = _as_numbers("penalty_weights", penalty_weights)
    if factors.shape != (n_features,):
        raise ValueError(
            f"penalty_weights must have shape (n_features,) = ({n_features},); got "
            f"{factors.shape}. Give one factor for each column of X."
        )
    wrong = ~((factors >= 0) & (factors < np.inf))
    if wrong.any():
        j = int(wrong.argmax())
        raise ValueError(
            f"penalty_weights must be finite and >= 0; got {float(factors[j])} for feature {j}. "
            "Use 0 for a feature without penalty."
        )
    return factors


def _as_numbers(name, value):
    """``value`` as float64; ValueError if it holds something else than real numbers."""
    try:
        array = np.asarray(value)
        if array.dtype.kind == "c":
            raise TypeError("they are complex")
        return array.astype(np.float64, copy=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be an array of real numbers: {error}.") from error


def known_scale(estimator):
    """The columns' standard deviations; ValueError if the last ``fit`` did not take them."""
    if estimator._scale is None:
        raise ValueError(
            "penalty_weights='scale' needs the standard deviations of the columns, which "
            "partial_fit does not know; call fit with it first, or give the weights as an array."
        )
    return estimator._scale


def check_has_path(estimator):
    """Raise ValueError if an estimator has no models along values of ``alpha``."""
    if estimator.early_stopping is True:
        raise ValueError(
            "early_stopping must not be True along a path, whose models learn from all rows; got "
            "early_stopping=True. Set it to False, and judge the models on rows held out."
        )
    if estimator.penalty is None:
        raise ValueError(
            "penalty must be one that alpha scales; got penalty=None. Use 'l1', 'elasticnet' or 'l2'."
        )


def check_alphas(alphas, eps):
    """Strengths of a path in falling order, or their number; ValueError if they are none."""
    validate_parameter_constraints(
        {"eps": [Interval(Real, 0, 1, closed="neither")]}, {"eps": eps}, "regularization_path")
    if isinstance(alphas, Integral) and not isinstance(alphas, bool) and alphas >= 1:
        return int(alphas)
    array = np.asarray(_as_numbers("alphas", alphas))
    if array.ndim != 1 or not array.size or not np.all((array >= 0.0) & np.isfinite(array)):
        raise ValueError(
            "alphas must be one or more finite numbers >= 0 in one dimension, or how many there "
            f"shall be, a whole number >= 1; got {alphas!r}.")
    return np.sort(array)[::-1]


def initial_weights(name, value, shape):
    """A copy of the user's start, in the internal shape; ValueError if it does not fit."""
    array = np.array(_as_numbers(name, value))
    # one output needs no axis of its own
    flat = shape[0] == 1 and array.ndim < len(shape) and array.size == np.prod(shape)
    if array.shape != shape and not flat:
        raise ValueError(
            f"Provided {name} does not match dataset: it must have shape {shape}; got "
            f"{array.shape}."
        )
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite; it contains NaN or infinity.")
    return array.reshape(shape)


def stacked_parameters(coef, coef_now, intercept, intercept_now):
    """Both with the same leading axes; ValueError if one does not end in the model's shape."""
    arrays, leads = [], []
    given = (("coef", coef, coef_now), ("intercept", intercept, intercept_now))
    for name, value, now in given:
        array = now if value is None else _as_numbers(name, value)
        split = array.ndim - now.ndim
        if split < 0 or array.shape[split:] != now.shape:
            raise ValueError(
                f"{name} must have shape (..., {', '.join(map(str, now.shape))}), that of "
                f"{name}_ after any leading axes; got {array.shape}."
            )
        arrays.append(array)
        leads.append(array.shape[:split])
    try:
        lead = np.broadcast_shapes(*leads)
    except ValueError as error:
        raise ValueError(
            f"the leading axes of coef and intercept must broadcast; got {leads[0]} and "
            f"{leads[1]}."
        ) from error
    return tuple(
        np.broadcast_to(array, (*lead, *now.shape)) for array, (_, _, now) in zip(arrays, given)
    )


def number_of_validation_rows(n_rows, fraction):
    """ValueError if a split of ``n_rows`` by ``fraction`` would leave one side empty."""
    n = int(np.ceil(fraction * n_rows))
    if n == 0 or n >= n_rows:
        raise ValueError(
            f"Splitting {n_rows} rows with validation_fraction={fraction!r} leaves an empty "
            "set. Give more rows, another validation_fraction, or X_val and y_val."
        )


