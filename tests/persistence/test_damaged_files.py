"""Files that are damaged, foreign or hostile: our ValueError, whatever is in them."""

import json
import os
import pickle
import struct
import subprocess
import sys
import textwrap
from contextlib import suppress
from pathlib import Path

import model_files
import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from sklearn_cnn import load_model

TESTS = Path(__file__).parents[1]


@pytest.fixture
def load(tmp_path):
    """Write bytes, and load them as a model."""

    def call(content):
        (tmp_path / "model").write_bytes(content)
        return load_model(tmp_path / "model")

    return call


def refused(text=""):
    return pytest.raises(ValueError, match=rf"model' cannot be loaded: .*{text}.*Copy the original")


@settings(max_examples=400, deadline=None, derandomize=True)
@given(
    name=st.sampled_from(["classes", "labels", "number", "numbers", "svc", "logistic", "ridge"]),
    mutation=st.sampled_from(model_files.MUTATIONS),
    seed=st.integers(0, 1 << 32),
)
def test_mutated_files(saved, tmp_path_factory, name, mutation, seed):
    """A model or our error; ``scripts/fuzz_model_files`` does so by the hundred thousand."""
    path = tmp_path_factory.getbasetemp() / "mutated-model"
    path.write_bytes(mutation(saved[name], np.random.default_rng(seed)))
    try:
        model = load_model(path)
    except ValueError as error:
        text = str(error)
    else:
        text = "mutated-model' cannot be loaded"
        with suppress(ValueError):  # of values that only a prediction meets
            model.predict(model_files.images_for(name))
    assert "mutated-model' cannot be loaded" in text


def test_each_truncation_of_the_header(saved, load):
    content = saved["number"]
    (length,) = struct.unpack("<Q", content[:8])
    for size in [*range(0, 8 + length, 7), 8 + length, len(content) - 1]:
        with refused():
            load(content[:size])


def changed(content, change):
    header, document, data = model_files.split(content)
    change(document)
    return model_files.join(header, document, data)


def in_model(**entries):
    return lambda document: document["model"].update(entries)


def in_parameters(**entries):
    return lambda document: document["model"]["parameters"].update(entries)


def in_training(**entries):
    return lambda document: document["model"]["training"].update(entries)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            lambda d: d.update(format=2),
            r"format 2, and this version .* reads up to 1: install a new",
        ),
        (lambda d: d.update(format=0), "its format is unknown"),
        (lambda d: d.update(format="1"), "its format is unknown"),
        (lambda d: d.pop("format"), "'format' is missing"),
        (lambda d: d.update(more=1), "unknown entry 'more'"),
        (in_model(kind="RandomForestClassifier"), "the kind 'RandomForestClassifier' is unknown"),
        (in_model(kind="os.system"), "the kind 'os.system' is unknown"),
        (in_model(more=1), "unknown entry 'more'"),
        (in_parameters(callbacks=[]), "no parameter 'callbacks'"),
        (in_parameters(shape=3), "has no parameter 'shape'; see written_by"),
        (in_parameters(learning_rate=-1), "learning_rate"),
        (in_parameters(layers={"description": "Linear"}), "unknown value"),
        (in_parameters(layers={"kind": "os.system"}), "unknown value"),
        (in_parameters(augment={"description": "RandomShift", "size": 9}), "RandomShift cannot be"),
        (in_model(classes={"dtype": "O", "values": [1, 2]}), "not all of the type 'O'"),
        (
            in_model(classes={"dtype": "<U1000000000", "values": ["a", "b"]}),
            "shorter than their type states|are unknown",
        ),
        (in_model(classes={"dtype": "V8", "values": []}), "type 'V8' are unknown"),
        (in_model(classes={"dtype": "<U1", "values": ["a", "a"]}), "not unique"),
        (in_training(optimizer="os.system"), "the optimizer 'os.system' is unknown"),
        (in_training(batch_size=0), "batch_size must be a count"),
        (in_training(history=[{"epoch": "x"}]), "the history is damaged"),
        (in_training(frozen=["conv9.weight"]), "a frozen weight does not exist"),
        (in_training(groups=[]), "a different number of groups"),
        (lambda d: d["model"]["training"]["groups"][0].update(lr="x"), "optimizer's lr is damaged"),
        (lambda d: d["model"]["images"].update(shape=[10**6, 10**6, 1]), "too large, or empty"),
        (lambda d: d["model"]["images"].update(shape=[29, 5, 1]), "has the shape"),
        (lambda d: d["model"]["design"].insert(0, {"description": "Dense", "units": 10**9}), ""),
        (
            lambda d: d["model"]["design"].extend([{"description": "BatchNorm"}] * 20_000),
            "too many",
        ),
        (lambda d: d["model"]["design"][0].update(channels=10**9), "has the shape"),
    ],
)
def test_documents_that_say_something_else(saved, load, change, text):
    """Each is refused before an array of that size is made."""
    with refused(text):
        load(changed(saved["classes"], change))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["classes", "svc", "ridge"])
def test_values_that_are_not_finite(saved, load, name, value):
    header, document, data = model_files.split(saved[name])
    for key, entry in header.items():
        if key == "__metadata__" or entry["dtype"] not in ("F32", "F64"):
            continue
        begin, end = entry["data_offsets"]
        if end == begin:
            continue
        kind = "<f" if entry["dtype"] == "F32" else "<d"
        broken = data[:begin] + struct.pack(kind, value) + data[begin + struct.calcsize(kind) :]
        with refused("holds values that are not finite"):
            load(model_files.join(dict(header), document, broken))


def test_numbers_that_libsvm_takes_on_trust(saved, load):
    """Which would read beyond its arrays, and end the process."""
    header, document, data = model_files.split(saved["svc"])
    begin, end = header["3._n_support"]["data_offsets"]
    counts = np.frombuffer(data[begin:end], np.int32)
    for wrong in (counts + 1, counts * 1000, -counts):
        broken = data[:begin] + wrong.astype(np.int32).tobytes() + data[end:]
        with refused("number of support vectors is inconsistent"):
            load(model_files.join(dict(header), document, broken))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"12345678",
        b"\xff" * 100,
        b"not a model at all, but some text that is long enough",
        pickle.dumps({"a": 1}),
        struct.pack("<Q", 2) + b"{}",
        struct.pack("<Q", 1 << 60) + b"{}" * 50,
        safetensors.numpy.save({"a": np.zeros(3)}),
        safetensors.numpy.save({"a": np.zeros(3)}, {"sklearn_cnn": "{"}),
        safetensors.numpy.save({"a": np.zeros(3)}, {"sklearn_cnn": "[]"}),
        safetensors.numpy.save({"a": np.zeros(3)}, {"sklearn_cnn": "NaN"}),
        safetensors.numpy.save({"a": np.zeros(3)}, {"other": "{}"}),
    ],
)
def test_other_files(load, content):
    with refused():
        load(content)


def test_what_is_no_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_model(tmp_path / "none")
    with pytest.raises(OSError, match="directory"):
        load_model(tmp_path)


@pytest.mark.parametrize("device", ["cuda", "cuda:7", "mps"])
def test_a_model_from_a_gpu_loads_on_a_cpu(models, saved, load, device):
    """As a file says that was written there; this machine has none, or hides it."""
    content = changed(saved["classes"], in_training(device=device, placed_by=[device, "auto"]))
    model = load(content)
    assert model.net_.device.type == "cpu"
    X = model_files.images_for("classes")
    np.testing.assert_array_equal(model.predict_proba(X), models["classes"].predict_proba(X))


def test_shapes_beyond_the_file(saved, load):
    """10**12 values, and products that overflow."""
    header, document, data = model_files.split(saved["classes"])
    for shape in ([10**12], [1 << 62, 4], [1 << 32, 1 << 32], [0, 1 << 62]):
        other = json.loads(json.dumps(header))
        other["net.output.bias"]["shape"] = shape
        with refused():
            load(model_files.join(other, document, data))


CHILD = """
import resource, sys, warnings
from pathlib import Path
import numpy as np
from sklearn_cnn import CNNClassifier, Conv, Dense, Flatten, load_model, save_model

small, path = Path(sys.argv[1], "small"), str(Path(sys.argv[1], "large"))
rng = np.random.default_rng(0)
X, y = rng.integers(0, 256, (4, 40, 40), dtype=np.uint8), np.arange(4) % 2
save_model(CNNClassifier(layers=[Flatten(), Dense(2)], max_epochs=1).fit(X, y), small)
load_model(small)  # imports what is needed first
layers = [Flatten(), Dense(8000)]
made = CNNClassifier(layers=layers, max_epochs=1, optimizer="sgd", learning_rate=0.01)
save_model(made.fit(X, y), path)
expected = made.predict_proba(X)
seen = []
is_on = [False]

def hook(event, arguments):
    if is_on[0] and (event == "open" and arguments[0] != path or event.startswith(
        ("import", "subprocess", "os.system", "os.exec", "os.fork", "socket", "ctypes.dlopen"))):
        seen.append((event, arguments[:1]))

sys.addaudithook(hook)

def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("VmHWM")).split()[1])

def now():
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("VmRSS")).split()[1])

import gc
gc.collect()
Path("/proc/self/clear_refs").write_text("5")  # the peak from here on
before = now()
is_on[0] = True
model = load_model(path)
is_on[0] = False
size = Path(path).stat().st_size
print(size, peak() - before, seen, bool((model.predict_proba(X) == expected).all()))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="measures memory as Linux tells it")
def test_loading_reads_its_file_and_nothing_else(tmp_path):
    """By Python's audit events, in a process of its own; and memory is at most twice the file."""
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(CHILD), tmp_path],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert run.returncode == 0, run.stderr
    size, grown, rest = run.stdout.split(" ", 2)
    assert rest.strip() == "[] True"
    assert int(size) > 50e6
    assert int(grown) < 2.1 * int(size) + 16e6
