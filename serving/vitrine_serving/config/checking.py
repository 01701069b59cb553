"""Would TensorFlow Serving take these files?"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vitrine_serving.config import messages
from vitrine_serving.config.batching import parse_batching
from vitrine_serving.config.errors import InvalidConfig, place
from vitrine_serving.config.models import parse_models
from vitrine_serving.config.monitoring import parse_monitoring

_KINDS: dict[str, tuple[Any, Callable[[bytes], Any]]] = {
    "models": (messages.ModelServerConfig, parse_models),
    "monitoring": (messages.MonitoringConfig, parse_monitoring),
    "batching": (messages.BatchingParameters, parse_batching),
}
_FIRST_FIELD = re.compile(rb"(?:\s|#[^\n]*\n)*(\w+)\s*[:{<]")


@dataclass(frozen=True)
class Finding:
    """What one file is (`models`, `monitoring`, `batching` or `unknown`), and what is wrong with it, if anything."""

    file: str
    kind: str
    problem: str | None = None
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        """One line: FILE:LINE:COLUMN: KIND: ok, or the problem."""
        return f"{place(self.file, self.line, self.column)}: {self.kind}: {self.problem or 'ok'}"


def check_file(path: Path) -> Finding:
    """Read one configuration file as TensorFlow Serving would."""
    try:
        content = path.read_bytes()
    except OSError as error:
        return Finding(str(path), "unknown", f"cannot be read: {error.strerror}")
    kind = _kind(content, path.name)
    if kind is None:
        return Finding(str(path), "unknown", f"neither name nor content says that it is one of {', '.join(_KINDS)}")
    try:
        _KINDS[kind][1](content)
    except InvalidConfig as error:
        return Finding(str(path), kind, str(error), error.line, error.column)
    return Finding(str(path), kind)


def _kind(content: bytes, name: str) -> str | None:
    """By the first field; by the file's name where there is none, or no such field."""
    if first := _FIRST_FIELD.match(content):
        for kind, (message, _) in _KINDS.items():
            if first[1].decode("ascii", "replace") in message.DESCRIPTOR.fields_by_name:
                return kind
    if name.endswith(".json"):
        return None
    return next((kind for kind in _KINDS if kind.removesuffix("s") in name.lower()), None)
