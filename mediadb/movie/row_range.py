"""The chunks of a track in a range as stretches of index rows: hours of footage without an object per chunk.

Law: reads index regions only, and the chunks of segments that the caller doubts. Which rows belong to a range is what
`Reader.chunks` says; the usual case, live media with times that never fall, is found by bisection. Called by
`long_plan`.
"""

from __future__ import annotations

import uuid
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Final

from mediadb.errors import ChunkCorrupt, ChunkError, ChunkGone
from mediadb.format.columns import NO_CONFIG
from mediadb.read.chunks import ChunkRef
from mediadb.read.part import ENTRY_KINDS, Part, statements_between
from mediadb.read.reader import Reader
from mediadb.read.recent_cache import RecentCache

KEPT_PARTS: Final = 8
DoubtName = Callable[[str], bool]


@dataclass(slots=True)
class Skipped:
    """Footage [start_us, end_us) of a track that could not be read: a chunk, and what refers to it; of a chunk that is
    not even known any more, only the latter. `damaged`: its bytes are not what was written; else it is gone. `what`
    names the place."""

    track: uuid.UUID
    start_us: int
    end_us: int
    damaged: bool
    what: str


@dataclass(frozen=True, slots=True)
class PartRows:
    """Rows [low, high) of one part."""

    part: Part
    low: int
    high: int


@dataclass(frozen=True, slots=True)
class Stretch:
    """Where rows lie that a plan numbers from `first` on: rows [low, low + count) of a part, which is found again by
    name and time. Holds no index, so that a plan of many hours stays small."""

    name: str
    segment: uuid.UUID
    run: int
    first_us: int
    low: int
    count: int
    first: int


def select_rows(
    reader: Reader, track: uuid.UUID, start_us: int, end_us: int, doubt: DoubtName, skipped: list[Skipped]
) -> Iterator[PartRows]:
    """The rows of [start_us, end_us) in order, from the one where a decoder must begin. What cannot be read in a
    doubted segment is left out with what refers to it, and so is what refers to a chunk that is gone; both are told in
    `skipped`."""
    low_us = reader.decodable_from(track, start_us)
    parts = reader.index.parts(track, low_us, end_us)
    if all(part.lane == "" and part.media.ordered for part in parts):
        found = _plain(_pass_by_pass(parts), low_us, end_us)
    else:
        found = _chosen(parts, reader.chunks(track, start_us, end_us))
    decodable = False
    missing: Skipped | None = None  # grows up to the next entry: what follows refers to what is missing
    for rows, follows in _cut(found):
        media = rows.part.media
        if decodable and not follows and media.kind[rows.low] not in ENTRY_KINDS:
            missing = behind_missing(reader.part_ref(track, rows.part, rows.low))
            skipped.append(missing)
            decodable = False
        if not decodable:
            low = next((i for i in range(rows.low, rows.high) if media.kind[i] in ENTRY_KINDS), rows.high)
            if missing is not None and low > rows.low:
                missing.end_us = max(missing.end_us, media.recv_us[low - 1] + media.duration_us[low - 1])
            rows = PartRows(rows.part, low, rows.high)
        if rows.low >= rows.high:
            continue
        if doubt(rows.part.name) or NO_CONFIG in media.config[rows.low : rows.high]:
            missing = yield from _readable(reader, track, rows, skipped)
            decodable = missing is None
        else:
            decodable, missing = True, None
            yield rows


def behind_missing(ref: ChunkRef) -> Skipped:
    """What is to be told of a chunk that refers to one that is gone."""
    what = f"{ref.name} at {ref.row.offset}: refers to a chunk before number {ref.seq} that is gone"
    return Skipped(ref.track, ref.recv_us, ref.end_us, False, what)


def _cut(found: Iterator[PartRows]) -> Iterator[tuple[PartRows, bool]]:
    """Rows, cut before a row that refers to a chunk that is gone; with each, does it go on from the row before?"""
    before: PartRows | None = None
    for rows in found:
        if rows.low >= rows.high:
            continue
        part, low, follows = rows.part, rows.low, before is not None and _goes_on(before, rows)
        seqs, kinds = part.media.seq, part.media.kind
        if seqs[rows.high - 1] - seqs[low] != rows.high - 1 - low:  # numbers of statements, or of what is gone
            for i in range(rows.low + 1, rows.high):
                between = seqs[i] - seqs[i - 1] - 1
                if between and kinds[i] not in ENTRY_KINDS and statements_between(part, seqs[i - 1], seqs[i]) < between:
                    yield PartRows(part, low, i), follows
                    low, follows = i, False
        yield PartRows(part, low, rows.high), follows
        before = rows


def _goes_on(before: PartRows, rows: PartRows) -> bool:
    """Is no chunk missing between two stretches of rows?"""
    one, other = before.part, rows.part
    if (one.run, one.lane) != (other.run, other.lane):
        return False
    low, high = one.media.seq[before.high - 1], other.media.seq[rows.low]
    stated = sum(statements_between(part, low, high) for part in ([one] if one is other else [one, other]))
    return 0 <= high - low - 1 <= stated


def _pass_by_pass(parts: list[Part]) -> list[Part]:
    """Time that was lived twice (the clock was set back) comes pass after pass, as `Reader.chunks` gives it."""
    begins: dict[tuple[int, int], int] = {}
    chains = [(part.run, part.media.clock_run[0] if part.count else 0) for part in parts]
    for chain, part in zip(chains, parts, strict=True):
        begins[chain] = min(begins.get(chain, part.first_us), part.first_us)
    order = sorted(range(len(parts)), key=lambda i: (begins[chains[i]], chains[i], parts[i].first_us))
    return [parts[i] for i in order]


def _plain(parts: list[Part], low_us: int, end_us: int) -> Iterator[PartRows]:
    for part in parts:
        recv = part.media.recv_us
        low = bisect_left(recv, low_us, 0, part.count)
        yield PartRows(part, low, bisect_left(recv, end_us, low, part.count))


def _chosen(parts: list[Part], refs: Iterator[ChunkRef]) -> Iterator[PartRows]:
    """Rows of single chunks, neighbours joined: where lanes fill in, or times fall."""
    by_name = {part.name: part for part in parts}
    last: PartRows | None = None
    for ref in refs:
        part = by_name.get(ref.name)
        if part is None:
            continue
        at = bisect_left(part.media.seq, ref.seq, 0, part.count)
        if last is not None and last.part is part and last.high == at:
            last = PartRows(part, last.low, at + 1)
            continue
        if last is not None:
            yield last
        last = PartRows(part, at, at + 1)
    if last is not None:
        yield last


def _readable(
    reader: Reader, track: uuid.UUID, rows: PartRows, skipped: list[Skipped]
) -> Generator[PartRows, None, Skipped | None]:
    """What of these rows is read without an error, up to the next entry left out behind each one that is not; a decoder
    may go on or begin with the first. Returns what is missing at their end."""
    low: int | None = rows.low
    missing: Skipped | None = None
    for i in range(rows.low, rows.high):
        ref = reader.part_ref(track, rows.part, i)
        if missing is not None and ref.kind not in ENTRY_KINDS:
            missing.end_us = max(missing.end_us, ref.end_us)
            continue
        try:
            reader.table(ref)
            reader.read_view(ref, 0, 0)
        except ChunkError as error:
            missing = Skipped(track, ref.recv_us, ref.end_us, isinstance(error, ChunkCorrupt), error.message)
            skipped.append(missing)
            if low is not None and low < i:
                yield PartRows(rows.part, low, i)
            low = None
            continue
        low, missing = i if low is None else low, None
    if low is not None:
        yield PartRows(rows.part, low, rows.high)
    return missing


class RowFinder:
    """Chunks by the numbers a plan gave their rows. Thread-safe."""

    def __init__(self, track: uuid.UUID, stretches: list[Stretch]) -> None:
        self.track = track
        self._stretches = stretches
        self._first = [stretch.first for stretch in stretches]
        self._parts: RecentCache[str, Part] = RecentCache(KEPT_PARTS)

    def __len__(self) -> int:
        last = self._stretches[-1] if self._stretches else None
        return last.first + last.count if last is not None else 0

    def refs(self, reader: Reader, low: int, high: int) -> list[ChunkRef]:
        """Rows [low, high). ChunkGone when a segment is no more."""
        out = []
        number = bisect_right(self._first, low) - 1
        while low < high:
            stretch = self._stretches[number]
            part = self._part(reader, stretch)
            stop = min(high, stretch.first + stretch.count)
            begin = stretch.low - stretch.first
            out += [reader.part_ref(self.track, part, begin + row) for row in range(low, stop)]
            low, number = stop, number + 1
        return out

    def _part(self, reader: Reader, stretch: Stretch) -> Part:
        part = self._parts.get(stretch.name)
        if part is None:
            found = reader.index.parts(self.track, stretch.first_us, stretch.first_us + 1)
            part = next((one for one in found if one.name == stretch.name), None)
            if part is None or part.segment != stretch.segment or part.count < stretch.low + stretch.count:
                raise ChunkGone(f"{stretch.name} was removed", "deleted", file=stretch.name)
            self._parts.put(stretch.name, part)
        return part
