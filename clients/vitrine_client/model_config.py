"""What a server is told to serve when its config is reloaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from vitrine_client.errors import InvalidInput
from vitrine_client.selection import is_name, is_version
from vitrine_client.settings import is_whole


@dataclass(frozen=True)
class ModelConfig:
    """One model: where the server finds it and which of its versions it serves, the highest alone by default.

    Attributes:
        name: what clients call the model.
        base_path: the folder with the versions, as the server sees it.
        platform: what runs the model.
        latest: serve the highest so many versions.
        specific: serve these versions.
        all: serve every version there is.
        labels: versions by label, for clients that ask for `label` instead of `version`.

    Raises:
        InvalidInput: values that no server knows, or more than one of `latest`, `specific` and `all`.
    """

    name: str
    base_path: str
    platform: str = "tensorflow"
    latest: int | None = None
    specific: Sequence[int] = ()
    all: bool = False
    labels: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_text(self.name, "name", "the name that clients call the model by")
        _check_text(self.base_path, "base_path", "the folder with the versions as a str, such as '/models/flowers'")
        _check_text(self.platform, "platform", "what runs the model, such as 'tensorflow'")
        if self.latest is not None and not (is_whole(self.latest) and 1 <= self.latest < 2**32):
            raise InvalidInput(f"latest={self.latest!r}: give a whole number from 1, or None")
        if not isinstance(self.specific, (list, tuple)) or not all(map(is_version, self.specific)):
            raise InvalidInput(f"specific={self.specific!r}: give whole numbers from 0, such as (1, 2)")
        if not isinstance(self.all, bool):
            raise InvalidInput(f"all={self.all!r}: give True or False")
        if (self.latest is not None) + bool(self.specific) + self.all > 1:
            raise InvalidInput(
                f"latest={self.latest}, specific={self.specific} and all={self.all}: give one of them at most"
            )
        if not isinstance(self.labels, Mapping):
            raise InvalidInput(f"labels={self.labels!r}: give a dict of versions by label, such as {{'stable': 1}}")
        for label, version in self.labels.items():
            _check_text(label, "labels", "names as keys, such as 'stable'")
            if not is_version(version):
                raise InvalidInput(f"labels[{label!r}]={version!r}: give a version, a whole number from 0")


def _check_text(value: object, name: str, what: str) -> None:
    if not is_name(value):
        raise InvalidInput(f"{name}={value!r}: give {what}")
