"""Watches a model's base path and tells the manager which version to serve."""

from __future__ import annotations

import logging
import threading

from vitrine_serving.embedded.models.manager import ServableManager
from vitrine_serving.embedded.models.storage import list_versions

logger = logging.getLogger(__name__)


class Watcher:
    """Looks for the latest version every `interval` seconds: 0 looks once, a negative value never."""

    def __init__(self, manager: ServableManager, name: str, base_path: str, interval: float) -> None:
        self._manager = manager
        self._name = name
        self._base_path = base_path
        self._interval = interval
        self._stopped = threading.Event()
        self._complaint = ""

    def start(self) -> None:
        """Look once, so that the first version is known on return, then go on in the background."""
        if self._interval < 0:
            logger.warning("file_system_poll_wait_seconds is negative: no version will ever be loaded")
            return
        self._poll()
        if self._interval > 0:
            threading.Thread(target=self._run, name="watch-base-path", daemon=True).start()

    def stop(self) -> None:
        self._stopped.set()

    def _run(self) -> None:
        while not self._stopped.wait(self._interval):
            self._poll()

    def _poll(self) -> None:
        try:
            versions = list_versions(self._base_path)
        except (OSError, UnicodeError) as error:
            # A base path that is unreadable for a moment must not unload what is being served.
            self._complain(f"Could not read base path {self._base_path} of model {self._name}: {error}")
            return
        if versions:
            self._complaint = ""
            latest = max(versions)
            self._manager.set_aspired(self._name, {latest: versions[latest]})
        else:
            self._complain(
                f"No versions of servable {self._name} found under base path {self._base_path}. "
                "Did you forget to name your leaf directory as a number (eg. '/1/')? Still looking."
            )
            self._manager.set_aspired(self._name, {})

    def _complain(self, complaint: str) -> None:
        if complaint != self._complaint:
            self._complaint = complaint
            logger.warning(complaint)
