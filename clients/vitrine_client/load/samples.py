"""Pictures to ask about, and the answers to them where they are known."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vitrine_client.cli.picture_paths import picture_paths
from vitrine_client.errors import BadResponse, InvalidInput, VitrineError
from vitrine_client.images import ImageOptions, encode_image
from vitrine_client.results import Prediction

_GOLDEN = "assets.extra/golden"
# The export's own tolerance for probabilities: batches and other hardware sum in another order. Of two labels, each
# may be off by it.
_TOLERANCE = 2e-5


class WrongLabel(VitrineError):
    """The answer is well formed, and not the one that this version gives."""

    summary = "wrong label"


@dataclass(frozen=True)
class Sample:
    """A picture.

    Attributes:
        path: where it came from.
        content: the image file's bytes, as they are sent.
        labels: the right answers: one, or several whose probabilities are as good as equal; none where unknown.
    """

    path: str
    content: bytes
    labels: frozenset[str] = frozenset()

    def check(self, prediction: Prediction) -> None:
        """Raises BadResponse for an answer without a label, WrongLabel for one that is not among the right ones."""
        if not prediction.label:
            raise BadResponse(f"{self.path}: the best label is empty")
        if self.labels and prediction.label not in self.labels:
            expected = " or ".join(map(repr, sorted(self.labels)))
            raise WrongLabel(f"{self.path}: {prediction.label!r} where {expected} belongs")


def golden_folder(models: Path, model: str, version: int | None) -> Path:
    """The golden pictures of a version in the store, of the newest if None. Raises InvalidInput without them."""
    base = models / model
    try:
        numbers = [int(path.name) for path in base.iterdir() if path.name.isascii() and path.name.isdigit()]
    except OSError:
        numbers = []
    advice = "publish a version (make export), or name the store with --models or a folder with --pictures"
    if version is None and not numbers:
        raise InvalidInput(f"no pictures: the folder {str(base)!r} holds no version of {model!r}: {advice}")
    folder = base / str(max(numbers) if version is None else version) / _GOLDEN
    if not folder.is_dir():
        raise InvalidInput(f"no pictures: there is no folder {str(folder)!r}: {advice}")
    return folder


def read(folder: Path) -> list[Sample]:
    """All pictures in a folder and below it, by path, ready to be sent.

    The answers are known where the folder is a version's assets.extra/golden, next to its manifest.json.

    Raises:
        InvalidInput: no folder, no picture in it, one that cannot be decoded, or a manifest that cannot be used.
    """
    if not folder.is_dir():
        raise InvalidInput(f"no pictures: there is no folder {str(folder)!r}: name one with --pictures")
    known = _answers(folder)
    return [
        Sample(
            path, encode_image(path, position, ImageOptions(check="full")), known.get(Path(path).resolve(), frozenset())
        )
        for position, path in enumerate(picture_paths([str(folder)]))
    ]


def _answers(folder: Path) -> dict[Path, frozenset[str]]:
    """The right labels by file; they are the version's own answers, which need not be the pictures' true labels."""
    version = folder.resolve().parents[1] if len(folder.resolve().parents) > 1 else folder
    manifest = version / "assets.extra" / "manifest.json"
    if folder.resolve() != version / _GOLDEN or not manifest.is_file():
        return {}
    try:
        described = json.loads(manifest.read_text(encoding="utf-8"))
        return {version / entry["file"]: _best(entry, described["labels"]) for entry in described["golden"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidInput(
            f"{manifest}: no answers can be read from it ({error!r}): publish the version anew"
        ) from error


def _best(entry: dict[str, Any], labels: list[str]) -> frozenset[str]:
    probabilities = entry["probabilities"]
    least = max(probabilities) - _TOLERANCE
    return frozenset(label for label, p in zip(labels, probabilities, strict=True) if p >= least)
