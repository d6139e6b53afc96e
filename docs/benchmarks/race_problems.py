"""The problems of races.py: data, objectives, and the grid of races."""

from pathlib import Path

import numpy as np
import scipy.sparse as sp
from scipy.optimize import minimize_scalar
from scipy.special import expit, log_softmax
from sklearn import datasets
from sklearn.preprocessing import StandardScaler

EPSILON = 1.35  # of the huber loss, in units of the spread of y

# -- Losses: value and slope in z for one output; y is -1 or 1 where there are two classes -----
VALUES = {
    "log_loss": lambda y, z: np.logaddexp(0.0, -y * z),
    "squared_error": lambda y, z: 0.5 * (y - z) ** 2,
    "squared_hinge": lambda y, z: np.maximum(0.0, 1.0 - y * z) ** 2,
    "hinge": lambda y, z: np.maximum(0.0, 1.0 - y * z),
    "poisson": lambda y, z: np.exp(np.minimum(z, 700.0)) - y * z,
    "huber": lambda y, z: np.where(
        abs(y - z) <= EPSILON, 0.5 * (y - z) ** 2, EPSILON * (abs(y - z) - 0.5 * EPSILON)),
}
SLOPES = {
    "log_loss": lambda y, z: -y * expit(-y * z),
    "squared_error": lambda y, z: z - y,
    "squared_hinge": lambda y, z: -2.0 * y * np.maximum(0.0, 1.0 - y * z),
}
L1_RATIO = {"l2": 0.0, "l1": 1.0, "elasticnet": 0.5}


class Problem:
    """min over w, b of mean loss(y, X w + b) + alpha penalty(w); b = 0 without intercept.

    ``strength``: C = 1 / (alpha n) of penalty "l2", else ``alpha * l1_ratio`` as a share of the
    smallest with which w = 0.
    """

    def __init__(self, data, loss, penalty, strength, fit_intercept):
        self.data, self.loss, self.penalty = data, loss, penalty
        self.strength, self.fit_intercept = strength, fit_intercept
        shown = f"C={strength:g}" if penalty == "l2" else f"{penalty} {strength:g}"
        self.name = f"{data} {loss} {shown}" + (" +b" if fit_intercept else "")

    def load(self, source):
        """Read the data; ``source``: functions that return X, y by name."""
        self.X, self.y = source[self.data]()
        self.n_rows, self.n_features = self.X.shape
        self.is_sparse = sp.issparse(self.X)
        self.is_classes = self.loss in ("log_loss", "squared_hinge", "hinge")
        self.n_outputs = 1
        self.target = self.y
        if self.is_classes:
            classes, self.y = np.unique(self.y, return_inverse=True)
            self.n_outputs = len(classes) if len(classes) > 2 else 1
            self.target = 2.0 * self.y - 1.0
        self.l1_ratio = L1_RATIO[self.penalty]
        b = self._best_constant()
        self.alpha = 1.0 / (self.strength * self.n_rows)
        if self.penalty != "l2":
            slope = SLOPES[self.loss](self.target, b) / self.n_rows
            self.alpha = self.strength * abs(self.X.T @ slope).max() / self.l1_ratio
        self.start = self.objective(np.zeros((self.n_outputs, self.n_features)), b)
        return self

    def objective(self, coef, intercept):
        """The value that all contenders minimise."""
        coef = np.asarray(coef, dtype=float).reshape(self.n_outputs, -1)
        intercept = np.asarray(intercept, dtype=float).ravel()
        z = self.X @ coef.T + (intercept if self.fit_intercept else 0.0)
        with np.errstate(over="ignore", invalid="ignore"):
            size = self.l1_ratio * abs(coef).sum() + 0.5 * (1.0 - self.l1_ratio) * (coef**2).sum()
            return self._mean_loss(z) + self.alpha * size

    def suboptimality(self, objective, optimum):
        """0 at the optimum, 1 at the best constant model."""
        return (objective - optimum) / (self.start - optimum)

    def _mean_loss(self, z):
        if self.n_outputs > 1:
            return -log_softmax(z, axis=1)[np.arange(self.n_rows), self.y].mean()
        return VALUES[self.loss](self.target, z.ravel()).mean()

    def _best_constant(self):
        if not self.fit_intercept:
            return np.zeros(self.n_outputs)
        if self.n_outputs > 1:
            return np.log(np.bincount(self.y) / self.n_rows)
        ends = (-20.0, 20.0)
        if self.loss in ("squared_error", "huber"):
            ends = (self.y.min(), self.y.max())
        found = minimize_scalar(lambda b: VALUES[self.loss](self.target, b).mean(), bounds=ends,
                                method="bounded", options={"xatol": 1e-12})
        return np.array([found.x])


# -- Data -----------------------------------------------------------------------------------------
def standardised(X, y):
    return StandardScaler().fit_transform(X), y


def shared(folder):
    """Loaders of the data sets in ``folder``, as NumPy and SciPy files, by name."""
    folder = Path(folder)

    def sparse(name, target=lambda y: y):
        X = sp.csr_matrix(sp.load_npz(folder / f"{name}.X.npz"), dtype=float)
        return X, target(np.load(folder / f"{name}.y.npy"))

    def dense(name, target=lambda y: y, n_rows=None, scale=1):
        with np.load(folder / f"{name}.npz") as file:
            X, y = file["X"], file["y"]
        order = np.random.RandomState(0).permutation(len(y))[:n_rows]  # some are sorted
        return X[order].astype(float) / scale, target(y[order])

    forest = lambda y: y == 2
    return {
        "a9a": lambda: sparse("a9a"),
        "ijcnn1": lambda: sparse("ijcnn1"),
        "rcv1": lambda: sparse("rcv1_small"),
        "sms": lambda: sparse("sms_spam"),
        "newsgroups": lambda: sparse("newsgroups20", lambda y: y < 10),
        "newsgroups-20": lambda: sparse("newsgroups20"),
        "covtype": lambda: dense("covtype20k", forest),
        "covtype-std": lambda: standardised(*dense("covtype20k", forest)),
        "covtype-7": lambda: dense("covtype20k"),
        "covtype-std-7": lambda: standardised(*dense("covtype20k")),
        "mnist": lambda: dense("mnist", lambda y: y > 4, 10_000, 255),
        "mnist-10": lambda: dense("mnist", n_rows=5_000, scale=255),
        "mnist-wide": lambda: dense("mnist", lambda y: y > 4, 300, 255),
        "digit": lambda: dense("mnist", lambda y: y.astype(float), 10_000, 255),
        "elec": lambda: dense("elec2"),
        "housing": lambda: dense("california", lambda y: y / y.std()),
        "claims": lambda: dense("freMTPL2", n_rows=100_000),
        "claim": lambda: dense("freMTPL2", lambda y: y > 0, 100_000),
    }


def mixed_columns(rng, n_rows, n_features):
    """Correlated columns of scales 1e-2 .. 1e2, with offsets."""
    X = rng.standard_normal((n_rows, n_features))
    X = X @ (np.eye(n_features) + rng.standard_normal((n_features, n_features)) / n_features**0.5)
    scale = 10.0 ** rng.uniform(-2, 2, n_features)
    return X * scale + 3.0 * scale


def with_labels(make):
    """Two classes that a linear model of the columns separates up to noise."""
    rng = np.random.default_rng(0)
    X = make(rng)
    signal = (X - X.mean(axis=0)) / X.std(axis=0) @ rng.standard_normal(X.shape[1])
    return X, signal + signal.std() * rng.logistic(size=len(X)) > 0


def words(n_rows, n_features, n_words):
    """Rows of ``n_words`` words with Zipf frequencies and length 1; labels by some of them."""
    rng = np.random.default_rng(0)
    frequency = 1.0 / np.arange(5, n_features + 5)
    columns = rng.choice(n_features, (n_rows, n_words), p=frequency / frequency.sum())
    starts = np.arange(0, columns.size + 1, n_words)
    X = sp.csr_matrix((np.ones(columns.size), columns.ravel(), starts), (n_rows, n_features))
    X.sum_duplicates()
    X = X.multiply(np.log1p(1.0 / frequency)).tocsr()
    X = X.multiply(1.0 / np.sqrt(X.multiply(X).sum(axis=1))).tocsr()
    z = X @ rng.standard_normal(n_features)
    return X, z + 0.3 * z.std() * rng.standard_normal(n_rows) > np.median(z)


def counts(n_rows, n_features):
    rng = np.random.default_rng(0)
    X = mixed_columns(rng, n_rows, n_features)
    z = (X - X.mean(axis=0)) / X.std(axis=0) @ rng.standard_normal(n_features)
    return X, rng.poisson(np.exp(0.5 * z / z.std() - 1.0)).astype(float)


def numbers(n_rows, n_features, n_informative):
    X, y = datasets.make_regression(
        n_rows, n_features, n_informative=n_informative, effective_rank=n_features // 4,
        tail_strength=0.5, noise=1.0, random_state=0)
    return X, y / y.std()


def bundled(factor=1.0):
    """Loaders of scikit-learn's bundled and of generated data, by name."""
    n = lambda rows: int(factor * rows)
    bundle = lambda load: load(return_X_y=True)
    tall = lambda: with_labels(lambda rng: mixed_columns(rng, n(50_000), 50))
    wide = lambda: with_labels(lambda rng: rng.standard_normal((300, n(5_000))))
    diabetes = lambda: bundle(datasets.load_diabetes)
    return {
        "cancer": lambda: bundle(datasets.load_breast_cancer),
        "digits": lambda: bundle(datasets.load_digits),
        "diabetes": lambda: (diabetes()[0], diabetes()[1] / diabetes()[1].std()),
        "mixed": tall,
        "mixed-std": lambda: standardised(*tall()),
        "wide": wide,
        "words": lambda: words(n(10_000), n(20_000), 60),
        "few-words": lambda: words(n(2_000), n(20_000), 40),
        "counts": lambda: counts(n(50_000), 30),
        "numbers": lambda: numbers(n(20_000), 200, 20),
        "wide-numbers": lambda: numbers(300, n(5_000), 20),
    }


def small():
    """Loaders of small data, raw and standardised: what surrounds a solver counts as much as it does."""
    def made(*shape, **settings):
        return datasets.make_classification(*shape, n_informative=8, random_state=0, **settings)

    def events():
        rng = np.random.default_rng(0)
        X = rng.standard_normal((1000, 10))
        return X, rng.poisson(np.exp(0.3 * X[:, 0] + 0.1 * X[:, 1])).astype(float)

    def in_spreads(X, y):
        return X, y / y.std()

    loaders = {
        "iris": lambda: datasets.load_iris(return_X_y=True),
        "wine": lambda: datasets.load_wine(return_X_y=True),
        "cancer": lambda: datasets.load_breast_cancer(return_X_y=True),
        "digits": lambda: datasets.load_digits(return_X_y=True),
        "diabetes": lambda: in_spreads(*datasets.load_diabetes(return_X_y=True)),
        "made": lambda: made(600, 20),
        "made-3": lambda: made(600, 20, n_classes=3),
        "made-4": lambda: made(2000, 40, n_classes=4),
        "made-long": lambda: made(5000, 20),
        "events": events,
    }
    return loaders | {f"{name}-std": lambda load=load: standardised(*load())
                      for name, load in loaders.items()}


# -- The grids: data, loss, penalty, strengths, intercept ------------------------------------------
SHARED_GRID = [
    ("a9a", "log_loss", "l2", (0.01, 1, 100), True),
    ("a9a", "log_loss", "l1", (0.01,), True),
    ("a9a", "log_loss", "elasticnet", (0.01,), True),
    ("a9a", "squared_hinge", "l2", (1,), False),
    ("a9a", "hinge", "l2", (0.01, 1), False),
    ("ijcnn1", "log_loss", "l2", (1, 100), True),
    ("ijcnn1", "squared_hinge", "l2", (1,), False),
    ("ijcnn1", "hinge", "l2", (1,), False),
    ("covtype", "log_loss", "l2", (1, 100), True),
    ("covtype", "log_loss", "l1", (0.01,), True),
    ("covtype-std", "log_loss", "l2", (100,), True),
    ("covtype-std", "hinge", "l2", (1,), False),
    ("covtype-7", "log_loss", "l2", (1,), True),
    ("covtype-std-7", "log_loss", "l2", (1,), True),
    ("mnist", "log_loss", "l2", (1, 100), True),
    ("mnist", "log_loss", "l1", (0.01,), True),
    ("mnist-10", "log_loss", "l2", (1,), True),
    ("mnist-wide", "log_loss", "l2", (1,), True),
    ("digit", "squared_error", "l2", (1,), True),
    ("digit", "squared_error", "l1", (0.01,), True),
    ("newsgroups", "log_loss", "l2", (0.01, 1, 100), False),
    ("newsgroups", "log_loss", "l2", (1,), True),
    ("newsgroups", "log_loss", "l1", (0.01,), False),
    ("newsgroups", "squared_hinge", "l2", (1,), False),
    ("newsgroups", "hinge", "l2", (0.01, 1), False),
    ("newsgroups-20", "log_loss", "l2", (1,), True),
    ("rcv1", "log_loss", "l2", (100,), False),
    ("rcv1", "log_loss", "l1", (0.3,), False),
    ("rcv1", "hinge", "l2", (1,), False),
    ("sms", "log_loss", "l2", (1, 100), False),
    ("sms", "log_loss", "l2", (10,), True),
    ("sms", "log_loss", "l1", (0.02,), False),
    ("sms", "log_loss", "elasticnet", (0.02,), True),
    ("elec", "log_loss", "l2", (1,), True),
    ("elec", "log_loss", "l1", (0.1,), True),
    ("elec", "squared_hinge", "l2", (1,), False),
    ("housing", "squared_error", "l2", (1,), True),
    ("housing", "squared_error", "l1", (0.001,), True),
    ("housing", "squared_error", "elasticnet", (0.001,), True),
    ("housing", "huber", "l2", (1,), True),
    ("claims", "poisson", "l2", (1,), True),
    ("claims", "squared_error", "l2", (1,), True),
    ("claim", "log_loss", "l2", (1,), True),
]
BUNDLED_GRID = [
    ("cancer", "log_loss", "l2", (1, 100), True),
    ("cancer", "log_loss", "l1", (0.01,), True),
    ("cancer", "hinge", "l2", (1,), False),
    ("digits", "log_loss", "l2", (0.01, 1), True),
    ("diabetes", "squared_error", "l2", (1,), True),
    ("diabetes", "squared_error", "l1", (0.01,), True),
    ("diabetes", "huber", "l2", (1,), True),
    ("mixed", "log_loss", "l2", (0.01, 1, 100), True),
    ("mixed", "log_loss", "l1", (0.01,), True),
    ("mixed", "log_loss", "elasticnet", (0.01,), True),
    ("mixed", "squared_hinge", "l2", (1,), False),
    ("mixed-std", "log_loss", "l2", (1,), True),
    ("mixed-std", "squared_hinge", "l2", (1,), False),
    ("mixed-std", "hinge", "l2", (0.01, 1), False),
    ("wide", "log_loss", "l2", (1,), True),
    ("wide", "log_loss", "l1", (0.1,), False),
    ("wide", "hinge", "l2", (1,), False),
    ("words", "log_loss", "l2", (0.01, 1, 100), False),
    ("words", "log_loss", "l2", (1,), True),
    ("words", "log_loss", "l1", (0.01,), False),
    ("words", "log_loss", "elasticnet", (0.01,), True),
    ("words", "squared_hinge", "l2", (1,), False),
    ("words", "hinge", "l2", (0.01, 1), False),
    ("few-words", "log_loss", "l2", (1, 100), False),
    ("few-words", "log_loss", "l1", (0.1,), False),
    ("few-words", "hinge", "l2", (1,), False),
    ("counts", "poisson", "l2", (0.01, 1), True),
    ("numbers", "squared_error", "l2", (0.01, 1), True),
    ("numbers", "squared_error", "l1", (0.01, 0.1), True),
    ("numbers", "squared_error", "elasticnet", (0.01,), True),
    ("numbers", "huber", "l2", (1,), True),
    ("wide-numbers", "squared_error", "l2", (1,), True),
    ("wide-numbers", "squared_error", "l1", (0.01, 0.1), True),
]

SMALL_GRID = [
    *((data, "log_loss", "l2", (0.01, 1, 100), True)
      for data in ("iris", "iris-std", "wine", "wine-std", "cancer", "cancer-std", "digits",
                   "digits-std", "made", "made-3", "made-4", "made-long")),
    *((data, "log_loss", penalty, (0.01, 0.1), True)
      for data in ("cancer-std", "made", "made-long") for penalty in ("l1", "elasticnet")),
    *((data, loss, "l2", (0.01, 1), False)
      for data in ("cancer-std", "made", "made-long") for loss in ("squared_hinge", "hinge")),
    ("events", "poisson", "l2", (0.01, 1), True),
    ("diabetes", "huber", "l2", (1,), True),
    ("diabetes", "squared_error", "l2", (1,), True),
    ("diabetes", "squared_error", "l1", (0.01,), True),
]


def problems(grid):
    """The races of a grid."""
    return [Problem(data, loss, penalty, strength, fit_intercept)
            for data, loss, penalty, strengths, fit_intercept in grid
            for strength in strengths]
