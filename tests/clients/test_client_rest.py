"""REST where a healthy server never goes: nobody there, nobody answering, no JSON; and what is sent."""

from __future__ import annotations

import base64
import json

import numpy as np
import pytest
from client_standins import PICTURE, RestStandin, skip_pauses
from processes import DEADLINE_SECONDS

from vitrine_client import (
    BadResponse,
    DeadlineExceeded,
    InvalidInput,
    ModelNotFound,
    Overloaded,
    RestClient,
    Unavailable,
    VitrineError,
)

CLASSIFIED = b'{"outputs": {"labels": [["rose", "tulip"]], "scores": [[0.75, 0.25]]}}'


def test_classify_is_one_request(rest_standin: RestStandin):
    rest_standin.body = CLASSIFIED
    with RestClient(rest_standin.address, model="flowers", version=3) as client:
        [prediction] = client.classify([PICTURE])
    assert prediction.top == (("rose", 0.75), ("tulip", 0.25))
    [(verb, path, body)] = rest_standin.asked
    assert (verb, path) == ("POST", "/v1/models/flowers/versions/3:predict")
    assert json.loads(body) == {
        "signature_name": "serving_default",
        "inputs": {"image_bytes": [{"b64": base64.b64encode(PICTURE).decode()}]},
    }


@pytest.mark.parametrize("prefix", ["", "http://"])
@pytest.mark.parametrize("suffix", ["", "/", "/behind/a/proxy", "/behind/a/proxy/"])
def test_addresses_may_be_written_in_several_ways(rest_standin: RestStandin, prefix: str, suffix: str):
    rest_standin.body = CLASSIFIED
    with RestClient(f"{prefix}{rest_standin.address}{suffix}", model="flowers") as client:
        client.classify([PICTURE])
    assert rest_standin.asked[0][1] == f"{suffix.rstrip('/')}/v1/models/flowers:predict"


def test_model_names_are_percent_encoded(rest_standin: RestStandin):
    rest_standin.body = CLASSIFIED
    with RestClient(rest_standin.address, model="my models/ü:1?") as client:
        client.classify([PICTURE])
    assert rest_standin.asked[0][1] == "/v1/models/my%20models%2F%C3%BC%3A1%3F:predict"


def test_numbers_are_sent_bare_even_if_not_finite(rest_standin: RestStandin):
    rest_standin.status, rest_standin.body = 400, b'{"error": "enough"}'
    with RestClient(rest_standin.address, model="flowers") as client, pytest.raises(InvalidInput):
        client.predict({"x": np.array([1.5, np.nan, np.inf, -np.inf], np.float32), "n": 3, "s": "text"})
    assert rest_standin.asked[0][2].endswith(
        b'"inputs": {"x": [1.5, NaN, Infinity, -Infinity], "n": 3, "s": {"b64": "dGV4dA=="}}}'
    )


def test_complex_numbers_are_refused_before_they_are_sent(rest_standin: RestStandin):
    with (
        RestClient(rest_standin.address, model="flowers") as client,
        pytest.raises(InvalidInput, match=r"inputs\['x'\].*use gRPC"),
    ):
        client.predict({"x": [1j]})
    assert not rest_standin.asked


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>hello</html>",
        b"[1, 2]",
        b"{}",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"outputs": [["rose"]]}',
        b'{"outputs": {"labels": [["rose"]]}}',
        b'{"outputs": {"labels": [["rose"]], "scores": [["high"]]}}',
        b'{"outputs": {"labels": [["rose"], []], "scores": [[1.0], []]}}',
        b'{"outputs": {"labels": [[1]], "scores": [[1.0]]}}',
        b'{"outputs": {"labels": [[{"b64": "!"}]], "scores": [[1.0]]}}',
        b'{"outputs": {"labels": [["\\ud800"]], "scores": [[1.0]]}}',
    ],
    ids=lambda body: str(body)[:50],
)
def test_answers_that_are_no_classification_are_bad_responses(rest_standin: RestStandin, body: bytes):
    rest_standin.body = body
    with (
        RestClient(rest_standin.address, model="flowers") as client,
        pytest.raises(BadResponse, match=f"classify of model 'flowers' at http://{rest_standin.address}") as info,
    ):
        client.classify([PICTURE])
    assert len(str(info.value)) < 1000
    str(info.value).encode()


@pytest.mark.parametrize("method", ["status", "metadata"])
@pytest.mark.parametrize(
    "body",
    [
        b"no JSON",
        b"[]",
        b'{"model_version_status": 3, "metadata": 3}',
        b'{"model_version_status": [{"version": "x"}], "model_spec": {"version": "x"}, "metadata": {}}',
        b'{"model_version_status": [7], "model_spec": {}, "metadata": {"signature_def": []}}',
    ],
)
def test_status_and_metadata_that_make_no_sense_are_bad_responses(rest_standin: RestStandin, method: str, body: bytes):
    rest_standin.body = body
    with RestClient(rest_standin.address, model="flowers") as client, pytest.raises(BadResponse, match=method):
        getattr(client, method)()


@pytest.mark.parametrize(
    ("status", "error"),
    [(404, BadResponse), (500, BadResponse), (400, BadResponse), (429, Overloaded), (502, Unavailable)],
)
def test_errors_of_something_else_say_nothing_about_the_model(
    rest_standin: RestStandin, status: int, error: type[VitrineError]
):
    rest_standin.status, rest_standin.body = status, b"<html>some proxy</html>"
    with RestClient(rest_standin.address, model="flowers") as client, pytest.raises(VitrineError) as info:
        client.status()
    assert type(info.value) is error
    assert "some proxy" in info.value.server_message


def test_error_texts_escaped_as_c_does_are_read(rest_standin: RestStandin):
    # What TensorFlow Serving's FillJsonErrorMsg writes: no JSON, for the quote and the octal number.
    rest_standin.status, rest_standin.body = 404, rb'{ "error": "Can\'t find \"\303\251toile\"\n" }'
    with RestClient(rest_standin.address, model="flowers") as client, pytest.raises(ModelNotFound) as info:
        client.status()
    assert info.value.server_message == 'Can\'t find "étoile"\n'


def test_cookies_are_not_kept(rest_standin: RestStandin):
    rest_standin.headers = {"Set-Cookie": "who=me"}
    with RestClient(rest_standin.address, model="flowers") as client:
        client.status()
        client.status()
    assert "cookie" not in rest_standin.headers_asked[-1]


def test_nobody_there_is_unavailable(closed_port: int, monkeypatch: pytest.MonkeyPatch):
    with RestClient(f"localhost:{closed_port}", model="flowers", timeout=20) as client:
        for ask in (lambda: client.classify([PICTURE]), client.status, client.metadata):
            with pytest.raises(Unavailable, match=f"localhost:{closed_port}.*refused"):
                ask()
    skip_pauses(monkeypatch)
    with (
        RestClient(f"localhost:{closed_port}", model="flowers", retries=0) as client,
        pytest.raises(DeadlineExceeded, match=r"last seen: .*refused"),
    ):
        client.wait_until_available(timeout=DEADLINE_SECONDS)


def test_no_answer_in_time_is_deadline_exceeded(rest_standin: RestStandin):
    rest_standin.held.clear()
    with (
        RestClient(rest_standin.address, model="flowers", timeout=0.2) as client,
        pytest.raises(DeadlineExceeded, match=r"nothing within 0\.2 s"),
    ):
        client.classify([PICTURE])


def test_an_answer_that_stops_midway_is_unavailable_or_late(rest_standin: RestStandin):
    rest_standin.headers = {"Connection": "close"}
    rest_standin.body = CLASSIFIED
    rest_standin.promised = len(CLASSIFIED) + 10
    with RestClient(rest_standin.address, model="flowers", timeout=10) as client, pytest.raises(Unavailable):
        client.classify([PICTURE])


METADATA = {
    "model_spec": {"name": "flowers", "version": "3"},
    "metadata": {
        "signature_def": {
            "signature_def": {
                "one": {"outputs": {"y": {"dtype": "DT_INT64", "tensor_shape": {"dim": [{"size": "-1"}]}}}},
                "two": {"outputs": {"y": {"dtype": "DT_INT64"}, "z_bytes": {"dtype": "DT_STRING"}}},
            }
        }
    },
}


def test_metadata_is_asked_for_once(rest_standin: RestStandin):
    rest_standin.bodies = {
        ":predict": b'{"outputs": [1, 9223372036854775807]}',
        "/metadata": json.dumps(METADATA).encode(),
    }
    with RestClient(rest_standin.address, model="flowers") as client:
        for _ in range(3):
            answer = client.predict({"x": [1]}, "one")["y"]
    assert (answer.dtype, answer.tolist()) == (np.int64, [1, 2**63 - 1])
    assert [path.rpartition("flowers")[2] for _, path, _ in rest_standin.asked] == [
        ":predict",
        "/metadata",
        ":predict",
        ":predict",
    ]


def test_outputs_that_no_longer_match_are_looked_up_again(rest_standin: RestStandin):
    rest_standin.bodies = {":predict": b'{"outputs": [1]}', "/metadata": json.dumps(METADATA).encode()}
    with RestClient(rest_standin.address, model="flowers") as client:
        client.predict({"x": [1]}, "one")
        changed = json.dumps(METADATA).replace('"one"', '"old"').replace('"two"', '"one"').encode()
        rest_standin.bodies = {
            ":predict": b'{"outputs": {"y": 1, "z_bytes": {"b64": "AP8="}}}',
            "/metadata": changed,
        }
        answer = client.predict({"x": [1]}, "one")
        assert (answer["y"].item(), answer["z_bytes"].item()) == (1, b"\x00\xff")
        rest_standin.bodies[":predict"] = b'{"outputs": {"something": 1, "else": 2}}'
        with pytest.raises(BadResponse, match="do not match the metadata of signature 'one'"):
            client.predict({"x": [1]}, "one")


def test_a_proxy_of_the_environment_is_not_asked_for_this_machine(
    rest_standin: RestStandin, monkeypatch: pytest.MonkeyPatch, closed_port: int
):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{closed_port}")
    with RestClient(rest_standin.address, model="flowers") as client:
        assert client.status().versions == ()
