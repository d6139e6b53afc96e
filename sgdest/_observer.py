"""What callbacks and ``verbose`` see of a training.

Callbacks follow the protocol of scikit-learn 1.9: one root task per ``fit``, one subtask per
epoch. During a call the context also carries ``training``, from which our own callbacks read
without a copy of the estimator.
"""

import functools

import numpy as np
from sklearn.utils import _safe_indexing

from sgdest._history import History

try:
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ImportError:  # scikit-learn before 1.9

    class CallbackSupportMixin:
        """``set_callbacks``, which older versions of scikit-learn cannot serve."""

        def set_callbacks(self, *callbacks):
            """Raise RuntimeError: callbacks need scikit-learn 1.9.

            Parameters
            ----------
            *callbacks : callback instances
            """
            from sklearn import __version__

            raise RuntimeError(
                f"set_callbacks needs scikit-learn 1.9 or newer; this is {__version__}. Update it "
                "by `pip install --upgrade scikit-learn`, or use verbose=1 and history_."
            )

    def with_callbacks(method):
        """The method itself: there are no callbacks to tear down."""
        return method


__all__ = ["CallbackSupportMixin", "Earlier", "Observer", "Printer", "with_callbacks"]


class Earlier:
    """What a ``fit`` goes on from: nothing, the fits before it, or a saved training.

    Attributes
    ----------
    history : History
        Of the fits before this one.
    paused : dict or None
        What ``Training.snapshot`` gave, and the state of the random generator.
    data : (X, y, sample_weight, held_out) or None
        What is learned from and watched; None without callbacks.
    """

    def __init__(self, history, paused=None, data=None):
        self.history, self.paused, self.data = history, paused, data
        self.random = None if paused is None else paused["generator"]

    @classmethod
    def of(cls, estimator, *data):
        """Of an estimator that begins to fit ``data``, of which all but the last are validated."""
        goes_on = estimator.warm_start and "_history" in estimator.__dict__
        history = estimator._history if goes_on else History()
        if not estimator._has_callbacks():
            return cls(history)
        for callback in estimator._skl_callbacks:
            if hasattr(callback, "saved_training"):
                paused = callback.saved_training(estimator, *data)
                if paused is not None:
                    if paused["unended"] and estimator.max_iter > paused["max_iter"]:
                        paused = {**paused, **paused["unended"]}
                    return cls(paused["before"], paused, data)
        return cls(history, data=data)

    def settle(self, seeds):
        """Let ``seeds`` be as they were when the saved training began."""
        if self.random is not None:
            seeds.restore(self.random)
        elif self.data is not None:
            self.random = seeds.state()

    def weights(self, start):
        """(W, b) to start from; ``start`` without a saved training."""
        if self.paused is None:
            return start
        return self.paused["W"].copy(), self.paused["b"].copy()

    def state(self):
        """The state of the method; empty without a saved one."""
        return {} if self.paused is None else self.paused["state"]


class Observer:
    """Tells the callbacks of an estimator about the epochs of a ``fit``.

    Parameters
    ----------
    estimator : GDClassifier or GDRegressor
        Its classes and shapes are set already.
    plan : Plan
    earlier : Earlier
    X : the rows as the user gave them, so that they have their names
    y : ndarray
    sample_weight : ndarray or None
    kept : ndarray of bool or None
        The rows that are learned from; None: all.
    """

    def __init__(self, estimator, plan, earlier, X, y, sample_weight, kept):
        self.estimator, self.plan, self.earlier, self.epoch = estimator, plan, earlier, None
        metadata = None
        if sample_weight is not None:
            metadata = {"sample_weight": sample_weight if kept is None else sample_weight[kept]}
        if kept is not None:  # cut when a callback asks for them
            rows, y = X, y[kept]
            X = functools.cache(lambda: _safe_indexing(rows, np.flatnonzero(kept)))
        self.data = {"estimator": estimator, "X": X, "y": y, "metadata": metadata}
        # how many iterations a solver needs is not known; a pass may take several of them
        most = None if plan.optimizer.kind == "solver" else estimator.max_iter
        self.root = estimator._init_callback_context(max_subtasks=most)
        self.begun = False
        self.limits = [callback.time_is_up for callback in estimator._skl_callbacks
                       if hasattr(callback, "time_is_up")]
        self.unended = earlier.paused and earlier.paused["unended"]
        self.saves = any(hasattr(callback, "saved_training")
                         for callback in estimator._skl_callbacks)

    def attributes(self, training):
        """With which a copy of the estimator is fitted as it is now."""
        W, b = training.weights()
        history = self.earlier.history.copy()
        history.extend(training.outcome.epochs.table(), training.outcome.per_output)
        solver = self.plan.optimizer.kind == "solver"
        return {
            "_W": W.copy(), "_b": b.copy(), "_sparse_coef": None, "_stale": False,
            "_state": {}, "_facts": None, "_seed": training.outcome.seed, "_history": history,
            "optimizer_": self.plan, "n_iter_": max(1, int(training.outcome.n_iter)),
            "t_": float(len(history) if solver else training.method.t),
            "best_epoch_": len(history), "converged_": False,
        }

    def snapshot(self, training):
        """All from which ``fit`` can go on; for longer, from ``unended``."""
        return {**training.snapshot(), "generator": self.earlier.random,
                "before": self.earlier.history.copy(), "unended": self.unended,
                "max_iter": self.estimator.max_iter}

    def begin(self, training):
        """An epoch begins; after a divergence the one under way begins again, untold."""
        self._begin_root(training)
        if self.epoch is None:
            self.epoch = self.root.subcontext(task_name="epoch")
            self.epoch.call_on_fit_task_begin(
                **self.data, reconstruction_attributes=lambda: self.attributes(training)
            )

    def _begin_root(self, training):
        if not self.begun:
            self.begun = True
            self._call(self.root, "call_on_fit_task_begin", training)

    def end(self, training):
        """An epoch has ended; True if a callback wants the fit to stop."""
        epoch, self.epoch = self.epoch, None
        if self.saves and self.unended is None and training.is_ending():
            self.unended = training.snapshot()       # as it was before rates fell to an end
            self.unended["schedule"].pop("first", None)
        return self._call(epoch, "call_on_fit_task_end", training)

    def time_is_up(self):
        """Whether a callback wants the fit to stop within the epoch under way."""
        return any(limit(self.root) for limit in self.limits)

    def close(self, training):
        """No epoch follows; one that was not completed ends as an empty task."""
        self._begin_root(training)
        if self.epoch is not None:
            self.epoch.call_on_fit_task_end(estimator=self.estimator)

    def finish(self):
        """The estimator has all its attributes."""
        self.root.call_on_fit_task_end(**self.data, reconstruction_attributes={})

    def _call(self, context, hook, training):
        """Call a hook of all callbacks; what they ask for is evaluated when they do."""
        context.training = training
        try:
            return getattr(context, hook)(
                **self.data, reconstruction_attributes=lambda: self.attributes(training)
            )
        finally:
            del context.training


class Printer:
    """Prints one aligned line per epoch: what ``verbose`` means.

    Parameters
    ----------
    rows, seconds : how far the history had come before the first line
    """

    def __init__(self, rows=0, seconds=0.0):
        self.rows, self.seconds = rows, seconds

    def __call__(self, record):
        taken = record["seconds"] - self.seconds
        speed = (record["rows"] - self.rows) / taken if taken > 0 else np.nan
        self.rows, self.seconds = record["rows"], record["seconds"]
        cells = [
            f"epoch {int(record['epoch']):5d}",
            f"objective {record['objective']:.6e}",
            f"validation {_number(record['validation'], '+.6e', 13)}",
            f"rate {_number(record['learning_rate'], '.3e', 9)}",
            f"gradient {_number(record['gradient_norm'], '.3e', 9)}",
            f"rows/s {_number(speed, '.2e', 8)}",
            f"elapsed {record['seconds']:8.2f} s",
        ]
        print("  ".join(cells), flush=True)


def _number(value, form, width):
    """The number, or a dash where there is none."""
    return f"{'-' if np.isnan(value) else format(value, form):>{width}}"
