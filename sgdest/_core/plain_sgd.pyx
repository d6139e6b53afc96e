"""scikit-learn's stochastic gradient descent on the rows of X; only ``sgdest.compat`` uses it.

The arithmetic of a step is scikit-learn 1.9's, in its order, so that the models are equal: shrink,
add the gradient, move the intercept, average, then truncate towards zero. What differs:

- Rows that the permutation visits next are prefetched: the plain loop waits for memory.
- The objective is summed up only where somebody reads it (it is printed, or it can stop the run).
- On CSR data the norms in the objective are those of the whole vector; scikit-learn's are those
  of the coordinates that the last row touched.
"""

cimport cython
from libc.math cimport fabs, fmax, isfinite
from libc.stdint cimport int32_t, uint8_t, uint32_t
from sgdest._core.kernels cimport Debt, truncate_one
from sgdest._core.plain_rules cimport Rule
from sgdest._core.random cimport ask_for, random_31_bits
from sgdest._core.rows cimport Rows
from sgdest._core.simd cimport prefetch

from time import perf_counter

import numpy as np

from sgdest._core.simd import aligned


# -- the examples ----------------------------------------------------------------------------


@cython.final
cdef class Examples:
    """Rows with targets and weights, and the order in which they are visited.

    ``s=None`` stands for weights of 1.
    ``held_out`` marks rows to pass over (or is None). ``seed=None`` keeps the order of the rows;
    otherwise every epoch permutes the order of the one before with the same random numbers.
    """

    cdef readonly Rows rows
    cdef readonly Py_ssize_t n_used
    cdef bint holds_out
    cdef const uint8_t[::1] held_out
    # target and weight (if any) side by side: a permuted visit costs one cache line, not two
    cdef const double[:, ::1] y_and_s
    cdef bint weighted
    cdef int32_t[::1] order
    cdef bint shuffles
    cdef uint32_t seed
    cdef Py_ssize_t ahead, later           # `later`: the row asked for, or -1

    def __init__(self, Rows rows, y, s, held_out=None, seed=None):
        largest = np.iinfo(np.int32).max
        if rows.n_rows > largest or rows.n_features > largest:
            raise ValueError(
                f"More than {largest} samples or features not supported; "
                f"got ({rows.n_rows}, {rows.n_features})."
            )
        self.rows = rows
        self.weighted = s is not None
        self.y_and_s = (np.column_stack([y, s]) if self.weighted else np.reshape(y, (-1, 1))
                        ).astype(np.float64, order="C", copy=False)
        self.n_used = rows.n_rows
        self.holds_out = held_out is not None
        if self.holds_out:
            self.held_out = np.ascontiguousarray(held_out, dtype=np.uint8)
            self.n_used -= np.count_nonzero(held_out)
        self.order = np.arange(rows.n_rows, dtype=np.int32)
        self.shuffles, self.seed = seed is not None, seed or 0
        self.ahead = rows.ahead

    cdef void shuffle(self) noexcept nogil:
        cdef uint32_t i, other, n = <uint32_t> self.order.shape[0], state = self.seed
        cdef int32_t* order = &self.order[0]
        if not self.shuffles:
            return
        ask_for(order, n * sizeof(int32_t))
        for i in range(n - 1):
            other = i + random_31_bits(&state) % <uint32_t> (n - i)
            order[i], order[other] = order[other], order[i]

    cdef inline double weight(self, Py_ssize_t i) noexcept nogil:
        return self.y_and_s[i, 1] if self.weighted else 1.0

    cdef inline void prefetch(self, Py_ssize_t k) noexcept nogil:
        """Asks for the row that is visited ``ahead`` rows after the k-th."""
        cdef Py_ssize_t last = self.order.shape[0] - 1, i, after
        self.later = -1
        if not self.shuffles or k + self.ahead > last:
            return
        i = self.later = self.order[k + self.ahead]
        prefetch(&self.y_and_s[i, 0], 16 if self.weighted else 8)
        after = self.order[min(k + 2 * self.ahead, last)]
        if self.rows.are_long:
            self.rows.prefetch_start(after)
        else:
            self.rows.prefetch(i, after)


# -- the model -------------------------------------------------------------------------------


@cython.final
cdef class Weights:
    """w = scale v with intercept b, and the running averages of both.

    Shrinking all weights costs one multiplication; so does an average, kept as (a v + average) /
    c (L. Bottou, "Stochastic gradient descent tricks", 2012, section 5.1). v is multiplied out
    when ``scale`` falls below ``smallest_scale``.
    """

    cdef double[::1] v
    cdef double[::1] average
    cdef double* v_
    cdef double* average_
    cdef Py_ssize_t n
    cdef double scale, smallest_scale, a, c
    cdef public double intercept
    cdef public double average_intercept

    def __init__(self, coef, double intercept, average_coef=None, double average_intercept=0.0,
                 double smallest_scale=1e-9):
        self.v = aligned(coef)
        self.n = self.v.shape[0]
        self.v_ = &self.v[0]
        self.average_ = NULL
        if average_coef is not None:
            self.average = np.array(average_coef, dtype=np.float64)
            self.average_ = &self.average[0]
        self.scale = self.c = 1.0
        self.a = 0.0
        self.smallest_scale = smallest_scale
        self.intercept, self.average_intercept = intercept, average_intercept

    @property
    def unscaled(self):
        """The array v."""
        return np.asarray(self.v)

    @property
    def coef(self):
        """The weights, settled."""
        self.settle()
        return np.asarray(self.v)

    @property
    def average_coef(self):
        """Their averages, settled."""
        self.settle()
        return np.asarray(self.average)

    cdef inline void shrink(self, double factor) noexcept nogil:
        self.scale *= factor
        if self.scale < self.smallest_scale:
            self.settle()

    cdef inline void add_average(self, Rows rows, Py_ssize_t i, double change,
                                 double n_averaged) noexcept nogil:
        """Counts the weights after row i has added ``change`` as number ``n_averaged``."""
        cdef double share = 1.0 / n_averaged
        if change != 0.0 and self.a != 0.0:
            rows.add(i, -self.a * change / self.scale, self.average_)
        if n_averaged > 1.0:
            self.c /= 1.0 - share
        self.a += share * self.c * self.scale
        self.average_intercept += (self.intercept - self.average_intercept) / n_averaged

    cdef void settle(self) noexcept nogil:
        cdef Py_ssize_t j
        if self.average_ != NULL:
            for j in range(self.n):
                self.average_[j] = (self.average_[j] + self.a * self.v_[j]) / self.c
            self.a, self.c = 0.0, 1.0
        for j in range(self.n):
            self.v_[j] *= self.scale
        self.scale = 1.0

    cdef bint is_finite(self) noexcept nogil:
        cdef Py_ssize_t j
        for j in range(self.n):
            if not isfinite(self.v_[j]):
                return False
        return isfinite(self.intercept)


# -- norms, for the objective ----------------------------------------------------------------


cdef class Norms:
    """Abstract: ``square`` and ``absolute``, the squared L2 and the L1 norm of the weights."""

    cdef double square, absolute

    # all weights were multiplied by `factor`
    cdef inline void shrunk(self, double factor) noexcept nogil:
        self.square *= factor * factor
        self.absolute *= fabs(factor)

    cdef void begin_epoch(self, Weights w) noexcept nogil:
        return

    # row i is about to change w
    cdef void begin(self, Py_ssize_t i, Weights w) noexcept nogil:
        return

    # `change` times row i was added to w; before that, row i . w was `margin`
    cdef void added(self, Py_ssize_t i, double change, double margin, Weights w) noexcept nogil:
        return

    # row i has changed w and its weights were truncated
    cdef void end(self, Py_ssize_t i, Weights w) noexcept nogil:
        return


@cython.final
cdef class Unmeasured(Norms):
    """For objectives without a penalty, or that nobody reads."""


@cython.final
cdef class DenseNorms(Norms):
    """Both, measured when a row was added: before the truncation, like scikit-learn's."""

    def __init__(self, Weights w):
        self.added(0, 0.0, 0.0, w)

    cdef void added(self, Py_ssize_t i, double change, double margin, Weights w) noexcept nogil:
        self.square = sum_of_squares(w.n, w.v_) * w.scale * w.scale
        self.absolute = sum_of_sizes(w.n, w.v_) * w.scale


@cython.final
cdef class Square(Norms):
    """|w + a x|^2 = |w|^2 + a (2 w x + a |x|^2): the weights themselves are not read."""

    cdef Rows rows

    def __init__(self, Rows rows):
        self.rows = rows

    cdef void begin_epoch(self, Weights w) noexcept nogil:
        # anew each epoch, so that rounding does not pile up
        self.square = sum_of_squares(w.n, w.v_) * w.scale * w.scale

    cdef void added(self, Py_ssize_t i, double change, double margin, Weights w) noexcept nogil:
        self.square += change * (2.0 * margin + change * self.rows.square_norm(i))


@cython.final
cdef class SparseNorms(Norms):
    """Both norms, by the share of the touched weights before and after a truncated step."""

    cdef Rows rows
    cdef Py_ssize_t[::1] touched

    def __init__(self, Rows rows):
        self.rows = rows
        self.touched = np.empty(rows.largest_count() + 1, dtype=np.intp)

    cdef void begin_epoch(self, Weights w) noexcept nogil:
        self.square = sum_of_squares(w.n, w.v_) * w.scale * w.scale
        self.absolute = sum_of_sizes(w.n, w.v_) * w.scale

    cdef void begin(self, Py_ssize_t i, Weights w) noexcept nogil:
        self.rows.columns(i, &self.touched[0])
        self.count_touched(i, -1.0, w)

    cdef void end(self, Py_ssize_t i, Weights w) noexcept nogil:
        self.count_touched(i, 1.0, w)

    cdef inline void count_touched(self, Py_ssize_t i, double sign, Weights w) noexcept nogil:
        cdef Py_ssize_t p
        cdef double v, squares = 0.0, sizes = 0.0
        for p in range(self.rows.count(i)):
            v = w.v_[self.touched[p]]
            squares += v * v
            sizes += fabs(v)
        self.square += sign * squares * w.scale * w.scale
        self.absolute += sign * sizes * w.scale


cdef double sum_of_sizes(Py_ssize_t n, const double* v) noexcept nogil:
    # four sums, because each addition waits for the one before
    cdef double a = 0.0, b = 0.0, c = 0.0, d = 0.0
    cdef Py_ssize_t j, whole = n - n % 4
    for j in range(0, whole, 4):
        a += fabs(v[j])
        b += fabs(v[j + 1])
        c += fabs(v[j + 2])
        d += fabs(v[j + 3])
    for j in range(whole, n):
        a += fabs(v[j])
    return (a + b) + (c + d)


cdef double sum_of_squares(Py_ssize_t n, const double* v) noexcept nogil:
    cdef double a = 0.0, b = 0.0, c = 0.0, d = 0.0
    cdef Py_ssize_t j, whole = n - n % 4
    for j in range(0, whole, 4):
        a += v[j] * v[j]
        b += v[j + 1] * v[j + 1]
        c += v[j + 2] * v[j + 2]
        d += v[j + 3] * v[j + 3]
    for j in range(whole, n):
        a += v[j] * v[j]
    return (a + b) + (c + d)


# -- penalties -------------------------------------------------------------------------------


cdef class Penalty:
    """Abstract: ``alpha`` times a mix of the L1 norm and half the squared L2 norm."""

    cdef double alpha, l1_ratio

    cdef inline double value(self, Norms norms) noexcept nogil:
        return self.alpha * ((1.0 - self.l1_ratio) * 0.5 * norms.square
                             + self.l1_ratio * norms.absolute)

    # the factor of all weights in a step of rate eta; never negative
    cdef inline double shrinkage(self, double eta) noexcept nogil:
        return fmax(0.0, 1.0 - (1.0 - self.l1_ratio) * eta * self.alpha)

    # towards zero, if it `truncates`: the weights that row i touches, after `step` times the row was
    # added; that too is done here where it `adds`, asking meanwhile for the row `later`
    cdef bint truncates, adds
    cdef void truncate(self, Py_ssize_t i, double eta, double step, Py_ssize_t later,
                       Weights w) noexcept nogil:
        return

    def norms(self, Rows rows, Weights w):
        """What keeps the norms that ``value`` needs."""
        return Unmeasured()


@cython.final
cdef class NoPenalty(Penalty):
    """None."""


@cython.final
cdef class L2(Penalty):
    """alpha / 2 times the squared L2 norm."""

    def __init__(self, double alpha):
        self.alpha = alpha

    def norms(self, Rows rows, Weights w):
        return Square(rows)


@cython.final
cdef class ElasticNet(Penalty):
    """L1 by the cumulative penalty of Tsuruoka, Tsujii, Ananiadou (ACL 2009), L2 by shrinking.

    u is the penalty that every weight could have received so far, q_j what weight j received.
    """

    cdef Rows rows
    cdef double u
    cdef double[::1] q

    def __init__(self, Rows rows, double alpha, double l1_ratio):
        self.rows, self.truncates, self.adds = rows, True, rows.is_sparse
        self.alpha = alpha
        self.l1_ratio = l1_ratio
        self.q = np.zeros(rows.n_features)

    def norms(self, Rows rows, Weights w):
        return SparseNorms(rows) if rows.is_sparse else DenseNorms(w)

    cdef void truncate(self, Py_ssize_t i, double eta, double step, Py_ssize_t later,
                       Weights w) noexcept nogil:
        cdef Debt debt
        self.u += self.l1_ratio * eta * self.alpha
        debt.paid, debt.owed = &self.q[0], self.u
        debt.scale, debt.unscale = w.scale, 1.0 / w.scale
        if self.adds:
            self.rows.truncated_add(i, step, w.v_, &debt, later)
        else:
            truncate_all(w.n, w.v_, &self.q[0], debt)


cdef void truncate_all(Py_ssize_t n, double* v, double* q, Debt debt) noexcept nogil:
    # (a struct of its own, which the compiler knows that no weight overlaps with)
    cdef Py_ssize_t j
    for j in range(n):
        truncate_one(0.0, v + j, q + j, &debt)


def penalty_of(name, Rows rows, double alpha, double l1_ratio):
    """The penalty that scikit-learn calls ``name``: None, "l2", "l1" or "elasticnet"."""
    if name is None:
        return NoPenalty()
    if name == "l2":
        return L2(alpha)
    return ElasticNet(rows, alpha, 1.0 if name == "l1" else l1_ratio)


# -- the descent -----------------------------------------------------------------------------


class Patience:
    """When to stop: ``n_epochs`` in a row that improve by less than ``tol``; None: never.

    ``score(v, intercept)`` is to rise; where it is None the objective is to fall.
    """

    def __init__(self, tol, n_epochs, score=None):
        self.tol, self.n_epochs, self.score = tol, n_epochs, score
        self.n_stalled = 0
        self.best = -np.inf

    def can_end(self, max_iter):
        """Whether ``max_iter`` epochs are enough for it to matter."""
        return self.tol is not None and max_iter > self.n_epochs

    def is_over(self, value):
        """Whether that was enough, after an epoch of that value (higher is better)."""
        stalled = self.tol is not None and value < self.best + self.tol
        self.n_stalled = self.n_stalled + 1 if stalled else 0
        self.best = max(self.best, value)
        return self.n_stalled >= self.n_epochs


@cython.final
cdef class Descent:
    """Epochs of steps, one per example.

    ``t`` numbers the first update; averaging begins with update number ``average`` (0: never).
    """

    cdef Examples examples
    cdef Rows rows
    cdef Weights w
    cdef Rule rule
    cdef Penalty penalty
    cdef Norms norms
    cdef double t, average
    cdef bint fit_intercept
    cdef bint measures, counts             # the objective; its penalty
    cdef double intercept_decay, loss_sum, penalty_sum
    cdef Py_ssize_t n_steps

    def __init__(self, Examples examples, Weights w, Rule rule, Penalty penalty,
                 bint fit_intercept, double t, double average):
        self.examples, self.rows = examples, examples.rows
        self.w, self.rule, self.penalty = w, rule, penalty
        self.fit_intercept = fit_intercept
        self.t, self.average = t, average
        # an intercept is touched by every row, a weight of sparse data by few: without the
        # smaller rate it would oscillate
        self.intercept_decay = 0.01 if examples.rows.is_sparse else 1.0

    def run(self, int max_iter, patience, bint verbose):
        """Up to ``max_iter`` epochs; returns how many. The result is in the weights.

        Raises
        ------
        ValueError
            If a weight or the intercept is not finite after an epoch.
        """
        cdef double objective
        self.measures = verbose or patience.score is None and patience.can_end(max_iter)
        self.counts = self.measures and self.rule.penalty_counts
        self.norms = self.penalty.norms(self.rows, self.w) if self.counts else Unmeasured()
        start = perf_counter()
        for epoch in range(1, max_iter + 1):
            if verbose:
                print(f"-- Epoch {epoch}")
            with nogil:
                self.epoch(self.examples)
            if not self.w.is_finite():
                raise ValueError(
                    f"Floating-point under-/overflow occurred at epoch #{epoch}. Scaling input "
                    "data with StandardScaler or MinMaxScaler might help."
                )
            score = None
            if patience.score is not None:
                score = patience.score(self.w.unscaled, self.w.intercept)
            objective = (self.loss_sum + self.penalty_sum) / self.examples.n_used
            if verbose:
                self.report(objective, score, perf_counter() - start)
            if not patience.is_over(-objective if score is None else score):
                continue
            if not self.rule.slow_down():
                if verbose:
                    seconds = perf_counter() - start
                    print(f"Convergence after {epoch} epochs took {seconds:.2f} seconds")
                break
            patience.n_stalled = 0
        return epoch

    def report(self, objective, score, seconds):
        """Print what scikit-learn prints after an epoch."""
        w = self.w.unscaled
        norm = np.linalg.norm(w) * self.w.scale
        line = (f"Norm: {norm:.2f}, NNZs: {np.count_nonzero(w)}, Bias: {self.w.intercept:.6f}, "
                f"T: {self.n_steps}, Avg. loss: {self.loss_sum / self.examples.n_used:f}, "
                f"Objective: {objective:f}")
        print(line if score is None else f"{line}, Validation score: {score:f}")
        print(f"Total training time: {seconds:.2f} seconds.")

    cdef void epoch(self, Examples examples) noexcept nogil:
        cdef Py_ssize_t k, i, n = self.rows.n_rows
        self.loss_sum = self.penalty_sum = 0.0
        self.norms.begin_epoch(self.w)
        examples.shuffle()
        for k in range(n):
            i = examples.order[k]
            examples.prefetch(k)
            if examples.holds_out and examples.held_out[i]:
                continue
            self.step(i, examples.y_and_s[i, 0], examples.weight(i), self.w)

    cdef inline void step(self, Py_ssize_t i, double y, double s, Weights w) noexcept nogil:
        cdef double margin = self.rows.dot_ahead(i, w.v_, self.examples.later) * w.scale
        cdef double z = margin + w.intercept
        cdef double direction, pace, change, shrinkage, along
        if self.measures:
            self.loss_sum += self.rule.loss.value(y, z)
            self.penalty_sum += self.penalty.value(self.norms)
        if self.rule.passes and self.rule.passes_over(i):
            return
        direction = self.rule.direction(i, y, z, self.t)
        # the next step waits for the direction: what does not is multiplied before
        pace = self.rule.pace * s
        change = pace * direction
        if self.counts:
            self.norms.begin(i, w)
        shrinkage = self.penalty.shrinkage(self.rule.eta)
        w.shrink(shrinkage)
        self.norms.shrunk(shrinkage)
        along = (pace * (1.0 / w.scale)) * direction
        if change != 0.0:
            if not self.penalty.adds:
                self.rows.add_ahead(i, along, w.v_, self.examples.later)
            if self.counts:
                self.norms.added(i, change, margin * shrinkage, w)
            if self.fit_intercept:
                w.intercept += change * self.intercept_decay
        if 0.0 < self.average <= self.t:
            w.add_average(self.rows, i, change, self.t - self.average + 1.0)
        if self.penalty.truncates:
            self.penalty.truncate(i, self.rule.eta, along, self.examples.later, w)
        if self.counts:
            self.norms.end(i, w)
        self.t += 1.0
        self.n_steps += 1
