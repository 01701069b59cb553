"""`python -m vitrine_client.load`: hands over to locust, in a fresh interpreter."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import MutableMapping
from pathlib import Path

# Python has imported vitrine_client, and so sockets, TLS and gRPC, on the way here. gevent has to replace the parts of
# the standard library before anybody has taken hold of them, which locust has it do as soon as it is imported.
_LOCUST_FIRST = "import locust; from vitrine_client.load.starting import start; start()"


def main() -> None:
    """Becomes locust's process: signals reach locust itself, and the exit code is locust's."""
    if importlib.util.find_spec("locust") is None:
        sys.stderr.write("vitrine_client.load: locust is not installed: pip install 'vitrine-client[load]'\n")
        sys.exit(2)
    ask_what_is_pinned(os.environ)
    os.execv(sys.executable, [sys.executable, "-c", _LOCUST_FIRST, *sys.argv[1:]])  # noqa: S606 - no shell is wanted


def ask_what_is_pinned(environment: MutableMapping[str, str]) -> None:
    """Where VITRINE_PINNED names a file of lines "NAME VERSION", it says the model and version that nobody has said.

    `vitrine-serving config write` writes that file for a server; golden answers are those of the pinned version.
    """
    path = environment.get("VITRINE_PINNED")
    if not path:
        return
    try:
        pinned = dict(line.split() for line in Path(path).read_text(encoding="utf-8").splitlines())
        first = next(iter(pinned))
    except (OSError, ValueError, StopIteration) as error:
        sys.stderr.write(f"vitrine_client.load: VITRINE_PINNED: {path!r} has no lines of NAME VERSION ({error!r})\n")
        sys.exit(2)
    model = environment["MODEL"] = environment.get("MODEL") or first
    if not environment.get("VITRINE_MODEL_VERSION"):
        environment["VITRINE_MODEL_VERSION"] = pinned.get(model, "")


if __name__ == "__main__":
    main()
