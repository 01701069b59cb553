"""Batches that are larger than a server allows, in parts and together again."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitrine_client.errors import BadResponse

# TensorFlow's batch schedulers refuse "Task size 40 is larger than maximum input batch size 32".
_LIMIT = re.compile(r"larger than maximum input batch size:?\s*(\d{1,9})\b")


def allowed_batch_size(message: str) -> int | None:
    """The largest batch that a server names when it refuses a larger one; None where that is not what it says."""
    found = _LIMIT.search(message)
    return int(found[1]) or None if found else None


def batch_size(inputs: Mapping[str, NDArray[Any]]) -> int | None:
    """The number of rows that all inputs have; None where they differ, so that there is nothing to split."""
    sizes = {len(array) if array.ndim else None for array in inputs.values()}
    return sizes.pop() if len(sizes) == 1 else None


def parts(size: int, limit: int) -> list[slice]:
    """Slices of at most `limit` rows, as even as can be: a last one of one row costs as much as a full one."""
    count = -(-size // limit)
    ends = [size * number // count for number in range(count + 1)]
    return [slice(start, end) for start, end in pairwise(ends)]


def joined(answers: Sequence[Mapping[str, NDArray[Any]]], sizes: Sequence[int]) -> dict[str, NDArray[Any]]:
    """The outputs of all parts as those of one batch.

    Raises:
        BadResponse: an output that is not one row for each row of the inputs, so that nobody can tell what it would
            be for the whole batch.
    """
    outputs = {}
    for name in answers[0]:
        arrays = [answer.get(name) for answer in answers]
        rows = [array for array in arrays if array is not None and array.ndim]
        if [len(array) for array in rows] != list(sizes) or len({array.shape[1:] for array in rows}) > 1:
            raise BadResponse(
                f"output {name!r} is not one row for each of the batch, so that the parts of a batch larger than the "
                "server allows cannot be put together: send smaller ones"
            )
        outputs[name] = np.concatenate(rows)
    return outputs
