"""The epoch loop stops as it says, keeps the best weights, survives interrupts."""

import signal
import threading
import warnings
from itertools import product

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import scale

from sgdest import GDClassifier, GDRegressor
from sgdest._core.losses import LOSSES
from sgdest._core.optimizers import SGDMethod
from sgdest._core.penalties import PENALTIES
from sgdest._core.problem import Problem
from sgdest._core.quasi_newton import LBFGS
from sgdest._core.schedules import SCHEDULES
from sgdest._core.train import Limits, train
from sgdest.optimizers import STEP_OPTIMIZERS

X, Y = load_breast_cancer(return_X_y=True)
X = scale(X)
NUMBERS = scale(load_diabetes(return_X_y=True)[0]), scale(
    load_diabetes(return_X_y=True)[1]
)
COLUMNS = [
    "epoch",
    "objective",
    "validation",
    "learning_rate",
    "gradient_norm",
    "seconds",
    "rows",
]
OPTIMIZERS = ["sgd", "gd", "lbfgs", "normalized_adaptive"]


def best_constant_objective(y):
    """F_0 of log loss."""
    p = y.mean()
    return -(p * np.log(p) + (1 - p) * np.log(1 - p))


# -- when it stops ---------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["sgd", "gd", "normalized_adaptive"])
@pytest.mark.parametrize("max_iter", [1, 2, 7])
def test_without_a_tolerance_exactly_max_iter_passes_are_made(optimizer, max_iter):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = GDClassifier(
            optimizer=optimizer, max_iter=max_iter, tol=None, random_state=0
        )
        model.fit(X, Y)
    assert model.n_iter_ == len(model.loss_curve_) == max_iter
    assert model.t_ == max_iter * (1 if optimizer == "gd" else len(X))


@pytest.mark.parametrize("max_iter", [1, 3, 10])
def test_a_solver_makes_at_most_max_iter_passes_and_says_that_it_was_cut_short(
    max_iter,
):
    with pytest.warns(ConvergenceWarning, match="Maximum number of iteration"):
        model = GDClassifier(optimizer="lbfgs", max_iter=max_iter).fit(X, Y)
    assert 1 <= model.n_iter_ <= max_iter and not model.converged_
    assert np.isfinite(model.coef_).all()


@pytest.mark.parametrize("n_iter_no_change", [1, 2, 5])
@pytest.mark.parametrize("tol", [0.0, 1e-4, 1e-2])
@pytest.mark.parametrize(
    "settings",
    [
        dict(learning_rate=0.01),
        dict(learning_rate="auto"),
        dict(learning_rate="invscaling", batch_size=32),
    ],
)
def test_step_methods_stop_when_passes_in_a_row_bring_less_than_the_tolerance(
    settings, tol, n_iter_no_change
):
    model = GDClassifier(
        optimizer="sgd",
        tol=tol,
        n_iter_no_change=n_iter_no_change,
        random_state=0,
        max_iter=200,
        alpha=0.01,
        **settings,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(X, Y)
    reference, waited, stop = np.inf, 0, None
    for epoch, objective in enumerate(model.loss_curve_, 1):
        if objective < reference - tol * best_constant_objective(Y):
            reference, waited = objective, 0
        else:
            waited += 1
        if waited == n_iter_no_change:
            stop = epoch
            break
    # "auto" answers a stall by half the rate, which is no end
    if settings["learning_rate"] != "auto":
        assert model.n_iter_ == (stop or 200)
        assert model.converged_ == (stop is not None)


def test_the_adaptive_rate_falls_by_five_at_each_stall_and_ends_at_the_smallest():
    model = GDRegressor(
        learning_rate="adaptive",
        eta0=0.01,
        n_iter_no_change=2,
        tol=1e-3,
        random_state=0,
        max_iter=500,
    ).fit(*NUMBERS)
    rates = model.history_["learning_rate"]
    levels = rates[np.append(True, np.diff(rates) != 0)]
    assert_allclose(levels, 0.01 / 5.0 ** np.arange(len(levels)), rtol=1e-12)
    assert model.converged_ and levels[-1] <= 1e-6 < levels[-2]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("early_stopping", [False, True])
def test_history_has_columns_of_equal_length_in_order(optimizer, early_stopping):
    model = GDClassifier(
        optimizer=optimizer,
        early_stopping=early_stopping,
        max_iter=6,
        tol=None,
        random_state=0,
    ).fit(X, Y)
    assert list(model.history_) == COLUMNS
    assert {len(column) for column in model.history_.values()} == {
        len(model.loss_curve_)
    }
    assert_array_equal(model.history_["epoch"], 1 + np.arange(len(model.loss_curve_)))
    assert (np.diff(model.history_["seconds"]) >= 0).all()
    assert np.isfinite(model.history_["validation"]).all() == early_stopping
    assert np.isfinite(model.history_["learning_rate"]).all() == (
        optimizer in ("sgd", "gd")
    )


def test_the_objective_of_a_solver_falls_and_ends_at_that_of_the_model():
    model = GDClassifier(alpha=1e-2).fit(X, Y)
    assert (np.diff(model.loss_curve_) <= 1e-12).all()
    problem = Problem(X, Y, LOSSES["log_loss"](), PENALTIES["l2"](1e-2))
    objective = problem.objective(
        np.ascontiguousarray(model.coef_.T), model.intercept_.copy()
    )
    assert_allclose(model.loss_curve_[-1], objective, rtol=1e-12)


def test_batch_descent_reports_the_objective_before_its_step():
    model = GDRegressor(
        optimizer="gd", learning_rate=1e-9, penalty=None, max_iter=1, tol=None
    )
    model.fit(*NUMBERS)
    assert_allclose(model.loss_curve_, [0.5 * np.mean(NUMBERS[1] ** 2)], rtol=1e-12)


def test_a_fit_whose_passes_were_all_taken_back_has_one_line_about_its_start():
    A, y = np.arange(40.0)[:, None] / 20, np.arange(40) % 2
    model = GDClassifier(optimizer="sgd", max_iter=1, tol=None, random_state=0)
    model.fit(A, y, X_val=A, y_val=y)
    assert_array_equal(model.coef_, [[0.0]])
    assert_allclose(model.loss_curve_, [np.log(2.0)], rtol=1e-12)
    assert model.history_["rows"] == [40] and model.best_epoch_ == 1


def test_one_record_per_epoch_is_reported():
    W, b, records = np.zeros((10, 1)), np.zeros(1), []
    problem = Problem(*NUMBERS, LOSSES["squared_error"](), PENALTIES["l2"](0.1))
    method = SGDMethod(problem, W, b, SCHEDULES["constant"](1e-3), 1)
    outcome = train(problem, method, Limits(4, None, report=records.append), W, b, 0.5)
    assert [list(record) for record in records] == [COLUMNS] * 4
    assert [record["objective"] for record in records] == list(outcome.history["objective"])


# -- what it keeps ---------------------------------------------------------------------


@pytest.mark.parametrize("scoring", ["loss", None, "roc_auc"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_weights_with_the_best_validation_score_are_kept(optimizer, scoring):
    rng = np.random.RandomState(0)
    noise = rng.rand(200) < 0.3  # so that it overfits
    y = np.where(noise, 1 - Y[:200], Y[:200])
    settings = dict(
        optimizer=optimizer, max_iter=40, tol=None, alpha=0.0, random_state=0
    )
    model = GDClassifier(scoring=scoring, **settings)
    model.fit(X[:200], y, X_val=X[200:], y_val=Y[200:])
    scores = model.validation_scores_
    best = scores.max()
    assert model.best_validation_score_ == best
    assert (
        model.best_epoch_ == np.flatnonzero(scores == best)[-1] + 1
    )  # ties to the later
    if scoring is None:
        assert model.score(X[200:], Y[200:]) == best
    if scoring == "loss":
        p = model.predict_log_proba(X[200:])
        assert_allclose(p[np.arange(len(p)), Y[200:]].mean(), best, rtol=1e-9)


def test_scores_are_those_of_the_averages_where_there_are_some():
    settings = dict(
        learning_rate=0.1, average=True, max_iter=3, tol=None, random_state=0
    )
    model = GDClassifier(scoring=None, **settings).fit(
        X[:300], Y[:300], X_val=X[300:], y_val=Y[300:]
    )
    assert model.validation_scores_[model.best_epoch_ - 1] == model.score(
        X[300:], Y[300:]
    )


@pytest.mark.parametrize("patience", [1, 3])
def test_validation_stops_after_so_many_epochs_without_gain(patience):
    model = GDClassifier(
        learning_rate=0.5,
        tol=1e-3,
        n_iter_no_change=patience,
        max_iter=300,
        random_state=0,
    ).fit(X[:300], Y[:300], X_val=X[300:], y_val=Y[300:])
    tolerance = 1e-3 * best_constant_objective(Y[:300])
    best, waited = -np.inf, 0
    for epoch, score in enumerate(model.validation_scores_, 1):
        waited = 0 if score > best + tolerance else waited + 1
        best = max(best, score)
        if waited == patience:
            break
    assert model.n_iter_ == epoch and model.converged_


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_early_stopping_works_with_scaled_penalty_weights(optimizer):
    model = GDRegressor(
        optimizer=optimizer,
        penalty_weights="scale",
        early_stopping=True,
        max_iter=20,
        tol=None,
        random_state=0,
    ).fit(*NUMBERS)
    assert np.isfinite(model.validation_scores_).all()


# -- divergence ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind", [np.ascontiguousarray, sp.csr_array], ids=["dense", "csr"]
)
@pytest.mark.parametrize("batch_size", [1, 32, None])
@pytest.mark.parametrize("loss", ["squared_error", "squared_hinge"])
def test_a_rate_too_large_stops_at_finite_weights_with_a_warning(
    loss, batch_size, kind
):
    with pytest.warns(
        ConvergenceWarning, match="exploded in epoch .* learning rate 1e\\+03"
    ):
        model = GDClassifier(
            loss=loss,
            learning_rate=1e3,
            batch_size=batch_size,
            max_iter=60,
            tol=None,
            random_state=0,
        ).fit(kind(X), Y)
    assert np.isfinite(model.coef_).all() and np.isfinite(model.intercept_).all()
    assert np.isfinite(model.loss_curve_).all()
    assert not model.converged_ and model.n_iter_ < 60
    assert {len(column) for column in model.history_.values()} == {
        len(model.loss_curve_)
    }


@pytest.mark.parametrize("batch_size", [1, 16, None])
def test_the_automatic_rate_backs_off_and_still_learns(batch_size):
    rng = np.random.RandomState(0)
    A = rng.randn(300, 5) * (
        1 + 1e3 * (rng.rand(300, 1) < 0.01)
    )  # rare rows a thousand as long
    y = A @ np.ones(5)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        model = GDRegressor(
            optimizer="sgd",
            batch_size=batch_size,
            max_iter=100,
            tol=None,
            penalty=None,
            random_state=0,
        ).fit(A, y)
    assert np.isfinite(model.coef_).all()
    assert np.mean((model.predict(A) - y) ** 2) < np.mean(y**2)


def test_after_a_divergence_the_weights_of_the_epoch_before_are_kept():
    make = lambda rate, n: GDRegressor(
        learning_rate=rate, max_iter=n, tol=None, random_state=0
    )
    with pytest.warns(ConvergenceWarning, match="exploded"):
        model = make(lambda t: 1e-3 if t <= 3 * 442 else 1e6, 10).fit(*NUMBERS)
    assert_array_equal(model.coef_, make(1e-3, 3).fit(*NUMBERS).coef_)


def test_streaming_with_a_rate_too_large_warns():
    model = GDRegressor(learning_rate=1e200)
    with pytest.warns(ConvergenceWarning, match="loss exploded"):
        model.partial_fit(*NUMBERS)


# -- signals and errors from outside ---------------------------------------------------


def interrupting(t_stop, error=KeyboardInterrupt):
    """A rate that fails at one update."""
    def rate(t):
        if t == t_stop:
            raise error
        return 0.01
    return rate


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
@pytest.mark.parametrize("batch_size", [1, 7])
@pytest.mark.parametrize("kind", [np.ascontiguousarray, sp.csr_array], ids=["dense", "csr"])
def test_an_error_in_a_rate_leaves_partial_fit_where_it_was(kind, batch_size, error):
    A, y = kind(X[:100]), Y[:100]
    make = lambda rate: GDClassifier(learning_rate=rate, batch_size=batch_size, shuffle=False)
    model, n = make(interrupting(6, error)), 3 * batch_size
    model.partial_fit(A[:n], y[:n], classes=[0, 1])
    with pytest.raises(error):
        model.partial_fit(A, y)
    expected = make(0.01).partial_fit(A[:n], y[:n], classes=[0, 1])
    assert_allclose(model.intercept_, expected.intercept_, rtol=1e-12)
    assert_allclose(model.coef_, expected.coef_, rtol=1e-12, atol=1e-15)
    assert model.t_ == expected.t_
    model.set_params(learning_rate=0.01).partial_fit(A, y)
    assert np.isfinite(model.coef_).all()


def test_an_error_in_a_rate_ends_fit_at_once():
    asked = []

    def rate(t):
        asked.append(t)
        raise ZeroDivisionError("no rate")

    model = GDClassifier(learning_rate=rate, max_iter=10**9, tol=None)
    with pytest.raises(ZeroDivisionError, match="no rate"):
        model.fit(X, Y)
    assert asked == [1] and not hasattr(model, "coef_")


@pytest.mark.parametrize("bad", [-1.0, np.nan, np.inf])
def test_a_rate_that_is_none_is_refused_by_its_update(bad):
    model = GDClassifier(learning_rate=lambda t: bad if t == 3 else 0.1)
    with pytest.raises(ValueError, match="finite rate >= 0; got .* for t=3"):
        model.fit(X, Y)


on_main_thread = pytest.mark.skipif(
    not hasattr(signal, "setitimer")
    or threading.current_thread() is not threading.main_thread(),
    reason="timers need POSIX and the main thread",
)


@pytest.fixture
def alarm():
    """Raise KeyboardInterrupt after 0.15 seconds."""

    def interrupt(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    yield lambda: signal.setitimer(signal.ITIMER_REAL, 0.15)
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@on_main_thread
@pytest.mark.parametrize(
    "settings",
    [
        dict(learning_rate=1e-3),
        dict(learning_rate=1e-3, batch_size=64, penalty="l1"),
        dict(learning_rate=1e-3, average=True),
        dict(),
    ],
)
def test_an_interrupt_leaves_partial_fit_with_a_valid_model(alarm, settings):
    rng = np.random.RandomState(0)
    A, y = rng.randn(2000, 300), rng.randint(2, size=2000)
    model = GDClassifier(shuffle=False, **settings).partial_fit(A, y, classes=[0, 1])
    before, t = model.coef_.copy(), model.t_
    alarm()
    with pytest.raises(KeyboardInterrupt):
        while True:
            model.partial_fit(A, y)
    signal.setitimer(signal.ITIMER_REAL, 0)
    assert model.t_ > t and not np.array_equal(model.coef_, before)
    assert np.isfinite(model.coef_).all() and np.isfinite(model.predict(A)).all()
    t = model.t_
    model.partial_fit(A[:64], y[:64])
    assert model.t_ > t and np.isfinite(model.coef_).all()


@on_main_thread
@pytest.mark.parametrize(
    "settings",
    [
        dict(learning_rate=1e-6, tol=None),
        dict(optimizer="gd"),
        dict(optimizer="lbfgs", loss="hinge", tol=0.0),
    ],
)
def test_an_interrupt_ends_fit_and_leaves_the_model_of_before(alarm, settings):
    rng = np.random.RandomState(0)
    A, y = rng.randn(20_000, 60), rng.randint(2, size=20_000)
    model = GDClassifier(max_iter=10**7, **settings)
    model.set_params(max_iter=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(A[:500], y[:500])
    before = model.coef_.copy()
    alarm()
    with pytest.raises(KeyboardInterrupt):
        model.set_params(max_iter=10**7, n_iter_no_change=10**6).fit(A, y)
    assert_array_equal(model.coef_, before)


# -- best constants and solvers through the loop ---------------------------------------


def test_a_solver_that_has_nothing_to_gain_ends_at_once():
    A, y = np.zeros((10, 3)), np.arange(10.0)
    model = GDRegressor().fit(A, y)
    assert model.converged_ and not model.coef_.any()
    assert_allclose(model.intercept_, [4.5], rtol=1e-12)
    assert model.suboptimality_ == 0.0


def test_training_starts_from_the_weights_that_it_is_given():
    problem = Problem(*NUMBERS, LOSSES["squared_error"](), PENALTIES["l2"](0.1))
    W, b = np.zeros((10, 1)), np.zeros(1)
    method = LBFGS().method(problem, W, b)
    solved = train(problem, method, Limits(1000), W, b, 0.5)
    W, b = solved.W.copy(), solved.b.copy()
    again = LBFGS().method(problem, W, b, warm=True)
    outcome = train(problem, again, Limits(1000), W, b, 0.5)
    assert outcome.n_iter < solved.n_iter
    assert_allclose(outcome.W, solved.W, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_several_classes_have_one_history(optimizer):
    A, y = load_iris(return_X_y=True)
    model = GDClassifier(optimizer=optimizer, max_iter=5, tol=None, random_state=0).fit(
        A, y
    )
    assert model.loss_curve_.ndim == 1 and np.isfinite(model.loss_curve_).all()


BUSY_ROWS = np.random.RandomState(0).randn(6001, 7)


@pytest.mark.parametrize("layout", [np.asarray, sp.csr_array])
@pytest.mark.parametrize(
    ("optimizer", "batch_size"),
    [*product(sorted(set(STEP_OPTIMIZERS) - {"gd"}), [1, 37, 100, 3000]), ("gd", "auto"), ("saga", "auto")],
)
def test_a_pass_has_the_same_bits_however_long_its_slices_take(
    optimizer, batch_size, layout, monkeypatch
):
    """Slices are shorter where a machine is busy: of 1024 rows each, and as long as may be."""
    rng = np.random.RandomState(1)
    X = layout(BUSY_ROWS * (rng.uniform(size=BUSY_ROWS.shape) < 0.6))
    classes = (BUSY_ROWS @ rng.randn(7, 3)).argmax(axis=1)
    weights = rng.uniform(size=len(classes))
    model = GDClassifier(
        optimizer=optimizer, batch_size=batch_size, max_iter=3, tol=None, random_state=0
    )
    for y in (classes, classes == 0):
        fits = []
        for seconds in (0.0, np.inf):
            monkeypatch.setattr("sgdest._core.train.SLICE_SECONDS", seconds)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                fits.append(clone(model).fit(X, y, weights))
        assert_array_equal(fits[0].loss_curve_, fits[1].loss_curve_)
        assert_array_equal(fits[0].coef_, fits[1].coef_)
