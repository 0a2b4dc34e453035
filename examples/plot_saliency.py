"""
Which pixels a prediction depends on
====================================

Saliency maps by gradient, Grad-CAM and occlusion, for four handwritten digits and for a flower in
the photograph of a temple. They show whether a prediction depends on the object or on its
background.

Run ``python examples/plot_saliency.py [FOLDER]`` to save ``saliency.png`` and
``saliency_photograph.png`` in FOLDER (default ``gallery_output``).
"""

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits, load_sample_image
from sklearn.feature_extraction.image import extract_patches_2d

from sklearn_cnn import CNNClassifier, SaliencyDisplay

OUTPUT = Path(sys.argv[1] if len(sys.argv) > 1 else "gallery_output")
OUTPUT.mkdir(parents=True, exist_ok=True)
METHODS = ["gradient", "grad_cam", "occlusion"]


def save(figure: plt.Figure, name: str) -> None:
    """Save a picture."""
    figure.savefig(OUTPUT / name, dpi=100)
    print(f"Saved {OUTPUT / name}")


# %%
# Digits that the network was not trained on.
digits = load_digits()
classifier = CNNClassifier(random_state=0).fit(digits.images[:1500], digits.target[:1500])
figure, axes = plt.subplots(4, 3, figsize=(9, 9), width_ratios=[2, 1, 1], layout="constrained")
for row, image in zip(axes, [1600, 1601, 1602, 1603], strict=True):
    for ax, method in zip(row, METHODS, strict=True):
        SaliencyDisplay.from_estimator(
            classifier,
            digits.images,
            image=image,
            method=method,
            colorbar=False,
            original=method == "gradient",
            ax=ax,
        )
save(figure, "saliency.png")

# %%
# The network is trained on pieces of two colour photographs. A piece of the flower is then pasted
# into the temple, and the maps show which pixels are evidence for the class "flower".
temple, flower = load_sample_image("china.jpg"), load_sample_image("flower.jpg")
pieces = np.concatenate(
    [
        extract_patches_2d(photo, (96, 96), max_patches=200, random_state=0)
        for photo in (temple, flower)
    ]
)
names = np.repeat(["temple", "flower"], 200)
classifier = CNNClassifier((16, 32, 64, 64), max_epochs=8, random_state=0).fit(pieces, names)
both = temple[np.newaxis, 180:276, 200:296].copy()
both[0, 40:80, 50:90] = flower[190:230, 280:320]
figure, axes = plt.subplots(1, 3, figsize=(13, 3.2), width_ratios=[1.8, 1, 1], layout="constrained")
for ax, method in zip(axes, METHODS, strict=True):
    SaliencyDisplay.from_estimator(
        classifier, both, method=method, target="flower", original=method == "gradient", ax=ax
    )
save(figure, "saliency_photograph.png")
