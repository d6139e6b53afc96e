"""Pictures of a training: loss curves, and the walk of the parameters over the objective.

Both classes follow scikit-learn's displays: ``from_estimator`` computes and draws, ``plot`` draws
again. matplotlib is imported when something is drawn.
"""

import numpy as np
from sklearn.base import clone
from sklearn.utils.validation import check_is_fitted

__all__ = ["DescentPathDisplay", "LossCurveDisplay"]

# Okabe and Ito (2008): eight colours that colour-blind eyes can tell apart, with grey in the place
# of light yellow; lines differ in their dashes too, which survive a black-and-white print.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#808080")
# Five of them, so that 40 curves differ.
DASHES = ("-", "--", "-.", (0, (5, 1, 1, 1, 1, 1)), ":")
MARKERS = "os^Dv<>P"

X_LABELS = {
    "epoch": "epoch (passes over the data)",
    "rows": "rows seen",
    "seconds": "time (seconds)",
}


class LossCurveDisplay:
    """Loss curves of one or several fits.

    Make it by ``from_estimator`` or ``from_estimators``; the parameters are kept as attributes.

    Parameters
    ----------
    x : list of ndarrays of shape (n_points,)
        Epochs, rows or seconds of each curve.
    loss : list of ndarrays of shape (n_points,)
        The losses or objectives, one array per curve.
    validation : list of ndarrays of shape (n_points,) or None, default=None
        Losses on validation data, where there are any; drawn dashed in the curve's colour.
    x_label : str, default="epoch (passes over the data)"
    y_label : str, default="objective"
    y_scale : {"linear", "log"}, default="linear"
    name : str, list of str or None, default=None
        Names of the curves in the legend.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    lines_ : list of matplotlib Line2D
        One per curve, then those of the validation losses.

    See Also
    --------
    DescentPathDisplay : The walk of two parameters.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sgdest import GDRegressor, LossCurveDisplay
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = GDRegressor().fit(X, y)
    >>> LossCurveDisplay.from_estimator(model, y_scale="log")  # doctest: +SKIP
    """

    def __init__(
        self,
        *,
        x,
        loss,
        validation=None,
        x_label=X_LABELS["epoch"],
        y_label="objective",
        y_scale="linear",
        name=None,
    ):
        self.x, self.loss, self.validation = x, loss, validation
        self.x_label, self.y_label, self.y_scale, self.name = x_label, y_label, y_scale, name

    @classmethod
    def from_estimator(
        cls,
        estimator,
        *,
        x="epoch",
        y_scale="linear",
        minimum=None,
        ax=None,
        name=None,
        curve_kwargs=None,
    ):
        """Draw the loss curve of a fitted estimator.

        Parameters
        ----------
        estimator : fitted estimator
            GDClassifier, GDRegressor; scikit-learn's MLPClassifier and MLPRegressor
            (``loss_curve_``), HistGradientBoosting* with ``scoring="loss"`` and early stopping
            (``train_score_``), GradientBoosting*.
        x : {"epoch", "rows", "seconds"}, default="epoch"
            What the x-axis counts. Only our estimators know the seconds; rows are known for
            them and for scikit-learn's neural networks.
        y_scale : {"linear", "log"}, default="linear"
        minimum : float, default=None
            Taken off the losses, so that the curve shows what remains above it.
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.
        name : str, default=None
            Name in the legend; None is the name of the class.
        curve_kwargs : dict, default=None
            Keywords of matplotlib's ``plot``.

        Returns
        -------
        display : LossCurveDisplay
        """
        names = [type(estimator).__name__ if name is None else name]
        display = cls._of([estimator], names, x, y_scale, minimum)
        return display.plot(ax, curve_kwargs=curve_kwargs)

    @classmethod
    def from_estimators(
        cls,
        estimators,
        *,
        x="epoch",
        y_scale="linear",
        minimum=None,
        ax=None,
        name=None,
        curve_kwargs=None,
    ):
        """Draw the loss curves of several fitted estimators in one plot.

        Parameters
        ----------
        estimators : dict from names to fitted estimators, or list of fitted estimators
        x, y_scale, minimum, ax : see ``from_estimator``
        name : list of str, default=None
            Names in the legend; None takes the keys, or the names of the classes.
        curve_kwargs : dict or list of dict, default=None
            Keywords of matplotlib's ``plot``, for all curves or for each.

        Returns
        -------
        display : LossCurveDisplay
        """
        estimators, names = _named(estimators, name)
        display = cls._of(estimators, names, x, y_scale, minimum)
        return display.plot(ax, curve_kwargs=curve_kwargs)

    @classmethod
    def _of(cls, estimators, names, x, y_scale, minimum):
        """The display of fitted estimators, not drawn yet."""
        if x not in X_LABELS:
            raise ValueError(f"x must be one of {list(X_LABELS)}; got {x!r}.")
        if y_scale not in ("linear", "log"):
            raise ValueError(f"y_scale must be 'linear' or 'log'; got {y_scale!r}.")
        curves = [_curve(estimator, x) for estimator in estimators]
        lowest = 0.0 if minimum is None else float(minimum)
        ours = all(hasattr(estimator, "history_") for estimator in estimators)
        y_label = "objective" if ours else "training loss"
        return cls(
            x=[curve[0] for curve in curves],
            loss=[curve[1] - lowest for curve in curves],
            validation=[None if c[2] is None else c[2] - lowest for c in curves],
            x_label=X_LABELS[x],
            y_label=y_label if minimum is None else f"{y_label} above its minimum",
            y_scale=y_scale,
            name=names,
        )

    def plot(self, ax=None, *, name=None, curve_kwargs=None):
        """Draw the curves.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.
        name : str or list of str, default=None
            Names in the legend; None takes those of the display.
        curve_kwargs : dict or list of dict, default=None
            Keywords of matplotlib's ``plot``, for all curves or for each.

        Returns
        -------
        display : LossCurveDisplay
        """
        self.figure_, self.ax_ = _axes(ax)
        names = _names(self.name if name is None else name, len(self.loss))
        kwargs = _kwargs(curve_kwargs, len(self.loss))
        self.lines_ = []
        for i, (x, loss) in enumerate(zip(self.x, self.loss)):
            style = {"label": names[i], "linewidth": 1.8, **_style(i)}
            if len(x) == 1:
                style["marker"] = MARKERS[i % len(MARKERS)]
            self.lines_ += self.ax_.plot(x, loss, **{**style, **kwargs[i]})
        for i, held_out in enumerate(self.validation or ()):
            if held_out is not None:
                self._plot_validation(i, held_out, names[i])
        self.ax_.set_xlabel(self.x_label)
        self.ax_.set_ylabel(self.y_label)
        if self.y_scale == "log":
            self.ax_.set_yscale("log")
            _tick_within_a_decade(self.ax_)
        if self.x_label == X_LABELS["epoch"]:
            self.ax_.xaxis.get_major_locator().set_params(integer=True)
        for side in ("top", "right"):
            self.ax_.spines[side].set_visible(False)
        self.ax_.grid(True, color="0.9", linewidth=0.6)
        self.ax_.set_axisbelow(True)
        if self.name is not None or name is not None:
            self._place_legend(names)
        return self

    def _place_legend(self, names):
        """Where few names cover least; many go above the axes, where they cover nothing."""
        if len(self.lines_) <= 4:
            self.ax_.legend(frameon=True, framealpha=0.9, edgecolor="none")
        else:
            _legend_above(self.ax_, names)

    def _plot_validation(self, i, held_out, name):
        """The dashed curve of validation losses, its smallest value marked."""
        best = int(np.nanargmin(held_out))
        self.lines_ += self.ax_.plot(
            self.x[i][-len(held_out):],
            held_out,
            linestyle=(0, (4, 2)),
            linewidth=1.3,
            color=self.lines_[i].get_color(),
            marker="o",
            markevery=[best],
            markerfacecolor="white",
            label=f"{name}: loss on validation data (○ best)" if name else "validation (○ best)",
        )


class DescentPathDisplay:
    """Walks of two parameters on the contours of the objective.

    Make it by ``from_estimator`` or ``from_estimators``; the parameters are kept as attributes.

    Parameters
    ----------
    x, y : ndarrays of shape (n_x,) and (n_y,)
        Values of the two parameters along the axes.
    objective : ndarray of shape (n_y, n_x)
        The objective at each pair of them.
    paths : list of ndarrays of shape (n_points, 2)
        The walks.
    minimum : tuple (x, y, objective), default=None
        Where the objective is smallest; drawn as a star.
    x_label, y_label : str, default=""
    name : str, list of str or None, default=None
        Names of the walks in the legend.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    surface_ : matplotlib QuadContourSet
    lines_ : list of matplotlib Line2D
        One per walk.

    See Also
    --------
    LossCurveDisplay : The objective over the epochs.

    Examples
    --------
    >>> import numpy as np
    >>> from sgdest import DescentPathDisplay, GDRegressor
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(100, 1))
    >>> y = -5 * X[:, 0] + rng.normal(size=100)
    >>> model = GDRegressor().fit(X, y)
    >>> walk = np.array([[-10, -20], [-7, -10], [-5, 0]])
    >>> DescentPathDisplay.from_estimator(model, X, y, path=walk)  # doctest: +SKIP
    """

    def __init__(
        self, *, x, y, objective, paths, minimum=None, x_label="", y_label="", name=None
    ):
        self.x, self.y, self.objective, self.paths = x, y, objective, paths
        self.minimum, self.x_label, self.y_label, self.name = minimum, x_label, y_label, name

    @classmethod
    def from_estimator(
        cls,
        estimator,
        X,
        y,
        *,
        sample_weight=None,
        parameters=None,
        path=None,
        resolution=120,
        ax=None,
        name=None,
        curve_kwargs=None,
    ):
        """Draw the walk of a fitted estimator.

        All other parameters than the two on the axes have their values at the minimum.

        Parameters
        ----------
        estimator : fitted GDClassifier or GDRegressor
        X, y, sample_weight : the data of ``fit``
        parameters : pair of int, str or "intercept", default=None
            What the two axes show: positions in ``coef_.ravel()``, names of features, or the
            first intercept. None: the only coefficient and the intercept, or else the first two
            coefficients.
        path : ndarray of shape (n_points, 2) or RecordParameters, default=None
            The walk; None takes that of the ``RecordParameters`` among its callbacks.
        resolution : int, default=120
            Points along each axis at which the objective is evaluated.
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.
        name : str, default=None
            Name in the legend; None is the name of the class.
        curve_kwargs : dict, default=None
            Keywords of matplotlib's ``plot`` for the walk.

        Returns
        -------
        display : DescentPathDisplay
        """
        names = [type(estimator).__name__ if name is None else name]
        display = cls._of([estimator], names, X, y, sample_weight, parameters, [path], resolution)
        return display.plot(ax, curve_kwargs=curve_kwargs)

    @classmethod
    def from_estimators(
        cls,
        estimators,
        X,
        y,
        *,
        sample_weight=None,
        parameters=None,
        path=None,
        resolution=120,
        ax=None,
        name=None,
        curve_kwargs=None,
    ):
        """Draw the walks of several fitted estimators on the contours of the first's objective.

        Parameters
        ----------
        estimators : dict from names to fitted estimators, or list of fitted estimators
            They minimise the same objective.
        X, y, sample_weight, parameters : see ``from_estimator``
        path : list of walks, default=None
            One for each estimator, as in ``from_estimator``.
        resolution, ax : see ``from_estimator``
        name : list of str, default=None
            Names in the legend; None takes the keys, or the names of the classes.
        curve_kwargs : dict or list of dict, default=None
            Keywords of matplotlib's ``plot``, for all walks or for each.

        Returns
        -------
        display : DescentPathDisplay
        """
        estimators, names = _named(estimators, name)
        paths = [None] * len(names) if path is None else list(path)
        if len(paths) != len(names):
            raise ValueError(f"path must hold {len(names)} walks, one each; got {len(paths)}.")
        display = cls._of(estimators, names, X, y, sample_weight, parameters, paths, resolution)
        return display.plot(ax, curve_kwargs=curve_kwargs)

    @classmethod
    def _of(cls, estimators, names, X, y, sample_weight, parameters, paths, resolution):
        """The display of fitted estimators, not drawn yet."""
        for estimator in estimators:
            check_is_fitted(estimator)
        first = estimators[0]
        axes = _two_parameters(first, parameters)
        walks = [_walk(*pair, axes) for pair in zip(estimators, paths)]
        solved = _solved(first, X, y, sample_weight)
        place = [_entry(solved.coef_, solved.intercept_, axis) for axis in axes]
        limits = [_limits(walks, d, place[d]) for d in (0, 1)]
        grid = [np.linspace(*limit, resolution) for limit in limits]
        coef = np.tile(np.asarray(solved.coef_), (resolution, resolution) + (1,) * solved.coef_.ndim)
        intercept = np.tile(solved.intercept_, (resolution, resolution, 1))
        for axis, values in zip(axes, np.meshgrid(*grid)):
            if axis == "intercept":
                intercept[..., 0] = values
            else:
                coef.reshape(resolution, resolution, -1)[..., axis] = values
        return cls(
            x=grid[0],
            y=grid[1],
            objective=solved.objective(X, y, sample_weight, coef=coef, intercept=intercept),
            paths=walks,
            minimum=(*place, solved.objective(X, y, sample_weight)),
            x_label=_parameter_label(first, axes[0]),
            y_label=_parameter_label(first, axes[1]),
            name=names,
        )

    def plot(self, ax=None, *, name=None, curve_kwargs=None):
        """Draw the contours and the walks.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.
        name : str or list of str, default=None
            Names in the legend; None takes those of the display.
        curve_kwargs : dict or list of dict, default=None
            Keywords of matplotlib's ``plot``, for all walks or for each.

        Returns
        -------
        display : DescentPathDisplay
        """
        self.figure_, self.ax_ = _axes(ax)
        names = _names(self.name if name is None else name, len(self.paths))
        kwargs = _kwargs(curve_kwargs, len(self.paths))
        self._plot_surface()
        self.lines_ = []
        for i, path in enumerate(self.paths):
            marker = {"marker": MARKERS[i % len(MARKERS)], "markersize": 4, "linewidth": 1.4}
            style = {"label": names[i], **_style(i), **marker}
            if len(path) > 60:  # markers that touch hide the line
                style["markevery"] = len(path) // 30
            self.lines_ += self.ax_.plot(*path.T, **{**style, **kwargs[i]})
        starts = np.unique([path[0] for path in self.paths], axis=0)
        self.ax_.plot(*starts.T, "o", markersize=9, markerfacecolor="none", label="start",
                      markeredgecolor="black", markeredgewidth=1.2, linestyle="none")
        if self.minimum is not None:
            self.ax_.plot(*self.minimum[:2], "*", markersize=14, color="black", linestyle="none",
                          markeredgecolor="white", label="minimum", zorder=3)
        self.ax_.set(xlabel=self.x_label, ylabel=self.y_label,
                     xlim=(self.x[0], self.x[-1]), ylim=(self.y[0], self.y[-1]))
        _legend_above(self.ax_, [*names, "minimum"])
        return self

    def _plot_surface(self):
        """Filled contours, closer together near the minimum, with a bar of their values."""
        lowest = self.objective.min()
        if self.minimum is not None:
            lowest = min(lowest, self.minimum[2])
        rise = self.objective.max() - lowest
        # square roots of the rise in equal steps: rings of equal width on a quadratic bowl
        levels = lowest + rise * np.linspace(0.0, 1.0, 13) ** 2
        self.surface_ = self.ax_.contourf(self.x, self.y, self.objective, levels=levels,
                                          cmap="Greys", alpha=0.55)
        self.ax_.contour(self.x, self.y, self.objective, levels=levels, colors="0.55",
                         linewidths=0.5)
        bar = self.figure_.colorbar(self.surface_, ax=self.ax_, label="objective")
        decimals = max(0, int(2 - np.floor(np.log10(rise)))) if rise > 0 else 1
        bar.set_ticks(levels[::2], labels=[f"{level:.{decimals}f}" for level in levels[::2]])


# -- what both share -----------------------------------------------------------------------


def _axes(ax):
    """(figure, axes); matplotlib is imported here."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            "drawing needs matplotlib; install it by `pip install matplotlib`."
        ) from error
    if ax is not None:
        return ax.figure, ax
    return plt.subplots(layout="constrained")


def _named(estimators, name):
    """(list of estimators, list of names)."""
    if not len(estimators):
        raise ValueError("estimators must hold at least one fitted estimator; it is empty.")
    if isinstance(estimators, dict):
        names = list(map(str, estimators))
        estimators = list(estimators.values())
    else:
        estimators = list(estimators)
        names = [type(estimator).__name__ for estimator in estimators]
    return estimators, names if name is None else _names(name, len(names))


def _names(name, n_curves):
    """One name per curve."""
    names = [name] * n_curves if name is None or isinstance(name, str) else list(name)
    if len(names) != n_curves:
        raise ValueError(f"name must hold {n_curves} names, one per curve; got {names!r}.")
    return names


def _kwargs(curve_kwargs, n_curves):
    """One dict of keywords per curve."""
    if curve_kwargs is None or isinstance(curve_kwargs, dict):
        return [curve_kwargs or {}] * n_curves
    if len(curve_kwargs) != n_curves:
        raise ValueError(
            f"curve_kwargs must be None, a dict, or a list of {n_curves} dicts, one per curve; "
            f"got {curve_kwargs!r}."
        )
    return list(curve_kwargs)


def _style(i):
    """Colour and dashes of the i-th curve."""
    return {"color": COLOURS[i % len(COLOURS)], "linestyle": DASHES[i % len(DASHES)]}


def _legend_above(ax, names):
    """A legend above the axes, in as many columns as fit: nothing of the picture is covered."""
    columns = 46 // (max(len(str(name)) for name in names) + 5)
    ax.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), frameon=False, columnspacing=1.2,
              ncols=max(1, min(4, columns)), borderaxespad=0.3)


def _tick_within_a_decade(ax):
    """Plain numbers at 1, 2, 5 where a logarithmic axis spans too little for powers of ten."""
    from matplotlib.ticker import FormatStrFormatter, LogLocator, NullLocator

    low, high = ax.get_ylim()
    if high / low < 50:
        ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        ax.yaxis.set_major_formatter(FormatStrFormatter("%g"))
        ax.yaxis.set_minor_locator(NullLocator())


# -- loss curves ---------------------------------------------------------------------------


def _curve(estimator, x):
    """(x, losses, validation losses or None) of a fitted estimator."""
    check_is_fitted(estimator)
    if hasattr(estimator, "history_"):
        return _own_curve(estimator, x)
    name = type(estimator).__name__
    if hasattr(estimator, "loss_curve_"):
        losses = np.asarray(estimator.loss_curve_, dtype=float)
        epochs = np.arange(1, len(losses) + 1)
        rows = epochs * (estimator.t_ / estimator.n_iter_) if x == "rows" else None
    elif len(getattr(estimator, "train_score_", ())):
        losses, epochs = _boosting_losses(estimator)
        rows = None
    else:
        raise ValueError(
            f"{name} has no loss curve: neither history_ nor loss_curve_, and no values in "
            "train_score_, which HistGradientBoosting fills if early_stopping=True."
        )
    points = {"epoch": epochs, "rows": rows}.get(x)
    if points is None:
        raise ValueError(f"{name} does not keep {x}; got x={x!r}. Use x='epoch'.")
    return points, losses, None


def _boosting_losses(estimator):
    """(losses, iterations) from the ``train_score_`` of scikit-learn's boosting."""
    scores = np.asarray(estimator.train_score_, dtype=float)
    if not hasattr(estimator, "scoring"):  # GradientBoosting*: losses, from the first tree on
        return scores, np.arange(1, len(scores) + 1)
    if estimator.scoring != "loss":
        raise ValueError(
            f"train_score_ holds losses only if scoring='loss'; got "
            f"scoring={estimator.scoring!r}."
        )
    return -scores, np.arange(len(scores))


def _own_curve(estimator, x):
    """The curve of our estimators; the exact objectives if a callback has recorded them."""
    history = estimator.history_
    points = history[x]
    held_out = None
    if estimator.scoring == "loss" and np.isfinite(history["validation"]).any():
        held_out = -history["validation"]
    exact = _recorded(estimator, "objective_path_")
    if exact is None or len(exact.objective_path_) != len(points) + 1:
        return points, history["objective"], held_out
    return np.concatenate([[0], points]), exact.objective_path_, held_out


def _recorded(estimator, attribute):
    """The callback that has recorded this of the estimator's own fit, or None."""
    for callback in getattr(estimator, "_skl_callbacks", ()):
        if hasattr(callback, attribute) and callback.holds(estimator):
            return callback
    return None


# -- descent paths -------------------------------------------------------------------------


def _two_parameters(estimator, parameters):
    """What the axes show: positions in ``coef_.ravel()`` or "intercept"."""
    size = estimator.coef_.size
    if parameters is None:
        if size == 1 and not estimator.fit_intercept:
            raise ValueError("a descent path needs two parameters; the model has one.")
        return (0, "intercept") if size == 1 else (0, 1)
    if len(parameters) != 2:
        raise ValueError(f"parameters must be a pair, one for each axis; got {parameters!r}.")
    names = list(getattr(estimator, "feature_names_in_", ()))
    found = [names.index(p) if p in names else p for p in parameters]
    for p in found:
        if p != "intercept" and not (isinstance(p, (int, np.integer)) and 0 <= p < size):
            raise ValueError(
                f"parameters must be positions below {size}, names of features, or 'intercept'; "
                f"got {p!r}."
            )
    return tuple(found)


def _parameter_label(estimator, axis):
    """Label of an axis."""
    if axis == "intercept":
        return "intercept $b$"
    names = getattr(estimator, "feature_names_in_", None)
    if names is None:
        return f"coefficient $w_{{{axis}}}$" if estimator.coef_.size > 1 else "coefficient $w$"
    return f"coefficient of {names[axis % len(names)]}"


def _entry(coef, intercept, axis):
    """The value of one parameter."""
    return float(intercept[0] if axis == "intercept" else np.ravel(coef)[axis])


def _walk(estimator, path, axes):
    """A walk as an array of shape (n_points, 2)."""
    record = _recorded(estimator, "coef_path_") if path is None else path
    if record is None:
        raise ValueError(
            "the walk of the parameters is not known: call "
            "`estimator.set_callbacks(RecordParameters())` before fit, or pass `path`."
        )
    if hasattr(record, "coef_path_"):
        pairs = zip(record.coef_path_, record.intercept_path_)
        return np.array([[_entry(coef, b, axis) for axis in axes] for coef, b in pairs])
    walk = np.asarray(record, dtype=float)
    if walk.ndim != 2 or walk.shape[1] != 2 or not len(walk):
        raise ValueError(f"path must have shape (n_points, 2); got {walk.shape}.")
    return walk


def _solved(estimator, X, y, sample_weight):
    """The same objective, minimised."""
    solver = clone(estimator)
    if hasattr(solver, "_skl_callbacks"):
        solver.set_callbacks()
    plain = dict(optimizer="auto", learning_rate="auto", batch_size="auto", average=False,
                 early_stopping=False, warm_start=False, verbose=0, max_iter=10_000, tol=1e-10)
    return solver.set_params(**plain).fit(X, y, sample_weight)


def _limits(walks, axis, place):
    """Range of one parameter: the finite points of the walks and the minimum, with a margin."""
    values = np.concatenate([walk[:, axis] for walk in walks] + [[place]])
    values = values[np.isfinite(values)]
    low, high = values.min(), values.max()
    width = high - low or max(1.0, abs(place))
    # the rings around the minimum shall be seen
    return min(low - 0.1 * width, place - 0.25 * width), max(
        high + 0.1 * width, place + 0.25 * width
    )
