import gzip
import io
import struct
import sys
import types
import zipfile

import numpy as np
import pytest
from image_files import decode
from PIL import Image

from sklearn_cnn import ImageReader
from sklearn_cnn.files.formats import UnreadableImage, describe_content
from sklearn_cnn.files.options import ReadOptions

OPTIONS = ReadOptions(7, 9, "RGB", "stretch", (255, 255, 255))


def box(kind, content):
    return struct.pack(">I4s", 8 + len(content), kind) + content


def ftyp(brand, *others):
    return box(b"ftyp", brand + bytes(4) + b"".join(others)) + bytes(40)


def zipped(name):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(name, b"content")
    return file.getvalue()


def saved_array():
    file = io.BytesIO()
    np.save(file, np.zeros((4, 4)))
    return file.getvalue()


NIFTI = bytes(344) + b"n+1\0"
OTHERS = {
    "HEIC": (ftyp(b"heic"), "a HEIC image; pip install pillow-heif"),
    "HEIC of a second brand": (ftyp(b"mif1", b"mif1", b"heic"), "a HEIC image"),
    "damaged AVIF": (ftyp(b"avif"), "an AVIF image, but its header is damaged"),
    "AVIF of a second brand": (ftyp(b"mif1", b"mif1", b"avif"), "an AVIF image"),
    "JPEG XL": (b"\xff\x0a" + bytes(range(40)), "a JPEG XL image"),
    "JPEG XL in boxes": (b"\0\0\0\x0cJXL \r\n\x87\n", "a JPEG XL image"),
    "JPEG 2000": (b"\0\0\0\x0cjP  \r\n\x87\n", "a JPEG 2000 image"),
    "JPEG 2000 codestream": (b"\xff\x4f\xff\x51\0\x2f", "a JPEG 2000 image"),
    "HTML": (
        b"\n<!DOCTYPE html><title>404</title>",
        r"a web page \(HTML\), not the image; download",
    ),
    "HTML after comments": (b"<!-- saved -->\n<!--\n-->\n<!DOCTYPE html><p>", r"a web page"),
    "SVG after a comment": (b"<!-- drawn --><svg></svg>", "an SVG drawing"),
    "HTML without doctype": (b"<html><body>Access denied", r"a web page"),
    "git-lfs": (
        b"version https://git-lfs.github.com/spec/v1\noid",
        "a pointer of Git LFS, .*; run git lfs pull",
    ),
    "git-annex": (
        b"/annex/objects/MD5E-s120--d41.jpg\n",
        "a pointer of git-annex, .*; run git annex get",
    ),
    "SVG": (b'<svg xmlns="http://www.w3.org/2000/svg" width="1"/>', "an SVG drawing; render it"),
    "SVG after XML": (b'<?xml version="1.0"?>\n<!-- drawn -->\n<svg width="1"/>', "an SVG drawing"),
    "XML": (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "an XML document"),
    "JSON": (b'{"error": "not found"}', 'JSON, beginning with \'{"error"'),
    "text": (b"no picture at all", "text, beginning with 'no picture at all'"),
    "UTF-16 text": ("pas d\u2019image".encode("utf-16"), "text, beginning with 'pas d"),
    "a path as bytes": (b"/data/pets/cat.jpg", "text, beginning with '/data/pets/cat.jpg'"),
    "Base64": (b"iVBORw0KGgoAAAANSUhEUgAA", "an image encoded as Base64; pass base64.b64decode"),
    "data URL": (b"data:image/png;base64,iVBORw0KGgo", "an image encoded as a data URL"),
    "PSD": (b"8BPS\0\1" + bytes(20), r"a Photoshop file \(PSD\); convert"),
    "PDF": (b"%PDF-1.4\n1 0 obj\n<<>>\nendobj\n", "a PDF document; render its pages"),
    "EPS": (b"%!PS-Adobe-3.0 EPSF-3.0\n", "a PostScript file"),
    "DICOM": (
        bytes(128) + b"DICM" + bytes(20),
        r"a DICOM file; .*decoder=\.\.\.\) that calls pydicom",
    ),
    "DICOM after a TIFF header": (
        (b"II*\0\x54\0\0\0" + bytes(120)) + b"DICM" + bytes(range(200)),
        "a DICOM file",
    ),
    "ICO": (b"\0\0\1\0\1\0" + bytes(16), r"a Windows icon \(ICO\)"),
    "RAF": (b"FUJIFILMCCD-RAW 0201", "a raw file of a Fujifilm camera .* that calls rawpy"),
    "CR3": (ftyp(b"crx "), "a raw file of a Canon camera"),
    "CR2": (b"II*\0\x10\0\0\0CR\2\0" + bytes(40), "a raw file of a camera; .* that calls rawpy"),
    "ORF": (b"IIRO\x08\0\0\0", "a raw file of an Olympus camera"),
    "EXR": (b"\x76\x2f\x31\x01\2\0\0\0", "an OpenEXR image"),
    "PGM": (b"P5 1 1 255\n\0", "a Netpbm image"),
    "PFM": (b"PF\n1 1\n-1.0\n" + bytes(12), "a Netpbm image"),
    "NPY": (saved_array(), r"a NumPy array \(.npy\); pass ImageReader\(decoder=np.load\)"),
    "NPZ": (zipped("arr_0.npy"), r"an archive of NumPy arrays \(.npz\); .*np.load"),
    "ZIP": (zipped("cat.jpg"), "a ZIP archive; unpack it first"),
    "gzip": (gzip.compress(b"picture"), "compressed with gzip; unpack it first"),
    "NIfTI": (NIFTI, r"a NIfTI file; .*nibabel.load"),
    "NIfTI, packed": (gzip.compress(NIFTI), r"a NIfTI file; .*nibabel.load"),
    "FITS": (b"SIMPLE  =                    T", "a FITS file; .*astropy.io.fits"),
    "HDF5": (b"\x89HDF\r\n\x1a\n" + bytes(20), "an HDF5 file; read its arrays with h5py"),
    "MP4": (ftyp(b"isom"), r"a video \(MP4 or QuickTime\); save its frames"),
    "MOV": (ftyp(b"qt  "), r"a video \(MP4 or QuickTime\)"),
    "WebM": (b"\x1a\x45\xdf\xa3" + bytes(20), r"a video \(WebM or Matroska\)"),
    "zeros": (bytes(1000), "nothing but 1,000 zero bytes"),
    "macOS": (b"\0\5\x16\7\0\2\0\0Mac OS X", r"metadata of a file by macOS"),
    "JPEG": (b"\xff\xd8\xff\0", "a JPEG image, but its header is damaged"),
    "PNG": (b"\x89PNG\r\n\x1a\nIHDR", "a PNG image, but its header is damaged"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_no_image_of_the_formats_is_named_by_its_first_bytes(name):
    """Would catch a HEIC photo, a web page or a DICOM file called a damaged image."""
    content, words = OTHERS[name]
    with pytest.raises(UnreadableImage, match=f"^it (is|holds) {words}"):
        decode(content, OPTIONS)


@pytest.mark.parametrize(
    "content", [b"\x89", b"\x01\x02\x03\x04", bytes(range(1, 200)), b"\xfe\xdc"]
)
def test_bytes_that_tell_nothing(content):
    """Would catch a guess about them."""
    assert describe_content(content) is None
    with pytest.raises(UnreadableImage, match="not an image of the formats JPEG, PNG, WEBP, BMP"):
        decode(content, OPTIONS)


def test_nothing_is_named_by_a_file_that_ends_within_its_signature():
    """Would catch an IndexError, or a struct.error, for a file of a few bytes."""
    for content, _ in OTHERS.values():
        for length in (1, 2, 3, 5, 9, 13):
            describe_content(content[:length])


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_deflate"])
@pytest.mark.parametrize("left_out", [2, 20, 200])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_a_tiff_file_that_is_cut_is_called_damaged(compression, left_out, mode):
    """Would catch "1-bit", read of a file whose number of bits is cut off, and tifffile advised."""
    file = io.BytesIO()
    Image.effect_noise((64, 64), 90).convert(mode).save(file, "TIFF", compression=compression)
    with pytest.raises(UnreadableImage, match="; copy or download it again") as caught:
        decode(file.getvalue()[:-left_out], OPTIONS)
    assert "bit" not in str(caught.value)


@pytest.mark.parametrize(
    "start", [b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"II*\0"]
)
def test_a_damaged_header_comes_with_a_remedy(start):
    """Would catch a reason that leaves open what to do, of formats that are read and of none."""
    for content in (start, start + bytes(range(1, 90)), bytes(range(1, 90)) + start):
        with pytest.raises(UnreadableImage, match=r"; (copy or download it again|convert it)"):
            decode(content, OPTIONS)


def test_avif_is_read(tmp_path):
    """Would catch the photos of today's web refused although Pillow decodes them."""
    picture = Image.new("RGB", (40, 30), (200, 40, 90))
    picture.save(tmp_path / "photo.avif")
    picture.save(tmp_path / "photo.jpg", "AVIF")
    paths = [tmp_path / "photo.avif", tmp_path / "photo.jpg"]
    pixels = ImageReader((20, 24)).transform(paths)
    assert np.abs(pixels.astype(int) - (200, 40, 90)).max() <= 3


def test_avif_with_alpha_and_orientation():
    """Would catch a photo that lies on its side, or alpha that is dropped."""
    halves = np.zeros((20, 40, 4), dtype=np.uint8)
    halves[:, :20] = 255
    turned, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(halves).save(turned, "AVIF", exif=exif, quality=100)
    pixels = decode(turned.getvalue(), ReadOptions(40, 20, "RGBA", "stretch", (0, 0, 0)))
    assert pixels[:15, :, 3].min() > 240
    assert pixels[-15:, :, 3].max() < 15


class Opened(Image.Image):
    """Stands for an image of pillow-heif."""

    @staticmethod
    def of(file):
        assert file.read(12)[4:] == b"ftypheic"
        return Image.new("RGB", (8, 6), (10, 20, 30))


def test_heic_is_read_where_pillow_heif_is_installed(monkeypatch):
    """Would catch an iPhone's photos refused although what decodes them is installed."""
    module = types.ModuleType("pillow_heif")
    module.HeifImageFile = Opened.of
    monkeypatch.setitem(sys.modules, "pillow_heif", module)
    pixels = decode(ftyp(b"heic"), OPTIONS)
    assert pixels.reshape(-1, 3).tolist() == [[10, 20, 30]] * 63
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(UnreadableImage, match="a HEIC image; pip install pillow-heif"):
        decode(ftyp(b"heic"), OPTIONS)


def test_damaged_heic_has_a_reason(monkeypatch):
    """Would catch the SyntaxError of pillow-heif, its words, and a reason without a remedy."""

    def refuse(file):
        raise SyntaxError("no item of type hvc1")

    module = types.ModuleType("pillow_heif")
    module.HeifImageFile = refuse
    monkeypatch.setitem(sys.modules, "pillow_heif", module)
    with pytest.raises(UnreadableImage, match=r"it is a HEIC image, but .*; convert it") as caught:
        decode(ftyp(b"heic"), OPTIONS)
    assert "hvc1" not in str(caught.value)
