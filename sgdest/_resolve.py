"""What runs: one function from (loss, optimizer, learning_rate, batch_size, average)."""

from dataclasses import dataclass
from typing import Any

from sgdest.losses import facts_of, is_written, name_of
from sgdest.optimizers import LBFGS, SGD, SOLVERS, NormalizedAdaptive, as_optimizer


@dataclass(frozen=True)
class Plan:
    """What runs, and why.

    Attributes
    ----------
    optimizer : Optimizer
    learning_rate : "auto", name, float or callable; None where the optimizer has no rate
    batch_size : int
        Rows per step; 0 means all rows.
    average : int
        First update that enters the average; 0 means none.
    reason : str
    is_open : bool
        The solver is still to be chosen, by ``settled``.
    """

    optimizer: Any
    learning_rate: Any
    batch_size: int
    average: int
    reason: str
    is_open: bool = False

    def settled(self, problem):
        """The plan with the solver that ``problem`` calls for: the one that is soonest done."""
        if not self.is_open:
            return self
        seconds = {kind: kind.expected_seconds(problem) for kind in SOLVERS}
        chosen = min(seconds, key=seconds.get)
        kind = "sparse" if problem.rows.is_sparse else "dense"
        reason = (f"expected to be done first on {problem.n_rows} {kind} rows of "
                  f"{problem.n_features} columns")
        return Plan(chosen(), self.learning_rate, self.batch_size, self.average, reason)

    def __repr__(self):
        parts = [repr(self.optimizer)]
        if self.learning_rate is not None:
            size = self.batch_size or "all rows"
            parts.append(f"learning_rate={self.learning_rate!r}, batch_size={size}")
        return f"<{', '.join(parts)}: {self.reason}>"


def resolve(loss, optimizer, learning_rate, batch_size, average, *, streaming):
    """The ``Plan`` of a fit (or of a ``partial_fit``, if ``streaming``).

    Raises
    ------
    ValueError
        If a method is given what it has no use for, or a rate is given twice.
    """
    step_parameters = {
        "learning_rate": learning_rate != "auto",
        "batch_size": batch_size != "auto",
        "average": average is not False,
    }
    touched = [name for name, is_set in step_parameters.items() if is_set]
    if optimizer == "auto":
        return _automatic(loss, learning_rate, batch_size, average, touched, streaming)
    chosen = as_optimizer(optimizer)
    name = optimizer if isinstance(optimizer, str) else type(optimizer).__name__
    if chosen.kind == "step":
        if optimizer == "gd":
            if batch_size != "auto":
                raise ValueError(
                    f"optimizer='gd' is batch descent on all rows; got "
                    f"batch_size={batch_size!r}. Use optimizer='sgd' to set the batch size."
                )
            batch_size = None
        return _step_plan(chosen, learning_rate, batch_size, average, f"{name} was asked for")
    if touched:
        raise ValueError(
            f"optimizer={name!r} chooses its own steps and takes no {' or '.join(touched)}; got "
            + ", ".join(f"{t}={locals_of(learning_rate, batch_size, average)[t]!r}" for t in touched)
            + ". Leave them at their defaults, or use optimizer='sgd'."
        )
    if chosen.kind == "solver" and name_of(loss) == "perceptron":
        raise ValueError(
            f"loss='perceptron' has no solver: its minimum is zero coefficients; got "
            f"optimizer={name!r}. Use optimizer='auto' or 'sgd'."
        )
    if chosen.kind == "solver" and not streaming and _has_kinks(loss) and (
        is_written(loss) or not chosen.rounds_kinks
    ):
        own = " in a loss of one's own" if is_written(loss) else ""
        raise ValueError(
            f"loss={loss!r} has kinks, which optimizer={name!r} cannot round"
            f"{own}. Use optimizer='auto'."
        )
    if chosen.kind == "solver" and streaming:
        reason = f"{name} sees all rows at once; partial_fit streams"
        return Plan(NormalizedAdaptive(), None, 1, 0, reason)
    return Plan(chosen, None, 1, 0, f"{name} was asked for")


def _automatic(loss, learning_rate, batch_size, average, touched, streaming):
    """The plan of ``optimizer="auto"``."""
    if touched:
        reason = f"{' and '.join(touched)} set"
        return _step_plan(SGD(), learning_rate, batch_size, average, reason)
    if name_of(loss) == "perceptron":
        return Plan(SGD(), 1.0, 1, 0, "the perceptron's rule: one row at a time, rate 1")
    if streaming:
        return Plan(NormalizedAdaptive(), None, 1, 0, "rows come as a stream")
    if is_written(loss) and _has_kinks(loss):
        return _step_plan(SGD(), "auto", 256, False, "a loss of one's own with kinks")
    return Plan(LBFGS(), None, 0, 0, "all rows are at hand", is_open=True)


def _has_kinks(loss):
    """Whether the slope of the loss jumps."""
    return facts_of(loss).smoothness == "kinked"


def _step_plan(optimizer, learning_rate, batch_size, average, reason):
    """The plan of a step method: whose rate, which batch."""
    own = optimizer.learning_rate
    if learning_rate != "auto" and own != "auto":
        raise ValueError(
            f"learning_rate is given twice: {learning_rate!r} to the estimator and {own!r} to "
            f"{optimizer!r}. Leave one of them at 'auto'."
        )
    rate = own if learning_rate == "auto" else learning_rate
    if rate in ("pa1", "pa2") and batch_size not in ("auto", 1):
        raise ValueError(
            f"learning_rate={rate!r} is a rule for one row at a time; got "
            f"batch_size={batch_size!r}. Use batch_size=1."
        )
    size = {"auto": optimizer.default_batch_size, None: 0}.get(batch_size, batch_size)
    if rate in ("pa1", "pa2"):
        size = 1
    return Plan(optimizer, rate, int(size), int(average), reason)


def locals_of(learning_rate, batch_size, average):
    """The step parameters by name."""
    return {"learning_rate": learning_rate, "batch_size": batch_size, "average": average}
