"""Labels become class numbers; sample weights and class weights become one weight an image."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import DataConversionWarning
from sklearn.utils.class_weight import compute_sample_weight

from sklearn_cnn.machine.isolation import draw_seed
from sklearn_cnn.training.examples import check_weights
from sklearn_cnn.training.labels import (
    check_labels,
    encode_labels,
    find_classes,
    loss_weights,
)
from sklearn_cnn.training.validation import split_validation

IMAGES = np.zeros((4, 2, 2, 1))


@pytest.mark.parametrize(
    ("labels", "classes", "numbers"),
    [
        ([3, 1, 3, 7], [1, 3, 7], [1, 0, 1, 2]),
        (["b", "a", "c", "b"], ["a", "b", "c"], [1, 0, 2, 1]),
        ([True, False, True, True], [False, True], [1, 0, 1, 1]),
        ([-1, 1, 1, -1], [-1, 1], [0, 1, 1, 0]),
        (np.array(["b", "a", "b", "a"], dtype=object), ["a", "b"], [1, 0, 1, 0]),
        ([2.0, 5.0, 2.0, 2.0], [2.0, 5.0], [0, 1, 0, 0]),
    ],
)
def test_class_numbers_are_positions_among_the_sorted_classes(labels, classes, numbers):
    """Catches numbers given by first appearance, or labels used as numbers as they are."""
    checked = check_labels(labels, "CNNClassifier")
    found = find_classes(checked)
    encoded = encode_labels(checked, found)
    assert found.tolist() == classes
    assert encoded.tolist() == numbers
    assert encoded.dtype == np.int64


def test_classes_without_images_keep_their_numbers():
    """Catches numbering by the labels at hand, which would shift them between partial fits."""
    assert encode_labels(np.array([5, 1]), np.array([1, 3, 5])).tolist() == [2, 0]


@pytest.mark.parametrize(("label", "shown"), [(3, "3"), ("cat", "'cat'"), (True, "True")])
def test_a_single_class_is_refused_by_name(label, shown):
    """Catches a network with one output, and a class shown as ``np.int64(3)``."""
    with pytest.raises(
        ValueError, match=rf"at least 2 classes, but there is only one class: {shown}\. "
    ):
        find_classes(np.array([label, label]))


def test_two_classes_are_enough():
    assert find_classes(np.array([0, 0, 1])).tolist() == [0, 1]


def test_a_class_of_zero_weight_does_not_count(small, bars):
    """Catches classes read before the images of zero weight are left out."""
    images, target = bars
    with pytest.raises(ValueError, match=r"only one class: 0\. \(Images of zero weight"):
        small().fit(images, target, sample_weight=1 - target)


def test_an_unseen_label_is_named_with_the_classes_and_a_remedy():
    """Catches ``searchsorted``'s silent answer for a label that is not there."""
    message = r"not in the classes: \[2, 9\]\. The classes are \[1, 3\]\. Call fit with warm_st"
    with pytest.raises(ValueError, match=message):
        encode_labels(np.array([1, 2, 9]), np.array([1, 3]))


def test_at_most_five_unseen_labels_are_listed():
    """Catches an error text of a million labels."""
    with pytest.raises(ValueError, match=r"not in the classes: \[2, 3, 4, 5, 6\]\."):
        encode_labels(np.arange(2, 100), np.array([0, 1]))


def test_continuous_labels_are_refused():
    """Catches a regression target trained on as 1,000 classes."""
    with pytest.raises(ValueError, match="Unknown label type: continuous"):
        check_labels([0.5, 1.5, 2.25], "CNNClassifier")


@pytest.mark.parametrize("missing", [np.nan, np.inf])
def test_labels_that_are_not_finite_are_refused(missing):
    """Catches NaN as a class of its own."""
    with pytest.raises(ValueError, match=r"Input y contains (NaN|infinity)"):
        check_labels([0.0, 1.0, missing], "CNNClassifier")


def test_no_labels_are_refused_in_the_name_of_the_estimator():
    with pytest.raises(ValueError, match="This Some estimator requires y to be passed"):
        check_labels(None, "Some")


def test_one_column_warns():
    with pytest.warns(DataConversionWarning, match="column-vector y was passed"):
        labels = check_labels([[0], [1], [0]], "CNNClassifier")
    assert labels.tolist() == [0, 1, 0]


def test_one_hot_labels_and_images_are_told_apart():
    """Catches the labels of other libraries, and arguments in the wrong order."""
    with pytest.warns(UserWarning, match=r"a single 1\. .* pass y\.argmax\(axis=1\)"):
        check_labels([[0, 1], [1, 0], [0, 1]], "CNNClassifier")
    with pytest.raises(ValueError, match=r"shape \(3, 8, 8\)\."):
        check_labels(np.zeros((3, 8, 8)), "CNNClassifier")


def test_class_weight_as_dict_by_hand():
    """Weights 1, 1, 3, 3 have a mean of 2. Catches unscaled weights, and those of others."""
    weights = loss_weights(
        np.array([0, 0, 1, 1]), np.ones(4), {"a": 1, "b": 3}, np.array(["a", "b"])
    )
    assert_allclose(weights, [0.5, 0.5, 1.5, 1.5], rtol=1e-15)


def test_class_weight_balanced_by_hand():
    """3 images against 1: 1/3 each and 1, of mean 1/2. Catches counts in place of inverses."""
    weights = loss_weights(np.array([0, 0, 0, 1]), np.ones(4), "balanced", np.array([0, 1]))
    assert_allclose(weights, [2 / 3, 2 / 3, 2 / 3, 2], rtol=1e-15)


def test_balanced_counts_sample_weights():
    """Class 0 weighs 1 + 3, class 1 weighs 1: each class's sum must come out the same.

    Catches frequencies counted in images, as ``compute_class_weight`` does.
    """
    sample_weight = np.array([1.0, 3.0, 1.0])
    weights = loss_weights(np.array([0, 0, 1]), sample_weight, "balanced", np.array([0, 1]))
    assert_allclose(weights, [0.375, 1.125, 1.5], rtol=1e-15)


def test_balanced_passes_over_a_class_without_images():
    """Catches a division by zero in a partial fit that brings some of the classes only."""
    weights = loss_weights(np.array([0, 2]), np.ones(2), "balanced", np.array([0, 1, 2]))
    assert_allclose(weights, [1, 1])


def test_balanced_counts_below_one_are_counts():
    """Class 1 weighs 0.1 in all, so its weight is 10. Catches a count raised to 1."""
    sample_weight = np.array([1.0, 1.0, 0.1])
    weights = loss_weights(np.array([0, 0, 1]), sample_weight, "balanced", np.array([0, 1]))
    assert_allclose(weights, [0.75, 0.75, 1.5], rtol=1e-15)


@pytest.mark.parametrize(("light", "heavy"), [(1e-300, 1e300), (1e-200, 1e200), (5e-324, 1.0)])
def test_balanced_classes_whose_weights_are_worlds_apart(light, heavy):
    """Each class weighs the same, whatever its unit. Catches a class whose share rounds to zero."""
    sample_weight = np.array([heavy, 3 * heavy, light, light])
    weights = loss_weights(np.array([0, 0, 1, 1]), sample_weight, "balanced", np.array([0, 1]))
    assert_allclose(weights, [0.5, 1.5, 1, 1], rtol=1e-15)


@pytest.mark.parametrize("factor", [1e-12, 1.0, 1e12])
@pytest.mark.parametrize("class_weight", [None, "balanced", {0: 2, 1: 0.5}])
def test_the_mean_is_one_whatever_the_unit_of_the_weights(factor, class_weight):
    """Catches a learning rate that depends on the scale of the weights."""
    targets, base = np.array([0, 1, 1, 0, 1]), np.array([1.0, 2.0, 0.5, 3.0, 1.5])
    weights = loss_weights(targets, base * factor, class_weight, np.array([0, 1]))
    assert_allclose(weights.mean(), 1, rtol=1e-14)
    reference = loss_weights(targets, base, class_weight, np.array([0, 1]))
    assert_allclose(weights, reference, rtol=1e-12)


def test_no_weights_are_ones():
    assert_array_equal(check_weights(None, IMAGES, np.arange(4)), np.ones(4))


def test_zero_weights_are_allowed_but_not_all_and_none_below():
    """Both sides of zero. Catches a negative weight that makes training climb the loss."""
    assert check_weights([0, 0, 0, 1], IMAGES, np.arange(4)).tolist() == [0, 0, 0, 1]
    with pytest.raises(ValueError, match="at least one non-zero"):
        check_weights([0, 0, 0, 0], IMAGES, np.arange(4))
    with pytest.raises(ValueError, match="Negative values in data passed to `sample_weight`"):
        check_weights([1, 1, 1, -1e-9], IMAGES, np.arange(4))


@pytest.mark.parametrize(
    ("sample_weight", "message"),
    [([1, 1, 1], "sample_weight.shape"), ([1, 1, 1, np.nan], "sample_weight contains NaN")],
)
def test_weights_of_another_length_or_not_finite_are_refused(sample_weight, message):
    with pytest.raises(ValueError, match=message):
        check_weights(sample_weight, IMAGES, np.arange(4))


def test_images_and_labels_of_different_number_are_refused():
    with pytest.raises(ValueError, match=r"inconsistent numbers of samples: \[4, 3\]"):
        check_weights(None, IMAGES, np.arange(3))


@pytest.mark.parametrize("class_weight", [{0: -1, 1: 1}, {0: 0, 1: 0}])
def test_class_weights_below_zero_or_all_zero_are_refused(class_weight):
    """Catches weights divided by a mean of zero."""
    with pytest.raises(ValueError, match=r"class_weight must hold .* Got class_weight=\{0: "):
        loss_weights(np.array([0, 1]), np.ones(2), class_weight, np.array([0, 1]))


def test_class_weights_of_zero_for_all_classes_at_hand_are_refused():
    """A third class has a weight, and no image. Catches a mean of zero, and NaN."""
    with pytest.raises(
        ValueError, match=r"be above 0 for at least one class in y\. Got class_weight"
    ):
        loss_weights(np.array([0, 1]), np.ones(2), {0: 0, 1: 0, 2: 1}, np.array([0, 1, 2]))


@pytest.mark.parametrize("weight", [np.nan, np.inf])
def test_class_weights_that_are_not_finite_are_refused_by_name(weight):
    """Catches NaN that shows as a diverged training, and blames the learning rate."""
    with pytest.raises(ValueError, match=r"class_weight must hold .* Got class_weight=\{0: "):
        loss_weights(np.array([0, 1]), np.ones(2), {0: weight, 1: 1}, np.array([0, 1]))


def test_a_class_weight_of_zero_leaves_a_class_out():
    """The boundary of the test above: zero for one class is a weight like any other."""
    weights = loss_weights(np.array([0, 1]), np.ones(2), {0: 0, 1: 5}, np.array([0, 1]))
    assert_allclose(weights, [0, 2])


def test_images_of_zero_weight_do_not_count(small, bars):
    """Catches zero-weight images in the pixel statistics, the batches or the epochs."""
    images, target = bars
    weights = np.ones(60)
    weights[::3] = 0
    with_zeros = small().fit(images[:60], target[:60], sample_weight=weights)
    kept = weights > 0
    without = small().fit(images[:60][kept], target[:60][kept])
    assert_array_equal(with_zeros.predict_proba(images), without.predict_proba(images))


def assert_equal_fits(one, other):
    """The same pixel statistics, losses, scores and probabilities."""
    states = [model.net_.module_.state_dict() for model in (one, other)]
    for name, value in states[0].items():
        assert_allclose(states[1][name], value, rtol=1e-12, atol=1e-12, err_msg=name)
    assert_allclose(one.loss_curve_, other.loss_curve_, rtol=1e-12)
    if one.validation_scores_ is not None:
        assert_allclose(one.validation_scores_, other.validation_scores_, rtol=1e-12)
        losses = [model.history_[:, "valid_loss"] for model in (one, other)]
        assert_allclose(*losses, rtol=1e-12)


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("class_weight", [{0: 5, 1: 0.7}, "balanced"])
def test_class_weights_equal_the_same_sample_weights(small, bars, class_weight, early_stopping):
    """Catches pixels' means, validation scores and losses weighed by one of the two alone."""
    images, target = bars[0], np.where(np.arange(200) % 5, bars[1], 0)
    options = {"early_stopping": early_stopping, "precision": "float64", "batch_size": 50}
    by_class = small(class_weight=class_weight, **options).fit(images, target)
    weights = compute_sample_weight(class_weight, target)
    by_image = small(**options).fit(images, target, sample_weight=weights)
    assert_equal_fits(by_class, by_image)
    plain = small(**options).fit(images, target)
    means = [model.net_.module_.normalize.mean.item() for model in (by_class, plain)]
    assert abs(means[0] - means[1]) > 1e-4


def test_both_kinds_of_weight_multiply(small, bars):
    """Catches one of the two that overrides the other."""
    images, target = bars
    rng, options = np.random.default_rng(0), {"precision": "float64"}
    own = rng.uniform(0.1, 3, 200)
    both = small(class_weight={1: 4}, **options).fit(images, target, sample_weight=own)
    joined = small(**options).fit(images, target, sample_weight=own * np.where(target, 4, 1))
    assert_equal_fits(both, joined)


@pytest.mark.parametrize("early_stopping", [False, True])
def test_a_class_of_weight_zero_is_not_looked_at(small, bars, early_stopping):
    """Its images are noise. Catches them in the batches, statistics, epochs and validation."""
    images, target = bars[0].copy(), np.where(np.arange(200) % 4, bars[1], 2)
    options = {"class_weight": {0: 1, 1: 3, 2: 0}, "early_stopping": early_stopping}
    options["validation_fraction"] = 0.3
    one = small(**options).fit(images, target)
    images[target == 2] = np.random.default_rng(1).integers(0, 256, (50, 8, 6))
    other = small(**options).fit(images, target)
    assert_array_equal(one.classes_, [0, 1, 2])
    assert_equal_fits(one, other)
    n_kept = 105 if early_stopping else 150
    sizes = [batch.get("train_batch_size", 0) for batch in one.history_[-1, "batches"]]
    assert sum(sizes) == n_kept


def test_class_weights_count_among_the_images_held_out(small, bars):
    """Class 1 stands 3 to 1 there, too, by hand. Catches a plain accuracy as validation score."""
    images, target = bars
    model = small(class_weight={0: 1, 1: 3}, early_stopping=True, max_epochs=1, learning_rate=0.02)
    model.fit(images, target)
    rows = split_validation(target, 0.15, draw_seed(0), model.classes_)[1]
    right = model.predict(images[rows]) == target[rows]
    weights = np.where(target[rows] == 1, 3, 1)
    by_hand = (right * weights).sum() / weights.sum()
    assert by_hand != pytest.approx(right.mean(), abs=1e-3)
    assert model.validation_scores_ == [pytest.approx(by_hand)]


BIG = 2**53 + 1  # and the next: one number, as floats


class OnDevice:
    """An array of the array API on a device that NumPy does not reach without a copy."""

    def __init__(self, values):
        self.values = np.asarray(values)
        self.shape, self.dtype, self.ndim = self.values.shape, "device's", self.values.ndim

    def __array_namespace__(self, **_):
        raise AttributeError

    def __array__(self, *_, **__):
        raise TypeError("on another device")

    def __dlpack_device__(self):
        return self.values.__dlpack_device__()

    def __dlpack__(self, **_):
        return self.values.__dlpack__()


@pytest.mark.parametrize(
    ("hold", "values", "kind"),
    [
        (lambda v: pd.Series(v, dtype="Int64"), [BIG, BIG + 1], "i"),
        (lambda v: pd.Series(v, dtype="UInt64"), [2**63 + 1, 2**63 + 2], "u"),
        (lambda v: pd.DataFrame({"y": v}, dtype="Int64").iloc[:, 0], [BIG, BIG + 1], "i"),
        (lambda v: pd.array(v, dtype="Int64"), [BIG, BIG + 1], "i"),
        (lambda v: pd.Index(v, dtype="Int64"), [-3, 4], "i"),
        (lambda v: pd.Series(v, dtype="boolean"), [False, True], "b"),
        (lambda v: pd.Series(v, dtype="string"), ["a", "b"], "O"),
        (lambda v: pd.Series(v, dtype="category"), ["a", "b"], "OU"),
        (lambda v: pd.Series(v, dtype="Int64").astype("category"), [BIG, BIG + 1], "i"),
        (pl.Series, [BIG, BIG + 1], "i"),
        (pl.Series, ["a", "b"], "OU"),
        (torch.tensor, [BIG, BIG + 1], "i"),
        (OnDevice, [BIG, BIG + 1], "i"),
        (lambda v: np.array(v, dtype=object), [BIG, BIG + 1], "i"),
        (lambda v: np.array(v, dtype=object), [False, True], "b"),
        (lambda v: np.array(v, dtype=object), [2**63 + 1, 2**63 + 2], "u"),
        (lambda v: np.array(v, dtype="U"), ["a", "b"], "U"),
        (lambda v: np.array(v, dtype="M8[D]"), ["2020-01-01", "2020-01-02"], "M"),
        (list, [BIG, BIG + 1], "i"),
    ],
)
def test_labels_of_any_type_come_back_as_they_went_in(hold, values, kind):
    """Catches nullable labels that became floats, and numbers beyond 2**53 that changed."""
    y = hold([values[i % 2] for i in range(6)])
    labels = check_labels(y, "CNNClassifier")
    classes = find_classes(labels)
    assert classes.dtype.kind in kind
    assert classes[encode_labels(labels, classes)].tolist() == labels.tolist()
    assert [str(label) for label in classes.tolist()] == [str(value) for value in values]
    np.testing.assert_array_equal(find_classes(hold(values)), classes)  # those of partial_fit


@pytest.mark.parametrize(
    "y",
    [
        pd.Series([1, None, 2], dtype="Int64"),
        pd.Series([True, None, False], dtype="boolean"),
        pd.Series(["a", None, "b"], dtype="string"),
        pd.Series(["a", None, "b"], dtype="category"),
        pd.Series(["a", None, "b"]),
        np.array([1, None, 2], dtype=object),
        np.array(["a", pd.NA, "b"], dtype=object),
        ["a", None, "b"],
    ],
)
def test_missing_labels_are_refused_in_words(y):
    """Catches "boolean value of NA is ambiguous"."""
    with pytest.raises(ValueError, match=r"a label for each image, but y\[1\] is missing"):
        check_labels(y, "CNNClassifier")


def test_missing_labels_of_polars_are_refused_in_words():
    with pytest.raises(ValueError, match="a label for each image, but one of them is missing"):
        check_labels(pl.Series([1, None, 2]), "CNNClassifier")


def test_numbers_that_no_type_holds_are_refused_with_the_way_out():
    """Catches whole numbers of 70 bits that become floats, and "Unknown label type"."""
    for y in ([2**70, 2**70 + 1], [2**63, -1]):
        with pytest.raises(ValueError, match=r"beyond 64 bits\. Convert them to text"):
            check_labels(y, "CNNClassifier")


def test_booleans_among_numbers_are_refused():
    with pytest.raises(ValueError, match="some are booleans and some are not"):
        check_labels(np.array([True, 2, 1], dtype=object), "CNNClassifier")


def test_signed_and_unsigned_labels_are_compared_as_numbers():
    """Catches a label beyond 2**53 that is taken for its neighbour."""
    classes = np.array([BIG, BIG + 1], dtype=np.uint64)
    assert encode_labels(np.array([BIG + 1, BIG]), classes).tolist() == [1, 0]
    with pytest.raises(ValueError, match="not in the classes"):
        encode_labels(np.array([-1]), classes)


def test_labels_and_weights_on_a_device_with_array_api_dispatch(small, bars):
    """Catches an AttributeError: a tensor's dtype has no kind."""
    images, y = bars
    expected = small().fit(images, y, y + 1.0).predict_proba(images)
    with sklearn.config_context(array_api_dispatch=True):
        model = small().fit(torch.tensor(images), torch.tensor(y), torch.tensor(y + 1.0))
        np.testing.assert_array_equal(model.predict_proba(torch.tensor(images)), expected)


NUMBERS = np.arange(12) % 3
TYPES_OF_LABELS = {
    "whole numbers as objects": NUMBERS.astype(object),
    "NumPy's text": NUMBERS.astype(str).astype("T" if hasattr(np.dtypes, "StringDType") else "U"),
    "nullable, beyond a signed number": pd.Series(NUMBERS.astype("u8") + 2**63, dtype="UInt64"),
    "nullable": pd.Series(NUMBERS, dtype="Int64"),
    "a tensor with a gradient": torch.tensor(NUMBERS, dtype=torch.float32, requires_grad=True),
    "a short tensor": torch.tensor(NUMBERS).to(torch.bfloat16),
    "polars": pl.Series(NUMBERS.astype(str)),
    "dates as objects": pd.Series(NUMBERS).map(
        [np.datetime64(f"202{i}-01-01", "D") for i in range(3)].__getitem__
    ),
}


def test_labels_of_every_type_that_fit_takes_are_scored(small, bars):
    """Would catch a raw error of a metric for labels that a fit has just taken."""
    X = bars[0][:12]
    for name, y in TYPES_OF_LABELS.items():
        model = small(max_epochs=1).fit(X, y)
        right = model.predict(X) == model.classes_[NUMBERS]
        assert model.score(X, y) == right.mean(), name
        weights = torch.arange(12)
        expected = np.average(right, weights=np.arange(12))
        assert_allclose(model.score(X, y, sample_weight=weights), expected)


@pytest.mark.parametrize(
    "y",
    [
        pd.Series(pd.to_datetime(["2020", "2021"] * 3, utc=True)),
        pd.Series(list(pd.period_range("2020", periods=2, freq="Y")) * 3),
        pd.Series(pd.cut(np.arange(6), 2)),
        np.array([pd.Timestamp("2020"), pd.Timestamp("2021")] * 3, dtype=object),
    ],
    ids=["dates of a time zone", "periods", "intervals", "dates as objects"],
)
def test_labels_that_are_objects_of_another_type_are_refused_with_a_remedy(y):
    """Would catch "Unknown label type: unknown", and a guess that it is regression."""
    with pytest.raises(ValueError, match=r"Got objects of type \w+\. Convert them to text: \[str"):
        check_labels(y, "CNNClassifier")
