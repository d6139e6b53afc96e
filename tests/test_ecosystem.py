"""The estimators at work with the rest of scikit-learn, joblib, pandas and polars."""

import inspect

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.datasets import (
    load_breast_cancer,
    load_diabetes,
    load_digits,
    load_iris,
    load_wine,
)
from sklearn.ensemble import (
    BaggingClassifier,
    BaggingRegressor,
    StackingClassifier,
    StackingRegressor,
    VotingClassifier,
    VotingRegressor,
)
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.feature_selection import RFE, SelectFromModel
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, log_loss, make_scorer, roc_auc_score
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    cross_val_predict,
    cross_validate,
    learning_curve,
    train_test_split,
)
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier
from sklearn.multioutput import (
    ClassifierChain,
    MultiOutputClassifier,
    MultiOutputRegressor,
    RegressorChain,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler
from sklearn.utils import estimator_html_repr
from sklearn.utils.validation import _get_feature_names

from sgdest import GDClassifier, GDRegressor
from sgdest.losses import Huber, Quantile
from sgdest.optimizers import LBFGS, SGD

CANCER = load_breast_cancer(return_X_y=True)
WINE = load_wine(return_X_y=True)
IRIS = load_iris(return_X_y=True)
DIABETES = load_diabetes(return_X_y=True)


def scaled(model):
    return make_pipeline(StandardScaler(), model)


def loss_of(model, X, y):
    return log_loss(y, model.predict_proba(X))


# -- pipelines and searches ------------------------------------------------------------


def test_a_pipeline_of_ours_is_that_of_logistic_regression():
    X, y = CANCER
    a, b, y_a, y_b = train_test_split(X, y, random_state=0, stratify=y)
    ours = scaled(GDClassifier(alpha=1 / len(y_a))).fit(a, y_a)
    theirs = scaled(LogisticRegression(C=1.0, tol=1e-10, max_iter=10_000)).fit(a, y_a)
    assert_allclose(ours.predict_proba(b), theirs.predict_proba(b), atol=1e-5)
    assert_allclose(ours[-1].coef_, theirs[-1].coef_, atol=1e-5)


def test_a_grid_search_by_roc_auc_chooses_what_logistic_regression_chooses():
    X, y = CANCER
    C = np.array([1e-3, 1e-1, 10.0, 1e3])
    # 5 folds of 569 rows learn from 455 or 456
    ours = GridSearchCV(
        scaled(GDClassifier()),
        {"gdclassifier__alpha": 1 / (C * 455.2)},
        scoring="roc_auc",
    ).fit(X, y)
    theirs = GridSearchCV(
        scaled(LogisticRegression(max_iter=10_000, tol=1e-8)),
        {"logisticregression__C": C},
        scoring="roc_auc",
    ).fit(X, y)
    assert ours.best_index_ == theirs.best_index_
    assert_allclose(
        ours.cv_results_["mean_test_score"],
        theirs.cv_results_["mean_test_score"],
        atol=2e-4,
    )


def test_a_grid_searches_over_the_parameters_of_a_loss_object():
    X, y = DIABETES
    search = GridSearchCV(
        GDRegressor(loss=Quantile()),
        {"loss__quantile": [0.1, 0.5, 0.9]},
        scoring="neg_mean_absolute_error",
    ).fit(X, y)
    # the mean absolute error is what the median minimises
    assert search.best_params_ == {"loss__quantile": 0.5}
    assert search.best_estimator_.loss.quantile == 0.5
    assert GDRegressor(loss=Huber(0.3)).get_params()["loss__epsilon"] == 0.3


def test_a_grid_searches_over_optimizer_objects_and_their_parameters():
    X, y = IRIS
    grid = [
        {"optimizer": [SGD(0.1), SGD(1e-3), LBFGS(5)]},
        {"optimizer": [SGD()], "optimizer__learning_rate": [0.5, "optimal"]},
    ]
    model = GDClassifier(random_state=0, tol=None, max_iter=3)
    search = GridSearchCV(model, grid, scoring="neg_log_loss").fit(X, y)
    assert len(search.cv_results_["params"]) == 5
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert model.optimizer == "auto"


def test_halving_search_spends_its_rows():
    X, y = load_digits(return_X_y=True)
    search = HalvingGridSearchCV(
        GDClassifier(), {"alpha": [1e-4, 1e-2, 1.0, 1e4]}, random_state=0, factor=2
    ).fit(X, y)
    assert search.n_candidates_ == [4, 2, 1]
    assert search.n_resources_[2] == 4 * search.n_resources_[0]
    # at 1e4 the model is nearly constant
    assert search.best_params_["alpha"] < 1e4


def test_searches_in_other_processes_find_the_same():
    X, y = WINE
    grid = {
        "gdclassifier__alpha": [1e-3, 1e-1],
        "gdclassifier__learning_rate": [0.01, "auto"],
    }
    pipeline = scaled(GDClassifier(random_state=0, max_iter=20, tol=None))
    with joblib.parallel_backend("loky", n_jobs=2):
        there = GridSearchCV(pipeline, grid).fit(X, y)
    with joblib.parallel_backend("threading", n_jobs=2):
        threads = GridSearchCV(pipeline, grid).fit(X, y)
    here = GridSearchCV(pipeline, grid).fit(X, y)
    for search in (there, threads):
        assert_array_equal(
            search.cv_results_["mean_test_score"], here.cv_results_["mean_test_score"]
        )


def test_cross_validation_scores_classifiers_by_every_common_measure():
    X, y = CANCER
    measures = [
        "roc_auc",
        "precision",
        "recall",
        "f1",
        "neg_log_loss",
        "neg_brier_score",
        "average_precision",
        "accuracy",
    ]
    ours = cross_validate(scaled(GDClassifier(alpha=1 / 455.2)), X, y, scoring=measures)
    theirs = cross_validate(
        scaled(LogisticRegression(tol=1e-8, max_iter=1000)), X, y, scoring=measures
    )
    for measure in measures:
        # the folds differ by a row, and so C by 2e-3
        assert_allclose(ours[f"test_{measure}"], theirs[f"test_{measure}"], atol=1e-3)


def test_cross_validation_scores_many_classes():
    X, y = WINE
    scores = cross_validate(
        scaled(GDClassifier()),
        X,
        y,
        scoring=["roc_auc_ovr", "precision_macro", "recall_macro", "neg_log_loss"],
    )
    theirs = cross_validate(
        scaled(LogisticRegression(C=1 / (1e-4 * 142.4), tol=1e-8, max_iter=10_000)),
        X,
        y,
        scoring=["roc_auc_ovr", "precision_macro", "recall_macro", "neg_log_loss"],
    )
    for name in scores:
        if name.startswith("test"):
            assert_allclose(scores[name], theirs[name], atol=2e-3)


def test_learning_curves_may_stream():
    X, y = CANCER
    sizes, _, scores = learning_curve(
        GDClassifier(random_state=0),
        StandardScaler().fit_transform(X),
        y,
        shuffle=True,
        random_state=0,
        exploit_incremental_learning=True,
        scoring="roc_auc",
    )
    assert (np.diff(sizes) > 0).all()
    assert scores.mean(axis=1)[-1] >= scores.mean(axis=1)[0]


# -- selection, calibration, many outputs ----------------------------------------------


def test_select_from_model_keeps_the_features_that_l1_keeps():
    X, y = CANCER
    X = StandardScaler().fit_transform(X)
    model = GDClassifier(penalty="l1", alpha=0.05)
    selector = SelectFromModel(model).fit(X, y)
    kept = np.abs(selector.estimator_.coef_[0]) > 1e-5
    assert 0 < kept.sum() < 30
    assert_array_equal(selector.get_support(), kept)
    assert_array_equal(selector.transform(X), X[:, kept])
    assert SelectFromModel(
        model, prefit=False, max_features=2, threshold=-np.inf
    ).fit_transform(X, y).shape == (569, 2)
    streamed = SelectFromModel(model).partial_fit(X, y, classes=[0, 1])
    assert streamed.estimator_.t_ == 569


def test_recursive_elimination_ranks_by_our_coefficients():
    X, y = DIABETES
    ranks = RFE(GDRegressor(alpha=0), n_features_to_select=3).fit(X, y).ranking_
    assert sorted(ranks)[:3] == [1, 1, 1] and max(ranks) == 8


@pytest.mark.parametrize("method", ["sigmoid", "isotonic"])
@pytest.mark.parametrize("loss", ["hinge", "squared_hinge"])
def test_calibration_gives_margins_probabilities(loss, method):
    X, y = CANCER
    a, b, y_a, y_b = train_test_split(X, y, random_state=0, stratify=y)
    model = CalibratedClassifierCV(
        scaled(GDClassifier(loss=loss, alpha=1e-2)), method=method
    )
    p = model.fit(a, y_a).predict_proba(b)
    assert_allclose(p.sum(axis=1), 1.0)
    constant = np.full(len(b), y_a.mean())
    assert log_loss(y_b, p) < 0.5 * log_loss(y_b, constant)


def test_multi_output_wrappers_learn_each_column_alone():
    X, y = DIABETES
    Y = np.column_stack([y, X[:, 2] - y])
    wrapped = MultiOutputRegressor(GDRegressor()).fit(X, Y)
    # squared errors of two targets with one penalty are two problems
    assert_allclose(wrapped.predict(X), GDRegressor().fit(X, Y).predict(X), rtol=1e-6)
    assert_allclose(
        RegressorChain(GDRegressor()).fit(X, Y).predict(X)[:, 0],
        wrapped.predict(X)[:, 0],
        rtol=1e-6,
    )
    X, y = IRIS
    Y = np.column_stack([y > 0, y == 2, X[:, 0] > 6]).astype(int)
    wrapped = MultiOutputClassifier(GDClassifier()).fit(X, Y)
    alone = GDClassifier().fit(X, Y[:, 1])
    assert_array_equal(wrapped.predict_proba(X)[1], alone.predict_proba(X))
    chain = ClassifierChain(GDClassifier()).fit(X, Y)
    first = GDClassifier().fit(X, Y[:, 0])
    assert_array_equal(chain.predict_proba(X)[:, 0], first.predict_proba(X)[:, 1])


def test_multi_output_wrappers_stream():
    X, y = DIABETES
    Y = np.column_stack([y, X[:, 2] - y])
    wrapped = MultiOutputRegressor(GDRegressor(random_state=0))
    for part in (slice(0, 200), slice(200, 442)):
        wrapped.partial_fit(X[part], Y[part])
    assert [model.t_ for model in wrapped.estimators_] == [442, 442]


def test_labels_of_several_kinds_at_once_need_the_wrapper():
    X, y = IRIS
    with pytest.raises(ValueError, match="1d array"):
        GDClassifier().fit(X, np.column_stack([y, y]))


def test_one_versus_rest_of_scikit_learn_is_ours():
    X, y = IRIS
    inside = GDClassifier(loss="squared_hinge").fit(X, y)
    outside = OneVsRestClassifier(GDClassifier(loss="squared_hinge")).fit(X, y)
    assert_allclose(
        outside.decision_function(X), inside.decision_function(X), rtol=1e-4, atol=1e-5
    )
    assert_array_equal(outside.predict(X), inside.predict(X))
    # sets of labels
    Y = np.column_stack([y > 0, y == 2]).astype(int)
    assert_array_equal(
        OneVsRestClassifier(GDClassifier()).fit(X, Y).predict(X)[:, 0], Y[:, 0]
    )


def test_one_versus_one_has_a_model_for_each_pair():
    X, y = WINE
    model = OneVsOneClassifier(scaled(GDClassifier())).fit(X, y)
    assert len(model.estimators_) == 3
    assert_array_equal(np.unique(model.predict(X)), [0, 1, 2])


# -- ensembles -------------------------------------------------------------------------


def test_votes_average_our_probabilities():
    X, y = IRIS
    weak, strong = GDClassifier(alpha=1.0), GDClassifier(alpha=1e-3)
    vote = VotingClassifier([("weak", weak), ("strong", strong)], voting="soft").fit(
        X, y
    )
    mean = (
        clone(weak).fit(X, y).predict_proba(X)
        + clone(strong).fit(X, y).predict_proba(X)
    ) / 2
    assert_allclose(vote.predict_proba(X), mean)
    X, y = DIABETES
    a, b = GDRegressor(), GDRegressor(loss="huber", epsilon=10.0)
    vote = VotingRegressor([("a", a), ("b", b)]).fit(X, y)
    assert_allclose(
        vote.predict(X),
        (clone(a).fit(X, y).predict(X) + clone(b).fit(X, y).predict(X)) / 2,
    )


def test_stacks_stand_on_our_predictions():
    X, y = CANCER
    stack = StackingClassifier(
        [
            ("soft", scaled(GDClassifier())),
            ("hard", scaled(GDClassifier(loss="hinge", alpha=1e-2))),
        ],
        final_estimator=GDClassifier(),
    ).fit(X, y)
    assert stack.transform(X).shape == (569, 2)
    assert_allclose(stack.predict_proba(X).sum(axis=1), 1.0)
    X, y = DIABETES
    stack = StackingRegressor(
        [("l1", GDRegressor(penalty="l1", alpha=0.1))], final_estimator=GDRegressor()
    ).fit(X, y)
    assert_allclose(stack.transform(X)[:, 0], stack.estimators_[0].predict(X))


def test_bags_weigh_their_rows():
    X, y = CANCER
    X = StandardScaler().fit_transform(X)
    bag = BaggingClassifier(GDClassifier(alpha=1e-2), 5, random_state=0).fit(X, y)
    assert_allclose(
        bag.predict_proba(X),
        np.mean([m.predict_proba(X) for m in bag.estimators_], axis=0),
    )
    X, y = DIABETES
    bag = BaggingRegressor(GDRegressor(), 5, random_state=0, n_jobs=2).fit(X, y)
    assert_allclose(
        bag.predict(X), np.mean([m.predict(X) for m in bag.estimators_], axis=0)
    )


def test_transformed_targets_and_polynomials_fit_a_curve():
    x = np.linspace(-3, 3, 80)[:, None]
    y = np.exp(1 + 0.5 * x[:, 0] - 0.2 * x[:, 0] ** 2)
    curve = make_pipeline(
        PolynomialFeatures(2, include_bias=False), GDRegressor(alpha=0)
    )
    model = TransformedTargetRegressor(curve, func=np.log, inverse_func=np.exp).fit(
        x, y
    )
    assert_allclose(model.predict(x), y, rtol=1e-6)


def test_texts_are_classified_sparsely():
    texts = [
        "good film",
        "a good one",
        "bad film",
        "very bad",
        "so good",
        "bad bad",
    ] * 10
    y = ["+", "+", "-", "-", "+", "-"] * 10
    model = make_pipeline(
        TfidfVectorizer(), GDClassifier(penalty="l1", alpha=0.01)
    ).fit(texts, y)
    assert_array_equal(model.predict(["a good film", "a bad film"]), ["+", "-"])
    names = model[0].get_feature_names_out()
    assert set(names[model[-1].coef_[0] != 0]) <= {"good", "bad", "very", "so"}


def test_permutation_importance_sees_what_the_model_uses():
    X, y = DIABETES
    model = GDRegressor(penalty="l1", alpha=1.0).fit(X, y)
    importance = permutation_importance(
        model, X, y, n_repeats=2, random_state=0
    ).importances_mean
    assert_array_equal(importance != 0, model.coef_ != 0)


def test_predictions_across_folds_have_each_method():
    X, y = IRIS
    for method in (
        "predict",
        "predict_proba",
        "predict_log_proba",
        "decision_function",
    ):
        z = cross_val_predict(GDClassifier(), X, y, method=method)
        assert z.shape == ((150,) if method == "predict" else (150, 3))


# -- data frames -----------------------------------------------------------------------

FRAMES = {"pandas": pd.DataFrame, "polars": pl.DataFrame}
if _get_feature_names(pl.DataFrame({"a": [1.0]})) is None:
    del FRAMES["polars"]  # an old scikit-learn does not read the names of a new polars


@pytest.mark.parametrize("library", FRAMES)
def test_data_frames_are_arrays_with_names(library):
    X, y = IRIS
    frame = FRAMES[library]({name: X[:, j] for j, name in enumerate("abcd")})
    series = {"pandas": pd.Series, "polars": pl.Series}[library](y)
    plain, named = GDClassifier().fit(X, y), GDClassifier().fit(frame, series)
    assert_array_equal(plain.coef_, named.coef_)
    assert_array_equal(named.feature_names_in_, list("abcd"))
    assert not hasattr(plain, "feature_names_in_")
    assert_array_equal(named.predict(frame), plain.predict(X))
    streamed = GDClassifier().partial_fit(frame, series, classes=[0, 1, 2])
    assert_array_equal(streamed.feature_names_in_, list("abcd"))
    other = FRAMES[library]({name: X[:, j] for j, name in enumerate("zbcd")})
    with pytest.raises(ValueError, match="feature names should match"):
        named.predict(other)
    with pytest.warns(UserWarning, match="valid feature names"):
        named.predict(X)


@pytest.mark.parametrize("dtype", ["Int64", "Float64", "float32", "bool", "int8"])
def test_pandas_types_are_numbers(dtype):
    values = np.arange(40).reshape(20, 2) % 2
    frame = pd.DataFrame(values, columns=["a", "b"]).astype(dtype)
    y = pd.Series(["no", "yes"] * 10, dtype="category")
    model = GDClassifier().fit(frame, y)
    assert_array_equal(model.classes_, ["no", "yes"])
    assert_allclose(
        model.coef_, GDClassifier().fit(values.astype(float), list(y)).coef_, atol=1e-6
    )


@pytest.mark.parametrize("library", FRAMES)
def test_pipelines_pass_frames_on(library):
    X, y = IRIS
    frame = FRAMES[library]({name: X[:, j] for j, name in enumerate("abcd")})
    pipeline = make_pipeline(
        ColumnTransformer([("scale", StandardScaler(), ["a", "d"])]), GDClassifier()
    )
    pipeline.set_output(transform=library).fit(frame, y)
    assert_array_equal(pipeline[-1].feature_names_in_, ["scale__a", "scale__d"])


@pytest.mark.parametrize("library", FRAMES)
def test_selection_by_our_coefficients_returns_frames(library):
    X, y = IRIS
    frame = FRAMES[library]({name: X[:, j] for j, name in enumerate("abcd")})
    selector = SelectFromModel(GDClassifier(penalty="l1", alpha=0.05)).set_output(
        transform=library
    )
    chosen = selector.fit_transform(frame, y)
    assert isinstance(chosen, FRAMES[library])
    assert list(chosen.columns) == list(selector.get_feature_names_out())


# -- metadata --------------------------------------------------------------------------


@pytest.fixture
def routing():
    with sklearn.config_context(enable_metadata_routing=True):
        yield


def test_weights_are_routed_through_pipelines_and_searches(routing):
    X, y = CANCER
    s = np.random.default_rng(0).uniform(0.5, 2.0, size=len(y))
    model = GDClassifier(alpha=1e-2).set_fit_request(sample_weight=True)
    scaler = StandardScaler().set_fit_request(sample_weight=True)
    pipeline = make_pipeline(scaler, model).fit(X, y, sample_weight=s)
    by_hand = clone(model).fit(
        StandardScaler().fit(X, sample_weight=s).transform(X), y, sample_weight=s
    )
    assert_array_equal(pipeline[-1].coef_, by_hand.coef_)
    search = GridSearchCV(
        make_pipeline(scaler, model),
        {"gdclassifier__alpha": [1e-3, 1e-1]},
        scoring=make_scorer(accuracy_score).set_score_request(sample_weight=True),
    )
    search.fit(X, y, sample_weight=s)
    assert_array_equal(
        search.best_estimator_[-1].coef_,
        clone(model)
        .set_params(alpha=search.best_params_["gdclassifier__alpha"])
        .fit(StandardScaler().fit(X, sample_weight=s).transform(X), y, sample_weight=s)
        .coef_,
    )


def test_a_pipeline_transforms_the_validation_data(routing):
    X, y = CANCER
    a, b, y_a, y_b = train_test_split(X, y, random_state=0, stratify=y)
    model = GDClassifier(alpha=0.0).set_fit_request(X_val=True, y_val=True)
    if "transform_input" not in inspect.signature(make_pipeline).parameters:
        pytest.skip("this scikit-learn cannot transform other inputs than X")
    pipeline = make_pipeline(StandardScaler(), model, transform_input=["X_val"])
    pipeline.fit(a, y_a, X_val=b, y_val=y_b)
    scaler = StandardScaler().fit(a)
    by_hand = clone(model).fit(
        scaler.transform(a), y_a, X_val=scaler.transform(b), y_val=y_b
    )
    assert_array_equal(pipeline[-1].coef_, by_hand.coef_)
    assert_allclose(
        -by_hand.best_validation_score_, loss_of(by_hand, scaler.transform(b), y_b)
    )


def test_a_search_hands_validation_data_to_every_fit(routing):
    X, y = CANCER
    X = StandardScaler().fit_transform(X)
    a, b, y_a, y_b = train_test_split(X, y, random_state=0, stratify=y)
    model = GDClassifier().set_fit_request(
        X_val=True, y_val=True, sample_weight_val=True
    )
    search = GridSearchCV(model, {"alpha": [1e-6, 1.0]})
    search.fit(a, y_a, X_val=b, y_val=y_b, sample_weight_val=np.ones(len(y_b)))
    best = search.best_estimator_
    assert_allclose(-best.best_validation_score_, loss_of(best, b, y_b))


def test_routing_knows_every_argument_of_fit():
    requests = GDClassifier().get_metadata_routing().fit.requests
    assert set(requests) == {
        "sample_weight",
        "coef_init",
        "intercept_init",
        "X_val",
        "y_val",
        "sample_weight_val",
    }
    requests = GDClassifier().get_metadata_routing().partial_fit.requests
    assert set(requests) == {"sample_weight", "classes"}


# -- what an estimator is --------------------------------------------------------------


def test_kinds_are_told_by_tags():
    assert is_classifier(GDClassifier()) and is_regressor(GDRegressor())
    assert not is_regressor(GDClassifier()) and not is_classifier(GDRegressor())
    tags = GDRegressor().__sklearn_tags__()
    assert tags.input_tags.sparse and tags.target_tags.multi_output
    assert not tags.target_tags.positive_only
    assert GDRegressor(loss="gamma").__sklearn_tags__().target_tags.positive_only


def test_html_and_text_show_only_what_was_changed():
    model = GDRegressor(loss=Quantile(0.9), optimizer=SGD(0.1))
    assert repr(model) == (
        "GDRegressor(loss=Quantile(quantile=0.9), optimizer=SGD(learning_rate=0.1))"
    )
    for state in (model, clone(model).fit(*DIABETES), scaled(model)):
        html = estimator_html_repr(state)
        assert "GDRegressor" in html and "0.9" in html


def test_threads_of_one_process_do_not_disturb_each_other():
    X, y = WINE
    models = [
        GDClassifier(
            alpha=alpha, random_state=0, learning_rate=rate, max_iter=20, tol=None
        )
        for alpha in (1e-3, 1e-1)
        for rate in (0.001, lambda t: 0.001 / t)
    ]
    alone = [clone(model).fit(X, y).coef_ for model in models]
    together = joblib.Parallel(n_jobs=4, backend="threading")(
        joblib.delayed(lambda model: model.fit(X, y).coef_)(model)
        for model in models * 4
    )
    for k, coef in enumerate(together):
        assert_array_equal(coef, alone[k % 4])


def test_a_memory_mapped_array_is_used_as_it_is(tmp_path):
    X, y = CANCER
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    model = GDClassifier().fit(mapped, y)
    assert_array_equal(model.coef_, GDClassifier().fit(X, y).coef_)
    assert roc_auc_score(y, model.decision_function(mapped)) == roc_auc_score(
        y, model.decision_function(X)
    )
