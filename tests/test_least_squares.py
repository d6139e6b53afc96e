"""Least squares on few dense columns: one pass, the minimum, and a bound that holds."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import nnls

from sgdest import GDRegressor
from sgdest._core import gram, least_squares, metric
from sgdest._core.gram import fingerprint, gram_of_rows, single_gram_of_rows
from sgdest._core.losses import LOSSES
from sgdest._core.penalties import PENALTIES
from sgdest._core.problem import Problem

N_ROWS, N_FEATURES = 4_000, 9


def make(kind="plain", dtype=np.float64):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((N_ROWS, N_FEATURES)) @ rng.standard_normal((N_FEATURES, N_FEATURES))
    y = X @ rng.standard_normal(N_FEATURES) + 3.0 * rng.standard_normal(N_ROWS) + 5.0
    if kind == "offsets":
        X = X + 1e6 * X.std(axis=0)
    if kind == "scales":
        X = X * 10.0 ** rng.uniform(-8, 8, N_FEATURES)
    if kind == "constant":
        X[:, 3] = 7.0
    if kind == "twins":
        X[:, 5] = X[:, 2]
    if kind == "sorted":
        X = np.sort(X * np.geomspace(1, 1e4, N_ROWS)[:, None], axis=0)
    return X.astype(dtype), y


def weights():
    s = np.random.default_rng(1).exponential(size=N_ROWS)
    s[::7] = 0.0
    return s


def ridge(X, y, alpha, s, fit_intercept=True):
    """The minimum by the pseudo-inverse of centred rows, in double precision."""
    X = X.astype(np.float64)
    s = s / s.sum()
    mean = s @ X if fit_intercept else np.zeros(X.shape[1])
    at = s @ y if fit_intercept else 0.0
    A = np.vstack([np.sqrt(s)[:, None] * (X - mean), np.sqrt(alpha) * np.eye(X.shape[1])])
    w = np.linalg.lstsq(A, np.append(np.sqrt(s) * (y - at), np.zeros(X.shape[1])))[0]
    return w, at - mean @ w


@pytest.mark.parametrize("kind", ["plain", "offsets", "constant", "sorted"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("weighted", [False, True])
def test_ridge_regression_is_solved_by_one_pass(kind, dtype, weighted):
    if kind == "offsets" and dtype == np.float32:
        kind = "plain"  # single precision has no such columns
    X, y = make(kind, dtype)
    s = weights() if weighted else np.ones(N_ROWS)
    model = GDRegressor(alpha=0.1).fit(X, y, s if weighted else None)
    w, b = ridge(X, y, 0.1, s)
    assert_allclose(model.coef_, w, rtol=1e-7, atol=1e-9)
    assert_allclose(model.intercept_, b, rtol=1e-7)
    assert model.converged_
    assert model.n_iter_ == 1 or kind == "sorted"


@pytest.mark.parametrize("kind", ["plain", "scales", "twins"])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("penalty", ["l1", "elasticnet", "l2", None])
@pytest.mark.parametrize("positive", [False, True])
def test_no_objective_lies_further_below_than_promised(kind, fit_intercept, penalty, positive):
    X, y = make(kind)
    fit = lambda **tol: GDRegressor(
        penalty=penalty, alpha=0.2, l1_ratio=0.5, positive=positive, max_iter=10_000,
        fit_intercept=fit_intercept, **tol).fit(X, y)
    model, other = fit(tol=1e-8), fit(tol=1e-8, optimizer="lbfgs")
    found, below = model.objective(X, y), other.objective(X, y)
    start = GDRegressor(fit_intercept=fit_intercept).fit(0.0 * X, y).objective(0.0 * X, y)
    assert found <= below + 1e-8 * (start - below)
    assert 0.0 <= model.suboptimality_ <= 1e-8


def test_positive_coefficients_are_those_of_nonnegative_least_squares():
    X, y = make()
    model = GDRegressor(penalty=None, positive=True, fit_intercept=False, tol=1e-10).fit(X, y)
    assert_allclose(model.coef_, nnls(X, y)[0], rtol=1e-6, atol=1e-9)


def test_every_target_gets_its_own_minimum():
    X, y = make()
    Y = np.column_stack([y, -2.0 * y, np.abs(y)])
    model = GDRegressor(alpha=0.01).fit(X, Y)
    for k in range(3):
        alone = GDRegressor(alpha=0.01).fit(X, Y[:, k])
        assert_allclose(model.coef_[k], alone.coef_, rtol=1e-10)
        assert_allclose(model.intercept_[k], alone.intercept_, rtol=1e-10)


def test_the_objective_of_a_perfect_fit_is_that_of_the_rows():
    X, _ = make()
    y = X @ np.arange(1.0, N_FEATURES + 1)
    model = GDRegressor(penalty=None).fit(X, y)
    assert model.loss_curve_[-1] >= 0.0
    assert_allclose(model.loss_curve_[-1], model.objective(X, y), rtol=1e-6, atol=1e-24)


@pytest.mark.parametrize("n_features", [1, 7, 8, 15, 16, 33])
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.uint8, np.int8])
def test_products_of_columns_are_those_of_a_matrix_product(n_features, dtype):
    rng = np.random.default_rng(0)
    X = rng.integers(0, 100, (500, n_features)).astype(dtype)
    problem = Problem(X, np.zeros(500), LOSSES["squared_error"](), PENALTIES["l2"](1.0))
    rows = np.sort(rng.choice(500, 333, replace=False))
    factor, beside = rng.random(333), rng.standard_normal((333, 2))
    centre, scale = rng.standard_normal(n_features), rng.random(n_features)
    A = np.hstack([(X[rows] - centre) * scale, beside])
    largest = np.zeros(n_features)
    G = gram_of_rows(problem, rows, factor, centre, scale, beside, largest)
    assert_allclose(G, (A * factor[:, None]).T @ A, rtol=1e-10, atol=1e-10)
    assert_allclose(largest, X[rows].max(axis=0))


@pytest.mark.parametrize("n_features", [1, 30, 31, 32, 33, 100, 257])
def test_products_in_single_precision_are_nearly_those_in_double(n_features):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((500, n_features)) * np.geomspace(1e-8, 1e8, n_features)
    problem = Problem(X, np.zeros(500), LOSSES["squared_error"](), PENALTIES["l2"](1.0))
    rows = np.sort(rng.choice(500, 333, replace=False))
    factor, scale = rng.random(333), 1.0 / X.std(axis=0)
    others = rows, factor, X.mean(axis=0), scale, rng.standard_normal((333, 2))
    G, exact = single_gram_of_rows(problem, *others), gram_of_rows(problem, *others)
    length = np.sqrt(exact.diagonal())
    assert_allclose(G / length / length[:, None], exact / length / length[:, None], atol=1e-6)
    assert (G == G.T).all()


def correlated(kind, n=1500, d=80):
    """Columns enough for products in single precision."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, d))
    if kind == "correlated":
        X = X @ np.tril(0.9 ** np.abs(np.subtract.outer(np.arange(d), np.arange(d)))).T
    if kind == "low rank":
        X = rng.standard_normal((n, 9)) @ rng.standard_normal((9, d)) + 0.01 * X
    if kind == "nearly alike":
        X[:, 1] = X[:, 0] + 1e-4 * X[:, 1]
    if kind == "scales":
        X = X * np.geomspace(1e-6, 1e6, d) + 100.0 * np.geomspace(1e-6, 1e6, d)
    if kind == "counts":
        X = np.floor(np.exp(X)).astype(np.uint8)
    w = np.where(rng.random(d) < 0.2, rng.standard_normal(d), 0.0) / X.std(axis=0)
    return X, X @ w + rng.standard_normal(n) + 10.0


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("penalty", ["l1", "l2", "elasticnet"])
@pytest.mark.parametrize(
    "kind", ["plain", "correlated", "low rank", "nearly alike", "scales", "counts"])
def test_products_in_single_precision_are_mended_by_the_rows(kind, penalty, fit_intercept):
    X, y = correlated(kind)
    fit = lambda tol: GDRegressor(
        penalty=penalty, alpha=0.01, tol=tol, fit_intercept=fit_intercept,
        optimizer="subsampled_newton").fit(X, y)
    gram.kept.clear()
    fit(1e-3)
    lowest = fit(1e-14).objective(X, y)      # by exact products, of a shape that has been seen
    assert gram.kept.found
    start = np.mean((y - y.mean() * fit_intercept) ** 2) / 2
    for tol in (1e-3, 1e-4, 1e-6, 1e-8):
        gram.kept.clear()
        model = fit(tol)
        far = (model.objective(X, y) - lowest) / (start - lowest)
        assert model.converged_
        assert far <= 2.0 * min(tol, model.suboptimality_) + 1e-12
        assert_allclose(model.loss_curve_[-1], model.objective(X, y), rtol=1e-9)


@pytest.mark.parametrize("kind", ["plain", "nearly alike", "scales", "counts", "rare", "sorted"])
def test_no_product_in_single_precision_is_wrong_by_more_than_the_bound(kind):
    X, y = correlated(kind, n=6000)
    if kind == "rare":       # rounding always goes one way where few of 128 terms make a sum
        X = X * (np.random.default_rng(1).random(X.shape) < 0.01)
    if kind == "sorted":     # the pivots, means of some rows, lie off
        X = np.sort(np.exp(2.0 * X), axis=0)
    problem = Problem(X, y, LOSSES["squared_error"](), PENALTIES["l2"](1.0))
    single, exact = gram.SingleMoments(problem), gram.SecondMoments(problem)
    length = np.sqrt(exact.products.diagonal())
    growth = (np.sqrt(1.0 + single.drift) + np.sqrt(single.drift)) ** 2
    wrong = np.abs(single.products - exact.products) / length / length[:, None]
    assert 0.0 < wrong.max() <= least_squares.LARGEST_ROUNDING * growth


@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize("penalty", ["l1", "elasticnet"])
@pytest.mark.parametrize("kind", ["plain", "correlated", "low rank", "scales", "counts", "rare"])
def test_products_whose_rounding_cannot_matter_are_not_mended(kind, penalty, positive):
    X, y = correlated(kind)
    if kind == "rare":       # where few of 128 terms make a sum, roundings are the largest
        X *= np.random.default_rng(1).random(X.shape) < 0.01
        y = y + X.sum(axis=1)
    settings = dict(penalty=penalty, alpha=0.1 * y.std(), positive=positive)
    fit = lambda tol: GDRegressor(tol=tol, optimizer="subsampled_newton", **settings).fit(X, y)
    gram.kept.clear()
    rough, fine = fit(1e-2), fit(1e-10)
    lowest, start = fine.objective(X, y), y.var() / 2
    far = (rough.objective(X, y) - lowest) / (start - lowest)
    assert far <= rough.suboptimality_ <= 1e-2
    assert_allclose(rough.loss_curve_[-1], rough.objective(X, y), rtol=1e-4)
    problem = Problem(X, y, LOSSES["squared_error"](), rough._penalty(X.shape[1]))
    passes = [least_squares.MendedLeastSquares(problem, tol, np.zeros((X.shape[1], 1))).answers[0].passes
              for tol in (1e-2, 1e-6)]
    assert passes[1] > 0
    if kind in ("plain", "correlated", "counts"):
        assert passes[0] == 0


@pytest.mark.parametrize("kind, mended", [("correlated", True), ("nearly alike", False)])
def test_products_in_single_precision_give_way_where_they_are_too_coarse(kind, mended):
    X, y = correlated(kind)
    gram.kept.clear()
    problem = Problem(X, y, LOSSES["squared_error"](), PENALTIES["l2"](1e-14))
    assert least_squares.solver_for(problem) is least_squares.MendedLeastSquares
    found = least_squares.MendedLeastSquares(problem, 1e-6, np.zeros((X.shape[1], 1)))
    assert found.answers[0].remaining <= 1e-6 * y.var()
    assert bool(gram.kept.found) is not mended


@pytest.mark.parametrize("kind, low, high", [
    ("plain", 0.8, 1.2), ("scales", 0.8, 1.2), ("correlated", 3.0, 80.0), ("low rank", 5.0, 80.0)])
def test_what_columns_have_in_common(kind, low, high):
    X, y = correlated(kind)
    for l2 in (0.0, 1e6):         # of which a column has all for itself
        problem = Problem(X, y, LOSSES["squared_error"](), PENALTIES["l2"](l2))
        if l2 == 0.0:
            assert low < least_squares.in_common(problem) < high
        elif kind != "scales":
            assert_allclose(least_squares.in_common(problem), 1.0, atol=1e-3)


@pytest.mark.parametrize("penalty", ["l1", "l2"])
def test_a_fit_is_the_same_to_the_bit_whether_its_products_are_kept_or_made(penalty):
    X, y = correlated("correlated")
    gram.kept.clear()
    fits = [GDRegressor(penalty=penalty, alpha=0.01, optimizer="subsampled_newton").fit(X, y)
            for _ in range(4)]
    assert gram.kept.found
    for model in fits[1:]:
        assert_array_equal(model.coef_, fits[0].coef_)


@pytest.mark.parametrize("kind", ["correlated", "nearly alike"])   # single precision is enough, or not
def test_a_fit_reads_the_data_once_to_know_them_again(kind, monkeypatch):
    X, y = correlated(kind)
    fit = lambda: GDRegressor(alpha=1e-14, tol=1e-6, optimizer="subsampled_newton").fit(X, y)
    gram.kept.clear()
    fit(), fit()
    asked = []
    monkeypatch.setattr(gram, "fingerprint", lambda a: asked.append(a.shape) or fingerprint(a))
    fit()
    assert asked.count(X.shape) == 1


def test_more_columns_than_are_kept():
    X, y = correlated("correlated", 1800, 1500)
    gram.kept.clear()
    for _ in range(2):
        model = GDRegressor(alpha=0.1, tol=1e-8).fit(X, y)
        assert_allclose(model.coef_, ridge(X, y, 0.1, np.ones(len(y)))[0], atol=1e-4)
        assert model.n_iter_ == 1
    assert not gram.kept.found


@pytest.mark.parametrize("n", [1, 5, 64, 201])
@pytest.mark.parametrize("share", [0.0, 0.1, 1.0])
def test_products_with_few_coefficients_are_those_with_all(n, share):
    rng = np.random.default_rng(0)
    A = rng.standard_normal((n, n))
    x = np.where(rng.random(n) < share, rng.standard_normal(n), 0.0)
    assert_allclose(metric.product(A + A.T, x), (A + A.T) @ x, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("stiff", [False, True])
def test_no_coefficient_moves_where_l1_is_stronger_than_every_slope(stiff):
    g = np.array([0.5, -0.9, 0.0])
    p, decrease = metric.proximal_direction(np.eye(3), g, np.zeros(3), np.ones(3), False, 0, stiff)
    assert_array_equal(p, 0.0)
    assert decrease == 0.0


def test_numbers_that_change_in_place_are_noticed():
    X, y = make()
    first = GDRegressor(alpha=0.1).fit(X, y).coef_.copy()
    X[[7, 90], 3] *= -1.0
    y[100:200] += 1.0
    again = GDRegressor(alpha=0.1).fit(X, y).coef_
    assert_allclose(again, ridge(X, y, 0.1, np.ones(N_ROWS))[0], rtol=1e-7)
    assert np.abs(again - first).max() > 1e-6


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.uint8])
def test_fingerprints_tell_arrays_apart(dtype):
    rng = np.random.default_rng(0)
    X = rng.integers(0, 100, (101, 3)).astype(dtype)
    found = {fingerprint(X), fingerprint(X.reshape(3, 101)), fingerprint(X[::-1].copy())}
    for i, j in rng.integers(0, [101, 3], (50, 2)):
        other = X.copy()
        other[i, j] += 1
        found.add(fingerprint(other))
    for i, j in [(0, 4), (1, 5), (8, 96)]:  # two bits that could cancel
        other = X.copy()
        other.view(np.uint8).reshape(-1)[[i * X.itemsize, j * X.itemsize]] ^= 128
        found.add(fingerprint(other))
    assert fingerprint(X.copy()) in found
    assert len(found) >= 50


def test_a_path_asks_for_the_products_once(monkeypatch):
    X, y = make()
    asked = []
    moments = gram.SecondMoments
    monkeypatch.setattr(gram, "SecondMoments", lambda p: asked.append(p) or moments(p))
    for alpha in np.geomspace(1.0, 1e-3, 10):
        GDRegressor(penalty="l1", alpha=alpha).fit(X.copy(), y)
    assert len(asked) <= 1


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_data_that_were_known_are_refused_once_a_number_is_not_finite(wrong):
    X, y = make()
    GDRegressor().fit(X, y)
    X[-1, -1] = wrong
    with pytest.raises(ValueError, match="NaN|infinity"):
        GDRegressor().fit(X, y)


@pytest.mark.parametrize("penalty", ["l1", "l2", "elasticnet"])
def test_a_warm_path_ends_where_cold_fits_do(penalty):
    X, y = make("scales")
    model = GDRegressor(penalty=penalty, warm_start=True, tol=1e-10)
    for alpha in (10.0, 1.0, 0.1):
        model.set_params(alpha=alpha, fit_intercept=not model.fit_intercept).fit(X, y)
        gram.kept.clear()
        cold = GDRegressor(penalty=penalty, alpha=alpha, tol=1e-10,
                           fit_intercept=model.fit_intercept).fit(X, y)
        assert_allclose(model.predict(X), cold.predict(X), atol=1e-5 * y.std())
