"""Tables of labels: CSV files as spreadsheets write them, DataFrames, and what is wrong in both."""

import datetime
import os
import re
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest

from sklearn_cnn.files.labels_table import find_table, label_by_table, read_labels_table
from sklearn_cnn.files.scan import Locator, ScanOptions


def read(table, folder, columns=None):
    """Read a table; return the names of files, as paths below the folder, and the labels."""
    locator = Locator(folder, None, ScanOptions())
    rows = read_labels_table(find_table(table, folder), columns, locator.has).rows
    names = [os.path.relpath(locator.find(row.name)[0], folder) for row in rows]
    return names, [row.label for row in rows]


def label(table, folder, columns=None):
    """Label the files of a folder by a table; returns paths below it, and labels."""
    found = label_by_table(folder, table, columns, None, ScanOptions())
    return [os.path.relpath(path, folder) for path in found.files], [
        found.classes[number] for number in found.target
    ]


PETS = (["1.png", "2.png", "b/3.png"], ["cat", "dog", "cat"])
"""What most tables of these tests say."""


@pytest.fixture
def csv_file(tmp_path):
    """A function that writes a CSV file, as text or bytes, outside of the folder of the images."""

    def write(content):
        path = tmp_path / "labels.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def says(text):
    """The pattern of an error that begins with a text."""
    return f"^{re.escape(text)}"


@pytest.mark.parametrize(
    "content",
    [
        "path,label\n1.png,cat\n2.png,dog\nb/3.png,cat\n",
        "path,label\n1.png,cat\n2.png,dog\nb/3.png,cat",
        "path,label\r\n1.png,cat\r\n2.png,dog\r\nb/3.png,cat\r\n",
        "label,path\ncat,1.png\ndog,2.png\ncat,b/3.png\n",
        "width,label,path,place\n8,cat,1.png,x\n8,dog,2.png,\n8,cat,b/3.png,\n",
        " path , label \n1.png, cat\n2.png,dog \nb/3.png,cat\n",
        '"path","label"\n"1.png","cat"\n"2.png","dog"\n"b/3.png","cat"\n',
        "file,class\n1.png,cat\n2.png,dog\nb/3.png,cat\n",
        "1.png,cat\n2.png,dog\nb/3.png,cat\n",
        "\n\npath,label\n\n1.png,cat\n2.png,dog\n   \nb/3.png,cat\n\n",
        "path,label\n1.png,cat\n2.png,dog\nb/3.png,cat\n,\n,\n",
        b"\xef\xbb\xbfpath,label\n1.png,cat\n2.png,dog\nb/3.png,cat\n",
        b"\xef\xbb\xbf1.png,cat\n2.png,dog\nb/3.png,cat\n",
        "path,label\n./1.png,cat\nx/../2.png,dog\nb//3.png,cat\n",
        "filename,label,age\n1.png,cat,3\n2.png,dog,4\nb/3.png,cat,5\n",
        "image_id,lesion,dx,dx_type\n1.png,8,cat,x\n2.png,8,dog,x\nb/3.png,8,cat,x\n",
        "Species;Image Name\ncat;1.png\ndog;2.png\ncat;b/3.png\n",
        "id\tage\tdiagnosis\n1.png\t3,5\tcat\n2.png\t4\tdog\nb/3.png\t5\tcat\n",
        "path|class\n1.png|cat\n2.png|dog\nb/3.png|cat\n",
        "path;label;size\n1.png;cat;1,5\n2.png;dog;2,5\nb/3.png;cat;1,5\n",
        "cat,1.png\ndog,2.png\ncat,b/3.png\n",
        "kind,where\ncat,1.png\ndog,2.png\ncat,b/3.png\n",
        "kind,file\ncat,1.png\ndog,2.png\ncat,b/3.png\n",
        "1.png cat\n2.png dog\nb/3.png cat\n",
        "sep=;\npath;label\n1.png;cat\n2.png;dog\nb/3.png;cat\n",
        ",path,label\n0,1.png,cat\n1,2.png,dog\n2,b/3.png,cat\n",
        "path,label,\n1.png,cat,\n2.png,dog,\nb/3.png,cat,\n",
        'path, label\n"1.png", "cat"\n"2.png", "dog"\n"b/3.png", "cat"\n',
        "path\tlabel\r\n1.png\tcat\r\n2.png\tdog\r\nb/3.png\tcat\r\n".encode("utf-16"),
        "path,label\n1.png,cat\n2.png,dog\nb/3.png,cat\n".encode("utf-16-le"),
        "path,label\n1.png,cat\n2.png,dog\nb/3.png,cat\n".encode("utf-16-be"),
        "\ufeffpath,label\n1.png,cat\n2.png,dog\nb/3.png,cat\n".encode("utf-16-be"),
    ],
    ids=[
        "plain",
        "no newline at the end",
        "CRLF",
        "columns change places",
        "further columns",
        "spaces",
        "quoted",
        "other names",
        "no names",
        "blank lines",
        "empty rows of a spreadsheet",
        "BOM",
        "BOM, no names",
        "paths not in their plain form",
        "filename, label and age",
        "image_id and dx",
        "semicolons and capitals",
        "tabs",
        "bars",
        "decimal commas",
        "no names, label first",
        "unknown names, label first",
        "one known name, label first",
        "spaces between",
        "sep= of Excel",
        "index of pandas",
        "a comma at the end of each line",
        "a space after each comma",
        "UTF-16 with tabs, as Excel writes it",
        "UTF-16 without BOM",
        "UTF-16, other order, without BOM",
        "UTF-16, other order",
    ],
)
def test_csv_files_that_say_the_same(content, csv_file, tmp_path):
    """Would catch a row that is lost or taken for the line of names, and a path or label that
    keeps what a spreadsheet put around it."""
    assert read(csv_file(content), str(tmp_path)) == PETS
    assert read(str(csv_file(content)), str(tmp_path)) == PETS


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_separators_in_labels_are_no_separators(separator, csv_file, tmp_path):
    """Would catch columns cut at what stands in a label."""
    others = ",;|".replace(separator, "")
    label = f"cat{others}black"
    lines = f"path{separator}label\n1.png{separator}{label}\n2.png{separator}{label}\n"
    assert read(csv_file(lines), str(tmp_path)) == (["1.png", "2.png"], [label, label])


def test_columns_decide_between_two_separators(csv_file, tmp_path):
    """Would catch columns that are said, and then not found since the file is cut elsewhere."""
    table = csv_file("size, cm;kind;where\n1,5;cat;1.png\n2,5;dog;2.png\n")
    expected = ["1.png", "2.png"], ["cat", "dog"]
    assert read(table, str(tmp_path), ("where", "kind")) == expected


def test_lines_are_counted_from_the_first_of_the_file(csv_file, tmp_path):
    """Would catch a number that is one too small below Excel's "sep=;"."""
    with pytest.raises(ValueError, match="line 4 has 1 field, but the first line has 2"):
        read(csv_file("sep=;\npath;label\n1.png;cat\n2.png\n"), str(tmp_path))


def test_known_names_of_columns_are_names_whatever_files_there_are(csv_file, tmp_path):
    """Would catch a file "id.png" that makes a row of the line of names."""
    (tmp_path / "id.png").touch()
    assert read(csv_file("id,class\n1,cat\n"), str(tmp_path)) == (["1"], ["cat"])


def test_ids_and_labels_of_a_file_stay_text(csv_file, tmp_path):
    """Would catch 007 that becomes 7, and "NA" that becomes a missing value."""
    table = csv_file("id,label\n007,010\n7,NA\n1e3,None\n")
    assert read(table, str(tmp_path)) == (["007", "7", "1e3"], ["010", "NA", "None"])


def test_a_first_line_of_an_id_whose_file_is_there_is_a_row(csv_file, tmp_path):
    """Would catch a first row of ids that is taken for names of columns; both sides."""
    (tmp_path / "0001.png").touch()
    assert read(csv_file("0001,cat\n0002,dog\n"), str(tmp_path))[1] == ["cat", "dog"]
    assert read(csv_file("0003,cat\n0002,dog\n"), str(tmp_path))[1] == ["dog"]


@pytest.mark.parametrize("label", ["class", "label", "target"])
def test_a_first_row_whose_label_is_called_like_a_column(label, csv_file, tmp_path):
    """Would catch a row that is lost since its label is a usual name of a column."""
    assert read(csv_file(f"1.png,{label}\n2.png,dog\n"), str(tmp_path))[1] == [label, "dog"]


def test_of_several_columns_of_paths_the_one_whose_files_are_there(csv_file, tmp_path):
    """Would catch a number of a picture that is taken for its name."""
    (tmp_path / "1.png").touch()
    table = csv_file("image,id,label\n17,1.png,cat\n18,2.png,dog\n")
    assert read(table, str(tmp_path))[0] == ["1.png", "2.png"]
    table = csv_file("id,filename,label\n1,a.png,cat\n2,b.png,dog\n")
    assert read(table, str(tmp_path)) == (["a.png", "b.png"], ["cat", "dog"])


def test_several_columns_of_labels_have_to_be_chosen_from(csv_file, tmp_path):
    """Would catch a model of the wrong labels, without a word; "label" itself needs no choice."""
    table = csv_file("filename,class,target\n1.png,cat,0\n2.png,dog,1\n")
    text = "Select the columns, for example columns=('filename', 'class')."
    with pytest.raises(ValueError, match=re.escape(text)):
        read(table, str(tmp_path))
    assert read(table, str(tmp_path), ("filename", "target"))[1] == ["0", "1"]
    assert read(table, str(tmp_path), (0, 1))[1] == ["cat", "dog"]
    table = csv_file("filename,class,label\n1.png,cat,0\n2.png,dog,1\n")
    assert read(table, str(tmp_path))[1] == ["0", "1"]


def test_columns_of_a_file_without_names(csv_file, tmp_path):
    """Would catch a first row that is lost since columns are given."""
    table = csv_file("8,cat,1.png\n9,dog,2.png\n")
    assert read(table, str(tmp_path), (2, 1)) == (["1.png", "2.png"], ["cat", "dog"])


def test_columns_of_zero_and_one_are_told_how_to_become_labels(csv_file, tmp_path):
    """Would catch "must have the columns" without a way on, for a table of the ISIC challenge."""
    text = "image,MEL,NV,BCC\n1.png,0.0,1.0,0.0\n2.png,1.0,0.0,0.0\nb/3.png,0.0,1.0,0.0\n"
    path, expected = csv_file(text), (PETS[0], ["NV", "MEL", "NV"])
    for table in (path, pd.read_csv(path), pd.read_csv(path).assign(age=[5, 6, 7])):
        with pytest.raises(
            ValueError, match=r"hold 0 and 1\. Convert them to one column of labels: "
        ) as caught:
            read(table, str(tmp_path))
        code = str(caught.value).split("of labels: labels=")[1].removesuffix(".")
        assert read(eval(code, {"pandas": pd, "labels": table}), str(tmp_path)) == expected
    frame = pd.read_csv(path).set_index("image").idxmax(axis=1).to_frame("label")
    assert read(frame, str(tmp_path)) == expected


def test_columns_of_several_ones_in_a_row_are_no_labels(csv_file, tmp_path):
    """Would catch the advice to take the first of several classes; and a message of all columns."""
    text = "The columns ['a', 'b', 'c'] hold 0 and 1. 2 rows have no 1 or several, but each image "
    with pytest.raises(ValueError, match=re.escape(text)):
        read(csv_file("image,a,b,c\n1,1,1,0\n2,0,0,0\n3,0,1,0\n"), str(tmp_path))
    with pytest.raises(ValueError, match="1 rows have no 1 or several"):
        read(csv_file("image,a,b\n1,0,0\n2,1,0\n"), str(tmp_path))
    ones = pd.DataFrame(np.eye(300, dtype=int), columns=[f"class {i}" for i in range(300)])
    ones.insert(0, "image", range(300))
    for table in (ones, ones.assign(age=7)):
        with pytest.raises(ValueError, match="and 290 more hold 0 and 1") as caught:
            read(table, str(tmp_path))
        assert len(str(caught.value)) < 800


def test_columns_of_a_file_without_names_are_asked_for_by_position(csv_file, tmp_path):
    """Would catch the advice to name columns by what stands in the first row."""
    with pytest.raises(
        ValueError, match=re.escape("Select the columns, for example columns=(0, 1).")
    ):
        read(csv_file("1.png,cat,8\n2.png,dog,9\n"), str(tmp_path))


@pytest.mark.parametrize(
    ("content", "function"),
    [
        (b"PK\x03\x04\x14", "read_excel"),
        (b"PAR1\x15", "read_parquet"),
        (b"\x1f\x8b\x08", "read_csv"),
        (b'{"path": "1.png", "label": "cat"}\n', "read_json"),
        (b' [{"path": "1.png", "label": "cat"}]', "read_json"),
        (b'{"path": "1.png", "label": "cat"}\n{"path": "2.png", "label": "cat"}\n', "read_json"),
    ],
)
def test_tables_of_other_formats_name_the_function_that_reads_them(
    content, function, csv_file, tmp_path
):
    """Would catch a spreadsheet that is said to be in a wrong encoding."""
    path = csv_file(content)
    text = (
        "it is not a CSV file. Read it with pandas, and pass the DataFrame: "
        f"labels=pandas.{function}("
    )
    with pytest.raises(ValueError, match=re.escape(text)) as caught:
        read(path, str(tmp_path))
    assert ("lines=True" in str(caught.value)) is (b"\n{" in content)


def test_a_line_of_many_names_makes_no_long_message(csv_file, tmp_path):
    """Would catch a whole table in an error."""
    names = ",".join(f"{'column' * 50} {i}" for i in range(500))
    with pytest.raises(ValueError, match="and 490 more") as caught:
        read(csv_file(f"{names}\n"), str(tmp_path))
    assert len(str(caught.value)) < 2500


def test_commas_quotes_newlines_and_letters_in_fields(csv_file, tmp_path):
    """Would catch lines that are split at commas, and an encoding that depends on the system."""
    content = (
        'path,label\n"cat, black.png","a ""cat"", asleep"\n"two\nlines.png",Kätzchen\n猫.png,猫\n'
    )
    names, labels = read(csv_file(content), str(tmp_path))
    assert names == ["cat, black.png", "two\nlines.png", "猫.png"]
    assert labels == ['a "cat", asleep', "Kätzchen", "猫"]


@pytest.mark.parametrize("first", ["1.png", "1.jpeg", "b/1.TIFF", "gone.webp"])
def test_a_first_line_with_the_name_of_an_image_is_a_row(first, csv_file, tmp_path):
    """Would catch a missing first file that is taken for a name of a column, and never named."""
    names, labels = read(csv_file(f"{first},cat\n2.png,dog\n"), str(tmp_path))
    assert (names, labels) == ([first, "2.png"], ["cat", "dog"])


def test_a_first_line_with_the_name_of_a_file_there_is_a_row(csv_file, tmp_path):
    """Would catch a row that is lost since its file has no extension; both sides."""
    content = "0001,cat\n0002,dog\n"
    assert read(csv_file(content), str(tmp_path))[0] == ["0002"]
    (tmp_path / "0001").touch()
    assert read(csv_file(content), str(tmp_path))[0] == ["0001", "0002"]


def test_columns_named_path_and_label_are_names_whatever_files_there_are(csv_file, tmp_path):
    """Would catch a file called "path" that makes a row of the line of names."""
    (tmp_path / "path").touch()
    assert read(csv_file("path,label\n1.png,cat\n"), str(tmp_path))[0] == ["1.png"]


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ("", " has no rows."),
        ("\n \n,\n", " has no rows."),
        ("path,label\n", " has no rows."),
        (
            "path,label\n1.png,cat\n\n2.png\n",
            ": line 4 has 1 field, but the first line has 2. All lines must",
        ),
        ("path,label\n1.png,cat,8\n", ": line 2 has 3 fields, but the first line has 2. All lines"),
        ("1.png,cat\n2.png,cat,\n", ": line 2 has 3 fields, but the first line has 2. All lines"),
        ("path,label\n1.png,\n", ", line 2 has no label: path '1.png'."),
        ('path,label\n1.png,cat\n"\n.png",  \n', ", line 4 has no label: path '\\n.png'."),
        ("path,label\n,cat\n", ", line 2: path must be the name of a file. Got ''."),
        (
            "a,b,split\n1.png,cat,train\n",
            " must have the columns 'path' and 'label', or two columns. Got 'a', 'b', "
            "'split'. Select the columns, for example columns=('a', 'b').",
        ),
        (
            "path,label,label\n1.png,cat,dog\n",
            " must have the columns 'path' and 'label', or two columns. Got 'path', 'label', "
            "'label'. Select the columns, for example columns=('path', 'label').",
        ),
        (
            "path,label\nkätzchen.png,cat\n".encode("latin-1"),
            " cannot be read: it must be a CSV file in UTF-8 or UTF-16, but line 2 has another "
            "encoding. Read it with pandas",
        ),
        (
            b"path,label\n" + b"a" * 200_000 + b",cat\n",
            " cannot be read: it must be a CSV file, but a field in line 2 has more than 131,072 "
            "characters. A quotation mark before it may not be closed.",
        ),
        (
            "# made by hand\npath,label\n1.png,cat\n",
            ": line 2 has 2 fields, but the first line has 1. All lines must have the "
            "same number of fields. Remove comment lines",
        ),
    ],
    ids=lambda value: value.strip(" .:,")[:30] if isinstance(value, str) else "bytes",
)
def test_csv_files_with_a_mistake(content, error, csv_file, tmp_path):
    """Would catch a raw error, or one that does not say in which line of the file to look."""
    path = csv_file(content)
    with pytest.raises(ValueError, match=says(f"labels={str(path)!r}{error}")):
        read(path, str(tmp_path))


def test_rows_given_twice_count_twice(csv_file, tmp_path):
    """Would catch weights beside the table that no longer fit to the files."""
    table = csv_file("path,label\n1.png,cat\n2.png,dog\n./1.png,cat\n")
    assert read(table, str(tmp_path)) == (
        ["1.png", "2.png", "1.png"],
        ["cat", "dog", "cat"],
    )


def test_absolute_paths_in_the_folder(csv_file, tmp_path):
    """Both sides: a table made by glob names files in the folder, and in one beside it."""
    table = csv_file(f"path,label\n{tmp_path}/b/1.png,cat\n{tmp_path}/b/../2.png,dog\n")
    assert read(table, str(tmp_path))[0] == ["b/1.png", "2.png"]
    with pytest.raises(ValueError, match="is outside of container_path"):
        read(csv_file(f"path,label\n{tmp_path}2/1.png,cat\n"), str(tmp_path))


WAYS_OUT = ["../1.png", "b/../../1.png", "..", "/etc/passwd", "//1.png", "./../1.png"]


@pytest.mark.parametrize("path", WAYS_OUT)
def test_paths_that_lead_out_of_the_folder(path, csv_file, tmp_path):
    """Would catch a table from a stranger that has files read which are none of its business."""
    table = csv_file(f"path,label\n1.png,cat\n{path},dog\n")
    text = (
        f"line 3: path {path!r} is outside of container_path={str(tmp_path)!r}. Paths must be "
        "inside it. ImageReader takes any path, without load_image_folder."
    )
    with pytest.raises(ValueError, match=re.escape(text)):
        label(table, str(tmp_path))
    frame = pd.DataFrame({"path": ["1.png", path], "label": ["cat", "dog"]})
    with pytest.raises(ValueError, match=re.escape(text.replace("line 3", "labels, row 1"))):
        label(frame, str(tmp_path))


@pytest.mark.parametrize("path", ["..a.png", "b/..png", "...", "a/../1.png"])
def test_paths_that_only_look_as_if_they_led_out(path, csv_file, tmp_path):
    """The other side: two dots in a name are a name."""
    names, _ = read(csv_file(f"path,label\n{path},dog\n"), str(tmp_path))
    assert names == [path.removeprefix("a/../")]


FRAME = pd.DataFrame({"path": PETS[0], "label": PETS[1]})


@pytest.mark.parametrize(
    "frame",
    [
        FRAME,
        FRAME[["label", "path"]],
        FRAME.assign(width=8)[["width", "label", "path"]],
        FRAME.set_axis(["file", "class"], axis=1),
        FRAME.set_axis([0, 1], axis=1),
        FRAME.set_axis([7, 7, 7]),
        FRAME.astype(object),
        FRAME.astype("category"),
        FRAME.astype("string"),
        FRAME.assign(path=FRAME["path"].map(Path)),
        FRAME.set_index("path"),
        FRAME.set_index("path").assign(width=8),
        FRAME.set_index("path").rename_axis("image_id").assign(width=8),
        FRAME.rename(columns={"path": "image", "label": "species"}).assign(width=8),
        FRAME.set_axis(["where", "species"], axis=1),
        pl.DataFrame(FRAME.to_dict("list")),
        pl.DataFrame(FRAME.to_dict("list")).select("label", "path"),
    ],
    ids=[
        "plain",
        "columns change places",
        "further columns",
        "other names",
        "numbers for names",
        "index",
        "object",
        "category",
        "string",
        "Path",
        "path is the index",
        "path is the index, further columns",
        "image_id is the index",
        "image and species",
        "one known name",
        "polars",
        "polars, columns change places",
    ],
)
def test_data_frames_that_say_the_same(frame, tmp_path):
    """Would catch a row found by its label in the index, or a dtype that keeps NumPy's types."""
    assert read(frame, str(tmp_path)) == PETS


def test_an_index_of_files_without_a_name(tmp_path):
    """Would catch files that are looked for in a column, where the index has them; both sides."""
    (tmp_path / "1.png").touch()
    frame = FRAME.set_index("path").rename_axis(None).assign(width=8)
    assert read(frame, str(tmp_path)) == PETS
    frame = FRAME.set_axis(["1.png", "2.png", "x"])
    assert read(frame, str(tmp_path)) == PETS
    assert read(FRAME.set_index("path"), str(tmp_path), ("path", "label")) == PETS


def test_numbers_as_names_of_files(tmp_path):
    """Would catch ids that pandas has read as numbers, refused though their files are there."""
    frame = pd.DataFrame({"image_id": [1, 2], "age": [3, 4], "label": ["a", "b"]})
    for name in ("1.png", "2.png"):
        (tmp_path / name).touch()
    assert read(frame, str(tmp_path)) == (["1.png", "2.png"], ["a", "b"])


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([0, 1], [0, 1]),
        (np.array([0, 1], dtype=np.int8), [0, 1]),
        (pd.array([0, 1], dtype="Int64"), [0, 1]),
        ([False, True], [False, True]),
        ([0.5, 1.0], [0.5, 1.0]),
        (["0", 1], ["0", 1]),
    ],
    ids=str,
)
def test_labels_of_a_data_frame_stay_what_they_are(labels, expected, tmp_path):
    """Would catch integers that become text, or NumPy's integers in target_names."""
    frame = pd.DataFrame({"path": ["1.png", "2.png"], "label": labels})
    found = read(frame, str(tmp_path))[1]
    assert found == expected
    assert list(map(type, found)) == list(map(type, expected))


@pytest.mark.parametrize(
    "labels",
    [
        ["cat", None],
        ["cat", ""],
        ["cat", " "],
        ["cat", float("nan")],
        [1.0, float("nan")],
        pd.array([1, None], dtype="Int64"),
        pd.array(["cat", None], dtype="string"),
        [datetime.datetime(2020, 1, 1), pd.NaT],
        [True, pd.NA],
    ],
    ids=str,
)
def test_rows_without_a_label(labels, tmp_path):
    """Would catch NaN that becomes a class, and NA whose truth cannot be told."""
    frame = pd.DataFrame({"path": ["1.png", "2.png"], "label": labels})
    if isinstance(labels, list):
        frame["label"] = pd.Series(labels, dtype=object)
    with pytest.raises(ValueError, match=r"^labels, row 1 has no label: path '2.png'\.$"):
        read(frame, str(tmp_path))
    with pytest.raises(ValueError, match=r"'2.png'\. In total, 3 rows have none\.$"):
        read(pd.concat([frame] * 3, ignore_index=True), str(tmp_path))


@pytest.mark.parametrize("missing", [None, "nan"])
def test_rows_of_polars_without_a_label(missing, tmp_path):
    """Would catch null, which polars gives where pandas gives NaN."""
    column = pl.Series([1.0, None if missing is None else float(missing)])
    frame = pl.DataFrame({"path": ["1.png", "2.png"], "label": column})
    with pytest.raises(ValueError, match=r"^labels, row 1 has no label: path '2.png'\.$"):
        read(frame, str(tmp_path))


@pytest.mark.parametrize("path", [None, float("nan"), 7.5, True, "", b"2.png"], ids=repr)
def test_rows_without_a_path(path, tmp_path):
    """Would catch a missing path that is looked for as a file called "nan"."""
    frame = pd.DataFrame({"path": pd.Series(["1.png", path], dtype=object), "label": [0, 1]})
    text = "labels, row 1: path must be the name of a file. Got "
    with pytest.raises(ValueError, match=says(text)):
        read(frame, str(tmp_path))


@pytest.mark.parametrize(
    ("frame", "error"),
    [
        (FRAME[["label"]], "labels must have the columns 'path' and 'label', or two columns"),
        (FRAME[:0], "labels has no rows."),
        (pd.DataFrame(), "labels must have the columns 'path' and 'label', or two columns"),
        (
            pd.DataFrame({"id;species": ["1;cat"]}),
            "labels must have the columns 'path' and 'label', or two columns. Got 'id;species'. "
            "Its only column contains ';'. Read it with sep=';', or pass the path of the file.",
        ),
        (
            pd.DataFrame({"id\tspecies": ["1\tcat"]}),
            r"labels must have the columns 'path' and 'label', or two columns. Got 'id\tspecies'. "
            r"Its only column contains '\t'. Read it with sep='\t'",
        ),
    ],
    ids=["one column", "no rows", "nothing", "semicolons", "tabs"],
)
def test_data_frames_with_a_mistake(frame, error, tmp_path):
    """Would catch a raw error of pandas where the message should say what is expected."""
    with pytest.raises(ValueError, match=says(error)):
        read(frame, str(tmp_path))


@pytest.mark.parametrize(
    "table", [["cat", "dog"], {"path": ["1.png"], "label": ["cat"]}, FRAME["label"], np.eye(2)]
)
def test_what_is_neither_a_path_nor_a_data_frame(table, tmp_path):
    """Would catch "expected str, bytes or os.PathLike object, not list", which helps nobody."""
    text = f"or None. Got {type(table).__name__}. Convert lists to a DataFrame: pandas.DataFrame("
    with pytest.raises(TypeError, match=re.escape(text)):
        read(table, str(tmp_path))


@pytest.mark.parametrize("path", ["infered", "gone.csv", "."])
def test_a_path_without_a_file(path, tmp_path, monkeypatch):
    """Would catch a misspelt word that is told as a missing file, without what may be given."""
    monkeypatch.chdir(tmp_path)
    text = f"labels={path!r} is not a file. labels must be 'inferred', the path of a CSV file, a "
    with pytest.raises(FileNotFoundError, match=says(text)):
        read(path, str(tmp_path))


@pytest.mark.parametrize("encoding", ["utf-32", "utf-16", "utf-16-le", "utf-16-be", "utf-8-sig"])
def test_tables_in_every_form_of_unicode_with_a_mark(encoding, csv_file, tmp_path):
    """Would catch UTF-32 read as UTF-16 with a zero after each character."""
    path = csv_file("path,label\n1.png,Kätzchen\n2.png,dog\n".encode(encoding))
    assert read(path, str(tmp_path)) == (["1.png", "2.png"], ["Kätzchen", "dog"])
