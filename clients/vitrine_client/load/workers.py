"""Between a master and its workers: what was counted, to the last request."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gevent
from gevent.event import Event
from locust.runners import MasterRunner, WorkerRunner

_FINISH, _FINISHED, _UNTIL = "vitrine_finish", "vitrine_finished", "until"
_LOOK_SECONDS = 0.5


class Workers:
    """For the master: ends the run in all workers and hears what each has counted since its last report.

    Locust itself waits for half a second, and by then a stalled server has not answered the last requests.

    Args:
        add: takes what a worker has counted.
    """

    def __init__(self, runner: MasterRunner, add: Callable[[Any], None]) -> None:
        self._runner, self._add = runner, add
        self._awaited: set[str] = set()
        self._heard = Event()
        runner.register_message(_FINISHED, self._finished)

    def finish(self, until: float | None, seconds: float) -> None:
        """Returns when all have told, are gone, or have taken longer than `seconds`.

        Args:
            until: when an open loop has its end, see OpenLoop.stop.
        """
        self._awaited = {client.id for client in self._runner.clients.all}
        self._heard.clear()
        self._runner.send_message(_FINISH, {_UNTIL: until})
        with gevent.Timeout(seconds, False):
            while self._awaited:
                self._heard.wait(_LOOK_SECONDS)
                self._heard.clear()
                self._awaited &= {client.id for client in self._runner.clients.all}

    def _finished(self, msg: Any, **_: Any) -> None:
        self._add(msg.data)
        self._awaited.discard(msg.node_id)
        self._heard.set()


def obey(runner: WorkerRunner, end: Callable[[float | None], None], take: Callable[[], Any]) -> None:
    """For a worker: have it end its run when its master says so.

    Args:
        end: is told until when an open loop goes.
        take: returns what was counted since it was last asked.
    """

    def finish(msg: Any, **_: Any) -> None:
        end(msg.data[_UNTIL])
        runner.stop()
        runner.send_message(_FINISHED, take())

    runner.register_message(_FINISH, finish)
