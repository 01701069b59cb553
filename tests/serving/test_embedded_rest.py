"""The embedded server over REST: TensorFlow Serving's paths, formats and errors."""

from __future__ import annotations

import base64
import concurrent.futures
import gzip
import json
import socket

import pytest
import requests
from raw_http import RawClient, get


def b64(data: bytes) -> dict[str, str]:
    return {"b64": base64.b64encode(data).decode()}


def error_of(response: requests.Response) -> tuple[int, str]:
    assert response.headers["content-type"] == "application/json"
    return response.status_code, response.json()["error"]


def test_rows_and_columns(showcase):
    assert showcase.post({"instances": [1.0, 2, 5]}).json() == {"predictions": [2.5, 3.0, 4.5]}
    assert showcase.post({"inputs": [1.0, 2, 5]}).json() == {"outputs": [2.5, 3.0, 4.5]}
    assert showcase.post({"instances": [{"x": 1.0}]}).json() == {"predictions": [2.5]}
    assert showcase.post({"inputs": {"x": [1.0]}}, "/versions/7:predict").json() == {"outputs": [2.5]}


def test_numbers_are_printed_short_and_as_decimals(showcase):
    # float32 0.2 is 0.20000000298 as a double; a decimal 4 must not look like a whole number.
    body = {"signature_name": "several", "inputs": {"a": [[0.2, 0], [1, 3]], "b": [0, 0]}}
    assert '"sum":[0.2,4.0]' in "".join(showcase.post(body).text.split())


def test_numbers_that_are_not_finite_are_read_and_written_bare(showcase):
    response = showcase.post(b'{"instances": [NaN, Infinity, -Infinity]}')
    assert "".join(response.text.split()) == '{"predictions":[NaN,Infinity,-Infinity]}'


def test_several_inputs_and_outputs(showcase):
    rows = {"signature_name": "several", "instances": [{"a": [1, 2], "b": 10}, {"a": [3, 4], "b": 20}]}
    assert showcase.post(rows).json() == {"predictions": [{"sum": 13.0, "twice": 20}, {"sum": 27.0, "twice": 40}]}
    columns = {"signature_name": "several", "inputs": {"a": [[1, 2], [3, 4]], "b": [10, 20]}}
    assert showcase.post(columns).json() == {"outputs": {"sum": [13.0, 27.0], "twice": [20, 40]}}


def test_strings_and_bytes(showcase):
    response = showcase.post({"signature_name": "strings", "instances": ["Blüte", b64(b"\x00\xfa")]})
    assert json.loads(response.content.decode("utf-8", "surrogateescape")) == {
        "predictions": [
            {"text": "Blüte", "text_bytes": b64("Blüte".encode())},
            {"text": "\x00\udcfa", "text_bytes": b64(b"\x00\xfa")},
        ]
    }


def test_base64_without_padding_and_with_line_breaks(showcase):
    body = {"signature_name": "strings", "inputs": [{"b64": "YQ"}, {"b64": "YWJj\nZGVm"}]}
    assert showcase.post(body).json()["outputs"]["text"] == ["a", "abcdef"]


def test_pictures(showcase, encode):
    body = {"signature_name": "pictures", "instances": [{"image_bytes": b64(encode())}, {"image_bytes": b64(encode())}]}
    [first, second] = showcase.post(body).json()["predictions"]
    assert first == second
    assert sorted(first["labels"]) == ["dark", "light"]
    assert first["scores"][0] >= first["scores"][1]


def test_status(showcase):
    available = {"version": "7", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    for path in ("", "/versions/7"):
        response = requests.get(showcase.model_url + path, timeout=10)
        assert response.status_code == 200
        assert response.json() == {"model_version_status": [available]}


def test_metadata(showcase):
    document = requests.get(showcase.model_url + "/metadata", timeout=10).json()
    assert document["model_spec"] == {"name": "model", "signature_name": "", "version": "7"}
    signature = document["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert signature["method_name"] == "tensorflow/serving/predict"
    assert signature["inputs"]["x"]["dtype"] == "DT_FLOAT"
    assert signature["inputs"]["x"]["tensor_shape"] == {"dim": [{"size": "-1", "name": ""}], "unknown_rank": False}


@pytest.mark.parametrize(
    ("path", "status", "phrase"),
    [
        ("/v1/models/other:predict", 404, "Servable not found for request: Latest(other)"),
        ("/v1/models/model/versions/9:predict", 404, "Servable not found for request: Specific(model, 9)"),
        ("/v1/models/model/labels/canary:predict", 400, "Unrecognized servable version label: canary"),
        ("/v1/models/model:guess", 400, "Malformed request: POST /v1/models/model:guess"),
        ("/v1/models/model:PREDICT", 400, "Malformed request: POST /v1/models/model:PREDICT"),
        ("/v1/models/model:predict/", 400, "Malformed request: POST /v1/models/model:predict/"),
        ("/v1/models/model:predict?a=b", 400, "Malformed request: POST /v1/models/model:predict?a=b"),
        ("/v1/models/model/versions/HELLO:predict", 400, "Malformed request: POST"),
        ("/v1/models/model/version/7:predict", 400, "Malformed request: POST"),
        ("/v1/models/model", 400, "Malformed request: POST"),
        ("/v1/models", 400, "Malformed request: POST /v1/models"),
        ("/v1/", 400, "Malformed request: POST /v1/"),
        ("/v1/models/o%74her:predict", 404, "Servable not found for request: Latest(other)"),
    ],
)
def test_paths_that_lead_nowhere(showcase, path, status, phrase):
    response = requests.post(showcase.url + path, json={"instances": [1]}, timeout=10)
    got, message = error_of(response)
    assert (got, phrase in message) == (status, True), message


@pytest.mark.parametrize("path", ["/", "/elsewhere", "/v1", "/v2/models/model", "/healthz", "//v1/models/model"])
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_pages_outside_the_api(showcase, method, path):
    response = requests.request(method, showcase.url + path, timeout=10)
    assert (response.status_code, response.headers["content-type"]) == (404, "text/html")
    assert "<H1>Not Found</H1>" in response.text


def test_characters_that_no_path_has(showcase):
    # requests would encode them.
    host, port = showcase.url.removeprefix("http://").split(":")
    for path in ('/v1/models/"model"', "/v1/models/{model}", "/v1/models/mo%6", "/v1/models/mod\xc3\xa9le"):
        with RawClient((host, int(port))) as client:
            answer = client.send(get(path).encode("latin-1")).answer()
            assert (answer.status, answer.headers["content-type"]) == (400, "text/html")


def test_a_version_that_is_no_number_of_ours_is_refused_without_a_word(showcase):
    for version in ("9223372036854775808", "9" * 5000):
        response = showcase.post({"instances": [1]}, f"/versions/{version}:predict")
        assert (response.status_code, response.content) == (400, b"")
        assert response.headers["content-type"] == "application/json"
        assert requests.get(f"{showcase.model_url}/versions/{version}", timeout=10).status_code == 400


@pytest.mark.parametrize("path", ["/V1/MODELS/model", "/v1/Models/model/Versions/0007", "/v1/models/mode%6C"])
def test_what_makes_no_difference_in_a_path(showcase, path):
    assert requests.get(showcase.url + path, timeout=10).json()["model_version_status"][0]["version"] == "7"
    assert requests.post(showcase.url + path + ":predict", json={"instances": [1.0]}, timeout=10).status_code == 200


def test_a_query_is_part_of_the_name(showcase):
    response = requests.get(showcase.model_url + "?verbose=1", timeout=10)
    assert error_of(response) == (404, "Could not find any versions of model model?verbose=1")


def test_metadata_in_capitals_is_the_status(showcase):
    assert "model_version_status" in requests.get(showcase.model_url + "/METADATA", timeout=10).json()


def test_the_model_is_missing(showcase):
    assert error_of(requests.get(showcase.url + "/v1/models", timeout=10)) == (400, "Missing model name in request.")
    # Here it is not: this one is called "metadata".
    assert error_of(requests.get(showcase.url + "/v1/models/metadata", timeout=10))[0] == 404


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS"])
def test_methods_the_api_has_no_use_for(showcase, method):
    status, message = error_of(requests.request(method, showcase.model_url, timeout=10))
    assert (status, message) == (400, f"Malformed request: {method} /v1/models/model")


def test_wrong_methods_and_unknown_models_when_only_looking(showcase):
    assert error_of(requests.get(showcase.model_url + ":predict", timeout=10))[0] == 400
    assert error_of(requests.get(showcase.url + "/v1/models/other", timeout=10)) == (
        404,
        "Could not find any versions of model other",
    )
    assert error_of(requests.get(showcase.model_url + "/versions/9/metadata", timeout=10))[0] == 404


@pytest.mark.parametrize(
    ("body", "phrase"),
    [
        (b"", "The document is empty"),
        (b"not json", "JSON Parse error"),
        (b'{"instances": [1', "JSON Parse error"),
        (b"[1, 2]", "Is not object"),
        (b'{"instances": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply"),
        (b'{"instances": ' + b"[" * 100 + b"]" * 100 + b"}", "dimensions"),
        (b"\xff\xfe\x00", "JSON Parse error"),
        ({}, "Missing 'inputs' or 'instances' key"),
        ({"instances": [1], "inputs": [1]}, "expecting only one of"),
        ({"instances": 1}, "Excepting 'instances' to be an list/array"),
        ({"instances": []}, "No values in 'instances' array"),
        ({"instances": [1], "signature_name": 3}, "'signature_name' key must be a string value"),
        ({"instances": [1], "signature_name": "none"}, 'Serving signature name: "none" not found in signature def'),
        ({"instances": ["a"]}, "Failed to process element: 0 of 'instances' list. Error: INVALID_ARGUMENT: JSON Value"),
        ({"instances": [1, None]}, 'Type: Null is not of expected type: float'),
        ({"instances": [[1], [1, 2]]}, "Expecting tensor size: 1 but got: 2"),
        ({"instances": [[[1, 2]], [[1], [2]]]}, "Expecting shape [1,2] but got: [2,1]"),
        ({"instances": [1, [1]]}, "Failed to process element: 1"),
        ({"instances": [{"z": 1}]}, "does not have named input: z"),
        ({"instances": [{"x": 1}, 2]}, "Expecting object but got list at item 1"),
        ({"instances": [1, {"x": 2}]}, "Expecting value/list but got object at item 1"),
        ({"instances": [123456789]}, "to float without loss of precision"),
        ({"instances": [1e39]}, "to float without loss of precision"),
        ({"inputs": {"z": [1]}}, "Missing named input: x in 'inputs' object"),
        ({"inputs": [True]}, "is not of expected type: float"),
        ({"inputs": [1, 2], "signature_name": "several"}, "expecting an object as multiple input tensors required"),
        ({"instances": [1, 2], "signature_name": "several"}, "expecting list of objects as multiple input tensors"),
        ({"instances": [{"a": [1, 2]}], "signature_name": "several"}, "keys must be equal to: a,b"),
        ({"inputs": [{"b64": "a"}], "signature_name": "strings"}, "Unable to base64 decode"),
        ({"inputs": [{"b65": "a"}], "signature_name": "strings"}, "not formatted correctly for base64 data"),
        ({"inputs": [1], "signature_name": "strings"}, "is not of expected type: string"),
    ],
)  # fmt: skip
def test_bodies_that_cannot_be_run(showcase, body, phrase):
    status, message = error_of(showcase.post(body))
    assert (status, phrase in message) == (400, True), message
    assert len(message) < 1500


def test_a_body_that_breaks_off_is_dropped_and_others_are_answered(showcase):
    host, port = showcase.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(b"POST /v1/models/model:predict HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n{")
    assert showcase.post({"instances": [1.0]}).status_code == 200
    assert "Traceback" not in showcase.log


def test_gzip(showcase):
    body = b'{"instances": [1.0, 2, 5]}'
    headers = {"Content-Encoding": "gzip"}
    response = requests.post(showcase.model_url + ":predict", gzip.compress(body), headers=headers, timeout=10)
    assert response.json() == {"predictions": [2.5, 3.0, 4.5]}
    # What cannot be inflated is empty to TensorFlow Serving.
    for broken in (body, gzip.compress(body)[:-5], gzip.compress(body) + b"more", b"\x1f\x8b", gzip.compress(body) * 2):
        response = requests.post(showcase.model_url + ":predict", broken, headers=headers, timeout=10)
        assert "The document is empty" in error_of(response)[1]


def test_json_that_is_500000_deep(showcase):
    body = b'{"instances": ' + b"[" * 500_000 + b"]" * 500_000 + b"}"
    assert error_of(showcase.post(body))[0] == 400
    assert showcase.post({"instances": [1.0]}).status_code == 200


def test_a_batch_of_none(showcase):
    assert showcase.post({"inputs": []}).json() == {"outputs": []}


def test_a_corrupt_picture_is_the_senders_error_and_nobody_elses(showcase, encode):
    def classify(number: int) -> requests.Response:
        picture = b"no picture" if number == 5 else encode()
        return showcase.post({"signature_name": "pictures", "instances": [{"image_bytes": b64(picture)}]})

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(classify, range(16)))
    status, message = error_of(answers.pop(5))
    assert status == 400
    assert message
    assert [answer.status_code for answer in answers] == [200] * 15


def test_concurrent_requests_share_an_in_graph_batch(showcase):
    def batch_size(_: int) -> int:
        return showcase.post({"signature_name": "batched", "instances": [1.0]}).json()["predictions"][0]

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        assert max(pool.map(batch_size, range(16))) > 1
