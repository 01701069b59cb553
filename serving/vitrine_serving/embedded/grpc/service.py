"""PredictionService and ModelService: messages to the core and back, nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import grpc
from numpy.typing import NDArray
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    model_pb2,
    predict_pb2,
    regression_pb2,
)

from vitrine_serving.embedded.core import Core, ModelTarget
from vitrine_serving.embedded.errors import invalid_argument
from vitrine_serving.embedded.inference.deadlines import TimeLeft
from vitrine_serving.embedded.inference.memory import trim_after
from vitrine_serving.embedded.inference.saved_model import check_input_names
from vitrine_serving.embedded.inference.tensors import fill_proto, to_ndarray
from vitrine_serving.embedded.messages import metadata_response, status_response

PREDICTION_SERVICE = "tensorflow.serving.PredictionService"
MODEL_SERVICE = "tensorflow.serving.ModelService"


class Services:
    """Every method takes a request message and what is left of its time, and returns the response message.

    Raises ServingError, which the caller turns into a gRPC status.
    """

    def __init__(self, core: Core, tensor_content: bool) -> None:
        """`tensor_content`: answer tensors as raw bytes and not in typed fields."""
        self._core = core
        self._tensor_content = tensor_content

    def predict(self, request: predict_pb2.PredictRequest, time_left: TimeLeft) -> predict_pb2.PredictResponse:
        prediction = self._core.predict(
            _target(request),
            request.model_spec.signature_name,
            lambda signature: _read_inputs(request, signature),
            list(request.output_filter),
            time_left,
        )
        response = predict_pb2.PredictResponse()
        _fill_spec(response.model_spec, prediction.name, prediction.version, prediction.signature_name)
        outputs = response.outputs
        for name, array in prediction.outputs.items():
            fill_proto(outputs[name], array, self._tensor_content)
        return response

    def classify(
        self, request: classification_pb2.ClassificationRequest, time_left: TimeLeft
    ) -> classification_pb2.ClassificationResponse:
        answer = self._core.classify(_target(request), request.model_spec.signature_name, request.input, time_left)
        response = classification_pb2.ClassificationResponse(result=answer.result)
        _fill_spec(response.model_spec, answer.name, answer.version, answer.signature_name)
        return response

    def regress(
        self, request: regression_pb2.RegressionRequest, time_left: TimeLeft
    ) -> regression_pb2.RegressionResponse:
        answer = self._core.regress(_target(request), request.model_spec.signature_name, request.input, time_left)
        response = regression_pb2.RegressionResponse(result=answer.result)
        _fill_spec(response.model_spec, answer.name, answer.version, answer.signature_name)
        return response

    def multi_inference(
        self, request: inference_pb2.MultiInferenceRequest, time_left: TimeLeft
    ) -> inference_pb2.MultiInferenceResponse:
        # As in TensorFlow Serving, the first task's model answers for all of them.
        first = request.tasks[0] if request.tasks else inference_pb2.InferenceTask()
        target = _target(first) if first.HasField("model_spec") else ModelTarget("")
        results = self._core.multi_inference(target, request.tasks, request.input, time_left)
        return inference_pb2.MultiInferenceResponse(results=results)

    def get_model_metadata(
        self, request: get_model_metadata_pb2.GetModelMetadataRequest, _: TimeLeft
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        target = _target(request)
        if not request.metadata_field:
            raise invalid_argument("GetModelMetadataRequest must specify at least one metadata_field")
        for field in request.metadata_field:
            if field != "signature_def":
                raise invalid_argument(f"Metadata field {field} is not supported")
        return metadata_response(self._core.metadata(target))

    def get_model_status(
        self, request: get_model_status_pb2.GetModelStatusRequest, _: TimeLeft
    ) -> get_model_status_pb2.GetModelStatusResponse:
        return status_response(self._core.status(_target(request)))

    def reload_config(
        self, request: model_management_pb2.ReloadConfigRequest, time_left: TimeLeft
    ) -> model_management_pb2.ReloadConfigResponse:
        if request.config.WhichOneof("config") != "model_config_list":
            raise invalid_argument(
                "ServerModelConfig type not supported by HandleReloadConfigRequest. "
                "Only ModelConfigList is currently supported"
            )
        before = {name: self._core.metric_value(name) for name in request.metric_names}
        self._core.reload(request.config, time_left)
        response = model_management_pb2.ReloadConfigResponse()
        response.status.error_code = 0
        for name, value in before.items():
            response.metric.add(name=name, int64_value_increase=self._core.metric_value(name) - value)
        return response


Behavior = Callable[[Any, TimeLeft], Any]
Wrapper = Callable[[str, Behavior, Any], Callable[[bytes, grpc.ServicerContext], Any]]


def handlers(services: Services, wrap: Wrapper) -> Iterable[grpc.GenericRpcHandler]:
    """Handlers of all methods, each behaviour put through `wrap` with its method's name and its request's class."""
    methods: dict[str, dict[str, tuple[Behavior, Any]]] = {
        PREDICTION_SERVICE: {
            "Predict": (services.predict, predict_pb2.PredictRequest),
            "Classify": (services.classify, classification_pb2.ClassificationRequest),
            "Regress": (services.regress, regression_pb2.RegressionRequest),
            "MultiInference": (services.multi_inference, inference_pb2.MultiInferenceRequest),
            "GetModelMetadata": (services.get_model_metadata, get_model_metadata_pb2.GetModelMetadataRequest),
        },
        MODEL_SERVICE: {
            "GetModelStatus": (services.get_model_status, get_model_status_pb2.GetModelStatusRequest),
            "HandleReloadConfigRequest": (services.reload_config, model_management_pb2.ReloadConfigRequest),
        },
    }
    for service, behaviors in methods.items():
        yield grpc.method_handlers_generic_handler(
            service,
            {
                method: grpc.unary_unary_rpc_method_handler(wrap(method, behavior, request), None, _serialize)
                for method, (behavior, request) in behaviors.items()
            },
        )


def _serialize(response: Any) -> bytes:
    serialized: bytes = response.SerializeToString()
    trim_after(len(serialized))
    return serialized


def _read_inputs(
    request: predict_pb2.PredictRequest, signature: meta_graph_pb2.SignatureDef
) -> dict[str, NDArray[Any]]:
    if not signature.defaults:
        # As in TensorFlow Serving, the wrong name of a tensor is worse than what is wrong with it.
        check_input_names(signature.inputs, request.inputs)
    return {name: to_ndarray(name, proto) for name, proto in request.inputs.items()}


def _target(request: Any) -> ModelTarget:
    if not request.HasField("model_spec"):
        raise invalid_argument("Missing ModelSpec")
    spec: model_pb2.ModelSpec = request.model_spec
    choice = spec.WhichOneof("version_choice")
    return ModelTarget(
        spec.name,
        spec.version.value if choice == "version" else None,
        spec.version_label if choice == "version_label" else None,
    )


def _fill_spec(spec: model_pb2.ModelSpec, name: str, version: int, signature_name: str) -> None:
    spec.name = name
    spec.version.value = version
    spec.signature_name = signature_name
