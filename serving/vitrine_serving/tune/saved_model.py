"""The part of TensorFlow's SavedModel message that leads to the attributes of nodes, without TensorFlow.

To import TensorFlow takes seconds and half a gigabyte, beside the servers that are measured. What is not declared here
is kept as it is when a message is written again. Names and numbers are those of tensorflow/core.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2

from vitrine_serving.config.messages import PACKAGE, message_class, new_file

_KINDS = descriptor_pb2.FieldDescriptorProto
# By message: name, number, type (a scalar or a message), and whether there may be several.
_MESSAGES: dict[str, tuple[tuple[str, int, int | str, bool], ...]] = {
    "SavedModel": (("meta_graphs", 2, "MetaGraphDef", True),),
    "MetaGraphDef": (("graph_def", 2, "GraphDef", False),),
    "GraphDef": (("node", 1, "NodeDef", True), ("library", 2, "FunctionDefLibrary", False)),
    "FunctionDefLibrary": (("function", 1, "FunctionDef", True),),
    "FunctionDef": (("node_def", 3, "NodeDef", True),),
    "NodeDef": (("op", 2, _KINDS.TYPE_STRING, False), ("attr", 5, "NodeDef.AttrEntry", True)),
    "AttrValue": (
        ("list", 1, "ListValue", False),
        ("s", 2, _KINDS.TYPE_BYTES, False),
        ("i", 3, _KINDS.TYPE_INT64, False),
        ("b", 5, _KINDS.TYPE_BOOL, False),
    ),
    "ListValue": (("i", 3, _KINDS.TYPE_INT64, True),),
}
_ATTR_ENTRY = (("key", 1, _KINDS.TYPE_STRING, False), ("value", 2, "AttrValue", False))


def _saved_model() -> Any:
    file = new_file()
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        _add_fields(message, fields)
        if name == "NodeDef":
            entry = message.nested_type.add(name="AttrEntry")
            _add_fields(entry, _ATTR_ENTRY)
            entry.options.map_entry = True
        if name == "AttrValue":
            # Known to be of a oneof, 0 and false are written, too.
            message.oneof_decl.add(name="value")
            for field in message.field:
                field.oneof_index = 0
    return message_class(file, "SavedModel")


def _add_fields(message: descriptor_pb2.DescriptorProto, fields: tuple[tuple[str, int, int | str, bool], ...]) -> None:
    for name, number, kind, several in fields:
        label = _KINDS.LABEL_REPEATED if several else _KINDS.LABEL_OPTIONAL
        field = message.field.add(name=name, number=number, label=label)
        if isinstance(kind, str):
            field.type, field.type_name = _KINDS.TYPE_MESSAGE, f".{PACKAGE}.{kind}"
        else:
            field.type = kind  # type: ignore[assignment]


SavedModel = _saved_model()
