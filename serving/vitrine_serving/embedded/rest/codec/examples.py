"""JSON classify and regress requests to tf.Examples, with TensorFlow Serving's rules and error texts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tensorflow.core.example import example_pb2, feature_pb2
from tensorflow.core.framework import types_pb2
from tensorflow_serving.apis import input_pb2

from vitrine_serving.embedded.errors import invalid_argument
from vitrine_serving.embedded.rest.codec.faults import float_fault, json_type
from vitrine_serving.embedded.rest.codec.parser import (
    NumberTooBigError,
    RepeatedMembers,
    number_too_big,
    parse_object,
    parse_signature_name,
)
from vitrine_serving.embedded.rest.codec.quotes import quote
from vitrine_serving.embedded.rest.codec.strings import is_base64_object, to_bytes
from vitrine_serving.embedded.rest.codec.values import is_64_bit

_BYTES, _FLOAT, _INT64 = "bytes", "float", "int64"
_FEATURES: dict[str, Callable[[list[Any]], feature_pb2.Feature]] = {
    _BYTES: lambda values: feature_pb2.Feature(bytes_list=feature_pb2.BytesList(value=values)),
    _FLOAT: lambda values: feature_pb2.Feature(float_list=feature_pb2.FloatList(value=values)),
    _INT64: lambda values: feature_pb2.Feature(int64_list=feature_pb2.Int64List(value=values)),
}


@dataclass(frozen=True)
class ExampleRequest:
    """What a `:classify` or `:regress` call asks; an empty signature name means the default signature."""

    signature_name: str
    input: input_pb2.Input


def parse_examples_request(body: bytes) -> ExampleRequest:
    """Parse the body of a `:classify` or `:regress` call; raises ServingError INVALID_ARGUMENT."""
    document = parse_object(body)
    signature_name = parse_signature_name(document)
    try:
        return ExampleRequest(signature_name, _to_input(document))
    except NumberTooBigError:
        raise number_too_big(body) from None


def _to_input(document: dict[str, Any]) -> input_pb2.Input:
    result = input_pb2.Input()
    examples = result.example_list.examples
    if "context" in document:
        with_context = result.example_list_with_context
        _fill_example(document["context"], with_context.context)
        # A context without features is still a context.
        with_context.context.SetInParent()
        examples = with_context.examples
    for value in _example_values(document):
        _fill_example(value, examples.add())
    return result


def _example_values(document: dict[str, Any]) -> list[Any]:
    # TensorFlow Serving names classify in this message whatever the method.
    if "examples" not in document:
        reason = "When method is classify, key 'examples' is expected and was not found"
    elif not isinstance(document["examples"], list):
        reason = "Expecting 'examples' value to be an list/array"
    elif not document["examples"]:
        reason = "'examples' value is an empty array"
    else:
        return document["examples"]
    raise invalid_argument(f"JSON Value: {quote(document)} {reason}")


def _fill_example(value: Any, example: example_pb2.Example) -> None:
    if not isinstance(value, dict):
        raise invalid_argument(f"Example must be JSON object but got JSON {json_type(value)}")
    # Of a feature given twice the last counts: here each is set, not looked up.
    features = value.last_values if isinstance(value, RepeatedMembers) else value
    for name, content in features.items():
        feature = _to_feature(name, content if isinstance(content, list) else [content])
        try:
            example.features.feature[name].CopyFrom(feature)
        except UnicodeEncodeError:
            raise invalid_argument(f"Feature: {name} has a name that is not UTF-8") from None


def _to_feature(name: str, elements: list[Any]) -> feature_pb2.Feature:
    values: list[Any] = []
    feature_kind: str | None = None
    for element in elements:
        kind = _kind(name, element)
        feature_kind = feature_kind or kind
        if kind != feature_kind:
            raise invalid_argument(f"Unexpected element type in feature: {name} expecting type: {feature_kind}")
        values.append(_element_value(name, element, kind))
    return _FEATURES[feature_kind](values) if feature_kind else feature_pb2.Feature()


def _kind(name: str, element: Any) -> str:
    if isinstance(element, str) or is_base64_object(element):
        return _BYTES
    if isinstance(element, int):
        return _INT64 if is_64_bit(element) else _FLOAT
    if isinstance(element, float):
        return _FLOAT
    raise invalid_argument(f"Feature: {name} has element with unexpected JSON type: {json_type(element)}")


def _element_value(name: str, element: Any, kind: str) -> Any:
    if kind == _BYTES:
        return to_bytes(element)
    if kind == _FLOAT:
        fault = float_fault(element, types_pb2.DT_FLOAT)
        if fault is None:
            return element
        try:
            raise fault
        finally:
            # A frame that its own exception leads back to keeps the whole request until the collector runs.
            del fault
    if element >= 2**63:
        raise invalid_argument(f"Feature: {name} has uint64 element. Only int64 is supported.")
    return int(element)
