"""The embedded server's HTTP: what every client may send, and what it gets."""

from __future__ import annotations

import email.utils
import socket
import struct
import subprocess
import time
from collections.abc import Iterator

import pytest
from raw_http import Echo, HttpServer, get, http_server, post

_ONE_MEGABYTE = 1024 * 1024


@pytest.fixture(scope="module")
def running() -> Iterator[HttpServer]:
    with http_server(Echo(), threads=2, max_request_bytes=80 * _ONE_MEGABYTE) as server:
        yield server


def test_requests_on_one_connection(running):
    with running.connect() as client:
        for number in range(3):
            answer = client.send(post(f"/{number}", "x" * number)).answer()
            assert answer.status == 200
            assert answer.told == {"method": "POST", "target": f"/{number}", "bytes": number}
            assert answer.headers["content-type"] == "application/json"
            assert "connection" not in answer.headers
            told = email.utils.parsedate_to_datetime(answer.headers["date"]).timestamp()
            assert abs(told - time.time()) < 60


def test_pipelined_requests_are_answered_in_order(running):
    with running.connect() as client:
        client.send("".join(post(f"/{number}", "ab") for number in range(50)))
        assert [client.answer().told["target"] for _ in range(50)] == [f"/{number}" for number in range(50)]


def test_a_request_that_comes_byte_by_byte(running):
    with running.connect() as client:
        for byte in post("/slow", "four").encode():
            client.send(bytes([byte]))
        assert client.answer().told["bytes"] == 4


@pytest.mark.parametrize(
    ("request_line", "header", "closes", "connection"),
    [
        ("GET / HTTP/1.1", "Connection: close", True, "close"),
        ("GET / HTTP/1.0", "X: y", True, "close"),
        ("GET / HTTP/1.0", "Connection: keep-alive", False, "keep-alive"),
    ],
)
def test_who_closes(running, request_line, header, closes, connection):
    with running.connect() as client:
        answer = client.send(f"{request_line}\r\n{header}\r\n\r\n").answer()
        assert (answer.status, answer.headers["connection"]) == (200, connection)
        if closes:
            assert client.at_end()
        else:
            assert client.send(get("/again")).answer().told["target"] == "/again"


def test_the_answer_to_head_is_a_head(running):
    with running.connect() as client:
        client.send("HEAD /x HTTP/1.1\r\nHost: x\r\n\r\n" + get("/y"))
        assert int(client.answer(head=True).headers["content-length"]) > 0
        assert client.answer().told["target"] == "/y"


def test_chunked_bodies(running):
    with running.connect() as client:
        client.send("POST /c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        client.send("A;extension=1\r\n0123456789\r\n0\r\nContent-Encoding: gzip\r\n\r\n")
        assert client.answer().told["bytes"] == 13
        assert client.send(get("/next")).answer().told["target"] == "/next"


def test_a_client_that_waits_for_word_before_it_sends_the_body(running):
    with running.connect() as client:
        client.send("POST /e HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
        assert client.answer().status == 100
        assert client.send("body").answer().told["bytes"] == 4
        client.send("POST /e HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nExpect: a miracle\r\n\r\n")
        assert client.answer().status == 417


def test_curl_sends_a_large_body(running, tmp_path):
    body = tmp_path / "body"
    body.write_bytes(bytes(2 * _ONE_MEGABYTE))
    address = "http://{}:{}/curl".format(*running.address)
    command = ["curl", "--silent", "--show-error", "--max-time", "20", "--data-binary", f"@{body}", address]
    told = subprocess.run(command, check=True, capture_output=True).stdout
    assert b'"bytes": 2097152' in told


@pytest.mark.parametrize("body", ["", "body"])
def test_wishes_for_another_protocol_are_ignored(running, body):
    upgrade = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA")
    with running.connect() as client:
        client.send(post("/u", body, *upgrade) + get("/next"))
        assert client.answer().told["bytes"] == len(body)
        assert client.answer().told["target"] == "/next"


@pytest.mark.parametrize(
    "sent",
    [
        "nonsense\r\n\r\n",
        "GET / HTTP/1.1\r\nno colon\r\n\r\n",
        "GET /a b HTTP/1.1\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcde",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
def test_what_is_not_http(running, sent):
    with running.connect() as client:
        answer = client.send(sent.encode("latin-1")).answer()
        assert (answer.status // 100, answer.headers["connection"]) in ((4, "close"), (5, "close"))
        assert client.at_end()


@pytest.mark.parametrize("method", ["TRACE", "CONNECT", "PROPFIND", "BREW"])
def test_methods_that_nobody_handles(running, method):
    target = "x:80" if method == "CONNECT" else "/"
    with running.connect() as client:
        answer = client.send(f"{method} {target} HTTP/1.1\r\nHost: x\r\n\r\n").answer()
        assert (answer.status, answer.headers["content-type"]) == (501, "text/html")
        assert client.at_end()


def test_answers_before_the_malformed_request_still_come(running):
    with running.connect() as client:
        client.send(get("/good") + "nonsense\r\n\r\n")
        assert client.answer().told["target"] == "/good"
        assert client.answer().status in (400, 501)
        assert client.at_end()


def test_a_body_longer_than_it_said_is_the_next_request(running):
    with running.connect() as client:
        client.send("POST /l HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nabcdef\r\n\r\n")
        assert client.answer().told["bytes"] == 2
        assert client.answer().status in (400, 501)
        assert client.at_end()


@pytest.mark.parametrize(
    "header",
    ["X: " + "y" * 70_000, "\r\n".join(f"X-{n}: {'y' * 100}" for n in range(1000)), "X: " + "y" * 1_000_000],
)
def test_a_header_that_is_too_long(running, header):
    with running.connect() as client:
        answer = client.send(get("/", header)).answer()
        assert (answer.status, answer.headers["connection"]) == (431, "close")
        assert client.at_end()


def test_a_header_that_never_ends(running):
    with running.connect() as client:
        client.send("GET / HTTP/1.1\r\n")
        for _ in range(100):
            client.send("X: " + "y" * 997 + "\r\n")
        assert client.answer().status == 431


def test_a_body_of_64_megabytes(running):
    with running.connect() as client:
        body = bytes(64 * _ONE_MEGABYTE)
        client.send(f"POST /b HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n").send(body)
        assert client.answer().told["bytes"] == len(body)


def test_a_body_that_is_too_long_is_not_read(running):
    with running.connect() as client:
        answer = client.send(f"POST /b HTTP/1.1\r\nHost: x\r\nContent-Length: {10**12}\r\n\r\n").answer()
        assert (answer.status, "body is over" in answer.told["error"]) == (413, True)
        # A client in the middle of its body is not cut off before it had the chance to read that.
        client.send(bytes(8 * _ONE_MEGABYTE))
        client.socket.shutdown(socket.SHUT_WR)
        assert client.at_end()


def test_a_chunked_body_that_gets_too_long(running):
    chunk = f"{_ONE_MEGABYTE:x}\r\n".encode() + bytes(_ONE_MEGABYTE) + b"\r\n"
    with running.connect() as client:
        client.send("POST /b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(81):
            client.send(chunk)
        assert client.answer().status == 413


def test_a_reply_larger_than_any_buffer(running):
    with running.connect() as client:
        client.send(get("/large") + get("/after"))
        assert len(client.answer().body) == 32 * _ONE_MEGABYTE
        assert client.answer().told["target"] == "/after"


def test_clients_that_reset_the_connection_harm_nobody(running):
    for sent in (get("/large"), "POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\n{", get("/"), ""):
        with running.connect() as client:
            client.send(sent)
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with running.connect() as client:
        assert client.send(get("/alive")).answer().status == 200


def test_a_client_that_says_all_it_has_to_say_still_gets_its_answer(running):
    with running.connect() as client:
        client.send(get("/last"))
        client.socket.shutdown(socket.SHUT_WR)
        assert client.answer().told["target"] == "/last"
        assert client.at_end()


def test_many_wishes_for_another_protocol_at_once(running):
    upgrade = ("Connection: Upgrade", "Upgrade: h2c")
    with running.connect() as client:
        client.send("".join(post("/u", "body"[: n % 5], *upgrade) for n in range(2000)))
        assert [client.answer().told["bytes"] for _ in range(2000)] == [n % 5 for n in range(2000)]
