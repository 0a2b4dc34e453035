"""Which class each image file of a folder belongs to: by its folder, or by a table."""

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sklearn_cnn._messages import name_some
from sklearn_cnn.files.class_names import are_kinds, are_parts, names_alike, parts_among
from sklearn_cnn.files.labels_table import find_table, read_labels_table
from sklearn_cnn.files.locating import AMBIGUOUS, LINK, Locator
from sklearn_cnn.files.scan import Walk, WalkOptions, files_in_two, walk_images


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
    walks : dict of str to Walk
        What was found in each class folder, if there are any.
    """

    files: list[str]
    target: list[int] | None
    classes: list[Any]
    walks: dict[str, Walk] = field(default_factory=dict)

    def without(self, positions: Collection[int]) -> "Labelled":
        """Leave out some files, with their labels."""
        kept = [i for i in range(len(self.files)) if i not in positions]
        target = None if self.target is None else [self.target[i] for i in kept]
        return replace(self, files=[self.files[i] for i in kept], target=target)


def label_by_folder(
    folder: str, wanted: list[Any] | None, options: WalkOptions, found: Walk
) -> Labelled:
    """Take the folders in a folder for classes.

    Parameters
    ----------
    folder : str
        Holds the class folders.
    wanted : list of str or None
        Which of them to take, in this order; None for all that hold images, sorted.
    options : WalkOptions
        Which files of theirs to take.
    found : Walk
        Gets what is found, except the files.

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
    class_folders = walk_images(folder, replace(options, recursive=False), beside)
    found.links.extend(beside.links)
    found.unreadable.update(beside.unreadable)
    by_name = {os.path.basename(path): path for path in class_folders}
    if not by_name and not beside.unreadable:
        raise ValueError(_describe_missing_folders(folder, beside))
    missing = [name for name in wanted or () if name not in by_name]
    if missing and not beside.unreadable:
        problem = (
            f"container_path={folder!r} has no folder for {name_some(missing)} of classes. It has "
            f"{name_some(sorted(by_name))}.{describe_links(beside)}"
        )
        if len(missing) == len(wanted or ()):
            raise ValueError(problem)
        found.notes.append(f"{problem} These classes stay empty.")
    walks, inner = {}, {}
    for name in wanted if wanted is not None else by_name:
        walks[name] = Walk(links=found.links)
        if name in by_name:
            inner[name] = walk_images(by_name[name], options, walks[name], above=[folder])
        found.unreadable.update(walks[name].unreadable)
        found.others.update(walks[name].others)
    if wanted is None and by_name and not found.unreadable:
        _check_that_these_are_classes(folder, by_name, walks, inner, found)
    if beside.files:
        lie, are = ("images lie", "are") if len(beside.files) > 1 else ("image lies", "is")
        found.notes.append(
            f"{len(beside.files):,} {lie} outside of any class folder, and {are} left out: "
            f"{beside.files[0]!r} the first."
        )
    if options.follow_links:
        _warn_of_two_classes({name: walk.files for name, walk in walks.items()}, found)
    labelled = _number_classes(walks, found, keep_empty=wanted is not None)
    labelled.walks[""] = Walk(others=beside.others)
    return labelled


def _number_classes(walks: dict[str, Walk], found: Walk, *, keep_empty: bool) -> Labelled:
    classes = [name for name, walk in walks.items() if keep_empty or walk.files or walk.unreadable]
    empty = sorted(set(walks) - set(classes))
    if empty and classes:
        found.notes.append(
            f"Folders without images are left out: {name_some(empty)}. Name the classes to keep "
            "them: classes=[...]."
        )
    files = [path for name in classes for path in walks[name].files]
    target = [number for number, name in enumerate(classes) for _ in walks[name].files]
    return Labelled(files, target, classes, dict(walks))


def _describe_missing_folders(folder: str, beside: Walk) -> str:
    hint = describe_links(beside)
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


def describe_links(walk: Walk) -> str:
    """Say that there are symbolic links, where they may be what is missing."""
    if not walk.links:
        return ""
    plural = "links were" if len(walk.links) > 1 else "link was"
    return (
        f" {len(walk.links):,} symbolic {plural} left out, {min(walk.links)!r} the first: pass "
        "follow_links=True to follow links."
    )


def _check_that_these_are_classes(
    folder: str,
    by_name: dict[str, str],
    walks: dict[str, Walk],
    inner: dict[str, list[str]],
    found: Walk,
) -> None:
    """Refuse the folder above the one that was meant, and warn of what is doubtful."""
    filled = [name for name in walks if walks[name].files] or list(walks)
    if len(filled) == 1 and inner[filled[0]] and not are_parts(filled):
        [name] = filled
        has_images = any(os.path.dirname(path) == by_name[name] for path in walks[name].files)
        if len(inner[name]) > 1 or not has_images:
            raise ValueError(
                f"container_path={folder!r} holds no images but in the folder {name!r}, which "
                f"holds folders itself: load_image_folder({os.path.join(folder, name)!r}) takes "
                f"those for classes. If {name!r} is a class, pass classes=[{name!r}]."
            )
    if are_parts(filled) or are_kinds(filled):
        what = "parts of a data set" if are_parts(filled) else "kinds of files"
        calls = ", ".join(
            f"load_image_folder({os.path.join(folder, name)!r}"
            f"{'' if inner[name] else ', labels=...'})"
            for name in filled[:10]
        )
        raise ValueError(
            f"container_path={folder!r} holds {name_some(filled)}, which look like {what} and not "
            f"like classes. Load each by itself: {calls}. If they are classes, pass "
            f"classes={name_some(filled)}."
        )
    parts = parts_among(filled)
    if parts:
        found.notes.append(
            f"container_path={folder!r} holds {name_some(parts)} among its class folders, which "
            "look like parts of a data set. Load each by itself; or say what the classes are: "
            "classes=[...]."
        )
    parts_in = {name: parts_among(map(os.path.basename, inner[name])) for name in filled}
    split = [name for name in filled if parts_in[name]]
    if split:
        found.notes.append(
            f"{len(split):,} class folders, {split[0]!r} the first, hold {parts_in[split[0]]!r}, "
            "which look like parts of a data set; their images are loaded together. To have each "
            "part by itself, sort the images as 'part/class', or list them in a table; to load "
            "them together, say what the classes are: classes=[...]."
        )
    _warn_of_names_alike(filled, found)


def _warn_of_names_alike(classes: Collection[Any], found: Walk) -> None:
    alike = names_alike(name for name in classes if isinstance(name, str))
    if alike:
        found.notes.append(
            f"Classes differ in upper and lower case or in spaces alone: {name_some(alike)}. Give "
            "them one name if they are one class; else say what the classes are: classes=[...]."
        )


def _warn_of_two_classes(files_of: dict[str, list[str]], found: Walk) -> None:
    doubled = files_in_two(files_of)
    if doubled:
        found.notes.append(
            f"{len(doubled):,} image{'s are' if len(doubled) > 1 else ' is'} in two classes, by "
            "another name or link: "
            f"{min(doubled)!r} is the first."
        )


def label_by_table(
    folder: str,
    table: Any,
    columns: Sequence[Any] | None,
    wanted: list[Any] | None,
    options: WalkOptions,
    found: Walk,
) -> Labelled:
    """Take files and their labels from a table.

    Parameters
    ----------
    folder : str
        Where the files lie.
    table : path or DataFrame
        Of names of files and labels.
    columns : sequence of two or None
        Which columns hold them; None to find out.
    wanted : list or None
        Which labels to take, in this order; None for all, sorted.
    options : WalkOptions
        Which endings a name without ending may have, and whether links are followed.
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
    table = find_table(table, folder)
    beside = None if hasattr(table, "columns") else os.path.dirname(os.path.abspath(table))
    locator = Locator(folder, beside, options)
    origin, column, rows = read_labels_table(table, columns, locator.has)
    try:
        there = {row.label for row in rows}
        classes = sorted(there) if wanted is None else wanted
    except TypeError:
        kinds = ", ".join(sorted({type(row.label).__name__ for row in rows}))
        raise ValueError(
            "The labels of the table cannot be sorted: they must all be strings, or all be "
            f"numbers. They are of type {kinds}."
        ) from None
    missing = [name for name in classes if name not in there]
    if missing:
        found.notes.append(
            f"No row of labels has the label {name_some(missing)} of classes. It has "
            f"{name_some(sorted(there, key=str))}."
        )
    if wanted is None:
        _warn_of_names_alike(classes, found)
    numbers = {name: number for number, name in enumerate(classes)}
    files, target = [], []
    labels: dict[str, Any] = {}
    for place, name, label in rows:
        try:
            path, problem = locator.find(name)
        except ValueError as error:
            raise ValueError(f"{origin}, {place}: {error}") from None
        if labels.setdefault(path, label) != label:
            raise ValueError(
                f"{origin} has two labels for {os.path.relpath(path, folder)!r}: "
                f"{labels[path]!r} and {label!r}."
            )
        if label not in numbers:
            continue
        if problem is None:
            files.append(path)
            target.append(numbers[label])
        else:
            found.unreadable[path] = problem
    problems = set(found.unreadable.values())
    if problems == {LINK}:
        found.remedy = (
            "Pass follow_links=True to follow links, or on_error='skip' to leave them out."
        )
    elif problems and all(problem.startswith(AMBIGUOUS) for problem in problems):
        found.remedy = (
            "Say which is meant: names in the table may hold folders and endings, and extensions= "
            "says which endings count. Or pass on_error='skip' to leave them out."
        )
    elif not files and problems:
        found.remedy = (
            f"None of the files of the column {column!r} is found. columns=(path, label) says "
            "which columns to read; names of files are relative to container_path, and may lack "
            "their endings."
        )
        if rows[0].name.isdecimal():
            found.remedy += " If these numbers have lost the zeros that they began with, " + (
                "pandas.read_csv(..., dtype=str) keeps them."
                if hasattr(table, "columns")
                else "put those back; spreadsheets drop them."
            )
    return Labelled(files, target, classes)
