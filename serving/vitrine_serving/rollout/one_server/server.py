"""What is asked of the one server, and told to it."""

from __future__ import annotations

from collections.abc import Sequence

from vitrine_client import GrpcClient, InvalidInput, ModelConfig, RestClient, VersionStatus
from vitrine_serving.config.models import PinnedModel
from vitrine_serving.errors import CommandError

_RELOAD_SECONDS = 60.0


def tell(grpc: str, models: Sequence[PinnedModel], model: str, known: int) -> None:
    """Have the server at `grpc` serve `models` and no others; it does not wait for versions to load.

    Raises CommandError where the server does not know version `known` of `model`: it is another one, and would lose
    what it serves. Raises VitrineError where it does not answer, or refuses the list.
    """
    configs = [ModelConfig(one.name, one.base_path, specific=one.versions, labels=one.labels) for one in models]
    with GrpcClient(grpc, model=model, timeout=_RELOAD_SECONDS) as client:
        versions = [status.version for status in client.status().versions]
        if known not in versions:
            raise CommandError(
                f"the server at {grpc} knows versions {', '.join(map(str, versions)) or 'none'} of {model}, not "
                f"{known}, which is stable by the configuration folder: give the address of the server that was "
                "started with this folder, or start it anew"
            )
        client.reload_config(configs)


def versions_of(rest: str, model: str) -> dict[int, VersionStatus]:
    """The versions that the server at `rest` knows; raises VitrineError."""
    with RestClient(rest, model=model) as client:
        return {status.version: status for status in client.status().versions}


def version_labelled(rest: str, model: str, label: str) -> int | None:
    """The version that answers for `label`; None where the server has no such label. Raises VitrineError."""
    with RestClient(rest, model=model) as client:
        try:
            return client.metadata(label=label).version
        except InvalidInput:
            return None


def failure(status: VersionStatus) -> str | None:
    """Why a version could not be loaded; None unless it could not."""
    if status.state == "END" and status.error_code not in ("", "OK"):
        return f"version {status.version} cannot be loaded: {status.error_message or status.error_code}"
    return None
