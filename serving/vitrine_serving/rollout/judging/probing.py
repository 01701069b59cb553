"""Our own questions: the same pictures to the servers of both versions, again and again.

What counts as a failure: any error of the client, but for a server that was only just taken away, by a rolling update
or with its pod. Such a request is lost on the way: there is no answer, or one from a proxy that finds nobody there. It
is asked again of a server of the track that is listed after that, and if that one answers, nothing is counted. Each
server is forgiven once, for it goes away once: one that is still there and loses requests is counted from the second
on. A server that is too slow to answer in time is counted at once. Servers that crash again and again, each but once,
are for the target's health to notice.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from types import TracebackType
from typing import TYPE_CHECKING

from vitrine_client.blocking import Client
from vitrine_client.errors import BadResponse, Unavailable, VitrineError
from vitrine_client.results import Prediction
from vitrine_serving.errors import CommandError
from vitrine_serving.rollout.evidence import Evidence, Traffic
from vitrine_serving.rollout.target import Track

if TYPE_CHECKING:
    from typing_extensions import Self

SOURCE = "probing"
# Between two labels whose scores are this close, a version has no preference worth the name.
_TIE = 1e-3
# Latencies of each track, the newest: far more than a rollout asks for, and a few megabytes.
_MOST_LATENCIES = 100_000
_MOST_FORGIVEN = 10_000
_CONFIDENCE = 0.95


@dataclass
class _Asked:
    requests: int = 0
    errors: int = 0
    seconds: deque[float] = field(default_factory=lambda: deque(maxlen=_MOST_LATENCIES))

    def traffic(self) -> Traffic:
        # What is in order already costs hardly anything to sort.
        ordered = sorted(self.seconds)
        p50, p99 = (percentile(ordered, percent) for percent in (50, 99))
        p50_at_least, p99_at_least = (percentile_at_least(ordered, percent) for percent in (50, 99))
        return Traffic(self.requests, self.errors, p50, p99, p50_at_least, p99_at_least)


class Prober:
    """Asks the servers of both tracks in turn, so that noise of the machine hits both. For one thread.

    Args:
        clients_of: new clients, one for each server of a track that is there now: `Target.clients`. The prober closes
            them. Clients that try again by themselves (`retries`) hide failures: they should not.
        pictures: bytes of image files, asked about in turn.
        relist_seconds: how long a list of servers is used. Both tracks are listed at the same time, so that what a
            first connection costs is paid by both.
    """

    def __init__(
        self,
        clients_of: Callable[[Track], Sequence[Client]],
        pictures: Sequence[bytes],
        relist_seconds: float = 15.0,
    ) -> None:
        if not pictures:
            raise CommandError("no pictures to ask about: the version has no golden ones; name a folder of samples")
        self._clients_of = clients_of
        self._pictures = pictures
        self._relist_seconds = relist_seconds
        self._listed_at = -math.inf
        self._clients: dict[Track, Sequence[Client]] = dict.fromkeys(Track, ())
        self._asked = {track: _Asked() for track in Track}
        self._forgiven: set[str] = set()
        self._rounds = self._compared = self._disagreements = 0
        self._last_error = ""

    def ask_round(self) -> None:
        """One picture, for every server of both tracks; the best labels of the canary's are compared with stable's.

        Raises CommandError or VitrineError where not even the first list of servers can be had.
        """
        if time.monotonic() - self._listed_at >= self._relist_seconds:
            self._relist()
        picture = self._pictures[self._rounds % len(self._pictures)]
        # Who comes first may find a colder cache, so it is each in turn.
        tracks = tuple(Track)[:: -1 if self._rounds % 2 else 1]
        self._rounds += 1
        answers: dict[Track, list[Prediction]] = {track: [] for track in Track}
        # A list that is made anew in the midst of a round is for the next one.
        turns = list(zip_longest(*(self._clients[track] for track in tracks)))
        for turn in turns:
            for track, client in zip(tracks, turn, strict=True):
                if client is not None and (answer := self._ask(track, client, picture)):
                    answers[track].append(answer)
        if answers[Track.STABLE]:
            reference = answers[Track.STABLE][0]
            self._compared += len(answers[Track.CANARY])
            self._disagreements += sum(not _agree(reference, answer) for answer in answers[Track.CANARY])

    def evidence(self) -> Evidence:
        """All that was seen. `compared` are the canary's answers, one for each of its servers and pictures."""
        stable, canary = (self._asked[track].traffic() for track in (Track.STABLE, Track.CANARY))
        return Evidence(SOURCE, stable, canary, self._compared, self._disagreements)

    @property
    def last_error(self) -> str:
        """The text of the newest failure that was counted; empty where there was none."""
        return self._last_error

    def close(self) -> None:
        for track in Track:
            _close(self._clients[track])
            self._clients[track] = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _relist(self) -> None:
        try:
            fresh = {track: self._clients_of(track) for track in Track}
        except (CommandError, VitrineError):
            # Whoever lists them may be away for a moment; the servers need not be.
            if self._listed_at == -math.inf:
                raise
        else:
            self.close()
            self._clients.update(fresh)
        self._listed_at = time.monotonic()

    def _ask(self, track: Track, client: Client, picture: bytes) -> Prediction | None:
        """The answer, counted and timed; None for a failure."""
        asked = self._asked[track]
        try:
            seconds, answer = _timed(client, picture)
        except (Unavailable, BadResponse) as error:
            again = self._ask_another(track, client, picture)
            if again is None:
                self._failed(track, error)
                return None
            seconds, answer = again
        except VitrineError as error:
            self._failed(track, error)
            return None
        asked.requests += 1
        asked.seconds.append(seconds)
        return answer

    def _failed(self, track: Track, error: VitrineError) -> None:
        self._asked[track].requests += 1
        self._asked[track].errors += 1
        self._last_error = f"{track.value}: {error}"

    def _ask_another(self, track: Track, lost: Client, picture: bytes) -> tuple[float, Prediction] | None:
        """Ask a server that is listed now in place of one that may be gone; None where that is no excuse."""
        server = repr(lost)
        if server in self._forgiven or len(self._forgiven) >= _MOST_FORGIVEN:
            return None
        # The list is renewed for the next round as well.
        self._listed_at = min(self._listed_at, time.monotonic() - self._relist_seconds)
        with contextlib.suppress(CommandError, VitrineError):
            fresh = self._clients_of(track)
            try:
                # Another one, where there is another.
                for client in sorted(fresh, key=lambda client: repr(client) == server)[:1]:
                    answer = _timed(client, picture)
                    self._forgiven.add(server)
                    return answer
            finally:
                _close(fresh)
        return None


def percentile(values: Collection[float], percent: float) -> float | None:
    """The nearest rank: the smallest value that at least `percent` of all values do not exceed. None for no values."""
    if not values:
        return None
    return sorted(values)[max(0, math.ceil(len(values) * percent / 100) - 1)]


def percentile_at_least(values: Collection[float], percent: float) -> float | None:
    """The lower bound of 95 % confidence for the percentile that `values` are a sample of. None for no values.

    Whatever the distribution, how many of a sample lie above its percentile is binomial; 19 times in 20 those are fewer
    than the value returned and the ones above it (Conover, Practical Nonparametric Statistics, 3.2). Of 50 values the
    greatest is their 99th percentile, and the third greatest its bound.
    """
    if not values:
        return None
    count, above = len(values), 1 - percent / 100
    greater, seen = 0, _binomial(0, count, above)
    while seen < _CONFIDENCE and greater < count - 1:
        greater += 1
        seen += _binomial(greater, count, above)
    return sorted(values)[count - 1 - greater]


def _binomial(successes: int, count: int, ratio: float) -> float:
    ways = math.lgamma(count + 1) - math.lgamma(successes + 1) - math.lgamma(count - successes + 1)
    return math.exp(ways + successes * math.log(ratio) + (count - successes) * math.log1p(-ratio))


def _timed(client: Client, picture: bytes) -> tuple[float, Prediction]:
    begin = time.perf_counter()
    [answer] = client.classify([picture], check="off")
    return time.perf_counter() - begin, answer


def _agree(one: Prediction, other: Prediction) -> bool:
    """Is the other's best label the same, or as good as the best to either of them?"""
    return other.label in _best(one) or one.label in _best(other)


def _best(prediction: Prediction) -> set[str]:
    return {label for label, score in prediction.top if score >= prediction.score - _TIE}


def _close(clients: Sequence[Client]) -> None:
    for client in clients:
        client.close()
