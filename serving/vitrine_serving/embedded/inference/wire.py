"""The parts of protobuf's wire format that tensors are read and written in without a Python object a value."""

from __future__ import annotations

from collections.abc import Iterable

from google.protobuf.message import Message

_VARINT, _FIXED64, _LENGTH_DELIMITED, _FIXED32 = 0, 1, 2, 5
_UINT64_BYTES = 10


def packed_field(message: Message, number: int) -> memoryview:
    """The payload of a packed repeated field: its values one after another, in wire encoding.

    Empty when the field is not set. Serializing and slicing is a hundred times faster than reading
    each value.
    """
    data = memoryview(message.SerializeToString())
    at = 0
    while at < len(data):
        key, at = read_varint(data, at)
        kind = key & 7
        if kind == _LENGTH_DELIMITED:
            size, at = read_varint(data, at)
            if key >> 3 == number:
                return data[at : at + size]
            at += size
        elif kind == _VARINT:
            _, at = read_varint(data, at)
        elif kind in (_FIXED64, _FIXED32):
            at += 8 if kind == _FIXED64 else 4
        else:
            # A group. TensorProto has none, and unknown fields are written after the known ones.
            break
    return data[:0]


def append_packed_field(message: Message, number: int, payload: bytes) -> None:
    """Append the values in `payload`, which are in wire encoding already, to a packed repeated field."""
    message.MergeFromString(varint(number << 3 | _LENGTH_DELIMITED) + varint(len(payload)) + payload)


def encode_strings(strings: Iterable[bytes]) -> bytes:
    """Strings as TensorFlow keeps them in `tensor_content`: all the lengths, then all the bytes."""
    listed = list(strings)
    return b"".join([*(varint(len(string)) for string in listed), *listed])


def decode_strings(content: bytes, count: int) -> list[bytes]:
    """The `count` strings that `encode_strings` wrote; raises ValueError when `content` is no such thing."""
    if count > len(content):
        raise ValueError(f"{len(content)} bytes cannot hold {count} strings")
    data = memoryview(content)
    sizes = []
    at = 0
    for _ in range(count):
        size, at = read_varint(data, at)
        sizes.append(size)
    if at + sum(sizes) != len(content):
        raise ValueError(f"the lengths add up to {at + sum(sizes)} bytes where there are {len(content)}")
    strings = []
    for size in sizes:
        strings.append(content[at : at + size])
        at += size
    return strings


def varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def read_varint(data: memoryview, at: int) -> tuple[int, int]:
    """The number at `at`, and where the next field begins; ValueError when the data ends before it does."""
    value = 0
    for place, octet in enumerate(data[at : at + _UINT64_BYTES]):
        value |= (octet & 0x7F) << 7 * place
        if octet < 0x80:
            return value, at + place + 1
    raise ValueError("a length does not end")
