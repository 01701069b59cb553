"""Runs a TensorFlow Lite model with the interpreter of TensorFlow's package."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from vitrine_serving.embedded.errors import Code, ServingError, invalid_argument

# Those that TensorFlow Serving knows.
_TYPES = frozenset((tf.float32, tf.int32, tf.uint8, tf.int64, tf.string, tf.bool, tf.int16, tf.complex64, tf.int8))

# The warning names a successor in another package; whoever runs a server can do nothing about it.
warnings.filterwarnings("ignore", message=r"\s*Warning: tf\.lite\.Interpreter is deprecated", category=UserWarning)


class ModelTensor(NamedTuple):
    """An input or output of a model; `shape` is the declared one, with 1 for what may vary."""

    number: int
    dtype: tf.DType
    shape: tuple[int, ...]

    @property
    def numpy_dtype(self) -> np.dtype[Any]:
        return np.dtype(self.dtype.as_numpy_dtype)


class Interpreter:
    """An interpreter of one model, for one run at a time; `inputs` and `outputs` are the model's by name."""

    def __init__(self, content: bytes) -> None:
        """Raises ServingError INVALID_ARGUMENT for what is no TensorFlow Lite model, INTERNAL for one it cannot run."""
        # The default delegates announce themselves on stderr, and set themselves up anew for every shape.
        resolver = tf.lite.experimental.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        try:
            self._interpreter = tf.lite.Interpreter(model_content=content, experimental_op_resolver_type=resolver)
        except (ValueError, RuntimeError) as error:
            reason = error if content else "the file is empty"
            raise invalid_argument(f"Cannot build FlatBufferModel from buffer: {reason}") from error
        self.inputs = _by_name("Input", self._interpreter.get_input_details())
        self.outputs = _by_name("Output", self._interpreter.get_output_details())
        self._allocate()
        self._shapes: dict[int, tuple[int, ...]] = {}

    def invoke(self, inputs: Mapping[int, NDArray[Any]], outputs: Sequence[int]) -> list[Any]:
        """Run with an array for each input, by number; the values of the outputs with these numbers.

        The arrays have the inputs' dtypes and any shape the model can be resized to. Raises ServingError
        INTERNAL when the model cannot compute with them.
        """
        shapes = {number: value.shape for number, value in inputs.items()}
        if shapes != self._shapes:
            # Forgotten first: a failure on the way leaves some tensors resized and none allocated.
            self._shapes = {}
            for number, shape in shapes.items():
                self._resize(number, shape)
            self._allocate()
            self._shapes = shapes
        for number, value in inputs.items():
            self._interpreter.set_tensor(number, value)
        try:
            self._interpreter.invoke()
        except RuntimeError as error:
            self._shapes = {}
            raise ServingError(Code.INTERNAL, f"Failed to invoke TfLite interpreter: {error}") from error
        return [self._interpreter.get_tensor(number) for number in outputs]

    def _resize(self, number: int, shape: tuple[int, ...]) -> None:
        try:
            self._interpreter.resize_tensor_input(number, shape)
        except (OverflowError, RuntimeError) as error:
            raise ServingError(Code.INTERNAL, f"Failed to resize input tensor to {list(shape)}: {error}") from error

    def _allocate(self) -> None:
        try:
            self._interpreter.allocate_tensors()
        except RuntimeError as error:
            raise ServingError(Code.INTERNAL, f"Failed to allocate tensors: {error}") from error


def _by_name(kind: str, details: Sequence[Mapping[str, Any]]) -> dict[str, ModelTensor]:
    tensors: dict[str, ModelTensor] = {}
    for detail in details:
        name, dtype = detail["name"], tf.as_dtype(detail["dtype"])
        if dtype not in _TYPES:
            raise ServingError(Code.INTERNAL, f"Unknown TfLite type: {dtype.name}")
        if name in tensors:
            raise ServingError(Code.ALREADY_EXISTS, f"{kind} tensor name: {name} has multiple indices")
        tensors[name] = ModelTensor(detail["index"], dtype, tuple(detail["shape"].tolist()))
    return tensors
