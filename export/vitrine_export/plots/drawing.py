"""How pictures of figures are drawn: without a display, in colours for light and for dark paper."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from vitrine_client.tables import printable


@dataclass(frozen=True)
class Theme:
    """Colours as #rrggbb. Lines and bars take theirs from Okabe and Ito's set, which colour-blind people tell apart."""

    paper: str
    ink: str
    muted: str
    grid: str
    blue: str
    orange: str
    green: str

    @property
    def settings(self) -> Any:
        """For matplotlib's rc_context."""
        ink = dict.fromkeys(("text.color", "axes.labelcolor", "axes.titlecolor", "legend.labelcolor"), self.ink)
        muted = dict.fromkeys(("xtick.color", "ytick.color", "axes.edgecolor"), self.muted)
        paper = dict.fromkeys(("figure.facecolor", "axes.facecolor", "savefig.facecolor"), self.paper)
        return ink | muted | paper | {
            "xtick.labelcolor": self.ink,
            "ytick.labelcolor": self.ink,
            "grid.color": self.grid,
            # A label may hold dollar signs.
            "text.parse_math": False,
            "axes.axisbelow": True,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.titlesize": 11,
            "axes.titleweight": "bold",
            "axes.titlelocation": "left",
            "legend.frameon": False,
            "lines.linewidth": 1.8,
        }  # fmt: skip


LIGHT = Theme("#ffffff", "#1c2330", "#5c6675", "#e3e7ed", "#0072b2", "#d55e00", "#009e73")
DARK = Theme("#171c26", "#e8ecf2", "#a3adbb", "#2f3847", "#56b4e9", "#e69f00", "#2fc79a")

Draw = Callable[[Theme], Figure]

# With more classes, names and counts are too small to be read on a picture of a reasonable size.
MOST_NAMED = 40


# In pixels per inch: sharp on fine screens and on paper.
FINE_DPI = 160


@dataclass(frozen=True)
class Drawing:
    """A figure that is shown in several places: as PNG files' bytes at FINE_DPI, each drawn when it is first used."""

    draw: Draw

    @cached_property
    def light(self) -> bytes:
        return png(self.draw, LIGHT, FINE_DPI)

    @cached_property
    def dark(self) -> bytes:
        return png(self.draw, DARK, FINE_DPI)


def png(draw: Draw, theme: Theme = LIGHT, dpi: int = 110) -> bytes:
    """What `draw` draws, as a PNG file's bytes."""
    file = io.BytesIO()
    with matplotlib.rc_context(theme.settings), warnings.catch_warnings():
        # Labels may be in any script; what the font does not have is drawn as a box.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        # The usual level takes three times as long for a tenth fewer bytes.
        draw(theme).savefig(file, format="png", dpi=dpi, pil_kwargs={"compress_level": 4})
    return file.getvalue()


def short(label: str, length: int = 24) -> str:
    """`label` in one line of at most `length` characters."""
    text = printable(label)
    return text if len(text) <= length else f"{text[: length - 1]}…"
