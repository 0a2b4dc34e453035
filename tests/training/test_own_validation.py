"""Validation images that users bring, and the score that early stopping goes by."""

import numpy as np
import pandas as pd
import pytest
import sklearn
import torch
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.metrics import accuracy_score, f1_score, log_loss, make_scorer, r2_score, roc_auc_score
from sklearn.model_selection import GridSearchCV, GroupShuffleSplit
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer
from skorch.callbacks import EpochScoring

from sklearn_cnn import CNNClassifier, CNNRegressor
from sklearn_cnn.training.validation import split_at_random


@pytest.fixture(scope="module")
def parts(digits):
    """Digits and whether they are above 4: 150 to learn from, 60 to validate on."""
    images, y = digits.images[:210], (digits.target[:210] > 4).astype(int)
    return images[:150], y[:150], images[150:], y[150:]


def quick(**parameters):
    own = {"conv_channels": 4, "dense_units": 8, "max_epochs": 6, "random_state": 0}
    return CNNClassifier(**{**own, "early_stopping": True, **parameters})


def weights_of(model):
    return {name: value.clone() for name, value in model.net_.module_.state_dict().items()}


def assert_equal_weights(one, other):
    one, other = weights_of(one), weights_of(other)
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert torch.equal(value, other[name]), name


@pytest.mark.parametrize("kind", ["classes", "labels", "numbers"])
def test_a_stopped_fit_is_a_fit_of_as_many_epochs_on_the_same_rows(parts, kind):
    """To the bit. Catches validation images that are learnt from, or that draw random numbers."""
    X, y, X_val, y_val = parts
    if kind == "labels":
        y, y_val = (np.column_stack([a, 1 - a, a]) for a in (y, y_val))
    make = CNNRegressor if kind == "numbers" else CNNClassifier
    common = {"conv_channels": 4, "dense_units": 8, "random_state": 0, "schedule": "constant",
              "dropout": 0.3, "learning_rate": 0.02}  # fmt: skip
    stopped = make(**common, early_stopping=True, n_iter_no_change=3, max_epochs=40)
    stopped.fit(X, y, X_val=X_val, y_val=y_val)
    assert stopped.n_iter_ < 40
    best = max(
        stopped.history_, key=lambda epoch: (epoch["validation_score"], -epoch["valid_loss"])
    )["epoch"]
    plain = make(**common, max_epochs=best).fit(X, y)
    assert_equal_weights(stopped, plain)


def test_weights_of_labels_are_those_of_the_training_images(parts):
    """Validation images without a label that alone has a weight: they are scored all the same."""
    X, y, X_val, _ = parts
    weights = [{0: 0, 1: 2}, {0: 0, 1: 2}]
    y = np.column_stack([y, np.roll(y, 1)])
    model = quick(class_weight=weights, max_epochs=1)
    model.fit(X, y, X_val=X_val, y_val=np.zeros((60, 2), dtype=int))
    assert len(model.validation_scores_) == 1


def test_swapped_labels_are_never_learnt(parts):
    """With X_val labelled the wrong way round, the weights of an epoch are those without it."""
    X, y, X_val, y_val = parts
    common = {"schedule": "constant", "max_epochs": 4, "n_iter_no_change": 9}
    right = quick(**common).fit(X, y, X_val=X_val, y_val=y_val)
    wrong = quick(**common).fit(X, y, X_val=X_val, y_val=1 - y_val)
    assert right.loss_curve_ == wrong.loss_curve_
    assert right.validation_scores_ == [pytest.approx(1 - s) for s in wrong.validation_scores_]


def test_the_best_score_is_that_of_the_images_given(parts):
    X, y, X_val, y_val = parts
    model = quick().fit(X, y, X_val=X_val, y_val=y_val)
    assert model.best_validation_score_ == pytest.approx(model.score(X_val, y_val))
    weights = np.linspace(0, 3, 60)
    model.fit(X, y, X_val=X_val, y_val=y_val, sample_weight_val=weights)
    assert model.best_validation_score_ == pytest.approx(model.score(X_val, y_val, weights))


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"X_val": 0}, "^X_val is provided, but y_val was not provided."),
        ({"y_val": 0}, "^y_val is provided, but X_val was not provided."),
        ({"sample_weight_val": 0}, "^sample_weight_val is provided, but X_val was not provided."),
        ({"X_val": 0, "sample_weight_val": 0}, "^X_val is provided, but y_val was not provided."),
    ],
)
def test_one_without_the_other(parts, given, text):
    X, y, *_ = parts
    with pytest.raises(ValueError, match=text):
        quick().fit(X, y, **given)


def test_validation_images_without_early_stopping(parts):
    X, y, X_val, y_val = parts
    text = "^X_val and y_val are passed to fit while at the same time early_stopping is False"
    with pytest.raises(ValueError, match=text):
        quick(early_stopping=False).fit(X, y, X_val=X_val, y_val=y_val)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda X, y: (X[:, :4], y), r"^X_val: .*8"),
        (lambda X, y: (X[..., None].repeat(3, 3), y), r"^X_val: "),
        (lambda X, y: (X * np.nan, y), r"^X_val: .*NaN"),
        (lambda X, y: (X * 40, y), r"^X_val: "),
        (lambda X, y: (X[:0], y[:0]), r"^X_val: "),
        (lambda X, y: (X, y[:-1]), r"^y_val: .*inconsistent numbers of samples"),
        (lambda X, y: (X, y + 1), r"^y_val: .*not in the classes: \[2\]"),
        (lambda X, y: (X, np.column_stack([y, y])), r"^y_val: y must have the shape \(n,\)"),
    ],
    ids=["height", "channels", "NaN", "range", "none", "length", "class", "labels"],
)
def test_errors_name_the_validation_images(parts, change, text):
    """And leave the estimator as it was."""
    X, y, X_val, y_val = parts
    X_val, y_val = change(X_val, y_val)
    model = quick()
    with pytest.raises(ValueError, match=text):
        model.fit(X, y, X_val=X_val, y_val=y_val)
    assert not hasattr(model, "net_")


def test_other_containers_and_layouts(parts):
    """Lists, frames of rows, channels first: the fit is the same."""
    X, y, X_val, y_val = parts
    expected = quick().fit(X, y, X_val=X_val, y_val=y_val).validation_scores_
    rows, names = X.reshape(150, 64), [f"p{i}" for i in range(64)]
    frame = pd.DataFrame(rows, columns=names)
    val = pd.DataFrame(X_val.reshape(60, 64), columns=names)
    own = pd.Series(y_val, index=np.arange(60)[::-1])
    assert quick().fit(frame, y, X_val=val, y_val=own).validation_scores_ == expected
    lists = quick().fit(X.tolist(), y.tolist(), X_val=X_val.tolist(), y_val=y_val.tolist())
    assert lists.validation_scores_ == expected
    first = quick(data_format="channels_first")
    first.fit(X[:, None], y, X_val=X_val[:, None], y_val=y_val)
    assert first.validation_scores_ == expected


def logarithm(estimator, X, y):
    """A scorer of that form: it may use whatever the estimator has."""
    assert estimator.transform(X).shape == (len(X), 8)
    return -log_loss(y, estimator.predict_proba(X))


@pytest.mark.parametrize("source", ["own", "held out"])
@pytest.mark.parametrize(
    ("scoring", "score"),
    [
        (None, lambda model, X, y: accuracy_score(y, model.predict(X))),
        ("accuracy", lambda model, X, y: accuracy_score(y, model.predict(X))),
        ("f1_macro", lambda model, X, y: f1_score(y, model.predict(X), average="macro")),
        ("roc_auc", lambda model, X, y: roc_auc_score(y, model.decision_function(X))),
        (logarithm, logarithm),
        (
            make_scorer(f1_score, pos_label=0),
            lambda m, X, y: f1_score(y, m.predict(X), pos_label=0),
        ),
    ],
    ids=["None", "accuracy", "f1_macro", "roc_auc", "callable", "make_scorer"],
)
def test_the_kept_weights_have_the_best_score(parts, scoring, score, source):
    """Computed again after fit, to the bit. Catches the score of other images or weights."""
    X, y, X_val, y_val = parts
    model, given = quick(scoring=scoring, learning_rate=0.02, validation_fraction=0.4), {}
    if source == "own":
        given = {"X_val": X_val, "y_val": y_val}
    model.fit(X, y, **given)
    if source == "held out":
        seen = []
        clone(model).set_params(
            scoring=lambda estimator, X, y: seen.append((X, y)) or 0.0, max_epochs=1
        ).fit(X, y)
        (X_val, y_val), *_ = seen
        assert len(X_val) == 60
    assert model.best_validation_score_ == pytest.approx(score(model, X_val, y_val), abs=1e-12)
    assert model.best_validation_score_ == max(model.validation_scores_)
    assert len(model.validation_scores_) == 6


def test_scoring_by_the_loss(parts):
    """Higher is better: the loss with its sign changed."""
    X, y, X_val, y_val = parts
    model = quick(scoring="loss").fit(X, y, X_val=X_val, y_val=y_val)
    assert model.validation_scores_ == [-loss for loss in model.history_[:, "valid_loss"]]


def test_a_scorer_gets_the_sample_weights(parts):
    X, y, X_val, y_val = parts
    weights, of_val = np.linspace(1, 2, 150), np.linspace(0.5, 2, 60)
    seen = []

    def scorer(estimator, X, y, sample_weight=None):
        seen.append(sample_weight)
        return 0.5

    model = quick(scoring=scorer, max_epochs=1, validation_fraction=0.4)
    model.fit(X, y, X_val=X_val, y_val=y_val)
    model.fit(X, y, weights, X_val=X_val, y_val=y_val, sample_weight_val=of_val)
    model.fit(X, y, weights)
    assert seen[0] is None
    assert_array_equal(seen[1], of_val)
    assert len(seen[2]) == 60
    assert set(seen[2]) < set(weights)


@pytest.mark.parametrize(
    ("scoring", "text"),
    [
        ("acuracy", "scoring.*acuracy.*Did you mean 'accuracy'"),
        (accuracy_score, "looks like it is a metric function rather than a scorer"),
        (
            lambda *_: np.nan,
            r"returned nan on the validation images\. Use validation images for which it is def",
        ),
        (lambda *_: np.inf, "returned inf on the validation images"),
    ],
)
def test_scorings_that_give_no_score(parts, scoring, text):
    """Catches an epoch that is never the best, whose weights are then missing."""
    X, y, X_val, y_val = parts
    with pytest.raises(ValueError, match=text):
        quick(scoring=scoring).fit(X, y, X_val=X_val, y_val=y_val)


def test_the_error_of_a_scorer_says_where_it_comes_from(parts):
    """As of a score of classes for a regressor."""
    X, y, X_val, y_val = parts
    model = CNNRegressor(4, dense_units=8, max_epochs=1, early_stopping=True, scoring="roc_auc")
    with pytest.raises(AttributeError) as caught:
        model.fit(X, y, X_val=X_val, y_val=y_val)
    assert caught.value.__notes__[0].startswith("Raised by scoring='roc_auc', on the validation im")


def test_a_scorer_is_not_asked_without_early_stopping(parts):
    X, y, *_ = parts
    quick(scoring=lambda *_: 1 / 0, early_stopping=False, max_epochs=1).fit(X, y)


@pytest.mark.parametrize(
    ("make", "names"),
    [
        (CNNClassifier, ["roc_auc", "average_precision", "f1", "accuracy", "neg_log_loss"]),
        (CNNRegressor, ["r2", "neg_mean_absolute_error"]),
    ],
)
def test_scores_of_skorch(parts, make, names):
    """To skorch's EpochScoring, the net is a classifier or a regressor.

    Catches probabilities that a scorer cannot find, and numbers in another shape.
    """
    X, y, X_val, y_val = parts
    callbacks = [EpochScoring(name, name=f"by_{name}", lower_is_better=False) for name in names]
    model = make(4, dense_units=8, max_epochs=2, early_stopping=True, callbacks=callbacks)
    model.fit(X, y, X_val=X_val, y_val=y_val)
    for name in names:
        assert all(np.isfinite(model.history_[:, f"by_{name}"]))


@pytest.mark.parametrize("n_labels", [2, 3])
def test_scores_of_skorch_for_several_labels(parts, n_labels):
    X, y, X_val, y_val = parts
    y, y_val = (np.column_stack([a, np.roll(a, 1), a][:n_labels]) for a in (y, y_val))
    callbacks = [
        EpochScoring(name, name=f"by_{name}", lower_is_better=False)
        for name in ("roc_auc", "average_precision", "f1_macro", "accuracy")
    ]
    model = quick(max_epochs=2, callbacks=callbacks).fit(X, y, X_val=X_val, y_val=y_val)
    auc = roc_auc_score(y_val, model.predict_proba(X_val))
    assert max(model.history_[:, "by_roc_auc"]) >= auc - 1e-6
    assert all(np.isfinite(model.history_[:, "by_f1_macro"]))


def test_a_split_by_group_is_three_lines(parts):
    """As of patients: no group is on both sides."""
    X, y, *_ = parts
    groups = np.arange(150) // 5
    splitter = GroupShuffleSplit(1, test_size=0.2, random_state=0)
    train, val = next(splitter.split(X, y, groups))
    model = quick(max_epochs=2).fit(X[train], y[train], X_val=X[val], y_val=y[val])
    assert len(model.validation_scores_) == 2
    assert not set(groups[train]) & set(groups[val])


@pytest.fixture
def routing():
    with sklearn.config_context(enable_metadata_routing=True):
        yield


def test_a_pipeline_transforms_the_validation_images(parts, routing):
    """Which scales them, so that those that are not would be refused by their range."""
    X, y, X_val, y_val = parts
    scale = FunctionTransformer(lambda images: 100 * images)
    step = quick().set_fit_request(X_val=True, y_val=True)
    pipeline = Pipeline([("scale", scale), ("net", step)], transform_input=["X_val"])
    pipeline.fit(X, y, X_val=X_val, y_val=y_val)
    expected = quick().fit(100 * X, y, X_val=100 * X_val, y_val=y_val)
    assert pipeline[-1].validation_scores_ == expected.validation_scores_


def test_a_search_passes_the_validation_images(parts, routing):
    X, y, X_val, y_val = parts
    step = quick(max_epochs=2).set_fit_request(X_val=True, y_val=True)
    search = GridSearchCV(step, {"pooling": ["max", "mean"]}, cv=2, error_score="raise")
    search.fit(X, y, X_val=X_val, y_val=y_val)
    best = search.best_estimator_
    assert best.best_validation_score_ == pytest.approx(best.score(X_val, y_val))


def test_a_warm_start_takes_other_validation_images(parts):
    X, y, X_val, y_val = parts
    model = quick(warm_start=True, max_epochs=2).fit(X, y, X_val=X_val, y_val=y_val)
    model.fit(X, y, X_val=X_val[:30], y_val=y_val[:30])
    assert model.n_iter_ == 4
    assert len(model.validation_scores_) == 2


def test_the_targets_of_validation_images_are_not_learnt_from():
    """Their mean and scale are those of the training images, also where those are constant."""
    rng = np.random.default_rng(0)
    X, X_val = rng.random((40, 6, 6)), rng.random((30, 6, 6))
    model = CNNRegressor(4, dense_units=8, max_epochs=1, early_stopping=True, scoring="loss")
    model.fit(X, np.full(40, 3.0), X_val=X_val, y_val=np.arange(30.0))
    assert model.target_scale_.mean.tolist() == [3.0]
    assert model.predict(X_val).tolist() == [3.0] * 30


def test_r2_needs_two_validation_images():
    rng = np.random.default_rng(0)
    X, y = rng.random((40, 6, 6)), np.arange(40.0)
    model = CNNRegressor(4, dense_units=8, max_epochs=1, early_stopping=True)
    with pytest.raises(ValueError, match=r"R2, which needs at least 2 validation images\. Got 1"):
        model.fit(X, y, X_val=X[:1], y_val=y[:1])
    model.set_params(scoring="loss").fit(X, y, X_val=X[:1], y_val=y[:1])


def test_the_regressor_is_validated_by_r2(parts):
    X, y, X_val, y_val = parts
    model = CNNRegressor(4, dense_units=8, max_epochs=3, early_stopping=True, random_state=0)
    model.fit(X, 7.0 * y, X_val=X_val, y_val=7.0 * y_val)
    r2 = r2_score(7.0 * y_val, model.predict(X_val))
    assert model.best_validation_score_ == pytest.approx(r2, abs=1e-5)


@pytest.mark.parametrize(
    ("n", "fraction", "fewest", "n_held_out"),
    [(100, 0.1, 2, 10), (101, 0.1, 2, 11), (10, 0.1, 2, 2), (10, 0.1, 1, 1), (3, 0.99, 2, 2),
     (10, 1e-9, 1, 1)],
)  # fmt: skip
def test_a_random_split(n, fraction, fewest, n_held_out):
    training, validation = split_at_random(n, fraction, 0, fewest)
    assert len(validation) == n_held_out
    assert sorted([*training, *validation]) == list(range(n))


@pytest.mark.parametrize(("n", "fewest"), [(2, 2), (1, 1), (1, 2)])
def test_a_random_split_that_leaves_nothing_to_learn_from(n, fewest):
    with pytest.raises(
        ValueError, match=rf"there are only {n}\. Pass more images, or use early_stop"
    ):
        split_at_random(n, 0.5, 0, fewest)
