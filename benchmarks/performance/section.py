"""What each part of the benchmark is given, and what it comes back with."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from benchmarks import models


@dataclass(frozen=True)
class Bench:
    """What a section may use.

    Attributes:
        data: a folder with flowers/ and large_photos/; None: pictures are made.
        work: a folder for environments and findings, which are kept between runs, and for models, which are not.
        rounds: how often each measurement is repeated, interleaved with those it is compared with.
        seconds: length of one measurement.
        cores: processors that this process may use.
        soak_minutes: how long the soak lasts; 0: there is none.
        peers: keys of the Python servers to measure beside ours.
    """

    data: Path | None
    work: Path
    rounds: int
    seconds: float
    cores: int
    soak_minutes: float = 0.0
    peers: tuple[str, ...] = ()

    @property
    def models(self) -> Path:
        """All models of this run, and nothing else: it is removed whole, even where `work` has other things in it."""
        return self.work / "benchmarked-models"

    @cached_property
    def model(self) -> Path:
        """The base path of MobileNetV2 1.0 at 224, JPEG in, version 1, as `vitrine-export` writes it."""
        base = self.models / "mobilenet"
        if not (base / "1" / "saved_model.pb").exists():
            models.write_mobilenet(base / "1")
        return base

    def pictures(self, count: int) -> list[bytes]:
        """JPEGs of web-photo size: flowers where there is data."""
        if self.data is None:
            return models.photos(count)
        found = sorted((self.data / "flowers").rglob("*.jpg"))
        # Far apart in the list, so of all classes.
        return [path.read_bytes() for path in found[:: max(1, len(found) // count)][:count]]

    def written(self, pictures: Sequence[bytes]) -> Path:
        """A folder with these JPEGs and no others, for another process."""
        folder = self.work / "benchmarked-pictures"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for number, picture in enumerate(pictures):
            (folder / f"{number:02d}.jpg").write_bytes(picture)
        return folder

    def say(self, text: str) -> None:
        """Progress, on stderr."""
        sys.stderr.write(f"  {text}\n")
        sys.stderr.flush()


@dataclass(frozen=True)
class Target:
    """What was wanted, what came out, and whether that is it; `kept` None: not measured, and `measured` says why."""

    wanted: str
    measured: str
    kept: bool | None


@dataclass(frozen=True)
class Table:
    """Rows under a header, one line above them that says what the figures are."""

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Findings:
    """What a section came to.

    Attributes:
        text: Markdown, before the tables: what was measured, how, and what it means.
        figures: all that was measured, as plain values, for the JSON file.
    """

    text: str
    tables: Sequence[Table]
    targets: Sequence[Target] = ()
    figures: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Section:
    """A part of the benchmark. `run` raises NotHere where this machine lacks what it takes.

    `minutes` is about how long it takes with five rounds of eight seconds.
    """

    name: str
    title: str
    run: Callable[[Bench], Findings]
    minutes: float = 4.0


class NotHere(Exception):
    """This machine lacks what a section takes; the text says what, and is written into the document."""
