"""Structure of a volume and its stopped logs: what is unfinished or damaged, and its repair when asked.

Law: without `repair` nothing is written. Repair finishes what an interrupted program left (reclaims, unsealed segments)
writes damaged footers again from the blocks, and VOLUME from the logs that name it; media bytes are never changed.
A log in use is left alone: what is unfinished there is its daemon's work, and a note.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from pathlib import Path

from mediadb.errors import FormatError, StorageDamaged, StorageLocked, StorageMissing
from mediadb.format.constants import NO_TIME
from mediadb.format.identity import LOG_FILE_BYTES, LogIdentity, VolumeIdentity, decode_log, encode_volume
from mediadb.format.segment_header import SEGMENT_PAGE_BYTES, decode_segment_header
from mediadb.fs import Fs, read_file, replace_file
from mediadb.gone import GONE
from mediadb.ledger import LedgerWriter
from mediadb.locks import LOG_NAME, VOLUME_NAME, LogHandle, read_log, read_volume
from mediadb.reclaim.reclaimer import ClockBrake, Reclaimer, ReclaimOptions
from mediadb.segment_files import OPEN, SEALED, list_folders, list_places, list_storages, read_footer
from mediadb.segment_scan import scan_segment
from mediadb.write.recover import Recovery


@dataclass(slots=True)
class FsckReport:
    """`problems` were found; `repaired` are those put right; `left` remain and say what to do; `notes` are
    no problems."""

    problems: list[str] = field(default_factory=list)
    repaired: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def fsck(fs: Fs, volume: Path, storage: str | None, *, repair: bool) -> FsckReport:
    """Look at VOLUME and every log of the volume (or of one storage). Raises OSError; StorageMissing or StorageDamaged
    when nothing tells which volume it is."""
    report = FsckReport()
    _check_volume(fs, volume, report, repair)
    for name in list_storages(fs, volume):
        if storage is not None and name != storage:
            continue
        for log in fs.listdir(volume / "log" / name):
            if fs.stat(volume / "log" / name / log / LOG_NAME) is not None:
                _Log(fs, volume, name, log, report).check(repair)
    return report


def _check_volume(fs: Fs, root: Path, report: FsckReport, repair: bool) -> None:
    """VOLUME is one small file, but every log and segment header names the same UUID."""
    try:
        read_volume(fs, root)
        return
    except (StorageMissing, StorageDamaged) as error:
        named, oldest_us = _volumes_named(fs, root)
        if not named:
            raise
        problem, path = error.message, root / VOLUME_NAME
    report.problems.append(problem)
    if len(named) > 1:
        ids = ", ".join(sorted(map(str, named)))
        report.left.append(f"{path}: logs of several volumes lie here ({ids}); move away those that do not belong here")
    elif not repair:
        report.left.append(f"{path} is missing or damaged, the logs say {next(iter(named))}; run mediadb fsck --repair")
    else:
        replace_file(fs, path, encode_volume(VolumeIdentity(next(iter(named)), oldest_us)))
        report.repaired.append(f"{path}: made again from the logs as volume {read_volume(fs, root).volume}")


def _volumes_named(fs: Fs, root: Path) -> tuple[set[uuid.UUID], int]:
    """What LOG files and the first segment header of each folder say: UUIDs, and the oldest time among them."""
    named: set[uuid.UUID] = set()
    oldest_us: list[int] = []
    for storage in list_storages(fs, root):
        for log in fs.listdir(root / "log" / storage):
            if fs.stat(root / "log" / storage / log / LOG_NAME) is None:
                continue
            identity, _ = read_log(fs, root / "log" / storage / log)
            if identity is not None:
                named.add(identity.volume)
                oldest_us.append(identity.changed_us)
        for folder in list_folders(fs, root, storage):
            for place in list_places(fs, root, folder):
                try:
                    header = decode_segment_header(read_file(fs, place.path, SEGMENT_PAGE_BYTES))
                except (FormatError, FileNotFoundError):
                    continue  # says nothing; another one does
                if not folder.is_relative_to(root / "archive"):  # an archive may hold segments of other volumes
                    named.add(header.volume)
                    oldest_us.append(header.created_us)
                break
    return named, min(oldest_us, default=0)


class _Log:
    def __init__(self, fs: Fs, volume: Path, storage: str, log: str, report: FsckReport) -> None:
        self._fs, self._volume, self._storage, self._report = fs, volume, storage, report
        self._folder = volume / "log" / storage / log
        self._ledger = volume / "ledger" / storage / log

    def check(self, repair: bool) -> None:
        found = self._problems()
        unfinished = [(text, path) for text, path in found if path.suffix != SEALED]
        if unfinished and self._in_use():
            found = [one for one in found if one not in unfinished]
            self._report.notes += [f"{text}: the log is in use, its daemon finishes that" for text, _ in unfinished]
        self._report.problems += [text for text, _ in found]
        if not found:
            return
        if not repair:
            self._report.left += [f"{text}; run mediadb fsck --repair" for text, _ in found]
            return
        try:
            handle = self._take()
        except (StorageLocked, FormatError) as error:
            self._report.left += [f"{text}: {error.message}" for text, _ in found]
            return
        try:
            self._repair(handle, [path for _, path in found])
        finally:
            handle.close()
        still = self._problems()
        self._report.left += [text for text, _ in still]
        gone = {text for text, _ in found} - {text for text, _ in still}
        self._report.repaired += sorted(gone)

    def _problems(self) -> list[tuple[str, Path]]:
        found = []
        for day in self._fs.listdir(self._folder):
            for name in self._fs.listdir(self._folder / day):
                path = self._folder / day / name
                if path.suffix == OPEN:
                    found.append((f"{path}: not sealed", path))
                elif path.suffix == GONE:
                    found.append((f"{path}: a removal was interrupted", path))
                elif path.suffix == SEALED and (what := self._footer_wrong(path)):
                    found.append((f"{path}: {what}", path))
        return found

    def _footer_wrong(self, path: Path) -> str:
        try:
            fd = self._fs.open_read(path)
        except FileNotFoundError:
            return ""  # removed while we looked
        try:
            read_footer(self._fs, fd)
        except FormatError as error:
            return error.message
        finally:
            self._fs.close(fd)
        return ""

    def _in_use(self) -> bool:
        """Does a running program hold the log?"""
        try:
            fd = self._fs.open_write(self._folder / LOG_NAME)
        except OSError:
            return False  # a volume that cannot be written is nobody's
        try:
            return not self._fs.lock(fd)
        finally:
            self._fs.close(fd)

    def _take(self) -> LogHandle:
        """The log, locked but not opened: no epoch is used up."""
        fd = self._fs.open_write(self._folder / LOG_NAME)
        if not self._fs.lock(fd):
            self._fs.close(fd)
            raise StorageLocked(f"{self._folder} is in use; stop the daemon, or let it recover the log itself")
        identity, _ = decode_log(self._fs.pread(fd, LOG_FILE_BYTES, 0))
        if identity is None:
            self._fs.close(fd)
            raise FormatError("no slot of LOG verifies; restore LOG from a backup")
        return LogHandle(self._fs, fd, self._volume, self._storage, _following(identity), identity)

    def _repair(self, handle: LogHandle, paths: list[Path]) -> None:
        previous = handle.previous
        assert previous is not None  # `_take` sets it
        ledger = LedgerWriter(self._fs, self._ledger, previous.run, previous.epoch)
        reclaimer = Reclaimer(self._fs, self._folder, ledger, ReclaimOptions(), lambda: (0, 0), ClockBrake(None))
        for path in paths:
            if path.suffix == SEALED and self._has_blocks(path):
                # As an unsealed segment it gets a new footer from its blocks; so it does when we are cut off here.
                self._fs.rename(path, path.with_suffix(OPEN))
                self._fs.fsync_dir(path.parent)
        recovery = Recovery(handle, self._trouble, lambda _: None)
        for last in recovery.run():
            for kind, body in last.records:
                # What is found out now happened then: the ledger must not take it for a sign of life.
                at = int(body.get("last_wall_us", NO_TIME))
                ledger.add(kind, at if at != NO_TIME else previous.changed_us, body)
        ledger.flush(previous.changed_us)
        reclaimer.repeat_unfinished(previous.changed_us)
        ledger.close()

    def _has_blocks(self, path: Path) -> bool:
        try:
            return bool(scan_segment(self._fs, path).blocks)
        except FormatError:
            return False

    def _trouble(self, code: str, params: dict[str, object]) -> None:
        if code != "recovered-segment":
            self._report.left.append(f"{code}: {params}")


def _following(identity: LogIdentity) -> LogIdentity:
    """The identity the next opening would have: everything older counts as left behind."""
    return LogIdentity(
        identity.generation,
        identity.volume,
        identity.log,
        identity.owner,
        identity.epoch + 1,
        uuid.uuid4().int & ((1 << 64) - 1),
        identity.changed_us,
    )
