"""``fit`` needs little memory beside X: 5 % of it and 32 + 40 n_outputs bytes a row."""

import gc
import tracemalloc

import numpy as np
import pytest
import scipy.sparse as sp

from sgdest import GDClassifier, GDRegressor

N_ROWS = 50_000
RNG = np.random.default_rng(0)
DENSE = RNG.integers(0, 5, size=(N_ROWS, 40), dtype=np.uint8)
COLUMNS = 10 * np.arange(20, dtype=np.int32) + RNG.integers(
    0, 10, size=(N_ROWS, 20), dtype=np.int32
)
LAYOUTS = {
    "float64": DENSE.astype(np.float64),
    "float32": DENSE.astype(np.float32),
    "uint8": DENSE,
    "csr": sp.csr_array(
        (
            RNG.random(COLUMNS.size),
            COLUMNS.ravel(),
            np.arange(0, COLUMNS.size + 1, 20, dtype=np.int32),
        ),
        shape=(N_ROWS, 200),
    ),
}
CODES = RNG.integers(0, 10, size=N_ROWS)
REAL = RNG.normal(size=N_ROWS)
WEIGHTS = RNG.uniform(size=N_ROWS)
CASES = {
    "regressor": (GDRegressor, {}, REAL, 1),
    "weighted": (GDRegressor, {}, (REAL, WEIGHTS), 1),
    "pairs": (GDRegressor, {}, np.column_stack([REAL, WEIGHTS]), 2),
    "absolute error": (GDRegressor, dict(loss="absolute_error"), REAL, 1),
    "sgd": (GDRegressor, dict(optimizer="sgd"), REAL, 1),
    "binary": (GDClassifier, {}, CODES > 4, 1),
    "balanced": (GDClassifier, dict(class_weight="balanced"), (CODES > 4, WEIGHTS), 1),
    "strings": (GDClassifier, {}, np.where(CODES > 4, "yes", "no"), 1),
    "hinge": (GDClassifier, dict(loss="hinge"), CODES > 4, 1),
    "l1": (GDClassifier, dict(penalty="l1", alpha=0.01), CODES > 4, 1),
    "scale": (GDClassifier, dict(penalty_weights="scale"), CODES > 4, 1),
    "softmax": (GDClassifier, {}, CODES, 10),
    "one versus rest": (GDClassifier, dict(loss="squared_hinge"), CODES, 10),
    "stream": (GDClassifier, dict(optimizer="normalized_adaptive"), CODES, 10),
}


def size(X):
    return sum(
        a.nbytes for a in ((X.data, X.indices, X.indptr) if sp.issparse(X) else (X,))
    )


def peak(call):
    """Most bytes of arrays that a call holds at once."""
    gc.collect()
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("case", CASES)
def test_fit_needs_little_beside_the_rows(case, layout):
    kind, parameters, target, n_outputs = CASES[case]
    X = LAYOUTS[layout]
    y, s = target if isinstance(target, tuple) else (target, None)
    model = kind(max_iter=6, tol=None, n_jobs=1, **parameters)
    used = peak(lambda: model.fit(X, y, sample_weight=s))
    assert used <= 0.05 * size(X) + (32 + 40 * n_outputs) * N_ROWS


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    "parameters",
    [{}, dict(optimizer="sgd", learning_rate=1e-4)],
    ids=["default", "sgd"],
)
def test_partial_fit_needs_little_beside_the_rows(layout, parameters):
    X = LAYOUTS[layout]
    model = GDRegressor(**parameters).partial_fit(X[:100], REAL[:100])
    assert peak(lambda: model.partial_fit(X, REAL)) <= 0.05 * size(X) + 72 * N_ROWS


@pytest.mark.parametrize("layout", LAYOUTS)
def test_predict_needs_little_beside_its_result(layout):
    X = LAYOUTS[layout]
    model = GDRegressor().fit(X[:1000], REAL[:1000])
    assert peak(lambda: model.predict(X)) <= 0.05 * size(X) + 16 * N_ROWS
