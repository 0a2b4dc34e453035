"""Each default of CNNClassifier against its neighbours, on three data sets and several seeds.

Run ``python benchmarks/ablation.py [SEEDS] --fashion FOLDER --cifar FOLDER``. A row changes one
parameter and keeps all others. Accuracies do not depend on the load of the machine, so it may run
beside other work. It writes ``benchmarks/ABLATION.md`` anew after each row.

- digits: all 1,797 images in 5 shuffled folds, with ``max_epochs`` as it is by default;
- Fashion-MNIST: the first 6,000 training images, all 10,000 test images, 10 epochs;
- CIFAR-10: a folder of 10,000 training and 2,000 test images, flips and shifts, 6 epochs.
"""

import statistics
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from measuring.data import Images, load, load_folder
from measuring.results import ask
from sklearn.model_selection import StratifiedKFold, cross_val_score

from sklearn_cnn import CNNClassifier, Conv, RandomFlip, RandomShift
from sklearn_cnn.network.design import design_network

ROWS: list[dict[str, Any]] = [
    {},
    {"optimizer": "sgd", "learning_rate": 0.1, "weight_decay": 0.0005},
    {"learning_rate": 0.002},
    {"learning_rate": 0.008},
    {"weight_decay": 0.0},
    {"weight_decay": 0.01},
    {"weight_decay": 0.3},
    {"label_smoothing": 0.0},
    {"label_smoothing": 0.2},
    {"schedule": "cosine"},
    {"schedule": "constant"},
    {"batch_size": 32},
    {"batch_size": 128},
    {"batch_norm": False},
    {"activation": "silu"},
    {"pooling": "mean"},
    {"dropout": 0.3},
    {"dense_units": ()},
    {"dense_units": (256,)},
    {"kernel_size": 5},
    {"conv_channels": "half"},
    {"conv_channels": "double"},
    {"conv_channels": "one block less"},
    {"precision": "float32"},
]
"""The defaults, then what each row has in place of one of them."""

SHARES = {"half": 0.5, "double": 2}
"""Of the feature maps that the default network has; pooling stays as it is there."""

Fit = Callable[..., float]


def digits() -> Fit:
    """Return what scores one seed on the digits, in 5 folds."""
    split = load(Images(None, 1797, 1797))

    def score(seed: int, **parameters: Any) -> float:
        folds = StratifiedKFold(5, shuffle=True, random_state=seed)
        model = CNNClassifier(random_state=seed, **_in_numbers(parameters, (8, 8, 1)))
        return float(cross_val_score(model, split.X, split.y, cv=folds).mean())

    return score


def fashion(folder: str) -> Fit:
    """Return what scores one seed on Fashion-MNIST."""
    split = load(Images(folder, 6000, 10000))

    def score(seed: int, **parameters: Any) -> float:
        options = {"max_epochs": 10, "random_state": seed, **_in_numbers(parameters, (28, 28, 1))}
        return CNNClassifier(**options).fit(split.X, split.y).score(split.X_test, split.y_test)

    return score


def cifar(folder: str) -> Fit:
    """Return what scores one seed on the folder of colour images."""
    split = load_folder(folder, 32)

    def score(seed: int, **parameters: Any) -> float:
        options: dict[str, Any] = {"max_epochs": 6, "augment": (RandomFlip(), RandomShift())}
        options |= {"random_state": seed, **_in_numbers(parameters, (32, 32, 3))}
        return CNNClassifier(**options).fit(split.X, split.y).score(split.X_test, split.y_test)

    return score


def _in_numbers(parameters: dict[str, Any], shape: tuple[int, int, int]) -> dict[str, Any]:
    """Put numbers, or layers, in place of the words for widths."""
    word = parameters.get("conv_channels")
    if word is None:
        return parameters
    default = design_network(shape)
    if word == "one block less":
        widths = [layer.channels for layer in default if isinstance(layer, Conv)]
        return parameters | {"conv_channels": widths[:-1]}
    layers = [
        replace(layer, channels=int(SHARES[word] * layer.channels))
        if isinstance(layer, Conv)
        else layer
        for layer in default
    ]
    return parameters | {"conv_channels": "auto", "layers": layers}


def write(table: list[str], seeds: int, path: Path) -> None:
    """Write the rows that are there."""
    heading = (
        "# What each default is worth\n\nTest accuracy in percent: mean over "
        f"{seeds} seeds, and the standard deviation between them. Differences of less than that "
        "say nothing. A row changes what it names, and leaves pooling as it is; digits with one "
        "block less have no convolution. What is measured on, and how long, the command says.\n\n"
        "`python benchmarks/ablation.py --fashion FOLDER --cifar FOLDER`\n\n"
    )
    path.write_text(heading + "\n".join(table) + "\n")


def rows(sets: dict[str, Fit], seeds: int) -> Iterator[str]:
    """Compute the table, line by line."""
    yield "| changed | " + " | ".join(sets) + " |"
    yield "| --- |" + " --- |" * len(sets)
    for changed in ROWS:
        name = ", ".join(f"{key}={value!r}" for key, value in changed.items()) or "the defaults"
        cells = []
        for score in sets.values():
            scores = [100 * score(seed, **changed) for seed in range(seeds)]
            spread = statistics.stdev(scores) if seeds > 1 else np.nan
            cells.append(f"{statistics.mean(scores):.2f} +- {spread:.2f}")
        yield f"| {name} | " + " | ".join(cells) + " |"


def main() -> None:
    """Print and write one line after another."""
    asked = ask(__doc__ or "", rounds=3)
    sets = {"digits": digits()}
    if asked.fashion:
        sets["Fashion-MNIST"] = fashion(asked.fashion)
    if asked.cifar:
        sets["CIFAR-10"] = cifar(asked.cifar)
    table: list[str] = []
    for line in rows(sets, asked.rounds):
        print(line, flush=True)
        table.append(line)
        write(table, asked.rounds, Path(__file__).with_name("ABLATION.md"))


if __name__ == "__main__":
    sys.exit(main())
