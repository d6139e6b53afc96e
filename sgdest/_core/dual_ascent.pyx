"""Dual coordinate ascent for L2: one multiplier per row, exact steps, a duality gap.

Design:

- The multiplier a_i of row i is a slope of its loss, and w = -sum_i s_i a_i (x_i - mean) / l2, with
  weights s that sum to one. A visit makes a_i the slope at the margin that it itself causes:
  ``Loss.dual_step`` (Hsieh et al. 2008; Shalev-Shwartz, Zhang 2013).
- Columns are centred without touching X. With v the sum over the rows as they are, A the sum of
  the coefficients and m_i = mean . x_i, the margin (x_i - mean) . (v - A mean) is
  x_i . v - A m_i - v . mean + A |mean|^2: two numbers to keep beside v.
- The unpenalised intercept follows the multipliers, b = centre - sum_i s_i a_i / stiffness, as if
  it were penalised about ``centre``, which moves to b after each epoch: the proximal point method.
  So sum_i s_i a_i tends to zero, without steps that could overshoot.
- Rows at a bound are put aside, rows that hardly move are visited less often; a check of the gap
  takes back those that would move.
- The gap of the whole is the sum of the gaps of the rows, which a visit knows as they were before
  it: epochs go on until these tell that a check is due. Of kinked losses most rows then rest, and
  those that rest at any margin within reach need not be read for it.
- Kinked losses drift along one direction until a multiplier meets its bound: after every slow
  pass a step goes as far as the dual rises, in the plane of two changes and along the box.
- Where columns are few, a dual active set finds the exact minimum of a kinked loss once that costs
  less than the epochs that are left.
- Where the gap falls slowly, smooth losses are handed over to ``TruncatedNewton``, those with kinks
  to ``ProximalNewtonLane``.
"""

from libc.math cimport isnan

import numpy as np

from sgdest._core import joint_ascent, proximal_newton
from sgdest._core.active_set import ActiveSet
from sgdest._core.dual_active_set import MOST_ENTRIES, MOST_FREE, DualActiveSet
from sgdest._core.frame import Frame
from sgdest._core.intercept import best_intercept
from sgdest._core.method import Optimizer
from sgdest._core.multipliers import Multipliers, square
from sgdest._core.proximal_newton import ProximalNewtonLane
from sgdest._core.relay import RelayLane
from sgdest._core.solver import Solver, seconds_of_pass
from sgdest._core.span import is_wide
from sgdest._core.subsampled_newton import SubsampledNewton, may_take_few_rows
from sgdest._core.truncated_newton import TruncatedNewton

from sgdest._core.problem cimport Problem

# Seconds for a visit of a row (of a curved loss some exponentials more), for each of its stored
# entries, and of dense rows within the cache or outside of it.
VISIT, CURVED_VISIT, ENTRY, CACHED_ENTRY, DENSE_ENTRY = 1.5e-8, 6e-8, 2.5e-9, 4e-10, 1e-9
CACHE = 1 << 21         # entries
# Dual active sets. Seconds for an entry of X and of the factor in a step; a step for each multiplier
# that is free, or for this share of them near the minimum; how many may be free for a column (6: 400
# steps of 1,000 x 100 take 20 ms, smoothed losses 25); seconds of smoothed losses on small data,
# twice as many as that since steps are half as many as free multipliers.
STEP_ENTRY, FACTOR_ENTRY, STEPS, FREE_PER_COLUMN, SMOOTHING = 1.2e-9, 1e-9, 0.3, 6, 2e-2
NARROW = 200            # columns
# Passes after which small data with kinks are tried by, or left to, another method: where columns are
# many, L-BFGS ends before the minimum.
FAR, FARTHEST = 300, 3000
# Newton's method about the multipliers is due once it seems to cost less than what is left, and than so
# many times what has been spent; or, whatever it costs, once so many passes have been made and so many
# seem needed in all: more than ``max_iter`` is by default.
SPENT, LATE, TOO_LATE = 2.0, 700, 1000
# Weight of a row from which that method may get nowhere.
HEAVY = 1e6
PICKED = 16             # rows that tell how alike rows are
# Overlap of dense rows from which L-BFGS takes more passes for a softmax than dual ascent: mnist (215), C=1,
# to 1e-6, 781 ms and 297; 2,000 x 600 AR(0.9) columns (26) 132 and 213, independent ones (2) 127 and 231.
ALIKE = 100.0
# Of kinked losses on sparse rows, many of which rest: 18 problems took 0.07 to 0.4 of what is counted
# without it (ijcnn1, C=1: 141 ms of 596; a9a, C=1: 366 of 1,204). For smooth losses the estimates of
# the other solvers are as cautious as this one.
KINKED_ON_SPARSE = 0.3
# Of log loss, most of whose rows are visited less and less often: 32 problems took a third in the
# median. Squared hinges took two thirds, some three times as much (ijcnn1).
LOGISTIC_ON_SPARSE = 0.45
PATIENCE, DENSE_PATIENCE = 15.0, 120.0      # passes before a hand-over to Newton's method
# Of the seconds expected of Newton's method, where rows that bend a squared hinge come and go: 1,500 x
# 1,000 correlated columns, C=100, to 1e-6, 82 ms without it and 2,900 with it.
BENDING = 4.0


class DualAscent(Optimizer):
    """Dual coordinate ascent: one multiplier per row, exact steps, a duality gap.

    For sparse data with many columns and L2. Needs ``penalty="l2"`` with ``alpha`` > 0; handles
    every loss, one-versus-rest, a softmax [4]_, and an unpenalised intercept. Columns are centred
    implicitly. Smooth losses are handed over to Newton's method with conjugate gradients [3]_ where
    the gap falls slowly, a softmax to Newton's method or L-BFGS.

    References
    ----------
    .. [1] C.-J. Hsieh et al., "A dual coordinate descent method for large-scale linear SVM",
       ICML 2008.
    .. [2] S. Shalev-Shwartz, T. Zhang, "Stochastic dual coordinate ascent methods for regularized
       loss minimization", JMLR 2013.
    .. [3] C.-J. Lin, R. Weng, S. Keerthi, "Trust region Newton method for large-scale logistic
       regression", JMLR 2008.
    .. [4] S. Shalev-Shwartz, T. Zhang, "Accelerated proximal stochastic dual coordinate ascent for
       regularized loss minimization", Mathematical Programming 155, 2016.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.preprocessing import scale
    >>> from sgdest import GDClassifier
    >>> from sgdest.optimizers import DualAscent
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> model = GDClassifier(loss="hinge", optimizer=DualAscent()).fit(scale(X), y)
    >>> model.converged_
    True
    """

    name = "dual_ascent"
    kind = "solver"

    @staticmethod
    def expected_seconds(problem):
        """About how long it takes to a relative suboptimality of 1e-6.

        A row weighs |x|^2 / (l2 n): as much as all others together where that is 1. Then some ten
        epochs do; with less penalty they are many more, above all for kinked losses, unless rows
        have little in common.
        """
        penalty, loss = problem.penalty, problem.loss
        smooth = type(loss).smoothness == "smooth"
        if type(loss).joint and problem.n_rows and joint_ascent.is_possible(problem):
            if may_take_few_rows(problem) or (
                    not problem.rows.is_sparse and overlap(problem) < ALIKE):
                return np.inf
            return joint_ascent.expected_seconds(
                problem, mean_square(problem, max(1, problem.n_rows // 64)))
        if (not penalty.l2 > 0.0 or penalty.l1 > 0.0 or penalty.positive or type(loss).joint
                or penalty.factors is not None or not problem.n_rows
                or not np.isfinite(loss.curvature_bound if smooth else 1.0)
                or not (smooth or has_conjugate(problem))):
            return np.inf
        if problem.is_small and is_narrow(problem) and has_dual_set(problem):
            return problem.n_outputs * 1e-3
        square = mean_square(problem, max(1, problem.n_rows // 64))
        weight = square / (penalty.l2 * problem.n_rows)
        log_weight = np.log10(1.0 + weight)
        epochs = (12.0 + 15.0 * log_weight if smooth
                  else 25.0 + min(steepness(problem) * weight, 400.0 * log_weight))
        if not problem.rows.is_sparse and 2 * problem.n_rows <= problem.n_features:
            epochs = min(epochs, 15.0 + 30.0 * overlap(problem))
        if problem.rows.is_sparse:
            epochs *= (KINKED_ON_SPARSE if not smooth
                       else LOGISTIC_ON_SPARSE if loss.name == "log_loss" else 1.0)
        epoch = seconds_of_epoch(problem)
        seconds = epochs * epoch
        if not smooth and not problem.rows.is_sparse and weight < HEAVY:
            # Newton's method about the multipliers takes over
            by_newton = proximal_newton.expected_seconds(
                problem, min(problem.n_rows, problem.n_features))
            seconds = min(seconds, 25.0 * epoch + by_newton)
        if (is_narrow(problem) and has_dual_set(problem)
                and problem.n_rows <= FREE_PER_COLUMN * problem.n_features):
            seconds = min(seconds, 15.0 * epoch + problem.n_rows * seconds_of_step(problem))
        return problem.n_outputs * (seconds + 3.0 * seconds_of_pass(problem) + 1e-3)

    def method(self, problem, W, b, *, tol=1e-4, warm=False):
        """The solver, at work on ``W`` and ``b``; its lanes are ``DualAscentLane``."""
        penalty, loss = problem.penalty, problem.loss
        kept = penalty.factors is None or np.all(penalty.factors > 0.0)
        if not (penalty.l2 > 0.0 and penalty.l1 == 0.0 and kept) or penalty.positive:
            raise ValueError(
                "optimizer='dual_ascent' needs penalty='l2' with alpha > 0, penalty_weights > 0 "
                f"and positive=False; got penalty={penalty.name!r}, alpha={penalty.l1 + penalty.l2}"
                ". Use optimizer='auto'.")
        if type(loss).joint:
            lane = joint_ascent.JointAscentLane
            return Solver(problem, W, b, lane, tol, warm, asks=problem.fit_intercept)
        if type(loss).smoothness != "smooth" and not has_conjugate(problem):
            raise ValueError(
                "optimizer='dual_ascent' needs the curvature of a loss or its conjugate; got "
                f"{loss.name!r}, which has neither. Use optimizer='auto'.")
        return Solver(problem, W, b, DualAscentLane, tol, warm, asks=problem.fit_intercept)


def steepness(problem):
    """Epochs for each row's weight that a loss with kinks takes: few where rows have little in common."""
    if problem.rows.is_sparse:
        return 40.0
    return min(40.0, 0.4 * problem.n_rows / max(1, problem.n_features))


def seconds_of_epoch(problem):
    """What a visit of every row costs."""
    entry = CACHED_ENTRY if problem.rows.n_stored < CACHE else DENSE_ENTRY
    entry = ENTRY if problem.rows.is_sparse else entry
    visit = CURVED_VISIT if type(problem.loss).curved else VISIT
    return visit * problem.n_rows + entry * problem.rows.n_stored


def mean_square(Problem problem, Py_ssize_t step):
    """Mean |x_i|^2 of every ``step``-th row."""
    cdef Py_ssize_t i, n = 0
    cdef double total = 0.0
    for i from 0 <= i < problem.n_rows by step:
        total += problem.rows.square_norm(i)
        n += 1
    return total / n


def overlap(problem):
    """What the other rows have of a row, as squared cosines: few epochs do where rows are apart.

    Of dense rows, and with an intercept of their differences, in which offsets cancel.
    """
    n = min(PICKED, problem.n_rows // 2)
    if n < 2:
        return 0.0
    picked = np.linspace(0, problem.n_rows - 1, 2 * n).astype(np.intp)
    A = problem.rows.X[picked].astype(float)
    A = A[::2] - A[1::2] if problem.fit_intercept else A[::2]
    square = np.einsum("ij,ij->i", A, A)
    if not square.all():
        return 0.0
    shifts = range(1, min(n, 4))
    cosines = [np.einsum("ij,ij->i", A, np.roll(A, k, axis=0)) ** 2
               / (square * np.roll(square, k)) for k in shifts]
    return problem.n_rows * np.mean(cosines)


def has_conjugate(Problem problem):
    """Whether the conjugate of the loss is written."""
    cdef double[::1] y = np.zeros(problem.target_width)
    if not problem.n_rows:
        return True
    problem.target(0, &y[0])
    return not isnan(problem.loss.conjugate(y[0], 0.0))


def has_dual_set(problem):
    """Whether a dual active set is made for it: a piecewise-linear loss, few columns or rows."""
    n, d = problem.n_rows, problem.n_features
    return (type(problem.loss).smoothness == "kinked" and min(n, d) <= MOST_FREE
            and n * d <= MOST_ENTRIES)


def is_narrow(problem):
    """Whether the columns are so few that a dual active set takes no longer than smoothed losses."""
    return problem.n_features < NARROW


def seconds_of_step(problem):
    """What a step of a dual active set costs: about as many are needed as multipliers are free."""
    n, d = problem.n_rows, problem.n_features
    return STEP_ENTRY * n * (d + 10) + FACTOR_ENTRY * min(n, d) ** 2


def has_better_newton(problem):
    """Whether Newton's method by matrices beats the one by products with the Hessian.

    The rows that bend a squared hinge change with every step, all of whose products are in vain
    then: 500 x 2,000 numbers of low rank, C=100, to 1e-6, take 33 ms in the place of 600.
    """
    return (not problem.rows.is_sparse and not problem.is_small and not type(problem.loss).curved
            and SubsampledNewton.expected_seconds(problem) < np.inf)


def patience_with(problem):
    """Passes that may seem to be left; more, and Newton's method is faster.

    On dense rows a visit is an eighth of one by columns that are scattered, and Newton's method takes
    more of them where columns are alike or of mixed scales: 500 x 2,000 such numbers, log loss,
    C=100, to 1e-6: 21 ms without it, 91 if it begins at 15 passes left.
    """
    if problem.rows.is_sparse or problem.is_small:
        return PATIENCE
    newton = 0.0
    if has_better_newton(problem):
        newton = SubsampledNewton.expected_seconds(problem) * (1.0 if is_wide(problem) else BENDING)
    return max(DENSE_PATIENCE, newton / seconds_of_epoch(problem))


class DualAscentLane(RelayLane):
    """Epochs of dual ascent between checks of the gap; then, maybe, steps of Newton's method."""

    first_check = 10        # epochs, unless fewer seem to be enough
    hope = 3.0              # what seems to be left may be as many times too much
    least_epochs = 10       # before the hand-over
    between_checks = 8.0    # passes; a check costs half of one
    worth_a_check = 0.7     # passes: where few rows are visited, a check costs as much as many epochs
    trials = 200            # epochs that do not halve the gap
    near = 0.01             # of what has been gained: as much or less left, and a point is a good start

    def __init__(self, problem, start):
        super().__init__(problem, start)
        self.frame = Frame(problem, start.moments[0] if problem.fit_intercept else None)
        self.at = self.frame.inwards(self.W, self.b)
        self.room = None        # for weights: memory for many columns takes as long as an epoch
        self.smooth = type(problem.loss).smoothness == "smooth"
        self.epochs, self.planned, self.visited = 0, self.first_check, 0.0
        self.caution = self.doubt = 1.0       # of what looks like the gap, and of what seems to be left
        self.last_gap, self.least_gap, self.allowed = abs(self.start_objective), np.inf, np.inf
        self.last_halving, self.last_trial = 0, self.start_objective
        self.passes_left = self.slowness = 0.0      # the latter: passes for a factor of e
        self.active_set = self.dual_set = None
        self.is_hopeless = False   # small data: the minimum itself will not be found
        self.newton = self.multipliers = None
        self.patience = patience_with(problem)
        stiffness = self.stiffness()
        if self.warm:
            self.z = problem.margins(self.W, self.b)
            self.objective = problem.penalty.value_of(self.W) + self.mean_loss(self.z)
        if not has_conjugate(problem):
            self.begin_newton()
            return
        self.multipliers = Multipliers(self.frame.problem, self.frame.mean, self.centred_intercept(),
                                       stiffness)
        if self.warm:
            self.multipliers.start_from(problem.slopes(self.z))

    def stiffness(self):
        """Of the intercept. Smooth losses: little of their curvature; the rest varies by epoch."""
        if not self.problem.fit_intercept:
            return 1.0
        if self.smooth:
            return 0.01 * max(float(self.problem.mean_curvature(self.z)[0]), 1e-3)
        if type(self.problem.loss).targets != "real" or self.problem.coded:
            return 1.0
        spread = np.std(self.problem.targets())
        return 1.0 / spread if spread > 0.0 else 1.0

    def mean_loss(self, z):
        return self.problem.evaluate(None, None, z, gradient=False)[0]

    def centred_intercept(self):
        W, b = self.at
        return float(b[0] + self.shift(W[:, 0]))

    def shift(self, w):
        """By how much an intercept of centred columns exceeds that of columns as they are."""
        return 0.0 if self.frame.mean is None else np.einsum("j,j->", self.frame.mean, w)

    def go(self):
        if self.newton is not None:
            self.newton_step()
            if self.falls_short():
                self.newton = None
                yield from self.hand_over()
            return
        self.ascend()
        if self.has_stopped() or self.found_exactly():
            return
        if not self.smooth and self.remaining <= self.rounding():
            self.finished = True      # as where all rows rest: no epoch would find more
        if self.finished or not self.gets_nowhere():
            return
        if not self.smooth and self.is_close():      # others do not get as near
            self.finished = True
            return
        if self.smooth and not has_better_newton(self.problem):
            self.begin_newton()
        elif self.seconds_by_newton() < np.inf:
            slopes, self.multipliers = self.multipliers.slopes(), None
            mean = self.start.moments[0] if self.problem.fit_intercept else None
            yield from self.hand_over(True, lambda problem, start: ProximalNewtonLane(
                self, mean, slopes, start.tol))
        else:
            self.multipliers = None
            yield from self.hand_over(warm=self.smooth and self.is_near())

    # -- dual ascent -----------------------------------------------------------------------

    def ascend(self):
        """Epochs, then a check of the gap."""
        self.planned = self.multipliers.run(self.planned, self.enough)
        self.epochs += self.planned
        worth = self.multipliers.few_are_active() and not self.problem.is_small
        if not ((worth or self.all_rest()) and self.glance()):
            self.look()

    def all_rest(self):
        """Whether an epoch that moved nothing has seen all rows: then there is no gap."""
        return self.multipliers.stood_still and not self.problem.fit_intercept

    def enough(self):
        """The gap that is asked for; before the first check by what the dual has gained."""
        if self.epochs:
            return self.target() / (self.doubt * self.caution)
        if self.multipliers.left <= self.allowed:      # which falls while the dual rises
            gained = self.start_objective - self.multipliers.dual_objective(self.multipliers.b)
            self.allowed = max(self.tol * gained, self.rounding())
        return self.allowed

    def glance(self):
        """A check by the rows that may move; whether F has fallen, else all must be looked at."""
        multipliers, b = self.multipliers, self.multipliers.b
        gap, W = 0.0 if self.all_rest() else multipliers.glance(), self.weights()
        dual = multipliers.dual_objective(b)
        if not dual + gap < self.objective:
            return False
        self.objective, self.z = dual + gap, None
        self.move_to(W, np.array([b - self.shift(W[:, 0])]))
        self.judge(gap, W[:, 0])
        return True

    def look(self):
        """A check of all rows."""
        multipliers, problem = self.multipliers, self.problem
        z = np.empty((problem.n_rows, 1))
        multipliers.margins(z[:, 0])
        b, W = 0.0, self.weights()
        w = W[:, 0]
        if problem.fit_intercept:
            b = best_intercept(problem, z, multipliers.b, 1e-9)
        multipliers.take_back(z[:, 0])
        z += b
        size = 0.5 * multipliers.l2 * square(w)
        self.approach(W, np.array([b - self.shift(w)]), z, multipliers.mean_loss(z[:, 0]) + size)
        self.judge(self.objective - (multipliers.dual_loss(b) - size), w)

    def approach(self, W, b, z, objective):
        """Move to the point of the multipliers, or less far if F is higher there."""
        share, (last_W, last_b) = 1.0, self.at
        while objective > self.objective + self.rounding() and share > 0.05:
            share *= 0.5
            if self.z is None:
                self.z = self.problem.margins(self.W, self.b)
            W, b, z = 0.5 * (last_W + W), 0.5 * (last_b + b), 0.5 * (self.z + z)
            objective = self.mean_loss(z) + 0.5 * self.multipliers.l2 * square(W[:, 0])
        if objective < self.objective:
            self.objective, self.z = objective, z
            self.move_to(W, b)

    def weights(self):
        """Those of the multipliers: ndarray of shape (n_features, 1), in room that is free."""
        if self.room is None:
            self.room = np.empty((self.problem.n_features, 1))
        self.multipliers.weights(self.room[:, 0])
        return self.room

    def move_to(self, W, b):
        """Be at these parameters of the frame; where the last ones lie is free from now on."""
        if W is self.room:
            self.room = self.at[0]
        self.at = W, b
        self.W, self.b = self.frame.outwards(W, b)

    def judge(self, gap, w):
        """Whether that is enough; how many epochs to the next check; whether to hand over.

        Without an intercept ``gap`` is a bound. With one, the dual that it is measured by is that of
        an intercept held fixed: where it promises to be enough, it is made sure of.
        """
        passes = self.multipliers.visited / self.problem.n_rows
        work = max((passes - self.visited) / self.planned, 0.01)      # of an epoch, in passes
        self.visited, self.passes = passes, 1 + int(np.ceil(passes))
        self.remaining = self.caution * gap
        if self.problem.fit_intercept and self.remaining <= self.target():
            self.remaining = self.objective - self.multipliers.certified(w)
            self.caution = min(max(1.0, self.remaining / gap), 100.0) if gap > 0.0 else 1.0
        seen = self.multipliers.left
        self.doubt = max(1.0 / self.hope, gap / seen) if gap < 10.0 * seen and seen > 0.0 else 10.0
        if gap < 0.5 * self.least_gap:
            self.least_gap, self.last_halving = gap, self.epochs
        rate = np.log(self.last_gap / gap) / self.planned if 0.0 < gap < self.last_gap else 0.0
        self.last_gap = gap
        self.slowness = work / max(rate, 1e-3)
        left = np.log(max(self.remaining / max(self.target(), 1e-300), 1.0)) / max(rate, 1e-3)
        self.passes_left = left * work if np.isfinite(rate) else 0.0
        longest = max(2.0, self.between_checks / work)
        # a smooth loss may be handed over by then; others go on until enough seems to be done
        planned = max(min(left, longest) if self.smooth else longest, self.worth_a_check / work)
        self.planned = int(max(np.ceil(min(planned, 40.0)), 1.0))

    def gets_nowhere(self):
        """Whether another method is faster from here."""
        if self.is_stuck():
            if not self.multipliers.goes_far:
                return True      # else by plain epochs from here
            self.multipliers.goes_far, self.last_halving = False, self.epochs
        if self.smooth:
            near = self.problem.is_small and self.remaining <= 1e-8 * abs(self.start_objective)
            return near or (self.epochs >= self.least_epochs
                            and self.passes_left > self.patience)
        if self.epochs >= self.least_epochs and self.is_beaten():
            return True
        return self.problem.is_small and (self.is_hopeless or self.visited > (
            FAR if is_narrow(self.problem) else FARTHEST))

    def is_beaten(self):
        """Whether a loss with kinks is done sooner, or only, by ``ProximalNewtonLane``."""
        asked = max(self.start.tol * (self.start_objective - self.objective), 1e-300)
        unsolved = np.log(max(self.remaining / asked, 1.0)) * self.slowness
        if self.visited > LATE and self.visited + unsolved > TOO_LATE:
            return self.seconds_by_newton() < np.inf
        worth = seconds_of_epoch(self.problem) * min(self.passes_left, SPENT * self.visited)
        least = proximal_newton.expected_seconds(self.problem, 0)      # free multipliers take a pass
        return least < worth and self.seconds_by_newton() < worth

    def seconds_by_newton(self):
        """What a loss with kinks takes by ``ProximalNewtonLane`` from here."""
        if self.smooth or not proximal_newton.is_possible(self.problem):
            return np.inf
        return proximal_newton.expected_seconds(self.problem, self.multipliers.n_free())

    def is_stuck(self):
        """Whether many epochs have not halved the gap; near rounding, where its noise may stop it, fewer.
        """
        near = not self.smooth and self.is_close()
        return self.epochs - self.last_halving > (0.1 * self.trials if near else self.trials)

    def is_near(self):
        """Whether most of what can be gained has been."""
        return self.remaining < self.near * (self.start_objective - self.objective)

    def found_exactly(self):
        """Whether the multipliers lead to the minimum itself, which is then taken."""
        due = self.remaining <= 0.1 * self.last_trial
        first = self.dual_set is None and has_dual_set(self.problem)
        if self.smooth or not (due or first) or not self.is_worth_a_trial():
            return False
        self.last_trial = self.remaining
        found = self.exact_minimum()
        if found is None or found[2] > self.objective + self.rounding():
            return False
        self.W, self.b, self.objective = found
        self.z = self.problem.margins(self.W, self.b)
        self.remaining, self.finished = self.rounding(), True
        return True

    def is_worth_a_trial(self):
        """Whether the minimum itself costs less than the way there."""
        problem = self.problem
        if not has_dual_set(problem):
            return problem.is_small
        if not is_narrow(problem):
            return problem.is_small and (self.visited > FAR or self.is_stuck())
        n_free = self.multipliers.n_free()
        few, seconds = n_free <= FREE_PER_COLUMN * problem.n_features, n_free * seconds_of_step(problem)
        if problem.is_small:
            self.is_hopeless = not (few or seconds <= SMOOTHING)
            return not self.is_hopeless
        epoch = problem.n_rows * (VISIT + CACHED_ENTRY * problem.n_features)
        return few and STEPS * seconds <= self.passes_left * epoch

    def steps_worth(self):
        """How many steps of the dual active set cost as much as Newton's method."""
        if is_narrow(self.problem):
            return np.inf
        return self.seconds_by_newton() / seconds_of_step(self.problem)

    def exact_minimum(self):
        """(W, b, F) at the minimum, from about its multipliers; None if it was not found."""
        slopes = self.multipliers.slopes()
        if has_dual_set(self.problem):
            self.dual_set = self.dual_set or DualActiveSet(self.frame.problem, self.frame.mean)
            found = self.dual_set.minimum(slopes, self.steps_worth())
            if found is not None:
                w, b = found
                W, b = self.frame.outwards(w[:, None], np.array([b - self.shift(w)]))
                return W, b, self.problem.objective(W, b)
            self.is_hopeless = is_narrow(self.problem)
        if not self.problem.is_small:
            return None
        self.active_set = self.active_set or ActiveSet(self.problem)
        return self.active_set.minimum(self.W, self.b, slopes)

    # -- Newton's method -------------------------------------------------------------------

    def begin_newton(self):
        """Go on by Newton's method."""
        W, b = self.at
        self.at = np.array(W), np.array(b)
        self.newton = TruncatedNewton(self.frame.problem, *self.at, self.z)
        self.multipliers, self.steps_before = None, self.passes

    def falls_short(self):
        """Whether Newton's method has come to its end before the minimum, or takes for ever."""
        near = max(1e-9 * abs(self.start_objective), self.target())
        slow = self.problem.is_small and self.newton.passes > 300
        return self.remaining > near and (self.finished or slow)

    def newton_step(self):
        newton, before = self.newton, self.newton.decrement
        fell = newton.step(0.0 if self.problem.is_small else self.target())
        W, b = self.at
        self.W, self.b = self.frame.outwards(W, b)
        self.objective = (self.mean_loss(self.z)
                          + 0.5 * self.frame.problem.penalty.l2 * square(W[:, 0]))
        self.passes = self.steps_before + int(np.ceil(newton.passes))
        self.gradient_norm = newton.gradient_norm
        rate = min(newton.decrement / before, 0.9) if before > 0.0 else 0.9
        # what the step has not done, and what the change of the curvatures will bring to light
        left = newton.decrement + newton.unsolved - min(newton.gain, newton.decrement)
        self.remaining = min(newton.bound, left + 2.0 * newton.decrement * rate / (1.0 - rate))
        # small data: on until the decrement itself no longer falls
        flat = newton.decrement <= 2e-16 * abs(self.objective)
        if not fell or (flat and (not self.problem.is_small or not newton.decrement < 0.5 * before)):
            self.finished = True
            self.remaining = min(newton.bound, newton.decrement + newton.unsolved)
