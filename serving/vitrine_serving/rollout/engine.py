"""What a rollout does next, kept in the target after each step, so that a killed one is gone on with."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from vitrine_client.errors import VitrineError
from vitrine_serving.errors import CommandError
from vitrine_serving.rollout.candidate import check_candidate
from vitrine_serving.rollout.errors import NotAnswered, Unfinished
from vitrine_serving.rollout.evidence import Finding
from vitrine_serving.rollout.judging.golden import check_golden
from vitrine_serving.rollout.judging.samples import sample_pictures
from vitrine_serving.rollout.judging.watching import compare_labels, watch
from vitrine_serving.rollout.report import Report
from vitrine_serving.rollout.settings import RolloutSettings
from vitrine_serving.rollout.state import Phase, RolloutState, now
from vitrine_serving.rollout.target import Health, Target, Track
from vitrine_serving.rollout.version_store import Candidate, read_version

_POLL_SECONDS = 0.5


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

    def wait(self, health: Callable[[], Health], seconds: float | None = None, *, patiently: bool = False) -> None:
        """Until it is ready; raises CanaryFailed where it never will be, unless `patiently`, or not in `seconds`."""
        begun = time.monotonic()
        while not (seen := health()).ready:
            if seen.failed and not patiently:
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
        _check_fitness(work, version, current.previous, current.force or work.settings.force)
        work.report.phase(current)
        return current
    stable = work.target.stable_version()
    if stable == version and current is not None and (current.version, current.phase) == (version, Phase.PROMOTED):
        # Killed after its last step, or run twice.
        return current
    if stable == version:
        raise CommandError(f"version {version} is stable already; `status` shows what is served")
    _check_fitness(work, version, stable, work.settings.force)
    steps = work.settings.steps if work.target.divides_traffic else ()
    state = RolloutState(version, stable, Phase.STARTING, 0, steps, work.by, now(), now(), "", work.settings.force)
    return work.save(state)


def check(work: Work, version: int, stable: int, force: bool) -> Candidate:
    """The version in the store; raises CommandError unless it is there, blessed, and has all that stable is asked for.

    With `force` it only has to be there.
    """
    candidate = work.candidate(version)
    try:
        served = work.candidate(stable)
    except CommandError as error:
        work.report.say(f"signatures are not compared with version {stable}: {error}")
        served = None
    for warning in check_candidate(candidate, served, force):
        work.report.say(warning)
    return candidate


def _check_fitness(work: Work, version: int, stable: int, force: bool) -> None:
    """As `check`, and are there pictures that both versions can be asked about?"""
    candidate = check(work, version, stable, force)
    if not sample_pictures(candidate, work.settings.samples) or not (candidate.golden or force):
        raise CommandError(
            f"version {version} has no golden pictures, so its answers cannot be compared; export it anew, or name "
            "pictures with --samples and give --force"
        )


def advance(work: Work, state: RolloutState, until: Phase | None = None) -> RolloutState:
    """Step by step until the rollout is promoted or rolled back, or comes to `until`.

    Raises Unfinished where the target cannot be acted on: the rollout stays where it is.
    """
    while not state.phase.finished and state.phase is not until:
        try:
            state = work.save(_STEPS[state.phase](work, state, until))
        except CanaryFailed as failure:
            state = work.save(state.at(Phase.ROLLING_BACK, reason=str(failure)))
        except (CommandError, VitrineError) as error:
            raise Unfinished(
                f"{error}; the rollout of version {state.version} stays as it is ({state.phase.value}), and the same "
                "command goes on from there"
            ) from None
    return state


def promote(work: Work) -> RolloutState:
    """Promote the canary that is there, without judging it (again)."""
    state = work.target.state()
    if state is None or state.phase not in (Phase.SHARING, Phase.WAITING, Phase.PROMOTING, Phase.ENDING):
        raise CommandError(
            f"no canary is there to be promoted{_told(state)}; `canary VERSION` or `rollout VERSION` first"
        )
    # Its golden pictures are asked for once it is promoted: they have to be at hand.
    check(work, state.version, state.previous, state.force)
    if state.phase in (Phase.SHARING, Phase.WAITING):
        state = work.save(state.at(Phase.PROMOTING))
    return advance(work, state)


def roll_back(work: Work, reason: str) -> RolloutState:
    """End the rollout that is under way, or undo the last promotion."""
    state = work.target.state()
    if state is not None and state.phase is Phase.ROLLED_BACK:
        # Typed twice, or just after it was done without being asked for: going back further is another wish.
        work.report.say(f"nothing is to be undone{_told(state)}")
        if (before := work.target.previous_version()) not in (None, state.previous):
            work.report.say(f"`rollout {before}` goes back further, to what was stable before {state.previous}")
        return state
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
    candidate = _compare_with_golden(work, state, Track.CANARY)
    finding = _answered(work, lambda: compare_labels(work.target, candidate, work.settings))
    work.report.finding(finding)
    if not finding.ok:
        raise CanaryFailed(finding.told)
    return state.at(Phase.SHARING, step=0)


def _share(work: Work, state: RolloutState, until: Phase | None) -> RolloutState:
    percent = state.steps[state.step] if state.steps else 0
    work.target.set_share(percent)
    work.wait(lambda: work.target.share_health(percent), work.settings.ready_seconds)
    # Servers that came for this share have not been asked yet.
    candidate = _compare_with_golden(work, state, Track.CANARY)
    if until is Phase.WAITING:
        return state.at(Phase.WAITING)
    verdict = watch(work.target, candidate, work.settings, work.report)
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
    _compare_with_golden(work, state, Track.STABLE)
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
    # There is nothing left to go back to, so whatever is in the way is waited for.
    work.wait(lambda: work.target.promotion_health(state.previous), patiently=True)
    work.target.end_canary()
    work.wait(work.target.canary_ended, patiently=True)
    return state.at(Phase.ROLLED_BACK)


def _compare_with_golden(work: Work, state: RolloutState, track: Track) -> Candidate:
    """The version as the store has it; raises CanaryFailed where a server of the track answers otherwise."""
    candidate = work.candidate(state.version)
    if not candidate.complete:
        raise CommandError(
            f"version {state.version} is not whole in {work.store} (any more): {candidate.incomplete_reason}"
        )
    if not candidate.golden and (state.force or work.settings.force):
        work.report.say(f"version {state.version} has no golden pictures: not compared")
        return candidate

    def compare() -> Finding:
        clients = work.target.clients(track)
        try:
            return check_golden(clients, candidate, work.settings.golden_tolerance)
        finally:
            for client in clients:
                client.close()

    finding = _answered(work, compare)
    work.report.finding(finding)
    if not finding.ok:
        raise CanaryFailed(finding.told)
    return candidate


def _answered(work: Work, ask: Callable[[], Finding]) -> Finding:
    """Servers come and go while they are asked: only an answer counts. Raises CommandError where none comes."""
    begun = time.monotonic()
    while True:
        try:
            return ask()
        except NotAnswered as reason:
            if time.monotonic() - begun > work.settings.ready_seconds:
                raise CommandError(
                    f"servers could not be asked within {work.settings.ready_seconds:g} seconds: {reason}; can they be "
                    "reached from here (a NetworkPolicy, the right to pods/proxy)?"
                ) from None
            work.report.progress(f"asked again: {reason}")
            time.sleep(_POLL_SECONDS)


_STEPS: dict[Phase, Callable[[Work, RolloutState, Phase | None], RolloutState]] = {
    Phase.STARTING: _start,
    Phase.CHECKING: _check_golden,
    Phase.SHARING: _share,
    Phase.WAITING: _go_on,
    Phase.PROMOTING: _promote,
    Phase.ENDING: _end,
    Phase.ROLLING_BACK: _undo,
}
