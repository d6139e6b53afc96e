"""The limits of this machine, measured: bare loops in C (limits.c), compiled for it when asked.

Each takes the rows of a race in random order and does what no such loop can do without, at the
best of some distances of prefetching, into the first- or the second-level cache. As every `fit`
must, they look once for numbers that are not finite, and shuffle the rows before each pass, as
scikit-learn does, whose order `compat` keeps. They sum no losses. They are not the limit of thought:
where a loop of ours is faster, its share is above 100 %.
"""

import ctypes
import itertools
import os
import shutil
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

import numpy as np

DISTANCES = (2, 3, 4, 8, 16, 32)
FLAGS = "-O3 -march=native -ffast-math -shared -fPIC".split()


@lru_cache(maxsize=1)
def libraries():
    """The compiled loops, which ask for rows into either cache; none where there is no compiler."""
    compiler = os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        return []
    folder, source, found = Path(tempfile.mkdtemp()), Path(__file__).parent / "limits.c", []
    for into in (3, 2):
        target = folder / f"limits{into}.so"
        done = subprocess.run([compiler, *FLAGS, f"-DINTO={into}", str(source), "-o", str(target),
                               "-lm"], check=False)
        if done.returncode == 0:
            found.append(ctypes.CDLL(str(target)))
    return found


def best_seconds(call, n_passes, prepare=None, once=None, distances=DISTANCES, n_trials=1):
    """A function that times passes of ``call(loops, ahead)`` where it was the fastest.

    ``once`` and ``prepare`` are called with the loops too, before all passes and before each. All
    pairs of loops and distances are tried ``n_trials`` times.
    """
    found = []

    def seconds(loops, ahead):
        start = time.perf_counter()
        if once is not None:
            once(loops)
        for _ in range(n_passes):
            if prepare is not None:
                prepare(loops)
            call(loops, ahead)
        return time.perf_counter() - start

    def run():
        if not found:
            found.append(min(itertools.product(libraries(), distances), key=lambda setting: min(
                seconds(*setting) for _ in range(n_trials))))
        return seconds(*found[0])

    return run


def named(loop, array):
    """The name of the loop for numbers like those of the array."""
    return f"{loop}_f{8 * array.itemsize}"


def pointer(array):
    """A pointer that keeps its array alive."""
    return array.ctypes.data_as(ctypes.c_void_p)


def size(n):
    return ctypes.c_ssize_t(n)


def steps(X, y, l1, n_passes):
    """Descent by single rows, log loss: a function that returns seconds; None without compiler."""
    rate = ctypes.c_double(1e-3)
    if not libraries():
        return None
    order, y = shuffled(len(y)), np.ascontiguousarray(y, dtype=np.int64)
    w, last = np.zeros((2, X.shape[1]))
    if isinstance(X, np.ndarray):
        return best_seconds(
            lambda loops, ahead: loops[named("steps", X)](
                size(len(y)), size(X.shape[1]), pointer(X), pointer(y), pointer(order),
                size(ahead), rate, pointer(w)),
            n_passes, **chores(X, order))
    arrays = [pointer(a) for a in (X.indptr, X.indices, X.data, y, order)]

    def csr(loops, ahead):
        last[:] = 0.0
        loops.steps_csr(size(len(y)), *arrays, size(ahead), rate, ctypes.c_double(l1),
                        pointer(w), pointer(last))

    return best_seconds(csr, n_passes, **chores(X.data, order))


def gradient(X, y, n_threads=1):
    """The gradient of all rows of a dense X, on threads with a part of the rows each; None for
    others. At the best of some distances and blocks."""
    if not libraries() or not isinstance(X, np.ndarray):
        return None
    y, w = np.ascontiguousarray(y, dtype=np.int64), np.zeros(X.shape[1])
    parts = [(rows, targets, np.zeros(X.shape[1])) for rows, targets in
             zip(np.array_split(X, n_threads), np.array_split(y, n_threads))]
    pool = ThreadPoolExecutor(max(1, n_threads - 1))

    def on(loops, part, block, ahead):
        rows, targets, g = part
        loops[named("gradient", X)](
            size(len(targets)), size(rows.shape[1]), pointer(rows), pointer(targets),
            size(block), size(ahead), pointer(w), pointer(g))

    def on_all(loops, setting):
        others = [pool.submit(on, loops, part, *setting) for part in parts[1:]]
        on(loops, parts[0], *setting)
        for other in others:
            other.result()

    settings = [(block, ahead) for block in (1, 2, 8, 16) for ahead in (0, 1, 2, 4, 8, 16, 32, 64)]
    return best_seconds(on_all, 1, distances=settings, n_trials=3)


def chores(values, order):
    """What a fit does beside its passes: arguments of ``best_seconds``."""
    return {"once": lambda loops: loops[named("squares", values)](size(values.size),
                                                                  pointer(values)),
            "prepare": lambda loops: loops.shuffle(size(len(order)), pointer(order))}


def reads(X, n_passes):
    """Reading the rows of a dense X in random order."""
    if not libraries():
        return None
    order = shuffled(len(X))
    return best_seconds(
        lambda loops, ahead: loops[named("reads", X)](
            size(len(X)), size(X.shape[1]), pointer(X), pointer(order), size(ahead)),
        n_passes, **chores(X, order))


def weights_only(n_rows, n_weights, n_passes):
    """Descent for many outputs without its rows: what their weights alone cost."""
    if not libraries():
        return None
    W = np.zeros(n_weights)
    return best_seconds(
        lambda loops, ahead: loops.weights_only(size(n_rows), size(n_weights), pointer(W)), n_passes)


def shuffled(n):
    return np.random.default_rng(0).permutation(n)
