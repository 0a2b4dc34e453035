"""Decoded pixels on the disk, shared by folds, candidates and processes.

A *shelf* is the folder of one way of reading. On it lie numbered segments, to which images are
added as they are decoded. Images that lie in one segment in the order asked for come back as a
memory map of it. Others are gathered: a few in memory, many in a file of their own, a *view*, which
is mapped likewise. Reading takes no lock; writing takes one, which the operating system releases
when a process dies. When the limit is reached, what was not used for longest goes.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

import numpy as np
from filelock import FileLock

from sklearn_cnn.images.keys import KEY_BYTES, match_keys
from sklearn_cnn.images.reading import Reading
from sklearn_cnn.images.segment import Segment, map_images, sync

BLOCK_BYTES = 1 << 25
"""Pixels that are decoded or copied at once."""

SEGMENT_BYTES = 1 << 26
"""Up to which size a segment takes the images of further reads."""

IN_MEMORY_BYTES = 1 << 26
"""Up to which size scattered images are gathered in memory."""

ABANDONED_SECONDS = 3600
"""After which an unfinished view that no one writes to is removed."""

Decoder = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""Takes n positions, returns which were read, of shape (n,), and their pixels, (n, H, W, C)."""


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


class Places(NamedTuple):
    """Where images lie.

    Attributes
    ----------
    segments : list of Segment
        Those on the shelf.
    numbers : ndarray of shape (n_images,), int
        Which of them holds each image; -1 for none.
    rows : ndarray of shape (n_images,), int
        Its row there.
    """

    segments: list[Segment]
    numbers: np.ndarray
    rows: np.ndarray

    def in_use(self) -> set[Path]:
        """The files of keys of the segments that hold some of the images."""
        return {self.segments[number].path for number in set(self.numbers.tolist()) - {-1}}


class PixelCache:
    """The decoded images of one folder.

    Parameters
    ----------
    folder : path
        Made where it is missing.
    limit : int
        Bytes that it may take.
    reading : Reading
        How the images are read.
    version : str
        Of the decoder: pixels of another version are not used.
    """

    def __init__(self, folder: str | Path, limit: int, reading: Reading, version: str) -> None:
        self.folder = Path(folder)
        self.limit = limit
        self.reading = reading
        name = blake2b(f"{version} {reading}".encode(), digest_size=KEY_BYTES).hexdigest()
        self.shelf = self.folder / name
        self.rows_at_once = max(1, BLOCK_BYTES // reading.n_bytes)
        self.lock = FileLock(self.folder / "lock")  # lets its own holder in again

    def info(self) -> CacheInfo:
        """Count what the folder holds, in all ways of reading."""
        sizes = self._sizes()
        keys = sum(size for path, size in sizes.items() if path.suffix == ".keys")
        return CacheInfo(str(self.folder), keys // KEY_BYTES, sum(sizes.values()), self.limit)

    def fetch(self, keys: np.ndarray, decode: Decoder, blank: np.ndarray) -> np.ndarray:
        """Return the pixels of images, decoding those that are not there yet.

        Parameters
        ----------
        keys : ndarray of shape (n_images, 2), uint64
            The key of each image; zeros for one that cannot be kept.
        decode : callable
            Called with positions in ``keys``, block by block.
        blank : ndarray of shape (height, width, channels), uint8
            Stands for images that could not be read.

        Returns
        -------
        ndarray of shape (n_images, height, width, channels), uint8
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
                return self._collect(keys, places, blank)
        self.shelf.mkdir(parents=True, exist_ok=True)
        with self.lock:
            places = self._find(keys)
            missing = _first_of_each(keys, np.flatnonzero(places.rows < 0))
            if len(missing):
                self._store(keys, missing, decode, places)
                places = self._find(keys)
            return self._collect(keys, places, blank)

    def _find(self, keys: np.ndarray) -> Places:
        paths = sorted(self.shelf.glob("*.keys"), key=lambda path: int(path.stem))
        places = Places(
            [Segment(path, self.reading.shape) for path in paths],
            np.full(len(keys), -1),
            np.full(len(keys), -1),
        )
        for number, segment in enumerate(places.segments):
            rows = match_keys(segment.keys(), keys)
            found = rows >= 0
            if found.any():
                places.numbers[found] = number
                places.rows[found] = rows[found]
                _mark_as_used(segment.path)
        return places

    def _store(
        self, keys: np.ndarray, missing: np.ndarray, decode: Decoder, places: Places
    ) -> None:
        """Decode what is missing into the last segment, or a new one if it would grow large."""
        needed = len(missing) * (self.reading.n_bytes + KEY_BYTES)
        segment = places.segments[-1] if places.segments else None
        if segment is None or len(segment.keys()) * segment.image_bytes + needed > SEGMENT_BYTES:
            number = 1 if segment is None else segment.number + 1
            segment = Segment(self.shelf / f"{number}.keys", self.reading.shape)
        self._make_room(needed, {*places.in_use(), segment.path})
        segment.trim()
        for start in range(0, len(missing), self.rows_at_once):
            block = missing[start : start + self.rows_at_once]
            read, pixels = decode(block)
            kept = read & keys[block].any(axis=1)
            if not kept.all():
                block, pixels = block[kept], pixels[kept]
            if len(block):
                segment.append(keys[block], pixels)

    def _collect(self, keys: np.ndarray, places: Places, blank: np.ndarray) -> np.ndarray:
        """Map or gather images that have been found."""
        n_images, first = len(keys), int(places.rows[0])
        in_row = (places.rows == np.arange(first, first + n_images)).all()
        if in_row and first >= 0 and (places.numbers == places.numbers[0]).all():
            mapped: np.ndarray = places.segments[places.numbers[0]].pixels()
            return mapped[first : first + n_images]
        blocks = self._gather(places, blank)
        if n_images * self.reading.n_bytes <= IN_MEMORY_BYTES:
            return np.concatenate(list(blocks))
        return self._view(keys, places, blocks)

    def _gather(self, places: Places, blank: np.ndarray) -> Iterator[np.ndarray]:
        """Copy images together, block by block."""
        used = set(places.numbers.tolist()) - {-1}
        maps = {number: places.segments[number].pixels() for number in used}
        for start in range(0, len(places.rows), self.rows_at_once):
            block = slice(start, start + self.rows_at_once)
            numbers, rows = places.numbers[block], places.rows[block]
            pixels = np.empty((len(rows), *self.reading.shape), dtype=np.uint8)
            pixels[numbers < 0] = blank
            for number, stored in maps.items():
                here = numbers == number
                pixels[here] = stored[rows[here]]
            yield pixels

    def _view(self, keys: np.ndarray, places: Places, blocks: Iterator[np.ndarray]) -> np.ndarray:
        """Map the file that holds just these images, writing it where there is none yet."""
        kept = np.where(places.rows[:, np.newaxis] >= 0, keys, 0)
        name = blake2b(kept.astype(np.uint64).tobytes(), digest_size=KEY_BYTES).hexdigest()
        view = self.shelf / f"{name}.view"
        with suppress(FileNotFoundError):
            pixels = map_images(view, self.reading.shape)
            _mark_as_used(view)
            return pixels
        with self.lock:
            unfinished = view.with_name(f"{name}-{os.getpid()}-{time.monotonic_ns()}.tmp")
            self._make_room(len(keys) * self.reading.n_bytes, places.in_use())
            try:
                with open(unfinished, "wb") as file:
                    for block in blocks:
                        file.write(block.data)
                    sync(file)
                unfinished.replace(view)
            finally:
                unfinished.unlink(missing_ok=True)
            return map_images(view, self.reading.shape)

    def _sizes(self) -> dict[Path, int]:
        """The size of every file of the cache, in bytes."""
        sizes = {}
        for path in self.folder.glob("*/*.*"):
            with suppress(FileNotFoundError):
                sizes[path] = path.stat().st_size
        return sizes

    def _make_room(self, needed: int, in_use: set[Path]) -> None:
        """Remove what was not used for longest until so many bytes more fit."""
        sizes = self._sizes()
        for path in sizes:
            unfinished = path.suffix == ".tmp" and time.time() - _last_use(path) > ABANDONED_SECONDS
            keyless = path.suffix == ".pixels" and path.with_suffix(".keys") not in sizes
            if unfinished or keyless:
                path.unlink(missing_ok=True)
        sizes = self._sizes()
        used = sum(sizes.values())
        removable = [path for path in sizes if path.suffix in (".keys", ".view")]
        for path in sorted(removable, key=_last_use):
            if used + needed <= self.limit:
                return
            if path in in_use:
                continue
            with suppress(PermissionError):  # Windows keeps what is mapped
                if path.suffix == ".keys":
                    Segment(path, self.reading.shape).remove()
                else:
                    path.unlink(missing_ok=True)
                used -= sizes[path] + sizes.get(path.with_suffix(".pixels"), 0)
        if used + needed > self.limit:
            raise ValueError(
                f"The images need {needed / 1e6:,.1f} MB more in the cache, where "
                f"{used / 1e6:,.1f} MB are in use, and cache_limit={self.limit} is "
                f"{self.limit / 1e6:,.1f} MB. Raise cache_limit, or choose a smaller size of "
                "images."
            )


def _first_of_each(keys: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return one row of each key, and all rows without a key."""
    without = ~keys[rows].any(axis=1)
    _, first = np.unique(keys[rows], axis=0, return_index=True)
    without[first] = True
    chosen: np.ndarray = rows[without]
    return chosen


def _last_use(path: Path) -> float:
    with suppress(FileNotFoundError):
        return path.stat().st_mtime
    return 0.0


def _mark_as_used(path: Path) -> None:
    with suppress(OSError):  # a cache that is read-only can still be read
        os.utime(path)
