"""What a rollout tells while it runs: lines for a log; on a terminal, a view below them that is drawn anew."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TextIO

from vitrine_client.errors import VitrineError
from vitrine_client.tables import paint, printable
from vitrine_serving.errors import CommandError
from vitrine_serving.rollout.evidence import Finding
from vitrine_serving.rollout.state import Phase, RolloutState

# A log that is read tomorrow needs no line each half second.
_LOG_SECONDS = 15.0
_VIEW_SECONDS = 1.0


class Report:
    """Lines to `stream`; where it is a terminal, what `view` returns is kept below them while there is progress."""

    def __init__(self, stream: TextIO, view: Callable[[], str]) -> None:
        self._stream = stream
        self._view = view
        self._live = stream.isatty()
        self._drawn = 0
        self._last = 0.0

    def say(self, text: str) -> None:
        self._clear()
        self._stream.write(f"{text}\n")
        self._stream.flush()
        # The next progress is news.
        self._last = 0.0

    def phase(self, state: RolloutState) -> None:
        """A line that begins with `phase: NAME`, for people and for scripts that wait for it."""
        details = f" (version {state.version}"
        if state.phase is Phase.SHARING and state.steps:
            details += f", {state.steps[state.step]} % of the traffic, step {state.step + 1} of {len(state.steps)}"
        if state.phase in (Phase.ROLLING_BACK, Phase.ROLLED_BACK):
            details += f" to {state.previous}: {printable(state.reason)}"
        self.say(f"phase: {state.phase.value}{details})")

    def finding(self, finding: Finding) -> None:
        mark = "ok" if finding.ok else "BAD"
        mark = paint(mark, "green" if finding.ok else "red") if self._live else mark
        self.say(f"  {mark}: {finding.check}: {printable(finding.told.removeprefix(finding.check + ': '))}")

    def progress(self, text: str) -> None:
        """What is waited for. It may be told as often as it is looked at."""
        now = time.monotonic()
        if self._last and now - self._last < (_VIEW_SECONDS if self._live else _LOG_SECONDS):
            return
        if not self._live:
            self.say(f"  {printable(text)}")
        else:
            lines = [*self._viewed(), f"  {printable(text)}"]
            self._clear()
            self._stream.write("\n".join(lines) + "\n")
            self._stream.flush()
            self._drawn = len(lines)
        self._last = now

    def _viewed(self) -> list[str]:
        try:
            return self._view().splitlines()
        except (CommandError, VitrineError) as error:
            # What is only looked at must not be what a rollout ends with.
            return [printable(error)]

    def _clear(self) -> None:
        if self._drawn:
            self._stream.write(f"\x1b[{self._drawn}F\x1b[J")
            self._drawn = 0
