"""Base class of the image estimators: fitting, and the outputs of the network's layers.

A subclass adds its targets, its objective and its predictions. The stages of a fit are methods of
this class, which set the fitted attributes, or pure functions of the packages below.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from copy import copy
from functools import partial
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.metrics import check_scoring, get_scorer_names
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted, validate_data

from sklearn_cnn._compat import (
    CallbackSupportMixin,
    CheckedParametersMixin,
    FittedHTMLMixin,
    Interval,
    ProgressBar,
    StrOptions,
    _fit_context,
    _safe_indexing,
    check_parameters,
    with_callbacks,
)
from sklearn_cnn._forks import ProcessLock
from sklearn_cnn._messages import did_you_mean, warn
from sklearn_cnn.augment.descriptions import check_augment
from sklearn_cnn.machine.device import WEIGHT_DTYPES, name_of_dtype, resolve_device, weights_dtype
from sklearn_cnn.machine.isolation import draw_seed, isolated
from sklearn_cnn.network.build import Design, build_network, check_same_network
from sklearn_cnn.network.design import design_network
from sklearn_cnn.network.layers import (
    ACTIVATION_NAMES,
    POOL_KINDS,
    ActivationName,
    Backbone,
    Layer,
    PoolKind,
)
from sklearn_cnn.network.outputs import (
    LayerRow,
    Source,
    check_feature_layer,
    feature_source,
    layer_names,
    n_values,
)
from sklearn_cnn.network.pretrained import published
from sklearn_cnn.network.summary import NetworkSummary, layer_times, layers_html
from sklearn_cnn.pixels.arrays import PixelArray, check_images
from sklearn_cnn.pixels.scale import channel_statistics
from sklearn_cnn.pixels.spec import DATA_FORMATS, ImageSpec
from sklearn_cnn.pixels.white import find_white
from sklearn_cnn.training.callbacks import (
    EpochTasks,
    Score,
    check_callbacks,
    copy_callbacks,
    set_callback_parameter,
    warn_if_nothing_was_learnt,
    warn_of_late_errors,
)
from sklearn_cnn.training.examples import Examples, check_weights
from sklearn_cnn.training.net import ConvNet
from sklearn_cnn.training.objectives import Numbers, Objective
from sklearn_cnn.training.optimizer import (
    OPTIMIZERS,
    SCHEDULES,
    OptimizerRecipe,
    resolve_max_epochs,
    warn_if_long,
)
from sklearn_cnn.training.processes import agreed_seed, one_fit
from sklearn_cnn.training.validation import (
    check_enough_for_r2,
    check_validation_data,
    errors_named,
    score_by,
)

COUNT = Interval(Integral, 1, None, closed="left")
SHARE = Interval(Real, 0, 1, closed="left")

IMAGES_OF_A_SUMMARY = 8
"""Maximum number of images on which a summary measures times."""

_turn_to_move = ProcessLock()


class BaseCNN(
    CheckedParametersMixin,
    ClassNamePrefixFeaturesOutMixin,
    FittedHTMLMixin,
    TransformerMixin,
    CallbackSupportMixin,
    BaseEstimator,
):
    """Convolutional network that learns from images and transforms them into features."""

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "conv_channels": [StrOptions({"auto"}), COUNT, tuple, list, np.ndarray],
        "kernel_size": [COUNT, tuple, list],
        "pooling": [StrOptions(set(POOL_KINDS))],
        "pool_size": [COUNT, tuple, list],
        "dense_units": [COUNT, tuple, list, np.ndarray],
        "activation": [StrOptions(set(ACTIVATION_NAMES))],
        "batch_norm": ["boolean"],
        "dropout": [SHARE],
        "layers": [list, tuple, callable, None],
        "feature_layer": [str],
        "image_shape": [tuple, list, np.ndarray, None],
        "augment": "no_validation",  # check_augment has the better message
        "data_format": [StrOptions(set(DATA_FORMATS))],
        "optimizer": [StrOptions(set(OPTIMIZERS)), callable],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "schedule": [StrOptions(set(SCHEDULES))],
        "batch_size": [COUNT],
        "max_epochs": [StrOptions({"auto"}), COUNT],
        "early_stopping": ["boolean"],
        "scoring": [StrOptions({"loss"}), StrOptions(set(get_scorer_names())), callable, None],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "n_iter_no_change": [COUNT],
        "tol": [Interval(Real, 0, None, closed="left")],
        "warm_start": ["boolean"],
        "callbacks": [list, tuple, None],
        "checkpoint": [str, os.PathLike, None],
        "device": [str, torch.device],
        "precision": [StrOptions(set(WEIGHT_DTYPES))],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    conv_channels: str | int | Sequence[int]
    kernel_size: int | Sequence[int]
    pooling: PoolKind
    pool_size: int | Sequence[int]
    dense_units: int | Sequence[int]
    activation: ActivationName
    batch_norm: bool
    dropout: float
    layers: Sequence[Layer] | Callable[..., torch.nn.Module] | None
    feature_layer: str
    image_shape: Sequence[int] | None
    data_format: str
    augment: object
    optimizer: str | Callable[..., torch.optim.Optimizer]
    learning_rate: float
    weight_decay: float
    schedule: str
    batch_size: int
    max_epochs: str | int
    early_stopping: bool
    scoring: str | Callable[..., float] | None
    validation_fraction: float
    n_iter_no_change: int
    tol: float
    warm_start: bool
    callbacks: Sequence[object] | None
    checkpoint: str | os.PathLike[str] | None
    device: str | torch.device
    precision: str
    random_state: int | np.random.RandomState | None
    verbose: int

    image_shape_: tuple[int, int, int]
    image_spec_: ImageSpec
    layers_: tuple[LayerRow, ...]
    net_: ConvNet
    loss_curve_: list[float]

    _placed_by: tuple[str | torch.device, str]
    """The ``device`` and ``precision`` for which the network was placed."""

    _log_unit: float
    """Logarithm of the mean weight of the first images, the unit of weights in ``partial_fit``."""

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        X_val: ArrayLike | None = None,
        y_val: ArrayLike | None = None,
        sample_weight_val: ArrayLike | None = None,
    ) -> Self:
        """Fit the network to images and their targets.

        Parameters
        ----------
        X : array-like of shape (n, H, W), (n, H, W, C), (n, C, H, W) or (n, features)
            Training images, of any real dtype and range. They are never modified, and never copied
            as a whole.
        y : array-like of shape (n,), (n, n_labels) or (n, n_targets)
            Target values. For a classifier, labels (strings, integers or booleans) or, for
            multilabel classification, a dense or sparse indicator matrix of 0 and 1. For a
            regressor, numbers.
        sample_weight : array-like of shape (n,) or None, default=None
            Weights of the images in the loss, in the validation score, and in the mean and standard
            deviation of the pixels. Only their ratios matter. Images of weight zero are ignored.
        X_val : array-like or None, default=None
            Validation images, of the shape and range of ``X``, used with ``early_stopping=True``.
            If None, a part of ``X`` is held out. ``Pipeline(..., transform_input=["X_val"])``
            transforms them with the same steps as ``X``.
        y_val : array-like or None, default=None
            Targets of the validation images.
        sample_weight_val : array-like of shape (n_val,) or None, default=None
            Weights of the validation images in the validation score and loss.

        Returns
        -------
        self : estimator
            The fitted estimator.

        Raises
        ------
        ValueError, TypeError
            If images, targets and parameters are inconsistent, or training diverges.
        KeyboardInterrupt
            On Ctrl-C. After any of these errors, the estimator is unchanged.
        """
        check_validation_data(X_val, y_val, sample_weight_val, early_stopping=self.early_stopping)
        if self.checkpoint is not None and self.random_state is None:
            raise ValueError(
                f"checkpoint={os.fspath(self.checkpoint)!r} needs a random_state: with "
                "random_state=None, each fit draws a new seed and cannot resume an earlier one. "
                "Use random_state=0, for example, or checkpoint=None."
            )
        with self._all_or_nothing(), one_fit():
            continuing = self.warm_start and hasattr(self, "net_")
            seed = agreed_seed(draw_seed(self.random_state))
            targets = self._check_y(y)
            examples = self._read(X, targets, sample_weight, continuing=continuing)
            self._log_unit = examples.log_unit
            training, validation, score = examples, None, None
            if self.early_stopping and X_val is None:
                training, validation = self._hold_out(examples, seed)
            objective = self._objective(training)
            if validation is not None:
                score = self._score_held_out(objective, validation, X, targets, sample_weight)
            elif X_val is not None:
                own = X_val, y_val, sample_weight_val
                validation, score = self._own_validation(objective, *own)
            if not continuing:
                self._start(training, objective, seed)
            given = {"X": X, "y": y, "sample_weight": sample_weight}
            self._train(training.scaled(), validation, score, objective, seed, given)
        return self

    def set_params(self, **params: object) -> Self:
        """Set the parameters of this estimator and of its callbacks.

        Parameters
        ----------
        **params : dict
            Estimator parameters. ``callbacks__NAME__PARAMETER`` sets a parameter of a callback
            object. ``NAME`` is the name in its (name, object) pair, or the name of its class.

        Returns
        -------
        self : estimator
            Estimator instance.

        Raises
        ------
        ValueError
            If the parameter or the callback object does not exist.
        """
        of_callbacks = {key: params.pop(key) for key in [*params] if key.startswith("callbacks__")}
        super().set_params(**params)
        for key, value in of_callbacks.items():
            set_callback_parameter(self.callbacks, key, value)
        return self

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the attributes that scikit-learn's callbacks set during a fit."""
        of_a_fit = ("_callback_fit_ctx", "_skl_callbacks_to_teardown")
        state: dict[str, Any] = super().__getstate__()
        return {name: value for name, value in state.items() if name not in of_a_fit}

    def __sklearn_clone__(self) -> Self:
        """Clone the estimator, with copies of the callback objects that share what they hold."""
        bare = copy(self)
        bare.callbacks = None
        cloned: Self = super(BaseCNN, bare).__sklearn_clone__()
        cloned.callbacks = copy_callbacks(self.callbacks)
        return cloned

    def __sklearn_tags__(self) -> Tags:
        tags: Tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = []  # features are float32, whatever X is
        return tags

    def transform(self, X: ArrayLike) -> np.ndarray:
        """Transform each image into a feature vector.

        Parameters
        ----------
        X : array-like of shape (n, H, W), (n, H, W, C), (n, C, H, W) or (n, features)
            Images of the shape and range seen during ``fit``, in any supported layout.

        Returns
        -------
        ndarray of shape (n, n_features_out), float32
            Outputs of the layer named by ``feature_layer``; float64 with ``precision="float64"``.
            Feature maps are flattened pixel by pixel, as with :func:`numpy.reshape`. ``set_output``
            can request a DataFrame.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError, TypeError
            If ``X`` does not hold images of the shape and range seen during ``fit``, or the network
            has no layer of that name.

        Notes
        -----
        Features of the training images separate the classes far better than those of new images,
        because the network memorises the training images. An estimator that learns from these
        features, as in ``make_pipeline(CNNClassifier(), LogisticRegression())``, ranks new images
        about as well as the network itself, but overconfidently. If the features are joined to
        other columns, it ignores those columns. Stack the classifier with an estimator of those
        columns (:class:`sklearn.ensemble.StackingClassifier`), or fit the final estimator on images
        that the network has not seen.

        Examples
        --------
        >>> from sklearn.datasets import load_digits
        >>> from sklearn_cnn import CNNClassifier
        >>> images, y = load_digits().images[:200], load_digits().target[:200]
        >>> classifier = CNNClassifier(16, max_epochs=1).fit(images, y)
        >>> classifier.transform(images[:5]).shape
        (5, 128)
        >>> classifier.set_params(feature_layer="flatten").transform(images[:5]).shape
        (5, 256)
        """
        check_is_fitted(self)
        (features,) = self._layer_outputs(X, [self._feature_source()])
        return features.reshape(len(features), -1)

    def get_feature_names_out(self, input_features: ArrayLike | None = None) -> np.ndarray:
        """Get the names of the output features of ``transform``.

        Parameters
        ----------
        input_features : array-like of str or None, default=None
            Input feature names, which are only compared with those seen during ``fit``.

        Returns
        -------
        ndarray of shape (n_features_out,), object
            Names prefixed with the lowercased class name: "cnnclassifier0", "cnnclassifier1" and so
            on.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If ``input_features`` differs from the names seen during ``fit``, or the network has no
            layer of the name ``feature_layer``.
        """
        check_is_fitted(self)
        self._feature_source()  # its error says more than that of a missing _n_features_out
        names: np.ndarray = super().get_feature_names_out(input_features)
        return names

    def feature_maps(
        self, X: ArrayLike, layer: str | None = None
    ) -> np.ndarray | dict[str, np.ndarray]:
        """Compute the outputs of one or all layers for each image.

        Parameters
        ----------
        X : array-like of shape (n, H, W), (n, H, W, C), (n, C, H, W) or (n, features)
            Images of the shape and range seen during ``fit``, in any supported layout.
        layer : str or None, default=None
            Name of a layer in ``layers_``. If None, the outputs of all layers are returned.

        Returns
        -------
        ndarray, or dict of str to ndarray, float32
            Feature maps of shape (n, height, width, channels), or vectors of shape (n, values). If
            ``layer`` is None, a dict with the layer names as keys, in the order of the layers. The
            dtype is float64 with ``precision="float64"``.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError, TypeError
            If ``X`` does not hold images of the shape and range seen during ``fit``, or the network
            has no layer of that name.

        Examples
        --------
        >>> from sklearn.datasets import load_digits
        >>> from sklearn_cnn import CNNClassifier
        >>> images, y = load_digits().images[:200], load_digits().target[:200]
        >>> classifier = CNNClassifier(16, max_epochs=1).fit(images, y)
        >>> classifier.feature_maps(images[:5], "pool1").shape
        (5, 4, 4, 16)
        >>> list(classifier.feature_maps(images[:5]))[:3]
        ['normalize', 'conv1', 'pool1']
        """
        check_is_fitted(self)
        names = layer_names(self.layers_)
        if layer is None:
            outputs = self._layer_outputs(X, [Source(name) for name in names])
            return dict(zip(names, outputs, strict=True))
        if layer not in names:
            raise ValueError(
                f"layer must be None, for all layers, or one of {', '.join(names)}. Got "
                f"layer={layer!r}.{did_you_mean(layer, names)}"
            )
        (maps,) = self._layer_outputs(X, [Source(layer)])
        return maps

    def summary(self) -> NetworkSummary:
        """Summarise the layers of the network, with the share of prediction time of each.

        Returns
        -------
        NetworkSummary
            Table of the name, kind, output shape, number of parameters and share of the prediction
            time per image of each layer, with totals. ``to_frame()`` converts it to a DataFrame.
            Each call measures the times again, on blank images. In a notebook, the HTML
            representation of a fitted estimator shows the same table without times, and measures
            nothing.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.

        Examples
        --------
        >>> from sklearn.datasets import load_digits
        >>> from sklearn_cnn import CNNClassifier
        >>> images, y = load_digits().images[:200], load_digits().target[:200]
        >>> classifier = CNNClassifier(16, max_epochs=1).fit(images, y)
        >>> classifier.summary().n_parameters
        34362
        """
        check_is_fitted(self)
        self._follow_parameters()
        n_images = min(self.net_.chunk, IMAGES_OF_A_SUMMARY)
        seconds = layer_times(self.net_.module_, self.image_shape_, n_images)
        n_parameters, n_trainable = self.net_.n_parameters, self.net_.n_trainable
        return NetworkSummary(self.layers_, seconds, n_parameters, n_trainable)

    def _check_y(self, y: object) -> np.ndarray:
        """Check targets, and return them as an array with one row per image."""
        raise NotImplementedError

    def _learn_targets(
        self, targets: np.ndarray, weights: np.ndarray, *, continuing: bool, classes: object
    ) -> None:
        """Learn the classes or scale of the targets, from images whose weight is not zero.

        They are already known if an earlier fit is continued. ``partial_fit`` can pass classes.
        """
        raise NotImplementedError

    def _encode(
        self, images: np.ndarray, rows: np.ndarray, targets: np.ndarray, weights: np.ndarray
    ) -> Examples:
        """Encode checked targets for the objective."""
        raise NotImplementedError

    def _objective(self, training: Examples) -> Objective:
        """Return the objective, which defines the meaning of the network's outputs."""
        raise NotImplementedError

    def _hold_out(self, examples: Examples, seed: int) -> tuple[Examples, Examples]:
        """Split examples into training and validation examples."""
        raise NotImplementedError

    def _partial_fit(
        self, X: object, targets: np.ndarray, sample_weight: object, classes: object = None
    ) -> Self:
        """Train for one epoch at a constant learning rate."""
        continuing = hasattr(self, "net_")
        seed = agreed_seed(draw_seed(self.random_state))
        examples = self._read(X, targets, sample_weight, continuing=continuing, classes=classes)
        objective = self._objective(examples)
        if not continuing:
            self._log_unit = examples.log_unit
            self._start(examples, objective, seed)
        weight = examples.weight_relative_to(self._log_unit)
        self._train(examples.scaled(weight), None, None, objective, seed)
        return self

    def _read(
        self,
        X: object,
        targets: np.ndarray,
        sample_weight: object,
        *,
        continuing: bool,
        classes: object = None,
    ) -> Examples:
        """Check training images and their weights; learn the shape and range of the images."""
        if continuing:
            self._follow_parameters()
        checked = self._check_images(X, reset=not continuing)
        shape, data_format = self.image_shape, self.data_format
        if continuing:
            spec = self.image_spec_
        else:
            spec = ImageSpec.learn(checked, image_shape=shape, data_format=data_format)
        images = spec.view(checked, image_shape=shape, data_format=data_format)
        weights = check_weights(sample_weight, images, targets)
        rows = np.flatnonzero(weights)
        self.image_spec_ = spec.widened(images, rows, name_of_dtype(self.precision))
        self.image_shape_ = spec.shape
        self._learn_targets(targets[rows], weights[rows], continuing=continuing, classes=classes)
        return self._encode(images, rows, targets, weights)

    def _own_validation(
        self, objective: Objective, X: object, y: object, sample_weight: object
    ) -> tuple[Examples, Score | None]:
        """Read user-defined validation images."""
        with errors_named("X_val"):
            images = self._read_further(X, name_of_dtype(self.precision))
        with errors_named("y_val"):
            targets = self._check_y(y)
            weights = check_weights(sample_weight, images, targets)
            rows = np.flatnonzero(weights)
            validation = self._encode(images, rows, targets, weights).scaled()
        given = None if sample_weight is None else weights
        return validation, self._score(objective, validation, X, targets, given)

    def _score_held_out(
        self,
        objective: Objective,
        validation: Examples,
        X: object,
        targets: np.ndarray,
        sample_weight: object,
    ) -> Score | None:
        """Return the function that scores the images held out of ``X``."""
        if self.scoring in (None, "loss"):
            return self._score(objective, validation, None, targets, None)
        rows, weights = validation.rows, None
        if sample_weight is not None:
            weights = check_weights(sample_weight, targets, targets)[rows]
        held_out = _safe_indexing(X, rows)
        return self._score(objective, validation, held_out, targets[rows], weights)

    def _score(
        self,
        objective: Objective,
        validation: Examples,
        X: object,
        y: np.ndarray,
        weights: np.ndarray | None,
    ) -> Score | None:
        """Return the function that scores an epoch; None for the validation loss."""
        if self.scoring == "loss":
            return None
        if self.scoring is not None:
            scorer = check_scoring(self, self.scoring)
            return score_by(scorer, self.scoring, self, X, y, weights)
        if isinstance(objective, Numbers):
            check_enough_for_r2(len(validation))
        return partial(objective.score, targets=validation.targets, weights=validation.weights)

    def _check_images(self, X: object, *, reset: bool) -> PixelArray:
        """Check that ``X`` holds images; with ``reset``, set the number of features of rows."""
        checked = check_images(
            X,
            shape=None if reset else self.image_spec_.shape,
            name=type(self).__name__,
            check_rows=partial(validate_data, self, reset=reset),
        )
        if reset and checked.values.ndim > 2:
            for name in ("n_features_in_", "feature_names_in_"):
                self.__dict__.pop(name, None)
        return checked

    def _images(self, X: object) -> np.ndarray:
        """Check images to predict, and view them channels last, without setting attributes."""
        check_is_fitted(self)
        self._follow_parameters()
        return self._read_further(X, str(self.net_.dtype).removeprefix("torch."))

    def _read_further(self, X: object, dtype: str) -> np.ndarray:
        """View images of the shape and range seen during fit channels last, for a net's dtype."""
        return self.image_spec_.read(
            self._check_images(X, reset=False),
            image_shape=self.image_shape,
            data_format=self.data_format,
            dtype=dtype,
        )

    def _outputs(self, X: object) -> np.ndarray:
        images = self._images(X)  # may move the net
        return self.net_.outputs(images)

    def _layer_outputs(self, X: object, sources: Sequence[Source]) -> list[np.ndarray]:
        images = self._images(X)
        return self.net_.layer_outputs(images, sources)

    def _design(self) -> Design:
        """Return the layer descriptions or function from which the network is built."""
        if self.layers is not None:
            return self.layers if callable(self.layers) else tuple(self.layers)
        return design_network(
            self.image_shape_,
            conv_channels=self.conv_channels,
            kernel_size=self.kernel_size,
            pooling=self.pooling,
            pool_size=self.pool_size,
            dense_units=self.dense_units,
            activation=self.activation,
            batch_norm=self.batch_norm,
            dropout=self.dropout,
        )

    def _optimizer(self) -> OptimizerRecipe:
        return OptimizerRecipe(self.optimizer, self.learning_rate, self.weight_decay)

    def _start(self, training: Examples, objective: Objective, seed: int) -> None:
        """Create a new net, whose first layer standardises the training images."""
        design, device, shape = self._design(), resolve_device(self.device), self.image_shape_
        dtype = str(weights_dtype(self.precision, device)).removeprefix("torch.")
        mean, std = self._pixel_statistics(design, training)
        self.net_ = ConvNet(
            partial(build_network, design, shape, objective.n_outputs, mean, std, dtype, device),
            design=design,
            optimizer=self._optimizer(),
            objective=objective,
            batch_size=self.batch_size,
            device=device,
            precision=self.precision,
        )
        self.net_.start(shape, seed)
        self.layers_ = self.net_.layers_
        self._placed_by = (self.device, self.precision)

    @staticmethod
    def _pixel_statistics(design: Design, training: Examples) -> tuple[np.ndarray, np.ndarray]:
        """Return the mean and standard deviation of each channel; a backbone has its own."""
        images, rows = training.images, training.rows
        backbone = None if callable(design) else next(iter(design), None)
        if not isinstance(backbone, Backbone):
            return channel_statistics(images, rows, training.weights)
        known, white = published(backbone.network), find_white(images, rows)
        return np.full(3, known.mean * white), np.full(3, known.std * white)

    def _follow_parameters(self) -> None:
        """Move the net to the device and the precision that were set after the fit.

        If neither parameter changed, the net stays where it is, because a model may be loaded on a
        machine without its device. Threads that are computing continue with the previous net.

        Raises
        ------
        ValueError
            If a parameter has an invalid value, or the device is not available.
        """
        if self.data_format not in DATA_FORMATS:
            self._validate_params()
        if (self.device, self.precision) == self._placed_by:
            return
        with _turn_to_move.held, isolated(self.net_.device):
            values = self.get_params(deep=False)  # other threads may set them meanwhile
            asked = values["device"], values["precision"]
            if asked == self._placed_by:
                return
            check_parameters(self._parameter_constraints, values, type(self).__name__)
            at = self.net_.device
            device = at if asked[0] == self._placed_by[0] else resolve_device(asked[0])
            dtype = weights_dtype(asked[1], device)
            if (device, dtype) != (at, self.net_.dtype):
                self.net_ = self.net_.copy_to(device, dtype)
            self._placed_by = asked

    def _train(
        self,
        training: Examples,
        validation: Examples | None,
        score: Score | None,
        objective: Objective,
        seed: int,
        given: Mapping[str, object] | None = None,
    ) -> None:
        """Train the net, and set the fitted attributes.

        Parameters
        ----------
        training, validation : Examples
            Training and validation images.
        score : callable or None
            Function that returns the validation score of an epoch; None for the loss.
        objective : Objective
            The meaning of the network's outputs.
        seed : int
            Seed of this fit.
        given : mapping or None, default=None
            ``X``, ``y`` and ``sample_weight`` as passed to ``fit``, for scikit-learn's callbacks.
            None for ``partial_fit``: one epoch at a constant rate, without those callbacks, with
            the optimizer of the previous calls.

        Raises
        ------
        ValueError
            If the parameters describe a different network than the existing one, or training
            diverges.
        """
        schedule = "constant" if given is None else self.schedule
        augment, n_epochs = check_augment(self.augment), 1
        if given is not None:
            n_epochs = resolve_max_epochs(
                self.max_epochs, len(training), self.batch_size, is_augmented=bool(augment)
            )
        net = self.net_
        check_same_network(self._design(), net.design)
        check_feature_layer(self.feature_layer, self.layers_)
        callbacks = check_callbacks(self.callbacks, schedule)
        shape, n_images = self.image_shape_, len(training)
        each_epoch = net.layers_ if augment else net.rows_from(net.n_fixed)
        warn_if_long(each_epoch, shape, n_images, n_epochs, net.dtype, net.device)
        n_before = net.n_epochs
        losses = self.loss_curve_ if n_before else []
        attributes = partial(
            _fitted_attributes, n_before=n_before, losses=losses, scores=validation is not None
        )
        rollback = net.rollback_on_error() if n_before else nullcontext()
        with isolated(net.device), rollback:
            if n_before:
                net.adjust(
                    optimizer=self._optimizer(),
                    objective=objective,
                    batch_size=self.batch_size,
                    precision=self.precision,
                    new_optimizer=given is not None,
                    keep_rates=bool(callbacks) and schedule == "constant",
                )
            train = partial(
                net.train,
                training,
                validation,
                n_epochs=n_epochs,
                schedule=schedule,
                patience=self.n_iter_no_change,
                tol=self.tol,
                score=score,
                augment=augment,
                seed=seed,
                verbose=self.verbose,
                parameters=partial(self.get_params, deep=False),
                checkpoint=None if given is None else self.checkpoint,
            )
            if given is None or not hasattr(self, "_init_callback_context"):
                late = train(callbacks=callbacks)
            else:
                late, tasks = [], EpochTasks(self, given, attributes)
                train = partial(train, callbacks=[*callbacks, tasks])
                with tasks.late_errors_kept(late), self._one_progress_bar():
                    self._train_in_tasks(train, n_epochs, tasks, late)
            if net.n_epochs - n_before >= n_epochs:
                of_guess = objective.loss_of_guess(training.targets, training.weights)
                warn_if_nothing_was_learnt(
                    net.history, n_epochs, self.learning_rate, objective.guess, of_guess
                )
            warn_of_late_errors(late)
        if given is None:  # a call must not take longer than the previous one
            net.forget_calls()
            losses.append(float(net.history[-1]["train_loss"]))
            fitted = {**attributes(net, n_before=net.n_epochs), "loss_curve_": losses}
        else:
            net.end_fit()
            fitted = attributes(net)
        self.__dict__.update(fitted)

    @with_callbacks
    def _train_in_tasks(
        self,
        train: Callable[[], list[Exception]],
        n_epochs: int,
        tasks: EpochTasks,
        late: list[Exception],
    ) -> None:
        """Train and call scikit-learn's callbacks; collect the errors they raise after training."""
        tasks.begin(self._init_callback_context(max_subtasks=n_epochs))
        try:
            late += train()
            tasks.end(self.net_)
        finally:
            tasks.let_go()

    @contextmanager
    def _one_progress_bar(self) -> Iterator[None]:
        """Keep only the first ProgressBar: a second one of scikit-learn never ends its thread."""
        callbacks = getattr(self, "_skl_callbacks", [])
        _, *others = [c for c in callbacks if isinstance(c, ProgressBar)] or [None]
        if not others:
            yield
            return
        warn(
            f"set_callbacks was given {1 + len(others)} ProgressBars. scikit-learn shows one "
            "per fit. Only the first is shown."
        )
        self._skl_callbacks = [c for c in callbacks if c not in others]
        try:
            yield
        finally:
            self._skl_callbacks = callbacks

    @contextmanager
    def _all_or_nothing(self) -> Iterator[None]:
        """Restore the attributes if the body raises, including on Ctrl-C."""
        before = dict(vars(self))
        try:
            yield
        except BaseException:
            self.__dict__.clear()
            self.__dict__.update(before)
            raise

    def _feature_source(self) -> Source:
        network, n_outputs = self.net_.module_, self.net_.objective.n_outputs
        return feature_source(self.feature_layer, network, self.layers_, n_outputs)

    @property
    def _n_features_out(self) -> int:
        try:
            source = self._feature_source()
        except ValueError as error:  # hasattr must work: dir() and HTML call it on every name
            raise AttributeError(str(error)) from error
        return n_values(source, self.net_.module_, self.layers_)

    def _fitted_html(self) -> str:
        """Return the table of layers as HTML, in the style of scikit-learn's tables.

        It measures no times, because a notebook calls it every time it shows the estimator.
        """
        return layers_html(self.layers_, self.net_.n_parameters, self.net_.n_trainable)


def _fitted_attributes(
    net: ConvNet, n_before: int, losses: list[float], scores: bool
) -> dict[str, object]:
    """Return the fitted attributes; ``losses`` are those of the ``n_before`` earlier epochs."""
    # a callback may load another history, or return to an earlier epoch
    epochs = [epoch for epoch in net.history if epoch["epoch"] > n_before]
    found = [
        epoch["validation_score"] for epoch in epochs if scores and "validation_score" in epoch
    ]
    return {
        "net_": net,
        "history_": net.history,
        "n_iter_": net.n_epochs,
        "loss_curve_": losses[: net.n_epochs] + [float(epoch["train_loss"]) for epoch in epochs],
        "validation_scores_": found or None,
        "best_validation_score_": max(found, default=None),
    }
