"""A run without a page, as a process of its own whose end is awaited: `python -m vitrine_client.load --headless`."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vitrine_client.load.arguments import VARIABLES

_WRONG_USAGE = 2
# Beyond a run's own time, and that of its last requests: for a start, and a report.
_GRACE_SECONDS = 60.0


class NoResult(Exception):
    """The message says why, in one line. `code` is the exit code for it."""

    def __init__(self, reason: str, code: int = 1) -> None:
        super().__init__(reason)
        self.code = code


def result_of(options: Mapping[str, str], out: Path, seconds: float) -> dict[str, Any]:
    """Make a run, and read its result.json.

    Args:
        options: values by option, without the dashes; the environment's variables for options do not count.
        out: the folder for the run's files, and for all that it says: `log`.
        seconds: of the run, and of its last requests.

    Raises:
        NoResult: the run was not made, did not come to its end, or was ended by somebody else.
        KeyboardInterrupt: the run was ended in its own way first.
    """
    out.mkdir(parents=True, exist_ok=True)
    result, log = out / "result.json", out / "log"
    # Of an earlier run in the same folder.
    result.unlink(missing_ok=True)
    given = [f"--{name}={value}" for name, value in options.items()]
    command = [sys.executable, "-m", "vitrine_client.load", "--headless", "--only-summary", f"--out={out}", *given]
    code = _wait(command, log, seconds + _GRACE_SECONDS)
    if code == _WRONG_USAGE:
        raise NoResult(_last_line(log), _WRONG_USAGE)
    try:
        described: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise NoResult(f"the load ended with code {code} and no result: {_last_line(log)}") from None
    if described["interrupted"]:
        raise NoResult("the load was ended from outside")
    return described


def _environment() -> dict[str, str]:
    """What would change a run beside its options is left out: locust has a variable for each of its own."""
    return {
        name: value for name, value in os.environ.items() if name not in VARIABLES and not name.startswith("LOCUST_")
    }


def _wait(command: Sequence[str], log: Path, longest_seconds: float) -> int:
    with log.open("wb") as said:
        # Ctrl-C is for this process, which ends the run once and in its own way.
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            env=_environment(),
            start_new_session=True,
        )
    try:
        return process.wait(longest_seconds)
    except subprocess.TimeoutExpired:
        raise NoResult(f"the load did not end within {longest_seconds:.0f} s; is the server stuck?") from None
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Of one that is still there: it may finish; a second Ctrl-C, or its time's end, kills it and its workers."""
    try:
        if process.poll() is None:
            # Not SIGINT, which Python raises wherever it is just then; locust takes this one between two greenlets.
            process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_GRACE_SECONDS)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _last_line(log: Path) -> str:
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return lines[-1].strip() if lines else "it said nothing"
