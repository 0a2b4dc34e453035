"""
Forty photographs per class
===========================

A logistic regression on the features of a pretrained network needs few photographs. The example
searches its parameter ``C``, calibrates its probabilities, and draws what it confuses.

Run ``python examples/plot_few_photographs.py FOLDER``, where FOLDER holds a folder of photographs
for each class. Without FOLDER, the example cuts 180 pieces out of the two photographs that
scikit-learn includes, and makes them darker, blurred and noisy. It trains on up to 40 photographs
of each class and tests on the others. Pictures, the model and the cache go to
``few_photographs_output``. On two cores it takes less than a minute.
"""

import argparse
import time
from pathlib import Path

import joblib
import matplotlib.pyplot as plt
import numpy as np
from PIL import Image, ImageEnhance, ImageFilter
from sklearn.calibration import CalibratedClassifierCV, CalibrationDisplay
from sklearn.datasets import load_sample_images
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import ConfusionMatrixDisplay
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_cnn import ImageReader, MistakesDisplay, PretrainedFeatures, load_image_folder

PER_CLASS = 40
"""Number of training photographs per class."""


def cut_photographs(folder: Path, n_each: int) -> None:
    """Cut training pieces from the left halves of two photographs, test pieces from the right."""
    rng = np.random.default_rng(0)
    for name, pixels in zip(("china", "flower"), load_sample_images().images, strict=True):
        (folder / name).mkdir(parents=True)
        photograph = Image.fromarray(pixels)
        for i in range(n_each):
            side = int(rng.integers(90, 220))
            half = photograph.width // 2
            left = int(rng.integers(0, half - side)) + (half if i >= PER_CLASS else 0)
            top = int(rng.integers(photograph.height // 3, photograph.height - side))  # no sky
            piece = photograph.crop((left, top, left + side, top + side))
            piece = piece.filter(ImageFilter.GaussianBlur(rng.uniform(0, 3)))
            piece = ImageEnhance.Brightness(piece).enhance(rng.uniform(0.2, 1))
            noisy = np.asarray(piece) + rng.normal(0, 15, (side, side, 3))
            Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(
                folder / name / f"{i:03}.jpg"
            )


def choose(labels: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Split rows into up to ``PER_CLASS`` training samples per class, and test samples."""
    n_train = min(PER_CLASS, np.unique(labels, return_counts=True)[1].min() * 3 // 4)
    rng, train = np.random.default_rng(seed), []
    for name in np.unique(labels):
        train += rng.permutation(np.flatnonzero(labels == name))[:n_train].tolist()
    return np.array(train), np.setdiff1d(np.arange(len(labels)), train)


def draw(
    model: CalibratedClassifierCV, paths: np.ndarray, labels: np.ndarray, output: Path
) -> None:
    """Draw the confusion matrix, the calibration curve and the worst mistakes."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 5), layout="constrained")
    ConfusionMatrixDisplay.from_estimator(model, paths, labels, ax=left, colorbar=False)
    if len(model.classes_) == 2:
        first = model.predict_proba(paths)[:, 1]
        is_second = labels == model.classes_[1]
        CalibrationDisplay.from_predictions(is_second, first, n_bins=5, ax=right, name="calibrated")
    else:
        right.set_axis_off()
    figure.savefig(output / "results.png", dpi=100)
    images = ImageReader(128).transform(paths)
    mistakes = MistakesDisplay.from_predictions(
        images, labels, model.predict_proba(paths), classes=model.classes_, file_names=paths
    )
    mistakes.figure_.savefig(output / "mistakes.png", dpi=100)


def main() -> None:
    """Search, calibrate, draw and save."""
    parser = argparse.ArgumentParser(description=__doc__.strip().partition("\n")[0])
    parser.add_argument("folder", type=Path, nargs="?", help="a folder of photographs a class")
    parser.add_argument("--output", type=Path, default=Path("few_photographs_output"))
    parser.add_argument("--size", type=int, default=224, help="side that images are read with")
    parser.add_argument("--pieces", type=int, default=90, help="of each photograph, without FOLDER")
    arguments = parser.parse_args()
    output = arguments.output
    output.mkdir(parents=True, exist_ok=True)
    folder = arguments.folder or output / "photographs"
    if not folder.exists():
        cut_photographs(folder, arguments.pieces)
    start = time.perf_counter()
    photographs = load_image_folder(folder)
    labels = np.array(photographs.labels)
    if arguments.folder:
        train, test = choose(labels, seed=0)
    else:  # the other half of each photograph
        numbers = np.array([int(Path(path).stem) for path in photographs.data])
        train, test = np.flatnonzero(numbers < PER_CLASS), np.flatnonzero(numbers >= PER_CLASS)
    paths = np.array(photographs.data, dtype=object)
    print(f"{len(train)} photographs to learn from, {len(test)} to test on")

    model = make_pipeline(
        ImageReader(arguments.size, cache=output / "cache", n_jobs=-1),
        PretrainedFeatures(cache=output / "cache"),
        StandardScaler(),
        LogisticRegression(max_iter=1000),
    )
    grid = {"logisticregression__C": [0.001, 0.01, 0.1, 1.0]}
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    search = GridSearchCV(model, grid, cv=folds, scoring="neg_log_loss")
    search.fit(paths[train], labels[train])
    print(f"the best C: {search.best_params_['logisticregression__C']:g}")

    calibrated = CalibratedClassifierCV(search.best_estimator_, method="sigmoid", cv=folds)
    calibrated.fit(paths[train], labels[train])
    print(f"accuracy on the others: {calibrated.score(paths[test], labels[test]):.3f}")
    print(f"{time.perf_counter() - start:.0f} seconds from files to a calibrated model")

    draw(calibrated, paths[test], labels[test], output)
    joblib.dump(calibrated, output / "model.joblib")
    kept = joblib.load(output / "model.joblib")
    same = (kept.predict(paths[test]) == calibrated.predict(paths[test])).all()
    n_bytes = (output / "model.joblib").stat().st_size
    print(f"the model takes {n_bytes / 1000:.0f} kB, and predicts the same when loaded: {same}")


if __name__ == "__main__":
    main()
