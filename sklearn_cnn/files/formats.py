"""What a file that cannot be read is, told by its first bytes, and what to do about it.

Nothing is decoded here but the tags of a TIFF file.
"""

import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from math import prod

from sklearn_cnn.files.structure import is_tiff, read_tiff_form

CONVERT = "convert it to PNG or JPEG first"
DECODE = "convert it to PNG or TIFF first, or pass an ImageReader(decoder=...) that calls {}"
RAW = "develop it to TIFF or JPEG first, or pass an ImageReader(decoder=...) that calls rawpy"
VIDEO = "save its frames as images first"
NIFTI = DECODE.format("nibabel.load, and takes a slice")
UNPACK = "unpack it first"
DAMAGED = "but its header is damaged; copy or download it again"
NOT_THE_IMAGE = "it takes the place of the image; obtain the image itself"

SIGNATURES = (
    (0, b"\xff\xd8\xff", "a JPEG image", DAMAGED),
    (0, b"\x89PNG\r\n\x1a\n", "a PNG image", DAMAGED),
    (0, b"GIF8", "a GIF image", DAMAGED),
    (8, b"WEBP", "a WebP image", DAMAGED),
    (0, b"BM", "a BMP image", "but its header is damaged, or of a kind "
     f"that Pillow cannot read; {CONVERT}"),
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
    (4, b"jP  \r\n\x87\n", "a JPEG 2000 image", CONVERT),
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
    (0, b"IIRO", "a raw file of an Olympus camera (ORF)", RAW),
    (0, b"IIRS", "a raw file of an Olympus camera (ORF)", RAW),
    (0, b"MMOR", "a raw file of an Olympus camera (ORF)", RAW),
    (0, b"IIU\x00", "a raw file of a Panasonic camera (RW2)", RAW),
    (8, b"CR\x02", "a raw file of a Canon camera (CR2)", RAW),
    (0, b"\x00MRM", "a raw file of a Minolta camera (MRW)", RAW),
    (0, b"FOVb", "a raw file of a Sigma camera (X3F)", RAW),
    (0, b"\x76\x2f\x31\x01", "an OpenEXR image", DECODE.format("OpenEXR")),
    (0, b"#?RADIANCE", "a Radiance HDR image", DECODE.format("imageio.imread")),
    (0, b"#?RGBE", "a Radiance HDR image", DECODE.format("imageio.imread")),
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
    (0, b"\x00\x05\x16\x07", "what macOS keeps beside a file (AppleDouble)", "leave it out"),
    (0, b"\x00\x05\x16\x00", "what macOS keeps beside a file (AppleDouble)", "leave it out"),
    (0, b"BZh", "compressed with bzip2", UNPACK),
    (0, b"\xfd7zXZ", "compressed with xz", UNPACK),
    (0, b"\x28\xb5\x2f\xfd", "compressed with Zstandard", UNPACK),
    (0, b"7z\xbc\xaf", "a 7-Zip archive", UNPACK),
    (0, b"Rar!", "a RAR archive", UNPACK),
    (257, b"ustar", "a tar archive", UNPACK),
    (0, b"\x1a\x45\xdf\xa3", "a video (WebM or Matroska)", VIDEO),
    (8, b"AVI ", "a video (AVI)", VIDEO),
    (0, b"FLV\x01", "a video (Flash)", VIDEO),
    (0, b"\x00\x00\x01\xba", "a video (MPEG)", VIDEO),
    (0, b"\x00\x00\x01\xb3", "a video (MPEG)", VIDEO),
    (4, b"moov", "a video (QuickTime)", VIDEO),
    (4, b"mdat", "a video (QuickTime)", VIDEO),
    (4, b"wide", "a video (QuickTime)", VIDEO),
    (0, b"OggS", "a video or sound (Ogg)", VIDEO),
    (8, b"WAVE", "a sound (WAV)", NOT_THE_IMAGE),
    (0, b"ID3", "a sound (MP3)", NOT_THE_IMAGE),
    (0, b"\x7fELF", "a program", NOT_THE_IMAGE),
    (0, b"MZ", "a program of Windows", NOT_THE_IMAGE),
    (0, b"\x80\x04\x95", "a pickle", "load what you trust with pickle, and pass the arrays in it"),
    (0, b"version https://git-lfs", "a pointer of Git LFS, not the image", "run git lfs pull"),
    (0, b"/annex/objects/", "a pointer of git-annex, not the image", "run git annex get"),
    (0, b"iVBORw0KGgo", "an image encoded as Base64", "pass base64.b64decode(content)"),
    (0, b"/9j/", "an image encoded as Base64", "pass base64.b64decode(content)"),
    (0, b"data:image/", "an image encoded as a data URL", "decode what follows the comma"),
)  # fmt: skip
"""Offset and bytes of each signature, the kind of file, and what to do."""

AVIF_BRANDS, HEIF_BRANDS = (b"avif", b"avis"), (
    b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"hevm", b"hevs", b"mif1", b"msf1",
)  # fmt: skip
_COMMENTS = re.compile(rb"^(<!--.*?-->\s*)+", re.DOTALL)
_NETPBM = {b"P1", b"P2", b"P3", b"P4", b"P5", b"P6", b"P7", b"PF", b"Pf"}


def describe_content(content: bytes) -> str | None:
    """Say what a file is and what to do about it, or None where its bytes tell nothing."""
    if not content.strip(b"\0"):
        return f"it holds nothing but {len(content):,} zero bytes; copy or download it again"
    if is_tiff(content) and content[128:132] != b"DICM":  # before which a TIFF header may stand
        return describe_tiff(content)
    found = _brand(content) or _container(content) or _marked_up(content)
    if found is None:
        for place, signature, what, remedy in SIGNATURES:
            if (
                content[place : place + len(signature)] == signature
                if place >= 0
                else (content[place:].startswith(signature))
            ):
                found = what, remedy
                break
    if found is None:
        return _describe_text(content)
    what, remedy = found
    return f"it is {what}{', ' if remedy.startswith('but') else '; '}{remedy}"


def is_avif(content: bytes) -> bool:
    """Whether this is an AVIF file."""
    return content[4:8] == b"ftyp" and any(brand in AVIF_BRANDS for brand in _brands(content))


def is_heif(content: bytes) -> bool:
    """Whether this is a HEIF file, HEIC among them, but not AVIF."""
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
            "but its header is damaged, or asks for too many pixels; copy or download it again, or "
            "make it smaller"
        )
    if is_heif(content):
        return "a HEIC image", f"pip install pillow-heif, and it is read, or {CONVERT}"
    return "a video (MP4 or QuickTime)", VIDEO


def _container(content: bytes) -> tuple[str, str] | None:
    """Tell what a ZIP or a gzip file holds."""
    if content[:4] == b"PK\x03\x04":
        if b".npy" in content[:200]:
            return "an archive of NumPy arrays (.npz)", "pass the arrays that np.load gives"
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


def _describe_text(content: bytes) -> str | None:
    """Quote the beginning of what is text."""
    start = content[:400]
    form = "utf-16" if start[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    text = start.decode(form, "ignore")
    if not text.strip() or not all(sign.isprintable() or sign.isspace() for sign in text):
        return None
    if len(start.decode(form, "replace")) > len(text) + 1:  # but for a sign that is cut at the end
        return None
    what = "JSON" if text.lstrip()[0] in "{[" else "text"
    return f"it is {what}, beginning with {' '.join(text.split())[:40]!r}; {NOT_THE_IMAGE}"


# The TIFF tags that are read here.
_SUBFILE, _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 254, 256, 257, 258, 259, 262
_DESCRIPTION, _SAMPLES, _SUB_IFDS, _FORMAT, _DEPTH, _DNG = 270, 277, 330, 339, 32997, 50706
_READ = {_SUBFILE, _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _DESCRIPTION, _SAMPLES,
         _SUB_IFDS, _FORMAT, _DEPTH, _DNG}  # fmt: skip
_TYPES = {1: "B", 2: "s", 3: "H", 4: "I", 8: "h", 9: "i", 13: "I", 16: "Q", 17: "q", 18: "Q"}
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
_CUT, _OPTIONAL = -1, {_DESCRIPTION, _SUB_IFDS, _DNG}
"""What stands among the tags of a page for one beyond the end of the file, unless that is one of
those that its pixels can do without."""
_REDUCED_OR_MASK = 1 | 4
_MOST_PAGES = 1000


def read_tiff_pages(content: bytes) -> Iterator[dict[int, tuple]]:
    """Read tags of each page of a TIFF or BigTIFF file, as far as it is sound.

    Parameters
    ----------
    content : bytes
        The whole file.

    Yields
    ------
    dict of int to tuple
        The values of the tags in ``_READ``; a string is a tuple of one bytes. ``_CUT`` is among
        them where the file ends too early.
    """
    entry, count, pointer, start = read_tiff_form(content)
    seen: set[int] = set()
    with suppress(struct.error, OverflowError):
        (place,) = struct.unpack_from(pointer, content, start)
        while place and place not in seen and len(seen) < _MOST_PAGES:
            seen.add(place)
            (n_entries,) = struct.unpack_from(count, content, place)
            place += struct.calcsize(count)
            page: dict[int, tuple] = {}
            is_whole = False
            with suppress(struct.error):  # of a list that is cut
                for _ in range(min(n_entries, 4096)):
                    tag, kind, number, field = struct.unpack_from(entry, content, place)
                    is_text = kind == 2
                    if tag in _READ and kind in _TYPES and is_text == (tag == _DESCRIPTION):
                        try:
                            values = _values(content, pointer, kind, number, field)
                        except struct.error:  # it points out of the file
                            tag, values = (tag, ()) if tag in _OPTIONAL else (_CUT, (tag,))
                        page |= {tag: values} if values else {}
                    place += struct.calcsize(entry)
                is_whole = True
            page |= {} if is_whole else {_CUT: ()}
            yield page
            if not is_whole:
                return
            (place,) = struct.unpack_from(pointer, content, place)


def _values(content: bytes, pointer: str, kind: int, number: int, field: bytes) -> tuple:
    form = f"{pointer[0]}{min(number, 1024)}{_TYPES[kind]}"  # in the same order of bytes
    if struct.calcsize(form) <= len(field):
        return struct.unpack_from(form, field)
    (place,) = struct.unpack(pointer, field)
    return struct.unpack_from(form, content, place)


def count_tiff_pages(content: bytes) -> int:
    """Count the images of a TIFF file, without previews, smaller copies and masks."""
    n_pages = 0
    for number, page in enumerate(read_tiff_pages(content)):
        n_pages += number == 0 or not page.get(_SUBFILE, (0,))[0] & _REDUCED_OR_MASK
        if number == 0:
            n_pages = max(n_pages, _count_listed(page))
    return n_pages


def _count_listed(page: dict[int, tuple]) -> int:
    """Count the images that ImageJ or tifffile has put after one list of tags."""
    text = page.get(_DESCRIPTION, (b"",))[0]
    if text.startswith(b"ImageJ="):
        listed = re.search(rb"images=(\d+)", text)
        return int(listed[1]) if listed else 1
    shape = re.match(rb'{"shape": \[([\d, ]+)\]', text)
    a_page = prod(page.get(tag, (1,))[0] for tag in (_WIDTH, _HEIGHT, _SAMPLES))
    return prod(map(int, shape[1].split(b","))) // max(1, a_page) if shape else 1


def describe_raw_or_deep(content: bytes) -> str | None:
    """Say why Pillow would misread the first page of a TIFF file, or return None.

    It is the preview of a raw file of a camera, has more channels or planes than Pillow tells
    apart, or is of a form that Pillow takes for another.
    """
    page = next(read_tiff_pages(content), {})
    is_preview = page.get(_SUBFILE, (0,))[0] & 1 and _SUB_IFDS in page
    if _DNG in page or is_preview or content[8:10] == b"CR":
        return f"it is a raw file of a camera; {RAW}"
    if not page.get(_WIDTH) or page.get(_CUT):
        return describe_content(content)
    is_odd = content[:4] == b"MM\0+" or page.get(_COMPRESSION, (1,))[0] in _RARE
    if is_odd or page.get(_SAMPLES, (1,))[0] > 6 or page.get(_DEPTH, (1,))[0] > 1:
        return describe_tiff(content)
    return None


def describe_tiff(content: bytes) -> str:
    """Say what is in a TIFF file that Pillow cannot read, and how to read it."""
    page = next(read_tiff_pages(content), {})
    if not page.get(_WIDTH) or not page.get(_HEIGHT) or _CUT in page:
        return f"it is a TIFF image, {DAMAGED}"
    bits, formats = page.get(_BITS, (1,)), page.get(_FORMAT, (1,))
    (n_channels, *_), (colour, *_) = page.get(_SAMPLES, (1,)), page.get(_PHOTOMETRIC, (1,))
    compression = page.get(_COMPRESSION, (1,))[0]
    depth = page.get(_DEPTH, (1,))[0]
    parts = [
        f"{page[_WIDTH][0]} x {page[_HEIGHT][0]}" + (f" x {depth}" if depth > 1 else ""),
        f"{n_channels} channel{'s' * (n_channels > 1)} ({_COLOURS.get(colour, 'other colours')})",
        f"{'/'.join(map(str, sorted(set(bits))))}-bit {_KINDS.get(formats[0], 'values')}",
    ]
    if compression != 1:
        parts.append(f"compression {_COMPRESSIONS.get(compression, compression)}")
    if content[:4] == b"MM\0+":
        parts.append("BigTIFF of big-endian order")
    if depth > 1:
        remedy = "pass ImageReader(decoder=...) that calls tifffile.imread, and takes a slice"
    elif formats[0] in (5, 6):
        remedy = (
            "pass ImageReader(decoder=...) that calls tifffile.imread, and returns real numbers"
        )
    else:
        ranged = (
            ", value_range=(low, high)" if (bits[0], formats[0]) not in ((8, 1), (16, 1)) else ""
        )
        mode = {1: "'L'", 3: "'RGB'"}.get(n_channels, n_channels)
        remedy = f"pass ImageReader(decoder=tifffile.imread, mode={mode}{ranged}), or convert it"
    return f"it is a TIFF image that Pillow cannot read: {', '.join(parts)}; {remedy}"
