"""The examples run, print what they promise, and draw pictures that are not blank."""

import os
import subprocess
import sys
from pathlib import Path

import matplotlib.image
import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory):
    folder = tmp_path_factory.mktemp("quickstart")
    script = ROOT / "examples" / "quickstart.py"
    done = subprocess.run(
        [sys.executable, str(script), str(folder)],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "PYTHONWARNINGS": "error::UserWarning"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, folder


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
    picture = matplotlib.image.imread(quickstart[1] / name)
    assert min(picture.shape[:2]) > 300
    assert picture[..., :3].std() > 0.05
