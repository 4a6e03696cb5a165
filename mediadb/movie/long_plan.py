"""Hours or days of footage as groups of a fragmented file: how long each is and what it holds, from index rows alone.

Law: reads no frame table but that of the first sound chunk, and no sample. Called by `long_movie` and by whoever makes
playlists. A group is some GOPs of video (or seconds of sound) with the sound of the same time; its bytes are made by
`groups` when they are asked for.
"""

from __future__ import annotations

import uuid
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Final

from mediadb.errors import MediaDbError
from mediadb.movie.left_out import fits_movie
from mediadb.movie.long_line import Break, Coded, Line, Marks
from mediadb.movie.row_range import DoubtName, PartRows, Skipped, select_rows
from mediadb.mp4.group import MAX_GROUP_BYTES, SAMPLE_BYTES, head_bytes
from mediadb.mp4.timeline import LONGEST_SAMPLE_S
from mediadb.read.reader import Reader
from mediadb.types import TrackKind

REPEAT_S: Final = 30  # sound goes on where pictures are missing: the keyframe again, as often as this
LEAST_GROUP_US: Final = 1_000_000
_LEAD_US: Final = 2_000_000  # sound that begins that much before the first picture is footage of its own
_NO_RUNS, _RUN = head_bytes(0, 0), head_bytes(1, 0) - head_bytes(0, 0)


@dataclass(frozen=True, slots=True)
class LongPlan:
    """Groups in columns; each has one row more than there are groups: where the last one ends.

    `lead` is the video, or the sound when there is no video; `other` the sound beside video. `at`: bytes before the
    group. `time`: decode time of its first sample of the lead. Lead rows [low, high): none where only sound is, a
    single one again where a gap is split. `other_row`: the first row of `other` in it.
    """

    lead: Line
    other: Line | None
    start_us: int
    at: array[int]
    time: array[int]
    low: array[int]
    high: array[int]
    other_row: array[int]
    sync: bytearray
    repeats: int

    def __len__(self) -> int:
        return len(self.low)

    @property
    def lines(self) -> list[Line]:
        return [self.lead] if self.other is None else [self.lead, self.other]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which tracks, video first, over [start_us, end_us); groups are `target_us` long at least if keyframes allow."""

    tracks: Sequence[uuid.UUID]
    start_us: int
    end_us: int
    target_us: int


def plan_groups(reader: Reader, wanted: Wanted, doubt: DoubtName, skipped: list[Skipped]) -> LongPlan | None:
    """The groups of one video track, one sound track or both; None when nothing is there.

    Begins with the keyframe at or before `start_us`, ends with the chunk that holds `end_us`. `skipped` is filled as by
    `select_rows`."""
    video: tuple[uuid.UUID, list[Coded]] | None = None
    audio: tuple[uuid.UUID, list[Coded]] | None = None
    start_us, end_us, target_us = wanted.start_us, wanted.end_us, wanted.target_us
    for track in wanted.tracks:
        coded: list[Coded] = []
        kind = TrackKind.METADATA
        low_us = start_us if video is None else min(start_us, _shown_us(video[1]))  # sound begins where pictures do
        for rows in select_rows(reader, track, low_us, end_us, doubt, skipped):
            kind = _coded(reader, rows, coded) or kind
        if coded and kind is TrackKind.VIDEO:
            video = (track, coded)
        elif coded and kind is TrackKind.AUDIO:
            audio = (track, coded)
    first = video or audio
    if first is None:
        return None
    begins = _shown_us(first[1])
    if video is not None and audio is not None and begins - _shown_us(audio[1]) > _LEAD_US:
        begins = _shown_us(audio[1])
    lead = _line(first, begins, target_us, leads=True, is_video=video is not None)
    other = None
    if video is not None and audio is not None:
        other = _line(audio, begins, target_us, leads=False, is_video=False)
        _trim(reader, other, audio[1])
    plan = _group(lead, other, begins)
    while target_us > LEAST_GROUP_US and max(b - a for a, b in pairwise(plan.at)) > MAX_GROUP_BYTES:
        target_us //= 2  # a bit rate that long groups have no room for
        lead = _line(first, begins, target_us, leads=True, is_video=video is not None)
        plan = _group(lead, other, begins)
    return plan


def _coded(reader: Reader, rows: PartRows, out: list[Coded]) -> TrackKind | None:
    """Cuts rows where the coding changes; codings that cannot be read are left out."""
    part, numbers = rows.part, rows.part.media.config
    low, kind = rows.low, None
    while low < rows.high:
        number = numbers[low]
        high = rows.high
        if len(part.configs) > 1:
            high = next((i for i in range(low, rows.high) if numbers[i] != number), rows.high)
        try:
            spec, config = reader.index.config(part.name, part.configs[number])
        except (MediaDbError, IndexError):
            config = None
        if config is not None and config.timebase_hz and fits_movie(spec.kind, config):
            kind = spec.kind
            out.append(Coded(PartRows(part, low, high), config))
        low = high
    return kind


def _shown_us(coded: Sequence[Coded]) -> int:
    """When the first sample is shown."""
    rows, config = coded[0].rows, coded[0].config
    media, row = rows.part.media, rows.low
    return media.recv_us[row] + _offset(coded) * 1_000_000 // config.timebase_hz


def _offset(coded: Sequence[Coded]) -> int:
    media, row = coded[0].rows.part.media, coded[0].rows.low
    return max(0, media.base_pts[row] - media.base_dts[row])


def _line(source: tuple[uuid.UUID, list[Coded]], start_us: int, target_us: int, *, leads: bool, is_video: bool) -> Line:
    track, coded = source
    scale = coded[0].config.timebase_hz
    line = Line(track, is_video, scale, start_us, _offset(coded), leads, target_us * scale // 1_000_000)
    for rows in coded:
        line.add(rows)
    return line


def _trim(reader: Reader, line: Line, coded: Sequence[Coded]) -> None:
    """Sound begins with the sample that starts at or after the start of the movie, not with a whole chunk."""
    row = bisect_left(line.times, 0)
    line.first_row = row
    if row == 0:
        return
    stretch = bisect_right(line.stretches, row - 1, key=lambda one: one.first) - 1
    own = coded[stretch]
    ref = reader.part_ref(line.track, own.rows.part, own.rows.low + row - 1 - line.stretches[stretch].first)
    try:
        table = reader.table(ref).table
    except MediaDbError:
        return  # a chunk of sound less; who reads on meets the damage or the removal
    scale, hz = line.scale, own.config.timebase_hz
    begin = line.times[row - 1]
    cut = next((i for i, d in enumerate(table.dts) if begin + d * scale // hz >= 0), len(table.dts))
    if cut < len(table.dts):
        line.first_row, line.trim_samples = row - 1, cut
        line.trim_ticks = table.dts[cut] * scale // hz
        line.trim_bytes = sum(table.sizes[:cut]) + SAMPLE_BYTES * cut


def _group(lead: Line, other: Line | None, start_us: int) -> LongPlan:
    marks, low, high, repeats = _with_gaps(lead, other)
    ends = lead.end
    if repeats and other is not None:
        ends = max(ends, other.end * lead.scale // other.scale)
    times = array("q", marks.times)
    times.append(max(ends, times[-1] + 1))
    weight = lead.weight
    sizes = [_NO_RUNS + (_RUN + weight(b) - weight(a) if b > a else 0) for a, b in zip(low, high, strict=True)]
    other_row = array("I", bytes(4 * len(times)))
    if other is not None:
        other_row = _beside(lead, other, times)
        weight = other.weight
        for group, (a, b) in enumerate(pairwise(other_row)):
            if b > a:
                runs = 1 + bisect_left(other.piece_row, b) - bisect_right(other.piece_row, a)
                sizes[group] += _RUN * runs + weight(b) - weight(a)
        if other_row[1] > other_row[0]:
            sizes[0] -= other.trim_bytes
    at = array("Q", accumulate(sizes, initial=0))
    return LongPlan(lead, other, start_us, at, times, low, high, other_row, marks.sync, repeats)


def _beside(lead: Line, other: Line, times: array[int]) -> array[int]:
    """The first row of `other` in each group, and behind the last one the end."""
    rows, row = array("I"), other.first_row
    own, count = other.times, len(other.times)
    a, b = other.scale, lead.scale
    # what is heard shortly before pictures come back belongs to them
    early = {one.time: max(one.end, one.time - b) for one in lead.breaks}
    for time in times[:-1]:
        rows.append(row := bisect_left(own, -(-early.get(time, time) * a // b), row, count))
    rows[0] = other.first_row
    rows.append(count)
    return rows


def _with_gaps(lead: Line, other: Line | None) -> tuple[Marks, array[int], array[int], int]:
    """All groups: marks, their rows [low, high), and how many of them repeat a keyframe (or hold sound alone)."""
    marks, out = lead.marks, Marks()
    low, high = array("I"), array("I")
    repeats = 0
    breaks = {one.row: one for one in lead.breaks if not one.row or one.time - one.end > REPEAT_S * lead.scale}
    if other is not None and other.end * lead.scale // other.scale - lead.end > REPEAT_S * lead.scale:
        behind = Break(lead.rows, other.end * lead.scale // other.scale, 0, lead.end, lead.key_row)
        breaks[behind.row] = behind
    if not lead.breaks[0].time and len(breaks) == 1:
        return marks, marks.rows, array("I", [*marks.rows[1:], lead.rows]), 0
    for group, row in enumerate([*marks.rows, lead.rows]):
        tied = breaks.get(row)
        if tied is not None:
            for time in _repeats(lead, other, tied, first=group == 0):
                out.add(row, time, group > 0)
                low.append(tied.key_row if group else 0)
                high.append(tied.key_row + 1 if group else 0)
                repeats += 1
        if row < lead.rows:
            out.add(row, marks.times[group], bool(marks.sync[group]))
            low.append(row)
            high.append(marks.rows[group + 1] if group + 1 < len(marks.rows) else lead.rows)
    return out, low, high, repeats


def _repeats(lead: Line, other: Line | None, tied: Break, *, first: bool) -> Iterator[int]:
    """Decode times of further groups in the gap before `tied`: where sound goes on, and every 6 h."""
    scale, step = lead.scale, REPEAT_S * lead.scale
    if first:
        begin, latest = 0, -LONGEST_SAMPLE_S * scale
    else:
        begin, latest = tied.end + step, tied.end
    if tied.time - begin < (1 if first else step):
        return
    for time in range(begin, tied.time, step):
        sounds = other is not None and _sounds(lead, other, time, time + step)
        if sounds or time + step - latest > LONGEST_SAMPLE_S * scale:
            yield time
            latest = time


def _sounds(lead: Line, other: Line, low: int, high: int) -> bool:
    a, b = other.scale, lead.scale
    at = bisect_left(other.times, low * a // b)
    return at < len(other.times) and other.times[at] < high * a // b
