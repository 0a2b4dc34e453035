"""load_image_folder: what it returns, what it takes for classes, and what it says of the rest.

The files of most tests are empty, since listing opens none; those of "skip" are images.
"""

import contextlib
import os
import pickle
import re
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.datasets import load_files
from sklearn.dummy import DummyClassifier
from sklearn.pipeline import make_pipeline
from sklearn.utils import Bunch
from sklearn.utils._param_validation import InvalidParameterError

from sklearn_cnn import ImageReader, load_image_folder


def touch(folder, *names):
    """Make empty files, with the folders they are in; returns the folder."""
    for name in names:
        path = Path(folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return Path(folder)


def draw(folder, *names):
    """Make real images of 4 x 4 pixels, with the folders they are in; returns the folder."""
    for name in touch(folder, *names) and names:
        Image.new("RGB", (4, 4), "red").save(Path(folder, name))
    return Path(folder)


def names_of(paths, folder):
    """Paths as they stand below a folder."""
    return [os.path.relpath(path, folder) for path in paths]


def quietly_refuses(text, folder, error=ValueError, **parameters):
    """Check that a call raises an error which says this, and warns of nothing before it."""
    with pytest.raises(error, match=re.escape(text)) as caught:
        load_image_folder(folder, **parameters)
    return str(caught.value)


def said(folder, **parameters):
    """Call, and return what comes back, and the one warning's text.

    The warning must point at the caller's line: in this file, and at the call below.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = load_image_folder(folder, **parameters)
    [warning] = caught
    assert warning.category is UserWarning
    assert warning.filename == __file__
    code = said.__code__
    assert code.co_firstlineno < warning.lineno < code.co_firstlineno + 20
    return found, str(warning.message)


PETS = ("cat/2.png", "cat/1.png", "cat/old/3.png", "dog/1.jpg")
IN_ORDER = ["cat/1.png", "cat/2.png", "cat/old/3.png", "dog/1.jpg"]


@pytest.fixture
def pets(tmp_path):
    """Three cats, one of them in a folder of its own, and one dog."""
    return touch(tmp_path / "pets", *PETS)


# What comes back.


def test_a_bunch_like_that_of_load_files(pets):
    """Would catch a key of load_files that is missing, or of another kind."""
    found = load_image_folder(pets)
    texts = load_files(pets, load_content=False)
    assert isinstance(found, Bunch)
    assert set(texts) <= set(found)
    assert set(found) - set(texts) == {"data", "frame", "labels"}
    assert found.target_names == texts.target_names == ["cat", "dog"]
    assert found.target.dtype == texts.target.dtype
    assert found.filenames.shape == texts.filenames.shape
    assert found.DESCR is not None


def test_data_are_paths_in_one_dimension_in_order(pets):
    """Would catch paths that cannot be opened, or labels in another order than their paths."""
    found = load_image_folder(str(pets))
    assert found.data.shape == (4,)
    assert found.data.dtype.kind == "U"
    assert found.data.tolist() == [str(pets / name) for name in IN_ORDER]
    assert found.filenames is found.data
    assert found.target.tolist() == [0, 0, 0, 1]
    assert found.target.dtype.kind == "i"
    assert found.frame is None


def test_the_description_counts_the_classes(pets):
    """Would catch counts that are those of another class."""
    counted = load_image_folder(str(pets), classes=["dog", "cat"])
    assert counted.DESCR.splitlines() == [
        f"4 image files of the folder {pets}",
        "  class 0, dog: 1",
        "  class 1, cat: 3",
    ]
    without = load_image_folder(str(pets), labels=None)
    assert without.DESCR.splitlines() == [f"4 image files of the folder {pets}"]


def test_return_X_y(pets):
    """Would catch the two in the wrong order, or another pair than the Bunch holds."""
    X, y = load_image_folder(pets, return_X_y=True)
    found = load_image_folder(pets)
    np.testing.assert_array_equal(X, found.data)
    np.testing.assert_array_equal(y, found.target)


def test_as_frame(pets):
    """Would catch names of columns that differ from those of scikit-learn's own loaders."""
    found = load_image_folder(pets, as_frame=True)
    assert isinstance(found.data, pd.DataFrame)
    assert found.data.columns.tolist() == ["path"]
    assert isinstance(found.target, pd.Series)
    assert found.target.name == "target"
    assert found.frame.columns.tolist() == ["path", "target", "label"]
    assert found.frame["label"].tolist() == found.labels.tolist() == ["cat", "cat", "cat", "dog"]
    assert found.frame["path"].tolist() == found.data["path"].tolist() == found.filenames.tolist()
    assert found.frame["target"].tolist() == found.target.tolist() == [0, 0, 0, 1]
    assert isinstance(found.filenames, np.ndarray)


def test_as_frame_and_return_X_y(pets):
    """Would catch one of the two parameters that is lost beside the other."""
    X, y = load_image_folder(pets, as_frame=True, return_X_y=True)
    assert X.columns.tolist() == ["path"]
    assert (X["path"].tolist(), y.tolist(), y.name) == (
        load_image_folder(pets).data.tolist(),
        [0, 0, 0, 1],
        "target",
    )


def test_as_frame_without_labels(pets):
    """Would catch a column of labels where there are none."""
    found = load_image_folder(pets, labels=None, as_frame=True)
    assert found.target is None
    assert found.labels is None
    assert found.frame.columns.tolist() == ["path"]


@pytest.mark.parametrize(
    ("labels", "kind"),
    [
        (["cat", "ant", "cat", "bee"], "U"),
        ([10, 9, 10, 2], "i"),
        ([True, False, True, True], "b"),
        ([0.5, 0.5, 2.0, 1.0], "f"),
        ([("a", 1), ("a", 2), ("b", 1), ("a", 1)], "O"),
        ([2, True, 3, 4], "O"),
    ],
    ids=str,
)
def test_labels_are_the_names_of_the_classes_one_for_each_image(labels, kind, pets):
    """Would catch a loaded model that answers 1 where it was to say "cat", names in the order of
    the classes instead of that of the files, and names that NumPy changes to another type."""
    table = pd.DataFrame({"path": IN_ORDER, "label": pd.Series(labels, dtype=object)})
    found = load_image_folder(pets, labels=table)
    assert found.labels.tolist() == labels
    assert list(map(type, found.labels.tolist())) == list(map(type, labels))
    assert found.labels.dtype.kind == kind
    assert found.labels.shape == (4,)
    assert [found.target_names[i] for i in found.target] == labels
    in_order = load_image_folder(pets, labels=table, classes=found.target_names[::-1])
    assert in_order.labels.tolist() == labels


def test_a_model_fitted_on_labels_that_is_saved_and_loaded_predicts_names(tmp_path):
    """Would catch a model that has only ever seen numbers."""
    for name, colour in (("cat", "white"), ("dog", "black")):
        for i in range(4):
            (tmp_path / name).mkdir(exist_ok=True)
            Image.new("L", (4, 4), colour).save(tmp_path / name / f"{i}.png")
    found = load_image_folder(tmp_path)
    model = make_pipeline(ImageReader(size=4, mode="L"), DummyClassifier(strategy="prior"))
    loaded = pickle.loads(pickle.dumps(model.fit(found.data, found.labels)))
    assert loaded.classes_.tolist() == found.target_names
    assert loaded.predict(found.data[:1]).tolist() == ["cat"]


@pytest.mark.parametrize("form", ["str", "Path", "slash", "relative", "relative Path", "dot"])
def test_every_form_of_the_folder(form, pets, monkeypatch):
    """Would catch paths that lose their beginning, or that get it twice."""
    monkeypatch.chdir(pets if form == "dot" else pets.parent)
    given = {
        "str": str(pets),
        "Path": pets,
        "slash": f"{pets}/",
        "relative": "pets",
        "relative Path": Path("pets"),
        "dot": ".",
    }[form]
    for labels in ("inferred", None, pd.DataFrame({"path": IN_ORDER, "label": [0, 0, 0, 1]})):
        found = load_image_folder(given, labels=labels)
        assert found.data.tolist() == [os.path.join(given, name) for name in IN_ORDER]
        assert all(map(os.path.isfile, found.data))


# The folder.


def test_a_folder_that_is_not_there(tmp_path):
    """Would catch an empty result for a misspelt folder; what is and what is not are told apart."""
    touch(tmp_path, "pets.zip")
    for name, what, error in (
        ("gone", "does not exist", FileNotFoundError),
        ("pets.zip", "is no folder", NotADirectoryError),
    ):
        folder = str(tmp_path / name)
        text = f"container_path={folder!r} {what}. It must be the folder that holds the images"
        quietly_refuses(text, folder, error)


def test_an_empty_folder(tmp_path):
    """Would catch the advice to sort images where there are none."""
    text = (
        f"container_path={str(tmp_path)!r} holds neither class folders nor images. It must hold a "
        "folder of images for each class."
    )
    quietly_refuses(text, tmp_path)
    touch(tmp_path, "readme.txt", ".hidden/1.png")
    quietly_refuses(text, tmp_path)


def test_a_flat_folder_shows_how_to_give_labels(tmp_path):
    """Would catch images without labels that become one class."""
    touch(tmp_path, "1.png", "2.png")
    text = (
        f"container_path={str(tmp_path)!r} holds no class folders, and 2 images itself. Sort them "
        "into a folder for each class, or pass labels=: a CSV file or DataFrame with the columns "
        "'path' and 'label', or None for images without labels."
    )
    quietly_refuses(text, tmp_path)
    assert load_image_folder(tmp_path, labels=None).data.shape == (2,)


def test_class_folders_without_images(tmp_path):
    """Would catch an empty Bunch, which fails much later and elsewhere."""
    touch(tmp_path, "cat/notes.txt", "dog/notes.txt")
    text = (
        f"container_path={str(tmp_path)!r}: there are no files ending in .apng, .avif, .bmp, .gif, "
        ".jfif, .jpe, .jpeg, .jpg, .jps, .mpo, .pjp, .pjpeg, .png, .tif, .tiff, .webp in its class "
        "folders that can be read. Of other files, there are: 2 .txt."
    )
    quietly_refuses(text, tmp_path)
    quietly_refuses(text, tmp_path, on_error="skip")
    quietly_refuses(text, tmp_path, classes=["dog", "cat"])
    text = "there are no files ending in .jpg, .png in it that can be read."
    quietly_refuses(text, tmp_path, labels=None, extensions=["png", "jpg"])
    assert load_image_folder(tmp_path, extensions=None).target_names == ["cat", "dog"]


def test_classes_that_are_symbolic_links_are_told(tmp_path):
    """Would catch "no class folders" beside class folders, without a word on why."""
    touch(tmp_path, "real/1.png")
    pets = tmp_path / "pets"
    pets.mkdir()
    (pets / "dog").symlink_to(tmp_path / "real")
    link = str(pets / "dog")
    hint = (
        f"1 symbolic link was left out, {link!r} the first: pass follow_links=True to follow links."
    )
    quietly_refuses(f"holds neither class folders nor images. {hint}", pets)
    touch(pets, "cat/1.png")
    quietly_refuses(f"for ['dog'] of classes. It has ['cat']. {hint}", pets, classes=["dog"])
    found, text = said(pets)
    assert found.target_names == ["cat"]
    assert text == hint


@pytest.mark.parametrize("backwards", [False, True])
def test_links_in_a_class_are_counted_and_the_first_is_named(backwards, pets, monkeypatch):
    """Would catch a link that is followed, and a "first" that the order of the disk decides."""
    scandir = os.scandir

    @contextlib.contextmanager
    def in_order(folder):
        with scandir(folder) as entries:
            yield iter(sorted(entries, key=lambda entry: entry.name, reverse=backwards))

    monkeypatch.setattr(os, "scandir", in_order)
    for name in ("z.png", "b.png", "m.png"):
        (pets / "cat" / name).symlink_to(pets / "cat" / "1.png")
    found, text = said(pets)
    assert names_of(found.data, pets) == IN_ORDER
    assert text.startswith(
        f"3 symbolic links were left out, {str(pets / 'cat' / 'b.png')!r} the first: pass follow"
    )
    assert said(pets, labels=None)[1] == text


HUB = {"cat/0.png": "0a1b", "cat/1.png": "2c3d", "dog/0.png": "4e5f", "README.md": "66"}


@pytest.fixture
def hub(tmp_path):
    """A snapshot as model hubs lay it out: links with endings to blobs without."""
    snapshot = tmp_path / "snapshots" / "main"
    (tmp_path / "blobs").mkdir()
    for name, blob in HUB.items():
        (snapshot / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4), "red").save(tmp_path / "blobs" / blob, "PNG")
        up = "../" * (2 + name.count("/"))
        (snapshot / name).symlink_to(f"{up}blobs/{blob}")
    return snapshot


def test_the_snapshot_of_a_model_hub(hub):
    """Would catch "there are no files ending in .jpg", in a folder full of images, without the
    reason; and with follow_links a file that is looked for by the ending of its blob."""
    first = str(hub / "cat" / "0.png")
    hint = f"3 symbolic links were left out, {first!r} the first: pass follow_links=True"
    quietly_refuses(hint, hub)
    quietly_refuses(hint, hub, labels=None)
    found = load_image_folder(hub, follow_links=True, on_error="skip")
    assert names_of(found.data, hub) == ["cat/0.png", "cat/1.png", "dog/0.png"]
    assert found.labels.tolist() == ["cat", "cat", "dog"]
    assert ImageReader(size=4).transform(found.data).shape == (3, 4, 4, 3)
    table = pd.DataFrame({"id": ["cat/0", "dog/0"], "label": ["c", "d"]})
    quietly_refuses("are followed with follow_links=True only", hub, labels=table)
    assert load_image_folder(hub, labels=table, follow_links=True).labels.tolist() == ["c", "d"]


def test_a_subset_made_of_links(pets, tmp_path):
    """Would catch a class folder that is a link, or one of links to images, left out."""
    subset = tmp_path / "subset"
    (subset / "cat").mkdir(parents=True)
    (subset / "cat" / "1.png").symlink_to(pets / "cat" / "1.png")
    (subset / "dog").symlink_to(pets / "dog")
    found = load_image_folder(subset, follow_links=True)
    assert names_of(found.data, subset) == ["cat/1.png", "dog/1.jpg"]
    assert load_image_folder(subset, classes=["dog"], follow_links=True).target_names == ["dog"]


def test_an_image_in_two_classes_by_a_link_is_told(pets):
    """Would catch one image with two labels without a word."""
    (pets / "dog" / "9.png").symlink_to(pets / "cat" / "1.png")
    (pets / "cat" / "again.png").symlink_to(pets / "cat" / "1.png")
    doubled = str(pets / "dog" / "9.png")
    found, text = said(pets, follow_links=True)
    assert len(found.data) == 6
    assert text == (
        f"1 image is in two classes, by another name or link: {doubled!r} is the first."
    )


def test_a_link_in_a_class_to_the_folder_above_ends(pets, tmp_path):
    """Would catch dogs that become cats, by a link back to the folder of all classes; and another
    choice than the first name of two links to one folder."""
    touch(tmp_path / "out", "5.png")
    (pets / "cat" / "up").symlink_to(pets)
    (pets / "all").symlink_to(".")
    for name in ("b", "a", "c"):
        (pets / "dog" / name).symlink_to(tmp_path / "out")
    found = load_image_folder(pets, follow_links=True)
    assert names_of(found.data, pets) == [*IN_ORDER, "dog/a/5.png"]
    assert found.labels.tolist() == ["cat", "cat", "cat", "dog", "dog"]
    listed = load_image_folder(pets, labels=None, follow_links=True)
    assert names_of(listed.data, pets) == names_of(found.data, pets)


def test_a_link_that_leads_nowhere_cannot_be_read(pets):
    (pets / "cat" / "9.png").symlink_to(pets / "gone")
    text = f"{str(pets / 'cat' / '9.png')!r}: the symbolic link leads nowhere"
    quietly_refuses(text, pets, follow_links=True)
    draw(pets, *IN_ORDER)
    found, warned = said(pets, follow_links=True, on_error="skip")
    assert text in warned
    assert names_of(found.data, pets) == IN_ORDER


def test_the_folder_itself_may_be_a_link(pets, tmp_path):
    """Would catch data on another disk that needs follow_links for its own name."""
    (tmp_path / "link").symlink_to(pets)
    for follow_links in (False, True):
        found = load_image_folder(tmp_path / "link", follow_links=follow_links)
        assert names_of(found.data, tmp_path / "link") == IN_ORDER


def test_nested_folders_of_a_class(pets):
    """Would catch images in them that are lost, or that make classes of their own; both sides."""
    assert names_of(load_image_folder(pets).data, pets) == IN_ORDER
    without = [name for name in IN_ORDER if "old" not in name]
    assert names_of(load_image_folder(pets, recursive=False).data, pets) == without
    assert names_of(load_image_folder(pets, labels=None).data, pets) == IN_ORDER
    touch(pets, "top.png")
    assert names_of(load_image_folder(pets, labels=None, recursive=False).data, pets) == ["top.png"]


def test_images_beside_the_class_folders_are_told(pets):
    """Would catch images that are left out without a word."""
    touch(pets, "b.png", "a.png", "notes.txt")
    found, text = said(pets)
    assert names_of(found.data, pets) == IN_ORDER
    assert text == (
        "2 images lie outside of any class folder, and are left out: "
        f"{str(pets / 'a.png')!r} the first."
    )


def test_folders_without_images_are_told_and_make_no_class(pets):
    """Would catch a class without images, which every splitter refuses much later."""
    touch(pets, "bird/notes.txt", "ape/notes.txt")
    found, text = said(pets)
    assert found.target_names == ["cat", "dog"]
    assert found.target.tolist() == [0, 0, 0, 1]
    assert text == (
        "Folders without images are left out: ['ape', 'bird']. Name the classes to keep them: "
        "classes=[...]."
    )


@pytest.mark.parametrize(
    ("extensions", "expected"),
    [
        (".png", ["cat/1.png", "cat/2.png", "cat/old/3.png"]),
        ("png", ["cat/1.png", "cat/2.png", "cat/old/3.png"]),
        ("PNG", ["cat/1.png", "cat/2.png", "cat/old/3.png"]),
        (["jpg"], ["dog/1.jpg", "dog/2.JPG"]),
        ((".JPG", "txt"), ["cat/a.txt", "dog/1.jpg", "dog/2.JPG"]),
        (np.array([".jpg"]), ["dog/1.jpg", "dog/2.JPG"]),
        ({".jpg"}, ["dog/1.jpg", "dog/2.JPG"]),
        (None, ["cat/1.png", "cat/2.png", "cat/a.txt", "cat/old/3.png", "dog/1.jpg", "dog/2.JPG"]),
    ],
    ids=repr,
)
def test_extensions(extensions, expected, pets):
    """Would catch a string that is read letter by letter, a dot too many, and upper case."""
    touch(pets, "dog/2.JPG", "cat/a.txt")
    found = load_image_folder(pets, labels=None, extensions=extensions)
    assert names_of(found.data, pets) == expected


@pytest.mark.parametrize("extensions", [[], [".png", 7], [None]], ids=repr)
def test_extensions_that_are_no_endings_of_names(extensions, pets):
    """Would catch a raw AttributeError, and no extension that is taken for any."""
    text = f"extensions must be endings of names, such as ('.jpg', '.png'). Got {extensions!r}."
    quietly_refuses(text, pets, extensions=extensions)


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("container_path", 7),
        ("container_path", None),
        ("container_path", b"pets"),
        ("container_path", ["pets"]),
        ("classes", "cat"),
        ("classes", 2),
        ("labels", 7),
        ("labels", True),
        ("columns", "path"),
        ("columns", 2),
        ("extensions", 7),
        ("follow_links", "yes"),
        ("follow_links", None),
        ("recursive", "yes"),
        ("recursive", None),
        ("on_error", "ignore"),
        ("on_error", None),
        ("return_X_y", "no"),
        ("as_frame", 2),
    ],
)
def test_a_wrong_kind_of_parameter_is_named(parameter, value, pets):
    """Would catch a parameter that scikit-learn's check of parameters does not know."""
    parameters = {"container_path": pets, parameter: value}
    text = f"The {parameter!r} parameter of load_image_folder must be "
    quietly_refuses(text, parameters.pop("container_path"), InvalidParameterError, **parameters)


def test_a_path_may_be_anything_with_fspath(pets):
    """Would catch a check for str and pathlib.Path alone."""

    class Own:
        def __fspath__(self):
            return str(pets)

    assert load_image_folder(Own()).data[0] == str(pets / "cat/1.png")


# The classes.


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
    with pytest.warns(UserWarning, match="left out: 2 .heic, 1 .jxl. Convert") as caught:
        found = load_image_folder(pets)
    assert caught[0].filename == __file__
    assert names_of(found.data, pets)[-1] == "dog/4.jfif"


@pytest.mark.parametrize("ending", ["", ".jpg_large", ".hif", ".raf", ".jpgx", ".0001"])
def test_files_that_may_be_images_are_counted_by_ending(ending, pets):
    """Would catch 34 of 36 files of a class that are left out without a word."""
    touch(pets, *(f"dog/a{i}{ending}" for i in range(34)), "dog/2.JPG")
    found, text = said(pets)
    assert len(found.data) == 5
    assert f": 34 {ending or 'without ending'}. " in text
    assert text.endswith("That is most of the files of 'dog' (34 of 36).")
    remedy = "Convert them" if ending in (".hif", ".raf") else "extensions=None takes files of any"
    assert remedy in text
    assert f"34 {ending or 'without ending'}" in said(pets, labels=None)[1]
    chosen = ["png", "jpg", ending]
    assert len(load_image_folder(pets, extensions=chosen).data) == 39
    assert len(load_image_folder(pets, extensions=[".png", ".jpg"]).data) == 5  # as asked for


def test_a_class_whose_files_are_all_of_other_endings_is_told(pets):
    """Would catch a class that is missing without its reason."""
    touch(pets, "ape/1", "ape/2")
    with pytest.warns(UserWarning, match="left out") as caught:
        assert load_image_folder(pets).target_names == ["cat", "dog"]
    texts = [str(warning.message) for warning in caught]
    assert texts[0].startswith("Folders without images are left out: ['ape'].")
    assert "2 without ending" in texts[1]
    assert texts[1].endswith("That is most of the files of 'ape' (2 of 2).")


def test_many_different_endings_are_counted_together(pets):
    """Would catch a message as long as the folder, for names with a number as their ending."""
    touch(pets, *(f"cat/scan.{i:04}" for i in range(500)))
    text = said(pets)[1]
    assert "1 .0009, 490 of 490 other endings. " in text
    assert len(text) < 500


def test_images_of_other_endings_beside_the_class_folders_are_counted(pets):
    """Would catch photographs that nobody sorted; both sides: beside class folders, anything may
    lie that is no image."""
    touch(pets, "a.heic", "b.jpg_large", "model", "model.xyz", "c.dng")
    text = said(pets)[1]
    assert ": 1 .dng, 1 .heic. Convert" in text
    assert "by their endings: 1 .jpg_large. " in text
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
    assert said(pets)[1].endswith("That is most of the files of 'dog' (34 of 35).")


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
    with pytest.warns(UserWarning, match="among its class folders, which look like parts of a"):
        assert "trainer" in load_image_folder(tmp_path).target_names


def test_nothing_to_decode_is_no_image_that_is_damaged(pets):
    """Would catch a raw NumPy error where "skip" has left nothing over."""
    table = pd.DataFrame({"path": ["x.png", "y.png"], "label": ["cat", "dog"]})
    with (
        pytest.warns(UserWarning, match="2 files or folders cannot be read"),
        pytest.raises(ValueError, match="no row of labels names an image that can be read"),
    ):
        load_image_folder(pets, labels=table, on_error="skip")


def test_a_class_that_is_missing(pets):
    """Would catch a misspelt class that is silently empty, and a test folder that lacks one."""
    text = (
        f"container_path={str(pets)!r} has no folder for ['Cat', 'bird'] of classes. It has "
        "['cat', 'dog']. These classes stay empty."
    )
    with pytest.warns(UserWarning, match=re.escape(text)) as caught:
        found = load_image_folder(pets, classes=["Cat", "dog", "bird"])
    assert caught[0].filename == __file__
    assert found.target_names == ["Cat", "dog", "bird"]
    assert set(found.target.tolist()) == {1}
    quietly_refuses("no folder for ['cat/old'] of classes", pets, classes=["cat/old"])
    quietly_refuses("no folder for ['..'] of classes", pets, classes=[".."])
    quietly_refuses("no folder for [0] of classes", pets, classes=[0])


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
    text = "classes must be a list that names at least one class, and none twice. Got "
    quietly_refuses(text + repr(classes), pets, classes=classes)


def test_classes_without_labels_contradict_each_other(pets):
    """Would catch one of the two that is ignored."""
    text = "classes says which labels to load, and labels=None loads none."
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
        f"set and not like classes. Load each by itself: {calls}. If they are classes, pass "
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
        f"classes. Load each by itself: {calls}. If they are classes, pass classes={parts!r}."
    )
    quietly_refuses(text, tmp_path)
    assert load_image_folder(tmp_path, classes=parts).target_names == parts


def test_images_beside_their_annotations(tmp_path):
    """Would catch a model of one class, "images"."""
    touch(tmp_path, "images/1.png", "annotations/1.xml")
    quietly_refuses("holds ['images'], which look like kinds of files", tmp_path)
    touch(tmp_path, "images/cat/1.png", "images/dog/1.png")
    quietly_refuses("no images but in the folder 'images', which holds folders itself", tmp_path)


def test_parts_of_the_data_beside_other_folders(tmp_path):
    """Would catch training and test images that become classes since a third folder is no part."""
    touch(tmp_path, "train/cat/1.png", "test/cat/1.png", "figures/1.png")
    found, text = said(tmp_path)
    assert found.target_names == ["figures", "test", "train"]
    assert text == (
        f"container_path={str(tmp_path)!r} holds ['test', 'train'] among its class folders, which "
        "look like parts of a data set. Load each by itself; or say what the classes are: "
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
        "2 class folders, 'bottle' the first, hold ['ground_truth', 'test', 'train'], which look "
        "like parts of a data set; their images are loaded together."
    )
    load_image_folder(tmp_path, classes=found.target_names)


def test_classes_that_differ_in_case_alone(tmp_path):
    """Would catch one class that is two, in folders and in tables."""
    touch(tmp_path, "Cat/1.png", "dog/1.png", "a/1.png")
    if not (tmp_path / "cat").exists():  # a file system that tells them apart
        touch(tmp_path, "cat/2.png", "A/1.png")
        text = said(tmp_path)[1]
        assert text.startswith(
            "Classes differ in upper and lower case or in spaces alone: ['Cat', "
        )
        load_image_folder(tmp_path, classes=["Cat", "cat"])
    table = pd.DataFrame({"path": ["Cat/1.png", "dog/1.png"], "label": ["Dog ", "dog"]})
    assert "['Dog ', 'dog']" in said(tmp_path, labels=table)[1]


def test_thousands_of_classes_make_no_long_message(tmp_path):
    """Would catch all names of a thousand folders in an error."""
    touch(tmp_path, *(f"{i:04}/1.png" for i in range(300)))
    names = [f"class {i}" for i in range(300)]
    text = quietly_refuses("['class 0', 'class 1', ", tmp_path, classes=names)
    assert "'class 9'], and 290 more of classes. It has ['0000', " in text
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
        f"Load each by itself: load_image_folder({test!r}, labels=...), "
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
        f"container_path={str(tmp_path)!r} holds no images but in the folder 'pets', which holds "
        f"folders itself: load_image_folder({pets!r}) takes those for classes. If 'pets' is a "
        "class, pass classes=['pets']."
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
        quietly_refuses("holds no images but in the folder 'pets'", tmp_path)


# Tables of labels.


@pytest.mark.parametrize("kind", ["CSV", "CSV as Path", "DataFrame"])
def test_labels_from_a_table(kind, pets):
    """Would catch the order of the folders instead of that of the table, and labels by folder."""
    frame = pd.DataFrame(
        {
            "label": ["wild", "tame", "wild", "tame"],
            "year": 2020,
            "path": ["dog/1.jpg", "cat/old/3.png", "cat/2.png", "dog/1.jpg"],
        }
    )[:3]
    frame.to_csv(pets / "labels.csv", index=False)
    table = {"CSV": str(pets / "labels.csv"), "CSV as Path": pets / "labels.csv"}.get(kind, frame)
    found = load_image_folder(pets, labels=table)
    assert names_of(found.data, pets) == ["dog/1.jpg", "cat/old/3.png", "cat/2.png"]
    assert found.target_names == ["tame", "wild"]
    assert found.target.tolist() == [1, 0, 1]


def test_a_csv_file_is_found_from_the_working_folder(pets, monkeypatch):
    """Would catch a path that is looked for in container_path: open() has it relative to here."""
    monkeypatch.chdir(pets.parent)
    Path("labels.csv").write_text("1.png,tame\n")
    found = load_image_folder(pets / "cat", labels="labels.csv")
    assert found.target_names == ["tame"]


def test_a_csv_file_that_is_not_here_is_found_in_the_folder(pets, tmp_path, monkeypatch):
    """Would catch "no such file" for the table that lies beside the images; both sides."""
    monkeypatch.chdir(tmp_path)
    touch(pets, "tables/x")
    (pets / "labels.csv").write_text("cat/1.png,tame\n")
    (pets / "tables" / "labels.csv").write_text("../cat/1.png,wild\n")
    assert load_image_folder(pets, labels="labels.csv").target_names == ["tame"]
    assert load_image_folder("pets", labels=Path("tables/labels.csv")).labels.tolist() == ["wild"]
    Path("labels.csv").write_text("pets/cat/1.png,here\n")
    assert load_image_folder(pets, labels="labels.csv").target_names == ["here"]


def test_a_table_of_ids_without_endings_that_fits_to_nothing(pets):
    """Would catch "No such file" 30,000 times, a message of megabytes, and how it is to be read."""
    n = 30_000
    frame = pd.DataFrame(
        {"image_id": range(9, n + 9), "age": range(n), "dx": ["a", "b"] * (n // 2)}
    )
    text = quietly_refuses("30,000 files or folders cannot be read:", pets, labels=frame)
    lines = text.splitlines()
    assert len(lines) == 13
    assert all(line.endswith(": No such file or directory") for line in lines[1:11])
    assert lines[11] == "  ... and 29,990 more"
    assert lines[12].startswith("None of the files of the column 'image_id' is found. columns=")
    assert len(text) < 3000
    frame = pd.DataFrame({"path": [*frame["image_id"], "cat/1.png"], "label": 0})
    text = quietly_refuses("30,000 files", pets, labels=frame)
    assert text.endswith("\nPass on_error='skip' to leave them out.")
    draw(pets, *IN_ORDER)
    found, text = said(pets, labels=frame, on_error="skip")
    assert names_of(found.data, pets) == ["cat/1.png"]
    assert len(text) < 3000


def test_a_frame_of_the_folder_is_a_table_of_it(pets, monkeypatch):
    """Would catch paths that begin with the folder and are looked for in it once more."""
    monkeypatch.chdir(pets.parent)
    for folder in (pets, "pets", "./pets/"):
        found = load_image_folder(folder, as_frame=True)
        again = load_image_folder(folder, labels=found.frame)
        assert names_of(again.data, "pets") == names_of(found.data["path"], "pets") == IN_ORDER
        assert again.labels.tolist() == found.labels.tolist()


def test_two_labels_for_one_file_by_two_names(pets):
    """Would catch a conflict that hides behind another way of writing a path."""
    for name in ("cat/1.png", "./cat/1.png", "cat/1", "cat\\1.png", str(pets / "cat" / "1.png")):
        frame = pd.DataFrame({"path": ["cat/1.png", name], "label": ["a", "b"]})
        quietly_refuses("labels has two labels for 'cat/1.png': 'a' and 'b'.", pets, labels=frame)
        frame["label"] = "a"
        assert len(load_image_folder(pets, labels=frame).data) == 2


@pytest.mark.parametrize(
    "columns", [("file", "kind"), ["file", "kind"], (1, 2), np.array([1, 2]), (1, -1)]
)
def test_columns_by_name_or_position(columns, pets):
    """Would catch columns that are chosen by their names although others are asked for."""
    frame = pd.DataFrame({"path": ["x", "y"], "file": IN_ORDER[:2], "kind": ["b", "a"]})
    assert load_image_folder(pets, labels=frame, columns=columns).labels.tolist() == ["b", "a"]
    frame.to_csv(pets / "t.csv", index=False)
    assert load_image_folder(pets, labels="t.csv", columns=columns).labels.tolist() == ["b", "a"]


def test_columns_that_are_none(pets):
    """Would catch a raw KeyError, and columns that are ignored where there is no table."""
    frame = pd.DataFrame({"path": IN_ORDER, "label": 0})
    for columns in (
        ("path",), ("path", "path"), ("a", "b", "c"), [], {"path", "label"}, (True, False),
        np.array("path"),
    ):  # fmt: skip
        text = f"that of the labels: ('path', 'label'), for example. Got {columns!r}."
        quietly_refuses(text, pets, labels=frame, columns=columns)
    for columns, missing in ((("file", "label"), "'file'"), (("path", 2), "2"), ((-3, 0), "-3")):
        text = f"columns names {missing}, and labels has the columns ['path', 'label']."
        quietly_refuses(text, pets, labels=frame, columns=columns)
    for labels in ("inferred", None):
        text = "columns says which columns of a table to read, and labels is none."
        quietly_refuses(text, pets, labels=labels, columns=("path", "label"))


def test_numbers_as_labels(pets):
    """Would catch digits that are sorted as text, or numbers that become names."""
    frame = pd.DataFrame({"path": IN_ORDER, "label": [10, 9, 10, 2]})
    found = load_image_folder(pets, labels=frame)
    assert found.target_names == [2, 9, 10]
    assert found.target.tolist() == [2, 1, 2, 0]


def test_classes_of_a_table(pets):
    """Would catch rows of other classes, and another order than the one asked for."""
    frame = pd.DataFrame({"path": IN_ORDER, "label": ["b", "a", "c", "b"]})
    found = load_image_folder(pets, labels=frame, classes=["b", "a"])
    assert found.target_names == ["b", "a"]
    assert found.target.tolist() == [0, 1, 0]
    assert names_of(found.data, pets) == [IN_ORDER[0], IN_ORDER[1], IN_ORDER[3]]
    text = "No row of labels has the label ['d', 'B'] of classes. It has ['a', 'b', 'c']."
    with pytest.warns(UserWarning, match=re.escape(text)) as caught:
        found = load_image_folder(pets, labels=frame, classes=["d", "a", "B"])
    assert caught[0].filename == __file__
    assert found.target_names == ["d", "a", "B"]
    assert found.target.tolist() == [1]


def test_labels_of_several_types(pets):
    """Would catch a raw "'<' not supported"; with an order given, nothing need be sorted."""
    frame = pd.DataFrame({"path": IN_ORDER[:2], "label": pd.Series(["1", 1], dtype=object)})
    text = (
        "The labels of the table cannot be sorted: they must all be strings, or all be numbers. "
        "They are of type int, str."
    )
    quietly_refuses(text, pets, labels=frame)
    assert load_image_folder(pets, labels=frame, classes=[1, "1"]).target.tolist() == [1, 0]
    frame["label"] = [["a"], ["b"]]
    quietly_refuses("They are of type list.", pets, labels=frame)


def test_files_of_a_table_that_are_missing_are_all_named(pets):
    """Would catch an error that names one file of a thousand, or gives its row to the next."""
    (pets / "link").symlink_to(pets / "cat")
    (pets / "link.png").symlink_to(pets / "cat" / "1.png")
    names = ["b.png", "cat/1.png", "a.png", "cat", "cat/1.png/x", "link/1.png", "link.png"]
    frame = pd.DataFrame({"path": [*names, "a\0.png", "dog/1.jpg"], "label": [*"abababab", "c"]})
    reasons = [
        ("a\0.png", "its name is not one that a file can have"),
        ("a.png", "No such file or directory"),
        ("b.png", "No such file or directory"),
        ("cat", "it is no regular file"),
        ("cat/1.png/x", "Not a directory"),
        ("link.png", "symbolic links are followed with follow_links=True only"),
        ("link/1.png", "symbolic links are followed with follow_links=True only"),
    ]
    lines = "".join(f"\n  {os.path.join(pets, name)!r}: {why}" for name, why in reasons)
    text = f"7 files or folders cannot be read:{lines}\nPass on_error='skip' to leave them out."
    assert quietly_refuses(text, pets, labels=frame) == text

    draw(pets, "cat/1.png", "dog/1.jpg")
    found, text = said(pets, labels=frame, on_error="skip")
    assert names_of(found.data, pets) == ["cat/1.png", "dog/1.jpg"]
    assert [found.target_names[i] for i in found.target] == ["b", "c"]
    assert text == f"7 files or folders cannot be read, and are left out:{lines}"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="FIFOs are a Unix thing")
def test_a_table_that_names_a_pipe(pets):
    """Would catch a table that has the reader wait for ever."""
    os.mkfifo(pets / "pipe.png")
    frame = pd.DataFrame({"path": ["pipe.png"], "label": ["a"]})
    quietly_refuses("pipe.png': it is no regular file", pets, labels=frame)


def test_a_table_decides_whatever_the_extension_and_however_hidden(tmp_path):
    """Would catch a file that somebody named, and that is left out by its name."""
    touch(tmp_path, "scan", ".hidden/1.xyz")
    frame = pd.DataFrame({"path": ["scan", ".hidden/1.xyz"], "label": ["a", "b"]})
    found = load_image_folder(tmp_path, labels=frame, extensions=".png", recursive=False)
    assert names_of(found.data, tmp_path) == ["scan", ".hidden/1.xyz"]


def test_many_classes_take_no_quadratic_time(tmp_path, monkeypatch):
    """Would catch a set of all labels that is made anew for every class: counts, not seconds."""
    touch(tmp_path, "1.png")
    hashed = 0

    class Label(str):
        __slots__ = ()

        def __hash__(self):
            nonlocal hashed
            hashed += 1
            return str.__hash__(self)

    n = 300
    frame = pd.DataFrame({"path": [f"x/../{i}.png" for i in range(n)]})
    frame["label"] = pd.Series([Label(i) for i in range(n)], dtype=object)
    with pytest.raises(ValueError, match=f"^{n - 1} files or folders"):
        load_image_folder(tmp_path, labels=frame)
    assert hashed < 10 * n


# What cannot be read.


def deny(monkeypatch, name):
    """Let no folder of that name be listed."""
    scandir = os.scandir

    def refuse(path):
        if os.path.basename(path) == name:
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)


def test_a_folder_that_cannot_be_listed(pets, monkeypatch):
    """Would catch a class that is empty since its folder belongs to somebody else."""
    deny(monkeypatch, "dog")
    line = f"\n  {str(pets / 'dog')!r}: Permission denied"
    text = f"1 file or folder cannot be read:{line}\nPass on_error='skip' to leave them out."
    for labels in ("inferred", None):
        assert quietly_refuses(text, pets, labels=labels) == text

    draw(pets, *IN_ORDER)
    for classes in (None, ["cat", "dog"]):
        found, text = said(pets, classes=classes, on_error="skip")
        assert names_of(found.data, pets) == IN_ORDER[:3]
        assert found.target_names == ["cat", "dog"]
        assert text == f"1 file or folder cannot be read, and is left out:{line}"


def test_a_folder_that_cannot_be_listed_is_told_before_anything_else(tmp_path, monkeypatch):
    """Would catch "no images but in the folder dog", since those of cat could not be seen."""
    touch(tmp_path, "cat/1.png", "dog/young/1.png", "dog/old/2.png")
    deny(monkeypatch, "cat")
    quietly_refuses(f"{str(tmp_path / 'cat')!r}: Permission denied", tmp_path)


def test_a_container_below_a_folder_that_may_not_be_entered(pets, monkeypatch):
    """Would catch "does not exist" for a folder of somebody else's."""
    real = os.stat

    def refuse(path, *args, **kwargs):
        if os.fspath(path) == str(pets):
            raise PermissionError(13, "Permission denied", path)
        return real(path, *args, **kwargs)

    monkeypatch.setattr(os, "stat", refuse)
    text = f"container_path={str(pets)!r} may not be looked for by this user."
    quietly_refuses(text, pets, PermissionError)


def test_a_container_that_cannot_be_listed(pets, monkeypatch):
    """Would catch "no class folders" where the folder is not ours to look into."""

    def refuse(path):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "scandir", refuse)
    for parameters in ({}, {"classes": ["cat"]}, {"labels": None}):
        quietly_refuses(f"{str(pets)!r}: Permission denied", pets, **parameters)


@pytest.fixture
def damaged(pets):
    """Four real images, and in each class one or two that are none; returns the good ones."""
    draw(pets, *IN_ORDER)
    touch(pets, "cat/0.png", "dog/0.png")
    whole = (pets / "cat" / "1.png").read_bytes()
    (pets / "dog" / "2.png").write_bytes(whole[: len(whole) // 2])
    return pets


def test_damaged_images_are_left_out_together_with_their_labels(damaged):
    """Would catch labels that move up by one, and a damaged file that nobody hears of."""
    found, text = said(damaged, on_error="skip")
    assert names_of(found.data, damaged) == IN_ORDER
    assert found.target.tolist() == [0, 0, 0, 1]
    assert found.filenames.tolist() == found.data.tolist()
    first, *lines = text.splitlines()
    assert first == "3 of 7 images cannot be read, and are left out:"
    assert [line.split("': ")[0] for line in lines] == [
        f"  '{damaged / name}" for name in ("cat/0.png", "dog/0.png", "dog/2.png")
    ]
    assert "it is empty" in lines[0]


@pytest.mark.parametrize("as_frame", [False, True])
def test_damaged_images_of_a_table_are_left_out_with_their_labels(as_frame, damaged):
    """Would catch rows of a table that get the label of their neighbour."""
    names = ["dog/2.png", "cat/1.png", "cat/0.png", "dog/1.jpg", "cat/2.png"]
    frame = pd.DataFrame({"path": names, "label": [5, 1, 6, 1, 2]})
    (X, y), text = said(damaged, labels=frame, on_error="skip", return_X_y=True, as_frame=as_frame)
    assert names_of(X["path"] if as_frame else X, damaged) == [
        "cat/1.png",
        "dog/1.jpg",
        "cat/2.png",
    ]
    assert list(y) == [0, 0, 1]
    assert text.startswith("2 of 5 images cannot be read, and are left out:\n")


def test_classes_keep_their_numbers_where_all_images_of_one_are_damaged(damaged):
    """Would catch a numbering that depends on which files are damaged."""
    (damaged / "cat" / "old" / "3.png").write_bytes(b"no image")
    touch(damaged, "ape/1.png")
    found, _ = said(damaged, on_error="skip")
    assert found.target_names == ["ape", "cat", "dog"]
    assert found.target.tolist() == [1, 1, 2]


def test_thousands_of_damaged_images_make_no_message_of_megabytes(pets):
    """Up to a hundred are all named; would catch a line for each of a million."""
    draw(pets, *IN_ORDER)
    touch(pets, *(f"cat/a{i:03}.png" for i in range(100)))
    text = said(pets, on_error="skip")[1]
    assert text.startswith("100 of 104 images cannot be read, and are left out:\n")
    assert all(f"a{i:03}.png': it is empty" in text for i in range(100))
    touch(pets, *(f"cat/b{i:04}.png" for i in range(1000)))
    text = said(pets, on_error="skip")[1]
    assert text.startswith("1,100 of 1,104 images cannot be read, and are left out:\n")
    assert text.endswith("/a099.png': it is empty\n  ... and 1,000 more")
    with pytest.raises(ValueError, match="1,000 more\nload_image_folder") as caught:
        ImageReader(size=4).transform(load_image_folder(pets).data)
    assert len(str(caught.value)) < 20_000


def test_damaged_images_without_labels(damaged):
    """Would catch a target that is made up where there is none."""
    found, _ = said(damaged, labels=None, on_error="skip")
    assert names_of(found.data, damaged) == IN_ORDER
    assert found.target is None


def test_all_images_damaged(pets):
    """Would catch an empty result; the warning names the files, and the error says what is up."""
    with (
        pytest.warns(UserWarning, match="^4 of 4 images cannot be read"),
        pytest.raises(ValueError, match="in its class folders that can be read"),
    ):
        load_image_folder(pets, on_error="skip")


def test_nothing_is_warned_of_where_all_is_well(pets):
    """Would catch a warning that everybody learns to ignore."""
    draw(pets, *IN_ORDER)
    found = load_image_folder(pets, on_error="skip")
    assert names_of(found.data, pets) == IN_ORDER


def test_a_damaged_image_shows_when_it_is_read(damaged):
    """Would catch files that are opened for a list of names, or a reader that passes over them."""
    found = load_image_folder(damaged, on_error="raise")
    assert len(found.data) == 7
    reader = ImageReader(size=(4, 4)).fit(found.data)
    with pytest.raises(ValueError, match=r"^3 of 7 images cannot be read:\n") as caught:
        reader.transform(found.data)
    for name in ("cat/0.png", "dog/0.png", "dog/2.png"):
        assert f"\n  {str(damaged / name)!r}: " in str(caught.value)


def test_listing_opens_no_file(pets, monkeypatch):
    """Would catch a check of each file, which takes minutes for a million of them."""

    def refuse(*args, **kwargs):
        raise AssertionError("a file was opened")

    monkeypatch.setattr("builtins.open", refuse)
    monkeypatch.setattr(os, "open", refuse)
    assert len(load_image_folder(pets).data) == 4


def test_odd_names_are_kept(tmp_path):
    """Would catch names that NumPy's text arrays or the labels change on the way."""
    names = ["猫/k ä\n.png", "a b/'\".png", "a b/" + "x" * 200 + ".png"]
    touch(tmp_path, *names)
    found = load_image_folder(tmp_path)
    assert found.target_names == ["a b", "猫"]
    assert sorted(names_of(found.data, tmp_path)) == sorted(names)
    assert all(map(os.path.isfile, found.data))
    frame = load_image_folder(tmp_path, as_frame=True).frame
    assert frame["path"].tolist() == found.data.tolist()


@pytest.mark.skipif(os.name == "nt", reason="other systems refuse such names")
def test_names_that_are_not_utf8_can_be_read(tmp_path):
    """Would catch a list of paths of which some cannot be opened."""
    draw(tmp_path, "cat/1.png")
    os.rename(tmp_path / "cat" / "1.png", os.fsencode(tmp_path) + b"/cat/\xe9.png")
    for as_frame in (False, True):
        found = load_image_folder(tmp_path, as_frame=as_frame)
        assert ImageReader(size=(4, 4)).transform(found.data).shape == (1, 4, 4, 3)


def test_a_name_of_a_megabyte_is_not_repeated_whole(pets):
    """Would catch a message as long as the cells of a table in which a column is mistaken."""
    names = [f"{'z' * 1_000_000}{i}" for i in range(12)]
    text = quietly_refuses("12 files", pets, labels=pd.DataFrame({"path": names, "label": "a"}))
    assert len(text) < 20_000
    assert "zzz..." in text


@pytest.mark.parametrize("linked", [["cat"], ["cat", "dog"]])
def test_a_table_of_links_alone_asks_to_follow_them(pets, tmp_path, linked):
    """Would catch the advice to choose other columns, where links are all that is left out."""
    links = tmp_path / "links"
    links.mkdir()
    for name in linked:
        (links / name).symlink_to(pets / name)
    rows = [f"{name}/1.png" for name in linked]
    frame = pd.DataFrame({"path": rows, "label": "a"})
    text = quietly_refuses(f"{len(rows)} file", links, labels=frame)
    assert text.endswith("\nPass follow_links=True to follow links, or on_error='skip' to leave "
                         "them out.")  # fmt: skip
    assert "columns" not in text


def test_ids_that_fit_to_two_files_each_ask_which_is_meant(tmp_path):
    """Would catch "none of the files is found" where two are found for each."""
    touch(tmp_path, "u/01.png", "v/01.png", "u/02.png", "v/02.jpg")
    for ids in (["01"], ["01", "02"]):
        frame = pd.DataFrame({"id": ids, "label": "a"})
        text = quietly_refuses("it may be any of 'u/01.png', 'v/01.png'", tmp_path, labels=frame)
        assert "Say which is meant: " in text
        assert "found" not in text


def test_ids_that_lost_their_zeros_in_a_csv_file(tmp_path):
    """Would catch the hint given for a DataFrame alone, where a spreadsheet wrote the file."""
    touch(tmp_path, "001.png", "002.png")
    (tmp_path / "labels.csv").write_text("id,label\n1,a\n2,b\n")
    text = quietly_refuses("No such file", tmp_path, labels="labels.csv")
    assert text.endswith("lost the zeros that they began with, put those back; spreadsheets drop "
                         "them.")  # fmt: skip
