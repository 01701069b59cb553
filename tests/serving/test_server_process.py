"""A server as a child process: the file that it is started with, and where it speaks."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import free_port

from vitrine_serving.config.monitoring import monitoring_text
from vitrine_serving.engines import Engine, ServerOptions
from vitrine_serving.errors import CommandError
from vitrine_serving.server_process import running_server


@pytest.fixture
def options(tmp_path: Path) -> ServerOptions:
    """Of a store with an empty version, which no server gets to see."""
    base_path = tmp_path / "models" / "pets"
    (base_path / "1").mkdir(parents=True)
    return ServerOptions("pets", base_path, free_port(), free_port())


@pytest.fixture
def narrow_umask() -> Iterator[None]:
    before = os.umask(0o077)
    yield
    os.umask(before)


def shell(script: str) -> Engine:
    """Runs a script instead of a server; $1 is the monitoring file."""
    return Engine("shell", "for a test", lambda options, file: ["sh", "-c", script, "sh", str(file)], signal.SIGTERM)


def test_a_log_gets_all_that_the_server_says_instead_of_the_terminal(
    options: ServerOptions, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "server.log"
    for said in ("once", "again"):
        with (
            pytest.raises(CommandError, match="exit code 7 before it answered"),
            running_server(shell(f"echo out {said}; echo err {said} >&2; exit 7"), options, log),
        ):
            pass
        assert log.read_text() == f"out {said}\nerr {said}\n"
    assert capfd.readouterr() == ("", "")


def test_any_user_can_read_the_monitoring_file_and_it_goes_with_the_server(
    options: ServerOptions, tmp_path: Path, narrow_umask: None
) -> None:
    log = tmp_path / "server.log"
    script = 'echo "$1"; ls -l "$1"; cat "$1"; exit 7'
    with pytest.raises(CommandError, match="exit code 7"), running_server(shell(script), options, log):
        pass
    path, listed, *text = log.read_text().splitlines(keepends=True)
    assert listed.startswith("-rw-r--r--")
    assert "".join(text) == monitoring_text()
    assert not Path(path.strip()).parent.exists()


def test_without_a_place_for_the_monitoring_file_there_is_no_server(
    options: ServerOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    with pytest.raises(CommandError, match=r"nowhere.*No such file.*TMPDIR"), running_server(shell("exit 7"), options):
        pass
