"""Keeps the wanted versions of each model loaded and hands them to requests.

Follows TensorFlow Serving's availability-preserving policy: a new version is loaded before the old one
is unloaded, and a version that fails to load leaves the old one serving.
"""

from __future__ import annotations

import enum
import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from vitrine_serving.embedded.errors import Code, ServingError, not_found
from vitrine_serving.embedded.inference.saved_model import SavedModel
from vitrine_serving.embedded.models.servable import Servable
from vitrine_serving.embedded.models.storage import fingerprint

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


@dataclass(frozen=True)
class RetryPolicy:
    """How often, and after how many seconds, a failed load is tried again."""

    retries: int = 5
    interval_seconds: float = 60.0


@dataclass
class _Record:
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
    def failed(self) -> bool:
        return self.error is not None and not self.queued


class ServableManager:
    """Every model's versions. All methods may be called from any thread."""

    def __init__(self, load: Callable[[str], SavedModel], retry_policy: RetryPolicy | None = None) -> None:
        """`load` turns a version's directory into a model ready to serve, or raises ServingError."""
        self._load_model = load
        self._retry_policy = retry_policy or RetryPolicy()
        self._changed = threading.Condition()
        self._records: dict[str, dict[int, _Record]] = {}
        # Replaced as a whole on every change, so that requests read it without a lock.
        self._serving: Mapping[tuple[str, int | None], Servable] = {}
        self._loader = ThreadPoolExecutor(1, "model-load")
        self._stopping = False

    def acquire(self, name: str, version: int | None) -> Servable:
        """The version asked for, or the highest available one, held open for the caller to `release`.

        Raises ServingError NOT_FOUND.
        """
        while True:
            servable = self._serving.get((name, version))
            if servable is None:
                wanted = f"Latest({name})" if version is None else f"Specific({name}, {version})"
                raise not_found(f"Servable not found for request: {wanted}")
            # A version is taken off the map before it retires: looking again finds its successor.
            if servable.acquire():
                return servable

    def statuses(self, name: str) -> list[VersionStatus]:
        """Every version of the model ever seen, highest first; empty for an unknown model."""
        with self._changed:
            records = self._records.get(name, {})
            return [
                VersionStatus(record.version, record.state, record.error)
                for _, record in sorted(records.items(), reverse=True)
            ]

    def set_aspired(self, name: str, versions: Mapping[int, str]) -> None:
        """Make `versions` (number to directory) the ones to serve; all others of the model go."""
        changed = self._changed_since_failure(name)
        with self._changed:
            if self._stopping:
                return
            records = self._records.setdefault(name, {})
            for version, path in versions.items():
                record = records.get(version)
                gone = record is not None and record.state is State.END and not record.aspired
                if record is None or gone or (version in changed and record.failed):
                    if record is not None and record.retry is not None:
                        record.retry.cancel()
                    records[version] = _Record(name, version, path)
                elif record.state is not State.UNLOADING:
                    record.aspired = True
            for version, record in records.items():
                if version not in versions and record.aspired:
                    self._unaspire(record)
            self._reconcile(name)

    def wait_until_settled(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds for each wanted version to be available or to have failed once."""
        with self._changed:
            return self._changed.wait_for(self._settled, timeout)

    def stop(self, timeout: float) -> None:
        """Unload everything, giving requests in flight up to `timeout` seconds altogether."""
        deadline = time.monotonic() + timeout
        with self._changed:
            self._stopping = True
            self._serving = {}
            records = [record for versions in self._records.values() for record in versions.values()]
            for record in records:
                self._unaspire(record)
        for record in records:
            if record.servable is not None:
                record.servable.close(max(0.0, deadline - time.monotonic()))
        self._loader.shutdown(wait=False, cancel_futures=True)

    def _settled(self) -> bool:
        return all(
            record.state is State.AVAILABLE or record.error is not None
            for versions in self._records.values()
            for record in versions.values()
            if record.aspired
        )

    def _changed_since_failure(self, name: str) -> set[int]:
        """Failed versions whose files are no longer the ones that failed: a copy that has completed."""
        with self._changed:
            failed = [r for r in self._records.get(name, {}).values() if r.aspired and r.failed]
        return {record.version for record in failed if fingerprint(record.path) != record.fingerprint}

    def _unaspire(self, record: _Record) -> None:
        record.aspired = False
        if record.retry is not None:
            record.retry.cancel()
        if record.failed:
            self._enter(record, State.END)

    def _reconcile(self, name: str) -> None:
        """Start the loads and unloads that are due. Call with the lock held."""
        records = self._records[name].values()
        aspired = [record for record in records if record.aspired]
        for record in aspired:
            if record.state is State.START and not record.queued:
                self._queue(record)
        if not aspired or any(record.state is State.AVAILABLE for record in aspired):
            for record in records:
                if not record.aspired and record.state is State.AVAILABLE:
                    self._enter(record, State.UNLOADING)
                    self._publish()
                    threading.Thread(target=self._unload, args=[record], daemon=True).start()
        self._changed.notify_all()

    def _queue(self, record: _Record) -> None:
        record.queued = True
        self._loader.submit(self._load, record)

    def _retry(self, record: _Record) -> None:
        with self._changed:
            if record.aspired and not self._stopping:
                self._queue(record)

    def _load(self, record: _Record) -> None:
        with self._changed:
            if not record.aspired:
                record.queued = False
                self._enter(record, State.END)
                return
            record.attempts += 1
            self._enter(record, State.LOADING)
        error: ServingError | None = None
        try:
            record.fingerprint = fingerprint(record.path)
            model = self._load_model(record.path)
        except ServingError as failure:
            error = failure
        except Exception as failure:
            logger.exception("Unexpected failure while loading %s", record.path)
            error = ServingError(Code.INTERNAL, f"{type(failure).__name__}: {failure}")
        with self._changed:
            record.queued = False
            record.error = error
            if error is not None:
                self._after_failure(record, error)
            else:
                # Even a version no longer wanted becomes available first: _reconcile unloads it.
                record.servable = Servable(record.name, record.version, model)
                self._enter(record, State.AVAILABLE)
                if not self._stopping:
                    self._publish()
            self._reconcile(record.name)

    def _after_failure(self, record: _Record, error: ServingError) -> None:
        tries = self._retry_policy.retries + 1
        again = record.aspired and record.attempts < tries
        logger.error(
            "Model %s version %d: load failed (try %d of %d)%s: %s",
            record.name,
            record.version,
            record.attempts,
            tries,
            f", next try in {self._retry_policy.interval_seconds:g} s" if again else "",
            error,
        )
        if not again:
            self._enter(record, State.END)
            return
        record.retry = threading.Timer(self._retry_policy.interval_seconds, self._retry, [record])
        record.retry.daemon = True
        record.retry.start()

    def _unload(self, record: _Record) -> None:
        if record.servable is not None:
            record.servable.close()
        with self._changed:
            record.servable = None
            self._enter(record, State.END)
            self._reconcile(record.name)

    def _publish(self) -> None:
        serving: dict[tuple[str, int | None], Servable] = {}
        for name, versions in self._records.items():
            for version, record in sorted(versions.items()):
                if record.state is State.AVAILABLE and record.servable is not None:
                    serving[name, version] = serving[name, None] = record.servable
        self._serving = serving

    def _enter(self, record: _Record, state: State) -> None:
        if record.state is not state:
            record.state = state
            logger.info("Model %s version %d: %s", record.name, record.version, state.name)
