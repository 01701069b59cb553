"""The peers: what they are asked, where they are installed, and their processes; a real server where there is one."""

from __future__ import annotations

import http.server
import io
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.peers import clients, environments, trees
from benchmarks.peers.catalogue import PEERS, Peer
from benchmarks.peers.programs.settings import Settings
from benchmarks.peers.servers import running
from benchmarks.performance.section import NotHere

REPOSITORY = Path(__file__).parents[2]
ANSWERS = {
    "BentoML": b'["a label"]',
    "LitServe": b'{"label": "a label"}',
    "Ray Serve": b"a label",
    "MLServer": b'{"outputs": [{"name": "labels", "data": ["a label"]}]}',
}
EMPTY_ANSWERS = {"BentoML": b"[]", "LitServe": b"{}", "Ray Serve": b"", "MLServer": b'{"outputs": []}'}


@pytest.fixture(params=PEERS)
def peer(request: pytest.FixtureRequest) -> Peer:
    return PEERS[request.param]


@contextmanager
def http_server(status: int, answer: bytes, lost: int = 0) -> Iterator[tuple[int, list[bytes]]]:
    """Answers every POST in the same way but for the first `lost`, which it hangs up on; its port, and what came."""
    bodies: list[bytes] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            if len(bodies) <= lost:
                self.close_connection = True
                return
            self.send_response(status)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port, bodies
        server.shutdown()
        thread.join()


def test_a_client_takes_the_label_from_each_peers_answer(peer: Peer) -> None:
    with http_server(200, ANSWERS[peer.name]) as (port, bodies):
        ask = clients.asking(peer, port, [b"one", b"two"])()
        assert [ask(), ask(), ask()] == ["a label"] * 3
    assert bodies[0] == bodies[2] != bodies[1]


def test_an_answer_without_a_label_is_an_error(peer: Peer) -> None:
    with http_server(200, EMPTY_ANSWERS[peer.name]) as (port, _), pytest.raises(RuntimeError, match="without a label"):
        clients.client(peer, port, [b"picture"])()()


def test_a_refused_request_is_an_error_with_what_the_server_said(peer: Peer) -> None:
    with http_server(500, b"cannot decode") as (port, _), pytest.raises(RuntimeError, match=r"HTTP 500.*cannot decode"):
        clients.client(peer, port, [b"picture"])()()


def test_a_client_whose_connection_was_lost_opens_another(peer: Peer) -> None:
    with http_server(200, ANSWERS[peer.name], lost=1) as (port, _):
        ask = clients.asking(peer, port, [b"picture"])()
        with pytest.raises(ConnectionError):
            ask()
        assert ask() == "a label"


def test_the_locked_requirements_have_the_version_that_is_named_and_hashes(peer: Peer) -> None:
    locked = peer.requirements.read_text()
    assert f"\n{peer.package}=={peer.version} " in locked.replace("[serve]", "")
    assert "--hash=sha256:" in locked
    assert "://" not in locked
    assert peer.program_file.is_file()


def test_settings_arrive_as_they_were_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for batching in (True, False):
        settings = Settings(tmp_path / "model", 3, batching, 8000, tmp_path)
        for name, value in settings.environment().items():
            monkeypatch.setenv(name, value)
        assert Settings.from_environment() == settings


class Installing:
    """In place of the installers: a peer with requirements of its own, and a note of each command."""

    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.commands: list[list[str]] = []
        self.fails_with: str | None = None
        self.requirements = tmp_path / "locked.txt"
        self.requirements.write_text("one==1")
        self.peer = PEERS["LitServe"]
        self.work = tmp_path / "work"
        monkeypatch.setattr(Peer, "requirements", property(lambda _: self.requirements))
        monkeypatch.setattr(environments.subprocess, "run", self._run)

    def _run(self, command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        self.commands.append(command)
        if self.fails_with is not None and "install" in command:
            return subprocess.CompletedProcess(command, 1, stderr=self.fails_with)
        (self.work / "peers" / self.peer.package).mkdir(parents=True, exist_ok=True)
        return subprocess.CompletedProcess(command, 0, stderr="")

    def __call__(self) -> int:
        """How many commands it took."""
        before = len(self.commands)
        environments.environment(self.peer, self.work)
        return len(self.commands) - before


@pytest.fixture
def installing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installing:
    return Installing(tmp_path, monkeypatch)


def test_an_environment_is_made_once_with_hashes_and_says_so(
    installing: Installing, capsys: pytest.CaptureFixture[str]
) -> None:
    assert environments.installed(installing.peer, installing.work) is None
    assert installing() > 0
    assert all("--require-hashes" in command for command in installing.commands if "install" in command)
    assert "installing LitServe" in capsys.readouterr().err
    assert installing() == 0
    assert environments.installed(installing.peer, installing.work) == installing.work / "peers" / "litserve"


def test_an_environment_is_made_anew_when_its_requirements_have_changed(installing: Installing) -> None:
    installing()
    installing.requirements.write_text("one==2")
    assert environments.installed(installing.peer, installing.work) is None
    assert installing() > 0


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("error: Failed to fetch: `some address`", "out of reach"),
        ("ERROR: Package 'x' requires a different Python: 3.14 not in Requires-Python", "does not fit Python"),
        ("first\nerror: no space left on device\n", "no space left on device"),
    ],
)
def test_an_environment_that_cannot_be_made_says_why_and_is_tried_again(
    installing: Installing, said: str, reason: str
) -> None:
    installing.fails_with = said
    for _ in range(2):
        with pytest.raises(NotHere, match=rf"LitServe .* could not be installed: .*{reason}"):
            installing()


def test_a_failed_update_does_not_leave_the_old_environment_as_current(installing: Installing) -> None:
    installing()
    old = installing.requirements.read_text()
    installing.requirements.write_text("one==2")
    installing.fails_with = "broken"
    with pytest.raises(NotHere):
        installing()
    installing.requirements.write_text(old)
    assert environments.installed(installing.peer, installing.work) is None


# A parent that has a child in a session of its own, which ignores SIGTERM and outlives the parent.
_FAMILY = """
import os, subprocess, sys, time
child = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
process = subprocess.Popen([sys.executable, "-c", child], start_new_session=True, stdout=subprocess.PIPE)
process.stdout.readline()
print(process.pid, flush=True)
time.sleep(600)
"""


def test_a_tree_is_seen_and_ended_with_those_that_left_the_session_and_ignore_signals() -> None:
    mark = f"PEER_FOLDER=/a/test/{os.getpid()}"
    name, value = mark.split("=")
    with subprocess.Popen(
        [sys.executable, "-c", _FAMILY], env={**os.environ, name: value}, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout
        child = int(parent.stdout.readline())
        found = trees.members(parent.pid, mark)
        assert {member.pid for member in found} == {parent.pid, child}
        assert trees.resident_megabytes(found) > 5
        assert trees.cpu_seconds(found) > 0

        def everybody() -> set[trees.Member]:
            parent.poll()
            return trees.members(parent.pid, mark)

        trees.end(everybody, parent.pid, seconds=0.2)
        assert not any(member.alive for member in found)
    assert trees.members(parent.pid, mark) == set()


def test_a_program_that_ends_at_once_is_an_error_with_its_log(tmp_path: Path) -> None:
    """This Python is an environment without the peer."""
    broken = replace(PEERS["LitServe"], program="no_such_program")
    ended = pytest.raises(RuntimeError, match=r"(?s)LitServe ended with code 1.*no_such_program")
    with ended, running(broken, Path(sys.prefix), tmp_path, 1, batching=False):
        pytest.fail("it runs")


def _grey(level: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((32, 32, 3), level, np.uint8)).save(file, "JPEG")
    return file.getvalue()


@pytest.fixture(scope="module")
def grey_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SavedModel that labels a picture with its mean, so that an answer to another's picture is seen."""
    import tensorflow as tf

    class Grey(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")])
        def call(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
            def mean(picture: tf.Tensor) -> tf.Tensor:
                return tf.reduce_mean(tf.cast(tf.io.decode_jpeg(picture, channels=3), tf.float32))

            means = tf.map_fn(mean, image_bytes, fn_output_signature=tf.float32)
            return {"labels": tf.strings.as_string(tf.cast(tf.round(means), tf.int32))[:, None]}

    version = tmp_path_factory.mktemp("grey") / "1"
    module = Grey()
    tf.saved_model.save(module, str(version), signatures=module.call)
    return version


@pytest.mark.parametrize("name", ["LitServe"])
def test_a_real_peer_answers_right_refuses_what_is_no_picture_and_leaves_nothing_running(
    name: str, grey_model: Path
) -> None:
    """The others take longer to start; they differ in their programs alone."""
    peer = PEERS[name]
    environment = environments.installed(peer, REPOSITORY / ".bench")
    if environment is None:
        pytest.skip(f"needs {name}'s environment in .bench, which `make bench` makes")
    levels = [0, 60, 120, 180, 240]
    with running(peer, environment, grey_model, 1, batching=False) as server:
        ask = clients.asking(peer, server.port, [_grey(level) for level in levels])()
        assert [ask() for _ in levels] == [str(level) for level in levels]
        with pytest.raises(RuntimeError, match="HTTP 500"):
            clients.client(peer, server.port, [b"\xff\xd8 not a picture"])()()
        assert ask() == "0"
        assert len(server.pids()) > 1
        assert server.resident_megabytes() > 100
        assert server.cpu_seconds() > 0
    assert server.pids() == []
