"""How much of the processor's arithmetic ``fit`` and ``predict_proba`` reach.

Run ``python benchmarks/arithmetic.py [ROUNDS]``. Theirs is a product of two square matrices with
all cores, in the type that the layers multiply, which is about the most that the processor gives.
Ours are the multiplications and additions of the layers alone, three times those of a forward pass
in training (less the gradient of the pixels, which nobody needs), over the whole time of the call.
A share of 0.5 says that the same layers could be twice as fast at best. Images of 8 x 8 train in
one thread, which has half of what two cores give.
"""

import statistics
from math import prod
from typing import Any

import numpy as np
import torch
from contenders.ours import make
from measuring.results import Row, answer, ask
from measuring.sides import WARM_UP, seconds

from sklearn_cnn import CNNClassifier

SIDE = 2048
"""Of the matrices."""

CASES: dict[str, tuple[tuple[int, int, int], int, dict[str, Any]]] = {
    "two-block network, 28 x 28": ((28, 28, 1), 10_000, {"layers": "tutorial"}),
    "default network, 28 x 28": ((28, 28, 1), 10_000, {}),
    "default network, 32 x 32 in colour": ((32, 32, 3), 10_000, {}),
    "two-block network, 8 x 8": ((8, 8, 1), 20_000, {"layers": "tutorial"}),
}
"""Shape and number of images, and the network."""


def peak(dtype: torch.dtype) -> float:
    """Return the operations a second of a matrix product, the median of five."""
    a = torch.rand(SIDE, SIDE).to(dtype)
    return 2 * SIDE**3 / statistics.median(seconds(lambda: a @ a) for _ in range(5))


def operations(model: CNNClassifier, *, training: bool) -> int:
    """Count multiplications and additions of one image in convolutions and dense layers."""
    modules = model.net_.module_
    layers = [
        2 * prod(row.output_shape) * modules.get_submodule(row.name).weight[0].numel()
        for row in model.layers_
        if row.kind in ("Conv2d", "Linear")
    ]
    forward, gradient_of_pixels = sum(layers), layers[0]
    return 3 * forward - gradient_of_pixels if training else forward


def share_row(what: str, ours: list[float], theirs: list[float]) -> Row:
    """Compare operations a second."""
    shares = [mine / other for mine, other in zip(ours, theirs, strict=True)]
    figures = [f"{statistics.median(rates) / 1e12:.3f} TFLOP/s" for rates in (ours, theirs)]
    spread = f"{statistics.median(shares):.2f} ({min(shares):.2f} to {max(shares):.2f})"
    return Row("", f"arithmetic of {what}, against a matrix product", *figures, f"{spread} of it")


def compare(name: str, rounds: int, scale: int) -> list[Row]:
    """Fit and predict in turn with a product of matrices."""
    shape, n_images, options = CASES[name]
    rng = np.random.default_rng(0)
    X = rng.integers(0, 256, (n_images // scale, *shape), dtype=np.uint8)
    y = np.arange(len(X)) % 10
    model = make(max_epochs=1, random_state=0, **options).fit(X[:WARM_UP], y[:WARM_UP])
    model.predict_proba(X[:WARM_UP])
    in_training = torch.bfloat16 if model.net_.in_bfloat16 else torch.float32
    rates: dict[str, list[float]] = {
        "fit": [],
        "peak of fit": [],
        "predict": [],
        "peak of predict": [],
    }
    for _ in range(rounds):
        rates["peak of fit"].append(peak(in_training))
        taken = seconds(lambda: model.fit(X, y))
        rates["fit"].append(len(X) * operations(model, training=True) / taken)
        rates["peak of predict"].append(peak(torch.float32))
        taken = seconds(lambda: model.predict_proba(X))
        rates["predict"].append(len(X) * operations(model, training=False) / taken)
    kind = str(in_training).removeprefix("torch.")
    return [
        share_row(f"fit, {name}, {kind}", rates["fit"], rates["peak of fit"]),
        share_row(f"predict_proba, {name}, float32", rates["predict"], rates["peak of predict"]),
    ]


def main() -> None:
    """Print two rows for each network."""
    arguments = ask(__doc__ or "", rounds=5)
    for name in CASES:
        answer(arguments, compare(name, arguments.rounds, 4 if arguments.quick else 1))


if __name__ == "__main__":
    main()
