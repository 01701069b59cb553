"""The command itself: flags, refusals, signals, exit codes."""

from __future__ import annotations

import concurrent.futures
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from embedded_server import COMMAND, refused
from processes import free_port, wait_until


@pytest.mark.parametrize("flag", ["--port", "--rest_api_port"])
def test_a_busy_port(tmp_path, flag):
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, message = refused(f"--model_base_path={tmp_path}", f"--port={free_port()}", f"{flag}={port}")
    assert code == 1
    assert message.startswith(f"vitrine-model-server: error: cannot listen on {flag} {port}: Address already in use;")
    assert message.count("\n") == 1


def test_a_base_path_that_is_a_file(tmp_path):
    path = tmp_path / "a-file"
    path.touch()
    code, message = refused(f"--model_base_path={path}", f"--port={free_port()}")
    assert code == 1
    assert str(path) in message
    assert "numbered versions" in message
    assert message.count("\n") == 1


@pytest.mark.parametrize(
    ("flags", "phrase"),
    [
        ([], "--model_base_path"),
        (["--model_base_path=."], ""),
        (["--model_base_path="], "must not be empty"),
        (["--port=-1"], "--port: -1 is not a whole number from 0 to 65535"),
        (["--port=0"], "at least one of --port and --grpc_socket_path must be set"),
        (["--port=many"], "--port: 'many' is not"),
        (["--grpc_max_threads", "0"], "--grpc_max_threads"),
        (["--drain_seconds=-1"], "--drain_seconds"),
        (["--drain_seconds=nan"], "--drain_seconds"),
        (["--rest_api_port=8500"], "both 8500"),
        (["--model_base=x"], "--model_base"),
        (["--unheard_of=1"], "--unheard_of"),
    ],
)
def test_wrong_usage(flags, phrase):
    if flags == ["--model_base_path=."]:
        flags = [*flags, "stray"]
    elif flags and not flags[0].startswith("--model_base_path"):
        flags = ["--model_base_path=.", *flags]
    code, message = refused(*flags)
    assert code == 2
    assert phrase in message
    assert message.count("\n") == 1


def test_help_shows_examples_without_loading_tensorflow():
    done = subprocess.run([str(COMMAND), "--help"], capture_output=True, text=True, timeout=30, check=True)
    assert "--model_base_path=models/flowers" in done.stdout
    assert "SIGTERM" in done.stdout


def test_it_says_where_it_listens_and_keeps_quiet_otherwise(showcase):
    lines = [line.split(" ", 2)[2] for line in showcase.log.splitlines() if line.startswith("20")]
    assert f"INFO gRPC listening on 0.0.0.0:{showcase.port}" in lines
    assert f"INFO REST listening on 0.0.0.0:{showcase.url.rpartition(':')[2]}" in lines
    assert "WARNING:tensorflow" not in showcase.log
    assert "eprecated" not in showcase.log


def arrived(server) -> int:
    return server.predict({"x": np.ones(1, np.float32)}, signature_name="arrived").outputs["arrived"].int64_val[0]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_requests_in_flight_finish(start_server, put_version, number):
    put_version("showcase", 1)
    server = start_server(put_version.base_path)
    body = {"signature_name": "batched", "instances": [1.0]}

    def by_grpc(_: int) -> int:
        return len(server.predict({"x": np.ones(2, np.float32)}, signature_name="batched").outputs["size"].int_val)

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        grpc_calls = [pool.submit(by_grpc, number) for number in range(4)]
        rest_calls = [pool.submit(server.post, body) for _ in range(4)]
        # They have reached the model, where a request waits in its batch for longer than this takes.
        wait_until(lambda: arrived(server) == 8, "eight requests in flight")
        server.process.send_signal(number)
        assert [call.result() for call in grpc_calls] == [2] * 4
        assert [call.result().status_code for call in rest_calls] == [200] * 4
    assert server.process.wait(30) == 0
    assert server.log.splitlines()[-1].endswith("Stopped")


def test_a_second_signal_ends_it_at_once(start_server, put_version):
    put_version("showcase", 1)
    server = start_server(put_version.base_path)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        call = pool.submit(server.post, {"signature_name": "batched", "instances": [1.0]})
        wait_until(lambda: arrived(server) == 1, "a request in flight")
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: "Stopping" in server.log, "the first signal is heard")
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(30) == 128 + signal.SIGTERM
        assert call.exception() is not None


@pytest.mark.skipif(sys.platform != "linux", reason="looks for the signal handler in /proc")
def test_a_signal_while_it_starts_is_no_failure(put_version):
    put_version("plus_two", 1)
    command = [str(COMMAND), f"--port={free_port()}", f"--model_base_path={put_version.base_path}"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            # Its handlers are set before TensorFlow is imported, which takes seconds.
            status = Path(f"/proc/{process.pid}/status")
            wait_until(lambda: _catches(status.read_text(), signal.SIGTERM), "the handler is set")
            process.terminate()
            assert process.wait(60) == 0
        finally:
            process.kill()


def _catches(status: str, number: int) -> bool:
    [mask] = [line.split()[1] for line in status.splitlines() if line.startswith("SigCgt")]
    return bool(int(mask, 16) >> (number - 1) & 1)
