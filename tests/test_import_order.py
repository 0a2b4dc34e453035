"""The one-way order of the folders, and the single place where each dependency is imported."""

import ast
from pathlib import Path

import pytest

import sklearn_cnn

PACKAGE = Path(sklearn_cnn.__file__).parent

MAY_IMPORT = {
    "_checks": set(),
    "_compat": {"_checks"},
    "_locks": set(),
    "_progress": set(),
    "_messages": set(),
    "images": {"_checks", "_compat", "_locks", "_progress", "_messages", "images"},
    "network": {"_checks", "_messages", "network"},
    "training": {
        "_checks",
        "_compat",
        "_locks",
        "_progress",
        "_messages",
        "images",
        "network",
        "training",
    },
    "parameters": {"_checks", "_compat", "images", "network", "training"},
    "fitting": {"_compat", "_locks", "_messages", "images", "network", "training", "parameters"},
    "predicting": {"images", "training", "fitting"},
    "features": {"_checks", "_compat", "network", "training", "fitting"},
    "classifier": {
        "_compat",
        "images",
        "network",
        "training",
        "parameters",
        "fitting",
        "predicting",
        "features",
    },
    "inspection": {
        "_checks",
        "_compat",
        "network",
        "training",
        "fitting",
        "classifier",
        "inspection",
    },
    "__init__": {"classifier", "images", "inspection", "network"},
}

ONLY_IN = {
    "PIL": "images/decode.py",
    "filelock": "images/cache.py",
    "simplejpeg": "images/fast_jpeg.py",
    "skorch": "training/net.py",
    "tqdm": "_progress.py",
}

NEVER = {"images": {"torch", "skorch"}, "network": {"skorch", "sklearn"}}


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
            assert rest[0] in MAY_IMPORT[part], f"{relative} imports {name}"
        assert top not in NEVER.get(part, ()), f"{relative} imports {name}"
        if top in ONLY_IN:
            assert str(relative) == ONLY_IN[top], f"{relative} imports {name}"
        is_private = top == "sklearn" and any(word.startswith("_") for word in rest)
        assert not is_private or part == "_compat", f"{relative} imports {name}"


def test_every_folder_has_a_place_in_the_order():
    parts = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in FILES}
    assert parts == set(MAY_IMPORT)
