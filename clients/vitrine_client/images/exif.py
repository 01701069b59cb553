"""The orientation that EXIF data states: a TIFF file within the picture's file, of which one number matters.

https://www.cipa.jp/std/documents/download_e.html?DC-008-Translation-2023-E
"""

from __future__ import annotations

from struct import unpack_from

UPRIGHT = 1
_ORIENTATION, _SHORT = 0x0112, 3
# The standard has some 60 tags for this directory: a file that claims thousands is not read to their end.
_MAX_ENTRIES = 512


def orientation_in(content: bytes, start: int, end: int) -> int:
    """The orientation, 1 to 8, in the EXIF data at content[start:end]; 1 where it states none or is broken."""
    if content[start : start + 6] == b"Exif\0\0":
        start += 6
    end = min(end, len(content))
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(content[start : start + 4])
    if order is None or start + 8 > end:
        return UPRIGHT
    entries = start + unpack_from(f"{order}I", content, start + 4)[0]
    if entries < start + 8 or entries + 2 > end:
        return UPRIGHT
    count = unpack_from(f"{order}H", content, entries)[0]
    last = min(entries + 2 + 12 * min(count, _MAX_ENTRIES), end - 11)
    for at in range(entries + 2, last, 12):
        tag, kind, values, value = unpack_from(f"{order}HHIH", content, at)
        if tag == _ORIENTATION:
            return int(value) if kind == _SHORT and values == 1 and 1 <= value <= 8 else UPRIGHT
    return UPRIGHT
