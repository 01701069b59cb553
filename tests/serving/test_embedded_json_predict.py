"""Predict requests in JSON, by the rules TensorFlow Serving has for them."""

from __future__ import annotations

import json

import numpy as np
import pytest
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import meta_graph_pb2

from vitrine_serving.embedded.errors import ServingError
from vitrine_serving.embedded.rest.codec.requests import Format, parse_predict_request

INT, STRING = {"default": "DT_INT32"}, {"default": "DT_STRING"}
FLOAT, DOUBLE = {"default": "DT_FLOAT"}, {"default": "DT_DOUBLE"}
NAMED = {"int_tensor": "DT_INT32", "str_tensor": "DT_STRING"}
HELLO, WORLD = {"b64": "aGVsbG8="}, {"b64": "d29ybGQ="}


def read(body, types):
    signature = meta_graph_pb2.SignatureDef()
    for name, dtype in types.items():
        signature.inputs[name].dtype = types_pb2.DataType.Value(dtype)
    return parse_predict_request(body if isinstance(body, bytes) else json.dumps(body).encode()).read(signature)


def error(body, types, status=400) -> str:
    with pytest.raises(ServingError) as raised:
        read(body, types)
    assert raised.value.code.http_status == status
    return raised.value.message


@pytest.mark.parametrize(
    ("body", "types", "expected"),
    [
        ({"instances": [[1, 2], [3, 4], [5, 6]]}, INT, [[1, 2], [3, 4], [5, 6]]),
        ({"signature_name": "x", "instances": [[1, 2]]}, INT, [[1, 2]]),
        ({"instances": [1, 2.0, 3, 4, 5.003, 0.007, 0.0]}, FLOAT, [1, 2, 3, 4, 5.003, 0.007, 0]),
        ({"instances": [1.0, 2, 3, 4, 0.662, 0, 0.0]}, DOUBLE, [1, 2, 3, 4, 0.662, 0, 0]),
        ({"instances": [HELLO, WORLD]}, STRING, [b"hello", b"world"]),
        ({"instances": [[HELLO], [WORLD]]}, STRING, [[b"hello"], [b"world"]]),
        ({"instances": [{"default": [[HELLO], [WORLD]]}]}, STRING, [[[b"hello"], [b"world"]]]),
        ({"instances": [{"default": HELLO}, {"default": "w"}]}, STRING, [b"hello", b"w"]),
        ({"inputs": {"default": [[[1, 2], [3, 4]]]}}, INT, [[[1, 2], [3, 4]]]),
        ({"inputs": [[[1, 2], [3, 4]]]}, INT, [[[1, 2], [3, 4]]]),
        ({"inputs": {"default": 7, "other": "ignored"}}, INT, 7),
        ({"inputs": 7, "unknown": {}}, INT, 7),
        ({"inputs": HELLO}, STRING, b"hello"),
        ({"inputs": []}, INT, np.zeros(0)),
        ({"instances": [[], []]}, INT, np.zeros((2, 0))),
        ({"instances": [[], []]}, {"x": "DT_BFLOAT16"}, np.zeros((2, 0))),
        ({"inputs": []}, {"x": "DT_UINT16"}, np.zeros(0)),
        ({"instances": [[[], []], [[], []]]}, INT, np.zeros((2, 2, 0))),
        (b'{"instances": [[NaN, Infinity], [-Infinity, -0.0]]}', FLOAT, [[np.nan, np.inf], [-np.inf, 0]]),
        ({"instances": [16777215, -16777215]}, FLOAT, [16777215, -16777215]),
        ({"instances": [10**20, 1e38, 3.4028234e38]}, FLOAT, [1e20, 1e38, 3.4028234e38]),
        ({"instances": [9007199254740991, 10**300]}, DOUBLE, [9007199254740991, 1e300]),
        ({"instances": [True, False]}, {"x": "DT_BOOL"}, [True, False]),
        ({"instances": [300, -1]}, {"x": "DT_UINT8"}, [44, 255]),
        ({"instances": [2**31 - 1, 128]}, {"x": "DT_INT8"}, [-1, -128]),
        ({"instances": [40000]}, {"x": "DT_INT16"}, [-25536]),
        ({"instances": [2**32 - 1]}, {"x": "DT_UINT32"}, [2**32 - 1]),
        ({"instances": [2**64 - 1]}, {"x": "DT_UINT64"}, [2**64 - 1]),
        ({"instances": [-(2**63), 2**63 - 1]}, {"x": "DT_INT64"}, [-(2**63), 2**63 - 1]),
        (b'{"instances": [-0]}', INT, [0]),
        (b'{"instances": [1], "instances": [2]}', INT, [1]),
        (b'{"inputs": {"default": 1, "default": 2}}', INT, 1),
        ({"instances": ["\N{SNOWMAN}", "\0"]}, STRING, ["\N{SNOWMAN}".encode(), b"\0"]),
        (b'{"instances": ["\xff\xfe", "\\udc00"]}', STRING, [b"\xff\xfe", b"\xed\xb0\x80"]),
    ],
)
def test_tensors(body, types, expected):
    [array] = read(body, types).values()
    expected = np.array(expected, object) if array.dtype == object else np.array(expected, array.dtype)
    assert array.shape == expected.shape
    np.testing.assert_array_equal(array, expected)


def test_several_inputs_in_rows():
    row = {"int_tensor": [[1, 2], [3, 4]], "str_tensor": ["foo", HELLO]}
    inputs = read({"instances": [row, {**row, "int_tensor": [[5, 6], [7, 8]]}]}, NAMED)
    np.testing.assert_array_equal(inputs["int_tensor"], [[[1, 2], [3, 4]], [[5, 6], [7, 8]]])
    np.testing.assert_array_equal(inputs["str_tensor"], np.array([[b"foo", b"hello"]] * 2, object))


def test_several_inputs_in_columns():
    inputs = read({"inputs": {"int_tensor": [[1, 2], [3, 4]], "str_tensor": HELLO}}, NAMED)
    np.testing.assert_array_equal(inputs["int_tensor"], [[1, 2], [3, 4]])
    assert inputs["str_tensor"][()] == b"hello"


@pytest.mark.parametrize(("key", "layout"), [("instances", Format.ROW), ("inputs", Format.COLUMN)])
def test_the_layout_is_that_of_the_key(key, layout):
    request = parse_predict_request(json.dumps({key: [1], "signature_name": "s"}).encode())
    assert (request.format, request.signature_name) == (layout, "s")


@pytest.mark.parametrize(
    ("text", "data"),
    [("aGVsbG8", b"hello"), ("aGVsbG8.", b"hello"), ("aG\nVs bG8=", b"hello"), ("YQ==", b"a"), ("YQ", b"a"), ("", b"")],
)
def test_base64_may_lack_padding_and_have_spaces(text, data):
    assert read({"instances": [{"b64": text}]}, STRING)["default"].tolist() == [data]


@pytest.mark.parametrize("text", ["a", "YQ=", "YQ===", "YWJj=", "=", "Y=Q", "YQ==YQ==", "a-_b", "é", "YQ\x00"])
def test_other_base64_is_refused(text):
    assert error({"inputs": {"b64": text}}, STRING) == "Unable to base64 decode"


@pytest.mark.parametrize(
    ("body", "types", "message"),
    [
        ({"signature_name": 5, "instances": [1]}, INT, "'signature_name' key must be a string value."),
        ({"instances": [1], "inputs": [1]}, INT, "Not formatted correctly expecting only one of 'inputs' or"),
        ({"instances": {"default": 1}}, INT, "Excepting 'instances' to be an list/array"),
        ({"instances": []}, INT, 'JSON Value: {\n    "instances": []\n} No values in \'instances\' array'),
        ({}, INT, "Missing 'inputs' or 'instances' key"),
        ({"inputs": 1}, {}, "Failed to get input map for signature: DEFAULT"),
        ({"instances": [[1, 2], [3, 4, 5]]}, INT, "Error: INVALID_ARGUMENT: Expecting tensor size: 2 but got: 3"),
        ({"instances": [[1, 2], [[5, 6]]]}, INT, "Expecting shape [2] but got: [1,2]"),
        ({"instances": [1, [1]]}, INT, "Expecting shape [] but got: [1]"),
        ({"instances": [[1, 2], ["a", "b"]]}, INT, 'JSON Value: "a" Type: String is not of expected type: int32'),
        ({"instances": [1.5]}, INT, "JSON Value: 1.5 Type: Number is not of expected type: int32"),
        ({"instances": [1.0]}, INT, "JSON Value: 1.0 Type: Number"),
        ({"instances": [2**31]}, INT, "JSON Value: 2147483648 Type: Number is not of expected type: int32"),
        ({"instances": [2**31]}, {"x": "DT_UINT8"}, "is not of expected type: uint8"),
        ({"instances": [-1]}, {"x": "DT_UINT32"}, "is not of expected type: uint32"),
        ({"instances": [-1]}, {"x": "DT_UINT64"}, "is not of expected type: uint64"),
        ({"instances": [2**63]}, {"x": "DT_INT64"}, "is not of expected type: int64"),
        ({"instances": [True]}, FLOAT, "JSON Value: true Type: True is not of expected type: float"),
        ({"instances": [1]}, {"x": "DT_BOOL"}, "JSON Value: 1 Type: Number is not of expected type: bool"),
        ({"instances": [None]}, STRING, "JSON Value: null Type: Null is not of expected type: string"),
        ({"instances": [5]}, STRING, "Type: Number is not of expected type: string"),
        ({"instances": [HELLO]}, FLOAT, '"\n} Type: Object is not of expected type: float'),
        ({"inputs": [{"b64": 1}]}, STRING, "not formatted correctly for base64 data"),
        (b'{"inputs": [{"b64": "YQ==", "b64": "YQ=="}]}', STRING, "not formatted correctly for base64 data"),
        ({"instances": [1.7976931348623157e308]}, FLOAT, "value: 1.7976931348623157e+308 to float without loss"),
        ({"instances": [3.4028235e38]}, FLOAT, "value: 3.4028234999999999e+38 to float without loss"),
        ({"instances": [16777217]}, FLOAT, "Cannot convert JSON value: 16777217 to float without loss of precision."),
        ({"instances": [9007199254740993]}, DOUBLE, "9007199254740993 to double without loss of precision."),
        (b'{"instances": [1, 1e999]}', FLOAT, "JSON Parse error: Number too big to be stored in double. at offset: 18"),
        (b'{"inputs": -1E400}', DOUBLE, "JSON Parse error: Number too big to be stored in double. at offset: 11"),
        ({"inputs": [[1], 2]}, INT, "JSON Value: 2 found at incorrect level: 2 in the JSON DOM. Expected at level: 2"),
        ({"inputs": [1, [2]]}, INT, "Encountered list at unexpected level: 1 expected < 1"),
        ({"inputs": [[1], [2, 3]]}, INT, "Encountered list at unexpected size: 2 at level: 1 expected size: 1"),
        ({"inputs": [[1, "a"], [2]]}, INT, 'JSON Value: "a" Type: String'),
        ({"instances": [[1]], "signature_name": "s"}, NAMED, "instances is a plain list, but expecting list of"),
        ({"inputs": [1]}, NAMED, "inputs is a plain value/list, but expecting an object"),
        ({"inputs": {"int_tensor": 1}}, NAMED, "Missing named input: str_tensor in 'inputs' object."),
        ({"instances": [{"int_tensor": 1, "str_tensor": "a"}, [1]]}, NAMED, "Expecting object but got list at item 1"),
        ({"instances": [["a"], {"default": ["a"]}]}, STRING, "Expecting value/list but got object at item 1 of"),
        ({"instances": [{"int_tensor": 1}]}, NAMED, "keys must be equal to: int_tensor,str_tensor"),
        ({"instances": [{"nope": 1}]}, NAMED, "INVALID_ARGUMENT: JSON object: does not have named input: nope"),
        ({"instances": [{"default": 1}, {"default": "a"}]}, INT, "element: 1 key: default of 'instances' list."),
        ({"instances": [1]}, {"x": "DT_HALF"}, "Error: UNIMPLEMENTED: Conversion of JSON Value: 1 to type: half"),
        ({"inputs": json.loads("[" * 70 + "1" + "]" * 70)}, INT, "70 dimensions"),
    ],
)  # fmt: skip
def test_refusals(body, types, message):
    assert message in error(body, types)


@pytest.mark.parametrize("dtype", ["DT_HALF", "DT_BFLOAT16", "DT_UINT16", "DT_COMPLEX64"])
def test_types_without_a_json_form(dtype):
    name = dtype.removeprefix("DT_").lower()
    assert error({"inputs": [1]}, {"x": dtype}, 501) == f"Conversion of JSON Value: 1 to type: {name}"


def test_the_signature_comes_before_the_rest_of_the_request():
    assert parse_predict_request(b'{"signature_name": "s"}').signature_name == "s"
    assert parse_predict_request(b'{"signature_name": "\\udc80", "instances": []}').signature_name == "?"


@pytest.mark.parametrize(
    ("rows", "fault"),
    [
        ([[1, 2]] * 3000, [1, None]),
        ([7] * 3000, None),
        ([{"default": [7]}] * 3000, {"default": [None]}),
        ([[[1], [2]]] * 3000, [[1], [None]]),
    ],
    ids=["lists", "scalars", "objects", "nested"],
)
def test_the_row_at_fault_is_found_among_many(rows, fault):
    message = error({"instances": [*rows, fault, fault]}, INT)
    assert message.startswith("Failed to process element: 3000 ")
    assert message.endswith("JSON Value: null Type: Null is not of expected type: int32")
    assert "element: 3000 " in error({"instances": [*rows, []]}, INT) or isinstance(rows[0], dict)
    if not isinstance(fault, dict):
        assert error({"inputs": [*rows, fault]}, INT) == "JSON Value: null Type: Null is not of expected type: int32"
