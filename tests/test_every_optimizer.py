"""Every step optimizer makes the steps of its paper and ends at the minimum, on any storage."""

import pickle

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from sgdest import GDClassifier, GDRegressor
from sgdest._core import step
from sgdest._core.losses import LOSSES, Multinomial
from sgdest._core.penalties import PENALTIES
from sgdest._core.problem import Problem
from sgdest._core.schedules import InverseScaling
from sgdest.optimizers import (
    FTRL,
    SGD,
    STEP_OPTIMIZERS,
    Adagrad,
    Adam,
    RMSprop,
    as_optimizer,
)

N_ROWS, N_FEATURES = 60, 8
FACTORS = np.array([1.0, 0.0, 2.0, 0.5, 1.0, 1.0, 3.0, 1.0])
# whose memory changes only where there is a gradient: lazy steps can be exact
EXACT_ON_SPARSE_ROWS = [SGD(), SGD(clip_norm=1.0), Adagrad(), FTRL()]
ALL = [
    *map(as_optimizer, STEP_OPTIMIZERS),
    SGD(momentum=0.5, clip_norm=0.3),
    Adam(0.9, beta1=0.5, beta2=0.9, eps=1e-3, amsgrad=True, clip_norm=0.5),
]


def rate(t):
    return 0.1 / t**0.5


class Case:
    """Rows whose features are mostly rare, and a problem on them."""

    def __init__(self, n_outputs=1, penalty="elasticnet", positive=False, factors=None):
        rng = np.random.RandomState(0)
        often = np.linspace(0.05, 0.9, N_FEATURES)
        self.X = rng.randn(N_ROWS, N_FEATURES) * (
            rng.rand(N_ROWS, N_FEATURES) < often
        )
        self.K = n_outputs
        self.loss = Multinomial() if n_outputs > 1 else LOSSES["log_loss"]()
        self.y = rng.randint(max(n_outputs, 2), size=N_ROWS).astype(float)
        self.s = 2 * rng.rand(N_ROWS)
        self.penalty = PENALTIES[penalty](0.05, 0.4, positive, factors)
        self.W0, self.b0 = (
            0.3 * rng.randn(N_FEATURES, n_outputs),
            0.1 * rng.randn(n_outputs),
        )

    def method(self, optimizer, W, b, kind=np.ascontiguousarray, **settings):
        problem = Problem(
            kind(self.X),
            self.y,
            self.loss,
            self.penalty,
            sample_weight=self.s,
            n_outputs=self.K,
        )
        schedule = InverseScaling(0.1, 0.5)
        settings.setdefault("batch_size", 7)
        return optimizer.method(problem, W, b, schedule=schedule, **settings)

    def run(self, optimizer, kind=np.ascontiguousarray, n_passes=3, **settings):
        """(W, b, averages) after some passes in the order of the rows."""
        W, b = self.W0.copy(), self.b0.copy()
        method = self.method(optimizer, W, b, kind, **settings)
        for _ in range(n_passes):
            method.advance(np.arange(N_ROWS, dtype=np.intp), 0, N_ROWS)
            method.finish_pass()
        method.settle()
        return W, b, method.averages()

    def gradient(self, rows, W, b):
        """Mean weighted gradient of the loss, the intercept as a last row."""
        z = self.X[rows] @ W + b
        if self.K > 1:
            d = self.loss.evaluate(self.y[rows], z)[1]
        else:
            d = 1 / (1 + np.exp(-z)) - self.y[rows, None]
        d = d * self.s[rows, None] / self.s.mean() / len(rows)
        return np.vstack([self.X[rows].T @ d, d.sum(axis=0)])

    def transcribe(self, optimizer, n_passes=3, batch_size=7):
        """By NumPy, after the papers; the penalty as long as each coordinate's step."""
        u = np.vstack([self.W0, self.b0])
        memory, t = {}, 0
        c = np.ones(N_FEATURES) if self.penalty.factors is None else self.penalty.factors
        c = np.append(c, 0.0)[:, None] * np.ones_like(u)
        step = TRANSCRIPTIONS[type(optimizer)]
        for _ in range(n_passes):
            for rows in np.split(
                np.arange(N_ROWS), range(batch_size, N_ROWS, batch_size)
            ):
                t += 1
                g = self.gradient(rows, u[:-1], u[-1])
                if optimizer.clip_norm is not None:
                    longest = optimizer.clip_norm / (np.linalg.norm(g) + 1e-6)
                    g = g * min(1.0, longest)
                u, length = step(optimizer, u, g, memory, t, rate(t), self.penalty, c)
                u = shrunk(self.penalty, u, length * np.ones_like(u), c)
        return u[:-1], u[-1]


def shrunk(penalty, u, length, c):
    """The flow of the penalty, each coordinate for its own length; the intercept stays."""
    decay = np.exp(-penalty.l2 * c**2 * length)
    with np.errstate(invalid="ignore", divide="ignore"):
        taken = np.where(
            penalty.l2 * c**2 > 0, (1 - decay) / (penalty.l2 * c**2), length
        )
    size = np.maximum(0, np.abs(u) * decay - penalty.l1 * c * taken)
    out = np.where(penalty.positive & (u < 0), 0.0, np.sign(u) * size)
    out[-1] = u[-1]
    return out


def inverse(square, eps):
    with np.errstate(divide="ignore"):
        return np.where(square > 0, 1 / (np.sqrt(square) + eps), 0.0)


def sgd(optimizer, u, g, memory, t, eta, penalty, c):
    mu = optimizer.momentum
    memory["v"] = mu * memory.get("v", 0) + g
    memory["weight"] = mu * memory.get("weight", 0) + 1
    if optimizer.nesterov:
        return u - eta * (g + mu * memory["v"]), eta * (1 + mu * memory["weight"])
    return u - eta * memory["v"], eta * memory["weight"]


def adagrad(optimizer, u, g, memory, t, eta, penalty, c):
    memory["s"] = memory.get("s", 0) + g**2
    length = eta * inverse(memory["s"], optimizer.eps)
    return u - length * g, length


def rmsprop(optimizer, u, g, memory, t, eta, penalty, c):
    memory["s"] = optimizer.rho * memory.get("s", 0) + (1 - optimizer.rho) * g**2
    length = eta * inverse(memory["s"], optimizer.eps)
    return u - length * g, length


def adam(optimizer, u, g, memory, t, eta, penalty, c):
    beta1, beta2 = optimizer.beta1, optimizer.beta2
    memory["m"] = beta1 * memory.get("m", 0) + (1 - beta1) * g
    memory["v"] = beta2 * memory.get("v", 0) + (1 - beta2) * g**2
    memory["largest"] = np.maximum(memory.get("largest", 0), memory["v"])
    v = memory["largest"] if optimizer.amsgrad else memory["v"]
    length = eta * inverse(v / (1 - beta2**t), optimizer.eps)
    return u - length * memory["m"] / (1 - beta1**t), length


def ftrl(optimizer, u, g, memory, t, eta, penalty, c):
    if t == 1:
        memory["n"] = np.zeros_like(u)
        memory["q"] = np.where(g != 0, optimizer.beta / eta, 0.0)
        memory["z"] = -memory["q"] * u
    begins = (memory["q"] == 0) & (g != 0)
    memory["q"] = np.where(begins, optimizer.beta / eta, memory["q"])
    memory["z"] = np.where(begins, -memory["q"] * u, memory["z"])
    memory["n"] = memory["n"] + g**2
    after = np.where(g != 0, (optimizer.beta + np.sqrt(memory["n"])) / eta, memory["q"])
    memory["z"] = memory["z"] + g - (after - memory["q"]) * u
    memory["q"] = after
    z = memory["z"]
    size = np.maximum(0, np.abs(z) - t * penalty.l1 * c)
    with np.errstate(invalid="ignore", divide="ignore"):
        leader = -np.sign(z) * size / (after + t * penalty.l2 * c**2)
    leader[:-1] = np.where(penalty.positive & (leader[:-1] < 0), 0, leader[:-1])
    return np.where(after > 0, leader, u), 0.0


TRANSCRIPTIONS = {
    SGD: sgd,
    Adagrad: adagrad,
    RMSprop: rmsprop,
    Adam: adam,
    FTRL: ftrl,
}

# -- steps -----------------------------------------------------------------------------


@pytest.mark.parametrize("n_outputs", [1, 3])
@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("optimizer", ALL, ids=repr)
def test_steps_are_those_of_a_transcription(optimizer, penalty, n_outputs):
    case = Case(n_outputs, penalty)
    for batch_size in (7, 1):
        W, b, _ = case.run(optimizer, batch_size=batch_size)
        expected = case.transcribe(optimizer, batch_size=batch_size)
        assert_allclose(W, expected[0], rtol=1e-10, atol=1e-12)
        assert_allclose(b, expected[1], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize("optimizer", ALL, ids=repr)
def test_steps_hold_with_factors_and_signs(optimizer, positive):
    case = Case(1, "elasticnet", positive, FACTORS)
    if positive:
        case.W0 = np.abs(case.W0)
    W, b, _ = case.run(optimizer)
    expected = case.transcribe(optimizer)
    assert_allclose(W, expected[0], rtol=1e-10, atol=1e-12)
    assert_allclose(b, expected[1], rtol=1e-10, atol=1e-12)


@pytest.fixture
def lazy_steps(monkeypatch):
    """Steps on sparse rows move the features of their batch only, however few there are."""
    monkeypatch.setattr(step, "FEATURES_PER_ENTRY", 0)


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("optimizer", ALL, ids=repr)
def test_steps_of_every_feature_are_those_of_dense_rows(optimizer, penalty):
    case = Case(1, penalty, factors=FACTORS)
    for batch_size in (7, 0):
        dense = case.run(optimizer, batch_size=batch_size)
        sparse = case.run(optimizer, sp.csr_array, batch_size=batch_size)
        assert_allclose(sparse[0], dense[0], rtol=1e-10, atol=1e-12)
        assert_array_equal(sparse[0] == 0, dense[0] == 0)


@pytest.mark.parametrize("lazily", [0, 1e9])
@pytest.mark.parametrize("optimizer", EXACT_ON_SPARSE_ROWS, ids=repr)
def test_a_stream_may_change_between_dense_and_sparse_rows(optimizer, lazily, monkeypatch):
    monkeypatch.setattr(step, "FEATURES_PER_ENTRY", lazily)
    case = Case(1, "elasticnet")
    expected = case.run(optimizer, n_passes=4)
    W, b = case.W0.copy(), case.b0.copy()
    for first in (np.ascontiguousarray, sp.csr_array):
        W[:], b[:] = case.W0, case.b0
        method = case.method(optimizer, W, b, first)
        other = np.ascontiguousarray if first is sp.csr_array else sp.csr_array
        for kind in (first, other, first, other):
            method.bind(case.method(optimizer, W, b, kind).problem)
            method.advance(np.arange(N_ROWS, dtype=np.intp), 0, N_ROWS)
            method.finish_pass()
        method.settle()
        assert_allclose(W, expected[0], rtol=1e-10, atol=1e-12)
        assert_allclose(b, expected[1], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("n_outputs", [1, 3])
@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("optimizer", EXACT_ON_SPARSE_ROWS, ids=repr)
def test_lazy_steps_are_those_of_dense_rows(optimizer, penalty, n_outputs, lazy_steps):
    case = Case(n_outputs, penalty, factors=FACTORS)
    for batch_size in (1, 7, 0):
        dense = case.run(optimizer, batch_size=batch_size)
        lazy = case.run(optimizer, sp.csr_array, batch_size=batch_size)
        assert_allclose(lazy[0], dense[0], rtol=1e-10, atol=1e-12)
        assert_allclose(lazy[1], dense[1], rtol=1e-10, atol=1e-12)
        assert_array_equal(lazy[0] == 0, dense[0] == 0)


@pytest.mark.parametrize("optimizer", ALL, ids=repr)
def test_steps_on_sparse_rows_without_gaps_are_those_of_dense_rows(optimizer, lazy_steps):
    case = Case()
    case.X += 10.0  # no entry is zero: nothing waits
    dense, lazy = case.run(optimizer), case.run(optimizer, sp.csr_array)
    assert_allclose(lazy[0], dense[0], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("average", [1, 11])
@pytest.mark.parametrize("optimizer", ALL, ids=repr)
def test_averages_are_those_of_the_iterates(optimizer, average):
    case = Case(3, "l1")
    for kind in (np.ascontiguousarray, sp.csr_array):
        W, b = case.W0.copy(), case.b0.copy()
        method = case.method(optimizer, W, b, kind, average=average)
        iterates = []
        for start in range(0, 56, 7):
            method.advance(np.arange(N_ROWS, dtype=np.intp), start, start + 7)
            method.settle()
            iterates.append((W.copy(), b.copy()))
        kept = iterates[average - 1 :]
        if not kept:
            assert method.averages() is None
            continue
        mean_W, mean_b = (np.mean(part, axis=0) for part in zip(*kept))
        expected = np.where(W == 0, 0, mean_W)
        assert_allclose(method.averages()[0], expected, rtol=1e-12, atol=1e-14)
        assert_allclose(method.averages()[1], mean_b, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("kind", [np.ascontiguousarray, sp.csr_array])
@pytest.mark.parametrize("optimizer", ALL, ids=repr)
def test_a_mark_brings_everything_back(optimizer, kind):
    case = Case()
    W, b = case.W0.copy(), case.b0.copy()
    method = case.method(optimizer, W, b, kind)
    order = np.arange(N_ROWS, dtype=np.intp)
    method.advance(order, 0, 21)
    mark = method.mark()
    method.advance(order, 21, 50)
    method.settle()
    first = W.copy(), b.copy()
    method.go_back(mark)
    method.advance(order, 21, 50)
    method.settle()
    assert_array_equal(W, first[0])
    assert_array_equal(b, first[1])


# -- minima ----------------------------------------------------------------------------


def data(n_classes=None):
    rng = np.random.RandomState(0)
    X = rng.randn(300, N_FEATURES) * (
        rng.rand(300, N_FEATURES) < np.linspace(0.2, 1, N_FEATURES)
    )
    noise = 0.5 * rng.randn(300)
    y = X @ np.array([1.0, -1, 0.5, 0, 0, 0.2, 0, 0]) + 0.3 + noise
    return X, y, rng.rand(300) * 2


def objective(model, X, y, s, penalty, alpha):
    w = model.coef_
    size = np.abs(w).sum() if penalty == "l1" else (w**2).sum() / 2
    return np.average((y - model.predict(X)) ** 2, weights=s) / 2 + alpha * size


@pytest.mark.parametrize("kind", [np.asarray, sp.csr_array], ids=["dense", "csr"])
@pytest.mark.parametrize("penalty", ["l2", "l1"])
@pytest.mark.parametrize("optimizer", STEP_OPTIMIZERS)
def test_each_ends_at_the_minimum_of_loss_and_penalty(optimizer, penalty, kind):
    X, y, s = data()
    alpha = 0.1
    exact = GDRegressor(penalty=penalty, alpha=alpha, tol=1e-12).fit(X, y, s)
    model = GDRegressor(
        optimizer=optimizer,
        learning_rate=lambda t: 0.3 / (1 + t / 100),
        batch_size="auto" if optimizer == "gd" else 30,
        max_iter=8000,
        tol=None,
        random_state=0,
        penalty=penalty,
        alpha=alpha,
    )
    model.fit(kind(X), y, s)
    best = objective(exact, X, y, s, penalty, alpha)
    start = np.average((y - np.average(y, weights=s)) ** 2, weights=s) / 2
    excess = objective(model, X, y, s, penalty, alpha) - best
    # with rates as 1 / t, the noise of batches of a tenth of the rows has died away in any order
    assert -1e-9 < excess / (start - best) < 1e-3


@pytest.mark.parametrize("kind", [np.asarray, sp.csr_array], ids=["dense", "csr"])
@pytest.mark.parametrize("optimizer", STEP_OPTIMIZERS)
def test_l1_gives_the_exact_zeros_of_the_minimum(optimizer, kind):
    X, y, s = data()
    exact = GDRegressor(penalty="l1", alpha=0.1, tol=1e-12).fit(X, y, s)
    model = GDRegressor(
        penalty="l1",
        alpha=0.1,
        optimizer=optimizer,
        learning_rate=lambda t: 0.3 / (1 + t / 100),
        batch_size="auto" if optimizer == "gd" else None,
        max_iter=400,
        tol=None,
    )
    model.fit(kind(X), y, s)
    assert 0 < np.count_nonzero(exact.coef_ == 0) < N_FEATURES
    assert_array_equal(model.coef_ == 0, exact.coef_ == 0)


# -- estimators ------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:Maximum number of iteration")
@pytest.mark.parametrize("optimizer", STEP_OPTIMIZERS)
def test_two_fits_give_the_same_bits(optimizer):
    X, y, _ = data()
    fit = lambda: GDClassifier(optimizer=optimizer, max_iter=5, random_state=3).fit(
        X, np.digitize(y, [-0.5, 0.5])
    )
    first, second = fit(), fit()
    assert_array_equal(first.coef_, second.coef_)
    assert_array_equal(first.intercept_, second.intercept_)


@pytest.mark.parametrize("optimizer", STEP_OPTIMIZERS)
def test_a_stream_cut_at_the_borders_of_batches_gives_the_same_bits(optimizer):
    X, y, _ = data()
    size = "auto" if optimizer == "gd" else 20
    rates = {"learning_rate": 0.05, "shuffle": False, "batch_size": size}
    # plain SGD keeps the decay by L2 in a factor, which a pickle multiplies out: to rounding
    rates["penalty"] = "l1" if optimizer in ("sgd", "gd") else "l2"
    if optimizer == "gd":
        pieces = [slice(0, 300), slice(0, 300)]
    else:
        pieces = [slice(0, 100), slice(100, 240), slice(240, 300)]
    whole = GDRegressor(optimizer=optimizer, **rates)
    cut = clone(whole)
    for piece in [slice(0, 300)] * 2 if optimizer == "gd" else [slice(0, 300)]:
        whole.partial_fit(X[piece], y[piece])
    for piece in pieces:
        cut.partial_fit(X[piece], y[piece])
        cut = pickle.loads(pickle.dumps(cut))
    assert_array_equal(cut.coef_, whole.coef_)
    assert_array_equal(cut.intercept_, whole.intercept_)
    for name, value in whole.optimizer_state_.items():
        assert_array_equal(cut.optimizer_state_[name], value)


def test_hyperparameters_of_an_optimizer_can_be_searched():
    X, y, _ = data()
    search = GridSearchCV(
        GDRegressor(optimizer=Adam(0.1), max_iter=20, tol=None, random_state=0),
        {"optimizer__beta1": [0.0, 0.9], "alpha": [1e-4, 1.0]},
        cv=3,
    ).fit(X, y)
    assert search.best_params_["alpha"] == 1e-4
    assert len(set(search.cv_results_["mean_test_score"])) == 4


def test_optimizers_can_be_searched():
    X, y, _ = data()
    optimizers = [SGD(0.1), Adam(1e-3)]
    search = GridSearchCV(
        GDRegressor(max_iter=20, tol=None, random_state=0),
        {"optimizer": optimizers},
        cv=3,
    ).fit(X, y)
    assert search.best_params_["optimizer"] is optimizers[0]


@pytest.mark.parametrize(
    "optimizer, message",
    [
        (SGD(momentum=1.0), "'momentum' parameter of SGD"),
        (SGD(nesterov=True), "nesterov=True.*momentum=0"),
        (SGD(clip_norm=0.0), "'clip_norm' parameter of SGD"),
        (Adam(beta1=1.0), "'beta1' parameter of Adam"),
        (Adam(eps=0.0), "'eps' parameter of Adam"),
        (RMSprop(rho=-0.1), "'rho' parameter of RMSprop"),
        (FTRL(beta=0.0), "'beta' parameter of FTRL"),
        ("adma", "'adam'.*Got 'adma'|'adagrad'.*Got 'adma'"),
    ],
)
def test_wrong_hyperparameters_are_refused_by_name(optimizer, message):
    X, y, _ = data()
    with pytest.raises(ValueError, match=message):
        GDRegressor(optimizer=optimizer).fit(X, y)
