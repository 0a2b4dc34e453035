"""Reasons in words: what an unreadable file is, by its content, and the remedy."""

import re
import zlib
from contextlib import suppress

from sklearn_cnn.files import structure
from sklearn_cnn.files.structure import Tag, TiffPage, is_tiff

CONVERT = "convert it to PNG or JPEG first"
DECODE = "convert it to PNG or TIFF first, or pass an ImageReader(decoder=...) that calls {}"
RAW = "develop it to TIFF or JPEG first, or pass an ImageReader(decoder=...) that calls rawpy"
VIDEO = "save its frames as images first"
NIFTI = DECODE.format("nibabel.load, and takes a slice")
UNPACK = "unpack it first"
DAMAGED = "but its header is damaged; copy or download it again"
NOT_THE_IMAGE = "it replaces the image; obtain the image itself"

# Offset and bytes of each signature, the kind of file, and the remedy; the first match counts.
SIGNATURES: tuple[tuple[int, bytes | tuple[bytes, ...], str, str], ...] = (
    (0, b"\xff\xd8\xff", "a JPEG image", DAMAGED),
    (0, b"\x89PNG\r\n\x1a\n", "a PNG image", DAMAGED),
    (0, b"GIF8", "a GIF image", DAMAGED),
    (8, b"WEBP", "a WebP image", DAMAGED),
    (0, b"BM", "a BMP image", "but its header is damaged or not supported by Pillow; "
     + CONVERT),
    (0, b"8BPS", "a Photoshop file (PSD)", CONVERT),
    (0, b"%PDF", "a PDF document", "render its pages to PNG first"),
    (0, b"%!PS", "a PostScript file", "render it to PNG first"),
    (0, b"\xc5\xd0\xd3\xc6", "an EPS file", "render it to PNG first"),
    (0, b"\x00\x00\x01\x00", "a Windows icon (ICO)", CONVERT),
    (0, b"\x00\x00\x02\x00", "a TGA image or a Windows cursor", CONVERT),
    (0, b"\x00\x00\x0a\x00", "a TGA image", CONVERT),
    (-18, b"TRUEVISION-XFILE", "a TGA image", CONVERT),
    (0, b"\xff\x0a", "a JPEG XL image", CONVERT),
    (4, b"JXL \r\n\x87\n", "a JPEG XL image", CONVERT),
    (4, b"jP  ", "a JPEG 2000 image", CONVERT),
    (0, b"\xff\x4f\xff\x51", "a JPEG 2000 image", CONVERT),
    (0, b"II\xbc", "a JPEG XR image", CONVERT),
    (0, b"icns", "an Apple icon (ICNS)", CONVERT),
    (0, b"qoif", "a QOI image", CONVERT),
    (0, b"DDS ", "a DDS texture", CONVERT),
    (0, b"\x01\xda", "an SGI image", CONVERT),
    (0, b"\x0a\x05\x01", "a PCX image", CONVERT),
    (0, b"gimp xcf", "a GIMP file (XCF)", CONVERT),
    (0, b"AT&TFORM", "a DjVu document", "render its pages to PNG first"),
    (0, b"\x8aMNG", "an MNG animation", CONVERT),
    (0, b"\xd7\xcd\xc6\x9a", "a Windows metafile (WMF)", "render it to PNG first"),
    (40, b" EMF", "a Windows metafile (EMF)", "render it to PNG first"),
    (0, b"FUJIFILMCCD-RAW", "a raw file of a Fujifilm camera (RAF)", RAW),
    (4, b"ftypcrx ", "a raw file of a Canon camera (CR3)", RAW),
    (0, (b"IIRO", b"IIRS", b"MMOR"), "a raw file of an Olympus camera (ORF)", RAW),
    (0, b"IIU\x00", "a raw file of a Panasonic camera (RW2)", RAW),
    (8, b"CR\x02", "a raw file of a Canon camera (CR2)", RAW),
    (0, b"\x00MRM", "a raw file of a Minolta camera (MRW)", RAW),
    (0, b"FOVb", "a raw file of a Sigma camera (X3F)", RAW),
    (0, b"\x76\x2f\x31\x01", "an OpenEXR image", DECODE.format("OpenEXR")),
    (0, (b"#?RADIANCE", b"#?RGBE"), "a Radiance HDR image", DECODE.format("imageio.imread")),
    (128, b"DICM", "a DICOM file", DECODE.format("pydicom")),
    (0, b"\x08\x00\x05\x00", "a DICOM file", DECODE.format("pydicom")),
    (344, b"n+1\x00", "a NIfTI file", NIFTI),
    (344, b"ni1\x00", "a NIfTI header", NIFTI),
    (0, b"NRRD000", "an NRRD file", DECODE.format("nrrd.read, and takes a slice")),
    (0, b"SIMPLE  =", "a FITS file", DECODE.format("astropy.io.fits.getdata")),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file", "read its arrays with h5py, and pass those"),
    (0, b"CDF", "a NetCDF file", "read its arrays with xarray, and pass those"),
    (0, b"MATLAB 5.0", "a MATLAB file", "read its arrays with scipy.io.loadmat, and pass those"),
    (0, b"ZISRAWFILE", "a Zeiss microscope file (CZI)", DECODE.format("czifile")),
    (0, b"\xda\xce\xbe\x0a", "a Nikon microscope file (ND2)", DECODE.format("nd2")),
    (0, b"\x93NUMPY", "a NumPy array (.npy)", "pass ImageReader(decoder=np.load), or the arrays"),
    (0, b"PAR1", "a Parquet table", "read it with pandas, and pass the paths or images in it"),
    (0, b"SQLite format 3", "an SQLite database", NOT_THE_IMAGE),
    (0, b"\xd0\xcf\x11\xe0", "a thumbnail store or Office document of Windows", NOT_THE_IMAGE),
    (0, (b"\x00\x05\x16\x07", b"\x00\x05\x16\x00"), "metadata of a file by macOS (AppleDouble)",
     "leave it out"),
    (0, b"BZh", "compressed with bzip2", UNPACK),
    (0, b"\xfd7zXZ", "compressed with xz", UNPACK),
    (0, b"\x28\xb5\x2f\xfd", "compressed with Zstandard", UNPACK),
    (0, b"7z\xbc\xaf", "a 7-Zip archive", UNPACK),
    (0, b"Rar!", "a RAR archive", UNPACK),
    (257, b"ustar", "a tar archive", UNPACK),
    (0, b"\x1a\x45\xdf\xa3", "a video (WebM or Matroska)", VIDEO),
    (8, b"AVI ", "a video (AVI)", VIDEO),
    (0, b"FLV\x01", "a video (Flash)", VIDEO),
    (0, (b"\x00\x00\x01\xba", b"\x00\x00\x01\xb3"), "a video (MPEG)", VIDEO),
    (4, (b"moov", b"mdat", b"wide"), "a video (QuickTime)", VIDEO),
    (0, b"OggS", "a video or sound (Ogg)", VIDEO),
    (8, b"WAVE", "a sound (WAV)", NOT_THE_IMAGE),
    (0, b"ID3", "a sound (MP3)", NOT_THE_IMAGE),
    (0, b"\x7fELF", "a program", NOT_THE_IMAGE),
    (0, b"MZ", "a program of Windows", NOT_THE_IMAGE),
    (0, b"\x80\x04\x95", "a pickle", "if you trust it, load it with pickle and pass its arrays"),
    (0, b"version https://git-lfs", "a pointer of Git LFS, not the image", "run git lfs pull"),
    (0, b"/annex/objects/", "a pointer of git-annex, not the image", "run git annex get"),
    (0, (b"iVBORw0KGgo", b"/9j/"), "an image encoded as Base64", "pass base64.b64decode(content)"),
    (0, b"data:image/", "an image encoded as a data URL", "decode the part after the comma"),
)  # fmt: skip

AVIF_BRANDS = (b"avif", b"avis")
HEIF_BRANDS = tuple(b"heic heix hevc hevx heim heis hevm hevs mif1 msf1".split())
_COMMENTS = re.compile(rb"^(<!--.*?-->\s*)+", re.DOTALL)
_NETPBM = frozenset({b"P1", b"P2", b"P3", b"P4", b"P5", b"P6", b"P7", b"PF", b"Pf"})


class UnreadableImage(ValueError):
    """An image that cannot be read; the message is a reason, without the image's name."""


def describe_content(content: bytes) -> str | None:
    """Describe the kind of a file and the remedy; None if its content is unknown."""
    if not content.strip(b"\0"):
        return f"it holds nothing but {len(content):,} zero bytes; copy or download it again"
    if is_tiff(content) and content[128:132] != b"DICM":  # which may follow a TIFF header
        return describe_tiff(content)
    found = _brand(content) or _container(content) or _marked_up(content) or _signed(content)
    if found is None:
        return _describe_text(content)
    what, remedy = found
    return f"it is {what}{', ' if remedy.startswith('but') else '; '}{remedy}"


def is_avif(content: bytes) -> bool:
    """Tell whether this is an AVIF file."""
    return content[4:8] == b"ftyp" and any(brand in AVIF_BRANDS for brand in _brands(content))


def is_heif(content: bytes) -> bool:
    """Tell whether this is a HEIF file, including HEIC, but not AVIF."""
    is_one = content[4:8] == b"ftyp" and content[8:12] in HEIF_BRANDS
    return is_one and not is_avif(content)


def _brands(content: bytes) -> list[bytes]:
    """Return the major brand and the compatible ones of an ISO media file."""
    end = min(int.from_bytes(content[:4], "big"), 256)
    return [content[8:12], *(content[i : i + 4] for i in range(16, end, 4))]


def _brand(content: bytes) -> tuple[str, str] | None:
    if content[4:8] != b"ftyp" or content[8:12] == b"crx ":
        return None
    if is_avif(content):
        return "an AVIF image", (
            "but its header is damaged or states too many pixels; copy or download it again, or "
            "reduce its size"
        )
    if is_heif(content):
        return "a HEIC image", f"pip install pillow-heif to read it, or {CONVERT}"
    return "a video (MP4 or QuickTime)", VIDEO


def _container(content: bytes) -> tuple[str, str] | None:
    """Describe the content of a ZIP or gzip file."""
    if content[:4] == b"PK\x03\x04":
        if b".npy" in content[:200]:
            return "an archive of NumPy arrays (.npz)", "pass the arrays that np.load returns"
        return "a ZIP archive", UNPACK
    if content[:2] != b"\x1f\x8b":
        return None
    with suppress(zlib.error):
        inner = zlib.decompressobj(31).decompress(content[:65536], 512)
        if inner[344:348] in (b"n+1\0", b"ni1\0"):
            return "a NIfTI file", NIFTI
    return "compressed with gzip", UNPACK


def _marked_up(content: bytes) -> tuple[str, str] | None:
    start = content[:1024].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    start = _COMMENTS.sub(b"", start)
    if b"<svg" in start and start[:1] == b"<":
        return "an SVG drawing", "render it to PNG first"
    if start.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        return "a web page (HTML), not the image", "download the image itself"
    if start.startswith((b"<?xml", b"<!doctype", b"<error")):
        return "an XML document", NOT_THE_IMAGE
    if content[:2] in _NETPBM and content[2:3].isspace():
        return "a Netpbm image (PBM, PGM, PPM, PAM or PFM)", CONVERT
    return None


def _signed(content: bytes) -> tuple[str, str] | None:
    for place, signature, what, remedy in SIGNATURES:
        if content.startswith(signature, place):
            return what, remedy
    return None


def _describe_text(content: bytes) -> str | None:
    """Quote the beginning of a text file."""
    start = content[:400]
    form = "utf-16" if start[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    text = start.decode(form, "ignore")
    if not text.strip() or not all(sign.isprintable() or sign.isspace() for sign in text):
        return None
    if (
        len(start.decode(form, "replace")) > len(text) + 1
    ):  # except for a truncated character at the end
        return None
    what = "JSON" if text.lstrip()[0] in "{[" else "text"
    return f"it is {what}, beginning with {' '.join(text.split())[:40]!r}; {NOT_THE_IMAGE}"


_KINDS = {1: "unsigned integers", 2: "signed integers", 3: "floating-point numbers",
          4: "values of no stated type", 5: "complex integers", 6: "complex numbers"}  # fmt: skip
_COMPRESSIONS = {2: "CCITT", 3: "fax", 4: "fax", 5: "LZW", 6: "old JPEG", 7: "JPEG", 8: "Deflate",
                 32773: "PackBits", 32946: "Deflate", 33003: "JPEG 2000", 33005: "JPEG 2000",
                 34676: "LogLuv", 34712: "JPEG 2000", 34887: "LERC", 34892: "lossy JPEG",
                 34925: "LZMA", 50000: "Zstandard", 50001: "WebP", 50002: "JPEG XL"}  # fmt: skip
_COLOURS = {0: "gray, white is zero", 1: "gray", 2: "RGB", 3: "palette", 5: "CMYK", 6: "YCbCr",
            8: "CIELab", 9: "ICCLab", 10: "ITULab", 32803: "of a camera's sensor",
            32844: "LogL", 32845: "LogLuv", 34892: "of a camera's sensor"}  # fmt: skip
_RARE = {32809, 34676, 34677, 50001}  # ThunderScan, LogLuv, WebP: only some builds of Pillow
_BIG_TIFF_BIG_ENDIAN = b"MM\0+"


def describe_misread_tiff(content: bytes) -> str | None:
    """Describe why Pillow would misread the first page of a TIFF file, or return None.

    The page is the preview of a raw camera file, has more channels or planes than Pillow supports,
    or has a form that Pillow mistakes for another.
    """
    page = next(structure.read_tiff_pages(content), TiffPage())
    is_preview = page.first(Tag.SUBFILE, 0) & 1 and Tag.SUB_IFDS in page.values
    if Tag.DNG in page.values or is_preview or content[8:10] == b"CR":
        return f"it is a raw file of a camera; {RAW}"
    if Tag.WIDTH not in page.values or (page.lacks_values and not page.is_cut):
        return describe_content(content)
    is_odd = content[:4] == _BIG_TIFF_BIG_ENDIAN or page.first(Tag.COMPRESSION) in _RARE
    if is_odd or page.first(Tag.SAMPLES) > 6 or page.first(Tag.DEPTH) > 1:
        return describe_tiff(content)
    return None


def describe_tiff(content: bytes) -> str:
    """Describe a TIFF file that Pillow cannot read, and how to read it."""
    page = next(structure.read_tiff_pages(content), TiffPage())
    is_damaged = page.is_cut or page.lacks_values
    if is_damaged or not {Tag.WIDTH, Tag.HEIGHT} <= page.values.keys():
        return f"it is a TIFF image, {DAMAGED}"
    n_channels, depth = page.first(Tag.SAMPLES), page.first(Tag.DEPTH)
    bits, kind = page.values.get(Tag.BITS, (1,)), page.first(Tag.SAMPLE_FORMAT)
    compression = page.first(Tag.COMPRESSION)
    colours = _COLOURS.get(page.first(Tag.PHOTOMETRIC), "other colours")
    sides = [page.first(Tag.WIDTH), page.first(Tag.HEIGHT), *([depth] if depth > 1 else [])]
    parts = [
        " x ".join(map(str, sides)),
        f"{n_channels} channel{'s' * (n_channels > 1)} ({colours})",
        f"{'/'.join(map(str, sorted(set(bits))))}-bit {_KINDS.get(kind, 'values')}",
    ]
    if compression != 1:
        parts.append(f"compression {_COMPRESSIONS.get(compression, compression)}")
    if content[:4] == _BIG_TIFF_BIG_ENDIAN:
        parts.append("BigTIFF of big-endian order")
    if depth > 1 or kind in (5, 6):
        step = "takes a slice" if depth > 1 else "returns real numbers"
        remedy = f"pass ImageReader(decoder=...) that calls tifffile.imread, and {step}"
    else:
        mode = {1: "'L'", 3: "'RGB'"}.get(n_channels, n_channels)
        has_range = (bits[0], kind) in ((8, 1), (16, 1))
        options = f"mode={mode}" if has_range else f"mode={mode}, value_range=(low, high)"
        remedy = f"pass ImageReader(decoder=tifffile.imread, {options}), or convert it"
    return f"it is a TIFF image that Pillow cannot read: {', '.join(parts)}; {remedy}"


def describe_jpeg_frame(content: bytes) -> str | None:
    """Describe why an intact JPEG file is not supported; None if it is supported."""
    frame = structure.read_jpeg_frame(content)
    if frame is None:
        return None
    if frame.bits != 8:
        return f"it is a JPEG image with {frame.bits} bits per sample instead of 8; save it with 8"
    if frame.n_components not in (1, 3, 4):
        return f"it is a JPEG image with {frame.n_components} channels instead of 1, 3 or 4"
    if frame.marker not in structure.SHRINKABLE:
        kind = "lossless" if frame.marker == 0xC3 else f"SOF{frame.marker - 0xC0}"
        return f"it is a JPEG image of an unsupported kind ({kind}); save it as a baseline JPEG"
    return None
