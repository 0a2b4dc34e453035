"""Paths in, classes out: ImageReader and a classifier in what scikit-learn wraps around them.

Every test works on real files: 24 images of 12 x 10 pixels, red or blue, from four photographers.
"""

import io
import pickle
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
from PIL import Image
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, make_column_transformer
from sklearn.decomposition import PCA
from sklearn.ensemble import StackingClassifier, VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, make_scorer
from sklearn.model_selection import (
    GridSearchCV,
    StratifiedGroupKFold,
    cross_val_predict,
    cross_val_score,
    cross_validate,
    train_test_split,
)
from sklearn.pipeline import Pipeline, make_pipeline, make_union
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC
from sklearn.utils.fixes import parse_version

from sklearn_cnn import CNNClassifier, ImageReader, load_image_folder

N_IMAGES = 24


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the folders "blue" and "red", each of twelve images."""
    root = tmp_path_factory.mktemp("colours")
    rng = np.random.default_rng(0)
    for i in range(N_IMAGES):
        colour = ("blue", "red")[i % 2]
        pixels = rng.integers(0, 120, (12, 10, 3), dtype=np.uint8)
        pixels[..., 0 if colour == "red" else 2] += 120
        (root / colour).mkdir(exist_ok=True)
        Image.fromarray(pixels).save(root / colour / f"{i:02}.png")
    return root


@pytest.fixture(scope="module")
def colours(folder):
    """The Bunch: ``data`` are 24 paths, ``target`` twelve 0 (blue) and twelve 1 (red)."""
    return load_image_folder(folder)


def net(**parameters):
    """A classifier that tells red from blue after a moment."""
    quick = {"conv_channels": 4, "dense_units": (), "max_epochs": 3, "learning_rate": 0.05}
    return CNNClassifier(**{**quick, "batch_size": 8, "random_state": 0, **parameters})


def model(**parameters):
    """A pipeline from paths to classes."""
    return make_pipeline(ImageReader(size=(8, 8)), net(**parameters))


@pytest.fixture(scope="module")
def fitted(colours):
    """Such a pipeline that has seen all 24 images."""
    return model().fit(colours.data, colours.target)


def flat(images):
    """Images of any shape as rows."""
    return images.reshape(len(images), -1)


def test_a_split_of_the_paths(colours):
    """Catches paths that part from their labels in a split, and a model that guesses."""
    X_train, X_test, y_train, y_test = train_test_split(
        colours.data, colours.target, stratify=colours.target, random_state=0
    )
    assert model().fit(X_train, y_train).score(X_test, y_test) == 1.0


def test_cross_validation(colours):
    """Catches anything that a fold of paths does otherwise than all of them."""
    scores = cross_val_score(model(), colours.data, colours.target, cv=3, error_score="raise")
    assert scores.tolist() == [1.0] * 3


def test_cross_validation_of_data_frames(folder):
    """Catches a Bunch of as_frame whose folds lose paths by their index."""
    frame = load_image_folder(folder, as_frame=True).frame.sample(frac=1, random_state=0)
    scores = cross_val_score(model(), frame[["path"]], frame["target"], cv=3, error_score="raise")
    assert scores.tolist() == [1.0] * 3
    scores = cross_val_score(model(), frame["path"], frame["target"], cv=3, error_score="raise")
    assert scores.tolist() == [1.0] * 3


def test_predictions_of_cross_validation_are_in_order(colours):
    """Catches predictions that belong to another image."""
    found = cross_val_predict(model(), colours.data, colours.target, cv=3, method="predict_proba")
    assert found.shape == (N_IMAGES, 2)
    np.testing.assert_array_equal(found.argmax(axis=1), colours.target)


def test_groups(colours):
    """Catches a photographer whose images are on both sides of a split."""
    photographer = np.arange(N_IMAGES) % 4
    cv = StratifiedGroupKFold(n_splits=4)
    for train, test in cv.split(colours.data, colours.target, photographer):
        assert not set(photographer[train]) & set(photographer[test])
    found = cross_validate(
        model(), colours.data, colours.target, groups=photographer, cv=cv, error_score="raise"
    )
    assert found["test_score"].mean() > 0.9


def test_a_search_over_the_size_of_images_and_the_net(colours):
    """Catches a parameter of either step that a search cannot set, or that does nothing."""
    search = GridSearchCV(
        model(max_epochs=1),
        {"imagereader__size": [(5, 7), 6], "cnnclassifier__conv_channels": [(2,), (4,)]},
        cv=2,
        error_score="raise",
    ).fit(colours.data, colours.target)
    assert len(search.cv_results_["params"]) == 4
    best = search.best_estimator_
    assert best["cnnclassifier"].image_shape_ in [(6, 6, 3), (5, 7, 3)]
    assert best["cnnclassifier"].image_shape_ == best[:1].transform(colours.data[:1]).shape[1:]
    assert search.predict(colours.data).shape == (N_IMAGES,)


def test_names_as_labels(colours, fitted):
    """Catches predictions that are numbers where names were given."""
    names = np.array(colours.target_names)[colours.target]
    named = model().fit(colours.data, names)
    assert named.classes_.tolist() == ["blue", "red"]
    expected = np.array(["blue", "red"])[fitted.predict(colours.data)]
    np.testing.assert_array_equal(named.predict(colours.data), expected)


def test_sample_weight_as_a_parameter_of_the_step(colours):
    """Catches weights that come to other images: those of weight zero carry wrong labels."""
    wrong = colours.target.copy()
    weight = np.ones(N_IMAGES)
    wrong[::3] = 1 - wrong[::3]
    weight[::3] = 0
    kept = weight > 0
    weighted = model().fit(colours.data, wrong, cnnclassifier__sample_weight=weight)
    alone = model().fit(colours.data[kept], wrong[kept])
    np.testing.assert_array_equal(
        weighted.predict_proba(colours.data), alone.predict_proba(colours.data)
    )


def test_sample_weight_by_routing(colours):
    """Catches a reader that stands in the way of weights, or asks for them."""
    weight = np.ones(N_IMAGES)
    weight[::3] = 0
    with sklearn.config_context(enable_metadata_routing=True):
        pipeline = make_pipeline(
            ImageReader(size=(8, 8)), net().set_fit_request(sample_weight=True)
        )
        pipeline.fit(colours.data, colours.target, sample_weight=weight)
        expected = model().fit(colours.data[weight > 0], colours.target[weight > 0])
        np.testing.assert_array_equal(
            pipeline.predict_proba(colours.data), expected.predict_proba(colours.data)
        )
        found = cross_validate(
            pipeline,
            colours.data,
            colours.target,
            params={"sample_weight": np.ones(N_IMAGES)},
            scoring=make_scorer(accuracy_score).set_score_request(sample_weight=True),
            cv=2,
            error_score="raise",
        )
    assert found["test_score"].tolist() == [1.0, 1.0]


@pytest.fixture
def table(colours):
    """A frame of a path, two numbers and a colour a row, with an index out of order."""
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "age": rng.normal(size=N_IMAGES),
            "path": colours.data,
            "height": rng.normal(size=N_IMAGES),
            "colour": np.array(colours.target_names)[colours.target],
        },
        index=rng.permutation(100)[:N_IMAGES],
    )


@pytest.mark.parametrize("output", ["pandas", "polars"])
def test_a_column_transformer_puts_pixels_beside_numbers(output, table):
    """Catches pixels in rows of other numbers, and columns without names."""
    columns = make_column_transformer(
        (ImageReader(size=(3, 2)), ["path"]), (StandardScaler(), ["age", "height"])
    ).set_output(transform=output)
    if output == "polars":
        if parse_version(sklearn.__version__) < parse_version("1.7"):
            pytest.skip("ColumnTransformer of scikit-learn 1.6 knows other versions of polars")
        table = pl.DataFrame(table.to_dict("list"))
    joined = columns.fit_transform(table)
    pixels = ImageReader(size=(3, 2)).transform(table["path"])
    assert joined.shape == (N_IMAGES, 3 * 2 * 3 + 2)
    names = list(joined.columns)
    assert names[0] == "imagereader__pixel_0_0_R"
    assert names[-2:] == ["standardscaler__age", "standardscaler__height"]
    np.testing.assert_array_equal(np.asarray(joined)[:, :-2], flat(pixels))
    if output == "pandas":
        assert joined.index.tolist() == table.index.tolist()
        assert columns.get_feature_names_out().tolist() == names


def test_a_column_of_paths_and_numbers_to_a_linear_model(table):
    """Catches any step between a table with a column of paths and its classes."""
    columns = ColumnTransformer(
        [("image", ImageReader(size=(3, 2)), ["path"]), ("rest", "passthrough", ["age"])]
    ).set_output(transform="pandas")
    pipeline = make_pipeline(columns, StandardScaler(), LogisticRegression(solver="liblinear"))
    X, y = table.drop(columns="colour"), table["colour"]
    scores = cross_val_score(pipeline, X, y, cv=3, error_score="raise")
    assert scores.tolist() == [1.0] * 3


def test_a_column_of_paths_by_its_bare_name(table):
    """Catches a Series, which ColumnTransformer hands over for a name without a list."""
    both = [
        ColumnTransformer([("image", ImageReader(size=(3, 2)), column)])
        .set_output(transform="pandas")
        .fit_transform(table)
        for column in ("path", ["path"])
    ]
    pd.testing.assert_frame_equal(*[frame.reset_index(drop=True) for frame in both])


def test_a_column_transformer_without_set_output_says_that_it_needs_rows(table):
    """Documents scikit-learn's own error: 4-D arrays cannot be joined to columns."""
    columns = make_column_transformer((ImageReader(size=(3, 2)), ["path"]))
    with pytest.raises(ValueError, match="'imagereader' transformer should be 2D"):
        columns.fit_transform(table)


@pytest.mark.parametrize("way", ["FunctionTransformer", "set_output"])
@pytest.mark.parametrize(
    "tail", [(SVC(),), (PCA(2, random_state=0), SVC())], ids=["SVC", "PCA, SVC"]
)
def test_other_classifiers_of_rows(way, tail, colours):
    """Catches pixels that only CNNClassifier can take."""
    reader = ImageReader(size=(4, 4))
    if way == "set_output":
        pipeline = make_pipeline(reader.set_output(transform="pandas"), *tail)
    else:
        pipeline = make_pipeline(reader, FunctionTransformer(flat), *tail)
    scores = cross_val_score(pipeline, colours.data, colours.target, cv=3, error_score="raise")
    assert scores.tolist() == [1.0] * 3


def test_a_union_of_two_sizes(colours):
    """Catches rows of one reader that change those of another."""
    readers = [ImageReader(size=size, mode="L") for size in ((2, 3), 4)]
    union = make_union(*readers).set_output(transform="pandas")
    found = union.fit_transform(colours.data)
    expected = [
        flat(reader.set_output(transform="default").transform(colours.data))
        for reader in map(clone, readers)
    ]
    np.testing.assert_array_equal(found, np.hstack(expected))


def test_a_pipeline_of_pandas_output_ends_in_the_net(colours):
    """Catches names of pixels that the net does not find again at prediction."""
    pipeline = make_pipeline(ImageReader(size=(8, 8)), net(image_shape=(8, 8, 3)))
    pipeline.set_output(transform="pandas").fit(colours.data, colours.target)
    assert pipeline[-1].feature_names_in_[:2].tolist() == ["pixel_0_0_R", "pixel_0_0_G"]
    images = model().fit(colours.data, colours.target)
    np.testing.assert_array_equal(
        pipeline.predict_proba(colours.data), images.predict_proba(colours.data)
    )


def test_memory_of_a_pipeline_keeps_the_pixels(colours, tmp_path, monkeypatch):
    """Catches a reader that joblib cannot hash, and one whose result it does not find again."""
    from sklearn_cnn.files import read_many as read

    reads = []
    monkeypatch.setattr(
        read, "decode", lambda *args, was=read.decode: reads.append(1) or was(*args)
    )
    pipeline = Pipeline([("read", ImageReader(size=(8, 8))), ("net", net())], memory=str(tmp_path))
    expected = model().fit(colours.data, colours.target).predict_proba(colours.data)
    reads.clear()
    for _ in range(2):
        pipeline.fit(colours.data, colours.target)
        assert len(reads) == N_IMAGES  # the first time alone
    np.testing.assert_array_equal(pipeline.predict_proba(colours.data), expected)
    pipeline.set_params(read__size=(7, 7)).fit(colours.data, colours.target)
    assert pipeline["net"].image_shape_ == (7, 7, 3)


def test_pipelines_that_vote(colours):
    """Catches a VotingClassifier that looks into its X, which are paths."""
    members = [("small", clone(model(max_epochs=1))), ("large", model())]
    members[0][1].set_params(imagereader__size=(5, 5))
    for voting in ("soft", "hard"):
        vote = VotingClassifier(members, voting=voting).fit(colours.data, colours.target)
        assert vote.predict(colours.data).shape == (N_IMAGES,)
    stack = StackingClassifier(members, LogisticRegression(solver="liblinear"), cv=2).fit(
        colours.data, colours.target
    )
    assert stack.score(colours.data, colours.target) > 0.9


def test_a_calibrated_pipeline(colours):
    """Catches a calibration that looks into its X."""
    calibrated = CalibratedClassifierCV(model(), cv=2, ensemble=False)
    calibrated.fit(colours.data, colours.target)
    found = calibrated.predict_proba(colours.data)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    np.testing.assert_array_equal(found.argmax(axis=1), colours.target)


def open_all(paths):
    """PIL images, read into memory."""
    images = []
    for path in paths:
        with Image.open(path) as image:
            image.load()
            images.append(image)
    return images


@pytest.mark.parametrize(
    "form",
    [
        list,
        tuple,
        lambda paths: list(map(Path, paths)),
        lambda paths: [Path(path).read_bytes() for path in paths],
        lambda paths: np.array([Path(path).read_bytes() for path in paths]),
        lambda paths: np.array([Path(path).read_bytes() for path in paths], dtype=object),
        open_all,
        lambda paths: np.stack([np.asarray(image) for image in open_all(paths)]),
        lambda paths: [np.asarray(image) for image in open_all(paths)],
        lambda paths: [open_all(paths[:1])[0], Path(paths[1]).read_bytes(), *paths[2:]],
        pd.Series,
        lambda paths: pd.DataFrame({"file": paths}),
    ],
    ids=[
        "list",
        "tuple",
        "Path",
        "bytes",
        "array of bytes",
        "object array of bytes",
        "PIL",
        "array",
        "arrays",
        "mixed",
        "Series",
        "DataFrame",
    ],
)
def test_every_form_of_an_image_predicts_the_same(form, fitted, colours):
    """Catches pixels that depend on whether a path or its content was given."""
    expected = fitted.predict_proba(colours.data)
    np.testing.assert_array_equal(fitted.predict_proba(form(colours.data)), expected)


@pytest.mark.parametrize("kind", ["BMP", "TIFF", "WEBP", "PNG", "GIF", "JPEG"])
def test_arrays_of_bytes_are_read_as_lists_of_them(kind):
    """Catches contents that NumPy has shortened: its arrays of bytes drop zeros at the end."""
    contents = []
    for side in (5, 9):
        file = io.BytesIO()
        Image.new("RGB", (side, side)).save(file, kind)
        contents.append(file.getvalue())
    reader = ImageReader(size=(4, 4))
    np.testing.assert_array_equal(reader.transform(np.array(contents)), reader.transform(contents))


def test_one_more_image_is_predicted_as_among_many(fitted, colours):
    """Catches a prediction that depends on its neighbours, or that needs more than one."""
    expected = fitted.predict_proba(colours.data)
    np.testing.assert_array_equal(fitted.predict_proba(colours.data[5:6]), expected[5:6])


def test_a_damaged_image_keeps_its_row_at_prediction(fitted, colours, tmp_path):
    """Catches predictions that move up by one where an image cannot be read."""
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no image")
    paths = [*colours.data[:3], bad, *colours.data[3:]]
    with pytest.raises(ValueError, match=r"^1 of 25 images cannot be read:\n") as caught:
        fitted.predict(paths)
    assert str(bad) in str(caught.value)
    tolerant = clone(fitted).set_params(imagereader__on_error="skip")
    tolerant.fit(colours.data, colours.target)
    with pytest.warns(UserWarning, match=r"^1 of 25 images cannot be read"):
        found = tolerant.predict_proba(paths)
    assert len(found) == 25
    np.testing.assert_array_equal(np.delete(found, 3, axis=0), fitted.predict_proba(colours.data))


def test_a_file_holds_neither_paths_nor_pixels(colours):
    """Catches a file that grows with the images: 72 more are 3,456 bytes and their paths."""

    def size(copies):
        whole = model(batch_size=1000).fit(
            np.tile(colours.data, copies), np.tile(colours.target, copies)
        )
        return len(pickle.dumps(whole))

    assert abs(size(4) - size(1)) < 200


def test_a_pipeline_from_a_file_predicts_the_same(fitted, colours):
    """Catches anything that a file does not hold."""
    file = io.BytesIO()
    joblib.dump(fitted, file)
    file.seek(0)
    np.testing.assert_array_equal(
        joblib.load(file).predict_proba(colours.data), fitted.predict_proba(colours.data)
    )


@pytest.mark.parametrize("transform", ["pandas", "polars"])
def test_the_shape_of_the_images_travels_through_a_table(colours, transform):
    """Would catch 12 x 12 gray images of 6 x 24 that a table of pixels makes of them."""
    reader = ImageReader(size=(6, 24), mode="L")
    pipeline = make_pipeline(reader, net(max_epochs=1))
    expected = clone(pipeline).fit(colours.data, colours.target).predict_proba(colours.data)
    with sklearn.config_context(transform_output=transform):
        everywhere = clone(pipeline).fit(colours.data, colours.target)
        assert everywhere[-1].image_shape_ == (6, 24, 1)
        np.testing.assert_array_equal(everywhere.predict_proba(colours.data), expected)
    union = make_union(reader).set_output(transform=transform)
    united = make_pipeline(union, net(max_epochs=1)).fit(colours.data, colours.target)
    np.testing.assert_array_equal(united.predict_proba(colours.data), expected)
    if transform == "pandas" or parse_version(sklearn.__version__) >= parse_version("1.7"):
        # scikit-learn 1.6 knows the names of other versions of polars alone
        assert united[-1].feature_names_in_[0] == "imagereader__pixel_0_0"


def test_pixels_joined_to_the_columns_of_a_table_ask_for_the_shape(colours):
    """Would catch a strip made of pixels and a weight in kilograms."""
    table = pd.DataFrame({"path": colours.data, "weight": np.arange(N_IMAGES) / 10})
    columns = make_column_transformer(
        (ImageReader(size=(6, 24), mode="L"), ["path"]), remainder="passthrough"
    ).set_output(transform="pandas")
    pipeline = make_pipeline(columns, net(max_epochs=1))
    with pytest.raises(ValueError, match="others, such as 'remainder__weight', do not"):
        pipeline.fit(table, colours.target)
