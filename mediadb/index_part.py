"""One track in one segment: its rows, where a decoder may begin, its gapless stretches.

Law: plain values over packed columns, no I/O. Made by `mediadb.index`; a part of an open segment shows the rows that
were published when it was made.
"""

from __future__ import annotations

import uuid
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from mediadb.format.columns import NO_CONFIG, ChunkColumns, ChunkRow
from mediadb.format.footer import ConfigPlace
from mediadb.ledger_facts import NO_MEDIA_TIME, MediaSpan, join_spans, nominal_tolerance_us
from mediadb.types import ChunkFlag, Kind, TrackConfig

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
        return None if row.config == NO_CONFIG else self.configs[row.config]


def coding_tolerance_us(config: TrackConfig | None) -> int:
    """The join tolerance of a coding; that of an unknown frame interval when there is none."""
    if config is None or not config.timebase_hz:
        return nominal_tolerance_us(0)
    return nominal_tolerance_us(config.frame_ticks * 1_000_000 / config.timebase_hz)


def part_spans(part: Part, codings: Sequence[TrackConfig | None]) -> list[MediaSpan]:
    """The gapless stretches of one part; `codings` are its configs in order, None where one cannot be read."""
    media = part.media
    numbers = sorted([*media.seq[: part.count], *part.notes.seq[: part.notes.count]])
    spans = []
    for i in range(part.count):
        start, length, lost = media.recv_us[i], media.duration_us[i], media.lost_packets[i]
        coding = codings[media.config[i]] if media.config[i] < len(codings) else None
        rate = coding.timebase_hz if coding is not None else 0
        began = media.base_dts[i] * 1_000_000 // rate if rate else NO_MEDIA_TIME
        spans.append(
            MediaSpan(
                start_us=start,
                end_us=start + length,
                run=part.run,
                first_seq=media.seq[i],
                end_seq=_next_number(numbers, part, i),
                lost_packets=lost,
                damaged_samples=media.damaged_count[i],
                lost_before=lost,
                lane=part.lane,
                seam=bool(media.flags[i] & ChunkFlag.DISCONTINUITY),
                media_start_us=began,
                media_end_us=began + length if rate else NO_MEDIA_TIME,
            )
        )
    return join_spans(spans, coding_tolerance_us(codings[-1] if codings else None))


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
