"""The JSON codec against straightforward references, on anything hypothesis thinks of."""

from __future__ import annotations

import base64
import json
import math

import ml_dtypes
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import meta_graph_pb2

from vitrine_serving.embedded.errors import ServingError
from vitrine_serving.embedded.rest.codec.arrays import to_array
from vitrine_serving.embedded.rest.codec.decimals import decimals
from vitrine_serving.embedded.rest.codec.examples import parse_examples_request
from vitrine_serving.embedded.rest.codec.parser import NumberTooBigError, parse_object
from vitrine_serving.embedded.rest.codec.requests import Format, parse_predict_request
from vitrine_serving.embedded.rest.codec.responses import predict_response

SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["b64", "x"]) | st.text(), inner),
)
NUMERIC = {
    types_pb2.DT_FLOAT: np.float32,
    types_pb2.DT_DOUBLE: np.float64,
    types_pb2.DT_INT8: np.int8,
    types_pb2.DT_INT16: np.int16,
    types_pb2.DT_INT32: np.int32,
    types_pb2.DT_INT64: np.int64,
    types_pb2.DT_UINT8: np.uint8,
    types_pb2.DT_UINT32: np.uint32,
    types_pb2.DT_UINT64: np.uint64,
    types_pb2.DT_BOOL: np.bool_,
}
NARROW = {np.int8, np.int16, np.uint8}
ELEMENTS = {
    # Whole numbers this large are refused, as they may not be what was meant.
    np.float32: st.floats(width=32).filter(lambda value: not abs(value) >= 2**24 or math.isinf(value)),
    np.float64: st.floats().filter(lambda value: not abs(value) >= 2**53 or math.isinf(value)),
}
PREDICT_BODIES = st.sampled_from(
    [
        b'{"signature_name": "s", "instances": [[1.0, -2e3, NaN], [3, Infinity, 0]]}',
        b'{"instances": [{"x": [true, null], "b": {"b64": "aGk="}}, {"x": "\\ud83d\\ude00\\n", "b": 1}]}',
        b'{"inputs": {"x": [[1], [2, 3]]}, "examples": [{"x": [1, "a"]}, {"x": {"b64": ""}}]}',
        b'{"context": {"a": 1.5}, "examples": [{"x": 18446744073709551615}, {"x": [[]]}], "inputs": 1e400}',
    ]
)


@given(
    hnp.arrays(np.float32, SHAPES | hnp.array_shapes(min_dims=1, max_dims=1, min_side=30, max_side=300))
    | hnp.arrays(np.float64, SHAPES | hnp.array_shapes(min_dims=1, max_dims=1, min_side=30, max_side=300))
)
def test_floats_are_printed_with_six_digits_or_as_many_as_bring_them_back(array):
    dtype = array.dtype.type
    for got, value in zip(decimals(array), array.ravel(), strict=True):
        if not np.isfinite(value):
            assert got == {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}[str(value)]
            continue
        expected = f"{value:g}" if dtype(f"{value:g}") == value else f"{value:.{9 if dtype is np.float32 else 17}g}"
        assert got == expected + ("" if "." in expected or "e" in expected else ".0")
        assert dtype(got) == value


@given(st.data(), st.sampled_from(sorted(NUMERIC)), st.sampled_from(Format))
def test_answers_come_back_as_requests(data, enum, layout):
    dtype = NUMERIC[enum]
    shapes = SHAPES if layout is Format.COLUMN else hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=4)
    array = data.draw(hnp.arrays(dtype, shapes, elements=ELEMENTS.get(dtype)))
    if layout is Format.ROW and not len(array):
        return
    answer = json.loads(predict_response({"y": array}, layout))
    [values] = answer.values()
    signature = meta_graph_pb2.SignatureDef()
    signature.inputs["x"].dtype = enum
    back = parse_predict_request(json.dumps({layout.value: values}).encode()).read(signature)["x"]
    # A size of nothing hides the dimensions inside it.
    shape = array.shape[: array.shape.index(0) + 1] if 0 in array.shape else array.shape
    assert (back.dtype, back.shape) == (array.dtype, shape)
    np.testing.assert_array_equal(back, array.reshape(shape))


@given(hnp.arrays(np.object_, hnp.array_shapes(min_dims=1, max_dims=3, max_side=3), elements=st.binary()))
def test_bytes_come_back_whether_as_text_or_base64(array):
    body = predict_response({"s": array, "s_bytes": array}, Format.ROW)
    for row, expected in zip(parse_object(body)["predictions"], array, strict=True):
        for name in ("s", "s_bytes"):
            np.testing.assert_array_equal(to_array(row[name], types_pb2.DT_STRING), np.array(expected, object))


@given(hnp.arrays(np.float32, SHAPES), hnp.arrays(np.int64, SHAPES))
def test_rows_are_the_columns_turned(first, second):
    outputs = {"a": first, "b": second}
    if not first.ndim or not second.ndim or len(first) != len(second) or not len(first):
        with pytest.raises(ServingError, match=r"batch size|shape information"):
            predict_response(outputs, Format.ROW)
        return
    rows = json.loads(predict_response(outputs, Format.ROW))["predictions"]
    columns = json.loads(predict_response(outputs, Format.COLUMN))["outputs"]
    assert repr(rows) == repr([{"a": a, "b": b} for a, b in zip(columns["a"], columns["b"], strict=True)])


@given(st.lists(JSON, max_size=3) | JSON, st.sampled_from([*sorted(NUMERIC), types_pb2.DT_STRING, types_pb2.DT_HALF]))
def test_any_value_is_converted_like_the_reference_or_refused(value, enum):
    try:
        array = to_array(value, enum)
    except ServingError as error:
        assert error.message
        return
    except NumberTooBigError:
        # Only the parser may call a number infinite.
        assert any(isinstance(leaf, (int, float)) and abs(leaf) > 1.7e308 for leaf in leaves(value))
        return
    flat = list(array.ravel())
    assert len(flat) == len(leaves(value))
    for got, leaf in zip(flat, leaves(value), strict=True):
        if enum == types_pb2.DT_STRING:
            assert got == (leaf.encode() if isinstance(leaf, str) else base64.b64decode(leaf["b64"] + "=="))
        else:
            dtype = NUMERIC[enum]
            assert type(leaf) is not bool or enum == types_pb2.DT_BOOL
            expected = np.array(leaf, np.int32).astype(dtype) if dtype in NARROW else dtype(leaf)
            assert got == expected or (np.isnan(got) and np.isnan(expected))


def leaves(value) -> list:
    return [leaf for item in value for leaf in leaves(item)] if isinstance(value, list) else [value]


@st.composite
def mutated(draw, bodies=PREDICT_BODIES):
    body = bytearray(draw(bodies))
    for _ in range(draw(st.integers(0, 3))):
        start = draw(st.integers(0, len(body)))
        pieces = st.sampled_from(
            [b"", b'"', b"[", b"]", b"{", b"}", b",", b"\\ud800", b"\xff", b"\0", b"1e999", b"Inf"]
        )
        body[start : start + draw(st.integers(0, 4))] = draw(pieces | st.binary(max_size=3))
    return bytes(body)


@given(
    st.binary() | JSON.map(lambda value: json.dumps(value).encode()) | mutated(),
    st.sampled_from([*sorted(NUMERIC), types_pb2.DT_STRING, types_pb2.DT_HALF]),
)
@example(b'{"instances": [{"x": 1, "\xff": 2}]}', types_pb2.DT_FLOAT)
@example(b'{"examples": [{"\xff": 2}]}', types_pb2.DT_FLOAT)
@example(b'{"signature_name": "\xff", "examples": [{}]}', types_pb2.DT_FLOAT)
@example(b'{"inputs": ' + b"9" * 5000 + b"}", types_pb2.DT_INT32)
def test_no_body_does_worse_than_being_refused(body, enum):
    signature = meta_graph_pb2.SignatureDef()
    signature.inputs["x"].dtype = enum
    for parse in (
        lambda: parse_predict_request(body).read(signature),
        lambda: parse_examples_request(body).input.SerializeToString(),
    ):
        try:
            parse()
        except ServingError as error:
            assert error.code.http_status in (400, 501)
            assert error.message


@pytest.mark.parametrize(("dtype", "name"), [(np.float16, "half"), (ml_dtypes.bfloat16, "bfloat16")])
def test_half_precision_has_no_json_form(dtype, name):
    with pytest.raises(ServingError, match=f"^INVALID_ARGUMENT: Failed to write JSON value for tensor type: {name}$"):
        predict_response({"y": np.array([0.5, 3], dtype)}, Format.COLUMN)
    assert json.loads(predict_response({"y": np.zeros((2, 0), dtype)}, Format.ROW)) == {"predictions": [[], []]}
