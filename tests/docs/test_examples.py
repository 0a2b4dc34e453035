"""The examples run, print what they promise, and draw pictures that are not blank."""

import importlib.util
import io
import runpy
import shutil
import sys
from contextlib import redirect_stdout
from pathlib import Path

import joblib
import matplotlib.image
import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image
from sklearn.pipeline import make_pipeline

import sklearn_cnn
from sklearn_cnn import CNNClassifier, ImageReader, export_onnx, load_image_folder

ROOT = Path(__file__).parents[2]


def run_example(name, *arguments):
    """Run it as a script, in this process: the import of torch takes longer than most examples."""
    path = ROOT / "examples" / name
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(said):
        patch.setattr(sys, "argv", [str(path), *map(str, arguments)])
        try:
            runpy.run_path(str(path), run_name="__main__")
        finally:
            plt.close("all")
    return said.getvalue()


def check_picture(path):
    picture = matplotlib.image.imread(path)
    assert min(picture.shape[:2]) > 200
    assert picture[..., :3].std() > 0.05


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory):
    folder = tmp_path_factory.mktemp("quickstart")
    return run_example("quickstart.py", folder), folder


def test_the_defaults_reach_0_985_on_digits(quickstart):
    """With nothing set but random_state; and they beat the support vector machine beside them."""
    accuracy = {line.split()[0]: float(line.split()[1]) for line in quickstart[0].splitlines()
                if line.startswith(("  CNNClassifier", "  SVC"))}  # fmt: skip
    assert accuracy["CNNClassifier(random_state=0)"] >= 0.985
    assert accuracy["CNNClassifier(random_state=0)"] > accuracy["SVC()"]


def test_the_search_prints_its_candidates_best_first(quickstart):
    lines = quickstart[0].split("Grid search")[1].splitlines()[3:7]
    accuracies = [float(line.split()[-3]) for line in lines]
    assert len(accuracies) == 4
    assert accuracies == sorted(accuracies, reverse=True)
    assert accuracies[0] > 0.98


@pytest.mark.parametrize("name", ["confusion_matrix.png", "training_curve.png"])
def test_the_pictures_are_drawn(quickstart, name):
    check_picture(quickstart[1] / name)


@pytest.fixture(scope="module")
def image_folder(tmp_path_factory):
    """The example on fewer of its own drawings, apart in train and test."""
    spec = importlib.util.spec_from_file_location("example", ROOT / "examples" / "image_folder.py")
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    folder = tmp_path_factory.mktemp("image_folder")
    example.draw_shapes(folder / "shapes" / "train", n_each=24)
    for path in sorted((folder / "shapes" / "train").glob("*/*"))[::4]:
        moved = folder / "shapes" / "test" / path.parent.name / path.name
        moved.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(path, moved)
    output = folder / "output"
    said = run_example("image_folder.py", folder / "shapes", "--size", 16, "--output", output)
    return said, folder


def test_the_folder_is_loaded_in_its_two_parts(image_folder):
    said, _ = image_folder
    assert "54 images to learn from, 18 to test on" in said
    assert "classes: circle, square, triangle" in said


def test_the_search_goes_over_the_size_of_images(image_folder):
    rows = image_folder[0].split("+-\n")[-1].splitlines()[:4]
    assert sorted(row.split(")")[0].strip() for row in rows) == ["(12, 12"] * 2 + ["(16, 16"] * 2
    accuracies = [float(row.split()[-2]) for row in rows]
    assert accuracies == sorted(accuracies, reverse=True)


def test_the_kept_model_gives_the_accuracy_that_is_printed(image_folder):
    said, folder = image_folder
    test = load_image_folder(folder / "shapes" / "test")
    model = joblib.load(folder / "output" / "model.joblib")
    accuracy = model.score(test.data, test.labels)
    assert model.classes_.tolist() == ["circle", "square", "triangle"]
    assert f"accuracy on the test images: {accuracy:.4f}" in said


@pytest.mark.parametrize("name", ["confusion_matrix.png", "worst_mistakes.png"])
def test_the_pictures_of_the_folder_are_drawn(image_folder, name):
    check_picture(image_folder[1] / "output" / name)


def test_a_damaged_file_ends_the_example_before_anything_is_computed(image_folder, tmp_path):
    """Catches a search of minutes whose model then meets a file that cannot be read."""
    folder = tmp_path / "shapes"
    shutil.copytree(image_folder[1] / "shapes", folder)
    (folder / "test" / "circle" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(SystemExit, match=r"broken\.png(.|\n)*--skip-damaged leaves such files out"):
        run_example("image_folder.py", folder, "--size", 16, "--output", tmp_path / "output")


def test_a_fit_that_several_processes_may_share_goes_on(tmp_path):
    """The second run reads what the first has done. Catches a checkpoint that is never read."""
    first = run_example("train_on_processes.py", tmp_path)
    (file,) = (tmp_path / "checkpoints").iterdir()
    written = file.stat().st_mtime_ns
    assert run_example("train_on_processes.py", tmp_path) == first
    assert file.stat().st_mtime_ns == written
    assert float(first.splitlines()[0].rpartition(" ")[2]) > 0.97


def test_files_are_classified_without_torch(tmp_path):
    """By the metadata of the ONNX file: the labels that the pipeline predicts, from files."""
    rng = np.random.default_rng(0)
    paths, names = [], np.array(["dark", "light"])[np.arange(20) % 2]
    for i in range(20):
        pixels = rng.integers(0, 120, (23, 31, 3), dtype=np.uint8) + 120 * np.uint8(i % 2)
        paths.append(str(tmp_path / f"{i}.png"))
        Image.fromarray(pixels).save(paths[-1])
    reader = ImageReader((8, 9), resize="stretch")
    model = make_pipeline(reader, CNNClassifier(4, max_epochs=20, random_state=0))
    export_onnx(model.fit(paths, names), tmp_path / "model.onnx")
    said = run_example("predict_onnx.py", tmp_path / "model.onnx", *paths)
    shares = 100 * model.predict_proba(paths).max(axis=1)
    expected = [f"{p}: {n} ({s:.0f} %)" for p, n, s in zip(paths, names, shares, strict=True)]
    assert said.splitlines() == expected


GALLERY = {
    "plot_feature_maps.py": ["feature_maps_digit.png", "feature_maps_photograph.png"],
    "plot_features.py": ["features.png"],
    "plot_filters.py": ["filters.png", "filters_patches.png"],
    "plot_mistakes.py": ["mistakes.png"],
    "plot_saliency.py": ["saliency.png", "saliency_photograph.png"],
    "plot_summary.py": ["summary.png"],
    "plot_training_curve.py": ["training_curve.png"],
}


@pytest.mark.parametrize("name", GALLERY)
def test_the_gallery_draws_its_pictures(name, tmp_path):
    said = run_example(name, tmp_path)
    for picture in GALLERY[name]:
        check_picture(tmp_path / picture)
        assert f"Saved {tmp_path / picture}" in said
    if name == "plot_features.py":  # catches features of an untrained network
        for row in said.splitlines()[1:5]:
            estimator, raw, learnt = row.split()
            assert float(learnt) > float(raw) + 0.02, estimator


@pytest.fixture(scope="module")
def few_photographs(tmp_path_factory):
    """The example on few and small pieces of its own photographs."""
    output = tmp_path_factory.mktemp("few") / "output"
    arguments = ("--output", output, "--size", 64, "--pieces", 52)
    return run_example("plot_few_photographs.py", *arguments), output


def test_forty_photographs_a_class_are_learnt_from(few_photographs):
    said, output = few_photographs
    assert "80 photographs to learn from, 24 to test on" in said
    assert float(said.split("accuracy on the others: ")[1].split()[0]) > 0.6  # 0.5 is chance
    assert "predicts the same when loaded: True" in said
    for name in ("results.png", "mistakes.png"):
        check_picture(output / name)


def test_a_second_run_finds_its_features_in_the_cache(few_photographs):
    said, output = few_photographs
    files = {path: path.stat().st_mtime_ns for path in (output / "cache").rglob("*.pixels")}
    again = run_example("plot_few_photographs.py", "--output", output, "--size", 64)
    assert files
    assert {path: path.stat().st_mtime_ns for path in files} == files
    assert (
        again.split("accuracy on")[1].split("\n")[0] == said.split("accuracy on")[1].split("\n")[0]
    )


def test_the_classes_are_the_folders(few_photographs, tmp_path):
    """A folder of one's own: of fewer photographs than 53, three quarters are learnt from."""
    _, output = few_photographs
    for name in ("china", "flower"):
        (tmp_path / "own" / name).mkdir(parents=True)
        for path in sorted((output / "photographs" / name).iterdir())[::4]:
            shutil.copy(path, tmp_path / "own" / name)
    said = run_example(
        "plot_few_photographs.py", tmp_path / "own", "--output", tmp_path / "made", "--size", 64
    )
    assert "18 photographs to learn from, 8 to test on" in said


def test_every_display_is_in_the_gallery():
    """What the script of photographs draws, the three tests above look at."""
    texts = [path.read_text() for path in (ROOT / "examples").glob("plot_*.py")]
    assert len(texts) == len(GALLERY) + 1
    for name in ("summary()", *(name for name in sklearn_cnn.__all__ if name.endswith("Display"))):
        assert any(name in text for text in texts), name
