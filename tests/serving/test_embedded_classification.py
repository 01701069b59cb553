"""Classify, regress and multi-inference, on a SavedModel with the signatures TensorFlow 1 wrote."""

from __future__ import annotations

import pytest
import tensorflow as tf
import tf1models
from tensorflow_serving.apis import inference_pb2, input_pb2

from vitrine_serving.embedded.errors import Code, ServingError
from vitrine_serving.embedded.inference.classification import classify
from vitrine_serving.embedded.inference.multi_inference import multi_inference
from vitrine_serving.embedded.inference.regression import regress
from vitrine_serving.embedded.inference.saved_model import load_saved_model

CLASSIFY, REGRESS = "tensorflow/serving/classify", "tensorflow/serving/regress"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    model = load_saved_model(str(tf1models.write_half_plus_two(tmp_path_factory.mktemp("tf1") / "1")))
    yield model
    model.close()


def example(**features: float) -> tf.train.Example:
    message = tf.train.Example()
    for name, value in features.items():
        message.features.feature[name].float_list.value.append(value)
    return message


def examples(*values: float) -> input_pb2.Input:
    message = input_pb2.Input()
    message.example_list.examples.extend(example(x=value) for value in values)
    return message


def tasks(*named: tuple[str, str], model_name: str = "model") -> list[inference_pb2.InferenceTask]:
    listed = []
    for signature_name, method_name in named:
        task = inference_pb2.InferenceTask(method_name=method_name)
        task.model_spec.name = model_name
        task.model_spec.signature_name = signature_name
        listed.append(task)
    return listed


def classes_of(result):
    return [[(found.label, found.score) for found in one.classes] for one in result.classifications]


def values_of(result):
    return [one.value for one in result.regressions]


@pytest.mark.parametrize(
    ("signature_name", "expected"),
    [
        ("classify_x_to_y", [[("", 2.5)], [("", 3.0)]]),
        ("classify_both", [[("2.5", 2.5)], [("3.0", 3.0)]]),
        ("classify_labels", [[("2.5", 0.0)], [("3.0", 0.0)]]),
    ],
)
def test_classify_answers_with_scores_labels_or_both(model, signature_name, expected):
    assert classes_of(classify(model, signature_name, examples(1, 2))) == expected


def test_regress_answers_one_value_an_example(model):
    assert values_of(regress(model, "regress_x_to_y2", examples(1, 2, 3))) == [3.5, 4.0, 4.5]


def test_a_context_is_shared_by_all_examples_and_gives_way_to_theirs(model):
    message = input_pb2.Input()
    message.example_list_with_context.context.CopyFrom(example(x=4, x2=7))
    message.example_list_with_context.examples.extend([example(), example(x=1)])
    assert values_of(regress(model, "regress_x_to_y", message)) == [4.0, 2.5]


def test_a_context_too_large_for_its_many_examples_is_refused(model):
    message = input_pb2.Input()
    context = message.example_list_with_context.context
    context.features.feature["x"].bytes_list.value.append(bytes(2**20))
    for _ in range(1000):
        message.example_list_with_context.examples.add()
    with pytest.raises(ServingError, match="too large; send smaller batches"):
        regress(model, "regress_x_to_y", message)


@pytest.mark.parametrize("context", [False, True])
def test_no_examples_are_refused(model, context):
    empty = input_pb2.Input()
    if context:
        empty.example_list_with_context.context.CopyFrom(example(x=1))
    for ask in (
        lambda: classify(model, "classify_x_to_y", empty),
        lambda: regress(model, "regress_x_to_y", empty),
        lambda: multi_inference(model, tasks(("regress_x_to_y", REGRESS)), empty),
    ):
        with pytest.raises(ServingError, match="Input is empty") as raised:
            ask()
        assert raised.value.code is Code.INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("ask", "signature_name", "phrase"),
    [
        (classify, "none", "No signature was found with the name: none"),
        (regress, "none", "No signature was found with the name: none"),
        (classify, "", "No classification inputs found in SignatureDef"),
        (classify, "two_inputs", "Expected one input Tensor"),
        (classify, "other_output", 'outputs to contain at least one of "classes" or "scores"'),
        (classify, "flat_scores", "Expected Tensor shape: [batch_size num_classes] but got [2]"),
        (classify, "double_scores", "Expected scores Tensor of DT_FLOAT. Got: DT_DOUBLE"),
        (classify, "short_scores", "Expected scores output batch size of 2. Got: 1"),
        (classify, "uneven", "Tensors class and score should match in dim_size(1). Got 2 vs. 1"),
        (regress, "classify_both", "Expected one output Tensor"),
        (regress, "other_input", "No regression inputs found in SignatureDef"),
        (regress, "classify_x_to_y", "No regression outputs found in SignatureDef"),
        (regress, "wide_values", "[batch_size] or [batch_size, 1] but got [2,2]"),
        (regress, "short_values", "Input batch size did not match output batch size: 2 vs. 1"),
        (regress, "double_values", "Expected output Tensor of DT_FLOAT.  Got: DT_DOUBLE"),
        (regress, "regress_x2_to_y3", "to be float but string is provided"),
    ],
)
def test_signatures_that_do_not_fit_the_method(model, ask, signature_name, phrase):
    with pytest.raises(ServingError) as raised:
        ask(model, signature_name, examples(1, 2))
    assert (raised.value.code, phrase in raised.value.message) == (Code.INVALID_ARGUMENT, True), raised.value.message


def test_an_example_the_graph_cannot_parse_is_the_senders_error(model):
    message = input_pb2.Input()
    message.example_list.examples.add()
    with pytest.raises(ServingError, match="x") as raised:
        regress(model, "regress_x_to_y", message)
    assert raised.value.code is Code.INVALID_ARGUMENT


def test_method_names_are_checked_on_demand_only(model):
    assert values_of(regress(model, "unnamed", examples(1))) == [2.5]
    with pytest.raises(ServingError, match=f"regression signature method_name to be {REGRESS}. Was: "):
        regress(model, "unnamed", examples(1), check_method_name=True)
    with pytest.raises(ServingError, match=f"classification signature method_name to be {CLASSIFY}. Was: {REGRESS}"):
        classify(model, "regress_x_to_y", examples(1), check_method_name=True)
    assert values_of(regress(model, "regress_x_to_y", examples(1), check_method_name=True)) == [2.5]


def test_several_signatures_answer_one_request_in_order(model):
    asked = tasks(("regress_x_to_y2", REGRESS), ("classify_both", CLASSIFY), ("regress_x_to_y", REGRESS))
    first, second, third = multi_inference(model, asked, examples(1, 2))
    assert values_of(first.regression_result) == [3.5, 4.0]
    assert classes_of(second.classification_result) == [[("2.5", 2.5)], [("3.0", 3.0)]]
    assert values_of(third.regression_result) == [2.5, 3.0]
    assert [result.model_spec for result in (first, second, third)] == [task.model_spec for task in asked]


@pytest.mark.parametrize(
    ("asked", "code", "phrase"),
    [
        ([], "INVALID_ARGUMENT", "no tasks"),
        (tasks(("regress_x_to_y", REGRESS), model_name=""), "INVALID_ARGUMENT", "with an empty model name"),
        (
            [*tasks(("regress_x_to_y", REGRESS)), *tasks(("regress_x_to_y2", REGRESS), model_name="other")],
            "INVALID_ARGUMENT",
            "must access the same model name",
        ),
        (
            tasks(("regress_x_to_y", REGRESS), ("regress_x_to_y", REGRESS)),
            "INVALID_ARGUMENT",
            "Duplicate evaluation of signature: regress_x_to_y",
        ),
        (tasks(("none", REGRESS)), "INVALID_ARGUMENT", "signature not found in model graph: none"),
        (tasks(("", "tensorflow/serving/predict")), "UNIMPLEMENTED", "Unsupported signature method_name"),
        (tasks(("", REGRESS)), "INVALID_ARGUMENT", "No regression inputs found"),
        (
            tasks(("regress_x_to_y", REGRESS), ("regress_x2_to_y3", REGRESS)),
            "INVALID_ARGUMENT",
            "Input tensor must be the same for all Signatures",
        ),
    ],
)
def test_tasks_that_do_not_go_together(model, asked, code, phrase):
    with pytest.raises(ServingError) as raised:
        multi_inference(model, asked, examples(1))
    assert (raised.value.code.name, phrase in raised.value.message) == (code, True), raised.value.message
