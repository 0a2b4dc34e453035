"""Keys that tell an image file from all others, and from what it was before it changed."""

import os
from collections.abc import Iterable
from hashlib import blake2b
from struct import Struct
from typing import Any

import numpy as np

KEY_BYTES = 16

NO_KEY = bytes(KEY_BYTES)
"""The key of what cannot be kept."""

_OF_FILE = blake2b(digest_size=KEY_BYTES, person=b"file")
_OF_CONTENT = blake2b(digest_size=KEY_BYTES, person=b"content")
_NUMBERS = Struct("<QQq")
_ROOT = os.fsencode(os.sep)


def file_keys(sources: Iterable[Any]) -> np.ndarray:
    """Compute the key of each file: of its path, inode, size and time of modification.

    The inode tells files that were renamed in each other's place.

    Parameters
    ----------
    sources : iterable of str, os.PathLike or bytes
        Paths, or contents of files, each of which is its own identity.

    Returns
    -------
    ndarray of shape (n_sources, 2), uint64
        Zeros where there is no such file.
    """
    try:
        folder = os.getcwdb()
    except FileNotFoundError:  # it was removed, and relative paths lead nowhere
        folder = b""
    return as_keys(b"".join([_file_key(source, folder) for source in sources]))


def as_keys(data: bytes) -> np.ndarray:
    """View concatenated keys as an array of shape (n, 2), uint64; a broken last one is left out."""
    whole = len(data) // KEY_BYTES * KEY_BYTES
    return np.frombuffer(data[:whole], dtype=np.uint64).reshape(-1, 2)


def _file_key(source: Any, folder: bytes) -> bytes:
    if isinstance(source, bytes):
        return _hash(_OF_CONTENT, source)
    try:
        status = os.stat(source)
    except (OSError, ValueError):  # missing, or no name of a file at all
        return NO_KEY
    path = os.fsencode(source)
    if not path.startswith(_ROOT):
        path = os.path.join(folder, path)  # which leaves other absolute paths as they are
    inode = status.st_ino & 0xFFFF_FFFF_FFFF_FFFF  # some file systems have longer ones
    numbers = _NUMBERS.pack(inode, status.st_size, status.st_mtime_ns)
    return _hash(_OF_FILE, numbers + path)


def _hash(begun: blake2b, data: bytes) -> bytes:
    """Go on from a hash begun before; beginning one anew takes longer than a short name."""
    hashed = begun.copy()
    hashed.update(data)
    return hashed.digest()


def match_keys(stored: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Find keys among others.

    Parameters
    ----------
    stored : ndarray of shape (n_stored, 2), uint64
    wanted : ndarray of shape (n_wanted, 2), uint64

    Returns
    -------
    ndarray of shape (n_wanted,), int
        For each wanted key its row among the stored ones, -1 where it is not there.
    """
    rows = np.full(len(wanted), -1)
    is_key = wanted.any(axis=1)
    if len(wanted) and is_key.all():
        for start in np.flatnonzero((stored == wanted[0]).all(axis=1)):
            if np.array_equal(stored[start : start + len(wanted)], wanted):
                return np.arange(start, start + len(wanted))  # in the order of an earlier read
    likely = np.flatnonzero(np.isin(stored[:, 0], wanted[:, 0]))
    likely = likely[np.argsort(stored[likely, 0], kind="stable")]
    places = np.searchsorted(stored[likely, 0], wanted[:, 0])
    searching = np.flatnonzero(is_key & (places < len(likely)))
    places = places[searching]
    while len(searching):  # once, unless the first halves of different keys are equal
        candidates = likely[places]
        alike = stored[candidates, 0] == wanted[searching, 0]
        same = alike & (stored[candidates, 1] == wanted[searching, 1])
        rows[searching[same]] = candidates[same]
        further = alike & ~same & (places + 1 < len(likely))
        searching, places = searching[further], places[further] + 1
    return rows
