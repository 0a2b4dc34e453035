"""CNNRegressor: its parameters, and what it makes of its targets."""

import os
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.base import RegressorMixin
from sklearn.utils import Tags
from sklearn.utils.metaestimators import available_if
from torch import nn
from torch.optim import Optimizer

from sklearn_cnn._compat import StrOptions, _fit_context
from sklearn_cnn.base import BaseCNN
from sklearn_cnn.machine.device import name_of_dtype
from sklearn_cnn.network.layers import ActivationName, Layer, PoolKind
from sklearn_cnn.training.examples import Examples
from sklearn_cnn.training.numbers import TargetScale, check_numbers
from sklearn_cnn.training.objectives import LOSSES, Numbers, Objective
from sklearn_cnn.training.processes import one_fit
from sklearn_cnn.training.validation import FEWEST, divide, split_at_random


class CNNRegressor(RegressorMixin, BaseCNN):
    """Convolutional neural network that predicts numbers from images, as a scikit-learn regressor.

    The network is that of :class:`CNNClassifier`: blocks of convolution and pooling, flattening,
    dense layers. Its output layer has a unit for each target, a number such as an age, a count or
    an angle. It learns targets of mean 0 and standard deviation 1, and predicts in the units of
    ``y``, which needs no scaling. As a transformer, it gives the vector that feeds its last layer.

    Parameters
    ----------
    conv_channels : "auto", int or sequence of int, default="auto"
        Feature maps of each convolution, and so the number of blocks. "auto" adds blocks of 32,
        64, 128, 256, 256, ... maps until they are about 4 x 4 pixels; the last
        of several blocks does not pool to less.
    kernel_size : int or (height, width), default=3
        Size of the convolution kernels, in pixels.
    pooling : {"max", "mean"}, default="mean"
        What pooling takes of a window: the maximum of the convolution's output, or the mean of
        what has been normalised and activated. The mean keeps where things are, and how many.
    pool_size : int or (height, width), default=2
        Size and step of the pooling window, in pixels. A side shorter than it is not pooled.
    dense_units : int or sequence of int, default=(128,)
        Units of each hidden dense layer; ``()`` for none.
    activation : {"relu", "leaky_relu", "elu", "gelu", "silu", "tanh", "sigmoid"}, default="relu"
        Activation function of every block and hidden dense layer.
    batch_norm : bool, default=True
        Whether each block normalises its feature maps.
    dropout : float, default=0.0
        Share of each hidden dense layer's outputs that is set to zero while training; at least 0,
        below 1.
    layers : sequence of layer descriptions, callable or None, default=None
        The network, in place of the eight parameters above. Either descriptions, such as
        ``[Conv(16), Pool("max"), Activation(), Flatten(), Dense(64)]``, to which the output layer
        is added; or a callable ``(image_shape, n_outputs) -> torch.nn.Module``, with
        ``image_shape`` as (height, width, channels), whose module takes standardised images of
        shape (n, channels, height, width) and gives outputs of shape (n, n_outputs). A model can
        be pickled if the callable can: a function or class of an importable module, no lambda.
    feature_layer : str, default="dense"
        What ``transform`` gives. "dense" is the vector that feeds the output layer, "flatten" the
        flattened feature maps, and any name of ``layers_`` the output of that layer, pixel by
        pixel. It may be set after ``fit``.
    image_shape : (height, width), (height, width, channels) or None, default=None
        Shape of an image whose pixels come as a flattened row; height first, whatever the layout.
        None reads it from the names that ``ImageReader`` gives the columns of a table; without
        them, it takes a square number of features for a square gray image, and any other number
        for a single row of pixels.
    data_format : {"auto", "channels_last", "channels_first"}, default="auto"
        Where the channels of 4-D arrays, and of flattened rows, stand. "auto" looks for the axis
        of length 1 to 4, and takes flattened rows for channels last. Slices or frames in the place
        of channels are seen as the channels of one image.
    augment : augmentation, callable, sequence of these or None, default=None
        How training images change from epoch to epoch, such as ``(RandomFlip(), RandomShift())``.
        A callable takes and returns a batch, a tensor of shape (n, channels, height, width) in the
        dtype of ``X`` (float32 after a zoom, rotation or shear), and keeps the range of its
        values; what it draws from torch's own generators is seeded. One that draws once for all
        that it gets, as transforms of torchvision do, is called on one image at a time. Images held
        out for validation, and images to predict, stay as they are.
    loss : {"squared_error", "absolute_error", "huber"}, default="squared_error"
        What training minimises, the mean of the targets, in units of each target's standard
        deviation. "huber" is squared up to an error of 1, and absolute beyond.
    optimizer : str or callable, default="adamw"
        What updates the weights. "sgd" has a Nesterov momentum of 0.9, and needs a larger
        ``learning_rate``; "adam", "rmsprop" and other names mean the class of ``torch.optim`` with
        its defaults. A callable is a subclass of :class:`torch.optim.Optimizer`, or a
        ``functools.partial`` of one, such as ``partial(torch.optim.SGD, momentum=0.5)``, without
        ``lr`` and ``weight_decay``.
    learning_rate : float, default=0.004
        Highest learning rate of the schedule.
    weight_decay : float, default=0.1
        Weight decay of kernels and dense weights; biases and norms have none.
    schedule : {"one_cycle", "cosine", "constant"}, default="one_cycle"
        Learning rate over the training: up and down again, down, or as it is. ``partial_fit``
        always keeps it constant.
    batch_size : int, default=64
        Largest number of images in a training step. Batches of an epoch are nearly equal in size.
    max_epochs : "auto" or int, default="auto"
        Largest number of passes over the training images. "auto" means 100 for a single batch,
        fewer for more batches, and at least 7; twice as many with ``augment``.
    early_stopping : bool, default=False
        Whether to score validation images after each epoch, stop when the score stalls, and keep
        the weights of the best epoch. They are held out, or given to ``fit`` as ``X_val``. Before
        training stops, the learning rate falls to zero.
    scoring : str, callable or None, default=None
        Score on the validation images by which early stopping chooses the best epoch. None is
        R2, and of equal scores the lower loss is better; "loss" is the validation loss; a
        string is the name of a scorer, such as "neg_mean_absolute_error"; a callable has the form
        ``scorer(estimator, X, y)``. A scorer predicts the validation images once more an epoch.
    validation_fraction : float, default=0.1
        Share of the images that early stopping holds out, drawn by ``random_state``; at least two.
        Fewer than 30 images warn. It is ignored where ``fit`` is given ``X_val``.
    n_iter_no_change : int, default=10
        Epochs without a better validation score after which the learning rate falls to zero, and
        training ends. That takes three tenths of ``max_epochs``, or those that are left; it does
        not begin while "one_cycle" climbs, and a constant rate ends at once.
    tol : float, default=1e-4
        By how much a validation score must be higher to count as better.
    warm_start : bool, default=False
        Whether ``fit`` goes on from the weights of the last ``fit``, with its network, for images
        and targets of the same kind.
    callbacks : list of skorch callbacks or None, default=None
        Called while training, as skorch calls them: the objects themselves, their classes, or
        pairs (name, object). To a scorer, the net that they get is a regressor of standardised
        targets, of mean 0 and standard deviation 1. A clone has copies of the objects, which share
        what they hold. Figures of validation, such as "valid_loss", are available with
        ``early_stopping=True``, and an ``LRScheduler`` needs ``schedule="constant"``. What prints,
        such as ``PrintLog``, does so with ``verbose=1``.
    checkpoint : str, path or None, default=None
        Folder for the state of a fit, from which it goes on after a crash, with equal bits.
        Written at the end of an epoch, at most every 10 seconds, and at the end of the fit; made
        if it is missing. Many fits may share it: a file's name follows from the images, the
        parameters and whatever else decides the outcome, so that a search which was stopped
        fits what is missing. ``fit`` alone uses it, and needs a ``random_state``. ``callbacks``
        begin anew. Remove the folder when you are done.
    device : str or torch.device, default="auto"
        Where to compute. "auto" takes CUDA if available, then MPS, then the CPU. If it or
        ``precision`` is set after ``fit``, the network moves when it is next used. A model that is
        loaded where its device is absent computes on the CPU.
    precision : {"auto", "float32", "bfloat16", "float64"}, default="auto"
        Floating-point type of the network. "bfloat16" multiplies in it while training, and keeps
        float32 for weights, norms, loss and prediction; "auto" does so where the device is fast at
        it and the network large enough to gain, and is "float32" elsewhere.
    random_state : int, RandomState instance or None, default=None
        Seed of the first weights, the order of the images, augmentation, dropout and the split of
        early stopping. None draws a new seed from the operating system; global random states are
        neither read nor changed.
    verbose : {0, 1}, default=0
        1 shows a progress bar with the loss and the time left.

    Attributes
    ----------
    target_scale_ : TargetScale
        Mean and standard deviation of each target at fit, ``target_scale_.mean`` and
        ``target_scale_.scale``, both of shape (n_targets,). A target that is constant has scale 0,
        and is predicted as it is.
    n_outputs_ : int
        Number of targets.
    n_features_in_ : int
        Values of an image, where ``X`` at fit was flattened rows; absent otherwise.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, where ``X`` at fit was a DataFrame with names of type str.
    image_shape_ : tuple of int
        Height, width, channels of an image.
    image_spec_ : ImageSpec
        Shape, order of channels and range of the training images. ``image_spec_.read(X)`` checks
        images against it and gives them as (n, height, width, channels).
    layers_ : tuple of LayerRow
        Name, kind, output shape and number of parameters of each layer of the network.
    net_ : skorch.NeuralNet
        The trained net; ``net_.module_`` is the PyTorch module, which takes raw pixels of shape (n,
        channels, height, width), and gives standardised targets.
    n_iter_ : int
        Epochs run, those of earlier warm starts and partial fits included.
    loss_curve_ : list of float
        Training loss of each epoch, of standardised targets.
    validation_scores_ : list of float or None
        Score of the validation images after each epoch of the last fit: R2, or what ``scoring``
        asks for; None without early stopping.
    best_validation_score_ : float or None
        The highest of them, which is that of the weights kept.
    history_ : skorch.history.History
        Everything noted while training, an entry an epoch; of ``partial_fit``, the last 32 calls.

    See Also
    --------
    CNNClassifier : Learns classes, or several labels an image.
    sklearn.neural_network.MLPRegressor : Dense layers alone, without convolution.
    skorch.NeuralNetRegressor : Wraps a PyTorch module that you write.

    Notes
    -----
    The first layer of the network standardises the pixels with the training images' mean and
    standard deviation of each channel, so images need no scaling; they must come in the same range
    at fit and at prediction. An image that was clearly scaled differently is refused, whatever
    other images ``X`` holds; dark images are not.

    On a CPU, larger networks train each batch in parts of up to 32 images, in up to 8 parallel
    threads; the result depends neither on their number nor on ``n_jobs``. Batch
    normalisation takes the statistics of each part. Small networks train in one thread, and so do
    user-defined modules without an attribute ``trains_in_parts = True``. Prediction computes chunks
    of images side by side, each in one thread.

    Augmentations leave the targets as they are. Take none that changes what ``y`` tells: a shift
    changes where a thing is, and a flip which way it points.

    References
    ----------
    LeCun, Bottou, Bengio and Haffner, "Gradient-based learning applied to document recognition",
    Proceedings of the IEEE 86 (1998).

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_cnn import CNNRegressor
    >>> rng = np.random.default_rng(0)
    >>> images = rng.integers(0, 100, (200, 8, 8))
    >>> y = rng.uniform(20, 60, 200)
    >>> images += y[:, None, None].astype(int)
    >>> regressor = CNNRegressor(16, max_epochs=20, random_state=0).fit(images, y)
    >>> regressor.predict(images).shape
    (200,)
    >>> bool(regressor.score(images, y) > 0.9)
    True
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **BaseCNN._parameter_constraints,
        "loss": [StrOptions(set(LOSSES))],
    }

    loss: str
    n_outputs_: int
    target_scale_: TargetScale

    def __init__(
        self,
        conv_channels: str | int | Sequence[int] = "auto",
        *,
        kernel_size: int | Sequence[int] = 3,
        pooling: PoolKind = "mean",
        pool_size: int | Sequence[int] = 2,
        dense_units: int | Sequence[int] = (128,),
        activation: ActivationName = "relu",
        batch_norm: bool = True,
        dropout: float = 0.0,
        layers: Sequence[Layer] | Callable[..., nn.Module] | None = None,
        feature_layer: str = "dense",
        image_shape: Sequence[int] | None = None,
        data_format: str = "auto",
        augment: object = None,
        loss: str = "squared_error",
        optimizer: str | Callable[..., Optimizer] = "adamw",
        learning_rate: float = 0.004,
        weight_decay: float = 0.1,
        schedule: str = "one_cycle",
        batch_size: int = 64,
        max_epochs: str | int = "auto",
        early_stopping: bool = False,
        scoring: str | Callable[..., float] | None = None,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        tol: float = 1e-4,
        warm_start: bool = False,
        callbacks: Sequence[object] | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        device: str | torch.device = "auto",
        precision: str = "auto",
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
    ) -> None:
        self.conv_channels = conv_channels
        self.kernel_size = kernel_size
        self.pooling = pooling
        self.pool_size = pool_size
        self.dense_units = dense_units
        self.activation = activation
        self.batch_norm = batch_norm
        self.dropout = dropout
        self.layers = layers
        self.feature_layer = feature_layer
        self.image_shape = image_shape
        self.data_format = data_format
        self.augment = augment
        self.loss = loss
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.schedule = schedule
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.early_stopping = early_stopping
        self.scoring = scoring
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.warm_start = warm_start
        self.callbacks = callbacks
        self.checkpoint = checkpoint
        self.device = device
        self.precision = precision
        self.random_state = random_state
        self.verbose = verbose

    def __sklearn_tags__(self) -> Tags:
        tags: Tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def _has_partial_fit(self) -> bool:
        if self.early_stopping:
            raise AttributeError(
                "partial_fit is not available when early_stopping=True, because it cannot hold out "
                "validation images. Use early_stopping=False, or call fit."
            )
        return True

    @available_if(_has_partial_fit)
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> Self:
        """Train the network for one epoch, at a constant learning rate.

        The first call fixes the mean and standard deviation of the targets, unless they are
        constant, the shape of the images, the mean and standard deviation that pixels are
        standardised with, and the network; later calls widen the range of pixels that counts as
        seen. Calls go on with the state of the optimizer, which is pickled with the estimator;
        after ``fit`` it begins anew. Callbacks of skorch begin anew with each call; those of
        scikit-learn are for ``fit`` only.

        Parameters
        ----------
        X : array-like of shape (n, H, W), (n, H, W, C), (n, C, H, W) or (n, features)
            Images, as for ``fit``.
        y : array-like of shape (n,) or (n, n_targets)
            Numbers. The first call should bring many of them, of all sizes.
        sample_weight : array-like of shape (n,) or None, default=None
            Weights of the images in the loss. The mean weight of the first call, or of ``fit``,
            is the unit: what weighs a millionth of it has a millionth of its gradient.

        Returns
        -------
        self : CNNRegressor
            The fitted estimator.

        Raises
        ------
        ValueError
            If there are more or fewer targets than at first. The estimator is then as it was
            before.
        AttributeError
            With ``early_stopping=True``, which needs ``fit``.
        """
        with self._all_or_nothing(), one_fit():
            return self._partial_fit(X, self._check_y(y), sample_weight)

    def _check_y(self, y: object) -> np.ndarray:
        return check_numbers(y, type(self).__name__)

    def _learn_targets(
        self, targets: np.ndarray, weights: np.ndarray, *, continuing: bool, classes: object
    ) -> None:
        """Learn the mean and scale of the targets, unless a net that is continued has them."""
        learn = self.target_scale_.continued if continuing else TargetScale.learn
        self.target_scale_ = learn(targets, weights)
        self.n_outputs_ = self.target_scale_.n_targets

    def _encode(
        self, images: np.ndarray, rows: np.ndarray, targets: np.ndarray, weights: np.ndarray
    ) -> Examples:
        self.target_scale_.check_shape(targets)
        standardised = self.target_scale_.standardise(targets[rows])
        dtype = name_of_dtype(self.precision)
        return Examples.weighted(images, rows, standardised.astype(dtype), weights)

    def _objective(self, training: Examples) -> Objective:
        return Numbers(self.n_outputs_, self.loss)

    def _hold_out(self, examples: Examples, seed: int) -> tuple[Examples, Examples]:
        """Hold out a share of the images, drawn at random."""
        rows = split_at_random(len(examples), self.validation_fraction, seed, FEWEST)
        return divide(examples, *rows)

    def predict(self, X: ArrayLike) -> np.ndarray:
        """Predict the number, or numbers, of each image.

        Parameters
        ----------
        X : array-like of shape (n, H, W), (n, H, W, C), (n, C, H, W) or (n, features)
            Images of the shape and range seen at fit, in that layout or another.

        Returns
        -------
        ndarray of shape (n,) or (n, n_targets), float64
            In the units and the shape of ``y`` at fit.

        Raises
        ------
        NotFittedError
            If ``fit`` was not called before.
        ValueError, TypeError
            If ``X`` holds no images of the shape and range seen at fit.
        """
        outputs = self._outputs(X)
        return self.target_scale_.restore(outputs)
