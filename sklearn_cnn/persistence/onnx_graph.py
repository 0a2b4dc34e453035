"""A network as an ONNX graph, written from its modules, without torch's exporter.

Each supported module has a translation in the table, for prediction in float32.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from sklearn_cnn.network import modules
from sklearn_cnn.network.efficientnet import InvertedResidual, SameConv2d

if TYPE_CHECKING:
    from onnx import NodeProto, TensorProto

OPSET, IR_VERSION = 20, 10


@dataclass
class Graph:
    """Nodes and constants of a graph; values are identified by their names."""

    nodes: list["NodeProto"] = field(default_factory=list)
    constants: list["TensorProto"] = field(default_factory=list)

    def constant(self, values: np.ndarray) -> str:
        """Add a constant, and return its name."""
        from onnx import numpy_helper

        name = f"cnn_constant{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def weight(self, tensor: torch.Tensor) -> str:
        """Add weights as float32."""
        return self.constant(tensor.detach().cpu().to(torch.float32).numpy())

    def add(
        self, kind: str, inputs: Sequence[str], output: str | None = None, **attributes: Any
    ) -> str:
        """Add a node with one output, and return the name of the output."""
        from onnx import helper

        name = output or f"cnn_value{len(self.nodes)}"
        node = f"cnn_{kind}{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=node, **attributes))
        return name

    def run(self, module: nn.Module, value: str) -> str:
        """Add the computation of a module on a value, and return the name of the result.

        Raises
        ------
        TypeError
            If the module is not supported.
        """
        for cls in type(module).__mro__:
            if cls in TRANSLATIONS:
                return TRANSLATIONS[cls](self, module, value)
        raise TypeError(
            f"export_onnx does not support the module {type(module).__name__}. Export net_.module_ "
            "with torch.onnx.export(dynamo=True), which supports any module."
        )


def _normalize(graph: Graph, module: Any, value: str) -> str:
    if module.is_left_to_another:
        return value
    centred = graph.add("Sub", [value, graph.weight(module.mean)])
    return graph.add("Mul", [centred, graph.weight(module.scale)])


def _conv(graph: Graph, module: Any, value: str) -> str:
    kernel, pads = list(module.kernel_size), [*module.padding, *module.padding]
    options: dict[str, Any] = {"pads": pads}
    if isinstance(module, modules.SamePaddedConv2d):
        height, width = kernel
        options = {"pads": [(height - 1) // 2, (width - 1) // 2, height // 2, width // 2]}
    elif isinstance(module, SameConv2d):
        options = {"auto_pad": "SAME_UPPER"}
    inputs = [value, graph.weight(module.weight)]
    if module.bias is not None:
        inputs.append(graph.weight(module.bias))
    return graph.add(
        "Conv",
        inputs,
        kernel_shape=kernel,
        strides=list(module.stride),
        group=module.groups,
        **options,
    )


def _norm(graph: Graph, module: Any, value: str) -> str:
    own = (module.weight, module.bias, module.running_mean, module.running_var)
    return graph.add(
        "BatchNormalization", [value, *map(graph.weight, own)], epsilon=float(module.eps)
    )


def _pool(graph: Graph, module: Any, value: str) -> str:
    kind = "MaxPool" if isinstance(module, nn.MaxPool2d) else "AveragePool"
    return graph.add(
        kind, [value], kernel_shape=list(module.kernel_size), strides=list(module.stride)
    )


def _flatten(graph: Graph, module: Any, value: str) -> str:
    return flatten(graph, value)


def flatten(graph: Graph, value: str) -> str:
    """Flatten maps to a vector, and return its name."""
    last = graph.add("Transpose", [value], perm=[0, 2, 3, 1])  # pixel by pixel
    return graph.add("Flatten", [last], axis=1)


def _dense(graph: Graph, module: Any, value: str) -> str:
    inputs = [value, graph.weight(module.weight), graph.weight(module.bias)]
    return graph.add("Gemm", inputs, transB=1)


def _silu(graph: Graph, module: Any, value: str) -> str:
    return graph.add("Mul", [value, graph.add("Sigmoid", [value])])


def _relu6(graph: Graph, module: Any, value: str) -> str:
    bounds = (graph.constant(np.array(bound, np.float32)) for bound in (0, 6))
    return graph.add("Clip", [value, *bounds])


def _sequential(graph: Graph, module: Any, value: str) -> str:
    for child in module:
        value = graph.run(child, value)
    return value


def _residual(graph: Graph, module: Any, value: str) -> str:
    maps = _sequential(graph, module, value)
    return graph.add("Add", [value, maps]) if module.is_residual else maps


def _mean_of_maps(graph: Graph, module: Any, value: str) -> str:
    return graph.add("GlobalAveragePool", [value])


def _named(kind: str, **attributes: Any) -> Callable[[Graph, Any, str], str]:
    """Return the translation of a module that is a single operator."""
    return lambda graph, module, value: graph.add(kind, [value], **attributes)


def _nothing(graph: Graph, module: Any, value: str) -> str:
    return value


TRANSLATIONS: dict[type, Callable[[Graph, Any, str], str]] = {
    modules.Normalize: _normalize,
    nn.Conv2d: _conv,
    nn.BatchNorm2d: _norm,
    nn.BatchNorm1d: _norm,
    nn.MaxPool2d: _pool,
    nn.AvgPool2d: _pool,
    nn.AdaptiveAvgPool2d: _mean_of_maps,
    modules.Flatten: _flatten,
    nn.Linear: _dense,
    nn.Dropout: _nothing,
    nn.ReLU: _named("Relu"),
    nn.LeakyReLU: _named("LeakyRelu", alpha=0.01),
    nn.ELU: _named("Elu", alpha=1.0),
    nn.GELU: _named("Gelu"),
    nn.Tanh: _named("Tanh"),
    nn.Sigmoid: _named("Sigmoid"),
    nn.SiLU: _silu,
    nn.ReLU6: _relu6,
    InvertedResidual: _residual,
    nn.Sequential: _sequential,
}
"""Translations of each kind of module."""
