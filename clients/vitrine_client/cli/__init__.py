"""The command `vitrine-client`: ask a server from a shell.

Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted. Results go to stdout, everything else to stderr.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Sequence

from vitrine_client.cli.arguments import parse
from vitrine_client.cli.connection import connect
from vitrine_client.cli.console import Console
from vitrine_client.cli.failures import told
from vitrine_client.cli.load import load
from vitrine_client.errors import InvalidInput, VitrineError

INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code; an interrupt ends the process here.

    Wrong usage ends in SystemExit(2), as argparse does it.
    """
    code = run(arguments)
    if code == INTERRUPTED:
        # Python would first wait for all requests under way. Whoever presses Ctrl-C again meanwhile means it.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        with contextlib.suppress(OSError):
            sys.stdout.flush()
        os._exit(code)
    return code


def run(arguments: Sequence[str] | None = None) -> int:
    """`main` for callers who want to go on after an interrupt."""
    if sys.stderr is None:  # As after 2>&- in a shell.
        sys.stderr = open(os.devnull, "w")  # noqa: PTH123, SIM115
    if sys.stdout is None:
        sys.stderr.write("vitrine-client: stdout is closed, and results go there\n")
        return 1
    given = sys.argv[1:] if arguments is None else list(arguments)
    try:
        if given[:1] == ["load"]:
            # Its options are locust's, which argparse knows nothing of.
            return load(given[1:])
        options = parse(given)
        console = Console(options.color, csv=getattr(options, "csv", False))
        try:
            client = connect(options)
        except InvalidInput as error:
            options.error(told(error, options))
        try:
            with client:
                code: int = options.run(client, options, console)
            sys.stdout.flush()
        except VitrineError as error:
            console.say(told(error, options), "vitrine-client")
            return 1
    except KeyboardInterrupt:
        return INTERRUPTED
    except OSError as error:
        # With a broken pipe the reader, such as `head`, has seen enough.
        if not isinstance(error, BrokenPipeError):
            sys.stderr.write(f"vitrine-client: cannot write the results: {error.strerror}\n")
        # Python would complain once more when it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code
