"""Few photographs: a pretrained network against networks that are trained from scratch.

Run ``python benchmarks/pretrained.py [ROUNDS] --photos FOLDER --cifar FOLDER [--quick]``. The first
FOLDER holds a folder of 300 photographs for each of two kinds, of which the first ones by name are
learnt from, and those from 200 on tested; the second holds train/CLASS and test/CLASS. The tables
of a folder that is not given are left out. Keras's rows need TensorFlow. Accuracies are of one run,
times of features medians of rounds that take turns.
"""

import gc
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from measuring.results import ask
from measuring.sides import is_installed
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from sklearn_cnn import (
    Backbone,
    CNNClassifier,
    Dropout,
    ImageReader,
    PretrainedFeatures,
    RandomFlip,
    RandomShift,
    load_image_folder,
)
from sklearn_cnn.network.pretrained import load_pretrained

NETWORKS = ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")


class Files(NamedTuple):
    """Files to learn from and to test on, with their labels."""

    train: list[Any]
    y: np.ndarray
    test: list[Any]
    y_test: np.ndarray


class Outcome(NamedTuple):
    """Accuracy on the test files, and the seconds from files to a fitted model."""

    accuracy: float
    seconds: float

    def __str__(self) -> str:
        return f"{self.accuracy:.3f} in {self.seconds:5.1f} s"


def photographs(folder: Path, n_each: int) -> Files:
    """Take the first photographs of each kind, and those from 200 on to test."""
    files = load_image_folder(folder)
    paths, labels = np.array(files.data, dtype=object), np.array(files.labels)
    kinds = [np.flatnonzero(labels == name) for name in files.target_names]
    rows = [kind[np.argsort([Path(paths[i]).name for i in kind])] for kind in kinds]
    train, test = (np.concatenate([row[cut] for row in rows]) for cut in (
        slice(0, n_each), slice(200, 300),
    ))  # fmt: skip
    return Files(list(paths[train]), labels[train], list(paths[test]), labels[test])


def classes(folder: Path, n_each: int, n_test: int) -> Files:
    """Take some files of each class, drawn with a fixed seed, from train/ and test/."""
    rng, found = np.random.default_rng(0), []
    for part, n in (("train", n_each), ("test", n_test)):
        files = load_image_folder(folder / part)
        labels = np.array(files.labels)
        rows = np.concatenate(
            [rng.permutation(np.flatnonzero(labels == name))[:n] for name in files.target_names]
        )
        found += [[files.data[row] for row in rows], labels[rows]]
    return Files(*found)


def outcome(model: Any, files: Files) -> Outcome:
    """Time the fit of a model, and score it."""
    gc.collect()
    start = time.perf_counter()
    model.fit(files.train, files.y)
    seconds = time.perf_counter() - start
    return Outcome(model.score(files.test, files.y_test), seconds)


def on_features(size: int, network: str = NETWORKS[0], **options: Any) -> Pipeline:
    """Make a logistic regression on the features of a pretrained network."""
    return make_pipeline(
        ImageReader(size, n_jobs=-1),
        PretrainedFeatures(network, **options),
        StandardScaler(),
        LogisticRegression(C=0.01, max_iter=1000),
    )


def from_scratch(size: int, **parameters: Any) -> Pipeline:
    """Make a network that knows nothing but the images it is given."""
    return make_pipeline(ImageReader(size, n_jobs=-1), CNNClassifier(random_state=0, **parameters))


def tuned(size: int, trainable: int, **parameters: Any) -> Pipeline:
    """Make a network that begins with a pretrained one."""
    layers = [Backbone(trainable=trainable), Dropout(0.2)]
    return from_scratch(size, layers=layers, **parameters)


class KerasNetwork:
    """The network of Keras's tutorials, with files read by ImageReader."""

    def __init__(self, size: int, epochs: int = 25) -> None:
        self.reader, self.size, self.epochs = ImageReader(size, n_jobs=-1), size, epochs

    def fit(self, files: list[Any], y: np.ndarray) -> "KerasNetwork":
        """Train for the tutorials' number of epochs."""
        from contenders.keras_tutorial import BATCH, tutorial_layers

        import keras  # isort: skip

        keras.utils.set_random_seed(0)
        self.names, numbers = np.unique(y, return_inverse=True)
        shape = (self.size, self.size, 3)
        self.model = keras.Sequential(
            [keras.layers.Input(shape), keras.layers.Rescaling(1 / 255), *tutorial_layers()]
        )
        self.model.compile("adam", "sparse_categorical_crossentropy")
        pixels = self.reader.transform(files)
        self.model.fit(pixels, numbers, batch_size=BATCH, epochs=self.epochs, verbose=0)
        return self

    def score(self, files: list[Any], y: np.ndarray) -> float:
        """Return the accuracy."""
        outputs = self.model.predict(self.reader.transform(files), verbose=0)
        return float((self.names[outputs[:, : len(self.names)].argmax(axis=1)] == y).mean())


def compare(title: str, models: dict[str, Callable[[], Any]], all_files: list[Files]) -> None:
    """Print a line for each model, with its outcome for each set of files."""
    sizes = [f"{len(files.train)} images" for files in all_files]
    print(f"\n{title}\n{'':<44}" + "".join(f"{size:>20}" for size in sizes))
    for name, make in models.items():
        outcomes = [outcome(make(), files) for files in all_files]
        print(f"{name:<44}" + "".join(f"{result!s:>20}" for result in outcomes), flush=True)


def of_photographs(folder: Path, quick: bool) -> None:
    """Print rows 1 and 2: photographs of two kinds, by features and from scratch."""
    sizes = (20,) if quick else (20, 100, 200)
    models: dict[str, Callable[[], Any]] = {
        f"features of lite0 at {size}": lambda size=size: on_features(size)
        for size in ((128,) if quick else (224, 160, 128))
    }
    for network, size in ((NETWORKS[1], 240), (NETWORKS[2], 260)) if not quick else ():
        name = f"features of {network[-5:]} at {size}"
        models[name] = lambda size=size, network=network: on_features(size, network)
    models["Backbone(trainable=0) at 224"] = lambda: tuned(224, 0)
    models["CNNClassifier() from scratch at 64"] = lambda: from_scratch(64)
    models["the same, flips and shifts"] = lambda: from_scratch(
        64, augment=(RandomFlip(), RandomShift())
    )
    if is_installed("tensorflow"):
        models["Keras's tutorial network at 64, 25 epochs"] = lambda: KerasNetwork(64)
    outcome(on_features(32), photographs(folder, 2))  # loads what is loaded once
    compare("Photographs of two kinds", models, [photographs(folder, n) for n in sizes])


def of_classes(folder: Path, quick: bool) -> None:
    """Print rows 3 and 4: ten classes of small images, which are read larger."""
    n_each, n_test = (20, 20) if quick else (300, 200)
    models: dict[str, Callable[[], Any]] = {
        "features of lite0 at 128": lambda: on_features(128),
        "features of lite0 at 96": lambda: on_features(96),
    }
    for network in NETWORKS[1:] if not quick else ():
        name = f"features of {network[-5:]} at 128"
        models[name] = lambda network=network: on_features(128, network)
    models["CNNClassifier from scratch, flips and shifts"] = lambda: from_scratch(
        32, augment=(RandomFlip(), RandomShift())
    )
    compare("CIFAR-10, files read larger", models, [classes(folder, n_each, n_test)])
    models = {"features of lite0 at 128": lambda: on_features(128)}
    for trainable in (0, 2, 3):
        name = f"Backbone(trainable={trainable}) at 128"
        models[name] = lambda trainable=trainable: tuned(128, trainable)
    files = classes(folder, 20 if quick else 200, n_test)
    compare("CIFAR-10, fewer images, the backbone tuned", models, [files])


def of_speed(rounds: int) -> None:
    """Print row 5: features a second, against the same network called plainly."""
    images = np.random.default_rng(0).integers(0, 256, (64, 224, 224, 3), dtype=np.uint8)
    network = load_pretrained(NETWORKS[0])

    def plainly() -> np.ndarray:
        features = []
        with torch.inference_mode():
            for start in range(0, len(images), 32):
                pixels = torch.from_numpy(images[start : start + 32]).permute(0, 3, 1, 2)
                features.append(network((pixels.float() - 127.5) / 127.5).mean((2, 3)))
        return torch.cat(features).numpy()

    ours = PretrainedFeatures()
    apart = np.abs(plainly() - ours.transform(images)).max()
    seconds: dict[str, list[float]] = {"ours": [], "plainly": []}
    for _ in range(rounds):
        for name, run in (("plainly", plainly), ("ours", lambda: ours.transform(images))):
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    ratios = [theirs / mine for mine, theirs in zip(*seconds.values(), strict=True)]
    each = {name: 1e3 * statistics.median(times) / 64 for name, times in seconds.items()}
    print(
        f"\nFeatures at 224 x 224: {each['ours']:.1f} ms an image, plainly in batches of 32 "
        f"{each['plainly']:.1f} ms: {statistics.median(ratios):.2f} times as fast "
        f"({min(ratios):.2f} to {max(ratios):.2f}); features differ by {apart:.1e} at most"
    )


class Counting(nn.Module):
    """Gives the mean of each channel, and counts images whose first pixels are (1, 2, 3)."""

    n_images = 0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Average the pixels."""
        levels = torch.round(images[:, :, 0, 0] * 255)
        Counting.n_images += int((levels == torch.tensor([1, 2, 3])).all(dim=1).sum())
        return images.mean((2, 3))


def of_search() -> None:
    """Print row 7: how many images a search with a cache computes."""
    rng = np.random.default_rng(0)
    images, y = rng.integers(0, 256, (90, 8, 8, 3), dtype=np.uint8), np.arange(90) % 3
    images[:, 0, 0] = 1, 2, 3
    with tempfile.TemporaryDirectory() as folder:
        features = PretrainedFeatures(Counting, mean=0, std=1, cache=folder)
        model = make_pipeline(features, LogisticRegression())
        grid = {"logisticregression__C": [0.001, 0.01, 0.1, 1]}
        GridSearchCV(model, grid, cv=3).fit(images, y)
    print(f"\nA search of 4 candidates in 3 folds of 90 images computed {Counting.n_images} images")


def main() -> None:
    """Print the tables."""
    arguments = ask(__doc__, rounds=7)
    of_speed(arguments.rounds)
    of_search()
    if arguments.photos:
        of_photographs(Path(arguments.photos), arguments.quick)
    if arguments.cifar:
        of_classes(Path(arguments.cifar), arguments.quick)


if __name__ == "__main__":
    main()
