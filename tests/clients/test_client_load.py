"""`python -m vitrine_client.load`: locust's own process, against a real server."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import requests
from client_servers import MODEL, Server, running_server
from load_runs import LOAD, SHORT, Run, environment, load, running
from processes import DEADLINE_SECONDS, free_port, wait_until

# Importing locust would patch this process.
pytestmark = pytest.mark.skipif(find_spec("locust") is None, reason="needs locust: pip install './clients[load]'")


@pytest.fixture(scope="module")
def served(digits_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of a store whose one model is that of the digits."""
    models = tmp_path_factory.mktemp("models")
    shutil.copytree(digits_store / "digits", models / MODEL)
    with running_server(models / MODEL, tmp_path_factory.mktemp("log")) as server:
        yield server


@pytest.fixture
def asked(served: Server) -> list[str]:
    return [
        *("--grpc", served.grpc),
        *("--rest", served.rest),
        *("--model", MODEL),
        *("--models", str(served.versions.parent)),
    ]


def failures(run: Run) -> set[tuple[str, str]]:
    """Transports and errors in the report at a run's end; locust's CSV files may lack those of the last second."""
    return set(re.findall(r"^[1-9]\d* +(gRPC|REST) classify: (.*?) *$", run.said, re.M))


def test_both_transports_are_asked_and_answer_rightly(tmp_path: Path, asked: list[str]):
    run = load(tmp_path, *SHORT, *asked)
    assert run.code == 0, run.said
    assert set(run.requests) == {"gRPC", "REST"}
    assert min(run.requests.values()) > 10
    assert run.failures == {"gRPC": 0, "REST": 0}


def test_the_environment_says_what_options_say(tmp_path: Path, served: Server):
    pictures = served.versions / "1" / "assets.extra" / "golden"
    run = load(
        tmp_path,
        *SHORT,
        VITRINE_GRPC=served.grpc,
        VITRINE_TRANSPORT="grpc",
        VITRINE_PICTURES=str(pictures),
        VITRINE_MODEL_VERSION="1",
        VITRINE_REQUEST_TIMEOUT="20",
        MODEL=MODEL,
    )
    assert run.code == 0, run.said
    assert list(run.requests) == ["gRPC"]
    assert run.failures == {"gRPC": 0}


def falsified(version: Path, folder: Path) -> Path:
    """The golden pictures of a version, with answers that it never gives."""
    extra = shutil.copytree(version / "assets.extra", folder / "version" / "assets.extra")
    manifest = extra / "manifest.json"
    described: dict[str, Any] = json.loads(manifest.read_text())
    for entry in described["golden"]:
        worst = min(range(len(described["labels"])), key=entry["probabilities"].__getitem__)
        entry["probabilities"] = [float(place == worst) for place in range(len(described["labels"]))]
    manifest.write_text(json.dumps(described))
    return extra / "golden"


def test_a_wrong_label_is_a_failure(tmp_path: Path, served: Server, asked: list[str]):
    golden = falsified(served.versions / "1", tmp_path)
    run = load(tmp_path, *SHORT, *asked, "--pictures", str(golden))
    assert run.code == 1
    assert run.failures == run.requests
    assert failures(run) == {
        ("gRPC", "WrongLabel('wrong label')"),
        ("REST", "WrongLabel('wrong label')"),
    }
    assert f"{golden}/" in run.said, "the log names a picture"


def test_pictures_of_ones_own_have_no_known_answers(tmp_path: Path, asked: list[str], picture: bytes):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "any.png").write_bytes(picture)
    run = load(tmp_path, *SHORT, *asked, "--pictures", str(tmp_path / "photos"))
    assert (run.code, run.failures) == (0, {"gRPC": 0, "REST": 0}), run.said


def test_a_server_that_is_away_is_counted(tmp_path: Path, asked: list[str], closed_port: int):
    nobody = f"127.0.0.1:{closed_port}"
    run = load(tmp_path, *SHORT, *asked, "--grpc", nobody, "--rest", nobody)
    assert run.code == 1
    assert set(run.failures) == {"gRPC", "REST"}
    assert run.failures == run.requests
    unavailable = "Unavailable('cannot be reached or cannot answer now')"
    assert failures(run) == {("gRPC", unavailable), ("REST", unavailable)}
    assert "Traceback" not in run.said


def test_a_model_that_is_not_there_is_counted_by_its_kind(tmp_path: Path, served: Server, asked: list[str]):
    pictures = str(served.versions / "1" / "assets.extra" / "golden")
    other = ("--model", "other", "--pictures", pictures)
    # Long enough for a first request of both on a busy machine.
    run = load(tmp_path, *SHORT, *asked, *other, "-t", "6s")
    assert run.code == 1
    missing = "ModelNotFound('no such model or version')"
    assert failures(run) == {("gRPC", missing), ("REST", missing)}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--models", "{empty}"], "no pictures: the folder '{empty}/digits' holds no version of 'digits'"),
        (["--pictures", "{empty}"], "the folder '{empty}' holds no picture"),
        (["--pictures", "{empty}/gone"], "no pictures: there is no folder '{empty}/gone'"),
        (["--grpc", "http://localhost"], "give host:port"),
        (["--model-version", "two"], "--model-version: 'two' is not a whole number from 0"),
        (["--request-timeout", "0"], "give seconds above 0"),
    ],
)
def test_what_cannot_run_is_refused_before_it_starts(tmp_path: Path, options: list[str], told: str):
    empty = tmp_path / "empty"
    empty.mkdir()
    run = load(tmp_path, *SHORT, *(option.format(empty=empty) for option in options))
    assert run.code == 2
    assert told.format(empty=empty) in run.said
    assert "Traceback" not in run.said
    assert not run.requests


def test_help_shows_our_options_with_examples(tmp_path: Path):
    done = subprocess.run([*LOAD, "--help"], cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True)
    assert done.returncode == 0
    said = " ".join(done.stdout.split())
    for option in ("grpc", "rest", "model", "model-version", "pictures", "models", "transport", "request-timeout"):
        assert f"--{option} " in said
    assert "python -m vitrine_client.load --headless -u 16 -t 1m" in said


def test_the_client_alone_imports_neither_locust_nor_gevent():
    code = (
        "import sys, vitrine_client, vitrine_client.cli, vitrine_client.rest\n"
        "assert not {'locust', 'gevent'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=DEADLINE_SECONDS)


def page(port: int, path: str) -> requests.Response | None:
    with contextlib.suppress(requests.ConnectionError):
        return requests.get(f"http://localhost:{port}{path}", timeout=DEADLINE_SECONDS)
    return None


def counted(port: int) -> dict[str, tuple[int, int]]:
    """Requests and failures so far, by transport, as the web page shows them."""
    answer = page(port, "/stats/requests")
    assert answer is not None
    return {
        entry["method"]: (entry["num_requests"], entry["num_failures"])
        for entry in answer.json()["stats"]
        if entry["method"]
    }


def test_the_web_page_starts_runs_and_sigterm_ends_them(tmp_path: Path, served: Server, asked: list[str]):
    port = free_port()
    with running(tmp_path, *asked, "--grpc", "localhost:1", "--web-port", str(port)) as process:
        shown = wait_until(lambda: page(port, "/"), "the web page").text
        for option in ("grpc", "rest", "model", "model_version", "request_timeout"):
            assert f'"{option}": {{"choices"' in shown
        assert '"pictures": {' not in shown
        form = {"user_count": "2", "spawn_rate": "2", "grpc": served.grpc, "model_version": "1"}
        started = requests.post(f"http://localhost:{port}/swarm", data=form, timeout=DEADLINE_SECONDS)
        assert started.json()["success"], started.text
        wait_until(lambda: len(counted(port)) == 2 and min(counted(port).values()) > (10, 0), "answers to both users")
        assert {failed for _, failed in counted(port).values()} == {0}
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE_SECONDS) == 0
    assert "Response time percentiles" in (tmp_path / "said").read_text()


def test_an_interrupt_ends_a_run_with_its_statistics(tmp_path: Path, asked: list[str]):
    with running(tmp_path, *asked, "--headless", "--users", "2", "--spawn-rate", "2") as process:
        said = tmp_path / "said"
        # Statistics are printed every two seconds.
        wait_until(lambda: "Aggregated" in said.read_text(), "statistics of a run under way")
        process.send_signal(signal.SIGINT)
        assert process.wait(DEADLINE_SECONDS) == 0
    assert "Response time percentiles" in said.read_text()


def test_a_worker_takes_the_options_from_its_master(tmp_path: Path, asked: list[str]):
    port = str(free_port())
    (tmp_path / "worker").mkdir()
    with running(tmp_path / "worker", "--worker", "--master-host", "localhost", "--master-port", port) as worker:
        run = load(tmp_path, *SHORT, *asked, "--master", "--master-bind-port", port)
        assert worker.wait(DEADLINE_SECONDS) == 0
    assert run.code == 0, run.said
    assert min(run.requests["gRPC"], run.requests["REST"]) > 10
    assert run.failures == {"gRPC": 0, "REST": 0}


def test_a_worker_without_pictures_tells_its_master(tmp_path: Path, asked: list[str]):
    port = str(free_port())
    (tmp_path / "worker").mkdir()
    nowhere = str(tmp_path / "nowhere")
    with running(tmp_path / "worker", "--worker", "--master-host", "localhost", "--master-port", port):
        master = ("--master", "--master-bind-port", port)
        run = load(tmp_path, *SHORT, *asked, "--models", nowhere, *master)
    assert run.code == 1
    told = failures(run)
    assert {method for method, _ in told} == {"gRPC", "REST"}
    assert all(f"no pictures: the folder '{nowhere}/{MODEL}' holds no version" in error for _, error in told)
