"""The embedded server's HTTP under slow clients, many clients and at its end."""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import resource
import socket
import threading
from collections.abc import Iterator

import pytest
from processes import DEADLINE_SECONDS, wait_until
from raw_http import Echo, HttpServer, RawClient, get, http_server, post

from vitrine_serving.embedded.rest.http import server as rest_server
from vitrine_serving.embedded.rest.http.connection import Connection

_HALF_A_REQUEST = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf"


@contextlib.contextmanager
def file_descriptors(count: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (count, max(hard, count)))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def ask(server: HttpServer, target: str) -> str:
    with server.connect() as client:
        return str(client.send(get(target, "Connection: close")).answer().told["target"])


@pytest.mark.parametrize("sent", ["GET / HTTP/1.1\r\nHost", _HALF_A_REQUEST, get("/whole") + "GET"])
def test_a_request_that_does_not_come_in_whole(sent):
    with http_server(Echo(), read_timeout_seconds=0.2) as server, server.connect() as client:
        client.send(sent)
        if sent.startswith(get("/whole")):
            assert client.answer().status == 200
        answer = client.answer()
        assert (answer.status, answer.headers["connection"]) == (408, "close")
        assert client.at_end()


def test_a_drip_of_bytes_does_not_buy_time():
    with http_server(Echo(), read_timeout_seconds=0.3) as server, server.connect() as client:
        client.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n")
        dripping = threading.Event()

        def drip() -> None:
            with contextlib.suppress(OSError):
                while not dripping.wait(0.02):
                    client.send("x")

        thread = threading.Thread(target=drip)
        thread.start()
        try:
            assert client.answer().status == 408
        finally:
            dripping.set()
            thread.join()


@pytest.mark.parametrize("sent", ["", get("/first")])
def test_idle_connections_are_closed_without_a_word(sent):
    with http_server(Echo(), idle_timeout_seconds=0.2) as server, server.connect() as client:
        if sent:
            assert client.send(sent).answer().status == 200
        assert client.at_end()


def test_a_client_that_does_not_take_its_reply_is_cut_off():
    with http_server(Echo(), threads=1, write_timeout_seconds=0.3) as server, server.connect() as client:
        client.send(get("/large") * 3)
        # Nobody waits for it meanwhile, the one thread included.
        assert ask(server, "/other") == "/other"
        with pytest.raises(ConnectionError):
            wait_until(lambda: client.send("x") is None, "the connection is reset")


def test_a_request_that_comes_just_as_patience_ends_is_answered_in_full(monkeypatch):
    class Expiring(Connection):
        def receive(self, buffer: memoryview) -> int | None:
            self.expire()
            return super().receive(buffer)

    monkeypatch.setattr(rest_server, "Connection", Expiring)
    with http_server(Echo()) as server, server.connect() as client:
        answer = client.send(get("/large")).answer()
        assert len(answer.body) == int(answer.headers["content-length"]) > 0
        assert client.at_end()


def test_refused_clients_that_go_on_and_on_hold_nobody_up(monkeypatch):
    ended = threading.Event()

    class Endless(Connection):
        def receive(self, buffer: memoryview) -> int | None:
            return len(buffer) if self.lingering and not ended.is_set() else super().receive(buffer)

    monkeypatch.setattr(rest_server, "Connection", Endless)
    monkeypatch.setattr(rest_server, "_LINGER_SECONDS", 1000.0)
    with http_server(Echo(), threads=1, max_request_bytes=8) as server, contextlib.ExitStack() as stack:
        stack.callback(ended.set)
        for _ in range(2):
            client = stack.enter_context(server.connect())
            assert client.send(_HALF_A_REQUEST).answer().status == 413
        assert ask(server, "/other") == "/other"


def test_half_sent_requests_cost_no_thread():
    with http_server(Echo(), threads=1) as server, contextlib.ExitStack() as stack:
        for _ in range(200):
            stack.enter_context(server.connect()).send(_HALF_A_REQUEST)
        assert ask(server, "/other") == "/other"
        # And each of them is still served once it is whole.
        client = stack.enter_context(server.connect()).send(_HALF_A_REQUEST)
        assert client.send("whole").answer().told["bytes"] == 9


def test_a_thousand_idle_connections():
    with file_descriptors(4096), http_server(Echo(), threads=2) as server, contextlib.ExitStack() as stack:
        threads = threading.active_count()
        clients = [stack.enter_context(server.connect()) for _ in range(1000)]
        for client in clients[::100]:
            assert client.send(get("/one")).answer().status == 200
        assert threading.active_count() == threads
        assert ask(server, "/new") == "/new"


def test_two_hundred_clients_at_once():
    def ask_often(number: int) -> list[object]:
        with server.connect() as client:
            return [client.send(post(f"/{number}-{n}", "x" * n)).answer().told["target"] for n in range(10)]

    with (
        file_descriptors(4096),
        http_server(Echo(), threads=4) as server,
        concurrent.futures.ThreadPoolExecutor(200) as pool,
    ):
        answers = list(pool.map(ask_often, range(200)))
    assert answers == [[f"/{number}-{n}" for n in range(10)] for number in range(200)]


def test_requests_beyond_the_threads_wait_in_line_and_urgent_ones_do_not():
    echo = Echo()
    with http_server(echo, threads=2) as server, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(server.connect()).send(get("/wait")) for _ in range(2)]
        echo.wait_for(2)
        clients += [stack.enter_context(server.connect()).send(get("/wait")) for _ in range(5)]
        for client in clients[2:]:
            client.send(get("/behind"))
        assert ask(server, "/urgent") == "/urgent"
        assert echo.answered == 1
        echo.go_on.set()
        assert [client.answer().told["target"] for client in clients] == ["/wait"] * 7
        assert [client.answer().told["target"] for client in clients[2:]] == ["/behind"] * 5


def test_too_many_requests_in_flight():
    echo = Echo()
    with http_server(echo, threads=1, max_concurrent_requests=2) as server, contextlib.ExitStack() as stack:
        running = stack.enter_context(server.connect()).send(get("/wait"))
        echo.wait_for(1)
        in_line = stack.enter_context(server.connect()).send(get("/line"))
        # The first answered of two is the one that found no room.
        other = stack.enter_context(server.connect()).send(get("/line"))
        ready = concurrent.futures.ThreadPoolExecutor(2)
        answers = [ready.submit(client.answer) for client in (in_line, other)]
        done, waiting = concurrent.futures.wait(answers, DEADLINE_SECONDS, concurrent.futures.FIRST_COMPLETED)
        assert [answer.result().status for answer in done] == [429]
        assert ask(server, "/urgent") == "/urgent"
        echo.go_on.set()
        assert [answer.result().status for answer in waiting] == [200]
        assert running.answer().status == 200
        ready.shutdown()


def test_when_file_descriptors_run_out(caplog):
    with http_server(Echo(), threads=2, idle_timeout_seconds=2.0) as server, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(server.connect()) for _ in range(3)]
        assert clients[2].send(get("/a")).answer().status == 200
        late = stack.enter_context(contextlib.closing(socket.socket()))
        lowest_free = os.dup(late.fileno())
        os.close(lowest_free)
        with file_descriptors(lowest_free):
            late.connect(server.address)
            wait_until(lambda: "Cannot accept" in caplog.text, "the server notices")
            assert clients[2].send(get("/b")).answer().status == 200
        late.sendall(get("/late").encode())
        late.settimeout(DEADLINE_SECONDS)
        assert late.recv(100).startswith(b"HTTP/1.1 200 OK")
        assert caplog.text.count("Cannot accept") == 1


def test_an_application_that_fails_loses_its_own_client_only(caplog):
    class Broken(Echo):
        def __call__(self, request: rest_server.Request) -> rest_server.Response:
            if request.target == "/broken":
                raise ZeroDivisionError
            return super().__call__(request)

    with http_server(Broken(), threads=1) as server:
        for _ in range(3):
            with server.connect() as client:
                assert client.send(get("/broken")).at_end()
        assert ask(server, "/whole") == "/whole"
    assert "ZeroDivisionError" in caplog.text


def test_stopping_finishes_what_is_in_flight():
    echo = Echo()
    with http_server(echo, threads=2) as server, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(server.connect()).send(get("/wait")) for _ in range(2)]
        echo.wait_for(2)
        in_line, half, idle = (stack.enter_context(server.connect()) for _ in range(3))
        in_line.send(get("/line"))
        half.send(_HALF_A_REQUEST)
        assert ask(server, "/urgent") == "/urgent"
        stopping = threading.Thread(target=server.stop)
        stopping.start()
        assert idle.at_end()
        with pytest.raises(ConnectionError):
            server.connect()
        half.send("whole")
        echo.go_on.set()
        for client in (*clients, in_line, half):
            answer = client.answer()
            assert (answer.status, answer.headers["connection"]) == (200, "close")
            assert client.at_end()
        stopping.join(DEADLINE_SECONDS)


def test_stopping_cuts_what_does_not_finish():
    echo = Echo()
    with http_server(echo, threads=1, drain_seconds=0.1) as server, contextlib.ExitStack() as stack:
        running = stack.enter_context(server.connect()).send(get("/wait"))
        half = stack.enter_context(server.connect()).send(_HALF_A_REQUEST)
        echo.wait_for(1)
        assert ask(server, "/urgent") == "/urgent"
        server.stop()
        assert half.at_end()
        assert running.at_end()
        echo.go_on.set()


def test_stopping_under_load_loses_no_request_that_was_taken_on():
    echo = Echo()
    answered = [0] * 16

    def ask_until_the_end(number: int) -> None:
        with contextlib.suppress(OSError), RawClient(server.address) as client:
            while True:
                client.send(get(f"/{number}"))
                try:
                    answer = client.answer()
                except ValueError:
                    # The end of the stream where a status line would be.
                    return
                assert answer.status == 200
                answered[number] += 1
                if answer.headers.get("connection") == "close":
                    assert client.at_end()
                    return

    with http_server(echo, threads=4) as server:
        clients = [threading.Thread(target=ask_until_the_end, args=[number]) for number in range(16)]
        for client in clients:
            client.start()
        wait_until(lambda: min(answered) > 5, "everybody is being served")
        server.stop()
        for client in clients:
            client.join(DEADLINE_SECONDS)
    assert echo.answered == sum(answered)
