"""Names of folders: which are parts of a data set or kinds of files, and which are classes."""

import pytest

from sklearn_cnn.files.folder import are_kinds, are_parts, parts_among
from sklearn_cnn.files.labels_table import names_alike


@pytest.mark.parametrize(
    "names",
    [
        ["train", "test", "unlabeled"],
        ["Train", "Valid", "Pred"],
        ["training", "validation"],
        ["fold1", "fold2", "fold3"],
        ["fold_1", "fold_2"],
        ["Fold 0", "Fold 1"],
        ["split-a-1", "split-a-2"],
        ["train"],
        ["training_set", "test_set"],
        ["seg_train", "seg_test", "seg_pred"],
        ["TrainSet", "TestImages"],
        ["PublicTest", "PrivateTest", "Training"],
        ["trainA", "trainB", "testA", "testB"],
        ["HAM10000_images_part_1", "HAM10000_images_part_2"],
        ["train_images", "train_masks", "test_images"],
        ["train", "val", "masks"],
        ["labeled", "unlabeled"],
    ],
    ids=str,
)
def test_folders_of_parts_of_a_data_set(names):
    """Would catch a model that learns to tell training images from test images."""
    assert are_parts(names)
    assert are_parts(names[::-1])


@pytest.mark.parametrize(
    "names",
    [
        ["train", "bus", "car"],
        ["train", "test tube"],
        ["test_tube", "train", "valid_ticket"],
        ["test_positive", "test_negative"],
        ["valid", "invalid"],
        ["part_a", "part_b"],
        ["trainer", "tester"],
        ["steam train"],
        ["0", "1"],
        ["cat", "dog"],
        ["images", "masks"],
        ["猫test", "犬test"],
        [],
    ],
    ids=str,
)
def test_folders_that_are_no_parts(names):
    """The other side: classes that merely contain such words."""
    assert not are_parts(names)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["images", "masks"], True),
        (["Images", "Annotations"], True),
        (["JPEGImages", "SegmentationClass", "SegmentationObject"], True),
        (["images", "ground_truth"], True),
        (["images"], True),
        (["images", "cat"], False),
        (["with_mask", "no_mask"], False),
        (["label_0", "label_1"], False),
        (["image1", "image2"], False),
        (["mask", "helmet"], False),
    ],
    ids=str,
)
def test_folders_of_kinds_of_files(names, expected):
    """Would catch a model that learns to tell images from their masks; both sides."""
    assert are_kinds(names) is expected


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["train", "test", "figures"], ["test", "train"]),
        (["train", "test", "ground_truth", "license"], ["ground_truth", "test", "train"]),
        (["images", "masks", "notes"], ["images", "masks"]),
        (["bounding_box_train", "bounding_box_test", "query"],
         ["bounding_box_test", "bounding_box_train"]),
        (["train", "bus", "car"], []),
        (["train", "bus", "test tube"], []),
        (["train", "bus", "mask"], []),
        (["test", "bus", "valid"], []),
        (["cat", "dog", "images"], []),
    ],
    ids=str,
)  # fmt: skip
def test_parts_among_classes(names, expected):
    """Would catch parts that are taken for classes since a folder of another name lies beside
    them, and a warning of a train beside a bus."""
    assert parts_among(names) == expected


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["Cat", "cat", "dog"], ["Cat", "cat"]),
        (["cat ", "cat", "DOG", "dog"], ["cat ", "cat", "DOG", "dog"]),
        (["polar  bear", "polar bear"], ["polar  bear", "polar bear"]),
        (["caf\u00e9", "cafe\u0301"], ["caf\u00e9", "cafe\u0301"]),
        (["a", "A", "b", "B"], []),
        (["cat", "cats"], []),
    ],
    ids=ascii,
)
def test_names_that_differ_in_case_or_spaces_alone(names, expected):
    """Would catch one class that is two by a slip of the keyboard; letters may be classes."""
    assert names_alike(names) == expected
