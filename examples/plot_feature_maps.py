"""
One image through the four steps
================================

The feature maps of a handwritten digit and of a piece of a photograph after each step:
convolution, pooling, flattening and the fully connected layers. They show what the network keeps
of an image.

Run ``python examples/plot_feature_maps.py [FOLDER]`` to save ``feature_maps_digit.png`` and
``feature_maps_photograph.png`` in FOLDER (default ``gallery_output``).
"""

import sys
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits, load_sample_image
from sklearn.feature_extraction.image import extract_patches_2d

from sklearn_cnn import CNNClassifier, FeatureMapDisplay

OUTPUT = Path(sys.argv[1] if len(sys.argv) > 1 else "gallery_output")
OUTPUT.mkdir(parents=True, exist_ok=True)


def save(display: FeatureMapDisplay, name: str) -> None:
    """Save a picture."""
    display.figure_.savefig(OUTPUT / name, dpi=100)
    print(f"Saved {OUTPUT / name}")


# %%
# A grayscale image of 8 x 8 pixels passes through one block of convolution and pooling.
digits = load_digits()
classifier = CNNClassifier(random_state=0).fit(digits.images[:1500], digits.target[:1500])
save(
    FeatureMapDisplay.from_estimator(classifier, digits.images, image=1600),
    "feature_maps_digit.png",
)

# %%
# Pieces of two colour photographs, 32 x 32 pixels each, pass through three blocks. The network is
# trained on the left halves of the photographs. The image shown is from a right half.


def cut(photographs: list[np.ndarray]) -> np.ndarray:
    """Cut 400 pieces out of each photograph."""
    options = {"patch_size": (32, 32), "max_patches": 400, "random_state": 0}
    return np.concatenate([extract_patches_2d(photo, **options) for photo in photographs])


photographs = [load_sample_image(name) for name in ("china.jpg", "flower.jpg")]
left = cut([photo[:, :320] for photo in photographs])
right = cut([photo[:, 320:] for photo in photographs])
names = np.repeat(["temple", "flower"], 400)
classifier = CNNClassifier(max_epochs=10, random_state=0).fit(left, names)
print(f"accuracy on the right halves: {classifier.score(right, names):.3f}")
save(FeatureMapDisplay.from_estimator(classifier, right, image=510), "feature_maps_photograph.png")
