"""Which versions of a model lie in a store on a local disk."""

from __future__ import annotations

from pathlib import Path


def local_versions(base_path: Path) -> dict[int, Path]:
    """The folders below `base_path` that are named by a number, by increasing number; empty where there is none."""
    if not base_path.is_dir():
        return {}
    numbered = {
        int(entry.name): entry
        for entry in base_path.iterdir()
        if entry.name.isascii() and entry.name.isdigit() and entry.is_dir()
    }
    return dict(sorted(numbered.items()))


def newest_version(base_path: Path) -> Path | None:
    """The folder of the highest version; None where there is none."""
    return next(reversed(local_versions(base_path).values()), None)
