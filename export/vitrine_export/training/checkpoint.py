"""Where an interrupted training goes on: one file beside the run, written whole after every epoch."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from vitrine_export.datasets.index import DatasetIndex
from vitrine_export.errors import RunError
from vitrine_export.recipe import Recipe
from vitrine_export.training.stopping import Best, Plateau, Weights

_ARRAYS = ("weights", "optimizer", "best")
# How a run is called and exported does not change what is trained.
_IRRELEVANT = {"name", "description", "search", "export"}
# Nor does where the pictures lie: the index has the digest of their content.
_DATASET = {"path", "source", "layout", "cache", "split", "max_per_class", "duplicates"}


@dataclass
class State:
    """A training between two epochs. All randomness depends on the recipe's seed and the epoch, so none is kept."""

    stage: int = 0
    epoch: int = 0
    """Of the stage: how many are done."""
    ended: bool = False
    """Whether the stage has stopped early."""
    history: dict[str, list[Any]] = field(default_factory=dict)
    plateau: Plateau = field(default_factory=Plateau)
    best: Best = field(default_factory=Best)
    weights: Weights = field(default_factory=list)
    optimizer: Weights = field(default_factory=list)
    started: str = field(default_factory=lambda: datetime.now().strftime("%Y-%m-%d-%H%M%S-%f"))
    """When training began, in local time; names the folder of its logs."""

    @property
    def epochs_done(self) -> int:
        """Over all stages."""
        return len(self.history.get("loss", ()))

    def write(self, file: BinaryIO, identity: Mapping[str, Any]) -> None:
        """A zip file of arrays (.npz), without pickle."""
        described = {
            name: asdict(value) if name == "plateau" else value
            for name, value in vars(self).items()
            if name not in _ARRAYS
        }
        described |= {"identity": identity, "best": {"value": self.best.value, "waited": self.best.waited}}
        arrays: dict[str, Any] = {"state": np.frombuffer(json.dumps(described).encode(), np.uint8)}
        for kind, values in zip(_ARRAYS, (self.weights, self.optimizer, self.best.weights or []), strict=True):
            arrays |= {f"{kind}/{number:06}": value for number, value in enumerate(values)}
        np.savez(file, **arrays)

    @classmethod
    def from_bytes(cls, data: bytes) -> tuple[State, dict[str, Any]]:
        """The state and its identity; raises ValueError, KeyError, TypeError, OSError or BadZipFile for other data."""
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            described = json.loads(file["state"].tobytes())
            names = sorted(file.files)
            weights, optimizer, best = (
                [file[name] for name in names if name.startswith(f"{kind}/")] for kind in _ARRAYS
            )
        identity = described.pop("identity")
        described["plateau"] = Plateau(**described["plateau"])
        described["best"] = Best(**described["best"], weights=best or None)
        return cls(**described, weights=weights, optimizer=optimizer), identity


@dataclass(frozen=True)
class Checkpoint:
    """The file, and what must be the same for a training to go on from it."""

    file: Path
    identity: Mapping[str, Any]

    def read(self) -> tuple[State | None, str]:
        """The state to go on from, and otherwise why there is none; "" where there is no file."""
        try:
            data = self.file.read_bytes()
        except FileNotFoundError:
            return None, ""
        except OSError as error:
            return None, f"{self.file}: cannot be read: {error.strerror or error}"
        try:
            state, identity = State.from_bytes(data)
        except (ValueError, KeyError, TypeError, AttributeError, OSError, EOFError, zipfile.BadZipFile):
            return None, f"{self.file}: damaged"
        other = [name for name, value in self.identity.items() if identity.get(name) != value]
        if other:
            what = "other pictures" if other == ["pictures"] else f"another recipe ({', '.join(other)})"
            return None, f"{self.file}: of {what}"
        return state, ""

    def write(self, state: State) -> None:
        """Replace the file; raises RunError where it cannot be written."""
        staging = self.file.with_name(f".{self.file.name}.new")
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with staging.open("wb") as file:
                state.write(file, self.identity)
            staging.replace(self.file)
        except OSError as error:
            raise RunError(f"cannot write the checkpoint to {self.file}: {error.strerror or error}") from None
        finally:
            with contextlib.suppress(OSError):
                staging.unlink(missing_ok=True)

    def remove(self) -> None:
        self.file.unlink(missing_ok=True)


def identity_of(recipe: Recipe, index: DatasetIndex) -> dict[str, Any]:
    """Everything that decides what is trained, by the keys of the recipe."""
    sections = recipe.model_dump(mode="json", exclude=_IRRELEVANT) | {"preprocessing": recipe.pipeline}
    sections["dataset"] = {key: value for key, value in sections["dataset"].items() if key not in _DATASET}
    flat: dict[str, Any] = {}
    for section, value in sections.items():
        flat |= (
            {f"{section}.{key}": item for key, item in value.items()} if isinstance(value, dict) else {section: value}
        )
    # The order of the pictures decides which of them are in a batch.
    order = "\n".join(picture.sha256 for picture in index.pictures)
    return flat | {"pictures": hashlib.sha256(f"{index.digest()}\n{order}".encode()).hexdigest()}
