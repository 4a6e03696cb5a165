"""Movie fragments of many samples, out of columns, and the index in front of them (ISO/IEC 14496-12 §8.8 and §8.16.3).

Law: sans-IO and without state. How long a fragment's head is follows from the number of its runs and samples alone
(`head_bytes`), so a file of fragments can be laid out before any frame table is read. Called by whoever lays out long
movies and segments of playlists.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from mediadb.mp4 import tables
from mediadb.mp4.boxes import box, full_box
from mediadb.mp4.moov import FTYP, Edit, TrackBoxes, moov
from mediadb.mp4.plan import Kind

MAX_GROUP_BYTES: Final = (1 << 31) - (1 << 20)  # trun counts its data offset, sidx its references in 31 bits
MAX_REFERENCES: Final = 65_535
LONGEST_SUBSEGMENT: Final = (1 << 32) - 1
LARGEST_SUBSEGMENT: Final = (1 << 31) - 1
_GROUP_FIXED: Final = 8 + 16 + 8  # moof, mfhd; mdat
_RUN_FIXED: Final = 8 + 20 + 20 + 20  # traf, tfhd, tfdt, trun
SAMPLE_BYTES: Final = 16
_TFHD_FLAGS: Final = 0x020002  # default-base-is-moof, sample description index
_TRUN_ALL: Final = 0x000F01
_SYNC_FLAGS: Final = 0x02000000
_DELTA_FLAGS: Final = 0x01010000
_STARTS_WITH_SAP: Final = 0x90000000  # type 1


@dataclass(frozen=True, slots=True)
class MovieTrack:
    """A track of a fragmented file. `entries`: whole sample entry boxes; `media_start`: pts (ticks of the track) that
    is shown at presentation time 0."""

    track_id: int
    kind: Kind
    timescale: int
    entries: tuple[bytes, ...]
    media_start: int = 0


@dataclass(frozen=True, slots=True)
class Run:
    """Samples of one track that lie behind one another and have one sample entry (`entry`, from 0). `base_dts`: decode
    time of the first; `durations` in ticks; `offsets`: pts - dts; `sync`: 1 where a decoder may start."""

    track_id: int
    entry: int
    base_dts: int
    durations: array[int]
    sizes: array[int]
    offsets: array[int]
    sync: bytes


def head_bytes(runs: int, samples: int) -> int:
    """Length of `group_head`."""
    return _GROUP_FIXED + _RUN_FIXED * runs + SAMPLE_BYTES * samples


def group_head(sequence: int, runs: Sequence[Run]) -> bytes:
    """moof and the mdat header; the samples follow in the order of `runs`. ValueError above MAX_GROUP_BYTES."""
    media_bytes = sum(sum(run.sizes) for run in runs)
    data_at = head_bytes(len(runs), sum(len(run.sizes) for run in runs))
    if data_at + media_bytes > MAX_GROUP_BYTES:
        raise ValueError(f"a fragment of {media_bytes} bytes is too large")
    trafs = []
    for run in runs:
        trafs.append(_traf(run, data_at))
        data_at += sum(run.sizes)
    moof = box(b"moof", full_box(b"mfhd", 0, 0, struct.pack(">I", sequence & 0xFFFFFFFF)), *trafs)
    return moof + struct.pack(">I4s", media_bytes + 8, b"mdat")


def _traf(run: Run, data_at: int) -> bytes:
    count = len(run.sizes)
    rows = array("I", bytes(SAMPLE_BYTES * count))
    rows[0::4] = run.durations
    rows[1::4] = run.sizes
    rows[2::4] = array("I", [_SYNC_FLAGS if sync else _DELTA_FLAGS for sync in run.sync])
    rows[3::4] = array("I", run.offsets.tobytes())  # two's complement: version 1 reads it so
    return box(
        b"traf",
        full_box(b"tfhd", 0, _TFHD_FLAGS, struct.pack(">II", run.track_id, run.entry + 1)),
        full_box(b"tfdt", 1, 0, struct.pack(">Q", run.base_dts)),
        full_box(b"trun", 1, _TRUN_ALL, struct.pack(">Ii", count, data_at), tables.big_endian(rows)),
    )


def movie_head(tracks: Sequence[MovieTrack], duration: int = 0) -> bytes:
    """ftyp and moov of a fragmented file; `duration` in ticks of the first track, 0 when it is not told."""
    boxes = []
    for track in tracks:
        edits = (Edit(0, track.media_start),) if track.media_start else ()
        stbl = tables.stbl(track.entries)
        boxes.append(TrackBoxes(track.track_id, track.kind, track.timescale, track.entries, 0, 0, edits, stbl))
    extends = [full_box(b"trex", 0, 0, struct.pack(">IIIII", track.track_id, 1, 0, 0, 0)) for track in tracks]
    if duration:
        extends.insert(0, full_box(b"mehd", 1, 0, struct.pack(">Q", duration)))
    return FTYP + moov(tracks[0].timescale, 0, boxes, box(b"mvex", *extends))


def segment_index(
    track: MovieTrack, sizes: array[int], durations: array[int], sync: bytes, first_offset: int = 0
) -> bytes:
    """sidx (§8.16.3): subsegments without a byte between them, `first_offset` bytes behind the box: how many bytes each
    has, ticks until the next, 1 where it begins with a sync sample. ValueError above its limits.

    One flat box, because ffmpeg reads no hierarchy of them; one per track, because ffmpeg 5 takes the times of one
    track's index for ticks of another that has none."""
    if len(sizes) > MAX_REFERENCES:
        raise ValueError(f"{len(sizes)} references, a sidx has room for {MAX_REFERENCES}")
    if len(sizes) and max(sizes) > LARGEST_SUBSEGMENT:
        raise ValueError(f"a subsegment of {max(sizes)} bytes, a sidx counts 31 bits")
    rows = array("I", bytes(12 * len(sizes)))
    rows[0::3], rows[1::3] = sizes, durations
    rows[2::3] = array("I", [_STARTS_WITH_SAP if is_sync else 0 for is_sync in sync])
    fixed = struct.pack(">IIQQHH", track.track_id, track.timescale, 0, first_offset, 0, len(sizes))
    return full_box(b"sidx", 1, 0, fixed, tables.big_endian(rows))
