"""What a second thread gives a training step, and what a single image costs at prediction.

Run ``python benchmarks/threads.py [ROUNDS]``: both sides in one run, interleaved, median ratios.
"""

import statistics
import sys
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from sklearn_cnn import CNNClassifier

SIZES = {"8 x 8": (8, 8, 1), "28 x 28": (28, 28, 1), "32 x 32, colour": (32, 32, 3)}


def seconds(run: Callable[[], object], repeats: int = 5) -> float:
    """Time one call, as the mean of several."""
    run()
    start = time.perf_counter()
    for _ in range(repeats):
        run()
    return (time.perf_counter() - start) / repeats


def training_step(module: torch.nn.Module, X: np.ndarray, y: np.ndarray) -> Callable[[], None]:
    """Return a function that takes one step on one batch, written by hand."""
    optimizer = torch.optim.AdamW(module.parameters(), fused=True)
    pixels, targets = torch.from_numpy(X).permute(0, 3, 1, 2), torch.from_numpy(y)

    def step() -> None:
        module.train()
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(module(pixels), targets).backward()
        optimizer.step()

    return step


def main(rounds: int) -> None:
    """Print one line for each size of images, with the default network."""
    threads = torch.get_num_threads()
    rng = np.random.default_rng(0)
    print(f"{'images':<18}{'1 thread / 2 threads':>22}{'128 images / 1 image':>24}{'1 image':>12}")
    for name, shape in SIZES.items():
        X, y = rng.integers(0, 256, (128, *shape), dtype=np.uint8), np.arange(128) % 10
        model = CNNClassifier(max_epochs=1, random_state=0, device="cpu").fit(X, y)
        step = training_step(model.net_.module_, X, y)
        by_threads, by_images, single = [], [], []
        for _ in range(rounds):
            times = []
            for n_threads in (1, 2):
                torch.set_num_threads(n_threads)
                times.append(seconds(step))
            by_threads.append(times[0] / times[1])
            torch.set_num_threads(threads)
            one, many = (seconds(partial(model.predict_proba, X[:n])) for n in (1, 128))
            by_images.append(many / one)
            single.append(one)
        ratios = [statistics.median(values) for values in (by_threads, by_images)]
        milliseconds = statistics.median(single) * 1000
        print(f"{name:<18}{ratios[0]:>22.2f}{ratios[1]:>24.2f}{milliseconds:>9.1f} ms")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 7)
