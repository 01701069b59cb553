"""A store of one version, to be changed at will: the real store's files, linked where that is possible."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from vitrine_serving.config.batching import BatchingSettings
from vitrine_serving.tune.candidates import Batching, Candidate

SAVED_MODEL = "saved_model.pb"
BATCHING = "batching.config"


class Copies:
    """Makes base paths for candidates in `folder`, which must be on one file system.

    Args:
        version: the version's folder in the store; it is only read.
        rewrite: a saved_model.pb with another batch.
    """

    def __init__(self, version: Path, folder: Path, rewrite: Callable[[bytes, Batching], bytes]) -> None:
        self._folder = folder
        self._rewrite = rewrite
        self._number = 0
        # Across file systems links are impossible, and models are large: one copy then serves all candidates.
        self._version = folder / "original" / version.name
        shutil.copytree(version, self._version, copy_function=_link_or_copy)

    def base_path(self, candidate: Candidate) -> Path:
        """A new folder with the version, and with batching.config where the server is to batch."""
        self._number += 1
        base_path = self._folder / str(self._number)
        target = base_path / self._version.name
        shutil.copytree(self._version, target, copy_function=_link_or_copy)
        if candidate.where == "in-graph" and candidate.batching is not None:
            rewritten = self._rewrite((target / SAVED_MODEL).read_bytes(), candidate.batching)
            # A new file: through the link the store's own would be changed.
            (target / SAVED_MODEL).unlink()
            (target / SAVED_MODEL).write_bytes(rewritten)
        if candidate.where == "server-side" and candidate.batching is not None:
            (base_path / BATCHING).write_text(settings(candidate.batching).text(), encoding="utf-8")
        return base_path


def settings(batching: Batching) -> BatchingSettings:
    """The same for a server."""
    return BatchingSettings(
        max_batch_size=batching.batch_size,
        batch_timeout_micros=batching.timeout_micros,
        max_enqueued_batches=batching.max_enqueued_batches,
        num_batch_threads=batching.num_threads,
        allowed_batch_sizes=batching.allowed_sizes,
    )


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
