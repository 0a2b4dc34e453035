"""What a fitted network makes of an image on its way: features, feature maps, a table of layers."""

from typing import Any

import numpy as np
import torch
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from sklearn_cnn._compat import FittedHTMLMixin
from sklearn_cnn._messages import did_you_mean
from sklearn_cnn.fitting import follow_parameters, images_at_once, read_pixels
from sklearn_cnn.machine.isolation import isolated
from sklearn_cnn.network.outputs import (
    LayerOutputs,
    LayerRow,
    Source,
    feature_source,
    layer_names,
    n_values,
)
from sklearn_cnn.network.summary import STYLE, NetworkSummary, html_table, layer_times, table_lines
from sklearn_cnn.training.net import ConvNet
from sklearn_cnn.training.prediction import predict_outputs

IMAGES_OF_A_SUMMARY = 8
"""Images that a summary measures the time of, at most."""


class FeatureMixin(ClassNamePrefixFeaturesOutMixin, FittedHTMLMixin, TransformerMixin):
    """``transform`` and what looks inside, for a class with fitted ``net_`` and ``layers_``."""

    classes_: np.ndarray
    feature_layer: str
    image_shape_: tuple[int, int, int]
    layers_: tuple[LayerRow, ...]
    net_: ConvNet
    _chunk: int

    def transform(self, X: Any) -> np.ndarray:
        """Turn each image into its feature vector.

        Parameters
        ----------
        X : array-like of shape (n, H, W), (n, H, W, C), (n, C, H, W) or (n, features)
            Images of the shape and range seen at fit, in that layout or another.

        Returns
        -------
        ndarray of shape (n, n_features_out), float32
            What ``feature_layer`` names; float64 with ``precision="float64"``. Feature maps are
            flattened pixel by pixel, as with :func:`numpy.reshape`. A DataFrame after
            ``set_output``.

        Raises
        ------
        NotFittedError
            If ``fit`` was not called before.
        ValueError, TypeError
            If ``X`` holds no images of the shape and range seen at fit, or the network has no layer
            of that name.

        Notes
        -----
        Features of the training images separate the classes far better than those of new images:
        the network memorises them. Another estimator that learns from them, as in
        ``make_pipeline(CNNClassifier(), LogisticRegression())``, ranks new images about as well as
        the network itself does, but overconfidently; joined to other columns, it
        ignores these. Stack the classifier with an estimator of those columns
        (:class:`sklearn.ensemble.StackingClassifier`), or let the other estimator learn from images
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
        (features,) = self._outputs_of(read_pixels(self, X), [self._feature_source()])
        return features.reshape(len(features), -1)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Name the features that ``transform`` gives.

        Parameters
        ----------
        input_features : array-like of str or None, default=None
            Names of the values of an image, only to be compared with those seen at fit.

        Returns
        -------
        ndarray of shape (n_features_out,), object
            "cnnclassifier0", "cnnclassifier1" and so on.

        Raises
        ------
        NotFittedError
            If ``fit`` was not called before.
        ValueError
            If the names are others, or the network has no layer that ``feature_layer`` names.
        """
        check_is_fitted(self)
        self._feature_source()  # its error says more than that of a missing _n_features_out
        names: np.ndarray = super().get_feature_names_out(input_features)
        return names

    def feature_maps(self, X: Any, layer: str | None = None) -> Any:
        """Compute what the layers give for each image.

        Parameters
        ----------
        X : array-like of shape (n, H, W), (n, H, W, C), (n, C, H, W) or (n, features)
            Images of the shape and range seen at fit, in that layout or another.
        layer : str or None, default=None
            A name of ``layers_``; None for all layers.

        Returns
        -------
        ndarray, or dict of str to ndarray, float32
            Feature maps of shape (n, height, width, channels), and vectors of shape (n, values); by
            the name of the layer, in their order, where all are asked for. float64 with
            ``precision="float64"``.

        Raises
        ------
        NotFittedError
            If ``fit`` was not called before.
        ValueError, TypeError
            If ``X`` holds no images of the shape and range seen at fit, or the network has no layer
            of that name.

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
            outputs = self._outputs_of(read_pixels(self, X), [Source(name) for name in names])
            return dict(zip(names, outputs, strict=True))
        if layer not in names:
            raise ValueError(
                f"layer must be None, for all, or one of {', '.join(names)}. Got layer={layer!r}."
                f"{did_you_mean(layer, names)}"
            )
        (maps,) = self._outputs_of(read_pixels(self, X), [Source(layer)])
        return maps

    def summary(self) -> NetworkSummary:
        """Describe the network, one row a layer, and measure each layer's share of the time.

        Returns
        -------
        NetworkSummary
            It prints as a table of the layers' names, kinds, output shapes, parameters and shares
            of the time for an image at prediction, with the totals. ``to_frame()`` makes a
            DataFrame of it. The times are measured anew in each call, on blank images. In a
            notebook, the picture of a fitted estimator shows the same table without times, and
            measures nothing.

        Raises
        ------
        NotFittedError
            If ``fit`` was not called before.

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
        follow_parameters(self)
        n_images = min(self._chunk, IMAGES_OF_A_SUMMARY)
        with isolated(torch.device(self.net_.device)):
            seconds = layer_times(self.net_.module_, self.image_shape_, n_images)
        return NetworkSummary(self.layers_, seconds, self._count_parameters())

    def _outputs_of(self, images: np.ndarray, sources: list[Source]) -> list[np.ndarray]:
        """Compute what layers give, of images that were read before."""
        with isolated(torch.device(self.net_.device)):
            network = LayerOutputs(self.net_.module_, sources)
            return predict_outputs(network, images, self._chunk, images_at_once(self))

    def _feature_source(self) -> Source:
        network, n_outputs = self.net_.module_, len(self.classes_)
        return feature_source(self.feature_layer, network, self.layers_, n_outputs)

    @property
    def _n_features_out(self) -> int:
        try:
            source = self._feature_source()
        except ValueError as error:  # dir() and drawings ask for every attribute, by hasattr
            raise AttributeError(str(error)) from error
        return n_values(source, self.net_.module_, self.layers_)

    def _fitted_html(self) -> str:
        """Draw the table of layers, in the style of scikit-learn's tables.

        It measures no times: a notebook draws it whenever it shows the estimator.
        """
        table = html_table(table_lines(self.layers_, self._count_parameters()))
        return (
            f'{STYLE}<div class="estimator-table"><details open><summary>Layers</summary>'
            f"{table}</details></div>"
        )

    def _count_parameters(self) -> int:
        weights = self.net_.module_.parameters()
        return sum(weight.numel() for weight in weights if weight.requires_grad)
