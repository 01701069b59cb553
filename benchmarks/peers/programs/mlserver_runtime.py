"""The model in MLServer.

Its documentation: inference in a pool of worker processes, by `parallel_workers` (Parallel Inference); adaptive
batching is off by default, its values to be found by trying (Adaptive Batching). Bytes come in JSON as base64, by the
codec for them (Content Types).
"""

from __future__ import annotations

import json

from mlserver import MLModel
from mlserver.codecs import Base64Codec, StringCodec
from mlserver.types import InferenceRequest, InferenceResponse

from benchmarks.peers.programs.classifier import Classifier
from benchmarks.peers.programs.settings import BATCH_SECONDS, MAX_BATCH_SIZE, Settings, become, free_port


class Runtime(MLModel):
    async def load(self) -> bool:
        self._classifier = Classifier(Settings.from_environment())
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        labels = self._classifier.labels(Base64Codec.decode_input(payload.inputs[0]))
        return InferenceResponse(model_name=self.name, outputs=[StringCodec.encode_output("labels", labels)])


def main() -> None:
    settings = Settings.from_environment()
    server = {
        "host": "127.0.0.1",
        "http_port": settings.port,
        "grpc_port": free_port(),
        "metrics_port": free_port(),
        "parallel_workers": settings.cores,
        "debug": False,
    }
    model = {"name": "model", "implementation": "benchmarks.peers.programs.mlserver_runtime.Runtime"}
    batching = {"max_batch_size": MAX_BATCH_SIZE, "max_batch_time": BATCH_SECONDS} if settings.batching else {}
    (settings.folder / "settings.json").write_text(json.dumps(server))
    (settings.folder / "model-settings.json").write_text(json.dumps(model | batching))
    become("mlserver", "start", str(settings.folder))


if __name__ == "__main__":
    main()
