"""SAGA: steps whose noise vanishes, by a table of the slope that each row had last.

Design:

- The gradient of a row is its slope times the row, so the table holds one number per row and
  output, and the mean of the gradients in it is one more set of parameters.
- Between two visits of a feature its part of that mean stays the same. A sparse row therefore
  makes up for the steps that its features missed at once: k proximal steps along a constant are an
  affine map to the k-th power, and with L1 at most two of these with a zero in between.
- Steps are made in the coordinates (x - centre) / spread, kept here beside the parameters: a row is
  mapped when it is read. ``settle`` maps them back.
"""

cimport cython
from libc.math cimport INFINITY, copysign, exp, floor, fmax, fmin, isfinite

import numpy as np

from sgdest._core cimport simd
from sgdest._core.kernels cimport F64, DenseLoops, dense_loops
from sgdest._core.penalties cimport toward_zero
from sgdest._core.problem cimport Problem
from sgdest._core.schedules cimport Schedule
from sgdest._core.step cimport StepMethod

from sgdest._core.method import Optimizer
from sgdest._core.solver import best_constant, facts_of
from sgdest._core.schedules import Constant

cdef const DenseLoops* loops = dense_loops(F64, simd.level)


# Relative growth of the objective that is no noise.
RISEN = 3e-3
# The rate is one over this many times the curvature of the rows, each weighted by it:
# found by trying, docs/design/0008-saga.md.
cdef double SAFETY = 1.5
cdef Py_ssize_t MOST_KNOWN = 4096          # 100 kB: within the second-level cache


# The proximal operator of one feature, for a step of length eta:
# prox(v) = toward_zero(v, decay, taken), with decay = 1 / (1 + weight) = exp(-log_decay).
cdef struct Proximal:
    double decay
    double taken
    double weight
    double log_decay


# What k such steps along the same G do to w > 0 as long as it stays so:
# w -> w - lost w - span eta G - toll.
cdef struct Missed:
    double lost
    double span
    double toll


cdef inline Missed missed_steps(const Proximal* prox, double k) noexcept nogil:
    cdef Missed m
    cdef double x
    if prox.log_decay == 0.0:
        m.lost, m.span, m.toll = 0.0, k, k * prox.taken
        return m
    # decay^k is 1 - lost; the sum of its powers from 1 to k is lost / weight
    x = k * prox.log_decay
    if x < 0.03:
        m.lost = x * (1.0 - x * (1 / 2.0 - x * (1 / 6.0 - x * (1 / 24.0 - x * (
            1 / 120.0 - x * (1 / 720.0 - x / 5040.0))))))
    else:
        m.lost = 1.0 - exp(-x)
    m.span = m.lost / prox.weight
    m.toll = m.span * prox.taken / prox.decay
    return m


# What the loops over the entries of one sparse row work on.
cdef struct Sparse:
    Py_ssize_t n
    const Py_ssize_t* columns
    const double* x
    const double* change
    double* w
    double* G
    double* seen
    double now
    const Proximal* proximals
    Py_ssize_t stride
    const Missed* known                    # by number of steps, where all features are alike
    double n_known
    double eta
    double share
    bint positive
    bint linearly


cdef inline void reach(Sparse* at, Py_ssize_t K) noexcept nogil:
    """Make up for the steps that features missed."""
    cdef Py_ssize_t p, j, q
    cdef const Proximal* prox
    cdef Missed m
    cdef double k, w, end
    for p in range(at.n):
        j = at.columns[p]
        # often 0, but not predictably: a branch would cost more than a step of no length
        k = at.now - at.seen[j]
        at.seen[j] = at.now
        prox = at.proximals + at.stride * j
        m = at.known[<Py_ssize_t> k] if k < at.n_known else missed_steps(prox, k)
        for q in range(j * K, j * K + K):
            w = at.w[q]
            end = w - m.lost * w - m.span * at.eta * at.G[q]
            if not at.linearly:
                end -= copysign(m.toll, w)
                if not end * w > 0.0:
                    end = drifted(w, at.eta * at.G[q], prox, k, at.positive)
            at.w[q] = end


cdef inline void add_margins(Sparse* at, Py_ssize_t K, double* z) noexcept nogil:
    cdef Py_ssize_t p, k
    cdef double even = 0.0, odd = 0.0
    if K == 1:                             # two sums: an addition waits for the one before
        for p in range(at.n // 2):
            even += at.x[2 * p] * at.w[at.columns[2 * p]]
            odd += at.x[2 * p + 1] * at.w[at.columns[2 * p + 1]]
        if at.n % 2:
            even += at.x[at.n - 1] * at.w[at.columns[at.n - 1]]
        z[0] += even + odd
        return
    for p in range(at.n):
        for k in range(K):
            z[k] += at.x[p] * at.w[at.columns[p] * K + k]


cdef inline void step_on_entries(Sparse* at, Py_ssize_t K) noexcept nogil:
    """The step of a sparse row, whose features are up to date."""
    cdef Py_ssize_t p, j, k, q
    cdef const Proximal* prox
    cdef double slope, w
    for p in range(at.n):
        j = at.columns[p]
        prox = at.proximals + at.stride * j
        at.seen[j] = at.now + 1.0
        for k in range(K):
            q = j * K + k
            slope = at.change[k] * at.x[p]
            w = at.w[q] - at.eta * (slope + at.G[q])
            if at.linearly:
                at.w[q] = w * prox.decay
            else:
                at.w[q] = toward_zero(w, prox.decay, prox.taken, at.positive)
            at.G[q] += at.share * slope


cdef double drifted(double w, double drift, const Proximal* prox, double k,
                    bint positive) noexcept nogil:
    """w after k steps of length ``drift`` with the proximal operator: from sign to sign."""
    cdef double sign, fall, low, high, middle
    cdef Missed m
    while k > 0.0:
        if w == 0.0:
            w = toward_zero(-drift, prox.decay, prox.taken, positive)
            if w == 0.0:
                return 0.0
            k -= 1.0
            continue
        sign = 1.0 if w > 0.0 else -1.0
        # it falls to zero, at least by `fall` a step, or never comes there
        fall = sign * drift * prox.decay + prox.taken
        low, high = 0.0, k + 1.0
        if fall > 0.0:
            high = fmin(high, 1.0 + floor(sign * w / fall))
        middle = high - 1.0
        while high - low > 1.0:            # the last of its values above zero
            m = missed_steps(prox, middle)
            if sign * w * (1.0 - m.lost) - m.span * sign * drift - m.toll > 0.0:
                low = middle
            else:
                high = middle
            middle = floor((low + high) / 2.0)
        m = missed_steps(prox, low)
        w = sign * (sign * w * (1.0 - m.lost) - m.span * sign * drift - m.toll)
        k -= low
        if k > 0.0:
            w = toward_zero(w - drift, prox.decay, prox.taken, positive)
            k -= 1.0
    return w


# -- SAGA ------------------------------------------------------------------------------------


class SAGA(Optimizer):
    """Stochastic descent with a table of slopes, which converges at a constant rate.

    With ``d_i`` the slope of the loss of row i now, ``a_i`` the one in the table (of the visit
    before), and ``G`` the mean of ``a_i x_i`` over all rows, a step on row i is ::

        w = prox(w - eta ((d_i - a_i) x_i + G)),   a_i = d_i,

    with the proximal operator of the penalty for a length ``eta``. As w comes to the minimum so
    does the table, and the noise of the steps vanishes. The table begins with the slopes at the
    start, by one more pass over the rows; it takes one number per row and output. Each pass visits
    the rows in a new random order.

    It is a solver: it needs all rows. ``partial_fit`` streams by ``NormalizedAdaptive``, also after
    a ``fit`` with this. The loss must be smooth. On sparse rows a step costs what its entries cost,
    and the model is that of dense rows.

    Parameters
    ----------
    learning_rate : "auto" or float > 0, default="auto"
        The rate ``eta``. "auto" begins with a pass of ``SGD``, at a rate that is probed and falls
        to zero [4]_. Then it is ``1 / (1.5 L)``, L the mean curvature of the loss of the rows that
        the pass before has met, weighted by itself, in columns that are scaled and (dense rows)
        centred implicitly. The second pass takes one over a bound of the largest; from pass to
        pass the rate at most doubles [2]_; a pass that rose is taken back. Rows of more curvature
        than the mean learn less at a time: with ``c`` the curvature of row i, the change of its
        slope is divided by ``1 + eta c``, as an implicit step would [3]_; the table holds what was
        learned. A float is used in the columns as they are, and the steps are the paper's.

    References
    ----------
    .. [1] A. Defazio, F. Bach, S. Lacoste-Julien, "SAGA: a fast incremental gradient method with
       support for non-strongly convex composite objectives", NIPS 2014.
    .. [2] M. Schmidt, N. Le Roux, F. Bach, "Minimizing finite sums with the stochastic average
       gradient", Mathematical Programming 162, 2017, section 4.6.
    .. [3] A. Defazio, "A simple practical accelerated method for finite sums", NIPS 2016.
    .. [4] R. Johnson, T. Zhang, "Accelerating stochastic gradient descent using predictive variance
       reduction", NIPS 2013, whose first pass is one of SGD, too.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sgdest import GDClassifier
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> model = GDClassifier(optimizer="saga", alpha=0.01, random_state=0).fit(X, y)
    >>> round(model.score(X, y), 2)
    0.95
    """

    name = "saga"
    kind = "solver"
    rounds_kinks = False

    def __init__(self, learning_rate="auto"):
        self.learning_rate = learning_rate

    def method(self, problem, W, b, *, tol=1e-4, warm=False, coordinates=None, state=None,
               opening=None):
        """The compiled method, at work on ``W`` and ``b``; see ``SAGAMethod``."""
        if not warm:
            np.asarray(b)[:] = best_constant(problem)
        if isinstance(self.learning_rate, str):
            return SAGAMethod(problem, W, b, None, coordinates, state, opening)
        return SAGAMethod(problem, W, b, Constant(float(self.learning_rate)), None, state)


@cython.final
cdef class Steady(Schedule):
    """A rate that the method sets; halved by a divergence, and by a pass that rose, which is taken
    back and raises no rate any more: a row far from its boundary had hidden its curvature."""

    learned = ("first", "eta", "before", "went_too_far")
    cdef public double first, eta
    cdef public double before              # the objective of the pass before
    cdef public bint went_too_far

    def __init__(self, double eta):
        self.first = self.eta = eta
        self.before = INFINITY

    cdef double at(self, double t) noexcept nogil:
        return self.eta

    cdef bint lower(self) noexcept nogil:
        self.first *= 0.5
        self.eta = self.first
        return self.eta > 0.0

    def after_pass(self, objective):
        # beyond the noise of a sum over rows that are seen one after the other
        if objective > self.before + RISEN * abs(self.before):
            self.went_too_far, self.before = True, INFINITY
            self.eta *= 0.5
            return True
        self.before = objective
        return False

    def after_plateau(self):
        return False                       # the noise vanishes by itself


@cython.final
cdef class SAGAMethod(StepMethod):
    """Steps of SAGA, one row at a time.

    Parameters
    ----------
    problem, W, b : see ``Method``
    schedule : Schedule, default=None
        A constant rate; None: by the curvature of the rows.
    coordinates : (spread, centre, curvature), default=None
        Arrays of shape (n_features,), and a bound of the second derivative of the loss; None:
        the columns as they are.
    state : dict, default=None
        What ``paused`` of an earlier method returned.
    opening : StepMethod, default=None
        Makes the first pass, on the same ``W`` and ``b``.
    """

    learns_rows = True

    cdef double[:, ::1] table              # (n_rows, K): the last slope of each row
    # parameters, and mean of the gradients in the table: (K, d) if rows are dense, else (d, K)
    cdef double[::1] w, G
    cdef double[::1] b_, G_b               # the intercepts in the coordinates of the steps
    cdef double[::1] inverse_spread, centre
    cdef bint scaled, centred
    cdef double[::1] x                     # the row at hand
    cdef double[::1] change                # of the slopes of the row at hand, times its weight
    cdef double[::1] seen                  # sparse: steps after which each feature is up to date
    cdef double eta
    cdef double[:, ::1] proximals          # one `Proximal` per feature, or one for all:
    cdef Py_ssize_t stride                 # 1, or 0; then also
    cdef double[:, ::1] known              # the `Missed` of few steps
    cdef double n_known
    cdef double[::1] decay, taken          # dense: the same, beside each other
    cdef bint shrinks_linearly             # no L1 and no signs
    # the curvature that the rate rests on, a bound of it, and the sums of the squares and of what
    # this pass has met
    cdef bint damps, measures, joint
    cdef double[::1] norms, h
    cdef double steepness, bound, met, mass
    cdef bint is_fresh                     # the table is that of W and b
    cdef StepMethod opening                # until it has made its pass

    def __init__(self, Problem problem, double[:, ::1] W, double[::1] b, schedule=None,
                 coordinates=None, state=None, opening=None):
        d, K = problem.n_features, problem.n_outputs
        spread, centre, curvature = coordinates or (np.ones(d), np.zeros(d), 1.0)
        self.inverse_spread = 1.0 / np.asarray(spread)
        self.centre = np.ascontiguousarray(centre)
        self.scaled, self.centred = np.any(spread != 1.0), np.any(centre != 0.0)
        self.x = np.empty(max(d, 1))
        self.change, self.h = np.empty((2, K))
        self.joint = type(problem.loss).joint
        self.seen = np.zeros(d)
        self.shrinks_linearly = problem.penalty.l1 == 0.0 and not problem.penalty.positive
        self.measures = self.damps = schedule is None
        schedule = Steady(1.0) if schedule is None else schedule
        super().__init__(problem, W, b, schedule, 1)
        if self.measures:
            self.find_norms()
            self.bound = self.steepness = curvature * (np.max(self.norms) or 1.0)
            self.schedule = Steady(1.0 / self.steepness)
        if problem.penalty.positive:
            np.maximum(W, 0.0, out=np.asarray(W))
        self.opening = opening
        if state:
            self.go_on_from(state)

    # -- the row at hand ---------------------------------------------------------------------

    cdef double batch_entries(self):
        return 0.0                 # of sparse rows always the entries: they are single

    cdef Py_ssize_t read(self, Py_ssize_t i) noexcept nogil:
        """Row i to ``x``, in the coordinates of the steps; how many entries it has."""
        cdef Py_ssize_t p, n = self.problem.rows.count(i)
        self.problem.rows.values(i, &self.x[0])
        if self.by_columns:
            self.problem.rows.columns(i, &self.columns[0])
            if self.scaled:
                for p in range(n):
                    self.x[p] *= self.inverse_spread[self.columns[p]]
        elif self.scaled or self.centred:
            map_row(n, &self.x[0], &self.centre[0], &self.inverse_spread[0])
        return n

    def find_norms(self):
        """The squared norms of the rows, times their weights; the constant 1 included."""
        cdef Py_ssize_t i, p, n
        self.norms = np.zeros(self.problem.n_rows)
        with nogil:
            for i in range(self.problem.n_rows):
                n = self.read(i)
                self.norms[i] = 1.0 if self.problem.fit_intercept else 0.0
                for p in range(n):
                    self.norms[i] += self.x[p] * self.x[p]
                self.norms[i] *= self.problem.weight(i) / self.problem.mean_weight

    # -- the table ---------------------------------------------------------------------------

    def advance(self, const Py_ssize_t[::1] order, Py_ssize_t start, Py_ssize_t stop):
        if self.opening is not None:
            self.open(order, start, stop)
            return
        if self.measures and self.schedule.went_too_far:
            self.is_fresh = self.measures = False
        if not self.is_fresh:
            self.begin()
        if self.schedule.rate(1.0) != self.eta:
            if self.eta > 0.0:
                self.settle()
            self.set_rate(self.schedule.rate(1.0))
        StepMethod.advance(self, order, start, stop)

    def open(self, const Py_ssize_t[::1] order, Py_ssize_t start, Py_ssize_t stop):
        """Steps of the first pass, without a table."""
        self.opening.sums = self.sums
        self.opening.loss_sum, self.opening.weight_sum = self.loss_sum, self.weight_sum
        self.opening.advance(order, start, stop)
        self.loss_sum, self.weight_sum = self.opening.loss_sum, self.opening.weight_sum
        self.t = self.opening.t

    def begin(self):
        """Fill the table with the slopes at (W, b), and map these."""
        W, b = np.asarray(self.W), np.asarray(self.b)
        z = np.empty((self.problem.n_rows, self.problem.n_outputs))
        _, g, g_b = self.problem.evaluate(W, b, z)
        self.table = self.problem.slopes(z)
        inverse, centre = np.asarray(self.inverse_spread)[:, None], np.asarray(self.centre)
        self.w = self._laid_out(W / inverse)
        self.G = self._laid_out((g - centre[:, None] * g_b) * inverse)
        self.b_, self.G_b = b + centre @ W, np.array(g_b)
        np.asarray(self.seen)[:] = self.t
        self.is_fresh = True

    def _laid_out(self, A):
        """A copy of an array of shape (d, K) as the loops want it: flat."""
        return np.array(A if self.by_columns else A.T, order="C").ravel()

    def set_rate(self, double eta):
        """What the proximal operator of a step of length ``eta`` does to each feature."""
        cdef Py_ssize_t k, d = self.problem.n_features
        cdef Missed missed
        c = np.asarray(self.inverse_spread)
        if self.problem.penalty.factors is not None:
            c = c * self.problem.penalty.factors
        weight = eta * self.problem.penalty.l2 * c**2
        decay = 1.0 / (1.0 + weight)
        self.eta, self.decay = eta, decay
        self.taken = taken = eta * self.problem.penalty.l1 * c * decay
        self.proximals = np.column_stack([decay, taken, weight, np.log1p(weight)])
        self.stride = int(d > 0 and np.ptp(c) > 0.0)
        self.n_known = 0.0 if self.stride or d == 0 else MOST_KNOWN
        self.known = np.empty((MOST_KNOWN if self.n_known else 1, 3))
        for k in range(int(self.n_known)):
            missed = missed_steps(<const Proximal*> &self.proximals[0, 0], k)
            self.known[k, 0] = missed.lost
            self.known[k, 1] = missed.span
            self.known[k, 2] = missed.toll

    # -- steps -------------------------------------------------------------------------------

    cdef void learn_rows(self, const Py_ssize_t* rows, Py_ssize_t m,
                         Py_ssize_t left) noexcept nogil:
        cdef Py_ssize_t p, n, K = self.problem.n_outputs
        cdef Sparse at
        for p in range(m):
            if self.must_stop():
                return
            self.ask_ahead(rows, p, left)
            n = self.read(rows[p])
            if self.by_columns:
                at = self.entries(n, &self.columns[0])
                self.bring_up(&at)
            self.find_change(rows[p], p, n)
            if self.must_stop():
                return
            if not self.by_columns:
                self.step_on_all()
            elif K == 1:
                step_on_entries(&at, 1)
            else:
                step_on_entries(&at, K)
            if self.problem.fit_intercept:
                self.step_intercept()
            self.t += 1.0

    cdef void bring_up(self, Sparse* at) noexcept nogil:
        """Make up for the steps that features missed."""
        if self.problem.n_outputs == 1:    # with a constant the compiler leaves out a loop
            reach(at, 1)
        else:
            reach(at, self.problem.n_outputs)

    cdef void find_change(self, Py_ssize_t i, Py_ssize_t p, Py_ssize_t n) noexcept nogil:
        """Margins and slopes of row i, the p-th of the block; the slopes go to the table."""
        cdef Py_ssize_t k, K = self.problem.n_outputs
        cdef Sparse at
        cdef double* z = &self.z[p * K]
        cdef double* d = &self.d[0]
        cdef double weight = self.s[p] / self.problem.mean_weight, steepness
        for k in range(K):
            z[k] = self.b_[k]
            if self.problem.o_data != NULL:
                z[k] += self.problem.o_data[i * K + k]
        if self.by_columns:
            at = self.entries(n, &self.columns[0])
            add_margins(&at, K, z)
        else:
            for k in range(K):
                z[k] += loops.dot(n, &self.x[0], &self.w[k * n])
        if K == 1:
            d[0] = self.problem.loss.derivative(self.y[p], z[0])
        else:
            self.problem.loss.derivatives(1, K, &self.y[p * self.problem.target_width], z, d)
        if self.damps:
            steepness = self.norms[i] * self.curvature(p)
            self.met += steepness * steepness
            self.mass += steepness
            for k in range(K):
                d[k] = self.table[i, k] + (d[k] - self.table[i, k]) / (1.0 + self.eta * steepness)
        for k in range(K):
            if not isfinite(d[k] * d[k]):
                self.loss_sum = INFINITY
            self.change[k] = weight * (d[k] - self.table[i, k])
            self.table[i, k] = d[k]

    cdef double curvature(self, Py_ssize_t p) noexcept nogil:
        """The largest second derivative of the loss of the p-th row of the block, a bound."""
        cdef Py_ssize_t k, K = self.problem.n_outputs
        cdef double largest = 0.0
        cdef double* z = &self.z[p * K]
        if K == 1:
            return self.problem.loss.curvature(self.y[p], z[0])
        self.problem.loss.curvatures(1, K, &self.y[p * self.problem.target_width], z, &self.h[0])
        for k in range(K):
            largest = fmax(largest, self.h[k])
        # softmax: diag(p) - p p' is at most twice its diagonal, by Gershgorin
        return 2.0 * largest if self.joint else largest

    def finish_pass(self):
        """The next rate: by the curvature met in this pass, at most twice this one."""
        cdef double steepness = 0.5 * self.steepness
        if self.opening is not None:
            self.opening.settle()
            self.opening = None
            return
        if self.mass > 0.0:
            steepness = fmax(SAFETY * self.met / self.mass, steepness)
        if self.measures and isfinite(steepness) and steepness > 0.0:
            self.schedule.eta *= self.steepness / steepness
            self.steepness = steepness
        self.met = self.mass = 0.0

    cdef void step_on_all(self) noexcept nogil:
        """The step of a dense row."""
        cdef Py_ssize_t k, d = self.problem.n_features
        for k in range(self.problem.n_outputs):
            if self.shrinks_linearly:
                step_linearly(d, &self.w[k * d], &self.G[k * d], &self.x[0], &self.decay[0],
                              self.eta, self.change[k], self.change[k] / self.problem.n_rows)
            else:
                step(d, &self.w[k * d], &self.G[k * d], &self.x[0], &self.decay[0],
                     &self.taken[0], self.problem.penalty.positive, self.eta, self.change[k],
                     self.change[k] / self.problem.n_rows)

    cdef Sparse entries(self, Py_ssize_t n, const Py_ssize_t* columns) noexcept nogil:
        """What the loops over the entries of a sparse row work on."""
        cdef Sparse at
        at.n, at.columns, at.x, at.change = n, columns, &self.x[0], &self.change[0]
        at.w, at.G, at.seen, at.now = &self.w[0], &self.G[0], &self.seen[0], self.t
        at.proximals, at.stride = <const Proximal*> &self.proximals[0, 0], self.stride
        at.known, at.n_known = <const Missed*> &self.known[0, 0], self.n_known
        at.eta, at.share = self.eta, 1.0 / self.problem.n_rows
        at.positive, at.linearly = self.problem.penalty.positive, self.shrinks_linearly
        return at

    cdef void step_intercept(self) noexcept nogil:
        cdef Py_ssize_t k
        for k in range(self.problem.n_outputs):
            self.b_[k] -= self.eta * (self.change[k] + self.G_b[k])
            self.G_b[k] += self.change[k] / self.problem.n_rows

    # -- between passes ----------------------------------------------------------------------

    def settle(self):
        cdef Py_ssize_t d = self.problem.n_features, K = self.problem.n_outputs
        cdef Py_ssize_t[::1] columns
        cdef Sparse at
        if self.opening is not None:
            self.opening.settle()
        if not self.is_fresh:
            return
        if self.by_columns and d > 0:
            columns = np.arange(d, dtype=np.intp)
            at = self.entries(d, &columns[0])
            self.bring_up(&at)
        W, w = np.asarray(self.W), np.asarray(self.w)
        w = w.reshape(d, K) if self.by_columns else w.reshape(K, d).T
        np.multiply(w, np.asarray(self.inverse_spread)[:, None], out=W)
        np.subtract(self.b_, np.asarray(self.centre) @ W, out=np.asarray(self.b))

    def restart(self):
        """Begin anew from W and b, with a table of their slopes and a rate by the bound."""
        self.is_fresh, self.steepness, self.opening = False, self.bound, None

    def state(self):
        return {"t": self.t}

    def paused(self):
        self.settle()              # all features are up to date after ``t`` steps
        state = {"t": self.t, "steepness": self.steepness, "measures": self.measures}
        if self.is_fresh:
            state.update(eta=self.eta, table=np.array(self.table), w=np.array(self.w),
                         G=np.array(self.G), b=np.array(self.b_), G_b=np.array(self.G_b))
        return state

    def go_on_from(self, state):
        """Be what ``paused`` has told of."""
        self.t, self.steepness, self.measures = state["t"], state["steepness"], state["measures"]
        self.is_fresh = "table" in state
        if not self.is_fresh:
            return
        self.table, self.w, self.G, self.b_, self.G_b = (
            np.array(state[name]) for name in ("table", "w", "G", "b", "G_b"))
        np.asarray(self.seen)[:] = self.t
        self.set_rate(state["eta"])

    def facts(self):
        """What ``partial_fit`` needs to know of the data seen: ``stream.FitFacts``, as a dict."""
        z = self.problem.margins(self.W, self.b)
        mean_loss = self.problem.line(z, np.zeros_like(z), 0.0)[0]
        return facts_of(self.problem, self.problem.moments(), mean_loss)


cdef void map_row(Py_ssize_t n, double* x, const double* centre,
                  const double* inverse) noexcept nogil:
    cdef Py_ssize_t j
    for j in range(n):
        x[j] = (x[j] - centre[j]) * inverse[j]


cdef void step_linearly(Py_ssize_t n, double* w, double* G, const double* x, const double* decay,
                        double eta, double change, double share) noexcept nogil:
    cdef Py_ssize_t j
    for j in range(n):
        w[j] = (w[j] - eta * (change * x[j] + G[j])) * decay[j]
        G[j] += share * x[j]


cdef void step(Py_ssize_t n, double* w, double* G, const double* x, const double* decay,
               const double* taken, bint positive, double eta, double change,
               double share) noexcept nogil:
    cdef Py_ssize_t j
    for j in range(n):
        w[j] = toward_zero(w[j] - eta * (change * x[j] + G[j]), decay[j], taken[j], positive)
        G[j] += share * x[j]
