"""load_image_folder: what it returns, and which files and parameters it takes."""

import contextlib
import os
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from image_folders import IN_ORDER, draw, names_of, quietly_refuses, said, touch
from PIL import Image
from sklearn.datasets import load_files
from sklearn.dummy import DummyClassifier
from sklearn.pipeline import make_pipeline
from sklearn.utils import Bunch
from sklearn.utils._param_validation import InvalidParameterError

from sklearn_cnn import ImageReader, load_image_folder


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


def test_a_folder_that_is_not_there(tmp_path):
    """Would catch an empty result for a misspelt folder; what is and what is not are told apart."""
    touch(tmp_path, "pets.zip")
    for name, what, error in (
        ("gone", "does not exist", FileNotFoundError),
        ("pets.zip", "is not a folder", NotADirectoryError),
    ):
        folder = str(tmp_path / name)
        text = f"container_path={folder!r} {what}. It must be the folder that holds the images"
        quietly_refuses(text, folder, error)


def test_an_empty_folder(tmp_path):
    """Would catch the advice to sort images where there are none."""
    text = (
        f"container_path={str(tmp_path)!r} holds neither class folders nor images. It must hold "
        "one folder of images per class."
    )
    quietly_refuses(text, tmp_path)
    touch(tmp_path, "readme.txt", ".hidden/1.png")
    quietly_refuses(text, tmp_path)


def test_a_flat_folder_shows_how_to_give_labels(tmp_path):
    """Would catch images without labels that become one class."""
    touch(tmp_path, "1.png", "2.png")
    text = (
        f"container_path={str(tmp_path)!r} holds no class folders, but 2 images. Sort them "
        "into one folder per class, or pass labels=: a CSV file or DataFrame with the columns "
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
        "folders that can be read. Other files: 2 .txt."
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
        f"1 symbolic link was ignored, the first of them {link!r}. Pass follow_links=True to "
        "follow links."
    )
    quietly_refuses(f"holds neither class folders nor images. {hint}", pets)
    touch(pets, "cat/1.png")
    quietly_refuses(f"for the classes ['dog']. It has ['cat']. {hint}", pets, classes=["dog"])
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
        f"3 symbolic links were ignored, the first of them {str(pets / 'cat' / 'b.png')!r}. Pass"
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
    hint = f"3 symbolic links were ignored, the first of them {first!r}. Pass follow_links=True"
    quietly_refuses(hint, hub)
    quietly_refuses(hint, hub, labels=None)
    found = load_image_folder(hub, follow_links=True, on_error="skip")
    assert names_of(found.data, hub) == ["cat/0.png", "cat/1.png", "dog/0.png"]
    assert found.labels.tolist() == ["cat", "cat", "dog"]
    assert ImageReader(size=4).transform(found.data).shape == (3, 4, 4, 3)
    table = pd.DataFrame({"id": ["cat/0", "dog/0"], "label": ["c", "d"]})
    quietly_refuses("are only followed with follow_links=True", hub, labels=table)
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
        "1 image is in two classes, under another name or through a link. The first is "
        f"{doubled!r}."
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
    text = f"{str(pets / 'cat' / '9.png')!r}: the symbolic link is broken"
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
        "2 images lie outside of any class folder, and are ignored. The first is "
        f"{str(pets / 'a.png')!r}."
    )


def test_folders_without_images_are_told_and_make_no_class(pets):
    """Would catch a class without images, which every splitter refuses much later."""
    touch(pets, "bird/notes.txt", "ape/notes.txt")
    found, text = said(pets)
    assert found.target_names == ["cat", "dog"]
    assert found.target.tolist() == [0, 0, 0, 1]
    assert text == (
        "Folders without images are ignored: ['ape', 'bird']. To keep them as classes, pass "
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
    text = f"extensions must be file extensions, such as ('.jpg', '.png'). Got {extensions!r}."
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
