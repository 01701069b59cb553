"""The manifest of a version, `assets.extra/manifest.json`, and the model card made from it.

The manifest says where a version comes from and what it must answer; its digests cover every other file of the
version, so a damaged copy is found by `verify`.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import re
import subprocess
from collections import Counter
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from vitrine_export.datasets.index import DatasetIndex
from vitrine_export.digests import sha256_of
from vitrine_export.errors import RunError
from vitrine_export.golden import Golden
from vitrine_export.model_card import render
from vitrine_export.recipe import MODEL_NAME, Recipe
from vitrine_export.runs import write_json

FILE = "assets.extra/manifest.json"
CARD = "assets.extra/MODEL_CARD.md"


def describe(
    recipe: Recipe,
    index: DatasetIndex,
    metrics: dict[str, Any],
    golden: list[Golden],
    signatures: dict[str, Any],
    warmup_records: int,
) -> dict[str, Any]:
    """Everything about an export but its files' digests, as JSON-ready values; times are UTC."""
    return {
        "model": recipe.name,
        "description": recipe.description,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "git_commit": _git_commit(),
        "libraries": _libraries(),
        "python": platform.python_version(),
        "recipe": recipe.model_dump(mode="json"),
        "dataset": {
            "digest": index.digest(),
            "layout": index.layout,
            "counts": index.counts(),
            "notes": list(index.notes),
            "left_out": len(index.left_out),
            "skipped": len(index.skipped),
            "skipped_files": [{"path": entry.path, "reason": entry.reason} for entry in index.skipped],
            "per_class": dict(Counter(picture.label for picture in index.pictures)),
        },
        "labels": list(index.labels),
        "preprocessing": recipe.pipeline,
        "metrics": metrics,
        "signatures": signatures,
        "golden": golden,
        "warmup_records": warmup_records,
        "blessing": None,
    }


def read(version: Path) -> dict[str, Any]:
    """The manifest of the version in folder `version`; RunError where there is none that can be read."""
    try:
        manifest = json.loads((version / FILE).read_text(encoding="utf-8"))
        if not isinstance(manifest, dict) or not re.fullmatch(MODEL_NAME, str(manifest.get("model"))):
            raise ValueError("it is not the manifest of an export")
        return manifest
    except FileNotFoundError:
        raise RunError(f"{version}: no export there (it has no {FILE}); run `make export`") from None
    except (OSError, ValueError) as error:
        raise RunError(f"{version / FILE}: cannot be read: {error}") from None


def write(version: Path, manifest: dict[str, Any]) -> None:
    """Write the model card, the digests of all files, and last the manifest."""
    (version / CARD).write_text(render(manifest), encoding="utf-8")
    write_json(version / FILE, {**manifest, "files": _digests(version)})


def record_blessing(version: Path, manifest: dict[str, Any], blessing: dict[str, Any]) -> None:
    """Add a blessing to the manifest and its card. All other digests stay those of the files that were checked."""
    blessed = {**manifest, "blessing": blessing}
    (version / CARD).write_text(render(blessed), encoding="utf-8")
    write_json(version / FILE, {**blessed, "files": {**manifest["files"], CARD: _digest(version / CARD)}})


def verify(version: Path, manifest: dict[str, Any]) -> list[str]:
    """What differs between the files in `version` and the manifest's digests, one line each; empty if nothing."""
    expected, actual = manifest.get("files", {}), _digests(version)
    missing = [f"{name}: missing" for name in sorted(expected.keys() - actual.keys())]
    added = [f"{name}: not in the manifest" for name in sorted(actual.keys() - expected.keys())]
    changed = [
        f"{name}: content changed" for name in sorted(expected.keys() & actual.keys()) if expected[name] != actual[name]
    ]
    return missing + added + changed


def _digests(version: Path) -> dict[str, str]:
    files = sorted(path for path in version.rglob("*") if path.is_file())
    names = {path.relative_to(version).as_posix(): path for path in files}
    names.pop(FILE, None)
    return {name: _digest(path) for name, path in names.items()}


def _digest(file: Path) -> str:
    return f"sha256:{sha256_of(file)}"


def _libraries() -> dict[str, str]:
    # Asked of the modules: TensorFlow's distribution may be called tensorflow-cpu.
    versions = {module.__name__: str(module.__version__) for module in (tf, keras, np)}
    return {**versions, "vitrine-export": importlib.metadata.version("vitrine-export")}


def _git_commit() -> str | None:
    """The commit of the working directory, where the recipe usually lies; else GIT_COMMIT's, for containers."""
    try:
        done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return os.environ.get("GIT_COMMIT") or None
    return done.stdout.strip()
