"""`vitrine-client load capacity`: trial after trial, until the rate is known."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from datetime import datetime, timezone
from importlib.util import find_spec
from pathlib import Path

from vitrine_client.cli.console import Console
from vitrine_client.load.__main__ import ask_what_is_pinned
from vitrine_client.load.capacity import trials
from vitrine_client.load.capacity.arguments import PROGRAM, Options, parse
from vitrine_client.load.capacity.probe import Gone, Probe
from vitrine_client.load.capacity.search import Search
from vitrine_client.load.capacity.telling import progress, rate_of
from vitrine_client.load.capacity.writing import described, write
from vitrine_client.load.process import NoResult

INTERRUPTED = 130


def main(arguments: Sequence[str]) -> int:
    """Returns the exit code: 0 a rate keeps the objective, 1 none was found, 2 wrong usage, 130 interrupted.

    Raises:
        OSError: the results cannot be written.
    """
    if find_spec("locust") is None:
        sys.stderr.write(f"{PROGRAM}: locust is not installed: pip install 'vitrine-client[load]'\n")
        return 2
    ask_what_is_pinned(os.environ)
    options = parse(arguments)
    # As a container is stopped.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    return Capacity(options, Console()).run()


class Capacity:
    """One search, with a line of talk for each trial."""

    def __init__(self, options: Options, console: Console) -> None:
        self._options = options
        self._console = console
        self._search = Search(options.plan)
        self._trials: list[trials.Trial] = []
        self._started = datetime.now(timezone.utc).isoformat(timespec="seconds")

    def run(self) -> int:
        """What is known is told and written, however the search ends. Returns the exit code."""
        code, stopped = 1, ""
        try:
            with tempfile.TemporaryDirectory(prefix="vitrine-capacity-") as scratch:
                self._run(self._options.out / "trials" if self._options.out else Path(scratch))
        except KeyboardInterrupt:
            code, stopped = INTERRUPTED, "interrupted"
            self._console.begin_line()
        except Gone as error:
            stopped = f"the server does not answer: {error}"
        except NoResult as error:
            code, stopped = error.code, str(error)
        if stopped:
            self._console.say(stopped, PROGRAM)
        finding = self._search.finding()
        self._tell(stopped)
        return 0 if not stopped and finding.low is not None else code

    def _run(self, folder: Path) -> None:
        probe = Probe(self._options.settings)
        while (step := self._search.next()) is not None:
            if self._trials:
                probe.wait_until_idle()
            number = len(self._trials) + 1
            trial = trials.run(self._options, step, number, folder / f"{number:02}-{rate_of(step.rate)}")
            self._search.add(step.rate, trial.kept, trial.late)
            self._trials.append(trial)
            self._console.say(progress(trial, self._search.next()))

    def _tell(self, stopped: str) -> None:
        result = described(self._options, self._search.finding(), self._trials, self._started, stopped)
        if self._options.json:
            self._console.write_json(result)
        elif self._trials:
            for sentence in result["told"]:
                self._console.write(sentence)
        if self._options.out is not None:
            write(result, self._options.out)
            self._console.say(self._options.out / "capacity.html")
