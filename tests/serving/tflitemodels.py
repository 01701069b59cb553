"""Small TensorFlow Lite models, converted where a test wants them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import tensorflow as tf
from flatbuffers import flexbuffers
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow.lite.python import schema_py_generated as schema
from tensorflow.lite.tools import flatbuffer_utils

FILE = "model.tflite"


class Small(tf.Module):
    """One function for each thing a server has to carry."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def half_plus_two(self, x):
        return {"y": x / 2 + 2}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def column(self, text):
        return {"column": tf.reshape(text, [-1, 1])}

    @tf.function(
        input_signature=[tf.TensorSpec([None], tf.float32, name="x"), tf.TensorSpec([None], tf.int64, name="n")]
    )
    def product(self, x, n):
        return {"product": x * tf.cast(n, tf.float32), "next": n + 1}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float64, name="x")])
    def doubles(self, x):
        return {"y": tf.cast(x, tf.float32)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def reversed_text(self, text):
        return {"y": tf.reverse(text, [0])}


def converted(name: str, *, tensorflow_ops: bool = False) -> bytes:
    """One function of `Small`; its tensors are called `serving_default_x:0` and `PartitionedCall:0`."""
    module = Small()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([getattr(module, name).get_concrete_function()], module)
    if tensorflow_ops:
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS, tf.lite.OpsSet.SELECT_TF_OPS]
    return converter.convert()


def predict_signature(inputs: Mapping[str, str], outputs: Mapping[str, str]) -> meta_graph_pb2.SignatureDef:
    """A predict signature of float32 vectors: tensor names by alias."""
    signature = meta_graph_pb2.SignatureDef(method_name="tensorflow/serving/predict")
    shape = tf.TensorShape([1]).as_proto()
    for infos, names in ((signature.inputs, inputs), (signature.outputs, outputs)):
        for alias, name in names.items():
            infos[alias].CopyFrom(
                meta_graph_pb2.TensorInfo(name=name, dtype=tf.float32.as_datatype_enum, tensor_shape=shape)
            )
    return signature


def with_metadata(content: bytes, payload: bytes) -> bytes:
    """The model with `payload` where TensorFlow Serving looks for signatures."""
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
    buffer, entry = schema.BufferT(), schema.MetadataT()
    buffer.data = list(payload)
    entry.name, entry.buffer = "signature_defs_metadata", len(model.buffers)
    model.buffers.append(buffer)
    model.metadata = [*(model.metadata or []), entry]
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def without_output_numbers(content: bytes) -> bytes:
    """The model with the tensor names that early converters gave: `PartitionedCall` for `PartitionedCall:0`."""
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
    for tensor in model.subgraphs[0].tensors:
        tensor.name = tensor.name.partition(b":")[0]
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def signature_map(signatures: Mapping[str, meta_graph_pb2.SignatureDef]) -> bytes:
    builder = flexbuffers.Builder()
    with builder.Map():
        for name, signature in signatures.items():
            builder.Key(name)
            builder.String(signature.SerializeToString().decode())
    return bytes(builder.Finish())


def write_model(version: Path, content: bytes) -> Path:
    version.mkdir(parents=True, exist_ok=True)
    (version / FILE).write_bytes(content)
    return version
