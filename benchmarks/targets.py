"""Numbers and several labels: against scikit-learn's own estimators and plain skorch.

Run ``python benchmarks/targets.py [ROUNDS] [--quick]``. It draws its images: blobs of different
brightness, whose weighted centre is to be found; a line, whose angle is to be found; and two digits
of scikit-learn's side by side or on top of each other, each with a label. Sides take turns, a
round each with another seed; the table has means over the rounds, and the median of seconds.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from measuring.results import ask
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestRegressor
from sklearn.metrics import f1_score, root_mean_squared_error
from sklearn.multioutput import MultiOutputClassifier
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from skorch import NeuralNet, NeuralNetRegressor
from torch import nn

from sklearn_cnn import CNNClassifier, CNNRegressor

SIDE, N_TRAIN, N_TEST = 32, 3000, 1000

Data = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""Images to learn from, their targets, images to test, their targets."""


def draw_blobs(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw three blobs an image, and return the centre that their brightness has, in pixels."""
    y, x = np.mgrid[:SIDE, :SIDE]
    at = rng.uniform(4, SIDE - 4, (n, 3, 2, 1, 1))
    bright, width = rng.uniform(40, 160, (n, 3, 1, 1)), rng.uniform(1, 3, (n, 3, 1, 1))
    squares = (y - at[:, :, 0]) ** 2 + (x - at[:, :, 1]) ** 2
    drawn = (bright * np.exp(-squares / (2 * width**2))).sum(axis=1)
    total = drawn.sum(axis=(1, 2))
    centre = np.stack([(drawn * axis).sum(axis=(1, 2)) / total for axis in (y, x)], axis=1)
    return add_noise(drawn, rng), centre


def draw_lines(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw a line an image, and return its angle in degrees, between -80 and 80."""
    y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    angle = rng.uniform(-80, 80, n)
    radians = np.radians(angle)[:, None, None]
    y0, x0 = rng.uniform(-5, 5, (2, n, 1, 1))
    along = (x - x0) * np.cos(radians) + (y - y0) * np.sin(radians)
    across = -(x - x0) * np.sin(radians) + (y - y0) * np.cos(radians)
    length = rng.uniform(6, 12, (n, 1, 1))
    drawn = 150 * np.exp(-(across**2) / 2) * (np.abs(along) < length)
    return add_noise(drawn, rng), angle


def draw_digits(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Paste two different digits anywhere on 16 x 20 pixels; return which digits are on each."""
    digits = load_digits()
    images, labels = np.zeros((n, 16, 20)), np.zeros((n, 10), dtype=int)
    for image, row in zip(images, labels, strict=True):
        for number in rng.choice(len(digits.target), 2, replace=False):
            top, left = rng.integers(0, 9), rng.integers(0, 13)
            part = image[top : top + 8, left : left + 8]
            np.maximum(part, digits.images[number], out=part)
            row[digits.target[number]] = 1
    return images, labels


def add_noise(drawn: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Add noise of 20 to grays, and make bytes of them."""
    return np.clip(drawn + 40 + rng.normal(0, 20, drawn.shape), 0, 255).astype(np.uint8)


class TwoBlocks(nn.Sequential):
    """The network of the tutorials: two blocks, two dense layers, and outputs as they are."""

    def __init__(self, shape: tuple[int, int], n_outputs: int) -> None:
        super().__init__(
            nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(64 * (shape[0] // 4) * (shape[1] // 4), 128), nn.ReLU(),
            nn.Linear(128, n_outputs),
        )  # fmt: skip


class Skorch:
    """skorch as its users set it up: pixels from 0 to 1, standardised targets, Adam, shuffled."""

    def __init__(self, make: Callable[..., Any], criterion: type, epochs: int, seed: int) -> None:
        self.make, self.criterion, self.epochs, self.seed = make, criterion, epochs, seed

    def pixels(self, images: np.ndarray) -> np.ndarray:
        """Scale to 0..1, channels first."""
        return (images[:, None] / self.white).astype(np.float32)

    def fit(self, images: np.ndarray, y: np.ndarray) -> "Skorch":
        """Train for so many epochs, or for about so many seconds."""
        torch.manual_seed(self.seed)
        self.white, y = images.max(), y.reshape(len(y), -1)
        numbers = self.criterion is nn.MSELoss
        self.scaler = StandardScaler(with_mean=numbers, with_std=numbers).fit(y)
        self.net = self.make(
            TwoBlocks,
            module__shape=images.shape[1:],
            module__n_outputs=y.shape[1],
            criterion=self.criterion,
            optimizer=torch.optim.Adam,
            lr=1e-3,
            max_epochs=self.epochs,
            train_split=None,
            iterator_train__shuffle=True,
            predict_nonlinearity=None,
            verbose=0,
        )
        self.net.fit(self.pixels(images), self.scaler.transform(y).astype(np.float32))
        return self

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Predict numbers, or the labels whose probability is above 0.5."""
        outputs = self.net.predict(self.pixels(images))
        if self.criterion is nn.MSELoss:
            return self.scaler.inverse_transform(outputs)
        return outputs > 0


def flat(estimator: Any) -> Any:
    """Put an estimator behind flattened, standardised pixels."""
    return make_pipeline(StandardScaler(), estimator)


def of_numbers(epochs: int) -> dict[str, Callable[[int], tuple[Any, bool]]]:
    """Return what makes each side of a regression, and whether it takes rows."""
    return {
        "CNNRegressor()": lambda seed: (CNNRegressor(random_state=seed), False),
        f"skorch, two blocks, {epochs} epochs": lambda seed: (
            Skorch(NeuralNetRegressor, nn.MSELoss, epochs, seed),
            False,
        ),
        "MLPRegressor()": lambda seed: (flat(MLPRegressor(random_state=seed)), True),
        "RandomForestRegressor()": lambda seed: (
            RandomForestRegressor(random_state=seed, n_jobs=-1),
            True,
        ),
    }


def of_labels(epochs: int) -> dict[str, Callable[[int], tuple[Any, bool]]]:
    """Return what makes each side of several labels, and whether it takes rows."""
    return {
        "CNNClassifier()": lambda seed: (CNNClassifier(random_state=seed), False),
        f"skorch, two blocks, {epochs} epochs": lambda seed: (
            Skorch(NeuralNet, nn.BCEWithLogitsLoss, epochs, seed),
            False,
        ),
        "MLPClassifier()": lambda seed: (flat(MLPClassifier(random_state=seed)), True),
        "MultiOutputClassifier(SVC())": lambda seed: (
            flat(MultiOutputClassifier(SVC(), n_jobs=-1)),
            True,
        ),
    }


def compare(
    sides: dict[str, Callable[[int], tuple[Any, bool]]],
    draw: Callable[[int, np.random.Generator], tuple[np.ndarray, np.ndarray]],
    judge: Callable[[np.ndarray, np.ndarray], float],
    rounds: int,
    quick: bool,
) -> None:
    """Print a row a side: its mean score, its range, and its seconds."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
    n_train, n_test = (300, 100) if quick else (N_TRAIN, N_TEST)
    for seed in range(rounds):
        images, y = draw(n_train + n_test, np.random.default_rng(seed))
        for name, make in sides.items():
            estimator, takes_rows = make(seed)
            X = images.reshape(len(images), -1) if takes_rows else images
            start = time.perf_counter()
            estimator.fit(X[:n_train], y[:n_train])
            seconds = time.perf_counter() - start
            found[name].append((judge(y[n_train:], estimator.predict(X[n_train:])), seconds))
    for name, results in found.items():
        scores, seconds = zip(*results, strict=True)
        spread = f"{min(scores):.3f} to {max(scores):.3f}"
        print(
            f"| {name} | {statistics.mean(scores):.3f} ({spread}) "
            f"| {statistics.median(seconds):.1f} s |",
            flush=True,
        )


def main() -> None:
    """Print the three tables."""
    import warnings

    from sklearn.exceptions import ConvergenceWarning

    warnings.simplefilter("ignore", ConvergenceWarning)  # scikit-learn's networks stop at 200
    arguments = ask(__doc__, rounds=3)
    rounds, quick = arguments.rounds, arguments.quick
    epochs = 2 if quick else 25
    for title, draw in (("centre of blobs, pixels", draw_blobs), ("angle of a line", draw_lines)):
        print(f"\n| {title} | RMSE (range) | fit |\n| --- | --- | --- |")
        compare(of_numbers(epochs), draw, root_mean_squared_error, rounds, quick)
    print("\n| two digits an image | macro F1 (range) | fit |\n| --- | --- | --- |")
    compare(
        of_labels(epochs),
        draw_digits,
        lambda y, found: float(f1_score(y, found, average="macro")),
        rounds,
        quick,
    )


if __name__ == "__main__":
    main()
