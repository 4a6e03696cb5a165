"""Where the chunks of a commit lie in its block: header and directory first, then a group of areas per retention class.

Law: pure. The class that ends first is first; its areas are CONFIG + KEY, DELTA + INTRA, then AUDIO + METADATA + GAP +
MARK, each begun on a page. So what is removed together (a class, or a class but for its keyframes) is contiguous and
no page of it holds anything else. Readers follow offsets; this order is the writer's choice.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
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
_AREAS = 3
_NO_CLASSES: Mapping[bytes, int] = {}


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


def lay_out(
    chunks: Sequence[SealedChunk], stamp: CommitStamp, align: int, classes: Mapping[bytes, int] = _NO_CLASSES
) -> BlockLayout:
    """Give every chunk its place; chunks of an area keep the order given. `classes`: the retention class of a track, by
    its UUID's bytes; 0 for one that is not named."""
    areas: dict[int, list[SealedChunk]] = {}
    for chunk in chunks:
        kind, track = Kind(chunk.header.kind), chunk.header.track
        area = classes.get(track, 0) * _AREAS + _AREA.get(kind, _LAST_AREA)
        areas.setdefault(area, []).append(chunk)
    front_len = position = align_up(BLOCK_HEADER_BYTES + len(chunks) * ENTRY_BYTES, align)
    body: list[bytes] = []
    places = []
    for number in sorted(areas):
        for chunk in areas[number]:
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
