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

from sklearn_cnn.images.keys import KEY_BYTES, as_keys


class Segment:
    """A pair of files.

    Parameters
    ----------
    path : Path
        Of the file of keys, "NUMBER.keys"; that of the pixels is "NUMBER.pixels".
    shape : (height, width, channels)
        Of each image.
    """

    def __init__(self, path: Path, shape: tuple[int, int, int]) -> None:
        self.path = path
        self.pixel_path = path.with_suffix(".pixels")
        self.shape = shape
        self.image_bytes = int(np.prod(shape))

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
            n_images = self.pixel_path.stat().st_size // self.image_bytes  # before others add some
            return as_keys(self.path.read_bytes())[:n_images]
        return as_keys(b"")

    def pixels(self) -> np.ndarray:
        """Map the pixels, read-only: (n_images, height, width, channels), uint8."""
        return map_images(self.pixel_path, self.shape)

    def trim(self) -> None:
        """Cut off what an earlier write left unfinished; makes the files if they are missing."""
        n_images = len(self.keys())
        for path, n_bytes in ((self.pixel_path, self.image_bytes), (self.path, KEY_BYTES)):
            with open(path, "ab") as file:
                file.truncate(n_images * n_bytes)

    def append(self, keys: np.ndarray, pixels: np.ndarray) -> None:
        """Add images behind the last one.

        Parameters
        ----------
        keys : ndarray of shape (n_images, 2), uint64
        pixels : ndarray of shape (n_images, height, width, channels), uint8
        """
        for path, values in ((self.pixel_path, pixels), (self.path, keys)):
            with open(path, "ab") as file:
                file.write(np.ascontiguousarray(values).data)
                sync(file)


def map_images(path: Path, shape: tuple[int, int, int]) -> np.ndarray:
    """Map a file of pixels, read-only: (n_images, height, width, channels), uint8."""
    n_images = path.stat().st_size // int(np.prod(shape))
    return np.memmap(path, np.uint8, "r", shape=(n_images, *shape))


def sync(file: Any) -> None:
    """Have the operating system write a file to the disk now."""
    file.flush()
    os.fsync(file.fileno())
