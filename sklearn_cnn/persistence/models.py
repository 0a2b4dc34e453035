"""save_model and load_model: one file per model, which runs no code when it is loaded."""

import os
import platform
from collections.abc import Callable
from typing import Any

import sklearn
import torch
from sklearn.base import BaseEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

import sklearn_cnn
from sklearn_cnn.files.reader import ImageReader
from sklearn_cnn.machine.atomic import write_atomically
from sklearn_cnn.persistence.container import Container, pack
from sklearn_cnn.persistence.learners import LEARNERS, describe_learner, rebuild_learner
from sklearn_cnn.persistence.nodes import (
    Node,
    Read,
    Written,
    about,
    check_keys,
    decode_names,
    encode_names,
    encode_parameters,
    make_estimator,
)
from sklearn_cnn.persistence.steps import STEPS, describe_step, kind_of, rebuild_step
from sklearn_cnn.persistence.values import DEEPEST, NotKept
from sklearn_cnn.pretrained.features import PretrainedFeatures

FORMAT = 1
"""Version of the format; docs/model_files.md has the procedure for a new one."""

STATELESS: dict[str, type[BaseEstimator]] = {
    "ImageReader": ImageReader,
    "PretrainedFeatures": PretrainedFeatures,
}
"""Stateless transformers, by the names of their kinds."""

REMEDIES = {
    "augment=": "After set_params(augment=None), it can be saved, and predicts the same.",
    "optimizer=": "After set_params(optimizer='adamw') and another fit, it can be saved.",
    "scoring=": "After set_params(scoring=None), it can be saved, and predicts the same.",
    "network=": "Save it with joblib, for users who trust you.",
    "weights=": "Use the weights of the installed package, with weights=None.",
}


def save_model(model: BaseEstimator, path: str | os.PathLike[str]) -> None:
    """Save a fitted model to a file that runs no code when it is loaded.

    Parameters
    ----------
    model : estimator
        A fitted ``CNNClassifier`` or ``CNNRegressor``, an ``ImageReader``, a
        ``PretrainedFeatures``, or a ``Pipeline`` of these and of scikit-learn's
        ``StandardScaler``, ``PCA``, ``LogisticRegression``, ``SVC`` and ``Ridge``.
    path : str or path
        Path of the file, such as "model.safetensors". An existing file is replaced after the new
        one is complete.

    Raises
    ------
    ValueError
        If the model holds something that cannot be saved: code, such as a function in ``augment``,
        or an unsupported estimator. The error names it.
    NotFittedError
        If the model is not fitted.
    OSError
        If the file cannot be written. An existing file is then unchanged.

    See Also
    --------
    load_model : Load a saved model.

    Notes
    -----
    The file has the safetensors format: arrays, and a JSON document in the metadata. It holds the
    weights, the state of the optimizer and the training history, so that ``partial_fit`` and
    ``warm_start`` can continue after loading. It does not hold callbacks, the cache folder, or a
    ``RandomState`` passed as ``random_state``; an int seed is saved. The weights of
    ``PretrainedFeatures`` stay in their package, while those of a ``Backbone`` are in the file.

    A callable ``layers`` is code, so the file only holds its name. Pass the callable to
    ``load_model``.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_cnn import CNNClassifier, load_model, save_model
    >>> images, y = load_digits().images[:200], load_digits().target[:200]
    >>> classifier = CNNClassifier(16, max_epochs=1).fit(images, y)
    >>> path = Path(tempfile.mkdtemp(), "digits.safetensors")
    >>> save_model(classifier, path)
    >>> loaded = load_model(path)
    >>> bool((loaded.predict_proba(images) == classifier.predict_proba(images)).all())
    True
    """
    written = Written()
    try:
        node = _describe(model, "", written)
    except NotKept as error:
        remedy = next((text for name, text in REMEDIES.items() if name in str(error)), "")
        raise ValueError(f"model cannot be saved: {error}. {remedy}".rstrip()) from None
    document = {
        "format": FORMAT,
        "written_by": {
            "sklearn_cnn": sklearn_cnn.__version__,
            "scikit-learn": sklearn.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
        "fortran": written.fortran,
        "model": node,
    }
    write_atomically(path, pack(document, written.arrays))


def load_model(
    path: str | os.PathLike[str], *, layers: Callable[..., torch.nn.Module] | None = None
) -> Any:
    """Load a model saved by ``save_model``, without running or importing anything from the file.

    Parameters
    ----------
    path : str or path
        Path of the file.
    layers : callable (image_shape, n_outputs) -> torch.nn.Module, or None, default=None
        The callable that was passed to the model as ``layers``, which is not in the file.

    Returns
    -------
    estimator
        The saved model. On a machine of the same kind, its predictions, outputs of ``transform``,
        plots and further training are bit-identical to those of the original. A model from a GPU
        computes on the CPU if that GPU is not available.

    Raises
    ------
    ValueError
        If the file is damaged, has another format or a newer version of it, or needs ``layers``.
    OSError
        If the file cannot be read.

    See Also
    --------
    save_model : Save a model.

    Notes
    -----
    A damaged or malicious file raises a ``ValueError``. Loading needs at most about twice the size
    of the file in memory. The file does not prove who made it, so its predictions are only as
    trustworthy as its source.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from sklearn_cnn import ImageReader, load_model, save_model
    >>> path = Path(tempfile.mkdtemp(), "reader.safetensors")
    >>> save_model(ImageReader(32, mode="L"), path)
    >>> load_model(path)
    ImageReader(mode='L', size=32)
    """
    container = Container(path)
    try:
        document = container.document
        if isinstance(document, dict) and type(document.get("format")) is int:
            newer = document["format"]
            if newer > FORMAT:
                raise ValueError(
                    f"it has format {newer}, and this version of sklearn_cnn reads up to {FORMAT}: "
                    "install a newer sklearn_cnn"
                )
        check_keys(document, ("format", "written_by", "fortran", "model"))
        if document["format"] != FORMAT or not isinstance(document["fortran"], list):
            raise ValueError("its format is unknown")
        read = Read(container, map(str, document["fortran"]))
        model, n_functions = _rebuild(document["model"], "", read, layers)
        if read.left:
            raise ValueError(f"it holds the unknown array {sorted(read.left)[0][:100]!r}")
    except (ArithmeticError, AttributeError, LookupError, RecursionError, RuntimeError) as error:
        container.refuse(f"its parts are inconsistent ({type(error).__name__}: {error})")
    except (TypeError, ValueError) as error:
        container.refuse(str(error).rstrip("."))
    if layers is not None and not n_functions:
        raise ValueError(
            f"layers= is only for models with a callable layers, and {path!r} holds none. Omit "
            "layers."
        )
    return model


def _describe(model: object, place: str, written: Written, depth: int = 0) -> Node:
    """Return the node of a model of any kind."""
    kind = type(model).__name__
    if type(model) is Pipeline:
        if depth > DEEPEST:
            raise NotKept("its pipelines are nested too deeply")
        return _describe_pipeline(model, place, written, depth)
    if LEARNERS.get(kind) is type(model):
        check_is_fitted(model)
        return describe_learner(model, place, written)
    if STATELESS.get(kind) is type(model):
        node = {"kind": kind, "parameters": encode_parameters(model), **encode_names(model)}
        if node["parameters"].get("weights") is not None:
            raise NotKept("weights= is the path of another file")
        return node
    if kind_of(model) is not None:
        return describe_step(model, place, written)
    kept = ", ".join(["Pipeline", *LEARNERS, *STATELESS, *STEPS])
    remedy = (
        "Save its best_estimator_"
        if hasattr(model, "best_estimator_")
        else "Save it with joblib, for users who trust you"
    )
    raise NotKept(f"{kind} is not one of the supported estimators: {kept}. {remedy}")


def _describe_pipeline(model: Pipeline, place: str, written: Written, depth: int) -> Node:
    if model.memory is not None:
        raise NotKept("memory= is a folder of this machine. Use set_params(memory=None)")
    steps = []
    for number, (name, step) in enumerate(model.steps):
        if step is None or isinstance(step, str):
            steps.append([name, {"kind": "passthrough"}])
            continue
        with about(f"its step {name!r}:"):
            steps.append([name, _describe(step, f"{place}{number}.", written, depth + 1)])
    transform_input = getattr(model, "transform_input", None)
    return {
        "kind": "Pipeline",
        "steps": steps,
        "verbose": bool(model.verbose),
        "transform_input": None if transform_input is None else list(transform_input),
    }


def _rebuild(
    node: object,
    place: str,
    read: Read,
    layers: Callable[..., torch.nn.Module] | None,
    depth: int = 0,
) -> tuple[Any, int]:
    """Return the model of a node, and the number of callables ``layers`` in it."""
    kind = node.get("kind") if isinstance(node, dict) else None
    if not isinstance(node, dict) or not isinstance(kind, str):
        raise ValueError("the document describes no model")
    if kind == "Pipeline" and depth <= DEEPEST:
        return _rebuild_pipeline(node, place, read, layers, depth)
    if kind in LEARNERS:
        if "layers_function" in node and layers is None:
            name = str(node["layers_function"])[:100]
            raise ValueError(
                f"its network was made by the function {name!r}, and files hold no code. Pass it "
                f"with load_model(path, layers={name})"
            )
        return rebuild_learner(node, place, read, layers), int("layers_function" in node)
    if kind in STATELESS:
        optional = ("n_features", "feature_names", "output")
        check_keys(node, ("kind", "parameters"), optional)
        if node["parameters"].get("weights") is not None:
            raise ValueError("it names another file, of weights")
        transformer = make_estimator(STATELESS[kind], node["parameters"])
        decode_names(node, transformer)
        return transformer, 0
    if kind in STEPS:
        return rebuild_step(node, place, read), 0
    raise ValueError(f"the kind {kind[:50]!r} is unknown")


def _rebuild_pipeline(
    node: Node,
    place: str,
    read: Read,
    layers: Callable[..., torch.nn.Module] | None,
    depth: int,
) -> tuple[Pipeline, int]:
    check_keys(node, ("kind", "steps", "verbose", "transform_input"))
    if not isinstance(node["steps"], list) or not node["steps"]:
        raise ValueError("a pipeline has no steps")
    steps, n_functions = list[tuple[str, Any]](), 0
    for number, item in enumerate(node["steps"]):
        if not isinstance(item, list) or len(item) != 2 or not isinstance(item[0], str):
            raise ValueError("the steps of a pipeline are damaged")
        name, step = item
        if step == {"kind": "passthrough"}:
            steps.append((name, "passthrough"))
            continue
        rebuilt, n = _rebuild(step, f"{place}{number}.", read, layers, depth + 1)
        steps.append((name, rebuilt))
        n_functions += n
    pipeline = Pipeline(steps, verbose=node["verbose"] is True)
    names = node["transform_input"]
    if names is not None:
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError("transform_input is damaged")
        pipeline.set_params(transform_input=names)
    pipeline._validate_names([name for name, _ in steps])
    for _, step in steps[:-1]:
        if step != "passthrough" and not hasattr(step, "transform"):
            raise ValueError(f"{type(step).__name__} cannot come before another step")
    return pipeline, n_functions
