"""What was made of images, on the disk, shared by folds, candidates and processes.

Pixels are kept of image files, and features of pixels: an array of one shape for each image. The
folder of a cache has a folder for each way of making them. In it lie numbered segments, to which
images are added as they are decoded. Images that lie in one segment in the order asked for come
back as a memory map of it. Others are gathered: a few in memory, many in a file of their own, a
*view*, which is mapped too. Reading takes no lock; writing takes one, which the operating system
releases when a process dies. When the limit is reached, the least recently used files go.
"""

import os
import sys
import time
from collections.abc import Callable, Iterator, Set
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from errno import ENOENT
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

import numpy as np
from filelock import FileLock

from sklearn_cnn.files.segment import KEY_BYTES, Entry, Segment, map_images, match_keys, sync
from sklearn_cnn.files.sources import OUT_OF_RESOURCES

BLOCK_BYTES = 1 << 25
"""What is made or copied at once, in bytes, unless the maker asks for less."""

SEGMENTS = 64
"""Small reads are put together in a segment, up to the limit of the cache divided by this.

A lower number removes more at once when room is made; a higher one opens more files at once.
"""

IN_MEMORY_BYTES = 1 << 26
"""Scattered images of up to this size are gathered in memory."""

SUFFIXES = (".keys", ".pixels", ".view", ".tmp")
"""Suffixes of the files of a cache; ".tmp" is a view that is not finished."""

Maker = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""Takes n positions, returns which could be read, of shape (n,), and their arrays, (n, *shape)."""


@dataclass
class CacheFolder:
    """All files of a cache: their number and size, and how room is made.

    Attributes
    ----------
    path : Path
        The folder; it may hold other files too, which are left alone.
    limit : int
        Bytes that the cache may take.
    """

    path: Path
    limit: int

    def __str__(self) -> str:
        n_images, n_bytes = self.count()
        return (
            f"{n_images:,} images, {n_bytes / 1e6:,.1f} MB of at most {self.limit / 1e6:,.1f} MB, "
            f"in {self.path}"
        )

    def count(self) -> tuple[int, int]:
        """Count the images, of all entries together, and the bytes that all files take."""
        sizes = self.sizes()
        keys = sum(size for path, size in sizes.items() if path.suffix == ".keys")
        return keys // KEY_BYTES, sum(sizes.values())

    def sizes(self) -> dict[Path, int]:
        """Return the size of every file of the cache, in bytes."""
        sizes = {}
        for path in self.path.glob("[0-9a-f]" * 2 * KEY_BYTES + "/*.*"):
            if path.suffix in SUFFIXES:
                with suppress(FileNotFoundError):
                    sizes[path] = path.stat().st_size
        return sizes

    def size_of(self, segments: Set[Path]) -> int:
        """Return the size of some segments, in bytes."""
        sizes = self.sizes().items()
        return sum(size for path, size in sizes if path.with_suffix(".keys") in segments)

    def make_room(self, needed: int, spare: Set[Path]) -> None:
        """Remove the least recently used files until ``needed`` bytes fit; ``spare`` goes last.

        The lock must be held: unfinished files of other processes are then abandoned.
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


class Places(NamedTuple):
    """Where images lie.

    Attributes
    ----------
    segments : list of Segment
        Those of the entry.
    numbers : ndarray of shape (n_images,), int
        Which of them holds each image; -1 for none.
    rows : ndarray of shape (n_images,), int
        Its row in that segment.
    """

    segments: list[Segment]
    numbers: np.ndarray
    rows: np.ndarray

    def used(self) -> list[int]:
        """Which segments hold some of the images."""
        return [number for number in np.unique(self.numbers).tolist() if number >= 0]

    def in_use(self) -> set[Path]:
        """Their files of keys."""
        return {self.segments[number].path for number in self.used()}


class ArrayCache:
    """What is made of images in one way.

    Parameters
    ----------
    folder : path
        Made if it is missing.
    limit : int
        Bytes that it may take.
    entry : Entry
        What is kept of each image, and how it is made.
    version : str
        Of what makes it: arrays of another version are not used.
    rows_at_once : int or None, default=None
        Images that are made before they are written; None for as many as ``BLOCK_BYTES`` hold.
    """

    def __init__(
        self,
        folder: str | Path,
        limit: int,
        entry: Entry,
        version: str,
        rows_at_once: int | None = None,
    ) -> None:
        self.whole = CacheFolder(Path(folder), limit)
        self.entry = entry
        name = blake2b(f"{version}{entry.key()}".encode(), digest_size=KEY_BYTES).hexdigest()
        self.folder = self.whole.path / name
        self.rows_at_once = rows_at_once or max(1, BLOCK_BYTES // entry.n_bytes)
        self.lock = FileLock(self.whole.path / "sklearn_cnn.lock")  # lets its holder in again

    def fetch(
        self, keys: np.ndarray, make: Maker, stand_in: Callable[[], np.ndarray] | None = None
    ) -> np.ndarray:
        """Return what is kept of images, making what is missing.

        Parameters
        ----------
        keys : ndarray of shape (n_images, 2), uint64
            The key of each image; zeros for one that cannot be kept.
        make : callable
            Called with positions in ``keys``, block by block.
        stand_in : callable or None, default=None
            Called if images could not be read, when all others are kept; returns what stands for
            them, an ndarray of the entry's shape, or raises an error. None if none can fail.

        Returns
        -------
        ndarray of shape (n_images, *shape), of the type of the entry
            A read-only memory map where they lie in one piece or are large.

        Raises
        ------
        ValueError
            If they do not fit in the limit.
        OSError
            If the folder cannot be written to, or the disk is full.
        """
        with suppress(FileNotFoundError):  # removed by another process since: then with the lock
            places = self._find(keys)
            if (places.rows >= 0).all():
                return self._collect(keys, places, None)
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.lock:
            places = self._find(keys)
            if (places.rows >= 0).all():
                return self._collect(keys, places, None)
            n_unread = self._store(keys, places, make)
            blank = stand_in() if n_unread and stand_in is not None else None
            places = self._find(keys)
            if len(_first_of_each(keys, np.flatnonzero(places.rows < 0))) != n_unread:
                raise FileNotFoundError(ENOENT, "images that were just kept are gone", self.folder)
            return self._collect(keys, places, blank)

    def _find(self, keys: np.ndarray) -> Places:
        segments = [Segment(path, self.entry) for path in self.folder.glob("*.keys")]
        segments.sort(key=lambda segment: segment.number)
        places = Places(segments, np.full(len(keys), -1), np.full(len(keys), -1))
        for number, segment in enumerate(segments):
            rows = match_keys(segment.keys(), keys)
            found = rows >= 0
            places.numbers[found] = number
            places.rows[found] = rows[found]
        return places

    def _store(self, keys: np.ndarray, places: Places, make: Maker) -> int:
        """Make what is missing; return how many images could not be read."""
        missing = _first_of_each(keys, np.flatnonzero(places.rows < 0))
        needed, in_use = self._bytes_for(missing, keys), places.in_use()
        segment = places.segments[-1] if places.segments else None
        if self.whole.size_of(in_use) + needed > self.whole.limit:  # scattered too much: all anew
            missing = _first_of_each(keys, np.arange(len(keys)))
            needed, in_use, segment = self._bytes_for(missing, keys), set(), None
        if segment is not None and self._can_grow(segment, needed, in_use):
            segment.trim()
        else:  # of a number that no segment had before, removed ones included
            number = max([time.time_ns(), *(old.number + 1 for old in places.segments)])
            segment = Segment(self.folder / f"{number}.keys", self.entry)
        self.whole.make_room(needed, {*in_use, segment.path})
        n_unread = 0
        for start in range(0, len(missing), self.rows_at_once):
            block = missing[start : start + self.rows_at_once]
            read, pixels = make(block)
            kept = read & keys[block].any(axis=1)
            n_unread += len(block) - int(kept.sum())
            if kept.any():  # without a copy of the pixels if all are kept
                segment.append(keys[block[kept]], pixels if kept.all() else pixels[kept])
        return n_unread

    def _bytes_for(self, missing: np.ndarray, keys: np.ndarray) -> int:
        """Count what is to be written, with a view if the images will not lie in one piece."""
        n_bytes = len(missing) * (self.entry.n_bytes + KEY_BYTES)
        if len(missing) < len(keys) and self._are_large(len(keys)):
            n_bytes += len(keys) * self.entry.n_bytes
        return n_bytes

    def _can_grow(self, segment: Segment, needed: int, in_use: Set[Path]) -> bool:
        """Whether a segment may take ``needed`` more bytes."""
        limit = self.whole.limit
        small = self.whole.size_of({segment.path}) + needed <= limit // SEGMENTS
        return small and self.whole.size_of({segment.path, *in_use}) + needed <= limit

    def _are_large(self, n_images: int) -> bool:
        return n_images * self.entry.n_bytes > IN_MEMORY_BYTES

    def _collect(self, keys: np.ndarray, places: Places, blank: np.ndarray | None) -> np.ndarray:
        """Map or gather images that have been found, and mark what holds them as used."""
        n_images, first = len(keys), int(places.rows[0])
        maps = {number: places.segments[number].pixels() for number in places.used()}
        in_row = (places.rows == np.arange(first, first + n_images)).all()
        if first >= 0 and len(maps) == 1 and in_row:
            pixels = maps[places.numbers[0]][first : first + n_images]
        elif self._are_large(n_images):
            pixels = self._view(keys, places, self._gather(places, maps, blank, self.rows_at_once))
        else:
            (pixels,) = self._gather(places, maps, blank, n_images)
            pixels.flags.writeable = False  # as a map is
        for path in places.in_use():  # after its view, which is sooner made again
            _mark_as_used(path)
        return pixels

    def _gather(
        self, places: Places, maps: dict[int, np.ndarray], blank: np.ndarray | None, step: int
    ) -> Iterator[np.ndarray]:
        """Copy images together, in blocks of ``step``."""
        for start in range(0, len(places.rows), step):
            block = slice(start, start + step)
            numbers, rows = places.numbers[block], places.rows[block]
            pixels = np.empty((len(rows), *self.entry.shape), dtype=self.entry.dtype)
            if blank is not None:
                pixels[numbers < 0] = blank
            for number, stored in maps.items():
                here = numbers == number
                pixels[here] = stored[rows[here]]
            yield pixels

    def _view(self, keys: np.ndarray, places: Places, blocks: Iterator[np.ndarray]) -> np.ndarray:
        """Map the file that holds just these images, writing it if it is missing."""
        kept = np.where(places.rows[:, np.newaxis] >= 0, keys, 0)
        name = blake2b(kept.astype(np.uint64).tobytes(), digest_size=KEY_BYTES).hexdigest()
        view = self.folder / f"{name}.view"
        with suppress(FileNotFoundError):
            return self._map_view(view)
        with self.lock:
            with suppress(FileNotFoundError):  # written while this process waited
                return self._map_view(view)
            unfinished = view.with_suffix(".tmp")
            # What it is copied from is mapped, and stays readable if there is no room for both.
            self.whole.make_room(len(keys) * self.entry.n_bytes, places.in_use())
            try:
                with open(unfinished, "wb") as file:
                    for block in blocks:
                        file.write(block.data)
                    sync(file)
                unfinished.replace(view)
            finally:
                unfinished.unlink(missing_ok=True)
            return self._map_view(view)

    def _map_view(self, view: Path) -> np.ndarray:
        pixels = map_images(view, self.entry)
        _mark_as_used(view)
        return pixels


@contextmanager
def cache_named_in_errors(cache: object, kept: str) -> Iterator[None]:
    """Name the parameter in errors of its folder, but not in those of a machine short of files."""
    try:
        yield
    except OSError as error:
        if error.errno in OUT_OF_RESOURCES:
            raise
        reason = error.strerror or str(error)
        raise OSError(
            error.errno,
            f"{reason} - in the folder of cache={cache!r}, which must be a folder to write to, "
            f"with room for the {kept}",
            error.filename,
        ) from error


def open_cache(
    cache: object, limit: float, entry: Entry, version: str, rows_at_once: int | None = None
) -> ArrayCache | None:
    """Return the cache that the parameters of an estimator name, or None."""
    if isinstance(cache, (str, os.PathLike)):
        if not os.fspath(cache):
            raise ValueError("cache='' is no folder: pass its path, or None for no cache.")
        folder = os.path.expanduser(cache)
    else:  # a joblib.Memory, which may have no store
        store = getattr(cache, "store_backend", None)
        if store is None:
            return None
        folder = os.path.join(store.location, "sklearn_cnn")
    return ArrayCache(folder, int(min(limit, sys.maxsize)), entry, version, rows_at_once)


def _first_of_each(keys: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return one row of each key, and all rows without a key."""
    chosen = ~keys[rows].any(axis=1)
    chosen[np.unique(keys[rows], axis=0, return_index=True)[1]] = True
    return rows.compress(chosen)


def _mark_as_used(path: Path) -> None:
    with suppress(OSError):  # a cache that is read-only can still be read
        os.utime(path)


def _last_use(path: Path) -> float:
    with suppress(FileNotFoundError):
        return path.stat().st_mtime
    return 0.0
