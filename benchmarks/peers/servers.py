"""A peer's server while it is measured."""

from __future__ import annotations

import contextlib
import http.client
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks import models
from benchmarks.peers import clients, trees
from benchmarks.peers.catalogue import Peer
from benchmarks.peers.programs.settings import Settings, free_port

# On a busy machine four imports of TensorFlow take minutes.
_START_SECONDS = 300
_END_SECONDS = 20
_POLL_SECONDS = 0.1
_LAST_LINES = 100


@dataclass(frozen=True)
class PeerServer:
    """A running peer.

    Attributes:
        port: where it serves HTTP, on 127.0.0.1.
        pid: the process that was started; the others descend from it.
        mark: what is in the environment of all its processes.
        start_seconds: from its start to the first answer with all workers there.
    """

    port: int
    pid: int
    mark: str
    start_seconds: float

    def pids(self) -> list[int]:
        """All its processes."""
        return sorted(member.pid for member in self._members())

    def cpu_seconds(self) -> float:
        """User and system time of all its processes."""
        return trees.cpu_seconds(self._members())

    def resident_megabytes(self) -> float:
        """Memory of all its processes, RSS: pages that several share count several times."""
        return trees.resident_megabytes(self._members())

    def proportional_megabytes(self) -> float | None:
        """Memory of all its processes, PSS: shared pages count once; None where the kernel does not tell."""
        return trees.proportional_megabytes(self._members())

    def _members(self) -> set[trees.Member]:
        return trees.members(self.pid, self.mark)


@contextlib.contextmanager
def running(
    peer: Peer, environment: Path, model_version_dir: Path, cores: int, *, batching: bool
) -> Iterator[PeerServer]:
    """The peer serving the SavedModel, with all `cores` workers up and a first answer given.

    Args:
        environment: what `environments.environment` returned.
        model_version_dir: of a SavedModel with `image_bytes` [N] in and `labels` [N, k] out.
        batching: whether requests are merged into batches.

    Raises:
        RuntimeError: it did not come up; the text has the end of its log.
    """
    # Short, for there are sockets in it, whose paths have at most 107 bytes.
    with tempfile.TemporaryDirectory(prefix="peer-", dir="/tmp", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        # This package alone: the repository's other folders have the names of modules that a peer may look for.
        (folder / "benchmarks").symlink_to(Path(models.__file__).parent)
        settings = Settings(
            model=model_version_dir.absolute(),
            cores=cores,
            batching=batching,
            port=free_port(),
            folder=folder,
        )
        with (folder / "log").open("wb") as log:
            started = time.monotonic()
            process = subprocess.Popen(
                [environment / "bin" / "python", "-m", f"benchmarks.peers.programs.{peer.program}"],
                cwd=folder,
                env=_environment(environment, settings),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Ctrl-C is for us; we end it.
                start_new_session=True,
            )
        mark = f"PEER_FOLDER={folder}"
        try:
            _wait_until_ready(peer, process, settings)
            yield PeerServer(settings.port, process.pid, mark, time.monotonic() - started)
        finally:
            _end(process, mark)


def _environment(environment: Path, settings: Settings) -> dict[str, str]:
    """Ours without what points to our own packages, with what the program reads."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    return {
        **inherited,
        **settings.environment(),
        "PATH": f"{environment / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "PYTHONPATH": str(settings.folder),
        "PYTHONDONTWRITEBYTECODE": "1",
        # Where TensorFlow comes with CUDA, it is still a CPU that is measured.
        "CUDA_VISIBLE_DEVICES": "-1",
    }


def _wait_until_ready(peer: Peer, process: subprocess.Popen[bytes], settings: Settings) -> None:
    ask = clients.asking(peer, settings.port, models.photos(1))
    deadline = time.monotonic() + _START_SECONDS
    problem = "its workers have not loaded the model"
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"{peer.name} ended with code {process.returncode}:\n{_log(settings)}")
        if settings.ready.is_dir() and len(list(settings.ready.iterdir())) >= settings.cores:
            try:
                ask()()
                return
            except (OSError, RuntimeError, http.client.HTTPException) as error:
                problem = f"{type(error).__name__}: {error}"
        time.sleep(_POLL_SECONDS)
    raise RuntimeError(f"{peer.name} was not ready within {_START_SECONDS} s: {problem}\n{_log(settings)}")


def _log(settings: Settings) -> str:
    lines = (settings.folder / "log").read_text(errors="replace").splitlines()
    return "\n".join(lines[-_LAST_LINES:])


def _end(process: subprocess.Popen[bytes], mark: str) -> None:
    def everybody() -> set[trees.Member]:
        # Also takes note of its end, without which it would stay in the list.
        process.poll()
        return trees.members(process.pid, mark)

    trees.end(everybody, process.pid, _END_SECONDS)
    process.wait()
