"""Devices by name, images by memory."""

import pytest
import torch

from sklearn_cnn.machine import device as memory
from sklearn_cnn.machine.device import images_per_pass, resolve_device, weights_dtype
from sklearn_cnn.network.outputs import LayerRow
from sklearn_cnn.training.net import ConvNet

CPU = torch.device("cpu")


@pytest.mark.parametrize("device", ["cpu", CPU])
def test_the_cpu_by_name_and_by_torchs_object(device):
    assert resolve_device(device) == CPU


@pytest.mark.parametrize(
    ("n_cuda", "mps", "kind"),
    [(0, False, "cpu"), (0, True, "mps"), (1, False, "cuda"), (2, True, "cuda")],
)
def test_auto_takes_cuda_then_mps_then_cpu(monkeypatch, n_cuda, mps, kind):
    """All four machines. Catches another order, or MPS taken where it is only built in."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: n_cuda > 0)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: n_cuda - 1)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    found = resolve_device("auto")
    assert found.type == kind
    assert found.index == (n_cuda - 1 if kind == "cuda" else None)


@pytest.mark.parametrize("n_cuda", [0, 1, 2])
def test_cuda_devices_that_are_not_there(monkeypatch, n_cuda):
    """Both sides of the last device. Catches torch's own error, minutes later."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: n_cuda)
    for index in range(n_cuda):
        assert resolve_device(f"cuda:{index}") == torch.device("cuda", index)
    message = (
        rf"device='cuda:{n_cuda}' is not available: torch finds {n_cuda} CUDA devices\. Use "
        r"device='auto' or device='cpu'\."
    )
    with pytest.raises(ValueError, match=message):
        resolve_device(f"cuda:{n_cuda}")


def test_cuda_without_a_number_needs_one_device(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(ValueError, match=r"device='cuda' is not available: .* 0 CUDA devices"):
        resolve_device("cuda")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert resolve_device("cuda").type == "cuda"


def test_mps_that_is_not_there(monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    message = r"device='mps' is not available: torch finds no MPS .* device='auto' or device='cpu'"
    with pytest.raises(ValueError, match=message):
        resolve_device("mps")


@pytest.mark.parametrize("device", ["gpu", "", "cuda:x", "cuda:-1", "CPU", "tpu"])
def test_names_that_torch_does_not_know(device):
    message = rf"device must be 'auto', 'cpu', 'cuda', .* Got device={device!r}\."
    with pytest.raises(ValueError, match=message):
        resolve_device(device)


@pytest.mark.parametrize("device", ["meta", torch.device("meta"), "vulkan", "hpu"])
def test_names_that_torch_knows_but_nothing_can_train_on(small, bars, device):
    """Catches a raw error from deep in torch, for a name that torch's parser takes."""
    with pytest.raises(ValueError, match=rf"device=.*{torch.device(device).type}"):
        small(device=device).fit(*bars)


def test_precision():
    assert weights_dtype("auto", CPU) == weights_dtype("float32", CPU) == torch.float32
    assert weights_dtype("float64", CPU) == torch.float64
    assert weights_dtype("float32", torch.device("mps")) == torch.float32
    with pytest.raises(ValueError, match=r"precision='float64' is not .* MPS .* device='cpu'"):
        weights_dtype("float64", torch.device("mps"))


@pytest.mark.parametrize(
    ("values", "dtype", "passes", "n_images"),
    [
        (1000, torch.float32, 1, 536_870),  # 2**31 / 4000 = 536870.9
        (1000, torch.float64, 1, 268_435),
        (1000, torch.float32, 3, 178_956),
        (2**29, torch.float32, 1, 1),  # 2 GiB: just fits
        (2**28, torch.float32, 1, 2),
        (2**28 + 1, torch.float32, 1, 1),
        (2**29 + 1, torch.float32, 1, 1),  # does not fit, and is tried all the same
        (2**40, torch.float64, 3, 1),
    ],
)
def test_images_of_a_pass_by_hand(values, dtype, passes, n_images):
    """Both sides of a whole number. Catches zero images, which would be a loop without end."""
    assert images_per_pass(values, dtype, passes) == n_images


def test_chunks_and_passes_follow_the_maps():
    """Catches a pass that counts one layer only, and a chunk that counts all of them."""
    net = ConvNet.__new__(ConvNet)
    net.__dict__.update(module_=torch.nn.BatchNorm1d(1), device=CPU)  # float32: 4 bytes a value
    layers = (
        LayerRow("a", "Conv2d", (4, 64, 256), 0),
        LayerRow("b", "MaxPool2d", (4, 32, 128), 0),
        LayerRow("c", "Linear", (2**16 - 2**14,), 0),
    )
    net.__dict__["layers_"] = layers
    assert net.chunk == 2**23 // 4 // 2**16
    assert net.images_per_pass == 2**31 // (4 * 2**17 * 3)


def test_the_memory_is_two_gibibytes():
    """The numbers above rest on it."""
    assert memory.MEMORY_FOR_ACTIVATIONS == 2**31


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory."), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 9.00 GB)."), True),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
        (RuntimeError("shapes do not match"), False),
    ],
)
def test_errors_that_say_that_a_gpu_is_out_of_memory(error, expected):
    assert memory.is_out_of_memory(error) is expected
