"""The model store on a local disk: MODELS/NAME/VERSION/, where a version appears whole or not at all.

A version is copied into a staging folder beside the others and renamed to its number. Servers take only folders
whose name is a number, so they never see it half-written; rename fails where the number is taken, so two publishers
get two numbers.
"""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

from vitrine_export import manifest
from vitrine_export.errors import StoreError
from vitrine_export.staging import staging_folder
from vitrine_serving.durable import flush
from vitrine_serving.model_store import local_versions


def publish(candidate: Path, models: Path) -> Path:
    """Copy a blessed export into the store as its model's next version; returns the version's folder.

    Raises RunError where there is no export, StoreError where it is not blessed or damaged, or the store cannot be
    written (permission, disk full); the store is then as it was.
    """
    described = manifest.read(candidate)
    if not described.get("blessing"):
        raise StoreError(f"{candidate}: not blessed; run vitrine-export bless first")
    folder = models / described["model"]
    try:
        with staging_folder(folder) as staging:
            shutil.copytree(candidate, staging, dirs_exist_ok=True)
            damaged = manifest.verify(staging, described)
            if damaged:
                raise StoreError(f"{candidate}: differs from its manifest: {'; '.join(damaged[:5])}; export again")
            _flush(staging)
            version = _take_number(staging, models, described["model"])
        flush(folder)
    except shutil.Error as error:
        raise StoreError(f"cannot publish to {folder}: {error.args[0][0][2]}") from None
    except OSError as error:
        raise StoreError(f"cannot publish to {folder}: {error.strerror or error}; nothing was changed") from None
    return version


def _take_number(staging: Path, models: Path, name: str) -> Path:
    while True:
        target = models / name / str(max(local_versions(models / name), default=0) + 1)
        try:
            staging.rename(target)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise
        else:
            return target


def _flush(folder: Path) -> None:
    """Have everything on the disk before it gets its name, so that a power cut leaves no empty version."""
    for path in [*folder.rglob("*"), folder]:
        flush(path)
