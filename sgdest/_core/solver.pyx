"""Solver: minimises a problem by lanes, one per output that can be solved by itself.

The classes of one-versus-rest, like the columns of a two-dimensional ``y``, are problems of their
own that share X. Each has a ``Lane``: its iterate, its certificate, its own decisions. A lane asks
for the gradient at a point by yielding it; the solver collects what the lanes ask for and answers
all of them by one pass over X. A lane that has reached its tolerance is asked no more.
"""

cimport cython
from cpython.ref cimport PyObject
from libc.math cimport INFINITY, sqrt

import numpy as np
from scipy.optimize import minimize_scalar

from sgdest._core.method cimport Method
from sgdest._core.problem cimport Problem

from sgdest._core.frozen import freeze, thaw
from sgdest._core.penalties import PENALTIES

# Rows on which the constant of a loss without a closed form is sought: it only sets a start.
ROWS_FOR_CONSTANT = 10_000
cdef Py_ssize_t BLOCK = 128


# -- the best constant model -------------------------------------------------------------------


def best_constant(Problem problem):
    """Intercepts of the best constant model, of shape (n_outputs,); zeros without intercept."""
    return problem.fact(_best_constant).copy()


def _best_constant(Problem problem):
    K = problem.n_outputs
    if not problem.fit_intercept or not problem.n_rows:
        return np.zeros(K)
    link = type(problem.loss).link
    if problem.offset is not None or (link == "identity" and problem.loss.name != "squared_error"):
        return constant_by_search(problem)
    if problem.coded:
        rate = np.bincount(problem.y.astype(np.intp), problem.sample_weight, K)
        rate = rate / rate.sum()
        if link == "softmax":
            b = np.log(np.clip(rate, 1e-3 / K, 1.0))
            return b - b.mean()
        mean = rate if problem.negative_code == 0.0 else 2.0 * rate - 1.0
    else:
        part = problem.by_label() or problem
        mean = mean_of(part.y.reshape(part.n_rows, K), part.sample_weight)
    if link == "logit":
        mean = np.minimum(np.maximum(mean, 1e-3), 1.0 - 1e-3)
        return np.log(mean / (1.0 - mean))
    return np.log(np.maximum(mean, 1e-8)) if link == "log" else mean


def mean_of(y, s):
    """Weighted mean of each column."""
    # not s @ y: it would wake threads of the BLAS, which then spin for a tenth of a second
    if s is not None:
        return np.einsum("i,ik->k", s, y) / s.sum()
    return y.mean(axis=0) if y.shape[1] > 1 else y.mean(keepdims=True)[0]


def strength(problem):
    """L1 in units of the least that would leave no column of use; costs a pass, once."""
    steepest = problem.fact(_steepest)
    return problem.penalty.l1 / steepest if steepest > 0.0 else np.inf


def _steepest(problem):
    z = constant_margins(problem, best_constant(problem))
    return np.abs(problem.evaluate(None, None, z)[1]).max(initial=0.0)


def constant_margins(problem, b):
    """Raw predictions of the constant model ``b``: ndarray of shape (n_rows, n_outputs)."""
    z = np.empty((problem.n_rows, problem.n_outputs))
    z[:] = b
    return z if problem.offset is None else z + problem.offset


def constant_by_search(problem):
    """The same by one-dimensional search, on at most ``ROWS_FOR_CONSTANT`` rows."""
    small = problem.by_label()
    if small is None:
        small = every(problem, max(1, problem.n_rows // ROWS_FOR_CONSTANT))
    K = problem.n_outputs
    z = np.zeros((small.n_rows, K)) if small.offset is None else np.array(small.offset)
    real = type(problem.loss).targets == "real" and not problem.coded
    low, high = (small.y.min(), small.y.max()) if real else (-1.0, 1.0)
    if small.offset is not None:
        low, high = low - z.max(), high - z.min()
    if not np.isfinite(low) or not np.isfinite(high) or low == high or not small.total_weight > 0:
        return np.full(K, low if np.isfinite(low) else 0.0)
    b = np.zeros(K)
    for k in range(K):
        along = np.zeros_like(z)
        along[:, k] = 1.0
        b[k] = minimize_scalar(lambda t: small.line(z, along, t)[0], bounds=(low, high),
                               method="bounded", options={"xatol": 1e-6 * (high - low)}).x
    return b


def every(problem, step):
    """The problem of every ``step``-th row, without the columns, which a constant does not read."""
    rows = slice(None, None, step)
    s, o = (None if part is None else part[rows]
            for part in (problem.sample_weight, problem.offset))
    y = problem.y[rows]
    return Problem(np.empty((len(y), 0)), y, problem.loss, PENALTIES[None](), sample_weight=s,
                   offset=o, n_outputs=problem.n_outputs)


# -- one pass for many problems ----------------------------------------------------------------


def evaluate_together(list problems, W, b, list z):
    """One pass over the rows that ``problems``, of one output each, share.

    Parameters
    ----------
    W, b : ndarrays of shape (n_features, n_problems) and (n_problems,); None: z holds the margins
    z : list of ndarrays of shape (n_rows, 1)
        Receive the margins of each problem.

    Returns
    -------
    values, G, g_b : ndarrays of shape (n_problems,), (n_features, n_problems), (n_problems,)
        Mean losses and their gradients, without the penalty.
    """
    cdef Problem first = problems[0]
    K = len(problems)
    turned = not first.rows.is_sparse
    if W is not None:
        W = np.ascontiguousarray(np.transpose(W) if turned else W)
    shape = (K, first.n_features) if turned else (first.n_features, K)

    def work(start, stop):
        return _chunk_together(problems, W, b, z, start, stop, first.zeros(shape))

    parts = first.over_chunks(work, K)
    for problem in problems:
        problem.loss.raise_error()
    g, g_b, values = first.added(parts)
    for total in (g, g_b, values):
        total /= first.total_weight
    g = np.ascontiguousarray(g.T if turned else g)
    return values, g, g_b if first.fit_intercept else np.zeros(K)


def _chunk_together(list problems, const double[:, ::1] W, const double[::1] b, list z,
                    Py_ssize_t start, Py_ssize_t stop, double[:, ::1] g):
    """Gradients (into g) and sums of the losses over rows ``start`` .. ``stop - 1``."""
    cdef Py_ssize_t i, k, m, K = len(problems)
    cdef Problem first = problems[0]
    cdef double none = 0.0, s
    cdef double[::1] values = np.zeros(K), g_b = np.zeros(K)
    cdef double[:, ::1] room = np.empty((3 + 2 * K, BLOCK))
    cdef double[::1] y = np.empty(BLOCK * max((<Problem> p).target_width for p in problems))
    cdef Py_ssize_t[::1] rows = np.empty(BLOCK, dtype=np.intp)
    cdef Py_ssize_t[::1] margins = np.array([part.ctypes.data for part in z], dtype=np.intp)
    cdef Py_ssize_t[::1] problem = np.array([<Py_ssize_t> <PyObject*> p for p in problems])
    cdef double* d = &room[3, 0]
    cdef double* raw = &room[3 + K, 0]
    cdef double* z_k = NULL
    cdef const double* w_data = NULL
    cdef double* g_data = &g[0, 0] if first.n_features else &none
    if W is not None:
        w_data = &W[0, 0] if first.n_features else &none
    with nogil:
        while start < stop:
            m = min(BLOCK, stop - start)
            for i in range(m):
                rows[i] = start + i
            if w_data != NULL:
                first.rows.margins_of(m, &rows[0], NULL, K, w_data, raw)
                for k in range(K):
                    _put(<Problem> <PyObject*> problem[k], m, &rows[0], K, raw + k, b[k],
                         <double*> margins[k] + start)
            for k in range(K):
                z_k = <double*> margins[k] + start
                values[k] += _loss_of_block(<Problem> <PyObject*> problem[k], m, &rows[0],
                                            &y[0], &room[0, 0], z_k, &room[1, 0])
                for i in range(m):
                    s = room[0, i] * room[1, i]
                    d[i * K + k] = s
                    g_b[k] += s
            first.rows.add_all(m, &rows[0], NULL, K, d, g_data)
            start += m
    return np.asarray(g), np.asarray(g_b), np.asarray(values)


cdef void _put(Problem problem, Py_ssize_t m, const Py_ssize_t* rows, Py_ssize_t K,
               const double* raw, double b, double* z) noexcept nogil:
    """The margins of one problem, out of every K-th of the products."""
    cdef Py_ssize_t i
    for i in range(m):
        z[i] = raw[i * K] + b
    if problem.o_data != NULL:
        for i in range(m):
            z[i] += problem.o_data[rows[i]]


cdef double _loss_of_block(Problem problem, Py_ssize_t m, const Py_ssize_t* rows, double* y,
                           double* s, double* z, double* d) noexcept nogil:
    """Fills weights and slopes; the weighted sum of the losses."""
    problem.gather(m, rows, y, s)
    problem.loss.derivatives(m, 1, y, z, d)
    return problem.loss.values(m, 1, y, z, s)


# -- what a pass costs -------------------------------------------------------------------------

# Seconds for an entry of a dense or sparse row, for the loss of a row, and for what precedes each.
DENSE_ENTRY, SPARSE_ENTRY, LOSS, OVERHEAD = 5e-10, 9e-10, 3e-9, 1e-4
FEW_COLUMNS = 100       # which cost less than to know how strong L1 is


def seconds_of_pass(problem, n_outputs=None):
    """About what a pass over X costs: solvers are chosen, and choose, by such figures.

    A pass for all outputs of the problem, or for so many.
    """
    entry = SPARSE_ENTRY if problem.rows.is_sparse else DENSE_ENTRY
    K = n_outputs or problem.n_outputs
    return problem.rows.n_stored * (1 + K) / 2 * entry + LOSS * problem.n_rows * K + OVERHEAD


# -- lanes -------------------------------------------------------------------------------------

# Estimates within this many times the rounding of F are as good as none.
NEAR_ROUNDING = 1e4


class Lane:
    """Abstract: minimises a problem whose outputs cannot be parted.

    Attributes
    ----------
    problem : Problem
        Of one output, or of a joint loss.
    under_way : Problem
        What is evaluated where ``step`` asks for it: ``problem``, or a smoothed form of it.
    W, b : ndarrays of shape (n_features, n_outputs) and (n_outputs,)
    z : ndarray of shape (n_rows, n_outputs), the margins at W, b
    objective : F at (W, b)
    start_objective : F of the best constant model
    remaining : estimate, or bound, of F - F*
    gradient_norm : NaN where it is not at hand
    finished : nothing can be gained any more
    passes : passes over X that the lane has made by itself
    gave_up : nothing can be gained by this method, and it is far from the minimum
    """

    gave_up = False

    def __init__(self, problem, start):
        self.problem = self.under_way = problem
        self.W, self.b, self.warm = start.W, start.b, start.warm
        self.z = constant_margins(problem, start.constant)
        self.start_objective = problem.constant_loss(start.constant)
        self.objective, self.remaining = self.start_objective, np.inf
        self.gradient_norm, self.finished, self.passes = np.nan, False, 0
        Lane.aim_at(self, start.tol)       # those of subclasses reach for what is not there yet

    def begin(self):
        """A generator like ``step`` that precedes the first one."""
        yield from ()

    def step(self):
        """One iteration; a generator.

        It may yield ``(W, b, z)`` and is then sent the mean loss of ``under_way`` there and its
        gradients in W and b; ``z`` has received the margins. ``(None, None, z)`` says that ``z``
        holds the margins already.
        """
        raise NotImplementedError

    def aim_at(self, tol):
        """Seek this relative suboptimality; on small problems rounding in any case."""
        self.tol = 0.0 if self.problem.is_small else tol

    def look_back(self):
        """Make sure of ``remaining`` where no more steps are made; a generator like ``step``."""
        yield from ()

    def rounding(self):
        """Differences of F below this are noise."""
        return 1e-15 * max(abs(self.objective), abs(self.start_objective))

    def target(self):
        """Absolute suboptimality that is asked for."""
        return max(self.tol * (self.start_objective - self.objective), self.rounding())

    def is_close(self):
        """Whether so little remains that the lane may say that it has converged."""
        return self.remaining <= max(self.target(), NEAR_ROUNDING * self.rounding())

    def has_stopped(self):
        """Whether the lane has reached its tolerance, or can gain nothing."""
        return self.finished or (self.tol > 0.0 and self.remaining <= self.target())


class Start:
    """What a lane sets out from: its arrays, the best constants, whether ``W`` was given.

    ``gradient`` holds those of the mean loss in W and b at the best constants, or is None.
    """

    def __init__(self, W, b, constant, tol, warm, moments, gradient=None):
        self.W, self.b, self.constant = W, b, constant
        self.tol, self.warm, self.moments, self.gradient = tol, warm, moments, gradient


@cython.final
cdef class Solver(Method):
    """Iterates the lanes of a problem until each has stopped.

    Parameters
    ----------
    lane : callable (problem, start) -> Lane
    tol : float
        Relative suboptimality at which a lane stops.
    warm : bool
        Set out from ``W`` and ``b`` as they are, not from the best constant model.
    moments : tuple, default=None
        Those of the columns, where they are known already.
    descends : bool, default=False
        Whether lanes begin with the gradient.
    asks : bool, default=True
        Whether lanes ask for the moments of the columns.

    Attributes
    ----------
    objective, start_objective, remaining : sums over the lanes
    output_objectives : the objective of every output; None where they have none of their own
    finished : every lane has stopped
    is_close : no lane has more left than it asks for, or than rounding
    passes : passes over X so far, those for the moments included
    moments : mean, variance and largest absolute value of each column, or None if no lane asks
    """

    cdef readonly list lanes
    cdef readonly object moments, constant
    cdef readonly Py_ssize_t passes

    def __init__(self, Problem problem, double[:, ::1] W, double[::1] b, lane, double tol=1e-4,
                 bint warm=False, moments=None, bint descends=False, bint asks=True):
        super().__init__(problem, W, b)
        W_, b_ = np.asarray(W), np.asarray(b)
        self.constant = best_constant(problem)
        if not warm:
            W_[:], b_[:] = 0.0, self.constant
        if problem.penalty.positive:
            np.maximum(W_, 0.0, out=W_)
        self.moments, gradient = (self._first_pass(descends and not warm)
                                  if moments is None and asks else (moments, None))
        parts = problem.outputs()
        n = problem.n_outputs // len(parts)
        self.lanes = []
        for k, part in enumerate(parts):
            own = slice(k * n, (k + 1) * n)
            start = Start(W_[:, own].copy(), b_[own].copy(), self.constant[own], tol, warm,
                          self.moments, gradient and tuple(g[..., own] for g in gradient))
            self.lanes.append(lane(part, start))
        self.passes = 1
        self._advance([(lane, lane.begin()) for lane in self.lanes])
        self._store()

    def _first_pass(self, descends):
        """The moments of the columns, and by the same pass the gradients at the best constants.

        Of sparse rows, and of losses with kinks, which lanes smooth, the moments alone: then None.
        """
        problem = self.problem
        if not descends or problem.rows.is_sparse or type(problem.loss).smoothness != "smooth":
            return problem.moments(), None
        slopes = problem.slopes(constant_margins(problem, self.constant))
        if problem.sample_weight is not None:
            slopes *= problem.sample_weight[:, None]
        moments, G = problem.first_pass(slopes)
        g_b = slopes.sum(axis=0) / problem.total_weight
        return moments, (G, g_b if problem.fit_intercept else np.zeros_like(g_b))

    @staticmethod
    def going_on(Problem problem, double[:, ::1] W, double[::1] b, state, double tol):
        """The solver whose ``paused`` gave ``state``, with another tolerance maybe."""
        cdef Solver solver = Solver.__new__(Solver)
        Method.__init__(solver, problem, W, b)
        solver.lanes, solver.passes, solver.moments, solver.constant = thaw(
            state["solver"], problem)
        for lane in solver.lanes:
            lane.aim_at(tol)
        solver._store()
        return solver

    def paused(self):
        content = self.lanes, self.passes, self.moments, self.constant
        return {"solver": freeze(content, self.problem)}

    def iterate(self):
        """One iteration of every lane that has not stopped."""
        active = [lane for lane in self.lanes if not lane.has_stopped()]
        self._advance([(lane, lane.step()) for lane in active])
        self._store()

    def look_back(self):
        """Make sure of ``remaining``: there will be no more iterations."""
        self._advance([(lane, lane.look_back()) for lane in self.lanes if not lane.finished])

    def _advance(self, steps):
        """Run the generators, answering what they ask for together."""
        own = [lane.passes for lane, _ in steps]
        asked = [(lane, step, next(step, None)) for lane, step in steps]
        asked = [one for one in asked if one[2] is not None]
        while asked:
            self.passes += 1
            answers = self._answers([lane.under_way for lane, _, _ in asked],
                                    [point for _, _, point in asked])
            still = []
            for (lane, step, _), answer in zip(asked, answers):
                try:
                    still.append((lane, step, step.send(answer)))
                except StopIteration:
                    continue
            asked = still
        self.passes += max((lane.passes - before for (lane, _), before in zip(steps, own)),
                           default=0)

    def _answers(self, problems, points):
        """Mean loss and gradients of each problem at its point."""
        if len(points) == 1:
            return [problems[0].evaluate(*points[0])]
        answers = [None] * len(problems)
        for known in (False, True):
            group = [k for k, point in enumerate(points) if (point[0] is None) == known]
            if len(group) == 1:
                answers[group[0]] = problems[group[0]].evaluate(*points[group[0]])
            elif group:
                W = None if known else np.hstack([points[k][0] for k in group])
                b = None if known else np.concatenate([points[k][1] for k in group])
                values, g, g_b = evaluate_together([problems[k] for k in group], W, b,
                                                   [points[k][2] for k in group])
                for place, k in enumerate(group):
                    own = slice(place, place + 1)
                    answers[k] = values[place], np.ascontiguousarray(g[:, own]), g_b[own]
        return answers

    def _store(self):
        """Write the points of the lanes to W and b."""
        W, b = np.asarray(self.W), np.asarray(self.b)
        n = W.shape[1] // len(self.lanes)
        for k, lane in enumerate(self.lanes):
            W[:, k * n:(k + 1) * n], b[k * n:(k + 1) * n] = lane.W, lane.b

    @property
    def objective(self):
        return sum(lane.objective for lane in self.lanes)

    @property
    def start_objective(self):
        return sum(lane.start_objective for lane in self.lanes)

    @property
    def remaining(self):
        return sum(lane.remaining for lane in self.lanes)

    @property
    def finished(self):
        return all(lane.has_stopped() for lane in self.lanes)

    @property
    def is_close(self):
        return all(lane.is_close() for lane in self.lanes)

    @property
    def gradient_norm(self):
        return sqrt(sum(lane.gradient_norm ** 2 for lane in self.lanes))

    @property
    def output_objectives(self):
        if len(self.lanes) == 1:
            return None
        return np.array([lane.objective for lane in self.lanes])

    def settle(self):
        """For softmax, take out the constant that adds nothing: intercepts sum to zero."""
        W, b = np.asarray(self.W), np.asarray(self.b)
        if not type(self.problem.loss).joint or self.problem.penalty.positive:
            return
        b -= b.mean()
        if self.problem.penalty.l1 == self.problem.penalty.l2 == 0.0:
            W -= W.mean(axis=1, keepdims=True)

    def facts(self):
        """What ``partial_fit`` needs to know of the data seen: ``stream.FitFacts``, as a dict."""
        mean_loss = self.objective - self.problem.penalty.value_of(np.asarray(self.W))
        moments = self.moments
        if moments is None:      # views will do: to lay out many columns anew costs memory and time
            moments = (tuple(self.problem.sparse_moments().T) if self.problem.rows.is_sparse
                       else self.problem.moments())
        return facts_of(self.problem, moments, mean_loss)


def facts_of(problem, moments, mean_loss):
    """``stream.FitFacts`` of a problem, as a dict, whose mean loss is now ``mean_loss``."""
    mean, variance, largest = moments
    return {**problem.fact(_facts), "mean_loss": mean_loss, "mean": mean, "variance": variance,
            "largest": largest}


def _facts(problem):
    """Those about targets and the best constant model."""
    constant, s = best_constant(problem), problem.sample_weight
    n_rows = problem.n_rows if s is None else np.count_nonzero(s)
    small = problem.by_label() if s is None else None   # rows of a label are alike
    if small is None:
        small, square = problem, s if s is None else s**2
    else:
        square = small.sample_weight
    y = spread_of(small.y.reshape(small.n_rows, -1), small.sample_weight)
    z = constant_margins(small, constant)
    if square is None and problem.loss.name == "squared_error" and problem.offset is None:
        square_derivative = np.mean(y[3] + (y[2] - constant) ** 2)
    else:
        slopes = small.slopes(z)
        square_derivative = np.einsum("i,ik,ik->", np.ones(small.n_rows) if square is None else square,
                                      slopes, slopes) / (n_rows * problem.n_outputs)
    return {
        "n_rows": n_rows, "weight": problem.total_weight,
        "square_derivative": square_derivative,
        "curvature": np.mean(small.mean_curvature(z)), "y": y,
    }


def spread_of(const double[:, :] y, const double[::1] s):
    """Least, largest, weighted mean and weighted variance of each column: shape (4, n_columns).

    Rows of weight 0 do not count.
    """
    cdef Py_ssize_t k, n = y.shape[0], step = y.strides[0] // sizeof(double)
    cdef double[:, ::1] out = np.empty((4, y.shape[1]))
    with nogil:
        for k in range(y.shape[1]):
            out[0, k], out[1, k], out[2, k] = INFINITY, -INFINITY, 0.0
            _spread(n, step, &y[0, k], &s[0] if s is not None else NULL, &out[0, k], &out[1, k],
                    &out[2, k], &out[3, k])
    return np.asarray(out)


cdef void _spread(Py_ssize_t n, Py_ssize_t step, const double* y, const double* s, double* least,
                  double* largest, double* mean, double* variance) noexcept nogil:
    """``spread_of`` a column whose numbers are ``step`` apart; four sums at a time."""
    cdef double[4] low, high, first, second, weight
    cdef double v, total = 0.0
    cdef Py_ssize_t i, k
    for k in range(4):
        low[k], high[k], first[k], second[k], weight[k] = INFINITY, -INFINITY, 0.0, 0.0, 0.0
    for i in range(n):
        k = i % 4
        v = y[i * step]
        if s == NULL or s[i] > 0.0:
            low[k], high[k] = v if v < low[k] else low[k], v if v > high[k] else high[k]
            weight[k] += 1.0 if s == NULL else s[i]
            first[k] += v if s == NULL else s[i] * v
    for k in range(4):
        least[0], largest[0] = min(least[0], low[k]), max(largest[0], high[k])
    total = (weight[0] + weight[1]) + (weight[2] + weight[3])
    mean[0] = ((first[0] + first[1]) + (first[2] + first[3])) / total
    for i in range(n):
        v = y[i * step] - mean[0]
        second[i % 4] += v * v if s == NULL else s[i] * v * v
    variance[0] = ((second[0] + second[1]) + (second[2] + second[3])) / total
