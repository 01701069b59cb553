"""What one corrupt picture costs those that are asked for at the same time. About three minutes with four peers."""

from __future__ import annotations

import itertools
import re
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import grpc

from benchmarks.performance.section import Bench, Findings, Section, Table, Target
from benchmarks.performance.subjects import EMBEDDED_GRPC, Running, Subject, embedded, peers_of, tensorflow_serving

REQUESTS = 320
IN_FLIGHT = 32
# One of so many is corrupt.
EVERY = 16
_PICTURES = 16
_STATUS = re.compile(r"HTTP (\d{3})")


@dataclass
class Outcome:
    """What became of the requests. Refused: with an error that says whose fault it was, 4xx or INVALID_ARGUMENT."""

    good: int = 0
    good_lost: int = 0
    bad: int = 0
    bad_refused: int = 0
    bad_answered: int = 0
    example: str = ""

    def count(self, corrupt: bool, error: Exception | None) -> None:
        if not corrupt:
            self.good += 1
            self.good_lost += error is not None
            if error is not None:
                self.example = f"{type(error).__name__}: {error}"
            return
        self.bad += 1
        self.bad_answered += error is None
        self.bad_refused += error is not None and is_refusal(error)


def is_refusal(error: Exception) -> bool:
    """Whether an error tells the client that its request is at fault."""
    if isinstance(error, grpc.RpcError):
        return error.code() is grpc.StatusCode.INVALID_ARGUMENT
    found = _STATUS.search(str(error))
    return found is not None and found[1].startswith("4")


def corrupt(picture: bytes) -> bytes:
    """Its first half: it begins as a picture does, so only the decoder sees what is wrong."""
    return picture[: len(picture) // 2]


def run(bench: Bench) -> Findings:
    """Each server once, with batching in the server off and on."""
    outcomes: dict[str, Outcome] = {}
    absent: dict[str, str] = {}
    for subject in _subjects(bench):
        bench.say(subject.name)
        try:
            with subject.start() as running:
                outcomes[subject.name] = mixed(running, bench.pictures(_PICTURES))
        # Whatever another server fails with, the rest is to be measured.
        except Exception as error:
            absent[subject.name] = (str(error) or type(error).__name__).splitlines()[0]
            bench.say(f"{subject.name}: {absent[subject.name]}")
    return _findings(outcomes, absent)


SECTION = Section("poison", "One corrupt picture among sixteen", run, minutes=3)


def _subjects(bench: Bench) -> list[Subject]:
    ours, engine = embedded(bench), tensorflow_serving(bench)
    batching = "--enable_batching=true"
    return [
        ours,
        replace(embedded(bench, batching), name=f"{ours.name}, with {batching}"),
        engine,
        replace(tensorflow_serving(bench, batching), name=f"{engine.name}, with {batching}"),
        *itertools.chain.from_iterable(peers_of(bench)),
    ]


def mixed(running: Running, pictures: Sequence[bytes], requests: int = REQUESTS) -> Outcome:
    """IN_FLIGHT clients that share `requests`, of which one in EVERY is corrupt."""
    outcome, turn, lock = Outcome(), itertools.count(), threading.Lock()
    good = running.makers(pictures, IN_FLIGHT)
    bad = running.makers([corrupt(picture) for picture in pictures], IN_FLIGHT)

    def client(number: int) -> None:
        send = {False: good[number](), True: bad[number]()}
        while (place := next(turn)) < requests:
            is_corrupt = place % EVERY == EVERY - 1
            error: Exception | None = None
            try:
                send[is_corrupt]()
            except Exception as raised:
                error = raised
            with lock:
                outcome.count(is_corrupt, error)

    threads = [threading.Thread(target=client, args=[number], daemon=True) for number in range(IN_FLIGHT)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcome


def _findings(outcomes: dict[str, Outcome], absent: dict[str, str]) -> Findings:
    rows = [[name, *_cells(outcome)] for name, outcome in outcomes.items()]
    rows += [[name, why, "", ""] for name, why in absent.items()]
    header = ("server", "good requests lost", "corrupt ones refused as the client's fault", "corrupt ones answered")
    table = Table("Lost: failed, although nothing was wrong with the picture", header, rows)
    text = f"""\
{REQUESTS} requests of one picture each, {IN_FLIGHT} at a time; every {EVERY}th picture is the first half of a JPEG.
A server that batches whole requests decodes the corrupt picture together with good ones, and all of them fail. The
exported model decodes outside its batch, so it needs no batching in the server. Refused as the client's fault means
4xx or INVALID_ARGUMENT, which no client tries again."""
    return Findings(
        text, [table], [_target(outcomes, absent)], {name: asdict(found) for name, found in outcomes.items()}
    )


def _cells(outcome: Outcome) -> list[str]:
    return [
        f"{outcome.good_lost} of {outcome.good}",
        f"{outcome.bad_refused} of {outcome.bad}",
        f"{outcome.bad_answered} of {outcome.bad}",
    ]


def _target(outcomes: dict[str, Outcome], absent: dict[str, str]) -> Target:
    wanted = "embedded with its defaults loses no good request to a corrupt one"
    if EMBEDDED_GRPC not in outcomes:
        return Target(wanted, absent[EMBEDDED_GRPC], None)
    ours = outcomes[EMBEDDED_GRPC]
    return Target(wanted, f"{ours.good_lost} of {ours.good} lost", ours.good_lost == 0)
