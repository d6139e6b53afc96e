"""SAGA makes the steps of its paper on any storage, and ends at the minimum without a rate."""

import pickle

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import minimize
from scipy.special import softmax
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV

from sgdest import GDClassifier, GDRegressor
from sgdest._automatic import opening
from sgdest._core.losses import LOSSES, Multinomial
from sgdest._core.penalties import PENALTIES
from sgdest._core.problem import Problem
from sgdest.optimizers import SAGA

KINDS = {"dense": np.ascontiguousarray, "csr": sp.csr_array}
N_ROWS, N_FEATURES = 60, 8
FACTORS = np.array([1.0, 0.0, 2.0, 0.5, 1.0, 1.0, 3.0, 1.0])


class Case:
    """Rows whose features are mostly rare, a problem on them, and SAGA by NumPy."""

    def __init__(self, n_outputs=1, penalty="elasticnet", positive=False, factors=None):
        rng = np.random.RandomState(0)
        often = np.linspace(0.05, 0.9, N_FEATURES)
        self.X = rng.randn(N_ROWS, N_FEATURES)
        self.X *= rng.rand(N_ROWS, N_FEATURES) < often
        self.K = n_outputs
        self.loss = Multinomial() if n_outputs > 1 else LOSSES["log_loss"]()
        self.y = rng.randint(max(n_outputs, 2), size=N_ROWS).astype(float)
        self.s = 2 * rng.rand(N_ROWS)
        self.penalty = PENALTIES[penalty](0.05, 0.4, positive, factors)
        self.W0 = 0.3 * rng.randn(N_FEATURES, n_outputs)
        self.W0 = np.abs(self.W0) if positive else self.W0
        self.b0 = 0.1 * rng.randn(n_outputs)
        self.order = np.concatenate([rng.permutation(N_ROWS) for _ in range(5)])

    def run(self, kind, eta=0.1):
        """(W, b) after five passes of the compiled method."""
        problem = Problem(
            KINDS[kind](self.X), self.y, self.loss, self.penalty,
            sample_weight=self.s, n_outputs=self.K,
        )
        W, b = self.W0.copy(), self.b0.copy()
        method = SAGA(eta).method(problem, W, b, warm=True)
        for start in range(0, len(self.order), N_ROWS):
            method.advance(self.order.astype(np.intp), start, start + N_ROWS)
            method.finish_pass()
            method.settle()
        return W, b

    def slopes(self, i, W, b):
        z = self.X[i] @ W + b
        if self.K > 1:
            d = self.loss.evaluate(self.y[i : i + 1], z[None])[1][0]
        else:
            d = 1 / (1 + np.exp(-z)) - self.y[i]
        return d * self.s[i] / self.s.mean()

    def transcribe(self, eta=0.1, steepness=lambda i, W, b: 0.0):
        """Defazio et al. 2014, equations 1 to 3; slopes change less in steep rows."""
        W, b = self.W0.copy(), self.b0.copy()
        table = np.array([self.slopes(i, W, b) for i in range(N_ROWS)])
        for i in self.order:
            d = table[i] + (self.slopes(i, W, b) - table[i]) / (1 + eta * steepness(i, W, b))
            mean, mean_b = self.X.T @ table / N_ROWS, table.mean(axis=0)
            W = W - eta * (np.outer(self.X[i], d - table[i]) + mean)
            b = b - eta * (d - table[i] + mean_b)
            W = self.penalty.proximal_of(W, eta)
            table[i] = d
        return W, b


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n_outputs", [1, 3])
@pytest.mark.parametrize("penalty", PENALTIES)
def test_steps_are_those_of_the_paper(penalty, n_outputs, kind):
    case = Case(n_outputs, penalty)
    for eta in (0.05, 1.0):  # the longer ones change signs
        W, b = case.run(kind, eta)
        expected = case.transcribe(eta)
        assert_allclose(W, expected[0], rtol=1e-10, atol=1e-12)
        assert_allclose(b, expected[1], rtol=1e-10, atol=1e-12)
        assert_array_equal(W == 0, expected[0] == 0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize("penalty", ["l1", "l2", "elasticnet"])
def test_steps_hold_with_factors_and_signs(penalty, positive, kind):
    case = Case(3, penalty, positive, FACTORS)
    W, b = case.run(kind, 0.5)
    expected = case.transcribe(0.5)
    assert_allclose(W, expected[0], rtol=1e-10, atol=1e-12)
    assert_allclose(b, expected[1], rtol=1e-10, atol=1e-12)


def test_scaled_and_centred_steps_are_those_on_mapped_columns():
    case = Case(3)
    rng = np.random.RandomState(1)
    spread, centre = np.exp(rng.randn(N_FEATURES)), rng.randn(N_FEATURES)
    mapped = Case(3, factors=1 / spread)
    mapped.X = (case.X - centre) / spread
    mapped.W0, mapped.b0 = case.W0 * spread[:, None], case.b0 + centre @ case.W0
    W, b = case.W0.copy(), case.b0.copy()
    problem = Problem(case.X, case.y, case.loss, case.penalty, sample_weight=case.s, n_outputs=3)
    method = SAGA().method(problem, W, b, warm=True, coordinates=(spread, centre, 0.5))
    norms = case.s / case.s.mean() * (1 + (mapped.X**2).sum(axis=1))
    eta = 1 / (0.5 * norms.max())
    assert_allclose(method.schedule.rate(1), eta)
    method.advance(case.order.astype(np.intp), 0, len(case.order))
    method.settle()

    def steepness(i, W, b):
        """Of the softmax: twice the diagonal of its second derivative bounds it."""
        p = softmax(mapped.X[i] @ W + b)
        return norms[i] * 2 * (p * (1 - p)).max()

    expected = mapped.transcribe(eta, steepness)
    assert_allclose(W, expected[0] / spread[:, None], rtol=1e-10, atol=1e-12)
    assert_allclose(b, expected[1] - centre @ W, rtol=1e-10, atol=1e-12)


# -- minima ----------------------------------------------------------------------------

RNG = np.random.default_rng(0)
X = RNG.normal(size=(300, 8)) * (RNG.random((300, 8)) < np.linspace(0.2, 1, 8))
Y = X @ [1.0, -1, 0.5, 0, 0, 0.2, 0, 0] + 0.3 + 0.5 * RNG.normal(size=300)
S = 2 * RNG.random(300)


@pytest.mark.parametrize("kind", KINDS)
def test_a_smooth_minimum_is_that_of_scipy(kind):
    def objective(u):
        z = X @ u[:-1] + u[-1]
        loss = np.average(np.logaddexp(0, z) - (Y > 0) * z, weights=S)
        d = S * (1 / (1 + np.exp(-z)) - (Y > 0)) / S.sum()
        return (
            loss + 0.01 * u[:-1] @ u[:-1] / 2,
            np.append(X.T @ d + 0.01 * u[:-1], d.sum()),
        )

    best = minimize(objective, np.zeros(9), jac=True, options={"gtol": 1e-10}).x
    model = GDClassifier(optimizer="saga", alpha=0.01, tol=None, max_iter=300)
    model.fit(KINDS[kind](X), Y > 0, S)
    assert_allclose(model.coef_[0], best[:-1], rtol=1e-7, atol=1e-9)
    assert_allclose(model.intercept_, best[-1], rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("settings", [
    {"penalty": "l1"},
    {"penalty": "elasticnet", "l1_ratio": 0.5},
    {"penalty": "l1", "positive": True},
    {"penalty": "l2", "positive": True, "penalty_weights": FACTORS},
    {"penalty": None, "fit_intercept": False},
], ids=str)
def test_other_minima_are_those_of_the_solver(settings, kind):
    targets = np.column_stack([Y, Y**2])
    exact = GDRegressor(alpha=0.05, tol=1e-12, **settings).fit(X, targets, S)
    model = GDRegressor(
        alpha=0.05, optimizer="saga", tol=None, max_iter=300, **settings
    ).fit(KINDS[kind](X), targets, S)
    assert_allclose(model.coef_, exact.coef_, rtol=1e-6, atol=1e-8)
    assert_array_equal(model.coef_ == 0, exact.coef_ == 0)


def test_softmax_and_counts_are_learned():
    codes = np.digitize(Y, [-0.5, 0.5])
    settings = dict(tol=None, max_iter=400)
    exact = GDClassifier(alpha=0.01, tol=1e-12).fit(X, codes)
    model = GDClassifier(alpha=0.01, optimizer="saga", **settings).fit(X, codes)
    assert_allclose(model.predict_proba(X), exact.predict_proba(X), atol=1e-6)
    counts = RNG.poisson(np.exp(0.5 * Y))
    exact = GDRegressor("poisson", alpha=0.01, tol=1e-12).fit(X, counts)
    model = GDRegressor("poisson", alpha=0.01, optimizer="saga", **settings)
    assert_allclose(model.fit(X, counts).coef_, exact.coef_, rtol=1e-4, atol=1e-5)


def test_the_stopping_rule_ends_near_the_minimum():
    exact = GDRegressor(tol=1e-12).fit(X, Y)
    model = GDRegressor(optimizer="saga", random_state=0).fit(X, Y)
    assert model.converged_ and model.n_iter_ < 100
    assert_allclose(model.objective(X, Y), exact.objective(X, Y), rtol=1e-6)


# -- estimators ------------------------------------------------------------------------


def test_two_fits_and_a_pickle_give_the_same_bits():
    fit = lambda: GDRegressor(optimizer="saga", max_iter=5, tol=None, random_state=1).fit(X, Y)
    first, second = fit(), pickle.loads(pickle.dumps(fit()))
    assert_array_equal(first.coef_, second.coef_)
    assert first.t_ == 5 * len(X)


def test_a_warm_start_goes_on_with_a_new_table():
    make = lambda n: GDRegressor(optimizer="saga", max_iter=n, tol=None, warm_start=True)
    exact = GDRegressor(tol=1e-12).fit(X, Y)
    model = make(20).fit(X, Y)
    away = np.abs(model.coef_ - exact.coef_).max()
    assert np.abs(model.fit(X, Y).coef_ - exact.coef_).max() < away / 2


def test_partial_fit_after_fit_streams_from_what_fit_found():
    model = GDRegressor(optimizer="saga", random_state=0).fit(X, Y)
    before = model.coef_.copy()
    model.partial_fit(X[:10], Y[:10])
    assert "NormalizedAdaptive" in repr(model.optimizer_)
    solved = GDRegressor(random_state=0).fit(X, Y).partial_fit(X[:10], Y[:10])
    # ten rows more than 300 move it as they move the solver's model
    assert 0 < np.abs(model.coef_ - before).max() < 0.1
    assert_allclose(model.coef_, solved.coef_, atol=1e-3)


def test_its_rate_can_be_searched():
    search = GridSearchCV(
        GDRegressor(optimizer=SAGA(), max_iter=3, tol=None, random_state=0),
        {"optimizer__learning_rate": [1e-6, 0.05]},
        cv=3,
    ).fit(X, Y)
    assert search.best_params_ == {"optimizer__learning_rate": 0.05}
    assert clone(SAGA(0.1)).learning_rate == 0.1


def test_a_rate_that_is_too_large_warns_and_keeps_sound_weights():
    with pytest.warns(ConvergenceWarning, match="exploded.*rate 50"):
        model = GDRegressor(optimizer=SAGA(50.0)).fit(X, Y)
    assert np.isfinite(model.coef_).all()


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"learning_rate": 0.1}, "chooses its own steps and takes no learning_rate"),
        ({"batch_size": 10}, "takes no batch_size"),
        ({"loss": "absolute_error"}, "has kinks, which optimizer='saga' cannot round"),
        ({"optimizer": SAGA(-1.0)}, "'learning_rate' parameter of SAGA"),
        ({"optimizer": SAGA("optimal")}, "learning_rate of SAGA must be 'auto' or a float"),
    ],
)
def test_what_it_cannot_do_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        GDRegressor(**{"optimizer": "saga", **settings}).fit(X, Y)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_the_first_pass_is_one_of_sgd_and_later_ones_go_on_from_there(kind):
    case = Case()
    X, settings = kind(case.X), {"alpha": 0.05, "tol": None, "shuffle": False}
    problem = Problem(X, case.y, case.loss, PENALTIES["l2"](0.05))
    W, b = np.zeros((N_FEATURES, 1)), np.array([np.log(case.y.mean() / (1 - case.y.mean()))])
    first = opening(problem, W, b)
    first.advance(np.arange(N_ROWS), 0, N_ROWS)
    first.settle()
    model = GDClassifier(optimizer="saga", max_iter=1, **settings).fit(X, case.y)
    assert_allclose(model.coef_, W.T, rtol=1e-12)
    assert_allclose(model.intercept_, b, rtol=1e-12)
    more = GDClassifier(optimizer="saga", max_iter=300, **settings).fit(X, case.y)
    best = GDClassifier(optimizer="lbfgs", alpha=0.05, tol=1e-10).fit(X, case.y)
    assert_allclose(more.coef_, best.coef_, atol=1e-6)
    assert more.t_ == 300 * N_ROWS


def test_the_rate_follows_the_curvature_that_the_rows_have():
    case = Case()
    problem = Problem(case.X, case.y, case.loss, case.penalty)
    W, b = 30 * case.W0, case.b0.copy()  # far out, where the loss is nearly straight
    method = SAGA().method(problem, W, b, warm=True, coordinates=(np.ones(8), np.zeros(8), 0.25))
    norms = 1 + (case.X**2).sum(axis=1)
    assert_allclose(method.schedule.eta, 1 / (0.25 * norms.max()))
    for _ in range(40):
        met = []
        for i in range(N_ROWS):
            method.settle()
            p = 1 / (1 + np.exp(-(case.X[i] @ W + b)[0]))
            met.append(norms[i] * p * (1 - p))
            method.advance(np.array([i]), 0, 1)
        before = method.schedule.eta
        method.finish_pass()
        of_rows = np.average(met, weights=met)
        expected = min(1 / (1.5 * of_rows), 2 * before)
        assert_allclose(method.schedule.eta, expected, rtol=1e-10)
