"""What is remembered of a training holds across calls; ``objective`` is what is minimised."""

import copy
import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_array
from sgdest._core.train import COLUMNS
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import scale

from sgdest import GDClassifier, GDRegressor

CANCER = scale(load_breast_cancer().data), load_breast_cancer().target
DIABETES = scale(load_diabetes().data), load_diabetes().target / 100
IRIS = scale(load_iris().data), load_iris().target
STEPS = dict(optimizer="sgd", learning_rate=0.01, tol=None, random_state=0)


# -- objective -----------------------------------------------------------------------------


@pytest.mark.parametrize("penalty", ["l2", "l1", "elasticnet", None])
@pytest.mark.parametrize(
    "model, data",
    [
        (GDClassifier(), CANCER),
        (GDClassifier(), IRIS),
        (GDClassifier("squared_hinge"), IRIS),
        (GDClassifier("hinge", class_weight="balanced"), CANCER),
        (GDRegressor("huber"), DIABETES),
        (GDRegressor(penalty_weights="scale"), DIABETES),
    ],
    ids=str,
)
def test_the_objective_of_a_solved_model_is_the_last_of_its_curve(model, data, penalty):
    model = copy.copy(model).set_params(penalty=penalty, alpha=0.01, max_iter=5000).fit(*data)
    # the curve of a kinked loss ends at the best stage, which it is compared with to 1e-4 of F;
    # separable classes without a penalty end at rounding
    assert_allclose(model.objective(*data), model.loss_curve_.min(), rtol=1e-4, atol=1e-15)


def test_the_objective_has_the_formula_of_the_docstring():
    X, y = DIABETES
    weights = np.random.default_rng(0).uniform(size=len(y))
    model = GDRegressor(alpha=0.3).fit(X, y, weights)
    w, b = model.coef_, model.intercept_
    by_hand = np.average((y - X @ w - b) ** 2 / 2, weights=weights) + 0.3 * w @ w / 2
    assert_allclose(model.objective(X, y, weights), by_hand, rtol=1e-12)


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize(
    "model, data",
    [(GDClassifier(), CANCER), (GDClassifier(), IRIS), (GDRegressor(), DIABETES),
     (GDRegressor(), (DIABETES[0], np.c_[DIABETES[1], -DIABETES[1]]))],
    ids=["binary", "softmax", "regression", "two targets"],
)
def test_many_parameters_have_the_objectives_of_each(model, data, sparse):
    X, y = data
    model = model.fit(X, y)
    rng = np.random.default_rng(0)
    coef = rng.normal(size=(3, 4, *model.coef_.shape))
    intercept = rng.normal(size=(4, *model.intercept_.shape))
    A = csr_array(X) if sparse else X
    many = model.objective(A, y, coef=coef, intercept=intercept)
    assert many.shape == (3, 4)
    for i, j in np.ndindex(3, 4):
        one = model.objective(X, y, coef=coef[i, j], intercept=intercept[j])
        assert isinstance(one, float)
        assert_allclose(many[i, j], one, rtol=1e-12)
        other = copy.copy(model)
        other.coef_, other.intercept_ = coef[i, j], intercept[j]
        assert_allclose(one, other.objective(X, y), rtol=1e-12)


def test_many_parameters_are_cut_into_parts_that_fit_the_memory(monkeypatch):
    X, y = DIABETES
    model = GDRegressor().fit(X, y)
    coef = np.random.default_rng(0).normal(size=(50, X.shape[1]))
    whole = model.objective(X, y, coef=coef)
    monkeypatch.setattr("sgdest._history.MOST_MARGINS", 7 * len(y))
    assert_array_equal(model.objective(X, y, coef=coef), whole)


def test_shapes_that_do_not_fit_are_named():
    X, y = DIABETES
    model = GDRegressor().fit(X, y)
    with pytest.raises(ValueError, match=r"coef must have shape \(\.\.\., 10\).*got \(3, 9\)"):
        model.objective(X, y, coef=np.zeros((3, 9)))
    with pytest.raises(ValueError, match=r"intercept must have shape.*got \(\)"):
        model.objective(X, y, intercept=1.0)
    with pytest.raises(ValueError, match=r"broadcast; got \(3,\) and \(2,\)"):
        model.objective(X, y, coef=np.zeros((3, 10)), intercept=np.zeros((2, 1)))


# -- history over several calls ------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["sgd", "auto"])
def test_every_partial_fit_adds_one_line_to_the_history(optimizer):
    X, y = CANCER
    model = GDClassifier(optimizer=optimizer, random_state=0)
    for start in range(0, 500, 100):
        model.partial_fit(X[start : start + 100], y[start : start + 100], classes=[0, 1])
    history = model.history_
    assert list(history) == list(COLUMNS)
    assert_array_equal(history["epoch"], [1, 2, 3, 4, 5])
    assert_array_equal(history["rows"], [100, 200, 300, 400, 500])
    assert_array_equal(history["objective"], model.loss_curve_)
    assert (np.diff(history["seconds"]) > 0).all()
    assert np.isfinite(history["learning_rate"]).all() == (optimizer == "sgd")
    assert model.validation_scores_ is None and model.best_epoch_ == 5


def test_the_loss_of_a_partial_fit_is_measured_before_its_rows_are_learned():
    X, y = DIABETES
    model = GDRegressor(batch_size=None, learning_rate=0.1, shuffle=False)
    expected = []
    for rows in (slice(0, 200), slice(200, 400)):
        before = model.predict(X[rows]) if expected else np.zeros(200)
        expected.append(np.mean((y[rows] - before) ** 2) / 2)
        model.partial_fit(X[rows], y[rows])
    assert_allclose(model.loss_curve_, expected, rtol=1e-12)


def test_partial_fit_goes_on_with_the_history_of_fit():
    model = GDRegressor(max_iter=7, **STEPS).fit(*DIABETES)
    fitted = model.history_
    model.partial_fit(*DIABETES)
    for name in set(COLUMNS):
        assert len(model.history_[name]) == 8
        assert_array_equal(model.history_[name][:7], fitted[name])
    assert model.best_epoch_ == 8 and model.history_["rows"][-1] == 8 * len(DIABETES[1])


def test_a_warm_start_goes_on_with_the_history_and_a_cold_one_begins_anew():
    model = GDRegressor(max_iter=3, warm_start=True, **STEPS)
    model.fit(*DIABETES).fit(*DIABETES)
    assert_array_equal(model.history_["epoch"], np.arange(1, 7))
    assert (np.diff(model.history_["seconds"]) > 0).all()
    assert model.n_iter_ == 3 and model.best_epoch_ == 6
    assert len(model.set_params(warm_start=False).fit(*DIABETES).loss_curve_) == 3


def test_the_best_epoch_of_a_warm_start_counts_in_the_whole_history():
    X, y = CANCER
    model = GDClassifier(max_iter=5, warm_start=True, early_stopping=True, **STEPS)
    for _ in range(2):
        model.fit(X, y)
    assert len(model.validation_scores_) == 10 and 5 < model.best_epoch_ <= 10
    assert model.validation_scores_[model.best_epoch_ - 1] == model.best_validation_score_


def test_a_fit_without_validation_forgets_the_best_score_of_the_one_before():
    model = GDClassifier(max_iter=3, early_stopping=True, **STEPS).fit(*CANCER)
    assert hasattr(model, "best_validation_score_")
    model.set_params(early_stopping=False).fit(*CANCER)
    assert not hasattr(model, "best_validation_score_") and model.validation_scores_ is None


@pytest.mark.parametrize("duplicate", [copy.copy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_do_not_share_their_history(duplicate):
    model = GDRegressor(random_state=0).partial_fit(*DIABETES)
    other = duplicate(model).partial_fit(*DIABETES)
    assert len(model.loss_curve_) == 1 and len(other.loss_curve_) == 2
    assert model.loss_curve_[0] == other.loss_curve_[0]


def test_a_call_that_raises_adds_nothing():
    X, y = DIABETES
    model = GDRegressor(random_state=0).partial_fit(X, y)
    with pytest.raises(ValueError):
        model.partial_fit(X[:, :3], y)
    assert len(model.loss_curve_) == 1


def test_there_is_no_history_before_there_is_a_model():
    for name in ("history_", "loss_curve_", "validation_scores_"):
        assert not hasattr(GDRegressor(), name)


def test_changing_what_was_read_changes_nothing():
    model = GDRegressor(max_iter=3, **STEPS).fit(*DIABETES)
    model.loss_curve_[:] = 0
    model.history_["objective"][:] = 0
    assert (model.loss_curve_ > 0).all()


# -- one versus the rest ------------------------------------------------------------------------


@pytest.mark.parametrize("options", [STEPS, {**STEPS, "batch_size": 20},
                                     {"optimizer": "normalized_adaptive", "tol": None},
                                     {"optimizer": "lbfgs", "tol": None}], ids=str)
def test_one_versus_the_rest_has_the_objective_of_each_class_and_their_total(options):
    X, y = IRIS
    model = GDClassifier("squared_hinge", alpha=0.1, max_iter=4, **options).fit(X, y)
    per_class = np.stack(model.history_["objective_per_class"])
    assert per_class.shape == (len(model.loss_curve_), 3)
    assert_allclose(per_class.sum(axis=1), model.loss_curve_, rtol=1e-12)


def test_the_objective_of_a_class_is_that_of_its_own_binary_model():
    X, y = IRIS
    options = dict(STEPS, shuffle=False, alpha=0.1, max_iter=3)
    model = GDClassifier("hinge", **options).fit(X, y)
    per_class = np.stack(model.history_["objective_per_class"])
    for k in range(3):
        alone = GDClassifier("hinge", **options).fit(X, y == k)
        assert_allclose(per_class[:, k], alone.loss_curve_, rtol=1e-10)


@pytest.mark.parametrize("optimizer", ["sgd", "auto"])
def test_partial_fit_records_the_loss_of_each_target(optimizer):
    X, y = DIABETES
    both = np.c_[y, -2 * y]
    model = GDRegressor(optimizer=optimizer, random_state=0).partial_fit(X, both)
    model.partial_fit(X, both)
    per_target = np.stack(model.history_["objective_per_target"])
    assert per_target.shape == (2, 2)
    assert_allclose(per_target.sum(axis=1), model.loss_curve_, rtol=1e-12)
    pd.DataFrame(model.history_)


def test_one_output_and_softmax_have_one_objective():
    for data in (CANCER, IRIS):
        assert list(GDClassifier(max_iter=2, **STEPS).fit(*data).history_) == list(COLUMNS)


def test_the_objectives_of_classes_go_on_from_a_solver_to_a_stream():
    model = GDClassifier("squared_hinge", alpha=0.1).fit(*IRIS)  # a solver
    model.partial_fit(*IRIS)
    per_class = np.stack(model.history_["objective_per_class"])
    assert_allclose(per_class.sum(axis=1), model.loss_curve_, rtol=1e-12)


# -- verbose -----------------------------------------------------------------------------------

NAMES = ["epoch", "objective", "validation", "rate", "gradient", "rows/s", "elapsed"]


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("optimizer", ["sgd", "lbfgs", "normalized_adaptive"])
def test_verbose_lines_are_aligned_and_hold_the_history(optimizer, early_stopping, capsys):
    model = GDClassifier(optimizer=optimizer, max_iter=12, tol=None, random_state=0, verbose=1,
                         early_stopping=early_stopping).fit(*CANCER)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(model.loss_curve_)
    for name in NAMES:
        assert len({line.index(name) for line in lines}) == 1, name
    assert len({len(line) for line in lines}) == 1
    words = [line.split() for line in lines]
    assert [row[0::2] for row in words] == [[*NAMES, "s"]] * len(lines)
    columns = {"objective": 3, "validation": 5, "learning_rate": 7, "gradient_norm": 9}
    for name, place in columns.items():
        printed = [np.nan if row[place] == "-" else float(row[place]) for row in words]
        # four digits are printed at least
        assert_allclose(printed, model.history_[name], rtol=1e-3)
    assert all(float(row[11]) > 0 for row in words)


def test_partial_fit_prints_a_line_per_call_and_silence_is_the_default(capsys):
    X, y = DIABETES
    model = GDRegressor(random_state=0, verbose=1)
    model.partial_fit(X, y).partial_fit(X, y)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines] == [["epoch", "1"], ["epoch", "2"]]
    GDRegressor(random_state=0).partial_fit(X, y).fit(X, y)
    assert capsys.readouterr() == ("", "")


# -- convergence -----------------------------------------------------------------------------


def test_the_warning_says_how_far_it_got_and_what_to_change():
    with pytest.warns(ConvergenceWarning, match=r"before convergence: 3 passes.*Consider increas"):
        model = GDRegressor(optimizer="gd", max_iter=3).fit(*DIABETES)
    assert not model.converged_
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert GDRegressor().fit(*DIABETES).converged_
