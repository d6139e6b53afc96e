"""Early stopping: what is watched, when it stops, and which weights are kept."""

import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import accuracy_score, log_loss, r2_score, roc_auc_score
from sklearn.preprocessing import scale

from sgdest import GDClassifier, GDRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.default_rng(0)
ORDER = RNG.permutation(150)
CANCER = (scale(load_breast_cancer().data), load_breast_cancer().target)
IRIS = (scale(load_iris().data)[ORDER], load_iris().target[ORDER])
DIABETES = (scale(load_diabetes().data), scale(load_diabetes().target))
TASKS = {
    "binary": (GDClassifier, CANCER),
    "softmax": (GDClassifier, IRIS),
    "numbers": (GDRegressor, DIABETES),
}
METHODS = {
    "lbfgs": dict(optimizer="lbfgs"),
    "sgd": dict(learning_rate=0.02),
    "batches": dict(learning_rate=0.5, batch_size=16),
    "averaged": dict(learning_rate=0.02, average=True),
    "normalized_adaptive": dict(optimizer="normalized_adaptive"),
}


def halves(data):
    """Rows to learn from, and rows to watch."""
    X, y = data
    return X[::2], y[::2], X[1::2], y[1::2]


class Recorder:
    """A scorer that keeps what it has seen, and scores by a given list of numbers."""

    def __init__(self, scores=()):
        self.scores, self.seen = list(scores), []

    def __call__(self, estimator, X, y):
        self.seen.append((estimator.coef_.copy(), estimator.intercept_.copy(), len(y)))
        return self.scores[min(len(self.seen), len(self.scores)) - 1]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("task", TASKS)
def test_the_best_weights_are_kept_and_ties_go_to_the_later(task, method):
    kind, data = TASKS[task]
    X, y, X_val, y_val = halves(data)
    scorer = Recorder([0.1, 0.3, 0.2, 0.3, 0.25])
    model = kind(
        scoring=scorer,
        max_iter=30,
        tol=1e-4,
        n_iter_no_change=5,
        alpha=0.0,
        random_state=0,
        **METHODS[method],
    )
    model.fit(X, y, X_val=X_val, y_val=y_val)
    # epoch 2 is the last that gains; five more follow
    assert len(model.validation_scores_) == len(scorer.seen) == 7
    assert model.best_epoch_ == 4
    assert model.best_validation_score_ == 0.3
    assert_array_equal(model.coef_, scorer.seen[3][0])
    assert_array_equal(model.intercept_, scorer.seen[3][1])
    assert (scorer.seen[3][0] != scorer.seen[6][0]).any()
    assert model.converged_
    assert_array_equal(model.history_["validation"], model.validation_scores_)


@pytest.mark.parametrize("n_iter_no_change", [1, 2, 4])
def test_it_stops_after_so_many_epochs_without_gain(n_iter_no_change):
    X, y, X_val, y_val = halves(DIABETES)
    scorer = Recorder([0.0, 0.5, 0.50005, 0.4])
    model = GDRegressor(
        scoring=scorer, learning_rate=0.01, n_iter_no_change=n_iter_no_change
    )
    model.fit(X, y, X_val=X_val, y_val=y_val)
    # a gain of half of tol is none, but its weights are kept
    assert model.n_iter_ == 2 + n_iter_no_change
    assert model.best_epoch_ == 3


@pytest.mark.parametrize("method", ["lbfgs", "sgd"])
def test_without_tol_every_epoch_is_made_and_the_best_is_kept(method):
    X, y, X_val, y_val = halves(DIABETES)
    scorer = Recorder([0.0, 1.0, 0.0])
    model = GDRegressor(scoring=scorer, max_iter=9, tol=None, **METHODS[method])
    model.fit(X, y, X_val=X_val, y_val=y_val)
    if method == "sgd":
        assert len(model.loss_curve_) == 9
    assert model.best_epoch_ == 2
    assert_array_equal(model.coef_, scorer.seen[1][0])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("task", TASKS)
def test_the_loss_is_watched_by_default(task, method):
    kind, data = TASKS[task]
    X, y, X_val, y_val = halves(data)
    s = np.random.default_rng(1).uniform(size=len(y_val))
    model = kind(random_state=0, **METHODS[method])
    model.fit(X, y, X_val=X_val, y_val=y_val, sample_weight_val=s)
    if kind is GDRegressor:
        loss = np.average((y_val - model.predict(X_val)) ** 2 / 2, weights=s)
    else:
        loss = log_loss(y_val, model.predict_proba(X_val), sample_weight=s)
    assert_allclose(model.best_validation_score_, -loss, rtol=1e-10)
    assert (
        model.best_validation_score_ == model.validation_scores_[model.best_epoch_ - 1]
    )
    assert model.best_validation_score_ == model.validation_scores_.max()


SCORINGS = [
    (
        GDClassifier,
        CANCER,
        None,
        lambda m, X, y, s: accuracy_score(y, m.predict(X), sample_weight=s),
    ),
    (
        GDClassifier,
        CANCER,
        "roc_auc",
        lambda m, X, y, s: roc_auc_score(y, m.decision_function(X), sample_weight=s),
    ),
    (
        GDClassifier,
        IRIS,
        "neg_log_loss",
        lambda m, X, y, s: -log_loss(y, m.predict_proba(X), sample_weight=s),
    ),
    (
        GDRegressor,
        DIABETES,
        None,
        lambda m, X, y, s: r2_score(y, m.predict(X), sample_weight=s),
    ),
    (
        GDRegressor,
        DIABETES,
        "neg_mean_absolute_error",
        lambda m, X, y, s: -np.average(abs(y - m.predict(X)), weights=s),
    ),
]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("method", ["lbfgs", "sgd"])
@pytest.mark.parametrize("row", SCORINGS, ids=lambda row: f"{row[0].__name__}-{row[2]}")
def test_scoring_may_be_the_score_method_or_a_scorer(row, method, weighted):
    kind, data, scoring, score = row
    X, y, X_val, y_val = halves(data)
    s = np.random.default_rng(1).uniform(size=len(y_val)) if weighted else None
    model = kind(scoring=scoring, random_state=0, max_iter=50, **METHODS[method])
    model.fit(X, y, X_val=X_val, y_val=y_val, sample_weight_val=s)
    assert_allclose(
        model.best_validation_score_, score(model, X_val, y_val, s), rtol=1e-12
    )


@pytest.mark.parametrize("task", TASKS)
def test_auto_watches_if_there_is_validation_data(task):
    kind, data = TASKS[task]
    X, y, X_val, y_val = halves(data)
    options = dict(learning_rate=0.01, max_iter=5, random_state=0)
    for early_stopping, given, watched in [
        ("auto", True, True),
        ("auto", False, False),
        (True, True, True),
        (True, False, True),
        (False, True, False),
        (False, False, False),
    ]:
        model = kind(early_stopping=early_stopping, **options)
        model.fit(X, y, **(dict(X_val=X_val, y_val=y_val) if given else {}))
        assert (model.validation_scores_ is not None) == watched
        assert hasattr(model, "best_validation_score_") == watched
        # rows are held out only if there is nothing else to watch
        held_out = early_stopping is True and not given
        n = len(y) - int(np.ceil(0.1 * len(y))) if held_out else len(y)
        assert model.t_ == n * len(model.loss_curve_)


@pytest.mark.parametrize("fraction", [0.1, 0.25, 0.5])
def test_the_held_out_rows_are_a_stratified_share_of_one_seed(fraction):
    X, y = IRIS
    sizes, scores = [], []

    def scorer(estimator, rows, labels):
        sizes.append(np.bincount(labels))
        return 0.0

    for _ in range(2):
        GDClassifier(
            early_stopping=True,
            validation_fraction=fraction,
            scoring=scorer,
            max_iter=3,
            random_state=5,
        ).fit(X, y)
        model = GDClassifier(
            early_stopping=True, validation_fraction=fraction, random_state=5
        )
        scores.append(model.fit(X, y).validation_scores_)
    assert all(abs(size - fraction * 50).max() <= 1 for size in sizes)
    assert_array_equal(*scores)


@pytest.mark.parametrize(
    "layout", [np.asarray, sp.csr_array, sp.csc_array], ids=["dense", "csr", "csc"]
)
@pytest.mark.parametrize("method", METHODS)
def test_the_layout_of_the_validation_data_does_not_matter(method, layout):
    X, y, X_val, y_val = halves(IRIS)
    model, other = (
        GDClassifier(random_state=0, shuffle=False, **METHODS[method]) for _ in "ab"
    )
    model.fit(X, y, X_val=X_val, y_val=y_val)
    other.fit(layout(X), y, X_val=layout(X_val), y_val=y_val)
    assert_allclose(
        other.validation_scores_[:3], model.validation_scores_[:3], rtol=1e-8
    )


def test_validation_rows_do_not_teach():
    X, y, X_val, y_val = halves(DIABETES)
    options = dict(learning_rate=0.01, max_iter=4, tol=None, random_state=0)
    blind = GDRegressor(**options).fit(X, y)
    watched = GDRegressor(scoring=Recorder(range(9)), **options)
    watched.fit(X, y, X_val=X_val, y_val=y_val)
    assert_array_equal(blind.coef_, watched.coef_)


@pytest.mark.parametrize("method", ["lbfgs", "sgd"])
def test_class_weights_of_the_learned_rows_weigh_the_validation_rows(method):
    X, y, X_val, y_val = halves(CANCER)
    counts = np.bincount(y)
    w = len(y) / (2 * counts)
    a = GDClassifier(class_weight="balanced", random_state=0, **METHODS[method])
    b = GDClassifier(random_state=0, **METHODS[method])
    a.fit(X, y, X_val=X_val, y_val=y_val)
    b.fit(
        X, y, sample_weight=w[y], X_val=X_val, y_val=y_val, sample_weight_val=w[y_val]
    )
    assert_array_equal(a.validation_scores_, b.validation_scores_)
    assert_array_equal(a.coef_, b.coef_)


def test_a_validation_row_of_weight_k_is_k_rows():
    X, y, X_val, y_val = halves(CANCER)
    k = np.random.default_rng(2).integers(0, 4, size=len(y_val))
    for scoring in ("loss", None, "roc_auc"):
        a, b = (GDClassifier(scoring=scoring, alpha=1e-6) for _ in "ab")
        a.fit(X, y, X_val=X_val, y_val=y_val, sample_weight_val=k)
        b.fit(X, y, X_val=np.repeat(X_val, k, axis=0), y_val=np.repeat(y_val, k))
        assert_allclose(a.validation_scores_, b.validation_scores_, rtol=1e-12)
        assert_allclose(a.coef_, b.coef_, rtol=1e-10)


def test_the_certificate_still_stops_a_solver():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(3000, 10))
    y = X @ rng.normal(size=10) + rng.normal(size=3000)
    # scores that rise for ever
    model = GDRegressor(scoring=Recorder(range(10_000)), tol=1e-3)
    model.fit(X, y, X_val=X[:100], y_val=y[:100])
    blind = GDRegressor(tol=1e-3).fit(X, y)
    assert model.converged_ and len(model.loss_curve_) == len(blind.loss_curve_)
    assert model.suboptimality_ <= 1e-3


def test_a_solver_that_overfits_stops_early():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(120, 100))
    y = (X[:, 0] + rng.normal(size=120) > 0).astype(int)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        stopped = GDClassifier(alpha=1e-8).fit(
            X[:60], y[:60], X_val=X[60:], y_val=y[60:]
        )
        whole = GDClassifier(alpha=1e-8).fit(X[:60], y[:60])

    def loss(model):
        return log_loss(y[60:], model.predict_proba(X[60:]))

    assert loss(stopped) < loss(whole)
    assert_allclose(-stopped.best_validation_score_, loss(stopped), rtol=1e-12)
    assert stopped.best_epoch_ < len(stopped.loss_curve_) < len(whole.loss_curve_)


def test_a_score_that_is_nan_keeps_the_last_weights():
    X, y, X_val, y_val = halves(DIABETES)
    model = GDRegressor(scoring=lambda *_: np.nan, learning_rate=0.01, random_state=0)
    model.fit(X, y, X_val=X_val, y_val=y_val)
    assert len(model.loss_curve_) == model.n_iter_no_change
    plain = GDRegressor(
        learning_rate=0.01, random_state=0, tol=None, max_iter=model.n_iter_no_change
    ).fit(X, y)
    assert_array_equal(model.coef_, plain.coef_)
