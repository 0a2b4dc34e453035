"""A cache of arrays computed from images, on disk, shared by folds, candidates and processes.

The arrays are pixels of image files, or features of pixels, with the same shape for all images. The
cache folder has one subfolder for each way of computing them. A subfolder holds numbered segments,
to which images are added as they are decoded. Images that are in one segment in the requested order
are returned as a memory map of it. Others are gathered: a few in memory, many in a separate file, a
*view*, which is also mapped. Reading takes no lock. Writing takes one, which the operating system
releases when a process dies. When the limit is reached, the least recently used files are removed.
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
"""Bytes that are computed or copied at once, unless the maker needs less."""

SEGMENTS = 64
"""Small reads share a segment, up to the limit of the cache divided by this number.

With a lower number, freeing space removes more at once; with a higher one, more files are open.
"""

IN_MEMORY_BYTES = 1 << 26
"""Scattered images of up to this size are gathered in memory."""

SUFFIXES = (".keys", ".pixels", ".view", ".tmp")
"""Suffixes of the files of a cache; ".tmp" is an incomplete view."""

Maker = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""Function of n positions that returns which could be read, (n,), and arrays, (n, *shape)."""


@dataclass
class CacheFolder:
    """All files of a cache: their number and size, and freeing space.

    Attributes
    ----------
    path : Path
        The folder, which may also hold other files; they are not touched.
    limit : int
        Maximum size of the cache in bytes.
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
        """Return the number of images of all entries, and the size of all files in bytes."""
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
        """Remove the least recently used files until ``needed`` bytes fit, those of ``spare`` last.

        The lock must be held, so that incomplete files of other processes are abandoned ones.
        """
        sizes = self.sizes()
        for path in sizes:
            keyless = path.suffix == ".pixels" and path.with_suffix(".keys") not in sizes
            if keyless or path.suffix == ".tmp":
                with suppress(PermissionError):  # Windows keeps mapped files
                    path.unlink(missing_ok=True)
        sizes = self.sizes()
        excess = sum(sizes.values()) + needed - self.limit
        removable = [path for path in sizes if path.suffix in (".keys", ".view")]
        removable.sort(key=lambda path: (path in spare, _last_use(path), path.suffix == ".keys"))
        while excess > 0 and removable and needed <= self.limit:
            path = removable.pop(0)
            with suppress(PermissionError):
                path.unlink(missing_ok=True)  # keys first, so that none is left without pixels
                path.with_suffix(".pixels").unlink(missing_ok=True)
                excess -= sizes[path] + sizes.get(path.with_suffix(".pixels"), 0)
        if excess > 0:
            raise ValueError(
                f"The images need {needed:,} bytes in the cache, but cache_limit={self.limit:,} "
                "leaves too few. Increase cache_limit, or choose a smaller image size."
            )


class Places(NamedTuple):
    """Positions of images in the cache.

    Attributes
    ----------
    segments : list of Segment
        Segments of the entry.
    numbers : ndarray of shape (n_images,), int
        Index of the segment of each image; -1 for none.
    rows : ndarray of shape (n_images,), int
        Row of each image in its segment.
    """

    segments: list[Segment]
    numbers: np.ndarray
    rows: np.ndarray

    def used(self) -> list[int]:
        """Return the indices of the segments that hold some of the images."""
        return [number for number in np.unique(self.numbers).tolist() if number >= 0]

    def in_use(self) -> set[Path]:
        """Return the key files of these segments."""
        return {self.segments[number].path for number in self.used()}


class ArrayCache:
    """A cache of arrays that are computed from images in one way.

    Parameters
    ----------
    folder : path
        Folder of the cache, which is created if it is missing.
    limit : int
        Maximum size in bytes.
    entry : Entry
        Description of the array of each image.
    version : str
        Version of the computation; arrays of other versions are not used.
    rows_at_once : int or None, default=None
        Number of images that are computed before they are written; None means ``BLOCK_BYTES``.
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
        self.lock = FileLock(self.whole.path / "sklearn_cnn.lock")  # reentrant

    def fetch(
        self, keys: np.ndarray, make: Maker, stand_in: Callable[[], np.ndarray] | None = None
    ) -> np.ndarray:
        """Return the arrays of images, and compute those that are missing.

        Parameters
        ----------
        keys : ndarray of shape (n_images, 2), uint64
            Key of each image; zeros for an image that cannot be cached.
        make : callable
            Function that is called with positions in ``keys``, block by block.
        stand_in : callable or None, default=None
            Function that is called if images could not be read, after all others are cached. It
            returns their replacement, an ndarray of the entry's shape, or raises an error. None if
            no image can fail.

        Returns
        -------
        ndarray of shape (n_images, *shape), of the type of the entry
            The arrays, as a read-only memory map if they are contiguous or large.

        Raises
        ------
        ValueError
            If the arrays exceed the limit.
        OSError
            If the folder cannot be written to, or the disk is full.
        """
        with suppress(FileNotFoundError):  # removed by another process: continue with the lock
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
                raise FileNotFoundError(ENOENT, "newly cached images have disappeared", self.folder)
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
        """Compute and store the missing images; return how many could not be read."""
        missing = _first_of_each(keys, np.flatnonzero(places.rows < 0))
        needed, in_use = self._bytes_for(missing, keys), places.in_use()
        segment = places.segments[-1] if places.segments else None
        if self.whole.size_of(in_use) + needed > self.whole.limit:  # too scattered: store all again
            missing = _first_of_each(keys, np.arange(len(keys)))
            needed, in_use, segment = self._bytes_for(missing, keys), set(), None
        if segment is not None and self._can_grow(segment, needed, in_use):
            segment.trim()
        else:  # with a number that no segment had before, including removed ones
            number = max([time.time_ns(), *(old.number + 1 for old in places.segments)])
            segment = Segment(self.folder / f"{number}.keys", self.entry)
        self.whole.make_room(needed, {*in_use, segment.path})
        n_unread = 0
        for start in range(0, len(missing), self.rows_at_once):
            block = missing[start : start + self.rows_at_once]
            read, pixels = make(block)
            kept = read & keys[block].any(axis=1)
            n_unread += len(block) - int(kept.sum())
            if kept.any():  # no copy of the pixels if all are kept
                segment.append(keys[block[kept]], pixels if kept.all() else pixels[kept])
        return n_unread

    def _bytes_for(self, missing: np.ndarray, keys: np.ndarray) -> int:
        """Return the bytes to write, including a view if the images will not be contiguous."""
        n_bytes = len(missing) * (self.entry.n_bytes + KEY_BYTES)
        if len(missing) < len(keys) and self._are_large(len(keys)):
            n_bytes += len(keys) * self.entry.n_bytes
        return n_bytes

    def _can_grow(self, segment: Segment, needed: int, in_use: Set[Path]) -> bool:
        """Tell whether a segment may take ``needed`` more bytes."""
        limit = self.whole.limit
        small = self.whole.size_of({segment.path}) + needed <= limit // SEGMENTS
        return small and self.whole.size_of({segment.path, *in_use}) + needed <= limit

    def _are_large(self, n_images: int) -> bool:
        return n_images * self.entry.n_bytes > IN_MEMORY_BYTES

    def _collect(self, keys: np.ndarray, places: Places, blank: np.ndarray | None) -> np.ndarray:
        """Map or gather images that have been found, and mark their files as used."""
        n_images, first = len(keys), int(places.rows[0])
        maps = {number: places.segments[number].pixels() for number in places.used()}
        in_row = (places.rows == np.arange(first, first + n_images)).all()
        if first >= 0 and len(maps) == 1 and in_row:
            pixels = maps[places.numbers[0]][first : first + n_images]
        elif self._are_large(n_images):
            pixels = self._view(keys, places, self._gather(places, maps, blank, self.rows_at_once))
        else:
            (pixels,) = self._gather(places, maps, blank, n_images)
            pixels.flags.writeable = False  # like a map
        for path in places.in_use():  # after its view, which is faster to recreate
            _mark_as_used(path)
        return pixels

    def _gather(
        self, places: Places, maps: dict[int, np.ndarray], blank: np.ndarray | None, step: int
    ) -> Iterator[np.ndarray]:
        """Gather images, in blocks of ``step``."""
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
        """Map the file that holds exactly these images, and write it if it is missing."""
        kept = np.where(places.rows[:, np.newaxis] >= 0, keys, 0)
        name = blake2b(kept.astype(np.uint64).tobytes(), digest_size=KEY_BYTES).hexdigest()
        view = self.folder / f"{name}.view"
        with suppress(FileNotFoundError):
            return self._map_view(view)
        with self.lock:
            with suppress(FileNotFoundError):  # written while this process waited
                return self._map_view(view)
            unfinished = view.with_suffix(".tmp")
            # Its sources are mapped, and stay readable if there is no space for both.
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
    """Name the parameter in errors of its folder, except if the machine lacks resources."""
    try:
        yield
    except OSError as error:
        if error.errno in OUT_OF_RESOURCES:
            raise
        reason = error.strerror or str(error)
        raise OSError(
            error.errno,
            f"{reason} - in the folder of cache={cache!r}, which must be a writable folder with "
            f"space for the {kept}",
            error.filename,
        ) from error


def open_cache(
    cache: object, limit: float, entry: Entry, version: str, rows_at_once: int | None = None
) -> ArrayCache | None:
    """Return the cache given by the parameters of an estimator, or None."""
    if isinstance(cache, (str, os.PathLike)):
        if not os.fspath(cache):
            raise ValueError("cache='' is not a folder. Pass its path, or None for no cache.")
        folder = os.path.expanduser(cache)
    else:  # a joblib.Memory, which may have no store
        store = getattr(cache, "store_backend", None)
        if store is None:
            return None
        folder = os.path.join(store.location, "sklearn_cnn")
    return ArrayCache(folder, int(min(limit, sys.maxsize)), entry, version, rows_at_once)


def _first_of_each(keys: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return one row for each key, and all rows without a key."""
    chosen = ~keys[rows].any(axis=1)
    chosen[np.unique(keys[rows], axis=0, return_index=True)[1]] = True
    return rows.compress(chosen)


def _mark_as_used(path: Path) -> None:
    with suppress(OSError):  # a read-only cache can still be read
        os.utime(path)


def _last_use(path: Path) -> float:
    with suppress(FileNotFoundError):
        return path.stat().st_mtime
    return 0.0
