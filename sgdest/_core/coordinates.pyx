"""CoordinateMethod: steps whose every coordinate has a rate and a memory of its own.

An optimizer is a section of a file: its parameters, and ``step`` on n coordinates that stand beside
each other, with their gradient and their slots. It reports by which length each coordinate has
moved along its gradient; the penalty then shrinks the coordinate for the same length, so that the
steps end at the minimum of loss and penalty together, and L1 gives exact zeros.

On sparse rows only the features of the batch are stepped. What the others miss (their momentum,
the decay of their memory, the penalty) is made up by ``rest`` when they are next read.

With ``centre`` and ``spread`` the steps are made in the coordinates (x - centre) / spread, in which
columns of any scale and offset look alike; parameters, gradients and penalty stay those of the data.
"""

from libc.math cimport fmin, sqrt

import numpy as np

from sgdest._core.problem cimport Problem
from sgdest._core.schedules cimport Schedule
from sgdest._core.step cimport StepMethod

# Features that ``settle`` brings up to date at once.
cdef Py_ssize_t SETTLED_AT_ONCE = 256
# Coordinates that are stepped and shrunk at once: their arrays take 100 kB of the second-level cache.
cdef Py_ssize_t STEPPED_AT_ONCE = 2048


def powers(double base):
    """What ``power`` looks up."""
    return base ** np.arange(N_POWERS, dtype=np.float64)


cdef class CoordinateMethod(StepMethod):
    """Abstract. See ``coordinates.pxd`` for what each method promises.

    Parameters
    ----------
    problem, W, b, schedule, batch_size : see ``StepMethod``
    average : int >= 0
        First update whose result enters the average; 0 means no average.
    state : dict, default=None
        What ``state()`` of an earlier method returned; "centre" and "spread", arrays of shape
        (n_features,), may be given alone.
    clip_norm : float > 0, default=None
        Longest gradient; a longer one is shortened to this.
    """

    #: names of the arrays that are kept per coordinate
    slot_names = ()

    def __init__(self, Problem problem, double[:, ::1] W, double[::1] b, Schedule schedule,
                 Py_ssize_t batch_size=1, Py_ssize_t average=0, state=None, clip_norm=None):
        cdef Py_ssize_t d = problem.n_features, K = problem.n_outputs, n = len(self.slot_names)
        self.average = average
        self.clip_norm = 0.0 if clip_norm is None else clip_norm
        self.seen = None       # `bind` comes first
        super().__init__(problem, W, b, schedule, batch_size)
        self.slots, self.slots_b = np.zeros((n, d * K + 1)), np.zeros((n, K))
        self.seen, self.seen_path = np.zeros((2, d))
        self.total, self.b_total = np.zeros((d, K)), np.zeros(K)
        self.spread, self.centre = np.ones(d), np.zeros(d)
        shape = d * K + 1
        self.w_room, self.g_room, self.length, self.c_room = np.empty((4, shape))
        self.missed, self.path_room = np.empty((2, shape))
        self.slots_room = np.empty((n, shape if self.by_columns else 1))
        self.length_b, self.no_penalty = np.empty(K), np.zeros(K)
        self._restore(state or {})

    def bind(self, Problem problem):
        waited = self.by_columns
        StepMethod.bind(self, problem)
        if self.average > 0:
            self.by_columns = False        # every iterate counts, at every coordinate
        if self.seen is not None and self.by_columns != waited:
            self._change_pace(waited)

    def _change_pace(self, bint waited):
        """Between steps of the features of a batch, up to now if ``waited``, and steps of all."""
        if waited:
            self.by_columns = True
            self.settle()
            self.by_columns = False
            return
        self.seen[:], self.seen_path[:] = self.n_steps, self.path
        self.slots_room = np.empty((self.slots.shape[0], self.slots.shape[1]))

    def _restore(self, state):
        """Take the arrays of an earlier ``state()``."""
        self.t = float(state.get("t", 0.0))
        self.n_steps = float(state.get("n_steps", 0.0))
        if self.average and "average_coef" in state:
            self.n_averaged = float(state["n_averaged"])
            self.total = np.array(state["average_coef"])
            self.b_total = np.array(state["average_intercept"])
        for slot, slot_b, name in zip(np.asarray(self.slots), np.asarray(self.slots_b),
                                      self.slot_names):
            if name in state:
                slot[:slot.size - 1] = np.ravel(state[name])
                slot_b[:] = state[name + "_intercept"]
        if "spread" in state:
            self.spread, self.scaled = np.array(state["spread"]), True
        self.inverse_spread = 1.0 / np.asarray(self.spread)
        if "centre" in state:
            self.centre, self.centred = np.array(state["centre"]), True

    # -- what each optimizer says ------------------------------------------------------------

    cdef void step(self, Coordinates* at, double eta) noexcept nogil:
        return

    cdef void rest(self, Coordinates* at) noexcept nogil:
        return

    # -- coordinates beside each other -------------------------------------------------------

    cdef void gather(self, Py_ssize_t n, const Py_ssize_t* columns, bint gradient,
                     Coordinates* at) noexcept nogil:
        """Features (all, if ``columns`` is NULL) of all outputs, in the coordinates of the step."""
        cdef Py_ssize_t p, j, k, q, i = 0, K = self.problem.n_outputs
        cdef const double* factors = self.problem.penalty.c
        cdef double spread, inverse
        if self.in_place(columns):
            at.n, at.w, at.g, at.length = n, &self.W[0, 0], &self.g[0, 0], &self.length[0]
            at.c, at.slots, at.stride = factors, NULL, self.slots.shape[1]
            if self.slots.shape[0] > 0:
                at.slots = &self.slots[0, 0]
            return
        for p in range(n):
            j = p if columns == NULL else columns[p]
            spread, inverse = self.spread[j], self.inverse_spread[j]
            for k in range(K):
                self.w_room[i] = self.W[j, k] * spread
                if gradient:
                    self.g_room[i] = ((self.g[k, j] if self.turns else self.g[j, k])
                                      - self.centre[j] * self.g_b[k]) * inverse
                self.c_room[i] = (1.0 if factors == NULL else factors[j]) * inverse
                i += 1
        at.n = n * K
        at.w, at.g, at.length = &self.w_room[0], &self.g_room[0], &self.length[0]
        at.c = &self.c_room[0] if self.scaled or factors != NULL else NULL
        at.slots = NULL
        if self.slots.shape[0] == 0:
            return
        if columns == NULL:
            at.slots, at.stride = &self.slots[0, 0], self.slots.shape[1]
            return
        at.slots, at.stride = &self.slots_room[0, 0], self.slots_room.shape[1]
        for q in range(self.slots.shape[0]):
            for p in range(n):
                for k in range(K):
                    self.slots_room[q, p * K + k] = self.slots[q, columns[p] * K + k]

    cdef bint in_place(self, const Py_ssize_t* columns) noexcept nogil:
        """Whether the coordinates of the step are those of the data, and stand side by side."""
        return (columns == NULL and self.problem.n_outputs == 1 and not self.scaled
                and not self.centred)

    cdef void scatter(self, Py_ssize_t n, const Py_ssize_t* columns,
                      Coordinates* at) noexcept nogil:
        """Put back what ``gather`` took."""
        cdef Py_ssize_t p, j, k, q, i = 0, K = self.problem.n_outputs
        if self.in_place(columns):
            return
        for p in range(n):
            j = p if columns == NULL else columns[p]
            for k in range(K):
                self.W[j, k] = self.w_room[i] * self.inverse_spread[j]
                i += 1
        if columns == NULL:
            return
        for q in range(self.slots.shape[0]):
            for p in range(n):
                for k in range(K):
                    self.slots[q, columns[p] * K + k] = self.slots_room[q, p * K + k]

    cdef void shrink(self, Coordinates* at) noexcept nogil:
        self.problem.penalty.shrink_each(at.n, 1, at.w, at.length, at.c)

    # -- steps that had no gradient ----------------------------------------------------------

    cdef void reach(self, Py_ssize_t n, const Py_ssize_t* columns) noexcept nogil:
        cdef Py_ssize_t p, k, i = 0, K = self.problem.n_outputs
        cdef Coordinates at
        for p in range(n):
            if self.seen[columns[p]] < self.n_steps:
                break
        else:
            return
        self.gather(n, columns, False, &at)
        for p in range(n):
            for k in range(K):
                self.missed[i] = self.n_steps - self.seen[columns[p]]
                self.path_room[i] = self.path - self.seen_path[columns[p]]
                self.length[i] = 0.0
                i += 1
            self.seen[columns[p]], self.seen_path[columns[p]] = self.n_steps, self.path
        at.missed, at.path = &self.missed[0], &self.path_room[0]
        self.rest(&at)
        self.shrink(&at)
        self.scatter(n, columns, &at)

    def settle(self):
        cdef Py_ssize_t j, first, n, d = self.problem.n_features
        cdef Py_ssize_t[256] columns       # SETTLED_AT_ONCE
        if self.seen is None or not self.by_columns:
            return
        for first from 0 <= first < d by SETTLED_AT_ONCE:
            n = min(SETTLED_AT_ONCE, d - first)
            for j in range(n):
                columns[j] = first + j
            self.reach(n, columns)

    # -- steps -------------------------------------------------------------------------------

    cdef void learn_batch(self) noexcept nogil:
        cdef double eta = self.schedule.at(self.t + 1.0)
        cdef Py_ssize_t p, j, n = self.problem.n_features
        cdef const Py_ssize_t* columns = NULL
        cdef Coordinates at
        if self.schedule.failed:
            return
        if self.by_columns:
            n, columns = self.n_touched, &self.touched[0]
        self.normalise()
        self.t += 1.0
        self.n_steps += 1.0
        self.move_intercept(1.0)
        self.gather(n, columns, True, &at)
        self.step_in_parts(at, eta)
        self.scatter(n, columns, &at)
        if self.problem.fit_intercept:
            self.step_intercept(eta)
        self.move_intercept(-1.0)
        self.path += eta
        if self.by_columns:
            for p in range(n):
                j = columns[p]
                self.seen[j], self.seen_path[j] = self.n_steps, self.path
        if self.average > 0 and self.t >= self.average:
            self.accumulate()

    cdef void step_in_parts(self, Coordinates at, double eta) noexcept nogil:
        """Step and shrink coordinates, so many at a time that the cache holds them in between."""
        cdef Py_ssize_t n, left = at.n
        while left > 0:
            n = at.n = min(left, STEPPED_AT_ONCE)
            self.step(&at, eta)
            self.shrink(&at)
            at.w, at.g, at.length = at.w + n, at.g + n, at.length + n
            at.slots = at.slots + n if at.slots != NULL else NULL
            at.c = at.c + n if at.c != NULL else NULL
            left -= n

    cdef void normalise(self) noexcept nogil:
        """Make the sum over the batch its mean, no longer than ``clip_norm``."""
        cdef Py_ssize_t p, j, k, K = self.problem.n_outputs, d = self.problem.n_features
        cdef Py_ssize_t n = self.n_touched if self.by_columns else self.g.shape[0]
        cdef double factor = 1.0 / self.in_batch, square = 0.0
        cdef double* g = &self.g[0, 0]
        if self.clip_norm > 0.0:
            for p in range(n):
                j = self.touched[p] if self.by_columns else p
                for k in range(self.g.shape[1]):
                    square += self.g[j, k] * self.g[j, k]
            if self.problem.fit_intercept:
                for k in range(K):
                    square += self.g_b[k] * self.g_b[k]
            # as torch.nn.utils.clip_grad_norm_ does
            factor *= fmin(1.0, self.clip_norm / (sqrt(square) * factor + 1e-6))
        if self.by_columns:
            for p in range(n):
                for k in range(K):
                    self.g[self.touched[p], k] *= factor
        else:
            for p in range(d * K):
                g[p] *= factor
        for k in range(K):
            self.g_b[k] *= factor

    cdef void step_intercept(self, double eta) noexcept nogil:
        """The same step of coordinates that have no penalty."""
        cdef Coordinates at
        at.n, at.w, at.g = self.problem.n_outputs, &self.b[0], &self.g_b[0]
        at.length, at.c = &self.length_b[0], &self.no_penalty[0]
        at.slots, at.stride = NULL, self.slots_b.shape[1]
        if self.slots_b.shape[0] > 0:
            at.slots = &self.slots_b[0, 0]
        self.step(&at, eta)

    cdef void move_intercept(self, double sign) noexcept nogil:
        """The intercept of centred columns is b + centre W; to it (1), or back (-1)."""
        cdef Py_ssize_t j, k
        if self.centred:
            for j in range(self.problem.n_features):
                for k in range(self.problem.n_outputs):
                    self.b[k] += sign * self.centre[j] * self.W[j, k]

    cdef void accumulate(self) noexcept nogil:
        cdef Py_ssize_t j, k
        self.n_averaged += 1.0
        for k in range(self.problem.n_outputs):
            self.b_total[k] += self.b[k]
        for j in range(self.problem.n_features):
            for k in range(self.problem.n_outputs):
                self.total[j, k] += self.W[j, k]

    def point(self):
        """(parameters, gradient of the batch under way), in the coordinates of the steps."""
        self.settle()
        W, b = self.parameters()
        g, g_b = np.asarray(self.g) / self.in_batch, np.asarray(self.g_b) / self.in_batch
        g = g.T if self.turns else g
        centre, spread = np.asarray(self.centre)[:, None], np.asarray(self.spread)[:, None]
        return (np.vstack([W * spread, b + centre.T @ W]),
                np.vstack([(g - centre * g_b) / spread, g_b]))

    def go_to(self, x, gradient):
        """Return to an earlier ``point``; the batch is as it was there."""
        W, b = self.parameters()
        g, g_b = np.asarray(self.g), np.asarray(self.g_b)
        centre, spread = np.asarray(self.centre)[:, None], np.asarray(self.spread)[:, None]
        W[:] = x[:W.shape[0]] / spread
        b[:] = x[x.shape[0] - 1] - (centre.T @ W)[0]
        g_b[:] = gradient[gradient.shape[0] - 1] * self.in_batch
        slopes = gradient[:W.shape[0]] * spread * self.in_batch + centre * g_b
        g[:] = slopes.T if self.turns else slopes

    def take(self, gradient):
        """One step along a gradient in ``W`` that was made elsewhere."""
        np.copyto(np.asarray(self.g), gradient)
        self.in_batch = 1
        self.learn_batch()
        self.clear_batch()

    # -- between passes ----------------------------------------------------------------------

    def _changing(self):
        """The arrays that a pass changes."""
        return [np.asarray(self.W), np.asarray(self.b), np.asarray(self.slots),
                np.asarray(self.slots_b), np.asarray(self.seen), np.asarray(self.seen_path),
                np.asarray(self.total), np.asarray(self.b_total)]

    def mark(self):
        """Copies of everything that a pass changes, for ``go_back``; no bit is changed."""
        return ([a.copy() for a in self._changing()],
                (self.t, self.n_steps, self.path, self.n_averaged))

    def go_back(self, mark):
        """Return to a mark."""
        self.drop_batch()
        for array, past in zip(self._changing(), mark[0]):
            np.copyto(array, past)
        self.t, self.n_steps, self.path, self.n_averaged = mark[1]
        self.stamp[:] = -1  # the numbers of the batches will come again

    def restart(self):
        """Forget what led to an explosion: the memory of the coordinates, and the average."""
        self.drop_batch()
        self.n_steps = self.path = self.n_averaged = 0.0
        for array in self._changing()[2:]:
            array[:] = 0.0

    def averages(self):
        """(W, b) averaged over the updates so far, or None before the first that counts."""
        if not self.n_averaged:
            return None
        W = np.where(np.asarray(self.W) == 0.0, 0.0, np.asarray(self.total) / self.n_averaged)
        return W, np.asarray(self.b_total) / self.n_averaged

    def state(self):
        self.settle()
        state = {"t": self.t, "n_steps": self.n_steps}
        shape = (self.problem.n_features, self.problem.n_outputs)
        for slot, slot_b, name in zip(np.asarray(self.slots), np.asarray(self.slots_b),
                                      self.slot_names):
            state[name] = slot[:slot.size - 1].reshape(shape)
            state[name + "_intercept"] = slot_b
        if self.schedule.state() is not None:
            state["rate"] = np.array(self.schedule.state())
        if self.average:
            state.update(n_averaged=self.n_averaged, average_intercept=np.asarray(self.b_total),
                         average_coef=np.asarray(self.total))
        if self.scaled:
            state["spread"] = np.asarray(self.spread)
        if self.centred:
            state["centre"] = np.asarray(self.centre)
        return state
