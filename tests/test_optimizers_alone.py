"""Step optimizers work on functions of one's own, by their published formulas."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import minimize, rosen, rosen_der

from sgdest.optimizers import FTRL, SGD, STEP_OPTIMIZERS, Adagrad, Adam, RMSprop, as_optimizer

SHAPE = (2, 3)
GRADIENTS = np.random.RandomState(0).randn(10, *SHAPE)


def walk(optimizer, **settings):
    x = np.ones(SHAPE)
    state = optimizer.init(x)
    for g in GRADIENTS:
        optimizer.step(x, g, state, **settings)
    return x, state


def by_formula(rule):
    """x after the steps of ``rule(memory, g, t)``."""
    x, memory = np.ones(SHAPE), {}
    for t, g in enumerate(GRADIENTS, start=1):
        x = x - rule(memory, g, t)
    return x


def momentum(memory, g, t):
    memory["u"] = 0.9 * memory.get("u", 0) + g
    return 0.1 * memory["u"]


def nesterov(memory, g, t):
    memory["u"] = 0.9 * memory.get("u", 0) + g
    return 0.1 * (g + 0.9 * memory["u"])


def adagrad(memory, g, t):
    memory["s"] = memory.get("s", 0) + g**2
    return 0.1 * g / (np.sqrt(memory["s"]) + 1e-10)


def rmsprop(memory, g, t):
    memory["s"] = 0.99 * memory.get("s", 0) + 0.01 * g**2
    return 0.1 * g / (np.sqrt(memory["s"]) + 1e-8)


def adam(memory, g, t):
    memory["m"] = 0.9 * memory.get("m", 0) + 0.1 * g
    memory["v"] = 0.999 * memory.get("v", 0) + 0.001 * g**2
    m, v = memory["m"] / (1 - 0.9**t), memory["v"] / (1 - 0.999**t)
    return 0.1 * m / (np.sqrt(v) + 1e-8)


def clipped(memory, g, t):
    return 0.1 * g * min(1.0, 0.5 / (np.linalg.norm(g) + 1e-6))


@pytest.mark.parametrize(
    "optimizer, rule",
    [
        (SGD(0.1), lambda memory, g, t: 0.1 * g),
        (SGD(0.1, momentum=0.9), momentum),
        (SGD(0.1, momentum=0.9, nesterov=True), nesterov),
        (SGD(0.1, clip_norm=0.5), clipped),
        (Adagrad(0.1), adagrad),
        (RMSprop(0.1), rmsprop),
        (Adam(0.1), adam),
        (Adam(lambda t: 0.1), adam),
    ],
    ids=["sgd", "momentum", "nesterov", "clipped", "adagrad", "rmsprop", "adam", "adam by t"],
)
def test_steps_are_those_of_the_formula_with_the_defaults_of_torch(optimizer, rule):
    assert_allclose(walk(optimizer)[0], by_formula(rule), rtol=1e-12)


@pytest.mark.parametrize("optimizer", map(as_optimizer, STEP_OPTIMIZERS), ids=repr)
def test_a_rate_given_to_a_step_is_used(optimizer):
    fixed = type(optimizer)(**{**optimizer.get_params(), "learning_rate": 0.1})
    assert_array_equal(walk(optimizer, learning_rate=0.1)[0], walk(fixed)[0])


def test_the_state_is_all_that_a_step_remembers():
    x, state = walk(Adam(0.1, amsgrad=True))
    copy = {name: np.copy(value) for name, value in state.items()}
    again = x.copy()
    for y, s in ((x, state), (again, copy)):
        Adam(0.1, amsgrad=True).step(y, GRADIENTS[0], s)
    assert_array_equal(x, again)
    assert state["t"] == 11
    assert state["mean"].shape == SHAPE


@pytest.mark.parametrize(
    "optimizer",
    [SGD(1e-3, momentum=0.9), Adam(0.01), Adagrad(0.5), FTRL(0.5)],
    ids=repr,
)
def test_scipy_minimises_by_an_optimizer(optimizer):
    seen = []
    result = minimize(
        rosen,
        [0.0, 0.0],
        jac=rosen_der,
        method=optimizer,
        callback=seen.append,
        options={"maxiter": 20_000},
    )
    assert result.success
    # the flattest curvature of the function is 0.4, and the gradient at most 1e-5
    assert_allclose(result.x, [1.0, 1.0], atol=1e-5 / 0.39 * 2)
    assert len(seen) == result.nit


def test_without_jac_the_gradient_is_numerical():
    f = lambda x, a: (x - a) @ (x - a)
    result = minimize(f, np.zeros(3), args=(2.0,), method=SGD(0.2))
    assert_allclose(result.x, 2.0, atol=1e-5)


def test_random_restarts_find_the_lower_of_two_minima():
    f = lambda x: float((x[0] ** 2 - 1) ** 2 + 0.3 * x[0])
    starts = np.random.RandomState(0).uniform(-2, 2, size=(8, 1))
    runs = [minimize(f, start, method=SGD(0.05, momentum=0.5)) for start in starts]
    ends = {round(float(run.x[0]), 2) for run in runs}
    assert len(ends) == 2
    best = min(runs, key=lambda run: run.fun).x[0]
    assert_allclose(4 * best**3 - 4 * best + 0.3, 0.0, atol=1e-4)
    assert best < 0


def test_an_end_by_the_number_of_steps_or_by_overflow_is_no_success():
    assert not minimize(rosen, [0.0, 0.0], method=SGD(1e-3), options={"maxiter": 3}).success
    with np.errstate(all="ignore"):
        result = minimize(rosen, [5.0, 0.0], jac=rosen_der, method=SGD(1.0))
    assert "not finite" in result.message


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: minimize(rosen, [0.0, 0.0], method=Adam(0.1), bounds=[(0, 1)] * 2), "no bounds"),
        (lambda: minimize(rosen, [0.0, 0.0], method=Adam()), r"needs a rate.*Adam\(0.01\)"),
        (lambda: Adam(0.1).step([1.0], [1.0], {}), "writable.*np.array"),
        (lambda: Adam(0.1).step(np.ones(2), np.ones(3), {"t": 0}), r"shape of x, \(2,\)"),
    ],
)
def test_what_cannot_work_is_said(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("eps", [1e-10, 1e-300])
def test_rates_by_squares_of_any_size(eps):
    # roots are estimated where the processor has estimates: at any size of the squares
    g = np.array([0.0, 1e-170, 1e-160, 3e-155, 1e-30, 0.3, 1.0, 7.0, 1e30, 3e153, 1e160, -2.5, 1e-5])
    x, optimizer = np.ones(len(g)), Adagrad(0.1, eps=eps)
    optimizer.step(x, g, optimizer.init(x))
    with np.errstate(over="ignore"):
        root = np.sqrt(g * g)
    length = np.where(root > 0, 0.1 / (root + eps), 0.0)
    length[np.isinf(root)] = 0.0
    assert_allclose(1.0 - x, 1.0 - (1.0 - length * g), rtol=1e-13, atol=1e-16)
