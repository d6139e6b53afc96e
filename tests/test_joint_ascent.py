"""Dual ascent for a softmax reaches the minimum and never claims more than it has."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import minimize
from scipy.sparse import csr_array, random_array
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from reference import objective_and_gradient

from sgdest import GDClassifier
from sgdest._core.dual_ascent import DualAscent
from sgdest._core.joint_multipliers import JointMultipliers
from sgdest._core.losses import Multinomial
from sgdest._core.penalties import PENALTIES
from sgdest._core.problem import Problem
from sgdest._core.solver import Solver, best_constant

K = 4


def words(n=300, d=400, shares=(0.25, 0.25, 0.25, 0.25), seed=0):
    """Sparse rows of length one, and classes that have words of their own."""
    rng = np.random.default_rng(seed)
    X = random_array((n, d), density=0.05, rng=rng, format="csr")
    y = rng.choice(len(shares), size=n, p=shares)
    y[: 2 * len(shares)] = np.tile(np.arange(len(shares)), 2)
    X.data *= 1.0 + 2.0 * ((X.indices % len(shares)) == np.repeat(y, np.diff(X.indptr)))
    X = X.multiply(1.0 / np.sqrt(X.multiply(X).sum(axis=1) + 1e-12)[:, None])
    return csr_array(X), y


def softmax_problem(X, y, alpha, **options):
    factors = options.pop("factors", None)
    return Problem(X, y.astype(float), Multinomial(), PENALTIES["l2"](alpha, factors=factors),
                   n_outputs=int(y.max()) + 1, **options)


def solved(problem, tol=1e-4, start=None, cap=500):
    """(W, b, solver) after all iterations."""
    shape = (problem.n_features, problem.n_outputs)
    W, b = start or (np.zeros(shape), np.zeros(problem.n_outputs))
    solver = DualAscent().method(problem, W, b, tol=tol, warm=start is not None)
    for _ in range(cap):
        if solver.finished:
            break
        solver.iterate()
    return W, b, solver


def least(problem):
    """The minimum of F, by scipy."""
    shape = (problem.n_features, problem.n_outputs)

    def value(x):
        W = x[: -shape[1]].reshape(shape).copy()
        F, g, g_b = objective_and_gradient(problem, W, x[-shape[1] :].copy())
        return F, np.append(g, g_b)

    found = minimize(value, np.zeros((shape[0] + 1) * shape[1]), jac=True, method="L-BFGS-B",
                     options={"gtol": 1e-11, "ftol": 1e-16, "maxiter": 20_000, "maxfun": 40_000})
    return found.fun


CASES = {
    "sparse": {},
    "dense": {"dense": True},
    "float32": {"dtype": np.float32},
    "no intercept": {"fit_intercept": False},
    "weights": {"weights": True},
    "offsets": {"offsets": True},
    "factors": {"factors": True},
    "all": {"weights": True, "offsets": True, "factors": True, "dense": True},
}


@pytest.mark.parametrize("alpha", [1e-1, 1e-3, 1e-5])
@pytest.mark.parametrize("case", CASES)
def test_it_finds_what_scipy_finds(case, alpha):
    X, y = words(n=120, d=60)
    options, rng = dict(CASES[case]), np.random.default_rng(1)
    X = X.astype(options.pop("dtype", float))
    X = X.toarray() if options.pop("dense", False) else X
    if options.pop("weights", False):
        options["sample_weight"] = rng.integers(0, 4, len(y)).astype(float)
    if options.pop("offsets", False):
        options["offset"] = rng.normal(size=(len(y), K))
    if options.pop("factors", False):
        options["factors"] = np.geomspace(0.3, 3.0, X.shape[1])
    problem = softmax_problem(X, y, alpha, **options)
    W, b, solver = solved(problem)
    end = least(problem)
    assert problem.objective(W, b) <= end + 1e-9 * solver.start_objective
    assert solver.is_close


def test_it_equals_logistic_regression():
    X, y = words()
    peer = LogisticRegression(C=1.0, tol=1e-10, max_iter=5000).fit(X, y)
    model = GDClassifier(alpha=1.0 / len(y), tol=1e-10, optimizer="dual_ascent").fit(X, y)
    assert model.converged_
    assert_allclose(model.coef_, peer.coef_, atol=1e-5)
    assert_allclose(model.predict_proba(X), peer.predict_proba(X), atol=1e-6)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("alpha", [1.0, 1e-3, 1e-6])
def test_no_bound_exceeds_the_minimum(alpha, fit_intercept, weighted):
    X, y = words(shares=(0.6, 0.3, 0.08, 0.02))
    s = np.random.default_rng(2).exponential(size=len(y)) if weighted else None
    problem = softmax_problem(X, y, alpha, fit_intercept=fit_intercept, sample_weight=s)
    W, b, _ = solved(problem, tol=1e-12)
    end = problem.objective(W, b)
    mean = problem.moments()[0]
    multipliers = JointMultipliers(problem, mean, best_constant(problem), 1e-3)
    for _ in range(12):
        multipliers.run(1, lambda: 0.0)
        W, z = np.empty(W.shape), np.empty((len(y), K))
        multipliers.weights(W)
        multipliers.margins(z)
        objective = problem.objective(W, multipliers.b - (mean @ W if fit_intercept else 0.0))
        for known in (objective, np.inf):     # the square by its bound, and by a pass
            assert multipliers.certified(z, known) <= end + 1e-13
        assert objective >= end - 1e-13


@pytest.mark.parametrize("shares", [(0.25,) * 4, (0.9, 0.06, 0.03, 0.01), (0.04,) * 25])
@pytest.mark.parametrize("C", [0.01, 1.0, 100.0, 1e4])
def test_what_it_claims_is_true(C, shares):
    X, y = words(1500, 3000, shares)
    assert X.nnz > 20_000
    common = dict(alpha=1.0 / (C * len(y)), max_iter=3000, optimizer="dual_ascent")
    fits = [GDClassifier(tol=tol, **common).fit(X, y) for tol in (1e-10, 1e-3, 1e-6)]
    ends = np.array([model.objective(X, y) for model in fits])
    rate = np.bincount(y) / len(y)
    start = -rate @ np.log(rate)
    assert all(model.converged_ for model in fits)
    assert not [(model.tol, far) for model, far in zip(fits, (ends - ends[0]) / (start - ends[0]))
                if far > 2.0 * model.tol]


def test_a_weight_is_as_many_copies():
    X, y = words(100, 80)
    s = np.random.default_rng(3).integers(0, 3, len(y))
    copies = np.repeat(np.arange(len(y)), s)
    common = dict(alpha=1e-3, optimizer="dual_ascent")
    weighted = GDClassifier(**common).fit(X, y, sample_weight=s)
    copied = GDClassifier(**common).fit(X[copies], y[copies])
    assert_allclose(weighted.coef_, copied.coef_, atol=1e-7)


def test_it_goes_on_from_given_weights():
    X, y = words()
    problem = softmax_problem(X, y, 1e-2)
    W, b, first = solved(problem)
    again = solved(problem, start=(W.copy(), b.copy()))[2]
    assert again.is_close and again.passes < first.passes
    assert_allclose(again.objective, first.objective, rtol=1e-12)


def test_a_paused_solver_goes_on_bit_for_bit():
    X, y = words(1500, 3000)
    problem = softmax_problem(X, y, 1e-6)
    W, b = np.zeros((X.shape[1], K)), np.zeros(K)
    solver = DualAscent().method(problem, W, b, tol=1e-9)
    solver.iterate()
    other_W, other_b = W.copy(), b.copy()
    other = Solver.going_on(problem, other_W, other_b, solver.paused(), 1e-9)
    for _ in range(3):
        solver.iterate()
        other.iterate()
    assert_array_equal(W, other_W)
    assert_array_equal(b, other_b)


def test_rows_without_entries_and_classes_of_no_weight_do_no_harm():
    X, y = words(200, 300)
    X = X.tolil()
    X[10:20] = 0.0
    s = np.ones(len(y))
    s[y == 3] = 0.0
    model = GDClassifier(alpha=1e-3, optimizer="dual_ascent").fit(csr_array(X), y, sample_weight=s)
    assert np.isfinite(model.coef_).all() and np.isfinite(model.intercept_).all()
    assert (model.predict(X.tocsr()) != 3).all()


def test_auto_takes_it_where_columns_are_many():
    X, y = words(1500, 3000)
    model = GDClassifier(alpha=1.0 / len(y)).fit(X, y)
    assert "DualAscent" in repr(model.optimizer_)
    assert "3000 columns" in repr(model.optimizer_)
    X, y = words(6000, 60)
    assert "DualAscent" not in repr(GDClassifier(alpha=1.0 / len(y)).fit(X, y).optimizer_)


def test_auto_takes_it_where_classes_lie_apart():
    X, y = load_digits(return_X_y=True)
    chosen = [repr(GDClassifier(alpha=1.0 / len(y), max_iter=1, tol=0.5).fit(X, labels).optimizer_)
              for labels in (y, np.random.RandomState(0).permutation(y))]
    assert "DualAscent" in chosen[0] and "DualAscent" not in chosen[1]


def test_one_slow_check_does_not_end_it():
    # two epochs between the first checks of raw digits gain little, the next ones much
    X, y = load_digits(return_X_y=True)
    model = GDClassifier(alpha=0.01 / len(y), tol=1e-3, optimizer="dual_ascent").fit(X, y)
    assert model.converged_ and model.n_iter_ < 30
