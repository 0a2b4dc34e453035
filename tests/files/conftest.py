"""The folder that most tests of load_image_folder list."""

import pytest
from image_folders import PETS, touch


@pytest.fixture
def pets(tmp_path):
    """Three cats, one of them in a folder of its own, and one dog."""
    return touch(tmp_path / "pets", *PETS)
