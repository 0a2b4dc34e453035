"""
Predict with ONNX Runtime
=========================

Classify image files with a model written by ``export_onnx``, using onnxruntime and Pillow, without
torch.

Run ``python examples/predict_onnx.py MODEL.onnx IMAGE ...``. The model is a pipeline of an
``ImageReader`` with a size and a ``CNNClassifier``. Its metadata says how images are read. This
script stretches them, so the reader should have ``resize="stretch"``.
"""

import json
import sys

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
reader = json.loads(session.get_modelmeta().custom_metadata_map["sklearn_cnn"])["reader"]
height, width = [reader["size"]] * 2 if isinstance(reader["size"], int) else reader["size"]
for path in sys.argv[2:]:
    image = ImageOps.exif_transpose(Image.open(path)).convert(reader["mode"])
    pixels = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=2))
    label, probabilities = session.run(None, {"pixels": pixels.reshape(1, height, width, -1)})
    print(f"{path}: {label[0]} ({100 * probabilities.max():.0f} %)")
