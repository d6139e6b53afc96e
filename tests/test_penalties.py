"""Every penalty has its value, its proximal point and its exact flow."""

import itertools

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from sgdest._core.penalties import PENALTIES

ALPHA, L1_RATIO = 0.3, 0.4
FACTORS = {"alike": None, "factors": np.array([0.0, 0.5, 1.0, 2.0, 10.0, 1.0])}
EPS = np.finfo(float).eps
LENGTHS = [0.0, 1e-9, 1e-4, 2e-3, 0.1, 1.0, 7.0, 100.0]


@pytest.fixture(
    params=list(itertools.product(PENALTIES, [False, True], FACTORS)),
    ids=lambda p: f"{p[0]}-{'positive' if p[1] else 'signed'}-{p[2]}",
)
def penalty(request):
    name, positive, factors = request.param
    return PENALTIES[name](ALPHA, L1_RATIO, positive, FACTORS[factors])


def parameters(n_outputs=2, scale=1.0):
    """Numbers of many sizes, and exact zeros."""
    rng = np.random.RandomState(n_outputs)
    W = (
        scale
        * rng.randn(6, n_outputs)
        * 10.0 ** rng.randint(-6, 3, size=(6, n_outputs))
    )
    W[2, 0], W[0, -1] = 0.0, 0.0
    return W


def factors_of(penalty):
    return np.ones((6, 1)) if penalty.factors is None else penalty.factors[:, None]


def strengths(penalty):
    """What l1 and l2 should be, by the definition of the penalty."""
    l1 = {None: 0.0, "l2": 0.0, "l1": ALPHA, "elasticnet": ALPHA * L1_RATIO}[
        penalty.name
    ]
    l2 = {None: 0.0, "l2": ALPHA, "l1": 0.0, "elasticnet": ALPHA * (1 - L1_RATIO)}[
        penalty.name
    ]
    return l1, l2


def test_the_registry_has_every_penalty_and_none():
    assert list(PENALTIES) == [None, "l2", "l1", "elasticnet"]


def test_value_is_the_formula(penalty):
    W, c = np.abs(parameters()), factors_of(penalty)
    l1, l2 = strengths(penalty)
    expected = l1 * np.abs(c * W).sum() + 0.5 * l2 * (c**2 * W**2).sum()
    assert_allclose(penalty.value_of(W), expected, rtol=1e-14)
    assert_allclose((penalty.l1, penalty.l2), (l1, l2), rtol=1e-15)


@pytest.mark.parametrize("l1_ratio", [0.0, 1.0])
def test_elastic_net_ends_in_l2_and_l1(l1_ratio):
    W = parameters()
    net = PENALTIES["elasticnet"](ALPHA, l1_ratio)
    end = PENALTIES["l1" if l1_ratio else "l2"](ALPHA)
    assert net.value_of(W) == end.value_of(W)
    assert_array_equal(net.shrink_of(W, 0.7), end.shrink_of(W, 0.7))
    assert_array_equal(net.proximal_of(W, 0.7), end.proximal_of(W, 0.7))


@pytest.mark.parametrize("s, t", list(itertools.product(LENGTHS, LENGTHS)))
def test_shrinking_twice_is_shrinking_for_both_lengths(penalty, s, t):
    W = parameters()
    if penalty.positive:
        W = np.abs(W)
    twice, once = penalty.shrink_of(penalty.shrink_of(W, s), t), penalty.shrink_of(
        W, s + t
    )
    # three roundings of each size, and of what l1 takes off in all
    taken = penalty.l1 * factors_of(penalty) * (s + t)
    assert (
        np.abs(twice - once) <= 4 * EPS * (np.abs(W) + np.minimum(taken, np.abs(W)))
    ).all()


@pytest.mark.parametrize("length", LENGTHS)
def test_shrinking_is_the_flow_in_closed_form(penalty, length):
    W, c = parameters(), factors_of(penalty)
    l1, l2 = strengths(penalty)
    rate = l2 * c**2
    taken = np.where(
        rate > 0, -np.expm1(-rate * length) / np.where(rate > 0, rate, 1.0), length
    )
    size = np.maximum(0.0, np.abs(W) * np.exp(-rate * length) - l1 * c * taken)
    expected = np.sign(W) * size
    if penalty.positive:
        expected = np.maximum(expected, 0.0)
    assert (
        np.abs(penalty.shrink_of(W, length) - expected) <= 4 * EPS * np.abs(W)
    ).all()


@pytest.mark.parametrize("length", [100.0, np.full(6, 100.0)], ids=["one", "each"])
@pytest.mark.parametrize("name", [name for name in PENALTIES if name])
@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize("n_outputs", [1, 2])
def test_a_penalty_that_overflows_leaves_no_weight(name, positive, n_outputs, length):
    penalty = PENALTIES[name](1e308, L1_RATIO, positive)
    W = penalty.shrink_of(parameters(n_outputs), length)
    assert_array_equal(W, np.zeros((6, n_outputs)))


@pytest.mark.parametrize("length", [0.05, 2.0])
def test_shrinking_is_the_limit_of_many_small_proximal_steps(penalty, length):
    W = parameters()
    errors = []
    for n in (500, 1000):
        V = W
        for _ in range(n):
            V = penalty.proximal_of(V, length / n)
        errors.append(np.abs(V - penalty.shrink_of(W, length)))
    # backward Euler is of first order: twice the steps, half the error
    assert (errors[1] <= 0.55 * errors[0] + 1e-12 * np.abs(W)).all()


def test_shrinking_starts_along_minus_the_gradient(penalty):
    W, c = np.abs(parameters()) + 0.1, factors_of(penalty)
    l1, l2 = strengths(penalty)
    h = 1e-7
    slope = (penalty.shrink_of(W, h) - W) / h
    gradient = l1 * c + l2 * c**2 * W
    # off by h/2 times the second derivative, and by the rounding of W over h
    allowed = h * l2 * c**2 * gradient + 2 * EPS * W / h
    assert (np.abs(slope + gradient) <= allowed).all()


def test_a_length_per_feature_is_as_good_as_one_for_all(penalty):
    W = parameters(3)
    for length in LENGTHS:
        each = penalty.shrink_of(W, np.full(6, length))
        assert (
            np.abs(each - penalty.shrink_of(W, length)) <= 4 * EPS * np.abs(W)
        ).all()
    lengths = np.array([0.0, 0.1, 1e-5, 2.0, 0.3, 50.0])
    apart = penalty.shrink_of(W, lengths)
    for j, length in enumerate(lengths):
        expected = penalty.shrink_of(W, length)[j]
        assert (np.abs(apart[j] - expected) <= 4 * EPS * np.abs(W[j])).all()


def test_zero_stays_exactly_zero(penalty):
    zeros = np.zeros((6, 2))
    for length in LENGTHS:
        assert_array_equal(penalty.shrink_of(zeros, length), zeros)
        assert_array_equal(penalty.proximal_of(zeros, length), zeros)


def test_shrinking_never_crosses_zero_and_never_grows(penalty):
    W = parameters()
    for length in LENGTHS:
        for V in (penalty.shrink_of(W, length), penalty.proximal_of(W, length)):
            assert (V * W >= 0).all() and (np.abs(V) <= np.abs(W)).all()
            assert not penalty.positive or (V >= 0).all()


def test_l1_gives_exact_zeros_once_the_length_reaches_the_size():
    W = parameters()
    size = np.abs(W)
    for name, l2 in (("l1", 0.0), ("elasticnet", ALPHA * (1 - L1_RATIO))):
        penalty = PENALTIES[name](ALPHA, L1_RATIO)
        time = size / penalty.l1 if l2 == 0.0 else np.log1p(size * l2 / penalty.l1) / l2
        for j, k in np.ndindex(W.shape):
            if size[j, k] > 0:
                assert penalty.shrink_of(W, time[j, k] * (1 + 1e-9))[j, k] == 0.0
                assert penalty.shrink_of(W, time[j, k] * (1 - 1e-9))[j, k] != 0.0


def test_a_length_of_zero_changes_nothing_but_forbidden_signs(penalty):
    W = parameters()
    expected = np.maximum(W, 0.0) if penalty.positive else W
    assert_array_equal(penalty.shrink_of(W, 0.0), expected)
    assert_array_equal(penalty.proximal_of(W, 0.0), expected)


@pytest.mark.parametrize("step", [1e-6, 0.1, 1.0, 30.0])
def test_the_proximal_point_satisfies_its_optimality_condition(penalty, step):
    W, c = parameters(), factors_of(penalty) * np.ones((6, 2))
    l1, l2 = strengths(penalty)
    V = penalty.proximal_of(W, step)
    smooth = V - W + step * l2 * c**2 * V
    slack = step * l1 * c
    rounding = 4 * EPS * (np.abs(W) + slack)
    at_zero, above, below = V == 0, V > 0, V < 0
    assert (np.abs(smooth + slack)[above] <= rounding[above]).all()
    assert (np.abs(smooth - slack)[below] <= rounding[below]).all()
    # 0 is in smooth + [-slack, slack]; with positive only moving up must not pay
    assert (smooth + slack >= -rounding)[at_zero].all()
    assert penalty.positive or (smooth - slack <= rounding)[at_zero].all()


@pytest.mark.parametrize("step", [0.1, 3.0])
def test_no_point_nearby_is_better_than_the_proximal_one(penalty, step):
    W = parameters()
    V = penalty.proximal_of(W, step)

    def objective(V):
        return 0.5 * ((V - W) ** 2).sum() + step * penalty.value_of(V)

    rng = np.random.RandomState(0)
    for size in (1e-3, 1.0):
        for _ in range(20):
            other = V + size * rng.randn(*V.shape)
            if penalty.positive:
                other = np.maximum(other, 0.0)
            assert objective(other) >= objective(V) * (1 - 1e-14)


@pytest.mark.parametrize("x", [1e-12, 1e-6, 9.999e-4, 1.001e-3, 0.1, 1.0, 40.0])
def test_the_decay_of_l2_is_the_exponential_on_both_sides_of_its_series(x):
    shrunk = PENALTIES["l2"](1.0).shrink_of(np.array([[1.0]]), x)
    assert_allclose(shrunk, np.exp(-x), rtol=0, atol=2 * EPS)  # of the size before
    lost = PENALTIES["elasticnet"](2.0, 0.5).shrink_of(np.array([[1e3]]), x)
    expected = max(0.0, 1e3 * np.exp(-x) + np.expm1(-x))
    assert_allclose(lost, expected, rtol=0, atol=4e3 * EPS)
    assert_allclose(1 - shrunk, -np.expm1(-x), rtol=0, atol=2 * EPS)


def test_no_penalty_does_nothing_but_keep_signs():
    W = parameters()
    assert_array_equal(PENALTIES[None](ALPHA, L1_RATIO).shrink_of(W, 5.0), W)
    assert_array_equal(
        PENALTIES[None](positive=True).shrink_of(W, 5.0), np.maximum(W, 0.0)
    )
    assert PENALTIES[None](ALPHA).value_of(W) == 0.0


def test_a_factor_of_zero_frees_a_feature():
    W = parameters()
    for name in ("l2", "l1", "elasticnet"):
        penalty = PENALTIES[name](ALPHA, L1_RATIO, False, FACTORS["factors"])
        assert_array_equal(penalty.shrink_of(W, 3.0)[0], W[0])
        assert_array_equal(penalty.proximal_of(W, 3.0)[0], W[0])
