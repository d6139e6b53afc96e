"""Nanoseconds per row of X @ w, by the type of X, with w in float64.

Run from the root of the repository::

    python docs/benchmarks/data_types.py

Each figure is the least of interleaved repeats on one thread, so that load does not show.
"""

import time

import numpy as np
from sgdest._core.rows import DENSE_TYPES, as_rows

SHAPES = [(2_000, 256), (100_000, 100), (20_000, 1000)]
REPEATS = 40


def seconds(rows, W, b):
    """Wall time of the raw predictions of all rows."""
    start = time.perf_counter()
    rows.margins(W, b)
    return time.perf_counter() - start


def main():
    """Print one line per shape."""
    rng = np.random.default_rng(0)
    names = "".join(f"{kind.__name__:>10}" for kind in DENSE_TYPES)
    print(f"{'rows x features':>18}{names}")
    for n, d in SHAPES:
        data = rng.integers(0, 100, (n, d))
        rows = {kind: as_rows(data.astype(kind)) for kind in DENSE_TYPES}
        W, b = rng.standard_normal((d, 1)), np.zeros(1)
        times = {kind: [] for kind in DENSE_TYPES}
        for _ in range(REPEATS):
            for kind in DENSE_TYPES:
                times[kind].append(seconds(rows[kind], W, b))
        figures = "".join(f"{1e9 * min(times[t]) / n:10.1f}" for t in DENSE_TYPES)
        print(f"{f'{n} x {d}':>18}{figures}")


if __name__ == "__main__":
    main()
