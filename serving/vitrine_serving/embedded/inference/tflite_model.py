"""A TensorFlow Lite model served in place of a SavedModel, as TensorFlow Serving's `--prefer_tflite_model` does."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow.core.protobuf import meta_graph_pb2

from vitrine_serving.embedded.errors import Code, ServingError, SignatureNotFoundError
from vitrine_serving.embedded.inference.deadlines import TimeLeft, check_not_expired, unlimited
from vitrine_serving.embedded.inference.graph import PreparedRun, from_op_error
from vitrine_serving.embedded.inference.memory import trim
from vitrine_serving.embedded.inference.saved_model import DEFAULT_SIGNATURE, check_input_names, check_output_names
from vitrine_serving.embedded.inference.tflite_interpreter import Interpreter, ModelTensor
from vitrine_serving.embedded.inference.tflite_signatures import embedded_signatures

FILE = "model.tflite"


class TfLiteModel:
    """A loaded TensorFlow Lite model. Safe to run from many threads at once; `close` only when none does."""

    def __init__(self, content: bytes, interpreters: int = 1) -> None:
        """Serve the flatbuffer `content` with so many runs at once; more wait for their turn.

        Its signatures are those in its metadata; without any, `serving_default` has its tensors by name, up
        to the colon. Raises ServingError INVALID_ARGUMENT for what is no TensorFlow Lite model and INTERNAL
        for one that has operations, types or signatures that cannot be served.
        """
        pool = [Interpreter(content) for _ in range(interpreters)]
        self._inputs, self._outputs = pool[0].inputs, pool[0].outputs
        self.signatures = self._checked(embedded_signatures(content)) or {DEFAULT_SIGNATURE: self._generated()}
        self._pool: queue.LifoQueue[Interpreter] = queue.LifoQueue()
        for interpreter in pool:
            self._pool.put(interpreter)
        # An interpreter keeps the last request's values of inputs that the next one does not feed.
        self._unfed = {tensor.number: _blank(tensor) for tensor in self._inputs.values()}

    def run(
        self,
        signature_name: str,
        inputs: Mapping[str, NDArray[Any]],
        outputs: Sequence[str] | None = None,
        time_left: TimeLeft = unlimited,
    ) -> dict[str, NDArray[Any]]:
        """Run one signature as `SavedModel.run` does, with inputs of whatever shape the model can be resized to.

        Raises ServingError INVALID_ARGUMENT for wrong names and dtypes, INTERNAL for inputs the model cannot
        compute with, DEADLINE_EXCEEDED when its time is up before or after a run.
        """
        signature_name = signature_name or DEFAULT_SIGNATURE
        signature = self.signatures.get(signature_name)
        if signature is None:
            raise SignatureNotFoundError(signature_name)
        check_input_names(signature.inputs, inputs)
        check_output_names(signature.outputs, outputs or ())
        wanted = sorted(outputs or signature.outputs)
        feeds = {signature.inputs[alias].name: value for alias, value in inputs.items()}
        values = self.run_tensors(feeds, [signature.outputs[alias].name for alias in wanted], time_left)
        return dict(zip(wanted, values, strict=True))

    def run_tensors(
        self, feeds: Mapping[str, NDArray[Any]], fetches: Sequence[str], time_left: TimeLeft = unlimited
    ) -> list[NDArray[Any]]:
        """Feed inputs of the model by tensor name (`x` or `x:0`) and fetch outputs, in the order asked for.

        Inputs that are not fed are zeros. Raises ServingError as `run` does, INTERNAL for unknown names.
        """
        names = sorted(feeds)
        fed = [self._input(name) for name in names]
        fetched = [self._output(name) for name in fetches]

        def invoke(values: Sequence[NDArray[Any]], time_left: TimeLeft) -> list[Any]:
            arrays = {**self._unfed, **{tensor.number: value for tensor, value in zip(fed, values, strict=True)}}
            with self._interpreter(time_left) as interpreter:
                return interpreter.invoke(arrays, [tensor.number for tensor in fetched])

        run = PreparedRun(invoke, [tensor.numpy_dtype for tensor in fed], [tensor.numpy_dtype for tensor in fetched])
        results = run([feeds[name] for name in names], time_left)
        check_not_expired(time_left)
        return results

    def close(self) -> None:
        while not self._pool.empty():
            self._pool.get()
        trim()

    @contextmanager
    def _interpreter(self, time_left: TimeLeft) -> Iterator[Interpreter]:
        left = time_left()
        try:
            interpreter = self._pool.get(timeout=None if left is None else min(max(0.0, left), threading.TIMEOUT_MAX))
        except queue.Empty:
            check_not_expired(lambda: 0.0)
            raise
        try:
            check_not_expired(time_left)
            yield interpreter
        finally:
            self._pool.put(interpreter)

    def _input(self, name: str) -> ModelTensor:
        known = _known_name(name, self._inputs)
        if known is None:
            raise ServingError(Code.INTERNAL, f"Unknown tensor '{name}'.\n\tMissing input TFLite tensor: {name}")
        return self._inputs[known]

    def _output(self, name: str) -> ModelTensor:
        known = _known_name(name, self._outputs)
        if known is None:
            raise ServingError(Code.INTERNAL, f"Missing output TFLite tensor: {name}: Unknown tensor '{name}'.")
        return self._outputs[known]

    def _checked(self, signatures: dict[str, meta_graph_pb2.SignatureDef]) -> dict[str, meta_graph_pb2.SignatureDef]:
        """The signatures with the names that the tensors have in the model."""
        for signature in signatures.values():
            for kind, infos, tensors in (
                ("input", signature.inputs, self._inputs),
                ("output", signature.outputs, self._outputs),
            ):
                for alias, info in infos.items():
                    known = _known_name(info.name, tensors)
                    if known is None:
                        raise ServingError(
                            Code.INTERNAL,
                            f"Unknown tensor '{info.name}'.\n\tSignature {kind} {alias} references an unknown tensor",
                        )
                    info.name = known
        return signatures

    def _generated(self) -> meta_graph_pb2.SignatureDef:
        signature = meta_graph_pb2.SignatureDef(method_name=tf.saved_model.PREDICT_METHOD_NAME)
        for infos, tensors in ((signature.inputs, self._inputs), (signature.outputs, self._outputs)):
            for name in sorted(tensors):
                dtype, shape = tensors[name].dtype, tf.TensorShape(tensors[name].shape)
                infos[_legacy_name(name)].CopyFrom(
                    meta_graph_pb2.TensorInfo(name=name, dtype=dtype.as_datatype_enum, tensor_shape=shape.as_proto())
                )
        return signature


def has_tflite_model(path: str) -> bool:
    """Whether the version in directory `path` brings a TensorFlow Lite model along."""
    return tf.io.gfile.exists(tf.io.gfile.join(path, FILE))


def load_tflite_model(path: str, interpreters: int = 1) -> TfLiteModel:
    """Load `model.tflite` of directory `path`, with so many runs at once; raises ServingError."""
    try:
        with tf.io.gfile.GFile(tf.io.gfile.join(path, FILE), "rb") as file:
            content = file.read()
    except tf.errors.OpError as error:
        raise from_op_error(error) from error
    return TfLiteModel(content, interpreters)


def _known_name(name: str, tensors: Mapping[str, ModelTensor]) -> str | None:
    """The tensor's name in the model: old converters left out the output's number."""
    return next((known for known in (name, _legacy_name(name)) if known in tensors), None)


def _legacy_name(name: str) -> str:
    return name.partition(":")[0]


def _blank(tensor: ModelTensor) -> NDArray[Any]:
    return np.full(tensor.shape, b"" if tensor.dtype == tf.string else 0, tensor.numpy_dtype)
