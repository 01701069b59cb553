"""Runs parts of a TensorFlow session's graph by tensor name, as TensorFlow's C++ session does."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow.core.framework import graph_pb2
from tensorflow.core.protobuf import config_pb2
from tensorflow.python.client import pywrap_tf_session as tf_session

from vitrine_serving.embedded.errors import Code, ServingError, invalid_argument
from vitrine_serving.embedded.inference.batch_function import (
    ALLOWED_SIZES,
    BATCH_FUNCTION,
    ENQUEUED,
    allowed_sizes,
    enqueued,
    splits,
)
from vitrine_serving.embedded.inference.deadlines import TimeLeft, check_not_expired, unlimited
from vitrine_serving.embedded.inference.tensors import type_name
from vitrine_serving.embedded.inference.turns import Turns

Function = Callable[[Sequence[NDArray[Any]], TimeLeft], list[Any]]

_CALLERS_THREAD = -1
# TensorFlow counts milliseconds; a year keeps the longest deadline clear of overflow.
_LONGEST_SECONDS = 365 * 24 * 3600.0

# The kernel keeps 32 bits (batch_ops.cc).
_MOST_ENQUEUED = 2**31 - 1
# Loops run their iterations side by side, and what follows a batch would run in the batch's one
# thread: graphs with these need a pool of threads.
_PARALLEL_OPS = frozenset(("While", "StatelessWhile", "Enter", BATCH_FUNCTION, "Batch"))


class GraphRunner:
    """Prepares callables of one session; those may run from many threads at once."""

    def __init__(
        self,
        session: tf.compat.v1.Session,
        run_in_caller_thread: bool,
        runs_at_once: int = 0,
        on_run: Callable[[float], object] | None = None,
    ) -> None:
        """Of runs in TensorFlow's pool only `runs_at_once` go on at a time and the rest waits; 0: all of them.

        `on_run` is called with the seconds of each run that succeeded.
        """
        self._session = session
        self._turns = Turns(runs_at_once) if runs_at_once else None
        self._run_in_caller_thread = run_in_caller_thread
        self._on_run = on_run

    def prepare(self, feeds: Sequence[str], fetches: Sequence[str]) -> PreparedRun:
        """The part of the graph between tensors `feeds` and `fetches`; raises ServingError."""
        fed = [self._tensor(name) for name in feeds]
        fetched = [self._tensor(name) for name in fetches]
        try:
            make = self._callers_thread_function if self._run_in_caller_thread else self._pool_function
            function = make(fed, fetched)
            if self._on_run is not None:
                function = _measured(function, self._on_run)
            return PreparedRun(function, [_dtype(tensor) for tensor in fed], [_dtype(t) for t in fetched])
        except tf.errors.OpError as error:
            raise from_op_error(error) from error

    # Unlike the session's make_callable and run, neither of these two compares the rank of a feed with the
    # placeholder's declared shape, and neither does TensorFlow Serving.

    def _callers_thread_function(self, feeds: Sequence[tf.Tensor], fetches: Sequence[tf.Tensor]) -> Function:
        options = config_pb2.CallableOptions(
            feed=[tensor.name for tensor in feeds],
            fetch=[tensor.name for tensor in fetches],
            run_options=config_pb2.RunOptions(inter_op_thread_pool=_CALLERS_THREAD),
        )
        function = self._session._make_callable_from_options(options)

        def call(values: Sequence[NDArray[Any]], time_left: TimeLeft) -> list[Any]:
            check_not_expired(time_left)
            results: list[Any] = function(*values)
            # TensorFlow cannot stop work in the caller's own thread; that it came too late must be said anyway.
            check_not_expired(time_left)
            return results

        return call

    def _pool_function(self, feeds: Sequence[tf.Tensor], fetches: Sequence[tf.Tensor]) -> Function:
        self._session._extend_graph()
        fed = [tensor._as_tf_output() for tensor in feeds]
        fetched = [tensor._as_tf_output() for tensor in fetches]

        def call(values: Sequence[NDArray[Any]], time_left: TimeLeft) -> list[Any]:
            arguments = dict(zip(fed, values, strict=True))
            if self._turns is None:
                return self._run_in_time(arguments, fetched, time_left)
            left = time_left()
            if not self._turns.take(None if left is None else max(0.0, min(left, _LONGEST_SECONDS))):
                check_not_expired(lambda: 0.0)
            try:
                return self._run_in_time(arguments, fetched, time_left)
            finally:
                self._turns.give_back()

        return call

    def _run_in_time(
        self, arguments: Mapping[Any, NDArray[Any]], fetched: Sequence[Any], time_left: TimeLeft
    ) -> list[Any]:
        left = time_left()
        if left is None:
            return self._run_session(None, arguments, fetched)
        check_not_expired(time_left)
        timed = config_pb2.RunOptions(timeout_in_ms=max(1, math.ceil(min(left, _LONGEST_SECONDS) * 1e3)))
        options = tf_session.TF_NewBufferFromString(timed.SerializeToString())
        try:
            return self._run_session(options, arguments, fetched)
        finally:
            tf_session.TF_DeleteBuffer(options)

    def _run_session(self, options: Any, arguments: Mapping[Any, NDArray[Any]], fetched: Sequence[Any]) -> list[Any]:
        results: list[Any] = self._session._call_tf_sessionrun(options, arguments, fetched, [], None)
        return results

    def _tensor(self, name: str) -> tf.Tensor:
        try:
            return self._session.graph.get_tensor_by_name(name if ":" in name else f"{name}:0")
        except (KeyError, ValueError) as error:
            raise invalid_argument(f"Tensor {name} was not found in the graph") from error


class PreparedRun:
    """A part of the graph, ready to run."""

    def __init__(
        self,
        function: Function,
        feed_dtypes: Sequence[np.dtype[Any] | None],
        fetch_dtypes: Sequence[np.dtype[Any] | None],
    ) -> None:
        self._function = function
        self._feed_dtypes = feed_dtypes
        self._fetch_dtypes = fetch_dtypes

    def __call__(self, values: Sequence[NDArray[Any]], time_left: TimeLeft = unlimited) -> list[NDArray[Any]]:
        """Run with one array a feed; raises ServingError with the code and text of TensorFlow's session.

        When no time is left a run in a pool of threads is ended; one in the caller's thread goes to its end.
        """
        for index, (value, dtype) in enumerate(zip(values, self._feed_dtypes, strict=True)):
            if value.dtype != dtype:
                _check_dtype(index, value.dtype, dtype)
        try:
            results = self._function(values, time_left)
        except tf.errors.OpError as error:
            raise from_op_error(error) from error
        except (TypeError, ValueError) as error:
            raise invalid_argument(f"Inputs cannot be fed to the model: {error}") from error
        return [_as_array(result, dtype) for result, dtype in zip(results, self._fetch_dtypes, strict=True)]


def _measured(function: Function, on_run: Callable[[float], object]) -> Function:
    def call(values: Sequence[NDArray[Any]], time_left: TimeLeft) -> list[Any]:
        started = time.perf_counter()
        results = function(values, time_left)
        on_run(time.perf_counter() - started)
        return results

    return call


def _dtype(tensor: tf.Tensor) -> np.dtype[Any] | None:
    """A tensor's dtype; None when numpy has no such type."""
    dtype = tensor.dtype.base_dtype
    return None if dtype in (tf.resource, tf.variant) else np.dtype(dtype.as_numpy_dtype)


def runs_in_parallel(graph: graph_pb2.GraphDef) -> bool:
    """Whether any of the graph's operations makes use of a pool of threads within one run."""
    return any(node.op in _PARALLEL_OPS for node in _nodes(graph))


def batches_what_waits(graph: graph_pb2.GraphDef) -> bool:
    """Whether the graph makes batches of concurrent runs, and only of those that wait for it anyway."""
    batches = [node for node in _nodes(graph) if node.op == BATCH_FUNCTION]
    return bool(batches) and not any(node.attr["batch_timeout_micros"].i for node in batches)


def limit_batch_threads(graph: graph_pb2.GraphDef, limit: int) -> None:
    """Have each batch of the graph computed by at most `limit` threads.

    One that has nothing to do wakes about a thousand times a second to see whether that is still so.
    """
    for node in _nodes(graph):
        if node.op == BATCH_FUNCTION:
            threads = node.attr["num_batch_threads"]
            threads.i = min(threads.i, limit)


def limit_batch_sizes(graph: graph_pb2.GraphDef, limit: int) -> None:
    """Have batches that split what is larger run at most `limit` rows at once, as far as their allowed sizes let them.

    As many rows as before may wait.
    """
    for node in _nodes(graph):
        if node.op != BATCH_FUNCTION or not splits(node):
            continue
        sizes = allowed_sizes(node)
        allowed = tuple(size for size in sizes if size <= limit)
        if not allowed or allowed == sizes:
            continue
        # Counted in batches of the largest size.
        waiting = math.ceil(enqueued(node) * sizes[-1] / allowed[-1])
        node.attr[ALLOWED_SIZES].list.i[:] = allowed
        node.attr[ENQUEUED].i = min(waiting, _MOST_ENQUEUED)


def _nodes(graph: graph_pb2.GraphDef) -> Iterable[Any]:
    return chain(graph.node, *(function.node_def for function in graph.library.function))


def from_op_error(error: tf.errors.OpError) -> ServingError:
    return ServingError(Code(error.error_code), error.message)


def _check_dtype(index: int, given: np.dtype[Any], expected: np.dtype[Any] | None) -> None:
    if expected == np.object_ and given.kind in "SU":
        return
    wanted = "resource" if expected is None else type_name(expected)
    raise invalid_argument(f"Expects arg[{index}] to be {wanted} but {type_name(given)} is provided")


def _as_array(value: Any, dtype: np.dtype[Any] | None) -> NDArray[Any]:
    if not isinstance(value, np.ndarray):
        # A scalar is fetched as a bare value, and numpy would make a fixed-width string of bytes.
        value = np.array(value, np.object_ if isinstance(value, bytes) else None)
    # Quantized types come back as their plain integers.
    return value.view(dtype) if dtype is not None and dtype.names else value
