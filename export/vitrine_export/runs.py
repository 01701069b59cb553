"""What a training run leaves behind, and where: the input of evaluation and export."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from vitrine_export.datasets.index import DatasetIndex
from vitrine_export.errors import RunError
from vitrine_export.recipe import Recipe
from vitrine_export.staging import replacing


@dataclass(frozen=True)
class Run:
    """A folder RUNS/NAME: recipe, index of the pictures, the trained Keras model, figures and pictures of them."""

    folder: Path

    @property
    def network_file(self) -> Path:
        return self.folder / "model.keras"

    @property
    def plots(self) -> Path:
        return self.folder / "plots"

    @property
    def tables(self) -> tuple[Path, ...]:
        """The report and the tables that a run may hold, beside the pictures in `plots`."""
        tables = ("predictions.csv", "per_class.csv", "confusion_matrix.csv", "mistakes.csv", "history.json")
        return tuple(self.folder / name for name in ("report.html", *tables))

    @property
    def candidate(self) -> Path:
        """The export that waits for its blessing."""
        return self.folder / "candidate"

    def recipe(self) -> Recipe:
        try:
            return Recipe.model_validate_json(self._read("recipe.json"))
        except ValidationError as error:
            raise RunError(f"{self.folder}: made by another version of vitrine-export: {error}") from None

    def dataset(self) -> DatasetIndex:
        text = self._read("dataset.json")
        try:
            return DatasetIndex.from_json(text)
        except (ValueError, KeyError, TypeError) as error:
            raise self._damaged("dataset.json", error) from None

    def metrics(self) -> dict[str, Any]:
        return self._json("metrics.json")

    def history(self) -> dict[str, list[Any]]:
        """Figures of each epoch by name; empty where the run has none."""
        return self._json("history.json") if (self.folder / "history.json").exists() else {}

    def _json(self, name: str) -> dict[str, Any]:
        text = self._read(name)
        try:
            return json.loads(text)
        except ValueError as error:
            raise self._damaged(name, error) from None

    def _read(self, name: str) -> str:
        try:
            return (self.folder / name).read_text(encoding="utf-8")
        except FileNotFoundError:
            raise RunError(
                f"{self.folder}: no trained run there; run `make train` (vitrine-export train) first"
            ) from None
        except (OSError, UnicodeDecodeError) as error:
            raise self._damaged(name, error) from None

    def network(self) -> Any:
        """The trained keras.Model."""
        self.require()
        from vitrine_export.models import storage

        return storage.load(self.folder)

    def require(self) -> None:
        """Raise RunError where nothing has been trained; quick, and without TensorFlow."""
        self._read("recipe.json")
        if not self.network_file.is_file():
            raise RunError(f"{self.network_file}: missing; run `make train` (vitrine-export train) first")

    def _damaged(self, name: str, error: Exception) -> RunError:
        reason = " ".join(str(error).split())[:200]
        return RunError(f"{self.folder / name}: cannot be read: {reason}; train again")


@contextlib.contextmanager
def fresh_run(folder: Path) -> Iterator[Run]:
    """A new run, built beside `folder` and put in its place at the end; an error or Ctrl-C leaves the old one.

    Raises RunError where the folder cannot be written.
    """
    try:
        with replacing(folder) as fresh:
            yield Run(fresh)
    except OSError as error:
        raise RunError(f"cannot write the run to {folder}: {error.strerror or error}") from None


def write_json(path: Path, value: Any) -> None:
    """Write `value` so that a reader sees the old file or the new one, never half of it."""
    staging = path.with_name(f".{path.name}.new")
    staging.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    staging.replace(path)
