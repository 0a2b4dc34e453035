"""Images a second from a folder of files, at first and again, against Keras and torchvision.

Run ``python benchmarks/reading.py [ROUNDS] [--folder FOLDER] [--size 32]``, where FOLDER holds a
folder of images for each class; without one, 400 JPEG files of 640 x 480 are drawn, and read at 64
x 64. All sides in one run, interleaved, medians. The contenders come with ``pip install -c
constraints.txt -e ".[bench]"``.

The files have been read before, so that all sides take them from the operating system's memory. The
first read of ``ImageReader`` fills a new cache, and its second uses it. The contenders keep nothing
between their reads. ``Pillow alone`` is ``ImageReader`` without simplejpeg.
"""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from measuring.sides import seconds
from PIL import Image

from sklearn_cnn import ImageReader, load_image_folder
from sklearn_cnn.files import decode as decoder

try:
    from contenders import keras_folder, torchvision_folder
except ImportError as error:
    sys.exit(f"{error}. The contenders: pip install -c constraints.txt -e '.[bench]'")

Read = Callable[[], object]


def draw_photographs(folder: Path) -> None:
    """Make 400 JPEG files of 640 x 480 pixels, smooth with some noise, in two folders."""
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        (folder / name).mkdir()
        for i in range(200):
            coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
            smooth = np.asarray(coarse.resize((640, 480), Image.Resampling.BICUBIC))
            noisy = np.clip(smooth + rng.normal(0, 8, smooth.shape), 0, 255).astype(np.uint8)
            Image.fromarray(noisy).save(folder / name / f"{i:04}.jpg", quality=90)


def our_reads(folder: Path, size: int, **options: object) -> tuple[Read, Read]:
    """Return the first read, from listing the folder to the array, and another."""
    listed = []

    def first() -> None:
        listed.append(load_image_folder(folder).data)
        again()

    def again() -> None:
        ImageReader(size, **options).transform(listed[-1])

    return first, again


def without_simplejpeg(read: Read) -> Read:
    """Let Pillow decode, as it does where simplejpeg is not installed."""

    def run() -> None:
        found, decoder.simplejpeg = decoder.simplejpeg, None
        try:
            read()
        finally:
            decoder.simplejpeg = found

    return run


def contender_reads(open_folder: Callable, folder: Path, size: int) -> tuple[Read, Read]:
    """Return a read from opening the folder to its last batch, and another pass."""
    opened = []

    def first() -> None:
        opened.append(open_folder(folder, size))
        again()

    def again() -> None:
        for _ in opened[-1]:
            pass

    return first, again


def main(folder: Path, size: int, rounds: int) -> None:
    """Print one line for each side."""
    n_images = len(load_image_folder(folder).data)
    times: dict[str, list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as caches:
        for i in range(rounds + 1):  # the first round warms up, and is not counted
            sides = {
                "ImageReader, cache": our_reads(folder, size, cache=f"{caches}/{i}"),
                "ImageReader, no cache": our_reads(folder, size),
                "no cache, n_jobs=2": our_reads(folder, size, n_jobs=2),
                "no cache, Pillow alone": tuple(map(without_simplejpeg, our_reads(folder, size))),
                "Keras": contender_reads(keras_folder.open_folder, folder, size),
                "torchvision": contender_reads(torchvision_folder.open_folder, folder, size),
            }
            for name, (first, again) in sides.items():
                pair = (seconds(first), seconds(again))
                if i:
                    times.setdefault(name, []).append(pair)
    rates = {
        name: [n_images / statistics.median(part) for part in zip(*pairs, strict=True)]
        for name, pairs in times.items()
    }
    best = [max(rates[name][i] for name in ("Keras", "torchvision")) for i in (0, 1)]
    print(
        f"{n_images:,} files, read at {size} x {size}: images a second, ratio to the better peer\n"
    )
    print(f"{'':<26}{'first read':>12}{'ratio':>8}{'second read':>14}{'ratio':>8}")
    for name, (first, second) in rates.items():
        ratios = first / best[0], second / best[1]
        print(f"{name:<26}{first:>12,.0f}{ratios[0]:>8.2f}{second:>14,.0f}{ratios[1]:>8.2f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("rounds", type=int, nargs="?", default=5)
    parser.add_argument("--folder", type=Path, help="holds a folder for each class")
    parser.add_argument("--size", type=int, help="height and width to read")
    arguments = parser.parse_args()
    if arguments.folder:
        main(arguments.folder, arguments.size or 32, arguments.rounds)
    else:
        with tempfile.TemporaryDirectory() as drawn:
            draw_photographs(Path(drawn))
            main(Path(drawn), arguments.size or 64, arguments.rounds)
