"""Metrics of this process, under the names that Prometheus clients have agreed on."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from vitrine_serving.embedded.metrics.instruments import Collected, Metric, Number

_STATUS = Path("/proc/self/status")
# Linux and macOS both list a process's open files here.
_OPEN_FILES = Path("/dev/fd")


def process_metrics() -> Iterator[Metric]:
    """What can be told on this system."""
    yield _metric("process_cpu_seconds_total", time.process_time, "CPU time used, in seconds", kind="counter")
    if _OPEN_FILES.is_dir():
        yield _metric("process_open_fds", _count_open_files, "Open file descriptors")
    if _STATUS.exists():
        yield _metric("process_resident_memory_bytes", lambda: _status("VmRSS") * 1024, "Resident memory, in bytes")
        yield _metric("process_threads", lambda: _status("Threads"), "Threads, TensorFlow's own among them")
    else:
        if sys.platform != "win32":
            yield _metric("process_resident_memory_max_bytes", _peak_memory, "Highest resident memory so far, in bytes")
        yield _metric("process_threads", threading.active_count, "Threads that Python knows of")


def _metric(name: str, read: Callable[[], Number], description: str, kind: str = "gauge") -> Collected:
    return Collected(name, kind=kind, description=description, collect=lambda: [((), read())])


def _count_open_files() -> int:
    # Listing the directory opens it: one descriptor is ours.
    return sum(1 for _ in _OPEN_FILES.iterdir()) - 1


def _status(field: str) -> int:
    """A number from /proc/self/status; 0 where the kernel does not give it."""
    for line in _STATUS.read_text().splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0])
    return 0


def _peak_memory() -> int:
    if sys.platform == "win32":
        return 0
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Bytes on macOS, KiB on the BSDs.
    return peak if sys.platform == "darwin" else peak * 1024
