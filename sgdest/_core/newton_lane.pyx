"""The lane of Newton's method on a Hessian from well chosen rows, with L-BFGS on top of it.

A metric (``metric``) is built once to three times in a fit; the curvature pairs of L-BFGS mend what
it misses. L1 and ``positive`` take the place of the linear system by coordinate descent on the
metric, and mend it by the BFGS formula [1]_. How many rows the metric takes, and when it is renewed,
is weighed by what a pass over X costs.

References
----------
.. [1] J. Lee, Y. Sun, M. Saunders, "Proximal Newton-type methods for minimizing composite
   functions", 2014.
"""

from libc.math cimport INFINITY, sqrt

import numpy as np
from scipy.special import softmax

from sgdest._core.descent import DescentLane
from sgdest._core.metric import (
    CANDIDATES, Metric, candidates, choose_rows, entries_product, gram,
    joint_gram, proximal_direction, row_scores, update_bfgs)
from sgdest._core.quasi_newton import CurvaturePairs, LBFGSLane
from sgdest._core.solver import seconds_of_pass
from sgdest._core.span import Span, WideLane, is_wide

# Seconds for a flop of a matrix product (single and double precision) and of a factorisation: against
# the cost of a pass they decide how many rows a metric takes.
PRODUCT, DOUBLE_PRODUCT, FACTOR = 1e-11, 2e-11, 3e-11
PER_COLUMN = (2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 256, 512, 1024, 2048)
LEAST_ROWS = 500
MOST_COLUMNS = 3000       # its matrices would need much memory
MOST_JOINT = 1000         # unknowns up to which a softmax has one metric for all its classes
JITTER_OF_CLASSES = 3e-6  # a constant added to all classes changes no softmax
MOST_SPREAD = 0.01        # of the mean curvature of rows on kinks to those off them
SCARCE = 3.0              # of rates; covtype20k, 7 classes, to 3e-4: 150 ms, 376 ms by twice fewer rows
# Rows for an unknown of a softmax below which these fit the labels closely, so that the Hessian goes on
# changing: digits, 2.8 rows for each, took 34 to 121 ms to 1e-6, L-BFGS 10 to 95.
FEW_FOR_CLASSES = 5.0
SETTLED = 1e-26           # the last decrement that matters, in units of F: sizes of steps are 1e-13
LEAST_RATE = 0.1          # of the decrements, under a metric from a sample
STIFF = 1e4               # offsets that are so many times what columns vary by, squared
FLOOR = 1e-6              # curvature of straight stretches of a loss, in units of the mean one
WORTH, FEWEST_STEPS = 2.5, 3     # passes that two metrics must cost for steps without; before they come
TO_GAIN = np.log(1e6)     # how far the cost model looks ahead


def unknowns(problem):
    """How many coefficients and intercepts are sought together."""
    return problem.n_outputs * (problem.n_features + 1)


def sound_lane(problem, start):
    """The lane that gets anywhere: by a metric where it is small, else L-BFGS."""
    if is_wide(problem):
        return WideLane(problem, start, Span(problem, start.moments[0]), NewtonLane)
    # of dense data beyond MOST_JOINT L-BFGS is faster in many cases, but does not end in some: hinge
    # losses with weak penalties on 1,500 x 1,000 numbers of low rank
    dense = problem.n_outputs == 1 and not problem.rows.is_sparse
    most = MOST_COLUMNS if dense else MOST_JOINT
    return (NewtonLane if unknowns(problem) <= most else LBFGSLane)(problem, start)


def seconds_of_metric(problem, m, size):
    """What a metric of ``size`` unknowns from ``m`` rows costs."""
    product = PRODUCT if size > 300 else DOUBLE_PRODUCT
    per_row = min(size**2, entries_product(problem)) * product
    return m * (per_row + 1e-9 * size) + size**3 / 3 * FACTOR + 1e-4


def seconds_of_sample(problem, m):
    """What it costs to choose ``m`` rows by their lengths."""
    return 2e-5 + CANDIDATES * m * (1e-8 + 8e-10 * problem.n_features)


def seconds_of_one(problem, m, size):
    """What a metric from a sample of ``m`` rows costs, or from all."""
    sample = seconds_of_sample(problem, m) if m < 0.5 * problem.n_rows else 0.0
    return seconds_of_metric(problem, m, size) + sample


def rows_for_metric(problem, size):
    """(seconds, rows): how many rows make the whole fit shortest, and how long it takes.

    By what a metric costs, and by how fast it converges.
    """
    n, best = problem.n_rows, (np.inf, problem.n_rows)
    one_pass = seconds_of_pass(problem) + 1e-9 * size**2
    quadratic = problem.loss.name == "squared_error"
    # of all classes together: a sample has few rows of rare ones
    scarce = SCARCE if size > problem.n_features + 1 else 1.0
    samples = {max(LEAST_ROWS, k * size) for k in PER_COLUMN}
    for m in sorted(m for m in samples if m < 0.5 * n):   # above, ``choose_rows`` takes all
        rate = min(max(scarce * size / m, 0.02), 0.9)
        seconds = 2.0 * seconds_of_one(problem, m, size) + (TO_GAIN / -np.log(rate) + 3) * one_pass
        best = min(best, (seconds, m))
    loose = size > problem.n_features + 1 and n < FEW_FOR_CLASSES * size
    rate, metrics = (1e-6, 1.0) if quadratic else (0.02, 5.0 if loose else 2.0)
    seconds = metrics * seconds_of_metric(problem, n, size) + (
        TO_GAIN / -np.log(rate) + 3) * one_pass
    return min(best, (seconds, n))


class NewtonLane(DescentLane):
    """Directions from the metric; coordinate descent on it where signs matter."""

    def __init__(self, problem, start, rows_per_column="auto"):
        super().__init__(problem, start)
        self.decrements = []
        self.patience = 6          # at rounding the last digits come at once, or never
        self.pairs = CurvaturePairs(20, self.x.size)
        size = problem.n_features + 1
        K = problem.n_outputs
        self.is_joint = K > 1 and size * K <= MOST_JOINT
        self.size = size * K if self.is_joint else size
        self.m = problem.n_rows
        self.seconds = 0.0
        if not problem.is_small:
            self.seconds, m = rows_for_metric(problem, self.size)
            self.m = m if rows_per_column == "auto" else rows_per_column * self.size
        # L-BFGS first, where it may be at the end before a metric is
        self.is_plain = (rows_per_column == "auto" and not self.signed and K == 1
                         and self.sharpness == 0.0 and not problem.is_small
                         and 2.0 * seconds_of_one(problem, self.m, self.size)
                         > WORTH * seconds_of_pass(problem))
        if self.sharpness > 0.0:  # a metric for every step: as many rows as a pass costs
            row = seconds_of_metric(problem, 1.0, self.size) - seconds_of_metric(problem, 0.0, self.size)
            self.m = max(self.m, min(seconds_of_pass(problem) / row, problem.n_rows / 8))
        self.metric = self.proposal = None
        self.age, self.n_metrics, self.is_sampled, self.stiff = 0, 0, True, False
        # what is added to curvatures for the sake of the steps: to those of signed steps, in units
        # of the largest one; and to those of rows off the kinks
        self.caution, self.spread, self.is_spread = 0.0, MOST_SPREAD, False
        # where a loss is straight: less and less while steps do as promised, or they would creep
        self.floor, self.shortness = FLOOR, None
        self.rows_are_alike = not start.warm and problem.offset is None   # at the start
        factors = problem.penalty.factors
        c = 1.0 if factors is None else factors
        self.penalty_diagonal = problem.penalty.l2 * c**2 * self.coordinates.inverse_sigma**2

    def push(self, s, y):
        if self.signed:
            update_bfgs(self.B, s, y)
        else:
            self.pairs.push(s, y)

    def forget(self):
        had = self.pairs.forget() or self.is_plain or (self.metric is not None and (
            self.age > 1 or self.signed and self.caution < 1.0))
        self.is_plain = self.is_plain and not self.decrements
        self.metric = self.proposal = None
        return had

    # -- the metric ------------------------------------------------------------------------

    def renew(self):
        """Build the metric from the curvatures at the margins."""
        slow = self.rate() > (self.hoped() if self.sharpness == 0.0 else 0.7)
        if self.n_metrics > 1 and slow:
            self.m = min((4 if self.sharpness == 0.0 else 2) * self.m, self.problem.n_rows)
        if self.n_metrics == 0 and self.is_joint and not self.signed and self.rows_are_alike:
            self.metric = self.first_of_classes()
        else:
            self.metric = self.build(*self.curvatures(candidates(self.problem, self.m)))
        self.age, self.n_metrics = 0, self.n_metrics + 1

    def first_of_classes(self):
        """The Hessian of a softmax where all rows have the same probabilities."""
        problem = self.problem
        rows, s = candidates(problem, self.m), problem.sample_weight
        share = np.full(len(rows), 1.0 / len(rows)) if s is None else s[rows] / s[rows].sum()
        chosen, c = choose_rows(problem, rows, share, self.coordinates, self.m)
        self.is_sampled = len(chosen) < np.count_nonzero(share)
        B, u = gram(problem, rows[chosen], c, self.coordinates)
        if u is not None:
            B += np.outer(u, u)
        p = softmax(self.z[0])
        return OfClasses(B, np.diag(p) - np.outer(p, p), self.penalty_diagonal)

    def curvatures(self, rows):
        """Those of ``rows`` that count, their curvatures, and their shares in the sum of weights.

        Returns
        -------
        rows : ndarray of intp
        h : ndarray of shape (len(rows), n_outputs)
        share : float or ndarray of shape (len(rows),)
        """
        s = self.problem.sample_weight
        h = self.under_way.curvatures(self.z, rows)
        if not np.isfinite(h.sum()):
            h[~np.isfinite(h)] = 0.0
        share = 1.0 / len(rows) if s is None else s[rows] / s[rows].sum()
        if self.caution > 0.0:
            bound = self.sharpness or type(self.problem.loss).curvature_bound
            return rows, np.maximum(h, self.caution * (bound if bound < np.inf else h.max())), share
        if self.sharpness == 0.0:
            return rows, self.floored(h, rows, share), share
        self.is_spread = np.count_nonzero(h) < self.size + 1
        if self.is_spread:  # too few rows on a kink to span the columns
            return rows, h + self.spread * (h.mean() or self.sharpness), share
        on = np.flatnonzero(h[:, 0])
        if len(on) > 0.5 * len(rows):
            return rows, h, share
        return rows[on], h[on], share if s is None else share[on]

    def floored(self, h, rows, share):
        """h with a little curvature where the loss is straight.

        Less for long rows: an outlier that does not bend F must not hold the others up.
        """
        mean = h.sum() * share if np.ndim(share) == 0 else np.einsum("ik,i->", h, share)
        least = self.floor * mean if mean > 0.0 else 1.0
        if h.min(initial=np.inf) >= least:
            return h
        if self.shortness is None or len(self.shortness) != len(rows):
            scores = row_scores(self.problem, rows, self.coordinates)
            scores[~(scores > 0.0)] = 1.0
            typical = np.exp(np.sum(np.log(scores) * share))  # hardly moved by a few
            self.shortness = np.minimum(1.0, typical / scores)[:, None]
        return np.maximum(h, least * self.shortness)

    def build(self, rows, h, share):
        """The metric of ``rows`` with curvatures ``h``, which are changed; see ``definite``."""
        problem, K = self.problem, self.problem.n_outputs
        h *= share if np.ndim(share) == 0 else share[:, None]
        weighted = h.mean(axis=1) if K > 1 else h[:, 0]
        chosen, c = choose_rows(problem, rows, weighted, self.coordinates, self.m)
        mean_of_output = h.sum(axis=0)
        self.is_sampled = len(chosen) < np.count_nonzero(weighted)
        if not self.is_sampled:
            self.pairs.forget()  # the Hessian itself: what earlier steps have seen only disturbs
        jitter = 1e-11 if self.size <= 300 else 1e-6
        u = None
        if self.is_joint:
            c *= (share if np.ndim(share) == 0 else share[chosen]) / weighted[chosen]
            B = self.joint(rows[chosen], c, mean_of_output)
            if self.is_sampled or not self.sum_to_zero(B):
                jitter = max(jitter, JITTER_OF_CLASSES)
        else:
            B, u = gram(problem, rows[chosen], c, self.coordinates)
            self.complete(B, mean_of_output.mean())
        if self.signed:
            self.B = definite(B, jitter)
            self.stiff = u is not None and bool((u**2 > STIFF * np.diagonal(B)).any())
            if u is not None:
                self.B += np.outer(u, u)
            return self
        metric = Metric(B, jitter, u)
        if self.is_joint or K == 1:
            return metric
        ratio = mean_of_output / mean_of_output.mean()
        return PerClass(metric, np.where(ratio > 1e-3, ratio, 1e-3), problem.n_features)

    def complete(self, B, mean_h):
        """Add the penalty; columns that the sample has missed get what all rows have.

        That is their second moment, times the mean curvature.
        """
        diagonal = np.einsum("ii->i", B)[:self.problem.n_features]  # a view
        if self.is_sampled:
            second = self.moments[1] + (self.moments[0] - self.coordinates.centre)**2
            full = mean_h * second * self.coordinates.inverse_sigma**2
            diagonal[:] = np.where(diagonal < 0.1 * full, full, diagonal)
        diagonal += self.penalty_diagonal

    def joint(self, rows, c, mean_h):
        """The Hessian of a softmax over all its classes, as a matrix."""
        K, size = self.problem.n_outputs, self.problem.n_features + 1
        B = joint_gram(self.problem, rows, c, softmax(self.z[rows], axis=1), self.coordinates)
        for k in range(K):
            self.complete(B[:, k, :, k], mean_h[k])
        return B.reshape(size * K, size * K)

    def sum_to_zero(self, B):
        """Whether the classes do in every column, and so in every step to come.

        Then B, which is changed, may bend where all classes move alike, and is definite. What is
        else added to its diagonal for that mixes this direction with the others: small data of mixed
        scales took 30 steps to the last digits.
        """
        K = self.problem.n_outputs
        x = self.x.reshape(-1, K)
        if self.signed or np.abs(x.sum(axis=1)).max() > 1e-8 * np.abs(x).max():
            return False
        B = B.reshape(len(x), K, len(x), K)
        for j in range(len(x)):
            B[j, :, j, :] += np.trace(B[j, :, j, :]) / K**2
        return True

    def rate(self):
        """How fast the decrements have fallen lately, under the present metric if it has an age."""
        recent = self.decrements[max(0, len(self.decrements) - max(2, min(self.age + 1, 4))):]
        if len(recent) < 2 or not recent[0] > 0.0:
            return 0.9
        return min((recent[len(recent) - 1] / recent[0]) ** (1.0 / (len(recent) - 1)), 0.999)

    def hoped(self):
        """The rate that a fresh metric promises."""
        return min(0.6, max(0.04, 2.0 * self.size / self.m)) if self.is_sampled else 0.04

    def pays_to_renew(self):
        """Whether a fresh metric saves more passes than it costs."""
        if self.sharpness > 0.0:  # which rows lie on a kink changes with every step
            return True
        # what the pairs of L-BFGS make of a sampled one shows after some steps
        if self.age < (3 if self.is_sampled else 1) or len(self.decrements) < 2:
            return False
        if self.problem.is_small:  # a choice that does not depend on the number of rows
            return self.rate() > 0.003
        last = max(self.decrements[len(self.decrements) - 1], 1e-300)
        left = np.log(max(last / max(self.target(), 1e-300), 1.0))
        stay = left / -np.log(self.rate())
        cost = seconds_of_metric(self.problem, self.m, self.size) / seconds_of_pass(self.problem)
        return cost + 1.0 + left / -np.log(self.hoped()) < 0.8 * stay

    def goes_plainly(self):
        """Whether to do without a metric: not once it costs less than the steps that seem to be left."""
        steps = self.decrements[1:]              # the first one sets out with any length
        if not self.is_plain or len(steps) < FEWEST_STEPS:
            return self.is_plain
        one, recent = seconds_of_pass(self.problem), steps[len(steps) - FEWEST_STEPS:]
        rate = (recent[FEWEST_STEPS - 1] / recent[0]) ** (1.0 / (FEWEST_STEPS - 1))
        left = np.log(max(self.remaining / max(self.target(), 1e-300), 1.0)) / -np.log(
            min(rate, 0.999))
        early = len(steps) * one < 0.5 * self.seconds      # steps become faster
        if left * one > (2.0 if early else 1.0) * self.seconds:
            self.is_plain, self.decrements = False, []
        return self.is_plain

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
        if not self.goes_plainly() and (self.metric is None or self.pays_to_renew()):
            self.renew()
        steepest, _ = self.steepest()
        self.gradient_norm = sqrt(steepest @ steepest)
        if self.signed:
            return proximal_direction(self.B, self.g, self.x, self.lam,
                                      self.problem.penalty.positive, self.n_intercepts,
                                      self.stiff)
        p = self.by_pairs(self.g, self.everything)
        slope = float(self.g @ p)            # not finite where p is not
        if not -INFINITY < slope < 0.0 and self.pairs.forget():
            p = self.by_pairs(self.g, self.everything)
            slope = float(self.g @ p)
        return p, -0.5 * slope

    def expected(self):
        """The decrement at this point, and all that will follow at the rate of the last ones.

        Without a metric nothing is said: what strong convexity leaves is what remains.
        """
        if self.is_plain:
            return np.inf
        self.proposal = self.propose()
        decrement = max(self.proposal[1], 0.0)
        if self.is_sampled and self.decrements:
            # where F falls much faster than a sampled metric promises, it has missed a direction
            decrement = max(decrement, LEAST_RATE * self.decrements[len(self.decrements) - 1])
        rates = [*self.decrements[max(0, len(self.decrements) - 3):], decrement]
        if len(rates) < 2 or not rates[0] > 0.0:
            return np.inf
        rate = (decrement / rates[0]) ** (1.0 / (len(rates) - 1))
        return 3.5 * decrement / (1.0 - min(rate, 0.9))

    def judge(self, decrement, decrease, moved):
        """As of every descent; a decrement that added curvature makes too small is not believed."""
        ends = super().judge(decrement, decrease, moved)
        self.floor = (max(0.1 * self.floor, 1e-12) if decrease > 0.5 * decrement
                      else min(10.0 * self.floor, FLOOR))
        if not ends or not (self.caution > 0.0 or self.is_spread and self.sharpness > 0.0):
            return ends
        kept, gap = (self.caution, self.spread), self.gap()
        self.caution, self.spread, self.metric = 0.0, 1e-8 * MOST_SPREAD, None
        inner = self.expected()
        self.remaining = gap + inner
        self.caution, self.spread = 0.1 * kept[0], max(0.01 * kept[1], 1e-8 * MOST_SPREAD)
        self.metric = self.proposal = None
        return (not moved or self.stalled >= self.patience
                or inner <= 0.05 * max(gap, self.target()))

    def by_pairs(self, g, free):
        if self.metric is None and not self.is_plain:
            self.renew()
        return self.pairs.direction(g, free, None if self.is_plain else self.metric.solve)

    def is_sure(self):
        """A Hessian of another point promises too little where rows have lost their curvature."""
        if self.is_plain:
            return True
        stale = self.age > 0 and (self.problem.n_outputs > 1 or not self.is_sampled)
        if stale and not self.signed and self.sharpness == 0.0 and self.can_tell():
            if self.has_few_rows():   # conjugate gradients take long to be sure
                self.metric = None
                inner = self.expected()
            else:
                inner = yield from self.solved_decrement()
            self.remaining = max(self.remaining, self.gap() + inner)
        return self.remaining <= self.target()

    def is_settled(self, decrement):
        """Also if the Hessian itself says so of the step to come, which would only be rounding."""
        return super().is_settled(decrement) or not self.is_sampled and (
            self.proposal is not None and self.proposal[1] <= SETTLED * abs(self.start_objective))

    def proximal_step(self, p):
        """A step of proximal Newton, halved until F falls as its model promises [1]."""
        z, t = np.empty_like(self.z), 1.0
        for _ in range(40):
            x = self.x + t * p
            value, g = yield from self.evaluate(x, z)
            promised = self.g @ (x - self.x) + self.lam @ (np.abs(x) - np.abs(self.x))
            if np.isfinite(value) and (
                    value <= self.smooth_objective + 1e-3 * promised
                    or (abs(promised) <= self.rounding()
                        and value <= self.smooth_objective + self.rounding())):
                moved = self.move(x, value, g, z)
                self.heed(t)
                return moved
            t *= 0.5
        self.heed(0.0)
        return False

    def heed(self, t):
        """Trust curvatures less after a step that had to be shortened, more after a whole one."""
        if t < 0.1:
            self.caution, self.metric = min(1.0, max(10.0 * self.caution, 1e-3)), None
        elif t == 1.0:
            self.caution *= 0.3 if self.caution > 1e-6 else 0.0


def definite(B, jitter):
    """B, changed in place: a little more on its diagonal, 1 where that is zero."""
    diagonal = np.diagonal(B)
    B[np.diag_indices_from(B)] = diagonal * (1.0 + jitter) + (diagonal <= 0.0)
    return B


class OfClasses:
    """The metric S (x) B, the penalty added: in the eigenvectors of S the classes are apart."""

    def __init__(self, B, S, penalty):
        s, self.vectors = np.linalg.eigh(S)
        self.metrics = []
        for one in np.maximum(s, JITTER_OF_CLASSES * s.max()):
            part = one * B
            np.einsum("ii->i", part)[:len(penalty)] += penalty
            self.metrics.append(Metric(part, JITTER_OF_CLASSES))

    def solve(self, g):
        rotated = g.reshape(-1, len(self.metrics)) @ self.vectors
        solved = [metric.solve(column) for metric, column in zip(self.metrics, rotated.T)]
        return (np.array(solved).T @ self.vectors.T).ravel()


class PerClass:
    """One metric for all classes of a softmax, each with the size of its own curvature."""

    def __init__(self, metric, ratio, n_features):
        self.metric, self.ratio, self.n_features = metric, ratio, n_features

    def solve(self, g):
        K, n = len(self.ratio), self.n_features
        matrix = g.reshape(n + 1, K)  # rows of W, then the intercepts
        return (self.metric.solve(matrix) / self.ratio).ravel()
