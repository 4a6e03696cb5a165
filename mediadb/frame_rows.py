"""Sizes and times of a chunk's samples without reading the samples.

Law: blocking; reads header and frame table of one chunk, both checked, or nothing at all when the index row already
says everything. What cannot be read is explained by `Reader.read`, the one place that knows why. Called by whoever
plans a file over much footage.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import NamedTuple

from mediadb.errors import ChunkCorrupt, MediaDbError
from mediadb.format.chunk import CHUNK_HEADER_BYTES, decode_chunk_header
from mediadb.format.frame_table import FrameTable, decode_table
from mediadb.reader import ChunkRef, Reader
from mediadb.types import TrackConfig


class FrameRows(NamedTuple):
    """One row per sample; `dts`, `pts` in ticks of the track's timebase, as the camera counted."""

    sizes: Sequence[int]
    dts: Sequence[int]
    pts: Sequence[int]


def frame_rows(reader: Reader, ref: ChunkRef) -> FrameRows:
    """The rows of a media chunk. Raises as `Reader.read`: ChunkGone, ChunkCorrupt, ChunkNotDurable."""
    row = ref.row
    if row.frame_count == 1:
        return FrameRows((ref.data_len,), (row.base_dts,), (row.base_pts,))
    try:
        table = _read_table(reader, ref)
    except MediaDbError:
        table = reader.read(ref).table  # tells why it is not there, or reads it after all
    dts = [row.base_dts + distance for distance in table.dts]
    pts = [at + shift for at, shift in zip(dts, table.cts, strict=True)]
    return FrameRows(table.sizes, dts, pts)


def chunk_config(reader: Reader, ref: ChunkRef) -> TrackConfig:
    """How the chunk's samples are coded. Raises as `Reader.read`."""
    if ref.config is None:
        return reader.read(ref).config  # raises with the place
    return reader.index.config(ref.name, ref.config)[1]


def _read_table(reader: Reader, ref: ChunkRef) -> FrameTable:
    row = ref.row
    raw = reader.index.files.pread(ref.name, CHUNK_HEADER_BYTES + row.table_len, row.offset)
    header = decode_chunk_header(raw)
    table = memoryview(raw)[CHUNK_HEADER_BYTES:]
    same = (header.track, header.run, header.seq, header.table_len) == (
        ref.track.bytes, ref.run, ref.seq, row.table_len,
    )  # fmt: skip
    if not same or zlib.crc32(table) != header.table_crc:
        raise ChunkCorrupt(f"{ref.name} at {row.offset}: header or frame table does not verify", file=ref.name)
    rows = decode_table(table, header.frame_count)
    if sum(rows.sizes) != ref.data_len:
        raise ChunkCorrupt(f"{ref.name} at {row.offset}: table and payload differ in length", file=ref.name)
    return rows
