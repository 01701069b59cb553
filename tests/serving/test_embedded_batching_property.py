"""Whatever is asked at once, each request gets exactly its own rows and batches keep to their sizes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from batched_models import SIGNATURES, EchoModel
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorflow.core.framework import types_pb2

from vitrine_serving.embedded.inference.batching import BatchingModel
from vitrine_serving.embedded.inference.batching_parameters import BatchingParameters

MAX_BATCH_SIZE = 8


@st.composite
def limits(draw) -> BatchingParameters:
    splitting = draw(st.booleans())
    sizes = draw(st.sets(st.integers(1, MAX_BATCH_SIZE)))
    return BatchingParameters(
        max_batch_size=MAX_BATCH_SIZE,
        batch_timeout_micros=draw(st.sampled_from([0, 300])),
        max_enqueued_batches=1000,
        num_batch_threads=draw(st.integers(1, 3)),
        allowed_batch_sizes=tuple(sorted(sizes | {MAX_BATCH_SIZE})) if sizes else (),
        enable_large_batch_splitting=splitting,
        max_execution_batch_size=draw(st.integers(1, MAX_BATCH_SIZE)) if splitting else 0,
    )


def rows_of(dtype: int, request: int, rows: int):
    """Values that no other request has."""
    values = np.arange(rows) + request * MAX_BATCH_SIZE
    if dtype == types_pb2.DT_STRING:
        strings = np.empty(rows, np.object_)
        strings[:] = [b"%d\0" % value for value in values]
        return strings
    return values.astype(np.float32 if dtype == types_pb2.DT_FLOAT else np.int64)


@settings(max_examples=60, deadline=None)
@given(
    limits(),
    st.lists(
        st.tuples(st.sampled_from(sorted(SIGNATURES)), st.integers(0, MAX_BATCH_SIZE), st.booleans()), max_size=40
    ),
)
def test_each_request_gets_its_own_rows_and_batches_keep_their_sizes(parameters, asked):
    model = EchoModel()
    told = []
    batched = BatchingModel(model, parameters, lambda *batch: told.append(batch))
    inputs = [
        {alias: rows_of(dtype, number, rows) for alias, dtype in SIGNATURES[signature].items()}
        for number, (signature, rows, _) in enumerate(asked)
    ]
    wanted = [
        sorted(sent)[:1] if filtered else sorted(sent) for sent, (_, _, filtered) in zip(inputs, asked, strict=True)
    ]
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(batched.run, [signature for signature, _, _ in asked], inputs, wanted))
    batched.close()

    for answer, sent, names in zip(answers, inputs, wanted, strict=True):
        assert sorted(answer) == names
        for name in names:
            assert answer[name].dtype == sent[name].dtype
            assert answer[name].tolist() == sent[name].tolist()
    assert sum(size for _, size, _, _ in told) == sum(rows for _, rows, _ in asked)
    executed = [len(next(iter(batch.values()))) for batch in model.batches()]
    assert sorted(executed) == sorted(padded for _, _, padded, _ in told)
    for _, size, padded, seconds in told:
        assert size <= parameters.execution_batch_size
        assert padded in ({0} if not size else set(parameters.allowed_batch_sizes) or {size})
        assert all(second >= 0 for second in seconds)
