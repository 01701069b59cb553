"""What the command says of failures: options where the library says arguments, the server's words, no passwords."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from client_commands import ROSE, run
from client_standins import PICTURE, RestStandin

# Time enough for a busy machine to answer one request.
QUICKLY = ("--seconds", "1", "--warm-up", "0")


@pytest.fixture
def words(tmp_path: Path) -> Path:
    """A text that is named as if it were a picture."""
    file = tmp_path / "words.png"
    file.write_text("no picture")
    return file


@pytest.fixture
def rose(tmp_path: Path) -> Path:
    file = tmp_path / "rose.png"
    file.write_bytes(PICTURE)
    return file


@pytest.mark.parametrize("variables", [{}, {"VITRINE_GRPC": "http://user:secret@localhost:8501/path"}])
def test_a_url_for_grpc_is_told_where_it_belongs(variables: dict[str, str]):
    given = [] if variables else ["--grpc", "localhost:8500,http://user:secret@localhost:8501/path"]
    done = run("status", *given, **variables)
    assert (done.returncode, done.stdout) == (2, "")
    assert "http://localhost:8501/path is a URL: --grpc takes HOST:PORT, --rest takes URLs" in done.stderr
    assert "secret" not in done.stderr
    assert "RestClient" not in done.stderr


@pytest.mark.parametrize("form", [[], ["--json"], ["--csv"]])
def test_what_is_no_picture_can_be_sent_with_an_option(rest_standin: RestStandin, words: Path, form: list[str]):
    done = run("predict", words, "--rest", rest_standin.address, *form)
    assert done.returncode == 1
    for told in (done.stderr, done.stdout) if form else (done.stderr,):
        assert "--check off" in told
        assert "check=" not in told
    rest_standin.body = ROSE
    assert run("predict", words, "--rest", rest_standin.address, "--check", "off").returncode == 0


def test_a_pipe_can_be_made_a_file(rest_standin: RestStandin, tmp_path: Path):
    os.mkfifo(tmp_path / "pipe.png")
    done = run("predict", tmp_path, "--rest", rest_standin.address)
    assert done.returncode == 1
    assert f"{tmp_path / 'pipe.png'}: is no regular file: save what it gives as a file" in done.stderr


def test_bench_names_no_option_that_it_has_not(rest_standin: RestStandin, words: Path):
    done = run("bench", words, "--rest", rest_standin.address, *QUICKLY)
    assert done.returncode == 1
    assert "words.png" in done.stderr
    assert "is no picture" in done.stderr
    assert "check" not in done.stderr


def test_several_servers_with_one_certificate_are_told_the_option():
    done = run("status", "--grpc", "a.test:1,b.test:1", "--tls")
    assert done.returncode == 2
    assert "--tls-server-name" in done.stderr
    assert "TLS(" not in done.stderr


def test_a_server_s_own_words_stay_as_they_are(rest_standin: RestStandin, rose: Path):
    rest_standin.status, rest_standin.body = 400, b'{"error": "give check=\\"off\\", or None"}'
    assert 'give check="off", or None' in run("predict", rose, "--rest", rest_standin.address).stderr


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (400, b'{"error": "Malformed request: GET /v1/models"}', "Malformed request: GET /v1/models"),
        (403, b'{"error": "the list is not for you"}', "the list is not for you"),
        (503, b"<html>back at noon</html>", "back at noon"),
    ],
)
def test_all_models_that_cannot_be_listed_are_told_in_the_server_s_words(
    rest_standin: RestStandin, status: int, body: bytes, said: str
):
    rest_standin.status, rest_standin.body = status, body
    done = run("status", "--all", "--rest", rest_standin.address, "--retries", 0)
    assert (done.returncode, done.stdout) == (1, "")
    assert said in done.stderr


@pytest.mark.parametrize("prefix", ["http://", ""])
def test_no_message_shows_a_password(rest_standin: RestStandin, rose: Path, prefix: str, closed_port: int):
    there = f"{prefix}user:secret@{rest_standin.address}"
    rest_standin.body = ROSE
    bench = run("bench", rose, "--rest", there, "--json", *QUICKLY)
    assert bench.returncode == 0
    assert json.loads(bench.stdout)["addresses"] == [f"{prefix}{rest_standin.address}"]
    done = [bench]
    rest_standin.status, rest_standin.body = 400, b'{"error": "no"}'
    asked: Sequence[Sequence[object]] = (
        ("predict", rose, "--json", "--rest", there),
        ("bench", rose, "--rest", there),
        ("status", "--rest", there),
        ("status", "--retries", 0, "--rest", f"{prefix}user:secret@localhost:{closed_port}"),
        ("status", "--rest", f"{there}/?with=query"),
        ("status", "--rest", f"{prefix}user:secret@localhost:99999999"),
        ("status", "--rest", "ftp://user:secret@localhost:1"),
    )
    done += [run(*arguments) for arguments in asked]
    done.append(run("status", VITRINE_REST=f"{prefix}user:secret@localhost:99999999"))
    for one in done:
        assert "secret" not in one.stdout + one.stderr
    for one in done[1:]:
        assert one.returncode in (1, 2)
        assert "localhost:" in one.stderr
