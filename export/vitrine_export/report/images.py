"""Pictures as data: URLs."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image

from vitrine_export import plots

if TYPE_CHECKING:
    from vitrine_export.evaluation.examples import Pixels

# CSS pixels per inch.
_SCREEN_DPI = 96
# Below, every pixel is meant to be seen, and JPEG would blur them.
_TINY = 64


@dataclass(frozen=True)
class Inline:
    """A picture for an img element."""

    url: str
    width: int
    """Of the element, in CSS pixels."""
    height: int
    is_tiny: bool = False


@dataclass(frozen=True)
class Figure:
    """A drawn figure for a light and for a dark page."""

    light: Inline
    dark: Inline
    alt: str


def figure(drawing: plots.Drawing, alt: str) -> Figure:
    """For both kinds of page; `alt` says in words what it shows."""
    return Figure(_drawn(drawing.light), _drawn(drawing.dark), alt)


def photo(pixels: Pixels) -> Inline:
    """uint8 [H, W, 3] as JPEG, or as PNG where it is tiny."""
    height, width = pixels.shape[:2]
    is_tiny = max(height, width) < _TINY
    file = io.BytesIO()
    if is_tiny:
        Image.fromarray(pixels).save(file, "PNG", optimize=True)
    else:
        Image.fromarray(pixels).save(file, "JPEG", quality=80, optimize=True)
    return Inline(_url("png" if is_tiny else "jpeg", file.getvalue()), width, height, is_tiny)


def _drawn(png: bytes) -> Inline:
    with Image.open(io.BytesIO(png)) as picture:
        width, height = (round(side * _SCREEN_DPI / plots.FINE_DPI) for side in picture.size)
    return Inline(_url("png", png), width, height)


def _url(kind: str, data: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
