"""What the ledger of a log says of earlier runs: which began, which stopped, where their tracks ended.

Law: reads only. A run that began and never stopped was interrupted; of each track it left behind exactly one later run
says so in the ledger. Which of them are still owed is decided here, by the ledger alone and not by who ran last: a run
may have been killed, or its volume lost, before it could say it. Used by `mediadb.write.recover`.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from mediadb.errors import FormatError
from mediadb.format.block import Commit
from mediadb.format.constants import NO_COMMIT, NO_TIME
from mediadb.format.footer import TrackSummary
from mediadb.format.ledger_page import LedgerKind, LedgerRecord
from mediadb.format.records import Record, run_text
from mediadb.ledger import read_ledger
from mediadb.locks import LogHandle
from mediadb.types import State
from mediadb.waiting import unwrap

Ends = dict[uuid.UUID, tuple[int, int]]  # by track: end of media (recorder UTC, NO_TIME without any), next number
RunTrack = tuple[str, str]


@dataclass(frozen=True, slots=True)
class LeftBehind:
    """A track that broke off with `run`, which no run said yet. `until_us`: when the next run had it again, or began
    without it; None while the present run is that one. `to_run`: whose footage follows, None: nobody's so far. `due`:
    it was to be recorded, so there is a gap to state."""

    run: int
    track: uuid.UUID
    end_us: int
    next_seq: int
    until_us: int | None
    to_run: int | None
    due: bool


@dataclass(slots=True)
class RunEnds:
    """Footage of one run: where each track ends, and where it begins when it is there from its first number on."""

    ends: Ends = field(default_factory=dict)
    firsts: dict[uuid.UUID, int] = field(default_factory=dict)

    def has(self, track: uuid.UUID) -> bool:
        """Is there media of it?"""
        return self.ends.get(track, (NO_TIME, 0))[0] != NO_TIME

    def note(self, track: uuid.UUID, first: tuple[int, int], end_us: int, next_seq: int) -> None:
        """A segment has the track from `first` (number, time) on. One of statements alone (no times) leaves the end
        of media where it was."""
        known_us, known_seq = self.ends.get(track, (NO_TIME, -1))
        if next_seq > known_seq:
            self.ends[track] = (known_us if end_us == NO_TIME else end_us, next_seq)
        if first[0] == 0 and first[1] != NO_TIME:
            self.firsts[track] = first[1]

    def note_summary(self, track: TrackSummary) -> None:
        """As a segment's footer says it."""
        self.note(track.track, (track.first_seq, track.first_us), track.end_us, track.next_seq)


@dataclass(slots=True)
class KnownRuns:
    """Everything the ledger says of earlier runs and their segments. Runs and tracks as the ledger writes them."""

    sealed: set[str] = field(default_factory=set)  # segment UUIDs with a SEGMENT_SEAL
    names: set[str] = field(default_factory=set)  # the same by name
    begun: dict[str, tuple[int, int]] = field(default_factory=dict)  # run: first epoch, when
    stopped: set[str] = field(default_factory=set)  # runs with a clean stop
    footage: dict[str, RunEnds] = field(default_factory=dict)  # by run
    commits: list[tuple[int, int, int]] = field(default_factory=list)  # sealed: epoch, first and last counter
    poisoned: list[tuple[uuid.UUID, Commit]] = field(default_factory=list)  # given up from that commit on
    said: set[RunTrack] = field(default_factory=set)  # the gap behind it, or who goes on, is in the ledger
    elsewhere: set[RunTrack] = field(default_factory=set)  # at its end another storage wrote it
    idle: set[RunTrack] = field(default_factory=set)  # at its end nobody asked for footage
    since: str = ""  # the month from which on it was read
    whole: bool = True  # False: not all of that could be read

    def of(self, run: str) -> RunEnds:
        """Footage of a run, as known so far."""
        return self.footage.setdefault(run, RunEnds())

    def add_footage(self, found: dict[str, RunEnds]) -> None:
        """What segments said meanwhile."""
        for run, ends in found.items():
            for track, (end_us, next_seq) in ends.ends.items():
                self.of(run).note(track, (0, ends.firsts.get(track, NO_TIME)), end_us, next_seq)

    def left_behind(self, ours: str) -> Iterator[LeftBehind]:
        """What no run said yet of those that were interrupted before the run `ours`, oldest first. Nothing while the
        ledger cannot be read: a stop may stand there, or that it was said."""
        if not self.whole:
            return
        order = sorted(self.begun, key=lambda run: self.begun[run][0])
        order = order[: order.index(ours) + 1] if ours in order else order
        for at, run in enumerate(order):
            if run == ours or run in self.stopped:
                continue
            later = order[at + 1 :]
            for track, (end_us, next_seq) in self.of(run).ends.items():
                key = run, str(track)
                if end_us == NO_TIME or key in self.said or key in self.elsewhere:
                    continue  # without media nothing ended
                heir = next((other for other in later if other != ours and self.of(other).has(track)), None)
                until_us = self._until(later[0] if later else ours, ours, track)
                to_run = None if heir is None else int(heir, 16)
                yield LeftBehind(int(run, 16), track, end_us, next_seq, until_us, to_run, key not in self.idle)

    def _until(self, following: str, ours: str, track: uuid.UUID) -> int | None:
        if following == ours:
            return None
        return self.of(following).firsts.get(track, self.begun[following][1])

    def owes(self, ours: str) -> bool:
        """Is a gap to be stated that no run stated yet?"""
        return any(
            left.due and (left.until_us is None or left.until_us > left.end_us) for left in self.left_behind(ours)
        )


def known_runs(log: LogHandle, since: str, told: Callable[[Exception], None]) -> KnownRuns:
    """Read the ledger of `log` from the month `since` on ("": all of it). A record that cannot be understood is passed
    over; `told` hears once of such, and of a ledger that cannot be read further."""
    known = KnownRuns(since=since)
    wrong: Exception | None = None
    try:
        for record in read_ledger(log.fs, log.ledger_folder, since=since):
            try:
                _enter(known, unwrap(record), log.storage)
            except (FormatError, KeyError, ValueError, TypeError) as error:
                wrong = wrong or error
    except (OSError, FormatError) as error:
        wrong, known.whole = error, False
    if wrong is not None:
        told(wrong)
    return known


def _enter(known: KnownRuns, record: LedgerRecord, storage: str) -> None:
    body = record.body
    if record.kind == LedgerKind.RUN_START:
        begun = int(body["epoch"]), record.time_us
        run = str(body["run"])
        known.begun[run] = min(known.begun.get(run, begun), begun)
    elif record.kind == LedgerKind.RUN_STOP:
        known.stopped.add(str(body.get("run")))
    elif record.kind == LedgerKind.SEGMENT_SEAL:
        _enter_seal(known, body)
    elif record.kind == LedgerKind.POISONED:
        epoch, counter = body["from_commit"]
        known.poisoned.append((uuid.UUID(body["segment"]), (int(epoch), int(counter))))
    elif record.kind == LedgerKind.LINK:
        known.said.add((str(body["from_run"]), str(body["track"])))
    elif record.kind == LedgerKind.GAP and body.get("state") == State.SERVER_DOWN:
        known.said.add((str((body.get("params") or {}).get("run")), str(body["track"])))
    elif record.kind == LedgerKind.COVER:
        word = run_text(record.run), str(body["track"])
        (known.idle.add if body["state"] == State.NOT_SCHEDULED else known.idle.discard)(word)
    elif record.kind == LedgerKind.MOVED:
        move = known.elsewhere.discard if body["to"] == storage else known.elsewhere.add
        for track, _ in body["tracks"]:
            move((run_text(record.run), str(track)))


def _enter_seal(known: KnownRuns, body: Record) -> None:
    known.sealed.add(str(body.get("segment")))
    known.names.add(str(body.get("name")))
    known.commits += _commit_range(body)
    footage = known.of(str(body.get("run")))
    for track in body.get("tracks", []):
        none = track.get("end_us") is None
        first_us, end_us = (NO_TIME, NO_TIME) if none else (track["first_us"], track["end_us"])
        footage.note(uuid.UUID(track["track"]), (track["first_seq"], first_us), end_us, track["next_seq"])


def _commit_range(body: Record) -> list[tuple[int, int, int]]:
    first, last = body.get("first_commit"), body.get("last_commit")
    if not first or not last or tuple(first) == NO_COMMIT:
        return []
    return [(first[0], first[1], last[1])]
