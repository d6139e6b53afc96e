"""L1 with several classes, on sparse and dense rows: the solver chosen, others by name, and LinearSVC.

Run from the root of the repository::

    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 python docs/benchmarks/several_outputs.py [--data FOLDER]

Squared hinge, one versus the rest, no intercept. Processor time, and the relative suboptimality
(F - F*) / (F_0 - F*) that was reached; F* by working sets at ``tol=1e-8``.
"""

import argparse
import time
import warnings

import numpy as np
import scipy.sparse as sp
from race_problems import shared
from sklearn.svm import LinearSVC

from sgdest import GDClassifier
from sgdest._core.recall import recall


def generated(n_rows=20_000, n_features=800, n_classes=8):
    """Rows of up to 60 frequent and rare words, and classes that few of these tell apart."""
    rng = np.random.default_rng(0)
    share = 1 / np.arange(1, n_features + 1) ** 0.9
    rows = [np.unique(rng.choice(n_features, n, p=share / share.sum()))
            for n in rng.integers(5, 60, n_rows)]
    indices = np.concatenate(rows)
    X = sp.csr_matrix((rng.random(len(indices)) + 0.1, indices,
                       np.cumsum([0] + [len(row) for row in rows])), shape=(n_rows, n_features))
    W = rng.normal(size=(n_features, n_classes)) * (rng.random((n_features, n_classes)) < 0.02)
    return X, (X @ W + 0.5 * rng.gumbel(size=(n_rows, n_classes))).argmax(axis=1)


def numbers(n_rows=5_000, n_features=1_000, n_classes=5):
    """Independent columns, of which some tell each class."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n_rows, n_features))
    W = rng.normal(size=(n_features, n_classes)) * (rng.random((n_features, n_classes)) < 0.02)
    return X, (X @ W + rng.normal(size=(n_rows, n_classes))).argmax(axis=1)


def objective(X, y, alpha, W):
    signs = np.where(y[:, None] == np.unique(y), 1.0, -1.0)
    loss = np.square(np.maximum(0.0, 1.0 - signs * (X @ W.T))).mean(axis=0).sum()
    return loss + alpha * np.abs(W).sum()


def contenders(alpha, n_rows):
    ours = GDClassifier("squared_hinge", penalty="l1", alpha=alpha, fit_intercept=False)
    for tol in (1e-3, 1e-6):
        for optimizer in ("auto", "working_set", "lbfgs", "subsampled_newton"):
            yield f"{optimizer}, tol={tol:g}", GDClassifier(**{
                **ours.get_params(), "tol": tol, "optimizer": optimizer})
    for tol in (1e-1, 1e-2):
        yield f"LinearSVC, tol={tol:g}", LinearSVC(
            penalty="l1", dual=False, C=1 / (alpha * n_rows), fit_intercept=False, tol=tol,
            max_iter=10_000)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="folder of the shared data sets; else generated rows alone")
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # of what has not converged
    tasks = [("words", generated(), alpha) for alpha in (1e-3, 1e-4)]
    tasks += [("numbers", numbers(), alpha) for alpha in (1e-1, 1e-2, 1e-3)]
    if options.data:
        tasks.append(("newsgroups-20", shared(options.data)["newsgroups-20"](), 1e-4))
    for name, (X, y), alpha in tasks:
        if sp.issparse(X):
            X.indices, X.indptr = X.indices.astype(np.int32), X.indptr.astype(np.int32)
        exact = GDClassifier("squared_hinge", penalty="l1", alpha=alpha, fit_intercept=False,
                             tol=1e-8, optimizer="working_set").fit(X, y).coef_
        best, start = (objective(X, y, alpha, W) for W in (exact, np.zeros_like(exact)))
        for label, model in contenders(alpha, len(y)):
            recall.clear()
            began = time.process_time()
            model.fit(X, y)
            seconds = time.process_time() - began
            left = (objective(X, y, alpha, model.coef_) - best) / (start - best)
            print(f"{name}, alpha={alpha:g}: {label:23} {seconds:6.3f} s, {left:8.1e} left, "
                  f"{getattr(model, 'optimizer_', '')!s:.18}", flush=True)


if __name__ == "__main__":
    main()
