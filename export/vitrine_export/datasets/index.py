"""The index of a data set: which pictures, of which class, in which split, and what was left out and why."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, get_args

SplitName = Literal["train", "validation", "test"]
SPLITS: tuple[SplitName, ...] = get_args(SplitName)


@dataclass(frozen=True)
class Picture:
    path: str
    """Relative to the data set's root, with forward slashes."""
    label: str
    sha256: str
    split: SplitName


@dataclass(frozen=True)
class Skipped:
    path: str
    reason: str


@dataclass(frozen=True)
class DatasetIndex:
    root: str
    labels: tuple[str, ...]
    """Class names in the order of the network's outputs."""
    pictures: tuple[Picture, ...]
    skipped: tuple[Skipped, ...]
    """Files that cannot be used."""
    left_out: tuple[Skipped, ...] = ()
    """Pictures that could be used and are not: copies, and what balancing leaves out."""
    layout: str = "folders"
    notes: tuple[str, ...] = ()
    """What was said about the data set as a whole."""

    def split(self, name: SplitName) -> list[Picture]:
        return [picture for picture in self.pictures if picture.split == name]

    def counts(self) -> dict[str, int]:
        """Pictures per split."""
        counted = Counter(picture.split for picture in self.pictures)
        return {name: counted[name] for name in SPLITS}

    def digest(self) -> str:
        """SHA-256 over label, split and content of each picture: the same for the same pictures, wherever they lie."""
        lines = sorted(f"{picture.label}\t{picture.split}\t{picture.sha256}" for picture in self.pictures)
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def file(self, picture: Picture) -> Path:
        return Path(self.root) / picture.path

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> DatasetIndex:
        raw = json.loads(text)
        return cls(
            root=raw["root"],
            labels=tuple(raw["labels"]),
            pictures=tuple(Picture(**picture) for picture in raw["pictures"]),
            skipped=tuple(Skipped(**skipped) for skipped in raw["skipped"]),
            # Indexes written before there were other layouts and duplicates lack these.
            left_out=tuple(Skipped(**entry) for entry in raw.get("left_out", ())),
            layout=raw.get("layout", "folders"),
            notes=tuple(raw.get("notes", ())),
        )
