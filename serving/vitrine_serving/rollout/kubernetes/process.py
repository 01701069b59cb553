"""Which process this is, for others to see whether it is still alive: those on the same machine can tell at once."""

from __future__ import annotations

import os
from pathlib import Path

_BOOT = Path("/proc/sys/kernel/random/boot_id")


def this_process() -> str:
    """Names this process beyond its number, which others get after it; empty where Linux is not there to tell."""
    try:
        return f"{_here()} {os.getpid()} {_started(os.getpid())}"
    except OSError:
        return ""


def is_dead(process: str) -> bool:
    """Is it sure that the process that `this_process` named is gone? False for one of another machine or container."""
    place, _, started = process.rpartition(" ")
    here, _, number = place.rpartition(" ")
    try:
        if not process or here != _here():
            return False
        os.kill(int(number), 0)
        return _started(int(number)) != started
    except ProcessLookupError:
        return True
    except (OSError, ValueError):
        # There is one, of somebody else, about whom the machine may not tell more.
        return False


def _here() -> str:
    """This start of this machine, and who numbers the processes: containers do so for themselves."""
    namespace = Path("/proc/self/ns/pid").readlink()
    return f"{_BOOT.read_text().strip()} {namespace}"


def _started(pid: int) -> str:
    """When it started, in ticks since the machine did. Raises ProcessLookupError for one that has ended."""
    # The name before it may have blanks and brackets in it. A zombie has ended.
    state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    if state in "ZX":
        raise ProcessLookupError(pid)
    return fields[18]
