"""The configuration folder during a rollout: what is kept in it, and how it is changed."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from vitrine_serving.config.folder import PINNED_ENV, PROBE_ADDRESS, ServingConfig
from vitrine_serving.config.models import PinnedModel
from vitrine_serving.errors import CommandError
from vitrine_serving.rollout.state import Phase, RolloutState

MODELS = "models.config"
ROLLOUTS = "rollout.json"


@dataclass(frozen=True)
class Record:
    """What is remembered of a model: its last rollout, and what was stable before the last promotion."""

    state: RolloutState | None = None
    previous: int | None = None


def read_record(folder: Path, model: str) -> Record:
    """Raises CommandError where the file there is not what `record_text` made."""
    entry = _records(folder).get(model, {})
    where = str(folder / ROLLOUTS)
    state = entry.get("state")
    return Record(
        None if state is None else RolloutState.from_json(json.dumps(state), where),
        entry.get("previous"),
    )


def record_text(folder: Path, model: str, record: Record) -> str:
    """The file's text with `record` in it; other models' records stay as they are."""
    state = None if record.state is None else json.loads(record.state.to_json())
    records = {**_records(folder), model: {"state": state, "previous": record.previous}}
    return json.dumps(records, indent=2) + "\n"


def check_writable(folder: Path, pinned: Mapping[str, int], asked_for: Collection[str]) -> None:
    """May `config write` pin these versions by model? Those of `asked_for` were named, the others are the newest.

    Raises CommandError where a rollout is under way, or the newest version is one that was rolled back.
    """
    for model, version in pinned.items():
        state = read_record(folder, model).state
        if state is None:
            continue
        if not state.phase.finished:
            raise CommandError(
                f"a rollout of version {state.version} of {model} is under way in {folder} ({state.phase.value}); "
                f"finish it with `vitrine-serving rollout {state.version}`, or end it with `vitrine-serving rollback`"
            )
        if model not in asked_for and state.phase is Phase.ROLLED_BACK and version == state.version:
            raise CommandError(
                f"version {version}, the newest of {model}, was rolled back at {state.updated} ({state.reason}); name "
                f"the version to pin, such as {state.previous}"
            )


def serving_files(folder: Path, models: Sequence[PinnedModel], changed: PinnedModel) -> dict[str, str]:
    """What the folder's files say once `models` are served, `changed` in place of the one of its name.

    models.config comes first, so that what is in `pinned` is always among the versions served. Files that the folder
    does not have are left out.
    """
    served = tuple(changed if model.name == changed.name else model for model in models)
    # `pinned` is what has to be AVAILABLE: without it a server is killed by its health check. A canary may fail.
    alone = replace(changed, versions=(changed.labels["stable"],))
    needed = tuple(alone if model.name == changed.name else model for model in models)
    files = ServingConfig(served, probe_address=_probe_address(folder)).files()
    must = ServingConfig(needed).files()
    files |= {name: must[name] for name in ("pinned", PINNED_ENV) if name in must}
    return {
        name: files[name]
        for name in (MODELS, "pinned", PINNED_ENV, "probes.json")
        if name in files and (folder / name).exists()
    }


def _records(folder: Path) -> dict[str, Any]:
    path = folder / ROLLOUTS
    try:
        records = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise CommandError(
            f"{path}: {error.strerror}; this user must be able to read the folder of --out or --config"
        ) from None
    except ValueError as error:
        raise _unreadable(path, str(error)) from None
    if not isinstance(records, dict) or not all(isinstance(entry, dict) for entry in records.values()):
        raise _unreadable(path, "no rollouts by model")
    return records


def _probe_address(folder: Path) -> str:
    """HOST:PORT that probes.json asks."""
    path = folder / "probes.json"
    try:
        [first, *_] = json.loads(path.read_bytes())
        return urlsplit(first["targets"][0]).netloc
    except FileNotFoundError:
        return PROBE_ADDRESS
    except (OSError, ValueError, TypeError, LookupError) as error:
        raise _unreadable(path, str(error)) from None


def _unreadable(path: Path, reason: str) -> CommandError:
    return CommandError(
        f"{path} cannot be read ({reason}); it is not as this command or `config write` left it: mend or remove it"
    )
