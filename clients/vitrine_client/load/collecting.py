"""What all processes of a run have counted comes together, and becomes the result and the exit code."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import gevent
from locust.env import Environment
from locust.runners import MasterRunner

from vitrine_client.errors import VitrineError
from vitrine_client.load import server_metrics
from vitrine_client.load.outcome import Outcome, result_of
from vitrine_client.load.profile import Profile
from vitrine_client.load.recording import Recording
from vitrine_client.load.run import Run
from vitrine_client.load.settings import Settings
from vitrine_client.load.users import ClassifyUser
from vitrine_client.load.workers import Workers
from vitrine_client.load.writing import told, write

# The name of what a worker has counted, in its reports.
REPORT = "vitrine"
# What a worker that is asked to finish may take beyond its last requests.
_SPARE_SECONDS = 5.0


class Collector:
    """For the process that has the result: the master, or the only one. One run at a time, from a web page several."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._outcome: Outcome | None = None
        self._clock: gevent.Greenlet | None = None
        runner = environment.runner
        self._workers = Workers(runner, self._merge) if isinstance(runner, MasterRunner) else None

    def listen(self) -> None:
        events = self._environment.events
        events.test_start.add_listener(self._begin)
        events.worker_report.add_listener(lambda data, **_: self._merge(data.get(REPORT)))
        events.test_stopping.add_listener(self._stopping)
        events.test_stop.add_listener(self._finish)
        events.quitting.add_listener(self._quit)

    def _begin(self, **_: Any) -> None:
        options, runner = self._environment.parsed_options, self._environment.runner
        workers = 1
        if isinstance(runner, MasterRunner):
            # Goes to the workers with the other options: whose share of the arrivals is whose.
            options.workers_in_run = sorted(client.id for client in runner.clients.all)
            workers = len(options.workers_in_run)
        try:
            # The web page may have changed them.
            settings, profile = Settings.of(options), Profile.of(options)
        except VitrineError:
            # The users' failures tell.
            self._outcome = None
            return
        before, note = _scrape(settings)
        self._outcome = Outcome(
            settings=settings,
            profile=profile,
            workers=workers,
            before=before,
            note=note,
            started=datetime.now(timezone.utc),
        )
        self._clock = gevent.spawn(self._watch, self._outcome)

    def _watch(self, outcome: Outcome) -> None:
        """Once a second, how many users there are; and locust's own tables forget the warm-up."""
        runner = self._environment.runner
        warm = outcome.profile.warm_up == 0
        while True:
            second = int(outcome.elapsed())
            outcome.recording.users[second] = runner.user_count
            if not warm and second >= outcome.profile.warm_up:
                runner.stats.reset_all()
                warm = True
            gevent.sleep(outcome.begun + second + 1 - time.perf_counter())

    def _merge(self, packed: Mapping[str, Any] | None) -> None:
        if packed is not None and self._outcome is not None:
            self._outcome.recording.merge(Recording.unpacked(packed))

    def _stopping(self, **_: Any) -> None:
        outcome = self._outcome
        if outcome is None:
            return
        outcome.end()
        if self._clock is not None:
            self._clock.kill()
        if self._workers is not None:
            # Open loops wait for their last requests, and then locust for its users.
            until = outcome.profile.planned_end(outcome.elapsed())
            self._workers.finish(until, 2 * (outcome.settings.timeout + 1) + _SPARE_SECONDS)

    def _quit(self, **_: Any) -> None:
        """After Ctrl-C and SIGTERM the users may still be at work: have them stop, which comes back to `_finish`."""
        runner = self._environment.runner
        if isinstance(runner, MasterRunner):
            runner.stop(send_stop_to_client=False)
        elif runner is not None:
            runner.stop()

    def _finish(self, **_: Any) -> None:
        outcome, self._outcome = self._outcome, None
        if outcome is None:
            return
        if isinstance(ClassifyUser.present, Run):
            outcome.recording.merge(ClassifyUser.present.take())
        after, note = _scrape(outcome.settings)
        result = result_of(outcome, after, note)
        folder = self._folder(outcome)
        try:
            if folder is not None:
                write(result, folder)
        except OSError as error:
            sys.stderr.write(f"--out: {folder} cannot be written: {error}\n")
            self._environment.process_exit_code = 1
            return
        finally:
            self._tell(told(result, folder))
        self._environment.process_exit_code = 0 if result.ok else 1

    def _tell(self, text: str) -> None:
        """Below locust's own tables, where those are printed."""
        if self._is_headless():
            self._environment.events.quit.add_listener(lambda **_: sys.stderr.write(text))
        else:
            sys.stderr.write(text)

    def _is_headless(self) -> bool:
        return bool(self._environment.parsed_options.headless)

    def _folder(self, outcome: Outcome) -> Path | None:
        out = outcome.profile.out
        if out is None or self._is_headless():
            return out
        return out / f"{outcome.started:%Y%m%dT%H%M%S}"


def _scrape(settings: Settings) -> tuple[server_metrics.Scrape | None, str]:
    """What the server says of itself, or why that is not known."""
    if not settings.asks_over("rest") and _host(settings.rest) != _host(settings.grpc):
        return None, f"whether {settings.rest} is the same server is not known: name its REST port with --rest"
    try:
        return server_metrics.scrape(settings.rest, settings.model), ""
    except server_metrics.NoMetrics as error:
        return None, str(error)


def _host(address: str) -> str:
    return address.rpartition("://")[2].rpartition(":")[0]
