"""How far a rollout has come. It is kept in the target, so that whoever comes next goes on from there."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from enum import Enum
from typing import Any

from vitrine_serving.errors import CommandError


class Phase(str, Enum):
    """What is being done, or was done last. Each begins by doing again whatever may be half done."""

    STARTING = "starting"
    """The canary's servers start; no client is sent to them."""
    CHECKING = "checking"
    """The golden pictures are asked for."""
    SHARING = "sharing"
    """The canary has a share of the traffic and is judged; `step` says which share."""
    WAITING = "waiting"
    """All was judged good, or `canary` was asked for alone: `promote` or `rollback` comes next."""
    PROMOTING = "promoting"
    """Stable changes to the version, server by server."""
    ENDING = "ending"
    """Stable has changed; the canary's servers end."""
    PROMOTED = "promoted"
    """Done."""
    ROLLING_BACK = "rolling-back"
    """Stable goes back to where it was, the canary's servers end."""
    ROLLED_BACK = "rolled-back"
    """Done; `reason` says why."""

    @property
    def finished(self) -> bool:
        return self in (Phase.PROMOTED, Phase.ROLLED_BACK)


@dataclass(frozen=True)
class RolloutState:
    """One rollout.

    Attributes:
        version: what is rolled out.
        previous: what was stable when it began, and is again after a rollback.
        step: which of `steps` it is at, from 0.
        steps: shares in percent; empty where the target cannot divide its traffic.
        by: who began it, as user@host.
        started, updated: UTC, ISO 8601.
        reason: why it was rolled back; empty otherwise.
        force: it was begun with --force.
    """

    version: int
    previous: int
    phase: Phase
    step: int = 0
    steps: tuple[int, ...] = ()
    by: str = ""
    started: str = ""
    updated: str = ""
    reason: str = ""
    force: bool = False

    def at(self, phase: Phase, **changes: Any) -> RolloutState:
        """The same rollout in another phase, as of now."""
        return replace(self, phase=phase, updated=now(), **changes)

    def to_json(self) -> str:
        return json.dumps({**asdict(self), "phase": self.phase.value})

    @classmethod
    def from_json(cls, text: str, where: str) -> RolloutState:
        """Raises CommandError for anything but what `to_json` wrote; `where` says where the text is from."""
        try:
            values = json.loads(text)
            return cls(**{**values, "phase": Phase(values["phase"]), "steps": tuple(values["steps"])})
        except (ValueError, KeyError, TypeError) as error:
            raise CommandError(
                f"{where}: the state of the rollout there cannot be read ({error}); it was written by another version "
                "of this command or by hand. Look at what is served, mend it or remove it, and run the command again"
            ) from None


def now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
