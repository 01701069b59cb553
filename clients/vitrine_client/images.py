"""Pictures of many kinds as the encoded bytes that a model's `image_bytes` input takes."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vitrine_client.errors import InvalidInput

ImageLike: TypeAlias = "str | os.PathLike[str] | bytes | bytearray | memoryview | Image.Image | NDArray[np.uint8]"

# Modes that PNG holds without loss.
_PNG_MODES = frozenset({"1", "L", "LA", "P", "RGB", "RGBA", "I;16"})


def encode_images(images: Iterable[ImageLike]) -> list[bytes]:
    """Each picture as the bytes of an image file.

    Args:
        images: paths and bytes pass untouched, so whatever format the model decodes will do. PIL images and uint8
            arrays of shape (H, W), (H, W, 1) or (H, W, 3), in RGB order, are encoded as PNG, without loss.

    Raises:
        InvalidInput: no picture at all, one picture instead of a list of them, or a picture that cannot be read or
            encoded; the message names its position and path.
    """
    if isinstance(images, (str, os.PathLike, bytes, bytearray, memoryview, Image.Image, np.ndarray)):
        raise InvalidInput(
            f"images: a single {type(images).__name__} where a list of pictures belongs: write [picture] "
            "(or list(pictures) for an array of several)"
        )
    if not isinstance(images, Iterable):
        raise InvalidInput(f"images: {type(images).__name__} where a list of pictures belongs")
    encoded = [_encode(image, f"images[{position}]") for position, image in enumerate(images)]
    if not encoded:
        raise InvalidInput("images: nothing to classify: give at least one picture")
    return encoded


def _encode(image: ImageLike, name: str) -> bytes:
    if isinstance(image, (str, os.PathLike)):
        return _read(Path(image), name)
    if isinstance(image, (bytes, bytearray, memoryview)):
        if not (content := bytes(image)):
            raise InvalidInput(f"{name}: no bytes: give the content of an image file")
        return content
    if isinstance(image, np.ndarray):
        return _png(_from_array(image, name), name)
    if isinstance(image, Image.Image):
        return _png(image, name)
    raise InvalidInput(
        f"{name}: {type(image).__name__} is not a picture: give a path, the bytes of an image file, a PIL image or "
        "a uint8 array"
    )


def _read(path: Path, name: str) -> bytes:
    try:
        content = path.read_bytes()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise InvalidInput(f"{name}: cannot read {str(path)!r}: {reason}") from error
    if not content:
        raise InvalidInput(f"{name}: {str(path)!r} is an empty file")
    return content


def _from_array(array: NDArray[Any], name: str) -> Image.Image:
    if array.dtype != np.uint8:
        raise InvalidInput(
            f"{name}: an array of {array.dtype}: give uint8 values from 0 to 255, as "
            "(array * 255).round().astype('uint8') makes of values from 0 to 1"
        )
    if not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (1, 3))) or not array.size:
        raise InvalidInput(
            f"{name}: an array of shape {array.shape}: give (H, W), (H, W, 1) or (H, W, 3) for one picture"
        )
    return Image.fromarray(array[:, :, 0] if array.ndim == 3 and array.shape[2] == 1 else array)


def _png(image: Image.Image, name: str) -> bytes:
    if image.mode not in _PNG_MODES:
        raise InvalidInput(
            f"{name}: a PIL image of mode {image.mode} has no lossless PNG: convert it with image.convert('RGB')"
        )
    buffer = io.BytesIO()
    try:
        # The fastest level: the bytes cross a network once, they are not kept.
        image.save(buffer, "PNG", compress_level=1)
    except (OSError, ValueError, SyntaxError) as error:
        raise InvalidInput(f"{name}: a PIL image that cannot be encoded: {error}") from error
    return buffer.getvalue()
