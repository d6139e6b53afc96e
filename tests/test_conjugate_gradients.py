"""Least squares by conjugate gradients: the minimum, what they say is left, and their way out."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from sgdest import GDRegressor
from sgdest._core import conjugate_gradients, gram
from sgdest._core.conjugate_gradients import Columns, ConjugateGradientsLane, Lanczos, RowProducts
from sgdest._core.losses import LOSSES
from sgdest._core.penalties import PENALTIES
from sgdest._core.problem import Problem


@pytest.fixture(autouse=True)
def nothing_is_kept():
    gram.kept.clear()


@pytest.fixture
def always_in_steps(monkeypatch):
    """Steps are tried whatever products cost, and never left for them."""
    monkeypatch.setattr(conjugate_gradients, "WORTH", 0.0)
    monkeypatch.setattr(conjugate_gradients, "MOST_IN_COMMON", np.inf)
    monkeypatch.setattr(ConjugateGradientsLane, "pays_to_leave", lambda self: False)


def rows(n, d, layout="plain"):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, d))
    if layout == "nearly alike":
        X[:, ::2] = X[:, 1::2] + 1e-3 * X[:, ::2]
    if layout == "correlated":
        k = min(n, d) // 4
        X = 0.3 * X + rng.standard_normal((n, k)) @ rng.standard_normal((k, d)) / np.sqrt(k)
    if layout == "raw":
        scale = 10.0 ** rng.uniform(-2, 2, d)
        X = X * scale + 3.0 * scale
    return X, (X - X.mean(axis=0)) / X.std(axis=0) @ rng.standard_normal(d) + rng.standard_normal(n)


def minimum(X, y, alpha, s=None, fit_intercept=True, factors=None):
    """(w, b) from the normal equations, of the smaller size."""
    s = np.ones(len(y)) if s is None else s
    c = np.ones(X.shape[1]) if factors is None else factors
    mean = np.average(X, axis=0, weights=s) * fit_intercept
    target = np.average(y, axis=0, weights=s) * fit_intercept
    A = np.sqrt(s / s.sum())[:, None] * (X - mean) / c
    r = (np.sqrt(s / s.sum()) * (y - target).T).T
    if len(A) < A.shape[1]:
        w = A.T @ np.linalg.solve(A @ A.T + alpha * np.eye(len(A)), r)
    else:
        w = np.linalg.solve(A.T @ A + alpha * np.eye(A.shape[1]), A.T @ r)
    w = (w.T / c).T
    return w, target - mean @ w


SHAPES = [(100, 900), (2000, 120)]


@pytest.mark.parametrize("way", ["steps", "products"])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_minimum_is_that_of_the_normal_equations(
    shape, weighted, fit_intercept, way, monkeypatch
):
    monkeypatch.setattr(conjugate_gradients, "WORTH", 0.0)
    monkeypatch.setattr(conjugate_gradients, "MOST_IN_COMMON", np.inf)
    monkeypatch.setattr(ConjugateGradientsLane, "pays_to_leave",
                        lambda self: way == "products" and self.out is not None)
    X, y = rows(*shape)
    s = np.random.default_rng(1).integers(0, 3, len(y)).astype(float) if weighted else None
    model = GDRegressor(alpha=0.01, tol=1e-12, fit_intercept=fit_intercept)
    model.fit(X, y, sample_weight=s)
    w, b = minimum(X, y, 0.01, s, fit_intercept)
    assert model.converged_
    assert_allclose(model.coef_, w, rtol=1e-5, atol=1e-6 * np.abs(w).max())
    assert_allclose(model.intercept_, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_several_targets_single_precision_and_penalty_weights(shape, always_in_steps):
    X, y = rows(*shape)
    Y = np.stack([y, X[:, 0] - y**2 / y.var()], axis=1)
    model = GDRegressor(alpha=0.1, tol=1e-11).fit(X.astype(np.float32), Y)
    w, b = minimum(X.astype(np.float32).astype(float), Y, 0.1)
    assert_allclose(model.coef_.T, w, rtol=1e-4, atol=1e-5 * np.abs(w).max())
    assert_allclose(model.intercept_, b, rtol=1e-4, atol=1e-5)
    factors = np.random.default_rng(2).uniform(0.5, 2.0, X.shape[1])
    model = GDRegressor(alpha=0.1, tol=1e-11, penalty_weights=factors).fit(X, y)
    w, b = minimum(X, y, 0.1, factors=factors)
    assert_allclose(model.coef_, w, rtol=1e-4, atol=1e-5 * np.abs(w).max())


@pytest.mark.parametrize("alpha", [1.0, 1e-2, 1e-4, 1e-6])
@pytest.mark.parametrize("layout", ["plain", "nearly alike", "correlated", "raw"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("leaves", [True, False])
def test_what_is_claimed_is_true(shape, layout, alpha, leaves, monkeypatch):
    monkeypatch.setattr(conjugate_gradients, "WORTH", 0.0)
    monkeypatch.setattr(conjugate_gradients, "MOST_IN_COMMON", np.inf)
    if not leaves:
        monkeypatch.setattr(ConjugateGradientsLane, "pays_to_leave", lambda self: False)
    X, y = rows(*shape, layout)
    exact = GDRegressor(alpha=alpha)
    exact.fit(X[:2], y[:2])
    exact.coef_, exact.intercept_ = minimum(X, y, alpha)
    lowest, start = exact.objective(X, y), 0.5 * y.var()
    for tol in (1e-3, 1e-4, 1e-6, 1e-8):
        gram.kept.clear()
        model = GDRegressor(alpha=alpha, tol=tol, max_iter=3000).fit(X, y)
        assert model.converged_ or not leaves
        far = (model.objective(X, y) - lowest) / (start - lowest)
        assert not model.converged_ or far <= 2.0 * tol + 1e-13
        assert far <= 2.0 * model.suboptimality_ + 1e-12


def test_the_dual_lies_below_the_minimum_and_reaches_it():
    X, y = rows(60, 200)
    A, r = (X - X.mean(axis=0)) / np.sqrt(60), (y - y.mean()) / np.sqrt(60)
    K, l2 = A @ A.T, 0.5
    lowest = 0.5 * l2 * r @ np.linalg.solve(K + l2 * np.eye(60), r)
    residual = A.T @ r
    p, rz = residual, residual @ residual
    lanczos, bounds = Lanczos(0.5 * r @ r, rz, l2), []
    for _ in range(40):
        Hp = A.T @ (A @ p) + l2 * p
        t = rz / (p @ Hp)
        residual = residual - t * Hp
        before, rz = rz, residual @ residual
        p = residual + rz / before * p
        bounds.append(lanczos.dual(t, rz / before))
    assert (np.diff(bounds) >= -1e-12).all()
    assert max(bounds) <= lowest * (1.0 + 1e-10)
    assert_allclose(bounds[-1], lowest, rtol=1e-8)


def test_steps_that_gain_little_give_way_to_products(monkeypatch):
    left = []
    monkeypatch.setattr(conjugate_gradients, "WORTH", 0.0)
    monkeypatch.setattr(conjugate_gradients, "MOST_IN_COMMON", np.inf)
    for kind in (Columns, RowProducts):
        solution = kind.solution
        monkeypatch.setattr(kind, "solution", lambda self, k, solution=solution: (
            left.append(type(self)), solution(self, k))[1])
    for shape, layout in (((150, 2000), "correlated"), ((2000, 150), "nearly alike")):
        X, y = rows(*shape, layout)
        model = GDRegressor(alpha=1e-7, tol=1e-6).fit(X, y)
        assert model.converged_
    assert set(left) == {Columns, RowProducts}


def test_data_that_come_again_are_solved_by_products_that_are_kept():
    X, y = rows(4000, 300)
    problem = Problem(X, y, LOSSES["squared_error"](), PENALTIES["l2"](0.1))
    assert isinstance(conjugate_gradients.way_out(problem), Columns)
    first = GDRegressor(alpha=0.1, tol=1e-12).fit(X, y)
    assert conjugate_gradients.way_out(problem) is None
    second = GDRegressor(alpha=0.1, tol=1e-12).fit(X, y)
    assert_allclose(second.coef_, first.coef_, rtol=1e-3, atol=1e-5)
    assert gram.kept.found
