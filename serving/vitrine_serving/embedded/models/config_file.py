"""Applies a file's list of models again when the two no longer agree."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from vitrine_serving.embedded.errors import ServingError
from vitrine_serving.embedded.models.config import ModelServerConfig, read_config_file

logger = logging.getLogger(__name__)


class ConfigFileWatcher:
    """Reads the file every `interval` seconds and hands a list that is not the current one to `reload`.

    As in TensorFlow Serving the file has the last word: a list that a client put in its place holds until
    the next look. A file that cannot be read or applied changes nothing and is tried again.
    """

    def __init__(
        self,
        path: str,
        interval: float,
        current: Callable[[], ModelServerConfig],
        reload: Callable[[ModelServerConfig], None],
    ) -> None:
        self._path = path
        self._interval = interval
        self._current = current
        self._reload = reload
        self._complaint = ""
        self._stopped = threading.Event()

    def start(self) -> None:
        threading.Thread(target=self._run, name="watch-config-file", daemon=True).start()

    def stop(self) -> None:
        self._stopped.set()

    def _run(self) -> None:
        while not self._stopped.wait(self._interval):
            try:
                self._complain(self._poll())
            except Exception:
                logger.exception("Unexpected failure while reading %s", self._path)

    def _poll(self) -> str:
        """What is wrong, if anything."""
        try:
            config = read_config_file(self._path)
        except ServingError as error:
            return f"Failed to read ModelServerConfig file: {error.message}"
        if config == self._current():
            return ""
        try:
            self._reload(config)
        except ServingError as error:
            return f"Failed to apply {self._path}: {error}"
        return ""

    def _complain(self, complaint: str) -> None:
        if complaint and complaint != self._complaint:
            logger.error(complaint)
        self._complaint = complaint
