"""Pictures fetched from URLs, within limits of time and size."""

from __future__ import annotations

import math
import time
from urllib.parse import urljoin

import requests
from requests.auth import HTTPBasicAuth
from requests.utils import get_auth_from_url
from urllib3.exceptions import HTTPError, ReadTimeoutError
from urllib3.util import Timeout

from vitrine_client.http_connections import Adapter
from vitrine_client.images.options import Refused
from vitrine_client.images.urls import without_credentials

MAX_BYTES = 64 << 20
MAX_REDIRECTS = 10
_CHUNK_BYTES = 1 << 16


def fetched(url: str, timeout: float) -> bytes:
    """What a GET of an http:// or https:// URL answers, redirects followed.

    A user and a password in the URL are sent to its own host alone; those of ~/.netrc are not sent.

    Args:
        timeout: seconds for all of it, from connecting to the last byte.

    Raises:
        Refused: an answer other than 2xx, none in time, one of more than 64 MiB or of no bytes, more than 10 redirects,
            or no such host.
    """
    name = repr(without_credentials(url))
    try:
        with _Session() as session, _answer(session, url, time.monotonic() + timeout) as answer:
            if not 200 <= answer.status_code < 300:
                raise Refused(f"cannot fetch {name}: HTTP {answer.status_code} {answer.reason or ''}".rstrip())
            content = bytearray()
            for chunk in answer.raw.stream(_CHUNK_BYTES, decode_content=True):
                content += chunk
                if len(content) > MAX_BYTES:
                    raise Refused(f"cannot fetch {name}: it is larger than {MAX_BYTES >> 20} MiB")
    except requests.Timeout as error:
        raise Refused(f"cannot fetch {name}: no answer within {timeout:g} s") from _reason(error)
    except ReadTimeoutError as error:
        raise Refused(f"cannot fetch {name}: not complete after {timeout:g} s") from error
    except requests.TooManyRedirects as error:
        raise Refused(f"cannot fetch {name}: too many redirects") from error
    except requests.exceptions.InvalidSchema:
        raise Refused(f"cannot fetch {name}: it redirects to something other than http:// or https://") from None
    except (requests.ConnectionError, HTTPError) as error:
        raise Refused(f"cannot fetch {name}: its host cannot be reached, or broke the connection") from _reason(error)
    except (requests.RequestException, ValueError) as error:
        # Its own words may hold the password.
        raise Refused(f"cannot fetch {name}: {type(error).__name__}") from None
    if not content:
        raise Refused(f"cannot fetch {name}: the answer is empty")
    return bytes(content)


class _Session(requests.Session):
    def __init__(self) -> None:
        super().__init__()
        adapter = Adapter(None, math.inf)
        for scheme in ("http://", "https://"):
            self.mount(scheme, adapter)

    def get_redirect_target(self, resp: requests.Response) -> None:
        """None: with a target, even a session that is not to follow it reads all of the redirect's body at once."""
        return


def _answer(session: _Session, url: str, deadline: float) -> requests.Response:
    """The first answer that is no redirect, its body still to be read by the deadline."""
    user_and_password = get_auth_from_url(url)
    for _ in range(MAX_REDIRECTS + 1):
        seconds = deadline - time.monotonic()
        if seconds <= 0:
            raise requests.Timeout
        answer = session.get(
            url,
            auth=HTTPBasicAuth(*user_and_password) if any(user_and_password) else _without_netrc,
            # A number would be for connecting, and once more for the answer.
            timeout=Timeout(total=seconds),  # type: ignore[arg-type]
            allow_redirects=False,
            stream=True,
        )
        target = requests.Session.get_redirect_target(session, answer)
        if target is None:
            return answer
        answer.close()
        url = urljoin(answer.url, target)
        own = get_auth_from_url(url)
        if any(own) or session.should_strip_auth(answer.url, url):  # type: ignore[no-untyped-call]
            user_and_password = own
    raise requests.TooManyRedirects


def _without_netrc(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def _reason(error: Exception) -> BaseException:
    """What happened by itself: urllib3's account of its attempts shows the query, which may be a secret."""
    reason = getattr(error.args[0], "reason", None) if error.args else None
    return reason if isinstance(reason, BaseException) else error
