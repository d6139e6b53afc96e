"""The step optimizers side by side, each with the rate that it chooses itself.

Every step method that the estimators know by name, on the same mini-batches of the same data.
The curves of adam and amsgrad coincide: amsgrad keeps the largest second moments of the gradient,
and in so few steps they have only risen.
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
from sklearn.datasets import load_breast_cancer
from sklearn.preprocessing import scale

from sgdest import DescentPathDisplay, GDClassifier, LossCurveDisplay
from sgdest.callbacks import RecordObjective, RecordParameters
from sgdest.optimizers import STEP_OPTIMIZERS

EPOCHS = 30
STEP_METHODS = [name for name in STEP_OPTIMIZERS if name != "gd"]


def main(folder):
    """Save the picture in ``folder``; returns the models."""
    data = load_breast_cancer(as_frame=True)
    columns = ["mean radius", "mean texture"]
    X, y = data.data[columns].copy(), data.target
    X[:] = scale(X)
    models = {}
    for name in STEP_METHODS:
        model = GDClassifier(
            optimizer=name, batch_size=32, alpha=0.01, max_iter=EPOCHS, tol=None, random_state=0
        )
        models[name] = model.set_callbacks(RecordObjective(), RecordParameters()).fit(X, y)
    minimum = GDClassifier(alpha=0.01, tol=1e-12).fit(X, y).objective(X, y)
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 5.4), layout="constrained")
    LossCurveDisplay.from_estimators(models, minimum=minimum, y_scale="log", ax=left)
    left.set_ylabel("objective above its minimum (nats per row)")
    DescentPathDisplay.from_estimators(models, X, y, ax=right)
    figure.suptitle("Step optimizers with learning_rate='auto', 32 rows per step")
    figure.savefig(Path(folder) / "optimizers.png", dpi=150)
    plt.close(figure)
    return models


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", default=".", help="for the picture")
    main(parser.parse_args().folder)
