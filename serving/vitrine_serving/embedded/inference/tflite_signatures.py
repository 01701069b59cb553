"""Reads the SignatureDefs that TensorFlow Serving looks for in the metadata of a TensorFlow Lite model."""

from __future__ import annotations

from flatbuffers import flexbuffers  # type: ignore[import-untyped]
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow.lite.python import schema_py_generated as schema

from vitrine_serving.embedded.errors import invalid_argument

_METADATA_NAME = b"signature_defs_metadata"


def embedded_signatures(content: bytes) -> dict[str, meta_graph_pb2.SignatureDef]:
    """The signatures by name that the flatbuffer `content`, a valid model, has in its metadata; mostly none.

    The signatures of the TensorFlow Lite schema itself, which today's converter writes, are other ones: as
    in TensorFlow Serving they do not count. Raises ServingError INVALID_ARGUMENT for broken metadata.
    """
    model = schema.Model.GetRootAs(content)
    entries = [model.Metadata(index) for index in range(model.MetadataLength())]
    buffers = [entry.Buffer() for entry in entries if entry.Name() == _METADATA_NAME]
    if not buffers:
        return {}
    try:
        signatures = flexbuffers.GetRoot(model.Buffers(buffers[0]).DataAsNumpy().tobytes()).AsMap
        return {
            key.AsKey: meta_graph_pb2.SignatureDef.FromString(value.AsStringBytes)
            for key, value in zip(signatures.Keys, signatures.Values, strict=True)
        }
    except Exception as error:
        # The reader checks nothing: what is broken shows as whatever exception it runs into.
        raise invalid_argument(f"Invalid SignatureDefs found in TfLite model: {error}") from error
