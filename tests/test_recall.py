"""What a fit to sparse rows finds out, and the next fit to the same data uses."""

import copy
import gc
import weakref

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_array
from sklearn.model_selection import GridSearchCV

from sgdest import GDClassifier, GDRegressor
from sgdest._core import recall as recall_module
from sgdest._core.recall import recall
from sgdest._core.rows import as_rows
from sgdest._core.working_set import WorkingSetLane


@pytest.fixture(autouse=True)
def nothing_known():
    recall.clear()
    yield
    recall.clear()


def known():
    """Names of the facts about the latest data."""
    return sorted(name for name, *_ in list(recall.found.values())[-1])


def sparse(n=400, d=120, seed=0):
    rng = np.random.default_rng(seed)
    # one column in four is full enough to be centred
    shares = np.where(np.arange(d) % 4, 0.05, 0.6)
    X = rng.normal(1.0, 1.0, size=(n, d)) * (rng.random((n, d)) < shares)
    y = X[:, :10].sum(axis=1) + rng.normal(size=n)
    return csr_array(X), y


def path(X, y, forget, **parameters):
    model = GDRegressor(penalty="l1", warm_start=True, tol=1e-8, **parameters)
    found = []
    for alpha in (0.2, 0.1, 0.05, 0.02):
        if forget:
            recall.clear()
        model.set_params(alpha=alpha).fit(X, y)
        found.append((model.coef_, model.intercept_, model.n_iter_, model.suboptimality_))
    return found


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("loss", ["squared_error", "huber"])
def test_a_path_is_the_same_whatever_is_known(loss, fit_intercept):
    X, y = sparse()
    parameters = dict(loss=loss, fit_intercept=fit_intercept, optimizer="working_set")
    found = path(X, y, False, **parameters)
    assert known() == ["columns", "gradient", "moments"]
    for one, other in zip(found, path(X, y, True, **parameters)):
        for value, expected in zip(one, other):
            assert_array_equal(value, expected)


def change_value(X, y, weights):
    X.data[7] += 1.0


def change_column(X, y, weights):
    first, last = X.indptr[3], X.indptr[4]
    X.indices[last - 1] = X.shape[1] - 1 if X.indices[last - 1] < X.shape[1] - 1 else 0
    X.indices[first:last].sort()


def change_weights(X, y, weights):
    weights[:50] = 9.0


def change_target(X, y, weights):
    y[:50] += 3.0


@pytest.mark.parametrize("change", [change_value, change_column, change_weights, change_target])
@pytest.mark.parametrize("optimizer", ["working_set", "subsampled_newton", "auto"])
def test_what_changes_in_place_is_other_data(change, optimizer):
    X, y = sparse()
    weights = np.ones(X.shape[0])
    model = GDRegressor(penalty="l1", alpha=0.1, tol=1e-10, optimizer=optimizer)
    for _ in range(3):
        model.fit(X, y, sample_weight=weights)
    change(X, y, weights)
    model.fit(X, y, sample_weight=weights)
    recall.clear()
    fresh = copy.deepcopy(model).fit(X, y, sample_weight=weights)
    assert_array_equal(model.coef_, fresh.coef_)


def test_settings_may_change_between_fits():
    X, y = sparse()
    model = GDRegressor(penalty="l1", alpha=0.1, tol=1e-10, optimizer="working_set",
                        warm_start=True)
    for fit_intercept in (True, False, True):
        model.set_params(fit_intercept=fit_intercept).fit(X, y)
        fresh = GDRegressor(penalty="l1", alpha=0.1, tol=1e-10, fit_intercept=fit_intercept)
        dense = fresh.fit(X.toarray(), y)
        assert_allclose(model.coef_, dense.coef_, atol=1e-5)


def test_classes_share_the_columns():
    X, y = sparse()
    labels = np.digitize(y, np.quantile(y, [0.25, 0.5, 0.75]))
    model = GDClassifier("squared_hinge", penalty="l1", alpha=1e-2, optimizer="working_set",
                         warm_start=True)
    model.fit(X, labels)
    assert known() == ["columns", "moments"]


def test_data_are_not_kept_alive_and_one_fit_keeps_nothing():
    X, y = sparse()
    GDRegressor(penalty="l1", alpha=0.1).fit(X, y)
    assert known() == [] and recall.size == 0
    for _ in range(2):
        GDRegressor(penalty="l1", alpha=0.1, warm_start=True).fit(X, y)
    assert known() and recall.size > 0
    own = weakref.ref(X.data)
    del X
    gc.collect()
    assert own() is None


def test_no_more_is_kept_than_its_bound(monkeypatch):
    monkeypatch.setattr(recall, "most", 80_000)
    for n in range(200, 400, 10):
        X, y = sparse(n=n)
        for _ in range(2):
            GDRegressor(penalty="l1", alpha=0.1, optimizer="working_set").fit(X, y)
            assert recall.size <= 80_000
        assert known() == ["columns", "gradient", "moments"]
    assert len(recall.found) > 1
    recall.clear()
    monkeypatch.setattr(recall, "most", 1000)
    model = GDRegressor(penalty="l1", alpha=0.1, optimizer="working_set", warm_start=True)
    model.fit(X, y)
    assert known() == ["gradient", "moments"] and recall.size == 4 * X.shape[1] + X.shape[0]


def test_folds_of_a_grid_are_recognised():
    X, y = sparse()
    grid = GridSearchCV(GDRegressor(penalty="l1", optimizer="working_set"),
                        {"alpha": [0.2, 0.1, 0.05]}, cv=3).fit(X, y)
    assert len(recall.found) == 4
    assert sum(facts.key is not None for facts in recall.found.values()) == 3
    scores = grid.cv_results_["mean_test_score"]
    recall.clear()
    one_by_one = [GridSearchCV(grid.estimator, {"alpha": [alpha]}, cv=3).fit(X, y)
                  for alpha in (0.2, 0.1, 0.05)]
    assert_array_equal(scores, [g.cv_results_["mean_test_score"][0] for g in one_by_one])


def test_data_in_turns_do_not_drive_each_other_out(monkeypatch):
    fit = GDRegressor(penalty="l1", alpha=0.1, optimizer="working_set").fit
    folds = [sparse(n=n) for n in (380, 390, 400)]
    for X, y in folds * 2:
        fit(X, y)
    sizes = [sum(fact.size for fact in facts.values()) for facts in recall.found.values()]
    recall.clear()
    monkeypatch.setattr(recall, "most", sum(sizes) - 1)     # two of three
    held = []
    for _ in range(4):
        for X, y in folds:
            fit(X, y)
        held.append([len(facts) for facts in recall.found.values()])
    assert held[0] == [0, 0, 0] and held[1][:2] == held[3][:2] == [3, 3] and held[3][2] < 3
    for n in (200, 210):                                     # what comes next finds room
        other = sparse(n=n)
        for _ in range(2):
            fit(*other)
            assert recall.size <= recall.most
        assert known() == ["columns", "gradient", "moments"]


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_a_fit_begins_with_the_gradient_of_the_one_before(fit_intercept, monkeypatch):
    X, y = sparse()
    model = GDRegressor(penalty="l1", warm_start=True, optimizer="working_set", tol=1e-6,
                        fit_intercept=fit_intercept)
    passes = Passes(monkeypatch)
    made = []
    for alpha in (0.2, 0.1, 0.05, 0.02):
        passes.n = 0
        model.set_params(alpha=alpha).fit(X, y)
        made.append(passes.n)
        assert model.n_iter_ == passes.n + 2 + (len(made) > 1)    # moments, columns, and that gradient
    other = copy.deepcopy(model)
    passes.n = 0
    model.fit(X, -y)                                         # of other slopes
    assert model.n_iter_ == passes.n + 2
    recall.clear()
    other.fit(X, -y)
    assert_array_equal(model.coef_, other.coef_)


class Passes:
    """Counts the gradients that are taken from the rows."""

    def __init__(self, monkeypatch):
        self.n = 0
        gradient = WorkingSetLane.gradient

        def followed(lane, pulls):
            steps = gradient(lane, pulls)
            try:
                asked = next(steps)
            except StopIteration as known:
                return known.value
            self.n += 1
            try:
                steps.send((yield asked))
            except StopIteration as found:
                return found.value

        monkeypatch.setattr(WorkingSetLane, "gradient", followed)


def test_sound_data_are_checked_once(monkeypatch):
    X, y = sparse()
    checked = []
    monkeypatch.setattr(recall_module, "as_rows", lambda X: checked.append(X) or as_rows(X))
    model = GDRegressor(penalty="l1", alpha=0.1, warm_start=True)
    for _ in range(3):
        model.fit(X, y)
    assert len(checked) == 1
    for break_it in (lambda: X.indices.__setitem__(3, X.shape[1] + 5),
                     lambda: X.indptr.__setitem__(1, -4),
                     lambda: X.data.__setitem__(0, np.nan)):
        copied = X.copy()
        break_it()
        with pytest.raises(ValueError, match="malformed|NaN"):
            model.fit(X, y)
        X.data[:], X.indices[:], X.indptr[:] = copied.data, copied.indices, copied.indptr
        model.fit(X, y)
