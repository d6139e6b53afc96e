"""``sgdest.compat`` gives the models, errors and signatures of scikit-learn."""

import doctest
import inspect
import io
import os
import pickle
import re
import subprocess
import sys
import warnings
from contextlib import redirect_stdout
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import linear_model
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.estimator_checks import parametrize_with_checks
from sklearn.utils.fixes import parse_version

from sgdest import compat
from sgdest._core.losses import LOSSES

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

like_1_9 = pytest.mark.skipif(
    parse_version(sklearn.__version__) < parse_version("1.9"),
    reason="compared with the scikit-learn at hand, whose classes changed up to 1.9",
)

CLASSES = ["SGDClassifier", "SGDRegressor"]
PENALTIES = [None, "l2", "l1", "elasticnet"]
SCHEDULES = ["constant", "optimal", "invscaling", "adaptive", "pa1", "pa2"]
STORAGES = {"dense": np.asarray, "csr": sp.csr_matrix}
TASKS = ["binary", "three classes", "regression"]

# Rows of length about one and a strong penalty: no step overshoots, so that rounding
# (sums are taken in another order here) is not amplified and 1e-10 is the right bound.
SHORT_STEPS = {"alpha": 0.1, "max_iter": 4, "tol": None, "random_state": 3}

# Tests of scikit-learn that look at the inside of its own implementation.
PRIVATE_TO_SKLEARN = {
    "test_validation_mask_correctly_subsets": "replaces a private class by a mock",
}


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    X = 0.4 * rng.standard_normal((120, 7))
    X[rng.random(X.shape) < 0.4] = 0.0
    z = X @ rng.standard_normal(7)
    targets = {
        "binary": (z > 0.1).astype(int),
        "three classes": np.digitize(z, [-0.4, 0.4]),
        "regression": z + 0.1 * rng.standard_normal(120),
    }
    return X, targets, rng.uniform(0.5, 2.0, 120)


def pair(task, **parameters):
    """scikit-learn's estimator for the task and ours."""
    name = "SGDRegressor" if task == "regression" else "SGDClassifier"
    return [getattr(module, name)(**parameters) for module in (linear_model, compat)]


def schedules(task, loss):
    """Schedules that are legal with the loss."""
    passive = "epsilon_insensitive" if task == "regression" else "hinge"
    return SCHEDULES if loss == passive else SCHEDULES[:4]


def assert_same_model(theirs, ours, what, tolerance=1e-10):
    for name in ("coef_", "intercept_"):
        expected, actual = getattr(theirs, name), getattr(ours, name)
        message = f"{name} with {what}"
        assert_allclose(actual, expected, tolerance, tolerance, err_msg=message)
        assert actual.shape == expected.shape, message
        assert actual.dtype == expected.dtype, message
    assert theirs.n_iter_ == ours.n_iter_, what
    assert theirs.t_ == ours.t_, what


# -- scikit-learn's own tests ----------------------------------------------------------


@like_1_9
def test_the_test_suite_of_scikit_learn_passes():
    here = Path(__file__).parent
    suite = Path(sklearn.__file__).parent / "linear_model" / "tests" / "test_sgd.py"
    deselected = ["oneclass", "one_class", "ocsvm", *PRIVATE_TO_SKLEARN]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "sklearn_sgd_replaced"]
    command += ["-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", suite.parent]
    command += ["-k", " and ".join(f"not {name}" for name in deselected), suite]
    package = Path(compat.__file__).parents[1]
    paths = [here, package, os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))}
    run = subprocess.run(
        list(map(str, command)), env=environment, cwd=here, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-1000:]
    assert "skipped" not in run.stdout.splitlines()[-1]
    assert int(re.search(r"(\d+) passed", run.stdout)[1]) >= 200


def _expected_failures(estimator):
    reason = "a weight scales the step of its row, which is not a repetition of the row"
    return {
        "check_sample_weight_equivalence_on_dense_data": reason,
        "check_sample_weight_equivalence_on_sparse_data": reason,
    }


@parametrize_with_checks(
    [compat.SGDClassifier(), compat.SGDRegressor()],
    expected_failed_checks=_expected_failures,
)
def test_estimator_checks(estimator, check):
    check(estimator)


# -- the same models -------------------------------------------------------------------


@like_1_9
@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("task", TASKS)
def test_every_combination_gives_the_model_of_scikit_learn(data, task, storage):
    X, y = STORAGES[storage](data[0]), data[1][task]
    losses = pair(task)[1].loss_functions
    for loss, penalty, average in product(losses, PENALTIES, [False, True, 10]):
        for schedule in schedules(task, loss):
            what = dict(
                loss=loss, penalty=penalty, learning_rate=schedule, average=average
            )
            theirs, ours = pair(task, **what, **SHORT_STEPS)
            assert_same_model(theirs.fit(X, y), ours.fit(X, y), what)


VARIATIONS = [
    {"shuffle": False},
    {"random_state": 0},
    {"random_state": 2**31},
    {"fit_intercept": False, "learning_rate": "constant", "eta0": 0.1},
    {"max_iter": 30, "alpha": 1e-3, "penalty": "elasticnet", "l1_ratio": 0.7},
    {"penalty": "elasticnet", "l1_ratio": 0.0},
    {"penalty": "elasticnet", "l1_ratio": 1.0},
    {"average": 10**6},
    {"power_t": 0.1, "learning_rate": "invscaling", "eta0": 0.5},
    # shrinks all weights to nothing, so that the scale has to be multiplied out
    {"alpha": 5.0, "learning_rate": "constant", "eta0": 0.19},
    {"alpha": 50.0, "learning_rate": "constant", "eta0": 1.0, "average": True},
    {"early_stopping": True, "max_iter": 50, "tol": 1e-3},
    {"early_stopping": True, "max_iter": 7, "validation_fraction": 0.4},
    {
        "early_stopping": True,
        "max_iter": 60,
        "tol": 1e-3,
        "learning_rate": "adaptive",
        "eta0": 0.1,
        "n_iter_no_change": 2,
        "average": True,
    },
]


@like_1_9
@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("task", TASKS)
def test_every_parameter_means_what_it_means_in_scikit_learn(data, task, storage):
    X, y, s = STORAGES[storage](data[0]), data[1][task], data[2]
    losses = ["squared_error", "huber"]
    losses = losses if task == "regression" else ["log_loss", "hinge"]
    for loss, variation, weights in product(losses, VARIATIONS, [None, s]):
        what = {**SHORT_STEPS, "loss": loss, **variation}
        theirs, ours = pair(task, **what)
        theirs.fit(X, y, sample_weight=weights)
        ours.fit(X, y, sample_weight=weights)
        assert_same_model(theirs, ours, (what, weights is not None))


@like_1_9
@pytest.mark.parametrize("class_weight", ["balanced", {0: 0.3, 1: 2.0}])
@pytest.mark.parametrize("task", ["binary", "three classes"])
def test_class_weights_give_the_model_of_scikit_learn(data, task, class_weight):
    X, targets, s = data
    for average, shuffle in product([False, 5], [False, True]):
        what = dict(class_weight=class_weight, average=average, shuffle=shuffle)
        theirs, ours = pair(task, **what, **SHORT_STEPS)
        theirs.fit(X, targets[task], sample_weight=s)
        ours.fit(X, targets[task], sample_weight=s)
        assert_same_model(theirs, ours, what)


@like_1_9
@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("task", TASKS)
def test_partial_fit_follows_scikit_learn_call_by_call(data, task, storage):
    X, y, s = STORAGES[storage](data[0]), data[1][task], data[2]
    options = {} if task == "regression" else {"classes": np.unique(y)}
    for average, penalty, after_fit in product([False, True, 150], PENALTIES, [0, 1]):
        what = dict(average=average, penalty=penalty)
        models = pair(task, **what, **SHORT_STEPS)
        if after_fit:
            models = [model.fit(X, y) for model in models]
        for start in (0, 40, 80, 0, 40):
            part = slice(start, start + 40)
            for model in models:
                model.partial_fit(X[part], y[part], sample_weight=s[part], **options)
            assert_same_model(*models, (what, after_fit, start))


@like_1_9
@pytest.mark.parametrize("task", TASKS)
def test_warm_starts_and_given_starts_follow_scikit_learn(data, task):
    X, y = data[0], data[1][task]
    start = np.linspace(-1, 1, 21).reshape(3, 7)
    start = start if task == "three classes" else start[0]
    intercepts = [0.5, -0.5, 0.1] if task == "three classes" else [0.5]
    for average, penalty in product([False, True, 150], PENALTIES):
        what = dict(average=average, penalty=penalty, warm_start=True)
        models = pair(task, **what, **SHORT_STEPS)
        for model in models:
            # a copy each: scikit-learn writes into what it is given
            model.fit(X, y, coef_init=start.copy(), intercept_init=list(intercepts))
        assert_same_model(*models, (what, "given start"))
        for repeat in range(2):
            models = [model.fit(X[::2], y[::2]) for model in models]
            assert_same_model(*models, (what, repeat))


@like_1_9
@pytest.mark.parametrize("task", TASKS)
def test_a_random_state_object_is_drawn_from_as_in_scikit_learn(data, task):
    X, y = data[0], data[1][task]
    for early_stopping in (False, True):
        states = [np.random.RandomState(5) for _ in range(2)]
        what = {**SHORT_STEPS, "early_stopping": early_stopping}
        models = pair(task, **what)
        for model, state in zip(models, states):
            model.set_params(random_state=state).fit(X, y).fit(X, y)
        assert_same_model(*models, what)
        assert states[0].randint(2**31) == states[1].randint(2**31)


@like_1_9
@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("task", TASKS)
def test_float32_models_agree_to_single_precision(data, task, storage):
    X, y = STORAGES[storage](data[0].astype(np.float32)), data[1][task]
    for penalty, average in product(PENALTIES, [False, True]):
        what = dict(penalty=penalty, average=average)
        theirs, ours = pair(task, **what, **SHORT_STEPS)
        assert_same_model(theirs.fit(X, y), ours.fit(X, y), what, tolerance=1e-5)
        assert ours.coef_.dtype == np.float32


@like_1_9
@pytest.mark.parametrize("loss", ["log_loss", "modified_huber"])
@pytest.mark.parametrize("task", ["binary", "three classes"])
def test_probabilities_are_those_of_scikit_learn(data, task, loss):
    X, y = data[0], data[1][task]
    # far away rows bring the probabilities of 'modified_huber' to 0 in every class
    queries = np.vstack([X, 100.0 * X])
    theirs, ours = pair(task, loss=loss, **SHORT_STEPS)
    expected = theirs.fit(X, y).predict_proba(queries)
    assert_allclose(ours.fit(X, y).predict_proba(queries), expected, rtol=1e-9)
    with np.errstate(divide="ignore"):
        assert_allclose(ours.predict_log_proba(X), np.log(expected[:120]), rtol=1e-9)
    assert_array_equal(ours.predict(queries), theirs.predict(queries))


def test_labels_without_any_probability_get_the_same_everywhere():
    X, y = np.eye(3), np.arange(3)
    model = compat.SGDClassifier("modified_huber", random_state=0).fit(X, y)
    model.coef_, model.intercept_ = -np.ones((3, 3)), -np.ones(3)
    assert_allclose(model.predict_proba(X), np.full((3, 3), 1 / 3))


# -- stopping --------------------------------------------------------------------------


@like_1_9
@pytest.mark.parametrize("task", TASKS)
def test_dense_fits_stop_in_the_epoch_in_which_scikit_learn_stops(data, task):
    X, y = data[0], data[1][task]
    losses = pair(task)[1].loss_functions
    stopped = 0
    for loss, penalty, tol in product(losses, PENALTIES, [1e-2, 1e-4]):
        for schedule in schedules(task, loss):
            what = dict(loss=loss, penalty=penalty, tol=tol, learning_rate=schedule)
            options = dict(alpha=0.02, max_iter=60, n_iter_no_change=3, random_state=1)
            theirs, ours = pair(task, **what, **options)
            assert ours.fit(X, y).n_iter_ == theirs.fit(X, y).n_iter_, what
            stopped += ours.n_iter_ < 60
    assert stopped > 50


@pytest.mark.parametrize("loss", ["log_loss", "hinge", "squared_error"])
def test_storage_does_not_change_when_a_fit_stops(data, loss):
    # without an intercept, whose rate differs on CSR, the objectives are the same
    X, y = data[0], data[1]["binary"]
    options = dict(alpha=0.02, tol=1e-5, max_iter=200, random_state=0)
    model = compat.SGDClassifier(loss, fit_intercept=False, **options)
    dense, sparse = clone(model).fit(X, y), clone(model).fit(sp.csr_matrix(X), y)
    assert dense.n_iter_ == sparse.n_iter_ < 200
    assert_allclose(dense.coef_, sparse.coef_, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("learning_rate", ["constant", "pa1"])
@pytest.mark.parametrize("penalty", PENALTIES)
def test_the_objective_on_csr_has_the_norm_of_all_weights(data, penalty, learning_rate):
    X, y = data[0][:60], data[1]["regression"][:60]
    model = compat.SGDRegressor(
        "epsilon_insensitive",
        penalty=penalty,
        alpha=0.05,
        l1_ratio=0.4,
        fit_intercept=False,
        shuffle=False,
        tol=None,
        max_iter=1,
        learning_rate=learning_rate,
        eta0=0.2,
    )
    # the weights before step k are those of a fit on the first k rows
    weights = [np.zeros(7)]
    for k in range(1, 60):
        weights.append(clone(model).fit(sp.csr_matrix(X[:k]), y[:k]).coef_)
    W = np.array(weights)
    losses = np.maximum(0.0, np.abs(y - np.sum(X * W, axis=1)) - 0.1)
    share = {None: 0.0, "l2": 0.0, "l1": 1.0, "elasticnet": 0.4}[penalty]
    counts = penalty is not None and learning_rate != "pa1"
    norms = (1 - share) * 0.5 * np.sum(W**2, axis=1) + share * np.sum(np.abs(W), axis=1)
    expected = np.mean(losses + counts * 0.05 * norms)
    with redirect_stdout(io.StringIO()) as printed:
        model.set_params(verbose=1).fit(sp.csr_matrix(X), y)
    objective = float(re.search(r"Objective: ([\d.]+)", printed.getvalue())[1])
    assert_allclose(objective, expected, atol=1e-6)  # six digits are printed


@like_1_9
@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("name", CLASSES)
def test_verbose_prints_what_scikit_learn_prints(data, name, early_stopping):
    task = "binary" if name == "SGDClassifier" else "regression"
    X, y = data[0], data[1][task]
    printed = []
    for model in pair(task, verbose=1, random_state=0, early_stopping=early_stopping):
        with redirect_stdout(io.StringIO()) as out:
            model.fit(X, y)
        printed.append(re.sub(r"[\d.]+ seconds", "", out.getvalue()))
    assert printed[0] == printed[1]


# -- the interface ---------------------------------------------------------------------


@like_1_9
@pytest.mark.parametrize("name", CLASSES)
def test_signatures_are_those_of_scikit_learn(name):
    theirs, ours = getattr(linear_model, name), getattr(compat, name)
    assert inspect.signature(ours) == inspect.signature(theirs)
    for method in ("fit", "partial_fit", "predict", "score", "set_fit_request"):
        expected = inspect.signature(getattr(theirs, method)).parameters
        actual = inspect.signature(getattr(ours, method)).parameters
        assert list(actual) == list(expected), method
    assert list(ours.loss_functions) == list(theirs.loss_functions)
    assert set(dir(theirs())) - set(dir(ours())) <= {
        name for name in dir(theirs()) if name.startswith("_")
    }


def test_examples_in_the_docstrings_run():
    result = doctest.testmod(compat)
    assert result.attempted > 5 and result.failed == 0


@pytest.mark.parametrize("name", CLASSES)
def test_losses_are_named_and_default_to_a_tenth(name):
    losses = getattr(compat, name).loss_functions
    assert set(losses) <= set(LOSSES)
    assert losses["huber"][1] == losses["epsilon_insensitive"][1] == 0.1


def errors(X, y):
    """(parameters, how to call) pairs that must raise."""
    n, d = X.shape
    fit = lambda model: model.fit(X, y)  # noqa: E731
    partial = lambda model: model.partial_fit(X, y)  # noqa: E731
    zeros = np.zeros(n)
    return [
        ({"alpha": -1.0}, fit),
        ({"loss": "absolute"}, fit),
        ({"penalty": "l3"}, fit),
        ({"l1_ratio": 2}, fit),
        ({"learning_rate": "schedule"}, fit),
        ({"eta0": 0.0}, fit),
        ({"max_iter": 0}, fit),
        ({"tol": -1.0}, fit),
        ({"average": -1}, fit),
        ({"n_iter_no_change": 0}, fit),
        ({"validation_fraction": 1.0}, fit),
        ({"early_stopping": True}, partial),
        ({"alpha": 0, "learning_rate": "optimal"}, fit),
        ({"learning_rate": "pa1", "loss": "squared_error"}, fit),
        ({"penalty": "elasticnet", "l1_ratio": None}, fit),
        ({"early_stopping": True, "validation_fraction": 0.999}, fit),
        ({"learning_rate": "constant", "eta0": 1e300, "loss": "squared_error"}, fit),
        ({}, lambda model: model.fit(X, y[:-1])),
        ({}, lambda model: model.fit(X, y, coef_init=np.zeros(d + 1))),
        ({}, lambda model: model.fit(X, y, intercept_init=np.zeros(9))),
        ({}, lambda model: model.fit(X, y, sample_weight=zeros)),
        ({}, lambda model: model.fit(X, y, sample_weight=zeros[:-1])),
        ({"early_stopping": True}, lambda model: model.fit(X, y, sample_weight=zeros)),
        ({}, lambda model: model.fit(X, y).partial_fit(X[:, :-1], y)),
        ({}, lambda model: model.predict(X)),
    ]


@like_1_9
@pytest.mark.parametrize("task", TASKS)
def test_errors_are_those_of_scikit_learn(data, task):
    X, y = data[0], data[1][task]
    cases = errors(X, y)
    if task != "regression":
        weights = {"class_weight": "balanced"}
        cases += [
            ({}, lambda model: model.partial_fit(X, y)),
            ({}, lambda model: model.fit(X, np.ones(120))),
            ({}, lambda model: model.fit(X, y).partial_fit(X, y, classes=[0, 9])),
            ({}, lambda model: model.fit(X, y).predict_proba(X)),
            (weights, lambda model: model.partial_fit(X, y, classes=np.unique(y))),
        ]
    for parameters, call in cases:
        theirs, ours = pair(task, **{**SHORT_STEPS, **parameters})
        with pytest.raises(Exception) as expected:
            call(theirs)
        with pytest.raises(type(expected.value)) as actual:
            call(ours)
        # choices are listed in the order of a set: as words, sorted
        words = [re.findall(r"[\w.]+", str(e.value)) for e in (expected, actual)]
        assert sorted(words[0]) == sorted(words[1]), parameters


@pytest.mark.parametrize("name", CLASSES)
def test_weights_that_are_all_zero_are_refused_on_every_version(data, name):
    X, y = data[0], data[1]["binary"]
    with pytest.raises(ValueError, match="at least one non-zero number"):
        getattr(compat, name)().fit(X, y, sample_weight=np.zeros(120))


@pytest.mark.parametrize("name", CLASSES)
def test_warnings_tell_of_epochs_and_of_negative_powers(data, name):
    X, y = data[0], data[1]["binary"]
    with pytest.warns(ConvergenceWarning, match="Maximum number of iteration reached"):
        getattr(compat, name)(max_iter=1).fit(X, y)
    with pytest.warns(FutureWarning, match="Negative values for `power_t`"):
        getattr(compat, name)(power_t=-0.5, random_state=0).fit(X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        getattr(compat, name)(max_iter=1, tol=None).fit(X, y)


@pytest.mark.parametrize("average", [False, True])
@pytest.mark.parametrize("name", CLASSES)
def test_what_the_caller_gives_is_not_written_to(data, name, average):
    X, y, s = data[0].copy(), data[1]["binary"].copy(), data[2].copy()
    start = np.ones(7)
    for array in (X, y, s, start):
        array.flags.writeable = False
    model = getattr(compat, name)(average=average, random_state=0)
    model.fit(X, y, coef_init=start, sample_weight=s).partial_fit(X, y)
    assert_array_equal(start, 1.0)
    before = model.coef_.copy(), model.coef_
    model.partial_fit(X, y)
    assert_array_equal(*before)


@pytest.mark.parametrize("average", [False, True])
@pytest.mark.parametrize("name", CLASSES)
def test_a_pickled_model_goes_on_as_the_original(data, name, average):
    X, y = data[0], data[1]["three classes"]
    model = getattr(compat, name)(average=average, random_state=0).fit(X, y)
    other = pickle.loads(pickle.dumps(model))
    assert_array_equal(model.partial_fit(X, y).coef_, other.partial_fit(X, y).coef_)
    assert_array_equal(model.intercept_, other.intercept_)


def test_threads_do_not_change_the_model(data):
    X, y = data[0], data[1]["three classes"]
    for early_stopping in (False, True):
        fits = [
            compat.SGDClassifier(
                random_state=0, n_jobs=n_jobs, early_stopping=early_stopping
            ).fit(X, y)
            for n_jobs in (None, 3)
        ]
        assert_array_equal(fits[0].coef_, fits[1].coef_)


@pytest.mark.parametrize("name", CLASSES)
def test_64_bit_indices_and_repeated_columns_are_read_as_the_matrix_they_mean(name):
    rng = np.random.default_rng(0)
    columns, values = rng.integers(0, 5, 120), rng.standard_normal(120)
    starts = np.arange(0, 121, 4)
    y = rng.integers(0, 2, 30)
    plain = sp.csr_matrix(sp.csr_matrix((values, columns, starts), (30, 5)).toarray())
    wide = sp.csr_matrix((values, columns, starts), (30, 5))
    wide.indices, wide.indptr = wide.indices.astype("i8"), wide.indptr.astype("i8")
    fits = [
        getattr(compat, name)(penalty="l1", alpha=0.01, random_state=0).fit(X, y)
        for X in (plain, wide)
    ]
    assert_allclose(fits[0].coef_, fits[1].coef_, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", CLASSES)
def test_held_out_rows_do_not_move_the_weights(data, name):
    X, y = data[0], data[1]["binary"]
    options = dict(random_state=0, shuffle=False, max_iter=5, tol=None)
    model = getattr(compat, name)(early_stopping=True, **options)
    mask = model._held_out(y, np.ones(120))
    assert mask.sum() == 12
    spoiled = np.where(mask[:, None], 1e3, X)
    assert_array_equal(model.fit(X, y).coef_, clone(model).fit(spoiled, y).coef_)


@pytest.mark.parametrize("again", ["partial_fit", "fit", "warm fit"])
@pytest.mark.parametrize("kind", [compat.SGDClassifier, compat.SGDRegressor])
def test_a_sparsified_model_learns_on_as_if_it_were_dense(kind, again):
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((50, 3)), rng.integers(0, 2, 50)
    models = [kind(random_state=0, max_iter=3, tol=None, warm_start=again == "warm fit").fit(X, y)
              for _ in range(2)]
    models[1].sparsify()
    for model in models:
        model.partial_fit(X, y) if again == "partial_fit" else model.fit(X, y)
    assert_array_equal(models[1].coef_, models[0].coef_)
