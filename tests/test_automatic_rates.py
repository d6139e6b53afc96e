"""No step optimizer needs a rate from the user, on standardised columns or on raw ones."""

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine
from sklearn.preprocessing import scale

from sgdest import GDClassifier, GDRegressor
from sgdest._automatic import Trials, automatic
from sgdest._core.losses import LOSSES
from sgdest._core.penalties import PENALTIES
from sgdest._core.problem import Problem
from sgdest._noise import Noise
from sgdest.optimizers import SGD, STEP_OPTIMIZERS, Adam

# those that need a rate, or would
OPTIMIZERS = [*STEP_OPTIMIZERS, "saga"]
# "gd" takes every call for all there is
STREAMING = [name for name in STEP_OPTIMIZERS if name != "gd"]

ALPHA = 1e-4
RNG = np.random.default_rng(0)
BASE = RNG.normal(size=(2000, 9))
BASE[:, 3:] += 0.5 * BASE[:, :1]  # correlated
SIZE = np.tile([1.0, 100.0, 10_000.0], 3)
RAW = BASE * SIZE + SIZE * np.repeat([0.0, 1.0, 50.0], 3)
TARGET = BASE @ RNG.normal(size=9) + RNG.normal(size=2000)
RARE = BASE * (RNG.random(size=BASE.shape) < 0.3)


def standardised(load):
    X, y = load(return_X_y=True)
    return scale(X), y


DATA = {
    "diabetes": lambda: (GDRegressor, *standardised(load_diabetes)),
    "cancer": lambda: (GDClassifier, *standardised(load_breast_cancer)),
    "wine": lambda: (GDClassifier, *standardised(load_wine)),
    "raw regression": lambda: (GDRegressor, RAW, TARGET),
    "raw classes": lambda: (GDClassifier, RAW, TARGET > 0),
    "raw sparse": lambda: (GDRegressor, sp.csr_array(RARE * SIZE), TARGET),
}

# data, rows of a call; ten sparse rows do not show how large all columns are
STREAMS = [(name, 100) for name in DATA] + [(name, 10) for name in DATA if "sparse" not in name]


def objective(model, X, y):
    """Loss and L2 penalty at the model."""
    if isinstance(model, GDRegressor):
        loss = np.mean((y - model.predict(X)) ** 2) / 2
    else:
        codes = np.searchsorted(model.classes_, y)
        loss = -np.mean(model.predict_log_proba(X)[np.arange(len(y)), codes])
    return loss + ALPHA * (model.coef_**2).sum() / 2


def of_constant(estimator, y):
    if estimator is GDRegressor:
        return y.var() / 2
    share = np.unique(y, return_counts=True)[1] / len(y)
    return -share @ np.log(share)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", DATA)
def test_a_thousand_passes_come_within_a_hundredth_of_the_minimum(name, optimizer):
    estimator, X, y = DATA[name]()
    best = objective(estimator(tol=1e-9, max_iter=20_000).fit(X, y), X, y)
    model = estimator(optimizer=optimizer, tol=None, random_state=0).fit(X, y)
    start = of_constant(estimator, y)
    assert -1e-6 < (objective(model, X, y) - best) / (start - best) < 1e-2


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_stopping_rule_does_not_stop_far_from_the_minimum(optimizer):
    estimator, X, y = DATA["raw classes"]()
    best = objective(estimator(tol=1e-9).fit(X, y), X, y)
    model = estimator(optimizer=optimizer, random_state=0).fit(X, y)
    assert model.converged_
    start = of_constant(estimator, y)
    assert (objective(model, X, y) - best) / (start - best) < 1e-2


def test_batch_descent_shows_a_loss_that_never_rises():
    estimator, X, y = DATA["cancer"]()
    curve = estimator(optimizer="gd", max_iter=300, tol=None).fit(X, y).loss_curve_
    assert (np.diff(curve) < 0).all()


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_units_and_offsets_of_columns_do_not_change_the_predictions(optimizer):
    # without a penalty, whose strength depends on the units
    settings = dict(optimizer=optimizer, penalty=None, max_iter=30, tol=None)
    X = 4.0 * BASE  # beyond what is left as it is
    fit = lambda A: GDRegressor(random_state=0, **settings).fit(A, TARGET).predict(A)
    # half the digits: a thousand steps amplify the rounding of columns with large offsets
    assert_allclose(fit(X * SIZE + 7 * SIZE), fit(X), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("optimizer", ["adam", "momentum", "ftrl"])
def test_a_stream_goes_on_in_its_coordinates(optimizer):
    make = lambda: GDRegressor(optimizer=optimizer, shuffle=False, batch_size=100)
    whole, cut = make().partial_fit(RAW[:500], TARGET[:500]), make()
    cut.partial_fit(RAW[:500], TARGET[:500])
    assert {"spread", "centre"} <= set(cut.optimizer_state_)
    for model in (whole, cut):
        for _ in range(20):
            model.partial_fit(RAW, TARGET)
    assert whole.score(RAW, TARGET) > 0.9 * GDRegressor().fit(RAW, TARGET).score(
        RAW, TARGET
    )
    assert_allclose(whole.coef_, cut.coef_, rtol=0)


@pytest.mark.parametrize("optimizer", STREAMING)
@pytest.mark.parametrize("name, n_rows", STREAMS)
def test_a_stream_ends_below_the_best_constant(name, optimizer, n_rows):
    # the first call decides the rate
    estimator, X, y = DATA[name]()
    rows = np.random.RandomState(0).permutation(len(y))[:500]
    X, y = X[rows], y[rows]
    model = estimator(optimizer=optimizer, random_state=0)
    options = {"classes": np.unique(y)} if estimator is GDClassifier else {}
    for start in range(0, len(y), n_rows):
        part = slice(start, start + n_rows)
        model.partial_fit(X[part], y[part], **options)
    assert objective(model, X, y) < of_constant(estimator, y)


@pytest.mark.parametrize("optimizer", STREAMING)
def test_the_unit_of_the_targets_is_seen_in_the_first_row(optimizer):
    model = GDRegressor(optimizer=optimizer, batch_size=10, random_state=0)
    model.partial_fit(BASE[:1], 1e6 * TARGET[:1])
    model.partial_fit(BASE[1:], 1e6 * TARGET[1:])
    assert model.score(BASE, TARGET * 1e6) > 0.5


def test_a_rate_of_the_user_is_used_in_the_columns_as_they_are():
    model = GDRegressor(optimizer=Adam(0.1), max_iter=2, tol=None).fit(RAW, TARGET)
    assert "spread" not in model.optimizer_state_


def test_columns_that_are_alike_are_left_as_they_are():
    problem = Problem(
        scale(BASE), TARGET, LOSSES["squared_error"](), PENALTIES["l2"](ALPHA)
    )
    start = np.zeros((9, 1)), np.zeros(1)
    assert automatic(problem, SGD(), 1, 0, *start)[1] == {}


# -- the probe -------------------------------------------------------------------------


def rate_of(X, y, **settings):
    """The first rate that "auto" chooses."""
    model = GDRegressor(optimizer="sgd", max_iter=1, tol=None, random_state=0, **settings)
    return model.fit(X, y).history_["learning_rate"][0]


def test_a_few_long_rows_shorten_the_steps():
    X = BASE.copy()
    X[::100] *= 30.0
    y = X[:, 0] + TARGET
    assert rate_of(X, y) < rate_of(BASE, y)
    model = GDRegressor(optimizer="sgd", max_iter=30, tol=None, random_state=0).fit(X, y)
    assert model.score(X, y) > 0.9 * GDRegressor().fit(X, y).score(X, y)


def test_the_choice_depends_on_no_seed_and_on_no_storage():
    rates = {
        rate_of(kind(RARE), TARGET, shuffle=shuffle)
        for shuffle in (False, True)
        for kind in (np.asarray, np.asfortranarray)
    }
    assert len(rates) == 1


def trials_of(value):
    """The values of trials that need not be made."""
    trials = Trials.__new__(Trials)
    trials.update({k: value(k) for k in range(-14, 15)})
    return trials


@pytest.mark.parametrize("lowest", [-7.3, -0.4, 0.2, 6.4])
def test_the_rate_is_where_the_parabola_through_the_lowest_trials_is(lowest):
    trials = trials_of(lambda k: (k - lowest) ** 2)
    best = trials.lowest(trials.lowest(0, 2), 1)
    assert best == round(lowest)
    assert_allclose(trials.between(best, 1), lowest, rtol=1e-12)


def test_a_rate_that_ends_above_the_start_is_lowered_until_one_does_not():
    trials = trials_of(lambda k: np.inf if k > -5 else -k)
    assert trials.lowest(0, 2) == -6
    assert trials.lowest(-6, 1) == -5
    assert trials.between(-5, 1) == -5


def test_a_pass_over_counts_with_a_few_long_rows_ends_below_its_start():
    X, y = RARE.copy(), np.exp(np.clip(TARGET, -1, 1))
    X[::50] *= 100.0
    model = GDRegressor("poisson", optimizer="sgd", max_iter=1, tol=None, random_state=0)
    nothing = np.zeros_like(X)
    start = GDRegressor("poisson").fit(nothing, y).objective(nothing, y)
    assert model.fit(X, y).objective(X, y) < start


def test_an_automatic_rate_starts_from_the_best_constant_model():
    y = TARGET + 1e6
    model = GDRegressor(optimizer="adam", max_iter=1, tol=None, random_state=0).fit(BASE, y)
    assert abs(model.intercept_[0] - 1e6) < 10


# -- what a fit learns from its passes --------------------------------------------------


@pytest.mark.parametrize("kind", [np.asarray, sp.csr_array], ids=["dense", "csr"])
def test_the_cost_of_noise_is_that_of_its_covariance(kind):
    # fewer rows than the sample: all are seen
    X, y, s = RARE[:200], TARGET[:200] > 0, np.linspace(0.5, 1.5, 200)
    problem = Problem(kind(X), y.astype(float), LOSSES["log_loss"](), PENALTIES["l2"](ALPHA),
                      sample_weight=s)
    W, b, spread, eta = np.full((9, 1), 0.3), np.array([0.1]), SIZE / 10, 0.02
    centre = np.zeros(9)
    noise = Noise(problem, W, b, (spread, centre), batch_size=10, length=2.0)
    A = np.column_stack([X / spread, np.ones(200)])
    p = 1 / (1 + np.exp(-(X @ W[:, 0] + b)))
    slopes, h = s * (p - y), s * p * (1 - p)
    trace = np.mean(slopes**2 * (A**2).sum(axis=1)) / 10
    products = (A @ A.T) ** 2
    np.fill_diagonal(products, 0.0)
    curvature = slopes**2 @ products @ h / 199 / (slopes**2 @ (A**2).sum(axis=1))
    x = 2 * eta * curvature * 200 / 10
    expected = 2 * eta * trace / 4 * x**2 / (12 + x**2)
    assert_allclose(noise.hover(eta), expected, rtol=1e-10)


def test_steps_of_batch_descent_are_those_of_barzilai_and_borwein():
    X, y = scale(BASE), TARGET
    A = np.column_stack([X, np.ones(len(y))])
    w, rates = np.append(np.zeros(9), y.mean()), []
    model = GDRegressor(optimizer="gd", alpha=0.0, max_iter=3, tol=None).fit(X, y)
    gradient = lambda w: A.T @ (A @ w - y) / len(y)
    eta, last = model.history_["learning_rate"][0], None
    for _ in range(3):  # none of which rises
        g = gradient(w)
        if last is not None:
            change = g - last[1]
            eta = (w - last[0]) @ change / (change @ change)
        rates.append(eta)
        last, w = (w, g), w - eta * g
    assert_allclose(model.history_["learning_rate"], rates, rtol=1e-8)
    assert_allclose(np.append(model.coef_, model.intercept_), w, rtol=1e-8)


@pytest.mark.parametrize("optimizer", ["sgd", "momentum"])
def test_the_rate_falls_where_there_is_noise_and_hardly_where_all_rows_can_be_fitted(optimizer):
    X = RNG.normal(size=(60, 200))
    y = X @ RNG.normal(size=200) / 14
    fit = GDRegressor(optimizer=optimizer, alpha=0.0, batch_size=20, max_iter=50, tol=None,
                      random_state=0).fit
    fitted = fit(X, y).history_["learning_rate"]
    assert fitted[-1] >= 0.5 * fitted[0]
    noisy = fit(BASE, TARGET).history_["learning_rate"]
    assert noisy[-1] < 0.1 * noisy[0]


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "nesterov", "amsgrad", "ftrl"])
def test_the_end_of_a_fit_leaves_no_noise_whatever_the_order_of_the_rows(optimizer):
    rng = np.random.default_rng(0)
    X = rng.standard_t(3, size=(1500, 10))
    y = X[:, 0] + rng.logistic(size=1500) > 4.0
    best = GDClassifier(alpha=1e-3, tol=1e-10).fit(X, y).objective(X, y)
    zero = of_constant(GDClassifier, y)
    for seed in range(8):              # 1e-2 before rates fell to an end
        model = GDClassifier(optimizer=optimizer, alpha=1e-3, batch_size=1, max_iter=20, tol=None,
                             random_state=seed).fit(X, y)
        assert model.objective(X, y) - best < 2e-3 * (zero - best)
