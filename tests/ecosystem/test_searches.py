"""Cross-validation, searches and inspection around the classifier.

MATRIX lists the functions; docs/meta_estimators.md shows it to users, and is compared with it.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import FitFailedWarning
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.inspection import permutation_importance
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    RandomizedSearchCV,
    cross_val_predict,
    cross_val_score,
    cross_validate,
    learning_curve,
    permutation_test_score,
    validation_curve,
)
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_cnn import Activation, BatchNorm, Conv, Dense, Flatten, Pool

SCORERS = ["accuracy", "neg_log_loss", "roc_auc_ovr"]


class Case(NamedTuple):
    """A function: its name on the page, a call that gives an array, and its word on 4-D images."""

    name: str
    call: Callable[..., np.ndarray]
    refuses: str | None = None
    why: str = ""


MATRIX = [
    Case(
        "cross_validate",
        lambda net, X, y: np.array(
            [
                cross_validate(net, X, y, cv=2, scoring=SCORERS, error_score="raise")[
                    f"test_{scorer}"
                ]
                for scorer in SCORERS
            ]
        ),
    ),
    Case("cross_val_score", lambda net, X, y: cross_val_score(net, X, y, cv=2)),
    Case("cross_val_predict", lambda net, X, y: cross_val_predict(net, X, y, cv=2)),
    Case(
        "learning_curve",
        lambda net, X, y: learning_curve(net, X, y, cv=2, train_sizes=[0.5, 1.0])[2],
    ),
    Case(
        "validation_curve",
        lambda net, X, y: validation_curve(
            net, X, y, cv=2, param_name="pooling", param_range=["max", "mean"]
        )[1],
    ),
    Case(
        "permutation_test_score",
        lambda net, X, y: permutation_test_score(net, X, y, cv=2, n_permutations=2, random_state=0)[
            1
        ],
    ),
    Case(
        "permutation_importance",
        lambda net, X, y: (
            permutation_importance(net.fit(X, y), X, y, n_repeats=1, random_state=0).importances
        ),
        r"Found array with dim 4(\. None expected <= 2|, while dim <= 2 is required)",
        "it shuffles the columns of a two-dimensional X",
    ),
]


@pytest.mark.parametrize("case", MATRIX, ids=lambda case: case.name)
def test_images_give_what_their_rows_give(case, quick, split):
    """Catches 4-D images that are split, indexed or predicted otherwise than flattened rows."""
    X, _, y, _ = split
    images = X.reshape(-1, 8, 8, 1)
    on_rows = case.call(quick(), X, y)
    assert np.isfinite(np.asarray(on_rows, dtype=float)).all()
    if case.refuses is None:
        np.testing.assert_array_equal(case.call(quick(), images, y), on_rows)
    else:
        with pytest.raises(ValueError, match=case.refuses):
            case.call(quick(), images, y)


def test_the_page_shows_the_matrix(page_table):
    """Catches a page that promises users what the matrix above does not hold, and the reverse."""
    expected = [
        (case.name, "yes", "yes" if case.refuses is None else "no", case.why) for case in MATRIX
    ]
    assert page_table("Model selection and inspection") == expected


@pytest.mark.parametrize(
    "make_search",
    [
        lambda net, grid, **options: GridSearchCV(net, grid, **options),
        lambda net, grid, **options: RandomizedSearchCV(
            net, grid, n_iter=2, random_state=0, **options
        ),
    ],
    ids=["GridSearchCV", "RandomizedSearchCV"],
)
def test_scores_do_not_depend_on_the_number_of_processes(make_search, quick, split):
    """Catches randomness, or a number of threads, that differs in a worker process: the log loss
    shows a difference in the last bit of a single probability."""
    X, _, y, _ = split
    options = {"cv": 2, "scoring": SCORERS[:2], "refit": "accuracy", "error_score": "raise"}
    grid = {"conv_channels": [4, (8, 8)]}
    results, predictions = [], []
    for n_jobs in (1, 2, -1):
        search = make_search(quick(max_epochs=4), grid, n_jobs=n_jobs, **options).fit(X, y)
        scores = {k: v for k, v in search.cv_results_.items() if k.startswith(("split", "mean_te"))}
        assert len(scores) == 6
        results.append(scores)
        predictions.append(search.predict_proba(X))
    for scores, probabilities in zip(results[1:], predictions[1:], strict=True):
        for name, values in scores.items():
            np.testing.assert_array_equal(values, results[0][name], err_msg=name)
        np.testing.assert_array_equal(probabilities, predictions[0])


def test_halving_spends_epochs(quick, split):
    """Catches ``max_epochs`` that a halving search sets and training does not follow, and a search
    that keeps the worse half: a learning rate near zero learns nothing."""
    X_train, X_test, y_train, y_test = split
    search = HalvingGridSearchCV(
        quick(),
        {"learning_rate": [1e-6, 0.02], "pooling": ["max", "mean"]},
        resource="max_epochs",
        min_resources=2,
        max_resources=8,
        factor=2,
        cv=2,
        error_score="raise",
    ).fit(X_train, y_train)
    assert search.n_resources_ == [2, 4, 8]
    assert search.n_candidates_ == [4, 2, 1]
    assert search.best_params_["learning_rate"] == 0.02
    assert search.best_estimator_.n_iter_ == search.best_params_["max_epochs"] == 8
    assert search.score(X_test, y_test) > 0.8


def test_several_scorers_at_once(quick, split):
    """Catches probabilities that a scorer cannot read, or that rank classes no better than chance:
    a log loss of 2.3 and an area of 0.5 are those of a guess among ten."""
    X, _, y, _ = split
    scores = cross_validate(quick(), X, y, cv=3, scoring=SCORERS, error_score="raise")
    assert (scores["test_accuracy"] > 0.8).all()
    assert (scores["test_neg_log_loss"] > -1.0).all()
    assert (scores["test_roc_auc_ovr"] > 0.95).all()


def test_cross_val_predict_gives_labels_and_probabilities_of_one_model(quick, split):
    """Catches probabilities whose columns do not follow the classes, or a fit that is another one
    the second time."""
    X, _, y, _ = split
    labels = cross_val_predict(quick(), X, y, cv=2)
    probabilities = cross_val_predict(quick(), X, y, cv=2, method="predict_proba")
    assert (labels == y).mean() > 0.8
    np.testing.assert_array_equal(np.unique(y)[probabilities.argmax(axis=1)], labels)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, atol=1e-6)


def test_more_images_and_more_epochs_give_better_scores(quick, split):
    """Catches curves whose points all come from one fit: both must rise clearly."""
    X, _, y, _ = split
    sizes, _, by_size = learning_curve(
        quick(),
        X,
        y,
        cv=2,
        train_sizes=[30, 225],
        shuffle=True,
        random_state=0,
        error_score="raise",
    )
    _, by_epochs = validation_curve(
        quick(), X, y, cv=2, param_name="max_epochs", param_range=[1, 8], error_score="raise"
    )
    np.testing.assert_array_equal(sizes, [30, 225])
    for scores in (by_size, by_epochs):
        first, last = scores.mean(axis=1)
        assert last > first + 0.1
        assert last > 0.8


def test_importance_lies_where_the_strokes_are(quick, split):
    """Catches features that reach the net in another order than their columns: the left and the
    right edge of a digit are empty, the middle is not."""
    X_train, X_test, y_train, y_test = split
    net = quick().fit(X_train, y_train)
    found = permutation_importance(net, X_test, y_test, n_repeats=1, random_state=0)
    by_pixel = found.importances_mean.reshape(8, 8)
    constant = (X_test == X_test[0]).all(axis=0).reshape(8, 8)
    assert constant.any()
    np.testing.assert_array_equal(by_pixel[constant], 0.0)
    assert by_pixel[2:6, 2:6].mean() > 5 * abs(by_pixel[:, [0, 7]].mean())


@pytest.mark.parametrize(
    ("parameter", "values"),
    [
        ("conv_channels", [8, (8,), [8, 8], "auto"]),
        (
            "layers",
            [
                [Conv(8), Pool(), Activation(), Flatten()],
                [Conv(8), BatchNorm(), Activation(), Pool("mean"), Flatten(), Dense(16)],
                None,
            ],
        ),
        ("layers", [(Conv(8), Flatten()), (Conv(4), Flatten())]),
    ],
    ids=["conv_channels", "layers of several lengths", "layers of one length"],
)
def test_searching_over_sequences(parameter, values, quick, split):
    """Catches candidates that scikit-learn turns into arrays, copies or compares on the way, so
    that another network is built than the one listed."""
    X, _, y, _ = split
    search = GridSearchCV(quick(max_epochs=3), {parameter: values}, cv=2, error_score="raise")
    search.fit(X, y)
    assert [candidate[parameter] for candidate in search.cv_results_["params"]] == values
    assert search.best_params_[parameter] in values
    for candidate, score in zip(values, search.cv_results_["mean_test_score"], strict=True):
        alone = quick(max_epochs=3, **{parameter: candidate})
        assert cross_val_score(alone, X, y, cv=2).mean() == score


def test_names_behind_a_pipeline_prefix(quick, split):
    """Catches nested names that a search sets on the pipeline's net, and that do not arrive."""
    X_train, X_test, y_train, y_test = split
    pipeline = Pipeline([("scale", StandardScaler()), ("cnn", quick())])
    grid = {"cnn__conv_channels": [4, 8], "cnn__max_epochs": [1, 8]}
    search = GridSearchCV(pipeline, grid, cv=2, error_score="raise").fit(X_train, y_train)
    best = search.best_estimator_["cnn"]
    assert best.n_iter_ == search.best_params_["cnn__max_epochs"] == 8
    first = next(layer for layer in best.layers_ if "conv" in layer.kind.lower())
    assert first.output_shape[-1] == search.best_params_["cnn__conv_channels"]
    assert search.score(X_test, y_test) > 0.8


def test_a_bad_candidate_is_named_and_the_others_are_scored(quick, split):
    """Catches an error of the net that stops a search which was told to go on, or one whose
    reason does not reach the user."""
    X, _, y, _ = split
    grid = {"layers": [[Conv(8), Dense(16)], [Conv(8), Flatten()]]}
    search = GridSearchCV(quick(max_epochs=1), grid, cv=2)
    with (
        pytest.warns(UserWarning, match="One or more of the test scores are non-finite"),
        pytest.warns(FitFailedWarning, match=r"(?s)2 fits failed out of a total of 4.*Flatten"),
    ):
        search.fit(X, y)
    assert np.isnan(search.cv_results_["mean_test_score"]).tolist() == [True, False]
    assert clone(search.best_estimator_).layers == grid["layers"][1]
