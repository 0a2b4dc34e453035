"""The image files below a folder, in an order that does not depend on the machine."""

import os
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from importlib.util import find_spec

EXTENSIONS = (
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif",
    *((".heic", ".heif", ".hif") if find_spec("pillow_heif") else ()),
)  # fmt: skip
"""Endings of names of the formats that are read; pillow-heif is optional."""

UNREAD_EXTENSIONS = frozenset([
    ".heic", ".heif", ".hif", ".jxl", ".jp2", ".j2k", ".ico", ".svg", ".psd", ".tga", ".ppm",
    ".pgm", ".pbm", ".pnm", ".dcm", ".raw", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2",
])  # fmt: skip
"""Endings of other images, which whoever has such files would miss."""


@dataclass
class Walk:
    """What a walk through folders came by.

    Attributes
    ----------
    files : list of str
        Paths of the image files.
    links : list of str
        Symbolic links, which are not followed.
    unreadable : dict of str to str
        Folders that could not be listed, or files that cannot be taken, and why.
    others : Counter of str
        How many files there are of each other ending.
    """

    files: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    unreadable: dict[str, str] = field(default_factory=dict)
    others: Counter[str] = field(default_factory=Counter)


def walk_images(
    folder: str, extensions: Collection[str] | None, *, recursive: bool, found: Walk
) -> list[str]:
    """Collect the image files of a folder, in the order of their names.

    Neither hidden files and folders nor FIFOs, sockets and devices count, and no symbolic link is
    followed, so that the walk ends and stays below the folder.

    Parameters
    ----------
    folder : str
        Where to begin.
    extensions : collection of str or None
        Endings of the names to take, in lower case; None takes all.
    recursive : bool
        Whether to go into the folders below, too.
    found : Walk
        What is come by is added here.

    Returns
    -------
    list of str
        Paths of the folders in ``folder`` itself.
    """
    inner, files = _list_folder(folder, extensions, found)
    files_of = {folder: files}
    waiting = list(inner) if recursive else []
    while waiting:  # no recursion: folders may be nested deeper than Python's stack
        current = waiting.pop()
        below, files_of[current] = _list_folder(current, extensions, found)
        waiting.extend(below)
    for current in sorted(files_of, key=_parts):
        found.files.extend(files_of[current])
    return inner


def _parts(path: str) -> list[str]:
    """A sorting key that lists a folder right before the folders in it."""
    return path.split(os.sep)


def _list_folder(
    folder: str, extensions: Collection[str] | None, found: Walk
) -> tuple[list[str], list[str]]:
    """Return the folders and the image files that lie in one folder, sorted."""
    folders, files = [], []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_symlink():
                    found.links.append(entry.path)
                elif entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                elif entry.is_file(follow_symlinks=False):
                    if has_extension(entry.name, extensions):
                        files.append(entry.path)
                    else:
                        found.others[os.path.splitext(entry.name)[1].lower()] += 1
    except OSError as error:
        found.unreadable[folder] = error.strerror or str(error)
    return sorted(folders), sorted(files)


def has_extension(name: str, extensions: Collection[str] | None) -> bool:
    """Whether a name ends in one of the extensions, in upper or lower case."""
    return extensions is None or os.path.splitext(name)[1].lower() in extensions
