"""Batch normalisation: few batches, batches of one value, and otherwise exactly PyTorch's."""

import copy
import io

import numpy as np
import pytest
import torch
from torch import nn

from sklearn_cnn.network.build import build_network
from sklearn_cnn.network.layers import BatchNorm, Conv, Flatten
from sklearn_cnn.network.modules import BatchNorm1d, BatchNorm2d


def vectors(*values):
    """A batch of vectors of one value."""
    return torch.tensor(values, dtype=torch.float64)[:, None]


def one_value():
    """A norm of one value, as the network builder makes it."""
    return BatchNorm1d(1, dtype=torch.float64)


def train_on(norm, means):
    for mean in means:
        norm(vectors(mean - 1, mean + 1))
    return norm


@pytest.mark.parametrize(
    ("ours", "torchs", "shape"),
    [
        (BatchNorm1d, nn.BatchNorm1d, (5, 3)),
        (BatchNorm1d, nn.BatchNorm1d, (2, 3)),
        (BatchNorm2d, nn.BatchNorm2d, (2, 3, 1, 1)),
        (BatchNorm2d, nn.BatchNorm2d, (1, 3, 1, 2)),
        (BatchNorm2d, nn.BatchNorm2d, (4, 3, 5, 6)),
    ],
)
def test_more_than_one_value_a_channel_equals_torch(ours, torchs, shape):
    """Would catch any other arithmetic, from two values a channel on, training and predicting."""
    torch_norm, norm = torchs(3), ours(3)
    values = torch.linspace(-3, 7, int(np.prod(shape))).reshape(shape) ** 2
    assert torch.equal(norm(values), torch_norm(values))
    assert torch.equal(norm(values), torch_norm(values))
    norm.load_state_dict(torch_norm.state_dict())
    assert torch.equal(norm.eval()(values), torch_norm.eval()(values))


@pytest.mark.parametrize(
    ("ours", "torchs", "shape"),
    [(BatchNorm1d, nn.BatchNorm1d, (1, 3)), (BatchNorm2d, nn.BatchNorm2d, (1, 3, 1, 1))],
)
def test_one_value_a_channel_is_normalised_by_the_running_statistics(ours, torchs, shape):
    """Would catch torch's refusal of one image with maps of one pixel, or a batch variance of 0."""
    norm, values = ours(3, eps=0.0), torch.tensor([5.0, 8.0, -3.0]).reshape(shape)
    norm.running_mean.copy_(torch.tensor([1.0, 2.0, 3.0]))
    norm.running_var.copy_(torch.tensor([4.0, 9.0, 16.0]))
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([1.0, 1.0, 10.0]))
        norm.bias.copy_(torch.tensor([0.0, 0.5, 0.0]))
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        torchs(3)(values)
    # (5 - 1) / 2, (8 - 2) / 3 + 0.5, (-3 - 3) / 4 * 10
    torch.testing.assert_close(norm(values).flatten(), torch.tensor([2.0, 2.5, -15.0]))


def test_one_value_a_channel_moves_no_statistics_but_trains_the_weights():
    """Would catch running statistics with a variance of zero in them, or a lost gradient."""
    norm = BatchNorm1d(3)
    before = copy.deepcopy(dict(norm.named_buffers()))
    norm(torch.tensor([[5.0, 8.0, -3.0]])).sum().backward()
    for name, buffer in norm.named_buffers():
        assert torch.equal(buffer, before[name]), name
    assert norm.weight.grad is not None
    assert norm.bias.grad.tolist() == [1, 1, 1]


def test_one_value_predicted_equals_torch():
    """Would catch a prediction of one image that differs from that image among others."""
    norm, values = BatchNorm1d(3), torch.tensor([[5.0, 8.0, -3.0], [1.0, 2.0, 3.0]])
    norm(values)
    norm.eval()
    assert torch.equal(norm(values[:1]), norm(values)[:1])


@pytest.mark.parametrize("n_batches", [1, 2, 5, 9, 10])
def test_the_first_ten_batches_are_averaged(n_batches):
    """Would catch the zeros and ones of the start in a network that saw few batches."""
    means = [4.0 * k * k for k in range(n_batches)]
    norm = train_on(one_value(), means)
    assert norm.running_mean.item() == pytest.approx(np.mean(means), rel=1e-12)
    assert norm.running_var.item() == pytest.approx(2, rel=1e-12)  # of -1, 1: (1 + 1) / (2 - 1)


def test_from_the_eleventh_batch_on_the_mean_moves_by_a_tenth():
    """Would catch a plain mean for ever, in which the weights' early days never fade."""
    norm = train_on(one_value(), [0.0] * 10)
    found = [train_on(norm, [100.0]).running_mean.item() for _ in range(2)]
    assert found == pytest.approx([10, 0.9 * 10 + 10])  # a mean would give 100 / 11 at first


def test_batches_of_one_value_do_not_count_among_the_ten():
    """Would catch a weight of 1 / 2 for the first batch that has statistics."""
    norm = one_value()
    norm(vectors(50))
    assert train_on(norm, [4.0]).running_mean.item() == pytest.approx(4)


def test_predicting_does_not_count_among_the_ten():
    """Would catch a prediction that changes how training goes on."""
    norm = train_on(one_value(), [4.0])
    norm.eval()(vectors(1, 2, 3))
    assert train_on(norm.train(), [8.0]).running_mean.item() == pytest.approx(6)


@pytest.mark.parametrize("n_further", [1, 5, 12])
def test_going_back_to_earlier_weights_goes_back_wholly(n_further):
    """Would catch training that goes on otherwise after an interrupted or a worse epoch."""
    norm = train_on(one_value(), [4.0])
    state = copy.deepcopy(norm.state_dict())
    train_on(norm, [100.0] * n_further).load_state_dict(state)
    assert train_on(norm, [8.0]).running_mean.item() == pytest.approx(6)  # (4 + 8) / 2


@pytest.mark.parametrize("n_batches", [1, 5, 12])
def test_weights_loaded_into_a_new_network_go_on_alike(n_batches):
    """Would catch a step of training after loading that differs from one without."""
    norm, stored = train_on(one_value(), [4.0] * n_batches), io.BytesIO()
    torch.save(norm.state_dict(), stored)
    stored.seek(0)
    loaded = one_value()
    loaded.load_state_dict(torch.load(stored, weights_only=True))
    for twin in (loaded, copy.deepcopy(norm)):
        assert torch.equal(
            train_on(twin, [8.0, 9.0]).running_mean,
            train_on(copy.deepcopy(norm), [8.0, 9.0]).running_mean,
        )


@pytest.mark.parametrize("layers", [[Conv(2), BatchNorm(), Flatten()], [Flatten(), BatchNorm()]])
def test_a_built_network_predicts_well_after_one_batch(layers):
    """Would catch a builder that makes PyTorch's norm, or keeps its momentum."""
    network = build_network(layers, (1, 1, 2), 2, np.zeros(2), np.ones(2), torch.float64)
    values = torch.arange(600, dtype=torch.float64).reshape(300, 2, 1, 1) % 7
    trained = network(values)
    torch.testing.assert_close(network.eval()(values), trained, rtol=0.01, atol=0.01)


def test_a_built_network_trains_on_one_tiny_image():
    """Would catch a builder that makes PyTorch's norm, for maps or for vectors."""
    layers = [Conv(2), BatchNorm(), Flatten(), BatchNorm()]
    network = build_network(layers, (1, 1, 1), 2, np.zeros(1), np.ones(1))
    assert network.train()(torch.ones(1, 1, 1, 1)).shape == (1, 2)
