"""Open loops, stages, objectives and results of `python -m vitrine_client.load`, as processes."""

from __future__ import annotations

import base64
import io
import json
import signal
import subprocess
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from client_standins import RestStandin
from load_runs import LOAD, environment, load, result, running
from PIL import Image
from processes import DEADLINE_SECONDS, free_port, wait_until

pytestmark = pytest.mark.skipif(find_spec("locust") is None, reason="needs locust: pip install './clients[load]'")

RATE = 20


@pytest.fixture
def asked(roses: RestStandin, tmp_path: Path) -> list[str]:
    """Options that ask a stand-in about one picture, by REST."""
    photos = tmp_path / "photos"
    photos.mkdir()
    Image.new("RGB", (64, 48), "teal").save(photos / "teal.jpg")
    return [
        *("--headless", "--only-summary", "--transport", "rest", "--rest", roses.address),
        *("--pictures", str(photos), "--warm-up", "0"),
    ]


def rows(folder: Path, name: str) -> list[Any]:
    return [row[name] for row in result(folder)["timeline"]]


def test_a_stalled_server_holds_nobody_back_and_is_not_hidden(tmp_path: Path, roses: RestStandin, asked: list[str]):
    out = tmp_path / "out"
    options = ["--arrivals", "constant", "--stages", f"steady:5s:{RATE}", "--out", str(out), "--slo", "p99<50ms,rps>1"]
    (tmp_path / "run").mkdir()
    with running(tmp_path / "run", *asked, *options) as process:
        wait_until(lambda: len(roses.asked) >= RATE, "a second of requests")
        roses.held.clear()
        stalled_at = len(roses.asked)
        wait_until(lambda: len(roses.asked) >= stalled_at + 1.5 * RATE, "requests that begin while none is answered")
        roses.held.set()
        assert process.wait(DEADLINE_SECONDS) == 1, "an objective was missed"
    found = result(out)
    assert found["all"]["requests"] == found["all"]["answered"] == 5 * RATE
    # Those that were due while the server stalled waited for it, the first of them for as long as 30 arrivals take.
    assert found["all"]["latency_ms"]["max"] >= 1400
    assert found["all"]["latency_ms"]["p90"] >= 500
    assert [(one["text"], one["kept"]) for one in found["slo"]] == [("p99<50ms", False), ("rps>1", True)]
    said = (tmp_path / "run" / "said").read_text()
    assert "p99<50ms" in said
    assert "Traceback" not in said


def test_workers_share_the_arrivals_and_tell_all_they_counted(tmp_path: Path, roses: RestStandin, asked: list[str]):
    port, out = str(free_port()), tmp_path / "out"
    joining = ("--worker", "--master-host", "localhost", "--master-port", port)
    options = ("--arrivals", "constant", "--stages", "ramp:2s:0-40,spike:1s:60,steady:2s:10", "--out", str(out))
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    with running(tmp_path / "one", *joining) as one, running(tmp_path / "two", *joining) as two:
        run = load(tmp_path, *asked, *options, "--master", "--master-bind-port", port, "--expect-workers", "2")
        assert (one.wait(DEADLINE_SECONDS), two.wait(DEADLINE_SECONDS)) == (0, 0)
    assert run.code == 0, run.said
    found = result(out)
    assert found["generator"]["workers"] == 2
    assert found["all"]["requests"] == predictions(roses) == 40 + 60 + 20
    assert rows(out, "requests")[:5] == rows(out, "offered")[:5] == [10, 30, 60, 10, 10]


def predictions(standin: RestStandin) -> int:
    """How often it was asked about a picture; it is asked for its metrics as well."""
    return sum(command == "POST" for command, _, _ in standin.asked)


def test_requests_under_way_at_the_end_are_counted_by_a_master(tmp_path: Path, roses: RestStandin, asked: list[str]):
    port, out = str(free_port()), tmp_path / "out"
    (tmp_path / "one").mkdir()
    (tmp_path / "master").mkdir()
    options = ("--arrivals", "constant", "--stages", f"steady:2s:{RATE}", "--out", str(out))
    master = (*asked, *options, "--master", "--master-bind-port", port, "--expect-workers", "1")
    joining = ("--worker", "--master-host", "localhost", "--master-port", port)
    with running(tmp_path / "one", *joining), running(tmp_path / "master", *master) as process:
        wait_until(lambda: len(roses.asked) >= RATE, "a second of requests")
        roses.held.clear()
        said = tmp_path / "master" / "said"
        wait_until(lambda: "Shape test stopping" in said.read_text(), "the run's end")
        # Longer than locust itself waits for its workers.
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1)
        roses.held.set()
        assert process.wait(DEADLINE_SECONDS) == 0
    assert result(out)["all"]["requests"] == 2 * RATE


def test_an_interrupt_keeps_what_was_measured(tmp_path: Path, roses: RestStandin, asked: list[str]):
    out = tmp_path / "out"
    (tmp_path / "run").mkdir()
    options = ("--arrivals", "poisson", "--rate", str(RATE), "--run-time", "10m", "--out", str(out))
    with running(tmp_path / "run", *asked, *options) as process:
        wait_until(lambda: predictions(roses) >= 2 * RATE, "some requests")
        process.send_signal(signal.SIGINT)
        assert process.wait(DEADLINE_SECONDS) == 0
    found = result(out)
    assert found["interrupted"] is True
    assert found["all"]["requests"] == predictions(roses) >= 2 * RATE
    assert {path.name for path in out.iterdir()} == {"result.json", "summary.csv", "timeline.csv", "report.html"}


def test_users_follow_stages_the_warm_up_is_left_out_and_sizes_are_mixed(
    tmp_path: Path, roses: RestStandin, asked: list[str]
):
    out = tmp_path / "out"
    options = ("--stages", "steady:2s:1,spike:2s:6", "--sizes", "32:75,as-is:25", "--out", str(out))
    run = load(tmp_path, *asked, *options, "--warm-up", "1s")
    assert run.code == 0, run.said
    users = rows(out, "users")
    assert (users[1], users[3]) == (1, 6)
    found = result(out)
    counted = rows(out, "requests")
    assert counted[0] > 0
    assert found["all"]["requests"] == sum(counted[1:])
    seen: Counter[tuple[int, int]] = Counter()
    for _, path, body in roses.asked:
        if path.endswith(":predict"):
            [encoded] = json.loads(body)["inputs"]["image_bytes"]
            seen[Image.open(io.BytesIO(base64.b64decode(encoded["b64"]))).size] += 1
    assert set(seen) == {(32, 24), (64, 48)}
    assert abs(seen[32, 24] - 3 * seen[64, 48]) <= 4


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--rate", "5"], "--rate is for an open loop"),
        (["--arrivals", "poisson"], "--arrivals poisson needs --rate"),
        (["--arrivals", "poisson", "--rate", "many"], "--rate: 'many' is not a number of requests per second"),
        (["--stages", "steady:5s:1", "-t", "5s"], "--stages say both rate and time"),
        (["--stages", "steady:5s:0"], "has nobody ask anything"),
        (["--warm-up", "9s", "-t", "5s"], "--warm-up: 9s leaves nothing of a run of 5 s"),
        (["--slo", "p99<80"], "a latency needs us, ms or s"),
    ],
)
def test_loads_that_contradict_themselves_are_refused(tmp_path: Path, asked: list[str], options: list[str], told: str):
    home = tmp_path / "home"
    home.mkdir()
    done = subprocess.run(
        [*LOAD, *asked, *options], cwd=home, env=environment(home), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert told in done.stderr
    assert "Traceback" not in done.stderr
