"""Outputs that can be solved by themselves share passes over X, and nothing else."""

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal

from sgdest import GDClassifier, GDRegressor
from sgdest._core.losses import LOSSES, Multinomial
from sgdest._core.penalties import PENALTIES
from sgdest._core.problem import Problem
from sgdest._core.smoothing import Smoothed
from sgdest._core.solver import Lane, Solver, evaluate_together, spread_of
from sgdest._core.quasi_newton import LBFGSLane
from sgdest._core.newton_lane import NewtonLane

RNG = np.random.default_rng(0)
N_ROWS, N_FEATURES, N_OUTPUTS = 300, 7, 4
X = RNG.normal(size=(N_ROWS, N_FEATURES)) * (RNG.random((N_ROWS, N_FEATURES)) < 0.6)
KINDS = {"dense": X, "float32": X.astype(np.float32), "csr": sp.csr_array(X)}
CODES = RNG.integers(N_OUTPUTS, size=N_ROWS).astype(float)
WEIGHTS = RNG.random(N_ROWS)
OFFSET = RNG.normal(size=(N_ROWS, N_OUTPUTS))


def targets_of(loss):
    if loss.targets in ("binary", "sign"):
        return CODES
    y = np.abs(RNG.normal(size=(N_ROWS, N_OUTPUTS))) + 0.1
    return y.round() if loss.targets == "nonnegative" else y


def make(name, kind="dense", **options):
    loss = LOSSES[name]()
    return Problem(KINDS[kind], targets_of(loss), loss, PENALTIES["l2"](0.1), n_outputs=N_OUTPUTS,
                   **options)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", [n for n in LOSSES if n != "multinomial"])
def test_the_outputs_of_a_problem_evaluated_together_are_the_problem(name, kind):
    problem = make(name, kind, sample_weight=WEIGHTS, offset=0.1 * OFFSET)
    W, b = 0.1 * RNG.normal(size=(N_FEATURES, N_OUTPUTS)), 0.1 * RNG.normal(size=N_OUTPUTS)
    z, parts = np.empty((N_ROWS, N_OUTPUTS)), problem.outputs()
    value, g, g_b = problem.evaluate(W, b, z)
    z_parts = [np.empty((N_ROWS, 1)) for _ in parts]
    values, G, G_b = evaluate_together(parts, W, b, z_parts)
    assert_allclose(values.sum(), value, rtol=1e-12)
    assert_allclose(G, g, rtol=1e-10, atol=1e-13)
    assert_allclose(G_b, g_b, rtol=1e-10, atol=1e-13)
    assert_allclose(np.hstack(z_parts), z, rtol=1e-12, atol=1e-13)
    for k, part in enumerate(parts):
        one, g_one, _ = part.evaluate(W[:, k:k + 1].copy(), b[k:k + 1], np.empty((N_ROWS, 1)))
        assert_allclose([one, *g_one[:, 0]], [values[k], *G[:, k]], rtol=1e-10, atol=1e-13)


def test_outputs_with_losses_of_their_own_share_a_pass():
    parts = make("hinge").outputs()
    smooth = []
    for k, part in enumerate(parts):
        loss = Smoothed(part.loss, 0.5 + k)
        smooth.append(part.smoothed(loss, loss.middles(part.targets())))
    W, b = 0.3 * RNG.normal(size=(N_FEATURES, N_OUTPUTS)), np.zeros(N_OUTPUTS)
    z = [np.empty((N_ROWS, 1)) for _ in parts]
    values, G, _ = evaluate_together(smooth, W, b, z)
    for k, part in enumerate(smooth):
        value, g, _ = part.evaluate(W[:, k:k + 1].copy(), b[k:k + 1], np.empty((N_ROWS, 1)))
        assert_allclose([value, *g[:, 0]], [values[k], *G[:, k]], rtol=1e-10, atol=1e-13)


class Counting(Lane):
    """Asks for one gradient a step; stops after as many steps as its class says."""

    asked = []

    def __init__(self, problem, start):
        super().__init__(problem, start)
        self.left = 1 + len(self.asked)
        self.asked.append(0)
        self.place = len(self.asked) - 1

    def step(self):
        yield self.W, self.b, self.z
        self.asked[self.place] += 1
        self.left -= 1
        self.finished = self.left == 0


def test_a_class_that_has_stopped_is_asked_no_more():
    Counting.asked = []
    problem = make("squared_hinge")
    W, b = np.zeros((N_FEATURES, N_OUTPUTS)), np.zeros(N_OUTPUTS)
    solver = Solver(problem, W, b, Counting)
    while not solver.finished:
        solver.iterate()
    assert Counting.asked == [1, 2, 3, 4]
    assert solver.passes == 1 + 4  # the moments; one pass a step, whoever takes part


@pytest.mark.parametrize("tol", [1e-2, 1e-5])
def test_every_class_reaches_the_tolerance_by_itself(tol):
    rng = np.random.default_rng(1)
    data = rng.normal(size=(4000, 8))
    y = np.argmax(data[:, :4] * [1, 2, 4, 8] + rng.normal(size=(4000, 4)), axis=1)
    problem = Problem(data, y.astype(float), LOSSES["log_loss"](), PENALTIES["l2"](1e-3),
                      n_outputs=4)
    W, b = np.zeros((8, 4)), np.zeros(4)
    solver = Solver(problem, W, b, LBFGSLane, tol)
    steps = 0
    while not solver.finished:
        solver.iterate()
        steps += 1
    assert 3 < steps < 50
    for k in range(4):
        part = Problem(data, (y == k).astype(float), LOSSES["log_loss"](), PENALTIES["l2"](1e-3))
        exact = Solver(part, np.zeros((8, 1)), np.zeros(1), LBFGSLane, 1e-12)
        for _ in range(60):
            exact.iterate()
        short = part.objective(W[:, k:k + 1].copy(), b[k:k + 1].copy()) - exact.objective
        assert short <= tol * (exact.start_objective - exact.objective)


@pytest.mark.parametrize("loss", ["squared_hinge", "hinge"])
def test_classes_are_solved_as_each_alone(loss):
    rng = np.random.default_rng(2)
    data, y = rng.normal(size=(400, 5)), rng.integers(3, size=400)
    data += y[:, None]
    model = GDClassifier(loss, alpha=0.05).fit(data, y)
    for k in range(3):
        alone = GDClassifier(loss, alpha=0.05).fit(data, y == k)
        assert_allclose(model.coef_[k], alone.coef_[0], rtol=1e-6, atol=1e-8)


def test_what_a_solver_leaves_is_the_sum_of_its_lanes():
    y = np.c_[X @ np.arange(7.0), RNG.normal(size=N_ROWS)]
    model = GDRegressor(alpha=0.1).fit(X, y)
    alone = [GDRegressor(alpha=0.1).fit(X, column).loss_curve_[-1] for column in y.T]
    assert_allclose(model.loss_curve_[-1], sum(alone), rtol=1e-12)
    assert_array_equal(len(model.history_["objective_per_target"]), len(model.loss_curve_))


@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("kind", KINDS)
def test_the_first_step_of_many_classes_is_by_the_hessian_itself(kind, weights):
    problem = Problem(KINDS[kind], CODES, Multinomial(), PENALTIES["l2"](0.1),
                      n_outputs=N_OUTPUTS, sample_weight=weights)
    lanes = []
    Solver(problem, np.zeros((N_FEATURES, N_OUTPUTS)), np.zeros(N_OUTPUTS),
           lambda part, start: lanes.append(NewtonLane(part, start)) or lanes[0])
    lane = lanes[0]
    p = np.average(CODES[:, None] == np.arange(N_OUTPUTS), axis=0, weights=weights)
    s = np.full(N_ROWS, 1.0 / N_ROWS) if weights is None else weights / weights.sum()
    mean, sigma = lane.coordinates.mean, lane.coordinates.sigma
    A = np.column_stack([(X - mean) / sigma, np.full(N_ROWS, 1.0 / lane.coordinates.root_h)])
    H = np.kron((A.T * s) @ A, np.diag(p) - np.outer(p, p))
    H += np.diag(np.repeat(np.append(0.1 / sigma**2, 0.0), N_OUTPUTS))
    lane.renew()
    step = lane.metric.solve(lane.g)
    assert_allclose(H @ step, lane.g, atol=1e-4 * np.abs(lane.g).max())


def test_a_softmax_of_mixed_scales_ends_at_rounding_in_few_steps():
    """What makes its Hessian definite does not mix the classes' common direction into steps."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((2000, 5)) * 10.0 ** np.arange(-2, 3)
    z = X / X.std(axis=0) @ rng.standard_normal(5)
    y = np.digitize(z / z.std() + 0.3 * rng.standard_normal(2000), [-0.8, -0.3, 0.3, 0.8])
    model = GDClassifier(alpha=1.0 / 2000).fit(X, y)
    assert model.converged_ and model.n_iter_ <= 12


@pytest.mark.parametrize("layout", [np.ascontiguousarray, np.asfortranarray])
@pytest.mark.parametrize("n_rows", [1, 6, N_ROWS])
def test_the_spread_of_targets_is_that_of_copies(layout, n_rows):
    y, k = layout(OFFSET[:n_rows] + 100.0), np.arange(1, n_rows + 1) % 3
    copies = np.repeat(y, k, axis=0)
    expected = [copies.min(axis=0), copies.max(axis=0), copies.mean(axis=0), copies.var(axis=0)]
    assert_allclose(spread_of(y, k.astype(float)), expected, rtol=1e-12, atol=1e-20)
    assert_allclose(spread_of(copies, None), expected, rtol=1e-12, atol=1e-20)
