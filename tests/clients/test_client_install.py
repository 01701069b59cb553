"""The client installs alone, with nothing heavy, and works with the oldest and the newest protobuf it allows."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import tensorflow as tf
from client_standins import PREDICT, GrpcStandin
from tensorflow_serving.apis import predict_pb2

CLIENTS = Path(__file__).parents[2] / "clients"
WIRE = "vitrine_client/wire"
FIVE = {"grpcio", "numpy", "pillow", "protobuf", "requests"}
# What these need in turn.
NEEDED = {"certifi", "charset-normalizer", "idna", "typing-extensions", "urllib3"}

OLDEST, NEWEST = "protobuf==4.25.0", "protobuf"

Programs = Callable[..., Path]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The client's package as pip builds it."""
    folder = tmp_path_factory.mktemp("wheel")
    reached = pip("download", "--no-deps", "--dest", folder / "probe", "requests>=2.31")
    if reached.returncode:
        pytest.skip(f"pip cannot reach a package registry: {reached.stderr.strip().splitlines()[-1]}")
    # setuptools builds in the tree.
    copy = shutil.copytree(
        CLIENTS, folder / "clients", ignore=shutil.ignore_patterns("build", "*.egg-info", "__pycache__")
    )
    pip("wheel", "--no-deps", "--wheel-dir", folder, copy).check_returncode()
    [wheel] = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def programs(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Programs:
    """The programs of a fresh environment with the client and a version of protobuf, which is made once."""
    made: dict[tuple[str, str], Path] = {}

    def with_protobuf(protobuf: str, python: str = sys.executable) -> Path:
        if (protobuf, python) not in made:
            environment = tmp_path_factory.mktemp("environment")
            subprocess.run([python, "-m", "venv", "--without-pip", environment], check=True, timeout=120)
            programs = environment / ("Scripts" if sys.platform == "win32" else "bin")
            # Compiling everything takes longer than the few imports of these tests.
            install = ("--python", programs / "python", "install", "--no-compile", wheel, protobuf)
            pip(*install).check_returncode()
            made[protobuf, python] = programs
        return made[protobuf, python]

    return with_protobuf


def pip(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "pip", *arguments], capture_output=True, text=True, timeout=600)


def test_the_command_works(programs: Programs):
    done = subprocess.run([programs(NEWEST) / "vitrine-client", "--help"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "examples:" in done.stdout


CALLS = """
import sys
import google.protobuf
import numpy as np
from vitrine_client import BadResponse, GrpcClient, RestClient
from vitrine_client.cli import main

with GrpcClient(sys.argv[1], model="flowers") as client:
    [prediction] = client.classify([sys.stdin.buffer.read()])
    print(prediction.label, prediction.score)
    for dtype in ("float32", "float16", "int8", "uint64", "bool"):
        array = np.arange(6).reshape(2, 3).astype(dtype)
        outputs = client.predict({"x": array, "text": ["one", "two"]}, "same")
        same = outputs["x"].dtype == array.dtype and np.array_equal(outputs["x"], array)
        print(dtype, same, outputs["text"].tolist())
    try:
        client.predict({"x": [0]}, "broken")
    except BadResponse:
        print("refused")
print(google.protobuf.__version__)
"""


def answer_typed(path: str, content: bytes, context: object) -> bytes:
    """Labels for pictures; any other inputs come back, in typed fields."""
    assert path == PREDICT
    request = predict_pb2.PredictRequest.FromString(content)
    response = predict_pb2.PredictResponse()
    if request.model_spec.signature_name == "broken":
        return b"\xff"
    if "image_bytes" in request.inputs:
        response.outputs["labels"].CopyFrom(tf.make_tensor_proto([["rose", "daisy"]]))
        response.outputs["scores"].CopyFrom(tf.make_tensor_proto([[0.75, 0.25]]))
        return response.SerializeToString()
    for name, tensor in request.inputs.items():
        array = tf.make_ndarray(tensor)
        typed = response.outputs[name]
        # One value alone never goes into tensor_content.
        typed.CopyFrom(tf.make_tensor_proto(array.ravel()[:1]))
        typed.tensor_shape.CopyFrom(tensor.tensor_shape)
        for value in array.ravel()[1:]:
            typed.MergeFrom(tf.make_tensor_proto(value))
    return response.SerializeToString()


@pytest.mark.parametrize(("protobuf", "major"), [(OLDEST, 4), (NEWEST, 7)], ids=["oldest", "newest"])
def test_calls_work_with_every_protobuf(
    programs: Programs, protobuf: str, major: int, grpc_standin: GrpcStandin, picture: bytes
):
    assert_calls_work(programs(protobuf), major, grpc_standin, picture)


def test_calls_work_with_the_oldest_python(programs: Programs, grpc_standin: GrpcStandin, picture: bytes):
    python = python_of("3.10")
    if python is None:
        pytest.skip("needs Python 3.10, on PATH or of pyenv")
    assert_calls_work(programs(OLDEST, python), 4, grpc_standin, picture)


def python_of(version: str) -> str | None:
    """An interpreter that runs: pyenv has commands for those, too, that it does not."""
    installed = sorted((Path.home() / ".pyenv" / "versions").glob(f"{version}.*/bin/python"))
    for candidate in (f"python{version}", *map(str, installed)):
        if (found := shutil.which(candidate)) and not subprocess.run([found, "-V"], capture_output=True).returncode:
            return found
    return None


def assert_calls_work(programs: Path, major: int, grpc_standin: GrpcStandin, picture: bytes) -> None:
    grpc_standin.answer = answer_typed
    done = subprocess.run(
        [programs / "python", "-W", "error", "-c", CALLS, grpc_standin.target],
        input=picture,
        capture_output=True,
        timeout=120,
    )
    *lines, version = done.stdout.decode().splitlines() or [""]
    dtypes = ("float32", "float16", "int8", "uint64", "bool")
    assert lines == ["rose 0.75", *(f"{dtype} True [b'one', b'two']" for dtype in dtypes), "refused"], done.stderr
    assert int(version.partition(".")[0]) == major


def test_the_readme_works_as_far_as_it_goes_without_a_server(programs: Programs, tmp_path: Path):
    code = (
        "from vitrine_client import GrpcClient, Unavailable\n"
        "with GrpcClient('localhost:1', model='flowers', retries=0) as client:\n"
        "    try: client.status()\n"
        "    except Unavailable: print('unavailable')"
    )
    done = subprocess.run([programs(NEWEST) / "python", "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert (done.stdout, done.stderr) == ("unavailable\n", "")


def test_nothing_heavy_is_installed(programs: Programs):
    listed = pip("--python", programs(NEWEST) / "python", "list", "--format=freeze").stdout
    names = {line.partition("==")[0].lower().replace("_", "-") for line in listed.splitlines()}
    names -= {"pip", "setuptools"}
    assert names >= FIVE | {"vitrine-client"}
    assert names - FIVE - {"vitrine-client"} <= NEEDED


@pytest.mark.skipif(not (3, 10) <= sys.version_info < (3, 13), reason="the pinned protoc has wheels for 3.10 to 3.12")
@pytest.mark.usefixtures("wheel")
def test_the_wires_code_is_what_its_protos_make(tmp_path: Path):
    copy = shutil.copytree(CLIENTS, tmp_path / "clients", ignore=shutil.ignore_patterns("*_pb2.py*", "__pycache__"))
    environment = {**os.environ, "PYTHON": sys.executable}
    subprocess.run([copy / "generate_protos.sh"], check=True, timeout=600, env=environment, capture_output=True)
    made, kept = (
        {path.name: path.read_text() for path in (clients / WIRE).glob("*_pb2.py*")} for clients in (copy, CLIENTS)
    )
    assert made
    assert made == kept


def test_nothing_but_the_dependencies_is_imported():
    """Here, where TensorFlow and much more is installed; gRPC itself takes along what there is of its own."""
    code = (
        "import sys, google.protobuf, grpc, numpy, PIL, requests\n"
        "before = set(sys.modules)\n"
        "from vitrine_client import AsyncGrpcClient, GrpcClient, RestClient\n"
        "print(*set(sys.modules) - before)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    distributions = importlib.metadata.packages_distributions()
    assert "tensorflow" in distributions
    for module in {name.partition(".")[0] for name in done.stdout.split()} & set(distributions):
        owners = {name.lower().replace("_", "-") for name in distributions[module]}
        assert owners & (FIVE | NEEDED | {"vitrine-client"}), module
