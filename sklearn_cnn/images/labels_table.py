"""A table that says which image file has which label: a CSV file or a DataFrame."""

import csv
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

COLUMNS = ("path", "label")


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
        Relative paths, each once.
    labels : list
        Strings of a CSV file, else what the DataFrame holds.

    Raises
    ------
    ValueError
        If it has other columns, no rows, a missing label, a path outside the folder, or two labels
        for one path.
    """
    if hasattr(table, "columns"):
        header = [str(name) for name in table.columns]
        where = _find_columns(header, "labels")
        columns = [np.asarray(table[table.columns[i]]).tolist() for i in where]
        rows = list(zip(*columns, strict=True))
        origin = "labels"
    else:
        rows = _read_csv(table, folder)
        origin = f"labels={os.fspath(table)!r}"
    if not rows:
        raise ValueError(f"{origin} has no rows.")
    found: dict[str, Any] = {}
    for i, (name, label) in enumerate(rows):
        if label is None or label != label or label == "":
            raise ValueError(f"{origin}, row {i} has no label: path {name!r}.")
        name = _check_name(name, origin, i)
        if found.setdefault(name, label) != label:
            raise ValueError(
                f"{origin} has two labels for {name!r}: {found[name]!r} and {label!r}."
            )
    return list(found), list(found.values())


def _read_csv(path: Any, folder: str) -> list[tuple[str, str]]:
    with open(path, newline="", encoding="utf-8-sig") as file:
        lines = [line for line in csv.reader(file) if line]
    if not lines:
        return []
    header = [name.strip() for name in lines[0]]
    where = _find_columns(header, f"labels={os.fspath(path)!r}")
    short = [i for i, line in enumerate(lines) if len(line) != len(header)]
    if short:
        raise ValueError(
            f"labels={os.fspath(path)!r}: line {short[0] + 1} has {len(lines[short[0]])} fields, "
            f"and the first has {len(header)}."
        )
    rows = [(line[where[0]], line[where[1]].strip()) for line in lines]
    is_named = set(COLUMNS) <= set(header)
    begins_with_a_file = os.path.isfile(os.path.join(folder, rows[0][0]))
    return rows if begins_with_a_file and not is_named else rows[1:]


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


def _check_name(name: Any, origin: str, row: int) -> str:
    """Return a relative path in its plain form, refusing what leads out of the folder."""
    if not isinstance(name, (str, os.PathLike)) or not os.fspath(name):
        raise ValueError(f"{origin}, row {row}: path must be a name of a file. Got {name!r}.")
    plain = os.path.normpath(os.fspath(name))
    if os.path.isabs(plain) or plain.split(os.sep)[0] == os.pardir:
        raise ValueError(
            f"{origin}, row {row}: path {os.fspath(name)!r} leads out of the folder. Paths must be "
            "relative to container_path, and lie in it."
        )
    return plain
