"""What the ledgers of a storage say, read once and kept up to date.

Law: pages to facts; each page is read once, for ledgers only grow. Decides nothing: `mediadb.coverage` picks what
concerns a question. Not thread-safe; blocking.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mediadb.errors import FormatError
from mediadb.format.ledger_page import LedgerKind, LedgerRecord, Page, scan_pages
from mediadb.format.records import decode_cause, decode_names, decode_spec
from mediadb.fs import Fs
from mediadb.ledger import ledger_files
from mediadb.ledger_facts import CHUNK_DAMAGED, Statement, Transition
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


AHEAD_US = 2_000_000  # nothing is said of times that are further ahead


@dataclass(slots=True)
class TrackFacts:
    """What the ledger says of one track."""

    transitions: list[Transition] = field(default_factory=list)
    gaps: list[Statement] = field(default_factory=list)
    removed: dict[tuple[str, int], Statement] = field(default_factory=dict)  # a repeated removal says the same
    filmed: set[int] = field(default_factory=set)
    sealed: dict[str, tuple[int, int]] = field(default_factory=dict)  # extent by name of segment
    damaged: dict[tuple[str, int], Damage] = field(default_factory=dict)


@dataclass(slots=True)
class RunFacts:
    """What the ledger says of one run."""

    start_us: int
    end_us: int
    epoch: int = 0
    clean: bool = False
    started: bool = False
    troubles: list[tuple[int, int | None, str]] = field(default_factory=list)  # the storage took nothing: why
    steps: list[tuple[int, int]] = field(default_factory=list)  # of the recorder's clock: (would have shown, shows)


class LedgerFacts:
    """All ledgers of a storage in memory, brought up to date by `refresh`."""

    def __init__(self, fs: Fs, root: Path) -> None:
        self._fs, self._root = fs, root
        self._read: dict[Path, int] = {}
        self._order = 0
        self.tracks: dict[uuid.UUID, TrackFacts] = {}
        self.runs: dict[int, RunFacts] = {}
        self.segments: dict[str, int] = {}  # sealed ones: bytes by path below the log, without suffix
        self.damaged_chunks: set[tuple[str, int]] = set()
        self.known: dict[uuid.UUID, tuple[TrackSpec, Names]] = {}  # with or without footage
        self.troubles: list[tuple[int, str]] = []  # when, and the code
        self.removed: dict[str, Cause] = {}  # the rule by file name without suffix

    def refresh(self) -> None:
        """Read what was appended since the last call. Pages that do not verify are passed over."""
        pages: list[tuple[Page, str]] = []
        for log in self._fs.listdir(self._root):
            for name in ledger_files(self._fs, self._root / log):
                pages += ((page, log) for page in self._read_on(self._root / log / name))
        # A clock that was set back goes on in the file of an older month: pages are numbered, months are not trusted.
        for page, log in sorted(pages, key=lambda one: (one[0].epoch, one[0].number)):
            self._alive(page.run, page.wall_us, page.epoch)
            for record in page.records:
                self._enter(record, log)

    def _read_on(self, path: Path) -> Iterator[Page]:
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
            self._read[path] = begin + offset + page.batch_len
            yield page

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
                track.transitions.append(
                    Transition(int(body["time_us"]), decode_cause(body), record.run, self._order, clock)
                )
            elif record.kind == LedgerKind.GAP:
                self._gap(record)
            elif record.kind in (LedgerKind.REMOVED, LedgerKind.GROOMED):
                self._removed(body)
                if record.kind == LedgerKind.REMOVED and "name" in body:
                    self.removed[f"{log}/{body['name']}"] = _rule(body)
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
        self._track(body["track"]).gaps.append(gap)

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
        if code == "storage-error" and not (facts.troubles and facts.troubles[-1][1] is None):
            facts.troubles.append((record.time_us, None, str(params.get("reason", "not-writable"))))
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
        self.tracks.setdefault(track, TrackFacts()).damaged[key] = damage
        self.damaged_chunks.add(key)

    def heal(self, track: uuid.UUID, name: str, offset: int) -> None:
        """It verifies again."""
        self.tracks.setdefault(track, TrackFacts()).damaged.pop((name, offset), None)
        self.damaged_chunks.discard((name, offset))

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
        if run not in self.runs or not self.runs[run].steps:  # else it may be of a time before its clock was set
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
