"""Nanoseconds per row of one epoch, scikit-learn's SGDClassifier and ours, log loss.

Run from the root of the repository::

    python docs/benchmarks/first_table.py

Repeats are interleaved, so that other work on the machine meets everyone alike;
medians are compared. ``epoch`` is a `fit` of one epoch; ``stopping`` is an epoch of a
`fit` that sums up the objective, because it may stop.
"""

import argparse
import time
import warnings
from statistics import median

import numpy as np
import scipy.sparse as sp
from sklearn import linear_model

from sgdest import GDClassifier, compat

EPOCH = {"max_iter": 1, "tol": None}
STOPPING = {"max_iter": 7, "tol": 0.0}

#: name -> function from (penalty, epochs) to a classifier; the first is the yardstick
COMPETITORS = {
    "scikit-learn": lambda penalty, epochs: linear_model.SGDClassifier(
        "log_loss", penalty=penalty, random_state=0, **epochs
    ),
    "compat": lambda penalty, epochs: compat.SGDClassifier(
        "log_loss", penalty=penalty, random_state=0, **epochs
    ),
    "GDClassifier": lambda penalty, epochs: GDClassifier(
        optimizer="sgd", learning_rate="optimal", penalty=penalty, random_state=0, **epochs
    ),
}

#: (rows, features)
SHAPES = [(200_000, 10), (200_000, 54), (30_000, 784)]


def dense(n_rows, n_features, rng):
    return rng.standard_normal((n_rows, n_features))


def csr(n_rows, n_features, rng):
    """A fifth of the entries, at least four per row."""
    n_stored = max(4, n_features // 5)
    columns = rng.integers(0, n_features, (n_rows, n_stored), dtype=np.int32)
    starts = np.arange(0, n_rows * n_stored + 1, n_stored, dtype=np.int32)
    values = rng.standard_normal(n_rows * n_stored)
    X = sp.csr_matrix((values, columns.ravel(), starts), shape=(n_rows, n_features))
    X.sum_duplicates()
    return X


def seconds(make, X, y, epochs, penalty):
    """Wall time of one epoch."""
    model = make(penalty, epochs)
    start = time.perf_counter()
    model.fit(X, y)
    return (time.perf_counter() - start) / getattr(model, "n_iter_", 1)


def row(X, penalty, epochs, repeats, rng):
    """Median ns per row of each competitor."""
    y = (X @ rng.standard_normal(X.shape[1]) > 0).astype(int)
    times = {name: [] for name in COMPETITORS}
    for _ in range(repeats):
        for name, make in COMPETITORS.items():
            times[name].append(seconds(make, X, y, epochs, penalty))
    return {name: 1e9 * median(each) / X.shape[0] for name, each in times.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7)
    repeats = parser.parse_args().repeats
    warnings.simplefilter("ignore")  # of one epoch being too few to converge
    rng = np.random.default_rng(0)
    yardstick, *others = COMPETITORS
    head = f"{'data':6}{'d':>5} {'penalty':8}{'run':9}{yardstick:>14}"
    print(head + "".join(f"{name:>12}{'ratio':>7}" for name in others))
    for n_rows, n_features in SHAPES:
        for make in (dense, csr):
            X = make(n_rows, n_features, rng)
            for penalty in ("l2", "l1"):
                for run, epochs in (("epoch", EPOCH), ("stopping", STOPPING)):
                    times = row(X, penalty, epochs, repeats, rng)
                    base = times[yardstick]
                    case = f"{make.__name__:6}{n_features:5} {penalty:8}{run:9}"
                    line = f"{case}{base:14.1f}"
                    for name in others:
                        line += f"{times[name]:12.1f}{base / times[name]:7.2f}"
                    print(line, flush=True)


if __name__ == "__main__":
    main()
