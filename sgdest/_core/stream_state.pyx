"""The state of a stream: before the first row, after a batch fit, with more outputs.

It is a dict of arrays and numbers; what each feature has lies in one record (see ``stream``).
"""

from sgdest._core.problem cimport Problem
from sgdest._core.stream_kernels cimport LARGEST, ROOT, SQUARES, TAIL
from sgdest._core.stream_rules cimport StepRule

from typing import NamedTuple

import numpy as np

from sgdest._core.gram import grams_of_rows
from sgdest._core.online_newton import OnlineNewton
from sgdest._core.stream_rules import Measurements, step_rule, targets_class

# Of the mixture after a fit, where Newton steps from its minimum are to be had.
OTHERS = 0.1
# What is worth knowing of a fit for the stream that may follow: see ``hessians``.
NEWTON_COLUMNS, ROWS_PER_COLUMN, LEAST_BEND = 64, 8, 0.2
LEAST_STORED = 20_000      # below, fewer rows would save nothing
NO_NEWTON = np.zeros((0, 0, 0)), np.zeros(0)


def checked_rates(rates):
    """The rates as an array.

    Raises
    ------
    ValueError
        If there is none, or one is not a positive finite number.
    """
    array = np.array(rates, dtype=np.float64)
    if array.ndim != 1 or not array.size or not np.all((array > 0) & np.isfinite(array)):
        raise ValueError(f"rates must be one or more positive finite numbers; got {rates!r}")
    return array


def lanes_of(n_rates, n_outputs):
    """Weights in a record: of every rate and output, and zeros up to a multiple of 4."""
    return -(-n_rates * n_outputs // 4) * 4


def record_width(n_rates, n_outputs):
    """Numbers in a record: one cache line if that is enough."""
    return lanes_of(n_rates, n_outputs) + TAIL


def empty_records(n_features, n_rates, n_outputs):
    """Zeros for every feature and the intercept, beginning at a cache line."""
    width = record_width(n_rates, n_outputs)
    size = (n_features + 1) * width
    room = np.zeros(size + 8)
    start = -(room.ctypes.data // 8) % 8
    return room[start:start + size].reshape(n_features + 1, width)


def fresh_state(problem, W, b, rates, newton=False):
    """State before the first row: every expert has the weights ``W`` and ``b``.

    The last one takes Newton steps, its rate is 0, if ``newton``.
    """
    rates = np.append(rates, 0.0) if newton else rates
    n_rates, n_outputs = len(rates), problem.n_outputs
    experts = empty_records(problem.n_features, n_rates, n_outputs)
    if np.any(W):
        experts[:-1, :n_rates * n_outputs] = np.tile(W, (1, n_rates))
    experts[-1, :n_rates * n_outputs] = np.tile(b, n_rates)
    bounds = np.zeros((3, n_outputs))
    bounds[:2] = np.reshape(targets_class(problem.loss).start, (2, 1))
    inverse, paid = OnlineNewton.fresh(problem.n_features + 1, n_outputs) if newton else NO_NEWTON
    return {"t": 0.0, "rates": np.array(rates), "experts": experts,
            "mixture": np.full(n_rates, 1.0 / n_rates),
            "losses": np.zeros(n_rates), "range": bounds, "norm": 0.0, "path": 0.0,
            "weight": 0.0, "spread": 0.0, "newton_inverse": inverse, "newton_paid": paid}


def may_take_newton_steps(problem, columns):
    """Whether an expert may keep a matrix of all pairs of columns, and pay the penalty."""
    penalty = problem.penalty
    return (problem.n_outputs * (problem.n_features + 1) ** 2 <= (columns + 1) ** 2
            and penalty.l1 == 0.0 and not penalty.positive)


def state_without_newton(state, n_outputs):
    """The state of the other experts."""
    if not state["newton_paid"].size:
        return state
    n_rates, old = len(state["rates"]) - 1, state["experts"]
    experts, n_lanes = empty_records(len(old) - 1, n_rates, n_outputs), n_rates * n_outputs
    experts[:, :n_lanes] = old[:, :n_lanes]
    experts[:, -TAIL:] = old[:, -TAIL:]
    mixture = state["mixture"][:n_rates]
    inverse, paid = NO_NEWTON
    return {**state, "rates": state["rates"][:n_rates], "experts": experts,
            "mixture": mixture / mixture.sum(), "losses": state["losses"][:n_rates],
            "newton_inverse": inverse, "newton_paid": paid}


def state_with_outputs(state, outputs):
    """The state of a classifier whose raw predictions are those of ``state`` times ``outputs``.

    Parameters
    ----------
    state : dict
    outputs : ndarray of shape (old outputs, new outputs)
    """
    n_rates, (old, new) = len(state["rates"]), outputs.shape
    n_rows, n_lanes = len(state["experts"]), n_rates * old
    experts = empty_records(n_rows - 1, n_rates, new)
    lanes = state["experts"][:, :n_lanes].reshape(n_rows, n_rates, old) @ outputs
    experts[:, :n_rates * new] = lanes.reshape(n_rows, -1)
    experts[:, -TAIL:] = state["experts"][:, -TAIL:]
    # an output begins with the matrix of the one that it has most of
    inverse = state["newton_inverse"]
    inverse = inverse[np.abs(outputs).argmax(axis=0)] if len(inverse) else inverse
    return {**state, "experts": experts, "newton_inverse": inverse,
            "range": np.repeat(state["range"][:, :1], new, axis=1)}


class FitFacts(NamedTuple):
    """What a batch fit knows of its rows; see ``state_after_fit``.

    Parameters
    ----------
    n_rows, weight : float
        Rows with a weight, and the sum of their weights.
    mean, variance, largest : ndarray of shape (n_features,)
        Of the columns; ``largest`` of the absolute values.
    square_derivative : float
        Mean over rows and outputs of the squared derivative of weight times loss, at the best
        constant model: at the solution they may be far smaller than what new rows bring.
    curvature : float
        Mean over rows and outputs of the second derivative of the loss there.
    mean_loss : float
        Mean over rows of the loss at the solution, summed over outputs.
    y : ndarray of shape (4, n_outputs)
        Least, largest, mean and variance of the targets; read for real and log-link targets.
    hessians : ndarray of shape (n_outputs, n_features + 1, n_features + 1), default=None
        Of the mean loss and the penalty in u = largest * w and the intercept, about, where columns
        are centred if there is one.
    """

    n_rows: float
    weight: float
    mean: object
    variance: object
    largest: object
    square_derivative: float
    curvature: float
    mean_loss: float
    y: object
    hessians: object = None


def state_after_fit(problem, W, b, rates, facts):
    """State as if the rows of ``facts`` had been learned and had led to ``W`` and ``b``.

    From it m more rows move the model about as m of n + m rows do, not as the first m: for one
    more row a batch fit moves by a Newton step. The mixture begins near the rate whose steps
    have that size. Where even the smallest is too large, an expert of rate 0 shares the mixture,
    which keeps ``W`` and ``b`` until losses show that the rows have changed. Where the Hessian
    is known an expert takes those Newton steps, and begins with nearly all of the mixture.

    Parameters
    ----------
    problem : Problem
        Of the rows to come: loss, number of features and outputs, intercept are read.
    W, b : ndarray of shape (n_features, n_outputs) and (n_outputs,)
    rates : sequence of float
    facts : FitFacts

    Returns
    -------
    dict
        For ``NormalizedAdaptiveMethod(..., state=...)``.
    """
    n, rates = float(facts.n_rows), np.append(0.0, checked_rates(rates))
    newton = facts.hessians is not None
    cdef StepRule rule = step_rule(problem.loss)
    state = fresh_state(problem, W, b, rates, newton)
    mean, deviation, largest = (np.append(column, one) for column, one in (
        (facts.mean, 1.0), (np.sqrt(facts.variance), 0.0), (facts.largest, 1.0)))
    unit = units(largest)
    square = np.square(mean / unit) + np.square(deviation / unit)
    squares = n * rule.gain**2 * facts.square_derivative * square
    experts = state["experts"]
    experts *= unit[:, None]
    tail = experts[:, -TAIL:]
    tail[:, SQUARES], tail[:, LARGEST] = squares, largest
    np.divide(1.0, np.sqrt(squares), out=tail[:, ROOT], where=squares > 0)
    used = slice(problem.n_features + problem.fit_intercept)
    state.update(t=n, weight=facts.weight, norm=n * square[used].sum())
    state["losses"][:] = facts.weight * facts.mean_loss
    y = np.reshape(facts.y, (4, -1))
    kind = targets_class(problem.loss)
    state["range"][:] = kind.range_of(y)
    y_unit = 1.0
    if kind is Measurements:
        state["spread"] = facts.weight * np.sum(y[3])
        y_unit = np.sqrt(np.mean(y[3]))
    best = newton_rate(square[used], np.square(mean / unit)[used], y_unit, facts)
    mixture = prior(rates, best, n)
    if newton:
        mixture = np.append(OTHERS * mixture, 1.0 - OTHERS)
        centre = np.multiply(mean / unit, problem.fit_intercept)[:problem.n_features]
        state["newton_inverse"] = from_centred(np.linalg.inv(facts.hessians), centre) / facts.weight
        state["newton_paid"][:] = facts.weight
    state["mixture"][:] = mixture
    return state


def units(largest):
    """The columns' largest values, 1 where all are zero."""
    return np.where(largest > 0.0, largest, 1.0)


def hessians(problem, W, b, facts):
    """``FitFacts.hessians`` from some of the rows, or None if nobody would ask for them."""
    if not may_take_newton_steps(problem, NEWTON_COLUMNS):
        return None
    n, d = problem.n_rows, problem.n_features
    part, step = problem, n // (ROWS_PER_COLUMN * (d + 1))
    if step > 1 and problem.rows.n_stored > LEAST_STORED:
        part = problem.subset(np.arange(0, n, step))
    h = np.ascontiguousarray(bends(part, W, b, facts).T)
    if part.rows.is_sparse:
        part = part.outputs()[0].on_rows(dense_rows(part), problem.penalty)
    inverse_scale, one = 1.0 / units(facts["largest"]), np.array([[float(problem.fit_intercept)]])
    mean = facts["mean"] if problem.fit_intercept else np.zeros(d)
    c = 1.0 if problem.penalty.factors is None else problem.penalty.factors
    H = grams_of_rows(part, np.arange(part.n_rows), h, mean, inverse_scale, one)
    diagonals = np.einsum("kii->ki", H)      # a view
    diagonals[:, :d] += problem.penalty.l2 * (c * inverse_scale)**2
    diagonals *= 1.0 + 1e-9
    diagonals += diagonals <= 0.0
    return H


def from_centred(inverses, mean):
    """E inverse E' of each, where E takes the intercept of centred columns to that of raw ones."""
    d = len(mean)
    inverses[:, d] -= mean @ inverses[:, :d]
    inverses[:, :, d] -= inverses[:, :, :d] @ mean
    return inverses


def dense_rows(problem):
    """X as an array."""
    if not problem.rows.is_sparse:
        return problem.rows.X
    X = np.zeros((problem.n_rows, problem.n_features))
    for i in range(problem.n_rows):
        columns, values = problem.rows.row(i)
        X[i, columns] = values
    return X


def bends(Problem problem, W, b, facts):
    """Curvatures of the rows as Newton steps take them, times their shares of the weight.

    They are kept above a part of those of the constant model: an overconfident model has next to
    none, and would be thrown far by the first row that contradicts it.
    """
    cdef StepRule rule = step_rule(problem.loss)
    cdef Py_ssize_t i, k
    cdef double unit = 1.0, least = LEAST_BEND * facts["curvature"]
    if targets_class(problem.loss) is Measurements:
        unit = np.sqrt(np.mean(facts["y"][3]))
    z = problem.margins(W, b)
    cdef double[:, ::1] d = problem.slopes(z), h = problem.curvatures(z)
    for i in range(problem.n_rows):
        for k in range(problem.n_outputs):
            h[i, k] = rule.bend(d[i, k], h[i, k], unit) * rule.scale(unit)
            h[i, k] = max(h[i, k], least) * problem.weight(i) / problem.total_weight
    return np.asarray(h)


def newton_rate(square, square_mean, y_unit, facts):
    """The rate whose steps move the raw predictions about as Newton steps do.

    A Newton step moves the prediction of its row by p / (weight curvature), and those of the
    other rows, by way of what all rows have in common, by 1 / (weight curvature). Steps that
    know no correlations cannot do both; theirs lie between, at the geometric mean. ``square``
    and ``square_mean`` are the means of (x / s)^2 and the squared means of x / s.
    """
    length = np.sqrt(square)
    moved = y_unit * length.sum() / np.sqrt(
        square.sum() * facts.n_rows * facts.square_derivative + 1e-300)
    common = np.divide(square_mean, length, out=np.zeros_like(length), where=length > 0).sum()
    p = np.count_nonzero(length)
    p = np.sqrt(p * min(p, length.sum() / max(common, 1e-300)))
    # a kinked loss bends by its slope over the width of the targets
    curvature = facts.curvature or np.sqrt(facts.square_derivative) / max(y_unit, 1e-300)
    return p / max(facts.weight * curvature * moved, 1e-300)


def prior(rates, best, n):
    """The mixture with which experts start, the first of rate 0, if ``best`` is a good rate.

    The weight of an expert falls with the square of the ratio of its rate to the best. The more
    rows have led to the model, n, the less likely are the next hundred to know better.
    """
    moving = rates[1:]
    nearest = np.clip(best, np.min(moving), np.max(moving))
    mixture = np.minimum(moving / nearest, nearest / moving) ** 2
    still = max(1.0 - best / nearest, n / (n + 100.0))
    return np.append(still, (1.0 - still) * mixture / mixture.sum())
