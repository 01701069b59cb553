"""Where a command's words go: results to stdout, talk and a progress bar to stderr, colours to terminals only."""

from __future__ import annotations

import io
import json
import os
import sys
from typing import TextIO

from vitrine_client.cli.progress import ProgressBar
from vitrine_client.tables import paint, printable


class Console:
    """One command's output.

    Args:
        color: "always", "never", or "auto": on a terminal, unless NO_COLOR is set.
        csv: whether the results are CSV, which is UTF-8 everywhere, with file names byte for byte.

    Attributes:
        coloured: whether results are.
        columns: the width of the terminal that results go to; None if they go elsewhere.
    """

    def __init__(self, color: str = "auto", *, csv: bool = False) -> None:
        self.coloured = _is_coloured(sys.stdout, color)
        self.columns = _columns(sys.stdout) if sys.stdout.isatty() else None
        self._talk_coloured = _is_coloured(sys.stderr, color)
        self._bar: ProgressBar | None = None
        if isinstance(sys.stdout, io.TextIOWrapper):
            # A character that the terminal does not know is no reason to fail.
            if csv:
                sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape")
            else:
                sys.stdout.reconfigure(errors="replace")

    def write(self, line: str) -> None:
        """A line of results, at once: whoever reads them does not wait for a buffer to fill."""
        if self._bar is not None and self.columns is not None:
            self._bar.erase()
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()

    def write_json(self, value: object) -> None:
        self.write(json.dumps(value, indent=2))

    def say(self, text: object, about: str = "") -> None:
        """One line for the reader at the terminal; `about` is what it is about, a picture's path for one."""
        if self._bar is not None:
            self._bar.erase()
        name = printable(about)
        if name:
            name = f"{paint(name, 'red') if self._talk_coloured else name}: "
        sys.stderr.write(f"{name}{printable(' '.join(str(text).split()))}\n")

    def begin_line(self) -> None:
        """Leaves a line on which the terminal has shown ^C."""
        if sys.stderr.isatty():
            sys.stderr.write("\n")

    def begin_progress(self, total: int) -> None:
        """From now on there is a progress bar, if there is a terminal for it."""
        if sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
            self._bar = ProgressBar(total, sys.stderr, _columns(sys.stderr))
            self._bar.advance(0)

    def advance(self, done: int) -> None:
        if self._bar is not None:
            self._bar.advance(done)

    def end_progress(self) -> None:
        if self._bar is not None:
            self._bar.erase()
            self._bar = None


def _is_coloured(stream: TextIO, color: str) -> bool:
    if color != "auto":
        return color == "always"
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _columns(stream: TextIO) -> int:
    try:
        columns = os.get_terminal_size(stream.fileno()).columns
    except (OSError, ValueError):
        columns = 0
    # Terminals that have not been told their size say 0.
    return columns or 80
