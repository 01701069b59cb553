"""Pictures turned, scaled down and encoded anew, with Pillow."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image

from vitrine_client.images.decoding import load, refusing, without_warnings
from vitrine_client.images.exif import UPRIGHT
from vitrine_client.images.options import JPEG_QUALITY, Refused

# Modes that PNG holds without loss.
_PNG_MODES = frozenset({"1", "L", "LA", "P", "RGB", "RGBA", "I;16"})
_ORIENTATION = 0x0112
# How much larger a picture is left by the coarse steps of scaling it down than by the fine one that comes last.
_GAP = 2
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = frozenset({5, 6, 7, 8})


def of_file(image: Image.Image, orientation: int | None, max_side: int | None) -> bytes:
    """A picture that was opened from a file, encoded anew without its metadata.

    Args:
        orientation: EXIF's; None where the picture itself is to be asked.

    Raises:
        Refused: it cannot be decoded, or not encoded.
    """
    with refusing("cannot be decoded"):
        if orientation is None:
            load(image)
            orientation = _orientation_of(image)
        if max_side is not None and max(image.size) > max_side:
            return _jpeg(_turned(_downscaled(image, max_side), orientation), quality=JPEG_QUALITY)
        load(image)
        if (options := _jpeg_options(image, orientation)) is not None:
            return _jpeg(_turned(image, orientation), **options)
        return _png(_turned(_for_png(image), orientation))


def of_pixels(image: Image.Image, max_side: int | None) -> bytes:
    """A PIL image of the caller's, which stays as it is: PNG without loss, or JPEG where it is scaled down.

    Raises:
        Refused: its mode has no PNG, or its file turns out to be broken.
    """
    if image.mode not in _PNG_MODES:
        raise Refused(f"a PIL image of mode {image.mode} has no lossless PNG: convert it with image.convert('RGB')")
    with refusing("a PIL image that cannot be encoded"):
        if not all(image.size):
            raise ValueError(f"it has {image.width}x{image.height} pixels")
        load(image)
        orientation = _orientation_of(image)
        if max_side is not None and max(image.size) > max_side:
            return _jpeg(_turned(_downscaled(image, max_side), orientation), quality=JPEG_QUALITY)
        return _png(_turned(image, orientation))


def _orientation_of(image: Image.Image) -> int:
    # Reading broken EXIF data warns, or raises almost anything: such data states no orientation.
    with without_warnings():
        try:
            return int(image.getexif().get(_ORIENTATION, UPRIGHT))
        except Exception:
            return UPRIGHT


def _turned(image: Image.Image, orientation: int) -> Image.Image:
    turn = _TURNS.get(orientation)
    return image if turn is None else image.transpose(turn)


def _downscaled(image: Image.Image, max_side: int) -> Image.Image:
    """The image made smaller, in a mode that `_jpeg` takes. Alpha is dropped, as TensorFlow drops it."""
    if image.mode not in ("L", "RGB", "CMYK"):
        image = _eight_bit(image)
    scale = max_side / max(image.size)
    width, height = (max(1, round(side * scale)) for side in image.size)
    # A JPEG is decoded at a half, a quarter or an eighth of its size, which is most of the gain.
    image.draft(None, (width * _GAP, height * _GAP))
    # Labels agree with those of the whole picture as often as after a bicubic filter, which takes half as long again.
    return image.resize((width, height), Image.Resampling.HAMMING, reducing_gap=_GAP)


def _eight_bit(image: Image.Image) -> Image.Image:
    if image.mode in ("1", "LA"):
        return image.convert("L")
    if image.mode.startswith("I"):
        return Image.fromarray((_sixteen_bit(image) >> 8).astype(np.uint8))
    if image.mode == "P":
        # Straight to RGB, Pillow warns of transparency.
        return image.convert("RGBA").convert("RGB")
    return image.convert("RGB")


def _for_png(image: Image.Image) -> Image.Image:
    if image.mode in _PNG_MODES:
        return image
    if image.mode.startswith("I"):
        return Image.fromarray(_sixteen_bit(image))
    if image.mode == "F":
        raise Refused("has pixels of floating point, whose range is not known: convert it to 8 bits")
    return image.convert("RGB")


def _sixteen_bit(image: Image.Image) -> np.ndarray[Any, np.dtype[np.uint16]]:
    values = np.asarray(image)
    if values.size and not (values.min() >= 0 and values.max() < 1 << 16):
        raise Refused("has pixels of 32 bits, whose range is not known: convert it to 8 bits")
    return values.astype(np.uint16)


def _jpeg_options(image: Image.Image, orientation: int) -> dict[str, Any] | None:
    """What a JPEG was encoded with, to encode it again once turned, with hardly a loss; None for other formats."""
    from PIL.JpegImagePlugin import JpegImageFile, get_sampling

    if not isinstance(image, JpegImageFile):
        return None
    tables = [table for _, table in sorted(image.quantization.items())]
    if orientation in _SIDEWAYS:
        # A table's rows are frequencies from top to bottom, its columns from left to right.
        tables = [[table[8 * column + row] for row in range(8) for column in range(8)] for table in tables]
    # 4:2:0 stays. 4:2:2 turned sideways has no name in Pillow, so that all others keep every pixel's colour.
    return {"qtables": tables, "subsampling": 2 if get_sampling(image) == 2 else 0}


def _jpeg(image: Image.Image, **options: Any) -> bytes:
    buffer = io.BytesIO()
    if image.mode == "CMYK":
        image = image.convert("RGB")
    # TensorFlow reads no colour profile, and profiles and comments may be larger than the picture.
    image.save(buffer, "JPEG", comment=b"", **options)
    return buffer.getvalue()


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    # The fastest level: the bytes cross a network once, they are not kept.
    image.save(buffer, "PNG", compress_level=1, icc_profile=None, exif=b"")
    return buffer.getvalue()
