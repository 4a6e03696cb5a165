"""One track in one segment: its rows, where a decoder may begin, its gapless stretches.

Law: plain values over packed columns, no I/O. Made by `read.index`; a part of an open segment shows the rows that
were published when it was made.
"""

from __future__ import annotations

import uuid
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import lt
from typing import Final

from mediadb.format.columns import ChunkColumns, ChunkRow
from mediadb.format.footer import ConfigPlace
from mediadb.ledger_facts import (
    NO_ENTRY,
    NO_MEDIA_TIME,
    PAST_US,
    QUIET_US,
    MediaSpan,
    join_spans,
    nominal_tolerance_us,
)
from mediadb.types import ChunkFlag, Kind, TrackConfig

_SEAM: Final = int(ChunkFlag.DISCONTINUITY)
ENTRY_KINDS: Final = (Kind.KEY, Kind.INTRA, Kind.AUDIO, Kind.METADATA)  # where a decoder may begin


@dataclass(frozen=True, slots=True)
class Part:
    """One track in one segment. `count` media rows may be looked at; `lane` is "" for live media."""

    name: str
    segment: uuid.UUID
    run: int
    lane: str
    first_us: int
    end_us: int
    configs: list[ConfigPlace]
    media: ChunkColumns
    notes: ChunkColumns
    count: int

    def rows(self, low: int = 0) -> Iterator[ChunkRow]:
        """Rows from `low` on, in sequence order."""
        for i in range(low, self.count):
            yield self.media.row(i)

    def newest_entry(self, time_us: int) -> int:
        """Row of the newest chunk at or before `time_us` at which a decoder may begin; -1 when there is none."""
        media = self.media
        if media.ordered:
            stop = bisect_right(media.recv_us, time_us, 0, self.count)
            for i in range(stop - 1, -1, -1):
                if media.kind[i] in ENTRY_KINDS:
                    return i
            return -1
        found = [i for i in range(self.count) if media.recv_us[i] <= time_us and media.kind[i] in ENTRY_KINDS]
        return max(found, key=lambda i: (media.recv_us[i], i), default=-1)

    def next_entry(self, time_us: int) -> int:
        """Row of the first chunk after `time_us` at which a decoder may begin; -1 when there is none."""
        media = self.media
        low = bisect_right(media.recv_us, time_us, 0, self.count) if media.ordered else 0
        found = (i for i in range(low, self.count) if media.recv_us[i] > time_us and media.kind[i] in ENTRY_KINDS)
        return next(found, -1) if media.ordered else min(found, key=lambda i: media.recv_us[i], default=-1)

    def config_of(self, row: ChunkRow) -> ConfigPlace | None:
        return self.configs[row.config] if row.config < len(self.configs) else None


def statements_between(part: Part, low_seq: int, high_seq: int) -> int:
    """How many of the numbers above `low_seq` and below `high_seq` are GAP and MARK chunks of a part."""
    numbers, count = part.notes.seq, part.notes.count
    return max(0, bisect_left(numbers, high_seq, 0, count) - bisect_right(numbers, low_seq, 0, count))


def coding_tolerance_us(config: TrackConfig | None) -> int:
    """The join tolerance of a coding; that of an unknown frame interval when there is none."""
    if config is None or not config.timebase_hz:
        return nominal_tolerance_us(0)
    return nominal_tolerance_us(config.frame_ticks * 1_000_000 / config.timebase_hz)


def coding_interval_us(config: TrackConfig | None) -> int:
    """The distance of two samples of a coding, 0 when unknown."""
    return config.frame_ticks * 1_000_000 // config.timebase_hz if config is not None and config.timebase_hz else 0


def _of_row(values: Sequence[int], config: int, unknown: int = 0) -> int:
    """The value of a row's coding."""
    return values[config] if config < len(values) else unknown


def part_spans(part: Part, codings: Sequence[TrackConfig | None]) -> list[MediaSpan]:
    """The gapless stretches of one part; `codings` are its configs in order, None where one cannot be read."""
    media = part.media
    numbers = sorted([*media.seq[: part.count], *part.notes.seq[: part.notes.count]])
    rates = [coding.timebase_hz if coding is not None else 0 for coding in codings]
    intervals = [coding_interval_us(coding) for coding in codings]
    tolerance = coding_tolerance_us(codings[-1] if codings else None)
    limits = [max(coding_tolerance_us(coding), QUIET_US) for coding in codings]
    spans: list[MediaSpan] = []
    entered = False  # does what comes next go on from something in this part that a decoder could begin with?
    for first, last, end_us in _plain_stretches(part, limits):
        after_seq = _continued_number(part, first)
        entered = entered and after_seq <= spans[-1].end_seq
        entry_us = PAST_US if entered else _first_entry_us(media, first, last)
        entered = entry_us != NO_ENTRY
        began, _ = _media_times(media, first, rates)
        _, ended = _media_times(media, last, rates)
        lost = media.lost_packets[first]
        spans.append(
            MediaSpan(
                start_us=media.recv_us[first],
                end_us=end_us,
                run=part.run,
                first_seq=media.seq[first],
                end_seq=_next_number(numbers, part, last),
                lost_packets=lost,
                damaged_samples=media.damaged_count[first],
                lost_before=lost,
                lane=part.lane,
                seam=bool(media.flags[first] & _SEAM),
                media_start_us=began,
                media_end_us=ended,
                interval_us=_of_row(intervals, media.config[last]),
                lead_us=_of_row(intervals, media.config[first]),
                clock=media.clock_run[first],
                entry_us=entry_us,
                after_seq=after_seq,
            )
        )
    return join_spans(spans, tolerance)


def _plain_stretches(part: Part, limits_us: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """(first row, last row, end in us): rows that `join_spans` would join without a doubt, told by plain numbers.

    Undamaged, next sequence number, later start, same coding and within its limit, no seam. Anything else is a stretch
    of its own.
    """
    count, media = part.count, part.media
    starts, seqs, coded = media.recv_us[:count], media.seq[:count], media.config[:count]
    limit_of = dict(enumerate(limits_us)).get
    doubts = list(map(_doubt, media.lost_packets[:count], media.damaged_count[:count], media.flags[:count]))
    if not all(map(lt, starts, starts[1:])):
        doubts = [True] * count  # equal times are put in order by more than their place
    first = 0
    end_us = starts[0] + media.duration_us[0] if count else 0
    for i in range(1, count):
        start = starts[i]
        ends = start + media.duration_us[i]
        plain = not doubts[i] and not doubts[i - 1] and seqs[i] == seqs[i - 1] + 1 and coded[i] == coded[i - 1]
        if plain and start - end_us <= limit_of(coded[i], QUIET_US):
            end_us = max(end_us, ends)
        else:
            yield first, i - 1, end_us
            first, end_us = i, ends
    if count:
        yield first, count - 1, end_us


def _first_entry_us(media: ChunkColumns, first: int, last: int) -> int:
    """When a decoder may first begin in rows [first, last], NO_ENTRY when nowhere."""
    kinds = media.kind
    found = next((i for i in range(first, last + 1) if kinds[i] in ENTRY_KINDS), -1)
    return media.recv_us[found] if found >= 0 else NO_ENTRY


def _continued_number(part: Part, i: int) -> int:
    """The number behind the chunk that row `i` refers to: GAP and MARK chunks directly before it are no media."""
    seq, notes = part.media.seq[i], part.notes.seq
    at = bisect_left(notes, seq, 0, part.notes.count)
    while at and notes[at - 1] == seq - 1:
        at, seq = at - 1, seq - 1
    return seq


def _doubt(lost: int, damaged: int, flags: int) -> bool:
    return bool(lost or damaged or flags & _SEAM)


def _media_times(media: ChunkColumns, i: int, rates: list[int]) -> tuple[int, int]:
    """Start and end of a row on the track's own clock, NO_MEDIA_TIME when that is not known."""
    rate = rates[media.config[i]] if media.config[i] < len(rates) else 0
    if not rate:
        return NO_MEDIA_TIME, NO_MEDIA_TIME
    began = media.base_dts[i] * 1_000_000 // rate
    return began, began + media.duration_us[i]


def _next_number(numbers: list[int], part: Part, i: int) -> int:
    """The sequence number that continues row `i`: GAP and MARK chunks in between are no hole."""
    seq = part.media.seq[i]
    following = part.media.seq[i + 1] if i + 1 < part.count else None
    if following == seq + 1:
        return seq + 1
    at = bisect_left(numbers, seq)
    while at + 1 < len(numbers) and numbers[at + 1] == numbers[at] + 1 != following:
        at += 1
    return numbers[at] + 1
