"""What inputs and outputs must be like to go into one batch, and what is padded."""

from __future__ import annotations

import numpy as np
import pytest
from batched_models import EchoModel, answer, error, floats, parameters, requests_to, strings

from vitrine_serving.embedded.errors import Code, ServingError


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"a": np.array(1), "b": strings(b"x")}, "Batching Run() input tensors must have at least one dimension"),
        (
            {"a": np.array([1, 2]), "b": strings(b"x")},
            "Batching Run() input tensors must have equal 0th-dimension size",
        ),
    ],
)
def test_inputs_need_one_0th_dimension(inputs, message):
    with requests_to(EchoModel(), parameters(2)) as requests, pytest.raises(ServingError) as refused:
        requests.model.run("two", inputs)
    assert (refused.value.code, refused.value.message) == (Code.INVALID_ARGUMENT, message)


def test_different_shapes_fail_the_batch_unless_they_are_padded():
    small, large = np.array([[[1, 2], [3, 4]]], np.float32), np.full((1, 3, 3), 9, np.float32)
    with requests_to(EchoModel(), parameters(2)) as requests:
        for request in [requests.send("one", {"x": small}), requests.send("one", {"x": large})]:
            assert error(request).code is Code.FAILED_PRECONDITION
            assert (
                "Tensors with name 'x:0' from different tasks have different shapes and padding is turned off. "
                "Set pad_variable_length_inputs to true"
            ) in error(request).message
    with requests_to(EchoModel(), parameters(2, pad_variable_length_inputs=True)) as requests:
        padded, whole = requests.send("one", {"x": small}), requests.send("one", {"x": large})
        # With its own first element, at the end of each dimension.
        assert answer(padded)["x"].tolist() == [[[1, 2, 1], [3, 4, 1], [1, 1, 1]]]
        assert answer(whole)["x"].tolist() == large.tolist()
        words = [
            requests.send("text", {"text": strings(b"a\0", b"b").reshape(1, 2)}),
            requests.send("text", {"text": strings(b"c", b"d", b"e").reshape(1, 3)}),
        ]
        assert [answer(request)["text"].tolist() for request in words] == [
            [[b"a\0", b"b", b"a\0"]],
            [[b"c", b"d", b"e"]],
        ]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ([np.zeros((1, 0)), np.zeros((1, 2))], "Got empty tensor in batch of non-empty tensors."),
        ([np.zeros((1, 1, 1, 1, 1, 1, 1))] * 2, "Only tensors with rank from 1 to 6 can be padded."),
        ([np.zeros((1, 2)), np.zeros((1, 2, 3))], "same rank"),
    ],
)
def test_what_cannot_be_padded_is_refused(arrays, message):
    with requests_to(EchoModel(), parameters(2, pad_variable_length_inputs=True)) as requests:
        for request in [requests.send("one", {"x": array.astype(np.float32)}) for array in arrays]:
            assert error(request).code is Code.INVALID_ARGUMENT
            assert message in error(request).message


def test_types_are_not_converted_into_each_other():
    with requests_to(EchoModel(), parameters(2)) as requests:
        for request in [requests.send("one", {"x": floats(1)}), requests.send("one", {"x": np.array([1])})]:
            assert error(request).code is Code.INTERNAL
            assert (
                "Cannot concatenate tensors that have different data types. Got float and int64."
                in error(request).message
            )


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (floats(1, 2, 3), "Batched output tensor's 0th dimension does not equal the sum of the 0th dimension sizes"),
        (np.float32(1).reshape(()), "Batched output tensor has 0 dimensions"),
    ],
)
def test_outputs_need_a_row_for_each_row_of_the_inputs(output, message):
    class Constant(EchoModel):
        def run(self, signature_name, inputs, outputs=None, time_left=None):
            return {"x": output}

    with requests_to(Constant(), parameters(1)) as requests:
        failed = error(requests.send("one", {"x": floats(1)}))
        assert failed.code is Code.FAILED_PRECONDITION
        assert message in failed.message


def test_no_rows_at_all_are_an_answer_too():
    model = EchoModel()
    with requests_to(model, parameters(4, batch_timeout_micros=0, allowed_batch_sizes=(2, 4))) as requests:
        assert answer(requests.send("one", {"x": floats()}))["x"].shape == (0,)
    assert [batch["x"].shape for batch in model.batches()] == [(0,)]
