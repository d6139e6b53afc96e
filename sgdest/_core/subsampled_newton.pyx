"""Newton's method on a Hessian from well chosen rows, and L-BFGS on top of it.

A metric (``metric``) is built once to three times in a fit; the curvature pairs of L-BFGS mend what
it misses. L1 and ``positive`` take the place of the linear system by coordinate descent on the
metric, and mend it by the BFGS formula [1]_. How many rows the metric takes, and when it is renewed,
is weighed by what a pass over X costs.
"""

import numpy as np

from sgdest._core.descent import DescentLane
from sgdest._core.method import Optimizer
from sgdest._core.metric import (
    Metric, candidates, choose_rows, entries_product, gram, inverse_sigma, proximal_direction, scaled_rows, update_bfgs)
from sgdest._core.quasi_newton import CurvaturePairs, LBFGSLane
from sgdest._core.solver import Solver

# Seconds for a flop of a matrix product (single and double precision) and of a factorisation, and
# for an entry of a dense or sparse row in a pass: their ratios decide how many rows a metric takes.
PRODUCT, DOUBLE_PRODUCT, FACTOR, DENSE_ENTRY, SPARSE_ENTRY = 1e-11, 2e-11, 3e-11, 5e-10, 9e-10
PER_COLUMN = (2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 256, 512, 1024, 2048)
LEAST_ROWS = 500
MOST_JOINT = 1000         # unknowns up to which a softmax has one metric for all its classes
TO_GAIN = np.log(1e6)     # how far the cost model looks ahead


class SubsampledNewton(Optimizer):
    """Newton steps on the Hessian of a sample of the rows, mended by L-BFGS.

    For data with more rows than columns, up to some thousands of columns. Handles every loss with
    a minimum, L2, L1, elastic net and ``positive``. Columns are scaled and centred implicitly;
    piecewise-linear losses are smoothed about slopes that follow the solution.

    Parameters
    ----------
    rows_per_column : "auto" or float > 0, default="auto"
        Rows of the sample for every column of X. "auto" weighs a better metric against the passes
        over X that it saves.

    References
    ----------
    .. [1] F. Roosta-Khorasani, M. Mahoney, "Sub-sampled Newton methods", 2019.
    .. [2] P. Xu et al., "Sub-sampled Newton methods with non-uniform sampling", NeurIPS 2016.
    .. [3] J. Lee, Y. Sun, M. Saunders, "Proximal Newton-type methods for minimizing composite
       functions", 2014.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sgdest import GDClassifier
    >>> from sgdest.optimizers import SubsampledNewton
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> model = GDClassifier(optimizer=SubsampledNewton()).fit(X, y)
    >>> model.converged_
    True
    """

    name = "subsampled_newton"
    kind = "solver"

    def __init__(self, rows_per_column="auto"):
        self.rows_per_column = rows_per_column

    def method(self, problem, W, b, *, tol=1e-4, warm=False):
        """The solver, at work on ``W`` and ``b``; its lanes are ``NewtonLane``."""
        def lane(part, start):
            size = part.n_outputs * (part.n_features + 1)
            if part.n_outputs > 1 and (part.penalty.l1 > 0.0 or part.penalty.positive) and (
                    size > MOST_JOINT):
                return LBFGSLane(part, start)  # coordinate descent needs the joint metric
            return NewtonLane(part, start, self.rows_per_column)

        return Solver(problem, W, b, lane, tol, warm)


def seconds_of_pass(problem):
    """What a pass over X costs, about."""
    entry = SPARSE_ENTRY if problem.rows.is_sparse else DENSE_ENTRY
    return (problem.rows.n_stored * (1 + problem.n_outputs) / 2 * entry
            + 3e-9 * problem.n_rows * problem.n_outputs)


def seconds_of_metric(problem, m, size):
    """What a metric of ``size`` unknowns from ``m`` rows costs."""
    product = PRODUCT if size > 300 else DOUBLE_PRODUCT
    per_row = min(size**2, entries_product(problem)) * product
    return m * (per_row + 2e-9 * size) + size**3 / 3 * FACTOR + 1e-4


def rows_for_metric(problem, size):
    """How many rows make the whole fit shortest, by what they cost and how fast it converges."""
    n, best = problem.n_rows, (np.inf, problem.n_rows)
    one_pass = seconds_of_pass(problem) + 1e-9 * size**2 + 1e-4
    quadratic = problem.loss.name == "squared_error"
    for m in sorted({min(n, max(LEAST_ROWS, k * size)) for k in PER_COLUMN} | {n}):
        rate = min(max(size / m, 0.02), 0.9)
        metrics = 2.0
        if m >= 0.7 * n:
            rate = 0.02
            metrics = 1.0 if quadratic else 2.0
        seconds = metrics * seconds_of_metric(problem, m, size) + (
            TO_GAIN / -np.log(rate) + 3) * one_pass
        best = min(best, (seconds, m))
    return best[1]


class NewtonLane(DescentLane):
    """Directions from the metric; coordinate descent on it where signs matter."""

    def __init__(self, problem, start, rows_per_column="auto"):
        super().__init__(problem, start)
        self.patience = 6          # at rounding the last digits come at once, or never
        self.pairs = CurvaturePairs(20, self.x.size)
        size = problem.n_features + 1
        K = problem.n_outputs
        self.is_joint = K > 1 and size * K <= MOST_JOINT
        self.size = size * K if self.is_joint else size
        self.m = problem.n_rows
        if not problem.is_small:
            self.m = (rows_for_metric(problem, self.size) if rows_per_column == "auto"
                      else rows_per_column * self.size)
        if self.sharpness > 0.0:  # a metric for every step: as many rows as a pass costs
            row = seconds_of_metric(problem, 1.0, self.size) - seconds_of_metric(problem, 0.0, self.size)
            self.m = max(self.m, seconds_of_pass(problem) / row)
        self.metric = self.proposal = None
        self.age = self.n_metrics = 0
        self.everything = np.ones(self.x.size, dtype=np.uint8)

    def push(self, s, y):
        if self.signed:
            update_bfgs(self.B, s, y)
        else:
            self.pairs.push(s, y)

    def forget(self):
        had = self.pairs.forget() or (self.metric is not None and self.age > 1)
        self.metric = self.proposal = None
        return had

    # -- the metric ------------------------------------------------------------------------

    def renew(self):
        """Build the metric from the curvatures at the margins."""
        if self.n_metrics > 1 and self.sharpness == 0.0 and self.rate() > self.hoped():
            self.m = min(4 * self.m, self.problem.n_rows)
        rows = candidates(self.problem, self.m)
        self.metric = self.build(rows, self.curvatures(rows))
        self.age, self.n_metrics = 0, self.n_metrics + 1

    def curvatures(self, rows):
        """Curvatures at ``rows``, times their weights, as shares of the sum over all rows."""
        z, s = self.z, self.problem.sample_weight
        h = self.under_way.curvatures(z, rows)
        h[~np.isfinite(h)] = 0.0
        if self.sharpness > 0.0:
            if np.count_nonzero(h) < self.size + 1:  # too few rows on a kink to span the columns
                h += 0.01 * (h.mean() or self.sharpness)
        else:
            h = np.maximum(h, 1e-6 * h.mean() or 1.0)
        if s is None:
            return h / len(rows)
        return h * (s[rows, None] / max(s[rows].sum(), 1e-300))

    def build(self, rows, h):
        """The metric for curvatures ``h``; for signed coordinates B itself stands by it."""
        problem, K = self.problem, self.problem.n_outputs
        mean_h = h.mean(axis=1) if K > 1 else h[:, 0]
        chosen, c = choose_rows(problem, rows, mean_h, self.coordinates, self.m)
        full = self.full_diagonal(h)
        self.is_sampled = len(chosen) < np.count_nonzero(mean_h)
        if not self.is_sampled:
            self.pairs.forget()  # the Hessian itself: what earlier steps have seen only disturbs
        jitter = 1e-11 if self.size <= 300 else 1e-6
        if self.is_joint:
            B, jitter = self.joint(rows[chosen], c / mean_h[chosen], full), max(jitter, 3e-6)
        else:
            B = gram(problem, rows[chosen], c, self.coordinates)
            self.complete(B, full.mean(axis=1))
        if self.signed:
            self.B = definite(B, jitter)
            return self
        metric = Metric(B, jitter)
        if self.is_joint or K == 1:
            return metric
        ratio = h.sum(axis=0) / h.sum() * K
        return PerClass(metric, np.where(ratio > 1e-3, ratio, 1e-3), problem.n_features)

    def full_diagonal(self, h):
        """Second moments of the scaled columns, by all rows, times the mean curvature: (d, K)."""
        variance = self.moments[1] if self.problem.fit_intercept else (
            self.moments[1] + self.moments[0]**2)
        return np.outer(variance * inverse_sigma(self.coordinates)**2, h.sum(axis=0))

    def complete(self, B, full):
        """Add the penalty; columns that the sample has missed get what all rows have."""
        d = self.problem.n_features
        diagonal = np.diagonal(B)[:d]
        missed = np.where(diagonal < 0.1 * full, full - diagonal, 0.0) if self.is_sampled else 0.0
        B[np.arange(d), np.arange(d)] += missed + self.penalty_diagonal()

    def penalty_diagonal(self):
        factors = self.problem.penalty.factors
        c = 1.0 if factors is None else factors
        return self.problem.penalty.l2 * c**2 * inverse_sigma(self.coordinates)**2

    def joint(self, rows, c, full):
        """The Hessian of a softmax over all its classes, ordered as x is."""
        problem, K, d = self.problem, self.problem.n_outputs, self.problem.n_features
        p = np.exp(self.z[rows] - self.z[rows].max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        A = scaled_rows(problem, rows, np.ascontiguousarray(c), self.coordinates)
        B = np.empty((d + 1, K, d + 1, K))
        for k in range(K):
            for other in range(k + 1):
                weight = p[:, k] * ((k == other) - p[:, other])
                block = (A * weight[:, None]).T @ A
                if k == other:
                    self.complete(block, full[:, k])
                B[:, k, :, other] = B[:, other, :, k] = block
        return B.reshape((d + 1) * K, (d + 1) * K)

    def rate(self):
        """How fast the decrements have fallen lately."""
        recent = self.decrements[max(0, len(self.decrements) - 4):]
        if len(recent) < 2 or not recent[0] > 0.0:
            return 0.9
        return min((recent[len(recent) - 1] / recent[0]) ** (1.0 / (len(recent) - 1)), 0.999)

    def hoped(self):
        """The rate that a fresh metric of ``m`` rows promises."""
        return min(0.6, max(0.04, 2.0 * self.size / self.m))

    def pays_to_renew(self):
        """Whether a fresh metric saves more passes than it costs."""
        if self.sharpness > 0.0:  # which rows lie on a kink changes with every step
            return True
        if self.age < 3 or len(self.decrements) < 3 or not self.decrements[len(self.decrements) - 1] > 0.0:
            return False
        last = self.decrements[len(self.decrements) - 1]
        left = np.log(max(last / max(self.target(), 1e-300), 1.0))
        stay = left / -np.log(self.rate())
        cost = seconds_of_metric(self.problem, self.m, self.size) / seconds_of_pass(self.problem)
        return cost + 1.0 + left / -np.log(self.hoped()) < 0.8 * stay

    # -- one move --------------------------------------------------------------------------

    def advance(self):
        p, decrement = self.proposal or self.propose()
        self.proposal = None
        if not decrement > 0.0:
            return 0.0, False
        self.age += 1
        if self.signed:
            return decrement, (yield from self.proximal_step(p))
        return decrement, (yield from self.smooth_step(p, self.g @ p))

    def propose(self):
        """The next direction, and how far F falls along it by the model."""
        if self.metric is None or self.pays_to_renew():
            self.renew()
        steepest, _ = self.steepest()
        self.gradient_norm = float(np.sqrt(steepest @ steepest))
        if self.signed:
            return proximal_direction(self.B, self.g, self.x, self.lam,
                                      self.problem.penalty.positive, self.n_intercepts, 200)
        p = self.pairs.direction(self.g, self.everything, self.metric.solve)
        if not (np.all(np.isfinite(p)) and self.g @ p < 0.0) and self.pairs.forget():
            p = -self.metric.solve(self.g)
        return p, -0.5 * float(self.g @ p)

    def expected(self):
        """The decrement at this point, and all that will follow at the rate of the last ones."""
        self.proposal = self.propose()
        decrement = max(self.proposal[1], 0.0)
        rates = [*self.decrements[max(0, len(self.decrements) - 3):], decrement]
        if len(rates) < 2 or not rates[0] > 0.0:
            return np.inf
        rate = (decrement / rates[0]) ** (1.0 / (len(rates) - 1))
        return 1.5 * decrement / (1.0 - min(rate, 0.9))

    def proximal_step(self, p):
        """A step of proximal Newton, halved until F falls as its model promises [3]."""
        z, t = np.empty_like(self.z), 1.0
        for _ in range(40):
            x = self.x + t * p
            value, g = yield from self.evaluate(x, z)
            promised = self.g @ (x - self.x) + self.lam @ (np.abs(x) - np.abs(self.x))
            if np.isfinite(value) and (
                    value <= self.smooth_objective + 1e-3 * promised
                    or (abs(promised) <= self.rounding()
                        and value <= self.smooth_objective + self.rounding())):
                return self.move(x, value, g, z)
            t *= 0.5
        return False


def definite(B, jitter):
    """B, changed in place: a little more on its diagonal, 1 where that is zero."""
    diagonal = np.diagonal(B)
    B[np.diag_indices_from(B)] = diagonal * (1.0 + jitter) + (diagonal <= 0.0)
    return B


class PerClass:
    """One metric for all classes of a softmax, each with the size of its own curvature."""

    def __init__(self, metric, ratio, n_features):
        self.metric, self.ratio, self.n_features = metric, ratio, n_features

    def solve(self, g):
        K, n = len(self.ratio), self.n_features
        matrix = g.reshape(n + 1, K)  # rows of W, then the intercepts
        return (self.metric.solve(matrix) / self.ratio).ravel()
