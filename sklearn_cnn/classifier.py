"""CNNClassifier: its parameters, and the story of fit and predict."""

from copy import copy
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.metaestimators import available_if

from sklearn_cnn._compat import CallbackSupportMixin, CheckedParametersMixin, _fit_context
from sklearn_cnn.augment.descriptions import check_augment
from sklearn_cnn.features import FeatureMixin
from sklearn_cnn.fitting import read_examples, start, train
from sklearn_cnn.machine.isolation import draw_seed
from sklearn_cnn.network.outputs import LayerRow
from sklearn_cnn.parameters import (
    PARAMETER_CONSTRAINTS,
    copy_callbacks,
    set_callback_parameter,
)
from sklearn_cnn.pixels.scale import PixelScale
from sklearn_cnn.pixels.spec import ImageSpec
from sklearn_cnn.predicting import PredictionMixin
from sklearn_cnn.training.examples import TrainingData, divide_examples
from sklearn_cnn.training.labels import check_partial_class_weight, check_partial_classes
from sklearn_cnn.training.net import ConvNet
from sklearn_cnn.training.optimizer import resolve_max_epochs
from sklearn_cnn.training.transaction import all_or_nothing


class CNNClassifier(
    CheckedParametersMixin,
    FeatureMixin,
    PredictionMixin,
    CallbackSupportMixin,
    ClassifierMixin,
    BaseEstimator,
):
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
        What pooling takes of a window: the maximum of what the convolution gives, or the mean of
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
        What ``transform`` gives. "dense" is the vector that feeds the output layer, "flatten" that
        of the feature maps, and any name of ``layers_`` what that layer gives, pixel by pixel. It
        may be set after ``fit``.
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
        What updates the weights. "sgd" has a Nesterov momentum of 0.9, and wants a larger
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
        below 1.
    schedule : {"one_cycle", "cosine", "constant"}, default="one_cycle"
        Learning rate over the training: up and down again, down, or as it is. ``partial_fit``
        always keeps it constant.
    batch_size : int, default=128
        Images of a training step, at most. An epoch's batches are of nearly equal size.
    max_epochs : "auto" or int, default="auto"
        Passes over the training images, at most. "auto" makes it 100 for a single batch, fewer as
        there are more, and never under 7; twice as many with ``augment``.
    early_stopping : bool, default=False
        Whether to hold out images, score them after each epoch, stop when the score stalls, and
        keep the weights of the best epoch. Before training stops, the learning rate falls to zero.
    validation_fraction : float, default=0.1
        Share of the images that early stopping holds out, stratified by class. A class with a
        single image is learnt from alone; where the share is smaller than the number of classes,
        ``random_state`` draws those held out. Fewer than 30 images warn.
    n_iter_no_change : int, default=10
        Epochs without a better validation score after which the learning rate falls to zero, and
        training ends. That takes three tenths of ``max_epochs``, or those that are left; it does
        not begin while "one_cycle" climbs, and a constant rate ends at once.
    tol : float, default=1e-4
        By how much a validation score must be higher to count as better.
    class_weight : dict, "balanced" or None, default=None
        Weight of each class, as ``{label: weight}``; "balanced" weighs a class by the inverse of
        its frequency, and is not for ``partial_fit``. It multiplies ``sample_weight``.
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
    device : str or torch.device, default="auto"
        Where to compute. "auto" takes CUDA where there is one, then MPS, then the CPU. Set after
        ``fit``, it moves the network when that is next used, and so does ``precision``; a model
        that is loaded where its device is absent computes on the CPU.
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
        The class labels, sorted.
    n_features_in_ : int
        Values of an image, where ``X`` at fit was flattened rows; absent otherwise.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, where ``X`` at fit was a DataFrame with names of type str.
    image_shape_ : tuple of int
        Height, width, channels of an image.
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
        Accuracy on the held-out images after each epoch of the last fit, weighted as the loss is;
        None without early stopping.
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
    at fit and at prediction. An image that was clearly scaled otherwise is refused, whichever
    images come with it; dark images are not.

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

    _parameter_constraints = PARAMETER_CONSTRAINTS

    classes_: np.ndarray
    image_shape_: tuple[int, int, int]
    layers_: tuple[LayerRow, ...]
    net_: ConvNet
    _layout: ImageSpec
    _pixel_scale: PixelScale
    _dtype: str
    _settled_for: tuple[Any, str, Any]
    _log_unit: float
    _network: Any

    def __init__(
        self,
        conv_channels: Any = "auto",
        *,
        kernel_size: Any = 3,
        pooling: Any = "max",
        pool_size: Any = 2,
        dense_units: Any = (128,),
        activation: Any = "relu",
        batch_norm: bool = True,
        dropout: float = 0.0,
        layers: Any = None,
        feature_layer: str = "dense",
        image_shape: Any = None,
        data_format: str = "auto",
        augment: Any = None,
        optimizer: Any = "adamw",
        learning_rate: float = 0.004,
        weight_decay: float = 0.1,
        label_smoothing: float = 0.1,
        schedule: str = "one_cycle",
        batch_size: int = 128,
        max_epochs: Any = "auto",
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        tol: float = 1e-4,
        class_weight: Any = None,
        warm_start: bool = False,
        callbacks: Any = None,
        device: Any = "auto",
        precision: str = "auto",
        random_state: Any = None,
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
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.class_weight = class_weight
        self.warm_start = warm_start
        self.callbacks = callbacks
        self.device = device
        self.precision = precision
        self.random_state = random_state
        self.verbose = verbose

    def set_params(self, **params: Any) -> "CNNClassifier":
        """Set parameters, those of callbacks included.

        Parameters
        ----------
        **params : dict
            Parameters by name; ``callbacks__NAME__PARAMETER`` is one of a callback object, where
            ``NAME`` comes from its pair (name, object), or is that of its class.

        Returns
        -------
        self : CNNClassifier
            The estimator itself.

        Raises
        ------
        ValueError
            If there is no such parameter, or no callback object of that name.
        """
        of_callbacks = {key: params.pop(key) for key in [*params] if key.startswith("callbacks__")}
        super().set_params(**params)
        for key, value in of_callbacks.items():
            set_callback_parameter(self.callbacks, key, value)
        return self

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what scikit-learn's callbacks keep in an estimator while it is fitted."""
        of_a_fit = ("_callback_fit_ctx", "_skl_callbacks_to_teardown")
        state: dict[str, Any] = super().__getstate__()
        return {name: value for name, value in state.items() if name not in of_a_fit}

    def __sklearn_clone__(self) -> "CNNClassifier":
        """Clone, with copies of the callback objects that share what they hold."""
        bare = copy(self)
        bare.callbacks = None
        cloned: CNNClassifier = super(CNNClassifier, bare).__sklearn_clone__()
        cloned.callbacks = copy_callbacks(self.callbacks)
        return cloned

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = []  # features are float32, whatever X is
        return tags

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> "CNNClassifier":
        """Train the network on images and their labels.

        Parameters
        ----------
        X : array-like of shape (n, H, W), (n, H, W, C), (n, C, H, W) or (n, features)
            Images, of any real dtype, in any range. They are not written to, and not copied whole.
        y : array-like of shape (n,)
            Labels: strings, whole numbers or booleans.
        sample_weight : array-like of shape (n,) or None, default=None
            Weights of the images in the loss, the validation score and the mean and standard
            deviation of the pixels. Their ratios count; an image of weight zero does not count
            at all.

        Returns
        -------
        self : CNNClassifier
            The fitted estimator.

        Raises
        ------
        ValueError, TypeError
            If images, labels and parameters do not go together, or training diverges.
        KeyboardInterrupt
            On Ctrl-C. In all cases, the estimator is then as it was before.
        """
        with all_or_nothing(self):
            continuing = self.warm_start and hasattr(self, "net_")
            seed = draw_seed(self.random_state)
            examples = read_examples(self, X, y, sample_weight, reset=not continuing)
            fraction = self.validation_fraction if self.early_stopping else None
            training, data = divide_examples(examples, fraction, seed, self.classes_)
            self._log_unit = examples.log_unit
            if not continuing:
                start(self, training, seed)
            epochs = resolve_max_epochs(
                self.max_epochs,
                len(training.rows),
                self.batch_size,
                is_augmented=bool(check_augment(self.augment)),
            )
            given = {"X": X, "y": y, "sample_weight": sample_weight}
            train(self, data, epochs, self.schedule, seed, given=given, new_optimizer=continuing)
        return self

    def _fits_in_parts(self) -> bool:
        if self.early_stopping:
            raise AttributeError(
                "partial_fit is not there with early_stopping=True: it cannot hold out images. Use "
                "early_stopping=False, or call fit."
            )
        return True

    @available_if(_fits_in_parts)
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(
        self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None
    ) -> "CNNClassifier":
        """Train the network for one epoch, at a constant learning rate.

        The first call fixes the classes, the shape of the images, the mean and standard deviation
        that pixels are standardised with, and the network; later calls widen the range of pixels
        that counts as seen. Calls go on with the state of the optimizer, which a pickle has, too;
        after ``fit`` it begins anew. Callbacks of skorch begin anew with each call; those of
        scikit-learn are for ``fit`` only.

        Parameters
        ----------
        X : array-like of shape (n, H, W), (n, H, W, C), (n, C, H, W) or (n, features)
            Images, as for ``fit``.
        y : array-like of shape (n,)
            Labels.
        classes : array-like of shape (n_classes,) or None, default=None
            All classes that any call will bring. The first call needs them.
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
        with all_or_nothing(self):
            first = not hasattr(self, "net_")
            check_partial_classes(classes, None if first else self.classes_)
            check_partial_class_weight(self.class_weight)
            seed = draw_seed(self.random_state)
            examples = read_examples(self, X, y, sample_weight, reset=first, classes=classes)
            if first:
                self._log_unit = examples.log_unit
                start(self, examples, seed)
            scale = examples.weight_relative_to(self._log_unit)
            data = TrainingData(examples.as_dataset(scale), None, scale)
            train(self, data, 1, "constant", seed)
        return self
