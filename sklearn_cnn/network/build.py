"""Build a torch module from layer descriptions or a user-defined callable."""

import inspect
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from itertools import zip_longest

import numpy as np
import torch
from torch import nn
from torch.nn.parameter import is_lazy

from sklearn_cnn._messages import warn
from sklearn_cnn.network import modules
from sklearn_cnn.network.layers import (
    Activation,
    Backbone,
    BatchNorm,
    Conv,
    Dense,
    Dropout,
    Flatten,
    Layer,
    Pool,
    Shape,
    output_shapes,
    window_and_stride,
)
from sklearn_cnn.network.outputs import blank_images
from sklearn_cnn.network.stages import backbone_modules

ModuleFactory = Callable[[tuple[int, int, int], int], nn.Module]

Design = Sequence[Layer] | ModuleFactory
"""The design of a network: descriptions of layers, or a user-defined function."""

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
}

NAMES: dict[type, str] = {
    Conv: "conv",
    Pool: "pool",
    Flatten: "flatten",
    Dense: "dense",
    Dropout: "dropout",
    BatchNorm: "norm",
    Activation: "activation",
}


def build_network(
    design: Design,
    image_shape: tuple[int, int, int],
    n_outputs: int,
    mean: np.ndarray,
    std: np.ndarray,
    dtype: torch.dtype | str = torch.float32,
    device: torch.device | None = None,
) -> nn.Sequential:
    """Build the module that computes outputs from raw pixels.

    Parameters
    ----------
    design : sequence of layer descriptions, or callable (image_shape, n_outputs) -> Module
        Descriptions without the output layer, which is added, or a callable. The module that the
        callable returns takes standardised images of shape (n, channels, height, width).
    image_shape : tuple of int
        Height, width, channels.
    n_outputs : int
        Number of classes, labels or targets.
    mean, std : ndarray of shape (channels,), float64
        Values that the first layer, ``normalize``, subtracts and divides by. Three values each
        convert grayscale images to the colour images that a backbone takes.
    dtype : torch.dtype or its name
        Floating-point type of the weights. A saved net holds the name, which formats other than
        pickle support.
    device : torch.device or None, default=None
        Device of the later computation, for the checks of a user-defined module. None means the
        CPU. The module is always built on the CPU.

    Returns
    -------
    torch.nn.Sequential
        Named layers: ``normalize``, ``conv1``, ``pool1``, ``norm1``, ``activation1``, ...,
        ``flatten``, ``dense1``, ..., ``output``; or ``normalize`` and ``network`` for a callable.
        It takes pixels of shape (n, channels, height, width) of any dtype.

    Raises
    ------
    ValueError, TypeError
        If the layers do not fit each other or the image, or the callable does not return a module
        with the required number of outputs.
    """
    dtype = getattr(torch, dtype) if isinstance(dtype, str) else dtype
    normalize = modules.Normalize(mean, std, dtype)
    if not callable(design):
        described = _described_modules(design, image_shape, n_outputs, dtype)
        network = nn.Sequential(OrderedDict(normalize=normalize, **described))
        lay_out(network, torch.channels_last)
        return network.train()
    module = _made_module(design, image_shape, n_outputs)
    network = nn.Sequential(OrderedDict(normalize=normalize, network=module))
    # not to(dtype), which makes complex weights real
    network = network.double() if dtype == torch.float64 else network.float()
    lay_out(network, torch.contiguous_format)
    for layer in module.modules():
        if isinstance(layer, modules.Normalize) and not layer.is_left_to_another:
            normalize.leave_to(layer)  # a fitted network, or a part of one
            break
    watch = _check_outputs(network, image_shape, n_outputs)  # gives lazy layers their shapes
    if watch.draws and may_train_in_parts(module):
        raise ValueError(
            "The module that layers returned has trains_in_parts = True, but draws random "
            f"numbers in training ({watch.draws}) from a generator shared by all threads. Only "
            "draw them with torch.nn.Dropout, or remove trains_in_parts."
        )
    if watch.is_unsound and (device is None or device.type == "cpu"):
        raise ValueError(
            "The module that layers returned converts images to channels_last memory before a "
            "1 x 1 convolution with a stride, whose gradient corrupts memory on CPUs. Remove the "
            "conversion, or convolve x[:, :, ::s, ::s] with a stride of 1."
        )
    normalize.is_contiguous_on_cpus = watch.has_strided_pointwise
    if not watch.has_strided_pointwise:
        lay_out(network, torch.channels_last)
    return network.train()


def check_same_network(requested: Design, fitted: Design) -> None:
    """Raise if the parameters now describe another network than the one to train further.

    Parameters
    ----------
    requested, fitted : tuple of layer descriptions, or callable
        The design of the parameters, and the design of the net.

    Raises
    ------
    ValueError
        If they differ, with the first layer that differs.
    """
    if requested == fitted:
        return
    difference = "layers is a different function"
    if not callable(requested) and not callable(fitted):
        pairs = zip_longest(requested, fitted, fillvalue="the output layer")
        now, before = next(pair for pair in pairs if pair[0] != pair[1])
        difference = f"{now} instead of {before}"
    raise ValueError(
        "warm_start and partial_fit continue with the network of the first fit, but the parameters "
        f"now describe another one: {difference}. Reset them, or call fit with warm_start=False "
        "to start again."
    )


def may_train_in_parts(module: nn.Module) -> bool:
    """Tell whether a user-defined module declares that its replicas may share a batch."""
    return getattr(module, "trains_in_parts", False) is True


def lay_out(network: nn.Module, memory_format: torch.memory_format) -> None:
    """Put the weights of convolutions in a memory format."""
    for weight in network.parameters():
        if not is_lazy(weight) and weight.ndim == 4:
            # not contiguous(), which leaves the strides of a kernel of one pixel as they are
            weight.data = weight.data.clone(memory_format=memory_format)


def _described_modules(
    layers: Sequence[Layer], image_shape: tuple[int, int, int], n_outputs: int, dtype: torch.dtype
) -> dict[str, nn.Module]:
    height, width, channels = image_shape
    shapes: list[Shape] = [(channels, height, width), *output_shapes(layers, image_shape)]
    counts: Counter[str] = Counter()
    described: dict[str, nn.Module] = {}
    for layer, shape in zip(layers, shapes, strict=False):
        if isinstance(layer, Backbone):
            described |= backbone_modules(layer, dtype)
            continue
        kind = NAMES[type(layer)]
        counts[kind] += 1
        name = kind if isinstance(layer, Flatten) else f"{kind}{counts[kind]}"
        described[name] = _described_module(layer, shape, dtype)
    described["output"] = nn.Linear(shapes[-1][0], n_outputs, dtype=dtype)
    return described


def _described_module(
    layer: Conv | Pool | Flatten | Dense | Dropout | BatchNorm | Activation,
    shape: Shape,
    dtype: torch.dtype,
) -> nn.Module:
    """Build one layer for inputs of ``shape``, (channels, height, width) or (values,)."""
    match layer:
        case Conv():
            kernel, stride = window_and_stride(layer)
            is_even = kernel[0] % 2 == 0 or kernel[1] % 2 == 0
            conv, padding = nn.Conv2d, (0, 0)
            if layer.padding == "same" and is_even:
                conv = modules.SamePaddedConv2d
            elif layer.padding == "same":
                padding = (kernel[0] // 2, kernel[1] // 2)
            if kernel == (1, 1) and max(stride) > 1:
                conv = modules.StridedPointwise
            bias = layer.bias
            return conv(shape[0], layer.channels, kernel, stride, padding, bias=bias, dtype=dtype)
        case Pool():
            pool = modules.MaxPool2d if layer.kind == "max" else nn.AvgPool2d
            return pool(*window_and_stride(layer))
        case Flatten():
            return modules.Flatten()
        case Dense():
            return nn.Linear(shape[0], layer.units, dtype=dtype)
        case Dropout():
            return modules.Dropout(layer.rate)
        case BatchNorm():
            norm = modules.BatchNorm2d if len(shape) == 3 else modules.BatchNorm1d
            return norm(shape[0], dtype=dtype)
        case Activation():
            return ACTIVATIONS[layer.name]()


def _made_module(
    layers: ModuleFactory, image_shape: tuple[int, int, int], n_outputs: int
) -> nn.Module:
    if isinstance(layers, nn.Module):
        raise TypeError(
            "layers must be a sequence of layer descriptions, or a callable (image_shape, "
            f"n_outputs) that returns a torch.nn.Module. Got a module, {type(layers).__name__}. "
            "Pass a function that makes the module, so that every fit starts with new weights."
        )
    try:
        inspect.signature(layers).bind(image_shape, n_outputs)
    except TypeError as error:
        raise TypeError(
            f"layers must be callable as layers(image_shape, n_outputs), where image_shape is "
            f"(height, width, channels). Got {layers!r}: {error}."
        ) from error
    except ValueError:
        pass  # a callable written in C may have no signature
    module: object = layers(image_shape, n_outputs)
    if not isinstance(module, nn.Module):
        raise TypeError(
            "layers must be a sequence of layer descriptions, or a callable that returns a "
            f"torch.nn.Module. The callable returned {type(module).__name__}."
        )
    if isinstance(module, torch.jit.ScriptModule):
        raise TypeError(
            "layers must return a module that can be copied and pickled. The callable returned a "
            "TorchScript module. Return the module from which it was made."
        )
    if any(values.is_meta for values in (*module.parameters(), *module.buffers())):
        raise ValueError(
            "The module that layers returned has weights on the 'meta' device, which holds no "
            "values. Make it on the CPU. fit moves it to the device given by the parameter device."
        )
    return modules.copy_network(module).cpu()  # it may be one that earlier fits have used


def _check_outputs(
    network: nn.Sequential, image_shape: tuple[int, int, int], n_outputs: int
) -> modules.ModuleWatch:
    """Run blank images through a user-defined module, check its outputs, and return what ran."""
    watch = modules.ModuleWatch()
    with watch, torch.no_grad():
        outputs = _outputs_of_blank_images(network.eval(), image_shape, 1, n_outputs)
    if n_outputs > 1 and outputs.min() >= 0 and abs(float(outputs.sum()) - 1) < 1e-5:
        warn(
            "The module that layers returned outputs probabilities, as if it ended in a softmax. "
            "The loss needs logits. Remove the softmax; predict_proba applies it."
        )
    # a copy, because a training step changes statistics and possibly other state of a module
    with watch, torch.random.fork_rng(devices=[]):
        copy = modules.copy_network(network).train()
        modules.seed_dropout(copy, 0)
        watch.draws = ""  # drawing the first weights of lazy layers is allowed
        outputs = _outputs_of_blank_images(copy, image_shape, 2, n_outputs)
    if not outputs.requires_grad and any(weight.requires_grad for weight in network.parameters()):
        raise ValueError(
            "The module that layers returned has outputs without a gradient, so nothing can be "
            "learnt. Remove the operation that stops the gradient: detach(), torch.no_grad(), a "
            "conversion to NumPy, or argmax."
        )
    return watch


def _outputs_of_blank_images(
    network: nn.Module, image_shape: tuple[int, int, int], n_images: int, n_outputs: int
) -> torch.Tensor:
    pixels = blank_images(n_images, image_shape)
    try:
        outputs: object = network(pixels)
    except Exception as error:  # of any type, from a user-defined module
        use = "be trained on" if network.training else "take"
        raise ValueError(
            f"The module that layers returned cannot {use} images of shape {tuple(pixels.shape)} "
            f"(n, channels, height, width): {error}"
        ) from error
    images = "one image" if n_images == 1 else f"{n_images} images in training"
    expected = (
        f"The module that layers returned must return {n_outputs} outputs per image, one for each "
        f"class or target: expected shape {(n_images, n_outputs)} for {images}, got"
    )
    if not isinstance(outputs, torch.Tensor):
        raise ValueError(
            f"{expected} {type(outputs).__name__}. The module must only return the logits, also in "
            "training: disable auxiliary outputs (aux_logits=False), or select the logits in the "
            "forward of a wrapper module."
        )
    if outputs.shape != (n_images, n_outputs):
        raise ValueError(f"{expected} {tuple(outputs.shape)}.")
    if outputs.dtype not in (torch.float32, torch.float64):
        raise ValueError(
            f"The module that layers returned must return logits of torch.float32, got "
            f"{outputs.dtype}. Convert them with .float() at the end, or remove what rounds them."
        )
    return outputs
