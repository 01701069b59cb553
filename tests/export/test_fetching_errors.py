"""What cannot be downloaded, or must not be taken, is told with the reason, and leaves nothing behind."""

from __future__ import annotations

import hashlib
import random
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from certificates import Authority
from file_server import FileServer, file_server
from processes import free_port

from vitrine_export.fetching import FetchError, Unreachable, fetch

CONTENT = random.Random(0).randbytes(1_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server() -> Iterator[FileServer]:
    with file_server() as server:
        server.files["/file.bin"] = CONTENT
        yield server


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "downloads" / "file.bin"


def get(server: FileServer, file: Path, sha256: str | None = SHA256, **options: object) -> str:
    return fetch(f"{server.url}/file.bin", file, **{"sha256": sha256, "size": None, "pause": 0.0, **options})


def left_of(file: Path) -> list[str]:
    return sorted(path.name for path in file.parent.iterdir())


def test_a_wrong_checksum_is_named_and_nothing_kept(server: FileServer, file: Path) -> None:
    other = hashlib.sha256(b"other").hexdigest()
    with pytest.raises(FetchError) as error:
        get(server, file, other)
    assert server.url in str(error.value)
    assert SHA256 in str(error.value)
    assert other in str(error.value)
    assert left_of(file) == []


def test_a_wrong_file_that_is_there_already_is_named_and_left(server: FileServer, file: Path) -> None:
    file.parent.mkdir()
    file.write_bytes(b"other")
    with pytest.raises(FetchError, match=rf"file\.bin is another file: its SHA-256 is .*, expected {SHA256}; remove"):
        get(server, file)
    with pytest.raises(FetchError, match=rf"it has 5 bytes, expected {len(CONTENT)}"):
        get(server, file, None, size=len(CONTENT))
    assert server.requests == []


def test_a_circle_of_redirects_ends(server: FileServer, file: Path) -> None:
    server.redirects["/file.bin"] = "/file.bin"
    with pytest.raises(Unreachable, match="redirects"):
        get(server, file)


@pytest.mark.parametrize(
    ("status", "requests", "text"), [(403, 1, "403 Forbidden"), (404, 1, "404 Not Found"), (500, 2, "500 Internal")]
)
def test_a_refusal_is_told(server: FileServer, file: Path, status: int, requests: int, text: str) -> None:
    server.statuses = [status] * 5
    with pytest.raises(Unreachable, match=f"the server answers {text}"):
        get(server, file, attempts=2)
    assert len(server.requests) == requests
    assert left_of(file) == []


def test_a_login_page_is_no_file(server: FileServer, file: Path) -> None:
    server.content_type = "text/html; charset=utf-8"
    with pytest.raises(Unreachable, match="a web page, not a file"):
        get(server, file, None)


@pytest.mark.parametrize("length", [None, 500, -1])
def test_a_file_above_the_limit_is_not_taken(server: FileServer, file: Path, length: int | None) -> None:
    server.length = length
    with pytest.raises(FetchError, match="which is the most that is taken"):
        get(server, file, limit=400)
    assert left_of(file) == []


def test_no_room_on_the_disk_is_told_before_the_download(server: FileServer, file: Path) -> None:
    server.length = 2**60
    with pytest.raises(
        FetchError, match=r"1152921504606846976 bytes are still to come, .* has room for \d+; make room"
    ):
        get(server, file, limit=2**62)


def test_a_silent_server_is_not_waited_for_for_ever(server: FileServer, file: Path) -> None:
    server.hold_after = 0
    with pytest.raises(Unreachable, match=r"no answer for 0\.2 seconds"):
        get(server, file, timeouts=(5, 0.2), attempts=2)


def test_an_unknown_name_and_a_closed_port_are_told_at_once(file: Path) -> None:
    with pytest.raises(Unreachable, match=r"no-such-host\.invalid/f\.zip: the name of the server cannot be looked up"):
        fetch("http://no-such-host.invalid/f.zip", file, sha256=None, size=None)
    with pytest.raises(Unreachable, match="connection refused"):
        fetch(f"http://127.0.0.1:{free_port()}/f.zip", file, sha256=None, size=None)
    assert left_of(file) == []


def test_a_dead_proxy_is_named_as_such(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with pytest.raises(Unreachable, match="the proxy cannot be used"):
        fetch("http://example.invalid/f.zip", file, sha256=None, size=None)


@pytest.mark.parametrize("url", ["ftp://example.invalid/f", "file:///etc/passwd", "http://", "http://[/f", "f.zip"])
def test_an_address_that_is_none_is_told(file: Path, url: str) -> None:
    with pytest.raises(Unreachable):
        fetch(url, file, sha256=None, size=None)


def test_a_redirect_into_this_computers_files_is_refused(server: FileServer, file: Path) -> None:
    server.redirects["/file.bin"] = "file:///etc/passwd"
    with pytest.raises(Unreachable):
        get(server, file, None)


def test_https_is_not_left(server: FileServer, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = Authority(tmp_path, "authority")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.sign("server"))
    with file_server(context) as secure:
        secure.files["/file.bin"] = CONTENT
        secure.redirects["/there.bin"] = "/file.bin"
        secure.redirects["/away.bin"] = f"{server.url}/file.bin"
        with pytest.raises(Unreachable, match=r"no encrypted connection: .*certificate"):
            get(secure, file)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority.certificate))
        with pytest.raises(Unreachable, match="leads to an address without encryption"):
            fetch(f"{secure.url}/away.bin", file, sha256=SHA256, size=None)
        assert left_of(file) == []
        assert fetch(f"{secure.url}/there.bin", file, sha256=SHA256, size=None) == SHA256


def test_messages_hold_no_passwords(file: Path) -> None:
    with pytest.raises(Unreachable) as error:
        fetch(f"http://user:secret@127.0.0.1:{free_port()}/f.zip", file, sha256=None, size=None)
    assert "secret" not in str(error.value)


def test_a_folder_that_cannot_be_written_is_told(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "downloads").write_text("a file")
    with pytest.raises(FetchError, match=r"cannot read or write .*: File exists"):
        get(server, tmp_path / "downloads" / "file.bin")
