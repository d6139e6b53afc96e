"""A loss written in Python runs wherever a built-in one does, and its mistakes are named."""

import pickle

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import expit
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from sgdest import GDClassifier, GDRegressor, losses
from sgdest.optimizers import NAMES

RNG = np.random.default_rng(0)
X = RNG.normal(size=(400, 6)) * (RNG.random((400, 6)) < 0.6)
Y = X @ RNG.normal(size=6) + 0.5 * RNG.normal(size=400)
S = 2 * RNG.random(400)


class LogCosh(losses.Loss):
    """The twin of "log_cosh"; its curvature is found by differences."""

    curvature_bound = 1.0

    def value(self, y, z):
        r = np.abs(z - y)
        return r + np.log1p(np.exp(-2 * r)) - np.log(2)

    def derivative(self, y, z):
        return np.tanh(z - y)


class LogLoss(losses.Loss):
    """The twin of "log_loss"."""

    targets = "binary"
    link = "logit"
    curvature_bound = 0.25

    def value(self, y, z):
        return np.logaddexp(0, z) - y * z

    def derivative(self, y, z):
        return expit(z) - y

    def curvature(self, y, z):
        return expit(z) * expit(-z)


class Poisson(losses.Loss):
    """The twin of "poisson"."""

    targets = "nonnegative"
    link = "log"

    def value(self, y, z):
        return np.exp(z) - y * z

    def derivative(self, y, z):
        return np.exp(z) - y


class Pinball(losses.Loss):
    """The twin of "quantile"."""

    smoothness = "kinked"

    def __init__(self, quantile=0.5):
        self.quantile = quantile

    def value(self, y, z):
        return np.maximum(self.quantile * (y - z), (1 - self.quantile) * (z - y))

    def derivative(self, y, z):
        return (1 - self.quantile) * (z > y) - self.quantile * (y > z)


def twins(optimizer, kind=np.asarray, own=LogCosh(), name="log_cosh", y=Y, **settings):
    """The same model with a loss of one's own and with the built-in one."""
    settings = {"max_iter": 5, "tol": None, "random_state": 0, "alpha": 0.01, **settings}
    estimator = GDClassifier if isinstance(own, LogLoss) else GDRegressor
    return [
        estimator(loss, optimizer=optimizer, **settings).fit(kind(X), y, S)
        for loss in (own, name)
    ]


@pytest.mark.filterwarnings("ignore:Maximum number of iteration")
@pytest.mark.parametrize("kind", [np.asarray, sp.csr_array], ids=["dense", "csr"])
@pytest.mark.parametrize("optimizer", NAMES)
def test_every_method_makes_the_model_of_the_built_in_twin(optimizer, kind):
    # dual ascent takes other ways to the same minimum where it knows the conjugate of the loss
    same_way = optimizer != "dual_ascent"
    settings = {} if same_way else dict(max_iter=1000, tol=1e-12)
    pairs = [twins(optimizer, kind, **settings)]
    if NAMES[optimizer].kind != "stream":  # which has a step of its own for "log_loss"
        pairs.append(twins(optimizer, kind, own=LogLoss(), name="log_loss", y=Y > 0, **settings))
    for model, twin in pairs:
        assert_allclose(model.coef_, twin.coef_, rtol=1e-7, atol=1e-9)
        if same_way:
            assert_allclose(model.loss_curve_, twin.loss_curve_, rtol=1e-9)


@pytest.mark.parametrize("batch_size", [1, 7, 256, None])
def test_batches_of_any_size_are_blocks(batch_size):
    model, twin = twins("sgd", batch_size=batch_size, learning_rate=0.01)
    assert_allclose(model.coef_, twin.coef_, rtol=1e-12)


def test_the_solver_reaches_the_minimum_of_the_twin():
    settings = dict(max_iter=1000, tol=1e-10)
    model, twin = twins("auto", **settings)
    assert_allclose(model.coef_, twin.coef_, rtol=1e-7)
    counts = RNG.poisson(np.exp(0.2 * Y))
    model, twin = twins("auto", own=Poisson(), name="poisson", y=counts, **settings)
    assert_allclose(model.coef_, twin.coef_, rtol=1e-6)
    assert_allclose(model.predict(X), twin.predict(X), rtol=1e-6)


def test_several_targets_and_classes_are_learned():
    targets = np.column_stack([Y, -Y, Y**2])
    model, twin = twins("adam", y=targets, max_iter=50, tol=None)
    assert_allclose(model.coef_, twin.coef_, rtol=1e-10)
    codes = np.digitize(Y, [-1, 1])
    model = GDClassifier(LogLoss(), tol=1e-10).fit(X, codes)
    for k in range(3):
        one = GDClassifier(tol=1e-10).fit(X, codes == k)
        assert_allclose(model.coef_[k], one.coef_[0], rtol=1e-5, atol=1e-7)
    assert_allclose(model.predict_proba(X).sum(axis=1), 1)


def test_probabilities_are_the_inverse_link():
    settings = dict(tol=1e-9, max_iter=99)
    model, twin = twins("lbfgs", own=LogLoss(), name="log_loss", y=Y > 0, **settings)
    assert_allclose(model.predict_proba(X), twin.predict_proba(X), rtol=1e-6)

    class Sign(LogLoss):
        link = "identity"

    unlinked = GDClassifier(Sign()).fit(X, Y > 0)
    with pytest.raises(AttributeError) as raised:
        unlinked.predict_proba(X)
    assert "inverse_link" in str(raised.value.__cause__)


def test_a_stream_goes_on_through_clone_and_pickle():
    for optimizer in ("auto", "adam"):
        make = lambda loss: GDRegressor(loss, optimizer=optimizer, random_state=0)
        model, twin = clone(make(LogCosh())), make("log_cosh")
        for part in np.split(np.arange(400), 4):
            model = pickle.loads(pickle.dumps(model.partial_fit(X[part], Y[part])))
            twin.partial_fit(X[part], Y[part])
        assert_allclose(model.coef_, twin.coef_, rtol=1e-6)


def test_parameters_of_a_loss_can_be_searched():
    search = GridSearchCV(
        GDRegressor(Pinball(), max_iter=20, tol=None, random_state=0),
        {"loss__quantile": [0.1, 0.5]},
        cv=3,
    ).fit(X, Y)
    assert search.best_params_ == {"loss__quantile": 0.5}


def test_a_loss_with_kinks_is_learned_by_steps():
    model = GDRegressor(Pinball(0.8), random_state=0).fit(X, Y)
    assert "steps" not in repr(model.optimizer_) and "SGD" in repr(model.optimizer_)
    exact = GDRegressor(losses.Quantile(0.8)).fit(X, Y)
    at = lambda fitted: Pinball(0.8).value(Y, fitted.predict(X)).mean()
    assert at(model) < at(exact) * 1.02
    with pytest.raises(ValueError, match="kinks"):
        GDRegressor(Pinball(), optimizer="lbfgs").fit(X, Y)


def test_early_stopping_and_the_objective_take_it():
    model = GDRegressor(LogCosh(), optimizer="adam", early_stopping=True, random_state=0)
    model.fit(X, Y)
    assert model.best_validation_score_ < 0
    z = model.predict(X)
    expected = LogCosh().value(Y, z).mean() + 1e-4 * (model.coef_**2).sum() / 2
    assert_allclose(model.objective(X, Y), expected, rtol=1e-12)


# -- errors ----------------------------------------------------------------------------


class Fails(LogCosh):
    """Raises after some calls."""

    def __init__(self, error=ZeroDivisionError, calls=0, where="derivative"):
        self.error = error
        self.calls = calls
        self.where = where

    def derivative(self, y, z):
        return self.count("derivative", super().derivative(y, z))

    def value(self, y, z):
        return self.count("value", super().value(y, z))

    def count(self, where, result):
        if where == self.where:
            self.calls -= 1
            if self.calls < 0:
                raise self.error("of the loss")
        return result


@pytest.mark.parametrize("calls", [0, 3, 40])
@pytest.mark.parametrize("where", ["value", "derivative"])
@pytest.mark.parametrize("optimizer", ["auto", "sgd", "adam", "normalized_adaptive", "gd"])
def test_an_error_of_the_loss_reaches_the_user(optimizer, where, calls):
    model = GDRegressor(
        Fails(calls=calls, where=where), optimizer=optimizer, max_iter=100, tol=None
    )
    with pytest.raises(ZeroDivisionError, match="of the loss"):
        model.fit(X, Y)
    assert not hasattr(model, "coef_")


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyError])
@pytest.mark.parametrize("kind", [np.asarray, sp.csr_array], ids=["dense", "csr"])
@pytest.mark.parametrize("optimizer", ["auto", "sgd", "adam"])
def test_an_error_in_partial_fit_leaves_the_model_as_it_was(optimizer, kind, error):
    model = GDRegressor(Fails(error, 10_000), optimizer=optimizer, random_state=0)
    model.partial_fit(kind(X), Y)
    coef, state, t = model.coef_.copy(), model.optimizer_state_, model.t_
    model.loss.calls = 1
    with pytest.raises(error):
        model.partial_fit(kind(X), Y)
    assert_array_equal(model.coef_, coef)
    assert model.t_ == t
    for name, value in model.optimizer_state_.items():
        assert_array_equal(value, state[name])


def test_an_interrupt_in_the_loss_is_one():
    with pytest.raises(KeyboardInterrupt):
        GDRegressor(Fails(KeyboardInterrupt, 5)).fit(X, Y)


class Mean(LogCosh):
    def value(self, y, z):
        return super().value(y, z).mean()


def test_a_result_of_the_wrong_shape_is_named():
    with pytest.raises(ValueError, match=r"Mean.value\(y, z\) must return one number per"):
        GDRegressor(Mean()).fit(X, Y)


class Nothing(losses.Loss):
    def value(self, y, z):
        return z - y


class Misspelt(LogCosh):
    targets = "numbers"


class Negative(LogCosh):
    curvature_bound = -1.0


@pytest.mark.parametrize(
    "loss, estimator, message",
    [
        (Nothing(), GDRegressor, "no derivative; define derivative"),
        (Misspelt(), GDRegressor, "targets of Misspelt must be one of .*got 'numbers'"),
        (LogLoss(), GDRegressor, "targets of LogLoss must be one of .*GDRegressor"),
        (Poisson(), GDClassifier, "targets of Poisson must be one of .*GDClassifier"),
        (Negative(), GDRegressor, "curvature_bound of Negative must be > 0; got -1.0"),
    ],
)
def test_a_loss_that_cannot_be_used_is_refused(loss, estimator, message):
    with pytest.raises(ValueError, match=message):
        estimator(loss).fit(X, Y > 0)


def test_targets_outside_the_domain_are_refused():
    with pytest.raises(ValueError, match="y must be >= 0; got"):
        GDRegressor(Poisson()).fit(X, Y)


# -- check -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "loss",
    [LogCosh(), LogLoss(), Poisson(), Pinball(), Pinball(0.9)]
    + [kind() for kind in losses._BuiltIn.__subclasses__()],
    ids=repr,
)
def test_check_finds_nothing_wrong_with_a_loss(loss):
    assert losses.check(loss) is None


class WrongSlope(LogCosh):
    def derivative(self, y, z):
        return 1.001 * np.tanh(z - y)


class WrongCurvature(LogLoss):
    def curvature(self, y, z):
        return expit(z) * expit(z)


class WrongBound(LogCosh):
    curvature_bound = 0.9


class Overflows(LogCosh):
    def value(self, y, z):
        return np.log(z - 3)


class ChangesItsInput(LogCosh):
    def value(self, y, z):
        z -= y
        return np.log(np.cosh(z))


class Normalises(LogCosh):
    def value(self, y, z):
        return super().value(y, z) / len(z)


@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize(
    "loss, message",
    [
        (WrongSlope(), r"WrongSlope: derivative\(y=-1.3, z=.*value rises by"),
        (WrongCurvature(), r"WrongCurvature: curvature\(.*derivative rises by"),
        (WrongBound(), "WrongBound: curvature.*but curvature_bound is 0.9"),
        (Overflows(), r"Overflows: value\(.*is nan, but it must be finite"),
        (ChangesItsInput(), "ChangesItsInput: value.*must not change y or z"),
        (Normalises(), "Normalises: value.*element by element"),
        (Mean(), r"Mean: value\(y, z\) must return one number per element"),
    ],
)
def test_check_says_what_is_wrong(loss, message):
    with pytest.raises(ValueError, match=message):
        losses.check(loss)


def test_dense_rows_of_a_batch_are_one_call():
    class Counting(losses.Loss):
        targets, link, curvature_bound = "binary", "logit", 0.25
        sizes = []

        def value(self, y, z):
            return np.logaddexp(0, z) - y * z

        def derivative(self, y, z):
            self.sizes.append(len(z))
            return 1 / (1 + np.exp(-z)) - y

    X = np.random.default_rng(0).normal(size=(1000, 20))
    model = GDClassifier(Counting(), optimizer="sgd", learning_rate=0.1, batch_size=250, max_iter=1,
                         tol=None)
    model.fit(X, X[:, 0] > 0)
    assert Counting.sizes[-4:] == [250] * 4


@pytest.mark.parametrize("n_outputs", [1, 3])
@pytest.mark.parametrize("kind", [np.asarray, sp.csr_array], ids=["dense", "csr"])
@pytest.mark.parametrize("batch_size", [1, 100, 300, None])
def test_losses_are_asked_for_many_rows_at_a_time(batch_size, kind, n_outputs):
    class Sizes(LogCosh):
        of_values = []

        def value(self, y, z):
            self.of_values.append(len(z))
            return super().value(y, z)

    rng = np.random.default_rng(0)
    X, y, weights = rng.normal(size=(6000, 5)), rng.normal(size=(6000, n_outputs)), rng.random(6000)
    curves, calls = [], []
    for loss, passes in ((Sizes(), 1), (Sizes(), 3), ("log_cosh", 3)):
        model = GDRegressor(loss, optimizer="sgd", learning_rate=0.1, batch_size=batch_size,
                            max_iter=passes, tol=None, random_state=0)
        curves.append(model.fit(kind(X), y if n_outputs > 1 else y[:, 0], weights).loss_curve_)
        calls.append(len(Sizes.of_values) - sum(calls))
    assert_allclose(*curves[1:], rtol=1e-11)
    assert calls[1] - calls[0] <= 2 * 5 * n_outputs  # in two passes of 6000 rows
