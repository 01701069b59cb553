"""A loaded SavedModel and its signatures, checked and run as TensorFlow Serving does."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf
from numpy.typing import NDArray
from tensorflow.core.protobuf import config_pb2, meta_graph_pb2

from vitrine_serving.embedded.errors import Code, ServingError, SignatureNotFoundError, invalid_argument
from vitrine_serving.embedded.inference.deadlines import TimeLeft, unlimited
from vitrine_serving.embedded.inference.graph import (
    GraphRunner,
    PreparedRun,
    batches_what_waits,
    from_op_error,
    limit_batch_sizes,
    limit_batch_threads,
    runs_in_parallel,
)
from vitrine_serving.embedded.inference.loader import load_graph, read_meta_graph
from vitrine_serving.embedded.inference.memory import dismantle, trim
from vitrine_serving.embedded.inference.tensors import to_ndarray

OnRun = Callable[[float], object]

DEFAULT_SIGNATURE = tf.saved_model.DEFAULT_SERVING_SIGNATURE_DEF_KEY
SERVE_TAG = tf.saved_model.SERVING

_METHOD_NAMES = (
    tf.saved_model.PREDICT_METHOD_NAME,
    tf.saved_model.CLASSIFY_METHOD_NAME,
    tf.saved_model.REGRESS_METHOD_NAME,
)

# Distinct sets of outputs that get a prepared run of their own, a signature. Clients choose the set, so
# it needs a bound; past it everything is fetched and the rest dropped.
_MAX_PREPARED = 32


@dataclass(frozen=True)
class SessionOptions:
    """How a model's TensorFlow session is made.

    `config` is what the other fields are laid over; without one, operations may move to the devices there
    are. Thread counts and a `per_process_gpu_memory_fraction` of 0 leave the choice to it, else to
    TensorFlow. `run_in_caller_thread` runs the operations of a graph without loops and in-graph batches in
    the thread that asks, without handing them to a pool. `batched_runs_at_once` limits the concurrent runs of a
    graph that batches those that wait for it anyway: where one core computes a batch, longer ones leave the
    others idle. `batch_threads` limits the threads of each in-graph batch, `batch_rows` the rows that one which
    splits larger requests runs at once. 0 is no limit.
    """

    intra_op_parallelism: int = 0
    inter_op_parallelism: int = 0
    config: config_pb2.ConfigProto | None = None
    per_process_gpu_memory_fraction: float = 0.0
    run_in_caller_thread: bool = True
    batched_runs_at_once: int = 0
    batch_threads: int = 0
    batch_rows: int = 0

    def session_config(self) -> config_pb2.ConfigProto:
        config = config_pb2.ConfigProto()
        if self.config is not None:
            config.CopyFrom(self.config)
        else:
            config.allow_soft_placement = True
        if self.intra_op_parallelism:
            config.intra_op_parallelism_threads = self.intra_op_parallelism
        if self.inter_op_parallelism:
            config.inter_op_parallelism_threads = self.inter_op_parallelism
        if self.per_process_gpu_memory_fraction:
            config.gpu_options.per_process_gpu_memory_fraction = self.per_process_gpu_memory_fraction
        return config


class SavedModel:
    """A loaded SavedModel. Safe to run from many threads at once; `close` only when none does."""

    def __init__(
        self,
        session: tf.compat.v1.Session,
        signatures: Mapping[str, meta_graph_pb2.SignatureDef],
        run_in_caller_thread: bool = False,
        runs_at_once: int = 0,
        on_run: OnRun | None = None,
    ) -> None:
        self.signatures = dict(signatures)
        # Of each stage of the load, by name.
        self.load_seconds: Mapping[str, float] = {}
        self._session = session
        self._graph = GraphRunner(session, run_in_caller_thread, runs_at_once, on_run)
        self._runners = {name: _SignatureRunner(self._graph, signature) for name, signature in signatures.items()}
        self._prepared: dict[tuple[tuple[str, ...], tuple[str, ...]], PreparedRun] = {}
        self._lock = threading.Lock()

    def run(
        self,
        signature_name: str,
        inputs: Mapping[str, NDArray[Any]],
        outputs: Sequence[str] | None = None,
        time_left: TimeLeft = unlimited,
    ) -> dict[str, NDArray[Any]]:
        """Run one signature; an empty name means `serving_default`.

        `inputs` maps input names to arrays of the signature's dtypes (strings: object arrays of bytes).
        `outputs` names the outputs wanted; None or empty means all. Strings come back as object arrays
        of bytes. Raises ServingError with the code TensorFlow Serving would answer.
        """
        signature_name = signature_name or DEFAULT_SIGNATURE
        runner = self._runners.get(signature_name)
        if runner is None:
            raise SignatureNotFoundError(signature_name)
        return runner.run(inputs, outputs or (), time_left)

    def run_tensors(
        self, feeds: Mapping[str, NDArray[Any]], fetches: Sequence[str], time_left: TimeLeft = unlimited
    ) -> list[NDArray[Any]]:
        """Feed tensors of the graph by name (`x:0`) and fetch others, in the order asked for.

        Raises ServingError as `run` does.
        """
        names = tuple(sorted(feeds))
        key = names, tuple(fetches)
        prepared = self._prepared.get(key)
        if prepared is None:
            prepared = self._graph.prepare(names, fetches)
            with self._lock:
                if len(self._prepared) < _MAX_PREPARED:
                    self._prepared[key] = prepared
        return prepared([feeds[name] for name in names], time_left)

    def close(self) -> None:
        self._runners.clear()
        self._prepared.clear()
        graph = self._session.graph
        self._session.close()
        dismantle(graph)
        trim()


def load_saved_model(
    path: str,
    options: SessionOptions | None = None,
    tags: Collection[str] = (SERVE_TAG,),
    on_run: OnRun | None = None,
) -> SavedModel:
    """Load the graph with exactly these tags of the SavedModel in directory `path`; raises ServingError.

    `on_run` is called with the seconds of each successful run of the graph.
    """
    try:
        return _load(path, options or SessionOptions(), tags, on_run)
    except ServingError:
        raise
    except tf.errors.OpError as error:
        raise from_op_error(error) from error
    except Exception as error:
        # The loader reports broken graphs with whatever exception it met them.
        raise ServingError(Code.UNKNOWN, f"Could not load {path}: {type(error).__name__}: {error}") from error


def check_method_name(signature: meta_graph_pb2.SignatureDef) -> None:
    """Refuse to predict with a signature whose method is none of TensorFlow Serving's.

    Only for servers started with `--enable_signature_method_name_check`. Raises ServingError INTERNAL.
    """
    if signature.method_name not in _METHOD_NAMES:
        raise ServingError(
            Code.INTERNAL,
            "Expected prediction signature method_name to be one of "
            f"{{{', '.join(_METHOD_NAMES)}}}. Was: {signature.method_name}",
        )


def check_input_names(expected: Collection[str], given: Collection[str]) -> None:
    """Raise ServingError INVALID_ARGUMENT unless the names `given` are those of a signature without defaults."""
    if len(given) == len(expected) and all(name in expected for name in given):
        return
    extra, missing = set(given) - set(expected), set(expected) - set(given)
    difference = f"Sent extra: {_braced(extra)}. Missing but required: {_braced(missing)}."
    if len(given) != len(expected):
        raise invalid_argument(
            f"input size does not match signature: {len(given)}!={len(expected)} "
            f"len({_braced(given)}) != len({_braced(expected)}). {difference}"
        )
    raise invalid_argument(
        f"input tensor alias not found in signature: {min(extra)}. "
        f"Inputs expected to be in the set {_braced(expected)}. {difference}"
    )


def check_output_names(expected: Collection[str], wanted: Sequence[str]) -> None:
    """Raise ServingError INVALID_ARGUMENT unless the outputs `wanted` are a signature's, none of them twice."""
    seen = set()
    for name in wanted:
        if name not in expected:
            raise invalid_argument(
                f"output tensor alias not found in signature: {name} "
                f"Outputs expected to be in the set {_braced(expected)}."
            )
        if name in seen:
            raise invalid_argument(f"duplicate output tensor alias: {name}")
        seen.add(name)


class _SignatureRunner:
    """One signature: its checks, and its prepared runs by set of outputs."""

    def __init__(self, graph: GraphRunner, signature: meta_graph_pb2.SignatureDef) -> None:
        self._graph = graph
        self._feeds = {name: signature.inputs[name].name for name in sorted(signature.inputs)}
        # TensorFlow's session counts its arguments in the order of their tensors' names.
        self._input_names = sorted(self._feeds, key=lambda name: self._feeds[name])
        self._fetches = {name: signature.outputs[name].name for name in sorted(signature.outputs)}
        self._defaults = {name: to_ndarray(name, proto) for name, proto in signature.defaults.items()}
        self._prepared: dict[tuple[str, ...], PreparedRun] = {}
        self._lock = threading.Lock()

    def run(
        self, inputs: Mapping[str, NDArray[Any]], outputs: Sequence[str], time_left: TimeLeft
    ) -> dict[str, NDArray[Any]]:
        if inputs.keys() != self._feeds.keys():
            inputs = self._complete(inputs)
        if outputs:
            check_output_names(self._fetches, outputs)
        wanted = tuple(sorted(outputs)) if outputs else tuple(self._fetches)
        fetched = wanted
        prepared = self._prepared.get(wanted)
        if prepared is None:
            fetched, prepared = self._prepare(wanted)
        values = prepared([inputs[name] for name in self._input_names], time_left)
        answer = dict(zip(fetched, values, strict=True))
        return answer if fetched is wanted else {name: answer[name] for name in wanted}

    def _prepare(self, wanted: tuple[str, ...]) -> tuple[tuple[str, ...], PreparedRun]:
        with self._lock:
            if len(self._prepared) >= _MAX_PREPARED:
                wanted = tuple(self._fetches)
            prepared = self._prepared.get(wanted)
            if prepared is None:
                prepared = self._graph.prepare(
                    [self._feeds[name] for name in self._input_names],
                    [self._fetches[name] for name in wanted],
                )
                self._prepared[wanted] = prepared
        return wanted, prepared

    def _complete(self, inputs: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        extra = inputs.keys() - self._feeds.keys()
        missing = self._feeds.keys() - inputs.keys()
        if not self._defaults:
            check_input_names(self._feeds, inputs)
        for name in sorted(missing - self._defaults.keys()):
            raise invalid_argument(
                f"Signature input alias: {name}(feed name: {self._feeds[name]}) not found in request and no "
                f"default value provided. Inputs expected to be in the request {_braced(inputs)}, "
                f"or default input alias set: {','.join(sorted(self._defaults))}"
            )
        if extra:
            used = ",".join(sorted(inputs.keys() & self._feeds.keys()))
            raise invalid_argument(
                f"Inputs contains invalid name. Used request inputs: {used}, request input: {','.join(sorted(inputs))}"
            )
        return {**self._defaults, **inputs}


def _load(path: str, options: SessionOptions, tags: Collection[str], on_run: OnRun | None) -> SavedModel:
    meta_graph = read_meta_graph(path, tags)
    if options.batch_threads:
        limit_batch_threads(meta_graph.graph_def, options.batch_threads)
    if options.batch_rows:
        limit_batch_sizes(meta_graph.graph_def, options.batch_rows)
    session = tf.compat.v1.Session(graph=tf.Graph(), config=options.session_config())
    try:
        load_seconds = load_graph(session, path, meta_graph)
        in_caller_thread = options.run_in_caller_thread and not runs_in_parallel(meta_graph.graph_def)
        runs_at_once = options.batched_runs_at_once if batches_what_waits(meta_graph.graph_def) else 0
        model = SavedModel(session, _copied(meta_graph.signature_def), in_caller_thread, runs_at_once, on_run)
        model.load_seconds = load_seconds
        return model
    except Exception:
        session.close()
        dismantle(session.graph)
        raise


def _copied(signatures: Mapping[str, meta_graph_pb2.SignatureDef]) -> dict[str, meta_graph_pb2.SignatureDef]:
    """The signatures in messages of their own: as parts of the SavedModel they would keep all of it in memory."""
    return {name: meta_graph_pb2.SignatureDef.FromString(one.SerializeToString()) for name, one in signatures.items()}


def _braced(names: Iterable[str]) -> str:
    return "{" + ",".join(sorted(names)) + "}"
