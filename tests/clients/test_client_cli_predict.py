"""`vitrine-client predict`: formats, order, failures, interrupts."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from client_commands import run, started
from client_standins import PICTURE, RestStandin

NO_MODEL = b'{"error": "Servable not found for request: Latest(digits)"}'


@pytest.fixture
def pictures(tmp_path: Path, encode) -> list[Path]:
    paths = [tmp_path / f"{number}.png" for number in range(2)]
    for number, path in enumerate(paths):
        path.write_bytes(encode(seed=number))
    return paths


@pytest.fixture
def slow() -> Iterator[RestStandin]:
    """Where a picture is that comes once it is let go."""
    with RestStandin() as web:
        web.body = PICTURE
        web.held.clear()
        yield web


@pytest.fixture
def three(tmp_path: Path, slow: RestStandin) -> list[str]:
    """Three pictures, of which the last is slow to come, and the option that it takes."""
    paths = [tmp_path / name for name in ("a.png", "b.png")]
    for path in paths:
        path.write_bytes(PICTURE)
    return [*map(str, paths), f"http://{slow.address}/c.png"]


def test_a_table_has_a_line_for_each_picture(asked: list[str], pictures: list[Path]):
    done = run("predict", *pictures, *asked)
    assert done.returncode == 0
    assert done.stderr.startswith("2 pictures in ")
    header, *lines = done.stdout.splitlines()
    assert header.split() == ["PICTURE", "SCORE", "LABEL"]
    assert [line.split()[0] for line in lines] == [str(path) for path in pictures]


def test_a_table_shows_as_many_labels_as_asked_for(roses: RestStandin, pictures: list[Path]):
    done = run("predict", pictures[0], "--rest", roses.address, "--top", 2, "--quiet")
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split() for line in done.stdout.splitlines()[1:]] == [
        [str(pictures[0]), "0.7500", "rose"],
        ["0.1250", "tulip"],
    ]


def test_json_has_all_that_the_model_says(asked: list[str], pictures: list[Path]):
    records = json.loads(run("predict", *pictures, *asked, "--json").stdout)
    assert [record["picture"] for record in records] == [str(path) for path in pictures]
    for record in records:
        assert record["top"][0] == {"label": record["label"], "score": record["score"]}
        assert len(record["top"]) == 3
    [record] = json.loads(run("predict", pictures[0], *asked, "--json", "--top", 1).stdout)
    assert record["top"] == records[0]["top"][:1]


def test_a_score_that_is_no_number_is_null_in_json(roses: RestStandin, pictures: list[Path]):
    roses.body = b'{"outputs": {"labels": [["rose"]], "scores": [[NaN]]}}'
    [record] = json.loads(run("predict", pictures[0], "--rest", roses.address, "--json").stdout)
    assert record["score"] is None


def test_csv_has_columns_for_each_label_and_for_the_error(roses: RestStandin, tmp_path: Path):
    (tmp_path / 'a "rose", red.png').write_bytes(PICTURE)
    done = run("predict", tmp_path / "none.png", tmp_path, "--rest", roses.address, "--csv", "--top", 4)
    header, failed, row = csv.reader(io.StringIO(done.stdout))
    names = [f"{name}{place}" for place in (2, 3, 4) for name in ("label", "score")]
    assert header == ["picture", "label", "score", *names, "error"]
    assert failed[0] == str(tmp_path / "none.png")
    assert "No such file" in failed[-1]
    assert row[0] == str(tmp_path / 'a "rose", red.png')
    assert row[1:] == ["rose", "0.75", "tulip", "0.125", "daisy", "0.0625", "", "", ""]


def test_csv_keeps_file_names_byte_for_byte(roses: RestStandin, tmp_path: Path):
    path = os.fsencode(tmp_path) + b"/r\xffse.png"
    Path(os.fsdecode(path)).write_bytes(PICTURE)
    with started("predict", tmp_path, "--rest", roses.address, "--csv", "--quiet") as process:
        assert process.stdout is not None
        assert process.stdout.buffer.read() == b"picture,label,score,error\n" + path + b",rose,0.75,\n"


@pytest.mark.parametrize("batch_size", [1, 16])
def test_a_thousand_pictures_come_out_in_order(asked: list[str], server, encode, tmp_path: Path, batch_size: int):
    contents = [encode(seed=seed, size=(8, 8)) for seed in range(20)]
    for number in range(1000):
        (tmp_path / f"{number:04}.png").write_bytes(contents[number % 20])
    with server.client("grpc") as client:
        scores = [prediction.score for prediction in client.classify(contents)]
    assert len({round(score, 4) for score in scores}) > 15
    done = run("predict", tmp_path, *asked, "--csv", "--batch-size", batch_size)
    assert done.returncode == 0
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [Path(row["picture"]).name for row in rows] == [f"{number:04}.png" for number in range(1000)]
    assert [float(row["score"]) for row in rows] == pytest.approx(scores * 50, abs=1e-5)
    assert done.stderr.startswith("1000 pictures in ")


@pytest.mark.parametrize(("form", "lines"), [([], 3), (["--csv"], 3), (["--json"], 3)])
def test_each_answer_is_written_as_it_comes(
    roses: RestStandin, three: list[str], slow: RestStandin, form: list[str], lines: int
):
    with started("predict", "--allow-urls", *three, "--rest", roses.address, *form) as process:
        assert process.stdout is not None
        *_, first, second = [process.stdout.readline() for _ in range(lines)]
        assert (three[0] in first, three[1] in second) == (True, True)
        slow.held.set()
        assert three[2] in process.communicate(timeout=60)[0]
    assert process.returncode == 0


def test_a_bad_picture_fails_alone(asked: list[str], pictures: list[Path], tmp_path: Path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    missing = tmp_path / "missing.png"
    mixed = [pictures[0], broken, missing, pictures[1]]
    done = run("predict", *mixed, *asked)
    assert done.returncode == 1
    assert [line.split()[0] for line in done.stdout.splitlines()[1:]] == [str(path) for path in pictures]
    *told, summary = done.stderr.splitlines()
    assert [line.partition(": ")[0] for line in told] == [str(broken), str(missing)]
    assert told[0].startswith(f"{broken}: is no picture")
    assert "No such file" in told[1]
    assert summary.startswith("4 pictures in ")
    assert summary.endswith(", 2 failed")
    read = json.loads(run("predict", *mixed, *asked, "--json", "--batch-size", 4).stdout)
    assert [record["picture"] for record in read] == [str(path) for path in mixed]
    assert ["error" in record for record in read] == [False, True, True, False]


def test_a_path_is_named_once_and_as_it_was_given(roses: RestStandin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "empty.jpg").touch()
    monkeypatch.chdir(tmp_path)
    for path in ("empty.jpg", "./empty.jpg"):
        done = run("predict", path, "--rest", roses.address)
        assert (done.returncode, done.stderr.splitlines()[0]) == (1, f"{path}: is an empty file")


def test_pictures_are_prepared_as_asked_for(asked: list[str], encode, tmp_path: Path):
    large = tmp_path / "large.png"
    large.write_bytes(encode(size=(600, 400)))
    damaged = tmp_path / "damaged.png"
    damaged.write_bytes(large.read_bytes()[:400] + b"\0" * 20 + large.read_bytes()[420:])
    assert run("predict", large, *asked, "--max-side", 32).returncode == 0
    refused = run("predict", damaged, *asked, "--check", "full", "--json")
    assert "cannot be decoded" in json.loads(refused.stdout)[0]["error"]


@pytest.mark.parametrize("transport", ["grpc", "rest"])
def test_nobody_there_is_told_once(closed_port: int, pictures: list[Path], transport: str):
    address = [f"--{transport}", f"localhost:{closed_port}", "--retries", "0"]
    done = run("predict", *pictures, *address)
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 1
    assert f"localhost:{closed_port}" in done.stderr
    read = run("predict", *pictures, *address, "--json")
    assert (read.returncode, json.loads(read.stdout)) == (1, [])


def test_a_model_that_goes_away_stops_it_and_what_is_known_is_kept(
    roses: RestStandin, three: list[str], slow: RestStandin
):
    many = [three[0]] * 50
    with started(
        "predict", "--allow-urls", *three, *many, "--rest", roses.address, "--json", "--in-flight", 1
    ) as process:
        assert process.stdout is not None
        written = [process.stdout.readline() for _ in range(3)]
        roses.status, roses.body = 404, NO_MODEL
        slow.held.set()
        rest, told = process.communicate(timeout=60)
    assert process.returncode == 1
    assert [record["label"] for record in json.loads("".join(written) + rest)] == ["rose", "rose"]
    summary, error = told.splitlines()
    assert summary.startswith("2 of 53 pictures in ")
    assert "Servable not found" in error
    assert len([path for _, path, _ in roses.asked if path.endswith(":predict")]) < 10


@pytest.mark.parametrize("form", [[], ["--csv"], ["--json"]])
def test_an_interrupt_ends_it_at_once_and_keeps_what_is_known(roses: RestStandin, three: list[str], form: list[str]):
    with started("predict", "--allow-urls", *three, "--rest", roses.address, *form) as process:
        assert process.stdout is not None
        written = [process.stdout.readline() for _ in range(3)]
        process.send_signal(signal.SIGINT)
        rest, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert told.startswith("2 of 3 pictures in ")
    assert len(told.splitlines()) == 1
    known = "".join(written) + rest
    if form == ["--json"]:
        assert [record["picture"] for record in json.loads(known)] == three[:2]
    else:
        assert len(known.splitlines()) == 3


def test_an_interrupt_before_the_first_answer_says_nothing(roses: RestStandin, pictures: list[Path]):
    roses.held.clear()
    with started("predict", pictures[0], "--rest", roses.address) as process:
        assert roses.reached.wait(60)
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=60) == ("", "")
    assert process.returncode == 130


def test_urls_are_fetched_where_they_are_allowed(roses: RestStandin):
    with RestStandin() as web:
        web.body = PICTURE
        url = f"http://user:secret@{web.address}/rose.png?size=1"
        done = run("predict", url, "--allow-urls", "--rest", roses.address)
    assert done.returncode == 0
    assert done.stdout.splitlines()[1].split() == [f"http://{web.address}/rose.png?...", "0.7500", "rose"]
    assert "secret" not in done.stdout + done.stderr
