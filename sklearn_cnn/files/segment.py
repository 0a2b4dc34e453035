"""A segment of the cache: arrays in one file and their keys in another, which grow at the end.

An array is what is kept of one image: its pixels, or its features. A key tells an image file from
all others, and from what it was before it changed. Arrays are written and synced before their keys,
and those without a key are never read: an interrupted write leaves nothing that counts. Written
data does not change, so reading needs no lock.
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
"""The key of what cannot be kept."""


class Entry(Protocol):
    """What is kept of each image, such as :class:`sklearn_cnn.files.options.ReadOptions`."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array of one image."""

    @property
    def dtype(self) -> str:
        """Type of its values."""

    @property
    def n_bytes(self) -> int:
        """Bytes that it takes."""

    def key(self) -> str:
        """Return a text that identifies how arrays are made of images."""


class Segment:
    """A pair of files, of which "NUMBER.pixels" is named after "NUMBER.keys".

    Parameters
    ----------
    path : Path
        Of the file of keys.
    entry : Entry
        Shape and type of what is kept of each image.
    """

    def __init__(self, path: Path, entry: Entry) -> None:
        self.path = path
        self.pixel_path = path.with_suffix(".pixels")
        self.entry = entry

    @property
    def number(self) -> int:
        """Its place in the order in which segments were begun."""
        return int(self.path.stem)

    def keys(self) -> np.ndarray:
        """Return the keys of all whole images: (n_images, 2), uint64.

        It is empty if another process has removed the segment.
        """
        with suppress(FileNotFoundError):
            n_bytes = self.pixel_path.stat().st_size  # before another process adds some
            return as_keys(self.path.read_bytes())[: n_bytes // self.entry.n_bytes]
        return as_keys(b"")

    def pixels(self) -> np.ndarray:
        """Map the arrays, read-only: (n_images, *shape)."""
        return map_images(self.pixel_path, self.entry)

    def trim(self) -> None:
        """Cut off what an earlier write left unfinished; makes the files if they are missing."""
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
    """Have the operating system write a file to the disk now."""
    file.flush()
    os.fsync(file.fileno())


def file_keys(files: Iterable[File]) -> np.ndarray:
    """Compute the key of each file from its path, inode, size and time of modification.

    The inode tells files that were renamed in each other's place. A content is its own identity.
    The result is of shape (n_files, 2), uint64, and has zeros where no such file exists.
    """
    try:
        folder = os.getcwdb()
    except FileNotFoundError:  # it was removed, and relative paths lead nowhere
        folder = b""
    return as_keys(b"".join([_file_key(file, folder) for file in files]))


def _file_key(file: File, folder: bytes) -> bytes:
    if isinstance(file, bytes):
        return blake2b(file, digest_size=KEY_BYTES, person=b"content").digest()
    try:
        status = os.stat(file)
    except (OSError, ValueError):  # missing, or no name of a file at all
        return NO_KEY
    path = os.path.join(folder, os.fsencode(file))
    inode = status.st_ino & 0xFFFF_FFFF_FFFF_FFFF  # some file systems have longer ones
    numbers = struct.pack("<QQq", inode, status.st_size, status.st_mtime_ns)
    return blake2b(numbers + path, digest_size=KEY_BYTES, person=b"file").digest()


def as_keys(data: bytes) -> np.ndarray:
    """View concatenated keys as an array of shape (n, 2), uint64, without a broken last one."""
    whole = len(data) // KEY_BYTES * KEY_BYTES
    return np.frombuffer(data[:whole], dtype=np.uint64).reshape(-1, 2)


def match_keys(stored: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return the row of each wanted key among the stored ones, -1 where it is missing."""
    if len(wanted) and wanted.any(axis=1).all():
        for start in np.flatnonzero((stored == wanted[0]).all(axis=1)):
            if np.array_equal(stored[start : start + len(wanted)], wanted):
                return np.arange(start, start + len(wanted))  # in the order of an earlier read
    likely = np.flatnonzero(np.isin(stored[:, 0], wanted[:, 0]))  # sooner sorted than all
    rows = np.append(-1, likely)  # the least key is that of what cannot be kept
    known, first = np.unique(_as_bytes(np.vstack([as_keys(NO_KEY), stored[likely]])), True)
    sought = _as_bytes(wanted)
    places = np.searchsorted(known, sought, "right") - 1
    return np.where(known[places] == sought, rows[first[places]], -1)


def _as_bytes(keys: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(keys).view(f"S{KEY_BYTES}").ravel()
