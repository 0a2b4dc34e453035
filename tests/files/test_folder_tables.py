"""load_image_folder with a table of labels: which rows count, and which files they mean."""

import os
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from image_folders import IN_ORDER, draw, names_of, quietly_refuses, said, touch

from sklearn_cnn import load_image_folder


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
    assert lines[12].startswith("None of the files in the column 'image_id' is found. columns=")
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
        text = f"the paths and the labels, such as ('path', 'label'). Got {columns!r}."
        quietly_refuses(text, pets, labels=frame, columns=columns)
    for columns, missing in ((("file", "label"), "'file'"), (("path", 2), "2"), ((-3, 0), "-3")):
        text = f"columns names {missing}, but labels has the columns ['path', 'label']."
        quietly_refuses(text, pets, labels=frame, columns=columns)
    for labels in ("inferred", None):
        text = "columns selects the columns of a table, but labels is not a table."
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
    text = "No row of labels has the classes ['d', 'B']. Its labels are ['a', 'b', 'c']."
    with pytest.warns(UserWarning, match=re.escape(text)) as caught:
        found = load_image_folder(pets, labels=frame, classes=["d", "a", "B"])
    assert caught[0].filename == __file__
    assert found.target_names == ["d", "a", "B"]
    assert found.target.tolist() == [1]


def test_labels_of_several_types(pets):
    """Would catch a raw "'<' not supported"; with an order given, nothing need be sorted."""
    frame = pd.DataFrame({"path": IN_ORDER[:2], "label": pd.Series(["1", 1], dtype=object)})
    text = (
        "The labels of the table must all be strings, or all be numbers, so that they can be "
        "sorted. Got labels of type int, str."
    )
    quietly_refuses(text, pets, labels=frame)
    assert load_image_folder(pets, labels=frame, classes=[1, "1"]).target.tolist() == [1, 0]
    frame["label"] = [["a"], ["b"]]
    quietly_refuses("Got labels of type list.", pets, labels=frame)


def test_files_of_a_table_that_are_missing_are_all_named(pets):
    """Would catch an error that names one file of a thousand, or gives its row to the next."""
    (pets / "link").symlink_to(pets / "cat")
    (pets / "link.png").symlink_to(pets / "cat" / "1.png")
    names = ["b.png", "cat/1.png", "a.png", "cat", "cat/1.png/x", "link/1.png", "link.png"]
    frame = pd.DataFrame({"path": [*names, "a\0.png", "dog/1.jpg"], "label": [*"abababab", "c"]})
    reasons = [
        ("a\0.png", "its name is not a valid file name"),
        ("a.png", "No such file or directory"),
        ("b.png", "No such file or directory"),
        ("cat", "it is not a regular file"),
        ("cat/1.png/x", "Not a directory"),
        ("link.png", "symbolic links are only followed with follow_links=True"),
        ("link/1.png", "symbolic links are only followed with follow_links=True"),
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
    quietly_refuses("pipe.png': it is not a regular file", pets, labels=frame)


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
        assert "Make the names in the table unambiguous " in text
        assert "found" not in text


def test_ids_that_lost_their_zeros_in_a_csv_file(tmp_path):
    """Would catch the hint given for a DataFrame alone, where a spreadsheet wrote the file."""
    touch(tmp_path, "001.png", "002.png")
    (tmp_path / "labels.csv").write_text("id,label\n1,a\n2,b\n")
    text = quietly_refuses("No such file", tmp_path, labels="labels.csv")
    assert text.endswith("lost their leading zeros, restore them; spreadsheets remove leading "
                         "zeros.")  # fmt: skip
