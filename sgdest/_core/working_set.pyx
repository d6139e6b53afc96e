"""Coordinate descent on working sets, for L1 and elastic net with many columns.

Design:

- A round: the gradient of all columns by one pass over the rows; the columns that violate
  optimality most, and all that have a weight, become the working set; their subproblem is solved
  to a tenth of the largest violation (Massias, Gramfort, Salmon 2018).
- The columns of the set are read out of the rows when they first enter it (``Columns``): no copy
  of X by columns is made, and no column that never matters is touched.
- The subproblem: proximal Newton steps, each some epochs of coordinate descent on the quadratic
  model (Yuan, Ho, Lin 2012) with Anderson extrapolation (Bertrand, Massias 2021), then a search
  along the change on cached margins. Of a quadratic loss the model is the problem itself.
- The slopes of the loss, scaled until they are feasible, are a point of the dual: a bound of what
  remains.
"""

cimport cython
from libc.math cimport INFINITY, fabs, fmax
from libc.stdint cimport int32_t

import numpy as np

from sgdest._core cimport simd
from sgdest._core.kernels cimport F64, DenseLoops, dense_loops
from sgdest._core.losses cimport Loss
from sgdest._core.problem cimport Problem
from sgdest._core.rows cimport Rows

from sgdest._core.dual import dual_bound
from sgdest._core.intercept import best_intercept
from sgdest._core.method import Optimizer
from sgdest._core.relay import RelayLane
from sgdest._core.solver import Solver, seconds_of_pass
from sgdest._core.subsampled_newton import sound_lane

cdef const DenseLoops* loops = dense_loops(F64, simd.level)

# Columns with more entries than this share of the rows are kept without row numbers.
cdef double FULL = 0.3
# Epochs between extrapolations.
cdef int SPAN = 5
# Columns read at a time, in working sets.
AHEAD = 4


@cython.final
cdef class Columns:
    """Columns of X, read out of its rows when they are first asked for.

    Those without row numbers are centred: offsets would couple them with the intercept.
    """

    cdef Rows rows
    cdef Py_ssize_t[::1] start, count      # of column j in `values`; count -1: not there yet
    cdef int32_t[::1] numbers              # of the rows
    cdef double[::1] values
    cdef Py_ssize_t n_used
    cdef readonly Py_ssize_t reads         # passes over X so far
    cdef double[::1] mean                  # of the columns
    cdef readonly object removed           # what was subtracted from each column

    def __init__(self, Rows rows, mean):
        self.rows, self.mean, self.removed = rows, mean, np.zeros(rows.n_features)
        self.start = np.zeros(rows.n_features, dtype=np.intp)
        self.count = np.full(rows.n_features, -1, dtype=np.intp)
        self.numbers, self.values = np.empty(0, dtype=np.int32), np.empty(0)

    def fetch(self, wanted, likely):
        """Make ``wanted`` available; if that takes a pass over X, the ``likely()`` ones too."""
        count = np.asarray(self.count)
        if (count[wanted] < 0).any():
            self.reads += 1
            more = np.union1d(wanted, likely())
            self.read(more[count[more] < 0])

    cdef read(self, const Py_ssize_t[::1] wanted):
        cdef Py_ssize_t k, p, j, n_wanted = wanted.shape[0], n_rows = self.rows.n_rows
        cdef Py_ssize_t[::1] starts, ends
        cdef int32_t[::1] row
        cdef double[::1] value
        starts, ends, row, value = self.entries(wanted)
        self.lay_out(wanted, np.subtract(ends[:n_wanted], starts[:n_wanted]))
        with nogil:
            for k in range(n_wanted):
                j = self.start[wanted[k]]
                if self.count[wanted[k]] == n_rows:
                    for p in range(starts[k], ends[k]):
                        self.values[j + row[p]] += value[p]
                    continue
                for p in range(starts[k], ends[k]):
                    self.numbers[j], self.values[j] = row[p], value[p]
                    j += 1

    cdef entries(self, const Py_ssize_t[::1] wanted):
        """As ``CSRRows.entries_of``: those of place k are the entries of column ``wanted[k]``."""
        cdef Py_ssize_t i, k, n_wanted = wanted.shape[0], n_rows = self.rows.n_rows
        cdef double[::1] x = np.empty(self.rows.n_features + 1)
        cdef int32_t[:, ::1] row
        cdef double[:, ::1] value
        cdef Py_ssize_t[::1] ends
        if self.rows.is_sparse:
            place = np.full(self.rows.n_features, -1, dtype=np.int32)
            place[np.asarray(wanted)] = np.arange(n_wanted, dtype=np.int32)
            return self.rows.entries_of(place, n_wanted)
        starts = np.arange(n_wanted + 1) * n_rows
        ends = starts.copy()
        row, value = np.empty((n_wanted, n_rows), dtype=np.int32), np.empty((n_wanted, n_rows))
        for i in range(n_rows):
            self.rows.values(i, &x[0])
            for k in range(n_wanted):
                if x[wanted[k]] != 0.0:
                    row[k, ends[k] - k * n_rows] = <int32_t> i
                    value[k, ends[k] - k * n_rows] = x[wanted[k]]
                    ends[k] += 1
        return starts, ends, np.ravel(row), np.ravel(value)

    cdef lay_out(self, const Py_ssize_t[::1] wanted, const Py_ssize_t[::1] sizes):
        """Room for columns of these sizes."""
        cdef Py_ssize_t k, n_rows = self.rows.n_rows, end = self.n_used
        for k in range(wanted.shape[0]):
            self.start[wanted[k]] = end
            self.count[wanted[k]] = n_rows if sizes[k] > FULL * n_rows else sizes[k]
            end += self.count[wanted[k]]
        if end > self.values.shape[0]:
            size = max(end, 2 * self.values.shape[0])
            numbers, values = np.empty(size, dtype=np.int32), np.zeros(size)
            numbers[:self.n_used] = self.numbers[:self.n_used]
            values[:self.n_used] = self.values[:self.n_used]
            self.numbers, self.values = numbers, values
        self.n_used = end
        for k in range(wanted.shape[0]):
            if self.count[wanted[k]] == n_rows:
                end = self.start[wanted[k]]
                np.asarray(self.values)[end:end + n_rows] = -self.mean[wanted[k]]
                self.removed[wanted[k]] = self.mean[wanted[k]]

    # v . x_j, sum of h x_j^2, and v += c h x_j
    cdef double dot(self, Py_ssize_t j, const double* v) noexcept nogil:
        cdef Py_ssize_t p, n = self.count[j]
        cdef const double* x = &self.values[0] + self.start[j]
        cdef const int32_t* row = &self.numbers[0] + self.start[j]
        cdef double total = 0.0, other = 0.0
        if n == self.rows.n_rows:
            return loops.dot(n, x, v)
        for p in range(0, n - 1, 2):
            total += x[p] * v[row[p]]
            other += x[p + 1] * v[row[p + 1]]
        if n % 2:
            total += x[n - 1] * v[row[n - 1]]
        return total + other

    cdef double square(self, Py_ssize_t j, const double* h) noexcept nogil:
        cdef Py_ssize_t p, n = self.count[j]
        cdef const double* x = &self.values[0] + self.start[j]
        cdef const int32_t* row = &self.numbers[0] + self.start[j]
        cdef double total = 0.0
        if n == self.rows.n_rows:
            for p in range(n):
                total += h[p] * x[p] * x[p]
        else:
            for p in range(n):
                total += h[row[p]] * x[p] * x[p]
        return total

    cdef void add(self, Py_ssize_t j, double c, const double* h, double* v) noexcept nogil:
        cdef Py_ssize_t p, n = self.count[j]
        cdef const double* x = &self.values[0] + self.start[j]
        cdef const int32_t* row = &self.numbers[0] + self.start[j]
        if n == self.rows.n_rows:
            for p in range(n):
                v[p] += c * h[p] * x[p]
        else:
            for p in range(n):
                v[row[p]] += c * h[row[p]] * x[p]


@cython.final
cdef class Model:
    """The quadratic model of F about a point, in the columns of a working set.

    G = r + h dz is kept, r and h being slopes and curvatures of the mean loss in the margins and
    dz their change: G gives the gradient of a column by one product.
    """

    cdef Columns columns
    cdef Py_ssize_t[::1] chosen
    cdef double[::1] w, l1, l2, H
    cdef readonly object start             # w at the point
    cdef double[::1] r, h, G
    cdef double mass
    cdef readonly double change_b          # of the intercept
    cdef readonly double violation         # the largest met in the last epoch
    cdef bint positive, fit_intercept

    def __init__(self, Columns columns, chosen, w, l1, l2, r, h, bint positive,
                 bint fit_intercept):
        cdef Py_ssize_t k
        self.columns, self.chosen = columns, chosen
        self.start, self.w, self.l1, self.l2 = w, w.copy(), l1, l2
        self.r, self.h, self.G = r, h, r.copy()
        self.positive, self.fit_intercept = positive, fit_intercept
        self.mass = h.sum()
        self.H = np.empty(len(chosen))
        with nogil:
            for k in range(self.chosen.shape[0]):
                self.H[k] = columns.square(self.chosen[k], &self.h[0]) + self.l2[k]

    cdef void epoch(self, bint every) noexcept nogil:
        """Visit every coordinate, or those that have a weight."""
        cdef Py_ssize_t k, i
        cdef double g, w, out, step, total = 0.0
        self.violation = 0.0
        if self.fit_intercept:
            for i in range(self.G.shape[0]):
                total += self.G[i]
            step = -total / self.mass
            self.change_b += step
            for i in range(self.G.shape[0]):
                self.G[i] += step * self.h[i]
            self.violation = fabs(total)
        for k in range(self.chosen.shape[0]):
            w = self.w[k]
            if w == 0.0 and not every:
                continue
            g = self.columns.dot(self.chosen[k], &self.G[0]) + self.l2[k] * w
            out = violation(w, g, self.l1[k], self.positive)
            self.violation = fmax(self.violation, out)
            if out == 0.0 or self.H[k] <= 0.0:
                continue
            step = soft(w - g / self.H[k], self.l1[k] / self.H[k], self.positive) - w
            if step != 0.0:
                self.w[k] = w + step
                self.columns.add(self.chosen[k], step, &self.h[0], &self.G[0])

    def run(self, Py_ssize_t n_epochs, double enough, double share):
        """Epochs until the largest violation is ``enough``, or that share of the first one.

        One epoch, where the first violation times ``share`` is no more than ``enough``. Coordinates
        without a weight are visited in the first epoch and whenever the others have been solved.
        Returns the first violation.
        """
        cdef double first = INFINITY
        cdef Py_ssize_t turn
        cdef bint every = True
        points = []
        for turn in range(n_epochs):
            with nogil:
                self.epoch(every)
            if turn == 0:
                first = self.violation
                if 0.0 < first * share <= enough:
                    break
                enough = max(enough, share * first)
            if self.violation <= enough:
                if every:
                    break
                every = True
                continue
            every = False
            points.append(np.append(self.w, self.change_b))
            if len(points) > SPAN:
                self.extrapolate(points)
                points = []
        return first

    def margins_change(self):
        """dz: ndarray of shape (n_rows,)."""
        return (np.asarray(self.G) - self.r) / self.h

    def value(self, w, G):
        """The model at w: r.dz + sum h dz^2 / 2 + penalty."""
        dz = (G - self.r) / self.h
        return (np.einsum("i,i->", self.r, dz) + 0.5 * np.einsum("i,i,i->", self.h, dz, dz)
                + penalty_of(w, self.l1, self.l2))

    def extrapolate(self, points):
        """Anderson's mixture of the last points, if the model is lower there."""
        cdef Py_ssize_t k
        cdef double[::1] w, G
        P = np.array(points)
        D = np.diff(P, axis=0)
        gram = D @ D.T
        gram.flat[::len(gram) + 1] += 1e-10 * gram.trace() + 1e-300
        c = np.linalg.solve(gram, np.ones(len(gram)))
        total = c.sum()
        if not np.isfinite(total) or total == 0.0:
            return
        mixed = (c / total) @ P[1:]
        last = len(mixed) - 1
        w, b = mixed[:last].copy(), mixed[last]
        if self.positive:
            w = np.maximum(w, 0.0)
        G = np.asarray(self.r) + (b * np.asarray(self.h) if self.fit_intercept else 0.0)
        start = np.asarray(self.start)
        cdef double[::1] change = np.asarray(w) - start
        with nogil:
            for k in range(w.shape[0]):
                if change[k] != 0.0:
                    self.columns.add(self.chosen[k], change[k], &self.h[0], &G[0])
        if self.value(np.asarray(w), np.asarray(G)) < self.value(np.asarray(self.w),
                                                                 np.asarray(self.G)):
            self.w, self.G, self.change_b = w, G, b

    def weights(self):
        return np.asarray(self.w)


cdef inline double soft(double w, double by, bint positive) noexcept nogil:
    """w moved towards zero; 0 where it would cross, or be negative against ``positive``."""
    if w > by:
        return w - by
    return w + by if w < -by and not positive else 0.0


cdef inline double violation(double w, double g, double l1, bint positive) noexcept nogil:
    """The smallest subgradient of a coordinate, g being the gradient of its smooth part."""
    if w > 0.0:
        return fabs(g + l1)
    if w < 0.0:
        return fabs(g - l1)
    return fmax(0.0, -g - l1) if positive else fmax(0.0, fabs(g) - l1)


def violations(const double[::1] w, const double[::1] g, const double[::1] l1, bint positive):
    """The same of every coordinate."""
    cdef Py_ssize_t j
    cdef double[::1] out = np.empty(w.shape[0])
    for j in range(w.shape[0]):
        out[j] = violation(w[j], g[j], l1[j], positive)
    return np.asarray(out)


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
        # X by columns, then rounds of a pass and some epochs on few columns
        return 25.0 * seconds_of_pass(problem) * problem.n_outputs

    def method(self, problem, W, b, *, tol=1e-4, warm=False):
        """The solver, at work on ``W`` and ``b``; its lanes are ``WorkingSetLane``."""
        if type(problem.loss).joint:
            return Solver(problem, W, b, sound_lane, tol, warm)
        if type(problem.loss).smoothness != "smooth":
            raise ValueError(
                f"optimizer='working_set' needs a smooth loss; got loss={problem.loss.name!r}. Use "
                "optimizer='auto'.")
        return Solver(problem, W, b, WorkingSetLane, tol, warm)


class WorkingSetLane(RelayLane):
    """Rounds of a gradient, a working set, and its subproblem."""

    newton_steps = 50       # most of a round
    least = 100             # columns of a working set
    patience = 3            # rounds that change F by rounding only
    trials = 12             # rounds that do not halve the violations

    def __init__(self, problem, start):
        super().__init__(problem, start)
        penalty, s = problem.penalty, problem.sample_weight
        self.columns = Columns(problem.rows, start.moments[0] if problem.fit_intercept
                               else np.zeros(problem.n_features))
        c = np.ones(problem.n_features) if penalty.factors is None else penalty.factors
        self.l1, self.l2, self.positive = penalty.l1 * c, penalty.l2 * c * c, penalty.positive
        self.s = (np.ones(problem.n_rows) if s is None else s) / problem.total_weight
        self.floored = np.maximum(self.s, 1e-300)
        self.mean_loss = None      # at the margins, where it is known
        self.quadratic = problem.loss.name == "squared_error"
        self.best_dual, self.largest, self.least_violation = -np.inf, np.inf, np.inf
        self.stalled, self.in_vain, self.ratio = 0, 0, np.inf
        self.least = max(self.least, problem.n_features // 128)

    def begin(self):
        if self.warm:
            self.z = self.problem.margins(self.W, self.b)
        self.centre()
        yield from self.look()

    def go(self):
        before, violation = self.objective, self.largest
        chosen = self.choose()
        self.columns.fetch(chosen, lambda: self.choose(AHEAD))
        self.passes = self.columns.reads
        self.solve(chosen)
        self.centre()
        yield from self.look()
        gain = before - self.objective
        self.estimate(gain, self.largest / violation if violation > 0.0 else 0.0)
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

    # -- all columns -----------------------------------------------------------------------

    def look(self):
        """The gradient of every column, and a bound of what remains. A generator."""
        value, g, g_b = yield None, None, self.z
        w, g = self.W[:, 0], g[:, 0] - g_b[0] * self.columns.removed
        self.objective = value + self.problem.penalty.value_of(self.W)
        self.out = violations(w, g + self.l2 * w, self.l1, self.positive)
        self.largest = self.out.max(initial=abs(g_b[0]))
        self.gradient_norm = float(np.sqrt(np.einsum("j,j->", self.out, self.out) + g_b[0] ** 2))
        # far from the optimum the slopes must be scaled so much that the dual says nothing
        near = self.largest <= 2.0 * self.l1.max(initial=0.0) or self.problem.is_small
        if abs(g_b[0]) <= 1e-9 and (near or not self.l1.any()):
            slopes = np.ravel(self.problem.slopes(self.z))
            self.best_dual = max(self.best_dual, dual_bound(self.problem, slopes, g))
        self.remaining = self.objective - self.best_dual

    def estimate(self, gain, ratio):
        """What remains, where two rounds in a row have shrunk the violations.

        The gap falls like the violations, F like their square. A round that makes them ``ratio``
        times as large leaves about ratio^2 of what it gained; twice the larger ratio of two is on
        the safe side. (A geometric sum of the gains is not: it fell short by up to 5 times.)
        """
        worst = max(ratio, self.ratio)
        if worst <= 0.4 and self.largest <= self.l1.max(initial=0.0):
            self.remaining = min(self.remaining, 2.0 * worst * max(gain, self.rounding()))
        self.ratio = ratio

    def choose(self, times=1):
        """The working set, or one some times as large, in the order of the columns."""
        w = self.W[:, 0]
        kept = np.flatnonzero(w)
        others = np.flatnonzero((self.out > 0.0) & (w == 0.0))
        room = times * max(self.least, 2 * len(kept)) - len(kept)
        if room < len(others):
            size = self.out[others]
            others = others[np.argpartition(size, len(size) - room)[len(size) - room:]]
        return np.sort(np.concatenate([kept, others]))

    # -- a working set ---------------------------------------------------------------------

    def solve(self, chosen):
        """Minimise F over the working set, to a tenth of the largest violation."""
        enough = 0.1 * self.largest
        for turn in range(self.newton_steps):
            model, first = self.model(chosen), np.inf
            if self.quadratic:
                model.run(1000, enough, 0.0)
            else:
                first = model.run(4 if turn < 2 else 20, 0.3 * enough, 0.3)
            if not self.move(chosen, model) or self.quadratic or first <= enough:
                break

    def model(self, chosen):
        """The quadratic model about the point; where the loss is straight, a little curved."""
        problem = self.problem
        h = np.ravel(problem.curvatures(self.z))
        mean = np.einsum("i,i->", h, self.s)
        if not mean > 0.0:
            bound = type(problem.loss).curvature_bound
            mean = bound if np.isfinite(bound) else 1.0
        # rows without weight have slope 0: any curvature will do
        h = np.maximum(h, 1e-3 * mean) * self.floored
        self.slopes = np.ravel(problem.slopes(self.z)) * self.s
        return Model(self.columns, chosen, self.W[chosen, 0], self.l1[chosen], self.l2[chosen],
                     self.slopes, h, self.positive, problem.fit_intercept)

    def move(self, chosen, model):
        """Go to the minimum of the model, or as far towards it as F falls; whether it did."""
        w, old = model.weights(), model.start
        l1, l2 = self.l1[chosen], self.l2[chosen]
        along = model.margins_change()[:, None]
        if self.mean_loss is None:
            self.mean_loss = self.problem.evaluate(None, None, self.z, gradient=False)[0]
        start, before = self.mean_loss, penalty_of(old, l1, l2)
        slope = np.einsum("i,i->", self.slopes, along[:, 0]) + penalty_of(w, l1, l2) - before
        t = 1.0
        for _ in range(40):
            now = old + t * (w - old) if t < 1.0 else w
            z = self.z + t * along
            value = self.problem.evaluate(None, None, z, gradient=False)[0]
            change = value - start + penalty_of(now, l1, l2) - before
            if change <= 0.01 * t * slope + self.rounding():
                self.W[chosen, 0] = now
                self.b = self.b + (t * model.change_b - np.einsum(
                    "j,j->", self.columns.removed[chosen], now - old))
                self.z, self.mean_loss = z, value
                return True
            t *= 0.5
        return False

    def centre(self):
        """Move the intercept to its minimum at the margins now."""
        if self.problem.fit_intercept:
            b = best_intercept(self.problem, self.z, 0.0, 1e-12)
            self.b, self.z, self.mean_loss = self.b + b, self.z + b, None


def penalty_of(w, l1, l2):
    """sum of l1 |w| + l2 w^2 / 2."""
    return float(np.einsum("j,j->", l1, np.abs(w)) + 0.5 * np.einsum("j,j,j->", l2, w, w))
