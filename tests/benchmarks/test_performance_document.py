"""The document: what a reader sees of targets, of what was not run, and of sections from an earlier run."""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.performance import document
from benchmarks.performance.document import Circumstances, Record
from benchmarks.performance.section import Bench, Findings, Section, Table, Target

NOW = Circumstances("2026-05-02 10:00 UTC", {"CPU": "Some CPU, 2 cores", "Vitrine": "abc1234"}, 5, 8.0, [])
EARLIER = Circumstances("2026-05-01 09:00 UTC", {"CPU": "Some CPU, 2 cores", "Vitrine": "def5678"}, 3, 2.0, [])


def _never(bench: Bench) -> Findings:
    raise AssertionError("nothing is run here")


SECTIONS = [Section(name, f"The {name} section", _never) for name in ("one", "two", "three")]
FINDINGS = Findings(
    "What was measured.",
    [Table("Some figures", ("server", "answers/s"), [("a|b", "10 (9-11)")])],
    [Target("fast", "10", True), Target("faster", "tie", False), Target("fastest", "no peers", None)],
    {"rates": [9, 10, 11]},
)


def _render(records: dict[str, Record], now: Circumstances = NOW, places: tuple[Path, ...] = ()) -> str:
    return document.render(now, records, SECTIONS, places)


def test_targets_come_first_with_what_became_of_each() -> None:
    text = _render({"one": Record("one", NOW, 1.0, FINDINGS)})
    assert text.index("## Targets") < text.index("## The one section")
    assert "| The one section | fast | 10 | kept |" in text
    assert "| The one section | faster | tie | **missed** |" in text
    assert "| The one section | fastest | no peers | not measured |" in text
    assert "| The two section |  | not run | not measured |" in text


def test_a_section_that_this_machine_cannot_run_says_why() -> None:
    text = _render({"two": Record("two", NOW, 0.0, None, "not run here: no GPU")})
    assert "## The two section\n\nNot measured: not run here: no GPU" in text
    assert "| The two section |  | not run here: no GPU | not measured |" in text


def test_a_section_of_an_earlier_run_names_its_date_and_what_was_different() -> None:
    text = _render({"one": Record("one", NOW, 1.0, FINDINGS), "three": Record("three", EARLIER, 1.0, FINDINGS)})
    assert "*From the run of 2026-05-01 09:00 UTC, 3 rounds of 2 seconds; Vitrine def5678.*" in text
    assert "| The three section (2026-05-01 09:00 UTC) | fast | 10 | kept |" in text
    assert text.count("From the run of") == 1


def test_a_machine_that_was_at_work_is_told_of() -> None:
    text = _render({}, replace(NOW, warnings=["The machine was not idle."]))
    assert "**The machine was not idle.**" in text[: text.index("## Targets")]


def test_what_a_cell_holds_does_not_break_its_table() -> None:
    record = Record("one", NOW, 0.0, None, "failed:\n| <b>bold</b> |")
    assert "| The one section |  | failed: \\| &lt;b>bold&lt;/b> \\| | not measured |" in _render({"one": record})
    assert "| a\\|b | 10 (9-11) |" in _render({"one": Record("one", NOW, 1.0, FINDINGS)})


def test_neither_paths_nor_the_host_are_named(tmp_path: Path) -> None:
    reason = f"{tmp_path}/work/peers broke on {socket.gethostname()}, see {Path.home()}/log"
    text = _render({"one": Record("one", NOW, 0.0, None, reason)}, places=(tmp_path, tmp_path / "work"))
    assert "…/peers broke on this machine, see …/log" in text
    assert str(tmp_path) not in text


def test_what_is_kept_is_what_comes_back(tmp_path: Path) -> None:
    Record("one", NOW, 2.5, FINDINGS).save(tmp_path)
    again = document.load(tmp_path, "one")
    assert again is not None
    assert _render({"one": again}) == _render({"one": Record("one", NOW, 2.5, FINDINGS)})
    assert again.minutes == 2.5
    assert again.findings is not None
    assert again.findings.figures == FINDINGS.figures


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"name": "one", "other": 1}'])
def test_a_file_that_is_no_record_is_as_if_there_was_none(content: str, tmp_path: Path) -> None:
    (tmp_path / "one.json").write_text(content)
    assert document.load(tmp_path, "one") is None
