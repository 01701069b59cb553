"""Both transports against a real server."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from client_standins import skip_pauses
from PIL import Image
from processes import DEADLINE_SECONDS, wait_until

from vitrine_client import (
    DeadlineExceeded,
    InvalidInput,
    ModelNotFound,
    TensorInfo,
    VersionStatus,
)

transports = pytest.mark.parametrize("transport", ["grpc", "rest"])


@transports
def test_classify_gives_the_best_labels_of_each_picture(server, transport: str, encode: Callable[..., bytes]):
    pictures = [encode("RGB", "PNG"), encode("L", "JPEG", seed=1)]
    with server.client(transport) as client:
        predictions = client.classify(pictures)
    assert len(predictions) == 2
    for prediction in predictions:
        assert len(prediction.top) == 3
        assert (prediction.label, prediction.score) == prediction.top[0]
        assert isinstance(prediction.label, str)
        scores = [score for _, score in prediction.top]
        assert scores == sorted(scores, reverse=True)


def test_transports_classify_alike(server, encode: Callable[..., bytes]):
    pictures = [encode(seed=seed) for seed in range(5)]
    with server.client("grpc") as grpc, server.client("rest") as rest:
        assert grpc.classify(pictures) == rest.classify(pictures)


@transports
def test_classify_takes_paths_bytes_pil_images_and_arrays(server, transport: str, tmp_path: Path, picture: bytes):
    path = tmp_path / "picture.png"
    path.write_bytes(picture)
    image = Image.open(io.BytesIO(picture))
    with server.client(transport) as client:
        predictions = client.classify([path, str(path), picture, image, np.asarray(image)])
    assert predictions == [predictions[0]] * 5


@pytest.mark.parametrize("signature_name", ["serving_default", "probabilities"])
def test_transports_predict_equal_arrays(server, signature_name: str, encode: Callable[..., bytes]):
    inputs = {"image_bytes": [encode(seed=seed) for seed in range(3)]}
    with server.client("grpc") as grpc, server.client("rest") as rest:
        assert_same(grpc.predict(inputs, signature_name), rest.predict(inputs, signature_name))


def test_transports_predict_equal_arrays_of_every_dtype(server):
    inputs = {
        "numbers": np.array([[-1.5, 0], [0.1, 300]], np.float32),
        "text": [b"caf\xc3\xa9", b'quo"te\n'],
    }
    with server.client("grpc") as grpc, server.client("rest") as rest:
        answer = grpc.predict(inputs, "dtypes")
        assert_same(answer, rest.predict(inputs, "dtypes"))
    assert answer["int64"].dtype == np.int64
    assert answer["scalar"].shape == ()
    assert answer["text_bytes"].tolist() == inputs["text"]
    assert np.isnan(answer["not_finite"][0, 0])
    assert answer["not_finite"][0, 1] == -np.inf


@transports
def test_bytes_that_are_no_text_come_back_whole(server, transport: str):
    text = [b"\x00\xff\x00", b""]
    with server.client(transport) as client:
        answer = client.predict({"numbers": [[1.0, 2.0]], "text": text}, "dtypes")
    assert answer["text_bytes"].tolist() == text


@transports
def test_python_numbers_are_cast_to_what_tensorflow_takes(server, transport: str):
    with server.client(transport) as client:
        answer = client.predict({"numbers": [[1.5, 2.5]], "text": ["a"]}, "dtypes")
    assert answer["float32"].tolist() == [[1.5, 2.5]]


@transports
def test_an_empty_batch_keeps_its_dtype_and_rank(server, transport: str):
    with server.client(transport) as client:
        answer = client.predict({"image_bytes": np.empty(0, object)}, "probabilities")
    assert answer["probabilities"].dtype == np.float32
    assert answer["probabilities"].shape == (0, 4)


@transports
def test_classifying_nothing_is_refused_before_it_is_sent(server, transport: str):
    with server.client(transport) as client, pytest.raises(InvalidInput, match="nothing to classify"):
        client.classify([])


@transports
def test_a_corrupt_picture_is_invalid_input(server, transport: str, picture: bytes):
    with server.client(transport) as client:
        with pytest.raises(InvalidInput, match=f"classify of model 'shapes' at {server_of(server, transport)}") as info:
            client.classify([b"no picture"], check="off")
        assert info.value.server_message
        assert info.value.server_message.partition("\n")[0] in str(info.value)
        # Where in TensorFlow's graph that was is nobody's business here, and no log wants a second line of it.
        assert "node" not in str(info.value)
        assert "\n" not in str(info.value)
        assert len(client.classify([picture])) == 1


@transports
def test_a_wrong_signature_is_invalid_input(server, transport: str, picture: bytes):
    with server.client(transport) as client:
        for ask in (client.classify, lambda images, name: client.predict({"image_bytes": images}, name)):
            with pytest.raises(InvalidInput, match="nonsense"):
                ask([picture], "nonsense")


@transports
def test_wrong_inputs_are_invalid_input(server, transport: str):
    with server.client(transport) as client:
        with pytest.raises(InvalidInput):
            client.predict({"pictures": [b"a"]})
        with pytest.raises(InvalidInput):
            client.predict({"image_bytes": np.zeros((1, 2), np.float32)})


@transports
@pytest.mark.parametrize("wrong", [{"model": "nope"}, {"version": 77}, {"model": "a/b c%2F"}])
def test_an_unknown_model_or_version_is_not_found(server, transport: str, wrong: dict, picture: bytes):
    with server.client(transport, **wrong) as client:
        for ask in (lambda: client.classify([picture]), client.status, client.metadata):
            with pytest.raises(ModelNotFound) as info:
                ask()
            assert info.value.server_message
            assert all(repr(part) in str(info.value) or str(part) in str(info.value) for part in wrong.values())


@transports
@pytest.mark.parametrize("version", [None, 2])
def test_status_tells_the_state_of_versions(server, transport: str, version: int | None):
    with server.client(transport, version=version) as client:
        status = client.status()
    assert status.model == "shapes"
    assert VersionStatus(2, "AVAILABLE", "OK", "") in status.versions
    assert 2 in status.available


@transports
def test_metadata_tells_the_signatures(server, transport: str):
    with server.client(transport, version=2) as client:
        metadata = client.metadata()
    assert (metadata.model, metadata.version) == ("shapes", 2)
    assert metadata.signatures["serving_default"].inputs == {"image_bytes": TensorInfo("string", (None,))}
    assert metadata.signatures["probabilities"].outputs == {"probabilities": TensorInfo("float32", (None, 4))}
    assert metadata.signatures["dtypes"].outputs["scalar"] == TensorInfo("int32", ())
    assert metadata.signatures["serving_default"].method_name == "tensorflow/serving/predict"


def test_transports_tell_equal_metadata(server):
    with server.client("grpc", version=2) as grpc, server.client("rest", version=2) as rest:
        assert grpc.metadata() == rest.metadata()


@transports
def test_waiting_returns_the_version_that_answers(server, transport: str):
    with server.client(transport) as client:
        assert client.wait_until_available(version=2, timeout=30) == 2
        assert client.wait_until_available(timeout=30) >= 2


@transports
def test_waiting_for_what_never_comes_tells_what_was_seen(server, transport: str, monkeypatch: pytest.MonkeyPatch):
    skip_pauses(monkeypatch)
    with server.client(transport) as client, pytest.raises(DeadlineExceeded, match=r"version 77.*last seen: .*77"):
        client.wait_until_available(version=77, timeout=DEADLINE_SECONDS)


@transports
def test_waiting_for_a_version_that_cannot_load_tells_why(server, transport: str, monkeypatch: pytest.MonkeyPatch):
    broken = server.versions / ("8" if transport == "grpc" else "9")
    broken.mkdir()
    (broken / "saved_model.pb").write_bytes(b"broken")
    try:
        with server.client(transport) as client:
            wait_until(
                lambda: (int(broken.name), "END") in [(one.version, one.state) for one in client.status().versions],
                f"version {broken.name}, which cannot load, at its end",
            )
            skip_pauses(monkeypatch)
            with pytest.raises(DeadlineExceeded, match=rf"last seen: version {broken.name} END \(\w+: .+\)"):
                client.wait_until_available(version=int(broken.name), timeout=DEADLINE_SECONDS)
            assert client.wait_until_available() == 2
    finally:
        shutil.rmtree(broken)


@transports
def test_one_client_serves_several_threads(server, transport: str, encode: Callable[..., bytes]):
    pictures = [encode(seed=seed) for seed in range(8)]
    with server.client(transport) as client, ThreadPoolExecutor(4) as threads:
        together = list(threads.map(lambda picture: client.classify([picture]), pictures))
        assert together == [client.classify([picture]) for picture in pictures]


@transports
def test_a_closed_client_says_so(server, transport: str):
    client = server.client(transport)
    client.close()
    client.close()
    with pytest.raises(RuntimeError, match="closed"):
        client.status()


def server_of(server, transport: str) -> str:
    return server.grpc if transport == "grpc" else server.rest


def assert_same(left: dict[str, np.ndarray], right: dict[str, np.ndarray]) -> None:
    assert left.keys() == right.keys()
    for name, array in left.items():
        assert array.dtype == right[name].dtype, name
        assert array.shape == right[name].shape, name
        np.testing.assert_array_equal(array, right[name], err_msg=name)
