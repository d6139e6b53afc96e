"""What every method has in common, and the base of the public optimizer objects.

A ``Method`` is compiled and short-lived: it works in place on the arrays of an estimator and can
be rebuilt from them. An ``Optimizer`` is its public face: hyperparameters and a docstring, no
state. Each stands beside its method, in the same file.
"""

from libc.math cimport NAN, fabs

from contextlib import nullcontext
from typing import NamedTuple

import numpy as np
from sklearn.base import BaseEstimator

from sgdest._core.penalties cimport Penalty


cdef class Method:
    """Abstract: minimises ``problem`` by changing ``W`` and ``b`` in place.

    Methods that walk over rows implement ``walk`` (see ``advance``); methods that see all rows at
    one point implement ``iterate``. No method prints or decides when to stop: ``train`` does.
    """

    def __init__(self, Problem problem, double[:, ::1] W, double[::1] b):
        self.W, self.b = W, b
        apart = problem.n_outputs > 1 and not type(problem.loss).joint
        self.sums, self.penalties = np.zeros((2, problem.n_outputs if apart else 0))
        self.bind(problem)

    def bind(self, Problem problem):
        """Go on with another problem of the same columns and outputs, as ``partial_fit`` does."""
        if (problem.n_features, problem.n_outputs) != (self.W.shape[0], self.W.shape[1]):
            raise ValueError("the problem and the parameters differ in their shapes")
        if self.b.shape[0] != self.W.shape[1]:
            raise ValueError("W and b differ in their number of outputs")
        self.problem = problem

    cdef void walk(self, const Py_ssize_t* order, Py_ssize_t start,
                   Py_ssize_t stop) noexcept nogil:
        return

    cdef void take_part(self, Py_ssize_t part) noexcept nogil:
        return

    def helped(self):
        """A context for ``advance``, in which other threads may help; the results are the same."""
        return nullcontext()

    def advance(self, const Py_ssize_t[::1] order, Py_ssize_t start, Py_ssize_t stop):
        """Learn from the rows ``order[start:stop]``, without the interpreter's lock."""
        if not 0 <= start <= stop <= order.shape[0]:
            raise ValueError("start and stop must lie within the order")
        if start < stop:
            with nogil:
                self.walk(&order[0], start, stop)

    def seam(self, Py_ssize_t stop):
        """The last place up to ``stop`` where a pass can be cut and all sums stay as they are."""
        return stop

    def finish_pass(self):
        """Called after the last row of a pass, where a method may complete a batch."""

    def drop_batch(self):
        """Forget the rows of a batch that will not be completed."""

    def settle(self):
        """Bring ``W`` and ``b`` up to date with all steps so far."""

    def parameters(self):
        """(W, b), the arrays that the method works on."""
        return np.asarray(self.W), np.asarray(self.b)

    def state(self):
        """Named arrays (and numbers) from which the method can be rebuilt, ``t`` included."""
        return {"t": self.t}

    def paused(self):
        """From which a fit goes on bit for bit after a pass: its state, and more where needed."""
        return {name: np.array(value) for name, value in self.state().items()}

    def is_finite(self):
        """Whether all parameters are."""
        cdef Py_ssize_t j, k
        cdef double zero = 0.0             # times a number that is not finite: NaN
        for k in range(self.b.shape[0]):
            zero += 0.0 * self.b[k]
        for j in range(self.W.shape[0]):
            for k in range(self.W.shape[1]):
                zero += 0.0 * self.W[j, k]
        return zero == 0.0

    def restart_sums(self):
        """Begin the sums of a pass anew."""
        self.loss_sum = self.weight_sum = 0.0
        self.sums[:] = 0.0

    @property
    def mean_loss(self):
        """Mean loss over the current pass, each row before its update; NaN before any row."""
        return self.loss_sum / self.weight_sum if self.weight_sum else np.nan

    @property
    def output_losses(self):
        """The mean loss of each output, likewise; None where they have no losses of their own."""
        if self.sums.shape[0] == 0:
            return None
        return np.asarray(self.sums) / (self.weight_sum or np.nan)

    @property
    def output_objectives(self):
        """The same plus the penalty of each output now, as a list; None likewise."""
        cdef Py_ssize_t j, k, K = self.sums.shape[0]
        cdef Penalty penalty = self.problem.penalty
        cdef double w, c = 1.0
        if K == 0:
            return None
        self.penalties[:] = 0.0
        for j in range(self.W.shape[0]):
            if penalty.c != NULL:
                c = penalty.c[j]
            for k in range(K):
                w = c * fabs(self.W[j, k])
                self.penalties[k] += (penalty.l1 + 0.5 * penalty.l2 * w) * w
        mass = self.weight_sum or NAN
        return [self.sums[k] / mass + self.penalties[k] for k in range(K)]


class Facts(NamedTuple):
    """What "auto" knows of the data, in the coordinates of the steps.

    Attributes
    ----------
    curvature : float
        Bound of the curvature of the loss of a batch.
    batch_size : int
        Rows per step.
    steps_per_pass : int
    is_whole : bool
        A batch is the whole set: its gradient has no noise.
    target_scale : float
        How far raw predictions spread.
    reach : float
        How far a step of one in every coordinate moves the prediction of a row, if all agree.
    is_stream : bool
        Rows come once, in calls of any size, and no trials correct the rate.
    """

    curvature: float
    batch_size: int
    steps_per_pass: int
    is_whole: bool
    target_scale: float
    reach: float
    is_stream: bool


class Optimizer(BaseEstimator):
    """Base of the public optimizer objects: hyperparameters only, never state.

    Attributes
    ----------
    name : str
        How estimators call it, for example ``optimizer="lbfgs"``.
    kind : {"step", "stream", "solver"}
        "step" objects take a learning rate, a batch size and averaging; "stream" objects learn
        row by row with rates of their own; "solver" objects see all rows at once.
    default_batch_size : int
        Rows per step of a step object where ``batch_size="auto"``.
    rounds_kinks : bool
        Whether a solver object takes piecewise-linear losses.
    """

    name = None
    kind = None
    default_batch_size = 256

    @staticmethod
    def expected_seconds(problem):
        """About how long a solver takes; infinite where ``optimizer="auto"`` should not take it."""
        return np.inf
    rounds_kinks = True
