"""The image files below a folder, in an order that does not depend on the machine."""

import os
import stat
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

EXTENSIONS = (
    ".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".pjpeg", ".pjp", ".jps", ".mpo", ".webp",
    ".bmp", ".gif", ".tif", ".tiff", ".avif",
    *((".heic", ".heif", ".hif") if find_spec("pillow_heif") else ()),
)  # fmt: skip
"""Endings of names of the formats that are read; pillow-heif is optional."""

UNREAD_EXTENSIONS = frozenset([
    ".heic", ".heif", ".hif", ".jxl", ".jp2", ".j2k", ".jpf", ".jxr", ".ico", ".svg",
    ".psd", ".tga", ".dib", ".ppm", ".pgm", ".pbm", ".pnm", ".pcx", ".exr", ".hdr", ".dds", ".xcf",
    ".eps", ".dcm", ".nii", ".raw", ".dng", ".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw", ".srf",
    ".orf", ".rw2", ".raf", ".pef", ".srw", ".x3f", ".erf", ".3fr", ".iiq", ".insp",
])  # fmt: skip
"""Endings of other images, which a user would miss."""

NO_IMAGES = frozenset([
    ".txt", ".csv", ".tsv", ".json", ".jsonl", ".xml", ".yaml", ".yml", ".toml", ".ini", ".cfg",
    ".md", ".rst", ".html", ".htm", ".pdf", ".doc", ".docx", ".odt", ".xls", ".xlsx", ".ods",
    ".ppt", ".pptx", ".log", ".db", ".sqlite", ".lnk", ".url", ".xmp", ".aae", ".thm", ".info",
    ".py", ".ipynb", ".m", ".sh", ".bat", ".js", ".css", ".zip", ".gz", ".tar", ".tgz", ".7z",
    ".rar", ".npy", ".npz", ".mat", ".pkl", ".h5", ".hdf5", ".parquet", ".pt", ".pth", ".onnx",
    ".mp3", ".wav", ".mp4", ".mov", ".avi", ".mkv", ".webm", ".md5", ".sha1", ".sha256", ".dvc",
    ".tmp", ".part", ".crdownload", ".bak", ".lock", ".exe", ".dll",
    "readme", "license", "licence", "copying", "notice", "authors", "changelog", "makefile",
    "icon\r",
])  # fmt: skip
"""Endings of files that commonly lie beside images, and whole names of such without an ending."""

SYSTEM_FOLDERS = frozenset([
    "@eadir", "@tmp", "@recycle", "#recycle", "#snapshot", "__macosx", "$recycle.bin", "recycler",
    "system volume information", "lost+found", "__pycache__", "found.000",
])  # fmt: skip
"""Folders that systems make for themselves, in lower case: thumbnails, trash and the like."""

_JUNCTION = 0xA0000003  # Windows' IO_REPARSE_TAG_MOUNT_POINT


@dataclass(frozen=True)
class WalkOptions:
    """Which files a walk takes.

    Attributes
    ----------
    extensions : collection of str or None
        Endings of the names to take, in lower case; None takes all.
    recursive : bool
        Whether to go into the folders below, too.
    follow_links : bool
        Whether symbolic links are what they lead to.
    """

    extensions: Collection[str] | None = EXTENSIONS
    recursive: bool = True
    follow_links: bool = False


@dataclass
class Walk:
    """What a walk through folders came by.

    Attributes
    ----------
    files : list of str
        Paths of the image files.
    links : list of str
        Symbolic links that were not followed and may be images or folders.
    unreadable : dict of str to str
        Folders that could not be listed, or files that cannot be taken, and why.
    others : Counter of str
        How many files there are of each other ending.
    notes : list of str
        What to warn of.
    remedy : str
        What to do about what is unreadable, if it is known.
    """

    files: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    unreadable: dict[str, str] = field(default_factory=dict)
    others: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    remedy: str = ""


def walk_images(
    folder: str, options: WalkOptions, found: Walk, above: Collection[str] = ()
) -> list[str]:
    """Collect the image files of a folder, in the order of their names.

    Neither hidden files and folders nor FIFOs, sockets and devices count. No symbolic link is
    followed, so that the walk ends and stays below the folder, unless the options say so; then a
    folder is entered once, by its own name if it has one below ``folder``.

    Parameters
    ----------
    folder : str
        Where to begin.
    options : WalkOptions
        What to take.
    found : Walk
        Gets what is found.
    above : collection of str, default=()
        Folders that no link may lead back to.

    Returns
    -------
    list of str
        Paths of the folders in ``folder`` itself.
    """
    entered = {_identity(path) for path in (folder, *above)} if options.follow_links else set()
    real, linked, files = _list_folder(folder, options, found)
    linked = [path for path in linked if _identity(path) not in entered]
    inner = sorted(real + linked)
    files_of = {folder: files}
    while options.recursive and (real or linked):  # no recursion: deeper than Python's stack
        current = real.pop() if real else linked.pop(0)
        if options.follow_links:
            identity = _identity(current)
            if identity in entered:
                continue
            entered.add(identity)
        below, links_below, files_of[current] = _list_folder(current, options, found)
        real.extend(below)
        linked.extend(links_below)
    for current in sorted(files_of, key=_parts):
        found.files.extend(files_of[current])
    return inner


def _identity(path: str) -> tuple[int, int] | str:
    """Return what all names of one folder or file have in common."""
    try:
        status = os.stat(path)
    except OSError:  # which will be told where it is opened
        return path
    return status.st_dev, status.st_ino


def _parts(path: str) -> list[str]:
    """A sorting key that lists a folder right before the folders in it."""
    return path.split(os.sep)


def _list_folder(
    folder: str, options: WalkOptions, found: Walk
) -> tuple[list[str], list[str], list[str]]:
    """Return the folders, links to folders and image files that lie in one folder, sorted."""
    folders: list[str] = []
    linked: list[str] = []
    files: list[str] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                ending = kind_of_name(entry.name)
                links = entry.is_symlink() or (
                    os.name == "nt" and is_link(entry.stat(follow_symlinks=False))
                )
                if links and not options.follow_links:
                    if ending not in NO_IMAGES:
                        found.links.append(entry.path)
                elif os.path.isdir(entry.path) if links else entry.is_dir():
                    if entry.name.lower() not in SYSTEM_FOLDERS:
                        (linked if links else folders).append(entry.path)
                elif os.path.isfile(entry.path) if links else entry.is_file():
                    if has_extension(entry.name, options.extensions):
                        files.append(entry.path)
                    else:
                        found.others[ending] += 1
                elif links and _takes(ending, options) and not os.path.exists(entry.path):
                    found.unreadable[entry.path] = "the symbolic link leads nowhere"
    except OSError as error:
        found.unreadable[folder] = error.strerror or str(error)
    return sorted(folders), sorted(linked), sorted(files)


def is_link(status: os.stat_result) -> bool:
    """Whether what ``os.lstat`` says is of a symbolic link, or of Windows' junction."""
    return stat.S_ISLNK(status.st_mode) or getattr(status, "st_reparse_tag", 0) == _JUNCTION


def has_extension(name: str, extensions: Collection[str] | None) -> bool:
    """Whether a name ends in one of the extensions, in upper or lower case."""
    return extensions is None or os.path.splitext(name)[1].lower() in extensions


def _takes(ending: str, options: WalkOptions) -> bool:
    """Whether a link of this ending that leads nowhere may have been one to an image or folder."""
    return not ending or options.extensions is None or ending in options.extensions


def kind_of_name(name: str) -> str:
    """Return the ending of a name, or the whole of one that is known to be of no image."""
    lower = name.lower()
    return lower if lower in NO_IMAGES else os.path.splitext(lower)[1]


def files_in_two(files_of: dict[Any, list[str]]) -> list[str]:
    """Return the files of later lists that are in an earlier one under another name."""
    first: dict[Any, Any] = {}
    return [
        path
        for key, files in files_of.items()
        for path in files
        if first.setdefault(_identity(path), key) != key
    ]
