"""A fit that is killed at twenty moments, and goes on from each."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]

FIT = """
import sys
from sklearn_cnn import CNNClassifier
from sklearn_cnn.training import checkpoints

checkpoints.SECONDS = 0
print("ready", flush=True)
longer = {**joint_fits.LARGE, "max_epochs": 150, "dropout": 0.2}
model = CNNClassifier(**longer, checkpoint=sys.argv[1])
print(joint_fits.bits(model.fit(joint_fits.IMAGES, joint_fits.TARGET)))
"""


def test_twenty_kills_change_no_bit(tmp_path):
    """Catches a file that is half written, whatever the moment."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}
    script = tmp_path / "fit.py"
    script.write_text(FIT)
    moments = random.Random(0)

    def start(folder):
        command = [sys.executable, str(script), str(tmp_path / folder)]
        started = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        assert started.stdout.readline() == "ready\n"
        return started

    with start("never killed") as whole:
        expected = whole.communicate(timeout=120)[0]
    n_killed = 0
    for _ in range(20):
        with start("killed") as fit:
            time.sleep(moments.uniform(0.05, 0.35))
            fit.send_signal(signal.SIGKILL)
            fit.communicate()
            n_killed += fit.returncode == -signal.SIGKILL
    with start("killed") as fit:
        assert fit.communicate(timeout=120)[0] == expected
    assert n_killed >= 10
