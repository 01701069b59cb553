"""The bytes of REST answers: number formats, line breaks and escapes are part of what clients compare."""

from __future__ import annotations

import json
import textwrap

import numpy as np
import pytest
from tensorflow_serving.apis import classification_pb2, regression_pb2

from vitrine_serving.embedded.errors import ServingError, invalid_argument
from vitrine_serving.embedded.rest.codec.requests import Format
from vitrine_serving.embedded.rest.codec.responses import (
    classification_response,
    error_body,
    predict_response,
    regression_response,
)


def strings(*values):
    array = np.empty(len(values), np.object_)
    array[:] = values
    return array


def text(body: bytes) -> str:
    return body.decode()


def laid_out(expected: str) -> str:
    return textwrap.dedent(expected).strip("\n")


def test_rows_of_one_output_share_a_line():
    values = np.array([[[0, 0.5]], [[1, 1.5]]], np.float32)
    assert text(predict_response({"y": values}, Format.ROW)) == laid_out("""
        {
            "predictions": [[[0.0, 0.5]], [[1.0, 1.5]]
            ]
        }
    """)


def test_rows_of_several_outputs_are_objects():
    outputs = {"n": np.array([[1, 2], [3, 4]]), "a_bytes": strings(b"hi", b"\xff")}
    assert text(predict_response(outputs, Format.ROW)) == laid_out("""
        {
            "predictions": [
                {
                    "a_bytes": {
                        "b64": "aGk="
                    },
                    "n": [1, 2]
                },
                {
                    "a_bytes": {
                        "b64": "/w=="
                    },
                    "n": [3, 4]
                }
            ]
        }
    """)


def test_columns_have_a_line_for_each_value():
    assert text(predict_response({"y": np.array([[1], [2]])}, Format.COLUMN)) == laid_out("""
        {
            "outputs": [
                [
                    1
                ],
                [
                    2
                ]
            ]
        }
    """)
    outputs = {"flag": np.array(True), "none": np.zeros((2, 0)), "s": strings(b"x")}
    assert text(predict_response(outputs, Format.COLUMN)) == laid_out("""
        {
            "outputs": {
                "flag": true,
                "none": [
                    [],
                    []
                ],
                "s": [
                    "x"
                ]
            }
        }
    """)


@pytest.mark.parametrize(
    ("dtype", "value", "expected"),
    [
        (np.float32, 9000000, "9e+06"),
        (np.float32, 999999, "999999.0"),
        (np.float32, 1234567, "1234567.0"),
        (np.float32, 0.5, "0.5"),
        (np.float32, 0.00003, "3e-05"),
        (np.float32, 555557.5, "555557.5"),
        (np.float32, 0.2, "0.2"),
        (np.float32, 1 / 3, "0.333333343"),
        (np.float32, -0.0, "-0.0"),
        (np.float32, 3.4028235e38, "3.40282347e+38"),
        (np.float64, 0.2, "0.2"),
        (np.float64, 1 / 3, "0.33333333333333331"),
        (np.float64, 5e-324, "4.94066e-324"),
        (np.float64, 123456789012, "123456789012.0"),
        (np.float32, np.nan, "NaN"),
        (np.float64, np.inf, "Infinity"),
        (np.float32, -np.inf, "-Infinity"),
        (np.int8, -128, "-128"),
        (np.uint32, 2**32 - 1, "4294967295"),
        (np.int64, -(2**63), "-9223372036854775808"),
        (np.uint64, 2**64 - 1, "18446744073709551615"),
        (np.bool_, False, "false"),
    ],
)
def test_numbers_are_written_like_tensorflow_serving_does(dtype, value, expected):
    assert text(predict_response({"y": np.array(value, dtype)}, Format.COLUMN)) == f'{{\n    "outputs": {expected}\n}}'
    many = np.full(100, value, dtype)
    assert text(predict_response({"y": many}, Format.ROW)).count(expected) == 100


def test_strings_are_escaped_and_other_bytes_left_alone():
    body = predict_response({"y": strings('é"\\/\b\f\n\r\t\x1f\x7f'.encode() + b"\xff")}, Format.COLUMN)
    assert b'"\xc3\xa9\\"\\\\/\\b\\f\\n\\r\\t\\u001F\x7f\xff"' in body


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ({}, "empty tensor map"),
        ({"y": np.zeros(2, np.complex64)}, "tensor type: complex64"),
        ({"y": np.zeros(2, np.uint16)}, "tensor type: uint16"),
        ({"y": np.array(1)}, "Tensor name: y has no shape information"),
        ({"a": np.zeros(2), "b": np.zeros(1)}, "Tensor name: b has inconsistent batch size: 1 expecting: 2"),
        ({"a": np.zeros((0, 1, 2))}, "Tensor name: a has invalid batch size: 0"),
    ],
)
def test_outputs_that_are_no_rows(outputs, message):
    with pytest.raises(ServingError, match=message) as raised:
        predict_response(outputs, Format.ROW)
    assert raised.value.code.http_status == 400


def test_classification_answers():
    result = classification_pb2.ClassificationResult()
    result.classifications.add().classes.add(label='"é"', score=0.2)
    result.classifications[0].classes.add(score=1)
    result.classifications.add()
    assert text(classification_response(result)) == laid_out("""
        {
            "results": [[["\\"é\\"", 0.2], ["", 1.0]], []
            ]
        }
    """)
    with pytest.raises(ServingError, match="empty ClassificationResults"):
        classification_response(classification_pb2.ClassificationResult())


def test_regression_answers():
    result = regression_pb2.RegressionResult()
    for value in (0.2, np.inf, 1, -np.inf, np.nan):
        result.regressions.add(value=value)
    assert text(regression_response(result)) == laid_out("""
        {
            "results": [0.2, Infinity, 1.0, -Infinity, NaN]
        }
    """)
    with pytest.raises(ServingError, match="empty RegressionResults"):
        regression_response(regression_pb2.RegressionResult())


def test_errors_are_an_object_of_one_string():
    assert text(error_body(invalid_argument('Bad key: "key"'))) == '{\n    "error": "Bad key: \\"key\\""\n}'
    assert json.loads(error_body(invalid_argument("half a pair: \ud800"))) == {"error": "half a pair: ?"}
