"""The file that a row of a table means: its path may lack the ending or start at another folder."""

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace

from sklearn_cnn.files.scan import (
    EXTENSIONS,
    Walk,
    WalkOptions,
    has_extension,
    is_link,
    walk_images,
)

Names = dict[tuple[str, str], list[str]]
"""Paths of image files, by name in lower case and by name without the ending."""


LINK = "symbolic links are followed with follow_links=True only"
AMBIGUOUS = "it may be any of"
"""What is wrong with a file that is there."""


class Locator:
    """Find the files that a table names in one folder, and none outside of it.

    Parameters
    ----------
    folder : str
        ``container_path``.
    beside : str or None
        The folder of the table.
    options : WalkOptions
        Which endings a name without ending may have, and whether files may be symbolic links.
    """

    def __init__(self, folder: str, beside: str | None, options: WalkOptions) -> None:
        self.folder = folder
        self._endings = options.extensions or frozenset(EXTENSIONS)
        self.options = replace(options, extensions=self._endings)
        here = os.path.abspath(folder)
        self._roots = list(dict.fromkeys([here, os.path.realpath(folder)]))
        bases = [here, beside or here, "", os.path.dirname(here)]
        self._bases = list(dict.fromkeys(map(os.path.abspath, bases)))
        self._listed: dict[str, Names] = {}
        self._without_links: set[str] = set()

    def find(self, name: str) -> tuple[str, str | None]:
        """Return the path of a file, and what is wrong with it if anything.

        A name is relative to the folder; if there is no such file, to that of the table, then to
        the working folder, then to the folder around it: it then begins with the folder's name.

        Raises
        ------
        ValueError
            If it leads out of the folder.
        """
        places, problems = [], []
        for path in self._places(name):
            problem = self._problem_with(path)
            if problem is None:
                return path, None
            places.append(path)
            problems.append(problem)
        if not places:
            raise ValueError(
                f"path {name!r} leads out of container_path={self.folder!r}. Paths must lie in it; "
                "others need no load_image_folder, since ImageReader takes any path."
            )
        for path in dict.fromkeys(places):
            matches = self._similar(path)
            if len(matches) == 1:
                return matches[0], self._problem_with(matches[0])
            if matches:
                names = ", ".join(repr(os.path.relpath(match, self.folder)) for match in matches)
                return path, f"{AMBIGUOUS} {names}"
        outside = "; paths are relative to container_path" if os.path.exists(name) else ""
        return places[0], problems[0] + outside

    def has(self, name: str) -> bool:
        """Whether there is such a file."""
        try:
            return self.find(name)[1] is None
        except ValueError:
            return False

    def _places(self, name: str) -> Iterator[str]:
        """Find where in the folder a file of this name may lie, the likeliest first."""
        for form in dict.fromkeys([name, name.strip(), name.strip().replace("\\", "/")]):
            for base in self._bases:
                path = os.path.normpath(os.path.join(base, form))
                for root in self._roots:
                    inside = path.removeprefix(os.path.join(root, ""))
                    if inside != path:
                        yield os.path.join(self.folder, inside)

    def _problem_with(self, path: str) -> str | None:
        """Say why a file is not taken: missing, no file, or a symbolic link on the way."""
        try:
            if not self.options.follow_links and self._meets_link(path):
                return LINK
            os.stat(path)
        except (OSError, ValueError) as error:
            if isinstance(error, FileNotFoundError) and os.path.islink(path):
                return "the symbolic link leads nowhere"
            return getattr(error, "strerror", None) or "its name is not one that a file can have"
        return None if os.path.isfile(path) else "it is no regular file"

    def _meets_link(self, path: str) -> bool:
        """Whether a path below the folder, or a folder on the way to it, is a symbolic link."""
        if path in self._without_links:
            return False
        above = os.path.dirname(path)
        if len(above) > len(self.folder.rstrip(os.sep)) and self._meets_link(above):
            return True
        if is_link(os.lstat(path)):
            return True
        if os.path.isdir(path):
            self._without_links.add(path)
        return False

    def _similar(self, path: str) -> list[str]:
        """Return the images whose names differ by the ending that is left out, or by its case."""
        folder, name = os.path.split(path)
        key = ("name", name.lower()) if has_extension(name, self._endings) else ("stem", name)
        names = self._list(folder, recursive=False)
        if not names and folder in (self.folder, self.folder.rstrip(os.sep)):
            names = self._list(folder, recursive=self.options.recursive)
        return names.get(key, [])

    def _list(self, folder: str, *, recursive: bool) -> Names:
        """List the images of a folder, or of all folders in it."""
        key = os.path.join(folder, "*") if recursive else folder
        if key not in self._listed:
            found = Walk()
            walk_images(folder, replace(self.options, recursive=recursive), found)
            links = (path for path in found.links if has_extension(path, self._endings))
            self._listed[key] = _by_name([*found.files, *links])
        return self._listed[key]


def _by_name(paths: Iterable[str]) -> Names:
    names: Names = defaultdict(list)
    for path in paths:
        name = os.path.basename(path)
        names["name", name.lower()].append(path)
        names["stem", os.path.splitext(name)[0]].append(path)
    return dict(names)
