"""A segment of the cache: arrays in one file and their keys in another, both append-only.

An array holds the pixels or features of one image. A key identifies the current content of an image
file. Arrays are written and synced before their keys, and arrays without a key are never read, so
an interrupted write has no effect. Written data does not change, so reading needs no lock.
"""

import os
import struct
from collections.abc import Iterable
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np

from sklearn_cnn.files.sources import File

KEY_BYTES = 16

NO_KEY = bytes(KEY_BYTES)
"""The key of an image that cannot be cached."""


class Entry(Protocol):
    """Description of the array of each image, such as :class:`ReadOptions`."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array of one image."""

    @property
    def dtype(self) -> str:
        """Type of its values."""

    @property
    def n_bytes(self) -> int:
        """Size of the array in bytes."""

    def key(self) -> str:
        """Return a text that identifies how arrays are computed from images."""


class Segment:
    """A pair of files, of which "NUMBER.pixels" is named after "NUMBER.keys".

    Parameters
    ----------
    path : Path
        Path of the file of keys.
    entry : Entry
        Shape and type of the array of each image.
    """

    def __init__(self, path: Path, entry: Entry) -> None:
        self.path = path
        self.pixel_path = path.with_suffix(".pixels")
        self.entry = entry

    @property
    def number(self) -> int:
        """Position in the order in which segments were created."""
        return int(self.path.stem)

    def keys(self) -> np.ndarray:
        """Return the keys of all complete images: (n_images, 2), uint64.

        It is empty if another process has removed the segment.
        """
        with suppress(FileNotFoundError):
            n_bytes = self.pixel_path.stat().st_size  # before another process adds more
            return as_keys(self.path.read_bytes())[: n_bytes // self.entry.n_bytes]
        return as_keys(b"")

    def pixels(self) -> np.ndarray:
        """Map the arrays, read-only: (n_images, *shape)."""
        return map_images(self.pixel_path, self.entry)

    def trim(self) -> None:
        """Remove the remains of an incomplete write; create the files if they are missing."""
        n_images = len(self.keys())
        for path, n_bytes in ((self.pixel_path, self.entry.n_bytes), (self.path, KEY_BYTES)):
            with open(path, "ab") as file:
                file.truncate(n_images * n_bytes)

    def append(self, keys: np.ndarray, pixels: np.ndarray) -> None:
        """Add images after the last one, with their keys."""
        for path, values in ((self.pixel_path, pixels), (self.path, keys)):
            with open(path, "ab") as file:
                file.write(np.ascontiguousarray(values).data)
                sync(file)


def map_images(path: Path, entry: Entry) -> np.ndarray:
    """Map a file of arrays, read-only: (n_images, *shape)."""
    n_images = path.stat().st_size // entry.n_bytes
    return np.memmap(path, entry.dtype, "r", shape=(n_images, *entry.shape))


def sync(file: BinaryIO) -> None:
    """Make the operating system write a file to disk now."""
    file.flush()
    os.fsync(file.fileno())


def file_keys(files: Iterable[File]) -> np.ndarray:
    """Compute the key of each file from its path, inode, size and modification time.

    The inode distinguishes files that were renamed to each other's names. The key of a content is
    its hash. The result has shape (n_files, 2), uint64, and zeros for files that do not exist.
    """
    try:
        folder = os.getcwdb()
    except FileNotFoundError:  # it was removed, so relative paths do not exist
        folder = b""
    return as_keys(b"".join([_file_key(file, folder) for file in files]))


def _file_key(file: File, folder: bytes) -> bytes:
    if isinstance(file, bytes):
        return blake2b(file, digest_size=KEY_BYTES, person=b"content").digest()
    try:
        status = os.stat(file)
    except (OSError, ValueError):  # missing, or not a valid file name
        return NO_KEY
    path = os.path.join(folder, os.fsencode(file))
    inode = status.st_ino & 0xFFFF_FFFF_FFFF_FFFF  # some file systems have longer ones
    numbers = struct.pack("<QQq", inode, status.st_size, status.st_mtime_ns)
    return blake2b(numbers + path, digest_size=KEY_BYTES, person=b"file").digest()


def as_keys(data: bytes) -> np.ndarray:
    """View concatenated keys as an array of shape (n, 2), uint64, without an incomplete last."""
    whole = len(data) // KEY_BYTES * KEY_BYTES
    return np.frombuffer(data[:whole], dtype=np.uint64).reshape(-1, 2)


def match_keys(stored: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return the row of each requested key among the stored ones, or -1 if it is missing."""
    if len(wanted) and wanted.any(axis=1).all():
        for start in np.flatnonzero((stored == wanted[0]).all(axis=1)):
            if np.array_equal(stored[start : start + len(wanted)], wanted):
                return np.arange(start, start + len(wanted))  # in the order of an earlier read
    likely = np.flatnonzero(np.isin(stored[:, 0], wanted[:, 0]))  # faster to sort than all
    rows = np.append(-1, likely)  # the smallest key is that of images that cannot be cached
    known, first = np.unique(_as_bytes(np.vstack([as_keys(NO_KEY), stored[likely]])), True)
    sought = _as_bytes(wanted)
    places = np.searchsorted(known, sought, "right") - 1
    return np.where(known[places] == sought, rows[first[places]], -1)


def _as_bytes(keys: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(keys).view(f"S{KEY_BYTES}").ravel()
