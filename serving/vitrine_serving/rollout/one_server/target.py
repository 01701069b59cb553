"""One server as the target of a rollout.

The server is told first (by gRPC, which tells a refusal), and what it has taken is written to models.config then. So
nothing is in the file that has not been loaded before: a version that brings the server down, or with which TensorFlow
Serving would not even start, is gone with the next start. Reading the file again and again instead
(--model_config_file_poll_wait_seconds) cannot do that, is a flag that running servers would have to be started anew
for, and has TensorFlow Serving log each reading.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

from vitrine_client import Client, RestClient, Unavailable, VersionStatus, VitrineError
from vitrine_serving.config.folder import replace_files
from vitrine_serving.config.models import PinnedModel, read_models
from vitrine_serving.errors import CommandError
from vitrine_serving.rollout.one_server import folder as files
from vitrine_serving.rollout.one_server import server, telling
from vitrine_serving.rollout.one_server.lock import FolderLock
from vitrine_serving.rollout.state import RolloutState
from vitrine_serving.rollout.target import Change, Health, TargetStatus, Track

# The server may look for versions once a second; until then it tells how the last attempt went.
_STALE_SECONDS = 5.0


def one_server(config: Path, model: str | None, grpc: str, rest: str) -> OneServerTarget:
    """The server that was started with the folder `config`, for its `model`, or the only one there.

    `grpc` and `rest` are its addresses, as HOST:PORT. Raises CommandError for a folder that cannot be read, another
    model, or several of them.
    """
    names = [entry.name for entry in read_models(config / files.MODELS)]
    if model is None and len(names) > 1:
        raise CommandError(f"{config} has several models; give one of them with --model: {', '.join(names)}")
    if model is not None and model not in names:
        raise CommandError(f"{config} has no model {model}; it has: {', '.join(names)}")
    return OneServerTarget(config, model or names[0], grpc, rest)


class OneServerTarget:
    """`Target` of one model of one server. A new version is loaded beside stable and reached by the label `canary`."""

    divides_traffic = False

    def __init__(self, folder: Path, model: str, grpc: str, rest: str) -> None:
        self.model = model
        self._folder = folder
        self._grpc = grpc
        self._rest = rest
        self._lock = FolderLock(folder / "rollout.lock")
        # Versions that this server was seen to load, and until when an old failure is not believed.
        self._seen: set[int] = set()
        self._stale_until = 0.0

    @property
    def name(self) -> str:
        return f"the server of {self._folder}"

    def held(self, by: str) -> AbstractContextManager[None]:
        return self._lock.held(by)

    def state(self) -> RolloutState | None:
        return files.read_record(self._folder, self.model).state

    def save(self, state: RolloutState) -> None:
        self._remember(replace(files.read_record(self._folder, self.model), state=state))

    def stable_version(self) -> int:
        """By the label `stable`, or the only one. Raises CommandError where models.config does not say."""
        return self._entry().labels["stable"]

    def previous_version(self) -> int | None:
        return files.read_record(self._folder, self.model).previous

    def start_canary(self, version: int) -> None:
        """Begin to load `version`, which has no label yet; models.config stays as it is."""
        self._lock.check()
        entry = self._entry()
        if others := set(entry.versions) - {self.stable_version(), version}:
            raise CommandError(
                f"{self._folder / files.MODELS}: model {self.model} has further versions "
                f"({', '.join(map(str, sorted(others)))}); pin it to one with `vitrine-serving config write`"
            )
        self._expect(version)
        self._tell(_beside(entry, version))

    def canary_health(self, version: int) -> Health:
        """Once the version is there, it gets the label `canary`, and models.config has it."""
        try:
            status = self._versions().get(version)
        except Unavailable as error:
            return Health(False, told=str(error))
        health = self._loaded(version, status)
        if health.ready:
            entry = self._entry()
            wanted = _beside(entry, version)
            wanted = replace(wanted, labels={**wanted.labels, "canary": version})
            if wanted != entry:
                self._apply(wanted)
        return health

    def set_share(self, percent: int) -> None:
        """Nothing: one server does not divide requests between versions, clients say which they want."""

    def share_health(self, percent: int) -> Health:
        return Health(True, told="one server does not divide requests: the label `canary` is for those who ask for it")

    def begin_promotion(self, version: int, previous: int | None) -> None:
        """All labels go to `version`, now where it is loaded, or else once it is (`promotion_health`)."""
        self._lock.check()
        self._remember(replace(files.read_record(self._folder, self.model), previous=previous))
        try:
            self._expect(version)
        except Unavailable:
            if previous is not None:
                raise
            # Back, and the server is down, maybe for what is stable now: its next start is with the version before.
            entry = self._entry()
            labels = {label: version for label in entry.labels if label != "canary"}
            self._write(replace(entry, versions=(version,), labels=labels))
            return
        self.promotion_health(version)

    def promotion_health(self, version: int) -> Health:
        """Goes on with what is left to do; ready once the server answers the label `stable` with `version`."""
        entry = self._entry()
        try:
            status = self._versions().get(version)
        except Unavailable as error:
            return Health(False, told=f"{error}; models.config says version {entry.labels['stable']}: start the server")
        if status is None or status.state != "AVAILABLE":
            health = self._loaded(version, status)
            if not health.failed and (status is None or status.state == "END"):
                self._tell(_beside(entry, version))
            return health
        if entry.labels["stable"] != version:
            entry = _beside(entry, version)
            self._apply(replace(entry, labels=dict.fromkeys(entry.labels, version)))
        elif server.version_labelled(self._rest, self.model, "stable") != version:
            # Killed before the file was written: the server is ahead of it.
            self._tell(entry)
        served = server.version_labelled(self._rest, self.model, "stable")
        return Health(served == version, told=f"the label stable is answered by version {served}")

    def end_canary(self) -> None:
        """Have the server unload all but stable; done by `canary_ended` where stable is not loaded yet."""
        self._lock.check()
        entry = self._entry()
        stable = entry.labels["stable"]
        status = self._versions().get(stable)
        if status is not None and status.state == "AVAILABLE":
            labels = {label: at for label, at in entry.labels.items() if at == stable and label != "canary"}
            self._apply(replace(entry, versions=(stable,), labels=labels))

    def canary_ended(self) -> Health:
        others = self._others()
        if any(one.state != "UNLOADING" for one in others) or self._entry().versions != (self.stable_version(),):
            self.end_canary()
            others = self._others()
        ended = not others and self._entry().versions == (self.stable_version(),)
        return Health(ended, told=", ".join(map(str, others)) or "no other version is loaded")

    def clients(self, track: Track) -> Sequence[Client]:
        """One, by REST, where the track's version is there."""
        version = self.stable_version() if track is Track.STABLE else self._canary_version()
        if version is None:
            return []
        status = self._versions().get(version)
        if status is None or status.state != "AVAILABLE":
            return []
        return [RestClient(self._rest, model=self.model, version=version, retries=0)]

    def prometheus_selectors(self, track: Track) -> str | None:
        """None: TensorFlow Serving counts no version apart, so the rollout's own questions judge."""
        return None

    def status(self) -> TargetStatus:
        versions: dict[int, VersionStatus] | str
        try:
            versions = self._versions()
        except VitrineError as error:
            versions = str(error)
        tracks = (
            telling.track_status(Track.STABLE, self.stable_version(), versions),
            telling.track_status(Track.CANARY, self._canary_version(), versions),
        )
        return TargetStatus(self.name, self.model, tracks, self.state(), self._lock.holder())

    def rollout_changes(self, version: int) -> list[Change]:
        entry = self._entry()
        labels = {label: version for label in entry.labels if label != "canary"}
        after = files.serving_files(self._folder, self._models(), replace(entry, versions=(version,), labels=labels))
        return [Change(name, (self._folder / name).read_text(encoding="utf-8"), text) for name, text in after.items()]

    def warnings(self, version: int) -> list[str]:
        return telling.warnings(self.model, version, self.stable_version())

    def _models(self) -> tuple[PinnedModel, ...]:
        return read_models(self._folder / files.MODELS)

    def _entry(self) -> PinnedModel:
        """The model as models.config has it, with the label `stable` in any case."""
        entry = next((model for model in self._models() if model.name == self.model), None)
        if entry is None:
            raise CommandError(f"{self._folder / files.MODELS} has no model {self.model} any more")
        if "stable" in entry.labels:
            return entry
        if len(entry.versions) > 1:
            raise CommandError(
                f"{self._folder / files.MODELS}: model {self.model} has versions "
                f"{', '.join(map(str, entry.versions))} and no label stable; write it anew with "
                "`vitrine-serving config write`"
            )
        return replace(entry, labels={**entry.labels, "stable": entry.versions[0]})

    def _canary_version(self) -> int | None:
        state = self.state()
        version = self._entry().labels.get("canary")
        if version is None and state is not None and not state.phase.finished:
            version = state.version
        return None if version == self.stable_version() else version

    def _versions(self) -> dict[int, VersionStatus]:
        return server.versions_of(self._rest, self.model)

    def _others(self) -> list[VersionStatus]:
        """Versions beside stable that are not gone yet."""
        stable = self.stable_version()
        return [one for one in self._versions().values() if one.version != stable and one.state != "END"]

    def _expect(self, version: int) -> None:
        """`version` is about to be loaded: what is known of earlier attempts no longer counts."""
        self._seen.discard(version)
        status = self._versions().get(version)
        failed = status is not None and server.failure(status)
        self._stale_until = time.monotonic() + _STALE_SECONDS if failed else 0.0

    def _loaded(self, version: int, status: VersionStatus | None) -> Health:
        if status is None:
            if version in self._seen:
                return Health(
                    False,
                    failed=True,
                    told=f"the server no longer knows version {version}, which it was loading: it was started anew "
                    "(short of memory?), or reads models.config again and again, which a rollout does not go with",
                )
            return Health(False, told=f"the server has not found version {version} below the model's base path")
        if status.state != "END":
            self._seen.add(version)
        elif (reason := server.failure(status)) and time.monotonic() > self._stale_until:
            return Health(False, failed=True, told=reason)
        return Health(status.state == "AVAILABLE", told=str(status))

    def _tell(self, changed: PinnedModel) -> None:
        models = [changed if model.name == self.model else model for model in self._models()]
        server.tell(self._grpc, models, self.model, self.stable_version())

    def _apply(self, changed: PinnedModel) -> None:
        """To the server, and then to the folder, so that a restart changes nothing."""
        self._lock.check()
        self._tell(changed)
        self._write(changed)

    def _write(self, changed: PinnedModel) -> None:
        replace_files(self._folder, files.serving_files(self._folder, self._models(), changed))

    def _remember(self, record: files.Record) -> None:
        self._lock.check()
        replace_files(self._folder, {files.ROLLOUTS: files.record_text(self._folder, self.model, record)})


def _beside(entry: PinnedModel, version: int) -> PinnedModel:
    return replace(entry, versions=tuple(sorted({*entry.versions, version})))
