"""The nodes of CNNClassifier and CNNRegressor: their net, its training state, and their targets.

The network is built on torch's meta device, without allocating memory. Its names, shapes and types
are compared with those of the file before any array is read.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import isfinite, prod
from typing import Any

import numpy as np
import torch
from skorch.history import History
from torch import nn

from sklearn_cnn.classifier import CNNClassifier
from sklearn_cnn.machine.device import WEIGHT_DTYPES, resolve_device
from sklearn_cnn.network.build import build_network, lay_out
from sklearn_cnn.network.layers import Backbone
from sklearn_cnn.network.outputs import layer_table
from sklearn_cnn.persistence.nodes import (
    Node,
    Read,
    Written,
    check_keys,
    count_of,
    decode_names,
    encode_names,
    encode_parameters,
    make_estimator,
    number_of,
)
from sklearn_cnn.persistence.values import (
    NotKept,
    decode_labels,
    decode_value,
    encode_labels,
    encode_value,
)
from sklearn_cnn.pixels.spec import ImageSpec
from sklearn_cnn.regressor import CNNRegressor
from sklearn_cnn.training.net import ConvNet
from sklearn_cnn.training.numbers import TargetScale
from sklearn_cnn.training.objectives import Numbers, Objective, OneClass, SeveralLabels
from sklearn_cnn.training.optimizer import OPTIMIZERS, OptimizerRecipe

Learner = CNNClassifier | CNNRegressor

LEARNERS: dict[str, type[Learner]] = {
    "CNNClassifier": CNNClassifier,
    "CNNRegressor": CNNRegressor,
}
"""Kinds of nodes, by name."""

Factory = Callable[..., nn.Module]

LARGEST_IMAGE = 1 << 28
"""Maximum number of values of an image, so that a single one does not take all memory."""

MOST_LAYERS = 10_000

MOMENTS = {
    "acc_delta", "ax", "eta", "exp_avg", "exp_avg_sq", "exp_inf", "momentum_buffer", "mu",
    "mu_product", "square_avg", "step", "sum",
}  # fmt: skip
"""Names of the state of each weight in the optimizers of ``OPTIMIZERS``."""


def describe_learner(model: Learner, place: str, written: Written) -> Node:
    """Return the node of a fitted learner, and write its arrays.

    Raises
    ------
    NotKept
        If it holds values that cannot be saved.
    """
    net = model.net_
    function = model.layers if callable(model.layers) else None
    node: Node = {"kind": type(model).__name__}
    node["parameters"] = encode_parameters(model, **({"layers": None} if function else {}))
    if callable(net.design):
        node["layers_function"] = str(getattr(net.design, "__name__", type(net.design).__name__))
    else:
        node["design"] = encode_value(list(net.design))
    node |= encode_names(model)
    spec = model.image_spec_
    node["images"] = {
        "shape": list(spec.shape),
        "channels_first": bool(spec.channels_first),
        "low": float(spec.low),
        "high": float(spec.high),
        "whole": bool(spec.whole),
        "doubt": int(spec.doubt),
    }
    if isinstance(model, CNNClassifier):
        node["classes"] = encode_labels(model.classes_)
        node["multilabel"] = bool(model.multilabel_)
    else:
        node["is_single"] = model.target_scale_.is_single
        written.put(f"{place}target.mean", model.target_scale_.mean)
        written.put(f"{place}target.scale", model.target_scale_.scale)
    for name, value in net.module_.state_dict().items():
        written.put(f"{place}net.{name}", _as_numpy(value))
    node["training"] = _describe_training(model, place, written)
    return node


def _as_numpy(value: torch.Tensor) -> np.ndarray:
    if value.dtype in (torch.bfloat16, torch.float16) or value.is_complex():
        raise NotKept(f"has weights of the type {value.dtype}")
    return value.detach().cpu().contiguous().numpy()


def _describe_training(model: Learner, place: str, written: Written) -> Node:
    """Return the training state of a learner, and its attributes about the training."""
    net = model.net_
    recipe, optimizer = net.optimizer, net.optimizer_
    if not isinstance(recipe.optimizer, str):
        raise NotKept("optimizer= was a class when it was fitted, but files hold no code")
    names = {id(weight): name for name, weight in net.module_.named_parameters()}
    for weight, moments in optimizer.state.items():
        for key, value in moments.items():
            if key in MOMENTS and isinstance(value, torch.Tensor):
                written.put(f"{place}optimizer.{key}.{names[id(weight)]}", _as_numpy(value))
            elif value is not None:
                raise NotKept(f"has an optimizer with the unsupported state {key}")
    groups = [
        {key: encode_value(value) for key, value in group.items() if key != "params"}
        for group in optimizer.param_groups
    ]
    device, precision = model._placed_by
    return {
        "frozen": [n for n, w in net.module_.named_parameters() if not w.requires_grad],
        "optimizer": recipe.optimizer,
        "learning_rate": float(recipe.learning_rate),
        "weight_decay": float(recipe.weight_decay),
        "groups": groups,
        "batch_size": int(net.batch_size),
        "device": str(net.device),
        "precision": net.precision,
        "placed_by": [str(device), str(precision)],
        "history": [_kept_of(epoch) for epoch in net.history],
        "n_epochs_of_fits": int(net.n_epochs_of_fits),
        "n_iter": int(model.n_iter_),
        "loss_curve": [float(loss) for loss in model.loss_curve_],
        "validation_scores": model.validation_scores_
        and [float(score) for score in model.validation_scores_],
        "log_unit": float(model._log_unit),
    }


def _kept_of(epoch: Mapping[str, object]) -> dict[str, object]:
    """Return the values of an epoch in the history, without those of its batches."""
    figures = {name: x.item() if isinstance(x, np.generic) else x for name, x in epoch.items()}
    return {
        name: value
        for name, value in figures.items()
        if isinstance(value, bool | int | str) or (isinstance(value, float) and isfinite(value))
    }


def rebuild_learner(node: Node, place: str, read: Read, layers: Factory | None) -> Learner:
    """Make the fitted learner of a node.

    Raises
    ------
    ValueError
        If the node and the arrays are inconsistent, or ``layers`` is missing.
    """
    of_kind = {"CNNClassifier": ("classes", "multilabel"), "CNNRegressor": ("is_single",)}
    check_keys(
        node,
        ("kind", "parameters", "images", "training", *of_kind[node["kind"]]),
        ("design", "layers_function", "n_features", "feature_names", "output"),
    )
    has_function = "layers_function" in node
    model: Learner = make_estimator(
        LEARNERS[node["kind"]], node["parameters"], **({"layers": layers} if has_function else {})
    )
    decode_names(node, model)
    spec = model.image_spec_ = _read_images(node["images"])
    model.image_shape_ = spec.shape
    objective = _read_targets(node, model, place, read)
    training = check_keys(
        node["training"],
        (
            "frozen", "optimizer", "learning_rate", "weight_decay", "groups", "batch_size",
            "device", "precision", "placed_by", "history", "n_epochs_of_fits", "n_iter",
            "loss_curve", "validation_scores", "log_unit",
        ),
    )  # fmt: skip
    design: Factory | tuple[Any, ...]
    design = layers if has_function and layers else _read_design(node.get("design"))
    model.net_ = _read_net(design, spec.shape, objective, training, place, read)
    model.layers_ = model.net_.layers_
    _read_course(model, training)
    return model


def _read_images(node: object) -> ImageSpec:
    images = check_keys(node, ("shape", "channels_first", "low", "high", "whole", "doubt"))
    shape = images["shape"]
    if not isinstance(shape, list) or len(shape) != 3 or any(type(n) is not int for n in shape):
        raise ValueError("the shape of the images is damaged")
    if min(shape) < 1 or prod(shape) > LARGEST_IMAGE:
        raise ValueError(f"images of {' x '.join(map(str, shape))} are too large, or empty")
    low, high = number_of(images, "low"), number_of(images, "high")
    if low > high or images["doubt"] not in (0, 1, 2) or type(images["doubt"]) is not int:
        raise ValueError("the range of the images is damaged")
    flags = images["channels_first"], images["whole"]
    if any(type(flag) is not bool for flag in flags):
        raise ValueError("the layout of the images is damaged")
    return ImageSpec((shape[0], shape[1], shape[2]), flags[0], low, high, flags[1], images["doubt"])


def _read_targets(node: Node, model: Learner, place: str, read: Read) -> Objective:
    """Set the attributes of a learner about its targets, and return its objective."""
    if isinstance(model, CNNRegressor):
        n_targets = int(np.prod(read.shape(f"{place}target.mean")))
        values = []
        for name in ("mean", "scale"):
            read.check(f"{place}target.{name}", ["float64"], (n_targets,))
            values.append(read.take(f"{place}target.{name}"))
        is_single = node["is_single"]
        if type(is_single) is not bool or n_targets < 1 or (is_single and n_targets > 1):
            raise ValueError("the targets are damaged")
        if (values[1] < 0).any():
            raise ValueError("a standard deviation of the targets is below 0")
        model.target_scale_ = TargetScale(values[0], values[1], is_single)
        model.n_outputs_ = n_targets
        return Numbers(n_targets, model.loss)
    classes = decode_labels(node["classes"])
    if len(classes) < 2 or len(np.unique(classes)) < len(classes):
        raise ValueError("there are fewer than two classes, or they are not unique")
    model.classes_, model.multilabel_ = classes, node["multilabel"]
    if type(model.multilabel_) is not bool:
        raise ValueError("multilabel must be true or false")
    if model.multilabel_:
        return SeveralLabels(len(classes), model.label_smoothing)
    return OneClass(len(classes), model.label_smoothing)


def _read_design(value: object) -> tuple[Any, ...]:
    design = decode_value(value)
    if not isinstance(design, list) or not 1 <= len(design) <= MOST_LAYERS:
        raise ValueError("the layers of the network are missing, or too many")
    return tuple(design)


def _read_net(
    design: Factory | tuple[Any, ...],
    shape: tuple[int, int, int],
    objective: Objective,
    training: Node,
    place: str,
    read: Read,
) -> ConvNet:
    precision, device = training["precision"], _available(training["device"])
    if precision not in WEIGHT_DTYPES:
        raise ValueError(f"the precision {str(precision)[:50]!r} is unknown")
    dtype = WEIGHT_DTYPES[precision]
    is_backbone = not callable(design) and isinstance(design[0], Backbone)
    ones = np.ones(3 if is_backbone else shape[2])
    build = partial(build_network, design, shape, objective.n_outputs)
    if callable(design):
        module = build(ones, ones, dtype)  # runs code passed by the caller
    else:
        with torch.device("meta"):
            module = build(ones, ones, dtype)
            rows = layer_table(module, shape)
    _fill(module, place, read, assign=not callable(design))
    if callable(design):
        rows = layer_table(module, shape)
    else:
        lay_out(module, torch.channels_last)
    mean = module.get_buffer("normalize.mean").numpy().ravel().astype(np.float64)
    std = 1 / module.get_buffer("normalize.scale").numpy().ravel().astype(np.float64)
    if training["optimizer"] not in OPTIMIZERS:
        raise ValueError(f"the optimizer {str(training['optimizer'])[:50]!r} is unknown")
    net = ConvNet(
        partial(build, mean, std, str(dtype).removeprefix("torch."), device),
        design=design,
        optimizer=OptimizerRecipe(
            training["optimizer"],
            number_of(training, "learning_rate"),
            number_of(training, "weight_decay"),
        ),
        objective=objective,
        batch_size=count_of(training, "batch_size"),
        device=device,
        precision=precision,
    )
    parameters = dict(module.named_parameters())
    frozen = training["frozen"]
    if not isinstance(frozen, list) or not all(isinstance(n, str) for n in frozen):
        raise ValueError("the list of frozen weights is damaged")
    if not set(frozen) <= set(parameters):
        raise ValueError("a frozen weight does not exist")
    for name, weight in parameters.items():
        weight.requires_grad_(name not in frozen)
    net.resume(module, rows, _read_history(training["history"]))
    net.n_epochs_of_fits = count_of(training, "n_epochs_of_fits", least=0)
    _read_optimizer(net, training["groups"], place, read)
    return net


def _fill(module: nn.Module, place: str, read: Read, *, assign: bool) -> None:
    """Load the weights of the file into a module, after checking all of them."""
    expected = module.state_dict()
    prefix = f"{place}net."
    found = {name.removeprefix(prefix) for name in read.left if name.startswith(prefix)}
    if found != set(expected):
        other = sorted(found ^ set(expected))[0]
        raise ValueError(f"the weights belong to another network: {other[:100]!r} differs")
    for name, value in expected.items():
        read.check(f"{prefix}{name}", [str(value.dtype).removeprefix("torch.")], tuple(value.shape))
    # a user-defined module may hold a mask with infinities
    state = {
        name: torch.from_numpy(read.take(f"{prefix}{name}", finite=assign)) for name in expected
    }
    for name, value in state.items():
        if name.endswith("running_var") and bool((value < 0).any()):
            raise ValueError(f"the variance {name!r} is below 0")
    module.load_state_dict(state, strict=True, assign=assign)
    scale = module.get_buffer("normalize.scale")
    if not bool((scale > 0).all() and scale.isfinite().all()):
        raise ValueError("the scale of the pixels is not above 0")


def _available(name: object) -> torch.device:
    """Return the device of that name, or the CPU if it is not available."""
    try:
        return resolve_device(str(name))
    except (ValueError, RuntimeError):
        return torch.device("cpu")


def _read_history(epochs: object) -> History:
    history = History()
    if not isinstance(epochs, list):
        raise ValueError("the history is damaged")
    for epoch in epochs:
        if not isinstance(epoch, dict) or type(epoch.get("epoch")) is not int:
            raise ValueError("the history is damaged")
        kinds = (bool, int, float, str)
        if any(type(value) not in kinds for value in epoch.values()):
            raise ValueError("the history is damaged")
        history.append({"batches": [], **epoch})
    return history


def _read_optimizer(net: ConvNet, groups: object, place: str, read: Read) -> None:
    """Set the options of the optimizer, and its state of each weight."""
    made = net.optimizer_.param_groups
    if not isinstance(groups, list) or len(groups) != len(made):
        raise ValueError("the optimizer has a different number of groups")
    for group, given in zip(made, groups, strict=True):
        if not isinstance(given, dict):
            raise ValueError("the options of the optimizer are damaged")
        options = {name: decode_value(value) for name, value in given.items()}
        optional = {"initial_lr", "rate_share"}
        if set(options) - optional != set(group) - {"params", *optional}:
            raise ValueError("the optimizer has different options")
        for name, value in options.items():
            same_kind = type(value) is type(group.get(name, value))
            is_number = isinstance(value, int | float) and isfinite(value)
            if not (same_kind and (value is None or is_number or _are_numbers(value))):
                raise ValueError(f"the optimizer's {name[:50]} is damaged")
        group.update(options)
    prefix = f"{place}optimizer."
    kept = sorted(name for name in read.left if name.startswith(prefix))
    weights = dict(net.module_.named_parameters())
    for name in kept:
        key, _, weight_name = name.removeprefix(prefix).partition(".")
        if key not in MOMENTS or weight_name not in weights:
            raise ValueError(f"the optimizer has the unknown state {name[:100]!r}")
        weight, shape = weights[weight_name], read.shape(name)
        is_scalar = shape == ()
        read.check(name, ["float32", "float64"], () if is_scalar else tuple(weight.shape))
        value = torch.from_numpy(read.take(name))
        if not is_scalar:  # fused optimizers assume the strides of the weights
            value = torch.empty_like(weight, requires_grad=False).copy_(value)
        elif net.device.type != "cpu" and made[0].get("fused"):
            value = value.to(net.device)
        net.optimizer_.state[weight][key] = value
    keys = {frozenset(moments) for moments in net.optimizer_.state.values()}
    if len(keys) > 1:
        raise ValueError("the optimizer does not have the same state for each weight")


def _are_numbers(value: object) -> bool:
    return isinstance(value, tuple) and all(
        isinstance(item, int | float) and isfinite(item) for item in value
    )


def _read_course(model: Learner, training: Node) -> None:
    """Set the attributes of a learner about its training."""
    scores = training["validation_scores"]
    model.history_ = model.net_.history
    model.n_iter_ = count_of(training, "n_iter", least=0)
    model.loss_curve_ = _numbers(training["loss_curve"])
    model.validation_scores_ = None if scores is None else _numbers(scores)
    model.best_validation_score_ = max(model.validation_scores_ or (), default=None)
    model._log_unit = number_of(training, "log_unit")
    placed_by = training["placed_by"]
    if not isinstance(placed_by, list) or [type(part) for part in placed_by] != [str, str]:
        raise ValueError("the device of the network is damaged")
    model._placed_by = placed_by[0], placed_by[1]


def _numbers(values: object) -> list[float]:
    if not isinstance(values, Sequence) or any(type(value) is not float for value in values):
        raise ValueError("the training history is damaged")
    return list(values)
