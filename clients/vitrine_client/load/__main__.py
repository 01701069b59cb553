"""`python -m vitrine_client.load`: hands over to locust, in a fresh interpreter."""

from __future__ import annotations

import importlib.util
import os
import sys

# Python has imported vitrine_client, and so sockets, TLS and gRPC, on the way here. gevent has to replace the parts of
# the standard library before anybody has taken hold of them, which locust has it do as soon as it is imported.
_LOCUST_FIRST = "import locust; from vitrine_client.load.starting import start; start()"


def main() -> None:
    """Becomes locust's process: signals reach locust itself, and the exit code is locust's."""
    if importlib.util.find_spec("locust") is None:
        sys.stderr.write("vitrine_client.load: locust is not installed: pip install 'vitrine-client[load]'\n")
        sys.exit(2)
    os.execv(sys.executable, [sys.executable, "-c", _LOCUST_FIRST, *sys.argv[1:]])  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    main()
