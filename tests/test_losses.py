"""Every loss is what it says: slope, curvature, conjugate, dual step and smoothing."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn._loss.loss import (
    AbsoluteError,
    HalfBinomialLoss,
    HalfGammaLoss,
    HalfMultinomialLoss,
    HalfPoissonLoss,
    HalfSquaredError,
    HalfTweedieLoss,
    HuberLoss,
    PinballLoss,
)
from sklearn.linear_model import _sgd_fast

from sgdest import losses
from sgdest._core.losses import LOSSES, Multinomial
from sgdest._core.smoothing import Smoothed
from sgdest._core.penalties import PENALTIES
from sgdest._core.problem import Problem

TARGETS = {
    "real": (-1.3, 0.0, 2.0),
    "nonnegative": (0.0, 1.0, 3.5),
    "positive": (0.2, 1.0, 3.5),
    "binary": (0.0, 1.0),
    "sign": (-1.0, 1.0),
}
OTHER_PARAMETERS = {
    "huber": [{"epsilon": 1.5}],
    "epsilon_insensitive": [{"epsilon": 0.0}, {"epsilon": 0.7}],
    "squared_epsilon_insensitive": [{"epsilon": 0.0}, {"epsilon": 0.7}],
    "quantile": [{"quantile": 0.1}, {"quantile": 0.9}],
    "tweedie": [{"power": 1.0}, {"power": 1.2}, {"power": 1.9}],
}
# gamma's limit of Tweedie, which alone among them needs positive targets
CASES = {name: (cls(), TARGETS[cls.targets]) for name, cls in LOSSES.items()}
for _name, _many in OTHER_PARAMETERS.items():
    for _parameters in _many:
        CASES[f"{_name} {_parameters}"] = (
            LOSSES[_name](**_parameters),
            TARGETS[LOSSES[_name].targets],
        )
CASES["tweedie {'power': 2.0}"] = (LOSSES["tweedie"](power=2.0), TARGETS["positive"])
KINKED = {name: case for name, case in CASES.items() if case[0].smoothness == "kinked"}
CONJUGATES = [
    name
    for name, (loss, ys) in CASES.items()
    if not np.isnan(loss.evaluate_conjugate(ys[-1], 0.0))
]

GRID = np.linspace(-6.0, 6.0, 241)
STEP = 1e-3


@pytest.fixture(params=CASES, name="case")
def _case(request):
    return CASES[request.param]


def breaks(loss, y):
    """Points where the slope or the curvature of some loss may jump."""
    epsilons = (0.0, 0.1, 0.7, 1.5)
    if loss.targets == "sign":
        return np.array([-1.0, 0.0, 1.0])
    return np.concatenate([y + np.array(epsilons), y - np.array(epsilons)])


def smooth_points(loss, y):
    """Points of the grid from which no break is within reach of the differences."""
    z = GRID + 0.011
    return z[np.abs(z[:, None] - breaks(loss, y)).min(axis=1) > 3 * STEP]


def at(loss, y, z):
    """(values, derivatives, curvatures) at the points z."""
    return np.array([loss.evaluate_point(y, point) for point in z]).T


def difference(f, z):
    """Slope of ``f`` by differences of fourth order."""
    h = STEP
    return (8 * (f(z + h) - f(z - h)) - (f(z + 2 * h) - f(z - 2 * h))) / (12 * h)


# -- value, slope, curvature -----------------------------------------------------------


def test_derivative_is_the_slope_of_the_value(case):
    loss, ys = case
    for y in ys:
        z = smooth_points(loss, y)
        slope = difference(lambda z: at(loss, y, z)[0], z)
        # h^4 / 30 times a fifth derivative, plus rounding of the value over h
        scale = np.abs(at(loss, y, z)[0]) + np.exp(np.abs(z))
        assert (np.abs(at(loss, y, z)[1] - slope) <= 2e-12 * (1 + scale)).all()


def test_curvature_is_the_slope_of_the_derivative(case):
    loss, ys = case
    for y in ys:
        z = smooth_points(loss, y)
        slope = difference(lambda z: at(loss, y, z)[1], z)
        scale = np.abs(at(loss, y, z)[1]) + np.exp(np.abs(z))
        assert (np.abs(at(loss, y, z)[2] - slope) <= 2e-12 * (1 + scale)).all()


def test_slopes_never_fall_and_rise_at_most_by_the_curvature_bound(case):
    loss, ys = case
    rng = np.random.RandomState(0)
    for y in ys:
        z = np.unique(np.concatenate([GRID, rng.uniform(-3, 3, 500), breaks(loss, y)]))
        _, d, h = at(loss, y, z)
        rounding = 1e-14 * (1 + np.abs(d[1:]))
        assert (np.diff(d) >= -rounding).all()
        assert (np.diff(d) <= loss.curvature_bound * np.diff(z) + rounding).all()
        assert (h >= 0).all() and (h <= loss.curvature_bound).all()


def test_curvature_bounds_are_reached(case):
    loss, ys = case
    if np.isfinite(loss.curvature_bound):
        highest = max(at(loss, y, np.append(GRID, y))[2].max() for y in ys)
        assert_allclose(highest, loss.curvature_bound, rtol=1e-12)


def test_far_predictions_give_finite_numbers(case):
    loss, ys = case
    for y in ys:
        for z in (-1e4, -1e3, -710.0, 710.0, 1e3, 1e4):
            assert np.isfinite(loss.evaluate_point(y, z)).all()


def test_far_values_still_rise_with_their_slopes(case):
    loss, ys = case
    for y in ys:
        for z in (-1e4, -600.0, -499.0, 499.0, 600.0, 1e4):
            low, high = loss.evaluate_point(y, z - 0.5), loss.evaluate_point(y, z + 0.5)
            rise, rounding = high[0] - low[0], 1e-12 * (1 + abs(high[0]) + abs(low[0]))
            assert low[1] - rounding <= rise <= high[1] + rounding


def test_kinked_losses_have_no_curvature_and_no_bound(case):
    loss, ys = case
    if loss.smoothness == "kinked":
        assert loss.curvature_bound == np.inf
        assert all((at(loss, y, GRID)[2] == 0).all() for y in ys)


def test_block_form_is_the_pointwise_form(case):
    loss, ys = case
    y, z = np.repeat(ys, len(GRID)), np.tile(GRID, len(ys))
    total, d, h = loss.evaluate(y, z)
    points = np.array([loss.evaluate_point(*pair) for pair in zip(y, z)])
    assert_allclose(total, points[:, 0].sum(), rtol=1e-13)
    # with a log link a slope near its zero is a difference of larger numbers, each exact to its
    # last digit
    near_zero = 1e-15 if type(loss).link == "log" else 1e-300
    assert_allclose(d, points[:, 1], rtol=1e-14, atol=near_zero)
    assert_allclose(h, points[:, 2], rtol=1e-14, atol=1e-300)


# -- duals -----------------------------------------------------------------------------


def test_the_conjugates_are_those_that_are_written():
    assert {name.split()[0] for name in CONJUGATES} == set(LOSSES) - {"tweedie"}


@pytest.mark.parametrize("name", CONJUGATES)
def test_fenchel_young_holds_with_equality_at_the_derivative(name):
    loss, ys = CASES[name]
    for y in ys:
        values, slopes, _ = at(loss, y, GRID)
        conjugates = np.array([loss.evaluate_conjugate(y, a) for a in slopes])
        products = slopes[:, None] * GRID
        assert np.isfinite(conjugates).all()
        gaps = values + conjugates[:, None] - products
        rounding = 1e-13 * (1 + np.abs(products).max())
        assert (gaps >= -rounding).all()
        assert (np.abs(np.diag(gaps)) <= rounding).all()


@pytest.mark.parametrize("name", CONJUGATES)
def test_the_conjugate_is_infinite_beyond_the_slopes(name):
    loss, ys = CASES[name]
    for y in ys:
        low, high = at(loss, y, [-1e4, 1e4])[1]
        for a in (low - 1e-6, high + 1e-6):
            # slopes that are unbounded on that side go on beyond z = 1e4, or end at exp(500)
            steeper = at(loss, y, [-1e5, 1e5])[1]
            bounded = steeper[0] == low if a < low else steeper[1] == high
            assert loss.evaluate_conjugate(y, a) == np.inf or not bounded or abs(a) > 1e200


@pytest.mark.parametrize("q", [1e-3, 0.3, 1.0, 50.0])
def test_the_dual_step_solves_its_equation(case, q):
    loss, ys = case
    for y in ys:
        for u in np.linspace(-5, 5, 41):
            a = loss.evaluate_dual_step(y, u, q)
            v = u - q * a
            # v, and so a slope there, is known to the rounding of u and q a
            reach = 1e-14 * (1 + abs(u) + q * abs(a))
            low, high = (loss.evaluate_point(y, v + by)[1] for by in (-reach, reach))
            assert low - reach / q <= a <= high + reach / q


@pytest.mark.parametrize("name", CONJUGATES)
@pytest.mark.parametrize("q", [0.3, 5.0])
def test_the_dual_step_maximises_the_dual_coordinate(name, q):
    loss, ys = CASES[name]
    for y in ys:
        for u in np.linspace(-5, 5, 11):

            def dual(a):
                return a * u - 0.5 * q * a * a - loss.evaluate_conjugate(y, a)

            low, high = at(loss, y, [-1e4, 1e4])[1]
            best = dual(loss.evaluate_dual_step(y, u, q))
            others = [
                dual(a)
                for a in np.linspace(low if low > -10 else -10, min(high, 10), 81)
            ]
            assert best >= max(others) - 1e-12 * (1 + abs(best))


# -- smoothing -------------------------------------------------------------------------


def half_range(loss, y):
    """Half the distance of the two slopes of a piecewise-linear loss."""
    low, high = at(loss, y, [-1e4, 1e4])[1]
    return 0.5 * (high - low)


@pytest.mark.parametrize("sharpness", [0.5, 4.0, 1e3])
@pytest.mark.parametrize("name", KINKED)
def test_a_smoothed_loss_lies_below_by_at_most_its_bound(name, sharpness):
    loss, ys = KINKED[name]
    smooth = Smoothed(loss, sharpness)
    for y in ys:
        gap = at(loss, y, GRID)[0] - at(smooth, y, GRID)[0]
        assert (gap >= -1e-12).all()
        assert (gap <= half_range(loss, y) ** 2 / (2 * sharpness) + 1e-12).all()


@pytest.mark.parametrize("sharpness", [0.5, 4.0])
@pytest.mark.parametrize("name", KINKED)
def test_a_smoothed_loss_has_the_slope_and_the_curvature_of_its_value(name, sharpness):
    loss, ys = KINKED[name]
    smooth = Smoothed(loss, sharpness)
    for y in ys:
        z = GRID + 0.0113
        _, d, h = at(smooth, y, z)
        slope = difference(lambda z: at(smooth, y, z)[0], z)
        # where the curvature jumps within the stencil the difference is off by order h
        at_jump = np.abs(slope - d) > 1e-11
        assert at_jump.sum() <= 6
        assert (np.abs(slope - d) <= 2 * STEP * sharpness).all()
        assert set(np.unique(h)) <= {0.0, sharpness}
        assert (np.diff(d) >= -1e-14).all()
        assert (np.diff(d) <= sharpness * np.diff(z) + 1e-13).all()
        assert (np.abs(d) <= np.abs(at(loss, y, [-1e4, 1e4])[1]).max()).all()
        assert np.isfinite(at(smooth, y, [-1e4, 1e4])).all()


def smoothing_problem(loss, ys, sharpness):
    """The smoothed problem on the grid, its margins, targets, and the true problem."""
    y, z = np.repeat(ys, len(GRID)), np.tile(GRID, len(ys))[:, None]
    problem = Problem(np.ones((len(y), 1)), y, loss, PENALTIES[None]())
    smooth = Smoothed(loss, sharpness)
    return problem, smooth, y, z


@pytest.mark.parametrize("name", KINKED)
def test_blocks_of_a_smoothed_loss_about_the_middle_are_its_pointwise_form(name):
    problem, smooth, y, z = smoothing_problem(*KINKED[name], 3.0)
    blocks = problem.smoothed(smooth, smooth.middles(problem.targets()))
    points = np.array([smooth.evaluate_point(*pair) for pair in zip(y, z[:, 0])])
    assert_allclose(
        blocks.line(z, np.zeros_like(z), 0.0)[0], points[:, 0].mean(), rtol=1e-13
    )
    assert_allclose(blocks.slopes(z)[:, 0], points[:, 1], rtol=1e-14, atol=1e-15)
    assert_allclose(blocks.mean_curvature(z), points[:, 2].mean(), rtol=1e-14)


@pytest.mark.parametrize("name", KINKED)
def test_a_smoothed_loss_touches_the_loss_where_the_centre_is_its_slope(name):
    problem, smooth, y, z = smoothing_problem(*KINKED[name], 3.0)
    flat = np.zeros_like(z)
    away = np.abs(
        z[:, 0][:, None] - np.array([breaks(problem.loss, t) for t in y])
    ).min(axis=1)
    z = z + 0.01 * (away < 1e-9)[:, None]
    touching = problem.smoothed(smooth, problem.slopes(z))
    assert_allclose(
        touching.line(z, flat, 0.0)[0], problem.line(z, flat, 0.0)[0], rtol=1e-13
    )
    assert_allclose(touching.slopes(z), problem.slopes(z), rtol=1e-13, atol=1e-13)


# -- softmax ---------------------------------------------------------------------------


def softmax_data(n_classes):
    rng = np.random.RandomState(n_classes)
    return rng.randint(n_classes, size=40).astype(float), 3 * rng.randn(40, n_classes)


@pytest.mark.parametrize("n_classes", [2, 3, 7])
def test_softmax_gradient_sums_to_zero_and_is_the_slope_of_the_value(n_classes):
    y, z = softmax_data(n_classes)
    loss = Multinomial()
    _, d, h = loss.evaluate(y, z)
    assert_allclose(d.sum(axis=1), 0.0, atol=1e-15 * n_classes)
    assert ((h >= 0) & (h <= loss.curvature_bound)).all()
    for k in range(n_classes):
        along = np.eye(n_classes)[k]
        for i in range(5):
            point = lambda t: loss.evaluate(y[i : i + 1], z[i : i + 1] + t * along)
            slope = difference(lambda t: point(t)[0], 0.0)
            assert_allclose(d[i, k], slope, atol=1e-11)
            assert_allclose(
                h[i, k], difference(lambda t: point(t)[1][0, k], 0.0), atol=1e-11
            )


@pytest.mark.parametrize("n_classes", [2, 3, 7])
def test_softmax_is_scikit_learns_multinomial_loss(n_classes):
    y, z = softmax_data(n_classes)
    theirs = HalfMultinomialLoss(n_classes=n_classes)
    value, gradient = theirs.loss_gradient(y, z)
    total, d, _ = Multinomial().evaluate(y, z)
    assert_allclose(total, value.sum(), rtol=1e-13)
    assert_allclose(d, gradient, rtol=1e-12, atol=1e-14)


def test_softmax_of_two_classes_is_the_logistic_loss_of_the_difference():
    y, z = softmax_data(2)
    total, d, _ = Multinomial().evaluate(y, z)
    log_loss, slope, _ = LOSSES["log_loss"]().evaluate(y, z[:, 1] - z[:, 0])
    assert_allclose(total, log_loss, rtol=1e-13)
    assert_allclose(d[:, 1], slope, rtol=1e-12, atol=1e-15)


def test_softmax_depends_on_differences_only_and_stays_finite_far_out():
    y, z = softmax_data(3)
    for shift in (-1e4, 1e4):
        assert_allclose(
            Multinomial().evaluate(y, z + shift)[1],
            Multinomial().evaluate(y, z)[1],
            atol=1e-11,
        )
    total, d, h = Multinomial().evaluate(y, np.sign(z) * 1e4)
    assert np.isfinite(total) and np.isfinite(d).all() and np.isfinite(h).all()


def test_the_softmax_curvature_bound_holds_in_every_direction():
    y, z = softmax_data(5)
    _, d, _ = Multinomial().evaluate(y, z)
    p = d + np.eye(5)[y.astype(int)]
    for row in p:
        largest = np.linalg.eigvalsh(np.diag(row) - np.outer(row, row))[-1]
        assert largest <= Multinomial.curvature_bound


# -- scikit-learn's losses -------------------------------------------------------------

# the same function, up to a term in y alone
SAME_SLOPES = {
    "squared_error": (HalfSquaredError(), {}),
    "absolute_error": (AbsoluteError(), {}),
    "quantile": (PinballLoss(quantile=0.8), {"quantile": 0.8}),
    "poisson": (HalfPoissonLoss(), {}),
    "gamma": (HalfGammaLoss(), {}),
    "tweedie": (HalfTweedieLoss(power=1.3), {"power": 1.3}),
    "log_loss": (HalfBinomialLoss(), {}),
    "huber": (HuberLoss(delta=0.6), {"epsilon": 0.6}),
}
SAME_SGD = {
    "hinge": (_sgd_fast.Hinge(1.0), {}),
    "perceptron": (_sgd_fast.Hinge(0.0), {}),
    "squared_hinge": (_sgd_fast.SquaredHinge(), {}),
    "modified_huber": (_sgd_fast.ModifiedHuber(), {}),
    "epsilon_insensitive": (_sgd_fast.EpsilonInsensitive(0.1), {"epsilon": 0.1}),
    "squared_epsilon_insensitive": (
        _sgd_fast.SquaredEpsilonInsensitive(0.1),
        {"epsilon": 0.1},
    ),
}


@pytest.mark.parametrize("name", SAME_SLOPES)
def test_values_and_slopes_are_those_of_scikit_learns_losses(name):
    theirs, parameters = SAME_SLOPES[name]
    ours = LOSSES[name](**parameters)
    theirs.delta = (
        0.6  # scikit-learn's Huber loss takes it anew in every boosting round
    )
    z = GRID + 0.011
    for y in TARGETS[ours.targets]:
        value, slope = theirs.loss_gradient(np.full(z.size, y), z)
        values, slopes, _ = at(ours, y, z)
        assert_allclose(slopes, slope, rtol=1e-12, atol=1e-14)
        assert_allclose(values - values[0], value - value[0], rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("name", SAME_SGD)
def test_values_and_slopes_are_those_of_scikit_learns_sgd(name):
    theirs, parameters = SAME_SGD[name]
    ours = LOSSES[name](**parameters)
    for y in TARGETS[ours.targets]:
        z = np.append(GRID, breaks(ours, y))
        values, slopes, _ = at(ours, y, z)
        assert_allclose(values, [theirs.py_loss(p, y) for p in z], rtol=1e-14)
        if name in ("epsilon_insensitive", "squared_epsilon_insensitive"):
            z, slopes = (
                GRID + 0.011,
                at(ours, y, GRID + 0.011)[1],
            )  # rounding at the border
        assert_allclose(slopes, [theirs.py_dloss(p, y) for p in z], rtol=1e-14)


def test_smooth_hinge_and_log_cosh_have_their_published_values():
    assert_allclose(
        at(LOSSES["smooth_hinge"](), 1.0, [-1.0, 0.0, 0.5, 1.0, 2.0])[0],
        [1.5, 0.5, 0.125, 0.0, 0.0],
    )
    assert_allclose(
        at(LOSSES["log_cosh"](), 0.0, [-2.0, 0.0, 1e-3, 30.0])[0],
        [np.log(np.cosh(2)), 0.0, 5e-7 - 1e-12 / 12, 30 - np.log(2)],
        rtol=1e-9,
    )


# -- the registry and the public objects -----------------------------------------------


def test_the_registry_has_every_loss_under_its_own_name():
    assert set(LOSSES) == {
        "squared_error",
        "huber",
        "epsilon_insensitive",
        "squared_epsilon_insensitive",
        "absolute_error",
        "quantile",
        "log_cosh",
        "poisson",
        "gamma",
        "tweedie",
        "log_loss",
        "hinge",
        "squared_hinge",
        "smooth_hinge",
        "modified_huber",
        "perceptron",
    }
    for name, cls in LOSSES.items():
        assert cls.name == name and cls.targets in TARGETS
        assert cls.link in ("identity", "log", "logit")
        cls(**cls.parameters)


@pytest.mark.parametrize("kind", losses._BuiltIn.__subclasses__())
def test_a_public_loss_has_the_parameters_and_values_of_the_compiled_one(kind):
    loss = kind()
    assert loss.get_params() == LOSSES[kind.name].parameters
    y = TARGETS[LOSSES[kind.name].targets][-1]
    values, slopes, _ = at(loss.compiled(), y, GRID)
    assert_array_equal(loss.value(y, GRID), values)
    assert_array_equal(loss.derivative(y, GRID), slopes)
