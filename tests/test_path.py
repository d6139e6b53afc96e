"""A path is the fits that it stands for, and each of its models one of its own."""

import pickle
import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.datasets import load_iris, make_classification, make_regression
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import lasso_path
from sklearn.utils.validation import check_is_fitted

from sgdest import GDClassifier, GDRegressor, RegularizationPath, regularization_path
from sgdest._core import working_set
from sgdest._core.working_set import WorkingSetLane
from sgdest.losses import LOSSES
from sgdest.optimizers import SOLVERS

LAYOUTS = {"dense": np.asarray, "float32": np.float32, "csr": sp.csr_array}
# most are too large to go on to rounding whatever ``tol`` is
N_ROWS, N_FEATURES = 900, 30


def data(loss, n_rows=N_ROWS, n_features=N_FEATURES):
    """(X, y), targets as the loss allows them; columns of several scales, many zeros."""
    rng = np.random.default_rng(0)
    X = rng.normal(0.3, 1.0, (n_rows, n_features)) * (rng.random((n_rows, n_features)) < 0.5)
    z = X[:, :5] @ [1.0, -2.0, 0.5, 1.5, -1.0] + rng.normal(0.0, 0.5, n_rows)
    kind = LOSSES[loss].targets
    y = {"binary": z > 0.3, "sign": z > 0.3}.get(kind, z)
    if kind in ("nonnegative", "positive"):
        y = np.exp(0.3 * z)
    return X * np.geomspace(0.3, 3.0, n_features), y * 1.0


def estimator_of(loss, **parameters):
    kind = GDClassifier if LOSSES[loss].targets in ("binary", "sign") else GDRegressor
    return kind(loss, **parameters)


def objective(model):
    return model.history_["objective"][-1]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("penalty", ["l1", "elasticnet", "l2"])
@pytest.mark.parametrize("loss", sorted(set(LOSSES) - {"perceptron"}))
def test_every_model_is_as_near_to_its_minimum_as_a_fit(loss, penalty, layout):
    X, y = data(loss)
    X = LAYOUTS[layout](X)
    estimator = estimator_of(loss, penalty=penalty, l1_ratio=0.5, tol=1e-4, max_iter=5000)
    alphas = np.geomspace(1.0, 1e-2, 4)
    path = regularization_path(estimator, X, y, alphas=alphas)
    flat = clone(estimator).set_params(alpha=1e6, penalty="l2").fit(X, y)
    for alpha, model in zip(alphas, path):
        best = clone(estimator).set_params(alpha=alpha, tol=1e-9).fit(X, y)
        gained = max(objective(flat) - objective(best), 0.0)
        assert model.alpha == alpha and model.converged_
        assert objective(model) - objective(best) <= 1e-4 * gained + 1e-10


@pytest.mark.parametrize("solver", SOLVERS, ids=lambda solver: solver.name)
def test_every_solver_makes_a_path(solver):
    X, y = data("squared_error")
    chosen = GDRegressor("huber", penalty="l2", optimizer=solver(), tol=1e-8, max_iter=5000,
                         random_state=0)
    plain = clone(chosen).set_params(optimizer="auto", tol=1e-10)
    path = regularization_path(chosen, X, y, alphas=[1.0, 0.1, 0.01])
    # of the iterates of SAGA nothing is known for sure
    enough = 1e-4 if solver.name == "saga" else 1e-6
    for model in path:
        best = plain.set_params(alpha=model.alpha).fit(X, y)
        assert objective(model) - objective(best) <= enough * objective(best)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "saga", "gd"])
def test_step_optimizers_go_on_from_the_model_before(optimizer):
    X, y = data("log_loss")
    estimator = GDClassifier(optimizer=optimizer, max_iter=30, tol=None, random_state=0)
    path = regularization_path(estimator, X, y, alphas=[1.0, 0.1, 0.01])
    again = regularization_path(estimator, X, y, alphas=[1.0, 0.1, 0.01])
    assert_array_equal(path.coefs, again.coefs)
    assert objective(path[0]) > objective(path[1]) > objective(path[2])


# -- the strengths -------------------------------------------------------------------------------
SMOOTH = sorted(n for n, c in LOSSES.items() if c.smoothness == "smooth")


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize("loss", SMOOTH)
def test_the_first_alpha_is_the_least_without_a_coefficient(loss, positive, weighted, layout):
    X, y = data(loss)
    s = np.random.default_rng(1).uniform(0.0, 2.0, N_ROWS) if weighted else None
    estimator = estimator_of(loss, penalty="elasticnet", l1_ratio=0.7, positive=positive, tol=1e-10,
                             max_iter=5000, penalty_weights=np.linspace(0.5, 2.0, N_FEATURES))
    path = regularization_path(estimator, LAYOUTS[layout](X), y, eps=0.98, alphas=2,
                               sample_weight=s)
    assert not path[0].coef_.any()
    assert path[1].coef_.any()
    assert_allclose(path.alphas[1] / path.alphas[0], 0.98)


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_coefficients_are_those_of_lasso_path(fit_intercept):
    X, y = make_regression(300, 40, noise=5.0, random_state=0)
    at = (X.mean(axis=0), y.mean()) if fit_intercept else (0.0, 0.0)
    path = regularization_path(
        GDRegressor(penalty="l1", fit_intercept=fit_intercept, tol=1e-10), X, y, eps=1e-2, alphas=15)
    _, coefs, _ = lasso_path(X - at[0], y - at[1], alphas=path.alphas, tol=1e-10)
    least = np.abs((X - at[0]).T @ (y - at[1])).max() / len(X)
    assert_allclose(path.alphas, np.geomspace(least, 1e-2 * least, 15), rtol=1e-6)
    assert_allclose(path.coefs, coefs, atol=1e-4)
    assert path.intercepts.shape == (1, 15)


def test_columns_that_say_nothing_need_no_penalty():
    X, y = data("squared_error")
    X[:, 3], X[:, 7] = 0.0, 2.0
    estimator = GDRegressor(penalty="l1", penalty_weights="scale", tol=1e-8)
    path = regularization_path(estimator, X, y, alphas=3)
    assert not path.coefs[:, 0].any() and not path.coefs[[3, 7]].any()


def test_targets_that_nothing_explains_have_a_path():
    X, _ = data("squared_error")
    path = regularization_path(GDRegressor(penalty="l1"), X, np.full(N_ROWS, 3.0), alphas=3)
    assert len(path) == 3 and not path.coefs.any()
    assert_allclose(path.intercepts, 3.0)


def test_alphas_are_taken_in_falling_order():
    X, y = data("squared_error")
    path = regularization_path(GDRegressor(), X, y, alphas=(0.1, 10, 1.0))
    assert_array_equal(path.alphas, [10.0, 1.0, 0.1])


# -- the models ----------------------------------------------------------------------------------
def test_a_path_is_a_sequence_of_models():
    X, y = load_iris(return_X_y=True)
    path = regularization_path(GDClassifier(penalty="l1"), X, y, alphas=6)
    assert isinstance(path, RegularizationPath) and len(path) == len(list(path)) == 6
    assert path.coefs.shape == (3, 4, 6) and path.intercepts.shape == (3, 6)
    assert path[-1].score(X, y) > 0.9 > path[0].score(X, y)
    part = path[1:3]
    assert isinstance(part, RegularizationPath) and part[0] is path[1] and len(part) == 2
    assert "6 models" in repr(path) and repr(path[:0]) == "<RegularizationPath of 0 models>"
    again = pickle.loads(pickle.dumps(path))
    assert_array_equal(again.coefs, path.coefs)


def test_the_estimator_stays_as_it_is():
    X, y = data("log_loss")
    estimator = GDClassifier(alpha=0.5, penalty="l1")
    regularization_path(estimator, X, y, alphas=3)
    assert estimator.get_params() == GDClassifier(alpha=0.5, penalty="l1").get_params()
    with pytest.raises(NotFittedError):
        check_is_fitted(estimator)


def test_models_have_names_labels_and_lives_of_their_own():
    pandas = pytest.importorskip("pandas")
    X, y = data("log_loss")
    frame = pandas.DataFrame(X, columns=[f"x{j}" for j in range(N_FEATURES)])
    labels = np.where(y > 0, "yes", "no")
    path = regularization_path(GDClassifier(penalty="l1"), frame, labels, alphas=4)
    before = path.coefs
    model = path[2]
    assert list(model.feature_names_in_) == list(frame.columns)
    assert set(model.predict(frame)) == {"yes", "no"}
    loss = -model.predict_log_proba(frame)[np.arange(N_ROWS), y.astype(int)].mean()
    model.partial_fit(frame[:100], labels[:100])
    after = -model.predict_log_proba(frame)[np.arange(N_ROWS), y.astype(int)].mean()
    assert after <= 1.01 * loss            # a hundred rows do not throw the optimum away
    for k in (0, 1, 3):
        assert_array_equal(path[k].coef_, before[..., k])
    path[3].fit(frame[:200], labels[:200])
    assert_array_equal(path[1].coef_, before[..., 1])


def test_several_classes_by_one_versus_rest():
    X, y = make_classification(600, 60, n_informative=10, n_classes=3, random_state=0)
    for rows in (X, sp.csr_array(X)):
        estimator = GDClassifier("squared_hinge", penalty="l1", tol=1e-6, optimizer="working_set")
        path = regularization_path(estimator, rows, y, eps=0.05, alphas=4)
        for model in path:
            alone = clone(estimator).set_params(alpha=model.alpha, tol=1e-10).fit(rows, y)
            assert_allclose(model.coef_, alone.coef_, atol=2e-3)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_columns_are_kept_and_no_gradient_is_asked_for_twice(layout, monkeypatch):
    X, y = data("huber", n_rows=3000)
    made = []
    counted = [(working_set, "Columns"), (WorkingSetLane, "look"), (WorkingSetLane, "solve")]
    for owner, name in counted:
        def count(*args, name=name, call=getattr(owner, name)):
            made.append(name)
            return call(*args)
        monkeypatch.setattr(owner, name, count)
    estimator = GDRegressor("huber", penalty="l1", optimizer="working_set", tol=1e-6)
    least = regularization_path(estimator, X, y, alphas=1).alphas[0]
    made.clear()
    regularization_path(estimator, LAYOUTS[layout](X), y, alphas=least * np.geomspace(0.8, 0.05, 5))
    assert made.count("Columns") == 1
    assert made.count("look") == 1 + made.count("solve") > 5


# -- what is not allowed -------------------------------------------------------------------------
@pytest.mark.parametrize("parameters, arguments, error, message", [
    ({"penalty": "l2"}, {}, ValueError, "alphas must be listed"),
    ({"penalty": None}, {"alphas": [1.0]}, ValueError, "penalty=None"),
    ({"early_stopping": True}, {"alphas": [1.0]}, ValueError, "early_stopping"),
    ({"penalty": "l1", "penalty_weights": np.eye(1, N_FEATURES)[0]}, {}, ValueError,
     "penalty_weights of 0"),
    ({}, {"alphas": []}, ValueError, "alphas must be"),
    ({}, {"alphas": [1.0, -1.0]}, ValueError, "alphas must be"),
    ({}, {"alphas": [1.0, np.nan]}, ValueError, "alphas must be"),
    ({}, {"alphas": [[1.0]]}, ValueError, "alphas must be"),
    ({"penalty": "l1"}, {"eps": 1.0}, ValueError, "'eps'"),
    ({"penalty": "l1"}, {"alphas": 0}, ValueError, "alphas must be"),
    ({"penalty": "l1"}, {"alphas": 2.5}, ValueError, "alphas must be"),
    ({"penalty": "l1"}, {"alphas": "many"}, ValueError, "alphas"),
    ({"alpha": -1.0}, {"alphas": [1.0]}, ValueError, "'alpha'"),
])
def test_errors_name_what_is_wrong(parameters, arguments, error, message):
    X, y = data("squared_error")
    with pytest.raises(error, match=message):
        regularization_path(GDRegressor(**parameters), X, y, **arguments)


def test_only_our_estimators_have_a_path():
    X, y = data("squared_error")
    with pytest.raises(TypeError, match="GDClassifier or a GDRegressor"):
        regularization_path("lasso", X, y)


def test_malformed_rows_are_refused():
    X, y = data("squared_error")
    X = sp.csr_array(X)
    X.indices[5] = N_FEATURES + 7
    with pytest.raises(ValueError):
        regularization_path(GDRegressor(penalty="l1"), X, y)


def test_one_warning_says_which_models_have_not_converged():
    X, y = data("log_loss", n_rows=3000)
    estimator = GDClassifier(optimizer="lbfgs", tol=1e-12, max_iter=2)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        path = regularization_path(estimator, X, y, alphas=[1e-3, 1e-4, 1e-5])
    said = [w for w in caught if issubclass(w.category, ConvergenceWarning)]
    assert len(said) == 1 and said[0].filename == __file__
    assert str(said[0].message).startswith("alpha=0.001: Maximum number of iteration")
    assert "3 of 3 models" in str(said[0].message)
    assert not any(model.converged_ for model in path)
