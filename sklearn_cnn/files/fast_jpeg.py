"""Plain JPEG files through simplejpeg, where it is installed: the same pixels as Pillow's, sooner.

Both decode with libjpeg-turbo; for small images most of Pillow's time goes into looking at the file
from Python. Everything else goes to Pillow, whose result is authoritative.
"""

from collections.abc import Callable

import numpy as np

from sklearn_cnn.files.structure import SHRINKABLE, read_jpeg_frame

try:
    import simplejpeg
except ImportError:  # an extra
    simplejpeg = None

_EXIF, _XMP = b"Exif\x00", b"tiff:Orientation"
"""What may hold an orientation, where these bytes occur."""


def is_available() -> bool:
    """Whether simplejpeg is installed."""
    return simplejpeg is not None


def decode_plain_jpeg(
    content: bytes, choose_divisor: Callable[[int, int], int]
) -> np.ndarray | None:
    """Decode a JPEG file that needs no further treatment.

    Parameters
    ----------
    content : bytes
        The whole file.
    choose_divisor : callable
        Takes width and height, and returns 1, 2, 4 or 8: by how much to shrink while decoding; or
        raises an error, if they are too large.

    Returns
    -------
    ndarray of shape (height, width, 3) or (height, width, 1), uint8, or None
        None where Pillow shall look at the file.
    """
    if simplejpeg is None or content[:3] != b"\xff\xd8\xff":
        return None
    if _EXIF in content or _XMP in content:
        return None
    frame = read_jpeg_frame(content)
    # It decodes other frames at full size into the memory of the size that was asked for.
    if frame is None or frame.marker not in SHRINKABLE or frame.bits != 8:
        return None
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(content)
    except (ValueError, KeyError):  # damaged, or of a sampling or colours that it cannot name
        return None
    if colours not in ("YCbCr", "Gray") or (height, width) != (frame.height, frame.width):
        return None
    divisor = choose_divisor(width, height)
    try:
        shape = (-(-height // divisor), -(-width // divisor), 1 if colours == "Gray" else 3)
        pixels: np.ndarray = simplejpeg.decode_jpeg(
            content, "GRAY" if colours == "Gray" else "RGB", min_height=shape[0], min_width=shape[1]
        )
    except ValueError:  # damaged, or not to its liking
        return None
    return pixels if pixels.shape == shape else None
