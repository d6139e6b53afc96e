"""Dual ascent for a softmax: K multipliers per row, moved together.

Design:

- The multipliers a_i of row i are slopes of its loss in its K margins: probabilities minus the
  label. A visit makes them the slopes at the margins that they themselves cause, by Newton's method
  on K numbers whose Hessian is a diagonal and one product (Shalev-Shwartz, Zhang 2014; Yu, Huang,
  Lin 2011). The weights of a column lie side by side, so that an entry of X reads them at once.
- Columns are centred without touching X, intercepts follow the multipliers, and rows that hardly
  move are visited less often, as in ``dual_ascent``, where these are told.
- A check makes the multipliers feasible for free intercepts and bounds what that costs by the
  margins that it has found: the gap is a certificate, and takes half a pass.
- Where the gap falls too slowly, Newton's method or L-BFGS goes on from there. So it does on small
  data for the last digits, of which a gap knows only half.
"""

import numpy as np

from sgdest._core.frame import Frame
from sgdest._core.joint_multipliers import JointMultipliers
from sgdest._core.relay import RelayLane
from sgdest._core.solver import seconds_of_pass

# Seconds for a row and each class of it, for a sparse entry, and for each class of an entry.
ROW, CLASS_OF_ROW, SPARSE_ENTRY, CLASS_OF_ENTRY = 2.5e-7, 1.5e-8, 2.5e-9, 2.5e-10
# Rows for a column, beyond which they have much in common, and epochs to 1e-6: at least, and for each
# power of ten that a row weighs more than all others together.
MANY, LEAST_EPOCHS, EPOCHS = 4.0, 6.0, 8.0
# It takes fewer, and no more with more rows up to so many times, if the classes lie apart: of digits, mnist
# and the like three in four rows are nearest to the mean of their own class, of noisy classes two in three.
APART, EPOCHS_APART, MOST_MANY, ROWS_TO_TELL = 0.72, 5.0, 10.0, 512


def is_possible(problem):
    """Whether the dual is there: L2 alone on every coefficient."""
    penalty = problem.penalty
    kept = penalty.factors is None or bool(np.all(penalty.factors > 0.0))
    return penalty.l2 > 0.0 and penalty.l1 == 0.0 and not penalty.positive and kept


def expected_seconds(problem, square):
    """About how long it takes to a relative suboptimality of 1e-6; ``square``: mean |x_i|^2."""
    K, n = problem.n_outputs, problem.n_rows
    entry = K * CLASS_OF_ENTRY + (SPARSE_ENTRY if problem.rows.is_sparse else 0.0)
    epoch = n * (ROW + K * CLASS_OF_ROW) + problem.rows.n_stored * entry
    many = max(1.0, n / (MANY * problem.n_features))
    apart = (1.0 < many <= MOST_MANY and not problem.rows.is_sparse
             and share_near_own(problem) >= APART)
    per_digit, many = (EPOCHS_APART, 1.0) if apart else (EPOCHS, many)
    epochs = many * (LEAST_EPOCHS + per_digit * np.log10(1.0 + square / (problem.penalty.l2 * n)))
    return epochs * epoch + 3.0 * seconds_of_pass(problem) + 1e-3


def share_near_own(problem):
    """Share of rows that are nearest to the mean of their own class, by some rows for each of both."""
    picked = np.linspace(0, problem.n_rows - 1, min(problem.n_rows, ROWS_TO_TELL)).astype(np.intp)
    X, own = problem.rows.X[picked].astype(np.float64), problem.y[picked].astype(np.intp)
    member = np.eye(problem.n_outputs)[own[::2]]
    counts = member.sum(axis=0)
    means = member.T @ X[::2] / np.maximum(counts, 1.0)[:, None]
    with np.errstate(over="ignore", invalid="ignore"):
        distance = np.einsum("kj,kj->k", means, means) - 2.0 * X[1::2] @ means.T
    distance[:, counts == 0.0] = np.inf
    return np.mean(distance.argmin(axis=1) == own[1::2])


class JointAscentLane(RelayLane):
    """Epochs of dual ascent between checks of the gap; then, maybe, another lane."""

    first_check = 10        # epochs, unless fewer seem to be enough
    most_epochs = 40        # between checks
    between_checks = 8.0    # passes; a check costs half of one
    worth_a_check = 0.7     # passes
    patience = 300.0        # passes before a hand-over, of which L-BFGS needs as many and more
    hope = 3.0              # what seems to be left may be as many times too much
    near = 1e-8             # of F at the start: as much left, and small data goes on by other means

    def __init__(self, problem, start):
        super().__init__(problem, start)
        self.frame = Frame(problem, start.moments[0] if problem.fit_intercept else None)
        self.room = None        # for weights: memory for many columns takes as long as an epoch
        self.epochs, self.planned, self.visited = 0, self.first_check, 0.0
        self.doubt, self.last_gap, self.allowed = 1.0, abs(self.start_objective), np.inf
        self.passes_left, self.slow = 0.0, 0
        stiffness = 0.01 * max(float(np.mean(problem.mean_curvature(self.z))), 1e-3)
        W, b = self.frame.inwards(self.W, self.b)
        if self.frame.mean is not None:
            b = b + np.einsum("j,jk->k", self.frame.mean, W)
        self.multipliers = JointMultipliers(self.frame.problem, self.frame.mean, b, stiffness)
        if self.warm:
            self.z = problem.margins(self.W, self.b)
            self.objective = problem.penalty.value_of(self.W) + self.mean_loss(self.z)
            self.multipliers.start_from(problem.slopes(self.z))

    def mean_loss(self, z):
        return self.problem.evaluate(None, None, z, gradient=False)[0]

    def go(self):
        self.planned = self.multipliers.run(self.planned, self.enough)
        self.epochs += self.planned
        self.look()
        if not self.has_stopped() and self.gets_nowhere():
            self.multipliers = self.room = None
            yield from self.hand_over(warm=True)

    def enough(self):
        """The gap that is asked for; before the first check by what the dual has gained."""
        if self.epochs:
            return self.target() / self.doubt
        if self.multipliers.left <= self.allowed:      # which falls while the dual rises
            gained = self.start_objective - self.multipliers.dual_objective()
            self.allowed = max(self.tol * gained, self.rounding())
        return self.allowed

    def look(self):
        """A check of the gap."""
        multipliers = self.multipliers
        z, b = np.empty((self.problem.n_rows, self.problem.n_outputs)), multipliers.b
        multipliers.margins(z)
        objective = self.mean_loss(z + b) + multipliers.size()
        dual = multipliers.certified(z, objective)
        z += b
        if objective < self.objective:      # else the point before is better, though not the dual
            self.objective, self.z = objective, z
            self.move_to_weights(b)
        self.judge(self.objective - dual)

    def move_to_weights(self, b):
        """Be at the weights of the multipliers; where the last ones lie is free from now on."""
        if self.room is None:
            self.room = np.empty((self.problem.n_features, self.problem.n_outputs))
        W = self.room
        self.multipliers.weights(W)
        if self.frame.mean is not None:
            b = b - np.einsum("j,jk->k", self.frame.mean, W)
        self.room = self.W if self.frame.factors is None else None
        self.W, self.b = self.frame.outwards(W, b)

    def judge(self, gap):
        """What remains; how many epochs there are to the next check."""
        passes = self.multipliers.visited / self.problem.n_rows
        work = max((passes - self.visited) / self.planned, 0.01)      # of an epoch, in passes
        self.visited, self.passes = passes, 1 + int(np.ceil(passes))
        self.remaining, seen = gap, self.multipliers.left
        self.doubt = max(1.0 / self.hope, gap / seen) if gap < 10.0 * seen and seen > 0.0 else 10.0
        rate = np.log(self.last_gap / gap) / self.planned if 0.0 < gap < self.last_gap else 0.0
        self.last_gap = gap
        left = np.log(max(gap / max(self.target(), 1e-300), 1.0)) / max(rate, 1e-3)
        self.passes_left = left * work if np.isfinite(rate) else 0.0
        planned = max(min(left, max(2.0, self.between_checks / work)), self.worth_a_check / work)
        self.planned = int(max(np.ceil(min(planned, self.most_epochs)), 1.0))

    def gets_nowhere(self):
        """Whether another method is faster from here."""
        if self.problem.is_small and self.remaining <= self.near * abs(self.start_objective):
            return True
        slow = self.epochs > self.first_check and self.passes_left > self.patience
        self.slow = self.slow + 1 if slow else 0
        return self.slow == 2           # one rate, of a few epochs, says little
