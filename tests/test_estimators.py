"""The contract of the estimators outside of learning: shapes, settled coefficients, copies."""

import copy
import pickle

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import SGDClassifier, SGDRegressor

from sgdest import GDClassifier, GDRegressor
from sgdest.losses import Quantile, Tweedie

BINARY = load_breast_cancer(return_X_y=True)
CLASSES = load_iris(return_X_y=True)
NUMBERS = load_diabetes(return_X_y=True)
PAIRS = (NUMBERS[0], np.column_stack([NUMBERS[1], -NUMBERS[1] + NUMBERS[0][:, 0]]))

SHAPES = {
    "binary": (GDClassifier, BINARY, (1, 30), (1,), (569,)),
    "classes": (GDClassifier, CLASSES, (3, 4), (3,), (150, 3)),
    "numbers": (GDRegressor, NUMBERS, (10,), (1,), (442,)),
    "pairs": (GDRegressor, PAIRS, (2, 10), (2,), (442, 2)),
}


@pytest.mark.parametrize("optimizer", ["auto", "sgd", "normalized_adaptive"])
@pytest.mark.parametrize("name", SHAPES)
def test_attributes_have_the_shapes_of_scikit_learn(name, optimizer):
    kind, (X, y), coef, intercept, scores = SHAPES[name]
    model = kind(optimizer=optimizer, max_iter=3, tol=None, random_state=0).fit(X, y)
    assert model.coef_.shape == coef
    assert model.intercept_.shape == intercept
    assert model.coef_.dtype == model.intercept_.dtype == np.float64
    assert model.n_features_in_ == X.shape[1]
    assert isinstance(model.n_iter_, int) and model.n_iter_ >= 1
    z = model.predict(X) if kind is GDRegressor else model.decision_function(X)
    assert z.shape == scores
    assert len({len(column) for column in model.history_.values()}) == 1
    assert_array_equal(model.loss_curve_, model.history_["objective"])


def test_binary_decision_is_the_linear_function_of_the_coefficients():
    X, y = BINARY
    model = GDClassifier().fit(X, y)
    assert_allclose(model.decision_function(X), (X @ model.coef_.T + model.intercept_)[:, 0])
    assert_array_equal(model.predict(X), (model.decision_function(X) > 0).astype(int))


@pytest.mark.parametrize("data", [BINARY, CLASSES], ids=["binary", "softmax"])
def test_probabilities_sum_to_one_and_their_logarithms_agree(data):
    model = GDClassifier().fit(*data)
    p = model.predict_proba(data[0])
    assert_allclose(p.sum(axis=1), 1.0)
    assert_allclose(model.predict_log_proba(data[0]), np.log(p), rtol=1e-6, atol=1e-9)
    assert_array_equal(model.classes_[p.argmax(axis=1)], model.predict(data[0]))


def test_log_probabilities_stay_finite_where_probabilities_underflow():
    model = GDClassifier().fit(*CLASSES)
    far = 1e4 * CLASSES[0]
    assert (model.predict_proba(far) == 0).any()
    assert np.isfinite(model.predict_log_proba(far)).all()


@pytest.mark.parametrize("data", [BINARY, CLASSES], ids=["binary", "one versus rest"])
def test_modified_huber_has_the_probabilities_of_zhang(data):
    model = GDClassifier(loss="modified_huber").fit(*data)
    z = np.atleast_2d(model.decision_function(data[0]).T).T
    p = (np.clip(z, -1, 1) + 1) / 2
    p = np.hstack([1 - p, p]) if p.shape[1] == 1 else p / p.sum(axis=1, keepdims=True)
    assert_allclose(model.predict_proba(data[0]), p)


@pytest.mark.parametrize("loss", ["hinge", "squared_hinge", "huber", "perceptron"])
def test_losses_without_probabilities_say_so(loss):
    model = GDClassifier(loss=loss)
    assert not hasattr(model, "predict_proba")
    with pytest.raises(AttributeError, match="predict_proba"):
        model.predict_proba


@pytest.mark.parametrize("name", SHAPES)
def test_coefficients_are_read_only(name):
    kind, (X, y), *_ = SHAPES[name]
    model = kind().fit(X, y)
    with pytest.raises(ValueError, match="read-only"):
        model.coef_[0] = 1.0
    with pytest.raises(ValueError, match="read-only"):
        model.intercept_[0] = 1.0


def test_assigned_coefficients_are_where_partial_fit_goes_on():
    X, y = BINARY
    a = GDClassifier(learning_rate=1e-6, shuffle=False).fit(X, y)
    b = GDClassifier(learning_rate=1e-6, shuffle=False).partial_fit(X[:5], y[:5], [0, 1])
    b.coef_, b.intercept_ = a.coef_, a.intercept_
    assert_array_equal(b.decision_function(X), a.decision_function(X))
    a.partial_fit(X[5:50], y[5:50])
    b.partial_fit(X[5:50], y[5:50])
    assert_allclose(b.coef_, a.coef_, rtol=1e-12)


def test_assigned_coefficients_are_where_a_warm_start_goes_on():
    X, y = NUMBERS
    model = GDRegressor(warm_start=True, learning_rate=1e-3, max_iter=1, tol=None, shuffle=False)
    model.fit(X, y)
    start = np.arange(10.0)
    model.coef_ = start
    model.intercept_ = [150.0]
    model.fit(X[:1], y[:1])
    step = 1e-3 * (y[0] - X[0] @ start - 150.0)
    decay = np.exp(-1e-3 * 1e-4)
    assert_allclose(model.coef_, (start + step * X[0]) * decay, rtol=1e-12)
    assert_allclose(model.intercept_, [150.0 + step], rtol=1e-12)


def test_attributes_do_not_exist_before_fit():
    model = GDClassifier()
    for name in ("coef_", "intercept_", "optimizer_state_", "classes_", "n_iter_"):
        assert not hasattr(model, name)
    with pytest.raises(NotFittedError):
        model.predict([[0.0]])


@pytest.mark.parametrize("average", [False, 3])
@pytest.mark.parametrize("optimizer", ["sgd", "auto"])
@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy,
                                       lambda m: pickle.loads(pickle.dumps(m))],
                         ids=["copy", "deepcopy", "pickle"])
def test_a_copy_goes_on_by_itself_and_alike(duplicate, optimizer, average):
    X, y = BINARY
    X = X / X.max(axis=0)
    model = GDClassifier(optimizer=optimizer, random_state=0)
    if optimizer == "sgd":
        model.set_params(average=average, learning_rate=0.1)
    model.partial_fit(X[:100], y[:100], classes=[0, 1])
    other = duplicate(model)
    before = model.coef_.copy()
    other.partial_fit(X[100:200], y[100:200])
    assert_array_equal(model.coef_, before)
    model.partial_fit(X[100:200], y[100:200])
    assert_array_equal(model.coef_, other.coef_)
    assert_array_equal(model.intercept_, other.intercept_)
    assert model.t_ == other.t_ == 200


def test_a_clone_is_unfitted_and_has_the_parameters():
    model = GDRegressor(loss=Quantile(0.9), alpha=0.3).fit(*NUMBERS)
    other = clone(model)
    assert not hasattr(other, "coef_")
    assert other.loss.quantile == 0.9 and other.alpha == 0.3
    assert other.set_params(loss__quantile=0.1).loss.quantile == 0.1


@pytest.mark.parametrize("name", SHAPES)
def test_sparse_coefficients_predict_alike_and_become_dense_again(name):
    kind, (X, y), *_ = SHAPES[name]
    model = kind(penalty="l1", alpha=0.05).fit(X, y)
    coef, prediction = model.coef_.copy(), model.predict(X)
    assert model.sparsify() is model
    assert sp.issparse(model.coef_)
    assert_allclose(model.coef_.toarray().reshape(coef.shape), coef)
    assert_allclose(model.predict(X), prediction)
    assert_allclose(model.predict(sp.csr_array(X)), prediction)
    assert_array_equal(pickle.loads(pickle.dumps(model)).predict(X), model.predict(X))
    assert model.densify() is model
    assert_array_equal(model.coef_, coef)


def test_partial_fit_after_sparsify_goes_on_densely():
    X, y = BINARY
    models = [GDClassifier(penalty="l1", alpha=0.01, random_state=0).fit(X, y) for _ in "ab"]
    models[0].sparsify()
    for model in models:
        model.partial_fit(X[:50], y[:50])
    assert isinstance(models[0].coef_, np.ndarray)
    assert_array_equal(models[0].coef_, models[1].coef_)


@pytest.mark.parametrize("kind, theirs", [(GDClassifier, SGDClassifier), (GDRegressor, SGDRegressor)])
def test_parameters_of_scikit_learn_are_accepted(kind, theirs):
    X, y = BINARY
    model = kind(**theirs(random_state=0, alpha=0.01).get_params())
    assert model.fit(X / X.max(axis=0), y).score(X / X.max(axis=0), y) > 0


def test_poisson_gamma_and_tweedie_predict_means_and_score_the_deviance():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 3))
    mean = np.exp(X @ [0.3, -0.2, 0.1] + 1)
    for loss, y in (("poisson", rng.poisson(mean)), ("gamma", rng.gamma(2, mean / 2)),
                    (Tweedie(1.5), rng.poisson(mean) * rng.gamma(2, 1, size=400))):
        model = GDRegressor(loss=loss, alpha=0).fit(X, y)
        assert_allclose(model.predict(X), np.exp(X @ model.coef_ + model.intercept_))
        assert_allclose(model.predict(X).mean(), y.mean(), rtol=0.05)
        constant = GDRegressor(loss=loss, alpha=1e6).fit(X, y)
        assert_allclose(constant.score(X, y), 0.0, atol=1e-6)
        assert model.score(X, y) > 0.05


def test_optimizer_repr_says_what_ran_and_why():
    model = GDClassifier(batch_size=32, max_iter=2, tol=None).fit(*CLASSES)
    assert "SGD" in repr(model.optimizer_)
    assert "batch_size set" in repr(model.optimizer_)
    chosen = repr(GDClassifier().fit(*CLASSES).optimizer_)
    assert "SubsampledNewton()" in chosen and "expected to be done first" in chosen


def test_verbose_prints_one_line_per_epoch(capsys):
    model = GDClassifier(verbose=1, learning_rate=0.01, max_iter=4, tol=None).fit(*CLASSES)
    assert len(capsys.readouterr().out.splitlines()) == len(model.loss_curve_) == 4
    GDClassifier().fit(*CLASSES)
    assert capsys.readouterr().out == ""
