"""Pictures behind URLs are fetched if asked for, within limits."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from vitrine_client import InvalidInput
from vitrine_client.images import ImageOptions, encode_image, encode_images

ALLOWED = ImageOptions(allow_urls=True)


class PictureServer(ThreadingHTTPServer):
    """Answers by path; `asked` lists the paths."""

    def __init__(self, picture: bytes) -> None:
        self.picture = picture
        self.asked: list[str] = []
        self.ending = threading.Event()
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: PictureServer

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        name = self.path.partition("?")[0].strip("/")
        if name == "late":
            self.server.ending.wait(60)
            return
        if name in ("moved", "to_file", "round"):
            self.send_response(302)
            self.send_header(
                "Location", {"moved": "/rose.jpg", "to_file": "file:///etc/passwd", "round": "/round"}[name]
            )
            self.end_headers()
            return
        content = {"rose.jpg": self.server.picture, "empty": b"", "page": b"<html>"}.get(name)
        self.send_response(200 if content is not None or name in ("huge", "trickle") else 404)
        self.end_headers()
        if name == "trickle":
            while not self.server.ending.wait(0.05):
                self.wfile.write(b"x")
                self.wfile.flush()
        elif name == "huge":
            self.send_zeros()
        elif content:
            self.wfile.write(content)

    def send_zeros(self) -> None:
        block = bytes(1 << 20)
        try:
            while not self.server.ending.is_set():
                self.wfile.write(block)
        except OSError:
            self.close_connection = True

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def pictures(encode: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch) -> Iterator[PictureServer]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = PictureServer(encode(format="JPEG"))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.ending.set()
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize("path", ["/rose.jpg", "/rose.jpg?size=large", "/moved"])
def test_a_picture_is_fetched_and_passes_untouched(pictures: PictureServer, path: str):
    assert encode_images([pictures.url + path], ALLOWED) == [pictures.picture]
    assert encode_images([pictures.url.upper() + path], ALLOWED) == [pictures.picture]


def test_nothing_is_fetched_unless_asked_for(pictures: PictureServer):
    for options in (ImageOptions(), ImageOptions(check="off")):
        with pytest.raises(InvalidInput, match=r"images\[0\]: 'http://.*/rose.jpg' is a URL.*allow_urls=True"):
            encode_images([f"{pictures.url}/rose.jpg"], options)
    assert not pictures.asked


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
def test_an_answer_that_is_no_picture_is_refused_by_position_and_url(pictures: PictureServer, path: str, reason: str):
    with pytest.raises(InvalidInput, match=rf"^images\[1\]: .*{reason}") as info:
        encode_images([f"{pictures.url}/rose.jpg", pictures.url + path], ALLOWED)
    assert f"'{pictures.url}{path}'" in str(info.value)


@pytest.mark.parametrize("path", ["/late", "/trickle"])
def test_an_answer_that_takes_too_long_is_given_up(pictures: PictureServer, path: str):
    with pytest.raises(InvalidInput, match=r"images\[0\]: cannot fetch .* 0\.3 s"):
        encode_image(pictures.url + path, 0, ALLOWED, timeout=0.3)


def test_a_picture_that_is_too_large_is_given_up(pictures: PictureServer):
    with pytest.raises(InvalidInput, match=r"images\[0\]: cannot fetch .*larger than 64 MiB"):
        encode_images([f"{pictures.url}/huge"], ALLOWED)


def test_a_host_that_is_not_there_is_named_without_password(closed_port: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    url = f"http://user:secret@127.0.0.1:{closed_port}/rose.jpg"
    for options, reason in ((ALLOWED, "cannot be reached"), (ImageOptions(), "is a URL")):
        with pytest.raises(InvalidInput, match=reason) as info:
            encode_images([url], options)
        assert f"'http://127.0.0.1:{closed_port}/rose.jpg'" in str(info.value)
        assert "secret" not in str(info.value)


@pytest.mark.parametrize("url", ["http://", "http://user:secret@", "https://[bad", "http://exa mple:port/"])
def test_a_url_that_is_none_is_refused(url: str):
    with pytest.raises(InvalidInput, match=r"^images\[0\]: cannot fetch ") as info:
        encode_images([url], ALLOWED)
    assert "secret" not in str(info.value)


@pytest.mark.parametrize("path", ["http:", "ftp://host/rose.jpg", "https.jpg"])
def test_other_strings_are_paths(path: str):
    with pytest.raises(InvalidInput, match=r"images\[0\]: cannot read .*No such file"):
        encode_images([path], ALLOWED)
