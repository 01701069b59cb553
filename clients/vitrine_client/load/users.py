"""Locust's users: each has a client of its own, over which it asks about one picture after the other."""

from __future__ import annotations

from typing import ClassVar

import gevent
from locust import User, task
from locust.env import Environment

from vitrine_client.blocking import Client
from vitrine_client.errors import Unavailable, VitrineError
from vitrine_client.load.open_loop import OpenLoop
from vitrine_client.load.run import Run
from vitrine_client.results import Prediction

# A server that is not there refuses within microseconds: without a pause, users would take the processor from it
# just when it starts, and count failures by the ten thousand.
_PAUSE_SECONDS = 0.1
_REQUEST_TYPES = {"grpc": "gRPC", "rest": "REST"}


class ClassifyUser(User):
    """A user of one transport.

    Attributes:
        present: the process' run; an error in its place is why there is none.
        open_loop: sends the requests in the users' place, over their clients; None for a closed loop.
    """

    abstract = True
    transport: ClassVar[str]
    present: ClassVar[Run | VitrineError]
    open_loop: ClassVar[OpenLoop | None] = None

    _client: Client | None = None

    def on_start(self) -> None:
        if isinstance(self.present, Run):
            self._client = self.present.settings.client(self.transport)
            if self.open_loop is not None:
                self.open_loop.join(self._client, self.transport)

    @task
    def classify(self) -> None:
        if isinstance(self.present, VitrineError):
            # Counted as a failure, it reaches the master's tables and the web page.
            fire(self.environment, self.transport, 0.0, failure=self.present)
            gevent.sleep(1)
        elif self.open_loop is not None:
            # Locust asks users to end between two tasks.
            self.open_loop.wait(0.5)
        elif self._client is not None and isinstance(self.present.ask(self._client, self.transport), Unavailable):
            gevent.sleep(_PAUSE_SECONDS)

    def on_stop(self) -> None:
        if self._client is not None:
            if self.open_loop is not None:
                self.open_loop.leave(self._client)
            self._client.close()


class GrpcUser(ClassifyUser):
    transport = "grpc"


class RestUser(ClassifyUser):
    transport = "rest"


def fire(
    environment: Environment,
    transport: str,
    seconds: float,
    prediction: Prediction | None = None,
    failure: VitrineError | None = None,
) -> None:
    """Tells locust of a request, for its own tables, page and files."""
    environment.events.request.fire(
        request_type=_REQUEST_TYPES[transport],
        name="classify",
        response_time=seconds * 1000,
        response_length=0 if prediction is None else _length(prediction),
        exception=failure,
        context={},
    )


def _length(prediction: Prediction) -> int:
    """Bytes of the answer's labels and float32 scores: the same for both transports, without their packaging."""
    return sum(len(label.encode()) + 4 for label, _ in prediction.top)
