"""
Quick start
===========

Cross-validate, search and inspect a convolutional network on handwritten digits.

Run ``python examples/quickstart.py [FOLDER]``. It prints two tables, and saves a confusion matrix
and a training curve as PNG files in FOLDER (default ``quickstart_output``).
"""

import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.metrics import ConfusionMatrixDisplay
from sklearn.model_selection import (
    GridSearchCV,
    StratifiedKFold,
    cross_val_predict,
    cross_val_score,
)
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.svm import SVC

from sklearn_cnn import CNNClassifier, TrainingCurveDisplay

FOLDS = StratifiedKFold(5, shuffle=True, random_state=0)


def to_images(rows: np.ndarray) -> np.ndarray:
    """Reshape flattened rows of 64 pixels to (n, 8, 8)."""
    return rows.reshape(-1, 8, 8)


def compare_with_svm(images: np.ndarray, rows: np.ndarray, y: np.ndarray) -> None:
    """Print the cross-validated accuracy of the defaults and of a support vector machine."""
    contenders = {
        "CNNClassifier(random_state=0)": (CNNClassifier(random_state=0), images),
        "SVC()": (SVC(), rows),
    }
    print("5-fold cross-validation on 1,797 digits of 8 x 8 pixels, nothing tuned\n")
    print(f"  {'classifier':<32}{'accuracy':>10}{'+-':>8}")
    for name, (classifier, X) in contenders.items():
        scores = cross_val_score(classifier, X, y, cv=FOLDS, n_jobs=2)
        print(f"  {name:<32}{scores.mean():>10.4f}{scores.std():>8.4f}")


def search(rows: np.ndarray, y: np.ndarray) -> GridSearchCV:
    """Grid-search a pipeline whose first step reshapes rows to images; print the candidates."""
    pipeline = Pipeline(
        [("images", FunctionTransformer(to_images)), ("cnn", CNNClassifier(random_state=0))]
    )
    grid = {"cnn__conv_channels": ["auto", (32, 64)], "cnn__pooling": ["max", "mean"]}
    folds = StratifiedKFold(3, shuffle=True, random_state=0)
    found = GridSearchCV(pipeline, grid, cv=folds, n_jobs=2).fit(rows, y)
    results = found.cv_results_
    print("\nGrid search over a pipeline, 3 folds\n")
    print(f"  {'conv_channels':<16}{'pooling':<10}{'accuracy':>10}{'rank':>6}{'fit seconds':>14}")
    for i in np.argsort(results["rank_test_score"], kind="stable"):
        channels, pooling = (str(results[f"param_{name}"][i]) for name in grid)
        accuracy, rank = results["mean_test_score"][i], results["rank_test_score"][i]
        seconds = results["mean_fit_time"][i]
        print(f"  {channels:<16}{pooling:<10}{accuracy:>10.4f}{rank:>6}{seconds:>14.2f}")
    return found


def save_confusion_matrix(classifier: object, X: np.ndarray, y: np.ndarray, path: Path) -> None:
    """Draw which digit is predicted as which, by networks that were not trained on it."""
    predicted = cross_val_predict(classifier, X, y, cv=FOLDS, n_jobs=2)
    display = ConfusionMatrixDisplay.from_predictions(y, predicted, cmap="Blues", colorbar=False)
    wrong = int((predicted != y).sum())
    display.ax_.set_title(f"Digits, 5-fold cross-validation: {wrong} of {len(y)} wrong")
    display.figure_.savefig(path, dpi=120, bbox_inches="tight")
    plt.close(display.figure_)


def save_training_curve(images: np.ndarray, y: np.ndarray, path: Path) -> None:
    """Draw training loss, validation score and learning rate over the epochs."""
    classifier = CNNClassifier(early_stopping=True, random_state=0).fit(images, y)
    display = TrainingCurveDisplay.from_estimator(classifier)
    display.ax_.set_title("Training on digits, a tenth of them held out")
    display.figure_.savefig(path, dpi=120)
    plt.close(display.figure_)


def main(folder: Path) -> None:
    """Run the example and save its two pictures in a folder."""
    digits = load_digits()
    folder.mkdir(parents=True, exist_ok=True)
    compare_with_svm(digits.images, digits.data, digits.target)
    found = search(digits.data, digits.target)
    matrix, curve = folder / "confusion_matrix.png", folder / "training_curve.png"
    save_confusion_matrix(found.best_estimator_, digits.data, digits.target, matrix)
    save_training_curve(digits.images, digits.target, curve)
    print(f"\nSaved {matrix} and {curve}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "quickstart_output"))
