"""What the event loop hands to the writer of a log, slot by slot, and the commit that is made of it.

Law: plain values, no I/O, no policy. Times are recorder UTC microseconds; `mono_us` counts from an arbitrary origin.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field

from mediadb.types import Cause, Names, Sample, TrackConfig, TrackSpec
from mediadb.write.commits import TrackCommit
from mediadb.write.segment_chunk import SealedChunk, TrackState


@dataclass(frozen=True, slots=True)
class ConfigItem:
    config: TrackConfig


@dataclass(frozen=True, slots=True)
class CoverItem:
    time_us: int
    cause: Cause


@dataclass(frozen=True, slots=True)
class GapItem:
    start_us: int
    end_us: int
    cause: Cause


@dataclass(frozen=True, slots=True)
class MarkItem:
    time_us: int
    code: str
    params: dict[str, object]


@dataclass(frozen=True, slots=True)
class TrackItem:
    """A track is met for the first time, or its names changed."""

    spec: TrackSpec
    names: Names


Item = Sample | ConfigItem | CoverItem | GapItem | MarkItem | TrackItem


@dataclass(frozen=True, slots=True)
class Now:
    """Both readings of the clock and the clock run they belong to."""

    utc_us: int
    mono_us: int
    clock_run: int = 0


@dataclass(slots=True, eq=False)
class PendingCommit:
    """A closed commit whose sync has not returned."""

    chunks: list[SealedChunk]
    tracks: dict[bytes, TrackState]
    wall_us: int
    facts: dict[uuid.UUID, TrackCommit] = field(default_factory=dict)
