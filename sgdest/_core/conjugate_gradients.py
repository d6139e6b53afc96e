"""Least squares with L2 on dense rows: conjugate gradients, with a way out.

A step costs one pass, where products of all pairs of columns or of rows cost as much as many. What
is left is bounded from above by the rule of Gauss and Radau [1]_, the smallest eigenvalue being at
least that of the penalty; and, with fewer rows than columns, by the best dual point in the space
that the steps have seen [2]_. Once more passes seem to be left than the products cost, these are
taken, and the equations are solved at once.

References
----------
.. [1] G. Meurant, P. Tichy, "On computing quadrature-based bounds for the A-norm of the error in
   conjugate gradients", Numerical Algorithms 62, 2013.
.. [2] G. Golub, G. Meurant, "Matrices, moments and quadrature with applications", 2010, chapter 15.
"""

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from sgdest._core import least_squares
from sgdest._core.descent import Coordinates
from sgdest._core.gram import kept, products_of_rows
from sgdest._core.problem import Problem
from sgdest._core.solver import NEAR_ROUNDING, Lane
from sgdest._core.span import is_definite, seconds_of_products

CACHE = 1 << 24                           # bytes
# Seconds of a pass, in the cache for an entry and beyond it for a byte, and beside it.
CACHED_ENTRY, BYTE, STEP = 2.5e-10, 7.5e-11, 1e-4
FACTOR = 1e-11                            # seconds of a factorisation, in cubes of its columns
FEWEST_STEPS = 3                          # before their rate is believed
WORTH = 2.5                               # passes that products must cost for steps to be tried
MOST_IN_COMMON = 2.0                      # of columns, in units of ``least_squares.in_common``
USUAL_STEPS = 8
MOST_ROWS = 4000                          # whose products fit into memory
DEFINITE = 1e-12                          # least penalty, of the size of a row, beside its products
DRIFT = 1e-18                             # of squared residuals: below, they are computed anew


def seconds_of_step(problem):
    """What a step costs."""
    n_bytes = problem.rows.X.nbytes
    entries = CACHED_ENTRY * problem.rows.n_stored
    return (entries if n_bytes < CACHE else max(entries, BYTE * n_bytes)) + STEP


def way_out(problem, tol=1e-6):
    """The products that can end it, where steps are worth a try before them; else None."""
    penalty = problem.penalty
    if (problem.loss.name != "squared_error" or problem.rows.is_sparse or problem.is_small
            or problem.offset is not None or penalty.positive
            or not penalty.l2 > 0.0 or penalty.l1 > 0.0
            or penalty.factors is not None and not np.all(penalty.factors > 0.0)):
        return None
    n, d = problem.n_rows, problem.n_features
    out = None
    if d <= min(n, least_squares.MOST_COLUMNS):
        known = least_squares.is_possible(problem) and kept.has_seen(problem)
        out = None if known else Columns(problem, tol)
    elif (n <= min(d, MOST_ROWS) and penalty.factors is None
          and is_definite(problem, DEFINITE)):
        out = RowProducts(problem)
    return out if out and out.seconds > WORTH * seconds_of_step(problem) else None


def expected_seconds(problem):
    """About how long it takes to a relative suboptimality of 1e-6; infinite without a way out."""
    out = way_out(problem)
    if out is None:
        return np.inf
    one = seconds_of_step(problem)
    steps = USUAL_STEPS * one if takes_few_steps(out) else np.inf
    return problem.n_outputs * min(steps, out.seconds) + 3.0 * one


def takes_few_steps(out):
    """Whether steps are likely to end before the products would.

    Columns with much in common take far more of them. 120 fits of 2,000 x 200 to 60,000 x 300
    numbers: up to 3.8 times as fast by steps where a column has less than 2 in common with all, up to
    7 times by products where it has more.
    """
    return out.is_wide or least_squares.in_common(out.problem) < MOST_IN_COMMON


class Columns:
    """The solution by products of columns."""

    is_wide = False

    def __init__(self, problem, tol=1e-6):
        self.problem, self.n_outputs, self.found = problem, problem.n_outputs, None
        self.tol = tol
        self.solver = least_squares.solver_for(problem)
        n, d = problem.n_rows, problem.n_features
        self.seconds = n * d * (self.solver.entry + self.solver.product * d) + FACTOR * d**3

    def solution(self, k):
        """(W, what remains) of output k; W is None where rounding counts too much."""
        if self.found is None:
            W = np.zeros((self.problem.n_features, self.problem.n_outputs))
            self.found = self.solver(self.problem, self.tol, W).answers or ()
        return (self.found[k].W, self.found[k].remaining) if self.found else (None, np.inf)


class RowProducts:
    """The solution by products of rows.

    w = (X - mean)' a where (K + l2 S / s) a = y - mean, with weights s, their sum S, and
    K = (X - mean) (X - mean)'.
    """

    is_wide = True

    def __init__(self, problem):
        self.problem, self.n_outputs, self.factor = problem, problem.n_outputs, None
        self.seconds = seconds_of_products(problem)

    def solution(self, k):
        """(W, what remains: not known) of output k; W is None where they are not definite."""
        problem, s = self.problem, self.problem.sample_weight
        root = np.ones(problem.n_rows) if s is None else np.sqrt(s)
        if self.factor is None:
            self.mean = np.zeros(problem.n_features)
            if problem.fit_intercept:
                self.mean = problem.moments()[0]
            K = products_of_rows(problem, self.mean) * root * root[:, None]
            K[np.diag_indices(len(K))] += problem.penalty.l2 * problem.total_weight
            try:
                self.factor = cho_factor(K, lower=True, overwrite_a=True, check_finite=False)
            except LinAlgError:
                return None, np.inf
        y = problem.targets().reshape(problem.n_rows, -1)[:, k]
        if problem.fit_intercept:
            y = y - np.average(y, weights=s)
        a = root * cho_solve(self.factor, root * y, check_finite=False)
        return (problem.rows.weighted_sum(a) - np.sum(a) * self.mean)[:, None], np.inf


class ConjugateGradientsLane(Lane):
    """Steps of conjugate gradients in centred and scaled columns; the intercept is eliminated.

    Parameters
    ----------
    k : int
        Which output of the ``way_out`` this is.
    """

    def __init__(self, problem, start, out, k):
        super().__init__(problem, start)
        self.out, self.k, self.first = out, k, start.gradient
        coordinates = Coordinates(problem, start.moments[0], start.moments[1], 1.0)
        c = np.ones(problem.n_features) if problem.penalty.factors is None else (
            problem.penalty.factors)
        self.mean, self.c = coordinates.mean, c
        self.scale = np.ones_like(c) if out.is_wide else coordinates.inverse_sigma
        self.l2 = problem.penalty.l2 * (c * self.scale) ** 2
        self.least = self.l2[self.scale > 0.0].min(initial=1.0)
        # F at the start, of which the dual can be told, and the best dual point
        self.origin = self.start_objective if out.is_wide and not start.warm else np.nan
        self.lower = -np.inf
        # products with the Hessian are gradients without targets
        self.plain = Problem(problem.rows, np.zeros(problem.n_rows), problem.loss, problem.penalty,
                             sample_weight=problem.sample_weight,
                             fit_intercept=problem.fit_intercept, n_threads=problem.n_threads)
        self.room = np.empty_like(self.z)
        self.last_look = np.inf

    def begin(self):
        if self.first is None:
            yield from self.look()
        else:
            self.set_out(*self.first)
            self.first = None

    def look(self):
        """Compute the residual at W; a generator."""
        value, g, g_b = yield self.W, self.b, self.z
        self.b = self.b - g_b               # to where the derivative in it is zero
        self.z -= g_b
        self.objective = value - 0.5 * float(g_b @ g_b) + self.problem.penalty.value_of(self.W)
        self.set_out(g, g_b)
        if self.remaining > 0.5 * self.last_look:      # which leaves only rounding
            self.finished = True
        self.last_look = self.remaining

    def set_out(self, g, g_b):
        """Begin anew, from gradients in W and b."""
        g = g[:, 0] - self.mean * g_b + self.problem.penalty.l2 * self.c**2 * self.W[:, 0]
        self.r = -g * self.scale
        self.p, self.rz = self.r.copy(), float(np.einsum("j,j->", self.r, self.r))
        self.gradient_norm = np.sqrt(self.rz)
        self.radau, self.top, self.bounds = 1.0 / self.least, self.rz, []
        self.lanczos = Lanczos(self.origin, self.rz, self.least)
        self.origin = np.nan                # where it sets out anew the dual is another
        self.remaining = 0.5 * self.radau * self.rz

    def step(self):
        if not self.rz > 0.0:
            self.finished, self.remaining = True, max(self.remaining, self.rounding())
            return
        if self.pays_to_leave():
            yield from self.leave()
            return
        P = (self.p * self.scale)[:, None]
        p_b = -np.einsum("j,jk->k", self.mean, P)
        self.under_way = self.plain
        _, g, g_b = yield P, p_b, self.room
        self.under_way = self.problem
        Hp = (g[:, 0] - self.mean * g_b) * self.scale + self.l2 * self.p
        curved = float(np.einsum("j,j->", self.p, Hp))
        if not curved > 0.0:
            self.finished = True
            return
        t = self.rz / curved
        self.go(t, P, p_b)
        self.r -= t * Hp
        before, self.rz = self.rz, float(np.einsum("j,j->", self.r, self.r))
        beta = self.rz / before
        self.p *= beta
        self.p += self.r
        self.bound(t, beta)
        drifted = self.rz < DRIFT * self.top
        if drifted or self.has_stopped() and self.target() < NEAR_ROUNDING * self.rounding():
            yield from self.look()

    def pays_to_leave(self):
        """Whether the products cost less than the steps that seem to be left."""
        if self.out is None or len(self.bounds) <= FEWEST_STEPS:
            return False
        last, before = self.bounds[-1], self.bounds[-1 - FEWEST_STEPS]
        rate = -np.log(last / before) / FEWEST_STEPS if 0.0 < last < before else 1e-3
        left = np.log(max(last / self.target(), 1.0)) / rate
        one = seconds_of_step(self.problem) * self.out.n_outputs
        early = len(self.bounds) * one < 0.5 * self.out.seconds     # they become faster
        return left * one > (2.0 if early else 1.0) * self.out.seconds

    def leave(self):
        """Go to the solution by products; rounding is for further steps. A generator."""
        (W, remaining), self.out = self.out.solution(self.k), None
        if W is not None:
            self.W = W
            yield from self.look()
            self.remaining = min(self.remaining, max(remaining, self.rounding()))

    def go(self, t, P, p_b):
        """t times P further."""
        self.W = self.W + t * P
        self.b = self.b + t * p_b
        self.z += t * self.room
        self.objective -= 0.5 * t * self.rz
        self.gradient_norm = np.sqrt(self.rz)

    def bound(self, t, beta):
        """What is left, at most."""
        rest = max(self.radau - t, 1e-14 * self.radau)
        self.radau = rest / (self.least * rest + beta)
        self.lower = max(self.lower, self.lanczos.dual(t, beta))
        self.remaining = max(min(0.5 * self.radau * self.rz, self.objective - self.lower),
                             self.rounding())
        self.bounds.append(self.remaining)


class Lanczos:
    """The dual of least squares at its best point among those that steps from w = 0 span.

    Steps and their ratios make a tridiagonal matrix; less the penalty, it is B'B, with B lower
    bidiagonal, and its upper square part L has the best dual, l2 y' (L L' + l2)^-1 y / 2 [2].

    Parameters
    ----------
    origin : float
        F at w = 0, which is |y|^2 / 2; NaN where steps set out from elsewhere.
    rz : float
        Squared length of the first residual.
    l2 : float
    """

    def __init__(self, origin, rz, l2):
        self.origin, self.l2 = origin, l2
        self.last = 0.0                          # ratio over length of the step before
        # next row of L: its diagonal, and beside it
        self.a, self.b = np.sqrt(0.5 * rz / origin) if origin > 0.0 else 0.0, 0.0
        self.eliminated = 0.0                    # from the next diagonal number of L L' + l2
        self.share, self.total = 1.0, 0.0

    def dual(self, t, beta):
        """The best dual after a step of length t, the next residual being beta times as long."""
        if not self.a > 0.0:
            return -np.inf
        pivot = self.a**2 + self.b**2 + self.l2 - self.eliminated
        self.total += self.share**2 / pivot
        below = max(1.0 / t + self.last - self.l2 - self.a**2, 0.0)
        beside = self.a * np.sqrt(below)         # in the next row of L L'
        self.eliminated = beside**2 / pivot
        self.share *= beside / pivot
        self.b = np.sqrt(below)
        self.a = np.sqrt(beta) / t / self.b if below > 0.0 else 0.0
        self.last = beta / t
        return self.l2 * self.origin * self.total
