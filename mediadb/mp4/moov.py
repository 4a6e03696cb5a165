"""The movie box and its parts (ISO/IEC 14496-12 §8): one fixed order, identity matrix, nothing that is not needed.

Law: equal arguments give equal bytes, so a verifier can rebuild the box and compare. Times are 0 (creation is told
elsewhere), language `und`, names empty. Called by `virtual` (progressive files) and `fragment` (initialisation
segments).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from mediadb.mp4.boxes import box, full_box
from mediadb.mp4.entry_reader import parse_entry
from mediadb.mp4.plan import Kind

FTYP = box(b"ftyp", b"isom", struct.pack(">I", 0x200), b"isom", b"iso6", b"mp41")
_MATRIX = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
_DINF = box(b"dinf", full_box(b"dref", 0, 0, struct.pack(">I", 1), full_box(b"url ", 0, 1)))
_MEDIA_HEADER = {
    "video": full_box(b"vmhd", 0, 1, bytes(8)),
    "audio": full_box(b"smhd", 0, 0, bytes(4)),
}
_HANDLER = {"video": b"vide", "audio": b"soun"}


@dataclass(frozen=True, slots=True)
class Edit:
    """One edit list entry: `duration` in the movie's timescale, `media_time` in the track's or -1 for nothing."""

    duration: int
    media_time: int


@dataclass(frozen=True, slots=True)
class TrackBoxes:
    """What `trak` says about a track. `duration` in movie ticks, `media_duration` in track ticks; `stbl` whole."""

    track_id: int
    kind: Kind
    timescale: int
    entries: tuple[bytes, ...]
    duration: int
    media_duration: int
    edits: tuple[Edit, ...]
    stbl: bytes


def moov(timescale: int, duration: int, tracks: Sequence[TrackBoxes], *extra: bytes) -> bytes:
    """The movie box; `extra` follows the tracks (mvex)."""
    next_id = max((track.track_id for track in tracks), default=0) + 1
    header = _timed(b"mvhd", 0, struct.pack(">I", timescale), b"", duration)
    header += struct.pack(">IH10x", 1 << 16, 0x100) + _MATRIX + bytes(24) + struct.pack(">I", next_id)
    return box(b"moov", _sized(header), *(_trak(track) for track in tracks), *extra)


def stsd(entries: Sequence[bytes]) -> bytes:
    """Sample descriptions (§8.5.2)."""
    return full_box(b"stsd", 0, 0, struct.pack(">I", len(entries)), *entries)


def _timed(kind: bytes, flags: int, middle: bytes, behind: bytes, duration: int) -> bytes:
    """Start of mvhd, tkhd and mdhd without the size: times 0, `middle`, duration; 64-bit only when needed."""
    if duration < 1 << 32:
        return kind + struct.pack(">IQ", flags, 0) + middle + struct.pack(">I", duration) + behind
    return kind + struct.pack(">IQQ", 1 << 24 | flags, 0, 0) + middle + struct.pack(">Q", duration) + behind


def _sized(unsized: bytes) -> bytes:
    return struct.pack(">I", len(unsized) + 4) + unsized


def _trak(track: TrackBoxes) -> bytes:
    info = parse_entry(track.entries[0])
    header = _timed(b"tkhd", 3, struct.pack(">II", track.track_id, 0), b"", track.duration)
    header += struct.pack(">8xhhHxx", 0, 0, 0x100 if track.kind == "audio" else 0) + _MATRIX
    header += struct.pack(">II", info.width << 16, info.height << 16)
    language = struct.pack(">HH", 0x55C4, 0)  # und
    media = box(
        b"mdia",
        _sized(_timed(b"mdhd", 0, struct.pack(">I", track.timescale), language, track.media_duration)),
        full_box(b"hdlr", 0, 0, bytes(4) + _HANDLER[track.kind] + bytes(12) + b"\0"),
        box(b"minf", _MEDIA_HEADER[track.kind], _DINF, track.stbl),
    )
    return box(b"trak", _sized(header), *([_edts(track.edits)] if track.edits else []), media)


def _edts(edits: Sequence[Edit]) -> bytes:
    wide = any(edit.duration >= 1 << 32 or edit.media_time >= 1 << 31 for edit in edits)
    row = ">QqHH" if wide else ">IiHH"
    rows = b"".join(struct.pack(row, edit.duration, edit.media_time, 1, 0) for edit in edits)
    return box(b"edts", full_box(b"elst", int(wide), 0, struct.pack(">I", len(edits)), rows))
