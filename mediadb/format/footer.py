"""The footer of a sealed segment: per track an index region, then head with summaries, then the trailer.

Law: bytes to values and back. The footer begins on `block_align` behind the last block and ends the file; the last
64 bytes are the trailer, which says where the head is. Index region of a track = its CONFIG places, then the columns
of its media chunks, then those of its GAP and MARK chunks. Everything here can be made again from the blocks.
"""

from __future__ import annotations

import struct
import uuid
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from mediadb.errors import FormatError
from mediadb.format.block import Commit
from mediadb.format.checksum import crc32
from mediadb.format.columns import ROW_BYTES, ChunkColumns
from mediadb.format.constants import (
    MAGIC_FOOTER,
    MAGIC_TRAILER,
    NIL_UUID_BYTES,
    NO_SEQ,
    NO_TIME,
    VERSION,
    align_up,
)
from mediadb.format.records import Record, dump_record, load_record

MAX_NUMBER: Final = (1 << 62) - 1  # of bytes, samples, microseconds: what catalogs and file systems can hold

# magic, header_len, version, summary_len, track_count, flags, meta_len, segment, run, epoch, number,
# first_epoch, last_epoch, first_counter, last_counter, first_wall_us, last_wall_us, data_end
FOOTER_STRUCT: Final = struct.Struct("<4sHHIIII16sQIIIIQQqqQ")
FOOTER_FIELDS: Final = (
    "magic", "header_len", "version", "summary_len", "track_count", "flags", "meta_len", "segment", "run", "epoch",
    "number", "first_epoch", "last_epoch", "first_counter", "last_counter", "first_wall_us", "last_wall_us",
    "data_end",
)  # fmt: skip
# track, kind, zero, media_count, notes_count, config_count, first_us, end_us, first_seq, next_seq, samples,
# stored_bytes, lost_packets, damaged_count, index_offset, index_len, key_seq, key_segment, index_crc, zero
SUMMARY_STRUCT: Final = struct.Struct("<16sB3sIIIqqQQQQQQQQQ16sI4x")
SUMMARY_FIELDS: Final = (
    "track", "kind", "zero", "media_count", "notes_count", "config_count", "first_us", "end_us", "first_seq",
    "next_seq", "samples", "stored_bytes", "lost_packets", "damaged_count", "index_offset", "index_len", "key_seq",
    "key_segment", "index_crc",
)  # fmt: skip
# magic, head_offset, head_len, footer_offset, segment, head_crc, zero, zero, crc
TRAILER_STRUCT: Final = struct.Struct("<8sQQQ16sIIII")
TRAILER_FIELDS: Final = (
    "magic", "head_offset", "head_len", "footer_offset", "segment", "head_crc", "zero", "zero", "crc",
)  # fmt: skip
TRAILER_BYTES: Final = TRAILER_STRUCT.size
CONFIG_PLACE_STRUCT: Final = struct.Struct("<32sQI4x")
FLAG_RECOVERED: Final = 1  # sealed by recovery, not by the writer


class ConfigPlace(NamedTuple):
    """Where a CONFIG chunk lies in the segment."""

    config_hash: bytes
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class TrackSummary:
    """One track in one segment. Times are recorder UTC of media chunks, `first_us` NO_TIME when there are none.

    `key_seq`/`key_segment`: the KEY of the GOP the segment begins in, when that is in an earlier segment.
    """

    track: uuid.UUID
    kind: int
    media_count: int
    notes_count: int
    config_count: int
    first_us: int
    end_us: int
    first_seq: int
    next_seq: int
    samples: int
    stored_bytes: int
    lost_packets: int
    damaged_count: int
    index_offset: int
    index_len: int
    index_crc: int
    key_seq: int = NO_SEQ
    key_segment: uuid.UUID | None = None


@dataclass(frozen=True, slots=True)
class FooterHead:
    """What a sealed segment holds. `meta` is JSON: {"tracks": [{"spec", "names"}], "supersedes", "damaged"}."""

    segment: uuid.UUID
    run: int
    epoch: int
    number: int
    first_commit: Commit
    last_commit: Commit
    first_wall_us: int
    last_wall_us: int
    data_end: int  # where the blocks end and the footer begins
    flags: int = 0
    tracks: list[TrackSummary] = field(default_factory=list)
    meta: Record = field(default_factory=dict)


class Trailer(NamedTuple):
    """The last 64 bytes of a sealed segment."""

    head_offset: int
    head_len: int
    footer_offset: int
    segment: uuid.UUID
    head_crc: int


def encode_head(head: FooterHead) -> bytes:
    """Head, summaries and meta, without padding."""
    meta = dump_record(head.meta)
    fixed = FOOTER_STRUCT.pack(
        MAGIC_FOOTER, FOOTER_STRUCT.size, VERSION, SUMMARY_STRUCT.size, len(head.tracks), head.flags, len(meta),
        head.segment.bytes, head.run, head.epoch, head.number, head.first_commit[0], head.last_commit[0],
        head.first_commit[1], head.last_commit[1], head.first_wall_us, head.last_wall_us, head.data_end,
    )  # fmt: skip
    return fixed + b"".join([_encode_summary(track) for track in head.tracks]) + meta


def decode_head(raw: bytes, trailer: Trailer) -> FooterHead:
    """Raise FormatError when the head does not verify against the trailer."""
    if len(raw) != trailer.head_len or crc32(raw) != trailer.head_crc or len(raw) < FOOTER_STRUCT.size:
        raise FormatError("footer head does not verify")
    f = FOOTER_STRUCT.unpack_from(raw)
    if f[0] != MAGIC_FOOTER or f[1] != FOOTER_STRUCT.size or f[2] != VERSION or f[3] != SUMMARY_STRUCT.size:
        raise FormatError("footer head has an unknown form")
    count, flags, meta_len = f[4:7]
    meta_at = FOOTER_STRUCT.size + count * SUMMARY_STRUCT.size
    if meta_at + meta_len != len(raw):
        raise FormatError("footer head has another length than it says")
    tracks = [_decode_summary(raw, FOOTER_STRUCT.size + index * SUMMARY_STRUCT.size) for index in range(count)]
    return FooterHead(
        segment=uuid.UUID(bytes=f[7]),
        run=f[8],
        epoch=f[9],
        number=f[10],
        first_commit=(f[11], f[13]),
        last_commit=(f[12], f[14]),
        first_wall_us=f[15],
        last_wall_us=f[16],
        data_end=f[17],
        flags=flags,
        tracks=tracks,
        meta=load_record(raw[meta_at:]),
    )


def encode_trailer(trailer: Trailer) -> bytes:
    raw = TRAILER_STRUCT.pack(
        MAGIC_TRAILER, trailer.head_offset, trailer.head_len, trailer.footer_offset, trailer.segment.bytes,
        trailer.head_crc, 0, 0, 0,
    )  # fmt: skip
    return raw[:-4] + struct.pack("<I", crc32(raw[:-4]))


def decode_trailer(raw: bytes, file_bytes: int) -> Trailer:
    """`raw` are the last TRAILER_BYTES of a file of `file_bytes`. Raise FormatError when it is no sealed segment."""
    if len(raw) != TRAILER_BYTES or raw[:8] != MAGIC_TRAILER:
        raise FormatError("the segment has no footer (not sealed)")
    _, head_offset, head_len, footer_offset, segment, head_crc, _, _, crc = TRAILER_STRUCT.unpack(raw)
    if crc != crc32(raw[:-4]) or footer_offset > head_offset:
        raise FormatError("the trailer does not verify")
    if head_offset + head_len > file_bytes - TRAILER_BYTES:
        raise FormatError("the trailer points outside the file")
    return Trailer(head_offset, head_len, footer_offset, uuid.UUID(bytes=segment), head_crc)


def footer_tail(head: bytes, head_offset: int, footer_offset: int, segment: uuid.UUID) -> bytes:
    """Head, zero padding and trailer: everything behind the index regions, ending on a page."""
    end = align_up(head_offset + len(head) + TRAILER_BYTES)
    padding = bytes(end - TRAILER_BYTES - head_offset - len(head))
    trailer = Trailer(head_offset, len(head), footer_offset, segment, crc32(head))
    return head + padding + encode_trailer(trailer)


def encode_index(configs: list[ConfigPlace], media: ChunkColumns, notes: ChunkColumns) -> bytes:
    """A track's index region."""
    places = b"".join([CONFIG_PLACE_STRUCT.pack(*place) for place in configs])
    return places + media.encode() + notes.encode()


def decode_index(raw: bytes, summary: TrackSummary) -> tuple[list[ConfigPlace], ChunkColumns, ChunkColumns]:
    """(configs, media, notes). Raise FormatError when the region does not verify."""
    if len(raw) != summary.index_len or crc32(raw) != summary.index_crc:
        raise FormatError(f"index of track {summary.track} does not verify")
    media_at = summary.config_count * CONFIG_PLACE_STRUCT.size
    notes_at = media_at + summary.media_count * ROW_BYTES
    if media_at > len(raw) or notes_at > len(raw):
        raise FormatError(f"index of track {summary.track} is shorter than its counts")
    places = [ConfigPlace(*fields) for fields in CONFIG_PLACE_STRUCT.iter_unpack(raw[:media_at])]
    media = ChunkColumns.decode(raw[media_at:notes_at], summary.media_count)
    return places, media, ChunkColumns.decode(raw[notes_at:], summary.notes_count)


def _encode_summary(t: TrackSummary) -> bytes:
    return SUMMARY_STRUCT.pack(
        t.track.bytes, t.kind, bytes(3), t.media_count, t.notes_count, t.config_count, t.first_us, t.end_us,
        t.first_seq, t.next_seq, t.samples, t.stored_bytes, t.lost_packets, t.damaged_count, t.index_offset,
        t.index_len, t.key_seq, t.key_segment.bytes if t.key_segment else NIL_UUID_BYTES, t.index_crc,
    )  # fmt: skip


def _decode_summary(raw: bytes, at: int) -> TrackSummary:
    f = SUMMARY_STRUCT.unpack_from(raw, at)
    if max(f[10:16]) > MAX_NUMBER or any(abs(time_us) > MAX_NUMBER for time_us in f[6:8] if time_us != NO_TIME):
        raise FormatError("footer head holds numbers that cannot be")
    return TrackSummary(
        track=uuid.UUID(bytes=f[0]), kind=f[1], media_count=f[3], notes_count=f[4], config_count=f[5],
        first_us=f[6], end_us=f[7], first_seq=f[8], next_seq=f[9], samples=f[10], stored_bytes=f[11],
        lost_packets=f[12], damaged_count=f[13], index_offset=f[14], index_len=f[15], index_crc=f[18],
        key_seq=f[16], key_segment=None if f[17] == NIL_UUID_BYTES else uuid.UUID(bytes=f[17]),
    )  # fmt: skip
