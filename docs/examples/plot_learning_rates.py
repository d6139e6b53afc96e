"""Learning rates from 0.001 to 10 on one problem: they crawl, converge, and diverge.

Batch descent on a quadratic bowl of curvature 1 multiplies the distance to the minimum by
1 - rate in every step: a small rate needs about 1 / rate steps, rate 1 needs one, and beyond
rate 2 each step leads further away.
"""

import argparse
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import scale

from sgdest import GDRegressor
from sgdest.callbacks import RecordObjective

RATES = [0.001, 0.01, 0.1, 1.0, 10.0]
CLOSE = 1e-6  # converged: this share of the first distance, in the objective, is left
COLOURS = ["#56B4E9", "#0072B2", "#009E73", "#E69F00", "#D55E00"]
LINES = ["-", "--", "-.", ":", (0, (5, 1, 1, 1))]


def bowl():
    """Standardised data of a line with noise: the objective's curvature is 1."""
    rng = np.random.default_rng(0)
    X = scale(rng.normal(size=(200, 1)))
    return X, -5.0 * X[:, 0] + 2.0 + rng.normal(size=200)


def distances(X, y, rate):
    """Objective above its minimum, before the first and after each epoch."""
    minimum = GDRegressor(penalty=None, tol=1e-14).fit(X, y).objective(X, y)
    record = RecordObjective()
    model = GDRegressor(
        optimizer="gd", learning_rate=rate, penalty=None, max_iter=10_000, tol=1e-12
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the last one diverges
        model.set_callbacks(record).fit(X, y)
    return record.objective_path_ - minimum


def iterations(curve):
    """Steps until ``CLOSE``; None if that is never reached."""
    reached = np.flatnonzero(curve <= CLOSE * curve[0])
    return int(reached[0]) if len(reached) else None


def main(folder):
    """Save the picture in ``folder``; returns the iterations to convergence per rate."""
    X, y = bowl()
    curves = {rate: distances(X, y, rate) for rate in RATES}
    needed = {rate: iterations(curve) for rate, curve in curves.items()}
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.6), layout="constrained")
    for (rate, curve), colour, line in zip(curves.items(), COLOURS, LINES):
        shown = np.maximum(curve, 1e-12 * curve[0])
        left.plot(shown, color=colour, linestyle=line, linewidth=1.8, label=f"{rate:g}",
                  marker="o", markersize=4, markevery=list(range(min(len(shown), 11))))
    left.axhline(CLOSE * curves[1.0][0], color="0.5", linewidth=0.8)
    left.annotate("converged", (2.0, CLOSE * curves[1.0][0]), color="0.35",
                  xytext=(0, 3), textcoords="offset points", fontsize=9)
    left.set_xscale("symlog", linthresh=1, linscale=0.4)  # linear from 0 to 1
    left.set(yscale="log", xlim=(0, 1e4), ylim=(1e-8, 1e8), xlabel="iteration",
             ylabel="objective above its minimum", xticks=[0, 1, 10, 100, 1000, 10_000])
    left.set_xticklabels(["0", "1", "10", "100", "1,000", "10,000"])
    left.legend(title="learning rate", loc="upper right", frameon=False)
    reached = [rate for rate in RATES if needed[rate] is not None]
    right.plot(reached, [needed[rate] for rate in reached], "o-", color="#0072B2", linewidth=1.8)
    for rate in reached:
        right.annotate(f"{needed[rate]:,}", (rate, needed[rate]), xytext=(7, 4),
                       textcoords="offset points")
    right.axvspan(2.0, 20.0, color="#D55E00", alpha=0.15, linewidth=0)
    right.text(6.3, 100, "diverges", color="#A04000", ha="center", rotation=90, va="center")
    right.set(xscale="log", yscale="log", xlim=(5e-4, 20.0), ylim=(0.6, 3e4),
              xlabel="learning rate", ylabel="iterations to convergence")
    for axes in (left, right):
        axes.grid(True, color="0.9", linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle("Batch descent on one quadratic objective")
    figure.savefig(Path(folder) / "learning_rates.png", dpi=150)
    plt.close(figure)
    return needed


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", default=".", help="for the picture")
    print(main(parser.parse_args().folder))
