"""ImageReader as a transformer of scikit-learn's: its checks, run where they can be.

scikit-learn's checks hand random rows of numbers to an estimator, and ImageReader takes a list of
images: a path is text, and a row of numbers is no image. By its honest tags, scikit-learn yields
none of them but for cloning. Which can be run all the same, and which cannot and what stands in for
them, is said here and nowhere else.
"""

import inspect
import io
import pickle
import re
import warnings
from unittest import SkipTest

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
from PIL import Image
from scipy.sparse import csc_matrix, csr_array, dok_array
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import estimator_html_repr, get_tags
from sklearn.utils._param_validation import InvalidParameterError
from sklearn.utils.estimator_checks import check_param_validation, estimator_checks_generator
from sklearn.utils.fixes import parse_version
from sklearn.utils.validation import check_is_fitted

from sklearn_cnn import ImageReader

CHECKS_THAT_APPLY = [
    "check_estimator_cloneable",
    "check_estimator_tags_renamed",
    "check_valid_tag_types",
    "check_estimator_repr",
    "check_no_attributes_set_in_init",
    "check_do_not_raise_errors_in_init_or_set_params",
    "check_mixin_order",
    "check_estimator_sparse_tag",
    "check_estimator_sparse_matrix",
    "check_transformer_n_iter",
    "check_parameters_default_constructible",
    "check_fit1d",
    "check_get_params_invariance",
    "check_set_params",
]
"""Run as they are: they hand over nothing, or what is to be refused."""

ROWS = "it fits rows of numbers, which are no images"
NO_FEATURES = "X has no features to count or to name: images may be of any size"

CHECKS_THAT_CANNOT = {
    "check_fit_score_takes_y": (ROWS, "test_fit_takes_y_and_ignores_it"),
    "check_estimators_overwrite_params": (ROWS, "test_nothing_changes_the_reader"),
    "check_dont_overwrite_parameters": (ROWS, "test_nothing_changes_the_reader"),
    "check_estimators_fit_returns_self": (ROWS, "test_fit_returns_self_and_may_be_repeated"),
    "check_readonly_memmap_input": (ROWS, "test_read_only_memory_maps_of_pixels"),
    "check_n_features_in_after_fitting": (NO_FEATURES, None),
    "check_positive_only_tag_during_fit": (ROWS, None),
    "check_estimators_dtypes": (ROWS, "test_rows_of_numbers_are_refused"),
    "check_complex_data": ("complex numbers are refused as rows are", None),
    "check_dtype_object": (ROWS, "test_rows_of_numbers_are_refused"),
    "check_estimators_empty_data_messages": (
        "it asks for the texts of check_array, which speak of features",
        "test_empty_input_is_refused",
    ),
    "check_pipeline_consistency": (ROWS, "test_a_pipeline_of_the_reader_alone"),
    "check_estimators_nan_inf": (
        "it asks for the texts of check_array, and fit opens no image",
        "test_missing_values_are_refused",
    ),
    "check_estimator_sparse_array": (
        "it makes its array 1-D for the tag, which SciPy cannot convert to other formats",
        "test_sparse_input_is_refused",
    ),
    "check_estimators_pickle": (ROWS, "test_a_reader_from_a_file_reads_the_same"),
    "check_array_api_input": (ROWS, None),
    "check_f_contiguous_array_estimator": (ROWS, "test_read_only_memory_maps_of_pixels"),
    "check_transformer_data_not_an_array": (ROWS, "test_every_kind_of_collection"),
    "check_transformer_general": (ROWS, "test_fit_and_transform_in_any_form_give_the_same"),
    "check_transformer_preserve_dtypes": (
        "pixels are uint8 whatever they come from, as the tag says",
        "test_tags_are_honest",
    ),
    "check_transformers_unfitted_stateless": (
        ROWS,
        "test_fit_and_transform_in_any_form_give_the_same",
    ),
    "check_methods_sample_order_invariance": (ROWS, "test_each_image_is_read_by_itself"),
    "check_methods_subset_invariance": (ROWS, "test_each_image_is_read_by_itself"),
    "check_fit2d_1sample": (ROWS, "test_each_image_is_read_by_itself"),
    "check_fit2d_1feature": (ROWS, None),
    "check_dict_unchanged": (ROWS, "test_nothing_changes_the_reader"),
    "check_fit_idempotent": (ROWS, "test_fit_returns_self_and_may_be_repeated"),
    "check_fit_check_is_fitted": (ROWS, "test_it_counts_as_fitted_from_the_beginning"),
    "check_n_features_in": (NO_FEATURES, None),
    "check_fit2d_predict1d": (ROWS, "test_rows_of_numbers_are_refused"),
}
"""Why not, and the test below that takes its place; None where there is nothing to test."""

RETURN_AT_ONCE = {"check_n_features_in_after_fitting", "check_transformer_preserve_dtypes"}
"""Of those that cannot: they look at the tags, and test nothing."""


class Rows(TransformerMixin, BaseEstimator):
    """A stateless transformer like ImageReader, but of rows: what does scikit-learn ask of it?"""

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        return tags

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        return X

    def get_feature_names_out(self, input_features=None):
        return input_features


def check_name(check):
    return getattr(check, "func", check).__name__


def checks_of_a_transformer():
    """All checks that scikit-learn yields for a stateless transformer, bound to the reader."""
    for _, check in estimator_checks_generator(Rows()):
        yield pytest.param(check, id=check_name(check))


def is_known_release():
    version = parse_version(sklearn.__version__)
    return (version.major, version.minor) == (1, 9)


@pytest.mark.parametrize("check", list(checks_of_a_transformer()))
def test_checks_of_scikit_learn(check):
    """Catches a check that applies and fails, and a reason that has become untrue."""
    name = check_name(check)
    if name in CHECKS_THAT_APPLY:
        try:
            check(ImageReader())
        except SkipTest as skip:
            pytest.fail(f"{name} skipped itself: {skip}")
    elif name in RETURN_AT_ONCE:
        check(ImageReader())
    elif is_known_release():
        with pytest.raises((AssertionError, ValueError, TypeError, IndexError)):
            check(ImageReader())


def test_the_lists_hold_every_check_once():
    """Catches a check that nobody thought of, one that is gone, and a test that was renamed."""
    there = {check_name(check) for _, check in estimator_checks_generator(Rows())}
    known = set(CHECKS_THAT_APPLY) | set(CHECKS_THAT_CANNOT)
    assert len(known) == len(CHECKS_THAT_APPLY) + len(CHECKS_THAT_CANNOT)
    assert set(CHECKS_THAT_APPLY) <= there
    if is_known_release():
        assert there == known
    elif parse_version(sklearn.__version__) < parse_version("1.9"):
        assert there <= known
    for name, (reason, instead) in CHECKS_THAT_CANNOT.items():
        assert reason, name
        assert instead is None or instead in globals(), name


@pytest.mark.filterwarnings("ignore:Can't test estimator ImageReader")
def test_scikit_learn_yields_nothing_but_cloning_by_itself():
    """Catches tags that promise rows, and with them checks that nobody has looked at."""
    names = {check_name(check) for _, check in estimator_checks_generator(ImageReader())}
    assert names == {"check_estimator_cloneable"}


def test_tags_are_honest():
    """Catches tags by which scikit-learn takes it for something else."""
    tags = get_tags(ImageReader())
    assert tags.input_tags.one_d_array
    assert tags.input_tags.three_d_array
    assert tags.input_tags.string
    assert not tags.input_tags.two_d_array
    assert not tags.input_tags.sparse
    assert not tags.input_tags.categorical
    assert not tags.input_tags.dict
    assert not tags.input_tags.allow_nan
    assert not tags.input_tags.pairwise
    assert not tags.target_tags.required
    assert not tags.requires_fit
    assert not tags.non_deterministic
    assert not tags.no_validation
    assert not tags._skip_test
    assert tags.transformer_tags.preserves_dtype == []


# The same by hand, with images.

SHAPES = [(6, 5), (9, 4), (4, 4), (20, 30), (5, 6)]


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    """Paths of five PNG files of random colours, of different sizes."""
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    names = []
    for i, shape in enumerate(SHAPES):
        names.append(str(folder / f"{i}.png"))
        Image.fromarray(rng.integers(0, 256, (*shape, 3), dtype=np.uint8)).save(names[-1])
    return np.array(names)


@pytest.fixture(scope="module")
def pixels(paths):
    """What they are when read."""
    read = ImageReader(size=(4, 3)).transform(paths)
    read.flags.writeable = False
    return read


@pytest.fixture
def reader():
    """A reader of small images."""
    return ImageReader(size=(4, 3))


def test_fit_and_transform_in_any_form_give_the_same(reader, paths, pixels):
    """Catches a transform that needs fit, or that fit changes."""
    assert pixels.shape == (5, 4, 3, 3)
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(reader.transform(paths), pixels)
    np.testing.assert_array_equal(reader.fit(paths).transform(paths), pixels)
    np.testing.assert_array_equal(reader.fit_transform(paths), pixels)
    np.testing.assert_array_equal(reader.fit_transform(paths, np.arange(5)), pixels)
    np.testing.assert_array_equal(clone(reader).fit(paths[:1]).transform(paths), pixels)


def test_fit_takes_y_and_ignores_it(reader, paths):
    """Catches a pipeline that cannot hand its labels through."""
    assert list(inspect.signature(reader.fit).parameters)[:2] == ["X", "y"]
    for y in (None, np.arange(5), ["cat"] * 5):
        assert reader.fit(paths, y) is reader


def test_fit_returns_self_and_may_be_repeated(reader, paths, pixels):
    """Catches a second fit that finds something of the first."""
    assert reader.fit(paths) is reader
    np.testing.assert_array_equal(reader.fit(paths[:2]).fit(paths).transform(paths), pixels)


def test_fit_opens_no_file(reader, tmp_path):
    """Catches a fit that reads every image which transform reads again."""
    reader.fit([str(tmp_path / "gone.png")])


def test_nothing_changes_the_reader(paths):
    """Catches an attribute that fit or transform sets, or a parameter that they change."""
    size, background = [4, 3], [1, 2, 3]
    reader = ImageReader(size=size, background=background)
    before = dict(vars(reader))
    parameters = pickle.dumps(reader.get_params())
    reader.fit(paths).transform(paths)
    reader.fit_transform(paths)
    reader.get_feature_names_out()
    assert vars(reader) == before
    assert all(vars(reader)[name] is value for name, value in before.items())
    assert pickle.dumps(reader.get_params()) == parameters


def test_it_counts_as_fitted_from_the_beginning(reader):
    """Catches pipelines that warn or raise since their first step "is not fitted"."""
    check_is_fitted(reader)


def test_each_image_is_read_by_itself(reader, paths, pixels):
    """Catches a result that depends on the other images, their number or their order."""
    order = [3, 0, 4, 2, 1]
    np.testing.assert_array_equal(reader.transform(paths[order]), pixels[order])
    np.testing.assert_array_equal(reader.transform(paths[[2, 2]]), pixels[[2, 2]])
    for i in range(len(paths)):
        np.testing.assert_array_equal(reader.transform(paths[i : i + 1]), pixels[i : i + 1])


def test_every_kind_of_collection(reader, paths, pixels):
    """Catches a container whose order, index or only column is lost."""
    index = [7, 7, 3, 0, -1]
    collections = [
        paths.tolist(),
        tuple(paths),
        paths.astype(object),
        paths.reshape(-1, 1),
        paths[::-1][::-1],
        pd.Series(paths, index=index),
        pd.Series(paths, index=index).astype("category"),
        pd.Index(paths),
        pd.DataFrame({"file": paths}, index=index),
        pl.Series(paths.tolist()),
        pl.DataFrame({"file": paths.tolist()}),
    ]
    for collection in collections:
        np.testing.assert_array_equal(reader.fit_transform(collection), pixels)


def test_read_only_memory_maps_of_pixels(reader, pixels, tmp_path):
    """Catches pixels that are changed in place, or that must be laid out in one way."""
    np.save(tmp_path / "pixels.npy", pixels)
    mapped = np.load(tmp_path / "pixels.npy", mmap_mode="r")
    np.testing.assert_array_equal(reader.transform(mapped), pixels)
    np.testing.assert_array_equal(reader.transform(np.asfortranarray(pixels)), pixels)
    np.testing.assert_array_equal(mapped, pixels)


@pytest.mark.parametrize(
    "X",
    [
        np.zeros((5, 4)),
        np.zeros((5, 4), dtype=np.uint8),
        np.zeros((5, 4), dtype=object),
        np.zeros(5),
        np.zeros((5, 4), dtype=complex),
        np.array("1.png"),
        np.array([["1.png", "2.png"]]),
    ],
    ids=lambda X: f"{X.shape} {X.dtype}",
)
def test_rows_of_numbers_are_refused(X, reader):
    """Catches rows that are taken for images of one line; the text must give shape and dtype."""
    text = (
        "X must be a 1-D array of paths, contents or images, or a 3-D or 4-D array of pixels. Got "
        f"X.shape={X.shape}, dtype {X.dtype}."
    )
    for method in (reader.fit, reader.transform, reader.fit_transform):
        with pytest.raises(ValueError, match=re.escape(text)):
            method(X)


@pytest.mark.parametrize(
    "X", [[], (), np.array([], dtype=str), np.zeros((0, 4, 4, 3)), pd.Series([], dtype=str)]
)
def test_empty_input_is_refused(X, reader):
    """Catches an empty array, which fails in a later step."""
    for method in (reader.fit, reader.transform):
        with pytest.raises(
            ValueError, match=r"^X is empty. It must hold at least one image or path"
        ):
            method(X)


@pytest.mark.parametrize("kind", [set, frozenset, dict.fromkeys, iter])
def test_collections_without_an_order_or_a_length_are_refused(kind, reader, paths):
    """Catches a set, whose images would come in any order beside labels in another."""
    for method in (reader.fit, reader.transform):
        with pytest.raises(TypeError, match=f"Got {type(kind(paths)).__name__}"):
            method(kind(paths))


@pytest.mark.parametrize("missing", [None, float("nan"), pd.NA], ids=repr)
def test_missing_values_are_refused(missing, reader, paths):
    """Catches a missing path that is looked for as a file called "nan"."""
    for X in (
        [paths[0], missing],
        pd.Series([paths[0], missing], dtype=object),
        pd.DataFrame({"path": [paths[0], missing]}),
        pd.Series([paths[0], missing], dtype="string"),
    ):
        for method in (reader.fit, reader.transform):
            with pytest.raises(TypeError, match=r"^X\[1\] is (None|nan|<NA>)\. X must hold paths"):
                method(X)


def test_sparse_input_is_refused(reader):
    """Catches a sparse matrix that is read row by row."""
    for X in (csr_array(np.eye(3)), csc_matrix(np.eye(3)), dok_array((3, 3))):
        with pytest.raises(TypeError, match=r"^X must be dense. Images cannot be read from sparse"):
            reader.fit(X)


def test_a_pipeline_of_the_reader_alone(reader, paths, pixels):
    """Catches a step that behaves otherwise in a pipeline."""
    pipeline = make_pipeline(reader)
    np.testing.assert_array_equal(pipeline.fit_transform(paths), pixels)
    np.testing.assert_array_equal(pipeline.fit(paths, np.arange(5)).transform(paths), pixels)
    names = pipeline.get_feature_names_out()
    np.testing.assert_array_equal(names, reader.get_feature_names_out())


@pytest.mark.parametrize("fitted", [False, True])
def test_a_reader_from_a_file_reads_the_same(fitted, reader, paths, pixels):
    """Catches state that a file does not hold, also that of set_output."""
    reader.set_output(transform="pandas")
    if fitted:
        reader.fit(paths)
    file = io.BytesIO()
    joblib.dump(reader, file)
    file.seek(0)
    for copy in (pickle.loads(pickle.dumps(reader)), joblib.load(file), clone(reader)):
        assert vars(copy).keys() == vars(reader).keys()
        np.testing.assert_array_equal(copy.transform(paths), pixels.reshape(5, -1))


# Parameters.

WRONG = {
    "size": ["64", None, 0, -1, 8.0, {8}],
    "mode": ["rgb", "CMYK", None, 0, -1, 1.5],
    "resize": ["fill", None, 1],
    "background": [None, -1, 256, 0.5, {"red"}],
    "dtype": ["float64", "int8", None, 8, np.uint16, np.dtype("float32"), float],
    "value_range": [4095, "full", {0, 4095}, 0.5],
    "decoder": ["tifffile", 7, b"decoder", [len]],
    "cache": [7, True, ["cache"], b"cache"],
    "cache_limit": [0, -1.0, "1 GB", None],
    "n_jobs": [1.0, "all", [1]],
    "on_error": ["ignore", None, True],
    "verbose": [-1, "yes", None],
}
"""Of a kind that scikit-learn's own check of parameters tells."""

WRONG_VALUES = {
    "size": [(0, 8), (8, -1), (8, 8, 3), (8,), (), (8.0, 8), (True, 8), [None, 8], np.zeros(2)],
    "value_range": [(0,), (0, 1, 2), (), (1, 1), (255, 0), (0, np.inf), (np.nan, 1), ("a", "b")],
    "background": ["reddish", "#12345", (1, 2), (1, 2, 3, 4), (0, 0, 256), (-1, 0, 0), (None,) * 3],
}
"""Of the right kind, but with values that make no sense: told by ImageReader."""


def cases(wrong):
    for name, values in wrong.items():
        for value in values:
            yield pytest.param(name, value, id=f"{name}={value!r}")


def test_every_parameter_is_checked():
    """Catches a parameter without a constraint."""
    assert set(WRONG) == set(inspect.signature(ImageReader).parameters)
    assert set(WRONG) == set(ImageReader._parameter_constraints)
    check_param_validation("ImageReader", ImageReader())


@pytest.mark.parametrize(("name", "value"), list(cases(WRONG)))
def test_a_parameter_of_a_wrong_kind_is_named(name, value, paths):
    """Catches a raw error from deep inside, and one method that does not look at parameters."""
    reader = ImageReader().set_params(**{name: value})
    text = f"^The {name!r} parameter of ImageReader must be "
    methods = [reader.fit, reader.transform, reader.fit_transform]
    for method in methods:
        with pytest.raises(InvalidParameterError, match=text):
            method(paths)
    with pytest.raises(InvalidParameterError, match=text):
        reader.get_feature_names_out()


@pytest.mark.parametrize(("name", "value"), list(cases(WRONG_VALUES)))
def test_a_parameter_of_a_wrong_value_is_named(name, value, paths):
    """Catches a size or a colour that is only found wrong by Pillow, or cut to fit."""
    reader = ImageReader().set_params(**{name: value})
    text = re.escape(f"Got {name}={value!r}.")
    for method in (reader.fit, reader.transform, reader.fit_transform):
        with pytest.raises(ValueError, match=text) as caught:
            method(paths)
        assert str(caught.value).startswith(f"{name} must be ")


@pytest.mark.parametrize(
    ("size", "shape"),
    [
        (1, (1, 1)),
        (4, (4, 4)),
        ((4, 3), (4, 3)),
        ([4, 3], (4, 3)),
        (np.array([4, 3]), (4, 3)),
        (np.int64(4), (4, 4)),
    ],
    ids=repr,
)
def test_every_form_of_size(size, shape, paths):
    """Catches height and width that change places, and NumPy's integers that do not count."""
    assert ImageReader(size=size).transform(paths).shape == (5, *shape, 3)


def test_text_shows_what_differs_from_the_defaults():
    """Catches a text that hides what was chosen, or lists everything."""
    assert repr(ImageReader()) == "ImageReader()"
    text = repr(ImageReader((16, 16), mode="L", cache="pixels"))
    assert text == "ImageReader(cache='pixels', mode='L', size=(16, 16))"


@pytest.mark.parametrize("size", [(4, 3), (64, 64)])
def test_notebooks_draw_it(size, paths):
    """Catches a drawing that opens files, or lists 12,288 names of pixels."""
    reader = ImageReader(size=size)
    for html in (estimator_html_repr(reader), estimator_html_repr(reader.fit(paths))):
        assert "ImageReader" in html
        assert len(html) < 100_000
    assert reader._repr_mimebundle_().keys() == {"text/plain", "text/html"}


def test_the_docstring_names_every_parameter_with_its_default():
    """Catches a parameter, an order or a default that the documentation has not followed."""
    doc = inspect.getdoc(ImageReader)
    section = doc.split("Parameters\n----------\n")[1].split("\n\nSee Also\n")[0]
    entries = re.findall(r"^(\w+) : .+ ?default=(.+)$", section.replace(",\n", ", "), re.MULTILINE)
    signature = inspect.signature(ImageReader).parameters
    assert [name for name, _ in entries] == list(signature)
    for name, default in entries:
        assert eval(default) == signature[name].default, name


# Names, and data frames.


@pytest.mark.parametrize(
    ("mode", "letters"),
    [
        ("L", [""]),
        ("RGB", ["_R", "_G", "_B"]),
        ("RGBA", ["_R", "_G", "_B", "_A"]),
        (1, ["_0"]),
        (11, [f"_{channel}" for channel in range(11)]),
    ],
)
def test_feature_names(mode, letters):
    """Catches names in another order than the values of a flattened image."""
    names = ImageReader(size=(2, 3), mode=mode).get_feature_names_out()
    assert names.shape == (2 * 3 * len(letters),)
    assert names.dtype == object
    places = ["0_0", "0_1", "0_2", "1_0", "1_1", "1_2"]
    assert names.tolist() == [f"pixel_{place}{letter}" for place in places for letter in letters]


def test_each_name_belongs_to_its_pixel():
    """Catches names that are right in number and wrong in place."""
    image = np.arange(24, dtype=np.uint8).reshape(1, 4, 2, 3)
    frame = ImageReader(size=(4, 2)).set_output(transform="pandas").transform(image)
    for row, column, channel in np.ndindex(4, 2, 3):
        assert frame[f"pixel_{row}_{column}_{'RGB'[channel]}"][0] == image[0, row, column, channel]


def test_feature_names_ignore_those_of_the_input(reader):
    """Catches the name of the column of paths among the names of pixels."""
    np.testing.assert_array_equal(
        reader.get_feature_names_out(["path"]), reader.get_feature_names_out()
    )


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_data_frames_of_pandas(mode, paths):
    """Catches frames without names, of objects, or of images in a shape that no frame holds."""
    reader = ImageReader(size=(4, 3), mode=mode)
    expected = reader.transform(paths).reshape(5, -1)
    reader.set_output(transform="pandas")
    for frame in (reader.transform(paths), reader.fit_transform(paths)):
        assert isinstance(frame, pd.DataFrame)
        assert frame.columns.tolist() == reader.get_feature_names_out().tolist()
        assert (frame.dtypes == np.uint8).all()
        np.testing.assert_array_equal(frame.to_numpy(), expected)


def test_data_frames_of_polars(reader, paths, pixels):
    """Catches the same in polars."""
    frame = reader.set_output(transform="polars").transform(paths)
    assert isinstance(frame, pl.DataFrame)
    assert frame.columns == reader.get_feature_names_out().tolist()
    np.testing.assert_array_equal(frame.to_numpy(), pixels.reshape(5, -1))


def test_the_default_output_is_images_again(reader, paths, pixels):
    """Catches rows that stay flat."""
    for _ in range(2):
        assert reader.set_output(transform="pandas").transform(paths).ndim == 2
        np.testing.assert_array_equal(
            reader.set_output(transform="default").transform(paths), pixels
        )


def test_the_output_may_be_chosen_for_all_estimators(reader, paths, pixels):
    """Catches a reader that does not follow sklearn.set_config, or does not yield to set_output."""
    with sklearn.config_context(transform_output="pandas"):
        assert isinstance(reader.transform(paths), pd.DataFrame)
        own = clone(reader).set_output(transform="default")
        np.testing.assert_array_equal(own.transform(paths), pixels)
    np.testing.assert_array_equal(reader.transform(paths), pixels)


@pytest.mark.parametrize("kind", [pd.Series, lambda X, index: pd.DataFrame({"path": X}, index)])
def test_the_index_is_kept(kind, reader, paths):
    """Catches a ColumnTransformer that puts pixels beside the numbers of another row."""
    index = [10, 3, 7, 0, -1]
    X = kind(paths, index=index)
    frame = reader.set_output(transform="pandas").transform(X)
    has_series = parse_version(sklearn.__version__) >= parse_version("1.7")
    if isinstance(X, pd.DataFrame) or has_series:
        assert frame.index.tolist() == index
    assert reader.transform(paths.tolist()).index.tolist() == list(range(5))


@pytest.mark.parametrize("output", ["default", "pandas"])
@pytest.mark.parametrize("method", ["transform", "fit_transform", "a pipeline's fit"])
def test_the_warning_of_skip_points_at_the_caller(output, method, paths, tmp_path):
    """Catches a warning that points into the package, where nobody can correct anything."""
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no image")
    reader = ImageReader(size=(4, 3), on_error="skip").set_output(transform=output)
    call = {
        "transform": reader.transform,
        "fit_transform": reader.fit_transform,
        "a pipeline's fit": make_pipeline(reader, FunctionTransformer()).fit_transform,
    }[method]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = call([paths[0], bad])
    assert len(found) == 2
    [warning] = caught
    assert warning.filename == __file__
    assert str(warning.message).startswith(
        f"1 of 2 images cannot be read, and are replaced by background:\n  {str(bad)!r}: "
    )
