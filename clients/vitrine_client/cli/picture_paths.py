"""Which pictures the arguments of a command name: files, folders, patterns, URLs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from glob import has_magic
from itertools import takewhile
from pathlib import Path
from typing import NoReturn

from vitrine_client.errors import InvalidInput
from vitrine_client.images.urls import is_url

SUFFIXES = (".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff")


def picture_paths(arguments: Sequence[str]) -> list[str]:
    """The paths and URLs of all pictures, in the order of the arguments, sorted within each of them.

    A file is taken whatever its name is, and whether it is there shows when it is read. A folder stands for all
    pictures in it and below it, by suffix, hidden ones left out. A pattern (`*`, `?`, `[...]`, `**` for folders at any
    depth) stands for the pictures that it matches, or for all files if it names a suffix of its own, as `*.jfif` does.

    Raises:
        InvalidInput: a folder or a pattern without a picture, or a folder that cannot be read.
    """
    return [path for argument in arguments for path in _pictures_of(argument)]


def _pictures_of(argument: str) -> list[str]:
    if is_url(argument):
        return [argument]
    # pathlib raises for a path that no system takes, such as one with a NUL byte; that shows when it is read.
    if os.path.isdir(argument):  # noqa: PTH112
        return sorted(_below(argument)) or _refuse_empty(f"the folder {argument!r} holds")
    if has_magic(argument) and not os.path.lexists(argument):
        return sorted(_matching(argument)) or _refuse_empty(f"the pattern {argument!r} matches")
    return [argument]


def _below(folder: str) -> Iterator[str]:
    visited = set()
    for parent, folders, files in os.walk(folder, onerror=_refuse, followlinks=True):
        try:
            status = os.stat(parent)  # noqa: PTH116 - thousands of Paths take seconds
        except OSError as error:
            _refuse(error)
        place = (status.st_dev, status.st_ino)
        if place in visited:
            # A link back up, or a second one to the same folder.
            folders.clear()
            continue
        visited.add(place)
        folders[:] = sorted(name for name in folders if not _is_hidden(name))
        yield from (os.path.join(parent, name) for name in files if _is_picture(name) and not _is_hidden(name))  # noqa: PTH118


def _matching(pattern: str) -> Iterator[str]:
    parts = Path(pattern).parts
    fixed = list(takewhile(lambda part: not has_magic(part), parts))
    wild = list(parts[len(fixed) :])
    hidden = any(map(_is_hidden, wild))
    if wild[-1] == "**":
        # For Path it stands for folders alone.
        wild.append("*")
    suffix = Path(wild[-1]).suffix
    named = bool(suffix) and not has_magic(suffix)
    root = Path(*fixed)
    try:
        for path in set(root.glob("/".join(wild))):
            inside = path.relative_to(root).parts
            wanted = (named or _is_picture(path.name)) and (hidden or not any(map(_is_hidden, inside)))
            if wanted and path.is_file():
                yield str(path)
    except (OSError, ValueError) as error:
        raise InvalidInput(f"{pattern!r} is no pattern that can be looked up: {error}") from error


def _is_picture(name: str) -> bool:
    return name.lower().endswith(SUFFIXES)


def _is_hidden(name: str) -> bool:
    return name.startswith(".")


def _refuse(error: OSError) -> NoReturn:
    raise InvalidInput(f"cannot read the folder {error.filename!r}: {error.strerror}") from error


def _refuse_empty(what: str) -> NoReturn:
    raise InvalidInput(f"{what} no picture: no file whose name ends in {', '.join(SUFFIXES)}")
