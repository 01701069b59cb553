"""How many processes this machine can train in at a time: its cores and its free memory, or the container's."""

from __future__ import annotations

import contextlib
from pathlib import Path

from vitrine_serving.embedded.cpus import available_cpus

_CGROUP = Path("/sys/fs/cgroup")
_MEMINFO = Path("/proc/meminfo")


def cores() -> int:
    """Cores that this process may use: of the machine, or of its container where that has fewer."""
    count = available_cpus()
    with contextlib.suppress(OSError, ValueError):
        quota, period = (_CGROUP / "cpu.max").read_text().split()
        count = min(count, max(1, int(quota) // int(period)))
    return count


def available_memory() -> int:
    """Bytes that processes can still take without swapping or being killed; 0 where the system does not say."""
    available = 0
    with contextlib.suppress(OSError, ValueError, StopIteration):
        available = _entry(_MEMINFO, "MemAvailable:") * 1024
    with contextlib.suppress(OSError, ValueError, StopIteration):
        limit, used = (int((_CGROUP / name).read_text()) for name in ("memory.max", "memory.current"))
        # Files that were read a while ago count as used, but give way to processes.
        used -= _entry(_CGROUP / "memory.stat", "inactive_file")
        available = min(available, max(0, limit - used))
    return available


def _entry(file: Path, name: str) -> int:
    """The number after `name` in a file of one entry a line; raises OSError, ValueError or StopIteration."""
    lines = (line.split() for line in file.read_text().splitlines())
    return next(int(words[1]) for words in lines if words[:1] == [name])
