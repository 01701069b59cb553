"""`vitrine-serving up --engine docker`, with a real Docker; in the kit's, with a stand-in for the image."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import requests
from processes import DEADLINE_SECONDS, free_port, wait_until
from stack import Stack

from vitrine_serving.config.monitoring import METRICS_PATH
from vitrine_serving.engines import IMAGE

COMMAND = Path(sys.executable).with_name("vitrine-serving")


def test_up_runs_a_container_on_the_store_and_removes_it(stack: Stack, trained: str, tmp_path: Path) -> None:
    grpc_port, rest_port = free_port(), free_port()
    ports = ["--grpc-port", str(grpc_port), "--rest-port", str(rest_port)]
    log = tmp_path / "up.log"
    with log.open("wb") as output:
        command = [COMMAND, "up", "--engine", "docker", "--models", stack.models, *ports]
        process = subprocess.Popen(command, stdout=output, stderr=output, env=stack.environment)
    try:
        wait_until(lambda: "Ctrl-C stops" in log.read_text() or process.poll() is not None, "the container answers")
        assert process.poll() is None, log.read_text()
        assert "engine: docker (asked for)" in log.read_text()
        shown = subprocess.run(
            ["docker", "ps", "--format", "{{.Image}} {{.Names}}"], env=stack.environment, capture_output=True, text=True
        )
        assert f"{IMAGE} vitrine-digits-{grpc_port}" in shown.stdout
        metrics = requests.get(f"http://127.0.0.1:{rest_port}{METRICS_PATH}", timeout=DEADLINE_SECONDS)
        assert (metrics.status_code, ":tensorflow:" in metrics.text) == (200, True)
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE_SECONDS) == 0
    finally:
        if process.poll() is None:
            process.kill()
    ours = ["docker", "ps", "--all", "--quiet", "--filter", f"name=vitrine-digits-{grpc_port}"]
    left = subprocess.run(ours, env=stack.environment, capture_output=True, text=True)
    assert left.stdout == ""
