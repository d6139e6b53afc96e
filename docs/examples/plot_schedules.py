"""Learning-rate schedules: the rate over the steps, and what it does to the objective.

A constant rate goes fast and then hovers; falling rates settle. "auto" finds its level from the
data.
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
from sklearn.datasets import load_breast_cancer
from sklearn.preprocessing import scale

from sgdest import GDClassifier, LossCurveDisplay
from sgdest.callbacks import RecordObjective
from sgdest.display import COLOURS, DASHES

SCHEDULES = {
    "constant, 0.05": dict(learning_rate=0.05),
    "invscaling, 0.05 / √t": dict(learning_rate="invscaling", eta0=0.05),
    "optimal": dict(learning_rate="optimal"),
    # divided by 5 when three epochs have brought nothing
    "adaptive, from 0.05": dict(
        learning_rate="adaptive", eta0=0.05, tol=1e-3, n_iter_no_change=3
    ),
    "a function, 0.05 / (1 + t/1000)": dict(learning_rate=lambda t: 0.05 / (1 + t / 1000)),
    "auto": dict(learning_rate="auto"),
}


def main(folder):
    """Save the picture in ``folder``; returns the models."""
    X, y = load_breast_cancer(return_X_y=True)
    X = scale(X)
    models = {}
    for name, options in SCHEDULES.items():
        model = GDClassifier(
            optimizer="sgd", alpha=0.01, max_iter=50, tol=None, random_state=0
        ).set_params(**options)
        models[name] = model.set_callbacks(RecordObjective()).fit(X, y)
    minimum = GDClassifier(alpha=0.01, tol=1e-12).fit(X, y).objective(X, y)
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4.8), layout="constrained")
    for i, (name, model) in enumerate(models.items()):
        history = model.history_
        left.plot(history["rows"], history["learning_rate"], color=COLOURS[i],
                  linestyle=DASHES[i % len(DASHES)], linewidth=1.8, label=name)
    left.set(xscale="log", yscale="log", xlabel="step (one row each)", ylabel="learning rate")
    left.grid(True, color="0.9", linewidth=0.6)
    left.spines[["top", "right"]].set_visible(False)
    LossCurveDisplay.from_estimators(models, minimum=minimum, y_scale="log", ax=right)
    right.set_ylabel("objective above its minimum (nats per row)")
    right.get_legend().remove()
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=3,
                  frameon=False)
    figure.suptitle("Stochastic descent on log loss, breast cancer data")
    figure.savefig(Path(folder) / "schedules.png", dpi=150)
    plt.close(figure)
    return models


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", default=".", help="for the picture")
    main(parser.parse_args().folder)
