"""Classify and regress requests in JSON, by the rules TensorFlow Serving has for them."""

from __future__ import annotations

import contextlib
import gc
import json

import pytest
from google.protobuf import text_format
from tensorflow_serving.apis import input_pb2

from vitrine_serving.embedded.errors import ServingError
from vitrine_serving.embedded.rest.codec.examples import parse_examples_request


def error(body) -> str:
    with pytest.raises(ServingError) as raised:
        parse_examples_request(body if isinstance(body, bytes) else json.dumps(body).encode())
    assert raised.value.code.http_status == 400
    return raised.value.message


def test_examples():
    request = parse_examples_request(b"""{"examples": [
        {"names": ["foo", "bar"], "ratings": [8.0, 9.0], "age": 20},
        {"names": ["baz"], "ratings": 6.0, "none": []}
    ]}""")
    expected = """example_list {
      examples { features {
        feature { key: "names" value { bytes_list { value: "foo" value: "bar" } } }
        feature { key: "ratings" value { float_list { value: 8 value: 9 } } }
        feature { key: "age" value { int64_list { value: 20 } } }
      } }
      examples { features {
        feature { key: "names" value { bytes_list { value: "baz" } } }
        feature { key: "ratings" value { float_list { value: 6 } } }
        feature { key: "none" value {} }
      } }
    }"""
    assert request.input == text_format.Parse(expected, input_pb2.Input())
    assert request.signature_name == ""


def test_context_and_signature():
    request = parse_examples_request(b"""{
        "signature_name": "custom",
        "context": {"query": "pizza", "location": ["sfo"]},
        "examples": [
            {"ratings": [8.0, NaN, Infinity], "names": ["baz", {"b64": "aGVsbG8="}], "mix": [1, true, false]},
            {"ratings": -Infinity, "big": 100000000000000000000000, "low": -9223372036854775808},
            {}
        ]
    }""")
    assert request.signature_name == "custom"
    listed = request.input.example_list_with_context
    assert {name: list(feature.bytes_list.value) for name, feature in listed.context.features.feature.items()} == {
        "query": [b"pizza"],
        "location": [b"sfo"],
    }
    first, second, third = (example.features.feature for example in listed.examples)
    assert str(list(first["ratings"].float_list.value)) == "[8.0, nan, inf]"
    assert list(first["names"].bytes_list.value) == [b"baz", b"hello"]
    assert list(first["mix"].int64_list.value) == [1, 1, 0]
    assert list(second["ratings"].float_list.value) == [float("-inf")]
    assert list(second["big"].float_list.value) == [pytest.approx(1e23)]
    assert list(second["low"].int64_list.value) == [-(2**63)]
    assert not third


def test_an_empty_context_is_one():
    request = parse_examples_request(b'{"context": {}, "examples": [{"x": 1}]}')
    assert request.input.WhichOneof("kind") == "example_list_with_context"
    assert request.input.example_list_with_context.HasField("context")


def test_the_last_of_a_feature_given_twice_counts():
    [example] = parse_examples_request(b'{"examples": [{"x": 1, "x": [2.5]}]}').input.example_list.examples
    assert list(example.features.feature["x"].float_list.value) == [2.5]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "JSON Parse error: The document is empty"),
        (b"[]", "Is not object"),
        ({"signature_name": ["hello"], "examples": [{}]}, "'signature_name' key must be a string"),
        ({}, "When method is classify, key 'examples' is expected and was not found"),
        ({"context": [{"names": ["foo"]}]}, "Example must be JSON object but got JSON Array"),
        ({"examples": {"names": ["foo"]}}, "Expecting 'examples' value to be an list/array"),
        ({"examples": []}, "'examples' value is an empty array"),
        ({"examples": [[{"names": ["foo"]}]]}, "Example must be JSON object but got JSON Array"),
        ({"examples": [True]}, "Example must be JSON object but got JSON True"),
        ({"examples": [{"names": [10, None]}]}, "names has element with unexpected JSON type: Null"),
        ({"examples": [{"names": [10, 10.0]}]}, "Unexpected element type in feature: names expecting type: int64"),
        ({"examples": [{"names": [1.0, True]}]}, "in feature: names expecting type: float"),
        ({"examples": [{"names": ["a", 1]}]}, "in feature: names expecting type: bytes"),
        ({"examples": [{"names": [10, {"test": 10}]}]}, "names has element with unexpected JSON type: Object"),
        ({"examples": [{"names": [[10], 20]}]}, "names has element with unexpected JSON type: Array"),
        ({"examples": [{"names": [20, 2**64 - 13]}]}, "names has uint64 element. Only int64 is supported."),
        ({"examples": [{"names": 1.7976931348623157e308}]}, "to float without loss of precision."),
        ({"examples": [{"names": {"b64": "a"}}]}, "Unable to base64 decode"),
        (b'{"examples": [{"names": 1e999}]}', "Number too big to be stored in double. at offset: 24"),
        (b'{"examples": [{"\xff": 1}]}', "is not UTF-8"),
    ],
)
def test_refusals(body, message):
    assert message in error(body)


def test_a_refused_request_is_not_kept():
    body = json.dumps({"examples": [{"x": 1.7976931348623157e308}]}).encode()
    gc.collect()
    gc.disable()
    try:
        with contextlib.suppress(ServingError):
            parse_examples_request(body)
        assert gc.collect() == 0
    finally:
        gc.enable()
