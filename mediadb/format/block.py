"""The commit block: header and directory of all chunks of one commit.

Law: bytes to values and back. A block begins and ends on `block_align`. The header is the block's first bytes; the
directory lies at `dir_offset` and has one entry per chunk: its place in the block and a copy of its header. Header
and directory are written last, so a block whose both CRCs hold was laid out completely (its payload may still be torn).
"""

from __future__ import annotations

import struct
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

from mediadb.errors import FormatError
from mediadb.format.checksum import crc32
from mediadb.format.chunk import CHUNK_HEADER_BYTES, ChunkHeader, decode_chunk_header
from mediadb.format.constants import (
    BLOCK_ALIGN,
    MAGIC_BLOCK,
    MAX_BLOCK_BYTES,
    MAX_BLOCK_CHUNKS,
    NIL_UUID_BYTES,
    NO_COMMIT,
)

# magic, header_len, entry_len, count, dir_offset, block_len, epoch, durable_epoch, counter, durable_counter, run,
# segment, wall_us, supersedes_segment, supersedes_counter, supersedes_epoch, dir_crc, zero, crc
BLOCK_STRUCT: Final = struct.Struct("<4sHHIIQIIQQQ16sq16sQIIQ4xI")
BLOCK_FIELDS: Final = (
    "magic", "header_len", "entry_len", "count", "dir_offset", "block_len", "epoch", "durable_epoch", "counter",
    "durable_counter", "run", "segment", "wall_us", "supersedes_segment", "supersedes_counter", "supersedes_epoch",
    "dir_crc", "zero", "crc",
)  # fmt: skip
BLOCK_HEADER_BYTES: Final = BLOCK_STRUCT.size
# offset in the block, chunk bytes, zero; followed by the chunk header
ENTRY_PLACE: Final = struct.Struct("<QII")
ENTRY_BYTES: Final = ENTRY_PLACE.size + CHUNK_HEADER_BYTES

Commit = tuple[int, int]  # (epoch, counter); tuples compare in commit order


class Supersedes(NamedTuple):
    """Everything of `segment` from `first` on is void, even where it verifies: it was written again."""

    segment: uuid.UUID
    first: Commit


@dataclass(frozen=True, slots=True)
class BlockHeader:
    """One commit. `durable` is the newest commit whose sync had returned when this block was built."""

    segment: uuid.UUID
    run: int
    commit: Commit
    durable: Commit
    wall_us: int
    count: int
    block_len: int
    dir_offset: int = BLOCK_HEADER_BYTES
    entry_len: int = ENTRY_BYTES
    dir_crc: int = 0
    supersedes: Supersedes | None = None


class Entry(NamedTuple):
    """A chunk in a block: its offset from the block's first byte, its header, and the header's bytes."""

    offset: int
    header: ChunkHeader
    raw: bytes


def encode_block_header(block: BlockHeader) -> bytes:
    """The header bytes with their CRC."""
    old = block.supersedes
    raw = BLOCK_STRUCT.pack(
        MAGIC_BLOCK, BLOCK_HEADER_BYTES, block.entry_len, block.count, block.dir_offset, block.block_len,
        block.commit[0], block.durable[0], block.commit[1], block.durable[1], block.run, block.segment.bytes,
        block.wall_us, old.segment.bytes if old else NIL_UUID_BYTES, old.first[1] if old else NO_COMMIT[1],
        old.first[0] if old else NO_COMMIT[0], block.dir_crc, 0, 0,
    )  # fmt: skip
    return raw[:-4] + struct.pack("<I", crc32(raw[:-4]))


def decode_block_header(raw: bytes | memoryview, offset: int = 0) -> BlockHeader:
    """Raise FormatError when this is no block header, is damaged or claims impossible lengths."""
    if len(raw) - offset < BLOCK_HEADER_BYTES:
        raise FormatError("block header is cut short")
    f = BLOCK_STRUCT.unpack_from(raw, offset)
    if f[0] != MAGIC_BLOCK or f[1] != BLOCK_HEADER_BYTES or f[2] != ENTRY_BYTES:
        raise FormatError("no block header here")
    if f[-1] != crc32(raw[offset : offset + BLOCK_HEADER_BYTES - 4]):
        raise FormatError("block header does not verify")
    count, dir_offset, block_len = f[3:6]
    if count > MAX_BLOCK_CHUNKS or block_len > MAX_BLOCK_BYTES or block_len % BLOCK_ALIGN:
        raise FormatError("block header claims an impossible size")
    if dir_offset < BLOCK_HEADER_BYTES or dir_offset + count * ENTRY_BYTES > block_len:
        raise FormatError("the directory does not fit in its block")
    supersedes = None if f[13] == NIL_UUID_BYTES else Supersedes(uuid.UUID(bytes=f[13]), (f[15], f[14]))
    return BlockHeader(
        segment=uuid.UUID(bytes=f[11]),
        run=f[10],
        commit=(f[6], f[8]),
        durable=(f[7], f[9]),
        wall_us=f[12],
        count=count,
        block_len=block_len,
        dir_offset=dir_offset,
        entry_len=f[2],
        dir_crc=f[16],
        supersedes=supersedes,
    )


def encode_directory(places: Iterable[tuple[int, int, bytes]]) -> bytes:
    """Entries for (offset in block, chunk bytes, raw chunk header), in the writer's order."""
    place = ENTRY_PLACE.pack
    return b"".join([place(offset, length, 0) + raw for offset, length, raw in places])


def decode_directory(block: BlockHeader, raw: bytes | memoryview) -> list[Entry]:
    """All entries, in the writer's order. Raise FormatError when the directory does not verify."""
    size = block.count * ENTRY_BYTES
    if len(raw) < size or crc32(raw[:size]) != block.dir_crc:
        raise FormatError("block directory does not verify")
    entries = []
    for at in range(0, size, ENTRY_BYTES):
        offset, length, _ = ENTRY_PLACE.unpack_from(raw, at)
        start = at + ENTRY_PLACE.size
        header = decode_chunk_header(raw, start)
        if length != header.chunk_len or offset + length > block.block_len:
            raise FormatError("a directory entry points outside its block")
        entries.append(Entry(offset, header, bytes(raw[start : start + CHUNK_HEADER_BYTES])))
    return entries
