"""Which file a table means: without its ending, in another system's way, from another folder."""

import os
from pathlib import Path

import pytest

from sklearn_cnn.files.scan import Locator, ScanOptions


def touch(folder, *names):
    """Make empty files, with the folders they are in; returns the folder."""
    for name in names:
        path = Path(folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return Path(folder)


def find(folder, name, beside=None, **options):
    """Find a file; returns its path below the folder, and the problem."""
    locator = Locator(str(folder), None if beside is None else str(beside), ScanOptions(**options))
    path, problem = locator.find(name)
    assert path.startswith(str(folder))
    return os.path.relpath(path, folder), problem


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("1", "1.png"),
        ("007", "007.jpg"),
        ("cat/1", "cat/1.JPG"),
        ("./cat/1", "cat/1.JPG"),
        ("cat\\1", "cat/1.JPG"),
        ("cat\\1.JPG", "cat/1.JPG"),
        ("cat/1.jpg", "cat/1.JPG"),
        ("img.0001", "img.0001.png"),
        (" 1.png ", "1.png"),
        ("1.png", "1.png"),
        ("notes", "notes"),
    ],
)
def test_files_that_a_table_names_in_another_way(name, expected, tmp_path):
    """Would catch "No such file" for an id without its ending, for 007 that becomes 7, for another
    case of the ending and for Windows' backslashes."""
    touch(tmp_path, "1.png", "007.jpg", "7.jpg", "cat/1.JPG", "img.0001.png", "notes", "notes.png")
    assert find(tmp_path, name) == (expected, None)


@pytest.mark.skipif(os.name == "nt", reason="a backslash is in no name there")
def test_a_backslash_in_a_name_is_a_backslash(tmp_path):
    """The other side: a file whose name holds a backslash is found first."""
    touch(tmp_path, "a\\1.png", "a/1.png")
    assert find(tmp_path, "a\\1.png") == ("a\\1.png", None)


@pytest.mark.parametrize("name", ["1", "2", "3.jpg", "4", "01", "cat"])
def test_names_that_fit_no_file_or_several(name, tmp_path):
    """Would catch a guess between two files, a file of no image, and the nearest number."""
    touch(tmp_path, "1.png", "1.jpg", "2.txt", "3.png", "44.png", "cat/5.png", "0.png")
    path, problem = find(tmp_path, name)
    expected = {"1": "it may be any of '1.jpg', '1.png'", "cat": "it is not a regular file"}
    assert problem == expected.get(name, "No such file or directory")
    assert path == name


def test_extensions_decide_between_two_files_of_one_id(tmp_path):
    touch(tmp_path, "1.png", "1.jpg")
    assert find(tmp_path, "1", extensions={".jpg"}) == ("1.jpg", None)


def test_ids_whose_files_lie_in_folders_of_the_folder(tmp_path):
    """Would catch ids of HAM10000, whose images are unzipped into two folders: found where the
    folder holds no images itself, since names cannot be relative to it."""
    touch(tmp_path, "part_1/1.jpg", "part_2/2.jpg", "part_2/3.jpg", "part_1/3.png", "labels.csv")
    assert find(tmp_path, "1") == (os.path.join("part_1", "1.jpg"), None)
    assert find(tmp_path, "2.jpg") == (os.path.join("part_2", "2.jpg"), None)
    assert "any of" in find(tmp_path, "3")[1]
    assert find(tmp_path, "1", recursive=False)[1] == "No such file or directory"
    touch(tmp_path, "0.jpg")
    assert find(tmp_path, "1") == ("1", "No such file or directory")


def test_paths_relative_to_the_table_or_to_the_working_folder(tmp_path, monkeypatch):
    """Would catch a table made by glob beside the folder, all of whose files are "missing"."""
    pets = touch(tmp_path / "data" / "pets", "cat/1.png").parent / "pets"
    touch(tmp_path, "data/other/1.png")
    table = tmp_path / "data"
    assert find(pets, "pets/cat/1.png", table) == ("cat/1.png", None)
    assert find(pets, "../pets/cat/1.png", pets) == ("cat/1.png", None)
    assert find(pets, "pets/cat/1.png") == ("cat/1.png", None)
    assert find(pets, "data/pets/cat/1.png")[1] == "No such file or directory"
    monkeypatch.chdir(tmp_path)
    assert find(pets, "data/pets/cat/1.png") == ("cat/1.png", None)
    assert find(Path("data/pets"), "data/pets/cat/1") == ("cat/1.png", None)
    for name in ("../other/1.png", "other/1.png"):
        locator = Locator(str(pets), str(table), ScanOptions())
        assert not locator.has(name)
    problem = find(pets, "data/other/1.png")[1]
    assert problem == "No such file or directory; paths are relative to container_path"


def test_the_folder_comes_before_the_table_and_the_working_folder(tmp_path, monkeypatch):
    """Would catch another file of the same name."""
    touch(tmp_path, "a/1.png", "a/a/1.png")
    monkeypatch.chdir(tmp_path)
    assert find(tmp_path / "a", "a/1.png", tmp_path) == ("a/1.png", None)
    assert (tmp_path / "a" / "a" / "1.png").exists()


def test_absolute_paths_into_a_folder_that_is_reached_by_a_link(tmp_path):
    """Would catch the temporary folder of macOS, whose own name is another."""
    touch(tmp_path, "real/1.png")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert find(tmp_path / "link", str(tmp_path / "real" / "1.png")) == ("1.png", None)
    assert find(tmp_path / "link", str(tmp_path / "link" / "1.png")) == ("1.png", None)
    assert find(tmp_path / "link", "1") == ("1.png", None)


@pytest.mark.parametrize(
    "name", ["link.png", "link", "folder/1.png", "folder/1", "folder/in/2.png"]
)
def test_links_are_taken_when_they_are_to_be_followed(name, tmp_path):
    """Both sides: files below links to folders, too."""
    touch(tmp_path, "out/1.png", "out/in/2.png", "pets/0.png")
    pets = tmp_path / "pets"
    (pets / "link.png").symlink_to(tmp_path / "out" / "1.png")
    (pets / "folder").symlink_to(tmp_path / "out")
    assert find(pets, name)[1] == "symbolic links are only followed with follow_links=True"
    path, problem = find(pets, name, follow_links=True)
    assert problem is None
    assert path == (name if name.endswith(".png") else f"{name}.png")


def test_links_that_lead_nowhere(tmp_path):
    (tmp_path / "gone.png").symlink_to(tmp_path / "nothing")
    (tmp_path / "self.png").symlink_to(tmp_path / "self.png")
    problem = find(tmp_path, "gone.png", follow_links=True)[1]
    assert problem == "the symbolic link is broken"
    assert "symbolic links" in find(tmp_path, "self.png", follow_links=True)[1]


def test_a_folder_is_listed_once(tmp_path, monkeypatch):
    """Would catch a listing of the folder for each of a million ids."""
    touch(tmp_path, *(f"{i}.png" for i in range(20)))
    listed, scandir = [], os.scandir

    def count(path):
        listed.append(path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", count)
    locator = Locator(str(tmp_path), None, ScanOptions())
    assert all(locator.find(str(i)) == (str(tmp_path / f"{i}.png"), None) for i in range(20))
    assert len(listed) == 1
