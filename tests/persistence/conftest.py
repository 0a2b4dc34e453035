"""A saved model of each kind, once for all tests of this folder."""

import pytest
from model_files import make_models, save_model


@pytest.fixture(scope="session")
def models():
    return make_models()


@pytest.fixture(scope="session")
def saved(models, tmp_path_factory):
    """The bytes of their files, by name."""
    folder = tmp_path_factory.mktemp("models")
    for name, model in models.items():
        save_model(model, folder / name)
    return {name: (folder / name).read_bytes() for name in models}
