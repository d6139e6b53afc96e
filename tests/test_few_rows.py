"""Newton's method on few rows: its Hessian is that of F, and it hands over what it cannot do."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import check_grad, minimize
from scipy.special import log_softmax
from sklearn.datasets import (
    load_breast_cancer, load_iris, load_wine, make_classification)

from reference import objective_and_gradient

from sgdest import GDClassifier, GDRegressor
from sgdest._core import few_rows
from sgdest._core.descent import Coordinates
from sgdest._core.few_rows import FewRows, FewRowsLane
from sgdest._core.losses import LOSSES, Multinomial
from sgdest._core.penalties import L2, PENALTIES
from sgdest._core.problem import Problem
from sgdest._core.solver import Solver
from sgdest._core.subsampled_newton import SubsampledNewton

SMOOTH = [name for name, kind in LOSSES.items() if kind.smoothness == "smooth"]
N_ROWS, N_FEATURES = 60, 4
FACTORS = np.array([1.0, 0.0, 2.0, 0.5])


def make(loss, n_outputs=1, fit_intercept=True, everything=True):
    """A problem whose columns differ in scale and offset; weights, offsets and factors if ``everything``."""
    rng = np.random.RandomState(0)
    X = rng.randn(N_ROWS, N_FEATURES) * [1.0, 1e-3, 200.0, 1.0] + [0.0, 0.01, 0.0, 30.0]
    kind = Multinomial if loss == "multinomial" else LOSSES[loss]
    z = rng.randn(N_ROWS)
    y = {
        "real": lambda: z,
        "nonnegative": lambda: rng.poisson(np.exp(z)),
        "positive": lambda: np.exp(z),
        "binary": lambda: z > 0,
        "sign": lambda: np.sign(z),
        "class": lambda: rng.randint(n_outputs, size=N_ROWS),
    }[kind.targets]()
    extras = {}
    if everything:
        extras = {"sample_weight": rng.rand(N_ROWS) * (rng.rand(N_ROWS) < 0.8),
                  "offset": 0.3 * rng.randn(N_ROWS, n_outputs)}
    penalty = L2(0.1, 0.0, False, FACTORS if everything else None)
    made = kind(1.0) if loss == "huber" else kind()      # else hardly a row lies where it curves
    return Problem(X, np.asarray(y, dtype=float), made, penalty, n_outputs=n_outputs,
                   fit_intercept=fit_intercept, **extras)


def few(problem):
    """(FewRows, Coordinates) of a problem."""
    coordinates = Coordinates(problem, *problem.moments()[:2], 0.3)
    return FewRows(problem, coordinates), coordinates


EVERY = [(loss, 1) for loss in SMOOTH] + [("multinomial", 3)]


@pytest.mark.parametrize("everything", [False, True])
@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("loss, n_outputs", EVERY)
def test_value_and_gradient_are_those_of_the_problem(loss, n_outputs, fit_intercept, everything):
    problem = make(loss, n_outputs, fit_intercept, everything)
    rows, coordinates = few(problem)
    x = 0.3 * np.random.RandomState(1).randn((N_FEATURES + 1) * n_outputs)
    p = np.random.RandomState(2).randn(len(x))
    if not fit_intercept:
        x[-n_outputs:] = 0.0
    W, b = coordinates.to_parameters(x)
    value, g, g_b = objective_and_gradient(problem, W, b)
    found, _ = rows.look(x)
    assert_allclose(found, value, rtol=1e-11)
    rows.move()
    expected = coordinates.gradient(g, g_b, np.zeros_like(W))      # the penalty is in g already
    assert_allclose(rows.g, expected, rtol=1e-8, atol=1e-10 * abs(expected).max())
    assert_allclose(rows.gradient_norm, np.linalg.norm(expected), rtol=1e-8)
    assert_allclose(rows.z, problem.margins(W, b), rtol=1e-9, atol=1e-9)
    # along a line: the slope at its end
    there = x + 0.1 * p
    _, slope = rows.look(x, p, 0.1)
    rows.move()
    assert_allclose(rows.x, there)
    assert_allclose(slope, rows.g @ p, rtol=1e-12)


@pytest.mark.parametrize("everything", [False, True])
@pytest.mark.parametrize("loss, n_outputs", EVERY)
def test_the_hessian_is_that_of_the_gradient(loss, n_outputs, everything):
    problem = make(loss, n_outputs, True, everything)
    rows, _ = few(problem)
    x = 0.1 * np.random.RandomState(1).randn((N_FEATURES + 1) * n_outputs)

    def gradient(x):
        rows.look(x)
        rows.move()
        return rows.g.copy()

    gradient(x)
    upper = np.triu(rows.hessian(0.0))
    B = upper + np.triu(upper, 1).T
    step = 1e-6
    H = np.array([(gradient(x + step * e) - gradient(x - step * e)) / (2 * step) for e in np.eye(len(x))])
    if n_outputs > 1:   # where all classes move alike F may bend
        per_column = H.reshape(N_FEATURES + 1, n_outputs, N_FEATURES + 1, n_outputs)
        for j in range(N_FEATURES + 1):
            per_column[j, :, j, :] += np.trace(per_column[j, :, j, :]) / n_outputs**2
    # rows that cross a kink of the slope within a step
    assert_allclose(B, H, atol=1e-5 * abs(H).max())


def test_rows_without_curvature_get_a_little():
    problem = make("squared_hinge", everything=False)
    rows, _ = few(problem)
    rows.look(np.zeros(N_FEATURES + 1))
    rows.move()
    assert_allclose(np.triu(rows.hessian(0.5)), np.triu(rows.hessian(0.0)))    # at zero all curve
    rows.look(np.full(N_FEATURES + 1, 5.0))
    rows.move()
    assert (np.diag(rows.hessian(0.5)) > np.diag(rows.hessian(0.0))).all()


def followed(monkeypatch):
    """The lanes that are made from now on."""
    made, begin = [], FewRowsLane.begin

    def noted(self):
        made.append(self)
        yield from begin(self)

    monkeypatch.setattr(FewRowsLane, "begin", noted)
    return made


@pytest.mark.parametrize("load", [load_iris, load_wine])
@pytest.mark.parametrize("C", [0.01, 1.0, 100.0])
def test_raw_columns_of_bundled_data_take_a_few_exact_steps(load, C, monkeypatch):
    X, y = load(return_X_y=True)
    lanes = followed(monkeypatch)
    model = GDClassifier("log_loss", alpha=1.0 / (C * len(y))).fit(X, y)
    assert model.converged_ and model.suboptimality_ < 1e-12 and model.n_iter_ < 25
    assert lanes and all(lane.successor is None for lane in lanes)
    scale = X.std(axis=0)
    Z = (X - X.mean(axis=0)) / scale

    def F(x):
        W, b = x[:-3].reshape(-1, 3), x[-3:]
        return (-log_softmax(Z @ W + b, axis=1)[np.arange(len(y)), y].mean()
                + 0.5 * model.alpha * ((W / scale[:, None]) ** 2).sum())

    def gradient(x):
        W, b = x[:-3].reshape(-1, 3), x[-3:]
        D = np.exp(log_softmax(Z @ W + b, axis=1))
        D[np.arange(len(y)), y] -= 1.0
        return np.append((Z.T @ D / len(y) + model.alpha * W / scale[:, None] ** 2).ravel(),
                         D.mean(axis=0))

    x = np.zeros(3 * X.shape[1] + 3)
    assert check_grad(F, gradient, x) < 1e-5
    best = minimize(F, x, jac=gradient, method="BFGS", options={"gtol": 1e-9, "maxiter": 5000}).fun
    mine = F(np.append((model.coef_.T * scale[:, None]).ravel(),
                       model.intercept_ + X.mean(axis=0) @ model.coef_.T))
    assert mine <= best + 1e-9 * F(x)


def test_separable_classes_without_penalty_are_handed_over(monkeypatch):
    X, y = make_classification(100, 5, class_sep=20.0, flip_y=0.0, random_state=0)
    lanes = followed(monkeypatch)
    with pytest.warns(UserWarning):
        model = GDClassifier("log_loss", alpha=0.0, max_iter=200).fit(X, y)
    assert lanes[0].successor is not None
    assert np.isfinite(model.coef_).all() and model.score(X, y) == 1.0


def test_offsets_without_intercept_are_handed_over(monkeypatch):
    rng = np.random.RandomState(0)
    X = rng.randn(80, 3) + [0.0, 1e5, 0.0]
    y = X[:, 0] + 1e-5 * X[:, 1] + 0.1 * rng.randn(80)
    lanes = followed(monkeypatch)
    model = GDRegressor("huber", alpha=1e-6, epsilon=1.0, fit_intercept=False, tol=1e-8).fit(X, y)
    assert lanes[0].successor is not None and model.converged_


def test_a_start_whose_classes_do_not_sum_to_zero_is_handed_over(monkeypatch):
    X, y = load_iris(return_X_y=True)
    plain = GDClassifier("log_loss", alpha=1e-3).fit(X, y)
    lanes = followed(monkeypatch)
    model = GDClassifier("log_loss", alpha=1e-3).fit(X, y, coef_init=np.ones((3, 4)))
    assert lanes[0].successor is not None
    assert_allclose(model.coef_, plain.coef_, rtol=1e-5, atol=1e-7)


def test_steps_that_do_not_settle_are_handed_over(monkeypatch):
    monkeypatch.setattr(few_rows, "MOST_STEPS", 2)
    X, y = load_iris(return_X_y=True)
    lanes = followed(monkeypatch)
    model = GDClassifier("log_loss", alpha=1e-3).fit(X, y)
    assert lanes[0].successor is not None and model.converged_
    monkeypatch.undo()
    assert_allclose(model.coef_, GDClassifier("log_loss", alpha=1e-3).fit(X, y).coef_, rtol=1e-6, atol=1e-8)


def test_a_step_that_overshoots_is_searched_along():
    # far out on both sides: the full Newton step from the constant model raises the loss
    x = np.array([-40.0, -1.0, 1.0, 2.0, 3.0, 400.0])[:, None]
    y = np.array([0, 1, 0, 1, 0, 1])
    model = GDClassifier("log_loss", alpha=1e-6, tol=1e-8).fit(x, y)
    Z = (x[:, 0] - x.mean()) / x.std()
    F = lambda v: np.logaddexp(0, -(2 * y - 1) * (v[0] * Z + v[1])).mean() + (
        0.5e-6 * (v[0] / x.std()) ** 2)
    best = minimize(F, np.zeros(2), method="Nelder-Mead", options={"xatol": 1e-10, "fatol": 1e-16,
                                                                   "maxiter": 10_000}).fun
    assert F([model.coef_[0, 0] * x.std(), model.intercept_[0] + model.coef_[0, 0] * x.mean()]) <= (
        best + 1e-10)


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("penalty", ["l2", "l1"])
@pytest.mark.parametrize("load", [load_iris, load_breast_cancer])
def test_from_its_bytes_it_goes_on_bit_for_bit(load, penalty, steps):
    X, y = load(return_X_y=True)
    if penalty == "l1":
        y = (y == 0).astype(float)
    K = 1 if y.max() == 1.0 else 3
    loss = Multinomial() if K == 3 else LOSSES["log_loss"]()
    problem = Problem(X, y.astype(float), loss, PENALTIES[penalty](1e-3, 1.0, False, None), n_outputs=K)
    arrays = np.zeros((X.shape[1], K)), np.zeros(K)
    method = SubsampledNewton().method(problem, *arrays, tol=1e-8)
    assert isinstance(method.lanes[0], FewRowsLane)
    for _ in range(steps):
        method.iterate()
    others = [a.copy() for a in arrays]
    other = Solver.going_on(problem, *others, method.paused(), 1e-8)
    while not method.finished:
        method.iterate()
        other.iterate()
        for one, two in zip(arrays, others):
            assert_array_equal(one, two)
    assert other.finished and method.lanes[0].successor is None
    assert (method.objective, method.remaining) == (other.objective, other.remaining)


@pytest.mark.parametrize("positive", [False, True])
def test_with_signs_the_norm_is_that_of_the_smallest_subgradient(positive):
    rng = np.random.RandomState(0)
    X = rng.randn(50, 3)
    problem = Problem(X, np.sign(rng.randn(50)), LOSSES["log_loss"](), PENALTIES["l1"](0.05, 1.0, positive, None))
    rows, coordinates = few(problem)
    x = np.array([0.5, 0.0, 0.0 if positive else -0.3, 0.2])
    value, _ = rows.look(x)
    rows.move()
    assert_allclose(value, problem.objective(*coordinates.to_parameters(x)), rtol=1e-12)
    zero = rows.g[1]
    at_zero = min(zero + rows.lam[1], 0.0) + (0.0 if positive else max(zero - rows.lam[1], 0.0))
    third = (min(rows.g[2] + rows.lam[2], 0.0) if positive else rows.g[2] - rows.lam[2])
    expected = np.array([rows.g[0] + rows.lam[0], at_zero, third, rows.g[3]])
    assert_allclose(rows.gradient_norm, np.linalg.norm(expected), rtol=1e-12)
