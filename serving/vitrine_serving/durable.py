"""Having what was written on the disk before anybody relies on it."""

from __future__ import annotations

import os
from pathlib import Path


def flush(path: Path) -> None:
    """Have the file, or the names in the folder, at `path` on the disk; raises OSError as the system does."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
