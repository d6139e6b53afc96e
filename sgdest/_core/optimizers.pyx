"""The step methods, each beside the public object that holds its hyperparameters.

A step method learns from one batch of rows at a time: the mean gradient of the batch, a step of
length ``eta`` along it, and the penalty for the same length. The gradient of a batch B is

    sum_B s_i g_i / (|B| s_mean),

with ``s_mean`` the mean weight of a row (``Problem.mean_weight``).
"""

cimport cython
from libc.math cimport INFINITY, fabs, isfinite

import numpy as np

from sgdest._core.method cimport Method
from sgdest._core.problem cimport Problem
from sgdest._core.schedules cimport Schedule
from sgdest._core.shrinkage cimport Shrinkage

from sgdest._core.method import Optimizer
from sgdest._core.schedules import Harmonic
from sgdest._core.shrinkage import shrinkage


# -- SGD -------------------------------------------------------------------------------------


class SGD(Optimizer):
    """Stochastic gradient descent: ``w -= eta g``, on batches of any size.

    With ``batch_size=1`` it is stochastic descent, with ``batch_size=None`` batch descent. After
    each step the penalty shrinks the coefficients for the same length ``eta``, so that L1 gives
    exact zeros; on sparse rows that is done lazily and exactly.

    Parameters
    ----------
    learning_rate : "auto", float > 0, name of a schedule, or callable, default="auto"
        The rate ``eta``. "auto" takes it from the data; a name is one of scikit-learn's
        ("constant", "optimal", "invscaling", "adaptive", "pa1", "pa2") and takes ``eta0`` and
        ``power_t`` from the estimator; a callable maps the number of the update, t = 1, 2, ..,
        to a rate. An estimator's own ``learning_rate`` must be "auto" if this one is not.

    References
    ----------
    .. [1] L. Bottou, "Stochastic gradient descent tricks", 2012.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.preprocessing import scale
    >>> from sgdest import GDClassifier
    >>> from sgdest.optimizers import SGD
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> model = GDClassifier(optimizer=SGD(0.01), max_iter=20, tol=None, random_state=0)
    >>> model.fit(scale(X), y).n_iter_
    20
    """

    name = "sgd"
    kind = "step"

    def __init__(self, learning_rate="auto"):
        self.learning_rate = learning_rate

    def method(self, problem, W, b, *, schedule, batch_size=1, average=0, state=None):
        """The compiled method, at work on ``W`` and ``b``; see ``SGDMethod``."""
        return SGDMethod(problem, W, b, schedule, batch_size, average, state)


@cython.final
cdef class SGDMethod(Method):
    """Steps of plain gradient descent.

    Parameters
    ----------
    problem, W, b : see ``Method``
    schedule : Schedule
    batch_size : int >= 0
        Rows per step; 0 means all rows of a pass.
    average : int >= 0
        First update whose result enters the average; 0 means no average.
    state : dict, default=None
        What ``state()`` of an earlier method returned.
    """

    cdef readonly Schedule schedule
    cdef Shrinkage shrinkage
    cdef Py_ssize_t batch_size
    cdef Py_ssize_t average
    cdef double[::1] b_total               # sum of the averaged intercepts
    cdef double n_averaged
    # the batch under way: its gradient, its rows, the features it has touched
    cdef double[:, ::1] g
    cdef double[::1] g_b
    cdef Py_ssize_t in_batch
    cdef Py_ssize_t n_touched
    cdef Py_ssize_t[::1] touched
    cdef Py_ssize_t[::1] stamp             # number of the batch that touched a feature last
    cdef Py_ssize_t[::1] columns
    cdef double[::1] y, z, d
    cdef bint by_columns                   # rows are sparse, or features wait to be shrunk

    def __init__(self, Problem problem, double[:, ::1] W, double[::1] b, Schedule schedule,
                 Py_ssize_t batch_size=1, Py_ssize_t average=0, state=None):
        self.schedule, self.batch_size, self.average = schedule, batch_size, average
        state = state or {}
        super().__init__(problem, W, b)
        K = problem.n_outputs
        total = state.get("average_coef")
        self.shrinkage = shrinkage(
            problem.penalty, W, problem.rows.is_sparse, problem.n_features, average > 0,
            None if total is None else np.array(total))
        self.t = float(state.get("t", 0.0))
        self.n_averaged = float(state.get("n_averaged", 0.0))
        self.b_total = np.array(state.get("average_intercept", np.zeros(K)))
        self.g_b, self.z, self.d = np.zeros((3, K))
        self.y = np.empty(problem.target_width)
        if batch_size != 1:
            self.g = np.zeros((problem.n_features, K))
            self.touched = np.empty(problem.n_features, dtype=np.intp)
            self.stamp = np.full(problem.n_features, -1, dtype=np.intp)

    def bind(self, Problem problem):
        Method.bind(self, problem)
        self.columns = np.empty(problem.rows.largest_count() + 1, dtype=np.intp)
        self.by_columns = problem.rows.is_sparse or (
            self.shrinkage is not None and self.shrinkage.by_columns)

    cdef void walk(self, const Py_ssize_t* order, Py_ssize_t start,
                   Py_ssize_t stop) noexcept nogil:
        cdef Py_ssize_t p, n = self.problem.n_rows
        cdef Py_ssize_t ahead = self.problem.rows_ahead()
        cdef Py_ssize_t size = self.batch_size if self.batch_size > 0 else n
        for p in range(start, stop):
            if not isfinite(self.loss_sum):
                return  # see ``slope``
            if p + ahead < stop:
                self.problem.prefetch(order[p + ahead], order[min(p + 2 * ahead, stop - 1)])
            if size == 1:
                self.learn_row(order[p])
            else:
                self.add_row(order[p])
                if self.in_batch == size:
                    self.learn_batch()
            if self.schedule.failed:
                return

    cdef inline void slope(self, Py_ssize_t i) noexcept nogil:
        """d = s / s_mean * slope of the loss at row i; adds to the sums of the pass.

        Where the loss or a slope is not finite, d is 0 and the pass ends there.
        """
        cdef Py_ssize_t k, K = self.problem.n_outputs
        cdef double s = self.problem.weight(i), value, total = 0.0
        self.problem.target(i, &self.y[0])
        self.problem.raw_scaled(i, self.shrinkage.w, self.shrinkage.scale, &self.b[0], &self.z[0])
        if K == 1:
            value = s * self.problem.loss.value(self.y[0], self.z[0])
            self.d[0] = self.problem.loss.derivative(self.y[0], self.z[0])
        else:
            value = self.problem.loss.values(1, K, &self.y[0], &self.z[0], &s)
            self.problem.loss.derivatives(1, K, &self.y[0], &self.z[0], &self.d[0])
        if self.schedule.needs_row:
            self.scale_to_row_rate(i)
        self.loss_sum += value
        self.weight_sum += s
        for k in range(K):
            self.d[k] *= s / self.problem.mean_weight
            total += fabs(self.d[k])
        if not isfinite(value + total):
            self.loss_sum = INFINITY
            for k in range(K):
                self.d[k] = 0.0

    cdef void scale_to_row_rate(self, Py_ssize_t i) noexcept nogil:
        # the formulas are for losses of slope 1; with several outputs each has its own loss
        cdef Py_ssize_t k
        cdef double value, square_norm = self.problem.rows.square_norm(i)
        for k in range(self.problem.n_outputs):
            value = self.problem.loss.value(self.y[k], self.z[k])
            if self.d[k] != 0.0:
                self.d[k] *= self.schedule.at_row(value, square_norm) / fabs(self.d[k])

    cdef inline double rate(self) noexcept nogil:
        """The rate of the next update; 1 where the slopes hold it already."""
        return 1.0 if self.schedule.needs_row else self.schedule.at(self.t + 1.0)

    cdef void learn_row(self, Py_ssize_t i) noexcept nogil:
        """One step on one row, without a gradient in between: its slope times the row."""
        cdef Py_ssize_t k, n, K = self.problem.n_outputs
        cdef double eta
        if self.shrinkage.by_columns:
            n = self.problem.rows.count(i)
            self.problem.rows.columns(i, &self.columns[0])
            self.shrinkage.reach(n, &self.columns[0])
        self.slope(i)
        eta = self.rate()
        if self.schedule.failed:
            return
        for k in range(K):
            if self.problem.fit_intercept:
                self.b[k] -= eta * self.d[k]
            self.d[k] *= -eta / self.shrinkage.scale
        if K == 1:
            if self.d[0] != 0.0:
                self.problem.rows.add(i, self.d[0], self.shrinkage.w)
        else:
            self.problem.rows.adds(i, K, &self.d[0], self.shrinkage.w)
        self.complete(self.schedule.at(self.t + 1.0) if self.schedule.needs_row else eta)

    cdef void add_row(self, Py_ssize_t i) noexcept nogil:
        """Add a row to the gradient of the batch under way."""
        cdef Py_ssize_t k, K = self.problem.n_outputs
        if self.by_columns:
            self.touch(i)
        self.slope(i)
        for k in range(K):
            self.g_b[k] += self.d[k]
        if K == 1:
            self.problem.rows.add(i, self.d[0], &self.g[0, 0])
        else:
            self.problem.rows.adds(i, K, &self.d[0], &self.g[0, 0])
        self.in_batch += 1

    cdef void touch(self, Py_ssize_t i) noexcept nogil:
        """Note the features of row i that the batch has not touched yet, and bring them up."""
        cdef Py_ssize_t p, j, before = self.n_touched, n = self.problem.rows.count(i)
        cdef Py_ssize_t batch = <Py_ssize_t> self.t
        self.problem.rows.columns(i, &self.columns[0])
        for p in range(n):
            j = self.columns[p]
            if self.stamp[j] != batch:
                self.stamp[j] = batch
                self.touched[self.n_touched] = j
                self.n_touched += 1
        self.shrinkage.reach(self.n_touched - before, &self.touched[before])

    cdef void learn_batch(self) noexcept nogil:
        """The step of a complete batch."""
        cdef Py_ssize_t j, k, p, K = self.problem.n_outputs
        cdef double eta = self.rate(), step = eta / (self.in_batch * self.shrinkage.scale)
        if self.schedule.failed:
            return
        for k in range(K):
            if self.problem.fit_intercept:
                self.b[k] -= eta / self.in_batch * self.g_b[k]
            self.g_b[k] = 0.0
        if self.by_columns:
            for p in range(self.n_touched):
                j = self.touched[p]
                for k in range(K):
                    self.W[j, k] -= step * self.g[j, k]
                    self.g[j, k] = 0.0
        else:
            descend(self.problem.n_features * K, step, &self.g[0, 0], self.shrinkage.w)
        self.in_batch = self.n_touched = 0
        self.complete(eta)

    cdef void complete(self, double length) noexcept nogil:
        """What follows every step: the penalty, the count, the average."""
        cdef Py_ssize_t k
        self.t += 1.0
        if self.average > 0 and self.t >= self.average:
            if self.n_averaged == 0.0:
                self.shrinkage.start_average()
            self.shrinkage.passed(length)
            self.n_averaged += 1.0
            for k in range(self.problem.n_outputs):
                self.b_total[k] += self.b[k]
        else:
            self.shrinkage.passed(length)

    def finish_pass(self):
        if self.in_batch > 0:
            self.learn_batch()

    def prepare(self):
        """Raise now what the schedule would raise at an update of the coming pass."""
        n, size = self.problem.n_rows, self.batch_size or self.problem.n_rows
        self.schedule.prepare(self.t, -(-n // max(size, 1)))

    def drop_batch(self):
        """Forget the rows of a batch that will not be completed."""
        if self.in_batch > 0:
            self.g[:] = 0.0
            self.g_b[:] = 0.0
            self.stamp[:] = -1
            self.in_batch = self.n_touched = 0

    def mark(self):
        """Copies of everything that a pass changes, for ``go_back``; no bit is changed."""
        return (self.shrinkage.mark(), np.array(self.b), self.t, self.n_averaged,
                np.array(self.b_total))

    def go_back(self, mark):
        """Return to a mark."""
        self.drop_batch()
        self.shrinkage.go_back(mark[0])
        np.copyto(np.asarray(self.b), mark[1])
        self.t, self.n_averaged = mark[2:4]
        np.copyto(np.asarray(self.b_total), mark[4])
        if self.batch_size != 1:
            self.stamp[:] = -1  # the numbers of the batches will come again

    def settle(self):
        self.shrinkage.settle()

    def averages(self):
        """(W, b) averaged over the updates so far, or None before the first that counts.

        A coefficient that is zero in the last iterate is zero in the average: sparsity is kept.
        """
        if not self.n_averaged:
            return None
        self.settle()
        W = np.asarray(self.shrinkage.average_sum()) / self.n_averaged
        W = np.where(np.asarray(self.W) == 0.0, 0.0, W)
        return W, np.asarray(self.b_total) / self.n_averaged

    def state(self):
        self.settle()
        state = {"t": self.t}
        if self.schedule.state() is not None:
            state["rate"] = np.array(self.schedule.state())
        if self.average:
            state.update(n_averaged=self.n_averaged, average_intercept=np.asarray(self.b_total))
            state["average_coef"] = self.shrinkage.average_sum()
        return state


cdef void descend(Py_ssize_t n, double step, double* g, double* w) noexcept nogil:
    """w -= step g; g = 0."""
    cdef Py_ssize_t j
    for j in range(n):
        w[j] -= step * g[j]
        g[j] = 0.0


def automatic_schedule(Problem problem, Py_ssize_t batch_size):
    """The rate that "auto" means, from the data: constant for batch descent, else falling.

    The curvature of the loss along a row is at most c (|x|^2 + 1), c the bound of its second
    derivative (1 where it has none): one over its weighted mean is a rate that descends.
    Gradients of single rows do not vanish at the minimum, so their rate falls as t^-3/4 from the
    first epochs on, which still reaches any distance. A divergence halves it
    (``Harmonic.lower``).
    """
    cdef Py_ssize_t i, step = max(1, problem.n_rows // 10_000)
    cdef double norm = 0.0, weight = 0.0, size
    for i from 0 <= i < problem.n_rows by step:
        norm += problem.weight(i) * problem.rows.square_norm(i)
        weight += problem.weight(i)
    bound = type(problem.loss).curvature_bound
    curvature = bound if np.isfinite(bound) else 1.0
    norm = norm / weight if weight > 0.0 else 0.0
    eta0 = 1.0 / (curvature * (norm + problem.fit_intercept) + problem.penalty.l2)
    if batch_size == 0 or batch_size >= problem.n_rows:
        return Harmonic(eta0, 1.0, 0.0)
    size = <double> problem.n_rows / batch_size
    return Harmonic(eta0, size, 0.75)


#: every step method a user can name
STEP_OPTIMIZERS = {cls.name: cls for cls in Optimizer.__subclasses__() if cls.kind == "step"}
