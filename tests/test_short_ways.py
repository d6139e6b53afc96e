"""The compiled ways around scikit-learn's checks find, say and predict the same."""

import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import linear_model
from sklearn.metrics import accuracy_score, r2_score
from sklearn.utils.validation import check_array

from sgdest import GDClassifier, GDRegressor, compat
from sgdest._core.labels import distinct, encode, take
from sgdest._core.rows import sound_margins, surely_finite

RNG = np.random.default_rng(0)
CODES = RNG.integers(0, 5, 200)
LABELS = {
    "int64": CODES - 2,
    "int32": CODES.astype(np.int32),
    "int16": CODES.astype(np.int16),
    "bool": CODES > 2,
    "float": CODES - 2.5,
    "zeros of both signs": np.where(CODES > 2, 0.0, -0.0) + (CODES == 0),
    "str": np.array(["b", "a", "word", "", "a word"])[CODES],
    "odd bytes": np.array([b"abc", b"ab", b"a", b"c", b"b"])[CODES],
    "same objects": np.array(["no", "yes", "or", "and", "if"], dtype=object)[CODES],
    "other objects": np.array([str(code) for code in CODES], dtype=object),
    "many": RNG.permutation(1000),
    "256 of them": RNG.permutation(np.arange(512) % 256),
    "strided": np.repeat(CODES, 2)[::2],
    "two, falling": 3 - (CODES > 2),
    "two floats, falling": 0.5 - (CODES > 2),
    "two zeros": np.where(CODES > 2, 0.0, -0.0),
    "a number and NaN": np.where(CODES > 2, 1.0, np.nan),
    "one": CODES[:1],
    "none": CODES[:0],
}


@pytest.mark.parametrize("y", LABELS.values(), ids=LABELS.keys())
def test_labels_are_encoded_as_numpy_does(y):
    labels, codes = encode(y)
    expected, inverse = np.unique(y, return_inverse=True)
    assert_array_equal(labels, expected)
    assert labels.dtype == expected.dtype
    assert_array_equal(codes, inverse)
    assert_array_equal(take(np.arange(len(labels)), codes), inverse)


def test_more_than_256_labels_are_left_to_sorting():
    assert distinct(np.arange(256)) is not None
    assert distinct(np.arange(257)) is None


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("layout", [np.ascontiguousarray, np.asfortranarray, sp.csr_array])
@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_a_number_that_is_not_finite_is_found_anywhere(dtype, layout, wrong):
    X = RNG.standard_normal((700, 7)).astype(dtype)
    assert surely_finite(layout(X))
    for place in (0, 2500, X.size - 1):
        bad = X.copy()
        bad.flat[place] = wrong
        assert not surely_finite(layout(bad))
        for estimator in (GDClassifier(), compat.SGDClassifier()):
            with pytest.raises(ValueError) as ours:
                estimator.fit(layout(bad), X[:, 0] > 0)
            with pytest.raises(ValueError) as theirs:
                check_array(layout(bad), accept_sparse=True, input_name="X", estimator=estimator)
            assert str(theirs.value).split("\n")[0] in str(ours.value)


@pytest.mark.parametrize(
    "X", [np.ones((2, 3), dtype=int), np.ones((2, 6))[:, ::2], [[1.0]], np.ones((2, 3), dtype=">f8")]
)
def test_what_is_not_surely_finite_is_left_to_scikit_learn(X):
    assert not surely_finite(X)


def test_numbers_whose_squares_overflow_are_data():
    X = np.array([[1e200], [-1e200], [1e300], [-1e300]])
    assert not surely_finite(X)
    assert_array_equal(compat.SGDClassifier().fit(X, [1, 0, 1, 0]).predict(X), [1, 0, 1, 0])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("layout", [np.array, sp.csr_array, sp.csr_matrix])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_predictions_are_those_of_scikit_learn(dtype, layout, n_classes):
    X = RNG.standard_normal((300, 6)).astype(dtype)
    y = np.array(["x", "y", "z"])[RNG.integers(0, n_classes, 300)]
    ours = compat.SGDClassifier(max_iter=5, tol=None, random_state=0).fit(layout(X), y)
    theirs = linear_model.SGDClassifier(max_iter=5, tol=None, random_state=0).fit(layout(X), y)
    theirs.coef_, theirs.intercept_ = ours.coef_, ours.intercept_
    for rows in (layout(X), layout(X)[:1]):
        scores = theirs.decision_function(rows)
        assert ours.decision_function(rows).dtype == scores.dtype
        assert_allclose(ours.decision_function(rows), scores, rtol=0,
                        atol=10 * np.finfo(dtype).eps * np.abs(scores).max())
        assert_array_equal(ours.predict(rows), theirs.predict(rows))


ESTIMATORS = [GDClassifier, GDRegressor, compat.SGDClassifier, compat.SGDRegressor]


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize(
    "wrong, message",
    [
        (np.full((1, 3), np.nan), "NaN"),
        (np.full((2, 3), np.inf), "infinity"),
        (np.ones((1, 2)), "2 features"),
        (np.ones(3), "Expected 2D"),
        (np.ones((0, 3)), "0 sample"),
        (sp.csr_array(np.full((1, 3), np.nan)), "NaN"),
        (np.ones((1, 3), dtype=complex), "[Cc]omplex"),
    ],
)
def test_predict_refuses_what_scikit_learn_refuses(estimator, wrong, message):
    X = RNG.standard_normal((30, 3))
    model = estimator().fit(X, X[:, 0] > 0)
    with pytest.raises(ValueError, match=message):
        model.predict(wrong)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_rows_without_names_are_told_of_after_a_fit_with_names(estimator):
    pandas = pytest.importorskip("pandas")
    X = pandas.DataFrame(RNG.standard_normal((30, 2)), columns=["a", "b"])
    model = estimator().fit(X, X["a"] > 0)
    with pytest.warns(UserWarning, match="valid feature names"):
        model.predict(X.to_numpy())


def test_margins_have_no_short_way_where_a_column_without_weight_is_not_finite():
    W, b = np.array([[0.0], [1.0]]), np.zeros(1)
    for wrong in (np.nan, np.inf):
        assert sound_margins(np.array([[wrong, 1.0]]), W, b) is None
        assert sound_margins(sp.csr_array([[wrong, 1.0]]), W, b) is None
    assert_array_equal(sound_margins(np.array([[5.0, 1.0]]), W, b), [[1.0]])


@pytest.mark.parametrize("labels", [np.array([3, 7, 9]), np.array(["a", "bb", "c"])])
def test_accuracy_is_that_of_scikit_learn(labels):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, 4)), labels.take(rng.integers(0, 3, 60))
    model = GDClassifier().fit(X, y)
    for target in (y, y.tolist()):
        assert model.score(X, target) == accuracy_score(target, model.predict(X))
    s = rng.random(60)
    assert model.score(X, y, s) == accuracy_score(y, model.predict(X), sample_weight=s)


def test_the_share_of_the_variance_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 4))
    y = X[:, 0] + rng.normal(size=60)
    model = GDRegressor().fit(X, y)
    for target in (y, y.tolist(), y.astype(np.float32), np.full(60, 2.0), y[:1]):
        rows = X[: len(target)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of one row
            assert_allclose(model.score(rows, target), r2_score(target, model.predict(rows)),
                            rtol=1e-12)
    with pytest.raises(ValueError, match="NaN"):
        model.score(X, np.append(y[:-1], np.nan))
    with pytest.raises(ValueError, match="inconsistent"):
        model.score(X, y[:-1])


def test_a_subclass_has_parameters_of_its_own():
    class Own(GDClassifier):
        def __init__(self, alpha=1.0, extra=2):
            super().__init__(alpha=alpha)
            self.extra = extra

    assert "penalty" in GDClassifier().get_params()
    assert Own().get_params() == {"alpha": 1.0, "extra": 2}
