"""The loop side of writing: takes samples of all tracks, bounds their memory, sheds whole GOPs when it must.

Law: cheap, never blocks, never raises for storage trouble; one thread (the event loop's) calls everything here. What is
collected leaves as one list per slot. Shedding happens here, before a chunk is built: from the present sample to the
track's next KEY, and a GAP says so. No asyncio, no files.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Protocol

from mediadb.types import Cause, KeyType, Names, Sample, State, TrackConfig, TrackKind, TrackSpec
from mediadb.write.commits import CommitInfo, StoreOptions
from mediadb.write.items import ConfigItem, CoverItem, GapItem, Item, MarkItem, TrackItem
from mediadb.write.segment_chunk import TrackState

ShedCall = Callable[[uuid.UUID, int, int, int, int], None]


class StateSource(Protocol):
    """What the collector needs of the writer."""

    failed: bool

    def track_state(self, spec: TrackSpec, names: Names) -> TrackState: ...


class Collector:
    """All tracks of one log. `shed` is called when a shed stretch ends."""

    def __init__(self, source: StateSource, options: StoreOptions, shed: ShedCall) -> None:
        self._source, self._shed = source, shed
        # Seven eighths are shared freely; above that a track keeps its share of the last eighth.
        self._soft = options.memory_bytes * 7 // 8
        self._reserve = options.memory_bytes - self._soft
        self._items: list[tuple[TrackState, Item]] = []
        self._writers: dict[uuid.UUID, TrackWriter] = {}
        self.held = 0  # bytes of samples not yet durable
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

    def slot(self) -> list[tuple[TrackState, Item]]:
        """Everything since the last slot, in order."""
        items, self._items = self._items, []
        return items

    def end_shedding(self, now_us: int) -> None:
        """State the stretches still being shed (shutdown)."""
        for writer in self._writers.values():
            writer.end_shedding(now_us)

    def room(self, writer: TrackWriter, size: int) -> bool:
        """May this track take `size` more bytes?"""
        if self.held + size <= self._soft:
            return True
        share = self._reserve // max(len(self._writers), 1)
        return writer.held + size <= share

    def cause(self) -> Cause:
        """Why samples are shed now."""
        if self._source.failed:
            return Cause(State.STORAGE_ERROR, "not-writable")
        return Cause(State.OVERLOAD_SHED, "memory-budget")

    def told_shed(self, track: uuid.UUID, start_us: int, end_us: int, samples: int, size: int) -> None:
        self.shed_samples += samples
        self.shed_bytes += size
        self._shed(track, start_us, end_us, samples, size)

    def committed(self, info: CommitInfo) -> None:
        """The writer made a commit durable: release its memory, move the watermarks."""
        for track, fact in info.tracks.items():
            writer = self._writers.get(track)
            if writer is not None:
                self.held -= fact.bytes
                writer.committed(fact.samples, fact.bytes, fact.last_recv_us)

    def drop_refused(self, track: uuid.UUID, size: int) -> None:
        """The writer refused a sample."""
        self.refused += 1
        self.held -= size
        writer = self._writers.get(track)
        if writer is not None:
            writer.held -= size


class TrackWriter:
    """Takes the samples of one track. Every call is cheap; event loop thread only."""

    __slots__ = (
        "_bytes_shed", "_cause", "_collector", "_count_shed", "_shed_from_us", "committed_samples", "durable_us",
        "held", "names", "state",
    )  # fmt: skip

    def __init__(self, collector: Collector, state: TrackState) -> None:
        self._collector, self.state = collector, state
        self.names = Names()
        self.held = 0
        self.durable_us: int | None = None  # end of the last durable sample, recorder UTC
        self.committed_samples = 0
        self._shed_from_us: int | None = None
        self._cause = Cause(State.OVERLOAD_SHED)
        self._count_shed = self._bytes_shed = 0

    def config(self, config: TrackConfig) -> None:
        """How the samples from here on are coded: before the first one and at each change."""
        self._collector.put(self.state, ConfigItem(config))

    def append(self, sample: Sample) -> None:
        """Take one sample; when memory is short it is shed with all that follow, up to the next KEY."""
        collector, size = self._collector, len(sample.data)
        if self._shed_from_us is not None or not collector.room(self, size):
            if not self._resumes(sample, size):
                self._shed_one(sample, size)
                return
            self.end_shedding(sample.recv_us)
            sample = sample._replace(discontinuity=True)
        self.held += size
        collector.held += size
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

    def committed(self, samples: int, size: int, end_us: int | None) -> None:
        self.committed_samples += samples
        self.held -= size
        if end_us is not None:
            self.durable_us = end_us

    def _resumes(self, sample: Sample, size: int) -> bool:
        """A shed track begins again at a KEY (audio, metadata: at any sample) when there is room."""
        if self._shed_from_us is None:
            return False
        entry = sample.key_type != KeyType.DELTA or self.state.spec.kind is not TrackKind.VIDEO
        return entry and self._collector.room(self, size)

    def _shed_one(self, sample: Sample, size: int) -> None:
        if self._shed_from_us is None:
            self._shed_from_us, self._cause = sample.recv_us, self._collector.cause()
        self._count_shed += 1
        self._bytes_shed += size
