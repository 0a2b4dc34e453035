"""A table that says which image file has which label: a CSV file or a DataFrame."""

import csv
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from sklearn_cnn.images.walk import EXTENSIONS, has_extension

COLUMNS = ("path", "label")


class Row(NamedTuple):
    """A path and its label, and where they stand, to be named in an error."""

    place: str
    name: Any
    label: Any


def read_labels_table(table: Any, folder: str) -> tuple[list[str], list[Any]]:
    """Read names of files and their labels.

    Parameters
    ----------
    table : path or DataFrame
        With the columns "path", relative to the folder, and "label"; or with two columns in this
        order, of any names. A CSV file may also lack the line of names.
    folder : str
        Where the files lie.

    Returns
    -------
    names : list of str
        Relative paths; a row that is given twice counts twice.
    labels : list
        Strings of a CSV file, else what the DataFrame holds.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    TypeError
        If it is neither a path nor a DataFrame.
    ValueError
        If it has other columns, no rows, a missing label, a path outside the folder, or two labels
        for one path.
    """
    if hasattr(table, "columns"):
        origin = "labels"
        rows = _read_frame(table)
    elif isinstance(table, (str, os.PathLike)):
        origin = f"labels={os.fspath(table)!r}"
        rows = _read_csv(table, folder, origin)
    else:
        raise TypeError(
            "labels must be 'inferred', the path of a CSV file, a DataFrame with the columns "
            f"'path' and 'label', or None. Got {type(table).__name__}. Of lists, make a DataFrame: "
            "pandas.DataFrame({'path': paths, 'label': labels})."
        )
    if not rows:
        raise ValueError(f"{origin} has no rows.")
    names: list[str] = []
    found: dict[str, Any] = {}
    for place, name, label in rows:
        if _is_missing(label):
            raise ValueError(f"{origin}, {place} has no label: path {name!r}.")
        name = _check_name(name, folder, f"{origin}, {place}")
        names.append(name)
        if found.setdefault(name, label) != label:
            raise ValueError(
                f"{origin} has two labels for {name!r}: {found[name]!r} and {label!r}."
            )
    return names, [found[name] for name in names]


def _read_frame(table: Any) -> list[Row]:
    header = [str(name) for name in table.columns]
    columns = [
        np.asarray(table[table.columns[i]]).tolist() for i in _find_columns(header, "labels")
    ]
    return [
        Row(f"row {i}", name, label) for i, (name, label) in enumerate(zip(*columns, strict=True))
    ]


def _read_csv(path: Any, folder: str, origin: str) -> list[Row]:
    if not os.path.isfile(path):
        raise FileNotFoundError(
            f"{origin} is no file. labels must be 'inferred', the path of a CSV file, a DataFrame "
            "with the columns 'path' and 'label', or None."
        )
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            lines = [(reader.line_num, line) for line in reader if any(map(str.strip, line))]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(
            f"{origin} cannot be read: it must be a CSV file in UTF-8, with commas. {error}."
        ) from error
    if not lines:
        return []
    header = [name.strip() for name in lines[0][1]]
    path_column, label_column = _find_columns(header, origin)
    for number, line in lines:
        if len(line) != len(header):
            raise ValueError(
                f"{origin}: line {number} has {len(line)} fields, and the first has {len(header)}."
            )
    rows = [
        Row(f"line {number}", line[path_column], line[label_column].strip())
        for number, line in lines
    ]
    is_named = set(COLUMNS) <= set(header)
    return rows if not is_named and _names_a_file(rows[0].name, folder) else rows[1:]


def _names_a_file(text: str, folder: str) -> bool:
    """Whether the first field of a file is a path, and so the file has no line of names."""
    return has_extension(text, EXTENSIONS) or os.path.isfile(os.path.join(folder, text))


def _find_columns(header: Sequence[str], origin: str) -> list[int]:
    """Return which columns hold path and label."""
    if all(header.count(name) == 1 for name in COLUMNS):
        return [header.index(name) for name in COLUMNS]
    if len(header) == 2:
        return [0, 1]
    raise ValueError(
        f"{origin} must have the columns 'path' and 'label', or two columns in this order. Got "
        f"{', '.join(map(repr, header[:10]))}."
    )


def _is_missing(label: Any) -> bool:
    if label is None or (isinstance(label, str) and not label.strip()):
        return True
    try:
        return bool(label != label)  # NaN, NaT
    except TypeError:  # pandas.NA
        return True


def _check_name(name: Any, folder: str, place: str) -> str:
    """Return a path relative to the folder in its plain form, refusing what leads out of it."""
    if not isinstance(name, (str, os.PathLike)) or not os.fspath(name):
        raise ValueError(f"{place}: path must be a name of a file. Got {name!r}.")
    plain = os.path.normpath(os.fspath(name))
    if os.path.isabs(plain):
        parent = os.path.join(os.path.abspath(folder), "")
        plain = plain.removeprefix(parent)
    leads_out = plain.split(os.sep)[0] == os.pardir or os.path.splitdrive(plain)[0]
    if leads_out or plain.startswith(os.sep):
        raise ValueError(
            f"{place}: path {os.fspath(name)!r} leads out of container_path={folder!r}. Paths must "
            "lie in it; others need no load_image_folder, since ImageReader takes any path."
        )
    return plain
