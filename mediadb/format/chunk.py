"""The 256-byte chunk header: everything about a chunk but its place.

Law: bytes to values and back. No field depends on where the chunk lies, so a chunk rewritten elsewhere or copied into
an archive keeps its bytes. Chunk on disk = header + frame table + payload; payload = 16-byte salt + samples, each
exactly as received. CONFIG: payload = salt + CONFIG record, table = names record. GAP, MARK: payload = salt + record.
"""

from __future__ import annotations

import hashlib
import struct
from operator import itemgetter
from typing import Final, NamedTuple

from mediadb.errors import FormatError
from mediadb.format.checksum import crc32
from mediadb.format.constants import MAGIC_CHUNK, MAX_CHUNK_BYTES, NO_SEQ, NO_TIME, SALT_LEN
from mediadb.types import Kind

MAX_TIME_US: Final = (1 << 62) - 1  # what no clock shows, and what sums of times must stay below
CHUNK_STRUCT: Final = struct.Struct("<4sHBBHBBBBH16sQQQIIqqqqiiIIqIIIIIII4x32s32s32s4xI")
CHUNK_FIELDS: Final = (
    "magic", "header_len", "kind", "codec", "flags", "origin", "key_type", "recv_quality", "cam_quality", "source",
    "track", "run", "seq", "gop", "epoch", "frame_count", "recv_us", "cam_us", "base_pts", "base_dts", "min_pts",
    "max_pts", "timebase_hz", "clock_run", "duration_us", "lost_packets", "damaged_count", "table_len",
    "payload_len", "key_id", "table_crc", "payload_crc", "config_hash", "frames_hash", "body_hash", "crc",
)  # fmt: skip
CHUNK_HEADER_BYTES: Final = CHUNK_STRUCT.size
_CRC: Final = struct.Struct("<I")
_KINDS: Final = frozenset(map(int, Kind))


class ChunkHeader(NamedTuple):
    """One chunk. `min_pts`/`max_pts` are relative to `base_pts`; `payload_len` counts the salt.

    `recv_us` is the recorder's UTC of the first sample; a later sample's is `recv_us` plus its distance in dts.
    `duration_us` runs to the nominal end of the last sample (GAP: the whole gap). `gop` is the seq of the KEY.
    """

    kind: int
    track: bytes
    run: int
    seq: int
    recv_us: int
    codec: int = 0
    flags: int = 0
    origin: int = 0
    key_type: int = 0
    recv_quality: int = 0
    cam_quality: int = 0
    source: int = 0
    gop: int = NO_SEQ
    epoch: int = 0
    frame_count: int = 0
    cam_us: int = NO_TIME
    base_pts: int = 0
    base_dts: int = 0
    min_pts: int = 0
    max_pts: int = 0
    timebase_hz: int = 0
    duration_us: int = 0
    clock_run: int = 0
    lost_packets: int = 0
    damaged_count: int = 0
    table_len: int = 0
    payload_len: int = SALT_LEN
    key_id: int = 0
    table_crc: int = 0
    payload_crc: int = 0
    config_hash: bytes = bytes(32)
    frames_hash: bytes = bytes(32)
    body_hash: bytes = bytes(32)

    @property
    def chunk_len(self) -> int:
        """Bytes on disk: header + frame table + payload."""
        return CHUNK_HEADER_BYTES + self.table_len + self.payload_len

    @property
    def end_us(self) -> int:
        return self.recv_us + self.duration_us


_OWN_ORDER: Final = itemgetter(*(CHUNK_FIELDS.index(name) for name in ChunkHeader._fields))


def encode_chunk_header(header: ChunkHeader) -> bytes:
    """256 bytes with their CRC."""
    h = header
    raw = CHUNK_STRUCT.pack(
        MAGIC_CHUNK, CHUNK_HEADER_BYTES, h.kind, h.codec, h.flags, h.origin, h.key_type, h.recv_quality,
        h.cam_quality, h.source, h.track, h.run, h.seq, h.gop, h.epoch, h.frame_count, h.recv_us, h.cam_us,
        h.base_pts, h.base_dts, h.min_pts, h.max_pts, h.timebase_hz, h.clock_run, h.duration_us, h.lost_packets,
        h.damaged_count, h.table_len, h.payload_len, h.key_id, h.table_crc, h.payload_crc, h.config_hash,
        h.frames_hash, h.body_hash, 0,
    )  # fmt: skip
    head = raw[:-4]
    return head + _CRC.pack(crc32(head))


def decode_chunk_header(raw: bytes | memoryview, offset: int = 0) -> ChunkHeader:
    """Raise FormatError when the header does not verify or claims an impossible length."""
    if len(raw) - offset < CHUNK_HEADER_BYTES:
        raise FormatError("chunk header is cut short")
    f = CHUNK_STRUCT.unpack_from(raw, offset)
    if f[0] != MAGIC_CHUNK or f[1] != CHUNK_HEADER_BYTES:
        raise FormatError("no chunk header here")
    if f[-1] != crc32(raw[offset : offset + CHUNK_HEADER_BYTES - 4]):
        raise FormatError("chunk header does not verify")
    if f[2] not in _KINDS:
        raise FormatError(f"chunk of unknown kind {f[2]}")
    header = ChunkHeader._make(_OWN_ORDER(f))
    if header.payload_len < SALT_LEN or header.chunk_len > MAX_CHUNK_BYTES:
        raise FormatError("chunk header claims an impossible length")
    if header.recv_us + header.duration_us > MAX_TIME_US:
        raise FormatError("chunk header claims an impossible time")
    return header


def check_chunk(header: ChunkHeader, table: bytes | memoryview, payload: bytes | memoryview) -> str | None:
    """What is wrong with table or payload by CRC ("table", "payload"), or None."""
    if len(table) != header.table_len or crc32(table) != header.table_crc:
        return "table"
    if len(payload) != header.payload_len or crc32(payload) != header.payload_crc:
        return "payload"
    return None


def check_body_hash(header: ChunkHeader, payload: bytes | memoryview) -> bool:
    """True when the payload has the SHA-256 that the header names: the check of `verify`, dearer than CRC."""
    return hashlib.sha256(payload).digest() == header.body_hash
