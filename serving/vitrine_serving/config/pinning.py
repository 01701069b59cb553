"""Which version of a model in the store is to be served: one that is there, and whole."""

from __future__ import annotations

import re
from pathlib import Path

from vitrine_serving.config.models import PinnedModel
from vitrine_serving.errors import CommandError
from vitrine_serving.model_store import local_versions

# One part of a path and of a URL, and no hidden folder.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,199}")
_SAVED_MODEL = "saved_model.pb"
_HIGHEST_VERSION = 2**63 - 1
_TRAIN_FIRST = "train one first: `make train export`, or the compose service `train`"


def check_name(name: str, what: str = "model name") -> str:
    """`name` itself; raises CommandError unless it can be one part of a path and of a URL."""
    if not _NAME.fullmatch(name):
        raise CommandError(
            f"{name!r} is not a {what}: accepted are letters, digits, '_', '.' and '-', a letter or digit first, "
            "200 characters at most"
        )
    return name


def check_version(text: str) -> int | None:
    """A version's number, None for an empty text: the newest. Raises CommandError for anything else."""
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) < 20 and 1 <= int(text) <= _HIGHEST_VERSION):
        raise CommandError(f"{text!r} is not a version: give a whole number from 1, or nothing for the newest")
    return int(text)


def pin_model(store: Path, name: str, version: int | None, base_path: str, label: str) -> PinnedModel:
    """Model `name` at `version`, or at its newest complete one, labelled `label`.

    Args:
        store: the model store, as this process sees it.
        base_path: the model store, as the server sees it.

    Raises:
        CommandError: no such store, model or version; one that is not complete; or a store that cannot be read.
    """
    check_name(name)
    try:
        pinned = _pinned_version(store, name, version)
    except OSError as error:
        raise CommandError(f"{error.filename}: {error.strerror}; the store must be readable here") from None
    return PinnedModel(name, f"{base_path.rstrip('/')}/{name}", (pinned,), {label: pinned})


def _pinned_version(store: Path, name: str, version: int | None) -> int:
    models = _models(store)
    if name not in models:
        raise CommandError(f"model {name} is not in {store}; the store has: {', '.join(models)}")
    found = local_versions(store / name)
    complete = [number for number, folder in found.items() if number > 0 and (folder / _SAVED_MODEL).is_file()]
    if version is None:
        if not complete:
            raise CommandError(
                f"model {name}: {store / name} holds no complete version{_unlike(found)}; {_TRAIN_FIRST}"
            )
        return complete[-1]
    if version in complete:
        return version
    there = f"complete versions there: {', '.join(map(str, complete)) or 'none'}"
    if version in found:
        raise CommandError(f"model {name}: version {version} has no {_SAVED_MODEL}, so it is not complete; {there}")
    raise CommandError(f"model {name}: {store / name} has no version {version}; {there}")


def _models(store: Path) -> list[str]:
    if not store.is_dir():
        raise CommandError(f"model store {store}: no such folder; mount or name the right one, or {_TRAIN_FIRST}")
    models = sorted(entry.name for entry in store.iterdir() if _NAME.fullmatch(entry.name) and entry.is_dir())
    if not models:
        raise CommandError(f"model store {store} is empty; {_TRAIN_FIRST}")
    return models


def _unlike(found: dict[int, Path]) -> str:
    return f" ({', '.join(map(str, found))} without {_SAVED_MODEL})" if found else ""
