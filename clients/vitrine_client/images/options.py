"""What a picture may be given as, and what is done to it before it is sent."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import BinaryIO, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vitrine_client.errors import InvalidInput
from vitrine_client.settings import is_whole

ImageLike: TypeAlias = (
    str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO | Image.Image | NDArray[np.uint8]
)
Check: TypeAlias = Literal["auto", "quick", "full", "off"]

JPEG_QUALITY = 90


class Refused(Exception):
    """Why a picture is not sent; whoever knows its position makes an InvalidInput of it."""


@dataclass(frozen=True)
class ImageOptions:
    """How pictures are prepared.

    Args:
        max_side: pixels. A picture whose longer side is longer is scaled down to it and sent as JPEG of quality 90;
            smaller ones are sent as they are. None for no limit.
        allow_urls: fetch a str that begins with http:// or https://, from whatever host it names.
        check: how image files are checked before anything is sent.

            - "quick": the file's structure, in microseconds. Finds what is no picture and what has been cut off; damage
              inside the compressed data passes.
            - "full": the picture, of an animation the first frame, is decoded. Finds all that a decoder finds, in
              milliseconds.
            - "auto": "quick" for a picture that travels alone, "full" where several share one request, because there
              one corrupt picture fails all others.
            - "off": nothing is looked at, turned or converted: bytes pass whatever they are, for models that decode
              formats of their own. With `max_side` it is "quick".

    Raises:
        InvalidInput: a value that cannot be used.
    """

    max_side: int | None = None
    allow_urls: bool = False
    check: Check = "auto"

    def __post_init__(self) -> None:
        if self.max_side is not None:
            if not is_whole(self.max_side) or self.max_side < 1:
                raise InvalidInput(f"max_side={self.max_side!r}: give a whole number of pixels from 1, or None")
            object.__setattr__(self, "max_side", int(self.max_side))
        if not isinstance(self.allow_urls, bool):
            raise InvalidInput(f"allow_urls={self.allow_urls!r}: give True or False")
        if self.check not in get_args(Check):
            raise InvalidInput(f"check={self.check!r}: give one of {', '.join(map(repr, get_args(Check)))}")
