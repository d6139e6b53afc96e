"""The races of goals.py: data, runners, what shows that both did the same work."""

import time
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import scipy.sparse as sp
from limits import gradient, reads, steps, weights_only
from sklearn import linear_model
from sklearn.neural_network import MLPClassifier
from threadpoolctl import threadpool_limits

from sgdest import GDClassifier, compat
from sgdest._core.losses import LOSSES, Multinomial
from sgdest._core.penalties import PENALTIES
from sgdest._core.problem import Problem

EPOCHS = 5
# With rows of length about 1 the first steps of rate 1 / (alpha t) are then no leaps, from which
# rounding alone would lead to other models.
ALPHA = {"l2": 1e-3, "l1": 1e-5}
RATE, ORDERED_RATE = 1.0, 0.1
# The runner that shows what the machine can do, where there is one.
LIMIT = "bare loop in C"


class Refused(Exception):
    """The sides of a race did not do the same work."""


class Race:
    """Abstract: runners by name, the first is the yardstick; a runner returns seconds.

    ``n_bytes``: what a runner must read at least; None where that says nothing. ``n_passes`` over
    the rows are one run. ``goals``: times as fast as the yardstick, by runner; ``share_goals``:
    shares of the bandwidth. ``limited_by``: a sentence on what limits it. ``n_runs``: runs for
    each repeat that is asked for.
    """

    n_runs = 1
    share_goals = {}
    n_passes = 1
    n_bytes = None
    limited_by = ""

    def __init__(self, name, n_rows, goals):
        self.name, self.n_rows, self.goals, self.runners = name, n_rows, goals, {}

    def prepare(self):
        """Make the data and ``runners``."""

    def check(self):
        """Raise Refused unless all did the same work."""

    def threads_of(self, runner):
        """How many threads a runner has."""
        return 1

    def limit_of(self, runner):
        """The name of the runner that shows the limit of this one."""
        return LIMIT


def dense(n_rows, n_features, dtype, rng):
    X = rng.standard_normal((n_rows, n_features)).astype(dtype)
    X /= n_features**0.5
    z = X @ rng.standard_normal(n_features) + 0.3 * rng.standard_normal(n_rows)
    return X, z > 0


def csr(n_rows, n_stored, n_features, rng):
    columns = rng.integers(0, n_features, (n_rows, n_stored), dtype=np.int32)
    starts = np.arange(0, n_rows * n_stored + 1, n_stored, dtype=np.int32)
    values = rng.standard_normal(n_rows * n_stored) / n_stored**0.5
    X = sp.csr_matrix((values, columns.ravel(), starts), shape=(n_rows, n_features))
    X.sum_duplicates()
    return X, X @ rng.standard_normal(n_features) > 0


def bytes_of(X):
    return X.nbytes if isinstance(X, np.ndarray) else X.data.nbytes + X.indices.nbytes


def seconds_of(work):
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def log_loss(X, y, coef, intercept):
    z = np.asarray(X @ coef.ravel() + intercept, dtype=float)
    return float(np.mean(np.logaddexp(0.0, z) - y * z))


class Steps(Race):
    """Epochs of stochastic descent: fits with the same number of steps."""

    n_passes = EPOCHS

    def __init__(self, name, n_rows, goals, data, penalty="l2", within=0.02):
        super().__init__(name, n_rows, goals)
        self.data, self.penalty, self.within = data, penalty, within
        self.models, self.margin = {}, None

    def prepare(self):
        self.X, y = self.data(np.random.default_rng(0))
        self.y = y.astype(int)
        self.n_bytes = EPOCHS * bytes_of(self.X)
        for name, model in self.competitors().items():
            self.models[name] = model
            self.runners[name] = lambda model=model: seconds_of(lambda: model.fit(self.X, self.y))
        limit = self.limit()
        if limit is not None:
            self.runners[LIMIT] = limit

    def limit(self):
        """A function that returns the seconds of a bare loop, or None."""
        return steps(self.X, self.y, ALPHA["l1"] * (self.penalty == "l1"), EPOCHS)

    def competitors(self):
        shared = self.shared()
        # scikit-learn's optimal rate leaps where alpha is as small as L1 wants it
        rate = {"learning_rate": "optimal"}
        if self.penalty == "l1":
            rate = {"learning_rate": "constant", "eta0": 0.5}
        if sp.issparse(self.X):
            # there scikit-learn moves the intercept at a hundredth of the rate: other steps
            rate["fit_intercept"] = False
        return {
            "scikit-learn": linear_model.SGDClassifier("log_loss", **rate, **shared),
            "compat": compat.SGDClassifier("log_loss", **rate, **shared),
            "GDClassifier": GDClassifier(optimizer="sgd", **rate, **shared),
        }

    def shared(self):
        return dict(penalty=self.penalty, alpha=ALPHA[self.penalty], max_iter=EPOCHS, tol=None,
                    random_state=0)

    def check(self):
        first = next(iter(self.models.values()))
        zero, reference = np.log(2.0), self.objective(first)
        for name, model in self.models.items():
            expected = EPOCHS * self.n_rows + (not isinstance(model, GDClassifier))
            steps = getattr(model, "t_", expected)  # others do not count them
            if steps != expected:
                raise Refused(f"{name} made {steps} steps, not {expected}")
            self.agree(name, self.objective(model), reference, zero)

    def agree(self, name, objective, reference, zero):
        """The objectives agree to ``within`` of what was gained; compat's to rounding."""
        single = bytes_of(self.X[:1]) < 8 * self.X[:1].size  # float32
        within = 1e-6 if name == "compat" and not single else self.within
        if abs(objective - reference) > within * abs(zero - reference):
            raise Refused(f"{name} ended at {objective:.6g}, not {reference:.6g}")

    def objective(self, model):
        coef = np.asarray(model.coef_, dtype=float)
        penalty = {"l2": 0.5 * (coef**2).sum(), "l1": np.abs(coef).sum()}[self.penalty]
        return log_loss(self.X, self.y, coef, model.intercept_) + ALPHA[self.penalty] * penalty


class InOrder(Steps):
    """Rows in their order, without penalty and intercept: steps that other libraries take too."""

    def limit(self):
        return None

    def competitors(self):
        shared = dict(penalty=None, fit_intercept=False, learning_rate="constant",
                      eta0=ORDERED_RATE, shuffle=False, max_iter=EPOCHS, tol=None)
        found = {
            "scikit-learn": linear_model.SGDClassifier("log_loss", **shared),
            "compat": compat.SGDClassifier("log_loss", **shared),
            "GDClassifier": GDClassifier(optimizer="sgd", **shared),
        }
        for name, cls in {"Vowpal Wabbit": VowpalWabbit, "River": River}.items():
            with suppress(ImportError):
                found[name] = cls()
        return found

    def objective(self, model):
        return log_loss(self.X, self.y, parameters(model)[0], 0.0)


class Rest(Steps):
    """One versus the rest of ten classes, hinge loss: ours reads X once for all."""

    def prepare(self):
        super().prepare()
        rng = np.random.default_rng(1)
        W = rng.standard_normal((self.X.shape[1], 10))
        self.y = (self.X @ W).argmax(axis=1)

    def limit(self):
        return weights_only(self.n_rows, 10 * self.X.shape[1], EPOCHS)

    def competitors(self):
        shared = self.shared()
        return {
            "scikit-learn": linear_model.SGDClassifier("hinge", **shared),
            "compat": compat.SGDClassifier("hinge", **shared),
            "GDClassifier": GDClassifier(
                "hinge", optimizer="sgd", learning_rate="optimal", n_jobs=1, **shared
            ),
        }

    def objective(self, model):
        z = self.X @ np.asarray(model.coef_).T + model.intercept_
        sign = np.where(self.y[:, None] == np.arange(10), 1.0, -1.0)
        losses = np.maximum(0.0, 1.0 - sign * z).mean(axis=0).sum()
        return losses + 0.5 * ALPHA["l2"] * (np.asarray(model.coef_) ** 2).sum()

    def agree(self, name, objective, reference, zero):
        super().agree(name, objective, reference, 10.0)  # hinge loss of ten zero margins


class MiniBatches(Steps):
    """Descent by batches of 256; scikit-learn's epoch of single rows is the yardstick."""

    def limit(self):
        return reads(self.X, EPOCHS)

    def competitors(self):
        shared = dict(penalty=None, max_iter=EPOCHS, tol=None, random_state=0)
        found = {
            "scikit-learn": linear_model.SGDClassifier(
                "log_loss", penalty=None, learning_rate="constant", eta0=RATE,
                max_iter=EPOCHS, tol=None, random_state=0),
            "GDClassifier": GDClassifier(
                optimizer="sgd", batch_size=256, learning_rate=RATE, **shared),
            "MLPClassifier()": MLPClassifier(
                (), solver="sgd", momentum=0.0, batch_size=256, alpha=0.0, tol=0.0,
                learning_rate_init=RATE, max_iter=EPOCHS, n_iter_no_change=EPOCHS + 1,
                random_state=0),
        }
        with suppress(ImportError):
            found["torch, sliced"] = Torch()
        return found

    def check(self):
        # another number of steps than scikit-learn by design: the others must agree with ours
        reference = log_loss(self.X, self.y, *parameters(self.models["GDClassifier"]))
        for name, model in self.models.items():
            if name != "scikit-learn":
                # (a network starts from small random weights)
                objective = log_loss(self.X, self.y, *parameters(model))
                self.agree(name, objective, reference, np.log(2.0))


def parameters(model):
    """(coef, intercept) of a linear model or of an MLP without hidden layers."""
    if isinstance(model, MLPClassifier):
        return model.coefs_[0], model.intercepts_[0]
    return np.asarray(model.coef_, dtype=float), model.intercept_


class Solvers(MiniBatches):
    """Batches of 256 by a solver that scikit-learn's networks have too, theirs without a layer.

    Runners have two threads, as at default settings on two processors, or one.
    """

    def __init__(self, name, n_rows, goals, data, optimizer, theirs, rate):
        super().__init__(name, n_rows, goals, data, within=0.1)
        self.optimizer, self.theirs, self.rate = optimizer, theirs, rate

    def prepare(self):
        super().prepare()
        for name in [name for name in self.runners if name.startswith("MLP")]:
            self.runners[name] = self.limited(self.runners[name], self.threads_of(name))

    def limited(self, runner, n_threads):
        """The runner with so many threads of the BLAS."""
        def run():
            with threadpool_limits(n_threads, "blas"):
                return runner()

        return run

    def threads_of(self, runner):
        return 2 if runner.endswith("2 threads") else 1

    def limit_of(self, runner):
        return LIMIT if self.threads_of(runner) == 1 else None

    def competitors(self):
        shared = dict(max_iter=EPOCHS, random_state=0, batch_size=256)
        theirs = dict(alpha=0.0, tol=0.0, learning_rate_init=self.rate,
                      n_iter_no_change=EPOCHS + 1, **self.theirs, **shared)
        ours = dict(optimizer=self.optimizer, learning_rate=self.rate, penalty=None, tol=None,
                    **shared)
        return {
            "MLPClassifier(), 2 threads": MLPClassifier((), **theirs),
            "MLPClassifier()": MLPClassifier((), **theirs),
            "GDClassifier, 2 threads": GDClassifier(n_jobs=2, **ours),
            "GDClassifier": GDClassifier(**ours),
        }

    def check(self):
        reference, zero = (log_loss(self.X, self.y, *parameters(model)) if model else np.log(2.0)
                           for model in (self.models["MLPClassifier()"], None))
        ours = log_loss(self.X, self.y, *parameters(self.models["GDClassifier"]))
        self.agree("GDClassifier", ours, reference, zero)


class Updates(Steps):
    """Batches of 256: what an optimizer costs beside plain SGD, the yardstick."""

    def __init__(self, name, n_rows, goals, data):
        super().__init__(name, n_rows, goals, data)

    def limit(self):
        return None

    def competitors(self):
        return {name: GDClassifier(optimizer=name, batch_size=256, learning_rate=0.1,
                                   **self.shared()) for name in ("sgd", *self.goals)}

    def check(self):
        counts = {name: model.t_ for name, model in self.models.items()}
        if len(set(counts.values())) > 1:
            raise Refused(f"the numbers of steps differ: {counts}")


class Torch:
    """A loop over slices of a shuffled tensor, as one writes it with torch."""

    def __init__(self):
        import torch

        self.torch = torch

    def fit(self, X, y):
        torch = self.torch
        torch.set_num_threads(1)
        X, y = torch.from_numpy(X), torch.from_numpy(y).to(torch.from_numpy(X).dtype)
        layer = torch.nn.Linear(X.shape[1], 1, dtype=X.dtype)
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
        optimizer = torch.optim.SGD(layer.parameters(), lr=RATE)
        loss = torch.nn.BCEWithLogitsLoss()
        for _ in range(EPOCHS):
            order = torch.randperm(len(X))
            for start in range(0, len(X), 256):
                rows = order[start : start + 256]
                optimizer.zero_grad()
                loss(layer(X[rows])[:, 0], y[rows]).backward()
                optimizer.step()
        self.coef_ = layer.weight.detach().numpy().astype(float)
        self.intercept_ = layer.bias.detach().numpy().astype(float)
        return self


class VowpalWabbit:
    """Plain descent by its driver, from the cache that it makes in its first fit."""

    def __init__(self):
        from vowpalwabbit import Workspace

        self.workspace, self.folder, self.intercept_ = Workspace, TemporaryDirectory(), 0.0

    def fit(self, X, y):
        path = Path(self.folder.name) / "rows"
        if not path.exists():
            path.write_text("\n".join(
                f"{2 * target - 1} | " + " ".join(f"{j}:{value:.9g}" for j, value in row.items())
                for row, target in zip(dicts(X), y)))
        space = self.workspace(
            f"-d {path} -c --passes {EPOCHS} --holdout_off --sgd --power_t 0 --initial_t 1 --quiet "
            f"-l {ORDERED_RATE} --loss_function logistic --noconstant -b 18")
        space.run_parser()
        self.coef_ = np.array([space.get_weight(j) for j in range(X.shape[1])])
        space.finish()
        return self


class River:
    """Its logistic regression; rows are dicts before the clock starts, but for the first fit."""

    def __init__(self):
        from river import linear_model, optim

        self.make = lambda: linear_model.LogisticRegression(
            optim.SGD(ORDERED_RATE), intercept_lr=0.0)
        self.rows, self.intercept_ = None, 0.0

    def fit(self, X, y):
        if self.rows is None:
            self.rows = [*zip(dicts(X), y.astype(bool).tolist())]
        model = self.make()
        for _ in range(EPOCHS):
            for row, target in self.rows:
                model.learn_one(row, target)
        self.coef_ = np.array([model.weights.get(j, 0.0) for j in range(X.shape[1])])
        return self


def dicts(X):
    """The rows, as dicts of values by column."""
    X = sp.csr_array(X)
    for low, high in zip(X.indptr[:-1], X.indptr[1:]):
        yield dict(zip(X.indices[low:high].tolist(), X.data[low:high].tolist()))


class Gradient(Race):
    """One gradient of all rows against reading them: the yardstick is the bandwidth measured."""

    n_runs = 8                 # of milliseconds: medians of few are noise

    def __init__(self, name, n_rows, goal, data):
        super().__init__(name, n_rows, {"2 threads": goal})
        self.data = data

    def prepare(self):
        X, y = self.data(np.random.default_rng(0))
        self.n_bytes = bytes_of(X)
        if isinstance(X, np.ndarray):
            self.share_goals = {"one thread": 0.8, "2 threads": 0.9}
        W, b, z = np.zeros((X.shape[1], 1)), np.zeros(1), np.zeros((self.n_rows, 1))
        for n, name in ((1, "one thread"), (2, "2 threads")):
            problem = Problem(X, y, LOSSES["log_loss"](), PENALTIES["l2"](ALPHA["l2"]),
                              n_threads=n)
            self.runners[name] = (
                lambda problem=problem: seconds_of(lambda: problem.evaluate(W, b, z)))
            bare = gradient(X, y, n)
            if bare is not None:
                self.runners[LIMIT if n == 1 else LIMIT + ", 2 threads"] = bare

    def threads_of(self, runner):
        return 2 if runner.endswith("2 threads") else 1

    def limit_of(self, runner):
        return LIMIT + ", 2 threads" if runner.endswith("2 threads") else LIMIT


class Softmax(Race):
    """Loss and gradient of ten classes in one pass against the two products of the BLAS."""

    def __init__(self, name, n_rows, goals, n_features, dtype):
        super().__init__(name, n_rows, goals)
        self.shape, self.dtype = (n_rows, n_features), dtype

    def prepare(self):
        rng = np.random.default_rng(0)
        X = rng.standard_normal(self.shape).astype(self.dtype)
        W = rng.standard_normal((self.shape[1], 10))
        y = (X @ W).argmax(axis=1).astype(float)
        problem = Problem(X, y, Multinomial(), PENALTIES["l2"](ALPHA["l2"]), n_outputs=10)
        z, V = np.empty((self.shape[0], 10)), W.astype(self.dtype)
        D = rng.standard_normal((self.shape[0], 10)).astype(self.dtype)

        def products():
            with threadpool_limits(1, "blas"):
                return seconds_of(lambda: (X @ V, X.T @ D))

        self.runners["two gemms"] = products
        self.runners["Problem"] = lambda: seconds_of(lambda: problem.evaluate(W, np.zeros(10), z))


class Outside(Race):
    """`fit` without its loop, which is timed apart and taken off."""

    def prepare(self):
        X, y = dense(self.n_rows, 10, float, np.random.default_rng(0))
        y = y.astype(int)
        import sklearn.linear_model._stochastic_gradient as theirs

        from sgdest import _base, _plain_sgd

        shared = dict(max_iter=1, tol=None, random_state=0)
        timed = Timed(
            (theirs, "_plain_sgd64"), (_plain_sgd.PlainSGD, "_descend"), (_base, "train"))
        for name, model in {
            "scikit-learn": linear_model.SGDClassifier("log_loss", **shared),
            "compat": compat.SGDClassifier("log_loss", **shared),
            "GDClassifier": GDClassifier(optimizer="sgd", learning_rate="optimal", **shared),
        }.items():
            self.runners[name] = lambda model=model: timed.rest(lambda: model.fit(X, y))


class Timed:
    """Counts the seconds that some functions take, given as (where, name)."""

    def __init__(self, *places):
        self.places, self.seconds = places, 0.0

    def counting(self, function):
        def call(*args, **kwargs):
            start = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                self.seconds += time.perf_counter() - start

        return call

    def rest(self, work):
        """Seconds of ``work`` outside those functions."""
        kept = [getattr(*place) for place in self.places]
        self.seconds = 0.0
        try:
            for (where, name), function in zip(self.places, kept):
                setattr(where, name, self.counting(function))
            return seconds_of(work) - self.seconds
        finally:
            for (where, name), function in zip(self.places, kept):
                setattr(where, name, function)


class Predict(Race):
    """`predict` of fitted models with the same coefficients."""

    def __init__(self, name, n_rows, goals, repeats=1):
        super().__init__(name, n_rows, goals)
        self.repeats = repeats

    def prepare(self):
        X, y = dense(max(self.n_rows, 1000), 54, float, np.random.default_rng(0))
        shared = dict(loss="log_loss", max_iter=2, tol=None, random_state=0)
        self.X = X[: self.n_rows]
        self.models = {
            "scikit-learn": linear_model.SGDClassifier(**shared),
            "compat": compat.SGDClassifier(**shared),
            "GDClassifier": GDClassifier(**shared),
        }
        first = self.models["scikit-learn"]
        for name, model in self.models.items():
            model.fit(X, y)
            model.coef_, model.intercept_ = first.coef_.copy(), first.intercept_.copy()
            self.runners[name] = lambda model=model: self.seconds(model)
        self.n_bytes = self.X.nbytes if self.n_rows > 1000 else None

    def seconds(self, model):
        return seconds_of(lambda: [model.predict(self.X) for _ in range(self.repeats)]
                          ) / self.repeats

    def check(self):
        answers = [model.predict(self.X) for model in self.models.values()]
        if any((answer != answers[0]).any() for answer in answers[1:]):
            raise Refused("they predict different labels")


def races():
    """Functions that make a race, from a factor of the number of rows."""
    found = []

    def add(cls, limited_by, name, n_rows, *args, **kwargs):
        def make(factor):
            n = n_rows if n_rows < 1000 else int(n_rows * factor)
            given = [bind(arg, n) if callable(arg) and not isinstance(arg, type) else arg
                     for arg in args]
            race = cls(name, n, *given, **kwargs)
            race.limited_by = limited_by
            return race

        found.append(make)

    def both(goal):
        return {"compat": goal, "GDClassifier": goal}

    sizes = {10: 400_000, 54: 200_000, 128: 100_000, 784: 20_000}
    for dtype, goals in ((np.float64, (6, 6, 6, 5)), (np.float32, (5, 6, 8, 8))):
        for (d, n), goal in zip(sizes.items(), goals):
            limit = "work of a step that does not shrink with the row: target, loss, rate"
            if d >= 54:
                limit = "reading X in random order"
            add(Steps, limit, f"dense {d} {dtype.__name__}", n, both(goal),
                lambda n, rng, d=d, dtype=dtype: dense(n, d, dtype, rng))
    for d, goal in ((54, 8), (784, 6)):
        add(MiniBatches, "reading X in random order", f"mini-batches 256, {d}", sizes[d],
            {"GDClassifier": goal}, lambda n, rng, d=d: dense(n, d, np.float64, rng), within=0.1)
    stored = {10: 400_000, 75: 100_000, 500: 20_000}
    for penalty, goals in (("l2", (7, 5, 1.8)), ("l1", (6, 5, 3.5))):
        for (k, n), goal in zip(stored.items(), goals):
            limit = "one addition to a scattered weight per entry"
            if penalty == "l1":
                limit = "the load, comparison and store of two numbers per entry"
            add(Steps, limit, f"CSR {k} {penalty}", n, both(goal),
                lambda n, rng, k=k: csr(n, k, 10_000, rng), penalty=penalty)
    calls = "calls, parsing and dicts of the others"
    add(InOrder, calls, "in order, 10", 50_000, {}, lambda n, rng: dense(n, 10, np.float64, rng))
    add(InOrder, calls, "in order, CSR 75", 10_000, {}, lambda n, rng: csr(n, 75, 10_000, rng))
    wide = lambda n, rng: dense(n, 784, np.float64, rng)
    for optimizer, theirs, rate in (
        ("momentum", {"solver": "sgd", "nesterovs_momentum": False}, 0.1 * RATE),
        ("nesterov", {"solver": "sgd"}, 0.1 * RATE), ("adam", {"solver": "adam"}, 0.01),
    ):
        add(Solvers, "reading X in random order", f"mini-batches 256, 784, {optimizer}",
            sizes[784], {"GDClassifier, 2 threads": 5}, wide, optimizer, theirs, rate)
    add(Updates, "a root and a division per coordinate, hidden behind the memory",
        "optimizers, dense 784", sizes[784],
        dict.fromkeys(("momentum", "adagrad", "adam"), 1 / 1.3), wide)
    add(Updates, "a step of every feature per batch: a root and a division each",
        "optimizers, CSR 75 of 20,000", stored[75],
        dict.fromkeys(("momentum", "nesterov", "adagrad", "ftrl"), 0.5),
        lambda n, rng: csr(n, 75, 20_000, rng))
    for d in (54, 128, 784):
        for dtype in (np.float64, np.float32):
            add(Gradient, "bandwidth; a narrow row, the loss", f"gradient {d} {dtype.__name__}",
                sizes[d], 1.8, lambda n, rng, d=d, dtype=dtype: dense(n, d, dtype, rng))
    add(Gradient, "scattered additions; two threads double them", "gradient CSR 75", stored[75],
        1.8, lambda n, rng: csr(n, 75, 10_000, rng))
    for dtype in (np.float64, np.float32):
        add(Softmax, "multiplications, in registers", f"softmax 784 {dtype.__name__}", sizes[784],
            {"Problem": 2.0}, n_features=784, dtype=dtype)
    for d, goal in ((54, 6), (784, 8)):
        add(Rest, "loads and stores of K weights a feature", f"one versus rest, {d}",
            sizes[d] // 2, {"GDClassifier": goal},
            lambda n, rng, d=d: dense(n, d, np.float64, rng), within=0.1)
    add(Outside, "one pass over X for the finite check, one over y", "fit outside the loop",
        1_000_000, both(5))
    add(Predict, "reading X once", "predict", 100_000, both(2))
    add(Predict, "calls in Python", "predict one row", 1, {}, repeats=200)
    return found


def bind(data, n):
    """``data`` of n rows."""
    return lambda rng: data(n, rng)


RACES = races()
