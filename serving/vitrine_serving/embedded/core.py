"""The serving API without a transport: who is asked for what, and the typed answer.

gRPC and REST translate to and from the values here and raise nothing but ServingError to their clients.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray
from tensorflow.core.protobuf import meta_graph_pb2

from vitrine_serving.embedded.errors import SignatureNotFoundError, invalid_argument, not_found
from vitrine_serving.embedded.inference.saved_model import DEFAULT_SIGNATURE
from vitrine_serving.embedded.models.manager import ServableManager, VersionStatus
from vitrine_serving.embedded.models.servable import Servable

Arrays = Mapping[str, NDArray[Any]]
InputReader = Callable[[meta_graph_pb2.SignatureDef], Arrays]


@dataclass(frozen=True)
class ModelTarget:
    """The model asked for: its latest version, a numbered or a labelled one."""

    name: str
    version: int | None = None
    label: str | None = None


@dataclass(frozen=True)
class Prediction:
    """A signature's answer, and which version gave it."""

    name: str
    version: int
    signature_name: str
    outputs: Arrays


@dataclass(frozen=True)
class Metadata:
    """A version's signatures."""

    name: str
    version: int
    signatures: Mapping[str, meta_graph_pb2.SignatureDef]


class Core:
    """Answers requests from the models of one manager. Safe to call from many threads at once."""

    def __init__(self, manager: ServableManager) -> None:
        self._manager = manager

    def predict(
        self,
        target: ModelTarget,
        signature_name: str,
        read_inputs: InputReader,
        output_filter: Sequence[str] = (),
    ) -> Prediction:
        """Run a signature (empty name: `serving_default`).

        `read_inputs` makes the input arrays once the signature, which may be needed to read them, is
        known. `output_filter` names the outputs to answer with; empty means all.
        """
        signature_name = signature_name or DEFAULT_SIGNATURE
        with self._servable(target) as servable:
            signature = servable.model.signatures.get(signature_name)
            if signature is None:
                raise SignatureNotFoundError(signature_name)
            outputs = servable.model.run(signature_name, read_inputs(signature), output_filter)
            return Prediction(servable.name, servable.version, signature_name, outputs)

    def metadata(self, target: ModelTarget) -> Metadata:
        with self._servable(target) as servable:
            return Metadata(servable.name, servable.version, servable.model.signatures)

    def status(self, target: ModelTarget) -> list[VersionStatus]:
        """The version asked for, or every version known, highest first."""
        _refuse_label(target)
        known = self._manager.statuses(target.name)
        if target.version is None:
            if not known:
                raise not_found(f"Could not find any versions of model {target.name}")
            return known
        found = [status for status in known if status.version == target.version]
        if not found:
            raise not_found(f"Could not find version {target.version} of model {target.name}")
        return found

    @contextmanager
    def _servable(self, target: ModelTarget) -> Iterator[Servable]:
        if not target.name:
            raise invalid_argument("ModelSpec has no name specified.")
        _refuse_label(target)
        servable = self._manager.acquire(target.name, target.version)
        try:
            yield servable
        finally:
            servable.release()


def _refuse_label(target: ModelTarget) -> None:
    if target.label is not None:
        raise invalid_argument(f"Unrecognized servable version label: {target.label}")
