"""Pictures behind URLs are fetched if asked for, within limits."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from client_sockets import SocketServer, reply

from vitrine_client import InvalidInput
from vitrine_client.images import ImageOptions, encode_image, encode_images

ALLOWED = ImageOptions(allow_urls=True)


@pytest.fixture
def web(picture: bytes, monkeypatch: pytest.MonkeyPatch) -> Iterator[SocketServer]:
    """Answers by path, and says how long an answer is by hanging up after it."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    found = b"HTTP/1.0 200 OK\r\n\r\n"
    answers = {
        b"/rose.jpg": found + picture,
        b"/empty": found,
        b"/page": found + b"<html>",
        b"/moved": reply(302, b"", "Location: /rose.jpg"),
        b"/to_file": reply(302, b"", "Location: file:///etc/passwd"),
        b"/round": reply(302, b"", "Location: /round"),
    }

    def answer(number: int, connection: socket.socket) -> None:
        path = server.requests[number - 1].split()[1].partition(b"?")[0]
        if path == b"/late":
            server.ended.wait(60)
        elif path in (b"/trickle", b"/huge"):
            pause, block = (0.05, b"x") if path == b"/trickle" else (0.0, bytes(1 << 20))
            connection.sendall(found)
            while not server.ended.wait(pause):
                connection.sendall(block)
        else:
            connection.sendall(answers.get(path) or reply(404))

    with SocketServer(answer) as server:
        yield server


@pytest.mark.parametrize("path", ["/rose.jpg", "/rose.jpg?size=large", "/moved"])
def test_a_picture_is_fetched_and_passes_untouched(web: SocketServer, picture: bytes, path: str):
    assert encode_images([web.address + path], ALLOWED) == [picture]
    assert encode_images([web.address.upper() + path], ALLOWED) == [picture]


def test_nothing_is_fetched_unless_asked_for(web: SocketServer):
    for options in (ImageOptions(), ImageOptions(check="off")):
        with pytest.raises(InvalidInput, match=r"images\[0\]: 'http://.*/rose.jpg' is a URL.*allow_urls=True"):
            encode_images([f"{web.address}/rose.jpg"], options)
    assert not web.requests


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/missing", "HTTP 404"),
        ("/empty", "the answer is empty"),
        ("/page", "no picture of a known format"),
        ("/to_file", "redirects to something other than http:// or https://"),
        ("/round", "too many redirects"),
    ],
)
def test_an_answer_that_is_no_picture_is_refused_by_position_and_url(web: SocketServer, path: str, reason: str):
    with pytest.raises(InvalidInput, match=rf"^images\[1\]: .*{reason}") as info:
        encode_images([f"{web.address}/rose.jpg", web.address + path], ALLOWED)
    assert f"'{web.address}{path}'" in str(info.value)


@pytest.mark.parametrize("path", ["/late", "/trickle"])
def test_an_answer_that_takes_too_long_is_given_up(web: SocketServer, path: str):
    with pytest.raises(InvalidInput, match=r"images\[0\]: cannot fetch .* 0\.3 s"):
        encode_image(web.address + path, 0, ALLOWED, timeout=0.3)


def test_a_picture_that_is_too_large_is_given_up(web: SocketServer):
    with pytest.raises(InvalidInput, match=r"images\[0\]: cannot fetch .*larger than 64 MiB"):
        encode_images([f"{web.address}/huge"], ALLOWED)


@pytest.mark.parametrize("url", ["http://", "http://user:secret@", "https://[bad", "http://exa mple:port/"])
def test_a_url_that_is_none_is_refused(url: str):
    with pytest.raises(InvalidInput, match=r"^images\[0\]: cannot fetch ") as info:
        encode_images([url], ALLOWED)
    assert "secret" not in str(info.value)


@pytest.mark.parametrize("path", ["http:", "ftp://host/rose.jpg", "https.jpg"])
def test_other_strings_are_paths(path: str):
    with pytest.raises(InvalidInput, match=r"images\[0\]: cannot read .*No such file"):
        encode_images([path], ALLOWED)
