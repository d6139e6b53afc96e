"""Step optimizers at work on a function of one's own, without an estimator."""

from numbers import Real

import numpy as np
from scipy.optimize import OptimizeResult, approx_fprime

from sgdest._core.losses import LOSSES
from sgdest._core.method import Optimizer
from sgdest._core.penalties import PENALTIES
from sgdest._core.problem import Problem
from sgdest._core.schedules import Constant, Function


class StepOptimizer(Optimizer):
    """Base of the optimizers that step along a gradient.

    They work in estimators, in a loop of one's own (``init``, ``step``), and as ``method`` of
    ``scipy.optimize.minimize``. In the latter two a rate must be given: "auto" needs data.

    Examples
    --------
    >>> import numpy as np
    >>> from sgdest.optimizers import SGD
    >>> optimizer = SGD(0.1)
    >>> x = np.array([3.0, -2.0])
    >>> state = optimizer.init(x)
    >>> for _ in range(100):
    ...     optimizer.step(x, 2 * x, state)
    >>> bool(abs(x).max() < 1e-8)
    True

    >>> from scipy.optimize import minimize, rosen
    >>> from sgdest.optimizers import Adam
    >>> result = minimize(rosen, [0.0, 0.0], method=Adam(0.01), options={"maxiter": 5000})
    >>> result.x.round(1)
    array([1., 1.])
    """

    kind = "step"
    #: how far a gradient moves the parameters in the end, in rates; None where each coordinate has
    #: a rate of its own
    noise_length = None

    def by_coordinates(self, problem, W, b, **settings):
        """The method that keeps a memory of each coordinate; see ``CoordinateMethod``."""
        return self.method(problem, W, b, **settings)

    def init(self, x):
        """The state before the first step: a dict of arrays shaped as ``x``, and numbers.

        Parameters
        ----------
        x : ndarray of any shape
            The parameters that ``step`` will change.

        Returns
        -------
        state : dict
        """
        return _state(_alone(self, np.zeros(np.size(x)), 0.0, {}), np.shape(x))

    def step(self, x, gradient, state, learning_rate=None):
        """Change ``x`` and ``state`` in place by one step.

        Parameters
        ----------
        x : ndarray of float64, C-contiguous
            The parameters.
        gradient : array-like of the same shape
            The gradient at ``x``.
        state : dict
            What ``init`` returned, as earlier steps left it.
        learning_rate : float > 0, default=None
            The rate of this step; None: that of the optimizer.

        Raises
        ------
        ValueError
            If there is no rate, shapes differ, or ``x`` cannot be changed in place.
        """
        _check_parameters(x)
        gradient = np.asarray(gradient, dtype=np.float64)
        if gradient.shape != x.shape:
            raise ValueError(
                f"gradient must have the shape of x, {x.shape}; got {gradient.shape}."
            )
        rate = _rate(self, learning_rate, state["t"] + 1)
        method = _alone(self, x.reshape(-1), rate, state)
        method.take(gradient.reshape(-1, 1))
        state.update(_state(method, x.shape))

    def __call__(self, fun, x0, args=(), **options):
        """Minimise ``fun`` from ``x0``: what ``scipy.optimize.minimize`` calls.

        Parameters
        ----------
        fun : callable (x, *args) -> float
        x0 : ndarray of shape (n,)
        args : tuple, default=()
        **options : jac, callback, maxiter, gtol, and what else SciPy passes on
            ``maxiter`` (default 1000) steps are made at most; ``gtol`` (default 1e-5): a gradient
            with no larger entry ends them. Without ``jac`` the gradient is numerical.

        Returns
        -------
        result : scipy.optimize.OptimizeResult
        """
        bounds, constraints = options.get("bounds"), options.get("constraints")
        if bounds is not None or constraints:
            raise ValueError(
                f"{type(self).__name__} takes no bounds and no constraints; got bounds={bounds!r}, "
                f"constraints={constraints!r}. Use method='L-BFGS-B' or 'SLSQP'."
            )
        return _minimise(self, fun, np.array(x0, dtype=np.float64), args, options)


def _minimise(optimizer, fun, x, args, options):
    """Steps until the gradient is small or ``maxiter`` is reached."""
    jac, callback = options.get("jac"), options.get("callback")
    gradient = jac if callable(jac) else lambda x, *args: approx_fprime(x, fun, 1.5e-8, *args)
    state, n_steps, status = optimizer.init(x), 0, 1
    maxiter, gtol = options.get("maxiter"), options.get("gtol", 1e-5)
    maxiter = 1000 if maxiter is None else maxiter
    while True:
        g = np.asarray(gradient(x, *args), dtype=np.float64)
        if not np.isfinite(g).all():
            status = 2
            break
        if np.abs(g).max() <= gtol:
            status = 0
            break
        if n_steps == maxiter:
            break
        optimizer.step(x, g, state)
        n_steps += 1
        if callback is not None:
            try:
                callback(x.copy())
            except StopIteration:
                status = 3
                break
    return OptimizeResult(
        x=x, fun=float(fun(x, *args)), jac=g, nit=n_steps, njev=n_steps + 1, nfev=1,
        status=status, success=status == 0,
        message=(
            "The gradient is at most gtol.",
            "Maximum number of iterations has been reached.",
            "The gradient is not finite: use a smaller learning rate.",
            "The callback raised StopIteration.",
        )[status],
    )


def _check_parameters(x):
    """ValueError unless ``x`` can be changed in place."""
    sound = isinstance(x, np.ndarray) and x.dtype == np.float64
    if not (sound and x.flags.c_contiguous and x.flags.writeable):
        raise ValueError(
            "x must be a writable, C-contiguous ndarray of float64, which step changes in place; "
            f"got {getattr(x, 'dtype', type(x).__name__)}. Use np.array(x, dtype=float)."
        )


def _rate(optimizer, learning_rate, t):
    """The rate of step t, by the argument or the optimizer."""
    rate = optimizer.learning_rate if learning_rate is None else learning_rate
    if isinstance(rate, Real):
        return float(rate)
    if callable(rate):
        return Function(rate).rate(t)
    raise ValueError(
        f"A step on its own needs a rate; got learning_rate={rate!r}, which only estimators know. "
        f"Use {type(optimizer).__name__}(0.01), or pass learning_rate to step."
    )


def _alone(optimizer, x, rate, state):
    """The compiled method on the parameters ``x`` of no data."""
    nothing = Problem(
        np.empty((0, x.size)), np.empty(0), LOSSES["squared_error"](), PENALTIES[None](),
        fit_intercept=False,
    )
    # coordinates have a memory; the intercept, which there is not, has none
    state = {**state, **{f"{name}_intercept": 0.0 for name in state}}
    return optimizer.by_coordinates(
        nothing, x.reshape(-1, 1), np.zeros(1), schedule=Constant(rate), batch_size=2, state=state
    )


def _state(method, shape):
    """What ``step`` keeps of a method."""
    state = {
        name: value for name, value in method.state().items() if not name.endswith("_intercept")
    }
    for name in method.slot_names:
        state[name] = np.reshape(state[name], shape)
    return state
