"""All that a cache keeps on the disk: how much it is, and how room is made.

A folder holds shelves, one for each way of reading; on a shelf lie segments, each a file of keys
and one of pixels, and views.
"""

from collections.abc import Set
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from sklearn_cnn.files.keys import KEY_BYTES

SUFFIXES = (".keys", ".pixels", ".view", ".tmp")
"""Of the files on a shelf; ".tmp" is a view that is not finished."""


class CacheInfo(NamedTuple):
    """What a cache holds.

    Attributes
    ----------
    folder : str
        Where it lies.
    n_images : int
        Decoded images, all ways of reading together.
    n_bytes : int
        Bytes that it takes.
    limit : int
        Bytes that it may take.
    """

    folder: str
    n_images: int
    n_bytes: int
    limit: int

    def __str__(self) -> str:
        return (
            f"{self.n_images:,} images, {self.n_bytes / 1e6:,.1f} MB of at most "
            f"{self.limit / 1e6:,.1f} MB, in {self.folder}"
        )


class Shelves:
    """The files of a cache.

    Parameters
    ----------
    folder : Path
        May hold other files too, which are left alone.
    limit : int
        Bytes that the cache may take.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder = folder
        self.limit = limit

    def info(self) -> CacheInfo:
        """Count what the folder holds, in all ways of reading."""
        sizes = self.sizes()
        keys = sum(size for path, size in sizes.items() if path.suffix == ".keys")
        return CacheInfo(str(self.folder), keys // KEY_BYTES, sum(sizes.values()), self.limit)

    def sizes(self) -> dict[Path, int]:
        """The size of every file of the cache, in bytes; the folder may hold others."""
        sizes = {}
        for path in self.folder.glob("[0-9a-f]" * 2 * KEY_BYTES + "/*.*"):
            if path.suffix in SUFFIXES:
                with suppress(FileNotFoundError):
                    sizes[path] = path.stat().st_size
        return sizes

    def held(self, segments: Set[Path]) -> int:
        """The size of some segments, in bytes."""
        sizes = self.sizes()
        files = [path.with_suffix(suffix) for path in segments for suffix in (".keys", ".pixels")]
        return sum(sizes.get(path, 0) for path in files)

    def make_room(self, needed: int, spare: Set[Path]) -> None:
        """Remove what was not used for longest until so many bytes more fit; ``spare`` goes last.

        The lock must be held: what others have not finished is then what they never will.
        """
        sizes = self.sizes()
        for path in sizes:
            keyless = path.suffix == ".pixels" and path.with_suffix(".keys") not in sizes
            if keyless or path.suffix == ".tmp":
                with suppress(PermissionError):  # Windows keeps what is mapped
                    path.unlink(missing_ok=True)
        sizes = self.sizes()
        excess = sum(sizes.values()) + needed - self.limit
        removable = [path for path in sizes if path.suffix in (".keys", ".view")]
        removable.sort(key=lambda path: (path in spare, _last_use(path), path.suffix == ".keys"))
        while excess > 0 and removable and needed <= self.limit:
            path = removable.pop(0)
            with suppress(PermissionError):
                path.unlink(missing_ok=True)  # keys go first, so that none is left without pixels
                path.with_suffix(".pixels").unlink(missing_ok=True)
                excess -= sizes[path] + sizes.get(path.with_suffix(".pixels"), 0)
        if excess > 0:
            raise ValueError(
                f"The images need {needed:,} bytes of the cache, and cache_limit={self.limit:,} "
                "leaves too few. Raise cache_limit, or choose a smaller size of images."
            )


def _last_use(path: Path) -> float:
    with suppress(FileNotFoundError):
        return path.stat().st_mtime
    return 0.0
