"""A folder of CIFAR-10's images as files: CNNClassifier with augmentation against Keras.

Run ``python benchmarks/image_folder.py [ROUNDS] --cifar FOLDER [--augment-keras]``, where FOLDER
holds train/CLASS and test/CLASS. The clock runs from the list of files to the fitted model. Keras
trains the tutorials' network for 25 epochs, without augmentation, as the tutorials have it;
``--augment-keras`` adds a row for the same network with Keras's own flips and shifts, of one round.
"""

import gc
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from measuring.results import Row, answer, ask, format_seconds, missing_row
from measuring.sides import Fit, Side, is_installed, module_of

SIZE = 32
TARGET = "16 points more, in at most half its time"


def few_files(folder: Path, copy: Path, per_class: int) -> None:
    """Make a small folder of copies of the first files of each class."""
    for path in sorted(folder.iterdir()):
        (copy / path.name).mkdir(parents=True)
        for file in sorted(path.iterdir())[:per_class]:
            shutil.copy(file, copy / path.name)


def fit_folder(contender: str, train: Path, test: Path, few: Path, **options: Any) -> Fit:
    """Time one fit from files, and score its model; a few files serve to get ready."""
    model = module_of(contender).make(size=SIZE, **options)
    if hasattr(model, "compile_first"):
        model.compile_first(few)
    gc.collect()
    start = time.perf_counter()
    model.fit(train)
    return Fit(time.perf_counter() - start, model.score(test))


def figures(fits: list[Fit]) -> str:
    """Write the mean accuracy, and the median time."""
    accuracy = statistics.mean(done.accuracy for done in fits)
    return f"{accuracy:.4f}, {format_seconds([done.seconds for done in fits])}"


def folder_row(what: str, ours: list[Fit], theirs: list[Fit], target: str = "") -> Row:
    """Compare accuracy and time."""
    points = statistics.median(a.accuracy - b.accuracy for a, b in zip(ours, theirs, strict=True))
    ratios = [a.seconds / b.seconds for a, b in zip(ours, theirs, strict=True)]
    middle = statistics.median(ratios)
    return Row(
        "9",
        what,
        figures(ours),
        figures(theirs),
        f"{points * 100:+.1f} points, {middle:.2f} ({min(ratios):.2f} to {max(ratios):.2f}) "
        "of its time",
        target,
        points >= 0.16 and middle <= 0.5 if target else None,
    )


def main() -> None:
    """Print a row, or two."""
    arguments = ask(__doc__, needs="cifar", augment_keras={"action": "store_true"})
    train, test = (Path(arguments.cifar, part) for part in ("train", "test"))
    epochs = 3 if arguments.quick else 25
    what = f"folder of JPEG files, flips and shifts, against Keras for {epochs} epochs"
    ours = Side("ours_folder")
    keras = Side("keras_folder_tutorial") if is_installed("tensorflow") else None
    results: dict[str, list[Fit]] = {"ours": [], "plain": [], "augmented": []}
    with tempfile.TemporaryDirectory() as name:
        few = Path(name, "few")
        few_files(train, few, per_class=20)
        if arguments.quick:
            train = Path(name, "train")
            few_files(Path(arguments.cifar, "train"), train, per_class=200)
        for side in filter(None, (ours, keras)):  # warms up
            side(fit_folder, few, few, few, epochs=1)
        for seed in range(arguments.rounds):
            limit = {"epochs": epochs} if arguments.quick else {}
            results["ours"].append(ours(fit_folder, train, test, few, seed=seed, **limit))
            if keras:
                done = keras(fit_folder, train, test, few, seed=seed, epochs=epochs)
                results["plain"].append(done)
        if keras and arguments.augment_keras:
            done = keras(fit_folder, train, test, few, seed=0, epochs=epochs, augment=True)
            results["augmented"].append(done)
    for side in filter(None, (ours, keras)):
        side.close()
    rows = [missing_row("9", what, figures(results["ours"]), TARGET)]
    if keras:
        rows = [folder_row(what, results["ours"], results["plain"], TARGET)]
    if results["augmented"]:
        what += " with flips and shifts, too"
        rows.append(folder_row(what, results["ours"][:1], results["augmented"]))
    answer(arguments, rows)


if __name__ == "__main__":
    main()
