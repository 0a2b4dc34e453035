"""Memory that a fit on 60,000 images needs above its input; Linux only.

Run ``python benchmarks/memory_of_fit.py --fashion FOLDER``. A process of its own loads the images,
and fits a few of them, so that libraries are loaded and threads started. From there on, Linux notes
the peak of its resident memory. Plain skorch gets the same bytes, and makes its float32 copy of
them inside the clock, so to speak: that copy alone is four times the input.
"""

import gc
from pathlib import Path

from measuring.data import Images, load
from measuring.results import Row, answer, ask
from measuring.sides import WARM_UP, Side, module_of

OPTIONS = {"ours": {"max_epochs": 1, "random_state": 0}, "plain_skorch": {"epochs": 1}}


def memory(name: str) -> int:
    """Return a line of /proc/self/status in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


def peak_of_fit(contender: str, images: Images, **options: object) -> tuple[int, int]:
    """Return the bytes of the input, and the peak above what was there before the fit."""
    module, data = module_of(contender), load(images)
    X, y = data.X.copy(), data.y
    del data
    module.make(**options).fit(module.prepare(X[:WARM_UP]), y[:WARM_UP])
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # the peak is what there is now
    before = memory("VmRSS")
    module.make(**options).fit(module.prepare(X), y)
    return X.nbytes, memory("VmHWM") - before


def main() -> None:
    """Print a row."""
    arguments = ask(__doc__, needs="fashion")
    if not Path("/proc/self/clear_refs").exists():
        print("left out: reads Linux's /proc")
        return
    images = Images(arguments.fashion, 15_000 if arguments.quick else 60_000, 1)
    peaks = {}
    for name, options in OPTIONS.items():
        side = Side(name)
        n_bytes, peaks[name] = side(peak_of_fit, images, **options)
        side.close()
    limit = n_bytes / 2 + 150e6
    row = Row(
        "6",
        f"memory of fit above its input of {n_bytes / 1e6:.0f} MB, {images.n_train:,} images, "
        f"against plain skorch",
        f"{peaks['ours'] / 1e6:.0f} MB",
        f"{peaks['plain_skorch'] / 1e6:.0f} MB",
        f"{peaks['ours'] / peaks['plain_skorch']:.2f}",
        f"at most {limit / 1e6:.0f} MB",
        peaks["ours"] <= limit,
    )
    answer(arguments, [row])


if __name__ == "__main__":
    main()
