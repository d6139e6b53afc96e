"""The main job end to end on real data: tune, judge, stream, and watch descent.

Run from the root of the repository with ``make demo``, or::

    python docs/examples/demo.py
"""

import argparse
import time
from pathlib import Path
from statistics import median

import matplotlib
import numpy as np
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.metrics import (
    f1_score,
    log_loss,
    precision_score,
    recall_score,
    roc_auc_score,
)
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sgdest import GDClassifier

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402  after the choice of the backend
from matplotlib.ticker import NullLocator  # noqa: E402

ALPHAS = [1e-4, 1e-3, 1e-2, 1e-1, 1.0]
BATCH = 32  # rows per call when streaming, and rows per step of mini-batch descent
RATE = 0.05  # of all three curves: on standardised columns none of them diverges
EPOCHS = 30
SCORES = ["precision", "recall", "F1", "ROC AUC"]


def halves(load):
    """A bundled data set, cut once: X_train, X_test, y_train, y_test."""
    X, y = load(return_X_y=True)
    return train_test_split(X, y, test_size=0.5, stratify=y, random_state=0)


def tune(X, y):
    """The pipeline ``StandardScaler -> GDClassifier`` with the best ROC AUC."""
    pipeline = make_pipeline(StandardScaler(), GDClassifier())
    grid = {"gdclassifier__alpha": ALPHAS, "gdclassifier__penalty": ["l2", "l1"]}
    return GridSearchCV(pipeline, grid, scoring="roc_auc", cv=5).fit(X, y)


def competitors(alpha, n_rows):
    """Three classifiers that minimise the same objective, by name."""
    return {
        "GDClassifier": GDClassifier(alpha=alpha),
        "SGDClassifier": SGDClassifier("log_loss", alpha=alpha, random_state=0),
        "LogisticRegression": LogisticRegression(C=1 / (alpha * n_rows), max_iter=1000),
    }


def judge(model, X, y):
    """Precision, recall, F1, ROC AUC; macro averages over more than two classes."""
    labels, probabilities = model.predict(X), model.predict_proba(X)
    if probabilities.shape[1] == 2:
        average, ranking = "binary", probabilities[:, 1]
    else:
        average, ranking = "macro", probabilities
    return (
        precision_score(y, labels, average=average),
        recall_score(y, labels, average=average),
        f1_score(y, labels, average=average),
        roc_auc_score(y, ranking, multi_class="ovr"),
    )


def fit_times(models, X, y, repeats):
    """Median seconds per fit; the models take turns, so that load meets them all."""
    seconds = {name: [] for name in models}
    for _ in range(repeats):
        for name, model in models.items():
            start = time.perf_counter()
            model.fit(X, y)
            seconds[name].append(time.perf_counter() - start)
    return {name: median(times) for name, times in seconds.items()}


def print_table(title, data, alpha, repeats):
    """One line per classifier: quality on the held-out half, and time to fit."""
    X_train, X_test, y_train, y_test = data
    scaler = StandardScaler().fit(X_train)
    X_train, X_test = scaler.transform(X_train), scaler.transform(X_test)
    models = competitors(alpha, len(X_train))
    times = fit_times(models, X_train, y_train, repeats)
    print(f"  {title}: {len(X_train)} rows, {len(X_test)} held out, alpha={alpha:g}")
    print("  " + "{:18}{:>10}{:>10}{:>10}{:>10}{:>12}".format("", *SCORES, "fit"))
    for name, model in models.items():
        scores = "".join(f"{score:10.4f}" for score in judge(model, X_test, y_test))
        print(f"  {name:18}{scores}{1e3 * times[name]:9.2f} ms")
    print()


def stream(X, y):
    """Learn from rows as they come, each judged before it is learned from.

    The scaler learns along with the model.

    Returns
    -------
    records : list of (rows seen, running log loss, running ROC AUC)
    """
    scaler, model = StandardScaler(), GDClassifier(random_state=0)
    probabilities = np.empty(len(y))
    records = []
    for start in range(0, len(y), BATCH):
        rows = slice(start, start + BATCH)
        if start:
            probabilities[rows] = model.predict_proba(scaler.transform(X[rows]))[:, 1]
            judged = slice(BATCH, rows.stop)
            truth, guess = y[judged], probabilities[judged]
            records.append(
                (
                    start + len(y[rows]),
                    log_loss(truth, guess),
                    roc_auc_score(truth, guess),
                )
            )
        scaler.partial_fit(X[rows])
        model.partial_fit(scaler.transform(X[rows]), y[rows], classes=[0, 1])
    return records


def descend(X, y):
    """Loss curves of batch, mini-batch, stochastic descent, and their minimum."""
    sizes = {
        "batch: all rows per step": None,
        f"mini-batch: {BATCH} rows per step": BATCH,
        "stochastic: 1 row per step": 1,
    }
    curves = {}
    for label, batch_size in sizes.items():
        model = GDClassifier(
            optimizer="sgd",
            learning_rate=RATE,
            batch_size=batch_size,
            alpha=1e-2,
            max_iter=EPOCHS,
            tol=None,
            random_state=0,
        )
        curves[label] = model.fit(X, y).loss_curve_
    return curves, GDClassifier(alpha=1e-2, tol=1e-10).fit(X, y).loss_curve_[-1]


def plot(curves, minimum, path):
    """Save the loss curves as one picture."""
    # Okabe and Ito's colours differ for colour-blind eyes, lines and markers in print
    styles = [("#0072B2", "-", "o"), ("#D55E00", "--", "s"), ("#009E73", "-.", "^")]
    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    for (label, curve), (colour, line, marker) in zip(curves.items(), styles):
        epochs = np.arange(1, len(curve) + 1)
        axes.plot(
            epochs, curve, line, color=colour, marker=marker, markevery=3, label=label
        )
    axes.axhline(minimum, color="black", linewidth=0.8, linestyle=":", label="minimum")
    axes.set_yscale("log")
    axes.yaxis.set_minor_locator(NullLocator())
    ticks = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]
    axes.set_yticks(ticks, labels=map(str, ticks))
    axes.set_xlabel("epoch (passes over the data)")
    axes.set_ylabel("objective (nats per row)")
    axes.set_title(f"Log loss on breast cancer data, learning rate {RATE:g}")
    axes.legend(frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def show_tuning(cancer):
    """Part 1."""
    X_train, X_test, y_train, y_test = cancer
    print("1. Tuning: StandardScaler -> GDClassifier in GridSearchCV, by ROC AUC\n")
    search = tune(X_train, y_train)
    best = {name.split("__")[1]: value for name, value in search.best_params_.items()}
    held_out = search.score(X_test, y_test)
    print(f"  best of {len(search.cv_results_['params'])}: {best}")
    print(
        f"  ROC AUC cross-validated {search.best_score_:.4f}, held out {held_out:.4f}\n"
    )


def show_scores(cancer, digits, repeats):
    """Part 2."""
    print("2. The same objective, three classifiers, on held-out rows\n")
    print_table("breast cancer, 2 classes", cancer, 1e-2, repeats)
    print_table("digits, 10 classes, macro averages", digits, 1e-3, repeats)
    print("  GDClassifier and LogisticRegression solve it, each to its tolerance;")
    print("  SGDClassifier comes near. Times are medians of fits that took turns.\n")


def show_stream(cancer):
    """Part 3."""
    X_train, X_test, y_train, y_test = cancer
    X, y = np.vstack([X_train, X_test]), np.concatenate([y_train, y_test])
    print(f"3. Streaming through partial_fit, {BATCH} rows a call, judged beforehand\n")
    print(f"  {'rows':>6}{'log loss':>12}{'ROC AUC':>12}")
    records = stream(X, y)
    for rows, loss, area in records[::3] + records[-1:]:
        print(f"  {rows:6d}{loss:12.4f}{area:12.4f}")
    print(
        "  One pass, no learning rate to choose; metrics of all rows judged so far.\n"
    )


def show_descent(path):
    """Part 4."""
    X, y = load_breast_cancer(return_X_y=True)
    print("4. Batch, mini-batch and stochastic descent at one learning rate\n")
    curves, minimum = descend(StandardScaler().fit_transform(X), y)
    for label, curve in curves.items():
        print(f"  {label:30} objective {curve[0]:.4f} -> {curve[-1]:.4f}")
    print(f"  {'minimum, by the solver':30} objective {minimum:.4f}")
    print(
        f"  In {EPOCHS} epochs: the fewer rows per step, the faster at first; but at a"
    )
    print(
        "  constant rate the noise of single rows keeps the last curve off the minimum."
    )
    plot(curves, minimum, path)
    print(f"  The picture: {path.resolve()}\n")


def main(folder, repeats=11):
    """Run the four parts, say what each showed, save the picture in ``folder``."""
    start = time.perf_counter()
    cancer, digits = halves(load_breast_cancer), halves(load_digits)
    show_tuning(cancer)
    show_scores(cancer, digits, repeats)
    show_stream(cancer)
    show_descent(Path(folder) / "loss_curves.png")
    print(f"All of it took {time.perf_counter() - start:.1f} s.")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", default="demo_output", help="for the picture")
    main(parser.parse_args().folder)
