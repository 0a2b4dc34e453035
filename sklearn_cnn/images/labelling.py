"""Which class each image file of a folder belongs to: by its folder, or by a table."""

import os
import re
import stat
import warnings
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sklearn_cnn.images.labels_table import read_labels_table
from sklearn_cnn.images.walk import Walk, walk_images

SUBSET_NAMES = frozenset(
    ["train", "training", "test", "testing", "val", "valid", "validation", "dev", "eval"]
)
"""What folders of a part of the data are called, which are taken for classes by mistake.

So are names that begin or end with such a word: "training_set", "seg_test", "test1".
"""


@dataclass
class Labelled:
    """Image files and their classes.

    Attributes
    ----------
    files : list of str
        Their paths.
    target : list of int or None
        The place of each one's class in ``classes``.
    classes : list
        The names of the classes.
    """

    files: list[str]
    target: list[int] | None
    classes: list[Any]

    def without(self, positions: Collection[int]) -> "Labelled":
        """Leave out some files, with their labels."""
        kept = [i for i in range(len(self.files)) if i not in positions]
        target = None if self.target is None else [self.target[i] for i in kept]
        return Labelled([self.files[i] for i in kept], target, self.classes)


def label_by_folder(
    folder: str,
    wanted: list[Any] | None,
    extensions: Collection[str] | None,
    *,
    recursive: bool,
    found: Walk,
) -> Labelled:
    """Take the folders in a folder for classes.

    Parameters
    ----------
    folder : str
        Holds the class folders.
    wanted : list of str or None
        Which of them to take, in this order; None for all that hold images, sorted.
    extensions : collection of str or None
        Endings of names of images.
    recursive : bool
        Whether to go into the folders of a class folder.
    found : Walk
        What is come by is added here.

    Returns
    -------
    Labelled

    Raises
    ------
    ValueError
        If there are no class folders, none of those wanted, or they are no classes by the look of
        them.
    """
    beside = Walk()
    class_folders = walk_images(folder, extensions, recursive=False, found=beside)
    found.links.extend(beside.links)
    found.unreadable.update(beside.unreadable)
    by_name = {os.path.basename(path): path for path in class_folders}
    if not by_name and not beside.unreadable:
        raise ValueError(_describe_missing_folders(folder, beside))
    missing = [name for name in wanted or () if name not in by_name]
    if missing and not beside.unreadable:
        problem = (
            f"container_path={folder!r} has no folder for {missing!r} of classes. It has "
            f"{sorted(by_name)!r}.{_describe_links(beside)}"
        )
        if len(missing) == len(wanted or ()):
            raise ValueError(problem)
        warnings.warn(f"{problem} These classes stay empty.", UserWarning, stacklevel=4)
    walks, inner = {}, {}
    for name in wanted if wanted is not None else by_name:
        walks[name] = Walk(links=found.links, others=found.others)
        if name in by_name:
            inner[name] = walk_images(
                by_name[name], extensions, recursive=recursive, found=walks[name]
            )
        found.unreadable.update(walks[name].unreadable)
    if wanted is None and by_name and not found.unreadable:
        _check_that_these_are_classes(folder, by_name, walks, inner)
    _warn_of_images_beside(beside)
    return _number_classes(walks, keep_empty=wanted is not None)


def _number_classes(walks: dict[str, Walk], *, keep_empty: bool) -> Labelled:
    classes = [name for name, walk in walks.items() if keep_empty or walk.files or walk.unreadable]
    empty = sorted(set(walks) - set(classes))
    if empty and classes:
        warnings.warn(
            f"Folders without images are left out: {empty!r}. Name the classes to keep them: "
            "classes=[...].",
            UserWarning,
            stacklevel=5,
        )
    files = [path for name in classes for path in walks[name].files]
    target = [number for number, name in enumerate(classes) for _ in walks[name].files]
    return Labelled(files, target, classes)


def _describe_missing_folders(folder: str, beside: Walk) -> str:
    hint = _describe_links(beside)
    if not beside.files:
        return (
            f"container_path={folder!r} holds neither class folders nor images.{hint} It must hold "
            "a folder of images for each class."
        )
    return (
        f"container_path={folder!r} holds no class folders, and {len(beside.files)} images itself."
        f"{hint} Sort them into a folder for each class, or pass labels=: a CSV file or DataFrame "
        "with the columns 'path' and 'label', or None for images without labels."
    )


def _describe_links(walk: Walk) -> str:
    """Say that there are symbolic links, where they may be what is missing."""
    if not walk.links:
        return ""
    return f" Symbolic links are not followed: {min(walk.links)!r} is one."


def _check_that_these_are_classes(
    folder: str,
    by_name: dict[str, str],
    walks: dict[str, Walk],
    inner: dict[str, list[str]],
) -> None:
    """Refuse the folder above the one that was meant."""
    filled = [name for name in walks if walks[name].files] or list(walks)
    if all(map(_is_name_of_subset, filled)):
        labels = {name: "" if inner[name] else ", labels=..." for name in filled}
        calls = ", ".join(
            f"load_image_folder({os.path.join(folder, name)!r}{labels[name]})" for name in filled
        )
        raise ValueError(
            f"container_path={folder!r} holds {filled!r}, which look like parts of a data set and "
            f"not like classes. Load each by itself: {calls}. If they are classes, pass "
            f"classes={filled!r}."
        )
    if len(filled) == 1 and inner[filled[0]]:
        [name] = filled
        has_images = any(os.path.dirname(path) == by_name[name] for path in walks[name].files)
        if len(inner[name]) > 1 or not has_images:
            raise ValueError(
                f"container_path={folder!r} holds no images but in the folder {name!r}, which "
                f"holds folders itself: load_image_folder({os.path.join(folder, name)!r}) takes "
                f"those for classes. If {name!r} is a class, pass classes=[{name!r}]."
            )


def _is_name_of_subset(name: str) -> bool:
    words = re.findall("[a-z]+", name.lower())
    return bool(words) and not SUBSET_NAMES.isdisjoint((words[0], words[-1]))


def _warn_of_images_beside(beside: Walk) -> None:
    if beside.files:
        warnings.warn(
            f"{len(beside.files)} images lie outside of any class folder, and are left out: "
            f"{beside.files[0]!r} the first.",
            UserWarning,
            stacklevel=5,
        )


def label_by_table(folder: str, table: Any, wanted: list[Any] | None, *, found: Walk) -> Labelled:
    """Take files and their labels from a table.

    Parameters
    ----------
    folder : str
        Where the files lie.
    table : path or DataFrame
        Of the columns "path" and "label".
    wanted : list or None
        Which labels to take, in this order; None for all, sorted.
    found : Walk
        Gets the files that are missing or no regular files.

    Returns
    -------
    Labelled
        In the order of the table.

    Raises
    ------
    ValueError
        If the table cannot be used.
    """
    names, labels = read_labels_table(table, folder)
    try:
        there = set(labels)
        classes = sorted(there) if wanted is None else wanted
    except TypeError:
        kinds = ", ".join(sorted({type(label).__name__ for label in labels}))
        raise ValueError(
            "The labels of the table cannot be sorted: they must all be strings, or all be "
            f"numbers. They are of type {kinds}."
        ) from None
    missing = [name for name in classes if name not in there]
    if missing:
        warnings.warn(
            f"No row of labels has the label {missing!r} of classes. It has "
            f"{sorted(there, key=str)!r}.",
            UserWarning,
            stacklevel=4,
        )
    numbers = {name: number for number, name in enumerate(classes)}
    files, target = [], []
    for name, label in zip(names, labels, strict=True):
        if label not in numbers:
            continue
        path = os.path.join(folder, name)
        problem = _problem_with(folder, name)
        if problem is None:
            files.append(path)
            target.append(numbers[label])
        else:
            found.unreadable[path] = problem
    return Labelled(files, target, classes)


def _problem_with(folder: str, name: str) -> str | None:
    """Say why a file of the table is not taken: missing, no file, or behind a symbolic link."""
    path = folder
    try:
        for part in name.split(os.sep):
            path = os.path.join(path, part)
            kind = os.lstat(path).st_mode
            if stat.S_ISLNK(kind):
                return "symbolic links are not followed"
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        return f"{reason}; paths are relative to container_path" if os.path.exists(name) else reason
    return None if stat.S_ISREG(kind) else "it is no regular file"
