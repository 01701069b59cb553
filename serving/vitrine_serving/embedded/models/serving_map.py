"""What requests are answered from: the available versions, found without a lock."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from vitrine_serving.embedded.errors import not_found
from vitrine_serving.embedded.models.servable import Servable


class ServingMap:
    """Available versions by model name and number; by name and None, the highest of the model."""

    def __init__(self) -> None:
        # Replaced as a whole on every change, so that requests read it without a lock.
        self._servables: Mapping[tuple[str, int | None], Servable] = {}

    def acquire(self, name: str, version: int | None) -> Servable:
        """The version asked for, or the highest, held open; raises ServingError NOT_FOUND."""
        while True:
            servable = self._servables.get((name, version))
            if servable is None:
                wanted = f"Latest({name})" if version is None else f"Specific({name}, {version})"
                raise not_found(f"Servable not found for request: {wanted}")
            # A version is taken off the map before it retires: looking again finds its successor.
            if servable.acquire():
                return servable

    def is_serving(self, name: str, version: int | None = None) -> bool:
        """Whether this version of the model is available; without a version, whether any is."""
        return (name, version) in self._servables

    def publish(self, servables: Iterable[Servable]) -> None:
        """Serve these and no others."""
        replacement: dict[tuple[str, int | None], Servable] = {}
        for servable in sorted(servables, key=lambda servable: servable.version):
            replacement[servable.name, servable.version] = replacement[servable.name, None] = servable
        self._servables = replacement
