"""A log taken from under its writer and given back, and tracks that go from one writer to another.

Law: acts on a `LogWriter` between two of its commands; no thread, no clock, no policy (the store's life decides when).
Letting go closes every file the writer holds and changes nothing on the volume: what is there may be another disk by
now. The writer goes on in memory: what is not durable waits as the commits it was closed in, and is written with the
same bytes into the log that comes back, or, handed over, into another log of the process: run and sequence numbers go
on. A `TrackState` belongs to one writer at a time.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mediadb.errors import StorageMissing
from mediadb.format.block import Supersedes
from mediadb.format.constants import NO_COMMIT, NO_SEQ
from mediadb.format.ledger_page import LedgerKind
from mediadb.format.records import Record
from mediadb.locks import LogHandle
from mediadb.write.items import Now, PendingCommit
from mediadb.write.segment_chunk import TrackState, close_open

if TYPE_CHECKING:
    from mediadb.write.store import LogWriter


def let_go(writer: LogWriter) -> None:
    """Close every file of the volume. What was written and not synced was given up before: it is written again. Called
    once more behind what ran beside (a file made ahead)."""
    writer.detached = writer.failed = True
    writer._segments.let_go()
    for close in (writer.ledger.close, writer._log.close):
        with contextlib.suppress(OSError):  # a dying disk may complain even here; the descriptor is gone
            close()


def begin_without(writer: LogWriter, now: Now) -> None:
    """A writer whose log was not opened yet."""
    let_go(writer)
    writer.reason = StorageMissing.code
    writer.begin(now)


def attach(writer: LogWriter, log: LogHandle, now: Now) -> list[Supersedes]:
    """Go on in a log that was opened again. Returns what its recovery must take as void. The writer stays failed until
    a commit is durable in it. Raises OSError when a log that this run meets first does not take its first record."""
    first = not writer._log.identity.epoch
    writer._log, writer._fs = log, log.fs
    writer._epoch = log.identity.epoch
    writer._counter, writer._durable = 0, NO_COMMIT
    writer._next_probe_us = 0
    writer.ledger.move(log.fs, log.ledger_folder, log.identity.epoch)
    writer._segments.move(log)
    if first:
        writer.start(now)
    writer.detached = False
    writer.newest = None  # the new epoch says more
    if not writer._backlog:
        writer._works(now)  # its new epoch is durable there
    return list(writer._supersedes)


@dataclass(frozen=True, slots=True)
class Handover:
    """What goes from one log to another. `body` is the MOVED record of both ledgers: per track the first sequence
    number that is the other log's."""

    commits: list[PendingCommit]
    body: Record


def hand_over(writer: LogWriter, now: Now, to: str, there: Collection[uuid.UUID] = ()) -> Handover:
    """Everything that is not durable, in order, for the log of storage `to`. From here on the tracks are not this
    writer's: nothing of them may be given to it before they come home. `there`: those that did not since last time."""
    writer._close_commit(now)
    commits, writer._backlog = writer._backlog, []
    writer.lent = True
    numbers = {track: state.next_seq for track, state in list(writer._tracks.items()) if track not in there}
    for commit in reversed(commits):
        for chunk in reversed(commit.chunks):
            if chunk.header.seq != NO_SEQ:
                numbers[uuid.UUID(bytes=chunk.header.track)] = chunk.header.seq
    body = _moved(writer._log.storage, to, numbers)
    writer.ledger.add(LedgerKind.MOVED, now.utc_us, body)
    return Handover(commits, body)


def adopt(writer: LogWriter, given: Handover, now: Now) -> None:
    """Write the commits of another log's tracks here, with the bytes they were closed in."""
    writer._close_commit(now)  # what these tracks left here when they were here before comes first
    writer._backlog += given.commits
    writer.ledger.add(LedgerKind.MOVED, now.utc_us, given.body)


def take_back(writer: LogWriter, given: Handover, now: Now) -> None:
    """Whoever was to take it does not: it is this writer's as before."""
    writer._backlog[:0] = given.commits
    writer.lent = False
    body = {**given.body, "from": given.body["to"], "to": given.body["from"]}
    writer.ledger.add(LedgerKind.MOVED, now.utc_us, body)


def part(writer: LogWriter, tracks: Iterable[TrackState], to: str, now: Now) -> list[TrackState]:
    """Tracks leave this writer: what they have is closed and written here, what comes goes on with these states."""
    leaving = []
    for track in tracks:
        try:
            close_open(track)
        except Exception as error:
            writer._lose(track, 0, error, now)
        leaving.append(replace(track, open=None, sealed=[], intra_key_done=False))
    body = _moved(writer._log.storage, to, {track.spec.track: track.next_seq for track in leaving})
    writer.ledger.add(LedgerKind.MOVED, now.utc_us, body)
    return leaving


def come_home(writer: LogWriter, tracks: Iterable[TrackState], origin: str, now: Now) -> None:
    """Tracks are this writer's again."""
    numbers = {}
    for track in tracks:
        writer._tracks[track.spec.track] = track
        numbers[track.spec.track] = track.next_seq
    writer.ledger.add(LedgerKind.MOVED, now.utc_us, _moved(origin, writer._log.storage, numbers))


def _moved(origin: str, to: str, numbers: Mapping[uuid.UUID, int]) -> Record:
    return {"from": origin, "to": to, "tracks": [[str(track), seq] for track, seq in sorted(numbers.items())]}


def begins_at(writer: LogWriter, track: uuid.UUID, number: int, now: Now) -> None:
    """A track that another log of this run had before: its camera was given another storage."""
    writer.ledger.add(LedgerKind.MOVED, now.utc_us, _moved("", writer._log.storage, {track: number}))


def all_home(writer: LogWriter) -> None:
    """No track is lent any more."""
    writer.lent = False


def forgive(writer: LogWriter, now: Now) -> None:
    """There is room again, and nothing waits here to try it with: take commits as before."""
    if not writer._backlog and not writer.detached:
        writer._works(now)
