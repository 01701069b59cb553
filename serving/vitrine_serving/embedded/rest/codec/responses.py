"""Answers as JSON, in the shapes TensorFlow Serving's REST API has."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from google.protobuf import json_format
from google.protobuf.message import Message
from numpy.typing import NDArray
from tensorflow_serving.apis import classification_pb2, regression_pb2

from vitrine_serving.embedded.core import Metadata
from vitrine_serving.embedded.errors import ServingError, invalid_argument
from vitrine_serving.embedded.inference.tensors import type_name
from vitrine_serving.embedded.messages import metadata_response, signature_def_map, status_response
from vitrine_serving.embedded.models.version import VersionStatus
from vitrine_serving.embedded.rest.codec.decimals import decimal, decimals
from vitrine_serving.embedded.rest.codec.layout import indent, members, nest, string
from vitrine_serving.embedded.rest.codec.requests import Format

_INTEGERS = (np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint32, np.uint64)


def predict_response(outputs: Mapping[str, NDArray[Any]], layout: Format) -> bytes:
    """The answer to a predict request; raises ServingError when the outputs do not fit `layout`."""
    if not outputs:
        raise invalid_argument("Cannot convert empty tensor map to JSON")
    if layout is Format.ROW:
        return _body("predictions", _rows(outputs))
    return _body("outputs", _columns(outputs))


def classification_response(result: classification_pb2.ClassificationResult) -> bytes:
    """The answer to a classify request: a list of [label, score] for each example.

    Raises ServingError INVALID_ARGUMENT for a result without classifications.
    """
    if not result.classifications:
        raise invalid_argument("Cannot convert empty ClassificationResults to JSON")
    examples = []
    for classifications in result.classifications:
        pairs = [f"[{string(one.label)}, {decimal(one.score, np.float32)}]" for one in classifications.classes]
        examples.append(f"[{', '.join(pairs)}]")
    return _body("results", _list_of_lists(examples))


def regression_response(result: regression_pb2.RegressionResult) -> bytes:
    """The answer to a regress request: a value for each example.

    Raises ServingError INVALID_ARGUMENT for a result without regressions.
    """
    if not result.regressions:
        raise invalid_argument("Cannot convert empty RegressionResults to JSON")
    values = np.array([regression.value for regression in result.regressions], np.float32)
    return _body("results", f"[{', '.join(decimals(values))}]")


def status_body(statuses: Iterable[VersionStatus]) -> bytes:
    return _encode(_message(status_response(statuses)))


def metadata_body(metadata: Metadata) -> bytes:
    spec = _message(metadata_response(metadata).model_spec)
    signatures = _message(signature_def_map(metadata))
    return _encode(f'{{\n"model_spec":{spec},\n"metadata": {{"signature_def": {signatures}}}\n}}\n')


def error_body(error: ServingError) -> bytes:
    return _body("error", string(error.message))


def _rows(outputs: Mapping[str, NDArray[Any]]) -> str:
    _check_batch(outputs)
    is_single = len(outputs) == 1
    depth = 2 if is_single else 3
    rows = {
        name: nest(_texts(name, array, depth + array.ndim - 1), array.shape, depth, one_line=True, kept=1)
        for name, array in sorted(outputs.items())
    }
    if is_single:
        [texts] = rows.values()
        return _list_of_lists(texts)
    objects = [members(zip(rows, row, strict=True), 2) for row in zip(*rows.values(), strict=True)]
    [text] = nest(objects, (len(objects),), 1, one_line=False)
    return text


def _columns(outputs: Mapping[str, NDArray[Any]]) -> str:
    depth = 1 if len(outputs) == 1 else 2
    columns = {}
    for name, array in sorted(outputs.items()):
        [columns[name]] = nest(_texts(name, array, depth + array.ndim), array.shape, depth, one_line=False)
    if len(columns) == 1:
        return columns.popitem()[1]
    return members(columns.items(), 1)


def _check_batch(outputs: Mapping[str, NDArray[Any]]) -> None:
    expected: int | None = None
    for name, array in sorted(outputs.items()):
        if array.ndim == 0:
            raise invalid_argument(f"Tensor name: {name} has no shape information ")
        if not len(array):
            raise invalid_argument(f"Tensor name: {name} has invalid batch size: 0")
        if expected is not None and len(array) != expected:
            raise invalid_argument(
                f"Tensor name: {name} has inconsistent batch size: {len(array)} expecting: {expected}"
            )
        expected = len(array)


def _texts(name: str, array: NDArray[Any], depth: int) -> list[str]:
    """Each value of `array` as JSON; `depth` is how many lists and objects it is to be in."""
    kind = array.dtype.kind
    if kind == "O":
        if name.endswith("_bytes"):
            return [members([("b64", f'"{base64.b64encode(item).decode()}"')], depth) for item in array.ravel()]
        return [string(item.decode("utf-8", "surrogateescape")) for item in array.ravel()]
    if kind == "f" and array.dtype in (np.float32, np.float64):
        return decimals(array)
    if kind in "iu" and array.dtype in _INTEGERS:
        return list(map(str, array.ravel().tolist()))
    if kind == "b":
        return ["true" if item else "false" for item in array.ravel().tolist()]
    if not array.size:
        return []
    # Like TensorFlow Serving, for half and bfloat16 too.
    raise invalid_argument(f"Failed to write JSON value for tensor type: {type_name(array.dtype)}")


def _list_of_lists(texts: Iterable[str]) -> str:
    """The texts in a list that ends on a line of its own, though they are all on one."""
    inside = ", ".join(texts)
    return f"[{inside}\n{indent(1)}]" if inside else "[]"


def _body(key: str, text: str) -> bytes:
    return _encode(f'{{\n{indent(1)}"{key}": {text}\n}}')


def _message(message: Message) -> str:
    document = json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def _encode(text: str) -> bytes:
    try:
        # Strings that were not UTF-8 go out as the bytes they were.
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        # An error that quotes half a surrogate pair, which JSON can spell and UTF-8 cannot.
        return text.encode("utf-8", "replace")
