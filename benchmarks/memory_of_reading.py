"""Whether images whose pixels are larger than memory are read and trained on; Linux only.

Run ``python benchmarks/memory_of_reading.py``. A process of its own imports everything, then has
the operating system refuse it more than LIMIT bytes of further memory, reads a folder of JPEG files
whose pixels are several times as large, and trains for an epoch: with a cache, and without. All
memory that is private to the process counts, torch's too; memory maps of files do not.
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

N_IMAGES = 12_000
SIDE = 128
LIMIT = 150_000_000
DIFFERENT_FILES = 100


def write_images(folder: Path) -> list[str]:
    """Write a few JPEG files of two classes, and give each of them many names."""
    rng = np.random.default_rng(0)
    paths = [folder / f"{number}.jpg" for number in range(N_IMAGES)]
    for number, path in enumerate(paths):
        if number < DIFFERENT_FILES:
            rough = rng.integers(0, 256, (9, 9, 3), dtype=np.uint8) // (1 + number % 2)
            Image.fromarray(rough).resize((SIDE, SIDE)).save(path, quality=90)
        else:
            os.link(paths[number % DIFFERENT_FILES], path)
    return [str(path) for path in paths]


def memory(name: str) -> int:
    """Return a line of /proc/self/status in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


class Peak(threading.Thread):
    """Looks every few milliseconds how much memory there is that no file stands behind."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.most = 0
        self.start()

    def run(self) -> None:
        while True:
            self.most = max(self.most, memory("RssAnon"))
            time.sleep(0.005)


def read_and_fit(cache: str | None, paths: list[str]) -> dict[str, Any]:
    """Do it, in a process that is limited from here on."""
    import resource

    from sklearn_cnn import CNNClassifier, ImageReader

    y = np.arange(len(paths)) % 2
    model = CNNClassifier(conv_channels=4, max_epochs=1, batch_size=32, random_state=0)
    model.fit(ImageReader(SIDE).transform(paths[:64]), y[:64])  # starts threads, loads libraries
    peak, before = Peak(), memory("RssAnon")
    resource.setrlimit(resource.RLIMIT_DATA, (memory("VmData") + LIMIT,) * 2)
    peaks = []
    try:
        X = ImageReader(SIDE, cache=cache).transform(paths)
        peaks.append(peak.most - before)
        peak.most = 0
        model.fit(X, y)
        peaks.append(peak.most - before)
        end = f"well, with a {type(X).__name__} of {X.nbytes / 1e6:.0f} MB"
    except MemoryError as error:
        end = f"MemoryError: {error}"
    return {"end": end, "peaks": peaks}


def main() -> None:
    """Print one line with a cache and one without."""
    if not Path("/proc/self/status").exists():
        print("memory_of_reading.py reads Linux's /proc: nothing measured")
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "images")
        folder.mkdir()
        paths = write_images(folder)
        n_bytes = N_IMAGES * SIDE * SIDE * 3
        print(
            f"{N_IMAGES:,} JPEG files of {SIDE} x {SIDE}: {n_bytes / 1e6:.0f} MB of pixels, "
            f"{n_bytes / LIMIT:.1f} times the limit of {LIMIT / 1e6:.0f} MB of further memory"
        )
        print(f"{'cache':<10}{'peak of reading':>18}{'and of training':>18}   how it ended")
        for what, cache in (("a folder", str(Path(name, "cache"))), ("None", None)):
            done = subprocess.run(
                [sys.executable, __file__, "--in-limits"],
                input=json.dumps([cache, paths]),
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
            found = json.loads(done.stdout)
            peaks = [f"{n_bytes / 1e6:.0f} MB" for n_bytes in found["peaks"]] + ["-", "-"]
            print(f"{what:<10}{peaks[0]:>18}{peaks[1]:>18}   {found['end']}")


if __name__ == "__main__":
    if sys.argv[1:] == ["--in-limits"]:
        print(json.dumps(read_and_fit(*json.load(sys.stdin))))
    else:
        main()
