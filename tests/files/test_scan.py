"""Scanning folders: the same order everywhere, no way out of the folder, and no hanging."""

import os
import random
import socket
import string
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sklearn_cnn.files.scan import EXTENSIONS, Scan, ScanOptions, has_extension, scan_images


def scan(folder, extensions=EXTENSIONS, **options):
    """Scan, and return what was found and the folders in the folder, as relative paths."""
    found = scan_images(str(folder), ScanOptions(extensions, **options))

    def plain(paths):
        return [os.path.relpath(path, folder) for path in paths]

    unreadable = {os.path.relpath(path, folder): why for path, why in found.unreadable.items()}
    return Scan(plain(found.files), plain(found.links), unreadable), plain(found.folders)


def touch(folder, *names):
    """Make empty files, with the folders they are in."""
    for name in names:
        path = os.path.join(folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb"):
            pass


TREE = ("b/2.png", "b/1.png", "b/10.png", "a/z.png", "a/b/c.png", "a b/1.png", "a/b.png", "0.png")
IN_ORDER = ["0.png", "a/b.png", "a/z.png", "a/b/c.png", "a b/1.png"]
IN_ORDER += ["b/1.png", "b/10.png", "b/2.png"]


def test_the_files_of_a_folder_come_before_those_of_the_folders_in_it(tmp_path):
    """Would catch an order by the whole path, where "a b/" comes between "a" and "a/b/"."""
    touch(tmp_path, *TREE)
    found, inner = scan(tmp_path)
    assert found == Scan(IN_ORDER)
    assert inner == ["a", "a b", "b"]


@pytest.mark.parametrize("seed", range(5))
def test_the_order_is_that_of_the_names_whatever_the_system_lists_first(
    seed, tmp_path, monkeypatch
):
    """Would catch the order of the disk, which differs from machine to machine."""
    touch(tmp_path, *TREE)
    scandir, shuffle = os.scandir, random.Random(seed).shuffle

    class Shuffled:
        def __init__(self, folder):
            with scandir(folder) as entries:
                self.entries = list(entries)
            shuffle(self.entries)

        def __enter__(self):
            return iter(self.entries)

        def __exit__(self, *error):
            pass

    monkeypatch.setattr(os, "scandir", Shuffled)
    found, inner = scan(tmp_path)
    assert found == Scan(IN_ORDER)
    assert inner == ["a", "a b", "b"]


def test_without_recursion_the_folders_are_named_and_not_entered(tmp_path):
    """Would catch a scan that enters a folder where it was told not to."""
    touch(tmp_path, *TREE)
    found, inner = scan(tmp_path, recursive=False)
    assert found == Scan(["0.png"])
    assert inner == ["a", "a b", "b"]


@pytest.mark.parametrize(
    ("name", "extensions", "expected"),
    [
        ("a.png", {".png"}, True),
        ("a.PNG", {".png"}, True),
        ("a.b.png", {".png"}, True),
        ("a.png", {".jpg"}, False),
        ("a.png.txt", {".png"}, False),
        ("apng", {".png"}, False),
        ("png", {".png"}, False),
        ("a", {".png"}, False),
        ("a.pngx", {".png"}, False),
        ("a.txt", None, True),
        ("a", None, True),
    ],
)
def test_extensions(name, extensions, expected):
    """Would catch upper case that does not count, and an ending without its dot that does."""
    assert has_extension(name, extensions) is expected


def test_the_formats_that_are_read_are_the_extensions():
    """Would catch a format whose files are left out without a word."""
    named = dict.fromkeys(["jpg", "jpe", "jfif", "pjpeg", "pjp", "jps", "mpo"], "jpeg")
    named |= {"tif": "tiff", "apng": "png"}
    from sklearn_cnn.files.opening import FORMATS

    assert {named.get(ending[1:], ending[1:]) for ending in EXTENSIONS} == {
        name.lower() for name in FORMATS
    }


def test_symbolic_links_are_named_and_not_followed(tmp_path):
    """Would catch a scan out of the folder, one that never ends, and a file that counts twice."""
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    touch(inside, "a/1.png")
    touch(outside, "2.png")
    (inside / "a" / "loop").symlink_to(inside)
    (inside / "file.png").symlink_to(outside / "2.png")
    (inside / "folder").symlink_to(outside)
    (inside / "again.png").symlink_to(inside / "a" / "1.png")
    (inside / "nowhere.png").symlink_to(inside / "gone.png")
    (inside / "self.png").symlink_to(inside / "self.png")
    found, inner = scan(inside)
    assert found.files == ["a/1.png"]
    assert inner == ["a"]
    assert not found.unreadable
    links = ["a/loop", "again.png", "file.png", "folder", "nowhere.png", "self.png"]
    assert sorted(found.links) == links


def test_the_folder_itself_may_be_a_link(tmp_path):
    """Would catch data on another disk that cannot be named by a link."""
    touch(tmp_path, "real/1.png")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert scan(tmp_path / "link") == (Scan(["1.png"]), [])


def scan_links(folder, **options):
    """Scan, following links."""
    return scan(folder, follow_links=True, **options)


def test_links_to_files_and_folders_are_followed_when_asked(tmp_path):
    """Would catch the layout of model hubs and of DVC, whose links have the ending and whose files
    have none; links out of the folder; and a link to a folder among links to files."""
    touch(tmp_path, "blobs/0a1b", "blobs/2c3d", "far/3.png", "far/deep/4.png")
    touch(tmp_path, "in/cat/1.png")
    inside = tmp_path / "in"
    (inside / "cat" / "0.png").symlink_to("../../blobs/0a1b")
    (inside / "cat" / "notes.txt").symlink_to("../../blobs/2c3d")
    (inside / "dog").symlink_to(tmp_path / "far")
    found, inner = scan_links(inside)
    assert found == Scan(["cat/0.png", "cat/1.png", "dog/3.png", "dog/deep/4.png"])
    assert inner == ["cat", "dog"]
    assert scan_links(inside, recursive=False) == (Scan(), ["cat", "dog"])


@pytest.mark.parametrize("backwards", [False, True])
def test_circles_of_links_end_and_folders_are_entered_once(backwards, tmp_path, monkeypatch):
    """Would catch a scan that never ends, one that doubles at each level, and an order or a choice
    of names that depends on the disk."""
    touch(tmp_path, "a/1.png", "b/2.png", "z/3.png")
    for level in range(12):  # two links at each level: 2 ** 12 ways to the last
        touch(tmp_path, f"levels/{level}/{level}.png")
        for name in ("x", "y"):
            (tmp_path / "levels" / str(level) / name).symlink_to(tmp_path / f"levels/{level + 1}")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "a" / "over").symlink_to(tmp_path / "b")
    (tmp_path / "b" / "back").symlink_to(tmp_path / "a")
    (tmp_path / "self").symlink_to("self")
    (tmp_path / "here").symlink_to(".")
    (tmp_path / "another z").symlink_to("z")
    scandir = os.scandir

    class InOrder:
        def __init__(self, folder):
            with scandir(folder) as entries:
                self.entries = sorted(entries, key=lambda entry: entry.name, reverse=backwards)

        def __enter__(self):
            return iter(self.entries)

        def __exit__(self, *error):
            pass

    monkeypatch.setattr(os, "scandir", InOrder)
    found, inner = scan_links(tmp_path)
    levels = [f"levels/{level}/{level}.png" for level in sorted(map(str, range(12)))]
    assert found.files == ["a/1.png", "b/2.png", *levels, "z/3.png"]
    assert set(found.unreadable) == {"self", *(f"levels/11/{name}" for name in "xy")}
    assert inner == ["a", "another z", "b", "levels", "z"]


def test_links_that_lead_nowhere_are_told_if_they_may_be_images(tmp_path):
    """Would catch missing images without a word, and an error for a missing text."""
    touch(tmp_path, "0.png")
    for name in ("1.png", "folder", "notes.txt", ".hidden.png", "README"):
        (tmp_path / name).symlink_to(tmp_path / "gone")
    found, inner = scan_links(tmp_path)
    assert found.files == ["0.png"]
    assert inner == []
    assert found.unreadable == dict.fromkeys(["1.png", "folder"], "the symbolic link is broken")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="FIFOs are a Unix thing")
def test_links_to_pipes_do_not_count(tmp_path):
    """Would catch a reader that waits for ever."""
    touch(tmp_path, "1.png")
    os.mkfifo(tmp_path / ".pipe")
    (tmp_path / "2.png").symlink_to(tmp_path / ".pipe")
    assert scan_links(tmp_path) == (Scan(["1.png"]), [])


def test_links_of_texts_are_not_counted_among_those_left_out(tmp_path):
    """Would catch a warning of left-out links for the README of a model hub."""
    touch(tmp_path, "1.png", "blob")
    for name in ("README.md", "labels.csv", "LICENSE", ".gitattributes", "2.png", "dog"):
        (tmp_path / name).symlink_to("blob")
    found, _ = scan(tmp_path)
    assert sorted(found.links) == ["2.png", "dog"]


class Junction:
    """What Windows says of a junction to a folder: it is no symbolic link, and a folder."""

    name = "junction"

    def __init__(self, path):
        self.path = path

    def is_symlink(self):
        return False

    def is_dir(self):
        return True

    def stat(self, follow_symlinks):
        assert not follow_symlinks

        class Status:
            st_mode = 0o40755
            st_reparse_tag = 0xA0000003

        return Status


def test_junctions_of_windows_are_links(tmp_path, monkeypatch):
    """Would catch a scan out of the folder, by what is a link under another name."""
    touch(tmp_path, "out/1.png", "in/2.png")
    (tmp_path / "in" / "junction").symlink_to(tmp_path / "out")
    scandir = os.scandir

    class WithJunction:
        def __init__(self, folder):
            with scandir(folder) as entries:
                self.entries = [
                    Junction(entry.path) if entry.name == "junction" else entry for entry in entries
                ]

        def __enter__(self):
            return iter(self.entries)

        def __exit__(self, *error):
            pass

    monkeypatch.setattr(os, "scandir", WithJunction)
    folder = str(tmp_path / "in")
    monkeypatch.setattr(os, "name", "nt")
    plain, followed = (scan(folder, follow_links=value) for value in (False, True))
    monkeypatch.undo()
    assert (plain[0].files, plain[0].links, plain[1]) == (["2.png"], ["junction"], [])
    assert (followed[0].files, followed[1]) == (["2.png", "junction/1.png"], ["junction"])


@pytest.mark.parametrize(
    "name",
    [
        "@eaDir", "__MACOSX", "$RECYCLE.BIN", "System Volume Information", "lost+found",
        "__pycache__", ".ipynb_checkpoints", "#recycle", "@Recycle",
    ],
)  # fmt: skip
def test_folders_that_systems_make_for_themselves_are_left_out(name, tmp_path):
    """Would catch thumbnails and trash that become a class, or images of a class."""
    touch(tmp_path, f"{name}/1.png", f"{name}/c.heic", f"cat/{name}/2.png", "cat/3.png")
    for follow_links in (False, True):
        found, inner = scan(tmp_path, follow_links=follow_links)
        assert found == Scan(["cat/3.png"])
        assert inner == ["cat"]


def test_hidden_files_and_folders_are_left_out(tmp_path):
    """Would catch thumbnails and the "._1.png" that macOS puts into zip files."""
    touch(tmp_path, "1.png", ".2.png", "._1.png", ".thumbnails/3.png", "a/.4.png", ".png")
    (tmp_path / ".link").symlink_to(tmp_path)
    assert scan(tmp_path, None) == (Scan(["1.png"]), ["a"])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="FIFOs are a Unix thing")
def test_neither_pipes_nor_sockets_count(tmp_path, monkeypatch):
    """Would catch a scan that waits for ever for somebody to write into a FIFO."""
    touch(tmp_path, "1.png")
    os.mkfifo(tmp_path / "2.png")
    monkeypatch.chdir(tmp_path)  # the path of a socket must be short
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("3.png")
        assert scan(tmp_path) == (Scan(["1.png"]), [])
        assert scan(tmp_path, None) == (Scan(["1.png"]), [])


ODD_NAMES = [
    "kätzchen.png",
    "猫.png",
    "cat\n2.png",
    " space .png",
    "quote'\".png",
    "-rf.png",
    "*.png",
    "a" * 251 + ".png",
]


@pytest.mark.parametrize("name", ODD_NAMES, ids=lambda name: ascii(name[:9]))
def test_odd_names(name, tmp_path):
    """Would catch names that are split, globbed or taken for something else."""
    touch(tmp_path, name, os.path.join(f"in {name}"[:200], name))
    found, inner = scan(tmp_path)
    assert sorted(found.files) == sorted([name, os.path.join(f"in {name}"[:200], name)])
    assert inner == [f"in {name}"[:200]]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_names_that_are_not_utf8(tmp_path):
    """Would catch a name that cannot be opened again: bytes must come back as they are."""
    raw = os.fsencode(tmp_path) + b"/caf\xe9.png"
    with open(raw, "wb"):
        pass
    found = scan_images(str(tmp_path), ScanOptions())
    assert [os.fsencode(path) for path in found.files] == [raw]
    assert os.path.isfile(found.files[0])


@pytest.fixture
def nest():
    """A function that nests folders of one name in each other, and makes a file in the deepest."""
    opened = []

    def make(folder, name, levels):
        here = os.open(folder, os.O_RDONLY)
        opened.append((here, None))
        for _ in range(levels):
            os.mkdir(name, dir_fd=here)
            here = os.open(name, os.O_RDONLY, dir_fd=here)
            opened.append((here, name))
        os.close(os.open("1.png", os.O_CREAT | os.O_WRONLY, dir_fd=here))

    try:
        yield make
    finally:  # from the inside: removing the tree from above would recurse as deep as it is
        if opened:
            os.unlink("1.png", dir_fd=opened[-1][0])
        while opened:
            descriptor, name = opened.pop()
            os.close(descriptor)
            if name is not None:
                os.rmdir(name, dir_fd=opened[-1][0])


def raise_limit_of_open_files(count):
    """Allow that number of open files, or skip the test."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count:
        if hard != resource.RLIM_INFINITY and hard < count:
            pytest.skip(f"the system allows {hard} open files")
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


@pytest.mark.skipif(sys.platform == "win32", reason="paths are short there")
def test_deeply_nested_folders(tmp_path, nest):
    """Would catch a scan by recursion, which ends in RecursionError at 1000 levels."""
    levels = sys.getrecursionlimit() + 100
    raise_limit_of_open_files(levels + 200)
    nest(tmp_path, "a", levels)
    found, inner = scan(tmp_path)
    assert found == Scan([os.path.join(*["a"] * levels, "1.png")])
    assert inner == ["a"]


@pytest.mark.skipif(sys.platform == "win32", reason="paths are short there")
def test_a_path_longer_than_the_system_opens(tmp_path, nest):
    """Would catch images at the end of such a path that are left out without a word."""
    name = "a" * 200
    touch(tmp_path, "z.png")
    nest(tmp_path, name, os.pathconf(tmp_path, "PC_PATH_MAX") // len(name) + 2)
    found, _ = scan(tmp_path)
    assert found.files == ["z.png"]
    [(_, why)] = found.unreadable.items()
    assert why == "File name too long"


def test_a_folder_that_cannot_be_listed_is_told_and_the_others_are_scanned(tmp_path, monkeypatch):
    """Would catch a class that is missing because its folder belongs to somebody else."""
    touch(tmp_path, "a/1.png", "b/2.png", "b/c/3.png", "d/4.png")
    forbid(monkeypatch, tmp_path / "b")
    found, inner = scan(tmp_path)
    assert found == Scan(["a/1.png", "d/4.png"], [], {"b": "Permission denied"})
    assert inner == ["a", "b", "d"]


def forbid(monkeypatch, folder):
    """Have the system refuse to list a folder: permissions do not bind the root user of CI."""
    scandir = os.scandir

    def refuse(path):
        if os.fspath(path) == str(folder):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)


def test_a_folder_that_is_gone_is_told(tmp_path):
    """Would catch a raw error from deep inside for a folder that is removed during the scan."""
    found, inner = scan(tmp_path / "gone")
    assert found == Scan([], [], {".": "No such file or directory"})
    assert inner == []


NAMES = st.text(string.ascii_letters + " ._-é", min_size=1, max_size=6).filter(
    lambda name: name.strip(".") != ""
)
FILES = st.builds(str.__add__, NAMES, st.sampled_from([".png", ".JPG", ".txt", ""]))
TREES = st.recursive(
    st.dictionaries(FILES, st.none(), max_size=4),
    lambda inner: st.dictionaries(NAMES | FILES, st.none() | inner, max_size=4),
    max_leaves=8,
)


def plant(folder, tree):
    """Make a tree of folders (dictionaries) and files (None)."""
    for name, below in tree.items():
        if below is None:
            touch(folder, name)
        else:
            os.mkdir(os.path.join(folder, name))
            plant(os.path.join(folder, name), below)


def images_of(tree, ending=(".png", ".jpg")):
    """The same list as the scan's, by recursion: own files by name, then each folder by name."""
    seen = {name: below for name, below in sorted(tree.items()) if not name.startswith(".")}
    found = [(name,) for name, below in seen.items() if below is None]
    found = [path for path in found if path[0].lower().endswith(ending)]
    for name, below in seen.items():
        if below is not None:
            found += [(name, *path) for path in images_of(below, ending)]
    return found


@given(tree=TREES)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_any_tree_is_scanned_as_an_oracle_scans_it(tree):
    """Would catch an order, a hidden name or a depth that the cases above do not think of."""
    with tempfile.TemporaryDirectory() as folder:
        plant(folder, tree)
        found, inner = scan(folder)
        everything, _ = scan(folder, None)
    assert [tuple(Path(path).parts) for path in found.files] == images_of(tree)
    assert [tuple(Path(path).parts) for path in everything.files] == images_of(tree, "")
    assert inner == sorted(
        name for name, below in tree.items() if below is not None and not name.startswith(".")
    )
    assert not found.links
    assert not found.unreadable
