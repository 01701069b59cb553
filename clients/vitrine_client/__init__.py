"""Light clients for image classifiers on TensorFlow Serving: no TensorFlow needed.

    from vitrine_client import GrpcClient

    with GrpcClient("localhost:8500", model="flowers") as client:
        [prediction] = client.classify(["rose.jpg"])

`RestClient` and `AsyncGrpcClient` have the same methods; `vitrine_client.errors` tells what they raise.
"""

from typing import TYPE_CHECKING, Any

from vitrine_client.aio import AsyncGrpcClient
from vitrine_client.blocking import Client
from vitrine_client.errors import (
    BadResponse,
    DeadlineExceeded,
    InvalidInput,
    ModelNotFound,
    Overloaded,
    ServerError,
    Unavailable,
    VitrineError,
)
from vitrine_client.grpc import GrpcClient
from vitrine_client.images import ImageLike
from vitrine_client.model_config import ModelConfig
from vitrine_client.results import (
    Metadata,
    ModelStatus,
    Prediction,
    Signature,
    TensorInfo,
    VersionStatus,
)
from vitrine_client.settings import TLS

if TYPE_CHECKING:
    from vitrine_client.rest import RestClient

__all__ = [
    "TLS",
    "AsyncGrpcClient",
    "BadResponse",
    "Client",
    "DeadlineExceeded",
    "GrpcClient",
    "ImageLike",
    "InvalidInput",
    "Metadata",
    "ModelConfig",
    "ModelNotFound",
    "ModelStatus",
    "Overloaded",
    "Prediction",
    "RestClient",
    "ServerError",
    "Signature",
    "TensorInfo",
    "Unavailable",
    "VersionStatus",
    "VitrineError",
]


def __getattr__(name: str) -> Any:
    # HTTP libraries are a quarter of what importing this package costs, and who asks by gRPC needs none.
    if name == "RestClient":
        from vitrine_client.rest import RestClient

        return RestClient
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
