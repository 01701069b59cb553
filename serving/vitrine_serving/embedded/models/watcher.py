"""Watches the base paths of all models and tells the manager which versions to serve."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence

import tensorflow as tf

from vitrine_serving.embedded.errors import ServingError, invalid_argument
from vitrine_serving.embedded.models.config import MonitoredModel
from vitrine_serving.embedded.models.manager import ServableManager
from vitrine_serving.embedded.models.policies import Selection, select
from vitrine_serving.embedded.models.storage import list_children

logger = logging.getLogger(__name__)


class Watcher:
    """Looks for versions every `interval` seconds: 0 looks once after each `watch`, a negative value never."""

    def __init__(self, manager: ServableManager, interval: float) -> None:
        self._manager = manager
        self._interval = interval
        # Held through a look at the storage: a look that began before a change of the list must not
        # bring back a model the change has removed.
        self._lock = threading.Lock()
        self._models: Sequence[MonitoredModel] = ()
        self._complaints: dict[str, list[str]] = {}
        self._stopped = threading.Event()

    def start(self) -> None:
        """Go on looking in the background."""
        if self._interval < 0:
            logger.warning("file_system_poll_wait_seconds is negative: no version will ever be loaded")
        elif self._interval > 0:
            threading.Thread(target=self._run, name="watch-base-paths", daemon=True).start()

    def stop(self) -> None:
        self._stopped.set()

    def watch(self, models: Sequence[MonitoredModel]) -> None:
        """Watch these models in place of the present ones, which are unloaded, and look for versions at once."""
        with self._lock:
            for removed in {model.name for model in self._models} - {model.name for model in models}:
                self._manager.set_aspired(removed, {})
                self._complaints.pop(removed, None)
            self._models = models
            if self._interval >= 0:
                self._poll()

    def _run(self) -> None:
        while not self._stopped.wait(self._interval):
            with self._lock:
                self._poll()

    def _poll(self) -> None:
        for model in self._models:
            try:
                self._poll_model(model)
            except Exception:
                logger.exception("Unexpected failure while looking for versions of model %s", model.name)

    def _poll_model(self, model: MonitoredModel) -> None:
        try:
            selection = _selection(model)
        except ServingError as error:
            # A base path that is unreadable for a moment must not unload what is being served.
            self._complain(model, [error.message])
            return
        self._complain(model, selection.warnings)
        self._manager.set_aspired(
            model.name,
            {version: tf.io.gfile.join(model.base_path, child) for version, child in selection.children.items()},
        )

    def _complain(self, model: MonitoredModel, complaints: list[str]) -> None:
        for complaint in complaints:
            if complaint not in self._complaints.get(model.name, ()):
                logger.warning(complaint)
        self._complaints[model.name] = complaints


def _selection(model: MonitoredModel) -> Selection:
    try:
        children = list_children(model.base_path)
    except (OSError, UnicodeError) as error:
        raise invalid_argument(
            f"Could not find base path {model.base_path} for servable {model.name} with error {error}"
        ) from error
    return select(model.policy, model.name, model.base_path, children)
