"""Locust's users: each asks about one picture after the other, over a client of its own."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

import gevent
from locust import User, task

from vitrine_client.blocking import Client
from vitrine_client.errors import Unavailable, VitrineError
from vitrine_client.load.arguments import Settings
from vitrine_client.load.samples import Sample
from vitrine_client.results import Prediction

logger = logging.getLogger(__name__)

# A server that is not there refuses within microseconds: without a pause, users would take the processor from it
# just when it starts, and count failures by the ten thousand.
_PAUSE_SECONDS = 0.1


@dataclass
class Plan:
    """What the users of a process do in a run.

    Attributes:
        samples: the pictures without end; the users take turns, so that all of them are asked about.
    """

    settings: Settings
    samples: Iterator[Sample]
    _told: set[type[VitrineError]] = field(default_factory=set)

    @classmethod
    def of(cls, settings: Settings) -> Plan:
        """Raises InvalidInput where there are no pictures."""
        return cls(settings, itertools.cycle(settings.samples()))

    def tell(self, failure: VitrineError) -> None:
        """Logs the first failure of its kind; the statistics hold no more than the kind."""
        if type(failure) not in self._told:
            self._told.add(type(failure))
            logger.warning("The first %s: %s", type(failure).__name__, failure)


class ClassifyUser(User):
    """A user of one transport. `plan` is the run's; an error in its place is why there is none."""

    abstract = True
    transport: ClassVar[str]
    request_type: ClassVar[str]
    plan: ClassVar[Plan | VitrineError]

    _client: Client | None = None

    @task
    def classify(self) -> None:
        if isinstance(self.plan, VitrineError):
            self._count(0.0, failure=self.plan)
            gevent.sleep(1)
            return
        if self._client is None:
            self._client = self.plan.settings.client(self.transport)
        sample = next(self.plan.samples)
        prediction, failure = None, None
        start = time.perf_counter()
        try:
            [prediction] = self._client.classify([sample.content], check="off")
        except VitrineError as error:
            failure = error
        milliseconds = (time.perf_counter() - start) * 1000
        if prediction is not None:
            try:
                sample.check(prediction)
            except VitrineError as error:
                failure = error
        if failure is None:
            self._count(milliseconds, prediction)
            return
        self.plan.tell(failure)
        # Locust tells failures apart by their text, and messages name requests and addresses.
        self._count(milliseconds, prediction, type(failure)(failure.summary))
        if isinstance(failure, Unavailable):
            gevent.sleep(_PAUSE_SECONDS)

    def on_stop(self) -> None:
        if self._client is not None:
            self._client.close()

    def _count(
        self, milliseconds: float, prediction: Prediction | None = None, failure: VitrineError | None = None
    ) -> None:
        self.environment.events.request.fire(
            request_type=self.request_type,
            name="classify",
            response_time=milliseconds,
            response_length=0 if prediction is None else _length(prediction),
            exception=failure,
            context=self.context(),
        )


class GrpcUser(ClassifyUser):
    transport = "grpc"
    request_type = "gRPC"


class RestUser(ClassifyUser):
    transport = "rest"
    request_type = "REST"


def _length(prediction: Prediction) -> int:
    """Bytes of the answer's labels and float32 scores: the same for both transports, without their packaging."""
    return sum(len(label.encode()) + 4 for label, _ in prediction.top)
