"""Time of a pass with a loss written in Python, against its built-in twin."""

import argparse
from time import perf_counter

import numpy as np

from sgdest import GDClassifier, GDRegressor, losses


class LogLoss(losses.Loss):
    """log(1 + exp(z)) - y z, in NumPy."""

    targets = "binary"
    link = "logit"
    curvature_bound = 0.25

    def value(self, y, z):
        """The loss."""
        return np.logaddexp(0, z) - y * z

    def derivative(self, y, z):
        """Its slope."""
        return 1 / (1 + np.exp(-z)) - y


class VectorisedLogLoss(LogLoss):
    """The same; NumPy has vector instructions for log1p(exp(-|z|)), but none for logaddexp."""

    def value(self, y, z):
        """The loss."""
        return np.log1p(np.exp(-np.abs(z))) + np.maximum(z, 0) - y * z


class LogCosh(losses.Loss):
    """log(cosh(z - y)), in NumPy."""

    curvature_bound = 1.0

    def value(self, y, z):
        """The loss."""
        r = np.abs(z - y)
        return r + np.log1p(np.exp(-2 * r)) - np.log(2)

    def derivative(self, y, z):
        """Its slope."""
        return np.tanh(z - y)


def main(n_rows=20_000, n_features=54, repeats=9, passes=10):
    """Print and return milliseconds per pass, by (own loss, optimizer): own and built in."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n_rows, n_features))
    y = X[:, 0] + rng.normal(size=n_rows)
    found = {}
    for own, name, kind in ((LogLoss(), "log_loss", GDClassifier),
                            (VectorisedLogLoss(), "log_loss", GDClassifier),
                            (LogCosh(), "log_cosh", GDRegressor)):
        own_name = type(own).__name__
        targets = y > 0 if kind is GDClassifier else y
        for optimizer in ("sgd", "adam"):
            times = {own: [], name: []}
            for _ in range(repeats):  # in turn: other work on the machine meets both
                for loss in times:
                    model = kind(loss, optimizer=optimizer, batch_size=256, learning_rate=0.1,
                                 max_iter=passes, tol=None)
                    began = perf_counter()
                    model.fit(X, targets)
                    times[loss].append((perf_counter() - began) / passes * 1e3)
            found[own_name, optimizer] = best = [min(times[loss]) for loss in times]
            print(f"{own_name:17} {optimizer:5} own {best[0]:.2f} ms, built in {best[1]:.2f} ms, "
                  f"ratio {best[0] / best[1]:.2f}")
    return found


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    main()
