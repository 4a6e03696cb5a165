"""The frame table of a chunk: one row per sample, stored in columns.

Law: numbers to bytes and back. Five columns in this order: `dts_delta` (count - 1 values: distance to the sample
before), `cts` (pts - dts), `size`, `mark` (bit 0 damaged, bits 1-3 KeyType), `lost` (packets lost). Each column is a
code byte and values of one width; a constant column is one value (`CONSTANT` bit).
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import struct
from collections.abc import Sequence
from typing import Final, NamedTuple

from mediadb.errors import FormatError
from mediadb.format.constants import MAX_CHUNK_FRAMES

CONSTANT: Final = 0x40
# code -> (struct letter, smallest, largest value); narrower first
WIDTHS: Final[dict[int, tuple[str, int, int]]] = {
    0x01: ("B", 0, (1 << 8) - 1),
    0x81: ("b", -(1 << 7), (1 << 7) - 1),
    0x02: ("H", 0, (1 << 16) - 1),
    0x82: ("h", -(1 << 15), (1 << 15) - 1),
    0x04: ("I", 0, (1 << 32) - 1),
    0x84: ("i", -(1 << 31), (1 << 31) - 1),
}
COLUMNS: Final = ("dts_delta", "cts", "size", "mark", "lost")
MAX_DTS_SPAN: Final = (1 << 32) - 1
MIN_CTS: Final = -(1 << 31)
MAX_CTS: Final = (1 << 31) - 1
MARK_DAMAGED: Final = 1
MARK_KEY_SHIFT: Final = 1
_ROW: Final = struct.Struct("<IIi")


class FrameTable(NamedTuple):
    """Rows of a chunk in columns. `dts` are distances from the chunk's `base_dts`, first 0, never falling."""

    dts: Sequence[int]
    cts: Sequence[int]
    sizes: Sequence[int]
    marks: Sequence[int]
    lost: Sequence[int]

    @property
    def offsets(self) -> list[int]:
        """Where each sample begins in the payload behind the salt, and one past the last."""
        out, position = [], 0
        for size in self.sizes:
            out.append(position)
            position += size
        out.append(position)
        return out


def encode_table(table: FrameTable) -> bytes:
    """The table's bytes; a chunk without samples has an empty table."""
    if not table.sizes:
        return b""
    dts = table.dts
    deltas = [b - a for a, b in itertools.pairwise(dts)]
    columns = (deltas or (0,), table.cts, table.sizes, table.marks, table.lost)
    return b"".join([_encode_column(column) for column in columns])


def decode_table(raw: bytes | memoryview, count: int) -> FrameTable:
    """Raise FormatError when the bytes are not exactly a table of `count` rows."""
    if count == 0:
        if len(raw):
            raise FormatError("a chunk without samples has a frame table")
        return FrameTable((), (), (), (), ())
    if count > MAX_CHUNK_FRAMES:
        raise FormatError(f"a chunk claims {count} samples")
    position, columns = 0, []
    for index in range(len(COLUMNS)):
        rows = max(count - 1, 1) if index == 0 else count
        values, position = _decode_column(raw, position, rows)
        columns.append(values)
    if position != len(raw):
        raise FormatError("frame table is longer than its columns")
    dts = list(itertools.accumulate(columns[0][: count - 1], initial=0))
    return FrameTable(dts, *columns[1:])


def frames_hash(table: FrameTable) -> bytes:
    """SHA-256 over the rows {u32 size, u32 dts - dts of the first, i32 pts - dts}."""
    pack = _ROW.pack
    rows = [pack(s, d, c) for s, d, c in zip(table.sizes, table.dts, table.cts, strict=True)]
    return hashlib.sha256(b"".join(rows)).digest()


def _encode_column(values: Sequence[int]) -> bytes:
    low, high = min(values), max(values)
    for code, (letter, smallest, largest) in WIDTHS.items():
        if smallest <= low and high <= largest:
            if low == high:
                return struct.pack(f"<B{letter}", code | CONSTANT, low)
            return struct.pack(f"<B{len(values)}{letter}", code, *values)
    raise FormatError(f"frame table value out of range: {low}..{high}")


@functools.lru_cache(1024)
def _form(letter: str, count: int) -> struct.Struct:
    return struct.Struct(f"<{count}{letter}")


def _decode_column(raw: bytes | memoryview, position: int, rows: int) -> tuple[Sequence[int], int]:
    if position >= len(raw):
        raise FormatError("frame table is cut short")
    code = raw[position]
    width = WIDTHS.get(code & ~CONSTANT)
    if width is None:
        raise FormatError(f"frame table column has unknown code {code:#x}")
    stored = 1 if code & CONSTANT else rows
    form = _form(width[0], stored)
    end = position + 1 + form.size
    if end > len(raw):
        raise FormatError("frame table is cut short")
    values: tuple[int, ...] = form.unpack_from(raw, position + 1)
    return (values * rows if code & CONSTANT else values), end
