"""A rollout in one server, step by step as the engine does it, but judged good unseen; and how it is killed.

Imported by processes that are started again and again, so it imports no TensorFlow.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from vitrine_serving.rollout.one_server.target import OneServerTarget, one_server
from vitrine_serving.rollout.state import Phase, RolloutState
from vitrine_serving.rollout.target import Health

_Move = Callable[[OneServerTarget, int], None]
# Children of a process that has this module, and nothing else, in memory.
_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload([__name__])


def roll_out(target: OneServerTarget, version: int) -> None:
    """Until `version` is stable; goes on with what is there."""
    state = target.state()
    if state is None or state.phase.finished:
        state = _saved(target, RolloutState(version, target.stable_version(), Phase.STARTING))
    if state.phase is Phase.STARTING:
        target.start_canary(version)
        wait(lambda: target.canary_health(version))
        state = _saved(target, state.at(Phase.PROMOTING))
    if state.phase is Phase.PROMOTING:
        target.begin_promotion(version, state.previous)
        wait(lambda: target.promotion_health(version))
        state = _saved(target, state.at(Phase.ENDING))
    target.end_canary()
    wait(target.canary_ended)
    _saved(target, state.at(Phase.PROMOTED))


def roll_back(target: OneServerTarget, version: int) -> None:
    """Until `version`, which was stable before, is so again; undoes what is there, or the last promotion."""
    state = target.state()
    assert state is not None
    if state.phase.finished:
        state = RolloutState(target.stable_version(), version, Phase.PROMOTED)
    _saved(target, state.at(Phase.ROLLING_BACK))
    if target.stable_version() != version:
        target.begin_promotion(version, None)
    wait(lambda: target.promotion_health(version))
    target.end_canary()
    wait(target.canary_ended)
    _saved(target, state.at(Phase.ROLLED_BACK))


def wait(health: Callable[[], Health], deadline_seconds: float = 120) -> Health:
    """Until it is ready or has failed."""
    deadline = time.monotonic() + deadline_seconds
    while not ((seen := health()).ready or seen.failed):
        assert time.monotonic() < deadline, seen
        time.sleep(0.05)
    return seen


def in_a_process(move: _Move, folder: Path, ports: tuple[int, int], version: int, killed_at: int = 0) -> bool:
    """Make the move in a process that is killed just before it changes a file for the `killed_at`th time.

    False where it was killed; True where the move was over before.
    """
    process = _PROCESSES.Process(target=_run, args=(move, folder, ports, version, killed_at))
    process.start()
    process.join()
    assert process.exitcode in (0, -signal.SIGKILL)
    return process.exitcode == 0


def _run(move: _Move, folder: Path, ports: tuple[int, int], version: int, killed_at: int) -> None:
    if killed_at:
        sys.addaudithook(_killer(str(folder), killed_at))
    target = one_server(folder, None, *(f"127.0.0.1:{port}" for port in ports))
    with target.held("the process under test"):
        move(target, version)


def _killer(folder: str, killed_at: int) -> Callable[[str, tuple[object, ...]], None]:
    left = killed_at

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal left
        changes = event == "os.rename" or (event == "open" and int(str(arguments[2])) & (os.O_WRONLY | os.O_RDWR))
        if changes and str(arguments[0]).startswith(folder):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    return watch


def _saved(target: OneServerTarget, state: RolloutState) -> RolloutState:
    target.save(state)
    return state
