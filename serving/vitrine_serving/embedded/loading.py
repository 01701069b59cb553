"""From a version's directory to a model ready to serve: loaded, warmed up, batching round it."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass

from vitrine_serving.embedded.errors import Code, ServingError
from vitrine_serving.embedded.inference import warmup
from vitrine_serving.embedded.inference.batch_scheduler import BatchScheduler
from vitrine_serving.embedded.inference.batching import BatchingModel
from vitrine_serving.embedded.inference.batching_parameters import BatchingParameters, model_batching_parameters
from vitrine_serving.embedded.inference.model import Model
from vitrine_serving.embedded.inference.saved_model import SavedModel, SessionOptions, load_saved_model
from vitrine_serving.embedded.inference.tflite_model import has_tflite_model, load_tflite_model
from vitrine_serving.embedded.metrics.server_metrics import ServerMetrics

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoadOptions:
    """How versions are loaded; `warmup_iterations` 0 leaves their warm-up requests alone.

    `prefer_tflite` loads a version's TensorFlow Lite model where there is one, to be run by
    `tflite_interpreters` requests at once.
    """

    session: SessionOptions
    tags: Sequence[str]
    warmup_iterations: int = 1
    check_method_names: bool = False
    batching: BatchingParameters | None = None
    per_model_batching: bool = False
    prefer_tflite: bool = False
    tflite_interpreters: int = 1


class Loader:
    """Loads versions for the model manager, from any thread."""

    def __init__(self, options: LoadOptions, metrics: ServerMetrics | None) -> None:
        self._options = options
        self._metrics = metrics
        self._scheduler = BatchScheduler(options.batching) if options.batching is not None else None

    def load(self, name: str, version: int, path: str) -> Model:
        """The model in directory `path`; raises ServingError with the reason for its status."""
        started = time.perf_counter()
        try:
            model = self._load(path)
        except ServingError:
            self._loaded(name, version, path, None, started)
            raise
        self._loaded(name, version, path, model, started)
        try:
            self._warm_up(model, path)
            return self._batched(model, path)
        except BaseException:
            model.close()
            raise

    def _load(self, path: str) -> Model:
        if self._options.prefer_tflite and has_tflite_model(path):
            return load_tflite_model(path, self._options.tflite_interpreters)
        on_run = self._metrics.graph_executed if self._metrics is not None else None
        return load_saved_model(path, self._options.session, self._options.tags, on_run)

    def _loaded(self, name: str, version: int, path: str, model: Model | None, started: float) -> None:
        if self._metrics is not None:
            seconds = time.perf_counter() - started
            stages = model.load_seconds if isinstance(model, SavedModel) else {}
            self._metrics.load_finished(name, version, path, model is not None, seconds, stages)

    def _warm_up(self, model: Model, path: str) -> None:
        if not self._options.warmup_iterations:
            return
        started = time.perf_counter()
        try:
            count = warmup.replay(model, path, self._options.warmup_iterations, self._options.check_method_names)
        except ServingError as error:
            # As TensorFlow Serving, which does not count a warm-up that a request's failure ends.
            if error.code is Code.DATA_LOSS:
                self._warmed_up(path, started, error)
            raise
        if count:
            logger.info("Replayed %d warm-up requests of %s in %.3f s", count, path, time.perf_counter() - started)
            self._warmed_up(path, started)

    def _warmed_up(self, path: str, started: float, error: ServingError | None = None) -> None:
        if self._metrics is not None:
            self._metrics.warmup_finished(path, time.perf_counter() - started, error)

    def _batched(self, model: Model, path: str) -> Model:
        parameters, scheduler = self._options.batching, self._scheduler
        if parameters is None:
            return model
        if self._options.per_model_batching:
            parameters = model_batching_parameters(path)
            if parameters is None:
                return model
        metrics = self._metrics
        if metrics is None:
            return BatchingModel(model, parameters, scheduler=scheduler)
        return BatchingModel(
            model,
            parameters,
            lambda _signature, rows, padded, queue_seconds: metrics.batch_executed(rows, padded, queue_seconds),
            on_request=metrics.batch_input,
            on_expired=metrics.batch_expired,
            scheduler=scheduler,
        )
