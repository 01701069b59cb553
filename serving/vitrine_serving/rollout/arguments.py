"""The arguments of `vitrine-serving rollout`, `canary`, `promote`, `rollback` and `status`."""

from __future__ import annotations

import argparse
import itertools
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vitrine_serving.argument_types import whole
from vitrine_serving.config.pinning import check_version
from vitrine_serving.errors import CommandError
from vitrine_serving.rollout import commands
from vitrine_serving.rollout.settings import Limits, RolloutSettings

_EXAMPLES = """\
examples:
  vitrine-serving rollout 7                        canary, judge, promote or roll back, in the cluster of the kubeconfig
  vitrine-serving rollout 7 --dry-run              what it would change
  vitrine-serving rollout 7 --steps 10,50 --judge-seconds 600 --prometheus http://prometheus.example.org:9090
  vitrine-serving status --watch                   and --json for scripts
  vitrine-serving rollback                         end what is under way, or undo the last promotion
  vitrine-serving canary 7; vitrine-serving promote      the same by hand
  vitrine-serving rollout 7 --config /etc/vitrine  one server that polls this folder, instead of a cluster

A killed command leaves everything as it is; the same command again goes on from there.
exit codes: 0 done, 1 refused or rolled back, 2 wrong usage, 75 unfinished: run it again, 130 interrupted
"""
_LIMITS = Limits()
_SETTINGS = RolloutSettings()
_Commands = Any  # argparse's own name for it is private


def add_rollout(commands_of_tool: _Commands) -> None:
    """Add the five commands."""
    add = _adder(commands_of_tool)
    for name, run, summary in (
        ("rollout", commands.rollout, "bring a version to all clients: canary, judge, promote, or roll back"),
        ("canary", commands.canary, "start a version beside stable, with the first share of the traffic, and leave it"),
    ):
        command = add(name, run, summary)
        command.add_argument("version", type=_version, metavar="VERSION", help="a version in the model store")
        _add_judgement(command)
        command.add_argument("--dry-run", action="store_true", help="print the changes as a diff; change nothing")
        command.add_argument(
            "--force", action="store_true", help="go on although it is not blessed, or has other signatures"
        )
    add("promote", commands.promote, "have the canary's version become stable, without judging it again")
    add("rollback", commands.rollback, "end the rollout under way, or return to the version before the last promotion")
    status = add("status", commands.status, "versions, servers, share of the traffic, health, and the last rollout")
    status.add_argument("--json", action="store_true", help="print one line of JSON")
    status.add_argument("--watch", action="store_true", help="draw it anew each two seconds until Ctrl-C")


def _adder(commands_of_tool: _Commands) -> Callable[[str, Any, str], argparse.ArgumentParser]:
    def add(name: str, run: Any, summary: str) -> argparse.ArgumentParser:
        command: argparse.ArgumentParser = commands_of_tool.add_parser(
            name, help=summary, description=summary[0].upper() + summary[1:] + ".", epilog=_EXAMPLES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )  # fmt: skip
        command.set_defaults(run=run)
        _add_target(command)
        return command

    return add


def _add_target(command: argparse.ArgumentParser) -> None:
    where = command.add_argument_group("where (variables of the environment in brackets)")
    where.add_argument("--context", metavar="NAME", help="of the kubeconfig (default: its current one)")
    where.add_argument("--namespace", "-n", metavar="NAME", help="(default: the context's, or the pod's own)")
    where.add_argument(
        "--name", default="vitrine", help="what the Deployments' names begin with (default: %(default)s)"
    )
    where.add_argument(
        "--config", type=Path, default=_environment("VITRINE_CONFIG", Path), metavar="DIR",
        help="one server instead: the folder of its models.config, as `vitrine-serving config write` makes it "
        "[VITRINE_CONFIG]",
    )  # fmt: skip
    where.add_argument(
        "--grpc", default=os.environ.get("VITRINE_GRPC", "localhost:8500"), metavar="HOST:PORT",
        help="of that server [VITRINE_GRPC] (default: %(default)s)",
    )  # fmt: skip
    where.add_argument(
        "--rest", default=os.environ.get("VITRINE_REST", "localhost:8501"), metavar="HOST:PORT",
        help="of that server [VITRINE_REST] (default: %(default)s)",
    )  # fmt: skip
    where.add_argument("--model", metavar="NAME", help="where one server has several models")
    where.add_argument(
        "--models", default=os.environ.get("MODELS") or "models", metavar="STORE",
        help="the model store: a folder, or an address such as gs://bucket/models [MODELS] (default: %(default)s)",
    )  # fmt: skip


def _add_judgement(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("how it is judged")
    group.add_argument(
        "--steps", type=_steps, default=_SETTINGS.steps, metavar="P,P,...",
        help=f"the canary's shares of the traffic, in percent (default: {','.join(map(str, _SETTINGS.steps))})",
    )  # fmt: skip
    group.add_argument(
        "--judge-seconds", type=_number(0), default=_SETTINGS.judge_seconds, metavar="S",
        help="how long each step is judged (default: %(default)g)",
    )  # fmt: skip
    group.add_argument(
        "--ready-seconds", type=_number(0), default=_SETTINGS.ready_seconds, metavar="S",
        help="how long the version may take to load (default: %(default)g)",
    )  # fmt: skip
    group.add_argument(
        "--probe-interval", type=_number(0), default=_SETTINGS.probe_interval, metavar="S",
        help="between two rounds of own questions (default: %(default)g)",
    )  # fmt: skip
    group.add_argument(
        "--prometheus", type=_address, default=os.environ.get("VITRINE_PROMETHEUS") or None, metavar="URL",
        help="whose figures of the clients' own traffic are judged, too [VITRINE_PROMETHEUS]",
    )  # fmt: skip
    group.add_argument(
        "--samples", type=Path, metavar="DIR",
        help="more pictures to compare both versions with (default: the golden ones alone)",
    )  # fmt: skip
    for flag, value, kind, told in (
        (
            "--golden-tolerance",
            _SETTINGS.golden_tolerance,
            _number(0, 1),
            "that probabilities may be off the manifest's",
        ),
        ("--max-error-ratio", _LIMITS.error_ratio, _number(0, 1), "failed requests of all, beyond stable's ratio"),
        ("--max-p50-factor", _LIMITS.p50_factor, _number(0), "median latency, as a multiple of stable's"),
        ("--max-p99-factor", _LIMITS.p99_factor, _number(0), "99th percentile of the latency, likewise"),
        ("--latency-slack", _LIMITS.latency_slack, _number(0), "seconds that latency may have on top of that"),
        ("--max-disagreement", _LIMITS.disagreement, _number(0, 1), "pictures with another best label than stable's"),
        ("--least-requests", _LIMITS.least_requests, whole(1), "of each version, for figures to count"),
    ):
        group.add_argument(flag, type=kind, default=value, metavar="N", help=f"{told} (default: %(default)g)")


def _environment(name: str, kind: Callable[[str], Any]) -> Any:
    return kind(os.environ[name]) if os.environ.get(name) else None


def _version(text: str) -> int:
    try:
        number = check_version(text)
    except CommandError:
        number = None
    if number is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a version: give its number, such as 7")
    return number


def _steps(text: str) -> tuple[int, ...]:
    if not re.fullmatch(r"\d{1,2}(,\d{1,2}){0,19}", text, re.ASCII):
        raise argparse.ArgumentTypeError(f"{text!r}: give percentages from 1 to 99 with commas, such as 5,25,50")
    steps = tuple(map(int, text.split(",")))
    if steps[0] < 1 or any(b <= a for a, b in itertools.pairwise(steps)):
        raise argparse.ArgumentTypeError(f"{text!r}: shares begin at 1 and rise with each step, such as 5,25,50")
    return steps


def _number(least: float, most: float = 1e6) -> Callable[[str], float]:
    def number(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number from {least:g} to {most:g}")
        return value

    return number


def _address(text: str) -> str:
    if not re.match(r"https?://[^/\s]", text):
        raise argparse.ArgumentTypeError(f"{text!r}: give an address such as http://prometheus:9090")
    return text.rstrip("/")
