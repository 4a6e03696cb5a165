"""The frame table of a `chunk` message: which bytes of its payload are which sample, and when.

Law: sans-IO; reads the table byte for byte as the media database stores it (a test compares the two), for peers that
know nothing of the database. Used by the client.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final, NamedTuple

from recorderd.wire.errors import ProtocolError

_CONSTANT: Final = 0x40
_LETTERS: Final = {0x01: "B", 0x81: "b", 0x02: "H", 0x82: "h", 0x04: "I", 0x84: "i"}
_COLUMNS: Final = 5
MAX_SAMPLES: Final = 1 << 20  # of one chunk; the database writes far fewer


class Row(NamedTuple):
    """One sample: its place in the payload, its times in ticks relative to the chunk's `base_dts`."""

    offset: int
    size: int
    dts: int
    cts: int  # pts - dts
    key_type: int  # recorderd.media.access_unit.UnitType
    damaged: bool
    lost: int  # packets lost before or in it


def read_table(raw: bytes, count: int, payload_bytes: int) -> list[Row]:
    """The samples of a chunk in decode order. Raises ProtocolError unless table and payload fit each other."""
    if count == 0 and not raw and not payload_bytes:
        return []
    if not 0 < count <= MAX_SAMPLES:
        raise ProtocolError(f"a chunk of {count} samples", samples=count)
    at = 0
    columns: list[Sequence[int]] = []
    for number in range(_COLUMNS):
        values, at = _column(raw, at, max(count - 1, 1) if number == 0 else count)
        columns.append(values)
    if at != len(raw):
        raise ProtocolError("the frame table is longer than its columns")
    distances, offsets, sizes, marks, lost = columns
    rows, place, dts = [], 0, 0
    for i in range(count):
        if i:
            dts += distances[i - 1]
        rows.append(Row(place, sizes[i], dts, offsets[i], marks[i] >> 1, bool(marks[i] & 1), lost[i]))
        place += sizes[i]
    if place != payload_bytes:
        raise ProtocolError(f"the samples have {place} bytes, the payload {payload_bytes}")
    return rows


def _column(raw: bytes, at: int, rows: int) -> tuple[Sequence[int], int]:
    code = raw[at] if at < len(raw) else -1
    letter = _LETTERS.get(code & ~_CONSTANT) if code >= 0 else None
    if letter is None:
        raise ProtocolError(f"the frame table has no column at {at}", offset=at)
    form = struct.Struct(f"<{1 if code & _CONSTANT else rows}{letter}")
    end = at + 1 + form.size
    if end > len(raw):
        raise ProtocolError("the frame table is cut short", offset=at)
    values: tuple[int, ...] = form.unpack_from(raw, at + 1)
    return (values * rows if code & _CONSTANT else values), end
