"""Whole requests and answers, byte for byte what the official messages make of the same values."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorflow_serving.apis import model_management_pb2, predict_pb2

from vitrine_client import BadResponse, InvalidInput, messages
from vitrine_client.model_config import ModelConfig
from vitrine_client.tensors import as_array

BATCH = np.arange(24, dtype=np.float32).reshape(2, 3, 4)

INPUTS = {
    "numbers": {"x": BATCH},
    "pictures": {"image_bytes": [b"one", b"", b"3" * 300]},
    "many strings": {"text": [b"%d" % number for number in range(1001)]},
    "empty": {"x": np.zeros((0, 3), np.float32), "y": np.array([], object)},
    "scalar": {"x": np.array(3.5)},
    "several": {"": np.array([1], np.uint8), "é" * 100: np.array([2**40]), "z": np.ones(200, bool)},
}


def official_request(inputs: Mapping[str, object]) -> predict_pb2.PredictRequest:
    request = predict_pb2.PredictRequest()
    for name, values in inputs.items():
        array = as_array(values, name)
        strings = array.dtype == object
        request.inputs[name].CopyFrom(tf.make_tensor_proto(array, tf.string if strings else None, array.shape))
        if not strings and array.size:
            # For one value and for bools, TensorFlow takes typed fields, which mean the same.
            request.inputs[name].ClearField("bool_val")
            request.inputs[name].ClearField("int_val")
            request.inputs[name].ClearField("int64_val")
            request.inputs[name].ClearField("double_val")
            request.inputs[name].tensor_content = array.tobytes()
    return request


@pytest.mark.parametrize("inputs", INPUTS.values(), ids=INPUTS)
@pytest.mark.parametrize("target", [{}, {"version": 7}, {"version": 0}, {"label": "stable"}], ids=str)
@pytest.mark.parametrize("output_filter", [(), ("scores", "labels")], ids=["whole", "filtered"])
def test_a_request_has_the_official_bytes(
    inputs: Mapping[str, object], target: dict[str, object], output_filter: tuple[str, ...]
):
    expected = official_request(inputs)
    expected.model_spec.name, expected.model_spec.signature_name = "flowers", "serving_default"
    if "version" in target:
        expected.model_spec.version.value = target["version"]
    if "label" in target:
        expected.model_spec.version_label = target["label"]
    expected.output_filter.extend(output_filter)
    spec = messages.model_spec("flowers", **target, signature_name="serving_default")
    arrays = {name: as_array(values, name) for name, values in inputs.items()}
    content = messages.predict_bytes(spec, arrays, output_filter)
    read = predict_pb2.PredictRequest.FromString(content)
    assert read.SerializeToString(deterministic=True) == expected.SerializeToString(deterministic=True)
    # The order of a map's entries is free.
    assert len(content) == expected.ByteSize()
    if len(inputs) < 2:
        assert content == expected.SerializeToString(deterministic=True)


def test_a_request_over_two_gibibytes_is_refused():
    # Pages of zeros that nobody touches take no memory.
    arrays = {"x": np.zeros(2**31 - 20, np.uint8)}
    with pytest.raises(InvalidInput, match=r"over 2 GiB.*split it"):
        messages.predict_bytes(messages.model_spec("flowers"), arrays)


def test_strings_over_two_gibibytes_are_refused():
    strings = np.empty(3, object)
    strings[:] = [bytes(2**30)] * 3
    arrays = {"x": strings}
    with pytest.raises(InvalidInput, match=r"over 2 GiB.*split it"):
        messages.predict_bytes(messages.model_spec("flowers"), arrays)


def official_response(outputs: Mapping[str, object]) -> bytes:
    response = predict_pb2.PredictResponse()
    response.model_spec.name = "flowers"
    response.model_spec.version.value = 3
    for name, values in outputs.items():
        response.outputs[name].CopyFrom(tf.make_tensor_proto(values))
    return response.SerializeToString()


def test_outputs_come_back_by_name():
    outputs = messages.outputs_from(official_response({"": [1], "scores": BATCH, "étiquettes": [b"a", b"b"]}))
    assert set(outputs) == {"", "scores", "étiquettes"}
    assert outputs["étiquettes"].tolist() == [b"a", b"b"]
    np.testing.assert_array_equal(outputs["scores"], BATCH)
    assert messages.outputs_from(b"") == {}


def test_fields_from_the_future_are_passed_over():
    content = official_response({"scores": BATCH})
    # Numbers 1000 to 1003: content, a number, eight bytes, four bytes; the last two are not read by our own means.
    for unknown in (b"\xc2\x3e\x03abc", b"\xc8\x3e\x07", b"\xd1\x3e" + bytes(8), b"\xdd\x3e" + bytes(4)):
        [(name, scores)] = messages.outputs_from(unknown + content + unknown).items()
        assert name == "scores"
        np.testing.assert_array_equal(scores, BATCH)


def test_of_outputs_with_one_name_the_last_counts():
    content = official_response({"scores": [1.0]}) + official_response({"scores": [2.0]})
    assert messages.outputs_from(content)["scores"].tolist() == [2.0]


@settings(deadline=None)
@given(st.data())
def test_an_answer_that_ends_too_early_is_a_bad_response(data: st.DataObject):
    content = official_response({"scores": BATCH, "labels": [b"a", b"b"]})
    cut = content[: data.draw(st.integers(min_value=1, max_value=len(content) - 1))]
    try:
        expected = set(predict_pb2.PredictResponse.FromString(cut).outputs)
    except Exception:
        with pytest.raises(BadResponse):
            messages.outputs_from(cut)
    else:
        assert set(messages.outputs_from(cut)) == expected


@pytest.mark.parametrize(
    "content",
    [b"\xff", b"\x0a\x7f", b"\x0a\x04\x0a\x02\xff\xfe", b"\x0a\x07\x0a\x01x\x12\x02\x08\xff"],
    ids=["tag", "length", "no text", "tensor"],
)
def test_broken_answers_are_bad_responses(content: bytes):
    with pytest.raises(BadResponse, match=r"not a|outputs"):
        messages.outputs_from(content)


MODELS = [
    (ModelConfig("flowers", "/models/flowers"), {}),
    (ModelConfig("flowers", "/models/flowers", latest=2), {"latest": {"num_versions": 2}}),
    (ModelConfig("flowers", "/models/flowers", all=True), {"all": {}}),
    (ModelConfig("flowers", "/models/flowers", "tflite", specific=(3, 5)), {"specific": {"versions": [3, 5]}}),
    (
        ModelConfig("flowers", "/models/flowers", specific=[0], labels={"a": 0, "é": 2**62}),
        {"specific": {"versions": [0]}},
    ),
]


@pytest.mark.parametrize(("model", "policy"), MODELS, ids=["default", "latest", "all", "specific", "labels"])
def test_a_reload_has_the_official_bytes(model: ModelConfig, policy: dict[str, dict[str, object]]):
    expected = model_management_pb2.ReloadConfigRequest()
    for name in ("flowers", "dogs"):
        expected.config.model_config_list.config.add(
            name=name,
            base_path="/models/flowers",
            model_platform=model.platform,
            version_labels=model.labels,
            model_version_policy=policy or None,
        )
    content = messages.reload_request([model, ModelConfig(**{**vars(model), "name": "dogs"})])
    assert model_management_pb2.ReloadConfigRequest.FromString(content) == expected
    # The order of a map's entries is free.
    if len(model.labels) < 2:
        assert content == expected.SerializeToString(deterministic=True)


def test_a_reload_to_no_models_says_so():
    content = messages.reload_request([])
    assert model_management_pb2.ReloadConfigRequest.FromString(content).config.HasField("model_config_list")


def test_what_a_reload_was_refused_with():
    answer = model_management_pb2.ReloadConfigResponse()
    answer.metric.add(name="loads", int64_value_increase=1)
    assert messages.reload_refusal(answer.SerializeToString()) is None
    assert messages.reload_refusal(b"") is None
    answer.status.error_code, answer.status.error_message = 3, "no such folder"
    assert messages.reload_refusal(answer.SerializeToString()) == ("INVALID_ARGUMENT", "no such folder")
    answer.status.error_code = 99
    assert messages.reload_refusal(answer.SerializeToString()) == ("UNKNOWN", "no such folder")
    with pytest.raises(BadResponse, match="ReloadConfigResponse"):
        messages.reload_refusal(b"\xff")


def test_models_are_told_from_services():
    # What grpc/health/v1/health.proto makes of it: a map (1) of name (1) to a message (2) with the status (1).
    names = [
        "",
        "PredictionService",
        "ModelService",
        "tensorflow.serving.PredictionService",
        "tensorflow.serving.ModelService",
        "grpc.health.v1.Health",
        "resnet.v2",
        "flowers",
    ]
    entries = [b"\x0a" + bytes([len(name)]) + name.encode() + b"\x12\x02\x08\x01" for name in names]
    content = b"".join(b"\x0a" + bytes([len(entry)]) + entry for entry in entries)
    assert messages.models_listed(content) == ("flowers", "resnet.v2")
    assert messages.models_listed(b"") == ()
    with pytest.raises(BadResponse, match="HealthListResponse"):
        messages.models_listed(b"\xff")
