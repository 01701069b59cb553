"""Joins the inputs of requests into those of a batch, and cuts the batch's outputs up again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitrine_serving.embedded.errors import Code, ServingError, invalid_argument
from vitrine_serving.embedded.inference.tensors import type_name

Arrays = Mapping[str, NDArray[Any]]

# As many as TensorFlow Serving knows how to pad.
_MAX_PADDED_RANK = 6


def batch_size(inputs: Arrays) -> int:
    """The 0th dimension of all `inputs`; raises ServingError INVALID_ARGUMENT when they have not one in common."""
    if not inputs:
        raise invalid_argument("Batching Run() must have at least one input tensor")
    if any(array.ndim == 0 for array in inputs.values()):
        raise invalid_argument("Batching Run() input tensors must have at least one dimension")
    sizes = {len(array) for array in inputs.values()}
    if len(sizes) > 1:
        raise invalid_argument("Batching Run() input tensors must have equal 0th-dimension size")
    return sizes.pop()


def join(tensor_name: str, arrays: Sequence[NDArray[Any]], rows: int, pad: bool) -> NDArray[Any]:
    """One array of `rows` rows: those of `arrays`, then the first row of the last one over and over.

    With `pad`, arrays of different shapes are filled up at the ends of their dimensions, each with its own
    first element. Raises ServingError: FAILED_PRECONDITION for different shapes, INTERNAL for different
    dtypes, INVALID_ARGUMENT for what cannot be padded.
    """
    if pad:
        arrays = _padded(arrays)
    elif any(array.shape[1:] != arrays[0].shape[1:] for array in arrays):
        raise ServingError(
            Code.FAILED_PRECONDITION,
            f"Tensors with name '{tensor_name}' from different tasks have different shapes and padding is turned "
            "off. Set pad_variable_length_inputs to true, or ensure that all tensors with the same name have equal "
            "dimensions starting with the first dim.",
        )
    for array in arrays:
        # numpy would convert one to the other.
        if array.dtype != arrays[0].dtype:
            raise ServingError(
                Code.INTERNAL,
                "Tensor concat operation failed: Cannot concatenate tensors that have different data types. "
                f"Got {type_name(arrays[0].dtype)} and {type_name(array.dtype)}.",
            )
    missing = rows - sum(map(len, arrays))
    if missing:
        last = next(array for array in reversed(arrays) if len(array))
        arrays = [*arrays, np.repeat(last[:1], missing, axis=0)]
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def cut(outputs: Arrays, sizes: Sequence[int], rows: int) -> list[dict[str, NDArray[Any]]]:
    """Each request's rows of `outputs`, which have to have `rows` rows: the `sizes` in turn, then padding.

    Raises ServingError FAILED_PRECONDITION when they have not.
    """
    for array in outputs.values():
        if array.ndim == 0:
            raise ServingError(Code.FAILED_PRECONDITION, "Batched output tensor has 0 dimensions")
        if len(array) != rows:
            raise ServingError(
                Code.FAILED_PRECONDITION,
                "Batched output tensor's 0th dimension does not equal the sum of the 0th dimension sizes of the "
                "input tensors",
            )
    answers = []
    start = 0
    for size in sizes:
        answers.append({name: array[start : start + size] for name, array in outputs.items()})
        start += size
    return answers


def _padded(arrays: Sequence[NDArray[Any]]) -> Sequence[NDArray[Any]]:
    if any(array.ndim > _MAX_PADDED_RANK for array in arrays):
        raise invalid_argument(f"Only tensors with rank from 1 to {_MAX_PADDED_RANK} can be padded.")
    if len({array.ndim for array in arrays}) > 1:
        raise invalid_argument("Only tensors of the same rank can be padded to the same shape.")
    shape = tuple(map(max, *(array.shape[1:] for array in arrays))) if len(arrays) > 1 else arrays[0].shape[1:]
    return [array if array.shape[1:] == shape else _filled_up(array, shape) for array in arrays]


def _filled_up(array: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    filled = np.empty((len(array), *shape), array.dtype)
    if not filled.size:
        return filled
    if not array.size:
        raise invalid_argument("Got empty tensor in batch of non-empty tensors.")
    filled[...] = array.flat[0]
    filled[tuple(map(slice, array.shape))] = array
    return filled
