"""What a loaded model can do, batching or not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from numpy.typing import NDArray
from tensorflow.core.protobuf import meta_graph_pb2

from vitrine_serving.embedded.inference.deadlines import TimeLeft, unlimited


class Model(Protocol):
    """A loaded SavedModel; see there for what the methods take, answer and raise."""

    @property
    def signatures(self) -> Mapping[str, meta_graph_pb2.SignatureDef]: ...

    def run(
        self,
        signature_name: str,
        inputs: Mapping[str, NDArray[Any]],
        outputs: Sequence[str] | None = None,
        time_left: TimeLeft = unlimited,
    ) -> dict[str, NDArray[Any]]: ...

    def run_tensors(
        self, feeds: Mapping[str, NDArray[Any]], fetches: Sequence[str], time_left: TimeLeft = unlimited
    ) -> list[NDArray[Any]]: ...

    def close(self) -> None: ...
