"""What the ledgers of a storage say, read once and kept up to date.

Law: pages to facts; each page is read once, for ledgers only grow. Decides nothing: `mediadb.coverage` picks what
concerns a question. Not thread-safe; blocking.
"""

from __future__ import annotations

import heapq
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from mediadb.errors import FormatError
from mediadb.format.ledger_page import LedgerKind, LedgerRecord, Page, walk_pages
from mediadb.format.records import Record, decode_cause, decode_names, decode_spec
from mediadb.fs import Fs
from mediadb.ledger import ledger_files
from mediadb.ledger_condense import parts_in
from mediadb.ledger_facts import CHUNK_DAMAGED, PAST_US, Statement, Transition
from mediadb.ledger_packed import Causes, Closed, Extents, Words
from mediadb.ledger_rescue import LEDGER_LOST
from mediadb.types import Cause, Names, State, TrackSpec
from mediadb.waiting import unwrap


@dataclass(frozen=True, slots=True)
class Damage:
    """A chunk that does not verify: its segment file (below the volume, without suffix), its place there, the segment's
    id, and its time."""

    name: str
    offset: int
    segment: str
    start_us: int
    end_us: int

    @property
    def statement(self) -> Statement:
        """What coverage says of it."""
        params: dict[str, object] = {"segment": self.name, "offset": self.offset}
        return Statement(self.start_us, self.end_us, Cause(State.STORAGE_ERROR, CHUNK_DAMAGED, params))


STALLED = "storage-stalled"
TRIES = 5  # while files are replaced under the reader
PUT_AWAY = 256  # segments removed before their extents are put away
AHEAD_US = 2_000_000  # nothing is said of times that are further ahead


class TrackFacts:
    """What the ledger says of a track. `sealed`: extents of segments that should be there, `past`: of removed ones."""

    __slots__ = ("damaged", "filmed", "gaps", "past", "removed", "sealed", "transitions")

    def __init__(self, causes: Causes) -> None:
        self.transitions = Words(causes)
        self.gaps = Closed(causes)
        self.removed = Closed(causes, join=True)
        self.past = Closed(causes, join=True)
        self.sealed = Extents()
        self.filmed: set[int] = set()
        self.damaged: dict[tuple[str, int], Damage] = {}

    @property
    def first_us(self) -> int:
        """The earliest statement about the track; FUTURE_US without any."""
        return min(one.first_us for one in (self.transitions, self.gaps, self.removed, self.past, self.sealed))


@dataclass(slots=True)
class RunFacts:
    """What the ledger says of one run."""

    start_us: int
    end_us: int
    epoch: int = 0
    clean: bool = False
    started: bool = False
    troubles: list[tuple[int, int | None, str]] = field(default_factory=list)  # the storage took nothing: why
    stalls: list[tuple[int, int | None, str]] = field(default_factory=list)  # it did not answer
    steps: list[tuple[int, int]] = field(default_factory=list)  # of the recorder's clock: (would have shown, shows)


class LedgerFacts:
    """All ledgers of a storage in memory from the month `since` on ("2026-11"; "": all), brought up to date by
    `refresh`."""

    def __init__(self, fs: Fs, root: Path, since: str = "") -> None:
        self._fs, self._root, self.since = fs, root, since
        self.damaged_chunks: set[tuple[str, int]] = set()
        self._begin_again()

    def _begin_again(self) -> None:
        """Nothing is read yet."""
        self._read: dict[Path, int] = {}
        self._inodes: dict[Path, int] = {}
        self._void: set[Path] = set()  # parts of which another file has the statements as well
        self._order = 0
        self._causes = Causes()
        self._ids: dict[str, uuid.UUID] = {}  # texts of tracks, read a million times
        self.tracks: dict[uuid.UUID, TrackFacts] = {}
        self.runs: dict[int, RunFacts] = {}
        self.segments: list[str] = []  # sealed ones, by number: path below the log, without suffix; "" when removed
        self.sizes: dict[int, int] = {}  # bytes, by number
        self.short: set[int] = set()  # those that hold less than was sealed: a footer was made again after a loss
        self._gone: dict[int, Cause] = {}  # removed since extents were last put away
        self._numbers: dict[str, int] = {}  # by log and file name without suffix
        self._early: dict[str, Cause] = {}  # by the same: removed, and not yet said to be sealed
        self.damaged_chunks.clear()
        self.known: dict[uuid.UUID, tuple[TrackSpec, Names]] = {}  # with or without footage
        self.troubles: list[tuple[int, str]] = []  # when, and the code

    def refresh(self) -> None:
        """Read what was appended since the last call. Pages that do not verify are passed over."""
        for _ in range(TRIES):
            self._read_more()
            if not self._moved:
                return

    def _read_more(self) -> None:
        self._moved = False
        if self._was_condensed():
            told = [(track, one) for track, facts in self.tracks.items() for one in facts.damaged.values()]
            self._begin_again()
            self._was_condensed()
            for track, damage in told:
                self.damage(track, damage)
        files = []
        for log in self._fs.listdir(self._root):
            for name in ledger_files(self._fs, self._root / log):
                if name[:7] < self.since:
                    continue
                path = self._root / log / name
                status = self._fs.stat(path)
                if status is not None and status.size > self._read.get(path, 0) and path not in self._void:
                    files.append(self._read_on(path, status.size))
        # A clock that was set back goes on in the file of an older month: pages are numbered, months are not trusted.
        for _, page, log in heapq.merge(*files, key=lambda one: one[0]):
            self._alive(page.run, page.wall_us, page.epoch)
            for record in page.records:
                self._enter(record, log)
        if len(self._gone) >= PUT_AWAY:
            self._put_away()

    def _was_condensed(self) -> bool:
        """Was a file that was read made small since? Looks which parts are void. A condensed file says all that others
        said: everything is read again."""
        again = False
        for log in self._fs.listdir(self._root):
            folder = self._root / log
            names = ledger_files(self._fs, folder)
            for name in names:
                status = self._fs.stat(folder / name)
                if status is None or status.inode == self._inodes.get(folder / name):
                    continue
                self._inodes[folder / name] = status.inode
                parts = {folder / one for one in parts_in(self._fs, folder / name)}
                again |= any(self._read.get(path) for path in parts)
                # Made small twice since: what was read became part of a file that is a part of this one.
                again |= bool(parts) and any(
                    _same_month(folder / name, path) and path.name not in names for path in self._read
                )
                self._void |= parts - {folder / name}
        return again

    def _read_on(self, path: Path, size: int) -> Iterator[tuple[tuple[int, int], Page, str]]:
        """Pages behind those read, each when it is its turn: a file is never in memory whole."""
        at = self._read.get(path, 0)
        try:
            fd = self._fs.open_read(path)
        except FileNotFoundError:
            self._moved = True  # it was made small, and this part is in another file now
            return
        try:
            if self._fs.fstat(fd).inode != self._inodes.get(path):
                self._moved = True
                return
            for offset, page in walk_pages(lambda length, offset: self._fs.pread(fd, length, offset), at, size):
                self._read[path] = offset + page.batch_len
                yield (page.epoch, page.number), page, path.parent.name
        finally:
            self._fs.close(fd)

    def _alive(self, run: int, time_us: int, epoch: int = 0) -> RunFacts:
        facts = self.runs.get(run)
        if facts is None:
            facts = self.runs[run] = RunFacts(time_us, time_us, epoch)
        facts.end_us = max(facts.end_us, time_us)
        if not (facts.started or facts.steps):
            facts.start_us = min(facts.start_us, time_us)
        facts.epoch = max(facts.epoch, epoch)
        return facts

    def _enter(self, record: LedgerRecord, log: str) -> None:
        self._order += 1
        try:
            if record.kind == LedgerKind.WAITED:
                record = unwrap(record)
                self._alive(record.run, record.time_us)
            body = record.body
            if record.kind == LedgerKind.RUN_START:
                self._started(record)
            elif record.kind == LedgerKind.RUN_STOP:
                facts = self._alive(record.run, record.time_us, record.epoch)
                facts.clean, facts.end_us = True, record.time_us
            elif record.kind == LedgerKind.COVER:
                track = self._track(body["track"])
                clock = self._clock_of(record, int(body["time_us"]))
                track.transitions.add(
                    Transition(int(body["time_us"]), decode_cause(body), record.run, self._order, clock)
                )
            elif record.kind == LedgerKind.GAP:
                self._gap(record)
            elif record.kind in (LedgerKind.REMOVED, LedgerKind.GROOMED):
                self._removed(body)
                if record.kind == LedgerKind.REMOVED and "name" in body:
                    key = f"{log}/{body['name']}"
                    number = self._numbers.get(key)
                    if number is not None:
                        self._gone[number] = _rule(body)
                    else:  # retention was faster than the word that it was sealed, or that is in an older month
                        self._early[key] = _rule(body)
                        if len(self._early) > PUT_AWAY:
                            del self._early[next(iter(self._early))]
            elif record.kind == LedgerKind.FORGOTTEN:
                self._forgotten(body)
            elif record.kind == LedgerKind.SEGMENT_SEAL:
                self._sealed(body, log)
            elif record.kind == LedgerKind.DAMAGED:
                self._damaged(body)
            elif record.kind == LedgerKind.TROUBLE:
                self._troubled(record)
            elif record.kind == LedgerKind.TRACK:
                spec = decode_spec(body)
                self.known[spec.track] = spec, decode_names(body["names"])
            elif record.kind == LedgerKind.CLOCK:
                facts = self._alive(record.run, record.time_us, record.epoch)
                facts.steps.append((int(body["from_us"]), int(body["to_us"])))
                facts.end_us = record.time_us  # from here on its clock counts from there
        except (KeyError, ValueError, TypeError, AttributeError, FormatError):
            return  # a record of a later program: it says nothing to us

    def _started(self, record: LedgerRecord) -> None:
        """A run may start twice: with its process, and when its volume comes."""
        facts = self._alive(record.run, record.time_us, record.epoch)
        facts.start_us = min(facts.start_us, record.time_us) if facts.started else record.time_us
        facts.started = True

    def _gap(self, record: LedgerRecord) -> None:
        body = record.body
        start_us, end_us = int(body["start_us"]), int(body["end_us"])
        clock = self._clock_of(record, end_us)
        gap = Statement(start_us, end_us, _gap_cause(body), self._order, record.run, clock)
        self._track(body["track"]).gaps.add(gap)

    def _clock_of(self, record: LedgerRecord, time_us: int) -> int:
        """How often the clock had been set when `time_us` was read. What was queued before a step is written behind it:
        it lies ahead of the new time, or no later than where the old time ended."""
        facts = self.runs.get(record.run)
        if facts is None or not facts.steps:
            return 0
        from_us, to_us = facts.steps[-1]
        earlier = time_us <= from_us if to_us > from_us else time_us > record.time_us + AHEAD_US
        return len(facts.steps) - earlier

    def _troubled(self, record: LedgerRecord) -> None:
        """The storage began to take nothing, or takes it again; other trouble is counted only."""
        code, params = str(record.body["code"]), record.body.get("params") or {}
        self.troubles.append((record.time_us, code))
        facts = self._alive(record.run, record.time_us, record.epoch)
        if code == LEDGER_LOST:
            facts.troubles.insert(0, (int(str(params["start_us"])), int(str(params["end_us"])), LEDGER_LOST))
        elif code == "storage-error" and not (facts.troubles and facts.troubles[-1][1] is None):
            facts.troubles.append((record.time_us, None, str(params.get("reason", "not-writable"))))
        elif STALLED in (code, params.get("of")):
            _stalled(facts.stalls, record.time_us, params if code == STALLED else None)
        elif code == "storage-recovered" and "of" not in params and facts.troubles:
            start_us, end_us, reason = facts.troubles[-1]
            facts.troubles[-1] = (start_us, end_us or record.time_us, reason)

    def _damaged(self, body: Mapping[str, object]) -> None:
        name, offset = str(body["name"]), int(str(body["offset"]))
        if body.get("whole"):
            self.heal(uuid.UUID(str(body["track"])), name, offset)
            return
        damage = Damage(name, offset, str(body["segment"]), int(str(body["start_us"])), int(str(body["end_us"])))
        self.damage(uuid.UUID(str(body["track"])), damage)

    def damage(self, track: uuid.UUID, damage: Damage) -> None:
        """A chunk does not verify, by the ledger or as just met."""
        key = damage.name, damage.offset
        self.facts_of(track).damaged[key] = damage
        self.damaged_chunks.add(key)

    def decides(self, track: uuid.UUID, known_us: int, at_us: int) -> bool:
        """Is what holds of the track at `at_us` and later decided by these months alone, whatever stands in earlier
        ones? `known_us`: since when the index has media of it."""
        if not self.since:
            return True
        facts = self.tracks.get(track)
        if facts is None or min(facts.first_us, known_us) > at_us or month_start_us(self.since) > at_us:
            return False
        if any(run.steps for run in self.runs.values()) or not any(r.start_us <= at_us for r in self.runs.values()):
            return False
        alive = [run for run, life in self.runs.items() if life.start_us <= at_us <= life.end_us and not life.started]
        spoken = facts.transitions.first_of_runs()
        return all(
            spoken[run] <= at_us if run in spoken else facts.sealed.any_from(self.runs[run].start_us, at_us)
            for run in alive  # without a word, but with footage since: recorded is what was said last
        )

    def heal(self, track: uuid.UUID, name: str, offset: int) -> None:
        """It verifies again."""
        self.facts_of(track).damaged.pop((name, offset), None)
        self.damaged_chunks.discard((name, offset))

    def facts_of(self, track: uuid.UUID) -> TrackFacts:
        """What is said of a track; of an unknown one nothing."""
        found = self.tracks.get(track)
        if found is None:
            found = self.tracks[track] = TrackFacts(self._causes)
        return found

    def _track(self, text: str) -> TrackFacts:
        track = self._ids.get(text)
        if track is None:
            track = self._ids[text] = uuid.UUID(text)
        return self.facts_of(track)

    def _removed(self, body: dict[str, object]) -> None:
        cause = _rule(body)
        tracks = body["tracks"]
        assert isinstance(tracks, list)
        for entry in tracks:
            track = self._track(entry["track"])
            for low, high in entry["spans"]:
                track.removed.add(Statement(int(low), int(high), cause))
            for key, damage in [*track.damaged.items()]:
                if damage.segment == body["segment"] and any(
                    low <= damage.start_us < high for low, high in entry["spans"]
                ):
                    del track.damaged[key]
                    self.damaged_chunks.discard(key)

    def _forgotten(self, body: Record) -> None:
        """Removals of segments that nothing else is said of any more."""
        cause = _rule(body)
        for entry in body["tracks"]:
            track = self._track(entry["track"])
            for low, high in entry["spans"]:
                track.removed.add(Statement(int(low), int(high), cause))
            for low, high in entry["past"]:
                track.past.add(Statement(int(low), int(high), cause))

    def _sealed(self, body: dict[str, object], log: str) -> None:
        run = int(str(body["run"]), 16)
        if run not in self.runs or not self.runs[run].steps:  # else it may be of a time before its clock was set
            self._alive(run, int(str(body["last_wall_us"])))
        tracks = body["tracks"]
        assert isinstance(tracks, list)
        name = f"{log}/{Path(str(body['name'])).with_suffix('')}"
        number = self._number(name)
        again = number in self.sizes
        self.sizes[number] = int(str(body["bytes"]))
        self.short.discard(number)
        if body.get("damaged") or (again and self._shrank(number, tracks)):
            self.short.add(number)
        early = self._early.pop(f"{log}/{Path(name).name}", None)
        if early is not None:
            self._gone[number] = early
        for entry in tracks:
            track = self._track(entry["track"])
            track.filmed.add(run)
            if entry["first_us"] is not None:
                track.sealed.add(number, int(entry["first_us"]), int(entry["end_us"]))

    def _shrank(self, number: int, tracks: list[Record]) -> bool:
        """Does a segment that got its footer again end earlier than it did, in any track?"""
        ends = {self._ids[one["track"]]: one["end_us"] for one in tracks if one["track"] in self._ids}
        for track, facts in self.tracks.items():
            end_us = max((high for one, _, high in facts.sealed if one == number), default=None)
            if end_us is not None and end_us > (ends.get(track) or PAST_US):
                return True
        return False

    def _number(self, name: str) -> int:
        log, _, rest = name.partition("/")
        key = f"{log}/{Path(rest).name}"
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self.segments)
            self.segments.append(name)
        return number

    def rule_of(self, number: int) -> Cause | None:
        """Why a sealed segment was removed; None when no rule did."""
        return self._gone.get(number)

    def there(self) -> list[int]:
        """Segments that no rule removed."""
        return [number for number in self.sizes if number not in self._gone]

    def _put_away(self) -> None:
        """Of segments that were removed only from when to when they had footage is kept."""
        gone, self._gone = self._gone, {}
        for track in self.tracks.values():
            for number, low, high in track.sealed.take(set(gone)):
                track.past.add(Statement(low, high, gone[number]))
        for number in gone:
            self.sizes.pop(number, None)
            self.short.discard(number)
            log, _, rest = self.segments[number].partition("/")
            self._numbers.pop(f"{log}/{Path(rest).name}", None)
            self.segments[number] = ""


def _stalled(stalls: list[tuple[int, int | None, str]], time_us: int, params: Mapping[str, object] | None) -> None:
    """The storage does not answer (`params` of that word), or does again."""
    open_since = stalls[-1][0] if stalls and stalls[-1][1] is None else None
    if params is not None and open_since is None:
        stalls.append((time_us - int(str(params["waiting_us"])), None, STALLED))
    elif params is None and open_since is not None:
        stalls[-1] = (open_since, time_us, STALLED)


def month_start_us(month: str) -> int:
    """When "2026-11" begins."""
    return int(datetime.strptime(month, "%Y-%m").replace(tzinfo=UTC).timestamp()) * 1_000_000


def month_of(time_us: int) -> str:
    """The month of an instant; "" when there is none."""
    try:
        return f"{datetime.fromtimestamp(time_us / 1_000_000, UTC):%Y-%m}"
    except (ValueError, OverflowError, OSError):
        return ""


def _rule(body: Mapping[str, object]) -> Cause:
    return Cause(State(str(body.get("state", "deleted"))), str(body["rule"]))


def _gap_cause(body: dict[str, object]) -> Cause:
    """A gap's cause; that of a crash without naming the run, so that it joins what the runs themselves say."""
    cause = decode_cause(body)
    return Cause(cause.state, cause.reason) if cause.state is State.SERVER_DOWN else cause


def _same_month(part: Path, other: Path) -> bool:
    return part.parent == other.parent and part.name[:7] == other.name[:7]
