"""The ledger of a log on disk: records appended in page batches to monthly files, and read back.

Law: framing and files only; what follows from the records is folded elsewhere. Nothing here is rewritten; parts that
are closed may be made small (`ledger_condense`). A
batch that does not verify is skipped (torn tail, damage) and told; one bad page never hides the others. Used by the
writer thread (append) and by any reader thread (read).
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from mediadb.blockfile import BlockFile
from mediadb.format.ledger_page import LedgerKind, LedgerRecord, encode_page, scan_pages
from mediadb.format.records import Record, encode_cause
from mediadb.fs import Fs, read_file
from mediadb.ledger_rescue import LEDGER_LOST, RESTORED, bring_back
from mediadb.types import Cause, State
from mediadb.waiting import WaitingLedger, waited

MAX_FILE_BYTES = 1 << 30
MAX_PENDING = 100_000
STANDING = (LedgerKind.RUN_START, LedgerKind.TRACK, LedgerKind.COVER)  # the last word of each holds until the next
Told = Callable[[str, dict[str, object]], None]
RESERVE_BYTES = 1 << 20  # allocated ahead: when the disk is full, the ledger can still say so


@dataclass(frozen=True, slots=True)
class LedgerDamage:
    """A page that is no batch: the tail of an interrupted append, or damage."""

    path: Path
    offset: int


class LedgerWriter:
    """Collects records and appends them, durable, when told. Errors leave the records waiting for the next try.

    Thread-safe: the writer thread and reclaim use one together. With `waiting`, what the volume does not take is kept
    durable there until it does. A file that is taken from under it is written again, through `told` it is said; not
    while the volume itself is away (`there`).
    """

    def __init__(
        self,
        fs: Fs,
        folder: Path,
        run: int,
        epoch: int,
        waiting: WaitingLedger | None = None,
        *,
        there: Callable[[], bool] = lambda: True,
        told: Told = lambda code, params: None,
    ) -> None:
        self._there, self._told = there, told
        self._standing: dict[tuple[int, object], LedgerRecord] = {}  # what holds now, should its file be lost
        self._fs, self._folder, self._run, self._epoch = fs, folder, run, epoch
        self._waiting = waiting
        self._held = 0  # of the pending ones: durable where they wait
        self._file: BlockFile | None = None
        self._month = ""
        self._number = 0
        self._part_bad = False  # the newest part failed or is closed for good: what waits goes into another one
        self._pending: list[LedgerRecord] = []
        self._lock = threading.Lock()  # the writer thread and reclaim both flush
        self.dropped = 0

    @property
    def pending(self) -> int:
        return len(self._pending)

    @property
    def pages(self) -> int:
        """Batches of this opening that are durable."""
        return self._number

    @property
    def safe(self) -> bool:
        """All that was added is durable, here or where it waits. For the writer thread: it may wait for a disk."""
        with self._lock:
            return self._held == len(self._pending)

    def add(self, kind: LedgerKind, time_us: int, body: Record) -> None:
        """Queue a record for the next flush. Beyond 100,000 waiting ones the newest are dropped and counted."""
        if len(self._pending) >= MAX_PENDING:
            self.dropped += 1
            return
        record = LedgerRecord(int(kind), time_us, body, self._run, self._epoch)
        self._pending.append(record)
        if kind in STANDING:
            self._standing[int(kind), body.get("track")] = record

    def flush(self, wall_us: int) -> None:
        """Append all waiting records and sync. Raises OSError; then they wait and go into a new file next time."""
        with self._lock:
            try:
                self._flush(wall_us)
            except OSError:
                self._hold(wall_us)
                raise

    def in_place(self) -> bool:
        """False when other hands took the file under it: the next `flush` begins another one. Raises OSError."""
        with self._lock:
            return self._file is None or self._file.in_place()

    def adopt(self, wall_us: int) -> None:
        """Move what waited while the volume was away into this ledger, durable with all else when this returns. Raises
        OSError; then it goes on waiting."""
        owed = self._waiting.load() if self._waiting is not None else []
        for record in owed:
            self.add(LedgerKind.WAITED, record.time_us, waited(record))
        self.flush(wall_us)
        if owed and self._waiting is not None and not self.dropped:
            self._waiting.clear()

    def hold(self, wall_us: int) -> bool:
        """The volume is away: make what is queued durable where it waits. False when that is not possible either."""
        with self._lock:
            return self._hold(wall_us)

    def _hold(self, wall_us: int) -> bool:
        batch = list(self._pending)
        if self._waiting is None:
            return not batch
        try:
            self._waiting.hold(batch[self._held :], wall_us)
        except OSError:
            return False  # two disks do not take it: it stays in memory, and the trouble of the volume is told
        self._held = len(batch)
        return True

    def _mind_file(self, wall_us: int) -> None:
        """What was taken is read through the descriptor; what was cut off is said to be lost, and what holds now, said
        once more. Raises OSError; then it is tried again."""
        held = self._file
        if held is None or held.in_place():
            return
        if not self._there():
            raise OSError(errno.ENODEV, "unmounted", str(held.path))
        self._fs.mkdirs(self._folder)
        rescue = bring_back(self._fs, held, self._folder / self._next_name(held.path.name[:7]))
        self._file = rescue.file
        held.close()
        params: dict[str, object] = {"path": str(held.path), "bytes": rescue.file.end}
        again: list[LedgerRecord] = []
        if rescue.lost:
            again = list(self._standing.values())
            start_us = rescue.until_us or min((record.time_us for record in again), default=wall_us)
            again = [*self._claims(start_us), *again]
            params = {"path": str(held.path), "start_us": start_us, "end_us": wall_us}
        code = LEDGER_LOST if rescue.lost else RESTORED
        body = {"code": code, "params": params}
        again.append(LedgerRecord(int(LedgerKind.TROUBLE), wall_us, body, self._run, self._epoch))
        self._pending[self._held : self._held] = again
        self._told(code, params)

    def _claims(self, since_us: int) -> list[LedgerRecord]:
        """For tracks whose last word is younger: recorded is claimed, so that what footage does not prove is put down
        to the loss."""
        claim = encode_cause(Cause(State.RECORDED))
        return [
            record._replace(time_us=since_us, body={"track": track, "time_us": since_us, **claim})
            for (kind, track), record in self._standing.items()
            if kind == LedgerKind.COVER and record.time_us > since_us
        ]

    def _next_name(self, month: str) -> str:
        last = [name for name in ledger_files(self._fs, self._folder) if name.split(".")[0] == month][-1:]
        return f"{month}.{_part(last[0]) + 1}" if last else month

    def _flush(self, wall_us: int) -> None:
        self._mind_file(wall_us)
        batch = list(self._pending)  # other threads may add while this one writes
        if not batch:
            return
        page = encode_page(batch, self._run, self._epoch, self._number, wall_us)
        try:
            file = self._open(wall_us)
            file.reserve_ahead(len(page), RESERVE_BYTES)
            self._fs.point("ledger_append")
            end = file.write([page], file.end)
            self._fs.point("ledger_sync")
            file.sync()
        except OSError:
            self._give_up_part()
            raise
        file.end = end
        self._part_bad = False
        self._number += 1
        del self._pending[: len(batch)]
        self._settled()

    def _settled(self) -> None:
        """What waited elsewhere is durable here now."""
        if self._held and self._waiting is not None:
            self._held = 0
            try:
                self._waiting.clear()
            except OSError:
                return  # it will be moved once more at the next start, which says the same twice

    def roll(self, wall_us: int) -> list[str]:
        """What waits is durable, and what comes goes into another part: the names of those that stay as they are now,
        for `ledger_condense`. Raises OSError."""
        with self._lock:
            self._flush(wall_us)
            file, self._file = self._file, None
            if file is not None:
                file.close()
            self._part_bad = True
            return ledger_files(self._fs, self._folder)

    def move(self, fs: Fs, folder: Path, epoch: int) -> None:
        """After `close`: the log was opened again, perhaps elsewhere; what waits goes there."""
        with self._lock:
            self._fs, self._folder, self._epoch = fs, folder, epoch
            self._number, self._part_bad = 0, False

    def close(self) -> None:
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file = None

    def _give_up_part(self) -> None:
        """Nothing more goes into a part that failed; one in which nothing was ever acknowledged does not stay."""
        file, self._file = self._file, None
        if file is not None:
            self._part_bad = True
            if file.end:
                file.close()
            else:
                file.discard()

    def _open(self, wall_us: int) -> BlockFile:
        month = f"{datetime.fromtimestamp(wall_us / 1_000_000, UTC):%Y-%m}"
        if self._file is not None and month == self._month:
            return self._file
        if self._file is not None:
            self._file.close()
            self._file = None
        self._fs.mkdirs(self._folder)
        last = [name for name in ledger_files(self._fs, self._folder) if name.split(".")[0] == month][-1:]
        if last and not self._part_bad:
            self._file = BlockFile.open_append(self._fs, self._folder / last[0])
        else:
            self._file = BlockFile.create(self._fs, self._folder / self._next_name(month))
        self._month = month
        return self._file


def ledger_files(fs: Fs, folder: Path) -> list[str]:
    """Names of the ledger's files, oldest first: "2026-11", "2026-11.1", ..."""
    names = [name for name in fs.listdir(folder) if len(name) >= 7 and name[4] == "-" and name[:4].isdigit()]
    return sorted(names, key=lambda name: (name.split(".")[0], _part(name)))


def read_ledger(
    fs: Fs, folder: Path, damage: Callable[[LedgerDamage], None] | None = None, since: str = ""
) -> Iterator[LedgerRecord]:
    """All records in the order written; `since` ("2026-11") leaves out older months. Raises OSError."""
    for name in ledger_files(fs, folder):
        if name.split(".")[0] < since:
            continue
        path = folder / name
        for offset, page in scan_pages(read_file(fs, path, MAX_FILE_BYTES)):
            if page is not None:
                yield from page.records
            elif damage is not None:
                damage(LedgerDamage(path, offset))


def _part(name: str) -> int:
    number = name.partition(".")[2]
    return int(number) if number.isdigit() else 0
