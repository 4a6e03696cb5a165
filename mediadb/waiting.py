"""Ledger records whose volume is away: durable in a folder of the caller's until the volume takes them.

Law: the framing of the ledger, one file per run, appended and never rewritten; cleared as a whole once everything is
durable where it belongs. Knows no volume and decides nothing. Blocking and thread-safe: the writer's thread, or a
thread of the daemon while there is no writer, or while that hangs (`witness`).
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from mediadb.blockfile import BlockFile
from mediadb.format.ledger_page import LedgerKind, LedgerRecord, encode_page, scan_pages
from mediadb.format.records import Record, run_text
from mediadb.fs import Fs, read_file

SUFFIX: Final = ".waiting"
ALIVE_US: Final = (2_000_000, 60_000_000)  # the shortest and the longest pause between signs of life
MAX_PENDING: Final = 100_000
MAX_FILE_BYTES: Final = 256 << 20  # years of transitions; what comes then is counted and not kept


def alive_pause_us(away_us: int) -> int:
    """How long after the last sign of life the next is due, `away_us` after the volume went or stalled: so well, to a
    tenth, is the end of a run known that is killed."""
    return min(max(away_us // 10, ALIVE_US[0]), ALIVE_US[1])


class WaitingLedger:
    """What one storage's ledger owes. `dropped` counts records beyond the bounds.

    `witness` keeps what the writer of this run still holds itself: it is flushed with the rest, moved by a later run
    only, and forgotten by itself. None in a witness."""

    def __init__(self, fs: Fs, folder: Path, run: int, *, witness: bool = False) -> None:
        self._fs, self._folder, self.run = fs, folder, run
        self._witnessed = f"{run_text(run)}.w"
        self._prefix = self._witnessed if witness else f"{run_text(run)}."
        self.witness = None if witness else WaitingLedger(fs, folder, run, witness=True)
        self._lock = threading.Lock()
        self._pending: list[LedgerRecord | None] = []  # None: what came before is to be forgotten
        self._file: BlockFile | None = None
        self._number = 0
        self._loaded = 0
        self.dropped = 0

    @property
    def pending(self) -> int:
        """What no disk has yet."""
        return len(self._pending) + (self.witness.pending if self.witness is not None else 0)

    def add(self, kind: int, time_us: int, body: Record) -> None:
        """Queue a record of this run for the next flush. Never blocks on a disk."""
        if len(self._pending) >= MAX_PENDING:
            self.dropped += 1
            return
        self._pending.append(LedgerRecord(int(kind), time_us, body, self.run))

    def forget(self) -> None:
        """Of a witness: all that was added so far is durable where it belongs. Never blocks; done by the next flush."""
        self._pending.append(None)

    def flush(self, wall_us: int) -> None:
        """What was added is durable when this returns. Raises OSError; then it waits for the next call."""
        with self._lock:
            batch = list(self._pending)
            forgotten = max((at + 1 for at, record in enumerate(batch) if record is None), default=0)
            if forgotten:
                self._remove()
            self._append([record for record in batch[forgotten:] if record is not None], wall_us)
            del self._pending[: len(batch)]
            self._loaded = 0
        if self.witness is not None:
            self.witness.flush(wall_us)

    def hold(self, records: Sequence[LedgerRecord], wall_us: int) -> None:
        """Make records durable that stay queued elsewhere. Raises OSError."""
        with self._lock:
            self._append(records, wall_us)

    def load(self) -> list[LedgerRecord]:
        """Everything that waits, by run and in the order written. Pages that do not verify are passed over."""
        with self._lock:
            found: list[LedgerRecord] = []
            for name in self._names():
                for _, page in scan_pages(read_file(self._fs, self._folder / name, MAX_FILE_BYTES * 2)):
                    if page is not None:
                        found += page.records
            self._loaded = len(self._pending)
            return found + [record for record in self._pending[: self._loaded] if record is not None]

    def clear(self) -> None:
        """What `load` gave is durable in the ledger: forget it. What was added since stays. Raises OSError."""
        with self._lock:
            del self._pending[: self._loaded]
            self._loaded = 0
            self._remove()

    def _remove(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
        names = self._names()
        for name in names:
            self._fs.unlink(self._folder / name)
        if names:
            self._fs.fsync_dir(self._folder)

    def _names(self) -> list[str]:
        """Files of all runs; those of a witness are the business of that alone as long as its run lives."""
        names = sorted(name for name in self._fs.listdir(self._folder) if name.endswith(SUFFIX))
        is_witness = self.witness is None
        return [name for name in names if name.startswith(self._witnessed) is is_witness]

    def _append(self, records: Sequence[LedgerRecord], wall_us: int) -> None:
        if not records:
            return
        file = self._file if self._file is not None else self._open()
        page = encode_page(records, self.run, 0, self._number, wall_us)
        if file.end + len(page) > MAX_FILE_BYTES:
            self.dropped += len(records)
            return
        try:
            end = file.write([page], file.end)
            file.sync()
        except OSError:
            self._file = None
            file.close()
            raise
        file.end = end
        self._number += 1

    def _open(self) -> BlockFile:
        """A file of this run; after a failure another one: what failed is never written again."""
        self._fs.mkdirs(self._folder)
        taken = set(self._names())
        part = next(part for part in range(len(taken) + 1) if self._name(part) not in taken)
        self._file = BlockFile.create(self._fs, self._folder / self._name(part))
        return self._file

    def _name(self, part: int) -> str:
        return f"{self._prefix}{part}{SUFFIX}"


def waited(record: LedgerRecord) -> Record:
    """The body of a WAITED record: `record` as it waited."""
    return {"kind": record.kind, "run": run_text(record.run), "body": record.body}


def unwrap(record: LedgerRecord) -> LedgerRecord:
    """The record inside a WAITED one; another record as it is. Raises KeyError, ValueError, TypeError."""
    if record.kind != LedgerKind.WAITED:
        return record
    body = record.body
    inner = body["body"]
    if not isinstance(inner, dict):
        raise TypeError("a WAITED record without a body")
    return LedgerRecord(int(body["kind"]), record.time_us, inner, int(str(body["run"]), 16))
