"""The embedded server over gRPC, asked with the official stubs."""

from __future__ import annotations

import concurrent.futures

import grpc
import numpy as np
import pytest
import tensorflow as tf
from embedded_server import status_of
from google.protobuf import any_pb2
from savedmodels import BATCH_WAIT_SECONDS
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    predict_pb2,
)


def test_predict_answers_in_typed_fields_and_names_who_answered(showcase):
    response = showcase.predict({"x": np.array([1, 2, 5], np.float32)})
    assert list(response.outputs["y"].float_val) == [2.5, 3.0, 4.5]
    assert not response.outputs["y"].tensor_content
    assert response.model_spec.name == "model"
    assert response.model_spec.version.value == 7
    assert response.model_spec.signature_name == "serving_default"


def test_predict_takes_typed_fields_and_tensor_content_alike(showcase):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "model"
    request.inputs["x"].dtype = tf.float32.as_datatype_enum
    request.inputs["x"].tensor_shape.dim.add(size=3)
    request.inputs["x"].float_val.append(4)  # the last value stands for the missing ones
    assert list(showcase.prediction.Predict(request).outputs["y"].float_val) == [4, 4, 4]
    request.inputs["x"].ClearField("float_val")
    request.inputs["x"].tensor_content = np.array([0, 2, 4], np.float32).tobytes()
    assert list(showcase.prediction.Predict(request).outputs["y"].float_val) == [2, 3, 4]


def test_predict_by_version_and_signature_with_several_inputs_and_outputs(showcase):
    inputs = {"a": np.array([[1, 2], [3, 4]], np.float32), "b": np.array([10, 20], np.int64)}
    response = showcase.predict(inputs, signature_name="several", version=7)
    assert set(response.outputs) == {"sum", "twice"}
    np.testing.assert_array_equal(tf.make_ndarray(response.outputs["sum"]), [13, 27])
    assert list(response.outputs["twice"].int64_val) == [20, 40]
    only = showcase.predict(inputs, signature_name="several", output_filter=("twice",))
    assert set(only.outputs) == {"twice"}


def test_strings_are_bytes_both_ways(showcase):
    texts = [b"plain", "Blüte".encode(), b"\xff\x00 not utf-8"]
    response = showcase.predict({"text": texts}, signature_name="strings")
    assert list(response.outputs["text"].string_val) == texts


def test_an_input_of_another_rank_is_run_like_in_tensorflow_serving(showcase):
    response = showcase.predict({"x": np.ones((2, 3), np.float32)})
    assert tf.make_ndarray(response.outputs["y"]).shape == (2, 3)


def test_a_batch_of_none_is_answered(showcase):
    response = showcase.predict({"x": np.zeros((0,), np.float32)})
    assert tf.make_ndarray(response.outputs["y"]).shape == (0,)
    showcase.predict({"image_bytes": np.zeros((0,), object)}, signature_name="pictures")


def test_messages_past_four_mebibytes_go_through(showcase):
    values = np.arange(2_000_000, dtype=np.float32)
    response = showcase.predict({"x": values})
    np.testing.assert_array_equal(tf.make_ndarray(response.outputs["y"]), values / 2 + 2)


def test_metadata_tells_the_signatures(showcase):
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "model"
    response = showcase.prediction.GetModelMetadata(request)
    assert response.model_spec.version.value == 7
    packed: any_pb2.Any = response.metadata["signature_def"]
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert packed.Unpack(signatures)
    assert signatures.signature_def["pictures"].inputs["image_bytes"].dtype == tf.string.as_datatype_enum


@pytest.mark.parametrize(
    ("fields", "phrase"), [([], "must specify at least one metadata_field"), (["weights"], "weights is not supported")]
)
def test_metadata_other_than_signatures_is_refused(showcase, fields, phrase):
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=fields)
    request.model_spec.name = "model"
    code, message = status_of(lambda: showcase.prediction.GetModelMetadata(request))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert phrase in message


def test_status_of_the_model_and_of_one_version(showcase):
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "model"
    [of_model] = showcase.models.GetModelStatus(request).model_version_status
    assert (of_model.version, of_model.state, of_model.status.error_code) == (7, of_model.AVAILABLE, 0)
    request.model_spec.version.value = 7
    assert showcase.models.GetModelStatus(request).model_version_status == [of_model]


@pytest.mark.parametrize(
    ("spec", "code", "phrase"),
    [
        (None, "INVALID_ARGUMENT", "Missing ModelSpec"),
        ({}, "INVALID_ARGUMENT", "no name specified"),
        ({"name": "other"}, "NOT_FOUND", "Servable not found for request: Latest(other)"),
        ({"name": "model", "version": 8}, "NOT_FOUND", "Servable not found for request: Specific(model, 8)"),
        ({"name": "model", "label": "canary"}, "INVALID_ARGUMENT", "Unrecognized servable version label: canary"),
        ({"name": "model", "signature": "none"}, "FAILED_PRECONDITION", 'Serving signature key "none" not found.'),
    ],
)
def test_unknown_models_versions_and_signatures(showcase, spec, code, phrase):
    request = predict_pb2.PredictRequest()
    if spec is not None:
        request.model_spec.SetInParent()
        request.model_spec.name = spec.get("name", "")
        request.model_spec.signature_name = spec.get("signature", "")
        if "version" in spec:
            request.model_spec.version.value = spec["version"]
        if "label" in spec:
            request.model_spec.version_label = spec["label"]
    got, message = status_of(lambda: showcase.prediction.Predict(request))
    assert (got.name, phrase in message) == (code, True), message


def test_status_of_unknown_models_and_versions(showcase):
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "other"
    assert status_of(lambda: showcase.models.GetModelStatus(request)) == (
        grpc.StatusCode.NOT_FOUND,
        "Could not find any versions of model other",
    )
    request.model_spec.name = "model"
    request.model_spec.version.value = 3
    assert status_of(lambda: showcase.models.GetModelStatus(request)) == (
        grpc.StatusCode.NOT_FOUND,
        "Could not find version 3 of model model",
    )


ONE = np.ones(1, np.float32)


@pytest.mark.parametrize(
    ("inputs", "filtered", "phrase"),
    [
        ({}, (), "input size does not match signature: 0!=1 len({}) != len({x}). Sent extra: {}. Missing but required"),
        ({"z": ONE}, (), "Sent extra: {z}. Missing but required: {x}"),
        ({"x": ONE, "z": ONE}, (), "input size does not match signature: 2!=1"),
        ({"x": ONE}, ("z",), "output tensor alias not found in signature: z Outputs expected to be in the set {y}"),
        ({"x": ONE}, ("y", "y"), "duplicate output tensor alias: y"),
        ({"x": np.ones(1, np.float64)}, (), "double"),
        ({"x": np.ones(1, np.complex64)}, (), "Expects arg[0] to be float but complex64 is provided"),
    ],
)
def test_inputs_and_outputs_that_do_not_fit_the_signature(showcase, inputs, filtered, phrase):
    code, message = status_of(lambda: showcase.predict(inputs, output_filter=filtered))
    assert (code, phrase in message) == (grpc.StatusCode.INVALID_ARGUMENT, True), message


@pytest.mark.parametrize("shape", [[2**62, 2**62], [2**40], [-1], [3]])
def test_a_tensor_that_contradicts_its_shape_is_refused_without_allocating(showcase, shape):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "model"
    tensor = request.inputs["x"]
    tensor.dtype = tf.float32.as_datatype_enum
    tensor.tensor_content = b"1234"
    for size in shape:
        tensor.tensor_shape.dim.add(size=size)
    code, message = status_of(lambda: showcase.prediction.Predict(request))
    assert (code, "tensor parsing error: x" in message) == (grpc.StatusCode.INVALID_ARGUMENT, True), message


def test_a_method_that_does_not_exist_is_unimplemented(showcase):
    call = showcase.channel.unary_unary("/tensorflow.serving.PredictionService/Guess")
    code, _ = status_of(lambda: call(b""))
    assert code is grpc.StatusCode.UNIMPLEMENTED
    assert "Traceback" not in showcase.log


def test_a_corrupt_picture_is_the_senders_error_and_nobody_elses(showcase, encode):
    good, corrupt = encode(), b"no picture"

    def classify(number: int) -> str | grpc.StatusCode:
        try:
            picture = corrupt if number == 5 else good
            response = showcase.predict({"image_bytes": [picture]}, signature_name="pictures")
            return response.outputs["labels"].string_val[0].decode()
        except grpc.RpcError as error:
            assert error.details()
            return error.code()

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(classify, range(16)))
    assert answers.pop(5) is grpc.StatusCode.INVALID_ARGUMENT
    assert set(answers) <= {"light", "dark"}


def test_concurrent_requests_share_an_in_graph_batch(showcase):
    def batch_size(_: int) -> int:
        return showcase.predict({"x": ONE}, signature_name="batched").outputs["size"].int_val[0]

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        sizes = list(pool.map(batch_size, range(16)))
    assert max(sizes) > 1, f"requests {BATCH_WAIT_SECONDS} s apart at most must meet in the graph"


def test_bytes_that_are_no_message_are_refused_without_a_word_in_the_log(showcase):
    call = showcase.channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
    code, message = status_of(lambda: call(b"\xff\xff\xff"))
    assert (code, message) == (grpc.StatusCode.INTERNAL, "The request is no tensorflow.serving.PredictRequest")
    assert "Traceback" not in showcase.log


def test_a_long_message_is_cut_to_what_a_header_carries(showcase):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "\U0001f600" * 1100
    code, message = status_of(lambda: showcase.prediction.Predict(request))
    assert code is grpc.StatusCode.NOT_FOUND
    assert message.endswith("...TRUNCATED")
