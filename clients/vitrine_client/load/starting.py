"""Locust's command with our users and options, and what happens when a run begins and ends."""

from __future__ import annotations

import signal
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import gevent
from grpc.experimental.gevent import init_gevent
from locust import events
from locust.env import Environment
from locust.main import main
from locust.runners import MasterRunner, WorkerRunner

from vitrine_client.errors import InvalidInput, VitrineError
from vitrine_client.load.arguments import PROGRAM, add_arguments
from vitrine_client.load.arrivals import due
from vitrine_client.load.collecting import REPORT, Collector
from vitrine_client.load.open_loop import OpenLoop
from vitrine_client.load.profile import Profile
from vitrine_client.load.recording import Recording
from vitrine_client.load.run import Run
from vitrine_client.load.settings import Settings
from vitrine_client.load.staged import Staged
from vitrine_client.load.users import ClassifyUser, fire
from vitrine_client.load.workers import obey

_LOCUSTFILE = Path(__file__).with_name("locustfile.py")
# Of each transport in an open loop, for which nobody has said how many.
_CONNECTIONS = 8
# As a shell says of a program that SIGINT ended.
_INTERRUPTED = 130


def start() -> None:
    """Runs locust's command, which ends the process. Only where gevent has patched the standard library already."""
    # Before any channel is made: from then on gRPC waits without stopping the other users.
    init_gevent()
    events.init_command_line_parser.add_listener(add_arguments)
    events.init.add_listener(prepare)
    # Python would raise KeyboardInterrupt in whatever runs just then; inside gRPC's callbacks it gets lost.
    gevent.signal_handler(signal.SIGINT, _interrupt)
    sys.argv[1:1] = ["-f", str(_LOCUSTFILE)]
    try:
        main()
    except KeyboardInterrupt:
        # Before a run, or again while the first one's interrupt is seen to.
        sys.exit(_INTERRUPTED)


def _interrupt() -> None:
    """Where locust waits for it."""
    gevent.get_hub().handle_system_error(KeyboardInterrupt, KeyboardInterrupt())


def prepare(environment: Environment, **_: Any) -> None:
    """Ends the process with code 2 where the options cannot be used. A worker has none until a run begins."""
    runner = environment.runner
    ClassifyUser.present = InvalidInput("no run has begun")
    if isinstance(runner, WorkerRunner):
        _listen(environment)
        environment.events.report_to_master.add_listener(report)
        obey(runner, _end_open_loop, _taken)
        return
    options = environment.parsed_options
    try:
        settings, profile = Settings.of(options), Profile.of(options)
        # A master asks for nothing itself, and may do without pictures.
        if not isinstance(runner, MasterRunner):
            settings.samples()
    except VitrineError as error:
        _refuse(str(error))
    chosen = [user for user in environment.user_classes if settings.asks_over(user.transport)]
    if not chosen:
        _refuse(f"--transport {settings.transport} leaves none of the users that are named")
    environment.user_classes = chosen
    # Users and requests that are under way at the end are waited for: those that a stalled server keeps are counted.
    if not environment.stop_timeout:
        environment.stop_timeout = settings.timeout + 1
    if profile.is_open:
        # Connections, which are there at once.
        options.num_users = options.num_users or _CONNECTIONS * len(chosen)
        options.spawn_rate = options.num_users
    if profile.stages is not None and options.stages:
        environment.shape_class = Staged(profile.stages, options.num_users if profile.is_open else None)
        environment.shape_class.runner = runner
    # Before the users' own, which wait for last requests: the collector's clock stops when the run does.
    Collector(environment).listen()
    if not isinstance(runner, MasterRunner):
        _listen(environment)
    # Locust's --run-time is counted from when the event loop last looked at the clock: before pictures were read.
    gevent.get_hub().loop.update_now()


def _listen(environment: Environment) -> None:
    environment.events.test_start.add_listener(begin)
    environment.events.test_stopping.add_listener(end)


def begin(environment: Environment, **_: Any) -> None:
    """The options may have come from the master, or been changed on the web page."""
    options = environment.parsed_options
    try:
        settings, profile = Settings.of(options), Profile.of(options)
        ClassifyUser.present = Run(settings, profile, settings.samples(), partial(fire, environment))
    except VitrineError as error:
        ClassifyUser.present = error
        return
    share, shares = _share(environment)
    ClassifyUser.open_loop = None
    if profile.is_open and profile.stages is not None:
        moments = due(profile.stages, profile.arrivals, share, shares)
        ClassifyUser.open_loop = OpenLoop(ClassifyUser.present, moments)


def end(environment: Environment, **_: Any) -> None:
    """No more requests begin; those of an open loop that are under way are answered first."""
    run = ClassifyUser.present
    if isinstance(run, Run):
        _end_open_loop(run.profile.planned_end(time.perf_counter() - run.begin))


def _end_open_loop(until: float | None) -> None:
    if ClassifyUser.open_loop is not None:
        ClassifyUser.open_loop.stop(until)


def report(client_id: str, data: dict[str, Any], **_: Any) -> None:
    """What a worker has counted since the last time goes to its master."""
    data[REPORT] = _taken()


def _taken() -> dict[str, Any]:
    return (ClassifyUser.present.take() if isinstance(ClassifyUser.present, Run) else Recording()).packed()


def _share(environment: Environment) -> tuple[int, int]:
    """Which of the processes with users this is, and of how many; the master names them when a run begins."""
    if not isinstance(environment.runner, WorkerRunner):
        return 0, 1
    workers: list[str] = getattr(environment.parsed_options, "workers_in_run", [])
    name = environment.runner.client_id
    # A worker that has joined since: it takes the place of one that is gone, or asks for nothing.
    return (workers.index(name), len(workers)) if name in workers else (len(workers), len(workers) + 1)


def _refuse(reason: str) -> NoReturn:
    sys.stderr.write(f"{PROGRAM}: error: {reason}\n")
    sys.exit(2)
