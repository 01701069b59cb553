"""Clients and processes that fork, as gunicorn's workers and multiprocessing do.

gunicorn itself is not needed: its workers are forks (os.fork) of a process that has loaded the application, with
`--preload` together with the client that it makes when it is imported.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from client_processes import ServerProcess
from processes import DEADLINE_SECONDS

from vitrine_client import AsyncGrpcClient, GrpcClient, RestClient

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
ROWS = {"x": np.array([1, 2])}

# What each of the programs below begins with. They run apart from the tests, whose process has threads of its own.
BEGINNING = """
import os, signal, sys
import numpy as np
from vitrine_client import AsyncGrpcClient, GrpcClient, RestClient
kind, address = sys.argv[1:]
new = lambda: {"grpc": GrpcClient, "rest": RestClient}[kind](address, model="echo", timeout=20)
call = lambda client: client.predict({"x": np.array([1, 2])})["x"].tolist()

def child(work):
    '''What a forked child says. One that hangs is ended by its alarm clock.'''
    reading, writing = os.pipe()
    if (pid := os.fork()) == 0:
        signal.alarm(40)
        try:
            said = str(work())
        except Exception as error:
            said = f"{type(error).__name__}: {error}"
        os.write(writing, said.encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        said = pipe.read()
    _, status = os.waitpid(pid, 0)
    return said or f"nothing, and ended with {os.waitstatus_to_exitcode(status)}"
"""


def run(program: str, kind: str, server: ServerProcess, **environment: str) -> list[str]:
    """Lines that a program writes."""
    address = server.rest if kind == "rest" else server.grpc
    done = subprocess.run(
        [sys.executable, "-c", BEGINNING + textwrap.dedent(program), kind, address],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("kind", ["grpc", "rest"])
def test_a_client_made_before_the_fork_works_in_every_child(kind: str, echo: ServerProcess):
    program = """
        client = new()
        for worker in range(3):
            print(child(lambda: call(client)))
        print(call(client))
    """
    assert run(program, kind, echo) == ["[1, 2]"] * 4


def test_workers_that_are_forked_from_a_loaded_application_serve_at_once(echo: ServerProcess, tmp_path: Path):
    (tmp_path / "application.py").write_text(
        "import sys\nfrom vitrine_client import GrpcClient\nclient = GrpcClient(sys.argv[2], model='echo')\n"
    )
    program = """
        import application
        workers = []
        for worker in range(3):
            if (pid := os.fork()) == 0:
                signal.alarm(40)
                os._exit(0 if call(application.client) == [1, 2] else 1)
            workers.append(pid)
        print(*(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in workers))
    """
    assert run(program, "grpc", echo, PYTHONPATH=str(tmp_path)) == ["0 0 0"]


def test_a_used_grpc_client_says_in_a_child_that_it_cannot(echo: ServerProcess):
    program = """
        client = new()
        call(client)
        print(child(lambda: call(client)))
        def left():
            with client:
                pass
            return "closed"
        print(child(left))
        print(call(client))
    """
    used, closed, parents = run(program, "grpc", echo)
    assert used.startswith("RuntimeError: this client was used before the process was forked")
    assert (closed, parents) == ("closed", "[1, 2]")


def test_a_used_rest_client_works_in_a_child_and_leaves_the_parents_calls_alone(echo: ServerProcess):
    program = """
        import threading
        client = RestClient(address, model="echo", retries=0)
        begun, over, said = threading.Event(), threading.Event(), set()
        def calls():
            while not over.is_set():
                try:
                    said.add(str(call(client)))
                except Exception as error:
                    said.add(repr(error))
                begun.set()
        threads = [threading.Thread(target=calls) for _ in range(4)]
        for thread in threads:
            thread.start()
        begun.wait()
        def used_and_closed():
            with client:
                return call(client)
        for work in (used_and_closed, client.close, client.close, used_and_closed):
            print(child(work))
        over.set()
        for thread in threads:
            thread.join()
        print(*said)
    """
    assert run(program, "rest", echo) == ["[1, 2]", "None", "None", "[1, 2]", "[1, 2]"]


@pytest.mark.parametrize(
    "open_client",
    [
        "client = new(); call(client)",
        "import asyncio; loop = asyncio.new_event_loop(); client = AsyncGrpcClient(address, model='echo'); "
        "loop.run_until_complete(client.predict({'x': [1]}))",
    ],
    ids=["blocking", "asyncio"],
)
def test_a_new_grpc_client_in_a_child_says_that_the_parent_had_one_open(open_client: str, echo: ServerProcess):
    # Without this it would hang, deadline or not.
    program = f"""
        {open_client}
        import asyncio
        print(child(lambda: call(new())))
        print(child(lambda: asyncio.run(AsyncGrpcClient(address, model="echo").predict({{"x": [1]}}))))
        print(child(lambda: child(lambda: call(new()))))
    """
    for said in run(program, "grpc", echo, GRPC_ENABLE_FORK_SUPPORT="0"):
        assert said.startswith("RuntimeError: a client was open when this process was forked")


def test_a_new_grpc_client_in_a_child_works_where_the_parent_has_closed_its_own(echo: ServerProcess):
    program = """
        import time
        with new() as client:
            call(client)
        print(child(lambda: call(new())))
        # gRPC does not tell when it has come to rest.
        time.sleep(1.5)
        print(child(lambda: call(new())))
        print(child(lambda: child(lambda: call(new()))))
        print(call(new()))
    """
    at_once, *later = run(program, "grpc", echo, GRPC_ENABLE_FORK_SUPPORT="0")
    assert at_once.startswith("RuntimeError: a client was open when this process was forked")
    assert later == ["[1, 2]"] * 3


def test_a_new_grpc_client_in_a_child_works_with_grpcs_fork_support(echo: ServerProcess):
    program = """
        client = new()
        call(client)
        print(child(lambda: call(new())))
        print(call(client))
    """
    assert run(program, "grpc", echo, GRPC_ENABLE_FORK_SUPPORT="1") == ["[1, 2]"] * 2


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.parametrize("kind", ["grpc", "rest"])
def test_processes_of_multiprocessing_make_their_own_clients(
    method: str, kind: str, echo: ServerProcess, tmp_path: Path
):
    (tmp_path / "program.py").write_text(PROCESSES)
    done = subprocess.run(
        [sys.executable, "program.py", method, kind, echo.rest if kind == "rest" else echo.grpc],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )
    assert done.stdout.splitlines() == ["[1] [2] [3]"] * 2, done.stderr


PROCESSES = """
import concurrent.futures, multiprocessing, sys, time
from vitrine_client import GrpcClient, RestClient

def call(number):
    with {"grpc": GrpcClient, "rest": RestClient}[sys.argv[2]](sys.argv[3], model="echo", timeout=20) as client:
        return client.predict({"x": [number]})["x"].tolist()

if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[1])
    with context.Pool(1) as pool:
        print(*pool.map(call, [1, 2, 3]), flush=True)
    # The parent has used a client, too, and has closed it. gRPC does not tell when it has come to rest.
    call(1)
    time.sleep(1.5)
    with concurrent.futures.ProcessPoolExecutor(1, context) as pool:
        print(*pool.map(call, [1, 2, 3]), flush=True)
"""


@pytest.mark.parametrize("kind", [GrpcClient, AsyncGrpcClient, RestClient])
def test_a_client_says_that_it_cannot_be_pickled(kind: Callable[..., Any]):
    with pytest.raises(TypeError, match=f"{kind.__name__} has connections of its own and cannot be pickled"):
        pickle.dumps(kind("localhost:1", model="echo"))
