"""The solvers of any loss solve it with every penalty, as SciPy and certificates confirm."""

import itertools

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose
from scipy.optimize import linprog, minimize
from sklearn.linear_model import Ridge

from sgdest import GDClassifier, GDRegressor
from sgdest._core.losses import LOSSES, Multinomial
from sgdest._core.penalties import PENALTIES
from sgdest._core.problem import Problem
from sgdest._core.quasi_newton import LBFGS
from sgdest._core.solver import best_constant
from sgdest._core.subsampled_newton import SubsampledNewton
from sgdest._core.train import Limits, train

N_ROWS, N_FEATURES = 48, 5
ALPHA, L1_RATIO = 0.05, 0.6
FACTORS = (1.0, 0.0, 2.0, 0.5, 1.0)
SMOOTH = [n for n, c in LOSSES.items() if c.smoothness == "smooth"]
KINKED = [
    n for n, c in LOSSES.items() if c.smoothness == "kinked" and n != "perceptron"
]
SETTINGS = list(
    itertools.product(
        PENALTIES, [False, True], [None, FACTORS], [False, True], [False, True]
    )
)
SETTING_NAMES = [
    f"{p}-{'positive' * q or 'signed'}-{'factors' if f else 'alike'}"
    f"-{'weights' * w}-{'intercept' * i}"
    for p, q, f, w, i in SETTINGS
]


def make(
    loss,
    penalty="l2",
    positive=False,
    factors=None,
    weights=False,
    intercept=True,
    kind=np.ascontiguousarray,
    n_outputs=1,
    alpha=ALPHA,
):
    """A small problem whose columns differ in scale and offset."""
    rng = np.random.RandomState(0)
    X = rng.randn(N_ROWS, N_FEATURES) * [1.0, 0.3, 2.0, 1.0, 0.7] + [
        0.0,
        1.0,
        0.0,
        -2.0,
        0.0,
    ]
    X[rng.rand(N_ROWS, N_FEATURES) < 0.3] = 0.0
    loss = Multinomial() if loss == "multinomial" else LOSSES[loss]()
    z = 0.5 * X @ rng.randn(N_FEATURES, n_outputs) + 0.3 * rng.randn(N_ROWS, n_outputs)
    y = {
        "real": lambda: z,
        "nonnegative": lambda: rng.poisson(np.exp(z)),
        "positive": lambda: np.exp(z) * (0.2 + rng.rand(*z.shape)),
        "binary": lambda: z + 0.8 * rng.randn(*z.shape) > 0,
        "sign": lambda: np.sign(z + 0.8 * rng.randn(*z.shape)),
        "class": lambda: rng.randint(n_outputs, size=(N_ROWS, 1)),
    }[loss.targets]()
    y = np.asarray(y, dtype=float)
    y = y[:, 0] if y.shape[1] == 1 else y
    s = rng.rand(N_ROWS) * (rng.rand(N_ROWS) < 0.9) if weights else None
    factors = None if factors is None else np.array(factors)
    return Problem(
        kind(X),
        y,
        loss,
        PENALTIES[penalty](alpha, L1_RATIO, positive, factors),
        sample_weight=s,
        fit_intercept=intercept,
        n_outputs=n_outputs,
    )


class Chosen:
    """The solver under test."""

    solver = None


SOLVERS = {
    "lbfgs": LBFGS,
    "subsampled_newton": SubsampledNewton,
    # few smooth rows have a lane of their own, unless it is said how many make a metric
    "newton_of_all_rows": lambda: SubsampledNewton(rows_per_column=100.0),
}


@pytest.fixture(params=SOLVERS, autouse=True)
def every_solver(request, monkeypatch):
    monkeypatch.setattr(Chosen, "solver", staticmethod(SOLVERS[request.param]))


def solve(problem, tol=1e-9, max_iter=100_000):
    """(objective, W, b, outcome) of the solver under test."""
    W, b = np.zeros((problem.n_features, problem.n_outputs)), np.zeros(
        problem.n_outputs
    )
    method = Chosen.solver().method(problem, W, b, tol=tol)
    outcome = train(
        problem, method, Limits(max_iter, tol), W, b, method.start_objective
    )
    assert problem.fit_intercept or not outcome.b.any()
    assert not problem.penalty.positive or (outcome.W >= 0).all()
    return problem.objective(outcome.W, outcome.b), outcome.W, outcome.b, outcome


def factors_of(problem):
    return (
        np.ones(problem.n_features)
        if problem.penalty.factors is None
        else (problem.penalty.factors)
    )


# -- smooth losses ---------------------------------------------------------------------


def minimum_by_scipy(problem):
    """Least objective by L-BFGS-B, on coefficients split in two where signs matter."""
    d, K, penalty = problem.n_features, problem.n_outputs, problem.penalty
    n, c = d * K, np.repeat(factors_of(problem), K)
    z = np.empty((problem.n_rows, K))

    def parts(x):
        return (x[:n] - x[n : 2 * n]).reshape(d, K), x[2 * n :]

    def function(x):
        W, b = parts(x)
        value, g, g_b = problem.evaluate(W, b, z)
        w, l1 = W.ravel(), penalty.l1 * c
        g = g.ravel() + penalty.l2 * c**2 * w
        value += 0.5 * penalty.l2 * (c**2 * w**2).sum() + l1 @ (x[:n] + x[n : 2 * n])
        return value, np.concatenate([g + l1, l1 - g, g_b])

    split = penalty.l1 > 0
    sides = [(0 if split or penalty.positive else None, None)] * n
    sides += [(0, None if split and not penalty.positive else 0)] * n
    ends = [(None, None) if problem.fit_intercept else (0, 0)] * K
    x = np.zeros(2 * n + K)
    for _ in range(2):  # anew from where it stopped: its line search gives up early
        x = minimize(
            function,
            x,
            jac=True,
            bounds=sides + ends,
            method="L-BFGS-B",
            options=dict(maxiter=20_000, ftol=1e-15, gtol=1e-11, maxcor=30),
        ).x
    return problem.objective(*parts(x))


@pytest.mark.parametrize("setting", SETTINGS, ids=SETTING_NAMES)
@pytest.mark.parametrize("loss", SMOOTH)
def test_smooth_losses_reach_the_minimum(loss, setting):
    reference = minimum_by_scipy(make(loss, *setting))
    for kind in (np.ascontiguousarray, sp.csr_array):
        reached, _, _, outcome = solve(make(loss, *setting, kind))
        assert outcome.converged
        assert abs(reached - reference) <= 1e-8 * abs(reference)


@pytest.mark.parametrize("setting", SETTINGS[4:], ids=SETTING_NAMES[4:])
def test_softmax_reaches_the_minimum(setting):
    reference = minimum_by_scipy(make("multinomial", *setting, n_outputs=3))
    for kind in (np.ascontiguousarray, sp.csr_array):
        reached = solve(make("multinomial", *setting, kind, n_outputs=3))[0]
        assert abs(reached - reference) <= 1e-8 * abs(reference)


# -- piecewise-linear losses -----------------------------------------------------------


def certificate(problem, W, b):
    """An upper bound of F - F*: the least duality gap, by a linear program.

    For multipliers a_i in the domain of the conjugate, with sum s_i a_i = 0 if there
    is an intercept, and v = -X's a / sum s = v1 + l2 c^2 W, F - F* is at most the mean
    of loss + conjugate(a_i) - a_i z_i, plus l1 c |W| - v1 W with |v1| <= l1 c.
    """
    X, y, penalty = problem.rows.X, problem.y, problem.penalty
    X, c = X if isinstance(X, np.ndarray) else problem_array(X), factors_of(problem)
    s = np.ones(len(y)) if problem.sample_weight is None else problem.sample_weight
    s, w = s / s.sum(), W[:, 0]
    z = (X @ W + b)[:, 0]
    epsilon, q = (
        type(problem.loss).parameters.get(p, 0.0) for p in ("epsilon", "quantile")
    )
    low, high = {
        "hinge": (np.minimum(-y, 0), np.maximum(-y, 0)),
        "quantile": (-q + 0 * y, 1 - q + 0 * y),
    }.get(problem.loss.name, (-np.ones_like(y), np.ones_like(y)))
    losses = [problem.loss.evaluate_point(*pair)[0] for pair in zip(y, z)]
    # a = p - q, both >= 0; the conjugates are a y + epsilon |a|
    cost = np.concatenate([s * (y - z + epsilon), s * (z - y + epsilon), -w])
    limit = penalty.l1 * c
    bounds = [(0, top) for top in high] + [(0, -bottom) for bottom in low]
    bounds += [(None if penalty.positive else -top, top) for top in limit]
    equal = np.hstack([-X.T * s, X.T * s, -np.eye(len(c))])
    values = penalty.l2 * c**2 * w
    if problem.fit_intercept:
        equal = np.vstack([equal, np.concatenate([s, -s, 0 * c])])
        values = np.append(values, 0.0)
    found = linprog(cost, A_eq=equal, b_eq=values, bounds=bounds)
    assert found.status == 0, found.message
    return found.fun + s @ losses + limit @ np.abs(w)


def problem_array(X):
    return sp.csr_array((X.data, X.indices, X.indptr), shape=X.shape).toarray()


@pytest.mark.parametrize("setting", SETTINGS, ids=SETTING_NAMES)
@pytest.mark.parametrize("loss", KINKED)
def test_kinked_losses_reach_the_minimum(loss, setting):
    for kind in (np.ascontiguousarray, sp.csr_array):
        problem = make(loss, *setting, kind)
        reached, W, b, outcome = solve(problem)
        assert outcome.converged
        assert certificate(problem, W, b) <= 1e-6 * reached


@pytest.mark.parametrize("loss", KINKED)
def test_the_certificate_of_this_test_tells_a_worse_point(loss):
    problem = make(loss, weights=True)
    reached, W, b, _ = solve(problem)
    worse = problem.objective(W * 1.05, b) - reached
    assert worse > 1e-5 * reached
    assert certificate(problem, W * 1.05, b) >= worse * (1 - 1e-6)


# -- optimality conditions -------------------------------------------------------------


@pytest.mark.parametrize("penalty", ["l1", "elasticnet"])
@pytest.mark.parametrize("loss", SMOOTH)
def test_l1_solutions_satisfy_the_optimality_conditions(loss, penalty):
    problem = make(loss, penalty, alpha=0.2)
    _, W, b, _ = solve(problem)
    _, g, g_b = problem.evaluate(W, b, np.empty((N_ROWS, 1)))
    g, w = (g + problem.penalty.l2 * W)[:, 0], W[:, 0]
    size = 1e-6 * (
        1 + np.abs(g).max()
    )  # F is known to rounding, its slope to the root of that
    assert np.abs(g + problem.penalty.l1 * np.sign(w))[w != 0].max(initial=0) <= size
    assert np.abs(g)[w == 0].max(initial=0) <= problem.penalty.l1 + size
    assert np.abs(g_b).max() <= size


@pytest.mark.parametrize("loss", SMOOTH + KINKED)
def test_a_strong_l1_penalty_leaves_exact_zeros_and_the_best_constant(loss):
    problem = make(loss, "l1", alpha=50.0)
    reached, W, b, outcome = solve(problem)
    assert outcome.converged and not W.any()
    constant = best_constant(problem)
    start = problem.objective(np.zeros_like(W), constant)
    assert reached <= start * (1 + 1e-9) and abs(reached - start) <= 2e-3 * abs(start)


# -- columns of any kind ---------------------------------------------------------------


@pytest.mark.parametrize(
    "loss", ["squared_error", "huber", "log_loss", "squared_hinge"]
)
@pytest.mark.parametrize("penalty", ["l2", "l1", "elasticnet"])
def test_raw_columns_of_any_scale_and_offset_are_as_good_as_standardised_ones(
    loss, penalty
):
    plain = make(loss)
    X = plain.rows.X
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    scale = np.array([1e-6, 1e-2, 1.0, 1e3, 1e6])
    raw = scale * (X + [0.0, 50.0, -100.0, 3.0, 0.0])
    standard = Problem(X, plain.y, plain.loss, PENALTIES[penalty](ALPHA, L1_RATIO))
    wild = Problem(
        raw, plain.y, plain.loss, PENALTIES[penalty](ALPHA, L1_RATIO, False, scale)
    )
    expected, W, b, _ = solve(standard)
    reached, V, _, outcome = solve(wild)
    assert outcome.converged
    assert_allclose(reached, expected, rtol=1e-9)
    assert_allclose(V[:, 0] * scale, W[:, 0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "kind", [np.ascontiguousarray, sp.csr_array], ids=["dense", "csr"]
)
def test_raw_columns_without_a_penalty_reach_least_squares(kind):
    rng = np.random.RandomState(0)
    X = rng.randn(60, 4) * [1e-4, 1.0, 1e4, 1.0] + [0.0, 1e3, 0.0, -7.0]
    y = X @ [1e4, 1.0, 1e-4, 0.0] + rng.randn(60)
    problem = Problem(kind(X), y, LOSSES["squared_error"](), PENALTIES[None]())
    reached = solve(problem)[0]
    A = np.hstack([X - X.mean(axis=0), np.ones((60, 1))])
    residual = y - A @ np.linalg.lstsq(A, y, rcond=None)[0]
    assert_allclose(reached, 0.5 * np.mean(residual**2), rtol=1e-9)


@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize(
    "kind", [np.ascontiguousarray, sp.csr_array], ids=["dense", "csr"]
)
def test_more_columns_than_rows_give_ridge(kind, intercept):
    rng = np.random.RandomState(0)
    X, y = rng.randn(15, 60), rng.randn(15)
    problem = Problem(
        kind(X),
        y,
        LOSSES["squared_error"](),
        PENALTIES["l2"](0.1),
        fit_intercept=intercept,
    )
    _, W, b, outcome = solve(problem)
    ridge = Ridge(alpha=1.5, fit_intercept=intercept, solver="cholesky").fit(X, y)
    assert outcome.converged
    assert_allclose(W[:, 0], ridge.coef_, rtol=1e-6, atol=1e-8)
    assert_allclose(b, ridge.intercept_, atol=1e-8)


@pytest.mark.parametrize("loss", SMOOTH + KINKED)
@pytest.mark.parametrize("penalty", PENALTIES)
def test_constant_and_empty_columns_change_nothing(loss, penalty):
    plain = make(loss, penalty)
    n = N_ROWS
    X = np.hstack([plain.rows.X, np.full((n, 1), 7.3), np.zeros((n, 1))])
    more = Problem(X, plain.y, plain.loss, plain.penalty)
    expected, _, _, _ = solve(plain)
    reached, W, b, outcome = solve(more)
    assert outcome.converged and np.isfinite(W).all() and np.isfinite(b).all()
    assert_allclose(reached, expected, rtol=1e-6 if loss in KINKED else 1e-8)
    assert W[6, 0] == 0.0


@pytest.mark.parametrize(
    "loss", ["log_loss", "squared_hinge", "modified_huber", "smooth_hinge", "hinge"]
)
@pytest.mark.parametrize("penalty", [None, "l2", "l1"])
def test_separable_classes_end_finite_and_separated(loss, penalty):
    rng = np.random.RandomState(0)
    X = rng.randn(50, 3)
    y = (X[:, 0] > 0).astype(float)
    X[:, 0] += np.where(y > 0, 1.0, -1.0)
    model = GDClassifier(loss=loss, penalty=penalty, alpha=1e-3, tol=1e-9).fit(X, y)
    assert model.converged_ and np.isfinite(model.coef_).all()
    assert model.score(X, y) == 1.0
    if penalty is None:
        assert model.loss_curve_[-1] < 1e-6


# -- the certificate and its tolerance -------------------------------------------------


@pytest.mark.parametrize("tol", [1e-2, 1e-4, 1e-6])
@pytest.mark.parametrize("penalty", ["l2", "l1"])
@pytest.mark.parametrize(
    "loss", ["squared_error", "log_loss", "poisson", "hinge", "quantile"]
)
def test_what_remains_on_larger_data_is_at_most_the_tolerance(loss, penalty, tol):
    rng = np.random.RandomState(0)
    X = rng.randn(2600, 8) * np.logspace(-1, 1, 8)  # just more than counts as small
    z = X @ (0.1 * rng.randn(8)) + rng.randn(2600)
    kind = LOSSES[loss].targets
    y = {"real": z, "binary": 1.0 * (z > 0), "sign": np.sign(z)}.get(
        kind, np.floor(np.exp(z / 2))
    )
    problem = Problem(X, y, LOSSES[loss](), PENALTIES[penalty](1e-3))
    assert not problem.is_small
    best = solve(problem, tol=1e-10)[0]
    reached, W, _, outcome = solve(problem, tol=tol)
    start = problem.objective(np.zeros_like(W), best_constant(problem))
    assert outcome.converged
    assert reached - best <= tol * (start - best)


def test_small_data_is_solved_to_rounding_whatever_the_tolerance():
    problem = make("log_loss")
    assert solve(problem, tol=1e-1)[0] == pytest.approx(
        solve(problem, tol=1e-12)[0], rel=1e-14
    )


def test_softmax_intercepts_sum_to_zero_and_without_a_penalty_the_coefficients_too():
    for penalty in PENALTIES:
        _, W, b, _ = solve(make("multinomial", penalty, n_outputs=3, alpha=0.01))
        assert abs(b.sum()) <= 1e-12
        if penalty in (None, "l2"):  # which has its least norm where they do
            assert_allclose(W.sum(axis=1), 0.0, atol=1e-6)


@pytest.mark.parametrize("loss", ["squared_error", "quantile", "poisson"])
def test_several_targets_are_solved_as_each_alone(loss):
    rng = np.random.RandomState(0)
    X = rng.randn(60, 4)
    Y = (
        np.exp(0.3 * rng.randn(60, 3))
        if loss == "poisson"
        else X @ rng.randn(4, 3) + rng.randn(60, 3)
    )
    many = GDRegressor(loss, alpha=0.05, tol=1e-9).fit(X, Y)
    for k in range(3):
        one = GDRegressor(loss, alpha=0.05, tol=1e-9).fit(X, Y[:, k])
        # the root of what the objective is known to
        assert_allclose(
            many.coef_[k], one.coef_, atol=1e-3 if loss == "quantile" else 1e-6
        )


@pytest.mark.parametrize("penalty", ["l2", "l1", "elasticnet", None])
@pytest.mark.parametrize(
    "loss", [n for n, c in LOSSES.items() if c.smoothness == "kinked" and n != "perceptron"]
)
def test_kinked_losses_are_solved_to_rounding_on_small_data(loss, penalty):
    # rows in another order, and copies for weights: another path to the same minimum
    rng = np.random.default_rng(3)
    A = rng.normal(size=(60, 4)) * [1.0, 10.0, 0.1, 1.0] + 5.0
    t = A @ [1.0, 0.1, -3.0, 0.5] + rng.normal(size=60)
    copies = rng.integers(0, 4, 60)
    order = rng.permutation(copies.sum())
    if LOSSES[loss].targets == "sign":
        make, t = GDClassifier, t > np.median(t)
    else:
        make = GDRegressor
    settings = dict(loss=loss, penalty=penalty, alpha=0.01)
    weighted = make(**settings).fit(A, t, sample_weight=copies)
    repeated = make(**settings).fit(
        np.repeat(A, copies, axis=0)[order], np.repeat(t, copies)[order]
    )
    assert_allclose(weighted.coef_, repeated.coef_, rtol=1e-8, atol=1e-10)
    assert_allclose(weighted.intercept_, repeated.intercept_, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("setting", [{"alpha": 0.0}, {"penalty_weights": np.linspace(0.5, 2, 1500)}])
def test_wide_data_whose_penalty_bounds_nothing_converge(setting):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((100, 1500))
    y = X[:, :5].sum(axis=1) + 0.1 * rng.standard_normal(100)
    model = GDRegressor("huber", optimizer="lbfgs", tol=1e-3, **setting).fit(X, y)
    assert model.converged_ and model.n_iter_ < 200
