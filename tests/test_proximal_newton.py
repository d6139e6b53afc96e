"""Losses with kinks end at their minimum, and say so truly, where other methods creep."""

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose
from sklearn.svm import SVC

from sgdest import GDClassifier, GDRegressor
from sgdest._core import dual_ascent
from sgdest._core.frozen import freeze, thaw
from sgdest._core.proximal_newton import ProximalNewtonLane


def words(seed, n=700, d=3000, k=30):
    """Counts of rows of 30 words, some far more frequent than others, and noisy labels of -1, 1."""
    rng = np.random.default_rng(seed)
    p = 1.0 / np.arange(1, d + 1)
    columns = rng.choice(d, size=n * k, p=p / p.sum()).astype(np.int32)
    X = sp.csr_matrix((np.ones(n * k), columns, np.arange(0, n * k + 1, k, dtype=np.int32)), (n, d))
    X.sum_duplicates()
    return X, np.where(X @ rng.standard_normal(d) + 0.5 * rng.standard_normal(n) > 0, 1, -1)


def mixed_scales(n=300, d=800):
    """More columns than rows, of scales from 0.01 to 100, and noisy targets."""
    rng = np.random.default_rng(28)
    X = rng.standard_normal((n, d)) * 10.0 ** rng.uniform(-2, 2, d)
    z = X @ rng.standard_normal(d)
    return X, z / z.std() + 0.5 * rng.standard_normal(n)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("C", [1.0, 5.0])
def test_a_hinge_on_short_texts_ends_where_libsvm_does(seed, C):
    X, y = words(seed)
    n = len(y)
    model = GDClassifier(loss="hinge", alpha=1.0 / (C * n), tol=1e-6).fit(X, y)
    machine = SVC(kernel="linear", C=C, tol=1e-8).fit(X, y)
    w = machine.coef_.toarray().ravel()
    least = np.maximum(0.0, 1.0 - y * (X @ w + machine.intercept_)).mean() + 0.5 * (w @ w) / (C * n)
    assert model.converged_
    assert model.objective(X, y) - least <= 2e-6 * (1.0 - least)


@pytest.mark.parametrize("tol", [1e-4, 1e-6])
@pytest.mark.parametrize("loss, largest", [("absolute_error", 1.0), ("quantile", 0.5)])
def test_columns_of_mixed_scales_are_fitted_to_every_target(loss, largest, tol):
    X, y = mixed_scales()
    n = len(y)
    alpha = 1.0 / (10.0 * n)
    # stationary w = -X' a / (alpha n) with sum(a) = 0 and X w + b = y: the minimum if a is feasible
    system = np.block([[-(X @ X.T) / (alpha * n), np.ones((n, 1))], [np.ones((1, n)), 0.0]])
    a = np.linalg.solve(system, np.append(y, 0.0))[:n]
    assert np.abs(a).max() < largest
    w = X.T @ a / (alpha * n)
    least = 0.5 * alpha * w @ w
    model = GDRegressor(loss=loss, alpha=alpha, tol=tol).fit(X, y)
    assert model.converged_
    start = largest * np.abs(y - np.median(y)).mean()
    assert model.objective(X, y) - least <= 2.0 * tol * (start - least)


def dual_at(model, X, y):
    """A lower bound of the objective of absolute errors, by the slopes at the model.

    Those of rows that it fits are such that all are stationary, and feasible.
    """
    short = y - model.predict(X)
    on, n = np.abs(short) < 1e-7, len(y)
    a = np.where(on, 0.0, -np.sign(short))
    A = np.column_stack([X - X.mean(axis=0), np.ones(n)])
    left = np.append(-n * model.alpha * model.coef_, 0.0) - A.T @ a
    a[on] = np.linalg.lstsq(A[on].T, left, rcond=None)[0]
    assert np.abs(a).max() <= 1.0
    pulled = X.T @ a / n
    return -(a @ y) / n - 0.5 * pulled @ pulled / model.alpha


@pytest.mark.parametrize("C", [1.0, 100.0])
def test_claims_about_rows_with_long_tails_are_true(C):
    rng = np.random.default_rng(119)
    n, d = 1000, 300
    X = rng.standard_t(2, (n, d))
    for j in range(1, d):
        X[:, j] = 0.99 * X[:, j - 1] + np.sqrt(1.0 - 0.99**2) * X[:, j]
    z = X @ rng.standard_normal(d)
    y = z / np.median(np.abs(z)) + 0.5 * rng.standard_normal(n)
    common = dict(loss="absolute_error", alpha=1.0 / (C * n))
    exact = GDRegressor(optimizer="dual_ascent", tol=1e-11, max_iter=5000, **common).fit(X, y)
    least, start = dual_at(exact, X, y), np.abs(y - np.median(y)).mean()
    assert_allclose(least, exact.objective(X, y), atol=1e-9 * start)
    for tol in (1e-8, 1e-10):
        model = GDRegressor(optimizer="subsampled_newton", tol=tol, max_iter=5000, **common).fit(X, y)
        assert model.converged_
        assert model.objective(X, y) - least <= 2.0 * tol * (start - least) + 1e-15


@pytest.mark.parametrize("sparse", [True, False])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_stages_end_at_the_same_point_with_weights_as_with_copies(fit_intercept, sparse, monkeypatch):
    monkeypatch.setattr(dual_ascent, "SPENT", np.inf)      # at once, though it may be slower
    monkeypatch.setattr(dual_ascent.proximal_newton, "STEPS", 0)
    rng = np.random.default_rng(0)
    X = rng.standard_normal((40, 250)) * 10.0 ** rng.uniform(-2, 2, 250)
    X = sp.csr_array(X) if sparse else X
    y = rng.standard_normal(40)
    times = rng.integers(0, 4, 40)
    factors = rng.choice([0.5, 2.0], 250)
    copies = np.repeat(np.arange(40), times)
    common = dict(loss="epsilon_insensitive", alpha=1.0, tol=1e-8, optimizer="dual_ascent",
                  fit_intercept=fit_intercept, penalty_weights=factors)
    model = GDRegressor(**common).fit(X, y, sample_weight=times)
    other = GDRegressor(**common).fit(X[copies], y[copies])
    assert model.converged_ and other.converged_
    assert_allclose(model.objective(X[copies], y[copies]), other.objective(X[copies], y[copies]),
                    atol=1e-12)
    assert_allclose(model.predict(X), other.predict(X), atol=1e-6)


def test_a_lane_goes_on_from_what_is_kept_of_it(monkeypatch):
    X, y = mixed_scales()
    model = GDRegressor(loss="absolute_error", alpha=1e-4, tol=1e-6)
    step, steps = ProximalNewtonLane.step, []

    def from_bytes(self):
        self.__dict__ = thaw(freeze(self, self.problem), self.problem).__dict__
        steps.append(self.stages)
        yield from step(self)

    plain = model.fit(X, y).coef_
    monkeypatch.setattr(ProximalNewtonLane, "step", from_bytes)
    assert_allclose(model.fit(X, y).coef_, plain, rtol=0, atol=0)
    assert steps
