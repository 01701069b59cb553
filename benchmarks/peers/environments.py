"""A virtual environment for each peer: what they need clashes with our dependencies and with each other's."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

from benchmarks.peers.catalogue import Peer
from benchmarks.performance.section import NotHere

_STAMP = "installed"
# What uv and pip say when they cannot speak to the registry.
_OUT_OF_REACH = ("error sending request", "Failed to fetch", "dns error", "NewConnectionError", "Could not connect")
_WRONG_PYTHON = ("Requires-Python", "requires Python", "requires-python", "no wheels with a matching Python")


def environment(peer: Peer, work: Path) -> Path:
    """The folder of the peer's virtual environment in `work`, made or made anew when its requirements have changed.

    Raises:
        NotHere: it cannot be installed here; the text says why.
    """
    folder = (work / "peers" / peer.package).absolute()
    digest = _digest(peer)
    stamp = folder / _STAMP
    if stamp.exists() and stamp.read_text() == digest:
        return folder
    # Gone first and back last: half an environment is never taken for a whole one.
    stamp.unlink(missing_ok=True)
    sys.stderr.write(f"  installing {peer.name} {peer.version} into {folder}, once: about 1.5 GB with TensorFlow\n")
    sys.stderr.flush()
    for command in _commands(folder, peer.requirements):
        _run(command, peer)
    stamp.write_text(digest)
    return folder


def installed(peer: Peer, work: Path) -> Path | None:
    """The folder of the peer's virtual environment in `work` where it is complete and current."""
    stamp = (work / "peers" / peer.package).absolute() / _STAMP
    return stamp.parent if stamp.exists() and stamp.read_text() == _digest(peer) else None


def _digest(peer: Peer) -> str:
    """What an environment depends on: the locked requirements and the Python that runs this."""
    return hashlib.sha256(peer.requirements.read_bytes() + sys.version.encode()).hexdigest()


def _commands(folder: Path, requirements: Path) -> list[list[str]]:
    python = str(folder / "bin" / "python")
    uv = Path(sys.executable).with_name("uv")
    if uv.exists():
        # uv links files from its cache: four TensorFlows take the place of one.
        return [
            [str(uv), "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)],
            [str(uv), "pip", "install", "--quiet", "--python", python, "--require-hashes", "-r", str(requirements)],
        ]
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    return [
        [sys.executable, "-m", "venv", "--clear", str(folder)],
        [*pip, "--require-hashes", "-r", str(requirements)],
    ]


def _run(command: list[str], peer: Peer) -> None:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if done.returncode == 0:
        return
    what = f"{peer.name} {peer.version} could not be installed"
    if any(text in done.stderr for text in _OUT_OF_REACH):
        raise NotHere(f"{what}: the package registry is out of reach")
    if any(text in done.stderr for text in _WRONG_PYTHON):
        raise NotHere(f"{what}: it does not fit Python {sys.version.split()[0]}")
    lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
    raise NotHere(f"{what}: {lines[-1].strip()}")
