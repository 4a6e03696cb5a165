"""The ledger of a salvaged volume: what the old one said of cameras and runs, and what salvage did not find.

Law: statements keep their run, epoch and time. Births and seals of the old segments are left out, for those files are
gone; the new ones are told, and every hole becomes a GAP whose cause says so, unless a rule had removed that footage.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from mediadb.blockfile import BlockFile
from mediadb.format.ledger_page import LedgerKind, LedgerRecord, Page, encode_page
from mediadb.format.records import Record, encode_cause
from mediadb.fs import Fs
from mediadb.tools.salvage_spans import Found, Hole
from mediadb.tools.salvage_target import NIL, Home, Sealed, Target
from mediadb.tools.verify import NOT_SALVAGED
from mediadb.types import Cause, State
from mediadb.waiting import unwrap
from mediadb.write.segment import seal_record

OF_OLD_FILES: Final = (
    LedgerKind.SEGMENT_BIRTH, LedgerKind.SEGMENT_SEAL, LedgerKind.LANE, LedgerKind.POISONED, LedgerKind.DAMAGED,
    LedgerKind.CONDENSED,
)  # fmt: skip
Removed = dict[uuid.UUID, list[tuple[int, int]]]


@dataclass(slots=True)
class OldLedger:
    """Pages found, written to the target as they come. `told`: per (run, track) what its seals said it had."""

    fs: Fs
    target: Target
    told: dict[tuple[int, uuid.UUID], Hole] = field(default_factory=dict)
    removed: Removed = field(default_factory=dict)
    pages: int = 0
    _seen: dict[tuple[int, int], Found] = field(default_factory=dict)  # by run and epoch, as pages are numbered
    _numbers: dict[tuple[int, int], int] = field(default_factory=dict)
    _files: dict[Path, BlockFile] = field(default_factory=dict)

    def page(self, page: Page, storage: str, log: uuid.UUID) -> None:
        """Take a page that verifies; `log` NIL: that of its run."""
        if not page.run:
            return  # of a removal's journal
        seen = self._seen.setdefault((page.run, page.epoch), Found())
        if page.number in seen:
            return
        seen.add(page.number, 0, 0)
        self.pages += 1
        kept = []
        for record in page.records:
            self._learn(record, page, storage)
            if record.kind not in OF_OLD_FILES:
                kept.append(record)
        if log != NIL:
            self.target.home(page.run, Home(storage, log))
        if kept:
            self.append(self.target.home_of(page.run, storage), page.run, page.epoch, page.wall_us, kept)

    def _learn(self, record: LedgerRecord, page: Page, storage: str) -> None:
        try:
            kind, body = unwrap(record)[0], unwrap(record)[2]
            if kind == LedgerKind.SEGMENT_SEAL:
                run = int(str(body["run"]), 16)
                for entry in body["tracks"]:
                    if entry["first_us"] is not None:
                        self._tell(run, entry)
            elif kind in (LedgerKind.REMOVED, LedgerKind.GROOMED, LedgerKind.FORGOTTEN):
                for entry in body["tracks"]:
                    spans = self.removed.setdefault(uuid.UUID(entry["track"]), [])
                    spans += [(int(low), int(high)) for low, high in entry["spans"]]
        except (KeyError, ValueError, TypeError, AttributeError):
            return  # a record of a later program

    def _tell(self, run: int, entry: Record) -> None:
        key = (run, uuid.UUID(entry["track"]))
        first, end = int(entry["first_seq"]), int(entry["next_seq"])
        low, high = int(entry["first_us"]), int(entry["end_us"])
        old = self.told.get(key)
        if old is not None:
            low = old.start_us if old.first < first else low
            high = old.end_us if old.end > end else high
            first, end = min(first, old.first), max(end, old.end)
        self.told[key] = Hole(first, end, low, high)

    def append(self, home: Home, run: int, epoch: int, wall_us: int, records: list[LedgerRecord]) -> None:
        """Write records under a run. Raises OSError."""
        at = datetime.fromtimestamp(max(0, min(wall_us, 253_402_300_799_000_000)) / 1_000_000, UTC)
        path = self.target.root / "ledger" / home.storage / str(home.log) / f"{at:%Y-%m}"
        file = self._files.get(path)
        if file is None:
            there = self.fs.stat(path) is not None
            file = BlockFile.open_append(self.fs, path) if there else BlockFile.create(self.fs, path)
            self._files[path] = file
        number = self._numbers.get((run, epoch), 0)
        self._numbers[run, epoch] = number + 1
        file.end = file.write([encode_page(records, run, epoch, number, wall_us)], file.end)
        if len(self._files) > 32:
            self.close()

    def close(self) -> None:
        """Everything durable."""
        files, self._files = self._files, {}
        for file in files.values():
            file.sync()
            file.close()

    def sealed(self, segments: list[Sealed]) -> None:
        """Tell of the segments of the target."""
        for one in segments:
            base = self.target.root if one.lane else self.target.root / "log" / one.home.storage / str(one.home.log)
            body = seal_record(one.head, str(one.path.relative_to(base)), one.size)
            kind = LedgerKind.LANE if one.lane else LedgerKind.SEGMENT_SEAL
            wall = max(0, one.head.last_wall_us)
            self.append(one.home, one.head.run, one.head.epoch, wall, [LedgerRecord(int(kind), wall, body)])

    def hole(self, home: Home, run: int, track: uuid.UUID, hole: Hole, *, removed: bool) -> None:
        """Tell which numbers are not there, and, unless a rule took them, when that was."""
        wall = max(0, hole.end_us)
        params: Record = {"track": str(track), "first_seq": hole.first, "next_seq": hole.end, "removed": removed}
        records = [LedgerRecord(int(LedgerKind.TROUBLE), wall, {"code": NOT_SALVAGED, "params": params})]
        if not removed and hole.end_us > hole.start_us:
            cause = encode_cause(Cause(State.STORAGE_ERROR, NOT_SALVAGED))
            body: Record = {"track": str(track), "start_us": hole.start_us, "end_us": hole.end_us, **cause}
            records.append(LedgerRecord(int(LedgerKind.GAP), wall, body))
        self.append(home, run, 0, wall, records)

    def was_removed(self, track: uuid.UUID, hole: Hole) -> bool:
        """Had a rule taken footage of that time away?"""
        return any(low < hole.end_us and high > hole.start_us for low, high in self.removed.get(track, ()))
