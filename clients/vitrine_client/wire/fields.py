"""Fields of serialized messages, without a copy of their content.

Protobuf's own classes copy content several times, and hand out numbers one by one. With tens of megabytes in a message
that is most of the time that a call takes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

# The lowest three bits of a field's tag.
_VARINT, _LENGTH_DELIMITED = 0, 2
# A map's entry is a message of its own.
_KEY, _VALUE = 1, 2
_NOTHING = memoryview(b"")
_LONGEST_VARINT = 10


def prefix(number: int, size: int) -> bytes:
    """What stands before the content of a length-delimited field."""
    return _varint(number << 3 | _LENGTH_DELIMITED) + _varint(size)


def split(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """The fields in their order: tag, and number or content.

    Raises:
        ValueError: broken, or with fields of a fixed width outside a packed one.
    """
    position, end = 0, len(message)
    try:
        while position < end:
            tag, position = message[position], position + 1
            if tag > 0x7F:
                tag, position = read_varint(message, position - 1)
            value, position = message[position], position + 1
            if value > 0x7F:
                value, position = read_varint(message, position - 1)
            if tag & 7 == _VARINT:
                yield tag, value
            elif tag & 7 == _LENGTH_DELIMITED:
                start, position = position, position + value
                yield tag, message[start:position]
            else:
                raise ValueError(f"a field of wire type {tag & 7}")
    except IndexError:
        position = end + 1
    if position > end:
        raise ValueError("a message that ends too early")


def map_entry(number: int, key: str, value: Sequence[bytes | memoryview]) -> list[bytes | memoryview]:
    """An entry of a map field whose values are messages, in parts."""
    name = key.encode()
    entry = [prefix(_KEY, len(name)), name, prefix(_VALUE, sum(map(len, value))), *value]
    return [prefix(number, sum(map(len, entry))), *entry]


def map_entries(message: bytes, number: int) -> dict[str, memoryview]:
    """The serialized values of a map field whose values are messages. Raises ValueError like `split`."""
    entries = {}
    for tag, content in split(memoryview(message)):
        if tag == number << 3 | _LENGTH_DELIMITED and not isinstance(content, int):
            entry = {tag >> 3: part for tag, part in split(content) if not isinstance(part, int)}
            entries[str(entry.get(_KEY, b""), "utf-8")] = entry.get(_VALUE, _NOTHING)
    return entries


def varints(packed: bytes | memoryview) -> NDArray[np.uint64]:
    """The numbers of a packed field of variable width; negative ones count from 2**64 down.

    Raises:
        ValueError: the last number has no end, or one is longer than 64 bits.
    """
    octets = np.frombuffer(packed, np.uint8)
    lasts = np.flatnonzero(octets < 0x80)
    if len(lasts) == len(octets):
        return octets.astype(np.uint64)
    if not len(lasts) or lasts[-1] != len(octets) - 1:
        raise ValueError("the last number has no end")
    firsts = np.concatenate([[0], lasts[:-1] + 1])
    longest = int((lasts - firsts).max()) + 1
    if longest > _LONGEST_VARINT:
        raise ValueError("a number of more than 64 bits")
    numbers: NDArray[np.uint64] = (octets[firsts] & 0x7F).astype(np.uint64)
    for place in range(1, longest):
        longer = np.flatnonzero(firsts + place <= lasts)
        septet = octets[firsts[longer] + place] & 0x7F
        numbers[longer] |= septet.astype(np.uint64) << np.uint64(7 * place)
    return numbers


def _varint(number: int) -> bytes:
    if number < 0x80:
        return bytes((number,))
    octets = bytearray()
    while number > 0x7F:
        octets.append(number & 0x7F | 0x80)
        number >>= 7
    octets.append(number)
    return bytes(octets)


def read_varint(message: bytes | memoryview, position: int) -> tuple[int, int]:
    """A number and the position after it.

    Raises:
        IndexError: it ends too early.
        ValueError: it is longer than 64 bits.
    """
    number = shift = 0
    while True:
        octet, position = message[position], position + 1
        number |= (octet & 0x7F) << shift
        if octet < 0x80:
            return number, position
        shift += 7
        if shift > 63:
            raise ValueError("a number of more than 64 bits")
