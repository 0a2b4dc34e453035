"""Searches and cross-validation over image files: each is opened once, and memory maps pass for
arrays everywhere."""

import gc
import json
import os
import pickle
import subprocess
import sys
import tracemalloc
from pathlib import Path

import joblib
import numpy as np
import pytest
from PIL import Image
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline

from sklearn_cnn import ImageReader
from sklearn_cnn.files import cache as cache_module
from sklearn_cnn.files.options import ReadOptions
from sklearn_cnn.files.segment import map_images
from sklearn_cnn.pixels import scale

LOG_OPENS = '''
"""Logs every image file that this process opens, and every process that a search starts."""

import os, sys

_log = os.open(os.environ["LOG_OF_OPENS"], os.O_CREAT | os.O_APPEND | os.O_WRONLY)

def _hook(event, args):
    if event == "open" and str(args[0]).endswith(".png"):
        os.write(_log, f"{os.getpid()} {args[0]}\\n".encode())

sys.addaudithook(_hook)
'''

SEARCH = """
import json, os, sys
import numpy as np
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn_cnn import CNNClassifier, ImageReader

folder, *paths = sys.argv[1:]
y = np.arange(len(paths)) % 2
log = os.environ["LOG_OF_OPENS"]
for n_jobs in (2, 1):
    net = CNNClassifier(conv_channels=2, dense_units=4, max_epochs=1, random_state=0)
    reader = ImageReader(8, cache=os.path.join(folder, f"cache {n_jobs}"))
    search = GridSearchCV(
        make_pipeline(reader, net),
        {"cnnclassifier__learning_rate": [1e-3, 1e-2], "cnnclassifier__conv_channels": [2, 4]},
        cv=3,
        n_jobs=n_jobs,
        error_score="raise",
    )
    search.fit(paths, y)
    search.predict(paths)
    lines = [line.split(" ", 1) for line in open(log).read().splitlines()]
    os.truncate(log, 0)
    opened = [path for _, path in lines]
    print(json.dumps({
        "opened": len(opened),
        "distinct": len(set(opened)),
        "others": len({pid for pid, _ in lines} - {str(os.getpid())}),
        "scores": search.cv_results_["mean_test_score"].tolist(),
    }))
"""


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    """48 images of 12 x 12, bright above in class 0 and below in class 1."""
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    names = []
    for number in range(48):
        pixels = rng.integers(0, 100, (12, 12, 3), dtype=np.uint8)
        pixels[6 * (number % 2) :][:6] += 100
        names.append(str(folder / f"{number}.png"))
        Image.fromarray(pixels).save(names[-1])
    return names


@pytest.fixture
def y(paths):
    return np.arange(len(paths)) % 2


@pytest.fixture
def tiny(small):
    """A function that makes a net which is fitted in a moment."""

    def make(**parameters):
        quick = {"conv_channels": 4, "dense_units": 8, "max_epochs": 2, "learning_rate": 0.02}
        return small(**{**quick, **parameters})

    return make


def test_a_search_opens_each_file_once(paths, tmp_path):
    """Would catch folds, candidates, the refit or worker processes that decode again: 3 folds of 4
    candidates, and their scores, would open each file 14 times."""
    (tmp_path / "sitecustomize.py").write_text(LOG_OPENS)
    python_path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", SEARCH, str(tmp_path), *paths],
        env={**os.environ, "PYTHONPATH": python_path, "LOG_OF_OPENS": str(tmp_path / "log")},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    in_two, alone = map(json.loads, done.stdout.splitlines())
    for counts in (in_two, alone):
        assert (counts["opened"], counts["distinct"]) == (48, 48)
    assert in_two["others"] >= 1  # the hook was there, where the files were opened
    assert alone["others"] == 0
    assert in_two["scores"] == alone["scores"]


def test_a_search_finds_the_same_with_and_without_a_cache(paths, y, tiny, tmp_path, monkeypatch):
    """Would catch rows of a fold that lose their labels on the way through segments and views."""
    monkeypatch.setattr(cache_module, "IN_MEMORY_BYTES", 1000)
    monkeypatch.setattr(cache_module, "BLOCK_BYTES", 2000)
    scores = []
    for cache in (None, tmp_path, tmp_path):
        pipeline = make_pipeline(ImageReader(8, cache=cache), tiny(max_epochs=10))
        search = GridSearchCV(pipeline, {"imagereader__mode": ["RGB", "L"]}, cv=3)
        search.fit(paths, y)
        scores.append(search.cv_results_["mean_test_score"].tolist())
    assert scores[0] == scores[1] == scores[2]
    assert max(scores[0]) > 0.9
    assert len(list(tmp_path.glob("*/*.view"))) > 0


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_memory_map_goes_to_other_processes(paths, y, tiny, tmp_path, n_jobs):
    """Would catch a map that a worker opens at another place of the file: the array begins in the
    middle of it."""
    reader = ImageReader(8, cache=tmp_path)
    reader.transform(paths)
    mapped = reader.transform(paths[7:])
    assert isinstance(mapped, np.memmap)
    assert mapped.base.base is not None
    in_memory = ImageReader(8).transform(paths[7:])
    expected = cross_val_score(tiny(), in_memory, y[7:], cv=3)
    np.testing.assert_array_equal(
        cross_val_score(tiny(), mapped, y[7:], cv=3, n_jobs=n_jobs), expected
    )


def test_a_memory_map_opened_in_another_process_is_the_same_piece(paths, tmp_path):
    """Would catch an offset that is lost when joblib sends the name of the file instead of pixels;
    ``max_nbytes=1`` has it do so with any array."""
    reader = ImageReader(8, cache=tmp_path)
    reader.transform(paths)
    parts = [reader.transform(paths[start:][:5]) for start in (0, 3, 40)]
    received = joblib.Parallel(n_jobs=2, max_nbytes=1)(
        joblib.delayed(np.copy)(part) for part in parts
    )
    for part, copy in zip(parts, received, strict=True):
        np.testing.assert_array_equal(copy, part)


def test_a_memory_of_joblib_is_a_cache(paths, tmp_path):
    """Would catch a folder beside the Memory's own, or one that its ``clear`` does not empty."""
    memory = joblib.Memory(tmp_path / "memory", verbose=0)
    reader = ImageReader(8, cache=memory)
    expected = ImageReader(8).transform(paths)
    for _ in range(2):
        pixels = reader.transform(paths)
        assert isinstance(pixels, np.memmap)
        np.testing.assert_array_equal(pixels, expected)
    assert Path(pixels.filename).is_relative_to(memory.store_backend.location)
    memory.clear(warn=False)
    assert not Path(pixels.filename).exists()
    np.testing.assert_array_equal(reader.transform(paths), expected)


def test_a_memory_without_a_folder_keeps_nothing(paths, tmp_path, monkeypatch):
    """Would catch a folder named None: Memory(None) is how joblib says that nothing is kept."""
    monkeypatch.chdir(tmp_path)
    pixels = ImageReader(8, cache=joblib.Memory(None)).transform(paths)
    assert not isinstance(pixels, np.memmap)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["str", "path", "memory"])
def test_copies_of_a_reader_share_its_cache(paths, tmp_path, kind):
    """Would catch a lock, or an open file, that keeps a reader from being cloned or pickled, and a
    copy that looks elsewhere."""
    cache = {
        "str": str(tmp_path),
        "path": tmp_path,
        "memory": joblib.Memory(tmp_path, verbose=0),
    }[kind]
    reader = ImageReader(8, cache=cache)
    before = reader.transform(paths)
    for copy in (clone(reader), pickle.loads(pickle.dumps(reader)), clone(reader.fit(paths))):
        assert copy.transform(paths).filename == before.filename


def test_a_pickled_pipeline_works_where_its_cache_is_gone(paths, y, tiny, tmp_path):
    """Would catch a model that needs the pixels it was trained on, or holds them."""
    pipeline = make_pipeline(ImageReader(8, cache=tmp_path / "cache"), tiny()).fit(paths, y)
    expected = pipeline.predict_proba(paths)
    joblib.dump(pipeline, tmp_path / "model")
    (tmp_path / "cache").rename(tmp_path / "elsewhere")
    loaded = joblib.load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.predict_proba(paths), expected)
    assert (tmp_path / "model").stat().st_size < 100_000


def test_what_the_cache_holds_is_shown(paths, tmp_path, capsys):
    """Would catch a cache that grows unseen, or a bar that stops short of what was found."""
    reader = ImageReader(8, cache=tmp_path / "cache", cache_limit=1e6, verbose=1)
    for _ in range(2):
        reader.transform(paths)
        shown = capsys.readouterr()
        assert shown.out == (
            f"ImageReader's cache: 48 images, 0.0 MB of at most 1.0 MB, in {tmp_path / 'cache'}\n"
        )
        assert "48/48" in shown.err
        assert "image/s" in shown.err
    reader.set_params(cache=None).transform(paths)
    assert capsys.readouterr().out == ""
    reader.set_params(verbose=0, cache=tmp_path / "cache").transform(paths)
    assert capsys.readouterr() == ("", "")


@pytest.fixture
def large_map(tmp_path):
    """A memory map of 25 MB: 2,000 images of 64 x 64, all alike but for a level in each class."""
    path = tmp_path / "1.pixels"
    piece = np.random.default_rng(0).integers(0, 128, (50, 64, 64, 3), dtype=np.uint8)
    piece[1::2] += 100
    with open(path, "wb") as file:
        for _ in range(40):
            file.write(piece.data)
    return map_images(path, ReadOptions(64, 64, "RGB", "fit", (0, 0, 0)))


def peak_of(run):
    """The most that NumPy and Python held during a call, in bytes, beyond what they held before."""
    gc.collect()
    tracemalloc.start()
    try:
        run()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("early_stopping", [False, True])
def test_fit_and_predict_do_not_copy_a_memory_map(large_map, tiny, early_stopping, monkeypatch):
    """Would catch a copy of data larger than memory - of the whole, as floats, shuffled, or split:
    four times as many images may not take more. benchmarks/memory_of_reading.py counts torch's
    memory too."""
    monkeypatch.setattr(scale, "VALUES_AT_ONCE", 1 << 18)
    y = np.arange(len(large_map)) % 2
    net = tiny(max_epochs=1, pool_size=8, early_stopping=early_stopping)
    modified = os.stat(large_map.filename).st_mtime_ns
    net.fit(large_map[:200], y[:200])  # what is allocated once
    few = len(large_map) // 4
    added = large_map[few:].nbytes
    for run in (net.fit, net.score):
        of_few = peak_of(lambda run=run: run(large_map[:few], y[:few]))
        of_all = peak_of(lambda run=run: run(large_map, y))
        assert of_all < of_few + added / 10
    assert os.stat(large_map.filename).st_mtime_ns == modified


def test_a_memory_map_trains_the_same_net_as_its_copy(paths, y, tiny, tmp_path):
    """Would catch pixels that are scaled, ordered or typed otherwise because they lie in a file."""
    mapped = ImageReader(8, cache=tmp_path).transform(paths)
    content = Path(mapped.filename).read_bytes()
    from_map, from_copy = tiny().fit(mapped, y), tiny().fit(np.array(mapped), y)
    np.testing.assert_array_equal(
        from_map.predict_proba(mapped), from_copy.predict_proba(np.array(mapped))
    )
    assert from_map.loss_curve_ == from_copy.loss_curve_
    assert Path(mapped.filename).read_bytes() == content
