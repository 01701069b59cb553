"""What a process with users does in one run: asks, checks the answers, and counts."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from vitrine_client.blocking import Client
from vitrine_client.errors import VitrineError
from vitrine_client.load.profile import Profile
from vitrine_client.load.recording import Recording
from vitrine_client.load.samples import Sample
from vitrine_client.load.settings import Settings
from vitrine_client.results import Prediction

logger = logging.getLogger(__name__)

# Called with transport, seconds, the answer if there was one, and the failure if it was one.
Counted = Callable[[str, float, "Prediction | None", "VitrineError | None"], None]


@dataclass
class Run:
    """One run in this process.

    Attributes:
        samples: the pictures without end; the users take turns, so that all of them are asked about.
        counted: is told of each request, for locust's own tables.
        begin: of the run, by time.perf_counter().
        recording: of what was counted since it was last taken.
    """

    settings: Settings
    profile: Profile
    samples: Iterator[Sample]
    counted: Counted
    begin: float = field(default_factory=time.perf_counter)
    recording: Recording = field(default_factory=Recording)
    _told: set[type[VitrineError]] = field(default_factory=set)

    def ask(self, client: Client, transport: str, due: float | None = None) -> VitrineError | None:
        """Ask about the next picture; returns the failure, if it was one.

        Args:
            due: when the request should have begun, in seconds since the run's begin; its latency counts from then on,
                so that waiting for the generator or behind a stalled server is not left out (coordinated omission,
                Tene 2013). None: now.
        """
        sample = next(self.samples)
        sent = time.perf_counter() - self.begin
        if due is None:
            due = sent
        else:
            self.recording.late.add(max(0.0, sent - due))
        prediction, failure = None, None
        try:
            [prediction] = client.classify([sample.content], check="off")
        except VitrineError as error:
            failure = error
        seconds = time.perf_counter() - self.begin - due
        if prediction is not None:
            try:
                sample.check(prediction)
            except VitrineError as error:
                failure = error
        self.count(due, transport, seconds, prediction, failure)
        return failure

    def count(
        self,
        due: float,
        transport: str,
        seconds: float,
        prediction: Prediction | None = None,
        failure: VitrineError | None = None,
    ) -> None:
        self.recording.add(due, transport, seconds, None if failure is None else type(failure).__name__)
        if failure is None:
            self.counted(transport, seconds, prediction, None)
            return
        if type(failure) not in self._told:
            # The statistics hold no more than the kind.
            self._told.add(type(failure))
            logger.warning("The first %s: %s", type(failure).__name__, failure)
        # Locust tells failures apart by their text, and messages name requests and addresses.
        self.counted(transport, seconds, prediction, type(failure)(failure.summary))

    def take(self) -> Recording:
        """What was counted since the last call."""
        taken, self.recording = self.recording, Recording()
        return taken
