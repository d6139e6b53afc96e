"""Columns of any scale and offset are learned as well as by exact solvers."""

import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import log_loss, r2_score
from sklearn.preprocessing import scale

from sgdest import GDClassifier, GDRegressor

SCALES = np.array([1.0, 100.0, 10_000.0])
# below 20,000 stored values a solver runs to rounding; the second set stops by `tol`
SIZES = [400, 20_000]
LAYOUTS = {
    "float64": np.asarray,
    "float32": lambda X: X.astype(np.float32),
    "csr": sp.csr_array,
}


def columns(n_rows):
    """Nine columns: each scale without an offset, with one of its size, and with 50."""
    rng = np.random.default_rng(n_rows)
    base = rng.normal(size=(n_rows, 9))
    base[:, 3:] += 0.5 * base[:, :1]  # correlated
    size = np.tile(SCALES, 3)
    return base, base * size + size * np.repeat([0.0, 1.0, 50.0], 3)


@pytest.fixture(autouse=True)
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.mark.parametrize("alpha", [1e-4, 1.0])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("n_rows", SIZES)
def test_the_regressor_explains_what_ridge_explains(n_rows, layout, alpha):
    base, X = columns(n_rows)
    rng = np.random.default_rng(1)
    y = base @ rng.normal(size=9) + rng.normal(size=n_rows)
    rows = LAYOUTS[layout](X)
    ours = GDRegressor(alpha=alpha).fit(rows, y)
    theirs = Ridge(alpha * n_rows, solver="svd").fit(X, y)
    assert_allclose(ours.score(rows, y), r2_score(y, theirs.predict(X)), atol=1e-3)


def labels(base, n_classes):
    rng = np.random.default_rng(1)
    noise = rng.gumbel(size=(len(base), n_classes))
    return (base @ rng.normal(size=(9, n_classes)) + noise).argmax(axis=1)


def newton(X, y, alpha, max_iter):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return LogisticRegression(
            C=1 / (alpha * len(y)),
            solver="newton-cholesky",
            tol=1e-10,
            max_iter=max_iter,
        ).fit(X, y)


@pytest.mark.parametrize("alpha", [1e-4, 1.0])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("n_rows", SIZES)
def test_the_classifier_has_the_log_loss_of_newton(n_rows, layout, alpha):
    base, X = columns(n_rows)
    y = labels(base, 2)
    rows = LAYOUTS[layout](X)
    ours = GDClassifier(alpha=alpha).fit(rows, y)
    theirs = newton(X, y, alpha, max_iter=1000)
    assert_allclose(
        log_loss(y, ours.predict_proba(rows)),
        log_loss(y, theirs.predict_proba(X)),
        atol=1e-3,
    )


@pytest.mark.parametrize("alpha", [1e-4, 1.0])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("n_rows", SIZES)
def test_softmax_on_raw_columns_is_that_of_standardised_ones(n_rows, layout, alpha):
    # newton-cholesky ends far from the minimum here (singular to its eyes): it cannot
    # be the reference on raw columns, but it can on standardised ones
    base, X = columns(n_rows)
    y = labels(base, 3)
    ours = GDClassifier(alpha=alpha, penalty_weights="scale").fit(LAYOUTS[layout](X), y)
    theirs = newton(scale(X), y, alpha, max_iter=100)
    assert_allclose(
        log_loss(y, ours.predict_proba(LAYOUTS[layout](X))),
        log_loss(y, theirs.predict_proba(scale(X))),
        atol=1e-3,
    )


@pytest.mark.parametrize("unit", [1e-3, 1e3])
def test_the_unit_of_the_targets_does_not_matter(unit):
    base, X = columns(20_000)
    y = base @ np.arange(9.0) + np.random.default_rng(1).normal(size=20_000)
    # squared error without a penalty has no unit
    here = GDRegressor(alpha=0.0).fit(X, y)
    there = GDRegressor(alpha=0.0).fit(X, unit * y + 7.0 * unit)
    assert_allclose(there.score(X, unit * y + 7.0 * unit), here.score(X, y), atol=1e-4)
