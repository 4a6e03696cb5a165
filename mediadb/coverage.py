"""Coverage of a track: its media and the ledger, folded into one state per instant.

Law: picks what the ledger says of a track and a range and hands it to `mediadb.ledger_fold`; looks whether sealed
segments are still there. Decides nothing itself. Thread-safe, blocking, for the read pool and the tools.
"""

from __future__ import annotations

import threading
import uuid
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mediadb.fs import Fs
from mediadb.ledger_book import Damage, LedgerFacts, RunFacts, TrackFacts, month_of
from mediadb.ledger_facts import (
    FUTURE_US,
    SEGMENT_DAMAGED,
    SEGMENT_MISSING,
    STORAGE_MISSING,
    FoldInput,
    MediaSpan,
    RunLife,
    Statement,
)
from mediadb.ledger_fold import IN_FUTURE, fold
from mediadb.segment_files import SEALED
from mediadb.types import Cause, Interval, Names, State, TrackSpec

# Media this far outside a range may settle what holds at its edges: the next picture of the slowest camera does.
MARGIN_US: Final = 300_000_000
# Without a live store, a run still lives when its last sign of life is younger: commits come each second while
# anything records, ledger heartbeats each minute while nothing does.
ALIVE_RECORDING_US: Final = 10_000_000
ALIVE_IDLE_US: Final = 90_000_000
RECENT_US: Final = 40 * 86_400_000_000  # of the ledger are in memory until somebody asks further back
LOSSES_TOLD: Final = 100  # more are counted only
Told = Callable[[str, dict[str, object]], None]


@dataclass(frozen=True, slots=True)
class RunEvidence:
    """A sign of life of a run outside the ledger: the wall time of its newest commit, and tracks it filmed."""

    run: int
    wall_us: int
    tracks: frozenset[uuid.UUID] = frozenset()


class Coverage:
    """Coverage of the tracks of one storage. `live`: a store runs in this process, so its run is not over. `damaged`
    are names, below the volume, of segments that cannot be read whole. `told` hears of lost ones, once each."""

    margin_us: Final = MARGIN_US

    def __init__(
        self,
        fs: Fs,
        volume: Path,
        storage: str,
        now_us: Callable[[], int],
        live: bool,
        damaged: Collection[str] = (),
        told: Told | None = None,
    ) -> None:
        self._fs, self._logs = fs, volume / "log" / storage
        self._damaged, self._prefix = damaged, f"log/{storage}/"
        self._ledger = volume / "ledger" / storage
        self._facts = LedgerFacts(fs, self._ledger, month_of(now_us() - RECENT_US))
        self._now_us = now_us
        self._live = live
        self._lock = threading.Lock()
        self._told = told
        self.lost_segments: dict[str, str] = {}  # sealed, removed by no rule, and not there whole: the reason
        self.damaged_chunks = self._facts.damaged_chunks  # (segment, offset) of chunks that do not verify

    def found(self, track: uuid.UUID, damage: Damage) -> None:
        """A chunk did not verify just now."""
        with self._lock:
            self._facts.damage(track, damage)

    def healed(self, track: uuid.UUID, name: str, offset: int) -> None:
        """It verifies again."""
        with self._lock:
            self._facts.heal(track, name, offset)

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
            if not self._facts.decides(track, outside.known_since_us, _told_from(media, start_us) - MARGIN_US):
                self._read_all()
            facts = self._facts.facts_of(track)
            first_us = _told_from(media, start_us)
            low_us, high_us = first_us - MARGIN_US, end_us + MARGIN_US
            given = FoldInput(
                now_us=now_us,
                media=media,
                runs=self._lives(outside.evidence, now_us),
                transitions=facts.transitions.near(low_us, high_us),
                gaps=facts.gaps.near(low_us, high_us),
                removed=[*facts.removed.near(low_us, high_us), *(s for one in outside.beside for s in one.removed)],
                lost=[*self._lost(facts, media, first_us, end_us), *(s for one in outside.beside for s in one.lost)],
                damaged=[*self._damage(facts, first_us, end_us), *(s for one in outside.beside for s in one.damaged)],
                troubles=self._troubles(first_us, end_us),
                tolerance_us=outside.tolerance_us,
                known_since_us=min(outside.known_since_us, facts.first_us),
                filmed=frozenset(facts.filmed) | _filmed(track, outside.evidence),
            )
        return fold(given, start_us, end_us)

    def held(self, track: uuid.UUID, media: Sequence[MediaSpan], start_us: int, end_us: int) -> Held:
        """For the coverage of another storage whose footage was written here for a while. `media` as in `intervals`."""
        with self._lock:
            self._facts.refresh()
            start_us = _told_from(media, start_us)
            if month_of(start_us - MARGIN_US) < self._facts.since:
                self._read_all()
            facts = self._facts.facts_of(track)
            removed = facts.removed.near(start_us - MARGIN_US, end_us + MARGIN_US)
            return Held(removed, self._lost(facts, media, start_us, end_us), self._damage(facts, start_us, end_us))

    def _read_all(self) -> None:
        """Earlier months too: from now on everything is in memory."""
        before = self._facts
        if not before.since:
            return
        facts = self._facts = LedgerFacts(self._fs, self._ledger)
        facts.refresh()
        for track, known in before.tracks.items():
            for damage in known.damaged.values():
                facts.damage(track, damage)  # also what no ledger was told of
        self.damaged_chunks.update(facts.damaged_chunks)
        facts.damaged_chunks = self.damaged_chunks

    def _damage(self, facts: TrackFacts, start_us: int, end_us: int) -> list[Statement]:
        """Chunks in the range that do not verify."""
        return [d.statement for d in facts.damaged.values() if d.start_us < end_us and d.end_us > start_us]

    def _troubles(self, start_us: int, end_us: int) -> list[Statement]:
        """Times near the range in which the storage took nothing."""
        found = [
            Statement(start, max(facts.end_us, start + 1) if end is None else end, Cause(State.STORAGE_ERROR, reason))
            for facts in self._facts.runs.values()
            for start, end, reason in (*facts.troubles, *facts.stalls)
        ]
        return _near(found, start_us, end_us)

    def _lost(self, facts: TrackFacts, media: Sequence[MediaSpan], start_us: int, end_us: int) -> list[Statement]:
        """Extents of sealed segments near the range that media does not fill, each with why."""
        there = _filled(media)
        starts = [low for low, _ in there]
        unfilled = []
        for number, low, high in facts.sealed:
            at = bisect_right(starts, low) - 1
            near = low < end_us + MARGIN_US and high > start_us - MARGIN_US
            if near and not (at >= 0 and there[at][1] >= high):
                unfilled.append((number, low, high))
        causes = {number: self._trouble(number) for number, _, _ in unfilled}
        if any(cause is not None and cause.state is State.STORAGE_ERROR for cause in causes.values()):
            self._facts.refresh()  # removed by a rule since the ledger was read?
            causes = {number: self._trouble(number) for number in causes}
            self._note_lost(causes)
        past = facts.past.near(start_us - MARGIN_US, end_us + MARGIN_US)
        return past + [
            Statement(low, high, why) for number, low, high in unfilled if (why := causes[number]) is not None
        ]

    def patrol(self) -> int:
        """Look for every sealed segment that should be there; returns how many are lost. Those are told once each."""
        with self._lock:
            self._facts.refresh()
            wanted = self._facts.there()
        causes = {}
        for number in wanted:
            cause = self._trouble(number)
            if cause is not None or self._facts.segments[number] in self.lost_segments:
                causes[number] = cause
        with self._lock:
            self._facts.refresh()  # removed by a rule since?
            self._note_lost({one: cause if cause is None else self._trouble(one) for one, cause in causes.items()})
            looked_at = {self._facts.segments[number] for number in causes}
            for name in [name for name in self.lost_segments if name not in looked_at]:
                del self.lost_segments[name]
        return len(self.lost_segments)

    def _note_lost(self, causes: Mapping[int, Cause | None]) -> None:
        """Count and tell. A volume that is away as a whole lost no segment."""
        if self._fs.stat(self._logs) is None:
            return
        for number, cause in causes.items():
            name = self._facts.segments[number]
            if cause is None or cause.state is not State.STORAGE_ERROR:
                self.lost_segments.pop(name, None)
            elif name not in self.lost_segments:
                self.lost_segments[name] = cause.reason
                if self._told is not None and len(self.lost_segments) <= LOSSES_TOLD:
                    self._told(cause.reason, {"segment": self._prefix + name, **self._when(number)})

    def _when(self, number: int) -> dict[str, object]:
        """From when to when a segment has footage."""
        tracks = self._facts.tracks.values()
        extents = [(low, high) for track in tracks for one, low, high in track.sealed if one == number]
        return {"start_us": min(e[0] for e in extents), "end_us": max(e[1] for e in extents)} if extents else {}

    def _trouble(self, number: int) -> Cause | None:
        """Why a sealed segment is not there whole; None when its file has the length it was sealed with and nothing was
        lost before that, and of one that was put away (`past` tells of it)."""
        rule, name = self._facts.rule_of(number), self._facts.segments[number]
        if rule is not None or not name:
            return rule
        status = self._fs.stat(self._logs / (name + SEALED))
        if status is None:
            return Cause(State.STORAGE_ERROR, SEGMENT_MISSING)
        whole = status.size == self._facts.sizes.get(number) and number not in self._facts.short
        whole = whole and self._prefix + name not in self._damaged
        return None if whole else Cause(State.STORAGE_ERROR, SEGMENT_DAMAGED)

    def runs(self, evidence: Sequence[RunEvidence] = (), run: int | None = None) -> list[RunLife]:
        """Runs by start: those of the last months and, when `run` is not one of them, all."""
        with self._lock:
            self._facts.refresh()
            if run is not None and run not in self._facts.runs:
                self._read_all()
            return self._lives(evidence, self._now_us())

    def known(self) -> dict[uuid.UUID, tuple[TrackSpec, Names]]:
        """Every track the ledger names, with footage or without."""
        with self._lock:
            self._read_all()
            self._facts.refresh()
            return dict(self._facts.known)

    def troubles(self, start_us: int, end_us: int) -> dict[str, int]:
        """How often the storage said which trouble in a range."""
        with self._lock:
            if month_of(start_us) < self._facts.since:
                self._read_all()
            self._facts.refresh()
            return dict(Counter(code for time_us, code in self._facts.troubles if start_us <= time_us < end_us))

    def _lives(self, evidence: Sequence[RunEvidence], now_us: int) -> list[RunLife]:
        ends: dict[int, int] = {}
        for sign in evidence:
            ends[sign.run] = max(ends.get(sign.run, sign.wall_us), sign.wall_us)
        runs: Mapping[int, RunFacts] = self._facts.runs
        lives = []
        newest = max(runs, key=lambda run: (runs[run].epoch, runs[run].start_us), default=None)
        for run, facts in runs.items():
            sign_us = ends.get(run, facts.end_us)
            if facts.steps and sign_us > facts.end_us + ALIVE_IDLE_US:
                sign_us = facts.end_us  # of a segment from before the clock was set
            end: int | None = max(facts.end_us, sign_us)
            if run == newest and not facts.clean:
                silent_us = ALIVE_RECORDING_US if run in ends else ALIVE_IDLE_US
                alive = self._live or end is None or abs(now_us - end) < silent_us
                end = None if alive else end
            lives.append(RunLife(run, facts.start_us, end, facts.clean, tuple(facts.steps)))
        for run, wall_us in ends.items():
            if run not in runs:
                lives.append(RunLife(run, wall_us, wall_us))
        return sorted(lives, key=lambda life: (life.start_us, life.run))


@dataclass(frozen=True, slots=True)
class Held:
    """What a storage says of footage that it held: taken by a rule, lost with its segment, damaged."""

    removed: Sequence[Statement] = ()
    lost: Sequence[Statement] = ()
    damaged: Sequence[Statement] = ()


@dataclass(frozen=True, slots=True)
class Outside:
    """What the index knows of a track beyond the media of the range asked for. `beside`: of storages that stood in; the
    words of this one's ledger about that time are of a disk that could not be written."""

    tolerance_us: int
    known_since_us: int = FUTURE_US
    evidence: Sequence[RunEvidence] = ()
    beside: Sequence[Held] = ()


def unseen(storage: str, start_us: int, end_us: int, now_us: int) -> list[Interval]:
    """Coverage of a track whose storage is not there: what its footage and its ledger say cannot be seen now."""
    border_us = max(start_us, min(end_us, now_us))
    missing = Cause(State.STORAGE_ERROR, STORAGE_MISSING, {"storage": storage})
    both = (Interval(start_us, border_us, missing), Interval(border_us, end_us, IN_FUTURE))
    return [one for one in both if one.start_us < one.end_us]


def _near(statements: Iterable[Statement], start_us: int, end_us: int) -> list[Statement]:
    low, high = start_us - MARGIN_US, end_us + MARGIN_US
    return [s for s in statements if s.start_us < high and s.end_us > low]


def _told_from(media: Iterable[MediaSpan], start_us: int) -> int:
    """From when on statements decide a range that begins at `start_us`: pictures that reach into it and cannot be shown
    have the cause of what was before the first of them."""
    return min((span.start_us for span in media if span.start_us < start_us < span.shown_us), default=start_us)


def _filled(media: Iterable[MediaSpan]) -> list[tuple[int, int]]:
    out: list[tuple[int, int]] = []
    for low, high in sorted((span.start_us, span.end_us) for span in media if not span.lane):
        if out and low <= out[-1][1]:
            out[-1] = (out[-1][0], max(high, out[-1][1]))
        else:
            out.append((low, high))
    return out


def _filmed(track: uuid.UUID, evidence: Sequence[RunEvidence]) -> frozenset[int]:
    return frozenset(sign.run for sign in evidence if track in sign.tracks)
