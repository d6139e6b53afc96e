"""The optimizers make the steps of those of torch.optim that the guide names beside them.

``python tests/test_torch_map.py`` writes what the torch that is installed gives, for machines
without torch.
"""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

from sgdest import GDRegressor, optimizers

try:
    import torch
except ImportError:
    torch = None

GUIDE = Path(__file__).parents[1] / "docs" / "guide" / "torch.md"
STORED = Path(__file__).parent / "torch_steps.json"
ROWS = re.findall(r"^\| `(\w+\(w, .*\))` \| `(.*)` \|$", GUIDE.read_text(), re.M)
VALUES = {"r": 0.05, "m": 0.8, "a": 0.9, "b": 0.7, "c": 0.95, "e": 1e-6}
CLIPPED = [None, 0.4]
PASSES, BATCH = 3, 16


def data():
    """Numbers without a generator, whose stream may change."""
    i, j = np.ogrid[1:101, 1:6]
    X = np.sin(i * j**2.0) * np.sqrt(j)
    return X, X @ np.array([1.0, -2.0, 0.5, 0.0, 1.5]) + np.cos(7.0 * i[:, 0]) + 3.0


def by_torch(expression, clip_norm):
    """Coefficients and intercept after some passes of torch."""
    X, y = map(torch.from_numpy, data())
    w = [torch.zeros(5, dtype=torch.float64, requires_grad=True),
         torch.zeros(1, dtype=torch.float64, requires_grad=True)]
    optimizer = eval(expression, {**vars(torch.optim), **VALUES, "w": w})
    for _ in range(PASSES):
        for start in range(0, len(X), BATCH):
            rows = slice(start, start + BATCH)
            optimizer.zero_grad()
            (((X[rows] @ w[0] + w[1] - y[rows]) ** 2).mean() / 2).backward()
            if clip_norm is not None:
                torch.nn.utils.clip_grad_norm_(w, clip_norm)
            optimizer.step()
    return torch.cat(w).detach().numpy()


def by_sgdest(expression, clip_norm):
    """The same here."""
    X, y = data()
    optimizer = eval(expression, {**vars(optimizers), **VALUES})
    optimizer.set_params(clip_norm=clip_norm)
    model = GDRegressor(optimizer=optimizer, penalty=None, batch_size=BATCH, shuffle=False)
    for _ in range(PASSES):
        model.partial_fit(X, y)
    return np.append(model.coef_, model.intercept_)


def test_the_guide_names_every_optimizer_that_torch_has():
    names = {kind.__name__ for kind in optimizers.StepOptimizer.__subclasses__()}
    assert {ours.split("(")[0] for _, ours in ROWS} == names - {"FTRL"}


@pytest.mark.parametrize("clip_norm", CLIPPED)
@pytest.mark.parametrize("theirs, ours", ROWS)
def test_steps_are_those_that_torch_gave(theirs, ours, clip_norm):
    expected = json.loads(STORED.read_text())[f"{theirs} {clip_norm}"]
    assert_allclose(by_sgdest(ours, clip_norm), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.skipif(torch is None, reason="torch is not installed")
@pytest.mark.parametrize("clip_norm", CLIPPED)
@pytest.mark.parametrize("theirs, ours", ROWS)
def test_steps_are_those_of_the_installed_torch(theirs, ours, clip_norm):
    expected = by_torch(theirs, clip_norm)
    assert_allclose(by_sgdest(ours, clip_norm), expected, rtol=1e-10, atol=1e-12)


def test_defaults_are_those_of_torch():
    adam, rmsprop = optimizers.Adam(), optimizers.RMSprop()
    assert (adam.beta1, adam.beta2, adam.eps, adam.amsgrad) == (0.9, 0.999, 1e-8, False)
    assert (rmsprop.rho, rmsprop.eps) == (0.99, 1e-8)
    assert optimizers.Adagrad().eps == 1e-10
    sgd = optimizers.SGD()
    assert (sgd.momentum, sgd.nesterov) == (0.0, False)


if __name__ == "__main__":
    found = {f"{theirs} {clip_norm}": by_torch(theirs, clip_norm).tolist()
             for theirs, _ in ROWS for clip_norm in CLIPPED}
    STORED.write_text(json.dumps(found, indent=0) + "\n")
