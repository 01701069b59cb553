"""The serving API without a transport: who is asked for what, and the typed answer.

gRPC and REST translate to and from the values here and raise nothing but ServingError to their clients.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from numpy.typing import NDArray
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import classification_pb2, inference_pb2, input_pb2, regression_pb2

from vitrine_serving.embedded.errors import SignatureNotFoundError, invalid_argument, not_found
from vitrine_serving.embedded.inference import classification, multi_inference, regression
from vitrine_serving.embedded.inference.deadlines import TimeLeft, unlimited
from vitrine_serving.embedded.inference.examples import serialized_examples
from vitrine_serving.embedded.inference.pictures import PictureLimit, example_strings, strings
from vitrine_serving.embedded.inference.saved_model import DEFAULT_SIGNATURE, check_method_name
from vitrine_serving.embedded.metrics.server_metrics import Api, ServerMetrics
from vitrine_serving.embedded.models.config import ModelServerConfig
from vitrine_serving.embedded.models.models import Models
from vitrine_serving.embedded.models.servable import Servable
from vitrine_serving.embedded.models.version import VersionStatus

Arrays = Mapping[str, NDArray[Any]]
InputReader = Callable[[meta_graph_pb2.SignatureDef], Arrays]


class ModelTarget(NamedTuple):
    """The model asked for: its latest version, a numbered or a labelled one."""

    name: str
    version: int | None = None
    label: str | None = None


class Prediction(NamedTuple):
    """A signature's answer, and which version gave it."""

    name: str
    version: int
    signature_name: str
    outputs: Arrays


class Classification(NamedTuple):
    """Classes of each example, and which version gave them."""

    name: str
    version: int
    signature_name: str
    result: classification_pb2.ClassificationResult


class Regression(NamedTuple):
    """A value of each example, and which version gave it."""

    name: str
    version: int
    signature_name: str
    result: regression_pb2.RegressionResult


class Metadata(NamedTuple):
    """A version's signatures."""

    name: str
    version: int
    signatures: Mapping[str, meta_graph_pb2.SignatureDef]


class Core:
    """Answers requests from the server's models. Safe to call from many threads at once."""

    def __init__(
        self,
        models: Models,
        metrics: ServerMetrics | None = None,
        check_method_names: bool = False,
        pictures: PictureLimit | None = None,
    ) -> None:
        """`check_method_names`: refuse signatures whose method is not the one that is asked of them."""
        self._models = models
        self._metrics = metrics
        self._check_method_names = check_method_names
        self._pictures = pictures

    def predict(
        self,
        target: ModelTarget,
        signature_name: str,
        read_inputs: InputReader,
        output_filter: Sequence[str] = (),
        time_left: TimeLeft = unlimited,
    ) -> Prediction:
        """Run a signature (empty name: `serving_default`).

        `read_inputs` makes the input arrays once the signature, which may be needed to read them, is
        known. `output_filter` names the outputs to answer with; empty means all.
        """
        signature_name = signature_name or DEFAULT_SIGNATURE
        with self._acquire(target) as servable:
            signature = servable.model.signatures.get(signature_name)
            if signature is None:
                raise SignatureNotFoundError(signature_name)
            if self._check_method_names:
                check_method_name(signature)
            inputs = read_inputs(signature)
            if self._pictures is not None:
                self._pictures.check(strings(inputs))
            started = time.perf_counter()
            outputs = servable.model.run(signature_name, inputs, output_filter, time_left)
            self._ran("Predict", servable.name, started)
            return Prediction(servable.name, servable.version, signature_name, outputs)

    def classify(
        self, target: ModelTarget, signature_name: str, examples: input_pb2.Input, time_left: TimeLeft = unlimited
    ) -> Classification:
        """The classes of each example (empty signature name: `serving_default`)."""
        self._check_examples(examples)
        started = time.perf_counter()
        with self._acquire(target) as servable:
            result = classification.classify(
                servable.model, signature_name, examples, self._check_method_names, time_left
            )
            self._ran("Classify", servable.name, started)
            return Classification(servable.name, servable.version, signature_name or DEFAULT_SIGNATURE, result)

    def regress(
        self, target: ModelTarget, signature_name: str, examples: input_pb2.Input, time_left: TimeLeft = unlimited
    ) -> Regression:
        """One value for each example (empty signature name: `serving_default`)."""
        self._check_examples(examples)
        started = time.perf_counter()
        with self._acquire(target) as servable:
            result = regression.regress(servable.model, signature_name, examples, self._check_method_names, time_left)
            self._ran("Regress", servable.name, started)
            return Regression(servable.name, servable.version, signature_name or DEFAULT_SIGNATURE, result)

    def multi_inference(
        self,
        target: ModelTarget,
        tasks: Sequence[inference_pb2.InferenceTask],
        examples: input_pb2.Input,
        time_left: TimeLeft = unlimited,
    ) -> list[inference_pb2.InferenceResult]:
        """What several signatures of one model make of the same examples, in the order of `tasks`."""
        self._check_examples(examples)
        with self._acquire(target) as servable:
            results = multi_inference.multi_inference(
                servable.model, tasks, examples, self._check_method_names, time_left
            )
            for result in results:
                result.model_spec.version.value = servable.version
            if self._metrics is not None:
                self._metrics.examples(servable.name, len(serialized_examples(examples)))
            return results

    def metadata(self, target: ModelTarget) -> Metadata:
        with self._acquire(target) as servable:
            return Metadata(servable.name, servable.version, servable.model.signatures)

    def status(self, target: ModelTarget) -> list[VersionStatus]:
        """The version asked for by number, or every version known, highest first.

        A label makes no difference, as in TensorFlow Serving.
        """
        known = self._models.statuses(target.name)
        if target.version is None:
            if not known:
                raise not_found(f"Could not find any versions of model {target.name}")
            return known
        found = [status for status in known if status.version == target.version]
        if not found:
            raise not_found(f"Could not find version {target.version} of model {target.name}")
        return found

    def reload(self, config: ModelServerConfig, time_left: TimeLeft = unlimited) -> None:
        """Serve the models of `config` and no others; see `Models.reload`, also for the errors raised."""
        self._models.reload(config, time_left())

    def metric_value(self, path: str) -> int:
        """The counter that TensorFlow registers as `path`; 0 for an unknown one, and where nothing is counted."""
        return self._metrics.first_value(path) if self._metrics is not None else 0

    def _check_examples(self, examples: input_pb2.Input) -> None:
        if self._pictures is not None:
            self._pictures.check(example_strings(examples))

    def _ran(self, api: Api, name: str, started: float) -> None:
        if self._metrics is not None:
            self._metrics.run_finished(name, api, time.perf_counter() - started)

    def _acquire(self, target: ModelTarget) -> Servable:
        if not target.name:
            raise invalid_argument("ModelSpec has no name specified.")
        return self._models.acquire(target.name, target.version, target.label)
