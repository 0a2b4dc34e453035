"""A strided convolution of 1 x 1 trains, and leaves memory alone, on processors without AVX512.

torch's own layer writes beyond a buffer there, in channels_last memory. All cases run in one child
process that computes as such a processor does, with glibc checking its memory where it can.
"""

import os
import pickle
import subprocess
import sys
import warnings
from copy import deepcopy
from functools import partial
from pathlib import Path

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from torch import nn
from torch.nn import functional

from sklearn_cnn import BatchNorm, CNNClassifier, Conv, Dense, Flatten, Pool
from sklearn_cnn.inspection.saliency import gradient

AVX2_ALONE = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}
rng = np.random.default_rng(0)


class Subclass(nn.Conv2d):
    """Another class."""


class Functional(nn.Module):
    """A convolution that no list of modules shows."""

    def __init__(self, n_channels, n_outputs):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, n_channels, 1, 1))
        self.last = nn.LazyLinear(n_outputs)

    def forward(self, x):
        return self.last(functional.conv2d(x, self.weight, stride=(1, 2)).flatten(1))


class OnlyInTraining(nn.Module):
    """A convolution that prediction does not run."""

    def __init__(self, n_channels, n_outputs):
        super().__init__()
        self.conv = nn.Conv2d(n_channels, n_outputs, 1, stride=2)
        self.last = nn.LazyLinear(n_outputs)

    def forward(self, x):
        added = self.conv(x).mean(dim=(2, 3)) if self.training else 0
        return self.last(x.flatten(1)) + added


def ending(*layers):
    """End a user-defined network as usual."""
    return lambda n_outputs: nn.Sequential(*layers, nn.Flatten(), nn.LazyLinear(n_outputs))


class Residual(nn.Module):
    """A block as in a ResNet, whose short cut steps over pixels."""

    def __init__(self, n_channels):
        super().__init__()
        conv = nn.Conv2d(n_channels, 6, 3, stride=2, padding=1)
        self.long = nn.Sequential(conv, nn.BatchNorm2d(6))
        self.short = nn.ModuleDict({"conv": nn.Conv2d(n_channels, 6, 1, stride=2, bias=False)})

    def forward(self, x):
        return torch.relu(self.long(x) + self.short["conv"](x))


def own_networks(n_channels):
    """Name user-defined networks for images of some channels: callables (n_outputs) -> Module."""
    conv = nn.Conv2d(n_channels, 4, 1, stride=2)
    twisted = nn.Sequential(nn.Conv2d(n_channels, 3, 3, padding=1), nn.Conv2d(3, 5, 1, stride=2))
    dilated = nn.Conv2d(n_channels, 4, 1, stride=2, dilation=2)
    return {
        "a plain convolution": ending(conv),
        "one with a dilation, which means nothing": ending(dilated),
        "behind another, deep inside": ending(nn.Sequential(nn.Sequential(twisted), nn.ReLU())),
        "a subclass": ending(Subclass(n_channels, 4, 1, stride=(2, 1))),
        "a lazy one": ending(nn.LazyConv2d(4, 1, stride=3)),
        "a function": lambda n_outputs: Functional(n_channels, n_outputs),
        "in training alone": lambda n_outputs: OnlyInTraining(n_channels, n_outputs),
        "made in channels_last": ending(conv.to(memory_format=torch.channels_last)),
        "a residual block": ending(Residual(n_channels)),
        "a line": ending(nn.Flatten(2), nn.Conv1d(n_channels, 4, 1, stride=2)),
    }


def make_own(name, image_shape, n_outputs):
    return own_networks(image_shape[2])[name](n_outputs)


DESCRIBED = [
    [Conv(4, 1, stride=2), Flatten()],
    [Conv(3), Conv(5, 1, stride=(2, 1)), BatchNorm(), Flatten()],
    [Conv(5, 1, stride=(3, 4), bias=False), Flatten(), Dense(4)],
    [Conv(3, (1, 2), stride=(2, 3)), Pool("mean", 1, stride=2), Flatten()],
]


def compare_gradients(network, images):
    """Check the gradients of a network in training against those in float64."""
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2)
    found = []
    for dtype in (torch.float32, torch.float64):
        copy = deepcopy(network).to(dtype).train()
        logits = copy(pixels)
        slopes = torch.linspace(-1, 1, logits.numel(), dtype=dtype).reshape(logits.shape)
        found.append(torch.autograd.grad(logits, list(copy.parameters()), slopes))
    for (name, _), single, double in zip(network.named_parameters(), *found, strict=True):
        tolerance = 1e-4 * float(double.abs().max()) + 1e-3
        np.testing.assert_allclose(single, double, rtol=0, atol=tolerance, err_msg=name)


def train_all():
    """Train each network, train it further, and look into it; print what is done."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", ConvergenceWarning)
    names = own_networks(1)
    for n_channels, side in ((1, 9), (3, 8), (6, 8), (9, 9)):
        images = rng.integers(0, 256, (48, side, side + 1, n_channels), dtype=np.uint8)
        labels = np.arange(len(images)) % 3
        for layers in (*DESCRIBED, *(partial(make_own, name) for name in names)):
            print(layers, images.shape, flush=True)
            model = CNNClassifier(
                layers=layers,
                data_format="channels_last",
                batch_size=24,
                max_epochs=2,
                precision="float32",
                random_state=0,
                warm_start=True,
            )
            model.fit(images, labels).fit(images, labels)
            model = pickle.loads(pickle.dumps(model)).partial_fit(images, labels)
            compare_gradients(model.net_.module_, images)
            gradient(model.net_.module_, images[:1], target=0)
            assert np.isfinite(model.predict_proba(images)).all()


def test_strided_pointwise_convolutions_leave_the_heap_alone():
    """The whole family: each stride, channels from 1 to 9, described, and in user-defined modules.

    Catches a process that ends, or gradients that are not those of float64.
    """
    checks = {"GLIBC_TUNABLES": "glibc.malloc.check=3"}
    debug = next(Path("/").glob("*lib*/*/libc_malloc_debug.so.0"), None)
    if debug is not None:
        checks["LD_PRELOAD"] = str(debug)
    done = subprocess.run(
        [sys.executable, __file__],
        env={**os.environ, **AVX2_ALONE, **checks},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, f"{done.stdout[-300:]}\n{done.stderr[:2000]}"
    assert done.stdout.count("\n") == 4 * (len(DESCRIBED) + len(own_networks(1)))


if __name__ == "__main__":
    train_all()
