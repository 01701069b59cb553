"""Light clients for image classifiers on TensorFlow Serving: no TensorFlow needed.

    from vitrine_client import GrpcClient

    with GrpcClient("localhost:8500", model="flowers") as client:
        [prediction] = client.classify(["rose.jpg"])

`RestClient` has the same methods; `vitrine_client.errors` tells what they raise.
"""

from vitrine_client.base import Client
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
from vitrine_client.rest import RestClient
from vitrine_client.results import (
    Metadata,
    ModelStatus,
    Prediction,
    Signature,
    TensorInfo,
    VersionStatus,
)

__all__ = [
    "BadResponse",
    "Client",
    "DeadlineExceeded",
    "GrpcClient",
    "ImageLike",
    "InvalidInput",
    "Metadata",
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
