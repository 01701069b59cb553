"""Downloads that survive dropped connections, killed processes and files that change meanwhile.

Bytes go to FILE.part, which keeps them for the next attempt; FILE.part.from says what they are a part of. FILE itself
appears only when it is whole and its SHA-256 is right. Whoever writes FILE.part holds a lock on it, which the kernel
drops with the process, so a second process waits and finds the file done.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

import requests
import urllib3
from tqdm import tqdm

from vitrine_export.digests import sha256_of

CHUNK_BYTES = 64 * 1024
LIMIT_BYTES = 16 * 2**30
TIMEOUTS = (10.0, 60.0)
"""Seconds to wait for a connection, and for the next bytes."""
_LONGEST_PAUSE_SECONDS = 60.0


class FetchError(Exception):
    """A file that cannot be had; `reason` is without the address, the text has it."""

    def __init__(self, url: str, reason: str) -> None:
        self.reason = reason
        super().__init__(f"{_without_password(url)}: {reason}")


class Unreachable(FetchError):
    """The server is out of reach or does not give the file: to fetch it elsewhere is the way out."""


class _Dropped(Exception):
    """Something that may go better at the next attempt."""

    def __init__(self, reason: str, pause_seconds: float = 0.0) -> None:
        self.pause_seconds = pause_seconds
        super().__init__(reason)


def fetch(
    url: str,
    file: Path,
    *,
    sha256: str | None,
    size: int | None,
    limit: int = LIMIT_BYTES,
    attempts: int = 5,
    timeouts: tuple[float, float] = TIMEOUTS,
    pause: float = 1.0,
) -> str:
    """Download `url` (http or https) to `file` and return its SHA-256 in hex; a `file` that is there is only checked.

    `sha256` and `size` (bytes) are what the file must have, None where it is not known; `limit` is the most bytes it
    may have. A transfer ends after `attempts` in a row without a new byte, `pause` seconds apart, then twice as many
    each time. Raises Unreachable or another FetchError.
    """
    try:
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            with locked(file.with_name(f"{file.name}.part")) as part:
                # Else another process has finished it while this one waited.
                if not file.exists():
                    download = _Download(url, part, sha256, size, limit, timeouts)
                    download.run(attempts, pause)
                    digest = download.check()
                    os.fsync(part.fileno())
                    Path(part.name).rename(file)
                    download.origin.unlink(missing_ok=True)
                    return digest
        digest = sha256_of(file)
        found = file.stat().st_size
    except OSError as error:
        raise FetchError(url, f"cannot read or write {file}: {error.strerror or error}") from None
    if sha256 is not None and digest != sha256:
        raise FetchError(url, f"{file} is another file: its SHA-256 is {digest}, expected {sha256}; remove it")
    if size is not None and found != size:
        raise FetchError(url, f"{file} is another file: it has {found} bytes, expected {size}; remove it")
    return digest


@contextlib.contextmanager
def locked(path: Path) -> Iterator[BinaryIO]:
    """`path` opened to append, made where it is missing, for this process alone; removed at the end if empty."""
    while True:
        with path.open("ab", buffering=0) as opened:
            try:
                fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                sys.stderr.write(f"waiting for another process that downloads {path.stem}\n")
                fcntl.flock(opened, fcntl.LOCK_EX)
            # Whoever held the lock has renamed or removed the file, perhaps: then there is another one to lock.
            if not _is_at(opened, path):
                continue
            try:
                yield opened
            finally:
                if _is_at(opened, path) and path.stat().st_size == 0:
                    path.unlink()
                    path.with_name(f"{path.name}.from").unlink(missing_ok=True)
            return


def _is_at(opened: BinaryIO, path: Path) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(opened.fileno()), path.stat())
    return False


@dataclass
class _Download:
    url: str
    part: BinaryIO
    sha256: str | None
    size: int | None
    limit: int
    timeouts: tuple[float, float]
    answered: bool = False

    @property
    def origin(self) -> Path:
        return Path(f"{self.part.name}.from")

    @property
    def offset(self) -> int:
        return os.fstat(self.part.fileno()).st_size

    def run(self, attempts: int, pause: float) -> None:
        """Fill `part`, from where it ends if it is a part of what is at `url` now."""
        failures, furthest = 0, self.offset
        while True:
            try:
                return self._attempt()
            except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
                reason, least_pause = reason_of(error, self.timeouts), 0.0
                # No network is no dropped connection: who is offline shall not wait to be told.
                if not self.answered and not _is_dropped(error):
                    raise Unreachable(self.url, reason) from None
            except _Dropped as error:
                reason, least_pause = str(error), error.pause_seconds
            failures = 0 if self.offset > furthest else failures + 1
            furthest = max(furthest, self.offset)
            if failures >= attempts:
                raise Unreachable(self.url, f"{reason}; given up after {attempts} attempts") from None
            wait = min(max(pause * 2**failures, least_pause), _LONGEST_PAUSE_SECONDS)
            sys.stderr.write(f"{_without_password(self.url)}: {reason}; trying again in {wait:g} seconds\n")
            time.sleep(wait)

    def check(self) -> str:
        """The part's SHA-256; where it is not the one that it should be, the part is removed and FetchError raised."""
        digest = sha256_of(Path(self.part.name))
        if self.sha256 is not None and digest != self.sha256:
            self._empty()
            raise FetchError(
                self.url,
                f"the SHA-256 of what came is {digest}, expected {self.sha256}; it was removed. "
                "Try again; where that does not help, the file at this address is another one than it was",
            )
        return digest

    def _attempt(self) -> None:
        # Encoded content could not be resumed, and would not have the published checksum.
        headers = {"Accept-Encoding": "identity"}
        if self.offset and (validator := self._validator()) is not None:
            headers["Range"] = f"bytes={self.offset}-"
            if validator:
                headers["If-Range"] = validator
        with requests.get(self.url, headers=headers, stream=True, timeout=self.timeouts) as response:
            self.answered = True
            total = self._start(response)
            if total is not None:
                self._require_room(total)
            if response.status_code != 416:
                self._receive(response, total)
        expected = self.size if total is None else total
        if expected is not None and self.offset < expected:
            raise _Dropped(f"ended after {self.offset} of {expected} bytes")
        if expected is not None and self.offset > expected:
            self._empty()
            raise FetchError(self.url, f"has more than {expected} bytes: another file than it was")

    def _start(self, response: requests.Response) -> int | None:
        """Make `part` fit what the server sends; returns the whole file's size in bytes, None if it is not said."""
        if urlsplit(self.url).scheme == "https" and urlsplit(response.url).scheme != "https":
            raise Unreachable(self.url, f"leads to an address without encryption, {_without_password(response.url)}")
        status = response.status_code
        if status == 429 or status >= 500:
            after = response.headers.get("Retry-After", "")
            raise _Dropped(
                f"the server answers {status} {response.reason}".rstrip(), float(after) if after.isdecimal() else 0.0
            )
        if status in (206, 416):
            part = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(\d+)", response.headers.get("Content-Range", ""), re.ASCII)
            if part is None or int(part[1] or part[2]) != self.offset:
                self._empty()
                raise _Dropped("the server has another part than the one asked for; starting anew")
            return int(part[2])
        if status != 200:
            raise Unreachable(self.url, f"the server answers {status} {response.reason}".rstrip())
        if response.headers.get("Content-Type", "").startswith("text/html"):
            raise Unreachable(self.url, "the server answers with a web page, not a file; is there a login in between?")
        self._empty()
        etag = response.headers.get("ETag", "")
        strong = etag if etag.startswith('"') else response.headers.get("Last-Modified", "")
        self.origin.write_text(f"{self.url}\n{strong}\n")
        length = response.headers.get("Content-Length", "")
        return int(length) if length.isdecimal() else None

    def _receive(self, response: requests.Response, total: int | None) -> None:
        name = Path(self.part.name).stem
        offset = self.offset
        with tqdm(desc=name, total=total, initial=offset, unit="B", unit_scale=True, unit_divisor=1024) as bar:
            for data in response.raw.stream(CHUNK_BYTES, decode_content=False):
                offset += len(data)
                if offset > self.limit:
                    self._empty()
                    raise FetchError(self.url, f"has more than {self.limit} bytes, which is the most that is taken")
                self.part.write(data)
                bar.update(len(data))

    def _require_room(self, total: int) -> None:
        if self.size is not None and total != self.size:
            raise FetchError(self.url, f"has {total} bytes, expected {self.size}: another file than it was")
        if total > self.limit:
            raise FetchError(self.url, f"has {total} bytes, more than {self.limit}, which is the most that is taken")
        folder = Path(self.part.name).parent
        free = shutil.disk_usage(folder).free
        if total - self.offset > free:
            raise FetchError(
                self.url, f"{total - self.offset} bytes are still to come, {folder} has room for {free}; make room"
            )

    def _validator(self) -> str | None:
        """What tells that the file is still the same; empty where the checksum must tell, None where nothing can."""
        with contextlib.suppress(OSError, ValueError):
            url, validator = self.origin.read_text().splitlines()
            if url == self.url and (validator or self.sha256 is not None):
                return validator
        return None

    def _empty(self) -> None:
        self.part.truncate(0)


def _is_dropped(error: Exception) -> bool:
    """Whether a server had taken the connection."""
    return isinstance(error, requests.ConnectionError) and isinstance(
        next(iter(error.args), None), urllib3.exceptions.ProtocolError
    )


def reason_of(error: Exception, timeouts: tuple[float, float] = TIMEOUTS) -> str:
    """What went wrong on the network, in a few words; `error` is one of requests or urllib3."""
    cause: object = next(iter(error.args), error)
    if isinstance(cause, urllib3.exceptions.MaxRetryError):
        cause = cause.reason
    if isinstance(error, requests.exceptions.ProxyError):
        return f"the proxy cannot be used ({cause}); see the environment variables HTTPS_PROXY and NO_PROXY"
    if isinstance(error, requests.ConnectTimeout):
        return f"no connection within {timeouts[0]:g} seconds"
    if isinstance(error, (requests.ReadTimeout, urllib3.exceptions.ReadTimeoutError)):
        return f"no answer for {timeouts[1]:g} seconds"
    if isinstance(cause, urllib3.exceptions.NameResolutionError):
        return "the name of the server cannot be looked up: no network, or no such name"
    if isinstance(cause, urllib3.exceptions.NewConnectionError):
        # urllib3's text is "CLASS(host=..., port=...): Failed to establish a new connection: [Errno 111] ...".
        return re.sub(r"^\[Errno -?\d+\] ", "", str(cause).rpartition("connection: ")[2]).lower()
    if isinstance(error, (requests.exceptions.SSLError, urllib3.exceptions.SSLError)):
        return f"no encrypted connection: {cause}"
    if isinstance(error, urllib3.exceptions.ProtocolError) or _is_dropped(error):
        return "the connection was dropped"
    return str(cause)


def _without_password(url: str) -> str:
    return re.sub(r"(?<=://)[^/?#]*@", "", url)
