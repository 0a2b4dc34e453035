"""A table that says which image file has which label: a CSV file or a DataFrame."""

import codecs
import csv
import io
import os
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from sklearn_cnn._messages import join_some, name_some
from sklearn_cnn.files.scan import EXTENSIONS, has_extension

PATH_COLUMNS = (
    "path", "filepath", "imagepath", "imgpath", "filename", "imagefilename", "imagefile",
    "imgfile", "file", "fname", "imagename", "imgname", "image", "images", "img", "picture",
    "photo", "imageid", "imgid", "isicid", "fileid", "idcode", "uuid", "id",
)  # fmt: skip
"""Names of columns of paths, in lower case and letters alone, the likeliest first."""

LABEL_COLUMNS = frozenset([
    "label", "labels", "class", "classes", "classname", "classlabel", "classid", "labelname",
    "labelid", "category", "categoryname", "categoryid", "target", "targetname", "species",
    "breed", "diagnosis", "dx", "y", "groundtruth",
])  # fmt: skip
"""Names of columns of labels, likewise."""

SEPARATORS = ",;\t|"

_MARKS = {codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32",
          codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}  # fmt: skip

_OTHER_FORMATS = {b"PK\3\4": "read_excel", b"\xd0\xcf\x11\xe0": "read_excel",
                  b"PAR1": "read_parquet", b"\x1f\x8b": "read_csv",
                  b"{": "read_json", b"[{": "read_json"}  # fmt: skip
"""First bytes of tables that pandas reads, and the function for it."""


class Row(NamedTuple):
    """The name of a file and its label, and where they stand, to be named in an error."""

    place: str
    name: str
    label: Any


class LabelsTable(NamedTuple):
    """The rows of a table.

    Attributes
    ----------
    origin : str
        What to call the table in an error.
    column : str
        What to call its column of names of files.
    rows : list of Row
        All of them with a name and a label.
    """

    origin: str
    column: str
    rows: list[Row]


class _Columns(NamedTuple):
    """A table whose columns are not chosen yet."""

    origin: str
    header: list[Any]
    values: Callable[[int], list[Any]]
    places: Callable[[int], str]


def find_table(table: Any, folder: str) -> Any:
    """Return a DataFrame as it is, or the path of a CSV file, looked for here and in the folder.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    TypeError
        If it is neither a path nor a DataFrame.
    """
    if hasattr(table, "columns"):
        return table
    if not isinstance(table, (str, os.PathLike)):
        raise TypeError(
            "labels must be 'inferred', the path of a CSV file, a DataFrame with the columns "
            f"'path' and 'label', or None. Got {type(table).__name__}. Of lists, make a DataFrame: "
            "pandas.DataFrame({'path': paths, 'label': labels})."
        )
    path = os.path.expanduser(os.fspath(table))
    for place in (path, os.path.join(folder, path)):
        if os.path.isfile(place):
            return place
    raise FileNotFoundError(
        f"labels={path!r} is no file. labels must be 'inferred', the path of a CSV file, a "
        "DataFrame with the columns 'path' and 'label', or None."
    )


def read_labels_table(
    table: Any, columns: Sequence[Any] | None, is_file: Callable[[str], bool]
) -> LabelsTable:
    """Read names of files and their labels.

    Parameters
    ----------
    table : str or DataFrame
        With columns whose names are known ones; or two columns. A CSV file may lack the line of
        names. The names of files may be the index of a DataFrame.
    columns : sequence of two str or int, or None
        The columns of the names and of the labels; None to find out.
    is_file : callable
        Whether there is a file of such a name.

    Returns
    -------
    LabelsTable
        Labels are strings from a CSV file, or what the DataFrame holds.

    Raises
    ------
    ValueError
        If the columns cannot be told, there are no rows, or a name or label is missing.
    """
    is_frame = hasattr(table, "columns")
    found = _open_frame(table, columns, is_file) if is_frame else _open_file(table, columns)
    chosen = _choose_columns(found, columns, is_file)
    first = 0 if is_frame or not _has_header(found.header, columns, chosen, is_file) else 1
    names, labels = (found.values(i)[first:] for i in chosen)
    if not names:
        raise ValueError(f"{found.origin} has no rows.")
    rows = []
    without = [i for i, label in enumerate(labels) if _is_missing(label)]
    if without:
        more = f" In all, {len(without):,} rows have none." if len(without) > 1 else ""
        raise ValueError(
            f"{found.origin}, {found.places(first + without[0])} has no label: path "
            f"{names[without[0]]!r}.{more}"
        )
    for i, (name, label) in enumerate(zip(names, labels, strict=True), first):
        if isinstance(name, int) and not isinstance(name, bool):
            name = str(name)  # a number of a file, without its ending
        if not isinstance(name, (str, os.PathLike)) or not os.fspath(name):
            remedy = (
                " pandas.read_csv(..., dtype=str) keeps text." if isinstance(name, float) else ""
            )
            raise ValueError(
                f"{found.origin}, {found.places(i)}: path must be a name of a file. Got {name!r}."
                f"{remedy}"
            )
        label = label if is_frame else label.strip()
        rows.append(Row(found.places(i), os.fspath(name), label))
    return LabelsTable(found.origin, str(found.header[chosen[0]]), rows)


def _open_frame(
    table: Any, columns: Sequence[Any] | None, is_file: Callable[[str], bool]
) -> _Columns:
    header = list(table.columns)
    named = columns is None and any(map(_path_rank, header))
    if columns is not None:
        named = columns[0] in header or isinstance(columns[0], int)
    index: Any = getattr(table, "index", None)
    if not named and getattr(index, "nlevels", 0) == 1 and hasattr(table, "reset_index"):
        is_named = _path_rank(index.name) or (columns and index.name == columns[0])
        if is_named or (len(index) and isinstance(index[0], str) and is_file(index[0])):
            table = table.reset_index() if is_named else table.reset_index(names="path")
            header = list(table.columns)

    def values(i: int) -> list[Any]:
        column = table.iloc[:, i] if hasattr(table, "iloc") else table[table.columns[i]]
        listed: list[Any] = np.asarray(column).tolist()
        return listed

    return _Columns("labels", header, values, "row {}".format)


def _open_file(path: str, columns: Sequence[Any] | None) -> _Columns:
    origin = f"labels={path!r}"
    lines = _read_lines(path, columns, origin)
    if not lines:
        raise ValueError(f"{origin} has no rows.")
    header = [name.strip() for name in lines[0][1]]
    for number, line in lines:
        if len(line) != len(header):
            raise ValueError(
                f"{origin}: line {number} has {len(line)} field{'s' * (len(line) > 1)}, and the "
                f"first has {len(header)}. All lines must have as many: leave out lines of "
                "comments, and quote fields that hold a separator or a line break."
            )
    return _Columns(
        origin,
        header,
        lambda i: [line[i] for _, line in lines],
        lambda i: f"line {lines[i][0]}",
    )


def _read_lines(
    path: str, columns: Sequence[Any] | None, origin: str
) -> list[tuple[int, list[str]]]:
    """Split a CSV file into fields, with the number of each line; empty lines are left out."""
    with open(path, "rb") as file:
        content = file.read()
    for start, function in _OTHER_FORMATS.items():
        if content.lstrip().startswith(start):
            lines = ", lines=True" if b"\n{" in content and function == "read_json" else ""
            raise ValueError(
                f"{origin} cannot be read: it is no CSV file. Read it with pandas, and pass the "
                f"DataFrame: labels=pandas.{function}({path!r}{lines})."
            )
    encoding = next((_MARKS[mark] for mark in _MARKS if content.startswith(mark)), "utf-8-sig")
    if encoding == "utf-8-sig" and b"\0" in content[:2]:
        encoding = "utf-16-le" if content[1:2] == b"\0" else "utf-16-be"
    try:
        text = content.decode(encoding)
        said = re.match(r"sep=(.)\r?\n", text)  # Excel's first line
        text = text[said.end() :] if said else text
        separator = said[1] if said else _find_separator(text, columns)
        reader = csv.reader(
            io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=separator != "\t"
        )
        offset = 1 if said else 0
        return [(reader.line_num + offset, line) for line in reader if any(map(str.strip, line))]
    except UnicodeDecodeError as error:
        number = content.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"{origin} cannot be read: it must be a CSV file in UTF-8 or UTF-16, and line {number} "
            "is in another encoding. Read such files with pandas, and pass the DataFrame: "
            f"labels=pandas.read_csv({path!r}, encoding='cp1252'), for example."
        ) from error
    except csv.Error as error:
        raise ValueError(
            f"{origin} cannot be read: it must be a CSV file, and a field in line "
            f"{reader.line_num + offset} has more than {csv.field_size_limit():,} characters. A "
            "quotation mark before it may lack the one that closes it."
        ) from error


def _find_separator(text: str, columns: Sequence[Any] | None) -> str:
    """Return the separator that tells the columns apart best."""

    def quality(separator: str) -> tuple[bool, int, bool, bool]:
        reader = csv.reader(io.StringIO(text[: 1 << 18], newline=""), delimiter=separator)
        lines = []
        with suppress(csv.Error):  # a field as long as that is cut by another separator
            lines = list(islice((line for line in reader if any(map(str.strip, line))), 20))
        if not lines or len(lines[0]) < 2:
            return False, 0, False, False
        names = [name.strip() for name in lines[0]]
        known = sum(_path_rank(name) > 0 or _is_label_column(name) for name in names)
        known += sum(name in names for name in columns or ())
        is_row = any(has_extension(name, EXTENSIONS) for name in names)
        return True, min(known, 2), is_row, len(set(map(len, lines))) == 1

    best = max(SEPARATORS, key=quality)  # of equal ones the first
    if not quality(best)[0] and quality(" ")[3]:
        return " "
    return best


def _has_header(
    header: list[str],
    columns: Sequence[Any] | None,
    chosen: Sequence[int],
    is_file: Callable[[str], bool],
) -> bool:
    """Whether the first line of a CSV file holds names of columns, and no file and its label."""
    if {"path", "label"} <= set(header) or any(isinstance(name, str) for name in columns or ()):
        return True
    if any(has_extension(name, EXTENSIONS) for name in header):
        return False
    known = _path_rank(header[chosen[0]]) or _is_label_column(header[chosen[1]])
    return bool(known) or not is_file(header[chosen[0]])


def _choose_columns(
    table: _Columns, columns: Sequence[Any] | None, is_file: Callable[[str], bool]
) -> tuple[int, int]:
    """Return which columns hold names of files and labels."""
    header = table.header
    if columns is not None:
        return _position(table, columns[0]), _position(table, columns[1])

    def starts_with_a_file(i: int) -> bool:
        first = table.values(i)[:2]
        return any(isinstance(name, str) and _may_be_file(name, is_file) for name in first)

    paths = sorted(filter(lambda i: _path_rank(header[i]), range(len(header))),
                   key=lambda i: -_path_rank(header[i]))  # fmt: skip
    labels = [i for i, name in enumerate(header) if _is_label_column(name)]
    if header.count("path") == 1:
        paths = [header.index("path")]
    if header.count("label") == 1:
        labels = [header.index("label")]
    paths = list(filter(starts_with_a_file, paths))[:1] or paths[:1]
    if header.count("path") < 2 and len(labels) < 2:
        if paths and labels:
            return paths[0], labels[0]
        if len(header) == 2:
            if paths or labels:
                path = paths[0] if paths else 1 - labels[0]
            else:
                path = 1 if starts_with_a_file(1) and not starts_with_a_file(0) else 0
            return path, 1 - path
    shown = join_some([repr(str(name)[:60]) for name in header])
    problem = f"{table.origin} must have the columns 'path' and 'label', or two columns. Got "
    problem += f"{shown}."
    zeros_and_ones = [i for i in range(len(header)) if i not in paths and _is_zero_or_one(table, i)]
    if paths and not labels and len(zeros_and_ones) > 1:
        raise ValueError(f"{problem} {_describe_one_hot(table, paths[0], zeros_and_ones)}")
    separator = next((s for s in ";\t|" if len(header) == 1 and s in str(header[0])), None)
    if separator is not None:
        problem += f" Its one column holds {separator!r}: read it with sep={separator!r}, or pass "
        problem += "the path of the file."
    if len(header) > 1:
        path = paths[0] if paths else 0
        label = labels[0] if labels else next(i for i in (1, 0) if i != path)
        is_row = any(isinstance(name, str) and has_extension(name, EXTENSIONS) for name in header)
        example = (path, label) if is_row else (header[path], header[label])
        problem += f" Say which they are: columns={example!r}, for example."
    raise ValueError(problem)


def _describe_one_hot(table: _Columns, path: int, zeros_and_ones: list[int]) -> str:
    """Say how a column of 0 and 1 for each class becomes one of labels."""
    names, is_frame = [table.header[i] for i in zeros_and_ones], table.origin == "labels"
    ones = np.array([table.values(i)[0 if is_frame else 1 :] for i in zeros_and_ones], dtype=object)
    counts = np.isin(ones.astype(str), ["1", "1.0", "True"]).sum(axis=0)
    said = f"The columns {name_some(names)} hold 0 and 1."
    if (counts != 1).any():
        return (
            f"{said} {int((counts != 1).sum()):,} rows have none or several 1, and an image has "
            "one label: choose one of the columns, columns="
            f"({table.header[path]!r}, {names[0]!r}) for example."
        )
    chosen = "" if len(names) == len(table.header) - 1 else f"[{names!r}]"
    if len(chosen) > 500:
        chosen = "[[...]]"
    name = table.header[path]
    frame = f"pandas.read_csv({table.origin[7:]}, dtype={{{name!r}: str}})"
    frame = "labels" if is_frame else frame
    return (
        f"{said} Make one column of labels: labels={frame}.set_index({name!r})"
        f"{chosen}.idxmax(axis=1).to_frame('label')."
    )


def _may_be_file(name: str, is_file: Callable[[str], bool]) -> bool:
    return has_extension(name.strip(), EXTENSIONS) or is_file(name)


def _position(table: _Columns, column: Any) -> int:
    if table.header.count(column) == 1:
        return table.header.index(column)
    n_columns = len(table.header)
    if isinstance(column, (int, np.integer)) and -n_columns <= column < n_columns:
        return int(column) % n_columns
    raise ValueError(
        f"columns names {column!r}, and {table.origin} has the columns {name_some(table.header)}."
    )


def _plain(name: Any) -> str:
    return re.sub(r"[\W_]+", "", name).lower() if isinstance(name, str) else ""


def _path_rank(name: Any) -> int:
    """Return how likely a column of this name holds paths, or 0."""
    plain = _plain(name)
    return len(PATH_COLUMNS) - PATH_COLUMNS.index(plain) if plain in PATH_COLUMNS else 0


def _is_label_column(name: Any) -> bool:
    return _plain(name) in LABEL_COLUMNS


def _is_zero_or_one(table: _Columns, column: int) -> bool:
    values = table.values(column)[0 if table.origin == "labels" else 1 :]  # below the name
    return bool(values) and {str(value).strip() for value in values} <= {
        "0", "1", "0.0", "1.0", "True", "False",
    }  # fmt: skip


def _is_missing(label: Any) -> bool:
    if label is None or (isinstance(label, str) and not label.strip()):
        return True
    try:
        return bool(label != label)  # NaN, NaT
    except TypeError:  # pandas.NA
        return True
