"""How fast Vitrine is beside its limits, its peers and its alternatives: docs/performance.md.

Needs Linux and a machine that does nothing else. About an hour, and the soak's time after it. What is measured is kept
in --work section by section: Ctrl-C loses the one under way, and a later run with --only renews some and takes the
others from there, which the document says.

examples:
  make bench
  python -m benchmarks.performance --write docs/performance.md --json performance.json
  python -m benchmarks.performance --only comparison,poison --peers bentoml,litserve
  python -m benchmarks.performance --rounds 1 --seconds 1 --peers none --soak-minutes 0
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks import page
from benchmarks.peers.catalogue import PEERS
from benchmarks.performance import (
    client_cost,
    comparison,
    decoding,
    document,
    gpu,
    growth,
    idle,
    machine,
    poison,
    soak,
    transports,
    variants,
)
from benchmarks.performance.document import Circumstances, Record
from benchmarks.performance.section import Bench, NotHere, Section
from vitrine_serving.embedded.cpus import available_cpus

_DATA = Path("../shared/data")
_SECTIONS: tuple[Section, ...] = (
    comparison.SECTION,
    transports.SECTION,
    variants.SECTION,
    decoding.SECTION,
    client_cost.SECTION,
    poison.SECTION,
    growth.SECTION,
    idle.SECTION,
    gpu.SECTION,
    soak.SECTION,
)
# What Section.minutes is for.
_ROUNDS, _SECONDS = 5, 8.0
_INTERRUPTED = 130


class _Runner:
    """Runs sections one after the other and keeps what they find."""

    def __init__(self, bench: Bench, now: Circumstances) -> None:
        self._bench = bench
        self._now = now
        self._kept = bench.work / "findings"
        self.failed: list[str] = []

    def run(self, chosen: Sequence[Section]) -> None:
        """Raises KeyboardInterrupt; what was done before it is kept."""
        for place, section in enumerate(chosen):
            left = sum(self._minutes(other) for other in chosen[place:])
            _say(f"{section.name} ({place + 1} of {len(chosen)}): about {left:.0f} minutes left")
            started = time.monotonic()
            record = self._record(section, started)
            if record is not None:
                record.save(self._kept)
                _say(f"{section.name}: {record.minutes:.1f} minutes")

    def records(self) -> dict[str, Record]:
        """All that is kept, of this run and of earlier ones."""
        found = {section.name: document.load(self._kept, section.name) for section in _SECTIONS}
        return {name: record for name, record in found.items() if record is not None}

    def _record(self, section: Section, started: float) -> Record | None:
        """None for a section that failed: what is kept of an earlier run is worth more."""
        try:
            findings = section.run(self._bench)
        except NotHere as reason:
            return Record(section.name, self._now, _minutes_since(started), None, str(reason))
        # The other sections are worth having.
        except Exception as error:
            log = self._bench.work / f"{section.name}.log"
            log.write_text(traceback.format_exc(), encoding="utf-8")
            first = (str(error) or type(error).__name__).splitlines()[0]
            _say(f"{section.name} failed, see {log}: {first}")
            self.failed.append(section.name)
            return None
        return Record(section.name, self._now, _minutes_since(started), findings)

    def _minutes(self, section: Section) -> float:
        """As long as the last time, else what the section says itself."""
        if section is soak.SECTION:
            return self._bench.soak_minutes
        length = self._bench.rounds * self._bench.seconds
        last = document.load(self._kept, section.name)
        if last is None or last.findings is None:
            return section.minutes * length / (_ROUNDS * _SECONDS)
        return last.minutes * length / (last.circumstances.rounds * last.circumstances.seconds)


def main() -> None:
    parser = _parser()
    options = parser.parse_args()
    if not Path("/proc/self/stat").exists():
        parser.error("CPU time and memory are read from /proc, which only Linux has")
    # Before anything is computed here.
    busy = machine.busy_cores()
    cores = available_cpus()
    warning = machine.warning(busy, cores)
    facts = {**machine.facts(), "cores busy before the start": f"{busy:.2f}"}
    now = Circumstances(machine.today(), facts, options.rounds, options.seconds, [warning] if warning else [])
    if warning:
        _say(warning)
    _leave_the_gpu_to_servers()
    options.work.mkdir(parents=True, exist_ok=True)
    bench = Bench(
        options.data, options.work, options.rounds, options.seconds, cores, options.soak_minutes, options.peers
    )
    # Of an earlier run, which may have been an earlier Vitrine's.
    shutil.rmtree(bench.models, ignore_errors=True)
    runner, interrupted = _Runner(bench, now), False
    try:
        runner.run(_left_out(options.only, options.soak_minutes))
    except KeyboardInterrupt:
        _say("interrupted; what was measured is kept")
        interrupted = True
    _report(runner, now, options)
    if interrupted:
        sys.exit(_INTERRUPTED)
    if runner.failed:
        sys.exit(f"not measured: {', '.join(runner.failed)}")


def _report(runner: _Runner, now: Circumstances, options: argparse.Namespace) -> None:
    records = runner.records()
    places = [Path.cwd(), options.work, *([options.data] if options.data else [])]
    text = document.render(now, records, _SECTIONS, places)
    if options.write:
        page.write(options.write, text)
        _say(f"written: {options.write}")
    else:
        print(text)
    if options.json:
        figures = {name: asdict(record) for name, record in records.items()}
        options.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def _left_out(only: Sequence[Section], soak_minutes: float) -> list[Section]:
    return [section for section in only if section is not soak.SECTION or soak_minutes]


def _leave_the_gpu_to_servers() -> None:
    """TensorFlow in this process, which writes models, would take all of a GPU's memory."""
    import tensorflow as tf

    tf.config.set_visible_devices([], "GPU")


def _minutes_since(started: float) -> float:
    return (time.monotonic() - started) / 60


def _say(text: str) -> None:
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    sys.stderr.flush()


def _sections(text: str) -> list[Section]:
    names = text.split(",")
    known = {section.name: section for section in _SECTIONS}
    if unknown := [name for name in names if name not in known]:
        raise argparse.ArgumentTypeError(f"no section {unknown[0]!r}; there are: {', '.join(known)}")
    return [section for section in _SECTIONS if section.name in names]


def _peers(text: str) -> tuple[str, ...]:
    if text == "none":
        return ()
    known = [peer.package for peer in PEERS.values()]
    names = text.split(",")
    if unknown := [name for name in names if name not in known]:
        raise argparse.ArgumentTypeError(f"no peer {unknown[0]!r}; there are: {', '.join(known)}, or none")
    return tuple(names)


def _rounds(text: str) -> int:
    if not (text.isdecimal() and int(text)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of 1 or more")
    return int(text)


def _positive(text: str) -> float:
    if (value := _not_negative(text)) == 0:
        raise argparse.ArgumentTypeError("give more than 0")
    return value


def _not_negative(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of 0 or more")
    return value


def _data(text: str) -> Path:
    folder = Path(text)
    for name in ("flowers", "large_photos"):
        if not (folder / name).is_dir():
            raise argparse.ArgumentTypeError(f"{folder / name} is not there")
    return folder


def _parser() -> argparse.ArgumentParser:
    description, _, examples = (__doc__ or "").partition("examples:")
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.performance",
        description=description,
        epilog=f"examples:{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names = ",".join(section.name for section in _SECTIONS)
    peers = ",".join(peer.package for peer in PEERS.values())
    parser.add_argument("--only", type=_sections, default=list(_SECTIONS), help=f"some of {names}")
    parser.add_argument(
        "--data",
        type=_data,
        default=_DATA if _DATA.is_dir() else None,
        help=f"folder with flowers/ and large_photos/ (default: {_DATA} where it is there, else made pictures)",
    )
    parser.add_argument(
        "--work", type=Path, default=Path(".bench"), help="models, environments, findings (%(default)s)"
    )
    parser.add_argument("--rounds", type=_rounds, default=_ROUNDS, help="measurements of each (default %(default)s)")
    parser.add_argument("--seconds", type=_positive, default=_SECONDS, help="length of each (default %(default)s)")
    parser.add_argument("--peers", type=_peers, default=peers, help="Python servers, or none (default %(default)s)")
    parser.add_argument("--soak-minutes", type=_not_negative, default=30.0, help="0: no soak (default %(default)s)")
    parser.add_argument("--write", type=page.page, help="put the report into this document, between its marks")
    parser.add_argument("--json", type=Path, help="write all figures to this file, too")
    return parser


if __name__ == "__main__":
    main()
