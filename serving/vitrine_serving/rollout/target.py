"""What a rollout acts on: a fleet in Kubernetes, or one server. Everything may be done again, with the same outcome."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from vitrine_client.blocking import Client
from vitrine_serving.rollout.state import RolloutState


class Track(str, Enum):
    STABLE = "stable"
    CANARY = "canary"


@dataclass(frozen=True)
class Health:
    """Have all wanted servers of a track the wanted version ready?

    Attributes:
        ready: yes, and none is left of another version.
        failed: they never will be, for the reason in `told`; False while they may.
        told: one line for people: what is waited for, or why it failed.
    """

    ready: bool
    failed: bool = False
    told: str = ""


@dataclass(frozen=True)
class TrackStatus:
    """One track, for people and scripts.

    Attributes:
        version: None where there is none.
        wanted, ready: servers.
        share: of the traffic, 0 to 1; None where the target cannot tell.
        health: `ok`, `starting`, `failing` or `none`.
        told: one line that explains it.
    """

    track: Track
    version: int | None
    wanted: int
    ready: int
    share: float | None
    health: str
    told: str = ""


@dataclass(frozen=True)
class TargetStatus:
    """What there is, and the rollout that was last at work."""

    target: str
    model: str
    tracks: tuple[TrackStatus, ...]
    rollout: RolloutState | None
    holder: str | None
    """Who is at work just now; None for nobody."""


@dataclass(frozen=True)
class Change:
    """What a step would change: one object or file, before and after it, as text."""

    name: str
    before: str
    after: str


class Target(Protocol):
    """All methods raise CommandError, or VitrineError where a server does not answer."""

    model: str

    @property
    def name(self) -> str:
        """What people call it."""

    @property
    def divides_traffic(self) -> bool:
        """Can clients that name no version be divided between both?"""

    def held(self, by: str) -> AbstractContextManager[None]:
        """Be the only one at work; raises CommandError that names the other. Ends with the process, at the latest
        after some seconds. Raises CommandError at the next call of any method that changes something when it was
        lost to somebody else."""

    def state(self) -> RolloutState | None: ...

    def save(self, state: RolloutState) -> None:
        """Durable when it returns."""

    def stable_version(self) -> int: ...

    def previous_version(self) -> int | None:
        """What stable was before it was last changed by a rollout; None where nobody knows."""

    def start_canary(self, version: int) -> None:
        """Begin to have at least one server of `version`, to which no client is sent that does not ask for it."""

    def canary_health(self, version: int) -> Health: ...

    def set_share(self, percent: int) -> None:
        """Begin to give the canary about that share of the traffic."""

    def share_health(self, percent: int) -> Health:
        """Is the share as wanted, all servers of the canary ready?"""

    def begin_promotion(self, version: int, previous: int | None) -> None:
        """Begin to have stable change to `version`, without a pause; `previous` is remembered as what it was before."""

    def promotion_health(self, version: int) -> Health:
        """Is stable wholly at `version`?"""

    def end_canary(self) -> None:
        """Begin to end the canary's servers, once no client is sent to them."""

    def canary_ended(self) -> Health: ...

    def clients(self, track: Track) -> Sequence[Client]:
        """New clients, one for each ready server of the track, that ask for the track's version; close them."""

    def prometheus_selectors(self, track: Track) -> str | None:
        """Label matchers of PromQL that pick the track's servers, such as `pod=~"..."`; None where there are none."""

    def status(self) -> TargetStatus: ...

    def warnings(self, version: int) -> Sequence[str]:
        """What a rollout of `version` means for clients, and the way round it."""

    def rollout_changes(self, version: int) -> list[Change]:
        """What a rollout of `version` would have changed at its end, for --dry-run; nothing is changed."""
