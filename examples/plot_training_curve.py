"""
The training curve
==================

Training loss, validation score and learning rate of each epoch, for two learning rate schedules. A
tenth of the handwritten digits is held out.

Run ``python examples/plot_training_curve.py [FOLDER]`` to save ``training_curve.png`` in FOLDER
(default ``gallery_output``).
"""

import sys
from pathlib import Path

import matplotlib.pyplot as plt
from sklearn.datasets import load_digits

from sklearn_cnn import CNNClassifier, TrainingCurveDisplay

OUTPUT = Path(sys.argv[1] if len(sys.argv) > 1 else "gallery_output")
OUTPUT.mkdir(parents=True, exist_ok=True)

digits = load_digits()
figure, axes = plt.subplots(1, 2, figsize=(11, 6), layout="constrained")
for ax, schedule in zip(axes, ["one_cycle", "constant"], strict=True):
    classifier = CNNClassifier(
        schedule=schedule, early_stopping=True, n_iter_no_change=20, random_state=0
    ).fit(digits.images, digits.target)
    TrainingCurveDisplay.from_estimator(classifier, ax=ax)
    best, epochs = classifier.best_validation_score_, classifier.n_iter_
    ax.set_title(f'schedule="{schedule}"')
    print(f"{schedule:<10} best validation score {best:.4f}, {epochs} epochs")

figure.savefig(OUTPUT / "training_curve.png", dpi=100)
print(f"Saved {OUTPUT / 'training_curve.png'}")
