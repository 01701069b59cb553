"""Downloads over real sockets, from a server that drops, redirects and changes its mind."""

from __future__ import annotations

import hashlib
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from file_server import FileServer, file_server
from processes import wait_until

from vitrine_export.fetching import FetchError, Unreachable, fetch

CONTENT = random.Random(0).randbytes(1_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
CHUNK = 64 * 1024


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


def interrupted_download(server: FileServer, file: Path, sha256: str | None = SHA256) -> int:
    """A download that gave up half way; returns how many bytes are kept."""
    server.drops = [500_000]
    server.statuses = [200, 403]
    with pytest.raises(Unreachable, match="403"):
        get(server, file, sha256)
    server.requests.clear()
    return file.with_name("file.bin.part").stat().st_size


def test_a_file_is_downloaded_with_a_progress_bar_and_once(server: FileServer, file: Path, capfd) -> None:
    assert get(server, file) == SHA256
    assert file.read_bytes() == CONTENT
    assert left_of(file) == ["file.bin"]
    assert "977k/977k" in capfd.readouterr().err
    assert get(server, file) == SHA256
    assert len(server.requests) == 1


def test_a_dropped_connection_is_taken_up_where_it_broke(server: FileServer, file: Path) -> None:
    server.drops = [300_000, 400_000]
    get(server, file, size=len(CONTENT))
    assert file.read_bytes() == CONTENT
    offsets = [int(asked.removeprefix("bytes=").rstrip("-")) for _, asked, _ in server.requests[1:]]
    assert len(offsets) == 2
    assert 300_000 - CHUNK < offsets[0] <= 300_000
    assert offsets[0] < offsets[1] < len(CONTENT)
    assert [etag for _, _, etag in server.requests] == [None, '"first"', '"first"']


def test_a_download_that_gave_up_is_continued_by_the_next(server: FileServer, file: Path) -> None:
    kept = interrupted_download(server, file)
    assert kept > 0
    get(server, file)
    assert file.read_bytes() == CONTENT
    assert server.requests == [("/file.bin", f"bytes={kept}-", '"first"')]


FETCH = """
import sys
from pathlib import Path
from vitrine_export.fetching import fetch
fetch(sys.argv[1], Path(sys.argv[2]), sha256=None, size=None)
"""


def start(server: FileServer, file: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", FETCH, f"{server.url}/file.bin", str(file)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def stop_half_way(server: FileServer, file: Path, number: signal.Signals) -> int:
    """Send the signal to a process that has downloaded half of the file; returns how many bytes are kept."""
    server.hold_after = 600_000
    part = file.with_name("file.bin.part")
    with start(server, file) as process:
        try:
            wait_until(lambda: part.exists() and part.stat().st_size > 600_000 - CHUNK, "half the file")
            process.send_signal(number)
            process.communicate(timeout=60)
        finally:
            process.kill()
    server.hold_after = None
    return part.stat().st_size


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_process_stopped_in_the_middle_is_continued_by_the_next(
    server: FileServer, file: Path, number: signal.Signals
) -> None:
    kept = stop_half_way(server, file, number)
    assert left_of(file) == ["file.bin.part", "file.bin.part.from"]
    get(server, file, None)
    assert file.read_bytes() == CONTENT
    assert server.requests[-1] == ("/file.bin", f"bytes={kept}-", '"first"')
    assert left_of(file) == ["file.bin"]


def test_two_processes_at_once_make_one_download(server: FileServer, file: Path) -> None:
    server.hold_after = 200_000
    with start(server, file) as first:
        wait_until(lambda: server.requests, "the first one's request")
        with start(server, file) as second:
            assert second.stderr is not None
            assert second.stderr.readline() == "waiting for another process that downloads file.bin\n"
            server.release.set()
            second.communicate(timeout=60)
        first.communicate(timeout=60)
    assert (first.returncode, second.returncode) == (0, 0)
    assert file.read_bytes() == CONTENT
    assert len(server.requests) == 1
    assert left_of(file) == ["file.bin"]


def test_a_file_that_has_changed_is_downloaded_anew(server: FileServer, file: Path) -> None:
    interrupted_download(server, file, None)
    server.files["/file.bin"] = CONTENT[::-1]
    server.etag = '"second"'
    get(server, file, None)
    assert file.read_bytes() == CONTENT[::-1]


def test_a_part_from_another_address_is_not_continued(server: FileServer, file: Path) -> None:
    interrupted_download(server, file, None)
    server.files["/other.bin"] = CONTENT[::-1]
    fetch(f"{server.url}/other.bin", file, sha256=None, size=None)
    assert file.read_bytes() == CONTENT[::-1]
    assert server.requests == [("/other.bin", None, None)]


@pytest.mark.parametrize(("sha256", "continued"), [(SHA256, True), (None, False)])
def test_without_an_etag_only_a_checksum_allows_to_continue(
    server: FileServer, file: Path, sha256: str | None, continued: bool
) -> None:
    server.etag = None
    interrupted_download(server, file, sha256)
    get(server, file, sha256)
    assert file.read_bytes() == CONTENT
    assert [asked is not None for _, asked, _ in server.requests] == [continued]


def test_a_part_that_was_not_asked_for_is_not_taken(server: FileServer, file: Path) -> None:
    interrupted_download(server, file, None)
    server.other_part = True
    get(server, file, None)
    assert file.read_bytes() == CONTENT
    assert [asked is not None for _, asked, _ in server.requests] == [True, False]


def test_a_file_of_unknown_length_is_downloaded(server: FileServer, file: Path) -> None:
    server.length = -1
    get(server, file)
    assert file.read_bytes() == CONTENT


def test_a_server_without_ranges_sends_it_all_again(server: FileServer, file: Path) -> None:
    server.ranges = False
    server.drops = [700_000]
    get(server, file)
    assert file.read_bytes() == CONTENT
    assert len(server.requests) == 2


def test_a_server_that_always_drops_is_given_up(server: FileServer, file: Path) -> None:
    server.ranges = False
    server.drops = [700_000] * 10
    with pytest.raises(Unreachable, match="dropped; given up after 3 attempts"):
        get(server, file, attempts=3)
    assert len(server.requests) == 4


def test_a_length_that_is_too_long_is_found_out(server: FileServer, file: Path) -> None:
    server.length = len(CONTENT) + 1000
    get(server, file)
    assert file.read_bytes() == CONTENT


def test_a_length_that_is_too_short_is_found_out(server: FileServer, file: Path) -> None:
    server.length = 1000
    with pytest.raises(FetchError, match=f"has 1000 bytes, expected {len(CONTENT)}"):
        get(server, file, size=len(CONTENT))
    with pytest.raises(FetchError, match="SHA-256"):
        get(server, file)
    assert left_of(file) == []


def test_redirects_are_followed(server: FileServer, file: Path) -> None:
    server.redirects["/old.bin"] = "/file.bin"
    server.drops = [500_000]
    fetch(f"{server.url}/old.bin", file, sha256=SHA256, size=None, pause=0)
    assert file.read_bytes() == CONTENT


def test_a_busy_server_is_asked_again(server: FileServer, file: Path) -> None:
    server.statuses = [503, 429]
    get(server, file)
    assert file.read_bytes() == CONTENT
