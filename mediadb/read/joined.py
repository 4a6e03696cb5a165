"""One camera's footage in several storages, read as one: its own, and the one that stood in for it.

Law: read-only, blocking, thread-safe; adds no format and no state of its own. Joins at the level of parts (one track in
one segment): every question above asks a `Reader` as before, and a segment's name says which storage gives the bytes.
What lies in two storages with the same run and number is read once. A storage that does not answer is left out; in
coverage what it would know is `storage-error (storage-missing)`. Made by `mediadb.aio`.
"""

from __future__ import annotations

import heapq
import itertools
import uuid
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeVar

from mediadb.catalog import TrackRow
from mediadb.coverage import Held, unseen
from mediadb.errors import ChunkGone, StorageMissing
from mediadb.format.footer import ConfigPlace
from mediadb.ledger_facts import (
    CHUNK_DAMAGED,
    FUTURE_US,
    SEGMENT_DAMAGED,
    SEGMENT_MISSING,
    MediaSpan,
    RunLife,
    join_spans,
)
from mediadb.read.chunks import ChunkData, ChunkReader, ChunkRef, ChunkTable, StoredChunk
from mediadb.read.index import StorageIndex
from mediadb.read.part import Part, coding_tolerance_us
from mediadb.read.reader import Reader, TrackInfo
from mediadb.segment_index import SegmentIndex
from mediadb.types import Cause, Interval, State, TrackConfig, TrackSpec

T = TypeVar("T")
# What the storage that stood in knows better than one that could not be written.
_STATED = frozenset({State.CAMERA_OFFLINE, State.NETWORK_LOSS, State.OVERLOAD_SHED, State.CLOCK_STEP})
_GONE = frozenset({State.DELETED, State.GROOMED})
_LOST = frozenset({SEGMENT_MISSING, SEGMENT_DAMAGED, CHUNK_DAMAGED})


class JoinedReader(Reader):
    """Reads `home` and, beside it, `others`. Storage names differ. Closes none of them."""

    def __init__(self, home: Reader, others: Sequence[Reader], now_us: Callable[[], int]) -> None:
        self.fs, self.volume, self.storage = home.fs, home.volume, home.storage
        self._members = [home, *others]
        self._now_us, self._coverage = now_us, home._coverage
        self.index = JoinedIndex([member.index for member in self._members])
        self._chunks = JoinedChunks({member.storage: member._chunks for member in self._members})

    def coverage(self, tracks: Sequence[uuid.UUID], start_us: int, end_us: int) -> dict[uuid.UUID, list[Interval]]:
        home, *others = self._members
        try:
            if home.index.files.shut:
                raise StorageMissing(home.storage)
            found = super().coverage(tracks, start_us, end_us)  # its ledger, over the media of all
        except StorageMissing:
            found = {track: unseen(home.storage, start_us, end_us, self._now_us()) for track in tracks}
        for own in _answers([partial(member.coverage, tracks, start_us, end_us) for member in others], ok=True):
            found = {track: overlay(found[track], own[track]) for track in tracks}
        return found

    def _beside(self, track: uuid.UUID, media: Sequence[MediaSpan], start_us: int, end_us: int) -> Sequence[Held]:
        def of(member: Reader) -> Held:
            if member.index.files.shut:
                raise StorageMissing(member.storage)
            return member._coverage.held(track, media, start_us, end_us)

        return _answers([partial(of, member) for member in self._members[1:]], ok=True)

    def known_tracks(self) -> list[TrackInfo]:
        found: dict[uuid.UUID, TrackInfo] = {}
        for infos in _answers([member.known_tracks for member in self._members]):
            for info in infos:
                known = found.get(info.spec.track)
                found[info.spec.track] = info if known is None or info.last_us > known.last_us else known
        return list(found.values())

    def runs(self) -> list[RunLife]:
        lives: dict[int, RunLife] = {}
        for found in _answers([member.runs for member in self._members]):
            for life in found:
                known = lives.get(life.run)
                later = known is None or (known.end_us is not None and (life.end_us or FUTURE_US) > known.end_us)
                lives[life.run] = life if later else lives[life.run]
        return sorted(lives.values(), key=lambda life: (life.start_us, life.run))

    def run_end_us(self, run: int) -> int | None:
        for member in self._members:
            member.run_end_us(run)  # reads its ledger further back when it must
        return next((life.end_us for life in self.runs() if life.run == run), None)

    def patrol(self) -> int:
        return self._members[0].patrol()

    def troubles(self, start_us: int, end_us: int) -> dict[str, int]:
        return self._members[0].troubles(start_us, end_us)

    def losses(self) -> dict[str, int]:
        return self._members[0].losses()


class JoinedIndex(StorageIndex):
    """The questions that readers ask an index, put to several."""

    def __init__(self, members: Sequence[StorageIndex]) -> None:
        self._members = list(members)
        self.fs, self.volume, self.storage = members[0].fs, members[0].volume, members[0].storage

    def tracks(self) -> list[TrackRow]:
        found: dict[uuid.UUID, TrackRow] = {}
        for rows in _answers([member.tracks for member in self._members]):
            for row in rows:
                known = found.get(row.spec.track)
                if known is not None:
                    newer = row if row.end_us > known.end_us else known
                    first, end = min(row.first_us, known.first_us), max(row.end_us, known.end_us)
                    row = TrackRow(newer.spec, newer.names, first, end)
                found[row.spec.track] = row
        return list(found.values())

    def first_us(self, track: uuid.UUID) -> int:
        return min(_answers([partial(member.first_us, track) for member in self._members]))

    def tolerance_us(self, track: uuid.UUID) -> int:
        def of(member: StorageIndex) -> int:
            return member.tolerance_us(track) if member.first_us(track) != FUTURE_US else 0

        return max(_answers([partial(of, member) for member in self._members])) or coding_tolerance_us(None)

    def parts(self, track: uuid.UUID, start_us: int, end_us: int, run: int | None = None) -> list[Part]:
        asked = [partial(member.parts, track, start_us, end_us, run) for member in self._members]
        found = [part for parts in _answers(asked) for part in parts]
        return once(sorted(found, key=lambda part: (part.first_us, part.name)))

    def stretches(self, track: uuid.UUID, start_us: int, end_us: int) -> list[MediaSpan]:
        asked = [partial(member.stretches, track, start_us, end_us) for member in self._members]
        found = [span for spans in _answers(asked) for span in spans]
        return join_spans(found, self.tolerance_us(track))

    def before(self, track: uuid.UUID, head: MediaSpan) -> list[MediaSpan]:
        return next(filter(None, _answers([partial(member.before, track, head) for member in self._members])), [])

    def walk(self, track: uuid.UUID, time_us: int, *, before: bool) -> Iterator[Part]:
        ways = [_answering(member.walk(track, time_us, before=before)) for member in self._members]
        return heapq.merge(*ways, key=lambda part: part.first_us, reverse=before)

    def unsealed(self) -> list[tuple[str, SegmentIndex]]:
        return [entry for found in _answers([member.unsealed for member in self._members]) for entry in found]

    def look_again(self, track: uuid.UUID, start_us: int, end_us: int) -> None:
        _answers([partial(member.look_again, track, start_us, end_us) for member in self._members])

    def config(self, name: str, place: ConfigPlace) -> tuple[TrackSpec, TrackConfig]:
        return self._of(name).config(name, place)

    def part_spans(self, part: Part) -> list[MediaSpan]:
        return self._of(part.name).part_spans(part)

    def durable_end(self, name: str) -> int | None:
        return self._of(name).durable_end(name)

    def _of(self, name: str) -> StorageIndex:
        return _whose({member.storage: member for member in self._members}, name)


class JoinedChunks(ChunkReader):
    """Chunks by the storage that a segment's name begins with."""

    def __init__(self, members: dict[str, ChunkReader]) -> None:
        self._members = members

    def read(self, ref: ChunkRef) -> ChunkData:
        return _whose(self._members, ref.name).read(ref)

    def stored(self, ref: ChunkRef) -> StoredChunk:
        return _whose(self._members, ref.name).stored(ref)

    def table(self, ref: ChunkRef) -> ChunkTable:
        return _whose(self._members, ref.name).table(ref)

    def config(self, ref: ChunkRef) -> TrackConfig:
        return _whose(self._members, ref.name).config(ref)

    def read_range(self, ref: ChunkRef, offset: int, length: int) -> bytes:
        return _whose(self._members, ref.name).read_range(ref, offset, length)

    def read_view(self, ref: ChunkRef, offset: int, length: int) -> memoryview:
        return _whose(self._members, ref.name).read_view(ref, offset, length)


def once(parts: list[Part]) -> list[Part]:
    """Parts by first time, without what a later one has too (same run, same numbers): commits whose durability was in
    doubt when they were handed over were written twice, with the same bytes."""
    counts: dict[str, int] = {}
    queue = sorted((part for part in parts if part.count), key=lambda part: (part.run, part.lane, part.media.seq[0]))
    for at, part in enumerate(queue):
        last = part.media.seq[part.count - 1]
        for other in itertools.islice(queue, at + 1, None):
            if (other.run, other.lane) != (part.run, part.lane) or other.media.seq[0] > last:
                break
            _drop_twins(part, other, counts)
    return [_cut(part, counts.get(part.name, part.count)) for part in parts if counts.get(part.name, part.count)]


def _drop_twins(part: Part, other: Part, counts: dict[str, int]) -> None:
    """`other` begins where `part` does, or later: what both have is left to `other`, or, when that has nothing else, to
    `part`."""
    at = bisect_left(part.media.seq, other.media.seq[0], 0, part.count)
    if _chunks(part, at) <= _chunks(other, 0):
        counts[part.name] = min(counts.get(part.name, part.count), at)
    elif _chunks(other, 0) <= _chunks(part, at):
        counts[other.name] = 0


def _cut(part: Part, count: int) -> Part:
    return part if count == part.count else replace(part, count=count, end_us=_end(part, count))


def _chunks(part: Part, low: int) -> set[tuple[int, int, int]]:
    media, high = part.media, part.count
    return set(zip(media.seq[low:high], media.recv_us[low:high], media.length[low:high], strict=True))


def overlay(base: Sequence[Interval], over: Sequence[Interval]) -> list[Interval]:
    """Both cover the same range without holes: `over` wins where it has footage and `base` has none, and where it says
    why there is none while `base` could not be written."""
    out: list[Interval] = []
    for interval in base:
        at = interval.start_us
        for other in over:
            low, high = max(other.start_us, at), min(other.end_us, interval.end_us)
            if low >= high or not _better(interval.cause, other.cause):
                continue
            if at < low:
                _put(out, replace(interval, start_us=at, end_us=low))
            _put(out, replace(other, start_us=low, end_us=high))
            at = high
        if at < interval.end_us:
            _put(out, replace(interval, start_us=at))
    return out


def _better(base: Cause, over: Cause) -> bool:
    if base.state is State.RECORDED:
        return False
    if over.state is State.RECORDED:
        return True
    if over.state in _GONE or over.reason in _LOST:  # what the other storage held went there; a loss here stays one
        return base.state is State.STORAGE_ERROR and base.reason not in _LOST
    if base.state is State.SERVER_DOWN:  # its ledger heard nothing more of that run, the other's did
        return over.state is State.STORAGE_ERROR or over.state in _STATED
    return base.state is State.STORAGE_ERROR and over.state in _STATED


def _put(out: list[Interval], interval: Interval) -> None:
    last = out[-1] if out else None
    plain = not (interval.damaged_packets or interval.damaged_samples)
    if last is not None and plain and replace(last, start_us=interval.start_us, end_us=interval.end_us) == interval:
        out[-1] = replace(last, end_us=interval.end_us)
    else:
        out.append(interval)


def _end(part: Part, count: int) -> int:
    media = part.media
    return max((media.recv_us[i] + media.duration_us[i] for i in range(count)), default=part.first_us)


def _answers(calls: Sequence[Callable[[], T]], ok: bool = False) -> list[T]:
    """What the members say that answer. StorageMissing when none does and that is not `ok`."""
    found: list[T] = []
    missing: StorageMissing | None = None
    for call in calls:
        try:
            found.append(call())
        except StorageMissing as error:
            missing = error
    if missing is not None and not found and not ok:
        raise missing
    return found


def _answering(parts: Iterator[Part]) -> Iterator[Part]:
    try:
        yield from parts
    except StorageMissing:
        return


def _whose(members: dict[str, T], name: str) -> T:
    """A name is "log/<storage>/..." or "archive/<storage>/..."."""
    member = members.get(name.split("/", 2)[1])
    if member is None:
        raise ChunkGone(f"{name}: no storage of that name is read here", "deleted", file=name)
    return member
