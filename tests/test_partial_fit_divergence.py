"""A partial_fit that diverges, or raises, leaves a sound model and says what happened."""

import pickle

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_array_equal
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.exceptions import ConvergenceWarning

from sgdest import GDClassifier, GDRegressor
from sgdest.optimizers import SGD, STEP_OPTIMIZERS

DIABETES = load_diabetes(return_X_y=True)
CANCER = load_breast_cancer(return_X_y=True)
DIGITS = load_digits(return_X_y=True)

SETTINGS = {
    "plain": {},
    "l1": {"penalty": "l1", "alpha": 1e-3},
    "positive": {"positive": True},
    "average": {"average": 3},
    "batches": {"batch_size": 7},
    "batch descent": {"batch_size": None},
    "batches, l1, average": {"batch_size": 7, "penalty": "l1", "average": True},
}
LAYOUTS = {"dense": np.asarray, "csr": sp.csr_matrix}
each_setting = pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
each_layout = pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)


def start(layout=np.asarray, rate=0.01, **settings):
    """A regressor that has learned 100 rows soundly, and the rows that follow."""
    X, y = DIABETES
    model = GDRegressor(learning_rate=rate, shuffle=False, **settings)
    model.partial_fit(layout(X[:100]), y[:100])
    return model, layout(X[100:]), y[100:]


def facts(model):
    """Everything by which a model shows that it has changed."""
    state = {name: value.tolist() for name, value in model.optimizer_state_.items()}
    return model.coef_.tolist(), model.intercept_.tolist(), model.t_, state


@each_layout
@pytest.mark.parametrize(
    "name, size",
    # not the single step of batch descent at 1e5: it follows the loss by which it is judged
    [(name, size) for name in SETTINGS for size in (1e5, 1e300)
     if (name, size) != ("batch descent", 1e5)],
)
def test_a_diverging_call_returns_to_the_weights_before_it(name, size, layout):
    settings = SETTINGS[name]
    model, X, y = start(layout, **settings)
    twin = pickle.loads(pickle.dumps(model))
    with pytest.warns(ConvergenceWarning, match=r"exploded at learning rate 0\.01.*before this"):
        model.partial_fit(X * size, y)
    assert facts(model) == facts(twin)
    assert not np.isfinite(model.loss_curve_[-1]) or model.loss_curve_[-1] > 1e9


@each_layout
@each_setting
def test_a_model_goes_on_after_a_divergence_as_if_it_had_not_been(settings, layout):
    model, X, y = start(layout, **settings)
    twin, *_ = start(layout, **settings)
    with pytest.warns(ConvergenceWarning):
        model.partial_fit(X * 1e300, y)
    model.partial_fit(X, y)
    twin.partial_fit(X, y)
    assert_array_equal(model.coef_, twin.coef_)
    assert_array_equal(model.intercept_, twin.intercept_)


def test_several_outputs_return_too():
    X, y = DIGITS
    model = GDClassifier("squared_hinge", learning_rate=1e-4, shuffle=False)
    model.partial_fit(X[:50], y[:50], classes=range(10))
    coef = model.coef_.copy()
    with pytest.warns(ConvergenceWarning, match="exploded"):
        model.partial_fit(1e6 * X[50:], y[50:])
    assert_array_equal(model.coef_, coef)


def test_an_explosion_that_stays_finite_is_one_all_the_same():
    X, y = DIABETES
    X = X[:20]
    with pytest.warns(ConvergenceWarning, match="exploded"):
        model = GDRegressor(learning_rate=1.0).partial_fit(60 * X, y[:20])
    assert 1e9 < model.loss_curve_[-1] < np.inf
    assert_array_equal(model.coef_, np.zeros(10))


@pytest.mark.parametrize("loss, rate", [("hinge", 1.0), ("perceptron", 1.0), ("log_loss", 0.1)])
def test_large_losses_that_the_data_explain_are_no_explosion(loss, rate, recwarn):
    X, y = CANCER
    model = GDClassifier(loss, learning_rate=rate).partial_fit(X, y, classes=[0, 1])
    assert model.loss_curve_[-1] > 100
    assert not recwarn.list
    assert model.coef_.any()


@pytest.mark.parametrize("size", [1e3, 1e10, 1e100])
def test_an_automatic_rate_is_halved_until_it_does_not_diverge(size, recwarn):
    X, y = DIABETES
    model = GDRegressor(batch_size=1, shuffle=False).partial_fit(X[:50], y[:50])
    model.partial_fit(X[50:] * size, y[50:])
    assert np.isfinite(model.coef_).all() and np.isfinite(model.intercept_).all()
    assert np.isfinite(model.loss_curve_[-1]) or recwarn.list


@pytest.mark.parametrize("optimizer", STEP_OPTIMIZERS)
def test_weights_that_explode_at_the_rows_begin_anew_and_learn_on(optimizer):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 3))
    y = rng.poisson(np.exp(X @ [1.0, -0.5, 0.2])).astype(float)
    model = GDRegressor("poisson", optimizer=optimizer, random_state=0)
    model.partial_fit(X, y)
    model.coef_ = np.full(3, 30.0)
    with pytest.warns(ConvergenceWarning, match="begins anew from zero"):
        model.partial_fit(X, y)        # no rate makes these means finite
    for _ in range(50):
        model.partial_fit(X, y)
    assert model.score(X, y) > 0.2     # where the best constant has 0


@pytest.mark.parametrize("settings", [{}, {"penalty": "l1"}, {"batch_size": 4}, {"average": 1}],
                         ids=["plain", "l1", "batches", "average"])
def test_wide_sparse_rows_leave_the_last_finite_weights(settings):
    rng = np.random.default_rng(0)
    X = sp.random(40, 5000, 0.004, format="csr", random_state=0)
    y = rng.normal(size=40)
    model = GDRegressor(learning_rate=0.1, shuffle=False, **settings).partial_fit(X, y)
    with pytest.warns(ConvergenceWarning, match="exploded.*the last finite ones"):
        model.partial_fit(1e100 * X, y)
    assert np.isfinite(model.coef_).all() and np.isfinite(model.intercept_).all()
    assert all(np.isfinite(value).all() for value in model.optimizer_state_.values())
    model.coef_, model.intercept_ = np.zeros(5000), [0.0]
    assert np.isfinite(model.partial_fit(X, y).loss_curve_[-1])


# -- calls that raise ---------------------------------------------------------------------------


def failing(bad_at, what):
    def rate(t):
        if t == bad_at and isinstance(what, Exception):
            raise what
        return what if t == bad_at else 0.01

    return rate


BAD = {"raises": (RuntimeError("enough"), RuntimeError, "enough"),
       "nan": (np.nan, ValueError, "finite rate >= 0; got nan for t=130"),
       "negative": (-0.1, ValueError, "got -0.1 for t=130"),
       "infinite": (np.inf, ValueError, "got inf for t=130"),
       "no number": ("high", TypeError, "must return a number; got 'high' for t=130"),
       "nothing": (None, TypeError, "must return a number; got None for t=130")}


@each_layout
@pytest.mark.parametrize("average", [False, True])
@pytest.mark.parametrize("what, error, message", BAD.values(), ids=BAD)
def test_a_rate_that_fails_in_the_middle_leaves_the_model_as_it_was(what, error, message,
                                                                    average, layout):
    model, X, y = start(layout, failing(130, what), average=average)
    before = facts(model), model.loss_curve_.copy()
    for _ in range(2):
        with pytest.raises(error, match=message):
            model.partial_fit(X, y)
        assert facts(model) == before[0]
        assert_array_equal(model.loss_curve_, before[1])
    model.partial_fit(X[:29], y[:29])
    assert model.t_ == 129


def test_a_rate_that_fails_at_wide_sparse_rows_leaves_the_model_as_it_was():
    X = sp.random(40, 5000, 0.004, format="csr", random_state=0)
    y = np.arange(40.0)
    model = GDRegressor(learning_rate=failing(60, np.nan), shuffle=False).partial_fit(X, y)
    before = facts(model)
    with pytest.raises(ValueError, match="t=60"):
        model.partial_fit(X, y)
    assert facts(model) == before


@pytest.mark.parametrize("batch_size, updates", [(1, 40), (7, 6), (None, 1)])
def test_the_rate_is_asked_for_once_per_update(batch_size, updates):
    asked = []
    X, y = DIABETES
    model = GDRegressor(learning_rate=lambda t: asked.append(t) or 0.01, batch_size=batch_size)
    model.partial_fit(X[:40], y[:40]).partial_fit(X[:40], y[:40])
    assert asked == list(range(1, 2 * updates + 1))
    assert model.t_ == 2 * updates


@pytest.mark.parametrize("rate", [failing(3, np.nan), failing(3, RuntimeError("enough"))])
def test_a_first_call_that_raises_leaves_the_model_unfitted(rate):
    X, y = CANCER
    model = GDClassifier(learning_rate=rate)
    with pytest.raises((ValueError, RuntimeError)):
        model.partial_fit(X, y, classes=[0, 1])
    assert vars(model) == vars(GDClassifier(learning_rate=rate))
    with pytest.raises(ValueError, match="given twice"):
        GDClassifier(learning_rate=0.1, optimizer=SGD(0.2)).partial_fit(X, y, classes=[0, 1])


def test_new_classes_are_not_kept_by_a_call_that_raises():
    X, y = DIGITS
    X = X / 16
    model = GDClassifier(learning_rate=failing(80, np.nan), shuffle=False)
    model.partial_fit(X[:50], y[:50] % 3, classes=[0, 1, 2])
    coef = model.coef_.copy()
    with pytest.raises(ValueError, match="t=80"):
        model.partial_fit(X[50:100], y[50:100] % 4, classes=[0, 1, 2, 3])
    assert_array_equal(model.classes_, [0, 1, 2])
    assert_array_equal(model.coef_, coef)
    model.partial_fit(X[50:60], y[50:60] % 3)
    assert model.coef_.shape == coef.shape and model.t_ == 60
