"""Folders that appear whole or not at all: built aside, then renamed.

Whoever builds in a staging folder holds a lock on it. The kernel drops the lock with the process, so the next one can
tell a killed one's leftovers, which it removes, from a living one's work, which it leaves alone.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

# Not a number, so no server takes it for a version; hidden, so it is no class folder either.
PREFIX = ".vitrine-staging-"
_REPLACED = "replaced"


@contextlib.contextmanager
def staging_folder(parent: Path) -> Iterator[Path]:
    """A new folder in `parent`, made where it is missing; removed at the end unless it was renamed.

    Leftovers of killed processes in `parent` are removed first. Raises OSError.
    """
    parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(parent)
    staging, descriptor = _locked_folder(parent)
    try:
        staging.chmod(0o755)
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        os.close(descriptor)


@contextlib.contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """A new folder to fill that takes the place of `folder` at the end; after an error, `folder` is as it was.

    Raises OSError.
    """
    with staging_folder(folder.parent) as staging:
        fresh = staging / "new"
        fresh.mkdir()
        yield fresh
        old = staging / _REPLACED / folder.name
        if folder.exists():
            old.parent.mkdir()
            folder.rename(old)
        try:
            fresh.rename(folder)
        except OSError:
            if old.exists():
                old.rename(folder)
            raise


def _locked_folder(parent: Path) -> tuple[Path, int]:
    """A new folder and the descriptor that holds its lock."""
    while True:
        staging = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
        # Until it is locked, another process may take it for a leftover and remove it: then once more.
        with contextlib.suppress(FileNotFoundError):
            descriptor = os.open(staging, os.O_RDONLY)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if staging.exists():
                return staging, descriptor
            os.close(descriptor)


def _remove_leftovers(parent: Path) -> None:
    for entry in parent.glob(f"{PREFIX}*"):
        with contextlib.suppress(FileNotFoundError):
            descriptor = os.open(entry, os.O_RDONLY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _restore_replaced(entry)
                shutil.rmtree(entry, ignore_errors=True)
            except BlockingIOError:
                pass  # Whoever builds there lives.
            finally:
                os.close(descriptor)


def _restore_replaced(leftover: Path) -> None:
    """Put back what a process killed between its two renames had moved out of the way."""
    for old in leftover.glob(f"{_REPLACED}/*"):
        if not (leftover.parent / old.name).exists():
            old.rename(leftover.parent / old.name)
