"""A run as a process of its own: its result, or why there is none, and nothing that is left of it."""

from __future__ import annotations

import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import grpc
import pytest
from client_standins import PICTURE, GrpcStandin

from vitrine_client.load import process
from vitrine_client.load.process import NoResult, result_of

pytestmark = pytest.mark.skipif(find_spec("locust") is None, reason="needs locust: pip install './clients[load]'")


@pytest.fixture
def options(grpc_standin: GrpcStandin, tmp_path: Path) -> dict[str, str]:
    """For a run of a minute."""
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "rose.png").write_bytes(PICTURE)
    asked = {"grpc": grpc_standin.target, "transport": "grpc", "pictures": str(photos)}
    return {**asked, "users": "1", "run-time": "1m", "request-timeout": "5"}


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[bytes]]:
    """The processes that are begun."""
    made: list[subprocess.Popen[bytes]] = []

    class Noted(subprocess.Popen[bytes]):
        def __init__(self, *arguments: Any, **given: Any) -> None:
            super().__init__(*arguments, **given)
            made.append(self)

    monkeypatch.setattr(subprocess, "Popen", Noted)
    return made


def test_what_counts_are_the_options_alone(options: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name, value in (("LOCUST_RUN_TIME", "1h"), ("VITRINE_ARRIVALS", "poisson"), ("VITRINE_STAGES", "soak:1h:1")):
        monkeypatch.setenv(name, value)
    result = result_of({**options, "run-time": "1s"}, tmp_path / "out", seconds=6)
    assert not result["interrupted"]
    assert result["all"]["requests"] > 0
    assert "All users spawned" in (tmp_path / "out" / "log").read_text()


def test_wrong_usage_is_told_in_the_loads_own_words(options: dict[str, str], tmp_path: Path):
    with pytest.raises(NoResult, match="there is no folder '/nowhere'") as failed:
        result_of({**options, "pictures": "/nowhere"}, tmp_path / "out", seconds=65)
    assert failed.value.code == 2


def test_a_run_that_somebody_else_ends_has_no_result(
    grpc_standin: GrpcStandin, options: dict[str, str], tmp_path: Path, begun: list[subprocess.Popen[bytes]]
):
    def answer(path: str, request: bytes, context: grpc.ServicerContext) -> bytes:
        begun[0].terminate()
        return b""

    grpc_standin.answer = answer
    with pytest.raises(NoResult, match="the load was ended from outside") as failed:
        result_of(options, tmp_path / "out", seconds=65)
    assert failed.value.code == 1


def test_a_run_that_does_not_end_is_killed(
    options: dict[str, str], tmp_path: Path, begun: list[subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(process, "_GRACE_SECONDS", 0.1)
    with pytest.raises(NoResult, match="the load did not end within 0 s; is the server stuck"):
        result_of(options, tmp_path / "out", seconds=0.1)
    assert [one.poll() is not None for one in begun] == [True]
