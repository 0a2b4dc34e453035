"""Images beside a table: features of the training images joined to its columns, and a stack.

Run ``python benchmarks/images_and_table.py [SEEDS]``. Each seed draws data and the networks
anew: 400 digits under noise tell odd from even, and so do two columns; 1,397 others test. It prints
the means of the seeds, in half a minute for three; they do not depend on the load of the machine.
"""

import sys
from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_digits
from sklearn.ensemble import StackingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, log_loss, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_cnn import CNNClassifier

N_TRAIN = 400
NOISE = 15.0
"""Standard deviation of what is added to pixels of 0 to 16."""

PIXELS = [f"pixel{i}" for i in range(64)]
COLUMNS = ["a", "b"]


def draw(seed: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Return a row of pixels and two columns for each digit, and whether it is odd."""
    rng = np.random.default_rng(seed)
    digits = load_digits()
    order = rng.permutation(len(digits.target))
    is_odd = digits.target[order] % 2
    table = pd.DataFrame(digits.data[order] + rng.normal(0, NOISE, digits.data.shape))
    table.columns = PIXELS
    table[COLUMNS] = rng.normal(0, 1, (len(order), 2)) + is_odd[:, np.newaxis] * [0.8, 0.6]
    return table, is_odd


def logistic() -> Any:
    """Return the second estimator."""
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=5000))


def fit_all(table: pd.DataFrame, y: np.ndarray, seed: int) -> dict[str, Any]:
    """Fit each way of joining images and columns, by what the table calls it."""
    cnn = CNNClassifier(random_state=seed)
    images = make_pipeline(make_column_transformer(("passthrough", PIXELS)), cnn)
    columns = make_pipeline(make_column_transformer(("passthrough", COLUMNS)), logistic())
    features = make_column_transformer((cnn, PIXELS), ("passthrough", COLUMNS))
    models = {
        "the columns alone": columns,
        "the images alone": images,
        "`LogisticRegression()` on features of the images": make_pipeline(
            make_column_transformer((cnn, PIXELS)), logistic()
        ),
        "the same on features and columns, joined": make_pipeline(features, logistic()),
        "`StackingClassifier` of images and columns": StackingClassifier(
            [("images", images), ("columns", columns)], LogisticRegression()
        ),
    }
    return {name: model.fit(table, y) for name, model in models.items()}


def main() -> None:
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    scores: dict[str, list[tuple[float, ...]]] = {}
    for seed in range(seeds):
        table, y = draw(seed)
        test, truth = table[N_TRAIN:], y[N_TRAIN:]
        for name, model in fit_all(table[:N_TRAIN], y[:N_TRAIN], seed).items():
            proba = model.predict_proba(test)
            score = (
                roc_auc_score(truth, proba[:, 1]),
                accuracy_score(truth, proba.argmax(axis=1)),
                log_loss(truth, proba),
            )
            scores.setdefault(name, []).append(score)
    print("| | ROC AUC | accuracy | log loss |\n| --- | --- | --- | --- |")
    for name, rows in scores.items():
        print(f"| {name} | " + " | ".join(f"{mean:.2f}" for mean in np.mean(rows, axis=0)) + " |")


if __name__ == "__main__":
    main()
