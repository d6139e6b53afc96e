"""The contenders of races.py: who can minimise exactly the same objective, and how.

Each library has its best settings for the problem; a ladder of tolerances or of caps on the
iterations is climbed until a level is reached. Libraries that are not installed stay away.
"""

from dataclasses import dataclass
from importlib import import_module
from typing import Any, Callable

import numpy as np
import scipy.sparse as sp
from race_problems import EPSILON
from sklearn import linear_model, svm

from sgdest import GDClassifier, GDRegressor
from sgdest._core.gram import kept

CAPS = tuple(sorted({round(1.3**k) for k in range(48)}))  # 1, 2, 3, 4, 5, 6, 8, .. 226,000
TOLERANCES = tuple(10.0 ** (-k / 2) for k in range(2, 25))
ONCE = (None,)
TINY = 1e-14


@dataclass
class Contender:
    """A solver of one problem: ``fit(rung)`` returns a fitted model, for each rung of a ladder."""

    library: str
    solver: str
    ladder: tuple
    fit: Callable[[Any], Any]

    @property
    def name(self):
        return f"{self.library} {self.solver}".strip()


def ours(p, n_threads):
    """Default settings; the ladder is that of ``tol``."""
    cls = GDClassifier if p.is_classes else GDRegressor

    def fit(tol):
        kept.clear()  # a race is the first fit of its data
        model = cls(p.loss, penalty=p.penalty, alpha=p.alpha, l1_ratio=p.l1_ratio, tol=tol,
                    fit_intercept=p.fit_intercept, epsilon=EPSILON, max_iter=100_000,
                    random_state=0, n_jobs=n_threads)
        return model.fit(p.X, p.y)

    return Contender("sgdest", "", TOLERANCES, fit)


def peers(p, n_threads):
    """All contenders but ours that can solve the problem ``p``."""
    found = []
    for library, enter in LIBRARIES.items():
        try:
            entries = list(enter(p, n_threads))
        except ImportError:
            continue
        found += [Contender(library, *entry) for entry in entries]
    return found


def versions():
    """Library and version of those that are installed."""
    found = []
    for name in ("sklearn", "celer", "skglm", "snapml", "liblinear", "torch"):
        try:
            found.append(f"{name} {getattr(import_module(name), '__version__', '')}".strip())
        except ImportError:
            continue
    return found


# -- scikit-learn ---------------------------------------------------------------------------------
def scikit_learn(p, n_threads):
    enter = {"log_loss": _logistic, "squared_error": _least_squares, "poisson": _poisson,
             "squared_hinge": _support_vectors, "hinge": _support_vectors}
    yield from enter.get(p.loss, _nobody)(p)
    if p.n_outputs == 1 and (p.is_sparse or p.data.endswith("-std")):
        yield _stochastic(p)


def _nobody(p):
    return ()


def _capped(p, cls, **parameters):
    return lambda cap: cls(max_iter=cap, tol=TINY, **parameters).fit(p.X, p.y)


def _logistic(p):
    solvers = {"l2": ["lbfgs", "newton-cg", "newton-cholesky", "sag", "saga"], "l1": ["saga"],
               "elasticnet": ["saga"]}[p.penalty]
    C = 1.0 / (p.alpha * p.n_rows)
    for solver in solvers:
        if solver == "newton-cholesky" and p.n_features * p.n_outputs > 8_000:
            continue  # Hessians of gigabytes
        yield solver, CAPS, _capped(
            p, linear_model.LogisticRegression, solver=solver, C=C, l1_ratio=p.l1_ratio,
            fit_intercept=p.fit_intercept, random_state=0)
    if p.penalty != "elasticnet" and not p.fit_intercept and p.n_outputs == 1:
        shared = dict(solver="liblinear", C=C, l1_ratio=p.l1_ratio, fit_intercept=False,
                      random_state=0)
        cls = linear_model.LogisticRegression
        yield "liblinear", TOLERANCES, lambda tol: cls(
            tol=tol, max_iter=10_000, **shared).fit(p.X, p.y)
        if p.penalty == "l2":
            yield "liblinear dual", CAPS, _capped(p, cls, dual=True, **shared)


def _least_squares(p):
    shared = dict(fit_intercept=p.fit_intercept)
    if p.penalty == "l2":
        Ridge = linear_model.Ridge
        alpha = p.alpha * p.n_rows
        direct = ["cholesky"] if p.is_sparse else ["cholesky", "svd"]
        for solver in direct:
            if not (p.is_sparse and p.fit_intercept):
                yield f"Ridge {solver}", ONCE, lambda _, s=solver: Ridge(
                    alpha, solver=s, **shared).fit(p.X, p.y)
        for solver in ("sparse_cg", "lsqr", "sag", "saga"):
            if not (p.is_sparse and p.fit_intercept and solver in ("lsqr", "saga")):
                yield f"Ridge {solver}", CAPS, _capped(
                    p, Ridge, alpha=alpha, solver=solver, random_state=0, **shared)
        return
    for gram in (False,) if p.is_sparse else (False, True):
        yield f"ElasticNet gram={gram}", TOLERANCES, lambda tol, g=gram: linear_model.ElasticNet(
            p.alpha, l1_ratio=p.l1_ratio, precompute=g, tol=tol, max_iter=20_000, **shared
        ).fit(p.X, p.y)


def _poisson(p):
    for solver in ("lbfgs", "newton-cholesky"):
        yield solver, CAPS, _capped(p, linear_model.PoissonRegressor, alpha=p.alpha,
                                    solver=solver, fit_intercept=p.fit_intercept)


def _support_vectors(p):
    """LinearSVC penalises its intercept: only without one."""
    if p.fit_intercept or p.penalty != "l2":
        return
    for dual in (True, False) if p.loss == "squared_hinge" else (True,):
        shared = dict(loss=p.loss, C=1.0 / (p.alpha * p.n_rows), dual=dual, fit_intercept=False,
                      random_state=0)
        name = "LinearSVC dual" if dual else "LinearSVC primal"
        yield name, CAPS, _capped(p, svm.LinearSVC, **shared)
        if dual:  # its shrinking follows the tolerance
            yield f"{name}, tol", TOLERANCES, lambda tol: svm.LinearSVC(
                tol=tol, max_iter=2000, **shared).fit(p.X, p.y)


def _stochastic(p):
    cls = linear_model.SGDClassifier if p.is_classes else linear_model.SGDRegressor
    return "SGD", CAPS, lambda cap: cls(
        p.loss, penalty=p.penalty, alpha=p.alpha, l1_ratio=p.l1_ratio, max_iter=cap, tol=None,
        fit_intercept=p.fit_intercept, epsilon=EPSILON, average=True, learning_rate="optimal",
        random_state=0).fit(p.X, p.y)


# -- celer, skglm, snapml -------------------------------------------------------------------------
def celer(p, n_threads):
    import celer

    if p.penalty == "l2" or p.n_outputs > 1:
        return
    if p.loss == "log_loss" and p.penalty == "l1" and not p.fit_intercept:
        yield "LogisticRegression", TOLERANCES, lambda tol: celer.LogisticRegression(
            C=1.0 / (p.alpha * p.n_rows), tol=tol).fit(p.X, p.y)
    if p.loss == "squared_error":
        yield "ElasticNet", TOLERANCES, lambda tol: celer.ElasticNet(
            p.alpha, l1_ratio=p.l1_ratio, fit_intercept=p.fit_intercept, tol=tol).fit(p.X, p.y)


def skglm(p, n_threads):
    from skglm import GeneralizedLinearEstimator, datafits, penalties, solvers

    if p.n_outputs > 1:
        return
    datafit = {"log_loss": datafits.Logistic, "squared_error": datafits.Quadratic,
               "huber": lambda: datafits.Huber(EPSILON)}.get(p.loss)
    if datafit is None or (p.penalty == "l2" and p.loss != "huber"):
        return  # made for sparse models
    name = "ProxNewton" if p.loss == "log_loss" else "AndersonCD"
    shared = dict(fit_intercept=p.fit_intercept)
    if p.penalty == "l2":
        shared["ws_strategy"] = "fixpoint"

    def fit(tol):
        penalty = penalties.L1(p.alpha)
        if p.penalty != "l1":
            penalty = penalties.L1_plus_L2(p.alpha, p.l1_ratio)
        solver = getattr(solvers, name)(tol=tol, **shared)
        return GeneralizedLinearEstimator(datafit(), penalty, solver).fit(p.X, p.target)

    yield name, TOLERANCES, fit


def snapml(p, n_threads):
    """Its intercept is penalised: only without one."""
    import snapml

    if p.fit_intercept or p.n_outputs > 1 or p.penalty == "elasticnet":
        return
    shared = dict(regularizer=p.alpha * p.n_rows, n_jobs=n_threads, random_state=0, tol=TINY)
    if p.loss in ("hinge", "squared_hinge"):
        cls, extra = snapml.SupportVectorMachine, dict(loss=p.loss)
    elif p.loss in ("log_loss", "squared_error"):
        is_log = p.loss == "log_loss"
        cls = snapml.LogisticRegression if is_log else snapml.LinearRegression
        extra = dict(penalty=p.penalty, dual=p.penalty == "l2")
    else:
        return
    yield "", CAPS, lambda cap: cls(max_iter=cap, **shared, **extra).fit(p.X, p.y)


# -- LIBLINEAR itself: unlike scikit-learn's copy it can leave the intercept unpenalised ----------
class LibLinear:
    """A model of LIBLINEAR's Python binding."""

    def __init__(self, solver, C, tol):
        self.options = f"-s {solver} -c {C:.17g} -e {tol:.3g} -B 1 -R -q"

    def fit(self, X, y):
        from liblinear import liblinearutil

        model = liblinearutil.train(y, sp.csr_matrix(X), self.options)
        w = np.ctypeslib.as_array(model.w, (X.shape[1] + 1,)) * model.label[0]
        self.coef_, self.intercept_ = w[:-1].copy(), w[-1]
        return self


def liblinear(p, n_threads):
    import_module("liblinear.liblinearutil")
    solver = {("log_loss", "l2"): 0, ("squared_hinge", "l2"): 2, ("squared_hinge", "l1"): 5,
              ("log_loss", "l1"): 6}.get((p.loss, p.penalty))
    if solver is None or not p.fit_intercept or p.n_outputs > 1:
        return
    yield f"-s {solver} -R", TOLERANCES, lambda tol: LibLinear(
        solver, 1.0 / (p.alpha * p.n_rows), tol).fit(p.X, p.target)


# -- torch ----------------------------------------------------------------------------------------
class TorchLBFGS:
    """Full-batch L-BFGS with a strong Wolfe search on autograd's gradients."""

    def __init__(self, problem, cap, n_threads):
        self.problem, self.cap, self.n_threads = problem, cap, n_threads

    def fit(self, X, y):
        import torch

        torch.set_num_threads(self.n_threads)
        p = self.problem
        X = torch.from_numpy(X)
        y = torch.from_numpy(p.y if p.n_outputs > 1 else p.target.astype(np.float64))
        w = torch.zeros((p.n_features, p.n_outputs), dtype=torch.float64, requires_grad=True)
        b = torch.zeros(p.n_outputs, dtype=torch.float64, requires_grad=p.fit_intercept)
        loss = _torch_loss(torch, p)
        optimizer = torch.optim.LBFGS(
            [w, b] if p.fit_intercept else [w], max_iter=self.cap, history_size=20,
            tolerance_grad=TINY, tolerance_change=TINY, line_search_fn="strong_wolfe")

        def closure():
            optimizer.zero_grad()
            value = loss(X @ w + b, y) + 0.5 * p.alpha * (w * w).sum()
            value.backward()
            return value

        optimizer.step(closure)
        self.coef_, self.intercept_ = w.detach().numpy().T, b.detach().numpy()
        return self


def _torch_loss(torch, p):
    functional = torch.nn.functional
    if p.n_outputs > 1:
        return functional.cross_entropy
    value = {
        "log_loss": lambda z, y: functional.softplus(-y * z),
        "squared_error": lambda z, y: 0.5 * (y - z) ** 2,
        "squared_hinge": lambda z, y: functional.relu(1.0 - y * z) ** 2,
        "poisson": lambda z, y: z.exp() - y * z,
        "huber": lambda z, y: functional.huber_loss(z, y, reduction="none", delta=EPSILON),
    }[p.loss]
    return lambda z, y: value(z[:, 0], y).mean()


def torch(p, n_threads):
    import_module("torch")
    if p.is_sparse or p.penalty != "l2" or p.loss == "hinge":
        return
    yield "LBFGS", CAPS, lambda cap: TorchLBFGS(p, cap, n_threads).fit(p.X, p.y)


LIBRARIES = {"scikit-learn": scikit_learn, "celer": celer, "skglm": skglm, "snapml": snapml,
             "LIBLINEAR": liblinear, "torch": torch}
