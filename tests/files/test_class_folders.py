"""load_image_folder: what it takes for classes, and what it says of doubtful ones."""

import re

import numpy as np
import pandas as pd
import pytest
from image_folders import IN_ORDER, names_of, quietly_refuses, said, touch
from PIL import Image

from sklearn_cnn import ImageReader, load_image_folder


def test_classes_are_counted_in_the_order_given(pets):
    """Would catch an order by name, where a model was trained with another."""
    found = load_image_folder(pets, classes=["dog", "cat"])
    assert found.target_names == ["dog", "cat"]
    assert found.target.tolist() == [0, 1, 1, 1]
    assert names_of(found.data, pets) == [IN_ORDER[3], *IN_ORDER[:3]]


@pytest.mark.parametrize(
    "classes", [["dog"], ("dog",), np.array(["dog"]), np.array(["dog"], dtype=object)], ids=repr
)
def test_some_of_the_classes_in_any_kind_of_list(classes, pets):
    """Would catch images of other classes, and NumPy's strings in target_names."""
    found = load_image_folder(pets, classes=classes)
    assert names_of(found.data, pets) == ["dog/1.jpg"]
    assert found.target.tolist() == [0]
    assert found.target_names == ["dog"]
    assert type(found.target_names[0]) is str


def test_a_named_class_may_be_empty(pets):
    """Would catch a numbering of the test images that differs from that of training."""
    touch(pets, "bird/notes.txt")
    found = load_image_folder(pets, classes=["bird", "cat", "dog"])
    assert found.target_names == ["bird", "cat", "dog"]
    assert found.target.tolist() == [1, 1, 1, 2]
    assert "class 0, bird: 0" in found.DESCR


def test_images_of_formats_that_are_not_read_are_counted(pets):
    """Would catch a phone's photographs that vanish without a word; other files may."""
    touch(pets, "cat/a.HEIC", "cat/b.heic", "dog/c.jxl", "dog/notes.txt", "dog/4.jfif")
    with pytest.warns(UserWarning, match="ignored: 2 .heic, 1 .jxl. Convert") as caught:
        found = load_image_folder(pets)
    assert caught[0].filename == __file__
    assert names_of(found.data, pets)[-1] == "dog/4.jfif"


@pytest.mark.parametrize("ending", ["", ".jpg_large", ".hif", ".raf", ".jpgx", ".0001"])
def test_files_that_may_be_images_are_counted_by_ending(ending, pets):
    """Would catch 34 of 36 files of a class that are left out without a word."""
    touch(pets, *(f"dog/a{i}{ending}" for i in range(34)), "dog/2.JPG")
    found, text = said(pets)
    assert len(found.data) == 5
    assert f": 34 {ending or 'without extension'}. " in text
    assert text.endswith("These are most of the files of 'dog' (34 of 36).")
    remedy = "Convert them" if ending in (".hif", ".raf") else "extensions=None loads files of any"
    assert remedy in text
    assert f"34 {ending or 'without extension'}" in said(pets, labels=None)[1]
    chosen = ["png", "jpg", ending]
    assert len(load_image_folder(pets, extensions=chosen).data) == 39
    assert len(load_image_folder(pets, extensions=[".png", ".jpg"]).data) == 5  # as asked for


def test_a_class_whose_files_are_all_of_other_endings_is_told(pets):
    """Would catch a class that is missing without its reason."""
    touch(pets, "ape/1", "ape/2")
    with pytest.warns(UserWarning, match="ignored") as caught:
        assert load_image_folder(pets).target_names == ["cat", "dog"]
    texts = [str(warning.message) for warning in caught]
    assert texts[0].startswith("Folders without images are ignored: ['ape'].")
    assert "2 without extension" in texts[1]
    assert texts[1].endswith("These are most of the files of 'ape' (2 of 2).")


def test_many_different_endings_are_counted_together(pets):
    """Would catch a message as long as the folder, for names with a number as their ending."""
    touch(pets, *(f"cat/scan.{i:04}" for i in range(500)))
    text = said(pets)[1]
    assert "1 .0009, 490 of 490 other extensions. " in text
    assert len(text) < 500


def test_images_of_other_endings_beside_the_class_folders_are_counted(pets):
    """Would catch photographs that nobody sorted; both sides: beside class folders, anything may
    lie that is no image."""
    touch(pets, "a.heic", "b.jpg_large", "model", "model.xyz", "c.dng")
    text = said(pets)[1]
    assert ": 1 .dng, 1 .heic. Convert" in text
    assert "because of their extensions: 1 .jpg_large. " in text
    assert "xyz" not in text
    assert "most of" not in text


def test_files_that_are_no_images_are_left_out_silently(pets):
    """Would catch a warning that everybody learns to ignore: the suite makes errors of warnings."""
    names = [
        "Thumbs.db",
        ".DS_Store",
        "labels.csv",
        "README",
        "README.md",
        "LICENSE",
        "desktop.ini",
    ]
    touch(pets, *names, *(f"cat/{name}" for name in names), *(f"dog/{i}.txt" for i in range(9)))
    touch(pets, "cat/1.txt", "cat/1.json", "cat/1.xml", "model.pth", "script", "@eaDir/1.heic")
    assert names_of(load_image_folder(pets).data, pets) == IN_ORDER
    touch(pets, *(f"ape/{i}.{ending}" for i in range(12) for ending in ("png", "txt")))
    assert len(load_image_folder(pets).data) == 16
    touch(pets, *(f"dog/{i}.txt" for i in range(34)))
    assert said(pets)[1].endswith("These are most of the files of 'dog' (34 of 35).")


def test_images_of_every_ending_that_is_read(tmp_path):
    """Would catch a stereo image, an animated PNG or a JPEG file of an old browser left out."""
    endings = [".mpo", ".apng", ".jps", ".pjpeg", ".JFIF", ".jpe", ".tif", ".PNG", ".JPG"]
    touch(tmp_path, *(f"cat/1{ending}" for ending in endings))
    (tmp_path / "cat" / "1.mpo").unlink()
    image = Image.new("RGB", (8, 8), "red")
    for ending in endings:
        kind = {".mpo": "MPO", ".apng": "PNG", ".PNG": "PNG", ".tif": "TIFF"}.get(ending, "JPEG")
        image.save(tmp_path / "cat" / f"1{ending}", kind)
    found = load_image_folder(tmp_path, on_error="skip")
    assert len(found.data) == len(endings)
    assert (ImageReader(size=8).transform(found.data)[:, 4, 4, 0] > 250).all()


@pytest.mark.parametrize("parts", [("training_set", "test_set"), ("seg_train", "seg_test")])
def test_parts_of_the_data_under_longer_names(tmp_path, parts):
    """Would catch training and test set taken for two classes; words in a name do no harm."""
    touch(tmp_path, *(f"{part}/{name}/1.png" for part in parts for name in ("cat", "dog")))
    quietly_refuses("look like parts of a data set", tmp_path)
    touch(tmp_path, "trainer/1.png", "test tube/1.png")
    with pytest.warns(UserWarning, match="which look like parts of a"):
        assert "trainer" in load_image_folder(tmp_path).target_names


def test_nothing_to_decode_is_no_image_that_is_damaged(pets):
    """Would catch a raw NumPy error where "skip" has left nothing over."""
    table = pd.DataFrame({"path": ["x.png", "y.png"], "label": ["cat", "dog"]})
    with (
        pytest.warns(UserWarning, match="2 files or folders cannot be read"),
        pytest.raises(ValueError, match="no row of labels has both a readable image"),
    ):
        load_image_folder(pets, labels=table, on_error="skip")


def test_a_class_that_is_missing(pets):
    """Would catch a misspelt class that is silently empty, and a test folder that lacks one."""
    text = (
        f"container_path={str(pets)!r} has no folder for the classes ['Cat', 'bird']. It has "
        "['cat', 'dog']. The missing classes stay empty."
    )
    with pytest.warns(UserWarning, match=re.escape(text)) as caught:
        found = load_image_folder(pets, classes=["Cat", "dog", "bird"])
    assert caught[0].filename == __file__
    assert found.target_names == ["Cat", "dog", "bird"]
    assert set(found.target.tolist()) == {1}
    quietly_refuses("no folder for the classes ['cat/old']", pets, classes=["cat/old"])
    quietly_refuses("no folder for the classes ['..']", pets, classes=[".."])
    quietly_refuses("no folder for the classes [0]", pets, classes=[0])


@pytest.mark.parametrize(
    "classes",
    [
        [],
        ["cat", "dog", "cat"],
        np.array([["cat", "dog"]]),
        np.array("cat"),
        [["cat"], ["dog"]],
        [["cat"], ["dog", "ape"]],
        [("cat", ["dog"])],
        {"cat", "dog"},
        {"cat": 0, "dog": 1},
    ],
)
def test_classes_that_are_no_list_of_different_names(classes, pets):
    """Would catch two numbers for one class, and a raw "unhashable type"."""
    text = "classes must be a list of at least one class, without duplicates. Got "
    quietly_refuses(text + repr(classes), pets, classes=classes)


def test_classes_without_labels_contradict_each_other(pets):
    """Would catch one of the two that is ignored."""
    text = "classes selects the labels to load, but labels=None loads no labels."
    quietly_refuses(text, pets, classes=["cat"], labels=None)


def test_two_calls_for_training_and_testing_count_alike(tmp_path):
    """Would catch a test set whose dogs are numbered as the cats of training."""
    touch(tmp_path, "train/cat/1.png", "train/dog/1.png", "test/dog/2.png", "test/cat/note.txt")
    train = load_image_folder(tmp_path / "train")
    test = load_image_folder(tmp_path / "test", classes=train.target_names)
    assert train.target_names == test.target_names == ["cat", "dog"]
    assert train.target.tolist() == [0, 1]
    assert test.target.tolist() == [1]


@pytest.mark.parametrize("parts", [("test", "train"), ("Test", "Train", "Val"), ("train",)])
def test_the_folder_above_those_for_training_and_testing(parts, tmp_path):
    """Would catch a model that learns to tell the training images from the test images."""
    for part in parts:
        touch(tmp_path, f"{part}/cat/1.png", f"{part}/dog/1.png")
    (tmp_path / "notes").mkdir()
    calls = ", ".join(f"load_image_folder({str(tmp_path / part)!r})" for part in parts)
    text = (
        f"container_path={str(tmp_path)!r} holds {list(parts)!r}, which look like parts of a data "
        f"set and not like classes. Load each separately: {calls}. If they are classes, pass "
        f"classes={list(parts)!r}."
    )
    quietly_refuses(text, tmp_path)
    assert load_image_folder(tmp_path, classes=list(parts)).target_names == list(parts)


@pytest.mark.parametrize(
    ("parts", "what"),
    [
        (["test", "train", "unlabeled"], "parts of a data set"),
        (["Pred", "Train", "Valid"], "parts of a data set"),
        (["fold1", "fold2", "fold3"], "parts of a data set"),
        (["images", "masks"], "kinds of files"),
    ],
    ids=str,
)
@pytest.mark.parametrize("flat", [False, True])
def test_folders_that_are_no_classes_are_refused(parts, what, flat, tmp_path):
    """Would catch a model that tells training from test images, or images from their masks."""
    for part in parts:
        touch(
            tmp_path, *([f"{part}/1.png"] if flat else [f"{part}/cat/1.png", f"{part}/dog/1.png"])
        )
    labels = ", labels=..." if flat else ""
    calls = ", ".join(f"load_image_folder({str(tmp_path / part)!r}{labels})" for part in parts)
    text = (
        f"container_path={str(tmp_path)!r} holds {parts!r}, which look like {what} and not like "
        f"classes. Load each separately: {calls}. If they are classes, pass classes={parts!r}."
    )
    quietly_refuses(text, tmp_path)
    assert load_image_folder(tmp_path, classes=parts).target_names == parts


def test_images_beside_their_annotations(tmp_path):
    """Would catch a model of one class, "images"."""
    touch(tmp_path, "images/1.png", "annotations/1.xml")
    quietly_refuses("holds ['images'], which look like kinds of files", tmp_path)
    touch(tmp_path, "images/cat/1.png", "images/dog/1.png")
    quietly_refuses("only holds images in the folder 'images', which has subfolders", tmp_path)


def test_parts_of_the_data_beside_other_folders(tmp_path):
    """Would catch training and test images that become classes since a third folder is no part."""
    touch(tmp_path, "train/cat/1.png", "test/cat/1.png", "figures/1.png")
    found, text = said(tmp_path)
    assert found.target_names == ["figures", "test", "train"]
    assert text == (
        f"The class folders of container_path={str(tmp_path)!r} include ['test', 'train'], which "
        "look like parts of a data set. Load each separately, or name the classes with "
        "classes=[...]."
    )
    load_image_folder(tmp_path, classes=found.target_names)


def test_parts_of_the_data_in_every_class(tmp_path):
    """Would catch test images and masks among the training images, class by class."""
    for name in ("bottle", "cable"):
        touch(tmp_path, *(f"{name}/{part}/1.png" for part in ("ground_truth", "test", "train")))
    touch(tmp_path, "carpet/1.png", "carpet/train/1.png")
    found, text = said(tmp_path)
    assert text.startswith(
        "2 class folders, the first of them 'bottle', hold ['ground_truth', 'test', 'train'], "
        "which look like parts of a data set. Their images are loaded together."
    )
    load_image_folder(tmp_path, classes=found.target_names)


def test_classes_that_differ_in_case_alone(tmp_path):
    """Would catch one class that is two, in folders and in tables."""
    touch(tmp_path, "Cat/1.png", "dog/1.png", "a/1.png")
    if not (tmp_path / "cat").exists():  # a file system that tells them apart
        touch(tmp_path, "cat/2.png", "A/1.png")
        text = said(tmp_path)[1]
        assert text.startswith("The names of some classes only differ in case or spaces: ['Cat', ")
        load_image_folder(tmp_path, classes=["Cat", "cat"])
    table = pd.DataFrame({"path": ["Cat/1.png", "dog/1.png"], "label": ["Dog ", "dog"]})
    assert "['Dog ', 'dog']" in said(tmp_path, labels=table)[1]


def test_thousands_of_classes_make_no_long_message(tmp_path):
    """Would catch all names of a thousand folders in an error."""
    touch(tmp_path, *(f"{i:04}/1.png" for i in range(300)))
    names = [f"class {i}" for i in range(300)]
    text = quietly_refuses("['class 0', 'class 1', ", tmp_path, classes=names)
    assert "'class 9'], and 290 more. It has ['0000', " in text
    assert len(text) < 600
    for i in range(300):
        (tmp_path / f"{i:04}" / "1.png").rename(tmp_path / f"{i:04}" / "1.txt")
    touch(tmp_path, "cat/1.png")
    assert len(said(tmp_path)[1]) < 300


def test_flat_folders_for_training_and_testing(tmp_path):
    """Would catch the same mistake where the images of a part lie in it directly."""
    touch(tmp_path, "train/cat/1.png", "train/dog/1.png", "test/1.png")
    test, train = str(tmp_path / "test"), str(tmp_path / "train")
    text = (
        f"Load each separately: load_image_folder({test!r}, labels=...), "
        f"load_image_folder({train!r}). If"
    )
    quietly_refuses(text, tmp_path)


def test_parts_beside_other_folders_are_classes(tmp_path):
    """The other side: a locomotive beside other vehicles is called "train", too."""
    touch(tmp_path, "train/1.png", "car/1.png")
    assert load_image_folder(tmp_path).target_names == ["car", "train"]


@pytest.mark.parametrize(
    "files",
    [
        ("pets/cat/1.png", "pets/dog/1.png"),
        ("pets/data/cat/1.png", "pets/data/dog/1.png"),
        ("pets/cat/1.png", "pets/dog/1.png", "__MACOSX/pets/cat/._1.png"),
    ],
    ids=["once", "twice", "with the folder that macOS puts beside it"],
)
@pytest.mark.parametrize("recursive", [True, False])
def test_a_single_folder_around_the_classes(files, recursive, tmp_path):
    """Would catch the folder of an unpacked zip file that is taken for the only class."""
    touch(tmp_path, *files)
    pets = str(tmp_path / "pets")
    text = (
        f"container_path={str(tmp_path)!r} only holds images in the folder 'pets', which has "
        f"subfolders. load_image_folder({pets!r}) uses these subfolders as classes. If 'pets' is "
        "a class, pass classes=['pets']."
    )
    quietly_refuses(text, tmp_path, recursive=recursive)
    if recursive:
        assert load_image_folder(tmp_path, classes=["pets"]).target.tolist() == [0, 0]


@pytest.mark.parametrize(
    ("files", "is_class"),
    [
        (("pets/1.png",), True),
        (("pets/1.png", "pets/cat/2.png"), True),
        (("pets/z.png", "pets/cat/2.png"), True),
        (("pets/1.png", "pets/cat/in/2.png"), True),
        (("pets/1.png", "pets/cat/2.png", "pets/dog/3.png"), False),
        (("pets/cat/2.png",), False),
        (("pets/cat/2.png", "pets/dog/3.png"), False),
        (("pets/cat/pets/2.png",), False),
    ],
    ids=str,
)
def test_a_single_folder_is_a_class_if_it_holds_images_itself(files, is_class, tmp_path):
    """Both sides: an image beside one folder of others, as for anomalies, and class folders one
    level below. Would catch a look at the first image alone, or at names that begin alike."""
    touch(tmp_path, *files)
    if is_class:
        assert load_image_folder(tmp_path).target_names == ["pets"]
        assert len(load_image_folder(tmp_path).data) == len(files)
    else:
        quietly_refuses("only holds images in the folder 'pets'", tmp_path)
