"""How many CPUs defaults are chosen for."""

from __future__ import annotations

import os


def available_cpus() -> int:
    """CPUs this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def request_threads() -> int:
    """Requests an API handles at once by default. In-graph batches are made of them: few would mean small batches."""
    return max(16, 4 * available_cpus())
