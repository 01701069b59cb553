"""clients/README.md: its examples run as they stand, and its tables say what the code does."""

from __future__ import annotations

import inspect
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from certificates import Authority
from client_servers import Server, running_server
from processes import wait_until

import vitrine_client
from vitrine_client import AsyncGrpcClient, Client, GrpcClient, VitrineError
from vitrine_client.errors import error_of_grpc_status, error_of_http_status

README = Path(__file__).parents[2] / "clients" / "README.md"
TEXT = README.read_text(encoding="utf-8")
MODEL_CONFIG = """model_config_list {
  config { name: "shapes" base_path: "%(folder)s" model_platform: "tensorflow" }
  config {
    name: "flowers" base_path: "%(folder)s" model_platform: "tensorflow"
    model_version_policy { specific { versions: 2 versions: 3 } }
    version_labels { key: "stable" value: 2 }
    version_labels { key: "canary" value: 3 }
  }
}"""


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)


def table(header: str) -> list[list[str]]:
    """The cells of the table whose header begins so."""
    lines = TEXT.partition(f"\n{header}")[2].partition("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


@dataclass(frozen=True)
class Place:
    """Where the README's examples run: a server of `flowers`, a folder of pictures and what else they name."""

    server: Server
    access_log: Path
    folder: Path

    def here(self, text: str) -> str:
        """An example with this server's addresses in place of the README's."""
        addresses = {
            "http://localhost:8501": self.server.rest,
            "localhost:8500": self.server.grpc,
            "/models/flowers": str(self.server.versions),
        }
        for written, ours in addresses.items():
            text = text.replace(written, ours)
        return text


@pytest.fixture(scope="module")
def place(server: Server, encode: Callable[..., bytes], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Versions 2, `stable`, and 3, `canary`, of `flowers`, on a server that lists its models."""
    served, folder = tmp_path_factory.mktemp("flowers"), tmp_path_factory.mktemp("readme")
    for version in ("2", "3"):
        shutil.copytree(server.versions / "2", served / "model" / version)
    config = served / "models.config"
    config.write_text(MODEL_CONFIG % {"folder": served / "model"})
    (folder / "flowers").mkdir()
    for seed, name in enumerate(("rose", "tulip")):
        (folder / "flowers" / f"{name}.jpg").write_bytes(encode("RGB", "JPEG", size=(600, 400), seed=seed))
    (folder / "broken.jpg").write_bytes((folder / "flowers" / "rose.jpg").read_bytes()[:1000])
    (folder / "token").write_text("secret\n")
    flags = ["--allow_version_labels_for_unavailable_models", "--rest_api_extensions"]
    flags += ["--enable_grpc_healthcheck_service", f"--model_config_file={config}"]
    log = served / "access.log"
    with running_server(served / "model", served, *flags, f"--access_log={log}") as running:
        yield Place(running, log, folder)


@pytest.fixture
def namespace(place: Place, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, object]]:
    """What the README takes for granted: an open `client`, and its files in the current folder."""
    monkeypatch.chdir(place.folder)
    with GrpcClient(place.server.grpc, model="flowers") as client:
        client.wait_until_available(version=3)
        yield {"client": client, "__name__": "readme"}


@pytest.mark.parametrize("number", range(len(blocks("python"))))
def test_an_example_in_python_runs(number: int, place: Place, namespace: dict[str, object]):
    example = blocks("python")[number]
    if "ca.pem" in example:
        # Nothing is asked with them here; the tests of TLS do that.
        Authority(place.folder, "ca").sign("client")
    exec(compile(place.here(example), f"example {number} in README.md", "exec"), namespace)  # noqa: S102
    for value in namespace.values():
        if isinstance(value, Client):
            value.close()


def test_the_first_example_prints_a_label_and_its_score(place: Place, namespace: dict, capsys: pytest.CaptureFixture):
    exec(place.here(blocks("python")[0]), namespace)  # noqa: S102
    with place.server.client("grpc", model="flowers") as client:
        [expected] = client.classify(["flowers/rose.jpg"])
    assert capsys.readouterr().out.splitlines()[0] == f"{expected.label} {expected.score}"


def test_the_example_with_a_trace_sends_it(place: Place, namespace: dict[str, object]):
    trace = pytest.importorskip("opentelemetry.trace")
    context = trace.SpanContext(trace_id=0xABCD, span_id=0x1234, is_remote=False, trace_flags=trace.TraceFlags(1))
    [example] = [block for block in blocks("python") if "opentelemetry" in block]
    with trace.use_span(trace.NonRecordingSpan(context)):
        exec(place.here(example), namespace)  # noqa: S102
    sent = f"00-{0xABCD:032x}-{0x1234:016x}-01"
    wait_until(
        lambda: f'"traceparent":"{sent}"' in place.access_log.read_text().replace(" ", ""), "the trace in the log"
    )


@pytest.mark.parametrize(
    "line", [line for block in blocks("sh") for line in block.splitlines() if line.startswith("vitrine-client ")]
)
def test_an_example_in_a_shell_runs(line: str, place: Place, namespace: dict[str, object]):
    settings = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    if "--rest" not in line:
        settings["VITRINE_GRPC"] = place.server.grpc
    done = subprocess.run(
        ["sh", "-c", place.here(line)], env={**os.environ, **settings}, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout or Path("predictions.csv").read_text()


def test_every_method_is_in_the_table():
    clients = (Client, GrpcClient, AsyncGrpcClient)
    methods = {
        name for client in clients for name, _ in inspect.getmembers(client, inspect.isfunction) if name[0] != "_"
    }
    assert {re.match(r"`(\w+)\(", row[0])[1] for row in table("| method |")} == methods


def test_the_table_of_errors_is_the_code_s():
    rows = {row[0].strip("`"): row for row in table("| error |")}
    # The load generator has kinds of its own.
    public = {error for error in VitrineError.__subclasses__() if error.__module__ == VitrineError.__module__}
    assert {getattr(vitrine_client, name) for name in rows} == public
    by_code = {code: name for name, row in rows.items() for code in re.findall(r"[A-Z_]{4,}", row[1])}
    for code in grpc.StatusCode:
        if code is not grpc.StatusCode.OK:
            assert error_of_grpc_status(code, "").__name__ == by_code.get(code.name, "ServerError"), code
    assert (rows.pop("BadResponse")[2], error_of_http_status(399).__name__) == ("below 400", "BadResponse")
    by_status = {int(status): name for name, row in rows.items() for status in re.findall(r"\d{3}", row[2])}
    for status in range(400, 600):
        assert error_of_http_status(status).__name__ == by_status.pop(status, "ServerError"), status
    assert not by_status


def test_links_lead_somewhere():
    for link in re.findall(r"\]\((?!https?:)([^)#]+)", TEXT):
        assert (README.parent / link).exists(), link
