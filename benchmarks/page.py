"""The part of a document that a benchmark writes: what stands between two marks."""

from __future__ import annotations

import argparse
from pathlib import Path

_BEGIN, _END = "<!-- measured -->", "<!-- end of measured -->"


def page(name: str) -> Path:
    """For argparse: a document that has the marks."""
    path = Path(name)
    if not (path.is_file() and _BEGIN in path.read_text(encoding="utf-8")):
        raise argparse.ArgumentTypeError(f"{name} is no document with the line {_BEGIN}")
    return path


def write(path: Path, report: str) -> None:
    """Put `report` between the marks of the document, in place of the last one."""
    before, _, rest = path.read_text(encoding="utf-8").partition(_BEGIN)
    after = rest.partition(_END)[2]
    path.write_text(f"{before}{_BEGIN}\n\n{report.strip()}\n\n{_END}{after}", encoding="utf-8")
