"""
The network as a preprocessing step
===================================

A network learns from half of the handwritten digits. Other estimators then learn from 20 digits of
each class in the other half: once from raw pixels, once from the network's features. The table
compares their accuracies, and a t-SNE map shows the remaining digits in both representations.

Run ``python examples/plot_features.py [FOLDER]`` to save ``features.png`` in FOLDER (default
``gallery_output``).
"""

import sys
from pathlib import Path

import matplotlib.pyplot as plt
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.manifold import TSNE
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from sklearn_cnn import CNNClassifier

OUTPUT = Path(sys.argv[1] if len(sys.argv) > 1 else "gallery_output")
OUTPUT.mkdir(parents=True, exist_ok=True)

images, labels = load_digits(return_X_y=True)
X_network, X_rest, y_network, y_rest = train_test_split(
    images, labels, train_size=0.5, stratify=labels, random_state=0
)
X_few, X_test, y_few, y_test = train_test_split(
    X_rest, y_rest, train_size=200, stratify=y_rest, random_state=0
)

# %%
# The fitted network turns the 64 pixels of each image into 128 features. The other estimators
# learn from images that the network has not seen. It memorises its training images, so their
# features would look better than those of new images.
extractor = CNNClassifier(random_state=0).fit(X_network, y_network)
few, test = extractor.transform(X_few), extractor.transform(X_test)

print(f"{'accuracy, having learnt from 200 digits':<42}{'raw pixels':>12}{'features':>10}")
estimators = [SVC(), LogisticRegression(max_iter=5000), KNeighborsClassifier(),
              DecisionTreeClassifier(random_state=0)]  # fmt: skip
for estimator in estimators:
    raw = estimator.fit(X_few, y_few).score(X_test, y_test)
    learnt = estimator.fit(few, y_few).score(test, y_test)
    print(f"{type(estimator).__name__:<42}{raw:>12.4f}{learnt:>10.4f}")

# %%
# t-SNE places similar samples close to each other. In the features, each digit forms a separate
# cluster.
figure, axes = plt.subplots(1, 2, figsize=(11, 5), layout="constrained")
for ax, (name, rows) in zip(axes, {"raw pixels": X_test, "features": test}.items(), strict=True):
    places = TSNE(random_state=0).fit_transform(rows)
    dots = ax.scatter(*places.T, c=y_test, cmap="tab10", s=8)
    ax.set(title=f"{rows.shape[1]} {name}", xticks=[], yticks=[])
figure.colorbar(dots, ax=axes, ticks=range(10), label="digit")
figure.savefig(OUTPUT / "features.png", dpi=100)
print(f"Saved {OUTPUT / 'features.png'}")
