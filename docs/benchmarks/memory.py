"""Peak memory of ``fit`` beside X, for the layouts that are used in place.

Run from anywhere: ``python docs/benchmarks/memory.py > docs/benchmarks/memory.md``. The
bound is 5 % of X and 32 + 40 n_outputs bytes a row. Each case is measured twice in a
process of its own: by ``tracemalloc``, which sees every array, and, on Linux, by the
growth of the resident set.
"""

import multiprocessing
import sys
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import scipy.sparse as sp

from sgdest import GDClassifier, GDRegressor

METRIC = """
The others are cases of 1,000 columns (and one whose arrays are within it, but not what the allocator
keeps): the Hessian of Newton's method and its factor take some 24 (n_features + 1)^2 bytes, for every
class of one-versus-rest, as long as it is at work. `optimizer="lbfgs"` needs none of it; on 10,000 rows
of 784 pixels (log loss, C=1, to 1e-6) it takes 293 ms of processor time against 111."""
N_ROWS = 200_000
LAYOUTS = {
    "float64": 60,
    "float32": 60,
    "uint8": 400,
    "CSR float64": 1000,
    "CSR float32": 1000,
}
NON_ZEROS = 40  # of a CSR row
CASES = [
    (GDRegressor, 1, {}),
    (GDRegressor, 1, {"optimizer": "sgd"}),
    (GDRegressor, 1, {"loss": "absolute_error"}),
    (GDRegressor, 5, {}),
    (GDClassifier, 1, {}),
    (GDClassifier, 1, {"class_weight": "balanced"}),
    (GDClassifier, 1, {"loss": "hinge"}),
    (GDClassifier, 1, {"penalty": "l1", "alpha": 0.01}),
    (GDClassifier, 1, {"optimizer": "normalized_adaptive"}),
    (GDClassifier, 10, {}),
    (GDClassifier, 10, {"optimizer": "sgd"}),
    (GDClassifier, 10, {"loss": "squared_hinge"}),
]


def rows(layout, n_rows=N_ROWS):
    """Random X of a layout."""
    rng = np.random.default_rng(0)
    d = LAYOUTS[layout]
    if not layout.startswith("CSR"):
        return rng.integers(0, 5, size=(n_rows, d), dtype=np.uint8).astype(layout)
    # one column out of each of NON_ZEROS equal ranges: distinct and sorted
    width = d // NON_ZEROS
    columns = rng.integers(0, width, size=(n_rows, NON_ZEROS), dtype=np.int32)
    columns += width * np.arange(NON_ZEROS, dtype=np.int32)
    values = rng.random(n_rows * NON_ZEROS, dtype=np.float32).astype(layout[4:])
    starts = np.arange(0, columns.size + 1, NON_ZEROS, dtype=np.int32)
    return sp.csr_array((values, columns.ravel(), starts), shape=(n_rows, d))


def targets(kind, n_outputs, n_rows=N_ROWS):
    """Random y."""
    rng = np.random.default_rng(1)
    if kind is GDClassifier:
        return rng.integers(0, max(n_outputs, 2), size=n_rows)
    return rng.normal(size=n_rows if n_outputs == 1 else (n_rows, n_outputs))


def size_of(X):
    """Bytes of X."""
    return sum(
        a.nbytes for a in ([X.data, X.indices, X.indptr] if sp.issparse(X) else [X])
    )


def bound(X, n_outputs):
    """Bytes that ``fit`` may need beside X."""
    return 0.05 * size_of(X) + (32 + 40 * n_outputs) * X.shape[0]


def traced(model, X, y):
    """Peak bytes of ``fit`` by tracemalloc."""
    tracemalloc.start()
    model.fit(X, y)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def resident(model, X, y):
    """Peak growth of the resident set in bytes; NaN where /proc does not tell."""
    try:
        Path("/proc/self/clear_refs").write_text("5")  # restarts the peak
    except OSError:
        return np.nan
    before = _status("VmRSS")
    model.fit(X, y)
    return _status("VmHWM") - before


def _status(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(name)).split()[1])


def measure(layout, kind, n_outputs, parameters):
    """One row of the table."""
    warnings.simplefilter("ignore")
    X, y = rows(layout), targets(kind, n_outputs)
    model = kind(max_iter=15, tol=None, **parameters)
    kind(max_iter=2, tol=None, **parameters).fit(
        X[:1000], y[:1000]
    )  # loads what is loaded once
    peaks = resident(model, X, y), traced(model, X, y)
    mb = [value / 1e6 for value in (size_of(X), bound(X, n_outputs), *peaks[::-1])]
    settings = ", ".join(f"{name}={value!r}" for name, value in parameters.items())
    cells = f"| {layout} | {kind.__name__}({settings}) | {n_outputs} |"
    return cells + "".join(f" {value:.1f} |" for value in mb), peaks[1] <= bound(
        X, n_outputs
    )


def main():
    """Print the table; the exit code tells whether every bound is kept."""
    print("# Peak memory of `fit` beside X\n")
    print(
        f"{N_ROWS:,} rows; by `docs/benchmarks/memory.py`; bound = 5 % of X + "
        "(32 + 40 n_outputs) bytes a row.\nMB = 10^6 bytes. `tracemalloc` sees every "
        "array; the resident set also holds what the allocator keeps,\nthe stacks of "
        "threads, and pages of code.\n"
    )
    print(
        "| X | model | outputs | X, MB | bound, MB | tracemalloc, MB | resident, MB |"
    )
    print("|---|---|---|---|---|---|---|")
    kept = []
    context = multiprocessing.get_context("spawn")
    for layout in LAYOUTS:
        for case in CASES:
            with context.Pool(1) as pool:
                line, within = pool.apply(measure, (layout, *case))
            kept.append(within)
            print(line, flush=True)
    print(f"\n{sum(kept)} of {len(kept)} cases within the bound.")
    print(METRIC)
    print(
        "\n`early_stopping=True` without `X_val` copies the rows that it learns from, "
        "and those that it\nwatches: give `X_val`, which is read in place, where "
        "memory is scarce."
    )
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(main())
