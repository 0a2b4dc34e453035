"""Read many images into one array, in threads, and through the cache if there is one."""

import os
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from joblib import Parallel, delayed

from sklearn_cnn._forks import tqdm
from sklearn_cnn._messages import join_some, name_lines, warn
from sklearn_cnn.files.cache import ArrayCache
from sklearn_cnn.files.decode import decode
from sklearn_cnn.files.formats import UnreadableImage
from sklearn_cnn.files.framing import Notes, blank_image
from sklearn_cnn.files.options import ReadOptions
from sklearn_cnn.files.segment import file_keys
from sklearn_cnn.files.sources import File, Source, name_source
from sklearn_cnn.machine.threads import threads_of_jobs

NOTHING = Notes()

FEW_LEVELS = 1 / 8
"""16-bit images that use less than this fraction of their range lose too much in 8 bits."""

IMAGES_A_TASK = 32
"""Maximum number of images that a thread decodes at once."""


@dataclass(eq=False)
class ImageBatch:
    """Images to read with the same options, and the problems with some of them.

    Attributes
    ----------
    sources : sequence
        Paths, contents, images or arrays.
    options : ReadOptions
        Options for all images.
    cache : ArrayCache or None, default=None
        Cache of decoded files.
    n_jobs : int or None, default=None
        Number of threads, as in joblib.
    skip : bool, default=False
        Whether an image that cannot be read is replaced by background.
    bar : tqdm or None
        Progress bar.
    problems : dict of int to str
        Reasons why images cannot be read, by position.
    notes : dict of int to Notes
        Notes for warnings, by position.
    """

    sources: Sequence[Source]
    options: ReadOptions
    cache: ArrayCache | None = None
    n_jobs: int | None = None
    skip: bool = False
    bar: tqdm | None = field(default=None, init=False)
    problems: dict[int, str] = field(default_factory=dict, init=False)
    notes: dict[int, Notes] = field(default_factory=dict, init=False)

    def read(self, verbose: int = 0) -> np.ndarray:
        """Read all images, into memory or into the cache, and warn of their notes.

        Parameters
        ----------
        verbose : int, default=0
            Whether to show a progress bar and the content of the cache.

        Returns
        -------
        ndarray of shape (n_images, height, width, channels), of the type of the options

        Raises
        ------
        ValueError
            If images cannot be read and are not skipped. The others are cached.
        """
        bars = tqdm(total=len(self.sources), unit="image") if verbose else nullcontext()
        try:
            with bars as self.bar:
                pixels = self._read()
                if self.bar is not None:
                    self.bar.update(len(self.sources) - self.bar.n)  # what the cache held
                    if self.cache is not None:
                        self.bar.write(f"ImageReader's cache: {self.cache.whole}")
        except ValueError:
            if (
                self.cache is not None
            ):  # a later call reads these images from the cache, without notes
                self._warn_of_notes()
            raise
        self._warn_of_notes()
        if self.problems:
            warn(self.describe_problems(", and are replaced by background"))
        return pixels

    def _read(self) -> np.ndarray:
        """Read files through the cache; images and arrays are decoded already, and not cached."""
        files = [source for source in self.sources if isinstance(source, (str, bytes, os.PathLike))]
        if self.cache is None or len(files) < len(self.sources):
            pixels = self.decode(np.arange(len(self.sources)))[1]
            if self.problems:
                self._stand_in()
            return pixels
        keys = file_keys(files)
        return self.cache.fetch(keys, partial(self._decode_unchanged, files, keys), self._stand_in)

    def _stand_in(self) -> np.ndarray:
        """Return the replacement of unreadable images, or raise an error for all of them."""
        if self.skip:
            return blank_image(self.options)
        are_paths = (isinstance(self.sources[i], (str, os.PathLike)) for i in self.problems)
        remedy = ""
        if self.options.decoder is None and any(are_paths):
            remedy = "\nload_image_folder(..., on_error='skip') leaves out damaged files."
        raise ValueError(self.describe_problems() + remedy)

    def decode(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Decode some of the images.

        Parameters
        ----------
        positions : ndarray of shape (n,), int
            Positions of the images.

        Returns
        -------
        read : ndarray of shape (n,), bool
            Whether each image could be read; ``problems`` has the reasons for the others.
        pixels : ndarray of shape (n, height, width, channels), of the type of the options
            Pixels, which are background if an image could not be read.
        """
        pixels = np.empty((len(positions), *self.options.shape), dtype=self.options.dtype)
        threads = threads_of_jobs(self.n_jobs)
        step = max(1, min(IMAGES_A_TASK, len(positions) // (4 * threads)))
        # joblib's own: scikit-learn's sets the warning filters of the process in each task.
        Parallel(n_jobs=threads, require="sharedmem")(
            delayed(self._decode_some)(
                positions[start : start + step], pixels[start : start + step]
            )
            for start in range(0, len(positions), step)
        )
        read = np.array([i not in self.problems for i in positions.tolist()], dtype=bool)
        pixels[~read] = blank_image(self.options)
        return read, pixels

    def _decode_some(self, positions: np.ndarray, pixels: np.ndarray) -> None:
        for position, image in zip(positions.tolist(), pixels, strict=True):
            try:
                image[...], notes = decode(self.sources[position], self.options)
            except UnreadableImage as error:
                self.problems[position] = str(error)
            else:
                if notes != NOTHING:
                    self.notes[position] = notes
        if self.bar is not None:
            self.bar.update(len(positions))

    def _decode_unchanged(
        self, files: Sequence[File], keys: np.ndarray, positions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Decode files for the cache, except those that changed while they were read."""
        read, pixels = self.decode(positions)
        now = file_keys(files[position] for position in positions.tolist())
        changed = read & (now != keys[positions]).any(axis=1)
        for position in positions[changed].tolist():
            self.problems[position] = "it changed while it was read"
        pixels[changed] = blank_image(self.options)
        return read & ~changed, pixels

    def describe_problems(self, consequence: str = "") -> str:
        """List up to a hundred images that could not be read, one per line."""
        lines = [
            f"  {name_source(self.sources[position], position)}: {reason}"
            for position, reason in sorted(self.problems.items())
        ]
        count = f"{len(lines):,} of {len(self.sources):,} images cannot be read{consequence}:"
        return f"{count}\n{name_lines(lines, 100)}"

    def _warn_of_notes(self) -> None:
        """Warn of the notes on newly decoded images."""
        paged = [i for i, notes in sorted(self.notes.items()) if notes.has_more_pages]
        if paged:
            names = [name_source(self.sources[i], i) for i in paged]
            warn(
                f"{len(paged)} of {len(self.sources)} images have more than one page or frame, of "
                f"which only the first is read: {join_some(names)}. To select a page, or to read "
                "several as channels, pass decoder=, a function that makes an array from a path."
            )
        spans = [notes.span for notes in self.notes.values() if notes.span is not None]
        for white in sorted({span.white for span in spans}):
            low = min(span.low for span in spans if span.white == white)
            high = max(span.high for span in spans if span.white == white)
            if high - low < FEW_LEVELS * white:
                n_levels = round(255 * high / white) - round(255 * low / white) + 1
                warn(
                    f"The values of images of {'fractions' if white == 1 else 'more than 8 bits'} "
                    f"range from {low:g} to {high:g}, where black is 0 and white is {white:g}. "
                    f"dtype='uint8' keeps {n_levels} of their levels. Pass dtype='uint16' or "
                    "'float32', or the range of all images, including those to predict, such as "
                    f"value_range=({low:g}, {high:g})."
                )


def check_files(paths: Sequence[str]) -> ImageBatch:
    """Decode files, into one byte each, to find in ``problems`` which of them cannot be read."""
    # No value is outside of this range, and 8-bit values are unchanged.
    batch = ImageBatch(paths, ReadOptions(1, 1, "L", "stretch", (0, 0, 0), value_range=(0, 255)))
    batch.decode(np.arange(len(paths)))
    return batch
