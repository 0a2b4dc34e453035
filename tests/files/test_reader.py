"""ImageReader: types, ranges and decoders, and what follows from them elsewhere."""

import functools
import io
import pickle
import re
import threading
import warnings

import joblib
import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from sklearn_cnn import CNNClassifier, ImageReader, MistakesDisplay, load_image_folder

N_IMAGES = 36
DIM = "range from {} to {}, where black is 0 and white is {}. dtype='uint8' keeps ({}) of"


def small_cnn(**parameters):
    return CNNClassifier(8, dense_units=8, max_epochs=6, random_state=0, **parameters)


def dim_images():
    """Gray of 16 bits in values 470 to 530, whose bright half tells the class."""
    rng = np.random.default_rng(0)
    y = np.arange(N_IMAGES) % 2
    images = 470 + rng.integers(0, 20, (N_IMAGES, 12, 12))
    images[y == 1, :6] += 40
    images[y == 0, 6:] += 40
    return images.astype(np.uint16), y


@pytest.fixture(params=["png", "tif"])
def dim_files(request, tmp_path):
    images, y = dim_images()
    paths = [str(tmp_path / f"{i:02}.{request.param}") for i in range(N_IMAGES)]
    for path, image in zip(paths, images, strict=True):
        Image.fromarray(image).save(path)
    return paths, images, y


@pytest.mark.parametrize(
    "options", [{"dtype": "uint16"}, {"dtype": "float32"}, {"value_range": (400, 600)}]
)
def test_dim_files_of_16_bits_are_learnt_from(dim_files, options):
    """Would catch values 500 +- 30 that become one gray level, and a model at chance level."""
    paths, images, y = dim_files
    model = make_pipeline(ImageReader(12, mode="L", **options), small_cnn())
    assert model.fit(paths, y).score(paths, y) == 1
    if options.get("dtype") == "uint16":
        np.testing.assert_array_equal(model[0].transform(paths)[..., 0], images)
    np.testing.assert_array_equal(model[0].transform(paths), model[0].transform(images))


def test_dim_files_of_16_bits_warn(dim_files):
    """Would catch what is lost without a word; the range that is named is a way out of it."""
    paths, images, _ = dim_files
    text = DIM.format(r"4\d\d", r"5\d\d", 65535, "1|2|3")
    for X in (paths, images, [Image.fromarray(image) for image in images], list(images)):
        with pytest.warns(
            UserWarning, match=rf"The values of images of more than 8 bits {text}"
        ) as said:
            pixels = ImageReader(12, mode="L").transform(X)
        assert np.ptp(pixels) <= 1
        assert len(said) == 1
        assert said[0].filename == __file__
    named = re.search(r"such as value_range=\((.*), (.*)\)\.$", str(said[0].message))
    reader = ImageReader(12, mode="L", value_range=(float(named[1]), float(named[2])))
    assert np.ptp(reader.transform(paths)) == 255


@pytest.mark.parametrize(
    ("images", "warns"),
    [
        ((np.arange(256).reshape(1, 16, 16) * 16).astype("u2"), True),  # 12 bits
        ((np.arange(256).reshape(1, 16, 16) * 257).astype("u2"), False),
        (np.linspace(0, 0.01, 256, dtype="f4").reshape(1, 16, 16), True),
        (np.linspace(0, 1, 256, dtype="f8").reshape(1, 16, 16), False),
        (np.arange(256, dtype="u1").reshape(1, 16, 16) // 64, False),  # a dark image of 8 bits
        (np.full((3, 16, 16), 500, dtype="u2"), False),  # nothing to lose
        (np.repeat([0, 65535], 128).astype("u2").reshape(2, 8, 16), False),  # each is constant
        ((np.arange(256).reshape(1, 16, 16, 1) % [8, 9, 7]).astype("u2"), True),
    ],
)
def test_when_little_is_used_of_the_range(images, warns):
    """Would catch a warning of ordinary images, and silence about 12 bits in files of 16."""
    for options in ({"dtype": "uint16"}, {"dtype": "float32"}, {"value_range": (0, 4095)}):
        ImageReader(8, mode="L", **options).transform(images)  # warnings are errors
    if not warns:
        ImageReader(8, mode="L").transform(images)
        return
    with pytest.warns(UserWarning, match="keeps [0-9]+ of their levels"):
        ImageReader(8, mode="L").transform(images)


def test_a_hot_pixel_does_not_hide_what_is_lost():
    """Would catch one pixel of 65535 that makes a dim image look like one of the whole range."""
    images = dim_images()[0].repeat(3, axis=1).repeat(3, axis=2)
    images[:, 0, 0] = 65535
    with pytest.warns(UserWarning, match="keeps [1-3] of their levels"):
        ImageReader(12, mode="L").transform(images)


def test_one_range_for_files_of_all_depths(tmp_path):
    """Would catch the white of a file of 8 bits that is nearly black beside one of 16."""
    paths = [tmp_path / "8.png", tmp_path / "16.png", tmp_path / "8.jpg", tmp_path / "1.png"]
    Image.new("L", (9, 9), 255).save(paths[0])
    Image.fromarray(np.full((9, 9), 65535, dtype=np.uint16)).save(paths[1])
    Image.new("RGB", (9, 9), "white").save(paths[2])
    Image.new("1", (9, 9), 1).save(paths[3])
    for dtype, white in (("uint8", 255), ("uint16", 65535), ("float32", 1)):
        for mode in ("L", "RGB", "RGBA"):
            pixels = ImageReader(5, mode=mode, dtype=dtype).transform(paths)
            assert pixels.dtype == dtype
            np.testing.assert_array_equal(pixels, np.full_like(pixels, white))


@pytest.mark.parametrize("resize", ["fit", "crop", "pad", "stretch"])
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
@pytest.mark.parametrize("size", [(7, 9), (40, 30), (24, 20)])
def test_deep_images_are_brought_to_their_size_as_others_are(resize, mode, size):
    """Would catch another cut, another background or another filter, and lost precision."""
    rng = np.random.default_rng(0)
    for n_channels in (1, 3, 4):
        eight = rng.integers(0, 256, (24, 20, n_channels), dtype=np.uint8)
        options = {"size": size, "mode": mode, "resize": resize, "background": (10, 90, 200)}
        expected = ImageReader(**options).transform([eight]).astype(int)
        deep = ImageReader(**options).transform([eight * np.uint16(257)])
        shares = ImageReader(**options, dtype="float32").transform([eight / 255])
        np.testing.assert_array_equal(deep, expected)
        found = shares * 255.0
        seen = expected[..., 3:] > 8 if mode == "RGBA" else np.True_  # else colour is rounded
        most = 33 if mode == "RGBA" else 3
        assert np.abs(np.where(seen, found - expected, 0)).max() <= most
        assert np.abs(found - expected)[..., -1:].max() <= 3


def test_resizing_keeps_levels_between_those_of_eight_bits():
    """Would catch a mean that is rounded to 8 bits, or to the levels of the file."""
    image = np.array([[1000, 1001], [1002, 1004]], dtype=np.uint16)
    mean = ImageReader(1, mode="L", dtype="uint16", resize="stretch").transform([image])
    assert mean.ravel().tolist() == [1002]  # of 1001.75
    share = ImageReader(1, mode="L", dtype="float32", resize="stretch").transform([image])
    assert share.ravel()[0] * 65535 == pytest.approx(1001.75, abs=0.01)


@pytest.mark.parametrize(("dtype", "white"), [("uint16", 65535), ("float32", 1)])
def test_background_and_blank_images_are_in_the_range_of_the_type(dtype, white):
    """Would catch a white of 255 around, under, or in the place of images of 16 bits."""
    reader = ImageReader(6, resize="pad", dtype=dtype, on_error="skip")
    clear = np.zeros((3, 6, 4), dtype=np.uint16)
    with pytest.warns(UserWarning, match="1 of 2 images cannot be read"):
        pixels = reader.transform([clear, b"no image"])
    np.testing.assert_array_equal(pixels, np.full((2, 6, 6, 3), white, dtype=dtype))


@pytest.mark.parametrize("limits", [(0, 4095), [0, 4095], np.array([0, 4095])])
def test_a_range_is_mapped_to_that_of_every_type(limits):
    """Would catch a range that is scaled by another type's white, or that changes alpha."""
    image = np.dstack([np.array([[0, 2048], [4095, 65535]], dtype=np.uint16)] * 4)
    image[..., 3] = 65535
    for dtype, expected in (
        ("uint8", [0, 128, 255, 255]),
        ("uint16", [0, 32776, 65535, 65535]),
        ("float32", [0, 2048 / 4095, 1, 1]),
    ):
        reader = ImageReader(2, mode="RGBA", dtype=dtype, value_range=limits)
        pixels = reader.transform([image]).reshape(4, 4)
        np.testing.assert_allclose(pixels[:, 0], expected, rtol=1e-6)
        assert (pixels[:, 3] == pixels.max()).all()


def test_a_range_of_files_of_eight_bits():
    """Would catch eight bits left as they are beside others that are stretched."""
    image = np.arange(256, dtype=np.uint8).reshape(16, 16)
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=100)
    for source in (image, Image.fromarray(image), file.getvalue()):
        pixels = ImageReader(16, mode="L", value_range=(64, 192)).transform([source])[0, ..., 0]
        expected = np.clip((image - 64.0) / 128, 0, 1) * 255
        assert np.abs(pixels - expected).max() <= (0.51 if source is image else 6)


def test_a_search_over_types(dim_files):
    """Would catch a type or a range that cannot be searched, or is not cloned."""
    paths, _, y = dim_files
    model = make_pipeline(ImageReader(12, mode="L"), small_cnn())
    grid = {"imagereader__value_range": [(400, 600), (0, 4095)], "imagereader__dtype": ["uint16"]}
    search = GridSearchCV(model, grid, cv=2).fit(paths, y)
    assert search.best_score_ > 0.9
    assert (
        clone(search.best_estimator_[0]).value_range
        == search.best_params_["imagereader__value_range"]
    )


def test_a_change_of_type_between_fit_and_predict_is_refused():
    """Would catch a model of 16 bits that is asked about fractions."""
    images, y = dim_images()
    deep, shares = (ImageReader(12, mode="L", dtype=dtype) for dtype in ("uint16", "float32"))
    model = small_cnn().fit(deep.transform(images), y)
    assert model.score(deep.transform(images), y) == 1
    with pytest.raises(ValueError, match="The range of the pixels changed since fit"):
        model.predict(shares.transform(images))


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_displays_draw_images_of_any_type(dtype):
    """Would catch pictures that are black, or clipped to white."""
    images, y = dim_images()
    pixels = ImageReader(12, dtype=dtype).transform(images)
    model = small_cnn().fit(pixels, y)
    display = MistakesDisplay.from_estimator(model, pixels, 1 - y, n_shown=2)
    drawn = np.asarray(display.images)
    plt.close("all")
    assert drawn.shape == (2, 12, 12, 3)
    assert drawn.min() < 0.1
    assert drawn.max() > 0.9


# The cache.


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_the_cache_keeps_each_type_and_range_apart(dim_files, tmp_path, dtype):
    """Would catch pixels of one type or range given for those of another."""
    paths = dim_files[0][:6]
    options = [
        {"value_range": (400, 600)},
        {"value_range": (0, 1000)},
        {"mode": "RGB"},
        {"mode": 1},
    ]
    for _ in range(2):
        for option in options:
            parameters = {
                "size": 12,
                "mode": "L",
                "dtype": dtype,
                "value_range": (0, 700),
                **option,
            }
            direct = ImageReader(**parameters).transform(paths)
            cached = ImageReader(**parameters, cache=tmp_path / "cache").transform(paths)
            assert cached.dtype == dtype
            assert isinstance(cached, np.memmap)
            np.testing.assert_array_equal(cached, direct)
            scattered = ImageReader(**parameters, cache=tmp_path / "cache").transform(paths[::-2])
            np.testing.assert_array_equal(scattered, direct[::-2])
    n_bytes = sum(path.stat().st_size for path in (tmp_path / "cache").rglob("*.pixels"))
    assert n_bytes == 6 * 12 * 12 * (1 + 1 + 3 + 1) * np.dtype(dtype).itemsize


def test_the_warning_comes_when_files_are_decoded(dim_files, tmp_path):
    """Both sides of what the docstring says: once, and not of what the cache holds."""
    reader = ImageReader(12, mode="L", cache=tmp_path / "cache")
    with pytest.warns(UserWarning, match="of their levels"):
        reader.transform(dim_files[0])
    reader.transform(dim_files[0])


def test_memory_that_is_lacking_is_counted_in_bytes_of_the_type(monkeypatch):
    """Would catch a quarter of what float32 takes."""

    def lack(*_, **__):
        raise MemoryError

    monkeypatch.setattr("sklearn_cnn.files.read_many.np.empty", lack)
    images = np.zeros((4, 10, 10), dtype=np.uint8)
    with pytest.raises(MemoryError, match=r"4 images of shape \(1000, 1000, 3\) take 48.0 MB"):
        ImageReader(1000, dtype="float32").transform(images)


# Decoders.


def load_rows(path):
    """A format of our own: NumPy's."""
    return np.load(path)


def load_scaled(path, factor):
    return np.load(path) * factor


@pytest.fixture
def arrays(tmp_path):
    bands = np.random.default_rng(0).integers(0, 65536, (5, 9, 8, 13)).astype(np.uint16)
    paths = [tmp_path / f"{i}.npy" for i in range(5)]
    for path, image in zip(paths, bands, strict=True):
        np.save(path, image)
    return paths, bands


@pytest.mark.parametrize("n_jobs", [None, 3])
@pytest.mark.parametrize("transposed", [False, True])
def test_a_decoder_reads_any_file_with_any_number_of_channels(arrays, n_jobs, transposed):
    """Would catch 13 bands that cannot be read, or that go through eight bits."""
    paths, bands = arrays

    def decoder(path):
        return np.load(path).transpose(2, 0, 1) if transposed else np.load(path)

    reader = ImageReader((9, 8), mode=13, dtype="uint16", decoder=decoder, n_jobs=n_jobs)
    np.testing.assert_array_equal(reader.transform(paths), bands)
    assert reader.get_feature_names_out().shape == (9 * 8 * 13,)
    y = np.arange(5) % 2
    cnn = CNNClassifier(8, data_format="channels_last", max_epochs=1, random_state=0)
    assert make_pipeline(reader, cnn).fit(paths, y).predict(paths).shape == (5,)


def test_a_decoder_may_return_an_image_of_a_chosen_page(tmp_path):
    """Would catch the first page in the place of the third, or a file that stays open."""
    pages = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime", "blue")]
    path = tmp_path / "pages.tif"
    pages[0].save(path, save_all=True, append_images=pages[1:])

    def read_third_page(path):
        image = Image.open(path)
        image.seek(2)
        return image

    pixels = ImageReader(4, decoder=read_third_page).transform([path, str(path)])
    assert pixels.reshape(-1, 3).tolist() == [[0, 0, 255]] * 32


def test_a_decoder_is_given_paths_and_contents_and_nothing_else(tmp_path):
    """Would catch arrays or images that a decoder is asked to decode."""
    seen = []

    def decoder(source):
        seen.append(source)
        return np.zeros((4, 4), dtype=np.uint8)

    sources = [str(tmp_path / "a"), tmp_path / "b", b"content"]
    others = [np.full((4, 4), 255, dtype=np.uint8), Image.new("L", (4, 4), 255)]
    pixels = ImageReader(2, decoder=decoder).transform([*sources, *others])
    assert seen == sources
    assert pixels.max(axis=(1, 2, 3)).tolist() == [0, 0, 0, 255, 255]


class Tensor:
    """As one of torch."""

    def __init__(self, values):
        self.values = values

    def detach(self):
        return self

    def cpu(self):
        return self.values


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (ValueError("no slices"), "decoder raised ValueError: no slices"),
        (KeyError("PixelData"), "decoder raised KeyError: 'PixelData'"),
        (
            FileNotFoundError(2, "No such file"),
            r"decoder raised FileNotFoundError: \[Errno 2\] No such",
        ),
        (None, "decoder returned NoneType of dtype object, but an array of real numbers or a PIL"),
        ("picture.png", "decoder returned str of dtype <U11"),
        ([[1, 2], [3]], "decoder raised ValueError: setting an array element"),
        (np.zeros((2, 2), dtype=complex), "decoder returned ndarray of dtype complex128"),
        (
            np.zeros((2, 2, 2)),
            r"an array of shape \(2, 2, 2\) is not an image .*; ImageReader\(mode=n\)",
        ),
        (np.zeros((0, 2)), r"an array of shape \(0, 2\) has no pixels"),
        (np.full((2, 2), np.nan), "its pixels hold NaN"),
        (
            np.full((2, 2), -1000, dtype="i2"),
            r"its int16 pixels range from -1000 to -1000, .*value_range=\(low, high\)",
        ),
    ],
)
def test_what_goes_wrong_in_a_decoder_is_the_reason_of_that_file(made, reason):
    """Would catch an error without the name of its file, or one that stops the others."""

    def decoder(path):
        if path == "good":
            return [[0, 1], [2, 3]]
        if isinstance(made, Exception):
            raise made
        return made

    with pytest.raises(
        ValueError, match=rf"(?s)1 of 2 images cannot be read:\n  'bad': {reason}"
    ) as caught:
        ImageReader(2, decoder=decoder).transform(["good", "bad"])
    assert "load_image_folder" not in str(caught.value)  # which does not know the decoder
    with pytest.warns(UserWarning, match="1 of 2 images cannot be read, and are replaced"):
        pixels = ImageReader(2, mode="L", decoder=decoder, on_error="skip").transform(
            ["good", "bad"]
        )
    assert pixels[..., 0].tolist() == [[[0, 1], [2, 3]], [[255, 255], [255, 255]]]


@pytest.mark.parametrize("error", [MemoryError("much"), OSError(24, "Too many open files")])
def test_a_machine_without_resources_is_not_the_fault_of_a_file(error):
    """Would catch blank images in the place of those that there was no memory for."""

    def decoder(path):
        raise error

    with pytest.raises(type(error), match=r"Too many open files|take 0.0 MB"):
        ImageReader(2, decoder=decoder, on_error="skip").transform(["a"])


def test_other_returns_of_a_decoder():
    """Would catch a tensor, or a list, that is no array to NumPy's eye."""
    values = np.arange(4, dtype=np.uint8).reshape(2, 2)
    for made in (values.tolist(), Tensor(values), values > 1, Image.fromarray(values)):
        pixels = ImageReader(2, mode="L", decoder=lambda path, made=made: made).transform(["a"])
        expected = values if np.asarray(made).dtype != bool else (values > 1) * 255
        if not isinstance(made, Tensor):
            assert pixels[0, ..., 0].tolist() == expected.tolist()


def test_threads_call_a_decoder_side_by_side(arrays):
    """Would catch a lock around user-defined code: the two wait for each other."""
    barrier = threading.Barrier(2, timeout=30)

    def decoder(path):
        barrier.wait()
        return np.zeros((2, 2))

    paths = [str(path) for path in arrays[0][:4]] * 2
    assert ImageReader(2, decoder=decoder, n_jobs=2).transform(paths).shape == (8, 2, 2, 3)


def test_a_reader_with_a_decoder_is_pickled_and_cloned(arrays, tmp_path):
    """Would catch a decoder that is lost on the way to a process or a file."""
    paths, bands = arrays
    for decoder in (load_rows, functools.partial(load_scaled, factor=1), np.load):
        reader = ImageReader((9, 8), mode=13, dtype="uint16", decoder=decoder)
        joblib.dump(reader, tmp_path / "reader")
        for copy in (
            clone(reader),
            pickle.loads(pickle.dumps(reader)),
            joblib.load(tmp_path / "reader"),
        ):
            np.testing.assert_array_equal(copy.transform(paths), bands)


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_few_levels_and_pages_are_warned_of_beside_a_file_that_is_damaged(tmp_path, n_jobs):
    """Would catch what is read into the cache beside a damaged file, and never warned of."""
    paths = [tmp_path / name for name in ("dim.png", "pages.tif", "damaged.png")]
    Image.fromarray(dim_images()[0][0]).save(paths[0])
    pages = [Image.new("L", (8, 8), level) for level in (1, 2)]
    pages[0].save(paths[1], save_all=True, append_images=pages[1:])
    paths[2].write_bytes(b"")
    reader = ImageReader(8, mode="L", cache=tmp_path / "cache", n_jobs=n_jobs)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with pytest.raises(ValueError, match="1 of 3 images cannot be read"):
            reader.transform(paths)
    text = "\n".join(str(warning.message) for warning in caught)
    assert "of their levels" in text
    assert "more than one page" in text
    assert {warning.filename for warning in caught} == {__file__}


def test_the_cache_keeps_decoders_apart(arrays, tmp_path):
    """Would catch the pixels of one decoder, or of an earlier form of it, given for another's."""
    paths = arrays[0]

    def read(decoder):
        reader = ImageReader(2, mode="L", decoder=decoder, cache=tmp_path / "cache")
        return reader.transform(paths).max()

    class Constant:
        def __init__(self, value):
            self.value = value

        def __call__(self, path):
            return np.full((2, 2), self.value, dtype=np.uint8)

        def read(self, path):
            return self(path)

    for value in (3, 4):
        assert read(Constant(value)) == read(Constant(value)) == value
        assert read(Constant(value + 5).read) == value + 5
        assert (
            read(functools.partial(lambda path, value: np.full((2, 2), value), value=value))
            == value
        )
    assert read(lambda path: np.full((2, 2), 20)) == 20
    assert read(lambda path: np.full((2, 2), 21)) == 21
    lock = threading.Lock()
    with pytest.raises(ValueError, match=r"cache needs a decoder whose values can be pickled"):
        read(lambda path: lock and np.zeros((2, 2)))


def test_the_cache_of_a_decoder_is_used(arrays, tmp_path):
    """Would catch a key that differs each time, and so a file that is decoded in every fold."""
    paths, bands = arrays
    reader = ImageReader((9, 8), mode=13, dtype="uint16", decoder=np.load, cache=tmp_path / "cache")
    np.testing.assert_array_equal(reader.transform(paths), bands)
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.pixels")}
    np.testing.assert_array_equal(reader.transform(paths), bands)
    assert {
        path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.pixels")
    } == kept
    assert len(kept) == 1


@pytest.mark.parametrize("mode", [1, 2, 3, 4])
def test_a_number_of_channels_takes_images_as_they_are(mode):
    """Would catch alpha that is composited, or CMYK turned into RGB and cut."""
    names = {1: ["L", "1"], 2: ["LA"], 3: ["RGB", "P"], 4: ["RGBA", "CMYK"]}
    for number, modes in names.items():
        for name in modes:
            image = Image.fromarray(
                np.random.default_rng(0).integers(0, 256, (6, 5, 3), dtype=np.uint8)
            ).convert(name)
            reader = ImageReader((6, 5), mode=mode)
            if number == mode:
                whole = image.convert({"1": "L", "P": "RGB"}.get(name, name))
                expected = np.asarray(whole).reshape(6, 5, mode)
                np.testing.assert_array_equal(reader.transform([image])[0], expected)
            else:
                with pytest.raises(ValueError, match=f"it has {number} channels?, but mode={mode}"):
                    reader.transform([image])


def test_files_that_need_a_range_are_no_damaged_ones(tmp_path):
    """Would catch scans that load_image_folder(on_error="skip") drops as if they were damaged."""
    folder = tmp_path / "scans" / "bone"
    folder.mkdir(parents=True)
    scan = np.linspace(-1000, 3000, 64, dtype="f4").reshape(8, 8)
    Image.fromarray(scan).save(folder / "float.tif")
    Image.fromarray(scan.astype("i4")).save(folder / "integer.tif")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = load_image_folder(tmp_path / "scans", on_error="skip")
    assert len(found.data) == 2
    reader = ImageReader(8, mode="L", dtype="uint16", value_range=(-1000, 3000))
    assert np.ptp(reader.transform(found.data), axis=(1, 2, 3)).tolist() == [65535, 65535]


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("https://host.example/cat.jpg", "; it is a URL: download the image first"),
        ("s3://bucket/cat.jpg", "; it is a URL: download the image first"),
        ("cat\0.jpg", "paths cannot contain a zero byte"),
        ("cat.jpg", "No such file or directory"),
    ],
)
def test_paths_that_are_none_have_a_reason_in_words(path, reason):
    """Would catch "No such file" alone for an address, and Python's "embedded null byte"."""
    with pytest.raises(ValueError, match=re.escape(reason)):
        ImageReader(8).transform([path])
