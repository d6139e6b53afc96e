"""Working sets reach the minimum of L1 and elastic net, and say how far they are."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer
from test_dual_ascent import made, solved

from sgdest import GDClassifier, GDRegressor, regularization_path
from sgdest._core.columns import Columns
from sgdest._core.gram import kept
from sgdest._core.losses import LOSSES
from sgdest._core.penalties import PENALTIES
from sgdest._core.problem import Problem
from sgdest._core.quasi_newton import LBFGS
from sgdest._core.rows import as_rows
from sgdest._core.subproblem import Subproblem
from sgdest._core.subsampled_newton import SubsampledNewton
from sgdest._core.working_set import WorkingSet

SMOOTH = sorted(name for name, loss in LOSSES.items() if loss.smoothness == "smooth")


def problem(name, X, y, alpha=0.01, penalty="l1", factors=None, positive=False, **options):
    penalty = PENALTIES[penalty](alpha, 0.5, factors=factors, positive=positive)
    return Problem(X, y, LOSSES[name](), penalty, **options)


def subgradient(one, W, b):
    """The smallest subgradient of F at a point, coefficients first."""
    z = np.empty((one.n_rows, 1))
    _, g, g_b = one.evaluate(W, b, z)
    penalty = one.penalty
    c = np.ones_like(W) if penalty.factors is None else penalty.factors[:, None]
    g = g + penalty.l2 * c**2 * W
    low, high = g - penalty.l1 * c, g + penalty.l1 * c
    if penalty.positive:
        low = np.full_like(low, -np.inf)
    at_zero = np.where(high < 0, high, np.where(low > 0, low, 0.0))
    steepest = np.where(W > 0, g + penalty.l1 * c, np.where(W < 0, g - penalty.l1 * c, at_zero))
    return np.append(steepest, g_b)


CASES = {
    "l1": {},
    "elastic net": {"penalty": "elasticnet"},
    "without intercept": {"fit_intercept": False},
    "positive": {"positive": True},
    "factors": {"factors": np.geomspace(0.3, 3.0, 12)},
    "a column without penalty": {"factors": np.append(0.0, np.ones(11))},
    "weights": {"sample_weight": np.random.default_rng(1).integers(0, 4, 60) + 0.0},
    "only l2": {"penalty": "l2"},
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", SMOOTH)
def test_the_smallest_subgradient_vanishes(name, case):
    X, y = made(LOSSES[name].targets)
    one = problem(name, X, y, **CASES[case])
    W, b, method = solved(WorkingSet(), one)
    start = np.abs(subgradient(one, np.zeros_like(W), b)).max()
    assert method.finished
    assert np.abs(subgradient(one, W, b)).max() <= 1e-6 * (start + one.penalty.l1)
    if CASES[case].get("positive"):
        assert (W >= 0.0).all()


def odd(X, kind):
    if kind == "offsets in the data":
        return X + 1e6
    if kind == "columns of mixed scale":
        return X * np.geomspace(1e-4, 1e4, X.shape[1])
    if kind == "constant, empty and equal columns":
        X[:, 0], X[:, 1], X[:, 2] = 3.0, 0.0, X[:, 3]
    return X


@pytest.mark.parametrize(
    "kind",
    ["offsets in the data", "columns of mixed scale", "constant, empty and equal columns"],
)
@pytest.mark.parametrize("name", ["log_loss", "squared_error", "huber", "squared_hinge"])
def test_odd_columns_do_not_break_it(name, kind):
    X, y = made(LOSSES[name].targets)
    one = problem(name, odd(X, kind), y, alpha=1e-3)
    mine = one.objective(*solved(WorkingSet(), one)[:2])
    W, b, method = solved(LBFGS(), one)
    other = one.objective(W, b)
    assert mine <= other + 1e-8 * (method.start_objective - other)


@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
@pytest.mark.parametrize("sparse", [False, True])
def test_types_and_layouts_give_the_same_model(sparse, dtype):
    rng = np.random.default_rng(0)
    X = rng.integers(0, 20, size=(80, 30)) * (rng.random((80, 30)) < 0.3)
    y = X[:, 0] - X[:, 1] + rng.normal(size=80)
    exact = GDRegressor(penalty="l1", alpha=0.3, optimizer="working_set").fit(X + 0.0, y)
    A = X.astype(dtype)
    if sparse:
        A = csr_array(A.astype(float))
    model = GDRegressor(penalty="l1", alpha=0.3, optimizer="working_set").fit(A, y)
    assert_allclose(model.coef_, exact.coef_, atol=1e-7)
    assert 0 < np.count_nonzero(exact.coef_) < 30


@pytest.mark.parametrize("tol", [1e-3, 1e-4, 1e-6, 1e-8])
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("share", [0.02, 0.2])
@pytest.mark.parametrize("name", ["log_loss", "squared_error", "huber", "squared_hinge"])
def test_the_tolerance_bounds_the_true_suboptimality(name, share, sparse, tol):
    X, y = made(LOSSES[name].targets, n=200, d=1500, density=0.1 if sparse else 1.0)
    A = csr_array(X) if sparse else X
    zero = problem(name, A, y, alpha=0.0)
    largest = np.abs(zero.evaluate(np.zeros((1500, 1)), np.zeros(1), np.zeros((200, 1)))[1]).max()
    one = problem(name, A, y, alpha=share * largest)
    best = one.objective(*solved(WorkingSet(), one, tol=1e-11)[:2])
    W, b, method = solved(WorkingSet(), one, tol=tol)
    assert one.objective(W, b) - best <= 2 * tol * (method.start_objective - best)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("index", [np.int32, np.int64, None])
def test_columns_are_those_of_the_rows(index, dtype):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(50, 30)) * (rng.random((50, 30)) < np.linspace(0, 1, 30))
    X = X.astype(dtype)
    A = X
    if index is not None:
        A = csr_array(X)
        A.data[::5] = 0.0  # stored
        A.indices, A.indptr = A.indices.astype(index), A.indptr.astype(index)
        X = A.toarray()
    mean = rng.normal(size=30)
    for share in (0.2, 1.0):
        columns = Columns(as_rows(A), mean)
        first, second = np.array([3, 17, 25]), np.arange(30)[:: int(1 / share)]
        columns.fetch(as_rows(A), first, lambda: first)
        columns.fetch(as_rows(A), second, lambda: second)
        chosen = np.union1d(first, second)
        removed = columns.removed[chosen]
        full = (X[:, chosen] != 0.0).mean(axis=0) > 0.3
        # which of the two forms a column has is told by what was removed
        assert_allclose(removed[full], mean[chosen][full])
        w, z, s = rng.normal(size=len(chosen)), np.zeros((50, 1)), np.full(50, 1 / 50)
        one = problem("squared_error", A, rng.normal(size=50), alpha=0.0, fit_intercept=False)
        part = Subproblem(one, columns, chosen, w * 0, w * 0, w * 0 + 0.1, z[:, 0], s)
        part.minimise(1, 1e-12, 0.0)
        centred = X[:, chosen] - removed
        system = centred.T @ centred / 50 + 0.1 * np.eye(len(chosen))
        assert_allclose(part.w, np.linalg.solve(system, centred.T @ one.y / 50), atol=1e-9)
        assert_allclose(part.z, centred @ np.asarray(part.w), atol=1e-12)


def test_a_path_of_penalties_is_cheap():
    X, y = made("binary", n=200, d=1500, density=0.1)
    X = csr_array(X)
    alphas = np.geomspace(0.05, 0.005, 10)
    cold = sum(
        solved(WorkingSet(), problem("log_loss", X, y, alpha=alpha), tol=1e-5)[2].passes
        for alpha in alphas
    )
    W, b, warm = np.zeros((1500, 1)), np.zeros(1), 0
    for alpha in alphas:
        one = problem("log_loss", X, y, alpha=alpha)
        W, b, method = solved(WorkingSet(), one, tol=1e-5, start=(W, b))
        warm += method.passes
    assert warm < cold


def test_a_kinked_loss_is_refused():
    X, y = made("binary")
    with pytest.raises(ValueError, match="smooth loss.*hinge"):
        GDClassifier(loss="hinge", penalty="l1", optimizer="working_set").fit(X, y)


def test_sparse_rows_of_several_outputs_are_solved_by_working_sets():
    rng = np.random.default_rng(0)
    X = csr_array(rng.normal(size=(3000, 3500)) * (rng.random((3000, 3500)) < 0.02))
    scores = X[:, :20] @ rng.normal(size=(20, 20)) + 0.1 * rng.normal(size=(3000, 20))
    y = scores.argmax(axis=1)
    signs = np.where(y[:, None] == np.unique(y), 1.0, -1.0)

    def solved_by(optimizer, tol):
        model = GDClassifier("squared_hinge", penalty="l1", alpha=1e-3, tol=tol,
                             optimizer=optimizer).fit(X, y)
        margins = signs * model.decision_function(X)
        loss = np.square(np.maximum(0.0, 1.0 - margins)).mean(axis=0).sum()
        return model, loss + 1e-3 * np.abs(model.coef_).sum()

    model, mine = solved_by("auto", 1e-6)
    assert isinstance(model.optimizer_.optimizer, WorkingSet)
    assert_allclose(mine, solved_by("lbfgs", 1e-8)[1], rtol=1e-6)


@pytest.mark.parametrize("n_features", [300, 800])
def test_strong_l1_on_dense_rows_is_solved_by_working_sets_and_weak_l1_by_products(n_features):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(3000, n_features))
    y = X[:, :60] @ rng.normal(size=60) + rng.normal(size=3000)
    most = np.abs((X - X.mean(axis=0)).T @ (y - y.mean())).max() / 3000
    kept.clear()
    chosen = [type(GDRegressor(penalty="l1", alpha=share * most).fit(X, y).optimizer_.optimizer)
              for share in (0.3, 1e-5)]
    assert chosen == [WorkingSet, SubsampledNewton]

    # products of columns that have been made serve all of a path
    path = [type(GDRegressor(penalty="l1", alpha=share * most).fit(X, y).optimizer_.optimizer)
            for share in (0.3, 1e-5)]
    assert path == 2 * [SubsampledNewton]
    kept.clear()


def test_of_several_dense_outputs_strong_l1_goes_to_working_sets_and_weak_l1_to_lbfgs():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(3000, 400))
    W = rng.normal(size=(400, 5)) * (rng.random((400, 5)) < 0.1)
    y = (X @ W + rng.normal(size=(3000, 5))).argmax(axis=1)
    estimator = GDClassifier("squared_hinge", penalty="l1", tol=1e-4)
    most = regularization_path(estimator, X, y, alphas=1).alphas[0]
    models = [clone(estimator).set_params(alpha=share * most).fit(X, y) for share in (0.3, 0.003)]
    assert [type(model.optimizer_.optimizer) for model in models] == [WorkingSet, LBFGS]
    for model in models:
        other = SubsampledNewton() if model is models[0] else WorkingSet()
        best = clone(model).set_params(optimizer=other, tol=1e-8).fit(X, y).history_["objective"][-1]
        assert model.history_["objective"][-1] <= best + 1e-4 * (5.0 - best)    # at most 5 at the start


@pytest.mark.parametrize("share", [1.0, 1.01, 3.0])
def test_where_no_column_would_move_the_first_gradient_is_the_last(share):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(3000, 300))
    y = X[:, :60] @ rng.normal(size=60) + rng.normal(size=3000) + 10.0
    most = np.abs((X - X.mean(axis=0)).T @ (y - y.mean())).max() / 3000
    model = GDRegressor(penalty="l1", alpha=share * most, optimizer="working_set").fit(X, y)
    assert model.converged_
    assert model.suboptimality_ == 0.0
    assert model.n_iter_ == 2       # the moments, the gradient
    assert_allclose(model.coef_, 0.0, atol=1e-12)
    assert_allclose(model.intercept_, y.mean())


def test_a_round_on_few_rows_and_columns_ends_near_the_minimum():
    # ten rounds if each left a tenth of the violations
    X, y = load_breast_cancer(return_X_y=True)
    model = GDClassifier(penalty="l1", alpha=0.1, optimizer="working_set").fit(X, y)
    assert model.converged_
    assert len(model.loss_curve_) <= 6
