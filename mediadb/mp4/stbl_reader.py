"""Sample tables of a progressive track, expanded to one row per sample (ISO/IEC 14496-12 §8.6, §8.7).

Law: counts come from `stsz`, which is checked first; every other table must fit that count exactly, so no run length
can ask for more than there are samples. Called by `reader` only.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import accumulate

from mediadb.mp4.boxes import Fields


@dataclass(slots=True)
class SampleTable:
    """Columns of one row per sample in decode order.

    `offsets`: byte in the file. `sizes` in bytes. `dts` and `durations` in track ticks, `cts` = pts - dts. `sync`: 1
    where a decoder may start. `entry`: index of the sample entry.
    """

    offsets: array[int] = field(default_factory=lambda: array("Q"))
    sizes: array[int] = field(default_factory=lambda: array("I"))
    dts: array[int] = field(default_factory=lambda: array("q"))
    durations: array[int] = field(default_factory=lambda: array("I"))
    cts: array[int] = field(default_factory=lambda: array("q"))
    sync: bytearray = field(default_factory=bytearray)
    entry: array[int] = field(default_factory=lambda: array("I"))

    def __len__(self) -> int:
        return len(self.sizes)


def read_tables(parts: Mapping[bytes, Fields], stbl: Fields, most: int, entries: int) -> SampleTable:
    """The rows of one stbl with at most `most` samples. Mp4Error when the tables contradict each other."""
    table = SampleTable()
    if b"stsz" not in parts:
        raise stbl.error("no stsz")
    table.sizes = _sizes(parts[b"stsz"], most)
    count = len(table.sizes)
    if not count:
        return table
    for needed in (b"stts", b"stsc"):
        if needed not in parts:
            raise stbl.error(f"no {needed.decode()}")
    table.durations = array("I", _expanded(parts[b"stts"], count, signed=False))
    table.dts = array("q", accumulate(table.durations[:-1], initial=0))
    if b"ctts" in parts:
        table.cts = _expanded(parts[b"ctts"], count, signed=True)
    else:
        table.cts = array("q", bytes(8 * count))
    table.sync = _sync(parts.get(b"stss"), count)
    _place(table, parts[b"stsc"], _chunk_offsets(parts, stbl), entries)
    return table


def _numbers(raw: memoryview, typecode: str) -> array[int]:
    column = array(typecode, bytes(raw))
    if sys.byteorder == "little":
        column.byteswap()
    return column


def _sizes(fields: Fields, most: int) -> array[int]:
    fields.version_flags()
    size, count = fields.uint(4), fields.uint(4)
    if count > most:
        raise fields.error(f"{count} samples, the file has room for {most}")
    if size:
        return array("I", [size]) * count
    return _numbers(fields.rows(count, 4), "I")


def _expanded(fields: Fields, count: int, *, signed: bool) -> array[int]:
    """A run-length table (stts, ctts) as one value per sample. ctts is read as signed whatever its version says:
    writers of both kinds exist, and no offset of 2^31 ticks does."""
    fields.version_flags()
    rows = fields.uint(4)
    raw = fields.rows(rows, 8)
    counts = _numbers(raw, "I")[::2]
    values = _numbers(raw, "i" if signed else "I")[1::2]
    if sum(counts) != count:
        raise fields.error(f"{sum(counts)} samples in its runs, {count} in stsz")
    column = array("q")
    for run, value in zip(counts, values, strict=True):
        column.extend(array("q", [value]) * run)
    return column


def _sync(fields: Fields | None, count: int) -> bytearray:
    if fields is None:
        return bytearray(b"\x01") * count
    fields.version_flags()
    sync = bytearray(count)
    for number in _numbers(fields.rows(fields.uint(4), 4), "I"):
        if not 0 < number <= count:
            raise fields.error(f"sync sample {number} of {count}")
        sync[number - 1] = 1
    return sync


def _chunk_offsets(parts: Mapping[bytes, Fields], stbl: Fields) -> array[int]:
    for kind, size, typecode in ((b"stco", 4, "I"), (b"co64", 8, "Q")):
        if kind in parts:
            fields = parts[kind]
            fields.version_flags()
            return array("Q", _numbers(fields.rows(fields.uint(4), size), typecode))
    raise stbl.error("neither stco nor co64")


def _place(table: SampleTable, fields: Fields, chunks: array[int], entries: int) -> None:
    """Fills `offsets` and `entry` from stsc and the chunk offsets."""
    fields.version_flags()
    rows = _numbers(fields.rows(fields.uint(4), 12), "I")
    count, done = len(table.sizes), 0
    for at in range(0, len(rows), 3):
        first, samples, entry = rows[at : at + 3]
        behind = rows[at + 3] if at + 3 < len(rows) else len(chunks) + 1
        if not 0 < first < behind <= len(chunks) + 1 or (at == 0 and first != 1):
            raise fields.error(f"chunk runs out of order at row {at // 3}")
        if not 0 < entry <= entries:
            raise fields.error(f"sample entry {entry} of {entries}")
        if (behind - first) * samples > count - done:
            raise fields.error(f"more samples in chunks than the {count} in stsz")
        for chunk in chunks[first - 1 : behind - 1]:
            if chunk >= 1 << 62:
                raise fields.error(f"chunk offset {chunk}")
            positions = list(accumulate(table.sizes[done : done + samples], initial=chunk))
            table.offsets.extend(positions[:samples])
            done += samples
        table.entry.extend(array("I", [entry - 1]) * ((behind - first) * samples))
    if done != count:
        raise fields.error(f"{done} samples in chunks, {count} in stsz")
