"""The command as a shell sees it: exit codes, stdout, stderr."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from client_standins import RestStandin

from vitrine_client.tables import format_table

COMMAND = Path(sys.executable).with_name("vitrine-client")


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=120)


@pytest.fixture(params=["grpc", "rest"])
def asked(request: pytest.FixtureRequest, server) -> list[str]:
    """The options that lead to the server."""
    return [f"--{request.param}", getattr(server, request.param), "--model", "shapes"]


@pytest.fixture
def pictures(tmp_path: Path, encode) -> list[Path]:
    paths = [tmp_path / f"{number}.png" for number in range(2)]
    for number, path in enumerate(paths):
        path.write_bytes(encode(seed=number))
    return paths


@pytest.mark.parametrize("command", [[], ["predict"], ["status"], ["metadata"]])
def test_help_has_examples(command: list[str]):
    done = run(*command, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"vitrine-client {' '.join(command)}".strip() in done.stdout.partition("examples:")[2]


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nonsense"],
        ["predict"],
        ["predict", "a.png", "--top", "0"],
        ["status", "--version", "-1"],
        ["status", "--timeout", "0"],
        ["status", "--timeout", "soon"],
        ["status", "--grpc", "localhost:1", "--rest", "localhost:2"],
        ["status", "--rest", "ftp://localhost"],
        ["status", "--grpc", "http://localhost:8500"],
        ["status", "--model", ""],
    ],
)
def test_wrong_usage_ends_with_2(arguments: list[str]):
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert "error: " in done.stderr
    assert "Traceback" not in done.stderr


def test_predict_prints_a_line_for_each_picture(asked: list[str], pictures: list[Path]):
    done = run("predict", *pictures, *asked)
    assert (done.returncode, done.stderr) == (0, "")
    header, *lines = done.stdout.splitlines()
    assert header.split() == ["PICTURE", "LABEL", "SCORE", "MILLISECONDS"]
    assert [line.split()[0] for line in lines] == [str(path) for path in pictures]


def test_predict_shows_as_many_labels_as_asked_for(asked: list[str], pictures: list[Path]):
    done = run("predict", *pictures, *asked, "--top", 2)
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 1 + 2 * len(pictures)


def test_predict_prints_json(asked: list[str], pictures: list[Path]):
    done = run("predict", *pictures, *asked, "--json", "--top", 2)
    assert done.returncode == 0
    records = json.loads(done.stdout)
    assert [record["picture"] for record in records] == [str(path) for path in pictures]
    for record in records:
        assert record["top"][0] == {"label": record["label"], "score": record["score"]}
        assert len(record["top"]) == 2
        assert record["milliseconds"] > 0


def test_a_bad_picture_fails_alone(asked: list[str], pictures: list[Path], tmp_path: Path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    missing = tmp_path / "missing.png"
    done = run("predict", pictures[0], broken, missing, pictures[1], *asked)
    assert done.returncode == 1
    assert [line.split()[0] for line in done.stdout.splitlines()[1:]] == [str(path) for path in pictures]
    told = done.stderr.splitlines()
    assert [line.partition(": ")[0] for line in told] == [str(broken), str(missing)]
    assert "No such file" in told[1]


def test_status_and_metadata_print_tables(asked: list[str]):
    status = run("status", *asked)
    assert (status.returncode, status.stderr) == (0, "")
    assert ["2", "AVAILABLE"] in [line.split() for line in status.stdout.splitlines()]
    metadata = run("metadata", *asked)
    assert metadata.returncode == 0
    lines = [line.split(maxsplit=4) for line in metadata.stdout.splitlines()]
    assert lines[0] == ["SIGNATURE", "IN/OUT", "TENSOR", "DTYPE", "SHAPE"]
    assert ["probabilities", "out", "probabilities", "float32", "[?, 4]"] in lines


def test_status_and_metadata_print_json(asked: list[str]):
    status = json.loads(run("status", *asked, "--json").stdout)
    assert {"version": 2, "state": "AVAILABLE", "error_code": "OK", "error_message": ""} in status["versions"]
    metadata = json.loads(run("metadata", *asked, "--version", 2, "--json").stdout)
    assert (metadata["model"], metadata["version"]) == ("shapes", 2)
    assert metadata["signatures"]["serving_default"]["inputs"]["image_bytes"] == {"dtype": "string", "shape": [None]}


@pytest.mark.parametrize("command", ["status", "metadata"])
def test_an_unknown_model_ends_with_1(asked: list[str], command: str):
    done = run(command, *asked, "--model", "nope")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"vitrine-client: {command} of model 'nope'")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("transport", ["grpc", "rest"])
def test_nobody_there_is_told_once(closed_port: int, pictures: list[Path], transport: str):
    done = run("predict", *pictures, f"--{transport}", f"localhost:{closed_port}")
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 1
    assert f"localhost:{closed_port}" in done.stderr


def test_labels_cannot_drive_the_terminal(rest_standin: RestStandin, pictures: list[Path]):
    rest_standin.body = b'{"outputs": {"labels": [["ro\\u001b[2Jse"]], "scores": [[1.0]]}}'
    done = run("predict", pictures[0], "--rest", rest_standin.address)
    assert done.returncode == 0
    assert "\x1b" not in done.stdout


def test_an_interrupt_ends_quietly_with_130(rest_standin: RestStandin, pictures: list[Path]):
    rest_standin.held.clear()
    process = subprocess.Popen(
        [COMMAND, "predict", pictures[0], "--rest", rest_standin.address],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        assert rest_standin.reached.wait(60)
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=60) == (b"", b"")
        assert process.returncode == 130
    finally:
        process.kill()
        process.wait()


def test_a_reader_that_leaves_early_is_no_error_of_ours(rest_standin: RestStandin):
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [COMMAND, "status", "--rest", rest_standin.address], stdout=writing, stderr=subprocess.PIPE, timeout=60
        )
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (1, b"")


def test_tables_are_aligned():
    table = format_table(("name", "n"), [("a", 1), ("longer", 22), ("two\nlines", "")])
    assert table == "NAME       N\na          1\nlonger     22\ntwo\N{REPLACEMENT CHARACTER}lines"


def test_a_table_without_rows_is_its_header():
    assert format_table(("name", "n"), []) == "NAME  N"
