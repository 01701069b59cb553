"""What a run comes to: figures, objectives, files, and lines on the terminal."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from load_results import GENERATOR, SERVER, recorded, result, soak

from vitrine_client.load import writing
from vitrine_client.load.recording import Recording
from vitrine_client.load.results import timeline
from vitrine_client.load.writing import told, write

FILES = {"result.json", "summary.csv", "timeline.csv", "report.html"}


def rows_of(path: Path) -> list[list[str]]:
    return list(csv.reader(io.StringIO(path.read_text(encoding="utf-8"))))


def test_figures_are_those_after_the_warm_up():
    """Twenty answers a second by gRPC in 20 ms, ten by REST in 40 ms; the first three seconds are slow."""
    recording = recorded(10, latency=lambda second: 5.0 if second < 3 else 0.02)
    recording.add(4.5, "grpc", 9.0, "DeadlineExceeded")
    described = result(recording, 10, warm_up=3).to_json()
    assert described["seconds"] == 7
    total, grpc, rest = described["all"], described["transports"]["grpc"], described["transports"]["rest"]
    assert (total["requests"], total["answered"], total["errors"]) == (211, 210, {"DeadlineExceeded": 1})
    assert total["error_ratio"] == pytest.approx(1 / 211)
    assert total["requests_per_second"] == pytest.approx(30)
    assert (grpc["requests"], rest["requests"]) == (141, 70)
    assert grpc["latency_ms"] == pytest.approx(dict.fromkeys(grpc["latency_ms"], 20), rel=0.01)
    assert list(grpc["latency_ms"]) == ["mean", "p50", "p90", "p99", "p99.9", "max"]
    assert total["latency_ms"]["max"] == pytest.approx(40)


def test_a_warm_up_that_ends_within_a_second_takes_all_of_it():
    """Requests are known by their second: half of one cannot be counted, and does not lower the rate."""
    figures = result(recorded(10), 10, warm_up=2.5).figures
    assert figures.tally.requests == 7 * 30
    assert figures.requests_per_second == pytest.approx(30)


def test_a_run_without_a_request():
    described = result(Recording(), 2, slo="p99<1s,errors<1%").to_json()
    assert described["all"]["requests"] == 0
    assert described["all"]["error_ratio"] is None
    assert set(described["all"]["latency_ms"].values()) == {None}
    assert [one["kept"] for one in described["slo"]] == [False, False]
    assert described["kept"] is False


@pytest.mark.parametrize(
    ("slo", "failures", "kept", "ok"),
    [
        ("", 0, None, True),
        ("", 1, None, False),
        ("errors<5%,p50<25ms,rps>29", 1, True, True),
        ("errors<0.1%,p50<25ms", 1, False, False),
        ("grpc.p99<30ms,rest.p99<50ms,max<=41ms", 0, True, True),
        ("rest.p99<30ms", 0, False, False),
    ],
)
def test_objectives_decide(slo: str, failures: int, kept: bool | None, ok: bool):
    recording = recorded(4)
    for _ in range(failures):
        recording.add(1.0, "grpc", 0.1, "Overloaded")
    found = result(recording, 4, slo=slo)
    assert (found.kept, found.ok, found.to_json()["kept"]) == (kept, ok, kept)


def test_an_objective_for_a_transport_that_was_not_asked_is_missed():
    recording = Recording()
    recording.add(0.5, "grpc", 0.01)
    [objective] = result(recording, 1, slo="rest.p99<10s").to_json()["slo"]
    assert (objective["measured"], objective["kept"]) == (None, False)
    assert objective["told"] == "nothing was measured"


def test_each_second_has_a_row():
    recording = recorded(3)
    recording.add(1.2, "rest", 0.3, "Overloaded")
    recording.add(7.0, "rest", 0.3)
    # Nobody counted the users in the second that the process was busy in.
    del recording.users[1]
    rows = timeline(recording, 4, [30.0, 40.0, 50.0, None])
    assert [row["second"] for row in rows] == [0, 1, 2, 3]
    assert [row["users"] for row in rows] == [8, 8, 8, 8]
    assert [row["offered"] for row in rows] == [30, 40, 50, None]
    assert [row["requests"] for row in rows] == [30, 31, 30, 0]
    assert [row["answered"] for row in rows] == [30, 30, 30, 0]
    assert rows[1]["errors"] == {"Overloaded": 1}
    assert rows[0]["p50"] == pytest.approx(20, rel=0.01)
    assert rows[0]["p99"] == pytest.approx(40, rel=0.01)
    assert rows[3]["p99.9"] is None


def test_the_files(tmp_path: Path):
    found = result(soak(40), 40, warm_up=5, slo="p99<1ms", offered=20.0, server=SERVER)
    write(found, tmp_path / "new" / "folder")
    folder = tmp_path / "new" / "folder"
    assert {path.name for path in folder.iterdir()} == FILES
    described = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    assert described == json.loads(json.dumps(found.to_json()))
    assert described["format"] == "vitrine-load-1"
    header, *summary = rows_of(folder / "summary.csv")
    assert [row[header.index("transport")] for row in summary] == ["all", "grpc", "rest"]
    for row in summary:
        figures = described["transports"].get(row[header.index("transport")], described["all"])
        assert int(row[header.index("requests")]) == figures["requests"]
        assert float(row[header.index("p99_ms")]) == pytest.approx(figures["latency_ms"]["p99"])
    header, *seconds = rows_of(folder / "timeline.csv")
    assert len(seconds) == len(described["timeline"]) == 40
    assert {"Overloaded", "DeadlineExceeded"} & set(header)
    for kind, count in described["timeline"][18]["errors"].items():
        assert seconds[18][header.index(kind)] == str(count)


def test_what_was_not_measured_is_an_empty_cell(tmp_path: Path):
    write(result(Recording(), 1), tmp_path)
    header, row = rows_of(tmp_path / "timeline.csv")
    assert row[header.index("p99_ms")] == row[header.index("offered")] == ""


@pytest.mark.parametrize("name", ["=HYPERLINK(1)", "+1", "-1", "@SUM(1)", " =1"])
def test_no_cell_is_a_formula(tmp_path: Path, name: str):
    recording = Recording()
    recording.add(0.5, "grpc", 0.1, name)
    write(result(recording, 1, settings={"model": name}), tmp_path)
    header, first, *_ = rows_of(tmp_path / "summary.csv")
    assert first[header.index("model")] == f"'{name}"
    assert rows_of(tmp_path / "timeline.csv")[0][-1] == f"'{name}"


def test_a_cell_stays_one(tmp_path: Path):
    write(result(recorded(1), 1, settings={"model": "\r=1\n\t"}), tmp_path)
    header, first, *_ = rows_of(tmp_path / "summary.csv")
    assert first[header.index("model")] == r"\r=1\n\t"


def test_passwords_are_left_out(tmp_path: Path):
    found = result(recorded(1), 1, settings={"rest": "https://somebody:secret@models.example.org"})
    write(found, tmp_path)
    for path in tmp_path.iterdir():
        assert "secret" not in path.read_text(encoding="utf-8"), path
    assert found.to_json()["settings"]["rest"] == "https://models.example.org"


def test_a_file_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """With a full disk, the last run's files stay as they were."""
    write(result(recorded(2), 2), tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(path: Path, content: bytes) -> int:
        with path.open("wb") as file:
            file.write(content[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        write(result(recorded(3), 3), tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_figures_are_kept_where_a_page_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def broken(described: object) -> str:
        raise ZeroDivisionError

    monkeypatch.setattr(writing, "page", broken)
    with pytest.raises(ZeroDivisionError):
        write(result(recorded(2), 2), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == FILES - {"report.html"}


def test_a_folder_that_is_a_file(tmp_path: Path):
    (tmp_path / "out").touch()
    with pytest.raises(OSError, match="out"):
        write(result(recorded(1), 1), tmp_path / "out")


def test_the_terminal(tmp_path: Path):
    recording = recorded(10)
    recording.add(5.0, "grpc", 0.1, "Overloaded")
    generator = GENERATOR | {"note": "give it more workers"}
    text = told(
        result(recording, 10, slo="p99<80ms,errors<0.1%,rest.rps>5", server=SERVER, generator=generator), tmp_path
    )
    lines = text.splitlines()
    header, total, grpc, rest = lines[1:5]
    assert " ".join(header.split()) == "requests errors answers/s p50 ms p90 ms p99 ms p99.9 ms max ms"
    assert " ".join(total.split()) == "all 301 0.332 % 30.0 20.0 39.8 39.8 39.8 40.0"
    assert (grpc.split()[:2], rest.split()[:2]) == (["grpc", "201"], ["rest", "100"])
    # In columns.
    assert len({len(header), len(total), len(grpc), len(rest)}) == 1
    objectives = [line.split() for line in lines if line.startswith(("  kept", "  MISSED"))]
    assert objectives == [
        ["kept", "p99<80ms", "39.82", "ms"],
        ["MISSED", "errors<0.1%", "0.332", "%"],
        ["kept", "rest.rps>5", "10.0/s"],
    ]
    assert "errors: Overloaded 1" in lines
    assert "note: give it more workers" in lines
    assert any(line.startswith("server: 1,200 requests") and "3.4 rows a batch" in line for line in lines)
    assert lines[-1] == f"report: {tmp_path / 'report.html'}"


def test_the_terminal_without_objectives_or_a_server():
    lines = told(result(recorded(2), 2, server_note="x has no metrics: start it anew"), None).splitlines()
    assert "server: x has no metrics: start it anew" in lines
    assert not any(line.startswith(("objectives", "report", "errors", "note")) for line in lines)


def test_what_a_server_says_does_not_move_the_cursor():
    text = told(result(recorded(1), 1, server_note="\x1b[2J\rall is well\n\u202e"), None)
    assert r"\x1b[2J\rall is well\n\u202e" in text
