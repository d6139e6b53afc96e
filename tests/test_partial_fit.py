"""``partial_fit``: one stream however cut, checked before it moves, always resumed."""

import copy
import pickle
import signal
import warnings
from time import perf_counter

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.preprocessing import scale

from sgdest import GDClassifier, GDRegressor
from sgdest.optimizers import SGD, STEP_OPTIMIZERS

RNG = np.random.default_rng(0)
ORDER = RNG.permutation(150)
IRIS = (scale(load_iris().data)[ORDER], load_iris().target[ORDER])
CANCER = (scale(load_breast_cancer().data), load_breast_cancer().target)
DIABETES = (scale(load_diabetes().data), scale(load_diabetes().target))
PAIRS = (DIABETES[0], np.column_stack([DIABETES[1], DIABETES[0][:, 2] - DIABETES[1]]))

STREAMS = {
    "binary": (GDClassifier, CANCER, {"classes": [0, 1]}),
    "softmax": (GDClassifier, IRIS, {"classes": [0, 1, 2]}),
    "numbers": (GDRegressor, DIABETES, {}),
    "pairs": (GDRegressor, PAIRS, {}),
}
METHODS = {
    "default": {},
    "sgd": dict(learning_rate=0.01),
    "l1": dict(learning_rate=0.01, penalty="l1", alpha=0.01),
    "averaged": dict(learning_rate="invscaling", average=20),
    "batches": dict(learning_rate=0.05, batch_size=8),
}


def snapshot(model):
    """Everything that a model holds, as bytes: equal only if bit for bit."""
    return pickle.dumps(
        [(k, v) for k, v in sorted(model.__getstate__().items()) if k != "optimizer_"]
    )


def streamed(model, X, y, cuts, **options):
    """The model after one call per part of the rows."""
    for a, b in zip((0, *cuts), (*cuts, len(y))):
        model.partial_fit(X[a:b], y[a:b], **options)
    return model


def assert_same_bits(a, b):
    assert_array_equal(a.coef_, b.coef_)
    assert_array_equal(a.intercept_, b.intercept_)
    assert a.t_ == b.t_
    for name in a.optimizer_state_:
        assert_array_equal(a.optimizer_state_[name], b.optimizer_state_[name])


# -- cuts ------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", [np.asarray, sp.csr_array], ids=["dense", "csr"])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", STREAMS)
def test_cutting_the_rows_differently_gives_the_same_bits(name, method, layout):
    kind, (X, y), options = STREAMS[name]
    X, y = layout(X[:120]), y[:120]
    models = [
        streamed(kind(shuffle=False, **METHODS[method]), X, y, cuts, **options)
        for cuts in ((), (64,), (8, 16, 80, 112))
    ]
    for other in models[1:]:
        assert_same_bits(models[0], other)


@pytest.mark.parametrize("layout", [np.asarray, sp.csr_array], ids=["dense", "csr"])
@pytest.mark.parametrize("method", METHODS)
def test_looking_at_the_model_between_steps_changes_it_by_rounding_only(method, layout):
    X, y = layout(DIABETES[0]), DIABETES[1]
    blind, seen = (GDRegressor(shuffle=False, **METHODS[method]) for _ in "ab")
    for a in range(0, 400, 40):
        blind.partial_fit(X[a : a + 40], y[a : a + 40])
        seen.partial_fit(X[a : a + 40], y[a : a + 40])
        assert seen.coef_ is not None
    assert_allclose(seen.coef_, blind.coef_, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("name", STREAMS)
def test_looking_at_the_default_stream_changes_no_bit(name):
    kind, (X, y), options = STREAMS[name]
    blind, seen = kind(random_state=0, penalty="l1"), kind(random_state=0, penalty="l1")
    for a in range(0, 100, 20):
        blind.partial_fit(X[a : a + 20], y[a : a + 20], **options)
        seen.partial_fit(X[a : a + 20], y[a : a + 20], **options)
        assert seen.coef_ is not None and seen.intercept_ is not None
        seen.predict(X[:3])
    assert_same_bits(blind, seen)


def test_one_call_is_one_step_where_the_batch_is_the_whole_set():
    X, y = DIABETES
    model = GDRegressor(batch_size=None, learning_rate=0.1, alpha=0.0)
    W, b = np.zeros(10), 0.0
    for part in (slice(0, 100), slice(100, 130), slice(130, 442)):
        r = X[part] @ W + b - y[part]
        W, b = W - 0.1 * X[part].T @ r / len(r), b - 0.1 * r.mean()
        model.partial_fit(X[part], y[part])
    assert model.t_ == 3
    assert_allclose(model.coef_, W, rtol=1e-12)
    assert_allclose(model.intercept_, [b], rtol=1e-12)


def test_a_batch_does_not_reach_into_the_next_call():
    X, y = DIABETES
    model = GDRegressor(batch_size=64, learning_rate=0.01).partial_fit(X[:100], y[:100])
    assert model.t_ == 2


# -- checks ----------------------------------------------------------------------------

BAD_ROWS = {
    "unknown label": (lambda X, y: (X, np.where(y == 1, 7, y), None), "7"),
    "NaN in X": (lambda X, y: (np.where(X == X[3, 2], np.nan, X), y, None), "NaN"),
    "another width": (lambda X, y: (X[:, :3], y, None), "features"),
    "lengths": (lambda X, y: (X, y[:-1], None), "inconsistent"),
    "negative weight": (lambda X, y: (X, y, -np.ones(len(y))), "sample_weight"),
    "NaN weight": (lambda X, y: (X, y, np.full(len(y), np.nan)), "NaN"),
    "weights of another length": (lambda X, y: (X, y, np.ones(3)), "sample_weight"),
    "malformed CSR": (lambda X, y: (_broken_csr(X), y, None), "malformed"),
}


def _broken_csr(X):
    X = sp.csr_array(X)
    X.indices[5] = X.shape[1] + 4
    return X


@pytest.mark.parametrize("optimizer", ["auto", "sgd"])
@pytest.mark.parametrize("bad", BAD_ROWS)
def test_a_call_that_raises_leaves_the_model_bit_for_bit(bad, optimizer):
    X, y = CANCER
    model = GDClassifier(optimizer=optimizer, random_state=0)
    model.partial_fit(X[:50], y[:50], classes=[0, 1])
    before = snapshot(model)
    spoil, message = BAD_ROWS[bad]
    X_bad, y_bad, weights = spoil(X[50:90], y[50:90])
    with pytest.raises(ValueError, match=message):
        model.partial_fit(X_bad, y_bad, sample_weight=weights)
    assert snapshot(model) == before
    with pytest.raises(ValueError, match=message):
        model.partial_fit(X_bad, y_bad, classes=[0, 1, 2, 3], sample_weight=weights)
    assert snapshot(model) == before


@pytest.mark.parametrize("bad", BAD_ROWS)
def test_a_first_call_that_raises_leaves_no_model(bad):
    X, y = CANCER
    spoil, message = BAD_ROWS[bad]
    X_bad, y_bad, weights = spoil(X[50:90], y[50:90])
    if bad == "another width":
        return  # the first call decides the width
    model = GDClassifier()
    with pytest.raises(ValueError, match=message):
        model.partial_fit(X_bad, y_bad, classes=[0, 1], sample_weight=weights)
    assert vars(model) == vars(GDClassifier())


BAD_PARAMETERS = {
    "rate of a solver": dict(optimizer="lbfgs", learning_rate=0.1),
    "penalty_weights": dict(penalty_weights=[1.0, 2.0]),
    "class_weight": dict(class_weight={0: 1.0, 5: 2.0}),
    "alpha": dict(alpha=-1.0),
    "early_stopping": dict(early_stopping=True),
    "scale": dict(penalty_weights="scale"),
}


@pytest.mark.parametrize("name", BAD_PARAMETERS)
def test_parameters_are_checked_before_the_model_moves(name):
    X, y = CANCER
    model = GDClassifier(random_state=0).partial_fit(X[:50], y[:50], classes=[0, 1])
    model.set_params(**BAD_PARAMETERS[name])
    before = snapshot(model)
    for classes in (None, [0, 1, 2]):
        with pytest.raises(ValueError):
            model.partial_fit(X[50:90], y[50:90], classes=classes)
        assert snapshot(model) == before
    fresh = GDClassifier(**BAD_PARAMETERS[name])
    with pytest.raises(ValueError):
        fresh.partial_fit(X[50:90], y[50:90], classes=[0, 1])
    assert not hasattr(fresh, "classes_") and not hasattr(fresh, "coef_")


def test_a_regressor_refuses_another_number_of_targets():
    X, y = PAIRS
    model = GDRegressor().partial_fit(X[:50], y[:50])
    before = snapshot(model)
    with pytest.raises(ValueError, match="2 target"):
        model.partial_fit(X[:50], y[:50, 0])
    assert snapshot(model) == before


@pytest.mark.skipif(
    not hasattr(signal, "setitimer"), reason="needs a timer that interrupts"
)
@pytest.mark.parametrize("batch_size", [1, 64])
def test_an_interrupt_leaves_the_last_whole_step(batch_size):
    rng = np.random.default_rng(0)
    X = rng.integers(0, 4, size=(2_000_000, 16), dtype=np.uint8)
    y = X[:, 0] - 1.0
    options = dict(learning_rate=1e-4, batch_size=batch_size, shuffle=False)
    model = GDRegressor(**options).partial_fit(X[:batch_size], y[:batch_size])

    def interrupt(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            while True:  # a call may end before the alarm
                model.partial_fit(X, y)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert np.isfinite(model.coef_).all() and model.t_ == int(model.t_)
    other = pickle.loads(pickle.dumps(model))
    for m in (model, other):
        m.partial_fit(X[:256], y[:256])
    assert_same_bits(model, other)


# -- classes ---------------------------------------------------------------------------


def test_the_first_call_needs_the_classes():
    with pytest.raises(ValueError, match="classes must be passed"):
        GDClassifier().partial_fit(*CANCER)


@pytest.mark.parametrize("labels", [[0, 1, 2], [-3, 4, 90], ["b", "c", "a"]])
@pytest.mark.parametrize("loss", ["log_loss", "hinge"])
def test_more_labels_than_before_add_classes(loss, labels):
    X, y = IRIS
    y = np.array(labels)[y]
    first, last = sorted(set(labels))[:2], sorted(set(labels))
    two = np.isin(y, first)
    model = GDClassifier(loss=loss, random_state=0)
    model.partial_fit(X[two], y[two], classes=first)
    before = model.predict(X)
    assert model.coef_.shape == (1, 4)
    model.partial_fit(X[: 0 + 1], y[:1], classes=last, sample_weight=[0.0])
    assert model.coef_.shape == (3, 4) and model.intercept_.shape == (3,)
    assert_array_equal(model.classes_, last)
    old = model.decision_function(X)[:, np.isin(last, first)]
    assert_array_equal(np.array(first)[old.argmax(axis=1)], before)
    for _ in range(100):
        model.partial_fit(X, y)
    # the limit of both is the model of all rows at once: as good as that to 3 rows
    assert model.score(X, y) >= GDClassifier(loss=loss).fit(X, y).score(X, y) - 0.02


def test_growing_softmax_keeps_the_odds_of_the_old_classes():
    X, y = IRIS
    model = GDClassifier(random_state=0).partial_fit(X[y < 2], y[y < 2], classes=[0, 1])
    odds = model.decision_function(X)
    model.partial_fit(X[:1], y[:1], classes=[0, 1, 2], sample_weight=[0.0])
    z = model.decision_function(X)
    assert_allclose(z[:, 1] - z[:, 0], odds, rtol=1e-12, atol=1e-12)


def test_four_classes_grow_from_three():
    X, y = IRIS
    model = GDClassifier(random_state=0).partial_fit(X, y, classes=[0, 1, 2])
    z = model.decision_function(X)
    model.partial_fit(X[:1], y[:1], classes=[0, 1, 2, 1.5], sample_weight=[0.0])
    assert_array_equal(model.classes_, [0, 1, 1.5, 2])
    assert_array_equal(model.decision_function(X)[:, [0, 1, 3]], z)


def test_classes_cannot_be_taken_away():
    X, y = IRIS
    model = GDClassifier().partial_fit(X, y, classes=[0, 1, 2])
    before = snapshot(model)
    with pytest.raises(ValueError, match="not taken away|not the same as on last call"):
        model.partial_fit(X, y, classes=[0, 1])
    assert snapshot(model) == before


def test_the_same_classes_in_another_order_are_the_same():
    X, y = IRIS
    a = GDClassifier(random_state=0).partial_fit(X, y, classes=[0, 1, 2])
    b = GDClassifier(random_state=0).partial_fit(X, y, classes=[2, 0, 1, 1])
    a.partial_fit(X, y)
    b.partial_fit(X, y, classes=[1, 2, 0])
    assert_same_bits(a, b)


def test_a_batch_may_lack_classes():
    X, y = IRIS
    model = GDClassifier(random_state=0).partial_fit(
        X[y == 1], y[y == 1], classes=[0, 1, 2]
    )
    assert (model.predict(X[y == 1]) == 1).all()


# -- weights ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", STREAMS)
def test_rows_without_weight_do_nothing(name):
    kind, (X, y), options = STREAMS[name]
    model = kind(random_state=0).partial_fit(X[:60], y[:60], **options)
    before = snapshot(model)
    assert (
        model.partial_fit(X[60:], y[60:], sample_weight=np.zeros(len(y) - 60)) is model
    )
    assert snapshot(model) == before


@pytest.mark.parametrize("name", STREAMS)
def test_a_first_call_without_weight_makes_the_zero_model(name):
    kind, (X, y), options = STREAMS[name]
    model = kind().partial_fit(X, y, sample_weight=np.zeros(len(y)), **options)
    assert not model.coef_.any() and not model.intercept_.any()
    assert model.t_ == 0
    assert model.predict(X).shape == y.shape


@pytest.mark.parametrize("name", STREAMS)
def test_fit_refuses_rows_without_weight(name):
    kind, (X, y), _ = STREAMS[name]
    with pytest.raises(ValueError, match="at least one non-zero"):
        kind().fit(X, y, sample_weight=np.zeros(len(y)))


def balanced(totals, codes):
    """n / (n_classes count) by class, with the counts given."""
    return (totals.sum() / (np.count_nonzero(totals) * totals))[codes]


@pytest.mark.parametrize("method", ["default", "sgd"])
@pytest.mark.parametrize("data", [CANCER, IRIS], ids=["binary", "softmax"])
def test_balanced_weights_count_all_rows_so_far_by_their_weight(data, method):
    X, y = data
    s = np.random.default_rng(1).uniform(0.5, 2.0, size=len(y))
    classes = np.unique(y)
    options = dict(METHODS[method], shuffle=False)
    auto = GDClassifier(class_weight="balanced", **options)
    by_hand = GDClassifier(**options)
    totals = np.zeros(len(classes))
    for part in (slice(0, 40), slice(40, 50), slice(50, 150)):
        totals += np.bincount(y[part], weights=s[part], minlength=len(classes))
        auto.partial_fit(X[part], y[part], classes=classes, sample_weight=s[part])
        by_hand.partial_fit(
            X[part],
            y[part],
            classes=classes,
            sample_weight=s[part] * balanced(totals, y[part]),
        )
    assert_allclose(auto.coef_, by_hand.coef_, rtol=1e-10, atol=1e-13)


def test_balanced_counts_go_on_from_fit():
    X, y = CANCER
    options = dict(learning_rate=1e-3, shuffle=False, max_iter=1, tol=None)
    auto = GDClassifier(class_weight="balanced", **options).fit(X[:400], y[:400])
    by_hand = GDClassifier(**options)
    totals = np.bincount(y[:400]).astype(float)
    by_hand.fit(X[:400], y[:400], sample_weight=balanced(totals, y[:400]))
    totals += np.bincount(y[400:])
    auto.partial_fit(X[400:], y[400:])
    by_hand.partial_fit(X[400:], y[400:], sample_weight=balanced(totals, y[400:]))
    assert_allclose(auto.coef_, by_hand.coef_, rtol=1e-10)


def test_class_weights_by_label_are_sample_weights():
    X, y = IRIS
    weights = {0: 1.0, 1: 0.5, 2: 3.0}
    a = GDClassifier(class_weight=weights, shuffle=False)
    b = GDClassifier(shuffle=False)
    for part in (slice(0, 50), slice(50, 150)):
        a.partial_fit(X[part], y[part], classes=[0, 1, 2])
        b.partial_fit(
            X[part],
            y[part],
            classes=[0, 1, 2],
            sample_weight=[weights[k] for k in y[part]],
        )
    assert_same_bits(a, b)


# -- after fit -------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", STREAMS)
def test_partial_fit_goes_on_from_fit(name, method):
    kind, (X, y), _ = STREAMS[name]
    model = kind(random_state=0, max_iter=20, **METHODS[method])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(X, y)
    coef = model.coef_.copy()
    model.partial_fit(X[:1], y[:1])
    # from zero, the first row would leave a model of its own size
    assert 0 < np.linalg.norm(model.coef_ - coef) < 0.2 * np.linalg.norm(coef)


@pytest.mark.parametrize("average", [False, True])
def test_steps_after_fit_are_those_of_a_longer_stream(average):
    X, y = DIABETES
    options = dict(
        learning_rate="invscaling", eta0=0.05, shuffle=False, average=average
    )
    fitted = GDRegressor(max_iter=1, tol=None, **options).fit(X[:300], y[:300])
    fitted.partial_fit(X[300:], y[300:])
    whole = GDRegressor(**options).partial_fit(X, y)
    assert fitted.t_ == whole.t_ == 442
    assert_allclose(fitted.coef_, whole.coef_, rtol=1e-12)
    assert_allclose(fitted.intercept_, whole.intercept_, rtol=1e-12)


@pytest.mark.parametrize("optimizer", STEP_OPTIMIZERS)
def test_without_average_the_model_is_the_last_iterate_again(optimizer):
    X, y = DIABETES
    options = dict(optimizer=optimizer, learning_rate=0.01, shuffle=False)
    once_averaged, plain = GDRegressor(average=True, **options), GDRegressor(**options)
    for model in (once_averaged, plain):
        model.partial_fit(X[:150], y[:150]).partial_fit(X[150:300], y[150:300])
    assert abs(once_averaged.coef_ - plain.coef_).max() > 1e-3
    once_averaged.set_params(average=False)
    for model in (once_averaged, plain):
        model.partial_fit(X[300:], y[300:])
    assert_allclose(once_averaged.coef_, plain.coef_, rtol=1e-9)
    assert_allclose(once_averaged.intercept_, plain.intercept_, rtol=1e-9)


def test_shuffles_go_on_from_those_of_fit():
    X, y = DIABETES
    options = dict(learning_rate=0.01, random_state=3)
    two = GDRegressor(max_iter=2, tol=None, **options).fit(X, y)
    one = GDRegressor(max_iter=1, tol=None, **options).fit(X, y).partial_fit(X, y)
    assert one.t_ == two.t_
    # fit shuffles the order that the epoch before has left, so the orders agree only in
    # their law; the same seed must not be drawn again
    again = GDRegressor(max_iter=1, tol=None, **options).fit(X, y)
    assert one._seed == two._seed != again._seed


def test_streams_of_one_seed_are_equal_and_of_two_seeds_differ():
    X, y = DIABETES
    runs = [
        streamed(GDRegressor(learning_rate=0.01, random_state=seed), X, y, (100, 200))
        for seed in (0, 0, 1)
    ]
    assert_same_bits(runs[0], runs[1])
    assert (runs[0].coef_ != runs[2].coef_).any()


def test_a_parameter_that_changes_takes_effect():
    X, y = DIABETES
    model = GDRegressor(learning_rate=0.01, shuffle=False).partial_fit(X[:100], y[:100])
    coef, intercept = model.coef_.copy(), model.intercept_.copy()
    model.set_params(learning_rate=0.5, alpha=0.0).partial_fit(X[100:101], y[100:101])
    r = X[100] @ coef + intercept[0] - y[100]
    assert_allclose(model.coef_, coef - 0.5 * r * X[100], rtol=1e-12)


def test_partial_fit_between_other_methods_goes_on_from_the_weights():
    X, y = DIABETES
    model = GDRegressor(random_state=0).partial_fit(X[:200], y[:200])
    coef, intercept = model.coef_.copy(), model.intercept_.copy()
    model.set_params(optimizer=SGD(0.01), alpha=0.0).partial_fit(X[200:201], y[200:201])
    r = X[200] @ coef + intercept[0] - y[200]
    assert_allclose(model.coef_, coef - 0.01 * r * X[200], rtol=1e-12)


# -- layouts ---------------------------------------------------------------------------

LAYOUTS = {
    "float32": lambda X: X.astype(np.float32),
    "fortran": np.asfortranarray,
    "csr": sp.csr_array,
    "csr int64": lambda X: _wide(sp.csr_array(X)),
    "csr float32": lambda X: sp.csr_matrix(X.astype(np.float32)),
    "csc": sp.csc_array,
    "list": lambda X: X.tolist(),
    "strided": lambda X: np.repeat(X, 2, axis=0)[::2],
}


def _wide(X):
    X.indices, X.indptr = X.indices.astype(np.int64), X.indptr.astype(np.int64)
    return X


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_layout_may_change_between_calls(layout, method):
    X, y = IRIS
    a, b = (GDClassifier(shuffle=False, **METHODS[method]) for _ in "ab")
    for model, change in ((a, np.asarray), (b, LAYOUTS[layout])):
        model.partial_fit(X[:40], y[:40], classes=[0, 1, 2])
        model.partial_fit(change(X[40:80]), y[40:80])
        model.partial_fit(X[80:], y[80:])
    # float32 input is rounded to 6e-8
    rounding = 1e-5 if "float32" in layout else 1e-11
    assert_allclose(b.coef_, a.coef_, rtol=rounding, atol=rounding)


@pytest.mark.parametrize("method", METHODS)
def test_sparsify_in_between_changes_no_bit(method):
    X, y = CANCER
    a, b = (GDClassifier(random_state=0, **METHODS[method]) for _ in "ab")
    for model in (a, b):
        model.partial_fit(X[:100], y[:100], classes=[0, 1])
        assert (
            model.coef_ is not None
        )  # a penalty that waits is paid when it is looked at
    b.sparsify()
    assert sp.issparse(b.coef_)
    for model in (a, b):
        model.partial_fit(X[100:200], y[100:200])
    assert isinstance(b.coef_, np.ndarray)
    assert_same_bits(a, b)


# -- copies ----------------------------------------------------------------------------


def arrays_of(model):
    """Every array that a model holds."""
    held = [model._W, model._b, *model.optimizer_state_.values()]
    return [a for a in held if isinstance(a, np.ndarray) and a.size]


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy])
@pytest.mark.parametrize("method", METHODS)
def test_copies_share_no_memory_with_what_changes(method, duplicate):
    X, y = CANCER
    model = GDClassifier(random_state=0, **METHODS[method])
    model.partial_fit(X[:100], y[:100], classes=[0, 1])
    other = duplicate(model)
    before = snapshot(other)
    model.partial_fit(X[100:], y[100:])
    assert snapshot(other) == before
    other.partial_fit(X[100:], y[100:])
    assert_same_bits(model, other)
    assert not any(
        np.shares_memory(a, b) for a in arrays_of(model) for b in arrays_of(other)
    )


@pytest.mark.parametrize("method", METHODS)
def test_a_stream_survives_a_pickle_after_every_call(method):
    X, y = IRIS
    kept = GDClassifier(random_state=0, **METHODS[method])
    sent = clone(kept)
    for a in range(0, 150, 30):
        for model in (kept, sent):
            model.partial_fit(X[a : a + 30], y[a : a + 30], classes=[0, 1, 2])
            assert (
                model.coef_ is not None
            )  # a penalty that waits is paid when it is looked at
        sent = pickle.loads(pickle.dumps(sent))
    assert_same_bits(kept, sent)


def test_a_pickle_carries_nothing_compiled():
    X, y = CANCER
    model = GDClassifier(learning_rate=0.01).partial_fit(X[:50], y[:50], classes=[0, 1])
    text = pickle.dumps(model)
    for name in (b"SGDMethod", b"Problem", b"DenseRows", b"_Streak", b"Penalty"):
        assert name not in text


def test_coefficients_read_once_do_not_move_with_the_stream():
    X, y = CANCER
    model = GDClassifier(learning_rate=0.01).partial_fit(X[:50], y[:50], classes=[0, 1])
    held = model.coef_
    values = held.copy()
    model.partial_fit(X[50:], y[50:])
    assert_array_equal(held, values)
    assert not held.flags.writeable


# -- cost ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [{}, dict(learning_rate=0.1), dict(learning_rate=0.1, penalty="l1", average=True)],
    ids=["default", "sgd", "averaged l1"],
)
def test_a_sparse_row_costs_the_same_among_many_features(options):
    def seconds(n_features):
        X = sp.csr_array(
            ([1.0, -2.0], [3, n_features - 1], [0, 2]), shape=(1, n_features)
        )
        model = GDRegressor(**options)
        for _ in range(5):
            model.partial_fit(X, [1.0])
        times = []
        for _ in range(30):
            began = perf_counter()
            model.partial_fit(X, [1.0])
            times.append(perf_counter() - began)
        return np.median(times)

    # reading a million weights takes longer than ten calls
    assert seconds(1_000_000) < 3 * seconds(1_000) + 2e-4


def test_a_stream_ends_near_the_batch_solution():
    X, y = CANCER
    model = GDClassifier(alpha=1e-2, random_state=0)
    for _ in range(50):
        model.partial_fit(X, y, classes=[0, 1])
    batch = LogisticRegression(C=1 / (1e-2 * len(y)), tol=1e-8, max_iter=1000).fit(X, y)
    loss = [
        np.logaddexp(0, -(2 * y - 1) * m.decision_function(X)).mean()
        + 5e-3 * (m.coef_**2).sum()
        for m in (model, batch)
    ]
    # in random order the distance shrinks as 1 / sqrt(t), and 50 passes have been made
    assert loss[0] - loss[1] < 0.02 * loss[1]


def test_rows_after_a_fit_move_least_squares_as_a_fit_of_all_rows_would():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(1200, 4)) @ rng.normal(size=(4, 4)) * [1, 10, 100, 1e4] + [0, 50, 3, 1e5]
    y = X @ [1, 0.1, 0.01, 1e-4] + rng.normal(size=1200)
    for data in (X, sp.csr_array(X)):
        streamed = GDRegressor(alpha=1e-3, random_state=0).fit(data[:200], y[:200])
        before = streamed.coef_
        whole = GDRegressor(alpha=1e-3).fit(X, y).coef_
        far, left = ((coef - whole) * X.std(axis=0)
                     for coef in (before, streamed.partial_fit(data[200:], y[200:]).coef_))
        assert np.linalg.norm(left) <= 0.2 * np.linalg.norm(far)


def test_a_hundred_rows_after_a_fit_do_not_throw_the_optimum_away():
    X, y = load_breast_cancer(return_X_y=True)  # skewed columns: one row may dominate
    changes = []
    for seed in range(8):
        first, new, rest = np.split(np.random.default_rng(seed).permutation(len(y)), [284, 384])
        model = GDClassifier().fit(X[first], y[first])
        before = log_loss(y[rest], model.predict_proba(X[rest]))
        for i in new:
            model.partial_fit(X[[i]], y[[i]])
        changes.append(log_loss(y[rest], model.predict_proba(X[rest])) / before - 1.0)
    assert np.mean(changes) <= 0.01
