"""Sample weights through whatever stands around the classifier.

The proof that weights arrive is exact: in full batches, a fit in which a third of the images weigh
nothing is the fit without them, bit for bit.
"""

import numpy as np
import pytest
import sklearn
from sklearn import config_context
from sklearn.ensemble import VotingClassifier
from sklearn.exceptions import UnsetMetadataPassedError
from sklearn.model_selection import GridSearchCV, cross_validate, learning_curve
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import MultiOutputClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.tests.metadata_routing_common import (
    ConsumingTransformer,
    WeightedMetaClassifier,
    assert_request_equal,
    assert_request_is_empty,
)
from sklearn.utils.fixes import parse_version

# Before 1.9, scikit-learn hands every partial_fit of a learning curve the weights of all images:
# https://github.com/scikit-learn/scikit-learn/pull/34039
LEARNING_CURVE_SPLITS_WEIGHTS = parse_version(sklearn.__version__) >= parse_version("1.9")


@pytest.fixture
def routing():
    """Metadata routing, for one test."""
    with config_context(enable_metadata_routing=True):
        yield


@pytest.fixture
def full_batch(quick):
    """A function that makes a net which takes all images in one batch."""
    return lambda **parameters: quick(batch_size=10_000, max_epochs=12, **parameters)


@pytest.fixture(scope="module")
def weighted(split):
    """X, y, weights of 300 digits, a third of the weights zero; and which are not.

    The labels are the digits modulo 4: four classes.
    """
    rng = np.random.default_rng(0)
    weights = rng.uniform(0.2, 3.0, 300) * (rng.permutation(300) % 3 > 0)
    return split[0][:300], split[2][:300] % 4, weights, weights > 0


@pytest.fixture(scope="module")
def folds(weighted):
    """Two folds of the 300, and the same folds among the images that weigh something."""
    keep = weighted[3]
    halves = np.arange(300) < 150
    all_rows = [(np.flatnonzero(half), np.flatnonzero(~half)) for half in (halves, ~halves)]
    position = np.cumsum(keep) - 1
    kept_rows = [
        tuple(position[rows[keep[rows]]] for rows in (train, test)) for train, test in all_rows
    ]
    return all_rows, kept_rows


def requesting(net, *, score=True):
    """Have a net ask for weights in fit and partial_fit, and in score or not."""
    return (
        net.set_fit_request(sample_weight=True)
        .set_partial_fit_request(sample_weight=True)
        .set_score_request(sample_weight=score)
    )


@pytest.mark.usefixtures("routing")
def test_nothing_is_asked_for_until_the_user_says_so(quick):
    """Catches a default request, with which weights would reach some nets and not others."""
    assert_request_is_empty(quick().get_metadata_routing())


@pytest.mark.usefixtures("routing")
def test_requests_are_kept_by_method(quick):
    """Catches a weight, or the classes of partial_fit, that cannot be asked for by its name."""
    net = requesting(quick(), score="test_weight").set_partial_fit_request(classes=True)
    assert_request_equal(
        net.get_metadata_routing(),
        {
            "fit": {
                "sample_weight": True,
                "X_val": None,
                "y_val": None,
                "sample_weight_val": None,
            },
            "partial_fit": {"sample_weight": True, "classes": True},
            "score": {"sample_weight": "test_weight"},
        },
    )


@pytest.mark.usefixtures("routing")
@pytest.mark.parametrize(
    "wrap",
    [
        lambda net: make_pipeline(FunctionTransformer(), net),
        lambda net: GridSearchCV(net, {"pooling": ["max"]}, cv=2, error_score="raise"),
        lambda net: VotingClassifier([("net", net)]),
    ],
    ids=["Pipeline", "GridSearchCV", "VotingClassifier"],
)
def test_weights_that_nobody_asked_for_are_an_error(wrap, quick, weighted):
    """Catches weights that are dropped without a word."""
    X, y, weights, _ = weighted
    with pytest.raises(UnsetMetadataPassedError, match=r"\[sample_weight\] are passed but are not"):
        wrap(quick()).fit(X, y, sample_weight=weights)


WRAPPERS = [
    pytest.param(lambda net: make_pipeline(FunctionTransformer(), net), id="Pipeline"),
    pytest.param(
        lambda net: make_pipeline(make_pipeline(FunctionTransformer(), net)), id="nested Pipeline"
    ),
    pytest.param(lambda net: VotingClassifier([("a", net)], voting="soft"), id="VotingClassifier"),
    pytest.param(lambda net: OneVsRestClassifier(net), id="OneVsRestClassifier"),
    pytest.param(
        lambda net: WeightedMetaClassifier(net).set_fit_request(sample_weight=True),
        id="third party",
    ),
]


def probabilities(model, X):
    """Predict with a model, or with the net in one that cannot."""
    return getattr(model, "estimator_", model).predict_proba(X)


@pytest.mark.usefixtures("routing")
@pytest.mark.parametrize("wrap", WRAPPERS)
def test_an_image_of_zero_weight_is_an_image_left_out(wrap, full_batch, weighted, split):
    """Catches weights that stop on the way, or that come too late to leave an image out."""
    X, y, weights, keep = weighted
    with_zeros = wrap(requesting(full_batch())).fit(X, y, sample_weight=weights)
    left_out = wrap(requesting(full_batch())).fit(X[keep], y[keep], sample_weight=weights[keep])
    unweighted = wrap(requesting(full_batch())).fit(X[keep], y[keep])
    found, expected, other = (
        probabilities(model, split[1]) for model in (with_zeros, left_out, unweighted)
    )
    np.testing.assert_array_equal(found, expected)
    assert not np.allclose(found, other)


@pytest.mark.usefixtures("routing")
def test_several_outputs_share_the_weights(full_batch, weighted, split):
    """Catches a net for the second output that gets other weights than the first."""
    X, y, weights, keep = weighted
    targets = np.column_stack([y % 2, y >= 2])
    with_zeros = MultiOutputClassifier(requesting(full_batch()))
    left_out = MultiOutputClassifier(requesting(full_batch()))
    with_zeros.fit(X, targets, sample_weight=weights)
    left_out.fit(X[keep], targets[keep], sample_weight=weights[keep])
    np.testing.assert_array_equal(
        with_zeros.predict_proba(split[1]), left_out.predict_proba(split[1])
    )


@pytest.mark.usefixtures("routing")
def test_a_transformer_gets_the_weights_only_where_it_asks(quick, weighted):
    """Catches a pipeline that cannot tell the net's request from that of the step before it."""
    X, y, weights, _ = weighted
    asking = ConsumingTransformer()
    asking.set_fit_request(sample_weight=True).set_transform_request(sample_weight=True)
    silent = ConsumingTransformer()
    silent.set_fit_request(sample_weight=False).set_transform_request(sample_weight=False)
    net = requesting(quick(max_epochs=1))
    model = make_pipeline(asking, silent, net).fit(X, y, sample_weight=weights)
    for step, expected in ((0, [weights]), (1, [])):
        calls = [call for calls in model[step]._records["fit"].values() for call in calls]
        assert len(calls) == 1
        np.testing.assert_equal(list(calls[0].values()), expected)
    unweighted = quick(max_epochs=1).fit(X + 2, y)  # each of these transformers adds 1
    assert not np.allclose(model[2].predict_proba(X + 2), unweighted.predict_proba(X + 2))


@pytest.mark.usefixtures("routing")
def test_a_search_weighs_fits_scores_and_the_refit(full_batch, weighted, folds, split):
    """Catches weights that are not split with the folds, or that miss the score or the refit."""
    X, y, weights, keep = weighted
    searches = []
    rows = [(X, y, weights), (X[keep], y[keep], weights[keep])]
    for (images, labels, of_images), cv in zip(rows, folds, strict=True):
        search = GridSearchCV(
            requesting(full_batch()), {"pooling": ["max", "mean"]}, cv=cv, error_score="raise"
        )
        searches.append(search.fit(images, labels, sample_weight=of_images))
    with_zeros, left_out = searches
    for name in ("split0_test_score", "split1_test_score"):
        np.testing.assert_allclose(
            with_zeros.cv_results_[name], left_out.cv_results_[name], rtol=1e-12
        )
    np.testing.assert_array_equal(
        with_zeros.predict_proba(split[1]), left_out.predict_proba(split[1])
    )


@pytest.mark.usefixtures("routing")
@pytest.mark.parametrize("score", [True, False])
def test_cross_validation_weighs_the_score_on_request(score, full_batch, weighted, folds):
    """Catches a score that is weighted unasked, or that is not when asked: the accuracy is worked
    out by hand from the predictions of each fold's net."""
    X, y, weights, _ = weighted
    found = cross_validate(
        requesting(full_batch(), score=score),
        X,
        y,
        cv=folds[0],
        params={"sample_weight": weights},
        return_estimator=True,
        error_score="raise",
    )
    for (_, test), net, value in zip(
        folds[0], found["estimator"], found["test_score"], strict=True
    ):
        right = net.predict(X[test]) == y[test]
        by_hand = (right * weights[test]).sum() / weights[test].sum() if score else right.mean()
        assert value == pytest.approx(by_hand, rel=1e-12)


@pytest.mark.usefixtures("routing")
def test_partial_fit_leaves_out_images_of_zero_weight(full_batch, weighted, split):
    """Catches a partial_fit that takes weights and does not use them, at first or later."""
    X, y, weights, keep = weighted
    with_zeros = OneVsRestClassifier(requesting(full_batch()))
    left_out = OneVsRestClassifier(requesting(full_batch()))
    unweighted = OneVsRestClassifier(requesting(full_batch()))
    for _ in range(2):
        with_zeros.partial_fit(X, y, classes=np.unique(y), sample_weight=weights)
        left_out.partial_fit(X[keep], y[keep], classes=np.unique(y), sample_weight=weights[keep])
        unweighted.partial_fit(X[keep], y[keep], classes=np.unique(y))
    found, expected, other = (
        model.predict_proba(split[1]) for model in (with_zeros, left_out, unweighted)
    )
    np.testing.assert_array_equal(found, expected)
    assert not np.allclose(found, other)


@pytest.mark.usefixtures("routing")
def test_incremental_learning_curves_pass_weights_to_partial_fit(quick, weighted, folds):
    """Catches a request of partial_fit that a learning curve does not find. All weight on the even
    digits leaves the net no reason to name an odd one."""
    X, y, _, _ = weighted

    def curve():
        return learning_curve(
            requesting(quick(), score=False),
            X,
            np.where(y % 2, "odd", "even"),
            cv=folds[0],
            train_sizes=[50, 100, 150],
            exploit_incremental_learning=True,
            params={"sample_weight": np.where(y % 2, 1e-6, 1.0)},
            error_score="raise",
        )

    if not LEARNING_CURVE_SPLITS_WEIGHTS:
        with pytest.raises(ValueError, match=r"sample_weight.shape == \(300,\), expected \(50,\)"):
            curve()
        return
    _, _, scores = curve()
    share_of_even = [(y[test] % 2 == 0).mean() for _, test in folds[0]]
    np.testing.assert_allclose(scores[-1], share_of_even, atol=0.02)


def test_weights_without_routing(full_batch, weighted, folds, split):
    """Catches weights that arrive only where routing is on, which it is not by default."""
    X, y, weights, keep = weighted
    expected = full_batch().fit(X[keep], y[keep], sample_weight=weights[keep])
    pipeline = make_pipeline(FunctionTransformer(), full_batch())
    pipeline.fit(X, y, cnnclassifier__sample_weight=weights)
    search = GridSearchCV(full_batch(), {"pooling": ["max"]}, cv=folds[0], error_score="raise")
    search.fit(X, y, sample_weight=weights)
    for model in (pipeline, search):
        np.testing.assert_array_equal(
            model.predict_proba(split[1]), expected.predict_proba(split[1])
        )
