"""Accuracy with early stopping, beside that of a fit on as many images without it.

Run ``python benchmarks/early_stopping.py``. The digits are taken as they come, so that those tested
are by other writers, or at random. A tenth of the images is held out, and the fit without early
stopping gets the others.
"""

import warnings

import numpy as np
from sklearn.datasets import load_digits

from sklearn_cnn import CNNClassifier

SEEDS = range(5)


def accuracy(order: np.ndarray, n_images: int, **parameters: object) -> tuple[float, int]:
    """Fit on the first images of an order; return the accuracy on the rest, and the epochs."""
    images, labels = load_digits(return_X_y=True)
    train, test = order[:n_images], order[300:]
    model = CNNClassifier(**parameters).fit(images[train], labels[train])
    return model.score(images[test], labels[test]), model.n_iter_


def main() -> None:
    """Print a line for each order and schedule."""
    warnings.simplefilter("ignore", UserWarning)
    as_they_come = [np.arange(1797) for _ in SEEDS]
    at_random = [np.random.default_rng(seed).permutation(1797) for seed in SEEDS]
    print("images     schedule   with    without  epochs")
    for name, orders in (("as they come", as_they_come), ("at random", at_random)):
        for schedule in ("one_cycle", "cosine"):
            fits = [
                [
                    accuracy(order, 300, early_stopping=True, schedule=schedule, random_state=seed),
                    accuracy(order, 270, schedule=schedule, random_state=seed),
                ]
                for seed, order in zip(SEEDS, orders, strict=True)
            ]
            (stopped, n_stopped), (whole, n_whole) = np.mean(fits, axis=0)
            epochs = f"{n_stopped:.0f} of {n_whole:.0f}"
            print(f"{name:<14}{schedule:<11}{stopped:.4f}  {whole:.4f}  {epochs}", flush=True)


if __name__ == "__main__":
    main()
