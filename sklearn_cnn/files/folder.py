"""load_image_folder: paths and labels from a folder of class folders, or from a table of files."""

import os
import re
import stat
from collections import ChainMap, defaultdict
from collections.abc import Collection, Iterable, Mapping, Set
from dataclasses import replace
from typing import Any

import numpy as np
from sklearn.utils import Bunch

from sklearn_cnn._compat import StrOptions, validate_params
from sklearn_cnn._forks import forks_wait
from sklearn_cnn._messages import name_lines, name_some, warn
from sklearn_cnn.files.labels_table import Labelled, describe_names_alike, label_by_table
from sklearn_cnn.files.scan import (
    EXTENSIONS,
    Scan,
    ScanOptions,
    describe_left_out,
    describe_links,
    describe_nothing,
    files_in_two,
    scan_images,
)

LEARNT = frozenset(["train", "training", "trainval"])

PARTS = LEARNT | {
    "test", "testing", "val", "valid", "validation", "dev", "eval", "evaluation", "holdout",
    "pred", "predict", "prediction", "predictions", "labeled", "labelled", "unlabeled",
    "unlabelled", "unsup", "fold", "folds", "cv", "split", "part", "partition", "subset", "shard",
    "batch",
}  # fmt: skip
"""Words in the names of folders that hold a part of a data set, not a class."""

GENERIC = frozenset([
    "set", "sets", "data", "dataset", "image", "images", "img", "imgs", "mask", "masks", "label",
    "labels", "annotation", "annotations", "gt", "x", "y", "public", "private", "final", "full",
    "all", "folder", "samples",
])  # fmt: skip
"""Words that are combined with these and do not name a class: "training_set", "test_images"."""

KINDS = frozenset([
    "image", "images", "img", "imgs", "jpegimages", "imagesets", "mask", "masks", "annotation",
    "annotations", "label", "labels", "gt", "groundtruth", "segmentation", "segmentations",
    "segmentationclass", "segmentationobject", "bbox", "bboxes", "boundingboxes", "metadata",
])  # fmt: skip
"""Full names of folders of images, masks or annotations."""


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
    container_path: str | os.PathLike[str],
    *,
    classes: Iterable[object] | None = None,
    labels: object = "inferred",
    columns: Iterable[object] | None = None,
    extensions: str | Iterable[str] | None = EXTENSIONS,
    recursive: bool = True,
    follow_links: bool = False,
    on_error: str = "raise",
    return_X_y: bool = False,
    as_frame: bool = False,
) -> Any:
    """Load the paths and labels of the image files in a folder.

    No pixels are read, so the result is small, and splitters and searches can index it.
    :class:`ImageReader`, as the first step of a pipeline, reads the files. The folder has the
    following structure, and class folders may hold subfolders::

        container_path/
            cat/
                0001.jpg
                0002.jpg
            dog/
                0001.png

    Hidden files and folders, FIFOs, devices, and folders created by operating systems, such as
    "@eaDir" and "__MACOSX", are ignored.

    Parameters
    ----------
    container_path : path
        Path of the folder. If a data set has separate folders for training and testing, load them
        separately, and pass ``classes=training.target_names`` for the second.
    classes : sequence or None, default=None
        Classes to load, in the order of ``target_names``. Their folders may be empty. If None, all
        class folders that hold images are loaded, sorted by name.
    labels : "inferred", path, DataFrame or None, default="inferred"
        Source of the labels. "inferred" uses the names of the folders in ``container_path``. A CSV
        file or DataFrame lists the files to load and their labels. The path of the CSV file is
        looked up in the working folder, then in ``container_path``. Paths in the table are relative
        to ``container_path`` or, if no such file exists, to the folder of the table, the working
        folder or the parent folder of ``container_path``. They must lie in ``container_path``, and
        may omit the file extension. None loads all images without labels, for prediction.
    columns : (path column, label column) or None, default=None
        Columns of the table, by name or position. If None, they are "path" and "label", other
        common names ("filename", "image_id", "class", "diagnosis", ...), or the only two columns.
    extensions : str, sequence of str or None, default=(".png", ".apng", ".jpg", ".jpeg", ".jpe", \
".jfif", ".pjpeg", ".pjp", ".jps", ".mpo", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif")
        File extensions to load, in upper or lower case. "" stands for names without extension, and
        None loads all files. If pillow-heif is installed, the default includes ".heic", ".heif" and
        ".hif". With a table, these are the extensions that its paths may omit.
    recursive : bool, default=True
        Whether to include the subfolders of class folders.
    follow_links : bool, default=False
        Whether to follow symbolic links below ``container_path``, including links to files and
        folders outside of it. Each class enters a folder only once, so cycles end. Do not follow
        links in untrusted folders, because they may point to any file.
    on_error : {"raise", "skip"}, default="raise"
        How to handle files that cannot be read. "raise" raises an error for folders that cannot be
        listed and for missing files of a table; damaged images raise an error later, when they are
        read. "skip" decodes every file once, and removes those that cannot be read, together with
        their labels, with a warning that names them.
    return_X_y : bool, default=False
        If True, return ``(data, target)`` instead of a Bunch, as scikit-learn's loaders do. Only
        the Bunch has the class names.
    as_frame : bool, default=False
        If True, ``data`` is a DataFrame with the column "path", and ``target`` is a Series.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        Dictionary-like object, with the following attributes.

        data : ndarray of shape (n_images,), str, or DataFrame of shape (n_images, 1)
            Path of each file, starting with ``container_path``. Paths are sorted by class and name,
            or in the order of the table.
        target : ndarray of shape (n_images,), int, or Series, or None
            Class of each file, as an index into ``target_names``; None without labels.
        labels : ndarray of shape (n_images,), str or another type, or Series, or None
            Class of each file, as its name. A model that is fitted on ``labels`` predicts names.
        target_names : list
            Names of the classes.
        filenames : ndarray of shape (n_images,), str
            Path of each file.
        frame : DataFrame of shape (n_images, 3) or None
            With ``as_frame=True``, DataFrame with path, target and label, or only with path if
            there are no labels.
        DESCR : str
            Description of the loaded files, with the number of files per class.

    (data, target) : tuple
        Only if ``return_X_y=True``.

    Raises
    ------
    ValueError
        If no images or class folders are found, the folder of a class is missing, the folders look
        like training and test sets instead of classes, or the table of labels is invalid.
    NotADirectoryError
        If ``container_path`` is not a folder.
    FileNotFoundError
        If ``container_path`` or the file ``labels`` does not exist.
    PermissionError
        If the parent folders of ``container_path`` cannot be accessed.
    ImportError
        If ``as_frame=True`` and pandas is not installed.
    TypeError
        If ``labels`` has an unsupported type.

    Warns
    -----
    UserWarning
        For everything that is not loaded: symbolic links, images outside of class folders, folders
        without images, files of other extensions that may be images, and files that cannot be read.
        Also for folders that look like parts of a data set, and for classes without a row in the
        table.

    See Also
    --------
    ImageReader : Read the files into an array.
    sklearn.datasets.load_files : Load text files with their content.

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
        raise ValueError(
            "classes selects the labels to load, but labels=None loads no labels. Pass only one."
        )
    wanted = None if classes is None else _check_classes(classes)
    is_table = not (labels is None or (isinstance(labels, str) and labels == "inferred"))
    pair = None if columns is None else _check_columns(columns, is_table)
    options = ScanOptions(_check_extensions(extensions), recursive, follow_links)
    if is_table:
        labelled = label_by_table(folder, labels, pair, wanted, options)
    elif labels is None:
        scan = scan_images(folder, options)
        labelled = Labelled(scan.files, None, [], {"": scan}, unreadable=scan.unreadable)
    else:
        labelled = _label_by_folder(folder, wanted, options)
    _report_unreadable(labelled, on_error)
    if on_error == "skip":
        labelled = _leave_out_damaged(labelled)
    scans = [labelled.beside, *labelled.scans.values()]
    links = [link for scan in scans for link in scan.links]
    if not labelled.files and is_table:
        raise ValueError(
            f"container_path={folder!r}: no row of labels has both a readable image and a label in "
            "classes. Labels of a CSV file are strings."
        )
    if not labelled.files:
        where = "it" if labels is None else "its class folders"
        problem = describe_nothing(labelled.scans.values(), where, options.extensions)
        raise ValueError(f"container_path={folder!r}: {problem}{describe_links(links)}")
    for note in labelled.notes:
        warn(note)
    if links:
        warn(describe_links(links).strip())
    left_out = describe_left_out(labelled.scans, labelled.beside)
    if left_out and options.extensions == frozenset(EXTENSIONS):
        warn(left_out)
    return _bundle(labelled, folder, return_X_y=return_X_y, as_frame=as_frame)


def _check_folder(folder: str) -> None:
    error: type[OSError]
    problem, error = "is not a folder", NotADirectoryError
    try:
        if stat.S_ISDIR(os.stat(folder).st_mode):
            return
    except (FileNotFoundError, ValueError):
        problem, error = "does not exist", FileNotFoundError
    except NotADirectoryError:
        problem, error = "does not exist: a part of it is not a folder", NotADirectoryError
    except PermissionError:
        problem, error = "cannot be accessed by this user", PermissionError
    raise error(
        f"container_path={folder!r} {problem}. It must be the folder that holds the images, in a "
        "folder for each class or listed in labels."
    )


def _check_classes(classes: Iterable[object]) -> list[Any]:
    names = _as_list(classes)
    try:
        n_names = len(set(names))
    except TypeError:  # lists among them, say
        n_names = 0
    if not n_names or n_names < len(names):
        raise ValueError(
            f"classes must be a list of at least one class, without duplicates. Got {classes!r}."
        )
    return names


def _check_columns(columns: Iterable[object], is_table: bool) -> list[object]:
    if not is_table:
        raise ValueError(
            "columns selects the columns of a table, but labels is not a table. Also pass labels=, "
            "the path of a CSV file or a DataFrame, or use columns=None."
        )
    pair = _as_list(columns)
    if len(pair) != 2 or pair[0] == pair[1] or {bool} & set(map(type, pair)):
        raise ValueError(
            "columns must be two columns, the paths and the labels, such as ('path', 'label'). "
            f"Got {columns!r}."
        )
    return pair


def _as_list(values: Iterable[object]) -> list[object]:
    """Return a sequence as a list, and an empty list for unordered values."""
    listed = values.tolist() if hasattr(values, "tolist") else list(values)
    return listed if isinstance(listed, list) and not isinstance(values, (Set, Mapping)) else []


def _check_extensions(extensions: str | Iterable[str] | None) -> frozenset[str] | None:
    if extensions is None:
        return None
    given = [extensions] if isinstance(extensions, str) else list(extensions)
    if not given or not all(isinstance(extension, str) for extension in given):
        raise ValueError(
            f"extensions must be file extensions, such as ('.jpg', '.png'). Got {extensions!r}."
        )
    plain = (extension.lower().removeprefix(".") for extension in given)
    return frozenset(f".{ending}" if ending else "" for ending in plain)


def _label_by_folder(folder: str, wanted: list[Any] | None, options: ScanOptions) -> Labelled:
    """Use the folders in a folder as classes: those requested, or all with images, sorted."""
    beside = scan_images(folder, replace(options, recursive=False))
    folders = {os.path.basename(path): path for path in beside.folders}
    if not folders and not beside.unreadable:
        raise ValueError(_describe_missing_folders(folder, beside))
    notes = []
    missing = [name for name in wanted or () if name not in folders]
    if missing and not beside.unreadable:
        problem = (
            f"container_path={folder!r} has no folder for the classes {name_some(missing)}. It has "
            f"{name_some(sorted(folders))}.{describe_links(beside.links)}"
        )
        if len(missing) == len(wanted or ()):
            raise ValueError(problem)
        notes.append(f"{problem} The missing classes stay empty.")
    scans = {
        name: scan_images(folders[name], options, above=[folder]) if name in folders else Scan()
        for name in (folders if wanted is None else wanted)
    }
    unreadable = dict(ChainMap(*(scan.unreadable for scan in (beside, *scans.values()))))
    if wanted is None and folders and not unreadable:
        notes += _check_that_these_are_classes(folder, scans)
    if beside.files:
        lie, are = ("images lie", "are") if len(beside.files) > 1 else ("image lies", "is")
        notes.append(
            f"{len(beside.files):,} {lie} outside of any class folder, and {are} ignored. The "
            f"first is {beside.files[0]!r}."
        )
    doubled = files_in_two(scans) if options.follow_links else []
    if doubled:
        notes.append(
            f"{len(doubled):,} image{'s are' if len(doubled) > 1 else ' is'} in two classes, under "
            f"another name or through a link. The first is {min(doubled)!r}."
        )
    classes = wanted or [name for name, scan in scans.items() if scan.files or scan.unreadable]
    empty = sorted(set(scans) - set(classes))
    if empty and classes:
        notes.append(
            f"Folders without images are ignored: {name_some(empty)}. To keep them as classes, "
            "pass classes=[...]."
        )
    files = [path for name in classes for path in scans[name].files]
    target = [number for number, name in enumerate(classes) for _ in scans[name].files]
    return Labelled(files, target, classes, scans, beside, unreadable, notes=notes)


def _describe_missing_folders(folder: str, beside: Scan) -> str:
    hint = describe_links(beside.links)
    if not beside.files:
        return (
            f"container_path={folder!r} holds neither class folders nor images.{hint} It must hold "
            "one folder of images per class."
        )
    return (
        f"container_path={folder!r} holds no class folders, but {len(beside.files)} images."
        f"{hint} Sort them into one folder per class, or pass labels=: a CSV file or DataFrame "
        "with the columns 'path' and 'label', or None for images without labels."
    )


def _check_that_these_are_classes(folder: str, scans: Mapping[str, Scan]) -> list[str]:
    """Raise if another folder was probably meant, and return notes for doubtful cases."""
    filled = [name for name, scan in scans.items() if scan.files] or list(scans)
    within = {name: os.path.join(folder, name) for name in filled}
    if len(filled) == 1 and not are_parts(filled):
        [name] = filled
        scan = scans[name]
        has_images = any(os.path.dirname(path) == within[name] for path in scan.files)
        if len(scan.folders) > 1 or (scan.folders and not has_images):
            raise ValueError(
                f"container_path={folder!r} only holds images in the folder {name!r}, which has "
                f"subfolders. load_image_folder({within[name]!r}) uses these subfolders as "
                f"classes. If {name!r} is a class, pass classes=[{name!r}]."
            )
    if are_parts(filled) or are_kinds(filled):
        what = "parts of a data set" if are_parts(filled) else "kinds of files"
        calls = ", ".join(
            f"load_image_folder({within[name]!r}{'' if scans[name].folders else ', labels=...'})"
            for name in filled[:10]
        )
        raise ValueError(
            f"container_path={folder!r} holds {name_some(filled)}, which look like {what} and not "
            f"like classes. Load each separately: {calls}. If they are classes, pass "
            f"classes={name_some(filled)}."
        )
    notes = []
    parts = parts_among(filled)
    if parts:
        notes.append(
            f"The class folders of container_path={folder!r} include {name_some(parts)}, which "
            "look like parts of a data set. Load each separately, or name the classes with "
            "classes=[...]."
        )
    parts_in = {name: parts_among(map(os.path.basename, scans[name].folders)) for name in filled}
    split = [name for name in filled if parts_in[name]]
    if split:
        notes.append(
            f"{len(split):,} class folders, the first of them {split[0]!r}, hold "
            f"{parts_in[split[0]]!r}, which look like parts of a data set. Their images are loaded "
            "together. To load each part separately, sort the images as 'part/class', or list them "
            "in a table. To load them together, name the classes with classes=[...]."
        )
    return notes + describe_names_alike(filled)


def _report_unreadable(labelled: Labelled, on_error: str) -> None:
    if not labelled.unreadable:
        return
    lines = name_lines([f"  {path!r}: {why}" for path, why in sorted(labelled.unreadable.items())])
    n_paths = len(labelled.unreadable)
    what = f"{n_paths:,} {'files or folders' if n_paths > 1 else 'file or folder'} cannot be read"
    if on_error == "raise":
        raise ValueError(f"{what}:\n{lines}\n{labelled.remedy}")
    warn(f"{what}, and {'are' if n_paths > 1 else 'is'} left out:\n{lines}")


def _leave_out_damaged(labelled: Labelled) -> Labelled:
    """Decode every file, and keep the readable ones with their labels."""
    with forks_wait:  # for Pillow, which ``import sklearn_cnn`` does not load
        from sklearn_cnn.files.read_many import check_files

    batch = check_files(labelled.files)
    if not batch.problems:
        return labelled
    warn(batch.describe_problems(", and are left out"))
    kept = [i for i in range(len(labelled.files)) if i not in batch.problems]
    target = None if labelled.target is None else [labelled.target[i] for i in kept]
    return replace(labelled, files=[labelled.files[i] for i in kept], target=target)


def _bundle(labelled: Labelled, folder: str, *, return_X_y: bool, as_frame: bool) -> Any:
    paths = np.array(labelled.files)
    target = None if labelled.target is None else np.array(labelled.target)
    names = None if target is None else _as_array(labelled.classes)[target]
    bunch = Bunch(
        data=paths,
        target=target,
        labels=names,
        frame=None,
        target_names=labelled.classes,
        filenames=paths,
        DESCR=_describe(labelled, folder),
    )
    if as_frame:
        try:
            import pandas as pd
        except ImportError as error:
            raise ImportError(
                "load_image_folder(as_frame=True) needs pandas: pip install pandas."
            ) from error
        bunch.frame = frame = pd.DataFrame({"path": paths.astype(object)})
        bunch.data = frame[["path"]]
        if target is not None:
            frame["target"], frame["label"] = target, names
            bunch.target, bunch.labels = frame["target"], frame["label"]
    return (bunch.data, bunch.target) if return_X_y else bunch


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


def are_parts(names: Iterable[str]) -> bool:
    """Tell whether all folder names are parts of one data set, such as "seg_train", "seg_test".

    "test_tube" and "train" are not, because their other words differ.
    """
    groups = _group_parts(name for name in names if not _is_kind(name))
    if not groups or None in groups:
        return False
    return list(groups) == [()] or all(len(group) > 1 for group in groups.values())


def are_kinds(names: Collection[str]) -> bool:
    """Tell whether all folder names are kinds of files, such as "images", "masks"."""
    return all(map(_is_kind, names))


def parts_among(names: Iterable[str]) -> list[str]:
    """Return the names that are unlikely to be classes, given the others.

    "train" and "test" are unlikely; "train" next to "bus" and "car" is not.
    """
    names = list(names)
    groups = _group_parts(names)
    groups.pop(None, None)
    found = {
        name
        for group in groups.values()
        if 0 < sum(not LEARNT.isdisjoint(_words(name)) for name in group) < len(group)
        for name in group
    }
    kinds = {name for name in names if _is_kind(name)}
    if found or len(kinds) > 1:
        found |= kinds
    return sorted(found)


def _is_kind(name: str) -> bool:
    return re.sub(r"[\W_]+", "", name).lower() in KINDS


def _words(name: str) -> list[str]:
    """Split a name at non-letters and before capitals: "PublicTest" is "public", "test"."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    return [word.lower() for word in re.findall(r"[^\W\d_]+", spaced)]


def _group_parts(names: Iterable[str]) -> dict[tuple[str, ...] | None, list[str]]:
    """Group names of parts by their other words; None holds the names that are no part."""
    groups: dict[tuple[str, ...] | None, list[str]] = defaultdict(list)
    for name in names:
        words = _words(name)
        rest = tuple(word for word in words if word not in PARTS and word not in GENERIC)
        groups[None if PARTS.isdisjoint(words) else rest].append(name)
    return groups
