"""HTTP requests with one deadline for all attempts, over kept connections."""

from __future__ import annotations

import itertools
import math
import os
import random
import threading
import time
from collections.abc import Sequence
from http.cookiejar import DefaultCookiePolicy
from typing import NamedTuple
from urllib.parse import urlsplit

import requests
from requests.auth import AuthBase
from urllib3.exceptions import InvalidHeader, MaxRetryError, ReadTimeoutError
from urllib3.util import Retry, Timeout

from vitrine_client.base import CLOSED
from vitrine_client.errors import BadResponse, DeadlineExceeded, Unavailable, VitrineError
from vitrine_client.http_connections import Adapter
from vitrine_client.settings import FIRST_BACKOFF, LONGEST_BACKOFF, TLS, is_loopback
from vitrine_client.steps import Call

_PIECE = 1 << 20
# With another address to go to, one that does not even take a connection is not waited for to the end.
_CONNECT_SECONDS = 3.0
# How long an address that failed is left out while others answer.
_AVOID_SECONDS = 1.0
# A server without more work for now, or a proxy whose server is going away. None of these has done anything.
_RETRIED_STATUSES = frozenset({429, 502, 503})


class Answer(NamedTuple):
    status: int
    content: bytes


class HttpSession:
    """Asks one address, or several that serve alike in turn. Several threads may share it.

    Args:
        addresses: `http(s)://host:port` with an optional path, no slash at the end.
        retries: how often a request is made again, all of them ones that change nothing.
    """

    def __init__(self, addresses: Sequence[str], tls: TLS | None, retries: int) -> None:
        self._addresses = tuple(addresses)
        self._tls = tls
        self._verify = None if tls is None or tls.ca is None else os.fspath(tls.ca)
        self._retry = Retry(total=retries, backoff_factor=FIRST_BACKOFF)
        self._turn = itertools.count()
        self._avoided: dict[str, float] = {}
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._process = os.getpid()
        self._session = self._opened()

    def send(self, call: Call, verb: str, path: str, body: str | None = None) -> Answer:
        """The answer to a request, whatever its status.

        Raises:
            DeadlineExceeded, Unavailable, BadResponse: there is none.
            RuntimeError: the session has been closed meanwhile.
        """
        retry = self._retry
        while not self._closed.is_set():
            address = self._next_address()
            failure: VitrineError | None = None
            seconds: float | None = None
            try:
                response = self._attempt(call, verb, address, path, body)
                answer = Answer(response.status_code, b"".join(response.iter_content(_PIECE)))
                if answer.status not in _RETRIED_STATUSES:
                    return answer
                seconds = _retry_after(retry, response)
            except requests.RequestException as error:
                if self._closed.is_set():
                    raise RuntimeError(CLOSED) from error
                failure = _failure(error, call)
                if not _is_worth_another(error, failure, len(self._addresses)):
                    raise failure from error
                self._avoided[address] = time.monotonic() + _AVOID_SECONDS
            try:
                retry = retry.increment(verb, path)
            except MaxRetryError:
                seconds = math.inf
            if seconds is None:
                # Not all clients of a server that was away come back at the same moment.
                seconds = min(retry.get_backoff_time(), LONGEST_BACKOFF) * random.uniform(0.75, 1.0)  # noqa: S311
            if seconds >= call.deadline - time.monotonic():
                if failure is not None:
                    raise failure
                return answer
            self._closed.wait(seconds)
        raise RuntimeError(CLOSED)

    def close(self) -> None:
        self._closed.set()
        # After a fork, the connections are the parent's as well.
        if self._process == os.getpid():
            self._session.close()

    def _attempt(self, call: Call, verb: str, address: str, path: str, body: str | None) -> requests.Response:
        token = call.headers.get("authorization")
        headers = {name: value for name, value in call.headers.items() if name != "authorization"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        return self._session_here().request(
            verb,
            address + path,
            data=body,
            headers=headers,
            # As a header, the credentials that ~/.netrc has for the host would replace it.
            auth=None if token is None else _Authorization(token),
            # Given to the session alone, the environment's bundle of authorities would replace it.
            verify=self._verify,
            # A number would be for connecting, and once more for the answer.
            timeout=Timeout(total=call.remaining()),  # type: ignore[arg-type]
            allow_redirects=False,
            stream=True,
        )

    def _next_address(self) -> str:
        """The next in turn that has not just failed; the next in turn, where all have."""
        if len(self._addresses) == 1:
            return self._addresses[0]
        start, now = next(self._turn), time.monotonic()
        turn = [self._addresses[(start + step) % len(self._addresses)] for step in range(len(self._addresses))]
        return next((address for address in turn if self._avoided.get(address, 0.0) <= now), turn[0])

    def _session_here(self) -> requests.Session:
        """The session of this process: after a fork, two would read each other's answers from the same connection."""
        if self._process != os.getpid():
            with self._lock:
                if self._process != os.getpid():
                    self._session = self._opened()
                    self._process = os.getpid()
        return self._session

    def _opened(self) -> requests.Session:
        """A session that several threads can share: nothing in it changes from call to call, cookies are not kept."""
        session = requests.Session()
        # A proxy that the environment names for the world outside does not lead to this machine.
        session.trust_env = not all(is_loopback(urlsplit(address).hostname or "") for address in self._addresses)
        session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        server_name = self._tls.server_name if self._tls else None
        connect_seconds = _CONNECT_SECONDS if len(self._addresses) > 1 else math.inf
        for scheme in ("http://", "https://"):
            session.mount(scheme, Adapter(server_name, connect_seconds))
        if self._tls is not None and self._tls.certificate is not None and self._tls.key is not None:
            session.cert = (os.fspath(self._tls.certificate), os.fspath(self._tls.key))
        return session


class _Authorization(AuthBase):
    def __init__(self, value: str) -> None:
        self._value = value

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = self._value
        return request


def _retry_after(retry: Retry, response: requests.Response) -> float | None:
    try:
        return retry.get_retry_after(response.raw)
    except (InvalidHeader, ValueError, OverflowError):
        return None


def _failure(error: requests.RequestException, call: Call) -> VitrineError:
    # urllib3 wraps what happened in an account of its retries, of which there are none.
    said = str(getattr(error.args[0], "reason", error) if error.args else error)
    # While the body is being read, requests reports a timeout as a ConnectionError.
    reading = bool(error.args) and isinstance(error.args[0], ReadTimeoutError)
    failure: VitrineError
    if reading or isinstance(error, requests.Timeout):
        failure = DeadlineExceeded(f"nothing within {call.timeout:g} s: {said}", said)
    elif isinstance(error, (requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        failure = Unavailable(said, said)
    else:
        failure = BadResponse(said, said)
    failure.__cause__ = error
    return failure


def _is_worth_another(error: requests.RequestException, failure: VitrineError, addresses: int) -> bool:
    if isinstance(error, requests.ConnectTimeout):
        return addresses > 1
    return isinstance(failure, Unavailable) and not isinstance(error, requests.exceptions.SSLError)
