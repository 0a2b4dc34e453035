"""P1 and P2 of files: any image gives pixels or an error of ours, whatever it comes in."""

import io
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.pipeline import make_pipeline

from sklearn_cnn import CNNClassifier, ImageReader, load_image_folder

SETTINGS = settings(max_examples=150, deadline=None, derandomize=True)
FEWER = settings(SETTINGS, max_examples=40)

MODES = ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "I;16", "I", "F"]
FORMATS = ["PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF"]
SOURCES = ["path", "Path", "bytes", "image", "opened image", "array"]
UNKNOWN_RANGE = ("I", "F")
TWO_CHANNELS = ("LA", "PA")
LOSSLESS = [
    *(("PNG", mode) for mode in ("1", "L", "RGB", "RGBA", "I;16")),
    *(("TIFF", mode) for mode in ("1", "L", "RGB", "RGBA", "I;16")),
    *(("BMP", mode) for mode in ("1", "L", "RGB")),
]
CHANNELS = {"L": 1, "RGB": 3, "RGBA": 4}


def noise(mode, width, height, seed):
    """An image of any mode whose pixels differ."""
    rng = np.random.default_rng(seed)
    colours = Image.fromarray(rng.integers(0, 256, (height, width, 4), dtype=np.uint8))
    if mode in ("I", "F", "I;16"):
        gray = rng.integers(0, 65536, (height, width))
        return Image.fromarray(gray.astype({"I": "i4", "F": "f4", "I;16": "u2"}[mode]))
    if mode in ("RGBA", "LA", "PA"):
        return colours.convert(mode)
    return colours.convert("RGB").convert(mode)


def write(image, name, orientation):
    """Return the content of a file, or None where the format does not know the mode."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {} if name in ("BMP", "GIF") else {"exif": exif}
    file = io.BytesIO()
    try:
        image.save(file, name, **options)
    except (OSError, KeyError, ValueError):
        return None
    return file.getvalue()


def hand_over(image, content, source, folder, number=0):
    """Give an image in one of the forms that a user may hold it in."""
    if source == "array":
        return np.asarray(image)
    if source == "image" or content is None:
        return image
    if source == "bytes":
        return content
    if source == "opened image":
        return Image.open(io.BytesIO(content))
    path = Path(folder, f"{number}.bin")
    path.write_bytes(content)
    return path if source == "Path" else str(path)


SIDES = st.integers(1, 40)
READERS = st.builds(
    ImageReader,
    st.tuples(SIDES, SIDES),
    mode=st.sampled_from(list(CHANNELS)),
    resize=st.sampled_from(["fit", "crop", "pad", "stretch"]),
    background=st.sampled_from(["white", "#102030", 0]),
)
IMAGES = st.fixed_dictionaries(
    {
        "mode": st.sampled_from(MODES),
        "name": st.sampled_from(FORMATS),
        "orientation": st.integers(0, 9),
        "width": SIDES,
        "height": SIDES,
        "source": st.sampled_from(SOURCES),
        "seed": st.integers(0, 100),
    }
)


def make(drawn, folder, number=0):
    image = noise(drawn["mode"], drawn["width"], drawn["height"], drawn["seed"])
    content = write(image, drawn["name"], drawn["orientation"])
    return hand_over(image, content, drawn["source"], folder, number)


def read(reader, X):
    """Return pixels, or None where the error is ours; no other error passes."""
    try:
        return reader.transform(X)
    except ValueError as error:
        if "images cannot be read:\n" not in str(error):
            raise
        return None


@SETTINGS
@given(drawn=IMAGES, reader=READERS)
def test_any_image_gives_pixels_or_our_error(drawn, reader):
    """P1: the shape and type that the reader promises; refused is only what has no known range."""
    with tempfile.TemporaryDirectory() as folder:
        pixels = read(reader, [make(drawn, folder)])
    if pixels is None:
        refused = (*UNKNOWN_RANGE, *TWO_CHANNELS) if drawn["source"] == "array" else UNKNOWN_RANGE
        assert drawn["mode"] in refused
        return
    assert pixels.shape == (1, *reader.size, CHANNELS[reader.mode])
    assert pixels.dtype == np.uint8


@FEWER
@given(
    several=st.lists(IMAGES, min_size=1, max_size=8),
    reader=READERS,
    n_jobs=st.sampled_from([None, 2]),
    order=st.randoms(use_true_random=False),
)
@pytest.mark.filterwarnings("ignore:.*replaced by background:UserWarning")
def test_each_row_is_of_its_own_image(several, reader, n_jobs, order):
    """P3: in another order, alone or in threads, an image gives the row that it always gives."""
    reader.set_params(on_error="skip", n_jobs=n_jobs)
    with tempfile.TemporaryDirectory() as folder:
        X = [make(drawn, folder, number) for number, drawn in enumerate(several)]
        pixels = reader.transform(X)
        new_order = list(range(len(X)))
        order.shuffle(new_order)
        again = reader.transform([X[place] for place in new_order])
        alone = [reader.transform([source])[0] for source in X]
    np.testing.assert_array_equal(again, pixels[new_order])
    np.testing.assert_array_equal(alone, pixels)


@SETTINGS
@given(
    kind=st.sampled_from(LOSSLESS),
    width=SIDES,
    height=SIDES,
    reader=READERS,
    seed=st.integers(0, 100),
)
def test_all_kinds_of_source_agree(kind, width, height, reader, seed):
    """P2: path, content, image and array of the same lossless picture give the same pixels."""
    name, mode = kind
    image = noise(mode, width, height, seed)
    content = write(image, name, 1)
    with tempfile.TemporaryDirectory() as folder:
        X = [
            hand_over(image, content, source, folder, number)
            for number, source in enumerate(SOURCES)
        ]
        pixels = reader.transform(X)
    for row, source in zip(pixels, SOURCES, strict=True):
        np.testing.assert_array_equal(row, pixels[0], err_msg=source)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """24 files of 12 x 10 pixels, red or blue noise, in two folders."""
    root = tmp_path_factory.mktemp("folder")
    rng = np.random.default_rng(0)
    for label, channel in (("blue", 2), ("red", 0)):
        (root / label).mkdir()
        for number in range(12):
            pixels = rng.integers(0, 120, (12, 10, 3), dtype=np.uint8)
            pixels[..., channel] += 100
            Image.fromarray(pixels).save(root / label / f"{number}.png")
    return root


def pipeline():
    classifier = CNNClassifier(conv_channels=4, dense_units=8, max_epochs=2, random_state=0)
    return make_pipeline(ImageReader((8, 6)), classifier)


def test_the_same_images_in_any_form_give_the_same_model(folder):
    """P2: folder, paths in any container, contents, images and pixels; one model for all."""
    bunch = load_image_folder(folder)
    paths = bunch.data.tolist()
    arrays = [np.asarray(Image.open(path)) for path in paths]
    pixels = ImageReader((8, 6)).transform(paths)
    plain = pipeline()[-1].fit(pixels, bunch.target)
    expected = plain.predict_proba(pixels)
    assert plain.score(pixels, bunch.target) > 0.5
    frame = load_image_folder(folder, as_frame=True).data
    forms = {
        "data of a folder": bunch.data,
        "list of str": paths,
        "list of Path": [Path(path) for path in paths],
        "object array": np.array(paths, dtype=object),
        "column": np.array(paths)[:, None],
        "Series": pd.Series(paths, index=range(100, 100 + len(paths))),
        "DataFrame": frame,
        "contents": [Path(path).read_bytes() for path in paths],
        "images": [Image.open(path) for path in paths],
        "list of arrays": arrays,
        "array": np.stack(arrays),
        "fractions": np.stack(arrays) / 255,
    }
    fitted = pipeline().fit(bunch.data, bunch.target)
    for name, X in forms.items():
        np.testing.assert_array_equal(fitted.predict_proba(X), expected, err_msg=name)
        np.testing.assert_array_equal(fitted.predict(X), plain.predict(pixels), err_msg=name)
    for name in ("list of Path", "DataFrame", "array"):
        refitted = pipeline().fit(forms[name], bunch.target)
        np.testing.assert_array_equal(refitted.predict_proba(bunch.data), expected, err_msg=name)
