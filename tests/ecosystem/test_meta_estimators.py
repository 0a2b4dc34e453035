"""Meta-estimators around both learners, on flattened rows and on 4-D images.

MATRIX, OF_NUMBERS and OF_LABELS are the lists of them, for classes, numbers and several labels.
docs/meta_estimators.md shows them to users, and is compared with them.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.ensemble import (
    AdaBoostClassifier,
    AdaBoostRegressor,
    BaggingClassifier,
    BaggingRegressor,
    RandomForestClassifier,
    StackingClassifier,
    StackingRegressor,
    VotingClassifier,
    VotingRegressor,
)
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import (
    FixedThresholdClassifier,
    GridSearchCV,
    HalvingGridSearchCV,
    HalvingRandomSearchCV,
    RandomizedSearchCV,
    TunedThresholdClassifierCV,
    cross_val_predict,
)
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier, OutputCodeClassifier
from sklearn.multioutput import (
    ClassifierChain,
    MultiOutputClassifier,
    MultiOutputRegressor,
    RegressorChain,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler, StandardScaler
from sklearn.semi_supervised import SelfTrainingClassifier

from sklearn_cnn import CNNRegressor

CHECKS_2D = "fit checks that X is two-dimensional"
POOLING = {"pooling": ["max", "mean"]}
HALVING = {"cv": 2, "resource": "max_epochs", "min_resources": 2, "max_resources": 8, "factor": 2}


def same(y):
    """Leave the labels as they are."""
    return y


def large(y):
    """Tell digits from 5 on from those below: two classes."""
    return y >= 5


def parity_and_large(y):
    """Give two outputs of two classes each."""
    return np.column_stack([y % 2, y >= 5])


def a_third_unlabelled(y):
    """Hide every third label, as self-training wants it."""
    return np.where(np.arange(len(y)) % 3 == 0, -1, y)


def two_nets(make):
    """Give two named nets that differ."""
    return [("max", make()), ("mean", make(pooling="mean"))]


class Case(NamedTuple):
    """A meta-estimator: its name on the page, how to build it, and what it does to 4-D images."""

    name: str
    build: Callable[[Any], Any]
    refuses: str | None = None
    """Text of the error that 4-D images meet; None where they pass."""
    why: str = ""
    """The same in words, for the page."""
    train_labels: Callable[[np.ndarray], np.ndarray] = same
    test_labels: Callable[[np.ndarray], np.ndarray] = same


def too_many_dimensions(name):
    """Match the message of scikit-learn 1.6, and the other wording of 1.9."""
    return (
        rf"Found array with dim 4(\. {name} expected <= 2|, while dim <= 2 is required by {name})"
    )


MATRIX = [
    Case(
        "Pipeline, FunctionTransformer",
        lambda make: make_pipeline(FunctionTransformer(), make()),
    ),
    Case(
        "Pipeline, StandardScaler",
        lambda make: make_pipeline(StandardScaler(), make()),
        too_many_dimensions("StandardScaler"),
        "scalers check that X is two-dimensional",
    ),
    Case(
        "Pipeline, ColumnTransformer",
        lambda make: make_pipeline(
            ColumnTransformer(
                [("top", MinMaxScaler(), slice(32)), ("bottom", MinMaxScaler(), slice(32, 64))]
            ),
            make(),
        ),
        r"'X' should be a 2D NumPy array.* Got .* with 4 dimension\(s\)",
        "it selects columns from a two-dimensional X",
    ),
    Case(
        "GridSearchCV",
        lambda make: GridSearchCV(make(), POOLING, cv=2, error_score="raise"),
    ),
    Case(
        "RandomizedSearchCV",
        lambda make: RandomizedSearchCV(make(), POOLING, n_iter=2, cv=2, error_score="raise"),
    ),
    Case(
        "HalvingGridSearchCV",
        lambda make: HalvingGridSearchCV(make(), POOLING, error_score="raise", **HALVING),
    ),
    Case(
        "HalvingRandomSearchCV",
        lambda make: HalvingRandomSearchCV(
            make(), POOLING, n_candidates=2, error_score="raise", random_state=0, **HALVING
        ),
    ),
    Case("CalibratedClassifierCV", lambda make: CalibratedClassifierCV(make(), cv=2)),
    Case(
        "FixedThresholdClassifier",
        lambda make: FixedThresholdClassifier(make(), threshold=0.4),
        train_labels=large,
        test_labels=large,
    ),
    Case(
        "TunedThresholdClassifierCV",
        lambda make: TunedThresholdClassifierCV(make(), cv=2),
        train_labels=large,
        test_labels=large,
    ),
    Case("VotingClassifier, hard", lambda make: VotingClassifier(two_nets(make))),
    Case("VotingClassifier, soft", lambda make: VotingClassifier(two_nets(make), voting="soft")),
    Case(
        "StackingClassifier",
        lambda make: StackingClassifier(
            two_nets(make), final_estimator=RandomForestClassifier(random_state=0), cv=2
        ),
    ),
    Case(
        "StackingClassifier, passthrough=True",
        lambda make: StackingClassifier(
            two_nets(make),
            final_estimator=RandomForestClassifier(random_state=0),
            cv=2,
            passthrough=True,
        ),
        r"all the input arrays must have same number of dimensions",
        "it joins X to the predictions as columns",
    ),
    Case(
        "BaggingClassifier",
        lambda make: BaggingClassifier(make(), n_estimators=2, random_state=0),
        too_many_dimensions("BaggingClassifier"),
        CHECKS_2D,
    ),
    Case(
        "AdaBoostClassifier",
        lambda make: AdaBoostClassifier(make(), n_estimators=2, random_state=0),
    ),
    Case("OneVsRestClassifier", lambda make: OneVsRestClassifier(make())),
    Case(
        "OneVsOneClassifier",
        lambda make: OneVsOneClassifier(make()),
        too_many_dimensions("OneVsOneClassifier"),
        CHECKS_2D,
    ),
    Case(
        "OutputCodeClassifier",
        lambda make: OutputCodeClassifier(make(), code_size=1, random_state=0),
    ),
    Case(
        "SelfTrainingClassifier",
        lambda make: SelfTrainingClassifier(make(), max_iter=2),
        too_many_dimensions("SelfTrainingClassifier"),
        CHECKS_2D,
        train_labels=a_third_unlabelled,
    ),
    Case(
        "MultiOutputClassifier",
        lambda make: MultiOutputClassifier(make()),
        train_labels=parity_and_large,
        test_labels=parity_and_large,
    ),
    Case(
        "ClassifierChain",
        lambda make: ClassifierChain(make(), order=[0, 1]),
        too_many_dimensions("ClassifierChain"),
        CHECKS_2D,
        train_labels=parity_and_large,
        test_labels=parity_and_large,
    ),
]


def ink(X):
    """Tell how much ink a digit has, of 0 to 16, and how high it lies, of 0 to 7."""
    grid = X.reshape(-1, 8, 8)
    height = (grid.sum(axis=2) * np.arange(8)).sum(axis=1) / grid.sum(axis=(1, 2))
    return np.column_stack([grid.mean(axis=(1, 2)), height])


OF_NUMBERS = [
    Case(
        "Pipeline, FunctionTransformer", lambda make: make_pipeline(FunctionTransformer(), make())
    ),
    Case("GridSearchCV", lambda make: GridSearchCV(make(), POOLING, cv=2, error_score="raise")),
    Case(
        "HalvingGridSearchCV",
        lambda make: HalvingGridSearchCV(make(), POOLING, error_score="raise", **HALVING),
    ),
    Case(
        "TransformedTargetRegressor",
        lambda make: TransformedTargetRegressor(make(), func=np.log1p, inverse_func=np.expm1),
    ),
    Case("VotingRegressor", lambda make: VotingRegressor(two_nets(make))),
    Case(
        "StackingRegressor",
        lambda make: StackingRegressor(two_nets(make), final_estimator=RidgeCV(), cv=2),
    ),
    Case(
        "BaggingRegressor",
        lambda make: BaggingRegressor(make(), n_estimators=2, random_state=0),
        too_many_dimensions("BaggingRegressor"),
        CHECKS_2D,
    ),
    Case(
        "AdaBoostRegressor", lambda make: AdaBoostRegressor(make(), n_estimators=2, random_state=0)
    ),
    Case("MultiOutputRegressor", lambda make: MultiOutputRegressor(make()), train_labels=ink),
    Case(
        "RegressorChain",
        lambda make: RegressorChain(make(), order=[0, 1]),
        too_many_dimensions("RegressorChain"),
        CHECKS_2D,
        train_labels=ink,
    ),
]
"""Around the regressor; ``train_labels=ink`` says that both numbers are learnt."""

OF_LABELS = [
    Case(
        "Pipeline, FunctionTransformer", lambda make: make_pipeline(FunctionTransformer(), make())
    ),
    Case(
        "GridSearchCV, scoring='f1_macro'",
        lambda make: GridSearchCV(make(), POOLING, cv=2, scoring="f1_macro", error_score="raise"),
    ),
    Case(
        "RandomizedSearchCV",
        lambda make: RandomizedSearchCV(make(), POOLING, n_iter=2, cv=2, error_score="raise"),
    ),
    Case("OneVsRestClassifier", lambda make: OneVsRestClassifier(make())),
    Case("MultiOutputClassifier", lambda make: MultiOutputClassifier(make())),
    Case(
        "ClassifierChain",
        lambda make: ClassifierChain(make(), order=[0, 1]),
        too_many_dimensions("ClassifierChain"),
        CHECKS_2D,
    ),
]
"""Around the classifier of several labels. The last three train a net for each label."""


def images(X):
    """View flattened digits as (n, 8, 8, 1)."""
    return X.reshape(-1, 8, 8, 1)


@pytest.mark.filterwarnings("ignore:X has 65 features per row")  # ClassifierChain adds a column
@pytest.mark.parametrize("case", MATRIX, ids=lambda case: case.name)
def test_rows_and_images(case, quick, split):
    """Catches a meta-estimator that the net breaks in, a net that learns nothing inside one, and
    4-D images that scikit-learn lets through but that give another model than their rows do."""
    X_train, X_test, y_train, y_test = split
    y_train, y_test = case.train_labels(y_train), case.test_labels(y_test)
    fitted = case.build(quick).fit(X_train, y_train)
    assert fitted.score(X_test, y_test) > 0.8
    if case.refuses is not None:
        with pytest.raises(ValueError, match=case.refuses):
            case.build(quick).fit(images(X_train), y_train)
        return
    on_images = case.build(quick).fit(images(X_train), y_train)
    assert on_images.score(images(X_test), y_test) > 0.8
    for method in ("predict", "predict_proba", "decision_function"):
        if hasattr(fitted, method):
            np.testing.assert_array_equal(
                getattr(on_images, method)(images(X_test)), getattr(fitted, method)(X_test)
            )


def make_regressor(**parameters):
    """Make a net that learns how much ink digits have in a moment."""
    own = {"conv_channels": 8, "dense_units": 16, "max_epochs": 15, "random_state": 0}
    return CNNRegressor(**{**own, "learning_rate": 0.02, "batch_size": 32, **parameters})


@pytest.mark.filterwarnings("ignore:X has 65 features per row")  # RegressorChain adds a column
@pytest.mark.parametrize("case", OF_NUMBERS, ids=lambda case: case.name)
def test_rows_and_images_of_numbers(case, split):
    """As for classes: an R2 above 0.8, and equal bits from images where they pass."""
    X_train, X_test, *_ = split
    y_train, y_test = (ink(X) if case.train_labels is ink else ink(X)[:, 0] for X in split[:2])
    fitted = case.build(make_regressor).fit(X_train, y_train)
    assert fitted.score(X_test, y_test) > 0.8
    if case.refuses is not None:
        with pytest.raises(ValueError, match=case.refuses):
            case.build(make_regressor).fit(images(X_train), y_train)
        return
    on_images = case.build(make_regressor).fit(images(X_train), y_train)
    np.testing.assert_array_equal(on_images.predict(images(X_test)), fitted.predict(X_test))


@pytest.mark.filterwarnings("ignore:X has 65 features per row")
@pytest.mark.parametrize("case", OF_LABELS, ids=lambda case: case.name)
def test_rows_and_images_of_several_labels(case, quick, split):
    X_train, X_test, y_train, y_test = split
    y_train, y_test = parity_and_large(y_train), parity_and_large(y_test)
    fitted = case.build(quick).fit(X_train, y_train)
    assert (fitted.predict(X_test) == y_test).mean() > 0.8
    if case.refuses is not None:
        with pytest.raises(ValueError, match=case.refuses):
            case.build(quick).fit(images(X_train), y_train)
        return
    on_images = case.build(quick).fit(images(X_train), y_train)
    np.testing.assert_array_equal(on_images.predict(images(X_test)), fitted.predict(X_test))


def test_a_cross_validation_predicts_several_labels(quick, split):
    """Probabilities of all labels, each by a net that has not seen the image."""
    X, _, y, _ = split
    y = parity_and_large(y)
    probabilities = cross_val_predict(quick(), X, y, cv=2, method="predict_proba")
    assert probabilities.shape == (450, 2)
    assert ((probabilities > 0.5) == y).mean() > 0.8


@pytest.mark.parametrize(
    ("heading", "cases"),
    [
        ("Meta-estimators for classification", MATRIX),
        ("Meta-estimators for regression", OF_NUMBERS),
        ("Meta-estimators for multilabel classification", OF_LABELS),
    ],
)
def test_the_page_shows_the_matrix(page_table, heading, cases):
    """Catches a page that promises users what the matrix above does not hold, and the reverse."""
    expected = [
        (case.name, "yes", "yes" if case.refuses is None else "no", case.why) for case in cases
    ]
    assert page_table(heading) == expected


def test_the_remedy_of_the_page_keeps_images_that_are_not_square(quick, bars):
    """Catches an ``image_shape`` that does not reach the nets inside, which would then see one
    row of 48 pixels."""
    X, y = bars
    bagging = BaggingClassifier(quick(image_shape=(8, 6)), n_estimators=2, random_state=0)
    bagging.fit(X[:150].reshape(150, -1), y[:150])
    assert {net.image_shape_ for net in bagging.estimators_} == {(8, 6, 1)}
    assert bagging.score(X[150:].reshape(50, -1), y[150:]) > 0.8


def test_bags_of_features_are_refused_by_the_image_shape(quick, split):
    """Catches a net that takes 48 pixels picked at random for an image."""
    X_train, _, y_train, _ = split
    bagging = BaggingClassifier(quick(image_shape=(8, 8)), max_features=0.75)
    with pytest.raises(ValueError, match=r"image_shape=\(8, 8, 1\) needs 8 x 8 x 1 = 64 .* 48"):
        bagging.fit(X_train, y_train)


def test_calibration_of_a_fitted_net_leaves_it_as_it_is(quick, split):
    """Catches a net that is refitted, or changed, where a held-out set calibrates it."""
    X_train, X_test, y_train, y_test = split
    net = quick().fit(X_train[:300], y_train[:300])
    before = net.predict_proba(X_test)
    calibrated = CalibratedClassifierCV(FrozenEstimator(net), cv=2)
    calibrated.fit(X_train[300:], y_train[300:])
    assert calibrated.score(X_test, y_test) > 0.8
    assert not np.array_equal(calibrated.predict_proba(X_test), before)
    np.testing.assert_array_equal(net.predict_proba(X_test), before)


def test_boosting_weighs_what_the_first_net_missed(quick, split):
    """Catches sample weights that boosting passes and the net drops: the second net, fitted alone
    with its own seed and no weights, would then be the same."""
    X_train, X_test, y_train, _ = split
    weak = quick(max_epochs=3)  # one without a mistake would end the boosting
    boosted = AdaBoostClassifier(weak, n_estimators=2, random_state=0).fit(X_train, y_train)
    second = boosted.estimators_[1]
    unweighted = quick(max_epochs=3, random_state=second.random_state).fit(X_train, y_train)
    assert not np.array_equal(second.predict_proba(X_test), unweighted.predict_proba(X_test))


def test_self_training_labels_images_that_had_none(quick, split):
    """Catches probabilities that no threshold of self-training accepts, or that are wrong."""
    X_train, _, y_train, _ = split
    model = SelfTrainingClassifier(quick(label_smoothing=0.0), max_iter=2)
    model.fit(X_train, a_third_unlabelled(y_train))
    added = model.labeled_iter_ > 0
    assert added.sum() > 50
    assert (model.transduction_[added] == y_train[added]).mean() > 0.9


def test_strings_come_back_from_a_vote(quick, split):
    """Catches labels that stay class numbers, where the meta-estimator encodes them itself."""
    X_train, X_test, y_train, y_test = split
    names = np.array(["even", "odd"])
    vote = VotingClassifier(two_nets(quick), voting="soft").fit(X_train, names[y_train % 2])
    assert vote.score(X_test, names[y_test % 2]) > 0.8
    assert set(vote.predict(X_test)) == {"even", "odd"}
