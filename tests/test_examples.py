"""Every example runs, saves its picture, and shows what its first lines say."""

import importlib.util
import warnings
from pathlib import Path

import numpy as np
import pytest
import sklearn
from numpy.testing import assert_allclose
from sklearn.utils.fixes import parse_version

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")

FOLDER = Path(__file__).parents[1] / "docs" / "examples"
EXAMPLES = sorted(FOLDER.glob("plot_*.py"))
HAS_CALLBACKS = parse_version(sklearn.__version__) >= parse_version("1.9")


def run(name, folder):
    """What ``main`` of an example returns; no warning may escape it."""
    path = FOLDER / f"{name}.py"
    if not HAS_CALLBACKS and "set_callbacks" in path.read_text():
        pytest.skip("needs the callbacks of scikit-learn 1.9")
    spec = importlib.util.spec_from_file_location(name, path)
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = example.main(folder)
    picture = folder / f"{name.removeprefix('plot_')}.png"
    assert picture.read_bytes().startswith(b"\x89PNG")
    return result


def test_all_examples_are_here():
    tested = {"batch_sizes", "l1_l2", "learning_rates", "line_fit", "optimizers", "own_loss",
              "quadratic", "schedules"}
    assert {path.stem.removeprefix("plot_") for path in EXAMPLES} == tested


def recorded(model):
    """The exact objectives along a fit."""
    return model._skl_callbacks[0].objective_path_


def test_fewer_rows_per_step_go_faster_at_first_and_stay_noisy(tmp_path):
    batch, some, one = map(recorded, run("plot_batch_sizes", tmp_path).values())
    assert one[1] < some[1] < batch[1]
    assert some[-1] < min(one[-1], batch[-1])
    assert (np.diff(batch) < 0).all() and (np.diff(one) > 0).any()


def test_iterations_fall_as_one_over_the_rate_until_it_diverges(tmp_path):
    needed = run("plot_learning_rates", tmp_path)
    # (1 - rate)^(2 k) <= 1e-6
    for rate in (0.001, 0.01, 0.1):
        assert_allclose(needed[rate], np.ceil(np.log(1e-6) / (2 * np.log(1 - rate))), atol=1)
    assert needed[1.0] == 1 and needed[10.0] is None


def test_the_walk_leads_from_the_start_towards_the_true_line(tmp_path):
    walk = run("plot_line_fit", tmp_path)
    assert walk.shape == (21, 2)
    assert_allclose(walk[0], [-10, -20])
    # the intercept's distance falls by 1 - 0.1 per step, the coefficient's faster
    assert abs(walk[-1, 1]) < 20 * 0.9**20 + 0.5 and abs(walk[-1, 0] + 5) < 0.5


def test_the_quadratic_is_found(tmp_path):
    # three standard errors of least squares with unit noise on 120 points in [-3, 3]
    assert_allclose(run("plot_quadratic", tmp_path), [0.5, 1.0, 2.0], atol=0.4)


def test_l1_zeroes_coefficients_and_l2_none(tmp_path):
    coefs = run("plot_l1_l2", tmp_path)
    survivors = (coefs["l1"] != 0).sum(axis=1)
    assert survivors[0] == 10 and survivors[-1] == 0 and len(set(survivors)) > 5
    assert (coefs["l2"] != 0).all()


def test_falling_rates_end_lower_than_a_constant_one(tmp_path):
    models = run("plot_schedules", tmp_path)
    ends = {name.split(",")[0]: recorded(model)[-1] for name, model in models.items()}
    for name in ("optimal", "a function", "auto"):
        assert ends[name] < ends["constant"]


def test_every_optimizer_comes_near_the_minimum(tmp_path):
    for model in run("plot_optimizers", tmp_path).values():
        path = recorded(model)
        assert path[-1] - path.min() < 0.05 * (path[0] - path.min())


def test_expectiles_balance_what_lies_above_and_below(tmp_path):
    x, y, models = run("plot_own_loss", tmp_path)
    for tau, model in models.items():
        r = y - model.predict(x[:, None])
        assert_allclose(tau * r[r > 0].sum(), (tau - 1) * r[r < 0].sum(), rtol=1e-5)
