"""Answers as JSON, in the shapes TensorFlow Serving's REST API has."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from typing import Any

import ml_dtypes
import numpy as np
from google.protobuf import json_format
from google.protobuf.message import Message
from numpy.typing import NDArray

from vitrine_serving.embedded.core import Metadata
from vitrine_serving.embedded.errors import ServingError, invalid_argument
from vitrine_serving.embedded.messages import metadata_response, signature_def_map, status_response
from vitrine_serving.embedded.models.manager import VersionStatus
from vitrine_serving.embedded.rest.json_requests import Format
from vitrine_serving.embedded.rest.shortest import shortest_doubles


def predict_response(outputs: Mapping[str, NDArray[Any]], layout: Format) -> bytes:
    """The answer to a predict request; raises ServingError when the outputs do not fit `layout`."""
    if not outputs:
        raise invalid_argument("Cannot convert empty tensor map to JSON")
    if layout is Format.ROW:
        _check_batch(outputs)
    lists = {name: _to_lists(name, array) for name, array in sorted(outputs.items())}
    if len(lists) == 1:
        [answer] = lists.values()
    elif layout is Format.COLUMN:
        answer = lists
    else:
        answer = [dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True)]
    return _dump({"predictions" if layout is Format.ROW else "outputs": answer})


def status_body(statuses: Iterable[VersionStatus]) -> bytes:
    return _dump(_to_dict(status_response(statuses)))


def metadata_body(metadata: Metadata) -> bytes:
    signatures = _to_dict(signature_def_map(metadata))
    spec = _to_dict(metadata_response(metadata).model_spec)
    return _dump({"model_spec": spec, "metadata": {"signature_def": signatures}})


def error_body(error: ServingError) -> bytes:
    return _dump({"error": error.message})


def _check_batch(outputs: Mapping[str, NDArray[Any]]) -> None:
    expected: int | None = None
    for name, array in sorted(outputs.items()):
        if array.ndim == 0:
            raise invalid_argument(f"Tensor name: {name} has no shape information ")
        if expected is not None and len(array) != expected:
            raise invalid_argument(
                f"Tensor name: {name} has inconsistent batch size: {len(array)} expecting: {expected}"
            )
        expected = len(array)


def _to_lists(name: str, array: NDArray[Any]) -> Any:
    if array.dtype == np.object_:
        convert = _as_base64 if name.endswith("_bytes") else _as_text
        converted = np.empty(array.size, np.object_)
        converted[:] = [convert(item) for item in array.ravel()]
        return converted.reshape(array.shape).tolist()
    if array.dtype in (np.float16, ml_dtypes.bfloat16):
        array = array.astype(np.float32)
    if array.dtype == np.float32:
        return shortest_doubles(array).tolist()
    if array.dtype.kind in "fiub":
        return array.tolist()
    raise invalid_argument(f"Failed to write JSON value for tensor type: {array.dtype}")


def _as_base64(value: bytes) -> dict[str, str]:
    return {"b64": base64.b64encode(value).decode("ascii")}


def _as_text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")


def _to_dict(message: Message) -> dict[str, Any]:
    return json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )


def _dump(document: dict[str, Any]) -> bytes:
    text = json.dumps(document, ensure_ascii=False)
    try:
        # Strings that were not UTF-8 go out as the bytes they were.
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        # An error that quotes half a surrogate pair, which JSON can spell and UTF-8 cannot.
        return text.encode("utf-8", "replace")
