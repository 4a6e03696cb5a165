"""Retention: whole sealed segments go, oldest first, and what went stays explained.

Law: `plan` is pure (what, why, which rule, bytes). The deed is a numbered procedure: `reclaim_intent` (journal
durable) → `reclaim_ledger` (REMOVED durable) → `reclaim_unlink` → `reclaim_sync_dir` → `reclaim_done`. A crash in
between leaves the footage whole, or gone and explained; `repeat_unfinished` at start goes on where it stopped. Runs on
the volume's thread. The open segment is never touched, and nothing here reads a clock.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from mediadb.format.ledger_page import LedgerKind
from mediadb.format.records import Record
from mediadb.fs import Fs
from mediadb.gone import GONE, INTENT, read_journal, write_done, write_intent
from mediadb.ledger import LedgerWriter
from mediadb.reclaim.facts import SegmentFact, sealed_facts
from mediadb.segment_files import OPEN, SEALED
from mediadb.types import State

RECLAIM_STEPS: Final = (
    "reclaim_intent", "reclaim_ledger", "reclaim_unlink", "reclaim_sync_dir", "reclaim_done",
)  # fmt: skip
RULE_AGE: Final = "age"
RULE_SIZE: Final = "size"
RULE_SPACE: Final = "space"
DAY_US: Final = 86_400_000_000
MIN_RESERVE_BYTES: Final = 16 << 20
MAX_RESERVE_BYTES: Final = 64 << 30
SHARE: Final = 64  # a segment is at most this part of the quota: so much is kept free ahead of need
BATCH: Final = 64  # segments removed in one step, so that commits are never kept waiting for long


@dataclass(frozen=True, slots=True)
class ReclaimOptions:
    """Limits of a storage; None = no limit. `reserve_bytes` are kept free on the file system."""

    retention_us: int | None = None
    quota_bytes: int | None = None
    reserve_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Removal:
    """One segment to go and why."""

    fact: SegmentFact
    rule: str


@dataclass(slots=True)
class Report:
    """What a step did. `short_bytes`: space still missing although nothing may go any more (an alarm). `used_bytes`:
    what the log's segments held on disk before it; `free_bytes`, `total_bytes`: of the file system."""

    removed: list[Removal] = field(default_factory=list)
    freed_bytes: int = 0
    short_bytes: int = 0
    used_bytes: int = 0
    free_bytes: int = 0
    total_bytes: int = 0
    age_held: bool = False
    errors: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Need:
    """What must go: what ended before `older_us`, and at least `over_bytes` (rule size) or `low_bytes` (rule space)."""

    older_us: int | None = None
    over_bytes: int = 0
    low_bytes: int = 0


class ClockBrake:
    """Holds back age deletion after the wall clock jumped forward by more than a day.

    A jump is UTC running ahead of the monotonic clock, or, at the start, ahead of the newest thing on the volume.
    Held until a day has passed on the monotonic clock, or the clock was set back.
    """

    def __init__(self, newest_us: int | None) -> None:
        self._newest_us = newest_us
        self._offset_us: int | None = None
        self._held_until_us: int | None = None
        self._believed_us = 0

    def held(self, now_us: int, monotonic_us: int) -> bool:
        """Tell the brake both clocks; True while age deletion must wait."""
        offset = now_us - monotonic_us
        if self._offset_us is None:
            self._offset_us = offset
            if self._newest_us is not None and now_us - self._newest_us > DAY_US:
                self._held_until_us = monotonic_us + DAY_US
                self._believed_us = self._newest_us - monotonic_us
            else:
                self._believed_us = offset
        elif self._held_until_us is None:
            if offset - self._offset_us > DAY_US:
                self._held_until_us = monotonic_us + DAY_US
                self._believed_us = self._offset_us
            self._offset_us = offset
        elif monotonic_us >= self._held_until_us or offset - self._believed_us <= DAY_US:
            self._held_until_us = None
            self._offset_us = offset
        return self._held_until_us is not None


def need_of(options: ReclaimOptions, used_bytes: int, free: tuple[int, int], now_us: int, *, age_held: bool) -> Need:
    """What the limits ask for now. `used_bytes`: of the storage on disk; `free`: (free, total) of the file system."""
    older = None
    if options.retention_us is not None and not age_held:
        older = now_us - options.retention_us
    over = 0
    if options.quota_bytes is not None:
        over = max(0, used_bytes + options.quota_bytes // SHARE - options.quota_bytes)
    reserve = options.reserve_bytes
    if reserve is None:
        reserve = max(MIN_RESERVE_BYTES, min(free[1] // SHARE, MAX_RESERVE_BYTES))
    return Need(older, over, max(0, reserve - free[0]))


def plan(facts: Iterable[SegmentFact], need: Need) -> list[Removal]:
    """Pure: which segments go, oldest first. `facts` come oldest first and are looked at only as far as needed."""
    out: list[Removal] = []
    freed = 0
    for fact in facts:
        if need.older_us is not None and fact.end_us < need.older_us:
            rule = RULE_AGE
        elif freed < need.over_bytes:
            rule = RULE_SIZE
        elif freed < need.low_bytes:
            rule = RULE_SPACE
        else:
            break
        out.append(Removal(fact, rule))
        freed += fact.disk_bytes
        if len(out) == BATCH:
            break
    return out


@dataclass(slots=True)
class Reclaimer:
    """Retention of one log: its folder and ledger, the limits, and what was learnt of its segments.

    `free_bytes` gives (free, total); `removed` is told each unlinked path (the reader forgets it).
    """

    fs: Fs
    log_folder: Path
    ledger: LedgerWriter
    options: ReclaimOptions
    free_bytes: Callable[[], tuple[int, int]]
    brake: ClockBrake
    removed: Callable[[Path], None] = lambda _: None
    _facts: dict[Path, SegmentFact] = field(default_factory=dict)

    def step(self, now_us: int, monotonic_us: int) -> Report:
        """Remove what the limits ask for, at most 64 segments. Never raises OSError: see `errors`."""
        report = Report(age_held=self.brake.held(now_us, monotonic_us))
        try:
            used = report.used_bytes = self._used_bytes()
            space = report.free_bytes, report.total_bytes = self.free_bytes()
            need = need_of(self.options, used, space, now_us, age_held=report.age_held)
            removals = plan(self._oldest(), need)
        except OSError as error:
            report.errors.append(f"{self.log_folder}: {error.strerror}")
            return report
        for removal in removals:
            try:
                self._remove(removal, now_us)
            except OSError as error:
                report.errors.append(f"{removal.fact.path}: {error.strerror}")
                return report
            report.removed.append(removal)
            report.freed_bytes += removal.fact.disk_bytes
        if len(removals) < BATCH:
            report.short_bytes = max(0, max(need.over_bytes, need.low_bytes) - report.freed_bytes)
        return report

    def repeat_unfinished(self, now_us: int) -> int:
        """At start: finish every removal whose intent is durable; returns their number. Raises OSError."""
        count = 0
        for folder in self._days():
            for name in self.fs.listdir(folder):
                path = folder / name
                if path.suffix != GONE:
                    continue
                intents = [body for body in read_journal(self.fs, path) if body.get("phase") == INTENT]
                if intents and intents[-1].get("ranges") is None:
                    self._finish(path.with_suffix(SEALED), intents[-1], now_us)
                    count += 1
                elif not intents:
                    self.fs.unlink(path)  # torn before it said anything: the segment is whole
        return count

    def _remove(self, removal: Removal, now_us: int) -> None:
        fact = removal.fact
        body = removal_record(fact, removal.rule)
        self.fs.point("reclaim_intent")
        self._intend(fact.path.with_suffix(GONE), body, now_us)
        self._finish(fact.path, body, now_us)
        self._facts.pop(fact.path, None)

    def _intend(self, journal: Path, body: Record, now_us: int) -> None:
        """On a full disk there is no room for a journal: the ledger, which has room of its own, is told durably before
        the file goes, and a crash in between leaves the footage whole."""
        try:
            write_intent(self.fs, journal, body, now_us)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            if self.fs.stat(journal) is not None and not read_journal(self.fs, journal):
                self.fs.unlink(journal)

    def _finish(self, path: Path, body: Record, now_us: int) -> None:
        """From `reclaim_ledger` on; may be repeated at any point."""
        fs, journal = self.fs, path.with_suffix(GONE)
        fs.point("reclaim_ledger")
        record = {key: value for key, value in body.items() if key != "phase"}
        self.ledger.add(LedgerKind.REMOVED, now_us, record)
        self.ledger.flush(now_us)
        fs.point("reclaim_unlink")
        if fs.stat(path) is not None:
            fs.unlink(path)
        fs.point("reclaim_sync_dir")
        fs.fsync_dir(path.parent)
        self.removed(path)
        fs.point("reclaim_done")
        if fs.stat(journal) is not None:
            write_done(fs, journal, now_us)
            fs.unlink(journal)  # the ledger has it all; a journal that comes back after a power cut is finished again
        if not fs.listdir(path.parent):
            try:
                fs.rmdir(path.parent)
            except OSError:
                pass  # a new segment was made there in between

    def _days(self) -> Iterator[Path]:
        for day in self.fs.listdir(self.log_folder):
            folder = self.log_folder / day
            status = self.fs.stat(folder)
            if status is not None and status.is_dir:
                yield folder

    def _used_bytes(self) -> int:
        total = 0
        for folder in self._days():
            for name in self.fs.listdir(folder):
                path = folder / name
                known = self._facts.get(path)
                if known is None and path.suffix in (SEALED, OPEN, GONE):
                    status = self.fs.stat(path)
                    total += status.disk_bytes if status is not None else 0
                elif known is not None:
                    total += known.disk_bytes
        return total

    def _oldest(self) -> Iterator[SegmentFact]:
        for folder in self._days():
            yield from sealed_facts(self.fs, folder, self._facts)


def removal_record(fact: SegmentFact, rule: str) -> Record:
    """Body of the intent and of the ledger's REMOVED record: tracks and their stretches of media."""
    return {
        "segment": str(fact.segment),
        "name": fact.path.with_suffix("").name,
        "state": State.DELETED.value,
        "rule": rule,
        "bytes": fact.disk_bytes,
        "tracks": [
            {"track": str(track), "spans": [list(span) for span in spans]} for track, spans in fact.load_spans().items()
        ],
    }
