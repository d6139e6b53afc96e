"""A training that was cut short goes on from its file, bit for bit, whatever the method."""

import os
import pickle
import shutil
import warnings

import numpy as np
import pytest
import scipy.sparse as sp
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer
from sklearn.preprocessing import scale
from sklearn.utils.fixes import parse_version

from sgdest import GDClassifier, GDRegressor
from sgdest.callbacks import Checkpoint
from sgdest.optimizers import SOLVERS, STEP_OPTIMIZERS

HAS_PROTOCOL = parse_version(sklearn.__version__) >= parse_version("1.9")
needs_protocol = pytest.mark.skipif(not HAS_PROTOCOL, reason="needs scikit-learn 1.9")

X, Y = load_breast_cancer(return_X_y=True)
Z = scale(X)


class Callback:
    """One that does nothing."""

    def setup(self, estimator, context):
        pass

    def teardown(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context):
        pass

    def on_fit_task_end(self, estimator, context):
        pass


class Stop(Callback):
    """Ends a fit after some epochs; by an error, if it is killed."""

    def __init__(self, after, kill=False):
        self.after, self.kill = after, kill

    def on_fit_task_end(self, estimator, context):
        if context.task_name == "epoch" and context.task_id + 1 == self.after:
            if self.kill:
                raise KeyboardInterrupt
            return True


class Copies(Callback):
    """Keeps every state of a file: that of epoch k as ``path.k``."""

    def __init__(self, path):
        self.path, self.n = path, 0

    def on_fit_task_end(self, estimator, context):
        if context.task_name == "epoch":
            self.n += 1
            shutil.copy(self.path, f"{self.path}.{self.n}")


def classifier(optimizer, **kwargs):
    options = {"max_iter": 6, "tol": None, "random_state": 0, "optimizer": optimizer}
    return GDClassifier(**{**options, **kwargs})


def fitted(model, *data):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of passes that were not enough
        return model.fit(*data)


def assert_same_fit(one, other):
    """All that a fit leaves is the same, to the last bit."""
    assert_array_equal(one.coef_, other.coef_)
    assert_array_equal(one.intercept_, other.intercept_)
    for name in ("t_", "n_iter_", "best_epoch_", "converged_", "suboptimality_"):
        assert_array_equal(getattr(one, name), getattr(other, name))
    for name in set(other.history_) - {"seconds"}:
        column, expected = one.history_[name], other.history_[name]
        if column.dtype == object:  # per class or target
            column, expected = np.vstack(column), np.vstack(expected)
        assert_array_equal(column, expected)
    assert (np.diff(one.history_["seconds"]) > 0).all()


# -- solvers -----------------------------------------------------------------------------------

RNG = np.random.RandomState(0)
# below and above the size up to which solvers run to rounding, and where each of them is at home
ROWS = {
    "small": RNG.randn(100, 8),
    "tall": RNG.randn(2500, 9) * np.geomspace(0.1, 10, 9),
    "sparse": sp.csr_array(sp.random(800, 300, density=0.1, random_state=0)),
    "wide": RNG.randn(60, 400),
    "far off": 1e4 + RNG.randn(2500, 9),
}
SMOOTH, KINKED = dict(loss="log_loss"), dict(loss="hinge")
SETTINGS = {
    "smooth": SMOOTH,
    "kinked": KINKED,
    "L1": dict(penalty="l1", **SMOOTH),
    "kinked and L1": dict(penalty="l1", **KINKED),
    "elastic net": dict(penalty="elasticnet", l1_ratio=0.5, **SMOOTH),
    "positive": dict(positive=True, **SMOOTH),
    "without intercept": dict(fit_intercept=False, **SMOOTH),
    "penalty weights": dict(penalty_weights="scale", loss="squared_hinge"),
    "validation": dict(early_stopping=True, n_iter_no_change=3, **SMOOTH),
    "softmax": dict(n_classes=3, **SMOOTH),
    "softmax and L1": dict(n_classes=3, penalty="l1", **SMOOTH),
    "one versus rest": dict(n_classes=3, loss="squared_hinge"),
    "one versus rest, kinked": dict(n_classes=3, **KINKED),
    "several targets": dict(n_targets=2, loss="squared_error"),
    "absolute error": dict(n_targets=1, loss="absolute_error"),
    "counts": dict(n_targets=1, loss="poisson"),
}


def case(rows, n_classes=2, n_targets=0, **settings):
    """(model, X, y, sample_weight)"""
    A = ROWS[rows]
    rng = np.random.RandomState(1)
    z = A @ rng.randn(A.shape[1], max(n_classes, n_targets))
    z = (z - z.mean(axis=0)) / z.std(axis=0) + 0.5 * rng.randn(*z.shape)
    kind = GDRegressor if n_targets else GDClassifier
    if n_targets:
        y = np.exp(z).round() if settings["loss"] == "poisson" else z
        y = y[:, 0] if n_targets == 1 else y
    else:
        y = z.argmax(axis=1)
    model = kind(alpha=1e-3, tol=1e-6, max_iter=25, random_state=0, **settings)
    return model, A, y, rng.uniform(size=len(y))


@needs_protocol
@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("optimizer", ["auto", *(kind.name for kind in SOLVERS)])
def test_a_resumed_solver_ends_where_an_uninterrupted_one_does(
    optimizer, settings, rows, tmp_path
):
    model, *data = case(rows, **SETTINGS[settings])
    model.set_params(optimizer=optimizer)
    try:
        whole = fitted(clone(model), *data)
    except ValueError as error:
        assert str(error).startswith(("optimizer=", "loss=")), error  # not made for this
        return
    path, copies = tmp_path / "model.ckpt", Copies(tmp_path / "model.ckpt")
    fitted(clone(model).set_callbacks(Checkpoint(path), copies), *data)
    assert copies.n == len(whole.loss_curve_)
    for epoch in {1, 3, copies.n // 2, copies.n} & set(range(1, copies.n + 1)):
        resume = Checkpoint(f"{path}.{epoch}", every=100, resume=True)
        assert_same_fit(fitted(clone(model).set_callbacks(resume), *data), whole)


@needs_protocol
@pytest.mark.parametrize("every", [1, 2, 3])
@pytest.mark.parametrize("optimizer", [kind.name for kind in SOLVERS])
def test_a_solver_that_is_killed_or_runs_out_of_passes_goes_on(optimizer, every, tmp_path):
    model, *data = case("sparse", loss="squared_hinge", n_classes=3)
    model.set_params(optimizer=optimizer, max_iter=60, penalty="l1", tol=1e-10)
    if optimizer == "dual_ascent":
        model.set_params(penalty="l2")
    whole = fitted(clone(model), *data)
    path = tmp_path / "model.ckpt"
    save, resume = Checkpoint(path, every), Checkpoint(path, every, resume=True)
    with pytest.raises(KeyboardInterrupt):
        fitted(clone(model).set_callbacks(save, Stop(4, kill=True)), *data)
    assert_same_fit(fitted(clone(model).set_callbacks(resume), *data), whole)
    path.unlink()
    fitted(clone(model).set_params(max_iter=9).set_callbacks(save), *data)
    assert_same_fit(fitted(clone(model).set_callbacks(resume), *data), whole)


@needs_protocol
def test_another_process_goes_on_where_one_was_killed(run_python, tmp_path):
    path = tmp_path / "model.ckpt"
    run = run_python(
        "import os\n"
        "from test_checkpoint import Checkpoint, Stop, case, fitted\n"
        "model, *data = case('sparse', loss='hinge', n_classes=3, optimizer='lbfgs')\n"
        "class Kill(Stop):\n"
        "    def on_fit_task_end(self, estimator, context):\n"
        "        if super().on_fit_task_end(estimator, context):\n"
        "            os._exit(9)\n"
        f"save = Checkpoint({str(path)!r})\n"
        "fitted(model.set_callbacks(save, Kill(5)), *data)\n"
    )
    assert run.returncode == 9, run.stderr
    model, *data = case("sparse", loss="hinge", n_classes=3, optimizer="lbfgs")
    whole = fitted(clone(model), *data)
    resumed = fitted(model.set_callbacks(Checkpoint(path, resume=True)), *data)
    assert len(whole.loss_curve_) > 5
    assert_same_fit(resumed, whole)


@needs_protocol
@pytest.mark.parametrize("rows", ["tall", "sparse", "wide"])
@pytest.mark.parametrize("optimizer", [kind.name for kind in SOLVERS if kind.name != "saga"])
def test_a_resumed_solver_takes_a_new_tolerance(optimizer, rows, tmp_path):
    model, *data = case(rows, loss="squared_error", n_targets=1)
    model.set_params(optimizer=optimizer, max_iter=1000, tol=1e-2)
    if optimizer == "working_set":
        model.set_params(penalty="l1", alpha=0.01)
    path = tmp_path / "model.ckpt"
    rough = clone(model).set_callbacks(Checkpoint(path)).fit(*data)
    exact = clone(model).set_params(tol=1e-9)
    resumed = clone(exact).set_callbacks(Checkpoint(path, resume=True)).fit(*data)
    assert rough.converged_ and resumed.converged_ and resumed.suboptimality_ <= 1e-9
    assert_allclose(resumed.objective(*data), exact.fit(*data).objective(*data), atol=2e-9)


@needs_protocol
@pytest.mark.parametrize("optimizer", ["lbfgs", "dual_ascent", "subsampled_newton"])
def test_the_file_of_a_solver_does_not_hold_the_data(optimizer, tmp_path):
    path, rng = tmp_path / "model.ckpt", np.random.RandomState(0)
    A = rng.randn(4000, 100)
    model = GDClassifier(optimizer=optimizer, max_iter=3, alpha=1e-3)
    fitted(model.set_callbacks(Checkpoint(path)), A, A[:, 0] + rng.randn(4000) > 0)
    assert path.stat().st_size < 0.3 * A.nbytes


# -- methods that step -------------------------------------------------------------------------

RESUMABLE = {
    "stochastic": dict(optimizer="sgd"),
    "mini-batches": dict(optimizer="sgd", batch_size=50),
    "batch": dict(optimizer="gd"),
    "averaged": dict(optimizer="sgd", average=True, learning_rate="invscaling"),
    "adaptive": dict(optimizer="sgd", learning_rate="adaptive", eta0=0.5, tol=1e-3,
                     n_iter_no_change=1, max_iter=200),
    "until converged": dict(optimizer="sgd", learning_rate=0.01, tol=1e-3, max_iter=200),
    "early stopping": dict(optimizer="sgd", early_stopping=True, random_state=3),
    "streaming": dict(optimizer="normalized_adaptive"),
    **{name: dict(optimizer=name) for name in STEP_OPTIMIZERS if name not in ("sgd", "gd")},
    "without order": dict(optimizer="sgd", shuffle=False),
}


@needs_protocol
@pytest.mark.parametrize("stop_after", [4, 5])
@pytest.mark.parametrize("name", RESUMABLE)
def test_a_resumed_training_ends_where_an_uninterrupted_one_does(name, stop_after, tmp_path):
    model = classifier("sgd", max_iter=12).set_params(**RESUMABLE[name])
    whole = clone(model).fit(Z, Y)
    path = tmp_path / "model.ckpt"
    killed = clone(model).set_callbacks(Checkpoint(path, every=2), Stop(stop_after))
    killed.fit(Z, Y)
    resumed = clone(model).set_callbacks(Checkpoint(path, every=2, resume=True)).fit(Z, Y)
    assert_same_fit(resumed, whole)
    for model in (resumed, whole):
        model.set_params(early_stopping=False).partial_fit(Z, Y)
    assert_array_equal(resumed.coef_, whole.coef_)


@needs_protocol
@pytest.mark.parametrize("optimizer", ["sgd", "lbfgs", "saga"])
def test_a_resumed_training_knows_from_where_it_set_out(optimizer, tmp_path):
    path, start = tmp_path / "model.ckpt", dict(coef_init=np.ones((1, 30)), intercept_init=2.0)
    model = classifier(optimizer, max_iter=5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        whole = clone(model).fit(Z, Y, **start)
        clone(model).set_callbacks(Checkpoint(path), Stop(2)).fit(Z, Y, **start)
        for given in (start, {}):
            resume = Checkpoint(path, every=100, resume=True)
            assert_same_fit(clone(model).set_callbacks(resume).fit(Z, Y, **given), whole)


@needs_protocol
@pytest.mark.parametrize("every", [1, 3])
@pytest.mark.parametrize("optimizer", STEP_OPTIMIZERS)
def test_a_resumed_training_may_go_on_for_longer(optimizer, every, tmp_path):
    path = tmp_path / "model.ckpt"
    fitted(classifier(optimizer, max_iter=4).set_callbacks(Checkpoint(path, every)), Z, Y)
    for passes in (7, 13):             # from before rates began to fall to an end
        resume = Checkpoint(path, every, resume=True)
        longer = fitted(classifier(optimizer, max_iter=passes).set_callbacks(resume), Z, Y)
        assert_same_fit(longer, fitted(classifier(optimizer, max_iter=passes), Z, Y))


@needs_protocol
def test_a_resumed_training_splits_off_the_same_validation_rows(tmp_path):
    path = tmp_path / "model.ckpt"
    model = classifier("sgd", max_iter=8, early_stopping=True, random_state=None)
    model.set_callbacks(Checkpoint(path), Stop(3)).fit(Z, Y)
    before = model.validation_scores_
    model.set_callbacks(Checkpoint(path, resume=True)).fit(Z, Y)
    assert_array_equal(model.validation_scores_[:3], before)


# -- the file ---------------------------------------------------------------------------------


@needs_protocol
def test_a_checkpoint_predicts_and_learns_on(tmp_path):
    path = tmp_path / "model.ckpt"
    model = classifier("sgd").set_callbacks(Checkpoint(path, every=6)).fit(Z, Y)
    saved = Checkpoint.load(path)
    assert_array_equal(saved.predict_proba(Z), model.predict_proba(Z))
    assert_array_equal(saved.loss_curve_, model.loss_curve_)
    assert not hasattr(saved, "_skl_callbacks")
    saved.partial_fit(Z, Y)
    pickle.dumps(model)  # with its callbacks


@needs_protocol
def test_a_crash_while_writing_leaves_the_checkpoint_before(tmp_path, monkeypatch):
    path = tmp_path / "model.ckpt"
    classifier("sgd", max_iter=2).set_callbacks(Checkpoint(path)).fit(Z, Y)
    content = path.read_bytes()

    def crash(handle):
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", crash)
    with pytest.raises(OSError, match="no space left"):
        classifier("sgd").set_callbacks(Checkpoint(path)).fit(Z, Y)
    assert path.read_bytes() == content
    assert os.listdir(tmp_path) == ["model.ckpt"]


@needs_protocol
@pytest.mark.parametrize(
    "change", ["alpha", "rate", "labels", "weights", "number", "columns", "sparse", "version",
               "watched"]
)
@pytest.mark.parametrize("optimizer", ["sgd", "lbfgs"])
def test_a_checkpoint_of_another_fit_is_refused(optimizer, change, tmp_path, monkeypatch):
    path = tmp_path / "model.ckpt"
    fitted(classifier(optimizer).set_callbacks(Checkpoint(path)), Z, Y)
    one_more = Z.copy()
    one_more[1, 1] += 1e-9
    A = {"number": one_more, "columns": Z[:, 1:], "sparse": sp.csr_array(Z)}.get(change, Z)
    labels, weights = (1 - Y if change == "labels" else Y), (Y + 1 if change == "weights" else None)
    settings = {"alpha": {"alpha": 0.5}, "rate": {"optimizer": "gd"}}.get(change, {})
    if change == "version":
        monkeypatch.setattr("sgdest.callbacks.__version__", "another")
    model = classifier(optimizer).set_params(**settings)
    model.set_callbacks(Checkpoint(path, resume=True))
    watched = dict(X_val=Z, y_val=Y) if change == "watched" else {}
    with pytest.raises(ValueError, match="written by a fit with other parameters or other data"):
        model.fit(A, labels, weights, **watched)


def test_a_file_that_is_no_checkpoint_is_told(tmp_path):
    path = tmp_path / "model.ckpt"
    for content in (b"", b"something", pickle.dumps([1, 2])):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="is no checkpoint"):
            Checkpoint.load(path)


@pytest.mark.parametrize("every", [0, -1, 1.5, None])
def test_epochs_between_checkpoints_must_be_positive_integers(every):
    with pytest.raises(ValueError, match="every must be an integer >= 1; got"):
        Checkpoint("model.ckpt", every=every)
