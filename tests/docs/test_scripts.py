"""Scripts run the tests that they name: a folder that has moved would be left out in silence."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PATH = re.compile(r"\b(?:tests|sklearn_cnn|benchmarks|examples)/[\w/.-]*\w")


@pytest.mark.parametrize("script", sorted((ROOT / "scripts").iterdir()), ids=lambda p: p.name)
def test_every_path_that_a_script_names_exists(script):
    named = PATH.findall(script.read_text())

    assert [path for path in named if not (ROOT / path).exists()] == []
