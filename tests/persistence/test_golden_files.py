"""Files of format 1, as written on 2026-11-26: they are read for ever, and never made anew.

Each predicts what it predicted then, but for the rounding of another processor.
"""

import json
from pathlib import Path

import numpy as np
import pytest
from model_files import images_for
from numpy.testing import assert_allclose

from sklearn_cnn import load_model

GOLDEN = Path(__file__).parent / "golden"
EXPECTED = json.loads((GOLDEN / "format_1.json").read_text())


@pytest.mark.parametrize("name", EXPECTED)
def test_format_1(name):
    model = load_model(GOLDEN / f"format_1_{name}.safetensors")
    for method, values in EXPECTED[name].items():
        found = getattr(model, method)(images_for(name))
        if isinstance(values[0], str):
            assert (found == np.array(values)).mean() > 0.9
        else:
            assert_allclose(found, values, rtol=2e-3, atol=2e-3)
