"""`vitrine-serving tune` as a user runs it, with real servers and real load."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml
from embedded_server import MODEL
from processes import DEADLINE_SECONDS, wait_until
from rollout_versions import Network, publish

from vitrine_export.recipe import BatchingConfig
from vitrine_serving import cli
from vitrine_serving.config.checking import check_file
from vitrine_serving.embedded.flags.parser import parse

COMMAND = str(Path(sys.executable).with_name("vitrine-serving"))
WAIT_SECONDS = 0.2
needs_locust = pytest.mark.skipif(find_spec("locust") is None, reason="needs locust: pip install './clients[load]'")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One version, whose batches wait for company: whatever does not wait is better, on any machine."""
    folder = tmp_path_factory.mktemp("store")
    publish(folder, 1, Network(delay_seconds=WAIT_SECONDS))
    return folder


def command(store: Path, out: Path, *arguments: str) -> list[str]:
    return [
        *(COMMAND, "tune", "--models", str(store), "--model", MODEL, "--engine", "embedded", "--out", str(out)),
        *("--seconds", "1", "--concurrency", "1", "--batch-sizes", "1", "--threads", "1x2", "--batch-threads", "2"),
        *arguments,
    ]


def files_below(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@needs_locust
def test_what_does_not_wait_wins_and_all_is_written(store: Path, tmp_path: Path) -> None:
    before, out = files_below(store), tmp_path / "tuned"
    done = subprocess.run(
        command(store, out, "--where", "in-graph", "--repeats", "1", "--slo", "p99<30s,errors<1%", "--json"),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result == json.loads((out / "tune.json").read_text())
    assert result["winner"]["where"] == "in-graph"
    assert not result["keep_present"]
    assert result["ratio"] > 1
    assert [visit["stage"] for visit in result["visits"]] == ["present", "final 1", "final 1"]
    # Each answer had to wait until its batch gave up on company.
    present, final_present, winner = (visit["points"][0]["latency_ms"]["p50"] for visit in result["visits"])
    assert min(present, final_present) > 1000 * WAIT_SECONDS > winner

    recipe = yaml.safe_load((out / "batching.recipe.yaml").read_text())
    assert BatchingConfig.model_validate(recipe["export"]["batching"]) == BatchingConfig(
        allowed_batch_sizes=[1],
        batch_timeout_micros=0,
        num_batch_threads=2,
        max_enqueued_batches=1000,
        # As in the graph that was tuned: TensorFlow's default.
        batch_padding_policy="PAD_UP",
    )
    assert check_file(out / "batching.config").problem is None
    flags = parse(["--model_base_path=/models", *(out / "flags.txt").read_text().split()])
    assert (flags.tensorflow_intra_op_parallelism, flags.tensorflow_inter_op_parallelism) == (1, 2)
    assert not flags.enable_batching
    page = (out / "tune.html").read_text()
    assert page.count("<circle") == 2
    assert "winner" in page
    assert "p99&lt;30s" in page
    assert files_below(store) == before


@needs_locust
def test_ctrl_c_ends_server_and_load_and_keeps_what_was_measured(store: Path, tmp_path: Path) -> None:
    out, temporary = tmp_path / "tuned", tmp_path / "temporary"
    temporary.mkdir()
    process = subprocess.Popen(
        command(store, out), stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env=os.environ | {"TMPDIR": str(temporary)},
    )  # fmt: skip
    assert process.stderr is not None
    try:
        next(line for line in process.stderr if line.startswith("[ 1/"))
        wait_until(lambda: any("--headless" in one for one in started(temporary)), "the second load")
        assert any("vitrine_serving.embedded.main" in one for one in started(temporary))
        process.send_signal(signal.SIGINT)
        told, said = process.communicate(timeout=DEADLINE_SECONDS)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 1
    assert "Interrupted" in told
    assert "vitrine-serving tune: interrupted; what was measured by then is in" in said
    assert not started(temporary)
    assert not list(temporary.iterdir())
    result = json.loads((out / "tune.json").read_text())
    assert result["interrupted"]
    assert result["winner"] is None
    assert [visit["stage"] for visit in result["visits"]] == ["present"]
    assert {path.name for path in out.iterdir()} == {"tune.json", "tune.html"}


def started(temporary: Path) -> list[str]:
    """Command lines with paths below the folder: those of the server and of the load."""
    found = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        # It may have ended by now.
        with contextlib.suppress(OSError):
            found.append(process.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace"))
    return [line for line in found if str(temporary) in line]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--slo", "p99<80"), "a latency needs us, ms or s"),
        (("--threads", "2"), "'2' is no pair such as 1x8"),
        (("--where", "everywhere"), "'everywhere' is neither of in-graph and server-side"),
        (("--slo", "rest.p99<80ms"), "candidates are asked by gRPC alone"),
    ],
)
def test_wrong_usage_is_told_in_a_line(arguments: tuple[str, ...], told: str, tmp_path: Path, capsys) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["tune", "--out", str(tmp_path), *arguments])
    assert ended.value.code == 2
    assert told in capsys.readouterr().err.splitlines()[-1]
