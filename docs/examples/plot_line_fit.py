"""Fit y = -5x + noise from w = -10, b = -20, and watch the parameters walk to the answer.

Twenty steps of batch descent at rate 0.1, on the contours of the objective and as lines through
the data.
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from sgdest import DescentPathDisplay, GDRegressor
from sgdest.callbacks import RecordParameters

SHOWN = [0, 2, 5, 10, 20]  # epochs whose lines are drawn


def main(folder):
    """Save the picture in ``folder``; returns the walk, an array of shape (21, 2)."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-3, 3, size=100)
    y = -5 * x + rng.normal(size=100)
    walk = RecordParameters()
    model = GDRegressor(
        optimizer="gd", learning_rate=0.1, penalty=None, max_iter=20, tol=None
    )
    model.set_callbacks(walk).fit(x[:, None], y, coef_init=[-10.0], intercept_init=[-20.0])
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 5), layout="constrained")
    DescentPathDisplay.from_estimator(
        model, x[:, None], y, ax=left, name="20 steps of batch descent"
    )
    right.scatter(x, y, s=14, color="0.6", label="data")
    ends = np.array([-3.0, 3.0])
    shades = plt.get_cmap("viridis_r")(np.linspace(0.35, 1.0, len(SHOWN)))
    for epoch, shade in zip(SHOWN, shades):
        w, b = walk.coef_path_[epoch, 0], walk.intercept_path_[epoch, 0]
        right.plot(ends, w * ends + b, color=shade, linewidth=1.8)
        right.annotate(f"epoch {epoch}", (3.0, 3 * w + b), xytext=(4, 0), color=shade,
                       textcoords="offset points", va="center", annotation_clip=False)
    right.set(xlabel="$x$", ylabel="$y$", xlim=(-3.1, 3.1))
    right.spines[["top", "right"]].set_visible(False)
    figure.suptitle("$y = -5x$ + noise by batch descent from $w=-10$, $b=-20$, rate 0.1")
    figure.savefig(Path(folder) / "line_fit.png", dpi=150)
    plt.close(figure)
    return np.c_[walk.coef_path_[:, 0], walk.intercept_path_[:, 0]]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", default=".", help="for the picture")
    print(main(parser.parse_args().folder))
