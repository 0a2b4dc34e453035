"""Keys that tell an image file from all others, and from what it was before it changed.

A user-defined decoder has a key, too.
"""

import os
from collections.abc import Iterable
from functools import partial
from hashlib import blake2b
from struct import Struct
from types import CodeType, FunctionType, MethodType
from typing import Any

import numpy as np
from joblib import hash as joblib_hash

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
        For each wanted key its row among the stored ones, -1 where it is missing.
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


def decoder_key(decoder: Any) -> str:
    """Compute a key of a callable from its name, its code, and the values that it holds.

    What it calls is not part of it, nor are global variables.

    Raises
    ------
    ValueError
        If it holds what cannot be pickled.
    """
    try:
        return str(joblib_hash(_identity(decoder)))
    except Exception as error:  # which one depends on what is pickled
        raise ValueError(
            f"cache needs to tell decoder={decoder!r} from others, which takes a function that "
            f"holds only what can be pickled ({type(error).__name__}: {error}). Define such a "
            "function in a module, or set cache=None."
        ) from error


def _identity(value: Any) -> Any:
    """Describe a callable by values that joblib can hash; other values are left as they are."""
    if isinstance(value, partial):
        arguments = [
            *value.args,
            *(item for pair in sorted(value.keywords.items()) for item in pair),
        ]
        return ["partial", _identity(value.func), *map(_identity, arguments)]
    if isinstance(value, MethodType):
        return ["method", _identity(value.__func__), _identity(value.__self__)]
    if isinstance(value, FunctionType):
        cells = [cell.cell_contents for cell in value.__closure__ or ()]
        held = [*cells, *(value.__defaults__ or ()), *(value.__kwdefaults__ or {}).values()]
        names = [value.__module__, value.__qualname__]
        return [*names, _describe_code(value.__code__), *map(_identity, held)]
    if isinstance(value, type) or not callable(value) or hasattr(value, "__self__"):
        return value
    kind, call = type(value), type(value).__call__
    if not isinstance(call, FunctionType):
        return value
    held = sorted(getattr(value, "__dict__", {}).items())
    names = [kind.__module__, kind.__qualname__]
    return [*names, _identity(call), *(_identity(item) for pair in held for item in pair)]


def _describe_code(code: CodeType) -> str:
    """Describe compiled code without the place of its source."""
    constants = [
        _describe_code(constant)
        if isinstance(constant, CodeType)
        else repr(sorted(constant, key=repr) if isinstance(constant, frozenset) else constant)
        for constant in code.co_consts
    ]
    return repr([code.co_code, code.co_names, code.co_varnames, constants])
