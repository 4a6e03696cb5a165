"""Coverage of a track: its media and the ledger, folded into one state per instant.

Law: reads ledger files (each page once: they only grow) and hands facts to `mediadb.ledger_fold`. Decides nothing
itself. Thread-safe, blocking, for the read pool and the tools.
"""

from __future__ import annotations

import threading
import uuid
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from mediadb.errors import FormatError
from mediadb.format.ledger_page import LedgerKind, LedgerRecord, scan_pages
from mediadb.format.records import decode_cause
from mediadb.fs import Fs
from mediadb.ledger import ledger_files
from mediadb.ledger_facts import (
    FUTURE_US,
    SEGMENT_DAMAGED,
    SEGMENT_MISSING,
    FoldInput,
    MediaSpan,
    RunLife,
    Statement,
    Transition,
)
from mediadb.ledger_fold import fold
from mediadb.segment_files import SEALED
from mediadb.types import Cause, Interval, State

# Media this far outside a range may settle what holds at its edges: the next picture of the slowest camera does.
MARGIN_US: Final = 300_000_000
# Without a live store, a run still lives when its last sign of life is younger: commits come each second while
# anything records, ledger heartbeats each minute while nothing does.
ALIVE_RECORDING_US: Final = 10_000_000
ALIVE_IDLE_US: Final = 90_000_000


@dataclass(slots=True)
class TrackFacts:
    """What the ledger says of one track."""

    transitions: list[Transition] = field(default_factory=list)
    gaps: list[Statement] = field(default_factory=list)
    removed: dict[tuple[str, int], Statement] = field(default_factory=dict)  # a repeated removal says the same
    filmed: set[int] = field(default_factory=set)
    sealed: dict[str, tuple[int, int]] = field(default_factory=dict)  # extent by name of segment


@dataclass(slots=True)
class RunFacts:
    """What the ledger says of one run."""

    start_us: int
    end_us: int
    epoch: int = 0
    clean: bool = False
    started: bool = False


@dataclass(frozen=True, slots=True)
class RunEvidence:
    """A sign of life of a run outside the ledger: the wall time of its newest commit, and tracks it filmed."""

    run: int
    wall_us: int
    tracks: frozenset[uuid.UUID] = frozenset()


class LedgerFacts:
    """All ledgers of a storage in memory, brought up to date by `refresh`."""

    def __init__(self, fs: Fs, root: Path) -> None:
        self._fs, self._root = fs, root
        self._read: dict[Path, int] = {}
        self._order = 0
        self.tracks: dict[uuid.UUID, TrackFacts] = {}
        self.runs: dict[int, RunFacts] = {}
        self.segments: dict[str, int] = {}  # sealed ones: bytes by path below the log, without suffix
        self.removed: dict[str, Cause] = {}  # the rule by file name without suffix

    def refresh(self) -> None:
        """Read what was appended since the last call. Pages that do not verify are passed over."""
        for log in self._fs.listdir(self._root):
            for name in ledger_files(self._fs, self._root / log):
                self._read_on(self._root / log / name)

    def _read_on(self, path: Path) -> None:
        begin = self._read.get(path, 0)
        status = self._fs.stat(path)
        if status is None or status.size <= begin:
            return
        fd = self._fs.open_read(path)
        try:
            raw = self._fs.pread(fd, status.size - begin, begin)
        finally:
            self._fs.close(fd)
        for offset, page in scan_pages(raw):
            if page is None:
                continue
            self._alive(page.run, page.wall_us, page.epoch)
            for record in page.records:
                self._enter(record, path.parent.name)
            self._read[path] = begin + offset + page.batch_len

    def _alive(self, run: int, time_us: int, epoch: int = 0) -> RunFacts:
        facts = self.runs.get(run)
        if facts is None:
            facts = self.runs[run] = RunFacts(time_us, time_us, epoch)
        facts.end_us = max(facts.end_us, time_us)
        if not facts.started:
            facts.start_us = min(facts.start_us, time_us)
        facts.epoch = max(facts.epoch, epoch)
        return facts

    def _enter(self, record: LedgerRecord, log: str) -> None:
        self._order += 1
        body = record.body
        try:
            if record.kind == LedgerKind.RUN_START:
                self._alive(record.run, record.time_us, record.epoch).started = True
                self.runs[record.run].start_us = record.time_us
            elif record.kind == LedgerKind.RUN_STOP:
                facts = self._alive(record.run, record.time_us, record.epoch)
                facts.clean, facts.end_us = True, record.time_us
            elif record.kind == LedgerKind.COVER:
                track = self._track(body["track"])
                track.transitions.append(Transition(int(body["time_us"]), decode_cause(body), record.run, self._order))
            elif record.kind == LedgerKind.GAP:
                self._track(body["track"]).gaps.append(
                    Statement(int(body["start_us"]), int(body["end_us"]), _gap_cause(body), self._order)
                )
            elif record.kind in (LedgerKind.REMOVED, LedgerKind.GROOMED):
                self._removed(body)
                if record.kind == LedgerKind.REMOVED and "name" in body:
                    self.removed[f"{log}/{body['name']}"] = _rule(body)
            elif record.kind == LedgerKind.SEGMENT_SEAL:
                self._sealed(body, log)
        except (KeyError, ValueError, TypeError, AttributeError, FormatError):
            return  # a record of a later program: it says nothing to us

    def _track(self, text: str) -> TrackFacts:
        return self.tracks.setdefault(uuid.UUID(text), TrackFacts())

    def _removed(self, body: dict[str, object]) -> None:
        cause = _rule(body)
        tracks = body["tracks"]
        assert isinstance(tracks, list)
        for entry in tracks:
            for low, high in entry["spans"]:
                key = (str(body["segment"]), int(low))
                self._track(entry["track"]).removed[key] = Statement(int(low), int(high), cause)

    def _sealed(self, body: dict[str, object], log: str) -> None:
        run = int(str(body["run"]), 16)
        self._alive(run, int(str(body["last_wall_us"])))
        tracks = body["tracks"]
        assert isinstance(tracks, list)
        name = f"{log}/{Path(str(body['name'])).with_suffix('')}"
        self.segments[name] = int(str(body["bytes"]))
        for entry in tracks:
            track = self._track(entry["track"])
            track.filmed.add(run)
            if entry["first_us"] is not None:
                track.sealed[name] = (int(entry["first_us"]), int(entry["end_us"]))

    def rule_of(self, name: str) -> Cause | None:
        """Why the sealed segment `name` was removed; None when no rule did."""
        log, _, rest = name.partition("/")
        return self.removed.get(f"{log}/{Path(rest).name}")


def _rule(body: Mapping[str, object]) -> Cause:
    return Cause(State(str(body.get("state", "deleted"))), str(body["rule"]))


def _gap_cause(body: dict[str, object]) -> Cause:
    """A gap's cause; that of a crash without naming the run, so that it joins what the runs themselves say."""
    cause = decode_cause(body)
    return Cause(cause.state, cause.reason) if cause.state is State.SERVER_DOWN else cause


class Coverage:
    """Coverage of the tracks of one storage. `live`: a store runs in this process, so its run is not over. `damaged`
    are names, below the volume, of segments that cannot be read whole."""

    margin_us: Final = MARGIN_US

    def __init__(
        self, fs: Fs, volume: Path, storage: str, now_us: Callable[[], int], live: bool, damaged: Collection[str] = ()
    ) -> None:
        self._fs, self._logs = fs, volume / "log" / storage
        self._damaged, self._prefix = damaged, f"log/{storage}/"
        self._facts = LedgerFacts(fs, volume / "ledger" / storage)
        self._now_us = now_us
        self._live = live
        self._lock = threading.Lock()

    def intervals(
        self,
        track: uuid.UUID,
        media: Sequence[MediaSpan],
        outside: Outside,
        start_us: int,
        end_us: int,
    ) -> list[Interval]:
        """States of [start_us, end_us). `media` reaches `margin_us` beyond both ends where there is any."""
        now_us = self._now_us()
        with self._lock:
            self._facts.refresh()
            facts = self._facts.tracks.get(track, TrackFacts())
            given = FoldInput(
                now_us=now_us,
                media=media,
                runs=self._lives(outside.evidence, now_us),
                transitions=tuple(facts.transitions),
                gaps=_near(facts.gaps, start_us, end_us),
                removed=_near(facts.removed.values(), start_us, end_us),
                lost=self._lost(facts, media, start_us, end_us),
                tolerance_us=outside.tolerance_us,
                known_since_us=min([outside.known_since_us, *_starts(facts)]),
                filmed=frozenset(facts.filmed) | _filmed(track, outside.evidence),
            )
        return fold(given, start_us, end_us)

    def _lost(self, facts: TrackFacts, media: Sequence[MediaSpan], start_us: int, end_us: int) -> list[Statement]:
        """Extents of sealed segments near the range that media does not fill, each with why."""
        there = _filled(media)
        starts = [low for low, _ in there]
        unfilled = []
        for name, (low, high) in facts.sealed.items():
            at = bisect_right(starts, low) - 1
            near = low < end_us + MARGIN_US and high > start_us - MARGIN_US
            if near and not (at >= 0 and there[at][1] >= high):
                unfilled.append((name, low, high))
        causes = {name: self._trouble(name) for name, _, _ in unfilled}
        if any(cause is not None and cause.state is State.STORAGE_ERROR for cause in causes.values()):
            self._facts.refresh()  # removed by a rule since the ledger was read?
            causes = {name: self._trouble(name) for name in causes}
        return [Statement(low, high, cause) for name, low, high in unfilled if (cause := causes[name]) is not None]

    def _trouble(self, name: str) -> Cause | None:
        """Why a sealed segment is not there whole; None when its file has the length it was sealed with."""
        rule = self._facts.rule_of(name)
        if rule is not None:
            return rule
        status = self._fs.stat(self._logs / (name + SEALED))
        if status is None:
            return Cause(State.STORAGE_ERROR, SEGMENT_MISSING)
        whole = status.size == self._facts.segments[name] and self._prefix + name not in self._damaged
        return None if whole else Cause(State.STORAGE_ERROR, SEGMENT_DAMAGED)

    def runs(self, evidence: Sequence[RunEvidence] = ()) -> list[RunLife]:
        """All runs known, by start."""
        with self._lock:
            self._facts.refresh()
            return self._lives(evidence, self._now_us())

    def _lives(self, evidence: Sequence[RunEvidence], now_us: int) -> list[RunLife]:
        ends: dict[int, int] = {}
        for sign in evidence:
            ends[sign.run] = max(ends.get(sign.run, sign.wall_us), sign.wall_us)
        runs: Mapping[int, RunFacts] = self._facts.runs
        lives = []
        newest = max(runs, key=lambda run: (runs[run].epoch, runs[run].start_us), default=None)
        for run, facts in runs.items():
            end: int | None = max(facts.end_us, ends.get(run, facts.end_us))
            if run == newest and not facts.clean:
                silent_us = ALIVE_RECORDING_US if run in ends else ALIVE_IDLE_US
                alive = self._live or end is None or now_us - end < silent_us
                end = None if alive else end
            lives.append(RunLife(run, facts.start_us, end, facts.clean))
        for run, wall_us in ends.items():
            if run not in runs:
                lives.append(RunLife(run, wall_us, wall_us))
        return sorted(lives, key=lambda life: (life.start_us, life.run))


@dataclass(frozen=True, slots=True)
class Outside:
    """What the index knows of a track beyond the media of the range asked for."""

    tolerance_us: int
    known_since_us: int = FUTURE_US
    evidence: Sequence[RunEvidence] = ()


def _near(statements: Iterable[Statement], start_us: int, end_us: int) -> list[Statement]:
    low, high = start_us - MARGIN_US, end_us + MARGIN_US
    return [s for s in statements if s.start_us < high and s.end_us > low]


def _filled(media: Iterable[MediaSpan]) -> list[tuple[int, int]]:
    out: list[tuple[int, int]] = []
    for low, high in sorted((span.start_us, span.end_us) for span in media if not span.lane):
        if out and low <= out[-1][1]:
            out[-1] = (out[-1][0], max(high, out[-1][1]))
        else:
            out.append((low, high))
    return out


def _starts(facts: TrackFacts) -> list[int]:
    """Earliest statements of a track, cut or not."""
    starts = [min(t.time_us for t in facts.transitions)] if facts.transitions else []
    starts += [min(g.start_us for g in facts.gaps)] if facts.gaps else []
    starts += [min(r.start_us for r in facts.removed.values())] if facts.removed else []
    starts += [min(low for low, _ in facts.sealed.values())] if facts.sealed else []
    return starts


def _filmed(track: uuid.UUID, evidence: Sequence[RunEvidence]) -> frozenset[int]:
    return frozenset(sign.run for sign in evidence if track in sign.tracks)
