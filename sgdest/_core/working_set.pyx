"""Coordinate descent on working sets, for L1 and elastic net with many columns.

Design:

- A round: the gradient of all columns by one pass over the rows; the columns that violate
  optimality most, and all that have a weight, become the working set; their subproblem is solved
  to a part of the largest violation (Massias, Gramfort, Salmon 2018).
- The columns of the set are read out of the rows when they first enter it (``Columns``): no copy
  of X by columns is made, and no column that never matters is touched.
- The subproblem: proximal Newton steps, each some epochs of coordinate descent on the quadratic
  model (Yuan, Ho, Lin 2012) and conjugate gradients among the coordinates that have a weight, then
  a search along the change on cached margins. Of a quadratic loss the model is the problem itself.
- The slopes of the loss, scaled until they are feasible, are a point of the dual: a bound of what
  remains.
"""

import numpy as np

from sgdest._core import least_squares
from sgdest._core.columns import Columns
from sgdest._core.dual import dual_bound
from sgdest._core.gram import kept
from sgdest._core.intercept import best_intercept
from sgdest._core.method import Optimizer
from sgdest._core.newton_lane import sound_lane
from sgdest._core.relay import RelayLane
from sgdest._core.solver import (
    FEW_COLUMNS, NEAR_ROUNDING, Solver, seconds_of_pass, strength)
from sgdest._core.subproblem import Subproblem, violations
from sgdest._core.subsampled_newton import WEAKER, may_take_few_rows

# The first time so many working sets of columns are read, the next time the square of it.
AHEAD = 4
# Where more than this share of a set got a weight, the next one is four times as large, not twice.
FULL = 0.9
# Violations that a round leaves in this share of their size fall too slowly to tell what remains.
STEADY = 0.8
# Far from the minimum a step that gains no more than this share of its round is the last one: other
# columns are worth more by then.
FADING = 0.12
# From this share of the least L1 that uses no column on, 569 x 30 numbers take half of the time of
# Newton's method; at a hundredth of it ten times as long.
STRONG = 1e-3
PASSES = 25.0           # that are usual
MANY_COLUMNS = 1000     # whose products cost more than any number of passes over fewer rows
MUCH_IN_COMMON = 2.0    # of columns, in units of ``least_squares.in_common``


class WorkingSet(Optimizer):
    """Coordinate descent on working sets: a few columns at a time, those that matter.

    For L1 and elastic net with many columns, sparse or dense, every smooth loss and ``positive``;
    a softmax is left to Newton's method or L-BFGS. No copy of X by columns is made: those that
    enter a working set are read out of the rows.

    References
    ----------
    .. [1] G.-X. Yuan, C.-H. Ho, C.-J. Lin, "An improved GLMNET for L1-regularized logistic
       regression", JMLR 2012.
    .. [2] M. Massias, A. Gramfort, J. Salmon, "Celer: a fast solver for the lasso with dual
       extrapolation", ICML 2018.
    .. [3] Q. Bertrand, M. Massias, "Anderson acceleration of coordinate descent", AISTATS 2021.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sgdest import GDRegressor
    >>> from sgdest.optimizers import WorkingSet
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = GDRegressor(penalty="l1", alpha=1.0, optimizer=WorkingSet()).fit(X, y)
    >>> model.coef_.nonzero()[0].tolist()
    [2, 3, 8]
    """

    name = "working_set"
    kind = "solver"

    @staticmethod
    def expected_seconds(problem):
        """About how long it takes to a relative suboptimality of 1e-6."""
        if (problem.penalty.l1 == 0.0 or type(problem.loss).joint
                or type(problem.loss).smoothness != "smooth"):
            return np.inf
        if may_take_few_rows(problem):
            return np.inf
        # on small data both go on to rounding, and that is soon where few columns matter; of least
        # squares with more rows than columns all curvatures are known from the start
        quadratic = problem.loss.name == "squared_error" and problem.n_features <= problem.n_rows
        if problem.is_small and not quadratic and is_strong(problem):
            return -1.0
        # X by columns, then rounds of a pass and some epochs on few columns, for each output
        return passes_expected(problem) * seconds_of_pass(problem, 1) * problem.n_outputs

    def method(self, problem, W, b, *, tol=1e-4, warm=False):
        """The solver, at work on ``W`` and ``b``; its lanes are ``WorkingSetLane``."""
        if type(problem.loss).joint:
            return Solver(problem, W, b, sound_lane, tol, warm)
        if type(problem.loss).smoothness != "smooth":
            raise ValueError(
                f"optimizer='working_set' needs a smooth loss; got loss={problem.loss.name!r}. Use "
                "optimizer='auto'.")
        if least_squares.is_possible(problem):
            kept.note(problem)
        return Solver(problem, W, b, WorkingSetLane, tol, warm)


def passes_expected(problem):
    """How many passes to 1e-6, for each output: on dense rows the fewer, the stronger L1 is.

    288 fits of dense rows, 50 to 500 columns of five designs, L1 at 0.3, 0.03 and 0.003 of the
    strongest: 4 to 10, 4 to 37 and 8 to 70; twice as many where columns have much in common. Of three
    to ten outputs, eight designs: 2 to 8, 12 to 32 and 40 to 260, the more, the longer columns are.
    Products of columns that a path or a grid has made already serve every strength. Where columns are
    more than rows and 1,000, no other way is near, and none of this is asked.
    """
    no_choice = (problem.n_features < FEW_COLUMNS
                 or problem.n_features > max(problem.n_rows, MANY_COLUMNS))
    if problem.rows.is_sparse or no_choice or (
            least_squares.is_possible(problem) and kept.has_seen(problem)):
        return PASSES
    digits = max(0.0, -np.log10(max(strength(problem), 1e-300)))
    if problem.n_outputs > 1:
        return 1.5 * (problem.n_rows / problem.n_features) ** 0.25 * WEAKER ** digits
    alike = least_squares.in_common(problem) > MUCH_IN_COMMON
    per_digit, most = (10.0, 2.0 * PASSES) if alike else (4.0, PASSES)
    return min(most, 5.0 + per_digit * digits)


def is_strong(problem):
    """Whether L1 is more than a thousandth of what would leave no column of use."""
    return problem.n_outputs == 1 and strength(problem) > STRONG


class Seen:
    """Where a lane has last looked, and what it saw that does not depend on the penalty."""

    def __init__(self, W, b, z, said):
        self.W, self.b, self.z, self.said = W, b, z, said

    def is_at(self, W, b):
        return np.array_equal(self.W, W) and np.array_equal(self.b, b)


class WorkingSetLane(RelayLane):
    """Rounds of a gradient, a working set, and its subproblem."""

    newton_steps = 50       # most of a round
    # Gains of a step, or of conjugate gradients in it, that count little, in units of what is asked
    # for. Warm fits to words took 0.85 of the time.
    worth = 0.1
    # share of the largest violation that a round may leave: near the minimum of a curved loss, and
    # in a first round that has every column, each digit costs less than another round, elsewhere
    # more
    accuracy, rough_accuracy = 0.1, 0.3
    # the same on small data, which go on to rounding, where a round has every dense column: it costs as
    # much as many digits there (131 fits took 0.67 of the time by 0.1). On sparse ones rounds are long:
    # 500 x 5,000 took twice as much
    fine_accuracy = 1e-9
    least, most = 100, 1000     # columns of a first working set
    patience = 3            # rounds that change F by rounding only
    trials = 12             # rounds that do not halve the violations

    def __init__(self, problem, start):
        super().__init__(problem, start)
        penalty, s = problem.penalty, problem.sample_weight
        # other lanes or fits may have read them
        self.key = "columns", problem.fit_intercept, None if s is None else s.tobytes()
        mean, variance, _ = start.moments
        self.outlives = type(problem.rows.known) is not dict    # the fit
        self.columns = problem.rows.known.get(self.key)
        if self.columns is None:
            self.columns = Columns(problem.rows, mean if problem.fit_intercept else np.zeros_like(mean))
        d, c = problem.n_features, 1.0 if penalty.factors is None else penalty.factors
        self.l1, self.l2 = np.full(d, penalty.l1 * c), np.full(d, penalty.l2 * c * c)
        self.positive = penalty.positive
        self.s = (np.ones(problem.n_rows) if s is None else s) / problem.total_weight
        self.spread = np.sqrt(variance if problem.fit_intercept else variance + mean**2)
        self.best_dual, self.largest, self.least_violation = -np.inf, np.inf, np.inf
        self.size, self.ratio = np.inf, np.inf     # of all violations; of a size to the one before
        self.stalled, self.in_vain, self.n_chosen = 0, 0, np.inf
        self.reads = self.recalled = 0      # of columns; gradients
        self.least = d if self.columns.at_once else max(
            self.least, d // 128, min(self.most, d // 7, problem.n_rows))

    def begin(self):
        last = self.problem.known.get(WorkingSetLane)
        if self.warm and last is not None and last.is_at(self.W, self.b):
            self.z = last.z
            self.see(*last.said)
        else:
            if self.warm:
                self.take_margins()
            self.centre()
            yield from self.look()
        # no column would move: L1 is as strong as that of the first point of a path
        self.finished = (not self.out.any()
                         and abs(self.remaining) <= NEAR_ROUNDING * self.rounding())

    def go(self):
        before, size = self.objective, self.size
        chosen = self.choose()
        self.n_chosen = len(chosen)
        self.fetch(chosen)
        self.solve(chosen)
        self.centre()
        if self.columns.at_once:
            self.take_margins()
        yield from self.look()
        gain = before - self.objective
        self.estimate(gain, self.size / size if size > 0.0 else 0.0)
        self.stalled = 0 if gain > self.rounding() else self.stalled + 1
        if self.stalled >= self.patience or self.largest == 0.0:
            self.finished = self.is_close()
            if not self.finished:  # the dual has no bound where L1 hardly counts
                yield from self.hand_over(warm=True)
            return
        self.in_vain = 0 if self.largest < 0.5 * self.least_violation else self.in_vain + 1
        self.least_violation = min(self.largest, self.least_violation)
        far = self.problem.is_small or self.largest > 0.1 * self.l1.max(initial=0.0)
        if self.in_vain >= self.trials and far and not self.has_stopped():
            yield from self.hand_over()

    def hand_over(self, **how):
        self.problem.known.pop(WorkingSetLane, None)       # W may go on elsewhere
        yield from super().hand_over(**how)

    def fetch(self, chosen):
        """Let ``columns`` hold those that are chosen."""
        rows, known = self.problem.rows, self.problem.rows.known
        columns = self.columns = known.get(self.key, self.columns)
        before = columns.reads
        columns.fetch(rows, chosen, lambda: self.choose(AHEAD ** columns.reads))
        self.reads = columns.reads if columns.at_once else self.reads + columns.reads - before
        # what outlives the fit has its size now
        if self.key not in known and (columns.at_once or not self.outlives):
            known[self.key] = columns
        self.count_passes()

    def count_passes(self):
        """Those over X beside what is asked for; what was known counts as if it had been read."""
        self.passes = self.reads + self.recalled

    def take_margins(self):
        """The margins as a function of this point alone, so that a fit from here finds them again."""
        if not self.columns.at_once:
            self.z = self.problem.margins(self.W, self.b)
            return
        w, offset = self.W[:, 0], self.problem.offset
        self.fetch(np.flatnonzero(w))
        b = self.b[0] + np.einsum("j,j->", self.columns.removed, w)
        self.z = (self.columns.margins(w.copy()) + b)[:, None]
        if offset is not None:
            self.z += offset

    # -- all columns -----------------------------------------------------------------------

    def look(self):
        """The gradient of every column, and a bound of what remains. A generator."""
        slopes = np.ravel(self.problem.slopes(self.z))
        value, g, g_b = yield from self.gradient(slopes * self.s)
        self.problem.known[WorkingSetLane] = Seen(self.W, self.b, self.z, (slopes, value, g, g_b))
        self.see(slopes, value, g, g_b)

    def see(self, slopes, value, g, g_b):
        """What these say with the penalty: of the mean loss, its slopes and gradients."""
        g = g - g_b * self.columns.removed if g_b else g
        self.objective = value + self.problem.penalty.value_of(self.W)
        # what each column could gain alone is about half the square of its part of the size
        self.out, largest, self.size = violations(self.W[:, 0], g, self.l1, self.l2, self.spread,
                                                  self.positive)
        self.largest = max(largest, abs(g_b))
        self.gradient_norm = float(np.sqrt(np.einsum("j,j->", self.out, self.out) + g_b ** 2))
        # far from the optimum the slopes must be scaled so much that the dual says nothing
        near = self.largest <= 2.0 * self.l1.max(initial=0.0) or self.problem.is_small
        if abs(g_b) <= 1e-9 and (near or not self.l1.any()):
            self.best_dual = max(self.best_dual, dual_bound(self.problem, slopes, g))
        self.remaining = self.objective - self.best_dual

    def gradient(self, pulls):
        """(value, g, g_b): the mean loss and its gradients, by the weighted slopes. A generator.

        The gradient with which a fit has ended is that with which the next one of a path begins.
        """
        problem, known, n = self.problem, self.problem.rows.known, self.problem.n_rows
        keeps = problem.part_of is None and self.outlives
        last = known.get(("gradient",)) if keeps else None
        if last is not None and np.array_equal(last[:n], pulls):
            value, g = problem.evaluate(None, None, self.z, gradient=False)[0], last[n:]
            self.recalled += 1
            self.count_passes()
        else:
            value, g, _ = yield None, None, self.z
            g = g[:, 0]
            if keeps:
                known["gradient",] = np.concatenate([pulls, g])
        return value, g, float(pulls.sum()) if problem.fit_intercept else 0.0

    def estimate(self, gain, ratio):
        """What remains, where rounds shrink the violations.

        F falls at least like the size of all violations, mostly like its square; a gap falls like
        the largest one, of a single column maybe. If rounds went on to shrink that size like the
        worse of the last two, F would still fall by ratio / (1 - ratio) times the gain of the last
        one at most. Of 1228 rounds on 312 problems four times that was below the truth in one, by
        half, and in the median 36 times above it. (What each column could gain alone, times what
        earlier rounds made of it, fell short by up to 200 times.)
        """
        safety = 4.0 if self.ratio < np.inf else 12.0      # where there is but one ratio
        worst = max(ratio, self.ratio if self.ratio < np.inf else 0.0)
        if worst <= STEADY:
            self.remaining = min(self.remaining, safety * worst / (1.0 - worst)
                                 * max(gain, self.rounding()))
        self.ratio = ratio

    def choose(self, times=1):
        """The working set, or one some times as large, in the order of the columns."""
        w = self.W[:, 0]
        kept = np.flatnonzero(w)
        others = np.flatnonzero((self.out > 0.0) & (w == 0.0))
        growth = 4 if len(kept) > FULL * self.n_chosen else 2
        room = times * max(self.least, growth * len(kept)) - len(kept)
        if room < len(others):
            size = self.out[others]
            others = others[np.argpartition(size, len(size) - room)[len(size) - room:]]
        return np.sort(np.concatenate([kept, others]))

    # -- a working set ---------------------------------------------------------------------

    def solve(self, chosen):
        """Minimise F over the working set, as far as it is worth it in this round."""
        far = self.largest > self.l1.max(initial=0.0)
        rough = far or self.problem.loss.name == "squared_error"
        begins = self.ratio == np.inf and self.columns.at_once      # with every column
        share = self.rough_accuracy if rough and not begins else self.accuracy
        if self.problem.is_small and not self.problem.rows.is_sparse and len(self.l1) <= self.least:
            share = self.fine_accuracy
            # with hardly more rows than columns far steps move many that will be left at zero
            far = far and self.problem.n_rows < 2 * len(self.l1)
        enough = share * self.largest
        before = self.W[chosen, 0]
        part = Subproblem(self.problem, self.columns, chosen, before.copy(), self.l1[chosen],
                          self.l2[chosen], self.z[:, 0], self.s)
        worth = self.worth * self.tol * (self.start_objective - self.objective)
        part.minimise(self.newton_steps, enough, self.rounding(), FADING if far else 0.0, worth)
        after = np.asarray(part.w)
        self.W[chosen, 0] = after
        self.b = self.b + (part.change_b - np.einsum("j,j->", self.columns.removed[chosen],
                                                     after - before))
        self.z = np.asarray(part.z)[:, None]

    def centre(self):
        """Move the intercept to its minimum at the margins now."""
        if self.problem.fit_intercept:
            b = best_intercept(self.problem, self.z, 0.0, 1e-12)
            self.b, self.z = self.b + b, self.z + b
