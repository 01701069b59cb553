"""The core's answers as TensorFlow Serving's messages, which gRPC sends and REST prints."""

from __future__ import annotations

from collections.abc import Iterable

from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2

from vitrine_serving.embedded.core import Metadata
from vitrine_serving.embedded.models.version import State, VersionStatus


def status_response(statuses: Iterable[VersionStatus]) -> get_model_status_pb2.GetModelStatusResponse:
    response = get_model_status_pb2.GetModelStatusResponse()
    for status in statuses:
        entry = response.model_version_status.add(version=status.version, state=int(status.state))
        entry.status.SetInParent()
        # As in TensorFlow Serving, a version whose load will be tried again is loading and nothing else.
        if status.error is not None and status.state is State.END:
            entry.status.error_code = int(status.error.code)
            entry.status.error_message = status.error.message
    return response


def signature_def_map(metadata: Metadata) -> get_model_metadata_pb2.SignatureDefMap:
    return get_model_metadata_pb2.SignatureDefMap(signature_def=metadata.signatures)


def metadata_response(metadata: Metadata) -> get_model_metadata_pb2.GetModelMetadataResponse:
    response = get_model_metadata_pb2.GetModelMetadataResponse()
    response.model_spec.name = metadata.name
    response.model_spec.version.value = metadata.version
    response.metadata["signature_def"].Pack(signature_def_map(metadata))
    return response
