"""A notebook without ipywidgets: importing is quiet, and progress bars are text."""

import subprocess
import sys

CHILD = """
import sys, types, warnings

shell = types.ModuleType("IPython")
shell.get_ipython = lambda: types.SimpleNamespace()
sys.modules.update({"IPython": shell, "ipykernel.zmqshell": shell, "ipywidgets": None})

def caught(module):
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        __import__(module)
    return [warning.category.__name__ for warning in found]

assert caught("sklearn_cnn._forks") == []
assert caught("sklearn_cnn") == []

from sklearn_cnn._forks import tqdm
with tqdm(total=3, unit="batch", mininterval=0) as bar:
    bar.update(3)

for name in [name for name in sys.modules if name.startswith("tqdm")]:
    del sys.modules[name]
assert caught("tqdm.auto") == ["TqdmWarning"]  # so the notebook above was one
"""


def test_import_in_a_notebook_without_ipywidgets_is_quiet():
    """Catches tqdm's "IProgress not found", which a user can do nothing about here."""
    child = subprocess.run(
        [sys.executable, "-c", CHILD], capture_output=True, text=True, timeout=120, check=False
    )
    assert child.returncode == 0, child.stderr
    assert "3/3" in child.stderr
