"""What the event loop hands to the writer of a log, slot by slot, and the commit that is made of it.

Law: plain values, no I/O, no policy. Times are recorder UTC microseconds; `mono_us` counts from an arbitrary origin.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
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

    def at(self, mono_us: int) -> int:
        """What the wall clock would show at `mono_us`, had it not been set."""
        return self.utc_us + mono_us - self.mono_us


def before_step(
    items: Sequence[tuple[TrackState, Item]], from_us: int, to_us: int
) -> tuple[Sequence[tuple[TrackState, Item]], Sequence[tuple[TrackState, Item]]]:
    """The items of one slot, cut where the wall clock was set from `from_us` to `to_us`: behind the last sample that is
    nearer to the old time."""
    for at in range(len(items) - 1, -1, -1):
        item = items[at][1]
        if isinstance(item, Sample) and abs(item.recv_us - from_us) < abs(item.recv_us - to_us):
            return items[: at + 1], items[at + 1 :]
    return (), items


@dataclass(slots=True, eq=False)
class PendingCommit:
    """A closed commit whose sync has not returned."""

    chunks: list[SealedChunk]
    tracks: dict[bytes, TrackState]
    wall_us: int
    facts: dict[uuid.UUID, TrackCommit] = field(default_factory=dict)
