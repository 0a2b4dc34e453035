"""load_image_folder: the paths and labels of a folder, in the manner of load_files."""

import os
import re
import stat
from collections import Counter
from collections.abc import Mapping, Set
from typing import Any

import numpy as np
from sklearn.utils import Bunch

from sklearn_cnn._compat import StrOptions, validate_params
from sklearn_cnn._forks import forks_wait
from sklearn_cnn._messages import join_some, name_lines, warn
from sklearn_cnn.files.labelling import (
    Labelled,
    describe_links,
    label_by_folder,
    label_by_table,
)
from sklearn_cnn.files.scan import (
    EXTENSIONS,
    NO_IMAGES,
    UNREAD_EXTENSIONS,
    Walk,
    WalkOptions,
    walk_images,
)


@validate_params(
    {
        "container_path": [str, os.PathLike],
        "classes": ["array-like", None],
        "labels": [StrOptions({"inferred"}), str, os.PathLike, "array-like", None],
        "columns": ["array-like", None],
        "extensions": [str, "array-like", None],
        "recursive": ["boolean"],
        "follow_links": ["boolean"],
        "on_error": [StrOptions({"raise", "skip"})],
        "return_X_y": ["boolean"],
        "as_frame": ["boolean"],
    }
)
def load_image_folder(
    container_path: Any,
    *,
    classes: Any = None,
    labels: Any = "inferred",
    columns: Any = None,
    extensions: Any = EXTENSIONS,
    recursive: bool = True,
    follow_links: bool = False,
    on_error: str = "raise",
    return_X_y: bool = False,
    as_frame: bool = False,
) -> Any:
    """List the image files of a folder with their labels, as paths.

    No pixels are read: what comes back is small, and every splitter and search can cut it.
    :class:`ImageReader`, as the first step of a pipeline, opens the files. The folder looks like
    this, where the folders in a class may be nested further::

        container_path/
            cat/
                0001.jpg
                0002.jpg
            dog/
                0001.png

    Hidden files and folders, FIFOs and devices are left out, and so are folders that systems make
    for themselves, such as "@eaDir" and "__MACOSX".

    Parameters
    ----------
    container_path : path
        The folder. Of a data set with folders for training and testing, load each by itself, and
        give ``classes=training.target_names`` to the second.
    classes : sequence or None, default=None
        The classes to load, in the order in which ``target`` counts them; their folders may be
        empty. None takes all that hold images, sorted.
    labels : "inferred", path, DataFrame or None, default="inferred"
        "inferred" takes the names of the folders in ``container_path``. A CSV file or DataFrame
        says which files to load, and their labels; a path that is not found from the working
        folder is looked for in ``container_path``. Paths in it are relative to
        ``container_path`` or, if there is no such file, to the table's folder, the working folder
        or the folder around ``container_path``; they must lie in ``container_path``, and may lack
        the ending. None loads all images without labels, to predict them.
    columns : (path column, label column) or None, default=None
        Columns of the table, by name or position. None takes "path" and "label", other usual names
        ("filename", "image_id", "class", "diagnosis", ...), or the two columns that there are.
    extensions : str, sequence of str or None, default=(".png", ".apng", ".jpg", ".jpeg", ".jpe", \
".jfif", ".pjpeg", ".pjp", ".jps", ".mpo", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif")
        Endings of the names that are taken, in upper or lower case; "" is that of names without
        one, and None takes all files. Where pillow-heif is installed, ".heic", ".heif" and ".hif"
        are among them. Of a table, it says which endings a name may lack.
    recursive : bool, default=True
        Whether to go into the folders inside a class.
    follow_links : bool, default=False
        Whether symbolic links below ``container_path`` stand for the files and folders that they
        lead to, also out of it. A folder is entered once for each class, so that circles end.
        Leave it as it is for folders of strangers, which may lead to any file.
    on_error : {"raise", "skip"}, default="raise"
        "raise" raises for folders that cannot be listed and files of a table that are missing;
        damaged images show when they are read. "skip" decodes every file once, and
        leaves out those that cannot be read, with their labels; a warning names them.
    return_X_y : bool, default=False
        Whether to return ``(data, target)`` alone, as loaders of scikit-learn do: ``target`` counts
        the classes, whose names are in the Bunch alone.
    as_frame : bool, default=False
        Whether ``data`` is a DataFrame with the column "path", and ``target`` a Series.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        With the attributes

        data : ndarray of shape (n_images,), str, or DataFrame of shape (n_images, 1)
            The path of each file, beginning with ``container_path``; sorted, class by class, or in
            the order of the table.
        target : ndarray of shape (n_images,), int, or Series, or None
            The class of each file, as its place in ``target_names``; None without labels.
        labels : ndarray of shape (n_images,), str or another type, or Series, or None
            The class of each file by its name: a model that is fitted on them predicts names.
        target_names : list
            The classes.
        filenames : ndarray of shape (n_images,), str
            The paths.
        frame : DataFrame of shape (n_images, 3) or None
            With ``as_frame=True``, path, target and label; the path alone without labels.
        DESCR : str
            What was loaded, class by class.

    (data, target) : tuple
        With ``return_X_y=True``.

    Raises
    ------
    ValueError
        If there are no images or class folders, the folder of a class is missing, folders for
        training and testing seem to stand in place of classes, or the table of labels cannot be
        used.
    NotADirectoryError
        If ``container_path`` is no folder.
    FileNotFoundError
        If there is no ``container_path``, or ``labels`` is a path where there is no file.
    PermissionError
        If the folders above ``container_path`` may not be entered.
    ImportError
        If ``as_frame`` is asked for, and pandas is not installed.
    TypeError
        If ``labels`` is none of the kinds above.

    Warns
    -----
    UserWarning
        About what was left out: symbolic links, images outside of any class folder, folders
        without images, files of other endings that may be images, and files that cannot be read.
        About folders that look like parts of a data set. And if a table has no row of a class.

    See Also
    --------
    ImageReader : Reads the files into an array.
    sklearn.datasets.load_files : The same for texts, whose content it loads.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from PIL import Image
    >>> from sklearn_cnn import load_image_folder
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("cat/1.png", "cat/2.png", "dog/1.png"):
    ...         Path(folder, name).parent.mkdir(exist_ok=True)
    ...         Image.new("RGB", (8, 8)).save(Path(folder, name))
    ...     pets = load_image_folder(folder)
    >>> pets.labels.tolist(), pets.target.tolist()
    (['cat', 'cat', 'dog'], [0, 0, 1])
    """
    folder = os.path.expanduser(os.fspath(container_path))
    _check_folder(folder)
    if labels is None and classes is not None:
        raise ValueError("classes says which labels to load, and labels=None loads none. Pass one.")
    wanted = None if classes is None else _check_classes(classes)
    is_table = not (labels is None or (isinstance(labels, str) and labels == "inferred"))
    if columns is not None:
        columns = _check_columns(columns, is_table)
    endings = _check_extensions(extensions)
    options = WalkOptions(endings, recursive, follow_links)
    found = Walk()
    if labels is None:
        walk_images(folder, options, found)
        labelled = Labelled(found.files, None, [], {"": found})
    elif is_table:
        labelled = label_by_table(folder, labels, columns, wanted, options, found)
    else:
        labelled = label_by_folder(folder, wanted, options, found)
    _report_unreadable(found, on_error)
    if on_error == "skip":
        labelled = _leave_out_damaged(labelled)
    if not labelled.files:
        raise ValueError(_describe_emptiness(folder, endings, labels, found))
    if found.links:
        found.notes.append(describe_links(found).strip())
    if endings == frozenset(EXTENSIONS):
        found.notes.extend(_describe_left_out(labelled.walks))
    for note in found.notes:
        warn(note)
    return _bundle(labelled, folder, return_X_y=return_X_y, as_frame=as_frame)


def _check_folder(folder: str) -> None:
    error: type[OSError]
    problem, error = "is no folder", NotADirectoryError
    try:
        if stat.S_ISDIR(os.stat(folder).st_mode):
            return
    except (FileNotFoundError, ValueError):
        problem, error = "does not exist", FileNotFoundError
    except NotADirectoryError:
        problem, error = "does not exist: a part of it is no folder", NotADirectoryError
    except PermissionError:
        problem, error = "may not be looked for by this user", PermissionError
    raise error(
        f"container_path={folder!r} {problem}. It must be the folder that holds the images, in a "
        "folder for each class or listed in labels."
    )


def _check_columns(columns: Any, is_table: bool) -> list[Any]:
    if not is_table:
        raise ValueError(
            "columns says which columns of a table to read, and labels is none. Pass labels= the "
            "path of a CSV file or a DataFrame, too, or leave columns=None."
        )
    pair = columns.tolist() if hasattr(columns, "tolist") else list(columns)
    in_order = isinstance(pair, list) and not isinstance(columns, (Set, Mapping))
    if not in_order or len(pair) != 2 or pair[0] == pair[1] or {bool} & set(map(type, pair)):
        raise ValueError(
            "columns must be two columns, that of the paths and that of the labels: ('path', "
            f"'label'), for example. Got {columns!r}."
        )
    return pair


def _check_classes(classes: Any) -> list[Any]:
    names: list[Any] = classes.tolist() if hasattr(classes, "tolist") else list(classes)
    try:
        in_order = isinstance(names, list) and not isinstance(classes, (Set, Mapping))
        n_names = len(set(names)) if in_order else 0
    except TypeError:  # lists among them, say
        n_names = 0
    if not n_names or n_names < len(names):
        raise ValueError(
            "classes must be a list that names at least one class, and none twice. Got "
            f"{classes!r}."
        )
    return names


def _check_extensions(extensions: Any) -> frozenset[str] | None:
    if extensions is None:
        return None
    given = [extensions] if isinstance(extensions, str) else list(extensions)
    if not given or not all(isinstance(extension, str) for extension in given):
        raise ValueError(
            f"extensions must be endings of names, such as ('.jpg', '.png'). Got {extensions!r}."
        )
    plain = (extension.lower().removeprefix(".") for extension in given)
    return frozenset(f".{ending}" if ending else "" for ending in plain)


def _report_unreadable(found: Walk, on_error: str) -> None:
    if not found.unreadable:
        return
    lines = name_lines([f"  {path!r}: {why}" for path, why in sorted(found.unreadable.items())])
    n_paths = len(found.unreadable)
    what = f"{n_paths:,} {'files or folders' if n_paths > 1 else 'file or folder'} cannot be read"
    if on_error == "raise":
        remedy = found.remedy or "Pass on_error='skip' to leave them out."
        raise ValueError(f"{what}:\n{lines}\n{remedy}")
    warn(f"{what}, and {'are' if n_paths > 1 else 'is'} left out:\n{lines}")


def _leave_out_damaged(labelled: Labelled) -> Labelled:
    """Decode every file, and keep those that can be read, with their labels."""
    with forks_wait:
        from sklearn_cnn.files.read_many import check_files

    batch = check_files(labelled.files)
    if not batch.problems:
        return labelled
    warn(batch.describe_problems(", and are left out"))
    return labelled.without(batch.problems)


def _describe_emptiness(
    folder: str, endings: frozenset[str] | None, labels: Any, found: Walk
) -> str:
    if not (labels is None or (isinstance(labels, str) and labels == "inferred")):
        return (
            f"container_path={folder!r}: no row of labels names an image that can be read and has "
            "a label of classes. Labels of a CSV file are strings."
        )
    where = "it" if labels is None else "its class folders"
    what = "no files" if endings is None else f"no files ending in {', '.join(sorted(endings))}"
    others = f" Of other files, there are: {_count_endings(found.others)}." if found.others else ""
    if not UNREAD_EXTENSIONS.isdisjoint(found.others):
        others += " Convert formats that are not read, to PNG for example."
    elif not NO_IMAGES.issuperset(found.others) and endings is not None:
        others += " extensions=None takes files of any ending."
    return (
        f"container_path={folder!r}: there are {what} in {where} that can be read.{others}"
        f"{describe_links(found)}"
    )


def _describe_left_out(walks: Mapping[str, Walk]) -> list[str]:
    """Count the files that are left out by their endings and may be images.

    Files of text and tables are left out silently, unless a class has many more of them.
    """
    formats: Counter[str] = Counter()
    others: Counter[str] = Counter()
    for name, walk in walks.items():
        beside = not name and not walk.files  # the class folders, where anything may lie
        for ending, count in walk.others.items():
            if ending in UNREAD_EXTENSIONS:
                formats[ending] += count
            elif beside:
                others[ending] += count if ending.startswith(EXTENSIONS) else 0
            elif ending not in NO_IMAGES or count > max(10, len(walk.files)):
                others[ending] += count
    others = +others
    sentences = []
    if formats:
        sentences.append(
            f"Image files of formats that are not read are left out: {_count_endings(formats)}. "
            "Convert them, to PNG for example."
        )
    if others:
        sentences.append(
            f"Files that may be images are left out by their endings: {_count_endings(others)}. "
            "extensions=None takes files of any ending, and on_error='skip' leaves out those that "
            "are no images."
        )
    most = [
        f"{name!r} ({left_out:,} of {left_out + len(walk.files):,})"
        for name, walk in walks.items()
        if (left_out := sum(walk.others[ending] for ending in {*formats, *others}))
        > len(walk.files)
        and name
    ]
    if most:
        sentences.append(f"That is most of the files of {join_some(most)}.")
    return [" ".join(sentences)] if sentences else []


def _count_endings(endings: Mapping[str, int]) -> str:
    """Say how many files there are of each ending, the most frequent first."""
    counts = sorted(endings.items(), key=lambda item: (-item[1], item[0]))
    rest = sum(count for _, count in counts[10:])
    names = [ending if re.fullmatch(r"\.?\w+", ending) else repr(ending) for ending, _ in counts]
    shown = [
        f"{count:,} {name if ending else 'without ending'}"
        for name, (ending, count) in zip(names[:10], counts, strict=False)
    ]
    return ", ".join(shown + ([f"{rest:,} of {len(counts) - 10:,} other endings"] if rest else []))


def _bundle(labelled: Labelled, folder: str, *, return_X_y: bool, as_frame: bool) -> Any:
    paths = np.array(labelled.files)
    target: Any = None if labelled.target is None else np.array(labelled.target)
    names: Any = None if target is None else _as_array(labelled.classes)[target]
    data: Any = paths
    frame = None
    if as_frame:
        try:
            import pandas as pd
        except ImportError as error:
            raise ImportError(
                "load_image_folder(as_frame=True) needs pandas: pip install pandas."
            ) from error
        frame = pd.DataFrame({"path": paths.astype(object)})
        data = frame[["path"]]
        if target is not None:
            frame["target"], frame["label"] = target, names
            target, names = frame["target"], frame["label"]
    if return_X_y:
        return data, target
    return Bunch(
        data=data,
        target=target,
        labels=names,
        frame=frame,
        target_names=labelled.classes,
        filenames=paths,
        DESCR=_describe(labelled, folder),
    )


def _as_array(classes: list[Any]) -> np.ndarray:
    """Return names of classes as a 1-D array, without converting one to the type of another."""
    if len(set(map(type, classes))) == 1 and isinstance(classes[0], (str, bool, int, float)):
        return np.array(classes)
    array = np.empty(len(classes), dtype=object)
    array[:] = classes
    return array


def _describe(labelled: Labelled, folder: str) -> str:
    lines = [f"{len(labelled.files):,} image files of the folder {folder}"]
    if labelled.target is not None:
        counts = np.bincount(labelled.target, minlength=len(labelled.classes)).tolist()
        lines += [
            f"  class {i}, {name if str(name).isprintable() else repr(name)}: {count:,}"
            for i, (name, count) in enumerate(zip(labelled.classes, counts, strict=True))
        ]
    return "\n".join(lines)
