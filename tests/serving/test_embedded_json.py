"""The JSON codec against straightforward references, on anything hypothesis thinks of."""

from __future__ import annotations

import base64
import json
import math

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tensorflow.core.framework import types_pb2

from vitrine_serving.embedded.errors import ServingError
from vitrine_serving.embedded.rest.json_arrays import to_array
from vitrine_serving.embedded.rest.json_requests import Format, parse_predict_request
from vitrine_serving.embedded.rest.json_responses import predict_response
from vitrine_serving.embedded.rest.shortest import shortest_doubles

SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["b64", "x"]) | st.text(), inner),
)
NUMERIC = {
    types_pb2.DT_FLOAT: np.float32,
    types_pb2.DT_DOUBLE: np.float64,
    types_pb2.DT_INT8: np.int8,
    types_pb2.DT_INT32: np.int32,
    types_pb2.DT_INT64: np.int64,
    types_pb2.DT_UINT8: np.uint8,
    types_pb2.DT_UINT64: np.uint64,
    types_pb2.DT_BOOL: np.bool_,
}


@given(hnp.arrays(np.float32, SHAPES | hnp.array_shapes(min_dims=1, max_dims=1, min_side=50, max_side=300)))
def test_float32_is_printed_by_its_shortest_decimal(array):
    short = shortest_doubles(array)
    for got, value in zip(short.ravel(), array.ravel(), strict=True):
        if math.isfinite(value):
            assert repr(float(got)) == repr(float(np.format_float_scientific(value)))
    np.testing.assert_array_equal(short.astype(np.float32), array)


@given(st.data(), st.sampled_from(sorted(NUMERIC)))
def test_columns_come_back_as_they_went_out(data, enum):
    array = data.draw(hnp.arrays(NUMERIC[enum], SHAPES))
    text = predict_response({"y": array}, Format.COLUMN)
    back = to_array(json.loads(text)["outputs"], enum)
    # A size of nothing hides the dimensions inside it.
    shape = array.shape[: array.shape.index(0) + 1] if 0 in array.shape else array.shape
    assert (back.dtype, back.shape) == (array.dtype, shape)
    np.testing.assert_array_equal(back, array.reshape(shape))


@given(hnp.arrays(np.object_, hnp.array_shapes(min_dims=1, max_dims=3, max_side=3), elements=st.binary()))
def test_bytes_come_back_whether_as_text_or_base64(array):
    answer = json.loads(predict_response({"s": array, "s_bytes": array}, Format.ROW).decode("utf-8", "surrogateescape"))
    for row, expected in zip(answer["predictions"], array, strict=True):
        for name in ("s", "s_bytes"):
            np.testing.assert_array_equal(to_array(row[name], types_pb2.DT_STRING), np.array(expected, object))


@given(hnp.arrays(np.float32, SHAPES), hnp.arrays(np.int64, SHAPES))
def test_rows_are_the_columns_turned(first, second):
    outputs = {"a": first, "b": second}
    if not first.ndim or not second.ndim or len(first) != len(second):
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
    flat = list(array.ravel())
    assert len(flat) == len(leaves(value))
    for got, leaf in zip(flat, leaves(value), strict=True):
        if enum == types_pb2.DT_STRING:
            assert got == (leaf.encode() if isinstance(leaf, str) else base64.b64decode(leaf["b64"] + "=="))
        else:
            assert type(leaf) is not bool or enum == types_pb2.DT_BOOL
            expected = NUMERIC[enum](leaf)
            assert got == expected or (np.isnan(got) and np.isnan(expected))


def leaves(value) -> list:
    return [leaf for item in value for leaf in leaves(item)] if isinstance(value, list) else [value]


@given(st.binary() | JSON.map(lambda value: json.dumps(value).encode()))
def test_no_body_does_worse_than_being_refused(body):
    with pytest.raises(ServingError) as raised:
        parse_predict_request(body)
    assert raised.value.message


def test_half_precision_is_printed_as_the_numbers_it_holds():
    for dtype in (np.float16, ml_dtypes.bfloat16):
        assert predict_response({"y": np.array([0.5, 3], dtype)}, Format.COLUMN) == b'{"outputs": [0.5, 3.0]}'
