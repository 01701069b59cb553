"""One version of a model: where it is in its life, and how its last load went."""

from __future__ import annotations

import enum
import logging
import threading
from dataclasses import dataclass

from vitrine_serving.embedded.errors import ServingError
from vitrine_serving.embedded.models.servable import Servable

logger = logging.getLogger(__name__)


class State(enum.IntEnum):
    """Where a version is in its life, numbered as in TensorFlow Serving's ModelVersionStatus."""

    START = 10
    LOADING = 20
    AVAILABLE = 30
    UNLOADING = 40
    END = 50


@dataclass(frozen=True)
class VersionStatus:
    """What is known of one version; `error` is why its last attempt to load failed."""

    version: int
    state: State
    error: ServingError | None


@dataclass
class ManagedVersion:
    """What the manager keeps of one version, guarded by the manager's lock."""

    name: str
    version: int
    path: str
    aspired: bool = True
    state: State = State.START
    error: ServingError | None = None
    servable: Servable | None = None
    attempts: int = 0
    queued: bool = False
    fingerprint: object = None
    retry: threading.Timer | None = None

    @property
    def status(self) -> VersionStatus:
        return VersionStatus(self.version, self.state, self.error)

    @property
    def failed(self) -> bool:
        return self.error is not None and not self.queued

    @property
    def over(self) -> bool:
        """Nothing more will happen to it; to serve this version again takes a new one of these."""
        return self.state is State.END and not self.aspired

    def enter(self, state: State) -> None:
        if self.state is not state:
            self.state = state
            logger.info("Model %s version %d: %s", self.name, self.version, state.name)

    def unaspire(self) -> None:
        """Stop wanting it: no more tries to load, and the end for one that has failed."""
        self.aspired = False
        if self.retry is not None:
            self.retry.cancel()
        if self.failed:
            self.enter(State.END)
