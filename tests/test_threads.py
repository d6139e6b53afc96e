"""Threads that share the parts of a mini-batch: the same model, whoever takes which part."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from sgdest import GDClassifier, GDRegressor
from sgdest._core import team
from sgdest._core.labels import encode
from sgdest._core.rows import surely_finite
from sgdest.optimizers import STEP_OPTIMIZERS

rng = np.random.default_rng(0)
# enough for threads (2**20 numbers); rows of 2.4 and 5.6 kB are walked over in two ways
NARROW, WIDE = rng.normal(size=(4000, 300)), rng.normal(size=(1600, 700))


def labels(X):
    return X[:, :5].sum(axis=1) + rng.normal(size=len(X)) > 0


def assert_same_fits(X, y, n_jobs, **settings):
    """Fits on one thread and on several are the same to the last bit."""
    settings = {"max_iter": 3, "tol": None, "random_state": 0, **settings}
    one = GDClassifier(n_jobs=1, **settings).fit(X, y)
    for n in n_jobs:
        other = GDClassifier(n_jobs=n, **settings).fit(X, y)
        assert_array_equal(one.coef_, other.coef_)
        assert_array_equal(one.intercept_, other.intercept_)
        assert_array_equal(one.history_["objective"], other.history_["objective"])
    return one


@pytest.mark.parametrize("optimizer", STEP_OPTIMIZERS)
@pytest.mark.parametrize("X", [NARROW, WIDE], ids=["narrow", "wide"])
def test_a_fit_does_not_depend_on_the_threads(X, optimizer):
    assert_same_fits(X, labels(X), (2, 5), optimizer=optimizer)


@pytest.mark.parametrize("batch_size", [1, 7, 32, 100, 257, 1000, 4000])
def test_nor_in_batches_of_any_size(batch_size):
    assert_same_fits(NARROW, labels(NARROW), (2, 3), optimizer="momentum", batch_size=batch_size)


@pytest.mark.parametrize("dtype", [np.float32, np.uint8, np.int8])
def test_nor_for_any_type_of_data(dtype):
    for X in (NARROW, WIDE):
        X = np.clip(20 * X + 50, 0, 100).astype(dtype)
        assert_same_fits(X, X[:, 0] > 50, (2,), optimizer="adam", batch_size=200)


def test_a_batch_in_parts_has_the_gradient_of_all_its_rows():
    X, y = NARROW, NARROW[:, :5].sum(axis=1) + rng.normal(size=4000)
    s = rng.uniform(0.5, 2.0, size=4000)
    w, b = np.zeros(300), 0.0
    for start in range(0, 4000, 250):
        rows = slice(start, start + 250)
        d = s[rows] * (X[rows] @ w + b - y[rows]) / s.mean() / 250
        w, b = w - 0.1 * X[rows].T @ d, b - 0.1 * d.sum()
    model = GDRegressor(optimizer="sgd", learning_rate=0.1, batch_size=250, penalty=None, tol=None,
                        max_iter=1, shuffle=False, n_jobs=2).fit(X, y, sample_weight=s)
    np.testing.assert_allclose(model.coef_, w, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(model.intercept_, b, rtol=1e-10)


def test_a_stream_does_not_depend_on_the_threads():
    y = labels(NARROW)
    models = [GDClassifier(optimizer="adam", learning_rate=0.01, n_jobs=n, random_state=0)
              for n in (1, 2)]
    for model in models:
        for _ in range(3):
            model.partial_fit(NARROW, y, classes=[False, True])
    assert_array_equal(models[0].coef_, models[1].coef_)


def test_helpers_that_never_begin_are_not_waited_for(monkeypatch):
    busy, free = ThreadPoolExecutor(1), threading.Event()
    busy.submit(free.wait)
    monkeypatch.setattr(team, "pool_of", lambda n_threads: busy)
    try:
        assert_same_fits(NARROW, labels(NARROW), (2,), optimizer="sgd", batch_size=256)
    finally:
        free.set()
        busy.shutdown()


def test_no_more_threads_are_kept_awake_than_there_are_parts(monkeypatch):
    asked, pool_of = [], team.pool_of
    monkeypatch.setattr(team, "pool_of", lambda n_threads: asked.append(n_threads) or pool_of(n_threads))
    shared = dict(optimizer="sgd", max_iter=1, tol=None, n_jobs=64)
    GDClassifier(batch_size=256, **shared).fit(NARROW, labels(NARROW))
    assert set(asked) == {3}
    for batch_size in (1, 20):  # one step, one part
        GDClassifier(batch_size=batch_size, **shared).fit(NARROW, labels(NARROW))
    GDClassifier(batch_size=256, **shared).fit(NARROW[:1000], labels(NARROW[:1000]))  # small data
    assert len(asked) == 1


def test_helpers_that_begin_late_change_nothing(monkeypatch):
    class Late(ThreadPoolExecutor):
        def submit(self, work, *args):
            def late():
                time.sleep(0.003)
                return work(*args)

            return super().submit(late)

    with Late(2) as pool:
        monkeypatch.setattr(team, "pool_of", lambda n_threads: pool)
        assert_same_fits(NARROW, labels(NARROW), (3,), optimizer="sgd", batch_size=256,
                         max_iter=20)


def test_a_fit_that_fails_lets_its_helpers_go():
    calls = []

    def rate(t):
        calls.append(t)
        if len(calls) > 20:
            raise RuntimeError("no rate")
        return 0.1

    model = GDClassifier(optimizer="sgd", learning_rate=rate, batch_size=100, n_jobs=2)
    with pytest.raises(RuntimeError, match="no rate"):
        model.fit(NARROW, labels(NARROW))
    # the threads are free for the next one
    assert_same_fits(NARROW, labels(NARROW), (2,), optimizer="sgd", batch_size=256)


def test_fits_in_several_threads_at_once():
    y = labels(NARROW)
    shared = dict(optimizer="momentum", max_iter=5, tol=None, random_state=0)
    alone = GDClassifier(n_jobs=1, **shared).fit(NARROW, y)
    with ThreadPoolExecutor(3) as pool:
        fits = [pool.submit(GDClassifier(n_jobs=2, **shared).fit, NARROW, y) for _ in range(6)]
    for fit in fits:
        assert_array_equal(alone.coef_, fit.result().coef_)


@pytest.mark.parametrize("loss", ["log_loss", "hinge"])
def test_batches_of_several_classes_do_not_depend_on_the_threads(loss):
    # hinge: one versus the rest, with losses of their own
    y = NARROW[:, :3].argmax(axis=1)
    s = rng.uniform(0.5, 2.0, size=len(y))
    settings = dict(loss=loss, optimizer="adam", max_iter=3, tol=None, random_state=0)
    one, two = (GDClassifier(n_jobs=n, **settings).fit(NARROW, y, sample_weight=s) for n in (1, 2))
    assert_array_equal(one.coef_, two.coef_)
    assert_array_equal(one.history_["objective"], two.history_["objective"])


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("place", [0, 599_999, 600_000, 1_199_999])
def test_numbers_that_are_not_finite_are_found_in_every_part(place, value):
    X = NARROW.copy()
    X.flat[place] = value
    assert surely_finite(NARROW, 2) and not surely_finite(X, 2)
    with pytest.raises(ValueError, match="NaN|infinity"):
        GDClassifier(n_jobs=2).fit(X, labels(NARROW))


@pytest.mark.parametrize("place", [0, 4095, 4096, 19_999])
def test_a_third_kind_of_label_is_found_wherever_it_comes(place):
    y = rng.integers(0, 2, size=20_000)
    y[place] = 7
    found, codes = encode(y)
    assert_array_equal(found, [0, 1, 7])
    assert_array_equal(found[codes], y)
