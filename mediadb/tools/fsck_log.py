"""The LOG file of a log: damaged slots, a lost file, an epoch behind its own segments; and their repair.

Law: what segments and ledger of the same folder say, nothing invented. Written in place, one slot at a time and synced
in between, so that at every instant one slot verifies or the file is as bad as it was.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from mediadb.errors import FormatError, UnsupportedVersion
from mediadb.format.identity import (
    LOG_FILE_BYTES,
    LOG_SLOT_BYTES,
    LOG_SLOT_OFFSETS,
    LogIdentity,
    decode_log_slot,
    encode_log_slot,
)
from mediadb.format.ledger_page import LedgerKind
from mediadb.format.segment_header import SEGMENT_PAGE_BYTES, SegmentHeader, decode_segment_header
from mediadb.fs import Fs, read_file, replace_file, write_all
from mediadb.ledger import read_ledger
from mediadb.locks import LOG_NAME
from mediadb.segment_files import OPEN, SEALED
from mediadb.tools.findings import NOTHING, Problem, put_aside

BY_HAND = "restore LOG from a backup, or get the footage out with mediadb salvage"


class LogFile:
    """LOG of one log folder."""

    def __init__(self, fs: Fs, volume: Path, storage: str, log: str, volume_id: uuid.UUID | None) -> None:
        self._fs, self._volume, self._volume_id = fs, volume, volume_id
        self._folder = volume / "log" / storage / log
        self._ledger = volume / "ledger" / storage / log
        self._log = log
        self.path = self._folder / LOG_NAME

    def look(self) -> list[Problem]:
        """Problems of LOG alone. Raises OSError."""
        raw = read_file(self._fs, self.path, LOG_FILE_BYTES + 1) if self._fs.stat(self.path) is not None else None
        try:
            slots = _slots(raw or b"")
        except UnsupportedVersion as error:
            return [Problem("log-unsupported", self.path, error.message, NOTHING, "use the program that wrote it")]
        newest = max((slot for slot in slots if slot is not None), key=lambda slot: slot.generation, default=None)
        if newest is None:
            return self._lost(raw)
        if (self._volume_id not in (None, newest.volume)) or str(newest.log) != self._log:
            what = f"LOG names volume {newest.volume} and log {newest.log}: it was copied from elsewhere"
            return [Problem("log-foreign", self.path, what, NOTHING, "move the folder away, or salvage it")]
        behind = self._segments_epoch()
        if behind is not None and behind.epoch > newest.epoch:
            what = f"LOG is at epoch {newest.epoch}, its own segments are at {behind.epoch}"
            deed = self._write(replace(newest, epoch=behind.epoch, run=behind.run, changed_us=behind.created_us))
            return [Problem("log-behind", self.path, what, NOTHING, "LOG is written again at that epoch", deed)]
        return self._dirt(raw or b"", slots, newest)

    def _dirt(self, raw: bytes, slots: list[LogIdentity | None], newest: LogIdentity) -> list[Problem]:
        bad = [
            LOG_SLOT_OFFSETS[n] for n, slot in enumerate(slots)
            if slot is None and any(raw[LOG_SLOT_OFFSETS[n] : LOG_SLOT_OFFSETS[n] + LOG_SLOT_BYTES])
        ]  # fmt: skip
        padded = all(not any(raw[at + LOG_SLOT_BYTES : at + LOG_FILE_BYTES // 2]) for at in LOG_SLOT_OFFSETS)
        if not bad and padded and len(raw) == LOG_FILE_BYTES:
            return []
        what = f"the slot at {bad[0]} does not verify" if bad else "LOG has a wrong length or stray bytes"
        lost = "nothing: the other slot says it" if bad else NOTHING
        return [Problem("log-damaged", self.path, what, lost, "LOG is written again", self._write(newest))]

    def _lost(self, raw: bytes | None) -> list[Problem]:
        """No slot verifies, or there is no LOG."""
        identity = self._from_segments() or self._from_ledger()
        code, what = ("log-missing", "LOG is missing") if raw is None else ("log-damaged", "no slot of LOG verifies")
        if identity is not None:
            text = f"LOG is written again for server {identity.owner}, epoch {identity.epoch}, from its segments"
            return [Problem(code, self.path, what, NOTHING, text, self._write(identity))]
        if self._has_segments():
            return [Problem(code, self.path, what, "whose log it is", BY_HAND)]
        if raw is None:
            return []  # an empty folder
        text = f"LOG is put into {self._volume}/quarantine: the log holds nothing"
        return [Problem(code, self.path, what, NOTHING, text, self._aside)]

    def _aside(self) -> None:
        put_aside(self._fs, self._volume, self.path)

    def _write(self, identity: LogIdentity) -> _Deed:
        return _Deed(self._fs, self.path, identity)

    def _headers(self) -> Iterator[SegmentHeader]:
        """Headers of this log, of the highest epochs by name first."""
        names = [
            (name.split("-")[1:2], f"{day}/{name}")
            for day in self._fs.listdir(self._folder)
            for name in self._fs.listdir(self._folder / day)
            if Path(name).suffix in (SEALED, OPEN)
        ]
        for _, name in sorted(names, reverse=True):
            try:
                header = decode_segment_header(read_file(self._fs, self._folder / name, SEGMENT_PAGE_BYTES))
            except (FormatError, FileNotFoundError):
                continue
            if str(header.log) == self._log:
                yield header

    def _segments_epoch(self) -> SegmentHeader | None:
        return next(self._headers(), None)

    def _has_segments(self) -> bool:
        return any(
            Path(name).suffix in (SEALED, OPEN)
            for day in self._fs.listdir(self._folder)
            for name in self._fs.listdir(self._folder / day)
        )

    def _from_segments(self) -> LogIdentity | None:
        header = self._segments_epoch()
        if header is None:
            return None
        volume = self._volume_id or header.volume
        return LogIdentity(1, volume, header.log, header.server, header.epoch, header.run, header.created_us)

    def _from_ledger(self) -> LogIdentity | None:
        """The newest start of a run that the ledger tells of."""
        found = None
        for record in read_ledger(self._fs, self._ledger):
            if record.kind == LedgerKind.RUN_START and self._volume_id is not None:
                try:
                    owner = uuid.UUID(str(record.body["server"]))
                except (KeyError, ValueError):
                    continue
                found = LogIdentity(
                    1, self._volume_id, uuid.UUID(self._log), owner, record.epoch, record.run, record.time_us
                )
        return found


class _Deed:
    """Write LOG: the slot that does not count first, then the other one empty."""

    def __init__(self, fs: Fs, path: Path, identity: LogIdentity) -> None:
        self._fs, self._path, self._identity = fs, path, identity

    def __call__(self) -> None:
        fs, path = self._fs, self._path
        if fs.stat(path) is None:
            page = encode_log_slot(self._identity).ljust(LOG_FILE_BYTES, b"\0")
            replace_file(fs, path, page)
            return
        fd = fs.open_write(path)
        try:
            slots = _slots(fs.pread(fd, LOG_FILE_BYTES, 0))
            known = [slot.generation if slot is not None else -1 for slot in slots]
            keep = known.index(max(known)) if max(known) >= 0 else 1
            target = 1 - keep
            slot = encode_log_slot(replace(self._identity, generation=max(known) + 1))
            half = LOG_FILE_BYTES // 2
            write_all(fs, fd, [slot.ljust(half, b"\0")], LOG_SLOT_OFFSETS[target])
            fs.fdatasync(fd)
            write_all(fs, fd, [bytes(half)], LOG_SLOT_OFFSETS[keep])
            fs.truncate(fd, LOG_FILE_BYTES)
            fs.fdatasync(fd)
        finally:
            fs.close(fd)


def _slots(raw: bytes) -> list[LogIdentity | None]:
    return [decode_log_slot(raw[offset : offset + LOG_SLOT_BYTES]) for offset in LOG_SLOT_OFFSETS]
