"""Reading ahead: images of a memory map that the next batch needs are fetched while one computes.

A page of a map that is not in memory is read when it is touched, one after another, with some
thirty of its neighbours, which a shuffled epoch does not need. The operating system reads many at
once, and those alone, if it is told.
"""

import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self

import numpy as np

CAN_ADVISE = hasattr(mmap, "MADV_WILLNEED")
"""Not on Windows."""


@dataclass(frozen=True, eq=False)
class MappedRows:
    """Where the rows of an array lie in a memory map.

    Parameters
    ----------
    mapping : mmap.mmap
        The map.
    first : int
        Offset of the first row, in bytes.
    step : int
        Bytes from one row to the next.
    length : int
        Bytes of a row.
    """

    mapping: mmap.mmap
    first: int
    step: int
    length: int

    @classmethod
    def of(cls, array: np.ndarray) -> Self | None:
        """Find the rows of an array; None where it is not a map, or a row is not in one place."""
        mapping = _mapping_of(array)
        if mapping is None or not CAN_ADVISE or min(array.strides) < 0 or not len(array):
            return None
        inner = zip(array.shape[1:], array.strides[1:], strict=True)
        length = sum((side - 1) * stride for side, stride in inner) + array.itemsize
        if length > array.strides[0]:
            return None
        begin = np.frombuffer(mapping, np.uint8).ctypes.data
        return cls(mapping, array.ctypes.data - begin, array.strides[0], length)

    @contextmanager
    def read_at_random(self) -> Iterator[None]:
        """Have a page that is touched be read without its neighbours, while inside."""
        self.mapping.madvise(mmap.MADV_RANDOM)
        try:
            yield
        finally:
            self.mapping.madvise(mmap.MADV_NORMAL)

    def expect(self, rows: np.ndarray) -> None:
        """Have the operating system read some rows, and do not wait for it."""
        for row in np.sort(rows).tolist():
            begin = self.first + row * self.step
            start = begin // mmap.PAGESIZE * mmap.PAGESIZE
            self.mapping.madvise(mmap.MADV_WILLNEED, start, begin + self.length - start)


def _mapping_of(array: object) -> mmap.mmap | None:
    while array is not None and not isinstance(array, mmap.mmap):
        array = getattr(array, "base", None)
    return array
