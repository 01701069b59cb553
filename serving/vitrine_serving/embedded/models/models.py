"""All models of the server: what is served, what clients may call it, and how that is changed."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from vitrine_serving.embedded.errors import Code, ServingError, invalid_argument
from vitrine_serving.embedded.models.announcer import Announcer, ServingCallback
from vitrine_serving.embedded.models.config import (
    ModelServerConfig,
    check_list,
    check_platforms_kept,
    monitored_models,
)
from vitrine_serving.embedded.models.config_file import ConfigFileWatcher
from vitrine_serving.embedded.models.labels import LabelPolicy, Labels, assign_labels, resolve_label
from vitrine_serving.embedded.models.manager import Load, RetryPolicy, ServableManager
from vitrine_serving.embedded.models.servable import Servable
from vitrine_serving.embedded.models.version import State, VersionStatus
from vitrine_serving.embedded.models.watcher import Watcher

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ModelsOptions:
    """How models are looked for and loaded; the names are those of TensorFlow Serving's flags and server core."""

    retry_policy: RetryPolicy = field(default_factory=RetryPolicy)
    num_load_threads: int = 0
    num_initial_load_threads: int = 0
    file_system_poll_wait_seconds: float = 1
    labels: LabelPolicy = field(default_factory=LabelPolicy)


class Models:
    """The models of one server. All methods may be called from any thread."""

    def __init__(self, load: Load, options: ModelsOptions | None = None) -> None:
        """`load` makes a model ready to serve of a name, a version and its directory, or raises ServingError."""
        self._options = options or ModelsOptions()
        self._config = ModelServerConfig()
        # Replaced as a whole, so that requests read it without a lock.
        self._labels: Labels = {}
        self._announcer = Announcer(self.serving)
        self._manager = ServableManager(
            load,
            self._options.retry_policy,
            self._options.num_load_threads,
            self._announcer.announce,
            self._options.num_initial_load_threads,
        )
        self._watcher = Watcher(self._manager, self._options.file_system_poll_wait_seconds)
        self._config_file: ConfigFileWatcher | None = None
        self._reloading = threading.Lock()
        # The models that reloads wait for, once for each reload.
        self._awaited: Counter[str] = Counter()

    @property
    def config(self) -> ModelServerConfig:
        """The list of models that was last accepted. Not to be modified."""
        return self._config

    def start(self, config: ModelServerConfig) -> None:
        """Accept a first list of models, look for their versions and keep looking; does not wait for loads.

        Raises ServingError, as `reload` does, when the list is refused.
        """
        with self._reloading:
            self._accept(config)
        self._watcher.start()

    def watch_config_file(self, path: str, interval: float) -> None:
        """Reload from the file every `interval` seconds, whenever it differs from what is served."""
        self._config_file = ConfigFileWatcher(path, interval, lambda: self._config, self.reload)
        self._config_file.start()

    def reload(self, config: ModelServerConfig, timeout: float | None = None) -> None:
        """Serve the models of `config` and no others; waits up to `timeout` seconds for the new to be available.

        A refused list changes nothing: ServingError INVALID_ARGUMENT when it is not valid,
        FAILED_PRECONDITION when a label is for a version that is not available or the kind of the list
        changes. An accepted list stays so and goes on being watched: UNKNOWN when a new model failed to load,
        has no version or was left out by a later list, DEADLINE_EXCEEDED when time is up. Lists are accepted
        one at a time, and not held up by those that still wait for their models; the same list sent again
        waits with the first.
        """
        with self._reloading:
            names = _names(config)
            new = names & self._awaited.keys() if config == self._config else names - _names(self._config)
            self._accept(config)
            self._awaited.update(new)
        try:
            decided = self._manager.wait_until_decided(new, timeout)
        finally:
            # A list that is being accepted unloads what it leaves out before it is the current one.
            with self._reloading:
                listed = _names(self._config)
                self._awaited -= Counter(new)
        _require_available(decided, listed)

    def wait_until_settled(self, timeout: float | None = None) -> bool:
        """Wait up to `timeout` seconds for each wanted version to be available or to have failed once."""
        return self._manager.wait_until_settled(timeout)

    def acquire(self, name: str, version: int | None = None, label: str | None = None) -> Servable:
        """The version asked for by number or label, or the highest available, for the caller to `release`.

        Raises ServingError: INVALID_ARGUMENT for an unknown label, NOT_FOUND when there is no such version.
        """
        if label is not None:
            version = resolve_label(self._labels, name, label)
        return self._manager.acquire(name, version)

    def statuses(self, name: str) -> list[VersionStatus]:
        """Every version of the model ever seen, highest first; empty for an unknown model."""
        return self._manager.statuses(name)

    def models(self) -> dict[str, list[VersionStatus]]:
        """The `statuses` of every model that is or was listed, by name."""
        listed: dict[str, list[VersionStatus]] = {model.name: [] for model in self._config.model_config_list.config}
        return dict(sorted((listed | self._manager.models()).items()))

    def is_serving(self, name: str) -> bool:
        """Whether a version of the model is available."""
        return self._manager.is_serving(name)

    def serving(self) -> dict[str, bool]:
        """Whether each listed model has an available version."""
        return {model.name: self._manager.is_serving(model.name) for model in self._config.model_config_list.config}

    def labels(self) -> dict[str, dict[str, int]]:
        """By model, the version each of its labels stands for."""
        labels: dict[str, dict[str, int]] = {}
        for (name, label), version in self._labels.items():
            labels.setdefault(name, {})[label] = version
        return labels

    def on_change(self, callback: ServingCallback) -> None:
        """Call `callback(serving())` now and whenever that changes, one call at a time and no lock held."""
        self._announcer.subscribe(callback)

    def stop_watching(self) -> None:
        """Look for no more changes; what is being served is served on."""
        if self._config_file is not None:
            self._config_file.stop()
        self._watcher.stop()

    def stop(self, timeout: float) -> None:
        """Stop looking and unload everything, giving requests in flight up to `timeout` seconds altogether."""
        self.stop_watching()
        self._manager.stop(timeout)

    def _accept(self, config: ModelServerConfig) -> None:
        before, kind = self._config.WhichOneof("config"), config.WhichOneof("config")
        if before is not None and kind != before:
            raise ServingError(
                Code.FAILED_PRECONDITION,
                "Cannot transition to requested config. It is only legal to transition "
                "from one ModelConfigList to another.",
            )
        if kind is None:
            logger.info("Taking no action for empty config.")
            return
        if kind != "model_config_list":
            raise invalid_argument("Invalid ServerModelConfig: custom model config is not supported")
        listed = config.model_config_list.config
        check_list(listed)
        for model in listed:
            if model.HasField("logging_config"):
                logger.warning("The logging_config of model %s has no effect here: requests are not logged", model.name)
        check_platforms_kept(self._config.model_config_list.config, listed)
        labels = assign_labels(listed, self._labels, self._manager.is_serving, self._options.labels)
        self._watcher.watch(monitored_models(listed))
        self._labels = labels
        accepted = ModelServerConfig()
        accepted.CopyFrom(config)
        self._config = accepted
        self._announcer.announce()
        logger.info("Serving models: %s", ", ".join(model.name for model in listed) or "none")


def _names(config: ModelServerConfig) -> set[str]:
    return {model.name for model in config.model_config_list.config}


def _require_available(decided: Mapping[str, VersionStatus | None], listed: set[str]) -> None:
    reasons = []
    for name, status in sorted(decided.items()):
        if status is None:
            error = "no versions found under its base path" if name in listed else "a later list leaves it out"
            reasons.append(f"{{{{name: {name}}} due to error: {error}}}, ")
        elif status.state is not State.AVAILABLE:
            error = f" due to error: {status.error}" if status.error else ""
            reasons.append(f"{{{{name: {name} version: {status.version}}}{error}}}, ")
    if reasons:
        message = f"{len(reasons)} model(s) did not become available: {{{''.join(reasons)}}}"
        raise ServingError(Code.UNKNOWN, message)
