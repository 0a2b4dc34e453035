"""Reading ahead: fetching the images of the next batch from a memory map during computation.

Pages of a map that are not in memory are read one after another on access, each with some thirty
neighbours, which a shuffled epoch does not need. If advised, the operating system reads many pages
at once, and only those.
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
    """The positions of the rows of an array in a memory map.

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
        """Find the rows of an array; None if it is not a map, or its rows are not contiguous."""
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
        """Inside this context, read accessed pages without their neighbours."""
        self.mapping.madvise(mmap.MADV_RANDOM)
        try:
            yield
        finally:
            self.mapping.madvise(mmap.MADV_NORMAL)

    def expect(self, rows: np.ndarray) -> None:
        """Make the operating system read some rows, without waiting for it."""
        for row in np.sort(rows).tolist():
            begin = self.first + row * self.step
            start = begin // mmap.PAGESIZE * mmap.PAGESIZE
            self.mapping.madvise(mmap.MADV_WILLNEED, start, begin + self.length - start)


def _mapping_of(array: object) -> mmap.mmap | None:
    while array is not None and not isinstance(array, mmap.mmap):
        array = getattr(array, "base", None)
    return array
