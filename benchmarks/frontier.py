"""Test accuracy against multiply-adds spent in training: the defaults, neighbours, and ideas.

    python benchmarks/frontier.py [--fashion FOLDER] [--cifar FOLDER] [--photos FOLDER]
        [--seeds 3] [--processes 1] [--only IDEA ...] [--results FILE]

Multiply-adds are counted from the layers (forward once, backward twice), so that any machine has
the same axis; a fit may be on a GPU. Each idea is trained for several numbers of epochs. The last
table says how many multiply-adds an idea takes to the accuracy wanted, and how many times fewer
than the defaults before ADR 36, from which they were made.
"""

import argparse
import json
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cache, partial
from itertools import pairwise
from math import exp, log
from multiprocessing import get_context
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
from measuring.data import Images, Split, load, load_folder
from sklearn.model_selection import train_test_split
from skorch.callbacks import Callback

from sklearn_cnn import (
    Activation,
    BatchNorm,
    CNNClassifier,
    Conv,
    ImageReader,
    RandomFlip,
    RandomShift,
    load_image_folder,
)
from sklearn_cnn.network.design import design_network
from sklearn_cnn.network.outputs import n_multiplications

# Ideas that act on the network when training begins


class Whitening(Callback):
    """Set the first convolution to the whitening of its patches, both signs, and freeze it.

    Source: K. Jordan, "94% on CIFAR-10 in 3.29 seconds on a single GPU", arXiv:2404.00498.
    """

    def on_train_begin(self, net: Any, X: Any = None, y: Any = None, **_: object) -> None:
        """Take the patches of 2,000 images at most."""
        layer, module = net.module_.conv1, net.module_
        batch, _ = X[torch.arange(0, len(X), max(1, len(X) // 2_000))]
        with torch.no_grad():
            images = batch[X.holds].to(layer.weight.device)
            side = layer.kernel_size[0]
            patches = torch.nn.functional.unfold(module.normalize(images), side)
            patches = patches.transpose(1, 2).flatten(0, 1).double()
            patches = patches[:: max(1, len(patches) // 200_000)]
            values, vectors = torch.linalg.eigh(patches.T @ patches / len(patches))
            white = (vectors / (values + 5e-4 * values.max()).sqrt()).T.flip(0)
            white = white[: layer.out_channels // 2]
            signed = torch.cat([white, -white]).to(layer.weight.dtype)
            layer.weight.copy_(signed.reshape(layer.weight.shape))
        layer.weight.requires_grad_(False)


class Dirac(Callback):
    """Have each convolution after the first pass its maps on, beside random weights."""

    def on_train_begin(self, net: Any, **_: object) -> None:
        """Set as many maps as there are channels."""
        for name, layer in net.module_.named_children():
            if isinstance(layer, torch.nn.Conv2d) and name != "conv1":
                n = min(layer.in_channels, layer.out_channels)
                with torch.no_grad():
                    torch.nn.init.dirac_(layer.weight[:n])


@dataclass
class RateOfBiases(Callback):
    """Have norms and biases learn at a multiple of the learning rate."""

    share: float

    def on_train_begin(self, net: Any, **_: object) -> None:
        """Set the share of the group without decay."""
        net.optimizer_.param_groups[-1]["rate_share"] = self.share


class Averaged(Callback):
    """Take the moving mean of the weights, over a twentieth of the steps, at the end."""

    def on_train_begin(self, net: Any, X: Any = None, **_: object) -> None:
        """Begin with the weights as they are."""
        self.values = {k: v.clone() for k, v in net.module_.state_dict().items()}
        n_steps = net.max_epochs * -(-len(X) // net.batch_size)
        self.rate = 1 / max(1, n_steps / 20)

    def on_batch_end(self, net: Any, training: bool = False, **_: object) -> None:
        """Move on."""
        if training:
            for name, value in net.module_.state_dict().items():
                if value.is_floating_point():
                    self.values[name].lerp_(value, self.rate)

    def on_train_end(self, net: Any, **_: object) -> None:
        """Load the mean."""
        net.module_.load_state_dict(self.values)


# Networks


def widths(*channels: int) -> Callable[[list[Any]], list[Any]]:
    def change(layers: list[Any]) -> list[Any]:
        numbers = iter(channels)
        return [
            replace(layer, channels=next(numbers, channels[-1]))
            if isinstance(layer, Conv)
            else layer
            for layer in layers
        ]

    return change


def twice_last(layers: list[Any]) -> list[Any]:
    """Two convolutions in the last block."""
    at = max(i for i, layer in enumerate(layers) if isinstance(layer, Conv))
    more = [layers[at], BatchNorm(), Activation("relu")]
    return [*layers[:at], *more, *layers[at:]]


def stem(channels: int, side: int, stride: int) -> Callable[[list[Any]], list[Any]]:
    """A convolution with a stride in place of the first block."""

    def change(layers: list[Any]) -> list[Any]:
        end = next(i for i, layer in enumerate(layers) if isinstance(layer, Activation))
        begin = [Conv(channels, side, stride=stride, bias=False), BatchNorm(), Activation("relu")]
        return [*begin, *layers[end + 1 :]]

    return change


def whitened(channels: int, side: int) -> Callable[[list[Any]], list[Any]]:
    def change(layers: list[Any]) -> list[Any]:
        return [Conv(channels, side, bias=False), *layers]

    return change


@dataclass(frozen=True)
class Idea:
    """What is changed: parameters, layers, what happens when training begins; for which images."""

    parameters: Mapping[str, Any] = field(default_factory=dict)
    layers: Callable[[list[Any]], list[Any]] | None = None
    callbacks: tuple[Callable[[], Callback], ...] = ()
    smallest_side: int = 0


OF_BEFORE = widths(32, 64, 128, 256)
BEFORE = Idea({"batch_size": 128}, layers=OF_BEFORE)
"""The defaults before ADR 36, from which the ideas below were made one by one."""


def changed(
    parameters: Mapping[str, Any] | None = None,
    layers: Callable[[list[Any]], list[Any]] = lambda layers: layers,
    **others: Any,
) -> Idea:
    """Return what was default before, and one idea in place of a part of it."""
    return Idea(
        {**BEFORE.parameters, **(parameters or {})},
        layers=lambda design: layers(OF_BEFORE(design)),
        **others,
    )


IDEAS = {
    "defaults": Idea(),
    "before": BEFORE,
    "learning_rate=0.008": changed({"learning_rate": 0.008}),
    "learning_rate=0.012": changed({"learning_rate": 0.012}),
    "learning_rate=0.008, batch_size=64": changed({"learning_rate": 0.008, "batch_size": 64}),
    "batch_size=64": changed({"batch_size": 64}),
    "label_smoothing=0.2": changed({"label_smoothing": 0.2}),
    "label_smoothing=0.05": changed({"label_smoothing": 0.05}),
    "widths 16, 64, 128": changed(layers=widths(16, 64, 128, 256)),
    "widths 24, 48, 96": changed(layers=widths(24, 48, 96, 192)),
    "widths 16, 48, 144": changed(layers=widths(16, 48, 144, 288)),
    "widths 16, 32, 128": changed(layers=widths(16, 32, 128, 256)),
    "widths 24, 48, 192": changed(layers=widths(24, 48, 192, 384)),
    "widths 16, 32, 64": changed(layers=widths(16, 32, 64, 128)),
    "widths 48, 96, 192": changed(layers=widths(48, 96, 192, 384)),
    "two convolutions in the last block": changed(layers=twice_last),
    "widths 16, 32, 64, two in the last": changed(
        layers=lambda layers: twice_last(widths(16, 32, 64, 128)(layers))
    ),
    "first 5 x 5, step 2": changed(layers=stem(32, 5, 2), smallest_side=28),
    "first 4 x 4, step 2, 48 maps": changed(layers=stem(48, 4, 2), smallest_side=28),
    "whitening 24 of 2 x 2": changed(
        layers=whitened(24, 2), callbacks=(Whitening,), smallest_side=28
    ),
    "whitening 18 of 3 x 3": changed(
        layers=whitened(18, 3), callbacks=(Whitening,), smallest_side=28
    ),
    "whitening 12 of 2 x 2, widths 16, 48, 144": changed(
        layers=lambda layers: whitened(12, 2)(widths(16, 48, 144, 288)(layers)),
        callbacks=(Whitening,),
        smallest_side=28,
    ),
    "Dirac weights": changed(callbacks=(Dirac,), smallest_side=28),
    "biases 8 times as fast": changed(callbacks=(partial(RateOfBiases, 8.0),)),
    "biases 3 times as fast": changed(callbacks=(partial(RateOfBiases, 3.0),)),
    "averaged weights": changed(callbacks=(Averaged,)),
    "averaged weights, learning_rate=0.008": changed(
        {"learning_rate": 0.008}, callbacks=(Averaged,)
    ),
    "together: maps 24, 48, 96, biases 8 times": changed(
        layers=widths(24, 48, 96, 192), callbacks=(partial(RateOfBiases, 8.0),)
    ),
    "together: maps 24, 48, 96, batches of 64": changed(
        {"batch_size": 64}, layers=widths(24, 48, 96, 192)
    ),
    "together: maps 24, 48, 96, batches of 64, biases 8 times": changed(
        {"batch_size": 64},
        layers=widths(24, 48, 96, 192),
        callbacks=(partial(RateOfBiases, 8.0),),
    ),
    "together: maps 24, 48, 96, batches of 64, biases 8 times, Dirac": changed(
        {"batch_size": 64},
        layers=widths(24, 48, 96, 192),
        callbacks=(partial(RateOfBiases, 8.0), Dirac),
    ),
    "together: batches of 64, biases 8 times": changed(
        {"batch_size": 64}, callbacks=(partial(RateOfBiases, 8.0),)
    ),
}

# Data


@dataclass(frozen=True)
class Data:
    """Where a data set lies, which epochs are tried, and which accuracy is wanted."""

    folder: str
    epochs: tuple[int, ...]
    wanted: float


@cache
def images_of(name: str, folder: str) -> Split:
    """Read images and classes to learn from, and to test."""
    if name == "digits":
        split = load(Images(None, 1797, 1797))
        X, X_test, y, y_test = train_test_split(split.X, split.y, test_size=597, random_state=0)
        return Split(X, y, X_test, y_test)
    if name == "Fashion-MNIST":
        return load(Images(folder, 10_000, 10_000))
    if name == "CIFAR-10":
        return load_folder(folder, 32)
    photos = load_image_folder(folder)
    X = ImageReader(size=(64, 64)).fit_transform(photos.data)
    X, X_test, y, y_test = train_test_split(
        X, photos.target, train_size=400, stratify=photos.target, random_state=0
    )
    return Split(X, y, X_test, y_test)


def run(name: str, data: Data, idea_name: str, n_epochs: int, seed: int) -> dict[str, Any]:
    """Fit once; return the accuracy and the multiply-adds."""
    idea = IDEAS[idea_name]
    X, y, X_test, y_test = images_of(name, data.folder)
    shape = (*X.shape[1:3], X.shape[3] if X.ndim == 4 else 1)
    parameters = dict(idea.parameters)
    if idea.layers is not None:
        layers = idea.layers(list(design_network(shape)))
        if Whitening in idea.callbacks:  # a patch has no more directions than values
            n_values = layers[0].kernel_size ** 2 * shape[2]
            layers[0] = replace(layers[0], channels=min(layers[0].channels, 2 * n_values))
        parameters["layers"] = layers
    if name in ("CIFAR-10", "photographs"):
        parameters["augment"] = (RandomFlip(), RandomShift())
    model = CNNClassifier(
        max_epochs=n_epochs,
        random_state=seed,
        device="cpu" if name == "digits" else "auto",  # too small to gain on another
        callbacks=[make() for make in idea.callbacks] or None,
        **parameters,
    )
    model.fit(X, y)
    work = 3 * n_multiplications(model.net_.layers_) * len(X) * n_epochs
    accuracy = float(model.score(X_test, y_test))
    return {
        "data": name,
        "idea": idea_name,
        "epochs": n_epochs,
        "seed": seed,
        "work": work,
        "accuracy": accuracy,
    }


def _ready() -> None:
    torch.set_num_threads(1)


# Tables


def work_to(points: list[tuple[float, float]], wanted: float) -> float | None:
    """Return the work to an accuracy, between points (work, accuracy) on a logarithmic axis."""
    points = sorted(points)
    for (less, low), (more, high) in pairwise(points):
        if low < wanted <= high:
            share = (wanted - low) / (high - low)
            return exp(log(less) + share * (log(more) - log(less)))
    return points[0][0] if points and points[0][1] >= wanted else None


def tables(results: list[dict[str, Any]], sets: dict[str, Data]) -> None:
    """Print accuracy by epochs, and the work to the accuracy wanted."""
    for name, data in sets.items():
        print(f"\n{name}: accuracy in percent (deviation of seeds), multiply-adds to {data.wanted}")
        reference = None
        for idea in IDEAS:
            points, cells = [], []
            for n_epochs in data.epochs:
                wanted = (name, idea, n_epochs)
                here = [r for r in results if (r["data"], r["idea"], r["epochs"]) == wanted]
                if here:
                    found = [100 * r["accuracy"] for r in here]
                    points.append((here[0]["work"], mean(found) / 100))
                    spread = f"({stdev(found):.2f})" if len(found) > 1 else ""
                    cells.append(f"{mean(found):6.2f} {spread:6}")
            if not cells:
                continue
            needed = work_to(points, data.wanted)
            reference = needed if idea == "before" else reference
            ratio = f"{reference / needed:5.2f} times fewer" if needed and reference else ""
            taken = f"{needed:.2e}" if needed else "not reached"
            each = points[0][0] / data.epochs[0]
            print(f"{idea:44} {' '.join(cells)}  {each:.1e} an epoch  {taken:11} {ratio}")


def main() -> None:
    """Fit what is asked for, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for option in ("--fashion", "--cifar", "--photos", "--results"):
        parser.add_argument(option)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--only", nargs="+", choices=IDEAS, default=list(IDEAS), metavar="IDEA")
    given = parser.parse_args()
    sets = {"digits": Data("", (3, 5, 8, 12, 20), 0.985)}
    if given.fashion:
        sets["Fashion-MNIST"] = Data(given.fashion, (2, 3, 5, 8, 11), 0.90)
    if given.cifar:
        sets["CIFAR-10"] = Data(given.cifar, (4, 6, 9, 14, 22), 0.72)
    if given.photos:
        sets["photographs"] = Data(given.photos, (12, 25, 50), 0.75)
    wanted = [
        (name, data, idea, n_epochs, seed)
        for seed in range(given.seeds)
        for name, data in sets.items()
        for idea in IDEAS
        for n_epochs in data.epochs
        if idea in given.only and not (name == "digits" and IDEAS[idea].smallest_side > 8)
    ]
    results = []
    spawn = get_context("spawn")  # CUDA does not survive a fork
    with ProcessPoolExecutor(given.processes, spawn, _ready) as pool:
        for future in [pool.submit(run, *each) for each in wanted]:
            results.append(future.result())
            if given.results:
                Path(given.results).write_text(json.dumps(results))
    tables(results, sets)


if __name__ == "__main__":
    main()
