"""The rows of catalog.db as values, and how their columns are written.

Law: values and their text; no SQL, no I/O. A row that cannot be raises ValueError, TypeError or LookupError: the
catalog then throws its file away.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from mediadb.format.constants import NO_SEQ
from mediadb.format.footer import TrackSummary
from mediadb.ledger_facts import MediaSpan
from mediadb.types import Names, Origin, TrackSpec


@dataclass(frozen=True, slots=True)
class SegmentRow:
    """A sealed segment. `name` as in `SegmentPlace`."""

    name: str
    size: int
    segment: uuid.UUID
    run: int
    origin: int


class FolderStamp(NamedTuple):
    """The version of a day folder's list of names: both numbers 0 when it has to be listed again."""

    inode: int
    changed_us: int


@dataclass(frozen=True, slots=True)
class TrackRow:
    """What is known of a track: its identity and its names in the newest segment."""

    spec: TrackSpec
    names: Names
    first_us: int
    end_us: int


@dataclass(frozen=True, slots=True)
class PartRow:
    """One track in one sealed segment. `spans` is None until somebody has worked them out."""

    segment: SegmentRow
    summary: TrackSummary
    spans: list[MediaSpan] | None


def folder_of(name: str) -> str:
    """The day folder of a segment, below the volume."""
    return name.rpartition("/")[0]


def signed(number: int) -> int:
    """A 64-bit number as SQLite keeps it."""
    return number - (1 << 64) if number >= 1 << 63 else number


def unsigned(number: object) -> int:
    return int(str(number)) & ((1 << 64) - 1)


def clamp(time_us: int) -> int:
    return max(-(1 << 63), min((1 << 63) - 1, time_us))


def segment_of(row: Sequence[object]) -> SegmentRow:
    name, size, segment, run, origin = row
    assert isinstance(segment, bytes)
    return SegmentRow(str(name), int(str(size)), uuid.UUID(bytes=segment), unsigned(run), Origin(int(str(origin))))


def part_of(row: Sequence[object]) -> PartRow:
    name, segment, run, origin, track = row[:5]
    key_seq, key_segment, spans = row[19:22]
    assert isinstance(track, bytes)
    n = [int(str(value)) for value in row[5:19]]
    if min(n[4:]) < 0:
        raise ValueError("a count, place or length below nothing")
    summary = TrackSummary(
        track=uuid.UUID(bytes=track), kind=0, first_us=n[0], end_us=n[1], first_seq=unsigned(n[2]),
        next_seq=unsigned(n[3]), samples=n[4], stored_bytes=n[5], lost_packets=n[6], damaged_count=n[7],
        media_count=n[8], notes_count=n[9], config_count=n[10], index_offset=n[11], index_len=n[12],
        index_crc=n[13], key_seq=NO_SEQ if key_seq is None else unsigned(key_seq),
        key_segment=uuid.UUID(bytes=key_segment) if isinstance(key_segment, bytes) else None,
    )  # fmt: skip
    return PartRow(segment_of((name, 0, segment, run, origin)), summary, load_spans(spans))


def dump_spans(spans: list[MediaSpan] | None) -> str | None:
    if spans is None:
        return None
    rows = [
        [
            s.start_us, s.end_us, s.first_seq, s.end_seq, s.lost_packets, s.damaged_samples, s.lost_before,
            int(s.seam), s.media_start_us, s.media_end_us, s.run, s.lane, s.interval_us, s.lead_us,
            s.clock, s.entry_us, s.after_seq,
        ]
        for s in spans
    ]  # fmt: skip
    return json.dumps(rows, separators=(",", ":"))


def load_spans(raw: object) -> list[MediaSpan] | None:
    if raw is None:
        return None
    return [
        MediaSpan(
            start_us=r[0], end_us=r[1], run=r[10], first_seq=r[2], end_seq=r[3], lost_packets=r[4],
            damaged_samples=r[5], lost_before=r[6], lane=r[11], seam=bool(r[7]), media_start_us=r[8],
            media_end_us=r[9], interval_us=r[12], lead_us=r[13], clock=r[14], entry_us=r[15],
            after_seq=r[16],
        )
        for r in json.loads(str(raw))
    ]  # fmt: skip
