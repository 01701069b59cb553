"""A limit on the size of the pictures in requests."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from numpy.typing import NDArray
from PIL import Image
from tensorflow_serving.apis import input_pb2

from vitrine_serving.embedded.errors import invalid_argument

# What TensorFlow's decoders take. Pillow reads no more than the header to tell the size.
_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP")


class PictureLimit:
    """Refuses encoded pictures of more than `max_pixels` pixels, before anything is decoded."""

    def __init__(self, max_pixels: int) -> None:
        self._max_pixels = max_pixels
        # Pillow would warn of, and above that refuse, sizes of its own choice. It decodes nothing here.
        Image.MAX_IMAGE_PIXELS = None

    def check(self, values: Iterable[bytes]) -> None:
        """Raise ServingError INVALID_ARGUMENT for the first picture that is too large.

        Bytes that are no picture pass: they are another kind of input, or the model's to refuse.
        """
        for number, value in enumerate(values):
            width, height = _size(value)
            if width * height > self._max_pixels:
                raise invalid_argument(
                    f"Picture {number} has {width} x {height} pixels; this server takes at most {self._max_pixels} "
                    "(--max_image_pixels). Send it smaller."
                )


def strings(inputs: Mapping[str, NDArray[Any]]) -> Iterator[bytes]:
    """All strings in a request's input arrays."""
    for array in inputs.values():
        if array.dtype == object:
            yield from array.flat


def example_strings(examples: input_pb2.Input) -> Iterator[bytes]:
    """All strings in a request's examples, the shared context included."""
    shared = examples.example_list_with_context
    for example in (*examples.example_list.examples, *shared.examples, shared.context):
        for feature in example.features.feature.values():
            yield from feature.bytes_list.value


def _size(value: bytes) -> tuple[int, int]:
    """Width and height of a picture; zeros for anything else."""
    try:
        with Image.open(io.BytesIO(value), formats=_FORMATS) as picture:
            return picture.size
    except Exception:
        # Pillow meets broken headers with many kinds of exception.
        return 0, 0
