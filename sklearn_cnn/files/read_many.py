"""Many images to one array: decoded in threads, through the cache where there is one."""

import os
from collections.abc import Iterator, Sequence

import numpy as np
from joblib import Parallel, delayed, effective_n_jobs

from sklearn_cnn._forks import tqdm
from sklearn_cnn._messages import join_some, name_lines
from sklearn_cnn.files.cache import PixelCache
from sklearn_cnn.files.decode import Notes, UnreadableImage, blank_image, decode
from sklearn_cnn.files.keys import file_keys
from sklearn_cnn.files.options import Reading
from sklearn_cnn.files.sources import Source, name_source

NOTHING = Notes()

FEW_LEVELS = 1 / 8
"""Below which share of the range of their type 16-bit images are too poor as eight bits."""

IMAGES_A_TASK = 32
"""Images that a thread decodes before it looks for more work, at most."""


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
    bar : tqdm or None, default=None
        Moves on as images are done.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        reading: Reading,
        n_jobs: int | None = None,
        bar: tqdm | None = None,
    ) -> None:
        self.sources = sources
        self.reading = reading
        self.n_jobs = n_jobs
        self.bar = bar
        self.problems: dict[int, str] = {}
        self.notes: dict[int, Notes] = {}

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
        pixels : ndarray of shape (n, height, width, channels), of the type that is read
            Background where an image could not be read.
        """
        pixels = np.empty((len(positions), *self.reading.shape), dtype=self.reading.dtype)
        threads = effective_n_jobs(self.n_jobs)
        step = max(1, min(IMAGES_A_TASK, len(positions) // (4 * threads)))
        # joblib's own, since scikit-learn's sets the warning filters of the process in each task.
        Parallel(n_jobs=threads, require="sharedmem")(
            delayed(self._decode_some)(positions, pixels, slice(start, start + step))
            for start in range(0, len(positions), step)
        )
        read = np.array([i not in self.problems for i in positions.tolist()], dtype=bool)
        pixels[~read] = blank_image(self.reading)
        return read, pixels

    def _decode_some(self, positions: np.ndarray, pixels: np.ndarray, part: slice) -> None:
        for position, image in zip(positions[part].tolist(), pixels[part], strict=True):
            notes = Notes()
            try:
                image[...] = decode(self.sources[position], self.reading, notes)
            except UnreadableImage as error:
                self.problems[position] = str(error)
            else:
                if notes != NOTHING:
                    self.notes[position] = notes
        if self.bar is not None:
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
        """Name the images that could not be read, a line each, up to a hundred."""
        lines = [
            f"  {name_source(self.sources[position], position)}: {reason}"
            for position, reason in sorted(self.problems.items())
        ]
        count = f"{len(lines):,} of {len(self.sources):,} images cannot be read{consequence}:"
        return f"{count}\n{name_lines(lines, 100)}"

    def describe_notes(self) -> Iterator[str]:
        """Say what is worth a warning about images that were decoded now."""
        paged = [i for i, notes in sorted(self.notes.items()) if notes.has_more_pages]
        if paged:
            names = [name_source(self.sources[i], i) for i in paged]
            yield (
                f"{len(paged)} of {len(self.sources)} images hold more than one page or frame, of "
                f"which the first is read: {join_some(names)}. To choose a page, or take "
                "several as channels, pass decoder=, a function that makes an array of a path."
            )
        spans = [notes.span for notes in self.notes.values() if notes.span is not None]
        for white in sorted({span.white for span in spans}):
            low = min(span.low for span in spans if span.white == white)
            high = max(span.high for span in spans if span.white == white)
            if high - low < FEW_LEVELS * white:
                n_levels = round(255 * high / white) - round(255 * low / white) + 1
                yield (
                    f"The values of images of {'fractions' if white == 1 else 'more than 8 bits'} "
                    f"run from {low:g} to {high:g}, where black is 0 and white is {white:g}: "
                    f"dtype='uint8' keeps {n_levels} of their levels. Pass dtype='uint16' "
                    "or 'float32', or the range of all your images, those to predict included, "
                    f"such as value_range=({low:g}, {high:g})."
                )

    def describe_remedy(self) -> str:
        """Say what to do about files that Pillow cannot read; nothing about images and arrays."""
        are_paths = (isinstance(self.sources[i], (str, os.PathLike)) for i in self.problems)
        if self.reading.decoder is not None or not any(are_paths):
            return ""
        return "\nload_image_folder(..., on_error='skip') leaves out files that are damaged."


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
    ndarray of shape (n_images, height, width, channels), of the type that is read

    Raises
    ------
    ValueError
        If images could not be read, and are not skipped; the others are kept in the cache.
    """

    def stand_in() -> np.ndarray:
        if not skip:
            raise ValueError(batch.describe_problems() + batch.describe_remedy())
        return blank_image(batch.reading)

    if cache is None or not all(map(_is_file, batch.sources)):
        pixels = batch.decode(np.arange(len(batch.sources)))[1]
        if batch.problems:
            stand_in()
        return pixels
    keys = file_keys(batch.sources)
    return cache.fetch(keys, lambda some: batch.decode_unchanged(some, keys), stand_in)


def _is_file(source: Source) -> bool:
    """Whether a source has to be decoded: all but images and arrays."""
    return not isinstance(source, np.ndarray) and not hasattr(source, "getexif")


def check_files(paths: Sequence[str]) -> ImageBatch:
    """Decode files, into a byte each, to learn which of them cannot be read.

    Parameters
    ----------
    paths : sequence of str

    Returns
    -------
    ImageBatch
        Its ``problems`` say what is wrong, and with which.
    """
    # Of this range, no value is outside, and eight bits are left as they are.
    batch = ImageBatch(paths, Reading(1, 1, "L", "stretch", (0, 0, 0), value_range=(0, 255)))
    batch.decode(np.arange(len(paths)))
    return batch
