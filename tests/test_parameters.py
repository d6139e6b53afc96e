"""Wrong parameters and data are refused before any learning by a message that helps."""

import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from sklearn.datasets import load_diabetes, load_iris

from sgdest import GDClassifier, GDRegressor
from sgdest.losses import EpsilonInsensitive, Huber, Quantile, Tweedie
from sgdest.optimizers import LBFGS, SGD, NormalizedAdaptive

DATA = {
    GDClassifier: load_iris(return_X_y=True),
    GDRegressor: load_diabetes(return_X_y=True),
}
BOTH = [GDClassifier, GDRegressor]
X, y = DATA[GDClassifier]
ESTIMATORS = {"classifier": GDClassifier, "regressor": GDRegressor}


def refused(kind, message, call, error=ValueError):
    """Check that ``call`` raises the message and that nothing was learned meanwhile."""
    model = kind
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(error, match=message):
            call(model)
    assert not hasattr(model, "coef_")
    assert not hasattr(model, "history_")


# -- one parameter at a time: (value, what the message says) ---------------------------

VALUES = {
    "loss": [
        ("huge", "'loss' parameter of GD.* must be a str among .*'huber'.* Got 'huge'"),
        (3, "'loss' parameter.* Got 3"),
        (None, "'loss' parameter.* Got None"),
    ],
    "penalty": [("l3", "'penalty' parameter.*among.*'elasticnet'.*or None. Got 'l3'")],
    "alpha": [
        (-1, r"'alpha' parameter.* float in the range \[0.0, inf\). Got -1"),
        (np.nan, "'alpha'.*Got nan"),
        (np.inf, "'alpha'.*Got inf"),
        ("1", "'alpha'.*Got '1'"),
        (None, "'alpha'.*Got None"),
    ],
    "l1_ratio": [
        (1.1, r"'l1_ratio' parameter.*\[0.0, 1.0\].*Got 1.1"),
        (-0.1, "'l1_ratio'.*Got -0.1"),
    ],
    "fit_intercept": [
        ("yes", "'fit_intercept' parameter.*bool.*Got 'yes'"),
        (2, "'fit_intercept'.*Got 2"),
    ],
    "max_iter": [
        (0, r"'max_iter' parameter.*int in the range \[1, inf\). Got 0"),
        (1.5, "'max_iter'.*Got 1.5"),
        (None, "'max_iter'.*Got None"),
    ],
    "tol": [
        (-1e-3, r"'tol' parameter.*\[0.0, inf\) or None. Got -0.001"),
        (np.nan, "'tol'.*Got nan"),
        (np.inf, "'tol'.*Got inf"),
    ],
    "shuffle": [("no", "'shuffle' parameter.*Got 'no'")],
    "verbose": [(-1, "'verbose' parameter.*Got -1"), ("much", "'verbose'.*Got 'much'")],
    "epsilon": [
        (-0.1, r"'epsilon' parameter.*\[0.0, inf\). Got -0.1"),
        (np.inf, "'epsilon'.*Got inf"),
    ],
    "n_jobs": [
        (0, r"'n_jobs' parameter.*\[1, inf\).*\(-inf, -1\] or None. Got 0"),
        (1.5, "'n_jobs'.*Got 1.5"),
    ],
    "random_state": [
        ("a", "'random_state' parameter.*Got 'a'"),
        (-1, "'random_state'.*Got -1"),
    ],
    "learning_rate": [
        ("fast", "'learning_rate' parameter.*'optimal'.*float.*callable. Got 'fast'"),
        (0.0, "'learning_rate'.*Got 0.0"),
        (-1, "'learning_rate'.*Got -1"),
        (np.inf, "'learning_rate'.*Got inf"),
        (np.nan, "'learning_rate'.*Got nan"),
        (None, "'learning_rate'.*Got None"),
    ],
    "eta0": [
        (-1, r"'eta0' parameter.*\[0.0, inf\) or None. Got -1"),
        (np.inf, "'eta0'.*Got inf"),
    ],
    "power_t": [(np.inf, "'power_t' parameter.*Got inf"), ("a", "'power_t'.*Got 'a'")],
    "early_stopping": [("yes", "'early_stopping' parameter.*'auto'.*Got 'yes'")],
    "validation_fraction": [
        (0.0, r"'validation_fraction' parameter.*\(0.0, 1.0\). Got 0.0"),
        (1.0, "'validation_fraction'.*Got 1.0"),
    ],
    "n_iter_no_change": [
        (0, r"'n_iter_no_change' parameter.*\[1, inf\). Got 0"),
        (2.5, "'n_iter_no_change'.*Got 2.5"),
    ],
    "warm_start": [("yes", "'warm_start' parameter.*Got 'yes'")],
    "average": [
        (-1, r"'average' parameter.*\[0, inf\).*Got -1"),
        (1.5, "'average'.*Got 1.5"),
    ],
    "optimizer": [
        ("sdg", "'optimizer' parameter.*'lbfgs'.*Optimizer'. Got 'sdg'"),
        (None, "'optimizer'.*Got None"),
        (SGD, "'optimizer'.*Got <class"),
        (SGD(-1.0), "'learning_rate' parameter of SGD.*Got -1.0"),
        (SGD("quick"), "'learning_rate' parameter of SGD.*Got 'quick'"),
        (LBFGS(0), r"'memory' parameter of LBFGS.*\[1, inf\). Got 0"),
        (LBFGS("much"), "'memory' parameter of LBFGS.*Got 'much'"),
        (NormalizedAdaptive(()), r"rates must be .*positive.*got \(\)"),
        (NormalizedAdaptive((1.0, -1.0)), r"rates must be.*got \(1.0, -1.0\)"),
        (NormalizedAdaptive(2.0), "'rates' parameter of NormalizedAdaptive.*Got 2.0"),
    ],
    "batch_size": [
        (0, r"'batch_size' parameter.*\[1, inf\).*'auto'.*None. Got 0"),
        (1.5, "'batch_size'.*Got 1.5"),
        ("all", "'batch_size'.*Got 'all'"),
    ],
    "positive": [(3, "'positive' parameter.*Got 3")],
    "penalty_weights": [
        ("scaled", "'penalty_weights' parameter.*'scale'.*None. Got 'scaled'"),
        ([1.0], r"penalty_weights must have shape \(n_features,\).*got \(1,\)"),
        (3.0, "'penalty_weights' parameter.*Got 3.0"),
    ],
    "scoring": [
        ("good", "'scoring' parameter.*'roc_auc'.*callable or None. Got 'good'"),
        (3, "'scoring'.*Got 3"),
    ],
}
ROWS = [
    (name, value, message) for name, rows in VALUES.items() for value, message in rows
]


def row_name(value):
    return repr(value)[:40] if not isinstance(value, type) else value.__name__


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize("kind", BOTH, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("name, value, message", ROWS, ids=row_name)
def test_a_wrong_value_is_refused(name, value, message, kind, method):
    options = (
        {"classes": [0, 1, 2]}
        if (kind, method) == (GDClassifier, "partial_fit")
        else {}
    )
    refused(
        kind(**{name: value}),
        message,
        lambda model: getattr(model, method)(*DATA[kind], **options),
    )


def test_every_parameter_has_a_row():
    parameters = set(GDClassifier().get_params()) | set(GDRegressor().get_params())
    assert parameters == set(VALUES) | {"class_weight"}


# -- values that depend on the estimator, and combinations -----------------------------

COMBINATIONS = [
    (
        GDClassifier,
        dict(class_weight="even"),
        "'class_weight' parameter.*'balanced'.*Got 'even'",
    ),
    (
        GDClassifier,
        dict(class_weight={7: 1.0}),
        r"class_weight.*\[7\].*not among.*\[0, 1, 2\]",
    ),
    (
        GDClassifier,
        dict(class_weight={0: -1.0}),
        "class_weight.*>= 0; got -1.0 for class 0",
    ),
    (GDClassifier, dict(class_weight={1: np.nan}), "class_weight.*got nan for class 1"),
    (GDClassifier, dict(class_weight={1: "a"}), "class_weight.*got 'a' for class 1"),
    (
        GDClassifier,
        dict(loss="poisson"),
        "'loss' parameter of GDClassifier.*Got 'poisson'",
    ),
    (
        GDClassifier,
        dict(loss=Quantile(0.9)),
        r"loss=Quantile\(quantile=0.9\) is not a loss for "
        "GDClassifier.*Choose one of",
    ),
    (GDRegressor, dict(loss="hinge"), "'loss' parameter of GDRegressor.*Got 'hinge'"),
    (
        GDRegressor,
        dict(loss=Quantile(0.0)),
        r"'quantile' parameter of Quantile.*\(0.0, 1.0\)",
    ),
    (GDRegressor, dict(loss=Quantile(1)), "'quantile' parameter of Quantile.*Got 1"),
    (
        GDRegressor,
        dict(loss=Tweedie(0.5)),
        r"'power' parameter of Tweedie.*\[1.0, 2.0\]. Got 0.5",
    ),
    (GDRegressor, dict(loss=Tweedie(3)), "'power' parameter of Tweedie.*Got 3"),
    (
        GDRegressor,
        dict(loss=EpsilonInsensitive(-1)),
        "'epsilon' parameter of EpsilonIns.*Got -1",
    ),
    (
        None,
        dict(loss=Huber(0)),
        "epsilon must be > 0 for loss='huber'.*got 0.*absolute_error",
    ),
    (
        None,
        dict(loss="huber", epsilon=0.0),
        "epsilon must be > 0 for loss='huber'.*got 0.0",
    ),
    (
        None,
        dict(penalty="elasticnet", l1_ratio=None),
        r"l1_ratio must be.*\[0, 1\].*got None",
    ),
    (
        None,
        dict(optimizer="lbfgs", learning_rate=0.1),
        "lbfgs.*takes no learning_rate; got learning_rate=0.1.*optimizer='sgd'",
    ),
    (
        None,
        dict(optimizer="lbfgs", batch_size=8),
        "takes no batch_size; got batch_size=8",
    ),
    (None, dict(optimizer="lbfgs", average=True), "takes no average; got average=True"),
    (
        None,
        dict(optimizer="normalized_adaptive", learning_rate="optimal"),
        "takes no learning_",
    ),
    (
        None,
        dict(optimizer="gd", batch_size=4),
        "all rows; got batch_size=4. Use optimizer='sgd'",
    ),
    (
        None,
        dict(optimizer=SGD(0.1), learning_rate=0.2),
        "given twice: 0.2.*0.1.*at 'auto'",
    ),
    (
        None,
        dict(learning_rate="optimal", alpha=0.0),
        "alpha must be > 0.*'optimal'.*alpha=0.0",
    ),
    (
        None,
        dict(learning_rate="constant", eta0=0.0),
        "eta0 must be > 0.*'constant'.*eta0=0.0",
    ),
    (
        None,
        dict(optimizer=SGD("adaptive"), eta0=0),
        "eta0 must be > 0.*'adaptive'.*eta0=0",
    ),
    (
        None,
        dict(learning_rate="optimal", penalty=None),
        "alpha must be > 0.*penalty=None",
    ),
    (
        None,
        dict(optimizer=SGD("optimal"), alpha=0.0),
        "alpha must be > 0.*'optimal'.*alpha=0.0",
    ),
    (
        GDClassifier,
        dict(learning_rate="pa1"),
        "'pa1' only works.*got loss='log_loss'.*'hinge'",
    ),
    (
        GDClassifier,
        dict(learning_rate="pa2", loss="hinge", batch_size=2),
        "pa2.*batch_size=2",
    ),
    (
        GDRegressor,
        dict(learning_rate="pa1"),
        "'pa1' only works.*Use loss='epsilon_insensitive'",
    ),
    (
        GDClassifier,
        dict(loss="perceptron", optimizer="lbfgs"),
        "perceptron.*no solver.*'sgd'",
    ),
]
COMBINATIONS = [
    (kind, parameters, message)
    for one, parameters, message in COMBINATIONS
    for kind in (BOTH if one is None else [one])
]


@pytest.mark.parametrize("kind, parameters, message", COMBINATIONS, ids=row_name)
def test_a_wrong_combination_is_refused(kind, parameters, message):
    refused(kind(**parameters), message, lambda model: model.fit(*DATA[kind]))


@pytest.mark.parametrize(
    "rate, error, message",
    [
        (
            lambda t: -1.0,
            ValueError,
            "learning_rate must return a finite rate >= 0; got -1.0 for t=1",
        ),
        (lambda t: np.nan, ValueError, "learning_rate must return.*got nan for t=1"),
        (
            lambda t: np.inf if t > 5 else 0.1,
            ValueError,
            "learning_rate must return.*inf for t=6",
        ),
        (
            lambda t: "a",
            TypeError,
            "learning_rate must return a number; got 'a' for t=1",
        ),
        (lambda t: {}[t], KeyError, "1"),
    ],
)
@pytest.mark.parametrize("kind", BOTH, ids=lambda kind: kind.__name__)
def test_a_callable_rate_that_is_none_is_refused(kind, rate, error, message):
    refused(
        kind(learning_rate=rate, max_iter=2),
        message,
        lambda model: model.fit(*DATA[kind]),
        error,
    )


@pytest.mark.parametrize(
    "factors, message",
    [
        (
            -1.0,
            "penalty_weights must be finite and >= 0; got -1.0 for feature 2. Use 0",
        ),
        (np.nan, "penalty_weights.*got nan for feature 2"),
        (np.inf, "penalty_weights.*got inf for feature 2"),
        ("a", "penalty_weights must be an array of real numbers"),
        (1j, "penalty_weights must be an array of real numbers: they are complex"),
    ],
)
@pytest.mark.parametrize("kind", BOTH, ids=lambda kind: kind.__name__)
def test_penalty_weights_are_finite_and_not_negative(kind, factors, message):
    weights = [1.0] * DATA[kind][0].shape[1]
    weights[2] = factors
    refused(
        kind(penalty_weights=weights), message, lambda model: model.fit(*DATA[kind])
    )


# -- data ------------------------------------------------------------------------------


def spoiled(value):
    bad = X.copy()
    bad[3, 1] = value
    return bad


def csr(**parts):
    array = sp.csr_array(X)
    for name, part in parts.items():
        setattr(array, name, part)
    return array


BAD_X = {
    "NaN": (spoiled(np.nan), "X contains NaN"),
    "infinity": (spoiled(-np.inf), "X contains infinity"),
    "NaN in CSR": (csr(data=np.full(600, np.nan)), "X contains NaN"),
    "one row": (X[0], "Expected 2D array, got 1D array"),
    "three axes": (X[None], "dim 3"),
    "no rows": (X[:0], r"0 sample\(s\)"),
    "no columns": (X[:, :0], r"0 feature\(s\)"),
    "lengths": (X[:-1], r"inconsistent numbers of samples: \[149, 150\]"),
    "complex": (X + 1j, "Complex data not supported"),
    "strings": ([["a", "b"]] * 150, "could not convert string to float"),
    "columns out of range": (
        csr(indices=np.full(600, 4, dtype=np.int32)),
        r"malformed CSR array: the column indices of row 0.*\[0, 4\)",
    ),
    "negative columns": (
        csr(indices=np.full(600, -1, dtype=np.int32)),
        "malformed CSR array",
    ),
    "falling indptr": (
        csr(indptr=np.arange(151, dtype=np.int32)[::-1] * 4),
        "malformed CSR",
    ),
    "short indptr": (csr(indptr=np.arange(150, dtype=np.int32)), "malformed CSR array"),
    "too few values": (csr(data=np.ones(3)), "malformed CSR array"),
}


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize("kind", BOTH, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("bad", BAD_X)
def test_bad_rows_are_refused(bad, kind, method):
    options = (
        {"classes": [0, 1, 2]}
        if (kind, method) == (GDClassifier, "partial_fit")
        else {}
    )
    rows, message = BAD_X[bad]
    refused(kind(), message, lambda model: getattr(model, method)(rows, y, **options))


@pytest.mark.parametrize("sparsified", [False, True])
@pytest.mark.parametrize("kind", BOTH, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("bad", sorted(set(BAD_X) - {"lengths", "strings"}))
def test_bad_rows_are_not_predicted(bad, kind, sparsified):
    model = kind().fit(X, y)
    if sparsified:
        model.sparsify()
    with pytest.raises(ValueError, match=BAD_X[bad][1]):
        model.predict(BAD_X[bad][0])


def test_a_model_predicts_only_rows_of_its_width():
    with pytest.raises(ValueError, match="2 features, but GDRegressor is expecting 4"):
        GDRegressor().fit(X, y).predict(X[:, :2])


WRONG_Y = [
    (None, None, "requires y to be passed"),
    (None, np.where(y == 1, np.nan, y), "y contains NaN"),
    (None, np.where(y == 1, np.inf, y), "y contains infinity"),
    (None, y + 1j, "Complex data not supported"),
    (None, np.zeros((150, 1, 1)), "dim 3"),
    (None, y[:-1], "inconsistent numbers of samples"),
    (GDClassifier, np.column_stack([y, y]), "y should be a 1d array"),
    (GDClassifier, y + X[:, 0], "Unknown label type: continuous"),
    (GDClassifier, np.zeros(150), r"has to be greater than one; got 1 class: \[0.0\]"),
    (GDClassifier, ["a"] * 150, r"greater than one; got 1 class: \['a'\]"),
    (GDRegressor, np.array(list("abc"))[y], "y must be an array of real numbers.*'a'"),
    (GDRegressor, [None] * 150, "y contains NaN"),
]
WRONG_Y = [
    (kind, target, message)
    for one, target, message in WRONG_Y
    for kind in (BOTH if one is None else [one])
]


@pytest.mark.parametrize("number", range(len(WRONG_Y)))
def test_bad_targets_are_refused(number):
    kind, target, message = WRONG_Y[number]
    refused(kind(), message, lambda model: model.fit(X, target))


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize(
    "loss, target, rule",
    [
        ("poisson", -1.0, ">= 0; got -1.0"),
        ("gamma", 0.0, "> 0; got 0.0"),
        ("gamma", -2.0, "> 0; got -2.0"),
        ("tweedie", -1.0, ">= 0; got -1.0"),
        (Tweedie(2), 0.0, "> 0; got 0.0"),
        (Tweedie(1), -1.0, ">= 0; got -1.0"),
    ],
    ids=str,
)
def test_targets_outside_the_domain_of_the_loss_are_refused(loss, target, rule, method):
    targets = np.where(np.arange(150) == 7, target, y + 1.0)
    refused(
        GDRegressor(loss=loss),
        f"loss=.*y must be {rule}. Remove those rows",
        lambda model: getattr(model, method)(X, targets),
    )


WRONG_WEIGHTS = {
    "negative": (
        np.where(np.arange(150) == 9, -0.5, 1.0),
        "sample_weight must be >= 0; got -0.5 at row 9",
    ),
    "NaN": (np.full(150, np.nan), "sample_weight contains NaN"),
    "infinite": (np.full(150, np.inf), "sample_weight contains infinity"),
    "infinite sum": (np.full(150, 1e307), "sample_weight must have a finite sum"),
    "too few": (np.ones(3), r"sample_weight.shape == \(3,\), expected \(150,\)"),
    "two axes": (np.ones((150, 2)), "Sample weights must be 1D"),
    "strings": (["a"] * 150, "could not convert string to float"),
    "complex": (np.ones(150) + 1j, "Complex data not supported"),
}


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize("kind", BOTH, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("bad", WRONG_WEIGHTS)
def test_bad_weights_are_refused(bad, kind, method):
    options = (
        {"classes": [0, 1, 2]}
        if (kind, method) == (GDClassifier, "partial_fit")
        else {}
    )
    weights, message = WRONG_WEIGHTS[bad]
    refused(
        kind(),
        message,
        lambda model: getattr(model, method)(X, y, sample_weight=weights, **options),
    )


@pytest.mark.parametrize("kind", BOTH, ids=lambda kind: kind.__name__)
def test_class_and_sample_weights_that_leave_nothing_are_refused(kind):
    refused(
        kind(),
        "at least one non-zero number",
        lambda model: model.fit(X, y, sample_weight=np.zeros(150)),
    )
    refused(
        GDClassifier(class_weight={0: 0, 1: 0, 2: 0}),
        "at least one non-zero number",
        lambda model: model.fit(X, y),
    )


# -- validation data and starts --------------------------------------------------------

FRAME = pd.DataFrame(X, columns=list("abcd"))
VALIDATION = {
    "no y_val": (X, dict(X_val=X), "X_val needs y_val; got y_val=None"),
    "only y_val": (X, dict(y_val=y), "need X_val; got X_val=None"),
    "only weights": (X, dict(sample_weight_val=y), "need X_val; got X_val=None"),
    "width": (X, dict(X_val=X[:, :2], y_val=y), "X_val.*2 features"),
    "NaN": (X, dict(X_val=spoiled(np.nan), y_val=y), "X_val.*NaN"),
    "lengths": (X, dict(X_val=X, y_val=y[1:]), "X_val.*inconsistent numbers"),
    "no rows": (X, dict(X_val=X[:0], y_val=y[:0]), r"X_val.*0 sample\(s\)"),
    "malformed": (
        X,
        dict(X_val=BAD_X["columns out of range"][0], y_val=y),
        "X_val.*malformed",
    ),
    "two columns": (X, dict(X_val=X, y_val=np.column_stack([y, y])), "y_val.*(150, 2)"),
    "weights": (
        X,
        dict(X_val=X, y_val=y, sample_weight_val=-y),
        "sample_weight_val.*>= 0; got -2",
    ),
    "no weight": (
        X,
        dict(X_val=X, y_val=y, sample_weight_val=0 * y),
        "X_val.*at least one non-",
    ),
    "names of X only": (
        FRAME,
        dict(X_val=X, y_val=y),
        "X has feature names and X_val has none",
    ),
    "names of X_val only": (
        X,
        dict(X_val=FRAME, y_val=y),
        "X_val has feature names and X has",
    ),
    "other names": (
        FRAME,
        dict(X_val=FRAME.rename(columns={"d": "e"}), y_val=y),
        "X_val.*feature names should match",
    ),
    "other order": (
        FRAME,
        dict(X_val=FRAME[list("badc")], y_val=y),
        "X_val.*same order",
    ),
}


@pytest.mark.parametrize("kind", BOTH, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("bad", VALIDATION)
def test_bad_validation_data_is_refused(bad, kind):
    rows, options, message = VALIDATION[bad]
    refused(kind(), f"(?s){message}", lambda model: model.fit(rows, y, **options))


def test_unknown_validation_labels_are_named():
    refused(
        GDClassifier(),
        r"y_val.*not in classes: \[5, 6, 7\]",
        lambda model: model.fit(X, y, X_val=X, y_val=y + 5),
    )


def test_validation_targets_lie_in_the_domain_of_the_loss():
    refused(
        GDRegressor(loss="gamma"),
        "y_val.*y must be > 0",
        lambda model: model.fit(X, y + 1.0, X_val=X, y_val=y),
    )


def test_a_split_that_leaves_nothing_is_refused():
    refused(
        GDRegressor(early_stopping=True, validation_fraction=0.999),
        "Splitting 150 rows with validation_fraction=0.999 leaves an empty set",
        lambda model: model.fit(X, y),
    )
    refused(
        GDClassifier(early_stopping=True),
        "early_stopping cannot hold out validation_fraction=0.1 of each class.*"
        "X_val and y_val",
        lambda model: model.fit(X[:51], y[:51]),
    )


STARTS = [
    (
        dict(coef_init=np.ones(3)),
        r"coef_init.*must have shape \((3|1), 4\); got \(3,\)",
    ),
    (dict(coef_init=np.ones((4, 3))), r"coef_init.*got \(4, 3\)"),
    (dict(coef_init=np.ones(12)), r"coef_init.*got \(12,\)"),
    (dict(coef_init="a"), "coef_init must be an array of real numbers"),
    (
        dict(intercept_init=np.ones(2)),
        r"intercept_init.*must have shape \((3|1),\); got \(2,\)",
    ),
    (dict(intercept_init=np.nan * np.ones((1, 3))), r"intercept_init.*got \(1, 3\)"),
]


@pytest.mark.parametrize("kind", BOTH, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("start, message", STARTS)
def test_a_start_of_another_shape_is_refused(start, message, kind):
    refused(kind(), message, lambda model: model.fit(X, y, **start))


@pytest.mark.parametrize("kind", BOTH, ids=lambda kind: kind.__name__)
def test_a_start_that_is_not_finite_is_refused(kind):
    shapes = {GDClassifier: ((3, 4), (3,)), GDRegressor: ((4,), (1,))}[kind]
    for name, shape in zip(("coef_init", "intercept_init"), shapes):
        refused(
            kind(),
            f"{name} must be finite",
            lambda model: model.fit(X, y, **{name: np.full(shape, np.inf)}),
        )


@pytest.mark.parametrize("kind", BOTH, ids=lambda kind: kind.__name__)
def test_assigned_coefficients_are_checked_like_a_start(kind):
    model = kind().fit(X, y)
    before = model.coef_.copy(), model.intercept_.copy()
    with pytest.raises(ValueError, match="coef_ does not match.*got"):
        model.coef_ = np.ones(3)
    with pytest.raises(ValueError, match="coef_ must be finite"):
        model.coef_ = np.full(model.coef_.shape, np.nan)
    with pytest.raises(ValueError, match="intercept_ does not match.*got"):
        model.intercept_ = np.ones(2)
    assert (model.coef_ == before[0]).all() and (model.intercept_ == before[1]).all()


def test_one_output_takes_starts_with_or_without_its_axis():
    X_, y_ = DATA[GDRegressor]
    start = np.arange(10.0)
    options = dict(max_iter=1, tol=None, learning_rate=1e-300)
    for coef in (start, start[None], start.tolist()):
        for intercept in (3.0, [3.0]):
            model = GDRegressor(**options).fit(
                X_, y_, coef_init=coef, intercept_init=intercept
            )
            assert abs(model.coef_ - start).max() < 1e-200 and model.intercept_ == 3.0
