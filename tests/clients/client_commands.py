"""The installed command `vitrine-client`, run as a shell runs it: through pipes, or in a terminal."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import threading
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

COMMAND = Path(sys.executable).with_name("vitrine-client")
SECONDS = 120
# What a model that sees roses answers over REST.
ROSE = json.dumps({"outputs": {"labels": [["rose", "tulip", "daisy"]], "scores": [[0.75, 0.125, 0.0625]]}}).encode()


def environment(**variables: str) -> dict[str, str]:
    """The tests' own, without what would change the command's ways, and with `variables`."""
    ours = ("VITRINE_", "NO_COLOR", "TERM", "PYTHONUNBUFFERED")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return {**kept, "TERM": "xterm", **variables}


def run(*arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
    """The command with its output in pipes."""
    return subprocess.run(
        [COMMAND, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        env=environment(**variables),
    )


@contextlib.contextmanager
def started(*arguments: object) -> Iterator[subprocess.Popen[str]]:
    """The command, running; it is killed at the end, if it is still there."""
    command = [COMMAND, *map(str, arguments)]
    with (
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
        ) as process,
        _killed_in_the_end(process),
    ):
        yield process


class InTerminal(NamedTuple):
    """What became of a command.

    Attributes:
        shown: all that went to the terminal, escape sequences included.
        piped: what went to the stream that was no terminal.
    """

    code: int
    shown: str
    piped: str

    @property
    def screen(self) -> list[str]:
        """The lines that are to be seen at the end."""
        lines = [""]
        for part in re.split(r"(\r\n|\r|\x1b\[K|\x1b\[\d*m)", self.shown):
            if part == "\r\n":
                lines.append("")
            elif part == "\r":
                # What is written next begins at the left. All lines here are erased before.
                continue
            elif part == "\x1b[K":
                lines[-1] = ""
            elif not part.startswith("\x1b"):
                lines[-1] += part
        return [line.rstrip() for line in lines if line.strip()]


def in_terminal(
    *arguments: object,
    streams: Collection[str] = ("stdout", "stderr"),
    columns: int = 80,
    interrupt_at: str = "",
    **variables: str,
) -> InTerminal:
    """The command with one or both of its streams in a terminal, the other one in a file.

    Args:
        interrupt_at: a text; once it is to be seen, the command is interrupted.
    """
    master, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    with tempfile.TemporaryFile() as file:
        places: Mapping[str, int] = {
            name: terminal if name in streams else file.fileno() for name in ("stdout", "stderr")
        }
        process = subprocess.Popen(
            [COMMAND, *map(str, arguments)], stdin=terminal, env=environment(**variables), **places
        )
        os.close(terminal)
        with _killed_in_the_end(process):
            shown = b""
            for piece in _pieces(master):
                shown += piece
                if interrupt_at and interrupt_at in shown.decode(errors="replace"):
                    process.send_signal(signal.SIGINT)
                    interrupt_at = ""
            code = process.wait(SECONDS)
        os.close(master)
        file.seek(0)
        return InTerminal(code, shown.decode(), file.read().decode())


@contextlib.contextmanager
def _killed_in_the_end(process: subprocess.Popen[Any]) -> Iterator[None]:
    """Kills a process that is still there at the end, or after so long that whoever reads from it waits in vain."""
    watchdog = threading.Timer(SECONDS, process.kill)
    watchdog.start()
    try:
        yield
    finally:
        watchdog.cancel()
        process.kill()
        process.wait()


def _pieces(master: int) -> Iterator[bytes]:
    # Linux reports an error, and others the end of the file, once nobody has the terminal open any more.
    with contextlib.suppress(OSError):
        while piece := os.read(master, 1 << 16):
            yield piece
