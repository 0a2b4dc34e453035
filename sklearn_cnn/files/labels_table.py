"""Tables of labels: CSV files and DataFrames that name image files and their labels."""

import codecs
import csv
import io
import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from sklearn_cnn._messages import join_some, name_some
from sklearn_cnn.files.scan import (
    AMBIGUOUS,
    EXTENSIONS,
    NOT_FOLLOWED,
    Locator,
    Scan,
    ScanOptions,
    has_extension,
)
from sklearn_cnn.files.sources import Frame, is_frame

PATH_COLUMNS = (
    "path", "filepath", "imagepath", "imgpath", "filename", "imagefilename", "imagefile",
    "imgfile", "file", "fname", "imagename", "imgname", "image", "images", "img", "picture",
    "photo", "imageid", "imgid", "isicid", "fileid", "idcode", "uuid", "id",
)  # fmt: skip
"""Names of path columns, in lower case and only letters, the most likely first."""

LABEL_COLUMNS = frozenset([
    "label", "labels", "class", "classes", "classname", "classlabel", "classid", "labelname",
    "labelid", "category", "categoryname", "categoryid", "target", "targetname", "species",
    "breed", "diagnosis", "dx", "y", "groundtruth",
])  # fmt: skip
"""Names of label columns, in the same form."""

LEAVE_OUT = "Pass on_error='skip' to leave them out."
"""The general remedy for files that cannot be read."""

SEPARATORS = ",;\t|"

_MARKS = {codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32",
          codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}  # fmt: skip

_OTHER_FORMATS = {b"PK\3\4": "read_excel", b"\xd0\xcf\x11\xe0": "read_excel",
                  b"PAR1": "read_parquet", b"\x1f\x8b": "read_csv",
                  b"{": "read_json", b"[{": "read_json"}  # fmt: skip
"""First bytes of tables that pandas can read, and its function for them."""


Columns = Sequence[object] | None
"""The columns of file names and labels, by name or position; None to infer them."""

IsFile = Callable[[str], bool]
"""Function that tells whether a name is that of a file."""


class Row(NamedTuple):
    """The name of a file, its label, and the position in the table, for errors."""

    place: str
    name: str
    label: Any


class LabelsTable(NamedTuple):
    """The rows of a table.

    Attributes
    ----------
    origin : str
        Name of the table in errors.
    column : str
        Name of its column of file names in errors.
    rows : list of Row
        All rows, each with a file name and a label.
    """

    origin: str
    column: str
    rows: list[Row]


@dataclass(frozen=True)
class _Table:
    """A table whose columns are not yet chosen.

    Attributes
    ----------
    path : str or None
        Path of the CSV file; None for a DataFrame.
    header : list
        Names of columns, or the first line of a file, which may be a row.
    column : callable
        Function that returns all values of a column, including the first line of a file.
    place : callable
        Function that names the row of an index.
    """

    path: str | None
    header: Sequence[object]
    column: Callable[[int], list[Any]]
    place: Callable[[int], str]

    @property
    def origin(self) -> str:
        return "labels" if self.path is None else f"labels={self.path!r}"

    def below_header(self, i: int) -> list[Any]:
        return self.column(i)[self.path is not None :]


@dataclass(frozen=True)
class Labelled:
    """Image files and their classes, taken from folders or a table.

    Attributes
    ----------
    files : list of str
        Paths of the files.
    target : list of int or None
        Class of each file, as an index into ``classes``.
    classes : list
        Names of the classes.
    scans : dict of str to Scan
        Scans of the class folders, or of the whole folder under "".
    beside : Scan
        Scan of the files next to the class folders.
    unreadable : dict of str to str
        Folders and files that cannot be read, with the reasons.
    remedy : str
        Remedy for these.
    notes : list of str
        Texts of warnings.
    """

    files: list[str]
    target: list[int] | None
    classes: list[Any]
    scans: dict[str, Scan] = field(default_factory=dict)
    beside: Scan = field(default_factory=Scan)
    unreadable: dict[str, str] = field(default_factory=dict)
    remedy: str = LEAVE_OUT
    notes: list[str] = field(default_factory=list)


def label_by_table(
    folder: str,
    labels: object,
    columns: Columns,
    wanted: list[Any] | None,
    options: ScanOptions,
) -> Labelled:
    """Take files and their labels from a table, in its order: those of some classes, or all.

    The parameters are those of load_image_folder, validated. ``labels`` is a path or a DataFrame.
    """
    table = find_table(labels, folder)
    beside = os.path.dirname(os.path.abspath(table)) if isinstance(table, str) else None
    locator = Locator(folder, beside, options)
    origin, column, rows = read_labels_table(table, columns, locator.has)
    try:
        present = {row.label for row in rows}
        classes = sorted(present) if wanted is None else wanted
    except TypeError:
        kinds = ", ".join(sorted({type(row.label).__name__ for row in rows}))
        raise ValueError(
            "The labels of the table must all be strings, or all be numbers, so that they can be "
            f"sorted. Got labels of type {kinds}."
        ) from None
    notes = []
    missing = [name for name in classes if name not in present]
    if missing:
        notes.append(
            f"No row of labels has the classes {name_some(missing)}. Its labels are "
            f"{name_some(sorted(present, key=str))}."
        )
    if wanted is None:
        notes += describe_names_alike(classes)
    numbers = {name: number for number, name in enumerate(classes)}
    files, target = [], []
    unreadable: dict[str, str] = {}
    labels_of: dict[str, object] = {}
    for place, name, label in rows:
        try:
            path, problem = locator.find(name)
        except ValueError as error:
            raise ValueError(f"{origin}, {place}: {error}") from None
        if labels_of.setdefault(path, label) != label:
            raise ValueError(
                f"{origin} has two labels for {os.path.relpath(path, folder)!r}: "
                f"{labels_of[path]!r} and {label!r}."
            )
        if label not in numbers:
            continue
        if problem is None:
            files.append(path)
            target.append(numbers[label])
        else:
            unreadable[path] = problem
    remedy = LEAVE_OUT
    if set(unreadable.values()) == {NOT_FOLLOWED}:
        remedy = "Pass follow_links=True to follow links, or on_error='skip' to leave them out."
    elif all(problem.startswith(AMBIGUOUS) for problem in unreadable.values()):
        remedy = (
            "Make the names in the table unambiguous by adding folders or extensions, or restrict "
            "extensions=. Or pass on_error='skip' to leave them out."
        )
    elif not files:
        remedy = _remedy_for_none(column, rows[0].name, isinstance(table, str))
    return Labelled(files, target, classes, unreadable=unreadable, remedy=remedy, notes=notes)


def _remedy_for_none(column: str, name: str, is_csv: bool) -> str:
    """Return the remedy for a table none of whose files is found."""
    remedy = (
        f"None of the files in the column {column!r} is found. columns=(path, label) selects the "
        "columns to read. File names are relative to container_path, and may omit their "
        "extensions."
    )
    if not name.isdecimal():
        return remedy
    read_text = "read the table with pandas.read_csv(..., dtype=str)."
    way_out = "restore them; spreadsheets remove leading zeros." if is_csv else read_text
    return f"{remedy} If these numbers have lost their leading zeros, {way_out}"


def describe_names_alike(classes: Iterable[object]) -> list[str]:
    """Return a note about names that may mean the same class, or no note."""
    alike = names_alike(name for name in classes if isinstance(name, str))
    note = (
        f"The names of some classes only differ in case or spaces: {name_some(alike)}. If they are "
        "one class, give them the same name. If not, pass classes=[...]."
    )
    return [note] if alike else []


def names_alike(names: Iterable[str]) -> list[str]:
    """Return names that only differ in case or spaces, except single letters."""
    groups = defaultdict(list)
    for name in names:
        plain = " ".join(unicodedata.normalize("NFKC", name).casefold().split())
        if len(plain) > 1:
            groups[plain].append(name)
    return [name for group in groups.values() if len(group) > 1 for name in group]


def find_table(table: object, folder: str) -> Frame | str:
    """Return a DataFrame unchanged, or the path of a CSV file, here or in the folder."""
    if is_frame(table):
        return table
    accepted = (
        "labels must be 'inferred', the path of a CSV file, a DataFrame with the columns 'path' "
        "and 'label', or None."
    )
    if not isinstance(table, (str, os.PathLike)):
        raise TypeError(
            f"{accepted} Got {type(table).__name__}. Convert lists to a DataFrame: "
            "pandas.DataFrame({'path': paths, 'label': labels})."
        )
    path = os.path.expanduser(os.fspath(table))
    for place in (path, os.path.join(folder, path)):
        if os.path.isfile(place):
            return place
    raise FileNotFoundError(f"labels={path!r} is not a file. {accepted}")


def read_labels_table(labels: Frame | str, columns: Columns, is_file: IsFile) -> LabelsTable:
    """Read file names and labels: strings from a CSV file, or the values of a DataFrame.

    Columns are recognised by their names, or are the only two. A CSV file may have no header. The
    file names may be the index of a DataFrame.
    """
    if isinstance(labels, str):
        table = _open_file(labels, columns)
    else:
        table = _open_frame(labels, columns, is_file)
    chosen = _choose_columns(table, columns, is_file)
    first = int(table.path is not None and _has_header(table, columns, chosen, is_file))
    path_column, label_column = map(table.column, chosen)
    numbered = list(enumerate(zip(path_column, label_column, strict=True)))[first:]
    if not numbered:
        raise ValueError(f"{table.origin} has no rows.")
    without = [(i, name) for i, (name, label) in numbered if _is_missing(label)]
    if without:
        i, name = without[0]
        more = f" In total, {len(without):,} rows have none." if len(without) > 1 else ""
        raise ValueError(f"{table.origin}, {table.place(i)} has no label: path {name!r}.{more}")
    rows = []
    for i, (name, label) in numbered:
        if isinstance(name, int) and not isinstance(name, bool):
            name = str(name)  # the number of a file, without its extension
        if not isinstance(name, (str, os.PathLike)) or not os.fspath(name):
            keeps_text = " Use pandas.read_csv(..., dtype=str) to keep text."
            raise ValueError(
                f"{table.origin}, {table.place(i)}: path must be the name of a file. Got {name!r}."
                f"{keeps_text if isinstance(name, float) else ''}"
            )
        label = label if table.path is None else label.strip()
        rows.append(Row(table.place(i), os.fspath(name), label))
    return LabelsTable(table.origin, str(table.header[chosen[0]]), rows)


def _open_frame(frame: Any, columns: Columns, is_file: IsFile) -> _Table:
    """Open a DataFrame, with its index as a column if it holds the file names."""
    if columns is None:
        named = any(map(_path_rank, frame.columns))
    else:
        named = columns[0] in list(frame.columns) or isinstance(columns[0], int)
    index: Any = getattr(frame, "index", None)
    if not named and getattr(index, "nlevels", 0) == 1:  # pandas' own
        is_named = _path_rank(index.name) or (columns and index.name == columns[0])
        if is_named or (len(index) and isinstance(index[0], str) and is_file(index[0])):
            frame = frame.reset_index() if is_named else frame.reset_index(names="path")
    header = list(frame.columns)

    def column(i: int) -> Any:
        values = frame.iloc[:, i] if hasattr(frame, "iloc") else frame[header[i]]
        return np.asarray(values).tolist()

    return _Table(None, header, column, "row {}".format)


def _open_file(path: str, columns: Columns) -> _Table:
    lines = _read_lines(path, columns)
    if not lines:
        raise ValueError(f"labels={path!r} has no rows.")
    header = lines[0][1]
    for number, line in lines:
        if len(line) != len(header):
            raise ValueError(
                f"labels={path!r}: line {number} has {len(line)} field{'s' * (len(line) > 1)}, but "
                f"the first line has {len(header)}. All lines must have the same number of fields. "
                "Remove comment lines, and quote fields that contain a separator or a line break."
            )
    header[:] = map(str.strip, header)
    return _Table(
        path, header, lambda i: [line[i] for _, line in lines], lambda i: f"line {lines[i][0]}"
    )


def _read_lines(path: str, columns: Columns) -> list[tuple[int, list[str]]]:
    """Split a CSV file into fields, with the number of each line, without empty lines."""
    with open(path, "rb") as file:
        content = file.read()
    origin = f"labels={path!r}"
    for start, function in _OTHER_FORMATS.items():
        if content.lstrip().startswith(start):
            option = ", lines=True" if b"\n{" in content and function == "read_json" else ""
            raise ValueError(
                f"{origin} cannot be read: it is not a CSV file. Read it with pandas, and pass the "
                f"DataFrame: labels=pandas.{function}({path!r}{option})."
            )
    encoding = next((_MARKS[mark] for mark in _MARKS if content.startswith(mark)), "utf-8-sig")
    if encoding == "utf-8-sig" and b"\0" in content[:2]:
        encoding = "utf-16-le" if content[1:2] == b"\0" else "utf-16-be"
    try:
        text = content.decode(encoding)
        said = re.match(r"sep=(.)\r?\n", text)  # Excel's first line
        separator = said[1] if said else _find_separator(text, columns)
        reader = csv.reader(
            io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=separator != "\t"
        )
        lines = [(reader.line_num, line) for line in reader if any(map(str.strip, line))]
        return lines[1:] if said else lines
    except UnicodeDecodeError as error:
        number = content.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"{origin} cannot be read: it must be a CSV file in UTF-8 or UTF-16, but line {number} "
            "has another encoding. Read it with pandas, and pass the DataFrame, for example "
            f"labels=pandas.read_csv({path!r}, encoding='cp1252')."
        ) from error
    except csv.Error as error:
        raise ValueError(
            f"{origin} cannot be read: it must be a CSV file, but a field in line "
            f"{reader.line_num} has more than {csv.field_size_limit():,} characters. A "
            "quotation mark before it may not be closed."
        ) from error


def _find_separator(text: str, columns: Columns) -> str:
    """Return the separator that splits the columns best."""

    def quality(separator: str) -> tuple[int, ...]:  # () if there is only one column
        reader = csv.reader(io.StringIO(text[: 1 << 18], newline=""), delimiter=separator)
        lines = []
        with suppress(csv.Error):  # another separator cuts such a long field
            lines = list(islice((line for line in reader if any(map(str.strip, line))), 20))
        if not lines or len(lines[0]) < 2:
            return ()
        names = [name.strip() for name in lines[0]]
        known = sum(_path_rank(name) > 0 or _is_label_column(name) for name in names)
        known += sum(name in names for name in columns or ())
        is_row = any(has_extension(name, EXTENSIONS) for name in names)
        return min(known, 2), is_row, len(set(map(len, lines))) == 1

    best = max(SEPARATORS, key=quality)  # of equal ones the first
    return " " if not quality(best) and quality(" ")[-1:] == (True,) else best


def _has_header(table: _Table, columns: Columns, chosen: tuple[int, int], is_file: IsFile) -> bool:
    """Tell whether the first line of a CSV file is a header, not a file and its label."""
    names = list(map(str, table.header))
    if {"path", "label"} <= set(names) or any(isinstance(name, str) for name in columns or ()):
        return True
    if any(has_extension(name, EXTENSIONS) for name in names):
        return False
    path, label = (names[i] for i in chosen)
    return _path_rank(path) > 0 or _is_label_column(label) or not is_file(path)


def _choose_columns(table: _Table, columns: Columns, is_file: IsFile) -> tuple[int, int]:
    """Return the indices of the columns of file names and labels."""
    header = table.header
    if columns is not None:
        return _position(table, columns[0]), _position(table, columns[1])

    def starts_with_a_file(i: int) -> bool:
        names = [name for name in table.column(i)[:2] if isinstance(name, str)]
        return any(has_extension(name.strip(), EXTENSIONS) or is_file(name) for name in names)

    paths = [i for i, name in enumerate(header) if _path_rank(name)]
    paths.sort(key=lambda i: -_path_rank(header[i]))
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
                path = int(starts_with_a_file(1) and not starts_with_a_file(0))
            return path, 1 - path
    raise ValueError(_describe_choice(table, paths, labels))


def _describe_choice(table: _Table, paths: list[int], labels: list[int]) -> str:
    """Describe that columns must be chosen, and how."""
    header = table.header
    problem = (
        f"{table.origin} must have the columns 'path' and 'label', or two columns. Got "
        f"{join_some([repr(str(name)[:60]) for name in header])}."
    )
    zeros_and_ones = [i for i in range(len(header)) if i not in paths and _is_zero_or_one(table, i)]
    if paths and not labels and len(zeros_and_ones) > 1:
        return f"{problem} {_describe_one_hot(table, paths[0], zeros_and_ones)}"
    separator = next((s for s in ";\t|" if len(header) == 1 and s in str(header[0])), None)
    if separator is not None:
        problem += f" Its only column contains {separator!r}. Read it with sep={separator!r}, or "
        problem += "pass the path of the file."
    if len(header) > 1:
        path = paths[0] if paths else 0
        label = labels[0] if labels else int(path != 1)
        is_row = any(isinstance(name, str) and has_extension(name, EXTENSIONS) for name in header)
        example = (path, label) if is_row else (header[path], header[label])
        problem += f" Select the columns, for example columns={example!r}."
    return problem


def _describe_one_hot(table: _Table, path: int, zeros_and_ones: list[int]) -> str:
    """Describe how to convert columns of 0 and 1, one per class, to a column of labels."""
    names = [table.header[i] for i in zeros_and_ones]
    ones = np.array([table.below_header(i) for i in zeros_and_ones], dtype=object)
    counts = np.isin(ones.astype(str), ["1", "1.0", "True"]).sum(axis=0)
    said = f"The columns {name_some(names)} hold 0 and 1."
    name = table.header[path]
    if (counts != 1).any():
        return (
            f"{said} {int((counts != 1).sum()):,} rows have no 1 or several, but each image needs "
            "one label. Select one of the columns, for example columns="
            f"({name!r}, {names[0]!r})."
        )
    chosen = "" if len(names) == len(table.header) - 1 else f"[{names!r}]"
    if len(chosen) > 500:
        chosen = "[[...]]"
    frame = "labels"
    if table.path is not None:
        frame = f"pandas.read_csv({table.path!r}, dtype={{{name!r}: str}})"
    return (
        f"{said} Convert them to one column of labels: labels={frame}.set_index({name!r})"
        f"{chosen}.idxmax(axis=1).to_frame('label')."
    )


def _position(table: _Table, column: object) -> int:
    if table.header.count(column) == 1:
        return table.header.index(column)
    n_columns = len(table.header)
    if isinstance(column, (int, np.integer)) and -n_columns <= column < n_columns:
        return int(column) % n_columns
    raise ValueError(
        f"columns names {column!r}, but {table.origin} has the columns {name_some(table.header)}."
    )


def _plain(name: object) -> str:
    return re.sub(r"[\W_]+", "", name).lower() if isinstance(name, str) else ""


def _path_rank(name: object) -> int:
    """Return how likely a column of this name holds paths; 0 if it does not."""
    plain = _plain(name)
    return len(PATH_COLUMNS) - PATH_COLUMNS.index(plain) if plain in PATH_COLUMNS else 0


def _is_label_column(name: object) -> bool:
    return _plain(name) in LABEL_COLUMNS


def _is_zero_or_one(table: _Table, column: int) -> bool:
    values = {str(value).strip() for value in table.below_header(column)}
    return bool(values) and values <= {"0", "1", "0.0", "1.0", "True", "False"}


def _is_missing(label: object) -> bool:
    if label is None or (isinstance(label, str) and not label.strip()):
        return True
    try:
        return bool(label != label)  # NaN, NaT
    except TypeError:  # pandas.NA
        return True
