"""What counts as JSON, and what is said of what does not: rapidjson's rules, words and byte offsets."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitrine_serving.embedded.errors import ServingError
from vitrine_serving.embedded.rest.codec.examples import parse_examples_request
from vitrine_serving.embedded.rest.codec.parser import parse_object
from vitrine_serving.embedded.rest.codec.requests import parse_predict_request

DEPTH = 500_000
# Bodies from 16 KiB on are read by another parser, where that sees the same.
PADDING = b" " * 2**14


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "The document is empty"),
        (b" \n", "The document is empty. at offset: 2"),
        (b"not json", "Invalid value. at offset: 1"),
        (b"{'a': 1}", "Missing a name for object member. at offset: 1"),
        (b'{"a" 1}', "Missing a colon after a name of object member. at offset: 5"),
        (b'{"a": 1 "b": 2}', "Missing a comma or '}' after an object member. at offset: 8"),
        (b'{"a": 1,}', "Missing a name for object member. at offset: 8"),
        (b'{"a": [1 2]}', "Missing a comma or ']' after an array element. at offset: 9"),
        (b'{"a": [1,]}', "Invalid value. at offset: 9"),
        (b'{"a": [1', "Missing a comma or ']' after an array element. at offset: 8"),
        (b'{"a": nul}', "Invalid value. at offset: 9"),
        (b'{"a": 01}', "Missing a comma or '}' after an object member. at offset: 7"),
        (b'{"a": -}', "Invalid value. at offset: 7"),
        (b'{"a": +1}', "Invalid value. at offset: 6"),
        (b'{"a": 1.}', "Miss fraction part in number. at offset: 8"),
        (b'{"a": 1e}', "Miss exponent in number. at offset: 8"),
        (b'{"a": infinity}', "Invalid value. at offset: 6"),
        (b'{"a": [2, ' + b"9" * 5000 + b"]}", "Number too big to be stored in double. at offset: 10"),
        (b'{"a": 1} {}', "The document root must not be followed by other values. at offset: 9"),
        (b'{"a": "b', "Missing a closing quotation mark in string. at offset: 8"),
        (b'{"a": "\n"}', "Invalid escape character in string. at offset: 7"),
        (b'{"a": "\\x"}', "Invalid escape character in string. at offset: 7"),
        (b'{"a": "\\u12"}', "Incorrect hex digit after \\u escape in string. at offset: 7"),
        (b'{"a": "\\ud800"}', "The surrogate pair in string is invalid. at offset: 7"),
        (b'{"a": "\\ud800\\u0041"}', "The surrogate pair in string is invalid. at offset: 7"),
        (b'\xef\xbb\xbf{"a": }', "Invalid value. at offset: 9"),
        ('{"é": }'.encode(), "Invalid value. at offset: 7"),
        (b'{"\xff": }', "Invalid value. at offset: 6"),
    ],
)
def test_syntax_errors_are_told_in_rapidjsons_words(body, message):
    with pytest.raises(ServingError) as raised:
        parse_object(body)
    assert raised.value.message == f"JSON Parse error: {message}"
    assert raised.value.code.http_status == 400


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'\xef\xbb\xbf{"a": 1}', 1),
        (b'\xbb\xbf{"a": 1}', 1),
        (b'{"a": [Inf, -Inf, Infinity, -Infinity]}', [float("inf"), float("-inf")] * 2),
        (b'{"a": 1}\0 garbage', 1),
        (b'{"a": "\\ud83d\\ude00 \\\\ud800"}', "\U0001f600 \\ud800"),
        (b'{"a": "\\udc00"}', "\udc00"),
        (b'{"a": 1, "a": 2}', 1),
        (b'{"a": 1e-999}', 0.0),
        (b'{"a": ' + b"[" * 500 + b"]" * 500 + b"}", None),
    ],
)
def test_what_tensorflow_serving_takes_is_taken(body, value):
    document = parse_object(body)
    assert value is None or document["a"] == value


@pytest.mark.parametrize("word", [b"NaN", b"-NaN"])
def test_nan_is_a_number(word):
    value = parse_object(b'{"a": %s}' % word)["a"]
    assert value != value


@pytest.mark.parametrize("body", [b"[1]", b"3", b'"text"', b"null"])
def test_a_request_is_an_object(body):
    with pytest.raises(ServingError, match=r"^INVALID_ARGUMENT: JSON Value: .* Is not object$") as raised:
        parse_object(body.replace(b"[1]", b"[]"))
    assert raised.value.code.http_status == 400


@pytest.mark.parametrize("parse", [parse_predict_request, parse_examples_request])
@pytest.mark.parametrize(
    "body",
    [
        b"[" * DEPTH,
        b'{"a":' * DEPTH,
        b'{"instances":' + b"[" * DEPTH + b"]" * DEPTH + b"}",
        b'{"instances":[' + b'{"a":' * DEPTH + b"1" + b"}" * DEPTH + b"]}",
        b'{"examples":[{"x":1}],"instances":[1],"ignored":' + b"[" * DEPTH + b"]" * DEPTH + b"}",
        b'{"examples":[{"x":1}],"instances":[1],"ignored":' + b'{"a":' * DEPTH + b"1" + b"}" * DEPTH + b"}",
    ],
    ids=["lists", "objects", "instances", "instance objects", "ignored lists", "ignored objects"],
)
def test_deeply_nested_values_are_refused(parse, body):
    with pytest.raises(ServingError, match=r"JSON Parse error: .* nested") as raised:
        parse(body)
    assert raised.value.code.http_status == 400


@pytest.mark.parametrize("parse", [parse_object, parse_predict_request])
@pytest.mark.parametrize(("opener", "closer"), [("[", "]"), ('{"a":', "}")])
def test_values_are_nested_900_deep_at_most(parse, opener, closer):
    def nested(depth: int) -> bytes:
        return f'{{"instances":{opener * (depth - 1)}1{closer * (depth - 1)}}}'.encode()

    parse(nested(900))
    with pytest.raises(ServingError, match=r"JSON Parse error: .* nested"):
        parse(nested(901))


@pytest.mark.parametrize(
    "body",
    [
        b'{"a": [' + b"[], {}, " * 1000 + b"[]]}",
        b'{"a": "' + b"[" * 1000 + b'"}',
        b'{"a": ["", "\\"' + b"[" * 1000 + b'", "\\\\"]}',
    ],
)
def test_many_brackets_are_no_nesting(body):
    assert parse_object(body).keys() == {"a"}


def test_brackets_in_strings_hide_no_nesting():
    hidden = b'["\\n\\\\", "]\\"]", ' * 901
    with pytest.raises(ServingError, match=r"JSON Parse error: .* nested"):
        parse_object(b'{"a": ' + hidden + b"1" + b"]" * 901 + b"}")


def test_faults_of_large_bodies_are_told_with_their_place():
    body = b'{"a": [' + b"1, " * 100_000 + b"]}"
    with pytest.raises(ServingError, match=f"JSON Parse error: .* at offset: {len(body) - 2}$"):
        parse_object(body)


def test_quoted_values_are_cut():
    with pytest.raises(ServingError, match=r"aaa\.\.\. Is not object") as raised:
        parse_object(b'"' + b"a" * 1_000_000 + b'"')
    assert len(raised.value.message) < 5000


def member_texts(values):
    pairs = st.tuples(st.sampled_from(["a", "b", 'c"']), values)
    return st.lists(pairs, max_size=4).map(
        lambda members: "{" + ",".join(f"{json.dumps(name)}: {value}" for name, value in members) + "}"
    )


NUMBER_TEXTS = (
    st.integers(-(2**70), 2**70).map(str)
    | st.floats(allow_nan=False, allow_infinity=False).map(repr)
    | st.sampled_from(["-0", "-0.0", "1e-400", "1E5", "0.10", "1e400", "NaN", "-Infinity", "true", "null"])
)
VALUE_TEXTS = st.recursive(
    NUMBER_TEXTS | st.text(max_size=3).map(json.dumps),
    lambda inner: st.lists(inner, max_size=4).map(lambda texts: f"[{', '.join(texts)}]") | member_texts(inner),
)


def as_seen(value: Any) -> Any:
    """What a conversion makes use of: which member is meant, which numbers are whole, what is zero."""
    if isinstance(value, dict):
        return [(name, as_seen(item)) for name, item in sorted(value.items())]
    if isinstance(value, list):
        return [as_seen(item) for item in value]
    # A number that is no integer to TensorFlow Serving is a double, however it is kept.
    is_double = type(value) is float or (type(value) is int and not -(2**63) <= value < 2**64)
    return repr(float(value)) if is_double else (type(value), value)


@given(member_texts(VALUE_TEXTS))
def test_large_bodies_are_read_as_small_ones_are(text):
    try:
        small = as_seen(parse_object(text.encode()))
    except ServingError as error:
        with pytest.raises(ServingError) as raised:
            parse_object(text.encode() + PADDING)
        assert raised.value.message == error.message
    else:
        assert as_seen(parse_object(text.encode() + PADDING)) == small


@pytest.mark.parametrize(
    "text", ['{"a": 1, "a": ["x", 5]}', '{"i": [{"x": 1, "x": 2}]}', '{"a": 1, "a": 2, "b": [["x"]]}']
)
def test_of_a_name_that_is_there_twice_the_first_value_counts_in_large_bodies_too(text):
    assert parse_object(text.encode() + PADDING) == parse_object(text.encode())
