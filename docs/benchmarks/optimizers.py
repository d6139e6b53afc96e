"""Every optimizer at its "auto" rate, against the best of a grid of constant rates.

Relative suboptimality (F - F*) / (F_0 - F*) after 5, 20 and 100 passes, F_0 the best constant
model. The grid sees standardised columns only; "auto" sees these and raw ones. An entry meets its
goal if "auto" after E passes is as low as the best rate of the grid after E / 2.
"""

import argparse
import json
import warnings
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from sklearn.preprocessing import StandardScaler

from sgdest import GDClassifier, GDRegressor
from sgdest.callbacks import RecordObjective
from sgdest.optimizers import SAGA, STEP_OPTIMIZERS

PASSES = (5, 20, 100)
RATES = 10.0 ** np.arange(-4, 1.1, 0.5)
ALPHA = 1e-4
# What is left is rounding, or of no interest to anybody.
NEGLIGIBLE = 1e-5
# name: rows, estimator, loss
SETS = {
    "a9a": (4000, GDClassifier, "log_loss"),
    "ijcnn1": (4000, GDClassifier, "log_loss"),
    "rcv1_small": (1000, GDClassifier, "log_loss"),
    "covtype20k": (3000, GDClassifier, "log_loss"),
    "mnist": (1000, GDClassifier, "log_loss"),
    "california": (4000, GDRegressor, "squared_error"),
    "freMTPL2": (8000, GDRegressor, "poisson"),
    "elec2": (4000, GDClassifier, "log_loss"),
}


def load(folder, name):
    """(X, y) of some rows, in a random order."""
    n_rows = SETS[name][0]
    if (folder / f"{name}.X.npz").exists():
        X, y = sp.load_npz(folder / f"{name}.X.npz"), np.load(folder / f"{name}.y.npy")
    else:
        file = np.load(folder / f"{name}.npz")
        X, y = file["X"], file["y"]
    rows = np.random.RandomState(0).permutation(len(y))[:n_rows]
    X = X[rows].astype(np.float64)
    return (sp.csr_array(X) if sp.issparse(X) else X), y[rows].astype(np.float64)


def standardised(X):
    """The columns divided by their deviations; dense ones also centred."""
    return StandardScaler(with_mean=not sp.issparse(X)).fit_transform(X)


class Problem:
    """One data set: its minimum, and the objective along the passes of a model."""

    def __init__(self, kind, loss, X, y):
        self.kind, self.loss, self.X, self.y = kind, loss, X, y
        exact = kind(loss, alpha=ALPHA, tol=1e-9, max_iter=3000).fit(X, y)
        self.best = exact.objective(X, y)
        nothing = np.zeros((X.shape[0], 1))
        self.start = kind(loss, alpha=ALPHA, tol=1e-12).fit(nothing, y).objective(nothing, y)

    def model(self, optimizer, learning_rate, passes):
        """An estimator that makes so many passes."""
        return self.kind(self.loss, alpha=ALPHA, optimizer=optimizer, random_state=0, tol=None,
                         learning_rate=learning_rate, max_iter=passes)

    def after(self, optimizer):
        """Relative suboptimality of "auto" after ``PASSES``, those taken back included."""
        models = [self.model(optimizer, "auto", E).fit(self.X, self.y) for E in PASSES]
        found = np.array([model.objective(self.X, self.y) for model in models])
        return list((found - self.best) / (self.start - self.best))

    def path(self, optimizer, learning_rate="auto"):
        """Relative suboptimality at the start and after each pass."""
        model = self.model(optimizer, learning_rate, max(PASSES))
        model.set_callbacks(record := RecordObjective())
        model.fit(self.X, self.y)
        path = (np.array(record.objective_path_) - self.best) / (self.start - self.best)
        path[~np.isfinite(path)] = np.inf
        return np.append(path, np.full(1 + max(PASSES) - len(path), path[-1]))  # it diverged


def measure(folder, name, optimizers):
    """For each optimizer {"auto": [..], "raw": [..], "grid": [..], "half": [..]} at ``PASSES``."""
    _, kind, loss = SETS[name]
    X, y = load(folder, name)
    plain, raw = Problem(kind, loss, standardised(X), y), Problem(kind, loss, X, y)
    found = {}
    for optimizer in optimizers:
        if optimizer == "saga":
            grid = [plain.path(SAGA(rate)) for rate in RATES]
        else:
            grid = [plain.path(optimizer, rate) for rate in RATES]
        grid = np.min(grid, axis=0)
        found[optimizer] = {
            "auto": plain.after(optimizer), "raw": raw.after(optimizer),
            "grid": [grid[e] for e in PASSES], "half": [grid[e // 2] for e in PASSES],
        }
        print(name, row(optimizer, found[optimizer]), flush=True)
    return found


def meets(entry):
    """Whether "auto" takes at most twice the passes of the best rate, per entry of ``PASSES``."""
    return [a <= max(1.02 * h, NEGLIGIBLE) for a, h in zip(entry["auto"], entry["half"])]


def row(optimizer, entry):
    """A line of the table."""
    short = lambda x: "0" if abs(x) < 1e-9 else f"{x:.0e}".replace("e-0", "e-")
    cells = [" ".join(short(x) for x in entry[part]) for part in ("auto", "raw", "grid")]
    missed = [str(e) for e, met in zip(PASSES, meets(entry)) if not met]
    return f"| {optimizer} | {' | '.join(cells)} | {', '.join(missed)} |"


def table(results):
    """The results in Markdown."""
    lines = []
    for name, found in results.items():
        lines += [f"\n**{name}**\n", "| optimizer | auto | auto, raw columns | grid | missed at |",
                  "|---|---|---|---|---|"]
        lines += [row(optimizer, entry) for optimizer, entry in found.items()]
    return "\n".join(lines)


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="of the data sets")
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=SETS)
    parser.add_argument("--optimizers", nargs="+", default=[*STEP_OPTIMIZERS, "saga"])
    parser.add_argument("--json", type=Path, help="where to add the numbers")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    np.seterr(all="ignore")
    results = {}
    for name in options.sets:
        results[name] = measure(options.folder, name, options.optimizers)
        if options.json:
            before = json.loads(options.json.read_text()) if options.json.exists() else {}
            before.setdefault(name, {}).update(results[name])
            options.json.write_text(json.dumps(before))
    print(table(results))


if __name__ == "__main__":
    main()
