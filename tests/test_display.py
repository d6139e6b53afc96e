"""Displays draw what the estimators recorded, in scikit-learn's conventions."""

import sys

import numpy as np
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_iris
from sklearn.ensemble import GradientBoostingRegressor, HistGradientBoostingRegressor
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import Ridge
from sklearn.neural_network import MLPRegressor
from sklearn.preprocessing import scale
from sklearn.utils.fixes import parse_version

from sgdest import DescentPathDisplay, GDClassifier, GDRegressor, LossCurveDisplay
from sgdest.callbacks import RecordObjective, RecordParameters
from sgdest.display import COLOURS, DASHES

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402  after the choice of the backend

needs_callbacks = pytest.mark.skipif(
    parse_version(sklearn.__version__) < parse_version("1.9"), reason="needs scikit-learn 1.9"
)
X, Y = scale(load_diabetes().data), load_diabetes().target / 100
PAIR = X[:, [2, 8]]
IRIS = scale(load_iris().data), load_iris().target
STEPS = dict(optimizer="sgd", learning_rate=0.01, max_iter=8, tol=None, random_state=0)


@pytest.fixture(autouse=True)
def close_all():
    yield
    plt.close("all")


def labels(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


# -- both ------------------------------------------------------------------------------------


def test_matplotlib_is_imported_only_when_something_is_drawn(run_python):
    code = (
        "import sys, sgdest\n"
        "d = sgdest.LossCurveDisplay(x=[[1, 2]], loss=[[2, 1]])\n"
        "assert 'matplotlib' not in sys.modules\n"
        "sys.modules['matplotlib.pyplot'] = None\n"
        "try:\n    d.plot()\n"
        "except ImportError as e:\n    assert 'pip install matplotlib' in str(e)\n"
        "else:\n    raise SystemExit('no error')\n"
    )
    run = run_python(code)
    assert run.returncode == 0, run.stderr


def test_40_curves_look_different():
    looks = {(COLOURS[i % len(COLOURS)], DASHES[i % len(DASHES)]) for i in range(40)}
    assert len(looks) == 40


@pytest.mark.parametrize("display", [LossCurveDisplay, DescentPathDisplay])
def test_an_estimator_that_is_not_fitted_is_told(display):
    data = (X, Y) if display is DescentPathDisplay else ()
    with pytest.raises(NotFittedError):
        display.from_estimator(GDRegressor(), *data)
    with pytest.raises(ValueError, match="at least one fitted estimator"):
        display.from_estimators({}, *data)


# -- loss curves -------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["sgd", "lbfgs"])
@pytest.mark.parametrize("x", ["epoch", "rows", "seconds"])
def test_the_line_is_the_history(optimizer, x):
    options = STEPS if optimizer == "sgd" else {}
    model = GDRegressor(**options).fit(X, Y)
    display = LossCurveDisplay.from_estimator(model, x=x)
    (line,) = display.lines_
    assert_array_equal(line.get_xdata(), model.history_[x])
    assert_array_equal(line.get_ydata(), model.loss_curve_)
    assert labels(display.ax_) == ["GDRegressor"]
    assert display.ax_.get_ylabel() == "objective"
    assert {"epoch": "passes", "rows": "rows seen", "seconds": "(seconds)"}[
        x
    ] in display.ax_.get_xlabel()


def test_several_fits_share_one_plot_with_their_names():
    models = {rate: GDRegressor(**{**STEPS, "learning_rate": rate}).fit(X, Y)
              for rate in (0.001, 0.01)}
    figure, ax = plt.subplots()
    display = LossCurveDisplay.from_estimators(models, ax=ax, y_scale="log")
    assert display.ax_ is ax and display.figure_ is figure and ax.get_yscale() == "log"
    assert labels(ax) == ["0.001", "0.01"]
    assert len({line.get_color() for line in display.lines_}) == 2
    again = display.plot(name=["slow", "fast"], curve_kwargs=[{"alpha": 0.5}, {}])
    assert again is display and display.ax_ is not ax
    assert labels(display.ax_) == ["slow", "fast"]
    assert [line.get_alpha() for line in display.lines_] == [0.5, None]
    of_list = LossCurveDisplay.from_estimators(list(models.values()), name=["a", "b"])
    assert labels(of_list.ax_) == ["a", "b"]


def test_a_minimum_is_taken_off():
    model = GDRegressor(**STEPS).fit(X, Y)
    display = LossCurveDisplay.from_estimator(model, minimum=1.5)
    assert_allclose(display.lines_[0].get_ydata(), model.loss_curve_ - 1.5)
    assert display.ax_.get_ylabel() == "objective above its minimum"


def test_validation_losses_are_drawn_with_their_best_epoch_marked():
    model = GDRegressor(early_stopping=True, **STEPS).fit(X, Y)
    display = LossCurveDisplay.from_estimator(model)
    assert_array_equal(display.lines_[1].get_ydata(), -model.validation_scores_)
    best = int(np.argmax(model.validation_scores_))
    assert display.lines_[1].get_markevery() == [best]
    # a score is not a loss: it has no place on this axis
    model.set_params(scoring="r2").fit(X, Y)
    assert len(LossCurveDisplay.from_estimator(model).lines_) == 1


@needs_callbacks
def test_exact_objectives_are_drawn_where_they_were_recorded():
    record = RecordObjective()
    model = GDRegressor(**STEPS).set_callbacks(record).fit(X, Y)
    line = LossCurveDisplay.from_estimator(model, x="rows").lines_[0]
    assert_array_equal(line.get_ydata(), record.objective_path_)
    assert_array_equal(line.get_xdata(), len(Y) * np.arange(9))
    other = clone(model).set_params(alpha=1.0).fit(X, Y)  # now the record is its own
    line = LossCurveDisplay.from_estimator(model).lines_[0]
    assert_array_equal(line.get_ydata(), model.loss_curve_)
    assert len(LossCurveDisplay.from_estimator(other).lines_[0].get_ydata()) == 9


@pytest.mark.parametrize("x", ["epoch", "rows"])
def test_neural_networks_of_scikit_learn_have_loss_curves(x):
    model = MLPRegressor(hidden_layer_sizes=(3,), max_iter=5, random_state=0, tol=0.0)
    with pytest.warns(UserWarning, match="hasn't converged"):
        model.fit(X, Y)
    display = LossCurveDisplay.from_estimator(model, x=x)
    assert_array_equal(display.lines_[0].get_ydata(), model.loss_curve_)
    unit = 1 if x == "epoch" else len(Y)
    assert_allclose(display.lines_[0].get_xdata(), unit * np.arange(1, 6))
    assert display.ax_.get_ylabel() == "training loss"


def test_boosting_of_scikit_learn_has_loss_curves():
    model = HistGradientBoostingRegressor(max_iter=5, early_stopping=True).fit(X, Y)
    line = LossCurveDisplay.from_estimator(model).lines_[0]
    assert_array_equal(line.get_ydata(), -model.train_score_)
    assert_array_equal(line.get_xdata(), np.arange(6))
    model = GradientBoostingRegressor(n_estimators=4).fit(X, Y)
    line = LossCurveDisplay.from_estimator(model).lines_[0]
    assert_array_equal(line.get_ydata(), model.train_score_)


@pytest.mark.parametrize(
    "model, kwargs, match",
    [
        (Ridge(), {}, "Ridge has no loss curve: neither history_ nor loss_curve_"),
        (HistGradientBoostingRegressor(max_iter=2), {}, "if early_stopping=True"),
        (HistGradientBoostingRegressor(max_iter=2, early_stopping=True, scoring="r2"), {},
         "only if scoring='loss'; got scoring='r2'"),
        (GradientBoostingRegressor(n_estimators=2), {"x": "seconds"}, "does not keep seconds"),
        (GDRegressor(), {"x": "steps"}, "x must be one of"),
        (GDRegressor(), {"y_scale": "sqrt"}, "y_scale must be 'linear' or 'log'"),
        (GDRegressor(), {"curve_kwargs": [{}, {}]}, "list of 1 dicts"),
    ],
    ids=str,
)
def test_what_cannot_be_drawn_is_told(model, kwargs, match):
    with pytest.raises(ValueError, match=match):
        LossCurveDisplay.from_estimator(model.fit(X, Y), **kwargs)


def test_the_legend_lies_off_the_curves():
    models = {rate: GDRegressor(**{**STEPS, "learning_rate": rate, "max_iter": 30}).fit(X, Y)
              for rate in (1e-4, 1e-3, 1e-2)}
    display = LossCurveDisplay.from_estimators(models, y_scale="log")
    display.figure_.canvas.draw()
    box = display.ax_.get_legend().get_window_extent()
    for line in display.lines_:
        points = display.ax_.transData.transform(line.get_xydata())
        assert not any(box.contains(*point) for point in points)


# -- descent paths -----------------------------------------------------------------------------

WALK = np.array([[0.0, 0.0], [0.3, 0.2], [0.35, 0.3]])


def test_the_surface_is_the_objective_and_the_star_its_minimum():
    model = GDRegressor(alpha=0.1, **STEPS).fit(PAIR, Y)
    display = DescentPathDisplay.from_estimator(model, PAIR, Y, path=WALK, resolution=20)
    solved = GDRegressor(alpha=0.1, tol=1e-10).fit(PAIR, Y)
    assert_allclose(display.minimum[:2], solved.coef_, rtol=1e-6)
    for i, j in ((0, 0), (3, 17), (19, 5)):
        value = solved.objective(PAIR, Y, coef=[display.x[j], display.y[i]])
        assert_allclose(display.objective[i, j], value, rtol=1e-10)
    assert display.minimum[2] <= display.objective.min()
    for walk in (WALK, np.array([display.minimum[:2]])):
        assert (display.x[0] < walk[:, 0]).all() and (walk[:, 0] < display.x[-1]).all()
        assert (display.y[0] < walk[:, 1]).all() and (walk[:, 1] < display.y[-1]).all()
    assert_array_equal(display.lines_[0].get_xydata(), WALK)
    assert labels(display.ax_) == ["GDRegressor", "start", "minimum"]
    assert display.ax_.get_xlabel() == "coefficient $w_{0}$"


@needs_callbacks
def test_recorded_walks_of_several_fits_are_drawn():
    models = {}
    for size in (None, 50, 1):
        model = GDRegressor(**{**STEPS, "batch_size": size})
        models[f"{size} rows"] = model.set_callbacks(RecordParameters()).fit(PAIR, Y)
    display = DescentPathDisplay.from_estimators(models, PAIR, Y, resolution=10)
    assert [len(path) for path in display.paths] == [9, 9, 9]
    for model, path in zip(models.values(), display.paths):
        assert_array_equal(path[-1], model.coef_)
    again = display.plot(name=["all", "50", "1"])
    assert labels(again.ax_) == ["all", "50", "1", "start", "minimum"]


@needs_callbacks
def test_one_coefficient_is_drawn_with_the_intercept():
    record = RecordParameters()
    model = GDRegressor(**STEPS).set_callbacks(record).fit(X[:, [2]], Y)
    display = DescentPathDisplay.from_estimator(model, X[:, [2]], Y, resolution=10)
    assert_array_equal(display.paths[0], np.c_[record.coef_path_, record.intercept_path_])
    assert display.ax_.get_ylabel() == "intercept $b$"
    given = DescentPathDisplay.from_estimator(model, X[:, [2]], Y, path=record, resolution=10)
    assert_array_equal(given.paths[0], display.paths[0])


def test_features_are_chosen_by_name_and_by_position():
    data = load_diabetes(as_frame=True)
    model = GDRegressor(alpha=0.01).fit(data.data, data.target)
    by_name = DescentPathDisplay.from_estimator(
        model, data.data, data.target, parameters=("bmi", "intercept"), path=WALK, resolution=5
    )
    by_place = DescentPathDisplay.from_estimator(
        model, data.data, data.target, parameters=(2, "intercept"), path=WALK, resolution=5
    )
    assert by_name.ax_.get_xlabel() == "coefficient of bmi"
    assert_array_equal(by_name.objective, by_place.objective)


def test_several_classes_have_their_coefficients_in_a_row():
    model = GDClassifier(alpha=0.1).fit(*IRIS)
    display = DescentPathDisplay.from_estimator(
        model, *IRIS, parameters=(3, 7), path=WALK, resolution=4
    )
    coef = GDClassifier(alpha=0.1, tol=1e-10).fit(*IRIS).coef_.copy()
    coef[0, 3], coef[1, 3] = display.x[1], display.y[2]
    assert_allclose(display.objective[2, 1], model.objective(*IRIS, coef=coef), rtol=1e-6)


@pytest.mark.parametrize(
    "kwargs, match",
    [
        ({}, "walk of the parameters is not known.*RecordParameters"),
        ({"path": np.zeros(3)}, r"path must have shape \(n_points, 2\); got \(3,\)"),
        ({"path": WALK, "parameters": (0, 99)}, "positions below 2.*got 99"),
        ({"path": WALK, "parameters": (0,)}, "must be a pair"),
    ],
)
def test_walks_that_cannot_be_drawn_are_told(kwargs, match):
    model = GDRegressor().fit(PAIR, Y)
    with pytest.raises(ValueError, match=match):
        DescentPathDisplay.from_estimator(model, PAIR, Y, **kwargs)
    with pytest.raises(ValueError, match="needs two parameters; the model has one"):
        one = GDRegressor(fit_intercept=False).fit(X[:, [0]], Y)
        DescentPathDisplay.from_estimator(one, X[:, [0]], Y, path=WALK)
