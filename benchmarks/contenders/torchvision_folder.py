"""torchvision's way from a folder of class folders to batches of images."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

_register = torch.library.register_fake


def _register_what_is_there(name: str, *args: Any, **options: Any) -> Callable[[Any], Any]:
    """Pass over torchvision's compiled operators, so that its Python part imports without them.

    Its wheels are built for CUDA, and do not load beside a PyTorch without it. What is used here,
    ImageFolder and transforms of PIL images, is Python.
    """
    if str(name).startswith("torchvision::"):
        return lambda function: function
    return _register(name, *args, **options)


torch.library.register_fake = _register_what_is_there
from torchvision.datasets import ImageFolder  # noqa: E402
from torchvision.transforms import v2  # noqa: E402

torch.library.register_fake = _register


def open_folder(folder: Path, size: int) -> Iterable[tuple[Any, Any]]:
    """Return the batches, which two processes decode anew whenever they are iterated."""
    transform = v2.Compose([v2.Resize((size, size)), v2.PILToTensor()])
    return DataLoader(ImageFolder(folder, transform=transform), batch_size=128, num_workers=2)
