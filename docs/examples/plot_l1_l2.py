"""L1 against L2: which coefficients survive as alpha grows.

L1 sets coefficients to exactly zero, one after the other; L2 shrinks all of them and zeroes none.
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_diabetes
from sklearn.preprocessing import scale

from sgdest import GDRegressor, regularization_path

ALPHAS = {"l1": np.logspace(-2, 2, 60), "l2": np.logspace(-2, 4, 60)}
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]


def paths(X, y, penalty):
    """Coefficients over alpha: array of shape (n_alphas, n_features)."""
    model = GDRegressor(penalty=penalty, tol=1e-10, max_iter=10_000)
    return regularization_path(model, X, y, alphas=ALPHAS[penalty]).coefs.T[::-1]


def main(folder):
    """Save the picture in ``folder``; returns the coefficients per penalty."""
    data = load_diabetes()
    X, y = scale(data.data), data.target
    coefs = {penalty: paths(X, y, penalty) for penalty in ALPHAS}
    figure, both = plt.subplots(1, 2, figsize=(11.5, 4.8), sharey=True, layout="constrained")
    for axes, (penalty, path) in zip(both, coefs.items()):
        for j, name in enumerate(data.feature_names):
            axes.plot(ALPHAS[penalty], path[:, j], color=COLOURS[j % len(COLOURS)],
                      linestyle="-" if j < len(COLOURS) else "--", linewidth=1.6, label=name)
        axes.axhline(0.0, color="0.3", linewidth=0.8)
        left = int((path[-1] != 0).sum())
        axes.set(xscale="log", xlabel=r"$\alpha$",
                 title=f"{penalty.upper()}: {left} of {X.shape[1]} coefficients differ from zero at "
                       rf"$\alpha$ = {ALPHAS[penalty][-1]:g}")
        axes.title.set_fontsize(10)
        axes.grid(True, color="0.92", linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    both[0].set_ylabel("coefficient (units of y per standard deviation)")
    figure.legend(*both[0].get_legend_handles_labels(), loc="outside right center", frameon=False)
    figure.savefig(Path(folder) / "l1_l2.png", dpi=150)
    plt.close(figure)
    return coefs


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", default=".", help="for the picture")
    main(parser.parse_args().folder)
