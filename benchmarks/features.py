"""Accuracy of SVC on raw pixels, on principal components, on the network's features; and ours.

Run ``python benchmarks/features.py [ROUNDS] --fashion FOLDER``. Digits: mean over 5 shuffled folds.
Fashion-MNIST: the first 10,000 training images, all 10,000 test images. A round is a seed, of the
folds and of the networks; the table has the mean of the rounds. Accuracies do not depend on the
load of the machine.
"""

import statistics
import sys
from typing import Any

from measuring.data import Images, load
from measuring.results import ask
from sklearn.decomposition import PCA
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.svm import SVC

from sklearn_cnn import CNNClassifier


def contenders(seed: int) -> dict[str, Any]:
    """Return the estimators, by what the table calls them. All take rows of pixels."""
    return {
        "`SVC()` on raw pixels": SVC(),
        "`make_pipeline(PCA(32), SVC())`": make_pipeline(PCA(32, random_state=0), SVC()),
        "`make_pipeline(CNNClassifier(), SVC())`": make_pipeline(
            CNNClassifier(random_state=seed), SVC()
        ),
        "`CNNClassifier()`": CNNClassifier(random_state=seed),
    }


def digits(rounds: int) -> dict[str, list[float]]:
    """Cross-validate on the digits."""
    data = load(Images(None, 1797, 1797))
    rows = data.X.reshape(len(data.X), -1)
    scores: dict[str, list[float]] = {}
    for seed in range(rounds):
        folds = StratifiedKFold(5, shuffle=True, random_state=seed)
        for name, estimator in contenders(seed).items():
            score = cross_val_score(estimator, rows, data.y, cv=folds, n_jobs=2).mean()
            scores.setdefault(name, []).append(float(score))
    return scores


def fashion(folder: str, rounds: int, n_train: int) -> dict[str, list[float]]:
    """Score on the test images of Fashion-MNIST; what has no seed is fitted once."""
    data = load(Images(folder, n_train, 10_000))
    X, X_test = (images.reshape(len(images), -1) for images in (data.X, data.X_test))
    scores: dict[str, list[float]] = {}
    for seed in range(rounds):
        for name, estimator in contenders(seed).items():
            if seed == 0 or "CNN" in name:
                score = estimator.fit(X, data.y).score(X_test, data.y_test)
                scores.setdefault(name, []).append(float(score))
    return scores


def main() -> None:
    """Print the table."""
    asked = ask(__doc__, needs="fashion")
    sets = {
        "digits": digits(asked.rounds),
        "Fashion-MNIST": fashion(asked.fashion, asked.rounds, 2_000 if asked.quick else 10_000),
    }
    print("| | " + " | ".join(sets) + " |")
    print("| --- |" + " --- |" * len(sets))
    for name in next(iter(sets.values())):
        cells = [f"{statistics.mean(scores[name]):.4f}" for scores in sets.values()]
        print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    sys.exit(main())
