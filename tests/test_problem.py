"""A problem is one function: its value, gradient and moments are the formula's."""

import itertools
import pickle

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal

from reference import objective_and_gradient

from sgdest._core.losses import LOSSES, Multinomial
from sgdest._core.penalties import PENALTIES
from sgdest._core.problem import Problem

N_ROWS, N_FEATURES = 530, 7  # three blocks of rows, the last one short

LAYOUTS = {
    "float64": lambda X: X,
    "float32": lambda X: X.astype(np.float32),
    "int8": lambda X: X.astype(np.int8),
    "csr": sp.csr_array,
    "csr float32": lambda X: sp.csr_matrix(X.astype(np.float32)),
}
FACTORS = np.array([0.0, 1.0, 0.5, 2.0, 1.0, 3.0, 1.0])


def targets(loss, n_outputs, rng):
    """Targets in the loss's domain; class codes for labels and several outputs."""
    kind = loss.targets
    if kind == "class" or (n_outputs > 1 and kind in ("binary", "sign")):
        return rng.randint(n_outputs, size=N_ROWS).astype(float)
    shape = (N_ROWS,) if n_outputs == 1 else (N_ROWS, n_outputs)
    y = {
        "real": rng.randn,
        "nonnegative": lambda *s: rng.poisson(1.0, s).astype(float),
        "positive": lambda *s: 0.1 + rng.rand(*s),
        "binary": lambda *s: rng.randint(2, size=s),
        "sign": lambda *s: 2 * rng.randint(2, size=s) - 1,
    }[kind](*shape)
    return np.asarray(y, dtype=float)


class Case:
    """A problem, where to evaluate it, and what it was made from."""

    def __init__(
        self,
        loss,
        n_outputs=1,
        layout="float64",
        weights=True,
        intercept=True,
        offset=True,
        penalty="elasticnet",
        factors=FACTORS,
        n_threads=1,
    ):
        rng = np.random.RandomState(0)
        X = rng.randint(-3, 4, size=(N_ROWS, N_FEATURES)) * (
            rng.rand(N_ROWS, N_FEATURES) < 0.6
        )
        self.X = X.astype(np.float64)
        self.loss, self.K = loss, n_outputs
        self.y = targets(loss, n_outputs, rng)
        self.s = rng.rand(N_ROWS) * (rng.rand(N_ROWS) < 0.9) if weights else None
        self.o = 0.5 * rng.randn(N_ROWS, n_outputs) if offset else None
        self.penalty = PENALTIES[penalty](0.2, 0.3, False, factors)
        self.W, self.b = 0.3 * rng.randn(N_FEATURES, n_outputs), 0.1 * rng.randn(
            n_outputs
        )
        self.intercept = intercept
        self.problem = Problem(
            LAYOUTS[layout](self.X),
            self.y,
            loss,
            self.penalty,
            sample_weight=self.s,
            offset=self.o,
            fit_intercept=intercept,
            n_outputs=n_outputs,
            n_threads=n_threads,
        )

    def reference(self):
        """By NumPy: mean loss, gradients, margins, slopes, mean curvature."""
        s = np.ones(N_ROWS) if self.s is None else self.s
        z = self.X @ self.W + self.b + (0 if self.o is None else self.o)
        if self.loss.targets == "class":
            rows = [
                self.loss.evaluate(self.y[i : i + 1], z[i : i + 1])
                for i in range(N_ROWS)
            ]
            value = np.array([row[0] for row in rows])[:, None]
            d, h = (np.vstack([row[m] for row in rows]) for m in (1, 2))
        else:
            value, d, h = np.vectorize(self.loss.evaluate_point)(self.encoded(), z)
        mean = lambda v: s @ v / s.sum()
        g_b = mean(d) if self.intercept else np.zeros(self.K)
        return (
            mean(value).sum(),
            self.X.T @ (s[:, None] * d) / s.sum(),
            g_b,
            z,
            d,
            mean(h),
        )

    def encoded(self):
        """One target per row and output."""
        if self.y.ndim == 2 or self.K == 1:
            return self.y.reshape(N_ROWS, self.K)
        one = np.eye(self.K)[self.y.astype(int)]
        return one if self.loss.targets == "binary" else 2 * one - 1


LOSS_CASES = [(name, K) for name in LOSSES for K in (1, 3)] + [("multinomial", 3)]


def loss_of(name):
    return Multinomial() if name == "multinomial" else LOSSES[name]()


@pytest.fixture(
    params=list(
        itertools.product(
            LOSS_CASES, ["float64", "float32", "csr"], [True, False], [True, False]
        )
    ),
    ids=lambda p: f"{p[0][0]}-{p[0][1]}-{p[1]}-{'weights' * p[2]}-{'intercept' * p[3]}",
)
def case(request):
    (name, n_outputs), layout, weights, intercept = request.param
    return Case(loss_of(name), n_outputs, layout, weights, intercept)


# sums of up to 530 numbers of size about one, in float64
SAME = dict(rtol=1e-12, atol=1e-13)


def test_value_gradient_and_margins_are_the_formula(case):
    value, g, g_b, z, d, h = case.reference()
    room = np.empty((N_ROWS, case.K))
    ours = case.problem.evaluate(case.W, case.b, room)
    assert_allclose(ours[0], value, **SAME)
    assert_allclose(ours[1], g, **SAME)
    assert_allclose(ours[2], g_b, **SAME)
    assert_allclose(room, z, **SAME)
    assert_allclose(case.problem.margins(case.W, case.b), z, **SAME)
    without = case.problem.evaluate(case.W, case.b, room, gradient=False)
    assert without == (ours[0], None, None)


def test_slopes_curvature_and_targets_are_the_formula(case):
    _, _, _, z, d, h = case.reference()
    assert_allclose(case.problem.slopes(z), d, **SAME)
    assert_allclose(case.problem.mean_curvature(z), h, **SAME)
    expected = case.y[:, None] if case.loss.targets == "class" else case.encoded()
    assert_array_equal(case.problem.targets(), expected)


def test_the_line_along_a_direction_is_the_loss_there(case):
    rng = np.random.RandomState(1)
    P, p_b = rng.randn(*case.W.shape), rng.randn(case.K)
    z = case.problem.margins(case.W, case.b)
    along = case.problem.rows.margins(P, p_b)
    assert_allclose(along, case.X @ P + p_b, **SAME)
    for t in (0.0, 0.3):
        value, rate = case.problem.line(z, along, t)
        moved = case.problem.evaluate(
            case.W + t * P, case.b + t * p_b, np.empty_like(z)
        )
        assert_allclose(value, moved[0], rtol=1e-11)
        g_b = moved[2] if case.intercept else None
        if g_b is not None:
            assert_allclose(
                rate, np.sum(moved[1] * P) + g_b @ p_b, rtol=1e-10, atol=1e-11
            )


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("factors", [None, FACTORS], ids=["alike", "factors"])
@pytest.mark.parametrize("n_outputs", [1, 3])
def test_objective_is_mean_loss_plus_penalty_and_gradient_is_its_slope(
    penalty, factors, n_outputs
):
    case = Case(LOSSES["squared_error"](), n_outputs, penalty=penalty, factors=factors)
    value, g, g_b, *_ = case.reference()
    c = np.ones((N_FEATURES, 1)) if factors is None else factors[:, None]
    l1 = 0.2 * {None: 0, "l2": 0, "l1": 1, "elasticnet": 0.3}[penalty]
    l2 = 0.2 * {None: 0, "l2": 1, "l1": 0, "elasticnet": 0.7}[penalty]
    size = l1 * np.abs(c * case.W).sum() + 0.5 * l2 * ((c * case.W) ** 2).sum()
    assert_allclose(case.problem.objective(case.W, case.b), value + size, **SAME)
    ours = objective_and_gradient(case.problem, case.W, case.b)
    assert_allclose(ours[0], value + size, **SAME)
    assert_allclose(ours[1], g + l1 * c * np.sign(case.W) + l2 * c**2 * case.W, **SAME)
    assert_allclose(ours[2], g_b, **SAME)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("n_outputs", [1, 2, 5])
def test_every_layout_is_the_same_function(layout, n_outputs):
    plain = Case(LOSSES["log_cosh"](), n_outputs)
    other = Case(LOSSES["log_cosh"](), n_outputs, layout)
    expected = objective_and_gradient(plain.problem, plain.W, plain.b)
    for ours, theirs in zip(
        objective_and_gradient(other.problem, plain.W, plain.b), expected
    ):
        assert_allclose(ours, theirs, **SAME)
    for ours, theirs in zip(other.problem.moments(), plain.problem.moments()):
        assert_allclose(ours, theirs, **SAME)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("weights", [True, False])
@pytest.mark.parametrize(
    "name, n_outputs",
    [("squared_error", 1), ("squared_error", 2), ("hinge", 3), ("multinomial", 3)],
)
@pytest.mark.parametrize(
    "index",
    [np.array([3, 500, 3, 7]), np.arange(N_ROWS) % 3 == 1, slice(None, None, 100)],
    ids=["integers", "booleans", "slice"],
)
def test_a_subset_is_the_problem_of_those_rows(layout, weights, name, n_outputs, index):
    case = Case(loss_of(name), n_outputs, layout, weights)
    part = case.problem.subset(index)
    whole = Case(loss_of(name), n_outputs, layout, weights)
    rows = np.arange(N_ROWS)[index]
    s = np.ones(N_ROWS) if case.s is None else case.s
    counts = np.bincount(rows, minlength=N_ROWS) * s
    by_weight = Problem(
        LAYOUTS[layout](whole.X),
        whole.y,
        whole.loss,
        whole.penalty,
        sample_weight=counts,
        offset=whole.o,
        n_outputs=n_outputs,
    )
    assert part.n_rows == len(rows)
    ours = objective_and_gradient(part, case.W, case.b)
    for a, b in zip(ours, objective_and_gradient(by_weight, case.W, case.b)):
        assert_allclose(a, b, **SAME)


@pytest.mark.parametrize("layout", ["float64", "csr"])
def test_a_weight_of_k_is_k_copies_and_of_zero_none(layout):
    case = Case(LOSSES["huber"](), 1, layout, weights=False)
    counts = np.random.RandomState(2).randint(0, 4, size=N_ROWS)
    rows = np.repeat(np.arange(N_ROWS), counts)
    weighted = Problem(
        LAYOUTS[layout](case.X),
        case.y,
        case.loss,
        case.penalty,
        sample_weight=counts,
        offset=case.o,
    )
    copied = Problem(
        LAYOUTS[layout](case.X[rows]),
        case.y[rows],
        case.loss,
        case.penalty,
        offset=case.o[rows],
    )
    assert weighted.total_weight == copied.total_weight
    for a, b in zip(
        objective_and_gradient(weighted, case.W, case.b),
        objective_and_gradient(copied, case.W, case.b),
    ):
        assert_allclose(a, b, **SAME)
    for a, b in zip(weighted.moments(), copied.moments()):
        assert_allclose(a, b, **SAME)


def test_large_offsets_of_a_dense_column_keep_the_digits_of_its_variance():
    rng = np.random.RandomState(0)
    noise = rng.randn(400, 1)
    problem = Problem(
        noise + 1e6, np.zeros(400), LOSSES["squared_error"](), PENALTIES[None]()
    )
    # the data itself has lost the digits below 1e6 * eps
    assert_allclose(problem.moments()[1], (noise + 1e6).var(axis=0), rtol=1e-9)
    assert_allclose(problem.moments()[1], noise.var(axis=0), rtol=1e-8)


# -- threads ---------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["float32", "uint8", "csr"])
@pytest.mark.parametrize("name, n_outputs", [("log_loss", 1), ("multinomial", 3)])
def test_the_bits_do_not_depend_on_the_number_of_threads(layout, name, n_outputs):
    rng = np.random.RandomState(0)
    X = rng.randint(0, 9, size=(12_000, 150)).astype(np.float32)
    y = rng.randint(max(2, n_outputs), size=12_000).astype(float)
    A = {"float32": X, "uint8": X.astype(np.uint8), "csr": sp.csr_array(X)}[layout]
    W, b = 0.01 * rng.randn(150, n_outputs), np.zeros(n_outputs)
    results = []
    for n_threads in (1, 2, 3):
        problem = Problem(
            A,
            y,
            loss_of(name),
            PENALTIES["l2"](0.1),
            sample_weight=1 + y,
            n_outputs=n_outputs,
            n_threads=n_threads,
        )
        assert len(problem.chunks()) > 2
        z = np.empty((12_000, n_outputs))
        results.append((*problem.evaluate(W, b, z), z, *problem.moments()))
    for result in results[1:]:
        for ours, first in zip(result, results[0]):
            assert_array_equal(ours, first)


def test_chunks_cover_all_rows_once_and_depend_on_the_data_alone():
    X = np.zeros((9001, 300), dtype=np.uint8)
    cuts = []
    for n_threads in (1, 2, 64):
        problem = Problem(
            X,
            np.zeros(9001),
            LOSSES["squared_error"](),
            PENALTIES[None](),
            n_threads=n_threads,
        )
        cuts.append(problem.chunks())
        stops = [stop for _, stop in cuts[-1]]
        assert [start for start, _ in cuts[-1]] == [0, *stops[:-1]] and stops[
            -1
        ] == 9001
    assert cuts[0] == cuts[1] == cuts[2]


# -- shapes ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, value",
    [
        ("y", np.zeros(4)),
        ("y", np.zeros((5, 2))),
        ("sample_weight", np.ones(4)),
        ("sample_weight", np.ones((5, 1))),
        ("offset", np.zeros(4)),
        ("offset", np.zeros((5, 2))),
    ],
)
def test_arrays_of_another_length_are_refused(name, value):
    arrays = {"y": np.zeros(5), "sample_weight": None, "offset": None, name: value}
    with pytest.raises(ValueError, match=name):
        Problem(
            np.zeros((5, 3)),
            arrays.pop("y"),
            LOSSES["squared_error"](),
            PENALTIES["l2"](),
            **arrays,
        )


def test_factors_of_another_length_are_refused():
    with pytest.raises(ValueError, match="penalty factors"):
        Problem(
            np.zeros((5, 3)),
            np.zeros(5),
            LOSSES["squared_error"](),
            PENALTIES["l2"](1.0, factors=np.ones(4)),
        )


@pytest.mark.parametrize("make", [np.ones, sp.csr_array])
def test_a_problem_without_features_has_its_intercept(make):
    y = np.array([1.0, 2.0, 6.0])
    problem = Problem(make((3, 0)), y, LOSSES["squared_error"](), PENALTIES["l2"](1.0))
    value, g, g_b = objective_and_gradient(problem, np.empty((0, 1)), np.array([1.0]))
    assert_allclose(value, 13.0 / 3.0)
    assert g.shape == (0, 1)
    assert_allclose(g_b, [-2.0])


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("penalty", PENALTIES)
def test_a_pickled_problem_is_the_same_function(penalty, layout):
    case = Case(LOSSES["log_loss"](), 3, layout, penalty=penalty)
    for problem in (case.problem, *case.problem.outputs()):
        K = problem.n_outputs
        again = pickle.loads(pickle.dumps(problem))
        for one, other in zip(objective_and_gradient(again, case.W[:, :K].copy(), case.b[:K]),
                              objective_and_gradient(problem, case.W[:, :K].copy(), case.b[:K])):
            assert_array_equal(one, other)


def placed_within(X, shift):
    """A copy of X that begins ``shift`` numbers after the begin of a cache line."""
    room = np.empty(X.size + 128, dtype=X.dtype)
    first = -room.ctypes.data % 64 // X.itemsize + shift
    copy = room[first : first + X.size].reshape(X.shape)
    copy[...] = X
    return copy


@pytest.mark.parametrize("shift", [0, 2, 5])
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.uint8])
@pytest.mark.parametrize("n_features", [1, 8, 17, 54, 64, 128, 784, 1100])
def test_a_pass_over_dense_rows_adds_each_once_wherever_blocks_and_lines_end(
    n_features, dtype, shift
):
    rng = np.random.RandomState(0)
    for n_rows in (1, 7, 16, 255, 257, 300):
        X = rng.randint(0, 9, size=(n_rows, n_features)).astype(dtype)
        y, s = rng.randn(n_rows), rng.rand(n_rows)
        W, b, z = rng.randn(n_features, 1), np.ones(1), np.empty((n_rows, 1))
        problem = Problem(
            placed_within(X, shift), y, LOSSES["squared_error"](), PENALTIES["l2"](0.1),
            sample_weight=s,
        )
        value, g, g_b = problem.evaluate(W, b, z)
        expected = X.astype(float) @ W[:, 0] + 1.0
        rest = s / s.sum() * (expected - y)
        near = dict(rtol=1e-11, atol=1e-11 * n_features)
        assert_allclose(z[:, 0], expected, **near)
        assert_allclose(value, 0.5 * rest @ (expected - y), rtol=1e-11)
        assert_allclose(g[:, 0], X.astype(float).T @ rest, **near)
        assert_allclose(g_b, rest.sum(), **near)
        known = problem.evaluate(None, b, z)  # margins at hand: the gradient alone
        assert_allclose(known[1], g, **near)
