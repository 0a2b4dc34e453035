"""
From a folder of images to a saved model
========================================

Cross-validate and grid-search a pipeline on a folder of class folders, save the best model, and
draw its confusion matrix and its worst mistakes.

Run ``python examples/image_folder.py FOLDER``, where FOLDER holds a folder of images for each
class, or a folder ``train`` and a folder ``test`` with such folders. Without FOLDER, the example
draws 300 images and takes about a minute on two cores. Pictures, the model and the cache of
decoded pixels go to ``image_folder_output``. The cache serves all folds, all candidates and the
next run.
"""

import argparse
import sys
from pathlib import Path

import joblib
import matplotlib.pyplot as plt
import numpy as np
from PIL import Image, ImageDraw
from sklearn.metrics import ConfusionMatrixDisplay
from sklearn.model_selection import GridSearchCV, cross_val_score, train_test_split
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.utils import Bunch

from sklearn_cnn import CNNClassifier, ImageReader, MistakesDisplay, load_image_folder

CORNERS = {"circle": 0, "triangle": 3, "square": 4}


def draw_shapes(folder: Path, n_each: int = 100) -> None:
    """Draw shapes of random colour, size and angle, in files of several formats and sizes."""
    rng = np.random.default_rng(0)
    for name, corners in CORNERS.items():
        (folder / name).mkdir(parents=True)
        for i in range(n_each):
            width, height = (int(side) for side in rng.integers(40, 120, 2))
            ground = tuple(int(level) for level in rng.integers(150, 256, 3))
            ink = tuple(int(level) for level in rng.integers(0, 120, 3))
            image = Image.new("RGB", (width, height), ground)
            radius = min(width, height) * rng.uniform(0.15, 0.45)
            draw = ImageDraw.Draw(image)
            circle = (width / 2, height / 2, radius)
            if corners:
                draw.regular_polygon(circle, corners, rotation=rng.uniform(0, 360), fill=ink)
            else:
                draw.circle(circle[:2], radius, fill=ink)
            noise = rng.normal(0, 30, (height, width, 3))
            pixels = np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8)
            suffix = ("jpg", "png", "webp")[i % 3]
            Image.fromarray(pixels).save(folder / name / f"{i:03}.{suffix}")


def load(folder: Path, on_error: str) -> tuple[Bunch, Bunch]:
    """List the training files and the test files, a fifth if FOLDER does not separate them."""
    if (folder / "train").is_dir() and (folder / "test").is_dir():
        training = load_image_folder(folder / "train", on_error=on_error)
        classes = training.target_names
        return training, load_image_folder(folder / "test", classes=classes, on_error=on_error)
    images = load_image_folder(folder, on_error=on_error)
    rows = np.arange(len(images.data))
    parts = train_test_split(rows, test_size=0.2, stratify=images.target, random_state=0)
    training, test = (
        Bunch(data=images.data[part], labels=images.labels[part], target_names=images.target_names)
        for part in parts
    )
    return training, test


def search(model: Pipeline, training: Bunch, size: int) -> GridSearchCV:
    """Grid-search the reader's size of images together with the network's dropout."""
    grid = {
        "imagereader__size": [(size, size), (size * 3 // 4, size * 3 // 4)],
        "cnnclassifier__dropout": [0.0, 0.3],
    }
    found = GridSearchCV(model, grid, cv=3, n_jobs=2).fit(training.data, training.labels)
    results = found.cv_results_
    print(f"\n  {'size':<12}{'dropout':>8}{'accuracy':>10}{'+-':>8}")
    for i in np.argsort(results["rank_test_score"], kind="stable"):
        row = [results[f"param_{name}"][i] for name in grid]
        accuracy, spread = results["mean_test_score"][i], results["std_test_score"][i]
        print(f"  {row[0]!s:<12}{row[1]:>8}{accuracy:>10.4f}{spread:>8.4f}")
    return found


def save_confusion_matrix(test: Bunch, predicted: np.ndarray, path: Path) -> None:
    """Draw which class is predicted as which."""
    display = ConfusionMatrixDisplay.from_predictions(
        test.labels,
        predicted,
        labels=test.target_names,
        cmap="Blues",
        colorbar=False,
        xticks_rotation=45,
    )
    wrong = int((predicted != test.labels).sum())
    display.ax_.set_title(f"{wrong} of {len(predicted)} test images wrong")
    display.figure_.savefig(path, dpi=120, bbox_inches="tight")
    plt.close(display.figure_)


def save_worst_mistakes(model: Pipeline, test: Bunch, path: Path) -> None:
    """Show up to 24 misclassified test images that the model was most confident about."""
    display = MistakesDisplay.from_estimator(model, test.data, test.labels, n_shown=24)
    display.figure_.savefig(path, dpi=100)
    plt.close(display.figure_)


def main(folder: Path | None, size: int, output: Path, on_error: str) -> None:
    """Run the example."""
    output.mkdir(parents=True, exist_ok=True)
    if folder is None:
        folder = output / "shapes"
        if not folder.exists():
            draw_shapes(folder)
    training, test = load(folder, on_error)
    print(f"{len(training.data):,} images to learn from, {len(test.data):,} to test on")
    print(f"classes: {', '.join(map(str, training.target_names))}")

    reader = ImageReader(size, cache=output / "decoded")
    try:  # read all files first, to find damaged ones before anything is computed
        for images in (training, test):
            reader.fit_transform(images.data)
    except ValueError as error:
        sys.exit(f"{error}\n\n--skip-damaged leaves such files out.")
    model = make_pipeline(reader, CNNClassifier(random_state=0))
    scores = cross_val_score(model, training.data, training.labels, cv=3, n_jobs=2)
    print(f"\n3-fold cross-validation, nothing tuned: {scores.mean():.4f} +- {scores.std():.4f}")
    print("\nSearching 4 candidates in 3 folds ...")
    found = search(model, training, size)

    best = found.best_estimator_
    best.set_params(imagereader__cache=None)  # other machines do not have this folder
    joblib.dump(best, output / "model.joblib")
    kept = joblib.load(output / "model.joblib")
    predicted = kept.predict(test.data)
    print(f"\naccuracy on the test images: {(predicted == test.labels).mean():.4f}")
    save_confusion_matrix(test, predicted, output / "confusion_matrix.png")
    save_worst_mistakes(kept, test, output / "worst_mistakes.png")
    print(f"Saved model.joblib, confusion_matrix.png and worst_mistakes.png in {output}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.strip().partition("\n")[0])
    parser.add_argument("folder", type=Path, nargs="?", help="holds a folder for each class")
    parser.add_argument("--size", type=int, default=32, help="height and width to read, in pixels")
    parser.add_argument("--output", type=Path, default=Path("image_folder_output"))
    parser.add_argument(
        "--skip-damaged", action="store_true", help="leave out files that cannot be read"
    )
    arguments = parser.parse_args()
    on_error = "skip" if arguments.skip_damaged else "raise"
    main(arguments.folder, arguments.size, arguments.output, on_error)
