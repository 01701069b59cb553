"""What the objects of one deployment are called, and the labels and annotations that a rollout reads and writes."""

from __future__ import annotations

import re
from dataclasses import dataclass

from vitrine_serving.errors import CommandError
from vitrine_serving.rollout.target import Track

NAME_LABEL = "app.kubernetes.io/name"
COMPONENT_LABEL = "app.kubernetes.io/component"
TRACK_LABEL = "vitrine.dev/track"
MODEL_LABEL = "vitrine.dev/model"
VERSION_LABEL = "vitrine.dev/version"
ROLLOUT_ANNOTATION = "vitrine.dev/rollout"
PREVIOUS_ANNOTATION = "vitrine.dev/previous-version"
REST_PORT = 8501

# A DNS label, with room for what is added to it.
_NAME = re.compile(r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?")


@dataclass(frozen=True)
class Names:
    """The names of all objects of the deployment `name`. Raises CommandError where they could not be names."""

    name: str

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise CommandError(
                f"{self.name!r} cannot be the name of a deployment: accepted are small letters, digits and '-', a "
                "letter first, 40 characters at most; it is what comes before -stable in the Deployment's name"
            )

    def deployment(self, track: Track) -> str:
        return f"{self.name}-{track.value}"

    def service(self, track: Track) -> str:
        """What the Gateway's routes send a track's share to."""
        return f"{self.name}-{track.value}"

    @property
    def shared_services(self) -> tuple[str, str]:
        """What clients ask: by address, and headless for those that divide their requests themselves."""
        return self.name, f"{self.name}-headless"

    @property
    def lease(self) -> str:
        return f"{self.name}-rollout"

    @property
    def servers(self) -> dict[str, str]:
        """Labels of the servers of both tracks."""
        return {NAME_LABEL: self.name, COMPONENT_LABEL: "serving"}

    @property
    def configs(self) -> dict[str, str]:
        """Labels of the ConfigMaps that rollouts made."""
        return {NAME_LABEL: self.name, COMPONENT_LABEL: "rollout-config"}
