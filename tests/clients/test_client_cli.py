"""The command as a shell sees it: help, wrong usage, exit codes, status, metadata, wait."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from client_commands import COMMAND, ROSE, environment, run
from client_standins import PICTURE, RestStandin

from vitrine_client.tables import Cell, format_table

STATES = {
    "model_version_status": [
        {"version": "3", "state": "LOADING", "status": {"error_code": "OK", "error_message": ""}},
        {"version": "2", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}},
        {"version": "1", "state": "END", "status": {"error_code": "NOT_FOUND", "error_message": "no \u001b[2J folder"}},
    ]
}


@pytest.mark.parametrize("command", [[], ["predict"], ["status"], ["metadata"], ["wait"], ["bench"]])
def test_help_has_examples(command: list[str]):
    done = run(*command, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"vitrine-client {' '.join(command)}".strip() in done.stdout.partition("examples:")[2]


def test_it_runs_as_a_module_too():
    done = subprocess.run(
        [sys.executable, "-m", "vitrine_client.cli", "status", "--help"], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == run("status", "--help").stdout


def test_the_library_does_without_the_command():
    code = "import sys, vitrine_client; print([name for name in sys.modules if name.startswith('vitrine_client.cli')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("[]\n", "")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "COMMAND"),
        (["nonsense"], "nonsense"),
        (["predict"], "PATH"),
        (["predict", "a.png", "--top", "0"], "'0' is not a whole number from 1"),
        (["predict", "a.png", "--batch-size", "many"], "--batch-size"),
        (["predict", "a.png", "--in-flight", "0"], "--in-flight"),
        (["predict", "a.png", "--max-side", "-3"], "--max-side"),
        (["predict", "a.png", "--check", "some"], "--check"),
        (["predict", "a.png", "--json", "--csv"], "not allowed with"),
        (["predict", "http://user:secret@host/a.png"], "http://host/a.png: URLs are fetched with --allow-urls only"),
        (["status", "--version", "-1"], "--version"),
        (["status", "--version", "1", "--label", "stable"], "not allowed with"),
        (["status", "--timeout", "0"], "--timeout"),
        (["status", "--timeout", "soon"], "--timeout"),
        (["status", "--timeout", "1e300"], "--timeout"),
        (["status", "--retries", "5"], "'5' is not a whole number from 0 to 4"),
        (["status", "--grpc", "localhost:1", "--rest", "localhost:2"], "not allowed with"),
        (["status", "--rest", "ftp://localhost"], "ftp://localhost"),
        (["status", "--grpc", "http://localhost:8500"], "http://localhost:8500"),
        (["status", "--grpc", "localhost:1,"], "host:port"),
        (["status", "--model", ""], "model=''"),
        (["status", "--all", "--label", "stable"], "--all"),
        (["status", "--header", "nonsense"], "NAME:VALUE"),
        (["status", "--header", "host: elsewhere"], "'host'"),
        (["status", "--token-file", "/nowhere/token"], "'/nowhere/token': No such file"),
        (["status", "--tls-ca", "/nowhere/ca.pem"], "/nowhere/ca.pem"),
        (["status", "--tls-cert", __file__], "belong together"),
        (["status", "--tls", "--rest", "http://localhost"], "https://"),
        (["wait", "--for", "-1"], "--for"),
        (["bench", "a.png", "--concurrency", "0"], "--concurrency"),
        (["bench", "a.png", "--warm-up", "-1"], "--warm-up"),
    ],
)
def test_wrong_usage_ends_with_2_and_says_what_is_wrong(arguments: list[str], said: str):
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    told = done.stderr.splitlines()[-1]
    assert "error: " in told
    assert said in told
    assert "Traceback" not in done.stderr
    assert "secret" not in done.stderr


def test_status_and_metadata_print_tables(asked: list[str]):
    status = run("status", *asked)
    assert (status.returncode, status.stderr) == (0, "")
    assert ["2", "AVAILABLE"] in [line.split() for line in status.stdout.splitlines()]
    metadata = run("metadata", *asked)
    assert metadata.returncode == 0
    assert metadata.stderr == "model shapes, version 2\n"
    lines = [line.split(maxsplit=4) for line in metadata.stdout.splitlines()]
    assert lines[0] == ["SIGNATURE", "IN/OUT", "TENSOR", "DTYPE", "SHAPE"]
    assert ["probabilities", "out", "probabilities", "float32", "[?, 4]"] in lines


def test_status_and_metadata_print_json(asked: list[str]):
    status = json.loads(run("status", *asked, "--json").stdout)
    assert {"version": 2, "state": "AVAILABLE", "error_code": "OK", "error_message": ""} in status["versions"]
    metadata = json.loads(run("metadata", *asked, "--version", 2, "--json").stdout)
    assert (metadata["model"], metadata["version"]) == ("shapes", 2)
    assert metadata["signatures"]["serving_default"]["inputs"]["image_bytes"] == {"dtype": "string", "shape": [None]}


def test_status_shows_all_models_of_a_server(rest_standin: RestStandin):
    rest_standin.bodies = {
        "/v1/models": b'{"models": [{"name": "tulips"}, {"name": "roses"}]}',
        "/v1/models/roses": json.dumps(STATES).encode(),
        "/v1/models/tulips": b"{}",
    }
    table = run("status", "--all", "--rest", rest_standin.address)
    assert (table.returncode, table.stderr) == (0, "")
    assert [line.split() for line in table.stdout.splitlines()] == [
        ["MODEL", "VERSION", "STATE", "ERROR"],
        ["roses", "3", "LOADING"],
        ["roses", "2", "AVAILABLE"],
        ["roses", "1", "END", "NOT_FOUND:", "no", "\N{REPLACEMENT CHARACTER}[2J", "folder"],
        ["tulips"],
    ]
    read = json.loads(run("status", "--all", "--rest", rest_standin.address, "--json").stdout)
    assert [(model["model"], len(model["versions"])) for model in read] == [("roses", 3), ("tulips", 0)]


def test_a_server_without_a_list_of_models_says_so(asked: list[str]):
    done = run("status", "--all", *asked)
    assert (done.returncode, done.stdout) == (1, "")
    assert "no list of its models" in done.stderr


def test_wait_prints_the_version_that_answers(asked: list[str]):
    assert run("wait", *asked).stdout == "2\n"
    read = run("wait", *asked, "--for", 30, "--version", 2, "--json")
    assert (read.returncode, json.loads(read.stdout)) == (0, {"version": 2})


def test_wait_ends_with_1_and_the_last_seen_state(asked: list[str], rest_standin: RestStandin):
    done = run("wait", *asked, "--version", 7, "--for", 0.3)
    assert (done.returncode, done.stdout) == (1, "")
    assert "last seen: " in done.stderr
    rest_standin.body = json.dumps({"model_version_status": STATES["model_version_status"][:1]}).encode()
    # A busy machine needs time for the first look.
    loading = run("wait", "--rest", rest_standin.address, "--for", 3)
    assert loading.returncode == 1
    assert "last seen: version 3 LOADING" in loading.stderr


@pytest.mark.parametrize("command", ["status", "metadata"])
def test_an_unknown_model_ends_with_1(asked: list[str], command: str):
    done = run(command, *asked, "--model", "nope")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"vitrine-client: {command} of model 'nope'")
    assert len(done.stderr.splitlines()) == 1


def test_a_reader_that_leaves_early_is_no_error_of_ours(rest_standin: RestStandin, tmp_path):
    picture = tmp_path / "rose.png"
    picture.write_bytes(PICTURE)
    rest_standin.bodies = {":predict": ROSE}
    for command in (["status"], ["predict", picture], ["predict", picture, "--json"], ["predict", picture, "--csv"]):
        reading, writing = os.pipe()
        os.close(reading)
        try:
            done = subprocess.run(
                [COMMAND, *command, "--rest", rest_standin.address],
                stdout=writing,
                stderr=subprocess.PIPE,
                env=environment(),
                timeout=60,
            )
        finally:
            os.close(writing)
        assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.parametrize(("closed", "code", "told"), [("1", 1, b"stdout is closed"), ("2", 0, b"")])
def test_a_closed_stream_is_no_reason_for_a_traceback(rest_standin: RestStandin, closed: str, code: int, told: bytes):
    command = ["sh", "-c", f'exec "$0" "$@" {closed}>&-', COMMAND, "status", "--rest", rest_standin.address]
    done = subprocess.run(command, capture_output=True, env=environment(), timeout=60)
    assert done.returncode == code
    assert told in done.stderr
    assert b"Traceback" not in done.stderr
    assert done.stdout == (b"VERSION  STATE  ERROR\n" if code == 0 else b"")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")  # noqa: PTH110
def test_a_full_disk_is_told(rest_standin: RestStandin):
    with open("/dev/full", "wb") as full:  # noqa: PTH123
        done = subprocess.run(
            [COMMAND, "status", "--rest", rest_standin.address], stdout=full, stderr=subprocess.PIPE, timeout=60
        )
    assert (done.returncode, done.stderr) == (1, b"vitrine-client: cannot write the results: No space left on device\n")


def test_tables_are_aligned():
    table = format_table(("name", "n"), [("a", 1), ("longer", 22), ("two\nlines", ""), ("薔薇", Cell(3, "red"))])
    assert table == ("NAME       N\na          1\nlonger     22\ntwo\N{REPLACEMENT CHARACTER}lines\n薔薇       3")


def test_a_table_without_rows_is_its_header():
    assert format_table(("name", "n"), []) == "NAME  N"


def test_colours_leave_the_alignment_as_it_is():
    rows = [(Cell("a", "green"), 1), (Cell("", "red"), 22)]
    assert format_table(("name", "n"), rows, coloured=True) == (
        "\x1b[1mNAME\x1b[0m  \x1b[1mN\x1b[0m\n\x1b[32ma\x1b[0m     1\n      22"
    )
