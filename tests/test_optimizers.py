"""Step methods make the steps of their formulas, on sparse rows too."""

import itertools
import pickle
from time import perf_counter

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import minimize

from sgdest import GDClassifier, GDRegressor
from sgdest._automatic import automatic
from sgdest._core import step
from sgdest._core.losses import LOSSES, Multinomial
from sgdest._core.optimizers import SGDMethod
from sgdest._core.penalties import PENALTIES
from sgdest._core.problem import Problem
from sgdest._core.schedules import SCHEDULES, Function, Harmonic
from sgdest.optimizers import SGD

N_ROWS, N_FEATURES = 45, 12
ALPHA, L1_RATIO = 0.05, 0.4
FACTORS = np.array([1.0, 0.0, 2.0, 0.5, 1.0, 1.0, 3.0, 1.0, 0.2, 1.0, 1.0, 1.0])

SCHEDULES_UNDER_TEST = {
    "constant": lambda: SCHEDULES["constant"](0.05),
    "optimal": lambda: SCHEDULES["optimal"](ALPHA),
    "invscaling": lambda: SCHEDULES["invscaling"](0.1, 0.3),
    "adaptive": lambda: SCHEDULES["adaptive"](0.05),
    "harmonic": lambda: Harmonic(0.1, 20.0, 0.75),
    "function": lambda: Function(lambda t: 0.1 / t**0.5),
    "pa1": lambda: SCHEDULES["pa1"](0.05),
    "pa2": lambda: SCHEDULES["pa2"](0.05),
}


class Case:
    """Rows whose features are mostly rare: lazy updates have much to make up for."""

    def __init__(
        self,
        loss="squared_error",
        n_outputs=1,
        penalty="elasticnet",
        positive=False,
        factors=None,
        weights=True,
        intercept=True,
        alpha=ALPHA,
    ):
        rng = np.random.RandomState(0)
        often = np.linspace(0.02, 0.9, N_FEATURES)
        self.X = rng.randn(N_ROWS, N_FEATURES) * (rng.rand(N_ROWS, N_FEATURES) < often)
        self.X[4] = 0.0
        self.loss = Multinomial() if loss == "multinomial" else LOSSES[loss]()
        shape = (N_ROWS,) if n_outputs == 1 else (N_ROWS, n_outputs)
        self.y = rng.randn(*shape)
        if loss == "multinomial":
            self.y = rng.randint(n_outputs, size=N_ROWS).astype(float)
        elif self.loss.targets == "sign":
            self.y = np.sign(self.y)
        self.s = 2 * rng.rand(N_ROWS) if weights else None
        self.K, self.intercept = n_outputs, intercept
        self.penalty = PENALTIES[penalty](alpha, L1_RATIO, positive, factors)
        self.W0, self.b0 = rng.randn(N_FEATURES, n_outputs), rng.randn(n_outputs)

    def problem(self, kind=np.ascontiguousarray, rows=slice(None)):
        return Problem(
            kind(self.X[rows]),
            self.y[rows],
            self.loss,
            self.penalty,
            sample_weight=None if self.s is None else self.s[rows],
            fit_intercept=self.intercept,
            n_outputs=self.K,
        )

    def run(
        self, schedule, batch_size, average=0, n_passes=3, kind=np.ascontiguousarray
    ):
        """The compiled method: (W, b, averages)."""
        W, b = self.W0.copy(), self.b0.copy()
        method = SGDMethod(self.problem(kind), W, b, schedule, batch_size, average)
        for order in orders(n_passes):
            method.advance(order, 0, N_ROWS)
            method.finish_pass()
        method.settle()
        return W, b, method.averages(), method

    def transcribe(self, schedule, batch_size, average=0, n_passes=3):
        """By NumPy: a step along the mean gradient, then the penalty as long."""
        W, b, t = self.W0.copy(), self.b0.copy(), 0
        s = np.ones(N_ROWS) if self.s is None else self.s / self.s.mean()
        totals = []
        for order in orders(n_passes):
            for rows in np.split(
                order, range(batch_size or N_ROWS, N_ROWS, batch_size or N_ROWS)
            ):
                t += 1
                d = s[rows, None] * self.slopes(rows, self.X[rows] @ W + b)
                eta = length = schedule.rate(t)
                if schedule.needs_row:
                    eta = self.row_rate(schedule, rows, self.X[rows] @ W + b)
                W = W - self.X[rows].T @ (eta * d) / len(rows)
                b = b - (eta * d).mean(axis=0) * self.intercept
                W = self.penalty.shrink_of(W, length)
                if average and t >= average:
                    totals.append((W, b))
        if not totals:
            return W, b, None
        mean_W, mean_b = (np.mean(part, axis=0) for part in zip(*totals))
        return W, b, (np.where(W == 0, 0.0, mean_W), mean_b)

    def slopes(self, rows, z):
        if isinstance(self.loss, Multinomial):
            return self.loss.evaluate(self.y[rows], z)[1]
        y = self.y[rows].reshape(z.shape)
        return np.vectorize(self.loss.evaluate_point)(y, z)[1]

    def row_rate(self, schedule, rows, z):
        y = self.y[rows].reshape(z.shape)
        values = np.vectorize(self.loss.evaluate_point)(y, z)[0]
        norm = (self.X[rows[0]] ** 2).sum()
        return np.array([schedule.rate_of_row(v, norm) for v in values[0]])


def orders(n_passes):
    rng = np.random.RandomState(1)
    return [rng.permutation(N_ROWS).astype(np.intp) for _ in range(n_passes)]


def assert_same(ours, theirs, tolerance):
    """Weights, intercepts, and averages where there are some."""
    assert_allclose(ours[0], theirs[0], rtol=tolerance, atol=tolerance)
    assert_allclose(ours[1], theirs[1], rtol=tolerance, atol=tolerance)
    assert (ours[2] is None) == (theirs[2] is None)
    if ours[2] is not None:
        for a, b in zip(ours[2], theirs[2]):
            assert_allclose(a, b, rtol=tolerance, atol=tolerance)


# -- steps -----------------------------------------------------------------------------


@pytest.mark.parametrize("average", [0, 1, 30])
@pytest.mark.parametrize("batch_size", [1, 7, 0], ids=["one row", "7 rows", "all rows"])
@pytest.mark.parametrize("schedule", SCHEDULES_UNDER_TEST)
@pytest.mark.parametrize("penalty", PENALTIES)
def test_steps_are_those_of_a_transcription(penalty, schedule, batch_size, average):
    by_row = schedule in ("pa1", "pa2")
    if by_row and batch_size != 1:
        batch_size = 1
    case = Case("epsilon_insensitive" if by_row else "squared_error", penalty=penalty)
    make = SCHEDULES_UNDER_TEST[schedule]
    assert_same(
        case.run(make(), batch_size, average),
        case.transcribe(make(), batch_size, average),
        1e-12,
    )


@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("weights", [True, False])
@pytest.mark.parametrize("positive", [True, False])
@pytest.mark.parametrize("factors", [None, FACTORS], ids=["alike", "factors"])
@pytest.mark.parametrize(
    "loss, n_outputs",
    [("squared_error", 3), ("hinge", 1), ("multinomial", 3), ("log_cosh", 2)],
)
def test_steps_hold_for_every_setting_of_the_problem(
    loss, n_outputs, factors, positive, weights, intercept
):
    case = Case(loss, n_outputs, "elasticnet", positive, factors, weights, intercept)
    make = SCHEDULES_UNDER_TEST["invscaling"]
    for batch_size in (1, 7):
        assert_same(
            case.run(make(), batch_size, 10),
            case.transcribe(make(), batch_size, 10),
            1e-12,
        )


@pytest.mark.parametrize("name", ["pa1", "pa2"])
def test_passive_aggressive_rates_hold_for_each_output(name):
    case = Case("hinge", 3, "l2")
    make = SCHEDULES_UNDER_TEST[name]
    assert_same(case.run(make(), 1), case.transcribe(make(), 1), 1e-12)


@pytest.mark.parametrize(
    "batch_size, n_updates", [(1, 135), (7, 21), (45, 3), (100, 3), (0, 3)]
)
def test_updates_are_one_per_batch_and_no_batch_spans_two_passes(batch_size, n_updates):
    method = Case().run(SCHEDULES["constant"](0.01), batch_size)[3]
    assert method.t == n_updates


def test_the_loss_of_a_pass_is_the_mean_of_the_rows_before_their_updates():
    case = Case()
    W, b = case.W0.copy(), case.b0.copy()
    method = SGDMethod(case.problem(), W, b, SCHEDULES["constant"](0.0), 1)
    assert np.isnan(method.mean_loss)
    order = orders(1)[0]
    method.advance(order, 0, N_ROWS)
    expected = case.problem().evaluate(W, b, np.empty((N_ROWS, 1)))[0]
    assert_allclose(method.mean_loss, expected, rtol=1e-13)


def test_slices_must_lie_within_the_order():
    case = Case()
    method = SGDMethod(case.problem(), case.W0, case.b0, SCHEDULES["constant"](0.0), 1)
    for start, stop in ((-1, 2), (3, 2), (0, N_ROWS + 1)):
        with pytest.raises(ValueError, match="within the order"):
            method.advance(np.arange(N_ROWS, dtype=np.intp), start, stop)


# -- sparse rows -----------------------------------------------------------------------


@pytest.mark.parametrize("n_outputs", [1, 3])
@pytest.mark.parametrize("average", [0, 1, 40])
@pytest.mark.parametrize("batch_size", [1, 7, 0], ids=["one row", "7 rows", "all rows"])
@pytest.mark.parametrize("positive", [False, True], ids=["signed", "positive"])
@pytest.mark.parametrize("factors", [None, FACTORS], ids=["alike", "factors"])
@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("lazily", [0, 8])
def test_storage_does_not_change_the_model(
    penalty, factors, positive, batch_size, average, n_outputs, lazily, monkeypatch
):
    monkeypatch.setattr(step, "FEATURES_PER_ENTRY", lazily)
    case = Case("squared_error", n_outputs, penalty, positive, factors)
    for make in (
        SCHEDULES_UNDER_TEST["invscaling"],
        lambda: SCHEDULES["constant"](0.05),
    ):
        dense = case.run(make(), batch_size, average, n_passes=4)
        sparse = case.run(make(), batch_size, average, n_passes=4, kind=sp.csr_array)
        assert_same(sparse, dense, 1e-10)
        assert_array_equal(sparse[0] == 0, dense[0] == 0)


@pytest.mark.parametrize("penalty", ["l2", "l1", "elasticnet"])
@pytest.mark.parametrize("average", [0, 1])
def test_storage_does_not_change_the_model_over_long_gaps_and_strong_decay(
    penalty, average
):
    case = Case(
        penalty=penalty, alpha=2.0
    )  # decays by 1e-300 and settles within the passes
    make = lambda: SCHEDULES["constant"](0.1)
    dense = case.run(make(), 1, average, n_passes=120)
    sparse = case.run(make(), 1, average, n_passes=120, kind=sp.csr_array)
    assert_same(sparse, dense, 1e-10)


def test_l1_makes_coefficients_exactly_zero_and_averaging_keeps_them_so():
    case = Case(penalty="l1", alpha=0.5)
    for kind in (np.ascontiguousarray, sp.csr_array):
        W, _, averages, _ = case.run(SCHEDULES["constant"](0.02), 1, 1, 20, kind)
        assert 0 < np.count_nonzero(W == 0) < N_FEATURES
        assert_array_equal(averages[0] == 0, W == 0)


@pytest.mark.parametrize("average", [0, 1])
@pytest.mark.parametrize("batch_size", [1, 16])
@pytest.mark.parametrize("penalty", PENALTIES)
def test_a_step_on_sparse_rows_costs_what_its_entries_cost(
    penalty, batch_size, average
):
    def seconds(n_features):
        rng = np.random.RandomState(0)
        n, per_row = 2000, 5
        columns = rng.randint(n_features, size=n * per_row).astype(np.int32)
        X = sp.csr_array(
            (rng.randn(n * per_row), columns, np.arange(0, n * per_row + 1, per_row)),
            shape=(n, n_features),
        )
        problem = Problem(
            X, rng.randn(n), LOSSES["squared_error"](), PENALTIES[penalty](1e-3, 0.5)
        )
        method = SGDMethod(
            problem,
            np.zeros((n_features, 1)),
            np.zeros(1),
            SCHEDULES["constant"](1e-3),
            batch_size,
            average,
        )
        order = np.arange(n, dtype=np.intp)
        times = []
        for start in range(0, n, 400):
            began = perf_counter()
            method.advance(order, start, start + 400)
            times.append(perf_counter() - began)
        return min(times)

    # 400 times the features: far below what a pass over them would cost, far above
    # what the misses of a cache do
    assert seconds(800_000) < 40 * seconds(2_000)


# -- minima ----------------------------------------------------------------------------


def minimiser(case):
    """Least objective by SciPy, on coefficients split into their two signs."""
    problem, n = case.problem(), N_FEATURES * case.K

    def parts(x):
        W = (x[:n] - x[n : 2 * n]).reshape(N_FEATURES, case.K)
        return W, x[2 * n :]

    def smooth(x):
        W, b = parts(x)
        value, g, g_b = problem.evaluate(W, b, np.empty((N_ROWS, case.K)))
        l1, l2 = case.penalty.l1, case.penalty.l2
        g = (g + l2 * W).ravel()
        return (
            value + 0.5 * l2 * (W**2).sum() + l1 * x[: 2 * n].sum(),
            np.concatenate([g + l1, -g + l1, g_b]),
        )

    bounds = [(0, None)] * (2 * n) + [(None, None)] * case.K
    found = minimize(
        smooth,
        np.zeros(2 * n + case.K),
        jac=True,
        bounds=bounds,
        method="L-BFGS-B",
        options={"maxiter": 10_000, "maxfun": 100_000, "ftol": 1e-16, "gtol": 1e-11},
    )
    return problem.objective(*parts(found.x))


@pytest.mark.parametrize(
    "kind", [np.ascontiguousarray, sp.csr_array], ids=["dense", "csr"]
)
@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize(
    "loss, n_outputs",
    [("squared_error", 1), ("squared_error", 2), ("smooth_hinge", 1), ("log_cosh", 1)],
)
def test_batch_descent_reaches_the_minimum(loss, n_outputs, penalty, kind):
    check_descent(Case(loss, n_outputs, penalty, alpha=0.02), kind)


@pytest.mark.parametrize(
    "kind", [np.ascontiguousarray, sp.csr_array], ids=["dense", "csr"]
)
@pytest.mark.parametrize(
    "penalty", ["l2", "l1", "elasticnet"]
)  # without one there is no minimum
def test_batch_descent_reaches_the_minimum_of_softmax(penalty, kind):
    check_descent(Case("multinomial", 3, penalty, alpha=0.02), kind)


def check_descent(case, kind):
    eta, l2 = 0.3, case.penalty.l2
    W, b, _, method = case.run(
        SCHEDULES["constant"](eta), 0, n_passes=12_000, kind=kind
    )
    best, reached = minimiser(case), case.problem().objective(W, b)
    # the gradient ends at eta l2^2 W / 2, and F - F* <= |gradient|^2 / (2 l2)
    allowed = eta**2 * l2**3 * (W**2).sum() / 8
    assert -1e-9 <= reached - best <= 1.01 * allowed + 1e-8 * best


@pytest.mark.parametrize("batch_size, average", [(1, 0), (1, 2000), (7, 0)])
@pytest.mark.parametrize("penalty", ["l2", "l1"])
def test_stochastic_descent_approaches_the_minimum(penalty, batch_size, average):
    case = Case(penalty=penalty, alpha=0.02)
    schedule = SCHEDULES["invscaling"](1.0 / N_FEATURES, 0.5)
    W, b, averages, _ = case.run(schedule, batch_size, average, n_passes=2000)
    best = minimiser(case)
    start = case.problem().objective(np.zeros_like(W), np.zeros(1))
    gap = case.problem().objective(*(averages or (W, b))) - best
    assert -1e-9 <= gap <= 1e-2 * (start - best)  # the noise of the last rates


# -- state -----------------------------------------------------------------------------


@pytest.mark.parametrize("average", [0, 1, 60])
@pytest.mark.parametrize(
    "kind", [np.ascontiguousarray, sp.csr_array], ids=["dense", "csr"]
)
@pytest.mark.parametrize("penalty", PENALTIES)
def test_a_method_goes_on_from_its_pickled_state(penalty, kind, average):
    case = Case(penalty=penalty)
    make = SCHEDULES_UNDER_TEST["invscaling"]
    whole = case.run(make(), 7, average, n_passes=4, kind=kind)
    W, b = case.W0.copy(), case.b0.copy()
    state = None
    for order in orders(4):
        method = SGDMethod(case.problem(kind), W, b, make(), 7, average, state)
        method.advance(order, 0, 20)
        method.advance(order, 20, N_ROWS)
        method.finish_pass()
        state = pickle.loads(
            pickle.dumps({k: np.array(v) for k, v in method.state().items()})
        )
        W, b = W.copy(), b.copy()
    assert_same((W, b, method.averages()), whole, 1e-12)


@pytest.mark.parametrize(
    "settings",
    [
        dict(),
        dict(batch_size=7),
        dict(batch_size=None),
        dict(average=5),
        dict(penalty="l1"),
        dict(penalty="elasticnet", batch_size=7, average=True),
        dict(learning_rate="adaptive"),
        dict(positive=True, learning_rate=0.01),
    ],
)
@pytest.mark.parametrize(
    "kind", [np.ascontiguousarray, sp.csr_array], ids=["dense", "csr"]
)
def test_fitting_twice_gives_the_same_bits(settings, kind):
    case = Case()
    settings = {"learning_rate": "invscaling", "max_iter": 5, "tol": None, **settings}
    first, second = (
        GDRegressor(random_state=3, **settings).fit(kind(case.X), case.y)
        for _ in range(2)
    )
    assert_array_equal(first.coef_, second.coef_)
    assert_array_equal(first.intercept_, second.intercept_)
    assert_array_equal(first.loss_curve_, second.loss_curve_)


@pytest.mark.parametrize(
    "batch_size, cuts",
    [(1, [0, 1, 13, 45]), (1, list(range(46))), (7, [0, 7, 28, 45]), (5, [0, 40, 45])],
)
@pytest.mark.parametrize("average", [False, True, 4])
@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize(
    "kind", [np.ascontiguousarray, sp.csr_array], ids=["dense", "csr"]
)
def test_cutting_the_stream_at_batch_borders_gives_the_same_bits(
    kind, penalty, average, batch_size, cuts
):
    case = Case()
    X, y = kind(case.X), case.y > 0
    make = lambda: GDClassifier(
        learning_rate="invscaling",
        eta0=0.1,
        penalty=penalty,
        alpha=ALPHA,
        batch_size=batch_size,
        average=average,
        shuffle=False,
    )
    whole = make().partial_fit(X, y, [False, True])
    parts = make()
    for start, stop in itertools.pairwise(cuts):
        parts.partial_fit(X[start:stop], y[start:stop], [False, True])
    assert_array_equal(parts.coef_, whole.coef_)
    assert_array_equal(parts.intercept_, whole.intercept_)
    assert parts.t_ == whole.t_


@pytest.mark.parametrize(
    "kind", [np.ascontiguousarray, sp.csr_array], ids=["dense", "csr"]
)
def test_a_pickle_between_two_calls_changes_nothing(kind):
    case = Case()
    X, y = kind(case.X), case.y
    make = lambda: GDRegressor(
        learning_rate="invscaling",
        penalty="l1",
        alpha=ALPHA,
        average=True,
        shuffle=False,
    )
    whole, parts = make().partial_fit(X, y), make().partial_fit(X[:20], y[:20])
    parts = pickle.loads(pickle.dumps(parts)).partial_fit(X[20:], y[20:])
    assert_allclose(parts.coef_, whole.coef_, rtol=1e-12, atol=1e-14)
    assert parts.t_ == whole.t_


# -- the rate of "auto" ----------------------------------------------------------------


@pytest.mark.parametrize(
    "loss", [n for n, c in LOSSES.items() if c.curvature_bound < np.inf]
)
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_the_automatic_rate_of_batch_descent_never_lets_the_objective_rise(loss, scale):
    case = Case(penalty="l2")
    case.X = case.X * scale
    rng = np.random.RandomState(0)
    y = (
        rng.randn(N_ROWS)
        if LOSSES[loss].targets == "real"
        else rng.randint(2, size=N_ROWS)
    )
    if LOSSES[loss].targets == "sign":
        y = 2 * y - 1
    problem = Problem(case.X, y, LOSSES[loss](), case.penalty)
    W, b = np.zeros((N_FEATURES, 1)), np.zeros(1)
    schedule, state = automatic(problem, SGD(), 0, 0, W, b)
    method = SGD().method(
        problem, W, b, schedule=schedule, batch_size=0, state=state
    )
    values = []
    for order in orders(30):
        values.append(problem.objective(W, b))
        method.advance(order, 0, N_ROWS)
        method.finish_pass()
        method.settle()
    assert (np.diff(values) <= 1e-12 * values[0]).all()


@pytest.mark.parametrize("learning_rate", ["auto", 0.05])
def test_a_start_given_by_the_user_is_not_written_to(learning_rate):
    case = Case(weights=False)
    coef, intercept = case.W0[:, 0].copy(), case.b0.copy()
    model = GDRegressor(learning_rate=learning_rate)
    model.fit(case.X, case.y, coef_init=coef, intercept_init=intercept)
    model.coef_, model.intercept_ = coef, intercept
    model.partial_fit(case.X, case.y)
    assert_array_equal(coef, case.W0[:, 0])
    assert_array_equal(intercept, case.b0)


def test_estimators_steps_are_those_of_the_method():
    case = Case(weights=False, penalty="l2")
    model = GDRegressor(
        learning_rate=0.05,
        penalty="l2",
        alpha=ALPHA,
        shuffle=False,
        max_iter=1,
        batch_size=7,
        tol=None,
    )
    model.fit(case.X, case.y, coef_init=case.W0[:, 0], intercept_init=case.b0)
    W, b = case.W0.copy(), case.b0.copy()
    method = SGDMethod(case.problem(), W, b, SCHEDULES["constant"](0.05), 7)
    method.advance(np.arange(N_ROWS, dtype=np.intp), 0, N_ROWS)
    method.finish_pass()
    method.settle()
    assert_array_equal(model.coef_, W[:, 0])
    assert_array_equal(model.intercept_, b)


@pytest.mark.parametrize("batch_size", [40, 256, 300])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("n_features", [8, 54, 128, 784])
def test_batches_of_dense_rows_step_along_their_mean_gradient(n_features, dtype, batch_size):
    rng = np.random.RandomState(0)
    X = (rng.randn(700, n_features) / n_features**0.5).astype(dtype)
    y, s = (rng.rand(700) < 0.5).astype(int), rng.rand(700)
    model = GDClassifier(
        optimizer="sgd", learning_rate=0.5, batch_size=batch_size, penalty=None,
        shuffle=False, max_iter=2, tol=None,
    ).fit(X, y, sample_weight=s)
    w, b = np.zeros(n_features), 0.0
    for start in 2 * list(range(0, 700, batch_size)):
        rows = slice(start, start + batch_size)
        A = X[rows].astype(float)
        d = s[rows] / s.mean() * (1.0 / (1.0 + np.exp(-(A @ w + b))) - y[rows])
        w, b = w - 0.5 * A.T @ d / len(A), b - 0.5 * d.mean()
    assert_allclose(model.coef_[0], w, rtol=1e-10, atol=1e-13)
    assert_allclose(model.intercept_, b, rtol=1e-10, atol=1e-13)
