"""`vitrine-client load`: locust with our users, or trial after trial in search of a server's capacity."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

_CAPACITY = "capacity"


def load(arguments: Sequence[str]) -> int:
    """Returns the exit code of `load capacity`.

    Anything else makes this the process of `python -m vitrine_client.load`, which reads it in its own way.
    """
    if arguments[:1] != [_CAPACITY]:
        command = [sys.executable, "-m", "vitrine_client.load", *arguments]
        os.execv(sys.executable, command)  # noqa: S606 - no shell is wanted
    # No other command has use for it.
    from vitrine_client.load.capacity.command import main

    return main(arguments[1:])
