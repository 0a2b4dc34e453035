"""A model fitted on a GPU unpickles, predicts and trains on a machine without one.

Without a GPU the pickle is made to look like one's: its tensors are tagged as the GPU's, and so is
the net's device. PyTorch alone refuses such a pickle, which the first test shows.
"""

import io
import pickle

import numpy as np
import pytest
import torch


@pytest.fixture
def without_cuda(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def pickle_as_from(device, value, monkeypatch):
    """Pickle with every tensor tagged as lying on another device."""
    with monkeypatch.context() as patch:
        patch.setattr(torch.serialization, "location_tag", lambda storage: device)
        return pickle.dumps(value)


def test_torch_alone_refuses_such_a_pickle(monkeypatch, without_cuda):
    """Otherwise the tests below would show nothing."""
    saved = pickle_as_from("cuda:0", torch.ones(2), monkeypatch)
    with pytest.raises(RuntimeError, match="deserialize object on a CUDA device"):
        pickle.load(io.BytesIO(saved))


@pytest.mark.parametrize("device", ["cuda:0", "cuda:1", "mps"])
@pytest.mark.parametrize("early_stopping", [False, True])
def test_a_model_from_a_gpu_goes_on_without_one(
    small, bars, monkeypatch, without_cuda, early_stopping, device
):
    images, y = bars
    model = small(early_stopping=early_stopping, random_state=0).fit(images, y)
    expected = model.predict_proba(images)
    model.net_.device = torch.device(device)
    loaded = pickle.loads(pickle_as_from(device, model, monkeypatch))
    np.testing.assert_array_equal(loaded.predict_proba(images), expected)
    by_net = loaded.net_.predict_proba(images[..., np.newaxis])
    np.testing.assert_allclose(by_net, expected, rtol=1e-5)
    loaded.set_params(early_stopping=False)
    assert loaded.partial_fit(images, y).n_iter_ == model.n_iter_ + 1
