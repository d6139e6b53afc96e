"""Paths and grids: many values of ``alpha`` by warm starts and by ``GridSearchCV``.

Run from the root of the repository::

    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 python docs/benchmarks/paths.py [--data FOLDER]

A path is one call of ``regularization_path``, or a sequence of fits with ``warm_start=True``, from the
strongest penalty to the weakest; a grid is ``GridSearchCV`` with 3 folds over the same values, each
contender in the place of the estimator.
Every contender solves the same objectives. Those with a tolerance run at the coarsest one of their
ladder at which no point of the path is worse than a relative suboptimality of 1e-4; processor time,
the least of the repeats. Writes paths.md beside this file.
"""

import argparse
import os
import time
import warnings
from pathlib import Path

import numpy as np
from race_problems import Problem, bundled, shared
from sklearn import linear_model
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from sgdest import GDClassifier, GDRegressor, regularization_path
from sgdest._core.gram import kept
from sgdest._core.recall import recall

HERE = Path(__file__).parent
LEVEL = 1e-4
TOLERANCES = tuple(10.0 ** (-k / 2) for k in range(4, 21))
N_ALPHAS = 20
# data, loss, penalty, strengths as in race_problems.py, intercept
BUNDLED = [
    ("numbers", "squared_error", "l1", np.geomspace(1, 1e-2, N_ALPHAS), True),
    ("wide-numbers", "squared_error", "l1", np.geomspace(1, 1e-2, N_ALPHAS), True),
    ("numbers", "squared_error", "l2", np.geomspace(1e-3, 1e3, N_ALPHAS), True),
    ("mixed-std", "log_loss", "l2", np.geomspace(1e-3, 1e3, N_ALPHAS), True),
    ("words", "log_loss", "l1", np.geomspace(1, 1e-2, N_ALPHAS), False),
    ("words", "log_loss", "l2", np.geomspace(1e-2, 1e2, N_ALPHAS), False),
]
SHARED = [
    ("housing", "squared_error", "l1", np.geomspace(1, 1e-3, N_ALPHAS), True),
    ("digit", "squared_error", "l1", np.geomspace(1, 1e-2, N_ALPHAS), True),
    ("housing", "squared_error", "l2", np.geomspace(1e-3, 1e3, N_ALPHAS), True),
    ("claim", "log_loss", "l2", np.geomspace(1e-3, 1e3, N_ALPHAS), True),
    ("covtype-std", "log_loss", "l1", np.geomspace(1, 1e-2, N_ALPHAS), True),
    ("newsgroups", "log_loss", "l1", np.geomspace(1, 1e-2, N_ALPHAS), False),
    ("rcv1", "log_loss", "l2", np.geomspace(1e-2, 1e2, N_ALPHAS), False),
    ("sms", "log_loss", "l1", np.geomspace(1, 1e-2, N_ALPHAS), False),
]


class Task:
    """The problems of a path, strongest penalty first."""

    def __init__(self, data, loss, penalty, strengths, fit_intercept):
        self.name = f"{data} {loss} {penalty}" + (" +b" if fit_intercept else "")
        self.points = [Problem(data, loss, penalty, strength, fit_intercept)
                       for strength in strengths]

    def load(self, source):
        loaded = self.points[0].load(source)
        given = {self.points[0].data: lambda: (loaded.X, loaded.y)}
        for point in self.points[1:]:
            point.load(given)
        self.X, self.y, self.n_rows = loaded.X, loaded.y, loaded.n_rows
        self.penalty, self.loss = loaded.penalty, loaded.loss
        self.fit_intercept, self.is_sparse = loaded.fit_intercept, loaded.is_sparse
        self.alphas = [point.alpha for point in self.points]
        return self

    def objectives(self, models):
        return np.array([point.objective(*model) for point, model in zip(self.points, models)])


# -- Contenders: (name, estimator, what alpha is called, its value for a number of rows) ---------
def contenders(task):
    """Ours first. ``warm_start`` where it is offered."""
    cls = GDRegressor if task.loss == "squared_error" else GDClassifier
    ours = cls(task.loss, penalty=task.penalty, fit_intercept=task.fit_intercept,
               warm_start=True, random_state=0, max_iter=10_000)
    yield "sgdest", ours, "alpha", lambda alpha, n: alpha
    shared = dict(fit_intercept=task.fit_intercept)
    if task.loss == "squared_error":
        if task.penalty == "l2":
            yield "Ridge", linear_model.Ridge(**shared), "alpha", lambda alpha, n: alpha * n
            return
        for gram in (False, True):
            yield (f"Lasso gram={gram}", linear_model.Lasso(
                warm_start=True, precompute=gram, max_iter=100_000, **shared), "alpha",
                lambda alpha, n: alpha)
        return
    C = lambda alpha, n: 1.0 / (alpha * n)
    logistic = linear_model.LogisticRegression
    if task.penalty == "l1":
        if not task.fit_intercept:
            yield "liblinear", logistic(solver="liblinear", l1_ratio=1.0, max_iter=10_000,
                                        **shared), "C", C
        yield "saga", logistic(solver="saga", l1_ratio=1.0, warm_start=True, max_iter=3_000,
                               **shared), "C", C
    else:
        for solver in ("lbfgs", "newton-cg", *(() if task.is_sparse else ("newton-cholesky",))):
            yield solver, logistic(solver=solver, warm_start=True, max_iter=10_000, **shared), "C", C
        if not task.fit_intercept:
            yield "liblinear", logistic(solver="liblinear", max_iter=10_000, **shared), "C", C


def our_path(task, tol):
    """Models along the path by our function for it."""
    _, ours, *_ = next(contenders(task))
    model = clone(ours).set_params(tol=tol, warm_start=False)
    return [_parameters(one) for one in regularization_path(
        model, task.X, task.y, alphas=task.alphas)]


def celer_path(task, tol):
    """Models along the path by celer, where it is installed and solves the problem."""
    import celer

    if task.penalty != "l1" or (task.loss == "log_loss" and task.fit_intercept):
        return None
    X = np.asfortranarray(task.X) if not task.is_sparse else task.X.tocsc()
    if task.loss == "squared_error":
        model = celer.Lasso(tol=tol, warm_start=True, fit_intercept=True)
        values = [("alpha", alpha) for alpha in task.alphas]
    else:
        model = celer.LogisticRegression(tol=tol, warm_start=True, fit_intercept=False)
        values = [("C", 1.0 / (alpha * task.n_rows)) for alpha in task.alphas]
    return [_parameters(model.set_params(**{name: value}).fit(X, task.y))
            for name, value in values]


def lasso_path(task, tol):
    """Models along the path by scikit-learn's function for it."""
    if task.loss != "squared_error" or task.penalty != "l1":
        return None
    mean, at = task.X.mean(axis=0), task.y.mean()
    _, coefs, _ = linear_model.lasso_path(np.asfortranarray(task.X - mean), task.y - at, tol=tol,
                                          alphas=task.alphas, max_iter=100_000)
    return [(w.copy(), at - mean @ w) for w in coefs.T]


def glmnet_path(task, tol):
    """Models along the path by glmnet (PyPI: python-glmnet), where it is installed: all in one call."""
    import glmnet

    if task.penalty != "l1":
        return None
    kind = glmnet.ElasticNet if task.loss == "squared_error" else glmnet.LogitNet
    model = kind(lambda_path=np.array(task.alphas), standardize=False, n_splits=0, tol=tol,
                 fit_intercept=task.fit_intercept, max_iter=1_000_000).fit(task.X, task.y)
    coefs = model.coef_path_.reshape(-1, len(task.alphas))
    return [(w.copy(), b[None]) for w, b in zip(coefs.T, np.ravel(model.intercept_path_))]


def _parameters(model):
    return np.array(model.coef_), np.array(model.intercept_)


def path(task, estimator, name, value, tol):
    """Parameters along the path, each fit from where the one before ended."""
    model, found = clone(estimator), []
    if "tol" in model.get_params() and tol is not None:
        model.set_params(tol=tol)
    for alpha in task.alphas:
        found.append(_parameters(
            model.set_params(**{name: value(alpha, task.n_rows)}).fit(task.X, task.y)))
    return found


def grid(task, estimator, name, value, tol):
    """A search over the values of alpha with three folds."""
    rows = task.n_rows * 2 / 3
    model = clone(estimator)
    if "tol" in model.get_params() and tol is not None:
        model.set_params(tol=tol)
    values = [value(alpha, rows) for alpha in task.alphas]
    return GridSearchCV(model, {name: values}, cv=3, refit=False).fit(task.X, task.y)


def seconds(run, repeats):
    """Least processor time of some runs, and the last result."""
    least = np.inf
    for _ in range(repeats):
        kept.clear()  # what earlier runs have found out about the data
        recall.clear()
        start = time.process_time()
        found = run()
        least = min(least, time.process_time() - start)
    return least, found


def coarsest(task, run, best, limit):
    """The coarsest tolerance at which all points reach the level; None if there is none."""
    starts = np.array([point.start for point in task.points])
    for tol in TOLERANCES:
        start = time.process_time()
        found = run(tol)
        if found is None:
            return None
        if np.all(task.objectives(found) - best <= LEVEL * np.maximum(starts - best, 1e-12)):
            return tol
        if time.process_time() - start > limit:
            return None
    return None


def race(task, limit, repeats):
    """{name: (seconds of the path, seconds of the grid)}."""
    entries = list(contenders(task))
    name, ours, parameter, value = entries[0]
    best = task.objectives(path(task, ours, parameter, value, 1e-9))
    times = {}
    for name, estimator, parameter, value in entries:
        run = lambda tol: path(task, estimator, parameter, value, tol)
        tol = coarsest(task, run, best, limit)
        if tol is not None:
            along = seconds(lambda: run(tol), repeats)[0]
            search = seconds(lambda: grid(task, estimator, parameter, value, tol), repeats)[0]
            times[name] = along, search
    for name, run in (("regularization_path", our_path), ("celer", celer_path), ("glmnet", glmnet_path),
                      ("lasso_path", lasso_path)):
        try:
            tol = coarsest(task, lambda tol: run(task, tol), best, limit)
        except ImportError:
            continue
        if tol is not None:
            times[name] = seconds(lambda: run(task, tol), repeats)[0], None
    return times


def line(task, times):
    """A row of the table."""
    cells = [task.name, f"{task.n_rows} x {task.X.shape[1]}"]
    for k, ours in enumerate((("regularization_path", "sgdest"), ("sgdest",))):
        peers = {name: t[k] for name, t in times.items() if name not in OURS and t[k] is not None}
        mine = [times[name][k] for name in ours]
        cells += [f"{1e3 * time:.3g}" for time in mine]
        best = min(peers, key=peers.get, default=None)
        cells += (["none", "-"] if best is None else
                  [f"{best} {1e3 * peers[best]:.3g}", f"{peers[best] / mine[0]:.2f}"])
    return "| " + " | ".join(cells) + " |"


OURS = "regularization_path", "sgdest"
HEAD = ("| data, loss, penalty | rows x columns | our path | our fits | best peer | peer / path "
        "| our grid | best peer | peer / ours |\n|---|---|--:|--:|---|--:|--:|---|--:|")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="folder of the shared data sets; else bundled ones")
    parser.add_argument("--only", default="", help="tasks whose names contain this; no file")
    parser.add_argument("--limit", type=float, default=8.0, help="seconds of a rung of a ladder")
    parser.add_argument("--repeats", type=int, default=2)
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # of what has not converged yet
    tasks, source = (SHARED, shared(options.data)) if options.data else (BUNDLED, bundled())
    text = (f"# Paths and grids\n\n{N_ALPHAS} values of alpha, milliseconds of processor time, "
            f"{os.environ.get('OMP_NUM_THREADS', 'all')} threads. Path: `regularization_path`; fits: a "
            f"sequence of them with `warm_start=True`; no point worse than {LEVEL:g}. Grid: "
            "`GridSearchCV`, 3 folds.")
    print(text, HEAD, sep="\n\n", flush=True)
    lines = []
    for entry in tasks:
        task = Task(*entry)
        if options.only not in task.name:
            continue
        task.load(source)
        lines.append(line(task, race(task, options.limit, options.repeats)))
        print(lines[-1], flush=True)
    if not options.only:
        (HERE / "paths.md").write_text("\n\n".join([text, "\n".join([HEAD, *lines])]) + "\n")


if __name__ == "__main__":
    main()
