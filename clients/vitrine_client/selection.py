"""Which model is asked, and which of its versions."""

from __future__ import annotations

from dataclasses import dataclass

from vitrine_client.errors import InvalidInput
from vitrine_client.settings import is_whole


@dataclass(frozen=True)
class Selection:
    """A model; one of its versions by number or by label, or else the highest loaded one.

    Raises:
        InvalidInput: names or numbers that no server knows, or a version and a label at once.
    """

    model: str
    version: int | None = None
    label: str | None = None

    def __post_init__(self) -> None:
        if not is_name(self.model):
            raise InvalidInput(f"model={self.model!r}: give the name that the server knows the model by")
        if self.version is not None:
            if not is_version(self.version):
                raise InvalidInput(
                    f"version={self.version!r}: give a whole number from 0, or None for the highest loaded one"
                )
            object.__setattr__(self, "version", int(self.version))
        if self.label is None:
            return
        if not is_name(self.label):
            raise InvalidInput(f"label={self.label!r}: give a version label, such as 'stable', or None")
        if self.version is not None:
            raise InvalidInput(f"version={self.version} and label={self.label!r}: give one of them")

    def narrowed(self, version: int | None, label: str | None) -> Selection:
        """The version or label of one call in place of this one's; itself where the call names neither."""
        return self if version is None and label is None else Selection(self.model, version, label)

    def __str__(self) -> str:
        number = "" if self.version is None else f" version {self.version}"
        label = "" if self.label is None else f" label {self.label!r}"
        return f"model {self.model!r}{number}{label}"


def is_version(value: object) -> bool:
    return is_whole(value) and 0 <= value < 2**63


def is_name(value: object) -> bool:
    """Whether it is a text that can be sent, and not an empty one."""
    return is_text(value) and bool(value)


def is_text(value: object) -> bool:
    """Whether it is a str that can be sent: half a surrogate pair cannot."""
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
