"""An HTTP/1.1 server whose threads all wait for the same connections.

The thread that gets a connection's event reads it, and once a request is whole runs the application and
sends the reply itself: no request changes hands, which would cost more than parsing and answering it.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
from collections.abc import Callable
from typing import Protocol

from vitrine_serving.embedded.rest.http.admission import Admission, Decision
from vitrine_serving.embedded.rest.http.connection import Connection
from vitrine_serving.embedded.rest.http.messages import Request, Response, json_error
from vitrine_serving.embedded.rest.http.poller import make_poller
from vitrine_serving.embedded.rest.options import RestOptions

logger = logging.getLogger(__name__)

_RECEIVE_BYTES = 256 * 1024
# After so many full buffers other connections get their turn.
_RECEIVES_AT_A_TURN = 16
# What a refused client still sends is thrown away for so long: to cut it off would lose it the reply.
_LINGER_SECONDS = 5.0
# How long after its first bytes a request may still be on its way when its connection is shut.
_REST_SECONDS = 1.0
_LONGEST_TICK_SECONDS = 1.0
_STOPPING_TICK_SECONDS = 0.02


class Application(Protocol):
    """Answers requests, on many threads at once. Raises nothing."""

    def __call__(self, request: Request) -> Response: ...

    def is_urgent(self, request: Request) -> bool:
        """Whether the request is quick, and is to be answered even when every thread is at work."""

    def refuse(self, request: Request) -> Response:
        """The answer when too many requests are in flight."""


def start(application: Application, bound: socket.socket, options: RestOptions) -> Callable[[], None]:
    """Serve `application` on the bound socket; returns a function that stops it.

    Stopping closes the listener and idle connections at once and waits up to `options.drain_seconds` for
    requests in flight.
    """
    return _Server(application, bound, options).stop


class _Server:
    def __init__(self, application: Application, bound: socket.socket, options: RestOptions) -> None:
        self._application = application
        self._options = options
        self._admission: Admission[tuple[Connection, Request]] = Admission(
            options.threads, options.max_concurrent_requests
        )
        self._connections: dict[int, Connection] = {}
        # Held while a connection comes or goes, so that none is expired by a number that is another's by now.
        self._lock = threading.Lock()
        self._gone = threading.Condition(self._lock)
        self._stopping = False
        self._stopped = threading.Event()
        self._cannot_accept = False
        self._listener = bound
        self._listener_fd = bound.fileno()
        bound.setblocking(False)
        bound.listen(socket.SOMAXCONN)
        self._poller = make_poller()
        self._exit, self._exit_sender = socket.socketpair()
        self._poller.add_permanent(self._exit.fileno())
        self._poller.add(self._listener_fd)
        # Daemons, so that a second signal need not wait for them. One more than may be in the application
        # at once: with all of them there, it takes in requests and answers the urgent ones.
        self._workers = options.threads + 1
        self._threads = [
            threading.Thread(target=self._work, name=f"rest-{number}", daemon=True) for number in range(self._workers)
        ]
        self._threads.append(threading.Thread(target=self._keep_house, name="rest-housekeeping", daemon=True))
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        if self._stopping:
            return
        deadline = time.monotonic() + self._options.drain_seconds
        self._stopping = True
        # Whoever was let in by the system before now is to be answered.
        self._accept()
        with self._lock:
            self._listener_fd = -1
            self._listener.close()
            while self._connections and time.monotonic() < deadline:
                for connection in self._connections.values():
                    if connection.idle or connection.lingering:
                        connection.expire()
                self._gone.wait(_STOPPING_TICK_SECONDS)
            for connection in self._connections.values():
                connection.cut()
        self._stopped.set()
        self._exit_sender.send(b"x")
        for thread in self._threads:
            thread.join(max(0.0, deadline + _STOPPING_TICK_SECONDS - time.monotonic()))

    def _work(self) -> None:
        buffer = memoryview(bytearray(_RECEIVE_BYTES))
        exit_fd = self._exit.fileno()
        while (fd := self._poller.wait()) != exit_fd:
            if fd == self._listener_fd:
                self._accept()
            elif connection := self._connections.get(fd):
                self._guarded(connection, buffer, None)
            while waited := self._admission.next():
                self._guarded(waited[0], buffer, waited[1])
        with self._lock:
            self._workers -= 1
            if not self._workers:
                self._poller.close()
                self._exit.close()
                self._exit_sender.close()

    def _accept(self) -> None:
        """Take in every client that waits, and arm the listener for the next."""
        while True:
            try:
                accepted, address = self._listener.accept()
            except (BlockingIOError, InterruptedError):
                break
            except ConnectionError:
                continue
            except OSError as error:
                if self._listener_fd >= 0 and not self._cannot_accept:
                    logger.warning("Cannot accept REST connections for now: %s", error)
                # Left unarmed until the next tick: trying again at once would fail again.
                self._cannot_accept = True
                return
            self._cannot_accept = False
            # A client that has already gone.
            with contextlib.suppress(OSError):
                self._open(accepted, address)
        with self._lock:
            if self._listener_fd >= 0:
                self._poller.arm(self._listener_fd)

    def _open(self, accepted: socket.socket, address: tuple[str, int]) -> None:
        connection = Connection(accepted, _peer(address), self._options)
        connection.deadline = time.monotonic() + self._options.idle_timeout_seconds
        with self._lock:
            self._connections[connection.fd] = connection
        try:
            self._poller.add(connection.fd)
        except OSError:
            self._close(connection)

    def _guarded(self, connection: Connection, buffer: memoryview, admitted: Request | None) -> None:
        try:
            connection.deadline = None
            if admitted is not None:
                self._run(connection, admitted)
            self._advance(connection, buffer)
        except OSError:
            self._close(connection)
        except Exception:
            logger.exception("A REST connection failed")
            self._close(connection)

    def _advance(self, connection: Connection, buffer: memoryview) -> None:
        """Take the connection as far as it goes without waiting."""
        reader = connection.reader
        receives_left = _RECEIVES_AT_A_TURN
        while True:
            # Expired or not: whoever lost patience with the writing has cut the connection, and this raises.
            if not connection.flush():
                self._arm(connection, time.monotonic() + self._options.write_timeout_seconds, writing=True)
                return
            if connection.closing:
                self._finish(connection, buffer)
                return
            if reader.requests:
                if not self._enter(connection, reader.requests.popleft()):
                    return
            elif reader.refusal is not None:
                connection.refuse(reader.refusal)
            elif reader.expects_continue:
                connection.invite_body()
            elif not receives_left:
                self._arm_to_read(connection)
                return
            else:
                received = connection.receive(buffer)
                if received == 0 and self._waits_for_the_rest(connection):
                    continue
                if received == 0 and not (connection.expired and reader.begun is not None):
                    self._close(connection)
                    return
                if received == 0:
                    connection.refuse(json_error(408, "The request did not come in whole in time"))
                else:
                    # Less than a full buffer was all there is for now.
                    receives_left = receives_left - 1 if received == _RECEIVE_BYTES else 0
                    reader.feed(buffer[: received or 0])

    def _waits_for_the_rest(self, connection: Connection) -> bool:
        """Whether the stop took the connection for idle as a request came in, which is then worth a short wait.

        On Linux a socket that is shut for reading goes on taking in what comes.
        """
        begun = connection.reader.begun
        if begun is None or not (self._stopping and connection.expired) or time.monotonic() > begun + _REST_SECONDS:
            return False
        time.sleep(_REST_SECONDS / 100)
        return True

    def _enter(self, connection: Connection, request: Request) -> bool:
        """Answer the request, unless it has to wait: then another thread goes on with the connection."""
        if self._application.is_urgent(request):
            connection.reply(request, self._application(request), self._stopping)
            return True
        decision = self._admission.enter((connection, request))
        if decision is Decision.RUN:
            self._run(connection, request)
        elif decision is Decision.REFUSE:
            connection.reply(request, self._application.refuse(request), self._stopping)
        return decision is not Decision.WAIT

    def _run(self, connection: Connection, request: Request) -> None:
        try:
            response = self._application(request)
        finally:
            self._admission.leave()
        connection.reply(request, response, self._stopping)

    def _finish(self, connection: Connection, buffer: memoryview) -> None:
        """Close, but a client that was refused only once it has ended, or had the time to."""
        if connection.lingering:
            if connection.linger_until is None:
                connection.finish_sending()
                connection.linger_until = time.monotonic() + _LINGER_SECONDS
            receives_left = _RECEIVES_AT_A_TURN
            while time.monotonic() < connection.linger_until:
                received = connection.receive(buffer) if receives_left else None
                if received is None:
                    self._arm(connection, connection.linger_until)
                    return
                if received == 0:
                    break
                receives_left -= 1
        self._close(connection)

    def _arm_to_read(self, connection: Connection) -> None:
        if connection.reader.begun is not None:
            self._arm(connection, connection.reader.begun + self._options.read_timeout_seconds)
        else:
            self._arm(connection, time.monotonic() + self._options.idle_timeout_seconds)

    def _arm(self, connection: Connection, deadline: float, writing: bool = False) -> None:
        # In this order: once armed, the connection is another thread's.
        connection.deadline = deadline
        self._poller.arm(connection.fd, writing)

    def _close(self, connection: Connection) -> None:
        with self._lock:
            self._connections.pop(connection.fd, None)
            connection.close()
            self._gone.notify()

    def _keep_house(self) -> None:
        options = self._options
        patience = min(options.read_timeout_seconds, options.write_timeout_seconds, options.idle_timeout_seconds)
        while not self._stopped.wait(min(_LONGEST_TICK_SECONDS, patience / 4)):
            now = time.monotonic()
            with self._lock:
                for connection in self._connections.values():
                    deadline = connection.deadline
                    if deadline is not None and deadline < now:
                        connection.expire()
                if self._cannot_accept and self._listener_fd >= 0:
                    self._poller.arm(self._listener_fd)


def _peer(address: tuple[str, int]) -> str:
    return f"{address[0].removeprefix('::ffff:')}:{address[1]}"
