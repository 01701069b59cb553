"""Blessing: an export is only published after it has loaded and answered as in production."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from vitrine_export import manifest
from vitrine_export.errors import BlessingError
from vitrine_export.runs import write_json

TIMEOUT_SECONDS = 600
REASON_FILE = "REASON.json"


def bless(candidate: Path) -> dict[str, Any]:
    """Check the export in `candidate` in a fresh process and record the outcome in its manifest.

    The process loads it with the version-1 loader, as TensorFlow Serving does, replays its warm-up records, compares
    its answers to the golden pictures with training's, and measures one picture per signature. An export that fails
    is set aside beside the run, as NAME.rejected-TIME, with the reason in it; BlessingError says which and why.
    Raises RunError where there is no export.
    """
    described = manifest.read(candidate)
    if changed := manifest.verify(candidate, described):
        raise _reject(candidate, f"files differ from the manifest: {'; '.join(changed[:5])}")
    command = [sys.executable, "-m", "vitrine_export.blessing_probe", str(candidate.resolve())]
    try:
        done = subprocess.run(command, capture_output=True, timeout=TIMEOUT_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise _reject(candidate, f"no answer within {TIMEOUT_SECONDS} seconds") from None
    try:
        outcome: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except (ValueError, IndexError):
        said = done.stderr.decode(errors="replace").strip()[-2000:]
        raise _reject(candidate, f"the loading process ended with exit code {done.returncode}:\n{said}") from None
    if "failure" in outcome:
        raise _reject(candidate, outcome["failure"])
    if manifest.verify(candidate, described):
        raise BlessingError(f"{candidate} was changed while it was checked; bless it again")
    outcome["at"] = datetime.now(timezone.utc).isoformat(timespec="seconds")
    try:
        manifest.record_blessing(candidate, described, outcome)
    except OSError as error:
        raise BlessingError(f"cannot write the blessing to {candidate}: {error.strerror or error}") from None
    return outcome


def _reject(candidate: Path, reason: str) -> BlessingError:
    """Set the candidate aside under a name that is no version number, so no server picks it up."""
    stamp = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%S.%fZ")
    # Not inside the run, whose place the next training takes.
    aside = candidate.parent.with_name(f"{candidate.parent.name}.rejected-{stamp}")
    try:
        candidate.rename(aside)
        write_json(aside / REASON_FILE, {"reason": reason, "at": stamp})
    except OSError as error:
        return BlessingError(f"the export is not blessed: {reason}\nIt cannot be set aside: {error.strerror or error}")
    return BlessingError(f"the export is not blessed: {reason}\nIt was set aside in {aside}")
