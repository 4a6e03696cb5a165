"""The writer of one log: collected items in, durable commits out.

Law: the policy of writing (when a commit is closed, what a failure means; when a file begins and ends: `segments`) and
no thread of its own: one thread calls `take`, `commit` and `close` with the time as an argument. Seals and recovery run
beside, through the `beside` callable. Samples stay in memory until their sync has returned; a file whose write or sync
failed is given up and its commits are written again, byte for byte, under new numbers into a new segment. Nothing is
written while the path leads to another place than the log that is held: not even to the ledger.
"""

from __future__ import annotations

import errno
import uuid
from collections.abc import Callable, Iterable, Sequence

from mediadb.errors import StorageMissing
from mediadb.format.block import Commit, Supersedes
from mediadb.format.constants import NO_COMMIT, NO_TIME
from mediadb.format.ledger_page import LedgerKind
from mediadb.format.records import encode_gap, encode_mark, run_text
from mediadb.known_tail import KnownTail
from mediadb.ledger import LedgerWriter
from mediadb.ledger_rescue import RESTORED
from mediadb.locks import LOG_NAME, LogHandle
from mediadb.segment_index import LiveSegment
from mediadb.types import Kind, Names, Sample, TrackSpec
from mediadb.waiting import alive_pause_us
from mediadb.write.aftermath import Aftermath
from mediadb.write.commits import CommitInfo, StoreOptions, TrackCommit, WriterEvents
from mediadb.write.items import (
    ConfigItem,
    CoverItem,
    GapItem,
    Item,
    MarkItem,
    Now,
    PendingCommit,
    TrackItem,
    before_step,
)
from mediadb.write.recover import LastRun
from mediadb.write.retention import classes_of
from mediadb.write.segment import Batch, SegmentWriter, supersedes_of
from mediadb.write.segment_chunk import (
    SealedChunk,
    Stamp,
    TrackState,
    add_sample,
    close_open,
    dropped_bytes,
    note_chunk,
    set_config,
)
from mediadb.write.segment_layout import CommitStamp
from mediadb.write.segments import Beside, Segments
from mediadb.write.witness import cover_body, gap_body, track_body

NOT_TAKEN = "not-writable"
BUG = "writer-error"  # a defect of ours, or no memory
MISSING = StorageMissing.code
WORD_US = 60_000_000  # samples that fail again and again are told of so often
_REASONS = {
    errno.ENOSPC: "no-space", errno.EDQUOT: "quota", errno.EROFS: "read-only", errno.EIO: "io-error",
    errno.ENODEV: "io-error", errno.ENXIO: "io-error", errno.ESTALE: "io-error",
}  # fmt: skip


class LogWriter:
    """See the module. `beside(job)` runs a job on another thread of the volume (or at once, in tests)."""

    def __init__(
        self,
        log: LogHandle,
        server: uuid.UUID,
        options: StoreOptions,
        events: WriterEvents,
        beside: Beside,
    ) -> None:
        self._log, self._server, self._options, self._events = log, server, options, events
        self._fs = log.fs
        self._epoch, self._run = log.identity.epoch, log.identity.run
        self._tracks: dict[uuid.UUID, TrackState] = {}
        self._touched: dict[bytes, TrackState] = {}
        self._open_bytes = 0
        self._backlog: list[PendingCommit] = []
        self._counter = 0
        self._durable: Commit = NO_COMMIT
        self._supersedes: list[Supersedes] = []
        self._next_probe_us = self._next_word_us = 0
        self._last_ledger_us = 0
        self._alive_us = 0  # when the last sign of life was kept for a volume that is away
        self._aftermath = Aftermath(self._run)
        self._began_us = NO_TIME
        self._ledger_told = False  # trouble of the ledger, which commits survive
        self.failed = False  # storage does not take writes; read by other threads
        self.reason = NOT_TAKEN  # while `failed`: no-space, quota, read-only, io-error, storage-missing, not-writable
        self.detached = False  # without a log (`write.handover`): what is closed waits in memory
        self.lent = False  # tracks of ours are another writer's at present
        self.newest: KnownTail | None = None  # what the volume must have when it comes back; read by other threads
        self.ledger = LedgerWriter(
            self._fs, log.ledger_folder, self._run, self._epoch, options.waiting,
            there=lambda: self._log.still_there(), told=events.trouble,
        )  # fmt: skip
        self._segments = Segments(log, server, options, events, self.ledger, beside)
        self.retention = classes_of(options.retention_us, options.limits or {})  # replaced when limits change

    # -- reading side, any thread ---------------------------------------------------------------------------------

    def live_segments(self) -> Sequence[LiveSegment]:
        """Segments without a footer, oldest first (LiveSource)."""
        return self._segments.live()

    def sealing(self) -> bool:
        """Are segments waiting for a footer that they will get?"""
        return self._segments.sealing

    # -- writer thread --------------------------------------------------------------------------------------------

    def start(self, now: Now) -> None:
        """Say in the ledger that this run began; durable when it returns. Raises OSError."""
        before = self._log.previous
        body = {
            "run": run_text(self._run), "epoch": self._epoch, "server": str(self._server),
            "previous_run": run_text(before.run) if before else None,
        }  # fmt: skip
        self.ledger.add(LedgerKind.RUN_START, now.utc_us, body)
        self.ledger.adopt(now.utc_us)
        self._last_ledger_us = now.mono_us
        self.begin(now)

    def begin(self, now: Now) -> None:
        """The run begins, with a log or without. Said again when its log comes: the first time counts."""
        self._clock = now
        self._last_ledger_us = self._last_ledger_us or now.mono_us
        if self._began_us == NO_TIME:
            self._began_us = now.utc_us

    def take(self, items: Iterable[tuple[TrackState, Item]], now: Now) -> None:
        """`collect`: put items of one slot, in order, into the open chunks of their tracks."""
        self._fs.point("collect")
        if now.clock_run != self._clock.clock_run:
            before, items = before_step(list(items), self._clock.at(now.mono_us), now.utc_us)
            self._collect(before, self._clock)
        self._note_clock(now)
        self._collect(items, now)

    def _collect(self, items: Iterable[tuple[TrackState, Item]], now: Now) -> None:
        stamp = Stamp(self._run, self._epoch, now.clock_run)
        for track, item in items:
            try:
                if isinstance(item, Sample):
                    if add_sample(track, item, stamp):
                        self._open_bytes += len(item.data)
                    else:
                        self._events.refused(track.spec.track, len(item.data))
                    self._touched[track.spec.track.bytes] = track
                else:
                    self._take_note(track, item, stamp, now)
            except Exception as error:  # a defect: it costs this sample, not those of all cameras
                self._lose(track, len(item.data) if isinstance(item, Sample) else 0, error, now)
            if self._open_bytes >= self._options.commit_limit:
                self._close_commit(now)

    def commit(self, now: Now) -> None:
        """Close the commit and make it, and everything that waits, durable. Never raises OSError: trouble is told."""
        self.hold(now)
        if self.detached:
            if now.mono_us - self._alive_us >= alive_pause_us(now.mono_us - self._last_ledger_us):
                self._alive_us = now.mono_us
                self.ledger.add(LedgerKind.ALIVE, now.utc_us, {})
            self.ledger.hold(now.utc_us)
            return
        if now.mono_us >= self._next_probe_us:
            self._write_backlog(now)
        self._segments.seal_given_up(not self.failed, now)
        if now.mono_us - self._last_ledger_us >= self._options.alive_us:
            self.ledger.add(LedgerKind.ALIVE, now.utc_us, {})
        self._flush_ledger(now)
        if not self.failed:
            self._segments.prepare(now)

    def hold(self, now: Now) -> None:
        """Close the commit; it is written with the next `commit`, which waits already: the disk is behind."""
        self._note_clock(now)
        self._state_crash_gaps(now)
        self._close_commit(now)

    def recovered(self, runs: list[LastRun], now: Now) -> None:
        """Recovery of older segments is done: enter what it found, and what of earlier runs was not said yet."""
        for last in runs:
            for kind, body in last.records:
                self.ledger.add(kind, now.utc_us, body)
            for kind, body in self._aftermath.enter(last.left):
                self.ledger.add(kind, now.utc_us, body)

    def close(self, now: Now) -> list[str]:
        """Commit, seal, say that it was stopped. Returns what could not be made durable, in words (empty: nothing)."""
        self._next_probe_us = 0
        self._segments.ending()
        self.commit(now)
        lost = []
        if self._backlog:
            samples = sum(fact.samples for commit in self._backlog for fact in commit.facts.values())
            lost.append(f"{samples} samples in {len(self._backlog)} commits")
        self._segments.close(now)
        for kind, body in self._aftermath.last_words(self._began_us):
            self.ledger.add(kind, now.utc_us, body)
        stop = {"run": run_text(self._run), **({"lost": list(lost)} if lost else {})}
        self.ledger.add(LedgerKind.RUN_STOP, now.utc_us, stop)
        self._flush_ledger(now)
        if self.ledger.pending:
            lost.append(f"{self.ledger.pending} ledger records")
        elif self.newest is not None:
            self.newest = self.newest._replace(pages=self.ledger.pages)
        self.ledger.close()
        return lost

    def _note_clock(self, now: Now) -> None:
        """The wall clock was set: what is said from here on is not compared by time with what was said before, and
        goes into another segment, so that times do not fall inside one."""
        before, self._clock = self._clock, now
        if now.clock_run == before.clock_run:
            return
        self.ledger.add(LedgerKind.CLOCK, now.utc_us, {"from_us": before.at(now.mono_us), "to_us": now.utc_us})
        self._close_commit(now)
        if self._backlog and not (self.detached or self.failed):
            self._write_backlog(now)
        self._segments.clock_set()

    def use_room(self, make_room: Callable[[int], bool]) -> None:
        """What is asked for room before a segment is made: it may wait, says whether there is some, and raises OSError
        when there must be some and is none."""
        self._segments.make_room = make_room

    # -- collecting -----------------------------------------------------------------------------------------------

    def track_state(self, spec: TrackSpec, names: Names) -> TrackState:
        """The writer's state of a track; made on the caller's thread, used by the writer thread."""
        return self._tracks.setdefault(spec.track, TrackState(spec, names))

    def _take_note(self, track: TrackState, item: Item, stamp: Stamp, now: Now) -> None:
        if isinstance(item, ConfigItem):
            set_config(track, item.config)
        elif isinstance(item, TrackItem):
            track.names, track.config_chunk = item.names, None
            self.ledger.add(LedgerKind.TRACK, now.utc_us, track_body(track.spec, item))
        elif isinstance(item, CoverItem):
            self.ledger.add(LedgerKind.COVER, now.utc_us, cover_body(track.spec, item))
        elif isinstance(item, GapItem):
            self._gap(track, item, stamp, now)
        elif isinstance(item, MarkItem):
            record = encode_mark(item.time_us, item.code, item.params)
            note_chunk(track, Kind.MARK, item.time_us, item.time_us, record, stamp)
            self._touched[track.spec.track.bytes] = track

    def _gap(self, track: TrackState, gap: GapItem, stamp: Stamp, now: Now) -> None:
        record = encode_gap(gap.start_us, gap.end_us, gap.cause)
        note_chunk(track, Kind.GAP, gap.start_us, gap.end_us, record, stamp)
        self._touched[track.spec.track.bytes] = track
        self.ledger.add(LedgerKind.GAP, now.utc_us, gap_body(track.spec, gap))

    def _state_crash_gaps(self, now: Now) -> None:
        """GAP(crash) and LINK of each track that an earlier run left behind and this run has met again."""
        if self.lent:
            return
        stamp = Stamp(self._run, self._epoch, now.clock_run)
        for track, gap, link in self._aftermath.met(self._tracks):
            if gap is not None:
                self._gap(track, gap, stamp, now)
            self.ledger.add(LedgerKind.LINK, now.utc_us, link)

    def _lose(self, track: TrackState, size: int, error: Exception, now: Now) -> None:
        """A sample, and perhaps the chunk it was to go into, cannot be written: give the memory back and say so."""
        size = dropped_bytes(track, size, error)
        if size:
            self._events.refused(track.spec.track, size)
        if now.mono_us >= self._next_word_us:
            self._next_word_us = now.mono_us + WORD_US
            params: dict[str, object] = {"track": str(track.spec.track), "bytes": size, "text": repr(error)}
            self._trouble("sample-failed", params, now)

    # -- commits --------------------------------------------------------------------------------------------------

    def _close_commit(self, now: Now) -> None:
        """`build` and `seal_chunks`: close all open chunks; the commit waits in the backlog for its sync."""
        if not self._touched:
            return
        self._fs.point("build")
        commit = PendingCommit([], self._touched, now.utc_us)
        self._touched, self._open_bytes = {}, 0
        for track in commit.tracks.values():
            try:
                close_open(track)
            except Exception as error:
                self._lose(track, 0, error, now)
            track.intra_key_done = False
            sealed, track.sealed = track.sealed, []
            commit.chunks += sealed
            if sealed:
                commit.facts[track.spec.track] = _fact(sealed)
        self._fs.point("seal_chunks")
        if commit.chunks:
            self._backlog.append(commit)

    def _write_backlog(self, now: Now) -> None:
        """Everything that waits, oldest first; what fails is tried once more in another segment, then a while later.
        With nothing to write it is still seen whether the log is where it was."""
        tries = 0
        while True:
            try:
                self._check_place()
                if not self._backlog:
                    break
                self._write_some(now)
            except Exception as error:  # also a defect, or no memory: told, kept, tried again
                self._give_up_segment(error, now, tell=not (self.failed or tries))
                tries += 1
                if tries > 1 or isinstance(error, StorageMissing):
                    self._fail(error, now)
                    return
            else:
                self._segments.works()
                self._works(now)
                if not self._backlog:
                    return
        if self.reason == MISSING:
            self._works(now)

    def _fail(self, error: Exception, now: Now) -> None:
        self.reason = reason_of(error)
        self.failed = True
        self._next_probe_us = now.mono_us + self._options.probe_us

    def _works(self, now: Now) -> None:
        if self.failed:
            self.failed, self.reason, self._next_probe_us = False, NOT_TAKEN, 0
            self._trouble("storage-recovered", {}, now)

    def _check_place(self) -> None:
        """Raises StorageMissing, OSError."""
        if self._log.still_there():
            return
        if self._log.bring_back():
            self._events.trouble(RESTORED, {"path": str(self._log.folder / LOG_NAME)})
        else:
            raise StorageMissing(f"{self._log.folder} was unmounted; mount it again", path=str(self._log.folder))

    def _write_some(self, now: Now) -> None:
        """`append`, `directory`, `sync`, `publish` for the oldest commits that wait, as many as make one full one."""
        segment = self._segments.writable(sum(map(_media_bytes, self._backlog)), now)
        written: list[tuple[PendingCommit, int]] = []
        supersedes = list(self._supersedes)
        size = 0
        for commit in self._backlog:
            size += _media_bytes(commit)
            if written and size > self._options.commit_limit:
                break
            number = self._append(segment, commit, supersedes.pop(0) if supersedes else None)
            written.append((commit, number))
        while supersedes:  # one block names one: further ones go into blocks without chunks
            self._append(segment, PendingCommit([], {}, now.utc_us), supersedes.pop(0))
        segment.sync()
        if not segment.has_durable:
            self._check_place()  # made a moment ago: not below an empty mount point?
        self._durable = (self._epoch, self._counter - 1)
        segment.publish()
        path = segment.path.with_suffix("").relative_to(self._log.folder)
        self.newest = KnownTail(str(path), segment.index.durable_end, self.ledger.pages)
        self._supersedes.clear()
        del self._backlog[: len(written)]
        self._last_ledger_us = now.mono_us
        for commit, number in written:
            self._events.committed(CommitInfo(number, commit.wall_us, commit.facts, 0))

    def _append(self, segment: SegmentWriter, commit: PendingCommit, supersedes: Supersedes | None) -> int:
        number = self._counter
        self._counter += 1  # numbers are never used again, whatever becomes of this write
        stamp = CommitStamp(
            segment=segment.index.header.segment,
            run=self._run,
            commit=(self._epoch, number),
            durable=self._durable,
            wall_us=commit.wall_us,
            supersedes=supersedes,
        )
        segment.append(Batch(commit.chunks, commit.tracks, self.retention), stamp)
        return number

    def _give_up_segment(self, error: Exception, now: Now, *, tell: bool) -> None:
        """A failed write or sync is final for the file: its unsynced commits will be superseded elsewhere."""
        number = getattr(error, "errno", None)
        text = str(error) if isinstance(error, (OSError, StorageMissing)) else repr(error)
        params: dict[str, object] = {
            "reason": reason_of(error), "errno": number, "text": text, "path": str(self._log.folder),
        }  # fmt: skip
        segment = self._segments.give_up(error)
        if segment is not None:
            params["segment"] = segment.path.name
            first = segment.first_staged
            if first is not None:
                self._supersedes.append(supersedes_of(segment, first))
                body = {"segment": str(segment.index.header.segment), "from_commit": list(first)}
                self.ledger.add(LedgerKind.POISONED, now.utc_us, body)
        if tell:
            self._trouble("storage-error", params, now)

    # -- ledger and alarms ----------------------------------------------------------------------------------------

    def _flush_ledger(self, now: Now) -> None:
        if self.failed and self.reason == MISSING:
            self.ledger.hold(now.utc_us)
            return
        try:
            if not self.ledger.pending and self.ledger.in_place():
                return
            self.ledger.flush(now.utc_us)
        except OSError as error:
            if not self._ledger_told and not self.failed:
                self._ledger_told = True
                folder = str(self._log.ledger_folder)
                self._events.trouble("ledger-error", {"errno": error.errno, "text": str(error), "path": folder})
        else:
            self._last_ledger_us = now.mono_us
            if self._ledger_told:
                self._ledger_told = False
                self._events.trouble("storage-recovered", {"of": "ledger-error"})

    def _trouble(self, code: str, params: dict[str, object], now: Now) -> None:
        self.ledger.add(LedgerKind.TROUBLE, now.utc_us, {"code": code, "params": params})
        self._events.trouble(code, params)


def _fact(sealed: list[SealedChunk]) -> TrackCommit:
    media = [chunk for chunk in sealed if chunk.data_bytes]
    return TrackCommit(
        samples=sum(chunk.header.frame_count for chunk in media),
        bytes=sum(chunk.data_bytes for chunk in media),
        last_recv_us=max((chunk.end_us for chunk in media), default=None),
        next_seq=sealed[-1].header.seq + 1,
    )


def reason_of(error: Exception) -> str:
    """Why a storage does not take writes, in one word."""
    if isinstance(error, StorageMissing):
        return MISSING
    if not isinstance(error, OSError):
        return BUG
    return _REASONS.get(getattr(error, "errno", None) or 0, NOT_TAKEN)


def _media_bytes(commit: PendingCommit) -> int:
    return sum(fact.bytes for fact in commit.facts.values())
