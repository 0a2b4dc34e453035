"""
The worst mistakes
==================

The misclassified digits that the classifier was most confident about: odd handwriting, and digits
that look alike. In five-fold cross-validation, each digit is predicted by a network that was not
trained on it.

Run ``python examples/plot_mistakes.py [FOLDER]`` to save ``mistakes.png`` in FOLDER (default
``gallery_output``).
"""

import sys
from pathlib import Path

from sklearn.datasets import load_digits
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from sklearn_cnn import CNNClassifier, MistakesDisplay

OUTPUT = Path(sys.argv[1] if len(sys.argv) > 1 else "gallery_output")
OUTPUT.mkdir(parents=True, exist_ok=True)

digits = load_digits()
probabilities = cross_val_predict(
    CNNClassifier(random_state=0),
    digits.images,
    digits.target,
    cv=StratifiedKFold(5, shuffle=True, random_state=0),
    method="predict_proba",
    n_jobs=2,
)
display = MistakesDisplay.from_predictions(digits.images, digits.target, probabilities)
print(f"{display.n_mistakes} of {display.n_images} digits are taken for others")
display.figure_.savefig(OUTPUT / "mistakes.png", dpi=100)
print(f"Saved {OUTPUT / 'mistakes.png'}")
