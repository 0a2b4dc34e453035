"""Pixels of images in one file and their keys in another, growing at the end alone.

Pixels are written and synced before their keys are, and pixels without a key are never read: a
write that breaks off leaves nothing that counts. What was written once is not changed, so that
reading needs no lock.
"""

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from sklearn_cnn.files.keys import KEY_BYTES, as_keys
from sklearn_cnn.files.options import Reading


class Segment:
    """A pair of files.

    Parameters
    ----------
    path : Path
        Of the file of keys, "NUMBER.keys"; that of the pixels is "NUMBER.pixels".
    reading : Reading
        Shape and type of each image.
    """

    def __init__(self, path: Path, reading: Reading) -> None:
        self.path = path
        self.pixel_path = path.with_suffix(".pixels")
        self.reading = reading

    @property
    def number(self) -> int:
        """Its place in the order in which segments were begun."""
        return int(self.path.stem)

    def keys(self) -> np.ndarray:
        """Return the keys of the images that are there whole.

        Returns
        -------
        ndarray of shape (n_images, 2), uint64
            Empty if another process has removed the segment.
        """
        with suppress(FileNotFoundError):
            n_images = (
                self.pixel_path.stat().st_size // self.reading.n_bytes
            )  # before others add some
            return as_keys(self.path.read_bytes())[:n_images]
        return as_keys(b"")

    def pixels(self) -> np.ndarray:
        """Map the pixels, read-only: (n_images, height, width, channels)."""
        return map_images(self.pixel_path, self.reading)

    def trim(self) -> None:
        """Cut off what an earlier write left unfinished; makes the files if they are missing."""
        n_images = len(self.keys())
        for path, n_bytes in ((self.pixel_path, self.reading.n_bytes), (self.path, KEY_BYTES)):
            with open(path, "ab") as file:
                file.truncate(n_images * n_bytes)

    def append(self, keys: np.ndarray, pixels: np.ndarray) -> None:
        """Add images after the last one.

        Parameters
        ----------
        keys : ndarray of shape (n_images, 2), uint64
        pixels : ndarray of shape (n_images, height, width, channels), of the type that is read
        """
        for path, values in ((self.pixel_path, pixels), (self.path, keys)):
            with open(path, "ab") as file:
                file.write(np.ascontiguousarray(values).data)
                sync(file)


def map_images(path: Path, reading: Reading) -> np.ndarray:
    """Map a file of pixels, read-only: (n_images, height, width, channels)."""
    n_images = path.stat().st_size // reading.n_bytes
    return np.memmap(path, reading.dtype, "r", shape=(n_images, *reading.shape))


def sync(file: Any) -> None:
    """Have the operating system write a file to the disk now."""
    file.flush()
    os.fsync(file.fileno())
