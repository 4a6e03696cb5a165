"""NAL units as bytes: walking them, splitting Annex B, removing emulation prevention.

Law: knows what H.264 and H.265 share and never a codec's meaning. Never raises on any input. Called by
`h264`,
`h265`, the depacketisers and tests.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

LENGTH_BYTES = 4
_RECOVERY_POINT = 6
_ANNEX_B_MARK = re.compile(b"\x00\x00\x01")


def split_units(data: bytes) -> Iterator[bytes]:
    """NAL units of an access unit (4-byte lengths); a length over the end is cut there."""
    pos, size = 0, len(data)
    while pos + LENGTH_BYTES <= size:
        start = pos + LENGTH_BYTES
        pos = min(size, start + int.from_bytes(data[pos:start], "big"))
        yield data[start:pos]


def split_annex_b(data: bytes) -> list[bytes]:
    """NAL units between start codes (H.264 Annex B), without the zeros in front of the next start code.

    Bytes before the first start code count as a NAL unit of their own when they are not all zero.
    """
    marks = [match.start() for match in _ANNEX_B_MARK.finditer(data)]
    if not marks:
        return [data]
    pieces = [data[: marks[0]]]
    for index, mark in enumerate(marks):
        stop = marks[index + 1] if index + 1 < len(marks) else len(data)
        pieces.append(data[mark + 3 : stop])
    stripped = [piece.rstrip(b"\x00") for piece in pieces]
    return [piece for piece in stripped if piece]


def join_units(units: list[bytes]) -> bytes:
    """NAL units behind 4-byte lengths: the form of an access unit."""
    return b"".join(part for unit in units for part in (len(unit).to_bytes(LENGTH_BYTES, "big"), unit))


def unescape(data: bytes) -> bytes:
    """The payload without emulation prevention bytes (H.264 7.4.1, H.265 7.4.2)."""
    return data.replace(b"\x00\x00\x03", b"\x00\x00") if b"\x00\x00\x03" in data else data


def has_recovery_point(sei: bytes, header_bytes: int) -> bool:
    """Whether an SEI NAL unit announces a recovery point (H.264 D.1.8, H.265 D.2.8): pictures get right from
    here on."""
    if sei.find(_RECOVERY_POINT, header_bytes) < 0:
        return False  # the common case: its number is nowhere in it
    pos, end = header_bytes, len(sei)
    while pos + 2 <= end and sei[pos] != 0x80:
        kind, pos = _sei_number(sei, pos)
        size, pos = _sei_number(sei, pos)
        if kind == _RECOVERY_POINT:
            return True
        pos += size
    return False


def _sei_number(sei: bytes, pos: int) -> tuple[int, int]:
    value = 0
    while pos < len(sei):
        byte = sei[pos]
        pos += 1
        value += byte
        if byte != 0xFF:
            break
    return value, pos
