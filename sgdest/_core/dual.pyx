"""The dual of a mean loss: what bounds F from below."""

import numpy as np

from sgdest._core.problem cimport Problem


def dual_loss(Problem problem, const double[::1] slopes, double b=0.0):
    """Mean of a (o + b) - conjugate(a) over the rows, a being their ``slopes``; NaN where unwritten.

    Minus infinity outside of the domain of the conjugate.
    """
    cdef Py_ssize_t i
    cdef double y, s, total = 0.0
    if problem.loss.name == "log_loss":
        return _of_log_loss(problem, np.asarray(slopes), b)
    with nogil:
        for i in range(problem.n_rows):
            s = problem.weight(i)
            if s > 0.0:
                problem.target(i, &y)
                total += s * (slopes[i] * b - problem.loss.conjugate(y, slopes[i]))
                if problem.o_data != NULL:
                    total += s * slopes[i] * problem.o_data[i]
    return total / problem.total_weight


def _of_log_loss(problem, a, b):
    """The same by blocks: logarithms of numbers one by one would cost as much as a pass."""
    p = a + problem.targets()[:, 0]
    if not (p.min() >= 0.0 and p.max() <= 1.0):
        return -np.inf
    q = 1.0 - p
    entropy = p * np.log(np.maximum(p, 1e-300)) + q * np.log(np.maximum(q, 1e-300))
    a = a * (b if problem.offset is None else problem.offset[:, 0] + b)
    gained = a - entropy
    s = problem.sample_weight
    return (gained.sum() if s is None else np.einsum("i,i->", s, gained)) / problem.total_weight
