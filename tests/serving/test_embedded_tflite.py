"""--prefer_tflite_model: versions with a model.tflite, asked through a real server."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np
import pytest
import tensorflow as tf
import tflitemodels
from embedded_server import MODEL, ModelServer, model_spec, running_server, status_of
from modelconfigs import model_list, write_model_list
from processes import DEADLINE_SECONDS
from tensorflow_serving.apis import get_model_metadata_pb2, predict_pb2

PREFER = "--prefer_tflite_model"


@pytest.fixture(scope="module")
def half_plus_two() -> bytes:
    return tflitemodels.converted("half_plus_two")


@pytest.fixture(scope="module")
def server(half_plus_two: bytes, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelServer]:
    """A server of several TensorFlow Lite models. Tests only ask it."""
    folder = tmp_path_factory.mktemp("tflite")
    renamed = tflitemodels.predict_signature({"in": "serving_default_x:0"}, {"out": "PartitionedCall:0"})
    signatures = tflitemodels.signature_map({"serving_default": renamed, "other": renamed})
    models = {
        "unsigned": half_plus_two,
        "signed": tflitemodels.with_metadata(half_plus_two, signatures),
        "text": tflitemodels.converted("column"),
        "product": tflitemodels.converted("product"),
        "legacy": tflitemodels.with_metadata(tflitemodels.without_output_numbers(half_plus_two), signatures),
    }
    for name, content in models.items():
        tflitemodels.write_model(folder / name / "1", content)
    config = write_model_list(folder / "models.config", model_list(folder, **dict.fromkeys(models, "")))
    with running_server(None, folder / "server.log", f"--model_config_file={config}", PREFER) as running:
        yield running


def signatures_of(server: ModelServer, model: str) -> get_model_metadata_pb2.SignatureDefMap:
    request = get_model_metadata_pb2.GetModelMetadataRequest(
        model_spec=model_spec(model), metadata_field=["signature_def"]
    )
    found = get_model_metadata_pb2.SignatureDefMap()
    server.prediction.GetModelMetadata(request, DEADLINE_SECONDS).metadata["signature_def"].Unpack(found)
    return found


def answer(response: predict_pb2.PredictResponse, name: str) -> np.ndarray:
    return tf.make_ndarray(response.outputs[name])


@pytest.mark.parametrize("shape", [(1,), (3,), (64,), (3,), (0,), (2, 2), ()])
def test_inputs_of_any_shape(server, shape):
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    response = server.predict({"serving_default_x": x}, model="unsigned")
    assert response.model_spec.signature_name == "serving_default"
    assert response.model_spec.version.value == 1
    np.testing.assert_array_equal(answer(response, "PartitionedCall"), x / 2 + 2)


def test_rest(server):
    assert server.post({"instances": [1, 2, 3]}, model="unsigned").json() == {"predictions": [2.5, 3, 3.5]}
    columns = {"inputs": {"in": [2.0]}, "signature_name": "other"}
    assert server.post(columns, model="signed").json() == {"outputs": [3.0]}


def test_a_model_without_signatures_has_its_tensors_by_name(server):
    signatures = signatures_of(server, "unsigned").signature_def
    assert list(signatures) == ["serving_default"]
    expected = tflitemodels.predict_signature(
        {"serving_default_x": "serving_default_x:0"}, {"PartitionedCall": "PartitionedCall:0"}
    )
    assert signatures["serving_default"] == expected
    metadata = server.get("/v1/models/unsigned/metadata").json()["metadata"]["signature_def"]["signature_def"]
    assert metadata["serving_default"]["inputs"]["serving_default_x"] == {
        "name": "serving_default_x:0",
        "dtype": "DT_FLOAT",
        "tensor_shape": {"dim": [{"size": "1", "name": ""}], "unknown_rank": False},
    }


@pytest.mark.parametrize(("model", "tensor"), [("signed", "serving_default_x:0"), ("legacy", "serving_default_x")])
def test_signatures_of_the_metadata(server, model, tensor):
    signatures = signatures_of(server, model).signature_def
    assert set(signatures) == {"serving_default", "other"}
    assert signatures["other"].inputs["in"].name == tensor
    x = np.arange(3, dtype=np.float32)
    np.testing.assert_array_equal(answer(server.predict({"in": x}, "other", model=model), "out"), x / 2 + 2)


@pytest.mark.parametrize("texts", [[b"a\0b", b"", b"\xff\xfe"], [b"x"], [b"y"], []])
def test_strings(server, texts):
    text = np.array(texts, np.object_)
    response = server.predict({"serving_default_text": tf.constant(text, tf.string)}, model="text")
    assert answer(response, "PartitionedCall").tolist() == [[one] for one in texts]


def test_several_inputs_and_a_failed_run_in_between(server):
    def ask(rows: int, factors: int) -> predict_pb2.PredictResponse:
        x, n = np.full(rows, 1.5, np.float32), np.full(factors, 2, np.int64)
        return server.predict({"serving_default_x": x, "serving_default_n": n}, model="product")

    for _ in range(4):
        code, message = status_of(lambda: ask(2, 3))
        assert code is grpc.StatusCode.INTERNAL
        assert "Failed to allocate tensors" in message
        # Of tensors that differ in the output's number only, TensorFlow Serving keeps the last.
        [output] = ask(3, 3).outputs.values()
        assert tf.make_ndarray(output).tolist() == [3.0] * 3


def test_wrong_requests(server):
    x = np.ones(2, np.float32)

    def refusal(inputs, **how) -> str:
        code, message = status_of(lambda: server.predict(inputs, model="unsigned", **how))
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        return message

    assert "Expects arg[0] to be float but int32 is provided" in refusal({"serving_default_x": x.astype(np.int32)})
    assert "input size does not match signature" in refusal({})
    assert "input tensor alias not found in signature: x" in refusal({"x": x})
    assert "output tensor alias not found in signature: y" in refusal({"serving_default_x": x}, output_filter=("y",))
    twice = ("PartitionedCall", "PartitionedCall")
    assert "duplicate output tensor alias" in refusal({"serving_default_x": x}, output_filter=twice)
    code, message = status_of(lambda: server.predict({"serving_default_x": x}, "absent", model="unsigned"))
    assert code is grpc.StatusCode.FAILED_PRECONDITION
    assert 'Serving signature key "absent" not found' in message


def test_a_shape_beyond_tensorflow_lite(server):
    code, message = status_of(
        lambda: server.predict({"serving_default_x": np.empty((0, 2**40), np.float32)}, model="unsigned")
    )
    assert code is grpc.StatusCode.INTERNAL
    assert "Failed to resize input tensor" in message
    assert server.post({"instances": [2]}, model="unsigned").json() == {"predictions": [3.0]}


def test_eight_clients_at_once_get_their_own_answers(server):
    def ask(client: int) -> None:
        for rows in range(1, 30):
            x = np.full(rows + client % 3, client, np.float32)
            given = answer(server.predict({"serving_default_x": x}, model="unsigned"), "PartitionedCall")
            np.testing.assert_array_equal(given, x / 2 + 2)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(ask, range(8)))


def test_nothing_to_warn_of(server):
    server.predict({"serving_default_x": np.ones(1, np.float32)}, model="unsigned")
    assert "deprecated" not in server.log
    assert "delegate" not in server.log
    assert "Traceback" not in server.log


@pytest.mark.parametrize(("flags", "offset"), [((PREFER,), 2.0), ((), 3.0), ((f"{PREFER}=false",), 3.0)])
def test_the_flag_decides_where_both_models_are_there(start_server, put_version, half_plus_two, flags, offset):
    signature = tflitemodels.predict_signature({"x": "serving_default_x:0"}, {"y": "PartitionedCall:0"})
    content = tflitemodels.with_metadata(half_plus_two, tflitemodels.signature_map({"serving_default": signature}))
    put_version("plus_three", 1, lambda version: tflitemodels.write_model(version, content))
    server = start_server(put_version.base_path, *flags)
    assert server.post({"instances": [2]}).json() == {"predictions": [1 + offset]}


def test_a_version_without_the_file_is_served_from_its_saved_model(start_server, put_version):
    put_version("plus_two", 1)
    server = start_server(put_version.base_path, PREFER)
    assert server.post({"instances": [2]}).json() == {"predictions": [3.0]}


def test_batching(start_server, tmp_path, half_plus_two):
    tflitemodels.write_model(tmp_path / "models" / "1", half_plus_two)
    server = start_server(tmp_path / "models", PREFER, "--enable_batching", "--num_tflite_pools=1")
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(server.post, {"instances": [n, n]}) for n in range(8)]
    assert [one.result().json()["predictions"] for one in asked] == [[n / 2 + 2] * 2 for n in range(8)]


def broken_models(model: bytes) -> dict[str, tuple[bytes, str]]:
    """By kind: what is in the file, and what the version's status must say."""
    absent = tflitemodels.predict_signature({"x": "absent:0"}, {"y": "PartitionedCall:0"})
    unknown = tflitemodels.signature_map({"serving_default": absent})
    no_signature = b"\x01" * 40
    return {
        "empty": (b"", "Cannot build FlatBufferModel from buffer"),
        "junk": (b"junk" * 100, "Cannot build FlatBufferModel from buffer"),
        "cut": (model[:200], "Cannot build FlatBufferModel from buffer"),
        "metadata": (tflitemodels.with_metadata(model, no_signature), "Invalid SignatureDefs found in TfLite model"),
        "tensor": (tflitemodels.with_metadata(model, unknown), "Signature input x references an unknown tensor"),
        "operation": (tflitemodels.converted("reversed_text", tensorflow_ops=True), "Failed to allocate tensors"),
        "dtype": (tflitemodels.converted("doubles"), "Unknown TfLite type: float64"),
    }


def test_a_broken_model_fails_its_load_and_no_other(tmp_path: Path, half_plus_two):
    broken = broken_models(half_plus_two)
    for name, (content, _) in broken.items():
        tflitemodels.write_model(tmp_path / name / "1", content)
    tflitemodels.write_model(tmp_path / MODEL / "1", half_plus_two)
    config = write_model_list(tmp_path / "models.config", model_list(tmp_path, **dict.fromkeys([*broken, MODEL], "")))
    flags = (f"--model_config_file={config}", "--max_num_load_retries=0", "--num_load_threads=2", PREFER)
    with running_server(None, tmp_path / "server.log", *flags) as server:
        server.wait_for(1, "AVAILABLE")
        for name, (_, phrase) in broken.items():
            server.wait_for(1, "END", name)
            assert phrase in server.states(name)[1][1]
        assert server.post({"instances": [2]}).json() == {"predictions": [3.0]}
        assert "Traceback" not in server.log
