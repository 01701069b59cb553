"""JSON predict requests to arrays, with TensorFlow Serving's rules and error texts.

Whole arrays are checked and converted at a time; only a request that is refused is walked value by
value, to name the value at fault.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tensorflow.core.protobuf import meta_graph_pb2

from vitrine_serving.embedded.errors import ServingError, invalid_argument
from vitrine_serving.embedded.rest.json_arrays import is_base64_object, shorten, to_array

TensorInfos = Mapping[str, meta_graph_pb2.TensorInfo]


class Format(enum.Enum):
    """How a request lays out its tensors, and so how the answer does."""

    ROW = "instances"
    COLUMN = "inputs"


@dataclass(frozen=True)
class PredictRequest:
    """A parsed request whose values still wait for the signature's types."""

    signature_name: str
    format: Format
    values: Any

    def read(self, signature: meta_graph_pb2.SignatureDef) -> dict[str, NDArray[Any]]:
        """The input arrays; raises ServingError INVALID_ARGUMENT or UNIMPLEMENTED."""
        if not signature.inputs:
            raise invalid_argument(f"Failed to get input map for signature: {self.signature_name or 'DEFAULT'}")
        if self.format is Format.ROW:
            return _from_rows(self.values, signature.inputs)
        return _from_columns(self.values, signature.inputs)


def parse_predict_request(body: bytes) -> PredictRequest:
    """Parse the body of a `:predict` call; raises ServingError INVALID_ARGUMENT."""
    document = parse_object(body)
    signature_name = document.get("signature_name", "")
    if not isinstance(signature_name, str):
        raise invalid_argument(
            f"JSON Value: {shorten(document)} not formatted correctly. 'signature_name' key must be a string value."
        )
    if "instances" in document and "inputs" in document:
        raise invalid_argument(
            f"JSON Value: {shorten(document)} Not formatted correctly expecting only one of "
            "'inputs' or 'instances' keys to exist "
        )
    if "instances" in document:
        rows = document["instances"]
        if not isinstance(rows, list):
            raise invalid_argument(f"JSON Value: {shorten(document)} Excepting 'instances' to be an list/array")
        if not rows:
            raise invalid_argument(f"JSON Value: {shorten(document)} No values in 'instances' array")
        return PredictRequest(signature_name, Format.ROW, rows)
    if "inputs" in document:
        return PredictRequest(signature_name, Format.COLUMN, document["inputs"])
    raise invalid_argument("Missing 'inputs' or 'instances' key")


def parse_object(body: bytes) -> dict[str, Any]:
    """The JSON object in `body`; raises ServingError INVALID_ARGUMENT.

    Like TensorFlow Serving it takes bare NaN and Infinity, and strings that are not valid UTF-8.
    """
    text = body.decode("utf-8", "surrogateescape").removeprefix("\ufeff")
    if not text:
        raise invalid_argument("JSON Parse error: The document is empty")
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise invalid_argument(f"JSON Parse error: {error.msg} at offset: {error.pos}") from error
    except RecursionError as error:
        raise invalid_argument("JSON Parse error: values are nested too deeply") from error
    except ValueError as error:
        raise invalid_argument(f"JSON Parse error: {error}") from error
    if not isinstance(document, dict):
        raise invalid_argument(f"JSON Value: {shorten(document)} Is not object")
    return document


def _is_row_object(value: Any) -> bool:
    return isinstance(value, dict) and not is_base64_object(value)


def _from_rows(rows: list[Any], infos: TensorInfos) -> dict[str, NDArray[Any]]:
    if not isinstance(rows[0], dict) and len(infos) > 1:
        raise invalid_argument(
            "instances is a plain list, but expecting list of objects as multiple "
            "input tensors required as per tensorinfo_map"
        )
    if not _is_row_object(rows[0]):
        [name] = infos if len(infos) == 1 else [min(infos)]
        return {name: _stack(rows, infos[name].dtype, None)}
    for number, row in enumerate(rows):
        if not _is_row_object(row):
            raise invalid_argument(f"Expecting object but got list at item {number} of input list")
        if row.keys() != infos.keys():
            raise _wrong_keys(number, row, infos)
    return {name: _stack([row[name] for row in rows], infos[name].dtype, name) for name in infos}


def _stack(items: list[Any], dtype: int, key: str | None) -> NDArray[Any]:
    """One array from one item a row; `key` is the items' key in row objects."""
    try:
        return to_array(items, dtype)
    except ServingError as error:
        raise (_explain(items, dtype, key) or error) from None


def _explain(items: list[Any], dtype: int, key: str | None) -> ServingError | None:
    """Which row does not fit, in TensorFlow Serving's words."""
    first: tuple[int, ...] | None = None
    for number, item in enumerate(items):
        if key is None and _is_row_object(item):
            return invalid_argument(f"Expecting value/list but got object at item {number} of input list")
        where = f"Failed to process element: {number}" + (f" key: {key}" if key else "")
        try:
            array = to_array(item, dtype)
            first = array.shape if first is None else first
            if array.size != np.prod(first, dtype=int):
                raise invalid_argument(f"Expecting tensor size: {np.prod(first, dtype=int)} but got: {array.size}")
            if array.shape != first:
                raise invalid_argument(f"Expecting shape {_shape(first)} but got: {_shape(array.shape)}")
        except ServingError as error:
            return ServingError(error.code, f"{where} of 'instances' list. Error: {error}")
    return None


def _wrong_keys(number: int, row: dict[str, Any], infos: TensorInfos) -> ServingError:
    for name in row:
        if name not in infos:
            return invalid_argument(
                f"Failed to process element: {number} key: {name} of 'instances' list. "
                f"Error: INVALID_ARGUMENT: JSON object: does not have named input: {name}"
            )
    return invalid_argument(
        f"Failed to process element: {number} of 'instances' list. JSON object: {shorten(row)} "
        f"keys must be equal to: {','.join(sorted(infos))}"
    )


def _from_columns(values: Any, infos: TensorInfos) -> dict[str, NDArray[Any]]:
    if not isinstance(values, dict) or is_base64_object(values):
        if len(infos) > 1:
            raise invalid_argument(
                "inputs is a plain value/list, but expecting an object as multiple "
                "input tensors required as per tensorinfo_map"
            )
        [name] = infos
        return {name: to_array(values, infos[name].dtype)}
    for name in infos:
        if name not in values:
            raise invalid_argument(f"Missing named input: {name} in 'inputs' object.")
    return {name: to_array(values[name], infos[name].dtype) for name in infos}


def _shape(shape: tuple[int, ...]) -> str:
    return "[" + ",".join(map(str, shape)) + "]"
