"""Layers that differ from torch's, and functions that copy and change networks."""

from collections.abc import Iterator
from copy import deepcopy
from functools import reduce
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import nn
from torch._ops import OpOverload
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase
from torch.nn.parameter import UninitializedBuffer
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.utils._python_dispatch import TorchDispatchMode

from sklearn_cnn._messages import warn

OTHER_RANGE = 10
"""Pixels whose means or deviations differ by more than this factor are on different scales."""

MOMENTUM = 0.1
"""Weight of a new batch in the running statistics, from the tenth batch on."""


class Normalize(nn.Module):
    """Subtract each channel's mean and divide by its standard deviation.

    Both are buffers, so they are saved with the weights, and an exported model includes its
    preprocessing.

    Parameters
    ----------
    mean, std : ndarray of shape (channels,), float64
        Statistics of the training pixels; ``std`` above 0.
    dtype : torch.dtype
        Floating-point type of the output.
    """

    mean: torch.Tensor
    scale: torch.Tensor
    is_contiguous_on_cpus = False
    """Whether the output is contiguous on CPUs instead of channels_last."""

    is_left_to_another = False
    """Whether a later layer standardises, so that this one returns the pixels unchanged."""

    def __init__(self, mean: np.ndarray, std: np.ndarray, dtype: torch.dtype) -> None:
        super().__init__()
        shape = (1, -1, 1, 1)
        self.register_buffer("mean", torch.tensor(mean, dtype=dtype).reshape(shape))
        self.register_buffer("scale", torch.tensor(1 / std, dtype=dtype).reshape(shape))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Standardise pixels.

        Parameters
        ----------
        pixels : tensor of shape (n, channels, height, width), any real dtype

        Returns
        -------
        tensor of shape (n, channels, height, width), in the dtype of the network
        """
        if self.is_left_to_another:
            standardised = pixels.to(self.mean.dtype, copy=True)  # a module may write into it
        else:
            standardised = (pixels.to(self.mean.dtype) - self.mean) * self.scale
        if self.is_contiguous_on_cpus and standardised.device.type == "cpu":
            # not contiguous(), which leaves the strides of images of one channel as they are
            return standardised.clone(memory_format=torch.contiguous_format)
        return standardised

    def leave_to(self, other: "Normalize") -> None:
        """Return pixels unchanged, for another layer that standardises, and copy its statistics.

        Raises
        ------
        ValueError
            If that layer has another number of channels.
        """
        if other.mean.numel() != self.mean.numel():
            raise ValueError(
                f"The module that layers returned contains the normalisation of a fitted network, "
                f"for images of {other.mean.numel()} channels, but these images have "
                f"{self.mean.numel()}. Remove its layer 'normalize', or use images with the same "
                "number of channels."
            )
        near, far = 1 / OTHER_RANGE, OTHER_RANGE
        ratio = other.scale / self.scale
        apart = (self.mean - other.mean).abs() * other.scale
        if (ratio < near).any() or (ratio > far).any() or (apart > far).any():
            warn(
                "The module that layers returned contains the normalisation of a fitted network, "
                f"whose pixels had a mean of {other.mean.mean():.3g} and a standard deviation of "
                f"{(1 / other.scale).mean():.3g}. The pixels of X have {self.mean.mean():.3g} and "
                f"{(1 / self.scale).mean():.3g}. Scale X like the images of that network, or "
                "remove the layer 'normalize' from the module."
            )
        self.is_left_to_another = True
        self.mean, self.scale = other.mean.clone(), other.scale.clone()

    def extra_repr(self) -> str:
        """Return the number of channels, for the printed module."""
        return f"channels={self.mean.numel()}"


class _FromTheFirstBatch(_BatchNorm):
    """Batch normalisation for few and small batches.

    The running statistics are a plain mean over the first ten batches, and a moving mean
    afterwards. A network therefore predicts well after a single batch, instead of after the initial
    zeros and ones have decayed. In addition, a batch with a single value per channel, whose
    variance is zero, is normalised by the running statistics, while torch raises an error. Such a
    batch is a single image, or a part of a batch with one image, with maps of 1 x 1.
    """

    def __init__(
        self, num_features: int, eps: float = 1e-5, dtype: torch.dtype | None = None
    ) -> None:
        super().__init__(num_features, eps, momentum=1.0, dtype=dtype)
        self.register_load_state_dict_post_hook(_count_batches_again)  # type: ignore[no-untyped-call]

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Normalise by the batch while training, and by the running statistics otherwise."""
        if self.training and input.numel() == self.num_features:
            return functional.batch_norm(
                input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
        if self.training and self.momentum != MOMENTUM and self.num_batches_tracked is not None:
            # batch number k has weight 1 / k, as in a mean; only ten batches read k from the device
            self.momentum = max(MOMENTUM, 1 / (int(self.num_batches_tracked) + 1))
        return super().forward(input)


class BatchNorm2d(_FromTheFirstBatch, nn.BatchNorm2d):
    """Normalise maps of shape (n, channels, height, width)."""


class BatchNorm1d(_FromTheFirstBatch, nn.BatchNorm1d):
    """Normalise vectors of shape (n, values)."""


class Dropout(nn.Dropout):
    """Set a fraction of the values to zero during training, and scale up the others.

    Attributes
    ----------
    generator : torch.Generator or None
        Random generator, so that threads do not share one. None for torch's own.
    """

    generator: torch.Generator | None = None

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Draw the values to keep, and divide them by the fraction that is kept."""
        if not self.training or self.generator is None:
            return super().forward(input)
        share = 1 - self.p
        kept = torch.empty_like(input).bernoulli_(share, generator=self.generator)
        return input * kept.div_(share)


class Flatten(nn.Module):
    """Flatten the feature maps of each image to a vector, pixel by pixel, as ``numpy.reshape``.

    It copies nothing if the maps have this order in memory, as those of convolutions do (torch's
    ``channels_last``). A vector in the order of channels, as returned by :class:`torch.nn.Flatten`,
    has to gather every value, and its gradient has to scatter them.

    Examples
    --------
    >>> import torch
    >>> from sklearn_cnn.network.modules import Flatten
    >>> maps = torch.tensor([[[[0, 1]], [[10, 11]]]])  # an image of 1 x 2 pixels in two channels
    >>> Flatten()(maps)
    tensor([[ 0, 10,  1, 11]])
    """

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Flatten maps of shape (n, channels, height, width) to (n, height * width * channels)."""
        return maps.permute(0, 2, 3, 1).flatten(1)


class MaxPool2d(nn.MaxPool2d):
    """Take the maximum of each window of maps of shape (n, channels, height, width).

    It is fast at prediction: without a gradient, the position of a maximum is not needed, and the
    maximum of a window is the maximum of the maxima of its columns. This takes two or three passes
    over whole slices, instead of a search in every window.
    """

    kernel_size: tuple[int, int]
    stride: tuple[int, int]

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Pool; bit for bit the same with and without a gradient."""
        if torch.is_grad_enabled() or self.stride != self.kernel_size:
            searched: torch.Tensor = super().forward(input)
            return searched
        height, width = self.kernel_size
        below = input.shape[2] - input.shape[2] % height
        right = input.shape[3] - input.shape[3] % width
        rows = [input[:, :, row:below:height, :right] for row in range(height)]
        tallest = reduce(torch.maximum, rows)
        columns = [tallest[..., column::width] for column in range(width)]
        largest: torch.Tensor = reduce(torch.maximum, columns)
        return largest


class SamePaddedConv2d(nn.Conv2d):
    """Convolve with a kernel of even size, padded so that a stride of 1 keeps height and width.

    An odd zero goes to the bottom and right. torch's ``padding="same"`` does the same, but warns
    about its padded copy.
    """

    kernel_size: tuple[int, int]

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Convolve maps of shape (n, channels, height, width)."""
        height, width = self.kernel_size
        zeros = ((width - 1) // 2, width // 2, (height - 1) // 2, height // 2)
        return super().forward(functional.pad(input, zeros))


class StridedPointwise(nn.Conv2d):
    """Convolve with a 1 x 1 kernel and any stride: select pixels, then use a stride of 1.

    torch's gradient of such a layer can crash the process. If the input or weight of the layer is
    in ``channels_last`` memory, the gradient of its weights writes beyond a buffer on CPUs: without
    AVX512 for 2 to 7 channels, and with AVX512 if the layer has a dilation. ``scripts/map_crashes``
    maps these cases. A user-defined module with such a layer uses torch's default memory order on
    CPUs, in which the gradient is correct; see :class:`ModuleWatch`.
    """

    stride: tuple[int, int]

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Convolve maps of shape (n, channels, height, width)."""
        rows, columns = self.stride
        return functional.conv2d(input[:, :, ::rows, ::columns], self.weight, self.bias)


class ModuleWatch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """A context that records strided pointwise convolutions and random draws.

    Attributes
    ----------
    has_strided_pointwise : bool
        Whether such a convolution ran.
    is_unsound : bool
        Whether it ran with its input or weight in channels_last memory.
    draws : str
        An operation that drew random numbers from torch's own generator, or "".
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.has_strided_pointwise = self.is_unsound = False
        self.draws = ""

    def __torch_dispatch__(
        self, func: OpOverload, types: object, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> object:
        """Inspect the arguments of convolutions, and run any operation."""
        if func is torch.ops.aten.convolution.default:
            images, weight, _, stride, _, _, is_transposed = args[:7]
            if tuple(weight.shape[2:]) == (1, 1) and max(stride) > 1 and not is_transposed:
                self.has_strided_pointwise = True
                self.is_unsound |= any(map(_is_pixel_by_pixel, (images, weight)))
        options = kwargs or {}
        if torch.Tag.nondeterministic_seeded in func.tags and options.get("generator") is None:
            self.draws = str(func)
        return func(*args, **options)


def copy_network(network: nn.Module) -> nn.Module:
    """Copy a network, including values with a gradient that its modules keep.

    A user-defined module may keep the maps of a training step as an attribute. torch cannot copy
    values with a gradient function, so the copy shares these with the network until it runs.

    Examples
    --------
    >>> import torch
    >>> from sklearn_cnn.network.modules import copy_network
    >>> network = torch.nn.Linear(2, 1)
    >>> network.kept = network(torch.ones(1, 2))
    >>> copy_network(network)
    Linear(in_features=2, out_features=1, bias=True)
    """
    return deepcopy(network, _what_torch_does_not_copy(network))


def copy_together(network: nn.Module, *others: object) -> tuple[object, ...]:
    """Copy a network with objects that refer to it, such as its optimizer."""
    return deepcopy((network, *others), _what_torch_does_not_copy(network))


def keep_frozen_statistics(module: nn.Module, is_frozen: bool = False) -> None:
    """Let the norms of frozen parts use their running statistics without updating them.

    A norm is frozen if all of its parameters are. A norm without parameters is frozen if those of
    its parent module are. Other modules in training mode keep it.
    """
    weights = list(module.parameters())
    if weights:
        is_frozen = not any(weight.requires_grad for weight in weights)
    if is_frozen and isinstance(module, _NormBase):
        module.eval()
    for child in module.children():
        keep_frozen_statistics(child, is_frozen)


def fold_norms(network: nn.Module) -> None:
    """Fold each norm into the convolution before it, for prediction, in sequences of layers.

    Except for rounding, the maps stay the same: a norm in eval mode multiplies and adds.
    """
    for module in network.modules():
        if isinstance(module, nn.Sequential):
            layers = list(module.named_children())
            for (name, layer), (norm_name, norm) in pairwise(layers):
                if isinstance(layer, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                    dtype = layer.weight.dtype
                    folded = fuse_conv_bn_eval(layer.double(), norm.double())
                    setattr(module, name, folded.to(dtype))
                    delattr(module, norm_name)


def seed_dropout(network: nn.Module, seed: int) -> None:
    """Let all dropout layers of a network, including torch's own, draw from one new generator."""
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if type(module) is nn.Dropout:
            module.__class__ = Dropout
        if isinstance(module, Dropout):
            module.generator = generator


def _count_batches_again(norm: _BatchNorm, _: object) -> None:
    """After loading weights, derive the momentum from their number of batches again."""
    norm.momentum = 1.0


def _what_torch_does_not_copy(network: nn.Module) -> dict[int, torch.Tensor]:
    """Return the replacements of values that torch cannot copy, by their ids."""
    kept = (value for module in network.modules() for value in _with_gradient(vars(module)))
    places = {id(value): value for value in kept}
    for buffer in network.buffers():
        if isinstance(buffer, UninitializedBuffer):  # of a lazy norm
            places[id(buffer)] = UninitializedBuffer(  # type: ignore[call-arg]
                device=buffer.device, dtype=buffer.dtype
            )
    return places


def _with_gradient(value: object) -> Iterator[torch.Tensor]:
    """Find the values that have a gradient function, in lists and dicts too."""
    if isinstance(value, torch.Tensor) and value.grad_fn is not None:
        yield value
    elif isinstance(value, dict | list | tuple):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _with_gradient(item)


def _is_pixel_by_pixel(values: torch.Tensor) -> bool:
    """Tell whether torch convolves in channels_last memory on account of these values.

    It looks at the strides alone, so that it may do so for what counts as contiguous, too: maps of
    one channel, and kernels of one pixel.
    """
    if values.ndim != 4 or values.stride(1) == 0:
        return False
    least = 0
    for axis in (1, 3, 2):
        if values.stride(axis) < least:
            return False
        least = values.stride(axis) * values.shape[axis]
    return values.stride(0) >= least and least != values.stride(1)
