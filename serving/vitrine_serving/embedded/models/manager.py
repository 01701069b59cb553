"""Keeps the wanted versions of each model loaded and hands them to requests.

Follows TensorFlow Serving's availability-preserving policy: a new version is loaded before the old one
is unloaded, and a version that fails to load leaves the old one serving.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from vitrine_serving.embedded.errors import Code, ServingError
from vitrine_serving.embedded.inference.model import Model
from vitrine_serving.embedded.models.servable import Servable
from vitrine_serving.embedded.models.serving_map import ServingMap
from vitrine_serving.embedded.models.storage import fingerprint
from vitrine_serving.embedded.models.version import ManagedVersion, State, VersionStatus

logger = logging.getLogger(__name__)

Load = Callable[[str, int, str], Model]


@dataclass(frozen=True)
class RetryPolicy:
    """How often, and after how many seconds, a failed load is tried again."""

    retries: int = 5
    interval_seconds: float = 60.0


class ServableManager:
    """Every model's versions. All methods may be called from any thread."""

    def __init__(
        self,
        load: Load,
        retry_policy: RetryPolicy | None = None,
        num_load_threads: int = 0,
        on_change: Callable[[], object] = lambda: None,
        num_initial_load_threads: int = 0,
    ) -> None:
        """`load` makes a model ready to serve of a name, a version and its directory, or raises ServingError.

        Up to `num_load_threads` versions load at once, and never fewer than one; until the first ones have
        settled, when nobody is served yet, up to `num_initial_load_threads` if those are more. `on_change` is
        called, with no lock held, after the available versions may have changed.
        """
        self._load_model = load
        self._retry_policy = retry_policy or RetryPolicy()
        self._changed = threading.Condition()
        self._wanted: dict[str, Mapping[int, str]] = {}
        self._versions: dict[str, dict[int, ManagedVersion]] = {}
        self._serving = ServingMap()
        self._on_change = on_change
        self._num_load_threads = max(1, num_load_threads)
        self._loader = ThreadPoolExecutor(max(self._num_load_threads, num_initial_load_threads), "model-load")
        self._starting = True
        self._stopping = False

    def acquire(self, name: str, version: int | None) -> Servable:
        """The version asked for, or the highest available one, held open for the caller to `release`.

        Raises ServingError NOT_FOUND.
        """
        return self._serving.acquire(name, version)

    def is_serving(self, name: str, version: int | None = None) -> bool:
        """Whether this version of the model is available; without a version, whether any is."""
        return self._serving.is_serving(name, version)

    def statuses(self, name: str) -> list[VersionStatus]:
        """Every version of the model ever seen, highest first; empty for an unknown model."""
        with self._changed:
            return self._statuses(name)

    def models(self) -> dict[str, list[VersionStatus]]:
        """The `statuses` of every model ever wanted, by name."""
        with self._changed:
            return {name: self._statuses(name) for name in sorted(self._versions)}

    def set_aspired(self, name: str, versions: Mapping[int, str]) -> None:
        """Make `versions` (number to directory) the ones to serve; all others of the model go."""
        mended = self._mended(name, versions)
        with self._changed:
            if self._stopping:
                return
            self._wanted[name] = dict(versions)
            managed = self._versions.setdefault(name, {})
            for number in mended:
                if managed[number].failed:
                    managed.pop(number).unaspire()
            self._aspire(name)
        self._on_change()

    def wait_until_settled(self, timeout: float | None = None) -> bool:
        """Wait up to `timeout` s for each version wanted to be available or to have failed once; ends start-up."""
        with self._changed:
            settled = self._changed.wait_for(self._settled, timeout)
            if settled and self._starting and not self._stopping:
                # From now on loads take the cores from requests.
                self._starting = False
                self._loader.shutdown(wait=False)
                self._loader = ThreadPoolExecutor(self._num_load_threads, "model-load")
            return settled

    def wait_until_decided(self, names: Iterable[str], timeout: float | None = None) -> dict[str, VersionStatus | None]:
        """Wait up to `timeout` seconds until each model has a version available or failed for the last time.

        Returns the highest such wanted version by model, None for a model of which none is wanted (or the
        manager has stopped). Raises ServingError DEADLINE_EXCEEDED when time is up.
        """
        names = sorted(names)
        limit = None if timeout is None else min(timeout, threading.TIMEOUT_MAX)
        with self._changed:
            if not self._changed.wait_for(lambda: not self._undecided(names), limit):
                raise ServingError(
                    Code.DEADLINE_EXCEEDED,
                    f"Timed out waiting for models to become available: {', '.join(self._undecided(names))}",
                )
            return {name: self._decided(name) for name in names}

    def stop(self, timeout: float) -> None:
        """Unload everything, giving requests in flight up to `timeout` seconds altogether."""
        deadline = time.monotonic() + timeout
        with self._changed:
            self._stopping = True
            self._wanted = {}
            versions = [version for managed in self._versions.values() for version in managed.values()]
            for version in versions:
                version.unaspire()
                if version.state is State.AVAILABLE:
                    version.enter(State.UNLOADING)
            servables = [version.servable for version in versions if version.servable is not None]
            self._publish()
            self._changed.notify_all()
        self._on_change()
        for servable in servables:
            servable.close(max(0.0, deadline - time.monotonic()))
        self._loader.shutdown(wait=False, cancel_futures=True)

    def _statuses(self, name: str) -> list[VersionStatus]:
        return [version.status for _, version in sorted(self._versions.get(name, {}).items(), reverse=True)]

    def _aspired(self, name: str) -> list[ManagedVersion]:
        """The model's wanted versions, highest first."""
        return [version for _, version in sorted(self._versions.get(name, {}).items(), reverse=True) if version.aspired]

    def _settled(self) -> bool:
        wanted = [self._versions[name][number] for name, numbers in self._wanted.items() for number in numbers]
        return all(version.state is State.AVAILABLE or version.error is not None for version in wanted)

    def _decided(self, name: str) -> VersionStatus | None:
        reached = (version for version in self._aspired(name) if version.state in (State.AVAILABLE, State.END))
        return next((version.status for version in reached), None)

    def _undecided(self, names: Iterable[str]) -> list[str]:
        return [name for name in names if self._wanted.get(name) and self._decided(name) is None]

    def _mended(self, name: str, versions: Mapping[int, str]) -> list[int]:
        """Failed versions whose files are no longer the ones that failed: a copy that has completed."""
        with self._changed:
            failed = [version for version in self._aspired(name) if version.failed and version.version in versions]
        return [
            version.version
            for version in failed
            if versions[version.version] != version.path or fingerprint(version.path) != version.fingerprint
        ]

    def _aspire(self, name: str) -> None:
        """Bring the model's versions in line with the wanted ones. Call with the lock held."""
        wanted = self._wanted.get(name, {})
        managed = self._versions[name]
        for number, path in wanted.items():
            version = managed.get(number)
            if version is None or version.over:
                managed[number] = ManagedVersion(name, number, path)
            elif version.state is not State.UNLOADING:
                version.aspired = True
        for number, version in managed.items():
            if number not in wanted and version.aspired:
                version.unaspire()
        self._reconcile(name)

    def _reconcile(self, name: str) -> None:
        """Start the loads and unloads that are due. Call with the lock held."""
        aspired = self._aspired(name)
        for version in aspired:
            if version.state is State.START and not version.queued:
                self._queue(version)
        surplus = [
            version
            for _, version in sorted(self._versions[name].items())
            if version.state is State.AVAILABLE and not version.aspired
        ]
        if aspired and not any(version.state is State.AVAILABLE for version in aspired):
            # The highest goes on serving until a wanted version can.
            surplus = surplus[:-1]
        for version in surplus:
            version.enter(State.UNLOADING)
        if surplus:
            self._publish()
        for version in surplus:
            threading.Thread(target=self._unload, args=[version], daemon=True).start()
        self._changed.notify_all()

    def _queue(self, version: ManagedVersion) -> None:
        version.queued = True
        self._loader.submit(self._load, version)

    def _retry(self, version: ManagedVersion) -> None:
        with self._changed:
            if version.aspired and not self._stopping:
                self._queue(version)

    def _load(self, version: ManagedVersion) -> None:
        with self._changed:
            if not version.aspired:
                # At its end before the lock is let go: wanted again, it is a new one that loads.
                version.queued = False
                version.enter(State.END)
                self._aspire(version.name)
                return
            version.attempts += 1
            version.enter(State.LOADING)
        outcome = self._attempt(version)
        with self._changed:
            version.queued = False
            if isinstance(outcome, ServingError):
                version.error = outcome
                self._after_failure(version, outcome)
            else:
                # Even a version no longer wanted becomes available first: _reconcile unloads it.
                version.error = None
                version.servable = outcome
                version.enter(State.AVAILABLE)
                self._publish()
            self._aspire(version.name)
        self._on_change()

    def _attempt(self, version: ManagedVersion) -> Servable | ServingError:
        try:
            version.fingerprint = fingerprint(version.path)
            return Servable(
                version.name, version.version, self._load_model(version.name, version.version, version.path)
            )
        except ServingError as error:
            # The status outlives the load, whose model the traceback of the original would keep in memory.
            return error.untraced()
        except Exception as error:
            logger.exception("Unexpected failure while loading %s", version.path)
            return ServingError(Code.INTERNAL, f"{type(error).__name__}: {error}")

    def _after_failure(self, version: ManagedVersion, error: ServingError) -> None:
        tries = self._retry_policy.retries + 1
        again = version.aspired and version.attempts < tries
        interval = min(self._retry_policy.interval_seconds, threading.TIMEOUT_MAX)
        logger.error(
            "Model %s version %d: load failed (try %d of %d)%s: %s",
            version.name,
            version.version,
            version.attempts,
            tries,
            f", next try in {interval:g} s" if again else "",
            error,
        )
        if not again:
            version.enter(State.END)
            return
        version.retry = threading.Timer(interval, self._retry, [version])
        version.retry.daemon = True
        version.retry.start()

    def _unload(self, version: ManagedVersion) -> None:
        try:
            if version.servable is not None:
                version.servable.close()
        except Exception:
            logger.exception("Unexpected failure while unloading %s", version.path)
        with self._changed:
            version.servable = None
            version.enter(State.END)
            # It may have been wanted again in the meantime.
            self._aspire(version.name)
        self._on_change()

    def _publish(self) -> None:
        """Let requests see what is available. Call with the lock held."""
        available = [
            version.servable
            for managed in self._versions.values()
            for version in managed.values()
            if version.state is State.AVAILABLE and version.servable is not None and not self._stopping
        ]
        self._serving.publish(available)
