"""Callbacks follow the protocol of scikit-learn 1.9; ours record and stop."""

import pickle
import sys
import warnings

import numpy as np
import pandas as pd
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, scale
from sklearn.utils.fixes import parse_version

from sgdest import GDClassifier, GDRegressor
from sgdest.callbacks import Checkpoint, RecordObjective, RecordParameters, TimeLimit

HAS_PROTOCOL = parse_version(sklearn.__version__) >= parse_version("1.9")
needs_protocol = pytest.mark.skipif(not HAS_PROTOCOL, reason="needs scikit-learn 1.9")

X, Y = load_breast_cancer(return_X_y=True)
Z = scale(X)
NUMBERS = scale(load_diabetes().data), load_diabetes().target / 100
OPTIMIZERS = ["sgd", "gd", "lbfgs", "normalized_adaptive"]


def classifier(optimizer, **kwargs):
    options = {"max_iter": 6, "tol": None, "random_state": 0, "optimizer": optimizer}
    return GDClassifier(**{**options, **kwargs})


class Spy:
    """Writes down every call with what the protocol promises about it."""

    def __init__(self, stop_after=None):
        self.calls, self.stop_after = [], stop_after

    def setup(self, estimator, context):
        self.calls.append(("setup", context.task_name))

    def teardown(self, estimator, context):
        self.calls.append(("teardown", context.task_name))

    def on_fit_task_begin(self, estimator, context, *, X, y, metadata, fitted_estimator):
        self.calls.append(("begin", context.task_name, context.task_id, fitted_estimator))

    def on_fit_task_end(self, estimator, context, *, X, y, metadata, fitted_estimator):
        self.calls.append(("end", context.task_name, context.task_id, fitted_estimator))
        self.data = X, y, metadata
        return context.task_name == "epoch" and context.task_id + 1 == self.stop_after


# -- the protocol ----------------------------------------------------------------------------


def test_older_versions_say_that_callbacks_need_a_newer_one(run_python):
    code = (
        "import sys, sklearn.metrics, sklearn.model_selection\n"
        "sys.modules['sklearn.callback'] = None  # as if it did not exist\n"
        "from sgdest import GDClassifier\n"
        "from sgdest.callbacks import TimeLimit\n"
        "print(GDClassifier().fit([[0.0], [1.0]], [0, 1]).predict([[2.0]]))\n"
        "GDClassifier().set_callbacks(TimeLimit(1))\n"
    )
    run = run_python(code)
    assert run.stdout == "[1]\n"
    assert "RuntimeError: set_callbacks needs scikit-learn 1.9 or newer; this is" in run.stderr


@needs_protocol
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_fit_is_one_task_with_one_subtask_per_epoch(optimizer):
    spy = Spy()
    model = classifier(optimizer).set_callbacks(spy).fit(Z, Y)
    epochs = [(kind, "epoch", i) for i in range(len(model.loss_curve_)) for kind in ("begin", "end")]
    expected = [("setup", "fit"), ("begin", "fit", 0), *epochs, ("end", "fit", 0),
                ("teardown", "fit")]
    assert [call[:3] for call in spy.calls] == expected


@needs_protocol
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("average", [False, True])
def test_each_epoch_hands_over_a_model_as_if_fit_had_stopped_there(optimizer, average):
    kwargs = {"average": True} if average and optimizer in ("sgd", "gd") else {}
    spy = Spy()
    classifier(optimizer, **kwargs).set_callbacks(spy).fit(Z, Y)
    ends = [call[3] for call in spy.calls if call[:2] == ("end", "epoch")]
    for epoch, seen in enumerate(ends[:3], start=1):
        stopped = classifier(optimizer, **kwargs).set_callbacks(Spy(stop_after=epoch)).fit(Z, Y)
        assert_array_equal(seen.coef_, stopped.coef_)
        assert_array_equal(seen.predict_proba(Z), stopped.predict_proba(Z))
        assert_array_equal(seen.loss_curve_, stopped.loss_curve_)
        assert seen.t_ == stopped.t_
    begins = [call[3] for call in spy.calls if call[:2] == ("begin", "epoch")]
    for before, after in zip(ends, begins[1:]):
        assert_array_equal(before.coef_, after.coef_)


@needs_protocol
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_callback_that_returns_true_stops_the_fit_without_a_warning(optimizer):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = classifier(optimizer, tol=1e-12, max_iter=500)
        model.set_callbacks(Spy(stop_after=2)).fit(Z, Y)
    assert len(model.loss_curve_) == 2
    assert optimizer == "lbfgs" or not model.converged_


@needs_protocol
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_callbacks_that_look_change_nothing(optimizer):
    watched = classifier(optimizer).set_callbacks(Spy(), RecordObjective(), RecordParameters())
    plain = classifier(optimizer).fit(Z, Y)
    assert_array_equal(watched.fit(Z, Y).coef_, plain.coef_)
    assert_array_equal(watched.loss_curve_, plain.loss_curve_)


@needs_protocol
def test_callbacks_see_the_rows_that_are_learned_from_with_their_names():
    frame = pd.DataFrame(Z, columns=[f"column {j}" for j in range(Z.shape[1])])
    weights = np.random.default_rng(0).uniform(size=len(Y))
    spy = Spy()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        classifier("sgd", early_stopping=True).set_callbacks(spy).fit(frame, Y, weights)
    rows, labels, metadata = spy.data
    assert list(rows.columns) == list(frame.columns)
    assert len(rows) == len(labels) == len(metadata["sample_weight"]) == int(0.9 * len(Y))
    assert_array_equal(weights[rows.index], metadata["sample_weight"])
    assert_array_equal(Y[rows.index], labels)


@needs_protocol
def test_teardown_follows_an_error_and_the_model_stays_as_it_was():
    class Fails(Spy):
        def on_fit_task_end(self, estimator, context):
            raise OSError("the disk is full")

    model = classifier("sgd").fit(Z, Y)
    before, fails = model.coef_.copy(), Fails()
    with pytest.raises(OSError, match="disk is full"):
        model.set_callbacks(fails).set_params(alpha=1.0).fit(Z, Y)
    assert fails.calls[-1] == ("teardown", "fit")
    assert_array_equal(model.coef_, before)
    assert not hasattr(model, "_callback_fit_ctx")
    assert_array_equal(model.set_callbacks().set_params(alpha=1e-4).fit(Z, Y).coef_, before)


@needs_protocol
def test_a_divergence_leaves_every_begun_task_ended():
    spy = Spy()
    with pytest.warns(ConvergenceWarning, match="exploded") as record:
        GDRegressor(learning_rate=50.0).set_callbacks(spy).fit(*NUMBERS)
    assert record[0].filename == __file__
    kinds = [call[0] for call in spy.calls]
    assert kinds.count("begin") == kinds.count("end")


@needs_protocol
def test_without_callbacks_nothing_of_the_protocol_is_touched(monkeypatch):
    def never(*args, **kwargs):
        raise AssertionError("called")

    model = classifier("sgd")
    monkeypatch.setattr(type(model), "_init_callback_context", never)
    monkeypatch.setattr("sgdest._base.Observer", never)
    assert not hasattr(model.fit(Z, Y), "_callback_fit_ctx")


# -- those of scikit-learn ---------------------------------------------------------------------


@needs_protocol
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_scoring_monitor_records_each_epoch(optimizer):
    from sklearn.callback import ScoringMonitor

    monitor = ScoringMonitor(scoring="neg_log_loss")
    model = classifier(optimizer).set_callbacks(monitor).fit(Z, Y)
    rows = [row for row in monitor.get_logs().data if row["task_name"] == "epoch"]
    assert len(rows) == len(model.loss_curve_)
    w = model.coef_.ravel()
    loss = model.objective(Z, Y) - model.alpha * w @ w / 2
    assert_allclose(rows[-1]["neg_log_loss"], -loss, rtol=1e-9)


@needs_protocol
def test_the_scoring_monitor_records_in_a_pipeline_and_in_a_search():
    from sklearn.callback import ScoringMonitor

    monitor = ScoringMonitor(scoring="accuracy")
    pipeline = make_pipeline(StandardScaler(), classifier("gd").set_callbacks(monitor))
    pipeline.fit(X, Y)
    epochs = [row for row in monitor.get_logs().data if row["task_name"] == "epoch"]
    assert len(epochs) == 6 and epochs[-1]["accuracy"] == pipeline.score(X, Y)

    search = GridSearchCV(pipeline, {"gdclassifier__alpha": [1e-3, 1e-1]}, cv=3).fit(X, Y)
    epochs = [row for row in monitor.get_logs().data if row["task_name"] == "epoch"]
    assert len(epochs) == 6 * (2 * 3 + 1)  # each candidate on each fold, and the refit
    paths = {row["task_id_path"] for row in epochs}
    assert len(paths) == len(epochs) and search.best_estimator_.score(X, Y) > 0


@needs_protocol
@pytest.mark.parametrize("around", ["alone", "pipeline", "search"])
@pytest.mark.parametrize("optimizer", ["sgd", "lbfgs"])
def test_the_progress_bar_draws_every_fit_to_its_end(optimizer, around, capsys):
    pytest.importorskip("rich")
    from sklearn.callback import ProgressBar

    model = classifier(optimizer)
    if around != "alone":
        model = make_pipeline(StandardScaler(), model)
    if around == "search":
        model = GridSearchCV(model, {"gdclassifier__alpha": [1e-3, 1e-1]}, cv=2)
    bar = ProgressBar(max_propagation_depth=None)
    model.set_callbacks(bar).fit(X if around != "alone" else Z, Y)
    lines = [line for line in capsys.readouterr().out.splitlines() if "GDClassifier - fit" in line]
    assert len(lines) == {"alone": 1, "pipeline": 1, "search": 5}[around]
    assert all("100%" in line for line in lines)


# -- recording -------------------------------------------------------------------------------


@needs_protocol
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_exact_objective_is_recorded_from_the_start_on(optimizer):
    weights = np.random.default_rng(0).uniform(size=len(Y))
    record, walk = RecordObjective(), RecordParameters()
    model = classifier(optimizer, alpha=0.1).set_callbacks(record, walk).fit(Z, Y, weights)
    assert len(record.objective_path_) == len(walk.coef_path_) == len(model.loss_curve_) + 1
    along = model.objective(
        Z, Y, weights, coef=walk.coef_path_, intercept=walk.intercept_path_
    )
    assert_allclose(record.objective_path_, along, rtol=1e-12)
    assert_array_equal(walk.coef_path_[-1], model.coef_)
    assert_array_equal(walk.intercept_path_[-1], model.intercept_)
    assert not walk.coef_path_[0].any()  # the start


@needs_protocol
def test_the_walk_of_batch_descent_is_that_of_the_formula():
    (A, y), w, b = NUMBERS, np.full(10, 2.0), -1.0
    walk = RecordParameters()
    model = GDRegressor(optimizer="gd", learning_rate=0.1, penalty=None, max_iter=4, tol=None)
    model.set_callbacks(walk).fit(A, y, coef_init=w, intercept_init=b)
    for k in range(5):
        assert_allclose(walk.coef_path_[k], w, rtol=1e-10)
        assert_allclose(walk.intercept_path_[k], [b], rtol=1e-10)
        d = A @ w + b - y
        w, b = w - 0.1 * A.T @ d / len(y), b - 0.1 * d.mean()


@needs_protocol
def test_partial_fit_calls_no_callbacks_and_the_objective_can_be_asked_for():
    record = RecordObjective()
    model = classifier("sgd").set_callbacks(record)
    values = [model.partial_fit(Z, Y, [0, 1]).objective(Z, Y) for _ in range(3)]
    assert values[2] < values[0] < np.log(2.0) and len(record.objective_path_) == 0


@needs_protocol
def test_a_recorder_holds_the_latest_fit():
    record = RecordObjective()
    model = classifier("sgd").set_callbacks(record).fit(Z, Y)
    clone(model).set_params(max_iter=2).fit(Z, Y)
    assert len(record.objective_path_) == 3


@needs_protocol
def test_recorders_hold_the_fit_in_a_pipeline_and_the_last_one_of_a_search():
    record = RecordObjective()
    pipeline = make_pipeline(StandardScaler(), classifier("gd").set_callbacks(record)).fit(X, Y)
    assert record.holds(pipeline[-1]) and len(record.objective_path_) == 7
    search = GridSearchCV(pipeline, {"gdclassifier__max_iter": [2, 4]}, cv=3).fit(X, Y)
    best = search.best_estimator_[-1]
    assert record.holds(best) and len(record.objective_path_) == best.max_iter + 1
    assert_allclose(record.objective_path_[-1], best.objective(Z, Y), rtol=1e-9)


@needs_protocol
def test_a_recorder_knows_whose_fit_it_holds():
    record = RecordObjective()
    model = classifier("sgd").set_callbacks(record).fit(Z, Y)
    assert record.holds(model)
    other = clone(model).fit(Z, Y)
    assert record.holds(other) and not record.holds(model)
    assert not pickle.loads(pickle.dumps(record)).holds(other)


@needs_protocol
def test_a_recorder_on_another_estimator_says_where_it_belongs():
    with pytest.raises(TypeError, match="RecordObjective needs a GDClassifier or GDRegressor; got "
                       "Pipeline.*set it on the estimator inside"):
        pipeline = make_pipeline(StandardScaler(), classifier("sgd"))
        pipeline.set_callbacks(RecordObjective()).fit(X, Y)


# -- time limit ------------------------------------------------------------------------------


@needs_protocol
def test_a_time_limit_ends_the_fit_after_the_epoch_in_which_it_passes():
    model = classifier("sgd", max_iter=10_000_000).set_callbacks(TimeLimit(0.2)).fit(Z, Y)
    seconds = model.history_["seconds"]
    assert len(seconds) > 1 and seconds[-2] < 0.2


@needs_protocol
@pytest.mark.parametrize(
    "settings",
    [dict(batch_size=1), dict(batch_size=500), dict(batch_size=1, average=True),
     dict(optimizer="normalized_adaptive"), dict(optimizer="adam", batch_size=500)],
    ids=str,
)
def test_a_time_limit_ends_a_long_epoch_after_the_last_whole_step(settings, monkeypatch):
    A, y = np.tile(Z, (10, 1)), np.tile(Y, 10)
    model = classifier("sgd", shuffle=False, max_iter=1).set_params(**settings)
    if model.optimizer != "normalized_adaptive":
        model.set_params(learning_rate=0.01)
    clock = iter(range(100))
    monkeypatch.setattr("sgdest.callbacks.perf_counter", lambda: next(clock))
    monkeypatch.setattr("sgdest._core.train.SLICE_SECONDS", np.inf)  # 1024 rows, 2048, ..
    cut = clone(model).set_callbacks(TimeLimit(2), spy := Spy()).fit(A, y)
    rows = 3072 if model.batch_size in (1, "auto") else 3000
    short = clone(model).fit(A[:rows], y[:rows])
    assert_array_equal(cut.coef_, short.coef_)
    assert (cut.t_, cut.n_iter_, len(cut.loss_curve_)) == (short.t_, 1, 0)
    assert [call[0] for call in spy.calls].count("end") == 2  # the fit, and an epoch cut short


@needs_protocol
def test_a_fit_that_ran_out_of_time_goes_on_from_the_last_whole_epoch(tmp_path, monkeypatch):
    A, y = np.tile(Z, (10, 1)), np.tile(Y, 10)
    model = classifier("sgd", max_iter=4)
    clock = iter(range(100))
    monkeypatch.setattr("sgdest.callbacks.perf_counter", lambda: next(clock))
    monkeypatch.setattr("sgdest._core.train.SLICE_SECONDS", np.inf)
    path = tmp_path / "model.ckpt"
    cut = clone(model).set_callbacks(Checkpoint(path), TimeLimit(4)).fit(A, y)
    assert len(cut.loss_curve_) == 1
    resumed = clone(model).set_callbacks(Checkpoint(path, resume=True)).fit(A, y)
    whole = clone(model).fit(A, y)
    assert_array_equal(resumed.coef_, whole.coef_)
    assert_array_equal(resumed.loss_curve_, whole.loss_curve_)


@pytest.mark.parametrize("seconds", [0, -1.0, "1", None])
def test_a_time_limit_must_be_positive(seconds):
    with pytest.raises(ValueError, match="seconds must be a number > 0; got"):
        TimeLimit(seconds)
