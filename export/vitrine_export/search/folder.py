"""The folder of a search: one search at a time works in it, and never two different ones after each other."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from vitrine_export.errors import RunError
from vitrine_export.recipe import Recipe
from vitrine_export.runs import write_json

_FILE = "search.json"
# What a trial's outcome does not depend on: how many there are, how many run at a time, and what is told of them.
_FREE = (
    "name",
    "description",
    "export",
    "dataset.path",
    "dataset.source",
    "dataset.cache",
    "search.jobs",
    "search.trials",
)


@contextlib.contextmanager
def search_folder(folder: Path, recipe: Recipe, *, fresh: bool) -> Iterator[Callable[[str], None]]:
    """Hold `folder` for a search of `recipe`; made where it is missing.

    What it yields is to be called with the digest of the pictures before anything is written: it empties the folder
    where `fresh`. Raises RunError, before the pictures are looked at where possible, if another search is at work in
    the folder, if it was begun with something else, or if it holds anything that is no search, and for every OSError
    until the search is over.
    """
    try:
        with _held(folder):
            begun = _begun(folder)
            if not fresh and begun is not None:
                _compare(folder, *begun, recipe)

            def claim(digest: str) -> None:
                if fresh:
                    _empty(folder)
                elif begun is not None:
                    _compare(folder, *begun, recipe, digest)
                write_json(folder / _FILE, {"recipe": recipe.model_dump(mode="json"), "pictures": digest})

            yield claim
    except OSError as error:
        raise RunError(f"cannot write the search to {folder}: {error.strerror or error}") from None


@contextlib.contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Hold `folder`, made where it is missing, and removed in the end where nothing came of it. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            # Dropped by the kernel with the process, however that ends.
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunError(f"{folder}: another search is running in it; wait for it or take another name") from None
        yield
    finally:
        with contextlib.suppress(OSError):
            folder.rmdir()  # Where nothing came of it, and it is still empty.
        os.close(descriptor)


def _begun(folder: Path) -> tuple[str, str] | None:
    """The recipe, as JSON, and the digest of the pictures that the search in `folder` was begun with."""
    file = folder / _FILE
    try:
        begun = json.loads(file.read_text(encoding="utf-8"))
        return json.dumps(begun["recipe"]), str(begun["pictures"])
    except FileNotFoundError:
        # Of a search that was killed while it wrote that file, only the half of it is here.
        if any(entry.name != f".{_FILE}.new" for entry in folder.iterdir()):
            raise RunError(f"{folder}: holds files that are no search; take another name") from None
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        # Named so, it is ours: a fresh start may remove it.
        return f"cannot be read: {error}", ""


def _compare(folder: Path, begun: str, pictures: str, recipe: Recipe, digest: str | None = None) -> None:
    way_out = "start anew with --fresh, or take another name with --name"
    try:
        # Through the schema, which fills in the keys that a newer version has.
        before, now = _settings(Recipe.model_validate_json(begun)), _settings(recipe)
    except ValidationError as error:
        reason = " ".join(str(error).split())[:200]
        raise RunError(f"{folder / _FILE}: cannot be read: {reason}; {way_out}") from None
    differences = [
        f"{key} was {json.dumps(before.get(key))}, is {json.dumps(now.get(key))}"
        for key in sorted({*before, *now})
        if before.get(key) != now.get(key)
    ]
    if digest not in (None, pictures):
        differences.append("the pictures, their labels or their splits are others")
    if differences:
        listed = "".join(f"\n  {difference}" for difference in differences)
        raise RunError(f"{folder}: this search was begun with something else:{listed}\n{way_out}")


def _empty(folder: Path) -> None:
    # The file that marks the folder goes last: a fresh start that is interrupted can be made again.
    for entry in sorted(folder.iterdir(), key=lambda path: path.name == _FILE):
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


def _settings(recipe: Recipe) -> dict[str, Any]:
    """What trials depend on, by key."""
    flat = dict(_flatten(recipe.model_dump(mode="json")))
    for key in [key for key in flat if any(key == free or key.startswith(f"{free}.") for free in _FREE)]:
        del flat[key]
    config = recipe.search
    if config is not None and config.epochs is not None:
        # The winner's training alone depends on it.
        flat.pop("training.epochs", None)
    return flat


def _flatten(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _flatten(inner, f"{prefix}.{key}" if prefix else key)
    else:
        yield prefix, value
