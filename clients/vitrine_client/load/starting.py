"""Locust's command with our users and options, and what happens when a run begins."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, NoReturn

from grpc.experimental.gevent import init_gevent
from locust import events
from locust.env import Environment
from locust.main import main
from locust.runners import MasterRunner, WorkerRunner

from vitrine_client.errors import VitrineError
from vitrine_client.load.arguments import PROGRAM, Settings, add_arguments
from vitrine_client.load.users import ClassifyUser, Plan

_LOCUSTFILE = Path(__file__).with_name("locustfile.py")


def start() -> None:
    """Runs locust's command, which ends the process. Only where gevent has patched the standard library already."""
    # Before any channel is made: from then on gRPC waits without stopping the other users.
    init_gevent()
    events.init_command_line_parser.add_listener(add_arguments)
    events.init.add_listener(check)
    events.test_start.add_listener(begin)
    sys.argv[1:1] = ["-f", str(_LOCUSTFILE)]
    main()


def check(environment: Environment, **_: Any) -> None:
    """Ends the process with code 2 where the options cannot be used. A worker has none until a run begins."""
    if isinstance(environment.runner, WorkerRunner):
        return
    try:
        settings = Settings.of(environment.parsed_options)
        # A master asks for nothing itself, and may do without pictures.
        if not isinstance(environment.runner, MasterRunner):
            Plan.of(settings)
    except VitrineError as error:
        _refuse(str(error))
    chosen = [user for user in environment.user_classes if settings.asks_over(user.transport)]
    if not chosen:
        _refuse(f"--transport {settings.transport} leaves none of the users that are named")
    environment.user_classes = chosen


def begin(environment: Environment, **_: Any) -> None:
    """The options may have come from the master, or been changed on the web page."""
    if isinstance(environment.runner, MasterRunner):
        return
    try:
        ClassifyUser.plan = Plan.of(Settings.of(environment.parsed_options))
    except VitrineError as error:
        # Counted as failures, it reaches the master's tables and the web page.
        ClassifyUser.plan = error


def _refuse(reason: str) -> NoReturn:
    sys.stderr.write(f"{PROGRAM}: error: {reason}\n")
    sys.exit(2)
