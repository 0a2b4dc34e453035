"""What an import loads, and that the package works where nothing may be written."""

import os
import subprocess
import sys
import textwrap

DENY_WRITES = """
import os, sys
import sklearn_cnn, numpy as np  # importing may write byte code

def deny(event, args):
    writes = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_TRUNC
    if event in ("os.mkdir", "os.rename") or event == "open" and args[2] & writes:
        # PyTorch's first optimizer makes a folder among the temporary files
        if not str(args[0]).startswith((os.devnull, os.environ["TMPDIR"])):
            raise PermissionError(f"read-only: {event} {args}")

sys.addaudithook(deny)
X, y = np.random.default_rng(0).random((40, 8, 8)), np.arange(40) % 2
model = sklearn_cnn.CNNClassifier(max_epochs=2, early_stopping=True).fit(X, y)
print(model.predict_proba(X).shape)
try:
    open("file", "w")
except PermissionError:
    print("writes are denied")
"""


def run(code, **environment):
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={**kept, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_fit_works_without_a_home_and_without_writing(tmp_path):
    assert run(DENY_WRITES, TMPDIR=str(tmp_path)) == ["(40, 2)", "writes are denied"]
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == []


def test_import_loads_neither_matplotlib_nor_pillow():
    """They are large, and extras: a script that classifies arrays must not wait for them."""
    code = "import sys, sklearn_cnn; print(*{'matplotlib', 'PIL'} & set(sys.modules))"
    assert run(code) == [""]
