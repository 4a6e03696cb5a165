"""The writer of one log: collected items in, durable commits out.

Law: all policy of writing (when a commit is closed, when a segment ends, what a failure means) and no thread of its
own: one thread calls `take`, `commit` and `close` with the time as an argument. Seals and recovery run beside, through
the `beside` callable. Samples stay in memory until their sync has returned; a file whose write or sync failed is given
up and its commits are written again, byte for byte, under new numbers into a new segment. On a full disk no file is
made before there is room for what waits, and what was given up is sealed, so that retention can remove it.
"""

from __future__ import annotations

import errno
import threading
import uuid
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from mediadb.errors import StorageMissing
from mediadb.format.block import Commit, Supersedes
from mediadb.format.constants import NO_COMMIT, NO_TIME
from mediadb.format.footer import FooterHead
from mediadb.format.ledger_page import LedgerKind
from mediadb.format.records import encode_cause, encode_gap, encode_mark, encode_names, encode_spec, run_text
from mediadb.format.segment_header import SegmentHeader
from mediadb.ledger import LedgerWriter
from mediadb.locks import LogHandle
from mediadb.segment_index import LiveSegment
from mediadb.types import Cause, Kind, Names, Sample, State, TrackSpec
from mediadb.write.commits import CommitInfo, StoreOptions, TrackCommit, WriterEvents
from mediadb.write.items import ConfigItem, CoverItem, GapItem, Item, MarkItem, Now, PendingCommit, TrackItem
from mediadb.write.recover import LastRun
from mediadb.write.segment import OPEN_SUFFIX, Batch, SegmentWriter, seal_record, segment_name, supersedes_of
from mediadb.write.segment_chunk import SealedChunk, Stamp, TrackState, add_sample, close_open, note_chunk, set_config
from mediadb.write.segment_layout import CommitStamp

ROLL_RETRY_US = SEAL_RETRY_US = 10_000_000
NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
ROOM_BYTES = 1 << 20  # beside the media: what a new segment needs to be worth a try on a full disk


class LogWriter:
    """See the module. `beside(job)` runs a job on another thread of the volume (or at once, in tests)."""

    def __init__(
        self,
        log: LogHandle,
        server: uuid.UUID,
        options: StoreOptions,
        events: WriterEvents,
        beside: Callable[[Callable[[], None]], None],
    ) -> None:
        self._log, self._server, self._options, self._events, self._beside = log, server, options, events, beside
        self._fs = log.fs
        self._epoch, self._run = log.identity.epoch, log.identity.run
        self._tracks: dict[uuid.UUID, TrackState] = {}
        self._touched: dict[bytes, TrackState] = {}
        self._open_bytes = 0
        self._backlog: list[PendingCommit] = []
        self._segment: SegmentWriter | None = None
        self._segment_since_us = 0
        self._segment_number = 0
        self._next_roll_us = 0
        self._counter = 0
        self._durable: Commit = NO_COMMIT
        self._supersedes: list[Supersedes] = []
        self._live: tuple[LiveSegment, ...] = ()
        self._live_lock = threading.Lock()  # seals end on another thread
        self._next_probe_us = 0
        self._last_ledger_us = 0
        self._last_runs: list[LastRun] = []
        self._abandoned: list[SegmentWriter] = []  # without room for more, or for their footer; under `_live_lock`
        self._next_seal_us = 0
        self._no_space = False
        self._degraded: set[str] = set()  # told trouble that commits survive
        self.failed = False  # storage does not take writes; read by other threads
        self.ledger = LedgerWriter(self._fs, log.ledger_folder, self._run, self._epoch)

    # -- reading side, any thread ---------------------------------------------------------------------------------

    def live_segments(self) -> Sequence[LiveSegment]:
        """Segments without a footer, oldest first (LiveSource)."""
        return self._live

    # -- writer thread --------------------------------------------------------------------------------------------

    def start(self, now: Now) -> None:
        """Say in the ledger that this run began; durable when it returns. Raises OSError."""
        before = self._log.previous
        body = {
            "run": run_text(self._run), "epoch": self._epoch, "server": str(self._server),
            "previous_run": run_text(before.run) if before else None,
        }  # fmt: skip
        self.ledger.add(LedgerKind.RUN_START, now.utc_us, body)
        self.ledger.flush(now.utc_us)
        self._last_ledger_us = now.mono_us

    def take(self, items: Iterable[tuple[TrackState, Item]], now: Now) -> None:
        """`collect`: put items of one slot, in order, into the open chunks of their tracks."""
        self._fs.point("collect")
        stamp = Stamp(self._run, self._epoch, now.clock_run)
        touched = self._touched
        for track, item in items:
            if isinstance(item, Sample):
                if add_sample(track, item, stamp):
                    self._open_bytes += len(item.data)
                else:
                    self._events.refused(track.spec.track, len(item.data))
                touched[track.spec.track.bytes] = track
            else:
                self._take_note(track, item, stamp, now)
            if self._open_bytes >= self._options.commit_bytes:
                self._close_commit(now)

    def commit(self, now: Now) -> None:
        """Close the commit and make it, and everything that waits, durable. Never raises OSError: trouble is told."""
        self._state_crash_gaps(now)
        self._close_commit(now)
        if self._backlog and now.mono_us >= self._next_probe_us:
            self._write_backlog(now)
        self._seal_abandoned(now)
        if now.mono_us - self._last_ledger_us >= self._options.alive_us:
            self.ledger.add(LedgerKind.ALIVE, now.utc_us, {})
        self._flush_ledger(now)

    def recovered(self, runs: list[LastRun], now: Now) -> None:
        """Recovery of older segments is done: enter what it found, and state the gap it left per track."""
        for last in runs:
            for kind, body in last.records:
                self.ledger.add(kind, now.utc_us, body)
        before = self._log.previous
        crashed = [last for last in runs if before is not None and last.run == before.run and not last.clean]
        self._last_runs = [last for last in crashed if last.ends]

    def close(self, now: Now) -> list[str]:
        """Commit, seal, write the clean stop. Returns what could not be made durable, in words (empty: nothing)."""
        self._next_probe_us = self._next_seal_us = 0
        self._beside = lambda job: job()
        self.commit(now)
        lost = []
        if self._backlog:
            samples = sum(fact.samples for commit in self._backlog for fact in commit.facts.values())
            lost.append(f"{samples} samples in {len(self._backlog)} commits")
        segment, self._segment = self._segment, None
        if segment is not None:
            self._finish(segment, now)
        if not lost:
            self.ledger.add(LedgerKind.RUN_STOP, now.utc_us, {"run": run_text(self._run)})
        self._flush_ledger(now)
        if self.ledger.pending:
            lost.append(f"{self.ledger.pending} ledger records")
        self.ledger.close()
        return lost

    # -- collecting -----------------------------------------------------------------------------------------------

    def track_state(self, spec: TrackSpec, names: Names) -> TrackState:
        """The writer's state of a track; made on the caller's thread, used by the writer thread."""
        return self._tracks.setdefault(spec.track, TrackState(spec, names))

    def _take_note(self, track: TrackState, item: Item, stamp: Stamp, now: Now) -> None:
        name = str(track.spec.track)
        if isinstance(item, ConfigItem):
            set_config(track, item.config)
        elif isinstance(item, TrackItem):
            track.names, track.config_chunk = item.names, None
            body = {**encode_spec(track.spec), "names": encode_names(item.names)}
            self.ledger.add(LedgerKind.TRACK, now.utc_us, body)
        elif isinstance(item, CoverItem):
            body = {"track": name, "time_us": item.time_us, **encode_cause(item.cause)}
            self.ledger.add(LedgerKind.COVER, now.utc_us, body)
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
        cause = encode_cause(gap.cause)
        body = {"track": str(track.spec.track), "start_us": gap.start_us, "end_us": gap.end_us, **cause}
        self.ledger.add(LedgerKind.GAP, now.utc_us, body)

    def _state_crash_gaps(self, now: Now) -> None:
        """GAP(crash) and LINK of each track that the last run left behind and this run has met again."""
        stamp = Stamp(self._run, self._epoch, now.clock_run)
        for last in self._last_runs:
            for track_id in list(last.ends):
                track = self._tracks.get(track_id)
                if track is None or track.first_recv_us == NO_TIME:
                    continue
                end_us, next_seq = last.ends.pop(track_id)
                if track.first_recv_us > end_us:
                    cause = Cause(State.SERVER_DOWN, "crash", {"run": run_text(last.run)})
                    self._gap(track, GapItem(end_us, track.first_recv_us, cause), stamp, now)
                body = {
                    "track": str(track_id), "from_run": run_text(last.run), "next_seq": next_seq,
                    "to_run": run_text(self._run),
                }  # fmt: skip
                self.ledger.add(LedgerKind.LINK, now.utc_us, body)

    # -- commits --------------------------------------------------------------------------------------------------

    def _close_commit(self, now: Now) -> None:
        """`build` and `seal_chunks`: close all open chunks; the commit waits in the backlog for its sync."""
        if not self._touched:
            return
        self._fs.point("build")
        commit = PendingCommit([], self._touched, now.utc_us)
        self._touched, self._open_bytes = {}, 0
        for track in commit.tracks.values():
            close_open(track)
            track.intra_key_done = False
            sealed, track.sealed = track.sealed, []
            commit.chunks += sealed
            if sealed:
                commit.facts[track.spec.track] = _fact(sealed)
        self._fs.point("seal_chunks")
        if commit.chunks:
            self._backlog.append(commit)

    def _write_backlog(self, now: Now) -> None:
        for last_try in (False, True):
            try:
                self._write_once(now)
            except (OSError, StorageMissing) as error:
                self._give_up_segment(error, now, tell=not (self.failed or last_try))
                if last_try:
                    self.failed = True
                    self._next_probe_us = now.mono_us + self._options.probe_us
            else:
                break
        else:
            return
        self._no_space = False
        if self.failed:
            self.failed, self._next_probe_us = False, 0
            self._trouble("storage-recovered", {}, now)

    def _write_once(self, now: Now) -> None:
        """`append`, `directory`, `sync`, `publish` for everything in the backlog, in one segment."""
        if not self._log.still_there():
            raise StorageMissing(f"{self._log.folder} was unmounted; mount it again", path=str(self._log.folder))
        segment = self._writable_segment(now)
        written: list[tuple[PendingCommit, int]] = []
        supersedes = list(self._supersedes)
        for commit in self._backlog:
            number = self._append(segment, commit, supersedes.pop(0) if supersedes else None)
            written.append((commit, number))
        while supersedes:  # one block names one: further ones go into blocks without chunks
            self._append(segment, PendingCommit([], {}, now.utc_us), supersedes.pop(0))
        segment.sync()
        self._durable = (self._epoch, self._counter - 1)
        segment.publish()
        self._supersedes.clear()
        self._backlog.clear()
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
        segment.append(Batch(commit.chunks, commit.tracks), stamp)
        return number

    def _give_up_segment(self, error: Exception, now: Now, *, tell: bool) -> None:
        """A failed write or sync is final for the file: its unsynced commits will be superseded elsewhere."""
        number = getattr(error, "errno", None)
        params: dict[str, object] = {"errno": number, "text": str(error), "path": str(self._log.folder)}
        self._no_space = number in NO_SPACE
        segment, self._segment = self._segment, None
        if segment is not None:
            params["segment"] = segment.path.name
            first = segment.first_staged
            if first is not None:
                self._supersedes.append(supersedes_of(segment, first))
                body = {"segment": str(segment.index.header.segment), "from_commit": list(first)}
                self.ledger.add(LedgerKind.POISONED, now.utc_us, body)
            if segment.has_durable:
                self._abandon(segment, error)
            else:
                self._drop_live(segment.live)
                segment.discard()
        if tell:
            self._trouble("storage-error", params, now)

    # -- segments -------------------------------------------------------------------------------------------------

    def _writable_segment(self, now: Now) -> SegmentWriter:
        segment = self._segment
        if segment is None:
            return self._create_segment(now)
        age = now.mono_us - self._segment_since_us
        due = age >= self._options.segment_us or segment.end >= self._options.segment_limit
        if not due or now.mono_us < self._next_roll_us:
            return segment
        try:
            fresh = self._create_segment(now)
        except OSError as error:
            # The present segment still takes writes; keep to it and try again soon.
            self._next_roll_us = now.mono_us + ROLL_RETRY_US
            self._segment = segment
            if "segment-not-created" not in self._degraded:
                self._degraded.add("segment-not-created")
                self._trouble("segment-not-created", {"errno": error.errno, "text": str(error)}, now)
            return segment
        self._beside(lambda: self._finish(segment, now))
        return fresh

    def _create_segment(self, now: Now) -> SegmentWriter:
        self._check_room()
        name = segment_name(now.utc_us, self._epoch, self._segment_number)
        header = SegmentHeader(
            segment=uuid.uuid4(),
            log=self._log.identity.log,
            volume=self._log.identity.volume,
            server=self._server,
            run=self._run,
            epoch=self._epoch,
            number=self._segment_number,
            created_us=now.utc_us,
        )
        path = self._log.folder / (name + OPEN_SUFFIX)
        segment = SegmentWriter.create(self._fs, path, header, self._options.segment_limit)
        self._segment_number += 1
        self._segment, self._segment_since_us, self._next_roll_us = segment, now.mono_us, 0
        self._over("segment-not-created")
        with self._live_lock:
            self._live = (*self._live, segment.live)
        body = {"segment": str(header.segment), "name": name, "number": header.number}
        self.ledger.add(LedgerKind.SEGMENT_BIRTH, now.utc_us, body)
        return segment

    def _finish(self, segment: SegmentWriter, now: Now) -> None:
        """Seal a segment that gets no more commits; called beside the writer, or by `close`."""
        if not segment.has_durable:
            self._drop_live(segment.live)
            segment.discard()
            return
        try:
            path, head = segment.seal()
            self._fs.point("seal_ledger")
        except OSError as error:
            self._abandon(segment, error)
            self._events.trouble("seal-failed", {"path": str(segment.path), "text": str(error)})
            return
        self._sealed(segment, path, head, now)

    def _sealed(self, segment: SegmentWriter, path: Path, head: FooterHead, now: Now) -> None:
        status = self._fs.stat(path)
        name = str(path.relative_to(self._log.folder))
        body = seal_record(head, name, status.size if status else 0)
        self.ledger.add(LedgerKind.SEGMENT_SEAL, now.utc_us, body)
        self._events.sealed(path)
        self._drop_live(segment.live)

    def _check_room(self) -> None:
        """After the disk was full: no new file before there is room for all that waits."""
        if self._no_space:
            need = sum(fact.bytes for commit in self._backlog for fact in commit.facts.values()) + ROOM_BYTES
            free = self._fs.free_bytes(self._log.root)[0]
            if free < need:
                raise OSError(errno.ENOSPC, f"no space left: {free} bytes free, {need} needed", str(self._log.folder))

    def _abandon(self, segment: SegmentWriter, error: Exception) -> None:
        """Close a segment that stays readable up to its last durable commit. Recovery seals it at the next start; one
        that only lacked room is sealed as soon as there is some."""
        segment.close()
        if getattr(error, "errno", None) in NO_SPACE:
            with self._live_lock:
                self._abandoned.append(segment)

    def _seal_abandoned(self, now: Now) -> None:
        """Even while the storage fails: what this gives back, and what retention may then remove, can be its cure."""
        if not self._abandoned or now.mono_us < self._next_seal_us:
            return
        self._next_seal_us = now.mono_us + SEAL_RETRY_US
        with self._live_lock:
            segments, self._abandoned = self._abandoned, []

        def seal() -> None:
            for segment in segments:
                try:
                    path, head = segment.seal_abandoned()
                    self._fs.point("seal_ledger")
                except OSError as error:
                    self._abandon(segment, error)
                else:
                    self._sealed(segment, path, head, now)

        self._beside(seal)

    def _drop_live(self, gone: LiveSegment) -> None:
        with self._live_lock:
            self._live = tuple(live for live in self._live if live is not gone)

    # -- ledger and alarms ----------------------------------------------------------------------------------------

    def _flush_ledger(self, now: Now) -> None:
        if not self.ledger.pending:
            return
        try:
            self.ledger.flush(now.utc_us)
        except OSError as error:
            if "ledger-error" not in self._degraded and not self.failed:
                self._degraded.add("ledger-error")
                folder = str(self._log.ledger_folder)
                self._events.trouble("ledger-error", {"errno": error.errno, "text": str(error), "path": folder})
        else:
            self._over("ledger-error")
            self._last_ledger_us = now.mono_us

    def _over(self, code: str) -> None:
        if code in self._degraded:
            self._degraded.remove(code)
            self._events.trouble("storage-recovered", {"of": code})

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
