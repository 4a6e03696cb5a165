"""What other parts ask of recorded media: tracks, spans, chunks, samples, coverage.

Law: blocking, thread-safe, read-only; runs on the volume's read pool or in a tool. Lock-free on snapshots of index and
durable watermark. Every byte that leaves here was checked against its CRC; a failed check is answered with why
(`mediadb.read.chunks`), never with other bytes.
"""

from __future__ import annotations

import uuid
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mediadb.catalog import Catalog
from mediadb.catalog_view import CatalogView
from mediadb.coverage import Coverage, Held, Outside, RunEvidence, Told
from mediadb.errors import StorageMissing
from mediadb.format.columns import ChunkRow
from mediadb.format.constants import NO_TIME
from mediadb.fs import Fs, RealFs
from mediadb.ledger_facts import BESIDE_US, FUTURE_US, PAST_US, MediaSpan, RunLife
from mediadb.read.chunks import ChunkData, ChunkReader, ChunkRef, ChunkTable, StoredChunk
from mediadb.read.damage import DamageBook
from mediadb.read.index import StorageIndex
from mediadb.read.part import ENTRY_KINDS, Part, statements_between
from mediadb.segment_files import list_storages
from mediadb.segment_index import LiveSource
from mediadb.types import Interval, Names, TrackConfig, TrackSpec

__all__ = ["ChunkData", "ChunkRef", "ChunkTable", "Reader", "Span", "StoredChunk", "TrackInfo"]


LONGEST_US: Final = 1_000 * 86_400_000_000
FAR_PARTS: Final = 32  # segments looked at for a nearer entry before the best so far is taken


@dataclass(frozen=True, slots=True)
class TrackInfo:
    """A track with media; times are recorder UTC, [first_us, last_us)."""

    spec: TrackSpec
    names: Names
    first_us: int
    last_us: int


@dataclass(frozen=True, slots=True)
class Span:
    """A gapless stretch of media [start_us, end_us)."""

    start_us: int
    end_us: int


class Reader:
    """Reads one storage of one volume. `live` shows the store's open segments; without it files alone are read. `told`
    hears of what is found damaged or lost, on the reading thread."""

    def __init__(
        self,
        volume: Path,
        storage: str,
        now_us: Callable[[], int],
        *,
        fs: Fs | None = None,
        live: LiveSource | None = None,
        cache: bool = True,
        told: Told | None = None,
    ) -> None:
        self.fs: Fs = fs or RealFs()
        self.volume, self.storage = volume, storage
        catalog = Catalog(volume / "catalog.db" if cache else None, storage)
        self.index = StorageIndex(self.fs, volume, storage, catalog, live, now_us)
        self._cache = cache
        self._coverage = Coverage(self.fs, volume, storage, now_us, live is not None, self.index.damaged, told)
        self._chunks = ChunkReader(self.index, DamageBook(self._coverage, told))

    @classmethod
    def open_offline(cls, volume: Path, storage: str | None, now_us: Callable[[], int], fs: Fs | None = None) -> Reader:
        """Read a volume without a daemon: no lock, nothing written. StorageMissing names what is there instead."""
        fs = fs or RealFs()
        names = list_storages(fs, volume)
        if storage is None and len(names) == 1:
            storage = names[0]
        if storage is None or storage not in names:
            there = ", ".join(names) or "none"
            asked = f"storage {storage!r}" if storage else "one storage"
            raise StorageMissing(f"{volume}: {asked} was asked for; there: {there}", storages=names)
        reader = cls(volume, storage, now_us, fs=fs, cache=False)
        reader.index.reopen(CatalogView(volume / "catalog.db", storage))
        reader.refresh()
        return reader

    @classmethod
    def absent(
        cls, volume: Path, storage: str, now_us: Callable[[], int], fs: Fs, live: LiveSource, told: Told
    ) -> Reader:
        """Of a volume that is not there: nothing of it is touched before `reopen`."""
        reader = cls(volume, storage, now_us, fs=fs, live=live, cache=False, told=told)
        reader.shut()
        reader._cache = True
        return reader

    def refresh(self) -> None:
        """Look at the folders again: at start, after recovery, in a tool that runs for long."""
        self.index.refresh()

    def sealed(self, path: Path) -> None:
        """The store or recovery sealed `path` (.rseg): to be called before it leaves the open segments."""
        self.index.sealed(path)

    def changed(self, path: Path) -> None:
        """Reclaim took tracks out of `path`."""
        name = str(path.relative_to(self.volume).with_suffix(""))
        self._chunks.forget(name)
        self.index.changed(name)

    def removed(self, path: Path) -> None:
        """Reclaim unlinked `path`."""
        name = str(path.relative_to(self.volume).with_suffix(""))
        self.index.removed(name)
        self._chunks.forget(name)

    def tracks(self) -> list[TrackInfo]:
        """Tracks with media now."""
        return [TrackInfo(row.spec, row.names, row.first_us, row.end_us) for row in self.index.tracks()]

    def known_tracks(self) -> list[TrackInfo]:
        """Tracks with media, and those of which the ledger alone speaks: their times are 0."""
        found = {info.spec.track: info for info in self.tracks()}
        for track, (spec, names) in self._coverage.known().items():
            found.setdefault(track, TrackInfo(spec, names, 0, 0))
        return list(found.values())

    def patrol(self) -> int:
        """Look for every sealed segment that should be there: how many are not, or not whole. Each is told once."""
        self.index.answering()
        return self._coverage.patrol()

    def losses(self) -> dict[str, int]:
        """What is known to be lost now: chunks that do not verify, segments that are not there whole. No disk."""
        return {
            "damaged_chunks": len(self._coverage.damaged_chunks),
            "missing_segments": len(self._coverage.lost_segments),
        }

    def runs(self) -> list[RunLife]:
        """Lives of the recorder on this storage, by start."""
        return self._coverage.runs(self._evidence())

    def troubles(self, start_us: int, end_us: int) -> dict[str, int]:
        """How often the storage said which trouble in a range, by code."""
        self.index.answering()
        return self._coverage.troubles(start_us, end_us)

    def durable_us(self, track: uuid.UUID) -> int | None:
        """End of the last durable sample of the track; None before any."""
        ends = []
        for part in self.index.walk(track, FUTURE_US, before=True):
            ends.append(part.end_us)
            if len(ends) == 3:
                break
        return max(ends, default=None)

    def spans(self, track: uuid.UUID, start_us: int, end_us: int, resolution_us: int = 0) -> list[Span]:
        """Merged stretches of media cut to [start_us, end_us); holes shorter than `resolution_us` are closed."""
        tolerance = max(resolution_us, min(BESIDE_US, self.index.tolerance_us(track)))
        if end_us - start_us > LONGEST_US:  # days are looked up one by one: only those that can hold something
            start_us = max(start_us, self.index.first_us(track))
            end_us = min(end_us, self.durable_us(track) or start_us)
        out: list[Span] = []
        found = self.index.spans(track, start_us, end_us)
        for span in sorted(found, key=lambda s: s.shown_us):
            low, high = max(span.shown_us, start_us), min(span.end_us, end_us)
            if low >= high:
                continue
            if out and low - out[-1].end_us <= tolerance:
                out[-1] = Span(out[-1].start_us, max(high, out[-1].end_us))
            else:
                out.append(Span(low, high))
        return out

    def coverage(self, tracks: Sequence[uuid.UUID], start_us: int, end_us: int) -> dict[uuid.UUID, list[Interval]]:
        """Per track: every instant of the range has exactly one state."""
        margin = self._coverage.margin_us
        out = {}
        for track in tracks:
            self.index.look_again(track, start_us - margin, end_us + margin)
            media = self.index.spans(track, start_us - margin, end_us + margin)
            since = self.index.first_us(track)
            beside = self._beside(track, media, start_us, end_us)
            outside = Outside(self.index.tolerance_us(track), since, self._evidence(), beside)
            out[track] = self._coverage.intervals(track, media, outside, start_us, end_us)
        return out

    def _beside(self, track: uuid.UUID, media: Sequence[MediaSpan], start_us: int, end_us: int) -> Sequence[Held]:
        """What storages that stood in for this one say of what they held."""
        return ()

    def _evidence(self) -> list[RunEvidence]:
        """Signs of life in segments that no ledger record tells of yet."""
        return [
            RunEvidence(index.header.run, index.last_wall_us, frozenset(index.tracks))
            for _, index in self.index.unsealed()
            if index.last_wall_us != NO_TIME
        ]

    def run_end_us(self, run: int) -> int | None:
        """When a run ended; None for one that lives or that nobody knows."""
        return next((life.end_us for life in self._coverage.runs(self._evidence(), run) if life.run == run), None)

    def why(self, track: uuid.UUID, time_us: int) -> tuple[Interval | None, Interval, Interval | None]:
        """The state at an instant, with what was before and what came after it (within a day)."""
        day = 86_400_000_000
        intervals = self.coverage([track], time_us - day, time_us + day)[track]
        at = next(i for i, interval in enumerate(intervals) if interval.start_us <= time_us < interval.end_us)
        before = intervals[at - 1] if at else None
        after = intervals[at + 1] if at + 1 < len(intervals) else None
        return before, intervals[at], after

    def locate_key(self, track: uuid.UUID, time_us: int, direction: int = -1) -> ChunkRef | None:
        """The newest chunk at or before `time_us` where a decoder may begin (-1), the next after it (+1), or the
        nearest of the two (0)."""
        if direction == 0:
            before, after = self.locate_key(track, time_us, -1), self.locate_key(track, time_us, 1)
            if before is None or after is None:
                return before or after
            return before if time_us - before.recv_us <= after.recv_us - time_us else after
        live, lane = self._nearest_entries(track, time_us, direction)
        if direction > 0:
            live, lane = self._inside_after(track, time_us, live, lane)
        if live is None or lane is None:
            return live or lane
        if direction < 0 and self._reaches(track, live, time_us):
            return live
        return lane if _nearer(lane, live, direction) else live

    def _nearest_entries(
        self, track: uuid.UUID, time_us: int, direction: int
    ) -> tuple[ChunkRef | None, ChunkRef | None]:
        """The nearest entry of live media and of lanes, in segments from `time_us` outwards."""
        best: dict[bool, ChunkRef] = {}
        for looked, part in enumerate(self.index.walk(track, time_us, before=direction < 0), 1):
            at = part.newest_entry(time_us) if direction < 0 else part.next_entry(time_us)
            is_lane = part.lane != ""
            if at >= 0:
                ref = self._ref(track, part, part.media.row(at))
                if is_lane not in best or _nearer(ref, best[is_lane], direction):
                    best[is_lane] = ref
            if is_lane and False not in best and True in best:
                near = self._lane_alone(track, time_us, direction, best[True])
                if near is not None:
                    return None, near
            settled = not is_lane and False in best and not _may_be_nearer(part, best[False], direction)
            if settled or (best and looked >= FAR_PARTS):
                break
        return best.get(False), best.get(True)

    def _lane_alone(self, track: uuid.UUID, time_us: int, direction: int, lane: ChunkRef) -> ChunkRef | None:
        """The nearest entry of lanes when between `lane` and the time asked for there is no live media; else None."""
        low, high = (lane.recv_us, time_us + 1) if direction < 0 else (time_us, lane.recv_us + 1)
        for part in self.index.parts(track, low, high):
            if not part.lane:
                return None
            at = part.newest_entry(time_us) if direction < 0 else part.next_entry(time_us)
            if at >= 0:
                ref = self._ref(track, part, part.media.row(at))
                lane = ref if _nearer(ref, lane, direction) else lane
        return lane

    def _inside_after(
        self, track: uuid.UUID, time_us: int, live: ChunkRef | None, lane: ChunkRef | None
    ) -> tuple[ChunkRef | None, ChunkRef | None]:
        """The next entries, those inside segments that begin before the time asked for included."""
        best = {False: live, True: lane}
        for part in self.index.parts(track, time_us, time_us + 1):
            at = part.next_entry(time_us)
            if at >= 0:
                ref = self._ref(track, part, part.media.row(at))
                known = best[part.lane != ""]
                if known is None or ref.recv_us < known.recv_us:
                    best[part.lane != ""] = ref
        return best[False], best[True]

    def chunks(
        self, track: uuid.UUID, start_us: int, end_us: int, kinds: Sequence[int] | None = None
    ) -> Iterator[ChunkRef]:
        """Chunks of [start_us, end_us) in order, from the one a decoder must begin with to show `start_us` (whole
        GOPs). Where live media is missing, GOPs of the best lane fill in."""
        low = self.decodable_from(track, start_us)
        live: list[ChunkRef] = []
        lanes: dict[tuple[str, int], list[ChunkRef]] = {}
        for part in self.index.parts(track, low, end_us):
            for ref in self._refs(track, part, low, end_us):
                if part.lane:
                    lanes.setdefault((part.lane, part.run), []).append(ref)
                else:
                    live.append(ref)
        # Time that was lived twice (the clock was set back) comes pass after pass, by number inside each.
        begins: dict[tuple[int, int], int] = {}
        for ref in live:
            chain = ref.run, ref.row.clock_run
            begins[chain] = min(begins.get(chain, ref.recv_us), ref.recv_us)
        live.sort(key=lambda ref: (begins[ref.run, ref.row.clock_run], ref.run, ref.seq))
        chosen = self._fill(track, live, lanes, end_us) if lanes else live
        for ref in chosen:
            if kinds is None or ref.kind in kinds:
                yield ref

    def decodable_from(self, track: uuid.UUID, start_us: int) -> int:
        """Where the chunk begins that a decoder must begin with to show `start_us`; `start_us` when none reaches it."""
        key = self.locate_key(track, start_us, -1)
        return key.recv_us if key is not None and self._reaches(track, key, start_us) else start_us

    def _reaches(self, track: uuid.UUID, key: ChunkRef, time_us: int) -> bool:
        """Does footage that needs `key` go on to `time_us`? Else it belongs to an earlier stretch."""
        return key.end_us > time_us or any(
            span.lane == key.lane and span.start_us <= key.recv_us and span.end_us > time_us
            for span in self.index.spans(track, key.recv_us, time_us + 1)
        )

    def _refs(self, track: uuid.UUID, part: Part, low: int, end_us: int) -> Iterator[ChunkRef]:
        for row in part.rows():
            if low <= row.recv_us < end_us or (row.recv_us < low < row.end_us and row.kind in ENTRY_KINDS):
                yield self._ref(track, part, row)

    def _fill(
        self,
        track: uuid.UUID,
        live: list[ChunkRef],
        lanes: dict[tuple[str, int], list[ChunkRef]],
        end_us: int,
    ) -> list[ChunkRef]:
        """Add whole GOPs of lanes where no live chunk is; the lane with the most chunks first."""
        tolerance = self.index.tolerance_us(track)
        taken = list(live)
        for key in sorted(lanes, key=lambda k: (-len(lanes[k]), k)):
            taken_times = _merged(taken, tolerance)
            open_gop = False
            for ref in sorted(lanes[key], key=lambda r: r.seq):
                slack = min(tolerance, ref.row.duration_us // 2)
                free = all(min(end, ref.end_us) - max(start, ref.recv_us) <= slack for start, end in taken_times)
                open_gop = free and (open_gop or ref.kind in ENTRY_KINDS)
                if open_gop and ref.recv_us < end_us:
                    taken.append(ref)
        return sorted(taken, key=lambda ref: (ref.recv_us, ref.lane, ref.run, ref.seq))

    def _ref(self, track: uuid.UUID, part: Part, row: ChunkRow) -> ChunkRef:
        return ChunkRef(track, part.name, part.segment, part.run, part.lane, part.first_us, row, part.config_of(row))

    def read(self, ref: ChunkRef) -> ChunkData:
        """A chunk with its samples. ChunkGone, ChunkCorrupt or ChunkNotDurable when it cannot be given."""
        return self._chunks.read(ref)

    def stored(self, ref: ChunkRef) -> StoredChunk:
        """A chunk as it lies on disk, checked, without a copy. Raises as `read`."""
        return self._chunks.stored(ref)

    def find(self, track: uuid.UUID, run: int, seq: int) -> ChunkRef | None:
        """The chunk `seq` of a run, or the first one left behind it; None when nothing of the run from there on is
        there."""
        best: ChunkRef | None = None
        for part in self.index.parts(track, PAST_US, FUTURE_US, run):
            if part.run != run:
                continue  # an open segment
            at = bisect_left(part.media.seq, seq, 0, part.count)
            if at < part.count and (best is None or part.media.seq[at] < best.seq):
                best = self._ref(track, part, part.media.row(at))
        return best

    def follows(self, before: ChunkRef, after: ChunkRef) -> bool:
        """Is no chunk missing between two chunks, so that a decoder may go on from one into the other? Numbers of one
        run have no holes; those of GAP and MARK chunks are no media."""
        if (before.run, before.lane) != (after.run, after.lane):
            return False
        between = after.seq - before.seq - 1
        if between <= 0:
            return between == 0
        low_us, high_us = min(before.recv_us, after.recv_us), max(before.end_us, after.end_us) + 1
        parts = self.index.parts(after.track, low_us, high_us, after.run)
        own = [part for part in parts if (part.run, part.lane) == (after.run, after.lane)]
        return sum(statements_between(part, before.seq, after.seq) for part in own) >= between

    def table(self, ref: ChunkRef) -> ChunkTable:
        """Header and frame table of a chunk without its samples: sizes and times for a plan. Raises as `read`."""
        return self._chunks.table(ref)

    def read_range(self, ref: ChunkRef, offset: int, length: int) -> bytes:
        """Sample bytes [offset, offset + length) of a chunk, salt excluded; the chunk is checked as a whole first.
        Raises as `read`."""
        return self._chunks.read_range(ref, offset, length)

    def read_view(self, ref: ChunkRef, offset: int, length: int) -> memoryview:
        """As `read_range`, without a copy: a view into the checked chunk. Hold it for a moment only."""
        return self._chunks.read_view(ref, offset, length)

    def part_ref(self, track: uuid.UUID, part: Part, row: int) -> ChunkRef:
        """Row `row` of a part as a chunk that can be read."""
        return self._ref(track, part, part.media.row(row))

    def config(self, ref: ChunkRef) -> TrackConfig:
        """How a chunk is coded, mostly from memory. Raises as `read`."""
        return self._chunks.config(ref)

    def shut(self) -> None:
        """The volume is let go: every file is closed; StorageMissing until `reopen`."""
        self.index.shut()

    def reopen(self) -> None:
        """The volume is back."""
        self.index.reopen(Catalog(self.volume / "catalog.db" if self._cache else None, self.storage))

    def close(self) -> None:
        """Close files and catalog."""
        self.index.close()


def _merged(refs: Sequence[ChunkRef], tolerance_us: int) -> list[tuple[int, int]]:
    """The time that chunks cover, as few stretches."""
    out: list[tuple[int, int]] = []
    for start, end in sorted((ref.recv_us, ref.end_us) for ref in refs):
        if out and start <= out[-1][1] + tolerance_us:
            out[-1] = (out[-1][0], max(out[-1][1], end))
        else:
            out.append((start, end))
    return out


def _nearer(ref: ChunkRef, best: ChunkRef, direction: int) -> bool:
    return ref.recv_us > best.recv_us if direction < 0 else ref.recv_us < best.recv_us


def _may_be_nearer(part: Part, best: ChunkRef, direction: int) -> bool:
    """Could a part further out still hold a nearer entry? Only when parts overlap in time (clock steps, lanes)."""
    return part.first_us > best.recv_us if direction < 0 else part.first_us < best.recv_us
