"""Progressive loss of one pass over a stream: predict a row, pay its loss, learn it.

Run from the root of the repository::

    python docs/benchmarks/streaming.py [folder of data sets] > docs/benchmarks/streaming.md

Without a folder it takes data sets that come with scikit-learn. Peers that are not installed are
left out: River, Vowpal Wabbit. Rows are shuffled once (elec2 keeps its order in time), at most
100,000; nothing is regularised. Columns are raw, unless a column says "standardised": by the mean
and deviation of all rows, which a stream does not have. "tuned" is the best of a grid of rates on
standardised columns, chosen by the very loss that is shown: for scikit-learn constant ones and those
that fall with the fourth and the second root of time, for Vowpal Wabbit its adaptive ones; of the hinge
its predictions have no bounds.
"""

import contextlib
import io
import platform
import re
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from sklearn import datasets, linear_model
from sklearn.preprocessing import StandardScaler

from sgdest import GDClassifier, GDRegressor

ROWS = 100_000
#: rows for the peers that are called row by row from Python
SLOW_ROWS = 20_000
REAL = ("squared_error", "poisson")

#: name -> (file, targets from the stored ones, loss)
STREAMS = {
    "a9a log": ("a9a", lambda y: y, "log_loss"),
    "ijcnn1 log": ("ijcnn1", lambda y: y, "log_loss"),
    "covtype20k log": ("covtype20k", lambda y: y == 2, "log_loss"),
    "elec2 log": ("elec2", lambda y: y, "log_loss"),
    "freMTPL2-bin log": ("freMTPL2", lambda y: y > 0, "log_loss"),
    "mnist log": ("mnist", lambda y: y % 2, "log_loss"),
    "newsgroups20 log": ("newsgroups20", lambda y: (y >= 1) & (y <= 5), "log_loss"),
    "sms_spam log": ("sms_spam", lambda y: y, "log_loss"),
    "california squared": ("california", lambda y: (y - y.mean()) / y.std(), "squared_error"),
    "freMTPL2 Poisson": ("freMTPL2", lambda y: y, "poisson"),
    "covtype20k hinge": ("covtype20k", lambda y: y == 2, "hinge"),
    "newsgroups20 hinge": ("newsgroups20", lambda y: (y >= 1) & (y <= 5), "hinge"),
}


def load(folder, name):
    """X and y of a data set."""
    if (folder / f"{name}.npz").exists():
        data = np.load(folder / f"{name}.npz")
        return data["X"], data["y"].astype(float)
    return (sp.load_npz(folder / f"{name}.X.npz").tocsr(),
            np.load(folder / f"{name}.y.npy").astype(float))


def streams(folder):
    """(name, loss, X, y), in the order in which the rows come."""
    if folder is None:
        X, y = datasets.load_breast_cancer(return_X_y=True)
        yield "breast cancer log", "log_loss", X, y.astype(float)
        X, y = datasets.load_digits(return_X_y=True)
        yield "digits, odd, log", "log_loss", X, y % 2.0
        X, y = datasets.load_diabetes(return_X_y=True)
        yield "diabetes squared", "squared_error", X, (y - y.mean()) / y.std()
        return
    for name, (file, targets, loss) in STREAMS.items():
        X, y = load(folder, file)
        X, y = X[:ROWS], np.asarray(targets(y), dtype=float)[:ROWS]
        if file != "elec2":
            order = np.random.default_rng(1).permutation(len(y))
            X, y = X[order], y[order]
        yield name, loss, X, y


# -- one function per competitor: (loss, X, y) -> (mean loss, seconds), or None ------------------


def ours(loss, X, y):
    """``partial_fit`` at its defaults, without a penalty."""
    start = time.perf_counter()
    if loss in REAL:
        model = GDRegressor(loss, penalty=None, shuffle=False).partial_fit(X, y)
    else:
        model = GDClassifier(loss, penalty=None, shuffle=False).partial_fit(X, y, classes=[0, 1])
    return model.loss_curve_[-1], time.perf_counter() - start


def plain(loss, X, y):
    """Our plain SGD at one rate: the yardstick of the time per row."""
    if loss in REAL:
        model = GDRegressor(loss, penalty=None, shuffle=False, learning_rate=1e-12)
        more = {}
    else:
        model = GDClassifier(loss, penalty=None, shuffle=False, learning_rate=1e-12)
        more = {"classes": [0, 1]}
    start = time.perf_counter()
    model.partial_fit(X, y, **more)
    return np.nan, time.perf_counter() - start


def scikit_learn(loss, X, y, **settings):
    """SGDClassifier and SGDRegressor, at their defaults or not; they print the progressive loss."""
    kind = linear_model.SGDRegressor if loss in REAL else linear_model.SGDClassifier
    if loss == "poisson":
        return None
    model = kind(loss, penalty=None, max_iter=1, tol=None, shuffle=False, verbose=1,
                 **settings)
    printed = io.StringIO()
    start = time.perf_counter()
    try:
        with contextlib.redirect_stdout(printed):
            model.fit(X, y)
    except ValueError:  # weights overflow
        return np.inf, time.perf_counter() - start
    seconds = time.perf_counter() - start
    return float(re.findall(r"Avg\. loss: ([^\s,]+)", printed.getvalue())[-1]), seconds


def standardised(X):
    """The columns by their mean (of dense ones) and deviation."""
    return StandardScaler(with_mean=not sp.issparse(X)).fit_transform(X.astype(float))


def scikit_learn_standardised(loss, X, y):
    return scikit_learn(loss, standardised(X), y)


def best(runs):
    """The run of least loss; None if there is none."""
    return min((run for run in runs if run is not None and not np.isnan(run[0])), default=None)


def scikit_learn_tuned(loss, X, y):
    X = standardised(X)
    schedules = [{"learning_rate": "constant"}, {"learning_rate": "invscaling", "power_t": 0.25},
                 {"learning_rate": "invscaling", "power_t": 0.5}]
    return best(scikit_learn(loss, X, y, eta0=rate, **schedule)
                for schedule in schedules for rate in np.geomspace(1e-4, 10.0, 11))


def vowpal_wabbit_tuned(loss, X, y):
    X = standardised(X)
    return best(vowpal_wabbit(loss, X, y, rate) for rate in (0.03, 0.1, 0.5, 2.0))


def vowpal_wabbit(loss, X, y, rate=0.5):
    """VW, its defaults but for the rate; examples go through its parser."""
    try:
        from vowpalwabbit import Workspace
    except ImportError:
        return None
    name = {"log_loss": "logistic", "squared_error": "squared"}.get(loss, loss)
    # cut at -1 and 1, as they are by default, its predictions lose less than any linear model
    wide = "--min_prediction -1000 --max_prediction 1000" if loss == "hinge" else ""
    space = Workspace(f"--loss_function {name} -b 18 -l {rate} --quiet {wide}")
    X = sp.csr_array(X)
    start = time.perf_counter()
    for i, target in enumerate(y):
        low, high = X.indptr[i], X.indptr[i + 1]
        pairs = zip(X.indices[low:high].tolist(), X.data[low:high].tolist())
        label = target if loss in REAL else 2 * target - 1
        space.learn(f"{label:g} | " + " ".join(f"{j}:{x:.9g}" for j, x in pairs))
    seconds = time.perf_counter() - start
    total = space.get_sum_loss()
    space.finish()
    # VW's squared loss has no 1/2; its Poisson loss is a deviance, not comparable
    share = {"squared_error": 0.5, "poisson": np.nan}.get(loss, 1.0)
    return share * total / len(y), seconds


def river(loss, X, y):
    """SGD(0.01) after River's running StandardScaler, on the first rows."""
    if loss not in ("log_loss", "squared_error") or sp.issparse(X):
        return None
    try:
        from river import linear_model as models
        from river import optim, preprocessing
    except ImportError:
        return None
    kind = models.LinearRegression if loss in REAL else models.LogisticRegression
    scaler, model = preprocessing.StandardScaler(), kind(optimizer=optim.SGD(0.01))
    total, count = 0.0, min(len(y), SLOW_ROWS)
    start = time.perf_counter()
    for row, target in zip(X[:count].tolist(), y[:count].tolist()):
        x = dict(enumerate(row))
        scaler.learn_one(x)
        x = scaler.transform_one(x)
        if loss in REAL:
            total += (model.predict_one(x) - target) ** 2 / 2
            model.learn_one(x, target)
        else:
            total -= np.log(max(model.predict_proba_one(x)[bool(target)], 1e-300))
            model.learn_one(x, bool(target))
    return total / count, (time.perf_counter() - start) * len(y) / count


COMPETITORS = {
    "ours": ours,
    "scikit-learn": scikit_learn,
    "scikit-learn, standardised": scikit_learn_standardised,
    "scikit-learn, tuned": scikit_learn_tuned,
    "Vowpal Wabbit": vowpal_wabbit,
    "Vowpal Wabbit, tuned": vowpal_wabbit_tuned,
    f"River (first {SLOW_ROWS:,})": river,
    "plain": plain,
}


def shown(value):
    """A loss as the table shows it."""
    if value is None or np.isnan(value):
        return "-"
    return f"{value:.4f}" if value < 100 else "diverges"


def main(folder=None):
    warnings.simplefilter("ignore")
    results = {}
    for name, loss, X, y in streams(None if folder is None else Path(folder)):
        stored = X.nnz if sp.issparse(X) else np.count_nonzero(X)
        results[name, X.shape[0], round(stored / X.shape[0], 1)] = {
            peer: run(loss, X, y) for peer, run in COMPETITORS.items()
        }
        print(name, file=sys.stderr)
    peers = [peer for peer in COMPETITORS if any(row[peer] for row in results.values())]
    losses = [peer for peer in peers if peer != "plain"]
    print("# Streaming: progressive loss and time of one pass\n")
    print(f"`python docs/benchmarks/streaming.py`, {platform.machine()}, one thread.\n")
    print(__doc__.split("\n\n")[-1].strip() + "\n")
    print("## Mean progressive loss\n")
    print("| stream | rows | non-zeros | " + " | ".join(losses) + " |")
    print("|---|---|---|" + "---|" * len(losses))
    for (name, n, stored), row in results.items():
        cells = [shown(row[peer] and row[peer][0]) for peer in losses]
        print(f"| {name} | {n} | {stored:g} | " + " | ".join(cells) + " |")
    print("\n## Nanoseconds per row\n")
    print("\"plain\" is our SGD at one rate; peers include their parsing and copying.\n")
    print("| stream | " + " | ".join(peers) + " | ours / plain |")
    print("|---|" + "---|" * (len(peers) + 1))
    for (name, n, _), row in results.items():
        cells = [f"{row[p][1] / n * 1e9:,.0f}" if row[p] else "-" for p in peers]
        ratio = row["ours"][1] / row["plain"][1]
        print(f"| {name} | " + " | ".join(cells) + f" | {ratio:.1f} |")


if __name__ == "__main__":
    main(*sys.argv[1:])
