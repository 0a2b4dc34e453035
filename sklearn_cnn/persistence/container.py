"""The layout of a file: a JSON document and named arrays, in the safetensors format.

The header is checked before any array is read. The declared sizes must match the file, so that no
number in it can request more memory than the size of the file.
"""

import json
import os
import stat
from collections.abc import Mapping
from math import prod
from typing import Any, BinaryIO, NamedTuple, NoReturn

import numpy as np
import safetensors
import safetensors.numpy

DOCUMENT = "sklearn_cnn"
"""The key of the document in the metadata of the file."""

LONGEST_HEADER = 1 << 26
"""Maximum size of a header in bytes: 64 MiB."""

DTYPES = {
    "BOOL": np.bool_,
    "U8": np.uint8,
    "I8": np.int8,
    "I16": np.int16,
    "U16": np.uint16,
    "I32": np.int32,
    "U32": np.uint32,
    "I64": np.int64,
    "U64": np.uint64,
    "F32": np.float32,
    "F64": np.float64,
}
"""Supported types of arrays, by their names in the file."""


class Declared(NamedTuple):
    """The type and shape of an array, as the header declares them."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]


def pack(document: object, arrays: Mapping[str, np.ndarray]) -> bytes:
    """Return the bytes of a file.

    Parameters
    ----------
    document : object
        Document that JSON can hold, without NaN and infinity.
    arrays : mapping of str to ndarray
        Arrays of the types in ``DTYPES``.
    """
    text = json.dumps(document, allow_nan=False, separators=(",", ":"))
    # C-contiguous, because safetensors writes the memory in any other order
    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    shaped = {name: array.reshape(arrays[name].shape) for name, array in contiguous.items()}
    return bytes(safetensors.numpy.save(shaped, {DOCUMENT: text}))


class Container:
    """A file that is being read: its document, declared arrays, and arrays.

    Parameters
    ----------
    path : str or path
        Path of the file. It is read when it is opened, and when the first array is requested.

    Raises
    ------
    ValueError
        If the file has another format, or is damaged.
    OSError
        If the file cannot be read.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        with self._open() as file:
            header = self._read_header(file)
        metadata = header.pop("__metadata__", None)
        if not isinstance(metadata, dict) or not isinstance(metadata.get(DOCUMENT), str):
            self.refuse("it was not saved by save_model: it has no document of sklearn_cnn")
        self.document = self._parse(metadata[DOCUMENT])
        self.declared = {name: Declared(*entry[:2]) for name, entry in self._entries(header)}
        self._arrays: dict[str, np.ndarray] | None = None

    def refuse(self, reason: str) -> NoReturn:
        """Raise an error that names the file.

        Raises
        ------
        ValueError
            Always.
        """
        raise ValueError(
            f"{self.path!r} cannot be loaded: {reason}. Copy the original file again, or save the "
            "model again."
        )

    def array(self, name: str) -> np.ndarray:
        """Return an array by its name, with the declared type and shape, in its own memory."""
        if self._arrays is None:
            with self._open() as file:
                content = file.read()
            try:
                entries = safetensors.deserialize(content)  # type: ignore[no-untyped-call]
            except (safetensors.SafetensorError, ValueError, OverflowError) as error:
                self.refuse(f"it is damaged ({error})")
            del content
            self._arrays = {name: self._as_array(name, entry["data"]) for name, entry in entries}
            if self._arrays.keys() != self.declared.keys():
                self.refuse("it changed while it was read")
        return self._arrays[name]

    def _as_array(self, name: str, data: bytearray) -> np.ndarray:
        declared = self.declared[name]
        return np.frombuffer(data, declared.dtype).reshape(declared.shape)

    def _open(self) -> BinaryIO:
        file = open(self.path, "rb")  # noqa: SIM115 - the caller closes it
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            file.close()
            self.refuse("it is not a regular file")
        return file

    def _read_header(self, file: BinaryIO) -> dict[str, Any]:
        size = os.fstat(file.fileno()).st_size
        length = int.from_bytes(file.read(8), "little")
        if size < 10 or not 2 <= length <= min(size - 8, LONGEST_HEADER):
            self.refuse(f"its {size} bytes do not start with a safetensors header")
        self.n_bytes = size - 8 - length
        header = self._parse(file.read(length))
        if not isinstance(header, dict):
            self.refuse("its header is not a JSON object")
        return header

    def _parse(self, text: str | bytes) -> Any:
        """Parse JSON strictly: no duplicate names, no NaN, no infinity."""
        try:
            return json.loads(text, object_pairs_hook=_without_doubles, parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            self.refuse(f"its header is damaged ({str(error).splitlines()[0]})")

    def _entries(
        self, header: Mapping[str, object]
    ) -> list[tuple[str, tuple[np.dtype[Any], tuple[int, ...], int, int]]]:
        """Check the declarations of the arrays, which must fill the file, in any order."""
        entries = []
        for name, entry in header.items():
            if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
                self.refuse(f"its header is damaged at the array {name!r}")
            kind, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
            if not isinstance(kind, str) or kind not in DTYPES:
                self.refuse(f"the array {name!r} has the unsupported type {kind!r}")
            if not _are_counts(shape) or not _are_counts(offsets) or len(offsets) != 2:
                self.refuse(f"its header is damaged at the array {name!r}")
            dtype, (begin, end) = np.dtype(DTYPES[kind]), offsets
            if len(shape) > 32 or prod(shape) * dtype.itemsize != end - begin:
                self.refuse(f"the size of the array {name!r} does not match its shape, {shape}")
            entries.append((name, (dtype, tuple(shape), begin, end)))
        at = 0
        for _, _, begin, end in sorted((entry for _, entry in entries), key=lambda e: e[2:]):
            if begin != at:
                self.refuse("its arrays are not contiguous")
            at = end
        if at != self.n_bytes:
            self.refuse(f"it holds {self.n_bytes} bytes of arrays, but declares {at}")
        return entries


def _without_doubles(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name occurs twice")
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number")


def _are_counts(values: object) -> bool:
    return isinstance(values, list) and all(
        type(value) is int and 0 <= value < 1 << 62 for value in values
    )
