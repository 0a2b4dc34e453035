"""Milliseconds of ``predict_proba`` of 1, 8 and 64 images, against the plain module.

Run ``python benchmarks/small_predictions.py [ROUNDS]``. The module gets pixels as they are, in as
many threads as torch has, and its softmax is part of the time. Sides take turns, a block each.
"""

import sys
from statistics import median

import numpy as np
import torch
from measuring.report import describe_machine
from measuring.sides import seconds

from sklearn_cnn import CNNClassifier

CALLS_OF_A_BLOCK = 40


def milliseconds(call):
    """Return the median of a block of calls."""
    call()
    return median(seconds(call) for _ in range(CALLS_OF_A_BLOCK)) * 1000


def main():
    """Print a line for each shape and number of images."""
    n_rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    print(*describe_machine(), sep="\n")
    print("images        n     ours    plain   1.5 plain + 1 ms")
    rng = np.random.default_rng(0)
    for shape in ((8, 8, 1), (28, 28, 1), (64, 64, 3)):
        images = rng.integers(0, 256, (64, *shape), dtype=np.uint8)
        model = CNNClassifier(max_epochs=1, random_state=0).fit(images, np.arange(64) % 10)
        module = model.net_.module_.eval()
        for n in (1, 8, 64):
            some = images[:n]

            def plain(module=module, some=some):
                with torch.inference_mode():
                    module(torch.from_numpy(some).permute(0, 3, 1, 2)).softmax(1)

            def ours(model=model, some=some):
                model.predict_proba(some)

            rounds = [(milliseconds(ours), milliseconds(plain)) for _ in range(n_rounds)]
            mine, theirs = (median(side) for side in zip(*rounds, strict=True))
            size = " x ".join(map(str, shape))
            print(f"{size:12}{n:3} {mine:8.2f} {theirs:8.2f} {1.5 * theirs + 1:10.2f}", flush=True)


if __name__ == "__main__":
    main()
