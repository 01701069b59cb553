"""What a rollout does next, kept in the target after each step, so that a killed one is gone on with."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from vitrine_serving.errors import CommandError
from vitrine_serving.rollout.candidate import check_candidate
from vitrine_serving.rollout.judging.golden import check_golden
from vitrine_serving.rollout.judging.watching import compare_labels, watch
from vitrine_serving.rollout.report import Report
from vitrine_serving.rollout.settings import RolloutSettings
from vitrine_serving.rollout.state import Phase, RolloutState, now
from vitrine_serving.rollout.target import Health, Target, Track
from vitrine_serving.rollout.version_store import Candidate, read_version

_POLL_SECONDS = 0.5
_ATTEMPTS = 3


class CanaryFailed(Exception):
    """The new version is not as it should be; its text says why. The way on is back."""


@dataclass(frozen=True)
class Work:
    """One run of a command on a target that it holds. `store` is where versions are read from."""

    target: Target
    settings: RolloutSettings
    report: Report
    store: str
    by: str

    def save(self, state: RolloutState) -> RolloutState:
        self.target.save(state)
        self.report.phase(state)
        return state

    def candidate(self, version: int) -> Candidate:
        return read_version(self.store, self.target.model, version)

    def wait(self, health: Callable[[], Health], seconds: float | None = None) -> None:
        """Until it is ready; raises CanaryFailed where it never will be, or not within `seconds`."""
        begun = time.monotonic()
        while not (seen := health()).ready:
            if seen.failed:
                raise CanaryFailed(seen.told)
            if seconds is not None and time.monotonic() - begun > seconds:
                raise CanaryFailed(f"not ready within {seconds:g} seconds: {seen.told}")
            self.report.progress(seen.told)
            time.sleep(_POLL_SECONDS)


def begin(work: Work, version: int) -> RolloutState:
    """The rollout of `version`, as far as it has come, or a new one.

    Raises CommandError where another is unfinished, or the version is not fit to be rolled out; nothing is changed.
    """
    current = work.target.state()
    if current is not None and not current.phase.finished:
        if current.version != version:
            raise CommandError(
                f"a rollout of version {current.version}, begun by {current.by} at {current.started}, is unfinished "
                f"({current.phase.value}); finish it with `rollout {current.version}`, or end it with `rollback`"
            )
        if current.phase is Phase.ROLLING_BACK:
            raise CommandError(
                f"version {version} is being rolled back ({current.reason}); finish that with `rollback`"
            )
        work.report.say(f"going on with the rollout of version {version}, begun by {current.by} at {current.started}")
        check(work, version, current.previous)
        work.report.phase(current)
        return current
    stable = work.target.stable_version()
    if stable == version:
        raise CommandError(f"version {version} is stable already; `status` shows what is served")
    check(work, version, stable)
    steps = work.settings.steps if work.target.divides_traffic else ()
    return work.save(RolloutState(version, stable, Phase.STARTING, 0, steps, work.by, now(), now()))


def check(work: Work, version: int, stable: int) -> None:
    """Raises CommandError unless `version` is in the store, blessed, and answers whatever clients ask stable for."""
    candidate = work.candidate(version)
    try:
        served = work.candidate(stable)
    except CommandError as error:
        work.report.say(f"signatures are not compared with version {stable}: {error}")
        served = None
    for warning in check_candidate(candidate, served, work.settings.force):
        work.report.say(warning)


def advance(work: Work, state: RolloutState, until: Phase | None = None) -> RolloutState:
    """Step by step until the rollout is promoted or rolled back, or comes to `until`.

    Raises CommandError and VitrineError where the target cannot be acted on: the rollout stays where it is.
    """
    while not state.phase.finished and state.phase is not until:
        try:
            state = work.save(_STEPS[state.phase](work, state, until))
        except CanaryFailed as failure:
            if state.phase is Phase.ROLLING_BACK:
                raise CommandError(f"version {state.previous} does not come back: {failure}") from None
            state = work.save(state.at(Phase.ROLLING_BACK, reason=str(failure)))
    return state


def promote(work: Work) -> RolloutState:
    """Promote the canary that is there, without judging it (again)."""
    state = work.target.state()
    if state is None or state.phase not in (Phase.SHARING, Phase.WAITING, Phase.PROMOTING, Phase.ENDING):
        raise CommandError(
            f"no canary is there to be promoted{_told(state)}; `canary VERSION` or `rollout VERSION` first"
        )
    if state.phase in (Phase.SHARING, Phase.WAITING):
        state = work.save(state.at(Phase.PROMOTING))
    return advance(work, state)


def roll_back(work: Work, reason: str) -> RolloutState:
    """End the rollout that is under way, or undo the last promotion."""
    state = work.target.state()
    if state is None or state.phase.finished:
        stable, previous = work.target.stable_version(), work.target.previous_version()
        if previous is None or previous == stable:
            raise CommandError(
                f"version {stable} is stable and no promotion is known that could be undone{_told(state)}; "
                "`rollout VERSION` brings any version back"
            )
        state = RolloutState(stable, previous, Phase.ROLLING_BACK, 0, (), work.by, now(), now(), reason)
        work.save(state)
    elif state.phase is not Phase.ROLLING_BACK:
        state = work.save(state.at(Phase.ROLLING_BACK, reason=reason))
    return advance(work, state)


def _told(state: RolloutState | None) -> str:
    return "" if state is None else f" (the last rollout, of version {state.version}, is {state.phase.value})"


def _start(work: Work, state: RolloutState, until: Phase | None) -> RolloutState:
    work.target.start_canary(state.version)
    work.wait(lambda: work.target.canary_health(state.version), work.settings.ready_seconds)
    return state.at(Phase.CHECKING)


def _check_golden(work: Work, state: RolloutState, until: Phase | None) -> RolloutState:
    _compare_with_golden(work, state.version, Track.CANARY)
    finding = compare_labels(work.target, work.candidate(state.version), work.settings)
    work.report.finding(finding)
    if not finding.ok:
        raise CanaryFailed(finding.told)
    return state.at(Phase.SHARING, step=0)


def _share(work: Work, state: RolloutState, until: Phase | None) -> RolloutState:
    percent = state.steps[state.step] if state.steps else 0
    work.target.set_share(percent)
    work.wait(lambda: work.target.share_health(percent), work.settings.ready_seconds)
    if until is Phase.WAITING:
        return state.at(Phase.WAITING)
    verdict = watch(work.target, work.candidate(state.version), work.settings, work.report)
    for finding in verdict.findings:
        work.report.finding(finding)
    if not verdict.ok:
        raise CanaryFailed(verdict.reason)
    if state.step + 1 < len(state.steps):
        return state.at(Phase.SHARING, step=state.step + 1)
    return state.at(Phase.PROMOTING)


def _go_on(work: Work, state: RolloutState, until: Phase | None) -> RolloutState:
    return state.at(Phase.SHARING)


def _promote(work: Work, state: RolloutState, until: Phase | None) -> RolloutState:
    work.target.begin_promotion(state.version, state.previous)
    work.wait(lambda: work.target.promotion_health(state.version))
    _compare_with_golden(work, state.version, Track.STABLE)
    return state.at(Phase.ENDING)


def _end(work: Work, state: RolloutState, until: Phase | None) -> RolloutState:
    work.target.end_canary()
    work.wait(work.target.canary_ended)
    return state.at(Phase.PROMOTED)


def _undo(work: Work, state: RolloutState, until: Phase | None) -> RolloutState:
    if work.target.divides_traffic:
        # First of all nobody is sent to it. One server has to have something else to serve before.
        work.target.end_canary()
    if work.target.stable_version() != state.previous:
        work.target.begin_promotion(state.previous, None)
    work.wait(lambda: work.target.promotion_health(state.previous))
    work.target.end_canary()
    work.wait(work.target.canary_ended)
    return state.at(Phase.ROLLED_BACK)


def _compare_with_golden(work: Work, version: int, track: Track) -> None:
    candidate = work.candidate(version)
    if not candidate.golden and work.settings.force:
        work.report.say(f"version {version} has no golden pictures: not compared")
        return
    for attempt in range(_ATTEMPTS):
        clients = work.target.clients(track)
        try:
            finding = check_golden(clients, candidate)
        finally:
            for client in clients:
                client.close()
        if finding.ok:
            work.report.finding(finding)
            return
        # A server may have gone in between; another answer to a picture stays another.
        time.sleep(0 if attempt + 1 == _ATTEMPTS else 1)
    work.report.finding(finding)
    raise CanaryFailed(finding.told)


_STEPS: dict[Phase, Callable[[Work, RolloutState, Phase | None], RolloutState]] = {
    Phase.STARTING: _start,
    Phase.CHECKING: _check_golden,
    Phase.SHARING: _share,
    Phase.WAITING: _go_on,
    Phase.PROMOTING: _promote,
    Phase.ENDING: _end,
    Phase.ROLLING_BACK: _undo,
}
