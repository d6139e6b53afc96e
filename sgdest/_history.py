"""What an estimator remembers of its training, and its objective at any parameters."""

from array import array

import numpy as np
from sklearn.utils.validation import check_is_fitted

from sgdest import _validation as validation
from sgdest._core.rows import as_rows
from sgdest._core.train import COLUMNS

# Raw predictions held at once by ``objective``: 32 MB.
MOST_MARGINS = 1 << 22


class History:
    """One row of numbers per epoch, appended to at the cost of the row.

    The rows lie one after the other in ``array.array``, which grows in place: a thousand calls of
    ``partial_fit`` copy nothing.
    """

    def __init__(self, numbers=(), per_output=()):
        self.numbers = array("d", numbers)
        # by epoch, for losses that treat the outputs one by one: the objective of each
        self.per_output = dict(per_output)

    def __len__(self):
        return len(self.numbers) // len(COLUMNS)

    def copy(self):
        """One that shares nothing with this."""
        return History(self.numbers, self.per_output)

    def last(self, name):
        """The last number of a column; 0 if there is none."""
        return self.numbers[COLUMNS.index(name) - len(COLUMNS)] if self.numbers else 0.0

    def column(self, name):
        """A column as a new ndarray."""
        return np.array(self.numbers[COLUMNS.index(name) :: len(COLUMNS)])

    def append(self, objective, validation, learning_rate, gradient_norm, seconds, rows,
               per_output=None):
        """Add one epoch; ``epoch``, ``seconds`` and ``rows`` count on from the last one."""
        epoch = len(self) + 1
        self.numbers.extend((epoch, objective, validation, learning_rate, gradient_norm,
                             self.last("seconds") + seconds, self.last("rows") + rows))
        if per_output is not None:
            self.per_output[epoch] = per_output

    def outputs(self):
        """Per epoch the objectives of the outputs, as arrays in an array; None if there are none.

        The arrays are of NaN for an epoch of a method that does not know them.
        """
        if not self.per_output:
            return None
        column = np.empty(len(self), dtype=object)
        unknown = np.full_like(next(iter(self.per_output.values())), np.nan)
        for i in range(len(self)):
            column[i] = np.array(self.per_output.get(i + 1, unknown))
        return column

    def extend(self, table, per_output=()):
        """Add the epochs of an array of shape (n_epochs, n_columns), likewise."""
        self.per_output.update(enumerate(per_output, start=len(self) + 1))
        if len(self):
            start = {"epoch": len(self), "seconds": self.last("seconds"), "rows": self.last("rows")}
            table = table + [start.get(name, 0.0) for name in COLUMNS]
        self.numbers.frombytes(table.tobytes())


class HistoryMixin:
    """``history_`` and what is read off it; ``objective``."""

    @property
    def history_(self):
        """Columns of numbers, one of each per epoch."""
        history = self._record_of("history_")
        columns = {name: history.column(name) for name in COLUMNS}
        columns["epoch"] = columns["epoch"].astype(np.int64)
        columns["rows"] = columns["rows"].astype(np.int64)
        outputs = history.outputs()
        if outputs is not None:
            kind = "target" if self._is_regressor else "class"
            columns[f"objective_per_{kind}"] = outputs
        return columns

    @property
    def loss_curve_(self):
        """The objective of each epoch."""
        return self._record_of("loss_curve_").column("objective")

    @property
    def validation_scores_(self):
        """Scores on held-out rows, or None if there are none."""
        scores = self._record_of("validation_scores_").column("validation")
        return None if np.isnan(scores).all() else scores

    def _record_of(self, name):
        """The ``History``; AttributeError, as for any attribute, if there is none yet."""
        self._require(name)
        return self._history

    def objective(self, X, y, sample_weight=None, *, coef=None, intercept=None):
        """The function that ``fit`` minimises, penalty included.

        It is ``sum_i s_i loss(y_i, x_i w + b) / sum_i s_i + alpha * penalty(w)`` on these rows,
        with ``s_i`` the sample weight times the class weight. Many parameters are evaluated in
        one pass over X, as for the contours of a plot.

        Parameters
        ----------
        X : {array-like, sparse array} of shape (n_samples, n_features)
            Rows.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Labels or targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights >= 0.
        coef : array-like of shape (..., *coef_.shape), default=None
            Coefficients in the place of ``coef_``; leading axes hold many of them.
        intercept : array-like of shape (..., *intercept_.shape), default=None
            Intercepts in the place of ``intercept_``; the leading axes of both broadcast.

        Returns
        -------
        objective : float or ndarray of the shape of the leading axes

        Raises
        ------
        ValueError
            If the data or the shapes do not fit the model.

        Examples
        --------
        >>> import numpy as np
        >>> from sgdest import GDRegressor
        >>> X, y = np.array([[0.0], [1.0], [2.0]]), np.array([1.0, 3.0, 5.0])
        >>> model = GDRegressor(alpha=0).fit(X, y)
        >>> model.objective(X, y, coef=[[1.0], [2.0]], intercept=[1.0]).round(6)
        array([0.833333, 0.      ])
        """
        check_is_fitted(self)
        problem = self._problem_of(X, y, sample_weight)
        W, b = self._settled()
        if coef is None and intercept is None:
            return float(problem.objective(W, b))
        coef, intercept = validation.stacked_parameters(
            coef, self._shaped_coef(W), intercept, self._shaped_intercept(b)
        )
        values = _objectives(problem, coef.reshape(-1, *W.T.shape), intercept.reshape(-1, len(b)))
        shape = coef.shape[: coef.ndim - self._shaped_coef(W).ndim]
        return float(values[0]) if shape == () else values.reshape(shape)

    def _problem_of(self, X, y, sample_weight):
        """The ``Problem`` that other rows make with the fitted model's parameters."""
        X, y = validation.check_data(
            self, X, y, reset=False, regression=self._is_regressor
        )
        rows = as_rows(X)
        targets = self._targets(y)
        weights = self._weights(y, validation.check_sample_weight(sample_weight, X))
        validation.check_not_all_zero(weights)
        return self._problem(rows, targets, weights, self._penalty(rows.n_features))


def _objectives(problem, coef, intercept):
    """F at parameters of shape (m, n_outputs, n_features) and (m, n_outputs)."""
    m, K = intercept.shape
    values = np.empty(m)
    still = np.zeros((problem.n_rows, K))
    size = max(1, MOST_MARGINS // max(1, problem.n_rows * K))
    for start in range(0, m, size):
        part = slice(start, min(m, start + size))
        W = np.ascontiguousarray(coef[part].reshape(-1, problem.n_features).T)
        z = problem.rows.margins(W, np.ascontiguousarray(intercept[part].ravel()))
        z = z.reshape(problem.n_rows, -1, K).swapaxes(0, 1)
        for i, margins in enumerate(z, start):
            loss = problem.line(np.ascontiguousarray(margins), still, 0.0)[0]
            values[i] = loss + problem.penalty.value_of(np.ascontiguousarray(coef[i].T))
    return values
