"""The classifier as a transformer: what its features are good for, and where they are handed on."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.frozen import FrozenEstimator
from sklearn.manifold import TSNE
from sklearn.model_selection import GridSearchCV, StratifiedKFold, train_test_split
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import SVC
from threadpoolctl import threadpool_limits

from sklearn_cnn import CNNClassifier

SEEDS = range(3)


def divide(digits, seed):
    """X_train (500, 64), X_test (1000, 64), y_train, y_test."""
    return train_test_split(
        digits.data,
        digits.target,
        train_size=500,
        test_size=1000,
        random_state=seed,
        stratify=digits.target,
    )


@pytest.fixture(scope="module")
def nets(digits):
    """For each seed, the net with its defaults, trained on 500 digits."""
    fitted = []
    for seed in SEEDS:
        X, _, y, _ = divide(digits, seed)
        fitted.append(CNNClassifier(random_state=seed).fit(X, y))
    return fitted


def test_an_svm_does_better_on_features_than_on_pixels(nets, digits):
    """On 1,000 digits that neither has seen, over three splits. Catches features that say less than
    the pixels, which no check of shapes would notice."""
    errors = np.zeros(2)
    for net, seed in zip(nets, SEEDS, strict=True):
        X_train, X_test, y_train, y_test = divide(digits, seed)
        on_features = make_pipeline(FrozenEstimator(net), SVC())
        for position, model in enumerate((on_features, SVC())):
            errors[position] += 1000 - 1000 * model.fit(X_train, y_train).score(X_test, y_test)
    of_features, of_pixels = errors / len(SEEDS)
    assert of_features < 20
    assert of_features < 0.75 * of_pixels


def agreement(points, labels):
    """Share of the five nearest neighbours of each point that have its label."""
    neighbours = NearestNeighbors(n_neighbors=5).fit(points).kneighbors(return_distance=False)
    return (labels[neighbours] == labels[:, np.newaxis]).mean()


def test_a_map_of_features_keeps_like_with_like(nets, digits):
    """t-SNE of 150 digits that the net has not seen: neighbours on the map of features are of one
    class more often than on that of pixels."""
    _, X, _, y = divide(digits, 0)
    X, y = X[:150], y[:150]
    tsne = TSNE(init="pca", perplexity=15, max_iter=300, random_state=0)
    with threadpool_limits(1):  # its threads wait long for each other where others compute
        of_features = agreement(tsne.fit_transform(nets[0].transform(X)), y)
        of_pixels = agreement(tsne.fit_transform(X), y)
    assert of_features > 0.93
    assert of_features > of_pixels + 0.05


def test_features_of_other_classes(quick, digits):
    """A net that has seen 5 to 9, under a classifier of 0 to 4: the maps still tell what the logits
    have forgotten. Catches a frozen net that is trained again, or another layer's features."""
    small, large = digits.target < 5, digits.target >= 5
    net = quick(conv_channels=(16, 32), dense_units=64)
    net.fit(digits.data[large], digits.target[large])
    X, y = digits.data[small], digits.target[small]
    before, scores = net.predict_proba(X), {}
    for layer in ("flatten", "output"):
        frozen = FrozenEstimator(net.set_params(feature_layer=layer))
        model = make_pipeline(frozen, StandardScaler(), SVC(kernel="linear"))
        scores[layer] = model.fit(X[:100], y[:100]).score(X[100:], y[100:])
    assert scores["flatten"] > 0.8
    assert scores["flatten"] > scores["output"] + 0.1
    assert_array_equal(net.predict_proba(X), before)


def test_a_pipeline_trains_the_net_and_hands_on_its_features(quick, split):
    """Catches a step that is fitted to something else than what transform gives."""
    X_train, X_test, y_train, y_test = split
    model = make_pipeline(quick(), PCA(8, random_state=0), KNeighborsClassifier())
    model.fit(X_train, y_train)
    net = quick().fit(X_train, y_train)
    pca = PCA(8, random_state=0).fit(net.transform(X_train))
    knn = KNeighborsClassifier().fit(pca.transform(net.transform(X_train)), y_train)
    assert_array_equal(model[0].transform(X_test), net.transform(X_test))
    assert_array_equal(model.predict(X_test), knn.predict(pca.transform(net.transform(X_test))))
    assert model.score(X_test, y_test) > 0.85
    assert model[:2].get_feature_names_out().tolist() == [f"pca{i}" for i in range(8)]


def test_a_search_over_the_feature_layer(quick, split):
    """Catches a layer that the search sets too late, and features of another fold's net."""
    X_train, X_test, y_train, _ = split
    cv = StratifiedKFold(2)
    search = GridSearchCV(
        make_pipeline(quick(), SVC()),
        {"cnnclassifier__feature_layer": ["dense", "flatten", "pool1"]},
        cv=cv,
        error_score="raise",
    )
    search.fit(X_train, y_train)
    n_features = {"dense": 16, "flatten": 128, "pool1": 128}
    for layer, score in zip(n_features, search.cv_results_["split1_test_score"], strict=True):
        train, test = list(cv.split(X_train, y_train))[1]
        net = quick(feature_layer=layer).fit(X_train[train], y_train[train])
        svm = SVC().fit(net.transform(X_train[train]), y_train[train])
        assert score == svm.score(net.transform(X_train[test]), y_train[test])
    best = search.best_estimator_
    layer = search.best_params_["cnnclassifier__feature_layer"]
    assert best[0].transform(X_test).shape == (300, n_features[layer])
    assert best[-1].n_features_in_ == n_features[layer]


PIXELS = [f"pixel{i}" for i in range(64)]


def table(X, sign):
    """A frame of pixels, and of two columns that no pixel tells: a number and a word."""
    frame = pd.DataFrame(X, columns=PIXELS, index=[f"row {i}" for i in range(len(X))])
    frame.insert(10, "sign", sign * 100)
    frame.insert(40, "colour", np.where(np.arange(len(X)) % 3, "blue", "red"))
    return frame


def test_a_column_transformer_joins_features_with_other_columns(quick, split):
    """Digits with a sign, which stands in another column: twenty classes. Catches columns that are
    handed on in another order, and a block of pixels that takes those between them."""
    X_train, X_test, y_train, y_test = split
    rng = np.random.default_rng(0)
    signs = rng.choice([-1, 1], 450), rng.choice([-1, 1], 300)
    train, test = table(X_train, signs[0]), table(X_test, signs[1])
    columns = ColumnTransformer(
        [
            ("net", quick(), PIXELS),
            ("number", StandardScaler(), ["sign"]),
            ("word", OneHotEncoder(sparse_output=False), ["colour"]),
        ]
    )
    labels = [f"{'-' if s < 0 else '+'}{y}" for s, y in zip(signs[0], y_train, strict=True)]
    expected = [f"{'-' if s < 0 else '+'}{y}" for s, y in zip(signs[1], y_test, strict=True)]
    model = make_pipeline(columns, SVC(kernel="linear")).fit(train, labels)
    net = quick().fit(train[PIXELS], labels)
    joined = model[0].transform(test)
    assert joined.shape == (300, 16 + 1 + 2)
    assert_allclose(joined[:, :16], net.transform(test[PIXELS]))
    assert_array_equal(np.sign(joined[:, 16]), signs[1])
    names = model[0].get_feature_names_out()
    assert names.tolist() == [
        *[f"net__cnnclassifier{i}" for i in range(16)],
        "number__sign",
        "word__colour_blue",
        "word__colour_red",
    ]
    assert model.score(test, expected) > 0.8
    assert net.score(test[PIXELS], expected) < 0.7
    frame = columns.set_output(transform="pandas").fit(train, labels).transform(test)
    assert_array_equal(frame.to_numpy(), joined)
    assert frame.index.tolist() == test.index.tolist()
    assert frame.columns.tolist() == names.tolist()


def test_a_feature_union_sets_features_beside_others(quick, split):
    """Catches a union that does not pass labels, and one that trains two nets alike."""
    X_train, X_test, y_train, y_test = split
    union = FeatureUnion(
        [("max", quick()), ("mean", quick(pooling="mean")), ("pixels", "passthrough")]
    )
    model = make_pipeline(union, StandardScaler(), SVC()).fit(X_train, y_train)
    joined = model[0].transform(X_test)
    assert joined.shape == (300, 16 + 16 + 64)
    for start, pooling in ((0, "max"), (16, "mean")):
        net = quick(pooling=pooling).fit(X_train, y_train)
        assert_allclose(joined[:, start : start + 16], net.transform(X_test))
    assert_array_equal(joined[:, 32:], X_test)
    assert model[0].get_feature_names_out()[[0, 16]].tolist() == [
        "max__cnnclassifier0",
        "mean__cnnclassifier0",
    ]
    assert model.score(X_test, y_test) > 0.9


@pytest.mark.parametrize("routes", [True, False])
def test_weights_reach_the_net_in_front_of_another_classifier(quick, split, routes):
    """In one batch, images of zero weight are images left out, bit for bit. Catches weights that
    fit_transform drops, or that it hands to transform."""
    X_train, X_test, y_train, _ = split
    weights = np.random.default_rng(0).uniform(0.2, 3, 450) * (np.arange(450) % 3 > 0)
    keep = weights > 0
    net = quick(batch_size=10_000, max_epochs=6)
    with config_context(enable_metadata_routing=routes):
        if routes:
            model = make_pipeline(
                clone(net).set_fit_request(sample_weight=True),
                SVC().set_fit_request(sample_weight=False),
            )
            model.fit(X_train, y_train, sample_weight=weights)
        else:
            model = make_pipeline(clone(net), SVC())
            model.fit(X_train, y_train, cnnclassifier__sample_weight=weights)
    left_out = clone(net).fit(X_train[keep], y_train[keep], sample_weight=weights[keep])
    unweighted = clone(net).fit(X_train[keep], y_train[keep])
    expected = left_out.transform(X_test)
    assert_array_equal(model[0].transform(X_test), expected)
    assert not np.allclose(unweighted.transform(X_test), expected)
    assert len(model[-1].support_) > 0


@pytest.mark.parametrize("layer", ["dense", "pool1"])
def test_frames(quick, split, layer):
    """Catches float64, a lost index, and columns for the layer that fit saw."""
    X_train, X_test, y_train, _ = split
    net = quick(max_epochs=1).fit(X_train, y_train).set_params(feature_layer=layer)
    expected = net.transform(X_test)
    names = [f"cnnclassifier{position}" for position in range(expected.shape[1])]
    net.set_output(transform="pandas")
    frame = net.transform(X_test)
    assert isinstance(frame, pd.DataFrame)
    assert set(frame.dtypes) == {np.dtype(np.float32)}
    assert list(frame) == list(net.get_feature_names_out()) == names
    assert_array_equal(frame, expected)
    polars = net.set_output(transform="polars").transform(X_test)
    assert isinstance(polars, pl.DataFrame)
    assert set(polars.dtypes) == {pl.Float32}
    assert polars.columns == names
    assert_array_equal(polars.to_numpy(), expected)
    with config_context(transform_output="pandas"):
        refitted = quick(max_epochs=1, feature_layer=layer).fit_transform(X_train, y_train)
    assert list(refitted) == names
    assert_array_equal(refitted, net.set_output(transform="default").transform(X_train))


def test_the_index_of_a_frame_is_kept(quick, split):
    """Catches rows that are numbered anew, and would be joined to those of others."""
    X_train, X_test, y_train, _ = split
    train, test = table(X_train, 1)[PIXELS], table(X_test, 1)[PIXELS].sample(frac=1, random_state=0)
    net = quick(max_epochs=1).set_output(transform="pandas").fit(train, y_train)
    assert net.transform(test).index.tolist() == test.index.tolist()
    assert not isinstance(net.feature_maps(test, "pool1"), pd.DataFrame)
    assert not isinstance(net.predict_proba(test), pd.DataFrame)
