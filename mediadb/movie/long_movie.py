"""Recorded footage of hours or days as one fragmented file that is never made.

Law: planned from index rows alone; a group's bytes are made when they are asked for and forgotten again, so memory
does not grow with the number of samples. Equal footage gives equal bytes. Called by whoever serves ranges of
`media.mp4`. Form of the file: docs/format/mp4.md.
"""

from __future__ import annotations

import hashlib
import struct
import uuid
from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from operator import sub
from typing import Final

from mediadb.errors import ChunkCorrupt
from mediadb.movie.groups import Group, PiecePlan, lay_group
from mediadb.movie.long_line import Line
from mediadb.movie.long_plan import LongPlan, Wanted, plan_groups
from mediadb.movie.row_range import DoubtName, RowFinder, Skipped
from mediadb.mp4 import tables
from mediadb.mp4.group import LONGEST_SUBSEGMENT, MAX_REFERENCES, MovieTrack, movie_head, segment_index
from mediadb.mp4.plan import to_us
from mediadb.mp4.virtual import Anchor, TrackFacts
from mediadb.read.chunks import ChunkRef
from mediadb.read.reader import Reader
from mediadb.read.recent_cache import RecentCache

GROUP_US: Final = 8_000_000  # least length of a group; a player seeks in the index by groups
MOST_GROUPS: Final = 20_000  # of a month: groups get longer, the index does not
KEPT_GROUPS: Final = 4
BREAK_BYTES: Final = 360  # what a break costs to keep, its anchor included


class LongMovie:
    """A virtual fragmented file. `etag` is strong and comes without quotes; `start_us`: wall time of presentation time
    0; `tracks`: whose the tracks of the file are, `facts` what is to be told of them, in the same order."""

    def __init__(self, plan: LongPlan, skipped: list[Skipped]) -> None:
        self.skipped = skipped
        self.start_us = plan.start_us
        self.tracks = [line.track for line in plan.lines]
        self._plan = plan
        self._finders = [RowFinder(line.track, line.stretches) for line in plan.lines]
        self._groups: RecentCache[int, Group] = RecentCache(KEPT_GROUPS)
        tracks = movie_tracks(plan)
        duration = plan.time[-1]
        self.head = movie_head(tracks, duration) + _index(tracks, plan)
        self.total_bytes = len(self.head) + plan.at[-1]
        self.duration_us = to_us(duration, plan.lead.scale)
        self.facts = tuple(_facts(line, plan) for line in plan.lines)
        self.etag = self._hash()
        for line in plan.lines:
            line.forget_layout()

    @property
    def cost_bytes(self) -> int:
        """About how much memory the plan holds."""
        lines = sum(len(line.stretches) * 400 + len(line.breaks) * BREAK_BYTES for line in self._plan.lines)
        return len(self.head) + len(self._plan) * 33 + lines

    def read(self, reader: Reader, start: int, end: int) -> Iterator[bytes | memoryview]:
        """Bytes [start, end) in pieces, views into checked chunks. Raises as `Reader.read`: never other bytes."""
        head = len(self.head)
        if start < head:
            yield memoryview(self.head)[start:end]
        at = self._plan.at
        start, end = max(start, head) - head, end - head
        number = bisect_right(at, start) - 1
        while start < end:
            begin, stop = at[number], at[number + 1]
            group = self._group(reader, number)
            yield from group.read(reader, start - begin, min(end, stop) - begin)
            start, number = stop, number + 1

    def _group(self, reader: Reader, number: int) -> Group:
        group = self._groups.get(number)
        if group is None:
            group = lay_group(reader, number + 1, list(self._pieces(reader, number)))
            promised = self._plan.at[number + 1] - self._plan.at[number]
            if group.total_bytes != promised:
                raise ChunkCorrupt(f"group {number} has {group.total_bytes} bytes, its index rows say {promised}")
            self._groups.put(number, group)
        return group

    def _pieces(self, reader: Reader, number: int) -> Iterator[PiecePlan]:
        plan, lead = self._plan, self._plan.lead
        low, high = plan.low[number], plan.high[number]
        if low < high:
            refs = self._finders[0].refs(reader, low, high)
            entry = lead.piece_entry[bisect_right(lead.piece_row, low) - 1]
            yield PiecePlan(1, entry, lead.scale, refs, plan.time[number], plan.time[number + 1])
        if plan.other is not None:
            low, high = plan.other_row[number], plan.other_row[number + 1]
            yield from other_pieces(reader, plan.other, self._finders[1], low, high)

    def _hash(self) -> str:
        plan = self._plan
        digest = hashlib.sha256(self.head)
        digest.update(struct.pack(">q", plan.start_us))
        for column in (plan.at, plan.time, plan.low, plan.high, plan.other_row):
            digest.update(tables.big_endian(column))
        for line in plan.lines:
            digest.update(line.track.bytes + struct.pack(">II", line.first_row, line.trim_samples))
            for column in (line.piece_row, line.piece_time, line.piece_dts, line.piece_entry):
                digest.update(tables.big_endian(column))
            for stretch in line.stretches:
                digest.update(stretch.segment.bytes + struct.pack(">II", stretch.low, stretch.count))
        return digest.hexdigest()[:40]


def plan_long(
    reader: Reader,
    tracks: Sequence[uuid.UUID],
    start_us: int,
    end_us: int,
    doubt: DoubtName = lambda _: False,
    skipped: list[Skipped] | None = None,
) -> LongMovie | None:
    """The file of [start_us, end_us), or None when nothing is there. Of one video and one sound track at most.

    It begins with the keyframe at or before `start_us`, ends with the chunk in which `end_us` lies. Chunks of segments
    for which `doubt` holds are checked now, and left out where they cannot be read; `skipped` names them."""
    skipped = [] if skipped is None else skipped
    target_us = max(GROUP_US, (end_us - start_us) // MOST_GROUPS)
    plan = plan_groups(reader, Wanted(tracks, start_us, end_us, target_us), doubt, skipped)
    return None if plan is None else LongMovie(plan, skipped)


def movie_tracks(plan: LongPlan) -> list[MovieTrack]:
    """The tracks of the file, from 1 on."""
    return [
        MovieTrack(
            number,
            "video" if line.is_video else "audio",
            line.scale,
            tuple(config.sample_entry for config in line.configs),
            line.first_offset,
        )
        for number, line in enumerate(plan.lines, 1)
    ]


def other_pieces(reader: Reader, line: Line, finder: RowFinder, low: int, high: int) -> Iterator[PiecePlan]:
    """Rows [low, high) of the sound beside the video, cut where a piece begins."""
    while low < high:
        piece = bisect_right(line.piece_row, low) - 1
        stop = min(high, line.piece_row[piece + 1] if piece + 1 < len(line.piece_row) else high)
        refs = finder.refs(reader, low, min(stop + 1, line.rows))
        skip = line.trim_samples if low == line.first_row else 0
        base = _time_of(reader, line, low, refs[0]) + (line.trim_ticks if skip else 0)
        end = _time_of(reader, line, stop, refs[-1]) if stop < line.rows else line.end
        yield PiecePlan(2, line.piece_entry[piece], line.scale, refs[: stop - low], base, end, skip)
        low = stop


def _time_of(reader: Reader, line: Line, row: int, ref: ChunkRef) -> int:
    return line.time_of(row, ref.row.base_dts, reader.config(ref).timebase_hz)


def _index(tracks: Sequence[MovieTrack], plan: LongPlan) -> bytes:
    """A sidx for each track, of the same groups."""
    out = b""
    for track, line in reversed(list(zip(tracks, plan.lines, strict=True))):
        out = segment_index(track, *_subsegments(plan, line), len(out)) + out
    return out


def _subsegments(plan: LongPlan, line: Line) -> tuple[array[int], array[int], bytes]:
    """How many bytes each has, how many ticks of the line, and whether a decoder may start there."""
    together = -(-len(plan) // MAX_REFERENCES)
    edges = slice(0, len(plan), together)
    at, time = plan.at[edges], plan.time[edges]
    at.append(plan.at[-1])
    time.append(plan.time[-1])
    scale, own = plan.lead.scale, line.scale
    if own != scale:
        time = array("q", [tick * own // scale for tick in time])
    longest = LONGEST_SUBSEGMENT
    sizes = array("I", map(sub, at[1:], at))
    durations = array("I", [ticks if ticks < longest else longest for ticks in map(sub, time[1:], time)])
    return sizes, durations, bytes(plan.sync[edges]) if line.is_video else b"\1" * len(sizes)


def _facts(line: Line, plan: LongPlan) -> TrackFacts:
    lead = line is plan.lead
    samples = line.samples - (0 if lead else line.samples_before(line.first_row) + line.trim_samples)
    anchors = tuple(
        Anchor(to_us(one.time, line.scale), one.wall_us + line.first_offset * 1_000_000 // line.scale)
        for one in line.breaks
    )
    kind = "video" if line.is_video else "audio"
    repeats = plan.repeats if lead and line.is_video else 0
    end = plan.time[-1] if lead else line.end
    return TrackFacts(kind, line.scale, samples + repeats, repeats, to_us(max(0, end), line.scale), anchors)
