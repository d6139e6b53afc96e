"""What to warn of after a fit, and what the user can do about it."""

import numpy as np

LOST = (
    "The loss of the model exploded at the rows of this call, so it begins anew from zero, at a "
    "smaller rate. Scale the columns of X, or give the first call of partial_fit more rows."
)


def what_happened(plan, outcome, model):
    """What to warn of if a training has diverged, or ended before it converged; or None."""
    if outcome.diverged is not None:
        epoch, rate = outcome.diverged
        return (
            f"The objective exploded in epoch {epoch} at learning rate {rate:.3g}; the "
            "model keeps the last sound weights. Use a smaller learning rate, scale "
            "the columns of X, or leave learning_rate='auto'."
        )
    if model.tol is None or outcome.converged or outcome.stopped:
        return None
    reached = (f"estimated relative suboptimality {model.suboptimality_:.1e}, "
               if np.isfinite(model.suboptimality_) else "")
    end = ("Maximum number of iteration reached before convergence"
           if outcome.n_iter >= model.max_iter else
           "No step lowers the objective any more, and it is not known to be the least")
    return (
        f"{end}: {outcome.n_iter} passes with {plan.optimizer!r}, {reached}"
        f"tol={model.tol:g}. Consider increasing max_iter or tol, or scaling the columns "
        "of X."
    )


def left_out(method, before=0):
    """What to warn of if a streaming method skipped rows, or None."""
    n_rows = int(getattr(method, "skipped", 0) - before)
    if not n_rows:
        return None
    return (
        f"{n_rows} rows were left out: their loss, or its slope, overflows. Check the targets "
        "for values that are no measurements."
    )


def endless(plan, problem, W, b):
    """What to warn of if the objective of a solver has no minimum, or None.

    That of a logistic loss has none where it is not penalised and the classes can be told apart.
    """
    penalty = problem.penalty
    if (plan.optimizer.kind != "solver" or problem.loss.name not in ("log_loss", "multinomial")
            or penalty.l1 > 0.0 or penalty.l2 > 0.0):
        return None
    z, y = problem.margins(W, b), problem.targets()
    told = z.argmax(axis=1) == y.ravel() if problem.n_outputs > 1 else ((z > 0.0) == (y > 0.0)).ravel()
    if not np.all(told if problem.sample_weight is None else told[problem.sample_weight > 0.0]):
        return None
    return (
        "The classes can be told apart without an error and nothing is penalised: log_loss has no "
        "minimum then, ever larger weights make it smaller. They were left at finite values. Use "
        "alpha > 0."
    )
