"""The one-way order of the folders, and the single place where each dependency is imported."""

import ast
from pathlib import Path

import pytest

import sklearn_cnn

PACKAGE = Path(sklearn_cnn.__file__).parent

MAY_IMPORT = {
    "_messages": set(),
    "_forks": set(),
    "_compat": {"_messages"},
    "machine": {"_messages", "_forks"},
    "pixels": {"_messages", "_compat"},
    "files": {"_messages", "_forks", "_compat", "machine", "pixels"},
    "network": {"_messages", "machine"},
    "augment": {"_messages", "machine"},
    "training": {"_messages", "_forks", "_compat", "machine", "pixels", "network", "augment"},
    "base": {
        "_messages",
        "_forks",
        "_compat",
        "machine",
        "pixels",
        "network",
        "augment",
        "training",
    },
    "classifier": {"_messages", "_compat", "machine", "pixels", "network", "training", "base"},
    "regressor": {"_messages", "_compat", "machine", "pixels", "network", "training", "base"},
    "inspection": {
        "_messages",
        "_compat",
        "machine",
        "pixels",
        "network",
        "training",
        "base",
        "classifier",
        "regressor",
    },
    "pretrained": {
        "_messages",
        "_forks",
        "_compat",
        "machine",
        "pixels",
        "files",
        "network",
        "training",
    },
    "persistence": {
        "_messages",
        "_compat",
        "machine",
        "pixels",
        "files",
        "network",
        "augment",
        "training",
        "classifier",
        "regressor",
        "pretrained",
    },
    "__init__": {
        "pretrained",
        "files",
        "network",
        "augment",
        "classifier",
        "regressor",
        "inspection",
        "persistence",
        "training",
    },
}
"""What each part may import, beside itself: it stands below those that it imports."""

ONLY_IN = {
    "PIL": {"files/decode.py", "files/opening.py", "files/framing.py"},
    "filelock": {"files/cache.py"},
    "onnx": {"persistence/export.py", "persistence/onnx_graph.py"},
    "safetensors": {"network/pretrained.py", "persistence/container.py"},
    "simplejpeg": {"files/decode.py"},
    "tqdm": {"_forks.py"},
}
"""Pillow is one of three sources in decode, opens files, and resizes what any source gives."""

NEVER = {
    "pixels": {"torch", "skorch"},
    "files": {"torch", "skorch"},
    "machine": {"skorch"},
    "network": {"skorch", "sklearn"},
    "augment": {"skorch", "sklearn"},
    "base": {"skorch"},
    "classifier": {"skorch"},
    "regressor": {"skorch"},
    "inspection": {"skorch"},
}


def imports(path):
    """The dotted names of all modules that a file imports, inside functions too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_one_way(path):
    relative = path.relative_to(PACKAGE)
    part = relative.parts[0].removesuffix(".py")
    for name in imports(path):
        top, *rest = name.split(".")
        if top == "sklearn_cnn" and rest:
            assert rest[0] in MAY_IMPORT[part] | {part}, f"{relative} imports {name}"
        assert top not in NEVER.get(part, ()), f"{relative} imports {name}"
        if top in ONLY_IN:
            assert str(relative) in ONLY_IN[top], f"{relative} imports {name}"
        is_private = top == "sklearn" and any(word.startswith("_") for word in rest)
        assert not is_private or part == "_compat", f"{relative} imports {name}"


def test_every_folder_has_a_place_in_the_order():
    parts = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in FILES}
    assert parts == set(MAY_IMPORT)
