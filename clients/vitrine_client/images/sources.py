"""The bytes of a picture from where they are: a path, memory, an open file."""

from __future__ import annotations

import io
import os
import stat

from vitrine_client.images.options import Refused
from vitrine_client.images.urls import is_url, without_credentials


def named(image: object) -> str:
    """What a message calls the source of a picture."""
    if isinstance(image, str) and is_url(image):
        return repr(without_credentials(image))
    if isinstance(image, (str, os.PathLike)):
        return repr(os.fspath(image))
    if isinstance(image, (bytes, bytearray, memoryview)):
        return f"a picture of {memoryview(image).nbytes} bytes"
    name = getattr(image, "name", None)
    return f"the file {name!r}" if isinstance(name, str) else f"a file object ({type(image).__name__})"


def read_path(path: str | os.PathLike[str]) -> bytes:
    """The content of a file. Raises Refused where there is none, or nothing in it, or something other than a file."""
    try:
        # Whoever opens a pipe or a device may wait for ever. What opening says of a folder, it says in time.
        mode = os.stat(path).st_mode  # noqa: PTH116 - see below
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise Refused(f"{named(path)} is no regular file: read it yourself and give the bytes")
        # Neither Path nor a buffer: for a small file each of them takes as long as reading it.
        with io.FileIO(path) as file:
            content = file.readall()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise Refused(f"cannot read {named(path)}: {reason}") from error
    if not content:
        raise Refused(f"{named(path)} is an empty file")
    return content


def read_file(file: object) -> bytes:
    """What an open file holds from its position on. Raises Refused for a file of text, or nothing left to read."""
    try:
        content = file.read()  # type: ignore[attr-defined]
    except (OSError, ValueError) as error:
        raise Refused(f"cannot read {named(file)}: {error}") from error
    if isinstance(content, str):
        raise Refused(f"{named(file)} is open for text: open it with mode 'rb'")
    if not isinstance(content, (bytes, bytearray, memoryview)):
        raise Refused(f"{named(file)} reads as {type(content).__name__} where bytes belong")
    if not content:
        raise Refused(f"{named(file)} has nothing left to read: seek(0) goes back to its beginning")
    return bytes(content)


def fetch(url: str, allowed: bool, timeout: float) -> bytes:
    """The content behind a URL. Raises Refused where it cannot be had, or is not to be."""
    if not allowed:
        raise Refused(f"{named(url)} is a URL, and URLs are not fetched unless you say so: give allow_urls=True")
    # HTTP libraries are a quarter of what importing this package would cost, and most pictures are files.
    from vitrine_client.images.downloads import fetched

    return fetched(url, timeout)
