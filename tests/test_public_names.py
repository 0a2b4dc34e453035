"""The public names, pinned: a change of them is a decision, not an accident."""

import sklearn_cnn


def test_public_names():
    assert sorted(sklearn_cnn.__all__) == [
        "Activation",
        "Backbone",
        "BatchNorm",
        "CNNClassifier",
        "CNNRegressor",
        "Conv",
        "Dense",
        "Dropout",
        "FeatureMapDisplay",
        "FilterDisplay",
        "Flatten",
        "ImageReader",
        "MistakesDisplay",
        "Pool",
        "PretrainedFeatures",
        "RandomErasing",
        "RandomFlip",
        "RandomRotation",
        "RandomShear",
        "RandomShift",
        "RandomZoom",
        "SaliencyDisplay",
        "TrainingCurveDisplay",
        "__version__",
        "data_parallel",
        "export_onnx",
        "load_image_folder",
        "load_model",
        "save_model",
    ]
    for name in sklearn_cnn.__all__:
        assert hasattr(sklearn_cnn, name)


def test_parameters_of_both_learners():
    of_classifier = list(sklearn_cnn.CNNClassifier().get_params())
    of_regressor = list(sklearn_cnn.CNNRegressor().get_params())
    assert set(of_classifier) - set(of_regressor) == {"class_weight", "label_smoothing"}
    assert set(of_regressor) - set(of_classifier) == {"loss"}
    assert of_classifier == [
        "activation",
        "augment",
        "batch_norm",
        "batch_size",
        "callbacks",
        "checkpoint",
        "class_weight",
        "conv_channels",
        "data_format",
        "dense_units",
        "device",
        "dropout",
        "early_stopping",
        "feature_layer",
        "image_shape",
        "kernel_size",
        "label_smoothing",
        "layers",
        "learning_rate",
        "max_epochs",
        "n_iter_no_change",
        "optimizer",
        "pool_size",
        "pooling",
        "precision",
        "random_state",
        "schedule",
        "scoring",
        "tol",
        "validation_fraction",
        "verbose",
        "warm_start",
        "weight_decay",
    ]


def test_parameters_of_the_reader():
    assert list(sklearn_cnn.ImageReader().get_params()) == [
        "background",
        "cache",
        "cache_limit",
        "decoder",
        "dtype",
        "mode",
        "n_jobs",
        "on_error",
        "resize",
        "size",
        "value_range",
        "verbose",
    ]
