"""
The kernels of the first convolution
====================================

Each kernel responds to a pattern. The example trains on pieces of two colour photographs, with low
and with high weight decay, and draws the kernels of both networks. Kernels are hard to read, so it
also draws the patches to which the first network's kernels respond most.

Run ``python examples/plot_filters.py [FOLDER]`` to save ``filters.png`` and
``filters_patches.png`` in FOLDER (default ``gallery_output``).
"""

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_sample_image
from sklearn.feature_extraction.image import extract_patches_2d

from sklearn_cnn import CNNClassifier, FilterDisplay

OUTPUT = Path(sys.argv[1] if len(sys.argv) > 1 else "gallery_output")
OUTPUT.mkdir(parents=True, exist_ok=True)

images = np.concatenate(
    [
        extract_patches_2d(load_sample_image(name), (16, 16), max_patches=1500, random_state=0)
        for name in ("china.jpg", "flower.jpg")
    ]
)
names = np.repeat(["temple", "flower"], 1500)

# %%
# A kernel starts as noise and still looks like noise after training. High weight decay removes
# what the network does not need. The remaining colours and few edges distinguish the photographs
# as well.
figure, axes = plt.subplots(1, 2, figsize=(11, 4.4), layout="constrained")
classifiers = []
for ax, weight_decay in zip(axes, [0.1, 10], strict=True):
    classifier = CNNClassifier(
        (16, 32), kernel_size=5, weight_decay=weight_decay, max_epochs=30, random_state=0
    ).fit(images[::2], names[::2])
    classifiers.append(classifier)
    FilterDisplay.from_estimator(classifier, ax=ax)
    ax.set_title(f"{ax.get_title()}, weight_decay={weight_decay}")
    print(
        f"weight_decay={weight_decay}: accuracy {classifier.score(images[1::2], names[1::2]):.3f}"
    )

figure.savefig(OUTPUT / "filters.png", dpi=100)
print(f"Saved {OUTPUT / 'filters.png'}")

# %%
# The patches show that the noisy kernels of the first network respond to edges and colours.
display = FilterDisplay.from_estimator(classifiers[0], X=images[1::2])
display.figure_.savefig(OUTPUT / "filters_patches.png", dpi=100)
print(f"Saved {OUTPUT / 'filters_patches.png'}")
