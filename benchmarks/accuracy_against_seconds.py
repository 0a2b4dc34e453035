"""A picture of test accuracy against seconds of training on Fashion-MNIST, for every contender.

Run ``python benchmarks/accuracy_against_seconds.py --fashion FOLDER``. It draws a PNG file beside
itself (ending in ``-quick`` with ``--quick``). Where the file given as ``--results`` holds the
curves of ``fashion_mnist.py``, they are drawn; else that is run first, for one round. Plain skorch
and Keras have a point an epoch. CNNClassifier and the raw loop have one for each number of epochs
that they were fitted with, as their learning rate falls to zero at the end of a fit. The others
have one, and the slow ones see fewer images; the legend says how many.
"""

from pathlib import Path
from typing import Any

import fashion_mnist
from measuring.data import Images
from measuring.results import Row, answer, ask, missing_row, read
from measuring.sides import Fit, Side, fit, is_installed, warm_up

OTHERS = {
    "MLPClassifier": ("mlp", 60_000),
    "HOG + SVC": ("hog_svm", 10_000),
    "HistGradientBoosting": ("boosting", 10_000),
    "SVC": ("svc", 10_000),
}
"""Contenders with one point: their modules, and how many images they see."""


def fit_ours(images: Images) -> list[Fit]:
    """Fit CNNClassifier for a number of epochs that ``fashion_mnist.py`` leaves out."""
    side = Side("ours")
    side(warm_up, images, max_epochs=1)
    done = side(fit, images, max_epochs=3, random_state=0)
    side.close()
    return [done]


def fit_raw_loops(images: Images, quick: bool) -> list[Fit]:
    """Fit the raw loop for a few numbers of epochs."""
    side = Side("raw_torch")
    side(warm_up, images, epochs=1)
    fits = [side(fit, images, epochs=epochs) for epochs in ((1,) if quick else (1, 3, 7))]
    side.close()
    return fits


def fit_others(images: Images, quick: bool) -> dict[str, list[Fit]]:
    """Fit those with one point, each in a process of its own."""
    curves = {}
    for name, (contender, most) in OTHERS.items():
        if contender == "hog_svm" and not is_installed("skimage"):
            continue
        n_train = min(most, images.n_train) // (8 if quick else 1)
        side = Side(contender)
        side(warm_up, images)
        done = side(fit, images._replace(n_train=n_train))
        side.close()
        curves[f"{name} ({n_train:,} images)" if n_train < images.n_train else name] = [done]
    return curves


def draw(curves: dict[str, Any], title: str, path: Path) -> None:
    """Draw a line or a point for each contender, with the seconds on a logarithmic axis."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(10, 5), layout="constrained")
    for number, (name, points) in enumerate(curves.items()):
        seconds, accuracies = zip(*points, strict=True)
        is_ours = name == "CNNClassifier"
        axes.plot(
            seconds,
            accuracies,
            marker="os^vD*PX"[number % 8],
            linewidth=2.5 if is_ours else 1.2,
            color="black" if is_ours else f"C{number}",
            label=name,
        )
    axes.set(xscale="log", xlabel="seconds of training", ylabel="test accuracy", title=title)
    axes.grid(alpha=0.3, which="both")
    figure.legend(loc="outside right upper", fontsize="small")
    figure.savefig(path, dpi=150)
    plt.close(figure)


def main() -> None:
    """Measure what was not measured before, draw, and print the last points."""
    arguments = ask(__doc__, needs="fashion")
    picture = Path(__file__).with_name(f"{Path(__file__).stem}{'-quick' * arguments.quick}.png")
    images, enough = fashion_mnist.setting(arguments.fashion, arguments.quick)
    curves = dict(line["content"] for line in read(arguments.results, "curve"))
    curves = curves or fashion_mnist.curves(fashion_mnist.run(images, enough, rounds=1))
    curves["CNNClassifier"] = sorted(map(tuple, [*curves["CNNClassifier"], *fit_ours(images)]))
    curves["raw PyTorch loop, same tricks"] = fit_raw_loops(images, arguments.quick)
    curves |= fit_others(images, arguments.quick)
    draw(curves, f"Fashion-MNIST, {images.n_train:,} training images", picture)
    rows = []
    for name, points in curves.items():
        seconds, accuracy = max(points, key=lambda point: point[1])
        figures = f"{accuracy:.4f} in {seconds:.1f} s"
        mine = name == "CNNClassifier"
        rows.append(
            Row("", f"best accuracy, {name}", figures if mine else "", "" if mine else figures)
        )
    for name, library in (("Keras", "tensorflow"), ("HOG + SVC", "skimage")):
        if not is_installed(library):
            rows.append(missing_row("", f"best accuracy, {name}"))
    answer(arguments, rows)
    print(f"drawn: {picture}")


if __name__ == "__main__":
    main()
