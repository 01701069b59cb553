"""The command vitrine-serving."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

from vitrine_serving.arguments import server_arguments, server_options
from vitrine_serving.config.arguments import add_config
from vitrine_serving.config.monitoring import METRICS_PATH
from vitrine_serving.engines import ServerOptions, choose
from vitrine_serving.errors import CommandError
from vitrine_serving.model_store import newest_version
from vitrine_serving.rollout.arguments import add_rollout
from vitrine_serving.rollout.one_server.folder import check_writable
from vitrine_serving.server_process import interrupt_on_signals, running_server
from vitrine_serving.tune.arguments import add_tune

_EXAMPLES = """\
examples:
  vitrine-serving up                                  serve models/digits on ports 8500 (gRPC) and 8501 (REST)
  vitrine-serving up --model flowers --engine docker
  vitrine-serving up --models /srv/models --grpc-port 9000 --rest-port 9001
  vitrine-serving config write --models models --model digits=3 --out config
  vitrine-serving rollout 4                           canary, judge, promote or roll back in Kubernetes
  vitrine-serving tune --slo "p99<80ms" --out tuned   try batching and threads on this machine, keep the best

exit codes: 0 done, 1 failed, 2 wrong usage
"""


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="vitrine-serving",
        description="Serve a model store: the newest version of a model, or pinned versions by configuration files; "
        "bring a new version to a fleet, or back; find the batching that suits a machine.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    up = commands.add_parser(
        "up",
        parents=[server_arguments()],
        help="start a server and stay in the foreground until Ctrl-C",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    up.set_defaults(run=_up)
    # A rollout's record says what may not be pinned by hand.
    add_config(commands, check_writable)
    add_rollout(commands)
    add_tune(commands)
    arguments = parser.parse_args(argv)
    try:
        arguments.run(arguments)
    except CommandError as error:
        _say(f"vitrine-serving {arguments.command}: {error}")
        sys.exit(error.exit_code)


def _up(arguments: argparse.Namespace) -> None:
    engine = choose(arguments.engine)
    options = server_options(arguments)
    _say(f"engine: {engine.name} ({engine.why})")
    interrupt_on_signals()
    try:
        with running_server(engine, options) as server:
            _say(_welcome(options))
            code = server.wait()
        raise CommandError(f"the server ended by itself with exit code {code}")
    except KeyboardInterrupt:
        _say("stopped")


def _welcome(options: ServerOptions) -> str:
    url = f"http://localhost:{options.rest_port}/v1/models/{options.model}"
    return "\n".join(
        [
            f"gRPC: localhost:{options.grpc_port}",
            f"REST: {url}",
            f"Metrics: http://localhost:{options.rest_port}{METRICS_PATH}",
            "Try it, in another terminal:",
            f"  {_curl(url, options.base_path)}",
            "Ctrl-C stops the server.",
        ]
    )


def _curl(url: str, base_path: Path) -> str:
    """A command to paste; it asks with a golden picture where the newest version has one."""
    newest = newest_version(base_path) or base_path
    picture = next(iter(sorted(newest.glob("assets.extra/golden/*"))), Path("PICTURE.jpg"))
    encoded = f"$(base64 < {shlex.quote(str(picture))} | tr -d '\\n')"
    return f"""curl -s {url}:predict -d '{{"instances": [{{"b64": "'"{encoded}"'"}}]}}'"""


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


if __name__ == "__main__":
    main()
