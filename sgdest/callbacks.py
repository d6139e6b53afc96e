"""Callbacks: what to record, save or decide after each epoch.

They follow the protocol of scikit-learn 1.9 and stand beside its own (``ProgressBar``,
``ScoringMonitor``)::

    GDClassifier().set_callbacks(RecordObjective(), TimeLimit(60)).fit(X, y)

A callback whose ``on_fit_task_end`` returns True ends the fit after that epoch. In a pipeline or a
search they are set on the estimator inside; records of fits in other processes stay there.
``partial_fit`` calls none, since the protocol knows only ``fit``: ``objective`` tells between calls
what ``RecordObjective`` would.
"""

import copy
import os
import pickle
import tempfile
import weakref
from numbers import Integral, Real
from pathlib import Path
from time import perf_counter

import joblib
import numpy as np
from scipy.sparse import issparse

from sgdest._version import __version__

__all__ = ["Checkpoint", "RecordObjective", "RecordParameters", "TimeLimit"]

# Of X about so many rows, and its sum, tell whether it is that of a checkpoint.
ROWS_HASHED = 1000


class _Callback:
    """What all share: something kept per fit under way, found through the context."""

    def __init__(self):
        self._under_way = {}

    def setup(self, estimator, context):
        """Called when ``fit`` begins."""
        self._under_way[context] = self._begin(estimator)

    def teardown(self, estimator, context):
        """Called when ``fit`` has ended, by an error too."""
        self._under_way.pop(context, None)

    def on_fit_task_begin(self, estimator, context):
        """Called before each epoch, and before all of them."""

    def on_fit_task_end(self, estimator, context):
        """Called after each epoch, and after all of them."""

    def _begin(self, estimator):
        """What to keep of a fit that begins."""

    def __getstate__(self):
        return {**self.__dict__, "_under_way": {}}

    def __repr__(self):
        shown = {k: v for k, v in self.__dict__.items() if k[0] != "_" and k[-1] != "_"}
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in shown.items())})"


def _require_ours(callback, estimator):
    """TypeError if a callback cannot look into the training of an estimator."""
    if not hasattr(type(estimator), "objective"):
        raise TypeError(
            f"{type(callback).__name__} needs a GDClassifier or GDRegressor; got "
            f"{type(estimator).__name__}. In a pipeline or search, set it on the estimator inside."
        )


class _Recorder(_Callback):
    """Appends ``_values(estimator, training)`` at the start and after each epoch."""

    def __init__(self):
        super().__init__()
        self._records, self._latest = [], None

    def _begin(self, estimator):
        _require_ours(self, estimator)
        self._records, self._latest = [], weakref.ref(estimator)
        return self._records

    def holds(self, estimator):
        """Whether the latest fit was that of this very object: clones share their callbacks."""
        return self._latest is not None and self._latest() is estimator

    def __getstate__(self):
        return {**super().__getstate__(), "_latest": None}

    def on_fit_task_begin(self, estimator, context):
        if hasattr(context, "training"):
            self._under_way[context].append(self._values(estimator, context.training))

    def on_fit_task_end(self, estimator, context):
        if hasattr(context, "training"):
            self._under_way[context.parent].append(self._values(estimator, context.training))


class RecordObjective(_Recorder):
    """Records the exact objective before the first and after every epoch.

    ``loss_curve_`` of a step method is measured while the weights change; this is the weighted
    objective of the weights at the end of each epoch (averaged ones if they are averaged), at the
    cost of a pass over the rows. ``LossCurveDisplay`` draws it if it is there.

    Attributes
    ----------
    objective_path_ : ndarray of shape (n_epochs + 1,)
        Of the latest fit.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sgdest import GDRegressor
    >>> from sgdest.callbacks import RecordObjective
    >>> X, y = load_diabetes(return_X_y=True)
    >>> record = RecordObjective()
    >>> model = GDRegressor(optimizer="gd", max_iter=5, tol=None)
    >>> len(model.set_callbacks(record).fit(X, y).loss_curve_)  # doctest: +SKIP
    5
    >>> len(record.objective_path_)  # doctest: +SKIP
    6
    """

    @property
    def objective_path_(self):
        return np.array(self._records, dtype=float)

    def _values(self, estimator, training):
        return training.exact_objective()


class RecordParameters(_Recorder):
    """Records the parameters before the first and after every epoch: their walk.

    ``DescentPathDisplay`` draws it.

    Attributes
    ----------
    coef_path_ : ndarray of shape (n_epochs + 1, *coef_.shape)
        Of the latest fit.
    intercept_path_ : ndarray of shape (n_epochs + 1, *intercept_.shape)
    """

    @property
    def coef_path_(self):
        return np.array([coef for coef, _ in self._records])

    @property
    def intercept_path_(self):
        return np.array([intercept for _, intercept in self._records])

    def _values(self, estimator, training):
        W, b = training.weights()
        return estimator._shaped_coef(W).copy(), estimator._shaped_intercept(b).copy()


class TimeLimit(_Callback):
    """Ends a fit after this much time.

    Step and streaming methods look at the clock about every 50 ms and end after the last whole
    step: within an epoch, whose steps count but which is not in ``history_``. A solver ends after
    the iteration that is under way, some passes over the rows.

    Parameters
    ----------
    seconds : float > 0
        Wall time since ``fit`` began to learn.
    """

    def __init__(self, seconds):
        super().__init__()
        if not (isinstance(seconds, Real) and seconds > 0):
            raise ValueError(f"seconds must be a number > 0; got {seconds!r}.")
        self.seconds = seconds

    def _begin(self, estimator):
        return perf_counter()

    def time_is_up(self, context):
        """Whether the fit of this root task has had its time; asked within epochs too."""
        began = self._under_way.get(context)
        return began is not None and perf_counter() - began >= self.seconds

    def on_fit_task_end(self, estimator, context):
        return self.time_is_up(context.parent)


class Checkpoint(_Callback):
    """Saves the model and the state of its training every few epochs.

    The file is replaced in one step: a crash leaves the old one or the new one, never half of it.
    Load only files that you trust: they are pickles.

    Parameters
    ----------
    path : str or path-like
        The file.
    every : int >= 1, default=1
        Epochs from one writing to the next.
    resume : bool, default=False
        Whether ``fit`` goes on from the file if there is one. With the same parameters (except
        ``max_iter``, ``tol``, ``n_jobs`` and ``verbose``), data and version of sgdest, it ends
        bit for bit where an uninterrupted one does, whatever the optimizer.

    Notes
    -----
    One file serves one fit: those of a search would all write it.

    The file of a step method holds a few copies of the model and a number per row. That of a
    solver also holds what it has learned of the curvature, some numbers per row and output, and
    columns that it has read out of X, not X itself: see ``docs/design``, note 13.

    Examples
    --------
    A script that continues where it was killed::

        model = GDClassifier(optimizer="sgd", max_iter=1000)
        model.set_callbacks(Checkpoint("model.ckpt", every=10, resume=True)).fit(X, y)
    """

    def __init__(self, path, every=1, resume=False):
        super().__init__()
        if not (isinstance(every, Integral) and every >= 1):
            raise ValueError(f"every must be an integer >= 1; got {every!r}.")
        self.path, self.every, self.resume = Path(path), every, resume

    @classmethod
    def load(cls, path):
        """The model as it was when it was saved, ready to predict.

        Parameters
        ----------
        path : str or path-like

        Returns
        -------
        estimator : GDClassifier or GDRegressor
        """
        return cls._read(path)["estimator"]

    @staticmethod
    def _read(path):
        """What the file holds; ValueError if it is no checkpoint."""
        with open(path, "rb") as file:
            try:
                saved = pickle.load(file)
            except (pickle.UnpicklingError, EOFError, AttributeError, ImportError) as error:
                raise ValueError(f"{path} is no checkpoint: {error}.") from error
        if not isinstance(saved, dict) or saved.keys() != {"estimator", "paused", "made_for"}:
            raise ValueError(f"{path} is no checkpoint.")
        return saved

    def _begin(self, estimator):
        _require_ours(self, estimator)

    def on_fit_task_end(self, estimator, context):
        training = getattr(context, "training", None)
        if training is None or training.record()["epoch"] % self.every:
            return
        fit = context.parent
        if self._under_way[fit] is None:   # the same after every epoch: made once
            self._under_way[fit] = _fingerprint(estimator, *training.limits.observer.earlier.data)
        observer = training.limits.observer
        model = copy.copy(estimator)
        model.__dict__.update(observer.attributes(training))
        for name in ("_skl_callbacks", "_callback_fit_ctx", "_skl_callbacks_to_teardown",
                     "_parent_callback_ctx"):
            model.__dict__.pop(name, None)
        paused = observer.snapshot(training)
        self._write({"estimator": model, "paused": paused, "made_for": self._under_way[fit]})

    def _write(self, saved):
        """Write beside the file, then take its place."""
        handle, name = tempfile.mkstemp(dir=self.path.parent, prefix=self.path.name)
        try:
            with os.fdopen(handle, "wb") as file:
                pickle.dump(saved, file, protocol=pickle.HIGHEST_PROTOCOL)
                file.flush()
                os.fsync(file.fileno())
            os.replace(name, self.path)
        except BaseException:
            os.unlink(name)
            raise

    def saved_training(self, estimator, *data):
        """The state that ``fit`` goes on from, or None for a fresh start.

        Parameters
        ----------
        estimator : the estimator that begins to fit
        *data : X, y, sample_weight, held_out
            What it learns from and watches.

        Raises
        ------
        ValueError
            If the file was written with other parameters or other data.
        """
        if not (self.resume and self.path.exists()):
            return None
        saved = self._read(self.path)
        if saved["made_for"] != _fingerprint(estimator, *data):
            raise ValueError(
                f"{self.path} was written by a fit with other parameters or other data, or by "
                "another version of sgdest; remove it, or fit as before."
            )
        return saved["paused"]


def _fingerprint(estimator, X, *others):
    """What must be the same for a training to go on; of X its sum and some rows."""
    params = estimator.get_params()
    free = {"max_iter", "tol", "n_jobs", "verbose", "random_state"}
    kept = {name: value for name, value in params.items() if name not in free}
    values = X.data if issparse(X) else X
    some = X[:: max(1, X.shape[0] // ROWS_HASHED)]
    seen = X.shape, values.size, values.sum(), some, others
    return __version__, type(estimator).__name__, joblib.hash((kept, seen))
