"""Dual active sets: multipliers and weights prove each other to be the minimum."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.sparse import csr_matrix
from sklearn.datasets import load_breast_cancer
from sklearn.preprocessing import scale

from sgdest import GDClassifier
from sgdest._core.dual_active_set import DualActiveSet
from sgdest._core.losses import AbsoluteError, EpsilonInsensitive, Hinge, Quantile
from sgdest._core.penalties import L2
from sgdest._core.problem import Problem

RNG = np.random.RandomState(0)
LOSSES = {
    "hinge": (Hinge(), lambda y, z: np.maximum(0.0, 1.0 - y * z)),
    "absolute_error": (AbsoluteError(), lambda y, z: abs(y - z)),
    "epsilon_insensitive": (EpsilonInsensitive(0.2), lambda y, z: np.maximum(0.0, abs(y - z) - 0.2)),
    "quantile": (Quantile(0.3), lambda y, z: np.maximum(0.3 * (y - z), 0.7 * (z - y))),
}
NORMAL = RNG.randn(90, 6)
LAYOUTS = {
    "normal": NORMAL,
    "few_values": np.round(NORMAL),
    "every_row_three_times": np.repeat(NORMAL[:30], 3, axis=0),
    "a_column_twice": NORMAL[:, [0, 1, 2, 3, 4, 4]],
    "wide": RNG.randn(90, 120),
    "far_from_zero": NORMAL + 30.0,
    "sparse": csr_matrix(NORMAL * (RNG.rand(90, 6) < 0.3)),
}
WEIGHTS = {"alike": None, "integers": RNG.randint(0, 4, 90).astype(float)}


def made(loss, layout, weights, fit_intercept, alpha):
    """The problem, its columns' means, and a function that returns X w + b."""
    X = LAYOUTS[layout]
    z = X @ RNG.randn(X.shape[1])
    z = z - np.median(z) + 0.5 * RNG.randn(len(z))
    y = np.where(z > 0.0, 1.0, -1.0) if loss == "hinge" else z
    problem = Problem(X, y, LOSSES[loss][0], L2(alpha), sample_weight=WEIGHTS[weights],
                      fit_intercept=fit_intercept)
    mean = np.asarray(X.mean(axis=0)).ravel() if fit_intercept else None
    return problem, y, mean


@pytest.mark.parametrize("alpha", [1e-4, 1e-2, 1.0])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("loss", LOSSES)
def test_the_dual_at_the_multipliers_is_the_objective_at_the_weights(
        loss, layout, weights, fit_intercept, alpha):
    problem, y, mean = made(loss, layout, weights, fit_intercept, alpha)
    solver = DualActiveSet(problem, mean)
    low, high, dead, place = problem.loss.evaluate_kinks(y)
    start = np.clip(RNG.uniform(-1.2, 1.2, len(y)), low, high)      # anywhere, some at their bounds
    w, b = solver.minimum(start[:, None])
    a, s = np.array(solver.a), problem.sample_weight
    s = (np.ones(len(y)) if s is None else s) / problem.total_weight
    assert np.all((low <= a) & (a <= high))
    if fit_intercept:
        assert_allclose(s @ a, 0.0, atol=1e-12)
        b = b - mean @ w
    X = LAYOUTS[layout]
    pulled = -(X.T @ (s * a)) / alpha
    value = s @ LOSSES[loss][1](y, X @ w + b) + 0.5 * alpha * w @ w
    bound = -s @ (a * place + dead * abs(a)) - 0.5 * alpha * pulled @ pulled
    assert_allclose(bound, value, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("C", [0.01, 1.0, 100.0])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_the_support_vector_machine_of_small_data_is_chosen_and_exact(fit_intercept, C):
    X, y = load_breast_cancer(return_X_y=True)
    X = scale(X)
    alpha = 1.0 / (C * len(y))
    model = GDClassifier("hinge", alpha=alpha, fit_intercept=fit_intercept).fit(X, y)
    assert type(model.optimizer_.optimizer).__name__ == "DualAscent"
    assert model.converged_
    other = GDClassifier("hinge", alpha=alpha, fit_intercept=fit_intercept,
                         optimizer="subsampled_newton").fit(X, y)
    assert_allclose(model.coef_, other.coef_, rtol=1e-6, atol=1e-9)
