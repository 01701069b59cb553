"""A server's processes, all of them: who they are, what they take, and their end."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_POLL_SECONDS = 0.05


@dataclass(frozen=True)
class Member:
    """A process; its start tells it from a later one with the same number."""

    pid: int
    started: int

    @property
    def alive(self) -> bool:
        fields = _fields(self.pid)
        return fields is not None and int(fields[19]) == self.started and fields[0] != "Z"


def members(root: int, mark: str) -> set[Member]:
    """`root`, its descendants, and whoever has `mark` in its environment, with descendants.

    The mark finds those whose parent has ended; parents find those that have written a title over their environment.
    """
    children, started, wanted = defaultdict(list), {}, [root]
    for pid, fields in _processes():
        children[int(fields[1])].append(pid)
        started[pid] = int(fields[19])
        with contextlib.suppress(OSError):
            if mark.encode() in (_PROC / str(pid) / "environ").read_bytes():
                wanted.append(pid)
    found = set()
    while wanted:
        pid = wanted.pop()
        if pid in started and pid not in found:
            found.add(pid)
            wanted += children[pid]
    return {Member(pid, started[pid]) for pid in found}


def cpu_seconds(of: set[Member]) -> float:
    """User and system time of the processes and of the children that they have waited for."""
    ticks = 0
    for member in of:
        if (fields := _fields(member.pid)) is not None:
            ticks += sum(int(field) for field in fields[11:15])
    return ticks / _TICKS


def resident_megabytes(of: set[Member]) -> float:
    """The sum of what each process has in memory: pages that several share count several times."""
    total = 0
    for member in of:
        with contextlib.suppress(OSError):
            total += int((_PROC / str(member.pid) / "statm").read_text().split()[1]) * _PAGE
    return total / 1e6


def proportional_megabytes(of: set[Member]) -> float | None:
    """The same with each shared page counted once; None where the kernel does not tell."""
    total = 0
    for member in of:
        try:
            lines = (_PROC / str(member.pid) / "smaps_rollup").read_text().splitlines()
        except PermissionError:
            return None
        except OSError:
            continue
        total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    return total / 1e6


def end(everybody: Callable[[], set[Member]], root: int, seconds: float) -> None:
    """SIGTERM to `root`, `seconds` for all to end, SIGKILL to whoever is left."""
    left = everybody()
    with contextlib.suppress(ProcessLookupError):
        os.kill(root, signal.SIGTERM)
    deadline = time.monotonic() + seconds
    while left := {member for member in left | everybody() if member.alive}:
        if time.monotonic() > deadline:
            for member in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(member.pid, signal.SIGKILL)
        time.sleep(_POLL_SECONDS)


def _processes() -> Iterator[tuple[int, list[str]]]:
    for folder in _PROC.iterdir():
        if folder.name.isdecimal() and (fields := _fields(int(folder.name))) is not None:
            yield int(folder.name), fields


def _fields(pid: int) -> list[str] | None:
    """/proc/PID/stat from the state on, see proc(5); None when there is no such process."""
    try:
        return (_PROC / str(pid) / "stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return None
