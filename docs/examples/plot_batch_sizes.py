"""Batch, mini-batch and stochastic gradient descent on one problem.

The fewer rows a step uses, the more steps an epoch has, and the faster the first epochs go; but
the steps become noisy, and at a constant rate their noise keeps the walk off the minimum.
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
from sklearn.datasets import load_breast_cancer
from sklearn.preprocessing import scale

from sgdest import DescentPathDisplay, GDClassifier, LossCurveDisplay
from sgdest.callbacks import RecordObjective, RecordParameters

SIZES = {"batch: all rows per step": None, "mini-batch: 32 rows": 32, "stochastic: 1 row": 1}
RATE = 0.1
EPOCHS = 40


def fitted(X, y):
    """A classifier per batch size, with its exact objective and its walk recorded."""
    models = {}
    for name, batch_size in SIZES.items():
        model = GDClassifier(
            optimizer="sgd",
            learning_rate=RATE,
            batch_size=batch_size,
            alpha=0.01,
            max_iter=EPOCHS,
            tol=None,
            random_state=0,
        )
        models[name] = model.set_callbacks(RecordObjective(), RecordParameters()).fit(X, y)
    return models


def main(folder):
    """Save the picture in ``folder``; returns the models."""
    data = load_breast_cancer(as_frame=True)
    X, y = data.data[["mean radius", "mean texture"]], data.target
    X = X.copy()
    X[:] = scale(X)
    models = fitted(X, y)
    minimum = GDClassifier(alpha=0.01, tol=1e-12).fit(X, y).objective(X, y)
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 5.2), layout="constrained")
    LossCurveDisplay.from_estimators(models, minimum=minimum, y_scale="log", ax=left)
    left.set_ylabel("objective above its minimum (nats per row)")
    short = [name.split(":")[0] for name in models]
    DescentPathDisplay.from_estimators(models, X, y, ax=right, name=short)
    figure.suptitle(f"Log loss on two columns of the breast cancer data, learning rate {RATE:g}")
    figure.savefig(Path(folder) / "batch_sizes.png", dpi=150)
    plt.close(figure)
    return models


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", default=".", help="for the picture")
    main(parser.parse_args().folder)
