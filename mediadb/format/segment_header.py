"""The first page of a segment.

Law: bytes to values and back. The header is durable before the first commit and never changes: it holds only what is
known when the file is made (own identity, log, run), nothing about its content.
"""

from __future__ import annotations

import struct
import uuid
from dataclasses import dataclass
from typing import Final

from mediadb.errors import FormatError, UnsupportedVersion
from mediadb.format.checksum import crc32
from mediadb.format.constants import BLOCK_ALIGN, MAGIC_SEGMENT, VERSION
from mediadb.types import Origin

# magic, version, header_len, block_align, compatible, read_only, incompatible, origin, zero, segment, log, volume,
# server, run, epoch, number, created_us, zero, crc
SEGMENT_STRUCT: Final = struct.Struct("<8sHHIIIIB3s16s16s16s16sQIIqII")
SEGMENT_FIELDS: Final = (
    "magic", "version", "header_len", "block_align", "compatible", "read_only", "incompatible", "origin", "zero",
    "segment", "log", "volume", "server", "run", "epoch", "number", "created_us", "zero", "crc",
)  # fmt: skip
SEGMENT_HEADER_BYTES: Final = SEGMENT_STRUCT.size
SEGMENT_PAGE_BYTES: Final = BLOCK_ALIGN  # the header is alone on its page, padded with zero bytes

_ORIGINS: Final = frozenset(map(int, Origin))
KNOWN_COMPATIBLE: Final = 0
KNOWN_READ_ONLY: Final = 0
KNOWN_INCOMPATIBLE: Final = 0


@dataclass(frozen=True, slots=True)
class SegmentHeader:
    """Identity of a segment. `read_only` bits unknown to a program forbid writing, `incompatible` ones reading."""

    segment: uuid.UUID
    log: uuid.UUID
    volume: uuid.UUID
    server: uuid.UUID
    run: int
    epoch: int
    number: int  # of the segment in its run, from 0
    created_us: int
    origin: Origin = Origin.LIVE
    block_align: int = BLOCK_ALIGN
    compatible: int = 0
    read_only: int = 0
    incompatible: int = 0


def encode_segment_header(header: SegmentHeader) -> bytes:
    """The whole first page (4096 bytes)."""
    raw = SEGMENT_STRUCT.pack(
        MAGIC_SEGMENT, VERSION, SEGMENT_HEADER_BYTES, header.block_align, header.compatible, header.read_only,
        header.incompatible, int(header.origin), bytes(3), header.segment.bytes, header.log.bytes,
        header.volume.bytes, header.server.bytes, header.run, header.epoch, header.number, header.created_us, 0, 0,
    )  # fmt: skip
    raw = raw[:-4] + struct.pack("<I", crc32(raw[:-4]))
    return raw + bytes(SEGMENT_PAGE_BYTES - len(raw))


def decode_segment_header(raw: bytes) -> SegmentHeader:
    """Raise FormatError when it is no segment or damaged, UnsupportedVersion when it must not be read."""
    if len(raw) < SEGMENT_HEADER_BYTES or raw[:8] != MAGIC_SEGMENT:
        raise FormatError("not a segment of the media database")
    fields = SEGMENT_STRUCT.unpack_from(raw)
    if fields[-1] != crc32(raw[: SEGMENT_HEADER_BYTES - 4]):
        raise FormatError("the segment header does not verify")
    version, header_len, align, compatible, read_only, incompatible, origin = fields[1:8]
    if version != VERSION or header_len != SEGMENT_HEADER_BYTES:
        raise UnsupportedVersion(f"segment has format version {version}; this program knows {VERSION}")
    if incompatible & ~KNOWN_INCOMPATIBLE:
        raise UnsupportedVersion(f"segment needs features {incompatible:#x} that this program does not know")
    if align < BLOCK_ALIGN or align & (align - 1):
        raise FormatError(f"block_align {align} is not a power of two of at least {BLOCK_ALIGN}")
    if origin not in _ORIGINS:
        raise FormatError(f"segment of unknown origin {origin}")
    return SegmentHeader(
        segment=uuid.UUID(bytes=fields[9]),
        log=uuid.UUID(bytes=fields[10]),
        volume=uuid.UUID(bytes=fields[11]),
        server=uuid.UUID(bytes=fields[12]),
        run=fields[13],
        epoch=fields[14],
        number=fields[15],
        created_us=fields[16],
        origin=Origin(origin),
        block_align=align,
        compatible=compatible,
        read_only=read_only,
        incompatible=incompatible,
    )
