"""One fit against a raw PyTorch loop with the same layers, batches, optimizer and thread.

What lies between the two is the price of skorch's history and callbacks and of our own checks.

Run ``python benchmarks/raw_loop.py [ROUNDS]``: both sides in one run, interleaved, median ratio.
"""

import statistics
import sys
import time

import numpy as np
import torch
from sklearn.datasets import load_digits

from sklearn_cnn import CNNClassifier
from sklearn_cnn.training.recipe import make_optimizer, one_cycle

EPOCHS, BATCH = 10, 128


def raw_loop(network: torch.nn.Module, X: np.ndarray, y: np.ndarray) -> None:
    """Train a network the way one writes it by hand, in one thread."""
    rng = np.random.default_rng(0)
    optimizer = make_optimizer(
        "adamw", network.named_parameters(), learning_rate=4e-3, weight_decay=0.01
    )
    criterion = torch.nn.CrossEntropyLoss(label_smoothing=0.1)
    n_batches, step = -(-len(X) // BATCH), 0
    network.train()
    for _ in range(EPOCHS):
        for index in np.array_split(rng.permutation(len(X)), n_batches):
            for group in optimizer.param_groups:
                group["lr"] = 4e-3 * one_cycle((step + 0.5) / (EPOCHS * n_batches))
            optimizer.zero_grad()
            pixels = torch.from_numpy(X[index]).permute(0, 3, 1, 2)
            loss = criterion(network(pixels), torch.from_numpy(y[index]))
            loss.backward()
            optimizer.step()
            step += 1


def seconds(run: object) -> float:
    """Time one call."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def compare(name: str, X: np.ndarray, y: np.ndarray, rounds: int) -> None:
    """Print the median ratio of the two sides' times."""
    torch.set_num_threads(1)
    classifier = CNNClassifier(max_epochs=EPOCHS, batch_size=BATCH, random_state=0)
    network = CNNClassifier(max_epochs=1, random_state=0).fit(X[:50], y[:50]).net_.module_
    ratios = []
    for _ in range(rounds):
        ours = seconds(lambda: classifier.fit(X, y))
        ratios.append(ours / seconds(lambda: raw_loop(network, X, y)))
    spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
    print(f"{name:<28}{statistics.median(ratios):>6.2f} times the raw loop ({spread})")


def main(rounds: int) -> None:
    """Compare on tiny images, where overhead shows most, and on larger ones."""
    digits = load_digits()
    X = digits.images.astype(np.uint8)[..., np.newaxis]
    compare("digits, 1,797 of 8 x 8", X, digits.target, rounds)
    larger = np.repeat(np.repeat(X[:512], 4, axis=1), 4, axis=2)
    compare("digits, 512 of 32 x 32", larger, digits.target[:512], rounds)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
