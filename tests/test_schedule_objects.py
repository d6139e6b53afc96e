"""Schedule objects give the rates of their formulas, in passes, to every step optimizer."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.datasets import load_diabetes
from sklearn.model_selection import GridSearchCV
from sklearn.preprocessing import scale

from sgdest import GDRegressor
from sgdest.optimizers import STEP_OPTIMIZERS, Adam
from sgdest.schedules import Cosine, Exponential, OneCycle, Schedule, Step, WarmUp

X, Y = load_diabetes(return_X_y=True)
X, Y = scale(X), scale(Y)
ALL = [Step(), Exponential(), Cosine(), OneCycle(), WarmUp(Cosine()), WarmUp(0.1)]

# schedule, passes, rates: torch's StepLR, ExponentialLR, CosineAnnealingLR, OneCycleLR by hand
VALUES = [
    (Step(0.8, every=2, factor=0.5), [0, 1.9, 2, 4, 5], [0.8, 0.8, 0.4, 0.2, 0.2]),
    (Exponential(2.0, factor=0.5), [0, 1, 3], [2.0, 1.0, 0.25]),
    (Cosine(1.0, horizon=10), [0, 5, 10, 11], [1.0, 0.5, 0.0, 0.0]),
    (Cosine(1.0, horizon=3, end=0.5), [0, 1, 3], [1.0, 0.875, 0.5]),
    (OneCycle(1.0, horizon=10), [0, 1.5, 3, 6.5, 10, 12],
     [0.04, 0.52, 1.0, 0.500002, 4e-6, 4e-6]),
    (WarmUp(0.4, passes=4), [0, 1, 4, 9], [0.0, 0.1, 0.4, 0.4]),
]


@pytest.mark.parametrize("schedule, passes, rates", VALUES, ids=str)
def test_rates_are_those_of_the_formula(schedule, passes, rates):
    assert_allclose([schedule.at(p) for p in passes], rates, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("schedule", ALL, ids=str)
def test_rates_are_finite_and_not_negative_however_long(schedule):
    rates = np.array([schedule(t, 7) for t in (1, 2, 10, 10**4, 10**12)])
    assert np.isfinite(rates).all() and (rates >= 0).all()
    assert schedule(1, 7) > 0


@pytest.mark.parametrize("optimizer", STEP_OPTIMIZERS)
@pytest.mark.parametrize("schedule", ALL, ids=str)
def test_every_optimizer_takes_every_schedule(optimizer, schedule):
    size = "auto" if optimizer == "gd" else 50
    model = GDRegressor(
        optimizer=optimizer, learning_rate=schedule, batch_size=size, max_iter=4, tol=None
    ).fit(X, Y)
    updates = 1 if size == "auto" else 9
    assert_allclose(
        model.history_["learning_rate"],
        [schedule(max(p * updates, 1), updates) for p in range(1, 5)],
        rtol=1e-12,
    )


def test_a_horizon_is_run_to_whatever_tol():
    settings = {"optimizer": "adam", "tol": 1.0}
    assert GDRegressor(learning_rate=Cosine(horizon=30), **settings).fit(X, Y).n_iter_ == 30
    assert GDRegressor(learning_rate=Exponential(), **settings).fit(X, Y).n_iter_ < 10


def test_parameters_of_a_schedule_can_be_searched():
    model = GDRegressor(optimizer=Adam(Cosine(0.1, horizon=5)), max_iter=5, tol=None)
    search = GridSearchCV(model, {"optimizer__learning_rate__eta0": [1e-6, 0.1]}, cv=3)
    best = search.fit(X, Y).best_params_
    assert best == {"optimizer__learning_rate__eta0": 0.1}


def test_a_schedule_of_ones_own_is_one_method():
    class Falling(Schedule):
        def at(self, passes):
            return 0.1 / (1 + passes)

    model = GDRegressor(learning_rate=Falling(), batch_size=None, max_iter=3, tol=None)
    assert_allclose(model.fit(X, Y).history_["learning_rate"], [0.1, 0.05, 0.1 / 3])


@pytest.mark.parametrize(
    "schedule, message",
    [
        (Cosine(-1.0), "eta0 of Cosine must be a finite number >= 0; got -1.0"),
        (Step(every=0), "every of Step must be > 0"),
        (WarmUp(Exponential(factor=-0.5)), "factor of Exponential"),
    ],
)
def test_wrong_parameters_are_named(schedule, message):
    with pytest.raises(ValueError, match=message):
        GDRegressor(learning_rate=schedule).fit(X, Y)
