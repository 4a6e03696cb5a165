"""The loop side of writing: takes samples of all tracks, bounds their memory, sheds whole GOPs when it must.

Law: cheap, never blocks, never raises for storage trouble; one thread (the event loop's) calls everything here. What is
collected leaves as one list per slot. Shedding happens here, before a chunk is built: from the present sample to a KEY
of the track for whose whole GOP there is room again, and a GAP says so. Two budgets bound what waits: the log's and the
process's. No asyncio, no files.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Protocol

from mediadb.types import Cause, KeyType, Names, Sample, State, TrackConfig, TrackKind, TrackSpec
from mediadb.write.budget import Budget, Holder
from mediadb.write.commits import CommitInfo, StoreOptions
from mediadb.write.items import ConfigItem, CoverItem, GapItem, Item, MarkItem, TrackItem
from mediadb.write.segment_chunk import TrackState

ShedCall = Callable[[uuid.UUID, int, int, int, int], None]
NO_LIMIT = 1 << 62
STALLED = "storage-stalled"


class StateSource(Protocol):
    """What the collector needs of the writer."""

    failed: bool
    reason: str

    def track_state(self, spec: TrackSpec, names: Names) -> TrackState: ...


class Collector:
    """All tracks of one log. `shed` is called when a shed stretch ends."""

    def __init__(self, source: StateSource, options: StoreOptions, shed: ShedCall) -> None:
        self._source, self._shed = source, shed
        self.own = Budget(options.memory_bytes)
        self.everyone = options.budget or Budget(NO_LIMIT)
        self.most_asked = min(self.own.limit, self.everyone.limit) // 4  # a GOP may be larger than all memory
        self.stalled = False  # the disk does not answer
        self._items: list[tuple[TrackState, Item]] = []
        self._notes: list[tuple[TrackState, Item]] = []
        self.notes: list[tuple[TrackState, Item]] = []  # of the last slot: what is not a sample
        self._writers: dict[uuid.UUID, TrackWriter] = {}
        self.samples = 0
        self.shed_samples = 0
        self.shed_bytes = 0
        self.refused = 0

    def track(self, spec: TrackSpec, names: Names) -> TrackWriter:
        """The writer of a track; the same object for the same track. New names are recorded."""
        writer = self._writers.get(spec.track)
        if writer is None:
            writer = TrackWriter(self, self._source.track_state(spec, names))
            self._writers[spec.track] = writer
        elif writer.names == names:
            return writer
        writer.names = names
        self.put(writer.state, TrackItem(spec, names))
        return writer

    def put(self, state: TrackState, item: Item) -> None:
        self._items.append((state, item))
        self._notes.append((state, item))

    def states(self) -> list[TrackState]:
        """What each track is written with at present."""
        return [writer.state for writer in self._writers.values()]

    def knows(self, track: uuid.UUID) -> bool:
        return track in self._writers

    def holds(self, track: uuid.UUID, size: int) -> bool:
        """Do so many bytes of the track wait here?"""
        writer = self._writers.get(track)
        return writer is not None and writer.held >= size

    def renew(self, state: TrackState) -> None:
        """A track goes on with another state: it came from another writer."""
        track = state.spec.track
        self._writers[track].state = state
        self._items = [(state if old.spec.track == track else old, item) for old, item in self._items]

    def slot(self) -> list[tuple[TrackState, Item]]:
        """Everything since the last slot, in order."""
        items, self._items = self._items, []
        self.notes, self._notes = self._notes, []
        self.own.count_again()
        self.everyone.count_again()
        return items

    def end_shedding(self, now_us: int) -> None:
        """State the stretches still being shed (shutdown)."""
        for writer in self._writers.values():
            writer.end_shedding(now_us)

    @property
    def held(self) -> int:
        """Bytes of samples not yet durable."""
        return self.own.held

    def room(self, writer: TrackWriter, size: int) -> bool:
        """May this track take `size` more bytes?"""
        return self.own.room(writer.share, size) and self.everyone.room(writer.share_of_all, size)

    def cause(self) -> Cause:
        """Why samples are shed now."""
        if self._source.failed:
            return Cause(State.STORAGE_ERROR, self._source.reason)
        if self.stalled:
            return Cause(State.STORAGE_ERROR, STALLED)
        return Cause(State.OVERLOAD_SHED, "memory-budget")

    def release(self) -> None:
        """The log is closed or its commits are another's: what is held counts no more."""
        for writer in self._writers.values():
            writer.leave()
        self._writers = {}

    def told_shed(self, track: uuid.UUID, start_us: int, end_us: int, samples: int, size: int) -> None:
        self.shed_samples += samples
        self.shed_bytes += size
        self._shed(track, start_us, end_us, samples, size)

    def committed(self, info: CommitInfo) -> None:
        """The writer made a commit durable: release its memory, move the watermarks."""
        for track, fact in info.tracks.items():
            writer = self._writers.get(track)
            if writer is not None:
                self._give_back(writer, fact.bytes)
                writer.committed(fact.samples, fact.last_recv_us)

    def drop_refused(self, track: uuid.UUID, size: int) -> None:
        """The writer refused a sample."""
        self.refused += 1
        writer = self._writers.get(track)
        if writer is not None:
            self._give_back(writer, size)

    def _give_back(self, writer: TrackWriter, size: int) -> None:
        """Never more than the track holds here: two storages may know a track, and only one of them holds the bytes."""
        size = min(size, writer.held)
        writer.held -= size
        self.own.held -= size
        self.everyone.held -= size


class TrackWriter(Holder):
    """Takes the samples of one track. Every call is cheap; event loop thread only."""

    __slots__ = (
        "_bytes_shed", "_cause", "_collector", "_count_shed", "_gop_bytes", "_gop_shed", "_shed_from_us",
        "committed_samples", "durable_us", "names", "share", "share_of_all", "state",
    )  # fmt: skip

    def __init__(self, collector: Collector, state: TrackState) -> None:
        super().__init__()
        self._collector, self.state = collector, state
        self.share = collector.own.share(state.spec.camera, self)
        self.share_of_all = collector.everyone.share(state.spec.camera, self)
        self.names = Names()
        self.durable_us: int | None = None  # end of the last durable sample, recorder UTC
        self.committed_samples = 0
        self._shed_from_us: int | None = None
        self._cause = Cause(State.OVERLOAD_SHED)
        self._count_shed = self._bytes_shed = 0
        self._gop_shed = self._gop_bytes = 0  # of the GOP being shed, of the last one that was shed whole

    def config(self, config: TrackConfig) -> None:
        """How the samples from here on are coded: before the first one and at each change."""
        self._collector.put(self.state, ConfigItem(config))

    def append(self, sample: Sample) -> None:
        """Take one sample; when memory is short it is shed with all that follow, up to the next KEY."""
        collector, size = self._collector, len(sample.data)
        own, everyone = collector.own, collector.everyone
        if (
            self._shed_from_us is not None
            or ((own.held + size > own.free or everyone.held + size > everyone.free) and not collector.room(self, size))
        ):  # fmt: skip
            if not self._resumes(sample, size):
                self._shed_one(sample, size)
                return
            self.end_shedding(sample.recv_us)
            sample = sample._replace(discontinuity=True)
        self.held += size
        own.held += size
        everyone.held += size
        collector.samples += 1
        collector._items.append((self.state, sample))

    def cover(self, time_us: int, cause: Cause) -> None:
        """From `time_us` on `cause` holds: a coverage transition for the ledger."""
        self._collector.put(self.state, CoverItem(time_us, cause))

    def gap(self, start_us: int, end_us: int, cause: Cause) -> None:
        """Nothing was recorded in [start_us, end_us), and why: a GAP chunk and a ledger record."""
        self._collector.put(self.state, GapItem(start_us, end_us, cause))

    def mark(self, time_us: int, code: str, params: dict[str, object]) -> None:
        """A MARK chunk: something that must not be left out of an export."""
        self._collector.put(self.state, MarkItem(time_us, code, params))

    def end_shedding(self, end_us: int) -> None:
        """State what was shed, if anything."""
        start_us, self._shed_from_us = self._shed_from_us, None
        if start_us is None:
            return
        params: dict[str, object] = {"samples": self._count_shed, "bytes": self._bytes_shed}
        end_us = max(end_us, start_us)
        self.gap(start_us, end_us, Cause(self._cause.state, self._cause.reason, params))
        self._collector.told_shed(self.state.spec.track, start_us, end_us, self._count_shed, self._bytes_shed)
        self._count_shed = self._bytes_shed = 0

    def committed(self, samples: int, end_us: int | None) -> None:
        self.committed_samples += samples
        if end_us is not None:
            self.durable_us = end_us

    def leave(self) -> None:
        """Nothing of this track waits here any more."""
        camera = self.state.spec.camera
        self._collector.own.leave(camera, self)
        self._collector.everyone.leave(camera, self)
        self.held = 0

    def _resumes(self, sample: Sample, size: int) -> bool:
        """A shed track begins again at a KEY (audio, metadata: at any sample) when there is room for as much as its
        last GOP had: a GOP that would be cut off again is shed whole."""
        if self._shed_from_us is None:
            return False
        if self.state.spec.kind is not TrackKind.VIDEO:
            return self._collector.room(self, size)
        if sample.key_type == KeyType.DELTA:
            return False
        self._gop_bytes, self._gop_shed = max(self._gop_shed, size), 0
        return self._collector.room(self, max(size, min(self._gop_bytes, self._collector.most_asked)))

    def _shed_one(self, sample: Sample, size: int) -> None:
        if self._shed_from_us is None:
            self._shed_from_us, self._cause = sample.recv_us, self._collector.cause()
            self._gop_shed = 0
        self._gop_shed += size
        self._count_shed += 1
        self._bytes_shed += size
