"""The embedded server's CPU and memory against what it cannot do without, and version swaps under load.

Its throughput is measured by `python -m benchmarks.performance`. Needs Linux, and a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import load, models
from benchmarks.processes import ServerProcess, bare_server, embedded_server
from vitrine_serving.embedded.cpus import available_cpus

Figures = dict[str, Any]


def cpu_per_request(folder: Path, rounds: int, seconds: float) -> Figures:
    """Server CPU of a request to a trivial model, in µs, against a bare server on the same transports.

    Target by gRPC: 1.6 times. By REST the bare server runs next to no Python, so there the difference says more.
    """
    base = folder / "trivial"
    models.write_trivial(base / "1")
    payloads = [models.trivial_request().SerializeToString()]
    bodies = [models.trivial_json()]
    figures: Figures = {}
    with embedded_server(base) as ours, bare_server() as bare:
        for transport in ("gRPC", "REST"):
            for clients in (1, 4):
                makers = {
                    name: _makers(server, transport, clients, payloads, bodies)
                    for name, server in (("server", ours), ("bare", bare))
                }
                micros: dict[str, list[float]] = {"server": [], "bare": []}
                for _ in range(rounds):
                    for name, server in (("server", ours), ("bare", bare)):
                        micros[name].append(_micros_per_request(server, makers[name], seconds))
                medians = {name: statistics.median(values) for name, values in micros.items()}
                ratio = statistics.median(a / b for a, b in zip(micros["server"], micros["bare"], strict=True))
                figures[f"{transport}, {clients} client(s)"] = {**medians, "ratio": ratio}
    return figures


def memory(folder: Path) -> Figures:
    """Resident memory after 200 requests, against a process that only loaded and ran the model; target 1.15."""
    base = folder / "memory"
    models.write_mobilenet(base / "1")
    photos = models.photos(8)
    code = (
        "import sys, numpy as np\n"
        "from pathlib import Path\n"
        "from vitrine_serving.embedded.inference.saved_model import SessionOptions, load_saved_model\n"
        "model = load_saved_model(sys.argv[1], SessionOptions(1, 2))\n"
        "batch = np.array([Path(sys.argv[2]).read_bytes()], np.object_)\n"
        "for _ in range(200): model.run('', {'image_bytes': batch})\n"
        "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmRSS')))\n"
    )
    picture = folder / "picture.jpg"
    picture.write_bytes(photos[0])
    command = [sys.executable, "-c", code, str(base / "1"), str(picture)]
    bare = int(subprocess.run(command, check=True, capture_output=True).stdout) * 1024 / 1e6
    payloads = [models.photo_request(photo).SerializeToString() for photo in photos]
    with embedded_server(base) as server:
        send = load.grpc_client(server.grpc_port, payloads)()
        for _ in range(200):
            send()
        served = server.resident_megabytes()
    return {"server": served, "bare": bare, "ratio": served / bare}


def swaps(folder: Path, count: int = 50) -> Figures:
    """`count` version swaps under load: failed requests (target 0), memory from the tenth swap to the last."""
    base = folder / "swaps"
    models.write_mobilenet(base / "1")
    payloads = [models.photo_request(photo).SerializeToString() for photo in models.photos(8)]
    resident = []
    with (
        embedded_server(base) as server,
        load.clients([load.grpc_client(server.grpc_port, payloads)] * 4) as running,
    ):
        for version in range(2, count + 2):
            staged = folder / "staged"
            subprocess.run(["cp", "-r", str(base / str(version - 1)), str(staged)], check=True)
            staged.rename(base / str(version))
            _wait_for_swap(server, version)
            subprocess.run(["rm", "-r", str(base / str(version - 1))], check=True)
            resident.append(server.resident_megabytes())
            _say(f"  swap {version - 1}: {resident[-1]:.0f} MB, {running.count} requests, {len(running.errors)} failed")
    return {
        "requests": running.count,
        "failed": len(running.errors),
        "MB after 10": resident[9],
        "MB after all": resident[-1],
        "ratio": resident[-1] / resident[9],
    }


def _wait_for_swap(server: ServerProcess, version: int) -> None:
    import requests

    url = f"http://127.0.0.1:{server.rest_port}/v1/models/model"
    while True:
        states = {
            int(entry["version"]): entry["state"]
            for entry in requests.get(url, timeout=60).json()["model_version_status"]
        }
        if states.get(version) == "AVAILABLE" and states.get(version - 1, "END") == "END":
            return
        time.sleep(0.05)


def _makers(
    server: ServerProcess, transport: str, clients: int, payloads: Sequence[bytes], bodies: Sequence[bytes]
) -> list[Callable[[], load.Send]]:
    if transport == "gRPC":
        return [load.grpc_client(server.grpc_port, payloads)] * clients
    return [load.rest_client(server.rest_port, bodies)] * clients


def _micros_per_request(server: ServerProcess, makers: list[Callable[[], load.Send]], seconds: float) -> float:
    with load.clients(makers) as running:
        time.sleep(min(1.0, seconds / 3))
        count, cpu = running.count, server.cpu_seconds()
        time.sleep(seconds)
        used = server.cpu_seconds() - cpu
        answered = running.count - count
        running.require_no_errors()
    return used / answered * 1e6


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.embedded", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each pair (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=3.0, help="length of a measurement (default %(default)s)")
    parser.add_argument("--only", default="cpu,memory,swaps", help="which, default %(default)s")
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    options = parser.parse_args()
    if not Path("/proc/self/stat").exists():
        parser.error("CPU time and memory are read from /proc, which only Linux has")
    measurements: dict[str, Callable[[Path], Figures]] = {
        "cpu": lambda folder: cpu_per_request(folder, options.rounds, options.seconds),
        "memory": memory,
        "swaps": swaps,
    }
    figures: Figures = {"machine": f"{available_cpus()} cores, {platform.platform()}"}
    for name in options.only.split(","):
        _say(f"{name}: {measurements[name].__name__}")
        with tempfile.TemporaryDirectory() as folder:
            figures[name] = measurements[name](Path(folder))
        print(f"{name}: {json.dumps(figures[name], indent=2)}", flush=True)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
