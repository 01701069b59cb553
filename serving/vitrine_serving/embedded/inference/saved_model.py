"""Loads a SavedModel the way TensorFlow Serving does and runs its signatures.

The version-1 loader restores variables through the graph's own restore op, so a model that only works
through Python object tracking fails here exactly as it fails in production.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow.core.protobuf import config_pb2, meta_graph_pb2

from vitrine_serving.embedded.errors import (
    Code,
    ServingError,
    SignatureNotFoundError,
    invalid_argument,
    not_found,
)
from vitrine_serving.embedded.inference.tensors import to_ndarray

DEFAULT_SIGNATURE = tf.saved_model.DEFAULT_SERVING_SIGNATURE_DEF_KEY
SERVE_TAG = tf.saved_model.SERVING

# Distinct sets of outputs that get a prepared callable of their own, a signature. Clients choose the
# set, so it needs a bound; past it everything is fetched and the rest dropped.
_MAX_CALLABLES = 32


@dataclass(frozen=True)
class SessionOptions:
    """Thread counts of TensorFlow sessions; 0 lets TensorFlow choose."""

    intra_op_parallelism: int = 0
    inter_op_parallelism: int = 0


class SavedModel:
    """A loaded SavedModel. Safe to run from many threads at once; `close` only when none does."""

    def __init__(self, session: tf.compat.v1.Session, meta_graph: meta_graph_pb2.MetaGraphDef) -> None:
        self.signatures: dict[str, meta_graph_pb2.SignatureDef] = dict(meta_graph.signature_def)
        self._session = session
        self._runners = {name: _Runner(session, signature) for name, signature in self.signatures.items()}

    def run(
        self,
        signature_name: str,
        inputs: Mapping[str, NDArray[Any]],
        outputs: Sequence[str] | None = None,
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
        return runner.run(inputs, outputs or ())

    def close(self) -> None:
        self._runners.clear()
        self._session.close()


def load_saved_model(path: str, options: SessionOptions | None = None) -> SavedModel:
    """Load the `serve` graph of the SavedModel in directory `path`; raises ServingError."""
    options = options or SessionOptions()
    config = config_pb2.ConfigProto(
        intra_op_parallelism_threads=options.intra_op_parallelism,
        inter_op_parallelism_threads=options.inter_op_parallelism,
        allow_soft_placement=True,
    )
    if not tf.saved_model.contains_saved_model(path):
        raise not_found(f"Could not find SavedModel .pb or .pbtxt at supplied export directory path: {path}")
    session = tf.compat.v1.Session(graph=tf.Graph(), config=config)
    try:
        with session.graph.as_default():
            meta_graph = tf.compat.v1.saved_model.load(session, [SERVE_TAG], path)
        return SavedModel(session, meta_graph)
    except tf.errors.OpError as error:
        session.close()
        raise _from_op_error(error) from error
    except Exception as error:
        # The loader reports broken files and graphs with whatever exception it met them.
        session.close()
        raise ServingError(Code.UNKNOWN, f"Could not load {path}: {type(error).__name__}: {error}") from error


class _Runner:
    """One signature: its checks, and its prepared callables by set of outputs."""

    def __init__(self, session: tf.compat.v1.Session, signature: meta_graph_pb2.SignatureDef) -> None:
        self._session = session
        self._input_names = sorted(signature.inputs)
        self._input_set = frozenset(self._input_names)
        self._feeds = {name: signature.inputs[name].name for name in self._input_names}
        self._fetches = {name: signature.outputs[name].name for name in sorted(signature.outputs)}
        self._defaults = {name: to_ndarray(name, proto) for name, proto in signature.defaults.items()}
        self._callables: dict[tuple[str, ...], Callable[..., list[NDArray[Any]]]] = {}
        self._lock = threading.Lock()

    def run(self, inputs: Mapping[str, NDArray[Any]], outputs: Sequence[str]) -> dict[str, NDArray[Any]]:
        if inputs.keys() != self._input_set:
            inputs = self._complete(inputs)
        if outputs:
            self._check_outputs(outputs)
        wanted = tuple(sorted(outputs)) if outputs else tuple(self._fetches)
        fetched = wanted
        try:
            prepared = self._callables.get(wanted)
            if prepared is None:
                fetched, prepared = self._prepare(wanted)
            values = prepared(*[inputs[name] for name in self._input_names])
        except tf.errors.OpError as error:
            raise _from_op_error(error) from error
        except (TypeError, ValueError) as error:
            raise invalid_argument(f"Inputs cannot be fed to the model: {error}") from error
        answer = dict(zip(fetched, map(_as_array, values), strict=True))
        return answer if fetched is wanted else {name: answer[name] for name in wanted}

    def _prepare(self, wanted: tuple[str, ...]) -> tuple[tuple[str, ...], Callable[..., list[NDArray[Any]]]]:
        with self._lock:
            if len(self._callables) >= _MAX_CALLABLES:
                wanted = tuple(self._fetches)
            prepared = self._callables.get(wanted)
            if prepared is None:
                options = config_pb2.CallableOptions(
                    feed=[self._feeds[name] for name in self._input_names],
                    fetch=[self._fetches[name] for name in wanted],
                )
                # Unlike make_callable and run, this does not compare the rank of a feed with the
                # placeholder's declared shape, and neither does TensorFlow Serving.
                prepared = self._session._make_callable_from_options(options)
                self._callables[wanted] = prepared
        return wanted, prepared

    def _complete(self, inputs: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        missing = self._input_set - inputs.keys()
        extra = inputs.keys() - self._input_set
        if len(inputs) > len(self._input_set) or (missing and not self._defaults):
            raise invalid_argument(
                f"input size does not match signature: {len(inputs)}!={len(self._input_set)} "
                f"len({_braced(inputs)}) != len({_braced(self._input_set)}). "
                f"Sent extra: {_braced(extra)}. Missing but required: {_braced(missing)}."
            )
        for name in sorted(missing - self._defaults.keys()):
            raise invalid_argument(
                f"Signature input alias: {name}(feed name: {self._feeds[name]}) not found in request and no "
                f"default value provided. Inputs expected to be in the request {_braced(inputs)}, "
                f"or default input alias set: {_braced(self._defaults)}"
            )
        if extra:
            used = ",".join(sorted(inputs.keys() & self._input_set))
            raise invalid_argument(
                f"Inputs contains invalid name. Used request inputs: {used}, request input: {','.join(sorted(inputs))}"
            )
        return {**self._defaults, **inputs}

    def _check_outputs(self, outputs: Sequence[str]) -> None:
        for name in outputs:
            if name not in self._fetches:
                raise invalid_argument(
                    f"output tensor alias not found in signature: {name} "
                    f"Outputs expected to be in the set {_braced(self._fetches)}."
                )
        if len(set(outputs)) != len(outputs):
            twice = next(name for name in outputs if outputs.count(name) > 1)
            raise invalid_argument(f"duplicate output tensor alias: {twice}")


def _as_array(value: Any) -> NDArray[Any]:
    if isinstance(value, np.ndarray):
        return value
    # A scalar is fetched as a bare value, and numpy would make a fixed-width string of bytes.
    return np.array(value, np.object_ if isinstance(value, bytes) else None)


def _braced(names: Iterable[str]) -> str:
    return "{" + ",".join(sorted(names)) + "}"


def _from_op_error(error: tf.errors.OpError) -> ServingError:
    return ServingError(Code(error.error_code), error.message)
