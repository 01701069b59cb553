"""Names for versions, which clients may ask for in place of a number."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from tensorflow_serving.config import model_server_config_pb2

from vitrine_serving.embedded.errors import Code, ServingError, invalid_argument

Labels = Mapping[tuple[str, str], int]


@dataclass(frozen=True)
class LabelPolicy:
    """Which labels may point at a version that is not available.

    `allow_for_unavailable`: those that are new or stay where they are. `force_allow_for_unavailable`: any.
    """

    allow_for_unavailable: bool = False
    force_allow_for_unavailable: bool = False


def assign_labels(
    configs: Iterable[model_server_config_pb2.ModelConfig],
    current: Labels,
    is_available: Callable[[str, int], bool],
    policy: LabelPolicy,
) -> Labels:
    """All labels of a new list of models, as versions by model and label.

    Raises ServingError FAILED_PRECONDITION when one may not be assigned.
    """
    labels: dict[tuple[str, str], int] = {}
    for config in configs:
        for label, version in config.version_labels.items():
            key = config.name, label
            unmoved = current.get(key, version) == version
            allowed = policy.force_allow_for_unavailable or (policy.allow_for_unavailable and unmoved)
            if not allowed and not is_available(config.name, version):
                raise ServingError(
                    Code.FAILED_PRECONDITION,
                    f"Request to assign label to version {version} of model {config.name}, "
                    "which is not currently available for inference",
                )
            labels[key] = version
    return labels


def resolve_label(labels: Labels, name: str, label: str) -> int:
    """The version a label of the model stands for; raises ServingError INVALID_ARGUMENT."""
    version = labels.get((name, label))
    if version is None:
        raise invalid_argument(f"Unrecognized servable version label: {label}")
    return version
