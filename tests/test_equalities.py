"""The guide's tables hold: our models equal those of scikit-learn's other classes."""

import inspect
import re
from pathlib import Path

import numpy as np
import pytest
import scipy.optimize
import scipy.sparse as sp
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import linear_model, neural_network, svm
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine
from sklearn.linear_model import SGDClassifier
from sklearn.preprocessing import scale
from sklearn.utils.fixes import parse_version

from sgdest import GDClassifier, GDRegressor, losses

GUIDE = Path(__file__).parents[1] / "docs" / "guide" / "scikit-learn.md"
ROWS = re.findall(r"^\| `(\w+\(.*\))` \| `(GD\w+\(.*\))` \|$", GUIDE.read_text(), re.M)
OLDER_THAN_1_7 = parse_version(sklearn.__version__) < parse_version("1.7")
VARIABLES = {"C": 0.05, "a": 0.5, "r": 0.3, "e": 1.2, "q": 0.8, "p": 1.3}

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

# their solvers at their most exact
EXACT = {
    "LogisticRegression": {"solver": "newton-cholesky", "tol": 1e-12, "max_iter": 1000},
    "LinearSVC": {"tol": 1e-12, "max_iter": 10**6, "random_state": 0},
    "LinearSVR": {"tol": 1e-12, "max_iter": 10**6, "random_state": 0},
    "Lasso": {"tol": 1e-12, "max_iter": 10**6},
    "ElasticNet": {"tol": 1e-12, "max_iter": 10**6},
    "Ridge": {"tol": 1e-12, "max_iter": 10**6},
    "RidgeClassifier": {"tol": 1e-12},
    "MLPClassifier": {"solver": "lbfgs", "random_state": 0},
    "MLPRegressor": {"solver": "lbfgs", "random_state": 0},
    "PoissonRegressor": {"solver": "newton-cholesky", "tol": 1e-12},
    "GammaRegressor": {"solver": "newton-cholesky", "tol": 1e-12},
    "TweedieRegressor": {"solver": "newton-cholesky", "tol": 1e-12},
    "LinearRegression": {},
    "QuantileRegressor": {},
    "HuberRegressor": {},
}


@pytest.fixture(autouse=True)
def exact_lbfgs(monkeypatch):
    """L-BFGS of SciPy, which some of their classes call, runs to rounding."""
    minimize = scipy.optimize.minimize

    def exact(*args, options=None, **keywords):
        options = {**(options or {}), "ftol": 0, "gtol": 1e-11, "maxiter": 10**5}
        return minimize(*args, options={**options, "maxfun": 10**6}, **keywords)

    monkeypatch.setattr(scipy.optimize, "minimize", exact)


def _data(kind):
    X, y = {
        "two classes": load_breast_cancer,
        "three classes": load_wine,
        "numbers": load_diabetes,
    }[kind](return_X_y=True)
    # sums of columns are not zero, so models without an intercept are not trivial
    return scale(X) + 0.5, y / 100 if kind == "numbers" else y


def _variables(theirs):
    """What the letters in the guide stand for."""
    # at C=0.05 the dual solver of LinearSVC ends 1e-5 of F above the minimum
    return {**VARIABLES, "C": 0.01} if "hinge" in theirs else VARIABLES


def _theirs(text):
    """Their estimator, at its most exact."""
    for module in (linear_model, svm, neural_network):
        kind = getattr(module, text.split("(")[0], None)
        if kind is not None:
            break
    model = eval(text, {kind.__name__: kind, **_variables(text)})
    model.set_params(**EXACT[kind.__name__])
    if "l1_ratio" in text and kind is linear_model.LogisticRegression:
        model.set_params(solver="saga", tol=1e-9, max_iter=10**5, random_state=0)
        if parse_version(sklearn.__version__) < parse_version("1.8"):
            model.set_params(penalty="elasticnet")
    if kind is linear_model.Ridge and model.positive:
        model.set_params(solver="lbfgs")
    if kind in (svm.LinearSVC, svm.LinearSVR):  # the primal solver where there is one
        model.set_params(
            dual="hinge" == model.loss or "epsilon_insensitive" == model.loss
        )
    return model


def _coefficients(model):
    """(coefficients by output, intercepts) of either library."""
    if hasattr(model, "coefs_"):
        coef, intercept = model.coefs_[0].T, model.intercepts_[0]
    else:
        coef, intercept = np.atleast_2d(model.coef_), np.atleast_1d(model.intercept_)
    return coef, np.broadcast_to(intercept, len(coef))


def _takes_weights(model):
    """Whether weights can be compared.

    With weights, the dual solver of LinearSVC and LinearSVR stops above the minimum:
    after 10^6 passes by 3e-6 (hinge, wine) and 4e-4 (LinearSVR, diabetes) of F.
    """
    has_weights = "sample_weight" in inspect.signature(model.fit).parameters
    if model.get_params().get("class_weight") and OLDER_THAN_1_7:
        return False  # its "balanced" counted rows without their weights
    return has_weights and not getattr(model, "dual", False)


def _cases():
    cases = []
    for theirs, ours in ROWS:
        kinds = ["numbers"] if "Regressor" in ours else ["two classes", "three classes"]
        for kind in kinds:
            for weighted in [False, True][: 1 + _takes_weights(_theirs(theirs))]:
                name = f"{theirs}-{kind}{'-weighted' * weighted}"
                cases.append(pytest.param(theirs, ours, kind, weighted, id=name))
    return cases


def test_the_guide_names_every_class():
    assert {theirs.split("(")[0] for theirs, _ in ROWS} == set(EXACT)


@pytest.mark.parametrize("theirs, ours, kind, weighted", _cases())
def test_models_are_equal(theirs, ours, kind, weighted):
    X, y = _data(kind)
    model = _theirs(theirs)
    weights = {}
    if weighted:
        weights["sample_weight"] = np.random.default_rng(0).uniform(0.5, 2, len(y))
    model.fit(X, y, **weights)
    total = weights["sample_weight"].sum() if weighted else len(y)
    names = {"GDClassifier": GDClassifier, "GDRegressor": GDRegressor, "losses": losses}
    names.update(_variables(theirs), n=total, scale=getattr(model, "scale_", None))
    mirror = eval(ours, names).set_params(tol=1e-10, max_iter=10**5)
    mirror.fit(X, y, **weights)
    coef, intercept = _coefficients(model)
    own_coef, own_intercept = _coefficients(mirror)
    if mirror.get_params()["loss"] == "log_loss" and len(intercept) > 1:
        # adding a number to all of them changes nothing; ours add up to zero
        intercept = intercept - intercept.mean()
    assert_allclose(own_coef, coef, rtol=0, atol=1e-5 * abs(coef).max())
    size = max(abs(intercept).max(), abs(coef).max())
    assert_allclose(own_intercept, intercept, rtol=0, atol=1e-5 * size)


# -- GDClassifier(**SGDClassifier().get_params()) --------------------------------------


def _sgd(**parameters):
    """GDClassifier with the parameters of scikit-learn's SGDClassifier."""
    return GDClassifier(**SGDClassifier(random_state=0, **parameters).get_params())


def test_parameters_of_sgd_mean_descent_with_that_rate():
    plan = _sgd().fit(*_data("two classes")).optimizer_
    assert plan.optimizer.name == "sgd"
    assert (plan.learning_rate, plan.batch_size) == ("optimal", 1)


def test_log_loss_of_many_classes_is_softmax_and_its_intercepts_sum_to_zero():
    X, y = _data("three classes")
    model = _sgd(loss="log_loss").fit(X, y)
    assert_allclose(model.intercept_.sum(), 0, atol=1e-12)
    z = model.decision_function(X)
    odds = np.log(model.predict_proba(X))
    assert_allclose(odds - odds[:, :1], z - z[:, :1], atol=1e-6)


def test_the_size_of_the_weights_does_not_matter():
    X, y = _data("two classes")
    weights = np.full(len(y), 8.0)
    fit = _sgd(max_iter=3, tol=None)
    plain = fit.fit(X, y).coef_.copy()
    assert_allclose(fit.fit(X, y, sample_weight=weights).coef_, plain, rtol=1e-10)


def test_sparse_rows_give_the_model_of_dense_ones():
    X, y = _data("two classes")
    dense = _sgd(max_iter=3, tol=None).fit(X, y)
    sparse = _sgd(max_iter=3, tol=None).fit(sp.csr_array(X), y)
    assert_allclose(sparse.coef_, dense.coef_, rtol=1e-8)
    assert_allclose(sparse.intercept_, dense.intercept_, rtol=1e-8)


def test_zeros_of_the_last_iterate_are_zeros_of_the_average():
    X, y = _data("two classes")
    settings = {"penalty": "l1", "alpha": 0.05, "max_iter": 5, "tol": None}
    last = _sgd(**settings).fit(X, y)
    average = _sgd(**settings, average=True).fit(X, y)
    assert_array_equal(average.coef_ == 0, last.coef_ == 0)
    assert (last.coef_ == 0).any()


def test_the_best_weights_are_kept_and_divergence_warns():
    X, y = _data("two classes")
    kept = _sgd(early_stopping=True).fit(X, y)
    assert kept.best_validation_score_ == kept.validation_scores_[kept.best_epoch_ - 1]
    wild = _sgd(loss="squared_error", learning_rate="constant", eta0=10.0)
    with pytest.warns(sklearn.exceptions.ConvergenceWarning, match="exploded"):
        wild.fit(X, y)
    assert np.isfinite(wild.coef_).all()
    assert not wild.coef_.flags.writeable
