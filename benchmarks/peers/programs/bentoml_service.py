"""The model in BentoML.

Its documentation: for CPU workloads a worker process on each core (Parallelize requests handling, "CPU workloads");
adaptive batching is off unless asked for (Adaptive batching, "Configure adaptive batching"). A batchable endpoint takes
one list. Bytes come in JSON as base64: a list of files would be written to disk first.
"""

from __future__ import annotations

import base64
import os

import bentoml

from benchmarks.peers.programs.classifier import Classifier
from benchmarks.peers.programs.settings import MAX_BATCH_SIZE, Settings, become

_settings = Settings.from_environment()


@bentoml.service(workers=_settings.cores, traffic={"timeout": 60})
class Labels:
    def __init__(self) -> None:
        self._classifier = Classifier(_settings)

    @bentoml.api(batchable=_settings.batching, max_batch_size=MAX_BATCH_SIZE)
    def classify(self, pictures: list[str]) -> list[str]:
        return self._classifier.labels([base64.b64decode(picture) for picture in pictures])


def main() -> None:
    os.environ.update(BENTOML_HOME=str(_settings.folder), BENTOML_DO_NOT_TRACK="True")
    service = "benchmarks.peers.programs.bentoml_service:Labels"
    become("bentoml", "serve", service, "--host", "127.0.0.1", "--port", str(_settings.port))


if __name__ == "__main__":
    main()
