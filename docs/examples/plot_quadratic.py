"""Fit a quadratic through ``PolynomialFeatures``: a linear model of powers of x.

The columns x and x^2 have different scales; the solver needs none of them scaled, while descent
with a rate of one's own needs a ``StandardScaler`` in between.
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from sgdest import GDRegressor

TRUTH = (0.5, 1.0, 2.0)  # y = 0.5 x^2 + x + 2 + noise


def powers():
    """x and x^2."""
    return PolynomialFeatures(degree=2, include_bias=False)


def main(folder):
    """Save the picture in ``folder``; returns the coefficients of x^2, x and 1."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-3, 3, size=120)
    y = np.polyval(TRUTH, x) + rng.normal(size=120)
    solved = make_pipeline(powers(), GDRegressor(alpha=0)).fit(x[:, None], y)
    descent = {}
    for epochs in (1, 3, 30):
        step = GDRegressor(optimizer="gd", learning_rate=0.3, max_iter=epochs, tol=None)
        descent[epochs] = make_pipeline(powers(), StandardScaler(), step).fit(x[:, None], y)
    figure, axes = plt.subplots(figsize=(7, 4.6), layout="constrained")
    grid = np.linspace(-3, 3, 200)[:, None]
    axes.scatter(x, y, s=14, color="0.6", label="data")
    axes.plot(grid, solved.predict(grid), color="#0072B2", linewidth=5, alpha=0.35, label="solver")
    styles = [("#56B4E9", ":"), ("#009E73", "-."), ("#D55E00", "--")]
    for (epochs, model), (colour, line) in zip(descent.items(), styles):
        label = f"batch descent, {epochs} epoch{'s' * (epochs > 1)}"
        axes.plot(grid, model.predict(grid), color=colour, linestyle=line, linewidth=1.8,
                  label=label)
    axes.set(xlabel="$x$", ylabel="$y$", title="$y = x^2/2 + x + 2$ + noise")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="upper left", frameon=False)
    figure.savefig(Path(folder) / "quadratic.png", dpi=150)
    plt.close(figure)
    model = solved[-1]
    return model.coef_[1], model.coef_[0], model.intercept_[0]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", default=".", help="for the picture")
    print(main(parser.parse_args().folder))
