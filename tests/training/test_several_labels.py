"""Several labels an image: what an indicator matrix may be, its weights, and what is predicted."""

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_array, csr_matrix
from sklearn.metrics import accuracy_score
from sklearn.preprocessing import MultiLabelBinarizer

from sklearn_cnn import CNNClassifier
from sklearn_cnn.training.labels import check_labels, label_weights

Y = np.array([[1, 0, 1], [0, 0, 1], [1, 1, 0], [0, 0, 0]])


@pytest.fixture(scope="module")
def labelled(digits):
    """200 digits with three labels: odd, above 4, a multiple of 3."""
    y = digits.target[:200]
    return digits.images[:200], np.column_stack([y % 2, y > 4, y % 3 == 0]).astype(int)


@pytest.mark.parametrize(
    "make",
    [
        np.ndarray.tolist, np.asarray, lambda y: y.astype(bool), lambda y: y.astype(float),
        lambda y: y.astype(object), pd.DataFrame, csr_matrix, csr_array, torch.tensor,
        lambda y: pd.DataFrame(y).astype("boolean"), lambda y: y.astype(np.uint8),
    ],
    ids=["list", "int", "bool", "float", "object", "frame", "csr_matrix", "csr_array", "torch",
         "nullable", "uint8"],
)  # fmt: skip
def test_an_indicator_matrix_in_any_container(make):
    found = check_labels(make(Y), "CNNClassifier")
    assert found.dtype == np.int64
    assert_array_equal(found, Y)


@pytest.mark.parametrize(
    ("y", "text"),
    [
        ([["red", "round"], ["blue"]], r"lists of labels.*MultiLabelBinarizer\(\)\.fit_transform"),
        (
            [["red", "round"], ["blue", "flat"]],
            r"lists of labels, such as \['red', 'round'\]\. .*Mu",
        ),
        ([{"red", "round"}, {"blue"}, set()], r"lists of labels.*MultiLabelBinarizer"),
        (pd.Series([["red"], ["red", "round"]]), r"lists of labels.*MultiLabelBinarizer"),
        ([[1, 2], [3]], r"lists of labels.*MultiLabelBinarizer"),
        (np.array([["a", "b"], ["c", "d"]]), r"lists of labels.*MultiLabelBinarizer"),
        ([[0.5, 1], [1, 0]], r"continuous-multioutput.*value 0\.5\. Use CNNRegressor to predict"),
        (
            [[0, 2], [1, 0]],
            r"multiclass-multioutput.*the value 2\. For several columns of classes",
        ),
        ([[-1, 1], [1, -1]], r"must be an indicator matrix of 0 and 1.*the value -1"),
        ([[np.nan, 1.0], [1.0, 0.0]], "Input y contains NaN"),
        ([0.5, 1.5], r"Unknown label type: continuous.*0\.5.*Use CNNRegressor to predict numbers"),
    ],
)
def test_what_is_no_indicator_matrix(y, text):
    """Each error names what does learn from it."""
    with pytest.raises(ValueError, match=text):
        check_labels(y, "CNNClassifier")


def test_a_single_list_an_image_is_a_column():
    with pytest.warns(match="column-vector y was passed"):
        assert check_labels([["a"], ["b"]], "CNNClassifier").tolist() == ["a", "b"]


def test_what_is_predicted(labelled):
    """The forms of MLPClassifier: an indicator matrix, probabilities (n, n_labels), classes_."""
    images, y = labelled
    model = CNNClassifier(8, max_epochs=15, random_state=0).fit(images, y)
    predicted, probabilities = model.predict(images), model.predict_proba(images)
    assert predicted.shape == probabilities.shape == y.shape
    assert predicted.dtype == np.int64
    assert model.classes_.tolist() == [0, 1, 2]
    assert model.multilabel_
    assert_array_equal(predicted, probabilities > 0.5)
    assert not np.allclose(probabilities.sum(axis=1), 1)
    assert model.score(images, y) == accuracy_score(y, predicted) > 0.7
    assert model.score(images, csr_matrix(y)) == model.score(images, y)


def test_labels_without_an_image_and_images_without_a_label(labelled):
    """Catches a label of one value that breaks training, or a row of zeros that is refused."""
    images, y = labelled
    y = np.column_stack([y, np.zeros(len(y)), np.ones(len(y))]).astype(int)
    y[:5, :3] = 0
    model = CNNClassifier(8, max_epochs=15, random_state=0, class_weight="balanced")
    predicted = model.fit(images, y).predict(images)
    assert not predicted[:, 3].any()
    assert predicted[:, 4].all()


def test_two_labels_score_by_roc_auc(labelled):
    """Two labels, whose numbers look like two classes. Catches a column taken for the second."""
    from sklearn.model_selection import cross_val_score

    images, y = labelled
    for scoring in ("roc_auc", "average_precision", "f1_macro"):
        model = CNNClassifier(8, max_epochs=5, random_state=0)
        assert cross_val_score(model, images, y[:, :2], scoring=scoring, cv=2).min() > 0.5


def test_balanced_labels_by_hand():
    """Labels that 3 of 4 and 1 of 4 images have: each side weighs half, 2/3 and 2."""
    targets = np.array([[1, 0], [1, 0], [1, 0], [0, 1]])
    absent, present = label_weights(targets, np.ones(4), "balanced")
    assert_allclose(absent, [2, 2 / 3])
    assert_allclose(present, [2 / 3, 2])
    # of which the first image counts three times
    absent, present = label_weights(targets, np.array([3.0, 1, 1, 1]), "balanced")
    assert_allclose(absent, [3, 3 / 5])
    assert_allclose(present, [3 / 5, 3])


def test_dicts_of_labels_by_hand():
    """One of the four entries weighs 5, the mean is 2. Catches weights that scale the loss."""
    targets = np.array([[1, 0], [0, 0]])
    absent, present = label_weights(targets, np.ones(2), [{1: 5}, {}])
    assert_allclose(present, [2.5, 0.5])
    assert_allclose(absent, [0.5, 0.5])


@pytest.mark.parametrize(
    ("class_weight", "text"),
    [
        ({0: 1, 1: 2}, r"be a list of 3 dicts, one \{0: weight, 1: weight\} per"),
        ([{1: 2}], r"be a list of 3 dicts, one \{0: weight, 1: weight\} per"),
        ([{1: 2}, {}, {"a": 1}], r"be a list of 3 dicts, one \{0: weight, 1: weight\} per"),
        ([{1: -1}, {}, {}], "hold finite weights of at least 0"),
        ([{1: np.nan}, {}, {}], "hold finite weights of at least 0"),
        ([{0: 0, 1: 0}] * 3, "give a weight above 0 to a label of at least one image"),
    ],
)
def test_class_weights_that_are_none(labelled, class_weight, text):
    images, y = labelled
    with pytest.raises(ValueError, match=f"class_weight must {text}"):
        CNNClassifier(8, max_epochs=1, class_weight=class_weight).fit(images, y)


def test_a_list_of_weights_needs_several_labels(digits):
    with pytest.raises(ValueError, match="A list of dicts needs an indicator matrix"):
        CNNClassifier(8, max_epochs=1, class_weight=[{0: 1}]).fit(
            digits.images[:50], digits.target[:50]
        )


def test_sample_weights_are_copies(labelled):
    """In one batch of double precision, a weight of 2 is a row given twice, and 0 none."""
    images, y = labelled[0][:40], labelled[1][:40]
    weights = np.arange(40) % 3
    rows = np.repeat(np.arange(40), weights)
    model = CNNClassifier(
        4, dense_units=8, batch_size=1000, max_epochs=5, batch_norm=False, precision="float64",
        random_state=0,
    )  # fmt: skip
    weighted = model.fit(images, y, sample_weight=weights).predict_proba(images)
    assert_allclose(model.fit(images[rows], y[rows]).predict_proba(images), weighted, rtol=1e-7)


def test_partial_fit_needs_no_classes(labelled):
    images, y = labelled
    model = CNNClassifier(8, random_state=0)
    for _ in range(3):
        model.partial_fit(images, y)
    assert model.predict(images).shape == y.shape
    assert model.partial_fit(images, y, classes=[0, 1, 2]).n_iter_ == 4
    with pytest.raises(
        ValueError, match=r"classes=\[0, 1\] differ from the columns of y, \[0, 1, 2\]"
    ):
        CNNClassifier(8).partial_fit(images, y, classes=[0, 1])


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_a_net_goes_on_with_labels_of_the_same_kind(labelled, method):
    images, y = labelled
    model = CNNClassifier(8, max_epochs=1, warm_start=True, random_state=0).fit(images, y)
    for other in (y[:, :2], y[:, 0]):
        with pytest.raises(ValueError, match=r"must have the shape \(n, 3\), as in the first call"):
            getattr(model, method)(images, other)
    assert getattr(model, method)(images, y).n_iter_ == 2


def test_names_by_the_binarizer(labelled):
    """The road that the error for lists points to."""
    images, y = labelled
    names = np.array(["odd", "large", "triple"])
    binarizer = MultiLabelBinarizer(classes=names)
    indicators = binarizer.fit_transform([names[row > 0].tolist() for row in y])
    model = CNNClassifier(8, max_epochs=10, random_state=0).fit(images, indicators)
    found = binarizer.inverse_transform(model.predict(images[:20]))
    assert sum(a == b for a, b in zip(found, binarizer.inverse_transform(y[:20]), strict=True)) > 8
