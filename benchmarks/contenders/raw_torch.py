"""A training loop in PyTorch alone, with the layers and the tricks of CNNClassifier.

Pixels stay bytes until a batch is made, which is gathered by index. Tensors are channels last, and
convolutions multiply bfloat16 where the processor is fast at it. Pooling comes before normalisation
and activation. One-cycle AdamW learns from smoothed labels. With ``in_parts``, a batch is cut into
parts of 32 that as many threads as there are cores compute side by side; without, torch splits
each operation among its threads.
"""

from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from torch import nn

BATCH, PART, CHUNK, N_CLASSES = 64, 32, 64, 10


class Standardise(nn.Module):
    """Pixels of any type to float32 with a mean of 0 and a standard deviation of 1."""

    def __init__(self, mean: float, std: float) -> None:
        super().__init__()
        self.mean, self.scale = mean, 1 / std

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return (pixels.float() - self.mean) * self.scale


class PixelByPixel(nn.Module):
    """Flatten without a copy: the maps lie in memory in this order."""

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        return maps.permute(0, 2, 3, 1).flatten(1)


def build(shape: tuple[int, int, int], widths: tuple[int, ...], mean: float, std: float) -> Any:
    """Return a network of a block for each width, pooled to 4 x 4 at least, and dense layers."""
    height, width, channels = shape
    layers: list[nn.Module] = [Standardise(mean, std)]
    for maps in widths:
        layers.append(nn.Conv2d(channels, maps, 3, padding=1, bias=False))
        if min(height, width) >= 8:
            layers.append(nn.MaxPool2d(2))
            height, width = height // 2, width // 2
        layers += [nn.BatchNorm2d(maps), nn.ReLU()]
        channels = maps
    layers += [
        PixelByPixel(),
        nn.Linear(height * width * channels, 128),
        nn.ReLU(),
        nn.Linear(128, N_CLASSES),
    ]
    return nn.Sequential(*layers).to(memory_format=torch.channels_last)


def is_fast_at_bfloat16() -> bool:
    """Tell whether the processor multiplies bfloat16 natively."""
    has = torch.cpu.get_capabilities()
    return bool(has.get("amx_bf16") or has.get("avx512_bf16"))


class RawLoop:
    """The loop, with the methods of a scikit-learn classifier.

    Parameters
    ----------
    network : torch.nn.Module
        What to train.
    epochs, seed : int
        How long to train, and the seed of the order of the images.
    bfloat16, in_parts : bool
        See the top of this file.
    n_threads : int
        Threads to compute in.
    """

    def __init__(
        self,
        network: nn.Module,
        epochs: int,
        seed: int,
        bfloat16: bool,
        in_parts: bool,
        n_threads: int,
    ) -> None:
        self.network, self.epochs, self.seed = network, epochs, seed
        self.bfloat16, self.in_parts, self.n_threads = bfloat16, in_parts, n_threads
        self.loss = nn.CrossEntropyLoss(label_smoothing=0.1)

    def fit(self, X: np.ndarray, y: np.ndarray) -> "RawLoop":
        rng = np.random.default_rng(self.seed)
        self.parameters = list(self.network.parameters())
        optimizer = torch.optim.AdamW(
            [
                {"params": [p for p in self.parameters if p.ndim > 1], "weight_decay": 0.1},
                {"params": [p for p in self.parameters if p.ndim <= 1], "weight_decay": 0.0},
            ],
            fused=True,
        )
        n_batches = -(-len(X) // BATCH)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, 4e-3, total_steps=self.epochs * n_batches + 1, cycle_momentum=False
        )
        self.network.train()
        if self.in_parts:  # they share the weights, and each counts its own statistics
            shared = {id(parameter): parameter for parameter in self.parameters}
            self.replicas = [deepcopy(self.network, dict(shared)) for _ in range(BATCH // PART)]
        threads = torch.get_num_threads()
        torch.set_num_threads(1 if self.in_parts else self.n_threads)
        with self._pool() as self.pool:
            for _ in range(self.epochs):
                for index in np.array_split(rng.permutation(len(X)), n_batches):
                    pixels = torch.from_numpy(X[index]).permute(0, 3, 1, 2)
                    self._differentiate(pixels, torch.from_numpy(y[index]))
                    optimizer.step()
                    schedule.step()
        torch.set_num_threads(threads)
        if self.in_parts:
            self._average_statistics()
        self.network.eval()
        return self

    def _pool(self) -> Any:
        if not self.in_parts:
            return nullcontext()
        return ThreadPoolExecutor(self.n_threads, None, torch.set_num_threads, (1,))

    def _differentiate(self, pixels: torch.Tensor, targets: torch.Tensor) -> None:
        """Set the gradient of each parameter."""

        def gradients(network: nn.Module, pixels: Any, targets: Any) -> Any:
            with torch.autocast("cpu", torch.bfloat16, enabled=self.bfloat16, cache_enabled=False):
                logits = network(pixels)
            loss = self.loss(logits.float(), targets) * (len(targets) / n_images)
            return torch.autograd.grad(loss, self.parameters)

        n_images = len(targets)
        if not self.in_parts:
            totals = gradients(self.network, pixels, targets)
        else:
            n_parts = len(self.replicas)
            parts = self.pool.map(
                gradients,
                self.replicas,
                pixels.tensor_split(n_parts),
                targets.tensor_split(n_parts),
            )
            totals = [sum(gradient[1:], gradient[0]) for gradient in zip(*parts, strict=True)]
        for parameter, total in zip(self.parameters, totals, strict=True):
            parameter.grad = total

    def _average_statistics(self) -> None:
        """Give the network the mean of what its replicas' normalisations have seen."""
        for name, buffer in self.network.named_buffers():
            seen = torch.stack([replica.get_buffer(name) for replica in self.replicas])
            buffer.copy_(seen.float().mean(dim=0))

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            chunks = torch.from_numpy(X).permute(0, 3, 1, 2).split(CHUNK)
            return torch.cat([self.network(chunk).softmax(1) for chunk in chunks]).numpy()

    def predict(self, X: np.ndarray) -> np.ndarray:
        return self.predict_proba(X).argmax(axis=1)


def prepare(images: np.ndarray) -> np.ndarray:
    """Add the axis of channels."""
    return images[..., np.newaxis] if images.ndim == 3 else images


def make(
    *,
    shape: tuple[int, int, int] = (28, 28, 1),
    widths: tuple[int, ...] = (24, 48, 96),
    mean: float = 72.9,
    std: float = 90.0,
    epochs: int = 5,
    seed: int = 0,
    bfloat16: bool | None = None,
    in_parts: bool = True,
    n_threads: int | None = None,
) -> RawLoop:
    """Return the loop; the mean and standard deviation are those of Fashion-MNIST's pixels."""
    torch.manual_seed(seed)
    network = build(shape, widths, mean, std)
    bfloat16 = is_fast_at_bfloat16() if bfloat16 is None else bfloat16
    return RawLoop(network, epochs, seed, bfloat16, in_parts, n_threads or torch.get_num_threads())
