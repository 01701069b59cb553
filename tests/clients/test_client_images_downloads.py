"""Fetching a picture: one deadline for all of it, redirects, and what is kept secret on the way."""

from __future__ import annotations

import base64
import socket
import ssl
import threading
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
from certificates import Authority
from client_sockets import SocketServer, read_request, reply

from vitrine_client import InvalidInput
from vitrine_client.images import ImageOptions, encode_image

ALLOWED = ImageOptions(allow_urls=True, check="off")
TIMEOUT = 0.3
# Alone, each wait ends in time; two of them do not.
WAIT = 0.2

Behaviour = Callable[[int, socket.socket, threading.Event], None]


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")


def fetched(url: str, timeout: float = 30.0) -> bytes:
    return encode_image(url, 0, ALLOWED, timeout=timeout)


def moved(to: str) -> bytes:
    return reply(302, b"", f"Location: {to}")


def slow_redirects(number: int, connection: socket.socket, ended: threading.Event) -> None:
    ended.wait(WAIT)
    connection.sendall(moved(f"/{number}") if number < 5 else reply(404))


def redirect_to_silence(number: int, connection: socket.socket, ended: threading.Event) -> None:
    if number == 1:
        connection.sendall(moved("/silent"))
    else:
        ended.wait(60)


def trickled_head(number: int, connection: socket.socket, ended: threading.Event) -> None:
    connection.sendall(b"HTTP/1.1 404 Not Found\r\n")
    for _ in range(30):
        ended.wait(0.05)
        connection.sendall(b"X-Padding: x\r\n")
    connection.sendall(b"Connection: close\r\n\r\n")


def late_head_and_late_body(number: int, connection: socket.socket, ended: threading.Event) -> None:
    head, _, body = reply(200, b"picture").partition(b"\r\n\r\n")
    ended.wait(WAIT)
    connection.sendall(head + b"\r\n\r\n")
    ended.wait(WAIT)
    connection.sendall(body)


def trickled_chunks(number: int, connection: socket.socket, ended: threading.Event) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n")
    for _ in range(30):
        ended.wait(0.05)
        connection.sendall(b"1\r\nx\r\n")
    connection.sendall(b"0\r\n\r\n")


@pytest.mark.parametrize(
    "behaviour",
    [slow_redirects, redirect_to_silence, trickled_head, late_head_and_late_body, trickled_chunks],
    ids=lambda behaviour: behaviour.__name__,
)
def test_one_deadline_covers_all_that_a_server_does(behaviour: Behaviour):
    with (
        SocketServer(lambda number, connection: behaviour(number, connection, server.ended)) as server,
        pytest.raises(InvalidInput, match=r"^images\[0\]: cannot fetch 'http://.*/rose.jpg': .* 0\.3 s$"),
    ):
        fetched(f"{server.address}/rose.jpg", TIMEOUT)


def test_the_deadline_covers_connecting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    authority = Authority(tmp_path, "authority")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.sign("server"))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority.certificate))
    over = threading.Event()

    def serve(pause: float) -> None:
        connection, _ = listening.accept()
        over.wait(pause)
        try:
            with connection, context.wrap_socket(connection, server_side=True) as secure:
                read_request(secure)
                over.wait(pause)
                secure.sendall(reply(404))
        except OSError:
            # The client has hung up.
            pass

    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"https://127.0.0.1:{listening.getsockname()[1]}/rose.jpg"
        for pause, timeout, reason in ((0.0, 30.0, "HTTP 404"), (WAIT, TIMEOUT, r"no answer within 0\.3 s")):
            thread = threading.Thread(target=serve, args=(pause,))
            thread.start()
            try:
                with pytest.raises(InvalidInput, match=reason):
                    fetched(url, timeout)
            finally:
                over.set()
                thread.join()
                over.clear()


@pytest.mark.parametrize("redirects", [10, 11])
def test_ten_redirects_are_followed_and_no_more(redirects: int):
    def answer(number: int, connection: socket.socket) -> None:
        connection.sendall(moved(f"{server.address}/{number}") if number <= redirects else reply(200, b"picture"))

    with SocketServer(answer) as server:
        if redirects == 10:
            assert fetched(f"{server.address}/rose.jpg") == b"picture"
        else:
            with pytest.raises(InvalidInput, match=r"cannot fetch 'http://.*/rose.jpg': too many redirects$"):
                fetched(f"{server.address}/rose.jpg")


def test_the_body_of_a_redirect_is_not_waited_for():
    def answer(number: int, connection: socket.socket) -> None:
        if number == 1:
            connection.sendall(b"HTTP/1.1 302 Found\r\nLocation: /rose.jpg\r\nContent-Length: 99\r\n\r\nmoved")
            server.ended.wait(60)
        else:
            connection.sendall(reply(200, b"picture"))

    with SocketServer(answer) as server:
        assert fetched(f"{server.address}/moved") == b"picture"


@pytest.mark.parametrize(
    "location", ["/rose.jpg", "http://127.0.0.1:{port}/rose.jpg", "http://localhost:{port}/rose.jpg"]
)
def test_a_password_is_for_its_own_host_alone(location: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    netrc = tmp_path / "netrc"
    netrc.write_text("default login someone password else\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))

    def answer(number: int, connection: socket.socket) -> None:
        connection.sendall(moved(location.format(port=server.port)) if number == 1 else reply(200, b"picture"))

    with SocketServer(answer) as server:
        assert fetched(f"http://user:secret@127.0.0.1:{server.port}/moved") == b"picture"
        first, second = server.requests
    password = b"Authorization: Basic " + base64.b64encode(b"user:secret") + b"\r\n"
    assert password in first
    if "localhost" in location:
        assert b"Authorization" not in second
    else:
        assert password in second


@pytest.mark.parametrize("reason", ["HTTP 404", "cannot be reached"])
def test_neither_message_nor_traceback_shows_what_signs_a_url(closed_port: int, reason: str):
    # A traceback shows lines of this file, too.
    secret = "hidden"[::-1]
    with SocketServer(lambda number, connection: connection.sendall(reply(404))) as server:
        port = server.port if "404" in reason else closed_port
        with pytest.raises(InvalidInput, match=rf"'http://127.0.0.1:{port}/rose.jpg\?...'.* {reason}") as info:
            fetched(f"http://user:{secret}@127.0.0.1:{port}/rose.jpg?signature={secret}#{secret}")
    assert secret not in "".join(traceback.format_exception(info.value))


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("http://user:secret@host/p.jpg", "http://host/p.jpg"),
        ("https://host/p.jpg?X-Signature=secret&a=b", "https://host/p.jpg?..."),
        ("https://host/p.jpg#secret", "https://host/p.jpg#..."),
        ("HTTPS://secret@host?to=secret@host", "HTTPS://host?..."),
        ("https://host/@someone/p.jpg", "https://host/@someone/p.jpg"),
    ],
)
def test_messages_show_a_url_without_its_secrets(given: str, shown: str):
    with pytest.raises(InvalidInput) as info:
        encode_image(given, 0, ImageOptions())
    assert f"'{shown}' is a URL" in str(info.value)
    assert "secret" not in str(info.value)


def test_paths_are_shown_whole():
    with pytest.raises(InvalidInput, match=r"cannot read 'who\?are#you@home.jpg'"):
        encode_image("who?are#you@home.jpg", 0, ImageOptions())
