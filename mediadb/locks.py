"""Who may write: the VOLUME file, the LOG file of each log, its lock, its epoch.

Law: checks first, writes second. When anything is wrong, foreign, doubly owned, older than known or missing, a typed
error is raised and not one byte of the volume was changed. The lock is an OFD lock: it lives as long as the handle.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from pathlib import Path

from mediadb.errors import (
    FormatError,
    StorageDamaged,
    StorageDoublyOwned,
    StorageError,
    StorageForeign,
    StorageLocked,
    StorageMissing,
    StorageOlder,
)
from mediadb.format.identity import (
    LOG_FILE_BYTES,
    LOG_SLOT_OFFSETS,
    LogIdentity,
    VolumeIdentity,
    decode_log,
    decode_volume,
    encode_log_slot,
    encode_volume,
)
from mediadb.format.segment_header import SEGMENT_PAGE_BYTES, decode_segment_header
from mediadb.fs import Fs, read_file, replace_file, write_all
from mediadb.known_tail import KnownTail, lacks

VOLUME_NAME = "VOLUME"
LOG_NAME = "LOG"


@dataclass(frozen=True, slots=True)
class OpenRequest:
    """What the caller knows. `expected_volume` and `known_epoch` come from its own state, None when it knows none.

    `create`: a volume (and a log) may be made when there is none and none is expected.
    """

    volume: Path
    storage: str
    owner: uuid.UUID
    run: int
    now_us: int
    create: bool = False
    expected_volume: uuid.UUID | None = None
    known_epoch: int | None = None
    known_tail: KnownTail | None = None  # what the log must at least have, of that epoch


@dataclass(slots=True)
class LogHandle:
    """A log held for writing. `previous` is what LOG said before this opening, None for a new log."""

    fs: Fs
    fd: int
    root: Path
    storage: str
    identity: LogIdentity
    previous: LogIdentity | None
    left_alone: tuple[str, ...] = ()  # what else lies in the storage's folder, in words
    _old: list[int] = field(default_factory=list)  # LOG files that were removed under us, each still locked

    @property
    def folder(self) -> Path:
        """Where the segments of this log lie."""
        return self.root / "log" / self.storage / str(self.identity.log)

    @property
    def ledger_folder(self) -> Path:
        return self.root / "ledger" / self.storage / str(self.identity.log)

    def still_there(self) -> bool:
        """False when the path no longer leads to the file we hold: the volume was unmounted under us."""
        held = self.fs.fstat(self.fd)
        there = self.fs.stat(self.folder / LOG_NAME)
        return there is not None and (there.device, there.inode) == (held.device, held.inode)

    def bring_back(self) -> bool:
        """LOG was removed by other hands and nothing else is wrong here: write it again, locked before it has its
        name. False when the volume is away, or something lies in its place. Raises OSError."""
        path = self.folder / LOG_NAME
        folder, held = self.fs.stat(self.folder), self.fs.fstat(self.fd)
        if folder is None or folder.device != held.device or self.fs.stat(path) is not None:
            return False
        try:
            if read_volume(self.fs, self.root).volume != self.identity.volume:
                return False
        except (StorageError, FormatError):
            return False
        temporary = path.with_name(LOG_NAME + ".tmp")
        if self.fs.stat(temporary) is not None:
            self.fs.unlink(temporary)
        fd = self.fs.create(temporary)
        try:
            self.fs.lock(fd)
            write_all(self.fs, fd, [self.fs.pread(self.fd, LOG_FILE_BYTES, 0)], 0)
            self.fs.fdatasync(fd)
            self.fs.rename(temporary, path)
            self.fs.fsync_dir(self.folder)
        except OSError:
            self.fs.close(fd)
            raise
        self._old.append(self.fd)  # another thread may just ask it
        self.fd = fd
        return True

    def keep_volume(self) -> bool:
        """Write VOLUME again when other hands removed or damaged it; True then. Not while LOG is not in its place, and
        never over one that verifies. Raises OSError."""
        path = self.root / VOLUME_NAME
        if self.fd < 0:
            return False
        try:
            read_volume(self.fs, self.root)
        except (StorageMissing, StorageDamaged):
            if not self.still_there():
                return False
        except FormatError:
            return False  # of a later program
        else:
            return False
        identity = VolumeIdentity(self.identity.volume, self.identity.changed_us)
        replace_file(self.fs, path, encode_volume(identity))
        return True

    def close(self) -> None:
        """Give the lock back."""
        while self._old:
            self.fs.close(self._old.pop())
        if self.fd >= 0:
            fd, self.fd = self.fd, -1
            self.fs.close(fd)


def open_log(fs: Fs, request: OpenRequest) -> LogHandle:
    """Check, lock and open the log of `request.owner`; its new epoch is durable when this returns."""
    volume = _open_volume(fs, request)
    found, left_alone = _find_log(fs, request, volume.volume)
    if found is None:
        if request.known_epoch is not None:
            raise StorageMissing(
                f"{request.volume} has no log of this server, but epoch {request.known_epoch} of one is known: "
                "mount the right volume",
                path=str(request.volume),
            )
        found = _create_log(fs, request, volume.volume)
    path = found / LOG_NAME
    fd = fs.open_write(path)
    try:
        return _take(fs, fd, request, found, left_alone)
    except BaseException:
        fs.close(fd)
        raise


def no_log(fs: Fs, request: OpenRequest) -> LogHandle:
    """Stands for a log that was not opened yet: nothing of the volume is held. Its epoch is 0."""
    nobody = uuid.UUID(int=0)
    identity = LogIdentity(0, nobody, nobody, request.owner, 0, request.run, request.now_us)
    return LogHandle(fs, -1, request.volume, request.storage, identity, None)


def read_volume(fs: Fs, root: Path) -> VolumeIdentity:
    """The identity of a volume. Raises StorageMissing, StorageDamaged or UnsupportedVersion."""
    path = root / VOLUME_NAME
    status = fs.stat(path)
    if status is None:
        raise StorageMissing(
            f"{path} does not exist: mount the volume, or make one with `mediadb init`", path=str(path)
        )
    try:
        return decode_volume(read_file(fs, path, 4096))
    except FormatError as error:
        if error.code != FormatError.code:
            raise
        message = f"{path}: {error.message}, or run `mediadb fsck --repair`: the logs know its UUID"
        raise StorageDamaged(message, path=str(path)) from None


def create_volume(fs: Fs, root: Path, now_us: int) -> VolumeIdentity:
    """Make VOLUME with a new random UUID; durable when this returns."""
    identity = VolumeIdentity(uuid.uuid4(), now_us)
    fs.mkdirs(root)
    replace_file(fs, root / VOLUME_NAME, encode_volume(identity))
    return identity


def read_log(fs: Fs, folder: Path) -> tuple[LogIdentity | None, int]:
    """The newest slot of a log folder's LOG that verifies, and the slot to write next."""
    return decode_log(read_file(fs, folder / LOG_NAME, LOG_FILE_BYTES))


def _open_volume(fs: Fs, request: OpenRequest) -> VolumeIdentity:
    root, expected = request.volume, request.expected_volume
    if fs.stat(root / VOLUME_NAME) is None and expected is None and request.create:
        return create_volume(fs, root, request.now_us)
    volume = read_volume(fs, root)
    if expected is not None and volume.volume != expected:
        raise StorageForeign(
            f"{root} holds volume {volume.volume}, expected {expected}: mount the right one, "
            "or tell the configuration that it was replaced",
            path=str(root),
            found=str(volume.volume),
            expected=str(expected),
        )
    return volume


def _find_log(fs: Fs, request: OpenRequest, volume: uuid.UUID) -> tuple[Path | None, tuple[str, ...]]:
    """Our log, and what else lies in the folder of the storage: that is never touched, and, while our own log is in
    order, no reason not to record."""
    folder = request.volume / "log" / request.storage
    ours: list[Path] = []
    foreign: list[Path] = []
    wrong: list[StorageError] = []
    left: list[str] = []
    for name in fs.listdir(folder):
        log = folder / name
        if not _is_uuid(name):
            left.append(f"{log}: not the name of a log")
            continue
        if fs.stat(log / LOG_NAME) is None:
            left.append(f"{log}: has no LOG file")
            continue
        try:
            (ours if _owner(fs, log, volume) == request.owner else foreign).append(log)
        except StorageError as error:
            wrong.append(error)
            left.append(error.message)
    if len(ours) > 1:
        raise StorageDoublyOwned(
            f"{folder} has {len(ours)} logs of this server: {', '.join(str(log) for log in ours)}; keep one",
            path=str(folder),
        )
    if wrong and not ours:
        raise wrong[0]
    if foreign and not ours:
        raise StorageForeign(
            f"{folder} belongs to another server; give this server its own storage name, or restore its identity",
            path=str(folder),
        )
    return (ours[0] if ours else None), tuple(left)


def _owner(fs: Fs, log: Path, volume: uuid.UUID) -> uuid.UUID:
    """Whose log this is. Raises what is wrong with it."""
    identity, _ = read_log(fs, log)
    if identity is None:
        raise StorageDamaged(f"{log / LOG_NAME}: no slot verifies; see `mediadb fsck`", path=str(log))
    if identity.volume != volume or str(identity.log) != log.name:
        raise StorageForeign(f"{log} was copied from another volume or log; move it away or import it", path=str(log))
    return identity.owner


def _is_uuid(name: str) -> bool:
    try:
        return str(uuid.UUID(name)) == name
    except ValueError:
        return False


def _create_log(fs: Fs, request: OpenRequest, volume: uuid.UUID) -> Path:
    log = uuid.uuid4()
    folder = request.volume / "log" / request.storage / str(log)
    fs.mkdirs(folder)
    slot = encode_log_slot(LogIdentity(1, volume, log, request.owner, 0, 0, request.now_us))
    page = slot + bytes(LOG_FILE_BYTES // 2 - len(slot))
    replace_file(fs, folder / LOG_NAME, page + bytes(LOG_FILE_BYTES // 2))
    return folder


def _take(fs: Fs, fd: int, request: OpenRequest, folder: Path, left_alone: tuple[str, ...]) -> LogHandle:
    if not fs.lock(fd):
        raise StorageLocked(f"{folder} is in use by another process", path=str(folder))
    previous, slot = decode_log(fs.pread(fd, LOG_FILE_BYTES, 0))
    if previous is None:
        raise StorageDamaged(f"{folder / LOG_NAME}: no slot verifies; see `mediadb fsck`", path=str(folder))
    named = _newest_epoch(fs, folder, previous.log)
    known = max(request.known_epoch or 0, named)
    if known > previous.epoch:
        move = f"mount the right one, or say that it is to be used: `recorderctl storage --accept {request.storage}`"
        if named > previous.epoch:
            move = "only its LOG is old, its segments are newer: stop recorderd and run `mediadb fsck --repair`"
        raise StorageOlder(
            f"{folder} is at epoch {previous.epoch}, but epoch {known} is known: this is an older copy "
            f"(backup, snapshot or clone); {move}",
            path=str(folder),
            found=previous.epoch,
            known=known,
        )
    if request.known_tail is not None:
        _check_tail(fs, request, folder, request.known_epoch or previous.epoch, request.known_tail)
    identity = LogIdentity(
        generation=previous.generation + 1,
        volume=previous.volume,
        log=previous.log,
        owner=request.owner,
        epoch=previous.epoch + 1,
        run=request.run,
        changed_us=request.now_us,
    )
    write_all(fs, fd, [encode_log_slot(identity)], LOG_SLOT_OFFSETS[slot])
    fs.fdatasync(fd)
    before = previous if previous.epoch else None
    return LogHandle(fs, fd, request.volume, request.storage, identity, before, left_alone)


def _check_tail(fs: Fs, request: OpenRequest, folder: Path, epoch: int, tail: KnownTail) -> None:
    """What was made durable there must be there: a copy of the same epoch lacks it."""
    ledger = request.volume / "ledger" / request.storage / folder.name
    if lacks(fs, folder, ledger, epoch, tail):
        raise StorageOlder(
            f"{folder} lacks what was written to it last ({tail.segment}, {tail.bytes} bytes): this is an older copy "
            "(backup, snapshot or clone); mount the right one, or say that it is to be used: `recorderctl storage "
            f"--accept {request.storage}`",
            path=str(folder),
            segment=tail.segment,
        )


def _newest_epoch(fs: Fs, folder: Path, log: uuid.UUID) -> int:
    """The highest epoch that a segment of this log names; only the newest by name is opened."""
    newest = 0
    for day in reversed(fs.listdir(folder)):
        try:
            names = fs.listdir(folder / day)
        except OSError:
            continue  # recovery names it
        for name in reversed(names):
            epoch = epoch_of(name)
            if epoch <= newest:
                continue
            try:
                header = decode_segment_header(read_file(fs, folder / day / name, SEGMENT_PAGE_BYTES))
            except (FormatError, OSError):
                continue  # recovery names it; its name proves nothing
            if header.log == log:
                newest = max(newest, header.epoch)
    return newest


def epoch_of(name: str) -> int:
    """The epoch in the name of a segment file ("20260131T120000Z-00000007-000001.open"); 0 for any other name."""
    parts = name.split(".")[0].split("-")
    return int(parts[1]) if len(parts) == 3 and parts[1].isdecimal() and parts[1].isascii() else 0
