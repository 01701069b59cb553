"""`python -m benchmarks.performance`: what is kept when something goes wrong, and wrong usage."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.performance import __main__ as runner
from benchmarks.performance.document import Circumstances
from benchmarks.performance.section import Bench, Findings, NotHere, Section, Table

NOW = Circumstances("2026-05-02 10:00 UTC", {"CPU": "Some CPU"}, 1, 1.0, [])
FINDINGS = Findings("Text.", [Table("Figures", ("a",), [("1",)])])


def _found(bench: Bench) -> Findings:
    return FINDINGS


def _not_here(bench: Bench) -> Findings:
    raise NotHere("no such device")


def _broken(bench: Bench) -> Findings:
    raise RuntimeError("12 requests failed")


def _interrupted(bench: Bench) -> Findings:
    raise KeyboardInterrupt


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(None, tmp_path, 1, 1.0, 2)


def _run(bench: Bench, monkeypatch: pytest.MonkeyPatch, **parts: object) -> runner._Runner:
    sections = tuple(Section(name, name, run) for name, run in parts.items())  # type: ignore[arg-type]
    monkeypatch.setattr(runner, "_SECTIONS", sections)
    running = runner._Runner(bench, NOW)
    running.run(sections)
    return running


def test_a_section_that_fails_or_lacks_something_costs_the_others_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    running = _run(bench, monkeypatch, first=_broken, second=_not_here, third=_found)
    records = running.records()
    assert records.keys() == {"second", "third"}
    assert records["second"].absent == "no such device"
    assert records["third"].findings is not None
    assert running.failed == ["first"]
    assert "first failed, see" in capsys.readouterr().err
    assert "12 requests failed" in (bench.work / "first.log").read_text()


def test_an_interrupt_loses_only_the_section_under_way(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KeyboardInterrupt):
        _run(bench, monkeypatch, first=_found, second=_interrupted, third=_found)
    assert runner._Runner(bench, NOW).records().keys() == {"first"}


def test_a_failure_leaves_what_an_earlier_run_found(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    _run(bench, monkeypatch, only=_found)
    running = _run(bench, monkeypatch, only=_broken)
    assert running.records()["only"].findings is not None


def test_models_of_an_earlier_run_are_removed_and_nobody_elses(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store = bench.work / "models" / "digits" / "1"
    for folder in (store, bench.models / "mobilenet" / "1"):
        folder.mkdir(parents=True)
    monkeypatch.setattr(runner, "_SECTIONS", (Section("first", "First", _found),))
    monkeypatch.setattr(runner, "_leave_the_gpu_to_servers", lambda: None)
    monkeypatch.setattr("sys.argv", ["performance", "--only", "first", "--work", str(bench.work)])
    runner.main()
    assert "Figures" in capsys.readouterr().out
    assert store.is_dir()
    assert not bench.models.exists()


def test_progress_says_what_is_left(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _run(bench, monkeypatch, first=_found, second=_found)
    said = capsys.readouterr().err
    assert "first (1 of 2): about" in said
    assert "second (2 of 2): about" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--only", "poison,nonsense"], "no section 'nonsense'; there are: comparison,"),
        (["--peers", "flask"], "no peer 'flask'; there are: bentoml, litserve,"),
        (["--rounds", "0"], "'0' is not a number of 1 or more"),
        (["--seconds", "nan"], "'nan' is not a number"),
        (["--seconds", "0"], "give more than 0"),
        (["--data", "nowhere"], "nowhere/flowers is not there"),
        (["--write", "nowhere.md"], "no document with the line"),
    ],
)
def test_wrong_usage_names_what_is_right(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        runner._parser().parse_args(arguments)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_sections_run_in_their_order_whatever_the_order_asked_for() -> None:
    options = runner._parser().parse_args(["--only", "poison,comparison", "--peers", "none"])
    assert [section.name for section in options.only] == ["comparison", "poison"]
    assert options.peers == ()


def test_no_soak_where_it_has_no_minutes() -> None:
    options = runner._parser().parse_args(["--soak-minutes", "0"])
    names = [section.name for section in runner._left_out(options.only, options.soak_minutes)]
    assert "soak" not in names
    assert "comparison" in names
