"""Image files opened with Pillow: whatever is wrong with them comes out as one error, and no warning gets out."""

from __future__ import annotations

import io
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image, UnidentifiedImageError

from vitrine_client.images.options import Refused
from vitrine_client.images.structure import Header

_ACCEPTED = "JPEG, PNG, GIF, BMP, WebP, TIFF, ICO, JPEG 2000, PPM, QOI and, where Pillow can, AVIF, HEIF and JPEG XL"
# Not all that Pillow knows: some formats have no mark to know them by, and for EPS it starts another program.
_FORMATS = [
    *("JPEG", "PNG", "GIF", "BMP", "DIB", "WEBP", "TIFF", "ICO"),
    *("JPEG2000", "PPM", "QOI", "AVIF", "HEIF", "JXL"),
]
# What Pillow decodes without ever warning.
_SILENT = frozenset([None, "JPEG", "MPO", "PNG", "GIF", "BMP", "WEBP"])
# Pillow's own limit for what it takes for a decompression bomb.
MAX_PIXELS = 2 * (1024**3 // 4 // 3)

_warnings_lock = threading.Lock()


@contextmanager
def refusing(what: str) -> Iterator[None]:
    """Makes Refused of anything that is raised inside: on hostile bytes Pillow raises almost any exception."""
    try:
        yield
    except Refused:
        raise
    except Exception as error:
        reason = f"{error}" or type(error).__name__
        raise Refused(f"{what}: {reason}; replace it, or leave it out") from error


@contextmanager
def without_warnings() -> Iterator[None]:
    """Keeps Pillow's warnings from the caller; one thread at a time, as the filters belong to the whole process."""
    with _warnings_lock, warnings.catch_warnings():
        # Pillow's alone: where another thread changes filters meanwhile, this one may outlive the block.
        warnings.filterwarnings("ignore", module=r"PIL(\.|$)")
        yield


def opened(content: bytes, header: Header | None) -> Image.Image:
    """The picture in a file, its pixels not yet decoded. Of an animation it is the first frame.

    Raises:
        Refused: no picture, or one too large to decode.
    """
    if header:
        _require_pixels(header.width, header.height)
    with refusing("cannot be decoded"):
        if header and not (header.format == "PNG" and b"acTL" in content):
            image = _of_known_format(content, header)
        else:
            image = _of_any_format(content)
        _require_pixels(*image.size)
        return image


def load(image: Image.Image) -> None:
    """Decodes the pixels. Raises what Pillow raises."""
    if image.format in _SILENT:
        image.load()
    else:
        with without_warnings():
            image.load()


def decode_fully(content: bytes, header: Header) -> None:
    """Decodes a picture to see whether it can be, as cheaply as that can be known.

    Raises:
        Refused: it cannot.
    """
    image = opened(content, header)
    with refusing("cannot be decoded"):
        # An eighth of a JPEG's size in grey: all of its data is read, most of its arithmetic is left out.
        image.draft("L", (max(1, image.width // 8), max(1, image.height // 8)))
        load(image)


def _of_known_format(content: bytes, header: Header) -> Image.Image:
    # By its class, because Image.open warns of what is below our limit.
    if header.format == "JPEG":
        from PIL.JpegImagePlugin import JpegImageFile

        return JpegImageFile(io.BytesIO(_without_dispensable(content, header)))
    if header.format == "WEBP":
        from PIL.WebPImagePlugin import WebPImageFile

        return WebPImageFile(io.BytesIO(content))
    if header.format == "PNG":
        from PIL.PngImagePlugin import PngImageFile

        return PngImageFile(io.BytesIO(content))
    if header.format == "GIF":
        from PIL.GifImagePlugin import GifImageFile

        return GifImageFile(io.BytesIO(content))
    from PIL.BmpImagePlugin import BmpImageFile

    return BmpImageFile(io.BytesIO(content))


def _of_any_format(content: bytes) -> Image.Image:
    Image.init()
    with without_warnings():
        try:
            return Image.open(io.BytesIO(content), formats=[name for name in _FORMATS if name in Image.OPEN])
        except UnidentifiedImageError:
            if _is_known(content):
                raise Refused("cannot be decoded: its header is broken; replace it, or leave it out") from None
            raise Refused(
                f"is no picture of a known format: give {_ACCEPTED}, or check='off' to send any bytes as they are"
            ) from None


def _is_known(content: bytes) -> bool:
    return content.startswith((b"\xff\xd8", b"\x89PNG", b"GIF8", b"BM")) or content[8:12] == b"WEBP"


def _without_dispensable(content: bytes, header: Header) -> bytes:
    # Broken EXIF data, or a broken index of further pictures, would make Pillow warn or fail.
    parts, at = [], 0
    for start, end in header.dispensable:
        parts.append(content[at:start])
        at = end
    return b"".join([*parts, content[at:]])


def _require_pixels(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise Refused(
            f"claims {width} x {height} pixels; more than {MAX_PIXELS // 10**6} million are not decoded here: "
            "make it smaller"
        )
