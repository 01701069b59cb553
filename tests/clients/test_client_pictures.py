"""Pictures that are at fault: named by position, and the others still answered."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from client_standins import PREDICT, GrpcStandin
from PIL import ExifTags, Image

from vitrine_client import AsyncGrpcClient, GrpcClient, InvalidInput, Prediction, RestClient

BROKEN = b"no picture"


class Blocking:
    """AsyncGrpcClient with its methods awaited, so that one test asks all three clients."""

    def __init__(self, client: AsyncGrpcClient, loop: asyncio.AbstractEventLoop) -> None:
        self._client, self._loop = client, loop

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            async def ask() -> Any:
                return await getattr(self._client, name)(*arguments, **options)

            return self._loop.run_until_complete(ask())

        return call


@pytest.fixture(params=["grpc", "rest", "aio"])
def client(request: pytest.FixtureRequest, server):
    with contextlib.ExitStack() as stack:
        if request.param == "aio":
            loop = asyncio.new_event_loop()
            stack.callback(loop.close)
            blocking = Blocking(AsyncGrpcClient(server.grpc, model="shapes"), loop)
            stack.callback(blocking.close)
            yield blocking
        else:
            yield stack.enter_context(server.client(request.param))


def test_faults_are_named_before_anything_is_sent(grpc_standin: GrpcStandin, picture: bytes):
    asked: list[str] = []
    grpc_standin.answer = lambda path, request, context: asked.append(path) or b""
    with GrpcClient(grpc_standin.target, model="flowers") as client, pytest.raises(InvalidInput) as info:
        client.classify([picture, BROKEN, picture, b""])
    assert "images[1]" in str(info.value)
    assert "also images[3]" in str(info.value)
    assert info.value.positions == (1, 3)
    assert info.value.request_id == ""
    assert asked == []


def test_a_fault_is_skipped_or_returned(client, picture: bytes):
    [good] = client.classify([picture])
    assert client.classify([BROKEN, picture, b""], on_error="skip") == [good]
    first, second, third = client.classify([BROKEN, picture, b""], on_error="return")
    assert second == good
    assert isinstance(first, InvalidInput)
    assert "classify of model 'shapes'" in str(first)
    assert "images[0]" in str(first)
    assert isinstance(third, InvalidInput)
    assert third.positions == (2,)


def test_nothing_but_faults_is_no_request(closed_port: int):
    with GrpcClient(f"localhost:{closed_port}", model="flowers") as client:
        assert client.classify([BROKEN], on_error="skip") == []
        [error] = client.classify([BROKEN], on_error="return")
    assert isinstance(error, InvalidInput)


def test_what_only_the_server_finds_is_named_too(client, picture: bytes):
    [good] = client.classify([picture])
    with pytest.raises(InvalidInput, match=r"images\[1\]") as info:
        client.classify([picture, BROKEN, picture], check="off")
    assert info.value.positions == (1,)
    assert info.value.server_message
    answers = client.classify([picture, BROKEN, picture], check="off", on_error="return")
    assert [type(answer) for answer in answers] == [Prediction, InvalidInput, Prediction]
    assert answers[1].request_id
    assert answers[0].label == good.label
    assert client.classify([BROKEN, picture], check="off", on_error="skip")[0].label == good.label


@pytest.mark.parametrize(
    "wrong", [{"signature_name": "nonsense"}, {"signature_name": "dtypes"}, {"label": "nope"}], ids=str
)
@pytest.mark.parametrize("count", [1, 2])
def test_what_is_wrong_with_the_call_is_no_pictures_fault(client, picture: bytes, wrong: dict, count: int):
    for on_error in ("skip", "return", "raise"):
        with pytest.raises(InvalidInput) as info:
            client.classify([picture] * count, on_error=on_error, **wrong)
        assert info.value.positions == ()
        assert info.value.request_id


@pytest.mark.parametrize("words", ["Expects arg[0] to be float but string is provided", "computer says no"])
def test_a_refusal_that_speaks_of_no_picture_is_raised(grpc_standin: GrpcStandin, picture: bytes, words: str):
    grpc_standin.abort(grpc.StatusCode.INVALID_ARGUMENT, words)
    with GrpcClient(grpc_standin.target, model="flowers") as client:
        with pytest.raises(InvalidInput, match=re.escape(words)) as info:
            client.classify([picture, picture], on_error="skip")
        assert info.value.positions == ()
        with pytest.raises(InvalidInput, match=re.escape(words)):
            list(client.classify_many([picture, picture], on_error="skip"))


def test_a_refusal_of_one_of_several_is_its_fault(grpc_standin: GrpcStandin, picture: bytes):
    grpc_standin.abort(grpc.StatusCode.INVALID_ARGUMENT, "cannot decode")
    with GrpcClient(grpc_standin.target, model="flowers") as client:
        first, second = client.classify([picture, picture], on_error="return")
    assert (first.positions, second.positions) == ((0,), (1,))
    assert first.request_id
    assert first.request_id == second.request_id


def test_another_error_while_culprits_are_sought_is_not_what_is_told(grpc_standin: GrpcStandin, picture: bytes):
    codes = iter([grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.INTERNAL, grpc.StatusCode.INTERNAL])
    grpc_standin.answer = lambda path, request, context: context.abort(next(codes), f"an image, words of {path}")
    with GrpcClient(grpc_standin.target, model="flowers") as client, pytest.raises(InvalidInput) as info:
        client.classify([picture, picture], on_error="return")
    assert info.value.server_message == f"an image, words of {PREDICT}"


def test_wrong_ways_of_asking_are_told(client, picture: bytes):
    for wrong in ({"on_error": "ignore"}, {"max_side": 0}, {"check": "maybe"}, {"version": 1, "label": "stable"}):
        with pytest.raises(InvalidInput, match=next(iter(wrong))):
            client.classify([picture], **wrong)
    with pytest.raises(InvalidInput, match="nothing to classify"):
        client.classify([])


def test_a_picture_that_lies_on_its_side_is_sent_upright(client, encode):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    turned = encode(format="JPEG", size=(64, 48), exif=exif)
    [as_it_lies] = client.classify([turned], check="off")
    [upright] = client.classify([turned])
    assert upright.top != as_it_lies.top


def test_features_are_a_row_for_each_picture(client, encode):
    pictures = [encode(seed=seed) for seed in range(3)]
    features = client.features(pictures, signature_name="probabilities")
    assert features.shape == (3, 4)
    for picture, row in zip(pictures, features, strict=True):
        assert client.predict({"image_bytes": [picture]}, "probabilities")["probabilities"][0] == pytest.approx(
            row, rel=1e-4
        )
    with pytest.raises(InvalidInput, match="features"):
        client.features(pictures)


def test_rest_and_grpc_agree_on_features(server, picture: bytes):
    with RestClient(server.rest, model="shapes") as rest, server.client("grpc") as other:
        left = rest.features([picture], "probabilities")
        right = other.features([picture], "probabilities")
    assert left.dtype == right.dtype
    assert left == pytest.approx(right)
