"""
The table of layers
===================

Where a network's parameters are, and where its time goes: the summary of the default network for
handwritten digits, and the share of parameters and time of each layer.

Run ``python examples/plot_summary.py [FOLDER]`` to save ``summary.png``, and the notebook
representation of the estimator as ``summary.html``, in FOLDER (default ``gallery_output``).
"""

import sys
from pathlib import Path

from sklearn.datasets import load_digits
from sklearn.utils import estimator_html_repr

from sklearn_cnn import CNNClassifier

OUTPUT = Path(sys.argv[1] if len(sys.argv) > 1 else "gallery_output")
OUTPUT.mkdir(parents=True, exist_ok=True)

digits = load_digits()
classifier = CNNClassifier(max_epochs=5, random_state=0).fit(digits.images, digits.target)

# %%
# A summary prints as a table. In a notebook, the HTML representation of the estimator has the same
# table without times. It is saved here as a page for the browser.
summary = classifier.summary()
print(summary)
page = f'<!doctype html><meta charset="utf-8">{estimator_html_repr(classifier)}'
(OUTPUT / "summary.html").write_text(page, encoding="utf-8")

# %%
# As a DataFrame, a summary can be plotted. Most parameters are in the fully connected layers, and
# the convolution takes most of the time.
table = summary.to_frame().set_index("layer")
shares = table[["n_parameters", "seconds"]] / table[["n_parameters", "seconds"]].sum()
ax = shares.rename(columns={"n_parameters": "parameters", "seconds": "time"}).plot.barh(
    figsize=(7, 4), xlabel="share", ylabel=""
)
ax.invert_yaxis()
ax.set_title("Default network for digits of 8 x 8 pixels")
ax.figure.tight_layout()
ax.figure.savefig(OUTPUT / "summary.png", dpi=120)
print(f"Saved {OUTPUT / 'summary.png'} and summary.html")
