"""From findings to the document, and to files from which a later run takes what it does not measure again."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.performance.section import Findings, Section, Table, Target

_KEPT = {True: "kept", False: "**missed**", None: "not measured"}


@dataclass(frozen=True)
class Circumstances:
    """When, on what and how a section was measured; `warnings` are shown beside it."""

    date: str
    machine: Mapping[str, str]
    rounds: int
    seconds: float
    warnings: Sequence[str]

    def same_run(self, other: Circumstances) -> bool:
        return self.date == other.date


@dataclass(frozen=True)
class Record:
    """A section as it came out: findings, or why there are none."""

    name: str
    circumstances: Circumstances
    minutes: float
    findings: Findings | None
    absent: str = ""

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        written = _file(folder, self.name).with_suffix(".partial")
        written.write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")
        written.replace(_file(folder, self.name))


def load(folder: Path, name: str) -> Record | None:
    """What was kept of the section; None where nothing was, or by another version of this program."""
    try:
        kept: dict[str, Any] = json.loads(_file(folder, name).read_text(encoding="utf-8"))
        circumstances = Circumstances(**kept.pop("circumstances"))
        found = kept.pop("findings")
        return Record(circumstances=circumstances, findings=_findings(found) if found else None, **kept)
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _findings(kept: dict[str, Any]) -> Findings:
    tables = [Table(**table) for table in kept["tables"]]
    targets = [Target(**target) for target in kept["targets"]]
    return Findings(kept["text"], tables, targets, kept["figures"])


def _file(folder: Path, name: str) -> Path:
    return folder / f"{name}.json"


def render(
    now: Circumstances, records: Mapping[str, Record], sections: Iterable[Section], places: Iterable[Path]
) -> str:
    """Markdown: the machine, all targets, then the sections in order.

    Args:
        records: by section; one that is missing was never measured.
        places: folders that are not to be named in the document.
    """
    sections = list(sections)
    parts = [_machine(now), _targets(now, records, sections)]
    parts += [_section(now, records.get(section.name), section) for section in sections]
    return _without_places("\n\n".join(parts), places)


def _machine(now: Circumstances) -> str:
    rounds = f"{now.rounds} round{'s' if now.rounds != 1 else ''}"
    lines = [
        f"Measured {now.date}, {rounds}, {now.seconds:g} seconds a measurement.",
        *(f"**{warning}**" for warning in now.warnings),
        _table(("", ""), list(now.machine.items())),
    ]
    return "\n\n".join(lines)


def _targets(now: Circumstances, records: Mapping[str, Record], sections: Sequence[Section]) -> str:
    rows = []
    for section in sections:
        record = records.get(section.name)
        if record is None or record.findings is None:
            rows.append((section.title, "", "not run" if record is None else record.absent, _KEPT[None]))
            continue
        name = section.title if record.circumstances.same_run(now) else f"{section.title} ({record.circumstances.date})"
        rows += [(name, target.wanted, target.measured, _KEPT[target.kept]) for target in record.findings.targets]
    return "## Targets\n\n" + _table(("section", "wanted", "measured", ""), rows)


def _section(now: Circumstances, record: Record | None, section: Section) -> str:
    parts = [f"## {section.title}"]
    if record is None:
        return "\n\n".join([*parts, f"Not run. `python -m benchmarks.performance --only {section.name}` does."])
    if not record.circumstances.same_run(now):
        parts.append(_other_run(now, record.circumstances))
    if record.findings is None:
        return "\n\n".join([*parts, f"Not measured: {record.absent}"])
    parts.append(record.findings.text.strip())
    for table in record.findings.tables:
        parts += [f"{table.caption}:", _table(table.header, table.rows)]
    return "\n\n".join(parts)


def _other_run(now: Circumstances, then: Circumstances) -> str:
    """What was different when an older section was measured."""
    different = [
        f"{name} {then.machine.get(name, 'none')}"
        for name in now.machine
        if then.machine.get(name) != now.machine[name]
    ]
    said = f"From the run of {then.date}, {then.rounds} rounds of {then.seconds:g} seconds"
    return f"*{'; '.join([said, *different, *then.warnings])}.*"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [_line(header), "|" + "---|" * len(header), *(_line(row) for row in rows)]
    return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    # What another program said may have lines and bars, which would break the table.
    clean = (" ".join(cell.split()).replace("|", "\\|").replace("<", "&lt;") for cell in cells)
    return f"| {' | '.join(clean)} |"


def _without_places(text: str, places: Iterable[Path]) -> str:
    """Without the paths and the name of this machine that other programs' messages may have brought in."""
    # The longest first: one may be inside another.
    for place in sorted({str(place.absolute()) for place in places} | {str(Path.home())}, key=len, reverse=True):
        if place != "/":
            text = text.replace(place, "…")
    return text.replace(socket.gethostname(), "this machine")
