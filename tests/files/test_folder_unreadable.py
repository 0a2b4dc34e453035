"""load_image_folder: folders that cannot be listed, and images that cannot be read."""

import os

import pandas as pd
import pytest
from image_folders import IN_ORDER, draw, names_of, quietly_refuses, said, touch

from sklearn_cnn import ImageReader, load_image_folder


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
    text = f"container_path={str(pets)!r} cannot be accessed by this user."
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
