"""Where the chunks of a commit lie in its block: three aligned areas, header and directory first.

Law: pure. Areas are CONFIG + KEY, DELTA + INTRA, then AUDIO + METADATA + GAP + MARK, each begun on a page, so that
grooming and keyframe reading touch contiguous bytes. Readers follow offsets; this order is the writer's choice.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from mediadb.format.block import (
    BLOCK_HEADER_BYTES,
    ENTRY_BYTES,
    BlockHeader,
    Commit,
    Supersedes,
    encode_block_header,
    encode_directory,
)
from mediadb.format.checksum import crc32
from mediadb.format.constants import align_up
from mediadb.types import Kind
from mediadb.write.segment_chunk import SealedChunk

_AREA = {Kind.CONFIG: 0, Kind.KEY: 0, Kind.DELTA: 1, Kind.INTRA: 1}
_LAST_AREA = 2


@dataclass(frozen=True, slots=True)
class CommitStamp:
    """What the block header says beside the chunks."""

    segment: uuid.UUID
    run: int
    commit: Commit
    durable: Commit
    wall_us: int
    supersedes: Supersedes | None = None


@dataclass(frozen=True, slots=True)
class BlockLayout:
    """A commit ready to be written: `front` (header, directory, padding) goes last, `body` behind it first."""

    header: BlockHeader
    front: bytes
    body: list[bytes]
    places: list[tuple[SealedChunk, int]]  # chunk, offset from the block's first byte


def lay_out(chunks: Sequence[SealedChunk], stamp: CommitStamp, align: int) -> BlockLayout:
    """Give every chunk its place; chunks of an area keep the order given."""
    areas: tuple[list[SealedChunk], ...] = ([], [], [])
    for chunk in chunks:
        areas[_AREA.get(Kind(chunk.header.kind), _LAST_AREA)].append(chunk)
    front_len = position = align_up(BLOCK_HEADER_BYTES + len(chunks) * ENTRY_BYTES, align)
    body: list[bytes] = []
    places = []
    for area in areas:
        for chunk in area:
            places.append((chunk, position))
            body += chunk.pieces
            position += chunk.length
        end = align_up(position, align)
        if end > position:
            body.append(bytes(end - position))
            position = end
    directory = encode_directory((offset, chunk.length, chunk.raw) for chunk, offset in places)
    header = BlockHeader(
        segment=stamp.segment,
        run=stamp.run,
        commit=stamp.commit,
        durable=stamp.durable,
        wall_us=stamp.wall_us,
        count=len(chunks),
        block_len=position,
        dir_crc=crc32(directory),
        supersedes=stamp.supersedes,
    )
    front = encode_block_header(header) + directory
    return BlockLayout(header, front + bytes(front_len - len(front)), body, places)
