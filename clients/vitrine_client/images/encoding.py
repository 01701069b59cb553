"""One picture, or a list of them, as the bytes of image files that a server can decode."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vitrine_client.errors import InvalidInput
from vitrine_client.images import decoding, reencoding, sources
from vitrine_client.images.exif import UPRIGHT
from vitrine_client.images.options import ImageLike, ImageOptions, Refused
from vitrine_client.images.structure import header_of
from vitrine_client.images.urls import is_url

_DEFAULTS = ImageOptions()


def picture_list(images: Iterable[ImageLike]) -> Iterable[ImageLike]:
    """The pictures as they came, unconsumed. Raises InvalidInput for one picture instead of a list of them."""
    if isinstance(images, (str, os.PathLike, bytes, bytearray, memoryview, Image.Image, np.ndarray)) or hasattr(
        images, "read"
    ):
        raise InvalidInput(
            f"images: a single {type(images).__name__} where a list of pictures belongs: write [picture] "
            "(or list(pictures) for an array of several)"
        )
    if not isinstance(images, Iterable):
        raise InvalidInput(f"images: {type(images).__name__} where a list of pictures belongs")
    return images


def listed_pictures(images: Iterable[ImageLike]) -> list[ImageLike]:
    """All of the pictures. Raises InvalidInput like `picture_list`, and where there is none."""
    pictures = list(picture_list(images))
    if not pictures:
        raise InvalidInput("images: nothing to classify: give at least one picture")
    return pictures


def encode_images(images: Iterable[ImageLike], options: ImageOptions = _DEFAULTS, timeout: float = 30.0) -> list[bytes]:
    """Each picture as the bytes of an image file, see `encode_image`.

    Raises:
        InvalidInput: no picture at all, one picture instead of a list of them, or a picture that cannot be sent; the
            message names its position and path.
    """
    pictures = listed_pictures(images)
    alone = len(pictures) == 1
    return [
        encode_image(picture, position, options, alone=alone, timeout=timeout)
        for position, picture in enumerate(pictures)
    ]


def encode_image(
    image: ImageLike, position: int, options: ImageOptions, *, alone: bool = True, timeout: float = 30.0
) -> bytes:
    """A picture as the bytes of an image file.

    Files (paths, bytes, file objects, URLs) pass untouched, bit for bit, where TensorFlow decodes them rightly. What
    does not pass: a JPEG, PNG or WebP that its EXIF orientation turns is turned, a JPEG with its own quantization
    tables; formats that TensorFlow does not decode, or not rightly (TIFF, WebP with alpha, BMP with a palette, ...)
    become PNG, without loss. Of an animation that cannot pass, the first frame is sent. Whatever is encoded anew loses
    its metadata and its colour profile, which TensorFlow does not read.

    PIL images and uint8 arrays of shape (H, W), (H, W, 1) or (H, W, 3), in RGB order, become PNG, without loss.

    Args:
        position: the picture's place among those of the call, for messages.
        alone: whether it travels alone, see `ImageOptions.check`.
        timeout: seconds for fetching a URL.

    Raises:
        InvalidInput: a picture that cannot be read, decoded or encoded; the message begins with its position and
            names its path.
    """
    try:
        if isinstance(image, Image.Image):
            return reencoding.of_pixels(image, options.max_side)
        if isinstance(image, np.ndarray):
            return reencoding.of_pixels(_from_array(image), options.max_side)
        content = _content_of(image, options, timeout)
        if options.check == "off" and options.max_side is None:
            return content
        try:
            return _prepared(content, options, options.check == "full" or (options.check == "auto" and not alone))
        except Refused as error:
            raise Refused(f"{sources.named(image)} {error}") from error.__cause__
    except Refused as error:
        raise InvalidInput(f"images[{position}]: {error}") from error.__cause__


def passes_untouched(image: ImageLike, options: ImageOptions) -> bool:
    """Whether a picture that travels alone goes as it is after a look of microseconds: nothing to read or decode."""
    if not isinstance(image, bytes) or options.max_side is not None or options.check == "full":
        return False
    if options.check == "off":
        return True
    try:
        header = header_of(image)
    except Refused:
        return True
    return header is not None and header.orientation == UPRIGHT


def _content_of(image: ImageLike, options: ImageOptions, timeout: float) -> bytes:
    if isinstance(image, str):
        return sources.fetch(image, options.allow_urls, timeout) if is_url(image) else sources.read_path(image)
    if isinstance(image, (bytes, bytearray, memoryview)):
        if not (content := bytes(image)):
            raise Refused("no bytes: give the content of an image file")
        return content
    if isinstance(image, os.PathLike):
        return sources.read_path(image)
    if hasattr(image, "read"):
        return sources.read_file(image)
    raise Refused(
        f"{type(image).__name__} is not a picture: give a path, the bytes of an image file, an open file, a PIL image "
        "or a uint8 array"
    )


def _prepared(content: bytes, options: ImageOptions, full: bool) -> bytes:
    header = header_of(content)
    if header is None:
        return reencoding.of_file(decoding.opened(content, None), None, options.max_side)
    too_large = options.max_side is not None and max(header.width, header.height) > options.max_side
    if too_large or header.orientation != UPRIGHT:
        return reencoding.of_file(decoding.opened(content, header), header.orientation, options.max_side)
    if full:
        decoding.decode_fully(content, header)
    return content


def _from_array(array: NDArray[Any]) -> Image.Image:
    if array.dtype != np.uint8:
        raise Refused(
            f"an array of {array.dtype}: give uint8 values from 0 to 255, as "
            "(array * 255).round().astype('uint8') makes of values from 0 to 1"
        )
    if not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (1, 3))) or not array.size:
        raise Refused(f"an array of shape {array.shape}: give (H, W), (H, W, 1) or (H, W, 3) for one picture")
    return Image.fromarray(array[:, :, 0] if array.ndim == 3 and array.shape[2] == 1 else array)
