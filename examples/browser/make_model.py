"""Train a model on scikit-learn's digits and write the files that the page needs.

Run ``python make_model.py`` in this folder, then ``npm install``, then ``python -m http.server``,
and open http://localhost:8000. The script writes model.onnx, model.json and digit.png, a picture to
try. To use another model, export a CNNClassifier fitted on integer pixels from 0 to 255, and its
metadata in the same way.
"""

from pathlib import Path

import numpy as np
import onnx
from PIL import Image
from sklearn.datasets import load_digits

from sklearn_cnn import CNNClassifier, export_onnx

HERE = Path(__file__).parent

digits = load_digits()
images = (digits.images * 255 / 16).astype(np.uint8)
names = np.array(["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"])[
    digits.target
]
classifier = CNNClassifier(random_state=0).fit(images[:-100], names[:-100])
print(f"accuracy on the last 100: {classifier.score(images[-100:], names[-100:]):.2f}")

export_onnx(classifier, HERE / "model.onnx")
metadata = {prop.key: prop.value for prop in onnx.load(HERE / "model.onnx").metadata_props}
(HERE / "model.json").write_text(metadata["sklearn_cnn"])
Image.fromarray(images[-1]).save(HERE / "digit.png")
share = 100 * classifier.predict_proba(images[-1:]).max()
print(f"digit.png: {names[-1]}, taken for {classifier.predict(images[-1:])[0]} ({share:.0f} %)")
