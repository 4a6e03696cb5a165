"""Fragmented MP4 (ISO/IEC 14496-12 §8.8): initialisation segments and fragments for live pictures.

Law: sans-IO and without state; the caller owns sequence numbers, decode times and the sample bytes, which are never
copied when it sends `fragment_head` and then the sample itself. Base is always the moof (default-base-is-moof), so a
fragment can be dropped, or joined to others, without being rewritten. Called by live.mp4 and the WebSocket.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from mediadb.mp4 import tables
from mediadb.mp4.boxes import box, full_box
from mediadb.mp4.moov import FTYP, TrackBoxes, moov
from mediadb.mp4.plan import Kind

_TFHD_DEFAULT_BASE_IS_MOOF = 0x020000
_TRUN_ALL = 0x000F01  # data offset; per sample duration, size, flags, composition offset
_SYNC_FLAGS = 0x02000000  # depends on no other sample
_DELTA_FLAGS = 0x01010000  # depends on others, is no sync sample
_HEAD = struct.Struct(">I4s I4sII I4s I4sII I4sIQ I4sIIi IIIi I4s")


@dataclass(frozen=True, slots=True)
class FragmentTrack:
    """A track of an initialisation segment. `entry`: a whole sample entry box; `timescale` in Hz."""

    track_id: int
    kind: Kind
    timescale: int
    entry: bytes


@dataclass(frozen=True, slots=True)
class FragmentSample:
    """One sample: its bytes, how long it lasts and pts - dts in ticks, and whether a decoder may start here."""

    data: bytes
    duration: int
    cts: int
    is_sync: bool


@dataclass(frozen=True, slots=True)
class FragmentRun:
    """Consecutive samples of one track; `base_dts` (ticks, not negative) is the decode time of the first."""

    track_id: int
    base_dts: int
    samples: Sequence[FragmentSample]


def init_segment(tracks: Sequence[FragmentTrack]) -> bytes:
    """ftyp and moov of a fragmented movie. ValueError without tracks."""
    if not tracks:
        raise ValueError("an initialisation segment needs a track")
    boxes = [
        TrackBoxes(track.track_id, track.kind, track.timescale, (track.entry,), 0, 0, (), tables.stbl((track.entry,)))
        for track in tracks
    ]
    extends = (full_box(b"trex", 0, 0, struct.pack(">IIIII", track.track_id, 1, 0, 0, 0)) for track in tracks)
    return FTYP + moov(tracks[0].timescale, 0, boxes, box(b"mvex", *extends))


def fragment(sequence: int, runs: Sequence[FragmentRun]) -> bytes:
    """One moof with its mdat; the samples lie behind one another in the order of `runs`."""
    header = full_box(b"mfhd", 0, 0, struct.pack(">I", sequence & 0xFFFFFFFF))
    moof_bytes = len(_moof(header, runs, 0))
    moof = _moof(header, runs, moof_bytes + 8)
    samples = [sample.data for run in runs for sample in run.samples]
    return moof + _mdat_head(sum(map(len, samples))) + b"".join(samples)


def fragment_head(
    sequence: int, track_id: int, base_dts: int, sample_bytes: int, timing: tuple[int, int, bool]
) -> bytes:
    """Everything of a one-sample fragment but the sample (112 bytes): send it, then the sample's own bytes.

    `timing` is (duration, cts, is_sync) as in `FragmentSample`. Equal to `fragment` with that one sample, for a
    fifth of its cost.
    """
    duration, cts, is_sync = timing
    _check_sample(sample_bytes)
    return _HEAD.pack(
        *(104, b"moof"),
        *(16, b"mfhd", 0, sequence & 0xFFFFFFFF),
        *(80, b"traf"),
        *(16, b"tfhd", _TFHD_DEFAULT_BASE_IS_MOOF, track_id),
        *(20, b"tfdt", 1 << 24, base_dts),
        *(36, b"trun", 1 << 24 | _TRUN_ALL, 1, _HEAD.size),
        *(duration, sample_bytes, _SYNC_FLAGS if is_sync else _DELTA_FLAGS, cts),
        *(sample_bytes + 8, b"mdat"),
    )


def _moof(header: bytes, runs: Sequence[FragmentRun], data_at: int) -> bytes:
    trafs = []
    for run in runs:
        rows = b"".join(
            struct.pack(">IIIi", s.duration, len(s.data), _SYNC_FLAGS if s.is_sync else _DELTA_FLAGS, s.cts)
            for s in run.samples
        )
        trafs.append(
            box(
                b"traf",
                full_box(b"tfhd", 0, _TFHD_DEFAULT_BASE_IS_MOOF, struct.pack(">I", run.track_id)),
                full_box(b"tfdt", 1, 0, struct.pack(">Q", run.base_dts)),
                full_box(b"trun", 1, _TRUN_ALL, struct.pack(">Ii", len(run.samples), data_at), rows),
            )
        )
        data_at += sum(len(sample.data) for sample in run.samples)
    return box(b"moof", header, *trafs)


def _check_sample(sample_bytes: int) -> None:
    if sample_bytes >= (1 << 31) - 256:  # trun counts its data offset in signed 32 bits
        raise ValueError(f"a fragment of {sample_bytes} bytes is too large")


def _mdat_head(media_bytes: int) -> bytes:
    _check_sample(media_bytes)
    return struct.pack(">I4s", media_bytes + 8, b"mdat")
