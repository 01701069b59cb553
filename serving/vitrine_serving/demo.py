"""Ask a freshly published version about pictures it has not been trained on, through both transports.

python -m vitrine_serving.demo --model digits
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from vitrine_client import GrpcClient, RestClient, VitrineError
from vitrine_client.tables import format_table
from vitrine_serving.arguments import server_arguments, server_options
from vitrine_serving.engines import choose
from vitrine_serving.errors import CommandError
from vitrine_serving.model_store import newest_version
from vitrine_serving.server_process import interrupt_on_signals, running_server

_PICTURES = 6
_HEADERS = ("picture", "true label", "label", "score", "transport", "milliseconds")


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="vitrine-demo", description=__doc__, parents=[server_arguments()])
    arguments = parser.parse_args(argv)
    interrupt_on_signals()
    try:
        engine, options = choose(arguments.engine), server_options(arguments)
        pictures = _held_out_pictures(options.base_path)
        sys.stderr.write(f"starting a server, engine: {engine.name} ({engine.why})\n")
        with running_server(engine, options):
            rows = []
            with GrpcClient(f"localhost:{options.grpc_port}", model=options.model) as client:
                rows += [_ask(client, "gRPC", *picture) for picture in pictures]
            with RestClient(f"localhost:{options.rest_port}", model=options.model) as client:
                rows += [_ask(client, "REST", *picture) for picture in pictures]
        sys.stdout.write(format_table(_HEADERS, rows) + "\n")
    except (CommandError, VitrineError) as error:
        sys.exit(f"demo: {error}")
    except KeyboardInterrupt:
        sys.stderr.write("\ninterrupted; the server is stopped\n")
        sys.exit(130)


def _held_out_pictures(base_path: Path) -> list[tuple[Path, str, str]]:
    """Golden pictures of the newest version, from the test split: file, name in the data set, true label."""
    newest = newest_version(base_path)
    if newest is None:
        raise CommandError(f"{base_path} holds no version; `make train export` publishes one")
    manifest = json.loads((newest / "assets.extra" / "manifest.json").read_text(encoding="utf-8"))
    return [(newest / entry["file"], entry["source"], entry["label"]) for entry in manifest["golden"][:_PICTURES]]


def _ask(client: GrpcClient | RestClient, transport: str, picture: Path, name: str, truth: str) -> tuple[str, ...]:
    start = time.perf_counter()
    [prediction] = client.classify([picture])
    milliseconds = (time.perf_counter() - start) * 1000
    return name, truth, prediction.label, f"{prediction.score:.3f}", transport, f"{milliseconds:.1f}"


if __name__ == "__main__":
    main()
