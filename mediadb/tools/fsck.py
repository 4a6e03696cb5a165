"""Structure of a volume: what is unfinished, damaged, misplaced or missing in each of its layers, and its repair.

Law: without `repair` nothing is written. Repair goes layer by layer, each touching its own files only: VOLUME, LOG,
names, footers and removals, ledger, lanes, catalog. Media bytes are never changed and no footage is deleted: what fits
nowhere is put into the volume's quarantine. Every step may be cut off and repeated. A log in use is left alone.
"""

from __future__ import annotations

import uuid
from pathlib import Path

from mediadb.catalog import Catalog
from mediadb.errors import FormatError, StorageDamaged, StorageMissing
from mediadb.format.identity import LOG_FILE_BYTES, VOLUME_BYTES, LogIdentity, VolumeIdentity, decode_log, encode_volume
from mediadb.format.segment_header import SEGMENT_PAGE_BYTES, decode_segment_header
from mediadb.fs import Fs, read_file, replace_file
from mediadb.locks import LOG_NAME, VOLUME_NAME, LogHandle, read_log, read_volume
from mediadb.segment_files import SEALED, list_folders, list_places, list_segments, list_storages
from mediadb.tools.findings import NOTHING, FsckReport, Problem, count_aside, settle
from mediadb.tools.fsck_footers import LogFooters, following
from mediadb.tools.fsck_lanes import Lanes
from mediadb.tools.fsck_ledger import LogLedger
from mediadb.tools.fsck_log import LogFile
from mediadb.tools.fsck_names import TEMPORARY, LogNames

IN_USE = "the log is in use"


def fsck(fs: Fs, volume: Path, storage: str | None, *, repair: bool) -> FsckReport:
    """Look at the volume, every log and archive of it (or of one storage). Raises OSError; StorageMissing or
    StorageDamaged when nothing tells which volume it is."""
    report = FsckReport()
    settle(report, lambda: _volume_file(fs, volume), repair=repair, held=lambda: None)
    names = [name for name in list_storages(fs, volume) if storage in (None, name)]
    for name in names:
        used = _storage(fs, volume, name, report, repair=repair)
        catalog = _Catalog(fs, volume, name)
        settle(report, catalog.look, repair=repair, held=lambda used=used: IN_USE if used else None)  # type: ignore[misc]
    report.quarantined = count_aside(fs, volume)
    if report.quarantined:
        report.notes.append(f"{volume}/quarantine holds {report.quarantined} files; mediadb salvage reads them")
    return report


def _storage(fs: Fs, volume: Path, storage: str, report: FsckReport, *, repair: bool) -> bool:
    """Logs and archive of a storage; returns whether one of its logs is in use."""
    try:
        volume_id: uuid.UUID | None = read_volume(fs, volume).volume
    except (StorageMissing, StorageDamaged):
        volume_id = None
    used = False
    for log in fs.listdir(volume / "log" / storage):
        status = fs.stat(volume / "log" / storage / log)
        if status is None or not status.is_dir or not _is_id(log):
            report.notes.append(f"{volume / 'log' / storage / log}: not a log; left alone")
            continue
        one = _Log(fs, volume, storage, log, volume_id)
        try:
            one.check(report, repair=repair)
            used = used or one.in_use() is not None
        finally:
            one.close()
    refused = "a log of this storage is in use" if used else None
    settle(report, Lanes(fs, volume, storage).look, repair=repair, held=lambda: refused)
    return used


class _Log:
    """One log, layer by layer. The lock is taken before the first deed and kept to the end."""

    def __init__(self, fs: Fs, volume: Path, storage: str, log: str, volume_id: uuid.UUID | None) -> None:
        self._fs, self._volume, self._storage, self._log, self._id = fs, volume, storage, log, volume_id
        self._folder = volume / "log" / storage / log
        self._handle: LogHandle | None = None

    def check(self, report: FsckReport, *, repair: bool) -> None:
        fs, volume, storage, log = self._fs, self._volume, self._storage, self._log
        file = LogFile(fs, volume, storage, log, self._id)
        settle(report, file.look, repair=repair, held=self.in_use)
        identity = self._identity()
        if identity is None and fs.stat(file.path) is not None:
            return  # without LOG nothing says what belongs here
        ledger_folder = volume / "ledger" / storage / log
        names = LogNames(fs, volume, self._folder, identity)
        settle(report, names.look, repair=repair, held=self.in_use)
        footers = LogFooters(fs, self._folder, ledger_folder, self._taken)
        settle(report, footers.look, repair=repair, held=self.in_use, after=footers.recover)
        ledger = LogLedger(fs, volume, storage, log, self._taken)
        settle(report, ledger.look, repair=repair, held=self.in_use)
        report.left += footers.said
        report.notes += names.notes + ledger.notes

    def _identity(self) -> LogIdentity | None:
        try:
            return read_log(self._fs, self._folder)[0]
        except (FileNotFoundError, FormatError):
            return None

    def in_use(self) -> str | None:
        """Why the log must not be touched; None when it is ours now, or cannot be anybody's."""
        if self._handle is not None:
            return None
        try:
            fd = self._fs.open_write(self._folder / LOG_NAME)
        except OSError:
            return None  # no LOG, or a volume that cannot be written: nobody's
        if not self._fs.lock(fd):
            self._fs.close(fd)
            return f"{IN_USE}; stop the daemon, or let it recover the log itself"
        identity, _ = decode_log(self._fs.pread(fd, LOG_FILE_BYTES, 0))
        nobody = LogIdentity(0, uuid.UUID(int=0), uuid.UUID(self._log), uuid.UUID(int=0), 0, 0, 0)
        self._handle = LogHandle(self._fs, fd, self._volume, self._storage, identity or nobody, None)
        return None

    def _taken(self) -> LogHandle:
        """The log, locked but not opened: no epoch is used up."""
        if self._handle is None and (refused := self.in_use()) is not None:
            raise OSError(11, refused, str(self._folder))
        identity = self._identity()
        if self._handle is None or identity is None:
            raise OSError(2, "no slot of LOG verifies", str(self._folder / LOG_NAME))
        self._handle.identity = identity
        return following(self._handle)

    def close(self) -> None:
        if self._handle is not None:
            self._handle.close()


def _is_id(text: str) -> bool:
    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return True


# -- VOLUME ----------------------------------------------------------------------------------------------------------


def _volume_file(fs: Fs, root: Path) -> list[Problem]:
    """VOLUME is one small file, but every log and segment header names the same UUID."""
    path, found = root / VOLUME_NAME, []
    temporary = path.with_name(VOLUME_NAME + TEMPORARY)
    if fs.stat(temporary) is not None and fs.stat(path) is not None:
        what = "a replacement that was cut off; VOLUME is there"
        found.append(Problem("temporary-left", temporary, what, NOTHING, "it is removed", lambda: fs.unlink(temporary)))
    try:
        identity = read_volume(fs, root)
    except (StorageMissing, StorageDamaged) as error:
        return [*found, _volume_again(fs, root, error)]
    status = fs.stat(path)
    if status is not None and status.size != VOLUME_BYTES:

        def cut() -> None:
            replace_file(fs, path, encode_volume(identity))

        found.append(Problem("volume-long", path, "bytes behind its end", NOTHING, "it is written again", cut))
    return found


def _volume_again(fs: Fs, root: Path, error: StorageMissing | StorageDamaged) -> Problem:
    path = root / VOLUME_NAME
    code = "volume-missing" if isinstance(error, StorageMissing) else "volume-damaged"
    named, oldest_us = _volumes_named(fs, root)
    if not named:
        raise error
    if len(named) > 1:
        ids = ", ".join(sorted(map(str, named)))
        text = f"logs of several volumes lie here ({ids}); move away those that do not belong here"
        return Problem(code, path, error.message, "which volume it is", text)
    volume = next(iter(named))

    def write() -> None:
        replace_file(fs, path, encode_volume(VolumeIdentity(volume, oldest_us)))

    return Problem(code, path, error.message, NOTHING, f"made again from the logs as volume {volume}", write)


def _volumes_named(fs: Fs, root: Path) -> tuple[set[uuid.UUID], int]:
    """What LOG files and the first segment header of each folder say: UUIDs, and the oldest time among them."""
    named: set[uuid.UUID] = set()
    oldest_us: list[int] = []
    for storage in list_storages(fs, root):
        for log in fs.listdir(root / "log" / storage):
            try:
                identity, _ = read_log(fs, root / "log" / storage / log)
            except (FormatError, OSError):
                continue
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


# -- catalog.db ------------------------------------------------------------------------------------------------------


class _Catalog:
    """The cache against the files it was made of."""

    def __init__(self, fs: Fs, volume: Path, storage: str) -> None:
        self._fs, self._volume, self._storage = fs, volume, storage

    def look(self) -> list[Problem]:
        path = self._volume / "catalog.db"
        try:
            rows = Catalog.glance(path, self._storage)
        except ValueError as error:
            text = "it is removed: the next start makes it again"
            return [Problem("catalog-damaged", path, str(error), "nothing: it is a cache", text, self._remove)]
        if rows is None:
            return []
        files = {
            place.name: place.size
            for place in list_segments(self._fs, self._volume, self._storage)
            if place.path.suffix == SEALED
        }
        extra = [name for name, size in rows.items() if files.get(name) != size]
        if not extra:
            return []
        what = f"it names {len(extra)} segments of {self._storage} that are not there as it says, {extra[0]} first"
        text = "it is removed: the next start makes it again"
        return [Problem("catalog-differs", path, what, "nothing: it is a cache", text, self._remove, unfinished=True)]

    def _remove(self) -> None:
        for suffix in ("", "-wal", "-shm"):
            path = self._volume / f"catalog.db{suffix}"
            if self._fs.stat(path) is not None:
                self._fs.unlink(path)
