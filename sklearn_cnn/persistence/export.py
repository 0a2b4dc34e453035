"""export_onnx: a model with its preprocessing, for machines without Python."""

import json
import os
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import BaseEstimator, is_classifier
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

import sklearn_cnn
from sklearn_cnn._messages import check_choice
from sklearn_cnn.classifier import CNNClassifier
from sklearn_cnn.files.reader import ImageReader
from sklearn_cnn.machine.atomic import write_atomically
from sklearn_cnn.network.pretrained import load_pretrained, published
from sklearn_cnn.persistence.onnx_graph import IR_VERSION, OPSET, Graph, flatten
from sklearn_cnn.pretrained.features import PretrainedFeatures
from sklearn_cnn.regressor import CNNRegressor

if TYPE_CHECKING:
    from onnx import ModelProto, ValueInfoProto

OUTPUTS = ("probabilities", "features")

Learner = CNNClassifier | CNNRegressor


def export_onnx(
    model: BaseEstimator, path: str | os.PathLike[str], *, output: str = "probabilities"
) -> None:
    """Export a fitted model with its preprocessing to an ONNX file.

    Parameters
    ----------
    model : estimator
        A fitted ``CNNClassifier`` or ``CNNRegressor``, a ``PretrainedFeatures`` of a published
        network, or a ``Pipeline`` that contains one of them. The pipeline may start with an
        ``ImageReader``. Files are then decoded outside of the graph, and the parameters of the
        reader are in the metadata. The pipeline may end with scikit-learn estimators that learn
        from the features; they are exported by skl2onnx.
    path : str or path
        Path of the file, such as "model.onnx". An existing file is replaced.
    output : {"probabilities", "features"}, default="probabilities"
        Output of the graph: the predictions of the model, or the output of ``transform``.

    Raises
    ------
    ImportError
        If onnx or, where it is needed, skl2onnx is not installed. The extra ``onnx`` installs both.
    ValueError, TypeError
        If the model is not supported, or its network is a module made by a callable ``layers``.
    NotFittedError
        If the model is not fitted.
    OSError
        If the file cannot be written.

    See Also
    --------
    save_model : Save a model for Python, which can be trained further.

    Notes
    -----
    The graph has one input, ``pixels`` of shape (n, height, width, channels), for any n. Its type
    is uint8 if the training images were whole numbers from 0 to 255 or the model is a
    ``PretrainedFeatures``, and float32 otherwise. The outputs are named as in scikit-learn's own
    converters: ``label`` (int64, text, or the indicator matrix of a multilabel model) and
    ``probabilities`` for a classifier, ``variable`` in the units of ``y`` for a regressor, or
    ``features``. The graph computes in float32, regardless of the precision of the model. It does
    not check the range of the pixels, which is in the metadata, as JSON under ``sklearn_cnn``.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_cnn import CNNClassifier, export_onnx
    >>> images, y = load_digits().images[:200], load_digits().target[:200]
    >>> classifier = CNNClassifier(16, max_epochs=1).fit(images, y)
    >>> path = Path(tempfile.mkdtemp(), "digits.onnx")
    >>> export_onnx(classifier, path)
    >>> path.stat().st_size > 100_000
    True
    """
    try:
        import onnx
    except ImportError as error:
        raise ImportError(
            "export_onnx needs onnx, which is not installed: pip install 'sklearn-cnn[onnx]'."
        ) from error
    check_choice(output, "output", OUTPUTS)
    reader, learner, after = _take_apart(model)
    graph = Graph()
    joined = after if output == "probabilities" else None
    name = "features" if joined is None else "cnn_features"
    if isinstance(learner, PretrainedFeatures):
        pixels, outputs = _write_pretrained(graph, learner, reader, name)
    elif output == "features" or joined is not None:
        pixels, outputs = _write_features(graph, learner, name)
    else:
        pixels, outputs = _write(graph, learner)
    made = onnx.helper.make_graph(graph.nodes, "sklearn_cnn", [pixels], outputs, graph.constants)
    exported: ModelProto = onnx.helper.make_model(
        made,
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="sklearn_cnn",
        producer_version=sklearn_cnn.__version__,
    )
    if joined is not None:
        exported = _joined(exported, joined)
    described = json.dumps(_describe(learner, reader, after))
    onnx.helper.set_model_props(exported, {"sklearn_cnn": described})
    onnx.checker.check_model(exported, full_check=True)
    write_atomically(path, exported.SerializeToString())


def _take_apart(
    model: object,
) -> tuple[ImageReader | None, Learner | PretrainedFeatures, Pipeline | None]:
    """Return the reader before a network, the network, and the steps after it."""
    steps = [("", model)]
    if isinstance(model, Pipeline):
        steps = [(name, step) for name, step in model.steps if step not in (None, "passthrough")]
    reader = None
    if len(steps) > 1 and isinstance(steps[0][1], ImageReader):
        reader, steps = steps[0][1], steps[1:]
    learner = steps[0][1] if steps else None
    after = Pipeline(steps[1:]) if len(steps) > 1 else None
    if isinstance(learner, PretrainedFeatures):
        return reader, learner, after
    if not isinstance(learner, CNNClassifier | CNNRegressor):
        ends = ""
        if isinstance(model, Pipeline):
            ends = f" of {' -> '.join(type(step).__name__ for _, step in model.steps)}"
        raise TypeError(
            "model must be a fitted CNNClassifier or CNNRegressor, a PretrainedFeatures, or a "
            "Pipeline of an ImageReader, one of them, and estimators of scikit-learn. Got a "
            f"{type(model).__name__}{ends}."
        )
    check_is_fitted(learner)
    if callable(learner.net_.design):
        raise ValueError(
            "model has a network that was made by a callable layers, which export_onnx cannot "
            "write. Export net_.module_ with torch.onnx.export(dynamo=True). It takes raw pixels "
            "of shape (n, channels, height, width)."
        )
    return reader, learner, after


def _joined(network: "ModelProto", after: Pipeline) -> "ModelProto":
    """Return the network joined with the estimators that learn from its features."""
    import onnx

    try:
        import skl2onnx
    except ImportError as error:
        raise ImportError(
            "export_onnx needs skl2onnx for the estimators after the network, but it is not "
            "installed: pip install skl2onnx. Without it, output='features' exports the network."
        ) from error
    (features,) = network.graph.output
    n_features = features.type.tensor_type.shape.dim[1].dim_value
    initial = [("features", skl2onnx.common.data_types.FloatTensorType([None, n_features]))]
    options = {id(after.steps[-1][1]): {"zipmap": False}} if is_classifier(after) else {}
    written = skl2onnx.to_onnx(
        after, initial_types=initial, options=options, target_opset={"": OPSET, "ai.onnx.ml": 3}
    )
    written.ir_version = IR_VERSION
    return onnx.compose.merge_models(network, written, io_map=[("cnn_features", "features")])


def _begin(
    graph: Graph, shape: Sequence[int | str], *, takes_bytes: bool
) -> tuple["ValueInfoProto", str]:
    """Write the input of the graph; return it, and the name of the network's input."""
    from onnx import TensorProto, helper

    kind = TensorProto.UINT8 if takes_bytes else TensorProto.FLOAT
    pixels = helper.make_tensor_value_info("pixels", kind, ["n", *shape])
    value = graph.add("Transpose", ["pixels"], perm=[0, 3, 1, 2])
    if kind == TensorProto.UINT8:
        value = graph.add("Cast", [value], to=TensorProto.FLOAT)
    return pixels, value


def _write_features(
    graph: Graph, learner: Learner, name: str
) -> tuple["ValueInfoProto", list["ValueInfoProto"]]:
    """Write the graph of ``transform``; return its input and output."""
    from onnx import TensorProto, helper

    takes_bytes = _takes_bytes(learner)
    pixels, value = _begin(graph, learner.image_shape_, takes_bytes=takes_bytes)
    layers = dict(learner.net_.module_.named_children())
    asked, *_, last = learner.feature_layer, *layers
    if asked != "dense" and asked not in layers:
        raise ValueError(
            f"export_onnx needs feature_layer='dense' or the name of a layer: "
            f"{', '.join(layers)}. Got feature_layer={asked!r}."
        )
    for layer, module in layers.items():
        if asked == "dense" and layer == last:
            break
        value = graph.run(module, value)
        if layer == asked:
            rows = {row.name: row for row in learner.layers_}
            value = flatten(graph, value) if len(rows[layer].output_shape) == 3 else value
            break
    graph.add("Identity", [value], name)
    n_features = learner._n_features_out
    return pixels, [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", n_features])]


def _write_pretrained(
    graph: Graph, features: PretrainedFeatures, reader: ImageReader | None, name: str
) -> tuple["ValueInfoProto", list["ValueInfoProto"]]:
    """Write a published network, for uint8 images of any size, or of the reader's size."""
    from onnx import TensorProto, helper

    if not isinstance(features.network, str):
        raise ValueError(
            "export_onnx only writes published networks, such as network='efficientnet_lite0'. "
            f"Got network={features.network!r}. Export its module with "
            "torch.onnx.export(dynamo=True)."
        )
    if reader is not None and np.dtype(reader.dtype) != np.uint8:
        raise ValueError(
            f"export_onnx writes PretrainedFeatures for uint8 images. Got ImageReader(dtype="
            f"{reader.dtype!r}). Use dtype='uint8'."
        )
    known = published(features.network)
    network = load_pretrained(features.network, features.weights)
    mean, std = (
        255 * np.resize(np.asarray(default if given is None else given, np.float64), 3)
        for given, default in ((features.mean, known.mean), (features.std, known.std))
    )
    channels = 1 if reader is not None and reader.mode == "L" else 3
    sides: list[str | int] = ["height", "width"]
    if reader is not None and reader.size is not None:
        size = reader.size
        sides = [int(side) for side in np.resize(np.asarray(size), 2)]
    pixels, value = _begin(graph, [*sides, channels], takes_bytes=True)
    # the constants have three channels, so that one channel becomes three
    for kind, constant in (("Sub", mean), ("Mul", 1 / std)):
        of_channels = constant.astype(np.float32).reshape(1, 3, 1, 1)
        value = graph.add(kind, [value, graph.constant(of_channels)])
    value = graph.add("GlobalAveragePool", [graph.run(network, value)])
    graph.add("Flatten", [value], name, axis=1)
    n_features = known.n_features
    return pixels, [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", n_features])]


def _write(graph: Graph, learner: Learner) -> tuple["ValueInfoProto", list["ValueInfoProto"]]:
    """Write the graph of the predictions; return its input and outputs."""
    from onnx import TensorProto, helper

    takes_bytes = _takes_bytes(learner)
    pixels, value = _begin(graph, learner.image_shape_, takes_bytes=takes_bytes)
    value = graph.run(learner.net_.module_, value)
    n_outputs = learner.net_.objective.n_outputs
    if isinstance(learner, CNNRegressor):
        scale, mean = learner.target_scale_.scale, learner.target_scale_.mean
        value = graph.add("Mul", [value, graph.constant(scale.astype(np.float32))])
        graph.add("Add", [value, graph.constant(mean.astype(np.float32))], "variable")
        return pixels, [
            helper.make_tensor_value_info("variable", TensorProto.FLOAT, ["n", n_outputs])
        ]
    shares = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", n_outputs])
    if learner.multilabel_:
        graph.add("Sigmoid", [value], "probabilities")
        zero = graph.constant(np.zeros((), np.float32))
        graph.add("Cast", [graph.add("Greater", [value, zero])], "label", to=TensorProto.INT64)
        label = helper.make_tensor_value_info("label", TensorProto.INT64, ["n", n_outputs])
        return pixels, [label, shares]
    graph.add("Softmax", [value], "probabilities", axis=1)
    winner = graph.add("ArgMax", [value], axis=1, keepdims=0)
    names = _names_of(learner.classes_)
    graph.add("Gather", [graph.constant(names), winner], "label")
    of_label = TensorProto.STRING if names.dtype == object else TensorProto.INT64
    return pixels, [helper.make_tensor_value_info("label", of_label, ["n"]), shares]


def _takes_bytes(learner: Learner) -> bool:
    spec = learner.image_spec_
    return spec.whole and spec.low >= 0 and spec.high <= 255


def _names_of(classes: np.ndarray) -> np.ndarray:
    """Return classes as integers if they are whole numbers, and as text otherwise."""
    if classes.dtype.kind in "biu":
        return classes.astype(np.int64)
    if classes.dtype.kind == "f" and (classes == np.floor(classes)).all():
        return classes.astype(np.int64)
    return np.array([str(label) for label in classes], dtype=object)


def _describe(
    learner: Learner | PretrainedFeatures, reader: ImageReader | None, after: Pipeline | None
) -> Mapping[str, Any]:
    """Return the metadata of the graph."""
    described: dict[str, Any] = {
        "layout": "channels_last",
        "versions": {"sklearn_cnn": sklearn_cnn.__version__, "onnx": version("onnx")},
    }
    if isinstance(learner, PretrainedFeatures):
        described |= {"network": learner.network, "range": [0, 255], "whole": True}
    else:
        spec = learner.image_spec_
        described |= {
            "image_shape": list(spec.shape),
            "range": [float(spec.low), float(spec.high)],
            "whole": bool(spec.whole),
        }
    if after is not None:
        described["steps_after"] = [type(step).__name__ for _, step in after.steps]
    elif isinstance(learner, CNNClassifier):
        described["classes"] = _names_of(learner.classes_).tolist()
        described["multilabel"] = bool(learner.multilabel_)
    if reader is not None:
        size = reader.size
        described["reader"] = {
            "size": size if size is None or isinstance(size, int) else [int(n) for n in size],
            "mode": reader.mode,
            "resize": reader.resize,
            "background": np.asarray(reader.background).tolist(),
            "dtype": str(np.dtype(reader.dtype)),
            "value_range": None
            if reader.value_range is None
            else [float(n) for n in reader.value_range],
        }
    return described
