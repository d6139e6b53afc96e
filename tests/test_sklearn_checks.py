"""scikit-learn's own checks pass: all at the defaults, elsewhere all but the named."""

from sklearn.utils.estimator_checks import parametrize_with_checks

from sgdest import GDClassifier, GDRegressor, compat
from sgdest.optimizers import NAMES

ON_WEIGHTS = (
    "check_sample_weight_equivalence_on_dense_data",
    "check_sample_weight_equivalence_on_sparse_data",
)
STOCHASTIC = dict.fromkeys(
    ON_WEIGHTS,
    "the order of the rows is random, and a row of weight 2 is one step where two rows "
    "are two: the models agree in their limit, not after the same number of passes",
)
LOG_LINK = {
    "check_regressor_multioutput": "the check makes negative targets in spite of the "
    "tag `positive_only`; no loss with a log link takes them",
}


def excused_methods(estimator):
    """The expected failures of a method: reason by name of the check."""
    exact = estimator.optimizer in ("gd", "lbfgs", "dual_ascent", "working_set")
    return {} if exact else STOCHASTIC


def excused_losses(estimator):
    """The expected failures of a loss: reason by name of the check."""
    return {"poisson": LOG_LINK}.get(estimator.loss, {})


def excused_compat(estimator):
    """The expected failures of the classes that repeat scikit-learn's own."""
    return STOCHASTIC


@parametrize_with_checks([GDClassifier(), GDRegressor()], expected_failed_checks=None)
def test_defaults_pass_with_nothing_excused(estimator, check):
    check(estimator)


@parametrize_with_checks(
    [kind(optimizer=name) for name in NAMES for kind in (GDClassifier, GDRegressor)],
    expected_failed_checks=excused_methods,
)
def test_every_named_method_passes(estimator, check):
    check(estimator)


@parametrize_with_checks(
    [
        GDClassifier(loss="hinge"),
        GDClassifier(loss="huber"),
        GDRegressor(loss="huber"),
        GDRegressor(loss="poisson"),
    ],
    expected_failed_checks=excused_losses,
)
def test_other_losses_pass(estimator, check):
    check(estimator)


@parametrize_with_checks(
    [compat.SGDClassifier(), compat.SGDRegressor()],
    expected_failed_checks=excused_compat,
)
def test_compat_passes(estimator, check):
    check(estimator)
