"""Multi-inference: one set of examples, one run of the graph, the answers of several signatures."""

from __future__ import annotations

from collections.abc import Sequence

from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import inference_pb2, input_pb2

from vitrine_serving.embedded.errors import Code, ServingError, invalid_argument
from vitrine_serving.embedded.inference import classification, regression
from vitrine_serving.embedded.inference.deadlines import TimeLeft, unlimited
from vitrine_serving.embedded.inference.examples import serialized_examples
from vitrine_serving.embedded.inference.model import Model
from vitrine_serving.embedded.inference.saved_model import DEFAULT_SIGNATURE


def multi_inference(
    model: Model,
    tasks: Sequence[inference_pb2.InferenceTask],
    examples: input_pb2.Input,
    check_method_name: bool = False,
    time_left: TimeLeft = unlimited,
) -> list[inference_pb2.InferenceResult]:
    """Each task's result, in order, with the model's name and the signature's in its `model_spec`.

    Tasks classify or regress with different signatures of one model that take the same tensor. Raises
    ServingError: UNIMPLEMENTED for another method, INVALID_ARGUMENT for tasks that do not go together.
    """
    if not tasks:
        raise invalid_argument("MultiInferenceRequest has no tasks.")
    input_tensors: list[str] = []
    # By task, the tensor of each output it is answered from.
    wanted: list[dict[str, str]] = []
    seen: set[str] = set()
    for task in tasks:
        name = _check_names(task, tasks[0].model_spec.name, seen)
        signature = model.signatures.get(name)
        if signature is None:
            raise invalid_argument(f"Requested signature not found in model graph: {name}")
        outputs = _outputs(signature, task.method_name, check_method_name)
        wanted.append({output: signature.outputs[output].name for output in outputs})
        input_tensors += [info.name for info in signature.inputs.values()]
        if input_tensors[0] != input_tensors[-1]:
            raise invalid_argument("Input tensor must be the same for all Signatures.")

    array = serialized_examples(examples)
    fetches = sorted({tensor for outputs in wanted for tensor in outputs.values()})
    values = dict(zip(fetches, model.run_tensors({input_tensors[0]: array}, fetches, time_left), strict=True))

    results = []
    for task, tensors in zip(tasks, wanted, strict=True):
        answers = {output: values[tensor] for output, tensor in tensors.items()}
        result = inference_pb2.InferenceResult()
        result.model_spec.name = task.model_spec.name
        result.model_spec.signature_name = task.model_spec.signature_name or DEFAULT_SIGNATURE
        if task.method_name == classification.METHOD_NAME:
            result.classification_result.CopyFrom(classification.to_result(answers, len(array)))
        else:
            result.regression_result.CopyFrom(regression.to_result(answers[regression.OUTPUTS], len(array)))
        results.append(result)
    return results


def _check_names(task: inference_pb2.InferenceTask, model_name: str, seen: set[str]) -> str:
    """The name of the task's signature, which is added to `seen`."""
    if not task.model_spec.name:
        raise invalid_argument("Found ModelSpec with an empty model name.")
    if task.model_spec.name != model_name:
        raise invalid_argument("All ModelSpecs in a MultiInferenceRequest must access the same model name.")
    name = task.model_spec.signature_name or DEFAULT_SIGNATURE
    if name in seen:
        raise invalid_argument(f"Duplicate evaluation of signature: {name}")
    seen.add(name)
    return str(name)


def _outputs(signature: meta_graph_pb2.SignatureDef, method_name: str, check_method_name: bool) -> list[str]:
    if method_name == classification.METHOD_NAME:
        return classification.check_signature(signature, check_method_name)
    if method_name == regression.METHOD_NAME:
        regression.check_signature(signature, check_method_name)
        return [regression.OUTPUTS]
    raise ServingError(Code.UNIMPLEMENTED, f"Unsupported signature method_name: {method_name}")
