"""The structure of image files, read without decoding them: microseconds, whatever the bytes are.

Formats: JPEG (ITU-T T.81, annex B), PNG (www.w3.org/TR/png-3), GIF (GIF89a), BMP, WebP (RFC 9649).
"""

from __future__ import annotations

from struct import unpack_from
from typing import Literal, NamedTuple

from vitrine_client.images.exif import UPRIGHT, orientation_in
from vitrine_client.images.options import Refused

Format = Literal["JPEG", "PNG", "GIF", "BMP", "WEBP"]

# Real files have some dozens, or hundreds with depth maps in them. Each costs a fraction of a microsecond.
_MAX_PARTS = 1 << 16
# The JPEG markers that decoders agree on: baseline to progressive frames, tables, scan, applications, comment.
_FRAMES = frozenset([0xC0, 0xC1, 0xC2])
_MARKERS = _FRAMES | {0xC4, 0xDA, 0xDB, 0xDD, *range(0xE0, 0xF0), 0xFE}


class Header(NamedTuple):
    """What a file says of itself, once its structure has been found good.

    Attributes:
        width, height: pixels, as stored: not turned.
        orientation: EXIF's, 1 to 8.
        dispensable: start and end of those parts of a JPEG that decoding does without.
    """

    format: Format
    width: int
    height: int
    orientation: int = UPRIGHT
    dispensable: tuple[tuple[int, int], ...] = ()


def header_of(content: bytes) -> Header | None:
    """The header of a file that TensorFlow decodes, rightly, as far as its structure tells.

    None does not mean that the file is broken: it may be of another format, or of a kind that TensorFlow refuses or
    misreads, such as a WebP with alpha. Only decoding it elsewhere tells.

    Raises:
        Refused: a file with so many parts that reading on is no use.
    """
    if content[:3] == b"\xff\xd8\xff":
        return _jpeg(content)
    if content[:8] == b"\x89PNG\r\n\x1a\n":
        return _png(content)
    if content[:6] in (b"GIF87a", b"GIF89a"):
        return _gif(content)
    if content[:2] == b"BM":
        return _bmp(content)
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return _webp(content)
    return None


def _jpeg(content: bytes) -> Header | None:
    size, at, width, height, components = len(content), 2, 0, 0, 0
    orientation, adobe = 0, False
    dispensable: list[tuple[int, int]] = []
    for _ in range(_MAX_PARTS):
        if at + 4 > size:
            return None
        if content[at] != 0xFF or content[at + 1] in (0x00, 0xFF):
            # Stray bytes between segments: decoders skip them, some cameras write them.
            found = content.find(b"\xff", at + 1)
            if found < 0:
                return None
            dispensable.append((at, found))
            at = found
            continue
        marker = content[at + 1]
        end = at + 2 + (content[at + 2] << 8 | content[at + 3])
        if marker not in _MARKERS or end < at + 4 or end > size:
            return None
        if marker == 0xDA:
            # Four components are inks. Without Adobe's marker TensorFlow takes them for the opposite of what all
            # other programs do.
            known = components in (1, 3) or (components == 4 and adobe)
            if not width or not height or not known or content.rfind(b"\xff\xd9", end) < 0:
                return None
            return Header("JPEG", width, height, orientation or UPRIGHT, tuple(dispensable))
        if marker in _FRAMES:
            if end < at + 10 or components or content[at + 4] != 8:
                return None
            height = content[at + 5] << 8 | content[at + 6]
            width = content[at + 7] << 8 | content[at + 8]
            components = content[at + 9]
        elif marker == 0xEE:
            # Its last byte tells inks as such from inks as YCCK.
            adobe = content[at + 4 : at + 9] == b"Adobe" and end == at + 16 and content[at + 15] in (0, 2)
        elif marker > 0xE0:
            if marker == 0xE1 and not orientation and content[at + 4 : at + 10] == b"Exif\0\0":
                orientation = orientation_in(content, at + 4, end)
            dispensable.append((at, end))
        at = end
    raise Refused(f"more than {_MAX_PARTS} segments and no picture after them")


def _png(content: bytes) -> Header | None:
    if len(content) < 45 or content[8:16] != b"\0\0\0\rIHDR":
        return None
    size, at, pixels, orientation = len(content), 33, False, UPRIGHT
    for _ in range(_MAX_PARTS):
        if at + 12 > size:
            return None
        end = at + 12 + int.from_bytes(content[at : at + 4], "big")
        kind = content[at + 4 : at + 8]
        if kind == b"IEND":
            width, height = unpack_from(">II", content, 16)
            return Header("PNG", width, height, orientation) if width and height and pixels else None
        if kind == b"IDAT":
            pixels = True
        elif kind == b"eXIf":
            orientation = orientation_in(content, at + 8, end - 4)
        at = end
    raise Refused(f"more than {_MAX_PARTS} chunks and no end")


def _gif(content: bytes) -> Header | None:
    if len(content) < 14:
        return None
    width, height, packed = unpack_from("<HHB", content, 6)
    size, at = len(content), 13 + _color_table_bytes(packed)
    for _ in range(_MAX_PARTS):
        if at + 10 >= size:
            return Header("GIF", width, height) if width and height and content[at : at + 1] == b";" else None
        if content[at] == 0x3B:
            return Header("GIF", width, height) if width and height else None
        if content[at] == 0x2C:
            at += 11 + _color_table_bytes(content[at + 9])
        elif content[at] == 0x21:
            at += 2
        else:
            return None
        # A chain of blocks, each behind its length, up to one of no length.
        while at < size and content[at]:
            at += 1 + content[at]
        at += 1
    raise Refused(f"more than {_MAX_PARTS} frames and extensions, and no end")


def _color_table_bytes(packed: int) -> int:
    return 3 << (packed % 8 + 1) if packed & 0x80 else 0


def _bmp(content: bytes) -> Header | None:
    if len(content) < 54:
        return None
    pixels, header_bytes, width, height, _, bits, compression = unpack_from("<IIiiHHI", content, 10)
    # TensorFlow takes the places in a palette for grey values, and wants no byte too many.
    if header_bytes < 40 or bits not in (24, 32) or compression or width < 1 or not height:
        return None
    row_bytes = (width * bits + 31) // 32 * 4
    return Header("BMP", width, abs(height)) if pixels + row_bytes * abs(height) == len(content) else None


def _webp(content: bytes) -> Header | None:
    if len(content) < 30 or 8 + unpack_from("<I", content, 4)[0] > len(content):
        return None
    kind, orientation = content[12:16], UPRIGHT
    if kind == b"VP8 ":
        width, height = (side & 0x3FFF for side in unpack_from("<HH", content, 26))
    elif kind == b"VP8L":
        bits = unpack_from("<I", content, 21)[0]
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        if bits >> 28 & 1:
            return None  # Alpha, which TensorFlow refuses when asked for three channels.
    elif kind == b"VP8X":
        if content[20] & 0x12:
            return None  # Alpha, or an animation, which it refuses too.
        width, height = (int.from_bytes(content[at : at + 3], "little") + 1 for at in (24, 27))
        if content[20] & 0x08:
            orientation = _webp_orientation(content)
    else:
        return None
    return Header("WEBP", width, height, orientation) if width and height else None


def _webp_orientation(content: bytes) -> int:
    at = content.find(b"EXIF", 30)
    if at < 0 or at + 8 > len(content):
        return UPRIGHT
    return orientation_in(content, at + 8, at + 8 + int(unpack_from("<I", content, at + 4)[0]))
