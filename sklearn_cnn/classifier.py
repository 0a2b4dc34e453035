"""CNNClassifier: its parameters, and the story of fit and predict."""

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

    The network is the classical one: blocks of convolution and pooling make feature maps and
    shrink them, flattening makes one vector of them, and dense layers learn from that vector. It
    is a PyTorch module, trained through skorch. As a transformer, it gives the vector that feeds
    its last layer to whatever follows it in a pipeline.

    Parameters
    ----------
    conv_channels : "auto", int or sequence of int, default="auto"
        Feature maps of each convolution, and so the number of blocks. "auto" adds blocks of 32,
        64, 128, 256, 256, ... maps until they are about 4 x 4 pixels; the last
        of several blocks does not pool to less.
    kernel_size : int or (height, width), default=3
        Size of the convolution kernels, in pixels.
    pooling : {"max", "mean"}, default="max"
        What pooling takes of a window: the maximum of the convolution's output, or the mean of
        what has been normalised and activated.
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
        shape (n, channels, height, width) and gives logits of shape (n, n_outputs). A model can
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
    label_smoothing : float, default=0.1
        Share of each label's probability that training spreads over all classes; at least 0,
        below 1. Of several labels an image, each goes that share of the way to 0.5.
    schedule : {"one_cycle", "cosine", "constant"}, default="one_cycle"
        Learning rate over the training: up and down again, down, or as it is. ``partial_fit``
        always keeps it constant.
    batch_size : int, default=128
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
        accuracy, and of equal scores the lower loss is better; "loss" is the validation loss; a
        string is the name of a scorer, such as "f1_macro" or "roc_auc"; a callable has the form
        ``scorer(estimator, X, y)``. A scorer predicts the validation images once more an epoch.
    validation_fraction : float, default=0.1
        Share of the images that early stopping holds out, stratified by class. A class with a
        single image is learnt from alone; where the share is smaller than the number of classes,
        ``random_state`` draws those held out. With several labels an image, all are drawn at
        random. Fewer than 30 images warn. It is ignored where ``fit`` is given ``X_val``.
    n_iter_no_change : int, default=10
        Epochs without a better validation score after which the learning rate falls to zero, and
        training ends. That takes three tenths of ``max_epochs``, or those that are left; it does
        not begin while "one_cycle" climbs, and a constant rate ends at once.
    tol : float, default=1e-4
        By how much a validation score must be higher to count as better.
    class_weight : dict, list of dict, "balanced" or None, default=None
        Weight of each class, as ``{label: weight}``; "balanced" weighs a class by the inverse of
        its frequency, and is not for ``partial_fit``. It multiplies ``sample_weight``. For several
        labels an image, a dict ``{0: weight, 1: weight}`` for each label, which weighs its part
        of the loss where it is absent and where it is present.
    warm_start : bool, default=False
        Whether ``fit`` goes on from the weights of the last ``fit``, with its network, for images
        and classes of the same kind.
    callbacks : list of skorch callbacks or None, default=None
        Called while training, as skorch calls them: the objects themselves, their classes, or
        pairs (name, object). To a scorer, the net that they get is a classifier of class numbers,
        the positions in ``classes_``. A clone has copies of the objects, which share what they
        hold. Figures of validation, such as "valid_loss" and "valid_acc", are available with
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
    classes_ : ndarray of shape (n_classes,)
        The class labels, sorted; the numbers of the columns, where ``y`` was an indicator matrix.
    multilabel_ : bool
        Whether ``y`` was an indicator matrix, of several labels an image.
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
        channels, height, width).
    n_iter_ : int
        Epochs run, those of earlier warm starts and partial fits included.
    loss_curve_ : list of float
        Training loss of each epoch. With label smoothing it does not come near zero.
    validation_scores_ : list of float or None
        Score of the validation images after each epoch of the last fit: accuracy, weighted as the
        loss is, or what ``scoring`` asks for; None without early stopping.
    best_validation_score_ : float or None
        The highest of them, which is that of the weights kept.
    history_ : skorch.history.History
        Everything noted while training, an entry an epoch; of ``partial_fit``, the last 32 calls.

    See Also
    --------
    sklearn.discriminant_analysis.LinearDiscriminantAnalysis : Also both classifier and transformer.
    sklearn.neural_network.MLPClassifier : Dense layers alone, without convolution.
    skorch.NeuralNetClassifier : Wraps a PyTorch module that you write.

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

    A network memorises its training images: their features separate the classes almost perfectly.
    An estimator that learns from features of the same images is overconfident, and ignores other
    columns that it is given. :class:`sklearn.ensemble.StackingClassifier` joins images and columns
    without that; see :meth:`transform`.

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
        batch_size: int = 128,
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

        The first call fixes the classes, the shape of the images, the mean and standard deviation
        that pixels are standardised with, and the network; later calls widen the range of pixels
        that counts as seen. Calls go on with the state of the optimizer, which is pickled with the
        estimator; after ``fit`` it begins anew. Callbacks of skorch begin anew with each call;
        those of scikit-learn are for ``fit`` only.

        Parameters
        ----------
        X : array-like of shape (n, H, W), (n, H, W, C), (n, C, H, W) or (n, features)
            Images, as for ``fit``.
        y : array-like of shape (n,) or (n, n_labels)
            Labels, as for ``fit``.
        classes : array-like of shape (n_classes,) or None, default=None
            All classes that any call will bring. The first call needs them, unless ``y`` is an
            indicator matrix.
        sample_weight : array-like of shape (n,) or None, default=None
            Weights of the images in the loss. The mean weight of the first call, or of ``fit``,
            is the unit: what weighs a millionth of it has a millionth of its gradient.

        Returns
        -------
        self : CNNClassifier
            The fitted estimator.

        Raises
        ------
        ValueError
            If ``classes`` is missing at first or other later, or a label is not among them. The
            estimator is then as it was before.
        AttributeError
            With ``early_stopping=True``, which needs ``fit``.
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
        """Hold out a share of each class; with several labels, of all images."""
        targets, share = examples.targets, self.validation_fraction
        if self.multilabel_:
            return divide(examples, *split_at_random(len(targets), share, seed, fewest=1))
        return divide(examples, *split_validation(targets, share, seed, self.classes_))

    def predict(self, X: ArrayLike) -> np.ndarray:
        """Predict the label of each image.

        Parameters
        ----------
        X : array-like of shape (n, H, W), (n, H, W, C), (n, C, H, W) or (n, features)
            Images of the shape and range seen at fit, in that layout or another.

        Returns
        -------
        ndarray of shape (n,), or of shape (n, n_labels), int
            Labels, each from ``classes_``; or an indicator matrix of the labels whose probability
            is above 0.5, where ``y`` was one at fit.

        Raises
        ------
        NotFittedError
            If ``fit`` was not called before.
        ValueError, TypeError
            If ``X`` holds no images of the shape and range seen at fit.
        """
        logits = self._outputs(X)
        decided = self.net_.objective.decide(logits)
        labels: np.ndarray = decided if self.multilabel_ else self.classes_[decided]
        return labels

    def score(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Return the share of images whose label, or all of whose labels, are predicted right.

        Parameters
        ----------
        X : array-like
            Images, as for ``predict``.
        y : array-like of shape (n,) or (n, n_labels)
            Their labels, of any type that ``fit`` takes.
        sample_weight : array-like of shape (n,) or None, default=None
            How much each image counts.

        Returns
        -------
        float
            0 to 1.

        Raises
        ------
        NotFittedError
            If ``fit`` was not called before.
        ValueError, TypeError
            If ``X`` holds no images of the shape and range seen at fit, or ``y`` no labels.
        """
        predicted = self.predict(X)
        labels = y if y is None else plain_labels(y)
        return float(accuracy_score(labels, predicted, sample_weight=to_host(sample_weight)))

    def predict_proba(self, X: ArrayLike) -> np.ndarray:
        """Predict the probability of each class, or of each label, for each image.

        Parameters
        ----------
        X : array-like of shape (n, H, W), (n, H, W, C), (n, C, H, W) or (n, features)
            Images of the shape and range seen at fit, in that layout or another.

        Returns
        -------
        ndarray of shape (n, n_classes), float64
            Between 0 and 1; columns follow ``classes_``. Rows sum to 1, but for several labels an
            image, which have a probability each.

        Raises
        ------
        NotFittedError
            If ``fit`` was not called before.
        ValueError, TypeError
            If ``X`` holds no images of the shape and range seen at fit.
        """
        logits = self._outputs(X)
        return self.net_.objective.probabilities(logits)

    def predict_log_proba(self, X: ArrayLike) -> np.ndarray:
        """Predict the logarithm of what ``predict_proba`` predicts.

        Parameters
        ----------
        X : array-like of shape (n, H, W), (n, H, W, C), (n, C, H, W) or (n, features)
            Images of the shape and range seen at fit, in that layout or another.

        Returns
        -------
        ndarray of shape (n, n_classes), float64
            At most 0; columns follow ``classes_``.

        Raises
        ------
        NotFittedError
            If ``fit`` was not called before.
        ValueError, TypeError
            If ``X`` holds no images of the shape and range seen at fit.
        """
        logits = self._outputs(X)
        return np.asarray(log_expit(logits) if self.multilabel_ else log_softmax(logits, axis=1))

    def decision_function(self, X: ArrayLike) -> np.ndarray:
        """Compute the network's outputs, before they become probabilities.

        Parameters
        ----------
        X : array-like of shape (n, H, W), (n, H, W, C), (n, C, H, W) or (n, features)
            Images of the shape and range seen at fit, in that layout or another.

        Returns
        -------
        ndarray of shape (n, n_classes), or (n,) for two classes, float64
            Logits; for two classes, that of ``classes_[1]`` less that of ``classes_[0]``, which
            is positive where ``classes_[1]`` is predicted. For several labels an image, one for
            each, positive where the label is predicted.

        Raises
        ------
        NotFittedError
            If ``fit`` was not called before.
        ValueError, TypeError
            If ``X`` holds no images of the shape and range seen at fit.
        """
        logits = self._outputs(X)
        is_binary = len(self.classes_) == 2 and not self.multilabel_
        return logits[:, 1] - logits[:, 0] if is_binary else logits
