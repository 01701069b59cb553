"""The model in LitServe.

Its documentation (of LitServer): on a CPU as many workers as cores, `fast_queue` above 100 requests a second; as many
HTTP servers as workers, which is the default. Batching is described as a means for GPUs (of LitAPI) and is off by
default. A file in a form is the one format in which a picture arrives without base64.
"""

# LitServe reads decode_request's annotation itself, as a type: no `from __future__ import annotations` here.
from collections.abc import Sequence

import litserve
from fastapi import UploadFile

from benchmarks.peers.programs.classifier import Classifier
from benchmarks.peers.programs.settings import BATCH_SECONDS, MAX_BATCH_SIZE, Settings


class _LabelApi(litserve.LitAPI):
    def __init__(self, settings: Settings, max_batch_size: int = 1, batch_timeout: float = 0.0) -> None:
        super().__init__(max_batch_size=max_batch_size, batch_timeout=batch_timeout)
        self._settings = settings

    def setup(self, device: str) -> None:
        self._classifier = Classifier(self._settings)

    def decode_request(self, request: UploadFile) -> bytes:
        return request.file.read()

    def encode_response(self, output: str) -> dict[str, str]:
        return {"label": output}


class _SingleLabelApi(_LabelApi):
    def predict(self, x: bytes) -> str:
        return self._classifier.labels([x])[0]


class _BatchedLabelApi(_LabelApi):
    def batch(self, inputs: Sequence[bytes]) -> list[bytes]:
        return list(inputs)

    def predict(self, x: list[bytes]) -> list[str]:
        return self._classifier.labels(x)

    def unbatch(self, output: list[str]) -> list[str]:
        return output


def main() -> None:
    settings = Settings.from_environment()
    # Without a timeout an idle worker polls its queue without a pause.
    api = _BatchedLabelApi(settings, MAX_BATCH_SIZE, BATCH_SECONDS) if settings.batching else _SingleLabelApi(settings)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=settings.cores, fast_queue=True, timeout=60)
    server.run(host="127.0.0.1", port=settings.port, log_level="warning", generate_client_file=False)


if __name__ == "__main__":
    main()
