"""The fine print of the estimators, a test for each of its sentences."""

import warnings

import joblib
import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import Lasso, Ridge
from sklearn.preprocessing import StandardScaler, scale

from sgdest import GDClassifier, GDRegressor
from sgdest._validation import usable_threads
from sgdest.losses import Tweedie
from sgdest.optimizers import NAMES, SGD

RNG = np.random.default_rng(0)
ORDER = RNG.permutation(150)
CANCER = (scale(load_breast_cancer().data), load_breast_cancer().target)
IRIS = (scale(load_iris().data)[ORDER], load_iris().target[ORDER])
DIABETES = (scale(load_diabetes().data), scale(load_diabetes().target))
PAIRS = (DIABETES[0], np.column_stack([DIABETES[1], DIABETES[0][:, 2] - DIABETES[1]]))
TASKS = {
    "binary": (GDClassifier, CANCER),
    "softmax": (GDClassifier, IRIS),
    "numbers": (GDRegressor, DIABETES),
    "pairs": (GDRegressor, PAIRS),
}
METHODS = {
    "lbfgs": dict(optimizer="lbfgs"),
    "sgd": dict(learning_rate=0.02, max_iter=8, tol=None),
    "averaged": dict(learning_rate="invscaling", average=50, max_iter=8, tol=None),
    "batches": dict(learning_rate=0.1, batch_size=32, max_iter=8, tol=None),
    "gd": dict(optimizer="gd", learning_rate=0.1, max_iter=8, tol=None),
    "normalized_adaptive": dict(optimizer="normalized_adaptive", max_iter=8, tol=None),
}
SMOOTH = {
    "squared_error": GDRegressor(),
    "huber": GDRegressor(loss="huber", epsilon=0.7),
    "squared_epsilon_insensitive": GDRegressor(loss="squared_epsilon_insensitive"),
    "log_cosh": GDRegressor(loss="log_cosh"),
    "poisson": GDRegressor(loss="poisson"),
    "gamma": GDRegressor(loss="gamma"),
    "tweedie": GDRegressor(loss=Tweedie(1.3)),
    "log_loss": GDClassifier(),
    "squared_hinge": GDClassifier(loss="squared_hinge"),
    "smooth_hinge": GDClassifier(loss="smooth_hinge"),
    "modified_huber": GDClassifier(loss="modified_huber"),
}


def assert_same_model(a, b):
    assert_array_equal(a.coef_, b.coef_)
    assert_array_equal(a.intercept_, b.intercept_)


# -- weights in steps ------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 5, None])
def test_steps_of_fit_divide_by_the_size_of_the_batch_and_the_mean_weight(batch_size):
    X, y = DIABETES
    s = np.random.default_rng(1).uniform(0.1, 3.0, size=len(y))
    model = GDRegressor(
        alpha=0.0,
        learning_rate=0.05,
        batch_size=batch_size,
        shuffle=False,
        max_iter=1,
        tol=None,
    ).fit(X, y, sample_weight=s)
    w, b, size = np.zeros(10), 0.0, batch_size or len(y)
    for a in range(0, len(y), size):
        B = slice(a, a + size)
        d = s[B] * (X[B] @ w + b - y[B]) / (len(y[B]) * s.mean())
        w, b = w - 0.05 * X[B].T @ d, b - 0.05 * d.sum()
    assert_allclose(model.coef_, w, rtol=1e-10)
    assert_allclose(model.intercept_, [b], rtol=1e-10)


def test_steps_of_partial_fit_divide_by_the_size_of_the_batch_only():
    X, y = DIABETES
    s = np.random.default_rng(1).uniform(0.1, 3.0, size=len(y))
    model = GDRegressor(alpha=0.0, learning_rate=0.05, batch_size=None)
    model.partial_fit(X, y, sample_weight=s)
    assert_allclose(model.coef_, 0.05 * X.T @ (s * y) / len(y), rtol=1e-12)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("task", TASKS)
def test_weights_of_fit_have_no_unit(task, method):
    kind, (X, y) = TASKS[task]
    s = np.random.default_rng(1).uniform(0.1, 3.0, size=len(y))
    a, b = (kind(random_state=0, **METHODS[method]) for _ in "ab")
    a.fit(X, y, sample_weight=s)
    b.fit(X, y, sample_weight=1024.0 * s)
    assert_allclose(a.coef_, b.coef_, rtol=1e-7, atol=1e-9)


# -- average ---------------------------------------------------------------------------


@pytest.mark.parametrize("average", [True, 1, 100, 442, 600])
def test_an_integer_average_counts_updates(average):
    X, y = DIABETES
    options = dict(alpha=0.0, learning_rate=0.01, shuffle=False, max_iter=2, tol=None)
    model = GDRegressor(average=average, **options).fit(X, y)
    w, b, iterates = np.zeros(10), 0.0, []
    for i in [*range(len(y)), *range(len(y))]:
        d = X[i] @ w + b - y[i]
        w, b = w - 0.01 * d * X[i], b - 0.01 * d
        iterates.append([*w, b])
    mean = np.mean(iterates[int(average) - 1 :], axis=0)
    assert_allclose(model.coef_, mean[:-1], rtol=1e-9)
    assert_allclose(model.intercept_, mean[-1:], rtol=1e-9)


def test_before_its_first_update_the_average_is_the_last_iterate():
    X, y = DIABETES
    options = dict(learning_rate=0.01, random_state=0, max_iter=1, tol=None)
    late, last = (GDRegressor(average=n, **options).fit(X, y) for n in (10_000, False))
    assert_allclose(late.coef_, last.coef_, rtol=1e-12)


@pytest.mark.parametrize("layout", [np.asarray, sp.csr_array], ids=["dense", "csr"])
def test_a_coefficient_that_is_zero_at_the_end_is_zero_in_the_average(layout):
    X, y = DIABETES
    options = dict(
        penalty="l1",
        alpha=0.3,
        learning_rate="invscaling",
        random_state=0,
        max_iter=20,
        tol=None,
    )
    last = GDRegressor(**options).fit(layout(X), y)
    mean = GDRegressor(average=True, **options).fit(layout(X), y)
    assert (last.coef_ == 0).any()
    assert_array_equal(mean.coef_ == 0, last.coef_ == 0)


# -- warm_start ------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("task", TASKS)
def test_a_warm_start_is_a_fit_from_the_coefficients(task, method):
    kind, (X, y) = TASKS[task]
    warm = kind(warm_start=True, random_state=0, **METHODS[method]).fit(X, y)
    coef, intercept = warm.coef_.copy(), warm.intercept_.copy()
    warm.fit(X, y)
    cold = kind(random_state=0, **METHODS[method])
    cold.fit(X, y, coef_init=coef, intercept_init=intercept)
    assert_same_model(warm, cold)
    assert warm.t_ == cold.t_


def test_a_warm_start_after_partial_fit_goes_on_from_it():
    X, y = DIABETES
    options = dict(learning_rate="invscaling", max_iter=1, tol=None, shuffle=False)
    warm = GDRegressor(warm_start=True, **options).partial_fit(X[:100], y[:100])
    coef, intercept = warm.coef_.copy(), warm.intercept_.copy()
    warm.fit(X, y)
    cold = GDRegressor(**options).fit(X, y, coef_init=coef, intercept_init=intercept)
    assert_same_model(warm, cold)
    assert warm.t_ == len(y)


@pytest.mark.parametrize("method", METHODS)
def test_without_warm_start_a_fit_forgets(method):
    X, y = DIABETES
    twice = GDRegressor(random_state=0, **METHODS[method]).fit(X[::-1], -y).fit(X, y)
    once = GDRegressor(random_state=0, **METHODS[method]).fit(X, y)
    assert_same_model(twice, once)


def test_a_warm_solver_needs_fewer_iterations_at_its_solution():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(2000, 30))
    y = (X @ rng.normal(size=30) + rng.logistic(size=2000) > 0).astype(int)
    model = GDClassifier(warm_start=True, alpha=1e-3).fit(X, y)
    first = model.n_iter_
    assert model.fit(X, y).n_iter_ < first


def test_given_starts_take_precedence_over_a_warm_start():
    X, y = DIABETES
    options = dict(learning_rate=0.01, max_iter=1, tol=None, random_state=0)
    start = np.arange(10.0)
    warm = (
        GDRegressor(warm_start=True, **options)
        .fit(X, y)
        .fit(X, y, coef_init=start, intercept_init=2.0)
    )
    assert_same_model(
        warm, GDRegressor(**options).fit(X, y, coef_init=start, intercept_init=2.0)
    )
    assert_array_equal(start, np.arange(10.0))


# -- penalty_weights -------------------------------------------------------------------


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("penalty", ["l1", "l2", "elasticnet"])
def test_scale_is_the_penalty_of_the_standardised_problem(penalty, weighted):
    rng = np.random.default_rng(0)
    X, y = (
        load_diabetes().data * 10.0 ** rng.integers(-1, 3, size=10) + 5.0,
        DIABETES[1],
    )
    s = rng.integers(1, 4, size=len(y)) if weighted else None
    scaler = StandardScaler().fit(X, sample_weight=s)
    options = dict(penalty=penalty, alpha=0.05, l1_ratio=0.4)
    raw = GDRegressor(penalty_weights="scale", **options).fit(X, y, sample_weight=s)
    standard = GDRegressor(**options).fit(scaler.transform(X), y, sample_weight=s)
    assert_allclose(raw.coef_ * scaler.scale_, standard.coef_, rtol=1e-6, atol=1e-8)
    assert_allclose(
        raw.predict(X), standard.predict(scaler.transform(X)), rtol=1e-6, atol=1e-8
    )


@pytest.mark.parametrize("penalty", ["l1", "l2"])
def test_penalty_weights_scale_the_columns(penalty):
    X, y = DIABETES
    c = np.array([0.5, 1.0, 2.0, 4.0, 1.0, 1.0, 0.25, 1.0, 3.0, 1.0])
    ours = GDRegressor(penalty=penalty, alpha=0.1, penalty_weights=c).fit(X, y)
    theirs = (Lasso(0.1, tol=1e-12) if penalty == "l1" else Ridge(0.1 * len(y))).fit(
        X / c, y
    )
    assert_allclose(ours.coef_ * c, theirs.coef_, rtol=1e-6, atol=1e-8)


def test_a_weight_of_zero_frees_a_column():
    X, y = DIABETES
    c = np.ones(10)
    c[3] = 0.0
    model = GDRegressor(penalty="l1", alpha=1e3, penalty_weights=c).fit(X, y)
    assert_array_equal(np.flatnonzero(model.coef_), [3])
    assert_allclose(
        model.coef_[3], np.cov(X[:, 3], y)[0, 1] / X[:, 3].var(ddof=1), rtol=1e-6
    )


def test_scale_in_partial_fit_needs_a_fit_before():
    X, y = DIABETES
    with pytest.raises(ValueError, match="penalty_weights='scale'.*call fit"):
        GDRegressor(penalty_weights="scale").partial_fit(X, y)
    fitted = GDRegressor(penalty_weights="scale").fit(X, y)
    before = fitted.coef_.copy()
    assert (fitted.partial_fit(X, y).coef_ != before).any()
    other = GDRegressor().fit(X, y).set_params(penalty_weights="scale")
    with pytest.raises(ValueError, match="penalty_weights='scale'.*call fit"):
        other.partial_fit(X, y)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("task", TASKS)
def test_positive_keeps_the_coefficients_not_negative(task, method):
    kind, (X, y) = TASKS[task]
    model = kind(positive=True, random_state=0, **METHODS[method]).fit(X, y)
    assert (model.coef_ >= 0).all() and (model.coef_ > 0).any()
    model.partial_fit(X, y)
    assert (model.coef_ >= 0).all()


# -- threads ---------------------------------------------------------------------------


@pytest.mark.parametrize("layout", [np.asarray, sp.csr_array], ids=["dense", "csr"])
@pytest.mark.parametrize("n_outputs", [1, 3])
def test_the_bits_do_not_depend_on_the_number_of_threads(n_outputs, layout):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40_000, 60)).astype(np.float32)
    y = (X[:, :3] + rng.normal(size=(40_000, 3))).argmax(axis=1) % (n_outputs + 1)
    X = layout(X)
    models = [
        GDClassifier(n_jobs=n_jobs, max_iter=8, tol=None, alpha=1e-3).fit(X, y)
        for n_jobs in (1, 2, 3, -1, None)
    ]
    for other in models[1:]:
        assert_same_model(models[0], other)


def test_processors_are_not_counted_where_one_thread_is_asked_for(monkeypatch):
    monkeypatch.setattr(joblib, "cpu_count", lambda: 8)
    for limit, expected in (("3", 3), ("2,1", 2), ("", 8)):
        monkeypatch.setenv("OMP_NUM_THREADS", limit)
        assert usable_threads(None) == expected
    monkeypatch.delattr(joblib, "cpu_count")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert usable_threads(None) == 1


# -- divergence ------------------------------------------------------------------------


EXPLOSIVE = {
    "number": dict(learning_rate=50.0),
    "object": dict(optimizer=SGD(50.0)),
    "gd": dict(optimizer="gd", learning_rate=50.0),
    "constant": dict(learning_rate="constant", eta0=50.0),
    "callable": dict(learning_rate=lambda t: 50.0),
    "batches": dict(learning_rate=50.0, batch_size=16),
    "average": dict(learning_rate=50.0, average=True),
}


@pytest.mark.parametrize("name", EXPLOSIVE)
def test_a_rate_of_the_user_that_explodes_is_told_and_sound_weights_stay(name):
    X, y = DIABETES
    model = GDRegressor(random_state=0, max_iter=50, **EXPLOSIVE[name])
    with pytest.warns(
        ConvergenceWarning,
        match=r"exploded in epoch \d+ at learning rate 50; the "
        "model keeps the last sound weights.*smaller learning rate, scale.*"
        "learning_rate='auto'",
    ) as record:
        model.fit(X, y)
    assert len(record) == 1 and record[0].filename == __file__
    assert not model.converged_
    # the start is a sound model, and what is kept is no worse than far from it
    assert np.mean((model.predict(X) - y) ** 2) < 1e6 * np.mean(y**2)
    assert np.isfinite(model.loss_curve_).all()


def test_the_best_finite_weights_are_kept_after_a_divergence():
    X, y = DIABETES

    def rate(t):
        return 0.01 if t <= 3 * 442 else 1e3

    options = dict(shuffle=False, tol=None)
    with pytest.warns(
        ConvergenceWarning, match="exploded in epoch 4 at learning rate 1e"
    ):
        model = GDRegressor(learning_rate=rate, max_iter=20, **options).fit(X, y)
    assert_same_model(
        model, GDRegressor(learning_rate=rate, max_iter=3, **options).fit(X, y)
    )
    assert len(model.loss_curve_) == 3 and model.best_epoch_ == 3


@pytest.mark.parametrize("batch_size", [1, 8, None])
@pytest.mark.parametrize("loss", ["squared_error", "poisson", "gamma"])
def test_a_rate_of_our_own_backs_off_and_learns(loss, batch_size):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 4)) * [1.0, 3.0, 0.3, 1.0]
    y = np.exp(X @ [0.5, 0.5, 0.5, -1.0]) * rng.gamma(2.0, 0.5, size=300)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "The objective exploded")
        warnings.filterwarnings("ignore", "Maximum number")
        model = GDRegressor(
            loss=loss,
            optimizer="sgd",
            batch_size=batch_size,
            max_iter=100,
            random_state=0,
            alpha=0.0,
        ).fit(X, y)
    constant = GDRegressor(loss=loss, alpha=1e9).fit(X, y)
    assert np.isfinite(model.coef_).all()
    assert model.loss_curve_[-1] < constant.loss_curve_[-1]


# -- convergence -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "parameters",
    [dict(learning_rate=1e-6, tol=1e-12, n_iter_no_change=50), dict(optimizer="lbfgs")],
    ids=str,
)
def test_a_fit_that_ends_at_max_iter_says_how_far_it_got(parameters):
    X, y = CANCER
    with pytest.warns(
        ConvergenceWarning,
        match=(
            r"Maximum number of iteration reached before convergence: 3 passes with "
            r".*\(.*tol=.*Consider increasing max_iter or tol"
        ),
    ) as record:
        model = GDClassifier(max_iter=3, **parameters).fit(X, y)
    assert record[0].filename == __file__
    assert not model.converged_ and model.n_iter_ == 3


@pytest.mark.parametrize("method", METHODS)
def test_without_tol_nobody_is_warned(method):
    X, y = CANCER
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        GDClassifier(**dict(METHODS[method], tol=None, max_iter=2)).fit(X, y)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("optimizer", [*NAMES, "auto"])
@pytest.mark.parametrize("task", TASKS)
def test_one_pass_is_enough_for_a_model(task, optimizer):
    kind, (X, y) = TASKS[task]
    model = kind(optimizer=optimizer, max_iter=1).fit(X, y)
    assert model.n_iter_ == 1 == len(model.loss_curve_) == model.best_epoch_
    assert (model.coef_ != 0).any()


def test_a_solver_certifies_what_it_claims():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(4000, 20)) * np.logspace(-2, 2, 20)
    y = (
        X @ (rng.normal(size=20) / np.logspace(-2, 2, 20)) + rng.logistic(size=4000) > 0
    ) * 1
    exact = GDClassifier(tol=1e-12, alpha=1e-4).fit(X, y)
    start = -np.log(y.mean()) * y.mean() - np.log(1 - y.mean()) * (1 - y.mean())
    for tol in (1e-2, 1e-4, 1e-6):
        model = GDClassifier(tol=tol, alpha=1e-4).fit(X, y)
        gained = start - exact.loss_curve_[-1]
        true = (model.loss_curve_[-1] - exact.loss_curve_[-1]) / gained
        assert model.converged_ and true <= model.suboptimality_ <= tol


# -- class weights and copies of rows --------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("data", [CANCER, IRIS], ids=["binary", "softmax"])
@pytest.mark.parametrize("loss", ["log_loss", "squared_hinge"])
def test_class_weights_are_sample_weights(loss, data, method):
    X, y = data
    s = np.random.default_rng(1).uniform(0.5, 2.0, size=len(y))
    given = {0: 0.3, 1: 2.0, 2: 1.0}
    totals = np.bincount(y, weights=s)
    options = dict(loss=loss, random_state=0, **METHODS[method])
    for class_weight, w in [
        (given, np.array([given[k] for k in y])),
        ("balanced", (s.sum() / (len(totals) * totals))[y]),
    ]:
        a = GDClassifier(class_weight=class_weight, **options).fit(
            X, y, sample_weight=s
        )
        b = GDClassifier(**options).fit(X, y, sample_weight=s * w)
        assert_allclose(a.coef_, b.coef_, rtol=1e-9, atol=1e-11)
        assert_allclose(a.intercept_, b.intercept_, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("watched", [False, True], ids=["", "watched"])
@pytest.mark.parametrize("layout", [np.asarray, sp.csr_array], ids=["dense", "csr"])
@pytest.mark.parametrize("loss", SMOOTH)
def test_a_weight_of_k_is_k_copies_of_a_row(loss, layout, watched):
    model = SMOOTH[loss]
    rng = np.random.default_rng(3)
    X, k = rng.normal(size=(90, 6)) + 0.5, rng.integers(0, 4, size=90)
    y = rng.integers(0, 3, size=90) + 1.0
    held_out = (
        dict(X_val=layout(X[:30]), y_val=y[:30], sample_weight_val=k[:30])
        if watched
        else {}
    )
    balanced = {"class_weight": "balanced"} if isinstance(model, GDClassifier) else {}
    for options in (
        {},
        dict(penalty="l1", alpha=0.01),
        dict(fit_intercept=False),
        balanced,
    ):
        a, b = (
            type(model)(**{**model.get_params(deep=False), **options}) for _ in "ab"
        )
        a.fit(layout(X), y, sample_weight=k, **held_out)
        b.fit(layout(np.repeat(X, k, axis=0)), np.repeat(y, k), **held_out)
        # run to rounding: what is left is the root of it over the curvature
        assert_allclose(a.coef_, b.coef_, rtol=1e-7, atol=1e-8)
        assert_allclose(a.intercept_, b.intercept_, rtol=1e-7, atol=1e-8)
        assert_allclose(a.loss_curve_[-1], b.loss_curve_[-1], rtol=1e-10)


@pytest.mark.parametrize("method", ["lbfgs", "gd"])
@pytest.mark.parametrize("task", TASKS)
def test_rows_of_weight_zero_are_as_if_absent(task, method):
    kind, (X, y) = TASKS[task]
    s = (np.arange(len(y)) % 3 > 0).astype(float)
    a = kind(**METHODS[method]).fit(X, y, sample_weight=s)
    b = kind(**METHODS[method]).fit(X[s > 0], y[s > 0])
    assert_allclose(a.coef_, b.coef_, rtol=1e-7, atol=1e-9)


# -- seeds -----------------------------------------------------------------------------


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("task", TASKS)
def test_one_seed_is_one_model(task, method, early_stopping):
    kind, (X, y) = TASKS[task]
    options = dict(early_stopping=early_stopping, **METHODS[method])
    a, b, c = (
        kind(random_state=seed, **options).fit(X, y)
        for seed in (7, 7, np.random.RandomState(7))
    )
    assert_same_model(a, b)
    assert_same_model(a, c)
    assert_same_model(a, b.fit(X, y))


def test_a_generator_goes_on_from_fit_to_fit():
    X, y = DIABETES
    rng = np.random.RandomState(7)
    first, second = (
        GDRegressor(learning_rate=0.02, max_iter=1, tol=None, random_state=rng).fit(
            X, y
        )
        for _ in "ab"
    )
    assert (first.coef_ != second.coef_).any()


def test_without_shuffle_the_seed_does_not_matter():
    X, y = DIABETES
    options = dict(learning_rate=0.02, max_iter=3, tol=None, shuffle=False)
    assert_same_model(
        GDRegressor(random_state=1, **options).fit(X, y),
        GDRegressor(random_state=2, **options).fit(X, y),
    )


def test_fit_leaves_the_parameters_and_the_data_alone():
    for kind, data in TASKS.values():
        X, y = (a.copy() for a in data)
        X.flags.writeable = y.flags.writeable = False
        for method in METHODS.values():
            model = kind(random_state=0, **method)
            before = model.get_params()
            model.fit(X, y).partial_fit(X, y)
            assert model.get_params() == before
        assert_array_equal(X, data[0])


# -- verbose ---------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_verbose_prints_one_line_per_epoch(method, capsys):
    X, y = DIABETES
    model = GDRegressor(verbose=1, random_state=0, **METHODS[method]).fit(X, y)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(model.loss_curve_)
    for number, (line, value) in enumerate(zip(lines, model.loss_curve_), start=1):
        assert line.split()[:3] == ["epoch", str(number), "objective"]
        assert_allclose(float(line.split()[3]), value, rtol=1e-6)
