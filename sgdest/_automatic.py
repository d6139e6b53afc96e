"""``learning_rate="auto"``: coordinates in which columns look alike, and a rate for them.

The coordinates are (x - centre) / spread. The centre of a dense column is its mean; the spread is
its standard deviation (of a sparse column its root mean square), enlarged where the penalty curves
more than the loss. In them the curvature of the loss along the mean of a
batch of B rows is at most ``c (L + (M - L) / B)``: c bounds the second derivative of the loss, L
is the largest eigenvalue of the second moments of the rows, M their trace. How each optimizer
makes a rate of that is written beside it (``Optimizer.rate``).
"""

import numpy as np
import scipy.sparse as sp

from sgdest._core.method import Facts
from sgdest._core.optimizers import SGD
from sgdest._core.schedules import Harmonic, Measured, Settling
from sgdest._core.solver import best_constant, constant_margins
from sgdest._noise import Noise

# Rows and iterations from which L is estimated.
PROBED_ROWS, PROBE_ITERATIONS = 1000, 20
# Fewer rows than this say too little of where a column has its centre.
ROWS_TO_CENTRE = 10
# The trials that find a rate roughly, and those that find it finely: most rows, steps (of 256 rows,
# or of a batch that is larger), and the power of two from one to the next; how far they go at most.
ROUGHLY, FINELY, FARTHEST = (2000, 10, 2), (4000, 80, 1), 10
ROWS_OF_STEP, MOST_PASSES = 256, 50
# The last part of a trial, in which its rate falls to zero.
ENDING = 0.25
# The penalty curves at most one over this times as much as the loss: its exact flow and the step of
# the loss then hardly differ in their fixed point from the minimum.
STIFFNESS = 10.0
# Columns whose spreads lie within this factor of 1 are left as they are, which costs less.
ALIKE = 3.0


def automatic(problem, optimizer, batch_size, average, W, b, probe=False, is_stream=False):
    """(Schedule, arrays for the state): the rate that "auto" means, from the data.

    With ``probe``, as a fit has it, it is corrected by what passes over some of the rows make of
    ``W`` and ``b``. A stream has only the rows of its first call to go by.
    """
    spread, centre, curvature = alike(problem, STIFFNESS)
    plain = bool((spread == 1.0).all() and not centre.any())
    if problem.rows.is_sparse and average and not plain:
        # every iterate counts in an average, and none may cost more
        plain, spread, centre = True, np.ones_like(spread), np.zeros_like(centre)
    largest, trace, reach = _moments_of_rows(problem, spread, centre)
    n = problem.n_rows
    rows = min(batch_size or n, n)
    of_batch = largest if rows == n else largest + (trace - largest) / rows
    facts = Facts(
        curvature=curvature * of_batch + problem.penalty.l2 * plain,
        batch_size=rows,
        steps_per_pass=-(-n // rows),
        is_whole=rows == n and not (is_stream and batch_size),
        target_scale=_target_scale(problem),
        reach=reach,
        is_stream=is_stream,
    )
    schedule = optimizer.rate(facts)
    coordinates = {} if plain else {"spread": spread}
    if not plain and centre.any():
        coordinates["centre"] = centre
    if probe and not facts.is_whole:
        schedule = probed(problem, optimizer, batch_size, schedule, coordinates, (W, b))
    return schedule, coordinates


def for_passes(problem, optimizer, batch_size, schedule, coordinates, parameters, start, passes):
    """The schedule of a fit of ``passes``, which unlike a stream has an end, and sees rows again.

    ``parameters`` are (W, b), which will change; ``start`` is what no pass should end above.
    """
    if isinstance(schedule, Measured):
        schedule.looks = type(problem.loss).smoothness == "smooth"
        return schedule
    rows = min(batch_size or problem.n_rows, problem.n_rows)
    steps = -(-problem.n_rows // rows)
    end = -(-passes // 2) * steps, passes * steps     # the second half of the passes
    if optimizer.noise_length is None:
        return Harmonic(*schedule.state(), *end)
    if rows == problem.n_rows:     # momentum, whose gradients have no noise
        return schedule
    d = problem.n_features
    spread, centre = coordinates.get("spread", np.ones(d)), coordinates.get("centre", np.zeros(d))
    noise = Noise(problem, *parameters, (spread, centre), batch_size, optimizer.noise_length)
    return Settling(schedule.rate(0), noise.hover, start, *end)


def opening(problem, W, b):
    """Steps of SGD for one pass, at whose end the rate is zero; None for a single row."""
    optimizer, n = SGD(), problem.n_rows
    if n == 1:
        return None
    schedule, coordinates = automatic(problem, optimizer, 1, 0, W, b)
    schedule = probed(problem, optimizer, 1, schedule, coordinates, (W, b), [ROUGHLY])
    return optimizer.method(problem, W, b, schedule=Harmonic(schedule.eta0, 1.0, 0.0, n / 2, n),
                            batch_size=1, state=coordinates)


def probed(problem, optimizer, batch_size, schedule, coordinates, start,
           stages=(ROUGHLY, FINELY)):
    """The schedule, times the power of two after which trials on some rows end lowest [1]_.

    A formula from moments does not know how far the slopes of the rows agree: where nearly all can
    be fitted, or a few rows are far longer than the others, it is wrong by far more than a factor.

    References
    ----------
    .. [1] L. Bottou, "Stochastic gradient descent tricks", 2012, section 4.3.
    """
    eta, delay, power = schedule.state()
    best = 0
    if optimizer.noise_length is not None:
        power = 0.0                # as in a fit (``Settling``)
    for most, steps, stride in stages:
        n = min(problem.n_rows, max(most, 4 * batch_size))
        rng = np.random.RandomState(0)  # no seed of the user's: storage must not change the choice
        small = problem.subset(np.sort(rng.permutation(problem.n_rows)[:n]))
        rounds = max(1, min(MOST_PASSES, round(steps * max(batch_size, ROWS_OF_STEP) / n)))
        orders = [rng.permutation(n) for _ in range(rounds)]
        last = rounds * -(-n // batch_size)

        def method(k, W, b):
            ending = Harmonic(eta * 2.0**k, delay, power, (1.0 - ENDING) * last, last)
            return optimizer.method(small, W, b, schedule=ending, batch_size=batch_size,
                                    state=dict(coordinates))

        trials = Trials(small, method, start, orders)
        best = trials.lowest(best, stride)
    return Harmonic(eta * 2.0 ** trials.between(best, stride), *schedule.state()[1:])


class Trials(dict):
    """The objective after some passes at each rate, infinite if above that of the start.

    The keys are powers of two, by which a rate is multiplied; a value is found when it is asked
    for. ``method(k, W, b)`` makes the steps.
    """

    def __init__(self, problem, method, start, orders):
        self.problem, self.method, self.start, self.orders = problem, method, start, orders
        self.first = problem.objective(*start)

    def __missing__(self, k):
        W, b = (part.copy() for part in self.start)
        method = self.method(k, W, b)
        with np.errstate(all="ignore"):
            for order in self.orders:
                method.advance(order, 0, len(order))
                method.finish_pass()
            method.settle()
            value = self.problem.objective(W, b)
        self[k] = value if value < self.first else np.inf
        return self[k]

    def lowest(self, k, stride):
        """From ``k`` down, or else up, as far as it becomes lower."""
        for step in (-stride, stride):
            while abs(k + step) <= FARTHEST and (
                    self[k + step] < self[k] or step < 0 and self[k] == np.inf):
                k += step
        return k

    def between(self, k, stride):
        """Where the parabola through the values of ``k`` and its neighbours is lowest."""
        before, now, after = self[k - stride], self[k], self[k + stride]
        bend = before - 2.0 * now + after
        return k + 0.5 * stride * (before - after) / bend if 0.0 < bend < np.inf else k


def alike(problem, stiffness=1.0):
    """(spread, centre) in which columns look alike, and the curvature of the loss.

    The penalty curves at most one over ``stiffness`` times as much as the loss in them. Columns
    that look alike already get 1 and 0.
    """
    curvature = _curvature(problem)
    spread, centre = _coordinates(problem)
    c = 1.0 if problem.penalty.factors is None else problem.penalty.factors
    spread = np.sqrt(spread**2 + stiffness * problem.penalty.l2 * c**2 / curvature)
    if 1 / ALIKE <= spread.min() and spread.max() <= ALIKE and (np.abs(centre) <= spread).all():
        return np.ones_like(spread), np.zeros_like(centre), curvature
    return spread, centre, curvature


def _coordinates(problem):
    """(spread, centre) of every column; a column that says nothing gets 1 and 0."""
    mean, variance, largest = problem.moments()
    centre = np.zeros_like(mean)
    if problem.rows.is_sparse:
        square = variance + mean**2
    elif not problem.fit_intercept or problem.n_rows < ROWS_TO_CENTRE:
        square = variance + mean**2
    else:
        # beside rounding, a constant column is a second intercept
        constant = variance <= (1e-10 * largest) ** 2
        square = np.where(constant, largest**2, variance)
        centre = np.where(constant, 0.0, mean)
    spread = np.sqrt(square)
    usable = (spread > 0.0) & np.isfinite(spread)
    unknown = np.median(spread[usable]) if usable.any() else 1.0
    return np.where(usable, spread, unknown), np.where(usable, centre, 0.0)


def _curvature(problem):
    """A bound of the second derivative of the loss, or what it is at the best constant model."""
    bound = type(problem.loss).curvature_bound
    if np.isfinite(bound):
        return bound
    if type(problem.loss).smoothness != "smooth":
        return 1.0
    z = constant_margins(problem, best_constant(problem))
    curvature = 2.0 * problem.mean_curvature(z).max()
    return curvature if 0.0 < curvature < np.inf else 1.0


def _moments_of_rows(problem, spread, centre):
    """(L, M, mean of |x|_1) of a sample of the rows; the intercept's constant included."""
    n = problem.n_rows
    step = max(1, n // PROBED_ROWS)
    X = problem.rows.X
    if problem.rows.is_sparse:
        X = sp.csr_array((X.data, X.indices, X.indptr), shape=X.shape)
    X = X[::step].astype(np.float64)
    s = np.ones(n) if problem.sample_weight is None else problem.sample_weight
    s = s[::step] / max(s[::step].sum(), np.finfo(float).tiny)
    if problem.rows.is_sparse:
        X = X @ sp.diags_array(1.0 / spread)
        norms, lengths = X.multiply(X).sum(axis=1), abs(X).sum(axis=1)
    else:
        X = (X - centre) / spread
        norms, lengths = np.einsum("ij,ij->i", X, X), np.abs(X).sum(axis=1)
    ones = float(problem.fit_intercept)
    u, largest = np.full(X.shape[1], 1.0), 0.0
    u /= max(np.linalg.norm(u), 1.0)
    b = ones
    for _ in range(PROBE_ITERATIONS):
        z = s * (X @ u + ones * b)
        u, b = X.T @ z, ones * z.sum()
        largest = np.hypot(np.linalg.norm(u), b)
        if not 0.0 < largest < np.inf:
            return 1.0, 1.0, 1.0  # rows of zeros: any rate will do
        u, b = u / largest, b / largest
    trace, reach = (float(s @ np.ravel(n)) + ones * s.sum() for n in (norms, lengths))
    return min(1.1 * largest, trace), trace, reach  # the iteration ended a little below L


def _predicts_targets(problem):
    """Whether raw predictions are what the targets are."""
    return type(problem.loss).link == "identity" and type(problem.loss).targets == "real"


def shows_its_level(problem):
    """Whether a few rows say how large predictions are, though not how frequent classes are."""
    return _predicts_targets(problem) or (
        type(problem.loss).link == "log" and bool((problem.targets() > 0.0).any()))


def _target_scale(problem):
    """How far raw predictions spread: as the targets where they are these, else 1."""
    if not _predicts_targets(problem):
        return 1.0
    y, s = problem.targets(), problem.sample_weight
    mean = np.average(y, axis=0, weights=s)
    scale = float(np.sqrt(np.average((y - mean) ** 2, axis=0, weights=s).max()))
    size = float(np.abs(mean).max())
    if scale <= 1e-12 * size:         # all alike, as the one of a stream's first row
        scale = size
    return scale if 0.0 < scale < np.inf else 1.0
