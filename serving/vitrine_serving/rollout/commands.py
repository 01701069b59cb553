"""What `vitrine-serving rollout`, `canary`, `promote`, `rollback` and `status` do."""

from __future__ import annotations

import argparse
import contextlib
import difflib
import getpass
import os
import socket
import sys
import time
from collections.abc import Iterator

from vitrine_client.errors import VitrineError
from vitrine_serving.errors import CommandError
from vitrine_serving.rollout import engine
from vitrine_serving.rollout.errors import Unfinished
from vitrine_serving.rollout.one_server.target import one_server
from vitrine_serving.rollout.report import Report
from vitrine_serving.rollout.settings import Limits, RolloutSettings
from vitrine_serving.rollout.state import Phase, RolloutState
from vitrine_serving.rollout.target import Target
from vitrine_serving.rollout.view import status_json, status_table
from vitrine_serving.server_process import interrupt_on_signals

_WATCH_SECONDS = 2.0


def rollout(arguments: argparse.Namespace) -> None:
    _forward(arguments, f"rollout of version {arguments.version}", None)


def canary(arguments: argparse.Namespace) -> None:
    _forward(arguments, f"canary of version {arguments.version}", Phase.WAITING)


def _forward(arguments: argparse.Namespace, what: str, until: Phase | None) -> None:
    settings = _settings(arguments)
    if until is None and settings.judge_seconds < settings.probe_interval * settings.limits.least_requests:
        raise CommandError(
            f"in {settings.judge_seconds:g} seconds, with one question in {settings.probe_interval:g}, the canary is "
            f"not asked the {settings.limits.least_requests} times that count: raise --judge-seconds, or lower "
            "--probe-interval or --least-requests"
        )
    target = _target(arguments)
    if arguments.dry_run:
        work = _work(arguments, target, settings)
        engine.check(work, arguments.version, target.stable_version(), settings.force)
        _print_changes(target, arguments.version)
        return
    with _at_work(arguments, target, settings, what) as work:
        for warning in target.warnings(arguments.version):
            work.report.say(f"beware: {warning}")
        state = engine.advance(work, engine.begin(work, arguments.version), until)
    _conclude(target, arguments.models, state)


def promote(arguments: argparse.Namespace) -> None:
    target = _target(arguments)
    with _at_work(arguments, target, RolloutSettings(), "promotion") as work:
        state = engine.promote(work)
    _conclude(target, arguments.models, state)


def rollback(arguments: argparse.Namespace) -> None:
    target = _target(arguments)
    with _at_work(arguments, target, RolloutSettings(), "rollback") as work:
        state = engine.roll_back(work, f"asked for by {work.by}")
    _out(f"version {state.previous} is stable again")


def status(arguments: argparse.Namespace) -> None:
    target = _target(arguments)
    if arguments.json:
        _out(status_json(target.status()))
    elif not arguments.watch:
        _out(status_table(target.status(), coloured=sys.stdout.isatty()))
    else:
        with contextlib.suppress(KeyboardInterrupt):
            while True:
                table = status_table(target.status(), coloured=sys.stdout.isatty())
                _out(f"\x1b[H\x1b[J{table}" if sys.stdout.isatty() else f"{table}\n")
                time.sleep(_WATCH_SECONDS)


def _settings(arguments: argparse.Namespace) -> RolloutSettings:
    limits = Limits(
        error_ratio=arguments.max_error_ratio,
        p50_factor=arguments.max_p50_factor,
        p99_factor=arguments.max_p99_factor,
        latency_slack=arguments.latency_slack,
        disagreement=arguments.max_disagreement,
        least_requests=arguments.least_requests,
    )
    return RolloutSettings(
        steps=arguments.steps,
        judge_seconds=arguments.judge_seconds,
        probe_interval=arguments.probe_interval,
        ready_seconds=arguments.ready_seconds,
        limits=limits,
        prometheus=arguments.prometheus,
        golden_tolerance=arguments.golden_tolerance,
        samples=arguments.samples,
        force=arguments.force,
    )


def _target(arguments: argparse.Namespace) -> Target:
    if arguments.config is not None:
        return one_server(arguments.config, arguments.model, arguments.grpc, arguments.rest)
    # Its client library is large, and one server's rollout needs none of it.
    try:
        from vitrine_serving.rollout.kubernetes.target import connect
    except ModuleNotFoundError as error:
        raise CommandError(
            f"the package {error.name} is not installed here: pip install kubernetes, or use the image vitrine-client; "
            "--config DIR is for one server"
        ) from None
    return connect(arguments.context, arguments.namespace, arguments.name, arguments.model)


def _work(arguments: argparse.Namespace, target: Target, settings: RolloutSettings) -> engine.Work:
    report = Report(sys.stderr, lambda: status_table(target.status(), coloured=True))
    return engine.Work(target, settings, report, arguments.models, _who())


@contextlib.contextmanager
def _at_work(
    arguments: argparse.Namespace, target: Target, settings: RolloutSettings, what: str
) -> Iterator[engine.Work]:
    """The only one that changes the target; an interruption leaves it as it is."""
    work = _work(arguments, target, settings)
    interrupt_on_signals()
    try:
        with target.held(f"{what} by {work.by} (pid {os.getpid()})"):
            yield work
    except KeyboardInterrupt:
        work.report.say(
            "interrupted: everything stays as it is; the same command goes on from here, `rollback` goes back, "
            "`status` shows what there is"
        )
        sys.exit(130)
    except VitrineError as error:
        raise Unfinished(f"{error}; everything stays as it is, and the same command goes on from here") from None


def _print_changes(target: Target, version: int) -> None:
    for change in target.rollout_changes(version):
        before, after = change.before.splitlines(), change.after.splitlines()
        for line in difflib.unified_diff(before, after, f"{change.name} now", f"{change.name} then", lineterm=""):
            _out(line)


def _conclude(target: Target, models: str, state: RolloutState) -> None:
    if state.phase is Phase.ROLLED_BACK:
        raise CommandError(f"version {state.version} was rolled back to {state.previous}: {state.reason}")
    if state.phase is Phase.WAITING:
        _out(f"version {state.version} is the canary; `promote`, `rollback` or `rollout {state.version}` comes next")
    else:
        _out(f"version {state.version} is stable; `rollback` returns to {state.previous}")
        if target.divides_traffic:
            sys.stderr.write(
                f"pin it in the manifests too, before the next `kubectl apply`: vitrine-serving config write --models "
                f"{models} --model {target.model}={state.version} --out k8s/overlays/.../config\n"
            )


def _who() -> str:
    """user@host; the user's number where it has no name, as in containers."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


def _out(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
