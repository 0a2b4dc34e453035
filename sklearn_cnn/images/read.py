"""Many images to one array: decoded in threads, through the cache where there is one."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.utils.parallel import Parallel, delayed

from sklearn_cnn._progress import tqdm
from sklearn_cnn.images.cache import PixelCache
from sklearn_cnn.images.decode import VERSION, UnreadableImage, blank_image, decode
from sklearn_cnn.images.keys import file_keys
from sklearn_cnn.images.reading import Reading
from sklearn_cnn.images.sources import Source, name_source

IMAGES_A_TASK = 32
"""Images that a thread decodes before it looks for more work."""


class ImageBatch:
    """Images to be read in one way, and what went wrong with some of them.

    Parameters
    ----------
    sources : list
        Paths, contents, images or arrays.
    reading : Reading
        What shall come out.
    n_jobs : int or None
        Threads, in joblib's sense.
    bar : tqdm
        Moves on as images are done.
    """

    def __init__(
        self, sources: Sequence[Source], reading: Reading, n_jobs: int | None, bar: tqdm
    ) -> None:
        self.sources = sources
        self.reading = reading
        self.n_jobs = n_jobs
        self.bar = bar
        self.problems: dict[int, str] = {}

    def decode(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Decode some of the images.

        Parameters
        ----------
        positions : ndarray of shape (n,), int
            Which.

        Returns
        -------
        read : ndarray of shape (n,), bool
            Which of them could be read; ``problems`` says why the others could not.
        pixels : ndarray of shape (n, height, width, channels), uint8
            Background where an image could not be read.
        """
        pixels = np.empty((len(positions), *self.reading.shape), dtype=np.uint8)
        starts = range(0, len(positions), IMAGES_A_TASK)
        Parallel(n_jobs=self.n_jobs, require="sharedmem")(
            delayed(self._decode_some)(positions, pixels, slice(start, start + IMAGES_A_TASK))
            for start in starts
        )
        read = np.array([position not in self.problems for position in positions.tolist()])
        pixels[~read] = blank_image(self.reading)
        return read, pixels

    def _decode_some(self, positions: np.ndarray, pixels: np.ndarray, part: slice) -> None:
        for position, image in zip(positions[part].tolist(), pixels[part], strict=True):
            try:
                image[...] = decode(self.sources[position], self.reading)
            except UnreadableImage as error:
                self.problems[position] = str(error)
        self.bar.update(len(positions[part]))

    def decode_unchanged(
        self, positions: np.ndarray, keys: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Decode files to keep, refusing those that are changed while they are read.

        Parameters
        ----------
        positions : ndarray of shape (n,), int
            Which.
        keys : ndarray of shape (n_images, 2), uint64
            The keys of all files, from before they are read.

        Returns
        -------
        read, pixels : ndarray
            As of ``decode``.
        """
        read, pixels = self.decode(positions)
        now = file_keys(self.sources[position] for position in positions.tolist())
        changed = read & (now != keys[positions]).any(axis=1)
        for position in positions[changed].tolist():
            self.problems[position] = "it was changed while it was read"
        pixels[changed] = blank_image(self.reading)
        return read & ~changed, pixels

    def describe_problems(self, consequence: str = "") -> str:
        """Name all images that could not be read, a line each."""
        lines = [
            f"  {name_source(self.sources[position], position)}: {reason}"
            for position, reason in sorted(self.problems.items())
        ]
        count = f"{len(lines)} of {len(self.sources)} images cannot be read{consequence}:"
        return "\n".join([count, *lines])


def read_sources(batch: ImageBatch, cache: PixelCache | None, *, skip: bool) -> np.ndarray:
    """Read images into memory, or into the cache.

    Parameters
    ----------
    batch : ImageBatch
        Gets the problems.
    cache : PixelCache or None
        Where decoded files lie; images and arrays are not kept there, since they are decoded.
    skip : bool
        Whether background stands for an image that could not be read.

    Returns
    -------
    ndarray of shape (n_images, height, width, channels), uint8

    Raises
    ------
    ValueError
        If images could not be read, and are not skipped; the others are kept in the cache.
    """

    def stand_in() -> np.ndarray:
        if not skip:
            raise ValueError(batch.describe_problems())
        return blank_image(batch.reading)

    if cache is None or not all(map(_is_file, batch.sources)):
        pixels = batch.decode(np.arange(len(batch.sources)))[1]
        if batch.problems:
            stand_in()
        return pixels
    keys = file_keys(batch.sources)
    return cache.fetch(keys, lambda some: batch.decode_unchanged(some, keys), stand_in)


def pixel_cache(folder: Any, limit: float, reading: Reading) -> PixelCache:
    """Return the cache of a folder for one way of reading."""
    return PixelCache(folder, int(limit), reading, VERSION)


def _is_file(source: Source) -> bool:
    """Whether a source has to be decoded: all but images and arrays."""
    return not isinstance(source, np.ndarray) and not hasattr(source, "getexif")


def find_damaged(paths: Sequence[str]) -> dict[int, str]:
    """Decode files, and tell which of them cannot be read.

    Parameters
    ----------
    paths : sequence of str

    Returns
    -------
    dict of int to str
        For each position of a damaged file, what is wrong.
    """
    tiny = Reading(1, 1, "L", "stretch", (0, 0, 0))
    with tqdm(disable=True) as bar:
        batch = ImageBatch(paths, tiny, -1, bar)
        batch.decode(np.arange(len(paths)))
    return dict(sorted(batch.problems.items()))
