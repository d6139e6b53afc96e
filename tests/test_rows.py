"""Rows read X as SciPy does, in every layout, and let no malformed array through."""

import tracemalloc

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import linear_model

from sgdest import GDClassifier, GDRegressor, compat
from sgdest._core.losses import LOSSES
from sgdest._core.penalties import PENALTIES
from sgdest._core.problem import Problem
from sgdest._core.rows import DENSE_TYPES, SPARSE_TYPES, CSRRows, DenseRows, as_rows
from sgdest.compat import SGDClassifier, SGDRegressor

N_ROWS, N_FEATURES = 23, 19  # odd, so that every kernel runs its remainder loop


def numbers():
    """Small integers, exact in every type, with empty rows and an empty column."""
    rng = np.random.RandomState(0)
    X = rng.randint(0, 100, size=(N_ROWS, N_FEATURES)) * (
        rng.rand(N_ROWS, N_FEATURES) < 0.4
    )
    X[[0, 7, N_ROWS - 1]] = 0
    X[:, 5] = 0
    return X.astype(np.float64)


def csr(X, dtype=np.float64, index_type=np.int32, kind=sp.csr_array):
    A = kind(X.astype(dtype))
    A.indices, A.indptr = A.indices.astype(index_type), A.indptr.astype(index_type)
    return A


def with_unsorted_columns(X):
    A = csr(X)
    for i in range(N_ROWS):
        part = slice(A.indptr[i], A.indptr[i + 1])
        A.indices[part], A.data[part] = (
            A.indices[part][::-1].copy(),
            A.data[part][::-1].copy(),
        )
    A.has_sorted_indices = False
    return A


def with_duplicate_columns(X):
    """Every entry twice, by halves."""
    A = csr(X)
    return sp.csr_array(
        (np.repeat(A.data / 2, 2), np.repeat(A.indices, 2), 2 * A.indptr), shape=X.shape
    )


def with_slack(X):
    """More values and indices in memory than indptr tells of, as SciPy allows."""
    A = csr(X)
    B = sp.csr_array(X.shape)
    B.data = np.append(A.data, [np.nan, np.nan])
    B.indices = np.append(A.indices, [-1, 10**6]).astype(np.int32)
    B.indptr = A.indptr
    return B


def read_only(X):
    X = X.copy()
    X.flags.writeable = False
    return X


def read_only_csr(X):
    A = csr(X)
    for array in (A.data, A.indices, A.indptr):
        array.flags.writeable = False
    return A


IN_PLACE = {np.dtype(t).name: lambda X, t=t: X.astype(t) for t in DENSE_TYPES}
IN_PLACE["read-only"] = read_only
IN_PLACE["rows of a slice"] = lambda X: np.vstack([X, X])[5 : 5 + N_ROWS]
IN_PLACE["rows of a float32 slice"] = lambda X: np.vstack([X, X]).astype(np.float32)[
    3 : 3 + N_ROWS
]
for _dtype in SPARSE_TYPES:
    for _index in (np.int32, np.int64):
        for _kind in (sp.csr_array, sp.csr_matrix):
            _name = f"{_kind.__name__} {np.dtype(_dtype).name} {np.dtype(_index).name}"
            IN_PLACE[_name] = lambda X, d=_dtype, i=_index, k=_kind: csr(X, d, i, k)
IN_PLACE["read-only csr"] = read_only_csr
IN_PLACE["unsorted columns"] = with_unsorted_columns
IN_PLACE["unused entries"] = with_slack

CONVERTED = {
    "Fortran": np.asfortranarray,
    "every other column": lambda X: np.repeat(X, 2, axis=1)[:, ::2],
    "every other row": lambda X: np.repeat(X, 2, axis=0)[::2],
    "reversed": lambda X: X[::-1],
    "byte-swapped": lambda X: X.astype(">f8"),
    "misaligned": lambda X: misaligned(X),
    "duplicate columns": with_duplicate_columns,
    "duplicate columns, int64": lambda X: csr_with_wide_indices(
        with_duplicate_columns(X)
    ),
    "csr int64 values": lambda X: csr(X, np.int64),
    "csr bool indices of two types": lambda X: csr_with_two_index_types(X),
}
for _name in ("int16", "uint16", "int32", "int64", "float16", "longdouble"):
    CONVERTED[_name] = lambda X, t=_name: X.astype(t)


def misaligned(X):
    raw = np.empty(X.nbytes + 1, dtype=np.uint8)
    out = raw[1:].view(np.float64).reshape(X.shape)
    out[...] = X
    return out


def csr_with_wide_indices(A):
    A.indices, A.indptr = A.indices.astype(np.int64), A.indptr.astype(np.int64)
    return A


def csr_with_two_index_types(X):
    A = csr(X)
    A.indptr = A.indptr.astype(np.int64)
    return A


EVERY = {**IN_PLACE, **CONVERTED}


def dense_form(made):
    """What SciPy or NumPy makes of the input, in float64."""
    if sp.issparse(made):
        n = made.indptr[made.shape[0]]
        rows = np.repeat(np.arange(made.shape[0]), np.diff(made.indptr))
        out = np.zeros(made.shape)
        np.add.at(out, (rows, made.indices[:n]), made.data[:n])
        return out
    return made.astype(np.float64)


@pytest.fixture(params=EVERY, name="made")
def _made(request):
    return EVERY[request.param](numbers())


def scaled_like_the_sum(X, other):
    """Rounding of a sum of ``X.shape[1]`` products in float64, entry by entry."""
    return (
        4
        * np.finfo(float).eps
        * np.sqrt(X.shape[1])
        * (np.abs(X) @ np.abs(other)).max()
    )


@pytest.mark.parametrize("n_outputs", [1, 2, 3, 4, 5, 8, 17, 35])
def test_margins_are_the_product_plus_the_intercepts(made, n_outputs):
    rng = np.random.RandomState(n_outputs)
    X, W, b = dense_form(made), rng.randn(N_FEATURES, n_outputs), rng.randn(n_outputs)
    assert_allclose(
        as_rows(made).margins(W, b),
        X @ W + b,
        rtol=1e-13,
        atol=scaled_like_the_sum(X, W),
    )


@pytest.mark.parametrize("n_outputs", [1, 2, 3, 4, 5, 8, 17, 35])
def test_sums_of_rows_are_the_transposed_product(made, n_outputs):
    rng = np.random.RandomState(n_outputs)
    X, D = dense_form(made), rng.randn(N_ROWS, n_outputs)
    # the slope of (y - z)^2 / 2 at z = 0 is -y
    problem = Problem(
        as_rows(made),
        -D,
        LOSSES["squared_error"](),
        PENALTIES[None](),
        n_outputs=n_outputs,
    )
    zeros = np.zeros((N_FEATURES, n_outputs))
    _, g, g_b = problem.evaluate(zeros, np.zeros(n_outputs), np.empty_like(D))
    assert_allclose(g * N_ROWS, X.T @ D, rtol=1e-13, atol=scaled_like_the_sum(X.T, D))
    assert_allclose(g_b * N_ROWS, D.sum(axis=0), rtol=1e-13, atol=1e-13)


def test_square_norms_are_those_of_the_rows(made):
    assert_allclose(
        as_rows(made).square_norms(), (dense_form(made) ** 2).sum(axis=1), rtol=1e-14
    )


def test_a_row_reads_as_distinct_columns_and_their_values(made):
    X, rows = dense_form(made), as_rows(made)
    for i in range(N_ROWS):
        columns, values = rows.row(i)
        assert len(np.unique(columns)) == len(columns)
        assert_array_equal(values, X[i, columns])
        assert np.count_nonzero(X[i]) == np.count_nonzero(values)
    for i in (-1, N_ROWS):
        with pytest.raises(IndexError, match=f"row {i} of {N_ROWS}"):
            rows.row(i)


def test_rows_know_their_shape_and_how_much_they_hold(made):
    rows = as_rows(made)
    assert (rows.n_rows, rows.n_features) == (N_ROWS, N_FEATURES)
    assert rows.is_sparse == sp.issparse(made)
    stored = (
        np.count_nonzero(dense_form(made)) if rows.is_sparse else N_ROWS * N_FEATURES
    )
    assert rows.n_stored == stored


def test_moments_are_the_weighted_mean_variance_and_largest_value(made):
    rng = np.random.RandomState(1)
    X, s = dense_form(made), rng.rand(N_ROWS) * (rng.rand(N_ROWS) < 0.8)
    problem = Problem(
        as_rows(made),
        np.zeros(N_ROWS),
        LOSSES["squared_error"](),
        PENALTIES[None](),
        sample_weight=s,
    )
    mean, variance, largest = problem.moments()
    expected = s @ X / s.sum()
    assert_allclose(mean, expected, rtol=1e-13)
    assert_allclose(variance, s @ (X - expected) ** 2 / s.sum(), rtol=1e-11)
    assert_array_equal(largest, np.abs(X[s > 0]).max(axis=0))


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.uint8, np.int8])
def test_moments_of_many_columns_are_those_of_each(dtype):
    rng = np.random.default_rng(2)
    X = rng.integers(0, 100, (39, 2100)).astype(dtype)
    one = Problem(X, np.zeros(39), LOSSES["squared_error"](), PENALTIES[None]())
    mean, variance, largest = one.moments()
    X = X.astype(float)
    assert_allclose(mean, X.mean(axis=0), rtol=1e-13)
    assert_allclose(variance, X.var(axis=0), rtol=1e-11)
    assert_array_equal(largest, X.max(axis=0))


@pytest.mark.parametrize("name", IN_PLACE)
def test_what_can_be_used_in_place_is_not_copied(name):
    made = IN_PLACE[name](numbers())
    X = as_rows(made).X
    if not sp.issparse(made):
        assert np.shares_memory(X, made)
        return
    for part in ("data", "indices", "indptr"):
        assert np.shares_memory(getattr(X, part), getattr(made, part))


@pytest.mark.parametrize(
    "make",
    [
        lambda X: X,
        lambda X: X.astype(np.uint8),
        sp.csr_array,
        lambda X: csr(X, np.float32, np.int64),
    ],
    ids=["float64", "uint8", "csr", "csr float32 int64"],
)
def test_learning_in_place_takes_no_memory_of_the_size_of_x(make):
    X = make(np.random.RandomState(0).randint(1, 100, size=(2000, 500)).astype(float))
    y = np.arange(2000) % 2
    size = X.data.nbytes + X.indices.nbytes if sp.issparse(X) else X.nbytes
    model = GDClassifier(learning_rate=1e-6, max_iter=1, tol=None).fit(X[:2], y[:2])
    tracemalloc.start()
    model.fit(X, y)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (
        peak < 0.25 * size
    )  # 72 bytes a row and the finiteness check, by blocks, fit in


def test_the_input_is_never_written_to(made):
    before = dense_form(made)
    stored = made.data.copy() if sp.issparse(made) else made.copy()
    y = np.arange(N_ROWS) % 2
    GDClassifier(learning_rate=1e-3, max_iter=2, tol=None).fit(
        sp.csr_array(before) if sp.issparse(made) else made, y
    )
    as_rows(made).margins(np.ones((N_FEATURES, 1)), np.zeros(1))
    assert_array_equal(made.data if sp.issparse(made) else made, stored)


@pytest.mark.parametrize("dtype", DENSE_TYPES)
@pytest.mark.parametrize("mode", ["r", "c"])
def test_memory_maps_are_read_where_they_are(tmp_path, dtype, mode):
    numbers().astype(dtype).tofile(tmp_path / "X")
    X = np.memmap(tmp_path / "X", dtype=dtype, mode=mode, shape=(N_ROWS, N_FEATURES))
    rows = as_rows(X)
    assert np.shares_memory(rows.X, X)
    W = np.random.RandomState(0).randn(N_FEATURES, 1)
    assert_allclose(rows.margins(W, np.zeros(1)), numbers() @ W, rtol=1e-12, atol=1e-11)
    y = np.arange(N_ROWS) % 2
    model = GDClassifier(alpha=0.1).fit(X, y)
    assert_array_equal(
        model.coef_, GDClassifier(alpha=0.1).fit(numbers().astype(dtype), y).coef_
    )


def test_memory_mapped_csr_is_read_where_it_is(tmp_path):
    A = csr(numbers())
    parts = {}
    for name in ("data", "indices", "indptr"):
        np.save(tmp_path / f"{name}.npy", getattr(A, name))
        parts[name] = np.load(tmp_path / f"{name}.npy", mmap_mode="r")
    B = sp.csr_array((parts["data"], parts["indices"], parts["indptr"]), shape=A.shape)
    assert np.shares_memory(as_rows(B).X.data, parts["data"])
    W = np.random.RandomState(0).randn(N_FEATURES, 1)
    assert_array_equal(
        as_rows(B).margins(W, np.zeros(1)), as_rows(A).margins(W, np.zeros(1))
    )


OTHER_INPUTS = {
    "list": lambda X: X.tolist(),
    "Fortran": np.asfortranarray,
    "csc_array": sp.csc_array,
    "csc_matrix": sp.csc_matrix,
    "coo_array": sp.coo_array,
    "coo_matrix": sp.coo_matrix,
    "lil_array": sp.lil_array,
    "dok_array": sp.dok_array,
    "bsr_array": sp.bsr_array,
    "strided": lambda X: np.repeat(X, 3, axis=1)[:, ::3],
    "int32": lambda X: X.astype(np.int32),
    "int64": lambda X: X.astype(np.int64),
    "uint8": lambda X: X.astype(np.uint8),
    "int8": lambda X: X.astype(np.int8),
    "float32": lambda X: X.astype(np.float32),
    "csr int64 values": lambda X: csr(X, np.int64),
    "csr float32": lambda X: csr(X, np.float32, np.int64),
}


@pytest.mark.parametrize("name", OTHER_INPUTS)
def test_every_layout_a_user_may_give_makes_the_same_model(name):
    X, y = numbers(), np.arange(N_ROWS) % 3
    fit = lambda X: GDClassifier(alpha=0.1, tol=1e-10).fit(X, y)
    expected, made = fit(X), OTHER_INPUTS[name](X)
    model = fit(made)
    # as far as the solutions of two summation orders agree
    assert_allclose(model.coef_, expected.coef_, rtol=1e-6, atol=1e-9)
    assert_allclose(
        model.decision_function(made),
        expected.decision_function(X),
        rtol=1e-6,
        atol=1e-7,
    )


@pytest.mark.parametrize("shape", [(4, 0), (0, 4), (0, 0)])
@pytest.mark.parametrize("kind", [np.zeros, sp.csr_array])
def test_no_rows_and_no_columns_are_rows_too(kind, shape):
    rows = as_rows(kind(shape))
    z = rows.margins(np.ones((shape[1], 2)), np.array([1.0, 2.0]))
    assert_array_equal(z, np.tile([1.0, 2.0], (shape[0], 1)))
    assert_array_equal(rows.square_norms(), np.zeros(shape[0]))


def test_parameters_of_another_shape_are_refused():
    rows = as_rows(numbers())
    for W, b in (
        (np.ones((N_FEATURES - 1, 1)), np.ones(1)),
        (np.ones((N_FEATURES, 1)), np.ones(2)),
    ):
        with pytest.raises(ValueError, match="n_features, n_outputs"):
            rows.margins(W, b)


@pytest.mark.parametrize("dtype", [np.int32, np.float16])
def test_dense_rows_refuse_a_type_that_they_cannot_read(dtype):
    with pytest.raises(TypeError, match="must be of one of"):
        DenseRows(np.zeros((2, 2), dtype=dtype))


# -- malformed CSR ---------------------------------------------------------------------


def broken(**parts):
    """A CSR array with parts of its structure overwritten behind SciPy's back."""
    A = sp.csr_array(np.array([[1.0, 0, 2], [0, 3, 0], [4, 0, 5], [0, 6, 0]]))
    for name, value in parts.items():
        setattr(A, name, value)
    return A


BROKEN = {
    "index too high": dict(indices=np.array([0, 2, 1, 0, 3, 1], np.int32)),
    "index huge": dict(indices=np.array([0, 2, 1, 0, 2**31 - 1, 1], np.int32)),
    "index huge, int64": dict(
        indices=np.array([0, 2, 1, 0, 2**40, 1]), indptr=np.array([0, 2, 3, 5, 6])
    ),
    "index negative": dict(indices=np.array([0, -1, 1, 0, 2, 1], np.int32)),
    "indptr not from 0": dict(indptr=np.array([1, 2, 3, 5, 6], np.int32)),
    "indptr from below 0": dict(indptr=np.array([-1, 2, 3, 5, 6], np.int32)),
    "indptr decreases": dict(indptr=np.array([0, 3, 2, 5, 6], np.int32)),
    "indptr out and back": dict(indptr=np.array([0, 2, 10**6, 5, 6], np.int32)),
    "indptr past the end": dict(indptr=np.array([0, 2, 3, 5, 60], np.int32)),
    "indptr too long": dict(indptr=np.array([0, 2, 3, 5, 6, 6], np.int32)),
    "indptr too short": dict(indptr=np.array([0, 2, 3, 5], np.int32)),
    "indptr empty": dict(indptr=np.array([], np.int32)),
    "fewer values than indices": dict(data=np.ones(5)),
    "fewer indices than values": dict(indices=np.array([0, 2, 1, 0, 2], np.int32)),
    "float indices": dict(indices=np.array([0.0, 2, 1, 0, 2, 1])),
    "float indices with parts": dict(indices=np.array([0.0, 1.5, 1, 0, 2, 1])),
    "float indptr": dict(indptr=np.array([0.0, 2, 3, 5, 6])),
    "2-D indices": dict(indices=np.array([[0, 2, 1], [0, 2, 1]], np.int32)),
    "2-D indptr": dict(indptr=np.array([[0, 2, 3, 5, 6]], np.int32)),
    "2-D data": dict(data=np.ones((6, 1))),
    "uint64 indices that wrap": dict(
        indices=np.array([0, 2, 1, 0, 2**64 - 1, 1], np.uint64)
    ),
    "uint64 indptr that wraps": dict(
        indptr=np.array([0, 2, 2**64 - 1, 5, 6], np.uint64)
    ),
    "int64 indices that wrap in 32 bits": dict(
        indices=np.array([0, 2, 1, 0, 2**32 + 1, 1])
    ),
    "complex indices": dict(indices=np.array([0, 2, 1, 0, 2, 1], complex)),
    "object indices": dict(indices=np.array([0, 2, 1, 0, 2, 1], object)),
}


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("kind", [sp.csr_array, sp.csr_matrix])
def test_malformed_csr_is_refused_with_a_reason(name, kind):
    A = broken(**BROKEN[name])
    if kind is sp.csr_matrix:
        B = sp.csr_matrix(np.ones(A.shape))
        B.data, B.indices, B.indptr = A.data, A.indices, A.indptr
        A = B
    with pytest.raises(ValueError, match="malformed CSR array: .*Rebuild X"):
        as_rows(A)


@pytest.mark.parametrize(
    "method", ["fit", "early stopping", "partial_fit", "predict", "X_val"]
)
@pytest.mark.parametrize("name", BROKEN)
def test_malformed_csr_never_reaches_an_estimators_loops(name, method):
    A, y, sound = broken(**BROKEN[name]), np.array([0, 1, 0, 1]), broken()
    model = GDClassifier(learning_rate=0.1, max_iter=1, tol=None)
    with pytest.raises(ValueError, match="malformed CSR array"):
        if method == "fit":
            model.fit(A, y)
        elif method == "early stopping":
            model.set_params(early_stopping=True, validation_fraction=0.5).fit(A, y)
        elif method == "partial_fit":
            model.partial_fit(A, y, classes=[0, 1])
        elif method == "X_val":
            model.fit(sound, y, X_val=A, y_val=y)
        else:
            model.fit(sound, y).predict(A)
    assert method == "predict" or not hasattr(model, "coef_")


@pytest.mark.parametrize("name", BROKEN)
def test_malformed_csr_is_refused_after_sound_data_of_its_shape(name):
    y = np.array([0, 1, 0, 1])
    model = GDClassifier(penalty="l1", warm_start=True, max_iter=50)
    for _ in range(3):
        model.fit(broken(), y)
    with pytest.raises(ValueError, match="malformed CSR array"):
        model.fit(broken(**BROKEN[name]), y)


def outside(A, value=1000):
    (A.col if A.format == "coo" else A.indices)[2] = value


MISTAKES = {
    "index too high": outside,
    "index negative": lambda A: outside(A, -1),
    "indptr ends with 0": lambda A: A.indptr.__setitem__(-1, 0),
    # differences of 32 bits: 2**31 - 1, then 1 after the overflow
    "indptr out and back": lambda A: A.indptr.__setitem__([1, 2], [2**31 - 1, -(2**31)]),
    "float indices": lambda A: setattr(A, "indices", A.indices + 0.5),
    "flat data": lambda A: setattr(A, "data", A.data.reshape(-1, 1)),
    "indptr too long": lambda A: setattr(A, "indptr", np.append(A.indptr, A.indptr[-1])),
}
OTHER_FORMATS = [(kind, mistake) for kind in (sp.csc_array, sp.bsr_array, sp.coo_array)
                 for mistake in MISTAKES if kind is not sp.coo_array or mistake.startswith("index")]


@pytest.mark.parametrize("method", ["fit", "partial_fit", "predict"])
@pytest.mark.parametrize("estimator", [GDClassifier, GDRegressor, SGDClassifier, SGDRegressor])
@pytest.mark.parametrize(("kind", "mistake"), OTHER_FORMATS)
def test_malformed_arrays_of_other_formats_are_refused_too(kind, mistake, estimator, method):
    X, y = np.array([[1.0, 0, 2], [0, 3, 0], [4, 0, 5], [0, 6, 0]]), np.array([0, 1, 0, 1])
    A, model = kind(X), estimator()
    MISTAKES[mistake](A)
    if method != "fit":
        model.fit(X, y)
    with pytest.raises(ValueError, match="malformed"):
        model.predict(A) if method == "predict" else getattr(model, method)(A, y)


@pytest.mark.parametrize("kind", [sp.csr_array, sp.csc_array, sp.bsr_array, sp.coo_array])
@pytest.mark.parametrize("estimator", [GDRegressor, SGDRegressor])
def test_sparse_objects_that_are_numbers_are_learned(estimator, kind):
    A = kind(np.array([[1.0, 0], [0, 2]]))
    expected = estimator(random_state=0).fit(A, [0, 1])
    A.data = A.data.astype(object)
    assert_array_equal(estimator(random_state=0).fit(A, [0, 1]).coef_, expected.coef_)


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("kind", [SGDClassifier, SGDRegressor])
def test_malformed_csr_never_reaches_the_predictions_of_compat(name, kind):
    model = kind().fit(broken(), [0, 1, 0, 1]).sparsify()
    with pytest.raises(ValueError, match="malformed CSR array"):
        model.predict(broken(**BROKEN[name]))


def test_csr_rows_that_are_sound_come_as_csr_rows():
    assert isinstance(as_rows(broken()), CSRRows)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.uint8, np.int8])
def test_rows_long_enough_to_be_asked_for_bit_by_bit_make_the_same_steps(dtype):
    rng = np.random.default_rng(0)
    X = rng.integers(0, 3, (60, 1100)).astype(dtype)
    y = X[:, 0] > 0
    settings = dict(optimizer="sgd", learning_rate=0.001, max_iter=3, tol=None, random_state=0)
    dense = GDClassifier(**settings).fit(X, y).coef_
    sparse = GDClassifier(**settings).fit(sp.csr_array(X.astype(np.float64)), y).coef_
    assert_allclose(dense, sparse, rtol=1e-10, atol=1e-13)
    if dtype in (np.float64, np.float32):
        ours, theirs = (
            kind(loss="hinge", max_iter=3, tol=None, random_state=0).fit(X.astype(np.float64), y)
            for kind in (compat.SGDClassifier, linear_model.SGDClassifier)
        )
        assert_allclose(ours.coef_, theirs.coef_, rtol=1e-10, atol=1e-12)


def rows_of_many_lengths():
    """X and y; a row that asks for the next ones meets shorter and longer ones."""
    rng = np.random.default_rng(0)
    n_stored = rng.integers(0, 400, 200)
    X = np.zeros((200, 600))
    for row, n in zip(X, n_stored):
        row[rng.choice(600, n, replace=False)] = rng.standard_normal(n) / 20
    return X, X @ rng.standard_normal(600) > 0


@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize("penalty", ["l2", "l1", "elasticnet"])
@pytest.mark.parametrize("batch_size", [1, 16])
def test_long_sparse_rows_make_the_steps_of_dense_ones(batch_size, penalty, positive):
    X, y = rows_of_many_lengths()
    model = GDClassifier(optimizer="sgd", learning_rate="optimal", alpha=1e-2, max_iter=3, tol=None,
                         batch_size=batch_size, penalty=penalty, positive=positive, random_state=0)
    expected = model.fit(X, y).coef_
    assert_allclose(model.fit(sp.csr_array(X), y).coef_, expected, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("penalty", ["l1", "elasticnet"])
def test_long_sparse_rows_pay_the_cumulative_penalty_of_scikit_learn(penalty, dtype):
    X, y = rows_of_many_lengths()
    X = sp.csr_matrix(X.astype(dtype))
    settings = dict(loss="log_loss", penalty=penalty, alpha=1e-3, max_iter=3, tol=None,
                    random_state=0)
    ours, theirs = (kind(**settings).fit(X, y).coef_
                    for kind in (compat.SGDClassifier, linear_model.SGDClassifier))
    assert (theirs == 0.0).any() and (theirs != 0.0).any()
    assert_array_equal(ours == 0.0, theirs == 0.0)
    # scikit-learn computes in the type of X
    tolerance = 1e-10 if dtype == np.float64 else 1e-3
    assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance * np.abs(theirs).max())


@pytest.mark.parametrize("n_classes", [3, 4, 5, 10, 16, 17, 33])
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int8])
def test_classes_that_share_a_walk_over_the_rows_make_the_steps_of_each_alone(dtype, n_classes):
    rng = np.random.default_rng(0)
    X = rng.integers(-3, 4, (150, 13)).astype(dtype)
    y = np.arange(150) % n_classes
    # the strong penalty settles its factor on the way
    model = GDClassifier("squared_hinge", optimizer="sgd", learning_rate=0.01, alpha=10.0,
                         max_iter=3, tol=None, shuffle=False)
    coef = model.fit(X, y).coef_
    for k in range(n_classes):
        assert_allclose(coef[k], model.fit(X, y == k).coef_[0], rtol=1e-11, atol=1e-14)
