"""`python -m vitrine_client.load` as a process of its own, and what it says."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from processes import DEADLINE_SECONDS

LOAD = (sys.executable, "-m", "vitrine_client.load")
SHORT = ("--headless", "--users", "4", "--spawn-rate", "100", "--run-time", "2s", "--only-summary")


class Run(NamedTuple):
    """A run's end, and locust's statistics by transport."""

    code: int
    said: str
    requests: dict[str, int]
    failures: dict[str, int]


def environment(home: Path) -> dict[str, str]:
    """As in a container with a read-only root: nothing but what is asked for may be written."""
    ours = ("VITRINE_", "LOCUST_", "MODEL")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return {**kept, "HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1"}


def load(folder: Path, *options: str, **variables: str) -> Run:
    """A run in an empty folder, which is its home, too; it is empty after the run."""
    home = folder / "home"
    home.mkdir()
    done = subprocess.run(
        [*LOAD, *options],
        cwd=home,
        env=environment(home) | variables,
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
    )
    assert not list(home.iterdir())
    said = done.stdout + done.stderr
    rows = re.findall(r"^(gRPC|REST) +classify +(\d+) +(\d+)\(", said, re.M)
    return Run(
        done.returncode,
        said,
        {transport: int(count) for transport, count, _ in rows},
        {transport: int(count) for transport, _, count in rows},
    )


@contextlib.contextmanager
def running(folder: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    """The load generator as a process that its test ends, with what it says in `folder`/said."""
    with (folder / "said").open("a") as said:
        process = subprocess.Popen([*LOAD, *options], cwd=folder, env=environment(folder), stdout=said, stderr=said)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def result(folder: Path) -> dict[str, Any]:
    """What a run with `--out` has written."""
    found: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return found
