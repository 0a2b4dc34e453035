"""The image files of a folder: all, in the same order on all machines, or one by its name.

Hidden files and folders, FIFOs, sockets, devices and folders created by operating systems are
ignored. Symbolic links are only followed if the options say so.
"""

import os
import re
import stat
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from importlib.util import find_spec

from sklearn_cnn._messages import join_some

EXTENSIONS = (
    ".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".pjpeg", ".pjp", ".jps", ".mpo", ".webp",
    ".bmp", ".gif", ".tif", ".tiff", ".avif",
    *((".heic", ".heif", ".hif") if find_spec("pillow_heif") else ()),
)  # fmt: skip
"""File extensions of the supported formats; pillow-heif is optional."""

UNREAD_EXTENSIONS = frozenset([
    ".heic", ".heif", ".hif", ".jxl", ".jp2", ".j2k", ".jpf", ".jxr", ".ico", ".svg",
    ".psd", ".tga", ".dib", ".ppm", ".pgm", ".pbm", ".pnm", ".pcx", ".exr", ".hdr", ".dds", ".xcf",
    ".eps", ".dcm", ".nii", ".raw", ".dng", ".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw", ".srf",
    ".orf", ".rw2", ".raf", ".pef", ".srw", ".x3f", ".erf", ".3fr", ".iiq", ".insp",
])  # fmt: skip
"""File extensions of unsupported images, about which users should be warned."""

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
"""Extensions of files that are common next to images, and full names without extension."""

SYSTEM_FOLDERS = frozenset([
    "@eadir", "@tmp", "@recycle", "#recycle", "#snapshot", "__macosx", "$recycle.bin", "recycler",
    "system volume information", "lost+found", "__pycache__", "found.000",
])  # fmt: skip
"""Folders created by operating systems, in lower case: thumbnails, trash and so on."""

_JUNCTION = 0xA0000003  # Windows' IO_REPARSE_TAG_MOUNT_POINT

NOWHERE = "the symbolic link is broken"
NOT_FOLLOWED = "symbolic links are only followed with follow_links=True"
AMBIGUOUS = "it may be any of"
"""Reasons why a file is not used."""


@dataclass(frozen=True)
class ScanOptions:
    """Options of a scan.

    Attributes
    ----------
    extensions : collection of str or None
        File extensions to include, in lower case; None includes all files.
    recursive : bool
        Whether to include subfolders.
    follow_links : bool
        Whether to follow symbolic links.
    """

    extensions: Collection[str] | None = EXTENSIONS
    recursive: bool = True
    follow_links: bool = False


@dataclass
class Scan:
    """Result of the scan of a folder.

    Attributes
    ----------
    files : list of str
        Paths of the image files, in the order of their names.
    links : list of str
        Symbolic links that were not followed and may be images or folders.
    unreadable : dict of str to str
        Folders that could not be listed, or files that cannot be used, with the reasons.
    folders : list of str
        Paths of the direct subfolders.
    others : Counter of str
        Number of files of each other extension.
    """

    files: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    unreadable: dict[str, str] = field(default_factory=dict)
    folders: list[str] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)


def scan_images(folder: str, options: ScanOptions, above: Collection[str] = ()) -> Scan:
    """Collect the image files of a folder, in the order of their names.

    If links are followed, each folder is entered once, by its own name if it is below ``folder``,
    and links to the folders ``above`` are ignored.
    """
    entered = {_identity(path) for path in (folder, *above)} if options.follow_links else set()
    scan = Scan()
    real, linked, files = _list_folder(folder, options, scan)
    linked = [path for path in linked if _identity(path) not in entered]
    scan.folders = sorted(real + linked)
    files_of = {folder: files}
    while options.recursive and (
        real or linked
    ):  # no recursion: folders may be deeper than Python's stack
        current = real.pop() if real else linked.pop(0)
        if options.follow_links:
            identity = _identity(current)
            if identity in entered:
                continue
            entered.add(identity)
        below, links_below, files_of[current] = _list_folder(current, options, scan)
        real.extend(below)
        linked.extend(links_below)
    for path in sorted(
        files_of, key=lambda path: path.split(os.sep)
    ):  # subfolders after their folder
        scan.files.extend(files_of[path])
    return scan


def _identity(path: str) -> tuple[int, int] | str:
    """Return an identity that all names of a folder or file share."""
    try:
        status = os.stat(path)
    except OSError:  # reported when it is opened
        return path
    return status.st_dev, status.st_ino


def _list_folder(
    folder: str, options: ScanOptions, scan: Scan
) -> tuple[list[str], list[str], list[str]]:
    """Return the folders, links to folders and image files of a folder, sorted; record others."""
    folders: list[str] = []
    linked: list[str] = []
    files: list[str] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                ending = _kind_of_name(entry.name)
                links = entry.is_symlink() or (
                    os.name == "nt" and _is_link(entry.stat(follow_symlinks=False))
                )
                if links and not options.follow_links:
                    if ending not in NO_IMAGES:
                        scan.links.append(entry.path)
                elif os.path.isdir(entry.path) if links else entry.is_dir():
                    if entry.name.lower() not in SYSTEM_FOLDERS:
                        (linked if links else folders).append(entry.path)
                elif os.path.isfile(entry.path) if links else entry.is_file():
                    if has_extension(entry.name, options.extensions):
                        files.append(entry.path)
                    else:
                        scan.others[ending] += 1
                elif links and _takes(ending, options) and not os.path.exists(entry.path):
                    scan.unreadable[entry.path] = NOWHERE
    except OSError as error:
        scan.unreadable[folder] = error.strerror or str(error)
    return sorted(folders), sorted(linked), sorted(files)


def _is_link(status: os.stat_result) -> bool:
    """Tell whether the result of ``os.lstat`` is of a symbolic link or a Windows junction."""
    return stat.S_ISLNK(status.st_mode) or getattr(status, "st_reparse_tag", 0) == _JUNCTION


def has_extension(name: str, extensions: Collection[str] | None) -> bool:
    """Tell whether a name has one of the extensions, in upper or lower case."""
    return extensions is None or os.path.splitext(name)[1].lower() in extensions


def _takes(ending: str, options: ScanOptions) -> bool:
    """Tell whether a broken link with this extension may have led to an image or folder."""
    return not ending or options.extensions is None or ending in options.extensions


def _kind_of_name(name: str) -> str:
    """Return the extension of a name, or the full name if it is known not to be an image."""
    lower = name.lower()
    return lower if lower in NO_IMAGES else os.path.splitext(lower)[1]


def files_in_two(scans: Mapping[str, Scan]) -> list[str]:
    """Return the files of later scans that an earlier one contains under another name."""
    first: dict[tuple[int, int] | str, str] = {}
    return [
        path
        for name, scan in scans.items()
        for path in scan.files
        if first.setdefault(_identity(path), name) != name
    ]


def describe_links(links: Collection[str]) -> str:
    """Describe the symbolic links that were ignored; "" if there are none."""
    if not links:
        return ""
    plural = "links were" if len(links) > 1 else "link was"
    return (
        f" {len(links):,} symbolic {plural} ignored, the first of them {min(links)!r}. Pass "
        "follow_links=True to follow links."
    )


def describe_left_out(scans: Mapping[str, Scan], beside: Scan) -> str:
    """Describe the files that are ignored by extension and may be images; "" if there are none.

    Text files and tables are ignored silently, unless a class has many more of them. Files next to
    the class folders may be anything.
    """
    formats: Counter[str] = Counter()
    others: Counter[str] = Counter()
    for scan in (beside, *scans.values()):
        for ending, count in scan.others.items():
            is_usual = ending in NO_IMAGES and count <= max(10, len(scan.files))
            if ending in UNREAD_EXTENSIONS:
                formats[ending] += count
            elif ending.startswith(EXTENSIONS) if scan is beside else not is_usual:
                others[ending] += count
    sentences = []
    if formats:
        sentences.append(
            f"Image files of unsupported formats are ignored: {_count_endings(formats)}. "
            "Convert them, for example to PNG."
        )
    if others:
        sentences.append(
            f"Files that may be images are ignored because of their extensions: "
            f"{_count_endings(others)}. extensions=None loads files of any extension, and "
            "on_error='skip' removes those that are not images."
        )
    most = []
    for name, scan in scans.items():
        left_out = sum(scan.others[ending] for ending in {*formats, *others})
        if name and left_out > len(scan.files):
            most.append(f"{name!r} ({left_out:,} of {left_out + len(scan.files):,})")
    if most:
        sentences.append(f"These are most of the files of {join_some(most)}.")
    return " ".join(sentences)


def describe_nothing(scans: Iterable[Scan], where: str, extensions: Collection[str] | None) -> str:
    """Describe that no image was found, the other files, and the remedy."""
    others: Counter[str] = sum((scan.others for scan in scans), Counter())
    what = f"no files ending in {', '.join(sorted(extensions))}" if extensions else "no files"
    problem = f"there are {what} in {where} that can be read."
    if others:
        problem += f" Other files: {_count_endings(others)}."
    if not UNREAD_EXTENSIONS.isdisjoint(others):
        problem += " Convert unsupported formats, for example to PNG."
    elif not NO_IMAGES.issuperset(others) and extensions is not None:
        problem += " extensions=None loads files of any extension."
    return problem


def _count_endings(endings: Mapping[str, int]) -> str:
    """List the number of files of each extension, the most frequent first."""
    counts = sorted(endings.items(), key=lambda item: (-item[1], item[0]))
    shown = []
    for ending, count in counts[:10]:
        name = ending if re.fullmatch(r"\.?\w+", ending) else repr(ending)
        shown.append(f"{count:,} {name if ending else 'without extension'}")
    if len(counts) > 10:
        rest = sum(count for _, count in counts[10:])
        shown.append(f"{rest:,} of {len(counts) - 10:,} other extensions")
    return ", ".join(shown)


class Locator:
    """Find files in one folder, and none outside of it, by the names in a table.

    A name is relative to the folder. If no such file exists, it is relative to the folder of the
    table, then to the working folder, then to the parent folder: it then begins with the name of
    the folder. It may omit the extension.

    Parameters
    ----------
    folder : str
        ``container_path``.
    beside : str or None
        The folder of the table.
    options : ScanOptions
        Extensions that names may omit, and whether files may be symbolic links.
    """

    def __init__(self, folder: str, beside: str | None, options: ScanOptions) -> None:
        self.folder = folder
        self.options = replace(options, extensions=options.extensions or frozenset(EXTENSIONS))
        here = os.path.abspath(folder)
        self._roots = list(dict.fromkeys([here, os.path.realpath(folder)]))
        bases = [here, beside or here, "", os.path.dirname(here)]
        self._bases = list(dict.fromkeys(map(os.path.abspath, bases)))
        self._listed: dict[tuple[str, bool], dict[tuple[str, str], list[str]]] = {}
        self._without_links: set[str] = set()

    def find(self, name: str) -> tuple[str, str | None]:
        """Return the path of a file, and the problem with it, or None.

        A name outside of the folder raises a ValueError.
        """
        problems: dict[str, str] = {}
        for path in self._places(name):
            problem = self._problem_with(path)
            if problem is None:
                return path, None
            problems[path] = problem
        if not problems:
            raise ValueError(
                f"path {name!r} is outside of container_path={self.folder!r}. Paths must be inside "
                "it. ImageReader takes any path, without load_image_folder."
            )
        for path in problems:
            matches = self._similar(path)
            if len(matches) == 1:
                return matches[0], self._problem_with(matches[0])
            if matches:
                names = ", ".join(repr(os.path.relpath(match, self.folder)) for match in matches)
                return path, f"{AMBIGUOUS} {names}"
        outside = "; paths are relative to container_path" if os.path.exists(name) else ""
        path, problem = next(iter(problems.items()))
        return path, problem + outside

    def has(self, name: str) -> bool:
        """Tell whether such a file exists."""
        with suppress(ValueError):
            return self.find(name)[1] is None
        return False

    def _places(self, name: str) -> Iterator[str]:
        """Yield the possible paths of a name in the folder, the most likely first."""
        for form in dict.fromkeys([name, name.strip(), name.strip().replace("\\", "/")]):
            for base in self._bases:
                path = os.path.normpath(os.path.join(base, form))
                for root in self._roots:
                    inside = path.removeprefix(os.path.join(root, ""))
                    if inside != path:
                        yield os.path.join(self.folder, inside)

    def _problem_with(self, path: str) -> str | None:
        """Return why a file is not used: missing, not a file, or behind a symbolic link."""
        try:
            if not self.options.follow_links and self._meets_link(path):
                return NOT_FOLLOWED
            os.stat(path)
        except (OSError, ValueError) as error:
            if isinstance(error, FileNotFoundError) and os.path.islink(path):
                return NOWHERE
            return getattr(error, "strerror", None) or "its name is not a valid file name"
        return None if os.path.isfile(path) else "it is not a regular file"

    def _meets_link(self, path: str) -> bool:
        """Tell whether a path below the folder, or a parent of it, is a symbolic link."""
        if path in self._without_links:
            return False
        above = os.path.dirname(path)
        is_below = len(above) > len(self.folder.rstrip(os.sep))
        if (is_below and self._meets_link(above)) or _is_link(os.lstat(path)):
            return True
        if os.path.isdir(path):
            self._without_links.add(path)
        return False

    def _similar(self, path: str) -> list[str]:
        """Return the images whose names only differ in case or by the omitted extension."""
        folder, name = os.path.split(path)
        is_whole = has_extension(name, self.options.extensions)
        key = ("name", name.lower()) if is_whole else ("stem", name)
        names = self._list(folder, recursive=False)
        if not names and folder in (self.folder, self.folder.rstrip(os.sep)):
            names = self._list(folder, recursive=self.options.recursive)
        return names.get(key, [])

    def _list(self, folder: str, *, recursive: bool) -> dict[tuple[str, str], list[str]]:
        """List images by lower-case name and by name without extension, of one or all folders."""
        key = folder, recursive
        if key not in self._listed:
            scan = scan_images(folder, replace(self.options, recursive=recursive))
            links = (path for path in scan.links if has_extension(path, self.options.extensions))
            names: dict[tuple[str, str], list[str]] = defaultdict(list)
            for path in (*scan.files, *links):
                name = os.path.basename(path)
                names["name", name.lower()].append(path)
                names["stem", os.path.splitext(name)[0]].append(path)
            self._listed[key] = names
        return self._listed[key]
