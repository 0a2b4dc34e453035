"""Augmentation and parts within scikit-learn: clones, searches, processes, pipelines."""

import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.ensemble import BaggingClassifier
from sklearn.exceptions import FitFailedWarning
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV, cross_val_score
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer

from sklearn_cnn import (
    CNNClassifier,
    RandomErasing,
    RandomFlip,
    RandomRotation,
    RandomShear,
    RandomShift,
    RandomZoom,
)

ALL = [
    RandomFlip("vertical"),
    RandomShift([0.1, 0.2]),
    RandomZoom(),
    RandomRotation(10),
    RandomShear(),
    RandomErasing(0.3, [0.1, 0.2]),
]


class AddNoise:
    """A callable of the user's, from a module that processes can import, with values to compare."""

    def __repr__(self):  # names the test, alike in every process
        return "AddNoise()"

    def __init__(self, scale):
        self.scale = scale

    def __call__(self, pixels):
        return pixels + self.scale * torch.randn_like(pixels.float())

    def __eq__(self, other):
        return isinstance(other, AddNoise) and other.scale == self.scale

    def __hash__(self):
        return hash(self.scale)


CANDIDATES = [
    None,
    RandomFlip(),
    (RandomShift(0.125), RandomErasing(0.2)),
    [RandomShift(0.125)],
    (RandomFlip(), RandomShift()),
    abs,
    AddNoise(0.5),
    (RandomFlip(), AddNoise(0.5)),
]


@pytest.mark.parametrize("augment", [*CANDIDATES, ALL], ids=repr)
def test_clones_and_pickles_have_the_same_parameter(quick, split, augment):
    """Unfitted and fitted. Catches steps that a clone cannot copy, or that a pickle forgets."""
    X, _, y, _ = split
    model = quick(augment=augment, max_epochs=1)
    copies = [clone(model), pickle.loads(pickle.dumps(model))]
    expected = model.fit(X[:60], y[:60]).predict_proba(X)
    copies += [clone(model), pickle.loads(pickle.dumps(model))]
    for copy in copies:
        assert copy.augment == augment
        assert type(copy.augment) is type(augment)
        np.testing.assert_array_equal(copy.fit(X[:60], y[:60]).predict_proba(X), expected)
    assert repr(augment)[:10] in repr(model) or augment is None


@pytest.mark.parametrize("candidates", [CANDIDATES, CANDIDATES[1:2] * 2, [ALL, ALL[:2]]])
def test_a_search_over_augmentations(quick, split, candidates):
    """Each candidate scores what it scores alone. Catches tuples that a search makes arrays of."""
    X, _, y, _ = split
    X, y = X[:150], y[:150]
    model = quick(max_epochs=2)
    search = GridSearchCV(model, {"augment": candidates}, cv=2, error_score="raise").fit(X, y)
    assert [candidate["augment"] for candidate in search.cv_results_["params"]] == candidates
    assert search.best_params_["augment"] in candidates
    for candidate, score in zip(candidates, search.cv_results_["mean_test_score"], strict=True):
        alone = clone(model).set_params(augment=candidate)
        assert cross_val_score(alone, X, y, cv=2).mean() == score


def test_a_randomized_search_draws_augmentations(quick, split):
    X, _, y, _ = split
    search = RandomizedSearchCV(
        quick(max_epochs=1), {"augment": CANDIDATES}, n_iter=3, cv=2, random_state=0
    ).fit(X[:100], y[:100])
    assert all(drawn["augment"] in CANDIDATES for drawn in search.cv_results_["params"])


@pytest.fixture(scope="module")
def doubled(digits):
    """120 digits of 16 x 16 pixels."""
    return digits.images[:120].repeat(2, axis=1).repeat(2, axis=2), digits.target[:120] % 3


def test_scores_do_not_depend_on_the_number_of_processes(doubled):
    """With every step, dropout, and batches cut into parts; in processes of one thread each.

    The log loss shows a difference in the last bit of a single probability. Catches draws, or sums,
    that follow the threads of a process.
    """
    X, y = doubled
    model = CNNClassifier(
        (32, 64),
        dense_units=16,
        dropout=0.3,
        batch_size=60,
        max_epochs=2,
        learning_rate=0.005,
        random_state=0,
    )
    grid = {"augment": [None, ALL, AddNoise(1.0)]}
    scores, predictions = [], []
    for n_jobs in (1, 2):
        search = GridSearchCV(
            model, grid, cv=2, scoring="neg_log_loss", error_score="raise", n_jobs=n_jobs
        ).fit(X, y)
        assert search.best_estimator_.net_.is_cut
        scores.append([search.cv_results_[f"split{fold}_test_score"].tolist() for fold in range(2)])
        predictions.append(search.predict_proba(X))
    assert scores[0] == scores[1]
    assert len(set(scores[0][0])) == 3  # the candidates differ, so that the equality says something
    np.testing.assert_array_equal(*predictions)


def test_a_wrong_candidate_is_named_and_the_others_are_scored(quick, split):
    """Catches a class in place of an instance that stops a search which was told to go on."""
    X, _, y, _ = split
    grid = {"augment": [RandomFlip(), [RandomFlip]]}
    search = GridSearchCV(quick(max_epochs=1), grid, cv=2)
    text = r"augment\[0\] is the class RandomFlip\. Call it: RandomFlip\(\)\."
    with (
        pytest.warns(UserWarning, match="One or more of the test scores are non-finite"),
        pytest.warns(FitFailedWarning, match=rf"(?s)2 fits failed out of a total of 4.*{text}"),
    ):
        search.fit(X[:100], y[:100])
    assert np.isnan(search.cv_results_["mean_test_score"]).tolist() == [False, True]


def test_within_a_pipeline_of_flattened_rows(quick, split):
    """A callable gets images, not rows; what a pipeline did to the pixels comes first."""
    X, _, y, _ = split
    pipeline = Pipeline([("scale", FunctionTransformer(np.negative)), ("cnn", quick())])
    pipeline.set_params(cnn__augment=check_negative_images, cnn__max_epochs=1)
    assert len(pipeline.fit(X[:64], y[:64]).predict(X)) == len(X)


def check_negative_images(pixels):
    assert tuple(pixels.shape[1:]) == (1, 8, 8)
    assert pixels.max() <= 0 > pixels.min()
    return pixels


def test_members_of_an_ensemble_have_draws_of_their_own(quick, split):
    """Catches one seed for all members: with the same images they would be one and the same."""
    X, _, y, _ = split
    bag = BaggingClassifier(
        quick(augment=RandomShift(0.25), max_epochs=1, random_state=None),
        n_estimators=2,
        bootstrap=False,
        random_state=0,
    ).fit(X, y)
    one, other = (member.predict_proba(X) for member in bag.estimators_)
    assert not np.allclose(one, other)
