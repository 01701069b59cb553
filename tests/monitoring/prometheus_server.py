"""Real Prometheus and blackbox exporter processes that watch a server, with the repository's own files."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from processes import DEADLINE_SECONDS, free_port, wait_until

MONITORING = Path(__file__).parents[2] / "monitoring"
SCRAPE_SECONDS = 1


def program(*names: str) -> str:
    """The first of the programs that is on the PATH; the test is skipped where none is."""
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        pytest.skip(f"needs {' or '.join(names)} on the PATH (apt-get install prometheus prometheus-blackbox-exporter)")
    return found


def blackbox_program() -> str:
    return program("blackbox_exporter", "prometheus-blackbox-exporter")


def adjusted_copy(
    folder: Path, server: str = "vitrine:8501", blackbox: str = "blackbox:9115", prometheus: str = "localhost:9090"
) -> Path:
    """Prometheus' configuration in `folder`, for files and addresses of this machine; the path of prometheus.yml.

    Scrapes are made each second, and alerts that wait at most a minute wait a second.
    """
    shutil.copytree(MONITORING / "prometheus" / "rules", folder / "rules")
    text = (MONITORING / "prometheus" / "prometheus.yml").read_text()
    for there, here in {
        "/etc/prometheus/rules": str(folder / "rules"),
        "/etc/vitrine/probes.json": str(folder / "probes.json"),
        "vitrine:8501": server,
        "blackbox:9115": blackbox,
        "localhost:9090": prometheus,
    }.items():
        assert there in text, f"prometheus.yml no longer has {there}"
        text = text.replace(there, here)
    config = yaml.safe_load(text)
    seconds = f"{SCRAPE_SECONDS}s"
    config["global"] = {"scrape_interval": seconds, "scrape_timeout": seconds, "evaluation_interval": seconds}
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    for path in (folder / "rules").iterdir():
        rules = yaml.safe_load(path.read_text())
        for rule in (rule for group in rules["groups"] for rule in group["rules"]):
            if rule.get("for") == "1m":
                rule["for"] = seconds
        path.write_text(yaml.safe_dump(rules))
    return folder / "prometheus.yml"


class Prometheus:
    """A running Prometheus and its API."""

    def __init__(self, url: str) -> None:
        self.url = url

    def get(self, path: str, **parameters: Any) -> Any:
        """The `data` of an answer; the test fails with Prometheus' own message where it refuses."""
        response = requests.get(f"{self.url}/api/v1/{path}", parameters, timeout=DEADLINE_SECONDS)
        answer = response.json()
        assert answer["status"] == "success", f"{answer.get('error')}\n{parameters}"
        return answer["data"]

    def query(self, expression: str, time: float | None = None) -> list[dict[str, Any]]:
        """The value of now, or of a time in seconds since 1970."""
        return self.get("query", query=expression, time=time)["result"]

    def query_range(self, expression: str, start: float, end: float) -> list[dict[str, Any]]:
        return self.get("query_range", query=expression, start=start, end=end, step=SCRAPE_SECONDS)["result"]

    def rules(self) -> dict[str, dict[str, Any]]:
        """By name; none of an alert's or a record's name twice."""
        return {rule["name"]: rule for group in self.get("rules")["groups"] for rule in group["rules"]}


@contextlib.contextmanager
def running_prometheus(folder: Path, server: str, probes: list[dict[str, Any]]) -> Iterator[Prometheus]:
    """Prometheus and the blackbox exporter, watching the server (host:port) and asking the probes."""
    ours, theirs = free_port(), free_port()
    blackbox = f"127.0.0.1:{theirs}"
    config = adjusted_copy(folder, server, blackbox, f"127.0.0.1:{ours}")
    (folder / "probes.json").write_text(json.dumps(probes))
    commands = {
        "blackbox": [
            blackbox_program(),
            f"--config.file={MONITORING / 'blackbox.yml'}",
            f"--web.listen-address={blackbox}",
        ],
        "prometheus": [
            program("prometheus"),
            f"--config.file={config}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{ours}",
            "--log.level=warn",
        ],
    }
    with contextlib.ExitStack() as stack:
        for name, command in commands.items():
            log = stack.enter_context((folder / f"{name}.log").open("wb"))
            process = subprocess.Popen(command, stdout=log, stderr=log)
            stack.callback(process.wait)
            stack.callback(process.kill)
        prometheus = Prometheus(f"http://127.0.0.1:{ours}")
        wait_until(lambda: _answers(f"{prometheus.url}/-/ready"), "Prometheus is ready")
        wait_until(lambda: _answers(f"http://{blackbox}/-/healthy"), "the blackbox exporter answers")
        yield prometheus


def _answers(url: str) -> bool:
    with contextlib.suppress(requests.ConnectionError):
        return requests.get(url, timeout=DEADLINE_SECONDS).ok
    return False
