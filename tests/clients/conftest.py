"""A small SavedModel, a real server with it, and stand-ins for what a healthy server never does."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from client_commands import ROSE
from client_processes import ServerProcess, running
from client_servers import MODEL, Server, running_server
from client_standins import GrpcStandin, RestStandin

LABELS = ("circle", "square", "triangle", "étoile")


@pytest.fixture
def picture(encode: Callable[..., bytes]) -> bytes:
    return encode()


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port where nothing listens; kept bound, so that nobody else takes it."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        yield reserved.getsockname()[1]


@pytest.fixture
def grpc_standin() -> Iterator[GrpcStandin]:
    with GrpcStandin() as standin:
        yield standin


@pytest.fixture
def rest_standin() -> Iterator[RestStandin]:
    with RestStandin() as standin:
        yield standin


@pytest.fixture
def roses(rest_standin: RestStandin) -> RestStandin:
    """A model that takes everything for a rose."""
    rest_standin.body = ROSE
    return rest_standin


@pytest.fixture(scope="module")
def echo() -> Iterator[ServerProcess]:
    """A server of its own for a module's tests, which answers with what it is sent."""
    with running() as [server]:
        yield server


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The embedded server with version 2 of a model with random weights."""
    folder = tmp_path_factory.mktemp("server")
    versions = folder / MODEL
    _save_model(versions / "2")
    with running_server(versions, folder) as started:
        yield started
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["grpc", "rest"])
def asked(request: pytest.FixtureRequest, server: Server) -> list[str]:
    """The options that lead the command to the server."""
    return [f"--{request.param}", getattr(server, request.param), "--model", "shapes"]


def _save_model(path: Path) -> None:
    """Random weights on 8 x 8 gray pixels; `dtypes` has one output of every dtype that both transports carry."""
    import tensorflow as tf

    class Classifier(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weights = tf.Variable(tf.random.stateless_normal((64, len(LABELS)), seed=(1, 2)))

        def probabilities(self, image_bytes: tf.Tensor) -> tf.Tensor:
            def pixels(encoded: tf.Tensor) -> tf.Tensor:
                picture = tf.io.decode_image(encoded, channels=1, expand_animations=False)
                return tf.reshape(tf.image.resize(picture, (8, 8)), (64,)) / 255.0

            features = tf.map_fn(pixels, image_bytes, fn_output_signature=tf.TensorSpec((64,), tf.float32))
            return tf.nn.softmax(features @ self.weights)

    classifier = Classifier()
    image_bytes = tf.TensorSpec((None,), tf.string, "image_bytes")

    @tf.function(input_signature=[image_bytes])
    def serving_default(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        scores, places = tf.math.top_k(classifier.probabilities(image_bytes), 3)
        return {"labels": tf.gather(tf.constant(LABELS), places), "scores": scores}

    @tf.function(input_signature=[image_bytes])
    def probabilities(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"probabilities": classifier.probabilities(image_bytes)}

    @tf.function(
        input_signature=[
            tf.TensorSpec((None, 2), tf.float32, "numbers"),
            tf.TensorSpec((None,), tf.string, "text"),
        ]
    )
    def dtypes(numbers: tf.Tensor, text: tf.Tensor) -> dict[str, tf.Tensor]:
        whole = tf.cast(numbers, tf.int32)
        return {
            "float32": numbers,
            "float64": tf.cast(numbers, tf.float64) / 3,
            "int64": tf.cast(whole, tf.int64) + 2**62,
            "int32": whole,
            "uint8": tf.cast(whole % 256, tf.uint8),
            "bool": numbers > 0,
            "not_finite": tf.math.log(numbers),
            "scalar": tf.size(numbers),
            "text": text,
            "text_bytes": text,
        }

    tf.saved_model.save(
        classifier,
        str(path),
        signatures={"serving_default": serving_default, "probabilities": probabilities, "dtypes": dtypes},
    )
