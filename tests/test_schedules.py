"""Every schedule gives positive finite rates: those that scikit-learn publishes."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from sgdest import GDRegressor
from sgdest._core.schedules import SCHEDULES, Function, Harmonic, Settling
from sgdest.schedules import compile_schedule

ETA0, POWER_T, ALPHA = 0.3, 0.25, 1e-3
KNOWN = {"eta0": ETA0, "power_t": POWER_T, "alpha": ALPHA}
TIMES = [1, 2, 3, 10, 1000, 10**6, 10**9, 10**12]


def made(name, **changes):
    known = {**KNOWN, **changes}
    return SCHEDULES[name](**{p: known[p] for p in SCHEDULES[name].parameters})


BY_TIME = [name for name in SCHEDULES if not made(name).needs_row]
BY_ROW = [name for name in SCHEDULES if made(name).needs_row]


def test_the_registry_has_scikit_learns_schedules():
    assert BY_TIME == ["constant", "optimal", "invscaling", "adaptive"]
    assert BY_ROW == ["pa1", "pa2"]


@pytest.mark.parametrize("name", BY_TIME)
@pytest.mark.parametrize("size", [1e-8, 1e-3, 1.0, 1e3])
def test_rates_are_positive_finite_and_never_rise(name, size):
    schedule = made(name, eta0=size, alpha=size)
    rates = np.array([schedule.rate(t) for t in TIMES])
    assert np.isfinite(rates).all() and (rates > 0).all()
    assert (np.diff(rates) <= 0).all()


@pytest.mark.parametrize("name", BY_ROW)
@pytest.mark.parametrize("square_norm", [0.0, 1e-300, 1e-8, 1.0, 1e8])
@pytest.mark.parametrize("loss", [0.0, 1e-8, 1.0, 1e4])
def test_rates_of_rows_are_finite_and_never_negative(name, loss, square_norm):
    rate = made(name).rate_of_row(loss, square_norm)
    assert np.isfinite(rate) and rate >= 0.0
    assert rate > 0.0 or loss == 0.0 or square_norm == 0.0


@pytest.mark.parametrize("t", TIMES)
def test_rates_are_those_that_scikit_learn_publishes(t):
    # User guide, "Stochastic Gradient Descent"; Bottou's t0 as in _sgd_fast.pyx
    typical = np.sqrt(1.0 / np.sqrt(ALPHA))
    optimal_init = 1.0 / (typical * ALPHA)
    assert_allclose(made("constant").rate(t), ETA0, rtol=0)
    assert_allclose(made("adaptive").rate(t), ETA0, rtol=0)
    assert_allclose(made("invscaling").rate(t), ETA0 / t**POWER_T, rtol=1e-14)
    assert_allclose(
        made("optimal").rate(t), 1.0 / (ALPHA * (optimal_init + t - 1)), rtol=1e-14
    )


def test_rates_at_chosen_updates_worked_out_by_hand():
    assert_allclose(SCHEDULES["optimal"](1e-4).rate(1), 10.0, rtol=1e-14)
    assert_allclose(SCHEDULES["optimal"](1e-4).rate(1001), 5.0, rtol=1e-14)
    assert_allclose(SCHEDULES["invscaling"](0.5, 0.5).rate(16), 0.125, rtol=1e-14)
    assert_allclose(SCHEDULES["pa1"](2.0).rate_of_row(3.0, 4.0), 0.75, rtol=1e-14)
    assert_allclose(SCHEDULES["pa1"](0.5).rate_of_row(3.0, 4.0), 0.5, rtol=1e-14)
    assert_allclose(SCHEDULES["pa2"](2.0).rate_of_row(3.0, 4.0), 3.0 / 4.25, rtol=1e-14)
    assert SCHEDULES["pa1"](1.0).rate_of_row(3.0, 0.0) == 0.0
    assert_allclose(Harmonic(2.0, 10.0, 0.75).rate(30), 2.0 / 4.0**0.75, rtol=1e-14)
    assert Harmonic(2.0, 10.0, 0.0).rate(10**12) == 2.0


def test_adaptive_divides_by_five_down_to_a_millionth():
    schedule = SCHEDULES["adaptive"](1.0)
    rates = [schedule.rate(1)]
    while schedule.lower_rate():
        rates.append(schedule.rate(1))
    # lowered while above 1e-6: 5^-8 is, 5^-9 is not
    assert_allclose(rates, 5.0 ** -np.arange(10), rtol=1e-14)
    assert not schedule.lower_rate() and schedule.rate(1) == rates[-1]


@pytest.mark.parametrize("name", [n for n in SCHEDULES if n != "adaptive"])
def test_the_other_named_schedules_do_not_answer_a_stall(name):
    schedule = made(name)
    before = [schedule.rate(t) for t in TIMES]
    assert not schedule.lower_rate()
    assert_array_equal([schedule.rate(t) for t in TIMES], before)


def test_harmonic_answers_a_divergence_by_halves():
    schedule = Harmonic(1.0, 10.0, 0.75)
    assert schedule.lower_rate()
    assert_allclose(schedule.rate(5), Harmonic(0.5, 10.0, 0.75).rate(5), rtol=0)


def test_rates_fall_on_a_line_to_the_end_of_a_fit():
    rates = [Harmonic(2.0, 10.0, 0.0, 4, 8).rate(t) for t in range(1, 11)]
    assert_allclose(rates, [2.0, 2.0, 2.0, 2.0, 1.6, 1.2, 0.8, 0.4, 0.0, 0.0], atol=1e-15)
    assert [Harmonic(2.0, 10.0, 0.0, 4, 8).is_ending(t) for t in (3, 4)] == [False, True]


@pytest.mark.parametrize("noise, ends", [(0.05, True), (0.01, False)])
def test_a_rate_falls_to_an_end_where_its_noise_is_worth_what_passes_gain(noise, ends):
    schedule = Settling(1.0, lambda eta: noise * eta, np.inf, 20, 40)
    rates = [schedule.rate(t) for t in range(1, 41) if not schedule.after_pass(9.0 - 0.01 * t)]
    assert rates[:20] == [1.0] * 20
    assert rates[-1] == (pytest.approx(1 / 20, rel=0.2) if ends else 1.0)


def settled(gains, hover=lambda eta: 0.1 * eta, n_passes=40):
    """The rates of the passes of a fit whose objective comes down by ``gains(k)``."""
    schedule, rates, objective = Settling(1.0, hover), [], 10.0
    for k in range(1, n_passes + 1):
        assert not schedule.after_pass(objective)
        rates.append(schedule.rate(k))
        objective -= gains(k)
    return np.array(rates)


def test_a_rate_stays_while_the_passes_gain_more_than_its_noise_costs():
    assert (settled(lambda k: 0.2) == 1.0).all()
    assert (settled(lambda k: 0.0, hover=lambda eta: 0.0) == 1.0).all()


def test_a_rate_that_gains_nothing_is_halved_ever_more_rarely():
    rates = settled(lambda k: 0.0)
    passes = 1 + np.flatnonzero(np.diff(np.append(1.0, rates)))
    assert_array_equal(passes, [2, 4, 6, 9, 13, 19, 28])
    assert rates[-1] == 2.0**-7


def test_a_pass_above_the_constant_model_is_taken_back_for_half_the_rate():
    schedule = Settling(1.0, lambda eta: 0.0, 2.0)
    assert not schedule.after_pass(1.9)
    assert schedule.after_pass(2.1) and schedule.rate(1) == 0.5


def test_a_stream_after_a_fit_takes_up_its_rate_and_lowers_it():
    schedule = Settling(0.3, lambda eta: 0.0)
    assert schedule.rate(500) == 0.3
    stream = Harmonic(*schedule.state())
    assert_allclose([stream.rate(500), stream.rate(1500)], [0.3, 0.3 * 0.5**0.75], rtol=1e-12)


@pytest.mark.parametrize("lowered", [0, 1, 4])
@pytest.mark.parametrize(
    "make",
    [lambda: made("adaptive"), lambda: Harmonic(1.0, 10.0, 0.75)],
    ids=["adaptive", "harmonic"],
)
def test_a_restored_schedule_goes_on_where_the_state_was_taken(make, lowered):
    first, second = make(), make()
    for _ in range(lowered):
        first.lower_rate()
    second.restore(first.state())
    assert_array_equal([second.rate(t) for t in TIMES], [first.rate(t) for t in TIMES])
    second.lower_rate()
    first.lower_rate()
    assert second.rate(7) == first.rate(7)


@pytest.mark.parametrize("name", [n for n in SCHEDULES if n != "adaptive"])
def test_schedules_that_never_change_have_no_state(name):
    assert made(name).state() is None


def test_a_function_is_asked_for_each_update_by_its_whole_number():
    seen = []
    schedule = Function(lambda t: seen.append(t) or 1.0 / t)
    assert [schedule.rate(t) for t in (1, 2, 3)] == [1.0, 0.5, 1.0 / 3.0]
    assert seen == [1, 2, 3] and all(type(t) is int for t in seen)


@pytest.mark.parametrize("value", [-1.0, np.nan, np.inf, -np.inf, "fast", None])
def test_a_function_that_gives_no_rate_stops_with_the_reason(value):
    schedule = Function(lambda t: value)
    assert schedule.rate(3) == 0.0
    assert isinstance(schedule.error, (ValueError, TypeError))
    assert isinstance(value, (str, type(None))) or "t=3" in str(schedule.error)


def test_a_function_is_not_asked_again_after_an_error():
    seen = []
    schedule = Function(lambda t: seen.append(t) or 1 / 0)
    assert [schedule.rate(t) for t in (1, 2, 3)] == [0.0] * 3
    assert seen == [1] and isinstance(schedule.error, ZeroDivisionError)


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_name_compiles_to_its_schedule_with_what_it_takes(name):
    schedule = compile_schedule(name, eta0=ETA0, power_t=POWER_T, alpha=ALPHA)
    assert type(schedule) is SCHEDULES[name]
    assert schedule.rate(5) == made(name).rate(5)
    assert schedule.rate_of_row(1.0, 2.0) == made(name).rate_of_row(1.0, 2.0)


def test_a_number_and_a_function_compile_to_schedules():
    known = dict(eta0=ETA0, power_t=POWER_T, alpha=ALPHA)
    assert compile_schedule(0.125, **known).rate(10**12) == 0.125
    assert compile_schedule(np.float32(0.5), **known).rate(1) == 0.5
    assert compile_schedule(lambda t: t / 8, **known).rate(2) == 0.25


@pytest.mark.parametrize(
    "before, after",
    [("auto", "adaptive"), ("adaptive", "auto"), ("adaptive", "constant")],
)
def test_a_change_of_schedule_between_calls_starts_the_other_one_anew(before, after):
    X, y = np.array([[1.0], [2.0], [4.0]]), np.array([1.0, 0.0, 1.0])
    model = GDRegressor(
        optimizer="sgd",
        learning_rate=before,
        eta0=0.01,
        shuffle=False,
        max_iter=2,
        tol=None,
    ).fit(X, y)
    other = GDRegressor(optimizer="sgd", learning_rate=after, eta0=0.01, shuffle=False)
    other.partial_fit(X, y)
    other.coef_, other.intercept_ = model.coef_, model.intercept_
    model.set_params(learning_rate=after).partial_fit(X, y)
    other.partial_fit(X, y)
    if (
        after != "auto"
    ):  # whose rate goes on falling with the updates, of which there were more
        assert_allclose(model.coef_, other.coef_, rtol=1e-14)
    assert np.isfinite(model.coef_).all()
