"""What the clients answer with: small frozen values, the same for gRPC and REST."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Prediction:
    """What the model sees in one picture.

    Attributes:
        label: the best label.
        score: its score.
        top: (label, score) pairs, best first; `top[0]` is `(label, score)`. The model decides how many there are.
    """

    label: str
    score: float
    top: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class VersionStatus:
    """Where one version of a model is in its life.

    Attributes:
        version: the version's number.
        state: START, LOADING, AVAILABLE, UNLOADING or END (UNKNOWN if the server does not say).
        error_code: "OK", or the code's name, such as "NOT_FOUND", where loading failed.
        error_message: the server's reason; "" where nothing is wrong.
    """

    version: int
    state: str
    error_code: str
    error_message: str

    def __str__(self) -> str:
        reason = "" if self.error_code == "OK" else f" ({self.error_code}: {self.error_message})"
        return f"version {self.version} {self.state}{reason}"


@dataclass(frozen=True)
class ModelStatus:
    """The versions of a model that the server knows, highest first."""

    model: str
    versions: tuple[VersionStatus, ...]

    @property
    def available(self) -> tuple[int, ...]:
        """The versions that answer requests, highest first."""
        return tuple(status.version for status in self.versions if status.state == "AVAILABLE")


@dataclass(frozen=True)
class TensorInfo:
    """An input or output of a signature.

    Attributes:
        dtype: TensorFlow's name: "float32", "uint8", "string" ...
        shape: None stands for a size that is free, as the batch usually is; None instead of a tuple, for a free rank.
    """

    dtype: str
    shape: tuple[int | None, ...] | None


@dataclass(frozen=True)
class Signature:
    """One way of calling a model."""

    inputs: Mapping[str, TensorInfo]
    outputs: Mapping[str, TensorInfo]
    method_name: str


@dataclass(frozen=True)
class Metadata:
    """A loaded version and its signatures by name."""

    model: str
    version: int
    signatures: Mapping[str, Signature]
