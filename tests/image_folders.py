"""Folders of files for tests of load_image_folder, and what it says of them.

The files of most are empty, since listing opens none.
"""

import os
import re
import warnings
from pathlib import Path

import pytest
from PIL import Image

from sklearn_cnn import load_image_folder


def touch(folder, *names):
    """Make empty files, with the folders they are in; returns the folder."""
    for name in names:
        path = Path(folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return Path(folder)


def draw(folder, *names):
    """Make real images of 4 x 4 pixels, with the folders they are in; returns the folder."""
    for name in touch(folder, *names) and names:
        Image.new("RGB", (4, 4), "red").save(Path(folder, name))
    return Path(folder)


def names_of(paths, folder):
    """Paths as they stand below a folder."""
    return [os.path.relpath(path, folder) for path in paths]


def quietly_refuses(text, folder, error=ValueError, **parameters):
    """Check that a call raises an error which says this, and warns of nothing before it."""
    with pytest.raises(error, match=re.escape(text)) as caught:
        load_image_folder(folder, **parameters)
    return str(caught.value)


def said(folder, **parameters):
    """Call, and return what comes back, and the one warning's text.

    The warning must point at the caller's line: in this file, and at the call below.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = load_image_folder(folder, **parameters)
    [warning] = caught
    assert warning.category is UserWarning
    assert warning.filename == __file__
    code = said.__code__
    assert code.co_firstlineno < warning.lineno < code.co_firstlineno + 20
    return found, str(warning.message)


PETS = ("cat/2.png", "cat/1.png", "cat/old/3.png", "dog/1.jpg")
IN_ORDER = ["cat/1.png", "cat/2.png", "cat/old/3.png", "dog/1.jpg"]
