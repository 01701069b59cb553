"""The text protos that say how to batch, and what is refused in them."""

from __future__ import annotations

import os

import pytest

from vitrine_serving.embedded.errors import Code, ServingError
from vitrine_serving.embedded.inference.batching_parameters import (
    BatchingParameters,
    model_batching_parameters,
    read_batching_parameters,
)


@pytest.fixture
def read(tmp_path):
    def read(text: str | bytes) -> BatchingParameters:
        path = tmp_path / "batching_parameters.txt"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_batching_parameters(str(path))

    return read


def test_every_field_is_read(read):
    parameters = read(
        """
        # comments are allowed
        max_batch_size { value: 128 }
        batch_timeout_micros { value: 5000 }
        max_enqueued_batches { value: 1000000 }
        num_batch_threads { value: 8 }
        thread_pool_name { value: "pool" }
        allowed_batch_sizes: 32
        allowed_batch_sizes: [64, 128]
        pad_variable_length_inputs: true
        enable_large_batch_splitting { value: True }
        max_execution_batch_size { value: 64 }
        """
    )
    assert parameters == BatchingParameters(128, 5000, 1_000_000, 8, "pool", (32, 64, 128), True, True, 64)
    assert parameters.execution_batch_size == 64


def test_what_is_left_out_has_tensorflows_defaults(read):
    parameters = read("# nothing")
    assert parameters == BatchingParameters()
    assert (parameters.max_batch_size, parameters.batch_timeout_micros, parameters.max_enqueued_batches) == (
        1000,
        0,
        10,
    )
    assert parameters.num_batch_threads == len(os.sched_getaffinity(0))
    assert parameters.thread_pool_name == "batch_threads"
    assert not parameters.enable_large_batch_splitting


@pytest.mark.parametrize(("size", "padded"), [(1, 2), (2, 2), (3, 4), (5, 8), (8, 8)], ids=lambda value: str(value))
def test_sizes_are_rounded_up_to_an_allowed_one(read, size, padded):
    parameters = read("max_batch_size { value: 8 } allowed_batch_sizes: [2, 4, 8]")
    assert parameters.padded(size) == padded


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("max_batch: 3", 'has no field named "max_batch"'),
        ("max_batch_size: 3", 'Expected "{"'),
        ("max_batch_size { value: 'many' }", "Couldn't parse integer"),
        ("max_batch_size { value: 1 } max_batch_size { value: 2 }", "multiple"),
        (b"\xff\xfe", "batching_parameters.txt"),
    ],
)
def test_a_malformed_file_is_refused_with_the_parsers_reason(read, text, reason):
    with pytest.raises(ServingError, match=r"Invalid protobuf file: '.*batching_parameters\.txt'") as refused:
        read(text)
    assert refused.value.code is Code.INVALID_ARGUMENT
    assert reason in refused.value.message


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            "max_batch_size { value: 8 } allowed_batch_sizes: [2, 4]",
            "Last entry in allowed_batch_sizes must match max_batch_size; last entry was 4; expected 8",
        ),
        ("allowed_batch_sizes: 4", "last entry was 4; expected 1000"),
        (
            "max_batch_size { value: 8 } allowed_batch_sizes: [4, 2, 8]",
            "allowed_batch_sizes entries must be monotonically increasing",
        ),
        ("max_batch_size { value: 0 }", "input_batch_size_limit must be positive; was 0"),
        ("batch_timeout_micros { value: -1 }", "batch_timeout_micros must be non-negative; was -1"),
        ("num_batch_threads { value: 0 }", "num_batch_threads must be positive; was 0"),
        ("num_batch_threads { value: 4097 }", "num_batch_threads must be at most 4096; was 4097"),
        (
            "enable_large_batch_splitting { value: true } max_enqueued_batches { value: 0 }",
            "max_enqueued_batches must be positive; was 0",
        ),
        (
            "enable_large_batch_splitting { value: true } max_batch_size { value: 4 } "
            "max_execution_batch_size { value: 5 }",
            "input_batch_size_limit must be greater than or equal to max_execution_batch_size",
        ),
    ],
)
def test_parameters_that_contradict_each_other_are_refused(read, text, reason):
    with pytest.raises(ServingError) as refused:
        read(text)
    assert refused.value.code is Code.INVALID_ARGUMENT
    assert reason in refused.value.message


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ServingError) as refused:
        read_batching_parameters(str(tmp_path / "none.txt"))
    assert refused.value.code is Code.NOT_FOUND


def test_a_version_may_bring_its_own(tmp_path):
    assert model_batching_parameters(str(tmp_path)) is None
    (tmp_path / "batching_params.pbtxt").write_text("max_batch_size { value: 10 }")
    parameters = model_batching_parameters(str(tmp_path))
    assert parameters is not None
    assert parameters.max_batch_size == 10
    (tmp_path / "batching_params.pbtxt").write_text("max_batch_size { value: ten }")
    with pytest.raises(ServingError, match="Invalid protobuf file"):
        model_batching_parameters(str(tmp_path))
