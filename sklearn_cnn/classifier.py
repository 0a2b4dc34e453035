"""CNNClassifier: parameters, fitting and prediction."""

import os
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy.special import log_expit, log_softmax
from sklearn.base import ClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.utils import Tags
from sklearn.utils.metaestimators import available_if
from torch import nn
from torch.optim import Optimizer

from sklearn_cnn._compat import StrOptions, _fit_context
from sklearn_cnn.base import SHARE, BaseCNN
from sklearn_cnn.network.layers import ActivationName, Layer, PoolKind
from sklearn_cnn.pixels.arrays import to_host
from sklearn_cnn.training.examples import Examples, check_same_targets
from sklearn_cnn.training.labels import (
    ClassWeight,
    check_labels,
    check_partial_class_weight,
    check_partial_classes,
    encode_examples,
    find_classes,
    label_weights,
    plain_labels,
)
from sklearn_cnn.training.objectives import Objective, OneClass, SeveralLabels
from sklearn_cnn.training.processes import one_fit
from sklearn_cnn.training.validation import divide, split_at_random, split_validation


class CNNClassifier(ClassifierMixin, BaseCNN):
    """Convolutional neural network for images, as a scikit-learn classifier and transformer.

    The network has the classical architecture: blocks of convolution and pooling produce feature
    maps and shrink them, flattening turns the maps into one vector, and dense layers learn from
    that vector. The network is a PyTorch module, trained through skorch. As a transformer, the
    estimator returns the vector that feeds the output layer, for use by the next step of a
    pipeline.

    Parameters
    ----------
    conv_channels : "auto", int or sequence of int, default="auto"
        Number of feature maps of each convolution, one block per entry. An int means a single
        block. "auto" adds blocks of 24, 48, 96, 192, 192, ... feature maps until the maps are
        about 4 x 4 pixels. If there are several blocks, the last one does not pool below that size.
    kernel_size : int or (height, width), default=3
        Size of the convolution kernels, in pixels.
    pooling : {"max", "mean"}, default="max"
        Type of pooling. "max" takes the maximum of the convolution output in each window. "mean"
        takes the mean after normalisation and activation.
    pool_size : int or (height, width), default=2
        Size and stride of the pooling window, in pixels. A side that is shorter than the window is
        not pooled.
    dense_units : int or sequence of int, default=(128,)
        Number of units of each hidden dense layer. Use ``()`` for no hidden dense layer.
    activation : {"relu", "leaky_relu", "elu", "gelu", "silu", "tanh", "sigmoid"}, default="relu"
        Activation function of every block and hidden dense layer.
    batch_norm : bool, default=True
        Whether to normalise the feature maps of each block.
    dropout : float, default=0.0
        Fraction of the outputs of each hidden dense layer that is set to zero during training. It
        must be at least 0 and below 1.
    layers : sequence of layer descriptions, callable or None, default=None
        User-defined network, used in place of the eight parameters above. Pass layer descriptions,
        such as ``[Conv(16), Pool("max"), Activation(), Flatten(), Dense(64)]``, to which the output
        layer is added. Or pass a callable ``(image_shape, n_outputs) -> torch.nn.Module``, where
        ``image_shape`` is (height, width, channels). Its module takes standardised images of shape
        (n, channels, height, width) and returns logits of shape (n, n_outputs). The model can be
        pickled only if the callable can: use a function or class of an importable module, not a
        lambda.
    feature_layer : str, default="dense"
        Output of ``transform``. "dense" is the vector that feeds the output layer, "flatten" is the
        flattened feature maps, and a name in ``layers_`` is the output of that layer, flattened
        pixel by pixel. It can be changed after ``fit``.
    image_shape : (height, width), (height, width, channels) or None, default=None
        Shape of an image that is passed as a flattened row. Height comes first in every layout. If
        None, the shape is read from the column names that ``ImageReader`` gives to a table. Without
        such names, a square number of features is a square grayscale image, and any other number is
        a single row of pixels.
    data_format : {"auto", "channels_last", "channels_first"}, default="auto"
        Position of the channels in 4-D arrays and in flattened rows. "auto" uses the axis of length
        1 to 4, and reads flattened rows as channels last. Slices or frames in the channel axis are
        treated as channels of one image.
    augment : augmentation, callable, sequence of these or None, default=None
        Augmentation of the training images, applied again in each epoch, such as ``(RandomFlip(),
        RandomShift())``. A callable takes and returns a batch, a tensor of shape (n, channels,
        height, width) in the dtype of ``X`` (float32 after a zoom, rotation or shear), and must
        keep the range of its values. Random numbers that it draws from torch's generators are
        seeded. A callable that draws once per call, as torchvision transforms do, is called on one
        image at a time. Validation images and images to predict are not augmented.
    optimizer : str or callable, default="adamw"
        Optimizer of the weights. "sgd" has a Nesterov momentum of 0.9, and needs a larger
        ``learning_rate``. "adam", "rmsprop" and other names select the class of ``torch.optim``
        with its defaults. A callable is a subclass of :class:`torch.optim.Optimizer`, or a
        ``functools.partial`` of one, such as ``partial(torch.optim.SGD, momentum=0.5)``, without
        ``lr`` and ``weight_decay``.
    learning_rate : float, default=0.004
        Maximum learning rate of the schedule.
    weight_decay : float, default=0.1
        Weight decay of kernels and dense weights. Biases and normalisation parameters are not
        decayed.
    label_smoothing : float, default=0.1
        Fraction of the target probability that is spread over all classes during training. It must
        be at least 0 and below 1. For multilabel targets, each label moves towards 0.5 by this
        fraction.
    schedule : {"one_cycle", "cosine", "constant"}, default="one_cycle"
        Learning rate schedule. "one_cycle" raises the learning rate and then lowers it, "cosine"
        only lowers it, and "constant" keeps it. ``partial_fit`` always uses a constant learning
        rate.
    batch_size : int, default=64
        Maximum number of images per training step. The batches of an epoch are nearly equal in
        size.
    max_epochs : "auto" or int, default="auto"
        Maximum number of passes over the training images. "auto" is 140 divided by the
        square root of the number of batches, between 11 and 100; with ``augment``, twice that.
    early_stopping : bool, default=False
        Whether to score validation images after each epoch, stop training when the score no longer
        improves, and keep the weights of the best epoch. The validation images are held out of
        ``X``, or passed to ``fit`` as ``X_val``. Before training stops, the learning rate falls to
        zero.
    scoring : str, callable or None, default=None
        Validation score that early stopping uses to select the best epoch. None means accuracy,
        with ties resolved by the lower loss. "loss" means the validation loss. A string is the name
        of a scorer, such as "f1_macro" or "roc_auc". A callable has the signature
        ``scorer(estimator, X, y)``. A scorer predicts the validation images one additional time per
        epoch.
    validation_fraction : float, default=0.1
        Fraction of the images that early stopping holds out, stratified by class. A class with a
        single image is only used for training. If the fraction holds fewer images than there are
        classes, ``random_state`` determines which are held out. Multilabel images are held out at
        random. Holding out fewer than 30 images raises a warning. Ignored if ``X_val`` is passed to
        ``fit``.
    n_iter_no_change : int, default=10
        Number of epochs without a better validation score after which the learning rate starts to
        fall to zero, and training then ends. The fall takes three tenths of ``max_epochs``, or the
        remaining epochs if there are fewer. It does not start while the learning rate of
        "one_cycle" is rising. With a constant learning rate, training ends at once.
    tol : float, default=1e-4
        Minimum increase of the validation score that counts as an improvement.
    class_weight : dict, list of dict, "balanced" or None, default=None
        Weights of the classes, as ``{label: weight}``. "balanced" weights each class by the inverse
        of its frequency, and is not supported by ``partial_fit``. The class weight is multiplied
        with ``sample_weight``. For multilabel targets, pass a list with one dict ``{0: weight, 1:
        weight}`` per label, which weights its loss where it is absent and where it is present.
    warm_start : bool, default=False
        If True, ``fit`` continues training the network of the previous ``fit``, on images and
        classes of the same kind. If False, ``fit`` starts with a new network.
    callbacks : list of skorch callbacks or None, default=None
        Callbacks to call during training, as skorch does: objects, classes, or (name, object)
        pairs. Scorers get a net that is a classifier of class indices, the positions in
        ``classes_``. Cloning the estimator copies the callback objects, but the copies share what
        the objects hold. Validation metrics, such as "valid_loss" and "valid_acc", are available
        with ``early_stopping=True``. An ``LRScheduler`` needs ``schedule="constant"``. Callbacks
        that print, such as ``PrintLog``, print only with ``verbose=1``.
    checkpoint : str, path or None, default=None
        Folder in which ``fit`` saves its state. An interrupted fit resumes from there, with
        bit-identical results. The state is written at the end of an epoch, at most every 10
        seconds, and at the end of the fit. The folder is created if it does not exist. Many fits
        can share a folder: the name of each file is derived from the images, the parameters and
        everything else that determines the result. A search that was interrupted therefore only
        fits the missing models. Only ``fit`` uses the checkpoint, and it needs a ``random_state``.
        ``callbacks`` start from the beginning. Remove the folder when you no longer need it.
    device : str or torch.device, default="auto"
        Device to compute on. "auto" selects CUDA if available, then MPS, then the CPU. If
        ``device`` or ``precision`` is changed after ``fit``, the network moves the next time it is
        used. A model that is loaded on a machine without its device computes on the CPU.
    precision : {"auto", "float32", "bfloat16", "float64"}, default="auto"
        Floating-point type of the network. "bfloat16" uses bfloat16 for multiplications during
        training, and float32 for weights, norms, loss and prediction. "auto" is "bfloat16" if the
        device is fast at it and the network is large enough to gain, and "float32" otherwise.
    random_state : int, RandomState instance or None, default=None
        Determines random number generation for the initial weights, the order of the images,
        augmentation, dropout and the validation split of early stopping. Pass an int for
        reproducible results across multiple function calls. If None, a new seed is drawn from the
        operating system. Global random states are neither read nor changed.
    verbose : {0, 1}, default=0
        Verbosity level. 1 shows a progress bar with the loss and the remaining time.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The sorted class labels; the column indices if ``y`` was an indicator matrix.
    multilabel_ : bool
        Whether ``y`` was an indicator matrix, for multilabel classification.
    n_features_in_ : int
        Number of values of an image. Only defined if ``X`` was flattened rows during ``fit``.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of features seen during ``fit``. Only defined if ``X`` was a DataFrame with feature
        names that are all strings.
    image_shape_ : tuple of int
        Height, width and number of channels of an image.
    image_spec_ : ImageSpec
        Shape, channel order and value range of the training images. ``image_spec_.read(X)`` checks
        images against it and returns them with shape (n, height, width, channels).
    layers_ : tuple of LayerRow
        Name, kind, output shape and number of parameters of each layer.
    net_ : skorch.NeuralNet
        The trained net. ``net_.module_`` is the PyTorch module, which takes raw pixels of shape (n,
        channels, height, width).
    n_iter_ : int
        Number of epochs run, including those of earlier warm starts and partial fits.
    loss_curve_ : list of float
        Training loss of each epoch. With label smoothing, it does not approach zero.
    validation_scores_ : list of float or None
        Validation score after each epoch of the last fit: accuracy with the weights of the loss, or
        the metric given by ``scoring``. None without early stopping.
    best_validation_score_ : float or None
        The highest validation score, reached with the weights that are kept. None without early
        stopping.
    history_ : skorch.history.History
        Training history, with one entry per epoch. After ``partial_fit``, it holds the last 32
        calls.

    See Also
    --------
    sklearn.discriminant_analysis.LinearDiscriminantAnalysis : Another classifier and transformer.
    sklearn.neural_network.MLPClassifier : Multi-layer perceptron, without convolution.
    skorch.NeuralNetClassifier : Wraps a user-defined PyTorch module.

    Notes
    -----
    The first layer of the network standardises the pixels with the mean and standard deviation of
    each channel of the training images, so images need no scaling. Images must have the same range
    at fit and at prediction. An image that was clearly scaled differently raises an error,
    regardless of the other images in ``X``. Dark images do not.

    On a CPU, larger networks train each batch in parts of up to 32 images, in up to 8 parallel
    threads. The default ``batch_size`` has work for two threads, 128 for four. The result depends
    neither on the number of threads nor on ``n_jobs``. Batch
    normalisation uses the statistics of each part. Small networks train in one thread, and so do
    user-defined modules without an attribute ``trains_in_parts = True``. Prediction processes
    chunks of images in parallel, each chunk in one thread.

    A network memorises its training images, so their features separate the classes almost
    perfectly. An estimator that learns from features of the same images is overconfident, and
    ignores additional columns. To combine images and columns without this problem, use
    :class:`sklearn.ensemble.StackingClassifier`; see :meth:`transform`.

    References
    ----------
    LeCun, Bottou, Bengio and Haffner, "Gradient-based learning applied to document recognition",
    Proceedings of the IEEE 86 (1998).

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.model_selection import train_test_split
    >>> from sklearn_cnn import CNNClassifier
    >>> digits = load_digits()
    >>> X_train, X_test, y_train, y_test = train_test_split(
    ...     digits.images[:600], digits.target[:600], random_state=0
    ... )
    >>> classifier = CNNClassifier(max_epochs=5, random_state=0).fit(X_train, y_train)
    >>> bool(classifier.score(X_test, y_test) > 0.9)
    True
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **BaseCNN._parameter_constraints,
        "label_smoothing": [SHARE],
        "class_weight": [StrOptions({"balanced"}), dict, list, None],
    }

    label_smoothing: float
    class_weight: ClassWeight
    classes_: np.ndarray
    multilabel_: bool

    def __init__(
        self,
        conv_channels: str | int | Sequence[int] = "auto",
        *,
        kernel_size: int | Sequence[int] = 3,
        pooling: PoolKind = "max",
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
        optimizer: str | Callable[..., Optimizer] = "adamw",
        learning_rate: float = 0.004,
        weight_decay: float = 0.1,
        label_smoothing: float = 0.1,
        schedule: str = "one_cycle",
        batch_size: int = 64,
        max_epochs: str | int = "auto",
        early_stopping: bool = False,
        scoring: str | Callable[..., float] | None = None,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        tol: float = 1e-4,
        class_weight: ClassWeight = None,
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
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.label_smoothing = label_smoothing
        self.schedule = schedule
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.early_stopping = early_stopping
        self.scoring = scoring
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.class_weight = class_weight
        self.warm_start = warm_start
        self.callbacks = callbacks
        self.checkpoint = checkpoint
        self.device = device
        self.precision = precision
        self.random_state = random_state
        self.verbose = verbose

    def __sklearn_tags__(self) -> Tags:
        tags: Tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
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
        self,
        X: ArrayLike,
        y: ArrayLike,
        classes: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Train the network for one epoch, at a constant learning rate.

        The first call fixes the classes, the image shape, the mean and standard deviation that
        standardise the pixels, and the network. Later calls extend the pixel range that counts as
        seen. Each call continues with the optimizer state of the previous one, which is pickled
        with the estimator; the first call after ``fit`` resets it. skorch callbacks start again in
        each call. scikit-learn callbacks are only supported by ``fit``.

        Parameters
        ----------
        X : array-like of shape (n, H, W), (n, H, W, C), (n, C, H, W) or (n, features)
            Training images, as for ``fit``.
        y : array-like of shape (n,) or (n, n_labels)
            Labels, as for ``fit``.
        classes : array-like of shape (n_classes,) or None, default=None
            All classes that can occur in any call. Required in the first call, unless ``y`` is an
            indicator matrix.
        sample_weight : array-like of shape (n,) or None, default=None
            Weights of the images in the loss, relative to the mean weight of the first call or of
            ``fit``. An image with a millionth of that weight contributes a millionth of the
            gradient.

        Returns
        -------
        self : CNNClassifier
            The fitted estimator.

        Raises
        ------
        ValueError
            If ``classes`` is missing in the first call or differs in a later one, or if a label is
            not in ``classes``. The estimator is then unchanged.
        AttributeError
            If ``early_stopping=True``, which is only supported by ``fit``.
        """
        with self._all_or_nothing(), one_fit():
            labels = self._check_y(y)
            known = self.classes_ if hasattr(self, "net_") else None
            check_partial_classes(classes, known, labels)
            check_partial_class_weight(self.class_weight)
            return self._partial_fit(X, labels, sample_weight, classes)

    def _check_y(self, y: object) -> np.ndarray:
        return check_labels(y, type(self).__name__)

    def _learn_targets(
        self, targets: np.ndarray, weights: np.ndarray, *, continuing: bool, classes: object
    ) -> None:
        if continuing:
            return
        self.multilabel_ = targets.ndim == 2
        known = targets if classes is None else classes
        self.classes_ = np.arange(targets.shape[1]) if self.multilabel_ else find_classes(known)

    def _encode(
        self, images: np.ndarray, rows: np.ndarray, targets: np.ndarray, weights: np.ndarray
    ) -> Examples:
        check_same_targets(targets, (len(self.classes_),) if self.multilabel_ else ())
        if self.multilabel_:
            return Examples.weighted(images, rows, targets[rows].astype(np.float32), weights)
        return encode_examples(images, rows, targets, weights, self.class_weight, self.classes_)

    def _objective(self, training: Examples) -> Objective:
        n, smoothing = len(self.classes_), self.label_smoothing
        if not self.multilabel_:
            return OneClass(n, smoothing)
        return SeveralLabels(
            n, smoothing, *label_weights(training.targets, training.weights, self.class_weight)
        )

    def _hold_out(self, examples: Examples, seed: int) -> tuple[Examples, Examples]:
        """Hold out a fraction of each class; with several labels per image, of all images."""
        targets, share = examples.targets, self.validation_fraction
        if self.multilabel_:
            return divide(examples, *split_at_random(len(targets), share, seed, fewest=1))
        return divide(examples, *split_validation(targets, share, seed, self.classes_))

    def predict(self, X: ArrayLike) -> np.ndarray:
        """Predict the label of each image.

        Parameters
        ----------
        X : array-like of shape (n, H, W), (n, H, W, C), (n, C, H, W) or (n, features)
            Images of the shape and range seen during ``fit``, in any supported layout.

        Returns
        -------
        ndarray of shape (n,), or of shape (n, n_labels), int
            Predicted labels from ``classes_``. If ``y`` was an indicator matrix during ``fit``, an
            indicator matrix of the labels whose probability is above 0.5.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError, TypeError
            If ``X`` does not hold images of the shape and range seen during ``fit``.
        """
        logits = self._outputs(X)
        decided = self.net_.objective.decide(logits)
        labels: np.ndarray = decided if self.multilabel_ else self.classes_[decided]
        return labels

    def score(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Return the accuracy; with several labels per image, all of them must be correct.

        Parameters
        ----------
        X : array-like
            Images, as for ``predict``.
        y : array-like of shape (n,) or (n, n_labels)
            True labels, of any type that ``fit`` accepts.
        sample_weight : array-like of shape (n,) or None, default=None
            Weights of the images.

        Returns
        -------
        float
            Accuracy, between 0 and 1.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError, TypeError
            If ``X`` does not hold images of the shape and range seen during ``fit``, or ``y`` does
            not hold labels.
        """
        predicted = self.predict(X)
        labels = y if y is None else plain_labels(y)
        return float(accuracy_score(labels, predicted, sample_weight=to_host(sample_weight)))

    def predict_proba(self, X: ArrayLike) -> np.ndarray:
        """Predict the probability of each class, or of each label, for each image.

        Parameters
        ----------
        X : array-like of shape (n, H, W), (n, H, W, C), (n, C, H, W) or (n, features)
            Images of the shape and range seen during ``fit``, in any supported layout.

        Returns
        -------
        ndarray of shape (n, n_classes), float64
            Probabilities between 0 and 1, with columns in the order of ``classes_``. Rows sum to 1.
            For multilabel targets, each label has its own probability, and rows do not sum to 1.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError, TypeError
            If ``X`` does not hold images of the shape and range seen during ``fit``.
        """
        logits = self._outputs(X)
        return self.net_.objective.probabilities(logits)

    def predict_log_proba(self, X: ArrayLike) -> np.ndarray:
        """Predict the logarithm of the probabilities of ``predict_proba``.

        Parameters
        ----------
        X : array-like of shape (n, H, W), (n, H, W, C), (n, C, H, W) or (n, features)
            Images of the shape and range seen during ``fit``, in any supported layout.

        Returns
        -------
        ndarray of shape (n, n_classes), float64
            Log-probabilities, at most 0, with columns in the order of ``classes_``.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError, TypeError
            If ``X`` does not hold images of the shape and range seen during ``fit``.
        """
        logits = self._outputs(X)
        return np.asarray(log_expit(logits) if self.multilabel_ else log_softmax(logits, axis=1))

    def decision_function(self, X: ArrayLike) -> np.ndarray:
        """Compute the outputs of the network before they are turned into probabilities.

        Parameters
        ----------
        X : array-like of shape (n, H, W), (n, H, W, C), (n, C, H, W) or (n, features)
            Images of the shape and range seen during ``fit``, in any supported layout.

        Returns
        -------
        ndarray of shape (n, n_classes), or (n,) for two classes, float64
            Logits. For two classes, the logit of ``classes_[1]`` minus the logit of
            ``classes_[0]``, which is positive if ``classes_[1]`` is predicted. For multilabel
            targets, one logit per label, positive if the label is predicted.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError, TypeError
            If ``X`` does not hold images of the shape and range seen during ``fit``.
        """
        logits = self._outputs(X)
        is_binary = len(self.classes_) == 2 and not self.multilabel_
        return logits[:, 1] - logits[:, 0] if is_binary else logits
