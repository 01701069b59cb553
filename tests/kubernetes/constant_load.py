"""A constant load on a fleet, as a program for a pod: what clients of all kinds see while the fleet changes.

    python constant_load.py PICTURES --namespace default --service vitrine --rate 30 --port 9000

PICTURES is a folder with image files and answers.json, the right labels of each. Every request is sent when its time
has come, however long the ones before it take. What was seen is at http://:PORT/ as JSON.
"""

from __future__ import annotations

import argparse
import itertools
import json
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from vitrine_client import GrpcClient, RestClient
from vitrine_client.blocking import Client

# Of ten requests: half by each transport, one of each by a client that is made for it and closed after it.
KINDS = ("grpc", "rest", "grpc-headless", "rest", "grpc", "rest-new", "grpc-headless", "rest", "grpc-new", "rest")
# Enough that requests which wait for their retries do not keep others from being sent.
_THREADS = 128
_TIMEOUT_SECONDS = 10.0
_FAILURES_KEPT = 20


@dataclass
class Counts:
    """Of one kind of client."""

    sent: int = 0
    answered: int = 0
    failed: int = 0
    wrong: int = 0
    worst_seconds: float = 0.0


@dataclass
class Seen:
    """All that was counted since the beginning; `answered_in` is by the second, in this machine's time."""

    kinds: dict[str, Counts] = field(default_factory=lambda: {kind: Counts() for kind in KINDS})
    failures: list[str] = field(default_factory=list)
    answered_in: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    lock: threading.Lock = field(default_factory=threading.Lock)

    def sent(self, kind: str) -> None:
        with self.lock:
            self.kinds[kind].sent += 1

    def answered(self, kind: str, seconds: float, is_right: bool) -> None:
        with self.lock:
            counts = self.kinds[kind]
            counts.answered += 1
            counts.wrong += not is_right
            counts.worst_seconds = max(counts.worst_seconds, seconds)
            self.answered_in[int(time.time())] += 1

    def failed(self, kind: str, error: Exception) -> None:
        with self.lock:
            self.kinds[kind].failed += 1
            if len(self.failures) < _FAILURES_KEPT:
                at = time.strftime("%H:%M:%S", time.gmtime())
                self.failures.append(f"{at} {kind}: {type(error).__name__}: {error}")

    def to_json(self) -> str:
        with self.lock:
            kinds = {kind: asdict(counts) for kind, counts in self.kinds.items()}
            values = {"kinds": kinds, "failures": self.failures, "answered_in": self.answered_in, "now": time.time()}
            return json.dumps(values)


def connections(service: str, namespace: str, model: str) -> dict[str, Callable[[], Client]]:
    """How a client of each kind is made."""
    # By another name of the same Service: gRPC shares the connections of one process by name.
    qualified = f"{service}.{namespace}:8500"
    return {
        "grpc": lambda: GrpcClient(f"{service}:8500", model=model),
        "grpc-headless": lambda: GrpcClient(f"dns:///{service}-headless:8500", model=model),
        "grpc-new": lambda: GrpcClient(qualified, model=model),
        "rest": lambda: RestClient(f"http://{service}:8501", model=model),
        "rest-new": lambda: RestClient(f"http://{service}:8501", model=model),
    }


def ask(seen: Seen, kind: str, client: Client, picture: bytes, labels: list[str]) -> None:
    began = time.monotonic()
    try:
        [prediction] = client.classify([picture], timeout=_TIMEOUT_SECONDS)
    except Exception as error:
        # Whatever else a client raises is no answer either.
        seen.failed(kind, error)
    else:
        seen.answered(kind, time.monotonic() - began, prediction.label in labels)


@contextmanager
def server(seen: Seen, port: int) -> Iterator[None]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = seen.to_json().encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("", port), Handler) as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        yield


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("--service", default="vitrine")
    parser.add_argument("--namespace", required=True)
    parser.add_argument("--model", default="digits")
    parser.add_argument("--rate", type=float, default=30.0, help="requests per second, in all")
    parser.add_argument("--port", type=int, default=9000)
    arguments = parser.parse_args()
    answers: dict[str, list[str]] = json.loads((arguments.pictures / "answers.json").read_text(encoding="utf-8"))
    pictures = itertools.cycle(
        ((arguments.pictures / name).read_bytes(), labels) for name, labels in sorted(answers.items())
    )
    connect = connections(arguments.service, arguments.namespace, arguments.model)
    kept = {kind: connect[kind]() for kind in set(KINDS) if not kind.endswith("-new")}
    seen = Seen()

    def ask_once(kind: str, picture: bytes, labels: list[str]) -> None:
        if kind in kept:
            ask(seen, kind, kept[kind], picture, labels)
        else:
            with connect[kind]() as client:
                ask(seen, kind, client, picture, labels)

    with server(seen, arguments.port), ThreadPoolExecutor(_THREADS) as pool:
        due = time.monotonic()
        for kind, (picture, labels) in zip(itertools.cycle(KINDS), pictures):
            time.sleep(max(0.0, due - time.monotonic()))
            due += 1 / arguments.rate
            seen.sent(kind)
            pool.submit(ask_once, kind, picture, labels)


if __name__ == "__main__":
    main()
