"""What a client gets from an exported model on a real server, for good pictures and for bad ones."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import requests

from vitrine_client import InvalidInput, ModelNotFound, VitrineError
from vitrine_serving.engines import ServerOptions


@pytest.fixture(scope="module")
def golden(digits_store: Path) -> list[dict]:
    version = digits_store / "digits" / "1"
    manifest = json.loads((version / "assets.extra" / "manifest.json").read_text())
    return [{**entry, "bytes": (version / entry["file"]).read_bytes()} for entry in manifest["golden"]]


def test_golden_pictures_get_the_trained_networks_answers(connect, golden: list[dict]) -> None:
    with connect() as client:
        answer = client.predict({"image_bytes": [entry["bytes"] for entry in golden]}, signature_name="probabilities")
        predictions = client.classify([entry["bytes"] for entry in golden])
    expected = np.array([entry["probabilities"] for entry in golden])
    np.testing.assert_allclose(answer["probabilities"], expected, atol=1e-5)
    assert [int(prediction.label) for prediction in predictions] == expected.argmax(axis=1).tolist()
    assert all(len(prediction.top) == 5 for prediction in predictions)


def test_status_and_metadata_tell_what_is_served(connect) -> None:
    with connect() as client:
        assert client.status().available == (1,)
        assert client.wait_until_available(version=1, timeout=10) == 1
        signatures = client.metadata().signatures
    assert {"serving_default", "probabilities", "pixels", "features", "classify"} <= set(signatures)


def test_one_corrupt_picture_of_sixteen_in_flight_fails_alone(connect, golden: list[dict]) -> None:
    pictures = [entry["bytes"] for entry in golden][:16]
    pictures[5] = pictures[5][:40]
    with connect() as client, ThreadPoolExecutor(16) as pool:
        for _ in range(5):
            asked = [pool.submit(client.classify, [picture]) for picture in pictures]
            failures = {number: future.exception() for number, future in enumerate(asked) if future.exception()}
            assert failures.keys() == {5}
            assert isinstance(failures[5], InvalidInput)
            for number, future in enumerate(asked):
                if number != 5:
                    [prediction] = future.result()
                    best = int(np.argmax(golden[number]["probabilities"]))
                    assert prediction.label == str(best)


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_pixels_with_other_channels_fail_alone(connect, golden: list[dict], channels: int) -> None:
    """Servers do not check shapes, so it is the model that must keep them out of the batch."""
    odd = {"images": np.zeros((1, 32, 32, channels), np.uint8)}
    with connect() as client, ThreadPoolExecutor(16) as pool:
        for _ in range(5):
            good = [pool.submit(client.classify, [entry["bytes"]]) for entry in golden[:15]]
            bad = pool.submit(client.predict, odd, signature_name="pixels")
            assert isinstance(bad.exception(), InvalidInput)
            assert [future.exception() for future in good] == [None] * 15


def _bomb(encode: Callable[..., bytes]) -> bytes:
    """A real PNG whose header claims 3.6 billion pixels."""
    png = encode("RGB", "PNG")
    return png[:16] + struct.pack(">II", 60_000, 60_000) + png[24:]


BAD_PICTURES = {
    "truncated": lambda encode: encode("RGB", "JPEG", size=(64, 64))[:700],
    "text": lambda encode: b"this is a text, not a picture",
    "bomb": _bomb,
    "tiff": lambda encode: encode("RGB", "TIFF"),
}


@pytest.mark.parametrize("kind", BAD_PICTURES)
def test_a_bad_picture_is_the_clients_error_with_the_reason(connect, encode, kind: str) -> None:
    reasons = {"truncated": "JPEG", "text": "no picture", "bomb": "too large", "tiff": "no picture"}
    with connect() as client, pytest.raises(InvalidInput, match=reasons[kind]):
        client.predict({"image_bytes": [BAD_PICTURES[kind](encode)]})


def test_an_empty_file_and_an_empty_batch(connect) -> None:
    with connect() as client:
        with pytest.raises(InvalidInput, match="no picture"):
            client.predict({"image_bytes": [b""]})
        with pytest.raises(InvalidInput, match="is empty"):
            client.predict({"image_bytes": np.array([], object)})


def test_the_613_bytes_that_claim_six_million_pixels(connect, shared_data: Path) -> None:
    [path] = shared_data.rglob("its_19453136_193x31423_in_613_bytes.jpg")
    with connect() as client, pytest.raises(InvalidInput):
        client.classify([path])


def test_names_that_the_server_does_not_know(connect, golden: list[dict]) -> None:
    inputs = {"image_bytes": [golden[0]["bytes"]]}
    with connect() as client, pytest.raises(InvalidInput, match="nonesuch"):
        client.predict(inputs, signature_name="nonesuch")
    with connect(model="nonesuch") as client, pytest.raises(ModelNotFound, match="nonesuch"):
        client.predict(inputs)
    with connect(version=42) as client, pytest.raises(ModelNotFound, match="42"):
        client.predict(inputs)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[1]",
        b'{"instances": 3}',
        b'{"instances": [{"b64": "!!"}]}',
        b"[" * 100_000,
        b"\xff\xfe",
        b'{"signature_name": "\\ud800", "inputs": ["a"]}',
    ],
)
def test_malformed_json_is_400_with_an_error_text(digits_server: ServerOptions, body: bytes) -> None:
    url = f"http://localhost:{digits_server.rest_port}/v1/models/digits:predict"
    response = requests.post(url, data=body, timeout=60)
    assert response.status_code == 400
    assert response.json()["error"]


def test_after_all_that_the_server_still_answers(connect, golden: list[dict]) -> None:
    with connect() as client:
        assert client.classify([golden[0]["bytes"]])


def test_a_version_published_while_clients_ask(
    digits_store: Path, blessed_candidate: Path, tmp_path: Path, golden
) -> None:
    """The newer version takes over, loaded before the older is dropped: no request fails."""
    from processes import free_port

    from vitrine_client import GrpcClient
    from vitrine_export.store import publish
    from vitrine_serving.engines import choose
    from vitrine_serving.server_process import running_server

    models = tmp_path / "models"
    publish(blessed_candidate, models)
    options = ServerOptions("digits", models / "digits", free_port(), free_port())
    with (
        running_server(choose("embedded"), options),
        GrpcClient(f"localhost:{options.grpc_port}", model="digits") as client,
    ):
        failures: list[VitrineError] = []
        swapped = False

        def ask() -> int:
            asked = 0
            while not swapped:
                try:
                    client.classify([golden[0]["bytes"]])
                except VitrineError as error:
                    failures.append(error)
                asked += 1
            return asked

        with ThreadPoolExecutor(4) as pool:
            asking = [pool.submit(ask) for _ in range(4)]
            try:
                publish(blessed_candidate, models)
                client.wait_until_available(version=2, timeout=60)
                while client.status().available != (2,):
                    client.classify([golden[0]["bytes"]])
            finally:
                swapped = True
            assert all(future.result() > 0 for future in asking)
        assert failures == []
