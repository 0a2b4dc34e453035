"""Model files of each kind, and ways to damage them, for tests and scripts/fuzz_model_files.

A mutation takes the bytes of a file and a generator, and returns other bytes.
"""

import json
import struct
import warnings

import numpy as np
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from sklearn_cnn import (
    Activation,
    BatchNorm,
    CNNClassifier,
    CNNRegressor,
    Conv,
    Dense,
    Dropout,
    Flatten,
    ImageReader,
    Pool,
    RandomFlip,
    RandomShift,
    save_model,
)

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (24, 6, 5), dtype=np.uint8)
NAMES = np.array(["cat", "dog", "eel"])[np.arange(24) % 3]
SMALL = {"conv_channels": 4, "dense_units": 5, "max_epochs": 1, "random_state": 0}


def partly_fitted():
    """A learner whose optimizer has a state."""
    model = CNNClassifier(**SMALL, augment=(RandomFlip(), RandomShift(0.2)))
    return model.partial_fit(IMAGES, NAMES, classes=np.unique(NAMES))


def of_layers():
    """A learner of described layers, of all kinds."""
    layers = [Conv(3, 2, 2), BatchNorm(), Activation("gelu"), Pool("mean"), Flatten(), Dropout(0.2),
              Dense(4)]  # fmt: skip
    return CNNRegressor(layers=layers, max_epochs=1, loss="huber", random_state=0)


def make_models():
    """A fitted model of each kind that a file may hold, by a name."""
    with warnings.catch_warnings():  # scikit-learn 1.6 uses what SciPy has deprecated since
        warnings.filterwarnings("ignore", "scipy.optimize", DeprecationWarning)
        return _make_models()


def _make_models():
    numbers = np.arange(24.0)
    labels = np.stack([numbers % 2 > 0, numbers > 9], axis=1).astype(int)
    network = CNNClassifier(**SMALL)
    return {
        "classes": partly_fitted(),
        "labels": CNNClassifier(**SMALL).fit(IMAGES, labels),
        "number": CNNRegressor(**SMALL).fit(IMAGES.reshape(24, -1), numbers),
        "numbers": of_layers().fit(IMAGES, np.stack([numbers, -numbers], axis=1)),
        "svc": make_pipeline(ImageReader((6, 5), mode="L"), network, PCA(3), SVC()).fit(
            list(IMAGES), NAMES
        ),
        "logistic": make_pipeline(network, StandardScaler(), LogisticRegression()).fit(
            IMAGES, numbers > 9
        ),
        "ridge": make_pipeline(CNNRegressor(**SMALL), Ridge()).fit(IMAGES, numbers),
    }


def images_for(name):
    """What a model of that name predicts."""
    return {"number": IMAGES.reshape(24, -1), "svc": list(IMAGES)}.get(name, IMAGES)


def save_all(folder):
    """Save a model of each kind, and return their paths by name."""
    paths = {}
    for name, model in make_models().items():
        paths[name] = folder / f"{name}.safetensors"
        save_model(model, paths[name])
    return paths


def split(content):
    """Return the header of a file as parsed JSON, with the parsed document, and the arrays."""
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    return header, json.loads(header["__metadata__"]["sklearn_cnn"]), content[8 + length :]


def join(header, document, data):
    """Return the bytes of a file of such parts."""
    header["__metadata__"]["sklearn_cnn"] = json.dumps(document)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def flip_bits(content, rng):
    """Flip a few bits anywhere."""
    damaged = bytearray(content)
    for _ in range(rng.integers(1, 9)):
        damaged[rng.integers(len(damaged))] ^= 1 << rng.integers(8)
    return bytes(damaged)


def flip_bits_of_the_header(content, rng):
    """Flip one where each counts."""
    (length,) = struct.unpack("<Q", content[:8])
    damaged = bytearray(content)
    damaged[rng.integers(8 + length)] ^= 1 << rng.integers(8)
    return bytes(damaged)


def cut(content, rng):
    """Cut the end off, or add to it."""
    at = int(rng.integers(len(content)))
    return content[:at] if rng.random() < 0.8 else content + content[:at]


ODD = [
    *(None, True, False, 0, 1, -1, 2, 10**12, 1 << 62, 10**30, 0.5, -1.5, 1e308, "", "x", "auto"),
    *([], {}, [1], [[]], {"tuple": []}, {"tuple": [1, 2]}, {"dict": []}, {"dict": [[1, 2]]}),
    *("float64", "cuda", "<U1000000000", "\ud800", {"kind": "Pipeline"}),
    *({"description": "Conv", "channels": 10**9}, {"description": "Backbone"}),
]


def places(node, path=()):
    """Every place in a JSON value, from its root."""
    yield path
    if isinstance(node, dict):
        items = node.items()
    else:
        items = enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        yield from places(value, (*path, key))


def change_json(value, rng):
    """Change one place: another value, an entry more, an entry less, or two swapped."""
    options = [path for path in places(value) if path]
    path = options[rng.integers(len(options))]
    parent = value
    for key in path[:-1]:
        parent = parent[key]
    how = rng.random()
    if how < 0.65:
        parent[path[-1]] = ODD[rng.integers(len(ODD))]
    elif how < 0.75:
        del parent[path[-1]]
    elif how < 0.85:
        if isinstance(parent, dict):
            parent[str(rng.choice(["more", "weights", "callbacks", "kind"]))] = 1
        else:
            parent.append(parent[0])
    else:
        other = options[rng.integers(len(options))]
        source = value
        for key in other:
            source = source[key] if not isinstance(source, str) else source
        parent[path[-1]] = json.loads(json.dumps(source))
    return value


def change_the_document(content, rng):
    """Change one or two places of the document."""
    header, document, data = split(content)
    for _ in range(rng.integers(1, 3)):
        document = change_json(document, rng)
    return join(header, document, data)


def change_the_header(content, rng):
    """Change what is declared of an array."""
    header, document, data = split(content)
    metadata = header.pop("__metadata__")
    header = change_json(header, rng)
    header["__metadata__"] = metadata
    return join(header, document, data)


def swap_arrays(content, rng):
    """Give two arrays each other's name."""
    header, document, data = split(content)
    names = [name for name in header if name != "__metadata__"]
    one, other = rng.choice(len(names), 2)
    a, b = names[one], names[other]
    header[a], header[b] = header[b], header[a]
    return join(header, document, data)


def odd_values(content, rng):
    """Put NaN, infinity, or noise in place of some values."""
    header, document, data = split(content)
    values = bytearray(data)
    for _ in range(rng.integers(1, 4)):
        at = int(rng.integers(max(1, len(values) - 8))) // 4 * 4
        odd = [struct.pack("<f", float("nan")), struct.pack("<f", float("inf")), rng.bytes(4)]
        values[at : at + 4] = odd[rng.integers(3)]
    return join(header, document, bytes(values))


def repeat_a_name(content, rng):
    """Have a name twice in the header."""
    (length,) = struct.unpack("<Q", content[:8])
    text = content[8 : 8 + length]
    name = list(json.loads(text))[-1]
    entry = json.dumps({name: {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]}})[1:-1]
    text = b"{" + entry.encode() + b"," + text.lstrip()[1:]
    return struct.pack("<Q", len(text)) + text + content[8 + length :]


def nest_deeply(content, rng):
    """Put lists in lists in place of a value."""
    header, document, data = split(content)
    depth = int(rng.integers(10, 20_000))
    document["model"]["parameters"] = "DEEP"
    text = json.dumps(document).replace('"DEEP"', "[" * depth + "]" * depth)
    header["__metadata__"]["sklearn_cnn"] = text
    made = json.dumps(header).encode()
    return struct.pack("<Q", len(made)) + made + data


MUTATIONS = [
    flip_bits, flip_bits_of_the_header, cut, change_the_document, change_the_document,
    change_the_document, change_the_header, swap_arrays, odd_values, repeat_a_name, nest_deeply,
]  # fmt: skip
