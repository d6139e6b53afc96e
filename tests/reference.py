"""What tests compare with."""

import numpy as np


def objective_and_gradient(problem, W, b):
    """F and its gradients in W and b; of the L1 part at 0 the one with sign 0."""
    value, g, g_b = problem.evaluate(W, b, np.empty((problem.n_rows, problem.n_outputs)))
    penalty = problem.penalty
    c = 1.0 if penalty.factors is None else penalty.factors[:, None]
    g = g + penalty.l1 * c * np.sign(W) + penalty.l2 * c**2 * np.asarray(W)
    return value + penalty.value_of(W), g, g_b
