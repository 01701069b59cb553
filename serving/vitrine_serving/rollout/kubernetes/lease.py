"""One rollout at a time: a lock that is a Lease, so that everybody sees who holds it."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone

from vitrine_serving.errors import CommandError
from vitrine_serving.rollout.kubernetes.api import Api, Conflict, Kind, Missing, Object
from vitrine_serving.rollout.kubernetes.process import is_dead, this_process

DURATION_SECONDS = 15
_RENEW_SECONDS = DURATION_SECONDS / 3
# Somebody whose clock goes wrong, but who is alive, renews within this time.
_WATCH_SECONDS = _RENEW_SECONDS + 2
_LOOK_SECONDS = 0.5
_TOKEN = "vitrine.dev/holder-token"  # noqa: S105
_PROCESS = "vitrine.dev/holder-process"
_TIME = "%Y-%m-%dT%H:%M:%S.%fZ"


def holder_of(api: Api, name: str) -> str | None:
    """Who holds the Lease just now."""
    lease = api.find(Kind.LEASE, name)
    if lease is None or not _is_held(lease) or not _is_fresh(lease) or is_dead(_annotations(lease).get(_PROCESS, "")):
        return None
    return str(lease["spec"]["holderIdentity"])


class Lock:
    """Holds one Lease at a time. `check` goes before each change that only the holder may make."""

    def __init__(self, api: Api, name: str) -> None:
        self._api = api
        # The thread comes again anyway, and must end when it is told to.
        self._hasty = Api(api.connection, patience=1)
        self._name = name
        self._lease: Object | None = None
        self._token = ""
        self._renewed = 0.0
        self._lost: str | None = None
        self._changing = threading.Lock()

    @contextmanager
    def held(self, by: str) -> Iterator[None]:
        """Take the Lease as `by`, renew it in a thread, give it back. Raises CommandError that names another holder."""
        self._token, self._lost = secrets.token_hex(16), None
        self._take(by)
        done = threading.Event()
        renewing = threading.Thread(target=self._renew_until, args=(done,), name="lease", daemon=True)
        renewing.start()
        try:
            yield
        finally:
            done.set()
            renewing.join()
            self._give_back()

    def check(self) -> None:
        """Raises CommandError where the Lease was lost to somebody else, or was never taken.

        Where it could not be renewed in time it is renewed now: that succeeds only if nobody has taken it.
        """
        if self._lease is None:
            raise CommandError("a change without holding the lease of the rollouts; this is a mistake in the program")
        if time.monotonic() - self._renewed > 2 * _RENEW_SECONDS:
            self._renew(self._api)
        if self._lost is not None:
            raise CommandError(
                f"lease {self._name} was lost to {self._lost}, so nothing more is changed; see `status`, and run the "
                "command again when the other one is done"
            )

    def _take(self, by: str) -> None:
        while True:
            lease = self._api.find(Kind.LEASE, self._name)
            begun = time.monotonic()
            try:
                if lease is None:
                    kept = self._api.create(Kind.LEASE, self._taken({"metadata": {"name": self._name}}, by, 0))
                elif _annotations(lease).get(_TOKEN) == self._token:
                    # Taken by a call whose answer was lost.
                    kept = lease
                else:
                    self._wait_for_end(lease)
                    transitions = int((lease.get("spec") or {}).get("leaseTransitions") or 0) + 1
                    kept = self._api.replace(Kind.LEASE, self._taken(lease, by, transitions))
            except Conflict:
                continue
            self._lease, self._renewed = kept, begun
            return

    def _wait_for_end(self, lease: Object) -> None:
        """Returns where nobody holds `lease`; raises CommandError where somebody does."""
        if not _is_held(lease) or is_dead(_annotations(lease).get(_PROCESS, "")):
            return
        # The holder's clock may go wrong, but it renews. Of one that was just killed elsewhere, the lease is fresh.
        begun = time.monotonic()
        while time.monotonic() - begun < (DURATION_SECONDS if _is_fresh(lease) else _WATCH_SECONDS):
            time.sleep(_LOOK_SECONDS)
            now = self._api.get(Kind.LEASE, self._name)
            if now["metadata"]["resourceVersion"] != lease["metadata"]["resourceVersion"]:
                lease = now
                break
        else:
            return
        if not _is_held(lease):
            return
        spec = lease["spec"]
        raise CommandError(
            f"{spec['holderIdentity']} is at work, since {spec.get('acquireTime')}; wait for it, or end it there and "
            f"run this again {DURATION_SECONDS} seconds later (lease {self._name})"
        )

    def _renew_until(self, done: threading.Event) -> None:
        while not done.wait(_RENEW_SECONDS):
            try:
                self._renew(self._hasty)
            except CommandError:
                # `check` tells whoever changes something; until then there may be nothing to tell.
                continue

    def _renew(self, api: Api) -> None:
        with self._changing:
            if self._lease is None or self._lost is not None:
                return
            begun = time.monotonic()
            renewed = {**self._lease, "spec": {**self._lease["spec"], "renewTime": _now()}}
            try:
                self._lease = api.replace(Kind.LEASE, renewed)
            except Conflict:
                now = api.find(Kind.LEASE, self._name)
                if now is None or _annotations(now).get(_TOKEN) != self._token:
                    self._lost = str(now["spec"].get("holderIdentity")) if now and _is_held(now) else "somebody"
                    return
                self._lease = now
            except Missing:
                self._lost = "somebody who deleted it"
                return
            self._renewed = begun

    def _give_back(self) -> None:
        with self._changing:
            lease, self._lease = self._lease, None
            if lease is None or self._lost is not None:
                return
            try:
                self._hasty.replace(Kind.LEASE, {**lease, "spec": {**lease["spec"], "holderIdentity": ""}})
            except CommandError:
                # It ends by itself.
                return

    def _taken(self, lease: Object, by: str, transitions: int) -> Object:
        now = _now()
        mine = {**_annotations(lease), _TOKEN: self._token, _PROCESS: this_process()}
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {**lease["metadata"], "annotations": mine},
            "spec": {
                "holderIdentity": by,
                "leaseDurationSeconds": DURATION_SECONDS,
                "acquireTime": now,
                "renewTime": now,
                "leaseTransitions": transitions,
            },
        }


def _annotations(lease: Object) -> dict[str, str]:
    annotations: dict[str, str] = lease["metadata"].get("annotations") or {}
    return annotations


def _is_held(lease: Object) -> bool:
    return bool((lease.get("spec") or {}).get("holderIdentity"))


def _is_fresh(lease: Object) -> bool:
    try:
        renewed = datetime.strptime(lease["spec"]["renewTime"], _TIME).replace(tzinfo=timezone.utc)
    except (KeyError, TypeError, ValueError):
        return False
    seconds = float(lease["spec"].get("leaseDurationSeconds") or DURATION_SECONDS)
    # Written ahead of now: by a clock that goes wrong, which says nothing.
    return abs((datetime.now(timezone.utc) - renewed).total_seconds()) < seconds


def _now() -> str:
    return datetime.now(timezone.utc).strftime(_TIME)
