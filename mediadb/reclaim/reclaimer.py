"""Retention carried out: segments go as a whole or track by track, oldest first, and what went stays explained.

Law: the deed is a numbered procedure. A whole segment: `reclaim_intent` (journal durable) → `reclaim_ledger` (REMOVED
durable) → `reclaim_unlink` → `reclaim_sync_dir` → `reclaim_done`. Tracks of a segment: `reclaim_intent` →
`reclaim_punch` for each range, `reclaim_punch_sync` (or `reclaim_rewrite`, `reclaim_rename`) → `reclaim_ledger` →
`reclaim_done`. A crash in between leaves the footage whole, or gone and explained; `repeat_unfinished` at start goes on
where it stopped. Runs on the volume's threads, one call at a time. The open segment is never touched, no clock is read.
"""

from __future__ import annotations

import errno
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from mediadb.errors import FormatError
from mediadb.format.ledger_page import LedgerKind
from mediadb.format.records import Record
from mediadb.fs import Fs
from mediadb.gone import (
    GONE,
    Range,
    ranges_in,
    read_journal,
    removed_ranges,
    removed_tracks,
    unfinished,
    write_done,
    write_intent,
)
from mediadb.ledger import LedgerWriter
from mediadb.reclaim.brake import FREE, PACED, ClockBrake, Verdict
from mediadb.reclaim.facts import Facts, Spans
from mediadb.reclaim.limits import Need, ReclaimOptions, Room, headroom, need_of
from mediadb.reclaim.plan import BATCH, RULE_AGE, Removal, plan
from mediadb.reclaim.punch import COPY, kept_bytes, punch, ranges_of, rewrite
from mediadb.segment_files import OPEN, SEALED
from mediadb.types import State

ASIDE_US: Final = 60_000_000  # a removal that failed is tried again after that: the others do not wait for it
NO_END: Final = 1 << 62
FAILURES: Final = 3  # in one step; a full disk is none, small removals go on
FEW: Final = 10  # when less than this part of a segment is wanted, the rest is copied and the file given back


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
    brake: Verdict = field(default_factory=lambda: Verdict(FREE, "", 0))
    errors: list[str] = field(default_factory=list)
    more: bool = False  # there was more to remove than one step takes

    @property
    def age_held(self) -> bool:
        return self.brake.state != FREE


@dataclass(slots=True)
class Way:
    """How bytes are given back here. `rewriting`: always by a copy; `seeks`: on a disk that seeks, by a copy when no
    more than half of the segment is wanted."""

    rewriting: bool = False
    seeks: bool = False


@dataclass(slots=True)
class Reclaimer:
    """Retention of one log: its folder and ledger, the limits, and what was learnt of its segments.

    `free_bytes` gives (free, total); `removed` is told each unlinked path and `changed` each of which tracks went.
    `open_cameras`: bytes of cameras in open segments.
    """

    fs: Fs
    log_folder: Path
    ledger: LedgerWriter
    options: ReclaimOptions
    free_bytes: Callable[[], tuple[int, int]]
    brake: ClockBrake
    removed: Callable[[Path], None] = lambda _: None
    changed: Callable[[Path], None] = lambda _: None
    open_cameras: Callable[[], Mapping[uuid.UUID, int]] = dict
    rate_bytes_s: int = 0
    way: Way = field(default_factory=Way)
    facts: Facts = field(init=False)
    _aside: dict[Path, int] = field(default_factory=dict)  # removals that failed: until when others go, monotonic

    def __post_init__(self) -> None:
        self.facts = Facts(self.fs, self.log_folder)

    def step(self, now_us: int, monotonic_us: int, ahead: int = 0) -> Report:
        """Remove what the limits ask for, in at most 64 segments; `ahead` bytes are about to be written. Never raises
        OSError: see `errors`."""
        report = Report()
        try:
            need = self.look(now_us, monotonic_us, report, ahead)
            self._aside = {path: until for path, until in self._aside.items() if monotonic_us < until}
            skipped = set(self._aside)
            removals = plan((f for f in self.facts.oldest() if f.path not in skipped), need, self.options)
        except OSError as error:
            report.errors.append(f"{self.log_folder}: {error.strerror}")
            return report
        self._carry_out(removals, now_us, monotonic_us, report)
        self._settle(report, need)
        return report

    def _carry_out(self, removals: list[Removal], now_us: int, monotonic_us: int, report: Report) -> None:
        """What fails is put aside for a while, so that no bad place of the disk stands in the way of all others."""
        failures = 0
        for removal in removals:
            try:
                self._remove(removal, now_us)
            except (OSError, FormatError) as error:
                said = error.message if isinstance(error, FormatError) else error.strerror
                report.errors.append(f"{removal.fact.path}: {said}")
                if isinstance(error, FormatError):
                    self.facts.disown(removal.fact.path)
                    continue
                self._aside[removal.fact.path] = monotonic_us + ASIDE_US
                failures += error.errno not in (errno.ENOSPC, errno.EDQUOT)
                if failures == FAILURES:
                    break
            else:
                report.removed.append(removal)
                report.freed_bytes += removal.freed_bytes

    def look(self, now_us: int, monotonic_us: int, report: Report, ahead: int = 0) -> Need:
        """What the limits ask for now, and in `report` the room there is; nothing is changed. Raises OSError."""
        options = self.options
        self.facts.use(options)
        opened = headroom(options.quota_bytes) if options.quota_bytes is not None else 0
        used = report.used_bytes = self.facts.used_bytes(opened)
        report.free_bytes, report.total_bytes = self.free_bytes()
        verdict = report.brake = self.brake.judge(now_us, monotonic_us, used)
        if options.quota_bytes is not None and verdict.quota_floor > options.quota_bytes:
            options = replace(options, quota_bytes=verdict.quota_floor)
        room = Room(used, report.free_bytes, report.total_bytes, self.rate_bytes_s, self._cameras())
        now_us, paced = verdict.now_us, verdict.age_bytes
        return need_of(options, room, now_us, age_held=paced == 0, age_bytes=paced, ahead=ahead)

    def _cameras(self) -> dict[uuid.UUID, int]:
        """Bytes of the cameras that have a limit of size."""
        opened = self.open_cameras()
        limited = (camera for camera, limits in self.options.cameras.items() if limits.max_bytes is not None)
        return {camera: self.facts.cameras.get(camera, 0) + opened.get(camera, 0) for camera in limited}

    def _settle(self, report: Report, need: Need) -> None:
        report.more = len(report.removed) >= BATCH or bool(report.errors)
        if not report.more:
            report.short_bytes = max(0, max(need.over_bytes, need.low_bytes) - report.freed_bytes)
        if report.brake.state == PACED:
            aged = sum(removal.freed_bytes for removal in report.removed if removal.rule == RULE_AGE)
            quota = self.options.quota_bytes
            shrinking = quota is not None and report.brake.quota_floor > quota
            self.brake.spent(aged, overdue=shrinking or self._overdue(need))

    def _overdue(self, need: Need) -> bool:
        """Is anything too old by the limits, pace or not?"""
        older = tuple(None if limit is None else need.now_us - limit for limit in self.options.classes.limits_us)
        return bool(plan(self.facts.oldest(), Need(older, now_us=need.now_us), self.options))

    def repeat_unfinished(self, now_us: int) -> int:
        """At start: finish every removal whose intent is durable; returns their number. Raises OSError, when all were
        tried."""
        count, failure = 0, None
        for folder in self.facts.days():
            for name in self.fs.listdir(folder):
                path = folder / name
                unplaced = path.suffix == COPY or name.endswith(f"{GONE}.tmp")
                if unplaced and self.fs.stat(path) is not None:  # finishing its segment may have removed it
                    self.fs.unlink(path)  # a copy that was not put in place
                if path.suffix != GONE:
                    continue
                intent = unfinished(self.fs, path)
                segment = path.with_suffix(SEALED)
                if self.fs.stat(path.with_suffix(OPEN)) is not None:
                    continue  # a repair took its footer away: its turn comes with the new one
                if intent is not None:
                    try:
                        self._go_on(segment, intent, now_us)
                        count += 1
                    except OSError as error:
                        failure = error
                elif not read_journal(self.fs, path) or self.fs.stat(segment) is None:
                    self.fs.unlink(path)  # torn before it said anything, or its segment is no more
        if failure is not None:
            raise failure
        return count

    def _go_on(self, segment: Path, intent: Record, now_us: int) -> None:
        """Finish what was begun."""
        if intent.get("ranges") is None or self.fs.stat(segment) is None:
            self._finish(segment, intent, now_us)
        else:
            self._finish_tracks(segment, intent, now_us)

    def would_go(self, options: ReclaimOptions, now_us: int) -> list[Removal]:
        """What other limits would remove at once by age and size, all of it. May be called beside a step. Where limits
        do not differ by camera it looks no further than what goes. Raises OSError."""
        facts = self.facts.under(options)
        segments = facts.oldest(every=True)
        every = list(segments) if options.by_track else segments  # sizes of cameras are known behind the last one
        free, total = self.free_bytes()
        room = Room(facts.used_bytes(0), free, total, cameras=facts.cameras)
        need = replace(need_of(options, room, now_us, age_held=False), low_bytes=0)
        return plan(every, need, options, NO_END)

    def _remove(self, removal: Removal, now_us: int) -> None:
        fact = removal.fact
        journal = fact.path.with_suffix(GONE)
        begun = unfinished(self.fs, journal)
        if begun is not None and (begun.get("ranges") is None or not removal.whole):
            self._go_on(fact.path, begun, now_us)  # it failed before; what else is due goes in the next step
            self.facts.forget(fact.path)
            return
        body = removal_record(removal, fact.load_spans(removal.rules))
        if not removal.whole:
            gone = removed_tracks(self.fs, journal)
            assert removal.rules is not None
            ranges = ranges_of(self.fs, fact.path, removal.rules.keys(), gone.keys())
            body["ranges"] = [list(one) for one in ranges]
        self.fs.point("reclaim_intent")
        if removal.whole:
            self._intend(journal, body, now_us)
            self._finish(fact.path, body, now_us)
        else:
            write_intent(self.fs, journal, body, now_us)
            self._finish_tracks(fact.path, body, now_us)
        self.facts.forget(fact.path)

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
        """A whole segment, from `reclaim_ledger` on; may be repeated at any point."""
        fs, journal = self.fs, path.with_suffix(GONE)
        self._tell_ledger(body, now_us)
        fs.point("reclaim_unlink")
        if fs.stat(path) is not None:
            fs.unlink(path)
        fs.point("reclaim_sync_dir")
        fs.fsync_dir(path.parent)
        self.removed(path)
        fs.point("reclaim_done")
        if fs.stat(journal) is not None:
            fs.unlink(journal)  # the ledger has it all; a journal that comes back after a power cut is finished again
        if not fs.listdir(path.parent):
            try:
                fs.rmdir(path.parent)
            except OSError:
                pass  # a new segment was made there in between

    def _finish_tracks(self, path: Path, body: Record, now_us: int) -> None:
        """Tracks of a segment, from the intent on; may be repeated at any point."""
        journal = path.with_suffix(GONE)
        holes = removed_ranges(self.fs, journal)
        if self._by_copy(path, holes):
            rewrite(self.fs, path, holes)
        else:
            punch(self.fs, path, ranges_in(body["ranges"]))
        self._tell_ledger(body, now_us)
        self.fs.point("reclaim_done")
        write_done(self.fs, journal, now_us)
        self.changed(path)

    def _by_copy(self, path: Path, holes: list[Range]) -> bool:
        """Is a copy of what stays the better way here, and is there room for it?"""
        status = self.fs.stat(path)
        if status is None:
            return False
        kept = kept_bytes(holes, status.size)
        wanted = self.way.rewriting or kept * FEW < status.size or (self.way.seeks and kept * 2 <= status.size)
        return wanted and kept < self.free_bytes()[0]

    def _tell_ledger(self, body: Record, now_us: int) -> None:
        """REMOVED, or GROOMED for parts of a segment, one record per rule; durable when it returns."""
        self.fs.point("reclaim_ledger")
        kind = LedgerKind.REMOVED if body.get("ranges") is None else LedgerKind.GROOMED
        common = {key: value for key, value in body.items() if key not in ("phase", "ranges", "tracks")}
        first_rule = str(body.get("rule", ""))  # a journal of another program may lack what ours says
        by_rule: dict[str, list[Record]] = {first_rule: []}
        for track in body.get("tracks", []):
            by_rule.setdefault(track.get("rule", first_rule), []).append(
                {key: value for key, value in track.items() if key != "rule"}
            )
        for rule, tracks in by_rule.items():
            self.ledger.add(kind, now_us, {**common, "rule": rule, "tracks": tracks})
        self.ledger.flush(now_us)


def removal_record(removal: Removal, spans: Spans) -> Record:
    """Body of the intent: tracks that go, their stretches of media, and the rule where it is not the first one's."""
    fact, rules = removal.fact, removal.rules
    tracks: list[Record] = []
    for track in spans if rules is None else {**dict.fromkeys(rules), **spans}:
        if rules is not None and track not in rules:
            continue
        stretches = spans.get(track, [])
        entry: Record = {"track": str(track), "spans": [list(span) for span in stretches]}
        if rules is not None and rules[track] != removal.rule:
            entry["rule"] = rules[track]
        tracks.append(entry)
    return {
        "segment": str(fact.segment),
        "name": fact.path.with_suffix("").name,
        "state": State.DELETED.value,
        "rule": removal.rule,
        "bytes": removal.freed_bytes,
        "tracks": tracks,
    }
