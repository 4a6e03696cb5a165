"""Segments of a playlist: named by the chunks they hold and the times they have, so that a name means the same bytes
for ever, whatever playlist it stands in and whatever was recorded or removed since.

Law: a name is told from index rows (`name_segments`), its bytes from the chunks it names (`lay_segment`); nothing is
remembered in between. Form of the bytes: docs/format/mp4.md. Called by the HTTP server.
"""

from __future__ import annotations

import re
import uuid
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

from mediadb.errors import ChunkGone, FormatError
from mediadb.movie.groups import Group, PiecePlan, lay_group
from mediadb.movie.long_line import Line
from mediadb.movie.long_plan import LongPlan
from mediadb.mp4.group import MovieTrack, movie_head
from mediadb.mp4.plan import Kind
from mediadb.read.chunks import ChunkRef
from mediadb.read.part import Part
from mediadb.read.reader import Reader

MAX_CHUNKS: Final = 4_096  # of one piece: seconds of media have a few
FOLLOWING_US: Final = 3_600_000_000  # how far behind the first chunk of a piece its others are looked for
_NAME = re.compile(r"[0-9a-f]{1,16}(?:-[0-9a-f]{1,16}){7,9}", re.ASCII)


@dataclass(frozen=True, slots=True)
class PieceName:
    """Consecutive chunks of one track: `count` of them, from `seq` to `seq + reach` of `run`, the first received at
    `at_us`; decoded from `base` to `end` in ticks of `scale`. `skip` samples of the first are left out; `entry` counts
    codings of the header. Of a piece that names a coding, `base` is the pts that is shown at presentation time 0."""

    run: int
    seq: int
    reach: int
    count: int
    at_us: int
    base: int
    end: int
    scale: int
    skip: int = 0
    entry: int = 0

    def __str__(self) -> str:
        text = f"{self.run:x}-{self.seq:x}-{self.reach:x}-{self.count:x}-{self.at_us:x}-{self.base:x}"
        text += f"-{self.end:x}-{self.scale:x}"
        return f"{text}-{self.skip:x}-{self.entry:x}" if self.skip or self.entry else text

    @classmethod
    def parse(cls, text: str) -> PieceName:
        """FormatError when this is no name that `str` made."""
        if _NAME.fullmatch(text) is None:
            raise FormatError(f"{text[:100]!r} names no piece of recorded media")
        name = cls(*(int(word, 16) for word in text.split("-")))
        right = 0 < name.count <= MAX_CHUNKS and name.base < name.end < 1 << 62 and 0 < name.scale < 1 << 31
        if not right or name.at_us >= 1 << 62 or name.run >= 1 << 63 or name.seq >= 1 << 63 or name.entry > 15:
            raise FormatError(f"{text[:100]!r} names no piece of recorded media")
        return name


@dataclass(frozen=True, slots=True)
class Segment:
    """One line of a playlist. `video` and `audio` name its pieces, `codings` the header it needs: the pieces whose
    codings that has. `fresh`: media time does not go on from the segment before."""

    wall_us: int
    duration_us: float
    video: tuple[PieceName, ...]
    audio: tuple[PieceName, ...]
    codings: tuple[tuple[PieceName, ...], tuple[PieceName, ...]]
    fresh: bool
    is_sync: bool


def name_segments(plan: LongPlan) -> Iterator[Segment]:
    """The segments of a plan, in order."""
    lead, other = plan.lead, plan.other
    breaks = {one.row: one for one in lead.breaks}
    sound_ends = {one.row: one.end for one in other.breaks} if other is not None else {}
    sound: tuple[int, ...] = (0,) if other is not None else ()
    coded = cache(lambda number, entry: _coding(plan.lines[number], entry))
    before: tuple[int, tuple[int, ...]] | None = None
    fresh = True
    for group in range(len(plan)):
        low, high, time = plan.low[group], plan.high[group], plan.time[group]
        end = plan.time[group + 1]
        tied = breaks.get(plan.low[group + 1]) if group + 1 < len(plan) and plan.low[group + 1] == high else None
        gap = tied is not None and low < high and tied.end < end
        if gap and tied is not None:
            end = max(tied.end, time + 1)
        entry = lead.piece_entry[bisect_right(lead.piece_row, low) - 1]
        lead_pieces = (_piece(lead, low, high, (time, end, 0, 0)),) if low < high else ()
        rows = plan.other_row[group], plan.other_row[group + 1]
        other_pieces, sound = _sounds(other, rows, sound, sound_ends)
        fresh = fresh or before != (entry, sound)
        before = (entry, sound)
        wall_us = plan.start_us + time * 1_000_000 // lead.scale
        if low < high and not (group and low < plan.high[group - 1]):  # not a keyframe that is there again
            wall_us = lead.recv_us[low] + lead.first_offset * 1_000_000 // lead.scale
        first, second = (coded(0, entry),), tuple(coded(1, one) for one in sound)
        video, audio = (lead_pieces, other_pieces) if lead.is_video else ((), lead_pieces)
        codings = (first, second) if lead.is_video else ((), first)
        yield Segment(
            wall_us, (end - time) * 1_000_000 / lead.scale, video, audio, codings, fresh, bool(plan.sync[group])
        )
        fresh = gap


def _sounds(
    line: Line | None, rows: tuple[int, int], known: tuple[int, ...], ends: Mapping[int, int]
) -> tuple[tuple[PieceName, ...], tuple[int, ...]]:
    """The pieces of sound in rows [low, high), and which codings they need (those before, when there are none).
    `ends`: where media ends before a break, by its row."""
    low, high = rows
    if line is None or low == high:
        return (), known
    pieces = []
    while low < high:
        number = bisect_right(line.piece_row, low) - 1
        stop = min(high, line.piece_row[number + 1] if number + 1 < len(line.piece_row) else high)
        skip = line.trim_samples if low == line.first_row else 0
        base = line.times[low] + (line.trim_ticks if skip else 0)
        end = ends.get(stop, line.times[stop]) if stop < line.rows else line.end
        pieces.append((low, stop, base, max(end, base + 1), skip, line.piece_entry[number]))
        low = stop
    needed = tuple(sorted({piece[5] for piece in pieces}))
    return tuple(_piece(line, a, b, (base, end, skip, needed.index(entry)))
                 for a, b, base, end, skip, entry in pieces), needed  # fmt: skip


def _piece(line: Line, low: int, high: int, rest: tuple[int, int, int, int]) -> PieceName:
    base, end, skip, entry = rest
    run = line.stretches[bisect_right(line.stretches, low, key=lambda one: one.first) - 1].run
    seq = line.seqs[low]
    return PieceName(
        run, seq, line.seqs[high - 1] - seq, high - low, line.recv_us[low], base, end, line.scale, skip, entry
    )


def _coding(line: Line, entry: int) -> PieceName:
    """The first chunk that is coded so."""
    row = line.piece_row[line.piece_entry.index(entry)]
    return _piece(line, row, row + 1, (line.first_offset, line.first_offset + 1, 0, 0))


def segment_header(
    reader: Reader, video: tuple[uuid.UUID, Sequence[PieceName]], audio: tuple[uuid.UUID, Sequence[PieceName]]
) -> bytes:
    """ftyp and moov for segments whose codings are those of these chunks. ChunkGone when one of them was removed."""
    kinds: tuple[tuple[Kind, uuid.UUID, Sequence[PieceName]], ...] = (("video", *video), ("audio", *audio))
    tracks = []
    for number, (kind, track, names) in enumerate(kinds, 1):
        if not names:
            continue
        refs = [_refs(reader, track, name)[0] for name in names]
        entries = tuple(reader.config(ref).sample_entry for ref in refs)
        tracks.append(MovieTrack(number, kind, names[0].scale, entries, names[0].base))
    return movie_head(tracks)


def lay_segment(
    reader: Reader, video: tuple[uuid.UUID, Sequence[PieceName]], audio: tuple[uuid.UUID, Sequence[PieceName]]
) -> Group:
    """The bytes that these names mean. ChunkGone when a chunk was removed, ChunkCorrupt when its table is damaged."""
    pieces = [
        PiecePlan(number, name.entry, name.scale, _refs(reader, track, name), name.base, name.end, name.skip)
        for number, (track, names) in enumerate((video, audio), 1)
        for name in names
    ]
    return lay_group(reader, 1, pieces)


def _refs(reader: Reader, track: uuid.UUID, name: PieceName) -> list[ChunkRef]:
    refs = _take(reader, track, name, reader.index.parts(track, name.at_us, name.at_us + 1, name.run))
    if len(refs) < name.count:
        end_us = name.at_us + FOLLOWING_US
        refs = _take(reader, track, name, reader.index.parts(track, name.at_us, end_us, name.run))
    if len(refs) < name.count or (refs[0].seq, refs[-1].seq) != (name.seq, name.seq + name.reach):
        raise ChunkGone(f"chunks from {name.seq} of run {name.run:x} were removed", "deleted", track=str(track))
    return refs


def _take(reader: Reader, track: uuid.UUID, name: PieceName, parts: Sequence[Part]) -> list[ChunkRef]:
    """Rows from `seq` on, `count` of them where there are as many."""
    refs: list[ChunkRef] = []
    own = sorted((part for part in parts if part.run == name.run), key=lambda part: part.media.seq[0])
    for part in own:
        low = bisect_left(part.media.seq, name.seq, 0, part.count)
        high = min(part.count, low + name.count - len(refs))
        refs += [reader.part_ref(track, part, row) for row in range(low, high)]
    return refs
