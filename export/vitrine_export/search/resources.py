"""How many processes this machine can train in at a time: its cores and its free memory, or the container's."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")
_MEMINFO = Path("/proc/meminfo")


def cores() -> int:
    """Cores that this process may use: of the machine, or of its container where that has fewer."""
    # Not on every system, where os.cpu_count() is as good an answer.
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError):
        quota, period = (_CGROUP / "cpu.max").read_text().split()
        count = min(count, max(1, int(quota) // int(period)))
    return count


def available_memory() -> int:
    """Bytes that processes can still take without swapping or being killed; 0 where the system does not say."""
    available = 0
    with contextlib.suppress(OSError, ValueError, StopIteration):
        line = next(line for line in _MEMINFO.read_text().splitlines() if line.startswith("MemAvailable:"))
        available = int(line.split()[1]) * 1024
    with contextlib.suppress(OSError, ValueError):
        limit = int((_CGROUP / "memory.max").read_text())
        available = min(available, max(0, limit - int((_CGROUP / "memory.current").read_text())))
    return available
