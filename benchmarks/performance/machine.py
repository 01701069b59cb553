"""What the figures were measured on, and with: nothing that names the machine or its users."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
import time
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

from benchmarks.performance import gpu
from vitrine_serving.embedded.cpus import available_cpus

_REPOSITORY = Path(__file__).parents[2]
_LIBRARIES = ("tensorflow", "tensorflow-cpu", "keras", "grpcio", "protobuf", "numpy", "Pillow")
# Of each core. A machine that waits has some work; above it something else is computing.
_IDLE_SHARE = 0.05
_WATCHED_SECONDS = 2.0


def facts() -> dict[str, str]:
    """By what they are called in the document. Needs Linux's /proc."""
    return {
        "CPU": f"{cpu_model(Path('/proc/cpuinfo').read_text())}, {available_cpus()} cores",
        "memory": f"{memory_gigabytes(Path('/proc/meminfo').read_text()):.0f} GB",
        "GPU": gpu.name() or "none",
        "system": f"{_distribution()}, Linux {platform.release()}, {platform.machine()}",
        "Python": platform.python_version(),
        **_versions(),
        "Vitrine": commit(),
    }


def today() -> str:
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC")


def busy_cores(seconds: float = _WATCHED_SECONDS) -> float:
    """How many of the processors are at work, on average over the next `seconds`.

    A load average would tell of the last minute, in which whoever measures may have measured something else.
    """
    working, all_of_it = _processor_ticks(Path("/proc/stat").read_text())
    time.sleep(seconds)
    working_then, all_then = _processor_ticks(Path("/proc/stat").read_text())
    return (working_then - working) / max(1, all_then - all_of_it) * (os.cpu_count() or 1)


def _processor_ticks(stat: str) -> tuple[int, int]:
    """At work and in all, by proc_stat(5): idle and iowait are the fourth and the fifth; guests are in user's."""
    ticks = [int(value) for value in stat.splitlines()[0].split()[1:9]]
    return sum(ticks) - ticks[3] - ticks[4], sum(ticks)


def warning(busy: float, cores: int) -> str | None:
    """What the document says about a machine that was at work before it was measured."""
    if busy <= _IDLE_SHARE * cores:
        return None
    return (
        f"The machine was not idle: {busy:.2f} of {cores} cores were busy before the start. Do not trust the figures."
    )


def cpu_model(cpuinfo: str) -> str:
    """As /proc/cpuinfo has it on x86; elsewhere that has none, and it is the architecture."""
    for line in cpuinfo.splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()


def memory_gigabytes(meminfo: str) -> float:
    for line in meminfo.splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024 / 1e9
    raise ValueError("/proc/meminfo has no MemTotal")


def commit() -> str:
    """Of the checkout, and whether it had changes; `unknown` for a copy without its history."""
    try:
        head = _git("rev-parse", "--short", "HEAD")
        return f"{head} with changes" if _git("status", "--porcelain", "--untracked-files=no") else head
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(_REPOSITORY), *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def _distribution() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return "Linux"


def _versions() -> Mapping[str, str]:
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
