"""A loss of one's own: the expectile loss, three lines of NumPy, draws a fan of regression lines.

The expectile of level tau balances what lies above it, times tau, with what lies below, times
1 - tau; at tau = 1/2 it is the mean.
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from sgdest import GDRegressor, losses

LEVELS = (0.05, 0.5, 0.95)


class Expectile(losses.Loss):
    """The squared error, times tau where the target lies above the prediction, else 1 - tau."""

    curvature_bound = 1.0

    def __init__(self, tau=0.5):
        self.tau = tau

    def weight(self, y, z):
        """tau above, 1 - tau below."""
        return np.where(y > z, self.tau, 1 - self.tau)

    def value(self, y, z):
        """The loss."""
        return self.weight(y, z) * (y - z) ** 2 / 2

    def derivative(self, y, z):
        """Its slope in z."""
        return self.weight(y, z) * (z - y)


def main(folder):
    """Save the picture in ``folder``; returns the data and the fitted models by level."""
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 4, size=300)
    y = 1 + x / 2 + (0.2 + 0.3 * x) * rng.normal(size=300)
    losses.check(Expectile(0.9))
    models = {tau: GDRegressor(Expectile(tau), alpha=0).fit(x[:, None], y) for tau in LEVELS}
    figure, axes = plt.subplots(figsize=(7, 4.6), layout="constrained")
    axes.scatter(x, y, s=14, color="0.6", label="data")
    ends = np.array([[0.0], [4.0]])
    for (tau, model), colour in zip(models.items(), ["#0072B2", "#009E73", "#D55E00"]):
        axes.plot(ends, model.predict(ends), color=colour, linewidth=2,
                  label=rf"expectile, $\tau$ = {tau}")
    axes.set(xlabel="$x$", ylabel="$y$", title="A loss of three lines")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="upper left", frameon=False)
    figure.savefig(Path(folder) / "own_loss.png", dpi=150)
    plt.close(figure)
    return x, y, models


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", default=".", help="for the picture")
    main(parser.parse_args().folder)
