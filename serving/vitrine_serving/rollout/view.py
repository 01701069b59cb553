"""What there is, as a table for people and as JSON for scripts."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from vitrine_client.tables import Cell, format_table
from vitrine_serving.rollout.state import RolloutState
from vitrine_serving.rollout.target import TargetStatus, TrackStatus

_HEADERS = ("track", "version", "ready", "traffic", "health", "")
_COLOURS = {"ok": "green", "starting": "yellow", "failing": "red", "none": "dim"}


def status_table(status: TargetStatus, *, coloured: bool = False) -> str:
    """The tracks line by line, what the last rollout came to, and who is at work."""
    table = format_table(_HEADERS, [_row(track) for track in status.tracks], coloured=coloured)
    lines = [f"{status.model} on {status.target}", table]
    if status.rollout is not None:
        lines.append(_rollout_line(status.rollout))
    if status.holder is not None:
        lines.append(f"at work: {status.holder}")
    return "\n".join(lines)


def status_json(status: TargetStatus) -> str:
    """One line of JSON; shares from 0 to 1, null for what is not known."""
    value: dict[str, Any] = asdict(status)
    return json.dumps(value)


def _row(track: TrackStatus) -> tuple[object, ...]:
    return (
        track.track.value,
        "-" if track.version is None else track.version,
        f"{track.ready}/{track.wanted}",
        "-" if track.share is None else f"{track.share:.0%}",
        Cell(track.health, _COLOURS.get(track.health, "dim")),
        track.told,
    )


def _rollout_line(state: RolloutState) -> str:
    line = f"rollout of version {state.version} (before: {state.previous}) by {state.by}: {state.phase.value}"
    if state.steps and not state.phase.finished:
        line += f", step {state.step + 1} of {len(state.steps)}"
    line += f", since {state.updated}"
    return f"{line}: {state.reason}" if state.reason else line
