"""Pictures fetched from URLs, within limits of time and size."""

from __future__ import annotations

import time
from collections.abc import Iterator

import requests
from urllib3.exceptions import HTTPError, ReadTimeoutError

from vitrine_client.images.options import Refused
from vitrine_client.images.urls import without_credentials

MAX_BYTES = 64 << 20
_CHUNK_BYTES = 1 << 16


def fetched(url: str, timeout: float) -> bytes:
    """What a GET of an http:// or https:// URL answers, redirects followed.

    Args:
        timeout: seconds for each step on the way to the answer, and for the whole until its last byte.

    Raises:
        Refused: an answer other than 2xx, none in time, one of more than 64 MiB or of no bytes, or no such host.
    """
    name = repr(without_credentials(url))
    deadline = time.monotonic() + timeout
    try:
        with requests.get(url, timeout=timeout, stream=True) as answer:
            if not 200 <= answer.status_code < 300:
                raise Refused(f"cannot fetch {name}: HTTP {answer.status_code} {answer.reason or ''}".rstrip())
            content = bytearray()
            for chunk in _chunks(answer):
                content += chunk
                if len(content) > MAX_BYTES:
                    raise Refused(f"cannot fetch {name}: it is larger than {MAX_BYTES >> 20} MiB")
                if time.monotonic() > deadline:
                    raise Refused(f"cannot fetch {name}: not complete after {timeout:g} s")
    except (requests.Timeout, ReadTimeoutError) as error:
        raise Refused(f"cannot fetch {name}: no answer within {timeout:g} s") from error
    except requests.TooManyRedirects as error:
        raise Refused(f"cannot fetch {name}: too many redirects") from error
    except requests.exceptions.InvalidSchema as error:
        raise Refused(f"cannot fetch {name}: it redirects to something other than http:// or https://") from error
    except (requests.ConnectionError, HTTPError) as error:
        raise Refused(f"cannot fetch {name}: its host cannot be reached, or broke the connection") from error
    except (requests.RequestException, ValueError) as error:
        # Its own words may hold the password.
        raise Refused(f"cannot fetch {name}: {type(error).__name__}") from None
    if not content:
        raise Refused(f"cannot fetch {name}: the answer is empty")
    return bytes(content)


def _chunks(answer: requests.Response) -> Iterator[bytes]:
    # As bytes arrive: requests' own reading waits for a whole chunk, which a trickle fills after the deadline.
    # urllib3 before 2.1 cannot do so.
    read = getattr(answer.raw, "read1", answer.raw.read)
    while chunk := read(_CHUNK_BYTES, decode_content=True):
        yield chunk
