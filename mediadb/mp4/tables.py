"""The sample table boxes (ISO/IEC 14496-12 §8.6 and §8.7): run lengths out of columns.

Law: linear in the samples, in C loops over arrays; no object per sample stays behind. Called by `virtual` (a whole
track) and `fragment` (the empty tables of an initialisation segment).
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Sequence
from itertools import compress, islice
from operator import ne, sub

from mediadb.mp4.boxes import box, full_box
from mediadb.mp4.moov import stsd


def big_endian(column: array[int]) -> bytes:
    """An array as big-endian bytes."""
    if sys.byteorder == "little":
        column = column[:]
        column.byteswap()
    return column.tobytes()


def run_lengths(values: array[int]) -> tuple[array[int], array[int]]:
    """How long each run of equal values is, and its value."""
    count = len(values)
    starts = array("I", [0] if count else [])
    starts.extend(compress(range(1, count), map(ne, values, islice(values, 1, None))))
    ends = starts[1:]
    if count:
        ends.append(count)
    return array("I", map(sub, ends, starts)), array(values.typecode, map(values.__getitem__, starts))


def _counted(kind: bytes, version: int, rows: bytes, row_bytes: int) -> bytes:
    return full_box(kind, version, 0, struct.pack(">I", len(rows) // row_bytes), rows)


def _runs_box(kind: bytes, values: array[int]) -> bytes:
    counts, each = run_lengths(values)
    version = int(len(each) > 0 and min(each) < 0)
    rows = array("I", bytes(8 * len(counts)))
    rows[0::2] = counts
    rows[1::2] = array("I", each.tobytes())  # negative as two's complement: what version 1 of ctts reads
    return _counted(kind, version, big_endian(rows), 8)


def stts(durations: array[int]) -> bytes:
    """Decode time to sample (§8.6.1.2)."""
    return _runs_box(b"stts", durations)


def ctts(offsets: array[int]) -> bytes:
    """Composition time to sample (§8.6.1.3), version 1 (signed) when an offset is negative; b"" when all are 0."""
    return _runs_box(b"ctts", offsets) if any(offsets) else b""


def stss(sync: bytearray) -> bytes:
    """Sync samples (§8.6.2); b"" when every sample is one."""
    if 0 not in sync:
        return b""
    rows = array("I", compress(range(1, len(sync) + 1), sync))
    return _counted(b"stss", 0, big_endian(rows), 4)


def stsz(sizes: array[int]) -> bytes:
    """Sample sizes (§8.7.3.2); one number when all are equal."""
    if len(sizes) and sizes.count(sizes[0]) == len(sizes) and sizes[0]:
        return full_box(b"stsz", 0, 0, struct.pack(">II", sizes[0], len(sizes)))
    return full_box(b"stsz", 0, 0, struct.pack(">II", 0, len(sizes)), big_endian(sizes))


def stsc(chunks: Sequence[tuple[int, int]]) -> bytes:
    """Sample to chunk (§8.7.4) from (samples, entry index) of each chunk."""
    rows: list[bytes] = []
    before: tuple[int, int] | None = None
    for number, chunk in enumerate(chunks, 1):
        if chunk != before:
            rows.append(struct.pack(">III", number, chunk[0], chunk[1] + 1))
            before = chunk
    return _counted(b"stsc", 0, b"".join(rows), 12)


def chunk_offsets(offsets: array[int], wide: bool) -> bytes:
    """Chunk offsets (§8.7.5): co64 when `wide`, else stco."""
    if wide:
        return _counted(b"co64", 0, big_endian(offsets), 8)
    return _counted(b"stco", 0, big_endian(array("I", offsets)), 4)


def stbl(entries: Sequence[bytes], *tables: bytes) -> bytes:
    """A sample table; without tables the empty ones that a fragmented movie has."""
    if not tables:
        empty = array("I")
        tables = (stts(empty), stsc(()), stsz(empty), chunk_offsets(array("Q"), False))
    return box(b"stbl", stsd(entries), *tables)
