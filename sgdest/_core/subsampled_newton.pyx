"""Newton's method: which of its lanes a problem calls for, and what it will cost."""

import numpy as np

from sgdest._core import conjugate_gradients, least_squares
from sgdest._core.few_rows import FewRowsLane
from sgdest._core.gram import kept
from sgdest._core.method import Optimizer
from sgdest._core.newton_lane import (
    DOUBLE_PRODUCT, MOST_COLUMNS, MOST_JOINT, NewtonLane, rows_for_metric, unknowns)
from sgdest._core.quasi_newton import LBFGSLane
from sgdest._core.solver import FEW_COLUMNS, Solver, seconds_of_pass, strength
from sgdest._core.span import Span, WideLane, is_wide, seconds_of_products

MOST_UNKNOWNS_OF_SMALL, MOST_SIGNED = 300, 40
MOST_FILLED = 20_000      # numbers of rows, zeros among them
# Of a smooth loss, where it has kinks; with few rows for a column nearly all lie on them (1,000 x 1,000
# numbers, C=100: 2,300 ms to 1e-3, 5,300 to 1e-6, when 43 are expected of a smooth one).
KINKED, MOST_KINKED = 15.0, 60.0
WEAKER = 4.5              # times as long for a tenth of L1, where it is weak, on several outputs
SHARE = 0.25              # of products that are kept: a path or a grid asks for them again


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

    @staticmethod
    def expected_seconds(problem):
        """About how long it takes to a relative suboptimality of 1e-6."""
        K = problem.n_outputs
        joint = K > 1 and type(problem.loss).joint
        steps = conjugate_gradients.expected_seconds(problem)
        if steps < np.inf:
            return steps
        if least_squares.is_possible(problem):
            share = SHARE if kept.has_seen(problem) else 1.0
            return 2.0 * seconds_of_pass(problem) + (
                share * conjugate_gradients.Columns(problem).seconds)
        wide = is_wide(problem)
        size = (min(problem.n_features, problem.n_rows) if wide else problem.n_features) + 1
        if size * (K if joint else 1) > (MOST_JOINT if joint else MOST_COLUMNS):
            return np.inf
        if problem.is_small:       # copies of rows shall not change the choice
            # L-BFGS does not get to the minimum where both loss and penalty have kinks
            hard = (problem.penalty.l1 > 0.0 or problem.penalty.positive) and (
                type(problem.loss).smoothness == "kinked")
            if size > (MOST_JOINT if hard else MOST_UNKNOWNS_OF_SMALL):
                return np.inf
            # of kinked losses some 60 metrics, where dual ascent may find the minimum itself
            return 1e-2 * K if type(problem.loss).smoothness == "kinked" else 0.0
        if wide:
            seconds = seconds_of_products(problem) + 10 * (
                seconds_of_pass(problem) + 2 * size**2 * (1e-9 + size * DOUBLE_PRODUCT))
        else:
            seconds = rows_for_metric(problem, size * (K if joint else 1))[0]
        if type(problem.loss).smoothness == "kinked":   # a metric and a search for every step
            seconds *= MOST_KINKED if problem.n_rows < 12 * size else KINKED
        elif K > 1 and not joint and problem.penalty.l1 > 0.0 and not problem.rows.is_sparse and (
                problem.n_features >= FEW_COLUMNS):
            # more and more weights, whose signs are not settled: 3,000 x 400 numbers in 5 classes took 60
            # ms at 0.3 and at 0.03 of the strongest L1, 310 at 0.003; 5,000 x 1,000 530, 640, 4,500
            weakness = -np.log10(max(strength(problem), 1e-300))
            seconds *= WEAKER ** max(0.0, weakness - 1.5)
        # a softmax takes a product for every pair of classes, but of (d + 1) columns each
        return seconds if joint else seconds * (1 + 0.5 * (K - 1))

    def method(self, problem, W, b, *, tol=1e-4, warm=False):
        """The solver, at work on ``W`` and ``b``; its lanes are ``NewtonLane``."""
        if self.rows_per_column == "auto" and may_take_few_rows(problem):
            return Solver(problem, W, b, FewRowsLane, tol, warm)
        moments = None
        out = conjugate_gradients.way_out(problem, tol) if tol > 0.0 else None
        if out is not None and conjugate_gradients.takes_few_steps(out):
            kept.note(problem)
            outputs = iter(range(problem.n_outputs))
            return Solver(problem, W, b, lambda part, start: (
                conjugate_gradients.ConjugateGradientsLane(part, start, out, next(outputs))),
                tol, warm, descends=True)
        if least_squares.is_possible(problem) and tol > 0.0:
            found = least_squares.solver_for(problem)(
                problem, tol, W if warm else np.zeros(np.shape(W)))
            moments = found.moments
            if found.answers is not None:
                answers = iter(found.answers)
                return Solver(problem, W, b, lambda part, start: least_squares.AnsweredLane(
                    part, start, next(answers)), tol, warm, moments)
        if is_wide(problem):
            moments = problem.moments() if moments is None else moments
            span = Span(problem, moments[0])
        else:
            span = None

        def lane(part, start):
            signed = part.penalty.l1 > 0.0 or part.penalty.positive
            if part.n_outputs > 1 and signed and unknowns(part) > MOST_JOINT:
                return LBFGSLane(part, start)  # coordinate descent needs the joint metric
            newton = lambda part, start: NewtonLane(part, start, self.rows_per_column)
            return newton(part, start) if span is None else WideLane(part, start, span, newton)

        return Solver(problem, W, b, lane, tol, warm, moments, descends=span is None)


def may_take_few_rows(problem):
    """Whether ``FewRowsLane`` is for the problem: small, also without zeros left out, and smooth.

    Where signs matter it takes one output, few columns, and curvatures that do not jump: the kinks of
    their slopes took huber losses up to 90 passes, working sets 17.
    """
    penalty, loss = problem.penalty, type(problem.loss)
    K = problem.n_outputs if loss.joint else 1
    if penalty.l1 > 0.0 or penalty.positive:
        steady = loss.curved or problem.loss.name == "squared_error"
        apt = K == 1 and problem.n_features <= MOST_SIGNED and steady
    else:
        apt = K * (problem.n_features + 1) <= MOST_UNKNOWNS_OF_SMALL
    filled = problem.n_rows * problem.n_features
    return apt and problem.is_small and filled <= MOST_FILLED and loss.smoothness == "smooth"
