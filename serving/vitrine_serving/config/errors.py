"""What is wrong with a configuration file."""

from __future__ import annotations


class InvalidConfig(ValueError):
    """What TensorFlow Serving would not take: its text is the reason. `line` and `column` count from 1 where known."""

    def __init__(self, reason: str, line: int | None = None, column: int | None = None) -> None:
        super().__init__(reason)
        self.line = line
        self.column = column


def place(file: str, line: int | None, column: int | None) -> str:
    """FILE:LINE:COLUMN, as compilers write it, as far as it is known."""
    return ":".join(str(part) for part in (file, line, column) if part is not None)
