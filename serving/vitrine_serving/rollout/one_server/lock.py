"""One command at a time for a configuration folder."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from vitrine_serving.errors import CommandError
from vitrine_serving.rollout.state import now

_ATTEMPTS = 10
_PAUSE_SECONDS = 0.05
_LONGEST_TEXT = 1000


class FolderLock:
    """A lock on the file at `path`, which says who holds it; dropped by the kernel with the process."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    @contextlib.contextmanager
    def held(self, by: str) -> Iterator[None]:
        """Raises CommandError that names the holder where there is one, or where the file cannot be written."""
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        except OSError as error:
            raise CommandError(
                f"cannot write {self._path}: {error.strerror}; this user must be able to write there"
            ) from None
        try:
            self._take(descriptor)
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"{by}, since {now()}\n".encode())
            self._descriptor = descriptor
            yield
        finally:
            self._descriptor = None
            os.close(descriptor)

    def check(self) -> None:
        """Raises CommandError where the file was taken away, so that somebody else may hold another."""
        if self._descriptor is None:
            return
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(self._descriptor), self._path.lstat()):
                return
        raise CommandError(
            f"{self._path} was removed while it was held, so another command may be at work; "
            "see with `status` what there is, and run the command again"
        )

    def holder(self) -> str | None:
        """What the holder said of itself; None where nobody holds it."""
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW)
        except OSError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _text(descriptor)
        finally:
            os.close(descriptor)
        return None

    def _take(self, descriptor: int) -> None:
        # `holder` has it for a moment, too.
        for _ in range(_ATTEMPTS):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(_PAUSE_SECONDS)
            else:
                return
        raise CommandError(
            f"{self._path.parent} is being changed by another command: {_text(descriptor)}; wait until it has ended"
        )


def _text(descriptor: int) -> str:
    said = os.pread(descriptor, _LONGEST_TEXT, 0).decode("utf-8", "replace")
    return " ".join(said.split()) or "somebody"
