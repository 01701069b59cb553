"""JSON predict requests to arrays, with TensorFlow Serving's rules and error texts.

Whole arrays are checked and converted at a time; only a request that is refused is walked value by
value, to name the value at fault.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray
from tensorflow.core.protobuf import meta_graph_pb2

from vitrine_serving.embedded.errors import ServingError, invalid_argument
from vitrine_serving.embedded.rest.codec.arrays import to_array
from vitrine_serving.embedded.rest.codec.faults import find_fault, first_suspect
from vitrine_serving.embedded.rest.codec.parser import (
    NumberTooBigError,
    number_too_big,
    parse_object,
    parse_signature_name,
)
from vitrine_serving.embedded.rest.codec.quotes import quote
from vitrine_serving.embedded.rest.codec.strings import is_base64_object
from vitrine_serving.embedded.rest.codec.values import dense_shape, flat_array

TensorInfos = Mapping[str, meta_graph_pb2.TensorInfo]


class Format(enum.Enum):
    """How a request lays out its tensors, and so how the answer does."""

    ROW = "instances"
    COLUMN = "inputs"


@dataclass(frozen=True)
class PredictRequest:
    """A request whose `signature_name` is known and whose tensors still wait for the signature's types."""

    signature_name: str
    document: dict[str, Any]
    body: bytes

    @property
    def format(self) -> Format:
        return Format.ROW if Format.ROW.value in self.document else Format.COLUMN

    def read(self, signature: meta_graph_pb2.SignatureDef) -> dict[str, NDArray[Any]]:
        """The input arrays; raises ServingError INVALID_ARGUMENT or UNIMPLEMENTED.

        TensorFlow Serving looks at the rest of a request only once it has found the signature.
        """
        infos = dict(signature.inputs)
        if not infos:
            raise invalid_argument(f"Failed to get input map for signature: {self.signature_name or 'DEFAULT'}")
        try:
            if Format.ROW.value in self.document:
                return _from_rows(self._rows(), infos)
            if Format.COLUMN.value in self.document:
                return _from_columns(self.document[Format.COLUMN.value], infos)
        except NumberTooBigError:
            raise number_too_big(self.body) from None
        raise invalid_argument("Missing 'inputs' or 'instances' key")

    def _rows(self) -> list[Any]:
        if Format.COLUMN.value in self.document:
            raise self._malformed(
                "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist "
            )
        rows = self.document[Format.ROW.value]
        if not isinstance(rows, list):
            raise self._malformed("Excepting 'instances' to be an list/array")
        if not rows:
            raise self._malformed("No values in 'instances' array")
        return rows

    def _malformed(self, reason: str) -> ServingError:
        return invalid_argument(f"JSON Value: {quote(self.document)} {reason}")


def parse_predict_request(body: bytes) -> PredictRequest:
    """Parse the body of a `:predict` call; raises ServingError INVALID_ARGUMENT."""
    document = parse_object(body)
    return PredictRequest(parse_signature_name(document), document, body)


def _is_row_object(value: Any) -> bool:
    return isinstance(value, dict) and not is_base64_object(value)


def _from_rows(rows: list[Any], infos: TensorInfos) -> dict[str, NDArray[Any]]:
    if not isinstance(rows[0], dict) and len(infos) > 1:
        raise invalid_argument(
            "instances is a plain list, but expecting list of objects as multiple "
            "input tensors required as per tensorinfo_map"
        )
    try:
        if not _is_row_object(rows[0]):
            name = min(infos)
            return {name: to_array(rows, infos[name].dtype)}
        if all(_is_row_object(row) and row.keys() == infos.keys() for row in rows):
            return {name: to_array([row[name] for row in rows], infos[name].dtype) for name in infos}
    except ServingError as error:
        raise (_find_row_fault(rows, infos) or error) from None
    raise _find_row_fault(rows, infos) or invalid_argument("Malformed 'instances' list")


def _find_row_fault(rows: list[Any], infos: TensorInfos) -> ServingError | None:
    """The first fault in `rows`, in TensorFlow Serving's words."""
    are_objects = _is_row_object(rows[0])
    # The shapes every row must have: those of the first.
    shapes: dict[str, tuple[int, ...]] = {}

    def members(row: Any) -> dict[str, Any]:
        return row if are_objects else {min(infos): row}

    def is_good(block: list[Any]) -> bool:
        if are_objects and not all(_is_row_object(row) and row.keys() == infos.keys() for row in block):
            return False
        return all(
            flat_array([row[name] for row in block] if are_objects else block, (len(block), *shape), infos[name].dtype)
            is not None
            for name, shape in shapes.items()
        )

    def find_fault_at(number: int) -> ServingError | None:
        row = rows[number]
        where = f"Failed to process element: {number}"
        if _is_row_object(row) != are_objects:
            wanted, got = ("object", "list") if are_objects else ("value/list", "object")
            return invalid_argument(f"Expecting {wanted} but got {got} at item {number} of input list")
        for name, item in members(row).items():
            fault = _find_item_fault(item, name, infos, shapes)
            if fault is not None:
                key = f" key: {name}" if are_objects else ""
                return invalid_argument(f"{where}{key} of 'instances' list. Error: {fault}")
        if are_objects and row.keys() != infos.keys():
            return invalid_argument(
                f"{where} of 'instances' list. JSON object: {quote(row)} "
                f"keys must be equal to: {','.join(sorted(infos))}"
            )
        return None

    first_fault = find_fault_at(0)
    if first_fault is not None:
        return first_fault
    suspects = range(first_suspect(rows, is_good), len(rows))
    return next((fault for number in suspects if (fault := find_fault_at(number)) is not None), None)


def _find_item_fault(
    item: Any, name: str, infos: TensorInfos, shapes: dict[str, tuple[int, ...]]
) -> ServingError | None:
    if name not in infos:
        return invalid_argument(f"JSON object: does not have named input: {name}")
    fault = find_fault(item, infos[name].dtype)
    if fault is not None:
        return fault
    shape = dense_shape(item)
    first = shapes.setdefault(name, shape)
    if math.prod(shape) != math.prod(first):
        return invalid_argument(f"Expecting tensor size: {math.prod(first)} but got: {math.prod(shape)}")
    if shape != first:
        return invalid_argument(f"Expecting shape {_shape_text(first)} but got: {_shape_text(shape)}")
    return None


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


def _shape_text(shape: tuple[int, ...]) -> str:
    return "[" + ",".join(map(str, shape)) + "]"
