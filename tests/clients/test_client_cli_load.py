"""`vitrine-client load` and `load capacity`: as a shell sees them, with servers whose capacity is known."""

from __future__ import annotations

import argparse
import csv
import json
import signal
import threading
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import grpc
import pytest
from client_commands import run, started
from client_standins import PICTURE, GrpcStandin
from processes import DEADLINE_SECONDS, wait_until

from vitrine_client.load.capacity.arguments import parse as parse_options
from vitrine_client.load.capacity.generator import explains
from vitrine_client.load.capacity.probe import Gone, Probe
from vitrine_client.load.settings import Settings
from vitrine_client.load.slo import parse
from vitrine_client.wire import predict_pb2, tensor_pb2

pytestmark = pytest.mark.skipif(find_spec("locust") is None, reason="needs locust: pip install './clients[load]'")

CAPACITY = ("load", "capacity")
SLO = ("--slo", "p90<1s")


def rose(path: str, request: bytes, context: grpc.ServicerContext) -> bytes:
    """What a model that takes everything for a rose answers by gRPC."""
    labels = tensor_pb2.TensorProto(dtype=tensor_pb2.DT_STRING, string_val=[b"rose"])
    scores = tensor_pb2.TensorProto(dtype=tensor_pb2.DT_FLOAT, float_val=[0.75])
    for tensor in (labels, scores):
        tensor.tensor_shape.dim.extend([tensor_pb2.TensorShapeProto.Dim(size=1)] * 2)
    return predict_pb2.PredictResponse(outputs={"labels": labels, "scores": scores}).SerializeToString()


def queue(seconds: float) -> Callable[[str, bytes, grpc.ServicerContext], bytes]:
    """A server that answers one request after the other and needs so long for each: its capacity is `1 / seconds`."""
    turn = threading.Lock()

    def answer(path: str, request: bytes, context: grpc.ServicerContext) -> bytes:
        with turn:
            time.sleep(seconds)
        return rose(path, request, context)

    return answer


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "rose.png").write_bytes(PICTURE)
    return folder


@pytest.fixture
def asked(grpc_standin: GrpcStandin, photos: Path) -> list[str]:
    return ["--grpc", grpc_standin.target, "--transport", "grpc", "--pictures", str(photos)]


def test_load_is_the_load_command_itself(grpc_standin: GrpcStandin, asked: list[str]):
    grpc_standin.answer = rose
    short = ("--headless", "--users", "1", "--run-time", "1s", "--only-summary")
    done = run("load", *short, *asked)
    assert done.returncode == 0, done.stderr
    assert "Response time percentiles" in done.stdout + done.stderr


def test_load_says_what_it_refuses(photos: Path):
    done = run("load", "--headless", "--pictures", photos, "--grpc", "http://localhost")
    assert done.returncode == 2
    assert "give host:port" in done.stderr
    assert "Traceback" not in done.stderr


def test_signals_reach_the_load_command(grpc_standin: GrpcStandin, asked: list[str], tmp_path: Path):
    grpc_standin.answer = rose
    out = tmp_path / "out"
    with started("load", "--headless", "--users", "1", "--run-time", "5m", "--out", out, *asked) as process:
        assert process.stderr is not None
        assert any("All users spawned" in line for line in process.stderr), "no run has begun"
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=DEADLINE_SECONDS)
    assert process.returncode in (0, 1), "not killed by the signal"
    assert json.loads((out / "result.json").read_text())["interrupted"]


def test_help_of_load_is_its_own_and_listed():
    done = run("load", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "python -m vitrine_client.load --headless" in done.stdout.partition("examples:")[2]
    assert "\n    load " in run("--help").stdout
    capacity = run(*CAPACITY, "--help")
    assert (capacity.returncode, capacity.stderr) == (0, "")
    assert "vitrine-client load capacity --slo" in capacity.stdout.partition("examples:")[2]


@pytest.mark.parametrize("command", [["load"], CAPACITY])
def test_without_locust_it_says_how_to_install_it(tmp_path: Path, command: list[str]):
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['locust'] = None\n")
    done = run(*command, *SLO, PYTHONPATH=str(tmp_path))
    assert (done.returncode, done.stdout) == (2, "")
    [line] = done.stderr.splitlines()
    assert "locust is not installed: pip install 'vitrine-client[load]'" in line


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "--slo"),
        (["--slo", "rps>50"], "'rps>50': the rate is what is looked for"),
        (["--slo", "p99>80ms"], "'p99>80ms' is kept by a slow server too"),
        (["--slo", "p99<80"], "a latency needs us, ms or s"),
        (["--slo", "rest.p99<80ms"], "'rest.p99<80ms' is about a transport that --transport grpc leaves out"),
        ([*SLO, "--start", "0"], "'0' is not a number of requests per second"),
        ([*SLO, "--start", "20", "--most", "10"], "--start: 20 is above --most 10"),
        ([*SLO, "--precision", "0.1%"], "'0.1%' is not a ratio from 1% to 100%"),
        ([*SLO, "--repeats", "0"], "'0' is not a whole number from 1"),
        ([*SLO, "--seconds", "5", "--warm-up", "5s"], "leaves nothing of a run of 5 s"),
        ([*SLO, "--arrivals", "closed"], "invalid choice: 'closed'"),
        ([*SLO, "--request-timeout", "0"], "give seconds above 0"),
        ([*SLO, "--pictures", "/nowhere"], "there is no folder '/nowhere'"),
        ([*SLO, "--out", "/dev/null/out"], "--out: cannot make the folder '/dev/null/out': Not a directory"),
    ],
)
def test_wrong_usage_ends_with_2_and_says_what_is_wrong(
    photos: Path, options: list[str], said: str, capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(SystemExit) as ended:
        parse_options(["--transport", "grpc", "--pictures", str(photos), *options])
    assert ended.value.code == 2
    assert said in capsys.readouterr().err.splitlines()[-1]


def test_variables_are_checked_like_options_and_come_before_them(
    photos: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("VITRINE_PICTURES", str(photos))
    monkeypatch.setenv("MODEL", "roses")
    monkeypatch.setenv("VITRINE_TRANSPORT", "")
    assert parse_options([*SLO]).settings.model == "roses"
    assert parse_options([*SLO, "--model", "tulips"]).settings.model == "tulips"
    assert parse_options([*SLO]).settings.transport == "both"
    monkeypatch.setenv("VITRINE_TRANSPORT", "pigeon")
    with pytest.raises(SystemExit):
        parse_options([*SLO])
    assert "argument --transport: invalid choice: 'pigeon'" in capsys.readouterr().err


def test_wrong_usage_is_told_by_the_command(asked: list[str]):
    done = run(*CAPACITY, *asked, "--slo", "rps>50")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[-1].startswith("vitrine-client load capacity: error: --slo: 'rps>50'")
    assert "Traceback" not in done.stderr


def test_a_server_that_is_away_ends_it_at_once(asked: list[str], closed_port: int, tmp_path: Path):
    out = tmp_path / "out"
    done = run(*CAPACITY, *SLO, *asked, "--grpc", f"localhost:{closed_port}", "--out", out)
    assert (done.returncode, done.stdout) == (1, "")
    told = done.stderr.splitlines()[0]
    assert told.startswith("vitrine-client load capacity: the server does not answer: ")
    assert f"localhost:{closed_port}" in told
    result = json.loads((out / "capacity.json").read_text())
    assert (result["ending"], result["kept"], result["trials"]) == ("unfinished", None, [])
    assert result["stopped"].startswith("the server does not answer")


def test_the_capacity_of_a_queue_is_found(grpc_standin: GrpcStandin, asked: list[str], tmp_path: Path):
    # 20 requests a second: at 16 none waits for long, at 32 four seconds leave a queue of more than two.
    grpc_standin.answer = queue(0.05)
    out = tmp_path / "out"
    trials = ("--arrivals", "constant", "--seconds", "4", "--warm-up", "0", "--start", "8")
    search = ("--precision", "100%", "--repeats", "1", "--model", "<b>roses", "--json", "--out", out)
    done = run(*CAPACITY, *SLO, *asked, *trials, *search)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["ending"] == "found", done.stderr
    assert 8 <= result["kept"]["requests_per_second"] <= 20
    assert 16 <= result["missed"]["requests_per_second"] <= 32
    assert result["generator_limit"] is None
    assert f"{result['kept']['requests_per_second']:g} requests/s keep p90<1s" in result["told"][0]
    lines = [line for line in done.stderr.splitlines() if line.startswith("trial ")]
    assert len(lines) == len(result["trials"])
    assert lines[0].startswith("trial 1: 8 requests/s: p99 ")
    assert lines[0].endswith(": kept; next 16/s, doubled")

    assert json.loads((out / "capacity.json").read_text()) == result
    with (out / "capacity.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(float(row["requests_per_second"]), row["verdict"]) for row in rows] == [
        (trial["rate"], trial["verdict"]) for trial in result["trials"]
    ]
    page = (out / "capacity.html").read_text()
    assert "&lt;b&gt;roses" in page
    assert "<b>roses" not in page
    assert page.count('class="point kept"') == 2 * sum(trial["verdict"] == "kept" for trial in result["trials"])
    assert len(list(out.glob("trials/*/report.html"))) == len(rows)


def test_an_interrupt_ends_the_trial_and_tells_what_is_known(
    grpc_standin: GrpcStandin, asked: list[str], tmp_path: Path
):
    grpc_standin.answer = rose
    out = tmp_path / "out"
    trials = ("--seconds", "2", "--warm-up", "0", "--slo", "p50<5s")
    with started(*CAPACITY, *asked, *trials, "--start", "20", "--out", out) as process:
        second = out / "trials" / "02-40" / "log"
        wait_until(lambda: second.exists() and "All users spawned" in second.read_text(), "the second trial")
        process.send_signal(signal.SIGINT)
        said, talk = process.communicate(timeout=DEADLINE_SECONDS)
    assert process.returncode == 130, talk
    assert said == "not finished; so far of p50<5s: 20/s kept in 1 of 1 trial\n"
    result = json.loads((out / "capacity.json").read_text())
    assert (result["stopped"], [trial["rate"] for trial in result["trials"]]) == ("interrupted", [20.0])
    assert (second.parent / "result.json").exists(), "the trial's own result is written"
    assert "interrupted" in (out / "capacity.html").read_text()


def settings_of(target: str, photos: Path) -> Settings:
    given: dict[str, Any] = {"grpc": target, "rest": "localhost:1", "model": "roses", "model_version": ""}
    given |= {"pictures": str(photos), "sizes": "", "models": "", "transport": "grpc", "request_timeout": 30.0}
    return Settings.of(argparse.Namespace(**given))


def test_the_next_trial_waits_until_the_last_ones_backlog_is_gone(grpc_standin: GrpcStandin, photos: Path):
    grpc_standin.answer = rose
    probe = Probe(settings_of(grpc_standin.target, photos))
    # Refuses, is slow, and has recovered.
    seconds = [None, None, 0.5, 0.5, 0.0]

    def recovering(path: str, request: bytes, context: grpc.ServicerContext) -> bytes:
        pause = seconds.pop(0) if seconds else 0.0
        if pause is None:
            context.abort(grpc.StatusCode.UNAVAILABLE, "too much")
        time.sleep(pause)
        return rose(path, request, context)

    grpc_standin.answer = recovering
    probe.wait_until_idle()
    assert seconds == []


def test_a_server_that_answers_with_errors_is_no_server_to_measure(grpc_standin: GrpcStandin, photos: Path):
    grpc_standin.abort(grpc.StatusCode.NOT_FOUND, "no such model")
    with pytest.raises(Gone, match="no such model"):
        Probe(settings_of(grpc_standin.target, photos))


@pytest.mark.parametrize(
    ("slo", "measured", "late_ms", "explained"),
    [
        ("p99<80ms", [0.095], 10.0, True),
        ("p99<80ms", [0.105], 10.0, False),
        ("p99.9<80ms", [0.500], 10.0, True),
        ("errors<1%", [0.02], 10.0, False),
        ("errors<1%", [0.02], 40_000.0, True),
        ("p99<80ms,errors<1%", [0.095, 0.02], 10.0, False),
        ("p99<80ms", [None], 10.0, True),
        ("p99<80ms", [0.095], None, True),
    ],
)
def test_a_delay_of_the_generator_explains_no_more_than_it_can(
    slo: str, measured: list[float | None], late_ms: float | None, explained: bool
):
    results = [{"kept": False, "measured": value} for value in measured]
    assert explains({"note": "late", "late_ms_p99": late_ms}, parse(slo), results, timeout=30.0) is explained
    assert not explains({"note": "", "late_ms_p99": late_ms}, parse(slo), results, timeout=30.0)
